//! `--method bam`: batch and match, a normal whose scores match the posterior's at its own draws. Cai, Modi, Pillaud-Vivien,
//! Margossian, Gower, Blei and Saul, "Batch and match: black-box variational inference with a score-based divergence" (2024).
//!
//! Steps come in windows, as Adam's do; a window reports the average of its iterates, and the fit ends when two windows in a
//! row average to the same normal.

use serde::{Deserialize, Serialize};

use super::draws::plain_into;
use super::frame::Basis;
use super::laplace::{Laplace, normal_at};
use super::lbfgs::End;
use super::linalg::{axpy, cholesky, dot, invert_lower, lower_times, lower_transposed_times, symmetric_eigen};
use super::options::{GuideKind, Progress, Stage};
use super::result::StopReason;
use super::stages::{Beyond, Failure, IMPROPER_SD, Outcome, Place, Session};

/// Draws per step, if the user does not say.
const BATCH: usize = 32;
/// Steps of the first window; each further one is half as long again.
const WINDOW: usize = 20;
/// The fit has converged when the averages of two windows differ by less than this in every mean (in sds) and log sd.
const STILL: f64 = 0.02;
/// `FitOptions::steps` counts steps of Adam, which take 8 gradients each.
const GRADIENTS_PER_STEP: usize = 8;

/// A normal by mean and covariance (row-major).
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Normal {
    mean: Vec<f64>,
    covariance: Vec<f64>,
}

impl Session<'_, '_> {
    /// From the normal at the highest mode. The fit is full-rank whatever was asked for; a mean-field guide is the nearest
    /// one to it.
    pub fn run_bam(&mut self) -> Result<Outcome, Failure> {
        let Laplace { start, mode, scale, others, failed, .. } = self.laplace()?;
        let n = self.noisy.len();
        let batch = self.options.draws.unwrap_or(BATCH).max(2);
        let most = self.options.steps * GRADIENTS_PER_STEP / batch;
        let mut now = Normal { mean: mode.theta.clone(), covariance: square(&scale.to_lower(n), n) };
        let mut average = now.clone();
        let (mut steps, mut length, mut moved) = (0, WINDOW, f64::INFINITY);
        let reason = loop {
            if let Some(reason) = self.halt.clone() {
                break reason;
            }
            if steps + length > most {
                break StopReason::Drifting;
            }
            let next;
            (now, next) = self.unit(|session| session.match_scores(now.clone(), batch, steps, length, start));
            (steps, length) = (steps + length, length + length / 2);
            let before = moved;
            moved = apart(&average, &next, n);
            average = next;
            if before < STILL && moved < STILL {
                break StopReason::Settled;
            }
        };
        let t = factor(&average.covariance, n);
        let scale = match self.options.guide {
            // The nearest normal with independent coordinates by KL(q ‖ p) has the conditional variances.
            GuideKind::MeanField => {
                let inverse = invert_lower(&t, n);
                let precision = |i: usize| (i..n).map(|k| inverse[k * n + i].powi(2)).sum::<f64>();
                Basis::Diagonal((0..n).map(|i| precision(i).powf(-0.5)).collect())
            }
            _ => Basis::Lower(t),
        };
        // Starts are compared by the modes that they climbed to.
        let others: Vec<(usize, Place)> = others.iter().map(|(s, m)| (*s, normal_at(m, scale.clone()))).collect();
        let end = if reason == StopReason::Settled { End::Converged } else { End::Iterations };
        let mut place = Place { end, iterations: steps, ..normal_at(&mode, scale) };
        let starts = self.summarise(start, &place, &others, failed);
        place.frame.centre = average.mean;
        Ok(Outcome {
            place,
            reason,
            starts,
            beyond: Beyond::default(),
            others,
            draws: batch,
            mean_error: moved,
            response: None,
        })
    }

    /// Some steps from `now`: where they end, and their average.
    fn match_scores(
        &mut self,
        mut now: Normal,
        batch: usize,
        from: usize,
        length: usize,
        start: usize,
    ) -> (Normal, Normal) {
        let n = self.noisy.len();
        let mut average = Normal { mean: vec![0.0; n], covariance: vec![0.0; n * n] };
        let (mut z, mut thetas) = (vec![0.0; batch * n], vec![0.0; batch * n]);
        let (mut values, mut gradients) = (vec![0.0; batch], vec![0.0; batch * n]);
        for step in 0..length {
            let at = from + step;
            plain_into(self.options.seed, "bam", self.noisy, at * batch, &mut z);
            let t = factor(&now.covariance, n);
            for (theta, z) in thetas.chunks_mut(n.max(1)).zip(z.chunks(n.max(1))) {
                lower_times(&t, n, z, theta);
                axpy(1.0, &now.mean, theta);
            }
            self.pool.borrow_mut().value_grad(&thetas, &mut values, &mut gradients);
            let finite: Vec<usize> = (0..batch).filter(|&k| values[k].is_finite()).collect();
            let rows = |of: &[f64]| finite.iter().flat_map(|&k| of[k * n..(k + 1) * n].to_vec()).collect::<Vec<f64>>();
            if finite.len() < 2 {
                // Hardly a draw lies where the log joint is defined: draw nearer.
                now.covariance.iter_mut().for_each(|c| *c *= 0.25);
            } else {
                let strength = (finite.len() * n) as f64 / (at + 1) as f64;
                now = matched(&now, &rows(&thetas), &rows(&gradients), n, strength);
            }
            let share = 1.0 / (step + 1) as f64;
            for (a, x) in average.mean.iter_mut().zip(&now.mean) {
                *a += share * (x - *a);
            }
            for (a, x) in average.covariance.iter_mut().zip(&now.covariance) {
                *a += share * (x - *a);
            }
            let finite_mean = finite.iter().map(|&k| values[k]).sum::<f64>() / finite.len().max(1) as f64;
            let row = Progress {
                stage: Stage::Bam,
                start,
                iteration: at,
                gradients: self.pool.borrow().gradients,
                objective: -finite_mean,
                gradient_norm: f64::NAN,
                seconds: self.journal.seconds(),
            };
            self.trace.push(row);
            (self.progress)(&row);
            let wide = || (0..n).find(|&i| now.covariance[i * n + i] > IMPROPER_SD * IMPROPER_SD);
            let improper = || wide().map(|i| StopReason::Improper(self.noisy[i].clone()));
            self.halt = self.options.halt(row.gradients).or_else(improper);
            if self.halt.is_some() {
                break;
            }
        }
        (now, average)
    }
}

/// The normal that balances matching the scores `g` at the draws `x` (rows) against staying near `q`: equations 10 to 12 of
/// the paper, whose matrix equation Σ U Σ + Σ = V is solved by the eigenvalues of L_vᵀ U L_v, V = L_v L_vᵀ.
fn matched(q: &Normal, x: &[f64], g: &[f64], n: usize, strength: f64) -> Normal {
    let (x_mean, x_spread) = moments(x, n);
    let (g_mean, g_spread) = moments(g, n);
    let share = strength / (1.0 + strength);
    let shift: Vec<f64> = q.mean.iter().zip(&x_mean).map(|(m, x)| m - x).collect();
    let combine = |base: Option<&[f64]>, spread: &[f64], outer: &[f64]| -> Vec<f64> {
        let mut out = base.map_or_else(|| vec![0.0; n * n], <[f64]>::to_vec);
        axpy(strength, spread, &mut out);
        for i in 0..n {
            axpy(share * outer[i], outer, &mut out[i * n..(i + 1) * n]);
        }
        out
    };
    let u = combine(None, &g_spread, &g_mean);
    let v = factor(&combine(Some(&q.covariance), &x_spread, &shift), n);
    // L_vᵀ U L_v.
    let mut half = vec![0.0; n * n];
    for i in 0..n {
        lower_transposed_times(&v, n, &u[i * n..(i + 1) * n], &mut half[i * n..(i + 1) * n]);
    }
    let mut inner = vec![0.0; n * n];
    let mut column = vec![0.0; n];
    for j in 0..n {
        (0..n).for_each(|i| column[i] = half[i * n + j]);
        lower_transposed_times(&v, n, &column, &mut inner[j * n..(j + 1) * n]);
    }
    let (values, vectors) = symmetric_eigen(&inner, n);
    let mut covariance = vec![0.0; n * n];
    for (w, e) in values.iter().zip(vectors.chunks(n.max(1))) {
        lower_times(&v, n, e, &mut column);
        let weight = 2.0 / (1.0 + (1.0 + 4.0 * w.max(0.0)).sqrt());
        for i in 0..n {
            axpy(weight * column[i], &column, &mut covariance[i * n..(i + 1) * n]);
        }
    }
    let mean = (0..n)
        .map(|i| {
            (q.mean[i] + strength * (dot(&covariance[i * n..(i + 1) * n], &g_mean) + x_mean[i])) / (1.0 + strength)
        })
        .collect();
    Normal { mean, covariance }
}

/// Mean and covariance (divisor: the number of rows).
fn moments(rows: &[f64], n: usize) -> (Vec<f64>, Vec<f64>) {
    let share = n as f64 / rows.len() as f64;
    let (mut mean, mut spread) = (vec![0.0; n], vec![0.0; n * n]);
    rows.chunks(n).for_each(|row| axpy(share, row, &mut mean));
    let mut away = vec![0.0; n];
    for row in rows.chunks(n) {
        away.iter_mut().zip(row.iter().zip(&mean)).for_each(|(a, (x, m))| *a = x - m);
        for i in 0..n {
            axpy(share * away[i], &away, &mut spread[i * n..(i + 1) * n]);
        }
    }
    (mean, spread)
}

/// Lower factor of a covariance, whose smallest directions rounding may have eaten: then of one a little larger.
fn factor(covariance: &[f64], n: usize) -> Vec<f64> {
    let mut more = 1e-14;
    loop {
        let mut l = covariance.to_vec();
        for i in 0..n {
            l[i * n + i] += more * (covariance[i * n + i].abs() + f64::MIN_POSITIVE);
        }
        if cholesky(&mut l, n) || more > 1.0 {
            return l;
        }
        more *= 100.0;
    }
}

/// L Lᵀ.
fn square(l: &[f64], n: usize) -> Vec<f64> {
    let mut out = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..n {
            out[i * n + j] = dot(&l[i * n..(i + 1) * n], &l[j * n..(j + 1) * n]);
        }
    }
    out
}

/// Largest change of a mean, in sds, or of a log sd.
fn apart(a: &Normal, b: &Normal, n: usize) -> f64 {
    let of = |i: usize| {
        let (va, vb) = (a.covariance[i * n + i], b.covariance[i * n + i]);
        ((a.mean[i] - b.mean[i]).abs() / vb.sqrt()).max(0.5 * (va / vb).ln().abs())
    };
    (0..n).map(of).fold(0.0, f64::max)
}
