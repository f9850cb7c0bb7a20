//! Fits of targets whose posterior is known in closed form.

use super::*;

mod resume;

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
        // Matched draws give a quadratic's mean exactly: what is left is the tolerance.
        let own =
            fit.starts.iter().filter(|s| s.distance == 0.0).map(|s| -s.objective).fold(f64::NEG_INFINITY, f64::max);
        assert!((own - (2.5 - gap)).abs() < 1e-6, "{own} {}", 2.5 - gap);
        // The linear response is the posterior itself, if that is not the guide's.
        assert!(fit.definite == Some(true) && fit.decrement.is_some_and(|d| d < 1e-6), "{:?}", fit.decrement);
        assert!((fit.elbo - 2.5).abs() < 1e-6 && fit.elbo_se < 1e-6, "{} {}", fit.elbo, fit.elbo_se);
        assert_eq!(fit.sds_from, if n == 1 { SdsFrom::Guide } else { SdsFrom::LinearResponse });
        let cov = covariance(&precision, n);
        let log_p = gaussian(precision.clone(), fit.mean.clone(), 0.0);
        for (i, sd) in fit.sds().iter().enumerate() {
            assert!((sd / cov[i * n + i].sqrt() - 1.0).abs() < 1e-8, "{n} {i}: {sd} {}", cov[i * n + i].sqrt());
        }
        let theta = fit.sample(5, 3);
        for (row, q) in theta.chunks(n).zip(fit.approximation.log_density(&theta)) {
            let p = log_p(row, &mut vec![0.0; n]);
            assert!((p - q).abs() < 1e-8 * (1.0 + p.abs()), "{p} {q}");
        }
    }
}

/// y_i ~ N(mu, s²) with mu ~ N(m0, t²): evidence log N(y; m0·1, s²I + t²11ᵀ).
#[test]
fn normal_normal_gives_the_closed_forms() {
    let y = [1.2, 0.4, 2.2, 1.9, -0.3];
    let (s, m0, t) = (0.8f64, -1.0, 2.0f64);
    let n = y.len() as f64;
    let target = Closed::new(1, move |x, g| {
        let z = (x[0] - m0) / t;
        let mut lp = -0.5 * z * z - t.ln() - 0.5 * std::f64::consts::TAU.ln();
        g[0] = -z / t;
        for y in y {
            let z = (y - x[0]) / s;
            lp -= 0.5 * z * z + s.ln() + 0.5 * std::f64::consts::TAU.ln();
            g[0] += z / s;
        }
        lp
    });
    let precision = n / (s * s) + 1.0 / (t * t);
    let mean = (y.iter().sum::<f64>() / (s * s) + m0 / (t * t)) / precision;
    let total: f64 = y.iter().map(|y| y - m0).sum();
    let squares: f64 = y.iter().map(|y| (y - m0) * (y - m0)).sum();
    let quadratic = (squares - t * t / (s * s + n * t * t) * total * total) / (s * s);
    let log_det = (n - 1.0) * (s * s).ln() + (s * s + n * t * t).ln();
    let evidence = -0.5 * (n * std::f64::consts::TAU.ln() + log_det + quadratic);
    for guide in [GuideKind::MeanField, GuideKind::FullRank] {
        let fit = run(&target, &FitOptions { tolerance: 1e-8, ..options(guide) });
        assert!(fit.converged);
        // One dimension: the guide holds the posterior, so all that is left is rounding.
        assert!((fit.elbo - evidence).abs() < 1e-10, "{}", fit.elbo - evidence);
        assert!(fit.elbo_se < 1e-10);
        assert!((fit.mean[0] - mean).abs() < 1e-8);
        assert!((fit.sds()[0] - precision.powf(-0.5)).abs() < 1e-8);
    }
}

/// A LogNormal seen through its log is Gaussian: the transform is the target's, the fit must be exact.
#[test]
fn a_lognormal_is_recovered_through_its_transform() {
    let (m, s) = (0.7, 0.3);
    let target = Closed::new(1, move |x, g| {
        // density of exp(x) times d exp(x)/dx
        let value = x[0].exp();
        let z = (value.ln() - m) / s;
        g[0] = -z / s;
        -value.ln() - 0.5 * z * z - f64::ln(s) - 0.5 * std::f64::consts::TAU.ln() + x[0]
    });
    let fit = run(&target, &FitOptions { tolerance: 1e-9, ..options(GuideKind::MeanField) });
    assert!((fit.mean[0] - m).abs() < 1e-8 && (fit.sds()[0] - s).abs() < 1e-8);
    assert!(fit.elbo.abs() < 1e-9);
}

/// A target that no Gaussian fits: a Poisson regression with an exponential tail.
fn curved(names: &[&str]) -> Closed<impl Fn(&[f64], &mut [f64]) -> f64 + Sync + use<>> {
    // Each coordinate's role goes by its name, so that declarations can be permuted.
    let role: Vec<usize> = names.iter().map(|n| ["a", "b", "c"].iter().position(|m| m == n).expect("a name")).collect();
    Closed {
        names: names.iter().map(|n| n.to_string()).collect(),
        points: vec![false; 3],
        f: move |x: &[f64], g: &mut [f64]| {
            let mut at = [0.0; 3];
            role.iter().zip(x).for_each(|(&r, x)| at[r] = *x);
            let [a, b, c] = at;
            let mut d = [-a, -b / 4.0, -(c - 1.0) * c.exp() * 0.1 - 0.1 * c.exp() + 0.5];
            let mut lp = -0.5 * a * a - b * b / 8.0 - 0.1 * (c - 1.0) * c.exp() + 0.5 * c;
            for (u, y) in [(-1.0, 0.0), (-0.3, 2.0), (0.2, 1.0), (0.9, 4.0), (1.4, 3.0)] {
                let rate = (a + b * u).exp();
                lp += y * (a + b * u) - rate;
                d[0] += y - rate;
                d[1] += (y - rate) * u;
            }
            lp -= 0.5 * (a - c).powi(2);
            d[0] -= a - c;
            d[2] += a - c;
            role.iter().zip(g).for_each(|(&r, g)| *g = d[r]);
            lp
        },
    }
}

/// Central differences of the objective are good to about 1e-9 of its size.
#[test]
fn the_objective_agrees_with_differences_for_both_families() {
    let target = curved(&["a", "b", "c"]);
    std::thread::scope(|scope| {
        let pool = std::cell::RefCell::new(pool::Pool::new(&target, vec![0, 1, 2], 1, scope));
        let names = target.names();
        let z = draws::matched(1, "t", &names, 8);
        for shape in [frame::Shape::Diagonal, frame::Shape::Lower] {
            let basis = frame::Basis::Lower(vec![0.5, 0.0, 0.0, 0.1, 0.7, 0.0, -0.2, 0.3, 0.4]);
            for noise in [basis.clone(), frame::Basis::Diagonal(vec![0.5, 0.4, 0.3])] {
                let frame = frame::Frame { centre: vec![0.1, -0.2, 0.3], mean: basis.clone().into(), noise, shape };
                let mut objective = objective::Objective::new(&frame, &z, 8, &pool);
                let n = objective.parameters();
                let mut phi: Vec<f64> = (0..n).map(|i| 0.1 * (i as f64 - 2.0)).collect();
                let (mut g, mut unused) = (vec![0.0; n], vec![0.0; n]);
                objective.value_grad(&phi, &mut g);
                for i in 0..n {
                    let h = 1e-5;
                    phi[i] += h;
                    let up = objective.value_grad(&phi, &mut unused);
                    phi[i] -= 2.0 * h;
                    let down = objective.value_grad(&phi, &mut unused);
                    phi[i] += h;
                    let slope = (up - down) / (2.0 * h);
                    assert!((slope - g[i]).abs() < 1e-7 * g[i].abs().max(1.0), "{i}: {slope} {}", g[i]);
                }
            }
        }
    });
}

#[test]
fn the_same_seed_gives_the_same_bits_with_any_number_of_threads() {
    // Slow enough that the pool does split the work.
    let base = curved(&["a", "b", "c"]);
    let slow = Closed {
        names: base.names(),
        points: base.points(),
        f: |x: &[f64], g: &mut [f64]| {
            let spin = (0..2000).fold(x[0], |s, i| std::hint::black_box(s + f64::from(i) * 1e-300));
            (base.f)(x, g) + 0.0 * spin
        },
    };
    for method in [Method::Lbfgs, Method::Adam] {
        let base = FitOptions { method, steps: 600, ..options(GuideKind::FullRank) };
        let one = run(&slow, &FitOptions { threads: 1, ..base.clone() });
        for threads in [1, 2, 3] {
            let fit = run(&slow, &FitOptions { threads, ..base.clone() });
            assert_eq!(fit.mean, one.mean);
            assert_eq!(fit.scale, one.scale);
            assert_eq!((fit.elbo, fit.elbo_se, fit.gradients), (one.elbo, one.elbo_se, one.gradients));
            assert_eq!(fit.sample(50, 3), one.sample(50, 3));
        }
        let other = run(&slow, &FitOptions { seed: 2, ..base });
        assert_ne!(other.mean, one.mean, "another seed, other draws");
    }
}

/// Draws are keyed by name and the work is done in the order of names, so only rounding within the target may differ.
#[test]
fn the_order_of_declarations_does_not_matter() {
    for guide in [GuideKind::MeanField, GuideKind::FullRank] {
        let first = run(&curved(&["a", "b", "c"]), &options(guide));
        let second = run(&curved(&["c", "a", "b"]), &options(guide));
        let order = [1, 2, 0];
        let (a, b) = (first.sample(20, 9), second.sample(20, 9));
        for i in 0..3 {
            assert!((first.mean[i] - second.mean[order[i]]).abs() < 1e-12);
            assert!((first.sds()[i] - second.sds()[order[i]]).abs() < 1e-12);
            for k in 0..20 {
                assert!((a[3 * k + i] - b[3 * k + order[i]]).abs() < 1e-12);
            }
        }
        assert!((first.elbo - second.elbo).abs() < 1e-12);
    }
}

/// The lower factor that is reported and the draws describe one distribution.
#[test]
fn draws_have_the_reported_mean_and_covariance() {
    let fit = run(&curved(&["c", "a", "b"]), &options(GuideKind::FullRank));
    let Scale::FullRank(l) = &fit.scale else { panic!("full rank") };
    let n = 100_000;
    let draws = fit.sample(n, 5);
    let sds = fit.sds();
    for i in 0..3 {
        for j in 0..=i {
            let reported = linalg::dot(&l[3 * i..3 * i + 3], &l[3 * j..3 * j + 3]);
            let seen = draws.chunks(3).map(|d| (d[i] - fit.mean[i]) * (d[j] - fit.mean[j])).sum::<f64>() / n as f64;
            // Five standard errors of a sample covariance.
            assert!((seen - reported).abs() < 5.0 * (2.0 / n as f64).sqrt() * sds[i] * sds[j]);
        }
        assert!(
            (l[4 * i].powi(2) + l[3 * i..3 * i + i].iter().map(|v| v * v).sum::<f64>() - sds[i].powi(2)).abs() < 1e-12
        );
    }
    assert_eq!(fit.sample(10, 5), draws[..30], "fewer draws are the first of many");
}

/// The density exists for x > 0 only, and the first start sits on its edge.
#[test]
fn regions_without_density_are_avoided() {
    let target = Closed::new(2, |x: &[f64], g: &mut [f64]| {
        // Gamma(20, 4) in x[0], not transformed, and a coordinate that breaks far out.
        g[0] = 19.0 / x[0] - 4.0;
        g[1] = -x[1];
        if x[1] > 40.0 {
            return f64::NAN;
        }
        19.0 * x[0].ln() - 4.0 * x[0] - 0.5 * x[1] * x[1]
    });
    let fit = run(&target, &FitOptions { starts: 8, ..options(GuideKind::MeanField) });
    assert!(fit.converged, "{}", fit.stop_reason);
    // 19/4 is the mode, 5 the mean; a normal guide sits between.
    assert!(fit.mean[0] > 4.5 && fit.mean[0] < 5.2, "{}", fit.mean[0]);
    assert!(fit.non_finite > 0, "they were met and counted");
    assert!(fit.elbo.is_finite() && fit.elbo_se.is_finite());
}

#[test]
fn a_target_that_is_finite_nowhere_is_an_error_with_the_point() {
    for method in [Method::Lbfgs, Method::Adam] {
        for bad in [f64::NAN, f64::NEG_INFINITY, f64::INFINITY] {
            let target = Closed::new(3, move |_: &[f64], g: &mut [f64]| {
                g.fill(0.0);
                bad
            });
            let error =
                fit(&target, &FitOptions { method, ..FitOptions::default() }, &mut |_| ()).expect_err("not finite");
            let FitError::NonFiniteStart { theta, start } = error else { panic!("{error}") };
            assert_eq!((theta.len(), start), (3, 0));
            assert!(theta.iter().all(|t| t.is_finite()));
        }
    }
}

#[test]
fn a_gradient_that_is_not_finite_counts_as_not_finite() {
    let target = Closed::new(1, |_: &[f64], g: &mut [f64]| {
        g[0] = f64::NAN;
        0.0
    });
    assert!(fit(&target, &FitOptions::default(), &mut |_| ()).is_err());
}

#[test]
fn a_flat_direction_is_reported_as_improper() {
    // Only x[0] + x[1] is informed.
    let sum = Closed::new(3, |x: &[f64], g: &mut [f64]| {
        let s = x[0] + x[1];
        g[0] = 1.0 - s;
        g[1] = 1.0 - s;
        g[2] = -x[2];
        s - 0.5 * s * s - 0.5 * x[2] * x[2]
    });
    // x[1] is not informed at all.
    let alone = Closed::new(2, |x: &[f64], g: &mut [f64]| {
        g[0] = -x[0];
        g[1] = 0.0;
        -0.5 * x[0] * x[0]
    });
    for guide in [GuideKind::MeanField, GuideKind::FullRank] {
        let fit = run(&sum, &options(guide));
        assert!(!fit.converged);
        assert!(
            matches!(&fit.stop_reason, StopReason::Improper(n) if n == "x[0]" || n == "x[1]"),
            "{:?}",
            fit.stop_reason
        );
        let fit = run(&alone, &options(guide));
        assert_eq!(fit.stop_reason, StopReason::Improper("x[1]".into()));
        assert!(fit.stop_reason.sentence().contains("`x[1]`"));
        assert!(fit.mean.iter().all(|m| m.is_finite()) && fit.elbo.is_finite());
    }
}

/// Perfect separation without a prior: the slope runs off, the fit must end and must not say that it converged.
#[test]
fn perfect_separation_ends_without_convergence() {
    let target = Closed::new(2, |x: &[f64], g: &mut [f64]| {
        g.fill(0.0);
        let mut lp = 0.0;
        for (u, y) in [(-2.0, 0.0), (-1.0, 0.0), (1.0, 1.0), (2.0, 1.0)] {
            let eta: f64 = x[0] + x[1] * u;
            lp += y * eta - eta.max(0.0) - (-eta.abs()).exp().ln_1p();
            let d = y - 1.0 / (1.0 + (-eta).exp());
            g[0] += d;
            g[1] += d * u;
        }
        lp
    });
    for guide in [GuideKind::MeanField, GuideKind::FullRank] {
        let fit = run(&target, &options(guide));
        assert!(!fit.converged, "mean {:?} sds {:?}", fit.mean, fit.sds());
        assert!(fit.mean.iter().chain(fit.sds()).all(|v| v.is_finite()));
    }
}

#[test]
fn no_coordinates_at_all() {
    let target = Closed::new(0, |_: &[f64], _: &mut [f64]| -3.5);
    for guide in [GuideKind::MeanField, GuideKind::FullRank] {
        for method in [Method::Lbfgs, Method::Adam] {
            let fit = run(&target, &FitOptions { method, ..options(guide) });
            assert!(fit.converged, "{}", fit.stop_reason);
            assert_eq!((fit.elbo, fit.elbo_se), (-3.5, 0.0));
            assert!(fit.mean.is_empty() && fit.sample(4, 1).is_empty());
        }
    }
}

/// Points are fitted to the value that maximises the evidence: with y ~ N(x, 1) and x ~ N(m, 2²), that is m = mean(y).
#[test]
fn points_get_no_noise_and_no_entropy() {
    let y = [3.0, 4.5, 5.1];
    let mut target = Closed::new(5, move |x: &[f64], g: &mut [f64]| {
        g.fill(0.0);
        let m = 100.0 * x[1] + x[4];
        let mut lp = -0.5 * (x[4] - 0.2f64).powi(2) * 1e4;
        g[4] -= (x[4] - 0.2) * 1e4;
        for (i, at) in [0, 2, 3].into_iter().enumerate() {
            let (a, b) = (y[i] - x[at], (x[at] - m) / 2.0);
            lp -= 0.5 * (a * a + b * b) + 2f64.ln() + std::f64::consts::TAU.ln();
            g[at] += a - b / 2.0;
            g[1] += b / 2.0 * 100.0;
            g[4] += b / 2.0;
        }
        lp
    });
    target.points = vec![false, true, false, false, true];
    let mean_y: f64 = y.iter().sum::<f64>() / 3.0;
    // The evidence of y given m: N(m, 5) each.
    let evidence: f64 =
        y.iter().map(|y| -0.5 * ((y - mean_y).powi(2) / 5.0 + 5f64.ln() + std::f64::consts::TAU.ln())).sum();
    for guide in [GuideKind::MeanField, GuideKind::FullRank] {
        let fit = run(&target, &FitOptions { tolerance: 1e-8, ..options(guide) });
        assert!(fit.converged, "{}", fit.stop_reason);
        assert!(
            (fit.mean[4] - 0.2).abs() < 1e-7 && (100.0 * fit.mean[1] + 0.2 - mean_y).abs() < 1e-6,
            "{:?}",
            fit.mean
        );
        assert!((fit.elbo - evidence).abs() < 1e-8, "{}", fit.elbo - evidence);
        let sds = fit.sds();
        assert_eq!((sds[1], sds[4]), (0.0, 0.0));
        let draws = fit.sample(3, 1);
        assert!(draws.chunks(5).all(|d| d[1] == fit.mean[1] && d[4] == fit.mean[4]));
        match &fit.scale {
            Scale::MeanField(logs) => assert_eq!(logs[1], f64::NEG_INFINITY),
            Scale::FullRank(l) => assert!((0..5).all(|k| l[5 + k] == 0.0 && l[5 * k + 1] == 0.0)),
            Scale::Implicit => unreachable!("neither guide is implicit"),
        }
    }
}

#[test]
fn points_alone_are_maximised() {
    let mut target = Closed::new(2, |x: &[f64], g: &mut [f64]| {
        g[0] = -400.0 * (x[0] - 0.5);
        g[1] = -(x[1] - 7.0);
        -200.0 * (x[0] - 0.5).powi(2) - 0.5 * (x[1] - 7.0).powi(2) - 1.25
    });
    target.points = vec![true; 2];
    let fit = run(&target, &options(GuideKind::MeanField));
    assert!(fit.converged, "{}", fit.stop_reason);
    // The default tolerance is on the gradient; whitening makes it 1e-3 of a curvature unit.
    assert!((fit.mean[0] - 0.5).abs() < 1e-3 && (fit.mean[1] - 7.0).abs() < 1e-2, "{:?}", fit.mean);
    assert!((fit.elbo + 1.25).abs() < 1e-4);
}

#[test]
fn two_modes_are_seen_by_the_starts() {
    // Narrow modes at ±1.5: starts on both sides stay where they are.
    let target = Closed::new(1, |x: &[f64], g: &mut [f64]| {
        let (a, b) = (-50.0 * (x[0] - 1.5).powi(2), -50.0 * (x[0] + 1.5).powi(2));
        let top = a.max(b);
        let lp = top + ((a - top).exp() + (b - top).exp()).ln();
        g[0] = -100.0 * ((a - lp).exp() * (x[0] - 1.5) + (b - lp).exp() * (x[0] + 1.5));
        lp
    });
    let fit = run(&target, &FitOptions { starts: 8, ..options(GuideKind::MeanField) });
    assert!(!fit.dissenting_starts().is_empty(), "{:?}", fit.starts);
    // Reverse KL holds on to one mode.
    assert!((fit.mean[0].abs() - 1.5).abs() < 1e-3 && (fit.sds()[0] - 0.1).abs() < 1e-3);
}

#[test]
fn limits_and_cancelling_end_a_fit_early() {
    let target = curved(&["a", "b", "c"]);
    for method in [Method::Lbfgs, Method::Adam] {
        let base = FitOptions { method, ..options(GuideKind::FullRank) };
        let limited = run(&target, &FitOptions { max_gradients: Some(100), ..base.clone() });
        assert_eq!(limited.stop_reason, StopReason::Gradients);
        assert!(!limited.converged && limited.elbo.is_finite());
        let cancel = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let flag = cancel.clone();
        let mut seen = 0;
        let cancelled = fit(&target, &FitOptions { cancel: Some(cancel), ..base.clone() }, &mut |_| {
            seen += 1;
            flag.store(seen == 3, std::sync::atomic::Ordering::Relaxed);
        })
        .expect("a fit that is cut short is still a fit");
        assert_eq!(cancelled.stop_reason, StopReason::Cancelled);
        assert!(seen <= 4, "{seen}");
    }
    let slow = FitOptions { max_iterations: 1, tolerance: 1e-12, ..options(GuideKind::FullRank) };
    assert_eq!(run(&target, &slow).stop_reason, StopReason::Iterations);
}

/// Of the fitted guide itself, whatever the reported spread.
fn guide_sds(fit: &Fit) -> Vec<f64> {
    match &fit.scale {
        Scale::MeanField(logs) => logs.iter().map(|l| l.exp()).collect(),
        Scale::FullRank(_) | Scale::Implicit => fit.sds().to_vec(),
    }
}

#[test]
fn adam_comes_near_the_deterministic_fit() {
    let target = curved(&["a", "b", "c"]);
    for guide in [GuideKind::MeanField, GuideKind::FullRank] {
        let exact = run(&target, &FitOptions { draws: Some(4000), ..options(guide) });
        let fit = run(&target, &FitOptions { method: Method::Adam, steps: 20_000, ..options(guide) });
        assert!(fit.converged, "{}", fit.stop_reason);
        for i in 0..3 {
            let sd = guide_sds(&exact)[i];
            // Its own stopping rule promises about 0.04 sds per window.
            assert!((fit.mean[i] - exact.mean[i]).abs() < 0.1 * sd, "{i}");
            assert!((guide_sds(&fit)[i] / sd).ln().abs() < 0.1, "{i}: {} {sd}", guide_sds(&fit)[i]);
        }
        let allowed = 5.0 * (fit.elbo_se + exact.elbo_se) + 0.01;
        match exact.sds_from {
            SdsFrom::Guide => assert!((fit.elbo - exact.elbo).abs() < allowed),
            SdsFrom::LinearResponse => assert!(fit.elbo < exact.elbo + allowed),
        }
    }
}

#[test]
fn the_trace_tells_every_stage() {
    let mut calls = 0;
    let target = curved(&["a", "b", "c"]);
    let fit = fit(&target, &options(GuideKind::FullRank), &mut |_| calls += 1).expect("finite");
    assert_eq!(calls, fit.trace.len());
    for stage in [Stage::Explore, Stage::Whiten, Stage::Compare, Stage::Refine] {
        assert!(fit.trace.iter().any(|row| row.stage == stage), "{}", stage.name());
    }
    assert!(fit.trace.windows(2).all(|w| w[0].gradients <= w[1].gradients && w[0].seconds <= w[1].seconds));
    assert_eq!(fit.starts.len(), 4);
    assert!(fit.log_joints == fit.gradients + 1024);
}

/// After a stage's first iteration, an iteration makes no allocation: ours, dfdx's tape, gradients and Adam included.
#[test]
fn iterations_do_not_allocate() {
    let target = curved(&["a", "b", "c"]);
    for method in [Method::Lbfgs, Method::Adam] {
        for guide in [GuideKind::MeanField, GuideKind::FullRank] {
            let mut seen: Vec<(Progress, usize)> = Vec::with_capacity(10_000);
            fit(&target, &FitOptions { method, steps: 2000, ..options(guide) }, &mut |p| {
                seen.push((*p, crate::alloc_counter::allocations()))
            })
            .expect("finite");
            let mut checked = 0;
            for w in seen.windows(2) {
                let [(before, a), (after, b)] = w else { unreachable!("windows of two") };
                let together = (before.stage, before.start) == (after.stage, after.start)
                    && after.iteration > before.iteration
                    // Adam reports one step in 25 and starts a new window at multiples of 250 or more.
                    && (method == Method::Lbfgs || after.iteration < 240);
                if together {
                    assert_eq!(a, b, "{method:?} {guide:?} {:?} iteration {}", after.stage, after.iteration);
                    checked += 1;
                }
            }
            assert!(checked > 20, "{checked}");
        }
    }
}

/// log N(x; m, D² + U Uᵀ), normalised, by Woodbury's identity.
fn factor_model(d: Vec<f64>, u: Vec<f64>, k: usize, mean: Vec<f64>) -> impl Fn(&[f64], &mut [f64]) -> f64 + Sync {
    let n = d.len();
    let v: Vec<f64> = u.iter().enumerate().map(|(at, u)| u / d[at / k]).collect();
    let mut g = vec![0.0; k * k];
    for j in 0..k {
        g[j * k + j] = 1.0;
        (0..n).for_each(|i| linalg::axpy(v[i * k + j], &v[i * k..(i + 1) * k], &mut g[j * k..(j + 1) * k]));
    }
    assert!(linalg::cholesky(&mut g, k));
    let log_det: f64 = (0..k).map(|j| g[j * k + j].ln()).sum::<f64>() + d.iter().map(|d| d.ln()).sum::<f64>();
    let constant = -log_det - 0.5 * n as f64 * std::f64::consts::TAU.ln();
    move |x, grad| {
        let mut within = vec![0.0; k];
        let z: Vec<f64> = (0..n).map(|i| (x[i] - mean[i]) / d[i]).collect();
        z.iter().enumerate().for_each(|(i, z)| linalg::axpy(*z, &v[i * k..(i + 1) * k], &mut within));
        linalg::solve_lower(&g, k, &mut within);
        let squares = linalg::dot(&z, &z) - linalg::dot(&within, &within);
        linalg::solve_lower_transposed(&g, k, &mut within);
        for i in 0..n {
            grad[i] = -(z[i] - linalg::dot(&v[i * k..(i + 1) * k], &within)) / d[i];
        }
        constant - 0.5 * squares
    }
}

fn factors(n: usize, k: usize) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let mut s = Stream::new(5, "factors", "test");
    let d = (0..n).map(|_| 0.5 + s.uniform()).collect();
    let u = (0..n * k).map(|_| s.normal()).collect();
    (d, u, (0..n).map(|i| i as f64 * 0.01 - 1.0).collect())
}

#[test]
fn a_low_rank_guide_recovers_a_low_rank_normal() {
    let (n, k) = (30, 2);
    let (d, u, mean) = factors(n, k);
    let target = Closed::new(n, factor_model(d.clone(), u.clone(), k, mean.clone()));
    let fit = run(&target, &options(GuideKind::LowRank(2)));
    assert!(fit.converged, "{}", fit.stop_reason);
    // The family holds the posterior and its draws integrate it exactly: what is left is the optimiser's tolerance.
    assert!(fit.elbo.abs() < 1e-3, "{} {}", fit.elbo, fit.elbo_se);
    for i in 0..n {
        let sd = (d[i] * d[i] + linalg::dot(&u[i * k..(i + 1) * k], &u[i * k..(i + 1) * k])).sqrt();
        assert!((fit.mean[i] - mean[i]).abs() < 0.01 * sd && (fit.sds()[i] / sd - 1.0).abs() < 0.01);
    }
    // Independent normals are nats away.
    let independent = run(&target, &options(GuideKind::MeanField));
    assert!(independent.starts.iter().all(|s| -s.objective < -1.0));
    // Their linear response is the posterior.
    assert!(independent.sds_from == SdsFrom::LinearResponse && independent.elbo.abs() < 1e-3);
}

#[test]
fn a_low_rank_guide_of_many_coordinates_is_linear_in_them() {
    let (n, k) = (2000, 3);
    let (d, u, mean) = factors(n, k);
    let target = Closed::new(n, factor_model(d.clone(), u.clone(), k, mean.clone()));
    crate::alloc_counter::largest_allocation();
    let fit =
        run(&target, &FitOptions { starts: 1, draws: Some(128), elbo_draws: 128, ..options(GuideKind::LowRank(3)) });
    let largest = crate::alloc_counter::largest_allocation();
    assert!(fit.converged, "{}", fit.stop_reason);
    // Draws, gradients and the directions are some hundred numbers per coordinate; a square matrix would be 2000.
    assert!(largest <= 300 * 8 * n, "{largest}");
    // Of 128 draws a coordinate's lie in the directions' by 3 / 64, and its variance has an error of as many percent.
    let off = |i: usize| {
        let sd = (d[i] * d[i] + linalg::dot(&u[i * k..(i + 1) * k], &u[i * k..(i + 1) * k])).sqrt();
        (fit.sds()[i] / sd).ln().abs()
    };
    let worst = (0..n).map(off).fold(0.0, f64::max);
    assert!(worst < 0.1 && fit.elbo.abs() < 0.2, "{worst} {}", fit.elbo);
}

/// log of Σ w N(x; m, 1) in `dim` independent coordinates, of which the first has the two modes.
fn two_modes(dim: usize, at: f64, w: f64) -> impl Fn(&[f64], &mut [f64]) -> f64 + Sync {
    let constant = -0.5 * dim as f64 * std::f64::consts::TAU.ln();
    move |x, g| {
        let (a, b) = (w.ln() - 0.5 * (x[0] + at).powi(2), (1.0 - w).ln() - 0.5 * (x[0] - at).powi(2));
        let lp = mixture::log_sum(&[a, b]);
        g[0] = -((a - lp).exp() * (x[0] + at) + (b - lp).exp() * (x[0] - at));
        for i in 1..dim {
            g[i] = -x[i];
        }
        constant + lp - 0.5 * x[1..].iter().map(|x| x * x).sum::<f64>()
    }
}

#[test]
fn a_mixture_finds_the_weights_of_two_modes() {
    for (dim, at, w) in [(1, 3.0, 0.5), (1, 3.0, 0.3), (3, 6.0, 0.3)] {
        let target = Closed::new(dim, two_modes(dim, at, w));
        let fit = run(&target, &FitOptions { starts: 8, ..options(GuideKind::Mixture(2)) });
        assert!(fit.converged, "{}", fit.stop_reason);
        // The family holds the posterior: the bound is the evidence, 0.
        assert!(fit.elbo.abs() < 0.01, "{}", fit.elbo);
        let (mean, variance) = ((1.0 - 2.0 * w) * at, 1.0 + 4.0 * w * (1.0 - w) * at * at);
        assert!(
            (fit.mean[0] - mean).abs() < 0.02 * variance.sqrt() && (fit.sds()[0] / variance.sqrt() - 1.0).abs() < 0.02
        );
        assert!(fit.dissenting_starts().is_empty());
        // The listed modes are the two, with their weights.
        let weights: Vec<f64> = fit.modes.iter().map(|m| m.weight).collect();
        assert!(weights.len() == 2 && (weights[0] - (1.0 - w)).abs() < 0.01, "{weights:?}");
    }
}

#[test]
fn one_normal_on_two_modes_lists_both_with_their_weights() {
    let target = Closed::new(2, two_modes(2, 6.0, 0.3));
    let fit = run(&target, &FitOptions { starts: 8, ..options(GuideKind::FullRank) });
    assert!(!fit.dissenting_starts().is_empty());
    assert_eq!(fit.modes.len(), 2);
    let [large, small] = &fit.modes[..] else { unreachable!("counted above") };
    assert!((large.weight - 0.7).abs() < 0.02 && (small.weight - 0.3).abs() < 0.02);
    assert!(large.k_hat < 0.7 && small.k_hat < 0.7 && large.error < 0.02);
    assert!((large.guide.mean()[0] - 6.0).abs() < 0.1 && (small.guide.mean()[0] + 6.0).abs() < 0.1);
}

/// N(0, 3²) in the first coordinate, and the second about 0.3 x² with sd 0.5: evidence 1.
fn banana(x: &[f64], g: &mut [f64]) -> f64 {
    let off = (x[1] - 0.3 * x[0] * x[0]) / 0.5;
    g[0] = -x[0] / 9.0 + off / 0.5 * 0.6 * x[0];
    g[1] = -off / 0.5;
    -0.5 * (x[0] * x[0] / 9.0 + off * off) - std::f64::consts::TAU.ln() - 1.5f64.ln()
}

#[test]
fn a_flow_bends_to_a_banana_and_leaves_a_normal_alone() {
    let target = Closed::new(2, banana);
    let normal = run(&target, &options(GuideKind::FullRank));
    let flow = run(&target, &options(GuideKind::Flow(4)));
    assert!(flow.bent.is_some_and(|b| b.kept && b.gain > 0.7), "{:?}", flow.bent);
    // The evidence is 1, so that the bound cannot be above 0, nor its estimate by much.
    assert!(flow.elbo > -0.2 && flow.elbo < 4.0 * flow.elbo_se, "{}", flow.elbo);
    // Of sds 3 and 3.85 the normal has a third and an eighth; the flow's tails end early.
    let (bent, straight) = (flow.sds(), normal.sds());
    assert!((bent[0] - 3.0).abs() < 0.75 && straight[0] < 1.2, "{bent:?} {straight:?}");
    assert!(bent[1] > 2.0 && straight[1] < 0.7, "{bent:?} {straight:?}");
    // Its own density is normalised: the mean of p / q is the evidence.
    let theta = flow.sample(4000, 3);
    let ratio = |(row, q): (&[f64], f64)| (banana(row, &mut [0.0; 2]) - q).exp();
    let evidence = theta.chunks(2).zip(flow.approximation.log_density(&theta)).map(ratio).sum::<f64>() / 4000.0;
    assert!(evidence > 0.8 && evidence < 1.2, "{evidence}");
    let same = |threads| {
        let fit = run(&target, &FitOptions { threads, ..options(GuideKind::Flow(1)) });
        let steps: Vec<u64> = fit.trace.iter().map(|row| row.objective.to_bits()).collect();
        (steps, fit.elbo, fit.sample(10, 1))
    };
    assert_eq!(same(1), same(2));
    // A normal posterior has nothing to bend.
    let target = Closed::new(2, gaussian(vec![2.0, 0.5, 0.5, 1.0], vec![1.0, -2.0], 0.0));
    let (flow, normal) = (run(&target, &options(GuideKind::Flow(1))), run(&target, &options(GuideKind::FullRank)));
    assert!(flow.bent.is_some_and(|b| !b.kept && b.gain.abs() < 0.1), "{:?}", flow.bent);
    assert_eq!((flow.elbo, &flow.mean, flow.sds()), (normal.elbo, &normal.mean, normal.sds()));
}

/// Many coordinates of which all depend on all, along three directions: the map flattens these, and leaves the rest.
#[test]
fn the_extreme_directions_of_many_coordinates_are_whitened() {
    let n = 900;
    let mut stream = Stream::new(3, "directions", "");
    let units: Vec<Vec<f64>> = (0..3)
        .map(|_| {
            let v: Vec<f64> = (0..n).map(|_| stream.normal()).collect();
            let norm = linalg::dot(&v, &v).sqrt();
            v.iter().map(|v| v / norm).collect()
        })
        .collect();
    let weights = [400.0, 30.0, -0.9];
    let times = move |x: &[f64]| -> Vec<f64> {
        let mut out = x.to_vec();
        units.iter().zip(weights).for_each(|(u, w)| linalg::axpy(w * linalg::dot(u, x), u, &mut out));
        out
    };
    let curvature = times.clone();
    let target = Closed::new(n, move |x, g| {
        let ax = times(x);
        g.iter_mut().zip(&ax).for_each(|(g, a)| *g = -a);
        -0.5 * linalg::dot(x, &ax)
    });
    let w = std::thread::scope(|scope| {
        let mut pool = pool::Pool::new(&target, (0..n).collect(), 1, scope);
        large::whitening(&mut pool, &vec![0.1; 2 * n], &vec![1.0; n], 1).expect("finite")
    });
    // Wᵀ A W is the identity up to what was not worth a direction: eigenvalues within 0.3 of 1, and here far nearer.
    let (mut out, mut back, mut scratch) = (vec![0.0; n], vec![0.0; n], vec![0.0; n]);
    for k in 0..3 {
        let v: Vec<f64> = (0..n).map(|i| ((i * (k + 2)) as f64).sin()).collect();
        w.times(&v, &mut out);
        back.fill(0.0);
        w.transposed_times(&curvature(&out), &mut back, &mut scratch);
        linalg::axpy(-1.0, &v, &mut back);
        let off = (linalg::dot(&back, &back) / linalg::dot(&v, &v)).sqrt();
        assert!(off < 0.02, "{off}");
    }
}
