//! Activations of neural nets in single precision: what [`super::vector_elementary`] has, for numbers that come from products in
//! that precision. Arguments and results are double, rounded on the way, so that kernels need not know.
//!
//! Relative errors are at most 4e-7. Below e^-87, where single precision ends, e^x stays at that.

/// ln 2 in two parts; the first has 9 trailing zero bits, so that a product with a small integer is exact.
const LN2_HI: f32 = 0.693_145_75;
const LN2_LO: f32 = 1.428_606_8e-6;
/// 1.5·2^23: adding it leaves the nearest integer in the low bits.
const MAGIC: f32 = 12_582_912.0;

#[inline(always)]
fn sel(c: bool, a: f32, b: f32) -> f32 {
    if c { a } else { b }
}

#[inline(always)]
fn fma<const F: bool>(a: f32, b: f32, c: f32) -> f32 {
    if F { a.mul_add(b, c) } else { a * b + c }
}

/// 2^n and e^r - 1, so that x = n ln 2 + r, for -87 ≤ x ≤ 0: the series, whose next term is 5e-9 of it at |r| = ln 2 / 2.
#[inline(always)]
fn reduce<const F: bool>(x: f32) -> (f32, f32) {
    let t = fma::<F>(x, std::f32::consts::LOG2_E, MAGIC);
    let n = t - MAGIC;
    let r = fma::<F>(-n, LN2_LO, fma::<F>(-n, LN2_HI, x));
    let low = fma::<F>(r, 1.0 / 6.0, 0.5);
    let middle = fma::<F>(r, 1.0 / 120.0, 1.0 / 24.0);
    let high = fma::<F>(r, 1.0 / 5040.0, 1.0 / 720.0);
    let p = fma::<F>(r * r, fma::<F>(r * r, high, middle), low);
    let power = t.to_bits().wrapping_sub(MAGIC.to_bits()).wrapping_add(127) << 23;
    (f32::from_bits(power), fma::<F>(p * r, r, r))
}

/// e^-|x|.
#[inline(always)]
fn exp_neg<const F: bool>(x: f32) -> f32 {
    let (power, q) = reduce::<F>(sel(x.abs() > 87.0, -87.0, -x.abs()));
    fma::<F>(power, q, power)
}

/// log(1 + e^x) and 1 / (1 + e^-x).
#[inline(always)]
pub fn softplus_sigmoid<const F: bool>(x: f64) -> (f64, f64) {
    let x = x as f32;
    let e = exp_neg::<F>(x);
    // One division serves 1/(1 + e) and s = e/(2 + e), of which log(1 + e) = 2 artanh s is a series in odd powers.
    let (u, d) = (1.0 + e, 2.0 + e);
    let r = 1.0 / (u * d);
    let (inverse, s) = (r * d, e * (r * u));
    let z = s * s;
    let low = fma::<F>(z, 2.0 / 5.0, 2.0 / 3.0);
    let middle = fma::<F>(z, 2.0 / 9.0, 2.0 / 7.0);
    let high = fma::<F>(z, fma::<F>(z, 2.0 / 15.0, 2.0 / 13.0), 2.0 / 11.0);
    let p = fma::<F>(z * z, fma::<F>(z * z, high, middle), low);
    let log = fma::<F>(s * z, p, 2.0 * s);
    ((sel(x > 0.0, x, 0.0) + log).into(), sel(x >= 0.0, inverse, e * inverse).into())
}

#[inline(always)]
pub fn softplus<const F: bool>(x: f64) -> f64 {
    softplus_sigmoid::<F>(x).0
}

#[inline(always)]
pub fn sigmoid<const F: bool>(x: f64) -> f64 {
    let x = x as f32;
    let e = exp_neg::<F>(x);
    (sel(x >= 0.0, 1.0, e) / (1.0 + e)).into()
}

#[inline(always)]
pub fn tanh<const F: bool>(x: f64) -> f64 {
    let x = x as f32;
    let size = x.abs();
    let (power, q) = reduce::<F>(sel(size > 43.0, -86.0, -2.0 * size));
    // e^-2|x| - 1, with every digit of a small x.
    let e = fma::<F>(power, q, power - 1.0);
    (-e / (2.0 + e)).copysign(x).into()
}
