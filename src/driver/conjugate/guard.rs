//! The guard: at a few points the rewritten log joint is the model's.

use std::collections::BTreeMap;

use crate::derive::statistics::{Function, Obstacle, Statistic, StatisticKind, Statistics};
use crate::driver::Compiled;
use crate::hir::VarId;
use crate::infer::{Stream, Target};
use crate::lower::{self, Layout, Place};
use crate::prim::matrix;
use crate::run::Model;

/// Points at which the rewritten log joint is compared with the model's, and how far apart they may be, relative to it.
const GUARDED: usize = 5;
const AGREES: f64 = 1e-9;

/// Every latent and param on its own scale, at a point of the unconstrained one.
pub(super) fn values_at(centred: &Compiled, theta: &[f64]) -> BTreeMap<VarId, Vec<f64>> {
    let mut reporter = centred.model.reporter();
    reporter.run(theta);
    let all = (0..centred.hir.vars.len() as u32).map(VarId).filter(|v| centred.hir.is_unknown(*v));
    all.filter_map(|v| Some((v, reporter.buffer(centred.layout.buffer(v)?).to_vec()))).collect()
}

/// The guard: at a few points the rewritten log joint is the model's.
pub(super) fn agrees(
    centred: &Compiled,
    (own, places): &(Model, Vec<(VarId, usize)>),
    expected: &Model,
    layout: &Layout,
    found: &Statistics,
) -> Result<(), Obstacle> {
    let names = centred.model.names();
    let (mut a, mut b) = (own.evaluator(), expected.evaluator());
    for n in 0..GUARDED {
        let theta: Vec<f64> = names.iter().map(|name| 0.5 * Stream::at(1, "guard", name, n).normal()).collect();
        let values = values_at(centred, &theta);
        let mut input = vec![0.0; own.dim()];
        for (v, at) in places {
            input[*at..at + values[v].len()].copy_from_slice(&values[v]);
        }
        let raw = a.value(&input);
        let rewritten = b.value(&at_point(centred, layout, found, &values, expected.dim()));
        let apart = (raw - rewritten).abs();
        if raw.is_finite() && (apart.is_nan() || apart > AGREES * raw.abs().max(1.0)) {
            let why = format!("cannot be taken apart: expanded it is {rewritten}, and should be {raw}");
            return Err(Obstacle { vars: vec![], why });
        }
    }
    Ok(())
}

/// The statistics of a point.
fn at_point(
    centred: &Compiled,
    layout: &Layout,
    found: &Statistics,
    values: &BTreeMap<VarId, Vec<f64>>,
    dim: usize,
) -> Vec<f64> {
    let mut out = vec![0.0; dim];
    for u in &found.joint.unconstrained {
        if let (Some(place), true) = (layout.place(u.slot), found.raw.contains(&u.var)) {
            out[place.offset..place.offset + place.len()].copy_from_slice(&values[&u.var]);
        }
    }
    for s in &found.statistics {
        let Some(place) = layout.place(s.slot) else { continue };
        match &s.kind {
            StatisticKind::Of(v, f @ (Function::LogRoot | Function::Inverse)) => {
                let rows = place.dims.last().copied().unwrap_or(1);
                of_matrices(*f, &values[v], rows, &mut out[place.offset..place.offset + place.len()]);
            }
            StatisticKind::Of(v, f) => {
                out[place.offset..].iter_mut().zip(&values[v]).for_each(|(o, x)| *o = f.at(*x));
            }
            StatisticKind::Product { first, second, .. } => {
                for (at, i, j) in pairs(centred, place, s) {
                    out[at] = values[first][i] * values[second][j];
                }
            }
        }
    }
    out
}

/// Functions of whole matrices; cell (i, j) of the matrix g is at g + groups · (i + p · j).
fn of_matrices(f: Function, x: &[f64], p: usize, out: &mut [f64]) {
    let groups = x.len() / (p * p);
    for g in 0..groups {
        let at = |n: usize| g + groups * n;
        let mut l: Vec<f64> = (0..p * p).map(|n| x[at(n)]).collect();
        if !matrix::cholesky(&mut l, p) {
            l.fill(f64::NAN);
        }
        (1..p).for_each(|c| l[c * p..c * p + c].fill(0.0));
        if f == Function::LogRoot {
            (0..p).for_each(|i| out[at(i * (p + 1))] = l[i * (p + 1)].ln());
            continue;
        }
        let mut inverse: Vec<f64> = (0..p * p).map(|n| if n % (p + 1) == 0 { 1.0 } else { 0.0 }).collect();
        matrix::solve(&l, &mut inverse, p, p, false);
        matrix::solve(&l, &mut inverse, p, p, true);
        (0..p * p).for_each(|n| out[at(n)] = inverse[n]);
    }
}

/// Each cell of a statistic of products, with the cells of the two latents.
pub(super) fn pairs(centred: &Compiled, place: &Place, s: &Statistic) -> Vec<(usize, usize, usize)> {
    let StatisticKind::Product { first, second, shared } = &s.kind else { return vec![] };
    let sizes = |v: VarId| -> Vec<usize> {
        let hir = &centred.hir;
        hir.var(v).axes.iter().map(|a| lower::plate_size(hir, &centred.bound, hir.axis(*a).plate)).collect()
    };
    let (own, theirs) = (sizes(*first), sizes(*second));
    (0..place.len())
        .map(|cell| {
            let mut rest = cell;
            let index: Vec<usize> = place
                .dims
                .iter()
                .map(|n| {
                    let i = rest % n;
                    rest /= n;
                    i
                })
                .collect();
            let (mine, mut free) = (&index[..own.len()], index[own.len()..].iter());
            let other: Vec<usize> = shared
                .iter()
                .map(|d| d.map_or_else(|| *free.next().expect("a dimension per index that is not shared"), |d| mine[d]))
                .collect();
            let flat =
                |index: &[usize], sizes: &[usize]| index.iter().zip(sizes).rev().fold(0, |at, (i, n)| at * n + i);
            (place.offset + cell, flat(mine, &own), flat(&other, &theirs))
        })
        .collect()
}
