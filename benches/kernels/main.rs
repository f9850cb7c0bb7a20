//! Nanoseconds per row for value and every gradient of three models: compiled kernels beside hand-written loops and dfdx.
//! Contenders take turns, so that a busy machine slows all of them; the fastest and the median round are shown.

mod hand;
mod models;
mod plain;

use std::time::Instant;

use models::{Data, GROUPS, INTERCEPTS, LOGIT, NORMAL};
use plain::Plain;
use vic::driver::{self, FitRequest, Session};
use vic::infer::{GuideKind, Target};

/// Writes the gradient and gives the value.
type Run<'a> = Box<dyn FnMut(&mut [f64]) -> f64 + 'a>;

/// One way to compute value and gradient.
struct Contender<'a> {
    name: &'static str,
    run: Run<'a>,
    /// Every how many rounds it takes part; slow ones seldom.
    every: usize,
    times: Vec<f64>,
}

fn contender<'a>(name: &'static str, every: usize, run: impl FnMut(&mut [f64]) -> f64 + 'a) -> Contender<'a> {
    Contender { name, run: Box::new(run), every, times: vec![] }
}

const ROUNDS: usize = 300;

fn compare(title: &str, model: &str, d: &Data, hand: [hand::Loop; 3], plain: fn(&Plain, &[f64], &mut [f64]) -> f64) {
    println!("\n{title}");
    let compiled = d.compile(model);
    let kernels = compiled.model.kernels().expect("kernels compile on this machine");
    println!("  kernels compiled in {:.2} ms", kernels.compile_time().as_secs_f64() * 1e3);
    let theta: Vec<f64> = (0..compiled.model.dim()).map(|i| 0.1 * ((i * 7 % 11) as f64 - 5.0)).collect();
    let theta = theta.as_slice();

    let mut evaluator = compiled.model.evaluator();
    let mut all = vec![contender("kernel", 1, |grad| evaluator.value_grad(theta, grad))];
    let names = ["hand, scalar", "hand, AVX2", "hand, AVX-512"];
    let runs = [true, is_x86_feature_detected!("avx2"), is_x86_feature_detected!("avx512dq")];
    for ((name, runs), f) in names.into_iter().zip(runs).zip(hand) {
        if runs {
            all.push(contender(name, 1, move |grad| unsafe { f(d, theta, grad) }));
        }
    }
    let tensors = Plain::new(d);
    all.push(contender("dfdx", 15, move |grad| plain(&tensors, theta, grad)));

    let mut expected = vec![0.0; theta.len()];
    let value = (all[1].run)(&mut expected);
    let mut grad = vec![0.0; theta.len()];
    for round in 0..ROUNDS {
        for c in &mut all {
            if round % c.every != 0 {
                continue;
            }
            let start = Instant::now();
            let v = (c.run)(&mut grad);
            c.times.push(start.elapsed().as_secs_f64() / d.y.len() as f64 * 1e9);
            if round == 0 {
                let size = expected.iter().fold(1.0f64, |m, g| m.max(g.abs()));
                let off = grad.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / size;
                assert!(
                    off < 1e-9 && ((v - value) / value).abs() < 1e-9,
                    "{} computes something else, off by {off:e}: {v}, not {value}",
                    c.name
                );
            }
        }
    }
    for c in &mut all {
        c.times.sort_by(f64::total_cmp);
    }
    let best = |c: &Contender| (c.times[0], c.times[c.times.len() / 2]);
    let (own_min, own_median) = best(&all[0]);
    for c in &all {
        let (min, median) = best(c);
        let ratios = format!("kernel takes {:.2} (min) {:.2} (median) of it", own_min / min, own_median / median);
        println!("  {:14} {min:8.3} ns/row min {median:8.3} median   {ratios}", c.name);
    }
    drop(all);

    // A step of a fit evaluates the log joint at each draw; the rest of it should be little.
    let request =
        FitRequest { guide: Some(GuideKind::MeanField), starts: Some(1), threads: Some(1), ..FitRequest::default() };
    let options = driver::options(&compiled, &request);
    match driver::fit(&mut Session::default(), &compiled, &options, &mut |_| {}) {
        Some(fit) => {
            let step = fit.seconds / fit.gradients as f64;
            println!(
                "  mean-field fit: {:.2} s, {} gradients of the log joint, {:.3} ms for each ({:.2} of the median kernel)",
                fit.seconds,
                fit.gradients,
                step * 1e3,
                step * 1e9 / d.y.len() as f64 / own_median
            );
        }
        None => println!("  mean-field fit: the log joint is not finite"),
    }
}

fn main() {
    // Another number of rows may be asked for: `cargo bench --bench kernels -- 2000` stays within the caches.
    let n = std::env::args().find_map(|a| a.parse().ok()).unwrap_or(100_000).max(GROUPS);
    let hand: [hand::Loop; 3] = [hand::scalar::normal, hand::avx2::normal, hand::avx512::normal];
    compare("(a) Normal regression, 10 features", NORMAL, &Data::new(n, 10, false), hand, Plain::normal);
    let hand: [hand::Loop; 3] = [hand::scalar::logit, hand::avx2::logit, hand::avx512::logit];
    compare("(b) Bernoulli-logit, 20 features", LOGIT, &Data::new(n, 20, true), hand, Plain::logit);
    let hand: [hand::Loop; 3] = [hand::scalar::groups, hand::avx2::groups, hand::avx512::groups];
    compare("(c) varying intercept, 500 groups", INTERCEPTS, &Data::new(n, 1, false), hand, Plain::groups);
}
