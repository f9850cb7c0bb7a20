//! Before planning: statements that kernels have no direct form for, written with others.

use std::collections::HashMap;

use super::walk::{highest, stride};
use crate::lower::graph::{Addr, BinOp, BufId, LoopId, Op, ReduceOp, Region, Stmt, UnOp, ValId};

/// Write `XLogY` with a logarithm and a choice, and every contraction that the block routines do not cover as a loop.
/// In the contractions that remain, the lanes of one operand are contiguous and the other has none.
pub fn desugar(region: &Region, lanes: Option<LoopId>) -> Region {
    let mut pass = Pass { next: highest(&region.body), lanes };
    Region { body: pass.block(&region.body, &HashMap::new()), ..region.clone() }
}

struct Pass {
    next: u32,
    /// The lane loop, where the region runs in blocks.
    lanes: Option<LoopId>,
}

/// Logarithms in scope, by argument.
type Logs = HashMap<ValId, ValId>;

impl Pass {
    fn fresh(&mut self) -> ValId {
        self.next += 1;
        ValId(self.next)
    }

    fn block(&mut self, body: &[Stmt], outer: &Logs) -> Vec<Stmt> {
        let mut logs = outer.clone();
        let mut out = vec![];
        for stmt in body {
            match stmt {
                Stmt::Let(v, Op::Binary(BinOp::XLogY, x, y)) => {
                    let log = *logs.entry(*y).or_insert_with(|| {
                        let log = self.fresh();
                        out.push(Stmt::Let(log, Op::Unary(UnOp::Log, *y)));
                        log
                    });
                    let (zero, product, is_zero) = (self.fresh(), self.fresh(), self.fresh());
                    out.push(Stmt::Let(zero, Op::Const(0.0)));
                    out.push(Stmt::Let(product, Op::Binary(BinOp::Mul, *x, log)));
                    out.push(Stmt::Let(is_zero, Op::Binary(BinOp::Equal, *x, zero)));
                    out.push(Stmt::Let(*v, Op::Select(is_zero, zero, product)));
                }
                Stmt::Let(v, op) => {
                    if let Op::Unary(UnOp::Log, x) = op {
                        logs.insert(*x, *v);
                    }
                    out.push(stmt.clone());
                }
                Stmt::Reduce { over, body, outs } => {
                    let body = self.block(body, &logs);
                    out.push(Stmt::Reduce { over: over.clone(), body, outs: outs.clone() });
                }
                Stmt::Contract { out: v, over, a, b } => {
                    if self.covered(over.id, a, b) {
                        out.push(stmt.clone());
                        continue;
                    }
                    let (x, y, product) = (self.fresh(), self.fresh(), self.fresh());
                    let body = vec![
                        Stmt::Let(x, Op::Load(a.0, a.1.clone())),
                        Stmt::Let(y, Op::Load(b.0, b.1.clone())),
                        Stmt::Let(product, Op::Binary(BinOp::Mul, x, y)),
                    ];
                    out.push(Stmt::Reduce { over: over.clone(), body, outs: vec![(*v, ReduceOp::Sum, product)] });
                }
                Stmt::ContractT { value, over, a, target } => {
                    if self.covered(over.id, a, target) {
                        out.push(stmt.clone());
                        continue;
                    }
                    let (x, product) = (self.fresh(), self.fresh());
                    let body = vec![
                        Stmt::Let(x, Op::Load(a.0, a.1.clone())),
                        Stmt::Let(product, Op::Binary(BinOp::Mul, x, *value)),
                        Stmt::Accum { buf: target.0, addr: target.1.clone(), value: product },
                    ];
                    out.push(Stmt::Reduce { over: over.clone(), body, outs: vec![] });
                }
                Stmt::Store { .. } | Stmt::Accum { .. } | Stmt::Call(_) => out.push(stmt.clone()),
            }
        }
        out
    }

    /// Whether the block routines can walk both operands: contiguous lanes in one, none in the other.
    fn covered(&self, over: LoopId, a: &(BufId, Addr), b: &(BufId, Addr)) -> bool {
        self.lanes.is_some_and(|lanes| {
            let rows = stride(&a.1, lanes) == Some(1) && stride(&a.1, over).is_some();
            rows && stride(&b.1, over).is_some() && !b.1.uses(lanes)
        })
    }
}
