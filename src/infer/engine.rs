//! `fit`: from a target and options to a fitted guide.

use std::cell::RefCell;
use std::sync::Arc;

use super::approximation::Approximation;
use super::flow::{Bent, Flow};
use super::frame::{Basis, Shape, reordered_factor};
use super::gaussian::Gaussian;
use super::journal::Journal;
use super::lowrank::LowRank;
use super::mixture::Mixture;
use super::modes;
use super::options::{FitOptions, GuideKind, Method, Progress};
use super::pool::Pool;
use super::response::LinearResponse;
use super::result::{Fit, FitError, Scale, SdsFrom, StartSummary, StopReason};
use super::stages::{Place, Session, mean_of};
use super::target::Target;
use super::written;

/// Fit a guide to the target's posterior. The result depends on the target, the options and nothing else: not on the
/// number of threads, nor on the order in which the target lists its coordinates.
pub fn fit(target: &dyn Target, options: &FitOptions, progress: &mut dyn FnMut(&Progress)) -> Result<Fit, FitError> {
    if let Some(roles) = target.roles() {
        return written::fit(target, &roles, options, progress);
    }
    let (names, points, start) = (target.names(), target.points(), target.start());
    // Work in the order of names, points last.
    let mut order: Vec<usize> = (0..target.dim()).collect();
    order.sort_by(|&a, &b| (points[a], &names[a]).cmp(&(points[b], &names[b])));
    let count = points.iter().filter(|p| !**p).count();
    let sorted: Vec<String> = order.iter().map(|&i| names[i].clone()).collect();
    let (noisy, fixed) = sorted.split_at(count);

    std::thread::scope(|scope| {
        let pool = RefCell::new(Pool::new(target, order.clone(), options.threads, scope));
        let journal = Journal::open(options, &sorted, &mut pool.borrow_mut()).map_err(FitError::Checkpoint)?;
        let mut session = Session {
            options,
            pool: &pool,
            noisy,
            points: fixed,
            origin: order.iter().map(|&i| start[i]).collect(),
            trace: Vec::with_capacity(4096),
            progress,
            halt: None,
            journal,
        };
        let outcome = match options.method {
            // The sampler has no guide; where there are params, they are fitted first, as by L-BFGS.
            // What has factors in closed form has its own engine.
            Method::Auto | Method::Lbfgs | Method::Nuts | Method::Cavi | Method::Em => session.run(),
            Method::Laplace => session.run_laplace(),
            Method::Map => session.run_map(),
            Method::Pathfinder => session.run_pathfinder(),
            Method::Bam => session.run_bam(),
            Method::Adam | Method::Score | Method::Iwae | Method::ForwardKl => session.run_adam(),
        };
        let outcome = outcome.map_err(|failure| {
            let mut theta = vec![0.0; order.len()];
            order.iter().zip(failure.theta).for_each(|(&i, t)| theta[i] = t);
            FitError::NonFiniteStart { theta, start: failure.start }
        })?;
        // Whatever had been reached when somebody interrupted: the fit is not done.
        let reason = match session.halt.take() {
            Some(StopReason::Cancelled) => StopReason::Cancelled,
            _ => outcome.reason,
        };
        session.journal.save();
        let (seconds, unsaved) = (session.journal.seconds(), session.journal.trouble().cloned());
        let trace = std::mem::take(&mut session.trace);
        let place = outcome.place;
        let gaussian_at = |place: &Place| {
            Gaussian::new(order.clone(), noisy.to_vec(), mean_of(place), place.frame.scale_at(&place.phi))
        };
        let (mut approximation, mut scale): (Arc<dyn Approximation>, Scale) = match place.frame.shape {
            _ if !outcome.beyond.components.is_empty() => {
                let (weights, parts) = outcome.beyond.components.iter().map(|(w, p)| (*w, gaussian_at(p))).unzip();
                (Arc::new(Mixture::new(weights, parts)), Scale::Implicit)
            }
            _ if !outcome.beyond.paths.is_empty() => {
                let (weights, parts) = outcome.beyond.paths.iter().map(|(w, p)| (*w, gaussian_at(p))).unzip();
                (Arc::new(Mixture::new(weights, parts)), Scale::Implicit)
            }
            Shape::LowRank(k) => (Arc::new(LowRank::new(order.clone(), noisy.to_vec(), &place, k)), Scale::Implicit),
            Shape::Diagonal | Shape::Lower => {
                let gaussian = gaussian_at(&place);
                let scale = declared_scale(&gaussian, options.guide);
                (Arc::new(gaussian), scale)
            }
        };
        let others = outcome.others.iter().map(|(start, place)| (*start, Arc::new(gaussian_at(place)) as _)).collect();
        let mut log_joints = |rows: usize, theta: &[f64]| log_joints(rows, theta, &order, &mut pool.borrow_mut());
        let (mut elbo, mut elbo_se) = approximation.bound(&mut log_joints, options.elbo_draws, options.seed);
        let mut bent = None;
        if let Some((layers, parameters)) = outcome.beyond.flow {
            let flow = Flow::new(gaussian_at(&place), layers, parameters, options.seed);
            let (flow_elbo, flow_se) = flow.bound(&mut log_joints, options.elbo_draws, options.seed);
            let judged = Bent::of(flow_elbo, elbo);
            bent = Some(judged);
            if judged.kept {
                (approximation, scale) = (Arc::new(flow), Scale::Implicit);
                (elbo, elbo_se) = (flow_elbo, flow_se);
            }
        }
        // Of a mixture's modes the components are the best fits.
        let fitted = outcome.beyond.components.iter().map(|c| &c.1);
        let rest = outcome.beyond.peaks.iter().skip(outcome.beyond.components.len()).map(|p| &p.place);
        let guides: Vec<Gaussian> = fitted.chain(rest).map(gaussian_at).collect();
        let modes = if guides.len() > 1 { modes::weigh(guides, &mut log_joints, options.seed) } else { vec![] };
        let (definite, decrement) = outcome.response.as_ref().map_or((None, None), |r| (Some(r.definite), r.decrement));
        let mut sds_from = SdsFrom::Guide;
        if let Some(spread) = outcome.response.and_then(|r| r.spread) {
            let wider = LinearResponse::new(order.clone(), noisy.to_vec(), mean_of(&place), spread);
            let before = pool.borrow().non_finite;
            let (bound, se) = wider.bound(&mut log_joints, options.elbo_draws, options.seed);
            // The lower bound says which of the two is nearer to the posterior; draws beyond the model's domain say no.
            let inside = pool.borrow().non_finite - before <= options.elbo_draws / 100;
            if inside && bound > elbo + se + elbo_se {
                (elbo, elbo_se, sds_from) = (bound, se, SdsFrom::LinearResponse);
                approximation = Arc::new(wider);
            }
        }
        let pool = pool.borrow();
        Ok(Fit {
            guide: options.guide,
            method: options.method,
            ran: None,
            scale,
            names,
            points,
            mean: approximation.mean().to_vec(),
            elbo,
            elbo_se,
            mean_error: outcome.mean_error,
            converged: reason.is_convergence(),
            stop_reason: reason,
            gradients: pool.gradients,
            log_joints: pool.gradients + pool.values,
            non_finite: pool.non_finite,
            first_lost: pool.first_lost.clone(),
            draws: outcome.draws,
            starts: outcome
                .starts
                .into_iter()
                .map(|s| StartSummary { furthest: order.get(s.furthest).copied().unwrap_or(0), ..s })
                .collect(),
            trace,
            seconds,
            unsaved,
            approximation,
            modes,
            bent,
            sds_from,
            definite,
            decrement,
            others,
        })
    })
}

/// The log joint of rows in the target's order.
pub fn log_joints(rows: usize, theta: &[f64], order: &[usize], pool: &mut Pool) -> Vec<f64> {
    let sorted: Vec<f64> = theta.chunks(order.len().max(1)).flat_map(|row| order.iter().map(|&i| row[i])).collect();
    let mut values = vec![0.0; rows];
    pool.value(&sorted, &mut values);
    values
}

/// The scale in the target's own order.
fn declared_scale(gaussian: &Gaussian, guide: GuideKind) -> Scale {
    let dim = gaussian.mean().len();
    let (scale, order) = gaussian.scale();
    let n = order.len();
    let sds = scale.row_norms(n);
    if guide == GuideKind::MeanField {
        return Scale::MeanField(gaussian.sds().iter().map(|sd| sd.ln()).collect());
    }
    // Coordinates with noise, in the target's order.
    let mut kept: Vec<(usize, usize)> = order.iter().enumerate().map(|(ours, &i)| (i, ours)).collect();
    kept.sort_unstable();
    let ours: Vec<usize> = kept.iter().map(|k| k.1).collect();
    let factor = match scale {
        Basis::Diagonal(_) => Basis::Diagonal(ours.iter().map(|&i| sds[i]).collect()).to_lower(n),
        Basis::Lower(t) => reordered_factor(t, n, &ours),
    };
    let mut full = vec![0.0; dim * dim];
    for (a, (i, _)) in kept.iter().enumerate() {
        for (b, (j, _)) in kept.iter().enumerate().take(a + 1) {
            full[i * dim + j] = factor[a * n + b];
        }
    }
    Scale::FullRank(full)
}
