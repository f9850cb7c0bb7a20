//! Latents of a written guide whose gradient is by the score function, discrete or continuous.
//!
//! The gradient with respect to q is E[A ∇ log q(z)] (Williams 1992), with A from the terms that depend on this cell of z, and no
//! others (Ranganath, Gerrish and Blei 2014, Black box variational inference, section 3.1). Every such term is multiplied by
//! 1 + e, with an input e per cell that is 0: the derivative along e is the sum of the cell's terms. Another input per cell, A,
//! multiplies log q(z). The draw itself is a constant to derivatives: nothing follows slopes along it, and there may be jumps.

use std::collections::{HashMap, HashSet};

use super::joint::*;
use super::translate::Translator;
use crate::diag::Code;
use crate::hir::{AxisId, VarId};
use crate::source::Span;

/// A latent that is scored.
#[derive(Clone, Debug)]
pub(super) struct Scored {
    pub var: VarId,
    pub slot: SlotId,
    /// One per dimension of the slot.
    pub axes: Vec<AxisId>,
    /// How many of the last `axes` are drawn together: what is scored is a cell of the others.
    pub joint: usize,
    /// log q at the draw, a term over these axes where the filter holds.
    pub log_q: NodeId,
    pub over: Vec<AxisId>,
    pub filter: Option<NodeId>,
    pub span: Span,
}

/// The cells of a latent that an expression depends on: per dimension one, or all.
type Cells = Vec<Option<Ix>>;
/// Of definitions that depend on a latent: their axes, and its cells.
pub(super) type Known = HashMap<SlotId, (Vec<AxisId>, Cells)>;

impl Scored {
    fn cells(&self) -> &[AxisId] {
        &self.axes[..self.axes.len() - self.joint]
    }
}

impl Translator<'_> {
    /// The definitions that depend on a scored latent.
    pub(super) fn known_of(&self, z: &Scored) -> Known {
        let mut known = Known::new();
        for def in &self.joint.defs {
            if def.slot == z.slot {
                continue;
            }
            let plain = def.walk.is_none() && def.scatter.is_none();
            if let Some(cells) = self.depends_on(def.value, &[], z, &known) {
                let all = vec![None; cells.len()];
                known.insert(def.slot, (def.axes.clone(), if plain { cells } else { all }));
            }
        }
        known
    }

    /// 1 plus the inputs of the cells of scored latents that a term depends on; `None`: it depends on none.
    pub(super) fn probed(&mut self, value: NodeId, scored: &[(Scored, Known, SlotId)]) -> Option<NodeId> {
        let mut factor: Option<NodeId> = None;
        for (z, known, probe) in scored {
            if let Some(cells) = self.depends_on(value, &[], z, known) {
                let sum = self.probed_cells(*probe, z, &cells);
                let before = factor.unwrap_or_else(|| self.joint.constant(1.0));
                factor = Some(self.joint.binary(BinOp::Add, before, sum));
            }
        }
        factor
    }

    /// The term A log q(z).
    pub(super) fn score_term(&mut self, z: &Scored, weight: SlotId, log_q: NodeId) {
        let weight = self.read_all(weight, z.cells());
        let value = self.joint.binary(BinOp::Mul, weight, log_q);
        let name = format!("score of {}", self.hir.var(z.var).name);
        let term = Term { name, kind: TermKind::Guide, axes: z.over.clone(), filter: z.filter, value, span: z.span };
        self.joint.terms.push(term);
    }

    /// A term that is summed out over a discrete latent cannot be multiplied first.
    pub(super) fn scored_and_summed(&mut self, scored: &[(Scored, Known, SlotId)], drawn: &HashSet<SlotId>) {
        for term in self.joint.terms.clone() {
            let mut read = HashSet::new();
            self.joint.reads(term.value, &mut read);
            let summed = |s: &SlotId| !drawn.contains(s) && matches!(self.joint.slot(*s).kind, SlotKind::Discrete(_));
            let Some(other) = read.into_iter().filter(summed).min() else { continue };
            let here = scored.iter().find(|(z, known, _)| self.depends_on(term.value, &[], z, known).is_some());
            let Some((z, ..)) = here else { continue };
            let (own, other) = (self.hir.var(z.var), self.joint.slot(other).name.clone());
            let d = Code::GUIDE_GRADIENT
                .at(
                    z.span,
                    format!(
                        "the guide scores `{}` and leaves `{other}` to be summed out, and a term depends on both",
                        own.name
                    ),
                )
                .here("scored")
                .label(own.span, "declared here")
                .help(format!("give `{other}` a line in the guide too"));
            return self.joint.problems.push(d);
        }
    }

    /// The inputs e and A of a scored latent.
    pub(super) fn inputs(&mut self, z: &Scored) -> (SlotId, SlotId) {
        let name = self.hir.var(z.var).name.clone();
        let mut input = |what: &str| {
            let (var, axes) = (z.var, z.cells().to_vec());
            let slot = self.slot(format!("{name} {what}"), self.plates(&axes), SlotKind::Unconstrained(var));
            self.joint.unconstrained.push(Unconstrained { var, slot, point: true, start: None, axes });
            slot
        };
        let (probe, weight) = (input("terms"), input("score"));
        let own = self.joint.written.as_mut().expect("a written guide is at work");
        own.scores.push((probe, weight));
        own.scored.push(z.var);
        (probe, weight)
    }

    /// The sum of an input over these cells.
    fn probed_cells(&mut self, probe: SlotId, z: &Scored, cells: &Cells) -> NodeId {
        let mut summed = vec![];
        let mut index = vec![];
        for (cell, axis) in cells.iter().zip(z.cells()) {
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
    fn depends_on(&self, node: NodeId, bound: &[AxisId], z: &Scored, defined: &Known) -> Option<Cells> {
        self.depends_in(node, bound, z, defined, &mut HashMap::new())
    }

    fn depends_in(
        &self,
        node: NodeId,
        bound: &[AxisId],
        z: &Scored,
        defined: &Known,
        done: &mut HashMap<(NodeId, Vec<AxisId>), Option<Cells>>,
    ) -> Option<Cells> {
        if let Some(known) = done.get(&(node, bound.to_vec())) {
            return known.clone();
        }
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
            if *slot == z.slot {
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
            if let Some(cells) = self.depends_in(operand, &inner, z, defined, done) {
                add(if whole { vec![None; cells.len()] } else { cells });
            }
        }
        done.insert((node, bound.to_vec()), found.clone());
        found
    }
}
