//! Nanoseconds per row for value and every gradient of three models: compiled kernels beside hand-written loops and dfdx.
//! Contenders take turns, so that a busy machine slows all of them; the fastest and the median round are shown.

mod hand;
mod models;
mod plain;

use std::time::Instant;

use models::Data;
use vic::codegen;
use vic::lower::graph::Graph;
use vic::run::Workspace;

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

const ROUNDS: usize = 150;

fn compare(
    title: &str,
    graph: &Graph,
    data: &Data,
    theta: &[f64],
    hand: [hand::Loop; 3],
    plain: impl Fn(&mut [f64]) -> f64,
) {
    println!("\n{title}");
    let start = Instant::now();
    let kernels = codegen::compile(graph).expect("kernels compile on this machine");
    println!("  compiled in {:.2} ms", start.elapsed().as_secs_f64() * 1e3);
    let mut ws = Workspace::new(graph);
    let mut all = vec![contender("kernel", 1, |grad| {
        ws.theta_mut().copy_from_slice(theta);
        let value = kernels.gradient(&mut ws);
        grad.copy_from_slice(ws.grad());
        value
    })];
    let names = ["hand, scalar", "hand, AVX2", "hand, AVX-512"];
    let runs = [true, is_x86_feature_detected!("avx2"), is_x86_feature_detected!("avx512dq")];
    for ((name, runs), f) in names.into_iter().zip(runs).zip(hand) {
        if runs {
            all.push(contender(name, 1, move |grad| unsafe { f(data, theta, grad) }));
        }
    }
    all.push(contender("dfdx", 15, plain));

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
            c.times.push(start.elapsed().as_secs_f64() / data.y.len() as f64 * 1e9);
            if round == 0 {
                let size = expected.iter().fold(1.0f64, |m, g| m.max(g.abs()));
                let off = grad.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / size;
                assert!(
                    off < 1e-9 && ((v - value) / value).abs() < 1e-9,
                    "{} computes something else: {off:e}",
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
}

fn main() {
    // Another number of rows may be asked for: `cargo bench --bench kernels -- 2000` stays within the caches.
    let n = std::env::args().find_map(|a| a.parse().ok()).unwrap_or(100_000);
    let theta = |n: usize| (0..n).map(|i| 0.1 * ((i * 7 % 11) as f64 - 5.0)).collect::<Vec<_>>();

    let d = Data::new(n, 10, false);
    let (t, p) = (theta(12), plain::Plain::new(&d));
    let hand: [hand::Loop; 3] = [hand::scalar::normal, hand::avx2::normal, hand::avx512::normal];
    compare("(a) Normal regression, 10 features", &models::normal(&d, 10), &d, &t, hand, |g| p.normal(&t, g));

    let d = Data::new(n, 20, true);
    let (t, p) = (theta(21), plain::Plain::new(&d));
    let hand: [hand::Loop; 3] = [hand::scalar::logit, hand::avx2::logit, hand::avx512::logit];
    compare("(b) Bernoulli-logit, 20 features", &models::logit(&d, 20), &d, &t, hand, |g| p.logit(&t, g));

    let d = Data::new(n, 1, false);
    let (t, p) = (theta(models::GROUPS + 2), plain::Plain::new(&d));
    let hand: [hand::Loop; 3] = [hand::scalar::groups, hand::avx2::groups, hand::avx512::groups];
    compare("(c) varying intercept, 500 groups", &models::groups(&d), &d, &t, hand, |g| p.groups(&t, g));
}
