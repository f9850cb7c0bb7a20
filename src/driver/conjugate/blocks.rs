//! Which latents share a factor, of what family, and where their statistics are.

use std::collections::BTreeMap;

use super::guard::pairs;
use crate::derive::statistics::{Function, Obstacle, Statistic, StatisticKind, Statistics};
use crate::derive::{self, Purpose};
use crate::driver::Compiled;
use crate::hir::{Constraint, ExprKind, Hir, MatrixKind, VarId};
use crate::infer::conjugate::{
    BetaCell, Block, Form, Matrix, Normal, NormalCell, PowerCell, Range, RawCell, Simplex, cell_names,
};
use crate::lower::{self, Layout, Place};

/// A latent or param with what is known of it.
struct Unknown {
    var: VarId,
    point: bool,
    cells: usize,
    names: Vec<String>,
    /// Coordinates of the target.
    theta: usize,
    /// Of how many cells its last dimension has.
    last: usize,
    functions: BTreeMap<Function, usize>,
    raw: Option<usize>,
}

pub(super) fn blocks(centred: &Compiled, layout: &Layout, found: &Statistics) -> Result<Vec<Block>, Obstacle> {
    let hir = &centred.hir;
    let mut hir_again = hir.clone();
    let joint = derive::joint_for(&mut hir_again, Purpose::Fit, &lower::known_size(&centred.bound));
    let mut unknowns: Vec<Unknown> = vec![];
    for u in &joint.unconstrained {
        let Some(theta) = centred.layout.place(u.slot) else { continue };
        let var = hir.var(u.var);
        let plates: Vec<_> = var.axes.iter().map(|a| hir.axis(*a).plate).collect();
        let dims: Vec<usize> = plates.iter().map(|p| lower::plate_size(hir, &centred.bound, *p)).collect();
        let place = Place { name: var.name.clone(), dims, plates, ..theta.clone() };
        let of = |s: &&Statistic| matches!(s.kind, StatisticKind::Of(v, _) if v == u.var);
        let functions = found.statistics.iter().filter(of).filter_map(|s| match s.kind {
            StatisticKind::Of(_, f) => Some((f, layout.place(s.slot)?.offset)),
            StatisticKind::Product { .. } => None,
        });
        let input = |r: &&derive::joint::Unconstrained| r.var == u.var && found.raw.contains(&u.var);
        let raw = found.joint.unconstrained.iter().find(input).and_then(|r| Some(layout.place(r.slot)?.offset));
        unknowns.push(Unknown {
            var: u.var,
            point: u.point,
            cells: place.len(),
            names: place.cell_names(&centred.bound),
            theta: theta.offset,
            last: place.dims.last().copied().unwrap_or(1),
            functions: functions.collect(),
            raw,
        });
    }
    let mut blocks: Vec<(VarId, Block)> = vec![];
    let (normal, others): (Vec<Unknown>, Vec<Unknown>) =
        unknowns.into_iter().partition(|u| u.raw.is_none() && matches!(hir.var(u.var).constraint, Constraint::None));
    for u in others {
        blocks.push((u.var, alone(hir, &u)?));
    }
    blocks.extend(normals(centred, layout, found, &normal));
    // Latents first: before the first step on the params their expectations must be known.
    blocks.sort_by_key(|b| (b.1.point, b.0));
    Ok(blocks.into_iter().map(|b| b.1).filter(|b| !cell_names(&b.form).is_empty()).collect())
}

/// A latent that is in no product with others.
fn alone(hir: &Hir, u: &Unknown) -> Result<Block, Obstacle> {
    let var = hir.var(u.var);
    let cells = || (0..u.cells).map(|i| (i, u.theta + i, u.names[i].clone()));
    let at = |f: Function, i: usize| u.functions.get(&f).map(|o| o + i);
    let no_form = |why: &str| Obstacle { vars: vec![u.var], why: why.into() };
    let form = match &var.constraint {
        _ if u.raw.is_some() => {
            let number = |e: &crate::hir::Expr, x: f64| matches!(e.kind, ExprKind::Number(n) if n == x);
            let range = match &var.constraint {
                Constraint::None => Range::Real,
                Constraint::Lower { bound, .. } if number(bound, 0.0) => Range::Positive,
                Constraint::Interval { lower, upper, .. } if number(lower, 0.0) && number(upper, 1.0) => Range::Unit,
                _ => return Err(no_form("has a range without a closed form")),
            };
            let input = u.raw.expect("just seen");
            let cells = cells().map(|(i, theta, name)| RawCell { input: input + i, range, theta, name }).collect();
            if u.point { Form::Raw(cells) } else { Form::Drawn(cells) }
        }
        Constraint::Lower { .. } => {
            let power = u.functions.keys().find_map(|f| if let Function::Power(n) = f { Some(*n) } else { None });
            let power = power.ok_or_else(|| no_form("stands in the log joint by its logarithm only"))?;
            let cell = |(i, theta, name)| {
                let (log, value) = (at(Function::Log, i), at(Function::Power(power), i));
                PowerCell { log, value, theta, name }
            };
            Form::Power { power: f64::from(power) / 2.0, cells: cells().map(cell).collect() }
        }
        Constraint::Interval { .. } => {
            let cell = |(i, theta, name)| {
                let (log, log1m) = (at(Function::Log, i), at(Function::Log1m, i));
                BetaCell { log, log1m, theta, name }
            };
            Form::Beta(cells().map(cell).collect())
        }
        Constraint::Simplex => {
            let logs = *u.functions.get(&Function::Log).ok_or_else(|| no_form("does not stand in the log joint"))?;
            let groups = u.cells / u.last.max(1);
            // Cell (g, k) is at g + groups · k.
            let simplex = |g: usize| Simplex {
                logs: (0..u.last).map(|k| logs + g + groups * k).collect(),
                theta: (1..u.last).map(|k| u.theta + g + groups * (k - 1)).collect(),
                names: (0..u.last).map(|k| u.names[g + groups * k].clone()).collect(),
            };
            Form::Dirichlet((0..groups).map(simplex).collect())
        }
        Constraint::Matrix(MatrixKind::Cov) => {
            let inverse = u.functions.contains_key(&Function::Inverse);
            let cell = if inverse { Function::Inverse } else { Function::SELF };
            let find = |f| {
                u.functions
                    .get(&f)
                    .copied()
                    .ok_or_else(|| no_form("does not stand in the log joint by its determinant"))
            };
            let (logs, cells) = (find(Function::LogRoot)?, find(cell)?);
            let (p, groups) = (u.last, u.cells / (u.last * u.last).max(1));
            // Cell (g, i, j) is at g + groups · (i + p · j), coordinate t at g + groups · t.
            let at = |g: usize, i: usize, j: usize| g + groups * (i + p * j);
            let square = |g: usize| (0..p * p).map(move |n| at(g, n / p, n % p));
            let matrix = |g: usize| Matrix {
                rows: p,
                logs: (0..p).map(|i| logs + at(g, i, i)).collect(),
                cells: square(g).map(|n| cells + n).collect(),
                inverse,
                theta: (0..p * (p + 1) / 2).map(|t| u.theta + g + groups * t).collect(),
                names: square(g).map(|n| u.names[n].clone()).collect(),
            };
            Form::Wishart((0..groups).map(matrix).collect())
        }
        _ => return Err(no_form("has a range without a closed form")),
    };
    Ok(Block { names: vec![var.name.clone()], point: u.point, form })
}

/// Normal latents: cells that stand in products with each other have one factor.
fn normals(centred: &Compiled, layout: &Layout, found: &Statistics, all: &[Unknown]) -> Vec<(VarId, Block)> {
    let mut first = BTreeMap::new();
    let mut total = 0;
    for u in all {
        first.insert(u.var, total);
        total += u.cells;
    }
    let mut products = vec![];
    let mut vars: BTreeMap<VarId, VarId> = all.iter().map(|u| (u.var, u.var)).collect();
    for s in &found.statistics {
        let StatisticKind::Product { first: a, second: b, .. } = s.kind else { continue };
        let (Some(place), Some(i0), Some(j0)) = (layout.place(s.slot), first.get(&a), first.get(&b)) else { continue };
        products.extend(pairs(centred, place, s).into_iter().map(|(at, i, j)| (at, i0 + i, j0 + j)));
        let (low, high) = (vars[&a].min(vars[&b]), vars[&a].max(vars[&b]));
        vars.values_mut().filter(|v| **v == high).for_each(|v| *v = low);
    }
    let mut root: Vec<usize> = (0..total).collect();
    fn top(root: &mut [usize], mut i: usize) -> usize {
        while root[i] != i {
            root[i] = root[root[i]];
            i = root[i];
        }
        i
    }
    for &(_, i, j) in &products {
        let (a, b) = (top(&mut root, i), top(&mut root, j));
        root[a.max(b)] = a.min(b);
    }
    let mut out = vec![];
    for u in all.iter().filter(|u| vars[&u.var] == u.var) {
        let members: Vec<&Unknown> = all.iter().filter(|m| vars[&m.var] == u.var).collect();
        // By the smallest cell: the place of the component, and the cells' places in it.
        let mut components: BTreeMap<usize, Normal> = BTreeMap::new();
        let mut within: BTreeMap<usize, usize> = BTreeMap::new();
        for m in &members {
            let at = |f: Function, i: usize| m.functions.get(&f).map(|o| o + i);
            for i in 0..m.cells {
                let n = components.entry(top(&mut root, first[&m.var] + i)).or_default();
                within.insert(first[&m.var] + i, n.cells.len());
                let (x, square) = (at(Function::SELF, i), at(Function::SQUARE, i));
                n.cells.push(NormalCell { x, square, theta: m.theta + i, name: m.names[i].clone() });
            }
        }
        for &(at, i, j) in &products {
            if let Some(n) = components.get_mut(&top(&mut root, i)) {
                n.products.push((at, within[&i], within[&j]));
            }
        }
        let names = members.iter().map(|m| centred.hir.var(m.var).name.clone()).collect();
        let form = Form::Normal(components.into_values().collect());
        out.push((u.var, Block { names, point: u.point, form }));
    }
    out
}

/// The values of a block's cells, in its order.
pub(super) fn start_of(centred: &Compiled, block: &Block, values: &BTreeMap<VarId, Vec<f64>>) -> Vec<f64> {
    let mut named: BTreeMap<String, f64> = BTreeMap::new();
    for (v, numbers) in values {
        let var = centred.hir.var(*v);
        if !block.names.contains(&var.name) {
            continue;
        }
        let Some(buf) = centred.layout.buffer(*v) else { continue };
        let plates: Vec<_> = var.axes.iter().map(|a| centred.hir.axis(*a).plate).collect();
        let dims = plates.iter().map(|p| lower::plate_size(&centred.hir, &centred.bound, *p)).collect();
        let place = Place { name: var.name.clone(), buf, offset: 0, dims, plates };
        named.extend(place.cell_names(&centred.bound).into_iter().zip(numbers.iter().copied()));
    }
    cell_names(&block.form).into_iter().map(|n| named.get(n).copied().unwrap_or(0.0)).collect()
}
