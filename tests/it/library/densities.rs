//! Densities, means and variances.

use std::f64::consts::PI;

use super::harness::*;
use super::quadrature::{Rule, unit};

#[test]
fn every_form_has_reference_values() {
    for form in forms() {
        let n = cases().iter().filter(|c| c.form.signature == form.signature).count();
        assert!(n >= 3, "{} has {n} sets of arguments in tests/reference/library/distributions.csv", form.signature);
    }
}

/// Tolerance: each density is a sum of about ten terms of the size of its largest, |log p| or the log gamma functions in
/// it (1e4 for the largest arguments), each good to a few ulp.
#[test]
fn log_densities_equal_the_reference() {
    let mut worst: (f64, String) = (0.0, String::new());
    for case in cases() {
        let program = case.program();
        for point in &case.points {
            let got = program.logpdf_rows(&point.x, 1)[0];
            assert!(near(got, point.logpdf, 1e-11), "{} {:?}: {got}, want {}", case.text, point.x, point.logpdf);
            let off = (got - point.logpdf).abs() / point.logpdf.abs().max(1.0);
            if off > worst.0 {
                worst = (off, format!("{} {:?}", case.text, point.x));
            }
        }
    }
    println!("worst log density: {:e} at {}", worst.0, worst.1);
}

#[test]
fn means_and_variances_equal_the_reference() {
    for case in cases() {
        let program = case.program();
        for (what, got, want) in
            [("mean", program.mean(), &case.mean), ("variance", program.variance(), &case.variance)]
        {
            let Some(got) = got else {
                assert!(["Categorical", "VonMises"].contains(&case.form.name.as_str()), "{} has no {what}", case.text);
                continue;
            };
            for (g, w) in got.iter().zip(want) {
                // Relative: a variance can be small. Tolerance: cancellation in Weibull's and HalfStudentT's variance.
                let same = near(*g, *w, 0.0) || (g - w).abs() <= 1e-11 * w.abs();
                assert!(same, "{what} of {}: {g}, want {w}", case.text);
            }
        }
    }
}

/// 1e-8: quadrature of singular densities (`Beta(0.5, 0.75)` next to 1, where doubles are coarse) is good to 1e-11.
#[test]
fn continuous_densities_integrate_to_one_with_their_mean_and_variance() {
    for case in cases().iter().filter(|c| c.continuous()) {
        let program = case.program();
        let (lower, upper) = program.ends();
        let (middle, scale) = (case.middle(), case.quantile(0.75) - case.quantile(0.25));
        let rule = Rule::new(lower, upper, middle, scale, 1.0 / 64.0);
        let log_f = program.logpdf(&rule.x);
        let total = rule.integral(&log_f, |_| 1.0);
        assert!((total - 1.0).abs() < 1e-8, "{}: total {total}", case.text);
        let (mean, variance) = (case.mean[0], case.variance[0]);
        if mean.is_finite() {
            let got = middle + rule.integral(&log_f, |x| x - middle);
            assert!((got - mean).abs() < 1e-8 * scale.max(mean.abs()), "{}: mean {got}, want {mean}", case.text);
        }
        if variance.is_finite() {
            let got = rule.integral(&log_f, |x| (x - mean).powi(2));
            assert!((got - variance).abs() < 1e-8 * variance, "{}: variance {got}, want {variance}", case.text);
        }
    }
}

/// All values that carry probability: beyond them less than 1e-15 is left.
fn values(case: &Case, program: &Program) -> Vec<f64> {
    let (lower, upper) = match case.form.support.as_str() {
        "bool" => (0.0, 1.0),
        "int" => program.ends(),
        _ => (0.0, program.kinds() as f64 - 1.0),
    };
    let largest = case.points.iter().map(|p| p.x[0]).fold(0.0, f64::max);
    let last = upper.min(20.0 * largest + 200.0);
    (lower as usize..=last as usize).map(|k| k as f64).collect()
}

#[test]
fn discrete_densities_sum_to_one_with_their_mean_and_variance() {
    for case in cases().iter().filter(|c| !c.continuous() && c.form.support != "simplex") {
        let program = case.program();
        let x = values(case, &program);
        let p: Vec<f64> = program.logpdf(&x).iter().map(|lp| lp.exp()).collect();
        let total: f64 = p.iter().sum();
        assert!((total - 1.0).abs() < 1e-10, "{}: total {total}", case.text);
        if case.form.name == "Categorical" {
            continue;
        }
        let (mean, variance) = (case.mean[0], case.variance[0]);
        let sum = |g: &dyn Fn(f64) -> f64| x.iter().zip(&p).map(|(x, p)| g(*x) * p).sum::<f64>();
        let (got_mean, got_variance) = (sum(&|x| x), sum(&|x| (x - mean).powi(2)));
        assert!((got_mean - mean).abs() < 1e-9 * mean.max(1e-9), "{}: mean {got_mean}, want {mean}", case.text);
        assert!((got_variance - variance).abs() <= 1e-8 * variance, "{}: variance {got_variance}", case.text);
    }
}

/// Three cells by stick breaking: x = (u, (1 - u) v, (1 - u) (1 - v)), with Jacobian 1 - u.
#[test]
fn dirichlet_integrates_to_one_with_its_mean_and_variance() {
    let mut tested = 0;
    for case in cases().iter().filter(|c| c.form.support == "simplex") {
        let program = case.program();
        let (step, n) = (1.0 / 24.0, 24 * 9 / 2);
        let nodes: Vec<(f64, f64, f64)> = (-n..=n)
            .map(|i| f64::from(i) * step)
            .map(|t| {
                let (near, far) = unit(t);
                (near, far, step * PI * t.cosh() * near * far)
            })
            .collect();
        let rows = nodes.len() * nodes.len();
        let (mut x, mut w) = (vec![0.0; 3 * rows], vec![0.0; rows]);
        for (i, (u, not_u, wu)) in nodes.iter().enumerate() {
            for (j, (v, not_v, wv)) in nodes.iter().enumerate() {
                let r = i * nodes.len() + j;
                (x[r], x[r + rows], x[r + 2 * rows]) = (*u, not_u * v, not_u * not_v);
                w[r] = wu * wv * not_u;
            }
        }
        let f: Vec<f64> = program.logpdf_rows(&x, rows).iter().zip(&w).map(|(lp, w)| lp.exp() * w).collect();
        let total: f64 = f.iter().sum();
        assert!((total - 1.0).abs() < 1e-8, "{}: total {total}", case.text);
        for k in 0..3 {
            let moment = |g: &dyn Fn(f64) -> f64| (0..rows).map(|r| f[r] * g(x[r + rows * k])).sum::<f64>();
            let mean = moment(&|x| x);
            let variance = moment(&|x| (x - case.mean[k]).powi(2));
            assert!((mean - case.mean[k]).abs() < 1e-8, "{} mean of cell {k}: {mean}", case.text);
            assert!((variance - case.variance[k]).abs() < 1e-8, "{} variance of cell {k}: {variance}", case.text);
        }
        tested += 1;
    }
    assert!(tested >= 3);
}
