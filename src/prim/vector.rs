//! Block routines: one function over many lanes, compiled by LLVM for each kind of processor and chosen at run time.
//!
//! The kernels call these through pointers, so all have the C calling convention. Each routine also has a form for one
//! number with the same arithmetic, for code outside lane loops: both give the same bits. Those in
//! single precision have no such form.

use super::{
    contract, gamma_draw as d, lanes, scalar, vector_elementary as e, vector_gamma as g, vector_normal as n,
    vector_single as s,
};
use crate::lower::graph::{BinOp, UnOp};

pub use e::softplus_sigmoid;

/// Which instructions the processor has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Isa {
    Baseline,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// x86-64 with AVX-512 F, BW, DQ and VL.
    Avx512,
}

impl Isa {
    /// The best that this processor runs.
    pub fn detect() -> Isa {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl");
            if avx2 {
                return if avx512 { Isa::Avx512 } else { Isa::Avx2 };
            }
        }
        Isa::Baseline
    }
}

/// Run a short loop as compiled for the widest registers that the processor has; without fused operations, so that its results are
/// the same on all.
#[inline(always)]
pub fn widely<T>(f: impl FnOnce() -> T) -> T {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2")]
        fn avx2<T>(f: impl FnOnce() -> T) -> T {
            f()
        }
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
        fn avx512<T>(f: impl FnOnce() -> T) -> T {
            f()
        }
        match Isa::detect() {
            // The processor has what they are compiled for.
            Isa::Avx512 => return unsafe { avx512(f) },
            Isa::Avx2 => return unsafe { avx2(f) },
            Isa::Baseline => {}
        }
    }
    f()
}

/// After faer: its kernels end with wide registers in use, which makes narrow operations that follow many times slower.
pub fn leave_wide_registers() {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx")]
        fn zero_upper() {
            std::arch::x86_64::_mm256_zeroupper();
        }
        if is_x86_feature_detected!("avx") {
            // The processor has it.
            unsafe { zero_upper() };
        }
    }
}

/// A function that kernels call: its name in the listing, and its address.
#[derive(Clone, Copy, Debug)]
pub struct Routine {
    pub name: &'static str,
    pub address: *const u8,
}

/// A function of one real.
#[derive(Clone, Copy, Debug)]
pub struct Unary {
    /// `fn(x) -> y`
    pub scalar: Routine,
    /// `fn(lanes, x, out)`
    pub block: Routine,
}

/// What a processor without fused multiply-add (every one outside x86-64 here has it) computes with.
const FUSED: bool = cfg!(not(target_arch = "x86_64"));

/// A routine's input.
///
/// # Safety
/// The kernels pass buffers of `n` numbers, and outputs that overlap no input.
#[inline(always)]
unsafe fn read<'a>(n: usize, x: *const f64) -> &'a [f64] {
    unsafe { std::slice::from_raw_parts(x, n) }
}

/// A routine's output.
///
/// # Safety
/// As for [`read`].
#[inline(always)]
unsafe fn written<'a>(n: usize, x: *mut f64) -> &'a mut [f64] {
    unsafe { std::slice::from_raw_parts_mut(x, n) }
}

/// The routine among `baseline`, `avx2` and `avx512`.
macro_rules! picked {
    ($isa:expr, $name:expr) => {{
        #[cfg(target_arch = "x86_64")]
        let address = match $isa {
            Isa::Avx512 => avx512 as *const u8,
            Isa::Avx2 => avx2 as *const u8,
            Isa::Baseline => baseline as *const u8,
        };
        #[cfg(not(target_arch = "x86_64"))]
        let address = {
            let _ = $isa;
            baseline as *const u8
        };
        Routine { name: $name, address }
    }};
}

/// Compiles `body::<F>` three times and picks by [`Isa`].
macro_rules! variants {
    ($isa:expr, $name:expr, fn($($a:ident: $t:ty),*) $(-> $r:ty)?, $body:ident) => {{
        unsafe extern "C" fn baseline($($a: $t),*) $(-> $r)? {
            unsafe { $body::<FUSED>($($a),*) }
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma")]
        unsafe extern "C" fn avx2($($a: $t),*) $(-> $r)? {
            unsafe { $body::<true>($($a),*) }
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
        unsafe extern "C" fn avx512($($a: $t),*) $(-> $r)? {
            unsafe { $body::<true>($($a),*) }
        }
        picked!($isa, $name)
    }};
}

macro_rules! unary {
    ($isa:expr, $name:literal, $f:path) => {
        unary!($isa, $name, $f, |_: f64| None)
    };
    // `$rare` gives the value at arguments that `$f` does not cover.
    ($isa:expr, $name:literal, $f:path, $rare:expr) => {{
        #[inline(always)]
        unsafe fn one<const F: bool>(x: f64) -> f64 {
            ($rare)(x).unwrap_or_else(|| $f(x))
        }
        #[inline(always)]
        unsafe fn many<const F: bool>(n: usize, x: *const f64, out: *mut f64) {
            let (x, out) = unsafe { (read(n, x), written(n, out)) };
            for (o, &x) in out.iter_mut().zip(x) {
                *o = $f(x);
            }
            for (o, &x) in out.iter_mut().zip(x) {
                if let Some(y) = ($rare)(x) {
                    *o = y;
                }
            }
        }
        Unary {
            scalar: variants!($isa, $name, fn(x: f64) -> f64, one),
            block: variants!($isa, concat!($name, "_block"), fn(n: usize, x: *const f64, out: *mut f64), many),
        }
    }};
}

macro_rules! pair {
    ($isa:expr, $name:literal, $f:path) => {
        pair!($isa, $name, $f, |_: f64| None)
    };
    ($isa:expr, $name:literal, $f:path, $rare:expr) => {{
        #[inline(always)]
        unsafe fn many<const F: bool>(n: usize, x: *const f64, first: *mut f64, second: *mut f64) {
            let (x, first, second) = unsafe { (read(n, x), written(n, first), written(n, second)) };
            for ((a, b), &x) in first.iter_mut().zip(second.iter_mut()).zip(x) {
                (*a, *b) = $f(x);
            }
            for ((a, b), &x) in first.iter_mut().zip(second.iter_mut()).zip(x) {
                if let Some(y) = ($rare)(x) {
                    (*a, *b) = y;
                }
            }
        }
        variants!($isa, concat!($name, "_block"), fn(n: usize, x: *const f64, first: *mut f64, second: *mut f64), many)
    }};
}

/// The gamma functions at 0 and below, which models have no use for.
fn gamma(x: f64, f: fn(f64) -> f64) -> Option<f64> {
    (x <= 0.0).then(|| f(x))
}

/// The routine for a function, or `None` where the kernel computes it in place.
pub fn unary(isa: Isa, op: UnOp) -> Option<Unary> {
    Some(match op {
        UnOp::Neg
        | UnOp::Abs
        | UnOp::Sqrt
        | UnOp::Recip
        | UnOp::Floor
        | UnOp::Ceil
        | UnOp::Round
        | UnOp::Not
        | UnOp::Sign => return None,
        UnOp::Exp => unary!(isa, "exp", e::exp::<F>),
        UnOp::Log => unary!(isa, "log", e::log::<F>),
        UnOp::Log1p => unary!(isa, "log1p", e::log1p::<F>),
        UnOp::Expm1 => unary!(isa, "expm1", e::expm1::<F>),
        UnOp::Tanh => unary!(isa, "tanh", e::tanh::<F>),
        UnOp::Sin => unary!(isa, "sin", f64::sin),
        UnOp::Cos => unary!(isa, "cos", f64::cos),
        UnOp::Atan => unary!(isa, "atan", f64::atan),
        UnOp::Sigmoid => unary!(isa, "sigmoid", e::sigmoid::<F>),
        UnOp::Softplus => unary!(isa, "softplus", e::softplus::<F>),
        UnOp::Lgamma => unary!(isa, "lgamma", g::lgamma::<F>, |x| gamma(x, scalar::lgamma)),
        UnOp::Digamma => unary!(isa, "digamma", g::digamma::<F>, |x| gamma(x, scalar::digamma)),
        UnOp::Trigamma => unary!(isa, "trigamma", g::trigamma::<F>, |x| gamma(x, scalar::trigamma)),
        UnOp::Erf => unary!(isa, "erf", n::erf::<F>),
        UnOp::Phi => unary!(isa, "phi", n::phi::<F>),
        UnOp::LogPhi => unary!(isa, "log_phi", n::log_phi::<F>),
        UnOp::InvMills => unary!(isa, "inv_mills", n::inv_mills::<F>),
        UnOp::LogBesselI0 => unary!(isa, "log_bessel_i0", scalar::log_bessel_i0),
        UnOp::BesselRatio => unary!(isa, "bessel_ratio", scalar::bessel_ratio),
    })
}

/// Functions of one argument that cost little more together: `fn(lanes, x, first, second)`.
pub fn pair(isa: Isa, first: UnOp, second: UnOp) -> Option<Routine> {
    match (first, second) {
        (UnOp::Softplus, UnOp::Sigmoid) => Some(pair!(isa, "softplus_sigmoid", e::softplus_sigmoid::<F>)),
        (UnOp::Lgamma, UnOp::Digamma) => Some(pair!(isa, "lgamma_digamma", g::lgamma_digamma::<F>, |x| {
            Some((gamma(x, scalar::lgamma)?, scalar::digamma(x)))
        })),
        (UnOp::LogPhi, UnOp::InvMills) => Some(pair!(isa, "log_phi_inv_mills", n::log_phi_inv_mills::<F>)),
        _ => None,
    }
}

/// The block routine of an activation of nets in single precision.
pub fn single(isa: Isa, op: UnOp) -> Option<Routine> {
    macro_rules! single {
        ($name:literal, $f:path) => {{
            #[inline(always)]
            unsafe fn many<const F: bool>(n: usize, x: *const f64, out: *mut f64) {
                unsafe { s::each(read(n, x), written(n, out), $f) };
            }
            Some(variants!(isa, $name, fn(n: usize, x: *const f64, out: *mut f64), many))
        }};
    }
    match op {
        UnOp::Softplus => single!("softplus_single", s::softplus::<F>),
        UnOp::Sigmoid => single!("sigmoid_single", s::sigmoid::<F>),
        UnOp::Tanh => single!("tanh_single", s::tanh::<F>),
        _ => None,
    }
}

/// The same for two of them together.
pub fn single_pair(isa: Isa, first: UnOp, second: UnOp) -> Option<Routine> {
    #[inline(always)]
    unsafe fn many<const F: bool>(n: usize, x: *const f64, first: *mut f64, second: *mut f64) {
        let out = unsafe { [written(n, first), written(n, second)] };
        unsafe { s::each_pair(read(n, x), out, s::softplus_sigmoid::<F>) };
    }
    let both = (first, second) == (UnOp::Softplus, UnOp::Sigmoid);
    let name = "softplus_sigmoid_single";
    both.then(|| variants!(isa, name, fn(n: usize, x: *const f64, first: *mut f64, second: *mut f64), many))
}

/// Functions of two numbers that are called.
pub const BINARY: [BinOp; 3] = [BinOp::Pow, BinOp::LogGammaDraw, BinOp::LogGammaDrawSlope];

/// A function of two numbers: for one pair `fn(a, b) -> y`, for lanes `fn(lanes, a, b, out)`.
pub fn binary(isa: Isa, op: BinOp) -> Option<(Routine, Routine)> {
    macro_rules! routines {
        ($one:literal, $block:literal, $f:expr) => {{
            #[inline(always)]
            unsafe fn one<const F: bool>(a: f64, b: f64) -> f64 {
                $f(a, b)
            }
            #[inline(always)]
            unsafe fn many<const F: bool>(n: usize, a: *const f64, b: *const f64, out: *mut f64) {
                let (a, b, out) = unsafe { (read(n, a), read(n, b), written(n, out)) };
                for ((o, a), b) in out.iter_mut().zip(a).zip(b) {
                    *o = $f(*a, *b);
                }
            }
            Some((
                variants!(isa, $one, fn(a: f64, b: f64) -> f64, one),
                variants!(isa, $block, fn(n: usize, a: *const f64, b: *const f64, out: *mut f64), many),
            ))
        }};
    }
    match op {
        BinOp::Pow => routines!("pow", "pow_block", f64::powf),
        BinOp::LogGammaDraw => routines!("log_gamma_draw", "log_gamma_draw_block", d::log_gamma_draw),
        BinOp::LogGammaDrawSlope => {
            routines!("log_gamma_draw_slope", "log_gamma_draw_slope_block", d::log_gamma_draw_slope)
        }
        _ => None,
    }
}

/// Compiles `$body::<L>` with the lanes of each kind of processor and picks by [`Isa`].
macro_rules! wide {
    ($isa:expr, $name:expr, fn($($a:ident: $t:ty),*), $body:path) => {{
        use $body as body;
        use lanes::Plain;
        unsafe extern "C" fn baseline($($a: $t),*) {
            unsafe { body::<Plain<FUSED>>($($a),*) }
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma")]
        unsafe extern "C" fn avx2($($a: $t),*) {
            unsafe { body::<std::arch::x86_64::__m256d>($($a),*) }
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
        unsafe extern "C" fn avx512($($a: $t),*) {
            unsafe { body::<std::arch::x86_64::__m512d>($($a),*) }
        }
        picked!($isa, $name)
    }};
}

/// `out[i] = Σ_k a[i + k·sa]·b[k·sb]`: `fn(lanes, ks, a, sa, b, sb, out)`.
pub fn contract(isa: Isa) -> Routine {
    wide!(
        isa,
        "contract_block",
        fn(n: usize, ks: usize, a: *const f64, sa: usize, b: *const f64, sb: usize, out: *mut f64),
        contract::product
    )
}

/// `target[k·st] += Σ_i v[i]·a[i + k·sa]`: `fn(lanes, ks, v, a, sa, target, st)`.
pub fn contract_t(isa: Isa) -> Routine {
    wide!(
        isa,
        "contract_t_block",
        fn(n: usize, ks: usize, v: *const f64, a: *const f64, sa: usize, target: *mut f64, st: usize),
        contract::transposed
    )
}

/// Every function that [`unary`] has.
pub const FUNCTIONS: [UnOp; 19] = [
    UnOp::Exp,
    UnOp::Log,
    UnOp::Log1p,
    UnOp::Expm1,
    UnOp::Tanh,
    UnOp::Sin,
    UnOp::Cos,
    UnOp::Atan,
    UnOp::Sigmoid,
    UnOp::Softplus,
    UnOp::Lgamma,
    UnOp::Digamma,
    UnOp::Trigamma,
    UnOp::Erf,
    UnOp::Phi,
    UnOp::LogPhi,
    UnOp::InvMills,
    UnOp::LogBesselI0,
    UnOp::BesselRatio,
];

/// Every pair that [`pair`] has.
pub const PAIRS: [(UnOp, UnOp); 3] =
    [(UnOp::Softplus, UnOp::Sigmoid), (UnOp::Lgamma, UnOp::Digamma), (UnOp::LogPhi, UnOp::InvMills)];
