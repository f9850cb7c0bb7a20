//! Guides that a model writes out, against posteriors and evidences that are known.

use vic::driver::{self, FitRequest};
use vic::infer::{self, Fit, Target};

use crate::closed_forms::log_normal;
use crate::support;

const LOG_2PI: f64 = 1.837_877_066_409_345_3;

/// Numbers without pattern.
fn data(n: usize) -> Vec<f64> {
    support::theta(n).iter().enumerate().map(|(i, x)| 1.5 * x + 0.3 * (i % 3) as f64).collect()
}

fn fitted(model: &str, csv: &str) -> (driver::Compiled, Fit) {
    let compiled = support::compile(model, &support::csv(csv));
    let options = driver::options(&compiled, &FitRequest::default());
    let fit = infer::fit(&compiled.model, &options, &mut |_| {}).expect("the log joint is finite");
    assert!(fit.converged, "{}", fit.stop_reason);
    (compiled, fit)
}

/// Mean and sd of each latent, over draws of the guide itself.
fn moments(compiled: &driver::Compiled, fit: &Fit) -> Vec<(f64, f64)> {
    let n = 4000;
    let theta = fit.sample(n, 1);
    let mut evaluator = compiled.model.evaluator();
    let rows: Vec<Vec<f64>> = theta.chunks(fit.mean.len()).map(|t| evaluator.latents(t)).collect();
    let of = |i: usize| {
        let mean = rows.iter().map(|r| r[i]).sum::<f64>() / n as f64;
        (mean, (rows.iter().map(|r| (r[i] - mean).powi(2)).sum::<f64>() / n as f64).sqrt())
    };
    (0..rows[0].len()).map(of).collect()
}

/// A param of the guide by name, as fitted.
fn param(fit: &Fit, name: &str) -> f64 {
    fit.mean[fit.names.iter().position(|n| n == name).unwrap_or_else(|| panic!("{name} in {:?}", fit.names))]
}

/// Normal mean with known sd: the guide with the exact family finds the posterior, and its bound is the evidence.
#[test]
fn the_exact_conditional_recovers_posterior_and_evidence() {
    let y = data(7);
    let model = "data rows { y: real }\nlatent mu ~ Normal(0.5, 2)\nobserve y ~ Normal(mu, 1.5)\n\
                 guide {\n  param m = 0\n  param s: real > 0 = 1\n  mu ~ Normal(m, s)\n}\n";
    let (_, fit) = fitted(model, &support::column("y", &y));
    let precision = 7.0 / 2.25 + 0.25;
    let mean = (y.iter().sum::<f64>() / 2.25 + 0.5 * 0.25) / precision;
    let cell = |i: usize, j: usize| 4.0 + if i == j { 2.25 } else { 0.0 };
    let c: Vec<Vec<f64>> = (0..7).map(|i| (0..7).map(|j| cell(i, j)).collect()).collect();
    // The fixed draws integrate a quadratic exactly; what is left is the gradient's tolerance.
    assert!((param(&fit, "m") - mean).abs() < 1e-3);
    assert!((param(&fit, "s unconstrained") + 0.5 * precision.ln()).abs() < 1e-3);
    assert!((fit.elbo - log_normal(&y, &[0.5; 7], &c)).abs() < 1e-5, "{}", fit.elbo);
    // At the posterior log p − log q does not vary: there is no Monte Carlo error.
    assert!(fit.elbo_se < 1e-3, "{}", fit.elbo_se);
}

/// θᵢ ~ N(0, 1), yᵢ ~ N(θᵢ, ½): every row's posterior is N(0.8 yᵢ, 0.2), which one line in terms of y says.
#[test]
fn an_amortised_guide_finds_every_row() {
    let y = data(12);
    let model = "data rows { y: real }\nlatent theta[rows] ~ Normal(0, 1)\nobserve y ~ Normal(theta, 0.5)\n\
                 guide {\n  param a, b = 0\n  param s: real > 0 = 1\n  theta ~ Normal(a + b * y, s)\n}\n";
    let model = model.replace("param a, b = 0", "param a = 0\n  param b = 0");
    let (compiled, fit) = fitted(&model, &support::column("y", &y));
    assert!(param(&fit, "a").abs() < 1e-3 && (param(&fit, "b") - 0.8).abs() < 1e-3);
    let evidence: f64 = y.iter().map(|y| -0.5 * (y * y / 1.25 + 1.25f64.ln() + LOG_2PI)).sum();
    assert!((fit.elbo - evidence).abs() < 1e-5, "{} is not {evidence}", fit.elbo);
    for ((mean, sd), y) in moments(&compiled, &fit).into_iter().zip(&y) {
        // Four standard errors over 4000 draws: 0.028 of a mean, 0.02 of a sd.
        assert!((mean - 0.8 * y).abs() < 0.03 && (sd - 0.2f64.sqrt()).abs() < 0.02, "{mean} {sd} {y}");
    }
}

const TWO_LEVELS: &str = "data rows { y: real }\nlatent mu ~ Normal(0, 2)\nlatent theta[rows] ~ Normal(mu, 1) @centered\n\
                          observe y ~ Normal(theta, 0.5)\n";

/// A later line that reads an earlier draw is exact where independent lines are not.
#[test]
fn a_structured_guide_beats_mean_field() {
    let y = data(6);
    let structured = "guide {\n  param m = 0\n  param s: real > 0 = 1\n  param a = 0\n  param b = 0\n  param c = 0\n  \
                      param t: real > 0 = 1\n  mu ~ Normal(m, s)\n  theta ~ Normal(a + b * y + c * mu, t)\n}\n";
    let csv = support::column("y", &y);
    let cell = |i: usize, j: usize| 4.0 + if i == j { 1.25 } else { 0.0 };
    let c: Vec<Vec<f64>> = (0..6).map(|i| (0..6).map(|j| cell(i, j)).collect()).collect();
    let evidence = log_normal(&y, &[0.0; 6], &c);
    let (compiled, fit) = fitted(&format!("{TWO_LEVELS}{structured}"), &csv);
    assert!((fit.elbo - evidence).abs() < 1e-4, "{} is not {evidence}", fit.elbo);
    assert!((param(&fit, "b") - 0.8).abs() < 2e-3 && (param(&fit, "c") - 0.2).abs() < 2e-3);
    let precision = 6.0 / 1.25 + 0.25;
    let mean = y.iter().sum::<f64>() / 1.25 / precision;
    let (own, sd) = moments(&compiled, &fit)[0];
    assert!((own - mean).abs() < 4.0 * sd / 4000f64.sqrt() && (sd * sd * precision - 1.0).abs() < 0.1);
    // Independent normals lose ½ (Σ log Λᵢᵢ − log |Λ|), Λ the posterior's precision over (mu, theta).
    let (_, apart) = fitted(&format!("{TWO_LEVELS}guide {{\n  rest ~ meanfield()\n}}\n"), &csv);
    let log_det = 6.0 * 5f64.ln() + (0.25 + 6.0 - 6.0 / 5.0f64).ln();
    let gap = 0.5 * ((6.25f64).ln() + 6.0 * 5f64.ln() - log_det);
    assert!((apart.elbo - (evidence - gap)).abs() < 4.0 * apart.elbo_se + 1e-3, "{} {evidence} {gap}", apart.elbo);
}

/// A family over a group knows its correlations, and lines below may read it.
#[test]
fn a_group_may_have_a_family_of_its_own() {
    let y = data(8);
    let model = "data rows { y: real }\nlatent a ~ Normal(0, 3)\nlatent b ~ Normal(0, 3)\nlatent late ~ Normal(a, 1)\n\
                 observe y ~ Normal(a + 0.8 * b, 0.7)\n\
                 guide {\n  a, b ~ fullrank()\n  param s: real > 0 = 3\n  param c = 0\n  late ~ Normal(c * a, s)\n}\n";
    let (_, fit) = fitted(model, &support::column("y", &y));
    let cell = |i: usize, j: usize| 9.0 * 1.64 + if i == j { 0.49 } else { 0.0 };
    let c: Vec<Vec<f64>> = (0..8).map(|i| (0..8).map(|j| cell(i, j)).collect()).collect();
    let evidence = log_normal(&y, &[0.0; 8], &c);
    assert!((fit.elbo - evidence).abs() < 1e-4, "{} is not {evidence}", fit.elbo);
    assert!((param(&fit, "c") - 1.0).abs() < 1e-3 && param(&fit, "s unconstrained").abs() < 1e-3);
}

/// A `param` of the model is fitted with the guide: with the exact family that is the EM algorithm.
#[test]
fn params_of_the_model_maximise_the_evidence() {
    let y = data(9);
    let model = "data rows { y: real }\nparam centre = 0\nparam sd: real > 0 = 1\n\
                 latent theta[rows] ~ Normal(centre, sd)\nobserve y ~ Normal(theta, 0.5)\n\
                 guide {\n  param a = 0\n  param b = 0\n  param s: real > 0 = 1\n  theta ~ Normal(a + b * y, s)\n}\n";
    let (_, fit) = fitted(model, &support::column("y", &y));
    let mean = y.iter().sum::<f64>() / 9.0;
    let variance = y.iter().map(|y| (y - mean).powi(2)).sum::<f64>() / 9.0;
    assert!((param(&fit, "centre") - mean).abs() < 2e-3);
    let sd = param(&fit, "sd unconstrained").exp();
    assert!((sd * sd + 0.25 - variance).abs() < 5e-3, "{} {variance}", sd * sd + 0.25);
}

/// A discrete latent without a line is summed out given the others, and its probabilities are those of any fit.
#[test]
fn unnamed_discrete_latents_are_summed_out() {
    let y = [-2.1, -1.8, 1.9, 2.2, 2.0];
    let model = "data rows { y: real }\nlatent mu ~ Normal(0, 2)\nlatent up[rows] ~ Bernoulli(0.5)\n\
                 observe y ~ Normal(mu + (if up then 2 else -2), 0.5)\n";
    let guide = "guide {\n  param m = 0\n  param s: real > 0 = 1\n  mu ~ Normal(m, s)\n}\n";
    let csv = support::column("y", &y);
    let fit = |text: &str| support::fit(&support::compile(text, &support::csv(&csv)), &FitRequest::default());
    let (own, usual) = (fit(&format!("{model}{guide}")), fit(model));
    let (a, b) = (own.elbo.expect("a guide"), usual.elbo.expect("a guide"));
    // The same family in other words.
    assert!((a.0 - b.0).abs() < 4.0 * (a.1 + b.1) + 1e-4, "{a:?} {b:?}");
    assert_eq!(own.discrete[0].name, "up");
    for cell in 0..5 {
        assert!((own.discrete[0].probability(cell, 1) - usual.discrete[0].probability(cell, 1)).abs() < 0.01);
    }
    assert_eq!(own.vars.len(), 1, "the guide's params are no part of the report");
}

/// Draws from every kind of noise, alone and together, at a point without pattern: gradients against differences, the
/// kernels against the interpreter.
#[test]
fn the_bound_has_the_right_gradient() {
    let model = "data rows { y: real, x: real[f] from [\"x1\", \"x2\", \"x3\"] }\n\
                 latent b[f] ~ Normal(0, 1)\nlatent sigma ~ HalfNormal(1)\nlatent share ~ Uniform(0, 1)\n\
                 latent low ~ Uniform(-1, share)\nlatent heavy ~ StudentT(4, 0, 1)\nlatent wait ~ Exponential(1)\n\
                 latent field over rows ~ MvNormal(0, sd: 1, corr: C)\nlatent e[rows] ~ Normal(0, sigma)\n\
                 observe y ~ Normal(sum(x * b over f) + low + heavy + wait + field + e, sigma)\n\
                 guide {\n  param m[f] = 0\n  param L[i in f, j in f] = if i == j then 1 else 0.2\n  param k = 0.3\n  \
                 let v = 0.1 * y + k\n  b ~ MvNormal(m, chol: L)\n  sigma ~ Weibull(exp(k), 1 + k^2)\n  \
                 share, low ~ fullrank()\n  heavy ~ Laplace(k * sigma, 1 + share)\n  wait ~ LogNormal(k, sigma)\n  \
                 field ~ Logistic(v, exp(k))\n  e ~ Normal(v * heavy, sigma)\n}\n";
    let model = model
        .replace("latent field over rows ~ MvNormal(0, sd: 1, corr: C)", "latent field[rows] ~ Normal(0, 1)")
        .replace("param L[i in f, j in f] = if i == j then 1 else 0.2", "param d: real > 0 = 1")
        .replace("MvNormal(m, chol: L)", "MvNormal(m, cov: V)")
        .replace(
            "let v = 0.1 * y + k",
            "let v = 0.1 * y + k\n  let V[i in f, j in f] = (if i == j then d else 0.2 * d)",
        );
    let csv = "y,x1,x2,x3\n1,0.3,-1,2\n-0.4,1,0.2,0.1\n0.7,-0.5,0.4,-1.2\n";
    let compiled = support::compile(&model, &support::csv(csv));
    let theta: Vec<f64> = support::theta(compiled.model.dim()).iter().map(|x| 0.7 * x).collect();
    assert!(support::checked_value(&compiled, &theta).is_finite());
}

/// The number of threads changes no bit, and the order of rows and declarations next to nothing.
#[test]
fn seeds_threads_and_orders() {
    let guide = "guide {\n  param s: real > 0 = 1\n  param c = 0\n  mu ~ LogNormal(c, s)\n  rest ~ meanfield()\n}\n";
    let head = "data rows { name: key, y: real }\n";
    let (a, b) = ("latent mu ~ HalfNormal(2)\n", "latent shift ~ Normal(0, 1)\n");
    let (theta, observe) =
        ("latent theta[rows] ~ Normal(mu + shift, 1) @centered\n", "observe y ~ Normal(theta, 0.5)\n");
    let rows: Vec<String> = data(6).iter().enumerate().map(|(i, y)| format!("r{i},{y}")).collect();
    let csv = |rows: &[String]| format!("name,y\n{}\n", rows.join("\n"));
    let fit = |model: String, csv: &str, threads: usize| {
        let compiled = support::compile(&model, &support::csv(csv));
        support::fit(&compiled, &FitRequest { threads: Some(threads), ..FitRequest::default() })
    };
    let one = fit(format!("{head}{a}{b}{theta}{observe}{guide}"), &csv(&rows), 1);
    let two = fit(format!("{head}{a}{b}{theta}{observe}{guide}"), &csv(&rows), 2);
    let draws = |r: &vic::report::FitReport| r.vars.iter().flat_map(|v| v.draws.clone()).collect::<Vec<f64>>();
    assert!(draws(&one) == draws(&two), "the number of threads changes the draws");
    let turned: Vec<String> = rows.iter().rev().cloned().collect();
    let (_, fit) = fitted(&format!("{head}{a}{b}{theta}{observe}{guide}"), &csv(&rows));
    let (_, other) = fitted(&format!("{head}{b}{guide}{a}{theta}{observe}"), &csv(&turned));
    for name in &fit.names {
        assert!((param(&fit, name) - param(&other, name)).abs() < 1e-6, "{name}");
    }
    assert!((fit.elbo - other.elbo).abs() < 1e-6);
}

/// zᵢ ~ Bernoulli(0.4), yᵢ ~ N(±2, 0.8): log odds are linear in y, which the guide says; its bound is then the evidence.
#[test]
fn chances_of_discrete_latents_are_fitted() {
    let y = [-2.6, -0.4, 1.9, 2.2, 0.3, -1.5];
    let model = |how: &str| {
        format!(
            "data rows {{ y: real }}\nlatent up[rows] ~ Bernoulli(0.4)\nobserve y ~ Normal((if up then 2 else -2), 1.5)\n\
             guide {{\n  param a = 0\n  param b = 0\n  up ~ Bernoulli(logit: a + b * y) {how}\n}}\n"
        )
    };
    let density = |y: f64, m: f64| (-0.5 * ((y - m) / 1.5f64).powi(2)).exp() / (1.5 * LOG_2PI.exp().sqrt());
    let evidence: f64 = y.iter().map(|&y| (0.4 * density(y, 2.0) + 0.6 * density(y, -2.0)).ln()).sum();
    let csv = support::column("y", &y);
    let (_, fit) = fitted(&model(""), &csv);
    assert!((fit.elbo - evidence).abs() < 1e-5 && fit.elbo_se < 1e-6, "{} is not {evidence}", fit.elbo);
    assert!((param(&fit, "a") - (0.4f64 / 0.6).ln()).abs() < 2e-3 && (param(&fit, "b") - 4.0 / 2.25).abs() < 2e-3);
    let report = support::fit(&support::compile(&model(""), &support::csv(&csv)), &FitRequest::default());
    for (i, &y) in y.iter().enumerate() {
        let odds = 0.4 * density(y, 2.0) / (0.6 * density(y, -2.0));
        // Four standard errors of a share of 4000 draws are at most 0.032.
        assert!((report.discrete[0].probability(i, 1) - odds / (1.0 + odds)).abs() < 0.032);
    }
    // The score function ends near the same optimum: 0.03 nats is what its noise leaves at the last rate.
    let (_, scored) = fitted(&model("@score"), &csv);
    assert!((scored.elbo - evidence).abs() < 4.0 * scored.elbo_se + 0.03, "{} {evidence}", scored.elbo);
}

/// A line that reads a discrete draw: the exact posterior of a mixture's class and of the value within it.
#[test]
fn a_line_may_read_the_class_that_was_drawn() {
    let model = "data rows { y: real }\nplate k = 3\nlatent z: k ~ Categorical(w)\n\
                 latent theta ~ Normal(centre[z], 1)\nobserve y ~ Normal(theta, 0.5)\n\
                 guide {\n  param q over k: simplex = 1 / 3\n  param c[k] = 0\n  param s: real > 0 = 1\n  \
                 z ~ Categorical(q)\n  theta ~ Normal(c[z], s)\n}\n"
        .replace("latent z", "let centre[k] = [-2, 0, 3]\nlet w[k] = [0.2, 0.5, 0.3]\nlatent z");
    let (_, fit) = fitted(&model, "y\n0.8\n");
    let density = |m: f64| (-0.5 * (0.8 - m) * (0.8 - m) / 1.25).exp() / (1.25f64.sqrt() * LOG_2PI.exp().sqrt());
    let evidence = (0.2 * density(-2.0) + 0.5 * density(0.0) + 0.3 * density(3.0)).ln();
    assert!((fit.elbo - evidence).abs() < 4.0 * fit.elbo_se + 0.03, "{} is not {evidence}", fit.elbo);
    // The place within a likely class: (centre + 4 y) / 5.
    assert!((param(&fit, "c[2]") - 0.64).abs() < 0.1, "{}", param(&fit, "c[2]"));
}

/// Counts without an end, by both ways.
#[test]
fn counts_without_an_end_can_be_drawn() {
    let model = |how: &str| {
        format!(
            "data rows {{ y: real }}\nlatent n[rows] ~ Poisson(3)\nobserve y ~ Normal(n, 1)\n\
             guide {{\n  param a = 1\n  n ~ Poisson(log: a) {how}\n}}\n"
        )
    };
    let csv = support::column("y", &[3.2, 4.1]);
    let (_, exact) = fitted(&model("@enumerate"), &csv);
    let (_, scored) = fitted(&model("@score"), &csv);
    assert!(exact.elbo_se < 1e-6);
    assert!((exact.elbo - scored.elbo).abs() < 4.0 * scored.elbo_se + 0.03, "{} {}", exact.elbo, scored.elbo);
    // The noise of the last windows, of rates of 0.05 and less.
    assert!((param(&exact, "a") - param(&scored, "a")).abs() < 0.1);
}

/// A scored cell is credited with the terms that depend on it, and no others.
#[test]
fn terms_are_credited_cell_by_cell() {
    let model = "data rows { y: real }\nlatent up[rows] ~ Bernoulli(0.4)\nobserve y ~ Normal((if up then 2 else -2), 1.5)\n\
                 guide {\n  param a = 0.7\n  up ~ Bernoulli(logit: a) @score\n}\n";
    let y = [-1.0, 0.5, 2.5];
    let compiled = support::compile(model, &support::csv(&support::column("y", &y)));
    let names = compiled.model.names();
    let theta: Vec<f64> = names.iter().map(|n| if n == "a" { 0.7 } else { 0.0 }).collect();
    let mut gradient = vec![0.0; theta.len()];
    let mut evaluator = compiled.model.evaluator();
    evaluator.value_grad(&theta, &mut gradient);
    // Noise 0 falls in the middle, beyond the chance of `false`, 1 / (1 + e^0.7) = 0.33: every cell is true.
    assert_eq!(evaluator.latents(&theta), [1.0; 3]);
    for (i, y) in y.iter().enumerate() {
        let at = names.iter().position(|n| *n == format!("up terms[{}]", i + 1)).expect("an input per cell");
        let q = 1.0 / (1.0 + (-0.7f64).exp());
        let likelihood = -0.5 * ((y - 2.0) / 1.5).powi(2) - 1.5f64.ln() - 0.5 * LOG_2PI;
        assert!((gradient[at] - (0.4f64.ln() + likelihood - q.ln())).abs() < 1e-12, "{}", gradient[at]);
    }
}

/// The sampler takes the model without its guide, whose params are then no part of anything.
#[test]
fn the_sampler_needs_no_guide() {
    let model = "data rows { y: real }\nlatent mu ~ Normal(0.5, 2)\nobserve y ~ Normal(mu, 1.5)\n\
                 guide {\n  param m = 0\n  param s: real > 0 = 1\n  mu ~ Normal(m, s)\n}\n";
    let mut session = driver::Session::default();
    let mut checked = driver::check(&mut session, "model.vi", model);
    let request = FitRequest { method: Some(infer::Method::Nuts), draws: Some(50), ..FitRequest::default() };
    driver::heed(&mut checked.hir, &request);
    let inputs = support::csv("y\n1\n2\n");
    let compiled = driver::compile(&mut session, checked, &inputs).expect("the data fit the model");
    let report = support::fit(&compiled, &request);
    assert_eq!(report.vars.iter().map(|v| v.name.as_str()).collect::<Vec<_>>(), ["mu"]);
}
