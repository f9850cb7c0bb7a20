//! Fixed standard-normal draws for the deterministic objective: antithetic, orthogonal in blocks, with second moments
//! matched, so that a quadratic log joint is integrated exactly.
//!
//! Only one half is stored; the other is its negative. First moments therefore vanish exactly.

use super::linalg::{axpy, cholesky, dot, solve_lower};
use super::rng::{Stream, normal_quantile};

/// `half` rows of `names.len()` coordinates, row-major. If `half` is at least the number of coordinates, `ZᵀZ / half` is
/// the identity; else its diagonal is 1 and rows are orthogonal before the rescaling.
pub fn matched(seed: u64, purpose: &str, names: &[String], half: usize) -> Vec<f64> {
    let dim = names.len();
    let mut z = plain(seed, purpose, names, 0, half);
    for block in z.chunks_mut((dim * dim).max(1)) {
        orthogonalise(block, dim);
    }
    if half < dim || !whiten(&mut z, dim) {
        rescale(&mut z, dim);
    }
    z
}

/// Independent rows `from .. from + rows`: the same numbers whichever part is asked for.
pub fn plain(seed: u64, purpose: &str, names: &[String], from: usize, rows: usize) -> Vec<f64> {
    let mut z = vec![0.0; rows * names.len()];
    plain_into(seed, purpose, names, from, &mut z);
    z
}

/// Rows whose coordinates are spread as evenly as they can be, each on its own: one number in each of `rows` intervals of the same
/// probability, in random order (a Latin hypercube: McKay, Beckman and Conover 1979). What is a sum of functions of single coordinates
/// then has a mean with an error of order rows^-3/2 instead of rows^-1/2 (Stein 1987).
pub fn spread(seed: u64, purpose: &str, names: &[String], rows: usize) -> Vec<f64> {
    let dim = names.len();
    let mut z = vec![0.0; rows * dim];
    let mut order: Vec<usize> = (0..rows).collect();
    for (j, name) in names.iter().enumerate() {
        let mut stream = Stream::new(seed, purpose, name);
        for i in (1..rows).rev() {
            order.swap(i, (stream.uniform() * (i + 1) as f64) as usize);
        }
        for (z, i) in z.iter_mut().skip(j).step_by(dim).zip(&order) {
            *z = normal_quantile((*i as f64 + stream.uniform()) / rows as f64);
        }
        order.sort_unstable();
    }
    z
}

/// As [`plain`], into a buffer of whole rows.
pub fn plain_into(seed: u64, purpose: &str, names: &[String], from: usize, z: &mut [f64]) {
    let dim = names.len();
    for (j, name) in names.iter().enumerate() {
        let mut stream = Stream::at(seed, purpose, name, from);
        z.iter_mut().skip(j).step_by(dim).for_each(|z| *z = stream.normal());
    }
}

/// Make rows orthogonal, keeping each row's own length (a χ of `dim` degrees of freedom).
fn orthogonalise(block: &mut [f64], dim: usize) {
    if dim == 0 {
        return;
    }
    let rows = block.len() / dim;
    for r in 0..rows {
        let (before, rest) = block.split_at_mut(r * dim);
        let row = &mut rest[..dim];
        let length = dot(row, row).sqrt();
        // Twice: one pass of Gram-Schmidt loses orthogonality to rounding.
        for _ in 0..2 {
            for b in before.chunks(dim) {
                let overlap = dot(row, b) / dot(b, b);
                axpy(-overlap, b, row);
            }
        }
        let left = dot(row, row).sqrt();
        row.iter_mut().for_each(|x| *x *= length / left);
    }
}

/// `Z ← Z R⁻¹` with `RᵀR = ZᵀZ / rows`. False if the rows do not span all directions.
fn whiten(z: &mut [f64], dim: usize) -> bool {
    if dim == 0 {
        return true;
    }
    let rows = z.len() / dim;
    let mut c = vec![0.0; dim * dim];
    for row in z.chunks(dim) {
        for i in 0..dim {
            axpy(row[i] / rows as f64, &row[..i + 1], &mut c[i * dim..i * dim + i + 1]);
        }
    }
    if !cholesky(&mut c, dim) {
        return false;
    }
    for row in z.chunks_mut(dim) {
        solve_lower(&c, dim, row);
    }
    true
}

/// Mean square 1 in every coordinate.
fn rescale(z: &mut [f64], dim: usize) {
    if dim == 0 {
        return;
    }
    let rows = z.len() / dim;
    for j in 0..dim {
        let ss: f64 = (0..rows).map(|r| z[r * dim + j] * z[r * dim + j]).sum();
        let s = (rows as f64 / ss).sqrt();
        (0..rows).for_each(|r| z[r * dim + j] *= s);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(n: usize) -> Vec<String> {
        (0..n).map(|i| format!("x[{i}]")).collect()
    }

    #[test]
    fn second_moments_are_the_identity_when_there_are_enough_draws() {
        for (dim, half) in [(1, 1), (1, 8), (3, 3), (5, 8), (10, 80), (30, 31)] {
            let z = matched(1, "t", &names(dim), half);
            for i in 0..dim {
                for j in 0..dim {
                    let m: f64 = z.chunks(dim).map(|r| r[i] * r[j]).sum::<f64>() / half as f64;
                    assert!((m - f64::from(u8::from(i == j))).abs() < 1e-12, "{dim} {half} {i} {j} {m}");
                }
            }
        }
    }

    /// One number in each interval of the same probability: mean and mean square of a coordinate are those of the normal but for what
    /// moves within intervals, and two coordinates are as uncorrelated as independent draws are (0.016 in 4000: four of these).
    #[test]
    fn spread_draws_are_even() {
        let n = 4000;
        let z = spread(3, "t", &names(2), n);
        for j in 0..2 {
            let mut cells: Vec<usize> =
                z.iter().skip(j).step_by(2).map(|z| (crate::prim::scalar::phi(*z) * n as f64) as usize).collect();
            cells.sort_unstable();
            assert_eq!(cells, (0..n).collect::<Vec<_>>());
            let moment = |k: i32| z.iter().skip(j).step_by(2).map(|z| z.powi(k)).sum::<f64>() / n as f64;
            assert!(moment(1).abs() < 1e-3 && (moment(2) - 1.0).abs() < 3e-3, "{} {}", moment(1), moment(2));
        }
        let both: f64 = z.chunks(2).map(|r| r[0] * r[1]).sum::<f64>() / n as f64;
        assert!(both.abs() < 0.064, "{both}");
        assert_eq!(z, spread(3, "t", &names(2), n));
        assert!(z != spread(4, "t", &names(2), n));
    }

    #[test]
    fn with_few_draws_each_coordinate_has_mean_square_one() {
        let z = matched(1, "t", &names(40), 8);
        for j in 0..40 {
            let m: f64 = z.chunks(40).map(|r| r[j] * r[j]).sum::<f64>() / 8.0;
            assert!((m - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn no_coordinates_and_no_draws() {
        assert!(matched(1, "t", &[], 4).is_empty());
        assert!(matched(1, "t", &names(3), 0).is_empty());
    }

    #[test]
    fn any_part_of_the_plain_draws_can_be_asked_for() {
        let n = names(3);
        let all = plain(9, "s", &n, 0, 100);
        assert_eq!(&all[41 * 3..60 * 3], plain(9, "s", &n, 41, 19));
    }
}
