//! Drawing from a model instead of fitting it: data sets from the prior predictive, and predictions from the draws of a
//! fit.

mod computed;
mod csv;
mod discrete;
mod draw;
mod generate;
mod invert;
mod predict;
mod tables;
mod together;

pub use computed::Computed;
pub use csv::{Csv, number};
pub use discrete::draw_discrete;
pub use draw::{Drawn, Given, draw};
pub use generate::{Generated, Generator};
pub use predict::{Prediction, Predictor};
pub use tables::{Rows, Simulation, cell_names, simulate, write};
pub use together::{Together, in_own_lines, lacking, needed, together};

use crate::diag::{Code, Diagnostic};
use crate::hir::{Hir, Step, VarId};
use crate::source::Span;

/// The columns that the model observes, as they are or by a function that has an inverse, each with the place of its `observe`.
pub fn observed(hir: &Hir) -> Vec<(VarId, Span)> {
    let target = |s: &Step| match s {
        Step::Observe { target, span, .. } => Some((column(hir, target)?, *span)),
        _ => None,
    };
    hir.steps.iter().filter_map(target).collect()
}

/// Statements that give nothing to draw.
fn undrawable(hir: &Hir) -> Vec<Diagnostic> {
    let said = |s: &Step| match s {
        Step::Observe { target, .. } if column(hir, target).is_none() => Some(
            Code::CANNOT_SIMULATE
                .at(target.span, "this observation is of an expression that cannot be solved for one column")
                .here("which data would give this value?")
                .help("observe the column itself, or a function of its own cell that has an inverse, such as `log(y)`"),
        ),
        Step::Factor { span, .. } => Some(
            Code::CANNOT_SIMULATE
                .at(*span, "a `factor` changes the joint density, and gives nothing to draw")
                .here("not a distribution")
                .help("state it as a prior or an `observe`"),
        ),
        Step::Observe { .. } | Step::Latent { .. } | Step::Param { .. } | Step::Let { .. } => None,
    };
    hir.steps.iter().filter_map(said).collect()
}

/// The column that an observed value gives, cell by cell.
pub fn column(hir: &Hir, target: &crate::hir::Expr) -> Option<VarId> {
    invert::solve(hir, target).map(|s| s.column)
}
