//! Which cells of which buffers a region reads and writes.

use std::collections::HashMap;
use std::ops::Range;

use super::graph::{Access, Addr, AddrTerm, BufId, Call, LoopId, Op, Region, Stmt};

/// How a region mentions a buffer: reads it, or writes to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mention {
    Read,
    Written,
}

/// Call `f` on every mention of a buffer with the cells between the first and the last; `None` where positions in data say which.
/// Index buffers and scratch of operations are left out.
pub fn mentions(region: &Region, f: &mut dyn FnMut(BufId, Mention, Option<Range<usize>>)) {
    let sizes = region.loops.iter().map(|l| (l.id, l.size)).collect();
    visit(&region.body, &sizes, f);
}

fn visit(body: &[Stmt], sizes: &HashMap<LoopId, usize>, f: &mut dyn FnMut(BufId, Mention, Option<Range<usize>>)) {
    for stmt in body {
        match stmt {
            Stmt::Let(_, Op::Load(buf, addr)) => f(*buf, Mention::Read, reach(addr, sizes)),
            Stmt::Let(..) => {}
            Stmt::Reduce { over, body, .. } => {
                let mut sizes = sizes.clone();
                sizes.insert(over.id, over.size);
                visit(body, &sizes, f);
            }
            Stmt::Contract { over, a, b, .. } | Stmt::ContractT { over, a, target: b, .. } => {
                let mut sizes = sizes.clone();
                sizes.insert(over.id, over.size);
                let second = if matches!(stmt, Stmt::Contract { .. }) { Mention::Read } else { Mention::Written };
                f(a.0, Mention::Read, reach(&a.1, &sizes));
                f(b.0, second, reach(&b.1, &sizes));
            }
            Stmt::Store { buf, addr, .. } | Stmt::Accum { buf, addr, .. } => {
                f(*buf, Mention::Written, reach(addr, sizes));
            }
            Stmt::Call(call) => {
                for (i, operand) in call.operands().iter().enumerate() {
                    let how = if operand.access == Access::Read { Mention::Read } else { Mention::Written };
                    // Operations other than products may reach anything.
                    let cells = if let Call::Product(call) = call { Some(call.reach(i)) } else { None };
                    operand.buf.iter().for_each(|buf| f(*buf, how, cells.clone()));
                }
            }
        }
    }
}

fn reach(addr: &Addr, sizes: &HashMap<LoopId, usize>) -> Option<Range<usize>> {
    let mut last = addr.offset;
    for (term, stride) in &addr.terms {
        let AddrTerm::Loop(id) = term else { return None };
        last += stride * sizes.get(id)?.saturating_sub(1);
    }
    Some(addr.offset..last + 1)
}
