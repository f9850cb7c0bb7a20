//! Discrete latents that a written guide draws.
//!
//! A line `z ~ D(args)` gives a table of chances q(v) per cell. The value drawn is where noise falls among these: it has no
//! gradient. Two ways around that:
//!
//! *Enumerated*: where no later line reads z, a term f(z) of the lower bound has the expectation Σ_v q(v) f(v), which is
//! differentiated (Titsias and Lázaro-Gredilla 2015, Local expectation gradients). A switch, 0 while params are fitted, adds
//! f(z) − Σ_v q(v) f(v) at the value drawn, without a derivative, so that draws can be weighed.
//!
//! *Scored*: the gradient with respect to q is E[A ∇ log q(z)] (Williams 1992), with A from the terms that depend on this
//! cell of z, and no others (Ranganath, Gerrish and Blei 2014, Black box variational inference, section 3.1). Every such term
//! is multiplied by 1 + e, with an input e per cell that is 0: the derivative along e is the sum of the cell's terms. Another
//! input per cell, A, multiplies log q(z).

use std::collections::{HashMap, HashSet};

use super::discrete::Summed;
use super::joint::*;
use super::translate::Translator;
use crate::diag::Code;
use crate::hir::{AxisId, DistUse, Gradient, VarId};
use crate::source::Span;

/// A discrete latent that the guide draws.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    of: Summed,
    /// Chances, over the cells and then the values.
    table: SlotId,
    gradient: Gradient,
    span: Span,
}

/// The cells of a latent that an expression depends on: per dimension one, or all.
type Cells = Vec<Option<Ix>>;

impl Translator<'_> {
    /// A line of the guide for a discrete latent: its chances, the value drawn, and the terms.
    pub(super) fn choose(&mut self, var: VarId, dist: &DistUse, gradient: Gradient, span: Span) -> Chosen {
        let v = self.hir.var(var).clone();
        let slot = self.joint.discrete_slot(var);
        let of = self.summed_latent(slot, var);
        let cells: Vec<AxisId> = v.axes.iter().chain([&of.axis]).copied().collect();
        let log_q = self.density(dist, of.value);
        let log_q = self.stored(format!("log chances of {}", v.name), &cells, log_q, span);
        let over = vec![of.axis];
        let total =
            self.joint.intern(Node::Reduce { op: Fold::LogSumExp, axes: over.clone(), filter: None, body: log_q });
        let log_q = self.joint.binary(BinOp::Sub, log_q, total);
        let q = self.joint.unary(UnOp::Exp, log_q);
        let table = self.slot(format!("chances of {}", v.name), self.plates(&cells), SlotKind::Defined);
        self.joint.defs.push(Def::new(table, cells.clone(), q, span));
        // Where noise falls: how many of the cumulated chances it exceeds. The last value takes what rounding leaves.
        let noise = self.guide_noise(var, format!("{} noise", v.name), &v.axes);
        let z = self.read_all(noise, &v.axes);
        let u = self.joint.unary(UnOp::Phi, z);
        let below = self.fresh_axis(of.plate, &v.name);
        let index = v.axes.iter().chain([&below]).map(|a| Ix::Axis(*a)).collect();
        let chance = self.joint.intern(Node::Read { slot: table, index });
        let (at, up_to) = (self.joint.intern(Node::Position(below)), self.joint.intern(Node::Position(of.axis)));
        let counted = self.joint.binary(BinOp::LessEq, at, up_to);
        let part = self.joint.binary(BinOp::Mul, counted, chance);
        let cumulated = self.joint.intern(Node::Reduce { op: Fold::Sum, axes: vec![below], filter: None, body: part });
        let cumulated = self.stored(format!("cumulated chances of {}", v.name), &cells, cumulated, span);
        let passed = self.joint.binary(BinOp::Less, cumulated, u);
        let count = self.joint.intern(Node::Reduce { op: Fold::Sum, axes: over, filter: None, body: passed });
        let (size, one) = (self.joint.intern(Node::Size(of.plate)), self.joint.constant(1.0));
        let last = self.joint.binary(BinOp::Sub, size, one);
        let position = self.joint.binary(BinOp::Min, count, last);
        let first = self.hir.discrete(var).expect("a discrete latent").first.clone();
        let first = self.expr(&first);
        let value = self.joint.binary(BinOp::Add, position, first);
        self.joint.defs.push(Def { var: Some(var), ..Def::new(slot, v.axes.clone(), value, span) });
        let chance = self.chance(&of, table, first);
        let log_chance = self.joint.unary(UnOp::Log, chance);
        let minus = self.joint.unary(UnOp::Neg, log_chance);
        let name = format!("guide: {} ~ {}", v.name, dist.name);
        let term = |name, kind, value| Term { name, kind, axes: v.axes.clone(), filter: None, value, span };
        self.joint.terms.push(term(name, TermKind::Guide, minus));
        let standard = self.standard_normal(z);
        self.joint.terms.push(term(format!("{} noise", v.name), TermKind::Noise, standard));
        Chosen { of, table, gradient, span }
    }

    /// The chance of the value that a latent has.
    fn chance(&mut self, of: &Summed, table: SlotId, first: NodeId) -> NodeId {
        let own = self.read_all(of.slot, &of.axes);
        let at = if self.joint.is_constant(first, 0.0) { own } else { self.joint.binary(BinOp::Sub, own, first) };
        let mut index: Vec<Ix> = of.axes.iter().map(|a| Ix::Axis(*a)).collect();
        index.push(Ix::At(at));
        self.joint.intern(Node::Read { slot: table, index })
    }

    /// Replace the discrete latents of the guide in every definition and term.
    pub(super) fn settle_chosen(&mut self, mut chosen: Vec<Chosen>) {
        if chosen.is_empty() {
            return;
        }
        for z in &mut chosen {
            if matches!(z.gradient, Gradient::Score | Gradient::Read) {
                z.gradient = Gradient::Score;
                continue;
            }
            let apart = self.joint.terms.clone().iter().all(|t| self.enumerable(t, z));
            match (apart, z.gradient) {
                (true, _) => z.gradient = Gradient::Enumerate,
                (false, Gradient::Enumerate) => self.joint.problems.push(self.tied(z)),
                (false, _) => z.gradient = Gradient::Score,
            }
        }
        let drawn = self.joint.written.as_mut().expect("a written guide is at work");
        drawn.scored = chosen.iter().filter(|z| z.gradient == Gradient::Score).map(|z| z.of.var).collect();
        let slots: HashSet<SlotId> = chosen.iter().map(|z| z.of.slot).collect();
        // Of a scored latent: its probes, and what depends on it.
        let scored: Vec<Chosen> = chosen.iter().filter(|z| z.gradient == Gradient::Score).cloned().collect();
        let inputs: Vec<(SlotId, SlotId)> = scored.iter().map(|z| self.inputs(z)).collect();
        let mut defined: Vec<HashMap<SlotId, (Vec<AxisId>, Cells)>> = vec![HashMap::new(); scored.len()];
        for def in self.joint.defs.clone() {
            for (z, known) in scored.iter().zip(&mut defined) {
                let plain = def.walk.is_none() && def.scatter.is_none();
                let cells = self.depends_on(def.value, &[], z, known);
                if let Some(cells) = cells.filter(|_| def.slot != z.of.slot) {
                    let all = vec![None; cells.len()];
                    known.insert(def.slot, (def.axes.clone(), if plain { cells } else { all }));
                }
            }
        }
        let named = |s: &SlotId| !slots.contains(s) && matches!(self.joint.slot(*s).kind, SlotKind::Discrete(_));
        for term in &self.joint.terms {
            let mut read = HashSet::new();
            self.joint.reads(term.value, &mut read);
            let here = chosen.iter().find(|z| read.contains(&z.of.slot));
            if let (Some(z), Some(other)) = (here, read.iter().copied().filter(named).min()) {
                let (own, other) = (self.hir.var(z.of.var), self.joint.slot(other).name.clone());
                let d = Code::GUIDE_GRADIENT
                    .at(
                        z.span,
                        format!(
                            "the guide draws `{}` and leaves `{other}` to be summed out, and a term depends on both",
                            own.name
                        ),
                    )
                    .here("drawn")
                    .label(own.span, "declared here")
                    .help(format!("give `{other}` a line in the guide too, or leave `{}` out", own.name));
                self.joint.problems.push(d);
                break;
            }
        }
        let enumerated: Vec<Chosen> = chosen.iter().filter(|z| z.gradient == Gradient::Enumerate).cloned().collect();
        let switch = (!enumerated.is_empty()).then(|| self.switch(enumerated[0].of.var));
        for mut term in std::mem::take(&mut self.joint.terms) {
            let mut factor: Option<NodeId> = None;
            for ((z, known), (probe, _)) in scored.iter().zip(&defined).zip(&inputs) {
                if let Some(cells) = self.depends_on(term.value, &[], z, known) {
                    let sum = self.probed_cells(*probe, &z.of, &cells);
                    let before = factor.unwrap_or_else(|| self.joint.constant(1.0));
                    factor = Some(self.joint.binary(BinOp::Add, before, sum));
                }
            }
            let own: Vec<&Chosen> = enumerated.iter().filter(|z| self.reads_slot(term.value, z.of.slot)).collect();
            let at_draw = self.with_drawn(term.value, &slots);
            if let (Some(switch), false) = (switch, own.is_empty()) {
                let others: HashSet<SlotId> =
                    slots.iter().filter(|s| own.iter().all(|z| z.of.slot != **s)).copied().collect();
                let mut expected = self.with_drawn(term.value, &others);
                for z in own.iter().rev() {
                    expected = self.expected(expected, z);
                }
                let gap = self.joint.binary(BinOp::Sub, at_draw, expected);
                let gap = self.joint.intern(Node::Detached(gap));
                let zero = self.joint.constant(0.0);
                let gap = self.joint.intern(Node::Select(switch, gap, zero));
                term.value = self.joint.binary(BinOp::Add, expected, gap);
            } else {
                term.value = at_draw;
            }
            if let Some(factor) = factor {
                term.value = self.joint.binary(BinOp::Mul, factor, term.value);
            }
            self.joint.terms.push(term);
        }
        for (z, (_, weight)) in scored.iter().zip(&inputs) {
            let first = self.hir.discrete(z.of.var).expect("a discrete latent").first.clone();
            let first = self.expr(&first);
            let chance = self.chance(&z.of, z.table, first);
            let chance = self.with_drawn(chance, &slots);
            let log_chance = self.joint.unary(UnOp::Log, chance);
            let weight = self.read_all(*weight, &z.of.axes);
            let value = self.joint.binary(BinOp::Mul, weight, log_chance);
            let name = format!("score of {}", self.hir.var(z.of.var).name);
            let axes = z.of.axes.clone();
            self.joint.terms.push(Term { name, kind: TermKind::Guide, axes, filter: None, value, span: z.span });
        }
        let mut defs = std::mem::take(&mut self.joint.defs);
        for def in &mut defs {
            def.value = self.with_drawn(def.value, &slots);
        }
        self.joint.defs = defs;
        for slot in slots {
            self.joint.slots[slot.0 as usize].kind = SlotKind::Defined;
        }
    }

    /// Whether a term has an expectation over one cell of a latent: it reads one, and no sum in it runs over them.
    fn enumerable(&self, term: &Term, z: &Chosen) -> bool {
        let (mut reads, mut inside) = (vec![], None);
        self.collect(term.value, &[], &mut HashSet::new(), &mut reads, &mut inside);
        let own = reads.iter().filter(|r| r.0 == z.of.slot);
        let by_latent = |ix: &Ix| matches!(ix, Ix::At(n) if self.depends_on_discrete(*n));
        own.clone().count() <= 1
            && inside.is_none_or(|i| i.0 != z.of.slot)
            && own.flat_map(|r| &r.1).all(|ix| !by_latent(ix))
    }

    fn tied(&self, z: &Chosen) -> crate::diag::Diagnostic {
        let name = &self.hir.var(z.of.var).name;
        Code::GUIDE_GRADIENT
            .at(
                z.span,
                format!("a term of the model depends on several cells of `{name}`, which one sum cannot enumerate"),
            )
            .here("enumerated")
            .label(self.hir.var(z.of.var).span, "declared here")
            .help("write `@score` in the place of `@enumerate`")
    }

    fn reads_slot(&self, node: NodeId, slot: SlotId) -> bool {
        let mut slots = HashSet::new();
        self.joint.reads(node, &mut slots);
        slots.contains(&slot)
    }

    /// Σ_v q(v) f(v). A value without chance adds nothing, whatever the term is there.
    fn expected(&mut self, value: NodeId, z: &Chosen) -> NodeId {
        let (mut reads, mut inside) = (vec![], None);
        self.collect(value, &[], &mut HashSet::new(), &mut reads, &mut inside);
        let Some((_, cell)) = reads.into_iter().find(|r| r.0 == z.of.slot) else { return value };
        let each = self.joint.with_values(value, std::slice::from_ref(&z.of));
        let index = cell.into_iter().chain([Ix::Axis(z.of.axis)]).collect();
        let chance = self.joint.intern(Node::Read { slot: z.table, index });
        let zero = self.joint.constant(0.0);
        let possible = self.joint.binary(BinOp::Less, zero, chance);
        let part = self.joint.binary(BinOp::Mul, chance, each);
        let body = self.joint.intern(Node::Select(possible, part, zero));
        self.joint.intern(Node::Reduce { op: Fold::Sum, axes: vec![z.of.axis], filter: None, body })
    }

    /// The input that is 1 where terms are taken at the values drawn.
    fn switch(&mut self, var: VarId) -> NodeId {
        let slot = self.slot("values drawn".into(), vec![], SlotKind::Unconstrained(var));
        self.joint.unconstrained.push(Unconstrained { var, slot, point: true, start: None, axes: vec![] });
        self.joint.written.as_mut().expect("a written guide is at work").switch = Some(slot);
        self.joint.intern(Node::Read { slot, index: vec![] })
    }

    /// The inputs e and A of a scored latent.
    fn inputs(&mut self, z: &Chosen) -> (SlotId, SlotId) {
        let name = self.hir.var(z.of.var).name.clone();
        let mut input = |what: &str| {
            let (var, axes) = (z.of.var, z.of.axes.clone());
            let slot = self.slot(format!("{name} {what}"), self.plates(&axes), SlotKind::Unconstrained(var));
            self.joint.unconstrained.push(Unconstrained { var, slot, point: true, start: None, axes });
            slot
        };
        let (probe, weight) = (input("terms"), input("score"));
        let own = self.joint.written.as_mut().expect("a written guide is at work");
        own.scores.push((probe, weight));
        (probe, weight)
    }

    /// The sum of an input over these cells.
    fn probed_cells(&mut self, probe: SlotId, z: &Summed, cells: &Cells) -> NodeId {
        let mut summed = vec![];
        let mut index = vec![];
        for (cell, axis) in cells.iter().zip(&z.axes) {
            index.push(cell.clone().unwrap_or_else(|| {
                let fresh = self.fresh_axis(self.hir.axis(*axis).plate, "all");
                summed.push(fresh);
                Ix::Axis(fresh)
            }));
        }
        let body = self.joint.intern(Node::Read { slot: probe, index });
        if summed.is_empty() {
            return body;
        }
        self.joint.intern(Node::Reduce { op: Fold::Sum, axes: summed, filter: None, body })
    }

    /// The cells of a scored latent that an expression depends on, itself or through definitions; more than those where
    /// they are not plain to see, which costs variance and nothing else. `None`: it does not.
    fn depends_on(
        &self,
        node: NodeId,
        bound: &[AxisId],
        z: &Chosen,
        defined: &HashMap<SlotId, (Vec<AxisId>, Cells)>,
    ) -> Option<Cells> {
        let visible = |ix: &Ix| match ix {
            Ix::Axis(a) => !bound.contains(a),
            Ix::At(n) => bound.iter().all(|a| !self.joint.varies_over(*n, *a)) && !self.depends_on_discrete(*n),
            Ix::Label(..) => true,
        };
        let mut found: Option<Cells> = None;
        let mut add = |cells: Cells| {
            found = Some(match found.take() {
                None => cells,
                Some(old) => old.into_iter().zip(cells).map(|(a, b)| if a == b { a } else { None }).collect(),
            });
        };
        if let Node::Read { slot, index } = self.joint.node(node) {
            let seen = |ix: &Ix| visible(ix).then(|| ix.clone());
            if *slot == z.of.slot {
                add(index.iter().map(seen).collect());
            } else if let Some((axes, cells)) = defined.get(slot) {
                let through = |cell: &Option<Ix>| match cell {
                    Some(Ix::Axis(a)) => axes.iter().position(|b| a == b).and_then(|d| seen(&index[d])),
                    Some(Ix::Label(..)) => cell.clone(),
                    Some(Ix::At(_)) | None => None,
                };
                add(cells.iter().map(through).collect());
            }
        }
        let whole = matches!(self.joint.node(node), Node::Matrix { .. } | Node::Ode { .. });
        let mut inner = bound.to_vec();
        if let Node::Reduce { axes, .. } = self.joint.node(node) {
            inner.extend(axes);
        }
        for operand in self.joint.operands(node) {
            if let Some(cells) = self.depends_on(operand, &inner, z, defined) {
                add(if whole { vec![None; cells.len()] } else { cells });
            }
        }
        found
    }

    /// With the values drawn in the place of discrete latents: an index becomes a choice among all cells.
    fn with_drawn(&mut self, node: NodeId, slots: &HashSet<SlotId>) -> NodeId {
        self.with_drawn_in(node, slots, &mut HashMap::new())
    }

    fn with_drawn_in(&mut self, node: NodeId, slots: &HashSet<SlotId>, done: &mut HashMap<NodeId, NodeId>) -> NodeId {
        if let Some(&n) = done.get(&node) {
            return n;
        }
        let out = match self.joint.node(node).clone() {
            n @ (Node::Const(_) | Node::Size(_) | Node::Position(_) | Node::Matrix { .. } | Node::Ode { .. }) => {
                self.joint.intern(n)
            }
            Node::Read { slot, mut index } => {
                let mut choices = vec![];
                for (dim, ix) in index.iter_mut().enumerate() {
                    let Ix::At(n) = ix else { continue };
                    let at = self.with_drawn_in(*n, slots, done);
                    if slots.iter().any(|s| self.reads_slot(*n, *s)) {
                        let plate = self.joint.slot(slot).dims[dim];
                        let axis = self.fresh_axis(plate, "chosen");
                        choices.push((axis, at));
                        *ix = Ix::Axis(axis);
                    } else {
                        *ix = Ix::At(at);
                    }
                }
                let mut value = self.joint.intern(Node::Read { slot, index });
                for (axis, at) in choices {
                    let position = self.joint.intern(Node::Position(axis));
                    let (here, zero) = (self.joint.binary(BinOp::Equal, position, at), self.joint.constant(0.0));
                    let body = self.joint.intern(Node::Select(here, value, zero));
                    value = self.joint.intern(Node::Reduce { op: Fold::Sum, axes: vec![axis], filter: None, body });
                }
                value
            }
            Node::Unary(op, a) => {
                let a = self.with_drawn_in(a, slots, done);
                self.joint.unary(op, a)
            }
            Node::Binary(op, a, b) => {
                let (a, b) = (self.with_drawn_in(a, slots, done), self.with_drawn_in(b, slots, done));
                self.joint.binary(op, a, b)
            }
            Node::Detached(a) => {
                let a = self.with_drawn_in(a, slots, done);
                self.joint.intern(Node::Detached(a))
            }
            Node::Select(c, t, o) => {
                let c = self.with_drawn_in(c, slots, done);
                let (t, o) = (self.with_drawn_in(t, slots, done), self.with_drawn_in(o, slots, done));
                self.joint.intern(Node::Select(c, t, o))
            }
            Node::Reduce { op, axes, filter, body } => {
                let body = self.with_drawn_in(body, slots, done);
                self.joint.intern(Node::Reduce { op, axes, filter, body })
            }
        };
        done.insert(node, out);
        out
    }
}
