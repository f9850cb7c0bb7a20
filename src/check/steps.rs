//! Latents, params, lets, observations, factors and reports, in the order written.

use super::dist::Drawn;
use super::expr::is_bad;
use super::*;
use crate::diag::Code;
use crate::syntax::ast::{ExprKind as A, Head, IndexItem};

/// The plates that a left side fixes.
struct Left {
    axes: Vec<AxisId>,
    over: Vec<AxisId>,
    env: Env,
}

impl<'a> Checker<'a, '_> {
    pub(super) fn steps(&mut self, model: &'a Ast) {
        for decl in &model.decls {
            match &decl.kind {
                DeclKind::Latent { heads, ty, dist } => self.latent(decl, heads, ty.as_ref(), dist),
                DeclKind::Param { head, ty, init } => self.param(head, ty.as_ref(), init),
                DeclKind::Let { head, ty, value } => {
                    if let Some(t) = ty {
                        self.typed_let(t);
                    }
                    self.let_(head, value, VarKind::Let);
                }
                DeclKind::ReportLet { head, value } => {
                    if let Some(v) = self.let_(head, value, VarKind::Report) {
                        self.used.insert(v);
                        self.hir.reports.push(v);
                    }
                }
                DeclKind::Report { names } => self.report(names),
                DeclKind::Observe { target, over, dist } => self.observe(decl, target, over, dist),
                DeclKind::Factor { value } => self.factor(value),
                DeclKind::Import { path } => self.diags.push(
                    Code::NOT_YET_IMPORT
                        .at(path.span, "`import` is not part of this version of the language")
                        .help("copy the declarations into this file"),
                ),
                DeclKind::Net { name, .. } => self.diags.push(
                    Code::NOT_YET_NET
                        .at(name.span, format!("`{}` is a net; this version does not fit nets yet", name.name))
                        .here("parsed, but without meaning so far"),
                ),
                _ => {}
            }
            self.attrs(decl);
        }
    }

    fn attrs(&mut self, decl: &'a ast::Decl) {
        for a in &decl.attrs {
            let known = ["noncentered", "centered", "allow"];
            if !known.contains(&a.name.name.as_str()) {
                let mut d =
                    Code::UNKNOWN_ATTRIBUTE.at(a.span, format!("there is no attribute called `@{}`", a.name.name));
                d = match crate::diag::nearest(&a.name.name, known) {
                    Some(n) => d.help(format!("did you mean `@{n}`?")),
                    None => d.help("the attributes are `@centered`, `@noncentered` and `@allow(CODE)`"),
                };
                self.diags.push(d);
            } else if a.name.name != "allow" && !matches!(decl.kind, DeclKind::Latent { .. }) {
                self.diags.push(
                    Code::UNKNOWN_ATTRIBUTE
                        .at(a.span, format!("`@{}` belongs to a `latent`", a.name.name))
                        .help("remove it here"),
                );
            }
        }
    }

    /// The plates of a head, with its index names in scope.
    fn left(&mut self, head: &'a Head) -> Option<Left> {
        let mut env = Env::default();
        let mut lists = [vec![], vec![]];
        for (list, written) in lists.iter_mut().zip([&head.axes, &head.over]) {
            for a in written {
                if a.by.is_some() || a.along.is_some() || a.filter.is_some() || a.without.is_some() {
                    self.diags.push(
                        Code::NOT_YET_WALK
                            .at(a.span, "walks (`by`, `along`, `where`, `without`) are not part of this version of the language")
                            .help("sort the data file and put lagged values in columns of their own"),
                    );
                    return None;
                }
                let axis = self.axis_named(&a.plate, &env)?;
                let taken = env.context.iter().any(|c| self.plate_of(*c) == self.plate_of(axis));
                let axis = match &a.index {
                    Some(index) if taken => {
                        let plate = self.plate_of(axis);
                        self.add_axis(plate, &index.name)
                    }
                    None if taken => {
                        self.diags.push(
                            Code::SAME_PLATE_TWICE
                                .at(a.span, format!("`{}` stands twice on the left side", a.plate.name))
                                .help(format!("name the two indices: `[i in {0}, j in {0}]`", a.plate.name)),
                        );
                        return None;
                    }
                    _ => axis,
                };
                if let Some(index) = &a.index {
                    self.check_binder(index, &env);
                    env.binders.push((index.name.clone(), axis));
                }
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

    fn poison(&mut self, name: &Ident) {
        self.poisoned.insert(name.name.clone());
    }

    fn latent(&mut self, decl: &'a ast::Decl, heads: &'a [Head], ty: Option<&'a ast::Type>, dist: &'a ast::Expr) {
        if let [first, rest @ ..] = heads
            && let Some(odd) = rest.iter().chain([first]).find(|h| {
                !same_plates(h, first) || h.axes.len() + h.over.len() > 0 && !rest.is_empty() && !same_plates(first, h)
            })
        {
            let with = heads.iter().find(|h| !h.axes.is_empty() || !h.over.is_empty()).unwrap_or(odd);
            let without = heads.iter().find(|h| !same_plates(h, with)).unwrap_or(first);
            self.diags.push(
                Code::MIXED_HEADS
                    .at(with.span, "the names of one declaration carry the same plates")
                    .here("varies over other plates")
                    .label(without.span, "than this")
                    .help("write two declarations"),
            );
            heads.iter().for_each(|h| self.poison(&h.name));
            return;
        }
        let centering = decl.attrs.iter().fold(Centering::Auto, |c, a| match a.name.name.as_str() {
            "centered" => Centering::Centered,
            "noncentered" => Centering::Noncentered,
            _ => c,
        });
        if let Some(t) = ty
            && !self.latent_type(t)
        {
            heads.iter().for_each(|h| self.poison(&h.name));
            return;
        }
        for head in heads {
            let Some(left) = self.left(head) else {
                self.poison(&head.name);
                continue;
            };
            let drawn = Drawn {
                what: format!("latent {}", head.name.name),
                span: head.span,
                axes: sorted(&left.axes),
                over: left.over.clone(),
                declared: ty,
                observed: None,
            };
            let used = self.dist(dist, &drawn, &left.env);
            let Some(used) = used else {
                self.poison(&head.name);
                continue;
            };
            if used.support.ty != Ty::Real {
                let what = self.ty_text(used.support.ty);
                self.diags.push(
                    Code::NOT_YET_DISCRETE
                        .at(
                            head.name.span,
                            format!(
                                "the latent `{}` is discrete ({what}); this version fits continuous latents",
                                head.name.name
                            ),
                        )
                        .label(used.span, "a discrete distribution")
                        .help("sum it out by hand with `logsumexp`, in a `factor`"),
                );
                self.poison(&head.name);
                continue;
            }
            let constraint = used.range.clone();
            if centering == Centering::Noncentered && !is_location_scale(&used) {
                self.diags.push(
                    Code::CANNOT_NONCENTER
                        .at(
                            used.span,
                            format!(
                                "`{}` cannot be noncentred: it is not a location plus a scale times noise",
                                used.name
                            ),
                        )
                        .label(head.name.span, "asked for here")
                        .help("remove `@noncentered`, or use `Normal`, `StudentT`, `Cauchy`, `Laplace` or `Logistic`"),
                );
            }
            let axes: Vec<AxisId> = left.axes.iter().chain(&left.over).copied().collect();
            let var = self.add_var(Var {
                name: head.name.name.clone(),
                span: head.name.span,
                kind: VarKind::Latent,
                joint: left.over.len(),
                axes,
                ty: Ty::Real,
                constraint,
            });
            self.declare_step(&head.name, "latent", var);
            self.hir.steps.push(Step::Latent { var, dist: used, centering, span: decl.span });
        }
    }

    fn declare_step(&mut self, name: &Ident, what: &str, var: VarId) {
        self.names.declare(name, what, |e| e.var = Some(var), self.diags);
        self.names.later.remove(&name.name);
    }

    fn latent_type(&mut self, t: &'a ast::Type) -> bool {
        match t.base.name.as_str() {
            "real" | "simplex" => true,
            "ordered" | "corr" | "cov" => {
                self.diags.push(
                    Code::NOT_YET_TYPE
                        .at(t.span, format!("`{}` latents are not part of this version of the language", t.base.name)),
                );
                false
            }
            "int" | "bool" => {
                self.diags.push(
                    Code::NOT_YET_DISCRETE.at(t.span, "discrete latents are not part of this version of the language"),
                );
                false
            }
            n if self.names.get(n).is_some_and(|e| e.plate.is_some()) => {
                self.diags.push(
                    Code::NOT_YET_DISCRETE.at(t.span, "discrete latents are not part of this version of the language"),
                );
                false
            }
            n => {
                self.unknown_type(&t.base, n, &["real", "simplex", "ordered"]);
                false
            }
        }
    }

    fn param(&mut self, head: &'a Head, ty: Option<&'a ast::Type>, init: &'a ast::Expr) {
        if let Some(t) = ty
            && !self.latent_type(t)
        {
            return self.poison(&head.name);
        }
        let Some(left) = self.left(head) else { return self.poison(&head.name) };
        let all = union(&left.axes, &left.over);
        let v = self.expr(init, &left.env);
        let v = self.numeric(v, "start from this");
        let drawn = self.computed(format!("param {}", head.name.name), head.span, &left.axes);
        if is_bad(&v) || !self.check_plates(&v, &all, &drawn) {
            return self.poison(&head.name);
        }
        if let Some((var, span)) = self.latent_in(&v) {
            let name = self.hir.var(var).name.clone();
            self.diags.push(
                Code::PARAM_START
                    .at(span, format!("the starting value of a `param` cannot depend on the latent `{name}`"))
                    .help("start from a number"),
            );
            return self.poison(&head.name);
        }
        let constraint = ty.map_or(Constraint::None, |t| self.constraint(t, &left.env));
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

    fn computed(&self, what: String, span: Span, axes: &[AxisId]) -> Drawn<'a> {
        Drawn { what, span, axes: sorted(axes), over: vec![], declared: None, observed: None }
    }

    fn typed_let(&mut self, t: &ast::Type) {
        if !matches!(t.base.name.as_str(), "real" | "int" | "bool") {
            self.diags.push(
                Code::NOT_YET_TYPE
                    .at(t.span, "a `let` that makes an index is not part of this version of the language")
                    .help("put the index in a `category` column"),
            );
        }
    }

    fn let_(&mut self, head: &'a Head, value: &'a ast::Expr, kind: VarKind) -> Option<VarId> {
        let what = if matches!(kind, VarKind::Let) { "let" } else { "report" };
        self.labelled_plate(head, value);
        let Some(mut left) = self.left(head) else {
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
        let index = matches!(v.ty, Ty::Index(_)) && !matches!(v.kind, ExprKind::Position(_));
        let v = if index { v } else { self.numeric(v, "use this as a value") };
        let own: Vec<AxisId> = left.axes.iter().chain(&left.over).copied().collect();
        let labelled = matches!(&value.kind, A::List(items) if items.iter().any(|i| i.label.is_some()));
        let axes = if bare {
            v.axes.clone()
        } else if labelled {
            // A labelled list adds its plate to those of its items.
            minus(&v.axes, &own).into_iter().chain(own.iter().copied()).collect()
        } else {
            let drawn = self.computed(format!("{what} {}", head.name.name), head.span, &own);
            if !self.check_plates(&v, &sorted(&own), &drawn) {
                self.poison(&head.name);
                return None;
            }
            own
        };
        let var = self.add_var(Var {
            name: head.name.name.clone(),
            span: head.name.span,
            kind,
            axes,
            joint: left.over.len(),
            ty: v.ty,
            constraint: self.known_range(&v),
        });
        self.declare_step(&head.name, what, var);
        self.hir.steps.push(Step::Let { var, value: v, span: head.span });
        Some(var)
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

    /// `let X[term] = [log_d1: log(d1), group: group]` declares the plate `term`.
    fn labelled_plate(&mut self, head: &'a Head, value: &'a ast::Expr) {
        let A::List(items) = &value.kind else { return };
        let labels: Vec<String> = items.iter().filter_map(|i| i.label.as_ref().map(|l| l.name.clone())).collect();
        let Some(last) = head.axes.last() else { return };
        if labels.len() != items.len() || labels.is_empty() || self.names.get(&last.plate.name).is_some() {
            return;
        }
        let plate = self.add_plate(&last.plate.name, last.plate.span, PlateKind::Labels(labels));
        self.names.declare(&last.plate, "plate", |e| e.plate = Some(plate), self.diags);
    }

    fn report(&mut self, names: &'a [Ident]) {
        for n in names {
            let Some(var) = self.names.get(&n.name).and_then(|e| e.var) else {
                self.unknown_name(&n.name, n.span, &Env::default());
                continue;
            };
            if matches!(self.hir.var(var).kind, VarKind::Column(_)) {
                self.diags.push(
                    Code::REPORT_OF_DATA
                        .at(n.span, format!("`{}` is a column of the data: there is nothing to report", n.name))
                        .label(self.hir.var(var).span, "declared here"),
                );
                continue;
            }
            self.used.insert(var);
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
                                .help("write `observe y[t in rows where …] ~ …`"),
                        );
                        return;
                    };
                    if a.by.is_some() || a.along.is_some() {
                        self.diags.push(
                            Code::NOT_YET_WALK
                                .at(a.span, "walks (`by`, `along`) are not part of this version of the language"),
                        );
                        return;
                    }
                    let Some(axis) = self.axis_named(&a.plate, &env) else { return };
                    if let Some(index) = &a.index {
                        self.check_binder(index, &env);
                        env.binders.push((index.name.clone(), axis));
                    }
                    env.context = union(&env.context, &[axis]);
                    if let Some(f) = &a.filter {
                        let c = self.expr(f, &env);
                        filter = Some(self.data_condition(c));
                    }
                }
                base
            }
            _ => target,
        };
        let value = self.expr(written, &env);
        if is_bad(&value) {
            return;
        }
        if let Some((var, span)) = self.latent_in(&value) {
            let v = self.hir.var(var);
            self.diags.push(
                Code::OBSERVE_LATENT
                    .at(span, format!("`{}` is not data: only data can be observed", v.name))
                    .here("not known")
                    .label(v.span, "declared here")
                    .help("to add a term to the log joint write `factor …`"),
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
                    .help("name one index per plate of the observed value"),
            );
            return;
        }
        let mut joint = vec![];
        for a in over {
            let Some(axis) = self.axis_named(&a.plate, &env) else { return };
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
        };
        let Some(dist) = self.dist(dist, &drawn, &env) else { return };
        self.hir.steps.push(Step::Observe { name, target: value, over: joint, axes, filter, dist, span: decl.span });
    }

    fn target_name(&self, e: &Expr) -> String {
        let mut names = vec![];
        expr::walk(e, &mut |e| {
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

/// A location plus a scale times standard noise: what can be noncentred. Its `sample()` shows it: `mu + sigma * (…)`,
/// with noise and other arguments only in the brackets. Names alone do not: another family may have a `mu` and a `sigma`.
pub fn is_location_scale(d: &DistUse) -> bool {
    let local = |n: &str| d.args.iter().find(|(_, a, _)| a == n).map(|a| a.0);
    let (Some(mu), Some(sigma), Some(mut sample)) = (local("mu"), local("sigma"), d.sample.as_ref()) else {
        return false;
    };
    let is = |e: &Expr, l: LocalId| matches!(e.kind, ExprKind::Local(x) if x == l);
    let free = |e: &Expr| {
        let mut free = true;
        expr::walk(e, &mut |e| free = free && !is(e, mu) && !is(e, sigma));
        free
    };
    while let ExprKind::Bind { value, body, .. } = &sample.kind {
        if !free(value) {
            return false;
        }
        sample = body;
    }
    let shape = match &sample.kind {
        ExprKind::Binary(BinOp::Add, location, noise) => match &noise.kind {
            ExprKind::Binary(BinOp::Mul, scale, noise) => is(location, mu) && is(scale, sigma) && free(noise),
            _ => false,
        },
        _ => false,
    };
    shape && matches!(d.range, Constraint::None) && d.log_kept.is_none() && d.support.ty == Ty::Real
}

fn same_plates(a: &Head, b: &Head) -> bool {
    let names = |h: &Head| {
        let n = |v: &[ast::Axis]| v.iter().map(|x| x.plate.name.clone()).collect::<Vec<_>>();
        (n(&h.axes), n(&h.over))
    };
    names(a) == names(b)
}

fn sorted(v: &[AxisId]) -> Vec<AxisId> {
    union(v, &[])
}
