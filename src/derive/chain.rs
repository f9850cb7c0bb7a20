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
//! Where cells read further back, or chains read each other, i and j are states of several values together.

use std::collections::HashMap;

use super::discrete::{Factor, Summed};
use super::joint::*;
use super::translate::Translator;
use crate::diag::{Code, Diagnostic};
use crate::hir::{AxisId, OrderPart, VarKind};
use crate::source::Span;

/// An earlier cell that a factor reads of a latent whose current one it is a factor of.
#[derive(Clone, Debug)]
pub(super) struct Lag {
    pub slot: SlotId,
    /// How many steps before.
    pub back: usize,
    /// Of the latent's dimensions, the one that is walked.
    pub dim: usize,
    /// Its position on that plate, in terms of `along`.
    pub at: NodeId,
    pub along: AxisId,
    /// The order of the walk, if it is not that of the plate.
    pub order: Option<SlotId>,
}

impl Translator<'_> {
    /// The dimension, the steps and the position of the one of two cells that lies before the other.
    pub(super) fn lag(&self, slot: SlotId, own: &[Ix], earlier: &[Ix]) -> Option<Lag> {
        let differ: Vec<usize> = (0..own.len()).filter(|&d| own[d] != earlier[d]).collect();
        let [dim] = differ[..] else { return None };
        let (Ix::Axis(t), Ix::At(at)) = (&own[dim], &earlier[dim]) else { return None };
        let (back, order) = self.steps_before(*at, *t)?;
        Some(Lag { slot, back, dim, at: *at, along: *t, order })
    }

    /// How many steps before the current one a position is: in the plate's order, or in a walk's, which is given.
    pub(super) fn steps_before(&self, at: NodeId, t: AxisId) -> Option<(usize, Option<SlotId>)> {
        let steps = |n: NodeId| match self.joint.node(n) {
            Node::Const(bits) => Some(f64::from_bits(*bits)).filter(|k| *k >= 1.0 && *k <= 64.0).map(|k| k as usize),
            _ => None,
        };
        match self.joint.node(at) {
            Node::Binary(BinOp::Sub, here, by) if *self.joint.node(*here) == Node::Position(t) => {
                Some((steps(*by)?, None))
            }
            Node::Select(_, row, _) => {
                let Node::Read { slot, index } = self.joint.node(*row) else { return None };
                let SlotKind::Data(var) = self.joint.slot(*slot).kind else { return None };
                let rows = matches!(self.hir.var(var).kind, VarKind::Order { part: OrderPart::Rows, .. });
                let [Ix::At(rank)] = index[..] else { return None };
                match self.joint.node(rank) {
                    Node::Binary(BinOp::Sub, _, by) if rows && self.joint.free_axes(at) == [t] => {
                        Some((steps(*by)?, Some(*slot)))
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// Over the values of an earlier cell.
    pub(super) fn lag_axis(&mut self, z: &Summed, back: usize) -> AxisId {
        if let Some(axis) = self.lag_axes.get(&(z.slot, back)) {
            return *axis;
        }
        let name = &self.hir.var(z.var).name;
        let name = if back == 1 { format!("{name} before") } else { format!("{name} {back} before") };
        let axis = self.fresh_axis(z.plate, &name);
        self.lag_axes.insert((z.slot, back), axis);
        axis
    }

    /// The same expression with an earlier cell at the current cell of its values' axis.
    pub(super) fn with_previous(&mut self, node: NodeId, earlier: &[Ix], z: &Summed, back: usize) -> NodeId {
        let axis = self.lag_axis(z, back);
        let value = self.substitute(z.value, z.axis, &Ix::Axis(axis));
        let read = Node::Read { slot: z.slot, index: earlier.to_vec() };
        self.joint.replaced(node, &|n| (*n == read).then_some(value), &mut HashMap::new())
    }

    /// Chains of which each cell shares factors with the same cell of another, or with an earlier one: to be summed out as
    /// one. With what all of their cells share factors with.
    #[allow(clippy::type_complexity)]
    pub(super) fn walking_together(
        &mut self,
        latents: &[Summed],
        factors: &[Factor],
    ) -> Option<(Vec<Summed>, Vec<(SlotId, Vec<Ix>)>)> {
        let starts: Vec<&Lag> = factors.iter().flat_map(|f| &f.lags).collect();
        starts.into_iter().find_map(|lag| self.closed(lag, latents, factors))
    }

    #[allow(clippy::type_complexity)]
    fn closed(
        &mut self,
        first: &Lag,
        latents: &[Summed],
        factors: &[Factor],
    ) -> Option<(Vec<Summed>, Vec<(SlotId, Vec<Ix>)>)> {
        let find = |slot: SlotId| latents.iter().find(|z| z.slot == slot).cloned();
        let lead = find(first.slot)?;
        let mut chains = vec![lead.clone()];
        let mut near: Vec<(SlotId, Vec<Ix>)> = vec![];
        let mut at = 0;
        while let Some(z) = chains.get(at).cloned() {
            at += 1;
            let t = *z.axes.get(first.dim)?;
            for f in factors {
                let Some((_, own)) = f.reads.iter().find(|r| r.0 == z.slot) else { continue };
                let plain = own.iter().all(|ix| matches!(ix, Ix::Axis(_)));
                if !f.lags.iter().all(|l| plain && l.dim == first.dim && l.order == first.order) {
                    return None;
                }
                for (slot, index) in f.reads.iter().filter(|r| r.0 != z.slot) {
                    let found = self.in_terms_of(index, own, &z.axes).filter(|ix| !self.uses(ix, t));
                    let lagged = f.lags.iter().any(|l| l.slot == *slot);
                    match found.filter(|_| !lagged) {
                        Some(index) => {
                            let index = self.moved(&index, &z.axes, &lead.axes);
                            match near.iter().find(|n| n.0 == *slot) {
                                Some((_, known)) if *known != index => return None,
                                Some(_) => {}
                                None => near.push((*slot, index)),
                            }
                        }
                        // The same cell of another latent over the same plates.
                        None if index == own => {
                            if chains.iter().all(|c| c.slot != *slot) {
                                chains.push(find(*slot)?);
                            }
                        }
                        None => return None,
                    }
                }
            }
        }
        near.iter().all(|n| chains.iter().all(|c| c.slot != n.0)).then_some((chains, near))
    }

    /// An index over other axes.
    fn moved(&mut self, index: &[Ix], from: &[AxisId], to: &[AxisId]) -> Vec<Ix> {
        let mut one = |ix: &Ix| match ix {
            Ix::Axis(a) => Ix::Axis(from.iter().position(|f| f == a).map_or(*a, |i| to[i])),
            Ix::At(n) => Ix::At(self.renamed_axes(*n, from, to)),
            Ix::Label(..) => ix.clone(),
        };
        index.iter().map(&mut one).collect()
    }

    /// Eliminate chains that walk together: their factors are `mine`, `over` the values of the latents that all their cells share
    /// factors with. The state is the value of each, with those of its earlier cells but the oldest that a factor reads.
    pub(super) fn eliminate_chain(
        &mut self,
        chains: &[Summed],
        mine: &[Factor],
        over: &[AxisId],
    ) -> Result<NodeId, Diagnostic> {
        let lead = &chains[0];
        let (name, span) = (self.names(chains), self.hir.var(lead.var).span);
        let lags: Vec<&Lag> = mine.iter().flat_map(|f| &f.lags).collect();
        let dim = lags.first().expect("a chain has a factor of two cells").dim;
        let t = lead.axes[dim];
        let Some(before) = self.position_before(&lags, t) else {
            let d = Code::CANNOT_SUM_OUT
                .at(span, format!("`{name}` reads an earlier row, and never the one just before"))
                .here("which row is between?")
                .help("let the prior read the row before as well, `[t-1]`");
            return Err(d);
        };
        let order = lags[0].order;
        // Of each chain the axes of its state, newest first, and that of the cell that leaves it.
        let (mut state, mut gone, mut previous): (Vec<AxisId>, Vec<AxisId>, Vec<AxisId>) = Default::default();
        let mut older = vec![];
        for z in chains {
            let most = lags.iter().filter(|l| l.slot == z.slot).map(|l| l.back).max().unwrap_or(1);
            let earlier: Vec<AxisId> = (1..=most).map(|k| self.lag_axis(z, k)).collect();
            state.push(z.axis);
            state.extend(&earlier[..most - 1]);
            older.extend(&earlier[..most - 1]);
            previous.extend(&earlier);
            gone.push(earlier[most - 1]);
        }
        let current: Vec<AxisId> = chains.iter().map(|z| z.axis).collect();
        let mut cells: Option<NodeId> = None;
        let mut pairs = vec![];
        for f in mine {
            let own = chains.iter().find(|z| f.reads.iter().any(|r| r.0 == z.slot)).expect("it is a factor of a chain");
            let part = self.aligned(f, own);
            let part = self.renamed_axes(part, &own.axes, &lead.axes);
            match f.lags.is_empty() {
                true => cells = Some(cells.map_or(part, |c| self.joint.binary(BinOp::Add, c, part))),
                false => pairs.push((part, f.prior)),
            }
        }
        let mut begins = None;
        let (mut init, mut rest) = (self.joint.constant(0.0), self.joint.constant(0.0));
        // Before the beginning there is one state, the first: of all that are carried, only it is possible.
        let zero = self.joint.constant(0.0);
        for axis in &older {
            let (at, never) = (self.joint.intern(Node::Position(*axis)), self.joint.constant(f64::NEG_INFINITY));
            let is = self.joint.binary(BinOp::Equal, at, zero);
            let only = self.joint.intern(Node::Select(is, zero, never));
            init = self.joint.binary(BinOp::Add, init, only);
        }
        for (part, prior) in &pairs {
            let found = self.parts(*part, &previous, &current);
            let (start, step) = match found {
                Some((Some(c), start, step)) if *prior && begins.is_none_or(|b| b == c) => {
                    begins = Some(c);
                    (start, step)
                }
                Some((_, start, _)) if !prior => (start, *part),
                None if !prior => (*part, *part),
                _ => {
                    let d = Code::CANNOT_SUM_OUT
                        .at(span, format!("the first cell of `{name}` has no cell before it, and its prior reads one"))
                        .here("how does the chain begin?")
                        .help("write `~ if first(t) then … else …`, with `[t-1]` after `else` only");
                    return Err(d);
                }
            };
            init = self.joint.binary(BinOp::Add, init, start);
            rest = self.joint.binary(BinOp::Add, rest, step);
        }
        let Some(begins) = begins else { unreachable!("a chain has a prior that reads an earlier cell") };
        // What is the same at every step is stored once, not per step.
        let not = self.joint.unary(UnOp::Not, begins);
        let rest = self.stored_where(not, format!("steps of {name}"), rest, t, span);
        let init = self.stored_where(begins, format!("start of {name}"), init, t, span);
        let axes: Vec<AxisId> = lead.axes.iter().chain(&state).chain(over).copied().collect();
        let cells = cells.map(|c| {
            let own = self.joint.free_axes(c);
            let own: Vec<AxisId> = axes.iter().copied().filter(|a| own.contains(a)).collect();
            self.stored(format!("log p of {name}"), &own, c, span)
        });
        let slot = self.slot(format!("filter of {name}"), self.plates(&axes), SlotKind::Defined);
        let at_before = |rest: &[AxisId]| -> Vec<Ix> {
            let mut index: Vec<Ix> = lead.axes.iter().chain(rest).map(|a| Ix::Axis(*a)).collect();
            index[dim] = Ix::At(before);
            index
        };
        let whole: Vec<AxisId> = previous.iter().chain(over).copied().collect();
        let earlier = self.joint.intern(Node::Read { slot, index: at_before(&whole) });
        let forward = self.joint.binary(BinOp::Add, earlier, rest);
        let stepwise: Vec<AxisId> = lead.axes.iter().chain(&gone).copied().collect();
        let noise = self.noise(&name, lead.var, &stepwise).map(|n| self.read_all(n, &stepwise));
        let step = self.over_values(&gone, forward, noise);
        // The whole earlier state, by other axes where it shares some with the current one.
        let fresh: Vec<AxisId> = match older.is_empty() {
            true => previous.clone(),
            false => previous.iter().map(|a| self.fresh_axis(self.hir.axis(*a).plate, "")).collect(),
        };
        let whole: Vec<AxisId> = fresh.iter().chain(over).copied().collect();
        let earlier = self.joint.intern(Node::Read { slot, index: at_before(&whole) });
        let own: Vec<AxisId> = lead.axes.iter().chain(&state).copied().collect();
        let choice = self.noise(&format!("{name} state"), lead.var, &own);
        let noise = choice.map(|slot| self.joint.intern(Node::Read { slot, index: at_before(&fresh) }));
        let norm = self.over_values(&fresh, earlier, noise);
        let step = self.joint.binary(BinOp::Sub, step, norm);
        let value = self.joint.intern(Node::Select(begins, init, step));
        let value = cells.map_or(value, |c| self.joint.binary(BinOp::Add, c, value));
        let group = self.joint.defs.len() as u32;
        let walk = Some(Walk { axis: t, order, backwards: false, group });
        let def = Def { walk, ..Def::new(slot, axes.clone(), value, span) };
        self.joint.defs.push(def);
        let filter = self.read_all(slot, &axes);
        let noise = choice.map(|slot| self.read_all(slot, &own));
        self.note(chains, &[state, gone].concat(), over, true);
        Ok(self.over_values(&own[lead.axes.len()..], filter, noise))
    }

    /// The position one step before, in terms of `t`.
    fn position_before(&mut self, lags: &[&Lag], t: AxisId) -> Option<NodeId> {
        if let Some(lag) = lags.iter().find(|l| l.back == 1) {
            return Some(self.substitute(lag.at, lag.along, &Ix::Axis(t)));
        }
        let (here, one) = (self.joint.intern(Node::Position(t)), self.joint.constant(1.0));
        lags[0].order.is_none().then(|| self.joint.binary(BinOp::Sub, here, one))
    }

    /// By way of new axes, since one may take the place of another.
    pub(super) fn renamed_axes(&mut self, mut node: NodeId, from: &[AxisId], to: &[AxisId]) -> NodeId {
        if from == to {
            return node;
        }
        let fresh: Vec<AxisId> = from.iter().map(|a| self.fresh_axis(self.hir.axis(*a).plate, "")).collect();
        for (a, b) in from.iter().zip(&fresh).chain(fresh.iter().zip(to)) {
            node = self.substitute(node, *a, &Ix::Axis(*b));
        }
        node
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
    fn parts(&mut self, node: NodeId, before: &[AxisId], own: &[AxisId]) -> Option<(Option<NodeId>, NodeId, NodeId)> {
        let varies = |t: &Self, n: NodeId, over: &[AxisId]| t.joint.free_axes(n).iter().any(|a| over.contains(a));
        let reads = |t: &Self, n: NodeId| varies(t, n, before);
        if !reads(self, node) {
            return Some((None, node, node));
        }
        match self.joint.node(node).clone() {
            Node::Select(c, a, b) if !reads(self, c) && !varies(self, c, own) => {
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
