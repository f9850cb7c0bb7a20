//! `truncated(D, lower: a, upper: b)` and `censored(D, left: c, right: c, interval: u)`: a distribution of the library
//! or the model, cut to a range, or observed only as lying to one side of a value.

use super::cut::choose;
use super::dist::Drawn;
use super::expr::{binary, is_bad, number};
use super::*;
use crate::diag::Code;
use crate::syntax::ast::{Arg, ExprKind as A};

/// The distributions that change another one, with the form to write.
pub(super) const MODIFIERS: &[(&str, &str)] =
    &[("truncated", "truncated(D, lower: a, upper: b)"), ("censored", "censored(D, right: c)")];

/// What is known of a value beside the value itself; conditions and ends are data.
#[derive(Clone, Default)]
pub(super) struct Censoring {
    pub span: Span,
    /// Where true, the value is at most the one observed.
    left: Option<Expr>,
    /// Where true, the value is at least the one observed.
    right: Option<Expr>,
    /// Where it is above the value observed, the value lies between the two.
    interval: Option<Expr>,
}

impl<'a> Checker<'a, '_> {
    /// A call of one of [`MODIFIERS`].
    pub(super) fn modified(
        &mut self,
        e: &'a ast::Expr,
        name: &'a str,
        args: &'a [Arg],
        drawn: &Drawn,
        env: &Env,
    ) -> Option<DistUse> {
        let known: &[&str] = if name == "truncated" { &["lower", "upper"] } else { &["left", "right", "interval"] };
        let form = MODIFIERS.iter().find(|m| m.0 == name).map_or("", |m| m.1);
        let [Arg { name: None, value: inner, .. }, rest @ ..] = args else {
            let d = Code::WRONG_ARGUMENT_COUNT
                .at(e.span, format!("`{name}` of which distribution?"))
                .here("the distribution comes first")
                .help(format!("write `{form}`"));
            self.diags.push(d);
            return None;
        };
        if name == "truncated"
            && let A::Call { callee, .. } = &inner.kind
            && matches!(&callee.kind, A::Name(n) if n == "mixture")
        {
            let d = Code::CANNOT_TRUNCATE
                .at(e.span, "how much of a mixture lies in a range depends on its weights, and is not known")
                .here("a mixture, truncated")
                .help("truncate the components, where that is meant: `mixture(p, truncated(D1, …), truncated(D2, …))`");
            self.diags.push(d);
            return None;
        }
        let mut given: Vec<(&str, Expr)> = vec![];
        for arg in rest {
            let Some(key) = arg.name.as_ref().filter(|n| known.contains(&n.name.as_str())) else {
                let at = arg.name.as_ref().map_or(arg.value.span, |n| n.span);
                let what = arg.name.as_ref().map_or("an argument without a name".into(), |n| format!("`{}`", n.name));
                let d = Code::UNKNOWN_ARGUMENT
                    .at(at, format!("`{name}` has no use for {what}"))
                    .here("unknown argument")
                    .help(format!("its arguments are `{}:`", known.join(":`, `")));
                self.diags.push(d);
                return None;
            };
            if given.iter().any(|g| g.0 == key.name) {
                let d = Code::ARGUMENT_TWICE
                    .at(key.span, format!("`{}` is given twice", key.name))
                    .here("the second time")
                    .help("remove one of them");
                self.diags.push(d);
                return None;
            }
            let all = union(&drawn.axes, &drawn.over);
            let v = self.expr(&arg.value, &Env { context: all.clone(), ..env.clone() });
            let v = match key.name.as_str() {
                "left" | "right" => self.data_condition(v, &format!("`{}`", key.name)),
                _ => self.numeric(v, "use this as an end"),
            };
            if is_bad(&v) || !self.check_plates(&v, &all, drawn) {
                return None;
            }
            given.push((&key.name, v));
        }
        if given.is_empty() {
            let d = Code::WRONG_ARGUMENT_COUNT
                .at(e.span, format!("`{name}` changes nothing here"))
                .here("no ends and no conditions")
                .help(format!("write `{form}`"));
            self.diags.push(d);
            return None;
        }
        let mut take = |key: &str| given.iter().position(|g| g.0 == key).map(|i| given.swap_remove(i).1);
        let drawn = if name == "truncated" {
            let (lower, upper) = (take("lower"), take("upper"));
            let ends = match (lower, upper) {
                (Some(lower), Some(upper)) => Constraint::Interval { lower, upper, open: false },
                (Some(bound), None) => Constraint::Lower { bound, open: false },
                (None, Some(bound)) => Constraint::Upper { bound, open: false },
                (None, None) => return None,
            };
            let declared = match &drawn.declared {
                None => ends,
                Some((_, already)) => self.meet(already, ends, e.span)?,
            };
            Drawn { declared: Some((e.span, declared)), ..drawn.clone() }
        } else {
            let censoring =
                Censoring { span: e.span, left: take("left"), right: take("right"), interval: take("interval") };
            self.check_censoring(censoring, drawn)?
        };
        self.dist(inner, &drawn, env)
    }

    fn check_censoring(&mut self, censoring: Censoring, drawn: &Drawn) -> Option<Drawn> {
        let said = |message: &str, help: &str| {
            Some(Code::CANNOT_CENSOR.at(censoring.span, message).here("censored").label(drawn.span, "this").help(help))
        };
        let wrong = match () {
            _ if drawn.observed.is_none() => said(
                "only an observation can be censored",
                "a latent is known to lie in a range by its type, `latent s: real > 2 ~ …`, or by `truncated(…)`",
            ),
            _ if drawn.censoring.is_some() => {
                said("this is censored twice", "give all of `left:`, `right:` and `interval:` to one `censored(…)`")
            }
            _ if !drawn.over.is_empty() => {
                said("values that are observed jointly cannot be censored one by one", "remove `over`")
            }
            _ => None,
        };
        let latent = censoring.interval.as_ref().and_then(|e| self.latent_in(e));
        let latent = latent.map(|(var, span)| {
            Code::CANNOT_CENSOR
                .at(span, format!("the end of an interval is data, and `{}` is not", self.hir.var(var).name))
                .here("not known before fitting")
                .help("write a column that holds the upper ends")
        });
        if let Some(d) = wrong.or(latent) {
            self.diags.push(d);
            return None;
        }
        Some(Drawn { censoring: Some(censoring), ..drawn.clone() })
    }

    /// A type and a truncation of the same latent: values that both admit.
    fn meet(&mut self, declared: &Constraint, ends: Constraint, span: Span) -> Option<Constraint> {
        use Constraint as C;
        let parts = |c: &C| match c {
            C::Lower { bound, .. } => Some((Some(bound.clone()), None)),
            C::Upper { bound, .. } => Some((None, Some(bound.clone()))),
            C::Interval { lower, upper, .. } => Some((Some(lower.clone()), Some(upper.clone()))),
            C::None => Some((None, None)),
            _ => None,
        };
        let (Some((l1, u1)), Some((l2, u2))) = (parts(declared), parts(&ends)) else {
            self.diags.push(
                Code::CANNOT_TRUNCATE
                    .at(span, "only single numbers are truncated, and this type ties several together")
                    .here("truncated")
                    .help("remove the type, or the truncation"),
            );
            return None;
        };
        let pick = |op, a: Option<Expr>, b: Option<Expr>| match (a, b) {
            (Some(a), Some(b)) => Some(binary(op, a, b, Ty::Real, span)),
            (a, b) => a.or(b),
        };
        Some(match (pick(BinOp::Max, l1, l2), pick(BinOp::Min, u1, u2)) {
            (Some(lower), Some(upper)) => C::Interval { lower, upper, open: false },
            (Some(bound), None) => C::Lower { bound, open: false },
            (None, Some(bound)) => C::Upper { bound, open: false },
            (None, None) => C::None,
        })
    }

    /// The log probability of what was observed of a value: its density where it is known, a tail or the probability of
    /// an interval where it is not. `kept`: the ends to which the distribution is truncated.
    pub(super) fn censor(
        &mut self,
        logpdf: Expr,
        x: &Expr,
        kept: (Option<Expr>, Option<Expr>),
        form: DistDecl<'a>,
        inner: &Env,
        drawn: &Drawn,
    ) -> Option<Expr> {
        let Some(c) = &drawn.censoring else { return Some(logpdf) };
        let whole = x.ty != Ty::Real;
        // At least 3 is more than 2.
        let one = number(1.0, Ty::Int, x.span);
        let from = if whole { binary(BinOp::Sub, x.clone(), one, Ty::Int, x.span) } else { x.clone() };
        let (lower, upper) = kept;
        let right = c.right.clone().map(|flag| (flag, Some(from.clone()), upper.clone()));
        let left = c.left.clone().map(|flag| (flag, lower.clone(), Some(x.clone())));
        let interval = c.interval.clone().map(|end| {
            let flag = binary(BinOp::Less, x.clone(), end.clone(), Ty::Bool, c.span);
            (flag, Some(from.clone()), Some(end))
        });
        let mut out = logpdf;
        for (flag, lower, upper) in [interval, left, right].into_iter().flatten() {
            let Some(tail) = self.log_kept(form, inner, lower, upper, c.span) else {
                let name = &form.name.name;
                let own = self.forms(name).is_some_and(|f| f[0].name.span.file == self.current.file);
                let d = Code::CANNOT_CENSOR
                    .at(c.span, format!("`{name}` cannot be censored: its distribution function is not known"))
                    .here("needs the probability beyond a value");
                self.diags.push(match own {
                    true => d.help("add `cdf(x) = …` to the distribution"),
                    false => d.help("use a distribution with a `logcdf`, such as `Weibull`, `LogNormal` or `Normal`"),
                });
                return None;
            };
            out = choose(flag, tail, out);
        }
        Some(out)
    }
}
