//! Draws of everything that is reported.

use super::Batches;
use super::feed::Feeding;
use crate::driver::posterior::{described, points, shown};
use crate::driver::{Compiled, REPORT_DRAWS, activity};
use crate::hir::VarId;
use crate::infer::batches::{Batch, Plan, Rows};
use crate::lower::graph::BufId;
use crate::report::{FitReport, ReportVar};

/// Numbers that a report keeps per draw before it keeps fewer draws.
pub(super) const MOST_NUMBERS: usize = 1_000_000;
const FEWEST_DRAWS: usize = 100;
/// Cells of what rows have to themselves whose draws are kept: a hundred million numbers would be gigabytes of text.
pub(super) const MOST_CELLS: usize = 200_000;
/// Rows by which the activity of the others' units is judged.
pub(super) const SAMPLED_ROWS: usize = 1000;

/// Where a draw of a batch is placed in theta: the batch, its number of so many, and that of the draw. Theta is as the draw before
/// left it.
pub(in crate::driver) type Placed<'a> = &'a mut dyn FnMut(&Batch, (usize, usize), usize, &mut [f64]);

/// Draws of everything that is reported, batch after batch in the order of the rows.
pub(in crate::driver) fn describe_draws(
    compiled: &Compiled,
    batches: &Batches,
    plan: &Plan,
    threads: usize,
    place: Placed<'_>,
    report: &mut FitReport,
) {
    let hir = &compiled.hir;
    let vars: Vec<VarId> = shown(compiled).into_iter().filter(|v| compiled.layout.buffer(*v).is_some()).collect();
    let mut out: Vec<_> = vars.iter().map(|v| described(compiled, *v)).collect();
    let dim = |v: &VarId| batches.dim(hir, *v);
    let totals: Vec<usize> = batches.plates().map(|p| p.1).collect();
    // Of what each of many rows has, the first rows show which units are active; the rest is left to `vic encode`.
    let mut left_out = vec![];
    for (v, var) in vars.iter().zip(&mut out) {
        let Some((d, level)) = dim(v) else { continue };
        // Of a table on disk, the first rows have labels.
        let cells = var.cells() / var.dims[d].labels.len().max(1) * totals[level];
        if cells <= MOST_CELLS && var.dims[d].labels.len() == totals[level] {
            continue;
        }
        left_out.push((*v, cells));
        let labels = &mut var.dims[d].labels;
        *labels = labels[..labels.len().min(SAMPLED_ROWS)].into();
    }
    let cells: usize = out.iter().map(|v| v.cells()).sum();
    let draws = (MOST_NUMBERS / cells.max(1)).clamp(FEWEST_DRAWS, REPORT_DRAWS);
    out.iter_mut().for_each(|v| v.draws = vec![0.0; v.cells() * draws]);
    let order: Vec<usize> = (0..batches.total).collect();
    // Neither what rows are given their latents, nor what they add to the log joint.
    let wanted: Vec<BufId> = vars.iter().filter_map(|v| compiled.layout.buffer(*v)).collect();
    let model = compiled.model.reporting(&wanted);
    let again = model.redrawing(&batches.coordinates().redrawn());
    let mut feeding = Feeding::on(threads, plan.single, &model, batches).redrawing(&again);
    let mut batch = Batch::default();
    // What all rows share is the same in every batch.
    let rows = |(v, var): (&VarId, &ReportVar)| match dim(v) {
        Some((d, 0)) => var.dims[d].labels.len(),
        // The first rows of another plate may belong to any.
        Some(_) => batches.total,
        None => 1,
    };
    let rows = vars.iter().zip(&out).map(rows).max().unwrap_or(1);
    let all = rows.div_ceil(plan.batch);
    for k in 0..all {
        batch.set(plan, &order, k);
        feeding.take(&batch);
        for d in 0..draws {
            place(&batch, (k, all), d, feeding.theta());
            feeding.report(|buffer| {
                for (v, var) in vars.iter().zip(&mut out) {
                    let Some(buf) = compiled.layout.buffer(*v) else { continue };
                    put(
                        &buffer(buf),
                        &var.dims.iter().map(|d| d.labels.len()).collect::<Vec<_>>(),
                        dim(v),
                        &batch,
                        d,
                        draws,
                        &mut var.draws,
                    );
                }
            });
        }
    }
    report.units = activity::units(compiled, &out);
    report.doubts.extend(report.units.iter().filter_map(activity::collapse));
    for (v, cells) in &left_out {
        let name = &hir.var(*v).name;
        report.doubts.push(format!("`{name}` has {cells} cells, too many to keep draws of: `vic encode` gives them."));
    }
    report.vars =
        vars.iter().zip(out).filter(|(v, _)| left_out.iter().all(|l| l.0 != **v)).map(|(_, var)| var).collect();
    report.draws = draws;
    (report.weights, report.guide_params) = points(compiled, feeding.theta());
}

/// Put a batch's numbers where the whole table has them. `dims`: of the whole; `dim`: that of the rows.
pub(super) fn put(
    numbers: &[f64],
    dims: &[usize],
    dim: Option<(usize, usize)>,
    batch: &Batch,
    draw: usize,
    draws: usize,
    out: &mut [f64],
) {
    let Some((dim, level)) = dim else {
        numbers.iter().enumerate().for_each(|(c, x)| out[c * draws + draw] = *x);
        return;
    };
    let inner: usize = dims[..dim].iter().product();
    let rows = batch.rows_of(level);
    let of = rows.len();
    for (i, x) in numbers.iter().enumerate() {
        let (low, r, high) = (i % inner, i / inner % of, i / inner / of);
        if batch.weight(level, r) > 0.0 && rows[r] < dims[dim] {
            let cell = low + inner * (rows[r] + dims[dim] * high);
            out[cell * draws + draw] = *x;
        }
    }
}
