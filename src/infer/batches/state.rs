//! Where a fit in batches stands, and the file that keeps it.

use std::path::PathBuf;
use std::time::Instant;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::held::Held;
use super::step::Moments;
use super::{Batch, Coordinates, Plan, Rows};
use crate::infer::kept::{self, Checkpoint, CheckpointError, EVERY, checksum};
use crate::infer::options::Progress;
use crate::infer::rng::Stream;

/// All that the next step depends on besides the data and the plan, and what is reported at the end.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct State {
    pub psi: Vec<f64>,
    pub moments: Moments,
    /// The epoch, and the batch in it, that comes next.
    pub epoch: usize,
    pub batch: usize,
    /// Sum of the bounds of this epoch's batches so far, and how many were finite.
    pub sum: f64,
    pub finite: f64,
    /// Mean bound of each epoch that is over.
    pub bounds: Vec<f64>,
    pub held: Held,
    pub steps: usize,
    pub gradients: usize,
    pub values: usize,
    pub non_finite: usize,
    /// The first finite bound per row.
    pub first: Option<f64>,
    /// Batches without a sensible bound, less those with one.
    pub lost: usize,
    pub trace: Vec<Progress>,
    /// Of the runs before this one.
    pub seconds: f64,
}

/// A state that a checkpoint holds.
pub trait Kept: Serialize + DeserializeOwned + Default {
    /// Of the runs before this one.
    fn seconds(&mut self) -> &mut f64;
}

impl Kept for State {
    fn seconds(&mut self) -> &mut f64 {
        &mut self.seconds
    }
}

/// Keeps the state of a fit where it is asked for.
pub struct Keeper {
    path: Option<PathBuf>,
    fingerprint: u64,
    before: f64,
    started: Instant,
    saved: Instant,
    trouble: Option<CheckpointError>,
}

impl Keeper {
    /// With the state to go on from, if there is one. `whose` is asked for only where a checkpoint is kept.
    pub fn open<S: Kept>(
        at: Option<&Checkpoint>,
        whose: impl FnOnce() -> u64,
    ) -> Result<(Keeper, Option<S>), CheckpointError> {
        let now = Instant::now();
        let mut keeper = Keeper { path: None, fingerprint: 0, before: 0.0, started: now, saved: now, trouble: None };
        let Some(at) = at else { return Ok((keeper, None)) };
        (keeper.path, keeper.fingerprint) = (Some(at.path.clone()), whose());
        let mut state: Option<S> = kept::begin(at, keeper.fingerprint)?;
        match &mut state {
            Some(state) => keeper.before = *state.seconds(),
            // Better to hear now than after an hour that nothing can be written there.
            None => kept::write(&at.path, keeper.fingerprint, &S::default())?,
        }
        Ok((keeper, state))
    }

    /// Seconds since the fit began, those before an interruption included.
    pub fn seconds(&self) -> f64 {
        self.before + self.started.elapsed().as_secs_f64()
    }

    /// Whether it is time to write the state.
    pub fn is_due(&self) -> bool {
        self.path.is_some() && self.saved.elapsed() > EVERY
    }

    /// Write the state if it is time.
    pub fn tick(&mut self, state: &mut impl Kept) {
        if self.is_due() {
            self.save(state);
        }
    }

    /// Write the state; trouble is remembered, and does not end the fit.
    pub fn save(&mut self, state: &mut impl Kept) {
        let Some(path) = &self.path else { return };
        (*state.seconds(), self.saved) = (self.seconds(), Instant::now());
        self.trouble = kept::write(path, self.fingerprint, state).err();
    }

    pub fn trouble(self) -> Option<CheckpointError> {
        self.trouble
    }
}

/// Differs for another program, model, data or plan: from the names of the coordinates, and the log joint with its gradient
/// of batches from all over the table, at points where hardly two models agree.
pub fn fingerprint(target: &mut dyn Rows, coordinates: &Coordinates, plan: &Plan, names: &[String]) -> u64 {
    const BATCHES: usize = 32;
    let plain = Plan { cancel: None, checkpoint: None, ..plan.clone() };
    let mut bytes = format!("{} {plain:?} {names:?}", env!("CARGO_PKG_VERSION")).into_bytes();
    let order: Vec<usize> = (0..plan.total).collect();
    let dim = coordinates.dim();
    let (mut theta, mut gradient, mut batch) = (vec![0.0; dim], vec![0.0; dim], Batch::default());
    target.soften(1.0, f64::NEG_INFINITY);
    target.drop_out(None);
    let mut stream = Stream::new(0, "fingerprint", "");
    theta.iter_mut().for_each(|t| *t = 0.1 * stream.uniform());
    let all = plan.total.div_ceil(plan.batch);
    let mut sums = vec![0.0; dim];
    for i in 0..all.min(BATCHES) {
        batch.set(plan, &order, i * all / all.min(BATCHES));
        target.take(&batch);
        bytes.extend(target.value_grad(&theta, &mut gradient).to_bits().to_le_bytes());
        sums.iter_mut().zip(&gradient).for_each(|(s, g)| *s += g);
    }
    bytes.extend(sums.iter().flat_map(|s| s.to_bits().to_le_bytes()));
    checksum(&bytes)
}
