//! Products in single precision, and params that live in it, against the same in double.

use vic::driver::Compiled;
use vic::infer::Target;
use vic::infer::batches::{Batch, Descent, Each, Moments, Optimizer, Params, Rows, Rule, Schedule};
use vic::report::FitReport;

use super::batches::piece;
use super::support::{compile, csv};

const ROWS: usize = 90;
const BATCH: usize = 45;
const FEATURES: usize = 61;

/// Odd sizes, so that no loop ends with its registers full. The last layer of the decoder has a prior: a kernel reads it too.
fn model() -> Compiled {
    let header = (0..FEATURES).map(|i| format!("x{i}")).collect::<Vec<_>>().join(",");
    // Eighths, which single precision holds: so a batch is given in it.
    let number = |i: usize| (8.0 * (0.7 * i as f64).sin()).round() / 8.0;
    let row = |r: usize| (0..FEATURES).map(|i| number(r * FEATURES + i).to_string()).collect::<Vec<_>>();
    let data = csv(&format!("{header}\n{}\n", (0..ROWS).map(|r| row(r).join(",")).collect::<Vec<_>>().join("\n")));
    let text = format!(
        "data rows {{ x: real[feature] from \"x*\" }}
plate code = 51
plate hidden = 133
param w[hidden, code]: real = 0
param v[feature, hidden]: real = 0
let penalty = -0.5 * sum(sum(v ^ 2 over hidden) over feature)
net encode(x: real[feature]) -> (mu: real[code], sigma: real[code] > 0) = dense(131, softplus) |> dense(133, tanh) |> head
latent z[rows, code] ~ Normal(0, 1)
let h[rows, hidden] = tanh(sum(w * z over code))
observe x ~ Normal(sum(v * h over hidden), 1)
factor penalty
guide {{
  let q = encode(x)
  z ~ Normal(q.mu, q.sigma)
}}
fit {{ batch: rows({BATCH}), epochs: 4, optimizer: adam(0.01), precision: f32 }}"
    );
    compile(&text, &data)
}

fn theta(compiled: &Compiled) -> Vec<f64> {
    (0..compiled.model.dim()).map(|i| 0.2 * (1.3 * i as f64).sin()).collect()
}

fn batch(first: usize) -> Batch {
    Batch::of((0..BATCH).map(|r| (first + 2 * r) % ROWS).collect(), vec![2.0; BATCH])
}

/// Sums of up to 133 products of numbers of size 1, each rounded by 6e-8: within 1e-5 of the largest slope.
#[test]
fn slopes_in_single_precision_are_those_in_double() {
    let compiled = model();
    let batches = compiled.batches.as_ref().expect("asked for");
    let (mut single, mut double) = (batches.rows_on(1, true, &compiled.model), batches.rows(&compiled.model));
    let theta = theta(&compiled);
    let (mut here, mut there) = (vec![0.0; theta.len()], vec![0.0; theta.len()]);
    for first in [0, 1] {
        single.take(&batch(first));
        double.take(&batch(first));
        let (a, b) = (single.value_grad(&theta, &mut here), double.value_grad(&theta, &mut there));
        assert!(a != b && (a / b - 1.0).abs() < 1e-6, "{a} and {b}");
        let largest = there.iter().fold(0.0, |m: f64, g| m.max(g.abs()));
        for (i, (a, b)) in here.iter().zip(&there).enumerate() {
            assert!((a - b).abs() < 1e-5 * largest, "{}: {a} and {b} of {largest}", compiled.model.names()[i]);
        }
        let (a, b) = (single.value(&theta), double.value(&theta));
        assert!(a != b && (a / b - 1.0).abs() < 1e-6, "{a} and {b}");
    }
}

/// Params that steps move in single precision are what everything else reads, to the bit, whether it looks after each step or at the
/// end; and slopes are those at them.
#[test]
fn params_that_live_in_single_precision_are_those_of_theta() {
    let compiled = model();
    let batches = compiled.batches.as_ref().expect("asked for");
    let coordinates = batches.coordinates();
    let params = coordinates.only_params().expect("noise besides");
    assert_eq!(params.len(), 2, "noise between the guide's and the model's");
    let count = coordinates.begin().len();
    let fed = compiled.model.fed_in_single();
    let living = &fed.living().expect("matrices of weights live so").cells;
    let names = compiled.model.names();
    let lives = |name: &str| living.iter().any(|cells| names[cells.start].starts_with(name));
    assert!(lives("encode.1.weight") && lives("encode.2.weight") && lives("w["), "{living:?}");
    assert!(!lives("v["), "a prior reads it too");
    let optimizer = Optimizer { rule: Rule::Adam, rate: 0.01, schedule: Schedule::Constant, warm_up: 0, clip: None };
    let run = |threads, looks: bool| {
        let mut moving = batches.rows_on(threads, true, &compiled.model);
        let mut moments = Moments::new(Rule::Adam, count, true);
        let (decays, mut z) = (vec![false; count], vec![0.0; compiled.model.dim()]);
        moving.theta().copy_from_slice(&theta(&compiled));
        for step in 0..4 {
            moving.take(&batch(step));
            coordinates.noise(1, "test", step, &mut z);
            coordinates.redraw(&[], &batch(step), &z, moving.drawn());
            if looks {
                let at = moving.theta().to_vec();
                let mut fresh = batches.rows_on(1, true, &compiled.model);
                fresh.take(&batch(step));
                assert_eq!(moving.evaluate(), fresh.value(&at), "step {step}");
                let mut slopes = vec![0.0; at.len()];
                assert_eq!(moving.gradient(), fresh.value_grad(&at, &mut slopes), "step {step}");
                assert_eq!(moving.by_theta(), slopes, "step {step}");
            } else {
                moving.gradient();
            }
            moments.begin();
            let mut at = 0;
            for part in &params {
                moving.params(part.clone(), &mut |params: Params, each: Each| {
                    let by = Descent { optimizer: &optimizer, rate: 0.01, scale: -1.0, length: 1.0, turn: None };
                    moments.step(&by, at, params, &decays, each);
                });
                at += part.len();
            }
        }
        moving.theta().to_vec()
    };
    let end = run(1, true);
    assert_eq!(end, run(1, false));
    assert_eq!(end, run(2, false));
    assert!(living.iter().flat_map(|c| &end[c.clone()]).all(|x| f64::from(*x as f32) == *x));
    let start = theta(&compiled);
    assert!(params.into_iter().flatten().filter(|i| end[*i] != start[*i]).count() > count / 2);
}

/// Interrupted after each five steps of eight, and gone on with: the same bits.
#[test]
fn a_fit_in_single_precision_goes_on_in_the_same_bits() {
    let compiled = model();
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = folder.path().join("fit.checkpoint");
    let weights = |r: &FitReport| -> Vec<u64> {
        r.weights.iter().flat_map(|w| &w.draws).map(|w| w.to_bits()).chain(r.elbo.map(|e| e.0.to_bits())).collect()
    };
    let run = |steps: usize, resume: Option<bool>| {
        piece(&compiled, steps, resume.map(|resume| (path.as_path(), resume))).expect("it is fitted")
    };
    let whole = run(usize::MAX, None);
    assert!(!run(5, Some(false)).converged);
    let last = run(usize::MAX, Some(true));
    assert!(last.converged && !weights(&whole).is_empty());
    assert_eq!(weights(&last), weights(&whole));
}
