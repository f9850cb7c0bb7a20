//! Probabilities of discrete latents after a fit in batches: those of each batch's cells, given draws of the rest.

use std::ops::Range;

use super::compile::probing;
use super::draws::{MOST_CELLS, MOST_NUMBERS, Placed, put};
use super::{Batches, Feeding};
use crate::derive::Purpose;
use crate::driver::Compiled;
use crate::driver::discrete::{Average, doubts, first_value, is_drawn, largest, reported, sizes};
use crate::hir::{Discrete, VarId};
use crate::infer::Target;
use crate::infer::batches::{Batch, Plan, Rows};
use crate::report::FitReport;

/// Draws that probabilities are averaged over.
const DRAWS: usize = 1000;
const FEWEST: usize = 100;

/// Add every discrete latent of rows to a report, over draws of all other latents. A draw of what all rows share is the same in every
/// batch.
pub(in crate::driver) fn describe_discrete(
    compiled: &Compiled,
    batches: &Batches,
    plan: &Plan,
    place: Placed<'_>,
    report: &mut FitReport,
) {
    let mut of_rows = vec![];
    for d in compiled.hir.discrete.iter().filter(|d| batches.dim(&compiled.hir, d.var).is_some()) {
        let cells = sizes(compiled, d).0;
        if cells <= MOST_CELLS && batches.in_memory {
            of_rows.push(d);
            continue;
        }
        let name = &compiled.hir.var(d.var).name;
        let why = if batches.in_memory { format!("it has {cells} cells") } else { "its rows are kept on disk".into() };
        report.doubts.push(format!("Probabilities of `{name}` are not reported: {why}. `vic encode` gives them."));
    }
    let cells: usize = of_rows.iter().map(|d| sizes(compiled, d)).map(|(cells, values)| cells * values).sum();
    let draws = match batches.coordinates().has_latents() {
        true => (MOST_NUMBERS / cells.max(1)).clamp(FEWEST, DRAWS).min(report.draws.max(1)),
        // All draws of params are the same.
        false => 1,
    };
    let mut scene = Scene { compiled, batches, plan, place, draws };
    let (drawn, summed): (Vec<&Discrete>, Vec<&Discrete>) =
        of_rows.iter().partition(|d| is_drawn(&compiled.hir, d.var));
    let mut found: Vec<(VarId, Vec<f64>, Vec<usize>)> = vec![];
    if !summed.is_empty() {
        let probabilities = scene.probed(&summed, Purpose::Probabilities);
        let path = scene.probed(&summed, Purpose::Path);
        for ((d, p), path) in summed.iter().zip(probabilities).zip(path) {
            // Where the log joint is not finite at the mean of the draws, each cell by itself.
            let path: Vec<f64> = path.iter().zip(&p).map(|(x, p)| if x.is_finite() { *x } else { *p }).collect();
            let most = largest(&path, sizes(compiled, d).0);
            found.push((d.var, p, most));
        }
    }
    if !drawn.is_empty() {
        for (d, p) in drawn.iter().zip(scene.shares(&drawn)) {
            let most = largest(&p, sizes(compiled, d).0);
            found.push((d.var, p, most));
        }
    }
    for d in of_rows {
        let own = found.iter().position(|f| f.0 == d.var).expect("each is summed out or drawn");
        let (_, p, most) = found.swap_remove(own);
        report.discrete.extend(reported(compiled, d, p, most));
    }
    report.doubts.extend(doubts(compiled, &report.discrete));
}

struct Scene<'a> {
    compiled: &'a Compiled,
    batches: &'a Batches,
    plan: &'a Plan,
    place: Placed<'a>,
    draws: usize,
}

impl Scene<'_> {
    /// The dimensions of what is said of a latent: its plates, then its values.
    fn dims(&self, d: &Discrete) -> Vec<usize> {
        let hir = &self.compiled.hir;
        let plates = hir.var(d.var).axes.iter().map(|a| hir.axis(*a).plate).chain([d.plate]);
        plates.map(|p| self.compiled.bound.size(p)).collect()
    }

    /// Go through all rows: `each` is given a batch, in which rows that fill it up count nothing and all others 1, and a function that
    /// places a draw of it.
    fn through(&mut self, mut each: impl FnMut(&Batch, &mut dyn FnMut(usize, &mut [f64]))) {
        let order: Vec<usize> = (0..self.batches.total).collect();
        // One draw per row, whatever the steps took.
        let plan = Plan { weighing: None, ..self.plan.clone() };
        let all = order.len().div_ceil(plan.batch);
        let mut batch = Batch::default();
        for k in 0..all {
            batch.set(&plan, &order, k);
            let one = |w: &f64| if *w > 0.0 { 1.0 } else { 0.0 };
            let rows = Batch { weights: batch.weights.iter().map(one).collect(), ..batch.clone() };
            each(&rows, &mut |d, theta| (self.place)(&batch, (k, all), d, theta));
        }
    }

    /// The derivatives of the log joint along probes of these latents: probabilities, averaged over draws, or at the mean of the draws
    /// the marks of the most probable values.
    fn probed(&mut self, latents: &[&Discrete], purpose: Purpose) -> Vec<Vec<f64>> {
        let (model, probing, probes) = probing(self.compiled, self.batches, purpose);
        let (compiled, batches, draws) = (self.compiled, self.batches, self.draws);
        let (dim, all) = (compiled.layout.dim(), model.dim());
        let dims: Vec<Vec<usize>> = latents.iter().map(|d| self.dims(d)).collect();
        let mut out: Vec<Vec<f64>> = dims.iter().map(|d| vec![0.0; d.iter().product()]).collect();
        let mut feeding = Feeding::new(model.fed(), &probing);
        let place_of = |d: &&Discrete| probes.iter().find(|p| p.0 == d.var).expect("it is summed out").1.clone();
        let places: Vec<Range<usize>> = latents.iter().map(place_of).collect();
        let mut gradient = vec![0.0; all];
        let (mut theta, mut mean) = (vec![0.0; all], vec![0.0; all]);
        self.through(|batch, place| {
            feeding.take(batch);
            mean.fill(0.0);
            let mut averages: Vec<Average> = latents.iter().map(|d| Average::of(sizes(compiled, d).1)).collect();
            let mut add = |theta: &[f64]| {
                feeding.value_grad(theta, &mut gradient);
                averages.iter_mut().zip(&places).for_each(|(sum, at)| sum.add(&gradient[at.clone()]));
            };
            for d in 0..draws {
                place(d, &mut theta[..dim]);
                match purpose {
                    Purpose::Path => mean.iter_mut().zip(&theta).for_each(|(m, t)| *m += t / draws as f64),
                    _ => add(&theta),
                }
            }
            if purpose == Purpose::Path {
                add(&mean);
            }
            for (((d, dims), average), out) in latents.iter().zip(&dims).zip(&averages).zip(&mut out) {
                put(&average.mean(), dims, batches.dim(&compiled.hir, d.var), batch, 0, 1, out);
            }
        });
        out
    }

    /// How often each cell of latents that the guide draws has each value.
    fn shares(&mut self, latents: &[&Discrete]) -> Vec<Vec<f64>> {
        let (compiled, batches, draws) = (self.compiled, self.batches, self.draws);
        let dims: Vec<Vec<usize>> = latents.iter().map(|d| self.dims(d)).collect();
        let mut out: Vec<Vec<f64>> = dims.iter().map(|d| vec![0.0; d.iter().product()]).collect();
        let mut feeding = Feeding::new(compiled.model.fed(), batches);
        self.through(|batch, place| {
            feeding.take(batch);
            let mut counts: Vec<Vec<f64>> = vec![vec![]; latents.len()];
            for d in 0..draws {
                place(d, feeding.theta());
                feeding.report(|buffer| {
                    for ((latent, dims), counts) in latents.iter().zip(&dims).zip(&mut counts) {
                        let buf = compiled.layout.buffer(latent.var).expect("the guide draws it");
                        let (numbers, first) = (buffer(buf), first_value(&compiled.hir, &compiled.bound, latent));
                        let values = dims.last().copied().unwrap_or(1);
                        counts.resize(numbers.len() * values, 0.0);
                        for (c, x) in numbers.iter().enumerate() {
                            counts[c + numbers.len() * (x - first) as usize] += 1.0 / draws as f64;
                        }
                    }
                });
            }
            for (((latent, dims), counts), out) in latents.iter().zip(&dims).zip(&counts).zip(&mut out) {
                put(counts, dims, batches.dim(&compiled.hir, latent.var), batch, 0, 1, out);
            }
        });
        out
    }
}
