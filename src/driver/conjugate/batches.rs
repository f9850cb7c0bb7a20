//! Coordinate ascent in batches: factors of what all rows share, moved by some rows at a time.

use std::time::Instant;

use super::{Conjugate, in_the_way, in_trouble};
use crate::derive::statistics::{self, Obstacle};
use crate::driver::batches::{self, Batches, Feeding, describe_discrete, describe_draws, done, plan};
use crate::driver::fit::{heading, trace};
use crate::driver::posterior::check_draws;
use crate::driver::trouble::{of_checkpoint, unsaved};
use crate::driver::{Compiled, Session};
use crate::hir::VarId;
use crate::infer::batches::{Batch, Unit, judge, shuffle};
use crate::infer::conjugate::{Block, Form, Stochastic, Stopped};
use crate::infer::{FitOptions, Progress};
use crate::lower;
use crate::report::FitReport;

/// Sweeps over the first batch alone, by which the starts are compared.
const FIRST: usize = 100;

/// Fit, and describe the posterior. `None`: the session says why not.
pub fn in_batches(
    session: &mut Session,
    compiled: &Compiled,
    whole: &Batches,
    options: &FitOptions,
    progress: &mut dyn FnMut(&Progress),
) -> Option<FitReport> {
    if let Some(d) = super::nothing_to_maximise(compiled, options) {
        session.diags.push(d);
        return None;
    }
    let plan = plan(compiled, whole, options);
    let (_, _, at) = batches::asked(&compiled.hir)?;
    let said = |session: &mut Session, o: Obstacle| {
        session.diags.push(in_the_way(&compiled.hir, &o, options.method));
    };
    // A batch without order, as if it were all there is: where the ascent begins, and the blocks.
    let mut order: Vec<usize> = (0..plan.total).collect();
    shuffle(&mut order, plan.seed, usize::MAX);
    let mut some = compiled.bound.clone();
    some.keep_rows(&compiled.hir, whole.plate, &order[..plan.batch]);
    let first = super::centred(&compiled.hir, some);
    let conjugate = match Conjugate::apart(&first, Some(whole.plate)) {
        Ok(c) if c.climbing().next().is_some() => {
            let vars = compiled.hir.vars.iter().enumerate().filter(|(_, v)| c.climbing().any(|name| *name == v.name));
            let vars = vars.map(|(i, _)| VarId(i as u32)).collect();
            said(session, Obstacle { vars, why: "has none, which in batches every param and latent needs".into() });
            return None;
        }
        Ok(c) => c,
        Err(obstacle) => {
            said(session, obstacle);
            return None;
        }
    };
    let begun = conjugate.ascend(&FitOptions { steps: FIRST, ..options.clone() }, &mut |_| {});
    let begun = match begun {
        Ok(b) => b,
        Err(trouble) => {
            session.diags.push(in_trouble(&compiled.hir, &trouble));
            return None;
        }
    };
    // The expected log joint of a batch.
    let mut hir = compiled.hir.clone();
    let known = lower::known_size(&compiled.bound);
    let found = statistics::statistics(&mut hir, &known, Some(whole.plate));
    let found = found.map_err(|o| said(session, o)).ok()?;
    let (model, small) = batches::expected(session, hir, &compiled.bound, &found.joint, (whole.plate, plan.batch, at))?;
    let rows_of = rows_of(compiled, whole);
    let (mut shared, mut own) = (vec![], vec![]);
    for ((block, factor), start) in conjugate.blocks.iter().zip(begun.factors).zip(&conjugate.start) {
        let mut values = start.iter().copied();
        match by_row(block, &rows_of) {
            Some(parts) => own.extend(parts.into_iter().map(|(row, b)| {
                let n = crate::infer::conjugate::cell_names(&b.form).len();
                (row, b, values.by_ref().take(n).collect::<Vec<f64>>())
            })),
            None => shared.push((block.clone(), factor)),
        }
    }
    let mut feeding = Feeding::new(model.fed(), &small);
    let mut ascent = Stochastic::new(&mut feeding, shared, own);
    let fitted = match ascent.fit(&plan, progress) {
        Ok(fitted) => fitted,
        Err(Stopped::Trouble(trouble)) => {
            session.diags.push(in_trouble(&compiled.hir, &trouble));
            return None;
        }
        Err(Stopped::Checkpoint(error)) => {
            let at = options.checkpoint.as_ref().expect("a fit without a checkpoint has no trouble with it");
            session.diags.push(of_checkpoint(at, &error));
            return None;
        }
    };
    let ended = Instant::now();
    let mut report = heading(compiled, options);
    report.chosen.clear();
    report.options.clear();
    report.options.push(("batch".into(), plan.batch.to_string()));
    report.options.push(("epochs".into(), plan.epochs.to_string()));
    let mut globals: Vec<Vec<f64>> = vec![];
    let mut last = None;
    let mut place = |batch: &Batch, (k, _): (usize, usize), d: usize, theta: &mut [f64]| {
        if last != Some(k) {
            // What was proper while it was fitted is so now.
            let _ = ascent.take(batch);
            last = Some(k);
        }
        if d == globals.len() {
            let mut one = vec![0.0; theta.len()];
            ascent.draw_shared(plan.seed, d, &mut one);
            globals.push(one);
        }
        theta.copy_from_slice(&globals[d]);
        ascent.draw_own(plan.seed, d, batch, theta);
    };
    describe_draws(compiled, whole, &plan, options.threads, &mut place, &mut report);
    describe_discrete(compiled, whole, &plan, &mut place, &mut report);
    report.guide = conjugate.factors(false);
    report.k_hat = f64::NAN;
    report.draws_from = match compiled.layout.points().contains(&false) {
        true => "from the factors, not weighed against the posterior".into(),
        false => "none: params are points".into(),
    };
    report.elbo = (!fitted.cancelled).then_some((fitted.elbo, 0.0));
    report.converged = !fitted.cancelled;
    report.stop_reason = match fitted.cancelled {
        true => "The fit was interrupted.".into(),
        false => format!("{}.", done(&plan, fitted.epochs, " of closed-form updates")),
    };
    report.verdict = Some(judge(&fitted, &whole.coordinates(), (plan.total, Unit::Row), None));
    report.evaluations = (fitted.gradients + fitted.values) as u64;
    if let (Some(error), Some(checkpoint)) = (&fitted.unsaved, &options.checkpoint) {
        report.doubts.push(unsaved(checkpoint, error));
    }
    report.trace = trace(&fitted.trace);
    report.doubts.extend(check_draws(&report));
    report.seconds = fitted.seconds + ended.elapsed().as_secs_f64();
    Some(report)
}

/// The row of the batch that each coordinate belongs to.
fn rows_of(compiled: &Compiled, whole: &Batches) -> Vec<Option<usize>> {
    let mut out = vec![];
    for part in whole.parts() {
        let before = |d: usize| part.dims[..d].iter().product::<usize>();
        let cells: usize = part.dims.iter().product();
        out.extend((0..cells).map(|c| part.rows.map(|d| c / before(d) % part.dims[d])));
    }
    debug_assert_eq!(out.len(), compiled.layout.dim());
    out
}

/// The parts of a block by the rows that they belong to, in the order of its cells; `None` if all rows share it.
fn by_row(block: &Block, rows_of: &[Option<usize>]) -> Option<Vec<(usize, Block)>> {
    let one = |theta: usize, form: Form| Some((rows_of[theta]?, Block { form, ..block.clone() }));
    match &block.form {
        Form::Normal(all) => all.iter().map(|n| one(n.cells[0].theta, Form::Normal(vec![n.clone()]))).collect(),
        Form::Power { power, cells } => {
            cells.iter().map(|c| one(c.theta, Form::Power { power: *power, cells: vec![c.clone()] })).collect()
        }
        Form::Beta(cells) => cells.iter().map(|c| one(c.theta, Form::Beta(vec![c.clone()]))).collect(),
        Form::Dirichlet(all) => all.iter().map(|s| one(*s.theta.first()?, Form::Dirichlet(vec![s.clone()]))).collect(),
        Form::Wishart(all) => all.iter().map(|m| one(*m.theta.first()?, Form::Wishart(vec![m.clone()]))).collect(),
        Form::Raw(_) | Form::Drawn(_) => None,
    }
}
