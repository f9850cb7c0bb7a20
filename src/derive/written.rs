//! A written guide: its draws as functions of noise, and the terms that make its lower bound of the log joint.
//!
//! A line `z ~ D(args)` makes z = T(ε; args) with ε standard normal, and adds −log D(z; args) + log N(ε; 0, 1) to the log
//! joint. What results is a log joint over ε and the params, of which the guide, ε ~ N(0, 1), is a proposal as any other:
//! its lower bound is E[log p(z) − log q(z)], and its importance weights are those of z. No Jacobian is needed, since both
//! densities are those of z. A draw may be made from more noise than it has cells (Laplace: two numbers); the weights are
//! then those of an extended posterior p(z) q(ε | z), which has the same evidence.

use super::chosen::Draws;
use super::joint::*;
use super::scored::Scored;
use super::translate::{Source, Translator};
use crate::check::LocationScale;
use crate::hir::{AxisId, Bend, DistUse, Gradient, GuideLine, Noise, Step, VarId};
use crate::source::Span;

/// The draw that is being made.
pub(super) struct Making {
    /// The latent's name.
    name: String,
    var: VarId,
    /// Its noise so far.
    noise: Vec<(SlotId, Vec<AxisId>)>,
}

impl Translator<'_> {
    /// The lines of the guide, which come before the model.
    pub(super) fn written(&mut self) -> Draws {
        let mut draws = Draws::default();
        let Some(written) = self.hir.written.clone() else { return draws };
        self.joint.written = Some(Written::default());
        // Nets may be shared: their weights depend on nothing.
        for step in self.hir.steps.clone() {
            if let Step::Param { var, span } = step
                && self.hir.weights.contains(&var)
            {
                self.param(var, span);
            }
        }
        let mut groups = 0;
        for line in &written.lines {
            match line {
                GuideLine::Own(Step::Param { var, span }) => self.param(*var, *span),
                GuideLine::Own(step @ Step::Let { var, value, span }) => match self.recurrence_of(step) {
                    Some(r) => self.recurrence(&r, std::slice::from_ref(step)),
                    None => self.let_(*var, value, *span),
                },
                GuideLine::Own(_) => unreachable!("check puts only params and lets into a guide"),
                GuideLine::Draw { var, dist, gradient, span, .. } if self.hir.discrete(*var).is_some() => {
                    self.span = *span;
                    let z = self.choose(*var, dist, *gradient, *span);
                    draws.chosen.push(z);
                }
                GuideLine::Draw { var, over, dist, flow, gradient, span } => {
                    let scored = *gradient == Gradient::Score;
                    draws.scored.extend(self.drawn(*var, over, dist, flow, scored, *span));
                }
                GuideLine::Family { vars, family, read, span } => {
                    if *family == crate::hir::Guide::FullRank {
                        groups += 1;
                        let own = self.joint.written.as_mut().expect("begun above");
                        own.together.extend(vars.iter().map(|v| (*v, groups)));
                    }
                    for var in read {
                        self.span = *span;
                        self.constrained(*var, false, None, *span);
                    }
                }
            }
        }
        draws
    }

    /// A line of the guide for a continuous latent. A scored draw is a constant to derivatives.
    fn drawn(
        &mut self,
        var: VarId,
        over: &[AxisId],
        dist: &DistUse,
        flow: &[Bend],
        scored: bool,
        span: Span,
    ) -> Option<Scored> {
        self.span = span;
        let v = self.hir.var(var).clone();
        for (local, _, value) in &dist.args {
            let value = self.expr(value);
            self.locals.insert(*local, value);
        }
        let weighed = if scored { None } else { self.weighed(var, dist) };
        self.making = Some(Making { name: v.name.clone(), var, noise: vec![] });
        let sample = dist.sample.as_ref().expect("check lets a guide draw only what has a `sample()`");
        // A location plus a scale times a standard draw: the density is that of the standard draw over the scale, without a
        // difference of nearly equal numbers.
        let standard = match crate::check::location_scale(dist).filter(|_| over.is_empty() && !scored) {
            Some(LocationScale::Of { mu, sigma }) => {
                let (location, scale) = (self.locals[&mu], self.locals[&sigma]);
                let (zero, one) = (self.joint.constant(0.0), self.joint.constant(1.0));
                self.locals.extend([(mu, zero), (sigma, one)]);
                Some((location, scale))
            }
            Some(LocationScale::Either(..)) | None => None,
        };
        let drawn = self.expr(sample);
        let value = match standard {
            Some((location, scale)) => {
                let scaled = self.joint.binary(BinOp::Mul, scale, drawn);
                self.joint.binary(BinOp::Add, location, scaled)
            }
            None => drawn,
        };
        let made = self.making.take().expect("set above");
        let value = if scored { self.joint.intern(Node::Detached(value)) } else { value };
        // What is drawn here: the latent, or what the first layer of its flow bends.
        let first = flow.first().map_or(var, |b| b.input);
        let value = if first == var { self.but_reference(var, value) } else { value };
        let name = self.hir.var(first).name.clone();
        self.define(first, &name, &v.axes, value, span);
        let Some(Source::Slot(slot)) = self.sources.get(&first).cloned() else { unreachable!("just defined") };
        let told = weighed.map(|by| (by, self.tell(by, first, &v.axes, span)));
        let density = match (standard, told) {
            (Some((location, scale)), Some((by, z))) => {
                let (location, scale) = (self.argument(by, location), self.argument(by, scale));
                let own = crate::check::location_scale(dist);
                let own = if let Some(LocationScale::Of { mu, sigma }) = own { vec![mu, sigma] } else { vec![] };
                self.tell_arguments(by, dist, &own);
                let from = self.joint.binary(BinOp::Sub, z, location);
                let standard = self.joint.binary(BinOp::Div, from, scale);
                let density = self.density_with_locals(dist, standard);
                let log_scale = self.joint.unary(UnOp::Log, scale);
                self.joint.binary(BinOp::Sub, density, log_scale)
            }
            (None, Some((by, z))) => {
                self.tell_arguments(by, dist, &[]);
                self.density_with_locals(dist, z)
            }
            (Some((_, scale)), None) => {
                let density = self.density_with_locals(dist, drawn);
                let log_scale = self.joint.unary(UnOp::Log, scale);
                self.joint.binary(BinOp::Sub, density, log_scale)
            }
            // The draw of a cell is a short expression, which simplifies with the density; cells drawn together are stored, and what
            // is scored is one number to its density.
            (None, None) if over.is_empty() && !scored => self.density_with_locals(dist, value),
            (None, None) => {
                let x = self.read_all(slot, &v.axes);
                self.density_with_locals(dist, x)
            }
        };
        let filter = self.not_reference(var);
        let independent: Vec<AxisId> = v.axes.iter().filter(|a| !over.contains(a)).copied().collect();
        let axes = self.term_axes(density, &independent, over);
        let minus = self.joint.unary(UnOp::Neg, density);
        let term = |name: String, kind, axes, filter, value| Term { name, kind, axes, filter, value, span };
        let name = format!("guide: {} ~ {}", v.name, dist.name);
        let own = axes.clone();
        self.joint.terms.push(term(name, TermKind::Guide, axes, filter, minus));
        self.bent(var, flow, span);
        for (slot, axes) in made.noise {
            let z = self.read_all(slot, &axes);
            let value = self.standard_normal(z);
            let name = self.joint.slot(slot).name.clone();
            self.joint.terms.push(term(name, TermKind::Noise, axes, None, value));
        }
        scored.then_some(Scored { var, slot, axes: v.axes, joint: over.len(), log_q: density, over: own, filter, span })
    }

    /// The layers of a flow: each adds log |∂ out / ∂ in| to the log joint, since log q(out) = log q(in) − log |∂ out / ∂ in|.
    fn bent(&mut self, var: VarId, flow: &[Bend], span: Span) {
        let v = self.hir.var(var).clone();
        for (k, bend) in flow.iter().enumerate() {
            let value = self.expr(&bend.value);
            let slope = self.expr(&bend.log_slope);
            let next = flow.get(k + 1).map_or(var, |b| b.input);
            let value = if next == var { self.but_reference(var, value) } else { value };
            let name = self.hir.var(next).name.clone();
            self.define(next, &name, &v.axes, value, span);
            let filter = self.not_reference(var);
            let name = format!("guide: log |d {}| of {}", v.name, bend.name);
            let axes = v.axes.clone();
            self.joint.terms.push(Term { name, kind: TermKind::Guide, axes, filter, value: slope, span });
        }
    }

    /// Noise of the draw that is being made, as a function of a standard normal number per cell.
    pub(super) fn noise_for(&mut self, kind: Noise, params: &[NodeId], axes: &[AxisId]) -> NodeId {
        let making = self.making.as_ref().expect("noise stands in draws only");
        let name = match making.noise.len() {
            0 => format!("{} noise", making.name),
            n => format!("{} noise {}", making.name, n + 1),
        };
        let slot = self.guide_noise(making.var, name, axes);
        self.making.as_mut().expect("seen above").noise.push((slot, axes.to_vec()));
        let z = self.read_all(slot, axes);
        match kind {
            Noise::Normal => z,
            Noise::Uniform => self.joint.unary(UnOp::Phi, z),
            // Along its quantile a gamma variate moves smoothly with its shape.
            Noise::Gamma => {
                let log = self.joint.binary(BinOp::LogGammaDraw, params[0], z);
                self.joint.unary(UnOp::Exp, log)
            }
            _ => unreachable!("check lets a guide draw only from normal, uniform and gamma noise"),
        }
    }

    /// Standard normal noise per cell.
    pub(super) fn guide_noise(&mut self, var: VarId, name: String, axes: &[AxisId]) -> SlotId {
        let slot = self.slot(name, self.plates(axes), SlotKind::Unconstrained(var));
        let noise = Unconstrained { var, slot, point: false, start: None, axes: axes.to_vec() };
        self.joint.unconstrained.push(noise);
        self.joint.written.as_mut().expect("a written guide is at work").noise.push(slot);
        slot
    }
}
