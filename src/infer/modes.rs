//! The distinct modes that the starts led to, and how much of the posterior lies in each.
//!
//! Each mode has a normal guide of its own. Draws from all of them, weighed by the log joint over the density of all
//! guides together, estimate the mass around each without counting anything twice where guides overlap (the balance
//! heuristic; Elvira, Martino, Luengo, Bugallo. "Generalized multiple importance sampling", 2019).

use super::approximation::Approximation;
use super::draws::matched;
use super::frame::{Basis, Shape};
use super::gaussian::Gaussian;
use super::lbfgs::{End, Function, Limits, Pause, State, minimise};
use super::linalg::axpy;
use super::mixture::{Components, log_sum};
use super::objective::Objective;
use super::options::{GuideKind, Stage};
use super::psis;
use super::result::StartSummary;
use super::stages::{Place, Session, mean_of};

/// Two guides are of one mode if no mean differs by more than this many sds.
const APART: f64 = 0.5;
/// Modes this many nats below the best are not worth telling.
const BELOW: f64 = 5.0;
/// More modes than these are not told apart.
const MOST: usize = 8;
/// Draws of each mode's guide.
const DRAWS: usize = 2000;

/// A mode of the posterior, and a normal fitted to it.
#[derive(Clone, Debug)]
pub struct Mode {
    /// Its share of the posterior mass of all modes, and the standard error of that.
    pub weight: f64,
    pub error: f64,
    /// Shape of the tail of the importance weights of its own draws; below 0.7 the weight can be relied on.
    pub k_hat: f64,
    pub guide: Gaussian,
}

/// A mode before it is weighed.
pub struct Peak {
    pub place: Place,
}

impl Session<'_, '_> {
    /// The distinct modes that the starts come down in, each with a guide fitted to it alone; the first is the best guide,
    /// which may cover several. Only that one where nothing speaks of more than one mode.
    pub fn peaks(&mut self, place: &Place, others: &[(usize, Place)]) -> Vec<Peak> {
        // Elsewhere a `param` would have another value, and the masses would be of different posteriors.
        if !self.points.is_empty() || matches!(self.options.guide, GuideKind::LowRank(_)) {
            return vec![];
        }
        let near = |o: &Place| o.end == End::Converged && o.objective < place.objective + BELOW;
        let dissent = others.iter().any(|(_, o)| near(o) && self.apart(place, o));
        let mut peaks = vec![Peak { place: place.clone() }];
        if !dissent && !matches!(self.options.guide, GuideKind::Mixture(_)) {
            return peaks;
        }
        for start in 0..self.options.starts.max(1) {
            if self.halt.is_some() || peaks.len() == MOST {
                break;
            }
            let Some(down) = self.unit(|session| session.come_down(start)) else { continue };
            if peaks.iter().any(|p| !self.apart(&p.place, &down)) {
                continue;
            }
            let mut own = self.settle(down, start);
            self.refine(&mut own, start);
            let good = own.end == End::Converged && own.objective < place.objective + BELOW;
            if good && peaks.iter().all(|p| self.apart(&p.place, &own)) {
                peaks.push(Peak { place: own });
            }
        }
        peaks
    }

    /// Go down to a mode from a start with a narrow guide, whose scale then follows the curvature there: a guide that may
    /// widen on the way comes to lie over several modes.
    fn come_down(&mut self, start: usize) -> Option<Place> {
        let (dim, n) = (self.dim(), self.noisy.len());
        let half = (n + 1).clamp(8, 16);
        let z = matched(self.options.seed, "explore", self.noisy, half);
        let frame = self.begin(start, &z, half).ok()?;
        let mut objective = Objective::new(&frame, &z, half, self.pool);
        let mut narrow = Narrow { objective: &mut objective, dim };
        let mut search = Pause::at(&mut narrow, &vec![0.0; frame.parameters()]);
        let limits = Limits { tolerance: 0.02, iterations: 100 };
        let mut watch = |state: &State, _: &[f64]| self.told(Stage::Explore, start, state);
        let (end, state) = minimise(&mut narrow, &mut search, limits, &mut watch);
        let phi = search.into_x();
        let mut gradient = phi.clone();
        if end != End::Converged || !objective.value_grad(&phi, &mut gradient).is_finite() {
            return None;
        }
        drop(objective);
        // ∂f/∂ℓ + 1 is the curvature in units of sd².
        let widen = |j: usize| (gradient[dim + j] + 1.0).clamp(1e-6, 1e6).powf(-0.5);
        let sds: Vec<f64> = frame.noise.row_norms(n).iter().enumerate().map(|(j, sd)| sd * widen(j)).collect();
        let (mean, noise) = (Basis::Diagonal(sds.clone()), Basis::Diagonal(sds));
        let frame = frame.recentred(&phi, mean, noise, Shape::Diagonal);
        let phi = vec![0.0; frame.parameters()];
        Some(Place { frame, phi, objective: state.value, end, iterations: state.iteration })
    }

    /// Measure how far starts ended from the mixture: from its nearest component, or from all of it where a single guide
    /// came to lie over several modes.
    pub fn nearest(&self, starts: &mut [StartSummary], components: &Components, others: &[(usize, Place)]) {
        let sds = |place: &Place| place.frame.scale_at(&place.phi).row_norms(self.dim());
        let mut known: Vec<(Vec<f64>, Vec<f64>)> = components.iter().map(|(_, c)| (mean_of(c), sds(c))).collect();
        let weights = || components.iter().map(|(w, _)| *w);
        let mut mean = vec![0.0; self.dim()];
        weights().zip(&known).for_each(|(w, (m, _))| axpy(w, m, &mut mean));
        let square = |i: usize| -> f64 {
            weights().zip(&known).map(|(w, (m, s))| w * (s[i] * s[i] + (m[i] - mean[i]).powi(2))).sum()
        };
        let whole = (0..self.dim()).map(|i| square(i).sqrt()).collect();
        known.push((mean, whole));
        for (start, other) in others {
            let theirs = mean_of(other);
            let from = |(ours, sds): &(Vec<f64>, Vec<f64>)| {
                let apart = |i: usize| (theirs[i] - ours[i]).abs() / sds[i];
                let furthest = (0..ours.len()).max_by(|&a, &b| apart(a).total_cmp(&apart(b))).unwrap_or(0);
                (apart(furthest), furthest)
            };
            let near = known.iter().map(from).min_by(|a, b| a.0.total_cmp(&b.0));
            if let (Some(near), Some(line)) = (near, starts.iter_mut().find(|s| s.start == *start)) {
                (line.distance, line.furthest) = near;
            }
        }
    }

    /// Whether some mean of `other` lies well outside the guide at `place`.
    pub fn apart(&self, place: &Place, other: &Place) -> bool {
        let sds = place.frame.mean.row_norms(self.dim());
        let (ours, theirs) = (mean_of(place), mean_of(other));
        ours.iter().zip(&theirs).zip(&sds).any(|((a, b), sd)| (a - b).abs() > APART * sd)
    }
}

/// An objective of the mean alone, the scale as it is.
struct Narrow<'o, 'p> {
    objective: &'o mut Objective<'p>,
    /// Parameters of the mean.
    dim: usize,
}

impl Function for Narrow<'_, '_> {
    fn value_grad(&mut self, x: &[f64], gradient: &mut [f64]) -> f64 {
        let value = self.objective.value_grad(x, gradient);
        gradient[self.dim..].fill(0.0);
        value
    }
}

/// The share of each guide's mode, from a function that gives the log joint of so many rows.
pub fn weigh(guides: Vec<Gaussian>, log_joints: &mut dyn FnMut(usize, &[f64]) -> Vec<f64>, seed: u64) -> Vec<Mode> {
    let count = guides.len();
    let (mut ratios, mut shares) = (vec![], vec![]);
    for guide in &guides {
        let theta = guide.sample("modes", DRAWS, seed);
        let log_p = log_joints(DRAWS, &theta);
        let densities: Vec<Vec<f64>> = guides.iter().map(|g| g.log_density(&theta)).collect();
        let mut terms = vec![0.0; count];
        for (r, p) in log_p.iter().enumerate() {
            terms.iter_mut().zip(&densities).for_each(|(t, q)| *t = q[r]);
            let all = log_sum(&terms);
            ratios.push(p - all);
            shares.extend(terms.iter().map(|t| (t - all).exp()));
        }
    }
    let smoothed = psis::smooth(&ratios);
    let mut weights = vec![0.0; count];
    for (w, s) in smoothed.weights.iter().zip(shares.chunks(count)) {
        weights.iter_mut().zip(s).for_each(|(total, s)| *total += w * s);
    }
    let mut variances = vec![0.0; count];
    for (w, s) in smoothed.weights.iter().zip(shares.chunks(count)) {
        variances.iter_mut().zip(s).zip(&weights).for_each(|((v, s), mean)| *v += (w * (s - mean)).powi(2));
    }
    let k_hats = ratios.chunks(DRAWS).map(|own| psis::smooth(own).k_hat);
    let figures = weights.iter().zip(&variances).zip(k_hats);
    let mut modes: Vec<Mode> = guides
        .into_iter()
        .zip(figures)
        .map(|(guide, ((weight, variance), k_hat))| Mode { weight: *weight, error: variance.sqrt(), k_hat, guide })
        .collect();
    modes.sort_by(|a, b| b.weight.total_cmp(&a.weight));
    modes
}
