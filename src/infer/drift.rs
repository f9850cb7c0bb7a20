//! Whether reported draws stay where they are when short Hamiltonian chains start from them.
//!
//! Wang, Kasprzak and Huggins, "A targeted accuracy diagnostic for variational approximations" (2023): whatever the chains
//! move is a lower bound of the error that was there. A drift condemns; its absence does not certify.

use super::Target;
use super::hamiltonian::{Dynamics, Ensemble, cost};
use super::metric::Metric;

/// Chains, each from one of the draws.
const CHAINS: usize = 256;
const DYNAMICS: Dynamics = Dynamics { steps: 6, acceptance: 0.8 };
/// Transitions that only adapt the step, and those that are looked at.
const WARM_UP: usize = 10;
const KEPT: usize = 10;
/// Below this rate of acceptance the chains do not follow the posterior.
pub const ACCEPTED: f64 = 0.5;
/// A chain that travels less than this part of the expected squared distance has not tested anything.
const TRAVELLED: f64 = 0.1;
/// A drift is believed beyond this many standard errors.
const ERRORS: f64 = 3.0;

/// What the chains did to the draws, per coordinate of theta.
#[derive(Clone, Debug, PartialEq)]
pub struct Drift {
    /// Lower bounds of the error of the mean, in standard deviations.
    pub mean: Vec<f64>,
    /// Lower bounds of the error of the logarithm of the standard deviation.
    pub log_sd: Vec<f64>,
    /// Rate of acceptance.
    pub acceptance: f64,
    /// Whether the chains moved enough for their word to count.
    pub valid: bool,
    pub gradients: usize,
}

impl Drift {
    pub fn worst_mean(&self) -> f64 {
        self.mean.iter().copied().fold(0.0, f64::max)
    }

    pub fn worst_log_sd(&self) -> f64 {
        self.log_sd.iter().copied().fold(0.0, f64::max)
    }
}

/// Start chains at some of these draws (row-major) and compare where they end with all of the draws.
///
/// `budget`: evaluations of the gradient that may be spent; with fewer than 64 chains' worth there is no test.
pub fn drift(target: &dyn Target, theta: &[f64], budget: usize, seed: u64, threads: usize) -> Option<Drift> {
    let dim = target.dim();
    let rows = theta.len() / dim.max(1);
    let chains = CHAINS.min(budget / cost(1, WARM_UP + KEPT, DYNAMICS)).min(rows);
    if dim == 0 || chains < 64 || !target.smooth() || theta.iter().any(|t| !t.is_finite()) {
        return None;
    }
    let metric = Metric::of_draws(theta, dim);
    // Evenly spaced, since neighbours may be copies of one proposal or belong to one chain.
    let starts: Vec<f64> =
        (0..chains).flat_map(|c| theta[(c * rows / chains) * dim..][..dim].iter().copied()).collect();
    let mut ensemble = Ensemble::new(target, &metric, &starts, DYNAMICS, "drift", seed, threads);
    ensemble.warm_up(WARM_UP);
    let ended = ensemble.keep(KEPT, 1);
    let (m, s) = (metric.mean(), metric.sds());
    let count = chains as f64;
    let (mut mean, mut log_sd) = (vec![0.0; dim], vec![0.0; dim]);
    let mut travelled = f64::INFINITY;
    for i in (0..dim).filter(|&i| s[i] > 0.0) {
        let standard = |x: f64| (x - m[i]) / s[i];
        let each = |f: &dyn Fn(f64) -> f64| -> (f64, f64) {
            let per_chain: Vec<f64> = ended
                .theta
                .iter()
                .map(|t| t.iter().skip(i).step_by(dim).map(|x| f(standard(*x))).sum::<f64>() / KEPT as f64)
                .collect();
            let average = per_chain.iter().sum::<f64>() / count;
            let variance = per_chain.iter().map(|x| (x - average).powi(2)).sum::<f64>() / (count - 1.0);
            (average, (variance / count).sqrt())
        };
        let (shift, se) = each(&|z| z);
        mean[i] = (shift.abs() - ERRORS * se).max(0.0);
        let (square, se) = each(&|z| z * z);
        // The sd about the draws' mean, so without the shift.
        let variance = (square - shift * shift).max(1e-12);
        log_sd[i] = (0.5 * variance.ln().abs() - ERRORS * 0.5 * se / variance).max(0.0);
        let distance: f64 = ended
            .theta
            .iter()
            .zip(starts.chunks(dim))
            .map(|(t, start)| ((t[t.len() - dim + i] - start[i]) / s[i]).powi(2))
            .sum();
        travelled = travelled.min(distance / (2.0 * count));
    }
    let valid = ended.acceptance > ACCEPTED && travelled > TRAVELLED;
    Some(Drift { mean, log_sd, acceptance: ended.acceptance, valid, gradients: ensemble.cost(WARM_UP + KEPT) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::{Evaluator, Stream};

    struct Standard(usize);

    impl Target for Standard {
        fn dim(&self) -> usize {
            self.0
        }
        fn names(&self) -> Vec<String> {
            (0..self.0).map(|i| format!("x{i}")).collect()
        }
        fn evaluator(&self) -> Box<dyn Evaluator + '_> {
            Box::new(Standard(self.0))
        }
    }

    impl Evaluator for Standard {
        fn value_grad(&mut self, t: &[f64], g: &mut [f64]) -> f64 {
            g.iter_mut().zip(t).for_each(|(g, t)| *g = -t);
            -0.5 * t.iter().map(|t| t * t).sum::<f64>()
        }
        fn value(&mut self, t: &[f64]) -> f64 {
            -0.5 * t.iter().map(|t| t * t).sum::<f64>()
        }
    }

    fn draws(f: impl Fn(usize, f64) -> f64) -> Vec<f64> {
        let mut stream = Stream::new(3, "drift", "test");
        (0..4000).flat_map(|_| (0..4).map(|i| f(i, stream.normal())).collect::<Vec<_>>()).collect()
    }

    #[test]
    fn exact_draws_stay_and_wrong_ones_are_pulled_back() {
        let of = |theta: &[f64]| drift(&Standard(4), theta, usize::MAX, 1, 2).expect("affordable");
        let exact = of(&draws(|_, z| z));
        assert!(exact.valid && exact.worst_mean() == 0.0 && exact.worst_log_sd() == 0.0, "{exact:?}");
        // Half a sd off in one mean; half the sd in another.
        let wrong = of(&draws(|i, z| match i {
            0 => z + 0.5,
            2 => 0.5 * z,
            _ => z,
        }));
        assert!(wrong.valid);
        // A lower bound: below the true 0.5, and far enough above 0.
        assert!(wrong.mean[0] > 0.2 && wrong.mean[0] < 0.6, "{wrong:?}");
        assert!(wrong.mean[1] == 0.0 && wrong.log_sd[1] == 0.0);
        assert!(wrong.log_sd[2] > 0.3 && wrong.log_sd[2] < 0.75, "{wrong:?}");
    }

    #[test]
    fn too_small_a_budget_is_no_test() {
        assert_eq!(drift(&Standard(4), &draws(|_, z| z), 1000, 1, 1), None);
    }
}
