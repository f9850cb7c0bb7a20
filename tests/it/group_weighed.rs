//! Several draws of each member with all its rows that are weighed against each other: exact where the guide is the posterior, between
//! the lower bound and the evidence where it is not, with the gradient of the bound.

use std::f64::consts::TAU;

use vic::data::Inputs;
use vic::driver::FitRequest;
use vic::infer::Target;
use vic::infer::batches::{Batch, Draws, Plan, Rows, Weighing, shuffle};

use super::batches::plan;
use super::group_batches::{CLINIC, clinic, files, noise};
use super::support::{compile, fit, summaries};
use super::weighed::{Steps, mean, placed};

/// Groups with 3, 0, 1, 5 … rows.
const COUNTS: [usize; 7] = [3, 0, 1, 5, 2, 2, 4];

/// The rows of the groups, not in their order: per row its group and y.
fn rows() -> Vec<(usize, f64)> {
    let mut of: Vec<usize> = COUNTS.iter().enumerate().flat_map(|(g, n)| std::iter::repeat_n(g, *n)).collect();
    let n = of.len();
    (0..n).for_each(|i| of.swap(i, (i * 5 + 3) % n));
    of.into_iter().enumerate().map(|(i, g)| (g, 0.5 + 1.5 * noise(g) + noise(50 + i))).collect()
}

fn tables() -> Inputs {
    let names: String = (0..COUNTS.len()).map(|g| format!("g{g}\n")).collect();
    let rows: String = rows().iter().map(|(g, y)| format!("g{g},{y}\n")).collect();
    files(&[("groups", format!("name\n{names}")), ("rows", format!("group,y\n{rows}"))])
}

/// A mean per group, and a mean per row around it. What is written of the guide is the posterior where `spread` is 1.
const LEVELS: &str = "data groups { name: key }
data rows { group: groups, y: real }
latent z[groups] ~ Normal(0, 1)
latent b[rows] ~ Normal(z[group], 0.6)
observe y ~ Normal(b, 0.5)
guide {
  let n[g in groups] = sum(1 over i in rows where group[i] == g)
  let total[g in groups] = sum(y[i] over i in rows where group[i] == g)
  param spread: real > 0 = SPREAD
  z ~ Normal(total / (n + 0.61), spread * sqrt(0.61 / (n + 0.61)))
  b ~ Normal((z[group] / 0.36 + y / 0.25) / (1 / 0.36 + 1 / 0.25), spread / sqrt(1 / 0.36 + 1 / 0.25))
}
";

/// log p(y) of each group: variance 0.61 of each row, and 1 shared.
fn evidence() -> Vec<f64> {
    let of = |g: usize| {
        let y: Vec<f64> = rows().iter().filter(|r| r.0 == g).map(|r| r.1).collect();
        let n = y.len() as f64;
        let (sum, squares) = (y.iter().sum::<f64>(), y.iter().map(|y| y * y).sum::<f64>());
        let log_det = n * 0.61f64.ln() + (1.0 + n / 0.61).ln();
        -0.5 * ((squares - sum * sum / (n + 0.61)) / 0.61 + log_det + n * TAU.ln())
    };
    (0..COUNTS.len()).map(of).collect()
}

/// The mean bound of the batches of an epoch, at fresh draws for each seed.
fn bounds(spread: f64, k: usize, size: usize, seeds: std::ops::Range<u64>) -> Vec<f64> {
    let text = LEVELS.replace("SPREAD", &spread.to_string());
    let text = format!("{text}fit {{ batch: groups({size}), method: iwae, importance_samples: {k} }}");
    let compiled = compile(&text, &tables());
    let batches = compiled.batches.as_ref().expect("asked for");
    let how = Weighing::Doubly;
    let plan = Plan { kin: batches.kin.clone(), weighing: Some((how, k)), ..plan(size, batches.total) };
    let (mut rows, coordinates, _) = batches.several().expect("asked for");
    let (psi, mut z) = (coordinates.begin(), vec![0.0; coordinates.dim()]);
    let (mut batch, mut draws) = (Batch::default(), Draws::new(size, k));
    let mut order: Vec<usize> = (0..batches.total).collect();
    let mut epoch = |seed: u64| {
        shuffle(&mut order, seed, 0);
        let mut sum = 0.0;
        for i in 0..plan.batches() {
            batch.set(&plan, &order, i);
            rows.take(&batch);
            coordinates.noise(seed, "test", i, &mut z);
            coordinates.place(&psi, &batch, &z, rows.theta());
            let value = rows.evaluate();
            sum += draws.weigh(how, &mut rows, &coordinates, (&psi, &batch, &z));
            let once = value - draws.evenly(&batch);
            assert!(once.abs() < 1e-9 * (1.0 + value.abs()), "the draws add all there is: {once} of {value}");
            draws.tell(&mut rows, &batch);
            let told = rows.evaluate();
            assert!((told - draws.counted()).abs() < 1e-9 * (1.0 + told.abs()), "{told}");
        }
        sum / plan.batches() as f64
    };
    seeds.map(&mut epoch).collect()
}

/// At the posterior all weights are the evidence: whatever the draws, and however members fall into batches.
#[test]
fn at_the_posterior_the_weighted_bound_is_the_evidence() {
    let exact: f64 = evidence().iter().sum();
    for (size, k) in [(1, 1), (1, 3), (2, 5), (3, 2), (7, 4)] {
        for found in bounds(1.0, k, size, 0..3) {
            assert!((found - exact).abs() < 1e-9 * exact.abs(), "{size}, {k}: {found} and {exact}");
        }
    }
}

/// A guide that is too wide: the lower bound, then that of 2 draws and of 8, then the evidence, each several standard errors apart.
/// The lower bound is known: per normal, log s + (1 - s²) / 2 for a sd that is s times too large.
#[test]
fn the_weighted_bound_lies_between_the_lower_bound_and_the_evidence() {
    let exact: f64 = evidence().iter().sum();
    let s = 1.5f64;
    let normals = (COUNTS.len() + COUNTS.iter().sum::<usize>()) as f64;
    let lower = exact + normals * (s.ln() + 0.5 * (1.0 - s * s));
    let of = |k: usize| {
        let found: Vec<f64> = bounds(s, k, 7, 0..400);
        let n = found.len() as f64;
        let mean = found.iter().sum::<f64>() / n;
        let variance = found.iter().map(|b| (b - mean).powi(2)).sum::<f64>() / (n - 1.0);
        (mean, (variance / n).sqrt())
    };
    let (one, two, eight) = (of(1), of(2), of(8));
    assert!((one.0 - lower).abs() < 4.0 * one.1, "{one:?} and {lower}");
    assert!(one.0 + 4.0 * (one.1 + two.1) < two.0, "{one:?} and {two:?}");
    assert!(two.0 + 4.0 * (two.1 + eight.1) < eight.0, "{two:?} and {eight:?}");
    assert!(eight.0 + 4.0 * eight.1 < exact, "{eight:?} and {exact}");
}

/// Where the draws are all the same they are one draw, of patients with their visits and the tests of these: the same bound in each batch,
/// and for what all share the same slopes. Members without rows, cells that are missing, and rows that fill a batch up are among them.
#[test]
fn draws_that_are_the_same_are_one_draw() {
    let guide = "guide {
  mu ~ Normal(0.3, 0.5)
  tau ~ LogNormal(-0.5, 0.3)
  u ~ Normal(0, 0.5)
  beta ~ Normal(0.1, 0.3)
  a ~ Normal(0.01 * age, 0.6)
  b ~ Normal(0.4 * y, 0.7)
}
";
    let how = Weighing::Doubly;
    for size in [1, 2, 4, 11] {
        let fit = format!("fit {{ batch: patients({size}), method: iwae, importance_samples: 3 }}");
        let compiled = compile(&format!("{CLINIC}{guide}{fit}"), &clinic());
        let batches = compiled.batches.as_ref().expect("asked for");
        let one = Plan { kin: batches.kin.clone(), ..plan(size, batches.total) };
        let three = Plan { weighing: Some((how, 3)), ..one.clone() };
        let (mut rows, coordinates, names) =
            (batches.rows(&compiled.model), batches.coordinates(), compiled.model.names());
        let (mut several, of_several, names_of_several) = batches.several().expect("asked for");
        // What differs from draw to draw has the number of the draw behind the row.
        let of_one = |name: &String| {
            let row = name.rsplit_once(", ").map(|n| format!("{}]", n.0));
            let at = names.iter().position(|n| n == name || Some(n) == row.as_ref());
            at.unwrap_or_else(|| panic!("no {name} in {names:?}"))
        };
        let places: Vec<usize> = names_of_several.iter().map(of_one).collect();
        assert!(places.len() > names.len() + 2 * size);
        let psi = coordinates.begin();
        let (mut z, mut at) = (vec![0.0; names.len()], vec![0.0; names.len()]);
        let (mut batch, mut draws, mut gradient) = (Batch::default(), Draws::new(size, 3), vec![0.0; names.len()]);
        let order: Vec<usize> = (0..batches.total).rev().collect();
        for k in 0..one.batches() {
            batch.set(&one, &order, k);
            rows.take(&batch);
            coordinates.noise(1, "test", k, &mut z);
            coordinates.place(&psi, &batch, &z, &mut at);
            let expected = rows.value_grad(&at, &mut gradient) + coordinates.surprise(&psi, &batch, &z, 1.0);
            batch.set(&three, &order, k);
            several.take(&batch);
            let same: Vec<f64> = places.iter().map(|p| z[*p]).collect();
            of_several.place(&psi, &batch, &same, several.theta());
            let of_rows = draws.weigh(how, &mut several, &of_several, (&psi, &batch, &same));
            draws.tell(&mut several, &batch);
            let once = several.gradient() - draws.counted() + of_several.shared_surprise(&psi, &same, 1.0);
            assert!(
                (once + of_rows - expected).abs() < 1e-10 * expected.abs(),
                "{size}, {k}: {once} + {of_rows}, {expected}"
            );
            let slopes = several.by_theta();
            let shared: Vec<usize> = (0..places.len()).filter(|i| names_of_several[*i] == names[places[*i]]).collect();
            assert_eq!(shared.len(), 3 + 3, "mu, tau and beta, and of three wards");
            for i in shared {
                let (found, exact) = (slopes[i], gradient[places[i]]);
                assert!(
                    (found - exact).abs() < 1e-9 * (1.0 + exact.abs()),
                    "{size}, {k}, {}: {found}, {exact}",
                    names_of_several[i]
                );
            }
        }
    }
}

/// One group, `w`, of a row, and one, `v`, of two: a latent of the group, and one of each row.
fn two_groups() -> Inputs {
    files(&[("groups", "name\nw\nv\n".into()), ("rows", "group,y\nw,1.3\nv,-0.4\nv,0.9\n".into())])
}

const SMALL: &str = "data groups { name: key }
data rows { group: groups, y: real }
param a: real = 0.8
latent z[groups] ~ Normal(0, 1)
latent b[rows] ~ Normal(z[group], 0.8)
observe y ~ Normal(a * b, 0.7)
guide {
  let t[g in groups] = sum(y[i] over i in rows where group[i] == g)
  param c: real = 0.4
  param f: real = 0.3
  param h: real = 0
  param s: real > 0 = 0.8
  param r: real > 0 = 0.7
  z ~ Normal(c * t, s)
  b ~ Normal(f * y + HOW, r)
}
";

/// The expected gradient is that of the bound, for params of the model and of both lines of the guide: quadrature over the noise of a
/// group and its row, two draws of each, on both sides, the bound's by central differences. A batch has room for two rows, and one is left.
#[test]
fn the_gradient_of_the_weighted_bound_of_members_is_unbiased() {
    let model = SMALL.replace("HOW", "h");
    let compiled =
        compile(&format!("{model}fit {{ batch: groups(1), method: iwae, importance_samples: 2 }}"), &two_groups());
    let params = ["a", "c", "f", "h", "s unconstrained", "r unconstrained"];
    let mut steps = Steps::of(&compiled, Weighing::Doubly, 2, &params);
    let (theta, noise) = placed(&mut steps, &[0.8, 0.5, 0.7, 0.15, -0.5, -0.5]);
    assert_eq!(noise.len(), 2 + 4, "two draws of the group, and of two rows, of which one counts nothing");
    assert_eq!(steps.batch.owner(1, 1), None);
    // Of rows first: the second row fills the batch up, and its noise is left at 0.
    let names = compiled.batches.as_ref().and_then(|b| Some(b.several()?.2)).expect("asked for");
    let at = |of: &str| noise.iter().copied().filter(|i| names[*i].contains(of)).collect::<Vec<_>>();
    let (of_group, of_rows) = (at("z"), at("b"));
    assert_eq!((of_group.len(), of_rows.len()), (2, 4), "{names:?}");
    let noise = [of_group[0], of_group[1], of_rows[0], of_rows[2]];
    let found = mean(&theta, &noise, &mut |t| steps.at(t).1);
    for (i, found) in found.iter().enumerate().filter(|(i, _)| [0, 1, 5].contains(i)) {
        let h = 1e-4;
        let mut moved = |by: f64| {
            let mut theta = theta.clone();
            theta[steps.params[i]] += by;
            mean(&theta, &noise, &mut |t| vec![steps.at(t).0])[0]
        };
        let exact = (moved(h) - moved(-h)) / (2.0 * h);
        assert!((found - exact).abs() < 1e-5, "d/d{}: {found} and {exact}", params[i]);
    }
}

/// The guide follows (w̃ - 1/K) ∂ log q at fixed draws, the model Σ w̃ ∂ log p, with w̃ of the group and its rows: at draws, by hand. The
/// line of the rows reads the draw of the group.
#[test]
fn the_inclusive_divergence_of_members_is_followed_by_weighted_draws() {
    let model = SMALL.replace("HOW", "h * z[group]");
    let fit = "fit { batch: groups(1), method: forward_kl, importance_samples: 2 }";
    let compiled = compile(&format!("{model}{fit}"), &two_groups());
    let params = ["a", "c", "f", "h", "s unconstrained", "r unconstrained"];
    let mut steps = Steps::of(&compiled, Weighing::Inclusive, 2, &params);
    // The group of two rows.
    let kin = compiled.batches.as_ref().expect("asked for").kin.clone();
    steps.batch.fill(&kin, &[1], (1, 2), 0.5);
    let (a, c, f, h, s, r): (f64, f64, f64, f64, f64, f64) = (0.8, 0.4, 0.3, -0.6, (-0.2f64).exp(), (-0.3f64).exp());
    let (mut theta, noise) = placed(&mut steps, &[a, c, f, h, -0.2, -0.3]);
    let names = compiled.batches.as_ref().and_then(|b| Some(b.several()?.2)).expect("asked for");
    let at = |of: &str| noise.iter().copied().filter(|i| names[*i].contains(of)).collect::<Vec<_>>();
    let (of_group, of_rows) = (at("z"), at("b"));
    let y = [-0.4, 0.9];
    let mut stream = vic::infer::Stream::new(5, "test", "draws");
    for _ in 0..5 {
        noise.iter().for_each(|i| theta[*i] = stream.normal());
        let (bound, found) = steps.at(&theta);
        let e = [0, 1].map(|d| theta[of_group[d]]);
        let z = e.map(|e| c * (y[0] + y[1]) + s * e);
        // By draw, then by row.
        let eps = [0, 1].map(|d| [0, 1].map(|i| theta[of_rows[i + 2 * d]]));
        let b = [0, 1].map(|d| [0, 1].map(|i| f * y[i] + h * z[d] + r * eps[d][i]));
        let log_w = |d: usize| {
            let mut out = -0.5 * z[d] * z[d] + 0.5 * e[d] * e[d] + s.ln();
            for i in 0..2 {
                out +=
                    -0.5 * ((b[d][i] - z[d]) / 0.8).powi(2) - 0.8f64.ln() - 0.5 * ((y[i] - a * b[d][i]) / 0.7).powi(2);
                out += -(0.7 * TAU.sqrt()).ln() + 0.5 * eps[d][i] * eps[d][i] + r.ln();
            }
            out
        };
        let w = [0, 1].map(|d| log_w(d).exp());
        let share = w.map(|x| x / (w[0] + w[1]));
        assert!((bound - ((w[0] + w[1]) / 2.0).ln()).abs() < 1e-11, "{bound}");
        let sum = |of: &dyn Fn(usize, usize) -> f64| {
            (0..2).map(|d| (0..2).map(|i| of(d, i)).sum::<f64>()).collect::<Vec<_>>()
        };
        let model = |of: Vec<f64>| share[0] * of[0] + share[1] * of[1];
        let guide = |of: Vec<f64>| (share[0] - 0.5) * of[0] + (share[1] - 0.5) * of[1];
        let exact = [
            model(sum(&|d, i| (y[i] - a * b[d][i]) * b[d][i] / 0.49)),
            guide(sum(&|d, _| 0.5 * e[d] / s * (y[0] + y[1]))),
            guide(sum(&|d, i| eps[d][i] / r * y[i])),
            guide(sum(&|d, i| eps[d][i] / r * z[d])),
            guide(sum(&|d, _| 0.5 * (e[d] * e[d] - 1.0))),
            guide(sum(&|d, i| eps[d][i] * eps[d][i] - 1.0)),
        ];
        for (f, e) in found.iter().zip(exact) {
            assert!((f - e).abs() < 1e-11, "{found:?} and {exact:?}");
        }
    }
}

/// Fits of a guide that draws two correlated latents of a group apart. With weighted draws the bound is nearer to the evidence than the
/// lower bound is; the inclusive divergence finds the posterior's sd, where the lower bound finds one that is too small; members may be
/// held out; and the same seed gives the same bits on any number of threads.
#[test]
fn members_are_fitted_with_weighted_draws() {
    // Every group has four rows, so that one sd is that of all.
    let y = |g: usize, i: usize| 1.4 * noise(g) + 0.5 * noise(100 + 4 * g + i);
    let names: String = (0..24).map(|g| format!("g{g}\n")).collect();
    let rows: String = (0..96).map(|i| format!("g{},{}\n", i % 24, y(i % 24, i / 24))).collect();
    let data = files(&[("groups", format!("name\n{names}")), ("rows", format!("group,y\n{rows}"))]);
    let text = "data groups { name: key }
data rows { group: groups, y: real }
plate code = 2
latent z[groups, code] ~ Normal(0, 1)
observe y ~ Normal(sum(z[group] over code), 1)
guide {
  let average[g in groups] = mean(y[i] over i in rows where group[i] == g)
  param b: real = 0.1
  param s: real > 0 = 0.7
  z ~ Normal(b * average, s)
}
";
    let run = |options: &str, threads| {
        let compiled =
            compile(&format!("{text}fit {{ batch: groups(8), epochs: 300, optimizer: adam(0.02), {options} }}"), &data);
        fit(&compiled, &FitRequest { threads: Some(threads), ..FitRequest::default() })
    };
    let (elbo, iwae, wake) = (
        run("schedule: cosine", 1),
        run("method: iwae, importance_samples: 8", 1),
        run("method: forward_kl, importance_samples: 32", 1),
    );
    let param = |r: &vic::report::FitReport, name: &str| {
        r.guide_params.iter().find(|v| v.name == name).expect("a param of the guide").draws[0]
    };
    // The mean of four rows has the variance 1/4 around the sum: the posterior's precision is 1 + 4 for each latent given the other, and
    // its variance 1 - 1 / (2 + 1/4).
    assert!((param(&elbo, "s") / 0.2f64.sqrt() - 1.0).abs() < 0.05, "{}", param(&elbo, "s"));
    assert!(param(&iwae, "s") > 1.15 * param(&elbo, "s"), "{}", param(&iwae, "s"));
    assert!((param(&wake, "s") / (1.0 - 1.0 / 2.25f64).sqrt() - 1.0).abs() < 0.08, "{}", param(&wake, "s"));
    let exact: f64 = (0..24)
        .map(|g| {
            let (sum, squares) = (0..4).map(|i| y(g, i)).fold((0.0, 0.0), |(s, q), y| (s + y, q + y * y));
            -0.5 * (squares - sum * sum * 2.0 / 9.0 + 9f64.ln() + 4.0 * TAU.ln())
        })
        .sum::<f64>()
        / 24.0;
    for r in [&iwae, &wake] {
        assert!(r.stop_reason.contains(" nats per member"), "{}", r.stop_reason);
        let bound: f64 =
            r.stop_reason.split("draws is ").nth(1).and_then(|s| s.split(' ').next()?.parse().ok()).expect("said");
        let lower = r.elbo.expect("a guide has a bound").0 / 24.0;
        assert!(lower + 0.05 < bound && bound < exact + 0.02, "{lower}, {bound} and {exact}");
    }
    // As for rows: along the difference of the two latents the posterior is wider than the guide, and k is 1 less the ratio of variances.
    let figures = |r: &vic::report::FitReport| {
        r.verdict.as_ref().and_then(|v| v.figures.k_hat_rows.clone()).expect("members are drawn")
    };
    assert_eq!(figures(&elbo).rows, 24);
    assert!(figures(&elbo).half > figures(&wake).half, "{:?} and {:?}", figures(&elbo), figures(&wake));
    assert!(figures(&wake).half.is_some_and(|k| (k - 0.45).abs() < 0.15), "{:?}", figures(&wake));
    let again = run("method: iwae, importance_samples: 8", 2);
    assert_eq!(summaries(&again), summaries(&iwae));
    let held = run("method: iwae, importance_samples: 8, holdout: 0.25, patience: 300", 1);
    let said =
        held.stop_reason.split(", ").last().and_then(|s| s.split(' ').next()?.parse::<f64>().ok()).expect("said");
    // Six members say the mean of 24 with an error of some 0.3.
    assert!((said - exact).abs() < 1.0, "{} and {exact}", held.stop_reason);
}
