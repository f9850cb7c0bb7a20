//! Cells that rows do not have, given those that they have: pseudo-Gibbs sampling (Rezende, Mohamed and Wierstra 2014, appendix
//! F) with importance weights (Mattei and Frellsen 2019).
//!
//! An encoder reads whole rows, so holes start at the mean of their column. Each sweep draws latents from the guide of the
//! filled row, weighs them by the cells that are known, takes one of them by its weight, and draws the holes given it. Means
//! average what is expected of the holes over the weighted draws of all sweeps: whatever stood in the holes when a latent was drawn,
//! its weight corrects for it.

use std::collections::HashMap;

use super::encode::{plain_axes, scattered};
use super::evaluate::Evaluator;
use super::{Question, RowModel, has_axis, hidden};
use crate::data::{Bound, Values};
use crate::diag::{Code, Diagnostic, Diags};
use crate::hir::{BinOp, Content, Expr, ExprKind, Hir, Index, PlateId, Step, Ty, VarId, VarKind};
use crate::infer::Stream;
use crate::simulate::{self, draw};

/// Sweeps before those that count.
const BURNED: usize = 10;
/// Latents that are drawn and weighed in a sweep.
const WEIGHED: usize = 20;

/// Completed rows.
pub struct Imputed {
    pub labels: Vec<String>,
    pub columns: Vec<ImputedColumn>,
    /// How many completed copies there are.
    pub draws: usize,
    pub model: RowModel,
}

pub struct ImputedColumn {
    pub column: VarId,
    /// 1 where the cell was given.
    pub mask: Values,
    /// Expected values of the holes; of known cells, themselves.
    pub means: Values,
    /// Completed copies.
    pub draws: Vec<Values>,
}

/// By column: expected cells of each row, and by draw the completed cells of each row.
type OfBatch = Vec<(Vec<Vec<f64>>, Vec<Vec<Vec<f64>>>)>;

/// Fill in what is missing, with so many completed copies.
pub fn impute(question: &Question<'_>, draws: usize, diags: &mut Diags) -> Option<Imputed> {
    let model = question.compile(false, diags)?;
    if let Some(d) = model.not_amortised().filter(|_| !model.latents.is_empty()) {
        diags.push(d);
        return None;
    }
    let summed = model.hir.discrete.iter().any(|d| has_axis(&model.hir, d.var, model.plate));
    let unknown = |(_, m): &&(VarId, Option<VarId>)| m.is_none_or(|m| model.layout.buffer(m).is_none());
    if let (true, Some((column, _))) = (summed, model.columns.iter().find(unknown)) {
        let v = model.hir.var(*column);
        let d =
            Code::CANNOT_IMPUTE.at(v.span, format!("`{}` depends on a discrete latent, which is summed out", v.name));
        diags.push(
            d.here("not known given the other latents").help("draw it by `vic predict`, from the rows' other cells"),
        );
        return None;
    }
    let plain = drawing(&model.hir);
    let batches = model.each_batch(|e| of_batch(&model, &plain, e, draws));
    let batches: Vec<OfBatch> = match batches.into_iter().collect() {
        Ok(all) => all,
        Err(d) => {
            let d: Diagnostic = d;
            diags.push(d);
            return None;
        }
    };
    let n = model.rows();
    let columns = model.masks.iter().enumerate().map(|(k, (column, mask))| {
        let means: Vec<&Vec<f64>> = batches.iter().flat_map(|b| &b[k].0).collect();
        let copy = |d: usize| {
            let cells: Vec<&Vec<f64>> = batches.iter().flat_map(|b| &b[k].1[d]).collect();
            scattered(&model, *column, n, &cells)
        };
        ImputedColumn {
            column: *column,
            mask: model.bound.values[mask].clone(),
            means: scattered(&model, *column, n, &means),
            draws: (0..draws).map(copy).collect(),
        }
    });
    let columns: Vec<ImputedColumn> = columns.collect();
    // Rows are the first dimension of a column.
    let finite = |r: usize| columns.iter().all(|c| c.means.numbers.iter().skip(r).step_by(n).all(|x| x.is_finite()));
    diags.list.extend(model.not_finite("imputation", finite));
    Some(Imputed { labels: model.labels(), columns, draws, model })
}

/// Data that say which cells of observed columns, `all` of them or those with holes, are known, read by their `observe`s, and something in the place of the others.
pub(super) fn mask(
    hir: &mut Hir,
    bound: &mut Bound,
    plate: PlateId,
    (observed, all): (&[VarId], bool),
    diags: &mut Diags,
) -> Option<Vec<(VarId, VarId)>> {
    let mut out = vec![];
    for &column in observed {
        if !has_axis(hir, column, plate) {
            continue;
        }
        let VarKind::Column(of) = hir.var(column).kind.clone() else { continue };
        let Some(values) = bound.values.get(&column).cloned() else { continue };
        if !all && values.numbers.iter().all(|x| !x.is_nan()) {
            continue;
        }
        let numbers = values.numbers.iter().map(|x| f64::from(u8::from(!x.is_nan()))).collect();
        let (name, axes) = (format!("known {}", hir.var(column).name), hir.var(column).axes.clone());
        let mask = hidden(hir, &name, axes, VarKind::DataValue { key: name.clone(), default: None });
        bound.values.insert(mask, Values { dims: values.dims.clone(), numbers });
        let holes = values.numbers.iter().any(|x| x.is_nan());
        let mut steps = std::mem::take(&mut hir.steps);
        for step in &mut steps {
            let Step::Observe { target, over, filter, span, .. } = step else { continue };
            if simulate::column(hir, target) != Some(column) {
                continue;
            }
            let (plain, apart) = (plain_axes(target).is_some(), over.is_empty());
            if holes && !(plain && apart) {
                let why = if plain { "its cells are drawn together" } else { "not the column itself" };
                diags.push(
                    Code::CANNOT_IMPUTE
                        .at(
                            *span,
                            format!(
                                "`{}` has holes, and the cells of a row are not observed one by one",
                                hir.var(column).name
                            ),
                        )
                        .here(why)
                        .help("observe the column itself, cell by cell"),
                );
                return None;
            }
            if let (true, true, ExprKind::Read { index, .. }) = (plain, apart, &target.kind) {
                let kind = ExprKind::Read { var: mask, index: index.clone() };
                let known = Expr { kind, ty: Ty::Bool, axes: target.axes.clone(), span: *span };
                *filter = Some(match filter.take() {
                    None => known,
                    Some(f) => {
                        let axes = super::union(&f.axes, &known.axes);
                        Expr {
                            kind: ExprKind::Binary(BinOp::And, f.into(), known.into()),
                            ty: Ty::Bool,
                            axes,
                            span: *span,
                        }
                    }
                });
            }
        }
        hir.steps = steps;
        bound.values.insert(column, started(&values, of.content));
        out.push((column, mask));
    }
    Some(out)
}

/// Holes begin at the mean of their column, or at its most frequent category.
fn started(values: &Values, content: Content) -> Values {
    let n = values.dims.first().copied().unwrap_or(1).max(1);
    let mut numbers = values.numbers.to_vec();
    for cells in numbers.chunks_mut(n) {
        let known: Vec<f64> = cells.iter().copied().filter(|x| !x.is_nan()).collect();
        let mean = known.iter().sum::<f64>() / known.len().max(1) as f64;
        let start = match content {
            Content::Real | Content::Bool => mean,
            Content::Int | Content::Date => mean.round(),
            Content::Index(_) | Content::Key => {
                let mut counts: HashMap<u64, usize> = HashMap::new();
                known.iter().for_each(|x| *counts.entry(*x as u64).or_default() += 1);
                counts
                    .into_iter()
                    .max_by_key(|(x, count)| (*count, std::cmp::Reverse(*x)))
                    .map_or(0.0, |(x, _)| x as f64)
            }
        };
        cells.iter_mut().filter(|x| x.is_nan()).for_each(|x| *x = start);
    }
    Values { dims: values.dims.clone(), numbers: numbers.into() }
}

/// The program for drawing cells: without the masks, which would leave the holes out, and without what is only computed.
fn drawing(hir: &Hir) -> Hir {
    let mut plain = hir.clone();
    let report = |v: &VarId| matches!(hir.var(*v).kind, VarKind::Report);
    plain.steps.retain(|s| !matches!(s, Step::Let { var, .. } if report(var)));
    plain.reports.clear();
    for step in &mut plain.steps {
        if let Step::Observe { filter, .. } = step {
            *filter = filter.take().and_then(|f| unmasked(hir, f));
        }
    }
    plain
}

fn unmasked(hir: &Hir, filter: Expr) -> Option<Expr> {
    let mask = |e: &Expr| match &e.kind {
        ExprKind::Read { var, index } => {
            matches!(hir.var(*var).kind, VarKind::DataValue { .. })
                && hir.var(*var).name.starts_with("known ")
                && index.iter().all(|i| matches!(i, Index::Axis(_)))
        }
        _ => false,
    };
    match filter.kind {
        _ if mask(&filter) => None,
        ExprKind::Binary(BinOp::And, a, b) if mask(&b) => Some(*a),
        _ => Some(filter),
    }
}

/// A choice among weighted draws of one row as they come: its latents, and what is expected of its columns.
#[derive(Clone, Default)]
struct Chosen {
    /// log of the sum of the weights so far.
    log_sum: f64,
    latents: Vec<Vec<f64>>,
}

/// Weighted averages as they come.
#[derive(Clone, Default)]
struct Average {
    log_most: f64,
    sum: f64,
    cells: Vec<Vec<f64>>,
}

fn of_batch(model: &RowModel, plain: &Hir, e: &mut Evaluator<'_>, draws: usize) -> Result<OfBatch, Diagnostic> {
    let (own, rows) = (e.own, e.batch.rows.len());
    let mut bound = model.bound.clone();
    bound.keep_rows(&model.hir, model.plate, &e.batch.rows);
    let columns: Vec<VarId> = model.masks.iter().map(|m| m.0).collect();
    let known: Vec<Vec<f64>> = model.masks.iter().map(|(_, m)| bound.values[m].numbers.to_vec()).collect();
    let mut filled: Vec<Vec<f64>> = columns.iter().map(|c| bound.values[c].numbers.to_vec()).collect();
    let means: Vec<Option<VarId>> = columns
        .iter()
        .map(|c| model.columns.iter().find(|m| m.0 == *c)?.1.filter(|m| model.layout.buffer(*m).is_some()))
        .collect();
    let wanted: Vec<VarId> = model.latents.iter().copied().chain(means.iter().flatten().copied()).collect();
    let latents = model.latents.len();
    let mut noise = model.streams("impute", &e.batch.rows);
    let mut picks = model.streams("pick", &e.batch.rows);
    let mut averages = vec![Average { log_most: f64::NEG_INFINITY, ..Average::default() }; rows];
    let mut copies: Vec<Vec<Vec<f64>>> = vec![vec![]; columns.len()];
    let sweeps = BURNED + draws.max(1);
    for sweep in 0..sweeps {
        e.share(sweep * model.shared.draws / sweeps);
        if model.refine > 0 {
            e.psi = e.coordinates.begin();
            model.refine(e);
        }
        let mut chosen = vec![Chosen { log_sum: f64::NEG_INFINITY, latents: vec![] }; rows];
        let mut out = vec![];
        for _ in 0..WEIGHED {
            e.coordinates.row_noise(&mut noise, &mut e.z);
            e.weigh(&wanted, &mut out);
            for row in 0..rows {
                // A draw whose weight is not a number stands only where there is no other: every row has one.
                let w = if e.log_weights[row].is_nan() { f64::NEG_INFINITY } else { e.log_weights[row] };
                let cells: Vec<Vec<f64>> = wanted.iter().zip(&out).map(|(v, n)| e.row_of(*v, n, row)).collect();
                if sweep >= BURNED {
                    averages[row].add(w, &cells[latents..]);
                }
                chosen[row].offer(w, &cells[..latents], &mut picks[row]);
            }
        }
        let mut values: HashMap<VarId, Vec<f64>> = HashMap::new();
        for (k, v) in model.latents.iter().enumerate() {
            let cells: Vec<&Vec<f64>> = chosen.iter().filter_map(|c| c.latents.get(k)).collect();
            if cells.len() == rows {
                values.insert(*v, scattered(model, *v, rows, &cells).numbers.to_vec());
            }
        }
        for ((column, numbers), known) in columns.iter().zip(&filled).zip(&known) {
            let cell = |(x, k): (&f64, &f64)| if *k == 1.0 { *x } else { f64::NAN };
            values.insert(*column, numbers.iter().zip(known).map(cell).collect());
        }
        model.shared.put_values(sweep * model.shared.draws / sweeps, &mut bound);
        let none = HashMap::new();
        let given = simulate::Given {
            hir: plain,
            bound: &bound,
            values: &values,
            kept: &none,
            counted: &HashMap::new(),
            // Every batch has noise of its own.
            seed: model.seed ^ (e.batch.rows[0] as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15),
            round: sweep as u64,
        };
        let drawn = draw(&given)?;
        for ((column, numbers), known) in columns.iter().zip(&mut filled).zip(&known) {
            let Some(cells) = drawn.observed.get(column) else { continue };
            let holes = numbers.iter_mut().zip(&cells.numbers).zip(known).filter(|(_, k)| **k != 1.0);
            holes.for_each(|((x, new), _)| *x = *new);
            e.put_column(*column, numbers);
        }
        if sweep >= BURNED && sweep - BURNED < draws {
            copies.iter_mut().zip(&filled).for_each(|(c, f)| c.push(f.clone()));
        }
    }
    let mut at = 0;
    let out = columns.iter().enumerate().map(|(k, column)| {
        let expected = |row: usize| {
            let known = e.row_of(*column, &known[k], row);
            let given = e.row_of(*column, &filled[k], row);
            let own = match means[k] {
                Some(_) => averages[row].cells.get(at).cloned().unwrap_or_else(|| vec![f64::NAN; given.len()]),
                // Without an expected value, the average of the draws.
                None => {
                    let each: Vec<Vec<f64>> = copies[k].iter().map(|c| e.row_of(*column, c, row)).collect();
                    let mean = |i: usize| each.iter().map(|c| c[i]).sum::<f64>() / each.len() as f64;
                    (0..given.len()).map(mean).collect()
                }
            };
            (0..given.len()).map(|i| if known[i] == 1.0 { given[i] } else { own[i] }).collect()
        };
        let expected: Vec<Vec<f64>> = (0..own).map(expected).collect();
        at += usize::from(means[k].is_some());
        let copy = |c: &Vec<f64>| (0..own).map(|row| e.row_of(*column, c, row)).collect();
        (expected, copies[k].iter().map(copy).collect())
    });
    Ok(out.collect())
}

impl Chosen {
    /// Take this draw in the place of the one before with the probability that its weight gives it.
    fn offer(&mut self, w: f64, latents: &[Vec<f64>], stream: &mut Stream) {
        let u = stream.uniform();
        let most = self.log_sum.max(w);
        if most == f64::NEG_INFINITY {
            if self.latents.is_empty() {
                self.latents = latents.to_vec();
            }
            return;
        }
        self.log_sum = most + ((self.log_sum - most).exp() + (w - most).exp()).ln();
        if u < (w - self.log_sum).exp() || self.latents.is_empty() {
            self.latents = latents.to_vec();
        }
    }
}

impl Average {
    fn add(&mut self, w: f64, cells: &[Vec<f64>]) {
        if w == f64::NEG_INFINITY {
            return;
        }
        if w > self.log_most {
            let shrink = (self.log_most - w).exp();
            self.sum *= shrink;
            self.log_most = w;
        }
        let weight = (w - self.log_most).exp();
        self.sum += weight;
        if self.cells.is_empty() {
            self.cells = cells.to_vec();
            return;
        }
        // A running mean: what is there already has weight `sum − weight`.
        let share = weight / self.sum;
        for (mean, new) in self.cells.iter_mut().zip(cells) {
            mean.iter_mut().zip(new).for_each(|(m, x)| *m += share * (x - *m));
        }
    }
}
