//! Estimators of the gradient of a divergence between guide and posterior, from random draws of the guide.
//!
//! Every estimator is a pair of weights per draw: how the objective pulls at the draw itself, and at the density's log
//! scales. With θ = m + T z and s = T⁻ᵀ z = −∇_θ log q(θ), both ways to a gradient in the guide's parameters φ have this form:
//!
//! - along the path of the draw, (∂θ/∂φ)ᵀ a for a pull `a` at θ;
//! - by the score of a draw held fixed, ∇_φ log q(θ; φ) = (∂θ/∂φ)ᵀ s − ∇_φ log |T|, and log |T| is the sum of the log
//!   scales up to a constant.
//!
//! All objectives are minimised, and scaled so that a replicate of [`Estimator::draws`] draws counts once.

mod categorical;
mod entropy;
mod forward_kl;
mod gumbel;
mod iwae;
mod recipe;
mod score;
mod sticking;
mod stochastic;
#[cfg(test)]
mod tests;

pub use categorical::Categorical;
pub use entropy::ClosedEntropy;
pub use forward_kl::ForwardKl;
pub use gumbel::GumbelSoftmax;
pub use iwae::{Iwae, IwaeGradient};
pub use recipe::{Recipe, recipe};
pub use score::{Baseline, Score};
pub use sticking::StickingTheLanding;
pub use stochastic::Stochastic;

/// Draws of the guide with all that an estimator may ask of them. One row per draw; replicates follow each other.
pub struct Batch<'a> {
    /// Coordinates of θ, and how many of them, the first, are drawn; the rest are points.
    pub dim: usize,
    pub noisy: usize,
    /// Log joint of each draw, in nats.
    pub log_p: &'a [f64],
    /// Log density of each draw under the guide, in nats.
    pub log_q: &'a [f64],
    /// d log p / dθ, `rows × dim`; zeros where the estimator does not ask for it and there are no points.
    pub gradients: &'a [f64],
    /// s = T⁻ᵀ z, `rows × noisy`.
    pub scores: &'a [f64],
    /// Per coordinate the terms of log p that depend on it, less the log density of this coordinate alone, `rows × noisy`; empty
    /// where coordinates are not independent under the guide, or the log joint is not taken apart.
    pub parts: &'a [f64],
}

/// What an estimator says of a batch.
pub struct Pull<'a> {
    /// Of each draw, `rows × dim`, zeros at first.
    pub theta: &'a mut [f64],
    /// Of the log scales, `noisy`, zeros at first.
    pub logs: &'a mut [f64],
}

/// Buffers of one replicate.
#[derive(Default)]
pub struct Scratch {
    ratios: Vec<f64>,
    weights: Vec<f64>,
}

pub trait Estimator {
    /// Draws of one replicate.
    fn draws(&self) -> usize;
    /// Whether it uses the gradients of the log joint by latents.
    fn uses_gradients(&self) -> bool;
    /// Whether it weighs each coordinate by its own terms, where those are known.
    fn uses_parts(&self) -> bool {
        false
    }
    /// Whether a replicate is made of draws z and their mirror images −z, which must not be where draws are taken for
    /// independent of each other.
    fn mirrored(&self) -> bool {
        false
    }
    /// The objective, averaged over the batch's replicates, and its pull. Not finite: the batch says nothing.
    fn weigh(&self, batch: &Batch, scratch: &mut Scratch, pull: &mut Pull) -> f64;
}

impl Batch<'_> {
    pub fn rows(&self) -> usize {
        self.log_p.len()
    }

    /// log p − log q; minus infinity where the log joint is not finite.
    fn log_ratio(&self, k: usize) -> f64 {
        let ratio = self.log_p[k] - self.log_q[k];
        if ratio.is_finite() { ratio } else { f64::NEG_INFINITY }
    }

    fn gradient(&self, k: usize) -> &[f64] {
        &self.gradients[k * self.dim..(k + 1) * self.dim]
    }

    fn score(&self, k: usize) -> &[f64] {
        &self.scores[k * self.noisy..(k + 1) * self.noisy]
    }
}

impl Pull<'_> {
    /// Add `weight · x` to the pull of draw `k`, whose coordinates from `from` on `x` has.
    fn add(&mut self, k: usize, dim: usize, from: usize, weight: f64, x: &[f64]) {
        // A weight of 0 stands for a draw that does not count, whatever its gradient says.
        if weight != 0.0 {
            let row = &mut self.theta[k * dim + from..][..x.len()];
            row.iter_mut().zip(x).for_each(|(p, x)| *p += weight * x);
        }
    }

    fn add_to_logs(&mut self, by: f64) {
        self.logs.iter_mut().for_each(|l| *l += by);
    }
}

/// Weights exp(`log_ratios`) that sum to 1, and log of their mean before that. `None` if all are 0.
fn normalised(log_ratios: &[f64], weights: &mut Vec<f64>) -> Option<f64> {
    let top = log_ratios.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if !top.is_finite() {
        return None;
    }
    weights.clear();
    weights.extend(log_ratios.iter().map(|r| (r - top).exp()));
    let total: f64 = weights.iter().sum();
    weights.iter_mut().for_each(|w| *w /= total);
    Some(top + (total / log_ratios.len() as f64).ln())
}
