//! log Γ, ψ and ψ′ for x > 0 as branch-free bodies.
//!
//! Above 8 Stirling's series (Abramowitz & Stegun 6.1.41, 6.3.18, 6.4.12). Below, log Γ is shifted into [1.4, 2.5), where
//! (log Γ(2 + t) / t - (1 - γ)) / t is a Chebyshev fit (relative error 1e-16).

use super::vector_elementary::{fma, log, log_excess, poly, sel};

/// (log Γ(2 + t) / t - (1 - γ)) / t for -0.6 ≤ t ≤ 1/2.
const LGAMMA2: [f64; 18] = [
    0.3224670334241132,
    -0.06735230105319864,
    0.020580808427785372,
    -0.007385551028576306,
    0.0028905103306652,
    -0.0011927539168225644,
    0.0005096695269139463,
    -0.00022315463721608687,
    9.945749270468213e-05,
    -4.492777335742906e-05,
    2.0507144185375e-05,
    -9.42830104134689e-06,
    4.3773174743317736e-06,
    -2.0864701047058247e-06,
    9.382958824356609e-07,
    -3.396526654887842e-07,
    2.604905898126901e-07,
    -2.161135921261451e-07,
];
/// 1 - γ
const SLOPE2: f64 = 0.42278433509846713;
/// -γ
const SLOPE1: f64 = -0.5772156649015329;

/// B_2k / (2k (2k - 1)).
const STIRLING: [f64; 7] =
    [1.0 / 12.0, -1.0 / 360.0, 1.0 / 1260.0, -1.0 / 1680.0, 1.0 / 1188.0, -691.0 / 360_360.0, 1.0 / 156.0];

/// B_2k / 2k.
const PSI: [f64; 8] =
    [1.0 / 12.0, -1.0 / 120.0, 1.0 / 252.0, -1.0 / 240.0, 1.0 / 132.0, -691.0 / 32_760.0, 1.0 / 12.0, -3617.0 / 8160.0];

/// B_2k.
const PSI1: [f64; 9] = [
    1.0 / 6.0,
    -1.0 / 30.0,
    1.0 / 42.0,
    -1.0 / 30.0,
    5.0 / 66.0,
    -691.0 / 2730.0,
    7.0 / 6.0,
    -3617.0 / 510.0,
    43_867.0 / 798.0,
];

/// log Γ(x) for x > 0.
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
    // Up from (0, 1.4): Γ(x) = Γ(2 + t)/p.
    let (below1, below2) = (x < 0.5, x < 1.4);
    let around1 = below2 && x > 0.71;
    let t = sel(below1, x, sel(below2, x - 1.0, y - 2.0));
    let p = sel(below1, fma::<F>(x, x, x), sel(below2, x, p));
    let (l, excess) = log_excess::<F>(sel(large, x, p));
    // Around 1, log Γ(2 + t) and log(1 + t) = t - excess nearly cancel: their slopes are subtracted beforehand.
    let rest = sel(around1, excess, sel(below2, -l, l));
    let near = fma::<F>(t, sel(around1, SLOPE1, SLOPE2), fma::<F>(t * t, poly::<F, 18>(t, &LGAMMA2), rest));
    let i = 1.0 / x;
    // log x - 1 first: less is left to cancel than with -x at the end.
    let far = fma::<F>(x - 0.5, l - 1.0, fma::<F>(poly::<F, 7>(i * i, &STIRLING), i, 0.418_938_533_204_672_7));
    sel(large, far, near)
}

/// ψ(x) for x > 0. Around its zero at 1.46 accurate to 1e-15 absolutely.
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
    let far = log::<F>(y) - fma::<F>(poly::<F, 8>(i2, &PSI), i2, 0.5 * i);
    sel(small, far - dp / p, far)
}

#[inline(always)]
pub fn lgamma_digamma<const F: bool>(x: f64) -> (f64, f64) {
    (lgamma::<F>(x), digamma::<F>(x))
}

/// ψ′(x) for x > 0.
#[inline(always)]
pub fn trigamma<const F: bool>(x: f64) -> f64 {
    let small = x < 10.0;
    let mut near = 0.0;
    for k in 0..10 {
        let i = 1.0 / (x + k as f64);
        near = fma::<F>(i, i, near);
    }
    let y = sel(small, x + 10.0, x);
    let i = 1.0 / y;
    let i2 = i * i;
    let far = i + i2 * fma::<F>(poly::<F, 9>(i2, &PSI1), i, 0.5);
    sel(small, near + far, far)
}
