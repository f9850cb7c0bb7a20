//! log Γ, ψ and ψ′ for x > 0 as branch-free bodies.
//!
//! Above 8 Stirling's series (Abramowitz & Stegun 6.1.41, 6.3.18, 6.4.12). Below, log Γ is shifted into [1.5, 2.5), where
//! log Γ(2 + t) / t is a Chebyshev fit (relative error 6e-17): so its zeros at 1 and 2 keep their relative accuracy.

use super::vector_elementary::{fma, log, poly, sel};

/// log Γ(2 + t) / t for |t| ≤ 1/2.
const LGAMMA2: [f64; 18] = [
    0.42278433509846713,
    0.3224670334241132,
    -0.06735230105319563,
    0.02058080842778338,
    -0.007385551028935545,
    0.002890510330865901,
    -0.0011927539009983087,
    0.0005096695196526673,
    -0.00022315497746292723,
    9.945761692157133e-5,
    -4.4923727564247656e-5,
    2.050601970174762e-5,
    -9.45628851510172e-6,
    4.3828545383846665e-6,
    -1.9743106888421067e-6,
    9.242852225162277e-7,
    -5.811277768921246e-7,
    2.7475390051909663e-7,
];

/// B_2k / (2k (2k - 1)).
const STIRLING: [f64; 7] =
    [1.0 / 12.0, -1.0 / 360.0, 1.0 / 1260.0, -1.0 / 1680.0, 1.0 / 1188.0, -691.0 / 360_360.0, 1.0 / 156.0];

/// B_2k / 2k.
const PSI: [f64; 7] = [1.0 / 12.0, -1.0 / 120.0, 1.0 / 252.0, -1.0 / 240.0, 1.0 / 132.0, -691.0 / 32_760.0, 1.0 / 12.0];

/// B_2k.
const PSI1: [f64; 8] =
    [1.0 / 6.0, -1.0 / 30.0, 1.0 / 42.0, -1.0 / 30.0, 5.0 / 66.0, -691.0 / 2730.0, 7.0 / 6.0, -3617.0 / 510.0];

/// NaN for x < 0, ∞ at 0.
#[inline(always)]
pub fn lgamma<const F: bool>(x: f64) -> f64 {
    let large = x >= 8.0;
    // Down from [2.5, 8): Γ(x) = Γ(y)·p. The differences are exact.
    let (mut y, mut p) = (x, 1.0);
    for _ in 0..6 {
        let step = y >= 2.5;
        y = sel(step, y - 1.0, y);
        p = sel(step, p * y, p);
    }
    // Up from (0, 1.5): Γ(x) = Γ(2 + t)/p.
    let (below1, below2) = (x < 0.5, x < 1.5);
    let t = sel(below1, x, sel(below2, x - 1.0, y - 2.0));
    let p = sel(below1, fma::<F>(x, x, x), sel(below2, x, p));
    let l = log::<F>(sel(large, x, p));
    let near = fma::<F>(t, poly::<F, 18>(t, &LGAMMA2), sel(below2, -l, l));
    let i = 1.0 / x;
    // log x - 1 first: less is left to cancel than with -x at the end.
    let far = fma::<F>(x - 0.5, l - 1.0, fma::<F>(poly::<F, 7>(i * i, &STIRLING), i, 0.418_938_533_204_672_7));
    sel(x < 0.0, f64::NAN, sel(large, far, near))
}

/// ψ(x); NaN for x < 0, -∞ at 0. Accurate to 1e-15 absolutely around its zero at 1.46.
#[inline(always)]
pub fn digamma<const F: bool>(x: f64) -> f64 {
    let small = x < 8.0;
    // 1/x + … + 1/(x+7), as the logarithmic derivative of a product: one division.
    let (mut p, mut dp) = (x, 1.0);
    for k in 1..8 {
        let xk = x + k as f64;
        dp = fma::<F>(dp, xk, p);
        p *= xk;
    }
    let y = sel(small, x + 8.0, x);
    let i = 1.0 / y;
    let i2 = i * i;
    let far = log::<F>(y) - fma::<F>(poly::<F, 7>(i2, &PSI), i2, 0.5 * i);
    sel(x < 0.0, f64::NAN, sel(small, far - dp / p, far))
}

#[inline(always)]
pub fn lgamma_digamma<const F: bool>(x: f64) -> (f64, f64) {
    (lgamma::<F>(x), digamma::<F>(x))
}

/// ψ′(x); NaN for x < 0, ∞ at 0.
#[inline(always)]
pub fn trigamma<const F: bool>(x: f64) -> f64 {
    let small = x < 8.0;
    let mut near = 0.0;
    for k in 0..8 {
        let i = 1.0 / (x + k as f64);
        near = fma::<F>(i, i, near);
    }
    let y = sel(small, x + 8.0, x);
    let i = 1.0 / y;
    let i2 = i * i;
    let far = i + i2 * fma::<F>(poly::<F, 8>(i2, &PSI1), i, 0.5);
    sel(x < 0.0, f64::NAN, sel(small, near + far, far))
}
