//! The Gumbel-softmax relaxation of a categorical draw: softmax((logits + Gumbel noise) / temperature). Jang, Gu and Poole
//! (2017); Maddison, Mnih and Teh (2017). Its gradient is that of an expectation over relaxed draws: biased for the
//! discrete one at any temperature, with a variance that grows as the temperature falls.

/// One relaxed draw, in reused buffers.
#[derive(Clone, Debug)]
pub struct GumbelSoftmax {
    pub temperature: f64,
    relaxed: Vec<f64>,
}

impl GumbelSoftmax {
    /// `temperature` > 0.
    pub fn new(temperature: f64) -> GumbelSoftmax {
        GumbelSoftmax { temperature, relaxed: vec![] }
    }

    /// The relaxed draw by one uniform number in (0, 1) per value: a point of the simplex, near a corner at low
    /// temperatures. Its largest entry is at an exact draw of the categorical (the Gumbel-max trick).
    pub fn draw(&mut self, logits: &[f64], uniforms: &[f64]) -> &[f64] {
        self.relaxed.clear();
        let noisy = |(l, u): (&f64, &f64)| (l - (-u.ln()).ln()) / self.temperature;
        self.relaxed.extend(logits.iter().zip(uniforms).map(noisy));
        let top = self.relaxed.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        self.relaxed.iter_mut().for_each(|x| *x = (*x - top).exp());
        let total: f64 = self.relaxed.iter().sum();
        self.relaxed.iter_mut().for_each(|x| *x /= total);
        &self.relaxed
    }

    /// From the pull at the last relaxed draw to the logits: `out += (d draw / d logits)ᵀ upstream`.
    pub fn pull_back(&self, upstream: &[f64], out: &mut [f64]) {
        let mean: f64 = self.relaxed.iter().zip(upstream).map(|(x, u)| x * u).sum();
        for ((o, x), u) in out.iter_mut().zip(&self.relaxed).zip(upstream) {
            *o += x * (u - mean) / self.temperature;
        }
    }
}
