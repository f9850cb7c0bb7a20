//! Nets: layers against formulas written out, gradients against finite differences, weights that are shared.

use vic::infer::Target;
use vic::lower::graph::{Call, Region, Stmt};

use super::support::{checked_value, compile, csv, fit, summaries, theta};
use vic::driver::{Compiled, FitRequest};

const DATA: &str = "y,a,b,g\n0.3,1,-0.5,u\n-1.2,0.2,0.4,v\n0.8,-0.7,1.1,u\n";

fn net(declarations: &str) -> Compiled {
    let data = "data rows { y: real, g: category, x: real[feature] from [\"a\", \"b\"] }\n";
    compile(&format!("{data}{declarations}"), &csv(DATA))
}

/// Central differences of order h⁴ with h = 1e-3: error about 1e-12, and rounding of 1e-13 of the value over h. The
/// gradient must agree to 1e-7; a wrong derivative is off by far more.
fn check_gradient(compiled: &Compiled, what: &str) {
    let at = theta(compiled.model.dim());
    checked_value(compiled, &at);
    let mut run = compiled.model.evaluator();
    let mut grad = vec![0.0; at.len()];
    run.value_grad(&at, &mut grad);
    let h = 1e-3;
    for i in 0..at.len() {
        let mut f = |t: f64| {
            let mut moved = at.clone();
            moved[i] += t;
            run.value(&moved)
        };
        let slope = (8.0 * (f(h) - f(-h)) - (f(2.0 * h) - f(-2.0 * h))) / (12.0 * h);
        assert!((slope - grad[i]).abs() < 1e-7 * (1.0 + slope.abs()), "{what}: d/d{i} is {}, not {slope}", grad[i]);
    }
}

#[test]
fn gradients_of_every_layer() {
    let activations = ["identity", "tanh", "relu", "leaky_relu", "elu", "gelu", "swish", "silu", "sigmoid", "softplus"];
    let mut bodies: Vec<String> = activations.iter().map(|a| format!("dense(3, {a})")).collect();
    bodies.extend(
        ["dense(3) |> tanh", "dense(4, tanh) |> layer_norm", "dense(3) |> residual(dense(5, tanh) |> dense(3, tanh))"]
            .map(String::from),
    );
    bodies.push("dense(3) |> residual(dense(3, tanh)) |> dense(feature)".into());
    for body in bodies {
        let model = format!(
            "net f(x: real[feature], g: g) -> (mu: real, sigma: real > 0) = {body} |> head\nlet q = f(x, g)\nobserve y ~ Normal(q.mu, q.sigma)"
        );
        check_gradient(&net(&model), &body);
    }
}

#[test]
fn heads_of_every_range() {
    let model = "plate class = 3
net f(x: real[feature]) -> (p: simplex[class], q: real in (0, 1), r: real < 2, s: real > 1, w: real[class]) = dense(2, tanh) |> head
let o = f(x)
observe y ~ Normal(sum(o.p * o.w over class) + o.r, o.s + o.q)";
    check_gradient(&net(model), "heads");
}

/// The log joint of a net is that of its formula, at the same weights in the same order.
#[test]
fn a_net_is_its_formula() {
    let by_net = "net f(x: real[feature], g: g) -> real = dense(3, tanh) |> dense(2, relu) |> head\nobserve y ~ Normal(f(x, g), 1)";
    let by_hand = "plate h = 3
plate k = 2
param b1[h]: real = 0
param w1[h, feature]: real = 0
param v1[h, g]: real = 0
param b2[k]: real = 0
param w2[k, h]: real = 0
param b3: real = 0
param w3[k]: real = 0
let z1[rows, h] = tanh(b1 + sum(w1 * x over feature) + v1[h, g])
let z2 = max(b2 + sum(w2 * z1 over h), 0)
observe y ~ Normal(b3 + sum(w3 * z2 over k), 1)";
    let (a, b) = (net(by_net), net(by_hand));
    assert_eq!(a.model.dim(), 3 + 6 + 6 + 2 + 6 + 1 + 2);
    let at = theta(a.model.dim());
    let (x, y) = (checked_value(&a, &at), checked_value(&b, &at));
    assert!((x - y).abs() < 1e-12, "{x} and {y}");
}

/// One set of weights, however often a net is called; one per plate of a net that takes a plate.
#[test]
fn weights_are_shared() {
    let twice = net("net f(x: real[feature]) -> real = dense(3, tanh) |> head\nobserve y ~ Normal(f(x) + f(2 * x), 1)");
    assert_eq!(twice.model.dim(), 3 + 6 + 1 + 3);
    let names = twice.model.names();
    assert!(
        names.contains(&"f.1.weight unconstrained[3, b]".to_string()) || names.contains(&"f.1.weight[3, b]".into()),
        "{names:?}"
    );
    let chained = net("plate code = 2
net trunk(x: real[feature]) -> real[code] = dense(3, tanh) |> head
net f(x: real[feature]) -> real = trunk(x) |> head
net g[P](x: real[P]) -> real = head
observe y ~ Normal(f(x) + g(x) + g(trunk(x)), 1)");
    assert_eq!(chained.model.dim(), (3 + 6 + 2 + 6) + (1 + 2) + (1 + 2) + (1 + 2));
    check_gradient(&chained, "nets of nets");
}

/// Weights start at draws with the standard deviation of their layer, the same in every fit.
#[test]
fn weights_start_small_and_different() {
    let model =
        "net f(x: real[feature]) -> real = dense(200, tanh) |> dense(300, relu) |> head\nobserve y ~ Normal(f(x), 1)";
    let (one, two) = (net(model).model, net(model).model);
    assert_eq!(one.start(), two.start());
    let (names, start) = (one.names(), one.start());
    let sd = |layer: &str| {
        let own: Vec<f64> = names.iter().zip(&start).filter(|(n, _)| n.starts_with(layer)).map(|(_, x)| *x).collect();
        (own.iter().map(|x| x * x).sum::<f64>() / own.len() as f64).sqrt()
    };
    // 60 000 draws have an sd within 1 % of the true one (3.5 standard errors); Glorot of 2 and 200, He of 200.
    assert!((sd("f.2.weight") / (2.0f64 / 200.0).sqrt() - 1.0).abs() < 0.01);
    assert!((sd("f.1.weight") / (2.0f64 / 202.0).sqrt() - 1.0).abs() < 0.2);
    assert_eq!(sd("f.1.bias"), 0.0);
}

/// A net fitted to a point finds a curve that a line cannot: the error that is left is that of the noise.
#[test]
fn a_net_fits_a_curve() {
    let rows: String = (0..60)
        .map(|i| {
            let x = i as f64 / 10.0 - 3.0;
            format!("{x},{}\n", (1.5 * x).sin() + 0.05 * f64::from((i * 7) % 5 - 2))
        })
        .collect();
    let model = "data rows { x: real, y: real }
net f(x: real) -> real = dense(6, tanh) |> head
let m = f(x)
observe y ~ Normal(m, 0.1)
report rmse = sqrt(mean((y - m)^2 over rows))";
    let report =
        fit(&compile(model, &csv(&format!("x,y\n{rows}"))), &FitRequest { starts: Some(1), ..FitRequest::default() });
    // The noise has an rms of 0.07; a straight line leaves 0.7.
    let rmse = summaries(&report)["rmse"].0;
    assert!(rmse < 0.1, "{rmse}");
    assert_eq!(report.vars.len(), 1);
    assert_eq!(report.weights.iter().map(|w| w.draws.len()).sum::<usize>(), 6 + 6 + 1 + 6);
    // Weights stand once beside the draws: predictions take them in every draw.
    let of = |v: &vic::report::ReportVar, n: usize| {
        (0..v.cells()).map(|c| (v.cell_name(c), v.cell(c, n).to_vec())).collect::<Vec<_>>()
    };
    let posterior = report.vars.iter().flat_map(|v| of(v, report.draws));
    let posterior = posterior.chain(report.weights.iter().flat_map(|v| of(v, 1))).collect();
    let hir = super::support::checked(model);
    let fitted = csv(&format!("x,y\n{rows}"));
    let predictor =
        vic::simulate::Predictor { hir: &hir, fitted: &fitted, new: &[], posterior: &posterior, draws: 100, seed: 1 };
    let made = predictor.predict(&mut vic::diag::Diags::default()).expect("predicts");
    for (c, line) in rows.lines().enumerate() {
        let y: f64 = line.split(',').nth(1).and_then(|y| y.parse().ok()).expect("a number");
        let mean = made.vars[0].cell(c, made.draws).iter().sum::<f64>() / made.draws as f64;
        // 0.1 of noise in the mean of 100 draws, and what the net is off.
        assert!((mean - y).abs() < 0.35, "row {c}: {mean} and {y}");
    }
}

/// How many products of matrices the programs of the value and of the gradient call.
fn products(compiled: &Compiled) -> (usize, usize) {
    let calls = |program: &[Region]| {
        let is = |s: &&Stmt| matches!(s, Stmt::Call(Call::Product(_)));
        program.iter().flat_map(|r| &r.body).filter(is).count()
    };
    let graph = compiled.model.graph();
    (calls(&graph.value), calls(&graph.gradient))
}

/// Two heads share a layer, whose slopes are the sum of two products; those of both heads' weights and of that of the layer
/// before are products too.
#[test]
fn heads_on_one_layer_are_products_of_matrices() {
    let (rows, inputs) = (30, 8);
    let x = |i: usize, j: usize| ((i * 7 + j * 13) % 11) as f64 / 5.0 - 1.0;
    let header: Vec<String> = (1..=inputs).map(|j| format!("x{j}")).collect();
    let line = |i: usize| (0..inputs).map(|j| x(i, j).to_string()).collect::<Vec<_>>().join(",") + "\n";
    let text = format!("{}\n{}", header.join(","), (0..rows).map(line).collect::<String>());
    let model = "data rows { x: real[feature] from \"x*\" }
net f(x: real[feature]) -> (mu: real[feature], sigma: real[feature] > 0) = dense(150, tanh) |> head
let q = f(x)
observe x ~ Normal(q.mu, q.sigma)";
    let compiled = compile(model, &csv(&text));
    assert_eq!(products(&compiled), (3, 8));
    let at: Vec<f64> = (0..compiled.model.dim()).map(|i| 0.2 * (1.3 * i as f64).sin()).collect();
    checked_value(&compiled, &at);
}

/// Layers that are wide enough go through products of whole matrices: the value is that of loops over the weights by name, and
/// the gradient that of finite differences at some of the weights.
#[test]
fn wide_layers_are_products_of_matrices() {
    let (rows, inputs, units) = (40, 30, 36);
    let x = |i: usize, j: usize| ((i * 7 + j * 13) % 11) as f64 / 5.0 - 1.0;
    let header: Vec<String> = (1..=inputs).map(|j| format!("x{j}")).collect();
    let line = |i: usize| (0..inputs).map(|j| x(i, j).to_string()).collect::<Vec<_>>().join(",") + "\n";
    let text = format!("{}\n{}", header.join(","), (0..rows).map(line).collect::<String>());
    let model = "data rows { x: real[feature] from \"x*\" }
net f(x: real[feature]) -> real[feature] = dense(36, tanh) |> head
observe x ~ Normal(f(x), 1)";
    let compiled = compile(model, &csv(&text));
    // Forwards one per layer; backwards two, but that to the data.
    assert_eq!(products(&compiled), (2, 5));
    let at: Vec<f64> = (0..compiled.model.dim()).map(|i| 0.2 * (1.3 * i as f64).sin()).collect();
    let value = checked_value(&compiled, &at);
    let names = compiled.model.names();
    let named: std::collections::HashMap<&str, f64> =
        names.iter().map(String::as_str).zip(at.iter().copied()).collect();
    let w = |name: String| named[name.as_str()];
    let mut expected = 0.0;
    for i in 0..rows {
        let h: Vec<f64> = (1..=units)
            .map(|u| {
                let sum: f64 = (0..inputs).map(|j| w(format!("f.1.weight[{u}, {}]", j + 1)) * x(i, j)).sum();
                (sum + w(format!("f.1.bias[{u}]"))).tanh()
            })
            .collect();
        for j in 0..inputs {
            let sum: f64 =
                h.iter().enumerate().map(|(u, h)| w(format!("f.head.weight[{}, {}]", j + 1, u + 1)) * h).sum();
            let error = x(i, j) - sum - w(format!("f.head.bias[{}]", j + 1));
            expected -= 0.5 * (error * error + std::f64::consts::TAU.ln());
        }
    }
    assert!((value - expected).abs() < 1e-10 * expected.abs(), "{value} and {expected}");
    let mut run = compiled.model.evaluator();
    let mut grad = vec![0.0; at.len()];
    run.value_grad(&at, &mut grad);
    let h = 1e-3;
    for i in (0..at.len()).step_by(53) {
        let mut f = |t: f64| {
            let mut moved = at.clone();
            moved[i] += t;
            run.value(&moved)
        };
        let slope = (8.0 * (f(h) - f(-h)) - (f(2.0 * h) - f(-2.0 * h))) / (12.0 * h);
        // Rounding: 1e-16 of a value of about 2000, over h.
        assert!((slope - grad[i]).abs() < 1e-7 * (10.0 + slope.abs()), "{}: {} and {slope}", names[i], grad[i]);
    }
}
