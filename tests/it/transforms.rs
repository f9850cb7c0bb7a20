//! The transforms from the unconstrained scale, against finite differences: a prior of `flat()` leaves the log-Jacobian
//! alone in the log joint.

use vic::driver::Compiled;
use vic::infer::Target;

use crate::support;

/// Values at `theta` of the free cells of a latent `x`, in the order that the density is with respect to.
fn values(compiled: &Compiled, theta: &[f64], cells: &[usize]) -> Vec<f64> {
    let x = (0u32..).map(vic::hir::VarId).find(|v| compiled.hir.var(*v).name == "x").expect("a latent x");
    let mut reporter = compiled.model.reporter();
    reporter.run(theta);
    let all = reporter.buffer(compiled.layout.buffer(x).expect("x is reported"));
    cells.iter().map(|&c| all[c]).collect()
}

/// log |det| by elimination with pivots.
fn log_det(mut a: Vec<Vec<f64>>) -> f64 {
    let n = a.len();
    let mut sum = 0.0;
    for k in 0..n {
        let pivot = (k..n).max_by(|&i, &j| a[i][k].abs().total_cmp(&a[j][k].abs())).expect("rows are left");
        a.swap(k, pivot);
        sum += a[k][k].abs().ln();
        let (above, below) = a.split_at_mut(k + 1);
        for row in below {
            let factor = row[k] / above[k][k];
            row.iter_mut().zip(&above[k]).for_each(|(x, y)| *x -= factor * y);
        }
    }
    sum
}

fn central(f: impl Fn(f64) -> f64) -> f64 {
    // Fourth order: errors near 1e-11 for smooth functions of size 1.
    let h = 1e-3;
    (8.0 * (f(h) - f(-h)) - (f(2.0 * h) - f(-2.0 * h))) / (12.0 * h)
}

/// The log joint is the log-Jacobian of `cells` of `x`, and its gradient is right.
fn check(declaration: &str, cells: &[usize]) -> Compiled {
    let model = format!("data rows {{ y: real }}\nplate k = 4\n{declaration}\nobserve y ~ Normal(0, 1)\n");
    let compiled = support::compile(&model, &support::csv("y\n0\n"));
    let dim = compiled.model.dim();
    assert_eq!(dim, cells.len(), "{declaration}");
    let theta: Vec<f64> = (0..dim).map(|i| 0.7 * (1.3 * i as f64 + 0.4).sin()).collect();
    let moved = |i: usize, h: f64| {
        let mut t = theta.clone();
        t[i] += h;
        t
    };
    let columns: Vec<Vec<f64>> =
        (0..dim).map(|i| (0..dim).map(|r| central(|h| values(&compiled, &moved(i, h), cells)[r])).collect()).collect();
    let mut evaluator = compiled.model.evaluator();
    let mut grad = vec![0.0; dim];
    let value = evaluator.value_grad(&theta, &mut grad);
    // What the observation adds.
    let likelihood = -0.5 * (2.0 * std::f64::consts::PI).ln();
    let expected = log_det(columns);
    assert!((value - likelihood - expected).abs() < 1e-8, "{declaration}: {} is not {expected}", value - likelihood);
    drop(evaluator);
    for (i, got) in grad.iter().enumerate() {
        let by_difference = central(|h| compiled.model.evaluator().value(&moved(i, h)));
        assert!((got - by_difference).abs() < 1e-7, "{declaration}: {got} is not {by_difference}");
    }
    compiled
}

#[test]
fn ordered() {
    let theta = [0.4, -0.3, 0.9, 0.1];
    for (ty, positive) in [("ordered", false), ("ordered > 0", true)] {
        let compiled = check(&format!("latent x over k: {ty} ~ flat()"), &[0, 1, 2, 3]);
        let x = values(&compiled, &theta, &[0, 1, 2, 3]);
        assert!(x.windows(2).all(|w| w[0] < w[1]) && (!positive || x[0] > 0.0), "{x:?}");
    }
}

/// Each cell has the scalar prior; in batches too.
#[test]
fn a_scalar_prior_applies_to_each_ordered_cell() {
    let model = "data rows { y: real }\nplate k = 3\nplate g = 2\nlatent s ~ HalfNormal(1)\n\
                 latent x[g] over k: ordered ~ Normal(0.5, s)\nobserve y ~ Normal(0, 1)\n";
    let flat = model.replace("Normal(0.5, s)", "flat()");
    let (with, without) =
        (support::compile(model, &support::csv("y\n0\n")), support::compile(&flat, &support::csv("y\n0\n")));
    let theta = [0.3, 0.1, 0.8, -0.7, 0.2, 0.6, -0.4];
    let s = 0.3f64.exp();
    let x = values(&with, &theta, &[0, 1, 2, 3, 4, 5]);
    let prior: f64 =
        x.iter().map(|x| -0.5 * ((x - 0.5) / s).powi(2) - s.ln() - 0.5 * (2.0 * std::f64::consts::PI).ln()).sum();
    let got = with.model.evaluator().value(&theta) - without.model.evaluator().value(&theta);
    assert!((got - prior).abs() < 1e-12, "{got} is not {prior}");
}

/// `ordered > 0` cuts a prior on the line to the positive part, cell by cell.
#[test]
fn positive_ordered_cells_have_the_cut_prior() {
    let model = |prior: &str, ty: &str| {
        format!(
            "data rows {{ y: real }}\nplate k = 2\nlatent m ~ Normal(0, 1)\nlatent x over k: {ty} ~ {prior}\nobserve y ~ Normal(0, 1)\n"
        )
    };
    let value = |prior: &str, ty: &str| {
        support::compile(&model(prior, ty), &support::csv("y\n0\n")).model.evaluator().value(&[0.7, -0.2, 0.3])
    };
    let x = [(-0.2f64).exp(), (-0.2f64).exp() + 0.3f64.exp()];
    let phi = 0.5 * (1.0 + libm::erf(0.7 / std::f64::consts::SQRT_2));
    let density = |x: f64| -0.5 * (x - 0.7).powi(2) - 0.5 * (2.0 * std::f64::consts::PI).ln() - phi.ln();
    let got = value("Normal(m, 1)", "ordered > 0") - value("flat()", "ordered > 0");
    assert!((got - density(x[0]) - density(x[1])).abs() < 1e-12, "{got}");
}

/// A bound in terms of an earlier latent moves with it.
#[test]
fn bounds_may_depend_on_latents() {
    let model = "data rows { y: real }\nlatent a: real in (0, 1) ~ flat()\nlatent x: real in (0, 1 - a) ~ flat()\nobserve y ~ Normal(x, 1)\n";
    let compiled = support::compile(model, &support::csv("y\n0.3\n"));
    let theta = [0.3, -0.8];
    let sigmoid = |u: f64| 1.0 / (1.0 + (-u).exp());
    let a = sigmoid(0.3);
    let x = (1.0 - a) * sigmoid(-0.8);
    assert!((values(&compiled, &theta, &[0])[0] - x).abs() < 1e-14);
    let jacobian = (a * (1.0 - a)).ln() + ((1.0 - a) * sigmoid(-0.8) * sigmoid(0.8)).ln();
    let expected = jacobian - 0.5 * (0.3 - x).powi(2) - 0.5 * (2.0 * std::f64::consts::PI).ln();
    let mut grad = [0.0; 2];
    let value = compiled.model.evaluator().value_grad(&theta, &mut grad);
    assert!((value - expected).abs() < 1e-12);
    for i in 0..2 {
        let by_difference = central(|h| {
            let mut t = theta;
            t[i] += h;
            compiled.model.evaluator().value(&t)
        });
        assert!((grad[i] - by_difference).abs() < 1e-8);
    }
}

/// A `param` starts at its increasing list.
#[test]
fn an_ordered_param_starts_where_it_is_told() {
    let model = "data rows { y: real }\nplate k = 3\nparam x over k: ordered = [-1, 0.5, 2]\nlatent m ~ Normal(0, 1)\nobserve y ~ Normal(m + sum(x over k), 1)\n";
    let compiled = support::compile(model, &support::csv("y\n0\n"));
    let x = values(&compiled, &compiled.model.start(), &[0, 1, 2]);
    for (got, want) in x.iter().zip([-1.0, 0.5, 2.0]) {
        assert!((got - want).abs() < 1e-14);
    }
}

/// Cells of a 4 by 4 matrix below the diagonal, and on it too.
const BELOW: [usize; 6] = [1, 2, 3, 6, 7, 11];
const LOWER: [usize; 10] = [0, 1, 2, 3, 5, 6, 7, 10, 11, 15];

#[test]
fn matrices() {
    for (ty, cells) in [("corr", &BELOW[..]), ("cholesky_corr", &BELOW), ("cov", &LOWER), ("cholesky_cov", &LOWER)] {
        let compiled = check(&format!("latent x over k: {ty} ~ flat()"), cells);
        let theta: Vec<f64> = (0..cells.len()).map(|i| (2.3 * i as f64).cos()).collect();
        let x = values(&compiled, &theta, &(0..16).collect::<Vec<_>>());
        let at = |i: usize, j: usize| x[i + 4 * j];
        let row = |i: usize, j: usize| (0..4).map(|m| at(i, m) * at(j, m)).sum::<f64>();
        for i in 0..4 {
            match ty {
                "corr" => assert!((at(i, i) - 1.0).abs() < 1e-15),
                "cholesky_corr" => assert!((row(i, i) - 1.0).abs() < 1e-15 && at(i, i) > 0.0),
                _ => assert!(at(i, i) > 0.0),
            }
            for j in i + 1..4 {
                match ty {
                    "corr" | "cov" => assert!((at(i, j) - at(j, i)).abs() < 1e-15 * (1.0 + at(i, j).abs())),
                    _ => assert_eq!(at(i, j), 0.0),
                }
            }
        }
        let mut a = x.clone();
        if matches!(ty, "corr" | "cov") {
            assert!(vic::prim::matrix::cholesky(&mut a, 4), "{ty} is positive definite");
        }
    }
}

/// Far out, where a correlation is 1 to the last digit, nothing is lost but the digits.
#[test]
fn extreme_correlations_stay_finite() {
    let model = "data rows { y: real }\nplate k = 3\nlatent x over k ~ LKJ(2)\nobserve y ~ Normal(x[1, 2], 1)\n";
    let compiled = support::compile(model, &support::csv("y\n0\n"));
    let mut grad = [0.0; 3];
    let value = compiled.model.evaluator().value_grad(&[30.0, -25.0, 18.0], &mut grad);
    assert!(value.is_finite() && grad.iter().all(|g| g.is_finite()), "{value} {grad:?}");
}

#[test]
fn unit_vectors() {
    let model =
        "data rows { y: real }\nplate k = 3\nlatent x over k: unit_vector ~ flat()\nobserve y ~ Normal(x[1], 1)\n";
    let compiled = support::compile(model, &support::csv("y\n0.2\n"));
    let theta = [0.3, -1.4, 0.8];
    let v = theta.map(|u| u + 1.0);
    let length = v.iter().map(|v| v * v).sum::<f64>().sqrt();
    let x = values(&compiled, &theta, &[0, 1, 2]);
    for (x, v) in x.iter().zip(v) {
        assert!((x - v / length).abs() < 1e-15);
    }
    let expected = -0.5 * length * length - 0.5 * (0.2 - x[0]).powi(2) - 0.5 * (2.0 * std::f64::consts::PI).ln();
    assert!((compiled.model.evaluator().value(&theta) - expected).abs() < 1e-12);
}

/// In batches: a matrix per group, each with its own Jacobian.
#[test]
fn a_matrix_per_group() {
    let text = |over: &str| {
        format!(
            "data rows {{ y: real }}\nplate k = 3\nplate g = 2\nlatent x{over} over k ~ LKJ(1.5)\nobserve y ~ Normal(0, 1)\n"
        )
    };
    let value = |over: &str, theta: &[f64]| {
        support::compile(&text(over), &support::csv("y\n0\n")).model.evaluator().value(theta)
    };
    let (a, b) = ([0.3, -0.8, 0.1], [1.1, 0.2, -0.5]);
    // Groups run fastest.
    let both = [a[0], b[0], a[1], b[1], a[2], b[2]];
    let likelihood = -0.5 * (2.0 * std::f64::consts::PI).ln();
    let expected = value("", &a) + value("", &b) - likelihood;
    assert!((value("[g]", &both) - expected).abs() < 1e-12);
}

/// LKJ is normalised: for two rows (1 - r²)^(η - 1) / B(½, η), for three the integral over the unconstrained scale is 1.
/// LKJCholesky is the same distribution seen through its factor.
#[test]
fn lkj() {
    let model = |dist: &str, k: usize| {
        let text =
            format!("data rows {{ y: real }}\nplate k = {k}\nlatent x over k ~ {dist}\nobserve y ~ Normal(0, 1)\n");
        support::compile(&text, &support::csv("y\n0\n"))
    };
    let likelihood = -0.5 * (2.0 * std::f64::consts::PI).ln();
    for eta in [0.7f64, 1.0, 2.5] {
        let compiled = model(&format!("LKJ({eta})"), 2);
        let r = 0.4f64.tanh();
        let lbeta = libm::lgamma(0.5) + libm::lgamma(eta) - libm::lgamma(0.5 + eta);
        let expected = (eta - 1.0) * (1.0 - r * r).ln() - lbeta + (1.0 - r * r).ln() + likelihood;
        let got = compiled.model.evaluator().value(&[0.4]);
        assert!((got - expected).abs() < 1e-12, "{eta}: {got} is not {expected}");
    }
    let three = model("LKJ(1.7)", 3);
    let mut evaluator = three.model.evaluator();
    // The trapezoid rule is exact to many digits for smooth integrands that vanish at both ends.
    let steps: Vec<f64> = (-16..=16).map(|i| 0.4 * i as f64).collect();
    let mut total = 0.0;
    for a in &steps {
        for b in &steps {
            for c in &steps {
                total += (evaluator.value(&[*a, *b, *c]) - likelihood).exp();
            }
        }
    }
    total *= 0.4f64.powi(3);
    assert!((total - 1.0).abs() < 1e-6, "{total}");
    let theta = [0.5, -1.2, 0.3];
    let factor = model("LKJCholesky(1.7)", 3);
    let (a, b) = (evaluator.value(&theta), factor.model.evaluator().value(&theta));
    assert!((a - b).abs() < 1e-12, "{a} {b}");
}

/// A drawn start: a number of its own per cell, inside the type, and the same each time.
#[test]
fn params_that_start_from_draws() {
    let model = "data rows { y: real, scale: real > 0 }\nplate k = 5\nconst spread = 2\n\
                 param w[k]: real = draw(Normal(10, spread))\nparam s: real > 0 = draw(Gamma(3, 1))\n\
                 param p over k: simplex = draw(Dirichlet(2))\nparam z over k: zero_sum = draw(ZeroSumNormal(1))\n\
                 param r[rows] = draw(Normal(0, scale))\nlatent m ~ Normal(0, 1)\n\
                 observe y ~ Normal(m + sum(w * p + z over k) + r, s)\n";
    let starts = || {
        let compiled = support::compile(model, &support::csv("y,scale\n0,1e-9\n1,1e9\n"));
        let theta = compiled.layout.start().to_vec();
        let mut reporter = compiled.model.reporter();
        reporter.run(&theta);
        let of = |name: &str| {
            let id = (0u32..).map(vic::hir::VarId).find(|v| compiled.hir.var(*v).name == name).expect("a param");
            reporter.buffer(compiled.layout.buffer(id).expect("it is reported")).to_vec()
        };
        ["w", "s", "p", "z", "r"].map(of)
    };
    let [w, s, p, z, r] = starts();
    assert!(w.iter().all(|x| (x - 10.0).abs() < 12.0) && w.windows(2).all(|x| x[0] != x[1]), "{w:?}");
    assert!(s[0] > 0.0 && s[0] != 1.0);
    assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-12 && p.iter().all(|x| *x > 0.0 && *x != 0.2), "{p:?}");
    assert!(z.iter().sum::<f64>().abs() < 1e-12 && z.iter().any(|x| x.abs() > 0.01), "{z:?}");
    assert!(r[0].abs() < 1e-7 && r[1].abs() > 1e3, "{r:?}");
    assert_eq!([w, s, p, z, r], starts());
}
