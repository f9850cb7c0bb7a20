//! Every way of approximating a posterior, from the model to the verdict.

use vic::driver::{self, FitRequest, Session};
use vic::infer::{GuideKind, Method, PathGradient, Trust};
use vic::report::{FitReport, TableStyle, summary_json, table};

use crate::closed_forms::log_normal;
use crate::support::{compile, csv, example, fit, reference, summaries};

fn by(method: Method) -> FitRequest {
    FitRequest { method: Some(method), threads: Some(1), ..FitRequest::default() }
}

fn trust(report: &FitReport) -> Trust {
    report.verdict.as_ref().expect("every fit is judged").trust
}

fn faults(report: &FitReport) -> String {
    let faults = report.verdict.iter().flat_map(|v| &v.faults);
    faults.map(|f| f.text.clone()).collect::<Vec<_>>().join("; ")
}

/// Two coefficients with normal priors and known noise: the posterior is normal, so every method can be exact.
const REGRESSION: &str = "data rows { x: real, y: real }\nlatent a ~ Normal(0, 3)\nlatent b ~ Normal(0, 3)\n\
                          observe y ~ Normal(a + b * x, 0.7)\n";
const ROWS: [(f64, f64); 6] = [(1.0, 2.1), (0.2, 0.3), (-1.1, -1.9), (0.5, 0.8), (1.8, 3.9), (2.6, 4.2)];

#[test]
fn every_method_finds_a_normal_posterior() {
    let text: String = ROWS.iter().map(|(x, y)| format!("{x},{y}\n")).collect();
    let compiled = compile(REGRESSION, &csv(&format!("x,y\n{text}")));
    let (s2, t2) = (0.49, 9.0);
    let sum = |f: &dyn Fn(f64, f64) -> f64| ROWS.iter().map(|(x, y)| f(*x, *y)).sum::<f64>() / s2;
    let (p, q, r) = (sum(&|_, _| 1.0) + 1.0 / t2, sum(&|x, _| x), sum(&|x, _| x * x) + 1.0 / t2);
    let (u, v, det) = (sum(&|_, y| y), sum(&|x, y| x * y), p * r - q * q);
    let truth = [("a", (r * u - q * v) / det, (r / det).sqrt()), ("b", (p * v - q * u) / det, (p / det).sqrt())];
    let y: Vec<f64> = ROWS.iter().map(|r| r.1).collect();
    let cell = |i: usize, j: usize| t2 * (1.0 + ROWS[i].0 * ROWS[j].0) + if i == j { s2 } else { 0.0 };
    let covariance: Vec<Vec<f64>> = (0..6).map(|i| (0..6).map(|j| cell(i, j)).collect()).collect();
    let evidence = log_normal(&y, &[0.0; 6], &covariance);
    let stl = FitRequest { path_gradient: Some(PathGradient::StickingTheLanding), ..by(Method::Adam) };
    let methods = [
        Method::Auto,
        Method::Laplace,
        Method::Bam,
        Method::Pathfinder,
        Method::Adam,
        Method::Score,
        Method::Iwae,
        Method::ForwardKl,
    ];
    for request in methods.map(by).iter().chain([&stl]) {
        let report = fit(&compiled, request);
        let name = &report.method;
        assert!(report.converged && trust(&report) == Trust::Trust, "{name}: {}", faults(&report));
        // A bound that falls short by the guide's distance: of second order in errors of hundredths of sds.
        let (elbo, se) = report.elbo.expect("a guide has a bound");
        let short = if matches!(request.method, Some(Method::Auto | Method::Laplace)) { 1e-6 } else { 0.02 };
        assert!(elbo < evidence + 4.0 * se + 1e-9 && elbo > evidence - short - 4.0 * se, "{name}: {elbo} {evidence}");
        let got = summaries(&report);
        for (latent, mean, sd) in truth {
            let (m, s) = got[latent];
            // 4000 draws: 0.016 sds; twice that for those that went through weights, and what stochastic steps leave.
            assert!(
                (m - mean).abs() < 0.1 * sd && (s / sd).ln().abs() < 0.1,
                "{name} {latent}: {m} {s}, not {mean} {sd}"
            );
        }
    }
    // The nearest normal with independent coordinates has variances 1 / Λᵢᵢ, by curvature and by scores.
    for method in [Method::Laplace, Method::Bam] {
        let request = FitRequest { guide: Some(GuideKind::MeanField), ..by(method) };
        let gap = 0.5 * (p.ln() + r.ln() - det.ln());
        let (elbo, se) = fit(&compiled, &request).elbo.expect("a bound");
        assert!((evidence - elbo - gap).abs() < 4.0 * se + 0.01, "{method:?}: {elbo}");
    }
}

/// Modes on the scales of the model, without log-Jacobians: (a − 1)/b, and (a − 1)/(a + b − 2); a param at its maximum.
#[test]
fn a_mode_is_on_the_models_own_scale_and_is_a_point() {
    let model = "data rows { y: real }\nparam m: real = 0\nlatent g ~ Gamma(3, 2)\nlatent p ~ Beta(4, 2)\n\
                 latent w over k ~ Dirichlet([2, 3, 4])\nplate k = 3\nobserve y ~ Normal(m, 1)\n";
    let model = model.replace("plate k = 3\n", "").replace("latent w", "plate k = 3\nlatent w");
    let mut report = fit(&compile(&model, &csv("y\n1\n2\n6\n")), &by(Method::Map));
    assert!(report.converged);
    let got = summaries(&report);
    let truth = [("m", 3.0), ("g", 1.0), ("p", 0.75), ("w[1]", 1.0 / 6.0), ("w[2]", 1.0 / 3.0), ("w[3]", 0.5)];
    for (name, value) in truth {
        assert!((got[name].0 - value).abs() < 1e-5, "{name}: {} is not {value}", got[name].0);
    }
    assert_eq!(trust(&report), Trust::DoNotTrust);
    assert!(faults(&report).contains("a point"), "{}", faults(&report));
    report.forced = true;
    let text = table(&report, TableStyle::default());
    assert!(text.contains(" mode\n") && !text.contains("95%") && !text.contains("ELBO"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&summary_json(&report)).expect("JSON");
    assert!(json["summary"][0]["sd"].is_null() && json["guide"] == "point" && json["elbo"].is_null());
}

/// Against the public references: what a normal at the mode, or from scores, gets of posteriors that are not normal.
#[test]
fn normals_without_a_bound_come_near_the_references() {
    for name in ["kidscore", "blr"] {
        let (model, inputs) = example(name);
        let compiled = compile(&model, &inputs);
        for method in [Method::Laplace, Method::Bam, Method::Pathfinder] {
            let report = fit(&compiled, &by(method));
            assert!(trust(&report) >= Trust::MeansOnly, "{name} {method:?}: {}", faults(&report));
            let got = summaries(&report);
            for (parameter, (mean, sd)) in reference(name) {
                assert!(
                    (got[&parameter].0 - mean).abs() < 0.15 * sd,
                    "{name} {method:?} {parameter}: {:?}",
                    got[&parameter]
                );
            }
        }
    }
}

/// Two modes of unequal weight and width: paths from the starts end at both, and importance weights across the paths tell how
/// much of the posterior lies around each. One path would have one of them.
#[test]
fn paths_to_several_modes_are_drawn_from_together() {
    let model = "latent x ~ Normal(0, 10)\nlatent z ~ Normal(0, 1)\n\
                 factor log_add_exp(log(0.3) - log(0.4) - 0.5 * ((x - 3) / 0.4)^2, log(0.7) - log(0.8) - 0.5 * ((x + 3) / 0.8)^2)\n";
    let compiled = compile(model, &vic::data::Inputs::default());
    let report = fit(&compiled, &FitRequest { starts: Some(8), ..by(Method::Pathfinder) });
    assert!(report.draws_from.contains("importance-resampled"), "{}", report.draws_from);
    let x = report.vars.iter().find(|v| v.name == "x").expect("a latent");
    let right = x.draws.iter().filter(|x| **x > 0.0).count() as f64 / x.draws.len() as f64;
    // The prior hardly changes the weights: 0.3. The standard error of 4000 resampled draws is below 0.01.
    assert!((right - 0.3).abs() < 0.04, "{right}");
}

/// A ridge has no mode with a curvature, and two modes are met by the starts.
#[test]
fn a_normal_at_the_mode_is_not_trusted_where_there_is_none() {
    let ridge = "latent a: real ~ flat()\nlatent b: real ~ flat()\nfactor -0.5 * (a + b)^2\n";
    let report = fit(&compile(ridge, &vic::data::Inputs::default()), &by(Method::Laplace));
    assert_eq!((report.converged, trust(&report)), (false, Trust::DoNotTrust), "{}", faults(&report));
    let modes = "latent x ~ Normal(0, 20)\nfactor log_add_exp(-0.5 * ((x - 10) / 0.7)^2, -0.5 * ((x + 10) / 0.7)^2)\n";
    let report = fit(&compile(modes, &vic::data::Inputs::default()), &by(Method::Laplace));
    assert_eq!(trust(&report), Trust::DoNotTrust, "{}", faults(&report));
}

/// The planner sees that no slope shows this posterior; whoever asks for slopes all the same is told.
#[test]
fn a_log_joint_that_jumps_gets_the_score_function() {
    let model = "data rows { y: real }\nlatent k ~ Normal(0, 2)\nlatent m ~ Normal(0, 5)\n\
                 factor 0.75 * sign(k - 0.7)\nobserve y ~ Normal(m, 1)\n";
    let compiled = compile(model, &csv("y\n1\n2\n3\n"));
    let report = fit(&compiled, &FitRequest::default());
    assert_eq!(report.method, "score");
    assert_eq!(report.chosen[0].value, "score");
    assert!(report.chosen[0].more.contains("jumps by 1.50 nats where `k`"), "{}", report.chosen[0].more);
    // Above 0.7 the prior counts e^1.5 times: P = e^1.5 · Φ(−0.35) / (Φ(0.35) + e^1.5 · Φ(−0.35)) = 0.719, and the mean
    // of k is that of two truncated normals, 0.719 · 2.066 − 0.281 · 1.178 = 1.154. Its sd is near 2; a quarter of that.
    let (mean, _) = summaries(&report)["k"];
    assert!((mean - 1.154).abs() < 0.5, "{mean}");
    let told = fit(&compiled, &by(Method::Lbfgs));
    assert!(told.doubts.iter().any(|d| d.contains("jumps by 1.50 nats")), "{:?}", told.doubts);
    let smooth = compile(&format!("{REGRESSION}fit {{ collapse: off }}\n"), &csv("x,y\n1,2\n"));
    let options = driver::options(&smooth, &FitRequest::default());
    assert_eq!((options.method, options.guide), (Method::Lbfgs, GuideKind::FullRank));
    let whys: Vec<&str> = options.chosen.iter().map(|c| c.why.as_str()).collect();
    assert_eq!(whys, ["the log joint is smooth", "2 coordinates"]);
}

/// Where no start comes near a jump, the draws do: the fit is done again without slopes.
#[test]
fn a_jump_that_only_the_draws_meet_gets_the_score_function() {
    let model = "fn late(x: real, knot: real) -> real = if x > knot then 1 else 0\n\
                 data rows { y: real }\nlatent k ~ Normal(30, 2)\nlatent m ~ Normal(0, 5)\n\
                 factor 1.5 * late(k, 30.7)\nobserve y ~ Normal(m, 1)\n";
    let compiled = compile(model, &csv("y\n1\n2\n3\n"));
    assert_eq!(driver::options(&compiled, &FitRequest::default()).method, Method::Lbfgs);
    let report = fit(&compiled, &FitRequest { draws: Some(16), ..FitRequest::default() });
    assert_eq!((report.method.as_str(), report.chosen[0].value.as_str()), ("score", "score"));
    assert!(report.chosen[0].more.contains("jumps by 1.50 nats where `k`"), "{}", report.chosen[0].more);
    // Of a guide that the user chose the method for, nothing is done again.
    let told = fit(&compiled, &by(Method::Lbfgs));
    assert_eq!(told.method, "lbfgs");
    assert!(told.doubts.iter().any(|d| d.contains("jumps by 1.50 nats")), "{:?}", told.doubts);
}

/// The data's own ends may not move past the data; those of a latent may, and a latent that is kept clear of the data too.
#[test]
fn ends_that_move_past_data_are_refused() {
    let fitted = |model: &str, request: &FitRequest| {
        let (mut session, data) = (Session::default(), csv("y\n0.2\n1.4\n0.9\n2.2\n1.1\n"));
        let checked = driver::check(&mut session, "m.vi", &format!("data rows {{ y: real }}\n{model}\n"));
        let compiled = driver::compile(&mut session, checked, &data).expect("the data fit");
        let options = driver::options(&compiled, request);
        let report = driver::fit(&mut session, &compiled, &options, &mut |_| {});
        (report, session.diags.list.iter().map(|d| d.code.id).collect::<Vec<_>>())
    };
    let auto = FitRequest::default();
    for refused in [
        "latent top ~ Gamma(2, 0.5)\nobserve y ~ Uniform(0, top)",
        "latent top: real > 2 ~ Pareto(2, 1)\nobserve y ~ Uniform(0, top)",
        "latent w ~ Gamma(2, 0.5)\nlet top = 1 + w\nobserve y ~ Uniform(0, top)",
        "latent low ~ Normal(0, 1)\nobserve y ~ truncated(Normal(1, 1), lower: low)",
    ] {
        let (report, codes) = fitted(refused, &auto);
        assert!(report.is_none() && codes == ["V0840"], "{refused}: {codes:?}");
    }
    let (report, codes) =
        fitted("latent top: real > max(y over rows) ~ Pareto(1, 1)\nobserve y ~ Uniform(0, top)", &auto);
    assert!(codes.is_empty(), "{codes:?}");
    // A Pareto prior with a scale below the data gives Pareto(2.2, 1 + 5): mean 2.2 · 6 / 5, sd 0.54. The guide is a normal
    // of log (top − 2.2), and its weights have heavy tails (k-hat near 0.5): a ninth of a sd.
    let report = report.expect("a fit");
    let (mean, _) = summaries(&report)["top"];
    assert!((mean - 2.64).abs() < 0.06, "{mean}");
    let (report, _) =
        fitted("latent top ~ Gamma(2, 0.5)\nlatent x[rows] ~ Uniform(0, top)\nobserve y ~ Normal(x, 1)", &auto);
    assert!(report.is_some());
}

/// A method named in the model is taken, and one on the command line overrides it.
#[test]
fn methods_of_the_fit_block() {
    let options = |fit: &str, request: &FitRequest| {
        let compiled = compile(&format!("{REGRESSION}fit {{ {fit} }}\n"), &csv("x,y\n1,2\n"));
        driver::options(&compiled, request)
    };
    let o = options("method: forward_kl, importance_samples: 50", &FitRequest::default());
    assert_eq!((o.method, o.importance_samples), (Method::ForwardKl, Some(50)));
    let o = options("method: adam, estimator: stl", &FitRequest::default());
    assert_eq!((o.method, o.path_gradient), (Method::Adam, PathGradient::StickingTheLanding));
    assert_eq!(options("method: map", &by(Method::Auto)).method, Method::Lbfgs);
    let mut session = Session::default();
    driver::check(&mut session, "m.vi", &format!("{REGRESSION}fit {{ method: newton }}\n"));
    assert!(session.diags.has_errors());
}
