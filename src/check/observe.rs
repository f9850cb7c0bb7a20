//! Observations: data, the plates they vary over, and their distribution.

use super::dist::Drawn;
use super::expr::{is_bad, walk};
use super::*;
use crate::diag::Code;
use crate::syntax::ast::{ExprKind as A, IndexItem};

impl<'a> Checker<'a, '_> {
    pub(super) fn observe(
        &mut self,
        decl: &'a ast::Decl,
        target: &'a ast::Expr,
        over: &'a [ast::Axis],
        dist: &'a ast::Expr,
    ) {
        let mut env = Env::default();
        let mut filter = None;
        // `y[t in series where …]`: the index names the row.
        let written = match &target.kind {
            A::Index { base, items } if items.iter().any(|i| matches!(i, IndexItem::Axis(_))) => {
                for item in items {
                    let IndexItem::Axis(a) = item else {
                        self.diags.push(
                            Code::BINDER_MISPLACED
                                .at(target.span, "either every index of an observation names a row, or none does")
                                .here("mixed indices")
                                .help("write `observe y[t in rows where …] ~ …`"),
                        );
                        return;
                    };
                    if !self.keeps_levels(a.without.as_ref(), "an observation") {
                        return;
                    }
                    let Some(axis) = self.axis_named(&a.plate, &env) else { return };
                    if let Some(index) = &a.index {
                        if self.check_binder(index, &env).is_none() {
                            return;
                        }
                        env.binders.push((index.name.clone(), axis));
                    }
                    if self.walk_given(a, axis, &mut env).is_none() {
                        return;
                    }
                    env.context = union(&env.context, &[axis]);
                    if let Some(f) = &a.filter {
                        let c = self.expr(f, &env);
                        let c = self.data_condition(c, "`where`");
                        if is_bad(&c) {
                            return;
                        }
                        env = self.where_(&c, true, &env);
                        let span = c.span;
                        filter = Some(match filter {
                            None => c,
                            Some(old) => expr::binary(BinOp::And, old, c, Ty::Bool, span),
                        });
                    }
                }
                base
            }
            _ => target,
        };
        let value = self.expr(written, &env);
        if is_bad(&value) {
            return self.names_within(dist, &env);
        }
        let missing = self.missing_in(&value);
        if let Some((var, span)) = self.latent_in_data(&value) {
            let v = self.hir.var(var);
            self.diags.push(
                Code::OBSERVE_LATENT
                    .at(span, format!("`{}` is not data: only data can be observed", v.name))
                    .here("not known before fitting")
                    .label(v.span, "declared here")
                    .help(match v.kind {
                        VarKind::Let if self.reads_missing(var) => "a value computed from missing cells is a latent where they are missing: observe the column itself",
                        VarKind::Latent => "the prior of a latent stands in its own declaration, `latent x ~ …`; another term of the log joint is a `factor`",
                        _ => "to add a term to the log joint write `factor …`",
                    }),
            );
            return;
        }
        if !env.context.is_empty() && env.context != value.axes {
            let text = self.axes_text(&env.context);
            self.diags.push(
                Code::PLATE_MISMATCH
                    .at(
                        target.span,
                        format!(
                            "the observed value varies over {}, and the index names {text}",
                            self.axes_text(&value.axes)
                        ),
                    )
                    .here("indices that do not fit")
                    .help("name one index per plate of the observed value"),
            );
            return;
        }
        let mut joint = vec![];
        for a in over {
            let Some(axis) = self.axis_named(&a.plate, &env) else { return };
            if !value.axes.contains(&axis) {
                let varies = self.axes_text(&value.axes);
                self.diags.push(
                    Code::NOTHING_TO_REDUCE
                        .at(a.span, format!("the observed value does not vary over `{}`", a.plate.name))
                        .here("not one of its plates")
                        .label(target.span, format!("varies over {varies}"))
                        .help("remove `over …`, or name one of its plates"),
                );
                return;
            }
            joint.push(axis);
        }
        let axes = minus(&value.axes, &joint);
        env.context = value.axes.clone();
        let name = self.target_name(&value);
        let drawn = Drawn {
            what: format!("observe {name}"),
            span: target.span,
            axes: axes.clone(),
            over: joint.clone(),
            declared: None,
            observed: Some(value.ty),
            missing,
            cells_of: None,
            censoring: None,
            columns: None,
        };
        let Some(dist) = self.dist(dist, &drawn, &env) else { return };
        self.hir.steps.push(Step::Observe { name, target: value, over: joint, axes, filter, dist, span: decl.span });
    }

    pub(super) fn target_name(&self, e: &Expr) -> String {
        let mut names = vec![];
        walk(e, &mut |e| {
            if let ExprKind::Read { var, .. } = &e.kind
                && matches!(self.hir.var(*var).kind, VarKind::Column(_) | VarKind::Let)
            {
                names.push(self.hir.var(*var).name.clone());
            }
        });
        names.into_iter().next().unwrap_or_else(|| "a constant".into())
    }
}
