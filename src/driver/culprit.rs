//! Which part of a statement is not finite at a cell, and the values that it is made of: the innermost operation that makes
//! something else of finite numbers, sums and earlier rows included.

use super::Compiled;
use crate::check::walk;
use crate::data::Bound;
use crate::hir::{
    AxisId, BinOp, DistUse, Expr, ExprKind, GuideLine, Hir, Index, LocalId, PlateId, Reduction, Step, VarId,
};
use crate::lower::Layout;
use crate::prim::scalar;
use crate::run::interp::Interp;
use crate::source::Span;

/// Finite, but beyond what a density can make a number of.
const HUGE: f64 = 1e100;

/// A part whose value is not finite, though its own parts are.
pub struct Culprit {
    pub span: Span,
    pub value: f64,
    /// What it reads: `x` and its value.
    pub reads: Vec<(String, f64)>,
    /// The cells of the sums around it: plate and 0-based position.
    pub within: Vec<(String, usize)>,
}

/// A program with its data, and where its numbers stand.
#[derive(Clone, Copy)]
pub struct Program<'a> {
    pub hir: &'a Hir,
    pub bound: &'a Bound,
    pub layout: &'a Layout,
}

impl Program<'_> {
    pub fn of(compiled: &Compiled) -> Program<'_> {
        Program { hir: &compiled.hir, bound: &compiled.bound, layout: &compiled.layout }
    }
}

/// A statement at one cell, where the buffers of a report are filled.
pub struct Place<'a> {
    pub program: Program<'a>,
    pub report: &'a Interp<'a>,
    /// Plates and 0-based positions.
    pub cell: &'a [(String, usize)],
    /// In a batch: its plates, and which rows of the whole it holds.
    pub rows: &'a [(PlateId, Vec<usize>)],
}

/// Search the statement at this place of the model.
pub fn culprit(place: &Place<'_>, statement: Span) -> Option<Culprit> {
    let program = place.program;
    let here = |s: &Span| s.file == statement.file && s.start <= statement.start && statement.end <= s.end;
    let lines = program.hir.written.iter().flat_map(|w| &w.lines).map(of_line);
    let all: Vec<(Span, Vec<&Expr>)> = program.hir.steps.iter().map(of_step).chain(lines).collect();
    // What stands for several statements at once, as the rows of a batch do, is looked for in all of them.
    let any = !all.iter().any(|s| here(&s.0));
    let mut search = Search { place, locals: vec![], axes: vec![], found: None };
    for part in all.iter().filter(|s| any || here(&s.0)).flat_map(|s| s.1.iter().copied()) {
        let value = search.value(part);
        if search.found.is_none() && value.is_some_and(|v| v.abs() > HUGE) {
            search.found = value.map(|value| Found { part: part.clone(), value, axes: vec![] });
        }
        if let Some(Found { part, value, axes }) = search.found.take() {
            search.axes.clone_from(&axes);
            let mut reads = vec![];
            walk(&part, &mut |e| {
                if let ExprKind::Read { var, index } = &e.kind
                    && let Some(value) = search.read(*var, index)
                {
                    let name = program.hir.var(*var).name.clone();
                    if reads.iter().all(|(n, _)| *n != name) {
                        reads.push((name, value));
                    }
                }
            });
            let within = axes.iter().map(|(a, i)| (program.hir.plate(program.hir.axis(*a).plate).name.clone(), *i));
            let within = within.collect();
            // In a body of the library it is of no use to the reader.
            return (part.span.file == statement.file).then_some(Culprit { span: part.span, value, reads, within });
        }
    }
    None
}

/// Where a statement stands, and what it computes.
fn of_step(step: &Step) -> (Span, Vec<&Expr>) {
    match step {
        Step::Observe { dist, span, .. } | Step::Latent { dist, span, .. } => (*span, arguments(dist)),
        Step::Let { value, span, .. } | Step::Factor { value, span, .. } => (*span, vec![value]),
        Step::Param { span, .. } => (*span, vec![]),
    }
}

/// The same of a line of the guide.
fn of_line(line: &GuideLine) -> (Span, Vec<&Expr>) {
    match line {
        GuideLine::Own(step) => of_step(step),
        GuideLine::Draw { dist, span, .. } => (*span, arguments(dist)),
        GuideLine::Family { span, .. } => (*span, vec![]),
    }
}

fn arguments(dist: &DistUse) -> Vec<&Expr> {
    dist.args.iter().map(|a| &a.2).collect()
}

struct Found {
    part: Expr,
    value: f64,
    axes: Vec<(AxisId, usize)>,
}

struct Search<'a> {
    place: &'a Place<'a>,
    locals: Vec<(LocalId, f64)>,
    /// Where sums around are, innermost last.
    axes: Vec<(AxisId, usize)>,
    found: Option<Found>,
}

impl Search<'_> {
    /// The value, where it can be told without whole matrices and solutions of equations.
    fn value(&mut self, e: &Expr) -> Option<f64> {
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
            ExprKind::Position(axis) => self.position(*axis)? as f64,
            ExprKind::Size(plate) => self.size(*plate) as f64,
            ExprKind::Unary(op, a) => scalar::unary(*op, self.value(a)?),
            ExprKind::Binary(op, a, b) => {
                let a = self.value(a)?;
                // What a condition excludes is not computed.
                match op {
                    BinOp::And if a == 0.0 => 0.0,
                    BinOp::Or if a != 0.0 => 1.0,
                    _ => scalar::binary(*op, a, self.value(b)?),
                }
            }
            ExprKind::If { condition, then, otherwise } => {
                let holds = self.value(condition)? != 0.0;
                self.value(if holds { then } else { otherwise })?
            }
            ExprKind::Reduce { op, axes, filter, body } => self.reduce(*op, axes, filter.as_deref(), body)?,
            ExprKind::At { body, axis, index } => {
                let position = self.index(index, self.plate(*axis))?;
                self.axes.push((*axis, position));
                let out = self.value(body);
                self.axes.pop();
                out?
            }
            ExprKind::List { axis, items } => {
                let position = self.position(*axis)?;
                self.value(items.get(position)?)?
            }
            ExprKind::Matrix { .. } | ExprKind::Ode(_) | ExprKind::Noise(..) => return None,
        };
        if !value.is_finite() && self.found.is_none() {
            self.found = Some(Found { part: e.clone(), value, axes: self.axes.clone() });
        }
        Some(value)
    }

    /// A reduction, cell by cell in the order of storage.
    fn reduce(&mut self, op: Reduction, axes: &[AxisId], filter: Option<&Expr>, body: &Expr) -> Option<f64> {
        let sizes: Vec<usize> = axes.iter().map(|a| self.size(self.plate(*a))).collect();
        let mut values = vec![];
        for cell in 0..sizes.iter().product() {
            let depth = self.axes.len();
            let mut rest = cell;
            for (axis, size) in axes.iter().zip(&sizes) {
                self.axes.push((*axis, rest % size));
                rest /= size;
            }
            let kept = filter.map_or(Some(1.0), |f| self.value(f));
            let value = match kept {
                Some(0.0) => Some(None),
                Some(_) => self.value(body).map(Some),
                None => None,
            };
            self.axes.truncate(depth);
            match value? {
                Some(v) => values.push(v),
                None => continue,
            }
            if self.found.is_some() {
                // What comes of it does not matter any more.
                return Some(f64::NAN);
            }
        }
        let n = values.len() as f64;
        let sum = || values.iter().sum::<f64>();
        let most = || values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Some(match op {
            Reduction::Sum => sum(),
            Reduction::Mean => sum() / n,
            Reduction::Sd => {
                let mean = sum() / n;
                (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt()
            }
            Reduction::Min => values.iter().copied().fold(f64::INFINITY, f64::min),
            Reduction::Max => most(),
            Reduction::Prod => values.iter().product(),
            Reduction::LogSumExp => match most() {
                top if top.is_infinite() => top,
                top => top + values.iter().map(|v| (v - top).exp()).sum::<f64>().ln(),
            },
            Reduction::Any => f64::from(values.iter().any(|v| *v != 0.0)),
            Reduction::All => f64::from(values.iter().all(|v| *v != 0.0)),
        })
    }

    fn plate(&self, axis: AxisId) -> PlateId {
        self.place.program.hir.axis(axis).plate
    }

    /// The rows of a plate that the graph has, if it has only some.
    fn rows(&self, plate: PlateId) -> Option<&[usize]> {
        self.place.rows.iter().find(|r| r.0 == plate).map(|r| &*r.1)
    }

    /// How many cells of a plate there are in the graph at hand.
    fn size(&self, plate: PlateId) -> usize {
        self.rows(plate).map_or_else(|| self.place.program.bound.plate(plate).size, <[usize]>::len)
    }

    /// Where an axis stands: in a sum around, or in the cell of the statement.
    fn position(&self, axis: AxisId) -> Option<usize> {
        if let Some((_, at)) = self.axes.iter().rev().find(|a| a.0 == axis) {
            return Some(*at);
        }
        let name = &self.place.program.hir.plate(self.plate(axis)).name;
        Some(self.place.cell.iter().find(|c| c.0 == *name)?.1)
    }

    fn index(&mut self, index: &Index, plate: PlateId) -> Option<usize> {
        match index {
            Index::Axis(a) => self.position(*a),
            Index::At(x) => {
                let before = self.found.is_some();
                let at = self.value(x)?;
                if !before && self.found.is_some() || at < 0.0 {
                    return None;
                }
                // What data point to is a row of the whole.
                let at = at as usize;
                self.rows(plate).map_or(Some(at), |rows| rows.iter().position(|r| *r == at))
            }
            Index::Label(label, _) => self.place.program.bound.plate(plate).labels.iter().position(|l| l == label),
        }
    }

    fn read(&mut self, var: VarId, index: &[Index]) -> Option<f64> {
        let Place { program, report, .. } = self.place;
        let data = program.bound.values.get(&var);
        let (mut at, mut stride) = (0, 1);
        for (i, axis) in index.iter().zip(&program.hir.var(var).axes) {
            let plate = program.hir.axis(*axis).plate;
            let mut position = self.index(i, plate)?;
            // Data hold the whole table, the graph only the rows of the batch.
            let size = match (self.rows(plate), data) {
                (Some(rows), Some(_)) => {
                    position = *rows.get(position)?;
                    program.bound.plate(plate).size
                }
                _ => self.size(plate),
            };
            at += stride * position;
            stride *= size;
        }
        match data {
            Some(values) => values.numbers.get(at).copied(),
            None => report.buffer(program.layout.buffer(var)?).get(at).copied(),
        }
    }
}
