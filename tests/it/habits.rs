//! Habits from other languages: each line is recognised, answered with what to write here, and where that is sure, mended.

use super::programs::program;
use vic::diag::{Diagnostic, Severity};

/// A line of another language within a model; the code that answers it; what the answer must name.
const LINES: &[(&str, &str, &str)] = &[
    // Stan
    ("latent mu ~ normal(0, 1)", "V0501", "`Normal`"),
    ("latent mu ~ student_t(3, 0, 1)", "V0501", "`StudentT`"),
    ("latent mu ~ std_normal()", "V0501", "`Normal(0, 1)`"),
    ("latent mu ~ double_exponential(0, 1)", "V0501", "`Laplace`"),
    ("latent tau ~ inv_gamma(1, 1)", "V0501", "`InvGamma`"),
    ("latent tau ~ Cauchy(0, 5) T[0,]", "V0101", "`truncated(Cauchy(0, 5), lower: 0)`"),
    ("latent tau: real<lower=0> ~ Normal(0, 1)", "V0113", "`real > 0`"),
    ("latent real<lower=0, upper=1> tau ~ Beta(1, 1)", "V0113", "`tau: real in (0, 1)`"),
    ("real<lower=0> tau;", "V0113", "`latent tau: real > 0 ~ …`"),
    ("real mu", "V0113", "`latent mu: real ~ …`"),
    ("vector[N] mu", "V0113", "`latent mu: real ~ …`"),
    ("target += -0.5 * x^2", "V0114", "`factor -0.5 * x^2`"),
    ("target += normal_lpdf(x | 0, 1)", "V0114", "`observe x ~ Normal(0, 1)`"),
    ("factor normal_lpdf(x | 0, 1)", "V0503", "`observe x ~ Normal(0, 1)`"),
    ("x ~ Normal(0, 1);", "V0116", "`observe x ~ …`"),
    ("latent mu ~ Normal(0, 1);", "V0108", "remove the `;`"),
    ("for (i in 1:N) { x[i] ~ Normal(0, 1) }", "V0115", "`observe x ~ Normal(0, 1)`"),
    ("let m = x .* z", "V0101", ""),
    ("let m = x > 0 ? 1 : 2", "V0121", "`if x > 0 then 1 else 2`"),
    ("let m = if x > 0 && z > 0 then 1 else 2", "V0110", "`and`"),
    ("let m = if x > 0 || z > 0 then 1 else 2", "V0110", "`or`"),
    ("let m = if !(x > 0) then 1 else 2", "V0110", "`not`"),
    ("let m = x + z // a sum", "V0126", "`# …`"),
    ("let m = x /* a sum */ + z", "V0126", "`#`"),
    ("let m = dot_product(v, w)", "V0207", "`sum(v * w over k)`"),
    ("let m = rep_vector(0, 3)", "V0207", "holds for every cell"),
    ("let m = v[1:3]", "V0101", "name the plate"),
    // R
    ("y ~ x + z", "V0502", "`observe y ~ Normal(a + b_x * x + b_z * z, sigma)`"),
    ("y ~ x * z", "V0502", "b_x_z * x * z"),
    ("y ~ x + (1 | g)", "V0502", "u[g]"),
    ("y ~ x + (1 + x | g)", "V0502", "u_x[g] * x"),
    ("y ~ 0 + log(x)", "V0502", "`observe y ~ Normal(b_log_x * log(x), sigma)`"),
    ("observe y ~ x + z", "V0502", "`observe y ~ Normal(a + b_x * x + b_z * z, sigma)`"),
    ("lm(y ~ x, data = d)", "V0502", "`observe y ~ Normal(a + b_x * x, sigma)`"),
    ("fit <- brm(y ~ x + (1 | g), data = d)", "V0502", "u[g]"),
    ("m <- 3", "V0109", "`let m = …`"),
    ("let m <- 3", "V0109", "`=`"),
    ("library(brms)", "V0117", "remove this line"),
    ("f <- function(u) { u^2 }", "V0117", "`fn f(u: real) -> real = u^2`"),
    ("let m = v %*% w", "V0110", "`sum(x * beta over k)`"),
    ("let m = if g %in% c(1) then 1 else 0", "V0110", "`bool` column"),
    ("let m = x %% 2", "V0110", "floor(x / n)"),
    ("let m = rows$x", "V0110", "`.`"),
    ("let m = rows[\"x\"]", "V0205", "`x`"),
    ("let m = ifelse(x > 0, 1, 0)", "V0207", "`if c then a else b`"),
    ("let m = plogis(x)", "V0207", "`inv_logit(x)`"),
    ("let m = TRUE", "V0202", "`true`"),
    ("let m = NA", "V0202", "`real?`"),
    ("let m = 3L", "V0119", "`3`"),
    ("latent mu ~ rnorm(0, 1)", "V0501", "`Normal`"),
    ("print(x)", "V0117", "`report x`"),
    // BUGS and JAGS
    ("latent mu ~ dnorm(0, 0.001)", "V0501", "precision"),
    ("latent tau ~ dgamma(0.1, 0.1)", "V0501", "`Gamma`"),
    ("latent tau ~ dunif(0, 10)", "V0501", "`Uniform`"),
    ("latent mu ~ dt(0, 1, 3)", "V0501", "`StudentT(nu, mu, sigma)`"),
    ("observe n ~ dbin(0.5, 10)", "V0501", "`Binomial(n, p)`"),
    ("observe n ~ dpois(3)", "V0501", "`Poisson`"),
    ("latent mu ~ Normal(0, 0.0001)", "V1018", "`Normal(0, precision: 0.0001)`"),
    ("log(lambda) = x", "V0117", "`let lambda = exp(x)`"),
    ("let logit(p) = x", "V0101", "`let p = inv_logit(x)`"),
    ("logit(p) <- x", "V0117", "`let p = inv_logit(x)`"),
    ("latent mu ~ Normal(0, 1) I(0,)", "V0101", "`truncated(Normal(0, 1), lower: 0)`"),
    // NumPyro, Pyro, PyMC and other Python
    ("mu = numpyro.sample(\"mu\", dist.Normal(0, 1))", "V0117", "`latent mu ~ Normal(0, 1)`"),
    ("numpyro.sample(\"obs\", dist.Normal(0, 1), obs=y)", "V0117", "`observe y ~ Normal(0, 1)`"),
    ("v = pyro.sample(\"v\", dist.Normal(0, 1).to_event(1))", "V0117", "`latent v ~ Normal(0, 1)`"),
    ("mu = pm.Normal(\"mu\", mu=0, sigma=1)", "V0117", "`latent mu ~ Normal(mu: 0, sigma: 1)`"),
    ("pm.Normal(\"y\", 0, 1, observed=y)", "V0117", "`observe y ~ Normal(0, 1)`"),
    ("m = pm.Deterministic(\"m\", x + z)", "V0117", "`report m = x + z`"),
    ("latent mu ~ dist.Normal(0, 1)", "V0208", "`Normal`"),
    ("latent mu ~ Normal(\"mu\", 0, 1)", "V0406", "remove it"),
    ("latent mu ~ Normal(loc=0, scale=1)", "V0505", "`mu:`"),
    ("latent mu ~ Normal(mu=0, sigma=1)", "V0127", "`mu: …`"),
    ("latent mu ~ Normal(mean: 0, sd: 1)", "V0505", "`mu:`"),
    ("latent mu ~ Normal(mu: 0, variance: 4)", "V0505", "`sigma: sqrt(4)`"),
    ("latent tau ~ Gamma(concentration: 2, rate: 1)", "V0505", "`shape:`"),
    ("observe n ~ Poisson(lam: 3)", "V0505", "`rate:`"),
    ("with numpyro.plate(\"rows\", 10):", "V0112", "name the plate"),
    ("with pm.Model() as model:", "V0112", "remove this line"),
    ("import numpy as np", "V0117", "remove this line"),
    ("let m = np.log(x)", "V0208", "`log`"),
    ("let m = x ** 2", "V0110", "`x^2`"),
    ("let m = sum(v @ w)", "V0110", "sum over the plate"),
    ("let m = 1 if x > 0 else 2", "V0121", "`if x > 0 then 1 else 2`"),
    ("let f = lambda u: u^2", "V0101", "`fn f(u: real) -> real = u^2`"),
    ("def f(u): return u^2", "V0117", "`fn f(u: real) -> real = u^2`"),
    ("m += x", "V0109", "a name of its own"),
    ("let m = 'a'", "V0111", "`\"a\"`"),
    ("let m = 1_000", "V0119", "`1000`"),
    ("let m = None", "V0202", "`real?`"),
    ("factor Normal(0, 1).log_prob(x)", "V0503", "`observe x ~ Normal(0, 1)`"),
    // Papers and spreadsheets
    ("latent mu ~ N(0, 1)", "V0501", "`Normal`"),
    ("latent mu ~ Normal(0, 10^2)", "V1017", "write `10`"),
    ("latent mu ~ Normal(0,5, 1)", "V0504", "`0.5`"),
    ("let m = 10%", "V0119", "`0.1`"),
    ("let m = 2x", "V0119", "`2 * x`"),
    ("let m = z x", "V0101", "`z * x`"),
    ("latent tau ~ HalfNormal(0, 1)", "V0504", "no location"),
    ("latent tau > 0 ~ Normal(0, 1)", "V0123", "`tau: real > 0`"),
    ("latent p: 0 < real < 1 ~ Beta(1, 1)", "V0123", "`real in (0, 1)`"),
    ("latent tau: positive real ~ Normal(0, 1)", "V0123", "`real > 0`"),
    ("let m = if 0 < x < 1 then 1 else 0", "V0106", "`0 < x and x < 1`"),
    ("report mean(x)", "V0101", "`report mean_x = mean(x)`"),
    ("data u = [1, 2, 3]", "V0101", "command line"),
    ("end", "V0112", "remove this line"),
];

/// A model around a line.
fn model(line: &str) -> String {
    format!(
        "data rows {{ y: real, x: real, z: real, n: int, g: category, v: real[k] from \"v*\" }}\nlatent w[k] ~ Normal(0, 1)\n{line}\n"
    )
}

/// The place of the first letter of line 3.
const START: usize = 3;

fn line_of(text: &str, offset: u32) -> usize {
    text[..offset as usize].matches('\n').count() + 1
}

fn said(d: &Diagnostic) -> String {
    let mut text = d.message.clone();
    d.notes.iter().chain(&d.help).for_each(|t| text += &format!("\n{t}"));
    text
}

#[test]
fn lines_of_other_languages_are_answered_in_kind() {
    let mut wrong = vec![];
    for (line, code, names) in LINES {
        let text = model(line);
        let found = program("m.vi", &text);
        let of_line: Vec<&Diagnostic> =
            found.sorted().into_iter().filter(|d| d.span.is_some_and(|s| line_of(&text, s.start) == START)).collect();
        let answered = of_line.iter().any(|d| d.code.id == *code && said(d).contains(names));
        // Other lines are right, and unused as they are.
        let elsewhere = found
            .sorted()
            .iter()
            .any(|d| d.severity == Severity::Error && d.span.is_some_and(|s| line_of(&text, s.start) != START));
        if !answered || elsewhere {
            wrong.push(format!("{line}\n{}", found.rendered()));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), LINES.len(), wrong.join("\n"));
}

/// The text after the edits that are sure, made again and again.
fn mended(text: &str) -> String {
    let mut text = text.to_owned();
    for _ in 0..6 {
        let found = program("m.vi", &text);
        let mut edits: Vec<_> = found
            .sorted()
            .into_iter()
            .filter(|d| d.sure)
            .flat_map(|d| &d.edits)
            .map(|e| (e.span.start as usize, e.span.end as usize, e.text.clone()))
            .collect();
        edits.sort();
        edits.dedup();
        let mut end = 0;
        edits.retain(|e| {
            let apart = e.0 >= end;
            end = end.max(e.1);
            apart
        });
        if edits.is_empty() {
            break;
        }
        for (start, end, new) in edits.into_iter().rev() {
            text.replace_range(start..end, &new);
        }
    }
    text
}

/// What `vic check --fix` makes of whole programs.
#[test]
fn whole_programs_are_mended() {
    let cases = [
        (
            "data rows { float y; real x; };\nlatent a = Normal(0., 10.);\nlatent real<lower=0> s ~ Cauchy(0, 5);\ny ~ Normal(a + x**2, s);\n",
            "data rows { y: real\n x: real }\nlatent a ~ Normal(0.0, 10.0)\nlatent s: real > 0 ~ Cauchy(0, 5)\nobserve y ~ Normal(a + x^2, s)\n",
        ),
        (
            "import numpy as np\ndata rows { y: real, x: real }\na = numpyro.sample('a', dist.Normal(loc=0, scale=1))\nlet m = np.exp(a + x)\nnumpyro.sample(\"y\", dist.Normal(m, 1), obs=y)\n",
            "\ndata rows { y: real, x: real }\nlatent a ~ Normal(loc: 0, scale: 1)\nlet m = exp(a + x)\nobserve y ~ Normal(m, 1)\n",
        ),
        (
            "data rows { n: int, x: real } // counts\nlatent b ~ Normal(0, 1)\nlog(rate) <- b * x\nobserve n ~ Poisson(rate)\n",
            "data rows { n: int, x: real } # counts\nlatent b ~ Normal(0, 1)\nlet rate = exp(b * x)\nobserve n ~ Poisson(rate)\n",
        ),
        (
            "data rows { y: real }\nlatent mu ~ Normal(0, 1)\ntarget += normal_lpdf(y | mu, 1)\n",
            "data rows { y: real }\nlatent mu ~ Normal(0, 1)\nobserve y ~ Normal(mu, 1)\n",
        ),
    ];
    for (before, after) in cases {
        assert_eq!(mended(before), after);
    }
}

/// No edit of any wrong program reaches outside its text or cuts a character, and making the sure ones never panics.
#[test]
fn edits_fit_their_texts() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad");
    for entry in std::fs::read_dir(dir).expect("part of the repository") {
        let path = entry.expect("readable").path();
        if path.extension().is_none_or(|e| e != "vi") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("UTF-8");
        let found = program("m.vi", &text);
        for d in found.sorted() {
            for e in &d.edits {
                let cut = text.get(e.span.start as usize..e.span.end as usize);
                assert!(cut.is_some(), "{}: {}", path.display(), said(d));
            }
        }
        mended(&text);
    }
}
