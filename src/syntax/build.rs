//! Small constructors for the grammar's actions.

use super::ast::*;
use super::problem::Problem;
use crate::source::{FileId, Span};

pub fn node(file: FileId, start: usize, kind: ExprKind, end: usize) -> Expr {
    Expr { kind, span: Span::new(file, start, end) }
}

pub fn binary(op: BinaryOp, left: Expr, right: Expr) -> ExprKind {
    ExprKind::Binary { op, left: Box::new(left), right: Box::new(right) }
}

pub fn unary(op: UnaryOp, operand: Expr) -> ExprKind {
    ExprKind::Unary { op, operand: Box::new(operand) }
}

pub fn number(text: &str) -> ExprKind {
    let value = text.parse().expect("the lexer's numbers are Rust's");
    ExprKind::Number { value, text: text.to_string() }
}

pub fn axis(plate: Ident, without: Option<Text>, span: Span) -> Axis {
    Axis { index: None, plate, by: None, along: None, filter: None, without, span }
}

/// What may follow `t in days`.
pub enum Step {
    By(Ident),
    Along(Ident),
    Where(Expr, Span),
}

/// Give an axis its index name and its steps; a step given twice is a problem.
pub fn walk<'s>(index: Ident, mut axis: Axis, steps: Vec<Step>) -> (Axis, Vec<Problem<'s>>) {
    axis.index = Some(index);
    let mut repeated = vec![];
    for step in steps {
        let (word, span, taken) = match step {
            Step::By(column) => ("by", column.span, axis.by.replace(column).is_some()),
            Step::Along(column) => ("along", column.span, axis.along.replace(column).is_some()),
            Step::Where(filter, span) => ("where", span, axis.filter.replace(Box::new(filter)).is_some()),
        };
        if taken {
            repeated.push(Problem::Repeated { word, span });
        }
    }
    (axis, repeated)
}
