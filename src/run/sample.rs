//! Drawing from a distribution of the library: its `sample()` evaluated over base noise, whole plates at a time.

mod lkj;
mod noise;
mod ode;
mod wishart;

use std::collections::HashMap;

use rand::Rng;

use crate::hir::{AxisId, Expr, ExprKind, Hir, Index, LocalId, MatrixFn, PlateId, Reduction, VarId, VarKind};
use crate::prim::{matrix, scalar};

/// One number per cell of `axes`, the first axis contiguous.
#[derive(Clone, Debug, PartialEq)]
pub struct Cells {
    pub axes: Vec<AxisId>,
    pub numbers: Vec<f64>,
}

impl Cells {
    pub fn single(v: f64) -> Cells {
        Cells { axes: vec![], numbers: vec![v] }
    }
}

/// Evaluates expressions of a program, noise included.
pub struct Sampler<'a, R> {
    pub hir: &'a Hir,
    pub size: &'a dyn Fn(PlateId) -> usize,
    /// The value of a variable over its own axes.
    pub read: &'a dyn Fn(VarId) -> Cells,
    pub locals: HashMap<LocalId, Cells>,
    /// How many cells of a plate count in its size and in reductions without a condition: a mean over a table leaves out
    /// the rows that are predicted.
    pub counted: &'a dyn Fn(PlateId) -> usize,
    /// The position of a label on its plate.
    pub label: &'a dyn Fn(PlateId, &str) -> usize,
    pub rng: R,
}

impl<R: Rng> Sampler<'_, R> {
    pub fn eval(&mut self, e: &Expr) -> Cells {
        match &e.kind {
            ExprKind::Number(v) => Cells::single(*v),
            // Nothing is dropped outside of a fit.
            ExprKind::Read { var, .. } if matches!(self.hir.var(*var).kind, VarKind::Mask { .. }) => Cells::single(1.0),
            ExprKind::Read { var, index } => {
                let mut v = (self.read)(*var);
                let own = self.hir.var(*var).axes.clone();
                for (axis, ix) in own.into_iter().zip(index) {
                    v = self.at(v, axis, ix);
                }
                v
            }
            ExprKind::Local(l) => self.locals.get(l).expect("check binds every local before its use").clone(),
            ExprKind::Bind { local, value, body } => {
                let v = self.eval(value);
                self.locals.insert(*local, v);
                self.eval(body)
            }
            ExprKind::Position(a) => {
                Cells { axes: vec![*a], numbers: (0..self.axis_size(*a)).map(|i| i as f64).collect() }
            }
            ExprKind::Size(p) => Cells::single((self.counted)(*p) as f64),
            ExprKind::Unary(op, a) => {
                let mut a = self.eval(a);
                a.numbers.iter_mut().for_each(|x| *x = scalar::unary(*op, *x));
                a
            }
            ExprKind::Binary(op, a, b) => {
                let (a, b) = (self.eval(a), self.eval(b));
                self.zip(&[a, b], |v| scalar::binary(*op, v[0], v[1]))
            }
            ExprKind::If { condition, then, otherwise } => {
                let parts = [self.eval(condition), self.eval(then), self.eval(otherwise)];
                self.zip(&parts, |v| if v[0] != 0.0 { v[1] } else { v[2] })
            }
            ExprKind::Reduce { op, axes, filter, body } => {
                let body = self.eval(body);
                let all = filter.is_some();
                let filter = filter.as_ref().map_or(Cells::single(1.0), |f| self.eval(f));
                self.reduce(*op, axes, &filter, &body, all)
            }
            ExprKind::At { body, axis, index } => {
                let body = self.eval(body);
                self.at(body, *axis, index)
            }
            ExprKind::List { axis, items } => {
                let items: Vec<Cells> = items.iter().map(|i| self.eval(i)).collect();
                let axes = vec![*axis];
                let at = Cells { axes: axes.clone(), numbers: (0..items.len()).map(|i| i as f64).collect() };
                let mut parts = vec![at];
                parts.extend(items);
                self.zip(&parts, |v| v[1 + v[0] as usize])
            }
            ExprKind::Matrix { function, matrix, axes, vector } => {
                let matrix = self.eval(matrix);
                let vector = vector.as_ref().map(|(axis, v)| (*axis, self.eval(v)));
                self.matrix(*function, &matrix, *axes, vector)
            }
            ExprKind::Ode(ode) => self.ode(ode, &e.axes),
            ExprKind::Noise(noise, params) => {
                let params: Vec<Cells> = params.iter().map(|p| self.eval(p)).collect();
                self.noise(*noise, &params, &e.axes)
            }
        }
    }

    /// A value over exactly these axes, in this order.
    pub fn spread(&self, v: &Cells, axes: &[AxisId]) -> Cells {
        let strides = self.strides(v, axes);
        let mut numbers = vec![];
        self.cells(axes, |at| numbers.push(v.numbers[strides.iter().zip(at).map(|(s, i)| s * i).sum::<usize>()]));
        Cells { axes: axes.to_vec(), numbers }
    }

    fn matrix(&self, function: MatrixFn, m: &Cells, [rows, columns]: [AxisId; 2], v: Option<(AxisId, Cells)>) -> Cells {
        let n = self.axis_size(rows);
        let own = v.as_ref().map_or(vec![rows, columns], |(axis, _)| vec![*axis]);
        let mut rest: Vec<AxisId> = m.axes.iter().copied().filter(|a| *a != rows && *a != columns).collect();
        if let Some((axis, v)) = &v {
            rest.extend(v.axes.iter().filter(|a| *a != axis));
        }
        rest.sort_unstable();
        rest.dedup();
        let mut axes: Vec<AxisId> = own.iter().chain(&rest).copied().collect();
        axes.sort_unstable();
        let all: Vec<AxisId> = own.iter().chain(&rest).copied().collect();
        let cells: Vec<usize> = own.iter().map(|a| self.axis_size(*a)).collect();
        let place = |r: usize, c: usize, outer: &[usize]| [&[r, c], outer].concat();
        let matrix_axes = [&[rows, columns][..], &rest].concat();
        let mut found: HashMap<Vec<usize>, f64> = HashMap::new();
        self.cells(&rest, |outer| {
            let mut a = vec![0.0; n * n];
            for c in 0..n {
                for r in 0..n {
                    a[r + c * n] = m.numbers[self.offset(m, &matrix_axes, &place(r, c, outer))];
                }
            }
            let out = match (function, &v) {
                (MatrixFn::Solve { transposed }, Some((axis, v))) => {
                    let vector_axes = [&[*axis][..], &rest].concat();
                    let at = |i: usize| v.numbers[self.offset(v, &vector_axes, &[&[i], outer].concat())];
                    let mut x: Vec<f64> = (0..n).map(at).collect();
                    matrix::solve(&a, &mut x, n, 1, transposed);
                    x
                }
                (MatrixFn::Cholesky, _) | (MatrixFn::Solve { .. }, None) => {
                    if !matrix::cholesky(&mut a, n) {
                        a.fill(f64::NAN);
                    }
                    (1..n).for_each(|c| a[c * n..c * n + c].fill(0.0));
                    a
                }
            };
            for (i, x) in out.into_iter().enumerate() {
                let first = if cells.len() == 2 { vec![i % n, i / n] } else { vec![i] };
                found.insert([&first[..], outer].concat(), x);
            }
        });
        let mut numbers = vec![];
        self.cells(&axes, |at| {
            let cell: Vec<usize> =
                all.iter().map(|a| at[axes.iter().position(|x| x == a).expect("the same axes")]).collect();
            numbers.push(found[&cell]);
        });
        Cells { axes, numbers }
    }

    fn axis_size(&self, a: AxisId) -> usize {
        (self.size)(self.hir.axis(a).plate)
    }

    /// Visit every cell of `axes`, first axis fastest.
    fn cells(&self, axes: &[AxisId], f: impl FnMut(&[usize])) {
        self.cells_of(axes, &axes.iter().map(|a| self.axis_size(*a)).collect::<Vec<_>>(), f);
    }

    fn cells_of(&self, axes: &[AxisId], sizes: &[usize], mut f: impl FnMut(&[usize])) {
        let mut at = vec![0; axes.len()];
        for _ in 0..sizes.iter().product() {
            f(&at);
            for (i, n) in at.iter_mut().zip(sizes) {
                *i += 1;
                if *i < *n {
                    break;
                }
                *i = 0;
            }
        }
    }

    fn offset(&self, v: &Cells, axes: &[AxisId], at: &[usize]) -> usize {
        self.strides(v, axes).iter().zip(at).map(|(s, i)| s * i).sum()
    }

    /// How far apart neighbours along each of `axes` lie in a value; 0 for an axis that it does not have.
    fn strides(&self, v: &Cells, axes: &[AxisId]) -> Vec<usize> {
        let mut strides = vec![0; axes.len()];
        let mut stride = 1;
        for a in &v.axes {
            let i = axes.iter().position(|x| x == a).expect("the cell names every axis of the value");
            strides[i] = stride;
            stride *= self.axis_size(*a);
        }
        strides
    }

    fn zip(&self, parts: &[Cells], f: impl Fn(&[f64]) -> f64) -> Cells {
        let mut axes: Vec<AxisId> = parts.iter().flat_map(|p| p.axes.clone()).collect();
        axes.sort_unstable();
        axes.dedup();
        let strides: Vec<Vec<usize>> = parts.iter().map(|p| self.strides(p, &axes)).collect();
        let mut numbers = vec![];
        let mut v = vec![0.0; parts.len()];
        self.cells(&axes, |at| {
            for ((x, p), strides) in v.iter_mut().zip(parts).zip(&strides) {
                *x = p.numbers[strides.iter().zip(at).map(|(s, i)| s * i).sum::<usize>()];
            }
            numbers.push(f(&v));
        });
        Cells { axes, numbers }
    }

    fn reduce(&self, op: Reduction, over: &[AxisId], filter: &Cells, body: &Cells, all: bool) -> Cells {
        let counted = |a: &AxisId| if all { self.axis_size(*a) } else { (self.counted)(self.hir.axis(*a).plate) };
        let sizes: Vec<usize> = over.iter().map(counted).collect();
        let mut axes: Vec<AxisId> =
            body.axes.iter().chain(&filter.axes).copied().filter(|a| !over.contains(a)).collect();
        axes.sort_unstable();
        axes.dedup();
        let all: Vec<AxisId> = axes.iter().chain(over).copied().collect();
        let mut numbers = vec![];
        self.cells(&axes, |outer| {
            let mut kept = vec![];
            self.cells_of(over, &sizes, |inner| {
                let at: Vec<usize> = outer.iter().chain(inner).copied().collect();
                if filter.numbers[self.offset(filter, &all, &at)] != 0.0 {
                    kept.push(body.numbers[self.offset(body, &all, &at)]);
                }
            });
            numbers.push(fold(op, &kept));
        });
        Cells { axes, numbers }
    }

    /// A value with one axis replaced by an index.
    fn at(&mut self, v: Cells, axis: AxisId, index: &Index) -> Cells {
        if matches!(index, Index::Axis(a) if *a == axis) || !v.axes.contains(&axis) {
            return v;
        }
        let index = match index {
            Index::Axis(a) => Cells { axes: vec![*a], numbers: (0..self.axis_size(*a)).map(|i| i as f64).collect() },
            Index::At(e) => self.eval(e),
            Index::Label(text, _) => Cells::single((self.label)(self.hir.axis(axis).plate, text) as f64),
        };
        let mut axes: Vec<AxisId> = v.axes.iter().filter(|a| **a != axis).chain(&index.axes).copied().collect();
        axes.sort_unstable();
        axes.dedup();
        // The index may vary over the axis that it replaces: `h[t-1]`.
        let (rest, step) = {
            let (mut rest, mut step, mut stride) = (vec![0; axes.len()], 0, 1);
            for a in &v.axes {
                match axes.iter().position(|x| x == a) {
                    _ if *a == axis => step = stride,
                    Some(i) => rest[i] = stride,
                    None => unreachable!("the result has every other axis of the value"),
                }
                stride *= self.axis_size(*a);
            }
            (rest, step)
        };
        let last = self.axis_size(axis).saturating_sub(1);
        let mut numbers = vec![];
        self.cells(&axes, |at| {
            // A lag before the first row is read in a branch that is not taken.
            let i = (index.numbers[self.offset(&index, &axes, at)] as usize).min(last);
            let base: usize = rest.iter().zip(at).map(|(s, i)| s * i).sum();
            numbers.push(v.numbers[base + step * i]);
        });
        Cells { axes, numbers }
    }
}

fn fold(op: Reduction, v: &[f64]) -> f64 {
    let n = v.len() as f64;
    let mean = v.iter().sum::<f64>() / n;
    match op {
        Reduction::Sum => v.iter().sum(),
        Reduction::Mean => mean,
        Reduction::Sd => (v.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt(),
        Reduction::Min | Reduction::All => v.iter().copied().fold(f64::INFINITY, f64::min),
        Reduction::Max | Reduction::Any => v.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        Reduction::Prod => v.iter().product(),
        Reduction::LogSumExp => {
            let max = v.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            if max == f64::NEG_INFINITY { max } else { max + v.iter().map(|x| (x - max).exp()).sum::<f64>().ln() }
        }
    }
}
