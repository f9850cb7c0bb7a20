//! Empty cells of discrete columns: the log joint against the sum over all ways to fill them, each fitted as a complete
//! file, to 1e-10.

use vic::driver::FitRequest;
use vic::infer::{GuideKind, Stream, Target};
use vic::simulate::{Rows, simulate};

use crate::support;

const BOOL: &[&str] = &["0", "1"];
const LEVEL: &[&str] = &["low", "mid", "high"];

/// Fill the cells `?` of a CSV text by values, in order.
fn filled(csv: &str, values: &[&str]) -> String {
    let mut parts = csv.split('?');
    let first = parts.next().expect("a text has a first part").to_string();
    first + &parts.zip(values).map(|(part, value)| format!("{value}{part}")).collect::<String>()
}

/// `values`: of each `?`, in the order of the file. Gives the log joint of the complete files at the same place, by
/// combination, the first cell running fastest.
fn enumerated(model: &str, csv: &str, values: &[&'static [&'static str]]) -> Vec<f64> {
    let holes = support::compile(model, &support::csv(&csv.replace('?', "")));
    let mut stream = Stream::new(7, "test", "theta");
    let theta: Vec<f64> = (0..holes.layout.dim()).map(|_| stream.normal() * 0.7).collect();
    let value = support::checked_value(&holes, &theta);
    let count: usize = values.iter().map(|v| v.len()).product();
    let terms: Vec<f64> = (0..count)
        .map(|mut n| {
            let one = |v: &&'static [&'static str]| {
                let at = n % v.len();
                n /= v.len();
                v[at]
            };
            let chosen: Vec<&str> = values.iter().map(one).collect();
            let whole = support::compile(&model.replace('?', ""), &support::csv(&filled(csv, &chosen)));
            whole.model.evaluator().value(&theta)
        })
        .collect();
    let max = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let want = max + terms.iter().map(|t| (t - max).exp()).sum::<f64>().ln();
    assert!((value - want).abs() <= 1e-10 * want.abs().max(1.0), "{model}\n{value} is not {want}");
    terms
}

/// A truth value, a level and a count with empty cells, two of them in one row, with a model that reads the others.
#[test]
fn empty_cells_are_summed_out() {
    let model = "data people { age: real, smoker: bool?, dose: category? [\"low\", \"mid\", \"high\"], trials: int, hits: int?, y: real }\n\
                 latent a, b, c ~ Normal(0, 1)\nlatent e[dose] ~ Normal(0, 1)\nlatent s ~ HalfNormal(1)\n\
                 observe smoker ~ Bernoulli(logit: a + b * age)\nobserve dose ~ Categorical(logit: e)\n\
                 let risk = if smoker then 0.5 else -0.25\nobserve hits ~ Binomial(trials, logit: c + risk)\n\
                 observe y ~ Normal(a * smoker + e[dose] + c * hits, s)\n";
    let csv = "age,smoker,dose,trials,hits,y\n1,1,low,3,2,0.5\n0.5,?,mid,2,?,1\n-1,0,?,2,1,-1\n0.25,?,?,1,0,2\n\
               2,1,high,3,2,0\n0.1,0,low,2,2,-0.5\n";
    let count: &[&str] = &["0", "1", "2"];
    enumerated(model, csv, &[BOOL, count, LEVEL, BOOL, LEVEL]);
}

/// Through a key, and beside a discrete latent: a spouse's cell may be empty, and rows have classes.
#[test]
fn empty_cells_beside_discrete_latents() {
    let model = "data people { smoker: bool?, ill: bool?, y: real }\nlatent a, b ~ Normal(0, 1)\nplate class = 2\n\
                 latent m[class] ~ Normal(0, 1)\nlatent p over class ~ Dirichlet(1)\nlatent z[people]: class ~ Categorical(p)\n\
                 observe smoker ~ Bernoulli(logit: a)\nobserve ill ~ Bernoulli(logit: b + smoker)\n\
                 observe y ~ Normal(m[z] + a * smoker + b * ill, 1)\n";
    let csv = "smoker,ill,y\n?,?,1\n1,?,0.5\n?,0,-1\n0,1,2\n";
    enumerated(model, csv, &[BOOL; 4]);
}

/// A column that nothing but its own model reads is left out where it is empty: the sum of its probabilities is 1.
#[test]
fn empty_outcomes_are_left_out() {
    let model = "data people { x: real, ill: bool?, grade: category? [\"low\", \"mid\", \"high\"] }\n\
                 latent a, b ~ Normal(0, 1)\nlatent e[grade] ~ Normal(0, 1)\n\
                 observe ill ~ Bernoulli(logit: a + b * x)\nobserve grade ~ Categorical(logit: e)\n";
    enumerated(model, "x,ill,grade\n1,1,mid\n2,?,?\n-1,0,low\n0.5,?,high\n", &[BOOL, LEVEL, BOOL]);
}

/// Without empty cells such a column is data, and nothing is reported of it.
#[test]
fn a_column_without_empty_cells_is_data() {
    let model = |mark: &str| {
        format!(
            "data d {{ s: bool{mark}, y: real }}\nlatent a ~ Normal(0, 1)\nobserve s ~ Bernoulli(logit: a)\n\
             observe y ~ Normal(a * s, 1)\n"
        )
    };
    let csv = support::csv("s,y\n1,0.5\n0,-1\n");
    let (with, without) = (support::compile(&model("?"), &csv), support::compile(&model(""), &csv));
    let (x, y) = (support::checked_value(&with, &[0.3]), support::checked_value(&without, &[0.3]));
    assert!((x - y).abs() < 1e-12 * x.abs(), "{x} {y}");
    assert!(support::fit(&with, &FitRequest::default()).discrete.is_empty());
}

/// A count without an end takes that of its column.
#[test]
fn counts_end_with_their_column() {
    let model = "data rows { n: int? in [0, 60], y: real }\nlatent a ~ Normal(0, 1)\nobserve n ~ Poisson(2)\n\
                 observe y ~ Normal(a * n, 1)\n";
    let compiled = support::compile(model, &support::csv("n,y\n3,1\n,2\n"));
    let a = 0.4_f64;
    let normal = |x: f64| -0.5 * x * x - 0.918_938_533_204_672_8;
    let mut log_factorial = 0.0;
    let mut total = 0.0;
    for n in 0..=60 {
        log_factorial += if n > 0 { f64::from(n).ln() } else { 0.0 };
        total += (f64::from(n) * 2.0_f64.ln() - 2.0 - log_factorial + normal(2.0 - a * f64::from(n))).exp();
    }
    let want = normal(a) + 3.0 * 2.0_f64.ln() - 2.0 - 6.0_f64.ln() + normal(1.0 - 3.0 * a) + total.ln();
    let got = support::checked_value(&compiled, &[a]);
    assert!((got - want).abs() < 1e-10 * want.abs(), "{got} {want}");
}

/// And without one, all that have mass, or stand in the file where there is next to none.
#[test]
fn counts_end_with_their_prior_or_their_data() {
    let model = "data rows { n: int?, y: real }\nlatent a ~ Normal(0, 1)\nobserve n ~ Poisson(2)\n\
                 observe y ~ Normal(a * n, 10)\n";
    let cut = model.replace("int?", "int? in [0, 80]");
    let csv = support::csv("n,y\n3,1\n70,5\n,2\n");
    let (one, two) = (support::compile(model, &csv), support::compile(&cut, &csv));
    let (x, y) = (support::checked_value(&one, &[0.2]), support::checked_value(&two, &[0.2]));
    assert!(x.is_finite() && (x - y).abs() < 1e-9 * y.abs(), "{x} {y}");
}

/// The textbook model on people of its own making, a quarter of whose cells are lost: the fit is where the truth is, and
/// says of the lost cells what is known of them.
#[test]
fn the_textbook_model_is_recovered() {
    let model = support::read("tests/models/textbook/missing_covariate.vi") + "report share = mean(smoker)\n";
    let complete = model.replace('?', "");
    let mut session = vic::driver::Session::default();
    let hir = vic::driver::check(&mut session, "m.vi", &complete).hir;
    let mut stream = Stream::new(3, "test", "people");
    let n = 200;
    let ages: String = (0..n).map(|_| format!("{:.1}\n", 50.0 + 12.0 * stream.normal())).collect();
    let truth = [
        ("a0", 1.0),
        ("a1", 0.5),
        ("g0", -0.5),
        ("g1", 0.6),
        ("b0", -1.0),
        ("b_bmi", 0.8),
        ("b_smoke", 1.5),
        ("s", 3.0),
    ];
    let inputs = vic::data::Inputs {
        sets: truth.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
        ..support::csv(&format!("age\n{ages}"))
    };
    let mut diags = vic::diag::Diags::default();
    let drawn = simulate(&hir, &inputs, &Rows::default(), 5, &mut diags).expect("drawn");
    let mut table = drawn.tables[0].1.clone();
    let (bmi, smoker) = (table.place("bmi").expect("drawn"), table.place("smoker").expect("drawn"));
    let mut lost = vec![];
    for row in &mut table.rows {
        for column in [bmi, smoker] {
            if stream.uniform() < 0.25 {
                if column == smoker {
                    lost.push(row[column] == "1" || row[column] == "true");
                }
                row[column] = String::new();
            }
        }
    }
    let compiled = support::compile(&model, &support::csv(&table.text()));
    let request = FitRequest { guide: Some(GuideKind::MeanField), starts: Some(1), ..FitRequest::default() };
    let report = support::fit(&compiled, &request);
    let got = support::summaries(&report);
    for (name, value) in truth {
        let (mean, sd) = got[name];
        // The posterior of 200 rows covers the truth: 8 parameters within 4 sd, a mean-field sd being up to half too small.
        assert!((mean - value).abs() < 6.0 * sd && sd < 1.0, "{name}: {mean} ± {sd}, made with {value}");
    }
    let z = report.discrete.iter().find(|z| z.name == "smoker").expect("reported");
    assert_eq!((z.cells(), z.dims[0].labels[0].starts_with("row ")), (lost.len(), true));
    // About 50 cells: the probabilities add up to the number of smokers within 4 sd of a count, and are higher for them.
    let p: Vec<f64> = (0..z.cells()).map(|c| z.probability(c, 1)).collect();
    let smokers = lost.iter().filter(|s| **s).count() as f64;
    let spread: f64 = p.iter().map(|p| p * (1.0 - p)).sum::<f64>().sqrt();
    assert!((p.iter().sum::<f64>() - smokers).abs() < 4.0 * spread, "{} {smokers}", p.iter().sum::<f64>());
    // What is reported of the whole column counts the lost cells by draws of them: 4000 draws of 50 cells.
    let known = table.rows.iter().filter(|r| ["1", "true"].contains(&r[smoker].as_str())).count() as f64;
    let share = (known + p.iter().sum::<f64>()) / table.rows.len() as f64;
    assert!((got["share"].0 - share).abs() < 0.003, "{:?} {share}", got["share"]);
    let mean = |of: bool| {
        let own: Vec<f64> = p.iter().zip(&lost).filter(|(_, s)| **s == of).map(|(p, _)| *p).collect();
        own.iter().sum::<f64>() / own.len() as f64
    };
    assert!(mean(true) > mean(false) + 0.1, "{} {}", mean(true), mean(false));
}
