//! What a fit is asked to do and what it says while it runs.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use super::kept::Checkpoint;
use super::result::StopReason;

/// The family of guides, on the unconstrained scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuideKind {
    /// Independent normals.
    MeanField,
    /// One multivariate normal.
    FullRank,
    /// One normal whose covariance is a diagonal plus so many directions.
    LowRank(usize),
    /// Normals at up to so many distinct modes.
    Mixture(usize),
    /// One normal bent by so many coupling layers.
    Flow(usize),
}

impl GuideKind {
    /// As written after `guide`: `fullrank`, `lowrank(10)`.
    pub fn parse(text: &str) -> Option<GuideKind> {
        let (name, size) = match text.split_once('(') {
            None => (text, None),
            Some((name, rest)) => (name, Some(rest.strip_suffix(')')?.trim().parse().ok().filter(|k| *k > 0)?)),
        };
        match (name.trim(), size) {
            ("meanfield", None) => Some(GuideKind::MeanField),
            ("fullrank", None) => Some(GuideKind::FullRank),
            ("lowrank", Some(k)) => Some(GuideKind::LowRank(k)),
            ("flow", Some(k)) => Some(GuideKind::Flow(k)),
            ("mixture", Some(k)) if k > 1 => Some(GuideKind::Mixture(k)),
            _ => None,
        }
    }
}

impl fmt::Display for GuideKind {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            GuideKind::MeanField => f.write_str("meanfield"),
            GuideKind::FullRank => f.write_str("fullrank"),
            GuideKind::LowRank(k) => write!(f, "lowrank({k})"),
            GuideKind::Mixture(k) => write!(f, "mixture({k})"),
            GuideKind::Flow(k) => write!(f, "flow({k})"),
        }
    }
}

/// How a posterior is approximated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// What the model asks for: chosen by the driver. To a fit itself the same as `Lbfgs`.
    Auto,
    /// L-BFGS on the lower bound over fixed draws: deterministic, converges to a gradient tolerance.
    Lbfgs,
    /// Stochastic Adam on the lower bound, with fresh draws each step.
    Adam,
    /// A normal by the mode and the curvature there.
    Laplace,
    /// The mode alone, without spread.
    Map,
    /// The best of the normals on the way to a mode.
    Pathfinder,
    /// A normal whose scores match the posterior's.
    Bam,
    /// As Adam, by the score function: no gradients of the log joint by latents.
    Score,
    /// As Adam, on the importance-weighted bound.
    Iwae,
    /// As Adam, on the inclusive divergence KL(p ‖ q).
    ForwardKl,
    /// Factors in closed form, one after the other.
    Cavi,
    /// The same for params: the point that maximises the likelihood, or its lower bound.
    Em,
    /// No guide at all: the No-U-Turn sampler, as a referee.
    Nuts,
}

impl Method {
    /// As a model writes it, where it means something for batches.
    pub fn in_model(self) -> Option<&'static str> {
        match self {
            Method::Iwae => Some("iwae"),
            Method::ForwardKl => Some("forward_kl"),
            Method::Adam => Some("adam"),
            Method::Cavi => Some("cavi"),
            Method::Em => Some("em"),
            _ => None,
        }
    }

    /// As the user writes it.
    pub fn name(self) -> &'static str {
        match self {
            Method::Auto => "auto",
            Method::Lbfgs => "lbfgs",
            Method::Adam => "adam",
            Method::Laplace => "laplace",
            Method::Map => "map",
            Method::Pathfinder => "pathfinder",
            Method::Bam => "bam",
            Method::Score => "score",
            Method::Iwae => "iwae",
            Method::ForwardKl => "forward-kl",
            Method::Cavi => "cavi",
            Method::Em => "em",
            Method::Nuts => "nuts",
        }
    }
}

/// How Adam takes the lower bound's gradient along the paths of its draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathGradient {
    /// With the guide's entropy in closed form.
    ClosedEntropy,
    /// Without the guide's score: no variance where the guide is the posterior.
    StickingTheLanding,
}

/// Something that was chosen for the user.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Choice {
    /// `method`, `guide`
    pub what: &'static str,
    /// `lbfgs`
    pub value: String,
    /// In a few words.
    pub why: String,
    /// In a sentence or two.
    pub more: String,
}

#[derive(Clone, Debug)]
pub struct FitOptions {
    pub guide: GuideKind,
    pub method: Method,
    pub seed: u64,
    /// Starting points: the first is 0, the others uniform on (-2, 2).
    pub starts: usize,
    /// The results have the same bits for any number.
    pub threads: usize,
    /// On the largest gradient component, in units of the guide's own standard deviations.
    pub tolerance: f64,
    /// Per stage.
    pub max_iterations: usize,
    /// Evaluations of the log joint's gradient, all stages together.
    pub max_gradients: Option<usize>,
    /// Draws in the last stage. By default chosen by dimension and guide, and doubled until the means' Monte Carlo error
    /// is small. A full-rank guide takes at least two per coordinate: with fewer its lower bound has no maximum.
    pub draws: Option<usize>,
    /// Draws that are weighed together by `Iwae` and `ForwardKl`.
    pub importance_samples: Option<usize>,
    pub path_gradient: PathGradient,
    /// Whether the guide could bend itself to any fixed set of draws, so that each step needs fresh ones.
    pub fresh_draws: bool,
    /// Draws for the reported lower bound.
    pub elbo_draws: usize,
    /// Stochastic methods: the first step length, in units of the guide's standard deviations, and the number of steps.
    pub learning_rate: f64,
    pub steps: usize,
    /// Of the method and the guide those that the user did not choose; for the report.
    pub chosen: Vec<Choice>,
    /// Whether what integrates out exactly is not fitted.
    pub collapse: bool,
    /// What the method does not see of this model; for the report.
    pub doubt: Option<String>,
    /// Set to true from elsewhere to end the fit early.
    pub cancel: Option<Arc<AtomicBool>>,
    /// Where to keep what is needed to go on after an interruption. The sampler keeps nothing.
    pub checkpoint: Option<Checkpoint>,
}

impl FitOptions {
    /// Whether somebody asked for an end.
    pub fn interrupted(&self) -> bool {
        self.cancel.as_ref().is_some_and(|c| c.load(Ordering::Relaxed))
    }

    /// Why the fit must end after so many gradients, if it must.
    pub fn halt(&self, gradients: usize) -> Option<StopReason> {
        if self.interrupted() {
            Some(StopReason::Cancelled)
        } else {
            self.max_gradients.is_some_and(|max| gradients >= max).then_some(StopReason::Gradients)
        }
    }
}

impl Default for FitOptions {
    fn default() -> Self {
        FitOptions {
            guide: GuideKind::MeanField,
            method: Method::Lbfgs,
            seed: 1,
            starts: 4,
            threads: 1,
            tolerance: 1e-3,
            max_iterations: 1000,
            max_gradients: None,
            draws: None,
            importance_samples: None,
            path_gradient: PathGradient::ClosedEntropy,
            fresh_draws: false,
            elbo_draws: 1024,
            learning_rate: 0.1,
            steps: 10_000,
            chosen: vec![],
            collapse: false,
            doubt: None,
            cancel: None,
            checkpoint: None,
        }
    }
}

/// Parts of a fit, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// From each start, loosely.
    Explore,
    /// The best start, in coordinates whitened by the posterior's curvature.
    Whiten,
    /// The other starts in the same coordinates, to see whether they agree.
    Compare,
    /// To the requested tolerance, on many draws.
    Refine,
    /// Stochastic steps.
    Adam,
    /// Transitions of the sampler.
    Nuts,
    /// Climbing to a mode.
    Mode,
    /// The same, for what lies on the way.
    Pathfinder,
    /// Matching scores.
    Bam,
    /// Stochastic steps that bend a normal.
    Flow,
    /// Sweeps over factors in closed form.
    Ascent,
}

impl Stage {
    pub fn name(self) -> &'static str {
        match self {
            Stage::Explore => "explore",
            Stage::Whiten => "whiten",
            Stage::Compare => "compare",
            Stage::Refine => "refine",
            Stage::Adam => "adam",
            Stage::Nuts => "nuts",
            Stage::Mode => "mode",
            Stage::Pathfinder => "pathfinder",
            Stage::Bam => "bam",
            Stage::Flow => "flow",
            Stage::Ascent => "ascent",
        }
    }
}

/// One iteration, as reported while running and kept in the trace.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Progress {
    pub stage: Stage,
    pub start: usize,
    pub iteration: usize,
    /// Gradients of the log joint so far.
    pub gradients: usize,
    /// The negative lower bound over this stage's draws. Stages use different draws.
    pub objective: f64,
    pub gradient_norm: f64,
    pub seconds: f64,
}
