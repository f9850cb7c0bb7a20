//! The lower bound's gradient by the score function: E[(log p − log q) ∇ log q], which needs no gradient of the log joint
//! by a latent. Ranganath, Gerrish and Blei, "Black box variational inference" (2014).

use super::{Batch, Estimator, Pull, Scratch};

/// What is taken off the weight of a draw, to lower the variance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Baseline {
    /// Nothing: REINFORCE.
    None,
    /// The mean weight of the replicate's other draws, which are independent of this one, so that nothing is biased.
    /// Kool, van Hoof and Welling, "Buy 4 REINFORCE samples, get a baseline for free!" (2019).
    LeaveOneOut,
}

pub struct Score {
    pub draws: usize,
    pub baseline: Baseline,
    /// Weigh each coordinate by the terms that depend on it, where the log joint is taken apart: the others have mean 0 there
    /// (section 3.1 of the paper).
    pub apart: bool,
}

impl Score {
    /// Weights of a replicate's draws by their log p − log q. A draw where the log joint is not finite counts as the worst
    /// of the others: away from there, but not at any price. False if no draw is finite.
    pub fn weights(&self, log_ratios: &[f64], weights: &mut Vec<f64>) -> bool {
        let worst = log_ratios.iter().copied().filter(|r| r.is_finite()).fold(f64::INFINITY, f64::min);
        if worst.is_infinite() {
            return false;
        }
        weights.clear();
        weights.extend(log_ratios.iter().map(|r| if r.is_finite() { *r } else { worst }));
        if self.baseline == Baseline::LeaveOneOut && weights.len() > 1 {
            let n = weights.len() as f64;
            let mean = weights.iter().sum::<f64>() / n;
            // w_k − mean of the others.
            weights.iter_mut().for_each(|w| *w = (*w - mean) * n / (n - 1.0));
        }
        true
    }
}

impl Estimator for Score {
    fn draws(&self) -> usize {
        self.draws
    }

    fn uses_gradients(&self) -> bool {
        false
    }

    fn uses_parts(&self) -> bool {
        self.apart
    }

    fn weigh(&self, batch: &Batch, scratch: &mut Scratch, pull: &mut Pull) -> f64 {
        let share = 1.0 / batch.rows() as f64;
        let (dim, noisy) = (batch.dim, batch.noisy);
        let Scratch { ratios, weights } = scratch;
        let (mut total, mut finite) = (0.0, 0usize);
        for first in (0..batch.rows()).step_by(self.draws) {
            ratios.clear();
            ratios.extend((first..first + self.draws).map(|k| batch.log_ratio(k)));
            if !self.weights(ratios, weights) {
                return f64::INFINITY;
            }
            if !batch.parts.is_empty() {
                for i in 0..noisy {
                    ratios.clear();
                    ratios.extend((first..first + self.draws).map(|k| batch.parts[k * noisy + i]));
                    if !self.weights(ratios, weights) {
                        return f64::INFINITY;
                    }
                    for (k, w) in (first..).zip(weights.iter()) {
                        pull.add(k, dim, i, -share * w, &batch.score(k)[i..=i]);
                        pull.logs[i] += share * w;
                    }
                }
            }
            for (k, w) in (first..).zip(weights.iter()) {
                if batch.parts.is_empty() {
                    pull.add(k, dim, 0, -share * w, batch.score(k));
                    pull.add_to_logs(share * w);
                }
                if batch.log_p[k].is_finite() {
                    // A point has no density: the path is the only way.
                    pull.add(k, dim, noisy, -share, &batch.gradient(k)[noisy..]);
                    total += batch.log_ratio(k);
                    finite += 1;
                }
            }
        }
        -total / finite as f64
    }
}
