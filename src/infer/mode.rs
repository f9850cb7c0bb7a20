//! Climbing to a mode of the log joint, and `--method map`, which reports nothing but the highest one.

use std::cell::RefCell;

use super::frame::{Basis, Frame, Shape};
use serde::{Deserialize, Serialize};

use super::lbfgs::{End, Function, Limits, Pause, State, minimise};
use super::options::{Progress, Stage};
use super::pool::Pool;
use super::result::StopReason;
use super::stages::{Beyond, Failure, Outcome, Place, Session};

/// Largest component of the gradient at a mode, in nats per unit of the unconstrained scale.
const GRADIENT: f64 = 1e-6;
/// Where rounding ends a search before that, the decrement at which it has arrived all the same.
const ROUNDING: f64 = 1e-8;

/// Heights in nats that are one.
const SAME: f64 = 1e-4;

/// Where a climb ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Mode {
    pub theta: Vec<f64>,
    pub log_joint: f64,
    pub end: End,
    pub iterations: usize,
    /// Every point on the way, the start first, and the gradient of the log joint there.
    pub path: Vec<Step>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Step {
    pub theta: Vec<f64>,
    pub gradient: Vec<f64>,
}

/// −log p, remembering where it was asked.
struct Descent<'p, 't> {
    pool: &'p RefCell<Pool<'t>>,
    tried: Vec<Step>,
}

impl Function for Descent<'_, '_> {
    fn value_grad(&mut self, x: &[f64], gradient: &mut [f64]) -> f64 {
        let mut value = [0.0];
        self.pool.borrow_mut().value_grad(x, &mut value, gradient);
        self.tried.push(Step { theta: x.to_vec(), gradient: gradient.to_vec() });
        gradient.iter_mut().for_each(|g| *g = -*g);
        if value[0].is_finite() { -value[0] } else { f64::INFINITY }
    }
}

/// Modes with their starts, and the starts without one.
type Modes = (Vec<(usize, Mode)>, Vec<usize>);

impl Session<'_, '_> {
    /// Climb from a start. An error holds the start if the log joint is not finite there.
    pub fn climb(&mut self, start: usize, stage: Stage) -> Result<Mode, Failure> {
        let found = self.unit(|session| session.climb_from(start, stage));
        found.ok_or_else(|| Failure { theta: self.start_at(start), start })
    }

    fn climb_from(&mut self, start: usize, stage: Stage) -> Option<Mode> {
        let (options, pool) = (self.options, self.pool);
        let mut descent = Descent { pool, tried: vec![] };
        let limits = Limits { tolerance: GRADIENT, iterations: options.max_iterations };
        let mut visited: Vec<Vec<f64>> = vec![];
        let mut search = Pause::at(&mut descent, &self.start_at(start));
        let (trace, progress, halt, journal) = (&mut self.trace, &mut *self.progress, &mut self.halt, &self.journal);
        let mut watch = |state: &State, x: &[f64]| {
            if visited.last().is_none_or(|v| v != x) {
                visited.push(x.to_vec());
            }
            let row = Progress {
                stage,
                start,
                iteration: state.iteration,
                gradients: pool.borrow().gradients,
                objective: state.value,
                gradient_norm: state.gradient_norm,
                seconds: journal.seconds(),
            };
            trace.push(row);
            progress(&row);
            *halt = options.halt(row.gradients);
            halt.is_some()
        };
        let (mut end, state) = minimise(&mut descent, &mut search, limits, &mut watch);
        if end == End::NonFinite {
            return None;
        }
        if end == End::Stuck && state.decrement < ROUNDING {
            end = End::Converged;
        }
        let mut tried = descent.tried.into_iter();
        // Both are in the order of the search.
        let path = visited.iter().filter_map(|v| tried.find(|step| step.theta == *v)).collect();
        Some(Mode { theta: search.into_x(), log_joint: -state.value, end, iterations: state.iteration, path })
    }

    /// Modes from every start, the highest first, and the starts without one.
    pub fn modes(&mut self) -> Result<Modes, Failure> {
        let (mut found, mut failed) = (vec![], vec![]);
        for start in 0..self.options.starts.max(1) {
            match self.climb(start, Stage::Mode) {
                Ok(mode) => found.push((start, mode)),
                Err(failure) => failed.push(failure),
            }
            if self.halt.is_some() {
                break;
            }
        }
        if found.is_empty() {
            return Err(failed.swap_remove(0));
        }
        // A stable sort: the earlier start wins a tie.
        found.sort_by(|a, b| b.1.log_joint.total_cmp(&a.1.log_joint));
        let (best, others) = found.split_first_mut().expect("not empty");
        for (_, other) in others {
            // Climbs that end on one flat top, or along one edge, have found the same mode.
            let middle: Vec<f64> = best.1.theta.iter().zip(&other.theta).map(|(a, b)| 0.5 * (a + b)).collect();
            let mut between = [0.0];
            self.pool.borrow_mut().value(&middle, &mut between);
            let top = best.1.log_joint;
            if top - other.log_joint < SAME && top - between[0] < SAME {
                other.theta.clone_from(&best.1.theta);
            }
        }
        Ok((found, failed.iter().map(|f| f.start).collect()))
    }

    /// `--method map`: the highest mode, as a guide without spread.
    pub fn run_map(&mut self) -> Result<Outcome, Failure> {
        let (modes, failed) = self.modes()?;
        let n = self.noisy.len();
        let mut places: Vec<(usize, Place)> =
            modes.into_iter().map(|(start, mode)| (start, still(&mode, Basis::Diagonal(vec![0.0; n])))).collect();
        let (best, place) = places.remove(0);
        let reason = self.halt.clone().unwrap_or_else(|| reason(place.end));
        let starts = self.summarise(best, &place, &places, failed);
        Ok(Outcome {
            place,
            reason,
            starts,
            beyond: Beyond::default(),
            others: vec![],
            draws: 0,
            mean_error: 0.0,
            response: None,
        })
    }
}

/// A guide around a mode, with this scale.
pub fn still(mode: &Mode, scale: Basis) -> Place {
    let frame = Frame {
        centre: mode.theta.clone(),
        // Distances between modes are told in units of the unconstrained scale.
        mean: Basis::Diagonal(vec![1.0; mode.theta.len()]).into(),
        noise: scale,
        shape: Shape::Diagonal,
    };
    Place {
        phi: vec![0.0; frame.parameters()],
        frame,
        objective: -mode.log_joint,
        end: mode.end,
        iterations: mode.iterations,
    }
}

pub fn reason(end: End) -> StopReason {
    match end {
        End::Converged => StopReason::AtMode,
        End::Iterations => StopReason::Iterations,
        End::Stuck | End::Stopped | End::NonFinite => StopReason::Stuck,
    }
}
