//! Formulas of layers, written short.

use super::super::expr::{binary, number, unary};
use super::super::*;
use crate::hir::{BinOp, UnOp};

/// Makes expressions that stand at one place of the program.
#[derive(Clone, Copy)]
pub(super) struct Formula(pub Span);

impl Formula {
    pub fn number(self, v: f64) -> Expr {
        number(v, Ty::Real, self.0)
    }

    /// 0-based position on an axis, as a number.
    pub fn position(self, axis: AxisId) -> Expr {
        Expr { kind: ExprKind::Position(axis), ty: Ty::Real, axes: vec![axis], span: self.0 }
    }

    pub fn size(self, plate: PlateId) -> Expr {
        Expr { kind: ExprKind::Size(plate), ty: Ty::Int, axes: vec![], span: self.0 }
    }

    pub fn of(self, op: BinOp, a: Expr, b: Expr) -> Expr {
        binary(op, a, b, Ty::Real, self.0)
    }

    pub fn add(self, a: Expr, b: Expr) -> Expr {
        self.of(BinOp::Add, a, b)
    }

    pub fn sub(self, a: Expr, b: Expr) -> Expr {
        self.of(BinOp::Sub, a, b)
    }

    pub fn mul(self, a: Expr, b: Expr) -> Expr {
        self.of(BinOp::Mul, a, b)
    }

    pub fn div(self, a: Expr, b: Expr) -> Expr {
        self.of(BinOp::Div, a, b)
    }

    pub fn min(self, a: Expr, b: Expr) -> Expr {
        self.of(BinOp::Min, a, b)
    }

    pub fn max(self, a: Expr, b: Expr) -> Expr {
        self.of(BinOp::Max, a, b)
    }

    pub fn apply(self, op: UnOp, x: Expr) -> Expr {
        unary(op, x, Ty::Real, self.0)
    }

    /// `a` modulo `b`, of whole numbers that are not negative.
    pub fn remainder(self, a: Expr, b: Expr) -> Expr {
        let times = self.apply(UnOp::Floor, self.div(a.clone(), b.clone()));
        self.sub(a, self.mul(b, times))
    }

    pub fn reduce(self, op: Reduction, axis: AxisId, filter: Option<Expr>, body: Expr) -> Expr {
        let around = match &filter {
            Some(f) => union(&body.axes, &f.axes),
            None => body.axes.clone(),
        };
        let axes = minus(&around, &[axis]);
        let kind = ExprKind::Reduce { op, axes: vec![axis], filter: filter.map(Box::new), body: body.into() };
        Expr { kind, ty: Ty::Real, axes, span: self.0 }
    }

    pub fn sum(self, axis: AxisId, body: Expr) -> Expr {
        self.reduce(Reduction::Sum, axis, None, body)
    }

    /// `body` at the cell of another axis over the same plate.
    pub fn along(self, body: Expr, axis: AxisId, other: AxisId) -> Expr {
        let axes = union(&minus(&body.axes, &[axis]), &[other]);
        let kind = ExprKind::At { body: body.into(), axis, index: Box::new(Index::Axis(other)) };
        Expr { kind, ty: Ty::Real, axes, span: self.0 }
    }
}
