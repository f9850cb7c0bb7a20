//! Distributions whose arguments or values lie on several plates: densities through the whole pipeline, against closed
//! forms; every value's gradient is held to differences, and kernels to the interpreter.

use crate::support::{self, checked_value, compile};
use vic::data::Inputs;
use vic::driver::{self, Session};
use vic::infer::Target;
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

/// All rows of three counts that sum to 4, with Pólya's urn for the closed form: drawn one after the other, a cell has
/// alpha_k plus what fell on it before; alpha to infinity is the multinomial.
#[test]
fn counts_over_a_plate() {
    let rows: Vec<[u32; 3]> = (0..=4)
        .flat_map(|a| (0..=4 - a).map(move |b| [a, b, 4 - a - b]))
        .filter(|r| r.iter().sum::<u32>() == 4)
        .collect();
    assert_eq!(rows.len(), 15);
    let factorial = |n: u32| (1..=n).map(f64::from).product::<f64>();
    let ways = |r: &[u32; 3]| 24.0 / r.iter().map(|x| factorial(*x)).product::<f64>();
    let urn = |r: &[u32; 3], alpha: [f64; 3]| {
        let up = |a: f64, n: u32| (0..n).map(|j| a + f64::from(j)).product::<f64>();
        let cells: f64 = r.iter().zip(alpha).map(|(x, a)| up(a, *x)).product();
        ways(r) * cells / up(alpha.iter().sum(), 4)
    };
    let multinomial =
        |r: &[u32; 3], p: [f64; 3]| ways(r) * r.iter().zip(p).map(|(x, p)| p.powi(*x as i32)).product::<f64>();
    let text: String = rows.iter().map(|r| format!("4,{},{},{}\n", r[0], r[1], r[2])).collect();
    let data = support::csv(&format!("n,x.1,x.2,x.3\n{text}"));
    let head = "data rows { n: int, x: int[k] from \"x.*\" }\nlatent a[k] ~ Normal(0, 1)\n";
    let theta = [0.3, -0.8, 0.5];
    let prior: f64 = theta.iter().map(|t| standard_normal(*t)).sum();
    let e = theta.map(f64::exp);
    let p = e.map(|x| x / e.iter().sum::<f64>());
    let total: f64 = rows.iter().map(|r| urn(r, e)).sum();
    close(total, 1.0, "all rows of an urn");
    for (observed, probability) in [
        ("Multinomial(n, softmax[k](a))", &multinomial as &dyn Fn(&[u32; 3], [f64; 3]) -> f64),
        ("Multinomial(n, logit: a)", &multinomial),
        ("DirichletMultinomial(n, exp(a))", &urn),
    ] {
        let at = if observed.starts_with('D') { e } else { p };
        let compiled = compile(&format!("{head}observe x over k ~ {observed}\n"), &data);
        let want: f64 = rows.iter().map(|r| probability(r, at).ln()).sum();
        close(checked_value(&compiled, &theta), want + prior, observed);
    }
    // A row that does not sum to n is impossible.
    let model = format!("{head}observe x over k ~ Multinomial(n + 1, logit: a)\n");
    assert_eq!(compile(&model, &data).model.evaluator().value(&theta), f64::NEG_INFINITY);
}

/// Means and variances of 20000 rows, within five standard errors (the variance's by the normal approximation, which
/// counts in the dozens allow).
#[test]
fn draws_of_counts_over_a_plate() {
    const N: usize = 20_000;
    let (p, n) = ([0.2, 0.5, 0.3], 40.0);
    let data = support::csv(&format!("n\n{}", "40\n".repeat(N)));
    for (observed, inflation) in [
        ("Multinomial(n, [0.2, 0.5, 0.3])", 1.0),
        ("Multinomial(n, logit: [log(0.2), log(0.5), log(0.3)])", 1.0),
        ("DirichletMultinomial(n, [2, 5, 3])", (10.0 + n) / 11.0),
    ] {
        let model =
            format!("data rows {{ n: int, x: int[k] from [\"a\", \"b\", \"c\"] }}\nobserve x over k ~ {observed}\n");
        let csv = drawn(&model, &data, None, 5);
        let row = |r: &Vec<String>| r[1..].iter().map(|x| x.parse::<f64>().expect("a number")).collect::<Vec<_>>();
        let rows: Vec<Vec<f64>> = csv.rows.iter().map(row).collect();
        assert!(rows.iter().all(|r| r.iter().sum::<f64>() == n));
        for k in 0..3 {
            let (mean, variance) = (n * p[k], n * p[k] * (1.0 - p[k]) * inflation);
            let got = rows.iter().map(|r| r[k]).sum::<f64>() / N as f64;
            assert!((got - mean).abs() < 5.0 * (variance / N as f64).sqrt(), "{observed}: mean {got}, want {mean}");
            let got = rows.iter().map(|r| (r[k] - mean).powi(2)).sum::<f64>() / N as f64;
            let se = variance * (2.0 / N as f64).sqrt();
            assert!((got - variance).abs() < 5.0 * se, "{observed}: variance {got}, want {variance} ± {se}");
        }
    }
}

const SCALE: [[f64; 3]; 3] = [[2.0, 0.6, -0.3], [0.6, 1.0, 0.2], [-0.3, 0.2, 0.5]];

/// log det and the quadratic form dᵀ A⁻¹ d of a matrix of three rows, by cofactors.
fn by_cofactors(a: &[[f64; 3]; 3], d: [f64; 3]) -> (f64, f64) {
    let minor = |i: usize, j: usize| {
        let (r, c) = ([(i + 1) % 3, (i + 2) % 3], [(j + 1) % 3, (j + 2) % 3]);
        a[r[0]][c[0]] * a[r[1]][c[1]] - a[r[0]][c[1]] * a[r[1]][c[0]]
    };
    let det: f64 = (0..3).map(|j| a[0][j] * minor(0, j)).sum();
    let form = (0..3).flat_map(|i| (0..3).map(move |j| (i, j))).map(|(i, j)| d[i] * minor(j, i) / det * d[j]).sum();
    (det.ln(), form)
}

fn student_model(arguments: &str, head: &str) -> String {
    format!(
        "data rows {{ y: real[k] from [\"y.1\", \"y.2\", \"y.3\"] }}\n{head}\
         let S[i in k, j in k] = if i == j then (if row(i) == 1 then 2 else if row(i) == 2 then 1 else 0.5)\
         else if row(i) + row(j) == 3 then 0.6 else if row(i) + row(j) == 4 then 0 - 0.3 else 0.2\n\
         let s[i in k] = sqrt(S[i, i])\nlet R[i in k, j in k] = S[i, j] / (s[i] * s[j])\nlet L = cholesky(S)\n\
         observe y over k ~ MvStudentT({arguments})\n"
    )
}

#[test]
fn multivariate_student_t() {
    let rows = [[0.3, -1.0, 0.4], [2.5, 0.1, -0.8]];
    let text: String = rows.iter().map(|r| format!("{},{},{}\n", r[0], r[1], r[2])).collect();
    let data = support::csv(&format!("y.1,y.2,y.3\n{text}"));
    let theta = [0.4, -0.2, 0.3, 0.1];
    let nu = 0.4f64.exp() + 2.0;
    let prior: f64 = theta.iter().map(|t| standard_normal(*t)).sum();
    let density = |y: &[f64; 3]| {
        let d = [y[0] + 0.2, y[1] - 0.3, y[2] - 0.1];
        let (log_det, form) = by_cofactors(&SCALE, d);
        libm::lgamma(0.5 * (nu + 3.0))
            - libm::lgamma(0.5 * nu)
            - 1.5 * (nu * std::f64::consts::PI).ln()
            - 0.5 * log_det
            - 0.5 * (nu + 3.0) * (form / nu).ln_1p()
    };
    let want = prior + rows.iter().map(density).sum::<f64>();
    for arguments in ["exp(t) + 2, m, cov: S", "exp(t) + 2, m, chol: L", "exp(t) + 2, m, sd: s, corr: R"] {
        let model = student_model(arguments, "latent t ~ Normal(0, 1)\nlatent m[k] ~ Normal(0, 1)\n");
        close(checked_value(&compile(&model, &data), &theta), want, arguments);
    }
}

/// Covariances of 20000 draws with 9 degrees of freedom: nu / (nu - 2) times the scale matrix. A product of two such
/// cells has a kurtosis below 5, so that five standard errors are 5 √(5 v w / N).
#[test]
fn draws_of_multivariate_student_t() {
    const N: usize = 20_000;
    for arguments in ["9, 1, cov: S", "9, 1, chol: L", "9, 1, sd: s, corr: R"] {
        let csv = drawn(&student_model(arguments, ""), &Inputs::default(), Some(N), 3);
        let rows: Vec<Vec<f64>> =
            csv.rows.iter().map(|r| r.iter().map(|x| x.parse::<f64>().expect("a number") - 1.0).collect()).collect();
        for i in 0..3 {
            for j in 0..=i {
                let got = rows.iter().map(|r| r[i] * r[j]).sum::<f64>() / N as f64;
                let want = SCALE[i][j] * 9.0 / 7.0;
                let bound = 5.0 * 9.0 / 7.0 * (5.0 * SCALE[i][i] * SCALE[j][j] / N as f64).sqrt();
                assert!((got - want).abs() < bound, "{arguments}: covariance {got}, want {want}");
            }
        }
    }
}

/// Areas with their values, and their borders.
fn map(areas: &str, borders: &str) -> Inputs {
    let file = |table: &str, text: String| vic::data::DataFile {
        table: Some(table.into()),
        name: format!("{table}.csv"),
        bytes: text.into_bytes(),
    };
    let files = vec![file("areas", format!("name,y\n{areas}")), file("borders", format!("a,b\n{borders}"))];
    Inputs { files, sets: vec![] }
}

/// The proper autoregression of the language's reference, for a chain of three areas: with `rho` = 1/2 and scale 1 its
/// precision is [[1, -½, 0], [-½, 3/2, -½], [0, -½, 1]], whose determinant is 1.
#[test]
fn a_precision_written_by_pairs() {
    let model = "data areas { name: key, y: real }\ndata borders { a, b: areas }\nlatent rho ~ Uniform(0, 1)\n\
                 let W[i in areas, j in areas] =\
                 sum((if (a == i and b == j) or (a == j and b == i) then 1 else 0) over borders)\n\
                 let m[i in areas] = sum(W[i, j] over j in areas)\n\
                 let Q[i in areas, j in areas] = if i == j then rho * m[i] + 1 - rho else -rho * W[i, j]\n\
                 observe y over areas ~ MvNormal(0, precision: Q)\n";
    let compiled = compile(model, &map("n,1\ns,-2\ne,0.5\n", "s,n\ns,e\n"));
    // yᵀ Q y = 1 + 6 + 0.25 - (1)(-2) - (-2)(0.5)
    let form = 1.0 + 6.0 + 0.25 + 2.0 + 1.0;
    let want = -0.5 * form - 1.5 * (2.0 * std::f64::consts::PI).ln() + 0.25f64.ln();
    close(checked_value(&compiled, &[0.0]), want, "a proper autoregression");
}

/// The sum over pairs of neighbours, and a normalisation per dimension of what sums to 0.
#[test]
fn neighbours_are_alike() {
    let model = "data areas { name: key, y: real }\ndata borders { a, b: areas }\nlatent s ~ HalfNormal(1)\n\
                 latent phi over areas ~ ICAR(s, a, b)\nobserve y ~ Normal(phi, 0.5)\n";
    let (y, pairs) = ([0.4, -1.0, 0.3, 0.8], [(0, 1), (1, 2), (2, 3), (3, 0), (0, 2)]);
    let name = |i: usize| ["n", "e", "s", "w"][i];
    let areas: String = y.iter().enumerate().map(|(i, y)| format!("{},{y}\n", name(i))).collect();
    let borders: String = pairs.iter().map(|(a, b)| format!("{},{}\n", name(*a), name(*b))).collect();
    let compiled = compile(model, &map(&areas, &borders));
    let theta = [-0.4, 0.5, -0.9, 0.3];
    let got = checked_value(&compiled, &theta);
    let id = (0u32..).map(vic::hir::VarId).find(|v| compiled.hir.var(*v).name == "phi").expect("a latent phi");
    let mut reporter = compiled.model.reporter();
    reporter.run(&theta);
    let phi = reporter.buffer(compiled.layout.buffer(id).expect("phi is reported"));
    let length: f64 = theta[1..].iter().map(|u| u * u).sum();
    close(phi.iter().map(|x| x * x).sum(), length, "the length of phi");
    let s = (-0.4f64).exp();
    let half_normal = -0.5 * s * s + 0.5 * (2.0 / std::f64::consts::PI).ln() - 0.4;
    let prior: f64 = pairs.iter().map(|(a, b)| -0.5 * ((phi[*a] - phi[*b]) / s).powi(2)).sum::<f64>()
        - 3.0 * (s.ln() + 0.5 * (2.0 * std::f64::consts::PI).ln());
    let likelihood: f64 = y.iter().zip(phi).map(|(y, m)| standard_normal((y - m) / 0.5) - 0.5f64.ln()).sum();
    close(got, half_normal + prior + likelihood, "ICAR");
}

#[test]
fn random_walks() {
    let model = "data rows { g: category, y: real }\nplate k = 4\nlatent s ~ LogNormal(0, 1)\n\
                 latent w[g] over k ~ GaussianRandomWalk(0.5, 2, s)\nobserve y ~ Normal(sum(w[g] over k), 1)\n";
    let compiled = compile(model, &support::csv("g,y\na,0.3\nb,-1\n"));
    let theta = [0.3, 0.1, -0.4, 0.8, 0.2, -0.3, 1.1, 0.6, -0.9];
    let s = 0.3f64.exp();
    // Groups run fastest.
    let walk = |g: usize| {
        let w: Vec<f64> = (0..4).map(|k| theta[1 + g + 2 * k]).collect();
        let steps: f64 = w.windows(2).map(|p| standard_normal((p[1] - p[0]) / s) - s.ln()).sum();
        standard_normal((w[0] - 0.5) / 2.0) - 2f64.ln() + steps
    };
    let total = |g: usize| (0..4).map(|k| theta[1 + g + 2 * k]).sum::<f64>();
    // A LogNormal scale on its log is normal.
    let want =
        standard_normal(0.3) + walk(0) + walk(1) + standard_normal(0.3 - total(0)) + standard_normal(-1.0 - total(1));
    close(checked_value(&compiled, &theta), want, "a random walk per group");

    const N: usize = 20_000;
    let model =
        "data rows { y: real[k] from [\"a\", \"b\", \"c\"] }\nobserve y over k ~ GaussianRandomWalk(1, 2, 0.5)\n";
    let csv = drawn(model, &Inputs::default(), Some(N), 6);
    for (k, variance) in [4.0f64, 4.25, 4.5].into_iter().enumerate() {
        let x: Vec<f64> = csv.rows.iter().map(|r| r[k].parse::<f64>().expect("a number") - 1.0).collect();
        let (mean, square) = (x.iter().sum::<f64>() / N as f64, x.iter().map(|x| x * x).sum::<f64>() / N as f64);
        // Five standard errors of a mean and of a variance of normals.
        assert!(mean.abs() < 5.0 * (variance / N as f64).sqrt(), "mean of cell {k}: {mean}");
        assert!((square - variance).abs() < 5.0 * variance * (2.0 / N as f64).sqrt(), "variance of cell {k}: {square}");
    }
}
