//! What a look at the data tells that no single cell does: columns that do not vary, cells of plates that no row names.
//! Nothing is wrong with such data; a model may make less of them than its author thinks.

use crate::data::Bound;
use crate::diag::{Code, Diags, counted};
use crate::hir::{Content, Hir, PlateKind, VarKind};

/// Labels that a message lists.
const SHOWN: usize = 6;

/// Warn of columns with one value, and of levels and rows of other tables that never occur.
pub fn contract(hir: &Hir, bound: &Bound, diags: &mut Diags) {
    for table in &hir.tables {
        let rows = bound.plate(table.plate);
        if rows.size < 2 {
            continue;
        }
        for &column in &table.columns {
            let (var, Some(values)) = (hir.var(column), bound.values.get(&column)) else { continue };
            let VarKind::Column(declared) = &var.kind else { continue };
            if matches!(declared.content, Content::Key) || values.dims.len() != 1 {
                continue;
            }
            let mut known = values.numbers.iter().copied().filter(|v| !v.is_nan());
            if let Some(first) = known.next()
                && known.all(|v| v == first)
            {
                let said = match declared.content {
                    Content::Index(plate) => {
                        bound.plate(plate).labels.get(first as usize).map_or(String::new(), |l| format!("\"{l}\""))
                    }
                    Content::Bool => if first == 0.0 { "false" } else { "true" }.to_owned(),
                    Content::Real | Content::Int | Content::Key | Content::Date => format!("{first}"),
                };
                diags.push(
                    Code::CONSTANT_COLUMN
                        .at(var.span, format!("`{}` is {said} in every row", var.name))
                        .here("does not vary")
                        .place(format!("{}: {}", rows.file, counted(rows.size, "row")))
                        .help("what it is multiplied with cannot be told from an intercept; see whether the file is the right one"),
                );
                continue;
            }
            let Content::Index(plate) = declared.content else { continue };
            let cells = bound.plate(plate);
            // Levels that are found in the data occur in them.
            let other = match &hir.plate(plate).kind {
                PlateKind::Levels { fixed: Some(_), .. } => "levels",
                PlateKind::Rows(_) => "rows",
                _ => continue,
            };
            let mut occurs = vec![false; cells.size];
            let positions = values.numbers.iter().filter(|v| !v.is_nan());
            positions.for_each(|v| occurs.iter_mut().skip(*v as usize).take(1).for_each(|o| *o = true));
            let never: Vec<&str> = (0..cells.size).filter(|i| !occurs[*i]).map(|i| cells.labels[i].as_str()).collect();
            if never.is_empty() {
                continue;
            }
            let shown: Vec<String> = never.iter().take(SHOWN).map(|l| format!("\"{l}\"")).collect();
            let more = if never.len() > SHOWN { ", …" } else { "" };
            diags.push(
                Code::LEVEL_NEVER_SEEN
                    .at(
                        var.span,
                        format!(
                            "{} of the {} {other} of `{}` occur in no row of `{}`",
                            never.len(),
                            cells.size,
                            hir.plate(plate).name,
                            table.name
                        ),
                    )
                    .here("names the others")
                    .note(format!("never: {}{more}", shown.join(", ")))
                    .help("a latent per cell is then told by its prior alone there; see whether the labels are spelt alike"),
            );
        }
    }
}
