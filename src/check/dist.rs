//! Distributions to the right of `~`: which form is meant, whether it fits, and its density in terms of the arguments.

use super::bounds::Range;
use super::censored::{Censoring, MODIFIERS};
use super::expr::{binary, bind, is_bad, number};
use super::*;
use crate::diag::{Code, nearest};
use crate::syntax::ast::{Arg, ExprKind as A};

/// The left side of `~`.
#[derive(Clone)]
pub(super) struct Drawn {
    /// `latent theta` or `observe y`, for messages.
    pub what: String,
    pub span: Span,
    /// Independent per cell of these.
    pub axes: Vec<AxisId>,
    pub over: Vec<AxisId>,
    /// The type written, for a latent, or a truncation; and the values that it admits.
    pub declared: Option<(Span, Constraint)>,
    /// The plate that the type written names, for a latent that picks a cell of it.
    pub cells_of: Option<PlateId>,
    /// The second axis of `over`, where a matrix is drawn.
    pub columns: Option<AxisId>,
    /// The type of the value, for an observation.
    pub observed: Option<Ty>,
    /// Whether some of the observed cells may be missing, and so be drawn.
    pub missing: bool,
    /// What is observed of a value that is not known exactly.
    pub censoring: Option<Censoring>,
}

impl<'a> Checker<'a, '_> {
    pub(super) fn dist(&mut self, e: &'a ast::Expr, drawn: &Drawn, env: &Env) -> Option<DistUse> {
        let (name, name_span, args): (&'a str, Span, &'a [Arg]) = match &e.kind {
            A::Call { callee, args } => match &callee.kind {
                A::Name(n) => (n, callee.span, args),
                _ => match self.without_module(callee) {
                    Some((n, span)) => (n, span, args),
                    None => return self.not_a_dist(e, drawn),
                },
            },
            A::If { condition, then, otherwise } => {
                let c = self.expr(condition, env);
                let c = self.branch_condition(c);
                let (yes, no) = (self.where_(&c, true, env), self.where_(&c, false, env));
                let (a, b) = (self.dist(then, drawn, &yes), self.dist(otherwise, drawn, &no));
                return self.choice(c, a?, b?, e.span, drawn);
            }
            A::Name(n) if self.forms(n).is_some() || n == "flat" => {
                let d = Code::WRONG_ARGUMENT_COUNT
                    .at(e.span, format!("the distribution `{n}` has no arguments here"))
                    .here("its arguments are missing")
                    .help(format!("write `{}`", self.forms_text(n)));
                self.diags.push(d);
                return None;
            }
            A::Error => return None,
            A::Binary { left, right, .. } => {
                let named = [left, right].into_iter().find_map(|e| match &e.kind {
                    A::Call { callee, .. } => match &callee.kind {
                        A::Name(n) if self.forms(n).is_some() => Some(n),
                        _ => None,
                    },
                    _ => None,
                });
                let Some(n) = named else { return self.not_a_dist(e, drawn) };
                self.diags.push(
                    Code::NOT_A_DISTRIBUTION
                        .at(e.span, "a distribution is needed to the right of `~`, and this computes with one")
                        .here("not a distribution")
                        .help(format!(
                            "change the arguments of `{n}`, or draw a value and compute with that in a `let`"
                        )),
                );
                return None;
            }
            _ => return self.not_a_dist(e, drawn),
        };
        let args = if self.forms(name).is_some() { self.without_site(args) } else { args };
        if name == "flat" && self.forms(name).is_none() {
            return self.flat(e.span, args, drawn);
        }
        if name == "mixture" && self.forms(name).is_none() {
            return self.mixture(e.span, args, drawn, env);
        }
        if MODIFIERS.iter().any(|m| m.0 == name) && self.forms(name).is_none() {
            return self.modified(e, name, args, drawn, env);
        }
        if self.forms(name).is_none() {
            self.unknown_dist(name, name_span);
            return None;
        }
        let form = self.choose_form(name, args, e.span)?;
        let matched =
            self.match_arguments(e.span, name, form.params, 0, &args.iter().collect::<Vec<_>>(), form.name.span)?;
        let all = union(&drawn.axes, &drawn.over);
        // A list runs over the only plate, or over the one that is drawn together.
        let list_axis = single(&drawn.over).or(single(&all));
        let arg_env = Env { list_axis, context: all.clone(), ..env.clone() };
        let values: Vec<Expr> =
            form.params.iter().zip(&matched).map(|(p, a)| self.passed(p, &a.value, &arg_env)).collect();
        if values.iter().any(is_bad) || self.broken_bodies.contains(&form.name.span) {
            return None;
        }
        let joint = !form.support.axes.is_empty();
        self.check_joint(name, joint, drawn, e.span)?;
        self.check_matrix_drawn(name, form.support, drawn, e.span)?;
        let generic = self.dist_plates(e.span, form, &values, drawn)?;
        self.cuts(form, &generic, &values);
        let allowed = generic.iter().fold(all.clone(), |all, (_, a)| union(&all, &[*a]));
        // The bodies see the arguments as locals.
        let scope = self.body_scope(form.name.span);
        let mut inner = Env { plates: generic, scope, context: all.clone(), ..Env::default() };
        let pairs = form.params.iter().zip(values);
        let values: Vec<Option<Expr>> = pairs
            .map(|(param, v)| {
                let v = self.argument(param, v, name, &inner)?;
                let allowed = match self.matrix_axes(param, &v) {
                    Some(own) => union(&allowed, &own),
                    // One number for all cells that are drawn together.
                    None if joint && param.ty.axes.is_empty() => drawn.axes.clone(),
                    None => allowed.clone(),
                };
                self.check_plates(&v, &allowed, drawn).then_some(v)
            })
            .collect();
        let values: Vec<Expr> = values.into_iter().collect::<Option<_>>()?;
        let mut bound = vec![];
        for (param, v) in form.params.iter().zip(values) {
            self.check_domain(param, &v, name, env, &inner);
            let local = self.bound_local(param, &v, env, &inner);
            bound.push((local.id, param.name.name.clone(), v));
            inner.locals.push((param.name.name.clone(), local));
        }
        if form.params.iter().any(|p| MatrixKind::of(&p.ty.base.name).is_some()) {
            bound.iter().try_for_each(|a| self.same_for_all_classes(&a.2))?;
        }
        let support = self.support(form, &inner);
        self.check_observed(name, name_span, &support, drawn)?;
        self.empty_support(name, e.span, &support, &inner, args)?;
        self.finish(e.span, form, bound, inner, support, drawn)
    }

    /// The `ordered` argument of a distribution of the cells of a plate cuts a line into these cells.
    fn cuts(&mut self, form: DistDecl<'a>, plates: &[(String, AxisId)], values: &[Expr]) {
        let plate = |n: &str| plates.iter().find(|p| p.0 == n).map(|p| self.plate_of(p.1));
        let Some(cells) = plate(&form.support.base.name) else { return };
        let cuts: Vec<Cuts> = form
            .params
            .iter()
            .zip(values)
            .filter(|(p, _)| p.ty.base.name == "ordered")
            .filter_map(|(p, v)| {
                let cutpoints = plate(&p.ty.axes.first()?.plate.name)?;
                Some(Cuts { cells, cutpoints, name: form.name.name.clone(), span: v.span })
            })
            .collect();
        self.hir.cuts.extend(cuts);
    }

    /// Check the names in a distribution whose left side is wrong, so that they are reported in the same run.
    pub(super) fn names_within(&mut self, e: &'a ast::Expr, env: &Env) {
        match &e.kind {
            A::Call { callee, args } => {
                if let A::Name(n) = &callee.kind
                    && self.forms(n).is_none()
                    && !matches!(n.as_str(), "flat" | "mixture")
                {
                    self.unknown_dist(n, callee.span);
                }
                // A list takes its plate from the left side, which is not known.
                for a in args.iter().filter(|a| !matches!(a.value.kind, A::List(_))) {
                    self.expr(&a.value, env);
                }
            }
            A::If { condition, then, otherwise } => {
                self.expr(condition, env);
                self.names_within(then, env);
                self.names_within(otherwise, env);
            }
            _ => {}
        }
    }

    /// `Uniform(3, 1)` has no values.
    fn empty_support(
        &mut self,
        name: &str,
        span: Span,
        support: &Support,
        inner: &Env,
        args: &[ast::Arg],
    ) -> Option<()> {
        let Constraint::Interval { lower, upper, open } = &support.constraint else { return Some(()) };
        let (l, u) = (self.range_in(lower, inner).lower, self.range_in(upper, inner).upper);
        if l < u || l == u && !open {
            return Some(());
        }
        let d =
            Code::EMPTY_RANGE.at(span, format!("no value of `{name}` lies between {l} and {u}")).here("an empty range");
        let number = |a: &ast::Arg| {
            let minus = matches!(&a.value.kind, A::Unary { operand, .. } if matches!(operand.kind, A::Number { .. }));
            a.name.is_none() && (minus || matches!(a.value.kind, A::Number { .. }))
        };
        self.diags.push(match args {
            [a, b] if l > u && number(a) && number(b) => {
                let both = a.value.span.to(b.value.span);
                d.help(format!("the lower end comes first: `{name}({u}, {l})`")).edit(both, format!("{u}, {l}"))
            }
            _ => d.help("the lower end comes first"),
        });
        None
    }

    /// Elaborate the density, the draw and the moments of one form, and cut it to the latent's type.
    fn finish(
        &mut self,
        span: Span,
        form: DistDecl<'a>,
        args: Vec<(LocalId, String, Expr)>,
        inner: Env,
        support: Support,
        drawn: &Drawn,
    ) -> Option<DistUse> {
        let x = self.fresh_local();
        // A distribution without a density has been reported where it is declared.
        let item = form.items.iter().find(|i| i.name.name == "logpdf")?;
        let mut with_x = inner.clone();
        let range = match (&support.constraint, support.ty) {
            (_, Ty::Bool) => Range { lower: 0.0, upper: 1.0 },
            (Constraint::Lower { bound, .. }, _) => {
                Range { lower: self.range_in(bound, &inner).lower, upper: f64::INFINITY }
            }
            _ => Range::ALL,
        };
        let mut x_axes = union(&drawn.axes, &drawn.over);
        x_axes.extend(drawn.columns);
        x_axes.sort_unstable();
        let axes = x_axes.clone();
        with_x.locals.push((item.arg.as_ref()?.name.clone(), Local { id: x, ty: support.ty, axes, range }));
        let logpdf = self.expr(&item.value, &with_x);
        let logpdf = self.numeric(logpdf, "use this as a log density");
        if is_bad(&logpdf) {
            return None;
        }
        self.check_ordered_prior(&form.name.name, &args, None, drawn)?;
        let (range, log_kept, ends) = self.cut(span, form, &inner, &support, drawn)?;
        let range = cut::close(range, &args);
        let value = Expr { kind: ExprKind::Local(x), ty: support.ty, axes: x_axes.clone(), span };
        let logpdf = self.censor(logpdf, &value, ends, form, &inner, drawn)?;
        let limits = if drawn.declared.is_some() { &range } else { &support.constraint };
        let logpdf = match (drawn.observed, self.inside(&value, limits, &args)) {
            (Some(_), Some(inside)) => cut::choose(inside, logpdf, number(f64::NEG_INFINITY, Ty::Real, span)),
            _ => logpdf,
        };
        // A joint draw has noise per cell of its parameters' plates only; else every cell has its own.
        let joint = !form.support.axes.is_empty();
        let noise = Env { noise: true, context: if joint { drawn.axes.clone() } else { x_axes }, ..inner.clone() };
        let mut item = |name: &str, env: &Env| {
            let i = form.items.iter().find(|i| i.name.name == name)?;
            // The library's mean and variance are of the whole distribution; a draw is drawn again until it is kept.
            (matches!(name, "sample" | "most") || log_kept.is_none()).then(|| self.expr(&i.value, env))
        };
        let (sample, mean, variance) = (item("sample", &noise), item("mean", &inner), item("variance", &inner));
        let most = item("most", &inner);
        let own: Vec<AxisId> = drawn.over.iter().copied().chain(drawn.columns).collect();
        let sample = sample.map(|s| if drawn.columns.is_some() { self.renamed_matrix(s, &own) } else { s });
        let name = form.name.name.clone();
        Some(DistUse { name, span, args, x, logpdf, sample, mean, variance, most, support, range, log_kept })
    }

    fn not_a_dist(&mut self, e: &ast::Expr, drawn: &Drawn) -> Option<DistUse> {
        if let Some(d) = self.as_formula(e, &drawn.what) {
            self.diags.push(d);
            return None;
        }
        self.diags.push(
            Code::NOT_A_DISTRIBUTION
                .at(e.span, "a distribution is needed to the right of `~`")
                .here("not a distribution")
                .help("for instance `~ Normal(0, 1)`; a value that is computed is a `let`: `let x = …`"),
        );
        None
    }

    fn unknown_dist(&mut self, name: &str, span: Span) {
        if self.poisoned.contains(name) {
            return;
        }
        let mut d = Code::UNKNOWN_DISTRIBUTION
            .at(span, format!("there is no distribution called `{name}`"))
            .here("not in the library");
        let (near, differs) = match self.family_meant(name) {
            Some((ours, differs)) => (Some(ours), differs),
            None => (nearest(name, self.dist_names()).map(str::to_string), ""),
        };
        if !differs.is_empty() {
            d = d.note(differs);
        }
        d = match near {
            // Another parametrisation is no mere name.
            Some(n) if n.contains('(') => d.help(format!("did you mean `{n}`?")),
            Some(n) => d.meant(n),
            None if self.function(name, &Env::default()).is_some() || builtins::builtin(name).is_some() => {
                d.help(format!("`{name}` is a function; a value that is computed is a `let`: `let x = {name}(…)`"))
            }
            None => d.help(format!("declare one: `dist {name}(…) on real {{ logpdf(x) = … }}`")),
        };
        self.diags.push(d);
    }

    pub(super) fn forms_text(&self, name: &str) -> String {
        if name == "mixture" {
            return "mixture(p, D1, D2)` or `mixture(w, D)".into();
        }
        let forms: Vec<String> = self
            .forms(name)
            .unwrap_or_default()
            .iter()
            .map(|f| {
                let p: Vec<&str> = f.params.iter().map(|p| p.name.name.as_str()).collect();
                format!("{name}({})", p.join(", "))
            })
            .collect();
        if forms.is_empty() { format!("{name}()") } else { forms.join("` or `") }
    }

    /// The form whose parameters have the names that are used; by position, the first with that many.
    fn choose_form(&mut self, name: &str, args: &[Arg], span: Span) -> Option<DistDecl<'a>> {
        let forms = self.forms(name)?.to_vec();
        let named: Vec<&Ident> = args.iter().filter_map(|a| a.name.as_ref()).collect();
        let has = |f: &DistDecl, n: &str| f.params.iter().any(|p| p.name.name == n);
        let fits = |f: &&DistDecl| named.iter().all(|n| has(f, &n.name));
        if let Some(f) = forms.iter().find(|f| fits(f) && f.params.len() == args.len()) {
            return Some(*f);
        }
        if let Some(f) = forms.iter().find(fits) {
            return Some(*f); // wrong count: reported by the matching of arguments
        }
        let all: Vec<&str> = forms.iter().flat_map(|f| f.params.iter().map(|p| p.name.name.as_str())).collect();
        let strangers: Vec<&&Ident> = named.iter().filter(|n| !forms.iter().any(|f| has(f, &n.name))).collect();
        for n in &strangers {
            let d = Code::UNKNOWN_ARGUMENT
                .at(n.span, format!("`{name}` has no argument called `{}`", n.name))
                .here("unknown argument");
            let near = foreign::argument(&n.name, &all).or_else(|| nearest(&n.name, all.iter().copied()));
            let value = args.iter().find(|a| a.name.as_ref().is_some_and(|x| x.span == n.span)).map(|a| &a.value);
            self.diags.push(match (near, n.name.as_str(), value) {
                (None, "var" | "variance" | "sigma2", Some(value)) if all.contains(&"sigma") => {
                    let text = format!("sigma: sqrt({value})");
                    d.help(format!("it takes a standard deviation: `{text}`")).edit(n.span.to(value.span), text)
                }
                (Some(x), ..) => d.help(format!("did you mean `{x}:`?")).edit(n.span, x),
                (None, ..) => d.help(format!("write `{}`", self.forms_text(name))),
            });
        }
        if !strangers.is_empty() {
            return None;
        }
        self.diags.push(
            Code::ARGUMENTS_CLASH
                .at(span, format!("these arguments of `{name}` do not go together"))
                .here("arguments of different forms")
                .help(format!("write `{}`", self.forms_text(name))),
        );
        None
    }

    /// `flat()`: improper uniform on the type.
    fn flat(&mut self, span: Span, args: &[Arg], drawn: &Drawn) -> Option<DistUse> {
        if let Some(a) = args.first() {
            self.diags.push(
                Code::WRONG_ARGUMENT_COUNT
                    .at(a.value.span, "`flat()` takes no arguments: it is uniform on the latent's type")
                    .here("one too many")
                    .help("for a proper uniform prior write `Uniform(a, b)`"),
            );
            return None;
        }
        if drawn.declared.is_none() && drawn.observed.is_some() {
            self.diags.push(
                Code::FLAT_OBSERVED
                    .at(span, "`flat()` cannot be observed: it is not a distribution of data")
                    .here("gives every value the same weight")
                    .help("choose a likelihood, for instance `Normal(mu, sigma)`"),
            );
            return None;
        }
        self.check_joint("flat", false, drawn, span)?;
        let constraint = drawn.declared.as_ref().map_or(Constraint::None, |(_, c)| c.clone());
        Some(DistUse {
            name: "flat".into(),
            span,
            args: vec![],
            x: self.fresh_local(),
            logpdf: number(0.0, Ty::Real, span),
            sample: None,
            mean: None,
            variance: None,
            most: None,
            support: Support { ty: Ty::Real, constraint: constraint.clone() },
            range: constraint,
            log_kept: None,
        })
    }

    /// `~ if c then D1 else D2`: both draw the same kind of value.
    fn choice(&mut self, c: Expr, a: DistUse, b: DistUse, span: Span, drawn: &Drawn) -> Option<DistUse> {
        let ranges = drawn.observed.is_some() && !drawn.missing
            || std::mem::discriminant(&a.range) == std::mem::discriminant(&b.range);
        if a.support.ty != b.support.ty || !ranges {
            let kind = |d: &DistUse, c: &Self| match ranges {
                true => format!("gives {}", c.ty_text(d.support.ty)),
                false => "has a range of its own".into(),
            };
            let at = Code::SUPPORT_MISMATCH
                .at(b.span, format!("`{}` and `{}` do not give the same kind of value", a.name, b.name))
                .here(kind(&b, self))
                .label(a.span, kind(&a, self))
                .help("both sides of `if` need the same support");
            self.diags.push(at);
            return None;
        }
        let allowed = union(&drawn.axes, &drawn.over);
        if is_bad(&c) || !self.check_plates(&c, &allowed, drawn) {
            return None;
        }
        let args: Vec<_> = a.args.iter().chain(&b.args).cloned().collect();
        let differs = c.axes.iter().any(|x| drawn.over.contains(x)).then_some(c.span);
        self.check_ordered_prior("if", &args, differs, drawn)?;
        let either = |a: Expr, b: Expr| Expr { span, ..cut::choose(c.clone(), a, b) };
        let density = |lp: Expr, kept: Option<Expr>| match kept {
            Some(k) => binary(BinOp::Sub, lp, k, Ty::Real, span),
            None => lp,
        };
        let cut = a.log_kept.is_some() || b.log_kept.is_some();
        // One name for the value in both bodies.
        let x_of_a = Expr { kind: ExprKind::Local(a.x), ty: a.support.ty, axes: allowed, span };
        let logpdf = either(density(a.logpdf, a.log_kept), bind(b.x, x_of_a, density(b.logpdf, b.log_kept)));
        let pair = |a: Option<Expr>, b: Option<Expr>| Some(either(a?, b?));
        Some(DistUse {
            name: "if".into(),
            span,
            args,
            x: a.x,
            logpdf,
            sample: if cut { None } else { pair(a.sample, b.sample) },
            mean: pair(a.mean, b.mean),
            variance: pair(a.variance, b.variance),
            most: pair(a.most, b.most),
            support: a.support,
            range: cut::choose_range(&c, a.range, b.range),
            log_kept: None,
        })
    }
}

fn single(axes: &[AxisId]) -> Option<AxisId> {
    if let [one] = axes { Some(*one) } else { None }
}
