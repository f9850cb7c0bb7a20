//! Recurrent cells: a state that is carried along an ordered plate. They are recurrences, as a model may write them: a value
//! that reads itself a row before.

use super::super::expr::{bind, is_bad, walk};
use super::super::*;
use super::formula::Formula;
use super::layers::{Run, Signal};
use super::weights::Start;
use crate::diag::Code;
use crate::hir::{BinOp, Recurrence, UnOp};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Cell {
    /// tanh(W x + U h + b) (Elman 1990).
    Simple,
    /// Gates for what is kept and what is new (Cho et al. 2014), in the form in which the reset gate is applied after the
    /// product with the state.
    Gated,
}

/// `gru(20, day)`
pub(super) struct Recurrent {
    pub cell: Cell,
    pub plate: AxisId,
    /// From the last row to the first.
    pub backwards: bool,
    pub span: Span,
}

impl Checker<'_, '_> {
    /// The states along a plate, per unit. The plate is no feature any more: what follows is applied to each of its cells.
    pub(super) fn recurrent(
        &mut self,
        run: &mut Run,
        name: &str,
        signals: &[Signal],
        units: AxisId,
        c: &Recurrent,
    ) -> Option<Signal> {
        let at = Formula(c.span);
        let t = c.plate;
        if !signals.iter().any(|s| s.value.axes.contains(&t)) {
            let plate = self.plate_name(t).to_string();
            self.diags.push(
                Code::NET_PLATES
                    .at(
                        c.span,
                        format!(
                            "this goes from cell to cell of `{plate}`, and what it is given does not vary over that"
                        ),
                    )
                    .here(format!("the same for all cells of `{plate}`"))
                    .help(format!("declare a parameter of the net over it: `y: real[{plate}]`")),
            );
            return None;
        }
        let inputs: Vec<Signal> = signals
            .iter()
            .map(|s| {
                let value = if c.backwards { self.reversed(s.value.clone(), t, at) } else { s.value.clone() };
                let features = minus(&s.features, &[t]);
                let flat = Signal { name: s.name.clone(), value, features, image: s.image };
                self.flat_image(run, name, flat, c.span)
            })
            .collect();
        let parts: &[&str] = match c.cell {
            Cell::Simple => &["state"],
            Cell::Gated => &["reset", "keep", "state"],
        };
        let given: Vec<Expr> = parts
            .iter()
            .map(|p| {
                let x = self.affine(&format!("{name}.{p}"), &inputs, &[units], false, c.span)?;
                Some(self.keep(run, x, vec![units]).value)
            })
            .collect::<Option<_>>()?;
        let mapped = minus(&given.iter().fold(vec![], |all, g| union(&all, &g.axes)), &[t, units]);
        let axes: Vec<AxisId> = mapped.iter().copied().chain([t, units]).collect();
        let (kind, constraint) = (VarKind::Let, Constraint::None);
        let state =
            Var { name: name.to_string(), span: c.span, kind, axes: axes.clone(), joint: 0, ty: Ty::Real, constraint };
        let state = self.add_var(state);
        // The state before at unit `u`, 0 before the first.
        let before = |s: &mut Self, u: AxisId| {
            let plate = s.plate_of(t);
            let (mut here, mut by) = (at.position(t), at.number(1.0));
            (here.ty, by.ty) = (Ty::Index(plate), Ty::Int);
            let lag = super::super::expr::binary(BinOp::Sub, here, by, Ty::Index(plate), c.span);
            let index = mapped.iter().map(|&a| Index::Axis(a)).chain([Index::At(lag.into()), Index::Axis(u)]);
            let all: Vec<AxisId> = mapped.iter().copied().chain([t, u]).collect();
            let read = s.read_weight(state, index.collect(), &all, c.span);
            let mut first = at.of(BinOp::Less, at.position(t), at.number(1.0));
            first.ty = Ty::Bool;
            let axes = read.axes.clone();
            let kind = ExprKind::If { condition: first.into(), then: at.number(0.0).into(), otherwise: read.into() };
            Expr { kind, ty: Ty::Real, axes, span: c.span }
        };
        let own: Vec<Expr> = parts
            .iter()
            .map(|p| {
                let label = format!("{name}.{p}.recurrent");
                let other = self.input_axis(&label, units);
                let (from, to) = ([vec![other]], [units]);
                let start = Start::Draw { inputs: &from, outputs: &to, rectified: false, spread: 1.0 };
                let weight = self.weight(&label, c.span, &[units, other], start);
                let index = vec![Index::Axis(units), Index::Axis(other)];
                let weight = self.read_weight(weight, index, &[units, other], c.span);
                let h = before(self, other);
                at.sum(other, at.mul(weight, h))
            })
            .collect();
        let sum = |i: usize| at.add(given[i].clone(), own[i].clone());
        let value = match c.cell {
            Cell::Simple => at.apply(UnOp::Tanh, sum(0)),
            Cell::Gated => {
                let (reset, keep) = (at.apply(UnOp::Sigmoid, sum(0)), at.apply(UnOp::Sigmoid, sum(1)));
                let new = at.apply(UnOp::Tanh, at.add(given[2].clone(), at.mul(reset, own[2].clone())));
                let (id, h) = (self.fresh_local(), before(self, units));
                let new_axes = new.axes.clone();
                let read = Expr { kind: ExprKind::Local(id), ty: Ty::Real, axes: new_axes, span: c.span };
                let mixed = at.add(read.clone(), at.mul(keep, at.sub(h, read)));
                bind(id, new, mixed)
            }
        };
        self.step_of_state(run, state, (t, units), value, c.span)?;
        let all = axes.iter().map(|&a| Index::Axis(a)).collect();
        let read = self.read_weight(state, all, &axes, c.span);
        let read = if c.backwards { self.reversed(read, t, at) } else { read };
        Some(self.keep(run, read, vec![units]))
    }

    /// The state as a definition of the program, with all that its value is made from.
    fn step_of_state(
        &mut self,
        run: &Run,
        state: VarId,
        (t, _): (AxisId, AxisId),
        value: Expr,
        span: Span,
    ) -> Option<()> {
        let around = self.nets.open.iter().flatten().chain(&run.bound);
        let value = around.collect::<Vec<_>>().into_iter().rev().fold(value, |body, (l, v)| bind(*l, v.clone(), body));
        if is_bad(&value) {
            return None;
        }
        if !self.nets.open.is_empty() && !is_closed(&value) {
            self.diags.push(
                Code::NET_PLATES
                    .at(
                        self.nets.called.unwrap_or(span),
                        "a net with a recurrent cell is called on values of the model",
                    )
                    .here("called on a value that has no name in the model")
                    .label(span, "the recurrent cell")
                    .help("call it in a `let` of the model or the guide"),
            );
            return None;
        }
        self.random.insert(state);
        self.smooth.insert(state);
        self.hir.recurrences.push(Recurrence { vars: vec![state], axes: vec![t], walk: None });
        self.hir.steps.push(Step::Let { var: state, value, span });
        Some(())
    }

    /// A value with the cells of a plate in the other order.
    fn reversed(&self, value: Expr, axis: AxisId, at: Formula) -> Expr {
        if !value.axes.contains(&axis) {
            return value;
        }
        let last = at.sub(at.size(self.plate_of(axis)), at.number(1.0));
        self.gathered(value, axis, at.sub(last, at.position(axis)), at)
    }

    /// `last(day)`, `first(day)`: the state at one end of the plate.
    pub(super) fn end_of_walk(
        &mut self,
        run: &mut Run,
        signals: Vec<Signal>,
        (axis, last): (AxisId, bool),
        span: Span,
    ) -> Option<Vec<Signal>> {
        let at = Formula(span);
        if signals.iter().any(|s| !s.value.axes.contains(&axis)) {
            let plate = self.plate_name(axis).to_string();
            self.diags.push(
                Code::NET_PLATES
                    .at(span, format!("what comes before does not vary over `{plate}`"))
                    .here("no first or last cell of it")
                    .help(format!("put it behind a recurrent cell: `gru(20, {plate}) |> last({plate})`")),
            );
            return None;
        }
        let place = match last {
            true => at.sub(at.size(self.plate_of(axis)), at.number(1.0)),
            false => at.number(0.0),
        };
        let each = signals.into_iter().map(|s| {
            let value = self.gathered(s.value, axis, place.clone(), at);
            let features = minus(&s.features, &[axis]);
            Signal { name: s.name, image: s.image, ..self.keep(run, value, features) }
        });
        Some(each.collect())
    }
}

/// Whether every local of an expression is bound inside of it.
fn is_closed(e: &Expr) -> bool {
    let (mut bound, mut read) = (HashSet::new(), HashSet::new());
    walk(e, &mut |e| match &e.kind {
        ExprKind::Bind { local, .. } => _ = bound.insert(*local),
        ExprKind::Local(local) => _ = read.insert(*local),
        _ => {}
    });
    read.is_subset(&bound)
}
