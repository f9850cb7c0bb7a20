//! A fit in batches from start to end.

use std::time::Instant;

use super::Batches;
use super::discrete::describe_discrete;
use super::draws::describe_draws;
use super::options::plan;
use super::trouble::{explain, met_in};
use super::weights::row_weights;
use crate::diag::counted;
use crate::driver::fit::{heading, trace};
use crate::driver::plan::doubt_of_batch;
use crate::driver::posterior::check_draws;
use crate::driver::trouble::unsaved;
use crate::driver::{Compiled, Session};
use crate::infer::batches::{self, Batch, Coordinates, Fitted, Plan, Rows};
use crate::infer::{FitOptions, Progress, Target};
use crate::report::FitReport;

/// Fit, and describe the posterior.
pub fn fit(
    session: &mut Session,
    compiled: &Compiled,
    batches: &Batches,
    options: &FitOptions,
    progress: &mut dyn FnMut(&Progress),
) -> Option<FitReport> {
    let plan = plan(compiled, batches, options);
    // Several draws per row are for the steps only: the params are the same.
    let (model, small) = match &batches.weighed {
        Some(weighed) => (&weighed.model, &weighed.batches),
        None => (&compiled.model, batches),
    };
    let mut rows = small.rows_on(options.threads, plan.single, model);
    let names = compiled.model.names();
    let fitted = match batches::fit(&mut rows, &small.coordinates(), &plan, &names, progress) {
        Ok(fitted) => fitted,
        Err(trouble) => {
            explain(session, compiled, (model, small), options, &plan, trouble);
            return None;
        }
    };
    let coordinates = batches.coordinates();
    let ended = Instant::now();
    let mut report = heading(compiled, options);
    report.chosen.clear();
    report.options.retain(|o| o.0 == "guide");
    report.options.extend([
        ("batch".into(), plan.batch.to_string()),
        ("epochs".into(), plan.epochs.to_string()),
        ("optimizer".into(), format!("{:?}({})", plan.optimizer.rule, plan.optimizer.rate).to_lowercase()),
        ("schedule".into(), format!("{:?}", plan.optimizer.schedule).to_lowercase()),
    ]);
    report.options.extend(own(&plan));
    let mut z = vec![0.0; coordinates.dim()];
    let mut place = |batch: &Batch, (k, all): (usize, usize), d: usize, theta: &mut [f64]| {
        coordinates.noise(plan.seed, "draws", d * all + k, &mut z);
        coordinates.shared_noise(plan.seed, "draws", d, &mut z);
        match d {
            0 => coordinates.place(&fitted.psi, batch, &z, theta),
            _ => coordinates.redraw(&fitted.psi, batch, &z, theta),
        }
    };
    describe_draws(compiled, batches, &plan, options.threads, &mut place, &mut report);
    describe_discrete(compiled, batches, &plan, &mut place, &mut report);
    report.guide = if compiled.hir.written.is_some() { "written in the model" } else { "meanfield" }.into();
    report.method = match plan.weighing {
        Some(_) => options.method.name().into(),
        None => format!("{:?}", plan.optimizer.rule).to_lowercase(),
    };
    report.k_hat = f64::NAN;
    report.draws_from = "from the guide, not weighed against the posterior".into();
    report.elbo = (!fitted.cancelled && fitted.elbo.is_finite()).then_some((fitted.elbo, fitted.elbo_se));
    report.converged = !fitted.cancelled;
    report.stop_reason = match fitted.cancelled {
        true => "The fit was interrupted.".into(),
        false => ending(&plan, &fitted),
    };
    let weights = match fitted.cancelled {
        true => None,
        false => row_weights(compiled, batches, &coordinates, &plan, &fitted.psi, options.threads),
    };
    report.verdict = Some(batches::judge(&fitted, &coordinates, (plan.total - plan.held, plan.unit()), weights));
    (report.gradients, report.evaluations) = (fitted.gradients as u64, (fitted.gradients + fitted.values) as u64);
    if fitted.non_finite > 0 {
        report.doubts.push(format!(
            "The log joint was not finite in {} of {}, which {} left out.",
            fitted.non_finite,
            counted(fitted.gradients, "batch"),
            if fitted.non_finite == 1 { "was" } else { "were" }
        ));
    }
    if let Some((theta, batch)) = &fitted.first_lost {
        session.diags.list.extend(met_in(compiled, (model, small), theta, batch));
    }
    if !fitted.cancelled && !coordinates.has_jumps() {
        report.doubts.extend(jump(compiled, batches, &coordinates, &plan, &fitted.psi));
    }
    report.trace = trace(&fitted.trace);
    report.doubts.extend(check_draws(&report));
    if let (Some(error), Some(checkpoint)) = (&fitted.unsaved, &options.checkpoint) {
        report.doubts.push(unsaved(checkpoint, error));
    }
    report.seconds = fitted.seconds + ended.elapsed().as_secs_f64();
    Some(report)
}

/// What steps in the first batch's log joint, between draws of the fit, make doubtful.
fn jump(compiled: &Compiled, batches: &Batches, coordinates: &Coordinates, plan: &Plan, psi: &[f64]) -> Option<String> {
    let mut batch = Batch::default();
    let mut rows = batches.rows(&compiled.model);
    // One draw per row shows a jump as well as several.
    batch.set(&Plan { weighing: None, ..plan.clone() }, &(0..plan.total).collect::<Vec<usize>>(), 0);
    rows.soften(1.0, f64::NEG_INFINITY);
    rows.take(&batch);
    let mut draw = |d: usize| {
        let (mut z, mut theta) = (vec![0.0; coordinates.dim()], vec![0.0; coordinates.dim()]);
        coordinates.noise(plan.seed, "jumps", d, &mut z);
        coordinates.shared_noise(plan.seed, "jumps", d, &mut z);
        coordinates.place(psi, &batch, &z, &mut theta);
        theta
    };
    doubt_of_batch(compiled, &mut |theta, gradient| rows.value_grad(theta, gradient), &mut draw)
}

/// Options that are off unless they are asked for.
fn own(plan: &Plan) -> Vec<(String, String)> {
    let mut out: Vec<(String, String)> = vec![];
    let mut some = |given: bool, name: &str, value: String| {
        if given {
            out.push((name.into(), value));
        }
    };
    some(plan.optimizer.warm_up > 0, "warmup", plan.optimizer.warm_up.to_string());
    some(plan.weighing.is_some(), "importance_samples", plan.draws().to_string());
    some(plan.single, "precision", "f32".into());
    some(plan.alternate.is_some(), "alternate", plan.alternate.unwrap_or_default().to_string());
    some(plan.held > 0, "held_out", plan.held.to_string());
    some(plan.held > 0, "patience", plan.patience.to_string());
    some(plan.kl_warm_up > 0, "kl_warmup", plan.kl_warm_up.to_string());
    some(plan.free_bits > 0.0, "free_bits", plan.free_bits.to_string());
    out.extend(plan.optimizer.clip.map(|c| ("clip".into(), c.to_string())));
    out
}

/// `3 epochs of 14 batches are done`
pub(in crate::driver) fn done(plan: &Plan, epochs: usize, what: &str) -> String {
    let verb = if epochs == 1 { "is" } else { "are" };
    format!("{} of {}{what} {verb} done", counted(epochs, "epoch"), counted(plan.batches(), "batch"))
}

/// How the fit ended, in words.
fn ending(plan: &Plan, fitted: &Fitted) -> String {
    let unit = plan.unit();
    let mut done = done(plan, fitted.epochs, "");
    if let Some(bound) = fitted.weighed {
        let (k, rows) = (plan.draws(), (plan.total - plan.held) as f64);
        done += &format!(", the bound of {} is {:.3} nats per {unit}", counted(k, "weighted draw"), bound / rows);
    }
    if let Some((epoch, bound)) = fitted.best {
        let held = match plan.held {
            1 => format!("the {unit} that was held out"),
            n => format!("the {n} {unit}s that were held out"),
        };
        return format!(
            "{done}. The bound of {held} was best after epoch {epoch}, {bound:.3} nats per {unit}: what is reported is from there."
        );
    }
    match fitted.rise {
        None => format!("{done}."),
        Some(rise) => {
            let rows = (plan.total - plan.held) as f64;
            let (rise, error) = (rise.nats / rows, rise.error / rows);
            format!("{done}; in the last tenth of them the bound rose by {rise:.3} ± {error:.3} nats per {unit}.")
        }
    }
}
