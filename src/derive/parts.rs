//! The log joint in parts, for the score function: what each coordinate of the latents has to do with.
//!
//! The score's gradient along a coordinate of a guide with independent coordinates needs only the terms that depend on it; the
//! others have mean 0 in it and add noise (Ranganath, Gerrish and Blei 2014, Black box variational inference, section 3.1).
//! As for scored draws of a written guide, every term is multiplied by 1 + e, where e is the sum of an input, 0, per
//! coordinate that the term depends on: the derivative along the input is the sum of the coordinate's terms.

use super::joint::*;
use super::scored::{Known, Scored};
use super::translate::Translator;

impl Translator<'_> {
    /// Add an input per coordinate that is not a point, after all others and in their order.
    pub(super) fn part(&mut self) {
        let latents: Vec<Unconstrained> = self.joint.unconstrained.iter().filter(|u| !u.point).cloned().collect();
        let mut probed: Vec<(Scored, Known, SlotId)> = vec![];
        for u in latents {
            let name = format!("terms of {}", self.joint.slot(u.slot).name);
            let probe = self.slot(name, self.plates(&u.axes), SlotKind::Unconstrained(u.var));
            let zero = self.joint.constant(0.0);
            let (over, span) = (u.axes.clone(), self.span);
            let z = Scored {
                var: u.var,
                slot: u.slot,
                axes: u.axes.clone(),
                joint: 0,
                log_q: zero,
                over,
                filter: None,
                span,
            };
            let known = self.known_of(&z);
            probed.push((z, known, probe));
            self.joint.unconstrained.push(Unconstrained { slot: probe, point: true, start: None, ..u });
        }
        for mut term in std::mem::take(&mut self.joint.terms) {
            if let Some(factor) = self.probed(term.value, &probed) {
                term.value = self.joint.binary(BinOp::Mul, factor, term.value);
            }
            self.joint.terms.push(term);
        }
    }
}
