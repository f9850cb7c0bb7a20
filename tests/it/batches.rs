//! Minibatches: unbiased, the same as the whole data where they must be, and refused where they have no meaning.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use vic::driver::{self, Compiled, FitRequest, Session};
use vic::infer::batches::{Batch, Plan, Rows, shuffle};
use vic::infer::{Checkpoint, Target};
use vic::report::FitReport;

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
            rows.take(&batch);
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

pub fn plan(batch: usize, total: usize) -> Plan {
    use vic::infer::batches::{Optimizer, Rule, Schedule};
    let optimizer = Optimizer { rule: Rule::Adam, rate: 0.01, schedule: Schedule::Linear, warm_up: 0, clip: None };
    let (held, patience, kl_warm_up, free_bits) = (0, 10, 0, 0.0);
    let (cancel, checkpoint) = (None, None);
    let (single, weighing, kin) = (false, None, Arc::default());
    Plan {
        single,
        weighing,
        total,
        held,
        kin,
        patience,
        kl_warm_up,
        free_bits,
        batch,
        epochs: 1,
        alternate: None,
        optimizer,
        seed: 1,
        cancel,
        checkpoint,
    }
}

/// Mean-field guides have one optimum here: batches find what the whole data give. Means agree within 0.2 sds and sds
/// within 20 %: what is left of the noise of steps whose rate falls to 0, about 6 % of a sd.
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
    for optimizer in ["adam(0.02)", "adamw(0.02)", "sgd(0.05)"] {
        let text = format!("{model}fit {{ batch: rows(64), optimizer: {optimizer}, epochs: 150 }}");
        let found: HashMap<String, (f64, f64)> = summaries(&fit(&compile(&text, &csv(&data)), &FitRequest::default()));
        for (name, (mean, sd)) in &whole {
            let (m, s) = found[name];
            assert!((m - mean).abs() < 0.2 * sd, "{optimizer}, {name}: {m} and {mean}, sd {sd}");
            assert!((s / sd - 1.0).abs() < 0.2, "{optimizer}, {name}: sd {s} and {sd}");
        }
    }
}

/// A fit in batches follows slopes only: a step that its draws cross is told.
#[test]
fn a_jump_is_told() {
    let steep = "data rows { y: real }\nlatent k ~ Normal(0, 2)\nfactor 0.75 * sign(k - 0.05)\nobserve y ~ Normal(k, 3)\n\
                 fit { batch: rows(4), epochs: 5 }";
    let data = csv("y\n0.3\n-1.2\n0.8\n1.9\n-0.4\n0.1\n-2.2\n0.6\n");
    let report = fit(&compile(steep, &data), &FitRequest::default());
    assert!(report.doubts.iter().any(|d| d.contains("In a batch the log joint jumps by")), "{:?}", report.doubts);
    let smooth = steep.replace("sign(k - 0.05)", "tanh(k - 0.05)");
    let report = fit(&compile(&smooth, &data), &FitRequest::default());
    assert!(report.doubts.iter().all(|d| !d.contains("jump")), "{:?}", report.doubts);
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

/// Products that are large enough to be cut up, in double precision and in single: the same bits on any number of threads. What
/// single precision changes is small beside what the steps are: of a bound of about 90 nats per row, less than a hundredth.
#[test]
fn products_of_a_fit_are_the_same_on_any_number_of_threads() {
    let mut rng = StdRng::seed_from_u64(9);
    let header = (0..64).map(|i| format!("x{i}")).collect::<Vec<_>>().join(",");
    let row = |_| (0..64).map(|_| format!("{:.2}", rng.random::<f64>() - 0.5)).collect::<Vec<_>>().join(",");
    let data = csv(&format!("{header}\n{}\n", (0..128).map(row).collect::<Vec<_>>().join("\n")));
    let run = |precision, threads| {
        let model = format!(
            "data rows {{ x: real[feature] from \"x*\" }}
plate code = 64
net decode(z: real[code]) -> real[feature] = dense(128, tanh) |> head
net encode(x: real[feature]) -> real[code] = dense(128, tanh) |> head
latent z[rows, code] ~ Normal(0, 1)
observe x ~ Normal(decode(z), 1)
guide {{
  param s[code]: real > 0 = 1
  z ~ Normal(encode(x), s)
}}
fit {{ batch: rows(128), epochs: 3, precision: {precision} }}"
        );
        let report = fit(&compile(&model, &data), &FitRequest { threads: Some(threads), ..FitRequest::default() });
        let weights: Vec<u64> = report.weights.iter().flat_map(|w| &w.draws).map(|w| w.to_bits()).collect();
        (report.elbo.expect("a guide has a bound").0, weights)
    };
    let (double, single) = (run("f64", 1), run("f32", 1));
    assert_eq!(double, run("f64", 2));
    assert_eq!(single, run("f32", 2));
    assert_ne!(double.1, single.1);
    assert!((double.0 - single.0).abs() < 0.01 * 128.0, "{} and {}", double.0, single.0);
}

/// Between draws of the same rows a report leaves out what no draw changes, the encoder here, and has the same bits as the whole. Latents
/// that are summed over, a second latent above the first, and a shared one, whose buffers are added to, are among what it makes.
#[test]
fn other_draws_of_the_same_rows_are_reported_whole() {
    let model = "data rows { x: real[feature] from \"x*\", g: category }
plate code = 3
net decode(z: real[code]) -> real[feature] = dense(8, tanh) |> head
net encode(x: real[feature]) -> (mu: real[code], sigma: real[code] > 0) = dense(40, tanh) |> dense(40, tanh) |> head
latent scale ~ HalfNormal(1)
latent a[g] ~ Normal(0, scale)
latent top[rows] ~ Normal(0, 1)
latent z[rows, code] ~ Normal(top, 1)
let m = decode(z)
observe x ~ Normal(m + a[g], 1)
report total[rows] = sum(m over feature)
guide {
  let q = encode(x)
  scale ~ LogNormal(0, 0.1)
  a ~ Normal(0.5, 0.2)
  z ~ Normal(q.mu, q.sigma)
  top ~ Normal(mean(z over code), 0.5)
}
fit { batch: rows(32), epochs: 1 }";
    let header = (0..30).map(|i| format!("x{i}")).collect::<Vec<_>>().join(",");
    let row = |r: usize| {
        let cells: Vec<String> = (0..30).map(|i| format!("{:.2}", (0.7 * (r * 30 + i) as f64).sin())).collect();
        format!("{},{}", cells.join(","), ["u", "v"][r % 2])
    };
    let data = csv(&format!("{header},g\n{}\n", (0..64).map(row).collect::<Vec<_>>().join("\n")));
    let compiled = compile(model, &data);
    let whole = &compiled.model;
    let drawn: Vec<bool> = whole.names().iter().map(|n| !n.contains("weight") && !n.contains("bias")).collect();
    assert!(drawn.contains(&true) && drawn.contains(&false));
    let again = whole.redrawing(&drawn);
    let (some, all) = (again.graph().report.len(), whole.graph().report.len());
    assert!(some > 0 && some + 3 < all, "{some} of {all}: both layers of the encoder are left out");
    let shown: Vec<_> = (0..compiled.hir.vars.len() as u32)
        .filter_map(|v| compiled.layout.buffer(vic::hir::VarId(v)))
        .filter(|b| !matches!(whole.graph().buffers[b.0 as usize].kind, vic::lower::graph::BufKind::Index(_)))
        .collect();
    let report = |run: &mut vic::run::Fed, again, at: &[f64]| {
        let mut bits: Vec<u64> = vec![];
        run.theta().copy_from_slice(at);
        run.report(again, |buffer| bits = shown.iter().flat_map(|b| buffer(*b)).map(f64::to_bits).collect());
        bits
    };
    let mut kept = whole.fed();
    let mut at: Vec<f64> = (0..drawn.len()).map(|i| 0.3 * (1.3 * i as f64).sin()).collect();
    let mut last = report(&mut kept, None, &at);
    for draw in 1..4 {
        at.iter_mut().zip(&drawn).filter(|(_, d)| **d).for_each(|(t, _)| *t = (*t + f64::from(draw)).cos());
        let next = report(&mut kept, Some(&again), &at);
        assert!(next != last, "another draw is another report");
        assert!(next == report(&mut whole.fed(), None, &at), "draw {draw}");
        last = next;
    }
}

/// A fit that is interrupted after so many steps of this run, or what is said instead.
pub fn piece(compiled: &Compiled, steps: usize, at: Option<(&Path, bool)>) -> Result<FitReport, &'static str> {
    let cancel = Arc::new(AtomicBool::new(false));
    let checkpoint = at.map(|(path, resume)| Checkpoint { path: path.into(), resume });
    let request = FitRequest { cancel: Some(cancel.clone()), checkpoint, ..FitRequest::default() };
    let (mut session, mut done) = (Session::default(), 0);
    let options = driver::options(compiled, &request);
    let report = driver::fit(&mut session, compiled, &options, &mut |_| {
        done += 1;
        cancel.store(done == steps, Ordering::Relaxed);
    });
    report.ok_or_else(|| session.diags.list[0].code.id)
}

/// Whatever the optimiser, and wherever it was interrupted: the pieces are of 7 steps, epochs of 4 batches.
#[test]
fn a_fit_interrupted_again_and_again_ends_in_the_same_bits() {
    let data = answers(60, 5);
    let essence = |r: &FitReport| {
        let draws: Vec<u64> = r.vars.iter().flat_map(|v| &v.draws).map(|d| d.to_bits()).collect();
        let trace: Vec<Vec<u64>> =
            r.trace.rows.iter().map(|row| row[..6].iter().map(|x| x.to_bits()).collect()).collect();
        (draws, trace, r.elbo.map(|e| e.0.to_bits()), r.gradients, r.evaluations)
    };
    for how in [
        "optimizer: adam(0.01)",
        "optimizer: adamw(0.01), clip: 1, kl_warmup: 3",
        "optimizer: sgd(0.1), warmup: 9",
        "optimizer: adam(0.01), holdout: 0.2, patience: 2",
    ] {
        let compiled = batched(&format!("batch: rows(16), epochs: 6, schedule: cosine, {how}"), &data);
        let whole = piece(&compiled, usize::MAX, None).expect("it is fitted");
        assert!(whole.converged);
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("fit.checkpoint");
        let mut pieces = 0;
        let last = loop {
            let report = piece(&compiled, 7, Some((&path, pieces > 0))).expect("it is fitted");
            pieces += 1;
            if report.converged {
                break report;
            }
            assert!(report.elbo.is_none() && report.stop_reason == "The fit was interrupted.");
        };
        assert_eq!(pieces, if how.contains("holdout") { 3 } else { 4 }, "24 steps, or 18, by 7");
        assert_eq!(essence(&last), essence(&whole), "{how}");
        // It serves this fit only: not one of other data, of another plan, or one that begins.
        let said = |fit: &str, data: &str, resume| piece(&batched(fit, data), 1, Some((&path, resume))).map(|_| ());
        let own = format!("batch: rows(16), epochs: 6, schedule: cosine, {how}");
        assert_eq!(said(&own, &data, false), Err("V0916"));
        assert_eq!(said(&own, &data.replace("g1", "g0"), true), Err("V0917"));
        assert_eq!(said(&own.replace("epochs: 6", "epochs: 7"), &data, true), Err("V0917"));
    }
}

const AMORTISED: &str = "data rows { y: real }
plate code = 2
param a: real = 0.5
latent z[rows, code] ~ Normal(0, 1)
observe y ~ Normal(a * sum(z over code), 1)
guide {
  param s: real > 0 = 0.7
  z ~ Normal(0.3 * y, s)
}
";

/// Warm-up and free bits are in the kernels as data: at a share of 1, and with nothing free, the bound is that of the model;
/// and they do to the divergence what they say. Sums of 48 numbers of size 1: 1e-12.
#[test]
fn the_divergence_is_softened() {
    let y: Vec<f64> = (0..12).map(|i| f64::from((i * 5) % 7) - 3.0).collect();
    let data = csv(&format!("y\n{}", y.iter().map(|y| format!("{y}\n")).collect::<String>()));
    let of = |fit: &str| compile(&format!("{AMORTISED}fit {{ batch: rows(12){fit} }}"), &data);
    let (plain, soft) = (of(""), of(", kl_warmup: 3, free_bits: 0.1"));
    let dim = plain.model.dim();
    assert_eq!(dim, soft.model.dim());
    let at = theta(dim);
    let (rows, weights): (Vec<usize>, Vec<f64>) = ((0..12).collect(), vec![1.0; 12]);
    let run = |compiled: &Compiled, share: f64, free: f64| {
        let mut target = compiled.batches.as_ref().expect("asked for").rows(&compiled.model);
        target.take(&Batch::of(rows.clone(), weights.clone()));
        target.soften(share, free);
        let mut gradient = vec![0.0; dim];
        let value = target.value_grad(&at, &mut gradient);
        assert!((target.value(&at) - value).abs() < 1e-12 * value.abs());
        (value, gradient)
    };
    let near = |a: &(f64, Vec<f64>), b: &(f64, Vec<f64>)| {
        assert!((a.0 - b.0).abs() < 1e-12 * (1.0 + b.0.abs()), "{} and {}", a.0, b.0);
        a.1.iter().zip(&b.1).for_each(|(x, y)| assert!((x - y).abs() < 1e-12 * (1.0 + y.abs()), "{x} and {y}"));
    };
    let none = f64::NEG_INFINITY;
    let (whole, without) = (run(&soft, 1.0, none), run(&soft, 0.0, none));
    near(&whole, &run(&plain, 1.0, none));
    let mix = |f: &dyn Fn(f64, f64) -> f64| {
        (f(whole.0, without.0), whole.1.iter().zip(&without.1).map(|(a, b)| f(*a, *b)).collect::<Vec<f64>>())
    };
    near(&run(&soft, 0.25, none), &mix(&|a, b| 0.25 * a + 0.75 * b));
    // A divergence below what is free counts as that, and pulls at nothing; one above counts as it is.
    let free = run(&soft, 1.0, 1e3);
    near(&(free.0 + 2.0 * 12.0 * 1e3, free.1.clone()), &without);
    near(&run(&soft, 1.0, -1e3), &whole);
    assert!(whole.1.iter().zip(&without.1).any(|(a, b)| (a - b).abs() > 0.1), "there is a divergence");
}

/// More params than the rows can tell: what is held out turns down before the epochs are over, and the params from before
/// that are reported.
#[test]
fn rows_that_are_held_out_end_the_fit() {
    let mut rng = StdRng::seed_from_u64(7);
    let rows: Vec<String> = (0..40)
        .map(|i| {
            (0..12).map(|_| format!("{:.3}", rng.random::<f64>() * 2.0 - 1.0)).collect::<Vec<_>>().join(",")
                + &format!(",{}", i % 2)
        })
        .collect();
    let header = (0..12).map(|i| format!("x{i}")).collect::<Vec<_>>().join(",");
    let data = csv(&format!("{header},y\n{}\n", rows.join("\n")));
    let model = "data rows { y: bool, x: real[feature] from \"x*\" }
net f(x: real[feature]) -> real = dense(8, tanh) |> head
observe y ~ Bernoulli(logit: f(x))
fit { batch: rows(8), optimizer: adam(0.02), epochs: 400, holdout: 0.25, patience: 15 }";
    let report = fit(&compile(model, &data), &FitRequest::default());
    let epochs: usize = report.stop_reason.split(' ').next().expect("a number").parse().expect("a number");
    let best: usize =
        report.stop_reason.split("after epoch ").nth(1).and_then(|s| s.split(',').next()?.parse().ok()).expect("said");
    assert_eq!(epochs, best + 15, "{}", report.stop_reason);
    assert!(epochs < 400);
    // Labels are chance: nothing is better than to say so, and what was learnt by heart would be far worse.
    let held: f64 =
        report.stop_reason.split(", ").nth(1).and_then(|s| s.split(' ').next()?.parse().ok()).expect("said");
    assert!((-1.0..-0.5).contains(&held), "{}", report.stop_reason);
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

/// Cells that are drawn anew in each step have the mean of their probability, which no single draw of these ten rows can
/// have: 0.35. What is left of the noise of 800 steps with a falling rate is below 0.02.
#[test]
fn binarised_cells_are_drawn_anew() {
    let model = "data rows { x: bool[pixel] from \"p*\" }
param q: real in (0, 1) = 0.5
observe x ~ Bernoulli(q)
fit { batch: rows(5), binarise: x, optimizer: adam(0.02), epochs: 400 }";
    let data = format!("p1\n{}", "0.35\n".repeat(10));
    let compiled = compile(model, &csv(&data));
    let drawn = &compiled.bound.values.values().find(|v| v.dims == [10, 1]).expect("the column").numbers;
    assert!(drawn.iter().all(|x| *x == 0.0 || *x == 1.0));
    let report = fit(&compiled, &FitRequest::default());
    let q = summaries(&report)["q"].0;
    assert!((q - 0.35).abs() < 0.04, "{q}");
    let again = fit(&compiled, &FitRequest::default());
    assert_eq!(summaries(&again)["q"].0, q);
}

/// By turns of guide and model, params come to the same place: y ~ N(mu + z, 0.5) with z ~ N(0, 1) is likeliest at mu = mean(y), where
/// the guide z ~ N(0.8 (y - mu), 0.2^0.5) is the posterior, so that the bound is the log likelihood of N(mean(y), 1.25).
#[test]
fn guide_and_model_take_turns() {
    let y: Vec<f64> =
        (0..200).map(|i| 1.7 + 1.1 * (12.9898 * f64::from(i)).sin() + 0.6 * (78.233 * f64::from(i)).cos()).collect();
    let data = y.iter().fold("y\n".to_string(), |all, y| format!("{all}{y}\n"));
    let model = "data rows { y: real }\nparam mu = 0\nlatent z[rows] ~ Normal(0, 1)\nobserve y ~ Normal(mu + z, 0.5)\n\
                 guide {\n  param a = 0\n  param b = 0\n  param s: real > 0 = 1\n  z ~ Normal(a + b * y, s)\n}\n\
                 fit { batch: rows(50), epochs: 400, optimizer: adam(0.02), alternate: 3 }\n";
    let report = fit(&compile(model, &csv(&data)), &FitRequest { threads: Some(1), ..FitRequest::default() });
    assert!(report.options.contains(&("alternate".into(), "3".into())));
    let mean = y.iter().sum::<f64>() / 200.0;
    let mu = report.vars.iter().find(|v| v.name == "mu").expect("reported").draws[0];
    // The rate falls to 0 and with it the noise of the steps: a hundredth of the sd of y / sqrt(200), 0.08, would be 1e-3.
    assert!((mu - mean).abs() < 0.02, "{mu}, not {mean}");
    let log_likelihood: f64 =
        y.iter().map(|y| -0.5 * ((y - mean).powi(2) / 1.25 + 1.25f64.ln() + std::f64::consts::TAU.ln())).sum();
    let bound = report.elbo.expect("a bound").0;
    assert!((bound - log_likelihood).abs() < 0.02 * 200.0, "{bound}, not {log_likelihood}");
}
