//! The lower bound with the guide's entropy in closed form: −E log p − Σ ℓ. Kucukelbir et al., "Automatic differentiation
//! variational inference" (2017).

use super::{Batch, Estimator, Pull, Scratch};

/// Draws in mirror pairs: the gradient of a linear log joint is then exact.
pub struct ClosedEntropy {
    pub draws: usize,
}

impl Estimator for ClosedEntropy {
    fn draws(&self) -> usize {
        self.draws
    }

    fn uses_gradients(&self) -> bool {
        true
    }

    fn mirrored(&self) -> bool {
        self.draws.is_multiple_of(2)
    }

    fn weigh(&self, batch: &Batch, _: &mut Scratch, pull: &mut Pull) -> f64 {
        let share = 1.0 / batch.rows() as f64;
        let mut mean = 0.0;
        for k in 0..batch.rows() {
            mean += share * (batch.log_p[k] - batch.log_q[k]);
            pull.add(k, batch.dim, 0, -share, batch.gradient(k));
        }
        pull.add_to_logs(-1.0);
        -mean
    }
}
