//! A block of a matrix-vector product and of its transpose, for a matrix whose lanes are contiguous.
//!
//! Both take eight columns at a time: the product loads and stores each lane's sum once for eight of its addends, and
//! the transpose loads each lane's value once for eight sums, whose additions are enough to hide their latency.

use super::lanes::Lanes;

/// `out[i] = Σ_k a[i + k·sa]·b[k·sb]`.
///
/// # Safety
/// `a` holds `n` numbers at every `k·sa`, `b` one at every `k·sb`, `out` `n`; `out` overlaps neither.
#[inline(always)]
pub unsafe fn product<L: Lanes>(
    n: usize,
    ks: usize,
    a: *const f64,
    sa: usize,
    b: *const f64,
    sb: usize,
    out: *mut f64,
) {
    unsafe {
        let mut k = 0;
        // What is left over goes first, so that it also starts the sums.
        match ks % 8 {
            0 if ks == 0 => std::slice::from_raw_parts_mut(out, n).fill(0.0),
            0 => {
                columns::<L, 8, true>(n, a, sa, b, sb, out);
                k = 8;
            }
            1 => columns::<L, 1, true>(n, a, sa, b, sb, out),
            2 => columns::<L, 2, true>(n, a, sa, b, sb, out),
            3 => columns::<L, 3, true>(n, a, sa, b, sb, out),
            4 => columns::<L, 4, true>(n, a, sa, b, sb, out),
            5 => columns::<L, 5, true>(n, a, sa, b, sb, out),
            6 => columns::<L, 6, true>(n, a, sa, b, sb, out),
            _ => columns::<L, 7, true>(n, a, sa, b, sb, out),
        }
        k += ks % 8;
        while k < ks {
            columns::<L, 8, false>(n, a.add(k * sa), sa, b.add(k * sb), sb, out);
            k += 8;
        }
    }
}

/// `out += Σ_k` over `C` columns; `FIRST`: `out =`.
#[inline(always)]
unsafe fn columns<L: Lanes, const C: usize, const FIRST: bool>(
    n: usize,
    a: *const f64,
    sa: usize,
    b: *const f64,
    sb: usize,
    out: *mut f64,
) {
    unsafe {
        let weights: [f64; C] = std::array::from_fn(|k| *b.add(k * sb));
        let w: [L; C] = weights.map(L::splat);
        let mut i = 0;
        while i + 2 * L::N <= n {
            let (at, next) = (out.add(i), out.add(i + L::N));
            let (mut s, mut t) = if FIRST { (L::splat(0.0), L::splat(0.0)) } else { (L::load(at), L::load(next)) };
            for (k, w) in w.iter().enumerate() {
                let column = a.add(k * sa + i);
                s = L::load(column).mul_add(*w, s);
                t = L::load(column.add(L::N)).mul_add(*w, t);
            }
            s.store(at);
            t.store(next);
            i += 2 * L::N;
        }
        while i < n {
            let mut s = if FIRST { 0.0 } else { *out.add(i) };
            for (k, w) in weights.iter().enumerate() {
                s = L::mul_add_one(*a.add(k * sa + i), *w, s);
            }
            *out.add(i) = s;
            i += 1;
        }
    }
}

/// `target[k·st] += Σ_i v[i]·a[i + k·sa]`.
///
/// # Safety
/// As for [`product`]; `target` holds a number at every `k·st` and overlaps neither `v` nor `a`.
#[inline(always)]
pub unsafe fn transposed<L: Lanes>(
    n: usize,
    ks: usize,
    v: *const f64,
    a: *const f64,
    sa: usize,
    target: *mut f64,
    st: usize,
) {
    unsafe {
        let mut k = 0;
        while k + 8 <= ks {
            dots::<L, 8, 1>(n, v, a.add(k * sa), sa, target.add(k * st), st);
            k += 8;
        }
        if k + 4 <= ks {
            dots::<L, 4, 2>(n, v, a.add(k * sa), sa, target.add(k * st), st);
            k += 4;
        }
        while k < ks {
            dots::<L, 1, 4>(n, v, a.add(k * sa), sa, target.add(k * st), st);
            k += 1;
        }
    }
}

/// The dot products of `v` with `C` columns, `U` registers of lanes at a time.
#[inline(always)]
unsafe fn dots<L: Lanes, const C: usize, const U: usize>(
    n: usize,
    v: *const f64,
    a: *const f64,
    sa: usize,
    target: *mut f64,
    st: usize,
) {
    unsafe {
        let mut sums = [[L::splat(0.0); U]; C];
        let mut i = 0;
        while i + U * L::N <= n {
            for u in 0..U {
                let x = L::load(v.add(i + u * L::N));
                for (k, sums) in sums.iter_mut().enumerate() {
                    sums[u] = L::load(a.add(k * sa + i + u * L::N)).mul_add(x, sums[u]);
                }
            }
            i += U * L::N;
        }
        for (k, sums) in sums.iter().enumerate() {
            let mut sum = sums[0];
            for other in &sums[1..] {
                sum = sum.add(*other);
            }
            let mut sum = sum.sum();
            for i in i..n {
                sum = L::mul_add_one(*v.add(i), *a.add(k * sa + i), sum);
            }
            *target.add(k * st) += sum;
        }
    }
}
