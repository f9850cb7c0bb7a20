//! Initial-value problems between buffers: a batch of them solved, or the gradient of their solutions passed on.

use crate::lower::graph::{BufId, OdeCall, OdeSystem, Operand};
use crate::prim::ode::{Failure, Solver, System};

/// Working space for the problems of one call, kept from run to run.
#[derive(Debug)]
pub struct Space {
    solver: Solver,
    p: Vec<f64>,
    out: Vec<f64>,
    z_bar: Vec<f64>,
    p_bar: Vec<f64>,
}

impl Space {
    pub fn new(call: &OdeCall) -> Space {
        let s = &call.system;
        let params: usize = s.args.iter().sum();
        let times = s.grids.iter().map(|g| g.times.len()).max().unwrap_or(0);
        Space {
            solver: Solver::new(s.method, s.tolerance, s.n),
            p: vec![0.0; params],
            out: vec![0.0; times * s.n],
            z_bar: vec![0.0; s.n],
            p_bar: vec![0.0; params],
        }
    }
}

/// Run a call; `at` gives the address of a buffer. The first failure, if a problem could not be solved: its solution is
/// not a number throughout.
///
/// # Safety
/// The buffers hold every cell that the call's operands reach, and no two of those it writes overlap.
pub unsafe fn run(
    call: &OdeCall,
    at: impl Fn(BufId) -> *mut f64,
    space: &mut Space,
    rates: &mut dyn System,
) -> Option<Failure> {
    let s = &call.system;
    let n = s.n;
    let mut failed = None;
    for cell in 0..call.batch.iter().product::<usize>() {
        let place = |o: &Operand| -> Option<*mut f64> {
            let mut rest = cell;
            let offset = (call.batch.iter().zip(&o.strides)).fold(o.offset, |offset, (size, stride)| {
                let i = rest % size;
                rest /= size;
                offset + stride * i
            });
            // Within the buffer, by the caller's promise.
            o.buf.map(|b| unsafe { at(b).add(offset) })
        };
        let numbers = |o: &Operand, len: usize| -> &[f64] {
            place(o).map_or(&[], |p| unsafe { std::slice::from_raw_parts(p, len) })
        };
        let mut first = 0;
        for (o, &len) in call.args().iter().zip(&s.args) {
            space.p[first..first + len].copy_from_slice(numbers(o, len));
            first += len;
        }
        let start = numbers(call.start(), n);
        let grid = &s.grids[s.grid_of[cell] as usize];
        let out = &mut space.out[..grid.times.len() * n];
        let solved = space.solver.solve(rates, grid.t0, start, &grid.times, &space.p, out);
        let Some(result) = place(call.result()) else { continue };
        // Times in ascending order to the positions that they have on their plate.
        let position = |row: usize, i: usize| grid.order[row] as usize * n + i;
        if call.backward {
            if solved.is_err() {
                // The value is not a number already.
                continue;
            }
            for row in 0..grid.times.len() {
                for i in 0..n {
                    out[row * n + i] = unsafe { *result.add(position(row, i)) };
                }
            }
            space.z_bar.fill(0.0);
            space.p_bar.fill(0.0);
            space.solver.pull(rates, &space.p, out, &mut space.z_bar, &mut space.p_bar);
            let add = |o: &Operand, numbers: &[f64]| {
                if let Some(target) = place(o) {
                    numbers.iter().enumerate().for_each(|(i, x)| unsafe { *target.add(i) += x });
                }
            };
            add(call.start_adjoint(), &space.z_bar);
            let mut first = 0;
            for (o, &len) in call.arg_adjoints().iter().zip(&s.args) {
                add(o, &space.p_bar[first..first + len]);
                first += len;
            }
        } else {
            if let Err(failure) = solved {
                out.fill(f64::NAN);
                failed = failed.or(Some(failure));
            }
            for row in 0..grid.times.len() {
                for i in 0..n {
                    unsafe { *result.add(position(row, i)) = out[row * n + i] };
                }
            }
        }
    }
    failed
}

/// What computes the program of a system: its rates are a report, its pulls a gradient.
pub trait Engine {
    /// The unconstrained slots, to be set before a run.
    fn theta(&mut self) -> &mut [f64];
    fn report(&mut self);
    fn gradient(&mut self);
    fn buffer(&self, id: BufId) -> &[f64];
    fn grad(&self) -> &[f64];
}

/// A system of equations as the solver sees it.
pub struct Rates<'a, E> {
    pub system: &'a OdeSystem,
    pub engine: E,
}

impl<E: Engine> Rates<'_, E> {
    fn set(&mut self, t: f64, z: &[f64], p: &[f64]) {
        let s = self.system;
        let theta = self.engine.theta();
        theta[s.t] = t;
        theta[s.z..s.z + s.n].copy_from_slice(z);
        let mut first = 0;
        for (&at, &len) in s.arg_offsets.iter().zip(&s.args) {
            theta[at..at + len].copy_from_slice(&p[first..first + len]);
            first += len;
        }
    }
}

impl<E: Engine> System for Rates<'_, E> {
    fn rate(&mut self, t: f64, z: &[f64], p: &[f64], out: &mut [f64]) {
        self.set(t, z, p);
        self.engine.report();
        let (buf, offset) = self.system.rate;
        out.copy_from_slice(&self.engine.buffer(buf)[offset..offset + out.len()]);
    }

    fn pull(&mut self, t: f64, z: &[f64], p: &[f64], w: &[f64], z_bar: &mut [f64], p_bar: &mut [f64]) {
        self.set(t, z, p);
        let s = self.system;
        self.engine.theta()[s.weight..s.weight + s.n].copy_from_slice(w);
        self.engine.gradient();
        let grad = self.engine.grad();
        z_bar.iter_mut().zip(&grad[s.z..]).for_each(|(b, g)| *b += g);
        let mut first = 0;
        for (&at, &len) in s.arg_offsets.iter().zip(&s.args) {
            p_bar[first..first + len].iter_mut().zip(&grad[at..]).for_each(|(b, g)| *b += g);
            first += len;
        }
    }
}
