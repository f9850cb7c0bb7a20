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
    check_to(1e-8, model, data, evidence, truth);
}

fn check_to(digits: f64, model: &str, data: &str, evidence: f64, truth: &[(&str, f64, f64)]) {
    let report = fit(&compile(model, &csv(data)), &one_thread());
    let (elbo, error) = report.elbo.expect("an evidence");
    assert!((elbo - evidence).abs() < digits * evidence.abs().max(1.0), "{model}: {elbo}, not {evidence}");
    assert_eq!((report.gradients, report.evaluations, error), (0, 0, 0.0), "{model}");
    assert_eq!(report.verdict.as_ref().expect("judged").trust, Trust::Trust);
    let got = summaries(&report);
    for (name, mean, sd) in truth {
        let (m, s) = got[*name];
        assert!((m - mean).abs() < 0.064 * sd, "{name}: mean {m}, not {mean}\n{model}");
        assert!((s / sd).ln().abs() < 0.09, "{name}: sd {s}, not {sd}\n{model}");
    }
}

/// The noise of the draws is spread evenly. Cells that are normal by themselves have their means to 0.005 sds and their sds to 0.3 %,
/// where independent draws would be off by 0.016 sds and 1.1 %: of 20 cells some would be off by twice that.
#[test]
fn draws_are_spread_evenly() {
    let rows: String =
        (0..60).map(|i| format!("g{},{}\n", i % 20 * (i % 3 + 1) % 20, (0.9 * f64::from(i)).sin())).collect();
    let model = "data rows { g: category, y: real }\nlatent a[g] ~ Normal(0, 1)\nobserve y ~ Normal(a[g], 0.5)\n";
    let report = fit(&compile(model, &csv(&format!("g,y\n{rows}"))), &one_thread());
    let mut sums: std::collections::HashMap<&str, (f64, f64)> = std::collections::HashMap::new();
    for row in rows.lines() {
        let (g, y) = row.split_once(',').expect("two cells");
        let sum = sums.entry(g).or_default();
        *sum = (sum.0 + 1.0, sum.1 + y.parse::<f64>().expect("a number"));
    }
    let got = summaries(&report);
    assert_eq!(got.len(), sums.len());
    for (g, (n, sum)) in sums {
        let (mean, sd) = (4.0 * sum / (1.0 + 4.0 * n), (1.0 / (1.0 + 4.0 * n)).sqrt());
        let (m, s) = got[&format!("a[{g}]")];
        assert!((m - mean).abs() < 0.005 * sd && (s / sd - 1.0).abs() < 0.003, "{g}: {m} and {mean}, {s} and {sd}");
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

/// y ~ N(m, 1/λ) with λ known, the last example in terms of precisions.
#[test]
fn a_normal_mean_of_known_precision() {
    let (mu0, tau, lambda, y) = (-0.5, 0.4, 2.5, [0.3, 1.4, 0.9]);
    let (prior, n) = (tau, y.len() as f64);
    let precision: f64 = prior + n * lambda;
    let mean = (prior * mu0 + lambda * y.iter().sum::<f64>()) / precision;
    let cov = |i: usize, j: usize| 1.0 / tau + if i == j { 1.0 / lambda } else { 0.0 };
    check(
        "data rows { y: real }\nlatent m ~ Normal(-0.5, precision: 0.4)\nobserve y ~ Normal(m, precision: 2.5)\n",
        "y\n0.3\n1.4\n0.9\n",
        log_normal(&y, &[mu0; 3], &matrix(3, cov)),
        &[("m", mean, precision.sqrt().recip())],
    );
}

#[test]
fn dirichlet_and_counts() {
    let (alpha, rows) = ([1.5, 2.0, 3.0], [[4.0, 0.0, 1.0], [2.0, 3.0, 0.0]]);
    let a0: f64 = alpha.iter().sum();
    let counts: Vec<f64> = (0..3).map(|k| rows[0][k] + rows[1][k]).collect();
    let n: f64 = counts.iter().sum();
    let ways: f64 = rows.iter().map(|r| ln_gamma(6.0) - r.iter().map(|x| ln_gamma(x + 1.0)).sum::<f64>()).sum();
    let each: f64 = alpha.iter().zip(&counts).map(|(a, c)| ln_gamma(a + c) - ln_gamma(*a)).sum();
    let mean = |k: usize| (alpha[k] + counts[k]) / (a0 + n);
    let sd = |k: usize| (mean(k) * (1.0 - mean(k)) / (a0 + n + 1.0)).sqrt();
    check(
        "data rows { x: int[k] from [\"a\", \"b\", \"c\"] }\nlatent w over k ~ Dirichlet([1.5, 2, 3])\n\
         observe x over k ~ Multinomial(5, w)\n",
        "a,b,c\n4,0,1\n2,3,0\n",
        ways + ln_gamma(a0) - ln_gamma(a0 + n) + each,
        &[("w[a]", mean(0), sd(0)), ("w[b]", mean(1), sd(1)), ("w[c]", mean(2), sd(2))],
    );
}

/// Counts whose rates are gamma are negative binomial: Γ(a + y) / Γ(a) y! · (b/(b+1))^a (1/(b+1))^y.
#[test]
fn counts_with_rates_of_their_own() {
    let (a, b, y) = (2.5, 0.8, [2.0, 0.0, 7.0, 3.0]);
    let one = |y: f64| ln_gamma(a + y) - ln_gamma(a) - ln_gamma(y + 1.0) + a * f64::ln(b) - (a + y) * f64::ln(b + 1.0);
    let rate = |y: f64| ((a + y) / (b + 1.0), (a + y).sqrt() / (b + 1.0));
    check(
        "data rows { y: int >= 0 }\nlatent r[rows] ~ Gamma(2.5, 0.8)\nobserve y ~ Poisson(r)\n",
        "y\n2\n0\n7\n3\n",
        y.iter().map(|y| one(*y)).sum(),
        &[("r[1]", rate(2.0).0, rate(2.0).1), ("r[3]", rate(7.0).0, rate(7.0).1)],
    );
    // The same by the distribution of the library.
    let compiled =
        compile("data rows { y: int >= 0 }\nobserve y ~ NegBinomial(alpha: 2.5, beta: 0.8)\n", &csv("y\n2\n0\n7\n3\n"));
    let value = vic::infer::Target::evaluator(&compiled.model).value(&[]);
    assert!((value - y.iter().map(|y| one(*y)).sum::<f64>()).abs() < 1e-8, "{value}");
}

/// Empty cells of an outcome say nothing; a group with none but empty cells keeps its prior.
#[test]
fn empty_cells_add_nothing() {
    let y = [2.1, 0.4, 3.3];
    let cov = |i: usize, j: usize| 4.0 + if i == j { 2.25 } else { 0.0 };
    let precision: f64 = 3.0 / 2.25 + 0.25;
    let mean = (y.iter().sum::<f64>() / 2.25 + 0.25) / precision;
    check(
        "data rows { y: real?, g: category }\nlatent m[g] ~ Normal(1, 2)\nobserve y ~ Normal(m[g], 1.5)\n",
        "y,g\n2.1,a\n,a\n0.4,a\n3.3,a\n,b\n",
        log_normal(&y, &[1.0; 3], &matrix(3, cov)),
        &[("m[a]", mean, precision.sqrt().recip()), ("m[b]", 1.0, 2.0)],
    );
    // A chain with a gap: the cells around it know less of each other.
    let z = [0.3, 1.2, 0.8];
    let at = [0.0, 1.0, 3.0];
    let cov = |i: usize, j: usize| 4.0 + 0.25 * f64::min(at[i], at[j]) + if i == j { 0.16 } else { 0.0 };
    check(
        "data days { y: real? }\nlatent z[t in days] ~ if first(t) then Normal(0, 2) else Normal(z[t-1], 0.5)\nobserve y ~ Normal(z, 0.4)\n",
        "y\n0.3\n1.2\nNA\n0.8\n",
        log_normal(&z, &[0.0; 3], &matrix(3, cov)),
        &[],
    );
}

/// Columns that add up to each other, and no prior to tell them apart: no number is made up for what nothing determines.
#[test]
fn a_singular_precision_is_no_result() {
    let model = "data rows { x: real[k] from [\"a\", \"b\"]\n y: real }\nlatent w[k] ~ flat()\n\
                 observe y ~ Normal(sum(x * w over k), 0.8)\n";
    let compiled = compile(model, &csv("a,b,y\n1,2,0.7\n2,4,-1.1\n-1,-2,2.9\n"));
    let mut session = vic::driver::Session::default();
    let options = vic::driver::options(&compiled, &one_thread());
    let report = vic::driver::fit(&mut session, &compiled, &options, &mut |_| {});
    match report {
        None => assert!(session.diags.has_errors()),
        Some(report) => {
            assert_ne!(report.verdict.as_ref().expect("judged").trust, Trust::Trust, "{}", report.method);
            assert!(report.vars.iter().flat_map(|v| &v.draws).all(|x| x.is_finite()));
        }
    }
    // A prior tells them apart.
    let model = model.replace("flat()", "Normal(0, 1)");
    let (x, y) = ([1.0, 2.0, -1.0], [0.7, -1.1, 2.9]);
    let cov = |i: usize, j: usize| 5.0 * x[i] * x[j] + if i == j { 0.64 } else { 0.0 };
    check(&model, "a,b,y\n1,2,0.7\n2,4,-1.1\n-1,-2,2.9\n", log_normal(&y, &[0.0; 3], &matrix(3, cov)), &[]);
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
    check_to(
        1e-9,
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

/// What is integrated out of the centred schools beside the referee on the model as noise, which has no funnel either: means
/// within 0.1 sds and sds within 10 %. Over 8000 draws of which a fifth count, and 4000 of ours, the difference of two means
/// has a standard error of 0.03 sds, and that of two log sds one of 0.02 and more where tails are heavy.
#[test]
fn centred_schools_are_those_of_the_referee() {
    let (model, inputs) = example("eight_schools");
    let ours = summaries(&fit(&compile(&model.replace("@noncentered", "@centered"), &inputs), &one_thread()));
    let request = FitRequest { method: Some(vic::infer::Method::Nuts), draws: Some(2000), ..one_thread() };
    let referee = summaries(&fit(&compile(&model, &inputs), &request));
    assert!(ours.contains_key("tau") && ours.len() >= 10);
    for (name, (mean, sd)) in &referee {
        let (m, s) = ours[name];
        assert!((m - mean).abs() < 0.1 * sd && (s / sd).ln().abs() < 0.1, "{name}: {m} {s}, not {mean} {sd}");
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

/// Coefficients with a full covariance: y ~ N(X m, X S Xᵀ + σ² I), and the posterior of a textbook's regression.
#[test]
fn coefficients_with_a_covariance() {
    let x = [[1.0, 0.5], [1.0, -1.0], [1.0, 2.0], [1.0, 0.3]];
    let y = [0.7, -1.1, 2.9, 0.2];
    let (m, s) = ([0.5, 1.0], [[2.0, 0.6], [0.6, 1.0]]);
    let mean: Vec<f64> = x.iter().map(|x| x[0] * m[0] + x[1] * m[1]).collect();
    let cov = |i: usize, j: usize| {
        let shared: f64 =
            (0..2).flat_map(|a| (0..2).map(move |b| (a, b))).map(|(a, b)| x[i][a] * s[a][b] * x[j][b]).sum();
        shared + if i == j { 0.64 } else { 0.0 }
    };
    let model = "data rows { x: real[k] from [\"a\", \"b\"]\n y: real }\n\
                 let S[i in k, j in k] = if i == j then (if first(i) then 2 else 1) else 0.6\n\
                 latent w over k ~ MvNormal([0.5, 1], cov: S)\nobserve y ~ Normal(sum(x * w over k), 0.8)\n";
    check(model, "a,b,y\n1,0.5,0.7\n1,-1,-1.1\n1,2,2.9\n1,0.3,0.2\n", log_normal(&y, &mean, &matrix(4, cov)), &[]);
}

/// A Gaussian process seen through noise: y ~ N(0, K + σ² I), its values drawn given the rest.
#[test]
fn a_gaussian_process_is_its_covariance() {
    let (x, y) = ([0.0, 0.7, 1.1, 2.5, 3.0], [0.2, 0.9, 1.3, -0.4, -0.8]);
    let k = |i: usize, j: usize| {
        1.44 * f64::exp(-0.5 * ((x[i] - x[j]) / 0.8_f64).powi(2)) + if i == j { 1e-6 } else { 0.0 }
    };
    let cov = |i: usize, j: usize| k(i, j) + if i == j { 0.09 } else { 0.0 };
    let rows: String = x.iter().zip(&y).map(|(x, y)| format!("{x},{y}\n")).collect();
    check(
        "data points { x: real, y: real }\n\
         let K[i in points, j in points] = 1.44 * exp(-0.5 * ((x[i] - x[j]) / 0.8)^2) + 1e-6 * (i == j)\n\
         latent f over points ~ MvNormal(0, cov: K)\nobserve y ~ Normal(f, 0.3)\n",
        &format!("x,y\n{rows}"),
        log_normal(&y, &[0.0; 5], &matrix(5, cov)),
        &[],
    );
}

/// With its scales unknown the process is integrated out all the same: two coordinates are left.
#[test]
fn the_scales_of_a_process_are_what_is_left() {
    let model = "data points { x: real, y: real }\nlatent rho ~ Gamma(4, 4)\nlatent s ~ HalfNormal(1)\n\
                 let K[i in points, j in points] = exp(-0.5 * ((x[i] - x[j]) / rho)^2) + 1e-6 * (i == j)\n\
                 latent f over points ~ MvNormal(0, cov: K)\nobserve y ~ Normal(f, s)\n";
    let compiled = compile(model, &csv("x,y\n0,0.2\n0.7,0.9\n1.1,1.3\n2.5,-0.4\n3,-0.8\n"));
    let exact = compiled.exact().expect("no trouble").expect("f");
    assert_eq!(exact.told().len(), 1);
    assert_eq!(vic::infer::Target::dim(&exact.rest), 2);
}

/// Two crossed group effects: the larger goes cell by cell, the smaller as a whole over what that leaves; y ~ N(0, τ² same group +
/// ω² same item + σ² I). One row of a pair, two, or none.
#[test]
fn crossed_effects_integrate_out() {
    let rows =
        [(0, 0, 0.7), (0, 1, 1.9), (1, 0, -0.4), (1, 2, 0.3), (2, 1, 1.1), (2, 1, 1.4), (3, 2, -0.9), (3, 0, 0.2)];
    let (tau, omega, sigma) = (1.2, 0.8, 0.5);
    let same = |a: usize, b: usize, v: f64| if a == b { v * v } else { 0.0 };
    let cov =
        |i: usize, j: usize| same(rows[i].0, rows[j].0, tau) + same(rows[i].1, rows[j].1, omega) + same(i, j, sigma);
    let y: Vec<f64> = rows.iter().map(|r| r.2).collect();
    let data: String = rows.iter().map(|(g, h, y)| format!("g{g},h{h},{y}\n")).collect();
    let data = format!("g,h,y\n{data}");
    let model = "data rows { g, h: category\n y: real }\nlatent a[g] ~ Normal(0, 1.2)\nlatent b[h] ~ Normal(0, 0.8)\n\
                 observe y ~ Normal(a[g] + b[h], 0.5)\n";
    check(model, &data, log_normal(&y, &[0.0; 8], &matrix(8, cov)), &[]);
    // With their scales unknown both go too.
    let model = "data rows { g, h: category\n y: real }\nlatent t, o, s ~ HalfNormal(1)\nlatent a[g] ~ Normal(0, t)\n\
                 latent b[h] ~ Normal(0, o)\nobserve y ~ Normal(a[g] + b[h], s)\n";
    let compiled = compile(model, &csv(&data));
    let exact = compiled.exact().expect("no trouble").expect("a and b");
    assert_eq!((exact.told().len(), vic::infer::Target::dim(&exact.rest)), (2, 3));
}
