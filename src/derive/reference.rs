//! Latents with a reference level: unknowns at the other levels only, 0 there.

use super::joint::*;
use super::translate::Translator;
use crate::hir::{AxisId, Reference, VarId};

impl Translator<'_> {
    fn references(&self, var: VarId) -> Vec<Reference> {
        self.hir.references.iter().filter(|r| r.var == var).cloned().collect()
    }

    /// The axes of a latent's unknowns.
    pub(super) fn unknown_axes(&self, var: VarId, axes: &[AxisId]) -> Vec<AxisId> {
        let references = self.references(var);
        let rest = |a: &AxisId| references.iter().find(|r| r.axis == *a).map(|r| self.hir.plate(r.rest).axis);
        axes.iter().map(|a| rest(a).unwrap_or(*a)).collect()
    }

    /// The unknown of each cell; what stands at a reference level must not be used.
    pub(super) fn read_unknown(&mut self, slot: SlotId, var: VarId, axes: &[AxisId]) -> NodeId {
        let references = self.references(var);
        let index = axes.iter().map(|&axis| {
            let Some(r) = references.iter().find(|r| r.axis == axis) else { return Ix::Axis(axis) };
            // The levels after the reference move up by one.
            let (at, reference) = self.places(r);
            let after = self.joint.binary(BinOp::Less, reference, at);
            Ix::At(self.joint.binary(BinOp::Sub, at, after))
        });
        let index = index.collect();
        self.joint.intern(Node::Read { slot, index })
    }

    /// The position of the cell, and that of the reference level.
    fn places(&mut self, r: &Reference) -> (NodeId, NodeId) {
        let positions = super::position_slot(&mut self.joint, self.hir, self.hir.axis(r.axis).plate);
        let index = vec![Ix::Label(r.label.clone(), r.span)];
        (self.joint.intern(Node::Position(r.axis)), self.joint.intern(Node::Read { slot: positions, index }))
    }

    /// Whether a cell is at no reference level; `None` for a latent without any.
    pub(super) fn not_reference(&mut self, var: VarId) -> Option<NodeId> {
        self.references(var).iter().fold(None, |all, r| {
            let (at, reference) = self.places(r);
            let other = self.joint.binary(BinOp::NotEqual, at, reference);
            Some(match all {
                Some(all) => self.joint.binary(BinOp::And, all, other),
                None => other,
            })
        })
    }

    /// A latent's value: 0 at the reference levels.
    pub(super) fn but_reference(&mut self, var: VarId, x: NodeId) -> NodeId {
        let Some(other) = self.not_reference(var) else { return x };
        let zero = self.joint.constant(0.0);
        self.joint.intern(Node::Select(other, x, zero))
    }
}
