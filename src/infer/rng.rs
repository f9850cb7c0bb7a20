//! Random numbers by counter: the n-th number of a named stream, the same for any number of threads and any order of
//! declarations.
//!
//! Salmon, Moraes, Dror, Shaw. "Parallel random numbers: as easy as 1, 2, 3" (Philox4x32-10).
//! Normals by inversion: Wichura. "Algorithm AS 241: the percentage points of the normal distribution".

use std::convert::Infallible;

use rand::TryRng;

/// One stream of random numbers, keyed by a seed, what it is for, and a name.
#[derive(Clone, Debug)]
pub struct Stream {
    key: [u32; 2],
    stream: u64,
    block: u64,
    words: [u32; 4],
    used: usize,
}

impl Stream {
    /// The stream of `name` for `purpose`. Streams with different keys are independent.
    pub fn new(seed: u64, purpose: &str, name: &str) -> Stream {
        let mut hash = fnv(0xcbf2_9ce4_8422_2325, purpose.as_bytes());
        hash = fnv(hash, &[0xff]);
        hash = fnv(hash, name.as_bytes());
        let seed = mix(seed);
        Stream { key: [seed as u32, (seed >> 32) as u32], stream: mix(hash), block: 0, words: [0; 4], used: 4 }
    }

    /// The same stream from its `n`-th number (of 64 bits) on.
    pub fn at(seed: u64, purpose: &str, name: &str, n: usize) -> Stream {
        let mut s = Stream::new(seed, purpose, name);
        s.block = (n / 2) as u64;
        if n % 2 == 1 {
            s.refill();
            s.used = 2;
        }
        s
    }

    /// A stream of its own for each number, without text to make.
    pub fn numbered(seed: u64, purpose: &str, n: usize) -> Stream {
        let mut s = Stream::new(seed, purpose, "");
        s.stream = mix(s.stream ^ mix(n as u64));
        s
    }

    /// Uniform on the open interval (0, 1).
    pub fn uniform(&mut self) -> f64 {
        let TryOk(bits) = self.try_next_u64().into();
        // The half keeps 0 and 1 out, so that a normal is always finite.
        ((bits >> 12) as f64 + 0.5) * (1.0 / (1u64 << 52) as f64)
    }

    /// Standard normal.
    pub fn normal(&mut self) -> f64 {
        normal_quantile(self.uniform())
    }

    fn refill(&mut self) {
        let [lo, hi] = [self.block as u32, (self.block >> 32) as u32];
        self.words = philox([lo, hi, self.stream as u32, (self.stream >> 32) as u32], self.key);
        self.block += 1;
        self.used = 0;
    }
}

/// Unwraps a result that cannot fail.
struct TryOk<T>(T);

impl<T> From<Result<T, Infallible>> for TryOk<T> {
    fn from(r: Result<T, Infallible>) -> Self {
        match r {
            Ok(v) => TryOk(v),
        }
    }
}

impl TryRng for Stream {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        if self.used == 4 {
            self.refill();
        }
        self.used += 1;
        Ok(self.words[self.used - 1])
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let TryOk(lo) = self.try_next_u32().into();
        let TryOk(hi) = self.try_next_u32().into();
        Ok(u64::from(lo) | u64::from(hi) << 32)
    }

    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Infallible> {
        for chunk in dst.chunks_mut(4) {
            let TryOk(word) = self.try_next_u32().into();
            chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

fn philox(mut c: [u32; 4], mut k: [u32; 2]) -> [u32; 4] {
    for round in 0..10 {
        if round > 0 {
            k = [k[0].wrapping_add(0x9E37_79B9), k[1].wrapping_add(0xBB67_AE85)];
        }
        let a = u64::from(c[0]) * 0xD251_1F53;
        let b = u64::from(c[2]) * 0xCD9E_8D57;
        c = [(b >> 32) as u32 ^ c[1] ^ k[0], b as u32, (a >> 32) as u32 ^ c[3] ^ k[1], a as u32];
    }
    c
}

fn fnv(mut hash: u64, bytes: &[u8]) -> u64 {
    for b in bytes {
        hash = (hash ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash
}

/// Splitmix64's finaliser: neighbouring seeds get unrelated keys.
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// The quantile function of the standard normal, to about 1e-16 relative.
pub fn normal_quantile(p: f64) -> f64 {
    let poly = |c: &[f64; 8], x: f64| c.iter().rev().fold(0.0, |s, c| s * x + c);
    let q = p - 0.5;
    if q.abs() <= 0.425 {
        let r = 0.180625 - q * q;
        return q * poly(&CENTRE.0, r) / poly(&CENTRE.1, r);
    }
    let tail = if q < 0.0 { p } else { 1.0 - p };
    let r = (-tail.ln()).sqrt();
    let x = if r <= 5.0 {
        poly(&MIDDLE.0, r - 1.6) / poly(&MIDDLE.1, r - 1.6)
    } else {
        poly(&FAR.0, r - 5.0) / poly(&FAR.1, r - 5.0)
    };
    if q < 0.0 { -x } else { x }
}

/// Numerator and denominator, constant term first.
type Ratio = ([f64; 8], [f64; 8]);

const CENTRE: Ratio = (
    [
        3.387_132_872_796_366_5,
        133.141_667_891_784_38,
        1_971.590_950_306_551_3,
        13_731.693_765_509_46,
        45_921.953_931_549_87,
        67_265.770_927_008_7,
        33_430.575_583_588_13,
        2_509.080_928_730_122_7,
    ],
    [
        1.0,
        42.313_330_701_600_91,
        687.187_007_492_057_9,
        5_394.196_021_424_751,
        21_213.794_301_586_597,
        39_307.895_800_092_71,
        28_729.085_735_721_943,
        5_226.495_278_852_854,
    ],
);
const MIDDLE: Ratio = (
    [
        1.423_437_110_749_683_5,
        4.630_337_846_156_546,
        5.769_497_221_460_691,
        3.647_848_324_763_204_5,
        1.270_458_252_452_368_4,
        0.241_780_725_177_450_6,
        0.022_723_844_989_269_184,
        7.745_450_142_783_414e-4,
    ],
    [
        1.0,
        2.053_191_626_637_759,
        1.676_384_830_183_803_8,
        0.689_767_334_985_1,
        0.148_103_976_427_480_08,
        0.015_198_666_563_616_457,
        5.475_938_084_995_345e-4,
        1.050_750_071_644_416_9e-9,
    ],
);
const FAR: Ratio = (
    [
        6.657_904_643_501_103,
        5.463_784_911_164_114,
        1.784_826_539_917_291_3,
        0.296_560_571_828_504_87,
        0.026_532_189_526_576_124,
        0.001_242_660_947_388_078_4,
        2.711_555_568_743_487_6e-5,
        2.010_334_399_292_288_1e-7,
    ],
    [
        1.0,
        0.599_832_206_555_888,
        0.136_929_880_922_735_8,
        0.014_875_361_290_850_615,
        7.868_691_311_456_133e-4,
        1.846_318_317_510_054_8e-5,
        1.421_511_758_316_446e-7,
        2.044_263_103_389_939_8e-15,
    ],
);

#[cfg(test)]
mod tests {
    use super::*;

    /// The known-answer vectors of the Random123 distribution.
    #[test]
    fn philox_gives_the_published_numbers() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
        assert_eq!(philox([u32::MAX; 4], [u32::MAX; 2]), [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
        assert_eq!(
            philox([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0]),
            [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]
        );
    }

    #[test]
    fn the_normal_quantile_is_right_in_all_three_parts() {
        // scipy.stats.norm.ppf
        for (p, x) in [
            (0.5, 0.0),
            (0.975, 1.959_963_984_540_054),
            (0.01, -2.326_347_874_040_841),
            (1e-5, -4.264_890_793_922_825),
            (1e-20, -9.262_340_089_798_408),
        ] {
            assert!((normal_quantile(p) - x).abs() < 1e-13 * x.abs().max(1.0), "{p}: {}", normal_quantile(p));
        }
    }

    #[test]
    fn streams_differ_by_seed_purpose_and_name_and_repeat() {
        let first = |seed, purpose, name| Stream::new(seed, purpose, name).uniform();
        let a = first(1, "draws", "mu");
        assert_eq!(a, first(1, "draws", "mu"));
        for b in [first(2, "draws", "mu"), first(1, "elbo", "mu"), first(1, "draws", "tau"), first(1, "draw", "smu")] {
            assert_ne!(a, b);
        }
    }

    /// Tolerances are five standard errors.
    #[test]
    fn normals_have_the_moments_of_a_normal() {
        let mut s = Stream::new(3, "test", "x");
        let n = 200_000;
        let (mut m1, mut m2, mut m4) = (0.0, 0.0, 0.0);
        for _ in 0..n {
            let x = s.normal();
            m1 += x;
            m2 += x * x;
            m4 += x * x * x * x;
        }
        let n = f64::from(n);
        assert!((m1 / n).abs() < 5.0 / n.sqrt());
        assert!((m2 / n - 1.0).abs() < 5.0 * (2.0 / n).sqrt());
        assert!((m4 / n - 3.0).abs() < 5.0 * (96.0 / n).sqrt());
    }
}
