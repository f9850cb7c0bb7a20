//! Fitting on a few rows at a time: stochastic steps on the lower bound of minibatches.
//!
//! One draw of the guide per row and step, shuffled batches in epochs (Kingma and Welling, "Auto-encoding variational
//! Bayes"; Hoffman et al., "Stochastic variational inference"). A batch's bound is that of the whole data on average over an
//! epoch: what is added per row is multiplied by the number of batches, what is added once is not.

mod bound;
mod coordinates;
mod order;
mod state;
mod step;
mod train;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use coordinates::{Coordinates, FIRST_LOG_SD, Kind, Part};
pub use order::{Batch, shuffle};
pub use step::{Moments, Optimizer, Rule, Schedule};

use super::kept::{Checkpoint, CheckpointError};
use super::options::Progress;
use state::{Keeper, fingerprint};
use train::Training;

/// The log joint of rows that change from call to call.
pub trait Rows {
    /// Take these rows of the table, each with the factor of what it adds.
    fn take(&mut self, rows: &[usize], weights: &[f64]);
    /// Drop units of nets at random, those of this seed and step; `None`: none.
    fn drop_out(&mut self, step: Option<(u64, usize)>);
    /// Draw the cells of binarised columns of the rows taken anew, those of this seed and step.
    fn binarise(&mut self, seed: u64, step: usize);
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
    /// Set from elsewhere to end the fit early.
    pub cancel: Option<Arc<AtomicBool>>,
    pub checkpoint: Option<Checkpoint>,
}

impl Plan {
    /// Batches in an epoch; the last may be smaller.
    pub fn batches(&self) -> usize {
        self.total.div_ceil(self.batch).max(1)
    }

    fn cancelled(&self) -> bool {
        self.cancel.as_ref().is_some_and(|c| c.load(Ordering::Relaxed))
    }
}

/// What a fit in batches gives back.
#[derive(Clone, Debug)]
pub struct Fitted {
    pub psi: Vec<f64>,
    /// The lower bound of the whole data, and its Monte Carlo standard error; not numbers if the fit was interrupted.
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
    let (mut keeper, state) = Keeper::open(plan.checkpoint.as_ref(), whose).map_err(Trouble::Checkpoint)?;
    let mut training = Training::new(target, coordinates, plan, state);
    let ended = training.run(&mut keeper, progress)?;
    let mut state = training.state;
    keeper.save(&mut state);
    let found = if ended { bound::bound(target, coordinates, plan, &state.psi, &mut state.values) } else { None };
    let (elbo, elbo_se) = found.unwrap_or((f64::NAN, f64::NAN));
    Ok(Fitted {
        elbo,
        elbo_se,
        rise: rise(&state.bounds) / plan.total.max(1) as f64,
        steps: state.steps,
        gradients: state.gradients,
        values: state.values,
        non_finite: state.non_finite,
        cancelled: found.is_none(),
        seconds: keeper.seconds(),
        unsaved: keeper.trouble(),
        psi: state.psi,
        trace: state.trace,
    })
}

/// How much more the last tenth of the epochs has than the tenth before.
fn rise(epochs: &[f64]) -> f64 {
    let tenth = (epochs.len() / 10).max(1);
    if epochs.len() < 2 * tenth {
        return 0.0;
    }
    let mean = |e: &[f64]| e.iter().sum::<f64>() / e.len() as f64;
    let (before, last) = epochs[epochs.len() - 2 * tenth..].split_at(tenth);
    mean(last) - mean(before)
}
