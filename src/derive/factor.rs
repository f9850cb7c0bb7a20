//! Transforms from the real line to matrices, by way of their Cholesky factors, and to unit vectors.
//!
//! A factor of a correlation matrix has rows of length 1: row i holds the partial correlations tanh u, each scaled by what
//! the ones before it leave, `L[i,j] = tanh u[i,j] · exp(-S[i,j])` with `S[i,j] = Σ log cosh u[i,m]` over the m before j
//! (Lewandowski, Kurowicka and Joe 2009; Stan Reference Manual, "Cholesky factors of correlation matrices"). A factor of a
//! covariance matrix has the exponentials of its diagonal's unknowns. Densities are with respect to the cells below the
//! diagonal and, for covariances, on it.

use super::joint::{BinOp, Def, Fold, Ix, Node, NodeId, SlotId, SlotKind, TermKind, UnOp, Unconstrained};
use super::translate::{Source, Translator};
use crate::hir::{AxisId, AxisInfo, MatrixKind, Plate, PlateId, PlateKind, Var, VarId};
use crate::source::Span;

impl Translator<'_> {
    /// Storage, transform and log-Jacobian of a latent matrix, whose last two axes are its rows and columns.
    pub fn latent_matrix(&mut self, var: VarId, v: &Var, kind: MatrixKind, span: Span) -> NodeId {
        let [independent @ .., rows, columns] = v.axes.as_slice() else {
            unreachable!("check gives a matrix two axes of its plate")
        };
        let (independent, rows, columns) = (independent.to_vec(), *rows, *columns);
        let correlations = matches!(kind, MatrixKind::Corr | MatrixKind::CholeskyCorr);
        let free = self.triangle(rows, !correlations);
        let mut axes = independent.clone();
        axes.push(free);
        let name = if correlations { "partial correlations" } else { "factor unconstrained" };
        let slot = self.slot(format!("{} {name}", v.name), self.plates(&axes), SlotKind::Unconstrained(var));
        self.joint.unconstrained.push(Unconstrained { var, slot, point: false, start: None, axes });

        // The unknown of each cell of the triangle, 0 elsewhere.
        let (i, j) = (self.joint.intern(Node::Position(rows)), self.joint.intern(Node::Position(columns)));
        let below = self.joint.binary(BinOp::Less, j, i);
        let diagonal = self.joint.binary(BinOp::Equal, j, i);
        let (zero, one, half) = (self.joint.constant(0.0), self.joint.constant(1.0), self.joint.constant(0.5));
        let shift = if correlations { self.joint.constant(-1.0) } else { one };
        let next = self.joint.binary(BinOp::Add, i, shift);
        let before = self.joint.binary(BinOp::Mul, i, next);
        let before = self.joint.binary(BinOp::Mul, half, before);
        let at = self.joint.binary(BinOp::Add, before, j);
        let mut index: Vec<Ix> = independent.iter().map(|&a| Ix::Axis(a)).collect();
        index.push(Ix::At(at));
        let u = self.joint.intern(Node::Read { slot, index });

        let (factor, jacobian) = if correlations {
            // log cosh u = softplus(2u) - u - log 2
            let twice = self.joint.binary(BinOp::Add, u, u);
            let soft = self.joint.unary(UnOp::Softplus, twice);
            let log_two = self.joint.constant(std::f64::consts::LN_2);
            let shifted = self.joint.binary(BinOp::Add, u, log_two);
            let log_cosh = self.joint.binary(BinOp::Sub, soft, shifted);
            let log_cosh = self.joint.intern(Node::Select(below, log_cosh, zero));
            let log_cosh = self.store(format!("{} log cosh", v.name), &v.axes, log_cosh, span);
            let m = self.second_axis(columns);
            let earlier = self.reread(log_cosh, &v.axes, columns, m);
            let position = self.joint.intern(Node::Position(m));
            let counts = self.joint.binary(BinOp::Less, position, j);
            let body = self.joint.intern(Node::Select(counts, earlier, zero));
            let spent = self.joint.intern(Node::Reduce { op: Fold::Sum, axes: vec![m], filter: None, body });
            let spent = self.store(format!("{} spent", v.name), &v.axes, spent, span);
            let spent = self.read_all(spent, &v.axes);
            let minus = self.joint.unary(UnOp::Neg, spent);
            let left = self.joint.unary(UnOp::Exp, minus);
            let tanh = self.joint.unary(UnOp::Tanh, u);
            let scaled = self.joint.binary(BinOp::Mul, tanh, left);
            let upper = self.joint.intern(Node::Select(diagonal, left, zero));
            let factor = self.joint.intern(Node::Select(below, scaled, upper));
            let own = self.read_all(log_cosh, &v.axes);
            let two = self.joint.constant(2.0);
            let own = self.joint.binary(BinOp::Mul, two, own);
            let cell = self.joint.binary(BinOp::Sub, minus, own);
            // |dR / dL| = Π L[i,i]^(K - i), counted from 1.
            let product = match kind {
                MatrixKind::Corr => {
                    let size = self.joint.intern(Node::Size(self.hir.axis(rows).plate));
                    let rest = self.joint.binary(BinOp::Sub, size, one);
                    let rest = self.joint.binary(BinOp::Sub, rest, i);
                    self.joint.binary(BinOp::Mul, rest, minus)
                }
                MatrixKind::CholeskyCorr | MatrixKind::Cov | MatrixKind::CholeskyCov => zero,
            };
            let rest = self.joint.intern(Node::Select(diagonal, product, zero));
            (factor, self.joint.intern(Node::Select(below, cell, rest)))
        } else {
            let exp = self.joint.unary(UnOp::Exp, u);
            let upper = self.joint.intern(Node::Select(diagonal, exp, zero));
            let factor = self.joint.intern(Node::Select(below, u, upper));
            // |dS / dL| = 2^K Π L[i,i]^(K - i + 1), and the exponential's own.
            let cell = match kind {
                MatrixKind::Cov => {
                    let size = self.joint.intern(Node::Size(self.hir.axis(rows).plate));
                    let power = self.joint.binary(BinOp::Sub, size, i);
                    let power = self.joint.binary(BinOp::Add, power, one);
                    let log = self.joint.binary(BinOp::Mul, power, u);
                    let log_two = self.joint.constant(std::f64::consts::LN_2);
                    self.joint.binary(BinOp::Add, log, log_two)
                }
                MatrixKind::CholeskyCov | MatrixKind::Corr | MatrixKind::CholeskyCorr => u,
            };
            (factor, self.joint.intern(Node::Select(diagonal, cell, zero)))
        };
        self.jacobian(&v.name, v.axes.clone(), jacobian, span);
        if matches!(kind, MatrixKind::CholeskyCorr | MatrixKind::CholeskyCov) {
            self.define(var, &v.name, &v.axes, factor, span);
            return factor;
        }
        let slot = self.store(format!("{} factor", v.name), &v.axes, factor, span);
        let m = self.second_axis(columns);
        // R[i,j] = Σ L[i,m] L[j,m]
        let left = self.reread(slot, &v.axes, columns, m);
        let right: Vec<Ix> = independent.iter().chain(&[columns, m]).map(|&a| Ix::Axis(a)).collect();
        let right = self.joint.intern(Node::Read { slot, index: right });
        let body = self.joint.binary(BinOp::Mul, left, right);
        let x = self.joint.intern(Node::Reduce { op: Fold::Sum, axes: vec![m], filter: None, body });
        self.define(var, &v.name, &v.axes, x, span);
        if let Some(Source::Slot(whole)) = self.sources.get(&var) {
            self.factors.insert(*whole, slot);
            return self.read_all(*whole, &v.axes);
        }
        x
    }

    /// A point on the sphere: the direction of normal draws around (1, …, 1), so that the search begins at a direction.
    pub fn unit_vector(&mut self, var: VarId, v: &Var, span: Span) -> NodeId {
        let along = *v.axes.last().expect("a unit vector runs over a plate");
        let slot = self.slot(format!("{} direction", v.name), self.plates(&v.axes), SlotKind::Unconstrained(var));
        self.joint.unconstrained.push(Unconstrained { var, slot, point: false, start: None, axes: v.axes.clone() });
        let u = self.read_all(slot, &v.axes);
        let one = self.joint.constant(1.0);
        let moved = self.joint.binary(BinOp::Add, u, one);
        let square = self.joint.binary(BinOp::Mul, moved, moved);
        let squares = self.joint.intern(Node::Reduce { op: Fold::Sum, axes: vec![along], filter: None, body: square });
        let length = self.joint.unary(UnOp::Sqrt, squares);
        let x = self.joint.binary(BinOp::Div, moved, length);
        self.define(var, &v.name, &v.axes, x, span);
        let half = self.joint.constant(-0.5);
        let density = self.joint.binary(BinOp::Mul, half, square);
        // No log-Jacobian: the length has to have some density, since no value depends on it.
        self.jacobian(&v.name, v.axes.clone(), density, span);
        self.joint.terms.last_mut().expect("just added").kind = TermKind::Prior;
        x
    }

    /// The axis of a new plate with a cell per cell of a triangle.
    fn triangle(&mut self, of: AxisId, diagonal: bool) -> AxisId {
        let whole = self.hir.axis(of).plate;
        let plate = PlateId(self.hir.plates.len() as u32);
        let name = format!("triangle of {}", self.hir.plate(whole).name);
        self.hir.axes.push(AxisInfo { plate, name: name.clone() });
        let axis = AxisId(self.hir.axes.len() as u32 - 1);
        let span = self.hir.plate(whole).span;
        self.hir.plates.push(Plate { name, span, kind: PlateKind::Triangle { of: whole, diagonal }, axis });
        axis
    }

    fn second_axis(&mut self, of: AxisId) -> AxisId {
        let info = self.hir.axis(of).clone();
        self.hir.axes.push(AxisInfo { plate: info.plate, name: format!("{}'", info.name) });
        AxisId(self.hir.axes.len() as u32 - 1)
    }

    fn store(&mut self, name: String, axes: &[AxisId], value: NodeId, span: Span) -> SlotId {
        let slot = self.slot(name, self.plates(axes), SlotKind::Defined);
        let axes = axes.to_vec();
        self.joint.defs.push(Def::new(slot, axes, value, span));
        slot
    }

    /// A read of a slot with one of its axes under another name.
    fn reread(&mut self, slot: SlotId, axes: &[AxisId], from: AxisId, to: AxisId) -> NodeId {
        let index = axes.iter().map(|&a| Ix::Axis(if a == from { to } else { a })).collect();
        self.joint.intern(Node::Read { slot, index })
    }
}
