//! Definitions that read themselves: values against a plain evaluation step by step, gradients against finite
//! differences, kernels against the interpreter.

use super::build::{Model, close, difference, noise};
use crate::derive::joint::*;
use crate::hir::AxisId;
use crate::lower::graph::Direction;
use crate::run::interp::Interp;

/// `Σ_t log Normal(y[t] | s[t], 1)`.
fn observed(m: &mut Model, t: AxisId, s: SlotId) {
    let n = m.dims(s)[0];
    let y = m.data("y", &[t], (0..n as u32).map(|i| 2.0 * noise(i * 13 + 1)));
    let (y, s, one) = (m.read(y, &[t]), m.read(s, &[t]), m.c(1.0));
    let lp = m.normal(y, s, one);
    m.term("observe y", &[t], lp);
}

/// `if t < k then first else next`
fn started(m: &mut Model, t: AxisId, k: f64, first: NodeId, next: NodeId) -> NodeId {
    let (at, k) = (m.position(t), m.c(k));
    let early = m.bin(BinOp::Less, at, k);
    m.iff(early, first, next)
}

/// s[t] = if t < 1 then x else sqrt(a² + b · s[t-1]² + y[t-1]²)
fn garch(n: usize) -> Model {
    let mut m = Model::default();
    let t = m.plate("t", n);
    let (a, b, x) = (m.latent("a", &[]), m.latent("b", &[]), m.latent("x", &[]));
    let r = m.data("r", &[t], (0..n as u32).map(|i| noise(i * 3 + 2)));
    let s = m.walked("s", &[t]);
    let lag = m.earlier(t, 1.0);
    let before = m.get(s, vec![lag.clone()]);
    let shock = m.get(r, vec![lag]);
    let (a, b, x) = (m.read(a, &[]), m.read(b, &[]), m.read(x, &[]));
    let (b, two) = (m.un(UnOp::Sigmoid, b), m.c(2.0));
    let squares = [a, before, shock].map(|e| m.bin(BinOp::Pow, e, two));
    let carried = m.mul(b, squares[1]);
    let sum = m.add(squares[0], carried);
    let sum = m.add(sum, squares[2]);
    let next = m.un(UnOp::Sqrt, sum);
    let value = started(&mut m, t, 1.0, x, next);
    m.walk(&[(s, &[t], t, value)], None, false);
    observed(&mut m, t, s);
    m
}

#[test]
fn volatility_depends_on_itself() {
    let graph = garch(9).check();
    let walks = |regions: &[crate::lower::graph::Region]| regions.iter().filter_map(|r| r.walk).collect::<Vec<_>>();
    assert_eq!(walks(&graph.value), [Direction::Forwards]);
    assert_eq!(walks(&graph.gradient), [Direction::Forwards, Direction::Backwards]);
}

#[test]
fn a_walk_of_one_step_and_of_none() {
    garch(1).check();
    let mut m = garch(0);
    m.bound.plates[0].size = 0;
    m.check();
}

/// The regions of a walk do not grow with its length, and neither does what a step costs.
#[test]
fn cost_is_linear() {
    let statements = |n: usize| {
        let (graph, _) = garch(n).lower().unwrap_or_else(|d| panic!("{:?}", d.list));
        let total: usize = graph.gradient.iter().map(|r| r.body.len()).sum();
        let cells: usize = graph.gradient.iter().map(|r| r.loops.iter().map(|l| l.size).product::<usize>()).sum();
        (total, cells)
    };
    let (short, long) = (statements(100), statements(10_000));
    assert_eq!(short.0, long.0);
    assert!(long.1 < 101 * short.1, "{short:?} and {long:?}");
}

#[test]
fn several_lags_by_an_index() {
    let mut m = Model::default();
    let (t, k) = (m.plate("t", 12), m.plate("k", 3));
    let (c, phi) = (m.latent("c", &[]), m.latent("phi", &[k]));
    let s = m.walked("s", &[t]);
    let (at, by, one) = (m.position(t), m.position(k), m.c(1.0));
    let by = m.add(by, one);
    let lag = m.sub(at, by);
    let before = m.get(s, vec![Ix::At(lag)]);
    // A function of the lagged value alone must not be computed before the walk.
    let before = m.un(UnOp::Tanh, before);
    let phi = m.read(phi, &[k]);
    let product = m.mul(phi, before);
    let sum = m.sum(k, product);
    let c = m.read(c, &[]);
    let next = m.add(c, sum);
    let value = started(&mut m, t, 3.0, c, next);
    m.walk(&[(s, &[t], t, value)], None, false);
    observed(&mut m, t, s);
    m.check();
}

/// The forward algorithm, in logs, with `states` states.
fn forward(steps: usize, states: usize, backwards: bool) -> Model {
    let mut m = Model::default();
    let (t, j) = (m.plate("t", steps), m.plate("state", states));
    let i = m.binder("i", j);
    let (p, mu) = (m.latent("p", &[i, j]), m.latent("mu", &[j]));
    let y = m.data("y", &[t], (0..steps as u32).map(|n| 2.0 * noise(n * 17 + 3)));
    let a = m.walked("a", &[t, j]);
    let lag = m.earlier(t, if backwards { -1.0 } else { 1.0 });
    let before = m.get(a, vec![lag, Ix::Axis(i)]);
    let p = m.read(p, &[i, j]);
    let path = m.add(before, p);
    let path = m.fold(Fold::LogSumExp, &[i], None, path);
    let (y, mu, one) = (m.read(y, &[t]), m.read(mu, &[j]), m.c(1.0));
    let emission = m.normal(y, mu, one);
    let next = m.add(path, emission);
    let value = match backwards {
        false => started(&mut m, t, 1.0, emission, next),
        true => started(&mut m, t, steps as f64 - 1.0, next, emission),
    };
    m.walk(&[(a, &[t, j], t, value)], None, backwards);
    let last = (if backwards { 1 } else { steps }).to_string();
    let end = m.get(a, vec![Ix::Label(last, super::build::at(0)), Ix::Axis(j)]);
    let total = m.fold(Fold::LogSumExp, &[j], None, end);
    m.term("states", &[], total);
    m
}

#[test]
fn forward_algorithm() {
    forward(8, 3, false).check();
    forward(8, 3, true).check();
    // More states than steps, and enough of them to run in lanes.
    forward(5, 19, false).check_random();
}

/// Every path summed by itself.
#[test]
fn forward_algorithm_is_enumeration() {
    let (steps, states) = (6, 3);
    let m = forward(steps, states, false);
    let (graph, _) = m.lower().unwrap_or_else(|d| panic!("{:?}", d.list));
    let theta: Vec<f64> = (0..graph.dim).map(|i| noise(i as u32 * 5 + 2)).collect();
    let (p, mu) = theta.split_at(states * states);
    let y: Vec<f64> = (0..steps as u32).map(|n| 2.0 * noise(n * 17 + 3)).collect();
    let lp = |x: f64, mu: f64| -0.5 * (x - mu) * (x - mu) - crate::prim::scalar::LN_SQRT_2PI;
    let mut total = 0.0;
    for path in 0..states.pow(steps as u32) {
        let z: Vec<usize> = (0..steps).map(|t| path / states.pow(t as u32) % states).collect();
        let emissions: f64 = (0..steps).map(|t| lp(y[t], mu[z[t]])).sum();
        let moves: f64 = z.windows(2).map(|w| p[w[0] + states * w[1]]).sum();
        total += (emissions + moves).exp();
    }
    close(Interp::new(&graph).value(&theta), total.ln(), 1e-12, String::new);
}

/// Probabilities instead of logs, with the scale of each step taken out: two definitions that need each other, over
/// different plates.
#[test]
fn definitions_of_different_plates() {
    let mut m = Model::default();
    let (t, j) = (m.plate("t", 7), m.plate("state", 3));
    let i = m.binder("i", j);
    let (p, scale) = (m.latent("p", &[i, j]), m.latent("scale", &[]));
    let (a, total) = (m.walked("a", &[t, j]), m.walked("total", &[t]));
    let lag = m.earlier(t, 1.0);
    let before = m.get(a, vec![lag.clone(), Ix::Axis(i)]);
    let p = m.read(p, &[i, j]);
    let p = m.exp(p);
    let moved = m.mul(before, p);
    let moved = m.sum(i, moved);
    let norm = m.get(total, vec![lag]);
    let next = m.div(moved, norm);
    let scale = m.read(scale, &[]);
    let one = m.exp(scale);
    let value = started(&mut m, t, 1.0, one, next);
    let squared = m.mul(value, value);
    let sum = m.sum(j, squared);
    m.walk(&[(a, &[t, j], t, value), (total, &[t], t, sum)], None, false);
    observed(&mut m, t, total);
    m.check();
}

/// a[t] reads b[t-1]; b[t] reads a at the same step.
#[test]
fn definitions_of_each_other() {
    let mut m = Model::default();
    let t = m.plate("t", 10);
    let (x, y) = (m.latent("x", &[]), m.latent("y", &[t]));
    let (a, b) = (m.walked("a", &[t]), m.walked("b", &[t]));
    let lag = m.earlier(t, 1.0);
    let (before, here) = (m.get(b, vec![lag.clone()]), m.read(a, &[t]));
    let (x, y) = (m.read(x, &[]), m.read(y, &[t]));
    let sum = m.add(before, y);
    let next = m.un(UnOp::Tanh, sum);
    let a_value = started(&mut m, t, 1.0, x, next);
    let product = m.mul(here, x);
    let b_before = m.get(b, vec![lag]);
    let with = m.add(product, b_before);
    let b_value = started(&mut m, t, 1.0, product, with);
    m.walk(&[(a, &[t], t, a_value), (b, &[t], t, b_value)], None, false);
    observed(&mut m, t, b);
    m.check();
}

/// Steps in an order of their own: two groups whose rows are mixed in the table.
#[test]
fn an_order_of_its_own() {
    for theta_dependent in [true, false] {
        let mut m = Model::default();
        let t = m.plate("row", 6);
        let order = m.data("order", &[t], [4.0, 0.0, 2.0, 5.0, 3.0, 1.0]);
        let rank = m.data("rank", &[t], [1.0, 5.0, 2.0, 4.0, 0.0, 3.0]);
        let step = m.data("step", &[t], [1.0, 2.0, 2.0, 1.0, 0.0, 0.0]);
        let weight = match theta_dependent {
            true => m.latent("w", &[]),
            false => m.data("w", &[], [0.7]),
        };
        let s = m.walked("s", &[t]);
        let (rank, step) = (m.read(rank, &[t]), m.read(step, &[t]));
        let (zero, one) = (m.c(0.0), m.c(1.0));
        let previous = m.sub(rank, one);
        let row = m.get(order, vec![Ix::At(previous)]);
        let before = m.get(s, vec![Ix::At(row)]);
        let w = m.read(weight, &[]);
        let grown = m.mul(w, before);
        let next = m.add(grown, one);
        let first = m.bin(BinOp::Equal, step, zero);
        let value = m.iff(first, w, next);
        m.walk(&[(s, &[t], t, value)], Some(order), false);
        let u = m.latent("u", &[]);
        let y = m.data("y", &[t], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]);
        let (s, u, y) = (m.read(s, &[t]), m.read(u, &[]), m.read(y, &[t]));
        let mean = m.mul(s, u);
        let lp = m.normal(y, mean, one);
        m.term("observe y", &[t], lp);
        let graph = m.check();
        // What depends on data only is computed once.
        assert_eq!(graph.value.iter().any(|r| r.walk.is_some()), theta_dependent);
    }
}

/// A chain of 10 000 steps has the gradient that differences show, and no exponent of the length.
#[test]
fn a_long_walk() {
    let (graph, _) = garch(10_000).lower().unwrap_or_else(|d| panic!("{:?}", d.list));
    let theta = [0.3, -0.4, 0.8];
    let mut interp = Interp::new(&graph);
    let mut grad = [0.0; 3];
    interp.value_grad(&theta, &mut grad);
    for i in 0..3 {
        let at = |x: f64| {
            let mut at = theta;
            at[i] = x;
            interp.value(&at)
        };
        let mut at = at;
        let (want, doubt) = difference(&mut at, theta[i]);
        close(grad[i], want, 1e-6 + 10.0 * doubt, || format!("d/d theta[{i}]"));
    }
}
