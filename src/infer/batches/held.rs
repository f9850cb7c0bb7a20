//! Rows that are held out, and when their bound says to stop (early stopping; Prechelt 1998).

use serde::{Deserialize, Serialize};

use super::weigh::Draws;
use super::{Batch, Coordinates, Plan, Rows};
use crate::infer::rng::Stream;

/// The rows that are fitted, and those that are held out, `held` of them, both in the order of the table.
pub fn split(total: usize, held: usize, seed: u64) -> (Vec<usize>, Vec<usize>) {
    let mut stream = Stream::new(seed, "holdout", "");
    let (mut fitted, mut out, mut left) = (Vec::with_capacity(total - held), Vec::with_capacity(held), held);
    for row in 0..total {
        // Each set of rows is as likely as any other.
        if stream.uniform() * ((total - row) as f64) < left as f64 {
            out.push(row);
            left -= 1;
        } else {
            fitted.push(row);
        }
    }
    (fitted, out)
}

/// What the rows that are held out have said so far.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Held {
    /// Their bound per row after each epoch.
    pub bounds: Vec<f64>,
    /// The epoch in which it was best, and the params then.
    pub best: usize,
    pub psi: Vec<f64>,
}

impl Held {
    /// After an epoch at ψ.
    pub fn judge(&mut self, bound: f64, psi: &[f64]) {
        let better = self.psi.is_empty() || self.bounds[self.best].is_nan() || bound > self.bounds[self.best];
        self.bounds.push(bound);
        if better {
            self.best = self.bounds.len() - 1;
            psi.clone_into(&mut self.psi);
        }
    }

    /// After an epoch that does not count yet.
    pub fn wait(&mut self, bound: f64) {
        self.best = self.bounds.len();
        self.bounds.push(bound);
    }
}

/// The bound of rows that are held out, per row and without what is added once, over the same draws each time.
pub fn bound(
    target: &mut dyn Rows,
    coordinates: &Coordinates,
    plan: &Plan,
    held: &[usize],
    psi: &[f64],
    (z, batch, draws): (&mut [f64], &mut Batch, &mut Draws),
) -> f64 {
    let mut sum = 0.0;
    for k in 0..held.len().div_ceil(plan.batch) {
        batch.set(plan, held, k);
        coordinates.noise(plan.seed, "held out", k, z);
        coordinates.shared_noise(plan.seed, "held out", 0, z);
        coordinates.place(psi, batch, z, target.theta());
        if let Some((how, _)) = plan.weighing {
            let each = 1.0 / plan.draws() as f64;
            batch.weights.iter_mut().for_each(|w| *w = if *w > 0.0 { each } else { 0.0 });
            target.take(batch);
            sum += draws.weigh(how, target, coordinates, (psi, batch, z));
            continue;
        }
        // What depends on the rows' weights is theirs.
        for counted in [true, false] {
            let weight = f64::from(u8::from(counted));
            batch.weights.iter_mut().for_each(|w| *w = if *w > 0.0 { weight } else { 0.0 });
            target.take(batch);
            let value = target.evaluate() + coordinates.surprise(psi, batch, z, 1.0);
            sum += if counted { value } else { -value };
        }
    }
    sum / held.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_split_evenly_and_again_in_the_same_way() {
        let (fitted, held) = split(1000, 100, 1);
        assert_eq!((fitted.len(), held.len()), (900, 100));
        let mut all = [fitted, held.clone()].concat();
        all.sort_unstable();
        assert!(all.iter().copied().eq(0..1000));
        assert_eq!(split(1000, 100, 1).1, held);
        assert_ne!(split(1000, 100, 2).1, held);
        // Uniform: the mean of 100 of them has a standard error of 27.4.
        let mean = held.iter().sum::<usize>() as f64 / 100.0;
        assert!((mean - 499.5).abs() < 5.0 * 27.4, "{mean}");
    }

    #[test]
    fn the_best_is_kept() {
        let mut held = Held::default();
        held.wait(5.0);
        for (i, bound) in [f64::NAN, -3.0, -2.0, -2.5, -2.4].into_iter().enumerate() {
            held.judge(bound, &[i as f64]);
        }
        assert_eq!((held.best, &held.psi[..], held.bounds.len()), (3, &[2.0][..], 6));
    }
}
