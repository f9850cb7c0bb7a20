//! `fit`: from a target and options to a fitted guide.

use std::cell::RefCell;
use std::f64::consts::TAU;
use std::time::Instant;

use super::draws;
use super::frame::{Basis, reordered_factor};
use super::options::{FitOptions, GuideKind, Method, Progress};
use super::pool::Pool;
use super::result::{Fit, FitError, Sampler, Scale, StartSummary, StopReason};
use super::stages::{Place, Session, mean_of};
use super::target::Target;

/// Fit a guide to the target's posterior. The result depends on the target, the options and nothing else: not on the
/// number of threads, nor on the order in which the target lists its coordinates.
pub fn fit(target: &dyn Target, options: &FitOptions, progress: &mut dyn FnMut(&Progress)) -> Result<Fit, FitError> {
    let started = Instant::now();
    let (names, points, start) = (target.names(), target.points(), target.start());
    // Work in the order of names, points last.
    let mut order: Vec<usize> = (0..target.dim()).collect();
    order.sort_by(|&a, &b| (points[a], &names[a]).cmp(&(points[b], &names[b])));
    let count = points.iter().filter(|p| !**p).count();
    let sorted: Vec<String> = order.iter().map(|&i| names[i].clone()).collect();
    let (noisy, fixed) = sorted.split_at(count);

    std::thread::scope(|scope| {
        let pool = RefCell::new(Pool::new(target, order.clone(), options.threads, scope));
        let mut session = Session {
            options,
            pool: &pool,
            noisy,
            points: fixed,
            origin: order.iter().map(|&i| start[i]).collect(),
            started,
            trace: Vec::with_capacity(4096),
            progress,
            halt: None,
        };
        let outcome = match options.method {
            // The sampler has no guide; where there are params, they are fitted first, as by L-BFGS.
            Method::Lbfgs | Method::Nuts => session.run(),
            Method::Adam => session.run_adam(),
        };
        let outcome = outcome.map_err(|failure| {
            let mut theta = vec![0.0; order.len()];
            order.iter().zip(failure.theta).for_each(|(&i, t)| theta[i] = t);
            FitError::NonFiniteStart { theta, start: failure.start }
        })?;
        let trace = std::mem::take(&mut session.trace);
        let place = outcome.place;
        let sampler_at = |place: &Place| Sampler {
            order: order.clone(),
            names: noisy.to_vec(),
            mean: mean_of(place),
            scale: place.frame.scale_at(&place.phi),
        };
        let sampler = sampler_at(&place);
        let others = outcome.others.iter().map(|(start, place)| (*start, sampler_at(place))).collect();
        let (elbo, elbo_se) = lower_bound(&sampler, &mut pool.borrow_mut(), options);
        let mut mean = vec![0.0; order.len()];
        order.iter().zip(&sampler.mean).for_each(|(&i, m)| mean[i] = *m);
        let pool = pool.borrow();
        Ok(Fit {
            guide: options.guide,
            scale: declared_scale(&sampler, options.guide),
            names,
            points,
            mean,
            elbo,
            elbo_se,
            mean_error: outcome.mean_error,
            converged: outcome.reason == StopReason::Converged,
            stop_reason: outcome.reason,
            gradients: pool.gradients,
            log_joints: pool.gradients + pool.values,
            non_finite: pool.non_finite,
            draws: outcome.draws,
            starts: outcome
                .starts
                .into_iter()
                .map(|s| StartSummary { furthest: order.get(s.furthest).copied().unwrap_or(0), ..s })
                .collect(),
            trace,
            seconds: started.elapsed().as_secs_f64(),
            sampler,
            others,
        })
    })
}

/// The lower bound and its standard error over fresh antithetic draws. The mean of log p − log q, not of log p alone: its
/// variance vanishes as the guide approaches the posterior. Draws where log p is not finite are left out (they are counted).
fn lower_bound(sampler: &Sampler, pool: &mut Pool, options: &FitOptions) -> (f64, f64) {
    let (dim, n) = (sampler.mean.len(), sampler.names.len());
    let half = (options.elbo_draws / 2).max(2);
    let z = draws::plain(options.seed, "elbo", &sampler.names, 0, half);
    let mut thetas = vec![0.0; 2 * half * dim];
    let mut offset = vec![0.0; dim];
    for k in 0..half {
        sampler.scale.times(&z[k * n..(k + 1) * n], &mut offset[..n]);
        for i in 0..dim {
            thetas[k * dim + i] = sampler.mean[i] + offset[i];
            thetas[(half + k) * dim + i] = sampler.mean[i] - offset[i];
        }
    }
    let mut values = vec![0.0; 2 * half];
    pool.value(&thetas, &mut values);
    let constant = sampler.scale.log_det(n) + 0.5 * n as f64 * TAU.ln();
    let pairs: Vec<f64> = (0..half)
        .map(|k| 0.5 * (values[k] + values[half + k]) + 0.5 * z[k * n..(k + 1) * n].iter().map(|z| z * z).sum::<f64>())
        .filter(|v| v.is_finite())
        .collect();
    if pairs.is_empty() {
        return (f64::NEG_INFINITY, f64::INFINITY);
    }
    let count = pairs.len() as f64;
    let mean = pairs.iter().sum::<f64>() / count;
    let variance = pairs.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / (count - 1.0).max(1.0);
    (mean + constant, (variance / count).sqrt())
}

/// The scale in the target's own order.
fn declared_scale(sampler: &Sampler, guide: GuideKind) -> Scale {
    let (dim, n) = (sampler.mean.len(), sampler.names.len());
    let sds = sampler.scale.row_norms(n);
    if guide == GuideKind::MeanField {
        let mut logs = vec![f64::NEG_INFINITY; dim];
        sampler.order.iter().zip(&sds).for_each(|(&i, sd)| logs[i] = sd.ln());
        return Scale::MeanField(logs);
    }
    // Coordinates with noise, in the target's order.
    let mut kept: Vec<(usize, usize)> = sampler.order[..n].iter().enumerate().map(|(ours, &i)| (i, ours)).collect();
    kept.sort_unstable();
    let ours: Vec<usize> = kept.iter().map(|k| k.1).collect();
    let factor = match &sampler.scale {
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
