//! A register of lanes, for the few loops that LLVM does not vectorise well by itself.

/// As many numbers as a register holds. The methods compile to single instructions where the processor that the
/// implementation names is enabled, so they are for `#[target_feature]` functions and what is inlined into them.
pub trait Lanes: Copy {
    const N: usize;
    /// Whether the processor multiplies and adds in one rounding.
    const FUSED: bool = true;
    fn splat(x: f64) -> Self;
    /// # Safety
    /// `N` numbers can be read at `at`.
    unsafe fn load(at: *const f64) -> Self;
    /// # Safety
    /// `N` numbers can be written at `at`.
    unsafe fn store(self, at: *mut f64);
    fn add(self, other: Self) -> Self;
    /// `self·by + to`
    fn mul_add(self, by: Self, to: Self) -> Self;
    /// All lanes together.
    fn sum(self) -> f64;

    /// `a·b + c` of single numbers.
    #[inline(always)]
    fn mul_add_one(a: f64, b: f64, c: f64) -> f64 {
        if Self::FUSED { a.mul_add(b, c) } else { a * b + c }
    }
}

/// Four numbers, for any processor; `FUSED` if it multiplies and adds in one rounding.
#[derive(Clone, Copy)]
pub struct Plain<const FUSED: bool>([f64; 4]);

impl<const FUSED: bool> Lanes for Plain<FUSED> {
    const N: usize = 4;
    const FUSED: bool = FUSED;

    #[inline(always)]
    fn splat(x: f64) -> Self {
        Plain([x; 4])
    }

    #[inline(always)]
    unsafe fn load(at: *const f64) -> Self {
        Plain(unsafe { at.cast::<[f64; 4]>().read() })
    }

    #[inline(always)]
    unsafe fn store(self, at: *mut f64) {
        unsafe { at.cast::<[f64; 4]>().write(self.0) };
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Plain(std::array::from_fn(|l| self.0[l] + other.0[l]))
    }

    #[inline(always)]
    fn mul_add(self, by: Self, to: Self) -> Self {
        Plain(std::array::from_fn(|l| Self::mul_add_one(self.0[l], by.0[l], to.0[l])))
    }

    #[inline(always)]
    fn sum(self) -> f64 {
        (self.0[0] + self.0[2]) + (self.0[1] + self.0[3])
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::Lanes;

    impl Lanes for __m256d {
        const N: usize = 4;

        #[inline(always)]
        fn splat(x: f64) -> Self {
            unsafe { _mm256_set1_pd(x) }
        }

        #[inline(always)]
        unsafe fn load(at: *const f64) -> Self {
            unsafe { _mm256_loadu_pd(at) }
        }

        #[inline(always)]
        unsafe fn store(self, at: *mut f64) {
            unsafe { _mm256_storeu_pd(at, self) };
        }

        #[inline(always)]
        fn add(self, other: Self) -> Self {
            unsafe { _mm256_add_pd(self, other) }
        }

        #[inline(always)]
        fn mul_add(self, by: Self, to: Self) -> Self {
            unsafe { _mm256_fmadd_pd(self, by, to) }
        }

        #[inline(always)]
        fn sum(self) -> f64 {
            unsafe {
                let pair = _mm_add_pd(_mm256_castpd256_pd128(self), _mm256_extractf128_pd::<1>(self));
                _mm_cvtsd_f64(_mm_add_sd(pair, _mm_unpackhi_pd(pair, pair)))
            }
        }
    }

    impl Lanes for __m512d {
        const N: usize = 8;

        #[inline(always)]
        fn splat(x: f64) -> Self {
            unsafe { _mm512_set1_pd(x) }
        }

        #[inline(always)]
        unsafe fn load(at: *const f64) -> Self {
            unsafe { _mm512_loadu_pd(at) }
        }

        #[inline(always)]
        unsafe fn store(self, at: *mut f64) {
            unsafe { _mm512_storeu_pd(at, self) };
        }

        #[inline(always)]
        fn add(self, other: Self) -> Self {
            unsafe { _mm512_add_pd(self, other) }
        }

        #[inline(always)]
        fn mul_add(self, by: Self, to: Self) -> Self {
            unsafe { _mm512_fmadd_pd(self, by, to) }
        }

        #[inline(always)]
        fn sum(self) -> f64 {
            unsafe { _mm512_reduce_add_pd(self) }
        }
    }
}
