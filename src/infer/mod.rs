//! Fitting: estimator × family × optimiser, over a [`Target`].

mod adam;
mod approximation;
pub mod batches;
mod discrete;
mod draws;
mod drift;
mod engine;
pub mod estimator;
mod frame;
mod gaussian;
mod hamiltonian;
mod importance;
mod journal;
mod lbfgs;
mod linalg;
mod lowrank;
mod metric;
mod mixing;
mod nuts;
mod objective;
mod options;
mod pool;
mod psis;
mod result;
mod rng;
mod stages;
mod target;
#[cfg(test)]
mod tests;
mod verdict;
mod whiten;
mod written;

pub use approximation::Approximation;
pub use discrete::probed;
pub use drift::{Drift, drift};
pub use engine::fit;
pub use importance::{Draws, Origin, USABLE, draws};
pub use journal::{Checkpoint, CheckpointError};
pub use mixing::{Mixing, mixing};
pub use nuts::{Nuts, NutsPlan, nuts};
pub use options::{FitOptions, GuideKind, Method, PathGradient, Progress, Stage};
pub use result::{Fit, FitError, Scale, StartSummary, StopReason};
pub use rng::{Stream, normal_quantile};
pub use target::{Evaluator, Role, Target};
pub use verdict::{Fault, Figures, Remedy, Trust, Verdict, judge, judge_chains};
