//! The vector routines on every kind of processor at hand: against correctly rounded functions, reference values,
//! special values, and each block against the routine for one number.

use super::vector::{self, FUNCTIONS, Isa, PAIRS};
use crate::lower::graph::UnOp;
use crate::prim::scalar;

type One = unsafe extern "C" fn(f64) -> f64;
type Block = unsafe extern "C" fn(usize, *const f64, *mut f64);
type Pair = unsafe extern "C" fn(usize, *const f64, *mut f64, *mut f64);

/// What the processor runs, least first.
fn isas() -> Vec<Isa> {
    let all = [Isa::Baseline, Isa::Avx2, Isa::Avx512];
    let best = all.iter().position(|i| *i == Isa::detect()).expect("one of them");
    all[..=best].to_vec()
}

fn one(isa: Isa, op: UnOp) -> impl Fn(f64) -> f64 {
    let address = vector::unary(isa, op).expect("a function with routines").scalar.address;
    let f = unsafe { std::mem::transmute::<*const u8, One>(address) };
    move |x| unsafe { f(x) }
}

/// Distance in units of the last place of `want`.
fn ulps(got: f64, want: f64) -> f64 {
    if got == want || (got.is_nan() && want.is_nan()) {
        return 0.0;
    }
    let unit = f64::from_bits(want.abs().to_bits() + 1) - want.abs();
    (got - want).abs() / unit
}

/// What is claimed, in units of the last place: the worst found on 3000 points per function against 50 digits, rounded
/// up; without fused multiply-add the log-gamma function is the only one that needs more than with it.
fn claim(op: UnOp) -> f64 {
    match op {
        UnOp::Exp | UnOp::Log | UnOp::Log1p | UnOp::Sin | UnOp::Cos | UnOp::Atan => 1.0,
        UnOp::Softplus | UnOp::Erf => 1.5,
        UnOp::Expm1 | UnOp::Sigmoid => 2.0,
        UnOp::Tanh => 2.5,
        UnOp::LogPhi => 3.5,
        UnOp::Lgamma | UnOp::Digamma | UnOp::Trigamma | UnOp::InvMills => 4.0,
        UnOp::LogBesselI0 | UnOp::BesselRatio => 8.0,
        UnOp::Phi => 4.5,
        UnOp::Neg
        | UnOp::Abs
        | UnOp::Sqrt
        | UnOp::Recip
        | UnOp::Floor
        | UnOp::Ceil
        | UnOp::Round
        | UnOp::Not
        | UnOp::Sign => {
            unreachable!("computed in place")
        }
    }
}

#[test]
fn near_correct_rounding() {
    use core_math as exact;
    let spread = |a: f64, b: f64| (0..3000).map(move |i| a + (b - a) * (i as f64 + 0.37) / 3000.0);
    let magnitudes = |a: f64, b: f64| spread(a, b).map(|e| 10f64.powf(e));
    type Case = (UnOp, fn(f64) -> f64, Vec<f64>);
    let cases: [Case; 10] = [
        (UnOp::Exp, exact::exp, spread(-745.0, 709.7).chain(spread(-3.0, 3.0)).collect()),
        (
            UnOp::Expm1,
            exact::expm1,
            spread(-40.0, 709.7).chain(spread(-2.0, 2.0)).chain(magnitudes(-300.0, 0.0)).collect(),
        ),
        (UnOp::Log, exact::log, magnitudes(-323.0, 308.0).chain(spread(0.5, 2.0)).collect()),
        (UnOp::Log1p, exact::log1p, magnitudes(-300.0, 300.0).chain(spread(-0.9999, 2.0)).collect()),
        (
            UnOp::Tanh,
            exact::tanh,
            spread(-25.0, 25.0).chain(spread(-2.0, 2.0)).chain(magnitudes(-300.0, 0.0)).collect(),
        ),
        (UnOp::Erf, exact::erf, spread(-7.0, 7.0).chain(magnitudes(-300.0, 0.0)).collect()),
        (
            UnOp::Lgamma,
            exact::lgamma,
            magnitudes(-300.0, 300.0).chain(spread(0.001, 10.0)).chain(spread(0.9, 2.1)).collect(),
        ),
        (UnOp::Sin, exact::sin, spread(-100.0, 100.0).collect()),
        (UnOp::Cos, exact::cos, spread(-100.0, 100.0).collect()),
        (UnOp::Atan, exact::atan, spread(-100.0, 100.0).collect()),
    ];
    for isa in isas() {
        for (op, exact, points) in &cases {
            let f = one(isa, *op);
            for &x in points {
                // `exact` is itself rounded: up to half a unit.
                let off = ulps(f(x), exact(x));
                assert!(off <= claim(*op) + 0.5, "{op:?}({x:e}) on {isa:?}: {off:.2} ulp off");
            }
        }
    }
}

#[test]
fn reference_values() {
    for isa in isas() {
        for &(op, x, want) in REFERENCE {
            let got = one(isa, op)(x);
            let off = ulps(got, want);
            let small = op == UnOp::Digamma && (got - want).abs() < 1e-15;
            assert!(off <= claim(op) + 0.5 || small, "{op:?}({x:e}) = {got:e} on {isa:?}: {off:.2} ulp off");
        }
    }
}

/// Where a function ends, and NaN, as the scalar functions have it.
#[test]
fn special_values() {
    let tiny = f64::from_bits(1);
    for isa in isas() {
        for op in FUNCTIONS {
            let f = one(isa, op);
            assert!(f(f64::NAN).is_nan(), "{op:?}(NaN) on {isa:?}");
            for x in [f64::INFINITY, f64::NEG_INFINITY, 0.0, tiny, -tiny, -1.0, -2.5, 1e300, -1e300, 800.0, -800.0] {
                let (got, want) = (f(x), scalar::unary(op, x));
                let same = ulps(got, want) <= 9.0 || (want.abs() < 1e-307 && (got - want).abs() < 1e-320);
                assert!(same, "{op:?}({x:e}) = {got:e} on {isa:?}, but {want:e} alone");
            }
        }
    }
}

#[test]
fn blocks_equal_single_numbers() {
    for isa in isas() {
        for n in [0, 1, 2, 3, 7, 8, 63, 64, 65, 512] {
            let x: Vec<f64> = (0..n).map(|i| 0.01 + 0.173 * i as f64).collect();
            // A guard after the lanes: routines write no further.
            let (mut out, mut second) = (vec![7.0; n + 1], vec![7.0; n + 1]);
            let check = |op, out: &[f64]| {
                let f = one(isa, op);
                for (x, y) in x.iter().zip(out) {
                    assert_eq!(f(*x).to_bits(), y.to_bits(), "{op:?}({x}) on {isa:?}");
                }
                assert_eq!(out[n], 7.0);
            };
            for op in FUNCTIONS {
                let address = vector::unary(isa, op).expect("a function with routines").block.address;
                let f = unsafe { std::mem::transmute::<*const u8, Block>(address) };
                unsafe { f(n, x.as_ptr(), out.as_mut_ptr()) };
                check(op, &out);
            }
            for (a, b) in PAIRS {
                let address = vector::pair(isa, a, b).expect("a pair").address;
                let f = unsafe { std::mem::transmute::<*const u8, Pair>(address) };
                unsafe { f(n, x.as_ptr(), out.as_mut_ptr(), second.as_mut_ptr()) };
                check(a, &out);
                // The sigmoid alone divides once, together it shares a division: the last bit may differ.
                if b != UnOp::Sigmoid {
                    check(b, &second);
                }
            }
        }
    }
}

/// By mpmath at 50 digits.
#[rustfmt::skip]
const REFERENCE: &[(UnOp, f64, f64)] = &[
    (UnOp::Sigmoid, -744.0, 7.6719447041799790739e-324),
    (UnOp::Sigmoid, -710.0, 4.4762862256751299561e-309),
    (UnOp::Sigmoid, -700.0, 9.8596765437597708567e-305),
    (UnOp::Sigmoid, -100.5, 2.2563401359170363132e-44),
    (UnOp::Sigmoid, -37.25, 6.645544172915070098e-17),
    (UnOp::Sigmoid, -20.0, 2.0611536181902035814e-9),
    (UnOp::Sigmoid, -8.3, 2.4845508183933428636e-4),
    (UnOp::Sigmoid, -3.0, 0.047425873177566780879),
    (UnOp::Sigmoid, -1.0, 0.26894142136999512075),
    (UnOp::Sigmoid, -0.4, 0.4013123398875479943),
    (UnOp::Sigmoid, -1e-09, 0.49999999975),
    (UnOp::Sigmoid, 0.0, 0.5),
    (UnOp::Sigmoid, 1e-09, 0.50000000025),
    (UnOp::Sigmoid, 0.3, 0.57444251681165898444),
    (UnOp::Sigmoid, 0.9, 0.71094950262500396803),
    (UnOp::Sigmoid, 2.5, 0.92414181997875644881),
    (UnOp::Sigmoid, 7.0, 0.99908894880559935464),
    (UnOp::Sigmoid, 20.0, 0.99999999793884638181),
    (UnOp::Sigmoid, 36.5, 0.99999999999999985931),
    (UnOp::Sigmoid, 700.0, 1.0),
    (UnOp::Softplus, -744.0, 7.6719447041799790739e-324),
    (UnOp::Softplus, -710.0, 4.4762862256751299561e-309),
    (UnOp::Softplus, -700.0, 9.8596765437597708567e-305),
    (UnOp::Softplus, -100.5, 2.2563401359170363132e-44),
    (UnOp::Softplus, -37.25, 6.6455441729150703188e-17),
    (UnOp::Softplus, -20.0, 2.0611536203143807032e-9),
    (UnOp::Softplus, -8.3, 2.4848595191650442909e-4),
    (UnOp::Softplus, -3.0, 0.048587351573742058759),
    (UnOp::Softplus, -1.0, 0.31326168751822283405),
    (UnOp::Softplus, -0.4, 0.51301525239995261476),
    (UnOp::Softplus, -1e-09, 0.69314718005994530954),
    (UnOp::Softplus, 0.0, 0.69314718055994530942),
    (UnOp::Softplus, 1e-09, 0.69314718105994530954),
    (UnOp::Softplus, 0.3, 0.85435524446852711244),
    (UnOp::Softplus, 0.9, 1.241153874732087839),
    (UnOp::Softplus, 2.5, 2.5788897342925496233),
    (UnOp::Softplus, 7.0, 7.0009114664537742447),
    (UnOp::Softplus, 20.0, 20.00000000206115362),
    (UnOp::Softplus, 36.5, 36.500000000000000141),
    (UnOp::Softplus, 700.0, 700.0),
    (UnOp::Digamma, 1e-300, -9.9999999999999997494e+299),
    (UnOp::Digamma, 1e-09, -1.000000000577215601e+9),
    (UnOp::Digamma, 0.001, -1000.5755719318102797),
    (UnOp::Digamma, 0.1, -10.423754940411076232),
    (UnOp::Digamma, 0.5, -1.9635100260214234794),
    (UnOp::Digamma, 0.9, -0.7549269499470513492),
    (UnOp::Digamma, 1.0, -0.57721566490153286061),
    (UnOp::Digamma, 1.2, -0.28903989659218835183),
    (UnOp::Digamma, 1.7, 0.20854787487349392145),
    (UnOp::Digamma, 2.0, 0.42278433509846713939),
    (UnOp::Digamma, 2.5, 0.70315664064524318723),
    (UnOp::Digamma, 3.3, 1.0348224890596216863),
    (UnOp::Digamma, 5.0, 1.5061176684318004727),
    (UnOp::Digamma, 7.9, 2.0022384875635710357),
    (UnOp::Digamma, 8.0, 2.0156414779556099965),
    (UnOp::Digamma, 8.1, 2.0288674570805814336),
    (UnOp::Digamma, 9.5, 2.1977378764029495332),
    (UnOp::Digamma, 12.0, 2.4426616799758120167),
    (UnOp::Digamma, 33.3, 3.4904672385202427773),
    (UnOp::Digamma, 1000.0, 6.9072551956488120521),
    (UnOp::Digamma, 1000000.0, 13.815510057964190771),
    (UnOp::Digamma, 1000000000000000.0, 34.53877639491068476),
    (UnOp::Trigamma, 1e-100, 9.9999999999999996002e+199),
    (UnOp::Trigamma, 1e-09, 9.9999999999999987708e+17),
    (UnOp::Trigamma, 0.001, 1.0000016425331958273e+6),
    (UnOp::Trigamma, 0.1, 101.4332991507927477),
    (UnOp::Trigamma, 0.5, 4.9348022005446793094),
    (UnOp::Trigamma, 0.9, 1.9225399594772034454),
    (UnOp::Trigamma, 1.0, 1.6449340668482264365),
    (UnOp::Trigamma, 1.46, 0.96911962150988789455),
    (UnOp::Trigamma, 2.0, 0.64493406684822643647),
    (UnOp::Trigamma, 3.3, 0.35350154184106183225),
    (UnOp::Trigamma, 5.0, 0.22132295573711532536),
    (UnOp::Trigamma, 7.9, 0.13493078345663441547),
    (UnOp::Trigamma, 9.99, 0.10527695014824178439),
    (UnOp::Trigamma, 10.0, 0.10516633568168574612),
    (UnOp::Trigamma, 10.2, 0.10300181345008003958),
    (UnOp::Trigamma, 15.0, 0.068938227847683806226),
    (UnOp::Trigamma, 33.3, 0.03048544409533888779),
    (UnOp::Trigamma, 1000.0, 1.0005001666666333334e-3),
    (UnOp::Trigamma, 1000000.0, 1.0000005000001666667e-6),
    (UnOp::Trigamma, 1000000000000000.0, 1.0000000000000005e-15),
    (UnOp::Phi, -38.0, 2.8854283600687843084e-316),
    (UnOp::Phi, -37.0, 5.7255712225245768227e-300),
    (UnOp::Phi, -20.25, 1.7761998649495700309e-91),
    (UnOp::Phi, -10.3, 3.5230650789264125919e-25),
    (UnOp::Phi, -5.0, 2.8665157187919391167e-7),
    (UnOp::Phi, -2.9, 1.865813300384038479e-3),
    (UnOp::Phi, -2.0, 0.0227501319481792072),
    (UnOp::Phi, -1.0, 0.15865525393145705141),
    (UnOp::Phi, -0.71, 0.23885206808998673293),
    (UnOp::Phi, -0.69, 0.24509709367430947489),
    (UnOp::Phi, -0.3, 0.38208857781104736693),
    (UnOp::Phi, 0.0, 0.5),
    (UnOp::Phi, 1e-09, 0.5000000003989422804),
    (UnOp::Phi, 0.2, 0.57925970943910302738),
    (UnOp::Phi, 0.69, 0.75490290632569052511),
    (UnOp::Phi, 0.71, 0.76114793191001326707),
    (UnOp::Phi, 1.5, 0.933192798731141934),
    (UnOp::Phi, 3.0, 0.99865010196836990547),
    (UnOp::Phi, 5.0, 0.99999971334842812081),
    (UnOp::Phi, 8.0, 0.9999999999999993779),
    (UnOp::LogPhi, -1000000.0, -5.0000000001473444909e+11),
    (UnOp::LogPhi, -10000.0, -5.0000010129278915181e+7),
    (UnOp::LogPhi, -200.0, -20006.217280898190402),
    (UnOp::LogPhi, -38.0, -726.5572160188201301),
    (UnOp::LogPhi, -20.0, -203.91715537109726394),
    (UnOp::LogPhi, -5.0, -15.064998393988725736),
    (UnOp::LogPhi, -2.9, -6.2840582349474184201),
    (UnOp::LogPhi, -1.0, -1.8410216450092635058),
    (UnOp::LogPhi, -0.71, -1.431910880653248157),
    (UnOp::LogPhi, -0.69, -1.4061008462323290379),
    (UnOp::LogPhi, -0.1, -0.77615459273027332557),
    (UnOp::LogPhi, 0.0, -0.69314718055994530942),
    (UnOp::LogPhi, 0.3, -0.48141016158848120517),
    (UnOp::LogPhi, 0.69, -0.28116613889604134763),
    (UnOp::LogPhi, 0.71, -0.27292754854026002816),
    (UnOp::LogPhi, 1.3, -0.10181180266765503052),
    (UnOp::LogPhi, 2.0, -0.023012909328963488465),
    (UnOp::LogPhi, 4.1, -2.0657720281781147481e-5),
    (UnOp::LogPhi, 6.0, -9.8658764552437573169e-10),
    (UnOp::LogPhi, 10.0, -7.619853024160526066e-24),
    (UnOp::LogPhi, 25.0, -3.0566967063825609164e-138),
    (UnOp::InvMills, -1000000.0, 1.000000000001e+6),
    (UnOp::InvMills, -1000.0, 1000.00099999800001),
    (UnOp::InvMills, -37.5, 37.526628874883653599),
    (UnOp::InvMills, -20.0, 20.049753068527850542),
    (UnOp::InvMills, -5.0, 5.1865039671258421156),
    (UnOp::InvMills, -3.0, 3.2830986549304365069),
    (UnOp::InvMills, -1.0, 1.5251352761609812091),
    (UnOp::InvMills, -0.7, 1.2904993394581665131),
    (UnOp::InvMills, -0.1, 0.86261747153093614384),
    (UnOp::InvMills, 0.0, 0.79788456080286535588),
    (UnOp::InvMills, 0.1, 0.73533174850578066492),
    (UnOp::InvMills, 0.54, 0.48882517171564664719),
    (UnOp::InvMills, 1.0, 0.28759997093917836123),
    (UnOp::InvMills, 2.2, 0.035974766118774185406),
    (UnOp::InvMills, 5.0, 1.4867199409049057124e-6),
    (UnOp::InvMills, 20.0, 5.5209483621597631896e-88),
    (UnOp::InvMills, 35.0, 3.9403962771360243307e-267),
];
