//! Step after step, through all epochs.

use super::state::{Keeper, State};
use super::step::Moments;
use super::{Batch, Coordinates, Plan, Rows, Trouble, shuffle};
use crate::infer::options::{Progress, Stage};

/// Rows of the trace, at most.
const TRACED: usize = 2000;
/// Batches without a sensible bound, less those with one, at which the fit is given up: steps that are too large do not
/// recover. Sensible is a loss per row that is less than so many times that of the first step.
const LOST: usize = 20;
const ASTRAY: f64 = 1000.0;

/// A fit that goes on, with the numbers that a step works on.
pub struct Training<'a> {
    target: &'a mut dyn Rows,
    coordinates: &'a Coordinates,
    plan: &'a Plan,
    pub state: State,
    gradient: Vec<f64>,
    theta: Vec<f64>,
    by_theta: Vec<f64>,
    z: Vec<f64>,
    order: Vec<usize>,
    batch: Batch,
}

impl<'a> Training<'a> {
    /// From the start, or from where a fit was interrupted.
    pub fn new(
        target: &'a mut dyn Rows,
        coordinates: &'a Coordinates,
        plan: &'a Plan,
        state: Option<State>,
    ) -> Training<'a> {
        let psi = coordinates.begin();
        let moments = Moments::new(plan.optimizer.rule, psi.len());
        let begun = state.filter(|s| !s.psi.is_empty());
        let mut state = begun.unwrap_or_else(|| State { psi, moments, ..State::default() });
        state.trace.reserve(TRACED + 1 - state.trace.len().min(TRACED));
        state.bounds.reserve(plan.epochs + 1);
        Training {
            target,
            coordinates,
            plan,
            gradient: vec![0.0; state.psi.len()],
            state,
            theta: vec![0.0; coordinates.dim()],
            by_theta: vec![0.0; coordinates.dim()],
            z: vec![0.0; coordinates.dim()],
            order: (0..plan.total).collect(),
            batch: Batch::default(),
        }
    }

    /// All epochs that are left; whether they came to their end.
    pub fn run(&mut self, keeper: &mut Keeper, progress: &mut dyn FnMut(&Progress)) -> Result<bool, Trouble> {
        while self.state.epoch < self.plan.epochs {
            shuffle(&mut self.order, self.plan.seed, self.state.epoch);
            while self.state.batch < self.plan.batches() {
                let row = self.step()?;
                if let Some(mut row) = row {
                    row.seconds = keeper.seconds();
                    self.state.trace.push(row);
                    progress(&row);
                }
                keeper.tick(&mut self.state);
                if self.plan.cancelled() {
                    return Ok(false);
                }
            }
            let s = &mut self.state;
            s.bounds.push(s.sum / f64::max(s.finite, 1.0));
            (s.sum, s.finite, s.batch) = (0.0, 0.0, 0);
            s.epoch += 1;
        }
        Ok(true)
    }

    /// One step; now and then a row for the trace.
    fn step(&mut self) -> Result<Option<Progress>, Trouble> {
        let (plan, s) = (self.plan, &mut self.state);
        self.batch.set(plan, &self.order, s.batch);
        self.target.take(&self.batch.rows, &self.batch.weights);
        self.target.drop_out(Some((plan.seed, s.steps)));
        self.target.binarise(plan.seed, s.steps);
        self.coordinates.noise(plan.seed, "step", s.steps, &mut self.z);
        self.coordinates.place(&s.psi, &self.batch.rows, &self.z, &mut self.theta);
        let value = self.target.value_grad(&self.theta, &mut self.by_theta);
        s.gradients += 1;
        let bound = value + self.coordinates.surprise(&s.psi, &self.batch, &self.z);
        // Of the negative bound per row, so that rates mean the same for any number of rows.
        let scale = -1.0 / plan.total.max(1) as f64;
        let finite = bound.is_finite() && self.by_theta.iter().all(|g| g.is_finite());
        if finite {
            self.coordinates.pull_back(&s.psi, &self.batch, &self.z, &self.by_theta, &mut self.gradient);
            let rate = plan.optimizer.rate_at(s.steps, plan.epochs * plan.batches());
            s.moments.step(&plan.optimizer, rate, &mut s.psi, &self.gradient, scale, &self.coordinates.decays);
            s.sum += bound;
            s.finite += 1.0;
        } else {
            s.non_finite += 1;
        }
        let first = if finite { *s.first.get_or_insert(-scale * bound) } else { f64::NAN };
        let sensible = -scale * bound > -ASTRAY * (1.0 + first.abs());
        s.lost = if sensible { s.lost.saturating_sub(1) } else { s.lost + 1 };
        if s.lost >= LOST.min(plan.epochs * plan.batches()) {
            let (theta, batch) = (self.theta.clone(), self.batch.clone());
            let begun = s.first.is_some();
            return Err(Trouble::Lost { theta, batch, bound, begun, epoch: s.epoch, step: s.steps });
        }
        let every = (plan.epochs * plan.batches()).div_ceil(TRACED).max(1);
        let row = s.steps.is_multiple_of(every).then(|| Progress {
            stage: Stage::Adam,
            start: 0,
            iteration: s.steps,
            gradients: s.gradients,
            objective: -bound,
            gradient_norm: self.gradient.iter().fold(0.0, |m: f64, g| m.max((scale * g).abs())),
            seconds: 0.0,
        });
        s.steps += 1;
        s.batch += 1;
        Ok(row)
    }
}
