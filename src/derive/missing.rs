//! Columns with missing cells in the log joint. A column whose empty cells are latents is read through one stored value
//! per cell: the datum where there is one, the latent where not; its `observe` is then a term like any other, the
//! likelihood of the present cells and the prior of the empty ones.

use super::bijector::Support;
use super::joint::*;
use super::translate::{Source, Translator};
use crate::hir::{Constraint, Expr, ExprKind, Hir, Missing, VarId, VarKind};
use crate::source::Span;

impl Translator<'_> {
    /// Give every column its empty cells, where their range depends on data only. The others wait for their `observe`.
    pub(super) fn fill_known(&mut self) {
        for m in self.hir.missing.clone() {
            if self.hir.discrete(m.cells).is_some() {
                self.hold(&m);
                continue;
            }
            let mut known = true;
            crate::check::reads(&self.hir.var(m.cells).constraint, &mut |v| known &= is_plain_data(self.hir, v));
            if known || self.sources.contains_key(&m.cells) {
                self.fill(&m);
            }
        }
    }

    /// Give the column that is observed its empty cells, if it has them and not yet.
    pub(super) fn fill_observed(&mut self, target: &Expr) {
        let ExprKind::Read { var, .. } = &target.kind else { return };
        let waiting = self.hir.missing.iter().find(|m| m.column == *var && !self.sources.contains_key(&m.cells));
        if let Some(m) = waiting.cloned() {
            self.fill(&m);
        }
    }

    /// Read a discrete column through a latent with a value per cell, which is summed out. Where there is a datum, all other
    /// values are impossible.
    fn hold(&mut self, missing: &Missing) {
        let column = self.hir.var(missing.column).clone();
        let (Some(Source::Slot(data)), Some(Source::Slot(slot))) =
            (self.sources.get(&missing.column).cloned(), self.sources.get(&missing.cells).cloned())
        else {
            unreachable!("data and discrete latents have slots")
        };
        let (z, datum) = (self.read_all(slot, &column.axes), self.read_all(data, &column.axes));
        let order = self.order(missing.column);
        let at = self.read_all(order, &column.axes);
        let (zero, never) = (self.joint.constant(0.0), self.joint.constant(f64::NEG_INFINITY));
        let present = self.joint.binary(BinOp::Less, at, zero);
        let same = self.joint.binary(BinOp::Equal, z, datum);
        let held = self.joint.intern(Node::Select(same, zero, never));
        let value = self.joint.intern(Node::Select(present, held, zero));
        let (name, axes, span) = (format!("{} data", column.name), column.axes, column.span);
        self.joint.terms.push(Term { name, kind: TermKind::Likelihood, axes, filter: None, value, span });
        self.sources.insert(missing.column, Source::Slot(slot));
    }

    /// The density of an observed value, 0 outside the ends of its own cell if it is summed out over those of all.
    pub(super) fn cut_to_own(&mut self, target: &Expr, x: NodeId, density: NodeId) -> NodeId {
        let ExprKind::Read { var, .. } = &target.kind else { return density };
        let held = self.hir.missing.iter().find(|m| m.column == *var && self.hir.discrete(m.cells).is_some());
        let Some(constraint) = held.map(|m| self.hir.var(m.cells).constraint.clone()) else { return density };
        let Some(inside) = self.within(&constraint, x) else { return density };
        let never = self.joint.constant(f64::NEG_INFINITY);
        self.joint.intern(Node::Select(inside, density, never))
    }

    fn fill(&mut self, missing: &Missing) {
        let cells = self.hir.var(missing.cells).clone();
        if self.sources.contains_key(&missing.cells) {
            return self.fill_in(missing, cells.span);
        }
        let column = self.hir.var(missing.column).clone();
        let (axis, span) = (cells.axes[0], cells.span);
        let plates = self.plates(&cells.axes);
        // The row of an empty cell, for ends of a range that differ by row.
        let here: Vec<Ix> = (0..column.axes.len())
            .map(|d| {
                let kind = SlotKind::MissingAt(missing.column, d);
                let slot = self.slot(format!("empty cells of {}", column.name), plates.clone(), kind);
                Ix::At(self.read_all(slot, &[axis]))
            })
            .collect();
        let end = |t: &mut Self, e: &Expr| {
            let e = t.expr(e);
            column.axes.iter().zip(&here).fold(e, |e, (a, ix)| t.substitute(e, *a, ix))
        };
        let support = match &cells.constraint {
            Constraint::Lower { bound, .. } => Support::Lower(end(self, bound)),
            Constraint::Upper { bound, .. } => Support::Upper(end(self, bound)),
            Constraint::Interval { lower, upper, .. } => Support::Interval(end(self, lower), end(self, upper)),
            Constraint::None
            | Constraint::Simplex
            | Constraint::Matrix(_)
            | Constraint::UnitVector
            | Constraint::ZeroSum
            | Constraint::Ordered { .. } => Support::Real,
        };
        let name = match support {
            Support::Real => cells.name.clone(),
            _ => format!("{} unconstrained", cells.name),
        };
        let slot = self.slot(name, plates, SlotKind::Unconstrained(missing.cells));
        let u = self.read_all(slot, &[axis]);
        let entry = Unconstrained { var: missing.cells, slot, point: false, start: None, axes: vec![axis] };
        self.joint.unconstrained.push(entry);
        let (x, jacobian) = self.joint.constrain(support, u);
        self.define(missing.cells, &cells.name, &[axis], x, span);
        if let Some(j) = jacobian {
            self.jacobian(&cells.name, vec![axis], j, span);
        }
        self.fill_in(missing, span);
    }

    /// The column with its empty cells filled, which is what later steps read.
    fn fill_in(&mut self, missing: &Missing, span: Span) {
        let column = self.hir.var(missing.column).clone();
        let (Some(Source::Slot(data)), Some(Source::Slot(latent))) =
            (self.sources.get(&missing.column).cloned(), self.sources.get(&missing.cells).cloned())
        else {
            unreachable!("data have slots, and the empty cells have just got theirs")
        };
        let order = self.order(missing.column);
        let at = self.read_all(order, &column.axes);
        let zero = self.joint.constant(0.0);
        let empty = self.joint.binary(BinOp::LessEq, zero, at);
        let present = self.read_all(data, &column.axes);
        let drawn = self.joint.intern(Node::Read { slot: latent, index: vec![Ix::At(at)] });
        let value = self.joint.intern(Node::Select(empty, drawn, present));
        let slot = self.slot(format!("{} filled", column.name), self.plates(&column.axes), SlotKind::Defined);
        self.joint.defs.push(Def::new(slot, column.axes.clone(), value, span));
        self.sources.insert(missing.column, Source::Slot(slot));
    }

    /// The slot with the number of each empty cell of a column, -1 where the cell is not empty.
    fn order(&mut self, column: VarId) -> SlotId {
        let kind = SlotKind::Missing(column);
        if let Some(i) = self.joint.slots.iter().position(|s| s.kind == kind) {
            return SlotId(i as u32);
        }
        let v = self.hir.var(column).clone();
        self.slot(format!("{} missing", v.name), self.plates(&v.axes), kind)
    }

    /// Whether an observed value is there: `filter`, and no column in it is missing without being filled.
    pub(super) fn present(&mut self, target: &Expr, filter: Option<NodeId>) -> Option<NodeId> {
        let mut columns = vec![];
        crate::check::walk(target, &mut |e| {
            if let ExprKind::Read { var, index } = &e.kind
                && matches!(&self.hir.var(*var).kind, VarKind::Column(c) if c.optional)
                && self.hir.missing.iter().all(|m| m.column != *var)
            {
                columns.push((*var, index.clone()));
            }
        });
        columns.into_iter().fold(filter, |filter, (column, index)| {
            let slot = self.order(column);
            let index = index.iter().map(|i| self.index(i)).collect();
            let at = self.joint.intern(Node::Read { slot, index });
            let zero = self.joint.constant(0.0);
            let present = self.joint.binary(BinOp::Less, at, zero);
            Some(match filter {
                Some(f) => self.joint.binary(BinOp::And, f, present),
                None => present,
            })
        })
    }
}

/// Known from the files alone, wherever it is read. A `let` of data is defined where it stands, which may be below.
fn is_plain_data(hir: &Hir, var: VarId) -> bool {
    match &hir.var(var).kind {
        VarKind::Column(c) => !c.optional,
        VarKind::DataValue { .. } | VarKind::Const { .. } | VarKind::Order { .. } | VarKind::Start { .. } => true,
        VarKind::Mask { .. } => false,
        VarKind::Let | VarKind::Report | VarKind::Latent | VarKind::Param { .. } => false,
    }
}
