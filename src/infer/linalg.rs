//! Small dense linear algebra. Matrices are row-major slices; a lower triangle is stored in a full square.

/// Cholesky factor, in place: the lower triangle of `a` becomes L with `a = L Lᵀ`, the rest 0.
/// Returns false, leaving `a` unusable, if `a` is not positive definite.
pub fn cholesky(a: &mut [f64], n: usize) -> bool {
    for i in 0..n {
        for j in 0..=i {
            let mut s = a[i * n + j];
            s -= dot(&a[i * n..i * n + j], &a[j * n..j * n + j]);
            if i == j {
                // Also rejects NaN.
                if s.is_nan() || s <= 0.0 || !s.is_finite() {
                    return false;
                }
                a[i * n + i] = s.sqrt();
            } else {
                a[i * n + j] = s / a[j * n + j];
            }
        }
        a[i * n + i + 1..(i + 1) * n].fill(0.0);
    }
    true
}

/// Inverse of a lower triangle.
pub fn invert_lower(l: &[f64], n: usize) -> Vec<f64> {
    let mut inv = vec![0.0; n * n];
    for i in 0..n {
        let (before, row) = inv.split_at_mut(i * n);
        for k in 0..i {
            axpy(-l[i * n + k], &before[k * n..k * n + k + 1], &mut row[..k + 1]);
        }
        row[..i].iter_mut().for_each(|x| *x /= l[i * n + i]);
        row[i] = 1.0 / l[i * n + i];
    }
    inv
}

/// `x ← L⁻¹ x`.
pub fn solve_lower(l: &[f64], n: usize, x: &mut [f64]) {
    for i in 0..n {
        let s = dot(&l[i * n..i * n + i], &x[..i]);
        x[i] = (x[i] - s) / l[i * n + i];
    }
}

/// `x ← L⁻ᵀ x`.
pub fn solve_lower_transposed(l: &[f64], n: usize, x: &mut [f64]) {
    for i in (0..n).rev() {
        x[i] /= l[i * n + i];
        let (before, rest) = x.split_at_mut(i);
        axpy(-rest[0], &l[i * n..i * n + i], before);
    }
}

/// The lower factor of the inverse: `L` with `a⁻¹ = L Lᵀ`. None if `a` is not positive definite.
pub fn inverse_factor(a: &[f64], n: usize) -> Option<Vec<f64>> {
    // With J the reversal of order, J a J = R Rᵀ gives a⁻¹ = (J R⁻ᵀ J)(J R⁻¹ J), and J R⁻ᵀ J is lower triangular.
    let mut r: Vec<f64> = a[..n * n].iter().rev().copied().collect();
    if !cholesky(&mut r, n) {
        return None;
    }
    let inv = invert_lower(&r, n);
    let mut out = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..n {
            out[(n - 1 - j) * n + (n - 1 - i)] = inv[i * n + j];
        }
    }
    Some(out)
}

/// Product of two lower triangles.
pub fn lower_times_lower(a: &[f64], b: &[f64], n: usize, out: &mut [f64]) {
    out[..n * n].fill(0.0);
    for i in 0..n {
        let (row, rest) = out[i * n..].split_at_mut(i + 1);
        let _ = rest;
        for k in 0..=i {
            let w = a[i * n + k];
            axpy(w, &b[k * n..k * n + k + 1], &mut row[..k + 1]);
        }
    }
}

/// `a · x` for a lower triangle.
pub fn lower_times(a: &[f64], n: usize, x: &[f64], out: &mut [f64]) {
    for i in 0..n {
        out[i] = dot(&a[i * n..i * n + i + 1], &x[..i + 1]);
    }
}

/// `out += aᵀ · x` for a lower triangle.
pub fn lower_transposed_times(a: &[f64], n: usize, x: &[f64], out: &mut [f64]) {
    for i in 0..n {
        axpy(x[i], &a[i * n..i * n + i + 1], &mut out[..i + 1]);
    }
}

/// Sum of products, in four lanes of a fixed order: fast, and the same bits always.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut lanes = [0.0; 8];
    let n = a.len().min(b.len());
    let (a, b) = (&a[..n], &b[..n]);
    let (ca, cb) = (a.chunks_exact(8), b.chunks_exact(8));
    let tail: f64 = ca.remainder().iter().zip(cb.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in ca.zip(cb) {
        for l in 0..8 {
            lanes[l] += x[l] * y[l];
        }
    }
    tail + ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]))
}

/// `y += a · x`.
pub fn axpy(a: f64, x: &[f64], y: &mut [f64]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += a * x;
    }
}

/// Eigenvalues (ascending) and eigenvectors (rows of the returned square) of a symmetric matrix.
/// Householder reduction to a tridiagonal, then implicit QL: `tred2` and `tql2` of EISPACK
/// (Wilkinson & Reinsch, "Handbook for Automatic Computation II").
pub fn symmetric_eigen(a: &[f64], n: usize) -> (Vec<f64>, Vec<f64>) {
    let mut v = a[..n * n].to_vec();
    let (mut d, mut e) = (vec![0.0; n], vec![0.0; n]);
    if n == 0 {
        return (d, v);
    }
    tridiagonalise(&mut v, n, &mut d, &mut e);
    implicit_ql(&mut v, n, &mut d, &mut e);
    (d, v)
}

fn tridiagonalise(v: &mut [f64], n: usize, d: &mut [f64], e: &mut [f64]) {
    // The matrix is symmetric, so it may as well be stored by columns: the inner loops then run along memory.
    let at = |i: usize, j: usize| j * n + i;
    for j in 0..n {
        d[j] = v[at(n - 1, j)];
    }
    for i in (1..n).rev() {
        let scale: f64 = d[..i].iter().map(|x| x.abs()).sum();
        let mut h = 0.0;
        if scale == 0.0 {
            e[i] = d[i - 1];
            for j in 0..i {
                d[j] = v[at(i - 1, j)];
                v[at(i, j)] = 0.0;
                v[at(j, i)] = 0.0;
            }
        } else {
            for x in &mut d[..i] {
                *x /= scale;
                h += *x * *x;
            }
            let f = d[i - 1];
            let g = if f > 0.0 { -h.sqrt() } else { h.sqrt() };
            e[i] = scale * g;
            h -= f * g;
            d[i - 1] = f - g;
            e[..i].fill(0.0);
            for j in 0..i {
                let f = d[j];
                v[at(j, i)] = f;
                let column = &v[at(j + 1, j)..at(j, j) + (i - j)];
                let g = e[j] + v[at(j, j)] * f + dot(column, &d[j + 1..i]);
                axpy(f, column, &mut e[j + 1..i]);
                e[j] = g;
            }
            let mut f = 0.0;
            for j in 0..i {
                e[j] /= h;
                f += e[j] * d[j];
            }
            let hh = f / (h + h);
            for j in 0..i {
                e[j] -= hh * d[j];
            }
            for j in 0..i {
                let (f, g) = (d[j], e[j]);
                let column = &mut v[at(j, j)..at(j, j) + (i - j)];
                axpy(-f, &e[j..i], column);
                axpy(-g, &d[j..i], column);
                d[j] = v[at(i - 1, j)];
                v[at(i, j)] = 0.0;
            }
        }
        d[i] = h;
    }
    for i in 0..n - 1 {
        v[at(n - 1, i)] = v[at(i, i)];
        v[at(i, i)] = 1.0;
        let h = d[i + 1];
        if h != 0.0 {
            for k in 0..=i {
                d[k] = v[at(k, i + 1)] / h;
            }
            for j in 0..=i {
                let g = dot(&v[at(0, i + 1)..=at(i, i + 1)], &v[at(0, j)..=at(i, j)]);
                axpy(-g, &d[..=i], &mut v[at(0, j)..=at(i, j)]);
            }
        }
        for k in 0..=i {
            v[at(k, i + 1)] = 0.0;
        }
    }
    for j in 0..n {
        d[j] = v[at(n - 1, j)];
        v[at(n - 1, j)] = 0.0;
    }
    v[at(n - 1, n - 1)] = 1.0;
    e[0] = 0.0;
}

fn implicit_ql(v: &mut [f64], n: usize, d: &mut [f64], e: &mut [f64]) {
    e.rotate_left(1);
    e[n - 1] = 0.0;
    let (mut f, mut tst1) = (0.0, 0.0f64);
    for l in 0..n {
        tst1 = tst1.max(d[l].abs() + e[l].abs());
        let m = (l..n).find(|&m| e[m].abs() <= f64::EPSILON * tst1).unwrap_or(n - 1);
        if m > l {
            // QL needs 1.7 sweeps per eigenvalue in practice; the bound only keeps a NaN from looping for ever.
            for _ in 0..60 {
                let g = d[l];
                let mut p = (d[l + 1] - g) / (2.0 * e[l]);
                let r = if p < 0.0 { -p.hypot(1.0) } else { p.hypot(1.0) };
                d[l] = e[l] / (p + r);
                d[l + 1] = e[l] * (p + r);
                let dl1 = d[l + 1];
                let h = g - d[l];
                for x in &mut d[l + 2..n] {
                    *x -= h;
                }
                f += h;
                p = d[m];
                let (mut c, mut c2, mut c3) = (1.0, 1.0, 1.0);
                let el1 = e[l + 1];
                let (mut s, mut s2) = (0.0, 0.0);
                for i in (l..m).rev() {
                    c3 = c2;
                    c2 = c;
                    s2 = s;
                    let g = c * e[i];
                    let h = c * p;
                    let r = p.hypot(e[i]);
                    e[i + 1] = s * r;
                    s = e[i] / r;
                    c = p / r;
                    p = c * d[i] - s * g;
                    d[i + 1] = h + s * (c * g + s * d[i]);
                    let (before, after) = v.split_at_mut((i + 1) * n);
                    for (a, b) in before[i * n..].iter_mut().zip(&mut after[..n]) {
                        let h = *b;
                        *b = s * *a + c * h;
                        *a = c * *a - s * h;
                    }
                }
                p = -s * s2 * c3 * el1 * e[l] / dl1;
                e[l] = s * p;
                d[l] = c * p;
                if e[l].abs() <= f64::EPSILON * tst1 {
                    break;
                }
            }
        }
        d[l] += f;
        e[l] = 0.0;
    }
    for i in 0..n.saturating_sub(1) {
        let k = (i..n).min_by(|&a, &b| d[a].total_cmp(&d[b])).expect("the range holds i");
        if k != i {
            d.swap(i, k);
            for r in 0..n {
                v.swap(i * n + r, k * n + r);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::rng::Stream;

    fn random(n: usize) -> Vec<f64> {
        let mut s = Stream::new(1, "test", "matrix");
        (0..n * n).map(|_| s.normal()).collect()
    }

    fn symmetric(n: usize) -> Vec<f64> {
        let a = random(n);
        let mut s = vec![0.0; n * n];
        for i in 0..n {
            for j in 0..n {
                s[i * n + j] = a[i * n + j] + a[j * n + i];
            }
        }
        s
    }

    fn positive(n: usize) -> Vec<f64> {
        let a = random(n);
        let mut s = vec![0.0; n * n];
        for i in 0..n {
            for j in 0..n {
                s[i * n + j] = dot(&a[i * n..(i + 1) * n], &a[j * n..(j + 1) * n]) + if i == j { 0.1 } else { 0.0 };
            }
        }
        s
    }

    /// Rounding errors grow like n; 1e-12 leaves two digits.
    #[test]
    fn eigenvectors_diagonalise() {
        for n in [1, 2, 3, 7, 20] {
            let a = symmetric(n);
            let (d, v) = symmetric_eigen(&a, n);
            assert!(d.windows(2).all(|w| w[0] <= w[1]));
            for i in 0..n {
                for j in 0..n {
                    let back: f64 = (0..n).map(|k| v[k * n + i] * d[k] * v[k * n + j]).sum();
                    assert!((back - a[i * n + j]).abs() < 1e-12 * (n as f64), "{n}");
                    let unit: f64 = (0..n).map(|k| v[i * n + k] * v[j * n + k]).sum();
                    assert!((unit - f64::from(u8::from(i == j))).abs() < 1e-13 * n as f64);
                }
            }
        }
    }

    #[test]
    fn eigen_of_diagonal_and_repeated_values() {
        let (d, _) = symmetric_eigen(&[2.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, -1.0], 3);
        assert_eq!(d, [-1.0, 2.0, 2.0]);
    }

    #[test]
    fn the_inverse_factor_whitens() {
        for n in [1, 2, 5, 17] {
            let a = positive(n);
            let l = inverse_factor(&a, n).expect("positive definite");
            for i in 0..n {
                for j in i + 1..n {
                    assert_eq!(l[i * n + j], 0.0, "lower triangular");
                }
                for j in 0..n {
                    // Lᵀ a L = I
                    let s: f64 = (0..n)
                        .flat_map(|p| (0..n).map(move |q| (p, q)))
                        .map(|(p, q)| l[p * n + i] * a[p * n + q] * l[q * n + j])
                        .sum();
                    assert!((s - f64::from(u8::from(i == j))).abs() < 1e-9, "{n} {i} {j} {s}");
                }
            }
        }
    }

    #[test]
    fn an_indefinite_matrix_has_no_factor() {
        assert!(!cholesky(&mut [1.0, 2.0, 2.0, 1.0], 2));
        assert!(!cholesky(&mut [f64::NAN], 1));
    }

    #[test]
    fn triangular_products_agree_with_plain_sums() {
        let n = 9;
        let mut a = positive(n);
        let mut b = positive(n);
        b[0] += 1.0;
        assert!(cholesky(&mut a, n) && cholesky(&mut b, n));
        let mut c = vec![f64::NAN; n * n];
        lower_times_lower(&a, &b, n, &mut c);
        for i in 0..n {
            for j in 0..n {
                let s: f64 = (0..n).map(|k| a[i * n + k] * b[k * n + j]).sum();
                assert!((c[i * n + j] - s).abs() < 1e-13);
            }
        }
        let mut x: Vec<f64> = (0..n).map(|i| i as f64 - 3.0).collect();
        let keep = x.clone();
        let mut y = vec![0.0; n];
        lower_times(&a, n, &x, &mut y);
        solve_lower(&a, n, &mut y);
        assert!(y.iter().zip(&keep).all(|(p, q)| (p - q).abs() < 1e-12));
        let mut t = vec![0.0; n];
        lower_transposed_times(&a, n, &x, &mut t);
        for j in 0..n {
            let s: f64 = (0..n).map(|i| a[i * n + j] * x[i]).sum();
            assert!((t[j] - s).abs() < 1e-13);
        }
        solve_lower_transposed(&a, n, &mut t);
        assert!(t.iter().zip(&x).all(|(p, q)| (p - q).abs() < 1e-12));
        x.clear();
    }
}
