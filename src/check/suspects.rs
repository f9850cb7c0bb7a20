//! What is legal and rarely meant: variances and precisions in the place of standard deviations, discrete unknowns as positive
//! numbers, codes in arithmetic, data that count twice.

use super::expr::walk;
use super::*;
use crate::diag::Code;

/// Distributions whose `sigma` is a standard deviation, or takes its place.
const SCALED: &[&str] = &[
    "Normal",
    "HalfNormal",
    "StudentT",
    "HalfStudentT",
    "Cauchy",
    "HalfCauchy",
    "Laplace",
    "Logistic",
    "LogNormal",
    "Gumbel",
];
/// A gamma prior with a shape and rate below this is the vague prior of a precision in BUGS.
const VAGUE: f64 = 0.011;
/// A prior around 0 as narrow as this is a precision of BUGS more often than a standard deviation.
const NARROW: f64 = 1.1e-3;
/// Names that codes have.
const CODES: &[&str] = &[
    "id", "group", "subject", "school", "county", "state", "region", "country", "district", "patient", "hospital",
    "person", "item", "site", "species", "zip", "zipcode", "postcode", "plot", "code",
];

impl<'a> Checker<'a, '_> {
    pub(super) fn suspects(&mut self) {
        let mut found = vec![];
        for step in &self.hir.steps {
            let (Step::Latent { dist, .. } | Step::Observe { dist, .. }) = step else { continue };
            if SCALED.contains(&dist.name.as_str())
                && let Some((.., sigma)) = dist.args.iter().find(|a| a.1 == "sigma")
                && sigma.span.file == dist.span.file
            {
                found.extend(self.variance(dist, sigma).or_else(|| self.precision(step, dist, sigma)));
            }
            if let Step::Observe { target, .. } = step {
                found.extend(self.truth_with_density(target, dist));
                found.extend(self.codes(dist));
            }
        }
        found.extend(self.observed_twice());
        found.into_iter().for_each(|d| self.diags.push(d));
    }

    /// `Normal(mu, sigma^2)`
    fn variance(&self, dist: &DistUse, sigma: &Expr) -> Option<Diagnostic> {
        let ExprKind::Binary(BinOp::Pow, base, power) = &sigma.kind else { return None };
        if !matches!(power.kind, ExprKind::Number(2.0)) {
            return None;
        }
        let (name, simple) = match &base.kind {
            ExprKind::Read { var, index } => (self.hir.var(*var).name.clone(), index.is_empty()),
            ExprKind::Number(v) => (format!("{v}"), true),
            _ => return None,
        };
        let rest = Span { start: base.span.end, end: sigma.span.end, ..sigma.span };
        let d = Code::VARIANCE_AS_SCALE
            .at(sigma.span, format!("`sigma` of `{}` is a standard deviation, and this is a square", dist.name))
            .here("a variance?");
        Some(match simple {
            true => d.help(format!("if `{name}` is the standard deviation, write `{name}`")).edit(rest, ""),
            false => d.help("if what is squared is the standard deviation, leave the square out").edit(rest, ""),
        })
    }

    /// `Normal(0, 0.001)` and `Normal(mu, tau)` with `tau ~ Gamma(0.001, 0.001)`, as BUGS has them.
    fn precision(&self, step: &Step, dist: &DistUse, sigma: &Expr) -> Option<Diagnostic> {
        if dist.name != "Normal" {
            return None;
        }
        let start = Span { end: sigma.span.start, ..sigma.span };
        let said = |what: String| {
            Code::PRECISION_AS_SCALE
                .at(sigma.span, format!("`sigma` of `Normal` is a standard deviation, and {what}"))
                .here("a precision?")
        };
        match &sigma.kind {
            ExprKind::Number(v) if *v <= NARROW && matches!(step, Step::Latent { .. }) => {
                let zero = dist.args.iter().any(|a| a.1 == "mu" && matches!(a.2.kind, ExprKind::Number(0.0)));
                // 0.001, 1e-4, …
                let round = (v.log10() - v.log10().round()).abs() < 1e-9;
                (zero && round).then(|| {
                    said(format!("{v} holds the latent at 0"))
                        .help(format!("if it is the precision of BUGS, write `Normal(0, precision: {v})`"))
                        .edit(start, "precision: ")
                })
            }
            ExprKind::Read { var, .. } if self.is_vague(*var) => {
                let name = &self.hir.var(*var).name;
                Some(
                    said(format!("the prior of `{name}` is the vague prior of a precision"))
                        .label(self.hir.var(*var).span, "declared here")
                        .help(format!("if `{name}` is a precision, name it: `precision: {name}`"))
                        .edit(start, "precision: "),
                )
            }
            ExprKind::Binary(BinOp::Div, one, of) | ExprKind::Binary(BinOp::Pow, of, one)
                if matches!(one.kind, ExprKind::Number(v) if v.abs() == 1.0)
                    && matches!(&of.kind, ExprKind::Read { var, .. } if self.is_vague(*var)) =>
            {
                let ExprKind::Read { var, .. } = &of.kind else { return None };
                let name = &self.hir.var(*var).name;
                let text = format!("precision: {name}");
                Some(
                    said(format!("1 / `{name}` is a variance where `{name}` is a precision"))
                        .label(self.hir.var(*var).span, "declared here")
                        .help(format!("write `{text}`, or `1 / sqrt({name})`"))
                        .edit(sigma.span, text),
                )
            }
            _ => None,
        }
    }

    /// Whether a latent's prior is `Gamma(0.001, 0.001)` or the like.
    fn is_vague(&self, var: VarId) -> bool {
        self.hir.steps.iter().any(|s| match s {
            Step::Latent { var: v, dist, .. } if *v == var => {
                let small = |name: &str| {
                    dist.args.iter().any(|a| a.1 == name && matches!(a.2.kind, ExprKind::Number(x) if x <= VAGUE))
                };
                dist.name == "Gamma" && small("shape") && small("rate")
            }
            _ => false,
        })
    }

    /// A `bool` column under a distribution of real numbers.
    fn truth_with_density(&self, target: &Expr, dist: &DistUse) -> Option<Diagnostic> {
        let ExprKind::Read { var, .. } = &target.kind else { return None };
        let v = self.hir.var(*var);
        if v.ty != Ty::Bool || dist.support.ty != Ty::Real || !matches!(v.kind, VarKind::Column(_)) {
            return None;
        }
        Some(
            Code::DENSITY_OF_TRUTH
                .at(dist.span, format!("`{}` is a density, and `{}` is true or false", dist.name, v.name))
                .here("gives real numbers")
                .label(v.span, "declared here")
                .help(format!("the chance that it is true is modelled by `observe {} ~ Bernoulli(logit: …)`", v.name)),
        )
    }

    /// `b * school_id`
    fn codes(&self, dist: &DistUse) -> Option<Diagnostic> {
        let mut found = None;
        for (.., arg) in &dist.args {
            walk(arg, &mut |e| {
                let ExprKind::Binary(BinOp::Mul, a, b) = &e.kind else { return };
                for e in [a, b] {
                    let ExprKind::Read { var, .. } = &e.kind else { continue };
                    let v = self.hir.var(*var);
                    let lower = v.name.to_lowercase();
                    let code = CODES.contains(&lower.as_str())
                        || ["_id", "_code", "_group"].iter().any(|end| lower.ends_with(end));
                    if v.ty == Ty::Int && matches!(v.kind, VarKind::Column(_)) && code && found.is_none() {
                        found = Some((v, e.span));
                    }
                }
            });
        }
        let (v, span) = found.filter(|f| f.1.file == dist.span.file)?;
        Some(
            Code::CODE_AS_NUMBER
                .at(span, format!("`{}` looks like a code, and is used as a quantity", v.name))
                .here("twice the code is twice the effect")
                .label(v.span, "declared here")
                .help(format!(
                    "declare `{0}: category`, and give each its effect: `latent a[{0}] ~ Normal(0, 1)`, used as `a[{0}]`",
                    v.name
                )),
        )
    }

    /// Two `observe` of all cells of one column.
    fn observed_twice(&self) -> Vec<Diagnostic> {
        let mut seen: HashMap<VarId, Span> = HashMap::new();
        let mut found = vec![];
        for step in &self.hir.steps {
            let Step::Observe { target, filter: None, .. } = step else { continue };
            let ExprKind::Read { var, index } = &target.kind else { continue };
            let v = self.hir.var(*var);
            let all = index.iter().all(|i| matches!(i, Index::Axis(_)));
            if !all || !matches!(v.kind, VarKind::Column(_)) {
                continue;
            }
            let Some(first) = seen.insert(*var, target.span) else { continue };
            found.push(
                Code::OBSERVED_TWICE
                    .at(target.span, format!("`{}` is observed twice: each of its cells counts as two", v.name))
                    .here("the second time")
                    .label(first, "the first time")
                    .help("keep one of them, or say with `where` which rows each is for"),
            );
        }
        found
    }

    /// `Normal(0, k)` with a discrete `k` that can be 0: such a value has a probability of its own.
    pub(super) fn discrete_at_edge(&mut self, what: &str, name: &str, v: &Expr, edge: f64) {
        let mut random = false;
        walk(v, &mut |e| {
            random |=
                matches!(&e.kind, ExprKind::Read { var, .. } if matches!(self.hir.var(*var).kind, VarKind::Latent));
        });
        if !random || !matches!(v.ty, Ty::Int | Ty::Bool) {
            return;
        }
        let d = Code::DISCRETE_AS_REAL
            .at(
                v.span,
                format!("`{what}` of `{name}` is a real number above {edge}, and this is discrete and can be {edge}"),
            )
            .here(format!("{edge} with some probability"));
        self.diags.push(d.help("let it start above: `DiscreteUniform(1, 10)`, or add to it; or choose a value for each case, `if k then 2 else 1`"));
    }

    /// `sqrt(b)` of a latent that can be negative.
    pub(super) fn may_have_no_value(&mut self, function: &str, x: &Expr, env: &Env) {
        let ExprKind::Read { var, .. } = &x.kind else { return };
        let v = self.hir.var(*var);
        if !matches!(v.kind, VarKind::Latent) || env.scope != Scope::Model || self.range_in(x, env).lower >= 0.0 {
            return;
        }
        let d = Code::MAY_LEAVE_DOMAIN
            .at(x.span, format!("`{function}` needs a positive number, and the latent `{}` can be negative", v.name))
            .here("may be negative")
            .label(v.span, "declared here")
            .help(format!(
                "give it a positive prior, `latent {0} ~ HalfNormal(1)`, or a type, `latent {0}: real > 0 ~ …`",
                v.name
            ));
        self.diags.push(d);
    }
}
