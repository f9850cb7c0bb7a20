//! The rows of other plates that come with those of a batch: a batch of patients has all visits of its patients, and of the visits
//! all that points to them.

use std::collections::HashSet;

use super::joint::*;
use crate::hir::{AxisId, Hir, PlateId, VarId};

/// A plate of a batch, and data over it that the caller must give.
#[derive(Clone, Debug)]
pub struct Level {
    pub plate: PlateId,
    /// Per row of the batch: the factor of what it adds, and its position in the whole plate.
    pub weight: VarId,
    pub row: VarId,
    pub links: Vec<Link>,
}

/// How rows of a plate point to those of one of the batch.
#[derive(Clone, Debug)]
pub struct Link {
    /// The position in the whole plate, an expression of the whole joint over this axis; it depends on data only.
    pub node: NodeId,
    pub axis: AxisId,
    /// The number of that plate among those of the batch.
    pub to: usize,
    /// Per row: the position in the batch.
    pub place: VarId,
}

/// What is needed for definitions and terms: what data are reduced to is computed before, from the whole table.
pub(super) fn used(whole: &Joint, known: &HashSet<NodeId>) -> HashSet<NodeId> {
    let mut stack: Vec<NodeId> = vec![];
    for d in &whole.defs {
        stack.push(d.value);
        if let Some(s) = &d.scatter {
            stack.extend(s.filter);
            stack.extend(s.index.iter().filter_map(at));
        }
    }
    stack.extend(whole.terms.iter().flat_map(|t| [Some(t.value), t.filter]).flatten());
    let mut out = HashSet::new();
    while let Some(n) = stack.pop() {
        if out.insert(n) && !(known.contains(&n) && matches!(whole.node(n), Node::Reduce { .. })) {
            stack.extend(whole.operands(n));
        }
    }
    out
}

fn at(ix: &Ix) -> Option<NodeId> {
    if let Ix::At(n) = ix { Some(*n) } else { None }
}

/// The plate of a batch, and then those with rows that point to others of these.
pub(super) fn plates(hir: &Hir, whole: &Joint, used: &HashSet<NodeId>, plate: PlateId) -> Vec<PlateId> {
    let mut nodes: Vec<NodeId> = used.iter().copied().collect();
    nodes.sort_unstable();
    let reads = nodes.iter().filter_map(|n| match whole.node(*n) {
        Node::Read { slot, index } => Some((*slot, index)),
        _ => None,
    });
    let scatters = whole.defs.iter().filter_map(|d| Some((d.slot, &d.scatter.as_ref()?.index)));
    let by_key: Vec<(PlateId, PlateId)> = reads
        .chain(scatters)
        .flat_map(|(slot, index)| whole.slot(slot).dims.iter().zip(index))
        .filter_map(|(to, ix)| match whole.free_axes(at(ix)?)[..] {
            [axis] => Some((*to, hir.axis(axis).plate)),
            _ => None,
        })
        .collect();
    let mut out = vec![plate];
    loop {
        let next = by_key.iter().find(|(to, from)| out.contains(to) && !out.contains(from));
        match next {
            Some((_, from)) => out.push(*from),
            None => return out,
        }
    }
}

/// Whether something that `node` is computed from, or itself, is so.
pub(super) fn within(whole: &Joint, node: NodeId, is: impl Fn(NodeId) -> bool) -> bool {
    let (mut seen, mut stack) = (HashSet::new(), vec![node]);
    while let Some(n) = stack.pop() {
        if is(n) {
            return true;
        }
        if seen.insert(n) {
            stack.extend(whole.operands(n));
        }
    }
    false
}
