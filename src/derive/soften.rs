//! The divergence of the guide from the prior, weighed or left alone where it is small, while a fit in batches warms up.
//!
//! Warm-up (Bowman et al. 2016; Sønderby et al. 2016) multiplies the divergence by a share that rises to 1. Free bits (Kingma
//! et al. 2016, section 8 of the appendix) replace the divergence KL_j of each cell j of a latent, averaged over the batch's rows
//! of the latent's plate, by max(λ, KL_j): what is below λ is not worth saving. Of a latent of members that is the mean over
//! members, of one of their rows that over rows, whosever they are. Both are data of the batch, so that the same kernels give the
//! true bound: a share of 1, and a λ of minus infinity.

use super::batch::given;
use super::joint::*;
use crate::hir::{AxisId, Hir, VarId};

/// What is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Soft {
    pub share: bool,
    pub free: bool,
}

/// Soften a joint in batches, whose terms over rows are weighed. `weights`: the factors of the rows that an axis runs over, if it
/// does. Gives the data that it then reads: what the divergence is multiplied by, and λ, in nats.
pub(super) fn soften(
    hir: &mut Hir,
    joint: &mut Joint,
    weights: impl Fn(&AxisId) -> Option<SlotId>,
    soft: Soft,
) -> [Option<VarId>; 2] {
    let mut out = [None; 2];
    if soft.free {
        let (var, slot) = given(hir, joint, "free bits", vec![]);
        out[1] = Some(var);
        let free = joint.intern(Node::Read { slot, index: vec![] });
        let mut latents: Vec<String> = drawn(joint).map(|(name, _)| name.to_string()).collect();
        latents.dedup();
        for latent in latents {
            limited(hir, joint, &latent, &weights, free);
        }
    }
    if soft.share {
        let (var, slot) = given(hir, joint, "share of the divergence", vec![]);
        out[0] = Some(var);
        let share = joint.intern(Node::Read { slot, index: vec![] });
        for i in 0..joint.terms.len() {
            if matches!(joint.terms[i].kind, TermKind::Prior | TermKind::Jacobian | TermKind::Guide) {
                joint.terms[i].value = joint.intern(Node::Binary(BinOp::Mul, share, joint.terms[i].value));
            }
        }
    }
    out
}

/// The latents that a written guide draws, with their terms.
fn drawn(joint: &Joint) -> impl Iterator<Item = (&str, &Term)> {
    let of = |t: &Term| t.kind == TermKind::Guide;
    joint.terms.iter().filter(move |t| of(t)).filter_map(|t| Some((latent(t)?, t)))
}

/// The latent that a term of prior or guide is of.
fn latent(term: &Term) -> Option<&str> {
    let name = term.name.strip_prefix("guide: ").unwrap_or(&term.name);
    let own = matches!(term.kind, TermKind::Prior | TermKind::Guide);
    own.then(|| name.split_once(" ~ ").map(|n| n.0)).flatten()
}

/// Put the terms of one latent of rows together, cell by cell, and let them count from so many nats per row on.
fn limited(hir: &Hir, joint: &mut Joint, name: &str, weights: &impl Fn(&AxisId) -> Option<SlotId>, free: NodeId) {
    let (own, others): (Vec<Term>, Vec<Term>) =
        std::mem::take(&mut joint.terms).into_iter().partition(|t| latent(t) == Some(name));
    joint.terms = others;
    let common: Vec<AxisId> = own[0].axes.iter().filter(|a| own.iter().all(|t| t.axes.contains(a))).copied().collect();
    // What all rows share has no mean over rows.
    let Some((row, weights_slot)) = common.iter().find_map(|a| Some((*a, weights(a)?))) else {
        joint.terms.extend(own);
        return;
    };
    let span = own[0].span;
    let cells: Vec<AxisId> = common.iter().filter(|a| **a != row).copied().collect();
    let mut sum = joint.constant(0.0);
    for t in own {
        let axes: Vec<AxisId> = t.axes.iter().filter(|a| !cells.contains(a)).copied().collect();
        let part = joint.intern(Node::Reduce { op: Fold::Sum, axes, filter: t.filter, body: t.value });
        sum = joint.intern(Node::Binary(BinOp::Add, sum, part));
    }
    let defined = |joint: &mut Joint, name: String, axes: &[AxisId], value: NodeId| {
        let dims = axes.iter().map(|a| hir.axis(*a).plate).collect();
        let slot = SlotId(joint.slots.len() as u32);
        joint.slots.push(Slot { name, dims, kind: SlotKind::Defined });
        joint.defs.push(Def::new(slot, axes.to_vec(), value, span));
        joint.intern(Node::Read { slot, index: axes.iter().map(|a| Ix::Axis(*a)).collect() })
    };
    let sum = defined(joint, format!("divergence of {name}"), &cells, sum);
    let weight = joint.intern(Node::Read { slot: weights_slot, index: vec![Ix::Axis(row)] });
    let rows = joint.intern(Node::Reduce { op: Fold::Sum, axes: vec![row], filter: None, body: weight });
    let least = joint.intern(Node::Binary(BinOp::Mul, free, rows));
    let most = joint.intern(Node::Unary(UnOp::Neg, least));
    let most = defined(joint, format!("what counts of {name} at most"), &[], most);
    let value = joint.intern(Node::Binary(BinOp::Min, sum, most));
    let name = format!("{name} ~ guide and prior");
    joint.terms.push(Term { name, kind: TermKind::Prior, axes: cells, filter: None, value, span });
}
