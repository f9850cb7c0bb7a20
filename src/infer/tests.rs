//! Fits of targets whose posterior is known in closed form.

use super::*;

/// A target from a closure.
struct Closed<F> {
    names: Vec<String>,
    points: Vec<bool>,
    f: F,
}

impl<F: Fn(&[f64], &mut [f64]) -> f64 + Sync> Closed<F> {
    fn new(dim: usize, f: F) -> Self {
        Closed { names: (0..dim).map(|i| format!("x[{i}]")).collect(), points: vec![false; dim], f }
    }
}

struct Call<'a, F>(&'a F, Vec<f64>);

impl<F: Fn(&[f64], &mut [f64]) -> f64 + Sync> Evaluator for Call<'_, F> {
    fn value_grad(&mut self, theta: &[f64], grad: &mut [f64]) -> f64 {
        (self.0)(theta, grad)
    }

    fn value(&mut self, theta: &[f64]) -> f64 {
        (self.0)(theta, &mut self.1)
    }
}

impl<F: Fn(&[f64], &mut [f64]) -> f64 + Sync> Target for Closed<F> {
    fn dim(&self) -> usize {
        self.names.len()
    }

    fn points(&self) -> Vec<bool> {
        self.points.clone()
    }

    fn names(&self) -> Vec<String> {
        self.names.clone()
    }

    fn evaluator(&self) -> Box<dyn Evaluator + '_> {
        Box::new(Call(&self.f, vec![0.0; self.dim()]))
    }
}

fn options(guide: GuideKind) -> FitOptions {
    FitOptions { guide, ..FitOptions::default() }
}

fn run(target: &dyn Target, options: &FitOptions) -> Fit {
    fit(target, options, &mut |_| ()).expect("the log joint is finite at the start")
}

/// log N(x; m, Λ⁻¹) + `extra`, normalised so that its evidence is `extra`.
fn gaussian(precision: Vec<f64>, mean: Vec<f64>, extra: f64) -> impl Fn(&[f64], &mut [f64]) -> f64 + Sync {
    let n = mean.len();
    let mut factor = precision.clone();
    assert!(linalg::cholesky(&mut factor, n));
    let half_log_det: f64 = (0..n).map(|i| factor[i * n + i].ln()).sum();
    let constant = half_log_det - 0.5 * n as f64 * std::f64::consts::TAU.ln() + extra;
    move |x, g| {
        let d: Vec<f64> = x.iter().zip(&mean).map(|(x, m)| x - m).collect();
        let mut q = 0.0;
        for i in 0..n {
            g[i] = -linalg::dot(&precision[i * n..(i + 1) * n], &d);
            q += g[i] * d[i];
        }
        constant + 0.5 * q
    }
}

/// A correlated Gaussian with sds from 0.01 to 30.
fn hard_gaussian(n: usize) -> (Vec<f64>, Vec<f64>) {
    let mut s = Stream::new(5, "test", "gaussian");
    let mut precision = vec![0.0; n * n];
    let rows: Vec<Vec<f64>> = (0..n + 1).map(|_| (0..n).map(|_| s.normal()).collect()).collect();
    let sds: Vec<f64> = (0..n).map(|i| 0.01 * 3000f64.powf(i as f64 / (n as f64 - 1.0).max(1.0))).collect();
    for i in 0..n {
        for j in 0..n {
            let c: f64 = rows.iter().map(|r| r[i] * r[j]).sum();
            precision[i * n + j] = (c + if i == j { 0.02 } else { 0.0 }) / (sds[i] * sds[j]);
        }
    }
    let mean = (0..n).map(|i| sds[i] * 10.0 * s.normal()).collect();
    (precision, mean)
}

fn covariance(precision: &[f64], n: usize) -> Vec<f64> {
    let l = linalg::inverse_factor(precision, n).expect("positive definite");
    let mut c = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..n {
            c[i * n + j] = linalg::dot(&l[i * n..(i + 1) * n], &l[j * n..(j + 1) * n]);
        }
    }
    c
}

/// The objective is exact for quadratics, so what is left is the optimiser's tolerance: the bound is flat to second order.
#[test]
fn full_rank_on_a_gaussian_gives_the_evidence() {
    for n in [1, 2, 5, 12] {
        let (precision, mean) = hard_gaussian(n);
        let target = Closed::new(n, gaussian(precision.clone(), mean.clone(), -7.0));
        let fit = run(&target, &FitOptions { tolerance: 1e-7, ..options(GuideKind::FullRank) });
        assert!(fit.converged, "{n}: {}", fit.stop_reason);
        assert!((fit.elbo + 7.0).abs() < 1e-9, "{n}: {}", fit.elbo + 7.0);
        let cov = covariance(&precision, n);
        let Scale::FullRank(l) = &fit.scale else { panic!("full rank") };
        for i in 0..n {
            let sd = cov[i * n + i].sqrt();
            assert!((fit.mean[i] - mean[i]).abs() < 1e-6 * sd);
            for j in 0..n {
                let c = linalg::dot(&l[i * n..(i + 1) * n], &l[j * n..(j + 1) * n]);
                assert!((c - cov[i * n + j]).abs() < 1e-6 * sd * cov[j * n + j].sqrt());
            }
        }
    }
}

#[test]
fn mean_field_on_a_gaussian_gives_exact_means_and_conditional_variances() {
    for n in [1, 2, 5, 12] {
        let (precision, mean) = hard_gaussian(n);
        let target = Closed::new(n, gaussian(precision.clone(), mean.clone(), 2.5));
        let fit = run(&target, &FitOptions { tolerance: 1e-7, ..options(GuideKind::MeanField) });
        assert!(fit.converged, "{n}: {}", fit.stop_reason);
        let Scale::MeanField(logs) = &fit.scale else { panic!("mean field") };
        let mut gap = 0.0;
        for i in 0..n {
            let sd = precision[i * n + i].powf(-0.5);
            assert!((fit.mean[i] - mean[i]).abs() < 1e-4 * sd, "{n} {i}: {}", (fit.mean[i] - mean[i]) / sd);
            assert!((logs[i] - sd.ln()).abs() < 1e-6);
            gap += 0.5 * precision[i * n + i].ln();
        }
        let mut factor = precision.clone();
        assert!(linalg::cholesky(&mut factor, n));
        gap -= (0..n).map(|i| factor[i * n + i].ln()).sum::<f64>();
        // The reported bound is over random draws.
        assert!(
            (fit.elbo - (2.5 - gap)).abs() < 5.0 * fit.elbo_se + 1e-9,
            "{} {} {}",
            fit.elbo,
            2.5 - gap,
            fit.elbo_se
        );
    }
}
