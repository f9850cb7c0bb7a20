//! The log joint as sums of products: data times powers of what depends on the latents.
//!
//! A [`Mono`] is Σ over `axes` where `filter` of data · Π baseᵖ. Products are multiplied out, definitions are looked
//! through, logarithms of products are sums. What cannot be taken apart is a factor of its own, so that every expression
//! has such a form; whether a latent stands inside of a factor is what decides about it. This is the canonical form of
//! Hoffman, Johnson and Tran (2018, Autoconj), with factors instead of a fixed list of statistics.
//!
//! Latents behind a transform are seen on either scale: with x = exp(u), log x is `u` and x, 1/x, √x are powers of
//! `exp(u)`; with x = σ(u), log x is u − softplus(u) and log(1 − x) is −softplus(u). For a simplex the log of each cell is a factor.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use crate::derive::Purpose;
use crate::derive::joint::*;
use crate::derive::translate::Translator;
use crate::hir::{AxisId, AxisInfo, Constraint, Hir, MatrixFn, MatrixKind, PlateId};
use crate::prim::scalar;

/// More cells than this, all of which depend on each other, are not taken apart.
pub(super) const MOST_DENSE: f64 = 40.0;

/// Beyond this many products an expression is one factor.
const MOST: usize = 3000;

/// `baseᵖ`, where `base` depends on a latent.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Factor {
    pub base: NodeId,
    pub power: f64,
}

/// Σ over `axes`, besides those of where it stands, where `filter` holds, of `data · Π factors`.
#[derive(Clone, PartialEq, Debug)]
pub struct Mono {
    pub axes: Vec<AxisId>,
    /// 0 or 1, of data and positions. The rest may be anything where it is 0.
    pub filter: Option<NodeId>,
    /// Depends on no latent.
    pub data: NodeId,
    /// By base, each once, none with power 0.
    pub factors: Vec<Factor>,
}

/// The lower Cholesky factor of a latent covariance matrix.
#[derive(Clone, Debug)]
pub(super) struct Root {
    /// What it is made from.
    pub latent: SlotId,
    /// Its inverse, over rows, columns and then the other plates; where it has been needed.
    pub inverse: Option<SlotId>,
}

/// A sum of products; none: 0.
pub type Poly = Vec<Mono>;

/// Takes a log joint apart. It may add axes to the program, for sums inside of products, and nodes to the joint.
pub struct Expander<'h> {
    t: Translator<'h>,
    known: HashMap<NodeId, Rc<Poly>>,
    /// What each slot depends on among those of theta.
    depends: HashMap<SlotId, Rc<BTreeSet<SlotId>>>,
    nodes: HashMap<NodeId, Rc<BTreeSet<SlotId>>>,
    definitions: HashMap<SlotId, usize>,
    /// Arguments of exponentials that define probabilities: the logs of these.
    logs: HashMap<NodeId, NodeId>,
    /// Of lower triangles, where they have been needed.
    inverses: HashMap<NodeId, SlotId>,
    /// Lower factors of latent covariance matrices, which stay as they are: by slot the latent.
    roots: HashMap<SlotId, Root>,
    /// In what is being looked through, what has no form of its own stays whole.
    none: Rc<BTreeSet<SlotId>>,
}

impl<'h> Expander<'h> {
    pub fn new(hir: &'h mut Hir, joint: Joint, known_size: &'h dyn Fn(&Hir, PlateId) -> Option<f64>) -> Expander<'h> {
        let t = Translator::around(hir, joint, Purpose::Fit, known_size);
        let definitions = t.joint.defs.iter().enumerate().filter(|(_, d)| d.scatter.is_none() && d.walk.is_none());
        let definitions = definitions.map(|(i, d)| (d.slot, i)).collect();
        let mut e = Expander {
            t,
            known: HashMap::new(),
            depends: HashMap::new(),
            nodes: HashMap::new(),
            definitions,
            logs: HashMap::new(),
            inverses: HashMap::new(),
            roots: HashMap::new(),
            none: Rc::new(BTreeSet::new()),
        };
        e.survey();
        e
    }

    /// The joint, with the nodes that were added.
    pub fn finish(self) -> Joint {
        self.t.joint
    }

    pub fn joint(&self) -> &Joint {
        &self.t.joint
    }

    pub fn joint_mut(&mut self) -> &mut Joint {
        &mut self.t.joint
    }

    pub fn hir(&self) -> &Hir {
        self.t.hir
    }

    /// The slots of theta that each definition depends on, and the logs of simplexes.
    fn survey(&mut self) {
        for u in &self.t.joint.unconstrained {
            self.depends.insert(u.slot, Rc::new(BTreeSet::from([u.slot])));
        }
        let defs = self.t.joint.defs.clone();
        // A recurrence reads itself: again, until nothing is added.
        loop {
            let mut changed = false;
            self.nodes.clear();
            for d in &defs {
                let mut all: BTreeSet<SlotId> = self.on_slot(d.slot).as_ref().clone();
                let before = (all.len(), self.depends.contains_key(&d.slot));
                all.extend(self.on(d.value).iter());
                changed |= before != (all.len(), true);
                self.depends.insert(d.slot, Rc::new(all));
            }
            if !changed {
                break;
            }
        }
        self.nodes.clear();
        self.roots = self.covariances();
        for d in defs.iter().filter(|d| d.var.is_some() && d.walk.is_none() && d.scatter.is_none()) {
            let Node::Unary(UnOp::Exp, inside) = *self.t.joint.node(d.value) else { continue };
            let plain = matches!(self.t.joint.node(inside), Node::Read { slot, .. }
                if matches!(self.t.joint.slot(*slot).kind, SlotKind::Unconstrained(_)));
            if !plain {
                let index = d.axes.iter().map(|a| Ix::Axis(*a)).collect();
                let x = self.t.joint.intern(Node::Read { slot: d.slot, index });
                self.logs.insert(inside, x);
                self.logs.insert(d.value, x);
            }
        }
    }

    /// The factors of latent covariance matrices, S[i, j] = Σ L[i, m] L[j, m].
    fn covariances(&self) -> HashMap<SlotId, Root> {
        let joint = &self.t.joint;
        let of = |u: &Unconstrained| {
            if !matches!(self.t.hir.var(u.var).constraint, Constraint::Matrix(MatrixKind::Cov)) {
                return None;
            }
            let def = joint.defs.iter().find(|d| d.var == Some(u.var))?;
            let Node::Reduce { op: Fold::Sum, body, .. } = joint.node(def.value) else { return None };
            let Node::Binary(BinOp::Mul, left, right) = *joint.node(*body) else { return None };
            match (joint.node(left), joint.node(right)) {
                (Node::Read { slot: a, .. }, Node::Read { slot: b, .. }) if a == b => {
                    Some((*a, Root { latent: u.slot, inverse: None }))
                }
                _ => None,
            }
        };
        joint.unconstrained.iter().filter_map(of).collect()
    }

    /// The factor of a latent covariance matrix, by the latent's coordinates.
    pub(super) fn root_of(&self, latent: SlotId) -> Option<(SlotId, &Root)> {
        self.roots.iter().find(|(_, r)| r.latent == latent).map(|(s, r)| (*s, r))
    }

    pub(super) fn on_slot(&self, slot: SlotId) -> Rc<BTreeSet<SlotId>> {
        self.depends.get(&slot).cloned().unwrap_or_else(|| self.none.clone())
    }

    /// The slots of theta that a node depends on.
    pub fn on(&mut self, node: NodeId) -> Rc<BTreeSet<SlotId>> {
        if let Some(known) = self.nodes.get(&node) {
            return known.clone();
        }
        let mut sets = vec![];
        if let Node::Read { slot, .. } = self.t.joint.node(node) {
            sets.push(self.on_slot(*slot));
        }
        for operand in self.t.joint.operands(node) {
            sets.push(self.on(operand));
        }
        sets.retain(|s| !s.is_empty());
        let out = match sets.as_slice() {
            [] => self.none.clone(),
            [one] => one.clone(),
            [first, rest @ ..] if rest.iter().all(|s| Rc::ptr_eq(s, first)) => first.clone(),
            all => Rc::new(all.iter().flat_map(|s| s.iter().copied()).collect()),
        };
        self.nodes.insert(node, out.clone());
        out
    }

    /// Say that a slot that was added depends on these slots of theta.
    pub fn depend(&mut self, slot: SlotId, on: BTreeSet<SlotId>) {
        self.depends.insert(slot, Rc::new(on));
    }

    pub fn is_data(&mut self, node: NodeId) -> bool {
        self.on(node).is_empty()
    }

    /// The latent's cell that a factor is, if it is one.
    pub fn cell(&self, base: NodeId) -> Option<(SlotId, &[Ix])> {
        match self.t.joint.node(base) {
            Node::Read { slot, index } if matches!(self.t.joint.slot(*slot).kind, SlotKind::Unconstrained(_)) => {
                Some((*slot, index))
            }
            _ => None,
        }
    }

    /// An expression as a sum of products.
    pub fn expand(&mut self, node: NodeId) -> Rc<Poly> {
        if let Some(known) = self.known.get(&node) {
            return known.clone();
        }
        let poly = match self.is_data(node) {
            true => self.constant(node),
            false => match self.taken_apart(node) {
                Some(poly) if poly.len() <= MOST => collect(&mut self.t.joint, poly),
                _ => self.whole(node),
            },
        };
        let poly = Rc::new(poly);
        self.known.insert(node, poly.clone());
        poly
    }

    fn constant(&mut self, node: NodeId) -> Poly {
        let node = match self.number(node) {
            Some(0.0) => return vec![],
            Some(v) => self.t.joint.constant(v),
            None => node,
        };
        vec![Mono { axes: vec![], filter: None, data: node, factors: vec![] }]
    }

    /// What an expression of numbers alone comes to.
    fn number(&self, node: NodeId) -> Option<f64> {
        match self.t.joint.node(node) {
            Node::Const(v) => Some(f64::from_bits(*v)),
            Node::Unary(op, a) => Some(scalar::unary(*op, self.number(*a)?)),
            Node::Binary(op, a, b) => Some(scalar::binary(*op, self.number(*a)?, self.number(*b)?)),
            _ => None,
        }
    }

    /// Whether a condition on latents holds wherever they are: 0 < x and x < 1 for x = σ(u).
    fn always(&mut self, condition: NodeId) -> bool {
        let Node::Binary(op @ (BinOp::Less | BinOp::LessEq | BinOp::NotEqual | BinOp::And), a, b) =
            *self.t.joint.node(condition)
        else {
            return false;
        };
        if op == BinOp::And {
            return self.always(a) && self.always(b);
        }
        let (a, b) = (self.expand(a), self.expand(b));
        let share = |e: &Self, p: &Poly| {
            matches!(p.as_slice(), [m] if e.t.joint.is_constant(m.data, 1.0) && matches!(m.factors.as_slice(),
                [Factor { base, power: 1.0 }] if matches!(e.t.joint.node(*base), Node::Unary(UnOp::Sigmoid, _))))
        };
        let is = |e: &Self, p: &Poly, v: f64| match p.as_slice() {
            [] => v == 0.0,
            [m] => m.factors.is_empty() && e.t.joint.is_constant(m.data, v),
            _ => false,
        };
        share(self, &a) && is(self, &b, 1.0) || op != BinOp::NotEqual && is(self, &a, 0.0) && share(self, &b)
    }

    /// As a factor of its own.
    fn whole(&mut self, node: NodeId) -> Poly {
        self.power_of(node, 1.0)
    }

    fn power_of(&mut self, base: NodeId, power: f64) -> Poly {
        let one = self.t.joint.constant(1.0);
        vec![Mono { axes: vec![], filter: None, data: one, factors: vec![Factor { base, power }] }]
    }

    fn taken_apart(&mut self, node: NodeId) -> Option<Poly> {
        if let Some(&x) = self.logs.get(&node) {
            if let Node::Unary(UnOp::Exp, _) = self.t.joint.node(node) {
                return Some(self.whole(x));
            }
            let log = self.t.joint.unary(UnOp::Log, x);
            return Some(self.whole(log));
        }
        match self.t.joint.node(node).clone() {
            Node::Const(_) | Node::Position(_) | Node::Size(_) => unreachable!("these are data"),
            Node::Read { slot, index } => self.read(slot, &index),
            Node::Unary(op, a) => self.unary(op, a),
            Node::Binary(op, a, b) => self.binary(op, a, b),
            Node::Select(c, a, b) => {
                if !self.is_data(c) {
                    return self.always(c).then(|| self.expand(a).as_ref().clone());
                }
                let not = self.t.joint.unary(UnOp::Not, c);
                Some([self.chosen(c, a), self.chosen(not, b)].concat())
            }
            Node::Reduce { op: Fold::Sum, axes, filter, body } => {
                let body = self.expand(body);
                let mut out = match filter {
                    Some(f) if self.is_data(f) => self.where_(&body, f),
                    Some(_) => return None,
                    None => body.as_ref().clone(),
                };
                out.iter_mut().for_each(|m| m.axes.extend(&axes));
                Some(out)
            }
            Node::Detached(_) | Node::Matrix { .. } | Node::Ode { .. } | Node::Reduce { .. } => None,
        }
    }

    /// An expression where a condition on data holds, else 0. Of data it is a number of its own: times 0 for where the condition does
    /// not hold, minus infinity would not be one.
    fn chosen(&mut self, condition: NodeId, value: NodeId) -> Poly {
        if self.is_data(value) && self.number(value) != Some(0.0) {
            let zero = self.t.joint.constant(0.0);
            let value = self.t.joint.intern(Node::Select(condition, value, zero));
            return self.constant(value);
        }
        let poly = self.expand(value);
        self.where_(&poly, condition)
    }

    fn where_(&mut self, poly: &Poly, condition: NodeId) -> Poly {
        let mut out = poly.clone();
        for m in &mut out {
            m.filter = Some(and(&mut self.t.joint, m.filter, condition));
        }
        out
    }

    /// A cell of theta is a factor; definitions are looked through where there is something to be seen.
    fn read(&mut self, slot: SlotId, index: &[Ix]) -> Option<Poly> {
        if self.roots.contains_key(&slot) {
            return None;
        }
        let def = self.t.joint.defs[*self.definitions.get(&slot)?].clone();
        if matches!(self.t.joint.node(def.value), Node::Matrix { .. } | Node::Ode { .. }) {
            let sum = self.solved(&def)?;
            let body = self.expand(sum);
            return Some(self.moved(&body, &def.axes, index));
        }
        let body = self.expand(def.value);
        // One factor that cannot be seen through is read where it is stored.
        if let [Mono { axes, filter: None, data, factors }] = body.as_slice()
            && axes.is_empty()
            && self.t.joint.is_constant(*data, 1.0)
            && let [Factor { base, power: 1.0 }] = factors.as_slice()
            && self.cell(*base).is_none()
            && !self.plain_transform(*base)
        {
            return None;
        }
        Some(self.moved(&body, &def.axes, index))
    }

    /// The solution x of L x = b as the sum L⁻¹ b, where it is small: what stands in b is then seen, and that L is the factor
    /// of a latent covariance. A normal with a covariance matrix is such a solution, squared.
    fn solved(&mut self, def: &Def) -> Option<NodeId> {
        let Node::Matrix { function: MatrixFn::Solve { transposed: false }, operands } = self.t.joint.node(def.value)
        else {
            return None;
        };
        let (&[l, b], &[own, ..]) = (operands.as_slice(), def.axes.as_slice()) else { return None };
        let plate = self.t.hir.axis(own).plate;
        let root = self.root_read(l);
        // One vector, or what is known of a latent covariance.
        let single = def.axes.len() == 1 && !self.is_data(b);
        if root.is_none() && !single && self.root_read(b).is_none() {
            return None;
        }
        // Of a plate whose size is not known yet a covariance matrix is taken to be small.
        let size = self.plate_size(plate);
        if !size.map_or(root.is_some() || !single, |n| n <= MOST_DENSE) {
            return None;
        }
        let j = self.fresh_axis(plate);
        let (inverse, outer) = match root {
            Some((slot, index)) => (self.inverse_of_root(slot), index[..index.len() - 2].to_vec()),
            None => {
                let Node::Read { index, .. } = self.t.joint.node(l) else { return None };
                let outer = index[2..].to_vec();
                let inverse = match self.inverses.get(&l) {
                    Some(&inverse) => inverse,
                    None => {
                        let inverse = self.inverse(l);
                        self.inverses.insert(l, inverse);
                        inverse
                    }
                };
                (inverse, outer)
            }
        };
        let index = [&[Ix::Axis(own), Ix::Axis(j)][..], &outer].concat();
        let (cell, b) =
            (self.t.joint.intern(Node::Read { slot: inverse, index }), self.t.substitute(b, own, &Ix::Axis(j)));
        let body = self.t.joint.binary(BinOp::Mul, cell, b);
        Some(self.t.joint.intern(Node::Reduce { op: Fold::Sum, axes: vec![j], filter: None, body }))
    }

    /// The factor of a latent covariance that a matrix is, with the index of it: itself, or what is stored of it.
    fn root_read(&mut self, l: NodeId) -> Option<(SlotId, Vec<Ix>)> {
        let Node::Read { slot, index } = self.t.joint.node(l).clone() else { return None };
        if self.roots.contains_key(&slot) {
            return Some((slot, index));
        }
        let def = self.t.joint.defs[*self.definitions.get(&slot)?].clone();
        let inner = self.t.moved_at_once(def.value, &def.axes, &index);
        match self.t.joint.node(inner) {
            Node::Read { slot, index } if self.roots.contains_key(slot) => Some((*slot, index.clone())),
            _ => None,
        }
    }

    /// A definition of the inverse of the factor of a latent covariance.
    fn inverse_of_root(&mut self, slot: SlotId) -> SlotId {
        if let Some(inverse) = self.roots[&slot].inverse {
            return inverse;
        }
        let dims = self.t.joint.slot(slot).dims.clone();
        let axes: Vec<AxisId> = dims.iter().map(|p| self.fresh_axis(*p)).collect();
        let index = axes.iter().map(|a| Ix::Axis(*a)).collect();
        let l = self.t.joint.intern(Node::Read { slot, index });
        let on = self.on(l).as_ref().clone();
        let l = self.t.whole(l, &axes[axes.len() - 2..]);
        if let Node::Read { slot: stored, .. } = *self.t.joint.node(l)
            && stored != slot
        {
            self.depend(stored, on);
        }
        let inverse = self.inverse(l);
        self.roots.get_mut(&slot).expect("just seen").inverse = Some(inverse);
        inverse
    }

    /// The same of any lower triangle that is stored.
    fn inverse(&mut self, l: NodeId) -> SlotId {
        let inverse = self.t.inverse_of(l);
        let on = self.on(l).as_ref().clone();
        self.depend(inverse, on);
        inverse
    }

    /// exp(u) or σ(u) of a cell of theta.
    fn plain_transform(&self, base: NodeId) -> bool {
        matches!(self.t.joint.node(base), Node::Unary(UnOp::Exp | UnOp::Sigmoid, u) if self.cell(*u).is_some())
    }

    /// A form over `axes`, at other cells.
    pub fn moved(&mut self, poly: &Poly, axes: &[AxisId], index: &[Ix]) -> Poly {
        if axes.iter().zip(index).all(|(a, ix)| *ix == Ix::Axis(*a)) {
            return poly.clone();
        }
        poly.iter().map(|m| self.moved_mono(m, axes, index)).collect()
    }

    fn moved_mono(&mut self, m: &Mono, axes: &[AxisId], index: &[Ix]) -> Mono {
        // Its own sums must not catch what the index varies over.
        let mut m = self.renamed(m, &m.axes.clone());
        let each = |t: &mut Translator, node: NodeId| t.moved_at_once(node, axes, index);
        m.filter = m.filter.map(|f| each(&mut self.t, f));
        m.data = each(&mut self.t, m.data);
        m.factors.iter_mut().for_each(|f| f.base = each(&mut self.t, f.base));
        m.factors.sort_by_key(|f| f.base);
        m
    }

    /// The same sum over other names of these axes.
    fn renamed(&mut self, m: &Mono, axes: &[AxisId]) -> Mono {
        let mut m = m.clone();
        for &axis in axes {
            let info = self.t.hir.axis(axis);
            let info = AxisInfo { plate: info.plate, name: format!("{}'", info.name.trim_end_matches('\'')) };
            self.t.hir.axes.push(info);
            let fresh = Ix::Axis(AxisId(self.t.hir.axes.len() as u32 - 1));
            m.filter = m.filter.map(|f| self.t.substitute(f, axis, &fresh));
            m.data = self.t.substitute(m.data, axis, &fresh);
            m.factors.iter_mut().for_each(|f| f.base = self.t.substitute(f.base, axis, &fresh));
            m.axes.iter_mut().filter(|a| **a == axis).for_each(|a| {
                let Ix::Axis(fresh) = fresh else { unreachable!("made above") };
                *a = fresh;
            });
        }
        m.factors.sort_by_key(|f| f.base);
        m
    }

    /// A node at other cells of some axes.
    pub fn moved_node(&mut self, node: NodeId, axes: &[AxisId], index: &[Ix]) -> NodeId {
        self.t.moved_at_once(node, axes, index)
    }

    /// A product as the cell of `target` sees it that `index` points to: an axis or a position of the index is that of
    /// the target.
    pub(super) fn seen_from(&mut self, m: &Mono, index: &[Ix], target: &[AxisId]) -> Mono {
        let mut m = m.clone();
        m.filter = m.filter.map(|f| self.node_seen_from(f, index, target));
        m.data = self.node_seen_from(m.data, index, target);
        for f in &mut m.factors {
            f.base = self.node_seen_from(f.base, index, target);
        }
        m.factors.sort_by_key(|f| f.base);
        m
    }

    pub(super) fn node_seen_from(&mut self, mut node: NodeId, index: &[Ix], target: &[AxisId]) -> NodeId {
        for (ix, to) in index.iter().zip(target) {
            if let Ix::At(n) = ix {
                node = self.replaced(node, *n, *to);
            }
        }
        for (ix, to) in index.iter().zip(target) {
            if let Ix::Axis(a) = ix {
                node = self.t.substitute(node, *a, &Ix::Axis(*to));
            }
        }
        node
    }

    /// A node with a position computed from data replaced by the cell of an axis.
    fn replaced(&mut self, node: NodeId, from: NodeId, by: AxisId) -> NodeId {
        if node == from {
            return self.t.joint.intern(Node::Position(by));
        }
        match self.t.joint.node(node).clone() {
            Node::Read { slot, index } => {
                let index = index
                    .into_iter()
                    .map(|ix| match ix {
                        Ix::At(n) => match self.replaced(n, from, by) {
                            n if matches!(self.t.joint.node(n), Node::Position(a) if *a == by) => Ix::Axis(by),
                            n => Ix::At(n),
                        },
                        other => other,
                    })
                    .collect();
                self.t.joint.intern(Node::Read { slot, index })
            }
            other @ (Node::Unary(..) | Node::Binary(..) | Node::Select(..) | Node::Detached(_)) => {
                let other = other.map_operands(&mut |n| self.replaced(n, from, by));
                self.t.joint.intern(other)
            }
            // Sums have cells of their own: what stands in them is left as it is, and varies over the rows still.
            Node::Reduce { .. }
            | Node::Matrix { .. }
            | Node::Ode { .. }
            | Node::Const(_)
            | Node::Position(_)
            | Node::Size(_) => node,
        }
    }

    /// A new axis of a plate.
    pub(super) fn fresh_axis(&mut self, plate: PlateId) -> AxisId {
        let name = self.t.hir.plate(plate).name.clone();
        self.t.hir.axes.push(AxisInfo { plate, name });
        AxisId(self.t.hir.axes.len() as u32 - 1)
    }

    /// Cells of an axis, as far as that is known.
    pub(super) fn size(&self, axis: AxisId) -> Option<f64> {
        self.plate_size(self.t.hir.axis(axis).plate)
    }

    pub(super) fn plate_size(&self, plate: PlateId) -> Option<f64> {
        (self.t.known_size)(self.t.hir, plate)
    }

    fn unary(&mut self, op: UnOp, a: NodeId) -> Option<Poly> {
        match op {
            UnOp::Neg => {
                let a = self.expand(a);
                let minus = self.t.joint.constant(-1.0);
                Some(self.scaled(&a, minus))
            }
            UnOp::Recip => self.raised(a, -1.0),
            UnOp::Sqrt => self.raised(a, 0.5),
            UnOp::Log => self.log(a),
            UnOp::Log1p => {
                // log(1 − x)
                let inside = self.expand(a);
                self.log_of_rest(&inside)
            }
            UnOp::Exp => self.exp(a),
            UnOp::Softplus => {
                let inside = self.expand(a);
                let [m] = inside.as_slice() else { return None };
                let (u, sign) = self.signed_cell(m)?;
                let soft = self.t.joint.unary(UnOp::Softplus, u);
                let mut out = self.whole(soft);
                if sign < 0.0 {
                    // softplus(−u) = softplus(u) − u
                    let minus = self.t.joint.constant(-1.0);
                    let u = self.whole(u);
                    out.extend(self.scaled(&u, minus));
                }
                Some(out)
            }
            _ => None,
        }
    }

    /// ±1 times a cell of theta.
    fn signed_cell(&self, m: &Mono) -> Option<(NodeId, f64)> {
        let sign = [1.0, -1.0].into_iter().find(|s| self.t.joint.is_constant(m.data, *s))?;
        match m.factors.as_slice() {
            [Factor { base, power: 1.0 }] if m.axes.is_empty() && m.filter.is_none() && self.cell(*base).is_some() => {
                Some((*base, sign))
            }
            _ => None,
        }
    }

    fn exp(&mut self, a: NodeId) -> Option<Poly> {
        let inside = self.expand(a);
        let [m] = inside.as_slice() else { return None };
        let Node::Const(by) = *self.t.joint.node(m.data) else { return None };
        match m.factors.as_slice() {
            [Factor { base, power: 1.0 }] if m.axes.is_empty() && m.filter.is_none() && self.cell(*base).is_some() => {
                let base = self.t.joint.unary(UnOp::Exp, *base);
                Some(self.power_of(base, f64::from_bits(by)))
            }
            _ => None,
        }
    }

    /// log(1 + p) where p = −σ(u).
    fn log_of_rest(&mut self, p: &Poly) -> Option<Poly> {
        let [m] = p.as_slice() else { return None };
        let [Factor { base, power: 1.0 }] = m.factors.as_slice() else { return None };
        let Node::Unary(UnOp::Sigmoid, u) = *self.t.joint.node(*base) else { return None };
        if !self.t.joint.is_constant(m.data, -1.0) || !m.axes.is_empty() || m.filter.is_some() {
            return None;
        }
        let soft = self.t.joint.unary(UnOp::Softplus, u);
        let (soft, minus) = (self.whole(soft), self.t.joint.constant(-1.0));
        Some(self.scaled(&soft, minus))
    }

    /// Of a product of positive numbers; of 1 − σ(u).
    fn log(&mut self, a: NodeId) -> Option<Poly> {
        let inside = self.expand(a);
        if let [one, rest] = inside.as_slice() {
            let (one, rest) = if one.factors.is_empty() { (one, rest) } else { (rest, one) };
            let plain = one.factors.is_empty() && one.axes.is_empty() && one.filter.is_none();
            if plain && self.t.joint.is_constant(one.data, 1.0) {
                return self.log_of_rest(&vec![rest.clone()]);
            }
        }
        let [m] = inside.as_slice() else { return None };
        if !m.axes.is_empty() || m.filter.is_some() || !self.positive(m) {
            return None;
        }
        let mut out = vec![];
        if !self.t.joint.is_constant(m.data, 1.0) {
            let log = self.t.joint.unary(UnOp::Log, m.data);
            out.extend(self.constant(log));
        }
        for f in m.factors.clone() {
            let power = self.t.joint.constant(f.power);
            let log = match *self.t.joint.node(f.base) {
                Node::Unary(UnOp::Exp, inside) => self.expand(inside).as_ref().clone(),
                Node::Unary(UnOp::Sigmoid, u) if self.cell(u).is_some() => {
                    let soft = self.t.joint.unary(UnOp::Softplus, u);
                    let (soft, minus) = (self.whole(soft), self.t.joint.constant(-1.0));
                    [self.whole(u), self.scaled(&soft, minus)].concat()
                }
                _ => {
                    let log = self.t.joint.unary(UnOp::Log, f.base);
                    self.whole(log)
                }
            };
            out.extend(self.scaled(&log, power));
        }
        Some(out)
    }

    pub(super) fn positive(&self, m: &Mono) -> bool {
        m.factors.iter().all(|f| self.positive_base(f.base))
    }

    fn positive_base(&self, base: NodeId) -> bool {
        match self.t.joint.node(base) {
            Node::Unary(UnOp::Exp | UnOp::Sigmoid, _) => true,
            Node::Read { slot, .. } => self.definitions.get(slot).is_some_and(|&d| {
                matches!(self.t.joint.node(self.t.joint.defs[d].value), Node::Unary(UnOp::Exp | UnOp::Sigmoid, _))
            }),
            _ => false,
        }
    }

    /// Of one product.
    fn raised(&mut self, a: NodeId, power: f64) -> Option<Poly> {
        let inside = self.expand(a);
        match inside.as_slice() {
            [m] if m.axes.is_empty() && m.filter.is_none() => {
                let whole = power.fract() == 0.0;
                if !whole && !self.positive(m) {
                    return None;
                }
                let by = self.t.joint.constant(power);
                let data = match self.t.joint.node(m.data) {
                    Node::Const(v) => self.t.joint.constant(f64::from_bits(*v).powf(power)),
                    _ if power == -1.0 => self.t.joint.unary(UnOp::Recip, m.data),
                    _ if power == 0.5 => self.t.joint.unary(UnOp::Sqrt, m.data),
                    _ => self.t.joint.binary(BinOp::Pow, m.data, by),
                };
                let factors = m.factors.iter().map(|f| Factor { power: f.power * power, ..*f }).collect();
                Some(vec![Mono { data, factors, ..m.clone() }])
            }
            _ if power.fract() == 0.0 => Some(self.power_of(a, power)),
            _ => None,
        }
    }

    fn binary(&mut self, op: BinOp, a: NodeId, b: NodeId) -> Option<Poly> {
        match op {
            BinOp::Add => Some([self.expand(a).as_slice(), self.expand(b).as_slice()].concat()),
            BinOp::Sub => {
                let (a, b) = (self.expand(a), self.expand(b));
                let minus = self.t.joint.constant(-1.0);
                Some([a.as_slice(), &self.scaled(&b, minus)].concat())
            }
            BinOp::Mul => {
                let (a, b) = (self.expand(a), self.expand(b));
                self.product(&a, &b)
            }
            BinOp::Div if self.is_data(b) => {
                let a = self.expand(a);
                let by = match self.t.joint.node(b) {
                    Node::Const(v) => self.t.joint.constant(1.0 / f64::from_bits(*v)),
                    _ => self.t.joint.unary(UnOp::Recip, b),
                };
                Some(self.scaled(&a, by))
            }
            BinOp::Div => {
                let (a, b) = (self.expand(a), self.raised(b, -1.0)?);
                self.product(&a, &b)
            }
            BinOp::Pow => {
                let Node::Const(p) = *self.t.joint.node(b) else { return None };
                let p = f64::from_bits(p);
                let base = self.expand(a);
                match p {
                    _ if base.len() == 1 && base[0].axes.is_empty() && base[0].filter.is_none() => self.raised(a, p),
                    2.0 => self.product(&base, &base),
                    -1.0 => self.raised(a, p),
                    _ => None,
                }
            }
            BinOp::XLogY => {
                let log = self.t.joint.unary(UnOp::Log, b);
                let (a, log) = (self.expand(a), self.expand(log));
                self.product(&a, &log)
            }
            _ => None,
        }
    }

    /// Times a number that depends on data only.
    pub fn scaled(&mut self, poly: &Poly, by: NodeId) -> Poly {
        let mut out = poly.clone();
        out.iter_mut().for_each(|m| m.data = times(&mut self.t.joint, m.data, by));
        out
    }

    /// The product of two sums; `None` if it has too many addends.
    pub fn product(&mut self, a: &Poly, b: &Poly) -> Option<Poly> {
        if a.len() * b.len() > MOST {
            return None;
        }
        let mut out = Vec::with_capacity(a.len() * b.len());
        for x in a {
            for y in b {
                out.push(self.product_of(x, y));
            }
        }
        Some(out)
    }

    /// The product of two products; their sums get names of their own.
    pub fn product_of(&mut self, x: &Mono, y: &Mono) -> Mono {
        let clash: Vec<AxisId> = y.axes.iter().copied().filter(|a| x.axes.contains(a)).collect();
        let y = if clash.is_empty() { y.clone() } else { self.renamed(y, &clash) };
        let filter = match (x.filter, y.filter) {
            (Some(a), Some(b)) => Some(and(&mut self.t.joint, Some(a), b)),
            (a, b) => a.or(b),
        };
        let mut factors = x.factors.clone();
        factors.extend(&y.factors);
        let mut axes = x.axes.clone();
        axes.extend(&y.axes);
        Mono { axes, filter, data: times(&mut self.t.joint, x.data, y.data), factors: merged(factors) }
    }

    /// The number that a product stands for where it is not summed.
    pub fn value(&mut self, m: &Mono) -> NodeId {
        let mut out = m.data;
        for f in &m.factors {
            out = self.times_power(out, *f);
        }
        out
    }

    fn times_power(&mut self, by: NodeId, f: Factor) -> NodeId {
        let joint = &mut self.t.joint;
        match f.power {
            1.0 => times(joint, by, f.base),
            -1.0 if joint.is_constant(by, 1.0) => joint.unary(UnOp::Recip, f.base),
            -1.0 => joint.binary(BinOp::Div, by, f.base),
            p => {
                let power = joint.constant(p.abs());
                let power = match joint.node(f.base) {
                    // exp(u)ᵖ = exp(p u)
                    Node::Unary(UnOp::Exp, u) => {
                        let (u, p) = (*u, joint.constant(p));
                        let scaled = joint.binary(BinOp::Mul, p, u);
                        let power = joint.unary(UnOp::Exp, scaled);
                        return times(joint, by, power);
                    }
                    _ => joint.binary(BinOp::Pow, f.base, power),
                };
                if p > 0.0 { times(joint, by, power) } else { joint.binary(BinOp::Div, by, power) }
            }
        }
    }
}

/// Each base once, none with power 0.
fn merged(mut factors: Vec<Factor>) -> Vec<Factor> {
    factors.sort_by_key(|f| f.base);
    let mut out: Vec<Factor> = vec![];
    for f in factors {
        match out.last_mut() {
            Some(last) if last.base == f.base => last.power += f.power,
            _ => out.push(f),
        }
    }
    out.retain(|f| f.power != 0.0);
    out
}

/// The sum of products of the same factors has one addend, where these are not summed.
fn collect(joint: &mut Joint, poly: Poly) -> Poly {
    let mut out: Poly = vec![];
    for m in poly {
        let same =
            |o: &&mut Mono| o.axes.is_empty() && m.axes.is_empty() && o.filter == m.filter && o.factors == m.factors;
        match out.iter_mut().find(same) {
            Some(o) => o.data = plus(joint, o.data, m.data),
            None => out.push(m),
        }
    }
    out.retain(|m| !joint.is_constant(m.data, 0.0));
    out
}

pub(super) fn and(joint: &mut Joint, a: Option<NodeId>, b: NodeId) -> NodeId {
    match a {
        None => b,
        Some(a) if a == b => a,
        Some(a) => joint.binary(BinOp::And, a, b),
    }
}

pub(super) fn times(joint: &mut Joint, a: NodeId, b: NodeId) -> NodeId {
    match (joint.node(a), joint.node(b)) {
        (Node::Const(x), Node::Const(y)) => {
            let v = f64::from_bits(*x) * f64::from_bits(*y);
            joint.constant(v)
        }
        (Node::Const(x), _) if f64::from_bits(*x) == 1.0 => b,
        (_, Node::Const(y)) if f64::from_bits(*y) == 1.0 => a,
        _ => joint.binary(BinOp::Mul, a, b),
    }
}

pub(super) fn plus(joint: &mut Joint, a: NodeId, b: NodeId) -> NodeId {
    match (joint.node(a), joint.node(b)) {
        (Node::Const(x), Node::Const(y)) => {
            let v = f64::from_bits(*x) + f64::from_bits(*y);
            joint.constant(v)
        }
        (Node::Const(x), _) if f64::from_bits(*x) == 0.0 => b,
        (_, Node::Const(y)) if f64::from_bits(*y) == 0.0 => a,
        _ => joint.binary(BinOp::Add, a, b),
    }
}
