//! The order in which a walk visits the rows of its plate.

use super::bound::Values;
use super::resolve::Resolved;
use crate::diag::{Code, Diags};
use crate::hir::{Hir, OrderPart, VarId, WalkId};

/// One part of a walk's order; `None` while its columns are not known, `Some(None)` if rows cannot be ordered (said once,
/// with the first part).
pub fn order(hir: &Hir, walk: WalkId, part: OrderPart, known: &Resolved, diags: &mut Diags) -> Option<Option<Values>> {
    let walk = &hir.walks[walk.0 as usize];
    let plate = known.plate(walk.plate)?;
    let column = |var: Option<VarId>| match var {
        None => Some(None),
        Some(var) => Some(Some(known.values.get(&var)?.numbers.clone())),
    };
    let (group, along) = (column(walk.by)?, column(walk.along)?);
    let key = |numbers: &Option<std::sync::Arc<[f64]>>, row: usize| numbers.as_ref().map_or(0.0, |n| n[row]);
    let mut rows: Vec<usize> = (0..plate.size).collect();
    // Stable: without `along`, the rows of a group keep their order in the file.
    rows.sort_by(|&a, &b| key(&group, a).total_cmp(&key(&group, b)).then(key(&along, a).total_cmp(&key(&along, b))));
    let same_group = |pair: &[usize]| key(&group, pair[0]) == key(&group, pair[1]);
    let ties: Vec<&[usize]> = match along {
        None => vec![],
        Some(_) => rows.windows(2).filter(|p| same_group(p) && key(&along, p[0]) == key(&along, p[1])).collect(),
    };
    if let Some(&[first, second]) = ties.first() {
        if part == OrderPart::Rows {
            let name = |var: Option<VarId>| var.map_or(String::new(), |v| hir.var(v).name.clone());
            let within = match walk.by {
                Some(_) => format!(" within a `{}`", name(walk.by)),
                None => String::new(),
            };
            let mut d = Code::WALK_TIES
                .at(
                    walk.span,
                    format!("two rows have the same `{}`{within}: which comes first is not known", name(walk.along)),
                )
                .here("walked in this order");
            for row in [first, second] {
                if let Some(line) = plate.lines.get(*row) {
                    d = d.place(format!("{}:{line}", plate.file));
                }
            }
            if ties.len() > 1 {
                d = d.note(format!("{} pairs of rows are tied; these are the first", ties.len()));
            }
            diags.push(match walk.by {
                Some(_) => d.help("give each row a value of its own, or remove `along` to keep the order of the file"),
                None => d.help(
                    "walk each group by itself, `by` its column, or remove `along` to keep the order of the file",
                ),
            });
        }
        return Some(None);
    }
    let mut numbers = vec![0.0; rows.len()];
    let mut step = 0.0;
    for (rank, &row) in rows.iter().enumerate() {
        step = if rank > 0 && same_group(&rows[rank - 1..=rank]) { step + 1.0 } else { 0.0 };
        match part {
            OrderPart::Rows => numbers[rank] = row as f64,
            OrderPart::Ranks => numbers[row] = rank as f64,
            OrderPart::Steps => numbers[row] = step,
        }
    }
    Some(Some(Values { dims: vec![numbers.len()], numbers: numbers.into() }))
}
