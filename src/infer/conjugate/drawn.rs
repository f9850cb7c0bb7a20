//! Latents without a closed form beside others that have one: independent normals on the unconstrained scale.
//!
//! The expected log joint over statistics is a function of these latents too; its mean over fixed draws of theirs is what is then
//! maximised. For the others nothing changes: the derivative of that mean along their statistics is the natural parameter of
//! their best factors, so that the updates stay in closed form (conjugate updates within a bound that is followed by its
//! gradient: Khan and Lin 2017 mix the two likewise). The draws stay the same from sweep to sweep, and the bound can only rise.

use super::block::{Block, Form, Range};
use crate::infer::draws::{matched, plain};
use crate::infer::target::Evaluator;

/// Halves of antithetic draws.
const LEAST: usize = 16;
const MOST: usize = 64;
/// Fresh draws for the bound that is reported.
const FRESH: usize = 400;

#[derive(Default)]
pub struct Drawn {
    /// The input that each cell is, and its range.
    cells: Vec<(usize, Range)>,
    names: Vec<String>,
    /// Mean and log sd on the unconstrained scale.
    pub spread: Vec<(f64, f64)>,
    z: Vec<f64>,
    one: Vec<f64>,
    /// Derivatives of the mean along these.
    pub by_mean: Vec<f64>,
    pub by_log: Vec<f64>,
}

impl Drawn {
    pub fn new(blocks: &[Block], seed: u64, dim: usize) -> Drawn {
        let all = blocks.iter().filter_map(|b| if let Form::Drawn(cells) = &b.form { Some(cells) } else { None });
        let (mut cells, mut names) = (vec![], vec![]);
        for c in all.flatten() {
            cells.push((c.input, c.range));
            names.push(c.name.clone());
        }
        let n = cells.len();
        let half = matched(seed, "ascent", &names, n.clamp(LEAST, MOST));
        let z = if n == 0 { vec![] } else { half.iter().copied().chain(half.iter().map(|z| -z)).collect() };
        let zeros = || vec![0.0; n];
        let spread = vec![(0.0, 0.0); n];
        Drawn { cells, names, spread, z, one: vec![0.0; dim], by_mean: zeros(), by_log: zeros() }
    }

    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// How many evaluations a mean takes.
    pub fn draws(&self) -> usize {
        self.z.len() / self.cells.len().max(1)
    }

    /// Set the inputs to a draw; the log of the slope of the ranges there.
    fn place(&self, z: &[f64], statistics: &mut [f64]) -> f64 {
        let mut log_slope = 0.0;
        for (((input, range), (mean, log_sd)), z) in self.cells.iter().zip(&self.spread).zip(z) {
            let u = mean + log_sd.exp() * z;
            statistics[*input] = range.value(u);
            log_slope += range.log_slope(u);
        }
        log_slope
    }

    /// The inputs at the means, by which sweeps are compared.
    fn settle(&self, statistics: &mut [f64]) {
        for ((input, range), (mean, _)) in self.cells.iter().zip(&self.spread) {
            statistics[*input] = range.value(*mean);
        }
    }

    /// The mean over the draws, log-Jacobians included, and its gradient.
    pub fn value_grad(&mut self, evaluator: &mut dyn Evaluator, statistics: &mut [f64], gradient: &mut [f64]) -> f64 {
        let (n, share) = (self.cells.len(), 1.0 / self.draws() as f64);
        gradient.fill(0.0);
        self.by_mean.fill(0.0);
        self.by_log.fill(0.0);
        let (z, mut one) = (std::mem::take(&mut self.z), std::mem::take(&mut self.one));
        let mut total = 0.0;
        for z in z.chunks(n) {
            let log_slope = self.place(z, statistics);
            total += share * (evaluator.value_grad(statistics, &mut one) + log_slope);
            gradient.iter_mut().zip(&one).for_each(|(g, o)| *g += share * o);
            for (i, (input, range)) in self.cells.iter().enumerate() {
                let (mean, log_sd) = self.spread[i];
                let sd = log_sd.exp();
                let u = mean + sd * z[i];
                let slope = one[*input] * range.slope(range.value(u)) + range.log_slope_slope(u);
                self.by_mean[i] += share * slope;
                self.by_log[i] += share * slope * sd * z[i];
            }
        }
        (self.z, self.one) = (z, one);
        self.settle(statistics);
        total
    }

    /// The mean over the draws alone.
    pub fn value(&mut self, evaluator: &mut dyn Evaluator, statistics: &mut [f64]) -> f64 {
        let z = std::mem::take(&mut self.z);
        let value = self.mean(&z, evaluator, statistics).0;
        self.z = z;
        value
    }

    /// The same over fresh draws, and its standard error.
    pub fn fresh(&self, seed: u64, evaluator: &mut dyn Evaluator, statistics: &mut [f64]) -> (f64, f64) {
        let z = plain(seed, "bound of the ascent", &self.names, 0, FRESH);
        self.mean(&z, evaluator, statistics)
    }

    fn mean(&self, z: &[f64], evaluator: &mut dyn Evaluator, statistics: &mut [f64]) -> (f64, f64) {
        let (mut sum, mut squares, mut count) = (0.0, 0.0, 0.0);
        for z in z.chunks(self.cells.len().max(1)) {
            let value = self.place(z, statistics) + evaluator.value(statistics);
            count += 1.0;
            // Welford's sums: values may be large beside their spread.
            let off = value - sum;
            sum += off / count;
            squares += off * (value - sum);
        }
        self.settle(statistics);
        (sum, (squares / (count * f64::max(count - 1.0, 1.0))).sqrt())
    }
}
