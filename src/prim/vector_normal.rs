//! The error function and the normal distribution function, its logarithm and φ/Φ, as branch-free bodies.
//!
//! All rest on erfcx(t) = e^{t²} erfc(t) for t ≥ 0: (1 + 2t)·erfcx(t) is a polynomial in (t - 4)/(t + 4), after
//! Shepherd and Laframboise, "Chebyshev Approximation of (1+2x)exp(x²)erfc x in 0 ≤ x < ∞", Math. Comp. 36 (1981).

use super::vector_elementary::{exp_neg, fma, log_core, poly, sel, square};

/// (1 + 2t) erfcx(t) in powers of (t - 4)/(t + 4); relative error 7e-17.
const ERFCX: [f64; 25] = [
    1.2329951186255526,
    -0.13962111684056228,
    0.015379652102619974,
    0.06809705425466839,
    -0.10103906603631811,
    0.09373283499911264,
    -0.06633036581186058,
    0.037167515526338006,
    -0.01619773406293477,
    0.005031970069102256,
    -0.0007577732435942576,
    -0.0001992571524726518,
    0.00015062142608651945,
    -2.4397731143023292e-5,
    -1.1221135665965907e-5,
    5.70657829924074e-6,
    2.9173425573089733e-7,
    -8.210647933297337e-7,
    7.771943241086912e-8,
    1.0631817593818149e-7,
    -2.0725802488181963e-8,
    -1.2338731403798444e-8,
    3.2323973445082033e-9,
    9.297625263709659e-10,
    -2.764120233734578e-10,
];

/// erf(√z)/√z - 1 for 0 ≤ z ≤ 1; absolute error 2e-17.
const ERF: [f64; 13] = [
    0.1283791670955126,
    -0.3761263890318375,
    0.11283791670954879,
    -0.026866170645076792,
    0.0052239776248180145,
    -0.000854832698083379,
    0.0001205533111164271,
    -1.4925595266831182e-5,
    1.6461000484121368e-6,
    -1.6350312701054695e-7,
    1.4659775274047436e-8,
    -1.1372848856791674e-9,
    5.957176147748911e-11,
];

/// √(2/π)
const SQRT_2_PI: f64 = 0.797_884_560_802_865_4;

#[inline(always)]
fn erfcx<const F: bool>(t: f64) -> f64 {
    let y = sel(t > 1e100, 1.0, (t - 4.0) / (t + 4.0));
    poly::<F, 25>(y, &ERFCX) / fma::<F>(2.0, t, 1.0)
}

/// e^{-x²·scale} for |x| below 40; the square's rounding error is put back.
#[inline(always)]
fn gauss<const F: bool>(x: f64, scale: f64) -> f64 {
    let (h, l) = square::<F>(sel(x > 40.0, 40.0, x));
    let e = exp_neg::<F>(-scale * h);
    fma::<F>(e, -scale * l, e)
}

/// erf(x) for |x| ≤ 1.
#[inline(always)]
fn erf_near<const F: bool>(x: f64) -> f64 {
    fma::<F>(x, poly::<F, 13>(x * x, &ERF), x)
}

#[inline(always)]
pub fn erf<const F: bool>(x: f64) -> f64 {
    let a = x.abs();
    let far = (1.0 - gauss::<F>(a, 1.0) * erfcx::<F>(a)).copysign(x);
    sel(a < 1.0, erf_near::<F>(x), far)
}

/// Φ(-|x|), erfcx(|x|/√2), and Φ(x) itself where |x| is below [`NEAR`].
#[inline(always)]
fn tail<const F: bool>(x: f64) -> (f64, f64, f64) {
    let t = x * std::f64::consts::FRAC_1_SQRT_2;
    let c = erfcx::<F>(t.abs());
    (0.5 * gauss::<F>(x.abs(), 0.5) * c, c, fma::<F>(0.5, erf_near::<F>(t), 0.5))
}

const NEAR: f64 = 0.7;

#[inline(always)]
pub fn phi<const F: bool>(x: f64) -> f64 {
    let (p, _, near) = tail::<F>(x);
    sel(x.abs() < NEAR, near, sel(x > 0.0, 1.0 - p, p))
}

/// log Φ(x) and φ(x)/Φ(x).
#[inline(always)]
pub fn log_phi_inv_mills<const F: bool>(x: f64) -> (f64, f64) {
    let (p, c, near) = tail::<F>(x);
    // Below, the logarithm of Φ·e^{x²/2}; above, of 1 - Φ(-x) with what that loses in rounding.
    let (central, upper) = (x.abs() < NEAR, x > 0.0);
    let u = sel(central, near, sel(upper, 1.0 - p, 0.5 * c));
    let lost = sel(upper && !central, ((1.0 - u) - p) / u, 0.0);
    let log = log_core::<F>(u, lost, 0.0);
    let log_phi = sel(central || upper, log, fma::<F>(-0.5 * x, x, log));
    // Above 0: φ = Φ(-x)·√(2/π)/erfcx.
    let ratio = SQRT_2_PI / c;
    let upper_ratio = sel(p == 0.0, 0.0, ratio * (p / (1.0 - p)));
    (sel(x == f64::NEG_INFINITY, x, log_phi), sel(upper, upper_ratio, ratio))
}

#[inline(always)]
pub fn log_phi<const F: bool>(x: f64) -> f64 {
    log_phi_inv_mills::<F>(x).0
}

#[inline(always)]
pub fn inv_mills<const F: bool>(x: f64) -> f64 {
    log_phi_inv_mills::<F>(x).1
}
