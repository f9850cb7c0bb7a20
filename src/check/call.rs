//! Calls: primitives, reductions, and functions of the library or the model, which are expanded in place.

use super::builtins::{Builtin, FOREIGN, LATER, NoiseKind, builtin};
use super::expr::{bad, is_bad};
use super::function::count_text;
use super::*;
use crate::diag::{Code, nearest};
use crate::syntax::ast::{Arg, ExprKind as A, IndexItem};

impl<'a> Checker<'a, '_> {
    #[inline(never)]
    pub(super) fn call(&mut self, e: &'a ast::Expr, callee: &'a ast::Expr, args: &'a [Arg], env: &Env) -> Expr {
        let (name, span, plates): (&str, Span, &'a [IndexItem]) = match &callee.kind {
            A::Name(n) => (n, callee.span, &[]),
            A::Index { base, items } => match &base.kind {
                A::Name(n) => (n, base.span, items),
                _ => return self.not_callable(callee),
            },
            _ if self.as_density(e, callee, args) => return bad(e.span),
            _ => match self.without_module(callee) {
                Some((name, span)) => (name, span, &[]),
                None => return self.not_callable(callee),
            },
        };
        if self.function(name, env).is_some_and(|f| net::is_chain(&f)) {
            self.diags.push(
                Code::PIPE_OUTSIDE_NET
                    .at(e.span, format!("`{name}` stands for layers, which have no value outside of a `net`"))
                    .here("not in the body of a net")
                    .help(format!("declare a net: `net f(x: real[feature]) -> real = {name}(…) |> head`")),
            );
            return bad(e.span);
        }
        if let Some(f) = self.function(name, env) {
            return self.expand(e, f, plates, args, env);
        }
        if let Some(net) = self.net(name, env) {
            return self.net_value(e, net, plates, args, env);
        }
        let noise = matches!(builtin(name), Some(Builtin::Noise(_)));
        if let (Some(item), true) = (plates.first(), !noise && builtin(name).is_some() || self.forms(name).is_some()) {
            let at = match item {
                IndexItem::Expr(e) => e.span,
                IndexItem::Axis(a) => a.span,
            };
            let d = Code::TOO_MANY_INDICES.at(at, format!("`{name}` takes no plate in `[ ]`")).here("not here");
            self.diags.push(match builtin(name) {
                Some(Builtin::Reduce(_) | Builtin::Extremum(..)) => d.help(format!("write `{name}(… over plate)`")),
                _ => d.help("remove it").mend(Span { start: span.end, end: callee.span.end, ..span }, ""),
            });
            return bad(e.span);
        }
        if matches!(name, "first" | "row") && builtin(name).is_none() && self.names.get(name).is_none() {
            return self.of_step(e, name, args, env);
        }
        if let Some(b) = builtin(name) {
            return self.builtin(e, name, b, plates, args, env);
        }
        if self.poisoned.contains(name) {
            return bad(e.span);
        }
        let modifier = super::censored::MODIFIERS.iter().any(|m| m.0 == name);
        if modifier || name == "mixture" || self.forms(name).is_some() {
            self.diags.push(
                Code::DIST_AS_VALUE
                    .at(e.span, format!("`{name}` is a distribution, not a value"))
                    .here("stands to the right of `~` only")
                    .help(format!("declare what is drawn from it: `latent x ~ {name}(…)`, or `observe y ~ {name}(…)`")),
            );
            // `let mu = Normal(0, 1)`
            let own = self.heads.values().find(|h| {
                matches!(h.0, VarKind::Let) && h.1.span.file == e.span.file && self.current.start + 4 == h.1.span.start
            });
            let head = own.map(|h| h.1.span).filter(|_| self.current.end == e.span.end);
            if let (Some(head), Some(d)) = (head, self.diags.list.last_mut()) {
                let gap = Span { start: head.end, end: e.span.start, ..head };
                if gap.end - gap.start <= 3 {
                    let word = Span { end: self.current.start + 3, ..self.current };
                    *d = d.clone().edit(word, "latent").edit(gap, " ~ ");
                }
            }
            return bad(e.span);
        }
        if let Some((_, advice)) = LATER.iter().find(|(n, _)| *n == name) {
            self.later_part(
                Code::NOT_YET_FUNCTION
                    .at(span, format!("`{name}` belongs to a part of the language that this version does not have yet"))
                    .here("parsed, but without meaning so far")
                    .help(format!("until then: {advice}")),
            );
            return bad(e.span);
        }
        if !self.as_density(e, callee, args) {
            self.unknown_function(name, (span, e.span), args);
        }
        bad(e.span)
    }

    fn not_callable(&mut self, callee: &'a ast::Expr) -> Expr {
        if !matches!(callee.kind, A::Error) {
            self.diags.push(
                Code::UNKNOWN_FUNCTION
                    .at(callee.span, "only a function can be called")
                    .here("not a function")
                    .help("to multiply, write `*` before the parenthesis"),
            );
        }
        bad(callee.span)
    }

    fn unknown_function(&mut self, name: &str, (span, whole): (Span, Span), args: &[Arg]) {
        let d =
            Code::UNKNOWN_FUNCTION.at(span, format!("there is no function called `{name}`")).here("unknown function");
        let lower = name.to_lowercase();
        if matches!(lower.as_str(), "dot" | "dot_product" | "inprod" | "inner" | "matmul")
            && let [a, b] = args
        {
            // Over the plate that both vary over, and nothing else does.
            let axes = |e: &ast::Expr| match &e.kind {
                A::Name(n) => {
                    self.names.get(n).and_then(|x| x.var).map(|v| self.hir.var(v).axes.clone()).unwrap_or_default()
                }
                _ => vec![],
            };
            let (left, right) = (axes(&a.value), axes(&b.value));
            let shared: Vec<AxisId> = left.iter().copied().filter(|x| right.contains(x)).collect();
            if let [one] = shared.as_slice() {
                let text = format!("sum({} * {} over {})", a.value, b.value, self.plate_name(*one));
                return self.diags.push(d.help(format!("write `{text}`")).mend(whole, text));
            }
        }
        if let Some((_, advice)) = FOREIGN.iter().find(|(n, _)| *n == lower) {
            let d = d.help(format!("write {advice}"));
            // `expit(x)` for `inv_logit(x)`: only the name differs.
            let only = advice.strip_prefix('`').and_then(|a| a.strip_suffix("(x)`").or_else(|| a.strip_suffix("(p)`")));
            return self.diags.push(match only {
                Some(ours) if args.len() == 1 => d.mend(span, ours),
                _ => d,
            });
        }
        if let Some(value) = self.names.get(name) {
            return self.diags.push(
                d.label(value.span, format!("a {}", value.what))
                    .help(format!("`{name}` is a value: to multiply, write `{name} * (…)`; to index, `{name}[…]`")),
            );
        }
        self.diags.push(match nearest(name, self.function_names()) {
            Some(n) => d.meant(n),
            None => match nearest(name, self.dist_names()) {
                Some(n) => d.help(format!("`{n}` is a distribution; it stands to the right of `~`")),
                None => {
                    let names = ["x", "y", "z", "u", "v", "w"].iter().take(args.len().max(1));
                    let params: Vec<String> = names.map(|x| format!("{x}: real")).collect();
                    d.help(format!("define it: `fn {name}({}) -> real = …`", params.join(", ")))
                }
            },
        });
    }

    #[inline(never)]
    fn builtin(
        &mut self,
        e: &'a ast::Expr,
        name: &str,
        b: Builtin,
        plates: &'a [IndexItem],
        args: &'a [Arg],
        env: &Env,
    ) -> Expr {
        if b != Builtin::Ode
            && let Some(named) = args.iter().find_map(|a| a.name.as_ref())
        {
            self.diags.push(
                Code::NAMED_ARGUMENT_MISPLACED
                    .at(named.span, format!("`{name}` takes its arguments by position, without names"))
                    .here("a name")
                    .help(format!("write `{name}(…)`"))
                    .edit(
                        Span {
                            end: args.iter().find(|a| a.name.is_some()).map_or(named.span.end, |a| a.value.span.start),
                            ..named.span
                        },
                        "",
                    ),
            );
            return bad(e.span);
        }
        let reduces = matches!(b, Builtin::Reduce(_)) || matches!(b, Builtin::Extremum(..)) && args.len() == 1;
        if let Some(a) = args.iter().find(|a| !a.over.is_empty())
            && !reduces
            && !matches!(b, Builtin::Noise(NoiseKind::Categorical | NoiseKind::Multinomial))
        {
            self.diags.push(
                Code::OVER_MISPLACED
                    .at(a.over[0].span, format!("`{name}` works on one number at a time and takes no `over`"))
                    .here("over a plate")
                    .help("`over` goes with sum, mean, sd, min, max, prod, logsumexp, any, all"),
            );
            return bad(e.span);
        }
        match b {
            Builtin::Unary(UnOp::Log) if args.len() == 2 => {
                self.diags.push(
                    Code::WRONG_ARGUMENT_COUNT
                        .at(e.span, "`log` is the natural logarithm and takes one argument")
                        .here("2 arguments")
                        .help("write `log2(x)`, `log10(x)`, or `log(x) / log(base)`"),
                );
                bad(e.span)
            }
            Builtin::Unary(op) => {
                let Some([x]) = self.arguments(e, name, args, env) else { return bad(e.span) };
                let x = self.numeric(x, &format!("take `{name}` of this"));
                if matches!(op, UnOp::Log | UnOp::Sqrt) {
                    self.may_have_no_value(name, &x, env);
                }
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
                    let d = Code::WRONG_ARGUMENT_COUNT
                        .at(
                            e.span,
                            match args.len() {
                                0 => format!("`{name}` of what?"),
                                n => format!("`{name}` takes one value and the plate to run over, not {n} arguments"),
                            },
                        )
                        .here(if args.is_empty() {
                            "no argument".to_string()
                        } else {
                            format!("{} arguments", args.len())
                        });
                    // `sum(x, features)`, as the plate is written elsewhere.
                    let plate = match args.get(1).map(|a| &a.value.kind) {
                        Some(A::Name(n)) if self.names.get(n).is_some_and(|x| x.plate.is_some()) => n,
                        _ => "plate",
                    };
                    self.diags.push(d.help(format!("write `{name}(… over {plate})`")));
                    bad(e.span)
                }
            },
            Builtin::Size => self.size(e, args, env),
            Builtin::Matrix(function) => self.matrix_function(e, name, function, args, env),
            Builtin::Ode => self.ode(e, args, env),
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
            if self.misread() {
                return None;
            }
            let form = ["x", "x, y"].get(N.wrapping_sub(1)).unwrap_or(&"");
            self.diags.push(
                Code::WRONG_ARGUMENT_COUNT
                    .at(e.span, count_text(name, N, args.len()))
                    .here(if args.len() < N { "too few" } else { "too many" })
                    .help(format!("write `{name}({form})`")),
            );
            return None;
        }
        let v: Vec<Expr> = args.iter().map(|a| self.expr(&a.value, env)).collect();
        v.try_into().ok()
    }

    /// `sum(e over (a, k in lag where …))`
    #[inline(never)]
    fn reduce(&mut self, e: &'a ast::Expr, name: &str, op: Reduction, arg: &'a Arg, env: &Env) -> Expr {
        let mut inner = Env { list_axis: None, ..env.clone() };
        let mut axes = vec![];
        let mut filters = vec![];
        for a in &arg.over {
            let Some(axis) = self.reduce_axis(a, &mut inner) else { return bad(e.span) };
            if axes.contains(&axis) {
                self.diags.push(
                    Code::SAME_PLATE_TWICE
                        .at(a.span, format!("`{}` stands twice after `over`", a.plate.name))
                        .here("the second time")
                        .help(format!("remove it, or name the indices: `over (i in {0}, j in {0})`", a.plate.name)),
                );
                return bad(e.span);
            }
            axes.push(axis);
            filters.extend(a.filter.as_deref());
        }
        if let [one] = axes.as_slice() {
            inner.list_axis = Some(*one);
        }
        let filters: Vec<Expr> = filters
            .into_iter()
            .map(|f| {
                let c = self.expr(f, &inner);
                self.data_condition(c, "`where`")
            })
            .collect();
        for f in &filters {
            inner = self.where_(f, true, &inner);
        }
        let body = self.expr(&arg.value, &inner);
        let body = match op {
            Reduction::Any | Reduction::All => self.condition(body, &format!("`{name}`")),
            _ => self.numeric(body, &format!("take the {name} of this")),
        };
        if is_bad(&body) || filters.iter().any(is_bad) {
            return bad(e.span);
        }
        let filter = filters.into_iter().reduce(|a, b| {
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
                            .here("does not vary")
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
                            .help(format!("write `{name}(… over {guess})`"))
                            .edit(
                                Span { start: arg.value.span.end, end: arg.value.span.end, ..e.span },
                                format!(" over {guess}"),
                            ),
                    );
                    return bad(e.span);
                }
            }
        }
        for (&axis, written) in axes.iter().zip(&arg.over) {
            // `sum(1 over k)` counts cells.
            let counts =
                matches!(body.kind, ExprKind::Number(_)) || filter.as_ref().is_some_and(|f| f.axes.contains(&axis));
            if !body.axes.contains(&axis) && !(op == Reduction::Sum && (counts || env.scope == Scope::Library)) {
                let plate = self.plate_name(axis).to_string();
                self.diags.push(
                    Code::NOTHING_TO_REDUCE
                        .at(arg.value.span, format!("this does not vary over `{plate}`"))
                        .here(format!("varies over {}", self.axes_text(&body.axes)))
                        .label(written.span, "over this plate it is one number many times")
                        .help(match body.axes.first() {
                            Some(&a) => format!("write `{name}(… over {})`", self.plate_name(a)),
                            None => format!("remove `{name}`, or name a value that varies over `{plate}`"),
                        }),
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
                Code::WALK_MISPLACED
                    .at(a.span, "a reduction takes the cells of a plate in no order: `by`, `along` and `without` do not go here")
                    .here("more than a plate and a filter")
                    .help(format!("write `over {}`, with `where` to leave cells out", a.plate.name)),
            );
            return None;
        }
        let axis = match &a.index {
            // A plate parameter stands for its current cell too.
            Some(index) if inner.context.contains(&axis) || inner.plates.iter().any(|(n, _)| *n == a.plate.name) => {
                let plate = self.plate_of(axis);
                self.add_axis(plate, &index.name)
            }
            _ => axis,
        };
        if let Some(index) = &a.index {
            self.check_binder(index, inner)?;
            inner.binders.push((index.name.clone(), axis));
        }
        if a.index.is_none() {
            // Inside, the plate's cell is that of the reduction: an index name of the left side speaks of another.
            let plate = self.plate_of(axis);
            let hidden = inner.binders.iter().filter(|b| b.1 == axis).map(|b| (b.0.clone(), plate));
            inner.hidden.extend(hidden.collect::<Vec<_>>());
            inner.binders.retain(|b| b.1 != axis);
            inner.forget(axis);
        }
        inner.context = union(&inner.context, &[axis]);
        Some(axis)
    }

    /// A filter: true or false from data alone.
    pub(super) fn data_condition(&mut self, c: Expr, place: &str) -> Expr {
        let c = self.condition(c, place);
        if let Some((var, span)) = self.latent_in(&c) {
            let v = self.hir.var(var);
            let word = self.word(var);
            self.diags.push(
                Code::LATENT_CONDITION
                    .at(span, format!("{place} depends on the {word} `{}`", v.name))
                    .here("not known before fitting")
                    .label(v.span, "declared here")
                    .help("a condition may use data only"),
            );
            return bad(c.span);
        }
        c
    }

    fn size(&mut self, e: &ast::Expr, args: &'a [Arg], env: &Env) -> Expr {
        let [Arg { value: ast::Expr { kind: A::Name(n), span }, .. }] = args else {
            self.diags.push(
                Code::WRONG_ARGUMENT_COUNT
                    .at(e.span, "`size` takes the name of one plate")
                    .here("not a plate's name")
                    .help("write `size(plate)`"),
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
    #[inline(never)]
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
                    .here("a draw without a name")
                    .help("declare a latent: `latent z ~ Normal(0, 1)`"),
            );
            return bad(e.span);
        }
        let (noise, params, drop) = match (kind, args) {
            (NoiseKind::Categorical, [arg]) if arg.over.len() == 1 => {
                let Some(axis) = self.axis_named(&arg.over[0].plate, env) else { return bad(e.span) };
                (Noise::Categorical(axis), vec![self.expr(&arg.value, env)], vec![axis])
            }
            (NoiseKind::Multinomial, [n, p]) if p.over.len() == 1 => {
                let Some(axis) = self.axis_named(&p.over[0].plate, env) else { return bad(e.span) };
                (Noise::Multinomial(axis), vec![self.expr(&n.value, env), self.expr(&p.value, env)], vec![])
            }
            (NoiseKind::Lkj { factor }, [eta]) if plates.len() == 1 => {
                let Some(rows) = self.plate_given(&plates[0], e.span, env) else { return bad(e.span) };
                let columns = self.add_axis(self.plate_of(rows), "column");
                (Noise::Lkj { matrix: [rows, columns], factor }, vec![self.expr(&eta.value, env)], vec![])
            }
            (NoiseKind::Wishart { inverse }, [dof, scale]) if plates.len() == 1 => {
                let Some(rows) = self.plate_given(&plates[0], e.span, env) else { return bad(e.span) };
                let columns = self.add_axis(self.plate_of(rows), "column");
                let params = vec![self.expr(&dof.value, env), self.expr(&scale.value, env)];
                let Some(scale) = self.pair(&params[1].axes) else { return bad(e.span) };
                (Noise::Wishart { matrix: [rows, columns], scale, inverse }, params, scale.to_vec())
            }
            (NoiseKind::Fixed(noise, n), args) if args.len() == n => {
                (noise, args.iter().map(|a| self.expr(&a.value, env)).collect(), vec![])
            }
            _ => {
                let form = match kind {
                    NoiseKind::Categorical => "p over k",
                    NoiseKind::Multinomial => "n, p over k",
                    NoiseKind::Lkj { .. } => "eta",
                    NoiseKind::Wishart { .. } => "dof, scale",
                    NoiseKind::Fixed(_, 0) => "",
                    NoiseKind::Fixed(_, 1) => "x",
                    NoiseKind::Fixed(_, 2) => "n, p",
                    NoiseKind::Fixed(..) => "n, a, b",
                };
                self.diags.push(
                    Code::WRONG_ARGUMENT_COUNT
                        .at(e.span, format!("wrong arguments for `{name}`"))
                        .here("not of this form")
                        .help(match kind {
                            NoiseKind::Lkj { .. } | NoiseKind::Wishart { .. } => {
                                format!("write `{name}[k]({form})`, with a plate `k`")
                            }
                            _ => format!("write `{name}({form})`"),
                        }),
                );
                return bad(e.span);
            }
        };
        let mut axes = params.iter().fold(union(&env.context, &[]), |a, p| union(&a, &p.axes));
        axes = minus(&axes, &drop);
        for item in plates {
            let Some(axis) = self.plate_given(item, e.span, env) else { return bad(e.span) };
            axes = union(&axes, &[axis]);
        }
        if let Noise::Lkj { matrix, .. } | Noise::Wishart { matrix, .. } = noise {
            axes = union(&axes, &[matrix[1]]);
        }
        let ty = match noise {
            Noise::Categorical(a) => Ty::Index(self.plate_of(a)),
            Noise::Poisson | Noise::Binomial | Noise::Hypergeometric | Noise::Multinomial(_) => Ty::Int,
            _ => Ty::Real,
        };
        Expr { kind: ExprKind::Noise(noise, params), ty, axes, span: e.span }
    }
}
