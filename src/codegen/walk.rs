//! What statements read, define and write.

use std::collections::HashSet;

use crate::lower::graph::{Access, Addr, AddrTerm, BufId, LoopId, Op, Region, Stmt, ValId};

/// Whether some statement of a region reads a buffer that another writes, or stores to one that another adds to: then
/// lanes may depend on each other, and must run in order.
pub fn is_sequential(region: &Region) -> bool {
    let mut touched = Touched::default();
    touched.visit(&region.body);
    let Touched { read, stored, added } = touched;
    stored.iter().any(|b| read.contains(b) || added.contains(b)) || added.iter().any(|b| read.contains(b))
}

/// The buffers of some statements.
#[derive(Default)]
pub struct Touched {
    pub read: HashSet<BufId>,
    pub stored: HashSet<BufId>,
    pub added: HashSet<BufId>,
}

impl Touched {
    pub fn visit(&mut self, body: &[Stmt]) {
        for stmt in body {
            match stmt {
                Stmt::Let(_, Op::Load(buf, _)) => {
                    self.read.insert(*buf);
                }
                Stmt::Let(..) => {}
                Stmt::Reduce { body, .. } => self.visit(body),
                Stmt::Contract { a, b, .. } => self.read.extend([a.0, b.0]),
                Stmt::ContractT { a, target, .. } => {
                    self.read.insert(a.0);
                    self.added.insert(target.0);
                }
                Stmt::Store { buf, .. } => {
                    self.stored.insert(*buf);
                }
                Stmt::Accum { buf, .. } => {
                    self.added.insert(*buf);
                }
                Stmt::Call(call) => {
                    self.read.extend(call.buffers(Access::Read));
                    self.stored.extend(call.buffers(Access::Store));
                    self.added.extend(call.buffers(Access::Add));
                }
            }
        }
    }
}

/// Whether a statement writes memory.
pub fn has_effects(stmt: &Stmt) -> bool {
    match stmt {
        Stmt::Let(..) | Stmt::Contract { .. } => false,
        Stmt::Reduce { body, .. } => body.iter().any(has_effects),
        Stmt::ContractT { .. } | Stmt::Store { .. } | Stmt::Accum { .. } | Stmt::Call(_) => true,
    }
}

/// Values that a statement reads. For a reduction also those that it defines itself.
pub fn for_uses(stmt: &Stmt, visit: &mut dyn FnMut(ValId)) {
    match stmt {
        Stmt::Let(_, op) => match op {
            Op::Const(_) | Op::Load(..) | Op::Counter(_) => {}
            Op::Unary(_, a) => visit(*a),
            Op::Binary(_, a, b) => [a, b].into_iter().for_each(|v| visit(*v)),
            Op::Fma(a, b, c) | Op::Select(a, b, c) => [a, b, c].into_iter().for_each(|v| visit(*v)),
        },
        Stmt::Reduce { body, outs, .. } => {
            body.iter().for_each(|s| for_uses(s, visit));
            outs.iter().for_each(|(_, _, v)| visit(*v));
        }
        Stmt::Contract { .. } | Stmt::Call(_) => {}
        Stmt::ContractT { value, .. } | Stmt::Store { value, .. } | Stmt::Accum { value, .. } => visit(*value),
    }
}

/// Values that a statement gives to those after it.
pub fn for_defs(stmt: &Stmt, visit: &mut dyn FnMut(ValId)) {
    match stmt {
        Stmt::Let(v, _) | Stmt::Contract { out: v, .. } => visit(*v),
        Stmt::Reduce { outs, .. } => outs.iter().for_each(|(v, _, _)| visit(*v)),
        Stmt::ContractT { .. } | Stmt::Store { .. } | Stmt::Accum { .. } | Stmt::Call(_) => {}
    }
}

/// Loops whose counters a statement reads.
pub fn for_loops(stmt: &Stmt, visit: &mut dyn FnMut(LoopId)) {
    match stmt {
        Stmt::Let(_, Op::Load(_, addr)) => address_loops(addr, visit),
        Stmt::Let(_, Op::Counter(id)) => visit(*id),
        Stmt::Let(..) => {}
        Stmt::Reduce { body, .. } => body.iter().for_each(|s| for_loops(s, visit)),
        Stmt::Contract { a, b: other, .. } | Stmt::ContractT { a, target: other, .. } => {
            address_loops(&a.1, visit);
            address_loops(&other.1, visit);
        }
        Stmt::Store { addr, .. } | Stmt::Accum { addr, .. } => address_loops(addr, visit),
        Stmt::Call(_) => {}
    }
}

fn address_loops(addr: &Addr, visit: &mut dyn FnMut(LoopId)) {
    for (term, _) in &addr.terms {
        match term {
            AddrTerm::Loop(id) => visit(*id),
            AddrTerm::Gather(_, inner) => address_loops(inner, visit),
        }
    }
}

/// How far an address moves with each step of a loop; `None` if through a gather.
pub fn stride(addr: &Addr, id: LoopId) -> Option<usize> {
    let mut total = 0;
    for (term, stride) in &addr.terms {
        match term {
            AddrTerm::Loop(l) if *l == id => total += stride,
            AddrTerm::Loop(_) => {}
            AddrTerm::Gather(_, inner) if inner.uses(id) => return None,
            AddrTerm::Gather(..) => {}
        }
    }
    Some(total)
}

/// The highest value number in some statements.
pub fn highest(body: &[Stmt]) -> u32 {
    let mut top = 0;
    for stmt in body {
        for_defs(stmt, &mut |v| top = top.max(v.0));
        if let Stmt::Reduce { body, .. } = stmt {
            top = top.max(highest(body));
        }
    }
    top
}
