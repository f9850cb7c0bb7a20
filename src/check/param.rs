//! Params: what is fitted as a point, from a starting value.

use super::dist::Drawn;
use super::expr::{bind, is_bad, walk};
use super::head::Left;
use super::*;
use crate::diag::Code;
use crate::syntax::ast::{ExprKind as A, Head};

impl<'a> Checker<'a, '_> {
    pub(super) fn param(&mut self, head: &'a Head, ty: Option<&'a ast::Type>, init: &'a ast::Expr) {
        if let Some(t) = ty
            && !self.latent_type(t, "param")
        {
            return self.poison(&head.name);
        }
        let Some(left) = self.left(head) else { return self.poison(&head.name) };
        if !self.keeps_levels(left.without.first().map(|w| w.1), "a `param`") {
            return self.poison(&head.name);
        }
        let all = union(&left.axes, &left.over);
        let drawn = self.computed(format!("param {}", head.name.name), head.span, &left.axes, &left.over);
        let v = match drawn_from(init) {
            Some(dist) => match self.drawn_start(&head.name, ty, dist, &drawn, &left) {
                Some(v) => v,
                None => return self.poison(&head.name),
            },
            None => {
                let v = self.expr(init, &left.env);
                self.numeric(v, "start from this")
            }
        };
        let drawn = self.computed(format!("param {}", head.name.name), head.span, &left.axes, &left.over);
        let Some(drawn) = self.declared(ty, drawn, &left.env) else { return self.poison(&head.name) };
        let joint = matches!(
            &drawn.declared,
            Some((_, Constraint::Simplex | Constraint::UnitVector | Constraint::ZeroSum | Constraint::Ordered { .. }))
        );
        if let (false, Some(&a)) = (joint, left.over.first()) {
            let plate = self.plate_name(a).to_string();
            self.diags.push(
                Code::OVER_ON_SCALAR
                    .at(head.span, "`over` means jointly, and nothing ties the cells of this param together")
                    .here("jointly")
                    .help(format!(
                        "write `param {}[{plate}]`, or give it the type `simplex` or `ordered`",
                        head.name.name
                    )),
            );
            return self.poison(&head.name);
        }
        if is_bad(&v) || !self.check_plates(&v, &all, &drawn) {
            return self.poison(&head.name);
        }
        if let Some((var, span)) = self.latent_in(&v) {
            let (name, at) = (self.hir.var(var).name.clone(), self.hir.var(var).span);
            let d = Code::PARAM_START
                .at(span, format!("the starting value of a `param` cannot depend on the {} `{name}`", self.word(var)))
                .here("not known before fitting")
                .label(at, "declared here")
                .help("start from a number");
            self.diags.push(d);
            return self.poison(&head.name);
        }
        let declared = drawn.declared.map(|d| d.1);
        if let (Some(Constraint::Ordered { .. }), Some(t), Some(&k)) = (&declared, ty, left.over.first())
            && !increases(&v, k)
        {
            self.diags.push(
                Code::PARAM_START
                    .at(
                        v.span,
                        format!("the starting values of `{}` do not increase from cell to cell", head.name.name),
                    )
                    .here("not increasing")
                    .label(t.span, "the type")
                    .help("start from a list of increasing numbers: `[0, 1, 2]`"),
            );
            return self.poison(&head.name);
        }
        if let (Some(c), Some(t)) = (&declared, ty) {
            let (got, wanted) = (self.range_in(&v, &left.env), self.range_of(c, Ty::Real, &left.env));
            // On the edge the unconstrained value would be infinite.
            let touches = got.lower == got.upper && (got.lower == wanted.lower || got.lower == wanted.upper);
            if got.upper < wanted.lower || got.lower > wanted.upper || touches {
                self.diags.push(
                    Code::PARAM_START
                        .at(v.span, format!("the starting value of `{}` does not lie inside its type", head.name.name))
                        .here(if touches { "on its edge" } else { "outside" })
                        .label(t.span, "the type")
                        .help("start from a number well inside the range"),
                );
                return self.poison(&head.name);
            }
        }
        let constraint = declared.unwrap_or(Constraint::None);
        let axes: Vec<AxisId> = left.axes.iter().chain(&left.over).copied().collect();
        let var = self.add_var(Var {
            name: head.name.name.clone(),
            span: head.name.span,
            kind: VarKind::Param { init: v },
            joint: left.over.len(),
            axes,
            ty: Ty::Real,
            constraint,
        });
        self.declare_step(&head.name, "param", var);
        self.hir.steps.push(Step::Param { var, span: head.span });
    }

    /// `draw(D)`: a draw per cell, made when the data are bound.
    fn drawn_start(
        &mut self,
        name: &Ident,
        ty: Option<&'a ast::Type>,
        dist: &'a ast::Expr,
        drawn: &Drawn,
        left: &Left,
    ) -> Option<Expr> {
        let used = self.dist(dist, drawn, &left.env)?;
        let refuse = |said: String, help: &str| Code::PARAM_START.at(dist.span, said).here("drawn from").help(help);
        let Some(sample) = used.sample.clone() else {
            let said = format!("a start cannot be drawn from `{}`: it has no `sample()`", used.name);
            self.diags.push(refuse(said, "start from a number, or draw from another distribution"));
            return None;
        };
        let known = |v: &Var| matches!(v.kind, VarKind::Column(_) | VarKind::DataValue { .. } | VarKind::Const { .. });
        for (_, _, value) in &used.args {
            let mut other = None;
            walk(value, &mut |e| {
                if let ExprKind::Read { var, .. } = &e.kind
                    && !known(self.hir.var(*var))
                {
                    other = Some((*var, e.span));
                }
            });
            if let Some((var, at)) = other {
                let (called, word) = (self.hir.var(var).name.clone(), self.word(var));
                let d = Code::PARAM_START
                    .at(at, format!("the start of a `param` cannot depend on the {word} `{called}`"))
                    .here("computed later")
                    .label(self.hir.var(var).span, "declared here")
                    .help("draw from a distribution of numbers or data");
                self.diags.push(d);
                return None;
            }
        }
        if let Some(t) = ty {
            let type_of = self.constraint(t, &left.env);
            let (got, wanted) =
                (self.range_of(&used.range, used.support.ty, &left.env), self.range_of(&type_of, Ty::Real, &left.env));
            let joint =
                |c: &Constraint| matches!(c, Constraint::Simplex | Constraint::ZeroSum | Constraint::Ordered { .. });
            let differs = joint(&type_of) && std::mem::discriminant(&type_of) != std::mem::discriminant(&used.range);
            if got.lower < wanted.lower || got.upper > wanted.upper || differs {
                let said = format!("a draw from `{}` need not lie inside the type of `{}`", used.name, name.name);
                let d = refuse(said, "draw from a distribution on the values of the type, or start from a number");
                self.diags.push(d.label(t.span, "the type"));
                return None;
            }
        }
        let draw = used.args.into_iter().rev().fold(sample, |body, (local, _, value)| bind(local, value, body));
        let axes: Vec<AxisId> = left.axes.iter().chain(&left.over).copied().collect();
        let var = self.add_var(Var {
            name: format!("start of {}", name.name),
            span: dist.span,
            kind: VarKind::Start { draw },
            axes: axes.clone(),
            joint: 0,
            ty: Ty::Real,
            constraint: Constraint::None,
        });
        let index = axes.iter().map(|&a| Index::Axis(a)).collect();
        Some(Expr { kind: ExprKind::Read { var, index }, ty: Ty::Real, axes: sorted(&axes), span: dist.span })
    }
}

/// The distribution of `draw(D)`.
fn drawn_from(init: &ast::Expr) -> Option<&ast::Expr> {
    match &init.kind {
        A::Call { callee, args } => match (&callee.kind, args.as_slice()) {
            (A::Name(n), [one]) if n == "draw" && one.name.is_none() && one.over.is_empty() => Some(&one.value),
            _ => None,
        },
        _ => None,
    }
}

/// Whether starting values may increase along an axis: numbers in a list are compared, a single number never does.
fn increases(v: &Expr, along: AxisId) -> bool {
    match &v.kind {
        ExprKind::List { axis, items } if *axis == along => items.windows(2).all(|w| match (&w[0].kind, &w[1].kind) {
            (ExprKind::Number(a), ExprKind::Number(b)) => a < b,
            _ => true,
        }),
        _ => v.axes.contains(&along),
    }
}
