//! Tangents of the matrix operations and of their derivatives: the unblocked algorithms with every number beside its
//! derivative along a direction.

/// The tangent of the factor `l` of a matrix with tangent `da`, whose lower half is read.
pub fn cholesky(l: &[f64], da: &[f64], dl: &mut [f64], n: usize) {
    dl.copy_from_slice(da);
    for j in 0..n {
        for k in 0..j {
            let (w, dw) = (l[j + k * n], dl[j + k * n]);
            for i in j..n {
                dl[i + j * n] -= dw * l[i + k * n] + w * dl[i + k * n];
            }
        }
        let pivot = l[j + j * n];
        let d = dl[j + j * n] / (2.0 * pivot);
        dl[j + j * n] = d;
        for i in j + 1..n {
            dl[i + j * n] = (dl[i + j * n] - l[i + j * n] * d) / pivot;
        }
        dl[j * n..j * n + j].fill(0.0);
    }
}

/// As `small_cholesky_back` in `d`, with its tangent in `dd`.
pub fn cholesky_back(l: &[f64], dl: &[f64], d: &mut [f64], dd: &mut [f64], n: usize) {
    for j in (0..n).rev() {
        let at = j + j * n;
        let (pivot, dpivot) = (l[at], dl[at]);
        let (mut sum, mut dsum) = (d[at], dd[at]);
        for c in at + 1..(j + 1) * n {
            let v = d[c] / pivot;
            let dv = (dd[c] - v * dpivot) / pivot;
            (d[c], dd[c]) = (v, dv);
            sum -= v * l[c];
            dsum -= dv * l[c] + v * dl[c];
        }
        let q = sum / pivot;
        let dq = (dsum - q * dpivot) / pivot;
        (d[at], dd[at]) = (0.5 * q, 0.5 * dq);
        for k in 0..j {
            let (r, dr) = (l[j + k * n], dl[j + k * n]);
            let (mut sum, mut dsum) = (q * r, dq * r + q * dr);
            for i in j + 1..n {
                let (v, dv) = (d[i + j * n], dd[i + j * n]);
                let c = i + k * n;
                sum += v * l[c];
                dsum += dv * l[c] + v * dl[c];
                d[c] -= v * r;
                dd[c] -= dv * r + v * dr;
            }
            d[j + k * n] -= sum;
            dd[j + k * n] -= dsum;
        }
    }
}

/// `out -= L x` for every column, `L` lower triangular (`transposed`: `Lᵀ x`).
pub fn subtract_product(l: &[f64], x: &[f64], out: &mut [f64], n: usize, transposed: bool) {
    for (x, out) in x.chunks_exact(n).zip(out.chunks_exact_mut(n)) {
        for j in 0..n {
            let column = &l[j * n + j..(j + 1) * n];
            if transposed {
                out[j] -= column.iter().zip(&x[j..]).map(|(l, x)| l * x).sum::<f64>();
            } else {
                out[j..].iter_mut().zip(column).for_each(|(o, l)| *o -= l * x[j]);
            }
        }
    }
}
