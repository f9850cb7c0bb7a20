//! Draws for the report: from the guide, moved to the posterior by importance resampling where the guide is near enough.

use super::psis::{self, Smoothed};
use super::{Fit, Scale, Stream, Target, hamiltonian};

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
    /// Moved from the guide's by short Hamiltonian chains.
    Moved,
}

/// The usual limit of k̂ for weights that can be relied on (Vehtari et al. 2024, section 3.2.4).
pub const USABLE: f64 = 0.7;

/// How many gradients are worth a proposal when draws are moved.
const GRADIENTS_PER_PROPOSAL: usize = 8;

/// Fewer effective proposals than this cannot stand for a posterior.
const ENOUGH: f64 = 400.0;

/// `keep` draws: `proposals` from the guide, weighted by posterior over guide, resampled if the weights allow it, else
/// moved by short chains if that costs little.
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
    let smoothed = psis::smooth(&log_ratios(target, fit, &theta, threads));
    if usable(&smoothed) {
        return Draws { theta: pick(&theta, &smoothed), k_hat: smoothed.k_hat, origin: Origin::Resampled, proposals };
    }
    let affordable = hamiltonian::cost(dim, keep) <= proposals * GRADIENTS_PER_PROPOSAL;
    match affordable.then(|| hamiltonian::chains(target, fit, keep, seed, threads)).flatten() {
        Some(theta) => Draws { theta, k_hat: smoothed.k_hat, origin: Origin::Moved, proposals },
        None => own(smoothed.k_hat, Origin::Guide),
    }
}

/// log posterior - log proposal at each row of `theta`, up to a constant.
fn log_ratios(target: &dyn Target, fit: &Fit, theta: &[f64], threads: usize) -> Vec<f64> {
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
                    *r = evaluator.value(row) - log_guide(fit, row, &mut z);
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
