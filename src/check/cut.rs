//! The probability that a latent's type keeps of its prior, and densities that are 0 outside a support.

use super::bounds::Range;
use super::expr::{binary, bind, number, unary};
use super::*;

/// One end of a range, and whether it is excluded.
type End = Option<(Expr, bool)>;

impl<'a> Checker<'a, '_> {
    /// log P(lower < x < upper). `None`: the distribution has no distribution function.
    pub(super) fn log_kept(
        &mut self,
        form: DistDecl<'a>,
        inner: &Env,
        lower: Option<Expr>,
        upper: Option<Expr>,
        span: Span,
    ) -> Option<Expr> {
        let (l, u) = (self.fresh_local(), self.fresh_local());
        let log = |op: UnOp, e: Expr| unary(op, e, Ty::Real, span);
        let sub = |a: Expr, b: Expr| binary(BinOp::Sub, a, b, Ty::Real, span);
        let kept = match (&lower, &upper) {
            (None, None) => return None,
            (None, Some(u_value)) => self.log_tail(form, inner, u, u_value, true)?,
            (Some(l_value), None) => self.log_tail(form, inner, l, l_value, false)?,
            (Some(l_value), Some(u_value)) => {
                if !form.items.iter().any(|i| i.name.name == "logcdf") {
                    let cdf = [(l, l_value), (u, u_value)].map(|(id, v)| self.part(form, inner, "cdf", id, v));
                    let [Some(below_l), Some(below_u)] = cdf else { return None };
                    log(UnOp::Log, sub(below_u, below_l))
                } else {
                    // The difference of the two smaller tails: those below both ends, or those above.
                    let mut tail = |id, v, below| {
                        let e = self.log_tail(form, inner, id, v, below)?;
                        let local = self.fresh_local();
                        let read = Expr { kind: ExprKind::Local(local), ty: Ty::Real, axes: e.axes.clone(), span };
                        Some((local, e, read))
                    };
                    let (below_l, below_u) = (tail(l, l_value, true)?, tail(u, u_value, true)?);
                    let (above_l, above_u) = (tail(l, l_value, false)?, tail(u, u_value, false)?);
                    let difference = |big: &Expr, small: &Expr| {
                        let rest = log1m_exp(sub(small.clone(), big.clone()), span);
                        binary(BinOp::Add, big.clone(), rest, Ty::Real, span)
                    };
                    let left = binary(BinOp::Less, below_u.2.clone(), above_l.2.clone(), Ty::Bool, span);
                    let kept = choose(left, difference(&below_u.2, &below_l.2), difference(&above_l.2, &above_u.2));
                    [above_u, above_l, below_u, below_l].into_iter().fold(kept, |e, (local, v, _)| bind(local, v, e))
                }
            }
        };
        let kept = upper.into_iter().fold(kept, |e, v| bind(u, v, e));
        Some(lower.into_iter().fold(kept, |e, v| bind(l, v, e)))
    }

    /// The same for counts, whose lower end belongs to what is kept. Without a distribution function, up to a few counts
    /// are summed: `truncated(Poisson(rate), lower: 1)`.
    pub(super) fn log_kept_counts(
        &mut self,
        form: DistDecl<'a>,
        inner: &Env,
        support: &Support,
        (lower, upper): (Option<Expr>, Option<Expr>),
        span: Span,
    ) -> Option<Expr> {
        const FEW: f64 = 20.0;
        let one = number(1.0, Ty::Int, span);
        let below = lower.clone().map(|l| binary(BinOp::Sub, l, one, Ty::Int, span));
        if let Some(kept) = self.log_kept(form, inner, below, upper.clone(), span) {
            return Some(kept);
        }
        let Constraint::Lower { bound: Expr { kind: ExprKind::Number(first), .. }, .. } = support.constraint else {
            return None;
        };
        let value = |e: &Option<Expr>| match e {
            Some(e) => {
                let r = self.range_in(e, inner);
                (r.lower == r.upper).then_some(Some(r.lower))
            }
            None => Some(None),
        };
        let (lower, upper) = (value(&lower)?, value(&upper)?);
        // Those that are kept, if there is an upper end; else those that are not.
        let (from, to) = match (lower, upper) {
            (l, Some(u)) => (l.unwrap_or(first).ceil(), u.floor()),
            (Some(l), None) => (first, l.ceil() - 1.0),
            (None, None) => return None,
        };
        if to - from > FEW || to < from {
            return None;
        }
        let mut total: Option<Expr> = None;
        for k in from as i64..=to as i64 {
            let x = self.fresh_local();
            let at = number(k as f64, Ty::Int, span);
            let p = unary(UnOp::Exp, bind(x, at.clone(), self.part(form, inner, "logpdf", x, &at)?), Ty::Real, span);
            total = Some(match total {
                Some(sum) => binary(BinOp::Add, sum, p, Ty::Real, span),
                None => p,
            });
        }
        let total = total?;
        Some(match upper {
            Some(_) => unary(UnOp::Log, total, Ty::Real, span),
            None => unary(UnOp::Log1p, unary(UnOp::Neg, total, Ty::Real, span), Ty::Real, span),
        })
    }

    /// The log of the probability below (or above) a value that is bound as `x`.
    fn log_tail(&mut self, form: DistDecl<'a>, inner: &Env, x: LocalId, value: &Expr, below: bool) -> Option<Expr> {
        let (own, other) = if below { ("logcdf", "logccdf") } else { ("logccdf", "logcdf") };
        if let Some(e) = self.part(form, inner, own, x, value) {
            return Some(e);
        }
        if let Some(e) = self.part(form, inner, "cdf", x, value) {
            let span = e.span;
            return Some(match below {
                true => unary(UnOp::Log, e, Ty::Real, span),
                false => unary(UnOp::Log1p, unary(UnOp::Neg, e, Ty::Real, span), Ty::Real, span),
            });
        }
        let e = self.part(form, inner, other, x, value)?;
        let span = e.span;
        Some(log1m_exp(e, span))
    }

    /// The body of `name(x)` of a distribution, for a value that is bound as `x`.
    fn part(&mut self, form: DistDecl<'a>, inner: &Env, name: &str, x: LocalId, value: &Expr) -> Option<Expr> {
        let item = form.items.iter().find(|i| i.name.name == name)?;
        let arg = item.arg.as_ref()?;
        let mut env = inner.clone();
        let local = Local { id: x, ty: Ty::Real, axes: value.axes.clone(), range: Range::ALL };
        env.locals.push((arg.name.clone(), local));
        Some(self.expr(&item.value, &env))
    }

    /// Whether an observed value may lie outside a support whose ends are not known before the fit: then the density
    /// must be 0 there. Ends that are known are compared with the data when these are bound.
    pub(super) fn inside(&self, x: &Expr, support: &Constraint, args: &[(LocalId, String, Expr)]) -> Option<Expr> {
        let (lower, upper) = ends(support)?;
        let test = |end: End, op: fn(Expr, Expr) -> (Expr, Expr)| {
            let (bound, _) = end?;
            self.latent_in(&closed(bound.clone(), args))?;
            let (a, b) = op(bound, x.clone());
            Some(binary(BinOp::LessEq, a, b, Ty::Bool, x.span))
        };
        let both = [test(lower, |bound, x| (bound, x)), test(upper, |bound, x| (x, bound))];
        both.into_iter().flatten().reduce(|a, b| binary(BinOp::And, a, b, Ty::Bool, x.span))
    }
}

/// A constraint in terms of a distribution's arguments, as an expression of other values.
pub(super) fn close(c: Constraint, args: &[(LocalId, String, Expr)]) -> Constraint {
    match c {
        Constraint::Lower { bound, open } => Constraint::Lower { bound: closed(bound, args), open },
        Constraint::Upper { bound, open } => Constraint::Upper { bound: closed(bound, args), open },
        Constraint::Interval { lower, upper, open } => {
            Constraint::Interval { lower: closed(lower, args), upper: closed(upper, args), open }
        }
        other => other,
    }
}

pub(super) fn closed(e: Expr, args: &[(LocalId, String, Expr)]) -> Expr {
    match e.kind {
        ExprKind::Number(_) => e,
        ExprKind::Local(l) => args.iter().find(|a| a.0 == l).map_or(e, |a| a.2.clone()),
        // Only what an end needs: a chain's location is no part of its range.
        _ => args.iter().rev().fold(e, |body, (local, _, value)| match mentions(&body, *local) {
            true => bind(*local, value.clone(), body),
            false => body,
        }),
    }
}

fn mentions(e: &Expr, local: LocalId) -> bool {
    let mut found = false;
    expr::walk(e, &mut |e| found |= matches!(&e.kind, ExprKind::Local(l) if *l == local));
    found
}

/// The two ends of an interval; `None` for what is not one.
pub(super) fn ends(c: &Constraint) -> Option<(End, End)> {
    match c.clone() {
        Constraint::None => Some((None, None)),
        Constraint::Lower { bound, open } => Some((Some((bound, open)), None)),
        Constraint::Upper { bound, open } => Some((None, Some((bound, open)))),
        Constraint::Interval { lower, upper, open } => Some((Some((lower, open)), Some((upper, open)))),
        Constraint::Simplex
        | Constraint::Matrix(_)
        | Constraint::UnitVector
        | Constraint::ZeroSum
        | Constraint::Ordered { .. } => None,
    }
}

/// `if condition then a else b`, of reals.
pub(super) fn choose(condition: Expr, a: Expr, b: Expr) -> Expr {
    let (axes, span) = (union(&condition.axes, &union(&a.axes, &b.axes)), a.span);
    let kind = ExprKind::If { condition: condition.into(), then: a.into(), otherwise: b.into() };
    Expr { kind, ty: Ty::Real, axes, span }
}

/// log(1 - e^x) for x < 0, without cancellation at either end.
fn log1m_exp(x: Expr, span: Span) -> Expr {
    let f = |op: UnOp, e: Expr| unary(op, e, Ty::Real, span);
    let half = binary(BinOp::Less, number(-std::f64::consts::LN_2, Ty::Real, span), x.clone(), Ty::Bool, span);
    let near_zero = f(UnOp::Log, f(UnOp::Neg, f(UnOp::Expm1, x.clone())));
    choose(half, near_zero, f(UnOp::Log1p, f(UnOp::Neg, f(UnOp::Exp, x))))
}

/// A choice between the values of two distributions; both ranges have the same form.
pub(super) fn choose_range(condition: &Expr, a: Constraint, b: Constraint) -> Constraint {
    let pick = |a: Expr, b: Expr| match (&a.kind, &b.kind) {
        (ExprKind::Number(x), ExprKind::Number(y)) if x == y => a,
        _ => choose(condition.clone(), a, b),
    };
    use Constraint as C;
    match (a, b) {
        (C::Lower { bound: x, open }, C::Lower { bound: y, .. }) => C::Lower { bound: pick(x, y), open },
        (C::Upper { bound: x, open }, C::Upper { bound: y, .. }) => C::Upper { bound: pick(x, y), open },
        (C::Interval { lower: x, upper: z, open }, C::Interval { lower: y, upper: w, .. }) => {
            C::Interval { lower: pick(x, y), upper: pick(z, w), open }
        }
        (a, _) => a,
    }
}
