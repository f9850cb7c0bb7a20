//! What integrates out exactly: closed forms of evidence and posterior without a gradient, and hierarchical models against
//! published numbers.

use vic::driver::FitRequest;
use vic::infer::Trust;
use vic::report::FitReport;

use crate::closed_forms::log_normal;
use crate::conjugate::{ln_beta, ln_gamma};
use crate::support::{compile, csv, example, fit, reference, summaries};

fn one_thread() -> FitRequest {
    FitRequest { threads: Some(1), ..FitRequest::default() }
}

fn matrix(n: usize, cell: impl Fn(usize, usize) -> f64) -> Vec<Vec<f64>> {
    (0..n).map(|i| (0..n).map(|j| cell(i, j)).collect()).collect()
}

/// The evidence to 1e-8, no gradient, and independent draws with these means and sds: over 4000 draws a mean is off by
/// 1/63 sds, a log sd by 1/89 where there are no heavy tails; four of the first, and eight of the second since some are skewed.
fn check(model: &str, data: &str, evidence: f64, truth: &[(&str, f64, f64)]) {
    let report = fit(&compile(model, &csv(data)), &one_thread());
    let (elbo, error) = report.elbo.expect("an evidence");
    assert!((elbo - evidence).abs() < 1e-8 * evidence.abs().max(1.0), "{model}: {elbo}, not {evidence}");
    assert_eq!((report.gradients, report.evaluations, error), (0, 0, 0.0), "{model}");
    assert_eq!(report.verdict.as_ref().expect("judged").trust, Trust::Trust);
    let got = summaries(&report);
    for (name, mean, sd) in truth {
        let (m, s) = got[*name];
        assert!((m - mean).abs() < 0.064 * sd, "{name}: mean {m}, not {mean}\n{model}");
        assert!((s / sd).ln().abs() < 0.09, "{name}: sd {s}, not {sd}\n{model}");
    }
}

#[test]
fn beta_and_coins() {
    let (a, b, k, n) = (2.0, 3.0, 7.0, 9.0);
    let (a1, b1) = (a + k, b + n - k);
    let sd = (a1 * b1 / ((a1 + b1) * (a1 + b1) * (a1 + b1 + 1.0_f64))).sqrt();
    check(
        "data rows { y: bool }\nlatent p ~ Beta(2, 3)\nobserve y ~ Bernoulli(p)\n",
        "y\n1\n1\n0\n1\n1\n1\n0\n1\n1\n",
        ln_beta(a1, b1) - ln_beta(a, b),
        &[("p", a1 / (a1 + b1), sd)],
    );
    // Two failures, none, five before the first success.
    let (a1, b1) = (a + 3.0, b + 7.0);
    let sd = (a1 * b1 / ((a1 + b1) * (a1 + b1) * (a1 + b1 + 1.0_f64))).sqrt();
    check(
        "data rows { y: int }\nlatent p ~ Beta(2, 3)\nobserve y ~ Geometric(p)\n",
        "y\n2\n0\n5\n",
        ln_beta(a1, b1) - ln_beta(a, b),
        &[("p", a1 / (a1 + b1), sd)],
    );
}

#[test]
fn gamma_and_counts() {
    let (a, b, s, n) = (3.0, 1.5, 15.0, 6.0);
    let factorials: f64 = [2.0, 0.0, 5.0, 3.0, 1.0, 4.0].iter().map(|y| ln_gamma(y + 1.0)).sum();
    let evidence = a * f64::ln(b) - ln_gamma(a) + ln_gamma(a + s) - (a + s) * f64::ln(b + n) - factorials;
    check(
        "data rows { y: int >= 0 }\nlatent r ~ Gamma(3, 1.5)\nobserve y ~ Poisson(r)\n",
        "y\n2\n0\n5\n3\n1\n4\n",
        evidence,
        &[("r", (a + s) / (b + n), (a + s).sqrt() / (b + n))],
    );
    // Waiting times with this rate.
    let evidence = a * f64::ln(b) - ln_gamma(a) + ln_gamma(a + 3.0) - (a + 3.0) * f64::ln(b + 4.5);
    check(
        "data rows { y: real >= 0 }\nlatent r ~ Gamma(3, 1.5)\nobserve y ~ Exponential(r)\n",
        "y\n1\n0.5\n3\n",
        evidence,
        &[("r", (a + 3.0) / (b + 4.5), (a + 3.0).sqrt() / (b + 4.5))],
    );
}

#[test]
fn dirichlet_and_categories() {
    let (alpha, counts) = ([2.0, 2.0, 2.0], [4.0, 1.0, 6.0]);
    let (a0, n): (f64, f64) = (alpha.iter().sum(), counts.iter().sum());
    let each: f64 = alpha.iter().zip(&counts).map(|(a, c)| ln_gamma(a + c) - ln_gamma(*a)).sum();
    let mean = |k: usize| (alpha[k] + counts[k]) / (a0 + n);
    let sd = |k: usize| (mean(k) * (1.0 - mean(k)) / (a0 + n + 1.0)).sqrt();
    check(
        "data rows { y: category }\nlatent w over y ~ Dirichlet(2)\nobserve y ~ Categorical(w)\n",
        "y\na\na\nb\nc\nc\na\nc\nc\nc\na\nc\n",
        ln_gamma(a0) - ln_gamma(a0 + n) + each,
        &[("w[a]", mean(0), sd(0)), ("w[b]", mean(1), sd(1)), ("w[c]", mean(2), sd(2))],
    );
}

#[test]
fn a_normal_mean() {
    let (mu0, tau, sigma, y) = (1.0, 2.0, 1.5, [2.1, 0.4, 3.3, -0.2]);
    let n = y.len() as f64;
    let cov = |i: usize, j: usize| tau * tau + if i == j { sigma * sigma } else { 0.0 };
    let precision: f64 = n / (sigma * sigma) + 1.0 / (tau * tau);
    let mean = (y.iter().sum::<f64>() / (sigma * sigma) + mu0 / (tau * tau)) / precision;
    check(
        "data rows { y: real }\nlatent m ~ Normal(1, 2)\nobserve y ~ Normal(m, 1.5)\n",
        "y\n2.1\n0.4\n3.3\n-0.2\n",
        log_normal(&y, &[mu0; 4], &matrix(4, cov)),
        &[("m", mean, precision.sqrt().recip())],
    );
}

#[test]
fn a_mean_and_a_variance() {
    // Normal-inverse-gamma, INFERENCE of every textbook: κn, an, bn.
    let (mu0, kappa, a, b, y) = (0.5, 0.25, 3.0, 2.0, [1.2, 0.3, 2.2, -0.4, 1.9]);
    let n = y.len() as f64;
    let mean = y.iter().sum::<f64>() / n;
    let squares: f64 = y.iter().map(|v| (v - mean) * (v - mean)).sum();
    let (kn, an) = (kappa + n, a + n / 2.0);
    let bn = b + 0.5 * squares + kappa * n * (mean - mu0) * (mean - mu0) / (2.0 * kn);
    let evidence = ln_gamma(an) - ln_gamma(a) + a * f64::ln(b) - an * f64::ln(bn) + 0.5 * f64::ln(kappa / kn)
        - 0.5 * n * std::f64::consts::TAU.ln();
    let location = (kappa * mu0 + n * mean) / kn;
    check(
        "data rows { y: real }\nlatent v ~ InvGamma(3, 2)\nlatent m ~ Normal(0.5, 2 * sqrt(v))\nobserve y ~ Normal(m, sqrt(v))\n",
        "y\n1.2\n0.3\n2.2\n-0.4\n1.9\n",
        evidence,
        &[
            ("v", bn / (an - 1.0), bn / ((an - 1.0) * (an - 2.0).sqrt())),
            // A t distribution with 2 an degrees of freedom.
            ("m", location, (bn / ((an - 1.0) * kn)).sqrt()),
        ],
    );
}

#[test]
fn a_regression_on_a_vector() {
    let x = [[1.0, 0.5], [1.0, -1.0], [1.0, 2.0], [1.0, 0.3]];
    let y = [0.7, -1.1, 2.9, 0.2];
    let (prior, sigma) = ([3.0, 1.0], 0.8);
    let cov = |i: usize, j: usize| {
        let shared: f64 = (0..2).map(|k| x[i][k] * x[j][k] * prior[k] * prior[k]).sum();
        shared + if i == j { sigma * sigma } else { 0.0 }
    };
    check(
        "data rows { x: real[k] from [\"a\", \"b\"]\n y: real }\nlatent w[k] ~ Normal(0, [3, 1])\nobserve y ~ Normal(sum(x * w over k), 0.8)\n",
        "a,b,y\n1,0.5,0.7\n1,-1,-1.1\n1,2,2.9\n1,0.3,0.2\n",
        log_normal(&y, &[0.0; 4], &matrix(4, cov)),
        &[],
    );
}

/// Sums of steps: the covariance of a random walk seen through noise.
#[test]
fn a_chain_is_the_dense_normal() {
    let n = 50;
    let y: Vec<f64> = (0..n).map(|t| (0.7 * t as f64).sin() + 0.05 * t as f64).collect();
    let (first, step, noise) = (2.0, 0.3, 0.5);
    let cov =
        |i: usize, j: usize| first * first + step * step * i.min(j) as f64 + if i == j { noise * noise } else { 0.0 };
    let data: String = y.iter().fold("y\n".into(), |all, v| format!("{all}{v}\n"));
    check(
        "data days { y: real }\nlatent z[t in days] ~ if first(t) then Normal(0, 2) else Normal(z[t-1], 0.3)\nobserve y ~ Normal(z, 0.5)\n",
        &data,
        log_normal(&y, &vec![0.0; n], &matrix(n, cov)),
        &[],
    );
}

#[test]
fn the_variances_of_the_nile() {
    let (_, inputs) = example("nile");
    let model = "data years { year: key\n flow: real }\nparam s: real > 0 = 50\nparam r: real > 0 = 100\n\
                 latent level[t in years] ~ if first(t) then Normal(1000, 30000) else Normal(level[t-1], s)\nobserve flow ~ Normal(level, r)\n";
    let report = fit(&compile(model, &inputs), &one_thread());
    let got = summaries(&report);
    // Durbin and Koopman (2012), section 2.10: maximum likelihood with a diffuse first level, printed to 4 to 5 digits;
    // the optimum is flat, so that a tolerance of 1e-3 in the gradient leaves 0.5 % of a variance.
    let (flow, level) = (got["r"].0.powi(2), got["s"].0.powi(2));
    assert!((flow / 15099.0 - 1.0).abs() < 0.01, "{flow}");
    assert!((level / 1469.1 - 1.0).abs() < 0.02, "{level}");
    assert_eq!(report.collapsed.len(), 1);
}

fn trusted(report: &FitReport) {
    let verdict = report.verdict.as_ref().expect("judged");
    assert_eq!(verdict.trust, Trust::Trust, "{:?}", verdict.faults);
}

#[test]
fn the_pumps_of_bugs() {
    let (model, inputs) = example("counts");
    let report = fit(&compile(&model, &inputs), &one_thread());
    trusted(&report);
    let got = summaries(&report);
    // As printed with the example: their own Monte Carlo error, ours of 4000 draws, and rounding.
    for (name, mean, sd) in [("alpha", 0.70, 0.27), ("beta", 0.93, 0.54), ("rate[1]", 0.0598, 0.0254)] {
        let (m, s) = got[name];
        assert!((m - mean).abs() < 0.1 * sd && (s / sd).ln().abs() < 0.1, "{name}: {m} {s}, not {mean} {sd}");
    }
}

#[test]
fn centred_schools_have_no_funnel() {
    let (model, inputs) = example("eight_schools");
    let model = model.replace("@noncentered", "@centered");
    let report = fit(&compile(&model, &inputs), &one_thread());
    trusted(&report);
    let got = summaries(&report);
    for (name, (mean, sd)) in reference("eight_schools") {
        let Some((m, s)) = got.get(&name) else { continue };
        assert!((m - mean).abs() < 0.1 * sd, "{name}: {m}, not {mean} ({sd})");
        assert!((s / sd).ln().abs() < 0.1, "{name}: sd {s}, not {sd}");
    }
}

#[test]
fn a_group_without_rows_keeps_its_prior() {
    let model = "data rows { y: real, g: groups }\ndata groups { name: key }\nlatent m ~ Normal(0, 1)\n\
                 latent a[groups] ~ Normal(m, 2)\nobserve y ~ Normal(a[g], 1)\n";
    let file = |table: &str, text: &str| vic::data::DataFile {
        table: Some(table.into()),
        name: format!("{table}.csv"),
        bytes: text.as_bytes().to_vec(),
    };
    let files = vec![file("rows", "y,g\n1,a\n2,a\n"), file("groups", "name\na\nb\n")];
    let report = fit(&compile(model, &vic::data::Inputs { files, sets: vec![] }), &one_thread());
    trusted(&report);
    let got = summaries(&report);
    // m given the data: its prior, and two rows whose mean has variance 1 + 4 + 1/2; b adds 4 of its own.
    let weight = 1.0 / (1.0 + 4.0 + 0.5);
    let (mean, variance): (f64, f64) = (1.5 * weight, 1.0 - weight + 4.0);
    let (m, s) = got["a[b]"];
    assert!((m - mean).abs() < 0.064 * variance.sqrt() && (s / variance.sqrt()).ln().abs() < 0.05, "{m} {s}");
}

#[test]
fn it_can_be_switched_off() {
    let model = "data rows { y: real }\nlatent m ~ Normal(1, 2)\nobserve y ~ Normal(m, 1.5)\n";
    let data = csv("y\n2.1\n0.4\n");
    let on = fit(&compile(model, &data), &one_thread());
    assert_eq!((on.method.as_str(), on.gradients, on.collapsed.len()), ("exact", 0, 1));
    let off = fit(&compile(&format!("{model}fit {{ collapse: off }}\n"), &data), &one_thread());
    assert!(off.gradients > 0 && off.collapsed.is_empty());
    let asked = FitRequest { method: Some(vic::infer::Method::Lbfgs), ..one_thread() };
    assert!(fit(&compile(model, &data), &asked).collapsed.is_empty());
}

#[test]
fn an_improper_latent_is_not_integrated_out() {
    // Nothing determines b: its precision is 0.
    let model = "data rows { y: real }\nlatent a ~ Normal(0, 1)\nlatent b ~ flat()\nobserve y ~ Normal(a, 1)\n";
    let compiled = compile(model, &csv("y\n2.1\n0.4\n"));
    let exact = compiled.exact().expect("no trouble").map_or(vec![], |e| e.told());
    assert!(exact.iter().all(|(name, _)| name != "b"), "{exact:?}");
}
