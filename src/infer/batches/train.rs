//! Step after step, through all epochs.

use std::ops::Range;

use super::held;
use super::state::{Keeper, State};
use super::step::{Descent, Each, Moments, Params, Squares, Turn};
use super::weigh::Draws;
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
    /// Where theta holds ψ itself, stretch by stretch, if all that is fitted are params; and whether it does by now.
    params: Option<Vec<Range<usize>>>,
    placed: bool,
    gradient: Vec<f64>,
    squares: Squares,
    z: Vec<f64>,
    scoring: Scoring,
    order: Vec<usize>,
    /// The rows that are fitted, and those that are held out, in the order of the table.
    pub fitted: Vec<usize>,
    /// The first point and batch since the start, or since going on, where the bound was not finite.
    pub first_lost: Option<(Vec<f64>, Batch)>,
    held: Vec<usize>,
    batch: Batch,
    draws: Draws,
}

/// A second draw beside the first, where latents are scored.
#[derive(Default)]
struct Scoring {
    z: Vec<f64>,
    gradient: Vec<f64>,
    /// What the terms of each scored cell come to, by draw.
    signals: [Vec<f64>; 2],
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
        let params = coordinates.only_params();
        let moments = Moments::new(plan.optimizer.rule, psi.len(), plan.single && params.is_some());
        let (fitted, held) = held::split(plan.total, plan.held, plan.seed);
        let begun = state.filter(|s| !s.psi.is_empty());
        let mut state = begun.unwrap_or_else(|| State { psi, moments, ..State::default() });
        state.trace.reserve(TRACED + 1 - state.trace.len().min(TRACED));
        state.bounds.reserve(plan.epochs + 1);
        state.held.bounds.reserve(plan.epochs + 1);
        Training {
            target,
            coordinates,
            plan,
            gradient: vec![0.0; if params.is_some() { 0 } else { state.psi.len() }],
            params,
            placed: false,
            squares: Squares::new(state.psi.len()),
            state,
            z: vec![0.0; coordinates.dim()],
            scoring: Scoring::default(),
            order: fitted.clone(),
            fitted,
            first_lost: None,
            held,
            batch: Batch::default(),
            draws: Draws::new(plan.batch, plan.draws()),
        }
    }

    /// All epochs that are left; whether they came to their end.
    pub fn run(&mut self, keeper: &mut Keeper, progress: &mut dyn FnMut(&Progress)) -> Result<bool, Trouble> {
        let ended = self.epochs(keeper, progress)?;
        self.settle();
        Ok(ended)
    }

    /// Take ψ from where steps have moved it.
    fn settle(&mut self) {
        let mut at = 0;
        for part in self.params.iter().flatten().filter(|_| self.placed) {
            self.state.psi[at..at + part.len()].copy_from_slice(&self.target.theta()[part.clone()]);
            at += part.len();
        }
    }

    fn epochs(&mut self, keeper: &mut Keeper, progress: &mut dyn FnMut(&Progress)) -> Result<bool, Trouble> {
        while self.state.epoch < self.plan.epochs && !self.is_over() {
            shuffle(&mut self.order, self.plan.seed, self.state.epoch);
            while self.state.batch < self.plan.batches() {
                let row = self.step()?;
                if let Some(mut row) = row {
                    row.seconds = keeper.seconds();
                    self.state.trace.push(row);
                    progress(&row);
                }
                if keeper.is_due() {
                    self.settle();
                    keeper.save(&mut self.state);
                }
                if self.plan.cancelled() {
                    return Ok(false);
                }
            }
            let s = &mut self.state;
            s.bounds.push(s.sum / f64::max(s.finite, 1.0));
            (s.sum, s.finite, s.batch) = (0.0, 0.0, 0);
            s.epoch += 1;
            if self.plan.held > 0 {
                self.judge();
            }
        }
        Ok(true)
    }

    /// Whether the rows that are held out have said so.
    fn is_over(&self) -> bool {
        let held = &self.state.held;
        held.bounds.len() > held.best + self.plan.patience
    }

    /// Ask the rows that are held out.
    fn judge(&mut self) {
        self.settle();
        self.target.soften(1.0, f64::NEG_INFINITY);
        self.target.drop_out(None);
        let s = &mut self.state;
        let bound = held::bound(
            self.target,
            self.coordinates,
            self.plan,
            &self.held,
            &s.psi,
            (&mut self.z, &mut self.batch, &mut self.draws),
        );
        s.values += 2 * self.held.len().div_ceil(self.plan.batch);
        // A divergence that does not count yet says nothing about what will come.
        if s.epoch < self.plan.kl_warm_up {
            s.held.wait(bound);
        } else {
            s.held.judge(bound, &s.psi);
        }
    }

    /// One step; now and then a row for the trace.
    fn step(&mut self) -> Result<Option<Progress>, Trouble> {
        let (plan, s) = (self.plan, &mut self.state);
        self.batch.set(plan, &self.order, s.batch);
        let share = match plan.kl_warm_up * plan.batches() {
            0 => 1.0,
            n => (s.steps as f64 / n as f64).min(1.0),
        };
        self.target.soften(share, if plan.free_bits > 0.0 { plan.free_bits } else { f64::NEG_INFINITY });
        self.target.take(&self.batch);
        self.target.drop_out(Some((plan.seed, s.steps)));
        self.target.binarise(plan.seed, s.steps);
        if self.coordinates.is_scored() {
            let bound = self.scored(share);
            return self.descend(bound);
        }
        self.coordinates.noise(plan.seed, "step", s.steps, &mut self.z);
        if self.params.is_some() && self.placed {
            self.coordinates.redraw(&s.psi, &self.batch, &self.z, self.target.drawn());
        } else {
            self.coordinates.place(&s.psi, &self.batch, &self.z, self.target.theta());
            self.placed = true;
        }
        self.coordinates.soften(self.target.drawn());
        let own = (&s.psi[..], &self.batch, &self.z[..]);
        let rows = plan.weighing.map(|(how, _)| self.draws.weigh(how, self.target, self.coordinates, own));
        if rows.is_some() {
            self.draws.tell(self.target, &self.batch);
            s.values += 1;
        }
        let value = self.target.gradient();
        s.gradients += 1;
        let bound = match rows {
            None => value + self.coordinates.surprise(&s.psi, &self.batch, &self.z, share),
            Some(rows) => {
                let once = value - self.draws.counted() + self.coordinates.shared_surprise(&s.psi, &self.z, 1.0);
                once + rows
            }
        };
        // Where all that is fitted are params, they are moved where the kernels read them.
        if self.params.is_none() {
            let by_theta = self.target.by_theta();
            self.coordinates.pull_back(&s.psi, &self.batch, &self.z, by_theta, share, &mut self.gradient);
        }
        self.descend(bound)
    }

    /// The gradient of a batch's bound by two draws of the guide, each the baseline of the other; the bound by both.
    fn scored(&mut self, share: f64) -> f64 {
        let (plan, s, c, own) = (self.plan, &mut self.state, self.coordinates, &mut self.scoring);
        own.z.resize(c.dim(), 0.0);
        own.gradient.resize(s.psi.len(), 0.0);
        c.noise(plan.seed, "step", 2 * s.steps, &mut self.z);
        c.noise(plan.seed, "step", 2 * s.steps + 1, &mut own.z);
        let mut bound = 0.0;
        for (z, signals) in [&self.z, &own.z].into_iter().zip(&mut own.signals) {
            c.place(&s.psi, &self.batch, z, self.target.theta());
            c.soften(self.target.theta());
            bound += 0.5 * (self.target.gradient() + c.surprise(&s.psi, &self.batch, z, share));
            c.signals(self.target.by_theta(), signals);
        }
        self.gradient.fill(0.0);
        let [first, second] = &own.signals;
        for (z, signals, others) in [(&self.z, first, second), (&own.z, second, first)] {
            c.place(&s.psi, &self.batch, z, self.target.theta());
            c.soften(self.target.theta());
            c.credit(signals, others, &self.batch, self.target.theta());
            self.target.gradient();
            c.pull_back(&s.psi, &self.batch, z, self.target.by_theta(), share, &mut own.gradient);
            self.gradient.iter_mut().zip(&own.gradient).for_each(|(g, own)| *g += 0.5 * own);
        }
        s.gradients += 4;
        bound
    }

    /// A step along the gradient; now and then a row for the trace.
    fn descend(&mut self, bound: f64) -> Result<Option<Progress>, Trouble> {
        let (plan, s) = (self.plan, &mut self.state);
        // Of the negative bound per row, so that rates mean the same for any number of rows.
        let scale = -1.0 / self.fitted.len().max(1) as f64;
        let rate = plan.optimizer.rate_at(s.steps, plan.epochs * plan.batches(), plan.batches());
        let turn = plan.alternate.map(|k| Turn::new(&self.coordinates.of_guide, s.steps, k));
        let sensible = |first: f64| -scale * bound > -ASTRAY * (1.0 + first.abs());
        // Where steps lead away, this point is told of, and not where the next one leads.
        let away = s.first.filter(|first| !sensible(*first)).map(|_| self.target.theta().to_vec());
        let mut squares = 0.0;
        each_part(self.target, &self.params, (&mut s.psi, &self.gradient), &mut |_, params, each| {
            squares += self.squares.sum(&params, each);
        });
        let length = scale.abs() * squares.sqrt();
        let finite = bound.is_finite() && length.is_finite();
        if finite {
            let step = Descent { optimizer: &plan.optimizer, rate, scale, length, turn };
            s.moments.begin();
            each_part(self.target, &self.params, (&mut s.psi, &self.gradient), &mut |at, params, each| {
                s.moments.step(&step, at, params, &self.coordinates.decays, each);
            });
            s.sum += bound;
            s.finite += 1.0;
        } else {
            s.non_finite += 1;
            self.first_lost.get_or_insert_with(|| (self.target.theta().to_vec(), self.batch.clone()));
        }
        let first = if finite { *s.first.get_or_insert(-scale * bound) } else { f64::NAN };
        s.lost = if sensible(first) { s.lost.saturating_sub(1) } else { s.lost + 1 };
        if s.lost >= LOST.min(plan.epochs * plan.batches()) {
            let (theta, batch) = (away.unwrap_or_else(|| self.target.theta().to_vec()), self.batch.clone());
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
            gradient_norm: length,
            seconds: 0.0,
        });
        s.steps += 1;
        s.batch += 1;
        Ok(row)
    }
}

/// Call `f` for each stretch of ψ, with its place in it: where the target holds them, or else as they are given.
fn each_part(
    target: &mut dyn Rows,
    held: &Option<Vec<Range<usize>>>,
    (psi, gradient): (&mut [f64], &[f64]),
    f: &mut dyn FnMut(usize, Params, Each),
) {
    let Some(held) = held else {
        return f(0, Params::double(psi, gradient), &|pieces, job| target.each(pieces, job));
    };
    let mut at = 0;
    for part in held {
        target.params(part.clone(), &mut |params, each| f(at, params, each));
        at += part.len();
    }
}
