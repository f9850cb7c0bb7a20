//! Sums that a product of matrices begins: it is stored instead of added, and its cells need not be 0 before.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use crate::lower::graph::{Access, BufId, BufKind, Call, Graph, ProductCall, Region, Stmt};
use crate::lower::mentions;

/// Store the products that nothing in their cells has gone before; what is left to be set to 0 of the buffers that are mentioned.
pub fn begin_sums(graph: &Graph, regions: &mut [Region]) -> Vec<(BufId, Range<usize>)> {
    let mut seen: HashMap<BufId, Vec<Range<usize>>> = HashMap::new();
    let mut begun: HashMap<BufId, Vec<Range<usize>>> = HashMap::new();
    for region in regions {
        let mut touched = vec![];
        mentions(region, &mut |buf, _, cells| {
            touched.push((buf, cells.unwrap_or(0..graph.buffers[buf.0 as usize].len)));
        });
        if let [Stmt::Call(Call::Product(call))] = &mut region.body[..]
            && let Some((buf, cells)) = fills(call, Access::Add)
            && touched.iter().filter(|t| t.0 == buf).count() == 1
            && seen.get(&buf).is_none_or(|all| all.iter().all(|s| s.end <= cells.start || cells.end <= s.start))
        {
            Arc::make_mut(call).operands[2].access = Access::Store;
            begun.entry(buf).or_default().push(cells);
        }
        touched.into_iter().for_each(|(buf, cells)| seen.entry(buf).or_default().push(cells));
    }
    let mut sums: Vec<BufId> = seen.into_keys().filter(|b| is_zeroed(graph, *b)).collect();
    sums.sort_unstable();
    let mut out = vec![];
    for buf in sums {
        let mut from = 0;
        let mut stored = begun.remove(&buf).unwrap_or_default();
        stored.sort_unstable_by_key(|r| r.start);
        for cells in stored {
            out.push((buf, from..cells.start));
            from = cells.end;
        }
        out.push((buf, from..graph.buffers[buf.0 as usize].len));
    }
    out.retain(|(_, cells)| !cells.is_empty());
    out
}

fn is_zeroed(graph: &Graph, buf: BufId) -> bool {
    matches!(graph.buffers[buf.0 as usize].kind, BufKind::Scratch { zeroed: true })
}

/// The buffer that a product is stored in, or added to, if it fills all cells between its first and its last.
pub fn fills(call: &ProductCall, access: Access) -> Option<(BufId, Range<usize>)> {
    let ([m, _, n], to) = (call.sizes, &call.operands[2]);
    let dense = call.steps[2] == [1, m] || call.steps[2] == [n, 1];
    (to.access == access && call.batch.is_empty() && dense).then(|| to.buf.map(|buf| (buf, call.reach(2))))?
}
