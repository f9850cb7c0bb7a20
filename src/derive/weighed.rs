//! Draws of a written guide that are weighed against each other: several of each row of a minibatch. Rows that belong to a member
//! are weighed with it, since they are independent of those of other members alone: a draw is then of a member and all its rows.
//!
//! With w = p/q of each draw and w̃ = w / Σ w over the draws of a row, both estimators give the model's params Σ w̃ ∇ log p; they
//! differ in what the guide is told.
//!
//! Doubly reparameterised (Tucker, Lawson, Gu and Maddison 2019): Σ w̃² (∂ log w / ∂z) (∂z / ∂φ), along the paths of the draws. What
//! reads the draw reads z′, which is z with slopes times a factor that is data of the batch (terms are multiplied by w̃, so that it is
//! w̃ too); and log q is taken at z′ with its arguments as constants. A line whose arguments depend on draws above it is left as it
//! is: its noise is then what is drawn, and its params are of the weight, with the gradient Σ w̃ ∂ log w / ∂φ. The same holds for the
//! layers of flows.
//!
//! Inclusive (the wake phase of Bornschein and Bengio 2015): (w̃ − 1/K) ∂ log q / ∂φ at fixed draws. All read z as a constant, and log q
//! has arguments whose slopes are times a factor.

use std::collections::HashSet;

use super::Purpose;
use super::batch::given;
use super::joint::*;
use super::translate::{Source, Translator};
use crate::hir::{AxisId, DistUse, LocalId, VarId};
use crate::infer::batches::Weighing;
use crate::source::Span;

/// What is done with a draw of rows.
#[derive(Clone, Copy)]
pub(super) struct Weighed {
    how: Weighing,
    /// The factor of its row.
    path: NodeId,
}

impl Translator<'_> {
    /// How a line of the guide with these arguments is weighed; `None`: as if there were one draw.
    pub(super) fn weighed(&mut self, var: VarId, dist: &DistUse) -> Option<Weighed> {
        let Purpose::Weighed(how) = self.purpose else { return None };
        let batched = |a: &AxisId| self.hir.batched.contains(&self.hir.axis(*a).plate);
        let row = self.hir.var(var).axes.iter().copied().find(batched)?;
        let depends = |t: &Self| dist.args.iter().any(|(local, ..)| t.is_drawn(t.locals[local]));
        if how == Weighing::Doubly && depends(self) {
            return None;
        }
        let own = self.joint.written.as_ref().expect("a written guide is at work");
        let rows = self.hir.axis(row).plate;
        let slot = match own.paths.iter().find(|p| self.joint.slot(p.1).dims == [rows]) {
            Some((_, slot)) => *slot,
            None => {
                let made = given(self.hir, &mut self.joint, "factor of a draw", vec![row]);
                self.joint.written.as_mut().expect("seen above").paths.push(made);
                made.1
            }
        };
        let path = self.joint.intern(Node::Read { slot, index: vec![Ix::Axis(row)] });
        Some(Weighed { how, path })
    }

    /// Whether an expression depends on something that is drawn.
    fn is_drawn(&self, node: NodeId) -> bool {
        let mut read = HashSet::new();
        self.joint.reads(node, &mut read);
        for def in self.joint.defs.iter().rev() {
            if read.contains(&def.slot) {
                self.joint.reads(def.value, &mut read);
            }
        }
        self.joint.unconstrained.iter().any(|u| !u.point && read.contains(&u.slot))
    }

    /// Let all that reads a draw read what is told of it; a read of that.
    pub(super) fn tell(&mut self, by: Weighed, var: VarId, axes: &[AxisId], span: Span) -> NodeId {
        let Some(Source::Slot(slot)) = self.sources.get(&var).cloned() else { unreachable!("it has been defined") };
        let z = self.read_all(slot, axes);
        let told = match by.how {
            Weighing::Doubly => self.scaled_slopes(z, by.path),
            Weighing::Inclusive => self.joint.intern(Node::Detached(z)),
        };
        let name = format!("{} as read", self.hir.var(var).name);
        let slot = self.slot(name, self.plates(axes), SlotKind::Defined);
        self.joint.defs.push(Def::new(slot, axes.to_vec(), told, span));
        self.sources.insert(var, Source::Slot(slot));
        self.read_all(slot, axes)
    }

    /// An argument of log q.
    pub(super) fn argument(&mut self, by: Weighed, node: NodeId) -> NodeId {
        match by.how {
            Weighing::Doubly => self.joint.intern(Node::Detached(node)),
            Weighing::Inclusive => self.scaled_slopes(node, by.path),
        }
    }

    /// Replace the arguments of a distribution by those of log q.
    pub(super) fn tell_arguments(&mut self, by: Weighed, dist: &DistUse, but: &[LocalId]) {
        for (local, ..) in dist.args.iter().filter(|(local, ..)| !but.contains(local)) {
            let told = self.argument(by, self.locals[local]);
            self.locals.insert(*local, told);
        }
    }

    /// The same number, its derivatives times a factor.
    fn scaled_slopes(&mut self, node: NodeId, factor: NodeId) -> NodeId {
        let fixed = self.joint.intern(Node::Detached(node));
        let moved = self.joint.binary(BinOp::Sub, node, fixed);
        let scaled = self.joint.binary(BinOp::Mul, factor, moved);
        self.joint.binary(BinOp::Add, fixed, scaled)
    }
}
