//! Gamma variates as a function of a standard normal number: the logarithm of the quantile at Φ(z), and its slope along the
//! shape. A draw that is moved along its quantile has a derivative along the shape, though no formula without an inverse
//! (implicit reparameterisation: Figurnov, Mohamed and Mnih 2018).
//!
//! The regularised incomplete gamma functions P = 1 − Q come from their series below a + 1 and from the continued fraction
//! above (Abramowitz & Stegun 6.5.29 and 6.5.31, by Lentz's method), with derivatives along the shape term by term.

use std::ops::{Add, Div, Mul};

use super::scalar::{digamma, lgamma, log_phi};

/// A number with its derivative along the shape.
#[derive(Clone, Copy)]
struct Dual {
    v: f64,
    d: f64,
}

impl Dual {
    fn plain(v: f64) -> Dual {
        Dual { v, d: 0.0 }
    }
}

impl Add for Dual {
    type Output = Dual;
    fn add(self, o: Dual) -> Dual {
        Dual { v: self.v + o.v, d: self.d + o.d }
    }
}

impl Mul for Dual {
    type Output = Dual;
    fn mul(self, o: Dual) -> Dual {
        Dual { v: self.v * o.v, d: self.d * o.v + self.v * o.d }
    }
}

impl Div for Dual {
    type Output = Dual;
    fn div(self, o: Dual) -> Dual {
        let v = self.v / o.v;
        Dual { v, d: (self.d - v * o.d) / o.v }
    }
}

/// Terms of a series or fraction at most; they are of the order of the square root of the shape.
const TERMS: usize = 200_000;

/// S with P(a, x) = xᵃ e⁻ˣ / Γ(a + 1) · S.
fn series(a: f64, x: f64) -> Dual {
    let (mut term, mut sum) = (Dual::plain(1.0), Dual::plain(1.0));
    for n in 1..TERMS {
        term = term * Dual::plain(x) / Dual { v: a + n as f64, d: 1.0 };
        sum = sum + term;
        if term.v < 1e-17 * sum.v && term.d.abs() < 1e-17 * sum.d.abs() {
            break;
        }
    }
    sum
}

/// h with Q(a, x) = xᵃ e⁻ˣ / Γ(a) · h.
fn fraction(a: f64, x: f64) -> Dual {
    const TINY: f64 = 1e-300;
    let one = Dual::plain(1.0);
    let mut b = Dual { v: x + 1.0 - a, d: -1.0 };
    let mut c = Dual::plain(1.0 / TINY);
    let mut d = one / b;
    let (mut h, mut settled) = (d, 0);
    for i in 1..TERMS {
        let i = i as f64;
        let an = Dual { v: i * (a - i), d: i };
        b.v += 2.0;
        d = an * d + b;
        c = b + an / c;
        if d.v.abs() < TINY {
            d.v = TINY;
        }
        if c.v.abs() < TINY {
            c.v = TINY;
        }
        d = one / d;
        let factor = c * d;
        h = h * factor;
        // At a whole shape the value ends before its derivative.
        settled = if (factor.v - 1.0).abs() < 4e-16 && factor.d.abs() < 1e-15 { settled + 1 } else { 0 };
        if settled == 2 {
            break;
        }
    }
    h
}

/// log P and log Q at x = eˡ.
fn log_tails(a: f64, l: f64) -> (f64, f64) {
    let x = l.exp();
    if x < a + 1.0 {
        let p = a * l - x - lgamma(a + 1.0) + series(a, x).v.ln();
        (p, (-p.exp()).ln_1p())
    } else {
        let q = a * l - x - lgamma(a) + fraction(a, x).v.ln();
        ((-q.exp()).ln_1p(), q)
    }
}

/// log x with P(a, x) = Φ(z), for a > 0: the logarithm of a Gamma(a, 1) variate where z is a standard normal one.
pub fn log_gamma_draw(a: f64, z: f64) -> f64 {
    if a.is_nan() || z.is_nan() || a <= 0.0 || a.is_infinite() || z.is_infinite() {
        return f64::NAN;
    }
    // Wilson and Hilferty (1931) where that is positive; else P ≈ xᵃ / Γ(a + 1).
    let cube = 1.0 - 1.0 / (9.0 * a) + z / (3.0 * a.sqrt());
    let mut l = match a > 0.5 && cube > 0.1 {
        true => a.ln() + 3.0 * cube.ln(),
        false => ((log_phi(z) + lgamma(a + 1.0)) / a).min((a + 2.0 + z.max(0.0) * z.max(0.0)).ln()),
    };
    // Both logs are concave in log x: Newton's steps come from one side after the first.
    let lower = z <= 0.0;
    let target = log_phi(if lower { z } else { -z });
    for _ in 0..100 {
        let (p, q) = log_tails(a, l);
        let log_density = a * l - l.exp() - lgamma(a);
        let (off, slope) = match lower {
            true => (p - target, (log_density - p).exp()),
            false => (q - target, -(log_density - q).exp()),
        };
        let step = off / slope;
        // Far out in a tail a first step could leave the range of numbers.
        let step = if step.is_finite() { step.clamp(-50.0 - 50.0 / a, 5.0) } else { break };
        l -= step;
        if step.abs() <= 1e-14 * (1.0 + l.abs()) {
            break;
        }
    }
    l
}

/// d/da of [`log_gamma_draw`]: −(∂P/∂a) / (x ∂P/∂x).
pub fn log_gamma_draw_slope(a: f64, z: f64) -> f64 {
    let l = log_gamma_draw(a, z);
    if l.is_nan() {
        return l;
    }
    let x = l.exp();
    if x < a + 1.0 {
        let s = series(a, x);
        -(s.v * (l - digamma(a + 1.0)) + s.d) / a
    } else {
        let h = fraction(a, x);
        h.v * (l - digamma(a)) + h.d
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_inverses() {
        // Gamma(1) is exponential: x = −log Φ(−z).
        for z in [-8.0, -3.0, -0.5, 0.0, 1.0, 4.0, 8.0] {
            let exact = (-log_phi(-z)).ln();
            assert!((log_gamma_draw(1.0, z) - exact).abs() < 1e-12 * (1.0 + exact.abs()), "{z}");
        }
        for a in [1e-3, 0.05, 0.3, 0.9, 1.0, 2.0, 7.5, 40.0, 1e3, 1e6] {
            for z in [-6.0, -2.5, -1.0, -0.1, 0.0, 0.2, 1.3, 3.0, 6.0] {
                let l = log_gamma_draw(a, z);
                let (p, q) = log_tails(a, l);
                let (off, tail) = if z <= 0.0 { (p - log_phi(z), p) } else { (q - log_phi(-z), q) };
                // Rounding of a log density is about 1e-16 of its largest term, a log a.
                let rounding = 1e-15 * (a * a.ln()).abs();
                assert!(off.abs() < 1e-11 * (1.0 + tail.abs()) + 10.0 * rounding, "{a} {z}: {off}");
            }
        }
    }

    #[test]
    fn slopes_are_those_of_the_quantile() {
        for a in [0.05, 0.3, 0.9, 1.0, 2.0, 3.0, 7.5, 40.0, 900.0] {
            for z in [-4.0, -1.0, -0.1, 0.0, 0.2, 1.3, 4.0] {
                let h = 1e-4 * a;
                let f = |k: f64| log_gamma_draw(a + k * h, z);
                // Fourth order: an error of h⁴ times a fifth derivative, and rounding over h.
                let numeric = (8.0 * (f(1.0) - f(-1.0)) - (f(2.0) - f(-2.0))) / (12.0 * h);
                let got = log_gamma_draw_slope(a, z);
                assert!((got - numeric).abs() < 2e-7 * (1.0 / a + numeric.abs()), "{a} {z}: {got} {numeric}");
            }
        }
    }
}
