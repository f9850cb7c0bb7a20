//! How far the reported draws can be trusted: what each test said, and the one verdict.
//!
//! No test certifies a posterior; each can only find fault. A verdict of trust says that none did: the optimiser
//! converged, the starts agree, the importance weights are tame (Vehtari et al. 2024), and short Hamiltonian chains from
//! the draws do not drift (Wang, Kasprzak and Huggins 2023).

use serde::Serialize;

use super::batches::{RowWeights, Unit};
use super::blocks::Blocks;
use super::drift::{ACCEPTED, Drift};
use super::importance::{Draws, EQUAL, FORGOTTEN, Origin, USABLE};
use super::mixing::Mixing;
use super::options::Method;
use super::result::{Fit, StopReason};

/// What may be read off a fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    DoNotTrust,
    MeansOnly,
    Trust,
}

impl Trust {
    /// As it stands on top of the table.
    pub fn headline(self) -> &'static str {
        match self {
            Trust::Trust => "TRUST",
            Trust::MeansOnly => "TRUST MEANS ONLY",
            Trust::DoNotTrust => "DO NOT TRUST",
        }
    }
}

/// What to try next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// The method that the model would get by itself.
    Default,
    /// A guide that knows correlations.
    FullRank,
    /// The referee.
    Sampler,
    /// More or longer chains.
    LongerChains,
    /// More starts, to see how many modes there are.
    Starts,
    /// A normal for each of so many modes.
    Mixture(usize),
    /// More draws in the objective.
    Draws,
    /// A proper prior: nothing that a flag could do.
    Prior,
    /// So many epochs.
    Epochs(usize),
    /// A fit to all rows at once.
    Whole,
    /// A guide of rows, or members, that reaches further.
    Wider(Unit),
}

/// A fault that a test found.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// The best verdict that it leaves.
    pub leaves: Trust,
    /// One sentence.
    pub text: String,
    /// Coordinates concerned, worst first.
    pub names: Vec<String>,
    pub remedy: Remedy,
}

/// The figures behind a verdict on a guide's fit.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Figures {
    /// Largest Monte Carlo error of a guide's mean, in sds.
    pub mean_error: Option<f64>,
    /// Whether the lower bound's curvature at the guide is that of a maximum, and what a Newton step would gain, in nats.
    pub definite: Option<bool>,
    pub decrement: Option<f64>,
    /// Evaluations of the log joint that were not finite, as a share.
    pub non_finite: f64,
    /// Shape of the weights' tail, from all proposals and from each fifth of them.
    pub k_hat: Option<f64>,
    pub k_hats: Vec<f64>,
    /// Coordinates of a large model whose own weights have the heaviest tails.
    pub k_hat_cells: Vec<(String, f64)>,
    /// Of a large model, k-hat by block of its plates; not part of the verdict.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub k_hat_blocks: Option<Blocks>,
    /// Of a fit in batches, k-hat of rows or members.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub k_hat_rows: Option<RowWeights>,
    /// R̂ of the chains that moved the draws, or the largest of a sampler's.
    pub r_hat: Option<f64>,
    /// Smallest effective sample size of a sampler's chains.
    pub ess: Option<f64>,
    pub divergences: Option<usize>,
    /// Share of the paths that left the posterior, of chains that moved the draws.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diverging: Option<f64>,
    /// Of a fit in batches: how much the bound rose from one tenth of the epochs to the last, per row or member, and its standard error.
    pub rise: Option<(f64, f64)>,
    pub drift: Option<DriftFigures>,
    pub starts: Vec<StartFigures>,
}

#[derive(Clone, Debug, Serialize)]
pub struct DriftFigures {
    pub valid: bool,
    pub acceptance: f64,
    /// Lower bounds of the error of a mean (in sds) and of a log sd, of the coordinates where they are largest.
    pub worst: Vec<(String, f64, f64)>,
}

#[derive(Clone, Debug, Serialize)]
pub struct StartFigures {
    pub start: usize,
    /// Lower bound where it ended, less the best one's.
    pub below_best: f64,
    /// Largest difference of a mean from the reported one, in sds.
    pub distance: f64,
    pub converged: bool,
}

#[derive(Clone, Debug)]
pub struct Verdict {
    pub trust: Trust,
    /// Worst first.
    pub faults: Vec<Fault>,
    pub figures: Figures,
}

/// Shares of evaluations that are not finite, above which the guide does not fit the log joint's domain.
const NON_FINITE: f64 = 0.01;
/// Share of diverging paths of chains above which part of the posterior is out of their reach. Of centred schools, where that costs
/// a mean a tenth of a sd, it is 2 to 3 %, and as much of a Gaussian process whose draws are right; of all others at most 0.3 %.
const LOST: f64 = 0.01;
/// What a Newton step may gain, in nats: a mean off by a tenth of a sd costs half a hundredth.
const DECREMENT: f64 = 0.01;
/// Errors of means, in sds, up to which they are believed.
const MEAN: f64 = 0.1;
/// Errors of log sds up to which intervals are believed, and up to which means still are.
const LOG_SD: f64 = 0.1;
const LOG_SD_FOR_MEANS: f64 = 0.35;
/// R̂ of very short chains up to which means are believed.
const SHORT_CHAINS_FOR_MEANS: f64 = 1.3;
/// R̂ and effective draws of a sampler (Vehtari et al. 2021), and at what they are no use at all.
const CHAINS: f64 = 1.01;
const CHAINS_FOR_MEANS: f64 = 1.05;
const EFFECTIVE: f64 = 400.0;
const EFFECTIVE_FOR_MEANS: f64 = 100.0;
/// Divergences, as a share, beyond which a sampler misses part of the posterior.
const DIVERGENT: f64 = 0.001;
const DIVERGENT_FOR_MEANS: f64 = 0.02;

/// Judge a guide's fit by its reported draws. `drift` is `None` where there was nothing to test.
pub fn judge(fit: &Fit, draws: &Draws, drift: Option<&Drift>) -> Verdict {
    let mut faults = vec![];
    let mut fault = |leaves, text: String, names: Vec<String>, remedy| {
        faults.push(Fault { leaves, text, names, remedy });
    };
    let diagonal = fit.guide == super::GuideKind::MeanField;
    let ordinary = matches!(fit.method, Method::Auto | Method::Lbfgs);
    let richer = match (ordinary, diagonal) {
        (false, _) => Remedy::Default,
        (true, true) => Remedy::FullRank,
        (true, false) => Remedy::Sampler,
    };
    if !fit.converged {
        let (names, remedy) = match &fit.stop_reason {
            StopReason::Improper(name) => (vec![name.clone()], Remedy::Prior),
            _ if !ordinary => (vec![], Remedy::Default),
            _ => (vec![], Remedy::Sampler),
        };
        fault(
            Trust::DoNotTrust,
            format!("the fit did not converge: {}", decapitalised(&fit.stop_reason.sentence())),
            names,
            remedy,
        );
    }
    if fit.method == Method::Map {
        let text = "a point, the highest mode, without uncertainty: neither a mean nor an interval can be read off it";
        fault(Trust::DoNotTrust, text.into(), vec![], Remedy::Default);
    }
    // Guides that fit apart may still lie in one mode: chains from all of them tell.
    let others = if draws.met { vec![] } else { fit.dissenting_starts() };
    if let Some(other) = others.iter().max_by(|a, b| a.distance.total_cmp(&b.distance)) {
        let text = format!(
            "{} of {} starts ended elsewhere, {:.1} sds away, where the guide fits nearly as well: the posterior may have several modes",
            others.len(),
            fit.starts.len(),
            other.distance
        );
        let known = fit.modes.len();
        let remedy = if known > 1 { Remedy::Mixture(known) } else { Remedy::Starts };
        fault(Trust::DoNotTrust, text, vec![fit.names[other.furthest].clone()], remedy);
    }
    let own = matches!(draws.origin, Origin::Guide | Origin::Unweighed);
    if own && fit.mean_error > MEAN {
        let text = format!("the means carry a Monte Carlo error of {:.2} sds", fit.mean_error);
        fault(Trust::DoNotTrust, text, vec![], Remedy::Draws);
    }
    if own && fit.definite == Some(false) {
        let text =
            "the lower bound has no maximum at the fitted guide: its curvature there is not definite".to_string();
        fault(Trust::MeansOnly, text, vec![], richer);
    }
    if own && fit.decrement.is_some_and(|d| d > DECREMENT) {
        let text = format!("a Newton step would still gain {:.2} nats", fit.decrement.unwrap_or_default());
        fault(Trust::MeansOnly, text, vec![], Remedy::Draws);
    }
    let share = fit.non_finite as f64 / fit.log_joints.max(1) as f64;
    if own && share > NON_FINITE {
        let text = format!("{:.1} % of the evaluations of the log joint were not finite", 100.0 * share);
        fault(Trust::MeansOnly, text, vec![], richer);
    }
    let worst_k = draws.k_hats.iter().copied().fold(draws.k_hat, f64::max);
    match draws.origin {
        Origin::Unweighed => {}
        Origin::Guide => fault(
            Trust::MeansOnly,
            format!("the guide is too far from the posterior for importance weights (k-hat {:.2})", draws.k_hat),
            draws.cells.iter().map(|c| c.0.clone()).collect(),
            richer,
        ),
        Origin::Resampled if worst_k >= USABLE && draws.efficiency < EQUAL => fault(
            Trust::MeansOnly,
            format!(
                "the importance weights are at the edge of use (k-hat {:.2}, up to {worst_k:.2} in parts)",
                draws.k_hat
            ),
            vec![],
            richer,
        ),
        Origin::Resampled => {}
        Origin::Moved => {
            let leaves = if draws.r_hat > SHORT_CHAINS_FOR_MEANS { Trust::DoNotTrust } else { Trust::MeansOnly };
            if draws.r_hat > FORGOTTEN {
                let text = format!(
                    "the chains that moved the guide's draws remember where they began (R-hat {:.2})",
                    draws.r_hat
                );
                fault(leaves, text, vec![], Remedy::Sampler);
            }
            if draws.diverging > LOST {
                let text = format!(
                    "{:.1} % of the paths of the chains that moved the draws left the posterior: part of it is too narrow for them, and \
                     the draws seldom come there",
                    100.0 * draws.diverging
                );
                fault(Trust::MeansOnly, text, vec![], Remedy::Sampler);
            }
        }
    }
    // Chains stay within their mode, and what they travel is little beside the distance between modes.
    let several = matches!(fit.guide, super::GuideKind::Mixture(_)) && fit.modes.len() > 1;
    let tested = |d: &Drift| Drift { valid: d.valid || several && d.acceptance > ACCEPTED, ..d.clone() };
    let drift = drift.map(tested);
    if let Some(drift) = &drift {
        judge_drift(drift, &fit.names, &mut fault);
    }
    let best = fit.starts.iter().map(|s| s.objective).fold(f64::INFINITY, f64::min);
    let figures = Figures {
        mean_error: fit.mean_error.is_finite().then_some(fit.mean_error),
        definite: fit.definite,
        decrement: fit.decrement,
        non_finite: share,
        k_hat: (!draws.k_hat.is_nan()).then_some(draws.k_hat),
        k_hats: draws.k_hats.clone(),
        k_hat_cells: draws.cells.clone(),
        k_hat_blocks: None,
        k_hat_rows: None,
        r_hat: (!draws.r_hat.is_nan()).then_some(draws.r_hat),
        ess: None,
        divergences: None,
        diverging: (!draws.r_hat.is_nan()).then_some(draws.diverging),
        rise: None,
        drift: drift.as_ref().map(|d| drift_figures(d, &fit.names)),
        starts: fit
            .starts
            .iter()
            .map(|s| StartFigures {
                start: s.start,
                below_best: s.objective - best,
                distance: s.distance,
                converged: s.converged,
            })
            .collect(),
    };
    verdict(faults, figures)
}

fn judge_drift(drift: &Drift, names: &[String], fault: &mut impl FnMut(Trust, String, Vec<String>, Remedy)) {
    if !drift.valid {
        let text = format!(
            "short Hamiltonian chains could not test the draws: they hardly move (acceptance {:.2})",
            drift.acceptance
        );
        return fault(Trust::MeansOnly, text, vec![], Remedy::Sampler);
    }
    let worst = |of: &[f64], limit: f64| -> Vec<String> {
        let mut over: Vec<usize> = (0..of.len()).filter(|&i| of[i] > limit).collect();
        over.sort_by(|&a, &b| of[b].total_cmp(&of[a]));
        over.into_iter().map(|i| names[i].clone()).collect()
    };
    if drift.worst_mean() > MEAN {
        let text = format!(
            "means are off by at least {:.2} sds: short Hamiltonian chains from the draws move them",
            drift.worst_mean()
        );
        fault(Trust::DoNotTrust, text, worst(&drift.mean, MEAN), Remedy::Sampler);
    }
    if drift.worst_log_sd() > LOG_SD {
        let factor = drift.worst_log_sd().exp();
        let leaves = if drift.worst_log_sd() > LOG_SD_FOR_MEANS { Trust::DoNotTrust } else { Trust::MeansOnly };
        let text = format!(
            "standard deviations are off by a factor of at least {factor:.2}: short Hamiltonian chains from the draws change them"
        );
        fault(leaves, text, worst(&drift.log_sd, LOG_SD), Remedy::Sampler);
    }
}

/// The verdict on draws of the posterior itself: nothing was approximated.
pub fn judge_exact(evidence: f64) -> Verdict {
    let mut faults = vec![];
    if !evidence.is_finite() {
        let text = "the log evidence is not finite".to_string();
        faults.push(Fault { leaves: Trust::DoNotTrust, text, names: vec![], remedy: Remedy::Prior });
    }
    verdict(faults, Figures::default())
}

/// Judge a sampler's chains by the mixing of every reported scalar.
pub fn judge_chains(mixing: &[(String, Mixing)], divergences: usize, transitions: usize, cancelled: bool) -> Verdict {
    let mut faults = vec![];
    if cancelled {
        let text = "the sampler was interrupted".to_string();
        faults.push(Fault { leaves: Trust::DoNotTrust, text, names: vec![], remedy: Remedy::LongerChains });
    }
    // NaN (draws that are not finite) counts as the worst.
    let badness = |x: f64| if x.is_nan() { f64::INFINITY } else { x };
    let r_hat = mixing.iter().map(|m| badness(m.1.r_hat)).fold(1.0, f64::max);
    let ess_of = |m: &Mixing| -badness(-m.ess_bulk.min(m.ess_tail));
    let ess = mixing.iter().map(|m| ess_of(&m.1)).fold(f64::INFINITY, f64::min);
    let over = |worse: &dyn Fn(&Mixing) -> bool| -> Vec<String> {
        mixing.iter().filter(|m| worse(&m.1)).map(|m| m.0.clone()).collect()
    };
    if r_hat > CHAINS {
        let leaves = if r_hat > CHAINS_FOR_MEANS { Trust::DoNotTrust } else { Trust::MeansOnly };
        let text = format!("the chains do not agree (R-hat up to {r_hat:.3}, {CHAINS} is the limit)");
        let names = over(&|m| badness(m.r_hat) > CHAINS);
        faults.push(Fault { leaves, text, names, remedy: Remedy::LongerChains });
    }
    if ess < EFFECTIVE {
        let leaves = if ess < EFFECTIVE_FOR_MEANS { Trust::DoNotTrust } else { Trust::MeansOnly };
        let text = format!("the draws count for {:.0} independent ones only, {EFFECTIVE} are needed", ess.max(0.0));
        let names = over(&|m| ess_of(m) < EFFECTIVE);
        faults.push(Fault { leaves, text, names, remedy: Remedy::LongerChains });
    }
    let share = divergences as f64 / transitions.max(1) as f64;
    if share > DIVERGENT {
        let leaves = if share > DIVERGENT_FOR_MEANS { Trust::DoNotTrust } else { Trust::MeansOnly };
        let text = format!(
            "{divergences} of {transitions} transitions diverged: the sampler misses where the posterior is narrow"
        );
        faults.push(Fault { leaves, text, names: vec![], remedy: Remedy::LongerChains });
    }
    let figures = Figures { r_hat: Some(r_hat), ess: Some(ess), divergences: Some(divergences), ..Figures::default() };
    verdict(faults, figures)
}

pub(super) fn verdict(mut faults: Vec<Fault>, figures: Figures) -> Verdict {
    faults.sort_by_key(|f| f.leaves);
    let trust = faults.first().map_or(Trust::Trust, |f| f.leaves);
    Verdict { trust, faults, figures }
}

fn drift_figures(d: &Drift, names: &[String]) -> DriftFigures {
    let mut order: Vec<usize> = (0..names.len()).collect();
    let badness = |i: usize| d.mean[i].max(d.log_sd[i]);
    order.sort_by(|&a, &b| badness(b).total_cmp(&badness(a)));
    let worst = order.into_iter().take(10).map(|i| (names[i].clone(), d.mean[i], d.log_sd[i])).collect();
    DriftFigures { valid: d.valid, acceptance: d.acceptance, worst }
}

fn decapitalised(sentence: &str) -> String {
    let mut chars = sentence.trim_end_matches('.').chars();
    chars.next().map_or_else(String::new, |c| c.to_lowercase().chain(chars).collect())
}
