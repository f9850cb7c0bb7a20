//! Layers of nets beside the affine ones: against formulas and naive loops, with gradients against finite differences.

use vic::driver::{Compiled, FitRequest};
use vic::infer::Target;
use vic::infer::batches::{Batch, Rows};

use super::support::{checked_value, compile, csv, fit, theta};

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
        r.take(&Batch::of(vec![0, 1, 2], vec![1.0; 3]));
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

/// Rows, columns, channels, and the values in that order, the channels fastest.
#[derive(Clone)]
struct Image {
    sides: [usize; 3],
    cells: Vec<f64>,
}

impl Image {
    fn new(sides: [usize; 3], cells: Vec<f64>) -> Image {
        assert_eq!(sides.iter().product::<usize>(), cells.len());
        Image { sides, cells }
    }

    fn at(&mut self, r: usize, c: usize, k: usize) -> &mut f64 {
        &mut self.cells[(r * self.sides[1] + c) * self.sides[2] + k]
    }

    fn map(mut self, f: impl Fn(f64) -> f64) -> Image {
        self.cells.iter_mut().for_each(|x| *x = f(*x));
        self
    }
}

struct Weights<'w> {
    names: &'w [String],
    at: &'w [f64],
}

impl Weights<'_> {
    fn get(&self, name: String) -> f64 {
        self.at[self.names.iter().position(|n| *n == name).unwrap_or_else(|| panic!("{name} in {:?}", self.names))]
    }

    /// A convolution as loops, or what a transposed one adds to its result.
    fn convolved(
        &self,
        layer: &str,
        x: &Image,
        outputs: usize,
        kernel: usize,
        stride: usize,
        transposed: bool,
    ) -> Image {
        let [rows, columns, inputs] = x.sides;
        let sides = match transposed {
            true => [rows * stride, columns * stride, outputs],
            false => [rows.div_ceil(stride), columns.div_ceil(stride), outputs],
        };
        let mut y = Image::new(sides, vec![0.0; sides.iter().product()]);
        for r in 0..sides[0] {
            for c in 0..sides[1] {
                (0..outputs).for_each(|o| *y.at(r, c, o) = self.get(format!("{layer}.bias[{}]", o + 1)));
            }
        }
        let pad = (kernel - 1) / 2;
        let (small, large) = if transposed { (x.sides, sides) } else { (sides, x.sides) };
        let mut x = x.clone();
        for (r, c) in (0..small[0]).flat_map(|r| (0..small[1]).map(move |c| (r, c))) {
            for (i, j) in (0..kernel).flat_map(|i| (0..kernel).map(move |j| (i, j))) {
                let (p, q) = (r * stride + i, c * stride + j);
                if p < pad || q < pad || p - pad >= large[0] || q - pad >= large[1] {
                    continue;
                }
                for (o, k) in (0..outputs).flat_map(|o| (0..inputs).map(move |k| (o, k))) {
                    let w = self.get(format!("{layer}.weight[{}, {}]", o + 1, (i * kernel + j) * inputs + k + 1));
                    match transposed {
                        true => *y.at(p - pad, q - pad, o) += w * *x.at(r, c, k),
                        false => *y.at(r, c, o) += w * *x.at(p - pad, q - pad, k),
                    }
                }
            }
        }
        y
    }

    fn affine(&self, layer: &str, x: &[f64], outputs: usize) -> Vec<f64> {
        let of = |o: usize| {
            let sum: f64 =
                x.iter().enumerate().map(|(i, x)| x * self.get(format!("{layer}.weight[{o}, {}]", i + 1))).sum();
            sum + self.get(format!("{layer}.bias[{o}]"))
        };
        (1..=outputs).map(of).collect()
    }
}

fn images(rows: usize, pixels: usize) -> (String, Vec<Vec<f64>>) {
    let x: Vec<Vec<f64>> =
        (0..rows).map(|r| (0..pixels).map(|p| ((r * 31 + p * 17) % 13) as f64 / 6.0 - 1.0).collect()).collect();
    let header: Vec<String> = (1..=pixels).map(|p| format!("p{p}")).collect();
    let line = |r: &Vec<f64>| r.iter().map(f64::to_string).collect::<Vec<_>>().join(",") + "\n";
    (format!("{}\n{}", header.join(","), x.iter().map(line).collect::<String>()), x)
}

fn log_normals(x: &[f64], m: &[f64]) -> f64 {
    x.iter().zip(m).map(|(x, m)| -0.5 * ((x - m) * (x - m) + std::f64::consts::TAU.ln())).sum()
}

/// Convolutions with strides and kernels, odd and even, and their transposes are those of naive loops; gradients those of
/// finite differences.
#[test]
fn convolutions_are_their_loops() {
    let (text, x) = images(2, 24);
    for (kernel, stride) in [(3, 2), (2, 2), (3, 1), (1, 1)] {
        let model = format!(
            "data rows {{ x: real[pixel] from \"p*\" }}
net f(x: real[pixel]) -> real[pixel] = image(4, 6) |> conv(3, {kernel}, tanh, stride: {stride}) |> conv_transpose(2, {kernel}, stride: {stride}) |> softplus |> head(conv(3))
observe x ~ Normal(f(x), 1)"
        );
        let compiled = compile(&model, &csv(&text));
        let names: Vec<String> = compiled.model.names().iter().map(|n| n.replace(" unconstrained", "")).collect();
        let at: Vec<f64> = theta(names.len()).iter().map(|x| 0.5 * x).collect();
        let w = Weights { names: &names, at: &at };
        let mut expected = 0.0;
        for row in &x {
            let y = w.convolved("f.2", &Image::new([4, 6, 1], row.clone()), 3, kernel, stride, false).map(f64::tanh);
            let y = w.convolved("f.3", &y, 2, kernel, stride, true).map(|x| x.exp().ln_1p());
            expected += log_normals(row, &w.convolved("f.head", &y, 1, 3, 1, false).cells);
        }
        let value = checked_value(&compiled, &at);
        assert!((value - expected).abs() < 1e-10 * expected.abs(), "{kernel}, {stride}: {value} and {expected}");
    }
}

/// Units become an image of several channels, windows are pooled, and an image becomes units again.
#[test]
fn units_are_images_and_images_units() {
    let (text, x) = images(2, 5);
    for pool in ["max_pool", "mean_pool"] {
        let model = format!(
            "data rows {{ x: real[pixel] from \"p*\" }}
net f(x: real[pixel]) -> (mu: real[pixel], sigma: real > 0) = dense(12, tanh) |> image(3, 2) |> conv_transpose(2, 3, tanh, stride: 2) |> {pool}(2) |> head
let q = f(x)
observe x ~ Normal(q.mu, 1)
factor log(q.sigma)"
        );
        let compiled = compile(&model, &csv(&text));
        let names: Vec<String> = compiled.model.names().iter().map(|n| n.replace(" unconstrained", "")).collect();
        let at: Vec<f64> = theta(names.len()).iter().map(|x| 0.5 * x).collect();
        let w = Weights { names: &names, at: &at };
        let mut expected = 0.0;
        for row in &x {
            let units = w.affine("f.1", row, 12).into_iter().map(f64::tanh).collect();
            let mut y = w.convolved("f.3", &Image::new([3, 2, 2], units), 2, 3, 2, true).map(f64::tanh);
            assert_eq!(y.sides, [6, 4, 2]);
            let mut small = vec![];
            for (r, c, k) in (0..3).flat_map(|r| (0..2).flat_map(move |c| (0..2).map(move |k| (r, c, k)))) {
                let window: Vec<f64> = (0..4).map(|i| *y.at(2 * r + i / 2, 2 * c + i % 2, k)).collect();
                small.push(match pool {
                    "max_pool" => window.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                    _ => window.iter().sum::<f64>() / 4.0,
                });
            }
            expected += log_normals(row, &w.affine("f.mu", &small, 5));
            let sum: f64 = small.iter().enumerate().map(|(i, x)| x * w.get(format!("f.sigma.weight[{}]", i + 1))).sum();
            expected += sum + w.get("f.sigma.bias".into());
        }
        let value = checked_value(&compiled, &at);
        assert!((value - expected).abs() < 1e-10 * expected.abs(), "{pool}: {value} and {expected}");
    }
}

/// The states of a recurrent cell, day after day.
fn states(w: &Weights, cell: &str, x: &[f64], units: usize) -> Vec<Vec<f64>> {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let mut h = vec![0.0; units];
    let mut all = vec![];
    for x in x {
        let part = |p: &str, u: usize| {
            let given = w.get(format!("f.1.{p}.bias[{u}]")) + w.get(format!("f.1.{p}.weight[{u}]")) * x;
            let own: f64 = (1..=units).map(|v| w.get(format!("f.1.{p}.recurrent[{u}, {v}]")) * h[v - 1]).sum();
            (given, own)
        };
        let sum = |p: &str, u: usize| part(p, u).0 + part(p, u).1;
        h = (1..=units)
            .map(|u| match cell {
                "rnn" => sum("state", u).tanh(),
                _ => {
                    let (reset, keep) = (sigmoid(sum("reset", u)), sigmoid(sum("keep", u)));
                    let (given, own) = part("state", u);
                    let new = (given + reset * own).tanh();
                    keep * h[u - 1] + (1.0 - keep) * new
                }
            })
            .collect();
        all.push(h.clone());
    }
    all
}

/// Recurrent cells are their loops, forwards and backwards, day by day and at the end; gradients are those of finite
/// differences.
#[test]
fn recurrent_cells_are_their_loops() {
    let (text, x) = images(3, 5);
    for cell in ["rnn", "gru"] {
        for backwards in [false, true] {
            let back = if backwards { ", backwards" } else { "" };
            let end = if backwards { "first" } else { "last" };
            let model = format!(
                "data people {{ y: real[day] from \"p*\" }}
net f(y: real[day]) -> (mu: real[day], sigma: real > 0) = {cell}(3, day{back}) |> head
net g(y: real[day]) -> real = {cell}(2, day{back}) |> {end}(day) |> tanh |> head
let q = f(y)
observe y ~ Normal(q.mu, 1)
let m = g(y)
factor m"
            );
            let model = model.replace(", sigma: real > 0", "").replace("(mu: real[day])", "real[day]");
            let model = model.replace("q.mu", "q");
            let compiled = compile(&model, &csv(&text));
            let names: Vec<String> = compiled.model.names().iter().map(|n| n.replace(" unconstrained", "")).collect();
            let at: Vec<f64> = theta(names.len()).iter().map(|x| 0.7 * x).collect();
            let w = Weights { names: &names, at: &at };
            let renamed: Vec<String> = names.iter().map(|n| n.replace("g.1.", "f.1.")).collect();
            let of_g: Vec<usize> = (0..names.len()).filter(|i| names[*i].starts_with("g.")).collect();
            let (g_names, g_at): (Vec<String>, Vec<f64>) = of_g.iter().map(|&i| (renamed[i].clone(), at[i])).unzip();
            let g = Weights { names: &g_names, at: &g_at };
            let mut expected = 0.0;
            for row in &x {
                let mut order = row.clone();
                if backwards {
                    order.reverse();
                }
                let mut all = states(&w, cell, &order, 3);
                if backwards {
                    all.reverse();
                }
                let head = |h: &Vec<f64>| {
                    let sum: f64 = (1..=3).map(|u| w.get(format!("f.head.weight[{u}]")) * h[u - 1]).sum();
                    sum + w.get("f.head.bias".into())
                };
                expected += log_normals(row, &all.iter().map(head).collect::<Vec<_>>());
                let last = states(&g, cell, &order, 2).pop().expect("there are days");
                let sum: f64 = (1..=2).map(|u| g.get(format!("g.head.weight[{u}]")) * last[u - 1].tanh()).sum();
                expected += sum + g.get("g.head.bias".into());
            }
            let value = checked_value(&compiled, &at);
            assert!((value - expected).abs() < 1e-10 * expected.abs(), "{cell}{back}: {value} and {expected}");
        }
    }
}

/// A guide whose encoder goes along a series: local and global latents from it, and a gradient that is right.
#[test]
fn series_are_encoded() {
    let (text, _) = images(3, 5);
    let model = "data people { y: real[day] from \"p*\" }
plate code = 2
net encode(y: real[day]) -> (mu: real[code], sigma: real[code] > 0) = gru(3, day) |> last(day) |> head
net smooth(y: real[day]) -> real[day] = gru(2, day, backwards) |> dense(2, tanh) |> head
latent z[people, code] ~ Normal(0, 1)
latent h[people, day] ~ Normal(sum(z over code), 1)
observe y ~ Normal(h, 0.5)
guide {
  let q = encode(y)
  z ~ Normal(q.mu, q.sigma)
  let s = smooth(y)
  param t: real > 0 = 0.5
  h ~ Normal(s + sum(z over code), t)
}";
    let compiled = compile(model, &csv(&text));
    let at: Vec<f64> = theta(compiled.model.dim()).iter().map(|x| 0.5 * x).collect();
    checked_value(&compiled, &at);
    let batched = format!("{model}\nfit {{ batch: people(2), optimizer: adam(0.01), epochs: 3 }}");
    let report = fit(&compile(&batched, &csv(&text)), &FitRequest::default());
    assert!(report.elbo.is_some_and(|e| e.0.is_finite()));
}

/// A net whose weights have a prior is a regression with latent coefficients; and a deep one has the priors of all its weights,
/// each by the number of its layer's inputs.
#[test]
fn weights_can_be_latents() {
    let of = |model: &str| {
        let compiled = net(model);
        let at = theta(compiled.model.dim());
        assert!(compiled.model.points().iter().all(|p| !p));
        (checked_value(&compiled, &at), compiled)
    };
    let by_net = of("net f(x: real[feature]) -> real = head ~ Normal(0, 2)\nobserve y ~ Normal(f(x), 1)").0;
    let by_hand = of(
        "latent b ~ Normal(0, 2)\nlatent w[feature] ~ Normal(0, 2)\nobserve y ~ Normal(b + sum(w * x over feature), 1)",
    )
    .0;
    assert!((by_net - by_hand).abs() < 1e-12 * by_hand.abs(), "{by_net} and {by_hand}");
    let model = "net f(x: real[feature], g: g) -> real = dense(3, tanh) |> head ~ Normal(0, s / sqrt(inputs))
const s = 2
observe y ~ Normal(f(x, g), 1)";
    let (with, compiled) = of(model);
    let points = model.replace(" ~ Normal(0, s / sqrt(inputs))", "");
    let without = net(&points);
    assert_eq!(without.model.dim(), compiled.model.dim());
    let names = compiled.model.names();
    let at = theta(names.len());
    // The same coordinates, by name.
    let plain: Vec<f64> = without
        .model
        .names()
        .iter()
        .map(|n| at[names.iter().position(|m| m == n).unwrap_or_else(|| panic!("{n} in {names:?}"))])
        .collect();
    let prior: f64 = names
        .iter()
        .zip(&at)
        .map(|(n, x)| {
            let inputs = match n {
                n if n.contains("bias") => 1.0,
                n if n.starts_with("f.1.") => 4.0,
                _ => 3.0,
            };
            let s = 2.0 / f64::sqrt(inputs);
            -0.5 * (x / s).powi(2) - s.ln() - 0.5 * std::f64::consts::TAU.ln()
        })
        .sum();
    let expected = without.model.evaluator().value(&plain) + prior;
    assert!((with - expected).abs() < 1e-10 * expected.abs(), "{with} and {expected}");
}

/// A chain with a name is what it stands for, with its arguments in their places; so are those of the library.
#[test]
fn chains_are_what_they_stand_for() {
    let data = |net: &str| {
        let (text, _) = images(2, 24);
        let model = format!(
            "data rows {{ x: real[pixel] from \"p*\" }}
fn block(width: int, f: layers) -> layers = dense(2 * width, f) |> residual(f |> dense(2 * width))
fn twice(width: int, f: layers, g: layers) -> layers = block(width + 1, f) |> g |> block(width, tanh)
net f(x: real[pixel]) -> real[pixel] = {net}
observe x ~ Normal(f(x), 1)"
        );
        let compiled = compile(&model, &csv(&text));
        let at = theta(compiled.model.dim());
        (compiled.model.names(), compiled.model.evaluator().value(&at))
    };
    for (named, written) in [
        ("mlp(5, tanh) |> head", "dense(5, tanh) |> dense(5, tanh) |> head"),
        (
            "twice(2, relu, dense(3) |> layer_norm) |> head",
            "dense(6, relu) |> residual(relu |> dense(6)) |> dense(3) |> layer_norm |> dense(4, tanh) |> residual(tanh |> dense(4)) |> head",
        ),
        (
            "image(4, 6) |> conv_encoder(2) |> conv_decoder(1, 2, 3) |> head",
            "image(4, 6) |> conv(2, 3, relu, stride: 2) |> conv(4, 3, relu, stride: 2) |> dense(12, relu) |> image(1, 2) |> conv_transpose(3, 3, relu, stride: 2) |> head",
        ),
        (
            "dense(4) |> residual_block(4, gelu) |> head",
            "dense(4) |> residual(layer_norm |> dense(4, gelu) |> dense(4)) |> head",
        ),
    ] {
        let (a, b) = (data(named), data(written));
        assert_eq!(a, b, "{named}");
    }
}
