//! Matrices and what is drawn jointly: values against closed forms, gradients against differences, kernels against the
//! interpreter.

use vic::diag::{RenderStyle, render};
use vic::driver::{self, Compiled, FitRequest, Session};
use vic::infer::{GuideKind, Target};
use vic::run::interp::Interp;

use crate::closed_forms::log_normal;
use crate::support;

fn compile(model: &str, csv: &str) -> Compiled {
    support::compile(model, &support::csv(csv))
}

pub fn some_theta(dim: usize) -> Vec<f64> {
    (0..dim).map(|i| 0.6 * (1.7 * i as f64 + 0.3).sin()).collect()
}

/// The log joint at `theta`; on the way, its gradient is compared with differences and the kernels with the interpreter.
pub fn value(compiled: &Compiled, theta: &[f64]) -> f64 {
    let model = &compiled.model;
    assert!(model.kernels().is_ok());
    let mut grad = vec![0.0; theta.len()];
    let value = model.evaluator().value_grad(theta, &mut grad);
    let mut evaluator = model.evaluator();
    assert!((evaluator.value(theta) - value).abs() < 1e-12 * (1.0 + value.abs()));
    let mut interpreted = vec![0.0; theta.len()];
    let mut interp = Interp::new(model.graph());
    let same = interp.value_grad(theta, &mut interpreted);
    assert!((same - value).abs() < 1e-12 * (1.0 + value.abs()), "{same} by the interpreter, {value} by the kernels");
    for (i, got) in grad.iter().enumerate() {
        assert!((got - interpreted[i]).abs() < 1e-11 * (1.0 + got.abs()));
        let mut at = |h: f64| {
            let mut t = theta.to_vec();
            t[i] += h;
            evaluator.value(&t)
        };
        let h = 1e-3;
        let by_difference = (8.0 * (at(h) - at(-h)) - (at(2.0 * h) - at(-2.0 * h))) / (12.0 * h);
        let scale = 1.0 + got.abs();
        assert!((got - by_difference).abs() < 1e-6 * scale, "{}: {got} is not {by_difference}", model.names()[i]);
    }
    crate::hessians::check(compiled, theta, "matrices");
    value
}

const X: [f64; 5] = [0.0, 0.7, 1.1, 2.4, 3.0];
const Y: [f64; 5] = [0.3, -0.5, 0.9, 1.4, -0.2];

fn rows() -> String {
    X.iter().zip(Y).fold("x,y\n".to_string(), |t, (x, y)| t + &format!("{x},{y}\n"))
}

fn normal(x: f64) -> f64 {
    -0.5 * x * x - 0.5 * (2.0 * std::f64::consts::PI).ln()
}

#[test]
fn the_forms_of_the_multivariate_normal_agree_with_its_density() {
    let head = "data points { x: real, y: real }\nlatent a ~ Normal(0, 1)\nlatent b ~ Normal(0, 1)\nlatent m ~ Normal(0, 1)\n\
                let K[i in points, j in points] = exp(2 * a) * exp(-0.5 * ((x[i] - x[j]) / exp(b))^2) + (if i == j then 0.3 else 0)\n";
    let theta = [0.2, -0.3, 0.4];
    let k: Vec<Vec<f64>> = (0..5)
        .map(|i| {
            let cell = |j: usize| {
                let d = (X[i] - X[j]) / (-0.3f64).exp();
                (0.4f64).exp() * (-0.5 * d * d).exp() + if i == j { 0.3 } else { 0.0 }
            };
            (0..5).map(cell).collect()
        })
        .collect();
    let priors: f64 = theta.iter().map(|t| normal(*t)).sum();
    let expected = log_normal(&Y, &[0.4; 5], &k) + priors;
    for (lets, arguments) in [
        ("", "m, cov: K"),
        ("let L[i in points, j in points] = cholesky(K)\n", "m, chol: L"),
        ("let L = cholesky(K)\n", "m, chol: L"),
        (
            "let s[i in points] = sqrt(K[i, i])\nlet R[i in points, j in points] = K[i, j] / (s[i] * s[j])\n",
            "m, sd: s, corr: R",
        ),
    ] {
        let text = format!("{head}{lets}observe y over points ~ MvNormal({arguments})\n");
        let got = value(&compile(&text, &rows()), &theta);
        assert!((got - expected).abs() < 1e-11 * expected.abs(), "{arguments}: {got} is not {expected}");
    }
    let factor = format!("{head}factor -0.5 * log_det(K)\n");
    let got = value(&compile(&factor, &rows()), &theta) - priors;
    let half_log_det = -log_normal(&[0.0; 5], &[0.0; 5], &k) - 2.5 * (2.0 * std::f64::consts::PI).ln();
    assert!((got + half_log_det).abs() < 1e-11);
}

/// The precision of a first-order autoregression is tridiagonal; its covariance is known.
#[test]
fn a_precision_matrix() {
    let model = "data points { x: real, y: real }\nlatent r ~ Normal(0, 1)\n\
                 let rho = 0.9 * tanh(r)\n\
                 let Q[i in points, j in points] = if i == j then 1 + 0.5 + rho^2 else 0 - rho * (exp(-(x[i] - x[j])^2))\n\
                 observe y over points ~ MvNormal(0.1, precision: Q)\n";
    let theta = [0.3];
    let rho = 0.9 * 0.3f64.tanh();
    let q: Vec<Vec<f64>> = (0..5)
        .map(|i| {
            let cell = |j: usize| if i == j { 1.5 + rho * rho } else { -rho * (-(X[i] - X[j]) * (X[i] - X[j])).exp() };
            (0..5).map(cell).collect()
        })
        .collect();
    // log N(y; m, Q⁻¹) = ½ log |Q| - ½ dᵀ Q d - n/2 log 2π
    let d: Vec<f64> = Y.iter().map(|y| y - 0.1).collect();
    let quadratic: f64 = (0..5).flat_map(|i| (0..5).map(move |j| (i, j))).map(|(i, j)| d[i] * q[i][j] * d[j]).sum();
    let constant = 2.5 * (2.0 * std::f64::consts::PI).ln();
    let half_log_det = -log_normal(&[0.0; 5], &[0.0; 5], &q) - constant;
    let expected = half_log_det - 0.5 * quadratic - constant + normal(0.3);
    let got = value(&compile(model, &rows()), &theta);
    assert!((got - expected).abs() < 1e-11 * expected.abs(), "{got} is not {expected}");
}

/// In batches: one draw per group, centred and noncentred, whose densities differ by the Jacobian alone.
#[test]
fn one_draw_per_group() {
    let text = |how: &str| {
        format!(
            "data rows {{ g: category, y: real }}\nplate k = 3\nlatent m[k] ~ Normal(0, 2)\nlatent s[k] ~ LogNormal(0, 1)\nlatent t ~ Normal(0, 1)\n\
             let R[i in k, j in k] = if i == j then 1 else 0.5 * tanh(t)\n\
             latent u[g] over k ~ MvNormal(m, sd: s, corr: R) {how}\nobserve y ~ Normal(u[g, 1] + u[g, 2] * u[g, 3], 1)\n"
        )
    };
    let data = "g,y\na,1\nb,2\na,0.5\nc,-1\n";
    let (centred, free) = (compile(&text(""), data), compile(&text("@noncentered"), data));
    assert!(free.model.names().iter().any(|n| n.starts_with("u noise")), "{:?}", free.model.names());
    let theta = some_theta(free.model.dim());
    let with_noise = value(&free, &theta);
    // The same point in terms of u.
    let mut reporter = free.model.reporter();
    reporter.run(&theta);
    let id = (0u32..).map(vic::hir::VarId).find(|v| free.hir.var(*v).name == "u").expect("a latent u");
    let mut at = theta[..7].to_vec();
    at.extend(reporter.buffer(free.layout.buffer(id).expect("u is reported")));
    let with_u = value(&centred, &at);
    let log_scales: f64 = theta[3..6].iter().sum();
    let r = 0.5 * theta[6].tanh();
    let half_log_det = 0.5 * (1.0 - 3.0 * r * r + 2.0 * r * r * r).ln();
    let jacobian = 3.0 * (log_scales + half_log_det);
    assert!((with_noise - with_u - jacobian).abs() < 1e-10, "{with_noise} {with_u} {jacobian}");
}

/// Rows of observations that share one covariance are solved together; a covariance per group is one factor per group.
#[test]
fn batches_of_observations() {
    let data = "g,v.1,v.2\n1,0.3,1.2\n2,-0.4,0.1\n1,0.9,-0.7\n";
    let rows = [[0.3, 1.2], [-0.4, 0.1], [0.9, -0.7]];
    let (theta, r) = ([0.2, 0.3, -0.1], 0.5 * (-0.1f64).tanh());
    let shared = "data rows { g: category, v: real[k] from \"v.*\" }\nlatent s[k] ~ LogNormal(0, 1)\nlatent t ~ Normal(0, 1)\n\
                  let S[i in k, j in k] = s[i] * s[j] * (if i == j then 1 else 0.5 * tanh(t))\n\
                  observe v over k ~ MvNormal(0, cov: S)\n";
    let covariance = |s: [f64; 2]| vec![vec![s[0] * s[0], s[0] * s[1] * r], vec![s[0] * s[1] * r, s[1] * s[1]]];
    let s = [0.2f64.exp(), 0.3f64.exp()];
    let expected: f64 = rows.iter().map(|v| log_normal(v, &[0.0; 2], &covariance(s))).sum();
    let priors: f64 = theta.iter().map(|t| normal(*t)).sum();
    let got = value(&compile(shared, data), &theta);
    assert!((got - expected - priors).abs() < 1e-11 * expected.abs(), "{got} is not {}", expected + priors);
    let grouped = "data rows { g: category, v: real[k] from \"v.*\" }\nlatent s[g] ~ LogNormal(0, 1)\nlatent t ~ Normal(0, 1)\n\
                   let S[h in g, i in k, j in k] = s[h]^2 * (if i == j then 1 else 0.5 * tanh(t))\n\
                   observe v over k ~ MvNormal(0, cov: S[g])\n";
    let scale = |row: usize| if row == 1 { 0.3f64.exp() } else { 0.2f64.exp() };
    let expected: f64 = (0..3).map(|i| log_normal(&rows[i], &[0.0; 2], &covariance([scale(i), scale(i)]))).sum();
    let got = value(&compile(grouped, data), &theta);
    assert!((got - expected - priors).abs() < 1e-11 * expected.abs(), "{got} is not {}", expected + priors);
}

/// Larger than a block: the derivative goes through the blocked way.
#[test]
fn a_matrix_of_seventy_rows() {
    let data = (0..70).fold("x,y\n".to_string(), |t, i| t + &format!("{},{}\n", 0.1 * i as f64, (i as f64).sin()));
    let model = "data points { x: real, y: real }\nlatent a ~ Normal(0, 1)\nlatent b ~ Normal(0, 1)\nlatent s ~ Normal(0, 1)\n\
                 let K[i in points, j in points] = matern52(x[i] - x[j], exp(a), exp(b)) + (if i == j then exp(2 * s) else 0)\n\
                 observe y over points ~ MvNormal(0, cov: K)\n";
    let compiled = compile(model, &data);
    value(&compiled, &[0.3, 0.1, -0.7]);
    let n = crate::alloc::allocations(|| {});
    assert_eq!(n, 0);
    let (mut evaluator, mut grad) = (compiled.model.evaluator(), [0.0; 3]);
    evaluator.value_grad(&[0.3, 0.1, -0.7], &mut grad);
    let n = crate::alloc::allocations(|| {
        for i in 0..20 {
            evaluator.value_grad(&[0.3, 0.01 * i as f64, -0.7], &mut grad);
            evaluator.value(&[0.3, 0.01 * i as f64, -0.7]);
        }
    });
    assert_eq!(n, 0, "allocations while a matrix is factored");
}

#[test]
fn kernels_of_gaussian_processes() {
    let at = |call: &str| {
        let model = format!(
            "data rows {{ y: real }}\nlatent z ~ Normal(0, 1)\nobserve y ~ Normal(z, 1)\nreport r = {call} + 0 * z\n"
        );
        let compiled = compile(&model, "y\n0\n");
        let id = (0u32..).map(vic::hir::VarId).find(|v| compiled.hir.var(*v).name == "r").expect("a report r");
        let mut reporter = compiled.model.reporter();
        reporter.run(&[0.0]);
        reporter.buffer(compiled.layout.buffer(id).expect("r is reported"))[0]
    };
    let (d, a, l) = (0.8f64, 1.5f64, 0.6f64);
    let near = |got: f64, want: f64| assert!((got - want).abs() < 1e-14 * want.abs(), "{got} is not {want}");
    near(at("exp_quad(-0.8, 1.5, 0.6)"), a * a * (-0.5 * (d / l).powi(2)).exp());
    let s = 3f64.sqrt() * d / l;
    near(at("matern32(-0.8, 1.5, 0.6)"), a * a * (1.0 + s) * (-s).exp());
    let s = 5f64.sqrt() * d / l;
    near(at("matern52(-0.8, 1.5, 0.6)"), a * a * (1.0 + s + s * s / 3.0) * (-s).exp());
    let wave = (std::f64::consts::PI * d / 2.5).sin();
    near(at("periodic(-0.8, 1.5, 0.6, 2.5)"), a * a * (-2.0 * (wave / l).powi(2)).exp());
}

fn trouble(model: &str, data: &str) -> String {
    let mut session = Session::default();
    let checked = driver::check(&mut session, "model.vi", model);
    if let Some(compiled) = driver::compile(&mut session, checked, &support::csv(data)) {
        let options = driver::options(&compiled, &FitRequest::default());
        assert!(driver::fit(&mut session, &compiled, &options, &mut |_| {}).is_none());
    }
    let style = RenderStyle { width: 100, color: false, unicode: true };
    session.diags.sorted().iter().map(|d| render(d, &session.sources, style)).collect()
}

#[test]
fn a_matrix_that_is_not_positive_definite_is_named() {
    let model = |cell: &str| {
        format!(
            "data points {{ x: real, y: real }}\nlatent a ~ HalfNormal(1)\nlet K[i in points, j in points] = {cell}\nobserve y over points ~ MvNormal(a, cov: K)\n"
        )
    };
    let text = trouble(&model("a * (x[i] - x[j])^2"), &rows());
    for part in ["V0803", "`K`", "a = ", "model.vi:4"] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
    let text = trouble(&model("x[i] * x[j]"), &rows());
    for part in ["V0803", "data alone", "model.vi:4"] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
}

/// The public Gaussian process: densities at reference draws. K has condition numbers up to 5e10, by which double
/// precision leaves 1e-7 of the differences, says their note.
#[test]
fn a_gaussian_process_has_the_reference_densities() {
    let name = "gp_pois_regr-gp_pois_regr";
    let (model, inputs) = support::example(name);
    let compiled = support::compile(&model, &inputs);
    let json: serde_json::Value =
        serde_json::from_str(&support::read(&format!("tests/reference/{name}/logdensity.json"))).expect("JSON");
    let text = support::read(&format!("tests/reference/{name}/draws6.csv"));
    let x: Vec<f64> = (0..11).map(|i| -10.0 + 2.0 * i as f64).collect();
    let mut got = vec![];
    for line in text.lines().skip(1) {
        let v: Vec<f64> = line.split(',').map(|v| v.parse().expect("a number")).collect();
        let (rho, alpha, f) = (v[0], v[1], &v[2..]);
        let mut l = vec![0.0; 121];
        for i in 0..11 {
            for j in 0..11 {
                let d = (x[i] - x[j]) / rho;
                l[i + 11 * j] = alpha * alpha * (-0.5 * d * d).exp() + if i == j { 1e-10 } else { 0.0 };
            }
        }
        assert!(vic::prim::matrix::cholesky(&mut l, 11));
        let mut z = f.to_vec();
        vic::prim::matrix::solve(&l, &mut z, 11, 1, false);
        let theta: Vec<f64> = [rho.ln(), alpha.ln()].into_iter().chain(z).collect();
        // The log-Jacobians of rho and alpha.
        got.push(compiled.model.evaluator().value(&theta) - rho.ln() - alpha.ln());
    }
    for (g, e) in got.iter().zip(json["difference_from_first"].as_array().expect("an array")) {
        let e = e.as_f64().expect("a number");
        assert!((g - got[0] - e).abs() < 1e-6, "{} is not {e}", g - got[0]);
    }
}

/// 0.15 reference sds, the project's aim for every mean.
#[test]
fn a_gaussian_process_has_the_reference_posterior() {
    let name = "gp_pois_regr-gp_pois_regr";
    let (model, inputs) = support::example(name);
    let compiled = support::compile(&model, &inputs);
    let report = support::fit(&compiled, &FitRequest { guide: Some(GuideKind::FullRank), ..FitRequest::default() });
    let got = support::summaries(&report);
    for (parameter, (mean, sd)) in support::reference(name) {
        let (m, _) = got[&parameter];
        assert!((m - mean).abs() < 0.15 * sd, "{parameter}: {m} is not {mean} ± {sd}");
    }
}

/// Intercepts and slopes that vary together, from values that are known.
#[test]
fn varying_slopes_are_recovered() {
    let mut s = 88172645463325252u64;
    let mut uniform = || {
        s ^= s << 13;
        s ^= s >> 7;
        s ^= s << 17;
        (s >> 11) as f64 / (1u64 << 53) as f64
    };
    let mut noise = || (-2.0 * uniform().ln()).sqrt() * (2.0 * std::f64::consts::PI * uniform()).cos();
    let (m, tau, r, sigma) = ([250.0, 10.0], [25.0, 6.0], -0.6f64, 20.0);
    let mut data = "subject,days,reaction\n".to_string();
    for subject in 0..40 {
        let (a, b) = (noise(), noise());
        let intercept = m[0] + tau[0] * a;
        let slope = m[1] + tau[1] * (r * a + (1.0 - r * r).sqrt() * b);
        for day in 0..10 {
            let y = intercept + slope * day as f64 + sigma * noise();
            data += &format!("s{subject},{day},{y}\n");
        }
    }
    let compiled = compile(&support::read("tests/models/textbook/varying_slopes_lkj.vi"), &data);
    let report = support::fit(&compiled, &FitRequest::default());
    let got = support::summaries(&report);
    let truth = [
        ("m[intercept]", m[0]),
        ("m[slope]", m[1]),
        ("tau[intercept]", tau[0]),
        ("tau[slope]", tau[1]),
        ("R[slope, intercept]", r),
        ("sigma", sigma),
    ];
    for (name, value) in truth {
        let (mean, sd) = got[name];
        // Six values, each within 3.5 posterior sds: a right program fails one time in 400, and this data set is fixed.
        assert!((mean - value).abs() < 3.5 * sd && sd < 0.5 * value.abs(), "{name}: {mean} ± {sd} is not {value}");
    }
}
