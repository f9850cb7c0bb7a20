//! Many short Hamiltonian chains side by side. Neal, "MCMC using Hamiltonian dynamics" (2011), section 3.
//!
//! They serve twice: to move draws of the guide to the posterior where it is too far for importance weights, and to see
//! whether the reported draws drift when the posterior pulls at them ([`super::drift`]).

use super::metric::Metric;
use super::{Stream, Target, linalg};

/// Smallest rate of acceptance at which chains are believed to follow the posterior.
const MOVING: f64 = 0.4;

/// Loss of energy, in nats, from which on a path has left the posterior instead of following it.
const DIVERGING: f64 = 100.0;

/// Chains after their warm-up.
pub struct Chains {
    /// One row of `kept × dim` per chain.
    pub theta: Vec<Vec<f64>>,
    /// In the last transition, over all chains.
    pub acceptance: f64,
    /// Share of the transitions whose paths left the posterior: where it is too narrow for the chains' steps, and they seldom come
    /// (Betancourt 2017, "A conceptual introduction to Hamiltonian Monte Carlo", section 6.2).
    pub diverging: f64,
}

impl Chains {
    /// Whether the chains went anywhere.
    pub fn moved(&self) -> bool {
        self.acceptance > MOVING
    }

    /// Largest potential scale reduction R̂ of any coordinate that moves: the spread of all draws over that within the
    /// chains (Gelman and Rubin 1992). Many short chains that have forgotten their starts give values near 1; with n
    /// draws a chain and an autocorrelation time of τ draws, about √(1 + (τ - 1)/n).
    pub fn r_hat(&self, dim: usize) -> f64 {
        let n = self.theta.first().map_or(0, |t| t.len() / dim.max(1));
        if n < 2 {
            return f64::INFINITY;
        }
        let count = self.theta.len() as f64;
        let mut worst: f64 = 1.0;
        for i in 0..dim {
            let moments = |t: &Vec<f64>| {
                let mean = t.iter().skip(i).step_by(dim).sum::<f64>() / n as f64;
                let squares: f64 = t.iter().skip(i).step_by(dim).map(|x| (x - mean).powi(2)).sum();
                (mean, squares / (n - 1) as f64)
            };
            let each: Vec<(f64, f64)> = self.theta.iter().map(moments).collect();
            let mean = each.iter().map(|e| e.0).sum::<f64>() / count;
            let between = each.iter().map(|e| (e.0 - mean).powi(2)).sum::<f64>() / (count - 1.0).max(1.0);
            let within = each.iter().map(|e| e.1).sum::<f64>() / count;
            if between > 0.0 {
                worst = worst.max(((n - 1) as f64 / n as f64 + between / within).sqrt());
            }
        }
        worst
    }
}

/// Leapfrog steps, and the rate of acceptance that their length is adapted to.
#[derive(Clone, Copy, Debug)]
pub struct Dynamics {
    pub steps: usize,
    pub acceptance: f64,
}

/// Chains side by side, as far as they have come. What they do does not depend on the number of threads.
pub struct Ensemble<'a> {
    metric: &'a Metric,
    dynamics: Dynamics,
    chains: Vec<Chain>,
    /// One per thread.
    spaces: Vec<Space<'a>>,
    step: f64,
    acceptance: f64,
}

impl<'a> Ensemble<'a> {
    /// A chain from each row of `starts`.
    pub fn new(
        target: &'a dyn Target,
        metric: &'a Metric,
        starts: &[f64],
        dynamics: Dynamics,
        purpose: &str,
        seed: u64,
        threads: usize,
    ) -> Ensemble<'a> {
        let dim = metric.dim();
        let chains: Vec<Chain> = starts
            .chunks(dim)
            .enumerate()
            .map(|(i, theta)| Chain {
                e: metric.whiten(theta),
                value: f64::NAN,
                gradient: vec![0.0; dim],
                stream: Stream::at(seed, purpose, "chain", i << 32),
                accepted: 0.0,
                diverged: 0,
                kept: vec![],
            })
            .collect();
        // Roughly the stable step of a standard normal in this dimension.
        let step = 1.2 * (metric.free().max(1) as f64).powf(-0.25);
        let spaces = (0..threads.clamp(1, chains.len().max(1))).map(|_| Space::new(target, metric)).collect();
        Ensemble { metric, dynamics, chains, spaces, step, acceptance: 0.0 }
    }

    /// Transitions that adapt the step and forget the start.
    pub fn warm_up(&mut self, transitions: usize) {
        for _ in 0..transitions {
            self.transition();
            self.step *= (self.acceptance - self.dynamics.acceptance).exp();
        }
    }

    /// Every `thin`-th state of the next `kept * thin` transitions.
    pub fn keep(&mut self, kept: usize, thin: usize) -> Chains {
        let dim = self.metric.dim();
        for chain in &mut self.chains {
            chain.diverged = 0;
            chain.kept = Vec::with_capacity(kept * dim);
        }
        let mut theta = vec![0.0; dim];
        for _ in 0..kept {
            (0..thin).for_each(|_| self.transition());
            for chain in &mut self.chains {
                self.metric.theta(&chain.e, &mut theta);
                chain.kept.extend_from_slice(&theta);
            }
        }
        let theta = self.chains.iter_mut().map(|c| std::mem::take(&mut c.kept)).collect();
        let diverged: usize = self.chains.iter().map(|c| c.diverged).sum();
        let transitions = (kept * thin * self.chains.len()).max(1);
        Chains { theta, acceptance: self.acceptance, diverging: diverged as f64 / transitions as f64 }
    }

    /// Evaluations of the gradient for so many transitions of every chain.
    pub fn cost(&self, transitions: usize) -> usize {
        cost(self.chains.len(), transitions, self.dynamics)
    }

    fn transition(&mut self) {
        let share = self.chains.len().div_ceil(self.spaces.len()).max(1);
        let (step, steps) = (self.step, self.dynamics.steps);
        std::thread::scope(|scope| {
            for (part, space) in self.chains.chunks_mut(share).zip(&mut self.spaces) {
                scope.spawn(move || part.iter_mut().for_each(|chain| chain.transition(space, step, steps)));
            }
        });
        // The same order whatever the number of threads.
        self.acceptance = self.chains.iter().map(|c| c.accepted).sum::<f64>() / self.chains.len().max(1) as f64;
    }
}

/// Evaluations of the gradient for so many transitions of so many chains.
pub fn cost(chains: usize, transitions: usize, dynamics: Dynamics) -> usize {
    chains * (dynamics.steps * transitions + 1)
}

/// One chain, in coordinates in which the metric is the identity.
struct Chain {
    e: Vec<f64>,
    value: f64,
    gradient: Vec<f64>,
    stream: Stream,
    /// Acceptance probability of the last transition.
    accepted: f64,
    /// Transitions that diverged since states are kept.
    diverged: usize,
    kept: Vec<f64>,
}

/// The log joint in whitened coordinates, with what a transition writes.
struct Space<'a> {
    evaluator: Box<dyn super::Evaluator + 'a>,
    metric: &'a Metric,
    theta: Vec<f64>,
    g: Vec<f64>,
    scaled: Vec<f64>,
    e: Vec<f64>,
    p: Vec<f64>,
    momentum: Vec<f64>,
    gradient: Vec<f64>,
}

impl<'a> Space<'a> {
    fn new(target: &'a dyn Target, metric: &'a Metric) -> Space<'a> {
        let zeros = || vec![0.0; metric.dim()];
        Space {
            evaluator: target.evaluator(),
            metric,
            theta: zeros(),
            g: zeros(),
            scaled: zeros(),
            e: zeros(),
            p: zeros(),
            momentum: zeros(),
            gradient: zeros(),
        }
    }

    /// At `self.e`; writes `self.gradient`.
    fn value_grad(&mut self) -> f64 {
        self.metric.theta(&self.e, &mut self.theta);
        let value = self.evaluator.value_grad(&self.theta, &mut self.g);
        self.metric.pull_back(&self.g, &mut self.scaled, &mut self.gradient);
        value
    }
}

impl Chain {
    fn transition(&mut self, space: &mut Space, step: f64, steps: usize) {
        space.e.copy_from_slice(&self.e);
        if self.value.is_nan() {
            self.value = space.value_grad();
            self.gradient.copy_from_slice(&space.gradient);
        }
        space.momentum.iter_mut().for_each(|p| *p = self.stream.normal());
        // A jittered step does not resonate with a period of the dynamics.
        let step = step * (0.8 + 0.4 * self.stream.uniform());
        let accept = self.stream.uniform();
        space.p.copy_from_slice(&space.momentum);
        space.gradient.copy_from_slice(&self.gradient);
        let mut value = self.value;
        for _ in 0..steps {
            linalg::axpy(0.5 * step, &space.gradient, &mut space.p);
            linalg::axpy(step, &space.p, &mut space.e);
            value = space.value_grad();
            linalg::axpy(0.5 * step, &space.gradient, &mut space.p);
        }
        let energy = |value: f64, p: &[f64]| value - 0.5 * linalg::dot(p, p);
        let ratio = energy(value, &space.p) - energy(self.value, &space.momentum);
        self.diverged += usize::from(ratio.is_nan() || ratio < -DIVERGING);
        self.accepted = if ratio.is_nan() { 0.0 } else { ratio.min(0.0).exp() };
        if accept < self.accepted {
            self.e.copy_from_slice(&space.e);
            self.gradient.copy_from_slice(&space.gradient);
            self.value = value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::{Evaluator, FitOptions, GuideKind, fit};

    /// A normal with correlation 0.9, which a mean-field guide makes far too narrow.
    struct Correlated;

    impl Target for Correlated {
        fn dim(&self) -> usize {
            2
        }
        fn names(&self) -> Vec<String> {
            vec!["a".into(), "b".into()]
        }
        fn evaluator(&self) -> Box<dyn Evaluator + '_> {
            Box::new(Correlated)
        }
    }

    impl Evaluator for Correlated {
        fn value_grad(&mut self, t: &[f64], g: &mut [f64]) -> f64 {
            let d = 1.0 - 0.81;
            g[0] = -(t[0] - 0.9 * t[1]) / d;
            g[1] = -(t[1] - 0.9 * t[0]) / d;
            0.5 * (t[0] * g[0] + t[1] * g[1])
        }
        fn value(&mut self, t: &[f64]) -> f64 {
            self.value_grad(t, &mut [0.0; 2])
        }
    }

    #[test]
    fn short_chains_recover_a_correlated_normal_from_a_mean_field_guide() {
        let options = FitOptions { guide: GuideKind::MeanField, ..FitOptions::default() };
        let fit = fit(&Correlated, &options, &mut |_| {}).expect("finite");
        let metric = Metric::linear_response(&Correlated, &fit, 5).expect("curved everywhere");
        let dynamics = Dynamics { steps: 8, acceptance: 0.8 };
        let chains = |threads| {
            let mut ensemble = Ensemble::new(&Correlated, &metric, &fit.sample(200, 6), dynamics, "test", 5, threads);
            ensemble.warm_up(20);
            ensemble.keep(20, 1)
        };
        let one = chains(1);
        assert!(one.moved());
        let draws: Vec<f64> = one.theta.concat();
        let n = (draws.len() / 2) as f64;
        let moment = |f: &dyn Fn(&[f64]) -> f64| draws.chunks(2).map(f).sum::<f64>() / n;
        assert_eq!(n, 4000.0);
        // 200 independent chains: the standard error of a variance is at most √(2/200) = 0.1.
        assert!(moment(&|t| t[0]).abs() < 0.25);
        assert!((moment(&|t| t[0] * t[0]) - 1.0).abs() < 0.4);
        assert!((moment(&|t| t[0] * t[1]) - 0.9).abs() < 0.4);
        // The metric is exact here, so a transition forgets nearly all: autocorrelation time near 1.
        assert!(one.r_hat(2) < 1.1, "{}", one.r_hat(2));
        assert!(one.theta == chains(2).theta, "threads change the draws");
    }

    #[test]
    fn chains_that_stay_where_they_started_are_seen() {
        let apart = Chains {
            theta: (0..10).map(|c| (0..10).map(|t| (c + t % 2) as f64).collect()).collect(),
            acceptance: 1.0,
            diverging: 0.0,
        };
        assert!(apart.r_hat(1) > 2.0);
    }
}
