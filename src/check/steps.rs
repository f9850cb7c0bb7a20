//! Latents, params, lets, observations, factors and reports, in the order written.

use super::dist::Drawn;
use super::expr::{is_bad, walk};
use super::*;
use crate::diag::Code;
use crate::syntax::ast::{ExprKind as A, Head, IndexItem};

/// The plates that a left side fixes.
#[derive(Clone)]
pub(super) struct Left {
    pub axes: Vec<AxisId>,
    pub over: Vec<AxisId>,
    pub env: Env,
}

impl<'a> Checker<'a, '_> {
    pub(super) fn steps(&mut self, model: &'a Ast) {
        for decl in &model.decls {
            match &decl.kind {
                DeclKind::Latent { heads, ty, .. } => {
                    let entry = |h: &'a Head| (h.name.name.as_str(), (VarKind::Latent, h, ty.as_ref()));
                    self.heads.extend(heads.iter().map(entry));
                }
                DeclKind::Let { head, ty, .. } => {
                    self.heads.insert(&head.name.name, (VarKind::Let, head, ty.as_ref()));
                }
                DeclKind::ReportLet { head, .. } => {
                    self.heads.insert(&head.name.name, (VarKind::Report, head, None));
                }
                _ => {}
            }
        }
        for decl in &model.decls {
            self.start(decl.span);
            match &decl.kind {
                DeclKind::Latent { heads, ty, dist } => self.latent(decl, heads, ty.as_ref(), dist),
                DeclKind::Param { head, ty, init } => self.param(head, ty.as_ref(), init),
                DeclKind::Let { head, ty, value } => match ty {
                    Some(t) if !self.typed_let(t) => self.poison(&head.name),
                    _ => {
                        let plate = ty.as_ref().and_then(|t| self.names.get(&t.base.name).and_then(|e| e.plate));
                        self.let_(head, value, VarKind::Let, plate);
                    }
                },
                DeclKind::ReportLet { head, value } => {
                    if let Some(v) = self.let_(head, value, VarKind::Report, None) {
                        self.used.insert(v);
                        if self.summed.contains(&v) {
                            self.report_of_discrete(v, head.span);
                        }
                        self.hir.reports.push(v);
                    }
                }
                DeclKind::Report { names } => self.report(names),
                DeclKind::Observe { target, over, dist } => self.observe(decl, target, over, dist),
                DeclKind::Factor { value } => self.factor(value),
                DeclKind::Net { name, .. } => self.diags.push(
                    Code::NOT_YET_NET
                        .at(name.span, format!("`{}` is a net; this version does not fit nets yet", name.name))
                        .here("parsed, but without meaning so far")
                        .help("write the layers as sums, with the weights as latents"),
                ),
                DeclKind::Table { .. }
                | DeclKind::DataValue { .. }
                | DeclKind::Plate { .. }
                | DeclKind::Const { .. }
                | DeclKind::Fn { .. }
                | DeclKind::Dist { .. }
                | DeclKind::Guide { .. }
                | DeclKind::GuideFamily { .. }
                | DeclKind::Fit { .. }
                // Taken in before.
                | DeclKind::Import { .. }
                | DeclKind::Error => {}
            }
            self.attrs(decl);
        }
    }

    fn attrs(&mut self, decl: &'a ast::Decl) {
        let known = ["noncentered", "centered", "allow"];
        for (i, a) in decl.attrs.iter().enumerate() {
            let name = a.name.name.as_str();
            if !known.contains(&name) {
                let d = Code::UNKNOWN_ATTRIBUTE
                    .at(a.span, format!("there is no attribute called `@{name}`"))
                    .here("not an attribute");
                self.diags.push(match crate::diag::nearest(name, known) {
                    Some(n) => d.help(format!("did you mean `@{n}`?")),
                    None => d.help("the attributes are `@centered`, `@noncentered` and `@allow(CODE)`"),
                });
                continue;
            }
            if name == "allow" {
                self.allowed_codes(a);
                continue;
            }
            if !matches!(decl.kind, DeclKind::Latent { .. }) {
                self.diags.push(
                    Code::UNKNOWN_ATTRIBUTE
                        .at(a.span, format!("`@{name}` says how a latent is drawn, and belongs to a `latent`"))
                        .here("not here")
                        .help("remove it here"),
                );
            }
            let other = decl.attrs[..i].iter().find(|o| o.name.name != "allow" && o.name.name != name);
            if let Some(old) = other.filter(|o| known.contains(&o.name.name.as_str())) {
                self.diags.push(
                    Code::UNKNOWN_ATTRIBUTE
                        .at(a.span, format!("`@{name}` contradicts `@{}`", old.name.name))
                        .here("this one or the other")
                        .label(old.span, "the other one")
                        .help("remove one of them"),
                );
            }
        }
    }

    /// `@allow(V1002)` names warnings.
    fn allowed_codes(&mut self, a: &'a ast::Attr) {
        for arg in &a.args {
            let A::Name(code) = &arg.value.kind else {
                self.diags.push(
                    Code::UNKNOWN_ATTRIBUTE
                        .at(arg.value.span, "`@allow` takes the code of a warning")
                        .here("not a code")
                        .help("write, for instance, `@allow(V1002)`"),
                );
                continue;
            };
            let d = match crate::diag::ALL.iter().find(|c| c.id == code) {
                Some(c) if c.warning => continue,
                Some(c) => Code::UNKNOWN_ATTRIBUTE
                    .at(arg.value.span, format!("`{code}` is an error, and errors cannot be allowed"))
                    .here(c.title),
                None => Code::UNKNOWN_ATTRIBUTE
                    .at(arg.value.span, format!("there is no warning with the code `{code}`"))
                    .here("not a code"),
            };
            let ids: Vec<&str> = crate::diag::ALL.iter().filter(|c| c.warning).map(|c| c.id).collect();
            self.diags.push(d.help(format!("the warnings are {}", ids.join(", "))));
        }
        if a.args.is_empty() {
            self.diags.push(
                Code::UNKNOWN_ATTRIBUTE
                    .at(a.span, "`@allow` takes the code of a warning")
                    .here("which warning?")
                    .help("write, for instance, `@allow(V1002)`"),
            );
        }
    }

    /// The plates of a head, with its index names in scope.
    pub(super) fn left(&mut self, head: &'a Head) -> Option<Left> {
        let mut env = Env::default();
        let mut lists = [vec![], vec![]];
        for (list, written) in lists.iter_mut().zip([&head.axes, &head.over]) {
            for a in written {
                if let Some(level) = &a.without {
                    self.later_part(
                        Code::NOT_YET_WITHOUT
                            .at(
                                level.span,
                                "a plate without one of its levels is not part of this version of the language",
                            )
                            .here("parsed, but without meaning so far")
                            .help("declare a value per level; the prior keeps them together"),
                    );
                    return None;
                }
                if let Some(f) = &a.filter {
                    self.diags.push(
                        Code::WALK_MISPLACED
                            .at(f.span, "every cell of the plate needs a value: `where` leaves out observations and parts of sums")
                            .here("a filter on a declaration")
                            .help(format!("give the other cells a value: `if … then … else 0`, with `{}` on the left side", head.name.name)),
                    );
                    return None;
                }
                let axis = self.axis_named(&a.plate, &env)?;
                // In `theta[i in state] over state` the bare plate keeps its own axis.
                let bare = |o: &ast::Axis| o.index.is_none() && o.plate.name == a.plate.name;
                let second = a.index.is_some() && head.axes.iter().chain(&head.over).any(bare);
                let taken = match &a.index {
                    Some(_) => second || env.context.iter().any(|c| self.plate_of(*c) == self.plate_of(axis)),
                    None => env.context.contains(&axis),
                };
                let axis = match &a.index {
                    Some(index) if taken => {
                        let plate = self.plate_of(axis);
                        self.add_axis(plate, &index.name)
                    }
                    None if taken => {
                        self.diags.push(
                            Code::SAME_PLATE_TWICE
                                .at(a.span, format!("`{}` stands twice on the left side", a.plate.name))
                                .here("the second time")
                                .help(format!("name the two indices: `[i in {0}, j in {0}]`", a.plate.name)),
                        );
                        return None;
                    }
                    _ => axis,
                };
                if let Some(index) = &a.index {
                    self.check_binder(index, &env)?;
                    env.binders.push((index.name.clone(), axis));
                }
                self.walk_given(a, axis, &mut env)?;
                env.context = union(&env.context, &[axis]);
                list.push(axis);
            }
        }
        let [axes, over] = lists;
        if let [one] = env.context.as_slice() {
            env.list_axis = Some(*one);
        }
        Some(Left { axes, over, env })
    }

    fn latent(&mut self, decl: &'a ast::Decl, heads: &'a [Head], ty: Option<&'a ast::Type>, dist: &'a ast::Expr) {
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
            if let Some((plate, first)) = values {
                self.hir.discrete.push(Discrete { var, plate, first });
            }
            self.declare_step(&head.name, "latent", var);
            self.hir.steps.push(Step::Latent { var, dist: used, centering, span: decl.span });
        }
    }

    pub(super) fn declare_step(&mut self, name: &Ident, what: &'static str, var: VarId) {
        self.names.declare(name, what, |e| e.var = Some(var), self.diags);
        self.names.later.remove(&name.name);
    }

    /// The type written for a latent or param, as the values that it admits.
    fn declared(&mut self, ty: Option<&'a ast::Type>, drawn: Drawn, env: &Env) -> Option<Drawn> {
        let Some(ty) = ty else { return Some(drawn) };
        let cells_of = self.names.get(&ty.base.name).and_then(|e| e.plate);
        let constraint = self.constraint(ty, env);
        if !self.check_ends(&constraint, &drawn) {
            return None;
        }
        if matches!(
            constraint,
            Constraint::Simplex | Constraint::Matrix(_) | Constraint::UnitVector | Constraint::Ordered { .. }
        ) {
            self.check_joint(&ty.base.name, true, &drawn, ty.span)?;
        }
        Some(Drawn { declared: Some((ty.span, constraint)), cells_of, ..drawn })
    }

    fn latent_type(&mut self, t: &'a ast::Type, what: &str) -> bool {
        let plate = self.names.get(&t.base.name).is_some_and(|e| e.plate.is_some());
        match t.base.name.as_str() {
            "real" | "simplex" | "ordered" | "unit_vector" => {}
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
                    &["real", "simplex", "ordered", "corr", "cov", "cholesky_corr", "cholesky_cov", "unit_vector"],
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

    fn param(&mut self, head: &'a Head, ty: Option<&'a ast::Type>, init: &'a ast::Expr) {
        if let Some(t) = ty
            && !self.latent_type(t, "param")
        {
            return self.poison(&head.name);
        }
        let Some(left) = self.left(head) else { return self.poison(&head.name) };
        let all = union(&left.axes, &left.over);
        let v = self.expr(init, &left.env);
        let v = self.numeric(v, "start from this");
        let drawn = self.computed(format!("param {}", head.name.name), head.span, &left.axes, &left.over);
        let Some(drawn) = self.declared(ty, drawn, &left.env) else { return self.poison(&head.name) };
        let joint = matches!(
            &drawn.declared,
            Some((_, Constraint::Simplex | Constraint::UnitVector | Constraint::Ordered { .. }))
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

    /// A left side without a type of its own.
    pub(super) fn computed(&self, what: String, span: Span, axes: &[AxisId], over: &[AxisId]) -> Drawn {
        Drawn {
            what,
            span,
            axes: sorted(axes),
            over: over.to_vec(),
            declared: None,
            observed: None,
            missing: false,
            cells_of: None,
            censoring: None,
            columns: None,
        }
    }

    /// Whether a `let` can have this type.
    fn typed_let(&mut self, t: &'a ast::Type) -> bool {
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

    fn let_(&mut self, head: &'a Head, value: &'a ast::Expr, kind: VarKind, plate: Option<PlateId>) -> Option<VarId> {
        let what = if matches!(kind, VarKind::Let) { "let" } else { "report" };
        self.labelled_plate(head, value);
        let Some(mut left) = self.left_of(head) else {
            self.poison(&head.name);
            return None;
        };
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
        self.declare_step(&head.name, what, var);
        self.hir.steps.push(Step::Let { var, value: v, span: head.span });
        Some(var)
    }

    /// `let m[months]: season = …`: a value that picks a cell of a plate; of a numbered plate, by its number.
    fn as_cell(&mut self, v: Expr, plate: PlateId) -> Expr {
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
    fn known_range(&self, v: &Expr) -> Constraint {
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
    fn range_by_induction(&mut self, var: VarId, v: &Expr) {
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

    fn known_lower(&self, v: &Expr) -> f64 {
        bounds::range(&self.hir, v, &|_| bounds::Range::ALL).lower
    }

    /// Whether the arguments of a distribution read what is declared only here or further down.
    fn latest_reads(&self, dist: &DistUse) -> bool {
        let mut found = false;
        for (_, _, e) in &dist.args {
            walk(e, &mut |e| {
                if let ExprKind::Read { var, .. } = &e.kind {
                    let v = self.hir.var(*var);
                    found |= self.ahead.contains_key(&v.name) && self.names.later.contains_key(&v.name);
                }
            });
        }
        found
    }

    /// `let X[term] = [log_d1: log(d1), group: group]` declares the plate `term`.
    fn labelled_plate(&mut self, head: &'a Head, value: &'a ast::Expr) {
        let A::List(items) = &value.kind else { return };
        let mut labels: Vec<String> = vec![];
        for l in items.iter().filter_map(|i| i.label.as_ref()) {
            if !labels.contains(&l.name) {
                labels.push(l.name.clone());
            }
        }
        let Some(last) = head.axes.last() else { return };
        if labels.is_empty() || self.names.get(&last.plate.name).is_some() {
            return;
        }
        let plate = self.add_plate(&last.plate.name, last.plate.span, PlateKind::Labels(labels));
        self.names.declare(&last.plate, "plate", |e| e.plate = Some(plate), self.diags);
    }

    fn report(&mut self, names: &'a [Ident]) {
        for n in names {
            let Some(var) = self.names.get(&n.name).and_then(|e| e.var) else {
                match self.names.get(&n.name).map(|e| (e.what, e.span)) {
                    Some((what, at)) => self.diags.push(
                        Code::PLATE_AS_VALUE
                            .at(n.span, format!("`{}` is a {what}, not a value", n.name))
                            .here("a value is needed here")
                            .label(at, "declared here")
                            .help("report a latent, or a value that is computed"),
                    ),
                    None => self.unknown_name(&n.name, n.span, &Env::default()),
                }
                continue;
            };
            if matches!(self.hir.var(var).kind, VarKind::Column(_) | VarKind::DataValue { .. } | VarKind::Const { .. })
            {
                let word = self.word(var);
                self.diags.push(
                    Code::REPORT_OF_DATA
                        .at(n.span, format!("`{}` is a {word}: it is known, there is nothing to report", n.name))
                        .here("not estimated")
                        .label(self.hir.var(var).span, "declared here")
                        .help(format!("remove it, or report something computed: `report m = mean({})`", n.name)),
                );
                continue;
            }
            self.used.insert(var);
            if self.summed.contains(&var) {
                self.report_of_discrete(var, n.span);
                continue;
            }
            if self.hir.discrete(var).is_some() {
                continue; // what is said of it is said anyway
            }
            if !self.hir.reports.contains(&var) {
                self.hir.reports.push(var);
            }
        }
    }

    fn observe(&mut self, decl: &'a ast::Decl, target: &'a ast::Expr, over: &'a [ast::Axis], dist: &'a ast::Expr) {
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

    fn target_name(&self, e: &Expr) -> String {
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

    fn factor(&mut self, value: &'a ast::Expr) {
        let v = self.expr(value, &Env::default());
        let v = self.numeric(v, "add this to the log joint");
        if is_bad(&v) {
            return;
        }
        self.hir.steps.push(Step::Factor { axes: v.axes.clone(), span: value.span, value: v });
    }
}

/// How a draw follows from standard noise.
pub enum LocationScale<'d> {
    /// `mu + sigma * noise`, by the names of these arguments.
    Of { mu: LocalId, sigma: LocalId },
    /// One where a condition holds, another where it does not.
    Either(&'d Expr, Box<LocationScale<'d>>, Box<LocationScale<'d>>),
}

/// A location plus a scale times standard noise: what can be noncentred. Its `sample()` shows it: `mu + sigma * (…)`,
/// with noise and other arguments only in the brackets. Names alone do not: another family may have a `mu` and a `sigma`.
pub fn location_scale(d: &DistUse) -> Option<LocationScale<'_>> {
    let whole = matches!(d.range, Constraint::None) && d.log_kept.is_none() && d.support.ty == Ty::Real;
    shape_of(d, d.sample.as_ref().filter(|_| whole)?)
}

fn shape_of<'d>(d: &'d DistUse, mut sample: &'d Expr) -> Option<LocationScale<'d>> {
    if let ExprKind::If { condition, then, otherwise } = &sample.kind {
        let (a, b) = (shape_of(d, then)?, shape_of(d, otherwise)?);
        return Some(LocationScale::Either(condition, a.into(), b.into()));
    }
    let named = |n: &str, l: LocalId| d.args.iter().any(|(id, a, _)| *id == l && a == n);
    let free = |e: &Expr| {
        let mut free = true;
        expr::walk(e, &mut |e| {
            free = free && !matches!(e.kind, ExprKind::Local(l) if named("mu", l) || named("sigma", l));
        });
        free
    };
    while let ExprKind::Bind { value, body, .. } = &sample.kind {
        if !free(value) {
            return None;
        }
        sample = body;
    }
    let ExprKind::Binary(BinOp::Add, location, noise) = &sample.kind else { return None };
    let ExprKind::Binary(BinOp::Mul, scale, noise) = &noise.kind else { return None };
    match (&location.kind, &scale.kind) {
        (&ExprKind::Local(mu), &ExprKind::Local(sigma)) if named("mu", mu) && named("sigma", sigma) && free(noise) => {
            Some(LocationScale::Of { mu, sigma })
        }
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

/// All cells of a plate drawn together from standard normal noise, one number per cell: what can be noncentred as a whole.
pub fn is_joint_gaussian(d: &DistUse, over: &[AxisId]) -> bool {
    let (Some(sample), false) = (&d.sample, over.is_empty()) else { return false };
    let (mut one_each, mut any) = (true, false);
    expr::walk(sample, &mut |e| {
        if let ExprKind::Noise(noise, params) = &e.kind {
            any = true;
            one_each &= *noise == Noise::Normal && params.is_empty() && over.iter().all(|a| e.axes.contains(a));
        }
    });
    any && one_each && matches!(d.range, Constraint::None) && d.log_kept.is_none() && d.support.ty == Ty::Real
}

fn same_plates(a: &Head, b: &Head) -> bool {
    let names = |h: &Head| {
        let n = |v: &[ast::Axis]| v.iter().map(|x| x.plate.name.clone()).collect::<Vec<_>>();
        (n(&h.axes), n(&h.over))
    };
    names(a) == names(b)
}
