//! Conjugate models: posterior and evidence in closed form, from `.vi` text to the draws.

use vic::driver::{self, FitRequest};
use vic::infer::{self, Target};

use crate::closed_forms::log_normal;
use crate::support::{compile, csv, fit, summaries};

/// log Γ(x) by Stirling's series, shifted to where it is exact to 1e-13.
pub fn ln_gamma(x: f64) -> f64 {
    let (mut x, mut shift) = (x, 0.0);
    while x < 12.0 {
        shift -= x.ln();
        x += 1.0;
    }
    let x2 = 1.0 / (x * x);
    let series = (1.0 / 12.0 - x2 * (1.0 / 360.0 - x2 * (1.0 / 1260.0 - x2 / 1680.0))) / x;
    shift + (x - 0.5) * x.ln() - x + 0.5 * std::f64::consts::TAU.ln() + series
}

/// log B(a, b).
pub fn ln_beta(a: f64, b: f64) -> f64 {
    ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b)
}

/// The bound is at most the evidence, importance weights of the guide's draws average to it, and the reported draws have
/// the posterior's means and sds.
fn check(model: &str, data: &str, evidence: f64, truth: &[(&str, f64, f64)]) {
    let compiled = compile(model, &csv(data));
    let request = FitRequest { threads: Some(1), ..FitRequest::default() };
    let options = driver::options(&compiled, &request);
    let found = infer::fit(&compiled.model, &options, &mut |_| ()).expect("finite");
    assert!(found.converged, "{model}: {}", found.stop_reason);
    assert!(found.elbo <= evidence + 4.0 * found.elbo_se + 1e-9, "{model}: {} above {evidence}", found.elbo);
    let n = 40_000;
    let theta = found.sample(n, 5);
    let log_q = found.approximation.log_density(&theta);
    let mut evaluator = compiled.model.evaluator();
    let ratios: Vec<f64> =
        theta.chunks(compiled.model.dim()).zip(&log_q).map(|(t, q)| evaluator.value(t) - q).collect();
    let weights: Vec<f64> = ratios.iter().map(|r| (r - evidence).exp()).collect();
    let mean = weights.iter().sum::<f64>() / n as f64;
    let sd = (weights.iter().map(|w| (w - mean).powi(2)).sum::<f64>() / n as f64).sqrt();
    // Four standard errors; tails too heavy for them are left a thousandth more.
    assert!((mean - 1.0).abs() < 4.0 * sd / (n as f64).sqrt() + 1e-3, "{model}: evidence off by {:.5}", mean.ln());
    let got = summaries(&fit(&compiled, &request));
    for (name, mean, sd) in truth {
        let (m, s) = got[*name];
        // 4000 draws, weighted or moved: an error of 0.02 sds and 2 % of the sd; four of each.
        assert!(
            (m - mean).abs() < 0.08 * sd && (s / sd).ln().abs() < 0.08,
            "{name}: {m} {s}, not {mean} {sd}\n{model}"
        );
    }
}

#[test]
fn beta_bernoulli() {
    let (a, b, k, n) = (2.0, 3.0, 7.0, 9.0);
    let (a1, b1) = (a + k, b + n - k);
    let (mean, variance) = (a1 / (a1 + b1), a1 * b1 / ((a1 + b1) * (a1 + b1) * (a1 + b1 + 1.0)));
    let model = "data rows { y: bool }\nlatent p ~ Beta(2, 3)\nobserve y ~ Bernoulli(p)\n";
    let data = "y\n1\n1\n0\n1\n1\n1\n0\n1\n1\n";
    check(model, data, ln_beta(a1, b1) - ln_beta(a, b), &[("p", mean, variance.sqrt())]);
}

#[test]
fn gamma_poisson() {
    let (a, b, y) = (3.0, 1.5, [2.0, 0.0, 5.0, 3.0, 1.0, 4.0]);
    let (s, n): (f64, f64) = (y.iter().sum(), 6.0);
    let factorials: f64 = y.iter().map(|y| ln_gamma(y + 1.0)).sum();
    let evidence = a * f64::ln(b) - ln_gamma(a) + ln_gamma(a + s) - (a + s) * (b + n).ln() - factorials;
    let (mean, sd) = ((a + s) / (b + n), (a + s).sqrt() / (b + n));
    let model = "data rows { y: int >= 0 }\nlatent r ~ Gamma(3, 1.5)\nobserve y ~ Poisson(r)\n";
    check(model, "y\n2\n0\n5\n3\n1\n4\n", evidence, &[("r", mean, sd)]);
}

#[test]
fn dirichlet_categorical() {
    let (alpha, counts) = ([1.5, 2.0, 3.0], [4.0, 1.0, 6.0]);
    let (a0, n): (f64, f64) = (alpha.iter().sum(), counts.iter().sum());
    let gained: f64 = alpha.iter().zip(counts).map(|(a, n)| ln_gamma(a + n) - ln_gamma(*a)).sum();
    let evidence = ln_gamma(a0) - ln_gamma(a0 + n) + gained;
    let of = |i: usize| {
        let m = (alpha[i] + counts[i]) / (a0 + n);
        (m, (m * (1.0 - m) / (a0 + n + 1.0)).sqrt())
    };
    let model = "data rows { y: category [\"a\", \"b\", \"c\"] }\nlatent w over y ~ Dirichlet([1.5, 2, 3])\n\
                 observe y ~ Categorical(w)\n";
    let data = format!("y\n{}b\n{}", "a\n".repeat(4), "c\n".repeat(6));
    let truth = [("w[a]", of(0).0, of(0).1), ("w[b]", of(1).0, of(1).1), ("w[c]", of(2).0, of(2).1)];
    check(model, &data, evidence, &truth);
}

/// Mean and variance both unknown: μ | v ~ N(m₀, v/κ₀), v ~ InvGamma(a₀, b₀).
#[test]
fn normal_inverse_gamma() {
    let y = [1.2, 0.4, 2.2, 1.9, -0.3, 1.1, 0.8, 1.6];
    let (m0, k0, a0, b0, n) = (0.5, 2.0, 4.0, 3.0, 8.0);
    let average = y.iter().sum::<f64>() / n;
    let squares: f64 = y.iter().map(|y| (y - average).powi(2)).sum();
    let (kn, an) = (k0 + n, a0 + n / 2.0);
    let mn = (k0 * m0 + n * average) / kn;
    let bn: f64 = b0 + 0.5 * squares + k0 * n * (average - m0).powi(2) / (2.0 * kn);
    let evidence = ln_gamma(an) - ln_gamma(a0) + a0 * f64::ln(b0) - an * bn.ln() + 0.5 * f64::ln(k0 / kn)
        - 0.5 * n * std::f64::consts::TAU.ln();
    let v = bn / (an - 1.0);
    let truth = [("v", v, v / (an - 2.0).sqrt()), ("m", mn, (v / kn).sqrt())];
    let rows: String = y.iter().map(|y| format!("{y}\n")).collect();
    let model = "data rows { y: real }\nlatent v ~ InvGamma(4, 3)\nlatent m ~ Normal(0.5, sqrt(v / 2))\n\
                 observe y ~ Normal(m, sqrt(v))\n";
    check(model, &format!("y\n{rows}"), evidence, &truth);
}

/// Correlated latents: the guide with correlations is the posterior, so its bound is the evidence.
#[test]
fn a_correlated_normal() {
    let y = [1.3, 0.9];
    // Of a and b only the sum and a + 2b are seen.
    let cell = |i: usize, j: usize| {
        let x = [[1.0, 1.0], [1.0, 2.0]];
        4.0 * (x[i][0] * x[j][0] + x[i][1] * x[j][1]) + if i == j { 0.25 } else { 0.0 }
    };
    let covariance: Vec<Vec<f64>> = (0..2).map(|i| (0..2).map(|j| cell(i, j)).collect()).collect();
    let evidence = log_normal(&y, &[0.0; 2], &covariance);
    let model = "data rows { x: real, y: real }\nlatent a ~ Normal(0, 2)\nlatent b ~ Normal(0, 2)\n\
                 observe y ~ Normal(a + b * x, 0.5)\n";
    let compiled = compile(model, &csv("x,y\n1,1.3\n2,0.9\n"));
    let options = driver::options(&compiled, &FitRequest { threads: Some(1), ..FitRequest::default() });
    let options = infer::FitOptions { tolerance: 1e-8, ..options };
    let found = infer::fit(&compiled.model, &options, &mut |_| ()).expect("finite");
    // The objective is exact for a quadratic; what is left is the tolerance, squared, and rounding.
    assert!((found.elbo - evidence).abs() < 1e-8, "{} is not {evidence}", found.elbo);
}

/// What is normal after its transform is fitted exactly: LogNormal through its log, and a logit-normal through its logit.
#[test]
fn transformed_normals_are_exact() {
    let model = "latent s ~ LogNormal(0.3, 0.8)\nlatent p: real in (0, 1) ~ flat()\n\
                 factor -0.5 * ((logit(p) + 1) / 0.6)^2 - log(p) - log(1 - p)\n";
    let compiled = compile(model, &vic::data::Inputs::default());
    let options = driver::options(&compiled, &FitRequest { threads: Some(1), ..FitRequest::default() });
    let options = infer::FitOptions { tolerance: 1e-10, ..options };
    let found = infer::fit(&compiled.model, &options, &mut |_| ()).expect("finite");
    let sds = found.sds();
    for (i, (mean, sd)) in [(0.3, 0.8), (-1.0, 0.6)].into_iter().enumerate() {
        assert!((found.mean[i] - mean).abs() < 1e-8 && (sds[i] - sd).abs() < 1e-8, "{} {}", found.mean[i], sds[i]);
    }
}

/// Draws are keyed by name and rows have none, so that neither order changes more than sums' rounding.
#[test]
fn the_order_of_rows_and_declarations_does_not_matter() {
    let model = ["latent a ~ Normal(0, 3)", "latent s ~ HalfNormal(2)", "latent b ~ Normal(0, 3)"];
    let text = |order: [usize; 3]| {
        let latents = order.map(|i| model[i]).join("\n");
        format!("data rows {{ x: real, y: real }}\n{latents}\nobserve y ~ StudentT(4, a + b * x, s)\n")
    };
    let rows = ["1,2.1", "0.2,0.3", "-1.1,-1.9", "0.5,0.8", "1.8,3.9", "2.6,4.2"];
    let data = |order: [usize; 6]| format!("x,y\n{}\n", order.map(|i| rows[i]).join("\n"));
    let found = |model: &str, data: &str| {
        let compiled = compile(model, &csv(data));
        let options = driver::options(&compiled, &FitRequest { threads: Some(1), ..FitRequest::default() });
        let fit = infer::fit(&compiled.model, &options, &mut |_| ()).expect("finite");
        let mut means: Vec<(String, f64)> = fit.names.iter().cloned().zip(fit.mean.iter().copied()).collect();
        means.sort_by(|a, b| a.0.cmp(&b.0));
        means
    };
    let first = found(&text([0, 1, 2]), &data([0, 1, 2, 3, 4, 5]));
    for other in
        [found(&text([2, 0, 1]), &data([0, 1, 2, 3, 4, 5])), found(&text([0, 1, 2]), &data([5, 3, 0, 1, 4, 2]))]
    {
        for (a, b) in first.iter().zip(&other) {
            assert!(a.0 == b.0 && (a.1 - b.1).abs() < 1e-6, "{a:?} {b:?}");
        }
    }
}
