//! Random correlation matrices.

use rand::Rng;
use rand_distr::{Distribution, Gamma, StandardNormal};

use super::{Cells, Sampler};
use crate::hir::AxisId;

impl<R: Rng> Sampler<'_, R> {
    /// A matrix over these two axes per cell of the others.
    pub(super) fn lkj(&mut self, matrix: [AxisId; 2], factor: bool, eta: &Cells, axes: &[AxisId]) -> Cells {
        let outer: Vec<AxisId> = axes.iter().copied().filter(|a| !matrix.contains(a)).collect();
        let n = self.axis_size(matrix[0]);
        let mut cells = vec![];
        self.cells(&outer, |at| cells.push(at.to_vec()));
        let all: Vec<AxisId> = matrix.iter().chain(&outer).copied().collect();
        let mut drawn = Cells { axes: all, numbers: vec![] };
        for at in cells {
            let l = lkj_factor(n, eta.numbers[self.offset(eta, &outer, &at)], &mut self.rng);
            for c in 0..n {
                for r in 0..n {
                    drawn.numbers.push(match factor {
                        true => l[r + n * c],
                        // The length of a row is 1 but for rounding.
                        false if r == c => 1.0,
                        false => (0..n).map(|k| l[r + n * k] * l[c + n * k]).sum(),
                    });
                }
            }
        }
        self.spread(&drawn, axes)
    }
}

/// The lower Cholesky factor of a draw from LKJ(eta), column by column. Row `i`, counted from 0, has its first `i` elements
/// w in the unit ball with density (1 - |w|²)^(eta - 1 + (n - 1 - i) / 2): a direction, and |w|² ~ Beta(i / 2, eta +
/// (n - 1 - i) / 2) apart from it (Lewandowski, Kurowicka & Joe 2009, section 3.2). With z standard normal and a gamma
/// variable g of the second shape, |z|² / (|z|² + 2 g) is that share, and z / |z| the direction.
fn lkj_factor(n: usize, eta: f64, rng: &mut impl Rng) -> Vec<f64> {
    let mut l = vec![0.0; n * n];
    for i in 0..n {
        let z: Vec<f64> = (0..i).map(|_| StandardNormal.sample(rng)).collect();
        let g = Gamma::new(eta + 0.5 * (n - 1 - i) as f64, 1.0).map_or(f64::NAN, |d| d.sample(rng));
        let length = (z.iter().map(|z| z * z).sum::<f64>() + 2.0 * g).sqrt();
        z.iter().enumerate().for_each(|(j, z)| l[i + n * j] = z / length);
        l[i + n * i] = (2.0 * g).sqrt() / length;
    }
    l
}
