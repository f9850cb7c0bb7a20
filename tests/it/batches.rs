//! Minibatches: unbiased, the same as the whole data where they must be, and refused where they have no meaning.

use std::collections::HashMap;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use vic::driver::{self, Compiled, FitRequest, Session};
use vic::infer::Target;
use vic::infer::batches::{Batch, Plan, Rows, shuffle};

use super::support::{compile, csv, fit, summaries, theta};

/// Rows of a logistic regression with a group effect.
fn answers(rows: usize, seed: u64) -> String {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut text = "y,a,b,g\n".to_string();
    for i in 0..rows {
        let mut u = || -> f64 { rng.random::<f64>() * 2.0 - 1.0 };
        let (a, b) = (u(), u());
        let eta = 0.5 + 1.5 * a - b + [0.0, 1.0, -1.0][i % 3];
        let y = u8::from(rng.random::<f64>() < 1.0 / (1.0 + (-eta).exp()));
        text += &format!("{y},{a},{b},g{}\n", i % 3);
    }
    text
}

const MODEL: &str = "data rows { y: bool, g: category, x: real[feature] from [\"a\", \"b\"] }
let z = (x - mean(x over rows)) / sd(x over rows)
latent tau ~ HalfNormal(1)
latent u[g] ~ Normal(0, tau)
latent beta[feature] ~ Normal(0, 2)
net f(x: real[feature]) -> real = dense(2, tanh) |> head
observe y ~ Bernoulli(logit: sum(z * beta over feature) + u[g] + 0.1 * f(z) + size(rows) / 1000)
";

fn batched(fit: &str, data: &str) -> Compiled {
    compile(&format!("{MODEL}fit {{ {fit} }}"), &csv(data))
}

/// Over an epoch of shuffled batches, the last of them smaller, value and gradient average to those of the whole data.
/// Exactly, but for the order of sums: 1e-10 of the value.
#[test]
fn an_epoch_averages_to_the_whole() {
    let data = answers(50, 1);
    let whole = compile(MODEL, &csv(&data));
    let at = theta(whole.model.dim());
    let mut expected = vec![0.0; at.len()];
    let value = whole.model.evaluator().value_grad(&at, &mut expected);
    for size in [1, 8, 16, 50] {
        let compiled = batched(&format!("batch: rows({size})"), &data);
        let batches = compiled.batches.as_ref().expect("asked for");
        assert_eq!(compiled.model.dim(), at.len());
        let plan = plan(size, 50);
        let mut rows = batches.rows(&compiled.model);
        let mut order: Vec<usize> = (0..50).collect();
        shuffle(&mut order, 3, 1);
        let (mut batch, mut gradient) = (Batch::default(), vec![0.0; at.len()]);
        let (mut sum, mut total) = (vec![0.0; at.len()], 0.0);
        for k in 0..plan.batches() {
            batch.set(&plan, &order, k);
            rows.take(&batch.rows, &batch.weights);
            total += rows.value_grad(&at, &mut gradient);
            assert!((rows.value(&at) * 0.0).abs() == 0.0);
            sum.iter_mut().zip(&gradient).for_each(|(s, g)| *s += g);
        }
        let n = plan.batches() as f64;
        assert!((total / n - value).abs() < 1e-10 * value.abs(), "{size}: {} and {value}", total / n);
        for (i, (s, e)) in sum.iter().zip(&expected).enumerate() {
            assert!((s / n - e).abs() < 1e-10 * (1.0 + e.abs()), "{size}, d/d{i}: {} and {e}", s / n);
        }
    }
}

fn plan(batch: usize, total: usize) -> Plan {
    use vic::infer::batches::{Optimizer, Rule, Schedule};
    let optimizer = Optimizer { rule: Rule::Adam, rate: 0.01, schedule: Schedule::Linear, clip: None };
    Plan { total, batch, epochs: 1, optimizer, seed: 1, cancel: None }
}

/// Mean-field guides have one optimum here: batches find what the whole data give. Means agree within 0.2 sds and sds
/// within 15 %: what is left of the noise of steps whose rate falls to 0.
#[test]
fn a_regression_in_batches_is_that_of_the_whole() {
    let data = answers(400, 2);
    let model = "data rows { y: bool, x: real[feature] from [\"a\", \"b\"] }
latent alpha ~ Normal(0, 2)
latent beta[feature] ~ Normal(0, 2)
observe y ~ Bernoulli(logit: alpha + sum(x * beta over feature))
guide meanfield
";
    let whole = summaries(&fit(&compile(model, &csv(&data)), &FitRequest { starts: Some(1), ..FitRequest::default() }));
    for optimizer in ["adam(0.05)", "adamw(0.05)", "sgd(0.05)"] {
        let text = format!("{model}fit {{ batch: rows(64), optimizer: {optimizer}, epochs: 150 }}");
        let found: HashMap<String, (f64, f64)> = summaries(&fit(&compile(&text, &csv(&data)), &FitRequest::default()));
        for (name, (mean, sd)) in &whole {
            let (m, s) = found[name];
            assert!((m - mean).abs() < 0.2 * sd, "{optimizer}, {name}: {m} and {mean}, sd {sd}");
            assert!((s / sd - 1.0).abs() < 0.15, "{optimizer}, {name}: sd {s} and {sd}");
        }
    }
}

/// Latents of rows have means and sds of their own, whichever batches the rows were in.
#[test]
fn latents_of_rows() {
    let data: String = (0..30).map(|i| format!("{}\n", f64::from((i * 7) % 11) - 5.0)).collect();
    let model = "data rows { y: real }
latent theta[rows] ~ Normal(0, 2) @centered
observe y ~ Normal(theta, 1)
fit { batch: rows(8), optimizer: adam(0.05), epochs: 400 }";
    let report = fit(&compile(model, &csv(&format!("y\n{data}"))), &FitRequest::default());
    assert_eq!(report.vars[0].cells(), 30);
    let found = summaries(&report);
    for i in 0..30 {
        // The posterior is normal with mean 0.8 y and variance 0.8.
        let y = f64::from((i * 7) % 11) - 5.0;
        let (mean, sd) = found[&format!("theta[{}]", i + 1)];
        // A row takes one step per epoch, whose noise is left in part; a weight of rows that is wrong by its factor of 4 moves
        // sds by more than that.
        assert!((mean - 0.8 * y).abs() < 0.3, "row {i}: {mean} and {}", 0.8 * y);
        assert!((sd / 0.8f64.sqrt() - 1.0).abs() < 0.35, "row {i}: sd {sd}");
    }
    // The bound is exact: log N(y; 0, 5) per row, whatever the draws.
    let exact: f64 = (0..30)
        .map(|i| f64::from((i * 7) % 11) - 5.0)
        .map(|y: f64| -0.5 * (y * y / 5.0 + (5.0 * std::f64::consts::TAU).ln()))
        .sum();
    let (elbo, se) = report.elbo.expect("a guide has a bound");
    assert!((elbo - exact).abs() < 1.0 + 4.0 * se, "{elbo} ± {se} and {exact}");
}

#[test]
fn the_same_seed_gives_the_same_bits() {
    let data = answers(60, 4);
    let run = |threads| {
        let compiled = batched("batch: rows(16), epochs: 5, schedule: cosine, clip: 1", &data);
        let report = fit(&compiled, &FitRequest { threads: Some(threads), ..FitRequest::default() });
        (report.elbo, report.vars.iter().flat_map(|v| v.draws.clone()).collect::<Vec<f64>>())
    };
    assert_eq!(run(1), run(2));
}

/// What is said of a model with this data.
fn said(model: &str, data: &str) -> Vec<&'static str> {
    let mut session = Session::default();
    let checked = driver::check(&mut session, "model.vi", model);
    if !session.diags.has_errors() {
        assert!(driver::compile(&mut session, checked, &csv(data)).is_none(), "{model}");
    }
    session.diags.list.iter().map(|d| d.code.id).filter(|id| *id != "V1002").collect()
}

#[test]
fn rows_that_are_tied_together_are_refused() {
    let head = "data rows { y: real, x: real }\nlatent s ~ HalfNormal(1)\n";
    let tail = "\nfit { batch: rows(2) }";
    let data = "y,x\n1,2\n3,4\n5,6\n";
    for body in [
        "latent h[t in rows] ~ if first(t) then Normal(0, s) else Normal(h[t-1], s)\nobserve y ~ Normal(h, 1)",
        "let m[t in rows] = if first(t) then 0 else m[t-1] + s\nobserve y ~ Normal(m, 1)",
        "latent a[rows] ~ Normal(0, s)\nobserve y ~ Normal(a - mean(a over rows), 1)",
        "let K[i in rows, j in rows] = s * exp(-(x[i] - x[j])^2) + (if i == j then 1 else 0)\nobserve y over rows ~ MvNormal(0, cov: K)",
        "latent w over rows ~ Dirichlet(1)\nobserve y ~ Normal(w, s)",
    ] {
        assert_eq!(said(&format!("{head}{body}{tail}"), data), ["V0850"], "{body}");
    }
    assert_eq!(said(&format!("{head}observe y ~ Normal(x, s)\nfit {{ batch: rows(4) }}"), data), ["V0851"]);
}
