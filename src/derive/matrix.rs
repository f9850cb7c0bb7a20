//! Functions of whole matrices: their operands are stored, and so is what they give.

use super::joint::{BinOp, Def, Ix, Node, NodeId, SlotId, SlotKind};
use super::translate::Translator;
use crate::hir::{AxisId, MatrixFn};

impl Translator<'_> {
    /// The value of a function of matrices at the cell of its result's axes.
    pub fn matrix(
        &mut self,
        function: MatrixFn,
        matrix: NodeId,
        axes: [AxisId; 2],
        vector: Option<(AxisId, NodeId)>,
    ) -> NodeId {
        if let (MatrixFn::Cholesky, Node::Read { slot, index }) = (function, self.joint.node(matrix))
            && let (Some(&factor), [.., a, b]) = (self.factors.get(slot), index.as_slice())
            && [a, b].into_iter().zip(axes).all(|(ix, axis)| *ix == Ix::Axis(axis))
        {
            let index = index.clone();
            return self.joint.intern(Node::Read { slot: factor, index });
        }
        let mut operands = vec![self.whole(matrix, &axes)];
        let mut own = axes.to_vec();
        if let Some((axis, vector)) = vector {
            operands.push(self.whole(vector, &[axis]));
            own = vec![axis];
        }
        let mut repeated: Vec<AxisId> = vec![];
        for (&operand, skip) in operands.iter().zip([2, 1]) {
            let Node::Read { index, .. } = self.joint.node(operand) else { unreachable!("stored values are read") };
            repeated.extend(index[skip..].iter().map(|ix| match ix {
                Ix::Axis(a) => *a,
                Ix::At(_) | Ix::Label(..) => unreachable!("stored values are read as a whole"),
            }));
        }
        repeated.sort_unstable();
        repeated.dedup();
        let all: Vec<AxisId> = own.iter().copied().chain(repeated).collect();
        let of = match self.joint.node(operands[0]) {
            Node::Read { slot, .. } => self.joint.slot(*slot).name.clone(),
            _ => unreachable!("stored values are read"),
        };
        let value = self.joint.intern(Node::Matrix { function, operands });
        let slot = match self.results.get(&value) {
            Some(&slot) => slot,
            None => {
                let name = match function {
                    MatrixFn::Cholesky => format!("Cholesky factor of {of}"),
                    MatrixFn::Solve { .. } => format!("solution by {of}"),
                };
                let slot = self.define_whole(name, &all, value);
                self.results.insert(value, slot);
                slot
            }
        };
        self.read_all(slot, &all)
    }

    /// A read of a slot that holds every cell of an expression, those of `first` before the others.
    pub(super) fn whole(&mut self, node: NodeId, first: &[AxisId]) -> NodeId {
        let mut axes = first.to_vec();
        axes.extend(self.joint.free_axes(node).into_iter().filter(|a| !first.contains(a)));
        if let Node::Read { index, .. } = self.joint.node(node) {
            let plain = index.len() == axes.len()
                && index[..first.len()] == first.iter().map(|&a| Ix::Axis(a)).collect::<Vec<_>>();
            if plain && index.iter().all(|ix| matches!(ix, Ix::Axis(_))) {
                return node;
            }
        }
        let key = (node, axes.clone());
        let slot = match self.stored.get(&key) {
            Some(&slot) => slot,
            None => {
                let what = if first.len() == 2 { "matrix" } else { "vector" };
                let name = format!("{what} {}", self.stored.len() + 1);
                let slot = self.define_whole(name, &axes, node);
                self.stored.insert(key, slot);
                slot
            }
        };
        self.read_all(slot, &axes)
    }

    /// A definition of the inverse of a lower triangle that is stored: over rows, columns, and what else it varies over.
    pub(super) fn inverse_of(&mut self, l: NodeId) -> SlotId {
        let Node::Read { index, .. } = self.joint.node(l) else { unreachable!("operands of matrices are read") };
        let axis = |ix: &Ix| match ix {
            Ix::Axis(a) => *a,
            Ix::At(_) | Ix::Label(..) => unreachable!("operands of matrices are read as a whole"),
        };
        let all: Vec<AxisId> = index.iter().map(axis).collect();
        let plate = self.hir.axis(all[0]).plate;
        let (row, column) = (self.fresh_axis(plate, "row"), self.fresh_axis(plate, "column"));
        let (i, j) = (self.joint.intern(Node::Position(row)), self.joint.intern(Node::Position(column)));
        let (on, one, zero) =
            (self.joint.binary(BinOp::Equal, i, j), self.joint.constant(1.0), self.joint.constant(0.0));
        let unit = self.joint.intern(Node::Select(on, one, zero));
        let unit = self.define_whole("unit matrix".into(), &[row, column], unit);
        let unit = self.read_all(unit, &[row, column]);
        let function = MatrixFn::Solve { transposed: false };
        let solved = self.joint.intern(Node::Matrix { function, operands: vec![l, unit] });
        self.define_whole("inverse of a factor".into(), &[&[row, column], &all[2..]].concat(), solved)
    }

    pub(super) fn define_whole(&mut self, name: String, axes: &[AxisId], value: NodeId) -> SlotId {
        let span = self.span;
        let slot = self.slot(name, self.plates(axes), SlotKind::Defined);
        let def = Def::new(slot, axes.to_vec(), value, span);
        self.joint.defs.push(def);
        slot
    }
}
