//! Sweeps over the blocks, from several starts, to the highest bound.

use std::sync::Arc;
use std::time::Instant;

use super::Trouble;
use super::approximation::Factors;
use super::block::{Block, Form};
use super::drawn::Drawn;
use super::factor::{Factor, scales};
use crate::infer::approximation::Approximation;
use crate::infer::lbfgs::{Function, Limits, Pause, minimise};
use crate::infer::options::{FitOptions, GuideKind, Progress, Stage};
use crate::infer::result::{Fit, Scale, SdsFrom, StartSummary, StopReason};
use crate::infer::rng::Stream;
use crate::infer::target::{Evaluator, Target};

/// What is fitted.
pub struct Plan<'a> {
    /// The expected log joint over statistics.
    pub expected: &'a dyn Target,
    /// The log joint on the unconstrained scale, whose coordinates the factors are given in.
    pub target: &'a dyn Target,
    /// In the order of updates.
    pub blocks: Vec<Block>,
    /// Where it begins: the value of each cell of each block, on its own scale.
    pub start: Vec<Vec<f64>>,
    /// Whether the bound may have several maxima.
    pub several: bool,
    /// Rows of the largest table: how far starts may lie apart.
    pub rows: usize,
}

/// What came of it.
pub struct Ascent {
    pub fit: Fit,
    /// Sweeps of the reported start.
    pub sweeps: usize,
    /// Starts that came to grief.
    pub failed: Vec<Trouble>,
    /// Of the reported start, in the order of the blocks.
    pub factors: Vec<Factor>,
}

/// Relative fall of the bound that rounding explains.
const SLACK: f64 = 1e-9;
/// Relative change of every expected statistic at which the ascent has arrived.
const STILL: f64 = 1e-10;
/// Bounds that are one, relative to their size: copies of a mode with other labels.
const SAME: f64 = 1e-7;
/// A point that shrinks to this share of where its first update put it is going to 0.
const COLLAPSED: f64 = 1e-7;
/// Sweeps before the first disturbance of a start without ties to break.
const SETTLE: usize = 3;
/// Steps on points without a closed form, per sweep.
const INNER: usize = 20;

/// One ascent from a start.
struct Run {
    factors: Vec<Factor>,
    bound: f64,
    sweeps: usize,
    reason: StopReason,
    start: usize,
}

struct State<'a, 'p> {
    plan: &'a Plan<'a>,
    options: &'a FitOptions,
    evaluator: Box<dyn Evaluator + 'a>,
    statistics: Vec<f64>,
    gradient: Vec<f64>,
    drawn: Drawn,
    evaluations: usize,
    began: Instant,
    trace: Vec<Progress>,
    progress: &'p mut dyn FnMut(&Progress),
}

/// Fit the factors. An error is of the first start, where every start fails.
pub fn ascend(plan: &Plan, options: &FitOptions, progress: &mut dyn FnMut(&Progress)) -> Result<Ascent, Trouble> {
    let dim = plan.expected.dim();
    let mut state = State {
        plan,
        options,
        evaluator: plan.expected.evaluator(),
        statistics: vec![0.0; dim],
        gradient: vec![0.0; dim],
        drawn: Drawn::new(&plan.blocks, options.seed, dim),
        evaluations: 0,
        began: Instant::now(),
        trace: vec![],
        progress,
    };
    let starts = if plan.several { options.starts.max(1) } else { 1 };
    let (mut runs, mut failed): (Vec<Run>, Vec<Trouble>) = (vec![], vec![]);
    for start in 0..starts {
        match state.run(start, starts) {
            Ok(run) => runs.push(run),
            Err(trouble) => failed.push(trouble),
        }
        if options.interrupted() {
            break;
        }
    }
    if runs.is_empty() {
        return Err(failed.remove(0));
    }
    // A bound that rounding has spoilt is none to choose by; the earlier start wins a tie.
    let fell = |r: &Run| r.reason == StopReason::Fell;
    runs.sort_by(|a, b| fell(a).cmp(&fell(b)).then(b.bound.total_cmp(&a.bound)).then(a.start.cmp(&b.start)));
    let (sweeps, factors) = (runs[0].sweeps, runs[0].factors.clone());
    Ok(Ascent { sweeps, fit: state.report(runs, starts), failed, factors })
}

impl State<'_, '_> {
    fn points_only(&self) -> bool {
        self.plan.blocks.iter().all(|b| b.point)
    }

    fn run(&mut self, start: usize, starts: usize) -> Result<Run, Trouble> {
        let blocks = &self.plan.blocks;
        let mut factors: Vec<Factor> = blocks
            .iter()
            .zip(&self.plan.start)
            .map(|(b, values)| Factor::at(&b.form, &mut values.iter().copied()))
            .collect();
        self.write(&factors);
        // Params have starts of their own; like latents begin alike, and stay so unless they are disturbed.
        let disturbed = self.plan.several && (start > 0 || !blocks.iter().any(|b| b.point));
        if disturbed {
            for _ in 0..SETTLE {
                self.sweep(&mut factors)?;
            }
            // From the factors' own spread to about that of single rows.
            let temperature = (self.plan.rows.max(2) as f64).powf((start + 1) as f64 / starts as f64);
            let mut names = vec![];
            blocks.iter().for_each(|b| Factor::streams(&b.form, &mut names));
            let purpose = format!("ascent start {start}");
            let mut streams: Vec<Stream> =
                names.iter().map(|name| Stream::new(self.options.seed, &purpose, name)).collect();
            let mut streams = streams.iter_mut();
            factors.iter_mut().zip(blocks).for_each(|(f, b)| f.disturb(&b.form, temperature, &mut streams));
            self.write(&factors);
        }
        let mut bound = f64::NEG_INFINITY;
        let mut before = self.statistics.clone();
        let mut first: Vec<(String, f64)> = vec![];
        let mut sweeps = 0;
        let mut last = factors.clone();
        let reason = loop {
            self.sweep(&mut factors)?;
            sweeps += 1;
            let now = self.bound(&factors)?;
            self.note(start, sweeps, now);
            if now < bound - SLACK * bound.abs().max(1.0) {
                factors = last;
                break StopReason::Fell;
            }
            last.clone_from(&factors);
            self.watch(&factors, &mut first)?;
            let change = |(a, b): (&f64, &f64)| (a - b).abs() / (1.0 + a.abs());
            let moved = self.statistics.iter().zip(&before).map(change).fold(0.0, f64::max);
            before.copy_from_slice(&self.statistics);
            bound = now;
            if moved < STILL {
                break StopReason::Converged;
            }
            if sweeps >= self.options.steps {
                break StopReason::Iterations;
            }
            if self.options.interrupted() {
                break StopReason::Cancelled;
            }
        };
        Ok(Run { factors, bound, sweeps, reason, start })
    }

    fn write(&mut self, factors: &[Factor]) {
        let mut drawn = 0;
        for (b, f) in self.plan.blocks.iter().zip(factors) {
            f.expect(&b.form, b.point, &mut self.statistics);
            if let Factor::Drawn(own) = f {
                self.drawn.spread[drawn..drawn + own.len()].copy_from_slice(own);
                drawn += own.len();
            }
        }
    }

    fn value_grad(&mut self) -> f64 {
        if !self.drawn.is_empty() {
            self.evaluations += self.drawn.draws();
            return self.drawn.value_grad(&mut *self.evaluator, &mut self.statistics, &mut self.gradient);
        }
        self.evaluations += 1;
        self.evaluator.value_grad(&self.statistics, &mut self.gradient)
    }

    fn value(&mut self) -> f64 {
        if !self.drawn.is_empty() {
            self.evaluations += self.drawn.draws();
            return self.drawn.value(&mut *self.evaluator, &mut self.statistics);
        }
        self.evaluations += 1;
        self.evaluator.value(&self.statistics)
    }

    /// Every block once.
    fn sweep(&mut self, factors: &mut [Factor]) -> Result<(), Trouble> {
        let plan = self.plan;
        let mut drawn = 0;
        for (b, f) in plan.blocks.iter().zip(factors.iter_mut()) {
            if let Form::Raw(_) = b.form {
                self.climb(b, f)?;
            } else if let (Form::Drawn(_), Factor::Drawn(own)) = (&b.form, &mut *f) {
                self.follow(b, own, drawn)?;
                drawn += own.len();
            } else {
                let value = self.value_grad();
                if !value.is_finite() {
                    return Err(Trouble::not_finite(&b.names[0]));
                }
                f.update(&b.form, b.point, &self.gradient)?;
            }
            f.expect(&b.form, b.point, &mut self.statistics);
        }
        Ok(())
    }

    /// The lower bound: exact.
    fn bound(&mut self, factors: &[Factor]) -> Result<f64, Trouble> {
        let value = self.value();
        let blocks = self.plan.blocks.iter().zip(factors).filter(|(b, _)| !b.point);
        let bound = value + blocks.map(|(b, f)| f.entropy(&b.form)).sum::<f64>();
        if bound.is_finite() { Ok(bound) } else { Err(Trouble::not_finite(&self.plan.blocks[0].names[0])) }
    }

    /// Points whose scale goes to 0: the likelihood has no maximum.
    fn watch(&self, factors: &[Factor], first: &mut Vec<(String, f64)>) -> Result<(), Trouble> {
        let mut now = vec![];
        for (b, f) in self.plan.blocks.iter().zip(factors).filter(|(b, _)| b.point) {
            scales(&b.form, f, &mut now);
        }
        if first.is_empty() {
            *first = now;
            return Ok(());
        }
        match now.iter().zip(first.iter()).find(|(a, b)| a.1 < COLLAPSED * b.1) {
            Some((a, _)) => Err(Trouble::unbounded(&a.0)),
            None => Ok(()),
        }
    }

    /// Steps on points that have no closed form, up the bound itself.
    fn climb(&mut self, block: &Block, factor: &mut Factor) -> Result<(), Trouble> {
        let (Form::Raw(cells), Factor::Raw(own)) = (&block.form, factor) else { unreachable!("looked at before") };
        let start: Vec<f64> = cells.iter().zip(own.iter()).map(|(c, x)| c.range.free(*x)).collect();
        let mut climb = Climb { state: self, cells };
        let mut at = Pause::at(&mut climb, &start);
        if !at.is_finite() {
            return Err(Trouble::not_finite(&block.names[0]));
        }
        let limits = Limits { tolerance: 1e-9, iterations: INNER };
        let mut steps = 0;
        minimise(&mut climb, &mut at, limits, &mut |_, _| {
            steps += 1;
            steps > INNER
        });
        for ((c, x), u) in cells.iter().zip(own.iter_mut()).zip(at.x()) {
            *x = c.range.value(*u);
        }
        Ok(())
    }

    /// Steps on normals without a closed form, up the bound over their draws. `first`: where they stand among all.
    fn follow(&mut self, block: &Block, own: &mut [(f64, f64)], first: usize) -> Result<(), Trouble> {
        let start: Vec<f64> = own.iter().map(|s| s.0).chain(own.iter().map(|s| s.1)).collect();
        let n = own.len();
        let mut follow = Follow { state: self, first };
        let mut at = Pause::at(&mut follow, &start);
        if !at.is_finite() {
            return Err(Trouble::not_finite(&block.names[0]));
        }
        let mut steps = 0;
        minimise(&mut follow, &mut at, Limits { tolerance: 1e-9, iterations: INNER }, &mut |_, _| {
            steps += 1;
            steps > INNER
        });
        let (means, logs) = at.x().split_at(n);
        own.iter_mut().zip(means.iter().zip(logs)).for_each(|(s, (m, l))| *s = (*m, *l));
        self.drawn.spread[first..first + n].copy_from_slice(own);
        Ok(())
    }

    fn note(&mut self, start: usize, sweep: usize, bound: f64) {
        let row = Progress {
            stage: Stage::Ascent,
            start,
            iteration: sweep,
            gradients: 0,
            objective: -bound,
            gradient_norm: 0.0,
            seconds: self.began.elapsed().as_secs_f64(),
        };
        self.trace.push(row);
        (self.progress)(&row);
    }

    fn report(mut self, runs: Vec<Run>, starts: usize) -> Fit {
        // Over the draws that were followed the bound is a little too high.
        let (elbo, elbo_se) = match self.drawn.is_empty() {
            true => (runs[0].bound, 0.0),
            false => {
                self.write(&runs[0].factors);
                let (value, se) = self.drawn.fresh(self.options.seed, &mut *self.evaluator, &mut self.statistics);
                let blocks = self.plan.blocks.iter().zip(&runs[0].factors).filter(|(b, _)| !b.point);
                (value + blocks.map(|(b, f)| f.entropy(&b.form)).sum::<f64>(), se)
            }
        };
        let target = self.plan.target;
        let names = target.names();
        let of = |run: &Run| Arc::new(Factors::new(self.plan.blocks.clone(), run.factors.clone(), names.len()));
        let approximations: Vec<Arc<Factors>> = runs.iter().map(of).collect();
        let best = &runs[0];
        let (mean, sds) = (approximations[0].mean().to_vec(), approximations[0].sds().to_vec());
        let apart = |other: &Factors| {
            let scaled = |i: usize| {
                let scale = if sds[i] > 0.0 { sds[i] } else { 1.0 };
                (other.mean()[i] - mean[i]).abs() / scale
            };
            (0..mean.len()).map(|i| (scaled(i), i)).fold((0.0, 0), |a, b| if b.0 > a.0 { b } else { a })
        };
        let mut summaries: Vec<StartSummary> = runs
            .iter()
            .zip(&approximations)
            .map(|(run, a)| {
                // What is exactly as good is the same mode with other labels.
                let same = (run.bound - best.bound).abs() <= SAME * best.bound.abs().max(1.0);
                let (distance, furthest) = if same { (0.0, 0) } else { apart(a) };
                let converged = run.reason.is_convergence();
                let (objective, iterations) = (-run.bound, run.sweeps);
                StartSummary { start: run.start, objective, distance, furthest, iterations, converged }
            })
            .collect();
        for start in 0..starts {
            if summaries.iter().all(|s| s.start != start) {
                summaries.push(StartSummary::failed(start));
            }
        }
        let others = runs.iter().zip(&approximations).skip(1).map(|(r, a)| (r.start, a.clone() as _)).collect();
        Fit {
            guide: GuideKind::MeanField,
            method: self.options.method,
            ran: None,
            names,
            points: target.points(),
            mean,
            scale: Scale::Implicit,
            elbo,
            elbo_se,
            mean_error: 0.0,
            converged: best.reason.is_convergence(),
            stop_reason: match best.reason {
                StopReason::Converged if self.points_only() => StopReason::AtMode,
                StopReason::Converged => StopReason::FactorsStill,
                ref other => other.clone(),
            },
            gradients: if self.drawn.is_empty() { 0 } else { self.evaluations },
            log_joints: self.evaluations,
            non_finite: 0,
            first_lost: None,
            draws: self.drawn.draws(),
            starts: summaries,
            trace: self.trace,
            seconds: self.began.elapsed().as_secs_f64(),
            unsaved: None,
            approximation: approximations[0].clone(),
            modes: vec![],
            bent: None,
            sds_from: SdsFrom::Guide,
            definite: None,
            decrement: None,
            others,
        }
    }
}

/// The negative expected log joint along the coordinates of points.
struct Climb<'s, 'a, 'p> {
    state: &'s mut State<'a, 'p>,
    cells: &'s [super::RawCell],
}

impl Function for Climb<'_, '_, '_> {
    fn value_grad(&mut self, x: &[f64], gradient: &mut [f64]) -> f64 {
        for (c, u) in self.cells.iter().zip(x) {
            self.state.statistics[c.input] = c.range.value(*u);
        }
        let value = self.state.value_grad();
        for ((c, u), g) in self.cells.iter().zip(x).zip(gradient) {
            *g = -self.state.gradient[c.input] * c.range.slope(c.range.value(*u));
        }
        if value.is_finite() { -value } else { f64::INFINITY }
    }
}

/// The negative bound along means and log sds of normals without a closed form.
struct Follow<'s, 'a, 'p> {
    state: &'s mut State<'a, 'p>,
    first: usize,
}

impl Function for Follow<'_, '_, '_> {
    fn value_grad(&mut self, x: &[f64], gradient: &mut [f64]) -> f64 {
        let n = x.len() / 2;
        let (means, logs) = x.split_at(n);
        let own = &mut self.state.drawn.spread[self.first..self.first + n];
        own.iter_mut().zip(means.iter().zip(logs)).for_each(|(s, (m, l))| *s = (*m, *l));
        let value = self.state.value_grad() + logs.iter().sum::<f64>();
        for i in 0..n {
            gradient[i] = -self.state.drawn.by_mean[self.first + i];
            gradient[n + i] = -self.state.drawn.by_log[self.first + i] - 1.0;
        }
        if value.is_finite() { -value } else { f64::INFINITY }
    }
}
