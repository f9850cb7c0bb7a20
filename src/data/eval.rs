//! The value of an expression that depends on data alone: plate sizes, bounds, constants.

use std::collections::HashMap;
use std::rc::Rc;

use super::resolve::Resolved;
use crate::hir::{AxisId, Expr, ExprKind, Hir, Index, LocalId, Reduction, VarKind};
use crate::prim::scalar;
use crate::source::Span;

/// Why there is no value.
#[derive(Clone, Debug, PartialEq)]
pub enum Stop {
    /// It depends on a size or value that is not known yet.
    NotYet,
    /// It never will be known before a fit; the words end the sentence "… cannot be computed from the data: ".
    Never(Span, String),
}

/// An evaluation under way: which cell of which axis, and the locals bound so far.
pub struct Eval<'a> {
    pub hir: &'a Hir,
    pub known: &'a Resolved,
    pub cell: Vec<(AxisId, usize)>,
    locals: HashMap<LocalId, Local>,
}

/// A bound value: a number, or a formula whose cell its use decides (`mean(x over P)` of an argument `x`).
#[derive(Clone)]
enum Local {
    Number(f64),
    Varies(Rc<Expr>),
}

impl<'a> Eval<'a> {
    pub fn new(hir: &'a Hir, known: &'a Resolved) -> Self {
        Eval { hir, known, cell: vec![], locals: HashMap::new() }
    }

    pub fn eval(&mut self, e: &Expr) -> Result<f64, Stop> {
        Ok(match &e.kind {
            ExprKind::Number(x) => *x,
            ExprKind::Read { var, index } => {
                let v = self.hir.var(*var);
                if !matches!(v.kind, VarKind::Column(_) | VarKind::DataValue { .. } | VarKind::Const { .. }) {
                    return Err(Stop::Never(e.span, format!("`{}` is known only after the fit", v.name)));
                }
                let values = self.known.values.get(var).ok_or(Stop::NotYet)?;
                let (mut at, mut stride) = (0, 1);
                for (dim, (ix, &size)) in index.iter().zip(&values.dims).enumerate() {
                    let i = self.index(ix, v.axes[dim], size)?;
                    at += stride * i;
                    stride *= size;
                }
                values.numbers[at]
            }
            ExprKind::Local(l) => match self.locals.get(l).cloned().ok_or(Stop::NotYet)? {
                Local::Number(x) => x,
                Local::Varies(value) => self.eval(&value)?,
            },
            ExprKind::Bind { local, value, body } => {
                let value = match value.axes.is_empty() {
                    true => Local::Number(self.eval(value)?),
                    false => Local::Varies(Rc::new((**value).clone())),
                };
                self.locals.insert(*local, value);
                self.eval(body)?
            }
            ExprKind::Position(axis) => self.at(*axis)? as f64,
            ExprKind::Size(plate) => self.known.plate(*plate).ok_or(Stop::NotYet)?.size as f64,
            ExprKind::Unary(op, a) => scalar::unary(*op, self.eval(a)?),
            ExprKind::Binary(op, a, b) => scalar::binary(*op, self.eval(a)?, self.eval(b)?),
            ExprKind::If { condition, then, otherwise } => {
                let side = if self.eval(condition)? != 0.0 { then } else { otherwise };
                self.eval(side)?
            }
            ExprKind::Reduce { op, axes, filter, body } => {
                let mut values = vec![];
                self.cells(axes, &mut |eval| {
                    if match filter {
                        Some(f) => eval.eval(f)? != 0.0,
                        None => true,
                    } {
                        values.push(eval.eval(body)?);
                    }
                    Ok(())
                })?;
                reduce(*op, &values)
            }
            ExprKind::At { body, axis, index } => {
                let size = self.known.plate(self.hir.axis(*axis).plate).ok_or(Stop::NotYet)?.size;
                let i = self.index(index, *axis, size)?;
                self.cell.push((*axis, i));
                let x = self.eval(body);
                self.cell.pop();
                x?
            }
            ExprKind::List { axis, items } => {
                let i = self.at(*axis)?;
                let item = items.get(i).ok_or_else(|| {
                    Stop::Never(e.span, format!("the list has {} items and the plate more cells", items.len()))
                })?;
                self.eval(item)?
            }
            ExprKind::Matrix { .. } => return Err(Stop::Never(e.span, "it is computed from a whole matrix".into())),
            ExprKind::Noise(..) => return Err(Stop::Never(e.span, "it is random".into())),
            ExprKind::Ode(_) => return Err(Stop::Never(e.span, "it is the solution of an equation".into())),
        })
    }

    fn at(&self, axis: AxisId) -> Result<usize, Stop> {
        self.cell.iter().rev().find(|(a, _)| *a == axis).map(|(_, i)| *i).ok_or(Stop::NotYet)
    }

    fn index(&mut self, ix: &Index, own: AxisId, size: usize) -> Result<usize, Stop> {
        match ix {
            Index::Axis(axis) => self.at(*axis),
            Index::At(e) => {
                let i = self.eval(e)?;
                if i >= 0.0 && (i as usize) < size && i.fract() == 0.0 {
                    Ok(i as usize)
                } else {
                    Err(Stop::Never(e.span, format!("this index is {} of {size} cells", i + 1.0)))
                }
            }
            Index::Label(label, span) => {
                let plate = self.known.plate(self.hir.axis(own).plate).ok_or(Stop::NotYet)?;
                let found = plate.labels.iter().position(|l| l == label);
                found.ok_or_else(|| Stop::Never(*span, format!("there is no cell labelled `{label}`")))
            }
        }
    }

    /// Run `body` at every cell of `axes`.
    pub fn cells(&mut self, axes: &[AxisId], body: &mut dyn FnMut(&mut Self) -> Result<(), Stop>) -> Result<(), Stop> {
        let Some((&axis, rest)) = axes.split_last() else { return body(self) };
        let size = self.known.plate(self.hir.axis(axis).plate).ok_or(Stop::NotYet)?.size;
        for i in 0..size {
            self.cell.push((axis, i));
            let done = self.cells(rest, body);
            self.cell.pop();
            done?;
        }
        Ok(())
    }
}

fn reduce(op: Reduction, v: &[f64]) -> f64 {
    let n = v.len() as f64;
    let sum = |v: &[f64]| v.iter().sum::<f64>();
    match op {
        Reduction::Sum => sum(v),
        Reduction::Mean => sum(v) / n,
        Reduction::Sd => {
            let mean = sum(v) / n;
            (v.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt()
        }
        Reduction::Min => v.iter().copied().fold(f64::INFINITY, f64::min),
        Reduction::Max => v.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        Reduction::Prod => v.iter().product(),
        Reduction::LogSumExp => {
            let max = v.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            if max.is_finite() { max + v.iter().map(|x| (x - max).exp()).sum::<f64>().ln() } else { max }
        }
        Reduction::Any => f64::from(v.iter().any(|x| *x != 0.0)),
        Reduction::All => f64::from(v.iter().all(|x| *x != 0.0)),
    }
}
