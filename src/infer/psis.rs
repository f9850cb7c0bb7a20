//! Pareto-smoothed importance sampling: how far the guide is from the posterior, and a correction where it is near.
//! Vehtari, Simpson, Gelman, Yao, Gabry. "Pareto Smoothed Importance Sampling". JMLR 25 (2024).
//! Generalised Pareto fit: Zhang, Stephens. "A new and efficient estimation method for the generalized Pareto
//! distribution". Technometrics 51 (2009).

/// Importance weights with their tail smoothed.
#[derive(Clone, Debug)]
pub struct Smoothed {
    /// Sum to 1.
    pub weights: Vec<f64>,
    /// Shape of the tail: below 0.5 the weights have a finite variance, above 0.7 they cannot be relied on.
    pub k_hat: f64,
}

impl Smoothed {
    /// Effective number of draws, 1 / Σ w².
    pub fn effective(&self) -> f64 {
        1.0 / self.weights.iter().map(|w| w * w).sum::<f64>()
    }

    /// Indices of `n` draws with these weights, by systematic resampling from one uniform number.
    pub fn resample(&self, n: usize, uniform: f64) -> Vec<usize> {
        let mut out = Vec::with_capacity(n);
        let (mut i, mut below) = (0, self.weights[0]);
        for k in 0..n {
            let at = (k as f64 + uniform) / n as f64;
            while below < at && i + 1 < self.weights.len() {
                i += 1;
                below += self.weights[i];
            }
            out.push(i);
        }
        out
    }
}

/// Smooth the weights exp(`log_ratios`), log ratios of posterior to guide up to a constant. A ratio that is not a number
/// counts as zero weight.
pub fn smooth(log_ratios: &[f64]) -> Smoothed {
    let n = log_ratios.len();
    let clean = |x: f64| if x.is_nan() { f64::NEG_INFINITY } else { x };
    let max = log_ratios.iter().copied().map(clean).fold(f64::NEG_INFINITY, f64::max);
    if n == 0 || !max.is_finite() {
        return Smoothed { weights: vec![1.0 / n.max(1) as f64; n], k_hat: f64::INFINITY };
    }
    let mut weights: Vec<f64> = log_ratios.iter().map(|x| (clean(*x) - max).exp()).collect();
    let tail = ((0.2 * n as f64).min(3.0 * (n as f64).sqrt())) as usize;
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|a, b| weights[*a].total_cmp(&weights[*b]));
    let mut k_hat = f64::INFINITY;
    if tail >= 5 {
        let cutoff = weights[order[n - tail - 1]];
        let exceedances: Vec<f64> = order[n - tail..].iter().map(|i| weights[*i] - cutoff).collect();
        if exceedances[tail - 1] - exceedances[0] < 1e-10 {
            // All weights alike but for rounding: the guide is the posterior.
            k_hat = f64::NEG_INFINITY;
        } else {
            let (k, sigma) = generalized_pareto(&exceedances);
            k_hat = k;
            if k.is_finite() {
                for (i, &at) in order[n - tail..].iter().enumerate() {
                    let p = (i as f64 + 0.5) / tail as f64;
                    weights[at] = (cutoff + quantile(p, k, sigma)).min(1.0);
                }
            }
        }
    }
    let total: f64 = weights.iter().sum();
    weights.iter_mut().for_each(|w| *w /= total);
    Smoothed { weights, k_hat }
}

/// Shape and scale of a generalised Pareto distribution, from a sorted sample. The shape is shrunk towards 1/2 as in PSIS.
fn generalized_pareto(x: &[f64]) -> (f64, f64) {
    let n = x.len() as f64;
    let quarter = x[((n / 4.0 + 0.5) as usize).max(1) - 1].max(f64::MIN_POSITIVE);
    let largest = x[x.len() - 1];
    let m = 30 + n.sqrt() as usize;
    let mean_log = |b: f64| x.iter().map(|v| (-b * v).ln_1p()).sum::<f64>() / n;
    let grid: Vec<(f64, f64)> = (1..=m)
        .map(|i| {
            let b = 1.0 / largest + (1.0 - (m as f64 / (i as f64 - 0.5)).sqrt()) / (3.0 * quarter);
            let k = mean_log(b);
            (b, n * ((-(b / k)).ln() - k - 1.0))
        })
        .collect();
    let top = grid.iter().map(|g| g.1).fold(f64::NEG_INFINITY, f64::max);
    let (mut sum, mut total) = (0.0, 0.0);
    for (b, l) in grid {
        let w = (l - top).exp();
        if w.is_finite() {
            sum += w * b;
            total += w;
        }
    }
    let b = sum / total;
    let k = mean_log(b);
    let sigma = -k / b;
    ((n * k + 10.0 * 0.5) / (n + 10.0), sigma)
}

fn quantile(p: f64, k: f64, sigma: f64) -> f64 {
    if k.abs() < 1e-12 { -sigma * (-p).ln_1p() } else { sigma / k * (-k * (-p).ln_1p()).exp_m1() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::Stream;

    /// Ratios of exponential tails: weights w = u^(-k) have a Pareto tail of shape k exactly.
    #[test]
    fn k_hat_recovers_the_shape_of_the_tail() {
        for k in [0.2, 0.5, 0.9] {
            let mut s = Stream::new(3, "test", "psis");
            let ratios: Vec<f64> = (0..20_000).map(|_| -k * s.uniform().ln()).collect();
            let got = smooth(&ratios).k_hat;
            // 424 tail draws; the standard error of the estimate is about (1 + k) / √424 < 0.1.
            assert!((got - k).abs() < 0.2, "{got} is not near {k}");
        }
    }

    #[test]
    fn equal_ratios_mean_the_guide_is_exact() {
        let s = smooth(&[0.7; 1000]);
        assert!(s.k_hat < 0.0);
        assert!((s.effective() - 1000.0).abs() < 1e-6);
    }

    #[test]
    fn resampling_follows_the_weights() {
        let s = Smoothed { weights: vec![0.5, 0.0, 0.25, 0.25], k_hat: 0.0 };
        let picked = s.resample(8, 0.5);
        let count = |i| picked.iter().filter(|p| **p == i).count();
        assert_eq!([count(0), count(1), count(2), count(3)], [4, 0, 2, 2]);
    }

    #[test]
    fn a_correction_recovers_a_shifted_normal() {
        // Guide N(0, 1), posterior N(0.3, 1): weighted mean 0.3 within 5 standard errors of 20 000 draws.
        let mut s = Stream::new(4, "test", "psis");
        let z: Vec<f64> = (0..20_000).map(|_| s.normal()).collect();
        let ratios: Vec<f64> = z.iter().map(|z| 0.3 * z).collect();
        let w = smooth(&ratios);
        let mean: f64 = w.weights.iter().zip(&z).map(|(w, z)| w * z).sum();
        assert!((mean - 0.3).abs() < 0.04, "{mean}");
        assert!(w.k_hat < 0.5);
    }
}
