//! Draws for the report: from the guide, moved to the posterior by importance resampling where the guide is near enough.

use super::cells::worst_cells;
use super::hamiltonian::{self, Chains, Dynamics, Ensemble};
use super::metric::{Metric, curvature_draws};
use super::{Fit, Stream, Target, psis};

/// Draws of theta, and how they came about.
#[derive(Clone, Debug)]
pub struct Draws {
    /// Row-major, one row per draw.
    pub theta: Vec<f64>,
    /// Shape of the importance weights' tail; not a number if they were not computed.
    pub k_hat: f64,
    /// The same from each fifth of the proposals: its estimate varies.
    pub k_hats: Vec<f64>,
    /// In a large model, the coordinates that spoil the weights, with the shapes of their own tails.
    pub cells: Vec<(String, f64)>,
    /// Effective share of the proposals: near 1 the weights are nearly equal.
    pub efficiency: f64,
    pub origin: Origin,
    pub proposals: usize,
    /// Of the chains that moved the draws; not a number without them.
    pub r_hat: f64,
    /// Share of their transitions that lost the posterior; 0 without them.
    pub diverging: f64,
    /// Whether those chains began at the guides of all starts that ended apart, and met: these lay in one mode.
    pub met: bool,
    /// Evaluations of the log joint, with or without its gradient.
    pub evaluations: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The guide's own, no weights computed.
    Unweighed,
    /// The guide's own: its weights cannot be relied on.
    Guide,
    /// The guide's, resampled by their weights.
    Resampled,
    /// Moved from the guide's by short Hamiltonian chains.
    Moved,
}

/// The usual limit of k̂ for weights that can be relied on (Vehtari et al. 2024, section 3.2.4).
pub const USABLE: f64 = 0.7;

/// Weights that leave more than this share of the proposals effective are nearly equal: the shape of their tail, which
/// is then that of hardly any spread, says nothing.
pub const EQUAL: f64 = 0.95;

/// Parts of the proposals from which k̂ is estimated again.
const REPLICATES: usize = 5;

/// How many gradients are worth a proposal when draws are moved.
const GRADIENTS_PER_PROPOSAL: usize = 16;

/// Fewer effective proposals than this cannot stand for a posterior.
const ENOUGH: f64 = 400.0;

/// Chains that move draws, each from a draw of the guide.
const CHAINS: usize = 200;
const WARM_UP: usize = 20;
const DYNAMICS: Dynamics = Dynamics { steps: 8, acceptance: 0.8 };

/// R̂ at which so short chains have forgotten where they began.
pub const FORGOTTEN: f64 = 1.05;
/// R̂ from which on two more doublings can be expected to get there, whatever has been spent: its excess over 1 falls at
/// least as the number of transitions grows.
const NEARLY_FORGOTTEN: f64 = 1.15;
const FURTHER_DOUBLINGS: usize = 2;
/// R̂ of chains that lie apart: eight times as many transitions would not bring them together.
const HOPELESS: f64 = 2.0;

/// `keep` draws: `proposals` from the guide, weighted by posterior over guide, resampled if the weights allow it, else
/// moved by short chains if that costs little. A `param` stays at its point: the latents are weighed given it.
pub fn draws(target: &dyn Target, fit: &Fit, keep: usize, proposals: usize, seed: u64, threads: usize) -> Draws {
    let dim = fit.mean.len();
    let of = |theta, origin| Draws {
        theta,
        k_hat: f64::NAN,
        k_hats: vec![],
        cells: vec![],
        efficiency: f64::NAN,
        origin,
        proposals,
        r_hat: f64::NAN,
        diverging: 0.0,
        met: false,
        evaluations: proposals,
    };
    // Without latents there is nothing to draw.
    if proposals == 0 || fit.points.iter().all(|p| *p) {
        return Draws { evaluations: 0, ..of(fit.sample(keep, seed), Origin::Unweighed) };
    }
    let theta = fit.sample(proposals, seed);
    let ratios = log_ratios(target, fit, &theta, threads);
    let cells = worst_cells(fit.approximation.as_ref(), &fit.names, &theta, &ratios);
    let of = |theta, origin| Draws { cells: cells.clone(), ..of(theta, origin) };
    let smoothed = psis::smooth(&ratios);
    let k_hat = smoothed.k_hat;
    let part = proposals.div_ceil(REPLICATES);
    let k_hats: Vec<f64> = ratios.chunks(part).map(|r| psis::smooth(r).k_hat).collect();
    let efficiency = smoothed.effective() / proposals as f64;
    let worst = k_hats.iter().copied().fold(k_hat, f64::max);
    let resampled = |evaluations| {
        let u = Stream::new(seed, "importance resampling", "").uniform();
        let picked = smoothed.resample(keep, u);
        let theta = picked.iter().flat_map(|&i| &theta[i * dim..(i + 1) * dim]).copied().collect();
        Draws { k_hat, k_hats: k_hats.clone(), efficiency, evaluations, ..of(theta, Origin::Resampled) }
    };
    let usable = k_hat < USABLE && smoothed.effective() >= ENOUGH;
    let elsewhere = fit.sample_everywhere(CHAINS, seed);
    if elsewhere.is_none() && ((usable && worst < USABLE) || efficiency > EQUAL) {
        return resampled(proposals);
    }
    let mut mover = Mover {
        target,
        metric: None,
        fit,
        keep,
        // Weights that are nearly usable are not worth more than the fit itself was.
        budget: if usable { 8 * fit.gradients } else { (8 * fit.gradients).max(proposals * GRADIENTS_PER_PROPOSAL) },
        spent: 0,
        seed,
        threads,
    };
    let moved = |chains: Chains, met: bool, spent: usize| {
        let (r_hat, diverging) = (chains.r_hat(dim), chains.diverging);
        let mut theta = chains.theta.concat();
        theta.truncate(keep * dim);
        let (k_hats, evaluations) = (k_hats.clone(), proposals + spent);
        Draws { k_hat, k_hats, efficiency, r_hat, diverging, met, evaluations, ..of(theta, Origin::Moved) }
    };
    // Chains from the guides of all starts: where they meet, these lay in one mode.
    if let Some(chains) = elsewhere.and_then(|starts| mover.chains(&starts))
        && chains.r_hat(dim) <= FORGOTTEN
    {
        return moved(chains, true, mover.spent);
    }
    if usable && worst < USABLE || efficiency > EQUAL {
        return resampled(proposals + mover.spent);
    }
    mover.budget += mover.spent;
    match mover.chains(&fit.sample(CHAINS, seed ^ 0x9e37_79b9_7f4a_7c15)) {
        Some(chains) if !usable || chains.r_hat(dim) <= FORGOTTEN => moved(chains, false, mover.spent),
        _ if usable => resampled(proposals + mover.spent),
        _ => Draws { k_hat, k_hats, efficiency, ..of(fit.sample(keep, seed), Origin::Guide) },
    }
}

/// Moves draws to the posterior, within a budget.
struct Mover<'a> {
    target: &'a dyn Target,
    fit: &'a Fit,
    keep: usize,
    /// Made when it is first needed.
    metric: Option<Metric>,
    /// Evaluations of the gradient that may be spent, and that have been.
    budget: usize,
    spent: usize,
    seed: u64,
    threads: usize,
}

impl Mover<'_> {
    /// Chains from these draws, as long as it takes to forget them; `None` if they would cost too much or do not move.
    fn chains(&mut self, starts: &[f64]) -> Option<Chains> {
        if !self.target.smooth() {
            return None;
        }
        let dim = self.fit.mean.len();
        let count = starts.len() / dim;
        let kept = self.keep.div_ceil(count);
        let curvature = if self.metric.is_none() { curvature_draws(dim) } else { 0 };
        let least = hamiltonian::cost(count, WARM_UP + kept, DYNAMICS) + curvature;
        if self.spent + least > self.budget {
            return None;
        }
        self.spent += least;
        if self.metric.is_none() {
            self.metric = Metric::linear_response(self.target, self.fit, self.seed);
        }
        let mut chains = self.round(self.metric.as_ref()?, starts, 1, kept);
        let mut thin = 1;
        let mut further = FURTHER_DOUBLINGS;
        // Chains that have not forgotten their starts go on, keeping fewer of their states.
        while chains.moved() && (FORGOTTEN..HOPELESS).contains(&chains.r_hat(dim)) {
            thin *= 2;
            let cost = hamiltonian::cost(count, WARM_UP + thin * kept, DYNAMICS);
            if self.spent + cost > self.budget {
                if chains.r_hat(dim) > NEARLY_FORGOTTEN || further == 0 {
                    break;
                }
                further -= 1;
            }
            self.spent += cost;
            // What they have seen of the posterior tells its scales better than the guide did.
            let seen = Metric::of_draws(&chains.theta.concat(), dim);
            let last: Vec<f64> = chains.theta.iter().flat_map(|t| &t[t.len() - dim..]).copied().collect();
            chains = self.round(&seen, &last, thin, kept);
        }
        chains.moved().then_some(chains)
    }

    /// Chains in this metric: a warm-up, then every `thin`-th state.
    fn round(&self, metric: &Metric, starts: &[f64], thin: usize, kept: usize) -> Chains {
        let purpose = format!("hamiltonian {thin}");
        let mut ensemble = Ensemble::new(self.target, metric, starts, DYNAMICS, &purpose, self.seed, self.threads);
        ensemble.warm_up(WARM_UP);
        ensemble.keep(kept, thin)
    }
}

/// Log joint less log guide at each row of `theta`.
fn log_ratios(target: &dyn Target, fit: &Fit, theta: &[f64], threads: usize) -> Vec<f64> {
    let dim = target.dim();
    let rows = theta.len() / dim;
    let mut out = vec![0.0; rows];
    let chunk = rows.div_ceil(threads.max(1)).max(1);
    std::thread::scope(|scope| {
        for (out, theta) in out.chunks_mut(chunk).zip(theta.chunks(chunk * dim)) {
            let mut evaluator = target.evaluator();
            scope.spawn(move || {
                let densities = fit.approximation.log_density(theta);
                for ((r, row), q) in out.iter_mut().zip(theta.chunks(dim)).zip(densities) {
                    *r = evaluator.value(row) - q;
                }
            });
        }
    });
    out
}
