//! Statistics of columns that are on disk: the rows are gone through some at a time, in their order, so that the bits are those of a
//! table in memory.

use super::pieces::OnDisk;
use crate::data::{Bound, Values};
use crate::derive::batch::{Level, Statistic};
use crate::derive::joint::{Fold, Joint, Node, NodeId};
use crate::hir::{AxisId, Hir, VarId};
use crate::lower::graph::ReduceOp;
use crate::lower::{self, Folding};

/// Numbers that are evaluated together.
const NUMBERS: usize = 1 << 18;

/// How the rows are reduced, and by which axis; `None` where more than a column is, or some of its rows.
pub(super) fn plain(hir: &Hir, whole: &Joint, statistic: &Statistic, rows: &Level) -> Option<(ReduceOp, AxisId)> {
    let Node::Reduce { op, axes, filter: None, .. } = whole.node(statistic.node) else { return None };
    let op = match op {
        Fold::Sum => ReduceOp::Sum,
        Fold::Prod => ReduceOp::Prod,
        Fold::Min => ReduceOp::Min,
        Fold::Max => ReduceOp::Max,
        Fold::LogSumExp => return None,
    };
    let over = |a: &AxisId| hir.axis(*a).plate == rows.plate;
    let [axis] = axes[..] else { return None };
    (over(&axis) && !statistic.axes.iter().any(over)).then_some((op, axis))
}

/// Compute a statistic. `joint`: in batches, where `body` reads the statistics before it, whose values `bound` has.
pub(super) fn streamed(
    hir: &Hir,
    joint: &Joint,
    bound: &Bound,
    disk: &OnDisk,
    rows: &Level,
    (op, body, axis): (ReduceOp, NodeId, AxisId),
    left: &[AxisId],
) -> Values {
    let dims: Vec<usize> = left.iter().map(|a| bound.size(hir.axis(*a).plate)).collect();
    let cells: usize = dims.iter().product();
    let mut out = vec![Folding::new(op); cells];
    let axes: Vec<AxisId> = left.iter().copied().chain([axis]).collect();
    let widest = disk.stores.values().map(|s| s.width()).max().unwrap_or(1);
    let some = (NUMBERS / widest.max(cells).max(1)).clamp(1, disk.total);
    let mut from = 0;
    while from < disk.total {
        let block: Vec<usize> = (from..disk.total.min(from + some)).collect();
        let here = of_rows(hir, bound, disk, rows, &block);
        let numbers = lower::evaluate(hir, joint, &here, &[(body, &axes)]).remove(0);
        for (i, x) in numbers.iter().enumerate() {
            out[i % cells].add(*x);
        }
        from += block.len();
    }
    Values { dims, numbers: out.into_iter().map(Folding::end).collect() }
}

/// The data of these rows, read from disk.
fn of_rows(hir: &Hir, bound: &Bound, disk: &OnDisk, rows: &Level, block: &[usize]) -> Bound {
    let mut here = bound.clone();
    here.plates[rows.plate.0 as usize].size = block.len();
    for (var, store) in &disk.stores {
        let Some(values) = bound.values.get(var) else { continue };
        let Some(dim) = hir.var(*var).axes.iter().position(|a| hir.axis(*a).plate == rows.plate) else { continue };
        let mut dims = values.dims.clone();
        dims[dim] = block.len();
        let mut numbers = vec![0.0; dims.iter().product()];
        store.gather(block, &mut numbers);
        here.values.insert(*var, Values { dims, numbers: numbers.into() });
    }
    let mut own = |var: VarId, numbers: Vec<f64>| {
        here.values.insert(var, Values { dims: vec![block.len()], numbers: numbers.into() });
    };
    own(rows.weight, vec![1.0; block.len()]);
    own(rows.row, block.iter().map(|r| *r as f64).collect());
    here
}
