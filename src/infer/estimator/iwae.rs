//! The importance-weighted lower bound, E log (1/K Σ w_k) with w = p/q. Burda, Grosse and Salakhutdinov, "Importance
//! weighted autoencoders" (2016).

use super::{Batch, Estimator, Pull, Scratch, normalised};

/// How its gradient is estimated; both are unbiased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IwaeGradient {
    /// Σ w̃_k ∇ log w_k, all of it. Its signal-to-noise ratio falls as K grows. Rainforth et al., "Tighter variational
    /// bounds are not necessarily better" (2018).
    Plain,
    /// Σ w̃_k² (d log w_k / dθ_k) (dθ_k / dφ): along the paths alone. Tucker, Lawson, Gu and Maddison, "Doubly
    /// reparameterized gradient estimators for Monte Carlo objectives" (2019).
    Doubly,
}

pub struct Iwae {
    /// K.
    pub draws: usize,
    pub gradient: IwaeGradient,
}

impl Estimator for Iwae {
    fn draws(&self) -> usize {
        self.draws
    }

    fn uses_gradients(&self) -> bool {
        true
    }

    fn weigh(&self, batch: &Batch, scratch: &mut Scratch, pull: &mut Pull) -> f64 {
        let share = self.draws as f64 / batch.rows() as f64;
        let (dim, noisy) = (batch.dim, batch.noisy);
        let Scratch { ratios, weights } = scratch;
        let mut bound = 0.0;
        for first in (0..batch.rows()).step_by(self.draws) {
            ratios.clear();
            ratios.extend((first..first + self.draws).map(|k| batch.log_ratio(k)));
            let Some(log_mean) = normalised(ratios, weights) else { return f64::INFINITY };
            bound += share * log_mean;
            for (k, w) in (first..).zip(weights.iter()) {
                let gradient = batch.gradient(k);
                // A point is no draw: its gradient is that of log w with the draws held fixed.
                pull.add(k, dim, noisy, -share * w, &gradient[noisy..]);
                match self.gradient {
                    // The score in d log w / dθ cancels that of q at the fixed draw, up to the log scales.
                    IwaeGradient::Plain => {
                        pull.add(k, dim, 0, -share * w, &gradient[..noisy]);
                        pull.add_to_logs(-share * w);
                    }
                    IwaeGradient::Doubly => {
                        pull.add(k, dim, 0, -share * w * w, &gradient[..noisy]);
                        pull.add(k, dim, 0, -share * w * w, batch.score(k));
                    }
                }
            }
        }
        -bound
    }
}
