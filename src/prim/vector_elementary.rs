//! exp, log and their kin as branch-free bodies, which LLVM vectorises inside the `#[target_feature]` wrappers of
//! [`super::vector`].
//!
//! `F` says whether the processor multiplies and adds in one rounding; without it `a·b + c` rounds twice.
//! Reductions and the log polynomial follow fdlibm (`e_exp.c`, `e_log.c`, `s_log1p.c`, Sun Microsystems 1993); the
//! polynomial for e^r - 1 is a Chebyshev fit on |r| ≤ 0.347, relative error 8e-18.

const LOG2_E: f64 = std::f64::consts::LOG2_E;
/// ln 2 in two parts; the first has 21 trailing zero bits, so that a product with a small integer is exact.
const LN2_HI: f64 = 6.931_471_803_691_238e-1;
const LN2_LO: f64 = 1.908_214_929_270_587_7e-10;
/// 1.5·2^52: adding it leaves the nearest integer in the low bits.
const MAGIC: f64 = 6_755_399_441_055_744.0;

/// (e^r - 1 - r) / r².
const EXPM1: [f64; 12] = [
    0.5,
    0.16666666666666666,
    0.04166666666666668,
    0.008333333333333333,
    0.0013888888888878984,
    0.00019841269841263238,
    2.4801587336679385e-5,
    2.755731924737679e-6,
    2.755726302557563e-7,
    2.5052070925322046e-8,
    2.0918231419370054e-9,
    1.60866903974611e-10,
];

/// fdlibm's minimax coefficients for log((1+s)/(1-s)).
const LOG: [f64; 7] = [
    6.666_666_666_666_735e-1,
    3.999_999_999_940_942e-1,
    2.857_142_874_366_239e-1,
    2.222_219_843_214_978_4e-1,
    1.818_357_216_161_805e-1,
    1.531_383_769_920_937_3e-1,
    1.479_819_860_511_658_6e-1,
];

/// A choice without a branch.
#[inline(always)]
pub fn sel(c: bool, a: f64, b: f64) -> f64 {
    if c { a } else { b }
}

#[inline(always)]
pub fn fma<const F: bool>(a: f64, b: f64, c: f64) -> f64 {
    if F { a.mul_add(b, c) } else { a * b + c }
}

/// `Σ c[i] x^i` for at most 32 terms, by Estrin's scheme: pairs, pairs of pairs, … in x, x², x⁴, …, which wait for each
/// other less than the steps of Horner's rule do.
///
/// Written out without a loop, so that nothing is left for LLVM to unroll: a loop in here that survives until its
/// vectoriser runs keeps the loop over the lanes scalar.
#[inline(always)]
pub fn poly<const F: bool, const N: usize>(x: f64, c: &[f64; N]) -> f64 {
    const { assert!(0 < N && N <= 32) };
    let x2 = x * x;
    let x4 = x2 * x2;
    let x8 = x4 * x4;
    let two = |i: usize| if i + 1 < N { fma::<F>(c[i + 1], x, c[i]) } else { c[i] };
    let four = |i: usize| if i + 2 < N { fma::<F>(two(i + 2), x2, two(i)) } else { two(i) };
    let eight = |i: usize| if i + 4 < N { fma::<F>(four(i + 4), x4, four(i)) } else { four(i) };
    let sixteen = |i: usize| if i + 8 < N { fma::<F>(eight(i + 8), x8, eight(i)) } else { eight(i) };
    if N > 16 { fma::<F>(sixteen(16), x8 * x8, sixteen(0)) } else { sixteen(0) }
}

/// `x² = h + l` exactly, for |x| < 1e150.
#[inline(always)]
pub fn square<const F: bool>(x: f64) -> (f64, f64) {
    let h = x * x;
    if F {
        return (h, x.mul_add(x, -h));
    }
    // Veltkamp's splitting, Dekker's product.
    let t = x * 134_217_729.0;
    let hi = t - (t - x);
    let lo = x - hi;
    (h, ((hi * hi - h) + 2.0 * hi * lo) + lo * lo)
}

/// `x = n ln 2 + r`; gives n as a number, the bits that hold n in their low part, and e^r - 1.
#[inline(always)]
fn reduce<const F: bool>(x: f64) -> (f64, u64, f64) {
    let t = fma::<F>(x, LOG2_E, MAGIC);
    let n = t - MAGIC;
    let r = fma::<F>(-n, LN2_LO, fma::<F>(-n, LN2_HI, x));
    let p = poly::<F, 12>(r, &EXPM1);
    (n, t.to_bits().wrapping_sub(MAGIC.to_bits()), fma::<F>(p * r, r, r))
}

/// 2^n from n in the low bits.
#[inline(always)]
fn power(n: u64) -> f64 {
    f64::from_bits(n.wrapping_add(1023) << 52)
}

#[inline(always)]
pub fn exp<const F: bool>(x: f64) -> f64 {
    let (n, bits, q) = reduce::<F>(sel(x > 709.9, 709.9, sel(x < -745.2, -745.2, x)));
    // Two factors, so that 2^1024 and subnormal results come out right.
    let half = (n * 0.5 + MAGIC).to_bits().wrapping_sub(MAGIC.to_bits());
    let z = (1.0 + q) * power(half) * power(bits.wrapping_sub(half));
    sel(x > 709.782712893384, f64::INFINITY, z)
}

/// e^x for x ≤ 0.
#[inline(always)]
pub fn exp_neg<const F: bool>(x: f64) -> f64 {
    let (_, bits, q) = reduce::<F>(sel(x < -746.0, -746.0, x));
    // 64 binades up, then down: a subnormal result is rounded by the last product.
    (1.0 + q) * power(bits.wrapping_add(64)) * 5.421010862427522e-20
}

#[inline(always)]
pub fn expm1<const F: bool>(x: f64) -> f64 {
    let (_, bits, q) = reduce::<F>(sel(x > 709.9, 709.9, sel(x < -40.0, -40.0, x)));
    // Half of the result, so that 2^1024 does not overflow before the end.
    let s = power(bits.wrapping_sub(1));
    let y = 2.0 * fma::<F>(s, q, s - 0.5);
    sel(x > 709.782712893384, f64::INFINITY, sel(x == 0.0, x, y))
}

/// log(u) + c for normal u > 0, where c is what u lost in rounding, divided by u.
#[inline(always)]
pub fn log_core<const F: bool>(u: f64, c: f64, bias: f64) -> f64 {
    let (k, f, short) = log_parts::<F>(u, c, bias);
    fma::<F>(k, LN2_HI, f - short)
}

/// `k` and `f` so that u = 2^k (1 + f), and f - log(1 + f) - k·LN2_LO - c.
#[inline(always)]
fn log_parts<const F: bool>(u: f64, c: f64, bias: f64) -> (f64, f64, f64) {
    let ix = u.to_bits().wrapping_sub(0x3fe6_a09e_0000_0000);
    let k = (ix >> 52).wrapping_add(2048) & 0xfff;
    let k = f64::from_bits(k | 0x4330_0000_0000_0000) - (4_503_599_627_370_496.0 + 2048.0) + bias;
    let m = f64::from_bits((ix & 0x000f_ffff_ffff_ffff).wrapping_add(0x3fe6_a09e_0000_0000));
    let f = m - 1.0;
    let s = f / (2.0 + f);
    let hf = 0.5 * f * f;
    (k, f, hf - fma::<F>(s, hf + log_poly::<F>(s), fma::<F>(k, LN2_LO, c)))
}

#[inline(always)]
fn log_poly<const F: bool>(s: f64) -> f64 {
    let z = s * s;
    let w = z * z;
    let even = w * fma::<F>(w, fma::<F>(w, LOG[5], LOG[3]), LOG[1]);
    fma::<F>(z, fma::<F>(w, fma::<F>(w, fma::<F>(w, LOG[6], LOG[4]), LOG[2]), LOG[0]), even)
}

#[inline(always)]
pub fn log<const F: bool>(x: f64) -> f64 {
    log_excess::<F>(x).0
}

/// log x, and (x - 1) - log x for x in [0.71, 1.41].
#[inline(always)]
pub fn log_excess<const F: bool>(x: f64) -> (f64, f64) {
    let tiny = x < f64::MIN_POSITIVE;
    let u = sel(tiny, x * 18_014_398_509_481_984.0, x);
    let (k, f, short) = log_parts::<F>(u, 0.0, sel(tiny, -54.0, 0.0));
    let y = fma::<F>(k, LN2_HI, f - short);
    let y = sel(x == 0.0, f64::NEG_INFINITY, sel(x == f64::INFINITY, x, y));
    (sel(x < 0.0 || x.is_nan(), f64::NAN, y), short)
}

#[inline(always)]
pub fn log1p<const F: bool>(x: f64) -> f64 {
    let u = 1.0 + x;
    let c = sel(x > 1.0, 1.0 - (u - x), x - (u - 1.0));
    let y = log_core::<F>(u, c / u, 0.0);
    let y = sel(x == -1.0, f64::NEG_INFINITY, sel(x == f64::INFINITY, x, y));
    let y = sel(x < -1.0 || x.is_nan(), f64::NAN, y);
    sel(x.abs() < 1.2e-16, x, y)
}

/// log(1 + e^x) and 1 / (1 + e^-x).
#[inline(always)]
pub fn softplus_sigmoid<const F: bool>(x: f64) -> (f64, f64) {
    let e = exp_neg::<F>(-x.abs());
    let u = 1.0 + e;
    let lost = e - (u - 1.0);
    let big = u >= std::f64::consts::SQRT_2;
    let f = sel(big, fma::<F>(u, 0.5, -1.0), u - 1.0);
    let k = sel(big, 1.0, 0.0);
    // One division serves 1/u and f/(2 + f).
    let d = 2.0 + f;
    let r = 1.0 / (u * d);
    let inv = r * d;
    let s = f * (r * u);
    let hf = 0.5 * f * f;
    let tail = fma::<F>(s, hf + log_poly::<F>(s), fma::<F>(k, LN2_LO, lost * inv));
    let l = fma::<F>(k, LN2_HI, f - (hf - tail));
    (sel(x > 0.0, x, 0.0) + l, sel(x >= 0.0, inv, e * inv))
}

#[inline(always)]
pub fn softplus<const F: bool>(x: f64) -> f64 {
    softplus_sigmoid::<F>(x).0
}

#[inline(always)]
pub fn sigmoid<const F: bool>(x: f64) -> f64 {
    let e = exp_neg::<F>(-x.abs());
    sel(x >= 0.0, 1.0, e) / (1.0 + e)
}

#[inline(always)]
pub fn tanh<const F: bool>(x: f64) -> f64 {
    // e^-2|x| - 1 keeps every digit of a small x and cannot overflow; of a large one, the distance from 1 is better.
    let e = expm1::<F>(-2.0 * x.abs());
    let small = x.abs() < 0.55;
    let r = sel(small, -e, 2.0 + 2.0 * e) / (2.0 + e);
    sel(small, r, 1.0 - r).copysign(x)
}
