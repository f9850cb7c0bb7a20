//! The order in which rows come, and the batches that it makes.

use super::Plan;
use crate::infer::rng::Stream;

/// The rows of one batch with the weights of their draws, rows first; a smaller one is filled up with its own rows, which count nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    pub rows: Vec<usize>,
    pub weights: Vec<f64>,
}

impl Batch {
    /// Batch `k` of an epoch that goes through the rows in this order.
    pub fn set(&mut self, plan: &Plan, order: &[usize], k: usize) {
        let own = &order[k * plan.batch..((k + 1) * plan.batch).min(order.len())];
        let weight = plan.batches() as f64 / plan.draws() as f64;
        self.rows.clear();
        self.weights.clear();
        self.rows.extend(own.iter().cycle().take(plan.batch));
        let all = 0..plan.batch * plan.draws();
        self.weights.extend(all.map(|i| if i % plan.batch < own.len() { weight } else { 0.0 }));
    }
}

/// The order of the rows in an epoch, by Fisher and Yates. It depends on nothing but the rows, the seed and the epoch.
pub fn shuffle(order: &mut [usize], seed: u64, epoch: usize) {
    order.sort_unstable();
    let mut stream = Stream::numbered(seed, "epoch", epoch);
    for i in (1..order.len()).rev() {
        order.swap(i, (stream.uniform() * (i + 1) as f64) as usize);
    }
}
