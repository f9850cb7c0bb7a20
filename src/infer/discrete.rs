//! Probabilities of what was summed out, as derivatives.
//!
//! Add an input e to the log joint for each value of each discrete latent, in the factor of that value. Then
//! d log Σ exp(…) / d e at e = 0 is the value's probability given the other latents: the reverse sweep through the sums
//! is the backward pass of a chain, and the downward pass of a tree. With the largest in place of the sums the
//! derivative is 1 along the most probable configuration.

use super::Target;

/// The derivatives along the probes, which are the coordinates of theta after the first `dim`, averaged over `draws` of
/// those (one after the other). Draws at which the log joint is not finite count for nothing.
pub fn probed(target: &dyn Target, draws: &[f64], dim: usize) -> Vec<f64> {
    let all = target.dim();
    let mut evaluator = target.evaluator();
    let (mut theta, mut grad) = (vec![0.0; all], vec![0.0; all]);
    let mut sums = vec![0.0; all - dim];
    let mut count = 0.0;
    for draw in draws.chunks_exact(dim.max(1)) {
        theta[..dim].copy_from_slice(&draw[..dim]);
        let value = evaluator.value_grad(&theta, &mut grad);
        if value.is_finite() && grad[dim..].iter().all(|g| g.is_finite()) {
            sums.iter_mut().zip(&grad[dim..]).for_each(|(s, g)| *s += g);
            count += 1.0;
        }
    }
    sums.iter_mut().for_each(|s| *s /= count);
    sums
}
