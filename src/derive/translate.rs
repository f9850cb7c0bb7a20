//! Expressions of the checked program as nodes of the log joint.

use std::collections::HashMap;

use super::Purpose;
use super::joint::{BinOp, Fold, Ix, Joint, Node, NodeId, SlotId, UnOp};
use crate::hir::{AxisId, AxisInfo, Expr, ExprKind, Hir, Index, LocalId, PlateId, Reduction, VarId};
use crate::source::Span;

/// How a variable is read.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Slot(SlotId),
    /// Not stored: this node, over these axes.
    Inline(NodeId, Vec<AxisId>),
    /// Of the recurrence that is being translated: earlier rows, by an index on this dimension, are in the slot; the
    /// current one is its value.
    Walked {
        slot: SlotId,
        dim: usize,
        value: Option<(NodeId, Vec<AxisId>)>,
    },
}

pub(super) struct Translator<'h> {
    pub hir: &'h mut Hir,
    pub purpose: Purpose,
    pub joint: Joint,
    pub sources: HashMap<VarId, Source>,
    pub locals: HashMap<LocalId, NodeId>,
    /// The statement at hand.
    pub span: Span,
    /// What stands for standard normal noise, while a draw is translated.
    pub noise: Option<NodeId>,
    /// The draw of a written guide that is being made.
    pub making: Option<super::written::Making>,
    /// Slots that hold all cells of an expression, those of these axes first; and the results of matrix functions.
    pub stored: HashMap<(NodeId, Vec<AxisId>), SlotId>,
    pub results: HashMap<NodeId, SlotId>,
    /// By the slot of a latent matrix: that of its Cholesky factor, from which it is made.
    pub factors: HashMap<SlotId, SlotId>,
    /// The axes over values of earlier cells of a discrete latent, by how many steps before.
    pub lag_axes: HashMap<(SlotId, usize), AxisId>,
    /// How many cells a plate has, where that is known.
    pub known_size: &'h dyn Fn(&Hir, PlateId) -> Option<f64>,
}

impl<'h> Translator<'h> {
    /// Nothing translated yet, besides this joint.
    pub fn around(
        hir: &'h mut Hir,
        joint: Joint,
        purpose: Purpose,
        known_size: &'h dyn Fn(&Hir, PlateId) -> Option<f64>,
    ) -> Translator<'h> {
        Translator {
            hir,
            purpose,
            joint,
            sources: HashMap::new(),
            locals: HashMap::new(),
            span: Span::default(),
            noise: None,
            making: None,
            stored: HashMap::new(),
            results: HashMap::new(),
            factors: HashMap::new(),
            lag_axes: HashMap::new(),
            known_size,
        }
    }
}

impl Translator<'_> {
    pub fn expr(&mut self, e: &Expr) -> NodeId {
        match &e.kind {
            ExprKind::Number(v) => self.joint.constant(*v),
            ExprKind::Read { var, index } => self.read(*var, index),
            ExprKind::Local(l) => *self.locals.get(l).expect("check binds every local before its use"),
            ExprKind::Bind { local, value, body } => {
                let v = self.expr(value);
                let v = if self.hir.stored.contains(local) { self.whole(v, &[]) } else { v };
                self.locals.insert(*local, v);
                self.expr(body)
            }
            ExprKind::Position(a) => self.joint.intern(Node::Position(*a)),
            ExprKind::Size(p) => self.joint.intern(Node::Size(*p)),
            ExprKind::Unary(op, a) => {
                let a = self.expr(a);
                self.joint.unary(*op, a)
            }
            ExprKind::Binary(op, a, b) => {
                let (a, b) = (self.expr(a), self.expr(b));
                self.joint.binary(*op, a, b)
            }
            ExprKind::If { condition, then, otherwise } => {
                let (c, t, o) = (self.expr(condition), self.expr(then), self.expr(otherwise));
                self.joint.intern(Node::Select(c, t, o))
            }
            ExprKind::Reduce { op, axes, filter, body } => {
                let body = self.expr(body);
                let filter = filter.as_ref().map(|f| self.expr(f));
                self.reduce(*op, axes, filter, body)
            }
            ExprKind::At { body, axis, index } => {
                let body = self.expr(body);
                let ix = self.index(index);
                self.substitute(body, *axis, &ix)
            }
            ExprKind::List { axis, items } => {
                let items: Vec<NodeId> = items.iter().map(|i| self.expr(i)).collect();
                let at = self.joint.intern(Node::Position(*axis));
                let (last, rest) = items.split_last().expect("the grammar has no empty list");
                rest.iter().enumerate().rev().fold(*last, |otherwise, (i, &item)| {
                    let i = self.joint.constant(i as f64);
                    let here = self.joint.binary(BinOp::Equal, at, i);
                    self.joint.intern(Node::Select(here, item, otherwise))
                })
            }
            ExprKind::Matrix { function, matrix, axes, vector } => {
                let matrix = self.expr(matrix);
                let vector = vector.as_ref().map(|(axis, v)| (*axis, self.expr(v)));
                self.matrix(*function, matrix, *axes, vector)
            }
            ExprKind::Noise(_, params) if params.is_empty() && self.noise.is_some() => {
                self.noise.expect("the guard has seen it")
            }
            ExprKind::Ode(ode) => self.ode(ode, e.span),
            ExprKind::Noise(kind, params) if self.making.is_some() => {
                let params: Vec<NodeId> = params.iter().map(|p| self.expr(p)).collect();
                self.noise_for(*kind, &params, &e.axes)
            }
            ExprKind::Noise(..) => {
                unreachable!("check admits noise in `sample()` only, which is not part of a density")
            }
        }
    }

    pub(super) fn index(&mut self, i: &Index) -> Ix {
        match i {
            Index::Axis(a) => Ix::Axis(*a),
            Index::At(e) => match self.expr(e) {
                n if matches!(self.joint.node(n), Node::Position(_)) => match self.joint.node(n) {
                    Node::Position(a) => Ix::Axis(*a),
                    _ => unreachable!("the guard has seen it"),
                },
                n => Ix::At(n),
            },
            Index::Label(text, span) => Ix::Label(text.clone(), *span),
        }
    }

    fn read(&mut self, var: VarId, index: &[Index]) -> NodeId {
        let index: Vec<Ix> = index.iter().map(|i| self.index(i)).collect();
        match self.sources.get(&var).cloned().expect("check admits a name after its declaration only") {
            Source::Slot(slot) => self.joint.intern(Node::Read { slot, index }),
            Source::Walked { slot, dim, .. } if matches!(index[dim], Ix::At(_)) => {
                self.joint.intern(Node::Read { slot, index })
            }
            Source::Walked { value, .. } => {
                let (node, axes) = value.expect("check lets a recurrence read in place only what is above");
                self.moved_at_once(node, &axes, &index)
            }
            Source::Inline(node, axes) => self.moved_at_once(node, &axes, &index),
        }
    }

    /// All axes of a value replaced. Where an index varies over an axis that another one replaces, the old cells are
    /// renamed first.
    pub fn moved_at_once(&mut self, mut node: NodeId, axes: &[AxisId], index: &[Ix]) -> NodeId {
        let mut axes = axes.to_vec();
        let crossed = |axis: &AxisId, ix: &Ix| *ix != Ix::Axis(*axis) && axes.iter().any(|a| self.ix_uses(ix, *a));
        if axes.iter().zip(index).any(|(a, ix)| crossed(a, ix)) {
            for axis in &mut axes {
                let info =
                    AxisInfo { plate: self.hir.axis(*axis).plate, name: format!("{}'", self.hir.axis(*axis).name) };
                self.hir.axes.push(info);
                let fresh = AxisId(self.hir.axes.len() as u32 - 1);
                node = self.substitute(node, *axis, &Ix::Axis(fresh));
                *axis = fresh;
            }
        }
        axes.iter().zip(index).fold(node, |n, (axis, ix)| self.substitute(n, *axis, ix))
    }

    fn reduce(&mut self, op: Reduction, axes: &[AxisId], filter: Option<NodeId>, body: NodeId) -> NodeId {
        let fold =
            |j: &mut Joint, op: Fold, body: NodeId| j.intern(Node::Reduce { op, axes: axes.to_vec(), filter, body });
        match op {
            Reduction::Sum => fold(&mut self.joint, Fold::Sum, body),
            Reduction::Prod => fold(&mut self.joint, Fold::Prod, body),
            Reduction::Min | Reduction::All => fold(&mut self.joint, Fold::Min, body),
            Reduction::Max | Reduction::Any => fold(&mut self.joint, Fold::Max, body),
            Reduction::LogSumExp => fold(&mut self.joint, Fold::LogSumExp, body),
            Reduction::Mean | Reduction::Sd => {
                let one = self.joint.constant(1.0);
                let total = fold(&mut self.joint, Fold::Sum, body);
                let count = fold(&mut self.joint, Fold::Sum, one);
                let mean = self.joint.binary(BinOp::Div, total, count);
                if op == Reduction::Mean {
                    return mean;
                }
                let off = self.joint.binary(BinOp::Sub, body, mean);
                let square = self.joint.binary(BinOp::Mul, off, off);
                let squares = fold(&mut self.joint, Fold::Sum, square);
                let less = self.joint.binary(BinOp::Sub, count, one);
                let variance = self.joint.binary(BinOp::Div, squares, less);
                self.joint.unary(UnOp::Sqrt, variance)
            }
        }
    }

    /// `node` with the current cell of `axis` replaced by another.
    pub fn substitute(&mut self, node: NodeId, axis: AxisId, by: &Ix) -> NodeId {
        if *by == Ix::Axis(axis) {
            return node;
        }
        self.substitute_in(node, axis, by, &mut HashMap::new())
    }

    fn substitute_in(&mut self, node: NodeId, axis: AxisId, by: &Ix, done: &mut HashMap<NodeId, NodeId>) -> NodeId {
        if let Some(&n) = done.get(&node) {
            return n;
        }
        let out = match self.joint.node(node).clone() {
            // A function of matrices is the value of a definition, over all cells.
            n @ (Node::Const(_) | Node::Size(_) | Node::Matrix { .. } | Node::Ode { .. }) => self.joint.intern(n),
            Node::Position(a) if a == axis => match by {
                Ix::Axis(b) => self.joint.intern(Node::Position(*b)),
                Ix::At(n) => *n,
                Ix::Label(..) => return self.labelled_position(node, axis, by),
            },
            n @ Node::Position(_) => self.joint.intern(n),
            Node::Read { slot, index } => {
                let index = index
                    .into_iter()
                    .map(|ix| match ix {
                        Ix::Axis(a) if a == axis => by.clone(),
                        Ix::At(n) => Ix::At(self.substitute_in(n, axis, by, done)),
                        other => other,
                    })
                    .collect();
                self.joint.intern(Node::Read { slot, index })
            }
            // The reduction has its own cell of this axis.
            n @ Node::Reduce { .. } if matches!(&n, Node::Reduce { axes, .. } if axes.contains(&axis)) => {
                self.joint.intern(n)
            }
            Node::Reduce { op, mut axes, mut filter, mut body } => {
                // An index that varies over a reduced axis means the cell outside: rename the one inside.
                for a in axes.iter_mut() {
                    if self.ix_uses(by, *a) {
                        let info =
                            AxisInfo { plate: self.hir.axis(*a).plate, name: format!("{}'", self.hir.axis(*a).name) };
                        self.hir.axes.push(info);
                        let fresh = AxisId(self.hir.axes.len() as u32 - 1);
                        body = self.substitute(body, *a, &Ix::Axis(fresh));
                        filter = filter.map(|f| self.substitute(f, *a, &Ix::Axis(fresh)));
                        *a = fresh;
                    }
                }
                let body = self.substitute_in(body, axis, by, done);
                let filter = filter.map(|f| self.substitute_in(f, axis, by, done));
                self.joint.intern(Node::Reduce { op, axes, filter, body })
            }
            other => {
                let other = other.map_operands(&mut |n| self.substitute_in(n, axis, by, done));
                self.joint.intern(other)
            }
        };
        done.insert(node, out);
        out
    }

    /// The position of a label is known with the data only: a sum that picks it cannot be written, so the label is
    /// looked up as the position of a one-cell read of the plate's own positions.
    fn labelled_position(&mut self, node: NodeId, axis: AxisId, by: &Ix) -> NodeId {
        let plate = self.hir.axis(axis).plate;
        let slot = super::position_slot(&mut self.joint, self.hir, plate);
        let _ = node;
        self.joint.intern(Node::Read { slot, index: vec![by.clone()] })
    }

    fn ix_uses(&self, ix: &Ix, axis: AxisId) -> bool {
        match ix {
            Ix::Axis(a) => *a == axis,
            Ix::At(n) => self.joint.varies_over(*n, axis),
            Ix::Label(..) => false,
        }
    }
}
