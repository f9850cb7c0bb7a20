//! Fits in minibatches: the model compiled for a batch of rows, its data given anew at each step.

mod compile;
mod draws;
mod feed;
mod fit;
mod options;
mod pieces;
mod store;
mod trouble;
mod weights;

use crate::hir::{FitValue, Hir, PlateId, TableId};
use crate::infer::batches::Part;
use crate::lower::Feed;
use crate::lower::graph::BufId;
use crate::run::Model;
use crate::source::Span;
pub use compile::{Small, compile, expected};
pub(in crate::driver) use draws::describe_draws;
pub use feed::Feeding;
use feed::{Mask, Whole};
pub use fit::fit;
pub(in crate::driver) use options::plan;
pub use options::{in_closed_form, refused};
pub use pieces::keep;
pub use weights::add_scores;

/// What a compiled model has besides, if it is fitted in batches.
pub struct Batches {
    pub plate: PlateId,
    /// Rows of a batch, and of the table.
    pub rows: usize,
    pub total: usize,
    /// Numbers of the whole table, by feed of the layout.
    whole: Vec<Whole>,
    masks: Vec<Mask>,
    /// What the divergence of the guide from the prior is multiplied by, and from where on it counts.
    softened: [Option<Feed>; 2],
    parts: Vec<Part>,
    /// Reports that sum to the log joint of each row, where a guide is written that may draw for rows.
    scores: Vec<BufId>,
    /// If draws of rows are weighed against each other, the model with all of them, which the fit steps by.
    weighed: Option<Box<Weighed>>,
    /// In that model: what its draws are given, and say.
    draws: Option<Draws>,
}

/// A model with several draws per row.
struct Weighed {
    model: Model,
    batches: Batches,
}

struct Draws {
    weights: Feed,
    slopes: Option<Feed>,
    /// These sum to the log joint of each draw.
    scores: Vec<BufId>,
}

/// The `batch` of a model: the table, how many rows, and where it is asked for.
pub fn asked(hir: &Hir) -> Option<(TableId, usize, Span)> {
    hir.fit.iter().find_map(|o| match o.value {
        FitValue::Batch(table, rows) => Some((table, rows, o.span)),
        _ => None,
    })
}
