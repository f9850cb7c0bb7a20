//! Families of guides, from the line of the model to the report.

use vic::data::Inputs;
use vic::driver::FitRequest;
use vic::infer::{GuideKind, Method, Trust};
use vic::report::FitReport;

use super::support::{compile, fit, summaries};

fn fitted(model: &str, request: &FitRequest) -> FitReport {
    fit(&compile(model, &Inputs::default()), request)
}

fn trust(report: &FitReport) -> Trust {
    report.verdict.as_ref().expect("every fit is judged").trust
}

/// Precision I − 0.2 · 11ᵀ over four cells: covariance I + 11ᵀ, and evidence −½ log 0.2.
const COMMON: &str = "plate i = 4\nlatent x[i] ~ Normal(0, 1)\nfactor 0.1 * sum(x over i)^2\nguide lowrank(1)\n";

#[test]
fn a_low_rank_guide_is_fitted_from_the_models_line() {
    let report = fitted(COMMON, &FitRequest::default());
    assert_eq!((report.guide.as_str(), trust(&report)), ("lowrank(1)", Trust::Trust));
    // The family holds the posterior, so the bound is the evidence up to the optimiser's tolerance.
    let (elbo, _) = report.elbo.expect("a guide has a bound");
    assert!((elbo + 0.5 * 0.2f64.ln()).abs() < 0.01, "{elbo}");
    for (mean, sd) in summaries(&report).values() {
        // 4000 draws: four standard errors are 0.09 of a mean, 0.06 of an sd.
        assert!(mean.abs() < 0.1 && (sd - 2f64.sqrt()).abs() < 0.07, "{mean} {sd}");
    }
    // Stochastic steps find the place, and the directions follow.
    let adam = fitted(COMMON, &FitRequest { method: Some(Method::Adam), ..FitRequest::default() });
    let (elbo, _) = adam.elbo.expect("a guide has a bound");
    assert!((elbo + 0.5 * 0.2f64.ln()).abs() < 0.01, "{elbo}");
    // The flag goes before the line.
    let flagged = fitted(COMMON, &FitRequest { guide: Some(GuideKind::LowRank(2)), ..FitRequest::default() });
    assert_eq!(flagged.guide, "lowrank(2)");
}

/// Two modes 12 sds apart, with weights 0.3 and 0.7.
const MODES: &str = "latent x: real ~ flat()\nlatent y ~ Normal(x, 1) @centered\n\
     factor log_add_exp(log(0.3) - 0.5 * (x + 6)^2, log(0.7) - 0.5 * (x - 6)^2)\n";

#[test]
fn a_mixture_is_trusted_where_one_normal_lists_the_modes() {
    let request = |guide| FitRequest { guide: Some(guide), starts: Some(8), ..FitRequest::default() };
    let mixture = fitted(MODES, &request(GuideKind::Mixture(2)));
    assert_eq!((mixture.guide.as_str(), trust(&mixture)), ("mixture(2)", Trust::Trust), "{:?}", mixture.verdict);
    // Mean 0.4 · 6; variance 1 + 0.84 · 36. Of 4000 draws three standard errors are 0.27 and 0.15.
    let (mean, sd) = summaries(&mixture)["x"];
    assert!((mean - 2.4).abs() < 0.3 && (sd - 31.24f64.sqrt()).abs() < 0.2, "{mean} {sd}");
    let one = fitted(MODES, &request(GuideKind::FullRank));
    assert_eq!(trust(&one), Trust::DoNotTrust);
    assert_eq!(one.modes.len(), 2);
    assert!((one.modes[0].weight - 0.7).abs() < 0.03 && one.modes.iter().all(|m| m.stable()));
    let lines = vic::report::verdict_lines(&FitReport { model: "m.vi".into(), ..one }).join("\n");
    assert!(lines.contains("Mode of weight 0.70") && lines.contains("--guide 'mixture(2)'"), "{lines}");
}

#[test]
fn a_flow_is_reported_only_where_it_helps() {
    let model = "latent a ~ Normal(0, 1)\nlatent b ~ Normal(a, 1) @centered\nguide flow(1)\n";
    let report = fitted(model, &FitRequest::default());
    assert_eq!((report.guide.as_str(), trust(&report)), ("flow(1)", Trust::Trust));
    assert!(report.doubts.iter().any(|d| d.contains("the normal is reported")), "{:?}", report.doubts);
}
