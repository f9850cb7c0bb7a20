//! The referee: the No-U-Turn sampler of `nuts-rs` on the same log joint. Hoffman and Gelman (2014); the metric adapts to
//! draws and gradients as in nutpie (Seyboldt, Carlson and Carpenter 2026).

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use nuts_rs::{Chain, CpuLogpFunc, CpuMath, CpuMathError, HasDims, LogpError, LowRankNutsSettings, Settings};

use super::options::{FitOptions, Progress, Stage};
use super::result::FitError;
use super::{Evaluator, Stream, Target};

/// How long the chains are.
#[derive(Clone, Copy, Debug)]
pub struct NutsPlan {
    pub chains: usize,
    /// Transitions per chain that adapt step and metric.
    pub warm_up: usize,
    /// Draws kept per chain.
    pub kept: usize,
}

impl Default for NutsPlan {
    fn default() -> NutsPlan {
        NutsPlan { chains: 4, warm_up: 1000, kept: 1000 }
    }
}

/// Draws of several chains.
#[derive(Clone, Debug)]
pub struct Nuts {
    /// Row-major; chain after chain, each of `kept` rows.
    pub theta: Vec<f64>,
    pub chains: usize,
    pub kept: usize,
    /// Kept transitions whose energy error was so large that the trajectory was given up.
    pub divergences: usize,
    /// Evaluations of the log joint with its gradient, warm-up included.
    pub gradients: usize,
    pub trace: Vec<Progress>,
    pub seconds: f64,
    /// The user ended it early; the chains are shorter than asked for, all of the same length.
    pub cancelled: bool,
}

/// Starting points tried per chain before giving up.
const ATTEMPTS: usize = 100;

/// Sample from the target. Coordinates that are points (`param`) stay at `centre`. Chains start at uniform draws of ±2
/// around `centre`, as Stan's do, and not at a fitted guide: a referee must not take sides.
///
/// The result depends on the seed alone, not on the number of threads.
pub fn nuts(
    target: &dyn Target,
    centre: &[f64],
    plan: NutsPlan,
    options: &FitOptions,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Nuts, FitError> {
    let started = Instant::now();
    let (points, names) = (target.points(), target.names());
    let free: Vec<usize> = (0..points.len()).filter(|&i| !points[i]).collect();
    let mut starts = vec![];
    for chain in 0..plan.chains {
        starts.push(start(target, centre, &free, &names, chain, options.seed)?);
    }
    let stop = AtomicBool::new(false);
    let done: Vec<AtomicUsize> = (0..plan.chains).map(|_| AtomicUsize::new(0)).collect();
    let gradients = AtomicUsize::new(0);
    let mut results: Vec<Result<ChainDraws, FitError>> = vec![];
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let (next, done, stop, gradients, starts, free) = (&next, &done, &stop, &gradients, &starts, &free);
        let workers: Vec<_> = (0..options.threads.clamp(1, plan.chains))
            .map(|_| {
                scope.spawn(move || {
                    let mut mine = vec![];
                    loop {
                        let chain = next.fetch_add(1, Ordering::Relaxed);
                        if chain >= plan.chains {
                            return mine;
                        }
                        let density = Density::new(target, &starts[chain], free, gradients);
                        mine.push((chain, sample(density, chain, plan, options.seed, stop, &done[chain])));
                    }
                })
            })
            .collect();
        // Progress is told from here while the chains run.
        while workers.iter().any(|w| !w.is_finished()) {
            if options.interrupted() {
                stop.store(true, Ordering::Relaxed);
            }
            let iteration = done.iter().map(|d| d.load(Ordering::Relaxed)).sum();
            progress(&told(iteration, gradients.load(Ordering::Relaxed), started));
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let mut ended: Vec<(usize, Result<ChainDraws, FitError>)> =
            workers.into_iter().flat_map(|w| w.join().expect("errors of a chain are returned")).collect();
        ended.sort_by_key(|e| e.0);
        results.extend(ended.into_iter().map(|e| e.1));
    });
    let all = results.into_iter().collect::<Result<Vec<ChainDraws>, FitError>>()?;
    let cancelled = stop.load(Ordering::Relaxed);
    let kept = all.iter().map(|c| c.draws.len()).min().unwrap_or(0);
    let theta = all.iter().flat_map(|c| c.draws[..kept].iter().flatten().copied()).collect();
    let gradients = gradients.load(Ordering::Relaxed);
    Ok(Nuts {
        theta,
        chains: plan.chains,
        kept,
        divergences: all.iter().map(|c| c.divergences).sum(),
        gradients,
        trace: vec![told(plan.chains * (plan.warm_up + kept), gradients, started)],
        seconds: started.elapsed().as_secs_f64(),
        cancelled,
    })
}

fn told(iteration: usize, gradients: usize, started: Instant) -> Progress {
    Progress {
        stage: Stage::Nuts,
        start: 0,
        iteration,
        gradients,
        objective: f64::NAN,
        gradient_norm: f64::NAN,
        seconds: started.elapsed().as_secs_f64(),
    }
}

/// A point with a finite log joint, and a gradient that is finite and nowhere 0: the first metric comes from it.
fn start(
    target: &dyn Target,
    centre: &[f64],
    free: &[usize],
    names: &[String],
    chain: usize,
    seed: u64,
) -> Result<Vec<f64>, FitError> {
    let mut evaluator = target.evaluator();
    let mut gradient = vec![0.0; centre.len()];
    let mut theta = centre.to_vec();
    let mut flat = None;
    for attempt in 0..ATTEMPTS {
        // Nearer and nearer to the centre.
        let width = 2.0 * 0.95f64.powi(attempt as i32);
        for &i in free {
            let u = Stream::at(seed, "nuts starts", &names[i], chain * ATTEMPTS + attempt).uniform();
            theta[i] = centre[i] + width * (2.0 * u - 1.0);
        }
        let finite = evaluator.value_grad(&theta, &mut gradient).is_finite() && gradient.iter().all(|g| g.is_finite());
        if finite {
            flat = free.iter().find(|&&i| gradient[i] == 0.0).copied();
            if flat.is_none() {
                return Ok(theta);
            }
        }
    }
    Err(match flat {
        Some(i) => FitError::Flat { name: names[i].clone() },
        None => FitError::NonFiniteStart { theta, start: chain },
    })
}

struct ChainDraws {
    draws: Vec<Vec<f64>>,
    divergences: usize,
}

fn sample(
    density: Density,
    chain: usize,
    plan: NutsPlan,
    seed: u64,
    stop: &AtomicBool,
    done: &AtomicUsize,
) -> Result<ChainDraws, FitError> {
    let (whole, free) = (density.theta.clone(), density.free.to_vec());
    let settings = LowRankNutsSettings {
        num_tune: plan.warm_up as u64,
        num_draws: plan.kept as u64,
        ..LowRankNutsSettings::default()
    };
    let mut rng = Stream::at(seed, "nuts", "chain", chain << 32);
    let position: Vec<f64> = free.iter().map(|&i| whole[i]).collect();
    let mut out = ChainDraws { draws: Vec::with_capacity(plan.kept), divergences: 0 };
    let failed = |e: &dyn fmt::Display| FitError::Sampler { reason: e.to_string() };
    let mut sampler = settings.new_chain(chain as u64, CpuMath::new(density), &mut rng).map_err(|e| failed(&e))?;
    sampler.set_position(&position).map_err(|e| failed(&e))?;
    for i in 0..plan.warm_up + plan.kept {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let (draw, info) = sampler.draw().map_err(|e| failed(&e))?;
        done.store(i + 1, Ordering::Relaxed);
        if i >= plan.warm_up {
            let mut theta = whole.clone();
            free.iter().zip(&draw).for_each(|(&i, x)| theta[i] = *x);
            out.draws.push(theta);
            out.divergences += usize::from(info.diverging);
        }
    }
    Ok(out)
}

/// The log joint as `nuts-rs` sees it: over the coordinates that move.
struct Density<'a> {
    evaluator: Box<dyn Evaluator + 'a>,
    theta: Vec<f64>,
    gradient: Vec<f64>,
    free: &'a [usize],
    gradients: &'a AtomicUsize,
}

impl<'a> Density<'a> {
    fn new(target: &'a dyn Target, theta: &[f64], free: &'a [usize], gradients: &'a AtomicUsize) -> Density<'a> {
        let gradient = vec![0.0; theta.len()];
        Density { evaluator: target.evaluator(), theta: theta.to_vec(), gradient, free, gradients }
    }
}

/// The log joint is not finite: the trajectory ends there.
#[derive(Debug)]
struct NotFinite;

impl fmt::Display for NotFinite {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("the log joint is not finite")
    }
}

impl std::error::Error for NotFinite {}

impl LogpError for NotFinite {
    fn is_recoverable(&self) -> bool {
        true
    }
}

impl HasDims for Density<'_> {
    fn dim_sizes(&self) -> HashMap<String, u64> {
        HashMap::from([("unconstrained_parameter".to_string(), self.free.len() as u64)])
    }
}

impl CpuLogpFunc for Density<'_> {
    type LogpError = NotFinite;
    type FlowParameters = ();
    type ExpandedVector = Vec<f64>;

    fn dim(&self) -> usize {
        self.free.len()
    }

    fn logp(&mut self, position: &[f64], gradient: &mut [f64]) -> Result<f64, NotFinite> {
        self.free.iter().zip(position).for_each(|(&i, x)| self.theta[i] = *x);
        self.gradients.fetch_add(1, Ordering::Relaxed);
        let value = self.evaluator.value_grad(&self.theta, &mut self.gradient);
        self.free.iter().zip(gradient.iter_mut()).for_each(|(&i, g)| *g = self.gradient[i]);
        let finite = value.is_finite() && gradient.iter().all(|g| g.is_finite());
        if finite { Ok(value) } else { Err(NotFinite) }
    }

    fn expand_vector<R>(&mut self, _: &mut R, array: &[f64]) -> Result<Vec<f64>, CpuMathError>
    where
        R: nuts_rs::rand::Rng + ?Sized,
    {
        Ok(array.to_vec())
    }
}
