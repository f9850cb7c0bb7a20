//! What products in single precision share: copies of their factors, and params that stay in that precision from step to step.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use super::begin::{begin_sums, fills};
use crate::lower::graph::{Access, BufId, BufKind, Call, Copied, Graph, Operand, ProductCall, Region, Stmt, Stored};
use crate::lower::{Mention, mentions};
use crate::prim::product::is_large;

/// The product that a region is, if a workshop makes it.
fn product(region: &Region) -> Option<&ProductCall> {
    match &region.body[..] {
        [Stmt::Call(Call::Product(call))] if is_large(call) => Some(call),
        _ => None,
    }
}

/// The cells of theta that only products read, all of each stretch by each, and whose slopes one product stores: of those that are
/// `points`, in order.
pub fn living(graph: &Graph, points: &[bool], regions: &[Region]) -> Vec<Range<usize>> {
    let (mut reads, mut slopes) = (vec![], vec![]);
    for region in regions {
        let (large, all) = (product(region), 0..graph.dim);
        mentions(region, &mut |buf, how, cells| {
            let cells = cells.unwrap_or(all.clone());
            if Some(buf) == graph.theta {
                reads.push((cells, large.is_some()));
            } else if Some(buf) == graph.grad {
                let stored = large.is_some_and(|call| how == Mention::Written && fills(call, Access::Store).is_some());
                slopes.push((cells, stored));
            }
        });
    }
    let apart = |a: &Range<usize>, b: &Range<usize>| a.end <= b.start || b.end <= a.start;
    let lives = |cells: &Range<usize>| {
        let alone = slopes.iter().filter(|s| !apart(&s.0, cells)).count() == 1;
        let read = |(own, large): &(Range<usize>, bool)| apart(own, cells) || (*large && own == cells);
        alone && reads.iter().all(read) && points.get(cells.clone()).is_some_and(|p| p.iter().all(|p| *p))
    };
    let mut found: Vec<Range<usize>> = slopes.iter().filter(|s| s.1 && lives(&s.0)).map(|s| s.0.clone()).collect();
    found.sort_unstable_by_key(|cells| cells.start);
    found
}

/// The buffers that hold numbers in single precision where products are made in it: products and kernels hand them on to each
/// other, and nobody else reads them.
pub fn in_place(graph: &Graph) -> HashSet<BufId> {
    let (mut found, mut others): (HashSet<BufId>, HashSet<BufId>) = Default::default();
    for regions in [&graph.value, &graph.gradient] {
        let mut regions = regions.clone();
        // What is set to 0 before is summed in double precision.
        others.extend(begin_sums(graph, &mut regions).into_iter().map(|z| z.0));
        for region in &regions {
            match product(region) {
                Some(call) => {
                    let whole = |o: &&Operand| o.access != Access::Add;
                    found.extend(call.operands.iter().filter(whole).filter_map(|o| o.buf));
                    others.extend(call.operands.iter().filter(|o| !whole(o)).filter_map(|o| o.buf));
                }
                None => other_uses(&region.body, &mut others),
            }
        }
    }
    for region in &graph.report {
        mentions(region, &mut |buf, _, _| _ = others.insert(buf));
    }
    others.extend(graph.grad);
    let plain = |buf: &BufId| matches!(graph.buffers[buf.0 as usize].kind, BufKind::Scratch { .. });
    found.retain(|buf| plain(buf) && !others.contains(buf));
    found
}

/// Whether a buffer holds what whoever runs the program has written, but not theta: a batch's data.
fn is_input(graph: &Graph, buf: BufId) -> bool {
    matches!(graph.buffers[buf.0 as usize].kind, BufKind::Input) && Some(buf) != graph.theta
}

/// The inputs that products in single precision read.
pub fn given(graph: &Graph) -> Vec<BufId> {
    let calls = [&graph.value, &graph.gradient].into_iter().flatten().filter_map(product);
    let factors = calls.flat_map(|call| &call.operands[..2]).filter_map(|o| o.buf);
    factors.filter(|buf| is_input(graph, *buf)).collect::<HashSet<_>>().into_iter().collect()
}

/// The buffers that statements do anything with but load and store single numbers.
fn other_uses(body: &[Stmt], found: &mut HashSet<BufId>) {
    for stmt in body {
        match stmt {
            Stmt::Let(..) | Stmt::Store { .. } => {}
            Stmt::Reduce { body, .. } => other_uses(body, found),
            Stmt::Contract { a, b, .. } | Stmt::ContractT { a, target: b, .. } => found.extend([a.0, b.0]),
            Stmt::Accum { buf, .. } => _ = found.insert(*buf),
            Stmt::Call(call) => found.extend(call.operands().iter().filter_map(|o| o.buf)),
        }
    }
}

/// Tell the products of a program which factors have been copied before them in a run, and whose results are left.
pub fn mark(graph: &Graph, regions: &mut [Region], living: &[Range<usize>], in_place: &HashSet<BufId>) {
    let mut copied: Vec<(BufId, Range<usize>)> = vec![];
    for region in regions {
        let mut written = vec![];
        mentions(region, &mut |buf, how, cells| {
            if how == Mention::Written {
                written.push((buf, cells.unwrap_or(0..graph.buffers[buf.0 as usize].len)));
            }
        });
        let large = product(region).is_some();
        let mut stored = None;
        if let [Stmt::Call(Call::Product(call))] = &mut region.body[..]
            && large
        {
            let call = Arc::make_mut(call);
            for i in 0..2 {
                let Some(buf) = call.operands[i].buf else { continue };
                let cells = call.reach(i);
                let own =
                    |(b, own): &(BufId, Range<usize>)| *b == buf && own.start <= cells.start && cells.end <= own.end;
                let before = copied.iter().any(own);
                call.copies.factors[i] = match before {
                    _ if in_place.contains(&buf) => Copied::InPlace,
                    true => Copied::Before,
                    false if Some(buf) == graph.theta && living.contains(&cells) => Copied::Outside,
                    false if is_input(graph, buf) => Copied::Given,
                    false => Copied::No,
                };
                if !before {
                    copied.push((buf, cells));
                }
            }
            call.copies.result = match call.operands[2].buf {
                Some(buf) if in_place.contains(&buf) => Stored::InPlace,
                buf if buf == graph.grad && living.contains(&call.reach(2)) => Stored::Copy,
                _ => Stored::Widened,
            };
            stored = fills(call, Access::Store);
        }
        copied.retain(|(buf, own)| {
            !written.iter().any(|(b, cells)| b == buf && own.start < cells.end && cells.start < own.end)
        });
        // What is stored is the copy itself, widened.
        copied.extend(stored);
    }
}
