//! `cargo bench --bench gradients [-- NAME…]`: gradients of the log joint until every mean stays within 0.1 reference sds,
//! for the default fit and for plain stochastic Adam on the same kernels, and their ratio. The reference is the sampler's,
//! on the unconstrained scale.
//!
//! The default fit begins at four starts, which it compares; Adam begins at one. Adam is mean-field, one draw a step, with a
//! rate that falls by a cosine: from 0.1 over 10 000 steps, or, where that does not do, over 100 000 or 600 000, as if that
//! were known beforehand. As `tuned` it has the best of several rates and lengths, which nobody knows beforehand either.
//! `>n`: not within n gradients, so that the ratio is at least the one shown.

#[allow(dead_code)]
#[path = "../tests/it/support.rs"]
mod support;

use vic::driver::{self, FitRequest};
use vic::infer::{self, FitOptions, NutsPlan, Stream, Target};

/// Eight schools, a logistic regression, and a Poisson model with effects.
const NAMES: [&str; 3] = ["eight_schools", "nes_logit", "glmm"];
const NEAR: f64 = 0.1;
/// Rates and steps of Adam: what one would try, one after the other, and what else may be tried to tune it.
const RATES: [f64; 3] = [0.1, 0.03, 0.3];
const STEPS: [usize; 3] = [10_000, 100_000, 600_000];
const TUNED: [usize; 6] = [500, 1000, 2000, 5000, 10_000, 100_000];
const SEEDS: [u64; 3] = [1, 2, 3];

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    println!("{:<16} {:>5} {:>9} {:>9} {:>7} {:>9} {:>7}", "", "seed", "default", "adam", "ratio", "tuned", "ratio");
    for name in NAMES.iter().filter(|n| wanted.is_empty() || wanted.iter().any(|w| n.contains(w.as_str()))) {
        let (text, inputs) = support::example(name);
        let compiled = support::compile(&text, &inputs);
        let model = &compiled.model;
        let plan = NutsPlan { kept: 5000, ..NutsPlan::default() };
        let options = driver::options(&compiled, &FitRequest::default());
        let chains = infer::nuts(model, &model.start(), plan, &options, &mut |_| ()).expect("the sampler runs");
        let reference = moments(&chains.theta, model.dim());
        for seed in SEEDS {
            let ours = by_default(model, &FitOptions { seed, ..options.clone() }, &reference);
            let adam = STEPS.iter().find_map(|&steps| by_adam(model, seed, RATES[0], steps, &reference));
            let settings = TUNED.iter().flat_map(|&steps| RATES.map(|rate| (rate, steps)));
            let tuned = settings.filter_map(|(rate, steps)| by_adam(model, seed, rate, steps, &reference)).min();
            let shown = |n: Option<usize>, most: usize| n.map_or(format!(">{most}"), |n| n.to_string());
            let ratio = |adam: Option<usize>, most: usize| match (ours, adam) {
                (Some(ours), Some(adam)) => format!("{:.1}", adam as f64 / ours as f64),
                (Some(ours), None) => format!(">{:.1}", most as f64 / ours as f64),
                (None, _) => "-".into(),
            };
            let (longest, most_tuned) = (STEPS[STEPS.len() - 1], TUNED[TUNED.len() - 1]);
            println!(
                "{name:<16} {seed:>5} {:>9} {:>9} {:>7} {:>9} {:>7}",
                ours.map_or("never".into(), |n| n.to_string()),
                shown(adam, longest),
                ratio(adam, longest),
                shown(tuned, most_tuned),
                ratio(tuned, most_tuned)
            );
        }
    }
}

/// Mean and sd of each coordinate.
fn moments(theta: &[f64], dim: usize) -> Vec<(f64, f64)> {
    let n = (theta.len() / dim) as f64;
    let of = |i: usize| {
        let mean = theta.iter().skip(i).step_by(dim).sum::<f64>() / n;
        let squares: f64 = theta.iter().skip(i).step_by(dim).map(|x| (x - mean).powi(2)).sum();
        (mean, (squares / n).sqrt())
    };
    (0..dim).map(of).collect()
}

fn is_near(mean: &[f64], reference: &[(f64, f64)]) -> bool {
    mean.iter().zip(reference).all(|(m, (mean, sd))| (m - mean).abs() < NEAR * sd)
}

/// The smallest budget of gradients from which on the fit's means are near, whatever is spent; budgets grow by a tenth.
fn by_default(model: &dyn Target, options: &FitOptions, reference: &[(f64, f64)]) -> Option<usize> {
    let mut since = None;
    let mut budget = 50.0;
    loop {
        let limited = FitOptions { max_gradients: Some(budget as usize), elbo_draws: 4, ..options.clone() };
        let fit = infer::fit(model, &limited, &mut |_| ()).expect("finite");
        since = if is_near(&fit.mean, reference) { since.or(Some(fit.gradients)) } else { None };
        if fit.gradients < budget as usize {
            return since;
        }
        budget *= 1.1;
    }
}

/// The step from which on the means stay near.
fn by_adam(model: &dyn Target, seed: u64, rate: f64, steps: usize, reference: &[(f64, f64)]) -> Option<usize> {
    let dim = model.dim();
    let mut evaluator = model.evaluator();
    let (mut phi, mut m, mut v) = (vec![0.0f64; 2 * dim], vec![0.0; 2 * dim], vec![0.0; 2 * dim]);
    phi[dim..].fill(-1.0);
    let (mut theta, mut z, mut g, mut slope) = (vec![0.0; dim], vec![0.0; dim], vec![0.0; dim], vec![0.0; 2 * dim]);
    let mut noise = Stream::new(seed, "bench", "adam");
    let mut since = None;
    for step in 0..steps {
        for i in 0..dim {
            z[i] = noise.normal();
            theta[i] = phi[i] + phi[dim + i].exp() * z[i];
        }
        if evaluator.value_grad(&theta, &mut g).is_finite() {
            let rate = 0.5 * rate * (1.0 + (std::f64::consts::PI * step as f64 / steps as f64).cos());
            for i in 0..dim {
                slope[i] = -g[i];
                slope[dim + i] = -g[i] * z[i] * phi[dim + i].exp() - 1.0;
            }
            let t = step as i32 + 1;
            for i in 0..2 * dim {
                m[i] = 0.9 * m[i] + 0.1 * slope[i];
                v[i] = 0.999 * v[i] + 0.001 * slope[i] * slope[i];
                let (mh, vh) = (m[i] / (1.0 - 0.9f64.powi(t)), v[i] / (1.0 - 0.999f64.powi(t)));
                phi[i] -= rate * mh / (vh.sqrt() + 1e-8);
            }
        }
        since = if is_near(&phi[..dim], reference) { since.or(Some(step + 1)) } else { None };
    }
    since
}
