//! A block of a matrix-vector product and of its transpose, for a matrix whose lanes are contiguous.

use super::vector::{lanes, lanes_mut};
use super::vector_elementary::fma;

/// Columns taken together: each lane's sum is loaded and stored once for as many products.
const COLUMNS: usize = 8;
/// Lanes summed apart in the transposed product.
const STRIP: usize = 16;

/// `out[i] = Σ_k a[i + k·sa]·b[k·sb]`.
///
/// # Safety
/// `a` holds `n` numbers at every `k·sa`, `b` one at every `k·sb`, `out` `n`; `out` overlaps neither.
#[inline(always)]
pub unsafe fn product<const F: bool>(
    n: usize,
    ks: usize,
    a: *const f64,
    sa: usize,
    b: *const f64,
    sb: usize,
    out: *mut f64,
) {
    let out = unsafe { lanes_mut(n, out) };
    out.fill(0.0);
    let mut k = 0;
    while k + COLUMNS <= ks {
        let w: [f64; COLUMNS] = std::array::from_fn(|j| unsafe { *b.add((k + j) * sb) });
        let c: [&[f64]; COLUMNS] = std::array::from_fn(|j| unsafe { lanes(n, a.add((k + j) * sa)) });
        for i in 0..n {
            let mut s = out[i];
            for j in 0..COLUMNS {
                s = fma::<F>(c[j][i], w[j], s);
            }
            out[i] = s;
        }
        k += COLUMNS;
    }
    while k + 2 <= ks {
        let w: [f64; 2] = std::array::from_fn(|j| unsafe { *b.add((k + j) * sb) });
        let c: [&[f64]; 2] = std::array::from_fn(|j| unsafe { lanes(n, a.add((k + j) * sa)) });
        for i in 0..n {
            out[i] = fma::<F>(c[1][i], w[1], fma::<F>(c[0][i], w[0], out[i]));
        }
        k += 2;
    }
    if k < ks {
        let (w, c) = unsafe { (*b.add(k * sb), lanes(n, a.add(k * sa))) };
        for i in 0..n {
            out[i] = fma::<F>(c[i], w, out[i]);
        }
    }
}

/// `target[k·st] += Σ_i v[i]·a[i + k·sa]`.
///
/// # Safety
/// As for [`product`]; `target` holds a number at every `k·st` and overlaps neither `v` nor `a`.
#[inline(always)]
pub unsafe fn transposed<const F: bool>(
    n: usize,
    ks: usize,
    v: *const f64,
    a: *const f64,
    sa: usize,
    target: *mut f64,
    st: usize,
) {
    let v = unsafe { lanes(n, v) };
    let mut k = 0;
    while k + 4 <= ks {
        let c = std::array::from_fn(|j| unsafe { lanes(n, a.add((k + j) * sa)) });
        let sums = dots::<F, 4>(v, c);
        for (j, s) in sums.into_iter().enumerate() {
            unsafe { *target.add((k + j) * st) += s };
        }
        k += 4;
    }
    while k < ks {
        let [s] = dots::<F, 1>(v, [unsafe { lanes(n, a.add(k * sa)) }]);
        unsafe { *target.add(k * st) += s };
        k += 1;
    }
}

/// `v·c[j]` for each column.
#[inline(always)]
fn dots<const F: bool, const C: usize>(v: &[f64], c: [&[f64]; C]) -> [f64; C] {
    let n = v.len();
    let c = c.map(|c| &c[..n]);
    let mut parts = [[0.0; STRIP]; C];
    let whole = n / STRIP * STRIP;
    let mut i = 0;
    while i < whole {
        let x: &[f64; STRIP] = v[i..i + STRIP].try_into().expect("a strip's length");
        for j in 0..C {
            let y: &[f64; STRIP] = c[j][i..i + STRIP].try_into().expect("a strip's length");
            for l in 0..STRIP {
                parts[j][l] = fma::<F>(x[l], y[l], parts[j][l]);
            }
        }
        i += STRIP;
    }
    let mut sums = [0.0; C];
    for j in 0..C {
        let mut width = STRIP / 2;
        while width > 0 {
            for l in 0..width {
                parts[j][l] += parts[j][l + width];
            }
            width /= 2;
        }
        sums[j] = parts[j][0];
        for l in whole..n {
            sums[j] = fma::<F>(v[l], c[j][l], sums[j]);
        }
    }
    sums
}
