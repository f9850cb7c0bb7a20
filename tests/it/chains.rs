//! Order, from `.vi` text and CSV to the bound: chains with known evidence, recurrences with known values.

use vic::driver::{self, FitRequest};
use vic::infer::{self, GuideKind};

use crate::closed_forms::log_normal;
use crate::support;

const Y: [f64; 8] = [0.4, 1.1, 0.7, 1.9, 2.6, 2.2, 3.1, 2.8];

fn column(name: &str, values: &[f64]) -> String {
    format!("{name}\n{}\n", values.iter().map(f64::to_string).collect::<Vec<_>>().join("\n"))
}

fn fitted(model: &str, data: &str) -> infer::Fit {
    let compiled = support::compile(model, &support::csv(data));
    let request = FitRequest { guide: Some(GuideKind::FullRank), ..FitRequest::default() };
    let options = driver::options(&compiled, &request);
    infer::fit(&compiled.model, &options, &mut |_| {}).expect("the log joint is finite")
}

/// A local level: y[i] and y[j] have covariance 4 + 0.25 min(i, j), and 0.36 more where i = j. All is Gaussian, so that the bound
/// is the evidence.
#[test]
fn a_random_walk_has_its_evidence() {
    for how in ["", " @noncentered"] {
        let model = format!(
            "data days {{ y: real }}\n\
             latent h[t in days] ~ if first(t) then Normal(1, 2) else Normal(h[t-1], 0.5){how}\n\
             observe y ~ Normal(h, 0.6)\n"
        );
        let cov = |i: usize, j: usize| 4.0 + 0.25 * i.min(j) as f64 + if i == j { 0.36 } else { 0.0 };
        let c: Vec<Vec<f64>> = (0..Y.len()).map(|i| (0..Y.len()).map(|j| cov(i, j)).collect()).collect();
        let evidence = log_normal(&Y, &[1.0; Y.len()], &c);
        let fit = fitted(&model, &column("y", &Y));
        assert!(fit.converged);
        assert!((fit.elbo - evidence).abs() < 1e-3, "{} is not {evidence}{how}", fit.elbo);
    }
}

/// Errors that follow an autoregression, written as a recurrence over data: y[t] given all before is Normal with mean
/// m + 0.6 (y[t-1] - m).
#[test]
fn an_autoregression_has_its_evidence() {
    let model = "data days { y: real }\n\
                 latent m ~ Normal(0, 3)\n\
                 let mean[t in days] = if first(t) then m else m + 0.6 * (y[t-1] - m)\n\
                 observe y ~ Normal(mean, 0.5)\n";
    // y[t] - 0.6 y[t-1] = 0.4 m + noise, and y[1] = m + noise.
    let z: Vec<f64> = (0..Y.len()).map(|t| if t == 0 { Y[0] } else { Y[t] - 0.6 * Y[t - 1] }).collect();
    let w = |t: usize| if t == 0 { 1.0 } else { 0.4 };
    let cov = |i: usize, j: usize| 9.0 * w(i) * w(j) + if i == j { 0.25 } else { 0.0 };
    let c: Vec<Vec<f64>> = (0..Y.len()).map(|i| (0..Y.len()).map(|j| cov(i, j)).collect()).collect();
    let evidence = log_normal(&z, &[0.0; Y.len()], &c);
    let fit = fitted(model, &column("y", &Y));
    assert!((fit.elbo - evidence).abs() < 1e-3, "{} is not {evidence}", fit.elbo);
}

/// Rows of two groups, mixed and out of order: counts within each, in the order of `at`.
#[test]
fn walks_by_group_and_along_a_column() {
    let model = "data rows { g: category, at: int, y: real }\n\
                 latent m ~ Normal(0, 1)\n\
                 let before[t in rows by g along at] = if first(t) then 0 else before[t-1] + y[t-1]\n\
                 let number[t in rows by g along at] = row(t)\n\
                 let file[t in rows] = if first(t, 2) then 0 else y[t-2] + row(t)\n\
                 observe y ~ Normal(m, 1)\n\
                 report before, number, file\n";
    let data = "g,at,y\nb,2,10\na,3,1\nb,1,20\na,1,2\na,2,3\nb,7,30\n";
    let compiled = support::compile(model, &support::csv(data));
    let got = support::summaries(&support::fit(&compiled, &FitRequest::default()));
    let expected = [
        ("before", [20.0, 5.0, 0.0, 0.0, 2.0, 30.0]),
        ("number", [2.0, 3.0, 1.0, 1.0, 2.0, 3.0]),
        ("file", [0.0, 0.0, 13.0, 5.0, 25.0, 8.0]),
    ];
    for (name, values) in expected {
        for (i, v) in values.iter().enumerate() {
            assert_eq!(got[&format!("{name}[{}]", i + 1)].0, *v, "{name}[{}]", i + 1);
        }
    }
}

/// The forward algorithm written by hand: the sum over all paths.
#[test]
fn the_forward_algorithm_sums_over_paths() {
    let model = "data days { y: real }\n\
                 plate state = 2\n\
                 latent mu[state] ~ Normal(0, 1)\n\
                 latent p[i in state] over state ~ Dirichlet(1)\n\
                 let a[t in days, j in state] = -0.5 * (y[t] - mu[j])^2 + (if first(t) then log(0.5)\n\
                   else logsumexp(a[t-1, i] + log(p[i, j]) over i in state))\n\
                 factor logsumexp(a[\"5\", j] over j in state)\n";
    let y = &Y[..5];
    let compiled = support::compile(model, &support::csv(&column("y", y)));
    let mut evaluator = vic::infer::Target::evaluator(&compiled.model);
    let theta = [0.3, -0.8, 0.7, -0.2];
    let value = evaluator.value(&theta);
    // Log-ratios u of a simplex of two: p1 / p2 = exp(√2 u).
    let p = |i: usize| {
        let odds = (2f64.sqrt() * theta[2 + i]).exp();
        [odds / (1.0 + odds), 1.0 / (1.0 + odds)]
    };
    let mut total = 0.0;
    for path in 0..32usize {
        let z = |t: usize| path >> t & 1;
        let emission: f64 = (0..5).map(|t| -0.5 * (y[t] - theta[z(t)]).powi(2)).sum();
        total += emission.exp() * 0.5 * (1..5).map(|t| p(z(t - 1))[z(t)]).product::<f64>();
    }
    let log_2pi = 1.837_877_066_409_345_3;
    let prior: f64 = (0..2).map(|k| -0.5 * theta[k] * theta[k] - 0.5 * log_2pi).sum();
    // Dirichlet(1, 1) has density 1; the Jacobian is ½ log 2 + Σ log p per row.
    let jacobian: f64 = (0..2).map(|i| 0.5 * 2f64.ln() + p(i).iter().map(|x| x.ln()).sum::<f64>()).sum();
    let expected = total.ln() + prior + jacobian;
    assert!((value - expected).abs() < 1e-10, "{value} is not {expected}");
}

/// `let m[months]: season = …` picks cells by number.
#[test]
fn a_let_picks_cells_of_a_plate() {
    let model = "data months { month: int in [1, 12], y: real }\n\
                 plate season = 3\n\
                 let m[months]: season = ceil(month / 4)\n\
                 latent level[t in months] ~ if first(t) then Normal(0, 1) else Normal(level[t-1], 0.1)\n\
                 latent effect[season] ~ Normal(0, 1)\n\
                 observe y ~ Normal(level + effect[m], 1)\n";
    let compiled = support::compile(model, &support::csv("month,y\n1,0.5\n5,0.1\n12,2\n4,0.3\n"));
    let got = support::summaries(&support::fit(&compiled, &FitRequest::default()));
    assert!(got["effect[3]"].0 > got["effect[1]"].0);
}
