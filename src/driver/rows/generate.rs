//! New rows, drawn or as expected given their latents.

use std::collections::HashMap;

use super::encode::expectations;
use crate::data::{DataFile, Inputs};
use crate::diag::{Code, Diags};
use crate::hir::{Hir, VarId};
use crate::simulate::{Generated, Generator};

/// What rows are generated from.
pub struct Source<'a> {
    pub hir: &'a Hir,
    pub fitted: &'a Inputs,
    /// A file with covariates, if the model needs any.
    pub new: &'a [DataFile],
    pub posterior: &'a HashMap<String, Vec<f64>>,
    pub seed: u64,
}

/// Generate so many rows, by default 100; a file with covariates has as many as are generated. `expected`: observed columns as expected given the latents, not drawn.
pub fn generate(source: &Source<'_>, rows: Option<usize>, expected: bool, diags: &mut Diags) -> Option<Generated> {
    let mut hir = source.hir.clone();
    let mut instead: Vec<(VarId, VarId)> = vec![];
    if expected {
        for plate in source.hir.tables.iter().map(|t| t.plate) {
            instead.extend(expectations(&mut hir, plate).into_iter().filter_map(|(c, m)| Some((c, m?))));
        }
        if instead.is_empty() {
            diags.push(no_expectation());
            return None;
        }
    }
    let Source { fitted, new, posterior, seed, .. } = *source;
    Generator { hir: &hir, fitted, new, posterior, rows, instead: &instead, seed }.generate(diags)
}

/// Nothing to show in the place of what is observed.
pub(super) fn no_expectation() -> crate::diag::Diagnostic {
    Code::NO_EXPECTATION
        .plain("no observed column has an expected value given the latents")
        .help("distributions with a mean are listed in docs/library.md; what depends on discrete latents has none here")
}
