//! Batches of members with all rows that belong to them: unbiased over an epoch, fitted as the whole data are, and refused where a row
//! belongs to two.

use vic::data::{DataFile, Inputs};
use vic::driver::{self, Compiled, FitRequest, Session};
use vic::infer::Target;
use vic::infer::batches::{Batch, Rows, shuffle};
use vic::report::FitReport;

use super::batches::{piece, plan};
use super::support::{compile, fit, summaries, theta};

pub fn files(tables: &[(&str, String)]) -> Inputs {
    let file = |(table, text): &(&str, String)| DataFile {
        table: Some((*table).into()),
        name: format!("{table}.csv"),
        bytes: text.clone().into_bytes(),
    };
    Inputs { files: tables.iter().map(file).collect(), sets: vec![] }
}

/// A number without pattern in (-1, 1).
pub fn noise(i: usize) -> f64 {
    (12.9898 * (i + 1) as f64).sin()
}

/// Patients with 0, 1, 2, … visits, some with many, and each visit with up to two tests.
pub fn clinic() -> Inputs {
    let counts = [3, 0, 1, 12, 2, 5, 1, 0, 4, 2, 7];
    let mut patients = "id,age\n".to_string();
    let (mut visits, mut tests) = ("number,patient,ward,x,y\n".to_string(), "visit,w\n".to_string());
    let mut of: Vec<usize> = counts.iter().enumerate().flat_map(|(p, n)| std::iter::repeat_n(p, *n)).collect();
    // Rows of a patient do not follow each other.
    let n = of.len();
    (0..n).for_each(|i| of.swap(i, (i * 17 + 5) % n));
    for p in 0..counts.len() {
        patients += &format!("p{p},{}\n", 40.0 + 10.0 * noise(p));
    }
    for (v, p) in of.iter().enumerate() {
        visits += &format!("v{v},p{p},w{},{},{}\n", v % 3, noise(100 + v), noise(200 + v) + noise(*p));
        for t in 0..v % 3 {
            // Some of the results are missing.
            let w = if (v + t) % 4 == 3 { String::new() } else { noise(300 + 3 * v + t).to_string() };
            tests += &format!("v{v},{w}\n");
        }
    }
    files(&[("patients", patients), ("visits", visits), ("tests", tests)])
}

pub const CLINIC: &str = "data patients { id: key, age: real }
data visits { number: key, patient: patients, ward: category, x: real, y: real }
data tests { visit: visits, w: real? }
let z = (x - mean(x over visits)) / sd(x over visits)
let old[patients] = (age - mean(age over patients)) / size(visits)
latent mu ~ Normal(0, 1)
latent tau ~ HalfNormal(1)
latent u[ward] ~ Normal(0, 1)
latent beta ~ Normal(0, 1)
latent a[patients] ~ Normal(mu + old, tau) @centered
latent b[visits] ~ Normal(a[patient] + u[ward] + beta * z * old[patient], 0.5)
observe y ~ Normal(b, 1)
observe w ~ Normal(b[visit] + 0.3 * a[patient[visit]], 2)
";

/// Members whose rows are many: each is of one of two kinds, which is summed out.
const KINDS: &str = "data patients { id: key, age: real }
data visits { number: key, patient: patients, ward: category, x: real, y: real }
data tests { visit: visits, w: real? }
plate kind = 2
latent p over kind ~ Dirichlet(1)
latent m[kind] ~ Normal(0, 1)
latent k[patients]: kind ~ Categorical(p)
observe age ~ Normal(40 + m[k], 10)
observe y ~ Normal(m[k[patient]], 1)
observe w ~ Normal(0.1, 1)
";

/// Value and gradient of a batch by what stands for theta of the whole: means of draws that are certain.
fn by_batches(compiled: &Compiled, at: &[f64], size: usize, seed: u64) -> (f64, Vec<f64>) {
    let batches = compiled.batches.as_ref().expect("asked for");
    let plan = vic::infer::batches::Plan { kin: batches.kin.clone(), ..plan(size, batches.total) };
    let coordinates = batches.coordinates();
    let mut rows = batches.rows(&compiled.model);
    let mut order: Vec<usize> = (0..batches.total).collect();
    shuffle(&mut order, seed, 1);
    let mut psi = coordinates.begin();
    psi[..at.len()].copy_from_slice(at);
    let (z, mut batch) = (vec![0.0; coordinates.dim()], Batch::default());
    let (mut gradient, mut by_psi) = (vec![0.0; coordinates.dim()], vec![0.0; psi.len()]);
    let (mut sum, mut value) = (vec![0.0; at.len()], 0.0);
    for k in 0..plan.batches() {
        batch.set(&plan, &order, k);
        rows.take(&batch);
        let mut here = vec![0.0; coordinates.dim()];
        coordinates.place(&psi, &batch, &z, &mut here);
        value += rows.value_grad(&here, &mut gradient);
        coordinates.pull_back(&psi, &batch, &z, &gradient, 0.0, &mut by_psi);
        sum.iter_mut().zip(&by_psi).for_each(|(s, g)| *s += g);
    }
    let n = plan.batches() as f64;
    (value / n, sum.iter().map(|s| s / n).collect())
}

/// Over an epoch of shuffled batches value and gradient average to those of the whole data, whatever the size of a batch, of the last
/// one, and of the members: exactly, but for the order of sums, 1e-10 of the value.
#[test]
fn an_epoch_of_members_averages_to_the_whole() {
    for model in [CLINIC, KINDS] {
        let whole = compile(model, &clinic());
        let at = theta(whole.model.dim());
        let mut expected = vec![0.0; at.len()];
        let value = whole.model.evaluator().value_grad(&at, &mut expected);
        for size in [1, 2, 4, 11] {
            let compiled = compile(&format!("{model}fit {{ batch: patients({size}) }}"), &clinic());
            let (v, gradient) = by_batches(&compiled, &at, size, size as u64);
            assert!((v - value).abs() < 1e-10 * value.abs(), "{size}: {v} and {value}");
            for (i, (g, e)) in gradient.iter().zip(&expected).enumerate() {
                assert!((g - e).abs() < 1e-10 * (1.0 + e.abs()), "{size}, d/d{i}: {g} and {e}");
            }
        }
    }
}

/// The same of the levels of a column, and of a plate that is numbered: there, no row belongs to any.
#[test]
fn members_may_be_of_any_plate() {
    let rows: String =
        (0..40).map(|i| format!("{},g{},{},{}\n", noise(i), (i * i) % 7, noise(i + 50), noise(i + 90))).collect();
    let data = files(&[("rows", format!("y,g,x1,x2\n{rows}"))]);
    let head = "data rows { y: real, g: category, x: real[item] from \"x*\" }\nlatent tau ~ HalfNormal(1)\n";
    let by_level = "latent u[g] ~ Normal(0, tau)\nobserve y ~ Normal(u[g], 1)\nobserve x ~ Normal(0.1 * tau, 1)\n";
    let by_item = "latent d[item] ~ Normal(0, tau)\nobserve x ~ Normal(d, 1)\nobserve y ~ Normal(tau, 1)\n";
    for (body, batch, size) in [(by_level, "g(2)", 2), (by_item, "item(1)", 1)] {
        let model = format!("{head}{body}");
        let whole = compile(&model, &data);
        let at = theta(whole.model.dim());
        let mut expected = vec![0.0; at.len()];
        let value = whole.model.evaluator().value_grad(&at, &mut expected);
        let (v, gradient) = by_batches(&compile(&format!("{model}fit {{ batch: {batch} }}"), &data), &at, size, 3);
        assert!((v - value).abs() < 1e-10 * value.abs(), "{batch}: {v} and {value}");
        for (g, e) in gradient.iter().zip(&expected) {
            assert!((g - e).abs() < 1e-10 * (1.0 + e.abs()), "{batch}: {g} and {e}");
        }
    }
}

/// 60 groups of 0 to 11 rows.
fn groups(reversed: bool) -> Inputs {
    let mut rows: Vec<String> = vec![];
    for g in 0..60 {
        let effect = 0.5 + 0.8 * noise(g);
        rows.extend((0..(g * 7) % 12).map(|i| format!("g{g},{:.4}\n", effect + noise(1000 + 20 * g + i))));
    }
    if reversed {
        rows.reverse();
    }
    let names: String = (0..60).map(|g| format!("g{g}\n")).collect();
    files(&[("groups", format!("name\n{names}")), ("rows", format!("group,y\n{}", rows.concat()))])
}

const GROUPS: &str = "data groups { name: key }
data rows { group: groups, y: real }
latent mu ~ Normal(0, 2)
latent tau ~ HalfNormal(1)
latent s ~ HalfNormal(1)
latent a[groups] ~ Normal(mu, tau) @centered
observe y ~ Normal(a[group], s)
guide meanfield
";

/// Batches of members find the means that the whole data give, within 0.25 of its sds for what is shared. What members have to
/// themselves takes one step per epoch: within 0.5 sds. Sds of the whole are corrected by linear response, where those of a guide of
/// independent normals are smaller, by a third for `tau`.
#[test]
fn a_hierarchy_in_batches_is_that_of_the_whole() {
    let request = FitRequest { starts: Some(1), ..FitRequest::default() };
    let whole = fit(&compile(GROUPS, &groups(false)), &request);
    let text = format!("{GROUPS}fit {{ batch: groups(16), optimizer: adam(0.03), epochs: 400 }}");
    let report = fit(&compile(&text, &groups(false)), &FitRequest::default());
    let (expected, found) = (summaries(&whole), summaries(&report));
    assert_eq!(expected.len(), found.len());
    for (name, (mean, sd)) in &expected {
        let (m, s) = found[name];
        let far = if name.starts_with("a[") { 0.5 } else { 0.25 };
        assert!((m - mean).abs() < far * sd, "{name}: {m} and {mean}, sd {sd}");
        assert!((0.5..1.25).contains(&(s / sd)), "{name}: sd {s} and {sd}");
    }
    let (a, b) = (whole.elbo.expect("a bound"), report.elbo.expect("a bound"));
    assert!((a.0 - b.0).abs() < 1.0 + 4.0 * (a.1 + b.1), "{a:?} and {b:?}");
}

fn essence(r: &FitReport) -> (Vec<u64>, Option<u64>, usize) {
    let draws = r.vars.iter().flat_map(|v| &v.draws).map(|d| d.to_bits()).collect();
    (draws, r.elbo.map(|e| e.0.to_bits()), r.trace.rows.len())
}

/// The same bits on one thread and two; and rows in another order are other sums of the same numbers, 1e-6 after a few steps.
#[test]
fn neither_threads_nor_the_order_of_rows_matter() {
    let text = format!("{GROUPS}fit {{ batch: groups(16), epochs: 5, optimizer: adam(0.01) }}");
    let run = |threads, reversed| {
        let compiled = compile(&text, &groups(reversed));
        fit(&compiled, &FitRequest { threads: Some(threads), ..FitRequest::default() })
    };
    let one = run(1, false);
    assert_eq!(essence(&one), essence(&run(2, false)));
    let (here, there) = (summaries(&one), summaries(&run(1, true)));
    here.iter().for_each(|(name, (m, s))| {
        let (mean, sd) = there[name];
        assert!((m - mean).abs() < 1e-6 && (s - sd).abs() < 1e-6, "{name}: {m} {s}, {mean} {sd}");
    });
}

/// Interrupted after 5 steps again and again, in epochs of 3 batches of members that are not held out: the same bits.
#[test]
fn members_are_gone_on_with() {
    let text = format!(
        "{GROUPS}fit {{ batch: groups(16), epochs: 4, optimizer: adam(0.01), kl_warmup: 2, clip: 10, precision: f32 }}"
    );
    let compiled = compile(&text, &groups(false));
    let piece = |steps, at| piece(&compiled, steps, at).expect("it is fitted");
    let whole = piece(usize::MAX, None);
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = folder.path().join("fit.checkpoint");
    let (mut pieces, mut last) = (0, None);
    while last.as_ref().is_none_or(|r: &FitReport| !r.converged) {
        last = Some(piece(5, Some((path.as_path(), pieces > 0))));
        pieces += 1;
    }
    assert_eq!(pieces, 4, "16 steps by 5");
    assert_eq!(essence(&last.expect("there are pieces")), essence(&whole));
}

/// An encoder of members reads what their rows come to, and the fit of params by it finds the likeliest mean: in each group of 4 rows
/// y ~ N(m + z, 0.5) with z ~ N(0, 1), the mean of all rows. The bound is then the log likelihood: 0.02 nats per group is what is left
/// of the noise of steps.
#[test]
fn members_are_encoded_from_their_rows() {
    let rows: String =
        (0..200).map(|i| format!("g{},{:.4}\n", i % 50, 1.0 + noise(i % 50) + 0.5 * noise(500 + i))).collect();
    let names: String = (0..50).map(|g| format!("g{g}\n")).collect();
    let data = files(&[("groups", format!("name\n{names}")), ("rows", format!("group,y\n{rows}"))]);
    let text = "data groups { name: key }
data rows { group: groups, y: real }
param m = 0
latent z[groups] ~ Normal(0, 1)
observe y ~ Normal(m + z[group], 0.5)
guide {
  let average[g in groups] = mean(y[i] over i in rows where group[i] == g)
  param c = 0
  param d = 0
  param s: real > 0 = 1
  z ~ Normal(c + d * average, s)
}
fit { batch: groups(10), epochs: 400, optimizer: adam(0.02) }";
    let report = fit(&compile(text, &data), &FitRequest::default());
    let y: Vec<f64> =
        rows.lines().map(|l| l.split(',').nth(1).and_then(|y| y.parse().ok()).expect("a number")).collect();
    let mean = y.iter().sum::<f64>() / 200.0;
    let m = report.vars.iter().find(|v| v.name == "m").expect("reported").draws[0];
    assert!((m - mean).abs() < 0.03, "{m} and {mean}");
    // Of a group: variance 0.25 in each row, and 1 shared.
    let exact: f64 = (0..50)
        .map(|g| {
            let e: Vec<f64> = (0..4).map(|i| y[g + 50 * i] - mean).collect();
            let (sum, squares) = (e.iter().sum::<f64>(), e.iter().map(|e| e * e).sum::<f64>());
            let log_det = 3.0 * 0.25f64.ln() + 4.25f64.ln();
            -0.5 * (squares / 0.25 - sum * sum / 0.25 / 4.25 + log_det + 4.0 * std::f64::consts::TAU.ln())
        })
        .sum();
    let bound = report.elbo.expect("a bound").0;
    assert!((bound - exact).abs() < 0.02 * 50.0, "{bound} and {exact}");
    // Members may be held out, all their rows with them.
    let held = text.replace("epochs: 400", "epochs: 30, holdout: 0.2, patience: 30");
    let report = fit(&compile(&held, &data), &FitRequest::default());
    assert!(report.stop_reason.contains("The bound of the 10 members that were held out"), "{}", report.stop_reason);
    assert!(report.stop_reason.contains(" nats per member"), "{}", report.stop_reason);
}

/// Latents of members and of their rows, with a guide that is written out: at noise of 0 both are at their means, `m x` and `c y`.
const SOFTENED: &str = "data groups { name: key, x: real }
data rows { group: groups, y: real }
plate two = 2
latent a[groups, two] ~ Normal(0, 1)
latent b[rows, two] ~ Normal(a[group], 0.7)
observe y ~ Normal(sum(b over two), 0.5)
guide {
  param m[two]: real = 0.4
  param c[two]: real = 0.3
  a ~ Normal(m * x, 0.8)
  b ~ Normal(c * y, 0.6)
}
";

/// Groups with 3, 0, 1 and 5 rows and so on: their x, and y with its group.
fn softened() -> (Inputs, Vec<f64>, Vec<(usize, f64)>) {
    let counts = [3, 0, 1, 5, 2, 2, 4];
    let x: Vec<f64> = (0..counts.len()).map(|g| 2.0 * noise(g)).collect();
    let of = counts.iter().enumerate().flat_map(|(g, n)| std::iter::repeat_n(g, *n));
    let y: Vec<(usize, f64)> = of.enumerate().map(|(i, g)| (g, 2.0 * noise(50 + i))).collect();
    let groups: String = x.iter().enumerate().map(|(g, x)| format!("g{g},{x}\n")).collect();
    let rows: String = y.iter().map(|(g, y)| format!("g{g},{y}\n")).collect();
    (files(&[("groups", format!("name,x\n{groups}")), ("rows", format!("group,y\n{rows}"))]), x, y)
}

/// Free bits of a latent of members are per member, those of a latent of rows per row: in each batch by hand, and its gradient by central
/// differences, which are good to 1e-7 here. Where all is free, or nothing, an epoch averages to the whole.
#[test]
fn free_bits_are_per_member_and_per_row() {
    let (data, x, y) = softened();
    let log_normal =
        |x: f64, mean: f64, sd: f64| -0.5 * ((x - mean) / sd).powi(2) - (sd * std::f64::consts::TAU.sqrt()).ln();
    let at = [0.7, -0.5, 0.2, 0.6];
    let (m, c) = ([at[0], at[1]], [at[2], at[3]]);
    // Of group g, or of row i: minus the divergence at the means, by cell; and what a row adds besides.
    let of_group = |g: usize, j: usize| log_normal(m[j] * x[g], 0.0, 1.0) - log_normal(0.0, 0.0, 0.8);
    let of_row = |i: usize, j: usize| {
        let (g, y) = y[i];
        log_normal(c[j] * y, m[j] * x[g], 0.7) - log_normal(0.0, 0.0, 0.6)
    };
    let given = |i: usize| log_normal(y[i].1, (c[0] + c[1]) * y[i].1, 0.5);
    // Of the two numbers of noise that each has: their standard normal density, which the fit takes off again.
    let drawn = -std::f64::consts::TAU.ln();
    let none = f64::NEG_INFINITY;
    let mut kept = [0; 2];
    for size in [1, 2, 3, 7] {
        let compiled = compile(&format!("{SOFTENED}fit {{ batch: groups({size}), free_bits: 0.1 }}"), &data);
        let batches = compiled.batches.as_ref().expect("asked for");
        let plan = vic::infer::batches::Plan { kin: batches.kin.clone(), ..plan(size, batches.total) };
        let params: Vec<usize> = ["m[", "c["]
            .iter()
            .flat_map(|p| {
                compiled
                    .model
                    .names()
                    .iter()
                    .enumerate()
                    .filter(|n| n.1.starts_with(p))
                    .map(|n| n.0)
                    .collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(params.len(), 4, "{:?}", compiled.model.names());
        let mut target = batches.rows(&compiled.model);
        let mut order: Vec<usize> = (0..batches.total).collect();
        shuffle(&mut order, 1, size);
        for free in [none, 0.4, 1.2, 1e3] {
            let (mut batch, mut sum) = (Batch::default(), 0.0);
            for k in 0..plan.batches() {
                batch.set(&plan, &order, k);
                target.take(&batch);
                target.soften(1.0, free);
                let mut theta = vec![0.0; compiled.model.dim()];
                params.iter().zip(at).for_each(|(p, v)| theta[*p] = v);
                let mut gradient = vec![0.0; theta.len()];
                let value = target.value_grad(&theta, &mut gradient);
                let level = |l: usize| {
                    (0..batch.rows_of(l).len()).map(|r| (batch.rows_of(l)[r], batch.weight(l, r))).collect::<Vec<_>>()
                };
                let (groups, rows) = (level(0), level(1));
                let mut expected: f64 = rows.iter().map(|(i, w)| w * (given(*i) + drawn)).sum();
                expected += groups.iter().map(|(_, w)| w * drawn).sum::<f64>();
                for j in 0..2 {
                    let mut add = |own: f64, all: f64| {
                        kept[usize::from(own > -free * all)] += usize::from(free < 10.0 && free != none);
                        expected += own.min(if free == none { f64::INFINITY } else { -free * all });
                    };
                    let all = |of: &[(usize, f64)]| of.iter().map(|r| r.1).sum::<f64>();
                    add(groups.iter().map(|(g, w)| w * of_group(*g, j)).sum(), all(&groups));
                    add(rows.iter().map(|(i, w)| w * of_row(*i, j)).sum(), all(&rows));
                }
                assert!(
                    (value - expected).abs() < 1e-10 * (1.0 + value.abs()),
                    "{size}, {free}, {k}: {value} and {expected}"
                );
                for p in &params {
                    let mut moved = |by: f64| {
                        let mut theta = theta.clone();
                        theta[*p] += by;
                        target.value(&theta)
                    };
                    let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                    assert!(
                        (gradient[*p] - slope).abs() < 1e-6 * (1.0 + slope.abs()),
                        "{size}, {free}, {k}: {} and {slope}",
                        gradient[*p]
                    );
                }
                sum += value / plan.batches() as f64;
            }
            let all = [none, 1e3].contains(&free);
            let base = (0..y.len()).map(given).sum::<f64>() + (x.len() + y.len()) as f64 * drawn;
            let whole = match free == none {
                true => (0..2)
                    .map(|j| {
                        (0..x.len()).map(|g| of_group(g, j)).sum::<f64>()
                            + (0..y.len()).map(|i| of_row(i, j)).sum::<f64>()
                    })
                    .sum::<f64>(),
                false => -free * 2.0 * (x.len() + y.len()) as f64,
            };
            assert!(
                !all || (sum - base - whole).abs() < 1e-10 * sum.abs(),
                "{size}, {free}: {sum} and {base} + {whole}"
            );
        }
    }
    assert!(kept.iter().all(|n| *n > 0), "some are below what is free, and some above: {kept:?}");
}

/// The bound that is reported has no free bits: params that hardly move have the same with and without.
#[test]
fn the_bound_of_members_is_reported_without_free_bits() {
    let (data, ..) = softened();
    let bound = |free: &str| {
        let text = format!("{SOFTENED}fit {{ batch: groups(2), epochs: 2, optimizer: sgd(0.000000000001){free} }}");
        fit(&compile(&text, &data), &FitRequest::default()).elbo.expect("a bound").0
    };
    let (with, without) = (bound(", free_bits: 5"), bound(""));
    assert!((with - without).abs() < 1e-6 * without.abs(), "{with} and {without}");
}

/// Probabilities of what is summed out, of rows and of members: those of the whole data, which differ by what the posteriors of the
/// means do. 0.05 is three errors of a probability over 100 draws that all agree within 0.15.
#[test]
fn probabilities_are_those_of_the_whole() {
    let side = |up: bool| if up { 1.5 } else { -1.5 };
    let row = |i: usize| {
        let (y, x) = (side(i.is_multiple_of(3)) + 2.0 * noise(i), side(i % 5 < 2) + noise(i + 70));
        format!("g{},{y:.4},{x:.4}\n", i % 12)
    };
    let rows: String = (0..48).map(row).collect();
    let names: String = (0..12).map(|g| format!("g{g}\n")).collect();
    let data = files(&[("groups", format!("name\n{names}")), ("rows", format!("group,y,x\n{rows}"))]);
    let model = "data groups { name: key }\ndata rows { group: groups, y: real, x: real }\nplate kind = 2
latent m over kind: ordered ~ Normal(0, 3)
latent p over kind ~ Dirichlet(5)
latent k[groups]: kind ~ Categorical(p)
latent c[rows]: kind ~ Categorical(p)
observe y ~ Normal(m[k[group]], 2)
observe x ~ Normal(m[c], 1)
guide meanfield
";
    let whole = fit(&compile(model, &data), &FitRequest { starts: Some(1), ..FitRequest::default() });
    let text = format!("{model}fit {{ batch: groups(5), optimizer: adam(0.03), epochs: 300 }}");
    let report = fit(&compile(&text, &data), &FitRequest::default());
    assert!(report.doubts.iter().all(|d| !d.contains("Probabilities")), "{:?}", report.doubts);
    assert_eq!(report.discrete.len(), 2);
    for (here, there) in report.discrete.iter().zip(&whole.discrete) {
        assert_eq!((&here.name, here.cells()), (&there.name, there.cells()));
        for (c, (p, q)) in here.probabilities.iter().zip(&there.probabilities).enumerate() {
            assert!((p - q).abs() < 0.05, "{} {c}: {p} and {q}", here.name);
        }
        for c in 0..here.cells() {
            let total: f64 = (0..2).map(|v| here.probability(c, v)).sum();
            assert!((total - 1.0).abs() < 1e-9 && here.most_probable[c] < 2, "{} {c}: {total}", here.name);
        }
    }
}

/// What is said of a model on these tables.
fn said(model: &str, data: &Inputs) -> Vec<(&'static str, String)> {
    let mut session = Session::default();
    let checked = driver::check(&mut session, "model.vi", model);
    if !session.diags.has_errors() {
        assert!(driver::compile(&mut session, checked, data).is_none(), "{model}");
    }
    session.diags.list.iter().map(|d| (d.code.id, d.message.clone())).filter(|d| d.0.starts_with("V0")).collect()
}

#[test]
fn rows_of_two_members_are_refused() {
    let pairs =
        files(&[("players", "name\na\nb\nc\nd\n".into()), ("games", "first,second,won\na,a,1\na,b,1\nc,d,0\n".into())]);
    let games = "data players { name: key }\ndata games { first: players, second: players, won: bool }
latent skill[players] ~ Normal(0, 1)\nobserve won ~ Bernoulli(logit: skill[first] - skill[second])\n";
    let found = said(&format!("{games}fit {{ batch: players(2) }}"), &pairs);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].0, "V0854");
    assert!(found[0].1.contains("row 2 of `games` is linked to \"a\" and to \"b\""), "{}", found[0].1);
    compile(&format!("{games}fit {{ batch: games(2) }}"), &pairs);
    let tied = "latent h[t in visits] ~ if first(t) then Normal(0, 1) else Normal(h[t - 1], 1)\n";
    for (body, code) in [
        (format!("{CLINIC}{tied}observe x ~ Normal(h, 1)\nfit {{ batch: patients(2) }}"), "V0850"),
        (format!("{CLINIC}observe age ~ Normal(sum(b over visits), 1)\nfit {{ batch: patients(2) }}"), "V0850"),
        (format!("{CLINIC}fit {{ batch: patients(12) }}"), "V0851"),
        (format!("{CLINIC}fit {{ batch: patients(2), method: cavi }}"), "V0641"),
    ] {
        assert_eq!(said(&body, &clinic()).iter().map(|s| s.0).collect::<Vec<_>>(), [code], "{body}");
    }
}
