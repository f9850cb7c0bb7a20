//! The inclusive divergence KL(p ‖ q), whose gradient is −E_p ∇ log q, by self-normalised importance weights of draws from
//! the guide. Its optimum has the posterior's mean and covariance. Bornschein and Bengio, "Reweighted wake-sleep" (2015);
//! Gu, Ghahramani and Turner, "Neural adaptive sequential Monte Carlo" (2015).

use super::{Batch, Estimator, Pull, Scratch, normalised};

/// The bias of the normalised weights falls as 1/K, so a replicate wants many draws.
pub struct ForwardKl {
    pub draws: usize,
}

impl Estimator for ForwardKl {
    fn draws(&self) -> usize {
        self.draws
    }

    fn uses_gradients(&self) -> bool {
        false
    }

    fn weigh(&self, batch: &Batch, scratch: &mut Scratch, pull: &mut Pull) -> f64 {
        let share = self.draws as f64 / batch.rows() as f64;
        let (dim, noisy) = (batch.dim, batch.noisy);
        let Scratch { ratios, weights } = scratch;
        let mut divergence = 0.0;
        for first in (0..batch.rows()).step_by(self.draws) {
            ratios.clear();
            ratios.extend((first..first + self.draws).map(|k| batch.log_ratio(k)));
            let Some(log_mean) = normalised(ratios, weights) else { return f64::INFINITY };
            let even = 1.0 / weights.len() as f64;
            for (k, w) in (first..).zip(weights.iter()) {
                if *w > 0.0 {
                    divergence += share * w * (ratios[k - first] - log_mean);
                    // The evidence's gradient by a point: E_p of that of log p.
                    pull.add(k, dim, noisy, -share * w, &batch.gradient(k)[noisy..]);
                }
                // E_q ∇ log q = 0: taking an even share of the scores off leaves no variance where q is p. What is left
                // of the log scales is Σ (w − 1/K) = 0.
                pull.add(k, dim, 0, -share * (w - even), batch.score(k));
            }
        }
        divergence
    }
}
