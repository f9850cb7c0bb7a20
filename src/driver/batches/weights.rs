//! How well a guide fits the posterior of each row, or member with its rows: k-hat of its own importance weights.

use super::Batches;
use super::feed::Feeding;
use crate::derive::joint::{BinOp, Def, Fold, Joint, Node, NodeId, Slot, SlotId, SlotKind};
use crate::driver::Compiled;
use crate::hir::{AxisId, Constraint, Hir, PlateId, Ty, Var, VarId, VarKind};
use crate::infer::batches::{Batch, Coordinates, Plan, RowWeights, Rows};
use crate::infer::smooth;
use crate::source::Span;

/// Rows that are looked at, and draws of each.
const ROWS: usize = 200;
const DRAWS: usize = 300;

/// k-hat of rows from all over the table, given one draw of what they share; `None` where rows have nothing that is drawn, or the fit
/// is interrupted.
pub(super) fn row_weights(
    compiled: &Compiled,
    batches: &Batches,
    coordinates: &Coordinates,
    plan: &Plan,
    psi: &[f64],
    threads: usize,
) -> Option<RowWeights> {
    if batches.scores.is_empty() || !coordinates.has_row_latents() {
        return None;
    }
    let looked_at = batches.total.min(ROWS);
    let rows: Vec<usize> = (0..looked_at).map(|i| i * batches.total / looked_at).collect();
    let mut z = vec![0.0; coordinates.dim()];
    let mut batch = Batch::default();
    let model = compiled.model.reporting(&batches.scores.iter().map(|s| s.1).collect::<Vec<_>>());
    let again = model.redrawing(&coordinates.redrawn());
    let mut feeding = Feeding::on(threads, plan.single, &model, batches).redrawing(&again);
    let (mut log_w, mut k_hats) = (vec![0.0; plan.batch], vec![]);
    for (c, own) in rows.chunks(plan.batch).enumerate() {
        batch.fill(&plan.kin, own, (plan.batch, 1), 1.0);
        feeding.take(&batch);
        let mut weights = vec![vec![]; own.len()];
        for d in 0..DRAWS {
            if plan.cancelled() {
                return None;
            }
            coordinates.noise(plan.seed, "k-hat", c * DRAWS + d, &mut z);
            coordinates.shared_noise(plan.seed, "k-hat", 0, &mut z);
            match d {
                0 => coordinates.place(psi, &batch, &z, feeding.theta()),
                _ => coordinates.redraw(psi, &batch, &z, feeding.theta()),
            }
            feeding.scores(&batch, &mut log_w);
            coordinates.row_surprise(psi, &batch, &z, &mut log_w);
            weights.iter_mut().zip(&log_w).for_each(|(all, w)| all.push(*w));
        }
        k_hats.extend(weights.iter().map(|w| smooth(w).k_hat));
    }
    Some(RowWeights::new(&k_hats, DRAWS, plan.unit()))
}

/// What each row adds to the log joint, as variables over the rows of these plates, with the number of the plate: one per axis that terms
/// run over the rows by.
pub fn add_scores(hir: &mut Hir, joint: &mut Joint, plates: &[PlateId]) -> Vec<(usize, VarId)> {
    let level = |hir: &Hir, a: AxisId| plates.iter().position(|p| *p == hir.axis(a).plate);
    let mut sums: Vec<(AxisId, usize, NodeId)> = vec![];
    for i in 0..joint.terms.len() {
        let term = joint.terms[i].clone();
        let Some((over, level)) = term.axes.iter().find_map(|a| Some((*a, level(hir, *a)?))) else { continue };
        let others: Vec<AxisId> = term.axes.iter().copied().filter(|a| *a != over).collect();
        let value = match others.is_empty() {
            true => term.value,
            false => joint.intern(Node::Reduce { op: Fold::Sum, axes: others, filter: None, body: term.value }),
        };
        match sums.iter_mut().find(|s| s.0 == over) {
            Some(sum) => sum.2 = joint.intern(Node::Binary(BinOp::Add, sum.2, value)),
            None => sums.push((over, level, value)),
        }
    }
    let mut out = vec![];
    for (axis, level, value) in sums {
        let var = VarId(hir.vars.len() as u32);
        hir.vars.push(Var {
            name: "log joint of a row".into(),
            span: Span::default(),
            kind: VarKind::Report,
            axes: vec![axis],
            joint: 0,
            ty: Ty::Real,
            constraint: Constraint::None,
        });
        joint.slots.push(Slot {
            name: "log joint of a row".into(),
            dims: vec![plates[level]],
            kind: SlotKind::Defined,
        });
        let slot = SlotId(joint.slots.len() as u32 - 1);
        joint.defs.push(Def {
            var: Some(var),
            report_only: true,
            ..Def::new(slot, vec![axis], value, Span::default())
        });
        out.push((level, var));
    }
    out
}
