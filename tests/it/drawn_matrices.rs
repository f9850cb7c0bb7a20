//! Matrices and joint latents that are simulated and predicted, against what is known of them exactly.

use std::collections::HashMap;

use vic::data::{DataFile, Inputs};
use vic::simulate::{Predictor, Rows, Simulation, simulate};

use super::support;

/// One data set of one row, with this many groups' worth of latents.
fn made(model: &str, inputs: &Inputs, rows: usize) -> Simulation {
    let hir = support::checked(model);
    let mut diags = vic::diag::Diags::default();
    let rows = Rows { every: (rows > 0).then_some(rows), of: vec![] };
    let made = simulate(&hir, inputs, &rows, 11, &mut diags);
    made.unwrap_or_else(|| panic!("{model}\n{:?}", diags.list.iter().map(|d| &d.message).collect::<Vec<_>>()))
}

/// A correlation is 2 Beta(a, a) - 1 with a = eta + (K - 2) / 2 at every place of the matrix (Lewandowski, Kurowicka & Joe
/// 2009), so that E r² = 1 / (2a + 1) and E r⁴ = 3 / ((2a + 1) (2a + 3)). Five standard errors over 4000 matrices.
#[test]
fn correlation_matrices_are_drawn_with_their_marginal_distribution() {
    const N: usize = 4000;
    for (dist, eta, k, factor) in
        [("LKJ(2)", 2.0, 2, false), ("LKJ(0.6)", 0.6, 4, false), ("LKJCholesky(1.5)", 1.5, 4, true)]
    {
        let model = format!(
            "data d {{ y: real }}\nplate g = {N}\nplate k = {k}\nlatent R[g] over k ~ {dist}\nobserve y ~ Normal(0, 1)\n"
        );
        let truth: HashMap<String, f64> = made(&model, &Inputs::default(), 1).truth.into_iter().collect();
        let cell = |g: usize, i: usize, j: usize| truth[&format!("R[{g}, {i}, {j}]")];
        let r = |g: usize, i: usize, j: usize| match factor {
            true => (1..=k).map(|m| cell(g, i, m) * cell(g, j, m)).sum(),
            false => cell(g, i, j),
        };
        let a = eta + 0.5 * (k as f64 - 2.0);
        let (second, fourth) = (1.0 / (2.0 * a + 1.0), 3.0 / ((2.0 * a + 1.0) * (2.0 * a + 3.0)));
        for i in 1..=k {
            for j in 1..i {
                let x: Vec<f64> = (1..=N).map(|g| r(g, i, j)).collect();
                let mean = |f: &dyn Fn(f64) -> f64| x.iter().map(|x| f(*x)).sum::<f64>() / N as f64;
                let (m1, m2) = (mean(&|x| x), mean(&|x| x * x));
                assert!(m1.abs() < 5.0 * (second / N as f64).sqrt(), "{dist} [{i}, {j}]: mean {m1}");
                let se = ((fourth - second * second) / N as f64).sqrt();
                assert!((m2 - second).abs() < 5.0 * se, "{dist} [{i}, {j}]: E r² {m2}, not {second}");
            }
        }
        for g in 1..=N {
            for i in 1..=k {
                assert!((r(g, i, i) - 1.0).abs() < 1e-12);
                let above = if factor { cell(g, 1, k) } else { cell(g, 1, k) - cell(g, k, 1) };
                assert_eq!(above, 0.0, "a factor is lower triangular, a matrix symmetric");
            }
        }
    }
}

/// Of 4000 draws of pairs: the covariance is within five standard errors of what it is.
fn has_covariance(x: &[f64], y: &[f64], want: f64, sds: [f64; 2], what: &str) {
    let n = x.len() as f64;
    let (mx, my) = (x.iter().sum::<f64>() / n, y.iter().sum::<f64>() / n);
    let got = x.iter().zip(y).map(|(x, y)| (x - mx) * (y - my)).sum::<f64>() / n;
    // Of normal variables: Var(xy) = sd² sd² + cov².
    let se = ((sds[0] * sds[1]).powi(2) + want * want).sqrt() / n.sqrt();
    assert!((got - want).abs() < 5.0 * se, "{what}: covariance {got}, not {want}");
}

const SLOPES: &str = "data trials { subject: category, days: real, y: real }\nplate coef = [\"a\", \"b\"]\n\
                      latent tau[coef] ~ HalfNormal(10)\nlatent R over coef ~ LKJ(2)\n\
                      latent u[subject] over coef ~ MvNormal([1, 2], sd: tau, corr: R)\n\
                      latent w over coef ~ Dirichlet(2)\n\
                      observe y ~ Normal(u[subject, \"a\"] + u[subject, \"b\"] * days, w[\"a\"])\n";

/// Effects of groups are drawn jointly given the correlations, which are drawn too.
#[test]
fn joint_effects_are_simulated() {
    const N: usize = 4000;
    let rows: String = (1..=N).map(|i| format!("s{i},{}\n", i % 2)).collect();
    let file = DataFile { table: None, name: "d.csv".into(), bytes: format!("subject,days\n{rows}").into_bytes() };
    let sets = [("tau[a]", "3"), ("tau[b]", "0.5")].map(|(k, v)| (k.to_string(), v.to_string())).to_vec();
    let inputs = Inputs { files: vec![file], sets };
    let truth: HashMap<String, f64> = made(SLOPES, &inputs, 0).truth.into_iter().collect();
    let r = truth["R[a, b]"];
    assert!(r == truth["R[b, a]"] && r.abs() < 1.0 && truth["R[a, a]"] == 1.0);
    assert!((truth["w[a]"] + truth["w[b]"] - 1.0).abs() < 1e-14);
    let u = |c: &str| (1..=N).map(|i| truth[&format!("u[s{i}, {c}]")]).collect::<Vec<f64>>();
    has_covariance(&u("a"), &u("b"), r * 1.5, [3.0, 0.5], "u");
    has_covariance(&u("b"), &u("b"), 0.25, [0.5, 0.5], "u[b]");
}

/// Predictions of a group that was fitted use its draws, those of a new group the correlations of the fit.
#[test]
fn joint_effects_are_predicted() {
    const N: usize = 4000;
    let hir = support::checked(SLOPES);
    let csv = |text: &str| DataFile { table: None, name: "d.csv".into(), bytes: text.as_bytes().to_vec() };
    let fitted = Inputs { files: vec![csv("subject,days,y\np,0,1\np,1,3\nq,1,2\n")], sets: vec![] };
    let posterior: HashMap<String, Vec<f64>> = [
        ("tau[a]", 3.0),
        ("tau[b]", 0.5),
        ("R[a, a]", 1.0),
        ("R[b, a]", -0.8),
        ("R[a, b]", -0.8),
        ("R[b, b]", 1.0),
        ("u[p, a]", 7.0),
        ("u[q, a]", 0.0),
        ("u[p, b]", -1.0),
        ("u[q, b]", 0.0),
        ("w[a]", 0.25),
        ("w[b]", 0.75),
    ]
    .map(|(k, v)| (k.to_string(), vec![v; N]))
    .into();
    let new = [csv("subject,days\np,2\nz,0\nz,1\n")];
    let predictor = Predictor { hir: &hir, fitted: &fitted, new: &new, posterior: &posterior, draws: N, seed: 3 };
    let mut diags = vic::diag::Diags::default();
    let made = predictor.predict(&mut diags).expect("predicts");
    let y = |row: usize| made.vars[0].cell(row, N);
    has_covariance(y(0), y(0), 0.0625, [0.25, 0.25], "a fitted group");
    let mean = y(0).iter().sum::<f64>() / N as f64;
    assert!((mean - 5.0).abs() < 5.0 * 0.25 / (N as f64).sqrt(), "{mean}");
    // y(z, 0) = a + e, y(z, 1) = a + b + e': covariance Var a + Cov(a, b).
    let (cov, second) = (9.0 - 0.8 * 1.5, 9.0f64 + 0.25 - 2.0 * 0.8 * 1.5 + 0.0625);
    has_covariance(y(1), y(2), cov, [9.0625f64.sqrt(), second.sqrt()], "a new group");
}
