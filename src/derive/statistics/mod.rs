//! The log joint as a function of expected statistics.
//!
//! Where every term is a sum of products over functions of the latents' cells (x, x², log x, …), with at most one
//! statistic per independent factor in each product, the expectation of the log joint under these factors is the same
//! expression with each function replaced by its expectation. Its derivative along the statistics of a factor is then the
//! natural parameter of the best such factor (Winn and Bishop 2005; Hoffman et al. 2013, section 2), so that coordinate
//! ascent and EM need nothing but the gradient of one more log joint.
//!
//! Discrete latents are summed out as everywhere. The log of a sum of exponentials of expected log joints is what the bound
//! is when their factor is the best one, exact within a cell or a chain (Beal 2003, section 2.2), and its derivative has the
//! responsibilities in it.

mod polynomial;

use std::collections::{BTreeMap, HashMap};

pub use polynomial::Function;
use polynomial::{Expansion, Monomial, Polynomial};

use super::joint::*;
use super::translate::Translator;
use super::{Purpose, translated};
use crate::hir::{Constraint, ExprKind, Hir, MatrixKind, PlateId, VarId, VarKind};

/// Coordinates that one multivariate normal takes at most.
const MOST_TOGETHER: f64 = 800.0;

/// Why there is no closed form, and for which latents.
#[derive(Clone, Debug, PartialEq)]
pub struct Obstacle {
    pub vars: Vec<VarId>,
    /// To follow the names: `stands in a function that has no statistic`.
    pub why: String,
}

/// An expectation that the rewritten log joint takes as an input.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistic {
    pub slot: SlotId,
    pub kind: StatisticKind,
}

#[derive(Clone, Debug, PartialEq)]
pub enum StatisticKind {
    /// Of one cell; over the plates of the latent.
    Of(VarId, Function),
    /// Of x · y, for cells of two normal latents or of one: over the dimensions of the first, then those dimensions of
    /// the second that are not the first's (`Some`: which of the first it shares).
    Product { first: VarId, second: VarId, shared: Vec<Option<usize>> },
}

/// The log joint over expected statistics.
#[derive(Clone, Debug)]
pub struct Statistics {
    pub joint: Joint,
    pub statistics: Vec<Statistic>,
    /// Params and latents that are inputs themselves, since they have no closed form.
    pub raw: Vec<VarId>,
    /// Whether sums over discrete latents are left in it.
    pub mixed: bool,
    /// Latents that stand in one product.
    pub coupled: Vec<(VarId, VarId)>,
}

/// The log joint over the latents and params on their own scales, discrete ones summed out.
pub fn on_own_scales(hir: &mut Hir, known_size: &dyn Fn(&Hir, PlateId) -> Option<f64>) -> Joint {
    let mut joint = translated(hir, Purpose::Given, known_size).joint;
    joint.mark_report_only();
    joint
}

/// Rewrite the log joint over expected statistics. Params and latents without a closed form stay as they are; if no latent has one, an
/// obstacle is what stands in the way of the first. `rows`: what the cells of
/// this plate have to themselves shares no factor with anything else.
pub fn statistics(
    hir: &mut Hir,
    known_size: &dyn Fn(&Hir, PlateId) -> Option<f64>,
    rows: Option<PlateId>,
) -> Result<Statistics, Obstacle> {
    let mut raw: Vec<VarId> = vec![];
    let mut in_the_way: Option<Obstacle> = None;
    loop {
        let first = rewritten(&mut hir.clone(), known_size, &raw, &[]).and_then(|(_, degrees)| {
            let together = together(hir, known_size, &degrees, &raw, rows);
            rewritten(hir, known_size, &raw, &together).map(|(s, _)| s)
        });
        let first = first.and_then(|s| families_exist(hir, &s).map(|()| s));
        match first {
            Ok(found) => {
                let closed = |s: &Statistic| {
                    let (StatisticKind::Of(v, _) | StatisticKind::Product { first: v, .. }) = &s.kind;
                    !is_param(hir, *v)
                };
                // Of nothing but what has no closed form there is nothing to be gained.
                return match in_the_way.filter(|_| !found.statistics.iter().any(closed)) {
                    Some(obstacle) => Err(obstacle),
                    None => Ok(found),
                };
            }
            Err(obstacle) => {
                let open = |v: &&VarId| !raw.contains(v);
                let params: Vec<VarId> =
                    obstacle.vars.iter().filter(|v| is_param(hir, **v)).filter(open).copied().collect();
                let more = match params.is_empty() {
                    false => params,
                    true => {
                        in_the_way.get_or_insert_with(|| obstacle.clone());
                        obstacle.vars.iter().filter(open).copied().collect()
                    }
                };
                if more.is_empty() {
                    return Err(obstacle);
                }
                raw.extend(more);
            }
        }
    }
}

fn is_param(hir: &Hir, v: VarId) -> bool {
    matches!(hir.var(v).kind, VarKind::Param { .. })
}

/// Latents that are one factor, and what a product has of them.
type Together = (Vec<VarId>, Vec<(NodeId, Function)>);

/// How often each latent that could be normal stands in one product.
type Degrees = BTreeMap<VarId, i32>;

/// Whether a latent may be normal: it has no bounds.
fn may_be_normal(hir: &Hir, v: VarId) -> bool {
    matches!(hir.var(v).constraint, Constraint::None)
}

fn rewritten(
    hir: &mut Hir,
    known_size: &dyn Fn(&Hir, PlateId) -> Option<f64>,
    raw: &[VarId],
    together: &[Vec<VarId>],
) -> Result<(Statistics, Vec<Degrees>), Obstacle> {
    let mut t = translated(hir, Purpose::Given, known_size);
    let unknowns = t.joint.unconstrained.clone();
    for u in &unknowns {
        if t.not_reference(u.var).is_some() {
            return Err(Obstacle { vars: vec![u.var], why: "has a reference level".into() });
        }
    }
    let latents = unknowns.iter().filter(|u| !raw.contains(&u.var)).map(|u| (u.slot, u.var)).collect();
    let mut r = Rewriter {
        x: Expansion::new(&mut t, latents),
        together,
        statistics: vec![],
        slots: HashMap::new(),
        linear: HashMap::new(),
        waiting: vec![],
        done: vec![],
        degrees: vec![],
        mixed: false,
        coupled: vec![],
    };
    let mut terms = std::mem::take(&mut r.x.t.joint.terms);
    for term in &mut terms {
        if let Some(f) = term.filter
            && r.x.depends(f)
        {
            return Err(r.x.obstacle(f, "stands in a condition"));
        }
        term.value = r.linear(term.value, true)?;
    }
    while let Some(slot) = r.waiting.pop() {
        if r.done.contains(&slot) {
            continue;
        }
        r.done.push(slot);
        let at = r.x.defs[&slot];
        let value = r.x.t.joint.defs[at].value;
        let value = r.linear(value, true)?;
        r.x.t.joint.defs[at].value = value;
    }
    let (statistics, degrees, mixed, coupled) = (r.statistics, r.degrees, r.mixed, r.coupled);
    let mut joint = t.joint;
    joint.terms = terms;
    joint.mark_report_only();
    joint.defs.retain(|d| !d.report_only);
    joint.unconstrained.retain(|u| raw.contains(&u.var));
    for s in &statistics {
        let var = match &s.kind {
            StatisticKind::Of(v, _) => *v,
            StatisticKind::Product { first, .. } => *first,
        };
        joint.unconstrained.push(Unconstrained { var, slot: s.slot, point: true, start: None, axes: vec![] });
    }
    joint.unconstrained.iter_mut().for_each(|u| u.point = true);
    Ok((Statistics { joint, statistics, raw: raw.to_vec(), mixed, coupled }, degrees))
}

/// Latents that are one normal together: of each product at most two stand in one group.
fn together(
    hir: &Hir,
    known_size: &dyn Fn(&Hir, PlateId) -> Option<f64>,
    degrees: &[Degrees],
    raw: &[VarId],
    rows: Option<PlateId>,
) -> Vec<Vec<VarId>> {
    let of_rows = |v: VarId| hir.var(v).axes.iter().any(|a| Some(hir.axis(*a).plate) == rows);
    let mut groups: Vec<Vec<VarId>> = vec![];
    let cells = |v: VarId| {
        let sizes = hir.var(v).axes.iter().map(|a| known_size(hir, hir.axis(*a).plate));
        sizes.product::<Option<f64>>().unwrap_or(f64::INFINITY)
    };
    let mut vars: Vec<VarId> = degrees.iter().flat_map(|d| d.keys().copied()).collect();
    vars.sort_unstable();
    vars.dedup();
    vars.retain(|v| !raw.contains(v));
    for v in vars {
        let fits = |g: &&mut Vec<VarId>| {
            let all: f64 = g.iter().map(|u| cells(*u)).sum::<f64>() + cells(v);
            let square = |d: &Degrees| g.iter().chain([&v]).filter_map(|u| d.get(u)).sum::<i32>() <= 2;
            let meet = degrees.iter().any(|d| d.contains_key(&v) && g.iter().any(|u| d.contains_key(u)));
            let alike = is_param(hir, v) == is_param(hir, g[0]) && of_rows(v) == of_rows(g[0]);
            alike && meet && all <= MOST_TOGETHER && degrees.iter().all(square)
        };
        match groups.iter_mut().find(fits) {
            Some(g) => g.push(v),
            None => groups.push(vec![v]),
        }
    }
    groups
}

/// Whether the statistics of each latent are those of one family.
fn families_exist(hir: &Hir, s: &Statistics) -> Result<(), Obstacle> {
    let mut of: BTreeMap<VarId, Vec<Function>> = BTreeMap::new();
    for stat in &s.statistics {
        match &stat.kind {
            StatisticKind::Of(v, f) => of.entry(*v).or_default().push(*f),
            StatisticKind::Product { first, second, .. } => {
                of.entry(*first).or_default();
                of.entry(*second).or_default();
            }
        }
    }
    for (v, functions) in of {
        let var = hir.var(v);
        let number = |e: &crate::hir::Expr, x: f64| matches!(e.kind, ExprKind::Number(n) if n == x);
        let within = |allowed: &dyn Fn(&Function) -> bool| functions.iter().all(allowed);
        let powers = functions.iter().filter(|f| matches!(f, Function::Power(_))).count();
        let ok = match &var.constraint {
            Constraint::None => within(&|f| matches!(*f, Function::SELF | Function::SQUARE)),
            Constraint::Lower { bound, .. } if number(bound, 0.0) => within(&|f| *f != Function::Log1m) && powers <= 1,
            Constraint::Interval { lower, upper, .. } if number(lower, 0.0) && number(upper, 1.0) => powers == 0,
            Constraint::Simplex => within(&|f| *f == Function::Log),
            Constraint::Matrix(MatrixKind::Cov) => {
                let has = |f: Function| functions.contains(&f);
                has(Function::SELF) != has(Function::Inverse)
                    && within(&|f| matches!(*f, Function::LogRoot | Function::SELF | Function::Inverse))
            }
            _ => false,
        };
        if !ok {
            let shown: Vec<String> = functions.iter().map(|f| format!("`{}`", f.of(&var.name))).collect();
            let why = format!(
                "stands in the log joint as {}, which is no family with a closed form on its range",
                shown.join(", ")
            );
            return Err(Obstacle { vars: vec![v], why });
        }
    }
    Ok(())
}

struct Rewriter<'a, 't, 'h> {
    x: Expansion<'t, 'h>,
    together: &'a [Vec<VarId>],
    statistics: Vec<Statistic>,
    /// By the slots read and what of them.
    slots: HashMap<(SlotId, Wanted), SlotId>,
    linear: HashMap<NodeId, NodeId>,
    /// Definitions that are read as summands, to be rewritten.
    waiting: Vec<SlotId>,
    done: Vec<SlotId>,
    degrees: Vec<Degrees>,
    mixed: bool,
    coupled: Vec<(VarId, VarId)>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Wanted {
    Of(Function),
    With(SlotId, Vec<Option<usize>>),
}

impl Rewriter<'_, '_, '_> {
    /// The expectation of a summand of the log joint, or of a log of a sum of exponentials of such.
    /// `positive`: it is added, not subtracted.
    fn linear(&mut self, node: NodeId, positive: bool) -> Result<NodeId, Obstacle> {
        if !self.x.depends(node) {
            return Ok(node);
        }
        if let Some(&n) = self.linear.get(&node) {
            return Ok(n);
        }
        let out = match self.x.polynomial(node) {
            Ok(p) => self.build(&p)?,
            Err(obstacle) => self.apart(node, positive, obstacle)?,
        };
        if positive {
            self.linear.insert(node, out);
        }
        Ok(out)
    }

    fn apart(&mut self, node: NodeId, positive: bool, obstacle: Obstacle) -> Result<NodeId, Obstacle> {
        match self.x.t.joint.node(node).clone() {
            Node::Binary(op @ (BinOp::Add | BinOp::Sub), a, b) => {
                let a = self.linear(a, positive)?;
                let b = self.linear(b, positive == (op == BinOp::Add))?;
                Ok(self.x.t.joint.binary(op, a, b))
            }
            Node::Unary(UnOp::Neg, a) => {
                let a = self.linear(a, !positive)?;
                Ok(self.x.t.joint.unary(UnOp::Neg, a))
            }
            // A weight: a count, or a condition. Of data it is taken to be at least 0.
            Node::Binary(BinOp::Mul, a, b) if !self.x.depends(a) => {
                let b = self.linear(b, positive != self.x.is_negative(a))?;
                Ok(self.x.t.joint.binary(BinOp::Mul, a, b))
            }
            Node::Binary(BinOp::Mul, a, b) if !self.x.depends(b) => {
                let a = self.linear(a, positive != self.x.is_negative(b))?;
                Ok(self.x.t.joint.binary(BinOp::Mul, a, b))
            }
            Node::Select(c, a, b) if !self.x.depends(c) => {
                let (a, b) = (self.linear(a, positive)?, self.linear(b, positive)?);
                Ok(self.x.t.joint.intern(Node::Select(c, a, b)))
            }
            Node::Reduce { op, axes, filter, body } => {
                let log_sum = op == Fold::LogSumExp;
                if filter.is_some_and(|f| self.x.depends(f)) || !(op == Fold::Sum || log_sum && positive) {
                    return Err(obstacle);
                }
                self.mixed |= log_sum;
                let body = self.linear(body, positive)?;
                Ok(self.x.t.joint.intern(Node::Reduce { op, axes, filter, body }))
            }
            Node::Read { slot, .. } if self.x.defs.contains_key(&slot) => {
                let def = &self.x.t.joint.defs[self.x.defs[&slot]];
                // The filter of a chain of discrete latents; what a user walks is no sum of logs.
                let chain = self.x.t.joint.slot(slot).name.starts_with("filter of ");
                if !positive || def.walk.is_some() && !chain {
                    return Err(obstacle);
                }
                self.mixed |= chain;
                self.waiting.push(slot);
                Ok(node)
            }
            _ => Err(obstacle),
        }
    }

    fn build(&mut self, p: &Polynomial) -> Result<NodeId, Obstacle> {
        let mut total = self.x.t.joint.constant(0.0);
        for m in p {
            let one = self.monomial(m)?;
            total = self.x.plus(total, one);
        }
        Ok(total)
    }

    fn monomial(&mut self, m: &Monomial) -> Result<NodeId, Obstacle> {
        let Some(m) = self.x.paired(m) else {
            let vars = m.factors.iter().map(|f| self.var(f.0)).collect();
            return Err(Obstacle { vars, why: "stands in a function of matrices".into() });
        };
        let mut product = m.coefficient;
        let mut groups: Vec<Together> = vec![];
        let mut degrees = Degrees::new();
        for (read, f) in &m.factors {
            let var = self.var(*read);
            if may_be_normal(self.x.t.hir, var)
                && let Function::Power(n) = f
            {
                *degrees.entry(var).or_default() += n / 2;
            }
            let own = self.together.iter().find(|g| g.contains(&var)).cloned().unwrap_or_else(|| vec![var]);
            match groups.iter_mut().find(|g| g.0 == own) {
                Some(g) => g.1.push((*read, *f)),
                None => groups.push((own, vec![(*read, *f)])),
            }
        }
        if !degrees.is_empty() && !self.degrees.contains(&degrees) {
            self.degrees.push(degrees);
        }
        let all: Vec<VarId> = m.factors.iter().map(|f| self.var(f.0)).collect();
        for (i, a) in all.iter().enumerate() {
            for b in all[..i].iter().filter(|b| *b != a) {
                let pair = (*a.min(b), *a.max(b));
                if !self.coupled.contains(&pair) {
                    self.coupled.push(pair);
                }
            }
        }
        for (vars, factors) in groups {
            let expected = match factors[..] {
                [(read, f)] => self.of(read, f),
                [(a, Function::SELF), (b, Function::SELF)] if may_be_normal(self.x.t.hir, vars[0]) => self.pair(a, b),
                _ => {
                    let vars = factors.iter().map(|f| self.var(f.0)).collect();
                    let why = "stands in a product of several of its cells or functions";
                    return Err(Obstacle { vars, why: why.into() });
                }
            };
            product = self.x.times(product, expected);
        }
        if let Some(c) = m.when {
            let nothing = self.x.t.joint.constant(0.0);
            product = self.x.t.joint.intern(Node::Select(c, product, nothing));
        }
        if m.axes.is_empty() {
            return Ok(product);
        }
        let (axes, filter) = (m.axes.clone(), m.filter);
        Ok(self.x.t.joint.intern(Node::Reduce { op: Fold::Sum, axes, filter, body: product }))
    }

    fn parts(&self, read: NodeId) -> (SlotId, Vec<Ix>) {
        match self.x.t.joint.node(read) {
            Node::Read { slot, index } => (*slot, index.clone()),
            _ => unreachable!("factors are reads"),
        }
    }

    fn var(&self, read: NodeId) -> VarId {
        self.x.latents[&self.parts(read).0]
    }

    /// The expectation of a function of one cell.
    fn of(&mut self, read: NodeId, f: Function) -> NodeId {
        let ((of, index), var) = (self.parts(read), self.var(read));
        let joint = &mut self.x.t.joint;
        let slot = *self.slots.entry((of, Wanted::Of(f))).or_insert_with(|| {
            let Slot { name, dims, .. } = joint.slot(of).clone();
            joint.slots.push(Slot { name: f.of(&name), dims, kind: SlotKind::Unconstrained(var) });
            let slot = SlotId(joint.slots.len() as u32 - 1);
            self.statistics.push(Statistic { slot, kind: StatisticKind::Of(var, f) });
            slot
        });
        joint.intern(Node::Read { slot, index })
    }

    /// The expectation of the product of two cells.
    fn pair(&mut self, a: NodeId, b: NodeId) -> NodeId {
        let (a, b) = if self.parts(a).0 <= self.parts(b).0 { (a, b) } else { (b, a) };
        let ((of, mut index), (with, other)) = (self.parts(a), self.parts(b));
        let (first, second) = (self.var(a), self.var(b));
        let joint = &mut self.x.t.joint;
        let plates = |s: SlotId| joint.slot(s).dims.clone();
        let (own, theirs) = (plates(of), plates(with));
        let shared: Vec<Option<usize>> = (0..other.len())
            .map(|e| {
                let same = |d: &usize| own[*d] == theirs[e] && index[*d] == other[e];
                if of == with { Some(e).filter(same) } else { (0..index.len()).find(same) }
            })
            .collect();
        let free: Vec<usize> = (0..other.len()).filter(|e| shared[*e].is_none()).collect();
        let slot = *self.slots.entry((of, Wanted::With(with, shared.clone()))).or_insert_with(|| {
            let name = format!("{} · {}", joint.slot(of).name, joint.slot(with).name);
            let dims = own.iter().copied().chain(free.iter().map(|e| theirs[*e])).collect();
            joint.slots.push(Slot { name, dims, kind: SlotKind::Unconstrained(first) });
            let slot = SlotId(joint.slots.len() as u32 - 1);
            let kind = StatisticKind::Product { first, second, shared: shared.clone() };
            self.statistics.push(Statistic { slot, kind });
            slot
        });
        index.extend(free.iter().map(|e| other[*e].clone()));
        joint.intern(Node::Read { slot, index })
    }
}

impl Translator<'_> {
    /// Whether continuous latents and params are inputs on their own scale.
    pub(super) fn gives(&self) -> bool {
        matches!(self.purpose, Purpose::Drawn | Purpose::Given)
    }
}
