//! Cells of a discrete latent that are summed out together, as one latent whose values are their configurations.
//!
//! Where two plates cross (a class per person and one per film, rated by many) each cell of one is tied to many of the
//! other. Given all cells of one plate, those of the other are independent: so the smaller plate is taken together, its
//! configurations counted as numbers whose digits are the cells' values. The same serves where a term reads several cells
//! of one latent, as a sum over its plate does. The cost is the number of values to the power of the number of cells.

use super::discrete::{Stuck, Summed, TOGETHER};
use super::joint::*;
use super::translate::Translator;
use crate::hir::{AxisId, Plate, PlateId, PlateKind};

/// The dimensions of a latent along which its cells are taken together.
#[derive(Clone, Debug)]
pub(super) struct Join {
    pub slot: SlotId,
    pub dims: Vec<usize>,
}

/// A latent, and the latent of its configurations.
#[derive(Clone, Debug)]
pub(super) struct Together {
    pub cell: Summed,
    pub whole: Summed,
    dims: Vec<usize>,
}

impl Together {
    /// What an index says of the dimensions that are not taken together.
    pub(super) fn rest(&self, index: &[Ix]) -> Vec<Ix> {
        (0..index.len()).filter(|d| !self.dims.contains(d)).map(|d| index[d].clone()).collect()
    }
}

impl Translator<'_> {
    /// The latent of the configurations.
    pub(super) fn together(&mut self, all: &[Summed], join: &Join) -> Together {
        let cell = all.iter().find(|z| z.slot == join.slot).expect("what is joined is a latent").clone();
        let v = self.hir.var(cell.var).clone();
        let rest: Vec<AxisId> = (0..cell.axes.len()).filter(|d| !join.dims.contains(d)).map(|d| cell.axes[d]).collect();
        let cells: Vec<PlateId> = join.dims.iter().map(|&d| self.hir.axis(cell.axes[d]).plate).collect();
        let names: Vec<&str> = cells.iter().map(|p| self.hir.plate(*p).name.as_str()).collect();
        let plate = PlateId(self.hir.plates.len() as u32);
        let name = format!("{}^{}", self.hir.plate(cell.plate).name, names.join("·"));
        let slot = format!("{TOGETHER}{} along {}", v.name, names.join(" and "));
        let kind = PlateKind::Power { values: cell.plate, cells };
        self.hir.plates.push(Plate { name, span: v.span, kind, axis: AxisId(self.hir.axes.len() as u32) });
        let axis = self.fresh_axis(plate, &slot);
        let slot = self.slot(slot, self.plates(&rest), SlotKind::Discrete(cell.var));
        self.joint.value_axes.insert(slot, axis);
        let value = self.joint.intern(Node::Position(axis));
        let whole = Summed { slot, var: cell.var, axes: rest, plate, axis, value };
        Together { cell, whole, dims: join.dims.clone() }
    }

    /// The position of one cell's value, in terms of the configuration.
    pub(super) fn digit(&mut self, t: &Together, index: &[Ix]) -> NodeId {
        let (mut cell, mut stride) = (self.joint.constant(0.0), self.joint.constant(1.0));
        for &d in &t.dims {
            let plate = self.hir.axis(t.cell.axes[d]).plate;
            let at = match &index[d] {
                Ix::Axis(a) => self.joint.intern(Node::Position(*a)),
                Ix::At(n) => *n,
                ix @ Ix::Label(..) => {
                    let slot = super::position_slot(&mut self.joint, self.hir, plate);
                    self.joint.intern(Node::Read { slot, index: vec![ix.clone()] })
                }
            };
            let step = self.joint.binary(BinOp::Mul, stride, at);
            cell = self.joint.binary(BinOp::Add, cell, step);
            let size = self.joint.intern(Node::Size(plate));
            stride = self.joint.binary(BinOp::Mul, stride, size);
        }
        let whole = self.joint.intern(Node::Read { slot: t.whole.slot, index: t.rest(index) });
        let values = self.joint.intern(Node::Size(t.cell.plate));
        let weight = self.joint.binary(BinOp::Pow, values, cell);
        let floor = |t: &mut Self, a, b| {
            let quotient = t.joint.binary(BinOp::Div, a, b);
            t.joint.unary(UnOp::Floor, quotient)
        };
        let upper = floor(self, whole, weight);
        let above = floor(self, upper, values);
        let above = self.joint.binary(BinOp::Mul, values, above);
        self.joint.binary(BinOp::Sub, upper, above)
    }

    /// The same with every cell that is taken together as a digit.
    pub(super) fn with_digits(&mut self, node: NodeId, together: &[Together]) -> NodeId {
        let mut node = node;
        for t in together {
            let (mut reads, mut inside) = (vec![], None);
            self.collect(node, &[], &mut Default::default(), &mut reads, &mut inside);
            // A cell may be picked by another cell of the same latent: inner reads first.
            reads.retain(|r| r.0 == t.cell.slot);
            let mut digits: Vec<(Node, NodeId)> = vec![];
            for (slot, index) in reads.into_iter().rev() {
                let digit = self.digit(t, &index);
                // The number of a count is its position and the first of its values.
                let value = self.substitute(t.cell.value, t.cell.axis, &Ix::At(digit));
                digits.push((Node::Read { slot, index }, value));
            }
            let by = |n: &Node| digits.iter().find(|d| d.0 == *n).map(|d| d.1);
            node = self.joint.replaced(node, &by, &mut Default::default());
        }
        node
    }

    /// Ask that cells be taken together along these dimensions of a latent, or of the configurations of one.
    pub(super) fn join(&self, slot: SlotId, dims: Vec<usize>, joins: &mut Vec<Join>, latents: &[Summed]) -> Stuck {
        let SlotKind::Discrete(var) = self.joint.slot(slot).kind else { unreachable!("only latents are joined") };
        let all = self.hir.var(var).axes.len();
        match joins.iter_mut().find(|j| matches!(self.joint.slot(j.slot).kind, SlotKind::Discrete(v) if v == var)) {
            Some(join) => {
                let rest: Vec<usize> = (0..all).filter(|d| !join.dims.contains(d)).collect();
                join.dims.extend(dims.iter().map(|&d| rest[d]));
                join.dims.sort_unstable();
            }
            None => joins.push(Join { slot, dims }),
        }
        debug_assert!(latents.iter().any(|z| z.slot == slot));
        Stuck::Together
    }

    /// Where each latent that is left is tied to many cells of another: take together those with the fewest configurations.
    pub(super) fn join_more(&self, latents: &[Summed], joins: &mut Vec<Join>) -> Stuck {
        let log_size = |z: &Summed, d: usize| {
            let values = (self.known_size)(self.hir, z.plate).unwrap_or(f64::INFINITY);
            values.ln() * (self.known_size)(self.hir, self.hir.axis(z.axes[d]).plate).unwrap_or(f64::INFINITY)
        };
        let dims = latents.iter().flat_map(|z| (0..z.axes.len()).map(move |d| (z, d)));
        let best = dims.min_by(|a, b| log_size(a.0, a.1).total_cmp(&log_size(b.0, b.1)));
        let (z, d) = best.expect("latents without plates can be summed out one after the other");
        self.join(z.slot, vec![d], joins, latents)
    }
}
