//! Probabilities of the discrete latents of new rows, against Bayes' rule.

use std::collections::HashMap;

use vic::data::{DataFile, Inputs};
use vic::diag::Diags;
use vic::driver::rows::{Encoded, Holes, Question, encode};
use vic::driver::{self, FitRequest, Session};

use super::support::{self, csv};

struct Asked {
    hir: vic::hir::Hir,
    fitted: Inputs,
    new: Vec<DataFile>,
    posterior: HashMap<String, Vec<f64>>,
}

impl Asked {
    fn new(model: &str, fitted: &str, new: &str, posterior: &[(&str, &[f64])]) -> Asked {
        let mut session = Session::default();
        let hir = driver::check(&mut session, "model.vi", model).hir;
        assert!(!session.diags.has_errors(), "{:?}", session.diags.list);
        let new = vec![DataFile { table: None, name: "new.csv".into(), bytes: new.into() }];
        let posterior = posterior.iter().map(|(name, draws)| (name.to_string(), draws.to_vec())).collect();
        Asked { hir, fitted: csv(fitted), new, posterior }
    }

    fn encoded(&self, refine: usize, draws: usize) -> Encoded {
        let Asked { hir, fitted, new, posterior } = self;
        let question = Question { hir, fitted, new, posterior, refine, holes: Holes::None, seed: 1, threads: 2 };
        let mut diags = Diags::default();
        encode(&question, draws, false, &mut diags).unwrap_or_else(|| panic!("{:?}", diags.list))
    }
}

fn normal(x: f64, mu: f64, sigma: f64) -> f64 {
    (-0.5 * ((x - mu) / sigma).powi(2)).exp() / sigma
}

fn normalised(p: &[f64]) -> Vec<f64> {
    let sum: f64 = p.iter().sum();
    p.iter().map(|p| p / sum).collect()
}

fn same(found: &[f64], exact: &[f64], within: f64) {
    assert_eq!(found.len(), exact.len());
    for (f, e) in found.iter().zip(exact) {
        assert!((f - e).abs() < within, "{found:?} and {exact:?}");
    }
}

/// A mixture with a class per row and a state per cell, given four draws of a mean that all rows share.
#[test]
fn a_mixture_obeys_the_rule_of_bayes() {
    let model = "data rows { x: real[item] from \"x*\" }
plate kind = 3
param l[kind]: real = 0
latent m[kind] ~ Normal(0, 1)
param p = 0
param s: real > 0 = 1
latent k[rows]: kind ~ Categorical(logit: l)
latent b[rows, item] ~ Bernoulli(logit: p)
observe x ~ Normal(m[k] + (if b then 1 else 0), s)
fit { batch: rows(2), epochs: 1 }
";
    let (l, means, s) = ([0.1, -0.7, 0.4], [-1.0, 0.5, 2.0], 0.8);
    let first: [f64; 4] = [-1.0, -1.3, -0.2, 0.4];
    let up = 1.0 / (1.0 + 0.6f64.exp());
    let posterior: [(&str, &[f64]); 8] = [
        ("l[1]", &l[..1]),
        ("l[2]", &l[1..2]),
        ("l[3]", &l[2..]),
        ("m[1]", &first),
        ("m[2]", &[means[1]; 4]),
        ("m[3]", &[means[2]; 4]),
        ("p", &[-0.6]),
        ("s", &[s]),
    ];
    let mut new = "x1,x2\n".to_string();
    let rows: Vec<[f64; 2]> = (0..150).map(|i| [(i % 13) as f64 * 0.3 - 1.5, (i % 7) as f64 * 0.5 - 1.0]).collect();
    rows.iter().for_each(|[a, b]| new += &format!("{a},{b}\n"));
    let encoded = Asked::new(model, "x1,x2\n0,1\n1,0\n2,2\n", &new, &posterior).encoded(0, 4);
    let values = ["k=1", "k=2", "k=3", "b[1]=false", "b[1]=true", "b[2]=false", "b[2]=true"];
    assert_eq!((encoded.values.as_slice(), encoded.names.len()), (values.map(String::from).as_slice(), 0));
    let w: Vec<f64> = l.iter().map(|l: &f64| l.exp()).collect();
    for (x, (found, draws)) in rows.iter().zip(encoded.probabilities.iter().zip(&encoded.draws)) {
        let mut average = vec![0.0; 7];
        for (m1, at_draw) in first.iter().zip(draws) {
            let m = [*m1, means[1], means[2]];
            let cell = |k: usize, j: usize, b: usize| [1.0 - up, up][b] * normal(x[j], m[k] + b as f64, s);
            let both = |k: usize, j: usize| cell(k, j, 0) + cell(k, j, 1);
            let class: Vec<f64> = (0..3).map(|k| w[k] * both(k, 0) * both(k, 1)).collect();
            let state = |j: usize, b: usize| (0..3).map(|k| w[k] * cell(k, j, b) * both(k, 1 - j)).sum::<f64>();
            let exact: Vec<f64> = [class, vec![state(0, 0), state(0, 1)], vec![state(1, 0), state(1, 1)]]
                .iter()
                .flat_map(|p| normalised(p))
                .collect();
            same(at_draw, &exact, 1e-8);
            average.iter_mut().zip(exact).for_each(|(a, p)| *a += p / 4.0);
        }
        same(found, &average, 1e-8);
    }
}

const FACTORS: &str = "data rows { x: real[item] from \"x*\" }
plate kind = 2
param w[kind, item]: real = 0
param l[kind]: real = 0
latent k[rows]: kind ~ Categorical(logit: l)
latent z[rows] ~ Normal(0, 1)
observe x ~ Normal(w[k] * z, 0.5)
guide {
  param c = 0
  z ~ Normal(c * sum(x over item), 0.7)
}
";
const W: [[f64; 2]; 2] = [[1.0, 0.5], [-0.4, 1.2]];

fn factors(new: &str) -> Asked {
    let posterior: [(&str, &[f64]); 7] = [
        ("w[1, 1]", &W[0][..1]),
        ("w[1, 2]", &W[0][1..]),
        ("w[2, 1]", &W[1][..1]),
        ("w[2, 2]", &W[1][1..]),
        ("l[1]", &[0.0]),
        ("l[2]", &[0.3]),
        ("c", &[0.4]),
    ];
    Asked::new(FACTORS, "x1,x2\n0,1\n1,0\n", new, &posterior)
}

/// P(k | z, x) where the guide has put z.
fn given(x: [f64; 2], z: f64) -> Vec<f64> {
    let one = |k: usize| [1.0, 0.3f64.exp()][k] * normal(x[0], W[k][0] * z, 0.5) * normal(x[1], W[k][1] * z, 0.5);
    normalised(&[one(0), one(1)])
}

/// A mixture of factor models: at each draw of the factor the class follows from Bayes' rule, and the average is over the guide. Its 100
/// draws leave an error of at most 0.05 (a standard error of a number between 0 and 1); four of them are allowed.
#[test]
fn classes_are_averaged_over_draws_of_the_guide() {
    let rows = [[0.5, 0.2], [-1.0, 2.0], [1.5, 1.4]];
    let encoded = factors("x1,x2\n0.5,0.2\n-1,2\n1.5,1.4\n").encoded(0, 20);
    for (i, x) in rows.iter().enumerate() {
        for draw in &encoded.draws[i] {
            same(&draw[1..], &given(*x, draw[0]), 1e-8);
        }
        // The guide's normal, in 2000 steps of equal width.
        let (mu, mut exact) = (0.4 * (x[0] + x[1]), [0.0; 2]);
        for step in 0..2000 {
            let at = -8.0 + 16.0 * (f64::from(step) + 0.5) / 2000.0;
            let weight = normal(at, 0.0, 1.0) / (std::f64::consts::TAU).sqrt() * 16.0 / 2000.0;
            exact.iter_mut().zip(given(*x, mu + 0.7 * at)).for_each(|(e, p)| *e += weight * p);
        }
        same(&encoded.probabilities[i], &exact, 0.2);
        assert!((encoded.means[i][0] - mu).abs() < 1e-12 && (encoded.sds[i][0] - 0.7).abs() < 1e-12);
    }
}

/// A row that is impossible has no probabilities; neither these nor the refinement of others are touched by it.
#[test]
fn an_impossible_row_is_told_and_leaves_others_alone() {
    let with = factors("x1,x2\n0.5,0.2\n1e200,2\n1.5,1.4\n").encoded(50, 0);
    let without = factors("x1,x2\n0.5,0.2\n0,2\n1.5,1.4\n").encoded(50, 0);
    assert!(with.probabilities[1].iter().all(|p| p.is_nan()));
    let bits = |e: &Encoded, r: usize| {
        [&e.probabilities[r], &e.means[r], &e.sds[r]].into_iter().flatten().map(|x| x.to_bits()).collect::<Vec<_>>()
    };
    for row in [0, 2] {
        assert_eq!(bits(&with, row), bits(&without, row));
        let (before, after) = with.bounds.as_ref().expect("it was refined");
        assert!(after[row] > before[row]);
    }
}

/// What the guide draws has the guide's own probabilities, whatever its gradient is by, and draws with these frequencies: of 400, four
/// standard errors are 0.1.
#[test]
fn drawn_latents_have_the_chances_of_the_guide() {
    for how in ["@enumerate", "@score", "@gumbel(temperature: 0.5)"] {
        let model = format!(
            "data rows {{ y: real }}\nlatent up[rows] ~ Bernoulli(0.4)\nobserve y ~ Normal((if up then 1 else -1), 0.8)\n\
             guide {{\n  param a = 0\n  up ~ Bernoulli(logit: a + 0.5 * y) {how}\n}}\nfit {{ batch: rows(2), epochs: 1 }}\n"
        );
        let encoded = Asked::new(&model, "y\n1\n0\n", "y\n-2.1\n-0.4\n1.9\n0.3\n", &[("a", &[-0.2])]).encoded(0, 400);
        assert_eq!(encoded.values, ["up=false", "up=true"]);
        for (i, y) in [-2.1, -0.4, 1.9, 0.3].into_iter().enumerate() {
            let p = 1.0 / (1.0 + (0.2f64 - 0.5 * y).exp());
            same(&encoded.probabilities[i], &[1.0 - p, p], 1e-12);
            let share = encoded.draws[i].iter().map(|d| d[1]).sum::<f64>() / 400.0;
            assert!((share - p).abs() < 0.1, "{share} and {p}");
        }
    }
}

/// An empty cell has the probabilities of its values given the row's other cells; one that is not empty is certain.
#[test]
fn empty_cells_obey_the_rule_of_bayes() {
    let model = "data rows { g: category?, x: real }
param m[g] = 0
param w over g: simplex = 0.5
observe g ~ Categorical(w)
observe x ~ Normal(m[g], 1)
";
    let posterior: [(&str, &[f64]); 4] = [("m[a]", &[-1.0]), ("m[b]", &[1.5]), ("w[a]", &[0.3]), ("w[b]", &[0.7])];
    let asked = Asked::new(model, "g,x\na,0\nb,1\n,1\n", "g,x\n,0.4\nb,0.1\n,-2\n", &posterior);
    let encoded = asked.encoded(0, 0);
    assert_eq!(encoded.values, ["g=a", "g=b"]);
    let given = |x: f64| normalised(&[0.3 * normal(x, -1.0, 1.0), 0.7 * normal(x, 1.5, 1.0)]);
    for (found, exact) in encoded.probabilities.iter().zip([given(0.4), vec![0.0, 1.0], given(-2.0)]) {
        same(found, &exact, 1e-8);
    }
}

/// After a fit in batches, a row whose log joint is not finite has no probabilities, which the report says; its neighbours in the batch
/// have.
#[test]
fn cells_without_probabilities_are_told() {
    let model = "data rows { x: real }
plate kind = 2
param m[kind]: real = 0
latent k[rows]: kind ~ Categorical(logit: 0)
observe x ~ Normal(m[k] + 2 * k, 1)
fit { batch: rows(2), epochs: 3 }
";
    let report = support::fit(&support::compile(model, &csv("x\n0\n2\n1\n1e200\n3\n1\n")), &FitRequest::default());
    let k = &report.discrete[0];
    for cell in 0..6 {
        let sum = k.probability(cell, 0) + k.probability(cell, 1);
        assert!(if cell == 3 { sum.is_nan() } else { (sum - 1.0).abs() < 1e-12 }, "{cell}: {sum}");
    }
    assert!(report.doubts.iter().any(|d| d.contains("1 of its 6 cells, `k[4]`")), "{:?}", report.doubts);
}
