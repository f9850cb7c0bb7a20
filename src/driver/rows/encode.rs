//! The posterior of each row's latents by the guide, and what the model expects of the row given them.

use super::evaluate::Evaluator;
use super::{Question, RowModel, has_axis, hidden};
use crate::data::Values;
use crate::diag::{Code, Diags};
use crate::hir::{AxisId, Expr, ExprKind, Hir, Index, PlateId, Step, Ty, VarId, VarKind};

/// Draws behind means and sds: pairs of a draw and its mirror image.
const PAIRS: usize = 50;
/// Draws of what all rows share behind the probabilities of rows that draw nothing themselves: as many as in a fit.
const SHARED: usize = 1000;
/// Draws behind the bounds before and after refinement.
const BOUND: usize = 100;

/// What is known of the latents of each row.
pub struct Encoded {
    pub labels: Vec<String>,
    /// The cells of one row's latents: `z[3]`.
    pub names: Vec<String>,
    /// By row, then by cell.
    pub means: Vec<Vec<f64>>,
    pub sds: Vec<Vec<f64>>,
    /// The values of one row's discrete latents: `k=a`.
    pub values: Vec<String>,
    /// By row, then by value: averaged over draws of the other latents. Not a number where the log joint is not finite at any.
    pub probabilities: Vec<Vec<f64>>,
    /// By row and draw, if draws were asked for: the cells, then the values, with their probabilities given the cells; of latents that the guide draws, 1 for
    /// the value drawn.
    pub draws: Vec<Vec<Vec<f64>>>,
    /// Observed columns as the model expects them, averaged over the draws of the latents, if asked for.
    pub expected: Vec<(VarId, Values)>,
    /// Each row's lower bound before and after refinement.
    pub bounds: Option<(Vec<f64>, Vec<f64>)>,
    /// The rows in question.
    pub model: RowModel,
}

struct OfBatch {
    means: Vec<Vec<f64>>,
    sds: Vec<Vec<f64>>,
    probabilities: Vec<Vec<f64>>,
    draws: Vec<Vec<Vec<f64>>>,
    /// By column and row: its cells.
    expected: Vec<Vec<Vec<f64>>>,
    bounds: Option<(Vec<f64>, Vec<f64>)>,
}

/// Encode rows. `draws`: of each row's latents, if any are wanted. `reconstruct`: whether to compute what is expected of the columns.
pub fn encode(question: &Question<'_>, draws: usize, reconstruct: bool, diags: &mut Diags) -> Option<Encoded> {
    let model = question.compile(true, diags)?;
    if model.latents.is_empty() && model.discrete.is_empty() {
        let table = model.hir.plate(model.plate);
        diags.push(
            Code::NO_ROW_LATENTS
                .at(table.span, format!("no latent varies over the rows of `{}`", table.name))
                .here("nothing to encode")
                .help("rows without latents are scored (`vic score`) and predicted (`vic predict`)"),
        );
        return None;
    }
    if let Some(d) = model.not_amortised() {
        diags.push(d);
        return None;
    }
    let means: Vec<(VarId, VarId)> = match reconstruct {
        true => model.columns.iter().filter_map(|(c, m)| Some((*c, (*m)?))).collect(),
        false => vec![],
    };
    let means: Vec<(VarId, VarId)> = means.into_iter().filter(|(_, m)| model.layout.buffer(*m).is_some()).collect();
    if reconstruct && means.is_empty() {
        diags.push(super::generate::no_expectation());
        return None;
    }
    let batches = model.each_batch(|e| of_batch(&model, e, draws, &means));
    let n = model.rows();
    let expected = means.iter().enumerate().map(|(k, (column, _))| {
        let cells: Vec<&Vec<f64>> = batches.iter().flat_map(|b| &b.expected[k]).collect();
        (*column, scattered(&model, *column, n, &cells))
    });
    let expected = expected.collect();
    let names = model.latents.iter().flat_map(|v| model.names_in_row(*v)).collect();
    let (labels, values) = (model.labels(), model.names_of_values());
    let (means, sds, probabilities, draws) = (vec![], vec![], vec![], vec![]);
    let mut out = Encoded { labels, names, means, sds, values, probabilities, draws, expected, bounds: None, model };
    let mut bounds = None;
    for b in batches {
        out.means.extend(b.means);
        out.sds.extend(b.sds);
        out.probabilities.extend(b.probabilities);
        out.draws.extend(b.draws);
        if let Some((before, after)) = b.bounds {
            let all: &mut (Vec<f64>, Vec<f64>) = bounds.get_or_insert_with(Default::default);
            all.0.extend(before);
            all.1.extend(after);
        }
    }
    out.bounds = bounds;
    let of_row = [&out.means, &out.sds, &out.probabilities];
    let refined = |r: usize| out.bounds.as_ref().is_none_or(|(_, after)| after[r].is_finite());
    let finite = |r: usize| refined(r) && of_row.iter().all(|v| v[r].iter().all(|x| x.is_finite()));
    diags.list.extend(out.model.not_finite("posterior", finite));
    Some(out)
}

fn of_batch(model: &RowModel, e: &mut Evaluator<'_>, draws: usize, means: &[(VarId, VarId)]) -> OfBatch {
    let own = e.own;
    let bounds = (model.refine > 0).then(|| {
        let before = model.bounds(e, "bound", BOUND);
        model.refine(e);
        (before[..own].to_vec(), model.bounds(e, "bound", BOUND)[..own].to_vec())
    });
    let wanted: Vec<VarId> = model.latents.iter().copied().chain(means.iter().map(|m| m.1)).collect();
    let mut moments: Vec<Vec<Vec<Moments>>> = vec![vec![vec![]; own]; wanted.len()];
    let mut out = vec![];
    let noises = balanced(model, e);
    if !wanted.is_empty() {
        each_draw(model, e, &noises, &mut |e| {
            e.weigh(&wanted, &mut out);
            for ((v, numbers), into) in wanted.iter().zip(&out).zip(&mut moments) {
                for (row, into) in into.iter_mut().enumerate() {
                    let cells = e.row_of(*v, numbers, row);
                    into.resize(cells.len(), Moments::default());
                    into.iter_mut().zip(cells).for_each(|(m, x)| m.add(x));
                }
            }
        });
    }
    let probabilities = match model.discrete.is_empty() {
        true => vec![vec![]; own],
        false => model.probabilities(e, |e, add| each_draw(model, e, &noises, add)),
    };
    let latents = model.latents.len();
    let of = |row: usize, f: fn(&Moments) -> f64| {
        moments[..latents].iter().flat_map(|v| v[row].iter().map(f)).collect::<Vec<f64>>()
    };
    let expected =
        moments[latents..].iter().map(|v| v.iter().map(|row| row.iter().map(|m| m.mean).collect()).collect());
    let mut drawn = vec![vec![]; if draws > 0 { own } else { 0 }];
    let mut streams = model.streams("draws", &e.batch.rows);
    let mut numbers = vec![];
    for d in 0..draws {
        e.share(d * model.shared.draws / draws);
        e.coordinates.row_noise(&mut streams, &mut e.z);
        e.weigh(&model.latents, &mut numbers);
        for (row, into) in drawn.iter_mut().enumerate() {
            let cells = model.latents.iter().zip(&numbers).flat_map(|(v, n)| e.row_of(*v, n, row));
            into.push(cells.collect::<Vec<f64>>());
        }
        let values = if model.discrete.is_empty() { vec![] } else { model.drawn_values(e) };
        for (into, values) in drawn.iter_mut().zip(values) {
            into.last_mut().expect("just pushed").extend(values);
        }
    }
    OfBatch {
        means: (0..own).map(|r| of(r, |m| m.mean)).collect(),
        sds: (0..own).map(|r| of(r, |m| m.sd())).collect(),
        probabilities,
        draws: drawn,
        expected: expected.collect(),
        bounds,
    }
}

/// Go through the draws that are averaged over: pairs of a draw and its mirror image; for rows that draw nothing, those of what all rows
/// share.
fn each_draw(model: &RowModel, e: &mut Evaluator<'_>, noises: &[Vec<f64>], f: &mut dyn FnMut(&mut Evaluator<'_>)) {
    let all = if noises.is_empty() { model.shared.draws.min(SHARED) } else { noises.len() };
    for d in 0..all {
        e.share(d * model.shared.draws / all);
        let Some(noise) = noises.get(d) else {
            f(e);
            continue;
        };
        for sign in [1.0, -1.0] {
            e.z.iter_mut().zip(noise).for_each(|(z, n)| *z = sign * n);
            f(e);
        }
    }
}

/// Noise whose mean square is 1 in every cell: with each draw and its mirror image, the means and sds of normals are exact.
fn balanced(model: &RowModel, e: &mut Evaluator<'_>) -> Vec<Vec<f64>> {
    if !e.coordinates.has_row_latents() {
        return vec![];
    }
    let mut streams = model.streams("encode", &e.batch.rows);
    let mut all: Vec<Vec<f64>> = (0..PAIRS)
        .map(|_| {
            e.coordinates.row_noise(&mut streams, &mut e.z);
            e.z.clone()
        })
        .collect();
    for cell in 0..e.z.len() {
        let square = all.iter().map(|z| z[cell] * z[cell]).sum::<f64>() / PAIRS as f64;
        if square > 0.0 {
            all.iter_mut().for_each(|z| z[cell] /= square.sqrt());
        }
    }
    all
}

/// Mean and sum of squares about it (Welford 1962).
#[derive(Clone, Copy, Debug, Default)]
struct Moments {
    n: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    fn add(&mut self, x: f64) {
        self.n += 1.0;
        let before = x - self.mean;
        self.mean += before / self.n;
        self.squares += before * (x - self.mean);
    }

    /// The noise has exactly unit squares: the sum is divided by all of them.
    fn sd(&self) -> f64 {
        (self.squares / self.n).sqrt()
    }
}

/// Cells row by row, as the numbers of a column of all rows.
pub(super) fn scattered(model: &RowModel, column: VarId, n: usize, rows: &[&Vec<f64>]) -> Values {
    let axes = &model.hir.var(column).axes;
    let size = |a: &AxisId| {
        let plate = model.hir.axis(*a).plate;
        if plate == model.plate { n } else { model.bound.size(plate) }
    };
    let dims: Vec<usize> = axes.iter().map(size).collect();
    let inner: usize = dims[..model.dim(column).unwrap_or(0)].iter().product();
    let mut numbers = vec![0.0; dims.iter().product()];
    for (r, cells) in rows.iter().enumerate() {
        for (i, x) in cells.iter().enumerate() {
            numbers[i % inner + inner * (r + n * (i / inner))] = *x;
        }
    }
    Values { dims, numbers: numbers.into() }
}

impl RowModel {
    /// Names of the cells that one row has of a variable: `z[3]`, or `a` for one that each row has one of.
    pub fn names_in_row(&self, var: VarId) -> Vec<String> {
        let v = self.hir.var(var);
        let others: Vec<_> = v.axes.iter().map(|a| self.hir.axis(*a).plate).filter(|p| *p != self.plate).collect();
        let mut names = vec![String::new()];
        for plate in &others {
            let labels = &self.bound.plate(*plate).labels;
            let longer = |label: &String| {
                let comma = |n: &String| if n.is_empty() { label.clone() } else { format!("{n}, {label}") };
                names.iter().map(comma).collect::<Vec<_>>()
            };
            names = labels.iter().flat_map(longer).collect();
        }
        let name = |n: String| if others.is_empty() { v.name.clone() } else { format!("{}[{n}]", v.name) };
        names.into_iter().map(name).collect()
    }
}

/// Add the expected value of each observed column of the rows as a variable that is reported, where its distribution has one.
pub(super) fn expectations(hir: &mut Hir, plate: PlateId) -> Vec<(VarId, Option<VarId>)> {
    let mut out = vec![];
    for step in hir.steps.clone() {
        let Step::Observe { target, dist, span, .. } = step else { continue };
        let Some(column) = crate::simulate::column(hir, &target) else { continue };
        if !has_axis(hir, column, plate) || !matches!(hir.var(column).kind, VarKind::Column(_)) {
            continue;
        }
        let mean = plain_axes(&target).zip(dist.mean.clone()).filter(|_| dist.log_kept.is_none());
        let var = mean.map(|(axes, mean)| {
            let value = dist.args.iter().rev().fold(mean, |body, (local, _, value)| {
                let (ty, axes, span) = (body.ty, super::union(&body.axes, &value.axes), body.span);
                let kind = ExprKind::Bind { local: *local, value: Box::new(value.clone()), body: Box::new(body) };
                Expr { kind, ty, axes, span }
            });
            let name = format!("expected {}", hir.var(column).name);
            let var = hidden(hir, &name, axes, VarKind::Report);
            hir.steps.push(Step::Let { var, value, span });
            hir.reports.push(var);
            var
        });
        out.push((column, var));
    }
    out
}

/// The axes of a column that is observed as it is.
pub(super) fn plain_axes(target: &Expr) -> Option<Vec<AxisId>> {
    let ExprKind::Read { index, .. } = &target.kind else { return None };
    let axis = |i: &Index| if let Index::Axis(a) = i { Some(*a) } else { None };
    (target.ty != Ty::Key).then(|| index.iter().map(axis).collect())?
}
