//! `--method pathfinder`: of all normals that L-BFGS passes on its way to a mode, the one with the highest lower bound. Zhang,
//! Carpenter, Gelman and Vehtari, "Pathfinder: parallel quasi-Newton variational inference" (2022).
//!
//! Each point of a path gives a normal: its covariance is the inverse Hessian as the last steps show it, its mean a Newton
//! step ahead. The posterior's bulk lies on the way to the mode, often well before it.
//!
//! Paths are drawn from together (the paper's algorithm 4, multi-path Pathfinder), and the draws resampled by their importance
//! weights across all paths. Each path's share of the proposals is that of its bound, and a draw is weighed by the density of the
//! mixture, not of its own path alone: paths to one mode then count once, and the weights are never larger (Owen and Zhou 2000, Safe
//! and effective importance sampling).

use serde::{Deserialize, Serialize};

use super::draws::plain;
use super::frame::{Basis, Frame, Shape};
use super::lbfgs::End;
use super::linalg::{axpy, cholesky, dot, invert_lower, lower_times};
use super::mixture::Components;
use super::mode::Step;
use super::options::{GuideKind, Stage};
use super::result::StopReason;
use super::stages::{Beyond, Failure, Outcome, Place, Session};

/// Steps that an inverse Hessian is made of (the paper's default).
const HISTORY: usize = 6;
/// Draws that estimate a lower bound along a path; as Stan's default.
const DRAWS: usize = 25;
/// Pairs with less curvature than this are skipped (Stan's rule).
const CURVATURE: f64 = 1e12;

/// Paths whose bound is this many nats below the best have next to no draws.
const BEHIND: f64 = 7.0;

/// The best normal of a path.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Found {
    mean: Vec<f64>,
    /// Lower factor of the covariance.
    factor: Vec<f64>,
    bound: f64,
    iterations: usize,
}

/// A step along a path: s = Δθ and y = −Δ∇ log p.
struct Pair {
    s: Vec<f64>,
    y: Vec<f64>,
}

impl Session<'_, '_> {
    pub fn run_pathfinder(&mut self) -> Result<Outcome, Failure> {
        let n = self.noisy.len();
        let (mut found, mut failed) = (vec![], vec![]);
        for start in 0..self.options.starts.max(1) {
            match self.climb(start, Stage::Pathfinder) {
                Ok(mode) => {
                    if let Some(best) = self.unit(|session| session.best_along(&mode.path, start)) {
                        found.push((start, best));
                    }
                }
                Err(failure) => failed.push(failure),
            }
            if self.halt.is_some() {
                break;
            }
        }
        // A stable sort: the earlier path wins a tie.
        found.sort_by(|a, b| b.1.bound.total_cmp(&a.1.bound));
        let mut places = found.into_iter().map(|(start, f)| (start, self.normal_of(f, n)));
        let Some((best, place)) = places.next() else {
            let theta = self.start_at(0);
            return Err(if failed.is_empty() { Failure { theta, start: 0 } } else { failed.swap_remove(0) });
        };
        let others: Vec<(usize, Place)> = places.collect();
        let reason = self.halt.clone().unwrap_or(StopReason::PathsEnded);
        let mut starts = self.summarise(best, &place, &others, failed.iter().map(|f| f.start).collect());
        let paths = together(&place, &others);
        // What is drawn from does not dissent.
        for (start, other) in others.iter().filter(|_| !paths.is_empty()) {
            if place.objective - other.objective > -BEHIND {
                starts.iter_mut().filter(|s| s.start == *start).for_each(|s| s.distance = 0.0);
            }
        }
        Ok(Outcome {
            place,
            reason,
            starts,
            beyond: Beyond { paths, ..Beyond::default() },
            others,
            draws: DRAWS,
            mean_error: 0.0,
            response: None,
        })
    }

    /// The guide in the family asked for.
    fn normal_of(&self, found: Found, n: usize) -> Place {
        let scale = match self.options.guide {
            // The nearest normal with independent coordinates by KL(q ‖ p) has the conditional variances.
            GuideKind::MeanField => {
                let inverse = invert_lower(&found.factor, n);
                let precision = |i: usize| (i..n).map(|k| inverse[k * n + i].powi(2)).sum::<f64>();
                Basis::Diagonal((0..n).map(|i| precision(i).powf(-0.5)).collect())
            }
            _ => Basis::Lower(found.factor),
        };
        let frame = Frame { centre: found.mean, mean: scale.clone().into(), noise: scale, shape: Shape::Diagonal };
        let phi = vec![0.0; frame.parameters()];
        Place { phi, frame, objective: -found.bound, end: End::Converged, iterations: found.iterations }
    }

    fn best_along(&mut self, path: &[Step], start: usize) -> Option<Found> {
        let n = self.noisy.len();
        let z = plain(self.options.seed, "pathfinder", self.noisy, start * DRAWS, DRAWS);
        let mut alpha = vec![1.0; n];
        let mut pairs: Vec<Pair> = vec![];
        let mut best: Option<Found> = None;
        let (mut thetas, mut values) = (vec![0.0; DRAWS * n], vec![0.0; DRAWS]);
        for (number, steps) in path.windows(2).enumerate() {
            let pair = Pair {
                s: difference(&steps[1].theta, &steps[0].theta),
                y: difference(&steps[0].gradient, &steps[1].gradient),
            };
            let (sy, yy) = (dot(&pair.s, &pair.y), dot(&pair.y, &pair.y));
            if !(sy > 0.0 && yy <= CURVATURE * sy) {
                continue;
            }
            update_diagonal(&mut alpha, &pair, sy);
            if pairs.len() == HISTORY {
                pairs.remove(0);
            }
            pairs.push(pair);
            let covariance = inverse_hessian(&alpha, &pairs, n);
            let mut factor = covariance.clone();
            if !cholesky(&mut factor, n) {
                continue;
            }
            let here = &steps[1];
            let mean: Vec<f64> =
                (0..n).map(|i| here.theta[i] + dot(&covariance[i * n..(i + 1) * n], &here.gradient)).collect();
            for (theta, z) in thetas.chunks_mut(n.max(1)).zip(z.chunks(n.max(1))) {
                lower_times(&factor, n, z, theta);
                axpy(1.0, &mean, theta);
            }
            self.pool.borrow_mut().value(&thetas, &mut values);
            let volume: f64 = (0..n).map(|i| factor[i * n + i].ln()).sum();
            let entropy = volume + 0.5 * dot(&z, &z) / DRAWS as f64 + 0.5 * n as f64 * std::f64::consts::TAU.ln();
            let bound = values.iter().sum::<f64>() / DRAWS as f64 + entropy;
            if bound.is_finite() && best.as_ref().is_none_or(|b| bound > b.bound) {
                best = Some(Found { mean, factor, bound, iterations: number + 1 });
            }
        }
        best
    }
}

/// The normals of all paths that are not far behind the best, with weights; none where there is but one.
fn together(best: &Place, others: &[(usize, Place)]) -> Components {
    let near = others.iter().map(|o| &o.1).filter(|o| best.objective - o.objective > -BEHIND);
    let all: Vec<&Place> = std::iter::once(best).chain(near).collect();
    if all.len() < 2 {
        return vec![];
    }
    let shares: Vec<f64> = all.iter().map(|p| (best.objective - p.objective).exp()).collect();
    let total: f64 = shares.iter().sum();
    shares.iter().zip(all).map(|(share, p)| (share / total, p.clone())).collect()
}

fn difference(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

/// The diagonal that an inverse Hessian starts from, brought up to date with a step: Gilbert and Lemaréchal, "Some numerical
/// experiments with variable-storage quasi-Newton algorithms" (1989), as in the paper's algorithm 3.
fn update_diagonal(alpha: &mut [f64], pair: &Pair, sy: f64) {
    let a: f64 = alpha.iter().zip(&pair.y).map(|(a, y)| a * y * y).sum();
    let c: f64 = alpha.iter().zip(&pair.s).map(|(a, s)| s * s / a).sum();
    for (alpha, (s, y)) in alpha.iter_mut().zip(pair.s.iter().zip(&pair.y)) {
        let inverse = a / (sy * *alpha) + y * y / sy - a * s * s / (sy * c * *alpha * *alpha);
        if inverse.is_finite() && inverse > 0.0 {
            *alpha = 1.0 / inverse;
        }
    }
}

/// BFGS from a diagonal by these pairs, the oldest first: H ← (I − ρ s yᵀ) H (I − ρ y sᵀ) + ρ s sᵀ.
fn inverse_hessian(alpha: &[f64], pairs: &[Pair], n: usize) -> Vec<f64> {
    let mut h = vec![0.0; n * n];
    (0..n).for_each(|i| h[i * n + i] = alpha[i]);
    for Pair { s, y } in pairs {
        let rho = 1.0 / dot(s, y);
        let hy: Vec<f64> = (0..n).map(|i| dot(&h[i * n..(i + 1) * n], y)).collect();
        let weight = rho * (1.0 + rho * dot(y, &hy));
        for i in 0..n {
            let row = &mut h[i * n..(i + 1) * n];
            axpy(weight * s[i] - rho * hy[i], s, row);
            axpy(-rho * s[i], &hy, row);
        }
    }
    h
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On a quadratic, n independent steps tell the whole inverse Hessian; every pair is met exactly (the secant equation).
    #[test]
    fn inverse_hessians_meet_their_pairs() {
        let a = [3.0, 0.5, 0.2, 0.5, 2.0, -0.3, 0.2, -0.3, 1.0];
        let times = |x: &[f64]| -> Vec<f64> { (0..3).map(|i| dot(&a[3 * i..3 * i + 3], x)).collect() };
        // Conjugate steps, so that later updates leave earlier equations as they are.
        let mut steps: Vec<Vec<f64>> = vec![];
        for unit in [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]] {
            let mut s = unit.to_vec();
            for t in &steps {
                let share = dot(&s, &times(t)) / dot(t, &times(t));
                axpy(-share, t, &mut s);
            }
            steps.push(s);
        }
        let pairs: Vec<Pair> = steps.iter().map(|s| Pair { s: s.clone(), y: times(s) }).collect();
        let mut alpha = vec![1.0; 3];
        pairs.iter().for_each(|p| update_diagonal(&mut alpha, p, dot(&p.s, &p.y)));
        let h = inverse_hessian(&alpha, &pairs, 3);
        for Pair { s, y } in &pairs {
            for i in 0..3 {
                assert!((dot(&h[3 * i..3 * i + 3], y) - s[i]).abs() < 1e-12, "{h:?}");
            }
        }
    }
}
