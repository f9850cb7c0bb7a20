//! What values an expression can take, as an interval: enough to see a scale that may be negative.

use crate::hir::*;

/// A closed interval on the extended reals, with whether the value is known to be finite-bounded by design or just unknown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    pub lower: f64,
    pub upper: f64,
}

impl Range {
    pub const ALL: Range = Range { lower: f64::NEG_INFINITY, upper: f64::INFINITY };

    pub fn point(v: f64) -> Range {
        if v.is_nan() { Range::ALL } else { Range { lower: v, upper: v } }
    }

    fn new(lower: f64, upper: f64) -> Range {
        if lower.is_nan() || upper.is_nan() { Range::ALL } else { Range { lower, upper } }
    }

    fn hull(self, o: Range) -> Range {
        Range::new(self.lower.min(o.lower), self.upper.max(o.upper))
    }
}

/// The range of values of an expression, given the ranges of its locals.
pub fn range(hir: &Hir, e: &Expr, locals: &dyn Fn(LocalId) -> Range) -> Range {
    let r = |e: &Expr| range(hir, e, locals);
    match &e.kind {
        ExprKind::Number(v) => Range::point(*v),
        ExprKind::Read { var, .. } => var_range(hir, hir.var(*var)),
        ExprKind::Local(l) => locals(*l),
        ExprKind::Bind { local, value, body } => {
            let v = r(value);
            range(hir, body, &|l| if l == *local { v } else { locals(l) })
        }
        ExprKind::Position(_) | ExprKind::Size(_) => Range::new(0.0, f64::INFINITY),
        ExprKind::At { body, .. } => r(body),
        ExprKind::If { then, otherwise, .. } => r(then).hull(r(otherwise)),
        ExprKind::List { items, .. } => items.iter().map(r).reduce(Range::hull).unwrap_or(Range::ALL),
        ExprKind::Reduce { op, body, .. } => match op {
            Reduction::Sum => {
                let b = r(body);
                Range::new(
                    if b.lower >= 0.0 { 0.0 } else { f64::NEG_INFINITY },
                    if b.upper <= 0.0 { 0.0 } else { f64::INFINITY },
                )
            }
            Reduction::Mean | Reduction::Min | Reduction::Max => r(body),
            Reduction::Sd => Range::new(0.0, f64::INFINITY),
            Reduction::Prod if r(body).lower >= 0.0 => Range::new(0.0, f64::INFINITY),
            Reduction::Any | Reduction::All => Range::new(0.0, 1.0),
            Reduction::Prod | Reduction::LogSumExp => Range::ALL,
        },
        ExprKind::Unary(op, a) => unary(*op, r(a)),
        ExprKind::Binary(op, a, b) => binary(*op, r(a), r(b), a.is_same_as(b)),
        ExprKind::Noise(..) | ExprKind::Matrix { .. } | ExprKind::Ode(_) => Range::ALL,
    }
}

/// The range of a declared value, from its type and constraint.
pub fn var_range(hir: &Hir, var: &Var) -> Range {
    match (&var.ty, &var.kind) {
        (Ty::Bool, _) => return Range::new(0.0, 1.0),
        (_, VarKind::Const { value }) => return range(hir, value, &|_| Range::ALL),
        _ => {}
    }
    let end = |e: &Expr| range(hir, e, &|_| Range::ALL);
    match &var.constraint {
        Constraint::None => Range::ALL,
        Constraint::Lower { bound, .. } => Range::new(end(bound).lower, f64::INFINITY),
        Constraint::Upper { bound, .. } => Range::new(f64::NEG_INFINITY, end(bound).upper),
        Constraint::Interval { lower, upper, .. } => Range::new(end(lower).lower, end(upper).upper),
        Constraint::Simplex => Range::new(0.0, 1.0),
        Constraint::UnitVector => Range::new(-1.0, 1.0),
        Constraint::Matrix(_) | Constraint::ZeroSum => Range::ALL,
        Constraint::Ordered { positive } => Range::new(if *positive { 0.0 } else { f64::NEG_INFINITY }, f64::INFINITY),
    }
}

fn unary(op: UnOp, a: Range) -> Range {
    let map = |f: fn(f64) -> f64| Range::new(f(a.lower), f(a.upper));
    match op {
        UnOp::Neg => Range::new(-a.upper, -a.lower),
        UnOp::Abs => {
            if a.lower >= 0.0 {
                a
            } else {
                Range::new(0.0, a.upper.max(-a.lower))
            }
        }
        UnOp::Sqrt => Range::new(a.lower.max(0.0).sqrt(), a.upper.max(0.0).sqrt()),
        UnOp::Exp => map(f64::exp),
        UnOp::Expm1 => map(f64::exp_m1),
        UnOp::Log => Range::new(a.lower.max(0.0).ln(), a.upper.max(0.0).ln()),
        UnOp::Log1p => Range::new(a.lower.max(-1.0).ln_1p(), a.upper.max(-1.0).ln_1p()),
        UnOp::Tanh | UnOp::Erf | UnOp::Sin | UnOp::Cos | UnOp::Sign | UnOp::BesselRatio => Range::new(-1.0, 1.0),
        UnOp::Sigmoid | UnOp::Phi | UnOp::Not => Range::new(0.0, 1.0),
        UnOp::Softplus | UnOp::InvMills | UnOp::Trigamma | UnOp::LogBesselI0 => Range::new(0.0, f64::INFINITY),
        UnOp::LogPhi => Range::new(f64::NEG_INFINITY, 0.0),
        UnOp::Atan => map(f64::atan),
        UnOp::Floor => map(f64::floor),
        UnOp::Ceil => map(f64::ceil),
        UnOp::Round => map(f64::round),
        UnOp::Recip if a.lower >= 0.0 => Range::new(1.0 / a.upper, f64::INFINITY),
        UnOp::Recip | UnOp::Lgamma | UnOp::Digamma => Range::ALL,
    }
}

fn binary(op: BinOp, a: Range, b: Range, same: bool) -> Range {
    match op {
        BinOp::Add => Range::new(a.lower + b.lower, a.upper + b.upper),
        BinOp::Sub => Range::new(a.lower - b.upper, a.upper - b.lower),
        BinOp::Mul if same => Range::new(0.0, f64::INFINITY),
        BinOp::Mul => products(a, b),
        BinOp::Div if b.lower == 0.0 && b.upper == 0.0 => Range::ALL,
        BinOp::Div if b.lower >= 0.0 || b.upper <= 0.0 => {
            let inverse = if b.lower >= 0.0 {
                Range::new(1.0 / b.upper, if b.lower == 0.0 { f64::INFINITY } else { 1.0 / b.lower })
            } else {
                Range::new(if b.upper == 0.0 { f64::NEG_INFINITY } else { 1.0 / b.upper }, 1.0 / b.lower)
            };
            products(a, inverse)
        }
        BinOp::Div => Range::ALL,
        BinOp::Pow if b.lower == b.upper && b.lower == b.lower.trunc() && (b.lower % 2.0) == 0.0 => {
            Range::new(0.0, f64::INFINITY)
        }
        BinOp::Pow if a.lower >= 0.0 => Range::new(0.0, f64::INFINITY),
        BinOp::Min => Range::new(a.lower.min(b.lower), a.upper.min(b.upper)),
        BinOp::Max => Range::new(a.lower.max(b.lower), a.upper.max(b.upper)),
        BinOp::Less | BinOp::LessEq | BinOp::Equal | BinOp::NotEqual | BinOp::And | BinOp::Or => Range::new(0.0, 1.0),
        BinOp::Pow | BinOp::XLogY | BinOp::LogGammaDraw | BinOp::LogGammaDrawSlope => Range::ALL,
    }
}

fn products(a: Range, b: Range) -> Range {
    // 0 · ∞ at an end of an interval is 0: the end itself is a limit, not a value.
    let m = |x: f64, y: f64| if x == 0.0 || y == 0.0 { 0.0 } else { x * y };
    let p = [m(a.lower, b.lower), m(a.lower, b.upper), m(a.upper, b.lower), m(a.upper, b.upper)];
    Range::new(p.iter().copied().fold(f64::INFINITY, f64::min), p.iter().copied().fold(f64::NEG_INFINITY, f64::max))
}

impl Expr {
    /// The same read of the same cell: enough to see a square.
    pub(super) fn is_same_as(&self, other: &Expr) -> bool {
        match (&self.kind, &other.kind) {
            (ExprKind::Local(a), ExprKind::Local(b)) => a == b,
            (ExprKind::Read { var: a, .. }, ExprKind::Read { var: b, .. }) => {
                a == b && self.axes == other.axes && self.axes.len() == self.index_count()
            }
            _ => false,
        }
    }

    fn index_count(&self) -> usize {
        match &self.kind {
            ExprKind::Read { index, .. } => index.iter().filter(|i| matches!(i, Index::Axis(_))).count(),
            _ => 0,
        }
    }
}
