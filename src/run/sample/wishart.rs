//! Random covariance and precision matrices.

use rand::Rng;
use rand_distr::{Distribution, Gamma, StandardNormal};

use super::{Cells, Sampler};
use crate::hir::AxisId;
use crate::prim::matrix::{cholesky, solve};

impl<R: Rng> Sampler<'_, R> {
    /// A matrix over the axes `matrix` per cell of the others. `params`: degrees of freedom, and the scale matrix over the
    /// axes `scale`, of which the lower half is read. NaN where the scale is not positive definite, or the degrees of
    /// freedom are too few.
    pub(super) fn wishart(
        &mut self,
        matrix: [AxisId; 2],
        scale: [AxisId; 2],
        inverse: bool,
        params: &[Cells],
        axes: &[AxisId],
    ) -> Cells {
        let outer: Vec<AxisId> = axes.iter().copied().filter(|a| !matrix.contains(a)).collect();
        let n = self.axis_size(matrix[0]);
        let mut cells = vec![];
        self.cells(&outer, |at| cells.push(at.to_vec()));
        let all: Vec<AxisId> = matrix.iter().chain(&outer).copied().collect();
        let scale_axes: Vec<AxisId> = scale.iter().chain(&outer).copied().collect();
        let mut drawn = Cells { axes: all, numbers: vec![] };
        for at in cells {
            let dof = params[0].numbers[self.offset(&params[0], &outer, &at)];
            let mut v: Vec<f64> = (0..n * n)
                .map(|i| params[1].numbers[self.offset(&params[1], &scale_axes, &[&[i % n, i / n], &at[..]].concat())])
                .collect();
            if !cholesky(&mut v, n) {
                v.fill(f64::NAN);
            }
            (1..n).for_each(|c| v[c * n..c * n + c].fill(0.0));
            let root = root(&v, n, dof, inverse, &mut self.rng);
            for c in 0..n {
                for r in 0..n {
                    drawn.numbers.push((0..n).map(|k| root[r + n * k] * root[c + n * k]).sum());
                }
            }
        }
        self.spread(&drawn, axes)
    }
}

/// M with M Mᵀ a draw, by columns, from the lower factor L of the scale. With A lower triangular, its diagonal roots of chi
/// squares with dof, dof − 1, … degrees of freedom and standard normal below (Bartlett 1933), L A Aᵀ Lᵀ is Wishart(dof, L Lᵀ);
/// the inverse of a Wishart matrix with the scale L⁻ᵀ L⁻¹ is L A⁻ᵀ A⁻¹ Lᵀ.
fn root(l: &[f64], n: usize, dof: f64, inverse: bool, rng: &mut impl Rng) -> Vec<f64> {
    let mut a = vec![0.0; n * n];
    for i in 0..n {
        (0..i).for_each(|j| a[i + n * j] = StandardNormal.sample(rng));
        let half = Gamma::new(0.5 * (dof - i as f64), 1.0).map_or(f64::NAN, |d| d.sample(rng));
        a[i + n * i] = (2.0 * half).sqrt();
    }
    let transposed = |m: &[f64]| -> Vec<f64> { (0..n * n).map(|i| m[i / n + n * (i % n)]).collect() };
    if inverse {
        let mut right = transposed(l);
        solve(&a, &mut right, n, n, false);
        return transposed(&right);
    }
    let cell = |i: usize| (0..n).map(|k| l[i % n + n * k] * a[k + n * (i / n)]).sum();
    (0..n * n).map(cell).collect()
}
