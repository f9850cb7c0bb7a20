//! Transforms from the real line to a support, with their log-Jacobians.
//! Stan Reference Manual, "Constraint transforms"; for the simplex the isometric log-ratio of Egozcue et al. (2003).

use super::joint::{BinOp, Fold, Ix, Joint, Node, NodeId, Slot, SlotId, SlotKind, Table, UnOp};
use crate::hir::{AxisId, Hir, Plate, PlateId, PlateKind};

/// A support whose bounds are already nodes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Support {
    Real,
    Lower(NodeId),
    Upper(NodeId),
    Interval(NodeId, NodeId),
}

impl Joint {
    pub(super) fn unary(&mut self, op: UnOp, a: NodeId) -> NodeId {
        self.intern(Node::Unary(op, a))
    }

    pub(super) fn binary(&mut self, op: BinOp, a: NodeId, b: NodeId) -> NodeId {
        self.intern(Node::Binary(op, a, b))
    }

    pub(super) fn is_constant(&self, n: NodeId, v: f64) -> bool {
        matches!(self.node(n), Node::Const(bits) if *bits == v.to_bits())
    }

    /// The value on the support at the unconstrained value `u`, and log |d value / d u| (`None`: 0).
    pub(super) fn constrain(&mut self, support: Support, u: NodeId) -> (NodeId, Option<NodeId>) {
        match support {
            Support::Real => (u, None),
            Support::Lower(b) => {
                let e = self.unary(UnOp::Exp, u);
                let x = if self.is_constant(b, 0.0) { e } else { self.binary(BinOp::Add, b, e) };
                (x, Some(u))
            }
            Support::Upper(b) => {
                let e = self.unary(UnOp::Exp, u);
                (self.binary(BinOp::Sub, b, e), Some(u))
            }
            Support::Interval(l, h) => {
                // d/du [l + (h - l) σ(u)] = (h - l) σ(u) σ(-u)
                let width = self.binary(BinOp::Sub, h, l);
                let s = self.unary(UnOp::Sigmoid, u);
                let scaled = self.binary(BinOp::Mul, width, s);
                let x = self.binary(BinOp::Add, l, scaled);
                let log_width = self.unary(UnOp::Log, width);
                let minus = self.unary(UnOp::Neg, u);
                let (up, down) = (self.unary(UnOp::Softplus, u), self.unary(UnOp::Softplus, minus));
                let both = self.binary(BinOp::Add, up, down);
                (x, Some(self.binary(BinOp::Sub, log_width, both)))
            }
        }
    }

    /// The unconstrained value that gives `x`: the inverse of [`Joint::constrain`].
    pub(super) fn unconstrain(&mut self, support: Support, x: NodeId) -> NodeId {
        match support {
            Support::Real => x,
            Support::Lower(b) => {
                let d = self.binary(BinOp::Sub, x, b);
                self.unary(UnOp::Log, d)
            }
            Support::Upper(b) => {
                let d = self.binary(BinOp::Sub, b, x);
                self.unary(UnOp::Log, d)
            }
            Support::Interval(l, h) => {
                let (up, down) = (self.binary(BinOp::Sub, x, l), self.binary(BinOp::Sub, h, x));
                let (a, b) = (self.unary(UnOp::Log, up), self.unary(UnOp::Log, down));
                self.binary(BinOp::Sub, a, b)
            }
        }
    }
}

/// The pieces of a simplex over the last axis of a variable.
pub(super) struct Simplex {
    /// The plate with one cell fewer, and its axis.
    pub free: PlateId,
    pub free_axis: AxisId,
    basis: SlotId,
}

impl Simplex {
    pub fn new(hir: &mut Hir, joint: &mut Joint, k: PlateId) -> Simplex {
        let name = format!("{} - 1", hir.plate(k).name);
        let free = PlateId(hir.plates.len() as u32);
        hir.axes.push(crate::hir::AxisInfo { plate: free, name: name.clone() });
        let free_axis = AxisId(hir.axes.len() as u32 - 1);
        let span = hir.plate(k).span;
        hir.plates.push(Plate { name, span, kind: PlateKind::OneLess(k), axis: free_axis });
        let slot = Slot {
            name: format!("log-ratio basis of {}", hir.plate(k).name),
            dims: vec![k, free],
            kind: SlotKind::Table(Table::IlrBasis),
        };
        joint.slots.push(slot);
        Simplex { free, free_axis, basis: SlotId(joint.slots.len() as u32 - 1) }
    }

    /// Logits along `k` from the unconstrained value `u`, which varies over the free axis: `y = V u`.
    pub fn logits(&self, joint: &mut Joint, u: NodeId, k: AxisId) -> NodeId {
        let v = joint.intern(Node::Read { slot: self.basis, index: vec![Ix::Axis(k), Ix::Axis(self.free_axis)] });
        let body = joint.binary(BinOp::Mul, v, u);
        joint.intern(Node::Reduce { op: Fold::Sum, axes: vec![self.free_axis], filter: None, body })
    }

    /// Probabilities from logits, and the log-Jacobian `½ log K + Σ log x` of the whole transform (density with respect
    /// to the first K - 1 coordinates).
    pub fn probabilities(&self, joint: &mut Joint, y: NodeId, k: AxisId, plate: PlateId) -> (NodeId, NodeId) {
        let lse = joint.intern(Node::Reduce { op: Fold::LogSumExp, axes: vec![k], filter: None, body: y });
        let log_x = joint.binary(BinOp::Sub, y, lse);
        let x = joint.unary(UnOp::Exp, log_x);
        let total = joint.intern(Node::Reduce { op: Fold::Sum, axes: vec![k], filter: None, body: log_x });
        let size = joint.intern(Node::Size(plate));
        let log_size = joint.unary(UnOp::Log, size);
        let half = joint.constant(0.5);
        let constant = joint.binary(BinOp::Mul, half, log_size);
        (x, joint.binary(BinOp::Add, constant, total))
    }

    /// `u = Vᵀ log x`.
    pub fn unconstrain(&self, joint: &mut Joint, x: NodeId, k: AxisId) -> NodeId {
        let log_x = joint.unary(UnOp::Log, x);
        self.coordinates(joint, log_x, k)
    }

    /// `u = Vᵀ y`.
    pub fn coordinates(&self, joint: &mut Joint, y: NodeId, k: AxisId) -> NodeId {
        let v = joint.intern(Node::Read { slot: self.basis, index: vec![Ix::Axis(k), Ix::Axis(self.free_axis)] });
        let body = joint.binary(BinOp::Mul, v, y);
        joint.intern(Node::Reduce { op: Fold::Sum, axes: vec![k], filter: None, body })
    }
}

/// The pieces of an increasing vector over the last axis of a variable: a first value (or `exp`, where all are positive)
/// and positive steps, added up. Stan Reference Manual, "Ordered vector".
pub(super) struct Ordered {
    positive: bool,
    /// A second index of the plate: the steps that a cell adds up.
    pub step_axis: AxisId,
    triangle: SlotId,
}

impl Ordered {
    pub fn new(hir: &mut Hir, joint: &mut Joint, k: AxisId, positive: bool) -> Ordered {
        let info = hir.axis(k).clone();
        hir.axes.push(crate::hir::AxisInfo { plate: info.plate, name: format!("{}'", info.name) });
        let slot = Slot {
            name: format!("steps up to each of {}", info.name),
            dims: vec![info.plate, info.plate],
            kind: SlotKind::Table(Table::LowerTriangle),
        };
        joint.slots.push(slot);
        Ordered {
            positive,
            step_axis: AxisId(hir.axes.len() as u32 - 1),
            triangle: SlotId(joint.slots.len() as u32 - 1),
        }
    }

    /// `first` in the first cell of `k`, `rest` in the others.
    fn first_or(&self, joint: &mut Joint, k: AxisId, first: NodeId, rest: NodeId) -> NodeId {
        if self.positive {
            return rest;
        }
        let (at, zero) = (joint.intern(Node::Position(k)), joint.constant(0.0));
        let is_first = joint.binary(BinOp::Equal, at, zero);
        joint.intern(Node::Select(is_first, first, rest))
    }

    /// What each cell adds to the one before it.
    pub fn steps(&self, joint: &mut Joint, u: NodeId, k: AxisId) -> NodeId {
        let exp = joint.unary(UnOp::Exp, u);
        self.first_or(joint, k, u, exp)
    }

    /// The values, from steps that vary over `step_axis`.
    pub fn values(&self, joint: &mut Joint, steps: NodeId, k: AxisId) -> NodeId {
        let index = vec![Ix::Axis(k), Ix::Axis(self.step_axis)];
        let counts = joint.intern(Node::Read { slot: self.triangle, index });
        let body = joint.binary(BinOp::Mul, counts, steps);
        joint.intern(Node::Reduce { op: Fold::Sum, axes: vec![self.step_axis], filter: None, body })
    }

    /// The log-Jacobian's addend in each cell of `k`: the values depend on the steps by a triangle of ones.
    pub fn jacobian(&self, joint: &mut Joint, u: NodeId, k: AxisId) -> NodeId {
        let zero = joint.constant(0.0);
        self.first_or(joint, k, zero, u)
    }

    /// `u` from values: `before` is the value one cell earlier, read only where there is one.
    pub fn unconstrain(&self, joint: &mut Joint, x: NodeId, before: NodeId, k: AxisId) -> NodeId {
        let (at, zero) = (joint.intern(Node::Position(k)), joint.constant(0.0));
        let is_first = joint.binary(BinOp::Equal, at, zero);
        let first = if self.positive { joint.unary(UnOp::Log, x) } else { x };
        let step = joint.binary(BinOp::Sub, x, before);
        let rest = joint.unary(UnOp::Log, step);
        joint.intern(Node::Select(is_first, first, rest))
    }
}
