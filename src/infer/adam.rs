//! `--method adam`, `score`, `iwae` and `forward-kl`: stochastic steps by an estimator of the gradient from fresh draws, and
//! averaged iterates.
//!
//! Steps come in windows. A window starts at the average of the one before, in that guide's own units, so that the rate
//! means the same for every coordinate. When two windows in a row average to nearly the same guide the rate is halved
//! (Welandawe et al., "A framework for improving the reliability of black-box variational inference"); the fit has
//! converged when that happens at a small rate.

use serde::{Deserialize, Serialize};

use super::draws::{matched, plain_into};
use super::estimator::{self, Recipe, Stochastic};
use super::frame::{Basis, Frame, Shape};
use super::lbfgs::End;
use super::options::{GuideKind, Method, Progress, Stage};
use super::result::StopReason;
use super::stages::{Beyond, Failure, IMPROPER_SD, Outcome, Place, Session};
use crate::tape::Adam;

/// Steps in the first windows; later ones grow as the rate falls, since slower walks need longer averages.
const WINDOW: usize = 250;
/// The first fifth of a window still remembers where it started; the average leaves it out.
const BURN: usize = 5;
/// Windows whose averages differ by less than this many rates are taken as standing still.
const STILL: f64 = 5.0;
/// The fit ends when windows stand still at a rate below this share of the first.
const LAST: f64 = 0.08;
/// A window that ends this many nats worse than it began is forgotten: the rate was too high.
const WORSE: f64 = 10.0;
/// The inclusive divergence sees only where the guide has draws: its guides begin so many times as wide as others.
const BROAD: f64 = 7.0;
/// Windows that another start may take to come within so many sds of the best one.
const FOLLOWED: usize = 8;
const NEAR: f64 = 0.3;
/// Rows of the trace: one in so many steps.
const EVERY: usize = 25;

#[derive(Serialize, Deserialize)]
struct Walk {
    frame: Frame,
    /// Average of the last window, as parameters of `frame`.
    average: Vec<f64>,
    /// Average objective over the last window.
    objective: f64,
    /// Largest change of the average in the guide's sds, in the last window.
    moved: f64,
    steps: usize,
}

impl Session<'_, '_> {
    pub fn run_adam(&mut self) -> Result<Outcome, Failure> {
        let n = self.noisy.len();
        let recipe = estimator::recipe(self.options);
        let z = matched(self.options.seed, "explore", self.noisy, (n + 1).clamp(8, 16));
        // A triangular factor moves in n directions per coordinate at once: a whole row's change should keep its size.
        let crowd = if self.full_rank() { (4.0 / n.max(4) as f64).sqrt() } else { 1.0 };
        let mut first = self.options.learning_rate;
        let mut starts = self.each_start(&z, (n + 1).clamp(8, 16), |session, mut frame, start| {
            if session.options.method == Method::ForwardKl {
                frame.noise.scale(BROAD);
            }
            let average = vec![0.0; frame.parameters()];
            let walk = Walk { frame, average, objective: f64::INFINITY, moved: f64::INFINITY, steps: 0 };
            let walk = session.window(&walk, &recipe, first, WINDOW, start);
            (walk.objective, walk)
        })?;
        let (best, mut walk) = starts.take_best();
        let mut rate = first;
        let reason = loop {
            if let Some(reason) = self.halt.clone() {
                break reason;
            }
            if walk.moved < STILL * rate && self.full_rank() && walk.frame.shape == Shape::Diagonal {
                // Independent scales find the place; a triangular factor would be lost far from it.
                walk.frame.shape = Shape::Lower;
                walk.average.resize(walk.frame.parameters(), 0.0);
                first *= crowd;
                rate = first;
            } else if walk.moved < STILL * rate {
                if rate < LAST * first && walk.objective.is_finite() {
                    break StopReason::Settled;
                }
                rate *= 0.5;
            }
            let length = (WINDOW as f64 * (first / rate).sqrt()) as usize;
            if walk.steps + length > self.options.steps {
                break StopReason::Drifting;
            }
            let next = self.window(&walk, &recipe, rate, length, best);
            if next.objective < walk.objective + WORSE || !walk.objective.is_finite() && next.objective.is_finite() {
                walk = next;
            } else {
                walk.steps = next.steps;
                rate *= 0.5;
            }
        };
        let mut others = vec![];
        for (start, other) in std::mem::take(&mut starts.others) {
            let other = self.follow(&walk, other, &recipe, first, start);
            others.push((start, other));
        }
        let place = |walk: Walk| Place {
            iterations: walk.steps,
            objective: walk.objective,
            end: End::Converged,
            phi: walk.average,
            frame: walk.frame,
        };
        let moved = walk.moved;
        let others: Vec<(usize, Place)> = others.into_iter().map(|(start, walk)| (start, place(walk))).collect();
        let mut place = place(walk);
        let (mut draws, mut mean_error, mut reason) = (recipe.draws(), moved, reason);
        if let (GuideKind::LowRank(k), StopReason::Settled) = (self.options.guide, &reason) {
            // The directions come last, by L-BFGS: the steps above found the place.
            (draws, mean_error, reason) = self.refine_low_rank(&mut place, best, k);
        }
        let starts = self.summarise(best, &place, &others, starts.failed);
        Ok(Outcome { place, reason, starts, beyond: Beyond::default(), others, draws, mean_error, response: None })
    }

    /// Let another start walk on while it is elsewhere, at most for some windows: one window may not have brought it here.
    fn follow(&mut self, best: &Walk, mut other: Walk, recipe: &Recipe, rate: f64, start: usize) -> Walk {
        let dim = self.dim();
        let mean = |walk: &Walk| {
            let mut mean = vec![0.0; dim];
            walk.frame.mean_at(&walk.average, &mut mean);
            mean
        };
        let there = mean(best);
        let sds = in_own_units(&best.frame, &best.average).mean.row_norms(dim);
        for _ in 0..FOLLOWED {
            let away = mean(&other).iter().zip(&there).zip(&sds).any(|((a, b), sd)| (a - b).abs() > NEAR * sd);
            if !away || self.halt.is_some() {
                break;
            }
            other = self.window(&other, recipe, rate, WINDOW, start);
        }
        other
    }

    /// One window of steps from the walk's average.
    fn window(&mut self, walk: &Walk, recipe: &Recipe, rate: f64, length: usize, start: usize) -> Walk {
        self.unit(|session| session.step_through(walk, recipe, rate, length, start))
    }

    fn step_through(&mut self, walk: &Walk, recipe: &Recipe, rate: f64, length: usize, start: usize) -> Walk {
        let (dim, n) = (self.dim(), self.noisy.len());
        let frame = in_own_units(&walk.frame, &walk.average);
        let rows = recipe.rows();
        let mut z = vec![0.0; rows * n];
        let mut objective = Stochastic::new(&frame, &z, rows, recipe.estimator(), self.pool);
        let mut phi = vec![0.0; frame.parameters()];
        let (mut gradient, mut average) = (phi.clone(), phi.clone());
        let mut adam = Adam::new(phi.len());
        let (mut total, mut finite) = (0.0, 0usize);
        let burn = length / BURN;
        for step in 0..length {
            let at = walk.steps + step;
            plain_into(self.options.seed, "adam", self.noisy, at * rows, &mut z);
            objective.redraw(&z);
            let f = objective.value_grad(&phi, &mut gradient);
            // Draws outside the support may say nothing about the direction: skip the step.
            if f.is_finite() {
                adam.step(&mut phi, &gradient, rate);
                if step >= burn {
                    finite += 1;
                    total += f;
                }
            }
            if step >= burn {
                let share = 1.0 / (step - burn + 1) as f64;
                average.iter_mut().zip(&phi).for_each(|(a, p)| *a += share * (p - *a));
            }
            if at.is_multiple_of(EVERY) || self.options.cancel.is_some() {
                let row = Progress {
                    stage: Stage::Adam,
                    start,
                    iteration: at,
                    gradients: self.pool.borrow().gradients,
                    objective: f,
                    gradient_norm: gradient.iter().fold(0.0, |m: f64, g| m.max(g.abs())),
                    seconds: self.journal.seconds(),
                };
                if at.is_multiple_of(EVERY) {
                    self.trace.push(row);
                    (self.progress)(&row);
                }
                self.halt = self.options.halt(row.gradients);
            }
            if self.halt.is_some() {
                break;
            }
        }
        drop(objective);
        // The frame's units are the guide's sds, and it starts at 0.
        let moved = average[..dim + n].iter().fold(0.0, |m: f64, a| m.max(a.abs()));
        let sds = frame.noise.row_norms(n);
        if let Some(j) = (0..n).find(|&j| sds[j] > IMPROPER_SD) {
            self.halt.get_or_insert(StopReason::Improper(self.noisy[j].clone()));
        }
        let objective = if finite > 0 { total / finite as f64 } else { f64::INFINITY };
        Walk { frame, average, objective, moved, steps: walk.steps + length }
    }
}

/// The guide at `phi` as the origin of a frame whose units are its own scale.
fn in_own_units(frame: &Frame, phi: &[f64]) -> Frame {
    let n = frame.noisy();
    let scale = frame.scale_at(phi);
    let points = &frame.mean.row_norms(frame.dim())[n..];
    let mean = Basis::block_diagonal(&scale, points, n);
    frame.recentred(phi, mean, scale, frame.shape)
}
