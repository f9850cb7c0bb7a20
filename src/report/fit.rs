//! A finished fit as plain data: what every way of printing it starts from.

use std::sync::Arc;

use serde::Serialize;

use super::ReportDiscrete;
use crate::diag::Diagnostic;
use crate::infer::{Choice, Trust, USABLE, Verdict};

/// Everything that is said about one fit. The driver fills it; it knows nothing of how the fit was made.
#[derive(Clone, Debug, Default)]
pub struct FitReport {
    /// The model file as the user typed it.
    pub model: String,
    /// The model and data files with their contents' hashes, as the user typed them.
    pub files: Vec<FileHash>,
    /// The data arguments as the user typed them: `houses=houses.csv`.
    pub data: Vec<String>,
    /// What the fit ran over, for the heading: `8 schools`, `919 houses`.
    pub sizes: Vec<(String, usize)>,
    /// Latents and params in the order declared, then reports.
    pub vars: Vec<ReportVar>,
    /// Weights of nets: a number per cell, the same in every draw.
    pub weights: Vec<ReportVar>,
    /// Params of a written guide, which are no part of the model; likewise.
    pub guide_params: Vec<ReportVar>,
    /// Of latents of rows that a written guide draws: how many units say anything about their rows.
    pub units: Vec<Units>,
    /// Discrete latents, which were summed out.
    pub discrete: Vec<ReportDiscrete>,
    /// How many draws every variable has.
    pub draws: usize,
    /// `meanfield`, `fullrank`; `point` for a mode alone, `none` for a sampler.
    pub guide: String,
    /// `lbfgs`, `adam`, …
    pub method: String,
    /// Of the method and the guide those that the user did not choose, and why.
    pub chosen: Vec<Choice>,
    pub seed: u64,
    /// Every option of the fit with its value, defaults included, for `fit.json`.
    pub options: Vec<(String, String)>,
    /// The guide's lower bound of the log evidence, and its Monte Carlo standard error; a sampler has none.
    pub elbo: Option<(f64, f64)>,
    /// Shape of the importance weights' tail (Pareto k-hat); not a number if they were not computed.
    pub k_hat: f64,
    /// Where the draws come from, in words.
    pub draws_from: String,
    /// What the spread of the draws rests on, before they were weighed or moved: `guide`, `linear response`; nothing for a
    /// sampler.
    pub sds: String,
    pub converged: bool,
    /// Why the fit stopped: one sentence.
    pub stop_reason: String,
    /// Evaluations of the log joint with its gradient.
    pub gradients: u64,
    /// The same with those spent on weighing and testing the draws.
    pub evaluations: u64,
    /// Chains that the draws belong to, one after the other and of the same length; 0 without a sampler.
    pub chains: usize,
    /// How far to trust the draws.
    pub verdict: Option<Verdict>,
    /// The posterior's modes, where the starts found several.
    pub modes: Vec<ReportMode>,
    /// Print intervals that are not to be trusted.
    pub forced: bool,
    pub seconds: f64,
    /// Latents that are fitted as location + scale · noise, and why: what the user asked for, or the compiler chose.
    pub noncentred: Vec<(String, String)>,
    /// Latents that were integrated out, and drawn given the rest: how.
    pub collapsed: Vec<(String, String)>,
    /// Sentences that the reader should see before the numbers: non-finite evaluations, starts that disagree.
    pub doubts: Vec<String>,
    /// Shown once, beside the report.
    pub warnings: Vec<Diagnostic>,
    pub trace: Trace,
}

/// The cells that one row has of a latent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Units {
    pub latent: String,
    pub active: usize,
    pub of: usize,
    /// Of each unit: the variance over the rows of its mean given the row.
    pub variances: Vec<f64>,
}

/// A mode of the posterior, and where it lies.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReportMode {
    /// Its share of the posterior, and the standard error of that.
    pub weight: f64,
    pub error: f64,
    /// Of the importance weights that gave its share.
    pub k_hat: f64,
    /// The scalars by which the modes differ most.
    pub at: Vec<ModeAt>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModeAt {
    pub name: String,
    pub mean: f64,
    pub sd: f64,
}

impl ReportMode {
    /// Whether its weight can be relied on.
    pub fn stable(&self) -> bool {
        self.k_hat < USABLE
    }
}

/// A file that went into a fit.
#[derive(Clone, Debug, PartialEq)]
pub struct FileHash {
    pub name: String,
    /// 64 hexadecimal digits.
    pub sha256: String,
}

/// One variable of the model with its draws.
#[derive(Clone, Debug)]
pub struct ReportVar {
    pub name: String,
    pub kind: ReportKind,
    /// One per dimension, in the order written; none for a scalar.
    pub dims: Vec<Dim>,
    /// Draw `d` of cell `c` is at `c * draws + d`; cells in the order of [`crate::data::Values`], first dimension fastest.
    pub draws: Vec<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportKind {
    Latent,
    Param,
    Let,
    Report,
}

/// A dimension of a reported variable.
#[derive(Clone, Debug)]
pub struct Dim {
    pub plate: String,
    pub labels: Arc<[String]>,
}

/// How the fit went, step by step: one row per step, as many numbers as columns.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<f64>>,
}

impl FitReport {
    /// Whether it is the mode alone: a point, without uncertainty.
    pub fn is_point(&self) -> bool {
        self.guide == "point"
    }

    /// Whether sds and quantiles are kept back: the verdict does not cover them.
    pub fn withheld(&self) -> bool {
        self.is_point() || !self.forced && self.verdict.as_ref().is_some_and(|v| v.trust < Trust::Trust)
    }
}

impl ReportVar {
    /// How many scalars it holds.
    pub fn cells(&self) -> usize {
        self.dims.iter().map(|d| d.labels.len()).product()
    }

    /// The draws of one cell.
    pub fn cell(&self, cell: usize, draws: usize) -> &[f64] {
        &self.draws[cell * draws..(cell + 1) * draws]
    }

    /// Labels of one cell, one per dimension.
    pub fn labels(&self, cell: usize) -> Vec<&str> {
        labels(&self.dims, cell)
    }

    /// The name of one cell as the user reads it: `tau`, `theta[Choate]`, `u[3, slope]`.
    pub fn cell_name(&self, cell: usize) -> String {
        cell_name(&self.name, &self.dims, cell)
    }
}

/// Labels of one cell of a variable with these dimensions.
pub(super) fn labels(dims: &[Dim], cell: usize) -> Vec<&str> {
    let mut rest = cell;
    let label = |d: &'_ Dim| {
        let i = rest % d.labels.len();
        rest /= d.labels.len();
        i
    };
    let positions: Vec<usize> = dims.iter().map(label).collect();
    dims.iter().zip(positions).map(|(d, i)| d.labels[i].as_str()).collect()
}

pub(super) fn cell_name(name: &str, dims: &[Dim], cell: usize) -> String {
    if dims.is_empty() { name.to_string() } else { format!("{name}[{}]", labels(dims, cell).join(", ")) }
}
