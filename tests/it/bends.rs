//! Flows in written guides: their Jacobians, normalised densities, and posteriors that no normal follows.

use vic::driver::{self, FitRequest};
use vic::infer::{self, Target};

use super::support::{checked_value, compile, csv, theta};

const LOG_2PI: f64 = 1.837_877_066_409_345_3;

fn log_normal(x: f64, m: f64, s: f64) -> f64 {
    -0.5 * ((x - m) / s).powi(2) - s.ln() - 0.5 * LOG_2PI
}

fn log_det(mut a: Vec<Vec<f64>>) -> f64 {
    let n = a.len();
    let mut total = 0.0;
    for c in 0..n {
        let p = (c..n).max_by(|i, j| a[*i][c].abs().total_cmp(&a[*j][c].abs())).expect("some row is left");
        a.swap(c, p);
        total += a[c][c].abs().ln();
        let (above, below) = a.split_at_mut(c + 1);
        let pivot = &above[c];
        for row in below {
            let f = row[c] / pivot[c];
            row.iter_mut().zip(pivot).skip(c).for_each(|(x, p)| *x -= f * p);
        }
    }
    total
}

/// What the derivative of `f` at `x` is, column by column.
fn jacobian(f: &mut dyn FnMut(&[f64]) -> Vec<f64>, x: &[f64]) -> Vec<Vec<f64>> {
    let h = 1e-4;
    let columns: Vec<Vec<f64>> = (0..x.len())
        .map(|j| {
            let mut at = |t: f64| {
                let mut moved = x.to_vec();
                moved[j] += t;
                f(&moved)
            };
            let (a, b, c, d) = (at(2.0 * h), at(h), at(-h), at(-2.0 * h));
            (0..a.len()).map(|i| (8.0 * (b[i] - c[i]) - (a[i] - d[i])) / (12.0 * h)).collect()
        })
        .collect();
    (0..columns[0].len()).map(|i| columns.iter().map(|c| c[i]).collect()).collect()
}

/// log p(z, y) is that of the draw, and what the log joint has besides is the log of the determinant of the map from noise to
/// draw, which finite differences give: to 1e-7, of differences of order h⁴ with h = 1e-4.
#[test]
fn jacobians_are_those_of_finite_differences() {
    for flow in [
        "iaf(1, 5)",
        "iaf(3, 5, y)",
        "coupling(3, 4)",
        "coupling(2, code)",
        "spline(2, 4)",
        "spline(3, 4, y, bins: 5, bound: 1)",
        "iaf(1, 3) |> coupling(1, 3) |> spline(1, 3)",
    ] {
        let model = format!(
            "data rows {{ y: real }}\nplate code = 3\nlatent z[rows, code] ~ Normal(0, 1)\n\
             observe y ~ Normal(sum(z over code), 1)\nguide {{\n  z ~ Normal(0, 1) |> {flow}\n}}"
        );
        let compiled = compile(&model, &csv("y\n0.4\n-1.1\n"));
        let names = compiled.model.names();
        // Smaller than elsewhere: maps with large weights turn within the steps of the differences.
        let at: Vec<f64> = theta(names.len()).iter().map(|x| 0.5 * x).collect();
        let value = checked_value(&compiled, &at);
        let noise: Vec<usize> = (0..names.len()).filter(|i| names[*i].starts_with("z noise")).collect();
        assert_eq!(noise.len(), 6, "{names:?}");
        let mut run = compiled.model.evaluator();
        let mut draw = |e: &[f64]| {
            let mut moved = at.clone();
            noise.iter().zip(e).for_each(|(&i, e)| moved[i] = *e);
            run.latents(&moved)
        };
        let e: Vec<f64> = noise.iter().map(|&i| at[i]).collect();
        let z = draw(&e);
        // Rows vary fastest.
        let joint: f64 = [0.4, -1.1]
            .iter()
            .enumerate()
            .map(|(r, y)| {
                let own: Vec<f64> = (0..3).map(|c| z[r + 2 * c]).collect();
                own.iter().map(|z| log_normal(*z, 0.0, 1.0)).sum::<f64>() + log_normal(*y, own.iter().sum(), 1.0)
            })
            .sum();
        let expected = log_det(jacobian(&mut draw, &e));
        assert!(expected.abs() > 1e-2, "{flow}: the map is not the identity");
        assert!((value - joint - expected).abs() < 1e-7, "{flow}: {} and {expected}", value - joint);
    }
}

/// A positive latent and one between 0 and 1, each from a normal: their densities have the Jacobian of the last layer.
#[test]
fn functions_at_the_end() {
    let model = "plate k = 2
latent a[k] ~ Exponential(1)
latent b[k] ~ Beta(2, 3)
guide {
  a ~ Normal(0, 1) |> iaf(1, 3) |> exp
  b ~ Normal(0, 1) |> inv_logit
}
data rows { y: real }
observe y ~ Normal(sum(a over k) + sum(b over k), 1)";
    let compiled = compile(model, &csv("y\n0.4\n"));
    let names = compiled.model.names();
    let at = theta(names.len());
    let value = checked_value(&compiled, &at);
    let noise: Vec<usize> = (0..names.len()).filter(|i| names[*i].contains("noise")).collect();
    let mut run = compiled.model.evaluator();
    let mut draw = |e: &[f64]| {
        let mut moved = at.clone();
        noise.iter().zip(e).for_each(|(&i, e)| moved[i] = *e);
        run.latents(&moved)
    };
    let e: Vec<f64> = noise.iter().map(|&i| at[i]).collect();
    let z = draw(&e);
    assert!(z.iter().all(|z| *z > 0.0) && z[2..].iter().all(|z| *z < 1.0));
    let prior: f64 = -z[0] - z[1] + z[2..].iter().map(|b| 12f64.ln() + b.ln() + 2.0 * (1.0 - b).ln()).sum::<f64>();
    let joint = prior + log_normal(0.4, z.iter().sum(), 1.0);
    let expected = log_det(jacobian(&mut draw, &e));
    assert!((value - joint - expected).abs() < 1e-7, "{} and {expected}", value - joint);
}

/// A banana: b is near a². Its evidence by a sum over a grid (0.02 apart, to 1e-6).
fn banana() -> (&'static str, f64) {
    let model = "plate code = [\"a\", \"b\"]
latent z[code] ~ Normal(0, 1)
data rows { y: real }
observe y ~ Normal(z[\"b\"] - z[\"a\"]^2 + 1, 0.15)
guide {
  param m[code]: real = 0
  param s[code]: real > 0 = 0.5
  z ~ Normal(m, s)FLOW
}";
    let (h, mut sum) = (0.02, 0.0);
    for i in -250..250 {
        for j in -250..250 {
            let (a, b) = (f64::from(i) * h, f64::from(j) * h);
            sum += (log_normal(a, 0.0, 1.0) + log_normal(b, 0.0, 1.0) + log_normal(0.0, b - a * a + 1.0, 0.15)).exp();
        }
    }
    (model, (sum * h * h).ln())
}

/// Flows follow the curve, which independent normals cannot: a better bound, that stays below the evidence. The bound is
/// an average with an error that is reported: three of these.
#[test]
fn a_curved_posterior() {
    let (model, evidence) = banana();
    let bound = |flow: &str| {
        let compiled = compile(&model.replace("FLOW", flow), &csv("y\n0\n"));
        let options = driver::options(&compiled, &FitRequest { starts: Some(1), ..FitRequest::default() });
        let fit = infer::fit(&compiled.model, &options, &mut |_| {}).expect("the log joint is finite");
        assert!(fit.elbo < evidence + 3.0 * fit.elbo_se, "{flow}: {} ± {} and {evidence}", fit.elbo, fit.elbo_se);
        (fit.elbo, fit.elbo_se)
    };
    let plain = bound("");
    for flow in [" |> iaf(2, 8)", " |> coupling(4, 8)", " |> spline(2, 8)"] {
        let bent = bound(flow);
        // A third of what normals miss is found by each.
        let found = (bent.0 - plain.0) / (evidence - plain.0);
        assert!(found > 0.33, "{flow}: {bent:?}, plain {plain:?}, evidence {evidence}");
    }
}
