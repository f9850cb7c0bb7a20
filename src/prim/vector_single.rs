//! Activations of neural nets in single precision: what [`super::vector_elementary`] has, for numbers that come from products in
//! that precision. Blocks of arguments and results are double, rounded on the way, so that kernels need not know.
//!
//! Relative errors are at most 4e-7, at the rounded argument; rounding x moves e^x by up to 6e-8 |x| besides. Below e^-87, where single
//! precision ends, e^x stays at that.

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

/// 2^n and e^r - 1, so that x = n ln 2 + r, for -87 ≤ x ≤ 0: the series, whose next term is at most 5.2e-9.
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

/// Numbers that are rounded, computed with and widened together: loops over one width alone use whole registers.
const TOGETHER: usize = 64;

/// `f` of each number.
#[inline(always)]
pub fn each(x: &[f64], out: &mut [f64], f: impl Fn(f32) -> f32) {
    let mut some = [0.0; TOGETHER];
    for (x, out) in x.chunks(TOGETHER).zip(out.chunks_mut(TOGETHER)) {
        some.iter_mut().zip(x).for_each(|(s, x)| *s = *x as f32);
        some.iter_mut().for_each(|s| *s = f(*s));
        out.iter_mut().zip(&some).for_each(|(o, s)| *o = f64::from(*s));
    }
}

/// The two that `f` makes of each number.
#[inline(always)]
pub fn each_pair(x: &[f64], out: [&mut [f64]; 2], f: impl Fn(f32) -> (f32, f32)) {
    let [first, second] = out;
    let mut some = [[0.0; TOGETHER]; 2];
    let out = first.chunks_mut(TOGETHER).zip(second.chunks_mut(TOGETHER));
    for (x, (first, second)) in x.chunks(TOGETHER).zip(out) {
        let [one, two] = &mut some;
        one.iter_mut().zip(x).for_each(|(s, x)| *s = *x as f32);
        one.iter_mut().zip(two.iter_mut()).for_each(|(a, b)| (*a, *b) = f(*a));
        first.iter_mut().zip(one).for_each(|(o, s)| *o = f64::from(*s));
        second.iter_mut().zip(two).for_each(|(o, s)| *o = f64::from(*s));
    }
}

/// log(1 + e^x) and 1 / (1 + e^-x).
#[inline(always)]
pub fn softplus_sigmoid<const F: bool>(x: f32) -> (f32, f32) {
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
    (sel(x > 0.0, x, 0.0) + log, sel(x >= 0.0, inverse, e * inverse))
}

#[inline(always)]
pub fn softplus<const F: bool>(x: f32) -> f32 {
    softplus_sigmoid::<F>(x).0
}

#[inline(always)]
pub fn sigmoid<const F: bool>(x: f32) -> f32 {
    let e = exp_neg::<F>(x);
    sel(x >= 0.0, 1.0, e) / (1.0 + e)
}

#[inline(always)]
pub fn tanh<const F: bool>(x: f32) -> f32 {
    let size = x.abs();
    let (power, q) = reduce::<F>(sel(size > 43.0, -86.0, -2.0 * size));
    // e^-2|x| - 1, with every digit of a small x.
    let e = fma::<F>(power, q, power - 1.0);
    (-e / (2.0 + e)).copysign(x)
}

#[cfg(test)]
mod tests {
    use crate::lower::graph::UnOp;
    use crate::prim::scalar;
    use crate::prim::vector::{self, Isa};

    const ALL: [UnOp; 3] = [UnOp::Softplus, UnOp::Sigmoid, UnOp::Tanh];

    /// What the routines of the best kind of processor here, and of the least, make of the numbers.
    fn made(op: UnOp, x: &[f64]) -> Vec<Vec<f64>> {
        let of = |isa: Isa| {
            let address = vector::single(isa, op).expect("an activation").address;
            let f: unsafe extern "C" fn(usize, *const f64, *mut f64) = unsafe { std::mem::transmute(address) };
            let mut out = vec![7.0; x.len() + 1];
            unsafe { f(x.len(), x.as_ptr(), out.as_mut_ptr()) };
            assert_eq!(out.pop(), Some(7.0), "it writes no further");
            out
        };
        [Isa::Baseline, Isa::detect()].map(of).into()
    }

    /// Numbers of single precision, so that rounding them changes nothing.
    fn numbers() -> Vec<f64> {
        let spread = (0..20_001).map(|i| (f64::from(i) - 10_000.0) * 0.0086);
        let small = (0..600).map(|i| 10f64.powf(-0.06 * f64::from(i)) * if i % 2 == 0 { 1.0 } else { -1.0 });
        spread.chain(small).map(|x| f64::from(x as f32)).collect()
    }

    #[test]
    fn errors_are_those_of_single_precision() {
        let x = numbers();
        for op in ALL {
            for out in made(op, &x) {
                for (x, got) in x.iter().zip(out) {
                    let want = scalar::unary(op, *x);
                    assert!((got - want).abs() <= 4e-7 * want.abs(), "{op:?}({x:e}) = {got:e}, not {want:e}");
                }
            }
        }
    }

    #[test]
    fn pairs_are_as_alone() {
        let x = numbers();
        let isa = Isa::detect();
        let pair = vector::single_pair(isa, UnOp::Softplus, UnOp::Sigmoid).expect("a pair").address;
        let pair: unsafe extern "C" fn(usize, *const f64, *mut f64, *mut f64) = unsafe { std::mem::transmute(pair) };
        let (mut first, mut second) = (x.clone(), x.clone());
        unsafe { pair(x.len(), x.as_ptr(), first.as_mut_ptr(), second.as_mut_ptr()) };
        assert_eq!(Some(&first), made(UnOp::Softplus, &x).last());
        // Alone it divides once; together it shares a division.
        let alone = made(UnOp::Sigmoid, &x).pop().expect("the best");
        assert!(second.iter().zip(alone).all(|(x, y)| (x - y).abs() <= 4e-7 * y.abs()));
    }

    #[test]
    fn ends_are_kept() {
        for op in ALL {
            for out in made(op, &[f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e300, -95.0]) {
                assert!(out[0].is_nan(), "{op:?}(NaN)");
                let most = if op == UnOp::Softplus { f64::INFINITY } else { 1.0 };
                assert_eq!([out[1], out[3]], [most; 2], "{op:?} far up");
                let least = scalar::unary(op, f64::NEG_INFINITY);
                assert!([out[2], out[4], out[5]].iter().all(|y| (y - least).abs() < 2e-38), "{op:?} far down: {out:?}");
            }
        }
    }
}
