//! Solutions against closed forms, gradients against finite differences.

use super::*;

/// dz₀ = (a − b z₁) z₀, dz₁ = (−c + d z₀) z₁
struct Predators;

impl System for Predators {
    fn rate(&mut self, _: f64, z: &[f64], p: &[f64], out: &mut [f64]) {
        out[0] = (p[0] - p[1] * z[1]) * z[0];
        out[1] = (-p[2] + p[3] * z[0]) * z[1];
    }

    fn pull(&mut self, _: f64, z: &[f64], p: &[f64], w: &[f64], z_bar: &mut [f64], p_bar: &mut [f64]) {
        z_bar[0] += w[0] * (p[0] - p[1] * z[1]) + w[1] * p[3] * z[1];
        z_bar[1] += -w[0] * p[1] * z[0] + w[1] * (-p[2] + p[3] * z[0]);
        p_bar[0] += w[0] * z[0];
        p_bar[1] -= w[0] * z[0] * z[1];
        p_bar[2] -= w[1] * z[1];
        p_bar[3] += w[1] * z[0] * z[1];
    }
}

/// dz = -p₀ (z - cos t): follows the cosine, the more stiffly the larger p₀.
struct Cosine;

impl Cosine {
    fn exact(p: f64, z0: f64, t: f64) -> f64 {
        let c = p / (1.0 + p * p);
        let follows = |t: f64| c * (p * t.cos() + t.sin());
        follows(t) + (z0 - follows(0.0)) * (-p * t).exp()
    }
}

impl System for Cosine {
    fn rate(&mut self, t: f64, z: &[f64], p: &[f64], out: &mut [f64]) {
        out[0] = -p[0] * (z[0] - t.cos());
    }

    fn pull(&mut self, t: f64, z: &[f64], p: &[f64], w: &[f64], z_bar: &mut [f64], p_bar: &mut [f64]) {
        z_bar[0] -= p[0] * w[0];
        p_bar[0] -= (z[0] - t.cos()) * w[0];
    }
}

#[test]
fn solutions_are_as_exact_as_asked() {
    let times = [0.0, 0.5, 0.5, 3.0, 10.0];
    for method in [Method::Explicit, Method::Stiff] {
        for tolerance in [1e-4, 1e-7, 1e-10] {
            let mut out = [0.0; 5];
            let mut solver = Solver::new(method, tolerance, 1);
            solver.solve(&mut Cosine, 0.0, &[0.3], &times, &[2.0], &mut out).expect("smooth");
            for (t, z) in times.iter().zip(out) {
                let exact = Cosine::exact(2.0, 0.3, *t);
                // The error of a step is bounded; this system forgets it, so that few add up.
                assert!((z - exact).abs() < 10.0 * tolerance, "{method:?} {tolerance:e} at {t}: {z} is not {exact}");
            }
        }
    }
}

#[test]
fn stiff_systems_take_few_steps_of_the_stiff_method() {
    let times = [50.0];
    let mut out = [0.0];
    let mut stiff = Solver::new(Method::Stiff, 1e-5, 1);
    stiff.solve(&mut Cosine, 0.0, &[0.0], &times, &[1e6], &mut out).expect("solvable");
    assert!((out[0] - Cosine::exact(1e6, 0.0, 50.0)).abs() < 1e-4);
    assert!(stiff.steps.len() < 1000, "{} steps", stiff.steps.len());
    let mut explicit = Solver::new(Method::Explicit, 1e-5, 1);
    let failed = explicit.solve(&mut Cosine, 0.0, &[0.0], &times, &[1e6], &mut out).expect_err("too stiff");
    assert_eq!(failed.reason, Reason::TooManySteps);
}

/// The constant of motion of the predators' equations.
#[test]
fn orbits_close() {
    let p = [0.55, 0.028, 0.84, 0.026];
    let constant = |z: &[f64]| p[3] * z[0] - p[2] * z[0].ln() + p[1] * z[1] - p[0] * z[1].ln();
    for method in [Method::Explicit, Method::Stiff] {
        let mut out = [0.0; 2];
        let mut solver = Solver::new(method, 1e-9, 2);
        solver.solve(&mut Predators, 0.0, &[30.0, 4.0], &[20.0], &p, &mut out).expect("smooth");
        assert!((constant(&out) - constant(&[30.0, 4.0])).abs() < 1e-6, "{method:?}");
    }
}

#[test]
fn gradients_equal_finite_differences() {
    let times = [0.7, 2.0, 2.0, 6.5];
    let weights: Vec<f64> = (0..8).map(|i| 0.3 + 0.1 * i as f64).collect();
    for method in [Method::Explicit, Method::Stiff] {
        let x = [30.0, 4.0, 0.55, 0.028, 0.84, 0.026];
        let mut solver = Solver::new(method, 1e-11, 2);
        let mut value = |x: &[f64]| {
            let mut out = [0.0; 8];
            solver.solve(&mut Predators, 0.0, &x[..2], &times, &x[2..], &mut out).expect("smooth");
            out.iter().zip(&weights).map(|(o, w)| o * w).sum::<f64>()
        };
        let differences: Vec<f64> = (0..6)
            .map(|i| {
                let h = 1e-5 * x[i];
                let (mut up, mut down) = (x, x);
                up[i] += h;
                down[i] -= h;
                (value(&up) - value(&down)) / (2.0 * h)
            })
            .collect();
        value(&x);
        let mut bar = [0.0; 6];
        let (z_bar, p_bar) = bar.split_at_mut(2);
        solver.pull(&mut Predators, &x[2..], &weights, z_bar, p_bar);
        for (g, d) in bar.iter().zip(&differences) {
            assert!((g - d).abs() < 1e-6 * d.abs().max(1.0), "{method:?}: {g} is not {d}");
        }
    }
}

/// dz = z²: grows beyond all bounds at t = 1.
struct Explosion;

impl System for Explosion {
    fn rate(&mut self, _: f64, z: &[f64], _: &[f64], out: &mut [f64]) {
        out[0] = z[0] * z[0];
    }

    fn pull(&mut self, _: f64, z: &[f64], _: &[f64], w: &[f64], z_bar: &mut [f64], _: &mut [f64]) {
        z_bar[0] += 2.0 * z[0] * w[0];
    }
}

#[test]
fn what_cannot_be_solved_says_where() {
    for method in [Method::Explicit, Method::Stiff] {
        let mut solver = Solver::new(method, 1e-6, 1);
        let failed = solver.solve(&mut Explosion, 0.0, &[1.0], &[2.0], &[], &mut [0.0]).expect_err("it explodes");
        assert!((failed.time - 1.0).abs() < 1e-3, "{method:?}: {failed:?}");
        let failed = solver.solve(&mut Explosion, 0.0, &[f64::NAN], &[2.0], &[], &mut [0.0]).expect_err("no start");
        assert_eq!(failed.reason, Reason::NotFinite);
    }
}
