//! The score function's gradient against the enumerated one.

use std::cell::RefCell;

use super::bound::{Bound, Coordinates};
use crate::data::{DataFile, Inputs};
use crate::driver::{self, Session};
use crate::infer::Target;
use crate::infer::draws::plain;
use crate::infer::lbfgs::Function;
use crate::infer::pool::Pool;
use crate::run::Model;

/// Two classes of rows, and a column that the guide reads.
fn model(how_mu: &str, how: &str) -> Model {
    let text = format!(
        "data rows {{ y: real }}\nlatent mu ~ Normal(0, 2)\nlatent up[rows] ~ Bernoulli(0.4)\n\
         observe y ~ Normal(mu + (if up then 1 else -1), 0.8)\n\
         guide {{\n  param m = 0\n  param s: real > 0 = 1\n  param a = 0\n  param b = 0\n  mu ~ Normal(m, s) {how_mu}\n  \
         up ~ Bernoulli(logit: a + b * y) {how}\n}}\n"
    );
    let mut session = Session::default();
    let checked = driver::check(&mut session, "model.vi", &text);
    assert!(!session.diags.has_errors());
    let file = DataFile { table: None, name: "d.csv".into(), bytes: b"y\n-2.1\n-0.4\n1.9\n0.3\n".to_vec() };
    let inputs = Inputs { files: vec![file], sets: vec![] };
    driver::compile(&mut session, checked, &inputs).expect("the data fit").model
}

/// The mean of the bound's gradient over `batches` sets of `rows` draws at ψ = (a, b, m, log s), and its standard error.
fn gradient(model: &Model, batches: usize, rows: usize) -> Vec<(f64, f64)> {
    let (names, points, roles) = (model.names(), model.points(), model.roles().expect("a written guide"));
    let mut order: Vec<usize> = (0..names.len()).collect();
    order.sort_by(|&a, &b| (points[a], &names[a]).cmp(&(points[b], &names[b])));
    let sorted: Vec<String> = order.iter().map(|&i| names[i].clone()).collect();
    let coordinates = Coordinates::new(&order.iter().map(|&i| roles[i]).collect::<Vec<_>>());
    let psi = [0.3, 0.5, -0.2, -0.4];
    assert_eq!(coordinates.parameters(), psi.len());
    std::thread::scope(|scope| {
        let pool = RefCell::new(Pool::new(model, order.clone(), 1, scope));
        let noisy = &sorted[..coordinates.noisy];
        let mut bound = Bound::new(&coordinates, &pool, &vec![0.0; rows * noisy.len()], rows, false);
        let (mut sum, mut squares) = (vec![0.0; 4], vec![0.0; 4]);
        for batch in 0..batches {
            bound.z.copy_from_slice(&plain(3, "score", noisy, batch * rows, rows));
            let mut g = vec![0.0; 4];
            assert!(bound.value_grad(&psi, &mut g).is_finite());
            for i in 0..4 {
                sum[i] += g[i];
                squares[i] += g[i] * g[i];
            }
        }
        let n = batches as f64;
        let of = |i: usize| (sum[i] / n, ((squares[i] / n - (sum[i] / n).powi(2)) / n).sqrt());
        (0..4).map(of).collect()
    })
}

/// Whether two estimates of a gradient agree within four standard errors of their difference, which is passed once in 16 000
/// comparisons; a wrong sign or term is tens away.
fn agree(a: &[(f64, f64)], b: &[(f64, f64)]) -> bool {
    let near = |(a, b): (&(f64, f64), &(f64, f64))| (a.0 - b.0).abs() < 4.0 * (a.1 * a.1 + b.1 * b.1).sqrt();
    a.iter().zip(b).all(near)
}

#[test]
fn the_score_function_has_the_enumerated_gradient() {
    let exact = gradient(&model("", "@enumerate"), 4000, 8);
    for (how_mu, how) in [("", "@score"), ("@score", "@enumerate"), ("@score", "@score")] {
        let scored = gradient(&model(how_mu, how), 4000, 8);
        assert!(agree(&exact, &scored), "mu {how_mu}, up {how}: {exact:?} {scored:?}");
        assert!(scored.iter().all(|s| s.1 < 0.1), "{scored:?}");
    }
}

/// A relaxation is near the gradient, and not it: nearer the lower its temperature, and noisier.
#[test]
fn a_relaxation_is_biased() {
    let exact = gradient(&model("", "@enumerate"), 4000, 8);
    let off = |g: &[(f64, f64)]| exact.iter().zip(g).map(|(e, g)| (e.0 - g.0).abs()).fold(0.0, f64::max);
    let warm = gradient(&model("", "@gumbel(temperature: 1)"), 4000, 8);
    let cool = gradient(&model("", "@gumbel(temperature: 0.2)"), 4000, 8);
    assert!(!agree(&exact, &warm), "{exact:?} {warm:?}");
    assert!(off(&cool) < 0.5 * off(&warm), "{exact:?} {warm:?} {cool:?}");
    assert!(cool[1].1 > 1.5 * warm[1].1, "{warm:?} {cool:?}");
}
