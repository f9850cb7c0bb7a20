//! Fitting a guide that the model writes out: its params, the model's, and the families of the other latents.
//!
//! The target is a log joint over noise, params and latents (see `derive::written`). Few params are fitted by L-BFGS on the
//! lower bound over fixed draws, which are doubled until doubling does not move the latents; many by Adam.

mod adam;
mod bound;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::approximation::Approximation;
use super::draws::{matched, plain};
use super::engine::log_joints;
use super::gaussian::Gaussian;
use super::journal::Journal;
use super::lbfgs::{End, Limits, Pause, State, minimise};
use super::options::{FitOptions, GuideKind, Method, Progress, Stage};
use super::pool::Pool;
use super::result::{Fit, FitError, Scale, SdsFrom, StartSummary, StopReason};
use super::rng::Stream;
use super::stages::{self, Failure, IMPROPER_SD};
use super::target::{Role, Target};
use bound::{Bound, Coordinates};

/// Above this many params fixed draws would be fitted instead of the posterior.
const FEW_PARAMS: usize = 500;
/// Doubling ends when no mean of a latent moves by more of its sds.
const MOVED: f64 = 0.05;
/// Half of the most draws.
const MOST: usize = 1024;
/// Draws by which two fits are compared.
const COMPARED: usize = 400;
/// Above this many params the only start is the one that the model gives.
const JITTERED: usize = 50;
/// Sds of families at a start, until the log joint is finite.
const FIRST_LOG_SDS: [f64; 3] = [-2.0, -4.0, -7.0];

struct Session<'a, 't> {
    shared: stages::Session<'a, 't>,
    coordinates: &'a Coordinates,
    /// In the order in which we work.
    names: &'a [String],
}

/// A place that a start led to.
#[derive(Clone, Serialize, Deserialize)]
struct Place {
    start: usize,
    psi: Vec<f64>,
    objective: f64,
    iterations: usize,
    end: End,
}

/// Means and sds of every latent.
struct Moments {
    mean: Vec<f64>,
    sd: Vec<f64>,
}

/// Fit the params and families of `target`, whose coordinates have these roles.
pub fn fit(
    target: &dyn Target,
    roles: &[Role],
    options: &FitOptions,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Fit, FitError> {
    let (names, points, start) = (target.names(), target.points(), target.start());
    let mut order: Vec<usize> = (0..target.dim()).collect();
    order.sort_by(|&a, &b| (points[a], &names[a]).cmp(&(points[b], &names[b])));
    let sorted: Vec<String> = order.iter().map(|&i| names[i].clone()).collect();
    let coordinates = Coordinates::new(&order.iter().map(|&i| roles[i]).collect::<Vec<_>>());

    std::thread::scope(|scope| {
        let pool = RefCell::new(Pool::new(target, order.clone(), options.threads, scope));
        let journal = Journal::open(options, &sorted, &mut pool.borrow_mut()).map_err(FitError::Checkpoint)?;
        let (noisy, points) = sorted.split_at(coordinates.noisy);
        let origin = order.iter().map(|&i| start[i]).collect();
        let trace = Vec::with_capacity(4096);
        let shared =
            stages::Session { options, pool: &pool, noisy, points, origin, trace, progress, halt: None, journal };
        let mut session = Session { shared, coordinates: &coordinates, names: &sorted };
        let few = coordinates.parameters() <= FEW_PARAMS;
        let by_draws = options.method != Method::Adam && few && !coordinates.scored() && !options.fresh_draws;
        let why = match (coordinates.scored(), few) {
            (true, _) => "a draw of the guide is scored, which takes fresh draws each step",
            (_, false) => "the guide has many params, which fixed draws would be fitted by",
            _ => "flows of the guide could bend themselves around fixed draws",
        };
        let (mut places, failed) = session.explore().map_err(|failure| {
            let mut theta = vec![0.0; order.len()];
            order.iter().zip(failure.theta).for_each(|(&i, t)| theta[i] = t);
            FitError::NonFiniteStart { theta, start: failure.start }
        })?;
        let mut best = places.remove(0);
        let (draws, mean_error, reason) = match by_draws {
            true => session.refine(&mut best),
            false => session.walk(&mut best),
        };
        let normal_at = |place: &Place, drawn: bool| {
            let (centre, scale) = coordinates.normal(&place.psi, drawn);
            Gaussian::new(order.clone(), noisy.to_vec(), centre, scale)
        };
        let starts = session.summarise(&best, &places, &failed);
        session.shared.journal.save();
        let (seconds, unsaved) = (session.shared.journal.seconds(), session.shared.journal.trouble().cloned());
        let trace = std::mem::take(&mut session.shared.trace);
        let gaussian = normal_at(&best, true);
        let mut values = |rows: usize, theta: &[f64]| log_joints(rows, theta, &order, &mut pool.borrow_mut());
        // A relaxation is no bound: that is taken at values that are drawn.
        let (elbo, elbo_se) =
            normal_at(&best, coordinates.relaxed).bound(&mut values, options.elbo_draws, options.seed);
        let others = places.iter().map(|p| (p.start, Arc::new(normal_at(p, true)) as Arc<dyn Approximation>)).collect();
        let pool = pool.borrow();
        Ok(Fit {
            guide: GuideKind::MeanField,
            method: options.method,
            ran: (!by_draws && options.method != Method::Adam).then_some((Method::Adam, why)),
            scale: Scale::MeanField(gaussian.sds().iter().map(|sd| sd.ln()).collect()),
            names,
            points: target.points(),
            mean: gaussian.mean().to_vec(),
            elbo,
            elbo_se,
            mean_error,
            converged: reason.is_convergence(),
            stop_reason: reason,
            gradients: pool.gradients,
            log_joints: pool.gradients + pool.values,
            non_finite: pool.non_finite,
            first_lost: pool.first_lost.clone(),
            draws,
            starts,
            trace,
            seconds,
            unsaved,
            approximation: Arc::new(gaussian),
            modes: vec![],
            bent: None,
            sds_from: SdsFrom::Guide,
            definite: None,
            decrement: None,
            others,
        })
    })
}

impl<'a> Session<'a, '_> {
    fn noisy(&self) -> &'a [String] {
        &self.names[..self.coordinates.noisy]
    }

    /// A rough fit from every start, the best first; and the starts that failed. Err: a point at which the log joint is
    /// not finite, if none could begin.
    fn explore(&mut self) -> Result<(Vec<Place>, Vec<usize>), Failure> {
        let half = (self.coordinates.noisy + 1).clamp(8, 16);
        let z = matched(self.shared.options.seed, "explore", self.noisy(), half);
        // Fixed draws would mislead.
        let scored = self.coordinates.scored() || self.shared.options.fresh_draws;
        let few = self.coordinates.parameters() <= JITTERED && !scored;
        let (mut places, mut failed, mut failure) = (vec![], vec![], None);
        for start in 0..if few { self.shared.options.starts.max(1) } else { 1 } {
            match self.begin(start, &z, half) {
                // Over fixed draws the bound of latents that jump is no function to descend on.
                Ok(psi) if scored => {
                    places.push(Place { start, psi, objective: f64::INFINITY, iterations: 0, end: End::Iterations });
                }
                Ok(psi) => {
                    let limits = Limits { tolerance: 0.1, iterations: 100 };
                    places.push(self.descend(psi, &z, half, limits, Stage::Explore, start));
                }
                Err(theta) => {
                    failed.push(start);
                    failure.get_or_insert(Failure { theta, start });
                }
            }
            if self.shared.halt.is_some() {
                break;
            }
        }
        // A stable sort: the earlier start wins a tie.
        places.sort_by(|a: &Place, b: &Place| a.objective.total_cmp(&b.objective));
        match failure {
            Some(failure) if places.is_empty() => Err(failure),
            _ => Ok((places, failed)),
        }
    }

    /// Where a start begins: the first at the starting values of the params and at 0, the others around there, in
    /// opposite pairs.
    fn begin(&mut self, start: usize, z: &[f64], half: usize) -> Result<Vec<f64>, Vec<f64>> {
        let away =
            |name: &str, pair: usize| 4.0 * Stream::at(self.shared.options.seed, "starts", name, pair).uniform() - 2.0;
        let centre = self.names.iter().zip(&self.shared.origin).map(|(name, origin)| match start {
            0 => *origin,
            odd if odd % 2 == 1 => origin + away(name, start),
            _ => origin - away(name, start - 1),
        });
        let centre: Vec<f64> = centre.collect();
        let mut failure = centre.clone();
        for log_sd in FIRST_LOG_SDS {
            let psi = self.coordinates.begin(&centre, log_sd);
            let mut bound = Bound::new(self.coordinates, self.shared.pool, z, half, true);
            let mut gradient = vec![0.0; psi.len()];
            if super::lbfgs::Function::value_grad(&mut bound, &psi, &mut gradient).is_finite() {
                return Ok(psi);
            }
            failure = bound.first_non_finite().unwrap_or(failure);
        }
        Err(failure)
    }

    fn descend(&mut self, psi: Vec<f64>, z: &[f64], half: usize, limits: Limits, stage: Stage, start: usize) -> Place {
        let (coordinates, names) = (self.coordinates, self.names);
        self.shared.unit(|shared| {
            let mut bound = Bound::new(coordinates, shared.pool, z, half, true);
            let mut search = Pause::at(&mut bound, &psi);
            let (options, pool) = (shared.options, shared.pool);
            let (trace, progress) = (&mut shared.trace, &mut *shared.progress);
            let (halt, journal) = (&mut shared.halt, &shared.journal);
            let mut watch = |state: &State, psi: &[f64]| {
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
                *halt = options.halt(row.gradients).or_else(|| too_wide(coordinates, psi, names));
                halt.is_some()
            };
            let (end, state) = minimise(&mut bound, &mut search, limits, &mut watch);
            Place { start, psi: search.into_x(), objective: state.value, iterations: state.iteration, end }
        })
    }

    /// To the tolerance, on more and more draws; how many there were in the end, how far the last doubling moved a mean
    /// (in sds), and why it ended.
    fn refine(&mut self, place: &mut Place) -> (usize, f64, StopReason) {
        let n = self.coordinates.noisy;
        let limits =
            Limits { tolerance: self.shared.options.tolerance, iterations: self.shared.options.max_iterations };
        let mut half = match self.shared.options.draws {
            Some(m) => m.div_ceil(2).max(1),
            None => n.clamp(64, 512),
        };
        let mut before: Option<Moments> = None;
        loop {
            let z = matched(self.shared.options.seed, "refine", self.noisy(), half);
            let next = self.descend(place.psi.clone(), &z, half, limits, Stage::Refine, place.start);
            if next.end != End::NonFinite {
                *place = Place { iterations: place.iterations + next.iterations, ..next.clone() };
            }
            let moments = self.moments(&place.psi);
            let moved = before.as_ref().map_or(f64::INFINITY, |b| distance(b, &moments).0);
            let reason = match next.end {
                _ if self.shared.halt.is_some() => self.shared.halt.clone(),
                End::NonFinite => Some(StopReason::NonFinite),
                End::Iterations => Some(StopReason::Iterations),
                End::Stuck => Some(StopReason::Stuck),
                End::Converged | End::Stopped => None,
            };
            if let Some(reason) = reason {
                return (2 * half, moved, reason);
            }
            // Without noise the bound is exact; and what the user asked for is what is done.
            if n == 0 || self.shared.options.draws.is_some() || moved < MOVED || 2 * half > MOST {
                let error = if moved.is_finite() { moved } else { 0.0 };
                return (2 * half, error, StopReason::Converged);
            }
            before = Some(moments);
            half *= 2;
        }
    }

    /// Means and sds of the latents at ψ, over draws that are always the same.
    fn moments(&mut self, psi: &[f64]) -> Moments {
        let n = self.coordinates.noisy;
        let z = plain(self.shared.options.seed, "compare", self.noisy(), 0, COMPARED);
        let (centre, scale) = self.coordinates.normal(psi, true);
        let (mut offset, mut theta) = (vec![0.0; n], centre.clone());
        let (mut sum, mut squares): (Vec<f64>, Vec<f64>) = (vec![], vec![]);
        for row in z.chunks(n.max(1)).take(if n == 0 { 1 } else { COMPARED }) {
            scale.times(row, &mut offset);
            theta[..n].iter_mut().zip(&centre).zip(&offset).for_each(|((t, c), o)| *t = c + o);
            let latents = self.shared.pool.borrow_mut().latents(&theta);
            sum.resize(latents.len(), 0.0);
            squares.resize(latents.len(), 0.0);
            for ((s, q), x) in sum.iter_mut().zip(&mut squares).zip(&latents) {
                *s += x;
                *q += x * x;
            }
        }
        let count = COMPARED as f64;
        let mean: Vec<f64> = sum.iter().map(|s| s / count).collect();
        let sd = squares.iter().zip(&mean).map(|(q, m)| (q / count - m * m).max(0.0).sqrt()).collect();
        Moments { mean, sd }
    }

    /// A line about every start.
    fn summarise(&mut self, best: &Place, others: &[Place], failed: &[usize]) -> Vec<StartSummary> {
        let at_best = self.moments(&best.psi);
        let mut lines: Vec<StartSummary> = vec![];
        for place in std::iter::once(best).chain(others) {
            let there = self.moments(&place.psi);
            let apart = if place.start == best.start { 0.0 } else { distance(&at_best, &there).0 };
            lines.push(StartSummary {
                start: place.start,
                objective: place.objective,
                distance: apart,
                furthest: 0,
                iterations: place.iterations,
                converged: place.end == End::Converged,
            });
        }
        lines.extend(failed.iter().map(|&start| StartSummary::failed(start)));
        lines.sort_by_key(|s| s.start);
        lines
    }
}

/// The largest difference of two means, in sds, and of which latent.
fn distance(a: &Moments, b: &Moments) -> (f64, usize) {
    let apart = |i: usize| match (a.mean[i] - b.mean[i]).abs() {
        0.0 => 0.0,
        // A discrete latent may have one value only under one of them.
        d => d / a.sd[i].max(b.sd[i]),
    };
    (0..a.mean.len()).map(|i| (apart(i), i)).fold((0.0, 0), |w, x| if x.0 > w.0 { x } else { w })
}

/// A latent of a family whose sd grows without bound.
fn too_wide(coordinates: &Coordinates, psi: &[f64], names: &[String]) -> Option<StopReason> {
    coordinates.widest(psi).filter(|w| w.1 > IMPROPER_SD).map(|w| StopReason::Improper(names[w.0].clone()))
}
