//! Sticking the landing: the lower bound's gradient along the paths of the draws alone. The score of the guide at fixed
//! draws has expectation 0 and is left out, so that the variance vanishes where the guide is the posterior. Roeder, Wu and
//! Duvenaud, "Sticking the landing" (2017).

use super::{Batch, Estimator, Pull, Scratch};

pub struct StickingTheLanding {
    pub draws: usize,
}

impl Estimator for StickingTheLanding {
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
            // d (log p − log q) / dθ = g + s.
            pull.add(k, batch.dim, 0, -share, batch.gradient(k));
            pull.add(k, batch.dim, 0, -share, batch.score(k));
        }
        -mean
    }
}
