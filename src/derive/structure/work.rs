//! A log joint as one sum of products while latents are integrated out of it, one after the other.

use std::collections::{BTreeSet, HashMap};

use super::expand::{Expander, Factor, MOST_DENSE, Mono, Poly, and, plus, times};
use crate::derive::joint::*;
use crate::hir::{AxisId, PlateId};
use crate::source::Span;

/// A product of the log joint, with all that it is summed over.
#[derive(Clone)]
pub(super) struct Entry {
    pub m: Mono,
    /// The term that it comes from; beyond the terms of the model: what integrating a latent out has left.
    pub from: usize,
}

/// How a latent was integrated out.
#[derive(Clone, Debug)]
pub struct Collapsed {
    pub latent: Unconstrained,
    pub name: String,
    pub how: How,
    /// Those that its conditional distribution depends on and that are drawn before it.
    pub given: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// Its cells are independent given the rest.
    Cells,
    /// Jointly normal: a Cholesky factor of its precision.
    Dense,
    /// Each cell is next to the one before: a walk there and back.
    Chain,
    /// Its conditional is of this family.
    Family(&'static str),
}

/// A sum that is stored: what is added, where, over which axes, and the cell of the result with its axes.
type SumKey = (NodeId, Option<NodeId>, Vec<AxisId>, Vec<Ix>, Vec<AxisId>);

/// Products over the same axes, with the same filter: the factors that all cells share, and what is left of each.
type Part = (Vec<AxisId>, Option<NodeId>, Vec<Factor>, Poly);

pub(super) struct Work<'h> {
    pub e: Expander<'h>,
    pub entries: Vec<Entry>,
    /// Names and places of what entries come from.
    pub sources: Vec<(String, TermKind, Span)>,
    /// Terms with products that were taken out of the sum.
    pub touched: BTreeSet<usize>,
    /// Latents that may still be integrated out.
    pub open: BTreeSet<SlotId>,
    /// What was added for the sum, in order.
    pub defs: Vec<Def>,
    /// How each latent is drawn given the rest, in the order in which they were integrated out.
    pub draws: Vec<Vec<Def>>,
    pub noise: Vec<Unconstrained>,
    /// The log density of these draws.
    pub densities: Vec<Term>,
    pub collapsed: Vec<Collapsed>,
    sums: HashMap<SumKey, SlotId>,
    /// The log of 2π, halved.
    pub half_log: NodeId,
}

/// ½ log 2π
const HALF_LOG_TWO_PI: f64 = 0.918_938_533_204_672_8;

/// Cells of a plate that a sum may have for each cell of a latent.
const MOST_BESIDE: f64 = 50.0;

/// Products that integrating out one of two crossed effects may leave of the other: in all, or for each row.
const MOST_PAIRS: f64 = 20_000.0;
const PAIRS_PER_ROW: f64 = 20.0;

impl<'h> Work<'h> {
    pub fn new(mut e: Expander<'h>) -> Work<'h> {
        let half_log = e.joint_mut().constant(HALF_LOG_TWO_PI);
        let sources = e.joint().terms.iter().map(|t| (t.name.clone(), t.kind, t.span)).collect();
        Work {
            e,
            entries: vec![],
            sources,
            touched: BTreeSet::new(),
            open: BTreeSet::new(),
            defs: vec![],
            draws: vec![],
            noise: vec![],
            densities: vec![],
            collapsed: vec![],
            sums: HashMap::new(),
            half_log,
        }
    }

    pub fn constant(&mut self, v: f64) -> NodeId {
        self.e.joint_mut().constant(v)
    }

    pub fn unary(&mut self, op: UnOp, a: NodeId) -> NodeId {
        self.e.joint_mut().unary(op, a)
    }

    pub fn binary(&mut self, op: BinOp, a: NodeId, b: NodeId) -> NodeId {
        self.e.joint_mut().binary(op, a, b)
    }

    pub fn times(&mut self, a: NodeId, b: NodeId) -> NodeId {
        times(self.e.joint_mut(), a, b)
    }

    pub fn read(&mut self, slot: SlotId, axes: &[AxisId]) -> NodeId {
        self.e.joint_mut().intern(Node::Read { slot, index: axes.iter().map(|a| Ix::Axis(*a)).collect() })
    }

    pub fn slot(&mut self, name: String, dims: Vec<PlateId>, kind: SlotKind) -> SlotId {
        let slots = &mut self.e.joint_mut().slots;
        slots.push(Slot { name, dims, kind });
        SlotId(slots.len() as u32 - 1)
    }

    pub fn plates(&self, axes: &[AxisId]) -> Vec<PlateId> {
        axes.iter().map(|a| self.e.hir().axis(*a).plate).collect()
    }

    /// A definition over these axes, added to those of the sum.
    pub fn define(&mut self, name: String, axes: &[AxisId], value: NodeId) -> SlotId {
        let def = self.definition(name, axes, value);
        let slot = def.slot;
        self.defs.push(def);
        slot
    }

    pub fn definition(&mut self, name: String, axes: &[AxisId], value: NodeId) -> Def {
        let plates = self.plates(axes);
        let slot = self.slot(name, plates, SlotKind::Defined);
        let on = self.e.on(value).as_ref().clone();
        self.e.depend(slot, on);
        Def::new(slot, axes.to_vec(), value, Span::default())
    }

    /// A new name for each axis of a latent.
    pub fn fresh(&mut self, plates: &[PlateId]) -> Vec<AxisId> {
        plates.iter().map(|p| self.e.fresh_axis(*p)).collect()
    }

    /// The cells of a latent among the factors of a product.
    pub fn cells(&self, m: &Mono, z: SlotId) -> Vec<Factor> {
        m.factors.iter().filter(|f| self.e.cell(f.base).is_some_and(|c| c.0 == z)).copied().collect()
    }

    pub fn index_of(&self, cell: NodeId) -> Vec<Ix> {
        self.e.cell(cell).map_or(vec![], |c| c.1.to_vec())
    }

    /// Whether a factor is a cell of a latent that may still be integrated out.
    fn is_open(&self, base: NodeId) -> bool {
        self.e.cell(base).is_some_and(|c| self.open.contains(&c.0))
    }

    /// The total of a product over all cells that point to the same cell of `index`, as a product over `target`.
    ///
    /// Factors that are the same for all of these stay factors; the rest is summed into a definition, which is a column
    /// of numbers if only data are left. A sum over another plate stays where the factor of an open latent varies over
    /// it (`beside`) and the plate is short; where that latent is read through a key of the rows (two crossed group effects), the
    /// sum is one over its cells, with the totals of the rows of each pair.
    pub fn gather(&mut self, m: &Mono, index: &[Ix], target: &[AxisId], beside: bool) -> Mono {
        let mut own: Vec<AxisId> =
            index.iter().filter_map(|ix| if let Ix::Axis(a) = ix { Some(*a) } else { None }).collect();
        own.sort_unstable();
        own.dedup();
        let plain = own.len() == index.len();
        if plain && m.axes.iter().all(|a| own.contains(a)) {
            let mut m = self.e.seen_from(m, index, target);
            m.axes.clear();
            return m;
        }
        let moved: Vec<NodeId> = m.factors.iter().map(|f| self.e.node_seen_from(f.base, index, target)).collect();
        let mut extra: Vec<AxisId> = vec![];
        let (across, moved) = match beside {
            true => self.across(m, moved, &own, target),
            false => (vec![], moved),
        };
        for (f, &moved) in m.factors.iter().zip(&moved) {
            if beside && self.is_open(f.base) {
                let more: Vec<AxisId> =
                    self.e.joint().free_axes(moved).into_iter().filter(|a| !target.contains(a)).collect();
                // An axis of the latent itself cannot stand beside it.
                let apart = |a: &AxisId| across.iter().any(|x| x.0 == *a);
                let short = |a: &AxisId| !own.contains(a) && self.e.size(*a).is_some_and(|n| n <= MOST_BESIDE);
                if more.iter().all(|a| apart(a) || short(a)) {
                    extra.extend(more.into_iter().filter(|a| !apart(a)));
                }
            }
        }
        extra.sort_unstable();
        extra.dedup();
        let (mut pulled, mut rest) = (vec![], vec![]);
        for (f, &moved) in m.factors.iter().zip(&moved) {
            let free = self.e.joint().free_axes(moved);
            let outside = match self.is_open(f.base) {
                true => {
                    let apart = |a: &AxisId| across.iter().any(|x| x.0 == *a);
                    free.iter().all(|a| target.contains(a) || extra.contains(a) || apart(a))
                }
                false => free.iter().all(|a| target.contains(a)),
            };
            match outside {
                true => pulled.push(Factor { base: moved, power: f.power }),
                false => rest.push(*f),
            }
        }
        let rest = Mono { factors: rest, ..m.clone() };
        let value = self.e.value(&rest);
        // Keys of rows beside the target: dimensions of the sum like those of the index.
        let keys: Vec<Ix> = index.iter().cloned().chain(across.iter().map(|a| a.1.clone())).collect();
        let key = (value, m.filter, m.axes.clone(), keys.clone(), extra.clone());
        let over: Vec<AxisId> = target.iter().copied().chain(across.iter().map(|a| a.0)).collect();
        let slot = match self.sums.get(&key) {
            Some(&slot) => slot,
            None => {
                let slot = self.summed(value, m, &keys, &over, &extra, plain && across.is_empty());
                self.sums.insert(key, slot);
                slot
            }
        };
        let read = self.read(slot, &[&over[..], &extra].concat());
        extra = across.iter().map(|a| a.0).chain(extra).collect();
        let mut data = self.constant(1.0);
        match self.e.is_data(read) {
            true => data = read,
            false => pulled.push(Factor { base: read, power: 1.0 }),
        }
        pulled.sort_by_key(|f| f.base);
        Mono { axes: extra, filter: None, data, factors: pulled }
    }

    /// Cells of open latents that rows read through a key, as cells of axes of their own, where the latent is short: these
    /// axes with the positions that the rows have on them, and the factors of the product as they are then seen.
    fn across(
        &mut self,
        m: &Mono,
        mut moved: Vec<NodeId>,
        own: &[AxisId],
        target: &[AxisId],
    ) -> (Vec<(AxisId, Ix)>, Vec<NodeId>) {
        let mut across: Vec<(AxisId, Ix)> = vec![];
        let cells = |axes: &[AxisId]| axes.iter().map(|a| self.e.size(*a)).product::<Option<f64>>();
        // What is left has a product per pair of cells and cell of the target: no more than is worth it beside the rows.
        let (Some(rows), Some(targets)) = (cells(&m.axes), cells(target)) else { return (across, moved) };
        let most = (MOST_PAIRS.max(PAIRS_PER_ROW * rows) / targets.max(1.0)).sqrt().min(MOST_DENSE);
        for (f, moved) in m.factors.iter().zip(&mut moved) {
            let Some((slot, cell)) = self.e.cell(f.base).map(|(s, c)| (s, c.to_vec())) else { continue };
            let ([Ix::At(n)], true) = (cell.as_slice(), self.open.contains(&slot)) else { continue };
            let plate = self.e.joint().slot(slot).dims[0];
            let still = self.e.joint().free_axes(*moved).iter().all(|a| target.contains(a));
            // A sum over rows whose other axes are those of the target cannot be scattered by these.
            let keys = self.e.joint().free_axes(*n);
            if still || !self.e.is_data(*n) || !self.e.plate_size(plate).is_some_and(|n| n <= most) {
                continue;
            }
            if keys.iter().any(|a| own.contains(a)) {
                continue;
            }
            let axis = match across.iter().find(|a| a.1 == cell[0]) {
                Some(a) => a.0,
                None => {
                    let axis = self.fresh(&[plate])[0];
                    across.push((axis, cell[0].clone()));
                    axis
                }
            };
            *moved = self.read(slot, &[axis]);
        }
        (across, moved)
    }

    fn summed(
        &mut self,
        value: NodeId,
        m: &Mono,
        index: &[Ix],
        target: &[AxisId],
        extra: &[AxisId],
        plain: bool,
    ) -> SlotId {
        let name = format!("sum {}", self.defs.len() + 1);
        if plain {
            // Each cell sums over the other axes.
            let own: Vec<AxisId> =
                index.iter().filter_map(|ix| if let Ix::Axis(a) = ix { Some(*a) } else { None }).collect();
            let axes = m.axes.iter().copied().filter(|a| !own.contains(a) && !extra.contains(a)).collect();
            let whole = self.e.joint_mut().intern(Node::Reduce { op: Fold::Sum, axes, filter: m.filter, body: value });
            let whole = self.e.node_seen_from(whole, index, target);
            return self.define(name, &[target, extra].concat(), whole);
        }
        let dims = self.plates(&[target, extra].concat());
        let slot = self.slot(name, dims, SlotKind::Defined);
        let on = self.e.on(value).as_ref().clone();
        self.e.depend(slot, on);
        let index = index.iter().cloned().chain(extra.iter().map(|a| Ix::Axis(*a))).collect();
        let scatter = Some(Scatter { index, filter: m.filter });
        self.defs.push(Def { scatter, ..Def::new(slot, m.axes.clone(), value, Span::default()) });
        slot
    }

    /// Products of the same factors have one addend; of several with the same open latents, the sum of what they are
    /// multiplied by is stored.
    pub fn merged(&mut self, pieces: Poly, target: &[AxisId], name: &str) -> Poly {
        let mut out: Poly = vec![];
        for m in pieces {
            match out.iter_mut().find(|o| o.axes == m.axes && o.filter == m.filter && o.factors == m.factors) {
                Some(o) => o.data = plus(self.e.joint_mut(), o.data, m.data),
                None => out.push(m),
            }
        }
        let mut groups: Vec<(Vec<AxisId>, Vec<Factor>, Poly)> = vec![];
        for m in out {
            let open: Vec<Factor> = m.factors.iter().filter(|f| self.is_open(f.base)).copied().collect();
            match groups.iter_mut().find(|g| g.0 == m.axes && g.1 == open) {
                Some(g) => g.2.push(m),
                None => groups.push((m.axes.clone(), open, vec![m])),
            }
        }
        let mut all = vec![];
        for (axes, open, group) in groups {
            if let [one] = group.as_slice() {
                all.push(one.clone());
                continue;
            }
            let coefficients: Poly = group
                .into_iter()
                .map(|m| Mono { factors: m.factors.iter().filter(|f| !open.contains(f)).copied().collect(), ..m })
                .collect();
            let value = self.total(&coefficients);
            let over = [target, &axes].concat();
            let slot = self.define(format!("coefficient {} of {name}", self.defs.len() + 1), &over, value);
            let read = self.read(slot, &over);
            let (mut data, mut factors) = (self.constant(1.0), open);
            match self.e.is_data(read) {
                true => data = read,
                false => factors.push(Factor { base: read, power: 1.0 }),
            }
            factors.sort_by_key(|f| f.base);
            all.push(Mono { axes, filter: None, data, factors });
        }
        all
    }

    /// The sum of products where their own axes are left free; 0 where a filter does not hold.
    pub fn total(&mut self, pieces: &Poly) -> NodeId {
        let zero = self.constant(0.0);
        let mut out = zero;
        for m in pieces {
            let mut value = self.e.value(m);
            if let Some(f) = m.filter {
                value = self.e.joint_mut().intern(Node::Select(f, value, zero));
            }
            out = plus(self.e.joint_mut(), out, value);
        }
        out
    }

    /// The sum of products, over their own axes too.
    pub fn sum(&mut self, pieces: &Poly) -> NodeId {
        let mut out = self.constant(0.0);
        for m in pieces {
            let one = self.total(&vec![Mono { filter: None, ..m.clone() }]);
            let value = match (m.axes.is_empty(), m.filter) {
                (true, None) => one,
                (true, Some(_)) => self.total(&vec![m.clone()]),
                (false, filter) => {
                    self.e.joint_mut().intern(Node::Reduce { op: Fold::Sum, axes: m.axes.clone(), filter, body: one })
                }
            };
            out = plus(self.e.joint_mut(), out, value);
        }
        out
    }

    /// Add a product over `axes`, which integrating a latent out has left.
    pub fn leave(&mut self, mut m: Mono, axes: &[AxisId], from: usize) {
        m.axes = [axes, &m.axes].concat();
        self.entries.push(Entry { m, from });
    }

    /// Take the products with a latent out of the sum: with each its cells, and itself without these.
    pub fn take(&mut self, z: SlotId) -> Vec<(Vec<Factor>, Mono)> {
        let mut out = vec![];
        for entry in std::mem::take(&mut self.entries) {
            let cells = self.cells(&entry.m, z);
            if cells.is_empty() {
                self.entries.push(entry);
                continue;
            }
            self.touched.insert(entry.from);
            let factors = entry.m.factors.iter().filter(|f| !cells.contains(f)).copied().collect();
            out.push((cells, Mono { factors, ..entry.m }));
        }
        out
    }

    /// Noise for each cell of a latent, and the log density of a draw made from it: `log_scale` per cell is the log of
    /// the root of the precision.
    pub fn drawn(&mut self, latent: &Unconstrained, axes: &[AxisId], log_scale: NodeId) -> NodeId {
        let noise = self.noise(latent, "", axes);
        let (square, half) = (self.times(noise, noise), self.constant(0.5));
        let square = self.times(half, square);
        let less = self.binary(BinOp::Sub, log_scale, square);
        let value = self.binary(BinOp::Sub, less, self.half_log);
        self.density(latent, axes, value);
        noise
    }

    /// Standard normal noise for each cell.
    pub fn noise(&mut self, latent: &Unconstrained, which: &str, axes: &[AxisId]) -> NodeId {
        let name = format!("{} given the rest{which}", self.e.joint().slot(latent.slot).name);
        let plates = self.plates(axes);
        let slot = self.slot(name, plates, SlotKind::Unconstrained(latent.var));
        self.noise.push(Unconstrained { slot, point: false, start: None, axes: axes.to_vec(), ..latent.clone() });
        self.read(slot, axes)
    }

    /// Add to the log density of the draws.
    pub fn density(&mut self, latent: &Unconstrained, axes: &[AxisId], value: NodeId) {
        let name = format!("{} given the rest", self.e.joint().slot(latent.slot).name);
        self.densities.push(Term {
            name,
            kind: TermKind::Noise,
            axes: axes.to_vec(),
            filter: None,
            value,
            span: Span::default(),
        });
    }

    /// The number of a new source of products.
    pub fn source(&mut self, latent: &Unconstrained) -> usize {
        let name = &self.e.hir().var(latent.var).name;
        let own = format!("{name} ~");
        let span = self.sources.iter().find(|s| s.0.starts_with(&own)).map_or(Span::default(), |s| s.2);
        self.sources.push((format!("{name} integrated out"), TermKind::Likelihood, span));
        self.sources.len() - 1
    }

    /// The sum as terms: of the model's, those that nothing was taken from stay as they are.
    pub fn terms(&mut self) -> Vec<Term> {
        let original = self.e.joint().terms.clone();
        let count = original.len();
        let mut out: Vec<Term> =
            original.into_iter().enumerate().filter(|(i, _)| !self.touched.contains(i)).map(|t| t.1).collect();
        for source in 0..self.sources.len() {
            if source < count && !self.touched.contains(&source) {
                continue;
            }
            let mine: Vec<Mono> = self.entries.iter().filter(|e| e.from == source).map(|e| e.m.clone()).collect();
            // With what they are summed over: factors that are common to all cells, and the rest.
            let mut parts: Vec<Part> = vec![];
            for m in mine {
                let common = |f: &&Factor| m.axes.iter().all(|a| !self.e.joint().varies_over(f.base, *a));
                let (outside, inside): (Vec<Factor>, Vec<Factor>) = m.factors.iter().partition(|f| common(f));
                let rest = Mono { factors: inside, ..m.clone() };
                // What is left of data alone is a number; else all is added up cell by cell.
                let (outside, rest) = if rest.factors.is_empty() { (outside, rest) } else { (vec![], m.clone()) };
                match parts.iter_mut().find(|p| p.0 == m.axes && p.1 == m.filter && p.2 == outside) {
                    Some(p) => p.3.push(rest),
                    None => parts.push((m.axes.clone(), m.filter, outside, vec![rest])),
                }
            }
            let (name, kind, span) = self.sources[source].clone();
            for (axes, filter, outside, rest) in parts {
                let bare: Poly = rest.into_iter().map(|m| Mono { filter: None, ..m }).collect();
                let value = self.total(&bare);
                let term = |axes, filter, value| Term { name: name.clone(), kind, axes, filter, value, span };
                if outside.is_empty() || axes.is_empty() {
                    let outside = Mono { axes: vec![], filter: None, data: value, factors: outside };
                    let value = self.e.value(&outside);
                    out.push(term(axes, filter, value));
                    continue;
                }
                let whole = Node::Reduce { op: Fold::Sum, axes, filter, body: value };
                let whole = self.e.joint_mut().intern(whole);
                let slot = self.define(format!("sum {}", self.defs.len() + 1), &[], whole);
                let data = self.read(slot, &[]);
                let value = self.e.value(&Mono { axes: vec![], filter: None, data, factors: outside });
                out.push(term(vec![], None, value));
            }
        }
        out
    }

    /// Both filters.
    pub fn and(&mut self, a: Option<NodeId>, b: Option<NodeId>) -> Option<NodeId> {
        match b {
            Some(b) => Some(and(self.e.joint_mut(), a, b)),
            None => a,
        }
    }
}
