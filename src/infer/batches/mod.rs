//! Fitting on a few rows at a time: stochastic steps on the lower bound of minibatches.
//!
//! One draw of the guide per row and step, shuffled batches in epochs (Kingma and Welling, "Auto-encoding variational
//! Bayes"; Hoffman et al., "Stochastic variational inference"). A batch's bound is that of the whole data on average over an
//! epoch: what is added per row is multiplied by the number of batches, what is added once is not.

mod coordinates;
mod step;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

pub use coordinates::{Coordinates, Kind, Part};
pub use step::{Optimizer, Rule, Schedule};

use super::options::{Progress, Stage};
use super::rng::Stream;
use step::Stepper;

/// Passes over the data for the reported bound.
const SWEEPS: usize = 16;
/// Rows of the trace, at most.
const TRACED: usize = 2000;

/// The log joint of rows that change from call to call.
pub trait Rows {
    /// Take these rows of the table, each with the factor of what it adds.
    fn take(&mut self, rows: &[usize], weights: &[f64]);
    /// Drop units of nets at random, those of this seed and step; `None`: none.
    fn drop_out(&mut self, _step: Option<(u64, usize)>) {}
    fn value_grad(&mut self, theta: &[f64], grad: &mut [f64]) -> f64;
    fn value(&mut self, theta: &[f64]) -> f64;
}

/// How to go through the data.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Rows of the table.
    pub total: usize,
    /// Rows of a batch.
    pub batch: usize,
    pub epochs: usize,
    pub optimizer: Optimizer,
    pub seed: u64,
    pub cancel: Option<Arc<AtomicBool>>,
}

impl Plan {
    /// Batches in an epoch; the last may be smaller.
    pub fn batches(&self) -> usize {
        self.total.div_ceil(self.batch).max(1)
    }
}

/// What a fit in batches gives back.
#[derive(Clone, Debug)]
pub struct Fitted {
    pub psi: Vec<f64>,
    /// The lower bound of the whole data, and its Monte Carlo standard error.
    pub elbo: f64,
    pub elbo_se: f64,
    /// How much the bound of an epoch rose in the last tenth of the fit, per row.
    pub rise: f64,
    pub steps: usize,
    /// Evaluations of the log joint of a batch, with and without gradient.
    pub gradients: usize,
    pub values: usize,
    /// Of those, how many were not finite.
    pub non_finite: usize,
    pub cancelled: bool,
    pub trace: Vec<Progress>,
}

/// The rows of one batch with their weights; a smaller one is filled up with its own rows, which count nothing.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub rows: Vec<usize>,
    pub weights: Vec<f64>,
}

impl Batch {
    /// Batch `k` of an epoch that goes through the rows in this order.
    pub fn set(&mut self, plan: &Plan, order: &[usize], k: usize) {
        let own = &order[k * plan.batch..((k + 1) * plan.batch).min(order.len())];
        let weight = plan.batches() as f64;
        self.rows.clear();
        self.weights.clear();
        self.rows.extend(own.iter().cycle().take(plan.batch));
        self.weights.extend((0..plan.batch).map(|r| if r < own.len() { weight } else { 0.0 }));
    }
}

/// The order of the rows in an epoch, by Fisher and Yates.
pub fn shuffle(order: &mut [usize], seed: u64, epoch: usize) {
    let mut stream = Stream::new(seed, "epoch", &epoch.to_string());
    for i in (1..order.len()).rev() {
        order.swap(i, (stream.uniform() * (i + 1) as f64) as usize);
    }
}

/// A point at which the first batches' log joint was not finite, if the fit could not begin.
pub type NonFinite = Vec<f64>;

/// Fit ψ. It does not allocate from step to step.
pub fn fit(
    target: &mut dyn Rows,
    coordinates: &Coordinates,
    plan: &Plan,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Fitted, NonFinite> {
    let started = Instant::now();
    let mut psi = coordinates.begin();
    let mut gradient = vec![0.0; psi.len()];
    let (mut theta, mut by_theta) = (vec![0.0; coordinates.dim()], vec![0.0; coordinates.dim()]);
    let mut z = vec![0.0; coordinates.dim()];
    let mut stepper = Stepper::new(&plan.optimizer, psi.len(), plan.epochs * plan.batches());
    let mut order: Vec<usize> = (0..plan.total).collect();
    let mut batch = Batch::default();
    let mut epochs: Vec<f64> = Vec::with_capacity(plan.epochs);
    let total = plan.total.max(1) as f64;
    let every = (plan.epochs * plan.batches()).div_ceil(TRACED).max(1);
    let mut out = Fitted {
        psi: vec![],
        elbo: f64::NAN,
        elbo_se: f64::NAN,
        rise: 0.0,
        steps: 0,
        gradients: 0,
        values: 0,
        non_finite: 0,
        cancelled: false,
        trace: Vec::with_capacity(TRACED + 1),
    };
    'epochs: for epoch in 0..plan.epochs {
        shuffle(&mut order, plan.seed, epoch);
        let (mut sum, mut finite) = (0.0, 0.0);
        for k in 0..plan.batches() {
            batch.set(plan, &order, k);
            target.take(&batch.rows, &batch.weights);
            target.drop_out(Some((plan.seed, out.steps)));
            coordinates.noise(plan.seed, "step", out.steps, &mut z);
            coordinates.place(&psi, &batch.rows, &z, &mut theta);
            let value = target.value_grad(&theta, &mut by_theta);
            out.gradients += 1;
            let bound = value + coordinates.surprise(&psi, &batch, &z);
            if value.is_finite() && by_theta.iter().all(|g| g.is_finite()) {
                gradient.fill(0.0);
                coordinates.pull_back(&psi, &batch, &z, &by_theta, &mut gradient);
                // Of the negative bound per row, so that rates mean the same for any number of rows.
                gradient.iter_mut().for_each(|g| *g /= -total);
                stepper.step(&mut psi, &gradient, &coordinates.decays);
                sum += bound;
                finite += 1.0;
            } else {
                out.non_finite += 1;
                if out.gradients == out.non_finite && out.non_finite > 100 {
                    return Err(theta);
                }
            }
            if out.steps.is_multiple_of(every) {
                let row = Progress {
                    stage: Stage::Adam,
                    start: 0,
                    iteration: out.steps,
                    gradients: out.gradients,
                    objective: -bound,
                    gradient_norm: gradient.iter().fold(0.0, |m: f64, g| m.max(g.abs())),
                    seconds: started.elapsed().as_secs_f64(),
                };
                out.trace.push(row);
                progress(&row);
            }
            out.steps += 1;
            if plan.cancel.as_ref().is_some_and(|c| c.load(Ordering::Relaxed)) {
                out.cancelled = true;
                break 'epochs;
            }
        }
        epochs.push(sum / f64::max(finite, 1.0));
    }
    if out.non_finite == out.gradients && out.gradients > 0 {
        return Err(theta);
    }
    let tenth = (epochs.len() / 10).max(1);
    if epochs.len() >= 2 * tenth {
        let mean = |e: &[f64]| e.iter().sum::<f64>() / e.len() as f64;
        let (last, before) = (&epochs[epochs.len() - tenth..], &epochs[epochs.len() - 2 * tenth..epochs.len() - tenth]);
        out.rise = (mean(last) - mean(before)) / total;
    }
    if !out.cancelled {
        (out.elbo, out.elbo_se) = bound(target, coordinates, plan, &psi, &mut out.values);
    }
    out.psi = psi;
    Ok(out)
}

/// The lower bound of the whole data at ψ, over passes with fresh draws, and its standard error.
fn bound(target: &mut dyn Rows, coordinates: &Coordinates, plan: &Plan, psi: &[f64], values: &mut usize) -> (f64, f64) {
    let order: Vec<usize> = (0..plan.total).collect();
    let (mut theta, mut z) = (vec![0.0; coordinates.dim()], vec![0.0; coordinates.dim()]);
    let mut batch = Batch::default();
    target.drop_out(None);
    let passes: Vec<f64> = (0..SWEEPS)
        .map(|sweep| {
            let mut sum = 0.0;
            for k in 0..plan.batches() {
                batch.set(plan, &order, k);
                target.take(&batch.rows, &batch.weights);
                coordinates.noise(plan.seed, "bound", sweep * plan.batches() + k, &mut z);
                // What all rows share has one draw per pass.
                coordinates.shared_noise(plan.seed, "bound", sweep, &mut z);
                coordinates.place(psi, &batch.rows, &z, &mut theta);
                sum += target.value(&theta) + coordinates.surprise(psi, &batch, &z);
                *values += 1;
            }
            sum / plan.batches() as f64
        })
        .collect();
    let n = passes.len() as f64;
    let mean = passes.iter().sum::<f64>() / n;
    let variance = passes.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, (variance / n).sqrt())
}
