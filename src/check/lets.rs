//! Computed values: `let`, and what a `report` computes.

use super::expr::is_bad;
use super::*;
use crate::diag::Code;
use crate::syntax::ast::{ExprKind as A, Head};

impl<'a> Checker<'a, '_> {
    /// Whether a `let` can have this type.
    pub(super) fn typed_let(&mut self, t: &'a ast::Type) -> bool {
        let base = t.base.name.as_str();
        let plate = self.names.get(base).is_some_and(|e| e.plate.is_some());
        if plate && t.bound.is_none() {
            return true;
        }
        if matches!(base, "category" | "key" | "ordered" | "simplex" | "corr" | "cov") {
            self.diags.push(
                Code::NOT_YET_TYPE
                    .at(t.span, "a `let` with such a type is not part of this version of the language")
                    .here("parsed, but without meaning so far")
                    .help("put an index in a `category` column; leave the type of other values out"),
            );
        } else if !plate && !matches!(base, "real" | "int" | "bool") {
            self.unknown_type(&t.base, base, &["real", "int", "bool"], "a computed value");
        } else if t.bound.is_some() {
            self.diags.push(
                Code::RANGE_MISPLACED
                    .at(t.span, "the range of a computed value follows from its formula")
                    .here("would not be enforced")
                    .help(format!("write `{base}`, or leave the type out")),
            );
        } else {
            return true;
        }
        false
    }

    pub(super) fn let_(
        &mut self,
        head: &'a Head,
        value: &'a ast::Expr,
        kind: VarKind,
        plate: Option<PlateId>,
    ) -> Option<VarId> {
        let what = if matches!(kind, VarKind::Let) { "let" } else { "report" };
        if let (VarKind::Let, Some(net)) = (&kind, self.parts_call(value, &Env::default())) {
            self.parts_let(head, value, net);
            return None;
        }
        self.labelled_plate(head, value);
        let Some(mut left) = self.left_of(head) else {
            self.poison(&head.name);
            return None;
        };
        if !self.keeps_levels(left.without.first().map(|w| w.1), &format!("a `{what}`")) {
            self.poison(&head.name);
            return None;
        }
        let bare = head.axes.is_empty() && head.over.is_empty();
        if let A::List(items) = &value.kind
            && items.iter().any(|i| i.label.is_some())
            && let Some(last) = left.axes.last()
        {
            left.env.list_axis = Some(*last);
        }
        let v = self.expr(value, &left.env);
        if is_bad(&v) {
            self.poison(&head.name);
            return None;
        }
        let v = match plate {
            Some(plate) => self.as_cell(v, plate),
            None => v,
        };
        let index = matches!(v.ty, Ty::Index(_)) && (plate.is_some() || !matches!(v.kind, ExprKind::Position(_)));
        let v = if index { v } else { self.numeric(v, "use this as a value") };
        let own: Vec<AxisId> = left.axes.iter().chain(&left.over).copied().collect();
        let v = self.renamed_matrix(v, &own);
        let labelled = matches!(&value.kind, A::List(items) if items.iter().any(|i| i.label.is_some()));
        let axes = if bare {
            v.axes.clone()
        } else if labelled {
            // A labelled list adds its plate to those of its items.
            minus(&v.axes, &own).into_iter().chain(own.iter().copied()).collect()
        } else {
            let drawn = self.computed(format!("{what} {}", head.name.name), head.span, &own, &[]);
            if !self.check_plates(&v, &sorted(&own), &drawn) {
                self.poison(&head.name);
                return None;
            }
            own
        };
        let constraint = self.known_range(&v);
        let var = self.settle_var(Var {
            name: head.name.name.clone(),
            span: head.name.span,
            kind,
            axes,
            joint: left.over.len(),
            ty: v.ty,
            constraint,
        });
        self.depends(var, &v);
        self.range_by_induction(var, &v);
        self.remember_result(var, &v);
        self.declare_step(&head.name, what, var);
        self.hir.steps.push(Step::Let { var, value: v, span: head.span });
        Some(var)
    }

    /// `let q = encode(x)`: one `let` per part.
    fn parts_let(&mut self, head: &'a Head, value: &'a ast::Expr, net: super::net::NetDecl<'a>) {
        if let Some(a) = head.axes.iter().chain(&head.over).next() {
            let d =
                Code::BINDER_MISPLACED.at(a.span, "what a net gives takes its plates from the net").here("not here");
            self.diags.push(d.help(format!("write `let {} = …`", head.name.name)));
            return self.poison(&head.name);
        }
        let Some(parts) = self.parts_of(value, net, &Env::default()) else { return self.poison(&head.name) };
        let mut made = vec![];
        for (part, v) in parts {
            let var = self.settle_var(Var {
                name: format!("{}.{part}", head.name.name),
                span: head.name.span,
                kind: VarKind::Let,
                axes: v.axes.clone(),
                joint: 0,
                ty: v.ty,
                constraint: self.known_range(&v),
            });
            self.depends(var, &v);
            self.remember_result(var, &v);
            self.hir.steps.push(Step::Let { var, value: v, span: head.span });
            made.push((part, var));
        }
        self.names.declare(&head.name, "let", |e| e.parts = made, self.diags);
        self.names.later.remove(&head.name.name);
    }

    /// `let m[months]: season = …`: a value that picks a cell of a plate; of a numbered plate, by its number.
    pub(super) fn as_cell(&mut self, v: Expr, plate: PlateId) -> Expr {
        let (name, at) = (self.hir.plate(plate).name.clone(), self.hir.plate(plate).span);
        let first = match (&self.hir.plate(plate).kind, v.ty) {
            (_, Ty::Index(own)) if own == plate => return v,
            (PlateKind::Sized(_), Ty::Int | Ty::Bool) => expr::number(1.0, Ty::Int, v.span),
            (PlateKind::Range(first, _), Ty::Int | Ty::Bool) => first.clone(),
            _ if is_bad(&v) => return v,
            (_, Ty::Index(own)) => {
                let other = self.hir.plate(own).name.clone();
                self.diags.push(
                    Code::INDEX_OF_OTHER_PLATE
                        .at(v.span, format!("this picks a cell of `{other}`, and a cell of `{name}` is declared"))
                        .here(format!("an index of `{other}`"))
                        .label(at, "the plate")
                        .help(format!("declare `: {other}`, or leave the type out")),
                );
                return expr::bad(v.span);
            }
            (PlateKind::Sized(_) | PlateKind::Range(..), _) => {
                self.diags.push(
                    Code::NOT_AN_INDEX
                        .at(v.span, format!("a cell of `{name}` has a whole number, and this may have a fraction"))
                        .here("not an index")
                        .help("compute with `int` columns, or round it: `round(…)`"),
                );
                return expr::bad(v.span);
            }
            _ => {
                self.diags.push(
                    Code::NOT_AN_INDEX
                        .at(v.span, format!("this is a number, and the cells of `{name}` have none"))
                        .here("not an index")
                        .label(at, "the plate")
                        .help(format!("number the cells, `plate {name} = 12`, or use a column of the type `{name}`")),
                );
                return expr::bad(v.span);
            }
        };
        let span = v.span;
        expr::binary(BinOp::Sub, v, first, Ty::Index(plate), span)
    }

    /// What is known of a computed value's sign, so that its users are checked as those of a latent are.
    pub(super) fn known_range(&self, v: &Expr) -> Constraint {
        let r = bounds::range(&self.hir, v, &|_| bounds::Range::ALL);
        let n = |x: f64| expr::number(x, Ty::Real, v.span);
        match (r.lower.is_finite(), r.upper.is_finite()) {
            (true, true) => Constraint::Interval { lower: n(r.lower), upper: n(r.upper), open: false },
            (true, false) => Constraint::Lower { bound: n(r.lower), open: false },
            (false, true) => Constraint::Upper { bound: n(r.upper), open: false },
            _ => Constraint::None,
        }
    }

    /// A recurrence that starts at 0 or above and keeps above: what is not negative so far gives what is not negative.
    pub(super) fn range_by_induction(&mut self, var: VarId, v: &Expr) {
        let own = self.ahead.values().flatten().any(|a| a.0 == var);
        if !own || !matches!(self.hir.var(var).constraint, Constraint::None) {
            return;
        }
        let bound = expr::number(0.0, Ty::Real, v.span);
        self.hir.vars[var.0 as usize].constraint = Constraint::Lower { bound, open: false };
        if self.known_lower(v) < 0.0 {
            self.hir.vars[var.0 as usize].constraint = Constraint::None;
        }
    }

    pub(super) fn known_lower(&self, v: &Expr) -> f64 {
        bounds::range(&self.hir, v, &|_| bounds::Range::ALL).lower
    }
}
