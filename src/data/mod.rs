//! Data in: CSV files, checked against what the model declares, bound to its plates.

mod assign;
pub mod bound;
mod cells;
mod eval;
mod header;
mod inputs;
mod observed;
mod order;
mod ranges;
mod resolve;
mod sets;
mod sheet;
#[cfg(test)]
mod tests;

pub use bound::{Bound, PlateData, Values};
pub use inputs::{DataFile, Inputs};

use crate::diag::{Diags, Severity};
use crate::hir::Hir;

/// Read the data files, check every declared cell, and give every plate its size and labels.
/// `None` when something was wrong: `diags` then says what, for all files at once.
pub fn bind(hir: &Hir, inputs: &Inputs, diags: &mut Diags) -> Option<Bound> {
    let errors = |diags: &Diags| diags.list.iter().filter(|d| d.severity == Severity::Error).count();
    let before = errors(diags);

    let sets = sets::read(hir, &inputs.sets, diags);
    let files = assign::files(hir, &inputs.files, diags);
    let sheets: Vec<_> = hir.tables.iter().zip(files).map(|(t, file)| sheet::read(hir, t, file?, diags)).collect();
    // Sizes and labels are resolved even after errors, so that cells are checked against them in the same run.
    let known = resolve::resolve(hir, &sheets, &sets, diags);
    ranges::check(hir, &known, &sheets, diags);
    if errors(diags) > before {
        return None;
    }
    observed::check(hir, &known, &sheets, diags);
    if errors(diags) > before {
        return None;
    }
    known.finish(hir, diags)
}
