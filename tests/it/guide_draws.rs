//! Lines of a written guide whose family holds the posterior: it is found, and the lower bound is the log evidence.

use vic::driver::{self, FitRequest};
use vic::infer::{self, Fit};

use crate::support;

const LOG_SQRT_2PI: f64 = 0.918_938_533_204_672_8;

/// The fit by the model's own guide, and its params on the scale on which they are declared.
fn fitted(model: &str, csv: &str) -> (Fit, Vec<(String, f64)>) {
    let compiled = support::compile(model, &support::csv(csv));
    let options = driver::options(&compiled, &FitRequest { threads: Some(1), ..FitRequest::default() });
    let fit = infer::fit(&compiled.model, &options, &mut |_| {}).expect("the log joint is finite");
    assert!(fit.converged, "{model}: {}", fit.stop_reason);
    let params = fit
        .names
        .iter()
        .zip(&fit.mean)
        .filter(|(n, _)| !n.contains("noise"))
        .map(|(n, u)| match n.strip_suffix(" unconstrained") {
            Some(positive) => (positive.to_string(), u.exp()),
            None => (n.replace(" unconstrained[", "["), if n.contains(" unconstrained[") { u.exp() } else { *u }),
        })
        .collect();
    (fit, params)
}

/// Within `relative` of each expected param, and the bound at the log evidence.
///
/// Over draws the gradient at the posterior itself is 0 for every one of them, since log p − log q does not vary, so that
/// fixed draws leave no error: what is left is the tolerance of the search, 1e-3 of a gradient per nat of curvature.
fn found(model: &str, csv: &str, expected: &[(&str, f64)], evidence: f64) {
    let (fit, params) = fitted(model, csv);
    for (name, want) in expected {
        let got = params.iter().find(|p| p.0 == *name).unwrap_or_else(|| panic!("{name} in {params:?}")).1;
        assert!((got - want).abs() < 0.02 * (1.0 + want.abs()), "{model}: {name} is {got}, not {want}");
    }
    assert!((fit.elbo - evidence).abs() < 1e-3 + 4.0 * fit.elbo_se, "{model}: {} is not {evidence}", fit.elbo);
    assert!(fit.elbo_se < 2e-3, "{model}: {}", fit.elbo_se);
}

fn erfc(x: f64) -> f64 {
    2.0 * vic::prim::scalar::phi(-x * 2f64.sqrt())
}

fn lgamma(x: f64) -> f64 {
    vic::prim::scalar::lgamma(x)
}

/// Gamma(a, b) prior, Poisson counts: Gamma(a + Σy, b + n).
#[test]
fn gamma_and_poisson() {
    let y = [3.0, 0.0, 2.0, 5.0, 1.0];
    let model = "data rows { y: int }\nlatent rate ~ Gamma(2, 1.5)\nobserve y ~ Poisson(rate)\n\
                 guide {\n  param a: real > 0 = 1\n  param b: real > 0 = 1\n  rate ~ Gamma(a, b)\n}\n";
    let (a, b, s, n) = (2.0f64, 1.5f64, 11.0, 5.0);
    let evidence = a * b.ln() - lgamma(a) + lgamma(a + s)
        - (a + s) * (b + n).ln()
        - y.iter().map(|y| lgamma(y + 1.0)).sum::<f64>();
    found(model, "y\n3\n0\n2\n5\n1\n", &[("a", a + s), ("b", b + n)], evidence);
}

/// Beta(a, b) prior, k of n: Beta(a + k, b + n − k). Its draws are made from four numbers each.
#[test]
fn beta_and_binomial() {
    let model = "data rows { k, n: int }\nlatent p ~ Beta(2, 3)\nobserve k ~ Binomial(n, p)\n\
                 guide {\n  param a: real > 0 = 1\n  param b: real > 0 = 1\n  p ~ Beta(a, b)\n}\n";
    let lbeta = |a: f64, b: f64| lgamma(a) + lgamma(b) - lgamma(a + b);
    let choose = |n: f64, k: f64| lgamma(n + 1.0) - lgamma(k + 1.0) - lgamma(n - k + 1.0);
    let evidence = lbeta(2.0 + 9.0, 3.0 + 6.0) - lbeta(2.0, 3.0) + choose(10.0, 7.0) + choose(5.0, 2.0);
    found(model, "k,n\n7,10\n2,5\n", &[("a", 11.0), ("b", 9.0)], evidence);
}

/// Dirichlet(α) prior, categories: Dirichlet(α + counts).
#[test]
fn dirichlet_and_categories() {
    let model = "data rows { colour: category }\nlatent p over colour ~ Dirichlet(1.5)\n\
                 observe colour ~ Categorical(p)\n\
                 guide {\n  param alpha[colour]: real > 0 = 2\n  p ~ Dirichlet(alpha)\n}\n";
    let counts = [4.0, 1.0, 2.0];
    let each: f64 = counts.iter().map(|n| lgamma(1.5 + n) - lgamma(1.5)).sum();
    let evidence = lgamma(4.5) - lgamma(11.5) + each;
    let expected = [("alpha[blue]", 5.5), ("alpha[green]", 2.5), ("alpha[red]", 3.5)];
    found(model, "colour\nblue\nblue\nred\nblue\ngreen\nblue\nred\n", &expected, evidence);
}

/// The score function needs no slope along the draw: the same posterior, by more steps and with their noise.
#[test]
fn a_scored_draw_finds_the_posterior() {
    let model = "data rows { y: int }\nlatent rate ~ Gamma(2, 1.5)\nobserve y ~ Poisson(rate)\n\
                 guide {\n  param a: real > 0 = 5\n  param b: real > 0 = 3\n  rate ~ Gamma(a, b) @score\n}\n";
    let (fit, params) = fitted(model, "y\n3\n0\n2\n5\n1\n");
    // At the posterior log p − log q is the same at every draw, so the leave-one-out weights vanish, and with them the noise.
    assert!((params[0].1 / 13.0 - 1.0).abs() < 0.05 && (params[1].1 / 6.5 - 1.0).abs() < 0.05, "{params:?}");
    assert!(fit.elbo_se < 0.01, "{}", fit.elbo_se);
}

/// A density that jumps along a latent is refused, unless the latent is scored: k ~ N(0, 2) with e^1.5 times the mass above
/// 0.7.
#[test]
fn a_scored_draw_may_jump() {
    let model = "data rows { y: real }\nlatent k ~ Normal(0, 2)\nlet late = k > 0.7\nfactor 1.5 * late\n\
                 observe y ~ Normal(0, 1)\n\
                 guide {\n  param m = 0\n  param s: real > 0 = 1\n  k ~ Normal(m, s) @score\n}\n";
    let (fit, params) = fitted(model, "y\n1\n");
    // The bound of a normal is in closed form; that of the best is found on a grid. A hundredth of a nat is what noise leaves.
    let bound = |m: f64, s: f64| {
        let phi = 0.5 * erfc((0.7 - m) / s / 2f64.sqrt());
        // 1.5 P(k > 0.7) + log N(1; 0, 1) + E log p(k) + entropy.
        1.5 * phi - 0.5 - LOG_SQRT_2PI - 0.5 * (m * m + s * s) / 4.0 - 2f64.ln() + s.ln() + 0.5
    };
    let best =
        (0..200).flat_map(|i| (1..200).map(move |j| (0.01 * i as f64, 0.02 * j as f64))).map(|(m, s)| bound(m, s));
    let best = best.fold(f64::NEG_INFINITY, f64::max);
    assert!((bound(params[0].1, params[1].1) - best).abs() < 0.01, "{params:?}");
    assert!((fit.elbo - best).abs() < 0.01 + 4.0 * fit.elbo_se, "{} {best}", fit.elbo);
}

/// What is fitted with a relaxation is near the best guide, and its bound is that of the values drawn.
#[test]
fn a_relaxed_latent_is_reported_as_drawn() {
    let text = |how: &str| {
        format!(
            "data rows {{ y: real }}\nlatent up[rows] ~ Bernoulli(0.4)\nobserve y ~ Normal((if up then 1 else -1), 0.8)\n\
             guide {{\n  param a = 0\n  param b = 0\n  up ~ Bernoulli(logit: a + b * y) {how}\n}}\n"
        )
    };
    let data = "y\n-2.1\n-0.4\n1.9\n0.3\n";
    let (exact, params) = fitted(&text("@enumerate"), data);
    // The posterior's log odds: log(0.4 / 0.6) + 2 y / 0.64.
    assert!((params[0].1 - (0.4f64 / 0.6).ln()).abs() < 0.01 && (params[1].1 - 3.125).abs() < 0.03, "{params:?}");
    let (relaxed, params) = fitted(&text("@gumbel(temperature: 0.3)"), data);
    assert!((params[1].1 - 3.125).abs() < 1.5, "{params:?}");
    assert!(relaxed.elbo < exact.elbo + 4.0 * relaxed.elbo_se && relaxed.elbo > exact.elbo - 0.2, "{}", relaxed.elbo);
    let compiled = support::compile(&text("@gumbel(temperature: 0.3)"), &support::csv(data));
    let report = support::fit(&compiled, &FitRequest::default());
    assert!(report.doubts.iter().any(|d| d.contains("biased")), "{:?}", report.doubts);
    assert_eq!(report.method, "lbfgs");
    // The report says what ran.
    let scored = support::fit(&support::compile(&text("@score"), &support::csv(data)), &FitRequest::default());
    assert_eq!((scored.method.as_str(), scored.chosen[0].value.as_str()), ("adam", "adam"));
}

/// Without data the posterior is the prior, and the evidence 1: every kind of draw that a guide may make, from families
/// with locations and scales to those whose shape moves.
#[test]
fn every_family_finds_itself() {
    let positive = "real > 0 = 2";
    let cases = [
        ("Exponential(0.7)", "Exponential(a)", vec![("a", positive, 0.7)]),
        ("Weibull(1.5, 3)", "Weibull(a, b)", vec![("a", positive, 1.5), ("b", positive, 3.0)]),
        ("Logistic(-1, 0.5)", "Logistic(m, a)", vec![("m", "real = 0", -1.0), ("a", positive, 0.5)]),
        ("Laplace(2, 0.5)", "Laplace(m, a)", vec![("m", "real = 0", 2.0), ("a", positive, 0.5)]),
        ("LogNormal(0.3, 0.5)", "LogNormal(m, a)", vec![("m", "real = 0", 0.3), ("a", positive, 0.5)]),
        ("HalfNormal(0.4)", "HalfNormal(a)", vec![("a", positive, 0.4)]),
        ("InvGamma(4, 3)", "InvGamma(a, b)", vec![("a", positive, 4.0), ("b", positive, 3.0)]),
        ("Gamma(0.6, 2)", "Gamma(a, b)", vec![("a", positive, 0.6), ("b", positive, 2.0)]),
        ("ChiSquare(3)", "ChiSquare(a)", vec![("a", positive, 3.0)]),
        ("Gumbel(1, 2)", "Gumbel(m, a)", vec![("m", "real = 0", 1.0), ("a", positive, 2.0)]),
        ("StudentT(5, 1, 2)", "StudentT(5, m, a)", vec![("m", "real = 0", 1.0), ("a", positive, 2.0)]),
        ("Uniform(2, 5)", "Uniform(2, 5)", vec![]),
    ];
    for (prior, guide, params) in cases {
        let lines: String = params.iter().map(|(n, ty, _)| format!("  param {n}: {ty}\n")).collect();
        let model = format!(
            "data rows {{ y: real }}\nlatent x ~ {prior}\nobserve y ~ Normal(0, 1)\nguide {{\n{lines}  x ~ {guide}\n}}\n"
        );
        let expected: Vec<(&str, f64)> = params.iter().map(|p| (p.0, p.2)).collect();
        // The datum says nothing of x: log N(1; 0, 1).
        found(&model, "y\n1\n", &expected, -0.5 - LOG_SQRT_2PI);
    }
}
