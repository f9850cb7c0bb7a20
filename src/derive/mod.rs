//! The log joint and the guide programs, from the checked model.

pub mod batch;
mod bijector;
mod chain;
mod chosen;
mod discrete;
mod drawn_values;
mod factor;
pub mod guide;
pub mod joint;
mod kin;
mod matrix;
mod missing;
pub mod ode;
mod parts;
mod print;
pub use discrete::{MOST_ENTRIES, MOST_STORED, Purpose, too_many_values};
pub use print::print;
mod recurrence;
mod reference;
mod relaxed;
mod scored;
pub mod several;
pub mod soften;
pub mod statistics;
pub mod structure;
mod together;
mod translate;
mod weighed;
mod written;

use std::collections::{HashMap, HashSet};

use crate::check::LocationScale;
use crate::hir::{
    AxisId, Centering, Constraint, DistUse, Expr, ExprKind, FitValue, Hir, Index, PlateId, PlateKind, Step, Ty, Var,
    VarId, VarKind,
};
use crate::source::Span;
use bijector::{Ordered, Simplex, Support};
use chosen::Draws;
use joint::*;
use translate::{Source, Translator};

/// The log joint density on the unconstrained scale. Expects a program without errors; adds the plates that
/// constrained latents need to `hir`.
pub fn joint(hir: &mut Hir) -> Joint {
    joint_for(hir, Purpose::Fit, &known_size)
}

/// How many cells a plate has, as far as the program alone says.
pub(crate) fn known_size(hir: &Hir, plate: PlateId) -> Option<f64> {
    let number = |e: &Expr| if let ExprKind::Number(v) = e.kind { Some(v) } else { None };
    match &hir.plate(plate).kind {
        PlateKind::Labels(labels) | PlateKind::Levels { fixed: Some(labels), .. } => Some(labels.len() as f64),
        PlateKind::Sized(e) => number(e),
        PlateKind::Range(a, b) => Some(number(b)? - number(a)? + 1.0),
        PlateKind::Power { values, cells } => {
            let cells = cells.iter().map(|p| known_size(hir, *p)).product::<Option<f64>>()?;
            Some(known_size(hir, *values)?.powf(cells))
        }
        PlateKind::Levels { fixed: None, .. }
        | PlateKind::Rows(_)
        | PlateKind::Header { .. }
        | PlateKind::OneLess(_)
        | PlateKind::Triangle { .. }
        | PlateKind::Missing(_) => None,
        PlateKind::Without { of, .. } => Some(known_size(hir, *of)? - 1.0),
    }
}

/// The log joint with probes of its discrete latents, if it has another purpose than a fit.
pub fn joint_for(hir: &mut Hir, purpose: Purpose, known_size: &dyn Fn(&Hir, PlateId) -> Option<f64>) -> Joint {
    let mut joint = translated(hir, purpose, known_size).joint;
    joint.mark_report_only();
    joint
}

/// The log joint, with what it takes to rewrite it.
fn translated<'h>(
    hir: &'h mut Hir,
    purpose: Purpose,
    known_size: &'h dyn Fn(&Hir, PlateId) -> Option<f64>,
) -> Translator<'h> {
    let steps = hir.steps.clone();
    let mut t = Translator::around(hir, Joint::default(), purpose, known_size);
    t.data_slots();
    // Chains may read each other, so that each is known before its prior.
    for d in t.hir.discrete.clone() {
        let slot = t.discrete(d.var);
        t.sources.insert(d.var, Source::Slot(slot));
    }
    if t.gives() {
        t.give_latents();
    }
    t.fill_known();
    let draws = if t.gives() { Draws::default() } else { t.written() };
    let mut later = vec![];
    for step in &steps {
        t.span = match step {
            Step::Latent { span, .. }
            | Step::Param { span, .. }
            | Step::Let { span, .. }
            | Step::Observe { span, .. }
            | Step::Factor { span, .. } => *span,
        };
        if !t.is_centred(step)
            && let Some(recurrence) = t.recurrence_of(step)
        {
            t.recurrence(&recurrence, &steps);
            continue;
        }
        match step {
            Step::Latent { var, dist, span, .. } if t.hir.discrete(*var).is_some() => {
                t.discrete_latent(*var, dist, *span);
            }
            Step::Latent { var, dist, centering, span } => {
                let prior = t.latent(*var, dist, *centering, *span);
                // The density of a chain may read what is computed from it.
                match t.can_read(dist) {
                    true => t.prior(prior, dist),
                    false => later.push((prior, dist)),
                }
            }
            Step::Param { var, span } if !t.sources.contains_key(var) => t.param(*var, *span),
            // Given, or known to the guide already.
            Step::Param { .. } => {}
            Step::Let { var, value, span } => t.let_(*var, value, *span),
            Step::Observe { name, target, over, axes, filter, dist, span } => {
                t.fill_observed(target);
                let x = t.expr(target);
                let value = t.density(dist, x);
                let value = t.cut_to_own(target, x, value);
                let axes = t.term_axes(value, axes, over);
                let filter = filter.as_ref().map(|f| t.expr(f));
                let filter = t.present(target, filter);
                let name = format!("observe {name}");
                t.joint.terms.push(Term { name, kind: TermKind::Likelihood, axes, filter, value, span: *span });
            }
            Step::Factor { axes, value, span } => {
                let value = t.expr(value);
                let axes = axes.clone();
                t.joint.terms.push(Term {
                    name: "factor".into(),
                    kind: TermKind::Factor,
                    axes,
                    filter: None,
                    value,
                    span: *span,
                });
            }
        }
    }
    for (prior, dist) in later {
        t.prior(prior, dist);
    }
    t.settle_draws(draws);
    t.sum_out();
    if purpose == Purpose::Parts {
        t.part();
    }
    t
}

/// Whether a latent is drawn as location + scale · noise, and why.
pub fn centering(hir: &Hir, var: VarId, dist: &DistUse, asked: Centering) -> (bool, &'static str) {
    let v = hir.var(var);
    if crate::check::is_joint_gaussian(dist, &v.axes[v.axes.len() - v.joint..]) {
        return match asked {
            Centering::Noncentered => (true, "asked for"),
            Centering::Centered => (false, "asked for"),
            // Correlations between the cells of a group are seen where groups have data of their own.
            Centering::Auto if v.axes.len() > v.joint => (false, "one draw per group"),
            Centering::Auto => (true, "its cells are drawn together"),
        };
    }
    let Some(shape) = crate::check::location_scale(dist) else { return (false, "") };
    if dist.args.iter().any(|(_, _, e)| reads(hir, e, &|v| hir.is_summed(v))) {
        return (false, "it depends on a discrete latent");
    }
    match asked {
        Centering::Noncentered => (true, "asked for"),
        Centering::Centered => (false, "asked for"),
        Centering::Auto if matches!(shape, LocationScale::Either(..)) => (false, "its form differs by row"),
        Centering::Auto => {
            let scale = dist.args.iter().find(|(_, n, _)| n == "sigma");
            let latent = |v: VarId| matches!(hir.var(v).kind, VarKind::Latent | VarKind::Param { .. });
            let latent_scale = scale.is_some_and(|(_, _, e)| reads(hir, e, &latent));
            let several = !hir.var(var).axes.is_empty();
            match (several, latent_scale) {
                (true, true) => (true, "its scale is a latent"),
                _ => (false, "its scale is fixed"),
            }
        }
    }
}

/// Whether an expression reads such a variable, itself or through a `let`.
fn reads(hir: &Hir, e: &Expr, wanted: &dyn Fn(VarId) -> bool) -> bool {
    let any = |e: &Expr| reads(hir, e, wanted);
    let at = |i: &Index| matches!(i, Index::At(e) if any(e));
    match &e.kind {
        ExprKind::Read { var, index } => {
            let through = |s: &Step| matches!(s, Step::Let { var: v, value, .. } if v == var && any(value));
            wanted(*var) || index.iter().any(at) || hir.steps.iter().any(through)
        }
        ExprKind::Bind { value, body, .. } => any(value) || any(body),
        ExprKind::Unary(_, a) => any(a),
        ExprKind::Binary(_, a, b) => any(a) || any(b),
        ExprKind::If { condition, then, otherwise } => any(condition) || any(then) || any(otherwise),
        ExprKind::Reduce { body, .. } => any(body),
        ExprKind::At { body, index, .. } => any(body) || at(index),
        ExprKind::Matrix { matrix, vector, .. } => any(matrix) || vector.as_ref().is_some_and(|(_, v)| any(v)),
        ExprKind::List { items, .. } | ExprKind::Noise(_, items) => items.iter().any(any),
        ExprKind::Ode(ode) => ode.inputs().any(any),
        ExprKind::Number(_) | ExprKind::Local(_) | ExprKind::Position(_) | ExprKind::Size(_) => false,
    }
}

/// The slot that holds 0, 1, 2, … along a plate.
fn position_slot(joint: &mut Joint, hir: &Hir, plate: PlateId) -> SlotId {
    let kind = SlotKind::Table(Table::Positions);
    if let Some(i) = joint.slots.iter().position(|s| s.kind == kind && s.dims == [plate]) {
        return SlotId(i as u32);
    }
    joint.slots.push(Slot { name: format!("positions of {}", hir.plate(plate).name), dims: vec![plate], kind });
    SlotId(joint.slots.len() as u32 - 1)
}

/// A latent whose prior is still to be added.
struct Prior {
    var: VarId,
    /// The value, or the noise that it is made from.
    x: NodeId,
    /// What that varies over.
    axes: Vec<AxisId>,
    standard: bool,
    span: Span,
}

impl Translator<'_> {
    fn slot(&mut self, name: String, dims: Vec<PlateId>, kind: SlotKind) -> SlotId {
        self.joint.slots.push(Slot { name, dims, kind });
        SlotId(self.joint.slots.len() as u32 - 1)
    }

    fn plates(&self, axes: &[AxisId]) -> Vec<PlateId> {
        axes.iter().map(|&a| self.hir.axis(a).plate).collect()
    }

    fn data_slots(&mut self) {
        for i in 0..self.hir.vars.len() {
            let v = &self.hir.vars[i];
            let data = matches!(
                v.kind,
                VarKind::Column(_)
                    | VarKind::DataValue { .. }
                    | VarKind::Const { .. }
                    | VarKind::Order { .. }
                    | VarKind::Start { .. }
            );
            if data && v.ty != Ty::Key {
                let (name, axes) = (v.name.clone(), v.axes.clone());
                let var = VarId(i as u32);
                let slot = self.slot(name, self.plates(&axes), SlotKind::Data(var));
                self.sources.insert(var, Source::Slot(slot));
            }
        }
        self.masks();
    }

    /// What `dropout` multiplies by is given anew in each step of a fit in batches, and 1 everywhere else.
    fn masks(&mut self) {
        let batches = self.hir.fit.iter().any(|o| matches!(o.value, FitValue::Batch(..)));
        for (i, v) in self.hir.vars.clone().into_iter().enumerate() {
            let VarKind::Mask { .. } = v.kind else { continue };
            let var = VarId(i as u32);
            let source = match batches && matches!(self.purpose, Purpose::Fit | Purpose::Weighed(_)) {
                true => Source::Slot(self.slot(v.name, self.plates(&v.axes), SlotKind::Data(var))),
                false => Source::Inline(self.joint.constant(1.0), v.axes),
            };
            self.sources.insert(var, source);
        }
    }

    fn read_all(&mut self, slot: SlotId, axes: &[AxisId]) -> NodeId {
        self.joint.intern(Node::Read { slot, index: axes.iter().map(|&a| Ix::Axis(a)).collect() })
    }

    /// The log density at `x`, arguments bound.
    fn density(&mut self, dist: &DistUse, x: NodeId) -> NodeId {
        for (local, _, value) in &dist.args {
            let v = self.expr(value);
            self.locals.insert(*local, v);
        }
        self.density_with_locals(dist, x)
    }

    fn density_with_locals(&mut self, dist: &DistUse, x: NodeId) -> NodeId {
        self.locals.insert(dist.x, x);
        let lp = self.expr(&dist.logpdf);
        match &dist.log_kept {
            Some(k) => {
                let k = self.expr(k);
                self.joint.binary(BinOp::Sub, lp, k)
            }
            None => lp,
        }
    }

    /// A term runs over the independent plates, and over the joint ones if the density is per element.
    fn term_axes(&self, value: NodeId, axes: &[AxisId], over: &[AxisId]) -> Vec<AxisId> {
        let elementwise = over.iter().any(|a| self.joint.varies_over(value, *a));
        axes.iter().chain(over.iter().filter(|_| elementwise)).copied().collect()
    }

    /// Every continuous latent and param as an input, on its own scale.
    fn give_latents(&mut self) {
        for i in 0..self.hir.vars.len() {
            let (var, v) = (VarId(i as u32), self.hir.vars[i].clone());
            if self.hir.is_unknown(var) && self.hir.discrete(var).is_none() {
                let slot = self.slot(v.name, self.plates(&v.axes), SlotKind::Unconstrained(var));
                self.sources.insert(var, Source::Slot(slot));
                self.joint.unconstrained.push(Unconstrained { var, slot, point: false, start: None, axes: v.axes });
            }
        }
    }

    /// Storage and value of a latent; its prior is a term of its own.
    fn latent(&mut self, var: VarId, dist: &DistUse, asked: Centering, span: Span) -> Prior {
        if let Some(Source::Slot(slot)) = self.sources.get(&var).cloned() {
            let axes = self.hir.var(var).axes.clone();
            return Prior { var, x: self.read_all(slot, &axes), axes, standard: false, span };
        }
        if !centering(self.hir, var, dist, asked).0 {
            let x = self.constrained(var, false, None, span);
            let axes = self.hir.var(var).axes.clone();
            return Prior { var, x, axes, standard: false, span };
        }
        let v = self.hir.var(var).clone();
        // The noise of the prior, and the noise per cell that the draw is made from.
        let (noise, axes, z) = match (&v.constraint, v.axes.last()) {
            (Constraint::ZeroSum, Some(&k)) => {
                let (z, u, axes) = self.contrasts(var, &v, k, false, None);
                let slot = self.slot(format!("{} contrasts", v.name), self.plates(&v.axes), SlotKind::Defined);
                self.joint.defs.push(Def::new(slot, v.axes.clone(), z, span));
                (u, axes, self.read_all(slot, &v.axes))
            }
            _ => {
                let z = self.noise_of(var);
                (z, v.axes.clone(), z)
            }
        };
        let x = match crate::check::location_scale(dist) {
            Some(_) => self.scaled(dist, z),
            None => self.drawn_from(dist, z),
        };
        let x = self.but_reference(var, x);
        self.define(var, &v.name, &v.axes, x, span);
        Prior { var, x: noise, axes, standard: true, span }
    }

    /// Values over `k` that sum to 0, in terms of one number fewer, and these with their axes. The basis is orthonormal:
    /// there is no Jacobian, and independent standard normals give such normals within the hyperplane.
    fn contrasts(
        &mut self,
        var: VarId,
        v: &Var,
        k: AxisId,
        point: bool,
        start: Option<NodeId>,
    ) -> (NodeId, NodeId, Vec<AxisId>) {
        let basis = Simplex::new(self.hir, &mut self.joint, self.hir.axis(k).plate);
        let mut axes = v.axes.clone();
        *axes.last_mut().expect("what sums to 0 runs over a plate") = basis.free_axis;
        let slot = self.slot(format!("{} free", v.name), self.plates(&axes), SlotKind::Unconstrained(var));
        let u = self.read_all(slot, &axes);
        let start = start.map(|x| basis.coordinates(&mut self.joint, x, k));
        self.joint.unconstrained.push(Unconstrained { var, slot, point, start, axes: axes.clone() });
        (basis.logits(&mut self.joint, u, k), u, axes)
    }

    /// The standard noise that a noncentred latent is made from.
    fn noise_of(&mut self, var: VarId) -> NodeId {
        let v = self.hir.var(var).clone();
        let axes = self.unknown_axes(var, &v.axes);
        let slot = self.slot(format!("{} noise", v.name), self.plates(&axes), SlotKind::Unconstrained(var));
        self.joint.unconstrained.push(Unconstrained { var, slot, point: false, start: None, axes });
        self.read_unknown(slot, var, &v.axes)
    }

    /// A joint draw in terms of its standard normal noise, one number per cell.
    fn drawn_from(&mut self, dist: &DistUse, z: NodeId) -> NodeId {
        for (local, _, value) in &dist.args {
            let node = self.expr(value);
            self.locals.insert(*local, node);
        }
        self.noise = Some(z);
        let x = self.expr(dist.sample.as_ref().expect("what is noncentred has a draw"));
        self.noise = None;
        x
    }

    /// log N(z; 0, 1)
    fn standard_normal(&mut self, z: NodeId) -> NodeId {
        let square = self.joint.binary(BinOp::Mul, z, z);
        let half = self.joint.constant(-0.5);
        let scaled = self.joint.binary(BinOp::Mul, half, square);
        // ½ log 2π
        let constant = self.joint.constant(0.918_938_533_204_672_8);
        self.joint.binary(BinOp::Sub, scaled, constant)
    }

    /// Location + scale · noise, on the side of each condition that is taken.
    fn scaled(&mut self, dist: &DistUse, z: NodeId) -> NodeId {
        let shape = crate::check::location_scale(dist).expect("only such a distribution is noncentred");
        for (local, _, value) in &dist.args {
            let node = self.expr(value);
            self.locals.insert(*local, node);
        }
        self.scaled_by(&shape, z)
    }

    fn scaled_by(&mut self, shape: &LocationScale, z: NodeId) -> NodeId {
        match shape {
            LocationScale::Of { mu, sigma } => {
                let (mu, sigma) = (self.locals[mu], self.locals[sigma]);
                let scaled = self.joint.binary(BinOp::Mul, sigma, z);
                self.joint.binary(BinOp::Add, mu, scaled)
            }
            LocationScale::Either(condition, a, b) => {
                let c = self.expr(condition);
                let (a, b) = (self.scaled_by(a, z), self.scaled_by(b, z));
                self.joint.intern(Node::Select(c, a, b))
            }
        }
    }

    /// The term of a latent's prior.
    fn prior(&mut self, prior: Prior, dist: &DistUse) {
        let Prior { var, x, axes: own, standard, span } = prior;
        let v = self.hir.var(var).clone();
        let (independent, over) = v.axes.split_at(v.axes.len() - v.joint);
        let (value, axes) = if standard && crate::check::location_scale(dist).is_none() {
            (self.standard_normal(x), own)
        } else if standard {
            for (local, name, value) in &dist.args {
                let node = match name.as_str() {
                    "mu" => self.joint.constant(0.0),
                    "sigma" => self.joint.constant(1.0),
                    _ => self.expr(value),
                };
                self.locals.insert(*local, node);
            }
            (self.density_with_locals(dist, x), v.axes.clone())
        } else {
            let value = self.density(dist, x);
            (value, self.term_axes(value, independent, over))
        };
        let name = format!("{} ~ {}", v.name, dist.name);
        let filter = self.not_reference(var);
        self.joint.terms.push(Term { name, kind: TermKind::Prior, axes, filter, value, span });
    }

    /// A discrete latent has its prior as a factor, cut to its values.
    fn discrete_latent(&mut self, var: VarId, dist: &DistUse, span: Span) {
        let v = self.hir.var(var).clone();
        let Some(Source::Slot(slot)) = self.sources.get(&var).cloned() else { unreachable!("all have slots") };
        let x = self.read_all(slot, &v.axes);
        for (local, _, value) in &dist.args {
            let value = self.expr(value);
            self.locals.insert(*local, value);
        }
        self.locals.insert(dist.x, x);
        let mut value = self.expr(&dist.logpdf);
        // A value within the ends of some cells may lie outside those of its own.
        if let Some(inside) = self.within(&v.constraint, x) {
            let never = self.joint.constant(f64::NEG_INFINITY);
            value = self.joint.intern(Node::Select(inside, value, never));
        }
        if dist.log_kept.is_some() {
            let kept = self.kept(slot, value);
            value = self.joint.binary(BinOp::Sub, value, kept);
        }
        let name = format!("{} ~ {}", v.name, dist.name);
        self.joint.terms.push(Term { name, kind: TermKind::Prior, axes: v.axes, filter: None, value, span });
    }

    /// Whether a value lies between ends that are not mere numbers.
    fn within(&mut self, c: &Constraint, x: NodeId) -> Option<NodeId> {
        let (lower, upper) = c.ends();
        let open = |e: &&Expr| !matches!(e.kind, ExprKind::Number(_));
        let lower = lower.filter(open).map(|e| self.expr(e));
        let upper = upper.filter(open).map(|e| self.expr(e));
        let above = lower.map(|l| self.joint.binary(BinOp::LessEq, l, x));
        let below = upper.map(|u| self.joint.binary(BinOp::LessEq, x, u));
        match (above, below) {
            (Some(a), Some(b)) => Some(self.joint.binary(BinOp::And, a, b)),
            (a, b) => a.or(b),
        }
    }

    fn param(&mut self, var: VarId, span: Span) {
        let VarKind::Param { init } = &self.hir.var(var).kind else { return };
        let init = init.clone();
        let start = self.expr(&init);
        self.constrained(var, true, Some(start), span);
    }

    /// Storage for a latent or param, its transform, and (for a latent) the Jacobian's term. Returns the value per cell.
    fn constrained(&mut self, var: VarId, point: bool, start: Option<NodeId>, span: Span) -> NodeId {
        let v = self.hir.var(var).clone();
        let kind = SlotKind::Unconstrained(var);
        if let (Constraint::Simplex, Some(&k)) = (&v.constraint, v.axes.last()) {
            let plate = self.hir.axis(k).plate;
            let simplex = Simplex::new(self.hir, &mut self.joint, plate);
            let independent = &v.axes[..v.axes.len() - 1];
            let mut dims = self.plates(independent);
            dims.push(simplex.free);
            let slot = self.slot(format!("{} log-ratios", v.name), dims, kind);
            let mut axes = independent.to_vec();
            axes.push(simplex.free_axis);
            let u = self.read_all(slot, &axes);
            let start = start.map(|s| simplex.unconstrain(&mut self.joint, s, k));
            self.joint.unconstrained.push(Unconstrained { var, slot, point, start, axes });
            let y = simplex.logits(&mut self.joint, u, k);
            let y_slot = self.slot(format!("{} logits", v.name), self.plates(&v.axes), SlotKind::Defined);
            self.joint.defs.push(Def::new(y_slot, v.axes.clone(), y, span));
            let y = self.read_all(y_slot, &v.axes);
            let (x, jacobian) = simplex.probabilities(&mut self.joint, y, k, plate);
            self.define(var, &v.name, &v.axes, x, span);
            if !point {
                self.jacobian(&v.name, independent.to_vec(), jacobian, span);
            }
            return x;
        }
        if let (Constraint::ZeroSum, Some(&k)) = (&v.constraint, v.axes.last()) {
            let (x, ..) = self.contrasts(var, &v, k, point, start);
            self.define(var, &v.name, &v.axes, x, span);
            return x;
        }
        if let Constraint::Matrix(kind) = &v.constraint {
            return self.latent_matrix(var, &v, *kind, span);
        }
        if matches!(v.constraint, Constraint::UnitVector) {
            return self.unit_vector(var, &v, span);
        }
        if let (Constraint::Ordered { positive }, Some(&k)) = (&v.constraint, v.axes.last()) {
            return self.ordered(var, &v, k, *positive, start, span);
        }
        let name = match &v.constraint {
            Constraint::None => v.name.clone(),
            _ => format!("{} unconstrained", v.name),
        };
        let axes = self.unknown_axes(var, &v.axes);
        let slot = self.slot(name, self.plates(&axes), kind);
        let u = self.read_unknown(slot, var, &v.axes);
        let support = match &v.constraint {
            Constraint::Lower { bound, .. } => Support::Lower(self.expr(bound)),
            Constraint::Upper { bound, .. } => Support::Upper(self.expr(bound)),
            Constraint::Interval { lower, upper, .. } => Support::Interval(self.expr(lower), self.expr(upper)),
            Constraint::None
            | Constraint::Simplex
            | Constraint::Matrix(_)
            | Constraint::UnitVector
            | Constraint::ZeroSum
            | Constraint::Ordered { .. } => Support::Real,
        };
        let start = start.map(|s| self.joint.unconstrain(support, s));
        self.joint.unconstrained.push(Unconstrained { var, slot, point, start, axes });
        let (x, jacobian) = self.joint.constrain(support, u);
        let value = self.but_reference(var, x);
        self.define(var, &v.name, &v.axes, value, span);
        if let (Some(j), false) = (jacobian, point) {
            self.jacobian(&v.name, v.axes.clone(), j, span);
            let filter = self.not_reference(var);
            self.joint.terms.last_mut().expect("just added").filter = filter;
        }
        x
    }

    fn ordered(&mut self, var: VarId, v: &Var, k: AxisId, positive: bool, start: Option<NodeId>, span: Span) -> NodeId {
        let ordered = Ordered::new(self.hir, &mut self.joint, k, positive);
        let slot = self.slot(format!("{} unconstrained", v.name), self.plates(&v.axes), SlotKind::Unconstrained(var));
        let u = self.read_all(slot, &v.axes);
        let point = start.is_some();
        let start = start.map(|x| {
            let (at, one) = (self.joint.intern(Node::Position(k)), self.joint.constant(1.0));
            let earlier = self.joint.binary(BinOp::Sub, at, one);
            let before = self.substitute(x, k, &Ix::At(earlier));
            ordered.unconstrain(&mut self.joint, x, before, k)
        });
        self.joint.unconstrained.push(Unconstrained { var, slot, point, start, axes: v.axes.clone() });
        let steps = ordered.steps(&mut self.joint, u, k);
        let step_slot = self.slot(format!("{} steps", v.name), self.plates(&v.axes), SlotKind::Defined);
        let axes = v.axes.clone();
        self.joint.defs.push(Def::new(step_slot, axes, steps, span));
        let mut over_steps = v.axes.clone();
        *over_steps.last_mut().expect("an ordered vector has its own axis") = ordered.step_axis;
        let steps = self.read_all(step_slot, &over_steps);
        let x = ordered.values(&mut self.joint, steps, k);
        self.define(var, &v.name, &v.axes, x, span);
        if !point {
            let value = ordered.jacobian(&mut self.joint, u, k);
            self.jacobian(&v.name, v.axes.clone(), value, span);
        }
        x
    }

    fn jacobian(&mut self, name: &str, axes: Vec<AxisId>, value: NodeId, span: Span) {
        let name = format!("log |d {name}|");
        self.joint.terms.push(Term { name, kind: TermKind::Jacobian, axes, filter: None, value, span });
    }

    /// Store a value under a variable's name; later reads see the stored value.
    fn define(&mut self, var: VarId, name: &str, axes: &[AxisId], value: NodeId, span: Span) {
        // An identity transform needs no copy to be read, only one to be reported.
        let identity = match self.joint.node(value) {
            Node::Read { slot, index } => {
                let same = index.iter().zip(axes).all(|(i, a)| *i == Ix::Axis(*a)) && index.len() == axes.len();
                same.then_some(*slot)
            }
            _ => None,
        };
        let slot = self.slot(name.to_string(), self.plates(axes), SlotKind::Defined);
        self.joint.defs.push(Def { var: Some(var), ..Def::new(slot, axes.to_vec(), value, span) });
        self.sources.insert(var, Source::Slot(identity.unwrap_or(slot)));
    }

    fn let_(&mut self, var: VarId, value: &Expr, span: Span) {
        let v = self.hir.var(var).clone();
        let node = self.expr(value);
        if matches!(v.ty, Ty::Index(_)) || self.depends_on_discrete(node) {
            self.sources.insert(var, Source::Inline(node, v.axes.clone()));
            return;
        }
        let slot = self.slot(v.name.clone(), self.plates(&v.axes), SlotKind::Defined);
        self.joint.defs.push(Def { var: Some(var), ..Def::new(slot, v.axes.clone(), node, span) });
        self.sources.insert(var, Source::Slot(slot));
    }
}

impl Joint {
    /// Whether an expression depends on the cell of an axis.
    pub fn varies_over(&self, node: NodeId, axis: AxisId) -> bool {
        self.free_axes(node).contains(&axis)
    }

    /// The axes on whose cell an expression depends, sorted.
    pub fn free_axes(&self, node: NodeId) -> Vec<AxisId> {
        fn visit(j: &Joint, node: NodeId, done: &mut HashMap<NodeId, Vec<AxisId>>) -> Vec<AxisId> {
            if let Some(v) = done.get(&node) {
                return v.clone();
            }
            let mut out: Vec<AxisId> = match j.node(node) {
                Node::Position(a) => vec![*a],
                Node::Read { index, .. } => {
                    index.iter().filter_map(|ix| if let Ix::Axis(a) = ix { Some(*a) } else { None }).collect()
                }
                _ => vec![],
            };
            for operand in j.operands(node) {
                out.extend(visit(j, operand, done));
            }
            if let Node::Reduce { axes, .. } = j.node(node) {
                out.retain(|a| !axes.contains(a));
            }
            out.sort_unstable();
            out.dedup();
            done.insert(node, out.clone());
            out
        }
        visit(self, node, &mut HashMap::new())
    }

    /// The nodes that a node is computed from, those inside its indices included.
    pub fn operands(&self, node: NodeId) -> Vec<NodeId> {
        match self.node(node) {
            Node::Const(_) | Node::Size(_) | Node::Position(_) => vec![],
            Node::Read { index, .. } => {
                index.iter().filter_map(|ix| if let Ix::At(n) = ix { Some(*n) } else { None }).collect()
            }
            Node::Unary(_, a) | Node::Detached(a) => vec![*a],
            Node::Binary(_, a, b) => vec![*a, *b],
            Node::Select(c, t, o) => vec![*c, *t, *o],
            Node::Reduce { filter, body, .. } => filter.iter().chain([body]).copied().collect(),
            Node::Matrix { operands, .. } | Node::Ode { operands, .. } => operands.clone(),
        }
    }

    /// Whether a value is computed from what has a number per cell of a plate, or from how many they are.
    pub fn depends_on_rows(&self, node: NodeId, plate: PlateId) -> bool {
        let (mut seen, mut stack) = (HashSet::new(), vec![node]);
        while let Some(n) = stack.pop() {
            if !seen.insert(n) {
                continue;
            }
            match self.node(n) {
                Node::Size(p) if *p == plate => return true,
                Node::Read { slot, .. } if self.slot(*slot).dims.contains(&plate) => return true,
                Node::Read { slot, .. } => stack.extend(self.defs.iter().filter(|d| d.slot == *slot).map(|d| d.value)),
                _ => {}
            }
            stack.extend(self.operands(n));
        }
        false
    }

    /// Add the slots that an expression reads.
    fn reads(&self, node: NodeId, out: &mut HashSet<SlotId>) {
        let mut seen = HashSet::new();
        let mut stack = vec![node];
        while let Some(n) = stack.pop() {
            if seen.insert(n) {
                if let Node::Read { slot, .. } = self.node(n) {
                    out.insert(*slot);
                }
                stack.extend(self.operands(n));
            }
        }
    }

    /// Definitions that no term needs are for reports only.
    fn mark_report_only(&mut self) {
        let mut needed = HashSet::new();
        for t in &self.terms {
            self.reads(t.value, &mut needed);
            if let Some(f) = t.filter {
                self.reads(f, &mut needed);
            }
        }
        let mut defs = std::mem::take(&mut self.defs);
        let group = |d: &Def| d.walk.as_ref().map(|w| w.group);
        let groups = defs.chunk_by_mut(|a, b| group(a).is_some() && group(a) == group(b));
        for group in groups.collect::<Vec<_>>().into_iter().rev() {
            // Of definitions that walk together, each may need all others.
            let mine = group.iter().any(|d| needed.contains(&d.slot));
            for d in group {
                if mine {
                    self.reads(d.value, &mut needed);
                    let scatter = d.scatter.iter();
                    let indices = scatter.clone().flat_map(|s| &s.index);
                    let indices = indices.filter_map(|ix| if let Ix::At(n) = ix { Some(*n) } else { None });
                    for n in indices.chain(scatter.filter_map(|s| s.filter)) {
                        self.reads(n, &mut needed);
                    }
                }
                d.report_only = !mine;
            }
        }
        self.defs = defs;
    }
}
