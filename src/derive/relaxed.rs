//! The Gumbel-softmax relaxation of a discrete latent that a written guide draws (Jang, Gu and Poole 2017; Maddison, Mnih and
//! Teh 2017): while params are fitted, every read of the latent is a weighted mean over its values, with weights
//! softmax((log q + Gumbel noise) / temperature) that move smoothly with q. The expectation over such weights is not that over
//! values, so the gradient is biased, however low the temperature; its variance grows as the temperature falls. What is
//! reported is at values that are drawn.
//!
//! Relaxed are the reads: a number becomes the mean of its values, a read at the latent's position the mean over positions, a
//! comparison the weight of the values for which it holds, and a choice the mean of both sides. Terms of the prior and of the guide
//! that read one cell take their expectation over q instead, which is exact.

use std::collections::{HashMap, HashSet};

use super::chosen::Chosen;
use super::joint::*;
use super::translate::Translator;
use crate::hir::{AxisId, VarId};

impl Translator<'_> {
    /// The table of weights of a latent whose log chances are `log_q`, normalised, over the cells and then the values.
    pub(super) fn relaxed_weights(&mut self, var: VarId, cells: &[AxisId], log_q: NodeId, temperature: f64) -> SlotId {
        let name = self.hir.var(var).name.clone();
        let values = *cells.last().expect("a table has an axis of values");
        let noise = self.guide_noise(var, format!("{name} Gumbel noise"), cells);
        let z = self.read_all(noise, cells);
        let standard = self.standard_normal(z);
        let term = |name, value| Term {
            name,
            kind: TermKind::Noise,
            axes: cells.to_vec(),
            filter: None,
            value,
            span: self.span,
        };
        let term = term(format!("{name} Gumbel noise"), standard);
        self.joint.terms.push(term);
        // −log(−log u) with u = Φ(z)
        let log_u = self.joint.unary(UnOp::LogPhi, z);
        let positive = self.joint.unary(UnOp::Neg, log_u);
        let minus_gumbel = self.joint.unary(UnOp::Log, positive);
        let perturbed = self.joint.binary(BinOp::Sub, log_q, minus_gumbel);
        let temperature = self.joint.constant(temperature);
        let logits = self.joint.binary(BinOp::Div, perturbed, temperature);
        let logits = self.stored(format!("relaxed logits of {name}"), cells, logits, self.span);
        let (op, axes) = (Fold::LogSumExp, vec![values]);
        let total = self.joint.intern(Node::Reduce { op, axes, filter: None, body: logits });
        let share = self.joint.binary(BinOp::Sub, logits, total);
        let weight = self.joint.unary(UnOp::Exp, share);
        let table = self.slot(format!("relaxed values of {name}"), self.plates(cells), SlotKind::Defined);
        self.joint.defs.push(Def::new(table, cells.to_vec(), weight, self.span));
        table
    }

    /// An expression with its reads of these latents relaxed.
    pub(super) fn relaxed(&mut self, node: NodeId, latents: &[Chosen]) -> NodeId {
        self.relaxed_in(node, latents, &mut HashMap::new())
    }

    fn relaxed_in(&mut self, node: NodeId, latents: &[Chosen], done: &mut HashMap<NodeId, NodeId>) -> NodeId {
        if let Some(&n) = done.get(&node) {
            return n;
        }
        let depends = |t: &Self, n: NodeId| latents.iter().any(|z| t.reads_slot(n, z.of.slot));
        if !depends(self, node) {
            return node;
        }
        let out = match self.joint.node(node).clone() {
            n @ (Node::Const(_) | Node::Size(_) | Node::Position(_) | Node::Matrix { .. } | Node::Ode { .. }) => {
                self.joint.intern(n)
            }
            // The latent itself, or a read at a position that depends on it.
            Node::Read { .. } => self.mean_over(node, latents),
            Node::Unary(UnOp::Floor | UnOp::Ceil | UnOp::Round | UnOp::Not | UnOp::Sign, _) => {
                self.mean_over(node, latents)
            }
            Node::Binary(BinOp::Less | BinOp::LessEq | BinOp::Equal | BinOp::NotEqual | BinOp::And | BinOp::Or, ..) => {
                self.mean_over(node, latents)
            }
            other @ (Node::Unary(..) | Node::Binary(..) | Node::Detached(_)) => {
                let other = other.map_operands(&mut |n| self.relaxed_in(n, latents, done));
                self.joint.intern(other)
            }
            Node::Select(c, t, o) => {
                let mixes = depends(self, c);
                let (t, o) = (self.relaxed_in(t, latents, done), self.relaxed_in(o, latents, done));
                match mixes {
                    false => self.joint.intern(Node::Select(c, t, o)),
                    true => {
                        let p = self.relaxed_in(c, latents, done);
                        let one = self.joint.constant(1.0);
                        let rest = self.joint.binary(BinOp::Sub, one, p);
                        let (t, o) = (self.joint.binary(BinOp::Mul, p, t), self.joint.binary(BinOp::Mul, rest, o));
                        self.joint.binary(BinOp::Add, t, o)
                    }
                }
            }
            Node::Reduce { op, axes, filter, body } => {
                let body = self.relaxed_in(body, latents, done);
                self.joint.intern(Node::Reduce { op, axes, filter, body })
            }
        };
        done.insert(node, out);
        out
    }

    /// The mean over the values of every cell of these latents that an expression reads, by their weights.
    fn mean_over(&mut self, mut node: NodeId, latents: &[Chosen]) -> NodeId {
        loop {
            let (mut reads, mut inside) = (vec![], None);
            self.collect(node, &[], &mut HashSet::new(), &mut reads, &mut inside);
            let wanted = |slot: SlotId| latents.iter().find(|z| z.of.slot == slot && z.relaxed.is_some());
            // Of reads within reads the inner one comes last.
            let Some((z, cell)) = reads.into_iter().rev().find_map(|(s, cell)| Some((wanted(s)?, cell))) else {
                return node;
            };
            let (of, weights) = (z.of.clone(), z.relaxed.expect("just seen"));
            let axis = self.fresh_axis(of.plate, &self.hir.var(of.var).name.clone());
            let value = self.value_at(&of, axis);
            let read = Node::Read { slot: of.slot, index: cell.clone() };
            let by = |n: &Node| (*n == read).then_some(value);
            let each = self.joint.replaced(node, &by, &mut HashMap::new());
            let index = cell.into_iter().chain([Ix::Axis(axis)]).collect();
            let weight = self.joint.intern(Node::Read { slot: weights, index });
            let body = self.joint.binary(BinOp::Mul, weight, each);
            node = self.joint.intern(Node::Reduce { op: Fold::Sum, axes: vec![axis], filter: None, body });
        }
    }
}
