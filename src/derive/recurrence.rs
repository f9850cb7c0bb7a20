//! Definitions that read earlier rows of each other, as definitions that walk together.

use super::joint::{Def, NodeId, SlotKind, Walk};
use super::translate::{Source, Translator};
use super::{Prior, joint::SlotId};
use crate::check::walk;
use crate::hir::{Centering, DistUse, ExprKind, Recurrence, Step, VarId};
use crate::source::Span;

impl Translator<'_> {
    /// The recurrence that a step belongs to.
    pub(super) fn recurrence_of(&self, step: &Step) -> Option<Recurrence> {
        let (Step::Let { var, .. } | Step::Latent { var, .. }) = step else { return None };
        self.hir.recurrences.iter().find(|r| r.vars.contains(var)).cloned()
    }

    /// Whether a latent of a recurrence is asked for as it is: then its density alone reads earlier cells.
    pub(super) fn is_centred(&self, step: &Step) -> bool {
        let centred =
            |s: &Step, v: &VarId| matches!(s, Step::Latent { var, centering: Centering::Centered, .. } if var == v);
        self.recurrence_of(step)
            .is_some_and(|r| r.walk.is_none() && r.vars.iter().all(|v| self.hir.steps.iter().any(|s| centred(s, v))))
    }

    /// All definitions of a recurrence, when its first step is reached.
    pub(super) fn recurrence(&mut self, r: &Recurrence, steps: &[Step]) {
        // Latents that are inputs are known; what is computed from them is a recurrence still.
        let (vars, axes): (Vec<VarId>, Vec<_>) =
            r.vars.iter().zip(&r.axes).filter(|(v, _)| !self.sources.contains_key(v)).unzip();
        if vars.is_empty() {
            return;
        }
        let r = &Recurrence { vars, axes, walk: r.walk };
        let order = r.walk.map(|w| match self.sources.get(&self.hir.walks[w.0 as usize].rows) {
            Some(Source::Slot(slot)) => *slot,
            Some(Source::Inline(..) | Source::Walked { .. }) | None => unreachable!("the order of a walk is data"),
        });
        let slots: Vec<SlotId> = r
            .vars
            .iter()
            .map(|&v| {
                let v = self.hir.var(v);
                let (name, dims) = (v.name.clone(), self.plates(&v.axes));
                self.slot(name, dims, SlotKind::Defined)
            })
            .collect();
        for ((&var, &slot), axis) in r.vars.iter().zip(&slots).zip(&r.axes) {
            let axes = self.hir.var(var).axes.clone();
            let dim = axes.iter().position(|a| a == axis).expect("check takes the walked axis from the variable's");
            self.sources.insert(var, Source::Walked { slot, dim, value: None });
        }
        let mut values: Vec<(NodeId, Span)> = vec![];
        let mut priors = vec![];
        for &var in &r.vars {
            let step =
                steps.iter().find(|s| matches!(s, Step::Let { var: v, .. } | Step::Latent { var: v, .. } if *v == var));
            let (node, span) = match step.expect("a recurrence is of steps") {
                Step::Let { value, span, .. } => (self.expr(value), *span),
                Step::Latent { dist, span, .. } => {
                    let z = self.noise_of(var);
                    let axes = self.hir.var(var).axes.clone();
                    priors.push((Prior { var, x: z, axes, standard: true, span: *span }, dist));
                    (self.scaled(dist, z), *span)
                }
                Step::Param { .. } | Step::Observe { .. } | Step::Factor { .. } => {
                    unreachable!("the search is for lets and latents")
                }
            };
            values.push((node, span));
            if let Some(Source::Walked { value, .. }) = self.sources.get_mut(&var) {
                *value = Some((node, self.hir.var(var).axes.clone()));
            }
        }
        let group = self.joint.defs.len() as u32;
        for (i, &var) in r.vars.iter().enumerate() {
            let ((value, span), slot) = (values[i], slots[i]);
            let walk = Some(Walk { axis: r.axes[i], order, backwards: false, group });
            let axes = self.hir.var(var).axes.clone();
            self.joint.defs.push(Def { var: Some(var), walk, ..Def::new(slot, axes, value, span) });
            self.sources.insert(var, Source::Slot(slot));
        }
        for (prior, dist) in priors {
            self.prior(prior, dist);
        }
    }

    /// Whether everything that a distribution depends on has been computed.
    pub(super) fn can_read(&self, dist: &DistUse) -> bool {
        let mut known = true;
        for (_, _, e) in &dist.args {
            walk(e, &mut |e| {
                if let ExprKind::Read { var, .. } = &e.kind {
                    known &= self.sources.contains_key::<VarId>(var);
                }
            });
        }
        known
    }
}
