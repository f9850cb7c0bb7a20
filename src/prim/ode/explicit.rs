//! Dormand and Prince's pair RK5(4)7M (J. Comput. Appl. Math. 6, 1980, 19–26).

use super::{Step, System};

pub const STAGES: usize = 7;
/// One more than the order of the error estimate.
pub const ORDER: f64 = 5.0;

const C: [f64; STAGES] = [0.0, 0.2, 0.3, 0.8, 8.0 / 9.0, 1.0, 1.0];
/// Row i: the weights of earlier rates in the place of stage i. The last row gives the step.
const A: [[f64; 6]; STAGES] = [
    [0.0; 6],
    [0.2, 0.0, 0.0, 0.0, 0.0, 0.0],
    [3.0 / 40.0, 9.0 / 40.0, 0.0, 0.0, 0.0, 0.0],
    [44.0 / 45.0, -56.0 / 15.0, 32.0 / 9.0, 0.0, 0.0, 0.0],
    [19372.0 / 6561.0, -25360.0 / 2187.0, 64448.0 / 6561.0, -212.0 / 729.0, 0.0, 0.0],
    [9017.0 / 3168.0, -355.0 / 33.0, 46732.0 / 5247.0, 49.0 / 176.0, -5103.0 / 18656.0, 0.0],
    [35.0 / 384.0, 0.0, 500.0 / 1113.0, 125.0 / 192.0, -2187.0 / 6784.0, 11.0 / 84.0],
];
/// Fifth order minus fourth.
const ERROR: [f64; STAGES] =
    [71.0 / 57600.0, 0.0, -71.0 / 16695.0, 71.0 / 1920.0, -17253.0 / 339200.0, 22.0 / 525.0, -1.0 / 40.0];

/// The place where stage i is evaluated.
fn place(step: &Step, rates: &[f64], i: usize, out: &mut [f64]) {
    let n = step.z.len();
    for (j, out) in out.iter_mut().enumerate() {
        let sum: f64 = (0..i).map(|s| A[i][s] * rates[s * n + j]).sum();
        *out = step.z[j] + step.h * sum;
    }
}

/// Fill `next` and the estimate of its error. The rates of the stages stay in the first half of `stages`.
pub fn step(system: &mut dyn System, step: &Step, stages: &mut [f64], next: &mut [f64], error: &mut [f64]) {
    let n = step.z.len();
    let (rates, _) = stages.split_at_mut(STAGES * n);
    for i in 0..STAGES {
        place(step, rates, i, next);
        system.rate(step.t + C[i] * step.h, next, step.p, &mut rates[i * n..(i + 1) * n]);
    }
    // The last stage stands at the end of the step.
    for (j, error) in error.iter_mut().enumerate() {
        *error = step.h * (0..STAGES).map(|i| ERROR[i] * rates[i * n + j]).sum::<f64>();
    }
}

/// From the gradient `bar` at the end of the step to that at its start.
pub fn pull(
    system: &mut dyn System,
    step: &Step,
    stages: &mut [f64],
    bar: &mut [f64],
    at: &mut [f64],
    scratch: &mut [f64],
    p_bar: &mut [f64],
) {
    let n = step.z.len();
    let last = STAGES - 1;
    let (rates, rate_bars) = stages.split_at_mut(STAGES * n);
    for i in 0..last {
        place(step, rates, i, at);
        system.rate(step.t + C[i] * step.h, at, step.p, &mut rates[i * n..(i + 1) * n]);
    }
    for i in 0..last {
        for j in 0..n {
            rate_bars[i * n + j] = step.h * A[last][i] * bar[j];
        }
    }
    let place_bar = &mut scratch[..n];
    for i in (0..last).rev() {
        place(step, rates, i, at);
        place_bar.fill(0.0);
        let (before, own) = rate_bars.split_at_mut(i * n);
        system.pull(step.t + C[i] * step.h, at, step.p, &own[..n], place_bar, p_bar);
        for j in 0..n {
            bar[j] += place_bar[j];
            for s in 0..i {
                before[s * n + j] += step.h * A[i][s] * place_bar[j];
            }
        }
    }
}
