//! The log joint in parts, which `--method score` weighs its coordinates by.

use super::Compiled;
use crate::derive::{self, Purpose};
use crate::diag::Diags;
use crate::infer::Target;
use crate::lower;
use crate::run::Model;

/// Compile the parts, once. A model of one coordinate has but one.
pub fn prepare(compiled: &Compiled) {
    if compiled.model.dim() < 2 || compiled.model.has_parts() {
        return;
    }
    let mut hir = compiled.hir.clone();
    let joint = derive::joint_for(&mut hir, Purpose::Parts, &lower::known_size(&compiled.bound));
    let mut bound = compiled.bound.clone();
    bound.add_derived(&hir);
    // Too large a table is the only reason against it, and then totals do.
    if let Some((graph, layout)) = lower::lower(&hir, &joint, &bound, &mut Diags::default()) {
        compiled.model.give_parts(Model::new(
            graph,
            layout.theta_names(&bound),
            layout.points(),
            layout.start().to_vec(),
        ));
    }
}
