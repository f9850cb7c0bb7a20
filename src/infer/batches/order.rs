//! The order in which rows come, and the batches that it makes.

use super::{Along, Kin, Plan};
use crate::infer::rng::Stream;

/// The rows of one batch with the weights of their draws, rows first; a smaller one is filled up with its own rows, which count nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    pub rows: Vec<usize>,
    pub weights: Vec<f64>,
    /// Of further plates, the rows that belong to these.
    pub along: Vec<Along>,
}

impl Batch {
    /// These rows by themselves.
    pub fn of(rows: Vec<usize>, weights: Vec<f64>) -> Batch {
        Batch { rows, weights, along: vec![] }
    }

    /// The rows of a plate: 0 for that of the batch, then those that come with it.
    pub fn rows_of(&self, level: usize) -> &[usize] {
        if level == 0 { &self.rows } else { &self.along[level - 1].rows }
    }

    /// The draw of a member that a draw of a row of its belongs to, draws being numbered rows first; `None` for a row that fills the
    /// batch up. A draw of a member is its own.
    pub fn owner(&self, level: usize, draw: usize) -> Option<usize> {
        let Some(along) = level.checked_sub(1).map(|l| &self.along[l]) else { return Some(draw) };
        let (row, of_row) = (draw % along.rows.len(), draw / along.rows.len());
        Some(along.owner(row)? + of_row * self.rows.len())
    }

    /// The weight of a draw of a row: that of its member.
    pub fn weight(&self, level: usize, draw: usize) -> f64 {
        self.owner(level, draw).map_or(0.0, |d| self.weights[d])
    }

    /// Batch `k` of an epoch that goes through the rows in this order.
    pub fn set(&mut self, plan: &Plan, order: &[usize], k: usize) {
        let own = &order[k * plan.batch..((k + 1) * plan.batch).min(order.len())];
        self.fill(&plan.kin, own, (plan.batch, plan.draws()), plan.batches() as f64 / plan.draws() as f64);
    }

    /// These rows, of so many that there is room for, with so many draws each, all of this weight.
    pub fn fill(&mut self, kin: &Kin, own: &[usize], (rows, draws): (usize, usize), weight: f64) {
        self.rows.clear();
        self.weights.clear();
        self.rows.extend(own.iter().cycle().take(rows));
        self.weights.extend((0..rows * draws).map(|i| if i % rows < own.len() { weight } else { 0.0 }));
        kin.gather(own, &mut self.along);
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
