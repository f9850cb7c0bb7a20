//! Discrete latents summed out of the log joint, one after the other.
//!
//! Every term that reads a discrete latent is a factor. Eliminating a latent adds up its factors per cell of its
//! plates, further plates of a factor being multiplied out first, and takes the log-sum-exp over its values; what is
//! left is a factor of the latents that shared these factors with it. A latent can be eliminated when each of its
//! cells shares factors with one cell of every other: then the cost per cell is that of one table, whatever the sizes
//! of the plates (Obermeyer et al. 2019, Tensor variable elimination for plated factor graphs).

use std::collections::{HashMap, HashSet};

use super::chain::Lag;
use super::joint::*;
use super::together::{Join, Together};
use super::translate::Translator;
use crate::diag::{Code, Diagnostic};
use crate::hir::{AxisId, AxisInfo, PlateId, VarId};
use crate::infer::batches::Weighing;
use crate::source::Span;

/// How the name of a latent's configurations begins.
pub(super) const TOGETHER: &str = "all cells of ";

/// Larger tables, in entries per cell, are not summed.
pub const MOST_ENTRIES: f64 = (1u64 << 22) as f64;

/// Larger tables over all cells together (2 GiB) are not kept.
pub const MOST_STORED: f64 = (1u64 << 28) as f64;

/// What the log joint is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Fit,
    /// The same for several draws per row of a batch, which are weighed against each other.
    Weighed(Weighing),
    /// The same, with an input per coordinate along which the derivative is the sum of the terms that depend on it.
    Parts,
    /// Each discrete latent has a probe: an input, 0, added to the log joint per value. The derivative along it is the
    /// value's probability given the rest.
    Probabilities,
    /// The same with the largest in place of the sum over values: the derivative is 1 for the values of the most
    /// probable configuration, 0 for others.
    Path,
    /// All other latents are inputs, on their own scale, and nothing but the sums over discrete ones is left. Each sum has
    /// its value still, and the derivative of a choice made by noise, an input too: the derivative along the probes is 1
    /// for the values of one draw of the discrete latents given the others, 0 for the rest.
    Drawn,
    /// All other latents and params are inputs, on their own scale, without Jacobians; discrete ones are summed out.
    Given,
}

/// Why latents cannot be summed out one after the other.
pub(super) enum Stuck {
    /// Cells must be taken together.
    Together,
    Problem(Box<Diagnostic>),
}

impl From<Diagnostic> for Stuck {
    fn from(d: Diagnostic) -> Stuck {
        Stuck::Problem(Box::new(d))
    }
}

/// A discrete latent as it is summed out.
#[derive(Clone, Debug)]
pub(super) struct Summed {
    pub slot: SlotId,
    pub var: VarId,
    pub axes: Vec<AxisId>,
    pub plate: PlateId,
    /// Over its values.
    pub axis: AxisId,
    pub value: NodeId,
}

/// A term that depends on discrete latents.
#[derive(Clone, Debug)]
pub(super) struct Factor {
    pub name: String,
    pub axes: Vec<AxisId>,
    pub filter: Option<NodeId>,
    pub value: NodeId,
    pub span: Span,
    /// Which cell of each.
    pub reads: Vec<(SlotId, Vec<Ix>)>,
    /// It depends also on earlier cells of these.
    pub lags: Vec<Lag>,
    /// Such a one's own prior.
    pub prior: bool,
}

impl Translator<'_> {
    /// The slot that stands for a discrete latent until it is summed out.
    pub(super) fn discrete(&mut self, var: VarId) -> SlotId {
        let v = self.hir.var(var).clone();
        self.slot(v.name, self.plates(&v.axes), SlotKind::Discrete(var))
    }

    /// log of the sum of a discrete latent's prior over its values.
    pub(super) fn kept(&mut self, slot: SlotId, value: NodeId) -> NodeId {
        let SlotKind::Discrete(var) = self.joint.slot(slot).kind else { unreachable!("made by `discrete`") };
        let z = self.summed_latent(slot, var);
        let (axis, body) = (z.axis, self.joint.with_values(value, &[z]));
        self.joint.intern(Node::Reduce { op: Fold::LogSumExp, axes: vec![axis], filter: None, body })
    }

    pub(super) fn depends_on_discrete(&self, node: NodeId) -> bool {
        let mut slots = HashSet::new();
        self.joint.reads(node, &mut slots);
        slots.iter().any(|s| matches!(self.joint.slot(*s).kind, SlotKind::Discrete(_)))
    }

    /// Sum out every discrete latent. What cannot be is said in the joint's `problems`.
    pub(super) fn sum_out(&mut self) {
        let latents = self.summed();
        if latents.is_empty() {
            return;
        }
        let whole = self.joint.clone();
        let mut joins = vec![];
        // Each round takes more cells together than the one before, until nothing is in the way.
        while let Err(stuck) = self.eliminate_all(&latents, &mut joins) {
            match stuck {
                Stuck::Together => {
                    self.joint = whole.clone();
                    self.lag_axes.clear();
                }
                Stuck::Problem(problem) => return self.joint.problems.push(*problem),
            }
        }
    }

    /// Sum out all latents, where `joins` are taken together; what must be beside these is added there.
    fn eliminate_all(&mut self, all: &[Summed], joins: &mut Vec<Join>) -> Result<(), Stuck> {
        let mut latents: Vec<Summed> = all.iter().filter(|z| joins.iter().all(|j| j.slot != z.slot)).cloned().collect();
        let together: Vec<Together> = joins.iter().map(|j| self.together(all, j)).collect();
        latents.extend(together.iter().map(|t| t.whole.clone()));
        let mut factors = vec![];
        for mut term in std::mem::take(&mut self.joint.terms) {
            term.value = self.with_digits(term.value, &together);
            match self.factor(&term, &latents, joins)? {
                None if self.purpose == Purpose::Drawn => {}
                None => self.joint.terms.push(term),
                Some(f) => factors.push(f),
            }
        }
        if !matches!(self.purpose, Purpose::Fit | Purpose::Weighed(_) | Purpose::Parts | Purpose::Given) {
            for z in all {
                let probe = self.probe(z, together.iter().find(|t| t.cell.slot == z.slot));
                factors.push(probe);
            }
        }
        while !latents.is_empty() {
            let ready = (0..latents.len()).filter(|&i| self.neighbours(&latents[i], &factors).is_some());
            // Fewest new ties first, then the smallest table; of equals the last declared, which is the innermost.
            let best = ready.min_by_key(|&i| {
                let near = self.neighbours(&latents[i], &factors).expect("just seen");
                (fill(&near, &factors), near.len(), latents.len() - i)
            });
            if let Some(best) = best {
                let z = latents.remove(best);
                self.eliminate(&z, &mut factors)?;
            } else if let Some((chains, near)) = self.walking_together(&latents, &factors) {
                latents.retain(|z| chains.iter().all(|c| c.slot != z.slot));
                self.sum_out_chain(&chains, near, &mut factors)?;
            } else {
                return Err(self.join_more(&latents, joins));
            }
        }
        Ok(())
    }

    /// The discrete latents, in the order declared.
    fn summed(&mut self) -> Vec<Summed> {
        let slots: Vec<(SlotId, VarId)> = (0..self.joint.slots.len())
            .filter_map(|i| match self.joint.slots[i].kind {
                SlotKind::Discrete(var) => Some((SlotId(i as u32), var)),
                _ => None,
            })
            .collect();
        let latents: Vec<Summed> = slots.into_iter().map(|(slot, var)| self.summed_latent(slot, var)).collect();
        self.joint.value_axes.extend(latents.iter().map(|z| (z.slot, z.axis)));
        latents
    }

    pub(super) fn summed_latent(&mut self, slot: SlotId, var: VarId) -> Summed {
        let d = self.hir.discrete(var).expect("a discrete slot is a discrete latent's").clone();
        let v = self.hir.var(var).clone();
        let axis = self.fresh_axis(d.plate, &v.name);
        let at = self.joint.intern(Node::Position(axis));
        let first = self.expr(&d.first);
        let value = if self.joint.is_constant(first, 0.0) { at } else { self.joint.binary(BinOp::Add, at, first) };
        Summed { slot, var, axes: v.axes, plate: d.plate, axis, value }
    }

    pub(super) fn fresh_axis(&mut self, plate: PlateId, name: &str) -> AxisId {
        self.hir.axes.push(AxisInfo { plate, name: name.into() });
        AxisId(self.hir.axes.len() as u32 - 1)
    }

    /// A term with its discrete latents replaced by their values' axes; `None` if it reads none.
    fn factor(&mut self, term: &Term, latents: &[Summed], joins: &mut Vec<Join>) -> Result<Option<Factor>, Stuck> {
        let (mut reads, mut inside) = (vec![], None);
        self.collect(term.value, &[], &mut HashSet::new(), &mut reads, &mut inside);
        if reads.is_empty() {
            return Ok(None);
        }
        // A sum over a plate of latents reads all its cells, and so does an index that depends on a latent.
        if let Some((slot, axis)) = inside {
            let (_, index) = reads.iter().find(|r| r.0 == slot && self.uses(&r.1, axis)).expect("it is a read");
            let dims = (0..index.len()).filter(|&d| self.uses(&index[d..=d], axis)).collect();
            return Err(self.join(slot, dims, joins, latents));
        }
        for (slot, index) in &reads {
            let by_latent = |ix: &Ix| matches!(ix, Ix::At(n) if self.depends_on_discrete(*n));
            let dims: Vec<usize> = (0..index.len()).filter(|&d| by_latent(&index[d])).collect();
            if !dims.is_empty() {
                return Err(self.join(*slot, dims, joins, latents));
            }
        }
        let mut lags: Vec<Lag> = vec![];
        let (mut value, mut current) = (term.value, vec![]);
        // Of which latent a cell just before another is read.
        let walked = latents.iter().any(|z| {
            let own: Vec<&Vec<Ix>> = reads.iter().filter(|r| r.0 == z.slot).map(|r| &r.1).collect();
            own.iter().any(|a| own.iter().any(|b| self.lag(z.slot, a, b).is_some()))
        });
        let here = reads.iter().flat_map(|r| &r.1).find_map(|ix| match ix {
            Ix::Axis(a) if walked || reads.len() > 1 => Some(*a),
            _ => None,
        });
        for z in latents {
            let mut own: Vec<Vec<Ix>> = reads.iter().filter(|r| r.0 == z.slot).map(|r| r.1.clone()).collect();
            let (Some(first), several) = (own.first().cloned(), own.len() > 1) else { continue };
            let is_current = |a: &Vec<Ix>| own.iter().all(|b| a == b || self.lag(z.slot, a, b).is_some());
            let mut now = own.iter().find(|a| is_current(a)).cloned();
            // Beside cells of other latents in this row, an earlier cell is one of a chain: its own current cell is here.
            let lagged = first
                .iter()
                .position(|ix| matches!((ix, here), (Ix::At(n), Some(t)) if self.steps_before(*n, t).is_some()));
            if let (Some(dim), Some(t)) = (lagged, here)
                && (walked || reads.iter().any(|r| r.0 != z.slot))
                && (!several || now.is_none())
            {
                let mut cell = first.clone();
                cell[dim] = Ix::Axis(t);
                let all = own.iter().all(|b| self.lag(z.slot, &cell, b).is_some());
                now = all.then_some(cell).or(now);
            }
            let Some(now) = now else {
                let differ = (0..first.len()).filter(|&d| own.iter().any(|o| o[d] != first[d])).collect();
                return Err(self.join(z.slot, differ, joins, latents));
            };
            own.retain(|o| *o != now);
            for earlier in own {
                let lag = self.lag(z.slot, &now, &earlier).expect("just seen");
                value = self.with_previous(value, &earlier, z, lag.back);
                lags.push(lag);
            }
            current.push((z.slot, now));
        }
        let own_prior = |z: &Summed| term.name.starts_with(&format!("{} ~ ", self.hir.var(z.var).name));
        let prior = term.kind == TermKind::Prior && !lags.is_empty() && latents.iter().any(own_prior);
        let value = self.joint.with_values(value, latents);
        let Term { name, axes, filter, span, .. } = term.clone();
        Ok(Some(Factor { name, axes, filter, value, span, reads: current, lags, prior }))
    }

    /// Whether an index moves with an axis.
    pub(super) fn uses(&self, index: &[Ix], a: AxisId) -> bool {
        index.iter().any(|ix| match ix {
            Ix::Axis(b) => *b == a,
            Ix::At(n) => self.joint.varies_over(*n, a),
            Ix::Label(..) => false,
        })
    }

    /// The cells of discrete latents that an expression reads; `inside`: one that a reduction in it runs over.
    pub(super) fn collect(
        &self,
        node: NodeId,
        bound: &[AxisId],
        seen: &mut HashSet<(NodeId, Vec<AxisId>)>,
        reads: &mut Vec<(SlotId, Vec<Ix>)>,
        inside: &mut Option<(SlotId, AxisId)>,
    ) {
        if !seen.insert((node, bound.to_vec())) {
            return;
        }
        if let Node::Read { slot, index } = self.joint.node(node)
            && matches!(self.joint.slot(*slot).kind, SlotKind::Discrete(_))
        {
            if let Some(&a) = bound.iter().find(|a| self.uses(index, **a)) {
                inside.get_or_insert((*slot, a));
            }
            let read = (*slot, index.clone());
            if !reads.contains(&read) {
                reads.push(read);
            }
        }
        let mut bound = bound.to_vec();
        if let Node::Reduce { axes, .. } = self.joint.node(node) {
            bound.extend(axes);
        }
        for operand in self.joint.operands(node) {
            self.collect(operand, &bound, seen, reads, inside);
        }
    }

    /// An input of 0 per cell and value.
    fn probe(&mut self, z: &Summed, together: Option<&Together>) -> Factor {
        let name = format!("{} probe", self.hir.var(z.var).name);
        let mut axes = z.axes.clone();
        axes.push(z.axis);
        let slot = self.slot(name.clone(), self.plates(&axes), SlotKind::Unconstrained(z.var));
        self.joint.unconstrained.push(Unconstrained {
            var: z.var,
            slot,
            point: false,
            start: None,
            axes: axes.clone(),
        });
        let cell: Vec<Ix> = z.axes.iter().map(|a| Ix::Axis(*a)).collect();
        let mut index = cell.clone();
        let read = match together {
            None => {
                index.push(Ix::Axis(z.axis));
                (z.slot, cell)
            }
            Some(t) => {
                let digit = self.digit(t, &cell);
                index.push(Ix::At(self.joint.with_values(digit, std::slice::from_ref(&t.whole))));
                (t.whole.slot, t.rest(&cell))
            }
        };
        let value = self.joint.intern(Node::Read { slot, index });
        let span = self.hir.var(z.var).span;
        let axes = z.axes.clone();
        Factor { name, axes, filter: None, value, span, reads: vec![read], lags: vec![], prior: false }
    }

    /// Noise for the choice between the values of some cells, if choices are made.
    pub(super) fn noise(&mut self, of: &str, var: VarId, cells: &[AxisId]) -> Option<SlotId> {
        if self.purpose != Purpose::Drawn {
            return None;
        }
        let slot = self.slot(format!("{of} choice"), self.plates(cells), SlotKind::Unconstrained(var));
        self.joint.unconstrained.push(Unconstrained { var, slot, point: false, start: None, axes: cells.to_vec() });
        Some(slot)
    }

    /// The log of the sum of exp(body) over values; the largest for a path. With Gumbel noise the largest of body + noise
    /// is at a value with its probability exp(body) / sum (Maddison, Tarlow and Minka 2014), and takes the derivative.
    pub(super) fn over_values(&mut self, axes: &[AxisId], body: NodeId, noise: Option<NodeId>) -> NodeId {
        let axes = axes.to_vec();
        let op = if self.purpose == Purpose::Path { Fold::Max } else { Fold::LogSumExp };
        let sum = self.joint.intern(Node::Reduce { op, axes: axes.clone(), filter: None, body });
        let Some(noise) = noise else { return sum };
        let body = self.joint.binary(BinOp::Add, body, noise);
        let best = self.joint.intern(Node::Reduce { op: Fold::Max, axes, filter: None, body });
        // Where all values are impossible there is nothing to choose, and -∞ - -∞ would not be a number.
        let never = self.joint.constant(f64::NEG_INFINITY);
        let possible = self.joint.binary(BinOp::Less, never, best);
        let (rest, nothing) = (self.joint.binary(BinOp::Sub, sum, best), self.joint.constant(0.0));
        let rest = self.joint.intern(Node::Select(possible, rest, nothing));
        let rest = self.joint.intern(Node::Detached(rest));
        self.joint.binary(BinOp::Add, best, rest)
    }

    /// The cells of other latents that share factors with a cell of this one, in terms of its own axes; `None` if there
    /// are several of one latent.
    fn neighbours(&self, z: &Summed, factors: &[Factor]) -> Option<Vec<(SlotId, Vec<Ix>)>> {
        let mut near: Vec<(SlotId, Vec<Ix>)> = vec![];
        let mut walked = None;
        for f in factors {
            let Some((_, own)) = f.reads.iter().find(|r| r.0 == z.slot) else { continue };
            for lag in &f.lags {
                // Another latent's chain ties many cells of this one; and its own is a chain of plain cells only.
                if lag.slot != z.slot || own.iter().any(|ix| !matches!(ix, Ix::Axis(_))) {
                    return None;
                }
                if walked.is_some_and(|(order, dim)| (order, dim) != (lag.order, lag.dim)) {
                    return None;
                }
                walked = Some((lag.order, lag.dim));
            }
            for (slot, index) in f.reads.iter().filter(|r| r.0 != z.slot) {
                let index = self.in_terms_of(index, own, &z.axes)?;
                match near.iter().find(|n| n.0 == *slot) {
                    Some((_, known)) if *known != index => return None,
                    Some(_) => {}
                    None => near.push((*slot, index)),
                }
            }
        }
        // All cells of a chain together share factors with these, so that they cannot differ along it.
        let differ = |(_, dim): (Option<SlotId>, usize)| near.iter().any(|n| self.uses(&n.1, z.axes[dim]));
        if walked.is_some_and(differ) { None } else { Some(near) }
    }

    /// An index beside another, `own`, as a function of the axes that stand in the place of `own`.
    pub(super) fn in_terms_of(&self, index: &[Ix], own: &[Ix], axes: &[AxisId]) -> Option<Vec<Ix>> {
        let one = |ix: &Ix| {
            if let Ix::Label(..) = ix {
                return Some(ix.clone());
            }
            if let Some(d) = own.iter().position(|o| o == ix) {
                return Some(Ix::Axis(axes[d]));
            }
            let Ix::At(n) = ix else { return None };
            // A key of a key: `c[doc]` beside `z[token]`. Own axes are those of the latent itself.
            let free = self.joint.free_axes(*n);
            let kept = |a: &AxisId| own.iter().zip(axes).any(|(o, mine)| *o == Ix::Axis(*a) && a == mine);
            free.iter().all(kept).then(|| ix.clone())
        };
        index.iter().map(one).collect()
    }

    fn eliminate(&mut self, z: &Summed, factors: &mut Vec<Factor>) -> Result<(), Stuck> {
        let others = self.neighbours(z, factors).expect("chosen because it has them");
        if factors.iter().any(|f| !f.lags.is_empty() && f.reads.iter().any(|r| r.0 == z.slot)) {
            return self.sum_out_chain(std::slice::from_ref(z), others, factors);
        }
        let (mine, rest): (Vec<Factor>, Vec<Factor>) =
            std::mem::take(factors).into_iter().partition(|f| f.reads.iter().any(|r| r.0 == z.slot));
        *factors = rest;
        let v = self.hir.var(z.var).clone();
        let mut total = None;
        for f in &mine {
            let part = self.aligned(f, z);
            total = Some(total.map_or(part, |t| self.joint.binary(BinOp::Add, t, part)));
        }
        // A prior that gives every value the same probability does not read the latent.
        let mut total = total.unwrap_or_else(|| self.joint.constant(0.0));
        let over: Vec<AxisId> = others.iter().map(|o| self.value_axis(o.0)).collect();
        // Sums inside would be computed again for each pass of the log-sum-exp.
        if self.joint.holds_reduction(total) {
            let axes: Vec<AxisId> = z.axes.iter().chain([&z.axis]).chain(&over).copied().collect();
            total = self.stored(format!("log p of {}", v.name), &axes, total, v.span);
        }
        let cells: Vec<AxisId> = z.axes.iter().chain([&z.axis]).copied().collect();
        let noise = self.noise(&v.name, z.var, &cells).map(|slot| self.read_all(slot, &cells));
        let sum = self.over_values(&[z.axis], total, noise);
        self.note(std::slice::from_ref(z), &[z.axis], &over, false);
        self.passed_on(std::slice::from_ref(z), z.axes.clone(), sum, others, factors);
        Ok(())
    }

    /// Sum out chains that walk together; `others` are the latents that all their cells share factors with.
    fn sum_out_chain(
        &mut self,
        chains: &[Summed],
        others: Vec<(SlotId, Vec<Ix>)>,
        factors: &mut Vec<Factor>,
    ) -> Result<(), Stuck> {
        let own = |f: &Factor| f.reads.iter().any(|r| chains.iter().any(|z| z.slot == r.0));
        let (mine, rest): (Vec<Factor>, Vec<Factor>) = std::mem::take(factors).into_iter().partition(own);
        *factors = rest;
        let over: Vec<AxisId> = others.iter().map(|o| self.value_axis(o.0)).collect();
        let sum = self.eliminate_chain(chains, &mine, &over)?;
        let lead = &chains[0];
        if others.is_empty() {
            self.passed_on(chains, lead.axes.clone(), sum, others, factors);
            return Ok(());
        }
        let dim = mine.iter().flat_map(|f| &f.lags).next().expect("a chain has a factor of two cells").dim;
        let t = lead.axes[dim];
        let whole = self.joint.intern(Node::Reduce { op: Fold::Sum, axes: vec![t], filter: None, body: sum });
        let rest = lead.axes.iter().copied().filter(|a| *a != t).collect();
        self.passed_on(chains, rest, whole, others, factors);
        Ok(())
    }

    /// Remember what was summed out: tables over `values`, and over those of the latents that the result depends on.
    pub(super) fn note(&mut self, own: &[Summed], values: &[AxisId], over: &[AxisId], chain: bool) {
        let tables = values.iter().chain(over).map(|a| self.hir.axis(*a).plate).collect();
        let name = |s: &SlotId| self.joint.slot(*s).name.clone();
        let given = over.iter().filter_map(|a| self.joint.value_axes.iter().find(|v| v.1 == a));
        let given = given.map(|v| name(v.0)).collect();
        let names = own.iter().map(|z| name(&z.slot)).collect();
        let span = self.hir.var(own[0].var).span;
        self.joint.eliminated.push(Eliminated { names, given, axes: own[0].axes.clone(), tables, chain, span });
    }

    /// `z1 and z2`
    pub(super) fn names(&self, latents: &[Summed]) -> String {
        let names: Vec<&str> = latents.iter().map(|z| self.joint.slot(z.slot).name.as_str()).collect();
        names.join(" and ")
    }

    /// What is left of a latent: a term, or a factor of the latents that shared factors with it.
    fn passed_on(
        &mut self,
        own: &[Summed],
        axes: Vec<AxisId>,
        value: NodeId,
        others: Vec<(SlotId, Vec<Ix>)>,
        factors: &mut Vec<Factor>,
    ) {
        let span = self.hir.var(own[0].var).span;
        let name = format!("{} summed out", self.names(own));
        if others.is_empty() {
            self.joint.terms.push(Term { name, kind: TermKind::Likelihood, axes, filter: None, value, span });
            return;
        }
        let values = others.iter().map(|o| self.value_axis(o.0));
        let cells: Vec<AxisId> = axes.iter().copied().chain(values).collect();
        let value = self.stored(name.clone(), &cells, value, span);
        factors.push(Factor { name, axes, filter: None, value, span, reads: others, lags: vec![], prior: false });
    }

    fn value_axis(&self, slot: SlotId) -> AxisId {
        *self.joint.value_axes.get(&slot).expect("every discrete slot has one")
    }

    /// Store an expression, and read it back.
    pub(super) fn stored(&mut self, name: String, axes: &[AxisId], value: NodeId, span: Span) -> NodeId {
        let slot = self.slot(name, self.plates(axes), SlotKind::Defined);
        let def = Def::new(slot, axes.to_vec(), value, span);
        self.joint.defs.push(def);
        self.read_all(slot, axes)
    }

    /// A factor per cell of the latent: over further axes it is multiplied out.
    pub(super) fn aligned(&mut self, f: &Factor, z: &Summed) -> NodeId {
        let own = &f.reads.iter().find(|r| r.0 == z.slot).expect("it is a factor of the latent").1;
        let axes: Vec<AxisId> =
            own.iter().filter_map(|ix| if let Ix::Axis(a) = ix { Some(*a) } else { None }).collect();
        let distinct = axes.iter().enumerate().all(|(i, a)| !axes[..i].contains(a));
        if axes.len() < own.len() || !distinct {
            return self.scattered(f, z, own);
        }
        let (mut value, mut filter) = (f.value, f.filter);
        let mut extra: Vec<AxisId> = f.axes.iter().filter(|a| !axes.contains(a)).copied().collect();
        let mut rename = |t: &mut Self, from: AxisId, to: AxisId| {
            value = t.substitute(value, from, &Ix::Axis(to));
            filter = filter.map(|x| t.substitute(x, from, &Ix::Axis(to)));
        };
        for e in &mut extra {
            if z.axes.contains(e) {
                let info = self.hir.axis(*e).clone();
                let fresh = self.fresh_axis(info.plate, &format!("{}'", info.name));
                rename(self, *e, fresh);
                *e = fresh;
            }
        }
        value = self.renamed_axes(value, &axes, &z.axes);
        filter = filter.map(|x| self.renamed_axes(x, &axes, &z.axes));
        match filter {
            _ if !extra.is_empty() => {
                self.joint.intern(Node::Reduce { op: Fold::Sum, axes: extra, filter, body: value })
            }
            Some(c) => {
                let nothing = self.joint.constant(0.0);
                self.joint.intern(Node::Select(c, value, nothing))
            }
            None => value,
        }
    }

    /// A factor whose cells find theirs of the latent by a key: added up where the key points.
    fn scattered(&mut self, f: &Factor, z: &Summed, own: &[Ix]) -> NodeId {
        let values: Vec<AxisId> = f.reads.iter().map(|r| self.value_axis(r.0)).collect();
        let target: Vec<AxisId> = z.axes.iter().chain(&values).copied().collect();
        let slot =
            self.slot(format!("{} by {}", f.name, self.hir.var(z.var).name), self.plates(&target), SlotKind::Defined);
        let index = own.iter().cloned().chain(values.iter().map(|a| Ix::Axis(*a))).collect();
        let over = f.axes.iter().chain(&values).copied().collect();
        let scatter = Some(Scatter { index, filter: f.filter });
        self.joint.defs.push(Def { scatter, ..Def::new(slot, over, f.value, f.span) });
        self.read_all(slot, &target)
    }
}

/// A table over more values than can be summed.
pub fn too_many_values(e: &Eliminated, entries: f64, cells: f64) -> Diagnostic {
    let together = |n: &String| n.starts_with(TOGETHER);
    let name = |n: &String| if together(n) { n.clone() } else { format!("`{n}`") };
    let names: Vec<String> = e.names.iter().chain(&e.given).map(name).collect();
    let shown = if entries < 1e9 { format!("{entries}") } else { format!("{entries:.1e}") };
    let text = match names.as_slice() {
        [one] => format!("{one} takes {shown} values"),
        [first @ .., last] => {
            format!("{} and {last} take {shown} combinations of values together", first.join(", "))
        }
        [] => unreachable!("something is summed out"),
    };
    let most = match entries > MOST_ENTRIES {
        true => format!("at most {MOST_ENTRIES} can be summed out per cell"),
        false => format!("in {cells} cells that is more than the {MOST_STORED:.1e} numbers that can be kept"),
    };
    let d = Code::TOO_MANY_VALUES.at(e.span, format!("{text}, and {most}")).here("summed out over too many values");
    match names.iter().any(together) {
        true => d.help("each cell of one plate meets many of the other, so that all of one are summed out at once: make one of them continuous, one value per cell (`~ Beta(1, 1)`), give both the same plate, or use plates with few cells"),
        false => d.help("give the discrete latents fewer values, let fewer of them stand in one term, or make one of them continuous"),
    }
}

/// How many pairs of neighbours share no factor yet.
fn fill(near: &[(SlotId, Vec<Ix>)], factors: &[Factor]) -> usize {
    let together = |a: SlotId, b: SlotId| {
        let reads = |f: &Factor, s| f.reads.iter().any(|r| r.0 == s);
        factors.iter().any(|f| reads(f, a) && reads(f, b))
    };
    let pairs = near.iter().enumerate().flat_map(|(i, a)| near[..i].iter().map(move |b| (a.0, b.0)));
    pairs.filter(|(a, b)| !together(*a, *b)).count()
}

impl Joint {
    /// The same with every discrete latent at the current cell of its values' axis.
    pub(super) fn with_values(&mut self, node: NodeId, latents: &[Summed]) -> NodeId {
        let value = |n: &Node| match n {
            Node::Read { slot, .. } => latents.iter().find(|z| z.slot == *slot).map(|z| z.value),
            _ => None,
        };
        self.replaced(node, &value, &mut HashMap::new())
    }

    /// The same with other nodes in the place of some.
    pub(super) fn replaced(
        &mut self,
        node: NodeId,
        by: &dyn Fn(&Node) -> Option<NodeId>,
        done: &mut HashMap<NodeId, NodeId>,
    ) -> NodeId {
        if let Some(&n) = done.get(&node) {
            return n;
        }
        let out = match self.node(node).clone() {
            n if by(&n).is_some() => by(&n).expect("just seen"),
            n @ (Node::Const(_) | Node::Size(_) | Node::Position(_) | Node::Matrix { .. } | Node::Ode { .. }) => {
                self.intern(n)
            }
            Node::Read { slot, index } => {
                let mut at = |ix: Ix| {
                    let Ix::At(n) = ix else { return ix };
                    let n = self.replaced(n, by, done);
                    match self.node(n) {
                        Node::Position(a) => Ix::Axis(*a),
                        _ => Ix::At(n),
                    }
                };
                let index = index.into_iter().map(&mut at).collect();
                self.intern(Node::Read { slot, index })
            }
            other => {
                let other = other.map_operands(&mut |n| self.replaced(n, by, done));
                self.intern(other)
            }
        };
        done.insert(node, out);
        out
    }

    fn holds_reduction(&self, node: NodeId) -> bool {
        let (mut seen, mut stack) = (HashSet::new(), vec![node]);
        while let Some(n) = stack.pop() {
            if matches!(self.node(n), Node::Reduce { .. }) {
                return true;
            }
            if seen.insert(n) {
                stack.extend(self.operands(n));
            }
        }
        false
    }
}
