//! What a careful person would write by hand for each model: one pass over the rows, value and every gradient.

use vic::prim::vector::softplus_sigmoid;

use crate::models::Data;

/// `theta → (value, gradient)`, the gradient written.
pub type Loop = unsafe fn(&Data, &[f64], &mut [f64]) -> f64;

/// The log joint from the sum of squares, with the Jacobian of sigma = e^log_sigma.
pub fn normal_value(n: f64, ss: f64, log_sigma: f64) -> f64 {
    -0.5 * ss - n * (log_sigma + 0.5 * (2.0 * std::f64::consts::PI).ln()) + log_sigma
}

/// Row by row, as plain Rust compiles it.
pub mod scalar {
    use super::*;

    pub unsafe fn normal(d: &Data, theta: &[f64], grad: &mut [f64]) -> f64 {
        linear(d, theta, grad, 10, |y, eta, inv| {
            let r = (y - eta) * inv;
            (r * r, r)
        })
    }

    pub unsafe fn logit(d: &Data, theta: &[f64], grad: &mut [f64]) -> f64 {
        grad.fill(0.0);
        let (n, k) = (d.y.len(), 20);
        let mut value = 0.0;
        for i in 0..n {
            let mut eta = theta[0];
            for j in 0..k {
                eta += d.x[j * n + i] * theta[1 + j];
            }
            let e = (-eta.abs()).exp();
            let softplus = eta.max(0.0) + e.ln_1p();
            let p = if eta >= 0.0 { 1.0 / (1.0 + e) } else { e / (1.0 + e) };
            value += d.y[i] * eta - softplus;
            let g = d.y[i] - p;
            grad[0] += g;
            for j in 0..k {
                grad[1 + j] += g * d.x[j * n + i];
            }
        }
        value
    }

    pub unsafe fn groups(d: &Data, theta: &[f64], grad: &mut [f64]) -> f64 {
        grad.fill(0.0);
        let m = theta.len() - 2;
        let (beta, inv) = (theta[m], (-theta[m + 1]).exp());
        let (mut ss, mut gb) = (0.0, 0.0);
        for i in 0..d.y.len() {
            let g = d.group[i] as usize;
            let r = (d.y[i] - theta[g] - beta * d.x[i]) * inv;
            ss += r * r;
            grad[g] += r * inv;
            gb += r * d.x[i];
        }
        let n = d.y.len() as f64;
        grad[m] = gb * inv;
        grad[m + 1] = ss - n + 1.0;
        normal_value(n, ss, theta[m + 1])
    }

    fn linear(d: &Data, theta: &[f64], grad: &mut [f64], k: usize, step: impl Fn(f64, f64, f64) -> (f64, f64)) -> f64 {
        grad.fill(0.0);
        let n = d.y.len();
        let inv = (-theta[1 + k]).exp();
        let mut ss = 0.0;
        for i in 0..n {
            let mut eta = theta[0];
            for j in 0..k {
                eta += d.x[j * n + i] * theta[1 + j];
            }
            let (v, g) = step(d.y[i], eta, inv);
            ss += v;
            grad[0] += g;
            for j in 0..k {
                grad[1 + j] += g * d.x[j * n + i];
            }
        }
        grad[..=k].iter_mut().for_each(|g| *g *= inv);
        grad[1 + k] = ss - n as f64 + 1.0;
        normal_value(n as f64, ss, theta[1 + k])
    }
}

/// Rows taken together: few enough that their columns stay in the first-level cache for the second pass.
const ROWS: usize = 128;

/// The loops for one kind of processor, in its own intrinsics.
macro_rules! intrinsics {
    ($name:ident, $features:literal, $vector:ident, $lanes:literal, $groups:literal, $zero:ident, $splat:ident, $load:ident, $store:ident, $fma:ident) => {
        #[cfg(target_arch = "x86_64")]
        pub mod $name {
            use std::arch::x86_64::*;

            use super::*;

            /// A linear predictor over `K` columns, `step(y, eta) → (value, slope)`, and the slopes' sums by column.
            #[target_feature(enable = $features)]
            unsafe fn rows<const K: usize>(
                d: &Data,
                theta: &[f64],
                grad: &mut [f64],
                step: impl Fn(f64, f64) -> (f64, f64),
            ) -> f64 {
                let n = d.y.len();
                let (mut eta, mut slope) = ([0.0; ROWS], [0.0; ROWS]);
                let mut value = [0.0; $lanes];
                let mut first = [0.0; $lanes];
                let (mut rest_value, mut rest_first) = (0.0, 0.0);
                let mut sums: [$vector; K] = [$zero(); K];
                grad.fill(0.0);
                let mut start = 0;
                while start < n {
                    let m = ROWS.min(n - start);
                    let whole = m / (2 * $lanes) * (2 * $lanes);
                    unsafe {
                        let x = d.x.as_ptr().add(start);
                        let mut i = 0;
                        while i < whole {
                            let (mut a, mut b) = ($splat(theta[0]), $splat(theta[0]));
                            for k in 0..K {
                                let (column, beta) = (x.add(k * n + i), $splat(theta[1 + k]));
                                a = $fma($load(column), beta, a);
                                b = $fma($load(column.add($lanes)), beta, b);
                            }
                            $store(eta.as_mut_ptr().add(i), a);
                            $store(eta.as_mut_ptr().add(i + $lanes), b);
                            i += 2 * $lanes;
                        }
                        for i in whole..m {
                            eta[i] = (0..K).fold(theta[0], |eta, k| (*x.add(k * n + i)).mul_add(theta[1 + k], eta));
                        }
                    }
                    let y = &d.y[start..start + m];
                    for ((y, eta), slope) in (y[..whole].chunks_exact($lanes).zip(eta.chunks_exact($lanes)))
                        .zip(slope.chunks_exact_mut($lanes))
                    {
                        for l in 0..$lanes {
                            let (v, g) = step(y[l], eta[l]);
                            value[l] += v;
                            first[l] += g;
                            slope[l] = g;
                        }
                    }
                    for i in whole..m {
                        let (v, g) = step(y[i], eta[i]);
                        rest_value += v;
                        rest_first += g;
                        slope[i] = g;
                    }
                    unsafe {
                        let x = d.x.as_ptr().add(start);
                        let mut k = 0;
                        while k < K {
                            let c = 10.min(K - k);
                            debug_assert_eq!(c, 10);
                            let mut s: [$vector; 10] = std::array::from_fn(|j| sums[k + j]);
                            let mut i = 0;
                            while i < whole {
                                let g = $load(slope.as_ptr().add(i));
                                for j in 0..10 {
                                    s[j] = $fma($load(x.add((k + j) * n + i)), g, s[j]);
                                }
                                i += $lanes;
                            }
                            sums[k..k + 10].copy_from_slice(&s);
                            k += c;
                        }
                        for i in whole..m {
                            for k in 0..K {
                                grad[1 + k] += slope[i] * *x.add(k * n + i);
                            }
                        }
                    }
                    start += m;
                }
                for (k, s) in sums.iter().enumerate() {
                    let mut lanes = [0.0; $lanes];
                    unsafe { $store(lanes.as_mut_ptr(), *s) };
                    grad[1 + k] += lanes.iter().sum::<f64>();
                }
                grad[0] = rest_first + first.iter().sum::<f64>();
                rest_value + value.iter().sum::<f64>()
            }

            #[target_feature(enable = $features)]
            pub unsafe fn normal(d: &Data, theta: &[f64], grad: &mut [f64]) -> f64 {
                let (log_sigma, n) = (theta[11], d.y.len() as f64);
                let inv = (-log_sigma).exp();
                let ss = unsafe {
                    rows::<10>(d, theta, grad, |y, eta| {
                        let r = (y - eta) * inv;
                        (r * r, r)
                    })
                };
                grad[..11].iter_mut().for_each(|g| *g *= inv);
                grad[11] = ss - n + 1.0;
                normal_value(n, ss, log_sigma)
            }

            #[target_feature(enable = $features)]
            pub unsafe fn logit(d: &Data, theta: &[f64], grad: &mut [f64]) -> f64 {
                unsafe {
                    rows::<20>(d, theta, grad, |y, eta| {
                        let (sp, p) = softplus_sigmoid::<true>(eta);
                        (y.mul_add(eta, -sp), y - p)
                    })
                }
            }

            #[target_feature(enable = $features)]
            pub unsafe fn groups(d: &Data, theta: &[f64], grad: &mut [f64]) -> f64 {
                unsafe { super::groups::<$groups>(d, theta, grad) }
            }
        }
    };
}

intrinsics!(
    avx2,
    "avx2,fma",
    __m256d,
    4,
    8,
    _mm256_setzero_pd,
    _mm256_set1_pd,
    _mm256_loadu_pd,
    _mm256_storeu_pd,
    _mm256_fmadd_pd
);
intrinsics!(
    avx512,
    "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma",
    __m512d,
    8,
    16,
    _mm512_setzero_pd,
    _mm512_set1_pd,
    _mm512_loadu_pd,
    _mm512_storeu_pd,
    _mm512_fmadd_pd
);

#[inline(always)]
unsafe fn groups<const L: usize>(d: &Data, theta: &[f64], grad: &mut [f64]) -> f64 {
    grad.fill(0.0);
    let (m, n) = (theta.len() - 2, d.y.len());
    let (beta, inv) = (theta[m], (-theta[m + 1]).exp());
    let (mut ss, mut gb) = ([0.0; L], [0.0; L]);
    let whole = n / L * L;
    let mut i = 0;
    while i < whole {
        let (x, y): (&[f64; L], &[f64; L]) = unsafe { (&*d.x.as_ptr().add(i).cast(), &*d.y.as_ptr().add(i).cast()) };
        let group: &[u32; L] = unsafe { &*d.group.as_ptr().add(i).cast() };
        let mut r = [0.0; L];
        for l in 0..L {
            let a = unsafe { *theta.get_unchecked(group[l] as usize) };
            r[l] = (y[l] - beta.mul_add(x[l], a)) * inv;
            ss[l] = r[l].mul_add(r[l], ss[l]);
            gb[l] = r[l].mul_add(x[l], gb[l]);
        }
        for l in 0..L {
            unsafe { *grad.get_unchecked_mut(group[l] as usize) += r[l] * inv };
        }
        i += L;
    }
    let (mut ss, mut gb) = (ss.iter().sum::<f64>(), gb.iter().sum::<f64>());
    for i in whole..n {
        let g = d.group[i] as usize;
        let r = (d.y[i] - theta[g] - beta * d.x[i]) * inv;
        ss += r * r;
        gb += r * d.x[i];
        grad[g] += r * inv;
    }
    grad[m] = gb * inv;
    grad[m + 1] = ss - n as f64 + 1.0;
    normal_value(n as f64, ss, theta[m + 1])
}
