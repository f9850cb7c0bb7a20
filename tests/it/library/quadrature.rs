//! Double-exponential quadrature (Takahasi & Mori 1974): nodes and log weights for finite and half-infinite ranges.

use std::f64::consts::{FRAC_PI_2, PI};

/// Nodes t of the trapezoidal rule. At |t| = 6 the outermost nodes are e^-633 from a finite end and e^±317 of the
/// scale from an infinite one, which leaves less than 1e-20 of x^0.15 or of a tail like x^-1.15.
const LIMIT: f64 = 6.0;

pub struct Rule {
    pub x: Vec<f64>,
    pub log_w: Vec<f64>,
}

impl Rule {
    /// On (lower, upper), cut at `middle` if it lies inside. `scale`: how wide the density is about its middle.
    pub fn new(lower: f64, upper: f64, middle: f64, scale: f64, step: f64) -> Rule {
        let mut rule = Rule { x: vec![], log_w: vec![] };
        match (lower.is_finite(), upper.is_finite()) {
            _ if lower < middle && middle < upper => {
                rule.piece(lower, middle, scale, step);
                rule.piece(middle, upper, scale, step);
            }
            (false, false) => unreachable!("the middle of the real line lies inside it"),
            _ => rule.piece(lower, upper, scale, step),
        }
        rule
    }

    fn piece(&mut self, a: f64, b: f64, scale: f64, step: f64) {
        let n = (LIMIT / step) as i32;
        for i in -n..=n {
            let t = f64::from(i) * step;
            let (u, du) = (FRAC_PI_2 * t.sinh(), FRAC_PI_2 * t.cosh());
            let (x, log_w) = match (a.is_finite(), b.is_finite()) {
                (true, true) => {
                    // Distance from the nearer end, so that it keeps its digits.
                    let (near, far) = unit(t);
                    let x = if t < 0.0 { a + (b - a) * near } else { b - (b - a) * far };
                    (x, (2.0 * (b - a) * du * near).ln() + far.ln())
                }
                (true, false) => (a + scale * u.exp(), (scale * du).ln() + u),
                _ => (b - scale * u.exp(), (scale * du).ln() + u),
            };
            // At an end itself the density may be infinite; what lies between it and the next double is negligible.
            if a < x && x < b {
                self.x.push(x);
                self.log_w.push(log_w + step.ln());
            }
        }
    }

    /// Σ w g(x) e^log_f
    pub fn integral(&self, log_f: &[f64], g: impl Fn(f64) -> f64) -> f64 {
        let terms = self.x.iter().zip(&self.log_w).zip(log_f);
        terms.map(|((&x, w), f)| if *f == f64::NEG_INFINITY { 0.0 } else { g(x) * (w + f).exp() }).sum()
    }
}

/// A tanh-sinh node on (0, 1) and its distance from 1.
pub fn unit(t: f64) -> (f64, f64) {
    let s = PI * t.sinh();
    (1.0 / (1.0 + (-s).exp()), 1.0 / (1.0 + s.exp()))
}
