//! Columns of probabilities whose cells are drawn to 0 or 1.

use std::collections::HashMap;

use super::Values;
use super::bound::Bound;
use crate::hir::{Hir, VarId};
use crate::infer::Stream;

/// Where the numbers of columns stand that are read piece by piece.
#[derive(Default)]
pub struct Streams(HashMap<(VarId, usize), Stream>);

/// Draw the cells of binarised columns, by their row and field: the same each time, whatever rows stand below. Their probabilities are kept for
/// fits that draw anew.
pub fn draw(hir: &Hir, bound: &mut Bound, streams: &mut Streams) {
    for id in &hir.binarised {
        let Some(shades) = bound.values.remove(id) else { continue };
        let rows = shades.dims.first().copied().unwrap_or(0).max(1);
        let mut numbers = shades.numbers.to_vec();
        for (field, cells) in numbers.chunks_mut(rows).enumerate() {
            let stream = streams.0.entry((*id, field)).or_insert_with(|| Stream::numbered(1, "binarised", field));
            cells.iter_mut().for_each(|x| *x = binary(*x, stream.uniform()));
        }
        bound.values.insert(*id, Values { dims: shades.dims.clone(), numbers: numbers.into() });
        bound.shades.insert(*id, shades);
    }
}

/// 1 with probability `p`; a cell that is missing stays so.
pub fn binary(p: f64, uniform: f64) -> f64 {
    if p.is_nan() { p } else { f64::from(u8::from(uniform < p)) }
}
