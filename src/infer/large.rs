//! Whitening where there are too many coordinates for a dense matrix: the expected curvature is factored sparsely if the
//! model's plates keep most of it 0, else its most extreme directions are found.

use super::curvature::hessians;
use super::linalg::{axpy, dot, symmetric_eigen};
use super::pattern::Pattern;
use super::pool::Pool;
use super::rng::Stream;
use super::sparse::Symbolic;
use super::whitening::{Stretched, Whitening};

/// Products of a Hessian's pattern beyond which it counts as dense.
const MOST_PRODUCTS: usize = 32;
/// Numbers in a sparse factor, per coordinate.
const MOST_NUMBERS: usize = 64;
/// Added to the curvature, as shares of its diagonal, until it is definite.
const RIDGES: [f64; 6] = [0.0, 1e-3, 1e-2, 0.1, 1.0, 10.0];
/// Directions that a low rank may have, and the distance from 1 of the curvature along those worth keeping.
const RANK: usize = 50;
const EXTREME: f64 = 0.3;

/// W for the mean curvature over the rows of `thetas`; `units` are the sds of the coordinates if they were independent.
/// Not finite curvature leaves the units alone.
pub fn whitening(pool: &mut Pool, thetas: &[f64], units: &[f64], seed: u64) -> Option<Whitening> {
    let pattern = pool.pattern().filter(|p| p.products() <= MOST_PRODUCTS);
    let sparse = pattern.and_then(|pattern| sparse(pool, &pattern, thetas, units));
    sparse.or_else(|| low_rank(pool, thetas, units, seed))
}

fn sparse(pool: &mut Pool, pattern: &Pattern, thetas: &[f64], units: &[f64]) -> Option<Whitening> {
    let dim = units.len();
    let places = || pattern.entries().iter().map(|e| (e.row as usize, e.column as usize));
    let symbolic = Symbolic::new(dim, places(), MOST_NUMBERS * dim)?;
    let share = dim as f64 / thetas.len() as f64;
    let mut mean = vec![0.0; pattern.entries().len()];
    if !hessians(pool, pattern, thetas, units, |_, values| axpy(-share, values, &mut mean)) {
        return None;
    }
    RIDGES.into_iter().find_map(|ridge| {
        let entries = places().zip(&mean).map(|((i, j), v)| match i == j {
            true => (i, j, v + ridge * v.abs().max(units[i].powi(-2))),
            false => (i, j, *v),
        });
        symbolic.factor(entries).map(Whitening::Sparse)
    })
}

/// The eigenvectors of the curvature in these units with eigenvalues far from 1, by Lanczos iterations with full
/// orthogonalisation.
fn low_rank(pool: &mut Pool, thetas: &[f64], units: &[f64], seed: u64) -> Option<Whitening> {
    let dim = units.len();
    let rows = thetas.len() / dim;
    let mut stream = Stream::new(seed, "lanczos", "");
    let mut v: Vec<f64> = (0..dim).map(|_| stream.normal()).collect();
    let norm = dot(&v, &v).sqrt();
    v.iter_mut().for_each(|x| *x /= norm);
    let (mut basis, mut alphas, mut betas) = (v.clone(), vec![], vec![]);
    let mut products = vec![0.0; rows * dim];
    for _ in 0..RANK.min(dim) {
        let direction: Vec<f64> = v.iter().zip(units).map(|(v, u)| v * u).collect();
        if !pool.products(thetas, &direction.repeat(rows), &mut products) {
            return None;
        }
        let mut next = vec![0.0; dim];
        products.chunks(dim).for_each(|p| axpy(-1.0 / rows as f64, p, &mut next));
        next.iter_mut().zip(units).for_each(|(n, u)| *n *= u);
        alphas.push(dot(&next, &v));
        // Twice: once leaves what rounding put there.
        for _ in 0..2 {
            for q in basis.chunks(dim) {
                axpy(-dot(q, &next), q, &mut next);
            }
        }
        let beta = dot(&next, &next).sqrt();
        betas.push(beta);
        if beta < 1e-10 || alphas.len() == RANK.min(dim) {
            break;
        }
        next.iter_mut().for_each(|x| *x /= beta);
        basis.extend_from_slice(&next);
        v = next;
    }
    let k = alphas.len();
    let mut t = vec![0.0; k * k];
    for i in 0..k {
        t[i * k + i] = alphas[i];
        if i + 1 < k {
            (t[i * k + i + 1], t[(i + 1) * k + i]) = (betas[i], betas[i]);
        }
    }
    let (values, vectors) = symmetric_eigen(&t, k);
    let last = betas.last().copied().unwrap_or(0.0);
    let (mut columns, mut stretch) = (vec![], vec![]);
    for (value, s) in values.iter().zip(vectors.chunks(k)) {
        // A vector that has not converged is none of the matrix.
        let converged = last * s[k - 1].abs() < 0.1 * value.abs();
        if *value > 1e-8 && (value - 1.0).abs() > EXTREME && converged {
            let mut column = vec![0.0; dim];
            s.iter().zip(basis.chunks(dim)).for_each(|(s, q)| axpy(*s, q, &mut column));
            columns.extend(column);
            stretch.push(value.powf(-0.5) - 1.0);
        }
    }
    Some(Whitening::LowRank(Stretched { diagonal: units.to_vec(), vectors: columns, stretch }))
}
