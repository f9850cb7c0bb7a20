//! Discrete latents summed out, against sums over all their values.
//!
//! The oracle is the same model with each discrete latent as a column of the data: its log joint at one configuration is
//! one term of the sum, and shares nothing with the elimination.

use vic::driver::{self, Session};
use vic::infer::{Stream, Target};
use vic::run::interp::Interp;

use crate::support;

/// A model whose discrete latents can be data: what is declared, in which table, and how many values it takes.
struct Model {
    /// Lines before and after the discrete latents.
    before: String,
    after: String,
    tables: Vec<Table>,
    latents: Vec<Latent>,
}

struct Table {
    name: &'static str,
    columns: &'static str,
    header: &'static str,
    rows: Vec<String>,
}

struct Latent {
    name: &'static str,
    table: usize,
    /// Its type, as a column and as a latent.
    ty: &'static str,
    dist: String,
    /// What its values are called in a file.
    values: &'static [&'static str],
    /// Its index on the left side.
    head: String,
}

impl Model {
    fn text(&self, known: bool) -> String {
        let mut text = String::new();
        for (i, t) in self.tables.iter().enumerate() {
            let own = self.latents.iter().filter(|l| known && l.table == i);
            let more: Vec<String> = own.map(|l| format!(", {}: {}", l.name, l.ty)).collect();
            text += &format!("data {} {{ {}{} }}\n", t.name, t.columns, more.concat());
        }
        text += &self.before;
        for l in &self.latents {
            text += &match known {
                true if l.head == self.tables[l.table].name => format!("observe {} ~ {}\n", l.name, l.dist),
                true => format!("observe {}[{}] ~ {}\n", l.name, l.head, l.dist),
                false => format!("latent {}[{}]: {} ~ {}\n", l.name, l.head, l.ty, l.dist),
            };
        }
        text + &self.after
    }

    /// The data files, with the discrete values of one configuration if it is given.
    fn inputs(&self, values: Option<&[usize]>) -> vic::data::Inputs {
        let mut files = vec![];
        for (i, t) in self.tables.iter().enumerate() {
            let own: Vec<usize> = (0..self.latents.len()).filter(|&k| self.latents[k].table == i).collect();
            let mut csv = t.header.to_string();
            if values.is_some() {
                own.iter().for_each(|&k| csv += &format!(",{}", self.latents[k].name));
            }
            csv += "\n";
            for (r, row) in t.rows.iter().enumerate() {
                csv += row;
                if let Some(values) = values {
                    for &k in &own {
                        csv += &format!(",{}", self.latents[k].values[values[self.offset(k) + r]]);
                    }
                }
                csv += "\n";
            }
            let table = (self.tables.len() > 1).then(|| t.name.to_string());
            files.push(vic::data::DataFile { table, name: format!("{}.csv", t.name), bytes: csv.into_bytes() });
        }
        vic::data::Inputs { files, sets: vec![] }
    }

    /// Where a latent's cells begin in a configuration.
    fn offset(&self, latent: usize) -> usize {
        self.latents[..latent].iter().map(|l| self.tables[l.table].rows.len()).sum()
    }

    /// Every configuration, with how many values each cell takes.
    fn configurations(&self) -> Vec<Vec<usize>> {
        let kinds: Vec<usize> = self
            .latents
            .iter()
            .flat_map(|l| std::iter::repeat_n(l.values.len(), self.tables[l.table].rows.len()))
            .collect();
        let count: usize = kinds.iter().product();
        assert!(count <= 1500, "{count} configurations take too long");
        let one = |mut n: usize| {
            kinds
                .iter()
                .map(|k| {
                    let v = n % k;
                    n /= k;
                    v
                })
                .collect()
        };
        (0..count).map(one).collect()
    }
}

fn log_sum_exp(x: &[f64]) -> f64 {
    let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    max + x.iter().map(|v| (v - max).exp()).sum::<f64>().ln()
}

/// The log joint, its gradient, and the probabilities of all values, against enumeration at one theta.
fn check(model: &Model, seed: u64) {
    let text = model.text(false);
    let compiled = support::compile(&text, &model.inputs(None));
    let mut stream = Stream::new(seed, "test", "theta");
    let theta: Vec<f64> = (0..compiled.layout.dim()).map(|_| stream.normal() * 0.7).collect();
    let mut evaluator = compiled.model.evaluator();
    let value = evaluator.value(&theta);
    let configurations = model.configurations();
    let known = model.text(true);
    let mut session = Session::default();
    let checked = driver::check(&mut session, "known.vi", &known);
    let errors: Vec<String> = session.diags.list.iter().map(|d| d.message.clone()).collect();
    assert!(!session.diags.has_errors(), "{known}\n{}", errors.join("\n"));
    let terms: Vec<f64> = configurations
        .iter()
        .map(|c| {
            let (ast, hir) = (checked.ast.clone(), checked.hir.clone());
            let mut own = driver::Checked { file: checked.file, ast, whole: Default::default(), imports: vec![], hir };
            let (_, graph, _) = driver::lower(&mut session, &mut own, &model.inputs(Some(c))).expect("it fits");
            Interp::new(&graph).value(&theta)
        })
        .collect();
    let want = log_sum_exp(&terms);
    assert!((value - want).abs() <= 1e-10 * want.abs().max(1.0), "{text}\n{value} is not {want}");

    let mut gradient = vec![0.0; theta.len()];
    let with = evaluator.value_grad(&theta, &mut gradient);
    assert!((with - value).abs() <= 1e-11 * value.abs(), "{text}");
    for i in 0..theta.len() {
        let h = 1e-5;
        let mut at = |x: f64| {
            let mut t = theta.clone();
            t[i] += x;
            evaluator.value(&t)
        };
        let difference = (8.0 * (at(h) - at(-h)) - (at(2.0 * h) - at(-2.0 * h))) / (12.0 * h);
        let off = (gradient[i] - difference).abs();
        assert!(off <= 1e-6 * difference.abs().max(1.0), "{text}\nby {i}: {} is not {difference}", gradient[i]);
    }

    // The probabilities at this theta, as if it were every draw.
    let draws: Vec<f64> = theta.iter().copied().cycle().take(theta.len() * driver::REPORT_DRAWS).collect();
    let report = driver::discrete(&compiled, &draws);
    assert_eq!(report.len(), model.latents.len());
    let best = (0..terms.len()).max_by(|&a, &b| terms[a].total_cmp(&terms[b])).expect("there is one");
    for (k, z) in report.iter().enumerate() {
        assert_eq!(z.name, model.latents[k].name);
        for cell in 0..z.cells() {
            let at = model.offset(k) + cell;
            for v in 0..z.values.len() {
                let own = configurations.iter().zip(&terms).filter(|(c, _)| c[at] == v);
                let p: f64 = own.map(|(_, t)| (t - want).exp()).sum();
                let got = z.probability(cell, v);
                assert!((got - p).abs() < 1e-9, "{text}\nP({}={}) is {got}, not {p}", z.cell_name(cell), z.values[v]);
            }
            assert_eq!(z.most_probable[cell], configurations[best][at], "{text}\n{}", z.cell_name(cell));
        }
    }

    // Draws of all of them together, by configuration. With draws in n cells χ² has mean n - 1 and variance 2 (n - 1).
    const DRAWS: usize = 2000;
    let mut counts = vec![0; configurations.len()];
    let mut reporter = compiled.model.reporter();
    reporter.run(&theta);
    let hir = &compiled.hir;
    let mut given = |_: usize, var| reporter.buffer(compiled.layout.buffer(var).expect("it is a latent")).to_vec();
    vic::simulate::draw_discrete(hir, &compiled.bound, seed, DRAWS, &mut given, &mut |_, drawn| {
        // Counts of these models start at 0, so that numbers are positions.
        let found: Vec<usize> = hir.discrete.iter().flat_map(|d| drawn[&d.var].iter().map(|x| *x as usize)).collect();
        counts[configurations.iter().position(|c| *c == found).expect("every draw is a configuration")] += 1;
    });
    let (mut square, mut cells, mut rest) = (0.0f64, 0.0f64, (0.0, 0.0));
    for (count, term) in counts.iter().zip(&terms) {
        let expected = DRAWS as f64 * (term - want).exp();
        match expected >= 5.0 {
            true => (square, cells) = (square + (f64::from(*count) - expected).powi(2) / expected, cells + 1.0),
            false => rest = (rest.0 + f64::from(*count), rest.1 + expected),
        }
    }
    if rest.1 >= 5.0 {
        (square, cells) = (square + (rest.0 - rest.1).powi(2) / rest.1, cells + 1.0);
    } else {
        // P(X > 20) < 1e-6 for a Poisson of mean 5.
        assert!(rest.0 <= 20.0, "{text}\n{rest:?}");
    }
    assert!(square < cells + 4.5 * (2.0 * cells).sqrt() + 4.0, "{text}\nχ² = {square} of {cells} configurations");
}

const BOOL: &[&str] = &["0", "1"];
const TWO: &[&str] = &["1", "2"];
const THREE: &[&str] = &["1", "2", "3"];

fn latent(name: &'static str, table: usize, ty: &'static str, dist: &str, values: &'static [&'static str]) -> Latent {
    let head = ["groups", "rows"][table].to_string();
    Latent { name, table, ty, dist: dist.into(), values, head }
}

/// Models put together at random: latents per group and per row that depend on each other, read through a key, as
/// indices, numbers and conditions, in priors and densities.
#[test]
fn random_models_equal_enumeration() {
    for seed in 0..6 {
        let mut stream = Stream::new(seed, "test", "models");
        let mut coin = || stream.uniform() < 0.5;
        let (class, flag, part, count, nested, spread) = (coin(), coin(), true, coin(), coin(), coin());
        let groups = if class && flag { 1 } else { 2 };
        let rows = if count { 2 } else { 3 };
        let mut latents = vec![];
        if class {
            latents.push(latent("c", 0, "kind", "Categorical(a)", TWO));
        }
        if flag {
            let q = if class && nested { "Bernoulli(logit: 2 * s * h[c])" } else { "Bernoulli(inv_logit(s))" };
            latents.push(latent("b", 0, "bool", q, BOOL));
        }
        if part {
            latents.push(latent(
                "z",
                1,
                "part",
                if class && nested { "Categorical(w[c[g]])" } else { "Categorical(logit: m)" },
                THREE,
            ));
        }
        if count {
            let p = if flag { "if b[g] then 0.3 else inv_logit(s)" } else { "0.4" };
            latents.push(latent("n", 1, "int in [0, 2]", &format!("Binomial(2, {p})"), &["0", "1", "2"]));
        }
        let mut mean = "m[z]".to_string();
        if class && !(nested && spread) {
            mean += " + h[c[g]] * x";
        }
        if count {
            mean += " + s * n";
        }
        let sigma = if flag && spread { "if b[g] then 0.5 else 1 + x^2" } else { "0.8" };
        let data =
            |stream: &mut Stream, i: usize| format!("g{},{:.3},{:.3}", i % groups, stream.normal(), stream.normal());
        let model = Model {
            before: "plate kind = 2\nplate part = 3\nlatent a over kind ~ Dirichlet(2)\nlatent w[kind] over part ~ Dirichlet(1)\nlatent m[part] ~ Normal(0, 2)\nlatent h[kind] ~ Normal(0, 1)\nlatent s ~ Normal(0, 1)\n".into(),
            after: format!("let mean = {mean}\nobserve y ~ Normal(mean, {sigma})\nfactor if z == z then 0.1 * s else 0\n"),
            tables: vec![
                Table { name: "groups", columns: "name: key", header: "name", rows: (0..groups).map(|g| format!("g{g}")).collect() },
                Table { name: "rows", columns: "g: groups, x: real, y: real", header: "g,x,y", rows: (0..rows).map(|i| data(&mut stream, i)).collect() },
            ],
            latents,
        };
        check(&model, seed);
    }
}

/// Two latents in one factor with a plate of its own inside: the product over it comes before the sums.
#[test]
fn inner_plates_are_multiplied_first() {
    for seed in 0..2 {
        let mut stream = Stream::new(seed, "test", "inner");
        let rows =
            (0..3).map(|_| (0..4).map(|_| format!("{:.3}", stream.normal())).collect::<Vec<_>>().join(",")).collect();
        let model = Model {
            before: "plate part = 3\nlatent w over part ~ Dirichlet(1)\nlatent m[part, dim] ~ Normal(0, 2)\n".into(),
            after: "observe x ~ Normal(if b then m[z] else 0, 1)\n".into(),
            tables: vec![Table { name: "rows", columns: "x: real[dim] from \"x*\"", header: "x1,x2,x3,x4", rows }],
            latents: vec![
                Latent { head: "rows".into(), ..latent("z", 0, "part", "Categorical(w)", THREE) },
                Latent { head: "rows".into(), ..latent("b", 0, "bool", "Bernoulli(0.6)", BOOL) },
            ],
        };
        check(&model, seed);
    }
}

/// Chains in the plate's order, with several emissions, transitions by covariates, a class for the whole chain, and
/// densities that read two steps.
#[test]
fn chains_equal_enumeration() {
    let start = "if first(t) then Categorical(logit: 0) else";
    let cases: [(&str, &str, &[&str], usize); 5] = [
        ("Categorical(theta[z[t-1]])", "observe y ~ Normal(m[z], 1)\n", TWO, 8),
        ("Categorical(theta[z[t-1]])", "observe y ~ Normal(m[z], 1)\nobserve x ~ Normal(z, 0.5)\n", THREE, 5),
        (
            "Categorical(logit: if z[t-1] == z[t-1] then m * x + s * m[z[t-1]] else 0)",
            "observe y ~ Normal(m[z], 1)\n",
            TWO,
            6,
        ),
        (
            "Categorical(theta[z[t-1]])",
            "observe y[t in rows where not first(t)] ~ Normal(m[z[t]] - s * m[z[t-1]], 1)\n",
            TWO,
            5,
        ),
        (
            "Categorical(theta[z[t-1]])",
            "observe y[t in rows where not first(t)] ~ Normal(s * m[z[t-1]], 1)\n",
            THREE,
            4,
        ),
    ];
    for (seed, (step, after, values, n)) in cases.into_iter().enumerate() {
        let mut stream = Stream::new(seed as u64, "test", "chain");
        let rows = (0..n).map(|_| format!("{:.3},{:.3}", stream.normal(), stream.normal())).collect();
        let model = Model {
            before: format!(
                "plate state = {}\nlatent theta[i in state] over state ~ Dirichlet(1)\nlatent m[state] ~ Normal(0, 2)\nlatent s ~ Normal(0, 1)\n",
                values.len()
            ),
            after: after.into(),
            tables: vec![Table { name: "rows", columns: "x: real, y: real", header: "x,y", rows }],
            latents: vec![Latent {
                head: "t in rows".into(),
                ..latent("z", 0, "state", &format!("{start} {step}"), values)
            }],
        };
        check(&model, seed as u64);
    }
}

/// A chain per animal, in the order of the occasions, with an absorbing state: capture and recapture.
#[test]
fn chains_of_groups_equal_enumeration() {
    for seed in 0..2 {
        let mut stream = Stream::new(seed, "test", "groups");
        let cell = |i: usize| format!("a{},{},{:.3}", i % 3, (7 * i) % 11, stream.normal());
        let rows = (0..6).map(cell).collect();
        let model = Model {
            before: "latent s ~ Normal(0, 1)\nlatent p ~ Beta(1, 1)\n".into(),
            after: "observe y ~ Normal(if z then s else 0, 0.5 + p)\n".into(),
            tables: vec![Table {
                name: "rows",
                columns: "animal: category, time: int, y: real",
                header: "animal,time,y",
                rows,
            }],
            latents: vec![Latent {
                head: "t in rows by animal along time".into(),
                ..latent(
                    "z",
                    0,
                    "bool",
                    "if first(t) then Bernoulli(0.9) else Bernoulli(if z[t-1] then p else 0.05)",
                    BOOL,
                )
            }],
        };
        check(&model, seed);
    }
}

/// Cells that read two steps back, and chains that read each other, share an observation, or depend on each other's
/// current cell: the joint state is walked.
#[test]
fn joint_states_equal_enumeration() {
    let start = "if first(t) then Categorical(logit: 0) else";
    let second = format!(
        "{start} (if first(t, 2) then Categorical(theta[z[t-1]]) else Categorical(logit: m[z[t-1]] * eta[z[t-2]]))"
    );
    let coupled = |other: &str| format!("{start} Categorical(logit: theta[{other}[t-1]] * m + s * eta[z[t-1]])");
    let flag = "if first(t) then Bernoulli(0.4) else Bernoulli(logit: s * (if b[t-1] then 1 else -1) + m[z[t-1]])";
    let own = "if first(t) then Bernoulli(0.4) else Bernoulli(if b[t-1] then 0.8 else 0.3)";
    let now = "Bernoulli(logit: m[z[t]] - (if first(t) then 0 else eta[z[t-1]]))";
    let b = |dist: &str| Latent { head: "t in rows".into(), ..latent("b", 0, "bool", dist, BOOL) };
    let z = |dist: &str, values| Latent { head: "t in rows".into(), ..latent("z", 0, "state", dist, values) };
    let cases: Vec<(&str, Vec<Latent>, usize)> = vec![
        ("observe y ~ Normal(m[z], 1)\n", vec![z(&second, TWO)], 8),
        ("observe y ~ Normal(m[z], 1)\n", vec![z(&second, THREE)], 5),
        // Two independent chains with an observation of both: a factorial hidden Markov model.
        (
            "observe y ~ Normal(m[z] + (if b then s else 0), 1)\n",
            vec![z(&format!("{start} Categorical(theta[z[t-1]])"), TWO), b(own)],
            5,
        ),
        // Each reads the other, with observations of their own.
        (
            "observe y ~ Normal(m[z], 1)\nobserve x ~ Normal(if b then s else 0, 1)\n",
            vec![z(&coupled("z"), TWO), b(flag)],
            5,
        ),
        (
            "observe y ~ Normal(m[z], 1)\nobserve x ~ Normal(if b then s else 0, 1)\n",
            vec![
                z(&format!("{start} Categorical(logit: if b[t-1] then m else eta * (if b[t-1] then 0 else s))"), TWO),
                b(flag),
            ],
            5,
        ),
        // No chain of its own, but with a factor that spans two cells of one.
        (
            "observe y ~ Normal(m[z] + (if b then s else 0), 1)\n",
            vec![z(&format!("{start} Categorical(theta[z[t-1]])"), TWO), b(now)],
            5,
        ),
    ];
    for (seed, (after, latents, n)) in cases.into_iter().enumerate() {
        let mut stream = Stream::new(seed as u64, "test", "joint");
        let rows = (0..n).map(|_| format!("{:.3},{:.3}", stream.normal(), stream.normal())).collect();
        let states = latents[0].values.len();
        let model = Model {
            before: format!(
                "plate state = {states}\nlatent theta[i in state] over state ~ Dirichlet(1)\nlatent m[state], eta[state] ~ Normal(0, 1)\nlatent s ~ Normal(0, 1)\n",
            ),
            after: after.into(),
            tables: vec![Table { name: "rows", columns: "x: real, y: real", header: "x,y", rows }],
            latents,
        };
        check(&model, seed as u64);
    }
}

/// Plates that cross, sums over a plate, two cells of one declaration in a term, and a cell picked by another latent:
/// cells are taken together.
#[test]
fn cells_taken_together_equal_enumeration() {
    let cases: [(&str, &str, &str, usize, usize); 5] = [
        // A class per person and one per film: the fewer are taken together.
        ("latent q ~ Beta(2, 1)\n", "observe y ~ Normal(m[a[p]] * h[c[f]], 1)\n", "Categorical(w)", 4, 3),
        (
            "latent q ~ Beta(2, 1)\n",
            "observe y ~ Normal(if c[f] == a[p] then q else h[a[p]], 1)\n",
            "Categorical(w)",
            2,
            4,
        ),
        // A sum over the plate of one.
        ("latent q ~ Beta(2, 1)\n", "observe y ~ Normal(m[a[p]] + sum(h[c] over films), 1)\n", "Categorical(w)", 3, 3),
        // Two cells of one.
        ("latent q ~ Beta(2, 1)\n", "observe y ~ Normal(m[a[p]] - m[a[p2]] + h[c[f]], 1)\n", "Categorical(w)", 3, 2),
        // The second depends on all of the first.
        (
            "latent q ~ Beta(2, 1)\n",
            "observe y ~ Normal(m[a[p]] + h[c[f]], 1)\n",
            "Categorical(logit: h * (sum(m[a] over people) - q))",
            3,
            2,
        ),
    ];
    for (seed, (before, after, dist, people, films)) in cases.into_iter().enumerate() {
        let mut stream = Stream::new(seed as u64, "test", "together");
        let ratings = |stream: &mut Stream, i: usize| {
            format!("p{},p{},f{},{:.3}", i % people, (i / 2 + 1) % people, i / people % films, stream.normal())
        };
        let model = Model {
            before: format!(
                "{before}plate kind = 2\nlatent w over kind ~ Dirichlet(2)\nlatent m[kind], h[kind] ~ Normal(0, 1)\n"
            ),
            after: after.into(),
            tables: vec![
                Table {
                    name: "people",
                    columns: "person: key",
                    header: "person",
                    rows: (0..people).map(|i| format!("p{i}")).collect(),
                },
                Table {
                    name: "films",
                    columns: "film: key",
                    header: "film",
                    rows: (0..films).map(|i| format!("f{i}")).collect(),
                },
                Table {
                    name: "ratings",
                    columns: "p: people, p2: people, f: films, y: real",
                    header: "p,p2,f,y",
                    rows: (0..people * films).map(|i| ratings(&mut stream, i)).collect(),
                },
            ],
            latents: vec![
                Latent { head: "people".into(), ..latent("a", 0, "kind", "Categorical(w)", TWO) },
                Latent { head: "films".into(), ..latent("c", 1, "kind", dist, TWO) },
            ],
        };
        check(&model, seed as u64);
    }
}

/// The three ways to write a mixture are one model, also where a component is impossible.
#[test]
fn mixtures_are_latents_summed_out() {
    let data = support::csv("y\n1.5\n-2\n0.25\n4\n");
    let value = |text: &str| {
        let compiled = support::compile(&format!("data rows {{ y: real }}\nplate part = 2\n{text}"), &data);
        let theta: Vec<f64> = (0..compiled.layout.dim()).map(|i| 0.4 - 0.3 * i as f64).collect();
        let mut gradient = vec![0.0; theta.len()];
        let value = compiled.model.evaluator().value_grad(&theta, &mut gradient);
        assert!(value.is_finite() && gradient.iter().all(|g| g.is_finite()), "{text}: {value}, {gradient:?}");
        (value, gradient)
    };
    let same = |a: &str, b: &str| {
        let ((a, ga), (b, gb)) = (value(a), value(b));
        assert!((a - b).abs() < 1e-12 * a.abs(), "{a} is not {b}");
        ga.iter().zip(&gb).for_each(|(a, b)| assert!((a - b).abs() < 1e-12 * (1.0 + a.abs()), "{a} is not {b}"));
    };
    let w = "latent w over part ~ Dirichlet(1)\nlatent m[part] ~ Normal(0, 2)\n";
    let plate = format!("{w}observe y ~ mixture(w, Normal(m, 1))\n");
    same(&plate, &format!("{w}latent z[rows]: part ~ Categorical(w)\nobserve y ~ Normal(m[z], 1)\n"));
    same(&plate, &format!("{w}observe y ~ mixture(w[1], Normal(m[1], 1), Normal(m[2], 1))\n"));
    same(&plate, &format!("{w}observe y ~ mixture(logit: log(w[1]) - log(w[2]), Normal(m[1], 1), Normal(m[2], 1))\n"));
    same(&plate, &format!("{w}observe y ~ mixture(logit: log(w), Normal(m, 1))\n"));
    // Nested, with weights that multiply; and certain weights.
    let m = "latent a, b ~ Normal(0, 1)\n";
    same(
        &format!("{m}observe y ~ mixture(0.5, mixture(0.2, Normal(a, 1), Normal(b, 1)), Normal(0, 2))\n"),
        &format!("{m}observe y ~ mixture(0.1, Normal(a, 1), mixture(4 / 9, Normal(b, 1), Normal(0, 2)))\n"),
    );
    same(
        &format!("{m}observe y ~ mixture(1, Normal(a, 1), Normal(b, 1))\n"),
        &format!("{m}observe y ~ Normal(a, 1)\n"),
    );
    same(
        &format!("{m}observe y ~ mixture(0, Normal(a, 1), Normal(b, 1))\n"),
        &format!("{m}observe y ~ Normal(b, 1)\n"),
    );
    // Uniform components: 0 outside, where their formula says otherwise.
    let u = "latent s ~ HalfNormal(1)\n";
    same(
        &format!("{u}observe y ~ mixture(0.5, Uniform(0, 1), Normal(0, s))\n"),
        &format!(
            "{u}factor log(0.5 * (if y > 0 and y < 1 then 1 else 0) + 0.5 * exp(-0.5 * (y / s)^2) / (s * sqrt(2 * pi)))\n"
        ),
    );
}

/// A latent that its type cuts has a prior that sums to 1 over what is left.
#[test]
fn a_cut_count_is_normalised() {
    let model = "data rows { y: real }\nlatent l ~ Normal(0, 1)\nlatent n[rows]: int in [1, 3] ~ Poisson(log: l)\nobserve y ~ Normal(n, 1)\n";
    let compiled = support::compile(model, &support::csv("y\n1.5\n"));
    let l: f64 = 0.3;
    let got = compiled.model.evaluator().value(&[l]);
    let prior = |n: f64| n * l - l.exp() - [0.0, 0.0, 2f64.ln(), 6f64.ln()][n as usize];
    let normal = |x: f64, m: f64| -0.5 * (x - m).powi(2) - 0.5 * (2.0 * std::f64::consts::PI).ln();
    let kept = log_sum_exp(&[prior(1.0), prior(2.0), prior(3.0)]);
    let terms: Vec<f64> = [1.0, 2.0, 3.0].iter().map(|&n| prior(n) - kept + normal(1.5, n)).collect();
    let want = normal(l, 0.0) + log_sum_exp(&terms);
    assert!((got - want).abs() < 1e-12, "{got} is not {want}");
}
