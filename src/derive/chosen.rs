//! Discrete latents that a written guide draws.
//!
//! A line `z ~ D(args)` gives a table of chances q(v) per cell. The value drawn is where noise falls among these: it has no
//! gradient. Two ways around that:
//!
//! *Enumerated*: where no later line reads z, a term f(z) of the lower bound has the expectation Σ_v q(v) f(v), which is
//! differentiated (Titsias and Lázaro-Gredilla 2015, Local expectation gradients). A switch, 0 while params are fitted, adds
//! f(z) − Σ_v q(v) f(v) at the value drawn, without a derivative, so that draws can be weighed.
//!
//! *Scored*: the gradient is by the score function (`scored`).
//!
//! *Relaxed*: where the user asks for it, the values are made continuous (`relaxed`), which is biased.

use std::collections::HashSet;

use super::discrete::Summed;
use super::joint::*;
use super::scored::{Known, Scored};
use super::translate::Translator;
use crate::diag::Code;
use crate::hir::{AxisId, DistUse, Gradient, VarId};
use crate::source::Span;

/// A discrete latent that the guide draws.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    pub of: Summed,
    /// Chances, over the cells and then the values.
    table: SlotId,
    gradient: Gradient,
    /// Weights of its values in the place of these, over the same axes.
    pub relaxed: Option<SlotId>,
    span: Span,
}

/// What the lines of a guide have drawn that has no derivative: discrete latents, and continuous ones that are scored.
#[derive(Default)]
pub(super) struct Draws {
    pub chosen: Vec<Chosen>,
    pub scored: Vec<Scored>,
}

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
        self.joint.written.as_mut().expect("a written guide is at work").chances.push((var, table));
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
        let relaxed = match gradient {
            Gradient::Gumbel { temperature } => Some(self.relaxed_weights(var, &cells, log_q, temperature)),
            Gradient::Auto | Gradient::Enumerate | Gradient::Score | Gradient::Read => None,
        };
        Chosen { of, table, gradient, relaxed, span }
    }

    /// The chance of the value that a latent has.
    fn chance(&mut self, of: &Summed, table: SlotId, first: NodeId) -> NodeId {
        let own = self.read_all(of.slot, &of.axes);
        let at = if self.joint.is_constant(first, 0.0) { own } else { self.joint.binary(BinOp::Sub, own, first) };
        let mut index: Vec<Ix> = of.axes.iter().map(|a| Ix::Axis(*a)).collect();
        index.push(Ix::At(at));
        self.joint.intern(Node::Read { slot: table, index })
    }

    /// Replace the discrete latents of the guide in every definition and term, and say what scored ones are scored by.
    pub(super) fn settle_draws(&mut self, draws: Draws) {
        let Draws { mut chosen, scored: mut smooth } = draws;
        if chosen.is_empty() && smooth.is_empty() {
            return;
        }
        for z in &mut chosen {
            z.gradient = match z.gradient {
                Gradient::Score | Gradient::Read => Gradient::Score,
                Gradient::Gumbel { .. } => continue,
                asked @ (Gradient::Auto | Gradient::Enumerate) => {
                    let apart = self.joint.terms.clone().iter().all(|t| self.enumerable(t, z));
                    match (apart, asked) {
                        (true, _) => Gradient::Enumerate,
                        (false, Gradient::Enumerate) => {
                            self.joint.problems.push(self.tied(z));
                            Gradient::Enumerate
                        }
                        (false, _) => Gradient::Score,
                    }
                }
            };
        }
        let slots: HashSet<SlotId> = chosen.iter().map(|z| z.of.slot).collect();
        let mut scored: Vec<Scored> = vec![];
        for z in chosen.iter().filter(|z| z.gradient == Gradient::Score) {
            scored.push(self.scored_choice(z));
        }
        scored.append(&mut smooth);
        let inputs: Vec<(SlotId, SlotId)> = scored.iter().map(|z| self.inputs(z)).collect();
        let scored: Vec<(Scored, Known, SlotId)> =
            scored.into_iter().zip(&inputs).map(|(z, i)| (z.clone(), self.known_of(&z), i.0)).collect();
        self.drawn_and_summed(&chosen, &slots);
        self.scored_and_summed(&scored, &slots);
        let averaged: Vec<Chosen> = chosen.iter().filter(|z| z.gradient != Gradient::Score).cloned().collect();
        let relaxed: Vec<Chosen> = averaged.iter().filter(|z| z.relaxed.is_some()).cloned().collect();
        let switch = averaged.first().map(|z| self.switch(z.of.var, !relaxed.is_empty()));
        for mut term in std::mem::take(&mut self.joint.terms) {
            let factor = self.probed(term.value, &scored);
            let own: Vec<Chosen> =
                averaged.iter().filter(|z| self.reads_slot(term.value, z.of.slot)).cloned().collect();
            let at_draw = self.with_drawn(term.value, &slots);
            term.value = match switch.filter(|_| !own.is_empty()) {
                None => at_draw,
                Some(switch) => {
                    let expected = self.expectation(&term, &own, &slots);
                    let gap = self.joint.binary(BinOp::Sub, at_draw, expected);
                    let gap = self.joint.intern(Node::Detached(gap));
                    let zero = self.joint.constant(0.0);
                    let gap = self.joint.intern(Node::Select(switch, gap, zero));
                    self.joint.binary(BinOp::Add, expected, gap)
                }
            };
            if let Some(factor) = factor {
                term.value = self.joint.binary(BinOp::Mul, factor, term.value);
            }
            self.joint.terms.push(term);
        }
        for ((z, ..), (_, weight)) in scored.iter().zip(&inputs) {
            let log_q = self.with_drawn(z.log_q, &slots);
            self.score_term(z, *weight, log_q);
        }
        let mut defs = std::mem::take(&mut self.joint.defs);
        for def in &mut defs {
            let at_draw = self.with_drawn(def.value, &slots);
            let moves = relaxed.iter().any(|z| self.reads_slot(def.value, z.of.slot));
            def.value = match switch.filter(|_| moves) {
                None => at_draw,
                Some(switch) => {
                    let others = slots.iter().copied().filter(|s| relaxed.iter().all(|z| z.of.slot != *s)).collect();
                    let smooth = self.with_drawn(def.value, &others);
                    let smooth = self.relaxed(smooth, &relaxed);
                    let fixed = self.joint.intern(Node::Detached(at_draw));
                    self.joint.intern(Node::Select(switch, fixed, smooth))
                }
            };
        }
        self.joint.defs = defs;
        for slot in slots {
            self.joint.slots[slot.0 as usize].kind = SlotKind::Defined;
        }
    }

    /// A term while params are fitted: its expectation over the latents that are enumerated, relaxed in the others.
    fn expectation(&mut self, term: &Term, own: &[Chosen], slots: &HashSet<SlotId>) -> NodeId {
        let others: HashSet<SlotId> = slots.iter().filter(|s| own.iter().all(|z| z.of.slot != **s)).copied().collect();
        let of_prior = matches!(term.kind, TermKind::Prior | TermKind::Guide);
        let exact = |t: &Self, z: &Chosen| z.relaxed.is_none() || of_prior && own.len() == 1 && t.enumerable(term, z);
        let (exact, relaxed): (Vec<Chosen>, Vec<Chosen>) = own.iter().cloned().partition(|z| exact(self, z));
        let mut value = self.with_drawn(term.value, &others);
        value = self.relaxed(value, &relaxed);
        for z in exact.iter().rev() {
            value = self.expected(value, z);
        }
        value
    }

    /// What is scored of a discrete latent.
    fn scored_choice(&mut self, z: &Chosen) -> Scored {
        let first = self.hir.discrete(z.of.var).expect("a discrete latent").first.clone();
        let first = self.expr(&first);
        let chance = self.chance(&z.of, z.table, first);
        let log_q = self.joint.unary(UnOp::Log, chance);
        let (axes, over) = (z.of.axes.clone(), z.of.axes.clone());
        Scored { var: z.of.var, slot: z.of.slot, axes, joint: 0, log_q, over, filter: None, span: z.span }
    }

    /// A term that depends on a latent that is drawn and on one that is summed out has no place in either.
    fn drawn_and_summed(&mut self, chosen: &[Chosen], slots: &HashSet<SlotId>) {
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
    }

    /// The value of a latent at a position of an axis over its values.
    pub(super) fn value_at(&mut self, of: &Summed, axis: AxisId) -> NodeId {
        let position = self.joint.intern(Node::Position(axis));
        let first = self.hir.discrete(of.var).expect("a discrete latent").first.clone();
        let first = self.expr(&first);
        if self.joint.is_constant(first, 0.0) { position } else { self.joint.binary(BinOp::Add, position, first) }
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

    pub(super) fn reads_slot(&self, node: NodeId, slot: SlotId) -> bool {
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
    fn switch(&mut self, var: VarId, relaxed: bool) -> NodeId {
        let slot = self.slot("values drawn".into(), vec![], SlotKind::Unconstrained(var));
        self.joint.unconstrained.push(Unconstrained { var, slot, point: true, start: None, axes: vec![] });
        let own = self.joint.written.as_mut().expect("a written guide is at work");
        (own.switch, own.relaxed) = (Some(slot), relaxed);
        self.joint.intern(Node::Read { slot, index: vec![] })
    }
}
