//! Models whose posterior and evidence are known, from `.vi` text and CSV to the bound.

use vic::driver::{self, FitRequest};
use vic::infer::{self, GuideKind, Scale, SdsFrom};

use crate::support;

fn fitted(model: &str, data: &str, guide: GuideKind) -> infer::Fit {
    let compiled = support::compile(model, &support::csv(data));
    let options = driver::options(&compiled, &FitRequest { guide: Some(guide), ..FitRequest::default() });
    infer::fit(&compiled.model, &options, &mut |_| {}).expect("the log joint is finite")
}

const LOG_2PI: f64 = 1.837_877_066_409_345_3;

/// log N(y; m, C) by Cholesky.
pub fn log_normal(y: &[f64], m: &[f64], c: &[Vec<f64>]) -> f64 {
    let n = y.len();
    let mut l = vec![vec![0.0; n]; n];
    for i in 0..n {
        for j in 0..=i {
            let known: f64 = (0..j).map(|k| l[i][k] * l[j][k]).sum();
            l[i][j] = if i == j { (c[i][i] - known).sqrt() } else { (c[i][j] - known) / l[j][j] };
        }
    }
    let mut z = vec![0.0; n];
    for i in 0..n {
        let known: f64 = (0..i).map(|k| l[i][k] * z[k]).sum();
        z[i] = (y[i] - m[i] - known) / l[i][i];
    }
    let log_det: f64 = (0..n).map(|i| l[i][i].ln()).sum();
    -0.5 * z.iter().map(|z| z * z).sum::<f64>() - log_det - 0.5 * n as f64 * LOG_2PI
}

/// Normal with known sd: precision n/σ² + 1/τ², and evidence N(y; μ₀ 1, σ² I + τ² 1 1ᵀ).
#[test]
fn normal_mean_with_known_sd() {
    let y = [1.3, -0.4, 2.2, 0.9, 1.7];
    let csv = format!("y\n{}\n", y.map(|v| v.to_string()).join("\n"));
    let model = "data rows { y: real }\nlatent mu ~ Normal(0.5, 2)\nobserve y ~ Normal(mu, 1.5)\n";
    let (sigma2, tau2, m0, n) = (2.25, 4.0, 0.5, y.len() as f64);
    let precision = n / sigma2 + 1.0 / tau2;
    let mean = (y.iter().sum::<f64>() / sigma2 + m0 / tau2) / precision;
    let c: Vec<Vec<f64>> = (0..5).map(|i| (0..5).map(|j| tau2 + if i == j { sigma2 } else { 0.0 }).collect()).collect();
    let evidence = log_normal(&y, &[m0; 5], &c);
    for guide in [GuideKind::FullRank, GuideKind::MeanField] {
        let fit = fitted(model, &csv, guide);
        assert!(fit.converged);
        // The draws integrate a quadratic exactly; what is left is the gradient tolerance of 1e-3 sds.
        assert!((fit.mean[0] - mean).abs() < 1e-3 * precision.sqrt().recip(), "{} is not {mean}", fit.mean[0]);
        assert!((fit.elbo - evidence).abs() < 1e-3, "{} is not {evidence}", fit.elbo);
    }
}

/// The public regression test of another package: x ~ N(0, 1), y ~ N(x, 0.5), y = 10 has posterior mean 8.
#[test]
fn a_datum_far_from_the_prior() {
    let model = "data rows { y: real }\nlatent x ~ Normal(0, 1)\nobserve y ~ Normal(x, 0.5)\n";
    let fit = fitted(model, "y\n10\n", GuideKind::MeanField);
    assert!((fit.mean[0] - 8.0).abs() < 1e-3, "{}", fit.mean[0]);
}

/// Linear regression with known noise: V = (XᵀX/σ² + Λ₀)⁻¹; full-rank is exact, mean-field has variances 1/Λᵢᵢ.
#[test]
fn linear_regression_with_known_noise() {
    let x: [[f64; 2]; 6] = [[1.0, 0.9], [0.2, 0.4], [-1.1, -0.7], [0.5, 0.1], [1.8, 1.5], [-0.6, -0.9]];
    let y = [2.1, 0.3, -1.9, 0.8, 3.9, -1.2];
    let rows: Vec<String> = x.iter().zip(y).map(|(x, y)| format!("{y},{},{}", x[0], x[1])).collect();
    let csv = format!("y,x1,x2\n{}\n", rows.join("\n"));
    let model = "data rows { y: real, x: real[f] from [\"x1\", \"x2\"] }\n\
                 latent b[f] ~ Normal(0, 3)\nobserve y ~ Normal(sum(x * b over f), 0.7)\n";
    let (s2, t2) = (0.49, 9.0);
    let mut precision = [[1.0 / t2, 0.0], [0.0, 1.0 / t2]];
    let mut xy = [0.0; 2];
    for (x, y) in x.iter().zip(y) {
        for i in 0..2 {
            xy[i] += x[i] * y / s2;
            for j in 0..2 {
                precision[i][j] += x[i] * x[j] / s2;
            }
        }
    }
    let det = precision[0][0] * precision[1][1] - precision[0][1] * precision[1][0];
    let v = [[precision[1][1] / det, -precision[0][1] / det], [-precision[1][0] / det, precision[0][0] / det]];
    let mean = [v[0][0] * xy[0] + v[0][1] * xy[1], v[1][0] * xy[0] + v[1][1] * xy[1]];
    let c: Vec<Vec<f64>> = (0..6)
        .map(|i| (0..6).map(|j| t2 * (x[i][0] * x[j][0] + x[i][1] * x[j][1]) + if i == j { s2 } else { 0.0 }).collect())
        .collect();
    let evidence = log_normal(&y, &[0.0; 6], &c);

    let full = fitted(model, &csv, GuideKind::FullRank);
    let Scale::FullRank(l) = &full.scale else { panic!("a full-rank guide was asked for") };
    assert!((full.elbo - evidence).abs() < 1e-3, "{} is not {evidence}", full.elbo);
    let covariance = [l[0] * l[0], l[2] * l[0], l[2] * l[2] + l[3] * l[3]];
    for (got, want) in covariance.iter().zip([v[0][0], v[1][0], v[1][1]]) {
        assert!((got - want).abs() < 1e-2 * v[0][0], "{got} is not {want}");
    }

    let mean_field = fitted(model, &csv, GuideKind::MeanField);
    let Scale::MeanField(log_sds) = &mean_field.scale else { panic!("a mean-field guide was asked for") };
    for i in 0..2 {
        assert!(
            (mean_field.mean[i] - mean[i]).abs() < 5e-3 * v[i][i].sqrt(),
            "{} is not {}",
            mean_field.mean[i],
            mean[i]
        );
        let variance = (2.0 * log_sds[i]).exp();
        assert!((variance * precision[i][i] - 1.0).abs() < 1e-2, "{variance} is not 1/{}", precision[i][i]);
    }
    // The linear response makes up for the guide: its covariance and its bound are the posterior's.
    assert_eq!(mean_field.sds_from, SdsFrom::LinearResponse);
    assert!((evidence - mean_field.elbo).abs() < 1e-3, "{} is not {evidence}", mean_field.elbo);
    for (i, sd) in mean_field.sds().iter().enumerate() {
        assert!((sd / v[i][i].sqrt() - 1.0).abs() < 1e-6, "{sd} is not {}", v[i][i].sqrt());
    }
}

/// A log-normal target is exactly normal after its transform: the guide is exact and the bound is the evidence, 0.
#[test]
fn a_log_normal_target_is_exact() {
    let model =
        "data rows { y: real }\nlatent s ~ LogNormal(0.3, 0.8)\nlatent m ~ Normal(0, 1)\nobserve y ~ Normal(m, 1)\n";
    let compiled = support::compile(model, &support::csv("y\n0.4\n"));
    let options = driver::options(&compiled, &FitRequest::default());
    let fit = infer::fit(&compiled.model, &options, &mut |_| {}).expect("finite");
    let Scale::FullRank(l) = &fit.scale else { panic!("full-rank is the default of a small model") };
    assert!((fit.mean[0] - 0.3).abs() < 1e-3 && (l[0] - 0.8).abs() < 1e-3, "{} {}", fit.mean[0], l[0]);
    let evidence = log_normal(&[0.4], &[0.0], &[vec![2.0]]);
    assert!((fit.elbo - evidence).abs() < 1e-3);
}

/// A `param` is fitted by maximising the bound: with everything else observed that is maximum likelihood.
#[test]
fn a_param_is_maximum_likelihood() {
    let model = "data rows { y: real }\nparam mu: real = 3\nparam sigma: real > 0 = 2\nobserve y ~ Normal(mu, sigma)\n";
    let compiled = support::compile(model, &support::csv("y\n1\n2\n4\n5\n"));
    let report = support::fit(&compiled, &FitRequest::default());
    let got = support::summaries(&report);
    assert!((got["mu"].0 - 3.0).abs() < 1e-3, "{:?}", got["mu"]);
    assert!((got["sigma"].0 - 2.5f64.sqrt()).abs() < 1e-3, "{:?}", got["sigma"]);
    assert!(got["mu"].1 < 1e-9, "a point has no spread");
}
