//! Data in: CSV, JSON, Parquet and Arrow files, checked against what the model declares, bound to its plates.

mod assign;
pub mod binarised;
pub mod bound;
mod cells;
pub mod columnar;
mod contract;
mod cuts;
mod edges;
mod eval;
mod header;
mod inputs;
mod json;
mod observed;
mod order;
pub mod pieces;
mod ranges;
mod resolve;
mod scales;
mod sets;
mod sheet;
mod start;
#[cfg(test)]
mod tests;
mod values;

pub use bound::{Bound, PlateData, Values};
pub use contract::contract;
pub use inputs::{DataFile, Inputs};
pub use json::is_json;
pub use resolve::sort_levels;
pub use scales::scales;

use crate::diag::{Diags, Severity};
use crate::hir::Hir;

/// Read the data files, check every declared cell, and give every plate its size and labels.
/// `None` when something was wrong: `diags` then says what, for all files at once.
pub fn bind(hir: &Hir, inputs: &Inputs, diags: &mut Diags) -> Option<Bound> {
    bind_piece(hir, inputs, ("", 0), &mut Default::default(), diags)
}

/// The same where a file is a piece of a larger one: so many lines stand between its header and its rows, and what the pieces before it
/// have drawn.
pub fn bind_piece(
    hir: &Hir,
    inputs: &Inputs,
    (piece, skipped): (&str, u64),
    drawn: &mut binarised::Streams,
    diags: &mut Diags,
) -> Option<Bound> {
    let errors = |diags: &Diags| diags.list.iter().filter(|d| d.severity == Severity::Error).count();
    let before = errors(diags);

    let sets = sets::read(hir, &inputs.sets, diags);
    // A JSON file without a table gives keys to everything that no other file holds.
    let (keys, files): (Vec<&DataFile>, Vec<&DataFile>) =
        inputs.files.iter().partition(|f| f.table.is_none() && json::is_json(f));
    let given = keys.len();
    let keys: Vec<_> = keys.into_iter().filter_map(|f| json::read(f, diags)).collect();
    values::repeated(&keys, diags);
    if keys.len() < given {
        return None; // what such a file may hold cannot be missed
    }
    let files = assign::files(hir, &files, given > 0, diags);
    let mut sheets = vec![];
    for (table, file) in hir.tables.iter().zip(files) {
        let before = file.map_or(0, |f| if f.name == piece { skipped } else { 0 });
        sheets.push(match file {
            Some(file) if json::is_json(file) => {
                json::read(file, diags).and_then(|keys| sheet::from_keys(hir, table, &keys, diags))
            }
            Some(file) if columnar::is_columnar(file) => sheet::from_frame(hir, table, file, before, diags),
            Some(file) => sheet::read(hir, table, file, before, diags),
            None => assign::keys(hir, table, &keys, diags).and_then(|keys| sheet::from_keys(hir, table, keys, diags)),
        });
    }
    // Sizes and labels are resolved even after errors, so that cells are checked against them in the same run.
    let known = resolve::resolve(hir, &sheets, &sets, &keys, diags);
    ranges::check(hir, &known, &sheets, diags);
    if errors(diags) > before {
        return None;
    }
    cuts::check(hir, &known, diags);
    observed::check(hir, &known, &sheets, diags);
    if errors(diags) > before {
        return None;
    }
    let edges = edges::edges(hir, &known);
    let mut bound = known.finish(hir, diags)?;
    binarised::draw(hir, &mut bound, drawn);
    Some(Bound { edges, ..bound })
}
