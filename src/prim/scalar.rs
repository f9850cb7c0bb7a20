//! Scalar functions behind every operation, accurate to a few units in the last place: the reference for vector code.
//!
//! Sources: Boost.Math for the digamma function on [1, 2] (rational form around its root), Abramowitz & Stegun 6.3.18
//! and 6.4.12 for the asymptotic series, 26.2.14 for the continued fraction of Mills' ratio.

use std::f64::consts::{FRAC_1_SQRT_2, LN_2, PI};

use super::gamma_draw::{log_gamma_draw, log_gamma_draw_slope};
use crate::lower::graph::{BinOp, UnOp};

/// 1/√(2π)
pub const FRAC_1_SQRT_2PI: f64 = 0.398_942_280_401_432_7;
/// log √(2π)
pub const LN_SQRT_2PI: f64 = 0.918_938_533_204_672_7;

/// The value of a function of one real.
pub fn unary(op: UnOp, x: f64) -> f64 {
    match op {
        UnOp::Neg => -x,
        UnOp::Abs => x.abs(),
        UnOp::Sqrt => x.sqrt(),
        UnOp::Recip => 1.0 / x,
        UnOp::Floor => x.floor(),
        UnOp::Ceil => x.ceil(),
        UnOp::Round => x.round_ties_even(),
        UnOp::Not => truth(x == 0.0),
        UnOp::Sign => sign(x),
        UnOp::Exp => x.exp(),
        UnOp::Log => x.ln(),
        UnOp::Log1p => x.ln_1p(),
        UnOp::Expm1 => x.exp_m1(),
        UnOp::Tanh => x.tanh(),
        UnOp::Sin => x.sin(),
        UnOp::Cos => x.cos(),
        UnOp::Atan => x.atan(),
        UnOp::Sigmoid => sigmoid(x),
        UnOp::Softplus => softplus(x),
        UnOp::Lgamma => lgamma(x),
        UnOp::Digamma => digamma(x),
        UnOp::Trigamma => trigamma(x),
        UnOp::Erf => libm::erf(x),
        UnOp::Phi => phi(x),
        UnOp::LogPhi => log_phi(x),
        UnOp::InvMills => inv_mills(x),
        UnOp::LogBesselI0 => log_bessel_i0(x),
        UnOp::BesselRatio => bessel_ratio(x),
    }
}

/// The value of a function of two reals.
pub fn binary(op: BinOp, a: f64, b: f64) -> f64 {
    match op {
        BinOp::Add => a + b,
        BinOp::Sub => a - b,
        BinOp::Mul => a * b,
        BinOp::Div => a / b,
        BinOp::Pow => a.powf(b),
        BinOp::Min => min(a, b),
        BinOp::Max => max(a, b),
        BinOp::Less => truth(a < b),
        BinOp::LessEq => truth(a <= b),
        BinOp::Equal => truth(a == b),
        BinOp::NotEqual => truth(a != b),
        BinOp::And => truth(a != 0.0 && b != 0.0),
        BinOp::Or => truth(a != 0.0 || b != 0.0),
        BinOp::XLogY => xlogy(a, b),
        BinOp::LogGammaDraw => log_gamma_draw(a, b),
        BinOp::LogGammaDrawSlope => log_gamma_draw_slope(a, b),
    }
}

/// 1 or 0.
pub fn truth(b: bool) -> f64 {
    f64::from(u8::from(b))
}

/// -1, 0 or 1; NaN stays.
pub fn sign(x: f64) -> f64 {
    if x > 0.0 {
        1.0
    } else if x < 0.0 {
        -1.0
    } else {
        x
    }
}

/// The smaller; NaN if either is, so that a bad value is never hidden.
pub fn min(a: f64, b: f64) -> f64 {
    if a < b || a.is_nan() { a } else { b }
}

/// The larger; NaN if either is.
pub fn max(a: f64, b: f64) -> f64 {
    if a > b || a.is_nan() { a } else { b }
}

/// `x · log y`, exactly 0 where `x = 0`.
pub fn xlogy(x: f64, y: f64) -> f64 {
    if x == 0.0 { 0.0 } else { x * y.ln() }
}

/// 1 / (1 + e^-x)
pub fn sigmoid(x: f64) -> f64 {
    // Only e^-|x| is formed, which cannot overflow.
    let e = (-x.abs()).exp();
    if x >= 0.0 { 1.0 / (1.0 + e) } else { e / (1.0 + e) }
}

/// log(1 + e^x)
pub fn softplus(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// log |Γ(x)|
pub fn lgamma(x: f64) -> f64 {
    libm::lgamma(x)
}

/// B_2n / 2n for n = 1..8.
const DIGAMMA_SERIES: [f64; 8] =
    [1.0 / 12.0, -1.0 / 120.0, 1.0 / 252.0, -1.0 / 240.0, 1.0 / 132.0, -691.0 / 32760.0, 1.0 / 12.0, -3617.0 / 8160.0];

/// d/dx log Γ(x). Infinite at 0, -1, -2, …
pub fn digamma(x: f64) -> f64 {
    if x.is_nan() || x == f64::INFINITY {
        return x;
    }
    if x <= 0.0 {
        if x == 0.0 {
            return -f64::INFINITY;
        }
        if x == x.floor() {
            return f64::NAN;
        }
        // Reflection: ψ(1-x) - ψ(x) = π cot πx, with the argument of cot reduced to (-1/2, 1/2].
        let r = x - x.round();
        return digamma(1.0 - x) - PI / (PI * r).tan();
    }
    if x >= 10.0 {
        let u = 1.0 / (x * x);
        return x.ln() - 0.5 / x - u * DIGAMMA_SERIES.iter().rev().fold(0.0, |s, c| s * u + c);
    }
    let (mut x, mut shift) = (x, 0.0);
    while x > 2.0 {
        x -= 1.0;
        shift += 1.0 / x;
    }
    while x < 1.0 {
        shift -= 1.0 / x;
        x += 1.0;
    }
    digamma_1_2(x) + shift
}

/// Boost's rational form on [1, 2]: (x - root)(Y + P(x-1)/Q(x-1)), full relative accuracy at the root.
fn digamma_1_2(x: f64) -> f64 {
    const Y: f64 = 0.995_581_626_892_089_8;
    const ROOT_1: f64 = 1_569_415_565.0 / 1_073_741_824.0;
    const ROOT_2: f64 = (381_566_830.0 / 1_073_741_824.0) / 1_073_741_824.0;
    const ROOT_3: f64 = 9.016_312_093_258_695e-20;
    const P: [f64; 6] = [
        0.254_798_510_611_315_53,
        -0.325_550_311_868_044_9,
        -0.650_318_537_708_965_1,
        -0.289_191_264_447_747_84,
        -0.045_251_321_448_739_06,
        -0.002_071_332_116_774_595,
    ];
    const Q: [f64; 7] = [
        1.0,
        2.076_711_702_373_047,
        1.460_624_290_976_351_6,
        0.435_935_296_926_659_67,
        0.054_151_797_245_674_226,
        0.002_128_498_701_782_114_6,
        -5.578_984_132_167_551e-07,
    ];
    let g = x - ROOT_1 - ROOT_2 - ROOT_3;
    let t = x - 1.0;
    let p = P.iter().rev().fold(0.0, |s, c| s * t + c);
    let q = Q.iter().rev().fold(0.0, |s, c| s * t + c);
    g * Y + g * (p / q)
}

/// B_2n for n = 1..9.
const TRIGAMMA_SERIES: [f64; 9] = [
    1.0 / 6.0,
    -1.0 / 30.0,
    1.0 / 42.0,
    -1.0 / 30.0,
    5.0 / 66.0,
    -691.0 / 2730.0,
    7.0 / 6.0,
    -3617.0 / 510.0,
    43867.0 / 798.0,
];

/// d²/dx² log Γ(x)
pub fn trigamma(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    if x <= 0.0 {
        if x == x.floor() {
            return f64::INFINITY;
        }
        let s = (PI * (x - x.round())).sin();
        return PI * PI / (s * s) - trigamma(1.0 - x);
    }
    let (mut x, mut shift) = (x, 0.0);
    while x < 12.0 {
        shift += 1.0 / (x * x);
        x += 1.0;
    }
    let u = 1.0 / (x * x);
    let tail = TRIGAMMA_SERIES.iter().rev().fold(0.0, |s, c| s * u + c);
    shift + (1.0 / x + 0.5 * u + u / x * tail)
}

/// Standard normal distribution function.
pub fn phi(x: f64) -> f64 {
    if x < -3.0 {
        // erfc's argument -x/√2 is rounded; beyond here that error would show.
        return density(x) / inv_mills(x);
    }
    0.5 * libm::erfc(-x * FRAC_1_SQRT_2)
}

/// log Φ(x)
pub fn log_phi(x: f64) -> f64 {
    if x < -3.0 {
        -0.5 * x * x - LN_SQRT_2PI - inv_mills(x).ln()
    } else if x < 0.0 {
        libm::erfc(-x * FRAC_1_SQRT_2).ln() - LN_2
    } else {
        (-phi(-x)).ln_1p()
    }
}

/// φ(x) / Φ(x), the derivative of `log_phi`.
pub fn inv_mills(x: f64) -> f64 {
    if x < -3.0 {
        let t = -x;
        if t > 1e9 {
            return t;
        }
        // 1/R(t) = t + 1/(t + 2/(t + 3/(…))); from t = 3 on, 120 terms leave nothing in double precision.
        return (1..=120).rev().fold(t, |r, k| t + f64::from(k) / r);
    }
    density(x) / phi(x)
}

/// Standard normal density. The square is taken in two parts, since its rounding would be magnified by exp.
fn density(x: f64) -> f64 {
    let hi = (x * 16.0).trunc() / 16.0;
    let lo = (x - hi) * (x + hi);
    if !hi.is_finite() {
        return FRAC_1_SQRT_2PI * (-0.5 * x * x).exp();
    }
    FRAC_1_SQRT_2PI * (-0.5 * hi * hi).exp() * (-0.5 * lo).exp()
}

/// From here on the asymptotic series of the Bessel functions reaches full precision; below, their power series does.
const BESSEL_ASYMPTOTIC: f64 = 30.0;

/// I₀(x) - 1 and I₁(x) / (x / 2) by their power series, of positive terms only (Abramowitz & Stegun 9.6.10).
fn bessel_series(x: f64) -> (f64, f64) {
    let t = 0.25 * x * x;
    let (mut zero, mut one, mut term, mut k) = (0.0, 1.0, 1.0, 0.0);
    loop {
        k += 1.0;
        term *= t / (k * k);
        zero += term;
        one += term / (k + 1.0);
        if term <= 1e-18 * zero {
            return (zero, one);
        }
    }
}

/// I_ν(x) √(2πx) e^-x - 1 for large x, with μ = 4ν² (Abramowitz & Stegun 9.7.1).
fn bessel_tail(x: f64, mu: f64) -> f64 {
    let (mut sum, mut term, mut k) = (0.0, 1.0, 0.0);
    loop {
        k += 1.0;
        let odd = 2.0 * k - 1.0;
        term *= (odd * odd - mu) / (k * 8.0 * x);
        sum += term;
        if f64::abs(term) <= 1e-18 {
            return sum;
        }
    }
}

/// log I₀(x), of the modified Bessel function.
pub fn log_bessel_i0(x: f64) -> f64 {
    let x = x.abs();
    if x < BESSEL_ASYMPTOTIC {
        bessel_series(x).0.ln_1p()
    } else if x < f64::INFINITY {
        x - 0.5 * x.ln() - LN_SQRT_2PI + bessel_tail(x, 0.0).ln_1p()
    } else {
        x
    }
}

/// I₁(x) / I₀(x), the derivative of `log_bessel_i0`.
pub fn bessel_ratio(x: f64) -> f64 {
    if x.abs() < BESSEL_ASYMPTOTIC {
        let (zero, one) = bessel_series(x);
        0.5 * x * one / (1.0 + zero)
    } else if x.abs() < f64::INFINITY {
        let size = (1.0 + bessel_tail(x.abs(), 4.0)) / (1.0 + bessel_tail(x.abs(), 0.0));
        size.copysign(x)
    } else {
        sign(x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values from mpmath at 30 digits. Tolerance: 8 ulp, the sum of the few roundings in each formula.
    #[test]
    fn reference_values() {
        for (op, x, want) in REFERENCE {
            let got = unary(op, x);
            assert!((got - want).abs() <= 8.0 * f64::EPSILON * want.abs(), "{op:?}({x}) = {got:e}, want {want:e}");
        }
    }

    #[rustfmt::skip]
    #[allow(clippy::excessive_precision, clippy::approx_constant, reason = "as mpmath prints them")]
    const REFERENCE: [(UnOp, f64, f64); 111] = [
    (UnOp::LogBesselI0, 1e-09, 2.5000000000000003113e-19),
    (UnOp::BesselRatio, 1e-09, 5.0000000000000003108e-10),
    (UnOp::LogBesselI0, 0.001, 2.4999998437500174652e-7),
    (UnOp::BesselRatio, 0.001, 0.00049999993750001042707),
    (UnOp::LogBesselI0, 0.5, 0.061549719185481303941),
    (UnOp::BesselRatio, 0.5, 0.24249961258080194535),
    (UnOp::LogBesselI0, 1.0, 0.23591435850717864869),
    (UnOp::BesselRatio, 1.0, 0.44638996589653450705),
    (UnOp::LogBesselI0, 3.75, 2.2103542119720192006),
    (UnOp::BesselRatio, 3.75, 0.85317045945306846174),
    (UnOp::LogBesselI0, 8.0, 6.0581042554278139454),
    (UnOp::BesselRatio, 8.0, 0.9352354935294386053),
    (UnOp::LogBesselI0, 20.0, 17.589610428244274291),
    (UnOp::BesselRatio, 20.0, 0.9746705078898071259),
    (UnOp::LogBesselI0, 29.99, 27.374869565890273083),
    (UnOp::BesselRatio, 29.99, 0.98318390033274517003),
    (UnOp::LogBesselI0, 30.0, 27.38470143317193585),
    (UnOp::BesselRatio, 30.0, 0.98318955536533609269),
    (UnOp::LogBesselI0, 55.5, 52.57514289118285782),
    (UnOp::BesselRatio, 55.5, 0.99094965728314151797),
    (UnOp::LogBesselI0, 1000.0, 995.62730888986946467),
    (UnOp::BesselRatio, 1000.0, 0.9994998748748042802),
    (UnOp::LogBesselI0, 100000000.0, 99999989.870721096069),
    (UnOp::BesselRatio, 100000000.0, 0.9999999949999999875),
    (UnOp::LogBesselI0, -2.5, 1.1908386711960280203),
    (UnOp::BesselRatio, -2.5, -0.76499674758880991728),
        (UnOp::Digamma, 0.001, -1.0005755719318102797e+3),
        (UnOp::Digamma, 0.3, -3.5025242222001331249),
        (UnOp::Digamma, 1.0, -5.7721566490153286061e-1),
        (UnOp::Digamma, 1.4616321449683622, -9.2412655217294275168e-17),
        (UnOp::Digamma, 1.46, -1.5805619870834521062e-3),
        (UnOp::Digamma, 1.47, 8.0664890113648684423e-3),
        (UnOp::Digamma, 2.5, 7.0315664064524318723e-1),
        (UnOp::Digamma, 7.25, 1.9104535268837360284),
        (UnOp::Digamma, 10.0, 2.2517525890667211076),
        (UnOp::Digamma, 55.5, 4.0073469585404439122),
        (UnOp::Digamma, 1000000.0, 1.3815510057964190771e+1),
        (UnOp::Digamma, -0.7, -2.0739527936287037831),
        (UnOp::Digamma, -3.3, 3.6203534605921257857),
        (UnOp::Trigamma, 0.001, 1.0000016425331958273e+6),
        (UnOp::Trigamma, 0.3, 1.2245364546107731301e+1),
        (UnOp::Trigamma, 1.0, 1.6449340668482264365),
        (UnOp::Trigamma, 2.5, 4.9035775610023486497e-1),
        (UnOp::Trigamma, 11.9, 8.7663201190004183574e-2),
        (UnOp::Trigamma, 12.0, 8.690187287176839075e-2),
        (UnOp::Trigamma, 100.0, 1.0050166663333571395e-2),
        (UnOp::Trigamma, 100000000.0, 1.0000000050000000167e-8),
        (UnOp::Lgamma, 1e-05, 1.1512919692895825626e+1),
        (UnOp::Lgamma, 0.1, 2.252712651734205902),
        (UnOp::Lgamma, 0.9999, 5.7729791561193862808e-5),
        (UnOp::Lgamma, 1.5, -1.2078223763524522235e-1),
        (UnOp::Lgamma, 1.9999, -4.2275208772153458011e-5),
        (UnOp::Lgamma, 2.0001, 4.2281658112919946317e-5),
        (UnOp::Lgamma, 3.7, 1.4280723266653881292),
        (UnOp::Lgamma, 42.0, 1.1403421178146170323e+2),
        (UnOp::Lgamma, 100000.0, 1.0512877089736568949e+6),
        (UnOp::Erf, -3.0, -9.9997790950300141456e-1),
        (UnOp::Erf, -0.3, -3.2862675945912741619e-1),
        (UnOp::Erf, 1e-08, 1.1283791670955125599e-8),
        (UnOp::Erf, 0.5, 5.2049987781304653768e-1),
        (UnOp::Erf, 0.9, 7.9690821242283213966e-1),
        (UnOp::Erf, 2.0, 9.9532226501895273416e-1),
        (UnOp::Phi, -37.0, 5.7255712225245768227e-300),
        (UnOp::Phi, -20.0, 2.7536241186062336951e-89),
        (UnOp::Phi, -10.3, 3.5230650789264125919e-25),
        (UnOp::Phi, -3.1, 9.6760321321835660196e-4),
        (UnOp::Phi, -2.9, 1.865813300384038479e-3),
        (UnOp::Phi, -1.0, 1.5865525393145705141e-1),
        (UnOp::Phi, 0.0, 5.0e-1),
        (UnOp::Phi, 0.7, 7.5803634777692697138e-1),
        (UnOp::Phi, 3.0, 9.9865010196836990547e-1),
        (UnOp::Phi, 8.0, 9.999999999999993779e-1),
        (UnOp::LogPhi, -10000.0, -5.0000010129278915181e+7),
        (UnOp::LogPhi, -200.0, -2.0006217280898190402e+4),
        (UnOp::LogPhi, -37.5, -7.0766898931750719107e+2),
        (UnOp::LogPhi, -20.0, -2.0391715537109726394e+2),
        (UnOp::LogPhi, -5.0, -1.5064998393988725736e+1),
        (UnOp::LogPhi, -3.1, -6.9406884584212281182),
        (UnOp::LogPhi, -2.9, -6.2840582349474184201),
        (UnOp::LogPhi, -1.0, -1.8410216450092635058),
        (UnOp::LogPhi, -0.1, -7.7615459273027332557e-1),
        (UnOp::LogPhi, 0.0, -6.9314718055994530942e-1),
        (UnOp::LogPhi, 0.3, -4.8141016158848120517e-1),
        (UnOp::LogPhi, 2.0, -2.3012909328963488465e-2),
        (UnOp::LogPhi, 6.0, -9.8658764552437573169e-10),
        (UnOp::LogPhi, 10.0, -7.619853024160526066e-24),
        (UnOp::InvMills, -1000.0, 1.00000099999800001e+3),
        (UnOp::InvMills, -37.5, 3.7526628874883653599e+1),
        (UnOp::InvMills, -20.0, 2.0049753068527850542e+1),
        (UnOp::InvMills, -5.0, 5.1865039671258421156),
        (UnOp::InvMills, -3.01, 3.2923946334467828903),
        (UnOp::InvMills, -2.99, 3.2738058234926887991),
        (UnOp::InvMills, -1.0, 1.5251352761609812091),
        (UnOp::InvMills, 0.0, 7.9788456080286535588e-1),
        (UnOp::InvMills, 1.0, 2.8759997093917836123e-1),
        (UnOp::InvMills, 5.0, 1.4867199409049057124e-6),
        (UnOp::InvMills, 20.0, 5.5209483621597631896e-88),
        (UnOp::Sigmoid, -700.0, 9.8596765437597708567e-305),
        (UnOp::Sigmoid, -40.0, 4.2483542552915889773e-18),
        (UnOp::Sigmoid, -1.0, 2.6894142136999512075e-1),
        (UnOp::Sigmoid, 0.0, 5.0e-1),
        (UnOp::Sigmoid, 0.3, 5.7444251681165898444e-1),
        (UnOp::Sigmoid, 5.0, 9.9330714907571514444e-1),
        (UnOp::Sigmoid, 40.0, 9.9999999999999999575e-1),
        (UnOp::Softplus, -700.0, 9.8596765437597708567e-305),
        (UnOp::Softplus, -40.0, 4.2483542552915889863e-18),
        (UnOp::Softplus, -1.0, 3.1326168751822283405e-1),
        (UnOp::Softplus, 0.0, 6.9314718055994530942e-1),
        (UnOp::Softplus, 0.3, 8.5435524446852711244e-1),
        (UnOp::Softplus, 5.0, 5.0067153484891180686),
        (UnOp::Softplus, 40.0, 4.0000000000000000004e+1),
    ];

    #[test]
    fn edges() {
        assert_eq!(xlogy(0.0, 0.0), 0.0);
        assert_eq!(binary(BinOp::Pow, 0.0, 0.0), 1.0);
        assert_eq!(softplus(-1000.0), 0.0);
        assert_eq!(softplus(1000.0), 1000.0);
        assert_eq!(sigmoid(-1000.0), 0.0);
        assert_eq!(phi(f64::NEG_INFINITY), 0.0);
        assert_eq!(log_phi(f64::INFINITY), 0.0);
        assert!(max(f64::NAN, 1.0).is_nan() && max(1.0, f64::NAN).is_nan());
    }
}
