//! The examples against their public reference posteriors.

use vic::driver::FitRequest;
use vic::infer::GuideKind;

use crate::support;

/// Largest difference of a mean, in reference sds, and of a log sd.
fn errors(name: &str, guide: GuideKind) -> (f64, f64) {
    let (model, inputs) = support::example(name);
    let compiled = support::compile(&model, &inputs);
    let report = support::fit(&compiled, &FitRequest { guide: Some(guide), ..FitRequest::default() });
    assert!(report.converged, "{name}: {}", report.stop_reason);
    let got = support::summaries(&report);
    let reference = support::reference(name);
    assert!(!reference.is_empty());
    let (mut mean_error, mut sd_error) = (0.0f64, 0.0f64);
    for (parameter, (mean, sd)) in &reference {
        let (m, s) = got.get(parameter).unwrap_or_else(|| panic!("{name}: no `{parameter}` in the report"));
        mean_error = mean_error.max((m - mean).abs() / sd);
        sd_error = sd_error.max((s / sd).ln().abs());
    }
    (mean_error, sd_error)
}

/// 0.15 reference sds is the project's aim for every mean; the Monte Carlo error of 4000 report draws is 0.016 sd, of
/// the references below 0.03.
const MEAN: f64 = 0.15;
/// 15 %, of which 4000 draws contribute 1.1 %.
const SD: f64 = 0.15;

#[test]
fn fullrank_recovers_means_and_sds_of_the_regressions() {
    for name in ["kidscore", "wells", "nes_logit", "poisson_glm", "blr"] {
        let (mean, sd) = errors(name, GuideKind::FullRank);
        assert!(mean < MEAN, "{name}: a mean is off by {mean:.3} reference sds");
        assert!(sd < SD, "{name}: an sd is off by {:.1} %", 100.0 * sd);
    }
}

#[test]
fn fullrank_recovers_the_means_of_the_hierarchical_models() {
    for name in ["eight_schools", "radon"] {
        let (mean, _) = errors(name, GuideKind::FullRank);
        assert!(mean < MEAN, "{name}: a mean is off by {mean:.3} reference sds");
    }
}

#[test]
fn meanfield_recovers_means() {
    for name in ["eight_schools", "wells", "radon"] {
        let (mean, _) = errors(name, GuideKind::MeanField);
        assert!(mean < MEAN, "{name}: a mean is off by {mean:.3} reference sds");
    }
}
