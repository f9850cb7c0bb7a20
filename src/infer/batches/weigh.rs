//! Several draws per row, or per member with all its rows, weighed against each other.

use super::{Batch, Coordinates, Rows};

/// What the guide of a row is fitted to. The model's params follow Σ w̃ ∇ log p either way, with w̃ = w / Σ w of w = p/q.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Weighing {
    /// The importance-weighted bound, E log (1/K Σ w), by its doubly reparameterised gradient. Burda, Grosse and Salakhutdinov
    /// (2016); Tucker, Lawson, Gu and Maddison (2019).
    Doubly,
    /// The inclusive divergence KL(p ‖ q), by weighted draws: the wake phase of Bornschein and Bengio (2015).
    Inclusive,
}

/// Weights below this share are taken for it: what is divided by them stays finite.
const LEAST: f64 = 1e-100;

/// From log w of each row and draw, rows first, what each adds by, and the factor of its slopes; the sum over rows of their
/// factors times log (1/K Σ w). Not a number where no draw of a row counts.
///
/// `rows`: the factor of each row.
pub fn weigh(how: Weighing, log_w: &[f64], rows: &[f64], weights: &mut [f64], slopes: &mut [f64]) -> f64 {
    let draws = log_w.len() / rows.len().max(1);
    let even = 1.0 / draws as f64;
    let mut bound = 0.0;
    for (r, &factor) in rows.iter().enumerate() {
        let own = || (0..draws).map(|d| r + d * rows.len());
        let finite = |at: usize| if log_w[at].is_nan() { f64::NEG_INFINITY } else { log_w[at] };
        let top = own().map(finite).fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = own().map(|at| (finite(at) - top).exp()).sum();
        if !top.is_finite() {
            return f64::NAN;
        }
        for at in own() {
            let share = (finite(at) - top).exp() / total;
            (weights[at], slopes[at]) = match how {
                Weighing::Doubly => (factor * share, share),
                Weighing::Inclusive => {
                    let share = share.max(LEAST);
                    // E_q ∇ log q = 0: an even share taken off leaves no variance where q is p.
                    (factor * share, even / share - 1.0)
                }
            };
        }
        bound += factor * (top + (total * even).ln());
    }
    bound
}

/// The draws of a batch, with buffers that are used again.
#[derive(Default)]
pub struct Draws {
    joints: Vec<f64>,
    log_w: Vec<f64>,
    rows: Vec<f64>,
    weights: Vec<f64>,
    slopes: Vec<f64>,
}

impl Draws {
    pub fn new(rows: usize, draws: usize) -> Draws {
        let zeros = || vec![0.0; rows * draws];
        Draws { joints: zeros(), log_w: zeros(), rows: vec![0.0; rows], weights: zeros(), slopes: zeros() }
    }

    /// Weigh the draws of the batch that the target has taken, from noise `z` at its theta; the sum of their rows' bounds.
    pub fn weigh(
        &mut self,
        how: Weighing,
        target: &mut dyn Rows,
        coordinates: &Coordinates,
        (psi, batch, z): (&[f64], &Batch, &[f64]),
    ) -> f64 {
        target.log_joints(batch, &mut self.joints);
        self.log_w.clone_from(&self.joints);
        coordinates.row_surprise(psi, batch, z, &mut self.log_w);
        let n = self.rows.len();
        let total = |r: usize| batch.weights.iter().skip(r).step_by(n).sum();
        self.rows.iter_mut().enumerate().for_each(|(r, w)| *w = total(r));
        weigh(how, &self.log_w, &self.rows, &mut self.weights, &mut self.slopes)
    }

    /// Let the target, which has this batch, count each draw by its weight.
    pub fn tell(&self, target: &mut dyn Rows, batch: &Batch) {
        target.weigh(batch, &self.weights, &self.slopes);
    }

    /// What the draws add to the log joint by the factors of the batch.
    pub fn evenly(&self, batch: &Batch) -> f64 {
        self.counting(&batch.weights)
    }

    /// What the draws add to the log joint by their weights.
    pub fn counted(&self) -> f64 {
        self.counting(&self.weights)
    }

    fn counting(&self, weights: &[f64]) -> f64 {
        // A draw that counts nothing may be anything.
        let of = |(w, l): (&f64, &f64)| if *w > 0.0 { w * l } else { 0.0 };
        weights.iter().zip(&self.joints).map(of).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_those_of_each_row() {
        // Two rows by two draws, the rows first; the second row fills up the batch.
        let log_w = [1f64.ln(), 5f64.ln(), 3f64.ln(), 5f64.ln()];
        let (mut weights, mut slopes) = ([0.0; 4], [0.0; 4]);
        let bound = weigh(Weighing::Doubly, &log_w, &[10.0, 0.0], &mut weights, &mut slopes);
        let near =
            |a: [f64; 4], b: [f64; 4]| a.iter().zip(b).for_each(|(a, b)| assert!((a - b).abs() < 1e-14, "{a} and {b}"));
        assert!((bound - 10.0 * 2f64.ln()).abs() < 1e-14);
        near(weights, [2.5, 0.0, 7.5, 0.0]);
        near(slopes, [0.25, 0.5, 0.75, 0.5]);
        weigh(Weighing::Inclusive, &log_w, &[10.0, 0.0], &mut weights, &mut slopes);
        near(slopes, [1.0, 0.0, 0.5 / 0.75 - 1.0, 0.0]);
        let none = [f64::NEG_INFINITY, 0.0, f64::NAN, 0.0];
        assert!(weigh(Weighing::Doubly, &none, &[1.0, 1.0], &mut weights, &mut slopes).is_nan());
    }
}
