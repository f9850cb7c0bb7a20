//! Nanoseconds per step for value and gradient of a hidden Markov chain of three states, and of a level that is integrated out
//! (a Kalman filter), short and long: the cost of a chain is linear in its length, so that they should differ only by what
//! the caches hold.

use std::time::Instant;

use vic::data::{DataFile, Inputs};
use vic::driver::{self, Session};
use vic::infer::{Stream, Target};

const MARKOV: &str = "data series { y: real }
plate state = 3
latent theta[i in state] over state ~ Dirichlet(1)
latent m[state] ~ Normal([-2, 0, 2], 1)
latent z[t in series]: state ~ if first(t) then Categorical(logit: 0) else Categorical(theta[z[t-1]])
observe y ~ Normal(m[z], 1)
";

const LEVEL: &str = "data series { y: real }
latent s ~ HalfNormal(1)
latent r ~ HalfNormal(2)
latent z[t in series] ~ if first(t) then Normal(0, 1) else Normal(z[t-1], s)
observe y ~ Normal(z, r)
";

/// Seconds of the fastest and the median of some runs.
fn times(model: &str, steps: usize, rounds: usize) -> (f64, f64) {
    let mut stream = Stream::new(9, "bench", "chain");
    let rows: String = (0..steps).map(|_| format!("{:.3}\n", 2.0 * stream.normal())).collect();
    let file = DataFile { table: None, name: "series.csv".into(), bytes: format!("y\n{rows}").into_bytes() };
    let mut session = Session::default();
    let checked = driver::check(&mut session, "chain.vi", model);
    let compiled = driver::compile(&mut session, checked, &Inputs { files: vec![file], sets: vec![] })
        .unwrap_or_else(|| panic!("{:?}", session.diags.list));
    let exact = compiled.exact().expect("the rewritten log joint agrees");
    let target = exact.map_or(&compiled.model, |e| &e.rest);
    let theta = vec![0.1; target.dim()];
    let mut gradient = theta.clone();
    let mut evaluator = target.evaluator();
    let mut one = |_| {
        let start = Instant::now();
        evaluator.value_grad(&theta, &mut gradient);
        start.elapsed().as_secs_f64()
    };
    let mut all: Vec<f64> = (0..rounds).map(&mut one).collect();
    all.sort_by(f64::total_cmp);
    (all[0], all[rounds / 2])
}

fn main() {
    for (name, model) in [("hidden Markov chain", MARKOV), ("level, integrated out", LEVEL)] {
        println!("{name}");
        let mut first = None;
        for steps in [1_000, 10_000, 100_000] {
            let (min, median) = times(model, steps, (3_000_000 / steps).clamp(30, 1000));
            let (own, base) = (median / steps as f64, *first.get_or_insert(median / steps as f64));
            let shortest = min / steps as f64 * 1e9;
            println!(
                "{steps:7} steps: {shortest:7.1} ns/step min {:7.1} median   {:.2} of the shortest",
                own * 1e9,
                own / base
            );
        }
    }
}
