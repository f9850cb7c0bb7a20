//! Latents per row with an amortised guide: against closed forms where there are some, and against the likelihood of what
//! made the data where there are none.

use std::collections::HashMap;
use std::f64::consts::TAU;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand_distr::{Distribution, StandardNormal};
use vic::diag::Diags;
use vic::driver::{self, FitRequest, Session};
use vic::report::FitReport;
use vic::simulate::{Rows, simulate};

use super::support::{compile, csv, fit, read, summaries};

fn normals(n: usize, seed: u64) -> Vec<f64> {
    let mut rng = StdRng::seed_from_u64(seed);
    (0..n).map(|_| StandardNormal.sample(&mut rng)).collect()
}

fn table(header: &str, rows: &[Vec<f64>]) -> String {
    let line = |r: &Vec<f64>| r.iter().map(f64::to_string).collect::<Vec<_>>().join(",") + "\n";
    format!("{header}\n{}", rows.iter().map(line).collect::<String>())
}

/// Eigenvalues of a symmetric matrix, by Jacobi's rotations, largest first.
fn eigenvalues(mut a: Vec<Vec<f64>>) -> Vec<f64> {
    let n = a.len();
    for _ in 0..100 {
        for p in 0..n {
            for q in p + 1..n {
                let angle = 0.5 * (2.0 * a[p][q]).atan2(a[q][q] - a[p][p]);
                let (s, c) = angle.sin_cos();
                for row in &mut a {
                    (row[p], row[q]) = (c * row[p] - s * row[q], s * row[p] + c * row[q]);
                }
                let (upper, lower) = a.split_at_mut(q);
                for (x, y) in upper[p].iter_mut().zip(&mut lower[0]) {
                    (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
                }
            }
        }
    }
    let mut values: Vec<f64> = (0..n).map(|i| a[i][i]).collect();
    values.sort_by(|a, b| b.total_cmp(a));
    values
}

/// The bound of a linear VAE reaches the likelihood of probabilistic PCA (Tipping and Bishop 1999, eq. 12; Lucas et al. 2019), to
/// 1e-3 nats per row: at the optimum the guide is the posterior, so that the bound has no Monte Carlo error.
#[test]
fn a_linear_vae_is_probabilistic_pca() {
    let (n, d) = (80, 4);
    let (z, e) = (normals(2 * n, 1), normals(n * d, 2));
    let w = [[1.5, 0.2], [-1.0, 0.8], [0.4, -0.9], [0.3, 0.5]];
    let row = |i: usize| -> Vec<f64> {
        (0..d).map(|j| 1.0 + w[j][0] * z[2 * i] + w[j][1] * z[2 * i + 1] + 0.5 * e[i * d + j]).collect()
    };
    let rows: Vec<Vec<f64>> = (0..n).map(row).collect();
    let mean: Vec<f64> = (0..d).map(|j| rows.iter().map(|r| r[j]).sum::<f64>() / n as f64).collect();
    let s = |j: usize, k: usize| rows.iter().map(|r| (r[j] - mean[j]) * (r[k] - mean[k])).sum::<f64>() / n as f64;
    let values = eigenvalues((0..d).map(|j| (0..d).map(|k| s(j, k)).collect()).collect());
    let noise = (values[2] + values[3]) / 2.0;
    let exact = -0.5 * (d as f64 * TAU.ln() + values[0].ln() + values[1].ln() + 2.0 * noise.ln() + d as f64);
    let model = "data rows { x: real[feature] from \"x*\" }
plate code = 2
net decode(z: real[code]) -> real[feature] = head
net encode(x: real[feature]) -> real[code] = head
param s: real > 0 = 1
latent z[rows, code] ~ Normal(0, 1)
observe x ~ Normal(decode(z), s)
guide {
  param t[code]: real > 0 = 1
  let m = encode(x)
  z ~ Normal(m, t)
}
fit { batch: rows(40), optimizer: adam(0.02), epochs: 6000 }";
    let report = fit(&compile(model, &csv(&table("x1,x2,x3,x4", &rows))), &FitRequest::default());
    let (elbo, se) = report.elbo.expect("a guide has a bound");
    let short = exact - elbo / n as f64;
    assert!(se / (n as f64) < 1e-3, "{se}");
    assert!((-1e-6 - 3.0 * se / n as f64..1e-3).contains(&short), "{short} nats per row below {exact}");
    assert!((summaries(&report)["s"].0 / noise.sqrt() - 1.0).abs() < 0.02);
}

/// Factor analysis with known loadings: an encoder that may draw one factor from the other reaches the posterior itself, with
/// its means, sds and correlation.
#[test]
fn amortised_factor_analysis_is_exact() {
    let n = 40;
    let (w, sd) = ([[1.0, 0.5], [-0.5, 1.0], [0.8, 0.8]], [0.5, 0.7, 0.6]);
    let (z, e) = (normals(2 * n, 3), normals(3 * n, 4));
    let row = |i: usize| -> Vec<f64> {
        (0..3).map(|j| w[j][0] * z[2 * i] + w[j][1] * z[2 * i + 1] + sd[j] * e[3 * i + j]).collect()
    };
    let rows: Vec<Vec<f64>> = (0..n).map(row).collect();
    let model = "data rows { x1, x2, x3: real }
net encode(x1: real, x2: real, x3: real) -> (a: real, b: real) = head
latent a[rows] ~ Normal(0, 1)
latent b[rows] ~ Normal(0, 1)
observe x1 ~ Normal(a + 0.5 * b, 0.5)
observe x2 ~ Normal(-0.5 * a + b, 0.7)
observe x3 ~ Normal(0.8 * a + 0.8 * b, 0.6)
guide {
  param s, t: real > 0 = 1
  param c: real = 0
  let m = encode(x1, x2, x3)
  a ~ Normal(m.a, s)
  b ~ Normal(m.b + c * a, t)
}
fit { batch: rows(20), optimizer: adam(0.02), epochs: 4000 }";
    let model = model.replace("  param s, t: real > 0 = 1\n", "  param s: real > 0 = 1\n  param t: real > 0 = 1\n");
    let report = fit(&compile(&model, &csv(&table("x1,x2,x3", &rows))), &FitRequest::default());
    let precision = |i: usize, k: usize| {
        f64::from(u8::from(i == k)) + (0..3).map(|j| w[j][i] * w[j][k] / (sd[j] * sd[j])).sum::<f64>()
    };
    let (p, q, r) = (precision(0, 0), precision(0, 1), precision(1, 1));
    let det = p * r - q * q;
    let (va, cov, vb) = (r / det, -q / det, p / det);
    let found = |name: &str| report.vars.iter().find(|v| v.name == name).expect("a latent");
    let (a, b) = (found("a"), found("b"));
    for (i, x) in rows.iter().enumerate() {
        let score = |k: usize| (0..3).map(|j| w[j][k] * x[j] / (sd[j] * sd[j])).sum::<f64>();
        let mean = [va * score(0) + cov * score(1), cov * score(0) + vb * score(1)];
        let (da, db) = (a.cell(i, report.draws), b.cell(i, report.draws));
        let average = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
        let (ma, mb) = (average(da), average(db));
        // 4000 draws: means have an error of 1.6 % of an sd, sds of 1.1 %, correlations of 0.016 (1 - r²); over 40 rows the
        // largest are three times that. The rest is left to the noise of the last steps: 0.07 of an sd.
        assert!((ma - mean[0]).abs() < 0.12 * va.sqrt() && (mb - mean[1]).abs() < 0.12 * vb.sqrt(), "row {i}");
        let product = |u: &[f64], mu: f64, v: &[f64], mv: f64| {
            u.iter().zip(v).map(|(x, y)| (x - mu) * (y - mv)).sum::<f64>() / u.len() as f64
        };
        let (faa, fab, fbb) = (product(da, ma, da, ma), product(da, ma, db, mb), product(db, mb, db, mb));
        assert!((faa / va).sqrt().ln().abs() < 0.06 && (fbb / vb).sqrt().ln().abs() < 0.06, "row {i}: {faa}, {fbb}");
        let correlation = |c: f64, a: f64, b: f64| c / (a * b).sqrt();
        assert!((correlation(fab, faa, fbb) - correlation(cov, va, vb)).abs() < 0.07, "row {i}");
    }
}

const PIXELS: usize = 12;

/// Images that a model makes of itself with these values, and the values.
fn made(model: &str, rows: usize, sets: &[(String, f64)], seed: u64) -> (Vec<Vec<f64>>, HashMap<String, f64>) {
    let mut session = Session::default();
    let hir = driver::check(&mut session, "model.vi", model).hir;
    assert!(session.diags.list.is_empty());
    let header = (1..=PIXELS).map(|p| format!("p{p}")).collect::<Vec<_>>().join(",");
    let mut inputs = csv(&table(&header, &vec![vec![0.0; PIXELS]; rows]));
    inputs.sets = sets.iter().map(|(n, v)| (n.clone(), v.to_string())).collect();
    let mut diags = Diags::default();
    let made =
        simulate(&hir, &inputs, &Rows { every: None, of: vec![] }, seed, &mut diags).expect("it can be simulated");
    let text = made.tables[0].1.text();
    let images = text.lines().skip(1).map(|l| l.split(',').map(|c| c.parse().expect("0 or 1")).collect());
    (images.collect(), made.truth.into_iter().collect())
}

/// An affine layer of a net with these weights.
fn affine(truth: &HashMap<String, f64>, layer: &str, outputs: &[String], x: &[f64]) -> Vec<f64> {
    let each = outputs.iter().map(|o| {
        let sum: f64 = x.iter().enumerate().map(|(i, x)| truth[&format!("{layer}.weight[{o}, {}]", i + 1)] * x).sum();
        truth[&format!("{layer}.bias[{o}]")] + sum
    });
    each.collect()
}

fn names(n: usize) -> Vec<String> {
    (1..=n).map(|i| i.to_string()).collect()
}

fn hidden(truth: &HashMap<String, f64>, layer: &str, n: usize, x: &[f64]) -> Vec<f64> {
    affine(truth, layer, &names(n), x).into_iter().map(f64::tanh).collect()
}

/// The mean log probability of images under logits that are drawn.
fn likelihood(images: &[Vec<f64>], logits: &[Vec<f64>]) -> f64 {
    let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
    let of = |image: &Vec<f64>| {
        let each: Vec<f64> =
            logits.iter().map(|l| image.iter().zip(l).map(|(x, l)| x * l - softplus(*l)).sum()).collect();
        let most = each.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        most + (each.iter().map(|e| (e - most).exp()).sum::<f64>() / each.len() as f64).ln()
    };
    images.iter().map(of).sum::<f64>() / images.len() as f64
}

/// The log probability of images whose pixels are independent, each with its own share of ones.
fn independent(images: &[Vec<f64>]) -> f64 {
    let n = images.len() as f64;
    let of = |p: usize| {
        let share = images.iter().map(|i| i[p]).sum::<f64>() / n;
        if share <= 0.0 || share >= 1.0 { 0.0 } else { share * share.ln() + (1.0 - share) * (1.0 - share).ln() }
    };
    (0..PIXELS).map(of).sum()
}

/// The fit recovers the distribution of the images: its bound is as good as the likelihood of the values that made them, up to a
/// tenth of what these know beyond independent pixels. Above that likelihood it may be by what it has learnt of these very
/// images: half a nat per weight (Akaike), of which far from all are determined.
fn recovers(report: &FitReport, images: &[Vec<f64>], truth: f64) {
    let n = images.len() as f64;
    let (elbo, se) = report.elbo.expect("a guide has a bound");
    let (bound, none) = (elbo / n, independent(images));
    let weights: usize = report.weights.iter().map(|w| w.draws.len()).sum();
    assert!(truth - none > 0.8, "the images have structure: {truth} and {none}");
    let reached = (bound - none) / (truth - none);
    assert!(reached > 0.9, "bound {bound} ± {}, truth {truth}, independent {none}", se / n);
    assert!(bound < truth + 0.25 * weights as f64 / n, "bound {bound}, truth {truth}");
}

/// Weights of a decoder with two hidden units per latent, large enough to see.
fn decoder(width: usize, code: usize) -> Vec<(String, f64)> {
    let mut sets = vec![];
    for h in 0..width {
        for c in 0..code {
            let v = if h % code == c { 2.0 } else { 0.0 };
            sets.push((format!("decode.1.weight[{}, {}]", h + 1, c + 1), v));
        }
        for p in 0..PIXELS {
            let sign = if (p / 3 + h * (1 + p % 2)) % 2 == 0 { 1.0 } else { -1.0 };
            sets.push((format!("decode.head.weight[{}, {}]", p + 1, h + 1), 1.6 * sign));
        }
    }
    sets
}

#[test]
fn two_stochastic_layers() {
    let model = read("tests/models/textbook/hierarchical_vae.vi")
        .replace("high = 8", "high = 1")
        .replace("low = 32", "low = 2")
        .replace("dense(64", "dense(6")
        .replace("dense(128", "dense(8")
        .replace("adam(1e-3), epochs: 100", "adam(2e-2), epochs: 120");
    let mut sets = decoder(8, 2);
    sets.extend([("prior_low.mu.weight[1, 1]".to_string(), 2.0), ("prior_low.mu.weight[2, 2]".to_string(), -2.0)]);
    let (images, truth) = made(&model, 400, &sets, 5);
    let logits: Vec<Vec<f64>> = (0..3000)
        .map(|i| {
            let e = normals(3, 100 + i);
            let h = hidden(&truth, "prior_low.1", 6, &e[..1]);
            let (mu, log) =
                (affine(&truth, "prior_low.mu", &names(2), &h), affine(&truth, "prior_low.sigma", &names(2), &h));
            let z: Vec<f64> = (0..2).map(|k| mu[k] + log[k].exp() * e[1 + k]).collect();
            affine(&truth, "decode.head", &names(PIXELS), &hidden(&truth, "decode.1", 8, &z))
        })
        .collect();
    let text: Vec<String> = (1..=PIXELS).map(|p| format!("p{p}")).collect();
    let report = fit(&compile(&model, &csv(&table(&text.join(","), &images))), &FitRequest::default());
    recovers(&report, &images, likelihood(&images, &logits));
}

/// Images of a mixture, fitted with this model: its bound, per row, and what the images are.
fn of_a_mixture(model: &str) -> (FitReport, Vec<Vec<f64>>, f64) {
    let small = |model: &str| {
        model
            .replace("code = 10", "code = 2")
            .replace("part = 20", "part = 3")
            .replace("dense(200", "dense(8")
            .replace("digits(128)", "digits(64)")
            .replace("adam(1e-3), epochs: 50", "adam(2e-2), epochs: 120")
    };
    let truth_model = small(&read("tests/models/textbook/vae_mixture_prior.vi"));
    let mut sets = decoder(8, 2);
    let centres = [[2.0, 0.5], [-2.0, 1.0], [0.5, -2.0]];
    for (k, centre) in centres.iter().enumerate() {
        sets.extend((0..2).map(|c| (format!("m[{}, {}]", k + 1, c + 1), centre[c])));
        sets.extend((0..2).map(|c| (format!("s[{}, {}]", k + 1, c + 1), 0.4)));
    }
    let (images, truth) = made(&truth_model, 400, &sets, 6);
    let logits: Vec<Vec<f64>> = (0..3000)
        .map(|i| {
            let (e, centre) = (normals(2, 100 + i), centres[i as usize % 3]);
            let z: Vec<f64> = (0..2).map(|c| centre[c] + 0.4 * e[c]).collect();
            affine(&truth, "decode.head", &names(PIXELS), &hidden(&truth, "decode.1", 8, &z))
        })
        .collect();
    let text: Vec<String> = (1..=PIXELS).map(|p| format!("p{p}")).collect();
    let report = fit(&compile(&small(model), &csv(&table(&text.join(","), &images))), &FitRequest::default());
    let truth = likelihood(&images, &logits);
    (report, images, truth)
}

#[test]
fn a_mixture_as_prior() {
    let (report, images, truth) = of_a_mixture(&read("tests/models/textbook/vae_mixture_prior.vi"));
    recovers(&report, &images, truth);
}

/// A prior made of the encoder itself.
#[test]
fn a_prior_of_pseudo_images() {
    let (report, images, truth) = of_a_mixture(&read("tests/models/textbook/vae_vampprior.vi"));
    recovers(&report, &images, truth);
}

/// The guide that is derived for factor analysis has the bound of the exact posterior, to what two tanh layers leave of a linear map.
#[test]
fn a_derived_guide_reaches_the_evidence() {
    let n = 60;
    let (w, sd) = ([[1.0, 0.5], [-0.5, 1.0], [0.8, 0.8]], [0.5f64, 0.7, 0.6]);
    let (z, e) = (normals(2 * n, 3), normals(3 * n, 4));
    let row = |i: usize| -> Vec<f64> {
        (0..3).map(|j| w[j][0] * z[2 * i] + w[j][1] * z[2 * i + 1] + sd[j] * e[3 * i + j]).collect()
    };
    let rows: Vec<Vec<f64>> = (0..n).map(row).collect();
    let model = "data rows { x1, x2, x3: real }
latent a[rows] ~ Normal(0, 1)
latent b[rows] ~ Normal(0, 1)
observe x1 ~ Normal(a + 0.5 * b, 0.5)
observe x2 ~ Normal(-0.5 * a + b, 0.7)
observe x3 ~ Normal(0.8 * a + 0.8 * b, 0.6)
guide amortised(20)
fit { batch: rows(30), optimizer: adam(0.01), epochs: 1500 }";
    let report = fit(&compile(model, &csv(&table("x1,x2,x3", &rows))), &FitRequest::default());
    // x ~ Normal(0, W Wᵀ + S): by its Cholesky factor.
    let cov = |j: usize, k: usize| w[j][0] * w[k][0] + w[j][1] * w[k][1] + if j == k { sd[j] * sd[j] } else { 0.0 };
    let mut l = [[0.0f64; 3]; 3];
    for j in 0..3 {
        for k in 0..=j {
            let rest = cov(j, k) - (0..k).map(|i| l[j][i] * l[k][i]).sum::<f64>();
            l[j][k] = if j == k { rest.sqrt() } else { rest / l[k][k] };
        }
    }
    let log_density = |x: &[f64]| {
        let mut u = [0.0; 3];
        for j in 0..3 {
            u[j] = (x[j] - (0..j).map(|k| l[j][k] * u[k]).sum::<f64>()) / l[j][j];
        }
        (0..3).map(|j| -0.5 * (TAU.ln() + u[j] * u[j]) - l[j][j].ln()).sum::<f64>()
    };
    let evidence: f64 = rows.iter().map(|x| log_density(x)).sum();
    let (elbo, se) = report.elbo.expect("a guide has a bound");
    // Independent normals, for comparison, lose more than 0.15 nats per row to the correlation of a and b.
    let short = (evidence - elbo) / n as f64;
    assert!((-3.0 * se / n as f64..0.03).contains(&short), "{short} nats per row below {evidence}");
}

/// Clusters that a net tells apart, drawn by the guide: enumerated, scored with another draw as the baseline, or relaxed, a fit in
/// batches comes near to the exact evidence, to what the encoder and the last steps leave. Without the clusters it is 0.5 nats
/// per row lower.
#[test]
fn discrete_latents_of_rows_are_drawn_in_batches() {
    let n = 200;
    let (z, u) = (normals(n, 11), normals(n, 12));
    let x: Vec<f64> = (0..n).map(|i| if u[i] < -0.3 { -2.0 + z[i] } else { 2.0 + z[i] }).collect();
    let rows: Vec<Vec<f64>> = x.iter().map(|x| vec![*x]).collect();
    let exact = |p: f64| {
        let normal = |m: f64, x: f64| -0.5 * (TAU.ln() + (x - m) * (x - m));
        x.iter().map(|x| (p * normal(2.0, *x).exp() + (1.0 - p) * normal(-2.0, *x).exp()).ln()).sum::<f64>() / n as f64
    };
    let best = (1..100).map(|i| exact(f64::from(i) / 100.0)).fold(f64::NEG_INFINITY, f64::max);
    for how in ["@enumerate", "@score", "@gumbel(temperature: 0.3)"] {
        let model = format!(
            "data rows {{ x: real }}
net encode(x: real) -> real = dense(8, tanh) |> head
param p: real in (0, 1) = 0.5
latent up[rows] ~ Bernoulli(p)
observe x ~ Normal(if up then 2 else -2, 1)
guide {{
  up ~ Bernoulli(logit: encode(x)) {how}
}}
fit {{ batch: rows(40), optimizer: adam(0.02), epochs: 300 }}"
        );
        let report = fit(&compile(&model, &csv(&table("x", &rows))), &FitRequest::default());
        let (elbo, se) = report.elbo.expect("a guide has a bound");
        let short = best - elbo / n as f64;
        assert!((-3.0 * se / n as f64 - 1e-6..0.02).contains(&short), "{how}: {short} nats per row below {best}");
    }
}

/// The gradient of a scored latent in batches, averaged over steps, is that of the enumerated bound: the score function has no bias.
#[test]
fn scored_gradients_of_batches_are_unbiased() {
    let model = |how: &str, epochs: usize| {
        format!(
            "data rows {{ x: real }}
latent up[rows] ~ Bernoulli(0.4)
observe x ~ Normal(if up then 1 else -1, 1)
guide {{
  param a = 0.3
  param b = 0.2
  up ~ Bernoulli(logit: a + b * x) {how}
}}
fit {{ batch: rows(4), optimizer: sgd(1e-6), schedule: constant, epochs: {epochs} }}"
        )
    };
    let rows: Vec<Vec<f64>> = [0.3, -1.2, 0.8, 1.9, -0.4, 0.1, -2.0, 1.1].iter().map(|x| vec![*x]).collect();
    // Steps this small add up gradients at the start; momentum only delays them.
    let moved = |how: &str| {
        let report = fit(&compile(&model(how, 4000), &csv(&table("x", &rows))), &FitRequest::default());
        let of = |name: &str| report.guide_params.iter().find(|p| p.name == name).expect("a param").draws[0];
        [(of("a") - 0.3) * 1e6, (of("b") - 0.2) * 1e6]
    };
    let (exact, scored) = (moved("@enumerate"), moved("@score"));
    for (e, s) in exact.iter().zip(scored) {
        // 8000 steps of 4 rows; a score with a baseline has a spread of about the gradient's own size per row, so that the mean is known
        // to 2 %.
        assert!((s / e - 1.0).abs() < 0.1, "{exact:?} and {scored:?}");
    }
}
