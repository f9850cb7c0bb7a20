//! Where a fit begins, and what several starts tell of each other: never the mode of one start alone.

use super::draws::matched;
use super::frame::{Basis, Frame, Shape};
use super::lbfgs::{End, Limits};
use super::linalg::axpy;
use super::objective::Objective;
use super::options::Stage;
use super::result::StartSummary;
use super::rng::Stream;
use super::stages::{Failure, Place, Session, mean_of};
use super::whitening::Whitening;

/// Logs of the standard deviations tried at a start, until the log joint is finite.
const FIRST_LOG_SDS: [f64; 4] = [-2.0, -4.0, -7.0, -10.0];
/// A start whose bound lies above another's by less than this, in nats, is no better place to go on from.
const BETTER: f64 = 0.5;

/// What the starts led to.
pub struct Starts<T> {
    best: Option<(usize, T)>,
    pub others: Vec<(usize, T)>,
    pub failed: Vec<usize>,
}

impl<T> Starts<T> {
    pub fn take_best(&mut self) -> (usize, T) {
        self.best.take().expect("there is a best start, taken once")
    }
}

/// The guide of one start in coordinates that fit it, and those of the others, seen in the same coordinates.
pub struct Settled {
    pub start: usize,
    pub place: Place,
    pub others: Vec<(usize, Place)>,
    pub failed: Vec<usize>,
}

impl Session<'_, '_> {
    /// The first start that converges is settled, and gives the others its coordinates: from wherever they begin, a few
    /// steps in these tell whether they lead to the same place. One that finds a better place is settled in its turn.
    pub fn settle_starts(&mut self) -> Result<Settled, Failure> {
        let few = (self.noisy.len() + 1).clamp(8, 16);
        let z = matched(self.options.seed, "explore", self.noisy, few);
        let (mut explored, mut failed): (Vec<(usize, Place)>, Vec<Failure>) = (vec![], vec![]);
        let mut rest = 0..self.options.starts.max(1);
        while self.halt.is_none() && !explored.last().is_some_and(|(_, place)| place.end == End::Converged) {
            let Some(start) = rest.next() else { break };
            match self.begin(start, &z, few) {
                Ok(frame) => explored.push((start, self.explore(frame, &z, few, start))),
                Err(theta) => failed.push(Failure { theta, start }),
            }
        }
        // A stable sort: the earlier start wins a tie.
        explored.sort_by(|a, b| a.1.objective.total_cmp(&b.1.objective));
        let mut explored = explored.into_iter();
        let Some((mut best, first)) = explored.next() else { return Err(failed.swap_remove(0)) };
        let mut place = self.settle(first, best);
        let mut others = vec![];
        let found: Vec<_> =
            explored.map(|(start, other)| (start, Some(other))).chain(rest.map(|s| (s, None))).collect();
        for (start, other) in found {
            if self.halt.is_some() {
                others.extend(other.map(|other| (start, other)));
                continue;
            }
            let other = match other {
                Some(other) => self.compare(&place, other, start),
                None => match self.begin(start, &z, few) {
                    Ok(frame) => self.approach(&place, frame, &z, few, start),
                    Err(theta) => {
                        failed.push(Failure { theta, start });
                        continue;
                    }
                },
            };
            if other.objective < place.objective - BETTER && self.halt.is_none() {
                let better = self.settle(other, start);
                others.push((std::mem::replace(&mut best, start), std::mem::replace(&mut place, better)));
            } else {
                others.push((start, other));
            }
        }
        Ok(Settled { start: best, place, others, failed: failed.iter().map(|f| f.start).collect() })
    }

    /// Run `explore` from every start whose log joint is finite; Err if there is none.
    pub fn each_start<T>(
        &mut self,
        z: &[f64],
        half: usize,
        mut explore: impl FnMut(&mut Self, Frame, usize) -> (f64, T),
    ) -> Result<Starts<T>, Failure> {
        let mut found = vec![];
        let mut failed: Vec<Failure> = vec![];
        for start in 0..self.options.starts.max(1) {
            match self.begin(start, z, half) {
                Ok(frame) => {
                    let (objective, place) = explore(self, frame, start);
                    found.push((objective, start, place));
                }
                Err(theta) => failed.push(Failure { theta, start }),
            }
            if self.halt.is_some() {
                break;
            }
        }
        // A stable sort: the earlier start wins a tie.
        found.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut others = found.into_iter().map(|(_, start, place)| (start, place));
        match others.next() {
            Some(best) => Ok(Starts {
                best: Some(best),
                others: others.collect(),
                failed: failed.iter().map(|f| f.start).collect(),
            }),
            None => Err(failed.swap_remove(0)),
        }
    }

    /// Descend from a start in coordinates of its own.
    fn explore(&mut self, frame: Frame, z: &[f64], half: usize, start: usize) -> Place {
        self.descend(frame, None, z, half, Limits { tolerance: 0.1, iterations: 100 }, Stage::Explore, start)
    }

    /// Where a start leads, seen in the best one's coordinates; by way of its own if these do not suit it.
    fn approach(&mut self, best: &Place, frame: Frame, z: &[f64], half: usize, start: usize) -> Place {
        let phi = vec![0.0; frame.parameters()];
        let begun = Place { frame, phi, objective: f64::INFINITY, end: End::NonFinite, iterations: 0 };
        let place = self.compare(best, begun.clone(), start);
        if place.end == End::Converged || self.halt.is_some() {
            return place;
        }
        let place = self.explore(begun.frame, z, half, start);
        if self.halt.is_some() { place } else { self.compare(best, place, start) }
    }

    /// Continue another start in the best one's coordinates.
    fn compare(&mut self, best: &Place, other: Place, start: usize) -> Place {
        let n = self.noisy.len();
        let few = (n + 1).clamp(16, 128);
        let z = matched(self.options.seed, "settle", self.noisy, few);
        let mut phi = vec![0.0; best.frame.parameters()];
        let dim = self.dim();
        other.frame.mean_at(&other.phi, &mut phi[..dim]);
        axpy(-1.0, &best.frame.centre, &mut phi[..dim]);
        best.frame.mean.solve(&mut phi[..dim]);
        phi[dim..].copy_from_slice(&best.phi[dim..]);
        let place = self.descend(
            best.frame.clone(),
            Some(phi),
            &z,
            few,
            Limits { tolerance: 0.02, iterations: 60 },
            Stage::Compare,
            start,
        );
        if place.end == End::NonFinite { other } else { place }
    }

    /// A line about every start.
    pub fn summarise(
        &self,
        best: usize,
        place: &Place,
        others: &[(usize, Place)],
        failed: Vec<usize>,
    ) -> Vec<StartSummary> {
        let sds = place.frame.mean.row_norms(self.dim());
        let mean = mean_of(place);
        let mut lines = vec![StartSummary {
            start: best,
            objective: place.objective,
            distance: 0.0,
            furthest: 0,
            iterations: place.iterations,
            converged: place.end == End::Converged,
        }];
        lines.extend(others.iter().map(|(start, other)| {
            let theirs = mean_of(other);
            let apart = |i: usize| (theirs[i] - mean[i]).abs() / sds[i];
            let furthest = (0..mean.len()).max_by(|&a, &b| apart(a).total_cmp(&apart(b))).unwrap_or(0);
            StartSummary {
                start: *start,
                objective: other.objective,
                distance: if mean.is_empty() { 0.0 } else { apart(furthest) },
                furthest,
                iterations: other.iterations,
                converged: other.end == End::Converged,
            }
        }));
        lines.extend(failed.iter().map(|&start| StartSummary::failed(start)));
        lines.sort_by_key(|s| s.start);
        lines
    }

    /// A starting point: the first is the origin.
    pub fn start_at(&self, start: usize) -> Vec<f64> {
        let seed = self.options.seed;
        let away = |name: &str, pair: usize| 4.0 * Stream::at(seed, "starts", name, pair).uniform() - 2.0;
        self.noisy
            .iter()
            .chain(self.points)
            .zip(&self.origin)
            .map(|(name, origin)| match start {
                0 => *origin,
                // In opposite pairs: of two modes on either side each is met.
                odd if odd % 2 == 1 => origin + away(name, start),
                _ => origin - away(name, start - 1),
            })
            .collect()
    }

    /// A frame around a starting point in which the log joint is finite and no direction is much too steep.
    pub fn begin(&mut self, start: usize, z: &[f64], half: usize) -> Result<Frame, Vec<f64>> {
        let (dim, n) = (self.dim(), self.noisy.len());
        let centre = self.start_at(start);
        let mut failure = centre.clone();
        for (attempt, log_sd) in FIRST_LOG_SDS.into_iter().enumerate() {
            let sd = log_sd.exp();
            let mut frame = Frame {
                centre: centre.clone(),
                mean: Basis::Diagonal(vec![sd; dim]).into(),
                noise: Basis::Diagonal(vec![sd; n]),
                shape: Shape::Diagonal,
            };
            let mut objective = Objective::new(&frame, z, half, self.pool);
            let phi = vec![0.0; frame.parameters()];
            let mut gradient = phi.clone();
            if objective.value_grad(&phi, &mut gradient).is_finite() {
                // ∂f/∂ℓ_j + 1 is the curvature in units of sd²: shrink where that is too steep.
                let shrink = |j: usize| (gradient[dim + j] + 1.0).clamp(1.0, 1e12).powf(-0.5);
                if let (Whitening::Plain(Basis::Diagonal(mean)), Basis::Diagonal(noise)) =
                    (&mut frame.mean, &mut frame.noise)
                {
                    noise.iter_mut().enumerate().for_each(|(j, sd)| *sd *= shrink(j));
                    mean[..n].copy_from_slice(noise);
                }
                return Ok(frame);
            }
            if attempt == 0 || attempt + 1 == FIRST_LOG_SDS.len() {
                failure = objective.first_non_finite().unwrap_or(failure);
            }
        }
        Err(failure)
    }
}
