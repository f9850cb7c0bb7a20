//! Fitting on a few rows at a time: stochastic steps on the lower bound of minibatches.
//!
//! One draw of the guide per row and step, shuffled batches in epochs (Kingma and Welling, "Auto-encoding variational
//! Bayes"; Hoffman et al., "Stochastic variational inference"). A batch's bound is that of the whole data on average over an
//! epoch: what is added per row is multiplied by the number of batches, what is added once is not.

mod bound;
mod coordinates;
mod held;
mod judge;
mod kin;
mod order;
mod state;
mod step;
mod train;
mod weigh;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use coordinates::{Coordinates, FIRST_LOG_SD, Kind, Part};
pub use judge::{Rise, RowWeights, Unit, judge};
pub use kin::{Along, Kin};
pub use order::{Batch, shuffle};
pub use step::{Descent, Each, Moments, Optimizer, Params, Rule, Schedule, Single};
pub use weigh::{Draws, Weighing};

use super::kept::{Checkpoint, CheckpointError};
use super::options::Progress;
pub(super) use state::{Keeper, Kept};
use state::{State, fingerprint};
use train::Training;

/// The log joint of rows that change from call to call.
pub trait Rows {
    /// Take the rows of a batch, each draw of each with the factor of what it adds: rows first.
    fn take(&mut self, batch: &Batch);
    /// Give the draws of the batch taken other factors, and each the factor of its slopes.
    fn weigh(&mut self, batch: &Batch, weights: &[f64], slopes: &[f64]);
    /// The log joint of each draw of each row of the batch taken, with what belongs to it, at theta, without its factor; what is added
    /// once is left out.
    fn log_joints(&mut self, batch: &Batch, out: &mut [f64]);
    /// Drop units of nets at random, those of this seed and step; `None`: none.
    fn drop_out(&mut self, step: Option<(u64, usize)>);
    /// Draw the cells of binarised columns of the rows taken anew, those of this seed and step.
    fn binarise(&mut self, seed: u64, step: usize);
    /// Where theta is to be set before an evaluation: what is large is not copied.
    fn theta(&mut self) -> &mut [f64];
    /// The same, to set what is drawn alone: params may stand elsewhere.
    fn drawn(&mut self) -> &mut [f64];
    /// The log joint at theta, with its gradient in `by_theta`.
    fn gradient(&mut self) -> f64;
    fn by_theta(&mut self) -> &[f64];
    /// After a gradient: hand out these cells of theta, all of them params, with their slopes, and what calls a job for each of so
    /// many pieces.
    fn params(&mut self, range: Range<usize>, f: &mut dyn FnMut(Params, Each));
    /// The log joint at theta.
    fn evaluate(&mut self) -> f64;
    /// Call `job` for each of so many pieces, on all threads there are.
    fn each(&self, pieces: usize, job: &(dyn Fn(usize) + Sync));
    /// Let the divergence of the guide from the prior count by this share, and that of each cell of a latent, averaged over the
    /// batch's rows of its plate, from `free` nats on. The log joint itself has a share of 1, and nothing free, minus infinity.
    fn soften(&mut self, share: f64, free: f64);

    fn value_grad(&mut self, theta: &[f64], grad: &mut [f64]) -> f64 {
        self.theta().copy_from_slice(theta);
        let value = self.gradient();
        grad.copy_from_slice(self.by_theta());
        value
    }

    fn value(&mut self, theta: &[f64]) -> f64 {
        self.theta().copy_from_slice(theta);
        self.evaluate()
    }
}

/// How to go through the data.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Rows of the table.
    pub total: usize,
    /// Of these, rows that are held out; the fit stops when their bound has not risen for so many epochs, and gives back the
    /// params with which it was best.
    pub held: usize,
    pub patience: usize,
    /// Epochs over which the divergence of the guide from the prior comes to count in full.
    pub kl_warm_up: usize,
    /// Nats of that divergence that count nothing, per row of its plate and cell of a latent.
    pub free_bits: f64,
    /// Rows of a batch, and the rows of other plates that come with them.
    pub batch: usize,
    pub kin: Arc<Kin>,
    /// Draws per row that are weighed against each other, and what for; else there is one.
    pub weighing: Option<(Weighing, usize)>,
    pub epochs: usize,
    /// Turns: so many steps on what is of the guide, then one on the params of the model; else all move in each step.
    pub alternate: Option<usize>,
    /// Products of matrices in single precision.
    pub single: bool,
    pub optimizer: Optimizer,
    pub seed: u64,
    /// Set from elsewhere to end the fit early.
    pub cancel: Option<Arc<AtomicBool>>,
    pub checkpoint: Option<Checkpoint>,
}

impl Plan {
    /// Batches in an epoch, of the rows that are fitted; the last may be smaller.
    pub fn batches(&self) -> usize {
        (self.total - self.held).div_ceil(self.batch).max(1)
    }

    /// What bounds are told per.
    pub fn unit(&self) -> Unit {
        if self.kin.is_empty() { Unit::Row } else { Unit::Member }
    }

    /// Draws of each row in a step.
    pub fn draws(&self) -> usize {
        self.weighing.map_or(1, |w| w.1)
    }

    pub fn cancelled(&self) -> bool {
        self.cancel.as_ref().is_some_and(|c| c.load(Ordering::Relaxed))
    }
}

/// What a fit in batches gives back.
#[derive(Clone, Debug)]
pub struct Fitted {
    pub psi: Vec<f64>,
    /// The lower bound of the rows that are fitted, and its Monte Carlo standard error; not numbers if the fit was interrupted.
    pub elbo: f64,
    pub elbo_se: f64,
    /// Where draws are weighed against each other: their bound E log (1/K Σ w).
    pub weighed: Option<f64>,
    /// Whether the bound of an epoch still rose at the end.
    pub rise: Option<Rise>,
    /// Epochs that were gone through.
    pub epochs: usize,
    /// Of rows, or members, that were held out: the epoch after which their bound was best, from 1, and that bound per one.
    pub best: Option<(usize, f64)>,
    pub steps: usize,
    /// Evaluations of the log joint of a batch, with and without gradient.
    pub gradients: usize,
    pub values: usize,
    /// Of those, how many were not finite.
    pub non_finite: usize,
    /// The first point and batch where it was not.
    pub first_lost: Option<(Vec<f64>, Batch)>,
    pub cancelled: bool,
    pub trace: Vec<Progress>,
    pub seconds: f64,
    /// Why the checkpoint could not be written at the end, if it could not.
    pub unsaved: Option<CheckpointError>,
}

/// Why there is nothing to give back.
#[derive(Clone, Debug, PartialEq)]
pub enum Trouble {
    /// The bound of batch after batch is not finite, or far below that at the start; this is the last batch. `begun`: there
    /// were others before.
    Lost {
        theta: Vec<f64>,
        batch: Batch,
        bound: f64,
        begun: bool,
        epoch: usize,
        step: usize,
    },
    Checkpoint(CheckpointError),
}

/// Fit ψ. It does not allocate from step to step. `names`: of theta.
pub fn fit(
    target: &mut dyn Rows,
    coordinates: &Coordinates,
    plan: &Plan,
    names: &[String],
    progress: &mut dyn FnMut(&Progress),
) -> Result<Fitted, Trouble> {
    let whose = || fingerprint(target, coordinates, plan, names);
    let (mut keeper, state) = Keeper::open::<State>(plan.checkpoint.as_ref(), whose).map_err(Trouble::Checkpoint)?;
    let mut training = Training::new(target, coordinates, plan, state);
    let ended = training.run(&mut keeper, progress)?;
    let (mut state, fitted, first_lost) = (training.state, training.fitted, training.first_lost);
    keeper.save(&mut state);
    let held = Some(&state.held).filter(|h| !h.psi.is_empty());
    let best = held.map(|h| (h.best + 1, h.bounds[h.best]));
    let psi = if best.is_some() { &state.held.psi } else { &state.psi };
    let found = if ended { bound::bound(target, coordinates, plan, &fitted, psi, &mut state.values) } else { None };
    let (elbo, elbo_se, weighed) = found.unwrap_or((f64::NAN, f64::NAN, f64::NAN));
    Ok(Fitted {
        elbo,
        elbo_se,
        weighed: plan.weighing.map(|_| weighed),
        rise: Rise::of(&state.bounds),
        epochs: state.epoch,
        best,
        steps: state.steps,
        gradients: state.gradients,
        values: state.values,
        non_finite: state.non_finite,
        first_lost,
        cancelled: found.is_none(),
        seconds: keeper.seconds(),
        unsaved: keeper.trouble(),
        psi: if best.is_some() { state.held.psi } else { state.psi },
        trace: state.trace,
    })
}
