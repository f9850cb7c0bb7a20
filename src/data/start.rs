//! Starts that are drawn: `param w[k]: real = draw(Normal(0, 1))`.

use std::collections::HashMap;

use super::bound::Values;
use super::resolve::Resolved;
use crate::check::walk;
use crate::hir::{Expr, ExprKind, Hir, PlateId, Var, VarId};
use crate::infer::Stream;
use crate::run::sample::{Cells, Sampler};

/// The draw, keyed by the param's name, so that a fit starts from the same numbers each time. `None`: what it depends on
/// is not known yet.
pub fn start(hir: &Hir, var: &Var, draw: &Expr, known: &Resolved) -> Option<Values> {
    let dims: Vec<usize> =
        var.axes.iter().map(|a| known.plate(hir.axis(*a).plate).map(|p| p.size)).collect::<Option<_>>()?;
    let mut open = false;
    walk(draw, &mut |e| match &e.kind {
        ExprKind::Read { var, .. } => open |= !known.values.contains_key(var),
        ExprKind::Size(p) => open |= known.plate(*p).is_none(),
        _ => open |= e.axes.iter().any(|a| known.plate(hir.axis(*a).plate).is_none()),
    });
    if open {
        return None;
    }
    let size = |p: PlateId| known.plate(p).map_or(0, |p| p.size);
    let read = |v: VarId| Cells { axes: hir.var(v).axes.clone(), numbers: known.values[&v].numbers.to_vec() };
    let label =
        |p: PlateId, text: &str| known.plate(p).and_then(|p| p.labels.iter().position(|l| l == text)).unwrap_or(0);
    let mut sampler = Sampler {
        hir,
        size: &size,
        read: &read,
        locals: HashMap::new(),
        counted: &size,
        label: &label,
        rng: Stream::new(1, "start", &var.name),
    };
    let drawn = sampler.eval(draw);
    let cells = sampler.spread(&drawn, &var.axes);
    Some(Values { dims, numbers: cells.numbers.into() })
}
