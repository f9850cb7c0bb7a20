//! Many params: Adam with fresh draws, in windows whose averages are kept.

use super::bound::Bound;
use super::bound::Coordinates;
use super::{End, Place, Session, StopReason, stages};
use crate::infer::draws::plain_into;
use crate::infer::lbfgs::Function;
use crate::infer::options::{Method, Progress, Stage};
use crate::tape::Adam;

/// Steps in the first windows; later ones grow as the rate falls.
const WINDOW: usize = 250;
/// The average leaves out the first fifth of a window, which remembers where it started.
const BURN: usize = 5;
/// The fit ends when windows stand still at a rate below this share of the first.
const LAST: f64 = 0.08;
/// The first rate where there are many params and the user gave no method.
const MANY: f64 = 0.01;
/// The same where discrete latents are scored.
const SCORED: f64 = 0.05;
/// Rows of the trace: one in so many steps.
const EVERY: usize = 25;

impl Session<'_, '_> {
    /// Windows at a falling rate. Draws per step, the change of the bound in the last window, and why it ended.
    pub fn walk(&mut self, place: &mut Place) -> (usize, f64, StopReason) {
        let half = self.shared.options.draws.map_or(4, |m| m.div_ceil(2).max(1));
        let first = match self.shared.options.method {
            Method::Adam => self.shared.options.learning_rate,
            _ if self.coordinates.scored() => SCORED,
            _ => MANY,
        };
        let (mut rate, mut steps) = (first, 0);
        let mut last = f64::INFINITY;
        let reason = loop {
            let length = (WINDOW as f64 * (first / rate).sqrt()) as usize;
            if steps + length > self.shared.options.steps {
                break StopReason::Drifting;
            }
            let (average, objective, error) = self.window(place, half, rate, length, steps);
            steps += length;
            if let Some(reason) = self.shared.halt.clone() {
                break reason;
            }
            // A window that ends worse than the one before is forgotten.
            let better = last - objective;
            if !objective.is_finite() || better < -4.0 * error {
                rate *= 0.5;
                if rate < LAST * first {
                    break if last.is_finite() { StopReason::Settled } else { StopReason::NonFinite };
                }
                continue;
            }
            (place.psi, place.objective, last) = (average, objective, objective);
            if better < 2.0 * error {
                if rate < LAST * first {
                    break StopReason::Settled;
                }
                rate *= 0.5;
            }
        };
        place.iterations += steps;
        place.end = if reason.is_convergence() { End::Converged } else { End::Iterations };
        (2 * half, 0.0, reason)
    }

    /// The average of a window's iterates, the mean of the objective over it, and that mean's standard error.
    fn window(&mut self, place: &Place, half: usize, rate: f64, length: usize, from: usize) -> (Vec<f64>, f64, f64) {
        let coordinates = self.coordinates;
        self.shared.unit(|shared| steps(shared, coordinates, place, half, rate, length, from))
    }
}

/// The steps of a window.
fn steps(
    shared: &mut stages::Session,
    coordinates: &Coordinates,
    place: &Place,
    half: usize,
    rate: f64,
    length: usize,
    from: usize,
) -> (Vec<f64>, f64, f64) {
    let n = coordinates.noisy;
    // A leave-one-out baseline needs independent draws.
    let paired = !coordinates.scored();
    let rows = if paired { half } else { 2 * half };
    let mut z = vec![0.0; rows * n];
    let mut bound = Bound::new(coordinates, shared.pool, &z, rows, paired);
    let mut psi = place.psi.clone();
    let (mut gradient, mut average) = (vec![0.0; psi.len()], psi.clone());
    let mut adam = Adam::new(psi.len());
    let (mut sum, mut squares, mut finite) = (0.0, 0.0, 0.0);
    let burn = length / BURN;
    for step in 0..length {
        let at = from + step;
        plain_into(shared.options.seed, "adam", shared.noisy, at * rows, &mut z);
        let (plus, minus) = bound.z.split_at_mut(rows * n);
        plus.copy_from_slice(&z);
        minus.iter_mut().zip(&z).for_each(|(m, z)| *m = -z);
        let f = bound.value_grad(&psi, &mut gradient);
        if f.is_finite() {
            adam.step(&mut psi, &gradient, rate);
            if step >= burn {
                (sum, squares, finite) = (sum + f, squares + f * f, finite + 1.0);
            }
        }
        if step >= burn {
            let share = 1.0 / (step - burn + 1) as f64;
            average.iter_mut().zip(&psi).for_each(|(a, p)| *a += share * (p - *a));
        }
        let row = Progress {
            stage: Stage::Adam,
            start: place.start,
            iteration: at,
            gradients: shared.pool.borrow().gradients,
            objective: f,
            gradient_norm: gradient.iter().fold(0.0, |m: f64, g| m.max(g.abs())),
            seconds: shared.journal.seconds(),
        };
        if at.is_multiple_of(EVERY) {
            shared.trace.push(row);
            (shared.progress)(&row);
        }
        shared.halt = shared.options.halt(row.gradients);
        if shared.halt.is_some() {
            break;
        }
    }
    let mean = if finite > 0.0 { sum / finite } else { f64::INFINITY };
    let error = ((squares / finite - mean * mean).max(0.0) / finite).sqrt();
    (average, mean, error)
}
