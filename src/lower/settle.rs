//! Evaluate at once what depends on data only: columns standardised, masks, indices, sums over tables, constants.

use std::sync::Arc;

use crate::lower::expr::{Arena, E, Expr};
use crate::lower::graph::{AddrTerm, BinOp, BufId, BufKind, LoopId, ReduceOp};
use crate::lower::kernel::{Kernel, Root};
use crate::lower::schedule::schedule;
use crate::prim::scalar;
use crate::run::interp::Machine;

/// Above this many cells (512 MiB) a data-only value is computed where it is used instead of being stored.
const MOST_STORED: usize = 1 << 26;

impl Arena {
    /// Replace every maximal data-only part by a number, or by a read of a new data buffer. What is cheaper to compute
    /// than to read (one operation on columns) stays.
    pub fn settle(&mut self, e: E) -> E {
        if let Some(&done) = self.settled.get(&e) {
            return done;
        }
        let new = if self.active(e) {
            let e = self.settle_factors(e);
            self.map_operands(e, Arena::settle)
        } else if self.is_cheap(e) || self.cells(self.free(e)) > MOST_STORED {
            self.map_operands(e, Arena::settle)
        } else {
            self.tabulate(e)
        };
        self.settled.insert(e, new);
        new
    }

    /// In a sum of products, the data factor is one side of a matrix product: stored whatever its cost.
    fn settle_factors(&mut self, e: E) -> E {
        let Expr::Reduce(ReduceOp::Sum, over, body) = *self.get(e) else { return e };
        let Expr::Binary(BinOp::Mul, a, b) = *self.get(body) else { return e };
        let mut side = |x| if self.active(x) { x } else { self.tabulate(x) };
        let (a, b) = (side(a), side(b));
        let body = self.mul(a, b);
        self.sum(over, body)
    }

    /// A read of a column, or at most one operation on such, gathers aside.
    fn is_cheap(&self, e: E) -> bool {
        let gathers = |e: &E| match self.get(*e) {
            Expr::Load(_, addr) => addr.terms.iter().any(|(t, _)| matches!(t, AddrTerm::Gather(..))),
            Expr::Reduce(..) => true,
            _ => false,
        };
        self.is_leaf(e) && !gathers(&e)
            || !self.free(e).is_empty() && self.cost(e) <= 1.0 && !self.reachable([e]).iter().any(gathers)
    }

    /// The number, or a read of a data buffer that holds one per cell of what it varies over.
    fn tabulate(&mut self, e: E) -> E {
        if self.is_leaf(e) && self.is_cheap(e) {
            return e;
        }
        let loops = self.free(e).to_vec();
        let numbers = self.values(e, &loops);
        if let Some(first) = numbers.first()
            && numbers.iter().all(|v| v.to_bits() == first.to_bits())
        {
            return self.number(*first);
        }
        let buf = self.data("computed from data", numbers.into());
        let addr = self.address(&loops);
        self.load(buf, addr)
    }

    /// The value at every cell of `loops`, the first contiguous. `e` depends on data only and varies over no others.
    pub fn values(&mut self, e: E, loops: &[LoopId]) -> Vec<f64> {
        if let Some(v) = self.as_const(e) {
            return vec![v; self.cells(loops)];
        }
        if let Expr::Load(buf, addr) = self.get(e)
            && let BufKind::Data(numbers) = &self.buffers[buf.0 as usize].kind
            && numbers.len() == self.cells(loops)
            && *addr == self.address(loops)
        {
            return numbers.to_vec();
        }
        if let Expr::Reduce(op, over, body) = *self.get(e) {
            let mut all = self.free(e).to_vec();
            all.push(over);
            if self.free(e) == loops && self.cells(&all) <= MOST_STORED / 4 {
                let body = self.values(body, &all);
                return fold(op, &body, self.cells(loops), self.size(over));
            }
        }
        let inside = self.map_operands(e, |arena, x| if arena.free(x).is_empty() { arena.settle(x) } else { x });
        let inside = self.settle_reductions(inside, e);
        let buf = self.buffer("values", self.cells(loops), BufKind::Scratch { zeroed: false }, false);
        let addr = self.address(loops);
        let kernel = Kernel {
            name: String::new(),
            span: None,
            loops: loops.to_vec(),
            walk: None,
            roots: vec![Root::store(buf, addr, inside)],
            call: None,
        };
        let region = schedule(self, &kernel);
        let mut machine = Machine::bare(&self.buffers);
        machine.written[buf.0 as usize] = vec![0.0; self.buffers[buf.0 as usize].len];
        machine.run(&region);
        let numbers = std::mem::take(&mut machine.written[buf.0 as usize]);
        self.forget_last(buf);
        numbers
    }

    /// Evaluate reductions inside an expression first, so that none is repeated for each cell around it.
    fn settle_reductions(&mut self, e: E, whole: E) -> E {
        let mut memo = std::collections::HashMap::new();
        self.rewrite(e, &mut memo, &mut |arena, x| {
            let stored = matches!(arena.get(x), Expr::Reduce(..)) && x != whole && x != e;
            (stored && arena.cells(arena.free(x)) <= MOST_STORED).then(|| arena.settle(x))
        })
    }

    /// The total over all cells of `loops`, of which the expression may use some.
    pub fn total(&mut self, e: E, loops: &[LoopId]) -> f64 {
        let own = self.free(e).to_vec();
        let numbers = self.values(e, &own);
        let repeats = loops.iter().filter(|l| !own.contains(l)).map(|&l| self.size(l) as f64).product::<f64>();
        fold(ReduceOp::Sum, &numbers, 1, numbers.len())[0] * repeats
    }
}

/// Reduce `numbers[cell + cells·k]` over `k`. Sums are compensated (Neumaier), since means and deviations build on them.
fn fold(op: ReduceOp, numbers: &[f64], cells: usize, size: usize) -> Vec<f64> {
    let one = |cell: usize| {
        let mut folding = Folding::new(op);
        (0..size).for_each(|k| folding.add(numbers[cell + cells * k]));
        folding.end()
    };
    (0..cells).map(one).collect()
}

/// A reduction that goes on: numbers that come in several pieces give the bits that they give at once.
#[derive(Clone, Copy)]
pub(crate) struct Folding {
    op: ReduceOp,
    value: f64,
    /// What rounding has taken from a sum (Neumaier 1974).
    lost: f64,
}

impl Folding {
    pub fn new(op: ReduceOp) -> Folding {
        let value = match op {
            ReduceOp::Sum => 0.0,
            ReduceOp::Prod => 1.0,
            ReduceOp::Min => f64::INFINITY,
            ReduceOp::Max => f64::NEG_INFINITY,
        };
        Folding { op, value, lost: 0.0 }
    }

    pub fn add(&mut self, v: f64) {
        let Folding { op, value, lost } = self;
        *value = match op {
            ReduceOp::Sum => {
                let next = *value + v;
                *lost += if value.abs() >= v.abs() { (*value - next) + v } else { (v - next) + *value };
                next
            }
            ReduceOp::Prod => *value * v,
            ReduceOp::Min => scalar::min(*value, v),
            ReduceOp::Max => scalar::max(*value, v),
        };
    }

    pub fn end(self) -> f64 {
        // With an infinity among the numbers of a sum, what was lost is NaN and the plain sum is right.
        if self.value.is_finite() { self.value + self.lost } else { self.value }
    }
}

/// Data buffers that can be shared by reference.
pub(crate) fn positions_as_numbers(arena: &mut Arena, positions: BufId) -> Arc<[f64]> {
    match &arena.buffers[positions.0 as usize].kind {
        BufKind::Index(entries) => entries.iter().map(|&i| f64::from(i)).collect(),
        BufKind::Data(_) | BufKind::Input | BufKind::Scratch { .. } => unreachable!("positions are an index buffer"),
    }
}
