//! What a fit says of rows one by one, against closed forms: one factor behind normal items, whose posterior and likelihood are
//! known.

use std::collections::HashMap;
use std::f64::consts::TAU;

use vic::data::{DataFile, Inputs};
use vic::diag::Diags;
use vic::driver::rows::{Holes, Question, Source, encode, generate, impute, score};
use vic::driver::{self, Session};
use vic::hir::Hir;

use super::support::csv;

const W: [f64; 3] = [1.0, -0.5, 0.8];
const SD: f64 = 0.5;

const MODEL: &str = "data rows { x: real[item] from \"x*\" }
param w[item]: real = 1
latent a[rows] ~ Normal(0, 1)
observe x ~ Normal(w * a, 0.5)
guide {
  param c[item]: real = 0
  param s: real > 0 = 1
  a ~ Normal(sum(c * x over item), s)
}";

const FITTED: &str = "x1,x2,x3\n0.5,1,-1\n1,2,0.3\n";
const NEW: &str = "x1,x2,x3\n1.2,-0.3,0.7\n-0.4,0.9,0.1\n2.5,-1.5,1.9\n0.1,0.2,-0.3\n";

fn hir(model: &str) -> Hir {
    let mut session = Session::default();
    let hir = driver::check(&mut session, "model.vi", model).hir;
    assert!(!session.diags.has_errors(), "{:?}", session.diags.list);
    hir
}

fn file(text: &str) -> Vec<DataFile> {
    vec![DataFile { table: None, name: "new.csv".into(), bytes: text.into() }]
}

/// The precision of the factor given all items.
fn precision() -> f64 {
    1.0 + W.iter().map(|w| w * w).sum::<f64>() / (SD * SD)
}

fn posterior_mean(x: &[f64; 3]) -> f64 {
    W.iter().zip(x).map(|(w, x)| w * x).sum::<f64>() / (SD * SD) / precision()
}

/// log N(x; 0, w wᵀ + σ² I), by Sherman and Morrison.
fn log_likelihood(x: &[f64; 3]) -> f64 {
    let (square, along) = (x.iter().map(|x| x * x).sum::<f64>(), W.iter().zip(x).map(|(w, x)| w * x).sum::<f64>());
    let quadratic = square / (SD * SD) - (along / (SD * SD)).powi(2) / precision();
    -0.5 * (3.0 * (TAU * SD * SD).ln() + precision().ln() + quadratic)
}

/// A fit whose guide reads this share of what it should, with this sd.
fn fit(share: f64, s: f64) -> HashMap<String, Vec<f64>> {
    let mut out = HashMap::from([("s".to_string(), vec![s])]);
    for (j, w) in W.iter().enumerate() {
        out.insert(format!("w[{}]", j + 1), vec![*w]);
        out.insert(format!("c[{}]", j + 1), vec![share * w / (SD * SD) / precision()]);
    }
    out
}

fn rows(text: &str) -> Vec<[f64; 3]> {
    let number = |c: &str| c.parse().expect("a number");
    let row = |l: &str| l.split(',').map(number).collect::<Vec<f64>>().try_into().expect("three");
    text.lines().skip(1).map(row).collect()
}

struct Asked {
    hir: Hir,
    fitted: Inputs,
    new: Vec<DataFile>,
    posterior: HashMap<String, Vec<f64>>,
}

impl Asked {
    fn new(posterior: HashMap<String, Vec<f64>>, new: &str) -> Asked {
        Asked { hir: hir(MODEL), fitted: csv(FITTED), new: file(new), posterior }
    }

    fn question(&self) -> Question<'_> {
        let Asked { hir, fitted, new, posterior } = self;
        Question { hir, fitted, new, posterior, refine: 0, holes: Holes::None, seed: 1, threads: 1 }
    }
}

/// Where the guide is the posterior, its bound is the likelihood and its moments are exact, without Monte Carlo error.
#[test]
fn an_exact_encoder_is_exact() {
    let asked = Asked::new(fit(1.0, precision().powf(-0.5)), NEW);
    let question = asked.question();
    let mut diags = Diags::default();
    let encoded = encode(&question, 3, false, &mut diags).expect("it encodes");
    let bounds = score(&question, None, &mut diags).expect("it scores");
    let likelihoods = score(&question, Some(7), &mut diags).expect("it scores");
    assert_eq!((encoded.names.as_slice(), encoded.labels.len()), (&["a".to_string()][..], 4));
    for (i, x) in rows(NEW).iter().enumerate() {
        assert!((encoded.means[i][0] - posterior_mean(x)).abs() < 1e-12);
        assert!((encoded.sds[i][0] - precision().powf(-0.5)).abs() < 1e-12);
        assert!((bounds.scores[i] - log_likelihood(x)).abs() < 1e-10, "{} {}", bounds.scores[i], log_likelihood(x));
        assert!((likelihoods.scores[i] - log_likelihood(x)).abs() < 1e-10);
        assert_eq!(encoded.draws[i].len(), 3);
    }
}

/// Of a row with empty cells the others are scored: log N(x; 0, w wᵀ + σ² I) of these alone. The encoder reads the mean of a column in
/// the place of a hole, which 20,000 weights mend: their relative sd is below 3, which leaves 0.02 nats; three of these are allowed.
#[test]
fn empty_cells_are_left_out_of_a_score() {
    let holes = "x1,x2,x3\n1.2,,0.7\n-0.4,0.9,0.1\n,,1.9\n0.1,0.2,\n";
    let asked = Asked::new(fit(0.8, 0.9), holes);
    let mut diags = Diags::default();
    assert!(score(&asked.question(), None, &mut diags).is_none() && diags.has_errors());
    let question = Question { holes: Holes::Cells, ..asked.question() };
    let found = score(&question, Some(20_000), &mut Diags::default()).expect("it scores").scores;
    let of = |cells: [Option<f64>; 3]| {
        let own = || W.iter().zip(cells).filter_map(|(w, x)| Some((*w, x?)));
        let precision = 1.0 + own().map(|(w, _)| w * w).sum::<f64>() / (SD * SD);
        let along: f64 = own().map(|(w, x)| w * x).sum::<f64>() / (SD * SD);
        let square: f64 = own().map(|(_, x)| x * x).sum::<f64>() / (SD * SD);
        -0.5 * (own().count() as f64 * (TAU * SD * SD).ln() + precision.ln() + square - along * along / precision)
    };
    let cell = |c: &str| c.parse::<f64>().ok();
    for (line, found) in holes.lines().skip(1).zip(found) {
        let cells: Vec<Option<f64>> = line.split(',').map(cell).collect();
        let exact = of(cells.try_into().expect("three"));
        assert!((found - exact).abs() < 0.06, "{line}: {found} and {exact}");
    }
    // A column that is not there at all is no empty cell.
    let short = Asked::new(fit(1.0, 0.3), "y\n1\n");
    let question = Question { holes: Holes::Cells, ..short.question() };
    assert!(score(&question, None, &mut diags).is_none());
}

/// From a wrong encoder, importance weights and refinement both find the way: 20,000 weights of relative sd below 3 leave 0.02
/// nats; refined normals contain the posterior, and the noise of 400 steps whose rate falls to 0 is below a twentieth of an sd.
#[test]
fn a_wrong_encoder_is_mended() {
    let asked = Asked::new(fit(0.7, 0.6), NEW);
    let mut diags = Diags::default();
    let bounds = score(&asked.question(), None, &mut diags).expect("it scores").scores;
    let weighed = score(&asked.question(), Some(20_000), &mut diags).expect("it scores").scores;
    let refined = encode(&Question { refine: 400, ..asked.question() }, 0, false, &mut diags).expect("it refines");
    let (before, after) = refined.bounds.as_ref().expect("it was refined");
    // Normals of sd s as proposals for one of sd 1: the weights' tail has k = 1 - s² / σ² (Vehtari et al. 2024), here 0.4 or so; and with
    // a fifth of the width, far above what can be used.
    let k = |q: Question<'_>, diags: &mut Diags| {
        score(&q, Some(2000), diags).expect("it scores").k_hats.expect("enough weights")
    };
    let narrow = Asked::new(fit(1.0, 0.2 * precision().powf(-0.5)), NEW);
    assert!(k(narrow.question(), &mut diags).iter().all(|k| *k > 0.7));
    let wide = Asked::new(fit(1.0, 1.2 * precision().powf(-0.5)), NEW);
    assert!(k(wide.question(), &mut diags).iter().all(|k| *k < 0.5));
    for (i, x) in rows(NEW).iter().enumerate() {
        let exact = log_likelihood(x);
        assert!(bounds[i] < exact - 0.1 && before[i] < exact - 0.1);
        assert!((weighed[i] - exact).abs() < 0.06, "{} and {exact}", weighed[i]);
        assert!(after[i] > before[i] && (after[i] - exact).abs() < 0.01, "{} and {exact}", after[i]);
        let sd = precision().powf(-0.5);
        assert!((refined.means[i][0] - posterior_mean(x)).abs() < 0.05 * sd);
        assert!((refined.sds[i][0] / sd - 1.0).abs() < 0.05);
    }
}

/// A row's numbers do not depend on its neighbours, nor on threads.
#[test]
fn rows_are_asked_one_by_one() {
    let lines: Vec<&str> = NEW.lines().collect();
    let many = format!("{}\n{}", lines[0], lines[1..].repeat(40).join("\n") + "\n");
    let few = Asked::new(fit(0.7, 0.6), NEW);
    let many = Asked::new(fit(0.7, 0.6), &many);
    let mut diags = Diags::default();
    let of = |q: Question<'_>, diags: &mut Diags| score(&q, Some(5), diags).expect("it scores").scores;
    let one = of(Question { refine: 10, ..many.question() }, &mut diags);
    let two = of(Question { refine: 10, threads: 2, ..many.question() }, &mut diags);
    let own = of(Question { refine: 10, ..few.question() }, &mut diags);
    assert_eq!((one.len(), &one[..4]), (160, &own[..]));
    assert_eq!(one, two);
}

/// The third item given the others is normal, with the factor's posterior from two items.
#[test]
fn holes_are_filled_by_the_conditional() {
    let new = "x1,x2,x3\n1.2,-0.3,\n-0.4,0.9,\n";
    let asked = Asked::new(fit(1.0, precision().powf(-0.5)), new);
    let question = Question { holes: Holes::Columns, ..asked.question() };
    let made = impute(&question, 400, &mut Diags::default()).expect("it imputes");
    let column = &made.columns[0];
    let p = 1.0 + (W[0] * W[0] + W[1] * W[1]) / (SD * SD);
    let sd = (W[2] * W[2] / p + SD * SD).sqrt();
    for (i, x) in [[1.2, -0.3], [-0.4, 0.9]].iter().enumerate() {
        let mean = W[2] * (W[0] * x[0] + W[1] * x[1]) / (SD * SD) / p;
        let cell = 2 * 2 + i;
        assert_eq!((column.mask.numbers[i], column.mask.numbers[cell]), (1.0, 0.0));
        assert_eq!(column.means.numbers[i], x[0]);
        // 8000 weighted draws of the factor, neighbours among 400 sweeps alike: an error of 0.02.
        assert!((column.means.numbers[cell] - mean).abs() < 0.08 * sd, "{} and {mean}", column.means.numbers[cell]);
        let draws: Vec<f64> = column.draws.iter().map(|d| d.numbers[cell]).collect();
        let average = draws.iter().sum::<f64>() / 400.0;
        let spread = (draws.iter().map(|d| (d - average).powi(2)).sum::<f64>() / 400.0).sqrt();
        assert!((average - mean).abs() < 0.25 * sd, "{average} and {mean}");
        assert!((spread / sd - 1.0).abs() < 0.15, "{spread} and {sd}");
    }
}

/// A field that a file does not have is empty in each of its rows, whatever names the fields of a vector.
#[test]
fn an_absent_field_is_an_empty_cell() {
    let posterior = || fit(1.0, precision().powf(-0.5));
    for from in ["\"x*\"", "[\"x1\", \"x2\", \"x3\"]", "\"x1\"..\"x3\""] {
        // Of lists and ranges, labels are whole names.
        let named = |n: String| if from.contains('*') { n } else { n.replace('[', "[x") };
        let posterior = || posterior().into_iter().map(|(n, x)| (named(n), x)).collect();
        let made = |new: &str| {
            let asked = Asked { hir: hir(&MODEL.replace("\"x*\"", from)), ..Asked::new(posterior(), new) };
            let question = Question { holes: Holes::Columns, ..asked.question() };
            let mut diags = Diags::default();
            let made = impute(&question, 5, &mut diags).unwrap_or_else(|| panic!("{from}: {:?}", diags.list));
            (made.columns[0].mask.numbers.clone(), made.columns[0].means.numbers.clone())
        };
        for (absent, empty) in [
            ("x1,x2\n1.2,-0.3\n-0.4,0.9\n", "x1,x2,x3\n1.2,-0.3,\n-0.4,0.9,\n"),
            ("x3\n1.2\n-0.4\n", "x1,x2,x3\n,,1.2\n,,-0.4\n"),
        ] {
            let (absent, empty) = (made(absent), made(empty));
            assert!(absent.0.contains(&1.0) && absent.0.contains(&0.0), "{from}: {absent:?}");
            assert_eq!(absent, empty, "{from}");
        }
    }
}

/// 4000 generated rows have the model's covariance, within five standard errors.
#[test]
fn generated_rows_are_those_of_the_model() {
    let asked = Asked::new(fit(1.0, 0.5), NEW);
    let Asked { hir, fitted, posterior, .. } = &asked;
    let source = Source { hir, fitted, new: &[], posterior, seed: 3 };
    let made = generate(&source, Some(4000), false, &mut Diags::default()).expect("it generates");
    assert_eq!((made.csv.header.len(), made.csv.rows.len()), (3, 4000));
    let x = &made.columns[0].1.numbers;
    for j in 0..3 {
        for k in 0..=j {
            let exact = W[j] * W[k] + if j == k { SD * SD } else { 0.0 };
            let (vj, vk) = (W[j] * W[j] + SD * SD, W[k] * W[k] + SD * SD);
            let found = (0..4000).map(|r| x[r + 4000 * j] * x[r + 4000 * k]).sum::<f64>() / 4000.0;
            let error = ((vj * vk + exact * exact) / 4000.0).sqrt();
            assert!((found - exact).abs() < 5.0 * error, "{j}, {k}: {found} and {exact}");
        }
    }
}

/// Latents that rows share are averaged over their draws, and statistics of columns are those of the fitted rows.
#[test]
fn shared_latents_and_statistics_are_those_of_the_fit() {
    let hir = hir("data rows { y: real, x: real }
latent b ~ Normal(0, 1)
observe y ~ Normal(b * (x - mean(x over rows)), 1)");
    let (fitted, new) = (csv("y,x\n1,1\n2,4\n3,4\n"), file("y,x\n0.5,2\n-1,5\n"));
    let b = [0.3, 0.9, -0.2, 1.4];
    let posterior = HashMap::from([("b".to_string(), b.to_vec())]);
    let question = Question {
        hir: &hir,
        fitted: &fitted,
        new: &new,
        posterior: &posterior,
        refine: 0,
        holes: Holes::None,
        seed: 1,
        threads: 1,
    };
    let found = score(&question, Some(b.len()), &mut Diags::default()).expect("it scores").scores;
    for (found, (y, x)) in found.iter().zip([(0.5, 2.0), (-1.0, 5.0)]) {
        let density = |b: &f64| (-0.5 * (y - b * (x - 3.0)).powi(2)).exp() / TAU.sqrt();
        let exact = (b.iter().map(density).sum::<f64>() / b.len() as f64).ln();
        assert!((found - exact).abs() < 1e-12, "{found} and {exact}");
    }
}
