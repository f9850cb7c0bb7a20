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
use super::translate::Translator;
use crate::diag::{Code, Diagnostic};
use crate::hir::{AxisId, AxisInfo, PlateId, VarId};
use crate::source::Span;

/// Larger tables, in entries per cell, are not summed.
pub const MOST_ENTRIES: f64 = (1u64 << 22) as f64;

/// What the log joint is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Fit,
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
    /// It depends also on the cell before that of one of them.
    pub lag: Option<Lag>,
    /// That one's own prior.
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
        let mut latents = self.summed();
        if latents.is_empty() {
            return;
        }
        let mut factors = vec![];
        for term in std::mem::take(&mut self.joint.terms) {
            match self.factor(&term, &latents) {
                Ok(None) if self.purpose == Purpose::Drawn => {}
                Ok(None) => self.joint.terms.push(term),
                Ok(Some(f)) => factors.push(f),
                Err(problem) => return self.joint.problems.push(problem),
            }
        }
        if self.purpose != Purpose::Fit {
            latents.iter().for_each(|z| factors.push(self.probe(z)));
        }
        while !latents.is_empty() {
            let ready = (0..latents.len()).filter(|&i| self.neighbours(&latents[i], &factors).is_some());
            // Fewest new ties first, then the smallest table; of equals the last declared, which is the innermost.
            let best = ready.min_by_key(|&i| {
                let near = self.neighbours(&latents[i], &factors).expect("just seen");
                (fill(&near, &factors), near.len(), latents.len() - i)
            });
            let Some(best) = best else {
                let problem = self.tied(&latents, &factors);
                return self.joint.problems.push(problem);
            };
            let z = latents.remove(best);
            if let Err(problem) = self.eliminate(&z, &mut factors) {
                return self.joint.problems.push(problem);
            }
        }
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

    fn summed_latent(&mut self, slot: SlotId, var: VarId) -> Summed {
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
    fn factor(&mut self, term: &Term, latents: &[Summed]) -> Result<Option<Factor>, Diagnostic> {
        let mut reads = vec![];
        let mut inside = None;
        self.collect(term.value, &[], &mut HashSet::new(), &mut reads, &mut inside);
        let find = |s: SlotId| latents.iter().find(|z| z.slot == s).expect("every discrete slot is summed");
        if let Some((slot, axis)) = inside {
            return Err(self.reduced(find(slot), axis, term));
        }
        let (mut value, mut lag, mut prior) = (term.value, None, false);
        for (slot, index) in &reads {
            if index.iter().any(|ix| matches!(ix, Ix::At(n) if self.depends_on_discrete(*n))) {
                return Err(self.two_cells(find(*slot), true, term));
            }
        }
        for z in latents {
            let own: Vec<Vec<Ix>> = reads.iter().filter(|r| r.0 == z.slot).map(|r| r.1.clone()).collect();
            match own.as_slice() {
                [] | [_] => {}
                [a, b] if lag.is_none() => {
                    let Some((current, found)) = self.lag(z, a, b) else {
                        return Err(self.two_cells(z, false, term));
                    };
                    let earlier = if current == *a { b } else { a };
                    value = self.with_previous(value, earlier, z, &found);
                    reads.retain(|r| r.0 != z.slot || r.1 == current);
                    prior = term.kind == TermKind::Prior
                        && term.name.starts_with(&format!("{} ~ ", self.hir.var(z.var).name));
                    lag = Some(found);
                }
                _ => return Err(self.two_cells(z, false, term)),
            }
        }
        if reads.is_empty() {
            return Ok(None);
        }
        let value = self.joint.with_values(value, latents);
        let Term { name, axes, filter, span, .. } = term.clone();
        Ok(Some(Factor { name, axes, filter, value, span, reads, lag, prior }))
    }

    /// The cells of discrete latents that an expression reads; `inside`: one that a reduction in it runs over.
    fn collect(
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
            let uses = |ix: &Ix, a: AxisId| match ix {
                Ix::Axis(b) => *b == a,
                Ix::At(n) => self.joint.varies_over(*n, a),
                Ix::Label(..) => false,
            };
            if let Some(&a) = bound.iter().find(|a| index.iter().any(|ix| uses(ix, **a))) {
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
    fn probe(&mut self, z: &Summed) -> Factor {
        let name = format!("{} probe", self.hir.var(z.var).name);
        let mut axes = z.axes.clone();
        axes.push(z.axis);
        let slot = self.slot(name.clone(), self.plates(&axes), SlotKind::Unconstrained(z.var));
        let value = self.read_all(slot, &axes);
        self.joint.unconstrained.push(Unconstrained { var: z.var, slot, point: false, start: None, axes });
        let index = z.axes.iter().map(|a| Ix::Axis(*a)).collect();
        let span = self.hir.var(z.var).span;
        Factor {
            name,
            axes: z.axes.clone(),
            filter: None,
            value,
            span,
            reads: vec![(z.slot, index)],
            lag: None,
            prior: false,
        }
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
            if let Some(lag) = &f.lag {
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
        let along = |ix: &Ix, t: AxisId| match ix {
            Ix::Axis(a) => *a == t,
            Ix::At(n) => self.joint.varies_over(*n, t),
            Ix::Label(..) => false,
        };
        let differ =
            |(_, dim): (Option<SlotId>, usize)| near.iter().flat_map(|n| &n.1).any(|ix| along(ix, z.axes[dim]));
        if walked.is_some_and(differ) { None } else { Some(near) }
    }

    /// An index beside another, `own`, as a function of the axes that stand in the place of `own`.
    fn in_terms_of(&self, index: &[Ix], own: &[Ix], axes: &[AxisId]) -> Option<Vec<Ix>> {
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

    fn eliminate(&mut self, z: &Summed, factors: &mut Vec<Factor>) -> Result<(), Diagnostic> {
        let others = self.neighbours(z, factors).expect("chosen because it has them");
        let (mine, rest): (Vec<Factor>, Vec<Factor>) =
            std::mem::take(factors).into_iter().partition(|f| f.reads.iter().any(|r| r.0 == z.slot));
        *factors = rest;
        let v = self.hir.var(z.var).clone();
        if let Some(dim) = mine.iter().find_map(|f| f.lag.as_ref().map(|l| l.dim)) {
            return self.sum_out_chain(z, mine, others, dim, factors);
        }
        let mut total = None;
        for f in &mine {
            let part = self.aligned(f, z);
            total = Some(total.map_or(part, |t| self.joint.binary(BinOp::Add, t, part)));
        }
        let mut total = total.expect("a latent has its prior");
        let over: Vec<AxisId> = others.iter().map(|o| self.value_axis(o.0)).collect();
        // Sums inside would be computed again for each pass of the log-sum-exp.
        if self.joint.holds_reduction(total) {
            let axes: Vec<AxisId> = z.axes.iter().chain([&z.axis]).chain(&over).copied().collect();
            total = self.stored(format!("log p of {}", v.name), &axes, total, v.span);
        }
        let cells: Vec<AxisId> = z.axes.iter().chain([&z.axis]).copied().collect();
        let noise = self.noise(&v.name, z.var, &cells).map(|slot| self.read_all(slot, &cells));
        let sum = self.over_values(&[z.axis], total, noise);
        self.note(z, &others, false);
        self.passed_on(z, z.axes.clone(), sum, others, factors);
        Ok(())
    }

    fn sum_out_chain(
        &mut self,
        z: &Summed,
        mine: Vec<Factor>,
        others: Vec<(SlotId, Vec<Ix>)>,
        dim: usize,
        factors: &mut Vec<Factor>,
    ) -> Result<(), Diagnostic> {
        let over: Vec<AxisId> = others.iter().map(|o| self.value_axis(o.0)).collect();
        let sum = self.eliminate_chain(z, &mine, &over)?;
        self.note(z, &others, true);
        if others.is_empty() {
            self.passed_on(z, z.axes.clone(), sum, others, factors);
            return Ok(());
        }
        let t = z.axes[dim];
        let whole = self.joint.intern(Node::Reduce { op: Fold::Sum, axes: vec![t], filter: None, body: sum });
        let rest = z.axes.iter().copied().filter(|a| *a != t).collect();
        self.passed_on(z, rest, whole, others, factors);
        Ok(())
    }

    /// Remember what was summed out, over which tables.
    fn note(&mut self, z: &Summed, others: &[(SlotId, Vec<Ix>)], chain: bool) {
        let over: Vec<AxisId> = others.iter().map(|o| self.value_axis(o.0)).collect();
        let steps = std::iter::repeat_n(z.plate, if chain { 2 } else { 1 });
        let tables = steps.chain(over.iter().map(|a| self.hir.axis(*a).plate)).collect();
        let names = std::iter::once(z.slot).chain(others.iter().map(|o| o.0));
        let names = names.map(|s| self.joint.slot(s).name.clone()).collect();
        let span = self.hir.var(z.var).span;
        self.joint.eliminated.push(Eliminated { names, axes: z.axes.clone(), tables, chain, span });
    }

    /// What is left of a latent: a term, or a factor of the latents that shared factors with it.
    fn passed_on(
        &mut self,
        z: &Summed,
        axes: Vec<AxisId>,
        value: NodeId,
        others: Vec<(SlotId, Vec<Ix>)>,
        factors: &mut Vec<Factor>,
    ) {
        let span = self.hir.var(z.var).span;
        let name = format!("{} summed out", self.hir.var(z.var).name);
        if others.is_empty() {
            self.joint.terms.push(Term { name, kind: TermKind::Likelihood, axes, filter: None, value, span });
            return;
        }
        let values = others.iter().map(|o| self.value_axis(o.0));
        let cells: Vec<AxisId> = axes.iter().copied().chain(values).collect();
        let value = self.stored(name.clone(), &cells, value, span);
        factors.push(Factor { name, axes, filter: None, value, span, reads: others, lag: None, prior: false });
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
        if axes != z.axes {
            // By way of new axes, since one may take the place of another.
            let fresh: Vec<AxisId> = axes.iter().map(|a| self.fresh_axis(self.hir.axis(*a).plate, "")).collect();
            axes.iter().zip(&fresh).for_each(|(a, b)| rename(self, *a, *b));
            fresh.iter().zip(&z.axes).for_each(|(a, b)| rename(self, *a, *b));
        }
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

    /// `sum(z over points)`
    fn reduced(&self, z: &Summed, axis: AxisId, term: &Term) -> Diagnostic {
        let v = self.hir.var(z.var);
        let plate = &self.hir.plate(self.hir.axis(axis).plate).name;
        Code::CANNOT_SUM_OUT
            .at(
                v.span,
                format!(
                    "`{}` cannot be summed out: `{}` reads all its cells along `{plate}` together",
                    v.name, term.name
                ),
            )
            .here(format!("every cell of `{plate}` is tied to every other"))
            .label(term.span, "read together here")
            .help(format!(
                "the sum would run over {} at once; let a term depend on one cell, or use a continuous latent",
                self.combinations(z, plate)
            ))
    }

    /// `z[home] - z[away]`, or `b[z]` for discrete `b`.
    fn two_cells(&self, z: &Summed, computed: bool, term: &Term) -> Diagnostic {
        let v = self.hir.var(z.var);
        let plate = z.axes.first().map_or(String::new(), |a| self.hir.plate(self.hir.axis(*a).plate).name.clone());
        let how = if computed { "picks its cell by another discrete latent" } else { "reads two of its cells at once" };
        Code::CANNOT_SUM_OUT
            .at(v.span, format!("`{}` cannot be summed out: `{}` {how}", v.name, term.name))
            .here(format!("every cell of `{plate}` is tied to others"))
            .label(term.span, "read here")
            .help(format!(
                "the sum would run over {} at once; let a term depend on one cell, or use a continuous latent",
                self.combinations(z, &plate)
            ))
    }

    fn combinations(&self, z: &Summed, plate: &str) -> String {
        format!("the values of `{}` to the power of the number of cells of `{plate}`", self.hir.var(z.var).name)
    }

    /// What to say where every latent that is left shares factors with many cells of another.
    fn tied(&self, latents: &[Summed], factors: &[Factor]) -> Diagnostic {
        let of = |s: SlotId| latents.iter().find(|z| z.slot == s);
        let pair = factors.iter().find_map(|f| {
            let z = of(f.reads.first()?.0)?;
            let other = f.reads.iter().skip(1).find_map(|r| of(r.0))?;
            Some((z, other, f))
        });
        let Some((a, b, f)) = pair else {
            return Code::CANNOT_SUM_OUT.plain("the discrete latents cannot be summed out");
        };
        let (x, y) = (self.hir.var(a.var), self.hir.var(b.var));
        let plates = |z: &Summed| -> Vec<String> {
            z.axes.iter().map(|p| format!("`{}`", self.hir.plate(self.hir.axis(*p).plate).name)).collect()
        };
        let (pa, pb) = (plates(a).join(" and "), plates(b).join(" and "));
        Code::CANNOT_SUM_OUT
            .at(y.span, format!("`{}` and `{}` cannot be summed out: `{}` ties each cell of one to many of the other", x.name, y.name, f.name))
            .here(format!("one per cell of {pb}"))
            .label(x.span, format!("one per cell of {pa}"))
            .label(f.span, "both are read here")
            .help(format!(
                "all cells of `{0}` would be summed at once, the values of `{0}` to the power of the cells of {pa}; make one of them continuous, one value per cell (`latent {0}[…] ~ Beta(1, 1)`), or give both the same plate",
                x.name
            ))
    }
}

/// A table over more values than can be summed.
pub fn too_many_values(e: &Eliminated, entries: f64) -> Diagnostic {
    let names: Vec<String> = e.names.iter().map(|n| format!("`{n}`")).collect();
    let text = match names.as_slice() {
        [one] => format!("{one} takes {entries} values"),
        several => format!("{} take {entries} combinations of values together", several.join(" and ")),
    };
    Code::TOO_MANY_VALUES
        .at(e.span, format!("{text}, and at most {MOST_ENTRIES} can be summed out per cell"))
        .here("summed out over too many values")
        .help("give the discrete latents fewer values, let fewer of them stand in one term, or make one of them continuous")
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
    fn with_values(&mut self, node: NodeId, latents: &[Summed]) -> NodeId {
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
            Node::Unary(op, a) => {
                let a = self.replaced(a, by, done);
                self.unary(op, a)
            }
            Node::Binary(op, a, b) => {
                let (a, b) = (self.replaced(a, by, done), self.replaced(b, by, done));
                self.binary(op, a, b)
            }
            Node::Detached(a) => {
                let a = self.replaced(a, by, done);
                self.intern(Node::Detached(a))
            }
            Node::Select(c, t, o) => {
                let c = self.replaced(c, by, done);
                let (t, o) = (self.replaced(t, by, done), self.replaced(o, by, done));
                self.intern(Node::Select(c, t, o))
            }
            Node::Reduce { op, axes, filter, body } => {
                let body = self.replaced(body, by, done);
                let filter = filter.map(|f| self.replaced(f, by, done));
                self.intern(Node::Reduce { op, axes, filter, body })
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
