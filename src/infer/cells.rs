//! Which coordinates spoil the importance weights of a large model.
//!
//! In many dimensions k-hat fails as a whole although most marginals are fine. The part of the log ratio that a single
//! coordinate explains is read off its regression on c₁ z + c₂ (z² − 1), z the coordinate in the guide's sds: the first two
//! Hermite polynomials, orthogonal under a normal. Weights exp(c₂ z²) of normal draws have a Pareto tail of shape 2 c₂, which
//! is that coordinate's own k-hat; it is positive where the posterior is wider than the guide.

use super::approximation::Approximation;

/// Fewer coordinates are judged together.
const LARGE: usize = 20;
/// A shape is told if it exceeds its noise by so many standard errors,
const ERRORS: f64 = 3.0;
/// and if it is at least this.
const LEAST: f64 = 0.1;
/// How many are told.
const TOLD: usize = 10;

/// The coordinates with the heaviest tails of their own, worst first, as shapes of Pareto tails. `theta` holds draws of the
/// guide, row-major, `ratios` their log ratios of posterior to guide. Empty in small models.
pub fn worst_cells(guide: &dyn Approximation, names: &[String], theta: &[f64], ratios: &[f64]) -> Vec<(String, f64)> {
    let dim = names.len();
    if dim < LARGE {
        return vec![];
    }
    let finite: Vec<usize> = (0..ratios.len()).filter(|&s| ratios[s].is_finite()).collect();
    let count = finite.len() as f64;
    let mean = finite.iter().map(|&s| ratios[s]).sum::<f64>() / count;
    let variance = finite.iter().map(|&s| (ratios[s] - mean).powi(2)).sum::<f64>() / count;
    // The coefficient of z² − 1, whose own variance is 2, from independent draws.
    let noise = (variance / (2.0 * count)).sqrt();
    let shape = |i: usize| {
        let (m, sd) = (guide.mean()[i], guide.sds()[i]);
        let second = |s: &usize| {
            let z = (theta[s * dim + i] - m) / sd;
            (ratios[*s] - mean) * (z * z - 1.0)
        };
        finite.iter().map(second).sum::<f64>() / (2.0 * count)
    };
    let mut cells: Vec<(f64, usize)> = (0..dim)
        .filter(|&i| guide.sds()[i] > 0.0)
        .map(|i| (shape(i), i))
        .filter(|(c, _)| *c > ERRORS * noise && 2.0 * c > LEAST)
        .collect();
    cells.sort_by(|a, b| b.0.total_cmp(&a.0));
    cells.truncate(TOLD);
    cells.into_iter().map(|(c, i)| (names[i].clone(), 2.0 * c)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::frame::Basis;
    use super::super::gaussian::Gaussian;
    use super::*;

    #[test]
    fn a_coordinate_with_heavy_weights_is_named() {
        // Independent standard normals as the guide; the posterior's sd is 2 in one coordinate and 1.5 in another.
        let n = 40;
        let names: Vec<String> = (0..n).map(|i| format!("x[{i}]")).collect();
        let guide = Gaussian::new((0..n).collect(), names.clone(), vec![0.0; n], Basis::Diagonal(vec![1.0; n]));
        let theta = guide.sample("test", 10_000, 1);
        let ratio = |t: &[f64]| 0.5 * t[7] * t[7] * (1.0 - 0.25) + 0.5 * t[3] * t[3] * (1.0 - 1.0 / 2.25);
        let ratios: Vec<f64> = theta.chunks(n).map(ratio).collect();
        let worst = worst_cells(&guide, &names, &theta, &ratios);
        assert_eq!(worst.iter().map(|w| w.0.as_str()).collect::<Vec<_>>(), ["x[7]", "x[3]"]);
        // Shapes 1 − 1/sd²; the regression's error from 10 000 draws is about 0.01, four of which are allowed.
        assert!((worst[0].1 - 0.75).abs() < 0.05 && (worst[1].1 - 0.556).abs() < 0.05, "{worst:?}");
        assert!(worst_cells(&guide, &names[..1], &theta, &ratios).is_empty());
    }
}
