//! Fits in minibatches: the model compiled for a batch of rows, its data given anew at each step.

mod compile;
mod discrete;
mod draws;
mod feed;
mod fit;
mod kin;
mod options;
mod pieces;
mod statistics;
mod store;
mod trouble;
mod weights;

use std::sync::Arc;

use crate::hir::{FitValue, Hir, PlateId, VarId};
use crate::infer::batches::{Kin, Part};
use crate::lower::Feed;
use crate::lower::graph::BufId;
use crate::run::Model;
use crate::source::Span;
pub use compile::{Small, compile, expected, probes};
pub(in crate::driver) use discrete::describe_discrete;
pub(in crate::driver) use draws::describe_draws;
pub use feed::Feeding;
use feed::{Mask, Whole};
pub(in crate::driver) use fit::done;
pub use fit::fit;
pub use kin::Kinship;
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
    /// Plates whose rows come with these, and how many rows they have.
    pub along: Vec<(PlateId, usize)>,
    pub kin: Arc<Kin>,
    /// Whether the rows are, or else on disk.
    in_memory: bool,
    /// Numbers of the whole table, by feed of the layout.
    whole: Vec<Whole>,
    masks: Vec<Mask>,
    /// What the divergence of the guide from the prior is multiplied by, and from where on it counts.
    softened: [Option<Feed>; 2],
    parts: Vec<Part>,
    /// Reports that sum to the log joint of each row with what belongs to it, where a guide is written that may draw for rows; by the
    /// number of the plate that they run over.
    scores: Vec<(usize, BufId)>,
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
    /// By plate of the batch, where something there differs from draw to draw.
    weights: Vec<Option<Feed>>,
    slopes: Vec<Option<Feed>>,
    /// These sum to the log joint of each draw, as those of one draw do.
    scores: Vec<(usize, BufId)>,
}

impl Batches {
    /// The dimension of a variable that runs over rows of the batch, and over which: 0 for those of its own plate, else those of the
    /// plates that come along.
    pub fn dim(&self, hir: &Hir, var: VarId) -> Option<(usize, usize)> {
        let level = |p: PlateId| self.plates().position(|own| own.0 == p);
        hir.var(var).axes.iter().enumerate().find_map(|(d, a)| Some((d, level(hir.axis(*a).plate)?)))
    }

    /// All plates of a batch with the sizes of the whole, its own first.
    pub fn plates(&self) -> impl Iterator<Item = (PlateId, usize)> {
        std::iter::once((self.plate, self.total)).chain(self.along.iter().copied())
    }
}

/// The `batch` of a model: the plate, how many rows, and where it is asked for.
pub fn asked(hir: &Hir) -> Option<(PlateId, usize, Span)> {
    hir.fit.iter().find_map(|o| match o.value {
        FitValue::Batch(plate, rows) => Some((plate, rows, o.span)),
        _ => None,
    })
}
