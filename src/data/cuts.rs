//! Cutpoints and the levels that they separate, compared once the sizes of their plates are known.

use super::resolve::Resolved;
use crate::diag::{Code, Diags};
use crate::hir::{Hir, PlateId};

/// One cutpoint fewer than levels: others would belong to no level, or leave levels without an end.
pub fn check(hir: &Hir, known: &Resolved, diags: &mut Diags) {
    let size = |p: PlateId| known.plate(p).map(|p| p.size);
    for c in &hir.cuts {
        let (Some(cells), Some(cuts)) = (size(c.cells), size(c.cutpoints)) else { continue };
        if cuts + 1 == cells {
            continue;
        }
        let (of, by) = (hir.plate(c.cells), hir.plate(c.cutpoints));
        let said = if cuts == 1 { "1 cutpoint".to_string() } else { format!("{cuts} cutpoints") };
        let d = Code::DATA_CUTPOINTS
            .at(c.span, format!("`{}` is given {said}, and `{}` has {cells} levels", c.name, of.name))
            .here(format!("one value per cell of `{}`", by.name))
            .label(of.span, format!("{cells} levels"))
            .label(by.span, format!("{cuts} cells"))
            .help(format!("one cutpoint lies between each two levels: `plate {} = size({}) - 1`", by.name, of.name));
        diags.push(d);
    }
}
