//! Which latents integrate out exactly, and the log joint of the rest.

use std::collections::{BTreeSet, HashSet};

use super::expand::Expander;
use super::work::{Collapsed, Entry, How, Work};
use crate::derive::Purpose;
use crate::derive::joint::*;
use crate::hir::{Centering, Hir, PlateId, Step, VarId};

/// Products beyond which nothing more is integrated out.
const MOST_PRODUCTS: usize = 3000;

/// What integrates out of a model.
pub struct Structure {
    /// The program whose log joint was looked at: latents that integrate out are not drawn as location + scale · noise.
    pub hir: Hir,
    /// That log joint.
    pub whole: Joint,
    /// The log joint of the latents that are left, the others integrated out.
    pub rest: Joint,
    /// The others as definitions, given the rest and standard normal noise; its log joint is their log density.
    pub draw: Joint,
    /// In the order in which they were integrated out.
    pub collapsed: Vec<Collapsed>,
    pub left: Vec<Left>,
}

/// A latent or param that does not integrate out.
#[derive(Clone, Debug)]
pub struct Left {
    pub name: String,
    pub why: Why,
}

#[derive(Clone, Debug)]
pub enum Why {
    /// A `param` is fitted to a point.
    Point,
    /// In this term it stands in a form that no family with a known integral has.
    Function(String),
    /// Nothing multiplies its square.
    Flat,
    /// Its cells depend on each other, more of them than a matrix is worth.
    Dense,
    /// There were too many products to go on.
    Large,
}

/// What integrates out; of a model that a written guide takes apart, nothing.
pub fn structure(hir: &Hir, known_size: &dyn Fn(&Hir, PlateId) -> Option<f64>) -> Structure {
    let mut wanted: Option<BTreeSet<String>> = None;
    loop {
        let mut own = hir.clone();
        centre(&mut own, |name| wanted.as_ref().is_none_or(|w| w.contains(name)));
        let whole = crate::derive::joint_for(&mut own, Purpose::Fit, known_size);
        let found = collapse(own, whole, known_size);
        let names: BTreeSet<String> = found.collapsed.iter().map(|c| c.name.clone()).collect();
        // What does not integrate out is drawn as it would be otherwise, which may show that more does not.
        match &wanted {
            Some(w) if names.is_superset(w) => return found,
            None if names.is_empty() => wanted = Some(names),
            _ => wanted = Some(names),
        }
    }
}

/// Ask for chains as they are, and for group effects as location + scale · noise: small scales then cancel nowhere.
fn centre(hir: &mut Hir, which: impl Fn(&str) -> bool) {
    let chains: Vec<VarId> = hir.recurrences.iter().flat_map(|r| r.vars.clone()).collect();
    let names: Vec<String> = hir.vars.iter().map(|v| v.name.clone()).collect();
    for step in &mut hir.steps {
        if let Step::Latent { var, centering, dist, .. } = step
            && which(&names[var.0 as usize])
            && crate::check::location_scale(dist).is_some()
        {
            *centering = if chains.contains(var) { Centering::Centered } else { Centering::Auto };
        }
    }
}

fn collapse(mut hir: Hir, whole: Joint, known_size: &dyn Fn(&Hir, PlateId) -> Option<f64>) -> Structure {
    let latents: Vec<Unconstrained> = whole.unconstrained.clone();
    let known = |hir: &Hir, plate: PlateId| known_size(hir, plate);
    let mut work = Work::new(Expander::new(&mut hir, whole.clone(), &known));
    let plain = whole.written.is_none() && whole.problems.is_empty();
    if plain {
        work.multiply_out();
        work.run(&latents);
    }
    let removed: HashSet<SlotId> = work.collapsed.iter().map(|c| c.latent.slot).collect();
    let left = latents.iter().filter(|u| !removed.contains(&u.slot)).map(|u| work.left(u)).collect();
    let terms = work.terms();
    let kept_defs: Vec<Def> = {
        let original = work.e.joint().defs.clone();
        let free = |d: &Def| work.e.on_slot(d.slot).iter().all(|s| !removed.contains(s));
        original.into_iter().filter(free).collect()
    };
    let Work { e, defs, draws, noise, densities, collapsed, .. } = work;
    let joint = e.finish();
    let mut rest = joint.clone();
    rest.unconstrained.retain(|u| !removed.contains(&u.slot));
    rest.defs = kept_defs.iter().chain(&defs).cloned().collect();
    rest.terms = terms;
    rest.mark_report_only();
    let mut draw = joint;
    draw.unconstrained = rest.unconstrained.iter().cloned().chain(noise).collect();
    draw.terms = densities;
    for c in &collapsed {
        draw.slots[c.latent.slot.0 as usize].kind = SlotKind::Defined;
    }
    draw.defs = kept_defs.into_iter().chain(defs).chain(draws.into_iter().rev().flatten()).collect();
    for d in &mut draw.defs {
        d.var = collapsed.iter().find(|c| c.latent.slot == d.slot).map(|c| c.latent.var);
    }
    draw.keep_needed(&removed);
    draw.mark_report_only();
    Structure { hir, whole, rest, draw, collapsed, left }
}

impl Joint {
    /// Drop definitions that neither the terms nor these slots need.
    fn keep_needed(&mut self, wanted: &HashSet<SlotId>) {
        let mut needed = wanted.clone();
        for t in &self.terms {
            self.reads(t.value, &mut needed);
        }
        let mut defs = std::mem::take(&mut self.defs);
        // Of definitions that walk together each may need the others: again, until nothing is added.
        loop {
            let before = needed.len();
            for d in defs.iter().rev().filter(|d| needed.contains(&d.slot)).collect::<Vec<_>>() {
                self.reads(d.value, &mut needed);
                let scatter = d.scatter.iter();
                let at = scatter.clone().flat_map(|s| &s.index);
                let at = at.filter_map(|ix| if let Ix::At(n) = ix { Some(*n) } else { None });
                for n in at.chain(scatter.filter_map(|s| s.filter)) {
                    self.reads(n, &mut needed);
                }
            }
            if needed.len() == before {
                break;
            }
        }
        defs.retain(|d| needed.contains(&d.slot));
        self.defs = defs;
    }
}

impl Work<'_> {
    /// Every term as products.
    fn multiply_out(&mut self) {
        for (from, term) in self.e.joint().terms.clone().into_iter().enumerate() {
            for m in self.e.expand(term.value).as_ref().clone() {
                let mut m = m;
                m.axes = [&term.axes[..], &m.axes].concat();
                m.filter = self.and(m.filter, term.filter);
                self.entries.push(Entry { m, from });
            }
        }
    }

    /// Integrate out what there is, inner plates first: what they leave is multiplied out for what is above them.
    fn run(&mut self, latents: &[Unconstrained]) {
        let mut order: Vec<&Unconstrained> = latents.iter().filter(|u| !u.point).collect();
        let cells = |u: &Unconstrained| -> f64 {
            let dims = &self.e.joint().slot(u.slot).dims;
            dims.iter().map(|p| self.e.plate_size(*p).unwrap_or(1e6)).product()
        };
        // A stable sort, from the last declared: what is declared later depends on what is declared before.
        order.reverse();
        let sizes: Vec<f64> = order.iter().map(|u| cells(u)).collect();
        let mut order: Vec<(f64, &Unconstrained)> = sizes.into_iter().zip(order).collect();
        order.sort_by(|a, b| b.0.total_cmp(&a.0));
        while self.entries.len() <= MOST_PRODUCTS {
            let mut open = vec![];
            for (_, u) in &order {
                let gone = self.collapsed.iter().any(|c| c.latent.slot == u.slot);
                if !gone && self.obstacle(u.slot).is_none() && self.is_bounded(u.slot) {
                    open.push(*u);
                }
            }
            self.open = open.iter().map(|u| u.slot).collect();
            if let Some(u) = self.first_matrix(&order) {
                self.by_family(&u);
            } else if let Some(u) = open.iter().find(|u| self.is_by_cells(u.slot)) {
                self.by_cells(u);
            } else if let Some((u, along)) = open.iter().find_map(|u| Some((u, self.chain_of(u)?))) {
                self.as_a_chain(u, along);
            } else if let Some(u) = open.iter().find(|u| self.is_dense(u)) {
                self.as_a_whole(u);
            } else if let Some(u) = self.first_conjugate(&order) {
                self.by_family(&u);
            } else {
                break;
            }
        }
    }

    /// A conjugate matrix with as many coordinates as the normal latents that stand in products with it: without it these are
    /// still near a normal, while it, without these, is skewed.
    fn first_matrix(&mut self, order: &[(f64, &Unconstrained)]) -> Option<Unconstrained> {
        let gone: Vec<SlotId> = self.collapsed.iter().map(|c| c.latent.slot).collect();
        for (cells, u) in order {
            if gone.contains(&u.slot) || self.e.root_of(u.slot).is_none() || !self.is_conjugate(u) {
                continue;
            }
            let mut beside: BTreeSet<SlotId> = BTreeSet::new();
            for i in 0..self.entries.len() {
                let bases: Vec<NodeId> = self.entries[i].m.factors.iter().map(|f| f.base).collect();
                let on: Vec<_> = bases.iter().map(|b| self.e.on(*b)).collect();
                if on.iter().any(|on| on.contains(&u.slot)) {
                    beside.extend(on.iter().flat_map(|on| on.iter()).filter(|s| self.open.contains(s)));
                }
            }
            let normal: f64 = order.iter().filter(|(_, v)| beside.contains(&v.slot)).map(|(n, _)| n).sum();
            if normal <= *cells {
                return Some((*u).clone());
            }
        }
        None
    }

    fn first_conjugate(&mut self, order: &[(f64, &Unconstrained)]) -> Option<Unconstrained> {
        let gone: Vec<SlotId> = self.collapsed.iter().map(|c| c.latent.slot).collect();
        let found = order.iter().find(|(_, u)| !gone.contains(&u.slot) && self.is_conjugate(u));
        found.map(|(_, u)| (*u).clone())
    }

    /// The source of a product in which a latent stands otherwise than as itself or its square.
    fn obstacle(&mut self, z: SlotId) -> Option<usize> {
        for i in 0..self.entries.len() {
            let mut degree = 0.0;
            let Entry { m, from } = self.entries[i].clone();
            for f in &m.factors {
                if self.e.cell(f.base).is_some_and(|c| c.0 == z) {
                    if f.power != 1.0 && f.power != 2.0 {
                        return Some(from);
                    }
                    degree += f.power;
                } else if self.e.on(f.base).contains(&z) {
                    return Some(from);
                }
            }
            if degree > 2.0 {
                return Some(from);
            }
        }
        None
    }

    fn is_bounded(&self, z: SlotId) -> bool {
        let square = |e: &Entry| self.cells(&e.m, z).iter().map(|c| c.power).sum::<f64>() == 2.0;
        self.entries.iter().any(square)
    }

    fn left(&mut self, u: &Unconstrained) -> Left {
        let name = self.e.hir().var(u.var).name.clone();
        let why = if u.point {
            Why::Point
        } else if let Some(source) = self.obstacle(u.slot) {
            let conjugate = self.in_the_way(u.slot);
            Why::Function(self.sources[conjugate.unwrap_or(source)].0.clone())
        } else if !self.is_bounded(u.slot) {
            Why::Flat
        } else if self.entries.len() > MOST_PRODUCTS {
            Why::Large
        } else {
            Why::Dense
        };
        Left { name, why }
    }
}

impl How {
    /// For the table of what was done.
    pub fn sentence(self) -> String {
        match self {
            How::Cells => "normal, cell by cell".into(),
            How::Dense => "normal as a whole, by a Cholesky factor".into(),
            How::Chain => "normal, a chain: there and back in one pass each".into(),
            How::Family(name) => name.into(),
        }
    }
}

impl Why {
    pub fn sentence(&self) -> String {
        match self {
            Why::Point => "a param is fitted to a point".into(),
            Why::Function(term) => format!("its form in `{term}` has no known integral"),
            Why::Flat => "nothing multiplies its square".into(),
            Why::Dense => "its cells depend on each other".into(),
            Why::Large => "too many products".into(),
        }
    }
}

/// For `vic show --stage structure`: each latent, how it integrates out, and what it is then drawn from; or why not.
pub fn print(s: &Structure) -> String {
    use std::fmt::Write;
    let mut out = String::new();
    let plates = |u: &Unconstrained| {
        let names: Vec<&str> = s.hir.var(u.var).axes.iter().map(|a| s.hir.axis(*a).name.as_str()).collect();
        if names.is_empty() { String::new() } else { format!("[{}]", names.join(", ")) }
    };
    for c in &s.collapsed {
        let given = if c.given.is_empty() { String::new() } else { format!("; drawn given {}", c.given.join(", ")) };
        let how = if matches!(c.how, How::Family(_)) { "conjugate" } else { "collapsed" };
        let _ = writeln!(out, "{}{}: {how} ({}{given})", c.name, plates(&c.latent), c.how.sentence());
    }
    for e in &s.whole.eliminated {
        let _ = writeln!(out, "{}: enumerated (a sum over its values)", e.names.join(", "));
    }
    for l in &s.left {
        let how = if matches!(l.why, Why::Point) { "point" } else { "gradient" };
        let _ = writeln!(out, "{}: {how} ({})", l.name, l.why.sentence());
    }
    out
}
