//! Ends of what the data can be that move with an unknown: the density of a datum falls to 0 where such an end passes it,
//! and neither a slope nor a guide that reaches over the edge is any good there. It is no edge if the unknown's own range
//! keeps it clear of the data: `latent top: real > max(y over rows)`.

use super::eval::{Eval, Stop};
use super::resolve::Resolved;
use crate::check::walk;
use crate::diag::{Code, Diagnostic};
use crate::hir::{BinOp, Constraint, Expr, ExprKind, Hir, Step, Ty, VarId, VarKind};

/// One diagnostic per end of an `observe` that may pass a datum.
pub fn edges(hir: &Hir, known: &Resolved) -> Vec<Diagnostic> {
    let mut found = vec![];
    for step in &hir.steps {
        let Step::Observe { name, target, filter, dist, .. } = step else { continue };
        let (lower, upper) = dist.range.ends();
        for (end, side) in [(lower, Side::Lower), (upper, Side::Upper)] {
            let Some((end, unknown)) = end.and_then(|e| Some((e, moved_by(hir, e)?))) else { continue };
            let mut reached = Reached { count: 0, most: None };
            let filter = filter.as_ref();
            // What cannot be computed is reported where it stands.
            if reached.run(hir, known, target, filter, end, side).is_err() || reached.count == 0 {
                continue;
            }
            found.push(report(hir, name, dist.name.as_str(), end, unknown, side, &reached));
        }
    }
    found
}

#[derive(Clone, Copy, PartialEq)]
enum Side {
    Lower,
    Upper,
}

/// The data that an end may pass: how many, and the one that is furthest on its side.
struct Reached {
    count: usize,
    most: Option<f64>,
}

impl Reached {
    fn run(
        &mut self,
        hir: &Hir,
        known: &Resolved,
        target: &Expr,
        filter: Option<&Expr>,
        end: &Expr,
        side: Side,
    ) -> Result<(), Stop> {
        Eval::new(hir, known).cells(&target.axes, &mut |eval| {
            if let Some(f) = filter
                && eval.eval(f)? == 0.0
            {
                return Ok(());
            }
            let x = eval.eval(target)?;
            // The end of a missing cell is taken along by its transform.
            if x.is_nan() {
                return Ok(());
            }
            let clear = match (nearest(eval, end, side), side) {
                (Some(end), Side::Lower) => x >= end,
                (Some(end), Side::Upper) => x <= end,
                (None, _) => false,
            };
            if !clear {
                self.count += 1;
                let further = |a: f64, b: f64| if side == Side::Upper { a.max(b) } else { a.min(b) };
                self.most = Some(self.most.map_or(x, |m| further(m, x)));
            }
            Ok(())
        })
    }
}

/// How far in from its side an end can come at the cell of the evaluation; `None`: nobody says.
fn nearest(eval: &mut Eval, e: &Expr, side: Side) -> Option<f64> {
    if let Ok(x) = eval.eval(e) {
        return Some(x);
    }
    match &e.kind {
        ExprKind::Read { var, .. } => {
            let v = eval.hir.var(*var);
            let (lower, upper) = v.constraint.ends();
            let bound = if side == Side::Upper { lower } else { upper };
            nearest(eval, bound.filter(|_| !matches!(v.kind, VarKind::Let))?, side)
        }
        ExprKind::Binary(BinOp::Add, a, b) => Some(nearest(eval, a, side)? + nearest(eval, b, side)?),
        ExprKind::If { condition, then, otherwise } => {
            let taken = if eval.eval(condition).ok()? != 0.0 { then } else { otherwise };
            nearest(eval, taken, side)
        }
        _ => None,
    }
}

/// A continuous unknown that an expression depends on, itself or through a `let`.
fn moved_by(hir: &Hir, e: &Expr) -> Option<VarId> {
    let mut found = None;
    walk(e, &mut |e| {
        let ExprKind::Read { var, .. } = &e.kind else { return };
        let v = hir.var(*var);
        found = found.or_else(|| match v.kind {
            VarKind::Latent if v.ty == Ty::Real => Some(*var),
            VarKind::Param { .. } => Some(*var),
            VarKind::Let => hir.steps.iter().find_map(|s| match s {
                Step::Let { var: own, value, .. } if own == var => moved_by(hir, value),
                _ => None,
            }),
            _ => None,
        });
    });
    found
}

fn report(hir: &Hir, name: &str, dist: &str, end: &Expr, unknown: VarId, side: Side, reached: &Reached) -> Diagnostic {
    let v = hir.var(unknown);
    let (which, clear, extreme) = match side {
        Side::Lower => ("lower", "<", "min"),
        Side::Upper => ("upper", ">", "max"),
    };
    let data = if reached.count == 1 { "a value".into() } else { format!("{} values", reached.count) };
    let d = Code::MOVING_END
        .at(end.span, format!("the {which} end of `{dist}` moves with `{}`, and may pass {data} of `{name}`", v.name))
        .here("the density falls to 0 where this passes a datum")
        .label(v.span, "an unknown");
    let d = match reached.most {
        Some(x) if side == Side::Upper => d.note(format!("the largest of these is {x}")),
        Some(x) => d.note(format!("the smallest of these is {x}")),
        None => d,
    };
    let itself = matches!(&end.kind, ExprKind::Read { var, .. } if *var == unknown);
    let joint = matches!(v.constraint, Constraint::Simplex | Constraint::Ordered { .. });
    d.help(match itself && v.axes.is_empty() && !joint {
        true => format!(
            "let the range of `{0}` end at the data: `{0}: real {clear} {extreme}({name} over …)`, with a prior on that \
             range; or draw by `--method nuts`",
            v.name
        ),
        false => "choose a distribution whose range is known before the fit; or draw by `--method nuts`".into(),
    })
}
