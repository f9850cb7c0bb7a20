//! Kernels: loop nests before their statements are ordered. What the passes between `resolve` and `schedule` rewrite.

use std::collections::{HashMap, HashSet};

use crate::lower::expr::{Arena, E, Expr};
use crate::lower::graph::{Access, Addr, BufId, Call, Direction, LoopId};
use crate::source::Span;

/// For every cell of `loops`, the effects of `roots`.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    pub name: String,
    pub span: Option<Span>,
    /// Sorted; which one is the lane is decided when the kernel is scheduled.
    pub loops: Vec<LoopId>,
    /// The loop among them whose steps run in order, each reading what earlier ones wrote.
    pub walk: Option<(LoopId, Direction)>,
    pub roots: Vec<Root>,
    /// Instead of roots: an operation on whole buffers, without loops.
    pub call: Option<Call>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Effect {
    Store,
    Accum,
}

/// `buf[addr] = value` or `+= value`, for every cell of the kernel and of the `inner` loops, outermost first.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Root {
    pub inner: Vec<LoopId>,
    pub effect: Effect,
    pub buf: BufId,
    pub addr: Addr,
    pub value: E,
}

impl Root {
    pub fn store(buf: BufId, addr: Addr, value: E) -> Root {
        Root { inner: vec![], effect: Effect::Store, buf, addr, value }
    }

    pub fn accum(buf: BufId, addr: Addr, value: E) -> Root {
        Root { inner: vec![], effect: Effect::Accum, buf, addr, value }
    }
}

impl Kernel {
    /// Every load in its expressions. A matrix that is read as a whole has an address that no cell has.
    pub fn loads(&self, arena: &Arena) -> Vec<(BufId, Addr)> {
        let mut loads = loads_of(arena, arena.reachable(self.roots.iter().map(|r| r.value)));
        if let Some(call) = &self.call {
            loads.extend(call.buffers(Access::Read).map(|b| (b, Addr::constant(usize::MAX))));
        }
        loads
    }

    /// The buffers that it writes.
    pub fn written(&self) -> impl Iterator<Item = BufId> + '_ {
        let call = self.call.iter().flat_map(|c| c.written());
        self.roots.iter().map(|r| r.buf).chain(call)
    }

    /// The buffers that a walk writes, which only it can read while it runs; none without a walk.
    pub fn walked(&self) -> HashSet<BufId> {
        let roots = self.roots.iter().filter(|_| self.walk.is_some());
        roots.map(|r| r.buf).collect()
    }

    /// Replace expressions in every root, as `Arena::rewrite` does.
    pub fn rewrite(&mut self, arena: &mut Arena, mut change: impl FnMut(&mut Arena, E) -> Option<E>) {
        let mut memo = HashMap::new();
        for root in &mut self.roots {
            root.value = arena.rewrite(root.value, &mut memo, &mut change);
        }
    }
}

/// Every load in an expression.
pub(crate) fn loads_in(arena: &Arena, e: E) -> Vec<(BufId, Addr)> {
    loads_of(arena, arena.reachable([e]))
}

fn loads_of(arena: &Arena, nodes: Vec<E>) -> Vec<(BufId, Addr)> {
    let loads = nodes.into_iter().filter_map(|e| match arena.get(e) {
        Expr::Load(buf, addr) => Some((*buf, addr.clone())),
        _ => None,
    });
    loads.collect()
}

/// How often each expression is an operand.
pub(crate) fn uses(arena: &Arena, kernel: &Kernel) -> HashMap<E, usize> {
    let mut uses = HashMap::new();
    for e in arena.reachable(kernel.roots.iter().map(|r| r.value)) {
        arena.each_operand(e, |x| *uses.entry(x).or_insert(0) += 1);
    }
    for root in &kernel.roots {
        *uses.entry(root.value).or_insert(0) += 1;
    }
    uses
}
