//! The same results for programs. Field names are stable; `docs/output.md` describes them.

use std::collections::BTreeMap;

use serde::Serialize;

use super::discrete::{self, DiscreteJson};
use super::verdict::{self, VerdictJson};
use super::{FitReport, ReportMode, Summary, Units, summaries};
use crate::infer::Choice;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What `--json` prints and `summary.json` holds.
#[derive(Serialize)]
struct SummaryJson<'a> {
    vic: &'static str,
    model: &'a str,
    plates: BTreeMap<&'a str, usize>,
    guide: &'a str,
    method: &'a str,
    chosen: &'a [Choice],
    seed: u64,
    draws: usize,
    chains: usize,
    converged: bool,
    stop_reason: &'a str,
    doubts: &'a [String],
    verdict: Option<VerdictJson<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    modes: &'a [ReportMode],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    units: &'a [Units],
    elbo: Option<f64>,
    elbo_se: Option<f64>,
    k_hat: f64,
    draws_from: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    sds: &'a str,
    noncentred: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    integrated_out: BTreeMap<&'a str, &'a str>,
    gradients: u64,
    evaluations: u64,
    seconds: f64,
    summary: Vec<Summary>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    discrete: Vec<DiscreteJson<'a>>,
}

/// What `fit.json` holds: everything needed to make the same fit again, and how it went.
#[derive(Serialize)]
struct FitJson<'a> {
    vic: &'static str,
    model: &'a str,
    files: BTreeMap<&'a str, &'a str>,
    data: &'a [String],
    guide: &'a str,
    method: &'a str,
    chosen: &'a [Choice],
    seed: u64,
    options: BTreeMap<&'a str, &'a str>,
    draws: usize,
    chains: usize,
    converged: bool,
    stop_reason: &'a str,
    doubts: &'a [String],
    verdict: Option<VerdictJson<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    modes: &'a [ReportMode],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    units: &'a [Units],
    elbo: Option<f64>,
    elbo_se: Option<f64>,
    k_hat: f64,
    draws_from: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    sds: &'a str,
    noncentred: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    integrated_out: BTreeMap<&'a str, &'a str>,
    gradients: u64,
    evaluations: u64,
    seconds: f64,
}

/// One JSON object, over several lines, with a newline at its end. Numbers that are not finite are `null`.
pub fn summary_json(fit: &FitReport) -> String {
    pretty(&SummaryJson {
        vic: VERSION,
        model: &fit.model,
        plates: fit.sizes.iter().map(|(p, n)| (p.as_str(), *n)).collect(),
        guide: &fit.guide,
        method: &fit.method,
        chosen: &fit.chosen,
        seed: fit.seed,
        draws: fit.draws,
        chains: fit.chains,
        converged: fit.converged,
        stop_reason: &fit.stop_reason,
        doubts: &fit.doubts,
        verdict: verdict::json(fit),
        modes: &fit.modes,
        units: &fit.units,
        elbo: fit.elbo.map(|e| e.0),
        elbo_se: fit.elbo.map(|e| e.1),
        k_hat: fit.k_hat,
        draws_from: &fit.draws_from,
        sds: &fit.sds,
        noncentred: fit.noncentred.iter().map(|(n, why)| (n.as_str(), why.as_str())).collect(),
        integrated_out: fit.collapsed.iter().map(|(n, how)| (n.as_str(), how.as_str())).collect(),
        gradients: fit.gradients,
        evaluations: fit.evaluations,
        seconds: fit.seconds,
        summary: summaries(fit).into_iter().flatten().map(|s| if fit.withheld() { s.mean_only() } else { s }).collect(),
        discrete: discrete::json(fit),
    })
}

/// The text of `fit.json`.
pub fn fit_json(fit: &FitReport) -> String {
    pretty(&FitJson {
        vic: VERSION,
        model: &fit.model,
        files: fit.files.iter().map(|f| (f.name.as_str(), f.sha256.as_str())).collect(),
        data: &fit.data,
        guide: &fit.guide,
        method: &fit.method,
        chosen: &fit.chosen,
        seed: fit.seed,
        options: fit.options.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect(),
        draws: fit.draws,
        chains: fit.chains,
        converged: fit.converged,
        stop_reason: &fit.stop_reason,
        doubts: &fit.doubts,
        verdict: verdict::json(fit),
        modes: &fit.modes,
        units: &fit.units,
        elbo: fit.elbo.map(|e| e.0),
        elbo_se: fit.elbo.map(|e| e.1),
        k_hat: fit.k_hat,
        draws_from: &fit.draws_from,
        sds: &fit.sds,
        noncentred: fit.noncentred.iter().map(|(n, why)| (n.as_str(), why.as_str())).collect(),
        integrated_out: fit.collapsed.iter().map(|(n, how)| (n.as_str(), how.as_str())).collect(),
        gradients: fit.gradients,
        evaluations: fit.evaluations,
        seconds: fit.seconds,
    })
}

fn pretty(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value).expect("names and numbers always have a JSON form");
    text.push('\n');
    text
}
