//! A categorical factor of a guide, by its logits: draws, log probabilities, and the score of a draw. For gradients of
//! expectations over discrete draws see [`super::Score::weights`], and [`super::GumbelSoftmax`] for a biased one.

/// Probabilities softmax(logits), in a reused buffer.
#[derive(Clone, Debug, Default)]
pub struct Categorical {
    log_probabilities: Vec<f64>,
    probabilities: Vec<f64>,
}

impl Categorical {
    /// Take these logits.
    pub fn set(&mut self, logits: &[f64]) {
        let top = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let log_total = top + logits.iter().map(|l| (l - top).exp()).sum::<f64>().ln();
        self.log_probabilities.clear();
        self.log_probabilities.extend(logits.iter().map(|l| l - log_total));
        self.probabilities.clear();
        self.probabilities.extend(self.log_probabilities.iter().map(|l| l.exp()));
    }

    pub fn log_probabilities(&self) -> &[f64] {
        &self.log_probabilities
    }

    pub fn probabilities(&self) -> &[f64] {
        &self.probabilities
    }

    /// The value that a uniform number in (0, 1) picks (inversion).
    pub fn draw(&self, uniform: f64) -> usize {
        let mut below = 0.0;
        for (value, p) in self.probabilities.iter().enumerate() {
            below += p;
            if uniform < below {
                return value;
            }
        }
        // Rounding can leave the sum of the probabilities below the number.
        self.probabilities.iter().rposition(|p| *p > 0.0).unwrap_or(0)
    }

    /// `out += weight · ∇_logits log q(value)`: the unit vector of `value` less the probabilities.
    pub fn add_score(&self, value: usize, weight: f64, out: &mut [f64]) {
        out.iter_mut().zip(&self.probabilities).for_each(|(o, p)| *o -= weight * p);
        out[value] += weight;
    }

    /// `out += ∇_logits Σ_v q(v) f(v)` for all values' `f`: exact, where the values can be enumerated.
    pub fn add_enumerated(&self, f: &[f64], out: &mut [f64]) {
        let mean: f64 = self.probabilities.iter().zip(f).map(|(p, f)| p * f).sum();
        out.iter_mut().zip(self.probabilities.iter().zip(f)).for_each(|(o, (p, f))| *o += p * (f - mean));
    }

    /// Entropy in nats, and its gradient by the logits times `weight` added to `out`.
    pub fn add_entropy(&self, weight: f64, out: &mut [f64]) -> f64 {
        let surprise = |(p, l): (&f64, &f64)| if *p > 0.0 { -p * l } else { 0.0 };
        let entropy: f64 = self.probabilities.iter().zip(&self.log_probabilities).map(surprise).sum();
        for (o, (p, l)) in out.iter_mut().zip(self.probabilities.iter().zip(&self.log_probabilities)) {
            *o -= if *p > 0.0 { weight * p * (l + entropy) } else { 0.0 };
        }
        entropy
    }
}
