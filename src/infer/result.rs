//! What a fit gives back.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::approximation::Approximation;
use super::flow::Bent;
use super::kept::CheckpointError;
use super::modes::Mode;
use super::options::{GuideKind, Method, Progress};

/// The fitted guide on the unconstrained scale, in the target's order, and how it was found.
#[derive(Clone, Debug)]
pub struct Fit {
    pub guide: GuideKind,
    /// As it was asked for.
    pub method: Method,
    /// What ran in its place where a written guide asked for something else, and why.
    pub ran: Option<(Method, &'static str)>,
    pub names: Vec<String>,
    /// Coordinates fitted to a point.
    pub points: Vec<bool>,
    pub mean: Vec<f64>,
    pub scale: Scale,
    /// Evidence lower bound over fresh draws, and its Monte Carlo standard error.
    pub elbo: f64,
    pub elbo_se: f64,
    /// Largest Monte Carlo error of a mean that comes from using finitely many draws, in posterior standard deviations.
    pub mean_error: f64,
    pub converged: bool,
    pub stop_reason: StopReason,
    /// Evaluations of the log joint with its gradient.
    pub gradients: usize,
    /// Evaluations of the log joint, with or without gradient.
    pub log_joints: usize,
    /// Of those, how many were not finite.
    pub non_finite: usize,
    /// The first point where it was not, on the unconstrained scale.
    pub first_lost: Option<Vec<f64>>,
    /// Draws in the last stage's objective.
    pub draws: usize,
    pub starts: Vec<StartSummary>,
    pub trace: Vec<Progress>,
    /// Those before an interruption included.
    pub seconds: f64,
    /// Why the checkpoint could not be written at the end, if it could not.
    pub unsaved: Option<CheckpointError>,
    /// The guide as a distribution, for everything that comes after the fit.
    pub approximation: Arc<dyn Approximation>,
    /// Where the starts found several modes: each with its share of the posterior, the largest first.
    pub modes: Vec<Mode>,
    /// Of a flow, whether it is the guide; none where none was fitted.
    pub bent: Option<Bent>,
    /// Whether its spread is the fitted guide's or that of the linear response.
    pub sds_from: SdsFrom,
    /// Whether the lower bound has a maximum at the guide (its curvature is definite), and what another Newton step would
    /// gain, in nats; `None` where that was not computed.
    pub definite: Option<bool>,
    pub decrement: Option<f64>,
    /// The guides that the other starts led to.
    pub(super) others: Vec<(usize, Arc<dyn Approximation>)>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Scale {
    /// Log standard deviations; minus infinity for points.
    MeanField(Vec<f64>),
    /// Lower Cholesky factor of the covariance, row-major, dim × dim; rows and columns of points are 0.
    FullRank(Vec<f64>),
    /// Known to [`Fit::approximation`] alone.
    Implicit,
}

/// What the spread of the draws comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SdsFrom {
    Guide,
    /// Of a mean-field guide's means, where its lower bound is better than the guide's own.
    LinearResponse,
}

/// Where one start led.
#[derive(Clone, Debug)]
pub struct StartSummary {
    pub start: usize,
    /// The negative lower bound where it ended, over the comparison's draws; infinite if it could not begin.
    pub objective: f64,
    /// Largest difference of its means from the reported ones, in posterior standard deviations; 0 where a mixture covers all
    /// modes.
    pub distance: f64,
    /// The coordinate that differs most.
    pub furthest: usize,
    pub iterations: usize,
    pub converged: bool,
}

impl StartSummary {
    /// A start at which the log joint is not finite.
    pub(super) fn failed(start: usize) -> StartSummary {
        let (objective, distance) = (f64::INFINITY, f64::INFINITY);
        StartSummary { start, objective, distance, furthest: 0, iterations: 0, converged: false }
    }
}

/// Why the optimiser ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum StopReason {
    Converged,
    Iterations,
    Gradients,
    Cancelled,
    /// No lower point could be found although the gradient is not small.
    Stuck,
    /// The log joint is not finite at some draws of any guide that was tried.
    NonFinite,
    /// The guide's standard deviation of this coordinate grew without bound.
    Improper(String),
    /// The average of stochastic steps still moves.
    Drifting,
    /// The average of stochastic steps stands still.
    Settled,
    /// As high as the log joint goes from here.
    AtMode,
    /// Another sweep over the factors changes nothing.
    FactorsStill,
    /// A sweep over the factors lowered the bound, which it cannot do but by rounding.
    Fell,
    /// Every path to a mode has been walked.
    PathsEnded,
    /// The curvature where the climb ended is not that of a maximum.
    Indefinite,
}

impl StopReason {
    /// Whether the fit ended because there was nothing left to gain.
    pub fn is_convergence(&self) -> bool {
        matches!(
            self,
            StopReason::Converged
                | StopReason::Settled
                | StopReason::AtMode
                | StopReason::FactorsStill
                | StopReason::PathsEnded
        )
    }

    /// One sentence for a person.
    pub fn sentence(&self) -> String {
        match self {
            StopReason::Converged => "The gradient of the lower bound fell below the tolerance.".into(),
            StopReason::Iterations => "The iteration limit was reached before the gradient became small.".into(),
            StopReason::Gradients => "The limit on gradient evaluations was reached before the gradient became small.".into(),
            StopReason::Cancelled => "The fit was interrupted.".into(),
            StopReason::Stuck => {
                "No better guide could be found although the gradient is not small; the log joint may have a jump or a kink.".into()
            }
            StopReason::NonFinite => {
                "The log joint is not finite at some of the guide's draws, however narrow the guide was made.".into()
            }
            StopReason::Improper(name) => format!(
                "The guide's spread of `{name}` grew without bound: the model and the data seem to leave it undetermined (an improper posterior)."
            ),
            StopReason::Settled => "The average of the steps stands still.".into(),
            StopReason::FactorsStill => "Another sweep over the factors changes nothing.".into(),
            StopReason::Fell => {
                "A sweep over the factors lowered the bound, as only rounding can: the factors are those of the sweep before.".into()
            }
            StopReason::AtMode => "The climb ended at a mode.".into(),
            StopReason::PathsEnded => "The best normal on the paths to the modes was taken.".into(),
            StopReason::Indefinite => {
                "The climb did not end at a maximum with a curvature: the posterior is flat there, or has a ridge or an edge.".into()
            }
            StopReason::Drifting => "The average of the iterates still moved at the last step.".into(),
        }
    }
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.sentence())
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum FitError {
    /// The log joint is not finite at any start; this is a point (in the target's order) where it is not.
    NonFiniteStart { theta: Vec<f64>, start: usize },
    /// The sampler cannot move: the log joint does not change with this coordinate.
    Flat { name: String },
    /// The sampler gave up, with its own words.
    Sampler { reason: String },
    /// The checkpoint cannot be written, or is not one of this fit.
    Checkpoint(CheckpointError),
}

impl fmt::Display for FitError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            FitError::NonFiniteStart { .. } => f.write_str("the log joint is not finite at any starting point"),
            FitError::Flat { name } => write!(f, "the log joint does not change with `{name}`"),
            FitError::Sampler { reason } => write!(f, "the sampler gave up: {reason}"),
            FitError::Checkpoint(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for FitError {}

impl Fit {
    /// `n` independent draws from the guide, row-major, `n × dim`.
    pub fn sample(&self, n: usize, seed: u64) -> Vec<f64> {
        self.approximation.sample("posterior draws", n, seed)
    }

    /// Starts that ended in another place that is nearly as good: within 5 nats, but more than half a posterior standard
    /// deviation away in some mean. The posterior may have several modes.
    pub fn dissenting_starts(&self) -> Vec<&StartSummary> {
        let best = self.starts.iter().filter(|s| s.distance == 0.0).map(|s| s.objective).fold(f64::INFINITY, f64::min);
        self.starts.iter().filter(|s| s.converged && s.objective < best + 5.0 && s.distance > 0.5).collect()
    }

    /// Draws from the reported guide and from those of the dissenting starts, about `n` in all and as many from each;
    /// `None` if no start dissents.
    pub(super) fn sample_everywhere(&self, n: usize, seed: u64) -> Option<Vec<f64>> {
        let dissent = self.dissenting_starts();
        let elsewhere: Vec<&Arc<dyn Approximation>> =
            self.others.iter().filter(|o| dissent.iter().any(|d| d.start == o.0)).map(|o| &o.1).collect();
        if elsewhere.is_empty() {
            return None;
        }
        let each = n.div_ceil(1 + elsewhere.len());
        let all = std::iter::once(&self.approximation).chain(elsewhere);
        Some(all.flat_map(|s| s.sample("draws of every start", each, seed)).collect())
    }

    /// Standard deviation of each coordinate under the approximation; 0 for points.
    pub fn sds(&self) -> &[f64] {
        self.approximation.sds()
    }
}
