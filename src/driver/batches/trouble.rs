//! A fit in batches that came to nothing.

use super::Batches;
use super::feed::Feeding;
use crate::diag::Diagnostic;
use crate::driver::culprit::Program;
use crate::driver::trouble::{Scene, explain_nonfinite, exploded, met, of_checkpoint};
use crate::driver::{Compiled, Session};
use crate::hir::PlateId;
use crate::infer::FitOptions;
use crate::infer::batches::{Batch, Plan, Rows, Trouble};
use crate::run::Model;

/// Say why.
pub(super) fn explain(
    session: &mut Session,
    compiled: &Compiled,
    (model, batches): (&Model, &Batches),
    options: &FitOptions,
    plan: &Plan,
    trouble: Trouble,
) {
    let (theta, batch, bound, begun, epoch, step) = match trouble {
        Trouble::Checkpoint(error) => {
            let at = options.checkpoint.as_ref().expect("a fit without a checkpoint has no trouble with it");
            return session.diags.push(of_checkpoint(at, &error));
        }
        Trouble::Lost { theta, batch, bound, begun, epoch, step } => (theta, batch, bound, begun, epoch, step),
    };
    // On a graph of its own, which holds the rows of this batch.
    let mut feeding = Feeding::new(model.fed_plainly(), batches);
    feeding.take(&batch);
    let graph = feeding.fed.graph().expect("it was made so above");
    let scene = Scene { program: Program::of(compiled), graph, rows: rows(batches, &batch) };
    if !begun {
        return explain_nonfinite(session, &scene, &theta);
    }
    // Rounded, as a person would write it.
    let lower = format!("{:.1e}", plan.optimizer.rate / 10.0).parse().unwrap_or(plan.optimizer.rate);
    let rule = format!("{:?}", plan.optimizer.rule).to_lowercase();
    let clip = if plan.optimizer.clip.is_none() { ", or shorten long gradients, `clip: 10`" } else { "" };
    let help = format!("take smaller steps, `optimizer: {rule}({lower})`{clip}");
    session.diags.push(exploded(&scene, &theta, bound, epoch, step, help));
}

/// Which rows of the whole plates a batch has.
fn rows(batches: &Batches, batch: &Batch) -> Vec<(PlateId, Vec<usize>)> {
    batches.plates().enumerate().map(|(l, (p, _))| (p, batch.rows_of(l).to_vec())).collect()
}

/// A warning of where the log joint of a batch was not finite first, in a fit that went on.
pub(super) fn met_in(
    compiled: &Compiled,
    (model, batches): (&Model, &Batches),
    theta: &[f64],
    batch: &Batch,
) -> Option<Diagnostic> {
    let mut feeding = Feeding::new(model.fed_plainly(), batches);
    feeding.take(batch);
    let graph = feeding.fed.graph().expect("it was made so above");
    met(&Scene { program: Program::of(compiled), graph, rows: rows(batches, batch) }, theta)
}
