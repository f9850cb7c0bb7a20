//! What a fit reports of the posterior: every latent, param and report at each draw.

use super::Compiled;
use crate::data::Bound;
use crate::derive;
use crate::diag::Diagnostic;
use crate::hir::{AxisId, Hir, Step, VarId, VarKind};
use crate::lower::Layout;
use crate::report::{Dim, FitReport, ReportKind, ReportVar};
use crate::simulate::Computed;

/// Latents that are fitted as location + scale · noise, with their plates, and why.
pub fn noncentred(hir: &Hir) -> Vec<(String, String)> {
    let of = |s: &Step| match s {
        Step::Latent { var, dist, centering, .. } => {
            let (yes, why) = derive::centering(hir, *var, dist, *centering);
            let v = hir.var(*var);
            let plates: Vec<&str> = v.axes.iter().map(|a| hir.axis(*a).name.as_str()).collect();
            let name = if plates.is_empty() { v.name.clone() } else { format!("{}[{}]", v.name, plates.join(", ")) };
            let own = hir.written.as_ref().is_some_and(|w| w.settles(*var));
            (yes && !own).then(|| (name, why.to_string()))
        }
        Step::Param { .. } | Step::Let { .. } | Step::Observe { .. } | Step::Factor { .. } => None,
    };
    hir.steps.iter().filter_map(of).collect()
}

/// Every latent, param and report, computed at each draw of theta.
pub fn report_vars(compiled: &Compiled, theta: &[f64], draws: usize, seed: u64) -> Vec<ReportVar> {
    let shown = shown(compiled);
    let mut vars: Vec<ReportVar> = shown
        .iter()
        .map(|&v| {
            let mut var = described(compiled, v);
            var.draws = vec![0.0; var.cells() * draws];
            var
        })
        .collect();
    let dim = compiled.layout.dim();
    let mut reporter = compiled.model.reporter();
    for d in 0..draws {
        reporter.run(&theta[d * dim..(d + 1) * dim]);
        for (var, out) in shown.iter().zip(&mut vars) {
            let numbers = compiled.layout.buffer(*var).map_or(&[][..], |b| reporter.buffer(b));
            for (c, v) in numbers.iter().enumerate() {
                out.draws[c * draws + d] = *v;
            }
        }
    }
    // What depends on discrete latents, or is a position, has no kernel.
    let rest: Vec<usize> = (0..shown.len()).filter(|&i| compiled.layout.buffer(shown[i]).is_none()).collect();
    if rest.is_empty() {
        return vars;
    }
    let computed = computed(&compiled.hir, &compiled.bound, &compiled.layout).expect("looked at before the fit");
    let mut last = None;
    let mut given = |d: usize, v: VarId| {
        if last.replace(d) != Some(d) {
            reporter.run(&theta[d * dim..(d + 1) * dim]);
        }
        compiled.layout.buffer(v).map_or(vec![], |b| reporter.buffer(b).to_vec())
    };
    computed.run(seed, draws, &mut given, &mut |d, value| {
        for &i in &rest {
            for (c, v) in value(shown[i]).into_iter().enumerate() {
                vars[i].draws[c * draws + d] = v;
            }
        }
    });
    vars
}

/// Every latent and param, weights of nets aside, and what the model reports.
pub(super) fn shown(compiled: &Compiled) -> Vec<VarId> {
    let hir = &compiled.hir;
    let own = |v: &VarId| hir.is_unknown(*v) && hir.discrete(*v).is_none() && !hir.weights.contains(v);
    let mut all: Vec<VarId> = (0..hir.vars.len() as u32).map(VarId).filter(own).collect();
    all.extend(hir.reports.iter().filter(|v| !own(v)));
    // A column that may have missing cells and has none has nothing to report.
    let plates = |v: &VarId| hir.var(*v).axes.iter().map(|a| compiled.bound.size(hir.axis(*a).plate));
    all.retain(|v| plates(v).product::<usize>() > 0);
    all
}

/// The weights of nets and the params of the guide at one draw of theta, which is any: they are fitted to a point.
pub fn points(compiled: &Compiled, theta: &[f64]) -> (Vec<ReportVar>, Vec<ReportVar>) {
    let hir = &compiled.hir;
    let own = |v: &&VarId| matches!(hir.var(**v).kind, VarKind::Param { .. }) && !hir.weights.contains(v);
    let guides: Vec<VarId> = match hir.written {
        Some(_) => hir.of_guide.iter().filter(own).copied().collect(),
        None => vec![],
    };
    if hir.weights.is_empty() && guides.is_empty() {
        return (vec![], vec![]);
    }
    let mut reporter = compiled.model.reporter();
    reporter.run(theta);
    let of = |v: &VarId| {
        let numbers = compiled.layout.buffer(*v).map_or(vec![], |b| reporter.buffer(b).to_vec());
        ReportVar { draws: numbers, ..described(compiled, *v) }
    };
    (hir.weights.iter().map(of).collect(), guides.iter().map(of).collect())
}

/// A variable with its labels, and no draws yet.
pub(super) fn described(compiled: &Compiled, v: VarId) -> ReportVar {
    let hir = &compiled.hir;
    let var = hir.var(v);
    let dim = |a: &AxisId| {
        let plate = hir.axis(*a).plate;
        Dim { plate: hir.plate(plate).name.clone(), labels: compiled.bound.plate(plate).labels.clone() }
    };
    let kind = match var.kind {
        VarKind::Param { .. } => ReportKind::Param,
        VarKind::Let => ReportKind::Let,
        VarKind::Report => ReportKind::Report,
        _ => ReportKind::Latent,
    };
    ReportVar { name: var.name.clone(), kind, dims: var.axes.iter().map(dim).collect(), draws: vec![] }
}

/// The reports that no kernel computes.
pub fn computed<'a>(hir: &'a Hir, bound: &'a Bound, layout: &Layout) -> Result<Computed<'a>, Diagnostic> {
    let stored = |v: VarId| layout.buffer(v).is_some();
    let wanted: Vec<VarId> = hir.reports.iter().copied().filter(|v| !stored(*v)).collect();
    Computed::new(hir, bound, &wanted, &stored)
}

/// A reported quantity that is not a number somewhere must not pass without a word.
pub fn check_draws(report: &FitReport) -> Option<String> {
    report.vars.iter().find_map(|v| {
        let bad = v.draws.iter().position(|x| !x.is_finite())?;
        let n = v.draws.iter().filter(|x| !x.is_finite()).count();
        Some(format!(
            "`{}` is not finite in {n} of its draws; its summary leaves them out.",
            v.cell_name(bad / report.draws)
        ))
    })
}
