//! Plates: which one a name means, and whether what stands on the right varies over those of the left only.

use super::dist::Drawn;
use super::expr::walk;
use super::*;
use crate::diag::{Code, nearest};

impl<'a> Checker<'a, '_> {
    /// The axis of a plate by name: a plate parameter, a plate, or a table's rows.
    pub(super) fn axis_named(&mut self, name: &Ident, env: &Env) -> Option<AxisId> {
        if let Some((_, a)) = env.plates.iter().rev().find(|(n, _)| *n == name.name) {
            return Some(*a);
        }
        if let Some(p) = self.names.get(&name.name).and_then(|e| e.plate) {
            return Some(self.hir.plate(p).axis);
        }
        if self.poisoned.contains(&name.name) {
            return None;
        }
        let value = self.names.get(&name.name).map(|e| (e.var.or(e.ambiguous.first().copied()), e.span));
        let parameter = env.locals.iter().any(|(n, _)| *n == name.name);
        if value.is_some() || parameter || env.binders.iter().any(|(n, _)| *n == name.name) {
            let mut d = Code::NOT_A_PLATE
                .at(name.span, format!("`{}` is a value, not a plate", name.name))
                .here("a plate is needed here");
            if let Some((_, at)) = value {
                d = d.label(at, "declared here");
            }
            let column = value.and_then(|v| v.0).is_some_and(|v| matches!(self.hir.var(v).kind, VarKind::Column(_)));
            self.diags.push(if column {
                d.help(format!("declare the column `{}: category` to use its levels as a plate", name.name))
            } else {
                d.help("name a plate, a table or a category column")
            });
            return None;
        }
        let d =
            Code::UNKNOWN_PLATE.at(name.span, format!("there is no plate called `{}`", name.name)).here("not declared");
        let own = env.plates.iter().map(|(n, _)| n.as_str());
        let plates: Vec<&str> = own.chain(self.hir.plates.iter().map(|p| p.name.as_str())).collect();
        let d = match nearest(&name.name, plates) {
            Some(n) => d.meant(n),
            None if env.closed() => d.help(format!(
                "name a plate of the model, or take one as a parameter: `fn f[{0}](x: real[{0}]) -> …`",
                name.name
            )),
            None => d.help(format!("declare it: `plate {} = 3`, or name a table or a category column", name.name)),
        };
        self.diags.push(d);
        None
    }

    /// An index name may not hide another name.
    pub(super) fn check_binder(&mut self, index: &Ident, env: &Env) -> Option<()> {
        let old = self.names.get(&index.name).map(|e| e.span);
        let inside = env.binders.iter().any(|(n, _)| *n == index.name)
            || env.locals.iter().any(|(n, _)| *n == index.name)
            || env.plates.iter().any(|(n, _)| *n == index.name);
        if (old.is_some() && env.scope != Scope::Library && !env.closed()) || inside {
            let mut d = Code::INDEX_NAME_TAKEN
                .at(index.span, format!("the index name `{}` is already in use", index.name))
                .here("would hide the other")
                .help("choose another letter");
            if let Some(at) = old.filter(|_| !inside) {
                d = d.label(at, "declared here");
            }
            self.diags.push(d);
            return None;
        }
        Some(())
    }

    /// What each plate parameter of a joint distribution or of `Categorical` stands for.
    pub(super) fn dist_plates(
        &mut self,
        span: Span,
        form: DistDecl<'a>,
        values: &[Expr],
        drawn: &Drawn,
    ) -> Option<Vec<(String, AxisId)>> {
        let mut out = vec![];
        for p in form.plates {
            let joint = form.support.axes.iter().any(|a| a.plate.name == p.name);
            if let (true, [one]) = (joint, drawn.over.as_slice()) {
                out.push((p.name.clone(), *one));
                continue;
            }
            let mut candidates = vec![];
            for (q, v) in form.params.iter().zip(values) {
                if q.ty.axes.iter().any(|a| a.plate.name == p.name) {
                    let extra = minus(&v.axes, &drawn.axes);
                    candidates = union(&candidates, &extra);
                }
            }
            // Its values are cells of this plate.
            let own = form.support.base.name == p.name;
            if let ([], true, Some(Ty::Index(plate))) = (candidates.as_slice(), own, drawn.observed) {
                candidates.push(self.hir.plate(plate).axis);
            }
            if let ([], true, Some(plate)) = (candidates.as_slice(), own, drawn.cells_of) {
                let own = self.hir.plate(plate).axis;
                let taken = drawn.axes.contains(&own);
                let name = self.hir.plate(plate).name.clone();
                candidates.push(if taken { self.add_axis(plate, &name) } else { own });
            }
            match candidates.as_slice() {
                [one] => out.push((p.name.clone(), *one)),
                [] if own && drawn.observed.is_some() => {
                    let is = drawn.observed.map_or(String::new(), |ty| self.ty_text(ty));
                    let name = &form.name.name;
                    self.diags.push(
                        Code::SUPPORT_MISMATCH
                            .at(span, format!("`{name}` gives a cell of a plate, and what is observed is {is}"))
                            .here("gives a cell of a plate")
                            .label(drawn.span, is)
                            .help("declare the column `category`, or by the plate whose cells it holds"),
                    );
                    return None;
                }
                [] => {
                    let name = &form.name.name;
                    let param = form.params.iter().find(|q| q.ty.axes.iter().any(|a| a.plate.name == p.name));
                    let help = match param {
                        Some(q) if q.ty.base.name == "ordered" => format!(
                            "pass `{}` that vary over a plate: `latent c over cut: ordered ~ Normal(0, 3)`",
                            q.name.name
                        ),
                        Some(_) | None => format!(
                            "pass a value that varies over the plate: `latent p over k ~ Dirichlet(1)`, `{name}(p)`"
                        ),
                    };
                    self.diags.push(
                        Code::JOINT_WITHOUT_PLATE
                            .at(span, format!("`{name}` is a distribution over the cells of a plate, and its arguments vary over none"))
                            .here("over which plate?")
                            .help(help),
                    );
                    return None;
                }
                several => {
                    let text = self.axes_text(several);
                    let advice = self.index_advice(&several[..1]);
                    self.diags.push(
                        Code::PLATE_MISMATCH
                            .at(
                                span,
                                format!("the arguments of `{}` vary over {text}: one plate too many", form.name.name),
                            )
                            .here("one plate should remain")
                            .label(drawn.span, self.per_cell(&drawn.axes))
                            .help(format!("an argument that varies over too much needs an index: {advice}")),
                    );
                    return None;
                }
            }
        }
        Some(out)
    }

    /// "one value per cell of `houses`"
    pub(super) fn per_cell(&self, axes: &[AxisId]) -> String {
        match axes {
            [] => "a single number".into(),
            _ => format!("one value per cell of {}", self.axes_text(axes)),
        }
    }

    /// `[P]` is independent, `over P` is joint: a joint distribution needs `over`, and `over` with one plate fits it.
    pub(super) fn check_joint(&mut self, name: &str, joint: bool, drawn: &Drawn, span: Span) -> Option<()> {
        let after = |over: &str| match name {
            "simplex" | "ordered" | "unit_vector" | "zero_sum" | "corr" | "cov" | "cholesky_corr" | "cholesky_cov" => {
                format!("write `{} over {over}: {name}`", drawn.what)
            }
            _ => format!("write `{} over {over} ~ {name}(…)`", drawn.what),
        };
        let typed = matches!(
            &drawn.declared,
            Some((
                _,
                Constraint::Simplex
                    | Constraint::Matrix(_)
                    | Constraint::UnitVector
                    | Constraint::ZeroSum
                    | Constraint::Ordered { .. }
            ))
        );
        match (joint, drawn.over.as_slice()) {
            (true, [_]) => Some(()),
            (true, []) if drawn.axes.is_empty() => {
                self.diags.push(
                    Code::JOINT_WITHOUT_PLATE
                        .at(span, format!("`{name}` takes all cells of a plate together, and no plate is named"))
                        .here("over which plate?")
                        .label(drawn.span, "a single number")
                        .help(after("k")),
                );
                None
            }
            (true, []) => {
                let text = self.axes_text(&drawn.axes);
                let plate = self.plate_name(drawn.axes[0]);
                let edit = match (drawn.axes.as_slice(), drawn.what.strip_prefix("latent ")) {
                    ([_], Some(name)) => Some(format!("{name} over {plate}")),
                    _ => None,
                };
                let help = match drawn.axes.as_slice() {
                    [_] => after(plate),
                    _ => format!(
                        "write the plate that `{name}` runs over after `over`: `{}[…] over {plate}`",
                        drawn.what
                    ),
                };
                let at = Code::JOINT_ON_INDEPENDENT
                    .at(span, format!("`{name}` takes all cells of a plate together"))
                    .here("all cells at once")
                    .label(drawn.span, format!("independent per cell of {text}"))
                    .help(help);
                self.diags.push(match edit {
                    Some(text) => at.edit(drawn.span, text),
                    None => at,
                });
                None
            }
            (true, [first, ..]) => {
                let text = self.axes_text(&drawn.over);
                let plate = self.plate_name(*first);
                let at = Code::OVER_ON_SCALAR
                    .at(drawn.span, format!("`{name}` runs over one plate, and {text} are named"))
                    .here("one plate too many")
                    .label(span, "over one plate")
                    .help(format!("write the others in `[ ]`: `{}[…] over {plate}`", drawn.what));
                self.diags.push(at);
                None
            }
            (false, over) if over.is_empty() || typed => Some(()),
            (false, over) => {
                let text = self.axes_text(over);
                let plates: Vec<&str> = over.iter().map(|&a| self.plate_name(a)).collect();
                let help = match drawn.observed {
                    Some(_) => "remove `over …`: each cell of the data is observed by itself".into(),
                    None => format!("write `{}[{}]`", drawn.what, plates.join(", ")),
                };
                let at = Code::OVER_ON_SCALAR
                    .at(drawn.span, format!("`over` {text} means jointly, and `{name}` draws one number per cell"))
                    .here("jointly")
                    .label(span, "one number per cell")
                    .help(help);
                self.diags.push(match drawn.what.strip_prefix("latent ").filter(|_| drawn.axes.is_empty()) {
                    Some(name) => at.edit(drawn.span, format!("{name}[{}]", plates.join(", "))),
                    None => at,
                });
                None
            }
        }
    }

    /// Report a value that varies over a plate which the left side does not have.
    pub(super) fn check_plates(&mut self, v: &Expr, allowed: &[AxisId], drawn: &Drawn) -> bool {
        let extra = minus(&v.axes, allowed);
        let Some(&axis) = extra.first() else { return true };
        let plate = self.plate_name(axis).to_string();
        // The smallest part that brings the plate in.
        let mut culprit: Option<(VarId, Span)> = None;
        walk(v, &mut |e| {
            if let ExprKind::Read { var, index } = &e.kind
                && culprit.is_none()
                && index.iter().any(|i| matches!(i, Index::Axis(a) if *a == axis))
            {
                culprit = Some((*var, e.span));
            }
        });
        let target = self.plate_of(axis);
        let culprit = culprit.filter(|(_, span)| span.file == drawn.span.file);
        let product = self.sum_candidate(v, axis);
        let (name, span, declared) = match (culprit, product) {
            (_, Some(span)) => ("this product".into(), span, None),
            (Some((var, span)), None) => {
                let x = self.hir.var(var);
                (format!("`{}`", x.name), span, Some(x.span))
            }
            (None, None) => ("this".into(), v.span, None),
        };
        let mut d = Code::PLATE_MISMATCH
            .at(span, format!("{name} varies over `{plate}`, and `{}` does not", drawn.what))
            .here(format!("one value per cell of `{plate}`"))
            .label(drawn.span, format!("{} is needed here", self.per_cell(allowed)));
        if let Some(at) = declared {
            d = d.label(at, format!("declared over `{plate}` here"));
        }
        // A key that leads from the context to the plate.
        let key =
            self.hir.vars.iter().find(|x| {
                x.ty == Ty::Index(target) && !x.axes.is_empty() && x.axes.iter().all(|a| allowed.contains(a))
            });
        let bare = name.trim_matches('`');
        d = match (key, product) {
            (_, Some(product)) => {
                let (start, end) = (Span { end: product.start, ..product }, Span { start: product.end, ..product });
                d.help(format!("sum over the plate: `sum(… over {plate})`"))
                    .edit(start, "sum(")
                    .edit(end, format!(" over {plate})"))
            }
            (Some(k), None) if culprit.is_some() => {
                let given = culprit.map_or(vec![], |(var, s)| self.given_indices(var, s, axis, &k.name, v));
                let indexed = match given.is_empty() {
                    true => format!("{bare}[{}]", k.name),
                    false => format!("{bare}[{}]", given.join(", ")),
                };
                let d = d.help(format!("index it: `{indexed}`"));
                // A value that has an index already gets the missing one by hand.
                let alone = culprit.is_some_and(|(v, s)| (s.end - s.start) as usize == self.hir.var(v).name.len());
                if alone { d.edit(span, indexed) } else { d }
            }
            _ if culprit.is_some() => {
                let label = self.known_labels(target).and_then(|l| l.first().cloned());
                let label = label.map_or("…".into(), |l| if l.parse::<f64>().is_ok() { l } else { format!("\"{l}\"") });
                let data = culprit.is_some_and(|(v, _)| matches!(self.hir.var(v).kind, VarKind::Column(_)));
                let pick = match data {
                    true => format!("combine its rows, `mean({bare} over {plate})`"),
                    false => format!("pick a cell, `{bare}[{label}]`, or sum over it, `sum({bare} over {plate})`"),
                };
                match drawn.observed {
                    Some(_) => d.help(pick),
                    None => d.help(format!("{pick}, or declare one value per cell: `{}[{plate}]`", drawn.what)),
                }
            }
            _ => d.help(format!("sum over the plate: `sum(… over {plate})`")),
        };
        self.diags.push(d);
        false
    }

    /// The indices of a read in which one is missing, with that one filled in; none, if they cannot be told.
    fn given_indices(&self, var: VarId, span: Span, missing: AxisId, key: &str, within: &Expr) -> Vec<String> {
        let mut out = vec![];
        walk(within, &mut |e| {
            let ExprKind::Read { var: v, index } = &e.kind else { return };
            if *v != var || e.span != span || !out.is_empty() || index.len() < 2 {
                return;
            }
            let texts: Option<Vec<String>> = index
                .iter()
                .map(|i| match i {
                    Index::Axis(a) if *a == missing => Some(key.to_owned()),
                    Index::Axis(a) => Some(self.plate_name(*a).to_owned()),
                    Index::At(x) => match &x.kind {
                        ExprKind::Read { var, .. } => Some(self.hir.var(*var).name.clone()),
                        _ => None,
                    },
                    Index::Label(label, _) => {
                        Some(if label.parse::<f64>().is_ok() { label.clone() } else { format!("\"{label}\"") })
                    }
                })
                .collect();
            out = texts.unwrap_or_default();
        });
        out
    }

    /// A product of two values over the plate is surely a sum that was forgotten.
    fn sum_candidate(&self, v: &Expr, axis: AxisId) -> Option<Span> {
        let mut found = None;
        walk(v, &mut |e| {
            if let ExprKind::Binary(BinOp::Mul, a, b) = &e.kind
                && a.axes.contains(&axis)
                && b.axes.contains(&axis)
            {
                found = Some(e.span);
            }
        });
        found
    }
}
