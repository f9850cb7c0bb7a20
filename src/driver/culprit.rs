//! Which part of a statement is not finite at a cell, and the values that it is made of: the innermost operation that makes
//! something else of finite numbers.

use super::Compiled;
use crate::check::walk;
use crate::hir::{Expr, ExprKind, Index, LocalId, Step, VarId};
use crate::prim::scalar;
use crate::run::Reporter;
use crate::source::Span;

/// Finite, but beyond what a density can make a number of.
const HUGE: f64 = 1e100;

/// A part whose value is not finite, though its own parts are.
pub struct Culprit {
    pub span: Span,
    pub value: f64,
    /// What it reads: `x` and its value.
    pub reads: Vec<(String, f64)>,
}

/// Search the statement at this place, in the cell that plates and 0-based positions name, at the values of a fit that the
/// reporter has computed.
pub fn culprit<'a>(
    compiled: &'a Compiled,
    reporter: &'a Reporter<'a>,
    statement: Span,
    cell: &'a [(String, usize)],
) -> Option<Culprit> {
    let here = |s: &Span| s.file == statement.file && s.start <= statement.start && statement.end <= s.end;
    let step = compiled.hir.steps.iter().find(|s| match s {
        Step::Observe { span, .. }
        | Step::Latent { span, .. }
        | Step::Let { span, .. }
        | Step::Factor { span, .. }
        | Step::Param { span, .. } => here(span),
    })?;
    let parts: Vec<&Expr> = match step {
        Step::Observe { dist, .. } | Step::Latent { dist, .. } => dist.args.iter().map(|a| &a.2).collect(),
        Step::Let { value, .. } | Step::Factor { value, .. } => vec![value],
        Step::Param { .. } => vec![],
    };
    let mut search = Search { compiled, reporter, cell, locals: vec![], found: None };
    for part in parts {
        let value = search.value(part);
        if search.found.is_none() && value.is_some_and(|v| v.abs() > HUGE) {
            search.found = value.map(|v| (part, v));
        }
        if let Some((e, value)) = search.found {
            let mut reads = vec![];
            walk(e, &mut |e| {
                if let ExprKind::Read { var, index } = &e.kind
                    && let Some(value) = search.read(*var, index)
                {
                    let name = compiled.hir.var(*var).name.clone();
                    if reads.iter().all(|(n, _)| *n != name) {
                        reads.push((name, value));
                    }
                }
            });
            // In a body of the library it is of no use to the reader.
            return (e.span.file == statement.file).then_some(Culprit { span: e.span, value, reads });
        }
    }
    None
}

struct Search<'a> {
    compiled: &'a Compiled,
    reporter: &'a Reporter<'a>,
    cell: &'a [(String, usize)],
    locals: Vec<(LocalId, f64)>,
    found: Option<(&'a Expr, f64)>,
}

impl<'a> Search<'a> {
    /// The value, where it can be told without sums and matrices.
    fn value(&mut self, e: &'a Expr) -> Option<f64> {
        let value = match &e.kind {
            ExprKind::Number(v) => *v,
            ExprKind::Read { var, index } => self.read(*var, index)?,
            ExprKind::Local(l) => self.locals.iter().rev().find(|x| x.0 == *l)?.1,
            ExprKind::Bind { local, value, body } => {
                let v = self.value(value)?;
                self.locals.push((*local, v));
                let out = self.value(body);
                self.locals.pop();
                out?
            }
            ExprKind::Unary(op, a) => scalar::unary(*op, self.value(a)?),
            ExprKind::Binary(op, a, b) => {
                let (a, b) = (self.value(a)?, self.value(b)?);
                scalar::binary(*op, a, b)
            }
            ExprKind::If { condition, then, otherwise } => {
                let holds = self.value(condition)? != 0.0;
                self.value(if holds { then } else { otherwise })?
            }
            _ => return None,
        };
        if !value.is_finite() && self.found.is_none() {
            self.found = Some((e, value));
        }
        Some(value)
    }

    fn read(&self, var: VarId, index: &[Index]) -> Option<f64> {
        let (hir, bound) = (&self.compiled.hir, &self.compiled.bound);
        let numbers = match bound.values.get(&var) {
            Some(values) => &values.numbers,
            None => self.reporter.buffer(self.compiled.layout.buffer(var)?),
        };
        let (mut at, mut stride) = (0, 1);
        for (i, axis) in index.iter().zip(&hir.var(var).axes) {
            let plate = hir.axis(*axis).plate;
            let position = match i {
                Index::Axis(a) => {
                    let name = &hir.plate(hir.axis(*a).plate).name;
                    self.cell.iter().find(|c| c.0 == *name)?.1
                }
                Index::At(x) => match &x.kind {
                    ExprKind::Read { var, index } => self.read(*var, index)? as usize,
                    _ => return None,
                },
                Index::Label(label, _) => bound.plate(plate).labels.iter().position(|l| l == label)?,
            };
            at += stride * position;
            stride *= bound.plate(plate).size;
        }
        numbers.get(at).copied()
    }
}
