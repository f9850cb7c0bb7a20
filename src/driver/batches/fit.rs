//! A fit in batches from start to end.

use std::time::Instant;

use super::Batches;
use super::draws::describe_draws;
use super::options::plan;
use super::trouble::explain;
use crate::driver::fit::{heading, trace};
use crate::driver::posterior::check_draws;
use crate::driver::trouble::unsaved;
use crate::driver::{Compiled, Session};
use crate::infer::batches;
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
    let coordinates = batches.coordinates();
    let mut rows = batches.rows(&compiled.model);
    let names = compiled.model.names();
    let fitted = match batches::fit(&mut rows, &coordinates, &plan, &names, progress) {
        Ok(fitted) => fitted,
        Err(trouble) => {
            explain(session, compiled, batches, options, &plan, trouble);
            return None;
        }
    };
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
    if plan.optimizer.warm_up > 0 {
        report.options.push(("warmup".into(), plan.optimizer.warm_up.to_string()));
    }
    report.options.extend(plan.optimizer.clip.map(|c| ("clip".into(), c.to_string())));
    describe_draws(compiled, batches, &coordinates, &plan, &fitted.psi, &mut report);
    report.guide = if compiled.hir.written.is_some() { "written in the model" } else { "meanfield" }.into();
    report.method = format!("{:?}", plan.optimizer.rule).to_lowercase();
    report.k_hat = f64::NAN;
    report.draws_from = "from the guide, not weighed against the posterior".into();
    report.elbo = (!fitted.cancelled).then_some((fitted.elbo, fitted.elbo_se));
    report.converged = !fitted.cancelled;
    report.stop_reason = match fitted.cancelled {
        true => "The fit was interrupted.".into(),
        false => format!(
            "{} epochs of {} batches are done; in the last tenth of them the bound rose by {:.2} nats per row.",
            plan.epochs,
            plan.batches(),
            fitted.rise
        ),
    };
    (report.gradients, report.evaluations) = (fitted.gradients as u64, (fitted.gradients + fitted.values) as u64);
    if fitted.non_finite > 0 {
        report.doubts.push(format!(
            "The log joint was not finite in {} of {} batches, which were left out.",
            fitted.non_finite, fitted.gradients
        ));
    }
    if let Some(d) = compiled.hir.discrete.first() {
        let name = &compiled.hir.var(d.var).name;
        report.doubts.push(format!("Probabilities of `{name}` are not computed for a fit in batches."));
    }
    report.trace = trace(&fitted.trace);
    report.doubts.extend(check_draws(&report));
    if let (Some(error), Some(checkpoint)) = (&fitted.unsaved, &options.checkpoint) {
        report.doubts.push(unsaved(checkpoint, error));
    }
    report.seconds = fitted.seconds + ended.elapsed().as_secs_f64();
    Some(report)
}
