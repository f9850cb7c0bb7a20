//! Where `--method auto` takes closed forms, and where it only says that there are some.

use vic::driver::{self, FitRequest};
use vic::infer::{Method, Trust};
use vic::report::FitReport;

use crate::closed_forms::log_normal;
use crate::support::{compile, csv, fit};

fn by_default(model: &str, data: &str) -> FitReport {
    fit(&compile(model, &csv(data)), &FitRequest { threads: Some(1), ..FitRequest::default() })
}

fn chosen<'a>(report: &'a FitReport, what: &str) -> Option<&'a vic::infer::Choice> {
    report.chosen.iter().find(|c| c.what == what)
}

const CLUSTERS: &str = "y\n-2.1\n-1.8\n-2.4\n-1.9\n2.2\n1.7\n2.0\n2.5\n1.6\n";

/// Params and a discrete latent: EM, and the very numbers of `--method em`.
#[test]
fn a_mixture_of_params_is_fitted_by_em() {
    let model = "data rows { y: real }\nplate k = 2\nparam w over k: simplex = 0.5\nparam m[k] = [-1, 1]\nparam s: real > 0 = 1\n\
                 latent z[rows]: k ~ Categorical(w)\nobserve y ~ Normal(m[z], s)\n";
    let report = by_default(model, CLUSTERS);
    assert_eq!((report.method.as_str(), report.gradients, report.converged), ("em", 0, true));
    assert_eq!(chosen(&report, "method").expect("chosen").value, "em");
    assert_eq!(report.draws_from, "none: params are points");
    assert_eq!(report.verdict.as_ref().expect("judged").trust, Trust::Trust);
    let compiled = compile(model, &csv(CLUSTERS));
    let asked = fit(&compiled, &FitRequest { method: Some(Method::Em), threads: Some(1), ..FitRequest::default() });
    assert_eq!(report.elbo, asked.elbo);
    // Following gradients, the likelihood is not higher: both are at the same maximum.
    let asked = fit(&compiled, &FitRequest { method: Some(Method::Lbfgs), threads: Some(1), ..FitRequest::default() });
    let (em, lbfgs) = (report.elbo.expect("a likelihood").0, asked.elbo.expect("a likelihood").0);
    assert!(em > lbfgs - 1e-6, "{em} by EM, {lbfgs} by gradients");
}

/// A likelihood without a maximum: gradients are tried next, and a doubt says what closed forms came to.
#[test]
fn what_has_no_maximum_is_said() {
    let model = "data rows { y: real }\nplate k = 2\nparam w over k: simplex = 0.5\nparam m[k] = [1, 2]\nparam s[k]: real > 0 = [0.001, 1]\n\
                 latent z[rows]: k ~ Categorical(w)\nobserve y ~ Normal(m[z], s[z])\nfit { starts: 1 }\n";
    let compiled = compile(model, &csv("y\n1\n2.4\n3.1\n1.9\n2.2\n"));
    let options = driver::options(&compiled, &FitRequest { threads: Some(1), ..FitRequest::default() });
    assert_eq!(options.method, Method::Em);
    let mut session = driver::Session::default();
    let report = driver::fit(&mut session, &compiled, &options, &mut |_| {});
    match report {
        None => assert!(session.diags.has_errors()),
        Some(report) => assert!(report.doubts.iter().any(|d| d.contains("--method em")), "{:?}", report.doubts),
    }
}

/// Sixty coefficients are more than are integrated out as a whole; their posterior is one normal all the same.
#[test]
fn a_large_regression_is_its_posterior() {
    let (n, k) = (30, 60);
    let x = |i: usize, j: usize| (1.7 * (i * k + j) as f64).sin();
    let y: Vec<f64> = (0..n).map(|i| (0.9 * i as f64).cos()).collect();
    let head: Vec<String> = (1..=k).map(|j| format!("x{j}")).collect();
    let mut data = format!("y,{}\n", head.join(","));
    for (i, y) in y.iter().enumerate() {
        let cells: Vec<String> = (0..k).map(|j| x(i, j).to_string()).collect();
        data += &format!("{y},{}\n", cells.join(","));
    }
    let model = "data rows { y: real, x: real[k] from \"x*\" }\nlatent b[k] ~ Normal(0, 0.5)\n\
                 observe y ~ Normal(sum(x * b over k), 0.7)\n";
    let report = by_default(model, &data);
    assert_eq!((report.method.as_str(), report.gradients), ("cavi", 0));
    assert_eq!(report.verdict.as_ref().expect("judged").trust, Trust::Trust);
    let cov =
        |i: usize, j: usize| 0.25 * (0..k).map(|c| x(i, c) * x(j, c)).sum::<f64>() + if i == j { 0.49 } else { 0.0 };
    let cov: Vec<Vec<f64>> = (0..n).map(|i| (0..n).map(|j| cov(i, j)).collect()).collect();
    let (elbo, evidence) = (report.elbo.expect("an evidence").0, log_normal(&y, &vec![0.0; n], &cov));
    assert!((elbo - evidence).abs() < 1e-8 * evidence.abs(), "{elbo}, not {evidence}");
}

/// Independent factors would lose what a guide over all latents keeps: closed forms are only mentioned.
#[test]
fn what_would_lose_by_closed_forms_is_only_told_of_them() {
    let model = "data rows { y: real }\nplate k = 2\nlatent w over k ~ Dirichlet(2)\nlatent m[k] ~ Normal(0, 3)\n\
                 latent z[rows]: k ~ Categorical(w)\nobserve y ~ Normal(m[z], 1)\n";
    let report = by_default(model, CLUSTERS);
    let choice = chosen(&report, "method").expect("chosen");
    assert_eq!(choice.value, "lbfgs");
    assert!(choice.why.contains("--method cavi") && choice.more.contains("--method cavi"), "{choice:?}");
    // Asked for, they are taken.
    let request = FitRequest { method: Some(Method::Cavi), threads: Some(1), ..FitRequest::default() };
    let compiled = compile(model, &csv(CLUSTERS));
    assert_eq!(fit(&compiled, &request).method, "cavi");
    // Of what has none there is nothing to tell.
    let report =
        by_default("data rows { y: real }\nlatent m ~ StudentT(4, 0, 1)\nobserve y ~ Normal(m, 1)\n", CLUSTERS);
    assert!(!chosen(&report, "method").expect("chosen").more.contains("cavi"));
}

/// A component that no row is left to keeps its prior: nothing is divided by 0 rows.
#[test]
fn an_empty_component_keeps_its_prior() {
    let model = "data rows { y: real }\nplate k = 5\nlatent w over k ~ Dirichlet(0.01)\nlatent m[k] ~ Normal(0, 3)\n\
                 latent z[rows]: k ~ Categorical(w)\nobserve y ~ Normal(m[z], 0.3)\nfit { method: cavi }\n";
    let report = by_default(model, CLUSTERS);
    assert!(report.elbo.expect("a bound").0.is_finite());
    assert!(report.vars.iter().flat_map(|v| &v.draws).all(|x| x.is_finite()));
}
