//! Coordinates for Hamiltonian chains: a normal near the posterior, whose covariance makes every direction alike.

use super::{Fit, Scale, Target, draws as noise, linalg};

/// Above this many coordinates a dense metric costs more than it is worth.
const DENSE: usize = 500;

/// theta = mean + D R e with standard e; D holds standard deviations, R Rᵀ is the correlation. Where D is 0 (a `param`)
/// theta stays at the mean.
pub struct Metric {
    mean: Vec<f64>,
    sds: Vec<f64>,
    /// R, lower triangular, row-major; `None` is the identity.
    root: Option<Vec<f64>>,
}

impl Metric {
    /// The linear-response covariance of the guide's optimum: the inverse of the posterior's average curvature under it
    /// (Giordano, Broderick, Jordan 2018, for a normal posterior). The curvature is the regression of gradients on draws,
    /// which is exact for a quadratic log joint. `None` where it is not positive definite, or the dimension is too large.
    pub fn linear_response(target: &dyn Target, fit: &Fit, seed: u64) -> Option<Metric> {
        let dim = fit.mean.len();
        let sds = fit.sds().to_vec();
        let free: Vec<usize> = (0..dim).filter(|&i| sds[i] > 0.0).collect();
        let d = free.len();
        if d > DENSE {
            return None;
        }
        let n = curvature_draws(dim);
        let draws = match &fit.scale {
            Scale::MeanField(_) => {
                let z = noise::plain(seed, "curvature", &fit.names, 0, n);
                let row = |z: &[f64]| (0..dim).map(|i| fit.mean[i] + sds[i] * z[i]).collect::<Vec<_>>();
                z.chunks(dim).flat_map(row).collect()
            }
            Scale::FullRank(_) | Scale::Implicit => fit.sample(n, seed ^ 0x5bd1_e995),
        };
        let mut evaluator = target.evaluator();
        let mut gradient = vec![0.0; dim];
        let (mut zz, mut zg) = (vec![0.0; d * d], vec![0.0; d * d]);
        let (mut z, mut scaled) = (vec![0.0; d], vec![0.0; d]);
        for theta in draws.chunks(dim) {
            let value = evaluator.value_grad(theta, &mut gradient);
            if !value.is_finite() || gradient.iter().any(|g| !g.is_finite()) {
                return None;
            }
            for (k, &i) in free.iter().enumerate() {
                z[k] = (theta[i] - fit.mean[i]) / sds[i];
                scaled[k] = sds[i] * gradient[i];
            }
            for k in 0..d {
                linalg::axpy(z[k], &z, &mut zz[k * d..(k + 1) * d]);
                linalg::axpy(-z[k], &scaled, &mut zg[k * d..(k + 1) * d]);
            }
        }
        // B = (ZᵀZ)⁻¹ ZᵀG, column by column; the curvature A is its symmetric part.
        if !linalg::cholesky(&mut zz, d) {
            return None;
        }
        let mut b = vec![0.0; d * d];
        for j in 0..d {
            let mut column: Vec<f64> = (0..d).map(|i| zg[i * d + j]).collect();
            linalg::solve_lower(&zz, d, &mut column);
            linalg::solve_lower_transposed(&zz, d, &mut column);
            for (i, c) in column.into_iter().enumerate() {
                b[i * d + j] = c;
            }
        }
        let a: Vec<f64> = (0..d * d).map(|k| 0.5 * (b[k] + b[(k % d) * d + k / d])).collect();
        let root = linalg::inverse_factor(&a, d)?;
        Some(Metric { mean: fit.mean.clone(), root: Some(embed(&root, &free, dim)), sds })
    }

    /// The mean and covariance of draws (row-major); beyond many coordinates, or where the draws do not span the space,
    /// their standard deviations alone.
    pub fn of_draws(theta: &[f64], dim: usize) -> Metric {
        let n = (theta.len() / dim.max(1)) as f64;
        let mut mean = vec![0.0; dim];
        theta.chunks(dim).for_each(|row| linalg::axpy(1.0 / n, row, &mut mean));
        let mut sds = vec![0.0; dim];
        for row in theta.chunks(dim) {
            for i in 0..dim {
                sds[i] += (row[i] - mean[i]).powi(2);
            }
        }
        for (i, s) in sds.iter_mut().enumerate() {
            // Rounding in the mean must not set a point in motion.
            let moves = theta.iter().skip(i).step_by(dim).any(|x| *x != theta[i]);
            if moves {
                *s = (*s / (n - 1.0).max(1.0)).sqrt();
            } else {
                (*s, mean[i]) = (0.0, theta[i]);
            }
        }
        let free: Vec<usize> = (0..dim).filter(|&i| sds[i] > 0.0).collect();
        let d = free.len();
        if d > DENSE || n < 4.0 * d as f64 {
            return Metric { mean, sds, root: None };
        }
        let mut a = vec![0.0; d * d];
        let mut z = vec![0.0; d];
        for row in theta.chunks(dim) {
            for (k, &i) in free.iter().enumerate() {
                z[k] = (row[i] - mean[i]) / sds[i];
            }
            for k in 0..d {
                linalg::axpy(z[k] / (n - 1.0), &z[..k + 1], &mut a[k * d..k * d + k + 1]);
            }
        }
        let root = linalg::cholesky(&mut a, d).then(|| embed(&a, &free, dim));
        Metric { mean, sds, root }
    }

    pub fn dim(&self) -> usize {
        self.mean.len()
    }

    /// Coordinates that move.
    pub fn free(&self) -> usize {
        self.sds.iter().filter(|s| **s > 0.0).count()
    }

    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    pub fn sds(&self) -> &[f64] {
        &self.sds
    }

    pub fn theta(&self, e: &[f64], theta: &mut [f64]) {
        match &self.root {
            Some(root) => linalg::lower_times(root, e.len(), e, theta),
            None => theta.copy_from_slice(e),
        }
        for ((t, sd), m) in theta.iter_mut().zip(&self.sds).zip(&self.mean) {
            *t = m + sd * *t;
        }
    }

    pub fn whiten(&self, theta: &[f64]) -> Vec<f64> {
        let standard = |((t, m), sd): ((&f64, &f64), &f64)| if *sd > 0.0 { (t - m) / sd } else { 0.0 };
        let mut z: Vec<f64> = theta.iter().zip(&self.mean).zip(&self.sds).map(standard).collect();
        if let Some(root) = &self.root {
            linalg::solve_lower(root, z.len(), &mut z);
        }
        z
    }

    /// d/de from d/dtheta: Rᵀ D g. `scaled` is scratch.
    pub fn pull_back(&self, g: &[f64], scaled: &mut [f64], out: &mut [f64]) {
        for ((s, g), sd) in scaled.iter_mut().zip(g).zip(&self.sds) {
            // What does not move may have any gradient.
            *s = if *sd > 0.0 { g * sd } else { 0.0 };
        }
        match &self.root {
            Some(root) => {
                out.fill(0.0);
                linalg::lower_transposed_times(root, scaled.len(), scaled, out);
            }
            None => out.copy_from_slice(scaled),
        }
    }
}

/// Evaluations of the gradient that [`Metric::linear_response`] needs.
pub fn curvature_draws(dim: usize) -> usize {
    (20 * dim).max(400)
}

/// A factor over some coordinates as one over all, with ones for the rest.
fn embed(factor: &[f64], free: &[usize], dim: usize) -> Vec<f64> {
    if free.len() == dim {
        return factor.to_vec();
    }
    let mut out = vec![0.0; dim * dim];
    (0..dim).for_each(|i| out[i * dim + i] = 1.0);
    for (a, &i) in free.iter().enumerate() {
        for (b, &j) in free.iter().enumerate().take(a + 1) {
            out[i * dim + j] = factor[a * free.len() + b];
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_become_standard_and_points_stay() {
        // Two correlated coordinates and a point between them.
        let mut stream = crate::infer::Stream::new(1, "metric", "test");
        let theta: Vec<f64> = (0..2000)
            .flat_map(|_| {
                let (a, b) = (stream.normal(), stream.normal());
                [3.0 + 2.0 * a, 7.0, -1.0 + 0.1 * (0.8 * a + 0.6 * b)]
            })
            .collect();
        let metric = Metric::of_draws(&theta, 3);
        assert_eq!(metric.free(), 2);
        let e: Vec<Vec<f64>> = theta.chunks(3).map(|t| metric.whiten(t)).collect();
        let moment = |i: usize, j: usize| e.iter().map(|e| e[i] * e[j]).sum::<f64>() / 1999.0;
        // The sample's own moments: exact up to rounding.
        assert!((moment(0, 0) - 1.0).abs() < 1e-9 && (moment(2, 2) - 1.0).abs() < 1e-9 && moment(0, 2).abs() < 1e-9);
        let mut back = [0.0; 3];
        metric.theta(&e[5], &mut back);
        assert!(back.iter().zip(&theta[15..18]).all(|(a, b)| (a - b).abs() < 1e-12));
        // Directional derivatives agree: g·dtheta = pulled·de.
        let (g, mut scaled, mut pulled) = ([0.3, f64::NAN, -2.0], [0.0; 3], [0.0; 3]);
        metric.pull_back(&g, &mut scaled, &mut pulled);
        let (mut a, mut b) = ([0.0; 3], [0.0; 3]);
        let de = [0.2, 5.0, -0.7];
        metric.theta(&de, &mut a);
        metric.theta(&[0.0; 3], &mut b);
        let direct = 0.3 * (a[0] - b[0]) - 2.0 * (a[2] - b[2]);
        assert!((direct - linalg::dot(&de, &pulled)).abs() < 1e-12);
        assert_eq!(a[1], 7.0);
    }
}
