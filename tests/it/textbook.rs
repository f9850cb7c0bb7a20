//! Models of a textbook fit data that they made themselves, and find the values that made them.

use std::collections::HashMap;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand_distr::{Distribution, StandardNormal};

use super::support::{compile, csv, fit, read, summaries};
use vic::data::Inputs;
use vic::diag::Diags;
use vic::driver::{self, FitRequest, Session};
use vic::simulate::{Csv, Predictor, Rows, Simulation, simulate};

fn made(model: &str, given: Option<&str>, rows: usize, sets: &[(&str, &str)], seed: u64) -> Simulation {
    let mut session = Session::default();
    let hir = driver::check(&mut session, "model.vi", model).hir;
    assert!(!session.diags.has_errors());
    let mut inputs = given.map_or(Inputs::default(), csv);
    inputs.sets = sets.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
    let every = given.is_none().then_some(rows);
    let mut diags = Diags::default();
    let made = simulate(&hir, &inputs, &Rows { every, of: vec![] }, seed, &mut diags);
    made.unwrap_or_else(|| panic!("{:?}", diags.list.iter().map(|d| &d.message).collect::<Vec<_>>()))
}

fn request() -> FitRequest {
    FitRequest { starts: Some(1), ..FitRequest::default() }
}

/// Where the true values lie in the posterior: standardised, their squares average 1, and hardly any is beyond 4. Several
/// seeds were tried when the bounds were set; a wrong likelihood or prior puts hyperparameters tens of sds away.
fn recovered(truth: &HashMap<String, f64>, found: &HashMap<String, (f64, f64)>, names: impl Fn(&str) -> bool) {
    let z: Vec<(f64, &String)> = truth
        .iter()
        .filter(|(name, _)| names(name))
        .map(|(name, x)| ((x - found[name].0) / found[name].1, name))
        .collect();
    assert!(!z.is_empty());
    let (worst, name) = z.iter().copied().max_by(|a, b| a.0.abs().total_cmp(&b.0.abs())).expect("some");
    let squares = z.iter().map(|z| z.0 * z.0).sum::<f64>() / z.len() as f64;
    assert!(worst.abs() < 4.0, "{name} is {worst} sds off: {} and {:?}", truth[name], found[name]);
    assert!(squares < 1.0 + 4.0 * (2.0 / z.len() as f64).sqrt(), "mean square {squares} over {} values", z.len());
}

#[test]
fn item_responses() {
    let model = read("tests/models/textbook/irt_2pl.vi");
    let answers: String = (0..30).flat_map(|p| (0..10).map(move |i| format!("p{p},i{i}\n"))).collect();
    let s = made(&model, Some(&format!("person,item\n{answers}")), 0, &[("m", "0.5"), ("s", "1")], 1);
    let compiled = compile(&model, &csv(&s.tables[0].1.text()));
    let found = summaries(&fit(&compiled, &request()));
    recovered(&s.truth.into_iter().collect(), &found, |_| true);
}

/// Columns of standard normal covariates.
fn covariates(names: &str, rows: usize, seed: u64) -> String {
    let mut rng = StdRng::seed_from_u64(seed);
    let width = names.split(',').count();
    let mut text = format!("{names}\n");
    for _ in 0..rows {
        let row: Vec<String> =
            (0..width).map(|_| StandardNormal.sample(&mut rng)).map(|x: f64| x.to_string()).collect();
        text += &(row.join(",") + "\n");
    }
    text
}

#[test]
fn an_ordered_outcome() {
    let model = read("tests/models/textbook/ordinal.vi");
    for (model, seeds) in [(model.clone(), 1..3), (model.replace("OrderedLogistic", "OrderedProbit"), 3..4)] {
        for seed in seeds {
            let s = made(&model, Some(&covariates("age,income", 400, seed)), 0, &[], seed);
            let compiled = compile(&model, &csv(&s.tables[0].1.text()));
            let found = summaries(&fit(&compiled, &request()));
            recovered(&s.truth.into_iter().collect(), &found, |_| true);
        }
    }
}

#[test]
fn a_random_walk_with_a_season() {
    let model = read("tests/models/textbook/random_walk_season.vi");
    let months: String = (0..120).map(|i| format!("{}-{:02}-01\n", 2010 + i / 12, i % 12 + 1)).collect();
    let sets = [("s_level", "0.3"), ("s_season", "1"), ("s_y", "0.5")];
    for seed in 1..3 {
        let s = made(&model, Some(&format!("date\n{months}")), 0, &sets, seed);
        let compiled = compile(&model, &csv(&s.tables[0].1.text()));
        let found = summaries(&fit(&compiled, &request()));
        recovered(&s.truth.into_iter().collect(), &found, |_| true);
    }
}

#[test]
fn a_distribution_of_ones_own() {
    let model = read("tests/models/textbook/user_dist.vi");
    for seed in 1..3 {
        let s = made(&model, None, 200, &[], seed);
        let compiled = compile(&model, &csv(&s.tables[0].1.text()));
        let found = summaries(&fit(&compiled, &request()));
        recovered(&s.truth.into_iter().collect(), &found, |_| true);
    }
}

/// Covariates without structure.
fn houses(n: usize) -> String {
    let row = |i: usize| format!("{},{},{}\n", (i * 37) % 101, (i * 53) % 89, (i * 29) % 7);
    format!("area,age,rooms\n{}", (0..n).map(row).collect::<String>())
}

/// The model observes `standardize(y)`, which does not say which `y` would give it; the data come from the same model of `y`
/// itself, whose coefficients are then those of the standardised values times their standard deviation.
#[test]
fn a_function_over_a_plate() {
    let model = read("tests/models/textbook/fn_over_plate.vi");
    let plain = model.replace("observe standardize(y)", "observe y");
    assert_ne!(plain, model);
    let s = made(&plain, Some(&houses(120)), 0, &[], 5);
    let y: Vec<f64> = {
        let csv = &s.tables[0].1;
        let at = csv.place("y").expect("drawn");
        csv.rows.iter().map(|r| r[at].parse().expect("a number")).collect()
    };
    let mean = y.iter().sum::<f64>() / y.len() as f64;
    let sd = (y.iter().map(|y| (y - mean).powi(2)).sum::<f64>() / (y.len() - 1) as f64).sqrt();
    let standard = |(name, x): (String, f64)| {
        let x = if name == "a" { (x - mean) / sd } else { x / sd };
        (name, x)
    };
    let truth = s.truth.into_iter().map(standard).collect();
    let compiled = compile(&model, &csv(&s.tables[0].1.text()));
    let found = summaries(&fit(&compiled, &request()));
    recovered(&truth, &found, |_| true);
}

/// The weights of a net can change places, so what is recovered is what it computes: the noise, and the function up to it.
#[test]
fn a_bayesian_net() {
    let model = read("tests/models/textbook/bayesian_nn.vi").replace("hidden = 20", "hidden = 3");
    let s = made(&model, Some(&houses(50)), 0, &[("sigma", "0.3"), ("tau", "0.7")], 2);
    let inputs = csv(&s.tables[0].1.text());
    let compiled = compile(&model, &inputs);
    let report = fit(&compiled, &request());
    recovered(&s.truth.into_iter().collect(), &summaries(&report), |name| name == "sigma");
    let draws = |v: &vic::report::ReportVar| {
        (0..v.cells()).map(|c| (v.cell_name(c), v.cell(c, report.draws).to_vec())).collect::<Vec<_>>()
    };
    let posterior: HashMap<String, Vec<f64>> = report.vars.iter().flat_map(draws).collect();
    let predictor =
        Predictor { hir: &compiled.hir, fitted: &inputs, new: &[], posterior: &posterior, draws: 200, seed: 1 };
    let made = predictor.predict(&mut Diags::default()).expect("predicts");
    let table = Csv::read(&inputs.files[0].bytes).expect("CSV");
    let at = table.place("y").expect("drawn");
    let y: Vec<f64> = table.rows.iter().map(|r| r[at].parse().expect("a number")).collect();
    let error = |c: usize| (made.vars[0].cell(c, made.draws).iter().sum::<f64>() / made.draws as f64 - y[c]).powi(2);
    let rms = ((0..y.len()).map(error).sum::<f64>() / y.len() as f64).sqrt();
    // Less than the noise, since the net also follows it a little; far below the spread of y.
    assert!(rms > 0.15 && rms < 0.36, "predictions are {rms} from the data, whose noise is 0.3");
}

/// One score per person behind five indicators, with cells that the survey left empty.
#[test]
fn a_score_behind_indicators() {
    let model = read("tests/models/textbook/quality_of_life.vi");
    for seed in 1..3 {
        let mut s = made(&model, None, 150, &[], seed);
        let table = &mut s.tables[0].1;
        let items: Vec<usize> =
            ["health", "income", "safety", "friends", "sleep"].iter().map(|n| table.place(n).expect("drawn")).collect();
        let (mut empty, cells) = (0, table.rows.len() * items.len());
        for (r, row) in table.rows.iter_mut().enumerate() {
            for (i, &at) in items.iter().enumerate() {
                if (r * 7 + i * 3) % 11 == 0 {
                    row[at].clear();
                    empty += 1;
                }
            }
        }
        assert!(empty * 12 > cells, "{empty} of {cells} cells are empty");
        let compiled = compile(&model, &csv(&table.text()));
        let found = summaries(&fit(&compiled, &request()));
        let truth: HashMap<String, f64> = s.truth.into_iter().collect();
        recovered(&truth, &found, |name| !name.starts_with("q["));
        // The scores are many: enough for a check of their spread about the truth, too.
        recovered(&truth, &found, |name| name.starts_with("q["));
    }
}

/// Three of twelve coefficients matter. Under the library's sparse priors the others are shrunk to less than half of what
/// a normal prior leaves of them, on average; those that matter are found.
#[test]
fn sparse_coefficients() {
    const B: [f64; 3] = [2.0, -1.5, 1.0];
    let names: Vec<String> = (1..=13).map(|i| format!("x{i}")).collect();
    let table = Csv::read(covariates(&names.join(","), 60, 9).as_bytes()).expect("CSV");
    let number = |text: &String| text.parse::<f64>().expect("a number");
    // The last column is the noise.
    let row = |r: &Vec<String>| {
        let x: Vec<f64> = r.iter().map(number).collect();
        let y = x.iter().zip(B).map(|(x, b)| x * b).sum::<f64>() + x[12];
        format!("{y},{}\n", r[..12].join(","))
    };
    let data = format!("y,{}\n{}", names[..12].join(","), table.rows.iter().map(row).collect::<String>());
    let model = |prior: &str| {
        format!(
            "data rows {{ y: real, x: real[f] from \"x*\" }}\nlatent sigma ~ HalfNormal(2)\n{prior}\n\
             observe y ~ Normal(sum(x * b over f), sigma)\n"
        )
    };
    let fitted = |prior: &str| summaries(&fit(&compile(&model(prior), &csv(&data)), &request()));
    let nulls = |found: &HashMap<String, (f64, f64)>| (4..13).map(|i| found[&format!("b[{i}]")].0.abs()).sum::<f64>();
    let wide = nulls(&fitted("latent b[f] ~ Normal(0, 2)"));
    for prior in [
        "latent tau ~ HalfCauchy(horseshoe_scale[f](3, 1, 60))\nlatent lambda[f] ~ HalfCauchy(1)\n\
         latent b[f] ~ Normal(0, horseshoe(lambda, tau)) @centered",
        "latent tau ~ HalfCauchy(horseshoe_scale[f](3, 1, 60))\nlatent lambda[f] ~ HalfCauchy(1)\n\
         latent b[f] ~ Normal(0, regularised_horseshoe(lambda, tau, 3)) @centered",
        "latent r2 ~ Beta(1, 1)\nlatent phi over f ~ Dirichlet(0.3)\nlatent b[f] ~ Normal(0, r2d2(phi, r2, sigma))",
    ] {
        let found = fitted(prior);
        for (i, b) in B.iter().enumerate() {
            let (mean, sd) = found[&format!("b[{}]", i + 1)];
            assert!((mean - b).abs() < 4.0 * sd, "{prior}: {mean} ± {sd}, made with {b}");
        }
        let left = nulls(&found);
        assert!(left < 0.5 * wide, "{prior}: {left} of {wide} is left");
    }
}
