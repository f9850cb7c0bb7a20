//! Latents: their types, their priors, and how they are centred.

use super::centering::{is_joint_gaussian, location_scale};
use super::dist::Drawn;
use super::expr::walk;
use super::head::same_plates;
use super::*;
use crate::diag::Code;
use crate::syntax::ast::Head;

impl<'a> Checker<'a, '_> {
    pub(super) fn latent(
        &mut self,
        decl: &'a ast::Decl,
        heads: &'a [Head],
        ty: Option<&'a ast::Type>,
        dist: &'a ast::Expr,
    ) {
        if let Some(without) = heads.iter().find(|h| !same_plates(h, &heads[0])) {
            let with = heads.iter().find(|h| h.axes.len() + h.over.len() > 0).unwrap_or(without);
            let without = heads.iter().find(|h| !same_plates(h, with)).unwrap_or(without);
            let (a, b) = (&without.name.name, &with.name.name);
            self.diags.push(
                Code::MIXED_HEADS
                    .at(with.span, "the names of one declaration carry the same plates")
                    .here("varies over other plates")
                    .label(without.span, "than this")
                    .help(format!("write two declarations, one for `{a}` and one for `{b}`")),
            );
            heads.iter().for_each(|h| self.poison(&h.name));
            return;
        }
        let asked = decl.attrs.iter().find(|a| a.name.name == "noncentered").map(|a| a.span);
        let centering = decl.attrs.iter().fold(Centering::Auto, |c, a| match a.name.name.as_str() {
            "centered" => Centering::Centered,
            "noncentered" => Centering::Noncentered,
            _ => c,
        });
        if let Some(t) = ty
            && !self.latent_type(t, "latent")
        {
            heads.iter().for_each(|h| self.poison(&h.name));
            return;
        }
        for head in heads {
            let Some(left) = self.left_of(head) else {
                self.poison(&head.name);
                if head.axes.iter().chain(&head.over).all(|a| a.index.is_none()) {
                    self.names_within(dist, &Env::default());
                }
                continue;
            };
            let mut drawn = self.computed(format!("latent {}", head.name.name), head.span, &left.axes, &left.over);
            drawn.columns = self.columns(ty, dist, &left.over);
            let columns = drawn.columns;
            let Some(drawn) = self.declared(ty, drawn, &left.env) else {
                self.poison(&head.name);
                continue;
            };
            let Some(used) = self.dist(dist, &drawn, &left.env) else {
                self.poison(&head.name);
                continue;
            };
            if !self.fits_type(ty, &used) {
                self.poison(&head.name);
                continue;
            }
            if used.support.ty != Ty::Real && !left.over.is_empty() {
                self.counted_together(&used, head);
                self.poison(&head.name);
                continue;
            }
            let values = match used.support.ty {
                Ty::Real => None,
                _ => match self.values(&head.name, &used) {
                    Some(values) => Some(values),
                    None => {
                        self.poison(&head.name);
                        continue;
                    }
                },
            };
            let constraint = used.range.clone();
            let by_class = used.args.iter().find_map(|a| self.discrete_in(&a.2)).filter(|_| values.is_none());
            if let (Some((z, span)), Centering::Noncentered) = (by_class, centering) {
                let z = self.hir.var(z);
                let d = Code::CANNOT_NONCENTER
                    .at(
                        span,
                        format!(
                            "`{}` cannot be noncentred: its location or scale depends on the discrete `{}`",
                            head.name.name, z.name
                        ),
                    )
                    .here("summed out")
                    .label(z.span, "declared here")
                    .help("remove `@noncentered`");
                self.diags.push(d);
                self.poison(&head.name);
                continue;
            }
            if !self.smooth_range(&head.name, &used) {
                self.poison(&head.name);
                continue;
            }
            if let Some((read, span)) = self.range_reads_ahead(&used) {
                let name = &head.name.name;
                let d = Code::RECURRENCE_FORM
                    .at(span, format!("the range of `{name}` ends at `{read}`, which is not drawn before it is"))
                    .here("an end of the range")
                    .label(head.span, format!("`{name}`"))
                    .help(format!(
                        "draw the steps, which are above 0, and add them up: `latent step[t in …] ~ HalfNormal(1)`, `let {name}[t in …] = if first(t) then step else {name}[t-1] + step`"
                    ));
                self.diags.push(d);
                self.poison(&head.name);
                continue;
            }
            // A chain: what it depends on is known by its name only now.
            let behind = self.latest_reads(&used);
            let centering = match centering {
                Centering::Auto if behind => Centering::Centered,
                other => other,
            };
            if centering == Centering::Noncentered
                && location_scale(&used).is_none()
                && !is_joint_gaussian(&used, &left.over)
            {
                self.diags.push(
                    Code::CANNOT_NONCENTER
                        .at(
                            used.span,
                            match used.log_kept {
                                Some(_) => format!("`{}` cut to a range cannot be noncentred", used.name),
                                None => format!(
                                    "`{}` cannot be noncentred: it is not known to be a location plus a scale times noise",
                                    used.name
                                ),
                            },
                        )
                        .here("not of that form")
                        .label(asked.unwrap_or(head.name.span), "asked for here")
                        .help("remove `@noncentered`, or use `Normal`, `StudentT`, `Cauchy`, `Laplace` or `Logistic`"),
                );
            }
            let axes: Vec<AxisId> = left.axes.iter().chain(&left.over).copied().chain(columns).collect();
            let var = self.settle_var(Var {
                name: head.name.name.clone(),
                span: head.name.span,
                kind: VarKind::Latent,
                joint: left.over.len() + usize::from(columns.is_some()),
                axes,
                ty: used.support.ty,
                constraint,
            });
            self.references(var, &left, behind);
            if let Some((plate, first, cut)) = values {
                self.hir.discrete.push(Discrete { var, plate, first, cut });
            }
            self.declare_step(&head.name, "latent", var);
            self.hir.steps.push(Step::Latent { var, dist: used, centering, span: decl.span });
        }
    }

    /// Counts that are drawn together have no sum cell by cell.
    fn counted_together(&mut self, used: &DistUse, head: &Head) {
        let d = Code::CANNOT_SUM_OUT
            .at(used.span, format!("counts that `{}` draws together can be observed, but not summed out", used.name))
            .here("whole numbers, drawn together")
            .label(head.span, "a latent")
            .help("draw the cells apart, or take the expected counts, the number of draws times the probabilities");
        self.diags.push(d);
    }

    /// The type written for a latent or param, as the values that it admits.
    pub(super) fn declared(&mut self, ty: Option<&'a ast::Type>, drawn: Drawn, env: &Env) -> Option<Drawn> {
        let Some(ty) = ty else { return Some(drawn) };
        let cells_of = self.names.get(&ty.base.name).and_then(|e| e.plate);
        let constraint = self.constraint(ty, env);
        if !self.check_ends(&constraint, &drawn) {
            return None;
        }
        if matches!(
            constraint,
            Constraint::Simplex
                | Constraint::Matrix(_)
                | Constraint::UnitVector
                | Constraint::ZeroSum
                | Constraint::Ordered { .. }
        ) {
            self.check_joint(&ty.base.name, true, &drawn, ty.span)?;
        }
        Some(Drawn { declared: Some((ty.span, constraint)), cells_of, ..drawn })
    }

    pub(super) fn latent_type(&mut self, t: &'a ast::Type, what: &str) -> bool {
        let plate = self.names.get(&t.base.name).is_some_and(|e| e.plate.is_some());
        match t.base.name.as_str() {
            "real" | "simplex" | "ordered" | "unit_vector" | "zero_sum" => {}
            n if MatrixKind::of(n).is_some() && what == "latent" => {}
            n if MatrixKind::of(n).is_some() => {
                self.diags.push(
                    Code::NOT_YET_TYPE
                        .at(t.span, format!("a {what} that is `{n}` is not part of this version of the language"))
                        .here("a matrix")
                        .help("declare it as a `latent`, with the prior `flat()`"),
                );
                return false;
            }
            n if plate || matches!(n, "int" | "bool") => {
                if what == "param" {
                    self.diags.push(
                        Code::UNKNOWN_TYPE
                            .at(t.span, "a `param` is fitted along its gradient, and a discrete value has none")
                            .here("a discrete type")
                            .help("write `real`, or declare a `latent`, which is summed out"),
                    );
                    return false;
                }
            }
            n => {
                self.unknown_type(
                    &t.base,
                    n,
                    &[
                        "real",
                        "simplex",
                        "ordered",
                        "corr",
                        "cov",
                        "cholesky_corr",
                        "cholesky_cov",
                        "unit_vector",
                        "zero_sum",
                    ],
                    &format!("a {what}"),
                );
                return false;
            }
        }
        if let Some(a) = t.axes.first() {
            self.diags.push(
                Code::BINDER_MISPLACED
                    .at(a.span, format!("the plates of a {what} stand after its name"))
                    .here("not in its type")
                    .help(format!("write the name with `[{}]` and the type `{}`", a.plate.name, t.base.name)),
            );
            return false;
        }
        if t.optional {
            self.diags.push(
                Code::UNKNOWN_TYPE
                    .at(t.span, format!("a {what} has no missing cells"))
                    .here("`?` is for columns")
                    .help(format!("write `{}`", t.base.name)),
            );
            return false;
        }
        true
    }

    /// Whether the arguments of a distribution read what is declared only here or further down.
    pub(super) fn latest_reads(&self, dist: &DistUse) -> bool {
        dist.args.iter().any(|a| self.read_ahead(&a.2).is_some())
    }

    /// What an end of a range reads that is declared only here or further down, with the place.
    fn range_reads_ahead(&self, dist: &DistUse) -> Option<(String, Span)> {
        let (lower, upper) = dist.range.ends();
        lower.into_iter().chain(upper).find_map(|e| self.read_ahead(e))
    }

    fn read_ahead(&self, e: &Expr) -> Option<(String, Span)> {
        let mut found = None;
        walk(e, &mut |e| {
            if let ExprKind::Read { var, .. } = &e.kind {
                let name = &self.hir.var(*var).name;
                if self.ahead.contains_key(name) && self.names.later.contains_key(name) {
                    found.get_or_insert((name.clone(), e.span));
                }
            }
        });
        found
    }
}
