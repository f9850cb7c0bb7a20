//! What is known of discrete latents after a fit: probabilities per cell, and the most probable configuration.

use super::Compiled;
use crate::data::Bound;
use crate::derive::{self, Purpose};
use crate::diag::{Diags, counted};
use crate::hir::{Discrete, Hir, Ty, VarId};
use crate::infer;
use crate::lower;
use crate::report::{Dim, ReportDiscrete};
use crate::run::Model;

/// Draws that probabilities are averaged over: their error is at most 0.5 / √1000 = 0.016.
const DRAWS: usize = 1000;

/// Every discrete latent, at draws of the unconstrained others.
pub fn discrete(compiled: &Compiled, theta: &[f64]) -> Vec<ReportDiscrete> {
    if compiled.hir.discrete.is_empty() {
        return vec![];
    }
    let dim = compiled.layout.dim();
    let thinned: Vec<f64> =
        theta.chunks_exact(dim.max(1)).step_by((theta.len() / dim.max(1) / DRAWS).max(1)).flatten().copied().collect();
    let mean: Vec<f64> =
        (0..dim).map(|i| theta[i..].iter().step_by(dim).sum::<f64>() / (theta.len() / dim) as f64).collect();
    let hir = &compiled.hir;
    let (probabilities, path) = match hir.discrete.iter().all(|d| is_drawn(hir, d.var)) {
        true => (vec![], vec![]),
        false => (probed(compiled, Purpose::Probabilities, &thinned), probed(compiled, Purpose::Path, &mean)),
    };
    let mut at = 0;
    let mut out = vec![];
    for d in &hir.discrete {
        let (cells, values) = sizes(compiled, d);
        if is_drawn(hir, d.var) {
            let probabilities = shares(compiled, d, theta, cells, values);
            let most_probable = largest(&probabilities, cells);
            out.extend(reported(compiled, d, probabilities, most_probable));
            continue;
        }
        let span = at..at + cells * values;
        at = span.end;
        out.extend(reported(compiled, d, probabilities[span.clone()].to_vec(), largest(&path[span], cells)));
    }
    out
}

/// Whether the guide draws a discrete latent.
pub(super) fn is_drawn(hir: &Hir, var: VarId) -> bool {
    hir.written.as_ref().is_some_and(|w| w.draws(var))
}

/// How many cells and values a discrete latent has.
pub(super) fn sizes(compiled: &Compiled, d: &Discrete) -> (usize, usize) {
    let size = |p| compiled.bound.size(p);
    let axes = compiled.hir.var(d.var).axes.iter();
    (axes.map(|a| size(compiled.hir.axis(*a).plate)).product(), size(d.plate))
}

/// Averages of the probabilities of a discrete latent's values: those of value `v` of cell `c` stand at `c + cells * v`. Draws at
/// which a cell has none, since the log joint is not finite there, count for nothing in it.
pub(super) struct Average {
    values: usize,
    sums: Vec<f64>,
    /// By cell.
    counts: Vec<f64>,
}

impl Average {
    /// Of a latent with so many values, before the first draw.
    pub fn of(values: usize) -> Average {
        Average { values, sums: vec![], counts: vec![] }
    }

    pub fn add(&mut self, p: &[f64]) {
        let cells = p.len() / self.values.max(1);
        self.sums.resize(p.len(), 0.0);
        self.counts.resize(cells, 0.0);
        for (c, count) in self.counts.iter_mut().enumerate() {
            let own = || (c..p.len()).step_by(cells);
            if own().all(|i| p[i].is_finite()) && own().any(|i| p[i] > 0.0) {
                own().for_each(|i| self.sums[i] += p[i]);
                *count += 1.0;
            }
        }
    }

    /// Not a number where no draw has any.
    pub fn mean(&self) -> Vec<f64> {
        let cells = self.counts.len();
        self.sums.iter().enumerate().map(|(i, s)| s / self.counts[i % cells]).collect()
    }
}

/// Per cell the value with the largest number, the first of equals; value `v` of cell `c` stands at `c + cells * v`.
pub(super) fn largest(numbers: &[f64], cells: usize) -> Vec<usize> {
    let values = numbers.len() / cells.max(1);
    let more = |c: usize, best: usize, v: usize| numbers[c + cells * v] > numbers[c + cells * best];
    (0..cells).map(|c| (1..values).fold(0, |best, v| if more(c, best, v) { v } else { best })).collect()
}

/// A discrete latent as a report has it: of a column with missing cells, these alone.
pub(super) fn reported(
    compiled: &Compiled,
    d: &Discrete,
    probabilities: Vec<f64>,
    most_probable: Vec<usize>,
) -> Option<ReportDiscrete> {
    let (hir, v) = (&compiled.hir, compiled.hir.var(d.var));
    let plate = |p: crate::hir::PlateId| compiled.bound.plate(p);
    let dim = |p| Dim { plate: hir.plate(p).name.clone(), labels: plate(p).labels.clone() };
    let values = plate(d.plate).labels.to_vec();
    let held = hir.missing.iter().find(|m| m.cells == d.var);
    let Some((m, column)) = held.and_then(|m| Some((m, compiled.bound.values.get(&m.column)?))) else {
        let dims = v.axes.iter().map(|a| dim(hir.axis(*a).plate)).collect();
        return Some(ReportDiscrete { name: v.name.clone(), dims, values, probabilities, most_probable });
    };
    let (empty, cells) = (column.missing(), most_probable.len());
    if empty.is_empty() {
        return None;
    }
    let kept = (0..values.len()).flat_map(|v| empty.iter().map(move |c| (v, c)));
    let probabilities = kept.map(|(v, c)| probabilities[c + cells * v]).collect();
    let most_probable = empty.iter().map(|&c| most_probable[c]).collect();
    Some(ReportDiscrete { name: v.name.clone(), dims: vec![dim(m.plate)], values, probabilities, most_probable })
}

/// The number at the first value of a latent that the guide draws: labels of numbers are these numbers; other values are drawn by their
/// position.
pub(super) fn first_value(hir: &Hir, bound: &Bound, d: &Discrete) -> f64 {
    match hir.var(d.var).ty {
        Ty::Int => bound.plate(d.plate).labels.first().and_then(|v| v.parse::<f64>().ok()).unwrap_or(0.0),
        Ty::Real | Ty::Bool | Ty::Index(_) | Ty::Key | Ty::Date => 0.0,
    }
}

/// How often each cell of a latent that the guide draws has each value.
fn shares(compiled: &Compiled, d: &Discrete, theta: &[f64], cells: usize, values: usize) -> Vec<f64> {
    let dim = compiled.layout.dim();
    let mut counts = vec![0.0; cells * values];
    let first = first_value(&compiled.hir, &compiled.bound, d);
    let mut reporter = compiled.model.reporter();
    let buffer = compiled.layout.buffer(d.var).expect("the guide draws it");
    for row in theta.chunks_exact(dim.max(1)) {
        reporter.run(row);
        for (c, x) in reporter.buffer(buffer).iter().enumerate() {
            counts[c + cells * (x - first) as usize] += 1.0;
        }
    }
    let rows = (theta.len() / dim.max(1)) as f64;
    counts.iter().map(|n| n / rows).collect()
}

/// The mean derivatives of the log joint along its probes, in the order of the discrete latents.
fn probed(compiled: &Compiled, purpose: Purpose, draws: &[f64]) -> Vec<f64> {
    let mut hir = compiled.hir.clone();
    let joint = derive::joint_for(&mut hir, purpose, &lower::known_size(&compiled.bound));
    let lowered = lower::lower(&hir, &joint, &compiled.bound, &mut Diags::default());
    let (graph, layout) = lowered.expect("the same model has been lowered for the fit");
    let model = Model::new(graph, layout.theta_names(&compiled.bound), layout.points(), layout.start().to_vec());
    infer::probed(&model, draws, compiled.layout.dim())
}

/// Latents that have no probabilities in some cells.
fn unknown(found: &[ReportDiscrete]) -> impl Iterator<Item = String> {
    found.iter().filter_map(|z| {
        let without = |c: &usize| (0..z.values.len()).any(|v| z.probability(*c, v).is_nan());
        let cells: Vec<usize> = (0..z.cells()).filter(without).collect();
        let first = z.cell_name(*cells.first()?);
        let (n, all) = (cells.len(), counted(z.cells(), "cell"));
        let such = if n == 1 { "" } else { "such as " };
        Some(format!(
            "The probabilities of `{}` are not known in {n} of its {all}, {such}`{first}`: the log joint is not finite there at any draw.",
            z.name
        ))
    })
}

/// What is doubtful in what is said of discrete latents.
pub(super) fn doubts(compiled: &Compiled, found: &[ReportDiscrete]) -> Vec<String> {
    cut_short(compiled, found).into_iter().chain(unknown(found)).collect()
}

/// Counts whose priors were cut where these have next to no mass, and whose posteriors have some there.
fn cut_short(compiled: &Compiled, found: &[ReportDiscrete]) -> Vec<String> {
    const SOME: f64 = 1e-6;
    let cut = |name: &str| compiled.hir.discrete.iter().any(|d| d.cut && compiled.hir.var(d.var).name == name);
    let doubt = |z: &ReportDiscrete| {
        let last = z.values.len().checked_sub(1)?;
        let cell = (0..z.cells()).max_by(|&a, &b| z.probability(a, last).total_cmp(&z.probability(b, last)))?;
        let p = z.probability(cell, last);
        (p > SOME).then(|| {
            format!(
                "`{}` is {} with probability {p:.1e}, the largest count that was summed: its prior has less than 1e-12 above, and the data ask for more.",
                z.cell_name(cell),
                z.values[last]
            )
        })
    };
    found.iter().filter(|z| cut(&z.name)).filter_map(doubt).collect()
}
