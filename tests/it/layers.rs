//! Layers of nets beside the affine ones: against formulas and naive loops, with gradients against finite differences.

use vic::driver::{Compiled, FitRequest};
use vic::infer::Target;
use vic::infer::batches::Rows;

use super::support::{compile, csv, fit, theta};

const DATA: &str = "y,a,b,g\n0.3,1,-0.5,u\n-1.2,0.2,0.4,v\n0.8,-0.7,1.1,u\n";

fn net(declarations: &str) -> Compiled {
    let data = "data rows { y: real, g: category, x: real[feature] from [\"a\", \"b\"] }\n";
    compile(&format!("{data}{declarations}"), &csv(DATA))
}

/// Units are dropped with the probability that is written, the same ones in the same step of the same seed, and none but in
/// steps of the fit; the gradient is that of the units that are left.
#[test]
fn dropout_drops_in_steps_only() {
    let model = "net f(x: real[feature]) -> real = dense(6, tanh) |> DROP head
observe y ~ Normal(f(x), 1)
fit { batch: rows(3), optimizer: adam(0.01), epochs: 3 }";
    let (with, without) = (net(&model.replace("DROP", "dropout(0.25) |>")), net(&model.replace("DROP", "")));
    let at = theta(with.model.dim());
    assert_eq!(at.len(), without.model.dim());
    let mut rows = with.batches.as_ref().expect("asked for").rows(&with.model);
    let mut plain = without.batches.as_ref().expect("asked for").rows(&without.model);
    for r in [&mut rows as &mut dyn Rows, &mut plain] {
        r.take(&[0, 1, 2], &[1.0; 3]);
    }
    let whole = plain.value(&at);
    assert_eq!(rows.value(&at), whole);
    let mut of = |step: usize, at: &[f64]| {
        rows.drop_out(Some((7, step)));
        rows.value(at)
    };
    assert_eq!(of(4, &at), of(4, &at));
    assert!(of(4, &at) != of(5, &at) && of(4, &at) != whole);
    // The head is linear in what is kept, which is 1 on average: so is the mean over steps of the derivative by its bias, whose
    // sd is about 1. Over 2000 steps its error is 0.02, and five of these are allowed.
    let bias = with.model.names().iter().position(|n| n.starts_with("f.head.bias")).expect("the head has a bias");
    let mut grad = vec![0.0; at.len()];
    plain.value_grad(&at, &mut grad);
    let expected = grad[bias];
    let mut sum: f64 = 0.0;
    for step in 0..2000 {
        rows.drop_out(Some((7, step)));
        rows.value_grad(&at, &mut grad);
        sum += grad[bias];
    }
    assert!((sum / 2000.0 - expected).abs() < 0.1, "{} and {expected}", sum / 2000.0);
    rows.drop_out(Some((7, 4)));
    rows.value_grad(&at, &mut grad);
    let h = 1e-3;
    for i in 0..at.len() {
        let mut f = |t: f64| {
            let mut moved = at.clone();
            moved[i] += t;
            rows.value(&moved)
        };
        let slope = (8.0 * (f(h) - f(-h)) - (f(2.0 * h) - f(-2.0 * h))) / (12.0 * h);
        assert!((slope - grad[i]).abs() < 1e-7 * (1.0 + slope.abs()), "d/d{i} is {}, not {slope}", grad[i]);
    }
    rows.drop_out(None);
    assert_eq!(rows.value(&at), whole);
}

/// A fit with dropout is the same every time, and leaves a net that predicts with all of its units.
#[test]
fn fits_with_dropout_reproduce() {
    let model = "net f(x: real[feature]) -> real = dense(6, tanh) |> dropout(0.5) |> head
let m = f(x)
observe y ~ Normal(m, 1)
report twice = 2 * m
fit { batch: rows(2), optimizer: adam(0.01), epochs: 5 }";
    let once = || fit(&net(model), &FitRequest::default());
    let (a, b) = (once(), once());
    assert_eq!(a.elbo, b.elbo);
    let of = |r: &vic::report::FitReport| r.weights.iter().flat_map(|w| w.draws.clone()).collect::<Vec<_>>();
    assert_eq!(of(&a), of(&b));
    let twice = a.vars.iter().find(|v| v.name == "twice").expect("reported");
    assert!((0..3).all(|c| twice.cell(c, a.draws).windows(2).all(|w| w[0] == w[1])));
}
