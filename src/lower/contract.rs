//! Matrix products: sums of `data[i, k] · x[k]` over `k`, and the transposed sums over `i` that differentiate them.

use crate::lower::expr::{Arena, E, Expr};
use crate::lower::graph::{Addr, AddrTerm, BinOp, BufId, LoopId};
use crate::lower::kernel::{Effect, Root};

/// One factor: a cell of a buffer.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Side {
    pub buf: BufId,
    pub addr: Addr,
}

/// The two factors of `Σ_over a·b`, if `a` is data that varies with the lane and `b` does not vary with it.
pub(crate) fn product(arena: &Arena, open: &[LoopId], lane: LoopId, over: LoopId, body: E) -> Option<(Side, Side)> {
    let Expr::Binary(BinOp::Mul, x, y) = *arena.get(body) else { return None };
    let (x, y) = (plain_load(arena, x)?, plain_load(arena, y)?);
    let (a, b) = if x.addr.uses(lane) { (x, y) } else { (y, x) };
    let fits = is_matrix(arena, &a, lane, over) && !b.addr.uses(lane) && b.addr.uses(over);
    (fits && is_open(&a.addr, open, over) && is_open(&b.addr, open, over)).then_some((a, b))
}

/// The factors of `target[over] += Σ_lanes value · a[lane, over]`.
pub(crate) fn transposed(
    arena: &Arena,
    open: &[LoopId],
    lane: LoopId,
    root: &Root,
    inner: &[LoopId],
) -> Option<(E, Side)> {
    let [over] = inner else { return None };
    if root.effect != Effect::Accum || root.addr.uses(lane) || !is_affine(&root.addr) {
        return None;
    }
    let Expr::Binary(BinOp::Mul, x, y) = *arena.get(root.value) else { return None };
    [(x, y), (y, x)].into_iter().find_map(|(value, a)| {
        let a = plain_load(arena, a)?;
        let fits = is_matrix(arena, &a, lane, *over) && is_open(&a.addr, open, *over);
        (fits && !arena.varies(value, *over)).then_some((value, a))
    })
}

fn plain_load(arena: &Arena, e: E) -> Option<Side> {
    match arena.get(e) {
        Expr::Load(buf, addr) if is_affine(addr) => Some(Side { buf: *buf, addr: addr.clone() }),
        _ => None,
    }
}

/// Numbers that are fixed, one per lane and step.
fn is_matrix(arena: &Arena, a: &Side, lane: LoopId, over: LoopId) -> bool {
    (!arena.is_active(a.buf) || arena.is_fed(a.buf)) && a.addr.uses(lane) && a.addr.uses(over)
}

fn is_affine(addr: &Addr) -> bool {
    addr.terms.iter().all(|(t, _)| matches!(t, AddrTerm::Loop(_)))
}

fn is_open(addr: &Addr, open: &[LoopId], over: LoopId) -> bool {
    addr.terms.iter().all(|(t, _)| match t {
        AddrTerm::Loop(l) => *l == over || open.contains(l),
        AddrTerm::Gather(..) => false,
    })
}
