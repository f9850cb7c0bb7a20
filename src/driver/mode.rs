//! The density whose mode `--method map` reports.

use super::Compiled;
use crate::derive::{self, Purpose, joint::TermKind};
use crate::diag::Diags;
use crate::lower;
use crate::run::Model;

/// The log joint without the log-Jacobians of the transforms: the density of the latents on their own scales. What is
/// drawn from noise is the noise. The mode of a density depends on its scale; this is the one that the model is written
/// in, and Stan's choice for `optimize`.
pub fn on_own_scales(compiled: &Compiled) -> Model {
    let mut hir = compiled.hir.clone();
    let mut joint = derive::joint_for(&mut hir, Purpose::Fit, &lower::known_size(&compiled.bound));
    joint.terms.retain(|t| t.kind != TermKind::Jacobian);
    let lowered = lower::lower(&hir, &joint, &compiled.bound, &mut Diags::default());
    let (graph, layout) = lowered.expect("the same model has been lowered for the fit");
    Model::new(graph, layout.theta_names(&compiled.bound), layout.points(), layout.start().to_vec())
}
