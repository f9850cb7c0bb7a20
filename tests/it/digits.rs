//! A variational autoencoder of real digits: what it says after its fit of rows that it has not seen.

use std::collections::HashMap;

use vic::data::{DataFile, Inputs};
use vic::diag::Diags;
use vic::driver::rows::{Holes, Question, encode, score};
use vic::driver::{self, FitRequest, Session};
use vic::hir::Hir;
use vic::infer::Stream;

use super::support::{compile, csv, fit, read};

const PIXELS: usize = 64;

fn images(file: &str, n: usize) -> Vec<Vec<f64>> {
    let row = |l: &str| l.split(',').take(PIXELS).map(|c| c.parse().expect("a shade")).collect();
    read(&format!("examples/digits/{file}")).lines().skip(1).take(n).map(row).collect()
}

/// Rows as a file; holes are not a number.
fn table(rows: &[Vec<f64>]) -> String {
    let header = (0..PIXELS).map(|p| format!("p{}{}", p / 8, p % 8)).collect::<Vec<_>>().join(",");
    let cell = |x: &f64| if x.is_nan() { String::new() } else { x.to_string() };
    let line = |r: &Vec<f64>| r.iter().map(cell).collect::<Vec<_>>().join(",") + "\n";
    format!("{header}\n{}", rows.iter().map(line).collect::<String>())
}

struct Fitted {
    hir: Hir,
    inputs: Inputs,
    posterior: HashMap<String, Vec<f64>>,
}

impl Fitted {
    fn new(rows: &[Vec<f64>]) -> Fitted {
        let model = read("examples/digits/vae.vi")
            .replace("dense(100", "dense(50")
            .replace("digits(100)", "digits(50)")
            .replace("adam(0.003), epochs: 300, holdout: 0.1, patience: 50", "adam(0.006), epochs: 50");
        assert!(model.contains("epochs: 50"), "the example is as it was");
        let inputs = csv(&table(rows));
        let report = fit(&compile(&model, &inputs), &FitRequest::default());
        let units = &report.units[0];
        assert_eq!((units.latent.as_str(), units.of), ("z", 8));
        assert!(units.active >= 6, "{units:?}");
        let points = report.weights.iter().chain(&report.guide_params);
        let posterior = points.flat_map(|v| (0..v.cells()).map(|c| (v.cell_name(c), vec![v.draws[c]]))).collect();
        let mut session = Session::default();
        Fitted { hir: driver::check(&mut session, "model.vi", &model).hir, inputs, posterior }
    }

    fn ask<T>(&self, rows: &[Vec<f64>], refine: usize, holes: Holes, f: impl Fn(&Question<'_>) -> T) -> T {
        let new = [DataFile { table: None, name: "new.csv".into(), bytes: table(rows).into_bytes() }];
        let Fitted { hir, inputs, posterior } = self;
        f(&Question { hir, fitted: inputs, new: &new, posterior, refine, holes, seed: 1, threads: 2 })
    }
}

/// log Binomial(x; 16, p).
fn log_binomial(x: f64, p: f64) -> f64 {
    let choose: f64 = (0..x as usize).map(|i| ((16 - i) as f64 / (i + 1) as f64).ln()).sum();
    choose + x * p.ln() + (16.0 - x) * (1.0 - p).ln()
}

fn mean(v: &[f64]) -> f64 {
    v.iter().sum::<f64>() / v.len() as f64
}

/// 400 digits and 400 steps, so that the fit is no more than a beginning; what is asked of it holds by wide margins all the
/// same: they are in the messages.
#[test]
fn digits_after_a_fit() {
    let (train, test) = (images("train.csv", 400), images("test.csv", 40));
    let fitted = Fitted::new(&train);
    // Noise is told from digits.
    let mut stream = Stream::new(1, "test", "noise");
    let noise: Vec<Vec<f64>> =
        (0..40).map(|_| (0..PIXELS).map(|_| (17.0 * stream.uniform()).floor()).collect()).collect();
    let scores = |rows: &[Vec<f64>]| {
        fitted.ask(rows, 0, Holes::None, |q| score(q, None, &mut Diags::default()).expect("it scores").scores)
    };
    let (digits, noise) = (scores(&test), scores(&noise));
    let above = digits.iter().map(|d| noise.iter().filter(|n| d > n).count()).sum::<usize>();
    let area = above as f64 / (digits.len() * noise.len()) as f64;
    assert!(area > 0.99, "area under the curve {area}");
    // Refinement closes some of the gap of amortisation.
    let refined =
        fitted.ask(&test, 60, Holes::None, |q| encode(q, 0, false, &mut Diags::default()).expect("it encodes"));
    let (before, after) = refined.bounds.as_ref().expect("refined");
    assert!(mean(after) > mean(before) + 1.0, "{} to {}", mean(before), mean(after));
    // The upper half of an image given the lower: log p(x) - log p(lower half), against each pixel's mean over the training
    // images, and the training image whose lower half is nearest.
    let half: Vec<Vec<f64>> = test.iter().map(|r| [vec![f64::NAN; 32], r[32..].to_vec()].concat()).collect();
    let weighed = |rows: &[Vec<f64>], holes| {
        let made = fitted.ask(rows, 60, holes, |q| score(q, Some(200), &mut Diags::default()).expect("it scores"));
        mean(&made.scores)
    };
    let given = weighed(&test, Holes::None) - weighed(&half, Holes::Cells);
    let shade = |p: f64| (p + 0.5) / 17.0;
    let average: Vec<f64> = (0..32).map(|p| shade(mean(&train.iter().map(|r| r[p]).collect::<Vec<_>>()))).collect();
    let by_mean = mean(&test.iter().map(|r| (0..32).map(|p| log_binomial(r[p], average[p])).sum()).collect::<Vec<_>>());
    let by_nearest = |r: &Vec<f64>| {
        let distance = |t: &&Vec<f64>| (32..PIXELS).map(|p| (t[p] - r[p]).powi(2)).sum::<f64>();
        let near = train.iter().min_by(|a, b| distance(a).total_cmp(&distance(b))).expect("some image");
        (0..32).map(|p| log_binomial(r[p], shade(near[p]))).sum()
    };
    let by_nearest = mean(&test.iter().map(by_nearest).collect::<Vec<_>>());
    println!(
        "area {area}, gap {}, upper half {given}, by mean {by_mean}, by nearest {by_nearest}",
        mean(after) - mean(before)
    );
    assert!(given > by_mean + 5.0, "{given} and {by_mean}");
    assert!(given > by_nearest, "{given} and {by_nearest}");
}
