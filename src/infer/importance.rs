//! Draws for the report: from the guide, moved to the posterior by importance resampling where the guide is near enough.

use super::psis::{self, Smoothed};
use super::{Fit, Scale, Stream, Target, draws as noise, linalg};

/// Draws of theta, and how they came about.
#[derive(Clone, Debug)]
pub struct Draws {
    /// Row-major, one row per draw.
    pub theta: Vec<f64>,
    /// Shape of the importance weights' tail; not a number if they were not computed.
    pub k_hat: f64,
    pub origin: Origin,
    pub proposals: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The guide's own, no weights computed.
    Unweighed,
    /// The guide's own: its weights cannot be relied on.
    Guide,
    /// The guide's, resampled by their weights.
    Resampled,
    /// From a normal with the guide's means and the linear-response covariance, resampled by their weights.
    Corrected,
}

/// The usual limit of k̂ for weights that can be relied on (Vehtari et al. 2024, section 3.2.4).
pub const USABLE: f64 = 0.7;

/// Fewer effective proposals than this cannot stand for a posterior.
const ENOUGH: f64 = 400.0;

/// Above this many coordinates a dense covariance costs more than it is worth.
const DENSE: usize = 500;

/// `keep` draws: `proposals` from the guide, weighted by posterior over guide, resampled if the weights allow it. Where a
/// mean-field guide is too narrow for that, its linear-response covariance is tried in its place.
pub fn draws(target: &dyn Target, fit: &Fit, keep: usize, proposals: usize, seed: u64, threads: usize) -> Draws {
    let dim = fit.mean.len();
    let own = |k_hat, origin| Draws { theta: fit.sample(keep, seed), k_hat, origin, proposals };
    // A `param` is a point: there is nothing to weigh it by. Without latents there is nothing to draw.
    if proposals == 0 || dim == 0 || fit.points.iter().any(|p| *p) {
        return own(f64::NAN, Origin::Unweighed);
    }
    let pick = |theta: &[f64], smoothed: &Smoothed| -> Vec<f64> {
        let u = Stream::new(seed, "importance resampling", "").uniform();
        let picked = smoothed.resample(keep, u);
        picked.iter().flat_map(|&i| &theta[i * dim..(i + 1) * dim]).copied().collect()
    };
    let usable = |s: &Smoothed| s.k_hat < USABLE && s.effective() >= ENOUGH;
    let theta = fit.sample(proposals, seed);
    let smoothed = psis::smooth(&log_ratios(target, &theta, threads, &|row, z| log_guide(fit, row, z)));
    if usable(&smoothed) {
        return Draws { theta: pick(&theta, &smoothed), k_hat: smoothed.k_hat, origin: Origin::Resampled, proposals };
    }
    if let (Scale::MeanField(log_sds), true) = (&fit.scale, dim <= DENSE)
        && let Some(wide) = linear_response(target, fit, log_sds, seed)
    {
        let theta = wide.sample(&fit.mean, &fit.names, proposals, seed);
        let ratios = log_ratios(target, &theta, threads, &|row, z| wide.log_density(&fit.mean, row, z));
        let corrected = psis::smooth(&ratios);
        if usable(&corrected) {
            return Draws {
                theta: pick(&theta, &corrected),
                k_hat: corrected.k_hat,
                origin: Origin::Corrected,
                proposals,
            };
        }
    }
    own(smoothed.k_hat, Origin::Guide)
}

/// A normal with precision `D⁻¹ A D⁻¹`, `A = U Uᵀ`, `D` the guide's sds.
struct Wide {
    sds: Vec<f64>,
    /// Lower Cholesky factor of `A`, row-major.
    factor: Vec<f64>,
}

impl Wide {
    /// theta = mean + D U⁻ᵀ e
    fn sample(&self, mean: &[f64], names: &[String], n: usize, seed: u64) -> Vec<f64> {
        let dim = mean.len();
        let mut out = noise::plain(seed, "linear-response draws", names, 0, n);
        for row in out.chunks_mut(dim) {
            for i in (0..dim).rev() {
                let known: f64 = (i + 1..dim).map(|j| self.factor[j * dim + i] * row[j]).sum();
                row[i] = (row[i] - known) / self.factor[i * dim + i];
            }
            for i in 0..dim {
                row[i] = mean[i] + self.sds[i] * row[i];
            }
        }
        out
    }

    fn log_density(&self, mean: &[f64], theta: &[f64], z: &mut [f64]) -> f64 {
        let dim = theta.len();
        for i in 0..dim {
            z[i] = (theta[i] - mean[i]) / self.sds[i];
        }
        let e = |j: usize| (j..dim).map(|i| self.factor[i * dim + j] * z[i]).sum::<f64>();
        -0.5 * (0..dim).map(|j| e(j) * e(j)).sum::<f64>()
    }
}

/// The linear-response covariance of a mean-field optimum: the inverse of the posterior's average curvature under the
/// guide (Giordano, Broderick, Jordan 2018, for a normal posterior). The curvature is the regression of gradients on
/// draws, which is exact for a quadratic log joint. `None` where it is not positive definite.
fn linear_response(target: &dyn Target, fit: &Fit, log_sds: &[f64], seed: u64) -> Option<Wide> {
    let dim = fit.mean.len();
    let n = (20 * dim).max(400);
    let sds: Vec<f64> = log_sds.iter().map(|l| l.exp()).collect();
    let z = noise::plain(seed, "linear-response curvature", &fit.names, 0, n);
    let mut evaluator = target.evaluator();
    let (mut theta, mut gradient) = (vec![0.0; dim], vec![0.0; dim]);
    let (mut zz, mut zg) = (vec![0.0; dim * dim], vec![0.0; dim * dim]);
    for z in z.chunks(dim) {
        for i in 0..dim {
            theta[i] = fit.mean[i] + sds[i] * z[i];
        }
        let value = evaluator.value_grad(&theta, &mut gradient);
        if !value.is_finite() || gradient.iter().any(|g| !g.is_finite()) {
            return None;
        }
        for i in 0..dim {
            let scaled: Vec<f64> = (0..dim).map(|j| sds[j] * gradient[j]).collect();
            linalg::axpy(z[i], z, &mut zz[i * dim..(i + 1) * dim]);
            linalg::axpy(-z[i], &scaled, &mut zg[i * dim..(i + 1) * dim]);
        }
    }
    // B = (ZᵀZ)⁻¹ ZᵀG by two triangular solves, column by column; A is its symmetric part.
    if !linalg::cholesky(&mut zz, dim) {
        return None;
    }
    let mut b = vec![0.0; dim * dim];
    let mut column = vec![0.0; dim];
    for j in 0..dim {
        for i in 0..dim {
            column[i] = zg[i * dim + j];
        }
        linalg::solve_lower(&zz, dim, &mut column);
        for i in (0..dim).rev() {
            let known: f64 = (i + 1..dim).map(|k| zz[k * dim + i] * column[k]).sum();
            column[i] = (column[i] - known) / zz[i * dim + i];
        }
        for i in 0..dim {
            b[i * dim + j] = column[i];
        }
    }
    let mut a = vec![0.0; dim * dim];
    for i in 0..dim {
        for j in 0..dim {
            a[i * dim + j] = 0.5 * (b[i * dim + j] + b[j * dim + i]);
        }
    }
    linalg::cholesky(&mut a, dim).then_some(Wide { sds, factor: a })
}

/// log posterior - log proposal at each row of `theta`, up to a constant.
fn log_ratios(
    target: &dyn Target,
    theta: &[f64],
    threads: usize,
    log_q: &(dyn Fn(&[f64], &mut [f64]) -> f64 + Sync),
) -> Vec<f64> {
    let dim = target.dim();
    let rows = theta.len() / dim;
    let mut out = vec![0.0; rows];
    let chunk = rows.div_ceil(threads.max(1)).max(1);
    std::thread::scope(|scope| {
        for (out, theta) in out.chunks_mut(chunk).zip(theta.chunks(chunk * dim)) {
            let mut evaluator = target.evaluator();
            scope.spawn(move || {
                let mut z = vec![0.0; dim];
                for (r, row) in out.iter_mut().zip(theta.chunks(dim)) {
                    *r = evaluator.value(row) - log_q(row, &mut z);
                }
            });
        }
    });
    out
}

/// log density of the guide up to a constant: -½ |z|², z = L⁻¹ (theta - mean).
fn log_guide(fit: &Fit, theta: &[f64], z: &mut [f64]) -> f64 {
    let dim = theta.len();
    match &fit.scale {
        Scale::MeanField(log_sds) => {
            for i in 0..dim {
                z[i] = (theta[i] - fit.mean[i]) * (-log_sds[i]).exp();
            }
        }
        Scale::FullRank(l) => {
            for i in 0..dim {
                let known: f64 = (0..i).map(|j| l[i * dim + j] * z[j]).sum();
                z[i] = (theta[i] - fit.mean[i] - known) / l[i * dim + i];
            }
        }
    }
    -0.5 * z.iter().map(|z| z * z).sum::<f64>()
}
