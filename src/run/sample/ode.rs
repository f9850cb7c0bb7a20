//! Initial-value problems while drawing: rates are evaluated as expressions, one problem after the other.

use rand::Rng;

use super::{Cells, Sampler};
use crate::hir::{AxisId, Ode};
use crate::prim::ode::{Solver, System};

/// Step of the differences that stand for a derivative, relative to values above 1: the cube root of the rounding error.
const STEP: f64 = 6e-6;

struct Rates<'s, 'a, R> {
    sampler: &'s mut Sampler<'a, R>,
    ode: &'s Ode,
}

impl<R: Rng> System for Rates<'_, '_, R> {
    fn rate(&mut self, t: f64, z: &[f64], _: &[f64], out: &mut [f64]) {
        let axes: Vec<AxisId> = self.ode.state.into_iter().collect();
        self.sampler.locals.insert(self.ode.t, Cells::single(t));
        self.sampler.locals.insert(self.ode.z, Cells { axes: axes.clone(), numbers: z.to_vec() });
        let rate = self.sampler.eval(&self.ode.rate);
        for (i, out) in out.iter_mut().enumerate() {
            *out = rate.numbers[if rate.axes.is_empty() { 0 } else { i }];
        }
    }

    /// Only the stiff method asks, for its Newton steps, which need no exact derivative.
    fn pull(&mut self, t: f64, z: &[f64], p: &[f64], w: &[f64], z_bar: &mut [f64], _: &mut [f64]) {
        let (mut x, mut up, mut down) = (z.to_vec(), vec![0.0; z.len()], vec![0.0; z.len()]);
        for i in 0..z.len() {
            let h = STEP * z[i].abs().max(1.0);
            x[i] = z[i] + h;
            self.rate(t, &x, p, &mut up);
            x[i] = z[i] - h;
            self.rate(t, &x, p, &mut down);
            x[i] = z[i];
            z_bar[i] += w.iter().zip(up.iter().zip(&down)).map(|(w, (u, d))| w * (u - d) / (2.0 * h)).sum::<f64>();
        }
    }
}

impl<R: Rng> Sampler<'_, R> {
    /// The solution over its batch, times and state; not a number where it cannot be found.
    pub(super) fn ode(&mut self, ode: &Ode, axes: &[AxisId]) -> Cells {
        let (start, t0, times) = (self.eval(&ode.start), self.eval(&ode.t0), self.eval(&ode.times));
        let args: Vec<Cells> = ode.args.iter().map(|a| self.eval(&a.value)).collect();
        let (state, time): (Vec<AxisId>, Vec<AxisId>) =
            (ode.state.into_iter().collect(), ode.time.into_iter().collect());
        let (n, m) = (self.count(&state), self.count(&time));
        let all: Vec<AxisId> = state.iter().chain(&time).chain(&ode.batch).copied().collect();
        let mut solved = Cells { axes: all.clone(), numbers: vec![] };
        for cell in self.every(&ode.batch) {
            for (arg, value) in ode.args.iter().zip(&args) {
                let part = self.part(value, &arg.axes, &ode.batch, &cell);
                self.locals.insert(arg.local, part);
            }
            let z0 = self.part(&start, &state, &ode.batch, &cell).numbers;
            let t0 = self.part(&t0, &[], &ode.batch, &cell).numbers[0];
            let ends = self.part(&times, &time, &ode.batch, &cell).numbers;
            let mut order: Vec<usize> = (0..m).collect();
            order.sort_by(|a, b| ends[*a].total_cmp(&ends[*b]));
            let sorted: Vec<f64> = order.iter().map(|&i| ends[i]).collect();
            let mut out = vec![0.0; n * m];
            let mut solver = Solver::new(ode.method, ode.tolerance, n);
            let mut rates = Rates { sampler: self, ode };
            if solver.solve(&mut rates, t0, &z0, &sorted, &[], &mut out).is_err() {
                out.fill(f64::NAN);
            }
            let first = solved.numbers.len();
            solved.numbers.resize(first + n * m, 0.0);
            for (row, &k) in order.iter().enumerate() {
                solved.numbers[first + k * n..first + (k + 1) * n].copy_from_slice(&out[row * n..(row + 1) * n]);
            }
        }
        self.part(&solved, axes, &[], &[])
    }

    fn count(&self, axes: &[AxisId]) -> usize {
        axes.iter().map(|a| self.axis_size(*a)).product()
    }

    fn every(&self, axes: &[AxisId]) -> Vec<Vec<usize>> {
        let mut cells = vec![];
        self.cells(axes, |at| cells.push(at.to_vec()));
        cells
    }

    /// A value over `axes`, at one cell of the others that it varies over.
    fn part(&self, v: &Cells, axes: &[AxisId], others: &[AxisId], cell: &[usize]) -> Cells {
        let all = [axes, others].concat();
        let mut numbers = vec![];
        self.cells(axes, |at| numbers.push(v.numbers[self.offset(v, &all, &[at, cell].concat())]));
        Cells { axes: axes.to_vec(), numbers }
    }
}
