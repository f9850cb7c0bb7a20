//! Whether true values lie where posteriors say they should.

use std::fmt::Write;

use serde::Serialize;

use super::summary::mean_sd;
use crate::infer::normal_quantile;

/// Where the true values of one scalar lay in its posteriors, as shares of the draws below.
#[derive(Clone, Debug)]
pub struct Position {
    pub name: String,
    pub at: Vec<f64>,
}

/// What the positions of one scalar say.
#[derive(Clone, Debug, Serialize)]
pub struct Calibrated {
    pub name: String,
    /// Mean of the truth's standard normal scores: above 0 the fits lie too low.
    pub bias: f64,
    /// Their sd: above 1 the fits' sds are too small.
    pub spread: f64,
    /// Probabilities of so large a deviation from uniformity, of the positions and of their distances from the middle
    /// (Kolmogorov and Smirnov).
    pub p_bias: f64,
    pub p_spread: f64,
}

/// The level of all tests together.
const LEVEL: f64 = 1e-3;

pub fn calibrated(positions: &[Position]) -> Vec<Calibrated> {
    let one = |p: &Position| {
        let scores: Vec<f64> = p.at.iter().map(|u| normal_quantile(*u)).collect();
        let (bias, spread) = mean_sd(&scores);
        Calibrated {
            name: p.name.clone(),
            bias,
            spread,
            p_bias: uniform(p.at.clone()),
            p_spread: uniform(p.at.iter().map(|u| (2.0 * u - 1.0).abs()).collect()),
        }
    };
    positions.iter().map(one).collect()
}

/// The smallest p-value, multiplied by the number of tests (Bonferroni).
pub fn smallest(found: &[Calibrated]) -> f64 {
    let least = found.iter().map(|c| c.p_bias.min(c.p_spread)).fold(1.0, f64::min);
    (least * 2.0 * found.len() as f64).min(1.0)
}

/// Whether no test rejects.
pub fn passes(found: &[Calibrated]) -> bool {
    smallest(found) > LEVEL
}

/// Kolmogorov and Smirnov's test of uniformity on (0, 1): the probability of a distance as large, by the asymptotic series
/// with Stephens' correction (1970).
fn uniform(mut u: Vec<f64>) -> f64 {
    let n = u.len() as f64;
    if u.is_empty() {
        return 1.0;
    }
    u.sort_unstable_by(f64::total_cmp);
    let gap = |(i, u): (usize, &f64)| (u - i as f64 / n).max((i + 1) as f64 / n - u);
    let d = u.iter().enumerate().map(gap).fold(0.0, f64::max);
    let lambda = (n.sqrt() + 0.12 + 0.11 / n.sqrt()) * d;
    if lambda < 0.2 {
        return 1.0;
    }
    let term = |k: i32| (if k % 2 == 1 { 2.0 } else { -2.0 }) * (-2.0 * f64::from(k * k) * lambda * lambda).exp();
    (1..100).map(term).sum::<f64>().clamp(0.0, 1.0)
}

/// Rows shown unless all are asked for.
const SHOWN: usize = 20;

/// The table, least likely first, and what it comes to.
pub fn calibration(found: &[Calibrated], all: bool) -> String {
    let least = |c: &Calibrated| c.p_bias.min(c.p_spread);
    let mut order: Vec<&Calibrated> = found.iter().collect();
    order.sort_by(|a, b| least(a).total_cmp(&least(b)));
    let shown = if all { order.len() } else { order.len().min(SHOWN) };
    let width = order[..shown].iter().map(|c| c.name.chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    let mut line = |text: String| writeln!(out, "{}", text.trim_end()).expect("a String takes all that is written");
    line(format!("{:width$}  {:>7}  {:>7}  {:>8}  {:>8}", "", "bias", "spread", "p bias", "p spread"));
    for c in &order[..shown] {
        let pad = " ".repeat(width - c.name.chars().count());
        line(format!("{}{pad}  {:>7.2}  {:>7.2}  {:>8.4}  {:>8.4}", c.name, c.bias, c.spread, c.p_bias, c.p_spread));
    }
    if shown < order.len() {
        line(format!("… {} more that fit better: `--all`", order.len() - shown));
    }
    line(String::new());
    let p = smallest(found);
    line(match passes(found) {
        true => format!("Calibrated: no test rejects at {LEVEL} (smallest p {p:.3} for all tests together)."),
        false => format!(
            "NOT CALIBRATED: the true values do not lie where the posteriors say (p {p:.1e} for all tests together).\n\
             A bias above 0 means fits that lie too low, a spread above 1 standard deviations that are too small."
        ),
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::Stream;

    fn positions(f: impl Fn(f64) -> f64) -> Vec<Position> {
        let mut s = Stream::new(9, "calibration", "test");
        vec![Position { name: "x".into(), at: (0..300).map(|_| f(s.uniform())).collect() }]
    }

    #[test]
    fn uniform_positions_pass_and_others_do_not() {
        assert!(passes(&calibrated(&positions(|u| u))));
        // Truth in the lower half too often; truth in the tails too often.
        let low = calibrated(&positions(|u| u * u));
        assert!(!passes(&low) && low[0].bias < -0.3 && low[0].p_bias < 1e-6);
        let wide = calibrated(&positions(|u| if u < 0.5 { 2.0 * u * u } else { 1.0 - 2.0 * (1.0 - u).powi(2) }));
        assert!(!passes(&wide) && wide[0].spread > 1.2 && wide[0].p_spread < 1e-6);
        assert!(calibration(&wide, false).contains("NOT CALIBRATED"));
    }

    #[test]
    fn p_values_are_those_of_the_tables() {
        // One value at 0.5 of 1 is at distance 0.5; 100 values in the middle of their shares at 0.005.
        assert!(uniform((0..100).map(|i| (f64::from(i) + 0.5) / 100.0).collect()) > 0.999);
        // The 5 % point for n = 100 is D = 0.134 (1.358 / (√n + 0.12 + 0.11/√n)).
        let shifted: Vec<f64> = (0..100).map(|i| ((f64::from(i) + 0.5) / 100.0 * (1.0 - 0.129)).min(1.0)).collect();
        let p = uniform(shifted);
        assert!((p - 0.05).abs() < 0.01, "{p}");
    }
}
