//! Initial-value problems: dz/dt = f(t, z, p), with the derivative of the computed solution.
//!
//! Steps adapt to a tolerance and end on every time that is asked for. The gradient is the discrete adjoint: the steps
//! that were taken are walked backwards, so it is the exact derivative of what was computed, steps held fixed (Sandu,
//! "On the properties of Runge-Kutta discrete adjoints", ICCS 2006).

mod explicit;
mod implicit;
#[cfg(test)]
mod tests;

/// The right side of a system of equations.
pub trait System {
    /// `out = f(t, z, p)`
    fn rate(&mut self, t: f64, z: &[f64], p: &[f64], out: &mut [f64]);
    /// `z_bar += (∂f/∂z)ᵀ w`, `p_bar += (∂f/∂p)ᵀ w`
    fn pull(&mut self, t: f64, z: &[f64], p: &[f64], w: &[f64], z_bar: &mut [f64], p_bar: &mut [f64]);
}

/// How steps are taken.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Method {
    /// Dormand and Prince's Runge–Kutta pair of orders 5 and 4: the default.
    Explicit,
    /// A singly diagonally implicit pair of orders 4 and 3 (Hairer and Wanner), for stiff systems.
    Stiff,
}

/// Why a system could not be solved.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Failure {
    /// How far the solution came.
    pub time: f64,
    pub reason: Reason,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// More than [`MOST_STEPS`] steps between two of the times that were asked for.
    TooManySteps,
    /// No step, however small, met the tolerance.
    StepTooSmall,
    /// The rates or the start are not finite.
    NotFinite,
}

/// Enough for smooth systems over long times; a stiff one takes more with the explicit method, and is told so.
pub const MOST_STEPS: usize = 100_000;

/// Working space for one system, and the steps of its last solution.
#[derive(Clone, Debug)]
pub struct Solver {
    method: Method,
    tolerance: f64,
    /// Length of z.
    n: usize,
    /// Time and length of each step taken.
    steps: Vec<(f64, f64)>,
    /// z at the start of each step.
    starts: Vec<f64>,
    /// How many steps had been taken when each requested time was reached.
    reached: Vec<usize>,
    work: Vec<f64>,
    implicit: implicit::Newton,
}

/// A method's step: from `z` at `t` by `h`.
struct Step<'a> {
    t: f64,
    h: f64,
    z: &'a [f64],
    p: &'a [f64],
}

/// Step lengths change by no more than these factors at once, and aim at this share of the tolerance.
const SHRINK: f64 = 0.2;
const GROW: f64 = 5.0;
const SAFETY: f64 = 0.9;

impl Solver {
    /// `tolerance` bounds the error of each step: relative, and absolute on values below 1.
    pub fn new(method: Method, tolerance: f64, n: usize) -> Solver {
        let stages = match method {
            Method::Explicit => explicit::STAGES,
            Method::Stiff => implicit::STAGES,
        };
        Solver {
            method,
            tolerance,
            n,
            steps: vec![],
            starts: vec![],
            reached: vec![],
            work: vec![0.0; (2 * stages + 4) * n],
            implicit: implicit::Newton::new(n),
        }
    }

    /// Solve from `z0` at `t0` through `times`, which ascend from `t0`; row i of `out` is z at `times[i]`.
    pub fn solve(
        &mut self,
        system: &mut dyn System,
        t0: f64,
        z0: &[f64],
        times: &[f64],
        p: &[f64],
        out: &mut [f64],
    ) -> Result<(), Failure> {
        let n = self.n;
        self.steps.clear();
        self.starts.clear();
        self.reached.clear();
        let mut work = std::mem::take(&mut self.work);
        let split = work.len() - 4 * n;
        let (stages, rest) = work.split_at_mut(split);
        let (z, rest) = rest.split_at_mut(n);
        let (next, rest) = rest.split_at_mut(n);
        let (error, first) = rest.split_at_mut(n);
        z.copy_from_slice(z0);
        let mut t = t0;
        system.rate(t, z, p, first);
        let result = if z.iter().chain(&*first).any(|v| !v.is_finite()) {
            Err(Failure { time: t, reason: Reason::NotFinite })
        } else {
            let mut h = self.first_length(z, first);
            times.iter().zip(out.chunks_exact_mut(n)).try_for_each(|(&end, row)| {
                let mut taken = 0;
                while t < end {
                    if taken == MOST_STEPS {
                        return Err(Failure { time: t, reason: Reason::TooManySteps });
                    }
                    // Land on the requested time; the length that the tolerance allows is kept for afterwards. A rest that
                    // a second step would hardly cover is halved rather than left over.
                    let left = end - t;
                    let now = if h >= left {
                        left
                    } else if 2.0 * h > left {
                        0.5 * left
                    } else {
                        h
                    };
                    if t + now <= t {
                        return Err(Failure { time: t, reason: Reason::StepTooSmall });
                    }
                    let step = Step { t, h: now, z, p };
                    let solved = match self.method {
                        Method::Explicit => {
                            explicit::step(system, &step, stages, next, error);
                            true
                        }
                        Method::Stiff => self.implicit.step(system, &step, self.tolerance, stages, next, error),
                    };
                    let size = if solved { self.size(z, next, error) } else { f64::INFINITY };
                    let order = match self.method {
                        Method::Explicit => explicit::ORDER,
                        Method::Stiff => implicit::ORDER,
                    };
                    let factor = (SAFETY * size.powf(-1.0 / order)).clamp(SHRINK, GROW);
                    if size <= 1.0 {
                        self.steps.push((t, now));
                        self.starts.extend_from_slice(z);
                        z.copy_from_slice(next);
                        t = if now == left { end } else { t + now };
                        taken += 1;
                        // A step cut short says little about longer ones: it must not shrink them.
                        h = (now * factor).max(if now < h { h } else { 0.0 });
                    } else {
                        h = now * if factor.is_finite() { factor } else { SHRINK };
                    }
                }
                row.copy_from_slice(z);
                self.reached.push(self.steps.len());
                Ok(())
            })
        };
        self.work = work;
        result
    }

    /// After `solve`: from the gradient of something with respect to its `out`, add that with respect to `z0` and `p`.
    pub fn pull(&mut self, system: &mut dyn System, p: &[f64], out_bar: &[f64], z0_bar: &mut [f64], p_bar: &mut [f64]) {
        let n = self.n;
        let mut work = std::mem::take(&mut self.work);
        let split = work.len() - 4 * n;
        let (stages, rest) = work.split_at_mut(split);
        let (bar, rest) = rest.split_at_mut(n);
        let (stage_bar, scratch) = rest.split_at_mut(n);
        bar.fill(0.0);
        let mut at = self.steps.len();
        let mut row = self.reached.len();
        loop {
            while row > 0 && self.reached[row - 1] == at {
                row -= 1;
                bar.iter_mut().zip(&out_bar[row * n..]).for_each(|(b, o)| *b += o);
            }
            if at == 0 {
                break;
            }
            at -= 1;
            let (t, h) = self.steps[at];
            let step = Step { t, h, z: &self.starts[at * n..(at + 1) * n], p };
            match self.method {
                Method::Explicit => explicit::pull(system, &step, stages, bar, stage_bar, scratch, p_bar),
                Method::Stiff => {
                    self.implicit.pull(system, &step, self.tolerance, stages, bar, stage_bar, scratch, p_bar);
                }
            }
        }
        z0_bar.iter_mut().zip(&*bar).for_each(|(z, b)| *z += b);
        self.work = work;
    }

    /// The error of a step in units of what is tolerated: root mean square, infinite if anything is not finite.
    fn size(&self, z: &[f64], next: &[f64], error: &[f64]) -> f64 {
        let square = |i: usize| {
            let e = error[i] / (self.tolerance * z[i].abs().max(next[i].abs()).max(1.0));
            e * e
        };
        let mean = (0..self.n).map(square).sum::<f64>() / self.n as f64;
        if mean.is_finite() && next.iter().all(|v| v.is_finite()) { mean.sqrt() } else { f64::INFINITY }
    }

    /// A first length from the size of the rates (Hairer, Nørsett and Wanner, section II.4, first part): the error control
    /// mends it.
    fn first_length(&self, z: &[f64], rate: &[f64]) -> f64 {
        let norm = |v: &[f64]| v.iter().zip(z).map(|(v, z)| (v / z.abs().max(1.0)).powi(2)).sum::<f64>().sqrt();
        let (size, speed) = (norm(z).max(1e-3), norm(rate));
        let h = if speed > 1e-10 { 0.01 * size / speed } else { 1e-3 };
        h * (self.tolerance / 1e-3).powf(0.2).min(1.0)
    }
}
