//! One normal as a fitted guide: θ = m + T z.

use std::f64::consts::TAU;

use super::approximation::{Approximation, mean_and_error};
use super::draws;
use super::frame::Basis;

/// A normal in the order in which draws are made (by name), which does not depend on the order of declarations.
#[derive(Clone, Debug)]
pub struct Gaussian {
    /// `order[i]` is the target's index of coordinate `i`.
    order: Vec<usize>,
    /// Names of the coordinates with noise, which come first.
    names: Vec<String>,
    /// In our order.
    centre: Vec<f64>,
    /// T, over the coordinates with noise.
    scale: Basis,
    /// In the target's order.
    mean: Vec<f64>,
    sds: Vec<f64>,
}

impl Gaussian {
    /// `centre` (all coordinates) and `scale` (those with noise, whose `names` are given) in our order.
    pub fn new(order: Vec<usize>, names: Vec<String>, centre: Vec<f64>, scale: Basis) -> Gaussian {
        let (mut mean, mut sds) = (vec![0.0; order.len()], vec![0.0; order.len()]);
        order.iter().zip(&centre).for_each(|(&i, m)| mean[i] = *m);
        order.iter().zip(scale.row_norms(names.len())).for_each(|(&i, sd)| sds[i] = sd);
        Gaussian { order, names, centre, scale, mean, sds }
    }

    /// T, and the target's indices of its rows.
    pub fn scale(&self) -> (&Basis, &[usize]) {
        (&self.scale, &self.order[..self.names.len()])
    }

    /// Names of the coordinates with noise, in our order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Rows of theta at rows of z, of at least one coordinate.
    pub fn placed(&self, z: &[f64]) -> Vec<f64> {
        let (dim, noisy) = (self.centre.len(), self.names.len());
        let mut out = vec![0.0; z.len() / noisy * dim];
        let mut offset = vec![0.0; dim];
        for (z, row) in z.chunks(noisy).zip(out.chunks_mut(dim)) {
            self.scale.times(z, &mut offset[..noisy]);
            for (i, &at) in self.order.iter().enumerate() {
                row[at] = self.centre[i] + offset[i];
            }
        }
        out
    }

    /// Rows of z at rows of theta.
    pub fn standardised(&self, theta: &[f64]) -> Vec<f64> {
        let (dim, noisy) = (self.centre.len(), self.names.len());
        let mut out = vec![0.0; theta.len() / dim * noisy];
        for (z, row) in out.chunks_mut(noisy).zip(theta.chunks(dim)) {
            for ((z, &at), m) in z.iter_mut().zip(&self.order).zip(&self.centre) {
                *z = row[at] - m;
            }
            self.scale.solve(z);
        }
        out
    }

    /// log |T| + n/2 log 2π: the log density at the mean, negative.
    pub fn log_volume(&self) -> f64 {
        let n = self.names.len();
        self.scale.log_det(n) + 0.5 * n as f64 * TAU.ln()
    }
}

impl Approximation for Gaussian {
    fn mean(&self) -> &[f64] {
        &self.mean
    }

    fn sds(&self) -> &[f64] {
        &self.sds
    }

    fn sample(&self, purpose: &str, n: usize, seed: u64) -> Vec<f64> {
        if self.names.is_empty() {
            return self.mean.repeat(n);
        }
        self.placed(&draws::plain(seed, purpose, &self.names, 0, n))
    }

    fn log_density(&self, theta: &[f64]) -> Vec<f64> {
        if self.names.is_empty() {
            return vec![0.0; theta.len() / self.order.len().max(1)];
        }
        let volume = self.log_volume();
        let of = |z: &[f64]| -0.5 * z.iter().map(|z| z * z).sum::<f64>() - volume;
        self.standardised(theta).chunks(self.names.len()).map(of).collect()
    }

    /// Over antithetic pairs, whose means vary less.
    fn bound(&self, log_joints: &mut dyn FnMut(usize, &[f64]) -> Vec<f64>, draws: usize, seed: u64) -> (f64, f64) {
        let (dim, n) = (self.centre.len(), self.names.len());
        let half = (draws / 2).max(2);
        let z = draws::plain(seed, "elbo", &self.names, 0, half);
        let mut thetas = vec![0.0; 2 * half * dim];
        let mut offset = vec![0.0; dim];
        for k in 0..half {
            self.scale.times(&z[k * n..(k + 1) * n], &mut offset[..n]);
            for (i, &at) in self.order.iter().enumerate() {
                thetas[k * dim + at] = self.centre[i] + offset[i];
                thetas[(half + k) * dim + at] = self.centre[i] - offset[i];
            }
        }
        let values = log_joints(2 * half, &thetas);
        let squares = |k: usize| z[k * n..(k + 1) * n].iter().map(|z| z * z).sum::<f64>();
        let pairs: Vec<f64> = (0..half).map(|k| 0.5 * (values[k] + values[half + k]) + 0.5 * squares(k)).collect();
        let (mean, error) = mean_and_error(&pairs);
        (mean + self.log_volume(), error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// θ = (1, 2) + T z with a `param` at 7 between them in the target's order.
    fn correlated() -> Gaussian {
        let names = vec!["a".to_string(), "b".to_string()];
        Gaussian::new(vec![2, 0, 1], names, vec![1.0, 2.0, 7.0], Basis::Lower(vec![2.0, 0.0, 0.6, 0.8]))
    }

    #[test]
    fn moments_and_draws_are_in_the_targets_order() {
        let g = correlated();
        assert_eq!((g.mean(), g.sds()), (&[2.0, 7.0, 1.0][..], &[1.0, 0.0, 2.0][..]));
        let theta = g.sample("test", 20_000, 1);
        let mean = |i: usize| theta.iter().skip(i).step_by(3).sum::<f64>() / 20_000.0;
        // Four standard errors are 0.028 sds.
        assert!((mean(0) - 2.0).abs() < 0.03 && (mean(2) - 1.0).abs() < 0.06);
        assert!(theta.iter().skip(1).step_by(3).all(|x| *x == 7.0));
    }

    #[test]
    fn densities_are_those_of_the_normal() {
        // Covariance [[4, 1.2], [1.2, 1]] of (a, b), determinant 2.56.
        let [log_p] = correlated().log_density(&[2.5, 7.0, 0.0])[..] else { panic!("one row, one density") };
        let (a, b) = (-1.0, 0.5);
        let squares = (1.0 * a * a - 2.0 * 1.2 * a * b + 4.0 * b * b) / 2.56;
        assert!((log_p - (-0.5 * squares - 0.5 * 2.56f64.ln() - TAU.ln())).abs() < 1e-14);
    }

    #[test]
    fn the_bound_of_the_guide_itself_is_exact() {
        let g = correlated();
        let (elbo, se) = g.bound(&mut |_, theta| g.log_density(theta).iter().map(|q| q + 3.0).collect(), 64, 1);
        assert!((elbo - 3.0).abs() < 1e-12 && se < 1e-12);
    }
}
