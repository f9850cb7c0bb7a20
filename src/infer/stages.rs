//! The stages of a deterministic fit: explore from several starts, whiten, compare, refine.

use std::cell::RefCell;
use std::ops::Range;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::coupling::Couplings;
use super::draws::matched;
use super::frame::{Frame, Shape};
use super::journal::{Effects, Journal, decode, encode};
use super::lbfgs::{End, Function, Limits, Pause, State, minimise};
use super::mixture::Components;
use super::modes::Peak;
use super::objective::Objective;
use super::options::{FitOptions, GuideKind, Method, Progress, Stage};
use super::pool::Pool;
use super::response::{Response, respond};
use super::result::{StartSummary, StopReason};
use super::starts::Settled;
use super::whiten::{DENSE, Whitened, whiten};

/// Changes of the log sds tried when a guide that was fine over other draws is not over these.
const NARROWER: [f64; 3] = [-0.7, -1.5, -3.0];
/// A standard deviation on the unconstrained scale that no proper posterior of sensible data reaches.
pub const IMPROPER_SD: f64 = 1e10;
/// Rounds of whitening before the last stage takes what there is.
const ROUNDS: usize = 8;
/// Numbers in all draws of an objective.
const MOST_NUMBERS: usize = 4_000_000;
/// Doubling of draws ends when the means' Monte Carlo error is below this many posterior sds.
pub const MEAN_ERROR: f64 = 0.05;

/// Components of a mixture, and the normal that a flow bends, have correlations of their own up to so many coordinates.
const FULL_RANK: usize = 500;

/// What all stages share.
pub struct Session<'a, 't> {
    pub options: &'a FitOptions,
    pub pool: &'a RefCell<Pool<'t>>,
    /// Coordinates with noise, by name; they come first.
    pub noisy: &'a [String],
    pub points: &'a [String],
    /// Where the first start is.
    pub origin: Vec<f64>,
    pub trace: Vec<Progress>,
    pub progress: &'a mut dyn FnMut(&Progress),
    /// Why the whole fit must end now.
    pub halt: Option<StopReason>,
    pub journal: Journal,
}

/// A guide: a frame and a place in it.
#[derive(Clone, Serialize, Deserialize)]
pub struct Place {
    pub frame: Frame,
    pub phi: Vec<f64>,
    pub objective: f64,
    pub end: End,
    pub iterations: usize,
}

/// The outcome of the stages.
pub struct Outcome {
    pub place: Place,
    pub reason: StopReason,
    pub starts: Vec<StartSummary>,
    pub beyond: Beyond,
    /// The guides that the other starts led to.
    pub others: Vec<(usize, Place)>,
    pub draws: usize,
    pub mean_error: f64,
    pub response: Option<Response>,
}

/// What a fit found beyond one normal.
#[derive(Default)]
pub struct Beyond {
    /// Fits of the distinct modes among the starts, the best one's first; none where the starts agree.
    pub peaks: Vec<Peak>,
    /// Of a mixture, with their weights; none where it has but one.
    pub components: Components,
    /// Normals of several paths with their weights, which are drawn from together.
    pub paths: Components,
    /// Layers that bend the normal, and their parameters.
    pub flow: Option<(Couplings, Vec<f64>)>,
}

/// A start at which the log joint is not finite, and a point there.
#[derive(Clone, Debug)]
pub struct Failure {
    pub theta: Vec<f64>,
    pub start: usize,
}

struct Bound<'o, 'p> {
    objective: &'o mut Objective<'p>,
    logs: Range<usize>,
}

impl Function for Bound<'_, '_> {
    fn value_grad(&mut self, x: &[f64], gradient: &mut [f64]) -> f64 {
        self.objective.value_grad(x, gradient)
    }

    fn longest_step(&self, direction: &[f64]) -> f64 {
        // A log sd moves by at most 3 at once: beyond, the objective's exponentials tell nothing useful.
        3.0 / direction[self.logs.clone()].iter().fold(0.0, |m: f64, d| m.max(d.abs()))
    }
}

impl<'a, 't> Session<'a, 't> {
    pub fn dim(&self) -> usize {
        self.noisy.len() + self.points.len()
    }

    pub fn full_rank(&self) -> bool {
        match self.options.guide {
            GuideKind::FullRank => true,
            GuideKind::MeanField | GuideKind::LowRank(_) => false,
            GuideKind::Mixture(_) | GuideKind::Flow(_) => self.noisy.len() <= FULL_RANK,
        }
    }

    /// A part of the fit whose outcome the journal keeps. What ends because someone interrupted it is not an outcome.
    pub fn unit<T: Serialize + DeserializeOwned>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        let known = self.journal.replay(&mut self.pool.borrow_mut());
        if let Some(Effects { outcome, trace, halt }) = known {
            trace.last().into_iter().for_each(|row| (self.progress)(row));
            self.trace.extend(trace);
            self.halt = halt;
            return decode(&outcome);
        }
        let before = self.trace.len();
        let outcome = work(self);
        if self.halt != Some(StopReason::Cancelled) {
            let (trace, halt) = (self.trace[before..].to_vec(), self.halt.clone());
            self.journal.keep(Effects { outcome: encode(&outcome), trace, halt }, &self.pool.borrow());
        }
        outcome
    }

    /// All stages.
    pub fn run(&mut self) -> Result<Outcome, Failure> {
        let Settled { start: best, mut place, others, failed } = self.settle_starts()?;
        let (draws, mean_error, reason) = match self.options.guide {
            GuideKind::LowRank(k) => self.refine_low_rank(&mut place, best, k),
            GuideKind::MeanField | GuideKind::FullRank | GuideKind::Mixture(_) | GuideKind::Flow(_) => {
                self.refine(&mut place, best)
            }
        };
        let mut starts = self.summarise(best, &place, &others, failed);
        let (mut reason, mut components) = (reason, vec![]);
        let mut peaks = vec![];
        if reason == StopReason::Converged {
            peaks = self.peaks(&place, &others);
        }
        if peaks.len() > 1 {
            // Fitted together, so that a guide which covers several modes gives way to theirs.
            let most = if let GuideKind::Mixture(most) = self.options.guide { most } else { peaks.len() };
            let (fitted, ended) = self.components(&mut peaks, most, best);
            if matches!(self.options.guide, GuideKind::Mixture(_)) {
                (components, reason) = (fitted, ended);
                if peaks.len() > components.len() {
                    self.nearest(&mut starts, &components, &others);
                } else {
                    // Every mode that a start comes down in has its component.
                    starts.iter_mut().filter(|s| s.distance.is_finite()).for_each(|s| s.distance = 0.0);
                }
            }
        }
        let mut flow = None;
        let bends = self.points.is_empty() && self.noisy.len() > 1;
        if let (GuideKind::Flow(count), true) = (self.options.guide, bends) {
            let layers = Couplings::new(self.noisy, count, self.options.seed);
            flow = self.bend(&place, &layers, best).map(|parameters| (layers, parameters));
        }
        let ours = matches!(self.options.guide, GuideKind::MeanField | GuideKind::FullRank)
            && matches!(self.options.method, Method::Auto | Method::Lbfgs);
        let response = if reason == StopReason::Converged && ours {
            let half = draws / 2;
            respond(self, &place, &matched(self.options.seed, "refine", self.noisy, half), half)
        } else {
            None
        };
        let beyond = Beyond { peaks, components, flow, ..Beyond::default() };
        Ok(Outcome { place, reason, starts, beyond, others, draws, mean_error, response })
    }

    /// Tell of an iteration; whether the fit must end.
    pub fn told(&mut self, stage: Stage, start: usize, state: &State) -> bool {
        let row = Progress {
            stage,
            start,
            iteration: state.iteration,
            gradients: self.pool.borrow().gradients,
            objective: state.value,
            gradient_norm: state.gradient_norm,
            seconds: self.journal.seconds(),
        };
        self.trace.push(row);
        (self.progress)(&row);
        self.halt = self.options.halt(row.gradients);
        self.halt.is_some()
    }

    /// Minimise over these draws from `phi` (the frame's origin if None).
    #[allow(clippy::too_many_arguments)]
    pub fn descend(
        &mut self,
        frame: Frame,
        phi: Option<Vec<f64>>,
        z: &[f64],
        half: usize,
        limits: Limits,
        stage: Stage,
        start: usize,
    ) -> Place {
        self.unit(|session| {
            let mut objective = Objective::new(&frame, z, half, session.pool);
            session.descend_on(&mut objective, frame, phi, limits, stage, start)
        })
    }

    /// As [`Session::descend`], on an objective that the caller keeps, within a unit of the caller's.
    pub fn descend_on(
        &mut self,
        objective: &mut Objective,
        frame: Frame,
        phi: Option<Vec<f64>>,
        limits: Limits,
        stage: Stage,
        start: usize,
    ) -> Place {
        let at_origin = phi.is_none();
        let mut phi = phi.unwrap_or_else(|| vec![0.0; frame.parameters()]);
        let logs = frame.dim()..frame.dim() + frame.noisy();
        let widths: Vec<f64> = frame.noise.row_norms(frame.noisy());
        let mut bound = Bound { objective, logs: logs.clone() };
        let before = self.trace.len();
        let mut search = match self.journal.resumed() {
            Some((search, trace, recount)) => {
                // The objective stands where it stood; what this costs was counted then.
                bound.value_grad(search.x(), &mut vec![0.0; search.x().len()]);
                recount.recount(&mut self.pool.borrow_mut());
                self.trace.extend(trace);
                search
            }
            None => Pause::at(&mut bound, &phi),
        };
        for shrink in NARROWER {
            // These draws reach where the log joint is not finite: begin with a narrower guide.
            if search.is_finite() || !at_origin {
                break;
            }
            phi[logs.clone()].fill(shrink);
            search = Pause::at(&mut bound, &phi);
        }
        let (options, pool, noisy) = (self.options, self.pool, self.noisy);
        let (trace, progress, halt, journal) =
            (&mut self.trace, &mut *self.progress, &mut self.halt, &mut self.journal);
        let mut watch = |state: &State, x: &[f64]| {
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
            let grown = x[logs.clone()].iter().zip(&widths).position(|(l, w)| l.exp() * w > IMPROPER_SD);
            *halt = options.halt(row.gradients).or_else(|| grown.map(|j| StopReason::Improper(noisy[j].clone())));
            halt.is_some()
        };
        let (end, state) = minimise(&mut bound, &mut search, limits, &mut watch);
        if self.halt == Some(StopReason::Cancelled) {
            // The last iteration is looked at again.
            let trace = self.trace[before..self.trace.len() - 1].to_vec();
            self.journal.pause(search.clone(), trace, &self.pool.borrow());
        }
        let phi = search.into_x();
        Place { frame, phi, objective: state.value, end, iterations: state.iteration }
    }

    /// Whiten and descend until the coordinates fit the posterior: first with independent scales, which is safe far from
    /// the posterior, then, for a guide that may rotate, with a rotated basis.
    pub fn settle(&mut self, place: Place, start: usize) -> Place {
        let n = self.noisy.len();
        let half = if self.dim() > DENSE { 32 } else { (2 * n).max(16) };
        let probe = matched(self.options.seed, "whiten", self.noisy, half);
        let few = (n + 1).clamp(16, 128);
        let z = matched(self.options.seed, "settle", self.noisy, few);
        let mut place = self.rounds(place, start, &probe, half, &z, few, false);
        if self.full_rank() && self.dim() <= DENSE && self.halt.is_none() {
            let rotated = self.rounds(place.clone(), start, &probe, half, &z, few, true);
            if rotated.objective <= place.objective || self.halt.is_some() {
                place = rotated;
            }
        }
        place
    }

    #[allow(clippy::too_many_arguments)]
    fn rounds(
        &mut self,
        mut place: Place,
        start: usize,
        probe: &[f64],
        half: usize,
        z: &[f64],
        few: usize,
        rotate: bool,
    ) -> Place {
        for _ in 0..ROUNDS {
            if self.halt.is_some() {
                break;
            }
            let Some(frame) = self.whitened(&place, probe, half, rotate) else { break };
            let next =
                self.descend(frame, None, z, few, Limits { tolerance: 0.02, iterations: 40 }, Stage::Whiten, start);
            if next.end == End::NonFinite {
                break;
            }
            let settled = next.end == End::Converged && next.iterations <= 12;
            place = next;
            if settled {
                break;
            }
        }
        place
    }

    /// The place in a whitened frame. None if that cannot be had; halts the fit where the posterior is flat.
    fn whitened(&mut self, place: &Place, z: &[f64], half: usize, rotate: bool) -> Option<Frame> {
        self.unit(|session| session.whiten(place, z, half, rotate))
    }

    fn whiten(&mut self, place: &Place, z: &[f64], half: usize, rotate: bool) -> Option<Frame> {
        let flat = match whiten(&place.frame, &place.phi, z, half, self.pool, rotate, self.options.seed) {
            Whitened::NonFinite => return None,
            Whitened::Flat(j) => j,
            Whitened::Frame(frame) => match frame.mean.row_norms(self.dim()).iter().position(|sd| *sd > IMPROPER_SD) {
                None => return Some(frame),
                Some(j) => j,
            },
        };
        let name = self.noisy.iter().chain(self.points).nth(flat).expect("a name per coordinate");
        self.halt = Some(StopReason::Improper(name.clone()));
        None
    }

    /// The final family and tolerance, on enough draws.
    pub fn refine(&mut self, place: &mut Place, start: usize) -> (usize, f64, StopReason) {
        let n = self.noisy.len();
        let mut half = self.refine_half();
        let cap = half.max(1024.min(self.most_rows() / 2));
        let limits = Limits { tolerance: self.options.tolerance, iterations: self.options.max_iterations };
        loop {
            let z = matched(self.options.seed, "refine", self.noisy, half);
            let mut error = f64::INFINITY;
            if self.halt.is_none() {
                let whitened = self.whitened(place, &z, half, self.full_rank());
                let mut frame = whitened.unwrap_or_else(|| {
                    let scale = place.frame.scale_at(&place.phi);
                    place.frame.recentred(&place.phi, place.frame.mean.clone(), scale, Shape::Diagonal)
                });
                frame.shape = if self.full_rank() { Shape::Lower } else { Shape::Diagonal };
                let (next, its_error) = self.unit(|session| {
                    let mut objective = Objective::new(&frame, &z, half, session.pool);
                    let next = session.descend_on(&mut objective, frame, None, limits, Stage::Refine, start);
                    let error =
                        if next.end == End::NonFinite { error } else { mean_error(&next, &mut objective, half) };
                    (next, error)
                });
                if next.end == End::NonFinite {
                    return (2 * half, error, StopReason::NonFinite);
                }
                (*place, error) = (next, its_error);
            }
            if let Some(reason) = self.halt.clone() {
                return (2 * half, error, reason);
            }
            let enough = self.options.draws.is_some() || n == 0 || error < MEAN_ERROR || 2 * half > cap;
            if enough || place.end != End::Converged {
                return (2 * half, error, reason_of(place.end));
            }
            // The error falls with the root of the number of draws; a fifth more, since it is itself an estimate.
            let wanted = 1.2 * half as f64 * (error / MEAN_ERROR).powi(2);
            half = (wanted as usize).clamp(2 * half, cap);
        }
    }

    /// Half of the draws with which the last stage begins.
    pub fn refine_half(&self) -> usize {
        let n = self.noisy.len();
        let least = if self.full_rank() { n.max(1) } else { 1 };
        match self.options.draws {
            Some(m) => m.div_ceil(2).max(least),
            None if n == 0 => 1,
            // A triangular factor has n/2 parameters per coordinate, which as many draws must pin down.
            None if self.full_rank() && n <= 150 => (8 * n).max(64),
            None if self.full_rank() => 2 * n.max(600),
            None => (2 * n).clamp(64, 512.min(self.most_rows() / 2)),
        }
    }

    /// Draws of so many coordinates that their numbers still fit into memory many times.
    fn most_rows(&self) -> usize {
        (MOST_NUMBERS / self.dim().max(1)).max(128)
    }
}

/// Largest standard error of a mean from the choice of draws, in posterior sds: an M-estimator's, with scores averaged over
/// ± pairs. `objective` was last evaluated at `place`.
fn mean_error(place: &Place, objective: &mut Objective, half: usize) -> f64 {
    let dim = place.frame.dim();
    if half < 2 || dim == 0 {
        return 0.0;
    }
    let (plus, minus) = objective.theta_adjoint().split_at(half * dim);
    let (mut white, mut step) = (vec![0.0; dim], vec![0.0; dim]);
    let (mut sum, mut squares) = (vec![0.0; dim], vec![0.0; dim]);
    for (p, m) in plus.chunks(dim).zip(minus.chunks(dim)) {
        let pair: Vec<f64> = p.iter().zip(m).map(|(p, m)| half as f64 * (p + m)).collect();
        white.fill(0.0);
        place.frame.mean.transposed_times(&pair, &mut white, &mut step);
        place.frame.mean.times(&white, &mut step);
        for i in 0..dim {
            sum[i] += step[i];
            squares[i] += step[i] * step[i];
        }
    }
    let h = half as f64;
    let sds = place.frame.mean.row_norms(dim);
    (0..dim)
        .map(|i| {
            let variance = (squares[i] - sum[i] * sum[i] / h) / (h - 1.0);
            (variance.max(0.0) / h).sqrt() / sds[i]
        })
        .fold(0.0, f64::max)
}

/// Why the last stage ended.
pub fn reason_of(end: End) -> StopReason {
    match end {
        End::Converged => StopReason::Converged,
        End::Iterations => StopReason::Iterations,
        End::Stuck | End::Stopped | End::NonFinite => StopReason::Stuck,
    }
}

pub fn mean_of(place: &Place) -> Vec<f64> {
    let mut mean = vec![0.0; place.frame.dim()];
    place.frame.mean_at(&place.phi, &mut mean);
    mean
}
