//! Factors in closed form: against closed forms of the evidence and the posterior.

use vic::derive::statistics::Obstacle;
use vic::driver::FitRequest;
use vic::driver::conjugate::Conjugate;
use vic::infer::conjugate::Ascent;
use vic::infer::{FitOptions, Method, Stream, Target};
use vic::prim::scalar::lgamma;

use crate::support;

fn conjugate(model: &str, data: &str) -> Result<Conjugate, Obstacle> {
    Conjugate::of(&support::compile(model, &support::csv(data)))
}

fn ascent(c: &Conjugate) -> Ascent {
    let options = FitOptions { method: Method::Cavi, ..FitOptions::default() };
    c.ascend(&options, &mut |_| {}).expect("the model is proper")
}

/// The bound is the log evidence, and the factors' density the log joint less it, at points of the unconstrained scale:
/// both to 1e-8, which leaves room for rounding in sums of some tens of terms, and for nothing else.
fn exact(model: &str, data: &str, log_evidence: f64) {
    let c = conjugate(model, data).expect("conjugate");
    assert!(c.exact(), "{model}");
    let Ascent { fit, sweeps, .. } = ascent(&c);
    // One that finds the factors, one that sees that nothing changes.
    assert_eq!((sweeps, fit.gradients), (2, 0), "{model}");
    assert!((fit.elbo - log_evidence).abs() < 1e-8, "{model}: {} for {log_evidence}", fit.elbo);
    let target = &c.compiled.model;
    let mut evaluator = target.evaluator();
    for n in 0..5 {
        let theta: Vec<f64> = target.names().iter().map(|x| 0.7 * Stream::at(1, "point", x, n).normal()).collect();
        let (q, p) = (fit.approximation.log_density(&theta)[0], evaluator.value(&theta));
        assert!(
            (q - (p - log_evidence)).abs() < 1e-8 * p.abs().max(1.0),
            "{model}: log q {q}, log p {}",
            p - log_evidence
        );
    }
}

fn lbeta(a: f64, b: f64) -> f64 {
    lgamma(a) + lgamma(b) - lgamma(a + b)
}

/// log N(y; 0, C) by elimination.
fn log_normal(y: &[f64], mut c: Vec<Vec<f64>>) -> f64 {
    let n = y.len();
    let (mut z, mut log_det) = (y.to_vec(), 0.0);
    for i in 0..n {
        log_det += c[i][i].ln();
        for j in i + 1..n {
            let f = c[j][i] / c[i][i];
            let (above, below) = c.split_at_mut(j);
            below[0].iter_mut().zip(&above[i]).for_each(|(x, p)| *x -= f * p);
            z[j] -= f * z[i];
        }
    }
    let squares: f64 = (0..n).map(|i| z[i] * z[i] / c[i][i]).sum();
    -0.5 * (n as f64 * std::f64::consts::TAU.ln() + log_det + squares)
}

fn column(name: &str, values: &[f64]) -> String {
    let rows: Vec<String> = values.iter().map(f64::to_string).collect();
    format!("{name}\n{}\n", rows.join("\n"))
}

const Y: [f64; 6] = [1.3, -0.4, 2.2, 0.9, 1.7, 3.1];
const X: [f64; 6] = [0.5, -1.0, 1.5, 0.0, 0.3, 2.0];
const K: [f64; 6] = [3.0, 0.0, 5.0, 2.0, 4.0, 1.0];

#[test]
fn coins() {
    let model = "data rows { k: bool }\nlatent p ~ Beta(2, 3)\nobserve k ~ Bernoulli(p)";
    exact(model, "k\n1\n0\n0\n1\n0\n", lbeta(4.0, 6.0) - lbeta(2.0, 3.0));
    let model = "data rows { k: int in [0, 8] }\nlatent p ~ Beta(2, 3)\nobserve k ~ Binomial(8, p)";
    let total: f64 = K.iter().sum();
    let choose: f64 = K.iter().map(|k| lgamma(9.0) - lgamma(k + 1.0) - lgamma(9.0 - k)).sum();
    let evidence = choose + lbeta(2.0 + total, 3.0 + 48.0 - total) - lbeta(2.0, 3.0);
    exact(model, &column("k", &K), evidence);
}

#[test]
fn counts() {
    let model = "data rows { k: int >= 0 }\nlatent r ~ Gamma(2, 0.5)\nobserve k ~ Poisson(r)";
    let total: f64 = K.iter().sum();
    let factorials: f64 = K.iter().map(|k| lgamma(k + 1.0)).sum();
    let evidence = 2.0 * 0.5f64.ln() - lgamma(2.0) + lgamma(2.0 + total) - (2.0 + total) * 6.5f64.ln() - factorials;
    exact(model, &column("k", &K), evidence);
}

#[test]
fn rates_of_groups() {
    let model = "data rows { k: int >= 0, days: real, g: category }\nlatent r[g] ~ Gamma(2, 0.5)\nobserve k ~ Poisson(r[g] * days)";
    let data = "k,days,g\n3,2,a\n0,1,b\n5,1.5,a\n2,1,b\n";
    let group = |total: f64, days: f64| {
        2.0 * 0.5f64.ln() - lgamma(2.0) + lgamma(2.0 + total) - (2.0 + total) * (0.5 + days).ln()
    };
    let weights = 3.0 * 2f64.ln() + 5.0 * 1.5f64.ln() - lgamma(4.0) - lgamma(6.0) - lgamma(3.0);
    exact(model, data, group(8.0, 3.5) + group(2.0, 2.0) + weights);
}

#[test]
fn categories() {
    let model = "data rows { c: category }\nlatent w over c ~ Dirichlet(0.7)\nobserve c ~ Categorical(w)";
    let terms: f64 = [2.0, 1.0, 3.0].iter().map(|n| lgamma(0.7 + n) - lgamma(0.7)).sum();
    exact(model, "c\na\nb\nc\na\nc\nc\n", lgamma(2.1) - lgamma(8.1) + terms);
}

#[test]
fn a_mean() {
    let model = "data rows { y: real }\nlatent m ~ Normal(0.5, 2)\nobserve y ~ Normal(m, 1.5)";
    let off: Vec<f64> = Y.iter().map(|y| y - 0.5).collect();
    let cov = (0..6).map(|i| (0..6).map(|j| 4.0 + if i == j { 2.25 } else { 0.0 }).collect()).collect();
    exact(model, &column("y", &Y), log_normal(&off, cov));
}

#[test]
fn variances_and_precisions() {
    let squares: f64 = Y.iter().map(|y| (y - 1.0) * (y - 1.0)).sum();
    let (a, b) = (2.5 + 3.0, 2.0 + 0.5 * squares);
    let evidence = 2.5 * 2f64.ln() - lgamma(2.5) + lgamma(a) - a * b.ln() - 3.0 * std::f64::consts::TAU.ln();
    let model = "data rows { y: real }\nlatent v ~ InvGamma(2.5, 2)\nobserve y ~ Normal(1, sqrt(v))";
    exact(model, &column("y", &Y), evidence);
    let model = "data rows { y: real }\nlatent t ~ Gamma(2.5, 2)\nobserve y ~ Normal(1, precision: t)";
    exact(model, &column("y", &Y), evidence);
    let model = "data rows { y: real }\nlatent t ~ Gamma(2.5, 2)\nobserve y ~ Normal(1, 1 / sqrt(t))";
    exact(model, &column("y", &Y), evidence);
}

/// Intercept and slopes are one normal: y ~ N(m 1, σ² I + τ² 1 1ᵀ + ω² x xᵀ).
#[test]
fn a_regression() {
    let model = "data rows { y: real, x: real }\nlatent a ~ Normal(0.5, 2)\nlatent b ~ Normal(0, 0.8)\n\
                 observe y ~ Normal(a + b * x, 1.5)";
    let rows: Vec<String> = Y.iter().zip(X).map(|(y, x)| format!("{y},{x}")).collect();
    let off: Vec<f64> = Y.iter().map(|y| y - 0.5).collect();
    let cell = |i: usize, j: usize| 4.0 + 0.64 * X[i] * X[j] + if i == j { 2.25 } else { 0.0 };
    let cov = (0..6).map(|i| (0..6).map(|j| cell(i, j)).collect()).collect();
    exact(model, &format!("y,x\n{}\n", rows.join("\n")), log_normal(&off, cov));
}

/// A walk that is observed with noise, all its cells in one normal.
#[test]
fn a_walk() {
    let model = "data rows { y: real }\n\
                 latent h[t in rows] ~ if first(t) then Normal(0, 2) else Normal(0.9 * h[t-1], 0.5)\nobserve y ~ Normal(h, 1)";
    let mut cov = vec![vec![0.0; 6]; 6];
    for i in 0..6 {
        cov[i][i] = if i == 0 { 4.0 } else { 0.81 * cov[i - 1][i - 1] + 0.25 };
        for j in i + 1..6 {
            cov[i][j] = cov[i][i] * 0.9f64.powi((j - i) as i32);
        }
    }
    let full =
        (0..6).map(|i| (0..6).map(|j| cov[i.min(j)][i.max(j)] + f64::from(u8::from(i == j))).collect()).collect();
    exact(model, &column("y", &Y), log_normal(&Y, full));
}

/// Mean and variance apart: the bound is below the evidence, whose closed form is that of the normal-inverse-gamma prior, by
/// less than the two factors of six rows can miss.
#[test]
fn a_mean_and_a_variance_apart() {
    let model = "data rows { y: real }\nlatent v ~ InvGamma(3, 2)\nlatent m ~ Normal(1, sqrt(2 * v))\nobserve y ~ Normal(m, sqrt(v))";
    let c = conjugate(model, &column("y", &Y)).expect("conjugate");
    assert!(!c.exact());
    let fit = ascent(&c).fit;
    let (n, k0, m0) = (6.0, 0.5, 1.0);
    let mean = Y.iter().sum::<f64>() / n;
    let squares: f64 = Y.iter().map(|y| (y - mean) * (y - mean)).sum();
    let (kn, an) = (k0 + n, 3.0 + 0.5 * n);
    let bn = 2.0 + 0.5 * squares + 0.5 * k0 * n * (mean - m0) * (mean - m0) / kn;
    let evidence = lgamma(an) - lgamma(3.0) + 3.0 * 2f64.ln() - an * f64::ln(bn) + 0.5 * (k0 / kn).ln()
        - 0.5 * n * std::f64::consts::TAU.ln();
    assert!(fit.elbo < evidence && evidence - fit.elbo < 0.1, "{} for {evidence}", fit.elbo);
    // E m is right under independent factors too.
    let at = fit.names.iter().position(|name| name == "m").expect("declared");
    let posterior = (k0 * m0 + n * mean) / kn;
    assert!((fit.mean[at] - posterior).abs() < 1e-8, "{}", fit.mean[at]);
}

/// What is not conjugate is said, with the latent's name.
#[test]
fn what_is_in_the_way_is_named() {
    let cases = [
        ("latent s ~ HalfNormal(1)\nobserve y ~ Normal(0, s)", "s"),
        ("latent m ~ StudentT(4, 0, 1)\nobserve y ~ Normal(m, 1)", "m"),
        ("latent m ~ Normal(0, 1)\nobserve y ~ Normal(exp(m), 1)", "m"),
        ("latent m[rows]: real > 0 ~ Gamma(1, 1)\nobserve y ~ Normal(m, 1)", "m"),
    ];
    for (body, name) in cases {
        let text = format!("data rows {{ y: real }}\n{body}");
        let compiled = support::compile(&text, &support::csv(&column("y", &Y)));
        let Err(obstacle) = Conjugate::of(&compiled) else { panic!("{text}") };
        let named: Vec<&str> = obstacle.vars.iter().map(|v| compiled.hir.var(*v).name.as_str()).collect();
        assert_eq!(named, [name], "{text}: {}", obstacle.why);
    }
}

/// Params without a closed form take steps along the gradient: the shape of a gamma distribution, whose likelihood equation
/// is log a − ψ(a) = log mean − mean log.
#[test]
fn params_without_a_closed_form() {
    let model = "data rows { y: real }\nparam a: real > 0 = 1\nparam b: real > 0 = 1\nobserve y ~ Gamma(a, b)\nfit { method: em }";
    let y: [f64; 5] = [0.7, 1.9, 1.1, 3.2, 0.4];
    let report = support::fit(&support::compile(model, &support::csv(&column("y", &y))), &FitRequest::default());
    let value = |name: &str| report.vars.iter().find(|v| v.name == name).expect("reported").draws[0];
    let (a, b) = (value("a"), value("b"));
    let mean = y.iter().sum::<f64>() / 5.0;
    let mean_log = y.iter().map(|y| y.ln()).sum::<f64>() / 5.0;
    let left = a.ln() - vic::prim::scalar::digamma(a) - (mean.ln() - mean_log);
    assert!(left.abs() < 1e-6 && (a / b - mean).abs() < 1e-6, "a {a}, b {b}");
    assert_eq!(report.gradients, 0);
}

/// The same bits on one thread and on two, and from one run to the next.
#[test]
fn bits_are_the_same() {
    let model = "data rows { y: real }\nplate k = 2\nlatent w over k ~ Dirichlet(1)\nlatent m[k] ~ Normal(0, 3)\n\
                 latent z[rows]: k ~ Categorical(w)\nobserve y ~ Normal(m[z], 1)\nfit { method: cavi }";
    let compiled = support::compile(model, &support::csv(&column("y", &Y)));
    let run = |threads: usize| {
        let report = support::fit(&compiled, &FitRequest { threads: Some(threads), ..FitRequest::default() });
        report.vars.iter().flat_map(|v| v.draws.iter().map(|x| x.to_bits())).collect::<Vec<u64>>()
    };
    assert_eq!(run(1), run(2));
}

/// A number of the stored references.
fn reference(path: &str) -> f64 {
    let all: serde_json::Value =
        serde_json::from_str(&support::read("tests/reference/conjugate/reference.json")).expect("JSON");
    all.pointer(path).and_then(serde_json::Value::as_f64).unwrap_or_else(|| panic!("no {path}"))
}

/// The value of each cell of a param.
fn point(report: &vic::report::FitReport, name: &str) -> Vec<f64> {
    let v = report.vars.iter().find(|v| v.name == name).expect("reported");
    (0..v.cells()).map(|c| v.cell(c, report.draws)[0]).collect()
}

fn near(what: &str, is: f64, wanted: f64) {
    assert!((is - wanted).abs() < 1e-6 * wanted.abs().max(1.0), "{what}: {is}, the reference is {wanted}");
}

/// An example fitted from the start that it states.
fn example(name: &str) -> vic::report::FitReport {
    let (model, inputs) = support::example(name);
    let request = FitRequest { starts: Some(1), ..FitRequest::default() };
    let report = support::fit(&support::compile(&model, &inputs), &request);
    near(name, report.elbo.expect("a bound").0, reference(&format!("/{name}/log_likelihood")));
    assert_eq!(report.gradients, 0);
    report
}

/// EM for a mixture of normals is scikit-learn's from the same start, to 1e-6.
#[test]
fn a_mixture_is_that_of_scikit_learn() {
    let report = example("faithful");
    for name in ["share", "mean_duration", "mean_waiting", "sd_duration", "sd_waiting"] {
        for (i, x) in point(&report, name).iter().enumerate() {
            near(name, *x, reference(&format!("/faithful/{name}/{i}")));
        }
    }
}

/// Baum and Welch's algorithm is hmmlearn's from the same start, to 1e-6; so are the states' probabilities.
#[test]
fn a_chain_is_that_of_hmmlearn() {
    let report = example("hmm");
    for (i, x) in point(&report, "rate").iter().enumerate() {
        near("rate", *x, reference(&format!("/hmm/rate/{i}")));
    }
    for (cell, x) in point(&report, "to").iter().enumerate() {
        near("to", *x, reference(&format!("/hmm/to/{}/{}", cell % 2, cell / 2)));
    }
}

/// A factor model is scikit-learn's; the sign of a factor is free.
#[test]
fn a_factor_model_is_that_of_scikit_learn() {
    let report = example("quality_of_life");
    let sign = (point(&report, "loading")[0] * reference("/quality_of_life/loading/0")).signum();
    for (i, x) in point(&report, "loading").iter().enumerate() {
        near("loading", sign * x, reference(&format!("/quality_of_life/loading/{i}")));
    }
    for (i, x) in point(&report, "noise").iter().enumerate() {
        near("noise", *x, reference(&format!("/quality_of_life/noise/{i}")));
    }
}

/// Latent Dirichlet allocation: the bound per word is scikit-learn's best of four starts within 1 %. Two starts that have not
/// come to rest reach -5.242, and scikit-learn's best -5.230; other optima lie between.
#[test]
fn topics_are_as_good_as_those_of_scikit_learn() {
    let (model, inputs) = support::example("topics");
    let c = Conjugate::of(&support::compile(&model, &inputs)).expect("conjugate");
    let options = FitOptions { method: Method::Cavi, starts: 2, steps: 150, ..FitOptions::default() };
    let fit = c.ascend(&options, &mut |_| {}).expect("proper").fit;
    let (bound, wanted) = (fit.elbo / reference("/topics/tokens"), -reference("/topics/perplexity").ln());
    assert!((bound - wanted).abs() < 0.01 * wanted.abs(), "{bound} per word, the reference is {wanted}");
}

/// A scale without a closed form beside coefficients that have one: the scale follows gradients, the coefficients stay in closed form.
/// The posterior of the scale is that of the collapsed model, whose draws are exact on a grid: its mean within 0.1 sds and its
/// log sd within 0.15, since independent factors narrow it a little with 30 rows.
#[test]
fn what_has_no_closed_form_follows_gradients() {
    let model = "data rows { y: real, x: real }\nlatent a, b ~ Normal(0, 3)\nlatent s ~ HalfNormal(2)\nobserve y ~ Normal(a + b * x, s)\n";
    let mut stream = Stream::new(1, "rows", "");
    let rows = (0..30).fold("y,x\n".to_string(), |all, i| {
        let x = f64::from(i) / 10.0;
        all + &format!("{},{x}\n", 0.5 + 1.2 * x + 0.7 * stream.normal())
    });
    let compiled = support::compile(model, &support::csv(&rows));
    let fitted = |method: Option<Method>| {
        let request = FitRequest { method, threads: Some(1), ..FitRequest::default() };
        let report = support::fit(&compiled, &request);
        let summaries = support::summaries(&report);
        (report, summaries)
    };
    let (mixed, of_mixed) = fitted(Some(Method::Cavi));
    let (collapsed, of_collapsed) = fitted(None);
    assert!(mixed.converged && mixed.gradients > 0, "{}", mixed.stop_reason);
    for name in ["a", "b", "s"] {
        let ((m, s), (mean, sd)) = (of_mixed[name], of_collapsed[name]);
        assert!((m - mean).abs() < 0.1 * sd && (s / sd).ln().abs() < 0.15, "{name}: {m} {s}, not {mean} {sd}");
    }
    // The bound of independent factors is below that of the exact conditional, by less than a nat.
    let (low, high) = (mixed.elbo.expect("a bound").0, collapsed.elbo.expect("a bound").0);
    assert!(low < high + 0.05 && low > high - 1.0, "{low}, {high}");
}

/// With a known answer: given s the rest is conjugate, and s alone has a normal posterior on its log: nothing is lost, and the
/// bound over fresh draws is the evidence within four standard errors.
#[test]
fn a_normal_without_a_closed_form_finds_a_normal() {
    let model =
        "data rows { y: real }\nlatent m ~ Normal(0, 2)\nlatent u ~ LogNormal(0.3, 0.5)\nobserve y ~ Normal(m, 1.5)\n";
    let c = conjugate(model, &column("y", &Y)).expect("in part");
    assert!(!c.exact());
    let fit = ascent(&c).fit;
    let cov = (0..6).map(|i| (0..6).map(|j| 4.0 + if i == j { 2.25 } else { 0.0 }).collect()).collect();
    let evidence = log_normal(&Y, cov);
    assert!((fit.elbo - evidence).abs() < 4.0 * fit.elbo_se + 1e-6, "{} ± {} for {evidence}", fit.elbo, fit.elbo_se);
    let at = fit.names.iter().position(|name| name.starts_with('u')).expect("declared");
    assert!(
        (fit.mean[at] - 0.3).abs() < 1e-4 && (fit.sds()[at] / 0.5 - 1.0).abs() < 1e-3,
        "{} {}",
        fit.mean[at],
        fit.sds()[at]
    );
}
