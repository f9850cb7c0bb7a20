//! The verdict in words: one line, why, and what to try next.

use serde::Serialize;

use super::FitReport;
use crate::infer::{Fault, Figures, Remedy, Trust, Verdict};

/// Names of latents shown with a fault; the rest are counted.
const NAMES: usize = 4;

/// The lines on top of the table, the first with the verdict itself; none without a verdict.
pub fn lines(fit: &FitReport) -> Vec<String> {
    let Some(verdict) = &fit.verdict else { return vec![] };
    let headline = verdict.trust.headline();
    let Some((first, others)) = verdict.faults.split_first() else {
        let mut out = vec![format!("{headline}: {}.", passed(fit, &verdict.figures))];
        out.extend(modes(fit));
        return out;
    };
    let mut out = vec![format!("{headline}: {}.", sentence(first))];
    out.extend(others.iter().map(|f| format!("  Also: {}.", sentence(f))));
    out.extend(next(fit, verdict).map(|n| format!("  Next: {n}")));
    out.extend(modes(fit));
    if fit.withheld() && !fit.is_point() {
        out.push("  Intervals are kept back; `--force` prints them.".into());
    }
    out
}

/// The modes that the starts found, one line each.
fn modes(fit: &FitReport) -> Vec<String> {
    fit.modes
        .iter()
        .map(|mode| {
            let at: Vec<String> =
                mode.at.iter().map(|a| format!("{} = {} (sd {})", a.name, short(a.mean), short(a.sd))).collect();
            let stable = if mode.stable() { "" } else { "; its weight cannot be relied on" };
            format!("  Mode of weight {:.2} ± {:.2}: {}{stable}", mode.weight, mode.error, at.join(", "))
        })
        .collect()
}

/// Three significant digits.
fn short(x: f64) -> String {
    if x == 0.0 {
        return "0".into();
    }
    let digits = (2 - x.abs().log10().floor() as i32).clamp(0, 6);
    format!("{x:.*}", digits as usize)
}

/// What was tested and found no fault.
fn passed(fit: &FitReport, f: &Figures) -> String {
    let mut tests = vec![];
    if fit.method == "exact" {
        return "the draws are of the posterior itself".into();
    }
    if fit.chains > 0 {
        let (r_hat, ess) = (f.r_hat.unwrap_or(f64::NAN), f.ess.unwrap_or(f64::NAN));
        if ess.is_infinite() {
            return "there is nothing to draw".into();
        }
        tests.push(format!("{} chains agree (R-hat at most {r_hat:.3})", fit.chains));
        tests.push(format!("at least {ess:.0} effective draws"));
        tests.push(match f.divergences {
            Some(n) if n > 0 => format!("{n} divergent"),
            _ => "none divergent".into(),
        });
        return tests.join(", ");
    }
    let starts = f.starts.iter().filter(|s| s.distance.is_finite()).count();
    tests.push(match starts {
        _ if f.rise.is_some() => "the bound no longer rises".into(),
        0 | 1 => "the optimiser converged".into(),
        n => format!("{n} starts agree"),
    });
    match (f.k_hat, f.r_hat) {
        (_, Some(r)) => tests.push(format!("the chains that moved the draws forgot their starts (R-hat {r:.2})")),
        (Some(k), None) => tests.push(format!("k-hat {k:.2}")),
        (None, None) => {}
    }
    if f.drift.is_some() {
        tests.push("the draws do not drift".into());
    }
    tests.join(", ")
}

fn sentence(fault: &Fault) -> String {
    if fault.names.is_empty() {
        return fault.text.clone();
    }
    let shown = fault.names.iter().take(NAMES).map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
    match fault.names.len().saturating_sub(NAMES) {
        0 => format!("{} ({shown})", fault.text),
        more => format!("{} ({shown} and {more} more)", fault.text),
    }
}

/// What to try, as a command where one helps.
pub fn next(fit: &FitReport, verdict: &Verdict) -> Option<String> {
    let worst = verdict.faults.first()?;
    let command = |flags: &str| {
        let words = std::iter::once(&fit.model).chain(&fit.data).map(|w| quoted(w)).collect::<Vec<_>>().join(" ");
        let sets = fit.options.iter().filter_map(|(k, v)| Some((k.strip_prefix("set ")?, v)));
        let sets: String = sets.map(|(name, value)| format!(" --set {}", quoted(&format!("{name}={value}")))).collect();
        format!("vic fit {words}{sets} {flags}")
    };
    let draws = |factor: usize| {
        let now = fit.options.iter().find(|o| o.0 == "draws").and_then(|o| o.1.parse::<usize>().ok());
        now.unwrap_or(fit.draws / fit.chains.max(1)) * factor
    };
    Some(match worst.remedy {
        Remedy::Default => command("--method auto"),
        Remedy::FullRank => command("--guide fullrank"),
        Remedy::Sampler => command("--method nuts"),
        Remedy::LongerChains => command(&format!("--method nuts --draws {}", draws(4))),
        Remedy::Starts => command("--starts 16"),
        Remedy::Mixture(modes) => command(&format!("--guide {}", quoted(&format!("mixture({modes})")))),
        Remedy::Draws => command(&format!("--draws {}", draws(4))),
        Remedy::Epochs(n) => format!("write `epochs: {n}` in the `fit` block"),
        Remedy::Whole => "if the rows fit in memory, remove `batch` and see whether the means agree".into(),
        Remedy::Wider(unit) => format!(
            "let more of the {unit} be read by the guide, or give it a flow; `method: iwae` weighs several draws of each {unit}"
        ),
        Remedy::Prior => match worst.names.first() {
            Some(name) => format!("give `{name}` a proper prior, or data that inform it"),
            None => "give every latent a proper prior".into(),
        },
    })
}

/// A word as a shell reads it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_string()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// The verdict for programs.
#[derive(Serialize)]
pub struct VerdictJson<'a> {
    trust: Trust,
    faults: Vec<FaultJson<'a>>,
    next: Option<String>,
    figures: &'a Figures,
}

#[derive(Serialize)]
struct FaultJson<'a> {
    leaves: Trust,
    text: &'a str,
    names: &'a [String],
}

pub fn json(fit: &FitReport) -> Option<VerdictJson<'_>> {
    let verdict = fit.verdict.as_ref()?;
    Some(VerdictJson {
        trust: verdict.trust,
        faults: verdict.faults.iter().map(|f| FaultJson { leaves: f.leaves, text: &f.text, names: &f.names }).collect(),
        next: next(fit, verdict),
        figures: &verdict.figures,
    })
}
