//! Coordinate ascent on some rows at a time (stochastic variational inference: Hoffman, Blei, Wang and Paisley 2013).
//!
//! The derivative of a batch's expected log joint along the statistics of a factor is, on average over the batches of an
//! epoch, the natural parameter of the best such factor. What rows have to themselves is brought to its best for the batch;
//! what they share moves from its natural parameters λ to (1 - ρ) λ + ρ λ̂, a step along the natural gradient of the bound.
//! With ρ = (t + τ)^-κ and κ in (0.5, 1] the steps sum to infinity and their squares do not (Robbins and Monro 1951). For
//! `param`s the same is stepwise EM (Cappé and Moulines 2009).

use serde::{Deserialize, Serialize};

use super::Trouble;
use super::block::{Block, Form};
use super::factor::Factor;
use crate::infer::batches::{Batch, Fitted, Keeper, Kept, Plan as Batches, Rise, Rows, shuffle};
use crate::infer::kept::{CheckpointError, checksum};
use crate::infer::options::{Progress, Stage};
use crate::infer::rng::Stream;

/// κ: near 1/2 steps stay long, and forget a poor beginning soon.
const FORGETTING: f64 = 0.7;
/// τ: how long the first steps are kept short.
const DELAY: f64 = 1.0;
/// Updates of what rows have to themselves, at most, and the relative change of their statistics that ends them.
const LOCAL: usize = 100;
const LOCAL_STILL: f64 = 1e-5;

/// All that the next step depends on besides the data and the plan, and what is reported at the end.
#[derive(Default, Serialize, Deserialize)]
struct State {
    /// λ; nothing before the first step.
    natural: Vec<f64>,
    /// The epoch, and the batch in it, that comes next.
    epoch: usize,
    batch: usize,
    steps: usize,
    /// Sum of the bounds of this epoch's batches so far, and how many were finite.
    sum: f64,
    seen: usize,
    bounds: Vec<f64>,
    gradients: usize,
    non_finite: usize,
    trace: Vec<Progress>,
    seconds: f64,
}

impl Kept for State {
    fn seconds(&mut self) -> &mut f64 {
        &mut self.seconds
    }
}

/// Why there is nothing to give back.
pub enum Stopped {
    /// A factor is none any more.
    Trouble(Trouble),
    Checkpoint(CheckpointError),
}

impl From<Trouble> for Stopped {
    fn from(trouble: Trouble) -> Stopped {
        Stopped::Trouble(trouble)
    }
}

/// Factors of what all rows share, and how those of a row are found.
pub struct Stochastic<'a> {
    rows: &'a mut dyn Rows,
    shared: Vec<Block>,
    factors: Vec<Factor>,
    /// With the row of the batch that each belongs to, and where its factor begins.
    own: Vec<(usize, Block)>,
    starts: Vec<Factor>,
    locals: Vec<Factor>,
    statistics: Vec<f64>,
    before: Vec<f64>,
    gradient: Vec<f64>,
    scaled: Vec<f64>,
    /// λ
    natural: Vec<f64>,
    /// Whether a step has been made.
    moved: bool,
    gradients: usize,
    values: usize,
}

impl<'a> Stochastic<'a> {
    /// `shared`: with the factors to begin at; `own`: of one batch, by row, with the values of their cells to begin at.
    pub fn new(
        rows: &'a mut dyn Rows,
        shared: Vec<(Block, Factor)>,
        own: Vec<(usize, Block, Vec<f64>)>,
    ) -> Stochastic<'a> {
        let dim = rows.theta().len();
        let (shared, factors): (Vec<Block>, Vec<Factor>) = shared.into_iter().unzip();
        let at = |(_, b, v): &(usize, Block, Vec<f64>)| Factor::at(&b.form, &mut v.iter().copied());
        let starts: Vec<Factor> = own.iter().map(at).collect();
        let own = own.into_iter().map(|(row, block, _)| (row, block)).collect();
        let zeros = || vec![0.0; dim];
        let mut out = Stochastic {
            rows,
            shared,
            factors,
            own,
            locals: starts.clone(),
            starts,
            statistics: zeros(),
            before: zeros(),
            gradient: zeros(),
            scaled: zeros(),
            natural: zeros(),
            moved: false,
            gradients: 0,
            values: 0,
        };
        out.write();
        out
    }

    /// Go through the data, from where a checkpoint stands if there is one.
    pub fn fit(&mut self, plan: &Batches, progress: &mut dyn FnMut(&Progress)) -> Result<Fitted, Stopped> {
        let (mut keeper, begun) =
            Keeper::open(plan.checkpoint.as_ref(), || self.fingerprint(plan)).map_err(Stopped::Checkpoint)?;
        let mut state: State = begun.unwrap_or_default();
        self.go_on(&state)?;
        let mut order: Vec<usize> = (0..plan.total).collect();
        let mut batch = Batch::default();
        while state.epoch < plan.epochs && !plan.cancelled() {
            shuffle(&mut order, plan.seed, state.epoch);
            while state.batch < plan.batches() {
                batch.set(plan, &order, state.batch);
                self.take(&batch)?;
                let moved = self.step(&batch, state.steps)?;
                state.steps += 1;
                state.batch += 1;
                match moved {
                    Some(b) => (state.sum, state.seen) = (state.sum + b, state.seen + 1),
                    None => state.non_finite += 1,
                }
                self.note(&mut state);
                keeper.tick(&mut state);
                if plan.cancelled() {
                    break;
                }
            }
            if state.batch < plan.batches() {
                break;
            }
            let bound = state.sum / state.seen as f64;
            state.bounds.push(bound);
            (state.sum, state.seen, state.batch) = (0.0, 0, 0);
            state.epoch += 1;
            let row = Progress {
                stage: Stage::Ascent,
                start: 0,
                iteration: state.epoch,
                gradients: 0,
                objective: -bound,
                gradient_norm: 0.0,
                seconds: keeper.seconds(),
            };
            state.trace.push(row);
            progress(&row);
        }
        keeper.save(&mut state);
        let cancelled = plan.cancelled();
        let elbo = if cancelled { f64::NAN } else { self.bound(plan)? };
        Ok(Fitted {
            psi: vec![],
            elbo,
            elbo_se: 0.0,
            weighed: None,
            rise: Rise::of(&state.bounds),
            epochs: state.epoch,
            best: None,
            steps: state.steps,
            gradients: self.gradients,
            values: self.values,
            non_finite: state.non_finite,
            first_lost: None,
            cancelled,
            trace: state.trace,
            seconds: keeper.seconds(),
            unsaved: keeper.trouble(),
        })
    }

    /// Put the factors where a fit was interrupted.
    fn go_on(&mut self, state: &State) -> Result<(), Trouble> {
        self.gradients = state.gradients;
        if state.natural.len() != self.natural.len() {
            return Ok(());
        }
        self.natural.copy_from_slice(&state.natural);
        self.moved = true;
        for (block, factor) in self.shared.iter().zip(&mut self.factors) {
            factor.update(&block.form, block.point, &self.natural)?;
            factor.expect(&block.form, block.point, &mut self.statistics);
        }
        Ok(())
    }

    /// All that factors follow from. Before a first step they are where they began.
    fn note(&self, state: &mut State) {
        state.gradients = self.gradients;
        if self.moved {
            self.natural.clone_into(&mut state.natural);
        }
    }

    /// Differs for another program, model, data or plan: the expected log joint of batches from all over the table, and its gradient,
    /// at the factors to begin at.
    fn fingerprint(&mut self, plan: &Batches) -> u64 {
        const BATCHES: usize = 32;
        let plain = Batches { cancel: None, checkpoint: None, ..plan.clone() };
        let names: Vec<&Vec<String>> = self.shared.iter().map(|b| &b.names).collect();
        let mut bytes = format!("{} {plain:?} {names:?}", env!("CARGO_PKG_VERSION")).into_bytes();
        let (order, mut batch): (Vec<usize>, Batch) = ((0..plan.total).collect(), Batch::default());
        let all = plan.total.div_ceil(plan.batch);
        for i in 0..all.min(BATCHES) {
            batch.set(plan, &order, i * all / all.min(BATCHES));
            self.rows.take(&batch);
            bytes.extend(self.value_grad().to_bits().to_le_bytes());
            bytes.extend(self.gradient.iter().flat_map(|g| g.to_bits().to_le_bytes()));
        }
        self.gradients = 0;
        checksum(&bytes)
    }

    /// Take the rows of a batch, and bring what they have to themselves to its best.
    pub fn take(&mut self, batch: &Batch) -> Result<(), Trouble> {
        self.rows.take(batch);
        if self.own.is_empty() {
            return Ok(());
        }
        self.locals.clone_from(&self.starts);
        self.write();
        let weight = batch.weights.iter().copied().fold(0.0, f64::max);
        for _ in 0..LOCAL {
            self.before.copy_from_slice(&self.statistics);
            self.value_grad();
            self.scaled.iter_mut().zip(&self.gradient).for_each(|(s, g)| *s = g / weight);
            for ((row, block), factor) in self.own.iter().zip(&mut self.locals) {
                // Rows that fill up a batch count nothing.
                if batch.weights[*row] > 0.0 {
                    factor.update(&block.form, false, &self.scaled)?;
                    factor.expect(&block.form, false, &mut self.statistics);
                }
            }
            let change = |(a, b): (&f64, &f64)| (a - b).abs() / (1.0 + a.abs());
            let moved = self.statistics.iter().zip(&self.before).map(change).fold(0.0, f64::max);
            if moved < LOCAL_STILL {
                break;
            }
        }
        Ok(())
    }

    /// Move what all rows share by the rows taken; the bound before that, if it is finite.
    fn step(&mut self, batch: &Batch, t: usize) -> Result<Option<f64>, Trouble> {
        let value = self.value_grad();
        if !value.is_finite() || self.gradient.iter().any(|g| !g.is_finite()) {
            return Ok(None);
        }
        let bound = value + self.entropy(batch);
        let rho = (t as f64 + DELAY).powf(-FORGETTING);
        self.natural.iter_mut().zip(&self.gradient).for_each(|(l, g)| *l += rho * (g - *l));
        self.moved = true;
        for (block, factor) in self.shared.iter().zip(&mut self.factors) {
            factor.update(&block.form, block.point, &self.natural)?;
            factor.expect(&block.form, block.point, &mut self.statistics);
        }
        Ok(Some(bound).filter(|b| b.is_finite()))
    }

    /// The bound of all rows, batch after batch.
    fn bound(&mut self, plan: &Batches) -> Result<f64, Trouble> {
        let order: Vec<usize> = (0..plan.total).collect();
        let (mut batch, mut sum) = (Batch::default(), 0.0);
        for k in 0..plan.batches() {
            batch.set(plan, &order, k);
            self.take(&batch)?;
            self.values += 1;
            self.rows.theta().copy_from_slice(&self.statistics);
            sum += self.rows.evaluate() + self.entropy(&batch);
        }
        Ok(sum / plan.batches() as f64)
    }

    /// That of the shared factors, and of those of rows with their weights.
    fn entropy(&self, batch: &Batch) -> f64 {
        let latent = self.shared.iter().zip(&self.factors).filter(|(b, _)| !b.point);
        let shared: f64 = latent.map(|(b, f)| f.entropy(&b.form)).sum();
        let own = self.own.iter().zip(&self.locals).filter(|((row, _), _)| batch.weights[*row] > 0.0);
        shared + own.map(|((row, b), f)| batch.weights[*row] * f.entropy(&b.form)).sum::<f64>()
    }

    fn write(&mut self) {
        for (b, f) in self.shared.iter().zip(&self.factors) {
            f.expect(&b.form, b.point, &mut self.statistics);
        }
        for ((_, b), f) in self.own.iter().zip(&self.locals) {
            f.expect(&b.form, false, &mut self.statistics);
        }
    }

    fn value_grad(&mut self) -> f64 {
        self.gradients += 1;
        self.rows.theta().copy_from_slice(&self.statistics);
        let value = self.rows.gradient();
        self.gradient.copy_from_slice(self.rows.by_theta());
        value
    }

    /// A draw of what all rows share, on the unconstrained scale; points at their places.
    pub fn draw_shared(&self, seed: u64, n: usize, theta: &mut [f64]) {
        for (b, f) in self.shared.iter().zip(&self.factors) {
            match b.point {
                true => f.coordinates(&b.form, theta),
                false => draw(&b.form, f, seed, "draws", n, theta),
            }
        }
    }

    /// A draw of what the rows taken have to themselves.
    pub fn draw_own(&self, seed: u64, n: usize, batch: &Batch, theta: &mut [f64]) {
        for ((row, b), f) in self.own.iter().zip(&self.locals).filter(|((row, _), _)| batch.weights[*row] > 0.0) {
            draw(&b.form, f, seed, &format!("draws of row {}", batch.rows[*row]), n, theta);
        }
    }
}

fn draw(form: &Form, factor: &Factor, seed: u64, purpose: &str, n: usize, theta: &mut [f64]) {
    let mut names = vec![];
    Factor::streams(form, &mut names);
    // Gamma variates take as many numbers as they need: each draw has streams of its own.
    let mut streams: Vec<Stream> = names.iter().map(|x| Stream::numbered(seed, &format!("{purpose} {x}"), n)).collect();
    factor.draw(form, &mut streams.iter_mut(), theta);
}
