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
