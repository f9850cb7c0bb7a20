//! The values drawn in the place of discrete latents of a written guide.

use std::collections::{HashMap, HashSet};

use super::joint::*;
use super::translate::Translator;

impl Translator<'_> {
    /// With the values drawn in the place of discrete latents: an index becomes a choice among all cells.
    pub(super) fn with_drawn(&mut self, node: NodeId, slots: &HashSet<SlotId>) -> NodeId {
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
            other => {
                let other = other.map_operands(&mut |n| self.with_drawn_in(n, slots, done));
                self.joint.intern(other)
            }
        };
        done.insert(node, out);
        out
    }
}
