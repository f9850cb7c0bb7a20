//! Calls: primitives, reductions, and functions of the library or the model, which are expanded in place.

use super::builtins::{Builtin, LATER, NoiseKind, builtin};
use super::expr::{bad, bind, is_bad, number};
use super::*;
use crate::diag::{Code, nearest};
use crate::syntax::ast::{Arg, ExprKind as A, IndexItem};

impl<'a> Checker<'a, '_> {
    pub(super) fn call(&mut self, e: &'a ast::Expr, callee: &'a ast::Expr, args: &'a [Arg], env: &Env) -> Expr {
        let (name, span, plates): (&str, Span, &'a [IndexItem]) = match &callee.kind {
            A::Name(n) => (n, callee.span, &[]),
            A::Index { base, items } => match &base.kind {
                A::Name(n) => (n, base.span, items),
                _ => return self.not_callable(callee.span),
            },
            _ => return self.not_callable(callee.span),
        };
        if let Some(f) = self.fns.get(name).copied() {
            return self.expand(e, f, plates, args, env);
        }
        if let Some(b) = builtin(name) {
            return self.builtin(e, name, b, plates, args, env);
        }
        if self.dists.contains_key(name) {
            self.diags.push(
                Code::DIST_AS_VALUE
                    .at(e.span, format!("`{name}` is a distribution, not a value"))
                    .here("stands to the right of `~` only")
                    .help(format!("declare what is drawn from it: `latent x ~ {name}(…)`, or `observe y ~ {name}(…)`")),
            );
            return bad(e.span);
        }
        if let Some(&at) = self.nets.get(name) {
            self.diags.push(
                Code::NOT_YET_NET
                    .at(e.span, format!("`{name}` is a net; this version does not fit nets yet"))
                    .label(at, "declared here"),
            );
            return bad(e.span);
        }
        if LATER.contains(&name) {
            self.diags.push(
                Code::NOT_YET_FUNCTION
                    .at(span, format!("`{name}` belongs to a part of the language that this version does not have yet"))
                    .here("parsed, but without meaning so far"),
            );
            return bad(e.span);
        }
        self.unknown_function(name, span, env);
        bad(e.span)
    }

    fn not_callable(&mut self, span: Span) -> Expr {
        self.diags.push(Code::UNKNOWN_FUNCTION.at(span, "only a function can be called").here("not a function"));
        bad(span)
    }

    fn unknown_function(&mut self, name: &str, span: Span, env: &Env) {
        let mut names: Vec<&str> = BUILTINS.iter().map(|b| b.0).chain(self.fns.keys().copied()).collect();
        names.sort_unstable();
        let near = nearest(name, names);
        let mut d =
            Code::UNKNOWN_FUNCTION.at(span, format!("there is no function called `{name}`")).here("unknown function");
        d = match (near, self.names.get(name)) {
            (Some(n), _) => d.help(format!("did you mean `{n}`?")),
            (None, Some(_)) => {
                d.help(format!("`{name}` is a value; to multiply, write `{name} * (…)`; to index, `{name}[…]`"))
            }
            (None, None) => match nearest(name, self.dists.keys().copied()) {
                Some(n) => d.help(format!("`{n}` is a distribution; it stands to the right of `~`")),
                None => d.help(format!("define it: `fn {name}(x: real) -> real = …`")),
            },
        };
        let _ = env;
        self.diags.push(d);
    }

    fn builtin(
        &mut self,
        e: &'a ast::Expr,
        name: &str,
        b: Builtin,
        plates: &'a [IndexItem],
        args: &'a [Arg],
        env: &Env,
    ) -> Expr {
        if let (Some(item), false) = (plates.first(), matches!(b, Builtin::Noise(_))) {
            let at = match item {
                IndexItem::Expr(e) => e.span,
                IndexItem::Axis(a) => a.span,
            };
            self.diags.push(
                Code::TOO_MANY_INDICES
                    .at(at, format!("`{name}` takes no plates in `[ ]`"))
                    .help(format!("write `{name}(…)`; the plate of a reduction stands after `over`")),
            );
            return bad(e.span);
        }
        if let Some(named) = args.iter().find_map(|a| a.name.as_ref()) {
            self.diags.push(
                Code::NAMED_ARGUMENT_MISPLACED
                    .at(named.span, format!("`{name}` has no argument called `{}`", named.name))
                    .help(format!("write `{name}(…)` without names")),
            );
            return bad(e.span);
        }
        let reduces = matches!(b, Builtin::Reduce(_)) || matches!(b, Builtin::Extremum(..)) && args.len() == 1;
        if let Some(a) = args.iter().find(|a| !a.over.is_empty())
            && !reduces
            && !matches!(b, Builtin::Noise(NoiseKind::Categorical))
        {
            self.diags.push(
                Code::OVER_MISPLACED
                    .at(a.over[0].span, format!("`{name}` works on one number at a time and takes no `over`"))
                    .help("`over` goes with sum, mean, sd, min, max, prod, logsumexp, any, all"),
            );
            return bad(e.span);
        }
        match b {
            Builtin::Unary(op) => {
                let Some([x]) = self.arguments(e, name, args, env) else { return bad(e.span) };
                let x = self.numeric(x, &format!("take `{name}` of this"));
                let ty = match op {
                    UnOp::Floor | UnOp::Ceil | UnOp::Round | UnOp::Sign => Ty::Int,
                    UnOp::Abs if x.ty != Ty::Real => Ty::Int,
                    _ => Ty::Real,
                };
                expr::unary(op, x, ty, e.span)
            }
            Builtin::Binary(op) => {
                let Some([x, y]) = self.arguments(e, name, args, env) else { return bad(e.span) };
                let (x, y) = (self.numeric(x, "use this"), self.numeric(y, "use this"));
                expr::binary(op, x, y, Ty::Real, e.span)
            }
            Builtin::Extremum(reduction, op) => {
                if args.len() == 1 {
                    return self.reduce(e, name, reduction, &args[0], env);
                }
                let Some([x, y]) = self.arguments(e, name, args, env) else { return bad(e.span) };
                let (x, y) = (self.numeric(x, "compare this"), self.numeric(y, "compare this"));
                let ty = expr::wider(x.ty, y.ty);
                expr::binary(op, x, y, ty, e.span)
            }
            Builtin::Reduce(op) => match args {
                [arg] => self.reduce(e, name, op, arg, env),
                _ => {
                    self.diags.push(
                        Code::WRONG_ARGUMENT_COUNT
                            .at(
                                e.span,
                                format!(
                                    "`{name}` takes one value and the plate to run over, not {} arguments",
                                    args.len()
                                ),
                            )
                            .help(format!("write `{name}(… over plate)`")),
                    );
                    bad(e.span)
                }
            },
            Builtin::Size => self.size(e, args, env),
            Builtin::Noise(kind) => self.noise(e, name, kind, plates, args, env),
        }
    }

    /// Exactly `N` checked arguments, or a diagnostic.
    fn arguments<const N: usize>(
        &mut self,
        e: &ast::Expr,
        name: &str,
        args: &'a [Arg],
        env: &Env,
    ) -> Option<[Expr; N]> {
        if args.len() != N {
            let s = if N == 1 { "" } else { "s" };
            self.diags.push(
                Code::WRONG_ARGUMENT_COUNT
                    .at(e.span, format!("`{name}` takes {N} argument{s}, and {} are given", args.len())),
            );
            return None;
        }
        let v: Vec<Expr> = args.iter().map(|a| self.expr(&a.value, env)).collect();
        v.try_into().ok()
    }

    /// `sum(e over (a, k in lag where …))`
    fn reduce(&mut self, e: &'a ast::Expr, name: &str, op: Reduction, arg: &'a Arg, env: &Env) -> Expr {
        let mut inner = Env { list_axis: None, ..env.clone() };
        let mut axes = vec![];
        let mut filters = vec![];
        for a in &arg.over {
            let Some(axis) = self.reduce_axis(a, &mut inner) else { return bad(e.span) };
            axes.push(axis);
            filters.extend(a.filter.as_deref());
        }
        if let [one] = axes.as_slice() {
            inner.list_axis = Some(*one);
        }
        let body = self.expr(&arg.value, &inner);
        let body = match op {
            Reduction::Any | Reduction::All => self.condition(body, &format!("`{name}`")),
            _ => self.numeric(body, &format!("take the {name} of this")),
        };
        if is_bad(&body) {
            return body;
        }
        let filter = filters
            .into_iter()
            .map(|f| {
                let c = self.expr(f, &inner);
                self.data_condition(c)
            })
            .reduce(|a, b| {
                let span = a.span;
                expr::binary(BinOp::And, a, b, Ty::Bool, span)
            });
        if axes.is_empty() {
            match body.axes.as_slice() {
                [one] => axes.push(*one),
                [] => {
                    self.diags.push(
                        Code::NOTHING_TO_REDUCE
                            .at(
                                arg.value.span,
                                format!("there is nothing to take the {name} of: this is a single number"),
                            )
                            .help("name a value that varies over a plate"),
                    );
                    return bad(e.span);
                }
                several => {
                    let text = self.axes_text(several);
                    let names: Vec<String> = several.iter().map(|&a| self.plate_name(a).to_string()).collect();
                    // The plate that the context does not have is the likely one.
                    let guess = several
                        .iter()
                        .find(|a| !env.context.contains(a))
                        .map_or(names[0].clone(), |&a| self.plate_name(a).to_string());
                    self.diags.push(
                        Code::REDUCE_OVER_WHICH
                            .at(e.span, format!("`{name}` over which plate? This varies over {text}"))
                            .here(format!("varies over {text}"))
                            .help(format!("write `{name}(… over {guess})`")),
                    );
                    return bad(e.span);
                }
            }
        }
        for (&axis, written) in axes.iter().zip(&arg.over) {
            if !body.axes.contains(&axis) && !matches!(op, Reduction::Sum) {
                let plate = self.plate_name(axis).to_string();
                self.diags.push(
                    Code::NOTHING_TO_REDUCE
                        .at(arg.value.span, format!("this does not vary over `{plate}`"))
                        .here(format!("varies over {}", self.axes_text(&body.axes)))
                        .label(written.span, format!("so its {name} over `{plate}` is the value itself"))
                        .help(format!("remove `{name}`, or reduce over a plate that it varies over")),
                );
                return bad(e.span);
            }
        }
        let ty = match op {
            Reduction::Any | Reduction::All => Ty::Bool,
            Reduction::Sum | Reduction::Min | Reduction::Max | Reduction::Prod if body.ty != Ty::Real => Ty::Int,
            _ => Ty::Real,
        };
        let mut rest = body.axes.clone();
        if let Some(f) = &filter {
            rest = union(&rest, &f.axes);
        }
        let rest = minus(&rest, &axes);
        let kind = ExprKind::Reduce { op, axes, filter: filter.map(Box::new), body: body.into() };
        Expr { kind, ty, axes: rest, span: e.span }
    }

    /// The axis that one `over` names. A binder on a plate that the context already walks is an axis of its own.
    fn reduce_axis(&mut self, a: &'a ast::Axis, inner: &mut Env) -> Option<AxisId> {
        let axis = self.axis_named(&a.plate, inner)?;
        if a.by.is_some() || a.along.is_some() || a.without.is_some() {
            self.diags.push(
                Code::NOT_YET_WALK
                    .at(a.span, "a reduction runs over a whole plate: `by`, `along` and `without` do not go here"),
            );
            return None;
        }
        let axis = match &a.index {
            Some(index) if inner.context.contains(&axis) => {
                let plate = self.plate_of(axis);
                self.add_axis(plate, &index.name)
            }
            _ => axis,
        };
        if let Some(index) = &a.index {
            self.check_binder(index, inner);
            inner.binders.push((index.name.clone(), axis));
        }
        inner.context = union(&inner.context, &[axis]);
        Some(axis)
    }

    /// An index name may not hide another name.
    pub(super) fn check_binder(&mut self, index: &Ident, env: &Env) {
        let old = self.names.get(&index.name).map(|e| e.span);
        if old.is_some() || env.binders.iter().any(|(n, _)| *n == index.name) {
            let mut d = Code::INDEX_NAME_TAKEN
                .at(index.span, format!("the index name `{}` is already in use", index.name))
                .help("choose another letter");
            if let Some(at) = old {
                d = d.label(at, "declared here");
            }
            self.diags.push(d);
        }
    }

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
        if let Some((var, at)) = self.names.get(&name.name).and_then(|e| e.var.map(|v| (v, e.span))) {
            let v = self.hir.var(var);
            let mut d = Code::NOT_A_PLATE
                .at(name.span, format!("`{}` is a value, not a plate", name.name))
                .here("a plate is needed here")
                .label(at, "declared here");
            if matches!(v.kind, VarKind::Column(_)) {
                d = d.help(format!("declare the column `{}: category` to use its levels as a plate", name.name));
            }
            self.diags.push(d);
            return None;
        }
        let plates: Vec<&str> = self.hir.plates.iter().map(|p| p.name.as_str()).collect();
        let mut d =
            Code::UNKNOWN_PLATE.at(name.span, format!("there is no plate called `{}`", name.name)).here("not declared");
        d = match nearest(&name.name, plates) {
            Some(n) => d.help(format!("did you mean `{n}`?")),
            None => d.help(format!("declare it: `plate {} = 3`, or name a table or a category column", name.name)),
        };
        self.diags.push(d);
        None
    }

    /// A filter: true or false from data alone.
    pub(super) fn data_condition(&mut self, c: Expr) -> Expr {
        let c = self.condition(c, "`where`");
        if let Some((var, span)) = self.latent_in(&c) {
            let v = self.hir.var(var);
            self.diags.push(
                Code::LATENT_CONDITION
                    .at(span, format!("`where` depends on the latent `{}`", v.name))
                    .label(v.span, "declared here")
                    .help("a filter may use data only"),
            );
            return bad(c.span);
        }
        c
    }

    fn size(&mut self, e: &ast::Expr, args: &'a [Arg], env: &Env) -> Expr {
        let [Arg { value: ast::Expr { kind: A::Name(n), span }, .. }] = args else {
            self.diags.push(
                Code::WRONG_ARGUMENT_COUNT.at(e.span, "`size` takes the name of one plate").help("write `size(plate)`"),
            );
            return bad(e.span);
        };
        let ident = Ident { name: n.clone(), span: *span };
        match self.axis_named(&ident, env) {
            Some(a) => Expr { kind: ExprKind::Size(self.plate_of(a)), ty: Ty::Int, axes: vec![], span: e.span },
            None => bad(e.span),
        }
    }

    /// Base noise: a draw of its own per cell of the context, of its parameters' plates, and of those in `[ ]`.
    fn noise(
        &mut self,
        e: &'a ast::Expr,
        name: &str,
        kind: NoiseKind,
        plates: &'a [IndexItem],
        args: &'a [Arg],
        env: &Env,
    ) -> Expr {
        if !env.noise {
            self.diags.push(
                Code::NOISE_OUTSIDE_SAMPLE
                    .at(e.span, format!("`{name}` draws at random and stands in the `sample()` of a distribution only"))
                    .help("declare a latent: `latent z ~ Normal(0, 1)`"),
            );
            return bad(e.span);
        }
        let (noise, params, drop) = match (kind, args) {
            (NoiseKind::Categorical, [arg]) if arg.over.len() == 1 => {
                let Some(axis) = self.axis_named(&arg.over[0].plate, env) else { return bad(e.span) };
                (Noise::Categorical(axis), vec![self.expr(&arg.value, env)], vec![axis])
            }
            (NoiseKind::Fixed(noise, n), args) if args.len() == n => {
                (noise, args.iter().map(|a| self.expr(&a.value, env)).collect(), vec![])
            }
            _ => {
                self.diags.push(Code::WRONG_ARGUMENT_COUNT.at(e.span, format!("wrong arguments for `{name}`")));
                return bad(e.span);
            }
        };
        let mut axes = params.iter().fold(union(&env.context, &[]), |a, p| union(&a, &p.axes));
        for item in plates {
            let Some(axis) = self.plate_given(item, e.span, env) else { return bad(e.span) };
            axes = union(&axes, &[axis]);
        }
        let ty = match noise {
            Noise::Categorical(a) => Ty::Index(self.plate_of(a)),
            Noise::Poisson | Noise::Binomial => Ty::Int,
            _ => Ty::Real,
        };
        Expr { kind: ExprKind::Noise(noise, params), ty, axes: minus(&axes, &drop), span: e.span }
    }

    /// Expand a function in place: its arguments become locals of its body.
    fn expand(&mut self, e: &'a ast::Expr, f: FnDecl<'a>, plates: &'a [IndexItem], args: &'a [Arg], env: &Env) -> Expr {
        let name = &f.name.name;
        if self.expanding.contains(&name.as_str()) {
            self.diags.push(
                Code::RECURSIVE_FUNCTION
                    .at(e.span, format!("`{name}` calls itself"))
                    .label(f.name.span, "declared here")
                    .help("functions cannot recurse; a recurrence over rows is a `let` over an ordered plate"),
            );
            return bad(e.span);
        }
        let Some(matched) = self.match_arguments(e.span, name, f.params, args, f.name.span) else { return bad(e.span) };
        let mut values = vec![];
        for (param, arg) in f.params.iter().zip(matched) {
            let v = self.expr(&arg.value, env);
            if is_bad(&v) {
                return v;
            }
            let v = self.numeric(v, &format!("pass this as `{}` of `{name}`", param.name.name));
            values.push(v);
        }
        let Some(generic) = self.bind_plates(e.span, f, plates, &values, env) else { return bad(e.span) };
        let mut inner = Env { plates: generic, closed: true, ..Env::default() };
        if let [one] = f.result.axes.as_slice() {
            inner.list_axis = inner.plates.iter().find(|(n, _)| *n == one.plate.name).map(|x| x.1);
            if inner.list_axis.is_none() {
                inner.list_axis = self.names.get(&one.plate.name).and_then(|e| e.plate).map(|p| self.hir.plate(p).axis);
            }
        }
        let mut bound = vec![];
        for (param, v) in f.params.iter().zip(values) {
            let id = self.fresh_local();
            let range = self.range_in(&v, env);
            // A parameter over a plate varies over it even when one number is passed.
            let mut axes = v.axes.clone();
            for a in &param.ty.axes {
                if let Some(x) = self.axis_named(&a.plate, &inner) {
                    axes = union(&axes, &[x]);
                }
            }
            inner.locals.push((param.name.name.clone(), Local { id, ty: v.ty, axes, range }));
            bound.push((id, v));
        }
        self.expanding.push(name);
        let errors = self.diags.list.len();
        let body = self.expr(f.body, &inner);
        let body = self.numeric(body, "return this");
        if self.diags.list.len() > errors && f.name.span.file != e.span.file {
            // A library function: the mistake is in the call.
            for d in &mut self.diags.list[errors..] {
                d.labels.push(crate::diag::Label { span: e.span, text: format!("in this call of `{name}`") });
            }
        }
        self.expanding.pop();
        if is_bad(&body) {
            return bad(e.span);
        }
        let mut out = bound.into_iter().rev().fold(body, |body, (local, value)| bind(local, value, body));
        out.span = e.span;
        out
    }

    /// A plate named in the `[ ]` of a call.
    fn plate_given(&mut self, item: &'a IndexItem, call: Span, env: &Env) -> Option<AxisId> {
        let IndexItem::Expr(ast::Expr { kind: A::Name(n), span }) = item else {
            self.diags.push(Code::NOT_A_PLATE.at(call, "a plate's name is needed here"));
            return None;
        };
        self.axis_named(&Ident { name: n.clone(), span: *span }, env)
    }

    /// Which axis each plate parameter of a function stands for: given in `[ ]`, or the one plate that an argument varies over.
    fn bind_plates(
        &mut self,
        span: Span,
        f: FnDecl<'a>,
        given: &'a [IndexItem],
        values: &[Expr],
        env: &Env,
    ) -> Option<Vec<(String, AxisId)>> {
        let mut out = vec![];
        for (i, p) in f.plates.iter().enumerate() {
            if let Some(item) = given.get(i) {
                out.push((p.name.clone(), self.plate_given(item, span, env)?));
                continue;
            }
            let candidates: Vec<AxisId> = f
                .params
                .iter()
                .zip(values)
                .filter(|(q, _)| q.ty.axes.iter().any(|a| a.plate.name == p.name))
                .flat_map(|(_, v)| v.axes.clone())
                .collect();
            let mut candidates = union(&candidates, &[]);
            if candidates.len() > 1 {
                let extra = minus(&candidates, &env.context);
                if extra.len() == 1 {
                    candidates = extra;
                }
            }
            match candidates.as_slice() {
                [one] => out.push((p.name.clone(), *one)),
                _ => {
                    let name = &f.name.name;
                    let text = self.axes_text(&candidates);
                    self.diags.push(
                        Code::REDUCE_OVER_WHICH
                            .at(span, format!("`{name}` works along a plate, and its argument varies over {text}"))
                            .label(f.name.span, format!("declared over a plate `{}`", p.name))
                            .help(format!("name the plate: `{name}[plate](…)`")),
                    );
                    return None;
                }
            }
        }
        if let Some(extra) = given.get(f.plates.len()) {
            let at = match extra {
                IndexItem::Expr(e) => e.span,
                IndexItem::Axis(a) => a.span,
            };
            self.diags.push(
                Code::TOO_MANY_INDICES
                    .at(at, format!("`{}` takes {} plates", f.name.name, f.plates.len()))
                    .label(f.name.span, "declared here"),
            );
            return None;
        }
        Some(out)
    }

    /// Arguments in the order of the parameters, by position and then by name.
    pub(super) fn match_arguments(
        &mut self,
        span: Span,
        name: &str,
        params: &'a [ast::Param],
        args: &'a [Arg],
        declared: Span,
    ) -> Option<Vec<&'a Arg>> {
        let signature = || {
            let p: Vec<&str> = params.iter().map(|p| p.name.name.as_str()).collect();
            format!("{name}({})", p.join(", "))
        };
        let in_model = declared.file == span.file;
        let mut out: Vec<Option<&Arg>> = vec![None; params.len()];
        for (i, arg) in args.iter().enumerate() {
            let slot = match &arg.name {
                None => Some(i).filter(|i| *i < params.len()),
                Some(n) => match params.iter().position(|p| p.name.name == n.name) {
                    Some(p) => Some(p),
                    None => {
                        let near = nearest(&n.name, params.iter().map(|p| p.name.name.as_str()));
                        let mut d =
                            Code::UNKNOWN_ARGUMENT.at(n.span, format!("`{name}` has no argument called `{}`", n.name));
                        d = match near {
                            Some(x) => d.help(format!("did you mean `{x}:`?")),
                            None => d.help(format!("its arguments are `{}`", signature())),
                        };
                        self.diags.push(d);
                        return None;
                    }
                },
            };
            match slot {
                Some(s) if out[s].is_none() => out[s] = Some(arg),
                Some(s) => {
                    self.diags.push(
                        Code::ARGUMENT_TWICE
                            .at(arg.value.span, format!("`{}` of `{name}` is given twice", params[s].name.name))
                            .label(out[s].expect("it is taken").value.span, "given here first"),
                    );
                    return None;
                }
                None => {}
            }
        }
        if args.len() > params.len() || out.iter().any(Option::is_none) {
            let missing: Vec<String> = params
                .iter()
                .zip(&out)
                .filter(|(_, o)| o.is_none())
                .map(|(p, _)| format!("`{}`", p.name.name))
                .collect();
            let n = params.len();
            let mut d = Code::WRONG_ARGUMENT_COUNT
                .at(
                    span,
                    format!(
                        "`{name}` takes {n} argument{}, and {} {} given",
                        if n == 1 { "" } else { "s" },
                        args.len(),
                        if args.len() == 1 { "is" } else { "are" }
                    ),
                )
                .help(format!("write `{}`", signature()));
            if !missing.is_empty() {
                d = d.here(format!("missing {}", missing.join(" and ")));
            }
            if in_model {
                d = d.label(declared, "declared here");
            }
            self.diags.push(d);
            return None;
        }
        Some(out.into_iter().flatten().collect())
    }

    pub(super) fn duplicate_callable(&mut self, name: &Ident, old: &Ident, what: &str) {
        self.diags.push(
            Code::DUPLICATE_NAME
                .at(name.span, format!("the {what} `{}` is declared twice", name.name))
                .label(old.span, "first declared here")
                .help("give one of them another name"),
        );
    }

    /// A type's constraint, with bounds in terms of what is in scope.
    pub(super) fn constraint(&mut self, ty: &'a ast::Type, env: &Env) -> Constraint {
        let open_real = ty.base.name == "real";
        match &ty.bound {
            None => match ty.base.name.as_str() {
                "simplex" => Constraint::Simplex,
                "ordered" => Constraint::Ordered { positive: false },
                _ => Constraint::None,
            },
            Some(ast::Bound::Compare { op, value }) => {
                let b = self.expr(value, env);
                let bound = self.numeric(b, "use this as a bound");
                if ty.base.name == "ordered" {
                    return Constraint::Ordered { positive: true };
                }
                use ast::BinaryOp as B;
                // A strict bound on an integer is the next integer.
                let int = ty.base.name == "int";
                let span = bound.span;
                match op {
                    B::Greater if int => Constraint::Lower {
                        bound: expr::binary(BinOp::Add, bound, number(1.0, Ty::Int, span), Ty::Int, span),
                        open: false,
                    },
                    B::Less if int => Constraint::Upper {
                        bound: expr::binary(BinOp::Sub, bound, number(1.0, Ty::Int, span), Ty::Int, span),
                        open: false,
                    },
                    B::Greater => Constraint::Lower { bound, open: true },
                    B::GreaterEq => Constraint::Lower { bound, open: false },
                    B::Less => Constraint::Upper { bound, open: true },
                    _ => Constraint::Upper { bound, open: false },
                }
            }
            Some(ast::Bound::Interval { lower, upper, closed }) => {
                let (l, u) = (self.expr(lower, env), self.expr(upper, env));
                let (lower, upper) = (self.numeric(l, "use this as a bound"), self.numeric(u, "use this as a bound"));
                if let (ExprKind::Number(a), ExprKind::Number(b)) = (&lower.kind, &upper.kind)
                    && a >= b
                {
                    self.diags.push(
                        Code::EMPTY_RANGE
                            .at(ty.span, format!("no value lies between {a} and {b}"))
                            .help("the lower bound comes first: `in (0, 1)`"),
                    );
                }
                Constraint::Interval { lower, upper, open: !closed && open_real }
            }
        }
    }
}
