//! Discrete latents that read their own earlier cell, by the forward algorithm.
//!
//! With u[t, j] the factors of one cell and P[t, i, j] those of a cell and the one before it, the filter
//!
//! ```text
//! f[t, j] = u[t, j] + init[t, j]                                               where a chain begins
//! f[t, j] = u[t, j] + log Σ_i exp(f[t-1, i] + P[t, i, j]) - log Σ_i exp f[t-1, i]   elsewhere
//! ```
//!
//! is a definition that walks, and the chains' log probability is the sum of log Σ_j exp f[t, j] over all t: each step is
//! normalised by the one before, so that nothing has to be known about where chains end, and numbers stay near 0.

use std::collections::HashMap;

use super::discrete::{Factor, Summed};
use super::joint::*;
use super::translate::Translator;
use crate::diag::{Code, Diagnostic};
use crate::hir::{AxisId, OrderPart, VarKind};
use crate::source::Span;

/// The cell before the current one.
#[derive(Clone, Debug)]
pub(super) struct Lag {
    pub slot: SlotId,
    /// Of the latent's dimensions, the one that is walked.
    pub dim: usize,
    /// Its position on that plate.
    pub at: NodeId,
    /// The order of the walk, if it is not that of the plate.
    pub order: Option<SlotId>,
    /// Over the values of the cell before.
    pub axis: AxisId,
}

impl Translator<'_> {
    /// Of two cells of one latent, which is current, and the other as the one before it; `None` if it is not.
    pub(super) fn lag(&mut self, z: &Summed, a: &[Ix], b: &[Ix]) -> Option<(Vec<Ix>, Lag)> {
        self.before(z, a, b).or_else(|| self.before(z, b, a))
    }

    fn before(&mut self, z: &Summed, own: &[Ix], earlier: &[Ix]) -> Option<(Vec<Ix>, Lag)> {
        let differ: Vec<usize> = (0..own.len()).filter(|&d| own[d] != earlier[d]).collect();
        let [dim] = differ[..] else { return None };
        let (Ix::Axis(t), Ix::At(at)) = (&own[dim], &earlier[dim]) else { return None };
        let order = self.step_before(*at, *t)?;
        let name = format!("{} before", self.hir.var(z.var).name);
        let axis = self.fresh_axis(z.plate, &name);
        Some((own.to_vec(), Lag { slot: z.slot, dim, at: *at, order, axis }))
    }

    /// Whether a position is one step before the current one: in the plate's order, or in a walk's, which is given.
    fn step_before(&self, at: NodeId, t: AxisId) -> Option<Option<SlotId>> {
        let one = |n: NodeId| self.joint.is_constant(n, 1.0);
        match self.joint.node(at) {
            Node::Binary(BinOp::Sub, here, by) if one(*by) && *self.joint.node(*here) == Node::Position(t) => {
                Some(None)
            }
            Node::Select(_, row, _) => {
                let Node::Read { slot, index } = self.joint.node(*row) else { return None };
                let SlotKind::Data(var) = self.joint.slot(*slot).kind else { return None };
                let rows = matches!(self.hir.var(var).kind, VarKind::Order { part: OrderPart::Rows, .. });
                let [Ix::At(rank)] = index[..] else { return None };
                match self.joint.node(rank) {
                    Node::Binary(BinOp::Sub, _, by) if rows && one(*by) => Some(Some(*slot)),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// The same expression with the cell before at the current cell of its values' axis.
    pub(super) fn with_previous(&mut self, node: NodeId, earlier: &[Ix], z: &Summed, lag: &Lag) -> NodeId {
        let at = self.joint.intern(Node::Position(lag.axis));
        let first = self.hir.discrete(z.var).expect("it is summed").first.clone();
        let first = self.expr(&first);
        let value = if self.joint.is_constant(first, 0.0) { at } else { self.joint.binary(BinOp::Add, at, first) };
        let read = Node::Read { slot: z.slot, index: earlier.to_vec() };
        self.joint.replaced(node, &|n| (*n == read).then_some(value), &mut HashMap::new())
    }

    /// Eliminate a chain: its factors are `mine`; `others` are the latents that all its cells share factors with.
    pub(super) fn eliminate_chain(
        &mut self,
        z: &Summed,
        mine: &[Factor],
        over: &[AxisId],
    ) -> Result<NodeId, Diagnostic> {
        let v = self.hir.var(z.var).clone();
        let lag = mine.iter().find_map(|f| f.lag.clone()).expect("a chain has a factor of two cells");
        let mut cells: Option<NodeId> = None;
        let mut pairs = vec![];
        for f in mine {
            let part = self.aligned(f, z);
            match &f.lag {
                None => cells = Some(cells.map_or(part, |c| self.joint.binary(BinOp::Add, c, part))),
                Some(own) => {
                    let part = self.substitute(part, own.axis, &Ix::Axis(lag.axis));
                    pairs.push((part, f.prior));
                }
            }
        }
        // The position before, in terms of the latent's own axis.
        let t = z.axes[lag.dim];
        let from = mine.iter().find_map(|f| match &f.reads.iter().find(|r| r.0 == z.slot)?.1[lag.dim] {
            Ix::Axis(a) if f.lag.is_some() => Some(*a),
            _ => None,
        });
        let before = self.substitute(lag.at, from.unwrap_or(t), &Ix::Axis(t));
        let mut parts = None;
        for (part, prior) in &pairs {
            if *prior {
                parts = self.parts(*part, lag.axis, z.axis);
            }
        }
        let Some((Some(begins), mut init, mut rest)) = parts else {
            let d = Code::CANNOT_SUM_OUT
                .at(v.span, format!("the first cell of `{}` has no cell before it, and its prior reads one", v.name))
                .here("how does the chain begin?")
                .help(format!("write `~ if first(t) then … else …`, with `{}[t-1]` after `else` only", v.name));
            return Err(d);
        };
        for (part, _) in pairs.iter().filter(|p| !p.1) {
            let start = self.parts(*part, lag.axis, z.axis).map_or(*part, |p| p.1);
            init = self.joint.binary(BinOp::Add, init, start);
            rest = self.joint.binary(BinOp::Add, rest, *part);
        }
        // What is the same at every step is stored once, not per step.
        let not = self.joint.unary(UnOp::Not, begins);
        let rest = self.stored_where(not, format!("steps of {}", v.name), rest, t, v.span);
        let init = self.stored_where(begins, format!("start of {}", v.name), init, t, v.span);
        let axes: Vec<AxisId> = z.axes.iter().chain([&z.axis]).chain(over).copied().collect();
        let cells = cells.map(|c| self.stored(format!("log p of {}", v.name), &axes, c, v.span));
        let slot = self.slot(format!("filter of {}", v.name), self.plates(&axes), SlotKind::Defined);
        let mut index: Vec<Ix> = axes.iter().map(|a| Ix::Axis(*a)).collect();
        index[lag.dim] = Ix::At(before);
        index[z.axes.len()] = Ix::Axis(lag.axis);
        let previous = self.joint.intern(Node::Read { slot, index });
        let own: Vec<AxisId> = z.axes.iter().chain([&z.axis]).copied().collect();
        let noise = self.noise(&v.name, z.var, &own);
        let earlier = noise.map(|slot| {
            let mut index: Vec<Ix> = own.iter().map(|a| Ix::Axis(*a)).collect();
            index[lag.dim] = Ix::At(before);
            index[z.axes.len()] = Ix::Axis(lag.axis);
            self.joint.intern(Node::Read { slot, index })
        });
        let forward = self.joint.binary(BinOp::Add, previous, rest);
        let step = self.over_values(&[lag.axis], forward, earlier);
        let norm = self.over_values(&[lag.axis], previous, earlier);
        let step = self.joint.binary(BinOp::Sub, step, norm);
        let value = self.joint.intern(Node::Select(begins, init, step));
        let value = cells.map_or(value, |c| self.joint.binary(BinOp::Add, c, value));
        let group = self.joint.defs.len() as u32;
        let walk = Some(Walk { axis: t, order: lag.order, backwards: false, group });
        let def = Def { walk, ..Def::new(slot, axes.clone(), value, v.span) };
        self.joint.defs.push(def);
        let filter = self.read_all(slot, &axes);
        let noise = noise.map(|slot| self.read_all(slot, &own));
        Ok(self.over_values(&[z.axis], filter, noise))
    }

    /// Stored over what it varies over, computed where it is needed only: elsewhere it may read a cell that is not there.
    fn stored_where(&mut self, needed: NodeId, name: String, value: NodeId, t: AxisId, span: Span) -> NodeId {
        let value = match self.joint.varies_over(value, t) {
            true => {
                let nothing = self.joint.constant(0.0);
                self.joint.intern(Node::Select(needed, value, nothing))
            }
            false => value,
        };
        let axes = self.joint.free_axes(value);
        if axes.is_empty() { value } else { self.stored(name, &axes, value, span) }
    }

    /// The data condition under which a factor does not read the cell before, and the factor there and elsewhere.
    fn parts(&mut self, node: NodeId, before: AxisId, own: AxisId) -> Option<(Option<NodeId>, NodeId, NodeId)> {
        let reads = |t: &Self, n: NodeId| t.joint.varies_over(n, before);
        if !reads(self, node) {
            return Some((None, node, node));
        }
        match self.joint.node(node).clone() {
            Node::Select(c, a, b) if !reads(self, c) && !self.joint.varies_over(c, own) => {
                match (reads(self, a), reads(self, b)) {
                    (false, true) => Some((Some(c), a, b)),
                    (true, false) => Some((Some(self.joint.unary(UnOp::Not, c)), b, a)),
                    _ => {
                        let ((ca, ia, ra), (cb, ib, rb)) = (self.parts(a, before, own)?, self.parts(b, before, own)?);
                        let both = ca.filter(|x| Some(*x) == cb)?;
                        let init = self.joint.intern(Node::Select(c, ia, ib));
                        Some((Some(both), init, self.joint.intern(Node::Select(c, ra, rb))))
                    }
                }
            }
            Node::Select(c, a, b) if !reads(self, c) => {
                let ((ca, ia, ra), (cb, ib, rb)) = (self.parts(a, before, own)?, self.parts(b, before, own)?);
                let init = self.joint.intern(Node::Select(c, ia, ib));
                Some((ca.or(cb), init, self.joint.intern(Node::Select(c, ra, rb))))
            }
            Node::Unary(op, a) => {
                let (c, i, r) = self.parts(a, before, own)?;
                Some((c, self.joint.unary(op, i), self.joint.unary(op, r)))
            }
            Node::Binary(op, a, b) => {
                let ((ca, ia, ra), (cb, ib, rb)) = (self.parts(a, before, own)?, self.parts(b, before, own)?);
                if ca.is_some() && cb.is_some() && ca != cb {
                    return None;
                }
                Some((ca.or(cb), self.joint.binary(op, ia, ib), self.joint.binary(op, ra, rb)))
            }
            Node::Const(_)
            | Node::Read { .. }
            | Node::Position(_)
            | Node::Size(_)
            | Node::Matrix { .. }
            | Node::Ode { .. }
            | Node::Select(..)
            | Node::Detached(_)
            | Node::Reduce { .. } => None,
        }
    }
}
