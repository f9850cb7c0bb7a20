//! Observed expressions of one column that can be solved for it: `observe log(y) ~ …` gives `y`.

use crate::check::walk;
use crate::hir::{BinOp, Content, Expr, ExprKind, Hir, Index, UnOp, VarId, VarKind};

/// How an observed value gives the cell of its column.
pub struct Solved<'e> {
    pub column: VarId,
    pub index: &'e [Index],
    /// From the value inwards.
    pub steps: Vec<Undo<'e>>,
}

/// The inverse of one operation.
#[derive(Clone, Copy)]
pub enum Undo<'e> {
    Apply(fn(f64) -> f64),
    /// With the other operand, as the value and then the operand.
    With(fn(f64, f64) -> f64, &'e Expr),
}

/// `None`: the expression is not of one cell of one column, or has no inverse.
pub fn solve<'e>(hir: &Hir, e: &'e Expr) -> Option<Solved<'e>> {
    if let ExprKind::Read { var, index } = &e.kind {
        let cellwise = index.iter().all(|i| matches!(i, Index::Axis(_)));
        let column = matches!(hir.var(*var).kind, VarKind::Column(_) | VarKind::DataValue { .. });
        return (cellwise && column).then(|| Solved { column: *var, index, steps: vec![] });
    }
    let (inner, undo) = match &e.kind {
        ExprKind::Unary(op, a) => (a, Undo::Apply(inverse(*op)?)),
        ExprKind::Binary(op, a, b) => {
            let drawn = |e| solve(hir, e).filter(|s| matches!(hir.var(s.column).kind, VarKind::Column(_)));
            let (inner, other, first) = match (drawn(a), drawn(b)) {
                (Some(s), None) if !reads(b, s.column) => (a, b, true),
                (None, Some(s)) if !reads(a, s.column) => (b, a, false),
                // Of two columns neither is the one to be drawn.
                _ => return None,
            };
            (inner, Undo::With(inverse_of_two(*op, first)?, other))
        }
        _ => return None,
    };
    let mut solved = solve(hir, inner)?;
    // A whole number is seldom the inverse of what is drawn.
    if !matches!(&hir.var(solved.column).kind, VarKind::Column(c) if c.content == Content::Real) {
        return None;
    }
    solved.steps.insert(0, undo);
    Some(solved)
}

fn reads(e: &Expr, column: VarId) -> bool {
    let mut found = false;
    walk(e, &mut |e| found |= matches!(&e.kind, ExprKind::Read { var, .. } if *var == column));
    found
}

fn inverse(op: UnOp) -> Option<fn(f64) -> f64> {
    Some(match op {
        UnOp::Neg => |x| -x,
        UnOp::Exp => f64::ln,
        UnOp::Log => f64::exp,
        UnOp::Expm1 => f64::ln_1p,
        UnOp::Log1p => f64::exp_m1,
        // No root is negative.
        UnOp::Sqrt => |x| if x < 0.0 { f64::NAN } else { x * x },
        UnOp::Recip => f64::recip,
        _ => return None,
    })
}

/// `first`: the column is in the first operand.
fn inverse_of_two(op: BinOp, first: bool) -> Option<fn(f64, f64) -> f64> {
    Some(match (op, first) {
        (BinOp::Add, _) => |x, c| x - c,
        (BinOp::Sub, true) => |x, c| x + c,
        (BinOp::Sub, false) => |x, c| c - x,
        (BinOp::Mul, _) => |x, c| x / c,
        (BinOp::Div, true) => |x, c| x * c,
        (BinOp::Div, false) => |x, c| c / x,
        _ => return None,
    })
}
