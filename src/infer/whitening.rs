//! Linear maps that whiten the problem of a guide's mean: dense for few coordinates, sparse or of low rank for many.

use serde::{Deserialize, Serialize};

use super::frame::Basis;
use super::linalg::{axpy, dot};
use super::sparse::SparseFactor;

/// W: coordinates in which the expected curvature is near the identity become the guide's own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Whitening {
    Plain(Basis),
    /// W Wᵀ is the inverse of the matrix that was factored.
    Sparse(SparseFactor),
    LowRank(Stretched),
}

/// W = D (1 + Q diag(f) Qᵀ) with orthonormal columns Q.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stretched {
    pub diagonal: Vec<f64>,
    /// The columns of Q, one after the other.
    pub vectors: Vec<f64>,
    /// f: W stretches a column by 1 + f.
    pub stretch: Vec<f64>,
}

impl From<Basis> for Whitening {
    fn from(basis: Basis) -> Whitening {
        Whitening::Plain(basis)
    }
}

impl Whitening {
    /// `out = W x`.
    pub fn times(&self, x: &[f64], out: &mut [f64]) {
        match self {
            Whitening::Plain(basis) => basis.times(x, out),
            Whitening::Sparse(factor) => factor.spread(x, out),
            Whitening::LowRank(w) => {
                w.inner(x, out, |f| f);
                out.iter_mut().zip(&w.diagonal).for_each(|(o, d)| *o *= d);
            }
        }
    }

    /// `out += Wᵀ x`; `scratch` has the length of `x`.
    pub fn transposed_times(&self, x: &[f64], out: &mut [f64], scratch: &mut [f64]) {
        match self {
            Whitening::Plain(basis) => basis.transposed_times(x, out),
            Whitening::Sparse(factor) => {
                factor.gather(x, scratch);
                axpy(1.0, scratch, out);
            }
            Whitening::LowRank(w) => {
                scratch.iter_mut().zip(x.iter().zip(&w.diagonal)).for_each(|(s, (x, d))| *s = d * x);
                axpy(1.0, scratch, out);
                for (q, f) in w.columns() {
                    axpy(f * dot(q, scratch), q, out);
                }
            }
        }
    }

    /// `x ← W⁻¹ x`.
    pub fn solve(&self, x: &mut [f64]) {
        match self {
            Whitening::Plain(basis) => basis.solve(x),
            Whitening::Sparse(factor) => {
                let from = x.to_vec();
                factor.standardise(&from, x);
            }
            Whitening::LowRank(w) => {
                let from: Vec<f64> = x.iter().zip(&w.diagonal).map(|(x, d)| x / d).collect();
                // (1 + Q f Qᵀ)⁻¹ = 1 − Q f / (1 + f) Qᵀ
                w.inner(&from, x, |f| -f / (1.0 + f));
            }
        }
    }

    /// Standard deviation of each coordinate of W z.
    pub fn row_norms(&self, n: usize) -> Vec<f64> {
        match self {
            Whitening::Plain(basis) => basis.row_norms(n),
            Whitening::Sparse(factor) => factor.inverse_diagonal().into_iter().map(f64::sqrt).collect(),
            Whitening::LowRank(w) => {
                let mut squares = vec![1.0; n];
                for (q, f) in w.columns() {
                    // (1 + f)² − 1 along the column.
                    squares.iter_mut().zip(q).for_each(|(s, q)| *s += f * (2.0 + f) * q * q);
                }
                squares.iter().zip(&w.diagonal).map(|(s, d)| d * s.sqrt()).collect()
            }
        }
    }
}

impl Stretched {
    fn columns(&self) -> impl Iterator<Item = (&[f64], f64)> {
        self.vectors.chunks(self.diagonal.len().max(1)).zip(self.stretch.iter().copied())
    }

    /// `out = (1 + Q diag(of(f)) Qᵀ) x`
    fn inner(&self, x: &[f64], out: &mut [f64], of: impl Fn(f64) -> f64) {
        out.copy_from_slice(x);
        for (q, f) in self.columns() {
            axpy(of(f) * dot(q, x), q, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::sparse::Symbolic;

    /// Each way: W⁻¹ W = 1, y·(W x) = (Wᵀ y)·x, and rows have the norms that they say.
    #[test]
    fn every_map_has_its_transpose_inverse_and_norms() {
        let n = 6;
        let places: Vec<(usize, usize)> = (1..n).map(|i| (i, 0)).collect();
        let entries = (0..n).map(|i| (i, i, 2.0 + i as f64)).chain((1..n).map(|i| (i, 0, 0.3)));
        let factor = Symbolic::new(n, places.into_iter(), 100).and_then(|s| s.factor(entries)).expect("definite");
        let q: Vec<f64> = [0.5, 0.5, 0.5, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.6, 0.8].to_vec();
        let low = Stretched { diagonal: (1..=n).map(|i| i as f64).collect(), vectors: q, stretch: vec![2.0, -0.7] };
        for w in [Whitening::Sparse(factor), Whitening::LowRank(low)] {
            let (mut norms, mut out, mut scratch) = (vec![0.0; n], vec![0.0; n], vec![0.0; n]);
            let x: Vec<f64> = (0..n).map(|i| (i as f64 + 0.3).sin()).collect();
            let y: Vec<f64> = (0..n).map(|i| (3.0 * i as f64 + 0.1).cos()).collect();
            for j in 0..n {
                let unit: Vec<f64> = (0..n).map(|i| f64::from(u8::from(i == j))).collect();
                w.times(&unit, &mut out);
                norms.iter_mut().zip(&out).for_each(|(s, o)| *s += o * o);
            }
            for (got, want) in w.row_norms(n).iter().zip(&norms) {
                assert!((got - want.sqrt()).abs() < 1e-13);
            }
            w.times(&x, &mut out);
            let forward = dot(&y, &out);
            w.solve(&mut out);
            assert!(out.iter().zip(&x).all(|(a, b)| (a - b).abs() < 1e-13));
            let mut back = vec![1.0; n];
            w.transposed_times(&y, &mut back, &mut scratch);
            let backward = dot(&back, &x) - x.iter().sum::<f64>();
            assert!((forward - backward).abs() < 1e-12);
        }
    }
}
