//! Data sets drawn from a model, and predictions from a fit, against what is known exactly.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use statrs::distribution::{Beta, ContinuousCDF, Gamma, Normal};
use vic::data::{DataFile, Inputs};
use vic::driver::FitRequest;
use vic::hir::Hir;
use vic::simulate::{Predictor, Rows, Simulation, simulate};

use super::support::{self, checked};

fn made(hir: &Hir, inputs: &Inputs, rows: usize, seed: u64) -> Simulation {
    let mut diags = vic::diag::Diags::default();
    let every = (rows > 0).then_some(rows);
    simulate(hir, inputs, &Rows { every, of: vec![] }, seed, &mut diags)
        .unwrap_or_else(|| panic!("{:?}", diags.list.iter().map(|d| &d.message).collect::<Vec<_>>()))
}

fn column(s: &Simulation, name: &str) -> Vec<f64> {
    let csv = &s.tables[0].1;
    let at = csv.place(name).expect("a column");
    csv.rows.iter().map(|r| r[at].parse().expect("a number")).collect()
}

/// Where the value that made the data stands in their exact posterior is uniform on (0, 1), over priors and data (Cook,
/// Gelman & Rubin 2006; Talts et al. 2018). 1000 data sets in 20 bins: chi-squared with 19 degrees of freedom exceeds
/// 43.82 with probability 1e-3.
fn calibrated(model: &str, rows: usize, place: impl Fn(f64, &[f64]) -> f64) {
    let hir = checked(model);
    let mut bins = [0.0; 20];
    for seed in 0..1000 {
        let s = made(&hir, &Inputs::default(), rows, seed);
        let u = place(s.truth[0].1, &column(&s, "y"));
        bins[((u * 20.0) as usize).min(19)] += 1.0;
    }
    let chi2: f64 = bins.iter().map(|n: &f64| (n - 50.0).powi(2) / 50.0).sum();
    assert!(chi2 < 43.82, "{model}\nchi-squared {chi2}, bins {bins:?}");
}

#[test]
fn normal_means_are_calibrated() {
    let model = "data d { y: real }\nlatent mu ~ Normal(1, 2)\nobserve y ~ Normal(mu, 3)\n";
    calibrated(model, 10, |mu, y| {
        let precision = 1.0 / 4.0 + y.len() as f64 / 9.0;
        let mean = (1.0 / 4.0 + y.iter().sum::<f64>() / 9.0) / precision;
        Normal::new(mean, precision.sqrt().recip()).expect("proper").cdf(mu)
    });
}

#[test]
fn normal_precisions_are_calibrated() {
    let model = "data d { y: real }\nlatent tau ~ Gamma(2, 1.5)\nobserve y ~ Normal(4, precision: tau)\n";
    calibrated(model, 8, |tau, y| {
        let squares: f64 = y.iter().map(|y| (y - 4.0).powi(2)).sum();
        Gamma::new(2.0 + y.len() as f64 / 2.0, 1.5 + squares / 2.0).expect("proper").cdf(tau)
    });
}

#[test]
fn poisson_rates_are_calibrated() {
    let model = "data d { y: int }\nlatent rate ~ Gamma(3, 0.5)\nobserve y ~ Poisson(rate)\n";
    calibrated(model, 6, |rate, y| {
        Gamma::new(3.0 + y.iter().sum::<f64>(), 0.5 + y.len() as f64).expect("proper").cdf(rate)
    });
}

#[test]
fn probabilities_are_calibrated() {
    let model = "data d { y: bool }\nlatent p ~ Beta(2, 3)\nobserve y ~ Bernoulli(p)\n";
    calibrated(model, 12, |p, y| {
        let ones: f64 = y.iter().sum();
        Beta::new(2.0 + ones, 3.0 + y.len() as f64 - ones).expect("proper").cdf(p)
    });
}

/// Draws of the whole prior predictive, statistic by statistic: five standard errors, so that one in two million tests
/// fails by chance.
fn moments(model: &str, rows: usize, mean: f64, sd: f64, of: impl Fn(&Simulation) -> f64) {
    let hir = checked(model);
    let n = 2000;
    let x: Vec<f64> = (0..n).map(|seed| of(&made(&hir, &Inputs::default(), rows, seed))).collect();
    let found = x.iter().sum::<f64>() / n as f64;
    assert!((found - mean).abs() < 5.0 * sd / (n as f64).sqrt(), "{model}: mean {found}, not {mean}");
}

#[test]
fn cut_and_ordered_priors_are_drawn_as_their_types_say() {
    // The mean of a normal above 1 is its density at 1 over its tail: 0.24197 / 0.15866.
    let cut = "data d { y: real }\nlatent a: real > 1 ~ Normal(0, 1)\nobserve y ~ Normal(a, 1)\n";
    moments(cut, 1, 1.52514, 0.446, |s| s.truth[0].1);
    // The smaller of two standard normals has mean -1 / sqrt(pi).
    let ordered =
        "data d { y: real }\nplate k = 2\nlatent m over k: ordered ~ Normal(0, 1)\nobserve y ~ Normal(sum(m), 1)\n";
    moments(ordered, 1, -0.56419, 0.826, |s| s.truth[0].1);
    // Of Normal(0, 1) and Normal(3, 1) kept only in order: E[a | a < b], b - a ~ Normal(3, sqrt 2).
    let differs = "data d { y: real }\nplate k = 2\nlatent m over k: ordered ~ Normal([0, 3], 1)\nobserve y ~ Normal(sum(m), 1)\n";
    let (phi, tail) = (0.042045, 0.983053);
    moments(differs, 1, -phi / tail / std::f64::consts::SQRT_2, 1.0, |s| s.truth[0].1);
}

#[test]
fn values_can_be_given() {
    let hir = checked(
        "const K = 2\ndata d { y: real }\nplate k = K\nlatent a[k] ~ Normal(0, 1)\nlatent s ~ HalfNormal(1)\nobserve y ~ Normal(sum(a), s)\nreport twice = 2 * s\n",
    );
    let set = |name: &str, value: &str| (name.to_string(), value.to_string());
    let sets = vec![set("a[2]", "7"), set("s", "0.5"), set("K", "3")];
    let inputs = Inputs { files: vec![], sets };
    let s = made(&hir, &inputs, 4, 1);
    let truth: HashMap<String, f64> = s.truth.iter().cloned().collect();
    assert_eq!((truth["a[2]"], truth["s"], truth["twice"]), (7.0, 0.5, 1.0));
    assert!(truth["a[1]"] != truth["a[3]"] && s.tables[0].1.rows.len() == 4);
    assert_eq!(s.tables[0].1, made(&hir, &inputs, 4, 1).tables[0].1, "the same seed gives the same data");
    assert_ne!(s.tables[0].1, made(&hir, &inputs, 4, 2).tables[0].1);
}

/// A label is looked up where it stands, not read as a number.
#[test]
fn labels_pick_their_cells() {
    let hir = checked(
        "data d { y: real }\nplate term = [\"low\", \"7\", \"high\"]\nlatent a[term] ~ Normal(0, 1)\n\
         let b = a + 1\nobserve y ~ Normal(10 * a[\"high\"] + 100 * b[\"7\"], 1e-9)\n",
    );
    let sets = [("a[low]", "1"), ("a[7]", "2"), ("a[high]", "3")].map(|(k, v)| (k.to_string(), v.to_string())).to_vec();
    let s = made(&hir, &Inputs { files: vec![], sets }, 2, 1);
    assert!(column(&s, "y").iter().all(|y| (y - 330.0).abs() < 1e-6), "{:?}", column(&s, "y"));
}

/// A label that only the data could have is missed before anything is drawn.
#[test]
fn labels_that_are_not_there_are_said() {
    let hir = checked("data d { y: real, g: category }\nlatent a[g] ~ Normal(0, 1)\nobserve y ~ Normal(a[\"z\"], 1)\n");
    let mut diags = vic::diag::Diags::default();
    let inputs = support::csv("y,g\n1,p\n2,q\n");
    assert!(simulate(&hir, &inputs, &Rows { every: None, of: vec![] }, 1, &mut diags).is_none());
    assert_eq!(diags.list.iter().map(|d| d.code.id).collect::<Vec<_>>(), ["V0308"]);
}

fn vic(folder: &Path, line: &str) -> String {
    let args: Vec<&str> = line.split(' ').collect();
    let out = Command::new(env!("CARGO_BIN_EXE_vic")).args(&args).current_dir(folder).output().expect("vic starts");
    let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    assert!(out.status.code().is_some_and(|c| c == 0 || c == 3), "{line}\n{text}");
    text
}

/// A model with two tables, categories, keys, vector columns and every type: what is made is read back by a fit.
#[test]
fn what_is_simulated_can_be_fitted_and_predicted() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("writable");
    write(
        "m.vi",
        "data houses {\n  y: real[m] from [\"first, quoted\", \"second\"]\n  n: int\n  b: bool\n  grade: category [\"low\", \"high\"]\n  county: counties\n}\n\
         data counties { name: key, u: real }\n\
         latent a[m] ~ Normal(0, 1)\nlatent r ~ HalfNormal(1)\nlatent w over grade ~ Dirichlet(2)\n\
         latent g[counties] ~ Normal(0, 1)\n\
         observe u ~ Normal(r, 1)\nobserve y ~ Normal(a + g[county], 1)\nobserve n ~ Poisson(exp(g[county]))\n\
         observe b ~ Bernoulli(logit: g[county] + u[county])\nobserve grade ~ Categorical(w)\n",
    );
    let houses: String =
        (0..40).map(|i| format!("{},{}\n", ["A", "B", "C,\"D\""][i % 3].replace("C,\"D\"", "\"C, d\""), i)).collect();
    write("h.csv", &format!("county,id\n{houses}"));
    write("c.csv", "name\nA\nB\n\"C, d\"\n");
    vic(folder.path(), "simulate m.vi houses=h.csv counties=c.csv --out made");
    let text = fs::read_to_string(folder.path().join("made/houses.csv")).expect("written");
    assert!(text.starts_with("county,id,\"first, quoted\",second,n,b,grade\n"), "{text}");
    let truth = fs::read_to_string(folder.path().join("made/truth.csv")).expect("written");
    assert!(truth.contains("\"g[C, d]\",") && truth.contains("\"a[first, quoted]\","), "{truth}");
    vic(folder.path(), "fit m.vi houses=made/houses.csv counties=made/counties.csv --out fit --quiet");
    let shown = vic(folder.path(), "predict m.vi fit --out p.csv --draws 50");
    assert!(shown.contains("grade is high[1]"), "{shown}");
    let draws = fs::read_to_string(folder.path().join("p.csv")).expect("written");
    assert_eq!(draws.lines().count(), 51);
    // A house in a new county.
    write("h2.csv", "county\nA\nE\n");
    write("c2.csv", "name,u\nE,3\n");
    let shown = vic(folder.path(), "predict m.vi fit houses=h2.csv counties=c2.csv --out p2.csv");
    assert!(shown.contains("y[1, first, quoted]") && shown.contains("n[2]") && !shown.contains("n[3]"), "{shown}");
}

/// A new group is drawn from its prior given the hyperparameters, and means over a table stay those of the fit.
#[test]
fn predictions_are_those_of_the_posterior() {
    let model = "data d { x: real, y: real, g: category }\nlatent m ~ Normal(0, 1)\nlatent t ~ HalfNormal(1)\n\
                 latent a[g] ~ Normal(m, t)\nobserve y ~ Normal(a[g] + 10 * (x - mean(x)), 0.5)\n";
    let hir = checked(model);
    let data = |name: &str, text: &str| DataFile { table: None, name: name.into(), bytes: text.as_bytes().to_vec() };
    let fitted = Inputs { files: vec![data("d.csv", "x,y,g\n1,0,p\n3,0,q\n")], sets: vec![] };
    let new = [data("new.csv", "x,g\n2,p\n2,z\n7,q\n")];
    let n = 4000;
    let constant = |x: f64| vec![x; n];
    let posterior: HashMap<String, Vec<f64>> =
        [("m", 5.0), ("t", 2.0), ("a[p]", -1.0), ("a[q]", 1.0)].map(|(k, v)| (k.to_string(), constant(v))).into();
    let predictor = Predictor { hir: &hir, fitted: &fitted, new: &new, posterior: &posterior, draws: n, seed: 3 };
    let mut diags = vic::diag::Diags::default();
    let made = predictor.predict(&mut diags).expect("predicts");
    let var = &made.vars[0];
    assert_eq!((var.cells(), made.draws), (3, n));
    // Five standard errors of a mean and of a standard deviation over 4000 draws.
    for (cell, mean, sd) in [(0, -1.0, 0.5), (1, 5.0, (4.0f64 + 0.25).sqrt()), (2, 51.0, 0.5)] {
        let draws = var.cell(cell, n);
        let found = draws.iter().sum::<f64>() / n as f64;
        let spread = (draws.iter().map(|x| (x - found).powi(2)).sum::<f64>() / n as f64).sqrt();
        assert!((found - mean).abs() < 5.0 * sd / (n as f64).sqrt(), "cell {cell}: {found}, not {mean}");
        assert!((spread / sd - 1.0).abs() < 5.0 / (2.0 * n as f64).sqrt(), "cell {cell}: sd {spread}, not {sd}");
    }
}

/// Fitted rows follow their own class, whose place is known from their data; a new row is of either class, and an empty
/// cell is what its row says.
#[test]
fn predictions_know_the_discrete_latents_of_fitted_rows() {
    let model = "data d { y: real, sick: bool?, x: real }\nplate class = 2\nlatent p over class ~ Dirichlet(1)\n\
                 latent m over class: ordered ~ Normal(0, 10)\nlatent z[d]: class ~ Categorical(p)\n\
                 latent r: real in (0, 1) ~ Uniform(0, 1)\n\
                 observe y ~ Normal(m[z], 1)\nobserve sick ~ Bernoulli(r)\nobserve x ~ Normal(if sick then 100 else 0, 1)\n";
    let hir = checked(model);
    let data = |name: &str, text: &str| DataFile { table: None, name: name.into(), bytes: text.as_bytes().to_vec() };
    let fitted =
        Inputs { files: vec![data("d.csv", "y,sick,x\n20.5,,99\n-20,0,1\n19,,0.5\n-21,1,100\n")], sets: vec![] };
    let n = 2000;
    let posterior: HashMap<String, Vec<f64>> =
        [("p[1]", 0.25), ("p[2]", 0.75), ("m[1]", -20.0), ("m[2]", 20.0), ("r", 0.5)]
            .map(|(k, v)| (k.to_string(), vec![v; n]))
            .into();
    let predicted = |new: &[DataFile]| {
        let predictor = Predictor { hir: &hir, fitted: &fitted, new, posterior: &posterior, draws: n, seed: 3 };
        let mut diags = vic::diag::Diags::default();
        let made = predictor.predict(&mut diags);
        made.unwrap_or_else(|| panic!("{:?}", diags.list.iter().map(|d| &d.message).collect::<Vec<_>>()))
    };
    let made = predicted(&[]);
    let of = |made: &vic::simulate::Prediction, name: &str, row: usize| {
        made.vars.iter().find(|v| v.name == name).expect("predicted").cell(row, n).to_vec()
    };
    // The other class is 40 standard deviations away, the other value of a cell 100. Ten are hardly ever reached.
    for (row, at) in [20.0, -20.0, 20.0, -20.0].into_iter().enumerate() {
        assert!(of(&made, "y", row).iter().all(|y| (y - at).abs() < 10.0), "row {row}");
    }
    for (row, at) in [100.0, 0.0, 0.0, 100.0].into_iter().enumerate() {
        assert!(of(&made, "x", row).iter().all(|x| (x - at).abs() < 10.0), "row {row}");
    }
    // A new row is of the first class with probability a quarter: five standard errors of a share over 2000 draws.
    let made = predicted(&[data("new.csv", "id\n7\n")]);
    let low = of(&made, "y", 0).iter().filter(|y| **y < 0.0).count() as f64 / n as f64;
    assert!((low - 0.25).abs() < 5.0 * (0.25 * 0.75 / n as f64).sqrt(), "{low}");
}

/// Through a fit: the predictive distribution of a conjugate model.
#[test]
fn predictions_of_a_fit_have_the_closed_form() {
    let model = "data d { y: real }\nlatent mu ~ Normal(0, 10)\nobserve y ~ Normal(mu, 2)\n";
    let inputs = support::csv("y\n1\n4\n3\n");
    let compiled = support::compile(model, &inputs);
    let report = support::fit(&compiled, &FitRequest::default());
    let posterior = HashMap::from([("mu".to_string(), report.vars[0].draws.clone())]);
    let hir = checked(model);
    let predictor = Predictor { hir: &hir, fitted: &inputs, new: &[], posterior: &posterior, draws: 4000, seed: 1 };
    let made = predictor.predict(&mut vic::diag::Diags::default()).expect("predicts");
    let precision = 0.01 + 3.0 / 4.0;
    let (mean, sd) = ((8.0 / 4.0) / precision, (1.0 / precision + 4.0f64).sqrt());
    let draws = made.vars[0].cell(1, 4000);
    let found = draws.iter().sum::<f64>() / 4000.0;
    assert!((found - mean).abs() < 5.0 * sd / 4000f64.sqrt(), "{found}, not {mean}");
}

/// Rows that follow from the rows before them, in one statement and in two.
#[test]
fn series_are_drawn_row_by_row() {
    // A stationary series: sd 1 / sqrt(1 - 0.6^2), correlation 0.6; the standard error of the mean over 100 series of 50
    // rows is below 0.03, that of the correlation below 0.02.
    let hir = checked(
        "data d { y: real }\nlatent h[t in d] ~ if first(t) then Normal(0, 1.25) else Normal(0.6 * h[t-1], 1)\nobserve y ~ Normal(h, 0.001)\n",
    );
    let (mut squares, mut products, mut n) = (0.0, 0.0, 0.0);
    for seed in 0..100 {
        let y = column(&made(&hir, &Inputs::default(), 50, seed), "y");
        squares += y.iter().map(|x| x * x).sum::<f64>();
        products += y.windows(2).map(|w| w[0] * w[1]).sum::<f64>() * 50.0 / 49.0;
        n += 50.0;
    }
    assert!((squares / n - 1.5625).abs() < 0.15, "{}", squares / n);
    assert!((products / squares - 0.6).abs() < 0.06, "{}", products / squares);
    // The error of a row enters the mean of the next: what is drawn and what is computed from it take turns.
    let hir = checked(
        "data d { y: real }\nlet e[t in d] = if first(t) then 0 else y[t-1] - 1\nobserve y ~ Normal(e, 0.001)\n",
    );
    let y = column(&made(&hir, &Inputs::default(), 6, 1), "y");
    for (i, y) in y.iter().enumerate() {
        assert!((y + i as f64).abs() < 0.02, "{y} in row {i}");
    }
}

/// A truncated observation is drawn within its ends, also where these are the row before.
#[test]
fn truncated_observations_are_drawn_in_their_range() {
    // The mean of a normal above 1 is 1.52514, its sd 0.446: five standard errors over 4000 rows.
    let above = "data d { y: real }\nlatent m ~ Normal(0, 1)\nobserve y ~ truncated(Normal(m, 1), lower: 1)\n";
    let inputs = Inputs { files: vec![], sets: vec![("m".into(), "0".into())] };
    let y = column(&made(&checked(above), &inputs, 4000, 1), "y");
    let mean = y.iter().sum::<f64>() / 4000.0;
    assert!((mean - 1.52514).abs() < 5.0 * 0.446 / 4000f64.sqrt() && y.iter().all(|y| *y >= 1.0), "{mean}");
    let rising = "data d { y: real }\nlatent m ~ Normal(0, 1)\n\
                  observe y[t in d] ~ truncated(Normal(m, 5), lower: if first(t) then 0 else y[t-1])\n";
    let y = column(&made(&checked(rising), &inputs, 6, 1), "y");
    assert!(y[0] >= 0.0 && y.is_sorted(), "{y:?}");
    // A chain that is cut reads its own past as a location, not as an end.
    let chain = "data d { y: real }\nlatent l ~ Normal(0, 1)\n\
                 latent g[t in d]: real > l ~ Normal(if first(t) then 0 else g[t-1], 1)\nobserve y ~ Normal(g, 0.01)\n";
    let s = made(&checked(chain), &Inputs::default(), 20, 1);
    let l = s.truth.iter().find(|t| t.0 == "l").expect("drawn").1;
    assert!(s.truth.iter().filter(|t| t.0.starts_with("g[")).all(|t| t.1 > l));
}

/// What is observed of a column is drawn, and solved for the column: by the same noise as for the column itself.
#[test]
fn observed_functions_of_a_column_are_solved_for_it() {
    let inputs = support::csv;
    let rows = "x\n1\n2\n4\n8\n";
    let plain = "data d { x: real, y: real }\nlatent m ~ Normal(0, 1)\nobserve y ~ Normal(m + 3, 0.1)\n";
    let z = column(&made(&checked(plain), &inputs(rows), 0, 1), "y");
    type Inverse = fn(f64, f64) -> f64;
    let cases: [(&str, Inverse); 6] = [
        ("log(y)", |z, _| z.exp()),
        ("sqrt(y)", |z, _| z * z),
        ("y / 4", |z, _| 4.0 * z),
        ("log(y / mean(x)) - 1", |z, m| (z + 1.0).exp() * m),
        ("2 - 5 / y", |z, _| 5.0 / (2.0 - z)),
        ("-(y + mean(x)) * 3", |z, m| -z / 3.0 - m),
    ];
    for (target, inverse) in cases {
        let model = plain.replace("observe y", &format!("observe {target}"));
        let s = made(&checked(&model), &inputs(rows), 0, 1);
        for (y, z) in column(&s, "y").iter().zip(&z) {
            let want = inverse(*z, 15.0 / 4.0);
            assert!((y - want).abs() < 1e-12 * want.abs().max(1.0), "{target}: {y}, not {want}");
        }
    }
    for target in ["y - x", "y^2", "(y - mean(y)) / sd(y)"] {
        let mut diags = vic::diag::Diags::default();
        let hir = checked(&plain.replace("observe y", &format!("observe {target}")));
        assert!(simulate(&hir, &inputs(rows), &Rows::default(), 1, &mut diags).is_none());
        assert_eq!(diags.list.iter().map(|d| d.code.id).collect::<Vec<_>>(), ["V0912"], "{target}");
    }
}

/// Observed values beside the tables are written for a fit to read, and do not hinder predictions.
#[test]
fn values_beside_the_tables_are_simulated() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let model = "plate k = [\"a\", \"b\"]\nplate j = 3\ndata d { y: real }\ndata start: real[k, j]\nlatent m[k] ~ Normal(0, 1)\n\
                 observe start[i in k, l in j] ~ Normal(10 * row(i) + row(l) + 0.001 * m[i], 0.001)\n\
                 observe y ~ Normal(m[\"a\"] + start[\"b\", 3], 0.001)\n";
    fs::write(folder.path().join("m.vi"), model).expect("writable");
    vic(folder.path(), "simulate m.vi --rows 4 --set m=1 --out made");
    let json = fs::read_to_string(folder.path().join("made/data.json")).expect("written");
    let value: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    for (i, first) in [10.0, 20.0].into_iter().enumerate() {
        for l in 0..3 {
            let got = value["start"][i][l].as_f64().expect("a number");
            assert!((got - first - (l + 1) as f64).abs() < 0.01, "{json}");
        }
    }
    vic(folder.path(), "fit m.vi made/d.csv made/data.json --out fit --quiet");
    let shown = vic(folder.path(), "predict m.vi fit --draws 20");
    assert!(shown.contains("y[4]   24.0") || shown.contains("y[4]  24.0"), "{shown}");
}
