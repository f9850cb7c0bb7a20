//! Distributions whose arguments or values lie on several plates: densities through the whole pipeline, against closed
//! forms; every value's gradient is held to differences, and kernels to the interpreter.

use crate::support::{self, checked_value, compile};
use vic::data::Inputs;
use vic::driver::{self, Session};
use vic::simulate::{Csv, Rows, simulate};

/// Data drawn from a model, as one table.
fn drawn(model: &str, inputs: &Inputs, rows: Option<usize>, seed: u64) -> Csv {
    let mut session = Session::default();
    let hir = driver::check(&mut session, "model.vi", model).hir;
    assert!(!session.diags.has_errors(), "{model}");
    let rows = Rows { every: rows, of: vec![] };
    let made = simulate(&hir, inputs, &rows, seed, &mut session.diags);
    let made =
        made.unwrap_or_else(|| panic!("{:?}", session.diags.list.iter().map(|d| &d.message).collect::<Vec<_>>()));
    made.tables.into_iter().next().expect("one table").1
}

fn close(got: f64, want: f64, what: &str) {
    assert!((got - want).abs() < 1e-11 * want.abs().max(1.0), "{what}: {got}, want {want}");
}

fn standard_normal(z: f64) -> f64 {
    -0.5 * z * z - 0.5 * (2.0 * std::f64::consts::PI).ln()
}

/// The probability of a level is that of its stretch between the cutpoints, written here by differences of distribution
/// functions: they telescope, so that the levels' probabilities sum to 1.
#[test]
fn ordered_outcomes() {
    let phi = |z: f64| 0.5 * libm::erfc(-z / std::f64::consts::SQRT_2);
    let logistic = |z: f64| 1.0 / (1.0 + (-z).exp());
    let cdfs: [(&str, &dyn Fn(f64) -> f64); 2] = [("OrderedLogistic", &logistic), ("OrderedProbit", &phi)];
    for (name, cdf) in cdfs {
        let model = format!(
            "data people {{ r: category [\"low\", \"mid\", \"high\", \"top\"], x: real }}\nplate cut = size(r) - 1\n\
             latent c over cut: ordered ~ Normal(0, 3)\nlatent b ~ Normal(0, 1)\nobserve r ~ {name}(b * x, c)\n"
        );
        let rows = [(0, 0.3), (1, -1.2), (2, 0.7), (3, 1.9), (1, 0.0), (3, -0.4), (0, -2.0)];
        let labels = ["low", "mid", "high", "top"];
        let text: String = rows.iter().map(|(r, x)| format!("{},{x}\n", labels[*r])).collect();
        let compiled = compile(&model, &support::csv(&format!("r,x\n{text}")));
        let theta = [-0.8, 0.2, -0.5, 0.6];
        let c = [-0.8, -0.8 + 0.2f64.exp(), -0.8 + 0.2f64.exp() + (-0.5f64).exp()];
        let ends = |r: usize, eta: f64| {
            let upper = if r == 3 { 1.0 } else { cdf(c[r] - eta) };
            upper - if r == 0 { 0.0 } else { cdf(c[r - 1] - eta) }
        };
        let likelihood: f64 = rows.iter().map(|(r, x)| ends(*r, 0.6 * x).ln()).sum();
        // Normal(0, 3) per cutpoint, and the Jacobian of the two steps.
        let prior: f64 = c.iter().map(|c| standard_normal(c / 3.0) - 3f64.ln()).sum::<f64>() + 0.2 - 0.5;
        close(checked_value(&compiled, &theta), likelihood + prior + standard_normal(0.6), name);
    }
}

/// Shares of draws are within five standard errors of the probabilities.
#[test]
fn draws_of_ordered_outcomes() {
    const N: usize = 20_000;
    for (name, want) in [
        ("OrderedLogistic", [0.1824255238, 0.2925952887, 0.4057762655, 0.1192029220]),
        ("OrderedProbit", [0.0668072013, 0.3933649615, 0.5170777053, 0.0227501319]),
    ] {
        let model = format!(
            "plate cut = 3\ndata rows {{ r: category [\"a\", \"b\", \"c\", \"d\"] }}\ndata c: real[cut] = [-1, 0.4, 2.5]\n\
             observe r ~ {name}(0.5, c)\n"
        );
        let csv = drawn(&model, &Inputs::default(), Some(N), 4);
        for (label, p) in ["a", "b", "c", "d"].into_iter().zip(want) {
            let share = csv.rows.iter().filter(|r| r[0] == label).count() as f64 / N as f64;
            let bound = 5.0 * (p * (1.0 - p) / N as f64).sqrt();
            assert!((share - p).abs() < bound, "{name}: {share} of {label}, want {p}");
        }
    }
}

/// In coordinates of the hyperplane the values are independent normals, centred or not.
#[test]
fn values_that_sum_to_zero() {
    let model = |how: &str| {
        format!(
            "data rows {{ k: category, y: real }}\nlatent s ~ HalfNormal(1)\nlatent e over k ~ ZeroSumNormal(s) {how}\n\
             observe y ~ Normal(e[k], 0.5)\n"
        )
    };
    let rows = [("a", 0.3), ("b", -1.0), ("c", 1.4), ("d", 0.2), ("b", 0.1)];
    let text: String = rows.iter().map(|(k, y)| format!("{k},{y}\n")).collect();
    let theta = [0.4, -0.3, 0.9, 0.2];
    let s = 0.4f64.exp();
    let half_normal = -0.5 * s * s + 0.5 * (2.0 / std::f64::consts::PI).ln() + 0.4;
    for (how, scale) in [("@centered", 1.0), ("@noncentered", s)] {
        let compiled = compile(&model(how), &support::csv(&format!("k,y\n{text}")));
        let got = checked_value(&compiled, &theta);
        let id = (0u32..).map(vic::hir::VarId).find(|v| compiled.hir.var(*v).name == "e").expect("a latent e");
        let mut reporter = compiled.model.reporter();
        reporter.run(&theta);
        let e = reporter.buffer(compiled.layout.buffer(id).expect("e is reported"));
        assert_eq!(e.len(), 4);
        assert!(e.iter().sum::<f64>().abs() < 1e-14, "{e:?} does not sum to 0");
        let length = theta[1..].iter().map(|u| (u * scale).powi(2)).sum::<f64>();
        close(e.iter().map(|x| x * x).sum(), length, "the length of the values");
        let at = |k: &str| e["abcd".find(k).expect("a level")];
        let likelihood: f64 = rows.iter().map(|(k, y)| standard_normal((y - at(k)) / 0.5) - 0.5f64.ln()).sum();
        let sd = s / scale;
        let prior: f64 = theta[1..].iter().map(|u| standard_normal(u / sd) - sd.ln()).sum();
        close(got, likelihood + prior + half_normal, how);
    }
}

/// Each cell has variance sigma² (1 - 1/4), each pair covariance -sigma² / 4; within five standard errors of both.
#[test]
fn draws_that_sum_to_zero() {
    const N: usize = 20_000;
    let model = "data rows { y: real }\nplate k = 4\nlatent e[rows] over k ~ ZeroSumNormal(2)\n\
                 observe y ~ Normal(e[rows, 1] * e[rows, 2] + 0 * e[rows, 3], 0.001)\n";
    let mut session = Session::default();
    let hir = driver::check(&mut session, "model.vi", model).hir;
    assert!(!session.diags.has_errors());
    let rows = Rows { every: Some(N), of: vec![] };
    let made = simulate(&hir, &Inputs::default(), &rows, 8, &mut session.diags).expect("drawn");
    let cell = |row: usize, k: usize| made.truth.iter().find(|(n, _)| *n == format!("e[{row}, {k}]")).expect("e").1;
    for row in [1, 2, N] {
        assert!((1..5).map(|k| cell(row, k)).sum::<f64>().abs() < 1e-14);
    }
    let squares = made.truth.iter().map(|(_, x)| x * x).sum::<f64>() / (4 * N) as f64;
    // Three independent coordinates of variance 4 in each row of four cells.
    assert!((squares - 3.0).abs() < 5.0 * 3.0 * (2.0 / (3 * N) as f64).sqrt(), "variance {squares}");
    let products: f64 = made.tables[0].1.rows.iter().map(|r| r[0].parse::<f64>().expect("a number")).sum();
    // A product of two normals of variance 3 and covariance -1 has variance 9 + 1.
    assert!((products / N as f64 + 1.0).abs() < 5.0 * (10.0 / N as f64).sqrt(), "covariance {}", products / N as f64);
}
