//! What other languages call a distribution or an argument of ours, and lines that only make sense there.

use super::*;
use crate::diag::Code;
use crate::syntax::ast::{Arg, ExprKind as A};
use crate::syntax::explain::{MODULES, formula, told};

/// A distribution of another language in lower case without `_`; ours; how it differs, if it does.
const FAMILIES: &[(&str, &str, &str)] = &[
    ("n", "Normal", ""),
    ("gauss", "Normal", ""),
    ("gaussian", "Normal", ""),
    ("norm", "Normal", ""),
    (
        "dnorm",
        "Normal",
        "in BUGS and JAGS the second argument of `dnorm` is a precision, here it is a standard deviation: `Normal(mu, precision: tau)` takes a precision",
    ),
    ("stdnormal", "Normal(0, 1)", ""),
    ("truncatednormal", "truncated(Normal(mu, sigma), lower: a, upper: b)", ""),
    ("truncnorm", "truncated(Normal(mu, sigma), lower: a, upper: b)", ""),
    ("t", "StudentT", "the order is `StudentT(nu, mu, sigma)`"),
    ("dt", "StudentT", "the order is `StudentT(nu, mu, sigma)`; BUGS has mu, a precision and nu"),
    ("std", "StudentT", "the order is `StudentT(nu, mu, sigma)`"),
    ("student", "StudentT", "the order is `StudentT(nu, mu, sigma)`"),
    ("halft", "HalfStudentT", ""),
    ("doubleexponential", "Laplace", ""),
    ("ddexp", "Laplace", "in BUGS the second argument of `ddexp` is a rate, here it is a scale"),
    ("lnorm", "LogNormal", ""),
    ("dlnorm", "LogNormal", "in BUGS the second argument of `dlnorm` is a precision; here `sigma` is 1 / sqrt of that"),
    ("ig", "InvGamma", ""),
    ("inversegamma", "InvGamma", ""),
    ("ga", "Gamma", ""),
    ("dexp", "Exponential", ""),
    ("expon", "Exponential", ""),
    ("unif", "Uniform", ""),
    ("logis", "Logistic", ""),
    ("par", "Pareto", ""),
    ("chi2", "ChiSquare", ""),
    ("chisq", "ChiSquare", ""),
    ("chisqr", "ChiSquare", ""),
    ("chisquared", "ChiSquare", ""),
    ("weib", "Weibull", "in BUGS the second argument of `dweib` is a rate; here it is the scale, lambda^(-1 / shape)"),
    ("exgaussian", "ExpModNormal", ""),
    ("bern", "Bernoulli", ""),
    ("bernoullilogit", "Bernoulli(logit: …)", ""),
    ("bernoullilogits", "Bernoulli(logit: …)", ""),
    ("bin", "Binomial", "the number of trials comes first: `Binomial(n, p)`"),
    ("binom", "Binomial", "the number of trials comes first: `Binomial(n, p)`"),
    ("binomiallogit", "Binomial(n, logit: …)", ""),
    ("pois", "Poisson", ""),
    ("poissonlog", "Poisson(log: …)", ""),
    ("geom", "Geometric", ""),
    ("hyper", "Hypergeometric", ""),
    ("cat", "Categorical", ""),
    ("categoricallogit", "Categorical(logit: …)", ""),
    ("multi", "Multinomial", ""),
    ("multinom", "Multinomial", ""),
    ("dir", "Dirichlet", ""),
    ("ddirch", "Dirichlet", ""),
    ("dirich", "Dirichlet", ""),
    ("nb", "NegBinomial", NEGATIVE),
    ("nbinom", "NegBinomial", NEGATIVE),
    ("negbin", "NegBinomial", NEGATIVE),
    ("negativebinomial", "NegBinomial", NEGATIVE),
    ("negativebinomial2", "NegBinomial", ""),
    ("negbinomial2", "NegBinomial", ""),
    ("negbinomial2log", "NegBinomial(log: …, phi: …)", ""),
    ("mvn", "MvNormal", MATRIX),
    ("mnorm", "MvNormal", MATRIX),
    ("mvnorm", "MvNormal", MATRIX),
    ("multinormal", "MvNormal", MATRIX),
    ("multivariatenormal", "MvNormal", MATRIX),
    ("multinormalcholesky", "MvNormal(mu, chol: …)", ""),
    ("multinormalprec", "MvNormal(mu, precision: …)", ""),
    ("lkjcorr", "LKJ", ""),
    ("lkjcorrcholesky", "LKJCholesky", ""),
    ("invwishart", "InverseWishart", ""),
    ("iwishart", "InverseWishart", ""),
    ("dwish", "Wishart", "whose `scale` is the inverse of the matrix that `dwish` takes"),
    ("orderedmultinomial", "OrderedLogistic", ""),
    ("improperuniform", "flat()", ""),
    ("halfflat", "flat()", "with the type `real > 0`"),
    ("dirac", "Delta", ""),
    ("deterministic", "Delta", "a value that is computed is a `let`"),
];

const NEGATIVE: &str =
    "`NegBinomial(mu, phi)` has the mean mu and the size phi; with a probability p, mu is phi * (1 - p) / p";
const MATRIX: &str = "the matrix is named: `MvNormal(mu, cov: S)`, or `precision:`, `chol:`, `sd:` and `corr:`";

/// Names that one argument has in different languages, ours first.
const ARGUMENTS: &[&[&str]] = &[
    &["mu", "loc", "location", "mean", "m", "center"],
    &["sigma", "scale", "sd", "std", "stddev", "stdev", "s"],
    &["rate", "lam", "lambda", "lambd", "mu", "mean", "beta"],
    &["shape", "alpha", "a", "concentration", "k"],
    &["scale", "theta", "beta", "sigma"],
    &["precision", "tau", "prec", "precision_matrix"],
    &["nu", "df", "dof"],
    &["p", "prob", "probs", "theta", "probability", "pi"],
    &["logit", "logits", "logit_p", "eta"],
    &["log", "log_rate", "log_mu"],
    &["n", "size", "trials", "total_count", "num_trials"],
    &["a", "low", "lower", "min", "alpha", "concentration1"],
    &["b", "high", "upper", "max", "beta", "concentration0"],
    &["cov", "covariance", "covariance_matrix"],
    &["chol", "scale_tril", "cholesky"],
    &["eta", "concentration", "shape"],
    &["alpha", "concentration", "a"],
    &["phi", "alpha", "dispersion", "concentration", "size", "n"],
    &["kappa", "concentration"],
    &["lower", "low", "min"],
    &["upper", "high", "max"],
];

/// What another language's argument is called among these.
pub(super) fn argument<'p>(given: &str, ours: &[&'p str]) -> Option<&'p str> {
    let given = given.to_lowercase();
    ARGUMENTS.iter().find_map(|group| {
        let name = ours.iter().find(|o| **o == group[0])?;
        group[1..].contains(&given.as_str()).then_some(*name)
    })
}

impl<'a> Checker<'a, '_> {
    /// The distribution that another language means by a name, and how it differs.
    pub(super) fn family_meant(&self, name: &str) -> Option<(String, &'static str)> {
        let lower = name.to_lowercase().replace('_', "");
        let names = self.dist_names();
        let of = |key: &str| {
            let foreign = FAMILIES.iter().find(|f| f.0 == key).map(|f| (f.1.to_owned(), f.2));
            let own = || names.iter().find(|n| n.to_lowercase() == key).map(|n| ((*n).to_owned(), ""));
            foreign.or_else(own)
        };
        // `dnorm` of BUGS, `rnorm` of R.
        of(&lower).or_else(|| of(lower.strip_prefix(['d', 'r']).filter(|rest| rest.len() > 2)?))
    }

    /// The name that stands behind a module, as in `dist.Normal` or `np.log`; its being there is reported.
    pub(super) fn without_module(&mut self, callee: &'a ast::Expr) -> Option<(&'a str, Span)> {
        let A::Field { base, name } = &callee.kind else { return None };
        let mut root = base;
        while let A::Field { base, .. } = &root.kind {
            root = base;
        }
        let A::Name(module) = &root.kind else { return None };
        if !MODULES.contains(&module.as_str()) || self.names.get(module).is_some() {
            return None;
        }
        self.diags.push(
            Code::UNKNOWN_FIELD
                .at(root.span, format!("there are no modules such as `{module}`"))
                .note("distributions and functions are called by their bare names")
                .help(format!("write `{}`", name.name))
                .mend(callee.span, name.name.clone()),
        );
        Some((&name.name, name.span))
    }

    /// `Normal("mu", 0, 1)`: a quoted name before the arguments is reported and left out.
    pub(super) fn without_site(&mut self, args: &'a [Arg]) -> &'a [Arg] {
        let [site, rest @ ..] = args else { return args };
        let (A::Text(text), Some(next), None) = (&site.value.kind, rest.first(), &site.name) else { return args };
        if text.parse::<f64>().is_ok() {
            return args;
        }
        let start = next.name.as_ref().map_or(next.value.span, |n| n.span);
        self.diags.push(
            Code::TEXT_AS_NUMBER
                .at(site.value.span, "a name in quotes is no argument of a distribution")
                .note("what is drawn is named to the left of `~`")
                .help("remove it")
                .mend(Span { end: start.start, ..site.value.span }, ""),
        );
        rest
    }

    /// `x + z` to the right of `~`, where these are columns: a formula of R.
    pub(super) fn as_formula(&self, e: &ast::Expr, what: &str) -> Option<Diagnostic> {
        let target = what.strip_prefix("observe ")?;
        let mut columns = true;
        names_in(e, &mut |n| {
            let column = |v: VarId| matches!(self.hir.var(v).kind, VarKind::Column(_));
            columns &= self.names.get(n).and_then(|x| x.var).is_some_and(column);
        });
        let found = formula(&e.to_string()).filter(|_| columns)?;
        let line = found.line(target);
        Some(told(e.span, &found, target).edit(e.span, line.split_once("~ ").map_or("", |l| l.1)))
    }

    /// `normal_lpdf(y, mu, 1)`, `Normal(mu, 1).log_prob(y)`: the line that says it, for a whole declaration or for a part.
    pub(super) fn as_density(&mut self, e: &ast::Expr, callee: &ast::Expr, args: &[Arg]) -> bool {
        let (target, family, rest) = match &callee.kind {
            A::Name(n) => {
                let Some(family) = ["_lpdf", "_lpmf", "_lupdf", "_lupmf"].iter().find_map(|s| n.strip_suffix(s)) else {
                    return false;
                };
                let [target, rest @ ..] = args else { return false };
                (target, family.to_owned(), rest)
            }
            A::Field { base, name }
                if matches!(name.name.as_str(), "log_prob" | "logpdf" | "logpmf" | "logp" | "lpdf") =>
            {
                let (A::Call { callee, args: rest }, [target]) = (&base.kind, args) else { return false };
                let family = match &callee.kind {
                    A::Name(n) => n.clone(),
                    A::Field { name, .. } => name.name.clone(),
                    _ => return false,
                };
                (target, family, rest.as_slice())
            }
            _ => return false,
        };
        let family = self.family_meant(&family).map_or(family, |f| f.0);
        let rest: Vec<String> = rest.iter().map(Arg::to_string).collect();
        let latent = match &target.value.kind {
            A::Name(n) => {
                self.names.get(n).and_then(|x| x.var).is_some_and(|v| matches!(self.hir.var(v).kind, VarKind::Latent))
            }
            _ => false,
        };
        let word = if latent { "latent" } else { "observe" };
        let line = format!("{word} {} ~ {family}({})", target.value, rest.join(", "));
        let d = Code::DIST_AS_VALUE
            .at(e.span, "the log density of a distribution is stated with `~`")
            .here("a density as a value")
            .help(match latent {
                true => format!("a latent has one prior, in its own declaration: `{line}`"),
                false => format!("write `{line}` on a line of its own"),
            });
        // `factor normal_lpdf(…)`, and nothing else.
        let alone = !latent && self.current.end == e.span.end && e.span.start.saturating_sub(self.current.start) <= 8;
        self.diags.push(if alone { d.edit(self.current, line) } else { d });
        true
    }
}

fn names_in(e: &ast::Expr, visit: &mut dyn FnMut(&str)) {
    match &e.kind {
        A::Name(n) => visit(n),
        A::Call { args, .. } => args.iter().for_each(|a| names_in(&a.value, visit)),
        _ => idioms::each_part(e, &mut |part| names_in(part, visit)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_of_other_languages() {
        assert_eq!(argument("loc", &["mu", "sigma", "precision"]), Some("mu"));
        assert_eq!(argument("scale", &["mu", "sigma", "precision"]), Some("sigma"));
        assert_eq!(argument("tau", &["mu", "sigma", "precision"]), Some("precision"));
        assert_eq!(argument("beta", &["shape", "rate"]), Some("rate"));
        assert_eq!(argument("beta", &["shape", "scale"]), Some("scale"));
        assert_eq!(argument("beta", &["a", "b"]), Some("b"));
        assert_eq!(argument("lam", &["rate", "log"]), Some("rate"));
        assert_eq!(argument("probs", &["p", "logit"]), Some("p"));
        assert_eq!(argument("total_count", &["n", "p", "logit"]), Some("n"));
        assert_eq!(argument("nonsense", &["mu", "sigma"]), None);
    }

    #[test]
    fn every_family_that_is_named_exists() {
        let text = include_str!("../../stdlib/continuous.vi").to_owned() + include_str!("../../stdlib/discrete.vi");
        for (_, ours, _) in FAMILIES {
            let name = ours.split('(').next().unwrap_or(ours);
            let known = text.contains(&format!("dist {name}(")) || text.contains(&format!("dist {name}["));
            assert!(known || matches!(name, "truncated" | "flat"), "{name}");
        }
    }
}
