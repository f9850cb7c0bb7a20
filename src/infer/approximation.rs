//! The fitted guide, whatever its family: a distribution over the unconstrained coordinates.

use std::fmt;

/// A distribution from which draws are made and whose density is known, in the target's order of coordinates. What comes
/// after a fit (the lower bound, importance weights, chains, the verdict) sees no more of a guide than this.
///
/// A `param` has no noise: its coordinate is the same in every draw, and densities leave it out.
pub trait Approximation: fmt::Debug + Send + Sync {
    /// Mean of each coordinate.
    fn mean(&self) -> &[f64];
    /// Standard deviation of each coordinate; 0 for points.
    fn sds(&self) -> &[f64];
    /// `n` independent draws, row-major, `n × dim`. Numbers come from streams keyed by the seed, the purpose and the
    /// coordinates' names, so that neither threads nor the order of declarations change them.
    fn sample(&self, purpose: &str, n: usize, seed: u64) -> Vec<f64>;
    /// Log density (normalised) at each row of `theta`, over the coordinates that are not points.
    fn log_density(&self, theta: &[f64]) -> Vec<f64>;

    /// The lower bound and its standard error over about `draws` fresh draws, from a function that gives the log joint of
    /// so many rows. The mean of log p − log q, not of log p alone: its variance vanishes as the guide approaches the
    /// posterior. Draws where that is not finite are left out (they are counted by the function).
    fn bound(&self, log_joints: &mut dyn FnMut(usize, &[f64]) -> Vec<f64>, draws: usize, seed: u64) -> (f64, f64) {
        let theta = self.sample("elbo", draws, seed);
        let ratios: Vec<f64> =
            log_joints(draws, &theta).iter().zip(self.log_density(&theta)).map(|(p, q)| p - q).collect();
        mean_and_error(&ratios)
    }
}

/// Mean and standard error of the finite ones.
pub fn mean_and_error(values: &[f64]) -> (f64, f64) {
    let finite: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    if finite.is_empty() {
        return (f64::NEG_INFINITY, f64::INFINITY);
    }
    let count = finite.len() as f64;
    let mean = finite.iter().sum::<f64>() / count;
    let variance = finite.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / (count - 1.0).max(1.0);
    (mean, (variance / count).sqrt())
}
