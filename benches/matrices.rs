//! Milliseconds per value and gradient of models that are dominated by a Cholesky factor, beside faer alone doing the same:
//! filling the covariance, its factor and inverse, the solves, and the derivative by every parameter. Both in one thread.

use std::time::Instant;

use faer::linalg::solvers::{DenseSolveCore, Solve};
use faer::{Mat, Par, Side};
use vic::data::{DataFile, Inputs};
use vic::driver::{self, Session};
use vic::infer::{Stream, Target};

/// A Gaussian process, its function summed out.
const PROCESS: &str = "data points { x: real, y: real }
latent rho ~ InvGamma(5, 5)
latent a, s ~ HalfNormal(1)
let K[i in points, j in points] = exp_quad(x[i] - x[j], a, rho) + (if i == j then s^2 else 0)
observe y over points ~ MvNormal(0, cov: K)
";

/// Vectors of many correlated numbers, with a mean each.
const VECTORS: &str = "data points { x: real, y: real[copy] from \"y*\" }
latent rho ~ InvGamma(5, 5)
latent a, s ~ HalfNormal(1)
latent m[points] ~ Normal(0, 1)
let K[i in points, j in points] = exp_quad(x[i] - x[j], a, rho) + (if i == j then s^2 else 0)
observe y over points ~ MvNormal(m, cov: K)
";

const ROUNDS: usize = 25;

fn compile(model: &str, csv: String) -> driver::Compiled {
    let file = DataFile { table: None, name: "data.csv".into(), bytes: csv.into_bytes() };
    let mut session = Session::default();
    let checked = driver::check(&mut session, "model.vi", model);
    assert!(!session.diags.has_errors(), "{:?}", session.diags.list);
    driver::compile(&mut session, checked, &Inputs { files: vec![file], sets: vec![] })
        .unwrap_or_else(|| panic!("{:?}", session.diags.list))
}

/// Value and gradient by (rho, a, s) and the means of Σ log N(column; m, K), K the squared exponential kernel at `x`.
fn by_hand(x: &[f64], y: &Mat<f64>, (rho, a, s): (f64, f64, f64), m: &[f64]) -> (f64, Vec<f64>) {
    let (n, rows) = (x.len(), y.ncols());
    let kernel = Mat::from_fn(n, n, |i, j| a * a * (-0.5 * ((x[i] - x[j]) / rho).powi(2)).exp());
    let mut k = kernel.clone();
    (0..n).for_each(|i| k[(i, i)] += s * s);
    let factor = k.llt(Side::Lower).expect("positive definite");
    let residual = Mat::from_fn(n, rows, |i, r| y[(i, r)] - m.get(i).copied().unwrap_or(0.0));
    let alpha = factor.solve(&residual);
    let inverse = factor.inverse();
    let log_det: f64 = (0..n).map(|i| 2.0 * factor.L()[(i, i)].ln()).sum();
    let square: f64 = (0..rows).map(|r| (0..n).map(|i| residual[(i, r)] * alpha[(i, r)]).sum::<f64>()).sum();
    let value = -0.5 * (square + rows as f64 * (log_det + n as f64 * (2.0 * std::f64::consts::PI).ln()));
    // d/dK = ½ (α αᵀ - rows · K⁻¹)
    let dk = &alpha * alpha.transpose();
    let mut gradient = vec![0.0; 3 + m.len()];
    for j in 0..n {
        for i in 0..n {
            let d = 0.5 * (dk[(i, j)] - rows as f64 * inverse[(i, j)]);
            gradient[0] += d * kernel[(i, j)] * (x[i] - x[j]).powi(2) / rho.powi(3);
            gradient[1] += d * 2.0 * kernel[(i, j)] / a;
        }
        gradient[2] += (dk[(j, j)] - rows as f64 * inverse[(j, j)]) * s;
    }
    for (i, g) in gradient[3..].iter_mut().enumerate() {
        *g = (0..rows).map(|r| alpha[(i, r)]).sum();
    }
    (value, gradient)
}

fn compare(title: &str, model: &str, csv: String, x: &[f64], y: &Mat<f64>, means: usize) {
    let compiled = compile(model, csv);
    let theta = vec![0.0; compiled.layout.dim()];
    let (mut gradient, m) = (theta.clone(), vec![0.0; means]);
    let mut evaluator = compiled.model.evaluator();
    let (mut own, mut alone) = (vec![], vec![]);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        evaluator.value_grad(&theta, &mut gradient);
        own.push(start.elapsed().as_secs_f64() * 1e3);
        let start = Instant::now();
        let (_, by_hand) = by_hand(x, y, (1.0, 1.0, 1.0), &m);
        alone.push(start.elapsed().as_secs_f64() * 1e3);
        // At the origin all three parameters are 1, and the priors have no slope there.
        let off = gradient.iter().zip(&by_hand).map(|(a, b)| (a - b).abs() / (1.0 + b.abs())).fold(0.0, f64::max);
        assert!(off < 1e-8, "{title}: the gradients differ by {off:e}");
    }
    own.sort_by(f64::total_cmp);
    alone.sort_by(f64::total_cmp);
    let mid = ROUNDS / 2;
    println!("{title}");
    println!("  kernel {:8.2} ms min {:8.2} median", own[0], own[mid]);
    println!("  faer   {:8.2} ms min {:8.2} median", alone[0], alone[mid]);
    println!("  kernel takes {:.2} (min) {:.2} (median) of faer alone", own[0] / alone[0], own[mid] / alone[mid]);
}

fn main() {
    faer::set_global_parallelism(Par::Seq);
    let mut stream = Stream::new(3, "bench", "matrices");
    let n = 500;
    let x: Vec<f64> = (0..n).map(|i| 10.0 * (i as f64 + 0.3 * stream.uniform()) / n as f64).collect();
    let y = Mat::from_fn(n, 1, |i, _| x[i].sin() + stream.normal());
    let csv: String = (0..n).map(|i| format!("{},{}\n", x[i], y[(i, 0)])).collect();
    compare("Gaussian process of 500 points", PROCESS, format!("x,y\n{csv}"), &x, &y, 0);

    let (n, rows) = (200, 100);
    let x: Vec<f64> = (0..n).map(|i| i as f64 / 10.0).collect();
    let y = Mat::from_fn(n, rows, |i, _| x[i].sin() + stream.normal());
    let head: Vec<String> = (1..=rows).map(|r| format!("y{r}")).collect();
    let row = |i: usize| (0..rows).map(|r| y[(i, r)].to_string()).collect::<Vec<_>>().join(",");
    let csv: String = (0..n).map(|i| format!("{},{}\n", x[i], row(i))).collect();
    compare("100 draws of an MvNormal of 200", VECTORS, format!("x,{}\n{csv}", head.join(",")), &x, &y, n);
}
