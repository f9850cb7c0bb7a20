//! Moving the guide's draws to the posterior by short Hamiltonian chains, where the guide is too far from it for
//! importance weights. Neal, "MCMC using Hamiltonian dynamics" (2011), section 3.
//!
//! The chains start at draws of the guide and use its linear-response covariance as their metric, so that a few steps
//! carry far. They are short: what they report is the posterior only as far as they have come.

use super::{Fit, Scale, Stream, Target, draws as noise, linalg};

/// Chains, each from a draw of the guide.
const CHAINS: usize = 200;
/// Transitions that only adapt the step and forget the guide.
const WARM_UP: usize = 20;
/// Leapfrog steps per transition.
const STEPS: usize = 8;
const ACCEPTANCE: f64 = 0.8;

/// Above this many coordinates a dense metric costs more than it is worth.
const DENSE: usize = 500;

/// Evaluations of the gradient that [`chains`] needs for `keep` draws.
pub fn cost(dim: usize, keep: usize) -> usize {
    CHAINS * STEPS * (WARM_UP + keep.div_ceil(CHAINS)) + curvature_draws(dim)
}

fn curvature_draws(dim: usize) -> usize {
    (20 * dim).max(400)
}

/// `keep` draws, row-major, chain by chain. `None` if the metric is not positive definite, or if the chains hardly move.
pub fn chains(target: &dyn Target, fit: &Fit, keep: usize, seed: u64, threads: usize) -> Option<Vec<f64>> {
    let dim = fit.mean.len();
    if dim > DENSE {
        return None;
    }
    let metric = linear_response(target, fit, seed)?;
    let each = keep.div_ceil(CHAINS);
    let starts = fit.sample(CHAINS, seed ^ 0x9e37_79b9_7f4a_7c15);
    let mut chains: Vec<Chain> = starts
        .chunks(dim)
        .enumerate()
        .map(|(i, theta)| Chain {
            e: metric.whiten(&fit.mean, theta),
            value: f64::NAN,
            gradient: vec![0.0; dim],
            stream: Stream::at(seed, "hamiltonian", "chain", i << 32),
            accepted: 0.0,
            kept: Vec::with_capacity(each * dim),
        })
        .collect();
    // Roughly the stable step of a standard normal in this dimension.
    let mut step = 1.2 * (dim.max(1) as f64).powf(-0.25);
    let mut acceptance = 0.0;
    for transition in 0..WARM_UP + each {
        let share = chains.len().div_ceil(threads.max(1));
        std::thread::scope(|scope| {
            for part in chains.chunks_mut(share) {
                let (metric, mean) = (&metric, &fit.mean);
                scope.spawn(move || {
                    let mut evaluator = target.evaluator();
                    let mut space =
                        Space { evaluator: &mut *evaluator, metric, mean, theta: vec![0.0; dim], g: vec![0.0; dim] };
                    for chain in part {
                        chain.transition(&mut space, step);
                        if transition >= WARM_UP {
                            chain.kept.extend(metric.unwhiten(mean, &chain.e));
                        }
                    }
                });
            }
        });
        // The same order whatever the number of threads.
        acceptance = chains.iter().map(|c| c.accepted).sum::<f64>() / chains.len() as f64;
        if transition < WARM_UP {
            step *= (acceptance - ACCEPTANCE).exp();
        }
    }
    let mut out: Vec<f64> = chains.into_iter().flat_map(|c| c.kept).collect();
    out.truncate(keep * dim);
    (acceptance > 0.4).then_some(out)
}

/// One chain, in coordinates in which the metric is the identity.
struct Chain {
    e: Vec<f64>,
    value: f64,
    gradient: Vec<f64>,
    stream: Stream,
    /// Acceptance probability of the last transition.
    accepted: f64,
    kept: Vec<f64>,
}

/// The log joint in whitened coordinates.
struct Space<'a> {
    evaluator: &'a mut dyn super::Evaluator,
    metric: &'a Metric,
    mean: &'a [f64],
    theta: Vec<f64>,
    g: Vec<f64>,
}

impl Space<'_> {
    fn value_grad(&mut self, e: &[f64], gradient: &mut [f64]) -> f64 {
        self.theta.copy_from_slice(&self.metric.unwhiten(self.mean, e));
        let value = self.evaluator.value_grad(&self.theta, &mut self.g);
        self.metric.pull_back(&self.g, gradient);
        value
    }
}

impl Chain {
    fn transition(&mut self, space: &mut Space, step: f64) {
        let dim = self.e.len();
        if self.value.is_nan() {
            self.value = space.value_grad(&self.e, &mut self.gradient);
        }
        let momentum: Vec<f64> = (0..dim).map(|_| self.stream.normal()).collect();
        // A jittered step does not resonate with a period of the dynamics.
        let step = step * (0.8 + 0.4 * self.stream.uniform());
        let accept = self.stream.uniform();
        let (mut e, mut p, mut g) = (self.e.clone(), momentum.clone(), self.gradient.clone());
        let mut value = self.value;
        for _ in 0..STEPS {
            linalg::axpy(0.5 * step, &g, &mut p);
            linalg::axpy(step, &p, &mut e);
            value = space.value_grad(&e, &mut g);
            linalg::axpy(0.5 * step, &g, &mut p);
        }
        let energy = |value: f64, p: &[f64]| value - 0.5 * linalg::dot(p, p);
        let ratio = energy(value, &p) - energy(self.value, &momentum);
        self.accepted = if ratio.is_nan() { 0.0 } else { ratio.min(0.0).exp() };
        if accept < self.accepted {
            (self.e, self.value, self.gradient) = (e, value, g);
        }
    }
}

/// A normal's precision `D⁻¹ A D⁻¹`, `A = U Uᵀ`, `D` the guide's sds: theta = mean + D U⁻ᵀ e with standard e.
struct Metric {
    sds: Vec<f64>,
    /// Lower Cholesky factor of `A`, row-major.
    factor: Vec<f64>,
}

impl Metric {
    fn unwhiten(&self, mean: &[f64], e: &[f64]) -> Vec<f64> {
        let mut x = e.to_vec();
        solve_transposed(&self.factor, &mut x);
        x.iter().zip(&self.sds).zip(mean).map(|((x, sd), m)| m + sd * x).collect()
    }

    fn whiten(&self, mean: &[f64], theta: &[f64]) -> Vec<f64> {
        let dim = theta.len();
        let z: Vec<f64> = theta.iter().zip(mean).zip(&self.sds).map(|((t, m), sd)| (t - m) / sd).collect();
        (0..dim).map(|j| (j..dim).map(|i| self.factor[i * dim + j] * z[i]).sum()).collect()
    }

    /// d/de from d/dtheta: U⁻¹ D g.
    fn pull_back(&self, g: &[f64], out: &mut [f64]) {
        for ((o, g), sd) in out.iter_mut().zip(g).zip(&self.sds) {
            *o = g * sd;
        }
        linalg::solve_lower(&self.factor, out.len(), out);
    }
}

/// `x ← L⁻ᵀ x`
fn solve_transposed(l: &[f64], x: &mut [f64]) {
    let n = x.len();
    for i in (0..n).rev() {
        x[i] /= l[i * n + i];
        let v = x[i];
        for (k, x) in x[..i].iter_mut().enumerate() {
            *x -= l[i * n + k] * v;
        }
    }
}

/// The linear-response covariance of the guide's optimum: the inverse of the posterior's average curvature under it
/// (Giordano, Broderick, Jordan 2018, for a normal posterior). The curvature is the regression of gradients on draws,
/// which is exact for a quadratic log joint. `None` where it is not positive definite.
fn linear_response(target: &dyn Target, fit: &Fit, seed: u64) -> Option<Metric> {
    let dim = fit.mean.len();
    let n = curvature_draws(dim);
    let sds: Vec<f64> = match &fit.scale {
        Scale::MeanField(log_sds) => log_sds.iter().map(|l| l.exp()).collect(),
        Scale::FullRank(_) => fit.sds(),
    };
    let draws = match &fit.scale {
        Scale::MeanField(_) => {
            let z = noise::plain(seed, "curvature", &fit.names, 0, n);
            z.chunks(dim).flat_map(|z| (0..dim).map(|i| fit.mean[i] + sds[i] * z[i]).collect::<Vec<_>>()).collect()
        }
        Scale::FullRank(_) => fit.sample(n, seed ^ 0x5bd1_e995),
    };
    let draws: Vec<f64> = draws;
    let mut evaluator = target.evaluator();
    let mut gradient = vec![0.0; dim];
    let (mut zz, mut zg) = (vec![0.0; dim * dim], vec![0.0; dim * dim]);
    let (mut z, mut scaled) = (vec![0.0; dim], vec![0.0; dim]);
    for theta in draws.chunks(dim) {
        let value = evaluator.value_grad(theta, &mut gradient);
        if !value.is_finite() || gradient.iter().any(|g| !g.is_finite()) {
            return None;
        }
        for i in 0..dim {
            z[i] = (theta[i] - fit.mean[i]) / sds[i];
            scaled[i] = sds[i] * gradient[i];
        }
        for i in 0..dim {
            linalg::axpy(z[i], &z, &mut zz[i * dim..(i + 1) * dim]);
            linalg::axpy(-z[i], &scaled, &mut zg[i * dim..(i + 1) * dim]);
        }
    }
    // B = (ZᵀZ)⁻¹ ZᵀG, column by column; A is its symmetric part.
    if !linalg::cholesky(&mut zz, dim) {
        return None;
    }
    let mut b = vec![0.0; dim * dim];
    for j in 0..dim {
        let mut column: Vec<f64> = (0..dim).map(|i| zg[i * dim + j]).collect();
        linalg::solve_lower(&zz, dim, &mut column);
        solve_transposed(&zz, &mut column);
        for (i, c) in column.into_iter().enumerate() {
            b[i * dim + j] = c;
        }
    }
    let mut a: Vec<f64> = (0..dim * dim).map(|k| 0.5 * (b[k] + b[(k % dim) * dim + k / dim])).collect();
    linalg::cholesky(&mut a, dim).then_some(Metric { sds, factor: a })
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
        let one = chains(&Correlated, &fit, 4000, 5, 1).expect("the chains move");
        let n = (one.len() / 2) as f64;
        let moment = |f: &dyn Fn(&[f64]) -> f64| one.chunks(2).map(f).sum::<f64>() / n;
        assert_eq!(n, 4000.0);
        // 200 independent chains: the standard error of a variance is at most √(2/200) = 0.1.
        assert!(moment(&|t| t[0]).abs() < 0.25);
        assert!((moment(&|t| t[0] * t[0]) - 1.0).abs() < 0.4);
        assert!((moment(&|t| t[0] * t[1]) - 0.9).abs() < 0.4);
        assert!(one == chains(&Correlated, &fit, 4000, 5, 2).expect("the chains move"), "threads change the draws");
    }
}
