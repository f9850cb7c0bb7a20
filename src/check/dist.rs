//! Distributions to the right of `~`: which form is meant, whether it fits, and its density in terms of the arguments.

use super::bounds::Range;
use super::expr::{binary, bind, is_bad, number, walk};
use super::*;
use crate::diag::{Code, nearest};
use crate::syntax::ast::{Arg, ExprKind as A};

/// The left side of `~`.
pub(super) struct Drawn<'a> {
    /// `latent theta` or `observe y`, for messages.
    pub what: String,
    pub span: Span,
    /// Independent per cell of these.
    pub axes: Vec<AxisId>,
    pub over: Vec<AxisId>,
    /// The type written, for a latent.
    pub declared: Option<&'a ast::Type>,
    /// The type of the value, for an observation.
    pub observed: Option<Ty>,
}

/// Distributions that the language has and this version does not.
const LATER_DISTS: &[&str] = &[
    "MvNormal",
    "LKJ",
    "OrderedLogistic",
    "ZeroSumNormal",
    "Multinomial",
    "Delta",
    "truncated",
    "censored",
    "mixture",
];

/// What other languages call a distribution of ours.
const FOREIGN: &[(&str, &str)] = &[
    ("gaussian", "Normal"),
    ("norm", "Normal"),
    ("dnorm", "Normal"),
    ("student_t", "StudentT"),
    ("t", "StudentT"),
    ("double_exponential", "Laplace"),
    ("lognormal", "LogNormal"),
    ("inv_gamma", "InvGamma"),
    ("inversegamma", "InvGamma"),
    ("neg_binomial_2", "NegBinomial"),
    ("negativebinomial", "NegBinomial"),
    ("bernoulli_logit", "Bernoulli(logit: …)"),
    ("binomial_logit", "Binomial(n, logit: …)"),
    ("poisson_log", "Poisson(log: …)"),
    ("categorical_logit", "Categorical(logit: …)"),
    ("half_normal", "HalfNormal"),
    ("half_cauchy", "HalfCauchy"),
];

impl<'a> Checker<'a, '_> {
    pub(super) fn dist(&mut self, e: &'a ast::Expr, drawn: &Drawn<'a>, env: &Env) -> Option<DistUse> {
        let (name, name_span, args): (&'a str, Span, &'a [Arg]) = match &e.kind {
            A::Call { callee, args } => match &callee.kind {
                A::Name(n) => (n, callee.span, args),
                _ => return self.not_a_dist(e),
            },
            A::If { condition, then, otherwise } => {
                let c = self.expr(condition, env);
                let c = self.data_condition(c);
                let (a, b) = (self.dist(then, drawn, env)?, self.dist(otherwise, drawn, env)?);
                return self.choice(c, a, b, e.span);
            }
            A::Name(n) if self.dists.contains_key(n.as_str()) => {
                self.diags.push(
                    Code::WRONG_ARGUMENT_COUNT
                        .at(e.span, format!("the distribution `{n}` has no arguments here"))
                        .help(format!("write `{}`", self.forms_text(n))),
                );
                return None;
            }
            A::Error => return None,
            _ => return self.not_a_dist(e),
        };
        if name == "flat" {
            return self.flat(e.span, args, drawn, env);
        }
        if !self.dists.contains_key(name) {
            self.unknown_dist(name, name_span);
            return None;
        }
        let form = self.choose_form(name, args, e.span)?;
        let matched = self.match_arguments(e.span, name, form.params, args, form.name.span)?;
        let all = union(&drawn.axes, &drawn.over);
        let arg_env = Env { list_axis: single(&all), context: all.clone(), ..env.clone() };
        let values: Vec<Expr> = matched.iter().map(|a| self.expr(&a.value, &arg_env)).collect();
        if values.iter().any(is_bad) {
            return None;
        }
        let values: Vec<Expr> = form
            .params
            .iter()
            .zip(values)
            .map(|(p, v)| self.numeric(v, &format!("pass this as `{}` of `{name}`", p.name.name)))
            .collect();
        let generic = self.dist_plates(e.span, form, &values, drawn)?;
        let generic_axes: Vec<AxisId> = generic.iter().map(|g| g.1).collect();
        let joint = !form.support.axes.is_empty();
        self.check_joint(form, joint, drawn, e.span)?;
        let mut fits = true;
        for v in &values {
            fits &= self.check_plates(v, &union(&all, &generic_axes), drawn);
        }
        if !fits {
            return None;
        }
        // The bodies see the arguments as locals.
        let mut inner = Env { plates: generic, closed: true, context: all.clone(), ..Env::default() };
        let mut bound = vec![];
        for (param, v) in form.params.iter().zip(values) {
            self.check_domain(param, &v, name, env, &inner);
            let id = self.fresh_local();
            let mut axes = v.axes.clone();
            for a in &param.ty.axes {
                if let Some(x) = self.axis_named(&a.plate, &inner) {
                    axes = union(&axes, &[x]);
                }
            }
            let range = self.range_in(&v, env);
            inner.locals.push((param.name.name.clone(), Local { id, ty: v.ty, axes, range }));
            bound.push((id, param.name.name.clone(), v));
        }
        let support = self.support(form, &inner);
        self.check_observed(name, name_span, &support, drawn)?;
        self.finish(e.span, form, bound, inner, support, joint, drawn, env)
    }

    /// Elaborate `logpdf`, `sample` and the truncation of one form.
    #[allow(clippy::too_many_arguments)]
    fn finish(
        &mut self,
        span: Span,
        form: DistDecl<'a>,
        args: Vec<(LocalId, String, Expr)>,
        inner: Env,
        support: Support,
        joint: bool,
        drawn: &Drawn<'a>,
        env: &Env,
    ) -> Option<DistUse> {
        let name = form.name.name.clone();
        let x_axes = union(&drawn.axes, &drawn.over);
        let x = self.fresh_local();
        let Some(item) = form.items.iter().find(|i| i.name.name == "logpdf") else {
            self.diags.push(
                Code::DIST_WITHOUT_DENSITY
                    .at(form.name.span, format!("the distribution `{name}` has no `logpdf`"))
                    .help("add `logpdf(x) = …`"),
            );
            return None;
        };
        let Some(arg) = &item.arg else {
            self.diags.push(
                Code::DIST_WITHOUT_DENSITY
                    .at(item.name.span, format!("`logpdf` of `{name}` needs a name for its value"))
                    .help("write `logpdf(x) = …`"),
            );
            return None;
        };
        let range = match (&support.constraint, support.ty) {
            (_, Ty::Bool) => Range { lower: 0.0, upper: 1.0 },
            (Constraint::Lower { bound, .. }, _) => {
                Range { lower: self.range_in(bound, &inner).lower, upper: f64::INFINITY }
            }
            _ => Range::ALL,
        };
        let mut with_x = inner.clone();
        with_x.locals.push((arg.name.clone(), Local { id: x, ty: support.ty, axes: x_axes.clone(), range }));
        let logpdf = self.expr(&item.value, &with_x);
        let logpdf = self.numeric(logpdf, "use this as a log density");
        if is_bad(&logpdf) {
            return None;
        }
        if joint && logpdf.axes.iter().any(|a| drawn.over.contains(a)) {
            self.diags.push(
                Code::DIST_WITHOUT_DENSITY
                    .at(
                        item.value.span,
                        format!("the log density of `{name}` still varies over the plate that it is joint over"),
                    )
                    .help("sum over the plate: `sum(… over K)`"),
            );
            return None;
        }
        let (range, log_kept) = self.cut(form, &args, &inner, &support.constraint, drawn, (span, env));
        let value = Expr { kind: ExprKind::Local(x), ty: support.ty, axes: x_axes.clone(), span };
        let logpdf = match (drawn.observed, self.inside(&value, &support.constraint, &args)) {
            (Some(_), Some(inside)) => cut::choose(inside, logpdf, number(f64::NEG_INFINITY, Ty::Real, span)),
            _ => logpdf,
        };
        // A joint draw has noise per cell of its parameters' plates only; else every cell has its own.
        let noise = Env { noise: true, context: if joint { drawn.axes.clone() } else { x_axes }, ..inner.clone() };
        let mut item = |name: &str, env: &Env| {
            let i = form.items.iter().find(|i| i.name.name == name)?;
            // What the library gives is of the whole distribution.
            log_kept.is_none().then(|| self.expr(&i.value, env))
        };
        let (sample, mean, variance) = (item("sample", &noise), item("mean", &inner), item("variance", &inner));
        Some(DistUse { name, span, args, x, logpdf, sample, mean, variance, support, range, log_kept })
    }

    fn not_a_dist(&mut self, e: &ast::Expr) -> Option<DistUse> {
        self.diags.push(
            Code::NOT_A_DISTRIBUTION
                .at(e.span, "a distribution is needed to the right of `~`")
                .here("not a distribution")
                .help("for instance `~ Normal(0, 1)`; a value that is computed is a `let`: `let x = …`"),
        );
        None
    }

    fn unknown_dist(&mut self, name: &str, span: Span) {
        if LATER_DISTS.contains(&name) {
            self.diags.push(
                Code::NOT_YET_DIST
                    .at(span, format!("`{name}` belongs to a part of the language that this version does not have yet"))
                    .here("parsed, but without meaning so far"),
            );
            return;
        }
        let mut d = Code::UNKNOWN_DISTRIBUTION
            .at(span, format!("there is no distribution called `{name}`"))
            .here("not in the library");
        let lower = name.to_lowercase();
        let foreign = FOREIGN.iter().find(|(f, _)| *f == lower).map(|x| x.1.to_string());
        let mut names: Vec<&str> = self.dists.keys().copied().collect();
        names.sort_unstable();
        let same = names.iter().find(|n| n.to_lowercase() == lower.replace('_', "")).map(|n| n.to_string());
        d = match same.or(foreign).or_else(|| nearest(name, names).map(str::to_string)) {
            Some(n) => d.help(format!("did you mean `{n}`?")),
            None if self.fns.contains_key(name) || builtins::builtin(name).is_some() => {
                d.help(format!("`{name}` is a function; a value that is computed is a `let`: `let x = {name}(…)`"))
            }
            None => d.help(format!("declare one: `dist {name}(…) on real {{ logpdf(x) = … }}`")),
        };
        self.diags.push(d);
    }

    fn forms_text(&self, name: &str) -> String {
        let forms: Vec<String> = self.dists[name]
            .iter()
            .map(|f| {
                let p: Vec<&str> = f.params.iter().map(|p| p.name.name.as_str()).collect();
                format!("{name}({})", p.join(", "))
            })
            .collect();
        forms.join("` or `")
    }

    /// The form whose parameters have the names that are used; by position, the first with that many.
    fn choose_form(&mut self, name: &str, args: &[Arg], span: Span) -> Option<DistDecl<'a>> {
        let forms = self.dists[name].clone();
        let named: Vec<&Ident> = args.iter().filter_map(|a| a.name.as_ref()).collect();
        let has = |f: &DistDecl, n: &str| f.params.iter().any(|p| p.name.name == n);
        let fits = |f: &&DistDecl| named.iter().all(|n| has(f, &n.name));
        if let Some(f) = forms.iter().find(|f| fits(f) && f.params.len() == args.len()) {
            return Some(*f);
        }
        if let Some(f) = forms.iter().find(fits) {
            return Some(*f); // wrong count: reported by the matching of arguments
        }
        for n in &named {
            if !forms.iter().any(|f| has(f, &n.name)) {
                let all: Vec<&str> = forms.iter().flat_map(|f| f.params.iter().map(|p| p.name.name.as_str())).collect();
                let mut d = Code::UNKNOWN_ARGUMENT
                    .at(n.span, format!("`{name}` has no argument called `{}`", n.name))
                    .here("unknown argument");
                d = match nearest(&n.name, all) {
                    Some(x) => d.help(format!("did you mean `{x}:`?")),
                    None => d.help(format!("write `{}`", self.forms_text(name))),
                };
                self.diags.push(d);
                return None;
            }
        }
        self.diags.push(
            Code::ARGUMENTS_CLASH
                .at(span, format!("these arguments of `{name}` do not go together"))
                .help(format!("write `{}`", self.forms_text(name))),
        );
        None
    }

    /// What each plate parameter of a joint distribution or of `Categorical` stands for.
    fn dist_plates(
        &mut self,
        span: Span,
        form: DistDecl<'a>,
        values: &[Expr],
        drawn: &Drawn,
    ) -> Option<Vec<(String, AxisId)>> {
        let mut out = vec![];
        for p in form.plates {
            let mut candidates = vec![];
            for (q, v) in form.params.iter().zip(values) {
                if q.ty.axes.iter().any(|a| a.plate.name == p.name) {
                    let extra = minus(&v.axes, &drawn.axes);
                    candidates = union(&candidates, &extra);
                }
            }
            if let ([], [one]) = (candidates.as_slice(), drawn.over.as_slice()) {
                candidates.push(*one);
            }
            if let ([], Some(Ty::Index(plate))) = (candidates.as_slice(), drawn.observed) {
                candidates.push(self.hir.plate(plate).axis);
            }
            match candidates.as_slice() {
                [one] => out.push((p.name.clone(), *one)),
                [] => {
                    self.diags.push(
                        Code::JOINT_WITHOUT_PLATE
                            .at(
                                span,
                                format!(
                                    "`{}` is a distribution over the cells of a plate, and no plate is named here",
                                    form.name.name
                                ),
                            )
                            .label(drawn.span, "draws a single number")
                            .help(format!("say over which: `{} over k ~ {}(…)`", drawn.what, form.name.name)),
                    );
                    return None;
                }
                several => {
                    let text = self.axes_text(several);
                    self.diags.push(
                        Code::PLATE_MISMATCH
                            .at(
                                span,
                                format!("the arguments of `{}` vary over {text}: one plate too many", form.name.name),
                            )
                            .label(drawn.span, format!("varies over {}", self.axes_text(&drawn.axes)))
                            .help("index the argument by a key, so that one plate remains"),
                    );
                    return None;
                }
            }
        }
        Some(out)
    }

    /// `[P]` is independent, `over P` is joint: a joint distribution needs `over`, and `over` with one plate fits it.
    fn check_joint(&mut self, form: DistDecl, joint: bool, drawn: &Drawn, span: Span) -> Option<()> {
        if joint && drawn.over.is_empty() {
            let name = &form.name.name;
            let text = self.axes_text(&drawn.axes);
            self.diags.push(
                Code::JOINT_ON_INDEPENDENT
                    .at(span, format!("`{name}` draws all cells of a plate together"))
                    .label(
                        drawn.span,
                        if drawn.axes.is_empty() {
                            "draws a single number".into()
                        } else {
                            format!("independent per cell of {text}")
                        },
                    )
                    .help(format!("write the plate after `over`: `{} over plate ~ {name}(…)`", drawn.what)),
            );
            return None;
        }
        let typed =
            drawn.declared.is_some_and(|t| matches!(t.base.name.as_str(), "ordered" | "simplex" | "corr" | "cov"));
        if !joint && !drawn.over.is_empty() && !typed && drawn.what.starts_with("latent") {
            let text = self.axes_text(&drawn.over);
            self.diags.push(
                Code::OVER_ON_SCALAR
                    .at(
                        drawn.span,
                        format!("`over` {text} means jointly, and `{}` draws one number per cell", form.name.name),
                    )
                    .label(span, "independent per cell")
                    .help(format!("write `[{}]` in place of `over {0}`", text.trim_matches('`'))),
            );
            return None;
        }
        Some(())
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
        let context = if allowed.is_empty() {
            "a single number".to_string()
        } else {
            format!("one value per cell of {}", self.axes_text(allowed))
        };
        let (name, span, declared) = match culprit {
            Some((var, span)) => {
                let x = self.hir.var(var);
                (format!("`{}`", x.name), span, Some(x.span))
            }
            None => ("this".into(), v.span, None),
        };
        let mut d = Code::PLATE_MISMATCH
            .at(span, format!("{name} varies over `{plate}`, and `{}` does not", drawn.what))
            .here(format!("one value per cell of `{plate}`"))
            .label(drawn.span, format!("{context} is needed here"));
        if let Some(at) = declared {
            d = d.label(at, format!("declared over `{plate}` here"));
        }
        // A key that leads from the context to the plate.
        let key =
            self.hir.vars.iter().find(|x| {
                x.ty == Ty::Index(target) && !x.axes.is_empty() && x.axes.iter().all(|a| allowed.contains(a))
            });
        let bare = name.trim_matches('`').to_string();
        d = match key {
            Some(k) => d.help(format!("index it: `{bare}[{}]`", k.name)),
            None => match self.sum_candidate(v, axis) {
                Some(_) => d.help(format!("sum over the plate: `sum(… over {plate})`, or pick a cell: `{bare}[…]`")),
                None => d.help(format!(
                    "pick a cell, `{bare}[…]`, sum over it, `sum({bare} over {plate})`, or declare `{}` over `{plate}`",
                    drawn.what
                )),
            },
        };
        self.diags.push(d);
        false
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

    /// A parameter with a restricted domain given a value that may leave it.
    fn check_domain(&mut self, param: &'a ast::Param, v: &Expr, name: &str, env: &Env, inner: &Env) {
        let what = &param.name.name;
        if param.ty.base.name == "int" && v.ty == Ty::Real {
            self.diags.push(
                Code::DOMAIN
                    .at(v.span, format!("`{what}` of `{name}` is a whole number, and this is real"))
                    .help("declare the column `int`, or use `round(…)`"),
            );
            return;
        }
        let wanted = match self.constraint(&param.ty, inner) {
            Constraint::Lower { bound, .. } => {
                Range { lower: self.range_in(&bound, inner).lower, upper: f64::INFINITY }
            }
            Constraint::Interval { lower, upper, .. } => {
                Range { lower: self.range_in(&lower, inner).lower, upper: self.range_in(&upper, inner).upper }
            }
            _ => return,
        };
        let open = matches!(self.constraint(&param.ty, inner), Constraint::Lower { open: true, .. });
        let got = self.range_in(v, env);
        let outside = got.upper < wanted.lower || got.lower > wanted.upper || (open && got.upper <= wanted.lower);
        if outside {
            self.diags.push(
                Code::DOMAIN
                    .at(
                        v.span,
                        format!("`{what}` of `{name}` must be {}, and this never is", domain_text(wanted, open)),
                    )
                    .help(if what == "sigma" {
                        "a scale is a standard deviation: a positive number"
                    } else {
                        "check the order of the arguments"
                    }),
            );
            return;
        }
        // A latent used directly as a scale, though it may be negative. Data are judged by their values, when bound.
        if let ExprKind::Read { var, .. } = &v.kind
            && (got.lower < wanted.lower || got.upper > wanted.upper)
            && matches!(self.hir.var(*var).kind, VarKind::Latent | VarKind::Param { .. })
        {
            let x = self.hir.var(*var);
            let d = Code::DOMAIN
                .at(
                    v.span,
                    format!(
                        "`{what}` of `{name}` must be {}, and the latent `{}` can be any number",
                        domain_text(wanted, open),
                        x.name
                    ),
                )
                .here(format!("may not be {}", domain_text(wanted, open)))
                .label(x.span, "declared here");
            let d = if wanted.upper == f64::INFINITY {
                d.help(format!(
                    "give it a positive prior, `latent {0} ~ HalfNormal(1)`, or a type, `latent {0}: real > 0 ~ …`",
                    x.name
                ))
            } else {
                d.help(format!(
                    "give it a prior on (0, 1), `latent {0} ~ Beta(1, 1)`, or pass a logit: `{name}(logit: {0})`",
                    x.name
                ))
            };
            self.diags.push(d);
        }
    }

    /// What the distribution gives, as a type and a constraint in terms of the arguments.
    fn support(&mut self, form: DistDecl<'a>, inner: &Env) -> Support {
        let constraint = self.constraint(form.support, inner);
        let ty = match form.support.base.name.as_str() {
            "bool" => Ty::Bool,
            "int" => Ty::Int,
            n => match inner.plates.iter().find(|(p, _)| p == n) {
                Some((_, axis)) => Ty::Index(self.plate_of(*axis)),
                None => Ty::Real,
            },
        };
        Support { ty, constraint }
    }

    /// An observation must be something that the distribution can give.
    fn check_observed(&mut self, name: &str, span: Span, support: &Support, drawn: &Drawn) -> Option<()> {
        let Some(ty) = drawn.observed else { return Some(()) };
        let fits = match (support.ty, ty) {
            (Ty::Index(a), Ty::Index(b)) => a == b,
            (Ty::Real, Ty::Real | Ty::Int | Ty::Bool) | (Ty::Int, Ty::Int | Ty::Bool) | (Ty::Bool, Ty::Bool) => true,
            _ => false,
        };
        if fits {
            return Some(());
        }
        let gives = self.ty_text(support.ty);
        let is = self.ty_text(ty);
        let d = Code::SUPPORT_MISMATCH
            .at(span, format!("`{name}` gives {gives}, and what is observed is {is}"))
            .here(format!("gives {gives}"))
            .label(drawn.span, is);
        let d = match (support.ty, ty) {
            (Ty::Bool, Ty::Int | Ty::Real) => {
                d.help("declare the column `bool` if its cells are 0/1, yes/no or true/false")
            }
            (Ty::Int, Ty::Real) => {
                d.help("declare the column `int` if it holds counts, or use a continuous distribution such as `Normal`")
            }
            (Ty::Index(_), Ty::Index(_)) => {
                d.help("the probabilities must vary over the plate of the observed category")
            }
            (Ty::Index(_), _) => d.help("declare the column `category`"),
            (_, Ty::Index(_)) => d.help("declare the column `bool` or `int`, or use `Categorical`"),
            _ => d.help("use a distribution for this type of data"),
        };
        self.diags.push(d);
        None
    }

    pub(super) fn ty_text(&self, ty: Ty) -> String {
        match ty {
            Ty::Real => "a real number".into(),
            Ty::Int => "a whole number".into(),
            Ty::Bool => "true or false".into(),
            Ty::Index(p) => format!("a cell of `{}`", self.hir.plate(p).name),
            Ty::Key => "a row label".into(),
            Ty::Date => "a date".into(),
        }
    }

    /// `flat()`: improper uniform on the type.
    fn flat(&mut self, span: Span, args: &[Arg], drawn: &Drawn<'a>, env: &Env) -> Option<DistUse> {
        if let Some(a) = args.first() {
            self.diags.push(
                Code::WRONG_ARGUMENT_COUNT
                    .at(a.value.span, "`flat()` takes no arguments: it is uniform on the latent's type")
                    .help("for a proper uniform prior write `Uniform(a, b)`"),
            );
            return None;
        }
        if drawn.declared.is_none() && drawn.observed.is_some() {
            self.diags.push(
                Code::FLAT_OBSERVED
                    .at(span, "`flat()` cannot be observed: it is not a distribution of data")
                    .help("choose a likelihood, for instance `Normal(mu, sigma)`"),
            );
            return None;
        }
        let constraint = drawn.declared.map_or(Constraint::None, |t| self.constraint(t, env));
        Some(DistUse {
            name: "flat".into(),
            span,
            args: vec![],
            x: self.fresh_local(),
            logpdf: number(0.0, Ty::Real, span),
            sample: None,
            mean: None,
            variance: None,
            support: Support { ty: Ty::Real, constraint: constraint.clone() },
            range: constraint,
            log_kept: None,
        })
    }

    /// `~ if c then D1 else D2`: both draw the same kind of value.
    fn choice(&mut self, c: Expr, a: DistUse, b: DistUse, span: Span) -> Option<DistUse> {
        let same = a.support.ty == b.support.ty && std::mem::discriminant(&a.range) == std::mem::discriminant(&b.range);
        if !same {
            self.diags.push(
                Code::SUPPORT_MISMATCH
                    .at(b.span, format!("`{}` and `{}` do not give the same kind of value", a.name, b.name))
                    .label(a.span, format!("gives {}", self.ty_text(a.support.ty)))
                    .help("both sides of `if` need the same support"),
            );
            return None;
        }
        let density = |lp: Expr, kept: Option<Expr>| match kept {
            Some(k) => binary(BinOp::Sub, lp, k, Ty::Real, span),
            None => lp,
        };
        let pick = |a: Expr, b: Expr| {
            let ty = a.ty;
            Expr { ty, span, ..cut::choose(c.clone(), a, b) }
        };
        // One name for the value in both bodies.
        let x_of_a = Expr { kind: ExprKind::Local(a.x), ty: a.support.ty, axes: vec![], span };
        let second = bind(b.x, x_of_a, density(b.logpdf, b.log_kept));
        Some(DistUse {
            name: "if".into(),
            span,
            x: a.x,
            logpdf: pick(density(a.logpdf, a.log_kept), second),
            sample: a.sample.zip(b.sample).map(|(a, b)| pick(a, b)),
            mean: a.mean.zip(b.mean).map(|(a, b)| pick(a, b)),
            variance: a.variance.zip(b.variance).map(|(a, b)| pick(a, b)),
            support: Support { ty: a.support.ty, constraint: a.support.constraint },
            range: cut::choose_range(&c, a.range, b.range),
            args: a.args.into_iter().chain(b.args).collect(),
            log_kept: None,
        })
    }
}

fn single(axes: &[AxisId]) -> Option<AxisId> {
    if let [one] = axes { Some(*one) } else { None }
}

fn domain_text(r: Range, open: bool) -> String {
    match (r.lower, r.upper) {
        (l, u) if u == f64::INFINITY && l == 0.0 => if open { "positive" } else { "zero or more" }.into(),
        (l, u) if u == f64::INFINITY => format!("above {l}"),
        (l, u) => format!("between {l} and {u}"),
    }
}
