//! What all rows share, as the fit left it: latents become data, one set of numbers per draw; params, whatever fits a point.

use std::collections::HashMap;

use super::has_axis;
use crate::data::{Bound, Values};
use crate::diag::{Code, Diagnostic};
use crate::hir::{GuideLine, Hir, PlateId, Step, VarId, VarKind};
use crate::lower::Layout;
use crate::run::Fed;
use crate::simulate::cell_names;

/// Numbers of what all rows share.
pub struct Given {
    /// How many draws there are: 1 where everything is fitted to a point.
    pub draws: usize,
    /// Those that differ from draw to draw: a variable's cells, one after the other, of each draw.
    changing: Vec<(VarId, Vec<Vec<f64>>)>,
}

impl Given {
    pub fn changing(&self) -> impl Iterator<Item = VarId> {
        self.changing.iter().map(|c| c.0)
    }

    /// Fill in one draw.
    pub fn put(&self, draw: usize, layout: &Layout, fed: &mut Fed<'_>) {
        for feed in layout.feeds() {
            if let Some((_, draws)) = self.changing.iter().find(|c| c.0 == feed.var) {
                fed.numbers(feed.buf, |out| out.copy_from_slice(&draws[draw % draws.len()]));
            }
        }
    }
}

impl Given {
    /// The same for data that are drawn with.
    pub fn put_values(&self, draw: usize, bound: &mut Bound) {
        for (var, draws) in &self.changing {
            if let Some(values) = bound.values.get_mut(var) {
                values.numbers = draws[draw % draws.len()].clone().into();
            }
        }
    }
}

/// Make data of all latents, params and weights that belong to no row of the plate, and drop what is only reported.
pub fn give(
    hir: &mut Hir,
    bound: &mut Bound,
    plate: PlateId,
    posterior: &HashMap<String, Vec<f64>>,
) -> Result<Given, Diagnostic> {
    let shared: Vec<VarId> = (0..hir.vars.len() as u32)
        .map(VarId)
        .filter(|v| matches!(hir.var(*v).kind, VarKind::Latent | VarKind::Param { .. }))
        .filter(|v| !has_axis(hir, *v, plate) && hir.discrete(*v).is_none())
        .filter(|v| hir.written.is_some() || !hir.is_guides(*v))
        .filter(|v| !hir.missing.iter().any(|m| m.cells == *v))
        .collect();
    let mut given = Given { draws: 1, changing: vec![] };
    for &id in &shared {
        let names = cell_names(hir, bound, id);
        let of: Option<Vec<&Vec<f64>>> = names.iter().map(|n| posterior.get(n)).collect();
        let Some(of) = of else {
            let missing = names.iter().filter(|n| !posterior.contains_key(*n)).cloned().collect();
            return Err(unknown(hir, id, missing));
        };
        let dims = hir.var(id).axes.iter().map(|a| bound.size(hir.axis(*a).plate)).collect();
        let at = |draw: usize| of.iter().map(|c| c[draw.min(c.len() - 1)]).collect::<Vec<f64>>();
        let draws = of.iter().map(|c| c.len()).max().unwrap_or(1);
        let fixed = of.iter().all(|c| c.iter().all(|x| *x == c[0]));
        bound.values.insert(id, Values { dims, numbers: at(0).into() });
        if !fixed {
            given.draws = given.draws.max(draws);
            given.changing.push((id, (0..draws).map(at).collect()));
        }
    }
    for id in &shared {
        let v = &mut hir.vars[id.0 as usize];
        v.kind = VarKind::DataValue { key: v.name.clone(), default: None };
    }
    let report = |hir: &Hir, v: &VarId| matches!(hir.var(*v).kind, VarKind::Report);
    let steps = std::mem::take(&mut hir.steps);
    let kept = |s: &Step| match s {
        Step::Latent { var, .. } | Step::Param { var, .. } => !shared.contains(var),
        Step::Let { var, .. } => !report(hir, var),
        Step::Observe { .. } | Step::Factor { .. } => true,
    };
    hir.steps = steps.into_iter().filter(kept).collect();
    hir.reports.clear();
    hir.weights.retain(|v| !shared.contains(v));
    hir.references.retain(|r| !shared.contains(&r.var));
    for r in &mut hir.recurrences {
        let keep: Vec<bool> = r.vars.iter().map(|v| !shared.contains(v)).collect();
        let mut flags = keep.iter();
        r.vars.retain(|_| *flags.next().expect("one per variable"));
        let mut flags = keep.iter();
        r.axes.retain(|_| *flags.next().expect("one per variable"));
    }
    hir.recurrences.retain(|r| !r.vars.is_empty());
    if let Some(written) = &mut hir.written {
        written.lines.retain_mut(|line| match line {
            GuideLine::Own(Step::Param { var, .. }) => !shared.contains(var),
            GuideLine::Own(_) => true,
            GuideLine::Draw { var, .. } => !shared.contains(var),
            GuideLine::Family { vars, read, .. } => {
                vars.retain(|v| !shared.contains(v));
                read.retain(|v| !shared.contains(v));
                !vars.is_empty()
            }
        });
    }
    Ok(given)
}

/// A variable for some of whose cells the fit has no number.
fn unknown(hir: &Hir, id: VarId, missing: Vec<String>) -> Diagnostic {
    let v = hir.var(id);
    if hir.weights.contains(&id) || hir.is_guides(id) {
        return Code::NOT_A_FIT
            .at(v.span, format!("the fit has no numbers for `{}`", v.name))
            .here("not in `weights.safetensors`")
            .help("fit again: `vic fit … --out DIR --force`");
    }
    let (more, them) = match missing.len() {
        0 | 1 => (String::new(), "it"),
        n => (format!(" and {} more of its cells", n - 1), "them"),
    };
    let first = missing.first().map_or(v.name.as_str(), String::as_str);
    Code::CANNOT_PREDICT
        .at(v.span, format!("the rows need `{first}`{more}, and the fit has no numbers for {them}"))
        .here(format!("fitted without {them}"))
        .help("leave these rows out, or fit the model with rows of theirs among its data")
}
