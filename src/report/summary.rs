//! Mean, standard deviation and quantiles of every scalar of a fit.

use serde::Serialize;

use super::{FitReport, ReportKind};
use crate::infer::{Mixing, mixing};

/// One scalar's posterior in six numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// `theta[Choate]`
    pub name: String,
    /// `theta`
    pub variable: String,
    /// `["Choate"]`: one per dimension.
    pub labels: Vec<String>,
    pub kind: &'static str,
    pub mean: f64,
    /// Divisor n - 1.
    pub sd: f64,
    pub q5: f64,
    pub q50: f64,
    pub q95: f64,
    /// Whether a sampler's chains agree about it.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub mixing: Option<Mixing>,
}

impl Summary {
    /// With nothing said of the spread.
    pub fn mean_only(self) -> Summary {
        Summary { sd: f64::NAN, q5: f64::NAN, q50: f64::NAN, q95: f64::NAN, ..self }
    }
}

/// The summaries of a fit, one list per variable.
pub fn summaries(fit: &FitReport) -> Vec<Vec<Summary>> {
    let mut sorted = Vec::with_capacity(fit.draws);
    let of = |var: &super::ReportVar, sorted: &mut Vec<f64>, cell: usize| {
        // Draws that are not finite would take every number with them; the fit's doubts say how many there are.
        sorted.clear();
        sorted.extend(var.cell(cell, fit.draws).iter().filter(|x| x.is_finite()));
        let (mean, sd) = mean_sd(sorted);
        sorted.sort_unstable_by(f64::total_cmp);
        Summary {
            name: var.cell_name(cell),
            variable: var.name.clone(),
            labels: var.labels(cell).into_iter().map(str::to_owned).collect(),
            kind: match var.kind {
                ReportKind::Latent => "latent",
                ReportKind::Param => "param",
                ReportKind::Let => "let",
                ReportKind::Report => "report",
            },
            mean,
            sd,
            q5: quantile(sorted, 0.05),
            q50: quantile(sorted, 0.5),
            q95: quantile(sorted, 0.95),
            mixing: (fit.chains > 0).then(|| mixing(var.cell(cell, fit.draws), fit.chains)),
        }
    };
    fit.vars.iter().map(|var| (0..var.cells()).map(|cell| of(var, &mut sorted, cell)).collect()).collect()
}

/// Mean, and standard deviation with divisor n - 1.
pub fn mean_sd(draws: &[f64]) -> (f64, f64) {
    if draws.windows(2).all(|w| w[0] == w[1]) {
        // Rounding in the mean must not give a point a spread.
        return (draws.first().copied().unwrap_or(f64::NAN), 0.0);
    }
    let n = draws.len() as f64;
    let mean = draws.iter().sum::<f64>() / n;
    // Two passes: the mean of squares minus the square of the mean cancels when the sd is small beside the mean.
    let squares: f64 = draws.iter().map(|x| (x - mean) * (x - mean)).sum();
    (mean, if draws.len() > 1 { (squares / (n - 1.0)).sqrt() } else { 0.0 })
}

/// Linear interpolation between order statistics (type 7 of Hyndman & Fan 1996), as in R and numpy.
/// Of no draws at all it is NaN.
fn quantile(sorted: &[f64], p: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let at = p * last as f64;
    let low = at.floor() as usize;
    let (a, b) = (sorted[low], sorted[(low + 1).min(last)]);
    a + (at - low as f64) * (b - a)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_as_in_r() {
        // quantile(c(1, 2, 4, 8, 16), c(.05, .5, .95)) = 1.2, 4, 14.4
        let v = [1.0, 2.0, 4.0, 8.0, 16.0];
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        close(quantile(&v, 0.05), 1.2);
        close(quantile(&v, 0.5), 4.0);
        close(quantile(&v, 0.95), 14.4);
        assert_eq!(quantile(&[3.0], 0.95), 3.0);
        assert!(quantile(&[], 0.5).is_nan());
    }

    #[test]
    fn sd_survives_a_large_mean() {
        let (mean, sd) = mean_sd(&[1e9 + 1.0, 1e9 + 2.0, 1e9 + 3.0]);
        assert_eq!((mean, sd), (1e9 + 2.0, 1.0));
    }
}
