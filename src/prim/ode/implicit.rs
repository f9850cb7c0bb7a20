//! SDIRK4: five singly diagonally implicit stages, L-stable, of order 4 with an embedded order 3 (Hairer and Wanner, "Solving
//! Ordinary Differential Equations II", section IV.6, table 6.5). Stages are solved by Newton's method.

use super::{Step, System};

pub const STAGES: usize = 5;
/// One more than the order of the error estimate.
pub const ORDER: f64 = 4.0;

const GAMMA: f64 = 0.25;
const C: [f64; STAGES] = [0.25, 0.75, 11.0 / 20.0, 0.5, 1.0];
/// Row i: the weights of earlier rates in the place of stage i; its own has weight `GAMMA`. The last row gives the step.
const A: [[f64; 4]; STAGES] = [
    [0.0; 4],
    [0.5, 0.0, 0.0, 0.0],
    [17.0 / 50.0, -1.0 / 25.0, 0.0, 0.0],
    [371.0 / 1360.0, -137.0 / 2720.0, 15.0 / 544.0, 0.0],
    [25.0 / 24.0, -49.0 / 48.0, 125.0 / 16.0, -85.0 / 12.0],
];
/// Fourth order minus third.
const ERROR: [f64; STAGES] =
    [25.0 / 24.0 - 59.0 / 48.0, -49.0 / 48.0 + 17.0 / 96.0, 125.0 / 16.0 - 225.0 / 32.0, 0.0, 0.25];

/// Newton's method takes this many steps at most before the length of the step is cut.
const ITERATIONS: usize = 12;
/// Stages are solved to this share of the tolerance, so that their error does not show in the solution or its gradient.
const SHARE: f64 = 1e-3;

/// Space for Newton's method.
#[derive(Clone, Debug)]
pub struct Newton {
    /// `I - h γ ∂f/∂z`, then its factors, by rows.
    matrix: Vec<f64>,
    pivots: Vec<usize>,
    row: Vec<f64>,
    residual: Vec<f64>,
    nothing: Vec<f64>,
}

impl Newton {
    pub fn new(n: usize) -> Newton {
        Newton {
            matrix: vec![0.0; n * n],
            pivots: vec![0; n],
            row: vec![0.0; n],
            residual: vec![0.0; n],
            nothing: vec![],
        }
    }

    /// Factor `I - h γ ∂f/∂z` at `z`. False if it is singular or not finite.
    fn factor(&mut self, system: &mut dyn System, t: f64, h: f64, z: &[f64], p: &[f64]) -> bool {
        let n = z.len();
        self.nothing.resize(p.len(), 0.0);
        for i in 0..n {
            // Row i of the Jacobian is the pull of the i-th unit vector.
            self.residual.fill(0.0);
            self.residual[i] = 1.0;
            self.row.fill(0.0);
            system.pull(t, z, p, &self.residual, &mut self.row, &mut self.nothing);
            for j in 0..n {
                self.matrix[i * n + j] = f64::from(i == j) - h * GAMMA * self.row[j];
            }
        }
        let m = &mut self.matrix;
        for k in 0..n {
            let pivot = (k..n).max_by(|&a, &b| m[a * n + k].abs().total_cmp(&m[b * n + k].abs())).unwrap_or(k);
            self.pivots[k] = pivot;
            if pivot != k {
                (0..n).for_each(|j| m.swap(k * n + j, pivot * n + j));
            }
            let d = m[k * n + k];
            if d == 0.0 || !d.is_finite() {
                return false;
            }
            for i in k + 1..n {
                let l = m[i * n + k] / d;
                m[i * n + k] = l;
                (k + 1..n).for_each(|j| m[i * n + j] -= l * m[k * n + j]);
            }
        }
        true
    }

    /// Solve with the factored matrix, in place.
    fn solve(&self, x: &mut [f64]) {
        let (n, m) = (x.len(), &self.matrix);
        (0..n).for_each(|k| x.swap(k, self.pivots[k]));
        for i in 0..n {
            x[i] -= (0..i).map(|j| m[i * n + j] * x[j]).sum::<f64>();
        }
        for i in (0..n).rev() {
            x[i] = (x[i] - (i + 1..n).map(|j| m[i * n + j] * x[j]).sum::<f64>()) / m[i * n + i];
        }
    }

    /// Solve with the transpose of the factored matrix, in place.
    fn solve_transposed(&self, x: &mut [f64]) {
        let (n, m) = (x.len(), &self.matrix);
        for i in 0..n {
            x[i] = (x[i] - (0..i).map(|j| m[j * n + i] * x[j]).sum::<f64>()) / m[i * n + i];
        }
        for i in (0..n).rev() {
            x[i] -= (i + 1..n).map(|j| m[j * n + i] * x[j]).sum::<f64>();
        }
        (0..n).rev().for_each(|k| x.swap(k, self.pivots[k]));
    }

    /// Solve the stages: their places go to the second half of `stages`, their rates to the first.
    fn stages(&mut self, system: &mut dyn System, step: &Step, tolerance: f64, stages: &mut [f64]) -> bool {
        let n = step.z.len();
        let (rates, places) = stages.split_at_mut(STAGES * n);
        if !self.factor(system, step.t, step.h, step.z, step.p) {
            return false;
        }
        for i in 0..STAGES {
            let t = step.t + C[i] * step.h;
            let (before, rate) = rates.split_at_mut(i * n);
            let rate = &mut rate[..n];
            let known = |j: usize| step.z[j] + step.h * (0..i).map(|s| A[i][s] * before[s * n + j]).sum::<f64>();
            let (earlier, place) = places.split_at_mut(i * n);
            let place = &mut place[..n];
            place.copy_from_slice(if i == 0 { step.z } else { &earlier[(i - 1) * n..] });
            let mut last = f64::INFINITY;
            let mut solved = false;
            for iteration in 0..ITERATIONS {
                system.rate(t, place, step.p, rate);
                for j in 0..n {
                    self.residual[j] = known(j) + step.h * GAMMA * rate[j] - place[j];
                }
                let mut change = std::mem::take(&mut self.residual);
                self.solve(&mut change);
                let mut size = 0.0f64;
                for j in 0..n {
                    place[j] += change[j];
                    size = size.max(change[j].abs() / place[j].abs().max(1.0));
                }
                self.residual = change;
                if !size.is_finite() {
                    return false;
                }
                if size <= SHARE * tolerance || size < 1e-15 {
                    solved = true;
                    break;
                }
                // The matrix is that of the start of the step: where that is too old, make it anew.
                if size > 0.1 * last && iteration % 3 == 2 && !self.factor(system, t, step.h, place, step.p) {
                    return false;
                }
                last = size;
            }
            if !solved {
                return false;
            }
            // The rate that fits the place exactly in the stage's equation.
            for j in 0..n {
                rate[j] = (place[j] - known(j)) / (step.h * GAMMA);
            }
        }
        true
    }

    /// Fill `next` and the estimate of its error; false if the stages could not be solved.
    pub fn step(
        &mut self,
        system: &mut dyn System,
        step: &Step,
        tolerance: f64,
        stages: &mut [f64],
        next: &mut [f64],
        error: &mut [f64],
    ) -> bool {
        let n = step.z.len();
        if !self.stages(system, step, tolerance, stages) {
            return false;
        }
        // The method is stiffly accurate: its last stage is the end of the step.
        next.copy_from_slice(&stages[(2 * STAGES - 1) * n..2 * STAGES * n]);
        for (j, error) in error.iter_mut().enumerate() {
            *error = step.h * (0..STAGES).map(|i| ERROR[i] * stages[i * n + j]).sum::<f64>();
        }
        // Filtered by the matrix, the estimate stays small on stiff components (Hairer and Wanner, equation IV.8.20).
        if self.factor(system, step.t, step.h, step.z, step.p) {
            self.solve(error);
        }
        true
    }

    /// From the gradient `bar` at the end of the step to that at its start, by the implicit function theorem at each stage.
    #[allow(clippy::too_many_arguments)]
    pub fn pull(
        &mut self,
        system: &mut dyn System,
        step: &Step,
        tolerance: f64,
        stages: &mut [f64],
        bar: &mut [f64],
        known_bar: &mut [f64],
        scratch: &mut [f64],
        p_bar: &mut [f64],
    ) {
        let n = step.z.len();
        // It was solved when the step was taken.
        self.stages(system, step, tolerance, stages);
        let (rate_bars, places) = stages.split_at_mut(STAGES * n);
        let last = STAGES - 1;
        for i in 0..STAGES {
            let weight = if i == last { GAMMA } else { A[last][i] };
            for j in 0..n {
                rate_bars[i * n + j] = step.h * weight * bar[j];
            }
        }
        let w = &mut scratch[..n];
        for i in (0..STAGES).rev() {
            let t = step.t + C[i] * step.h;
            let place = &places[i * n..(i + 1) * n];
            let (before, own) = rate_bars.split_at_mut(i * n);
            self.factor(system, t, step.h, place, step.p);
            w.copy_from_slice(&own[..n]);
            self.solve_transposed(w);
            known_bar.fill(0.0);
            system.pull(t, place, step.p, w, known_bar, p_bar);
            for j in 0..n {
                bar[j] += known_bar[j];
                for s in 0..i {
                    before[s * n + j] += step.h * A[i][s] * known_bar[j];
                }
            }
        }
    }
}
