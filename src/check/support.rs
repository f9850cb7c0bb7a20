//! Supports and ranges: what a distribution gives, what a type admits, and whether arguments and observations fit.

use super::bounds::Range;
use super::dist::Drawn;
use super::expr::{binary, is_bad, number, walk};
use super::*;
use crate::diag::Code;

/// What a type or a truncation leaves: the range, the log of its probability if that is not one, and the ends that cut.
pub(super) type Cut = (Constraint, Option<Expr>, (Option<Expr>, Option<Expr>));

/// One end of a range.
type End = Option<(Expr, bool)>;

impl<'a> Checker<'a, '_> {
    /// A type's constraint, with bounds in terms of what is in scope. Mistakes in it are reported, once.
    pub(super) fn constraint(&mut self, ty: &'a ast::Type, env: &Env) -> Constraint {
        let base = ty.base.name.as_str();
        let Some(bound) = &ty.bound else {
            return match base {
                "simplex" => Constraint::Simplex,
                "unit_vector" => Constraint::UnitVector,
                "zero_sum" => Constraint::ZeroSum,
                "ordered" => Constraint::Ordered { positive: false },
                _ => MatrixKind::of(base).map_or(Constraint::None, Constraint::Matrix),
            };
        };
        if !matches!(base, "real" | "int" | "ordered") {
            self.diags.push(
                Code::RANGE_MISPLACED
                    .at(ty.span, format!("`{base}` has no range"))
                    .here("only numbers have one")
                    .help(format!("write `{base}`, or declare a `real` or an `int`"))
                    .edit(ty.span, base),
            );
            return Constraint::None;
        }
        match bound {
            ast::Bound::Compare { op, value } => {
                let b = self.expr(value, env);
                let bound = self.numeric(b, "use this as a bound");
                if base == "ordered" {
                    let positive = *op == ast::BinaryOp::Greater && matches!(bound.kind, ExprKind::Number(0.0));
                    return if positive || is_bad(&bound) {
                        Constraint::Ordered { positive }
                    } else {
                        self.ordered_range(ty)
                    };
                }
                use ast::BinaryOp as B;
                // A strict bound on a whole number is the next whole number.
                let step = |op, bound: Expr| {
                    let span = bound.span;
                    if base == "int" { binary(op, bound, number(1.0, Ty::Int, span), Ty::Int, span) } else { bound }
                };
                let real = base == "real";
                let c = match op {
                    B::Greater => Constraint::Lower { bound: step(BinOp::Add, bound), open: real },
                    B::GreaterEq => Constraint::Lower { bound, open: false },
                    B::Less => Constraint::Upper { bound: step(BinOp::Sub, bound), open: real },
                    _ => Constraint::Upper { bound, open: false },
                };
                self.finite(c, ty)
            }
            ast::Bound::Interval { .. } if base == "ordered" => self.ordered_range(ty),
            ast::Bound::Interval { lower, upper, closed } => {
                let (l, u) = (self.expr(lower, env), self.expr(upper, env));
                let (lower, upper) = (self.numeric(l, "use this as a bound"), self.numeric(u, "use this as a bound"));
                let (l, u) = (self.range_in(&lower, env), self.range_in(&upper, env));
                // Ends that are the arguments of a distribution are judged where it is called.
                let called = env.closed() && [&lower, &upper].iter().any(|e| !matches!(e.kind, ExprKind::Number(_)));
                if !called && (l.lower > u.upper || !closed && l.lower >= u.upper) {
                    let (a, b) = (l.lower, u.upper);
                    self.diags.push(
                        Code::EMPTY_RANGE
                            .at(ty.span, format!("no value lies between {a} and {b}"))
                            .here("an empty range")
                            .help(if a > b {
                                format!("the lower end comes first: `in ({b}, {a})`")
                            } else {
                                "the upper end must be above the lower one".into()
                            }),
                    );
                    return Constraint::None;
                }
                self.finite(Constraint::Interval { lower, upper, open: !closed && base == "real" }, ty)
            }
        }
    }

    fn ordered_range(&mut self, ty: &ast::Type) -> Constraint {
        self.diags.push(
            Code::RANGE_MISPLACED
                .at(ty.span, "`ordered` values have no range but `> 0`")
                .here("another range")
                .help("write `ordered` or `ordered > 0`; other ranges by a function of such values, in a `let`"),
        );
        Constraint::Ordered { positive: false }
    }

    /// Ends at infinity are none.
    fn finite(&mut self, c: Constraint, ty: &ast::Type) -> Constraint {
        let (lower, upper) = ends(&c);
        let value = |e: &End| match e {
            Some((Expr { kind: ExprKind::Number(v), .. }, _)) => Some(*v),
            _ => None,
        };
        let nothing = |e: &End, end: f64| {
            value(e).is_some_and(|v| v == end || v.is_nan() && !is_bad(&e.as_ref().expect("it has a value").0))
        };
        if nothing(&lower, f64::INFINITY) || nothing(&upper, f64::NEG_INFINITY) {
            self.diags.push(
                Code::EMPTY_RANGE
                    .at(ty.span, "no number lies in this range")
                    .here("an empty range")
                    .help("remove the range, or give its ends as numbers"),
            );
            return Constraint::None;
        }
        let bounded = |e: End, none: f64| if value(&e) == Some(none) { None } else { e };
        between(bounded(lower, f64::NEG_INFINITY), bounded(upper, f64::INFINITY))
    }

    /// What the distribution gives, as a type and a constraint in terms of the arguments.
    pub(super) fn support(&mut self, form: DistDecl<'a>, inner: &Env) -> Support {
        let constraint = self.constraint(form.support, inner);
        let ty = match (form.support.base.name.as_str(), self.plate_type(form.support, inner)) {
            (_, Some(plate)) => Ty::Index(plate),
            ("bool", _) => Ty::Bool,
            ("int", _) => Ty::Int,
            _ => Ty::Real,
        };
        Support { ty, constraint }
    }

    /// A latent's type cuts its prior's support: the range that is left, and the log of its probability if that is not one.
    pub(super) fn cut(
        &mut self,
        span: Span,
        form: DistDecl<'a>,
        inner: &Env,
        support: &Support,
        drawn: &Drawn,
    ) -> Option<Cut> {
        let whole = || Some((support.constraint.clone(), None, (None, None)));
        let Some((at, declared)) = &drawn.declared else { return whole() };
        let name = &form.name.name;
        let other_kind = match (declared, &support.constraint) {
            (Constraint::None, _) | (Constraint::Simplex, Constraint::Simplex) => return whole(),
            (Constraint::Ordered { positive: a }, Constraint::Ordered { positive: b }) if a == b => return whole(),
            (Constraint::Ordered { positive }, c) => {
                let (range, kept) = self.ordered_cut(*positive, *at, span, form, inner, c)?;
                return Some((range, kept, (None, None)));
            }
            (Constraint::Matrix(a), Constraint::Matrix(b)) if a == b => return whole(),
            (Constraint::UnitVector, Constraint::UnitVector) => return whole(),
            (Constraint::ZeroSum, Constraint::ZeroSum) => return whole(),
            (Constraint::Simplex | Constraint::Matrix(_) | Constraint::UnitVector | Constraint::ZeroSum, _) => true,
            (_, Constraint::Simplex | Constraint::Matrix(_) | Constraint::UnitVector | Constraint::ZeroSum) => true,
            (_, Constraint::Ordered { .. }) => true,
            _ => false,
        };
        if other_kind {
            let d = Code::CANNOT_TRUNCATE
                .at(*at, format!("`{name}` cannot be cut to this type"))
                .here("another kind of value")
                .label(span, "the prior")
                .help("remove the type: the prior alone says which values are possible");
            self.diags.push(match declared {
                Constraint::Simplex => d.help("a simplex is drawn by `Dirichlet(…)` or `flat()`"),
                Constraint::Matrix(MatrixKind::Corr) => {
                    d.help("a correlation matrix is drawn by `LKJ(…)` or `flat()`")
                }
                Constraint::Matrix(MatrixKind::CholeskyCorr) => {
                    d.help("a factor of a correlation matrix is drawn by `LKJCholesky(…)` or `flat()`")
                }
                Constraint::Matrix(MatrixKind::Cov) => {
                    d.help("a covariance matrix is drawn by `InverseWishart(…)` or `flat()`, a precision matrix by `Wishart(…)`")
                }
                Constraint::Matrix(MatrixKind::CholeskyCov) => d.help(
                    "write a covariance by scales and correlations: `MvNormal(m, sd: tau, corr: R)` with `R ~ LKJ(2)`; or `flat()`",
                ),
                Constraint::ZeroSum => d.help("values that sum to 0 are drawn by `ZeroSumNormal(…)` or `flat()`"),
                Constraint::UnitVector => d.help("a unit vector is drawn by `flat()`, uniform on the sphere"),
                _ => d,
            });
            return None;
        }
        let ((dl, du), (sl, su)) = (ends(declared), ends(&support.constraint));
        let (lower, cut_below) = self.tighter(dl, sl, BinOp::Max, inner);
        let (upper, cut_above) = self.tighter(du, su, BinOp::Min, inner);
        if let (Some((l, _)), Some((u, _))) = (&lower, &upper)
            && self.range_in(l, inner).lower >= self.range_in(u, inner).upper
        {
            self.diags.push(
                Code::EMPTY_RANGE
                    .at(*at, format!("no value of `{name}` lies in this range"))
                    .here("nothing is left of the prior")
                    .label(span, "the prior")
                    .help("widen the type, or change the prior"),
            );
            return None;
        }
        if !cut_below && !cut_above {
            return whole();
        }
        let bound = |end: &End, cut: bool| end.as_ref().filter(|_| cut).map(|e| e.0.clone());
        let ends = (bound(&lower, cut_below), bound(&upper, cut_above));
        if support.ty == Ty::Int && drawn.observed.is_none() {
            // A discrete latent's values are summed anyway: what is kept is a sum over them.
            return Some((between(lower, upper), Some(number(0.0, Ty::Real, span)), ends));
        }
        let kept = match support.ty {
            Ty::Int => self.log_kept_counts(form, inner, support, ends.clone(), span),
            _ => self.log_kept(form, inner, ends.0.clone(), ends.1.clone(), span),
        };
        let Some(kept) = kept else {
            let half = match name.as_str() {
                "StudentT" => "; or use `HalfStudentT`",
                _ if self.forms(name).is_some_and(|f| f[0].name.span.file == self.current.file) => {
                    "; or add `cdf(x) = …` to the distribution"
                }
                _ => "",
            };
            let what = if drawn.observed.is_some() { "truncation" } else { "type" };
            self.diags.push(
                Code::CANNOT_TRUNCATE
                    .at(*at, format!("this {what} cuts `{name}`, and how much of its probability is left is not known"))
                    .here("narrower than the prior")
                    .label(span, "has no distribution function")
                    .help(format!("choose a prior on this range{half}; or remove the range")),
            );
            return None;
        };
        Some((between(lower, upper), Some(kept), ends))
    }

    /// A scalar prior on every cell of an `ordered` latent. How probable the order is cancels: where it is a constant.
    fn ordered_cut(
        &mut self,
        positive: bool,
        ty: Span,
        span: Span,
        form: DistDecl<'a>,
        inner: &Env,
        support: &Constraint,
    ) -> Option<(Constraint, Option<Expr>)> {
        let zero = |e: &Expr| matches!(e.kind, ExprKind::Number(0.0));
        let name = &form.name.name;
        let kept = match (positive, support) {
            (false, Constraint::None) => return Some((Constraint::Ordered { positive: false }, None)),
            (_, Constraint::Lower { bound, .. }) if zero(bound) => {
                return Some((Constraint::Ordered { positive: true }, None));
            }
            (true, Constraint::None) => {
                let zero = number(0.0, Ty::Real, span);
                self.log_kept(form, inner, Some(zero), None, span)
            }
            _ => None,
        };
        if kept.is_some() {
            return Some((Constraint::Ordered { positive: true }, kept));
        }
        self.diags.push(
            Code::CANNOT_TRUNCATE
                .at(ty, format!("`{name}` cannot be the prior of ordered values"))
                .here("increasing over its plate")
                .label(span, "the prior")
                .help("choose a prior on the whole line, such as `Normal`, or on positive numbers, such as `Gamma`; or `flat()`"),
        );
        None
    }

    /// The order of values is as probable under any scale and location that they share; where the prior differs by
    /// element, that probability depends on them, and nobody knows it.
    pub(super) fn check_ordered_prior(
        &mut self,
        name: &str,
        args: &[(LocalId, String, Expr)],
        differs: Option<Span>,
        drawn: &Drawn,
    ) -> Option<()> {
        let Some((ty, Constraint::Ordered { .. })) = &drawn.declared else { return Some(()) };
        let varies = |e: &&(LocalId, String, Expr)| e.2.axes.iter().any(|a| drawn.over.contains(a));
        let Some(at) = differs.or_else(|| args.iter().find(varies).map(|a| a.2.span)) else { return Some(()) };
        let Some((var, span)) = args.iter().find_map(|a| self.latent_in(&a.2)) else { return Some(()) };
        let plate = drawn.over.first().map_or("k".into(), |&a| self.plate_name(a).to_string());
        self.diags.push(
            Code::ORDERED_PRIOR
                .at(
                    at,
                    format!(
                        "the prior of ordered values differs by cell of `{plate}` and depends on the {} `{}`",
                        self.word(var),
                        self.hir.var(var).name
                    ),
                )
                .here("differs by element")
                .label(span, "not known before fitting")
                .label(*ty, "increasing values")
                .note(format!(
                    "how probable it is that draws of `{name}` come out in this order is then an unknown function of the latents, by which the density would have to be divided"
                ))
                .help("give every cell the same prior, or one of numbers alone"),
        );
        None
    }

    /// The tighter of a declared end and the support's, and whether the declared one cuts anything off.
    fn tighter(&self, declared: End, support: End, op: BinOp, env: &Env) -> (End, bool) {
        let (d, s) = match (declared, support) {
            (None, s) => return (s, false),
            (Some(d), None) => return (Some(d), true),
            (Some(d), Some(s)) => (d, s),
        };
        let (a, b) = (self.range_in(&d.0, env), self.range_in(&s.0, env));
        // For the upper ends, smaller is tighter.
        let (loose, tight) = match op {
            BinOp::Max => (a.upper <= b.lower, a.lower >= b.upper),
            _ => (a.lower >= b.upper, a.upper <= b.lower),
        };
        if loose {
            return (Some(s), false);
        }
        if tight {
            return (Some(d), true);
        }
        let span = d.0.span;
        (Some((binary(op, d.0, s.0, Ty::Real, span), d.1 && s.1)), true)
    }

    /// A parameter with a restricted domain given a value that leaves it, or may.
    pub(super) fn check_domain(&mut self, param: &'a ast::Param, v: &Expr, name: &str, env: &Env, inner: &Env) {
        let what = &param.name.name;
        let domain = self.constraint(&param.ty, inner);
        let open = matches!(
            domain,
            Constraint::Lower { open: true, .. }
                | Constraint::Upper { open: true, .. }
                | Constraint::Interval { open: true, .. }
        );
        let wanted = match &domain {
            Constraint::None | Constraint::UnitVector | Constraint::ZeroSum => return,
            Constraint::Ordered { .. } => return self.check_increasing(what, v, name),
            Constraint::Matrix(kind) => return self.check_matrix(what, *kind, v, name),
            Constraint::Simplex => return self.check_simplex(what, v, name),
            c => self.range_of(c, Ty::Real, inner),
        };
        let got = self.range_in(v, env);
        let beyond = got.upper < wanted.lower || got.lower > wanted.upper;
        if beyond || open && (got.upper <= wanted.lower || got.lower >= wanted.upper) {
            let is = if got.lower == got.upper { format!("this is {}", got.lower) } else { "this never is".into() };
            self.diags.push(
                Code::DOMAIN
                    .at(v.span, format!("`{what}` of `{name}` must be {}, and {is}", domain_text(wanted, open)))
                    .here(format!("not {}", domain_text(wanted, open)))
                    .help(match what.as_str() {
                        "sigma" => "a scale is a standard deviation: a positive number".into(),
                        _ => format!("check the order of the arguments: `{}`", self.forms_text(name)),
                    }),
            );
            return;
        }
        if got.lower >= wanted.lower && got.upper <= wanted.upper {
            if open && got.lower == wanted.lower {
                self.discrete_at_edge(what, name, v, got.lower);
            }
            return;
        }
        let link = self.link(name);
        if let (Some(ty), true) = (self.free_result(v), got == Range::ALL) {
            let d = Code::DOMAIN
                .at(
                    v.span,
                    format!(
                        "`{what}` of `{name}` must be {}, and this head of a net can be any number",
                        domain_text(wanted, open)
                    ),
                )
                .here(format!("may not be {}", domain_text(wanted, open)))
                .label(ty, "declared here");
            let positive = wanted.upper == f64::INFINITY;
            self.diags.push(match link {
                Some(link) => d.help(format!("pass it by its link: `{name}({link}: …)`")),
                None if positive => d.help("declare the head `real > 0`"),
                None => d.help("declare the head `real in (0, 1)`"),
            });
            return;
        }
        // A latent used directly as a scale, though it may be negative. Data are judged by their values, when bound.
        if let ExprKind::Read { var, .. } = &v.kind {
            let x = self.hir.var(*var);
            if !matches!(x.kind, VarKind::Latent | VarKind::Param { .. }) {
                return;
            }
            let word = if matches!(x.kind, VarKind::Latent) { "latent" } else { "param" };
            let d = Code::DOMAIN
                .at(
                    v.span,
                    format!(
                        "`{what}` of `{name}` must be {}, and the {word} `{}` {}",
                        domain_text(wanted, open),
                        x.name,
                        if got == Range::ALL { "can be any number" } else { "can lie outside" }
                    ),
                )
                .here(format!("may not be {}", domain_text(wanted, open)))
                .label(x.span, "declared here");
            let x = &x.name;
            let d = match (wanted.upper == f64::INFINITY, word) {
                (true, "latent") => d.help(format!(
                    "give it a positive prior, `latent {x} ~ HalfNormal(1)`, or a type, `latent {x}: real > 0 ~ …`"
                )),
                (true, _) => d.help(format!("give it a type: `param {x}: real > 0 = …`")),
                (false, _) => {
                    let prior = match word {
                        "latent" => format!("give it a prior on (0, 1), `latent {x} ~ Beta(1, 1)`"),
                        _ => format!("give it a type, `param {x}: real in (0, 1) = …`"),
                    };
                    match link {
                        Some(link) => d.help(format!("{prior}, or pass a link: `{name}({link}: {x})`")),
                        None => d.help(prior),
                    }
                }
            };
            self.diags.push(d);
            return;
        }
        // A linear predictor without its link: not certain to be wrong, since ranges are bounds only.
        let linear = matches!(v.kind, ExprKind::Binary(BinOp::Add | BinOp::Sub | BinOp::Mul, ..));
        if linear && got == Range::ALL && self.latent_in(v).is_some() {
            let d = Code::MAY_LEAVE_DOMAIN
                .at(
                    v.span,
                    format!("`{what}` of `{name}` must be {}, and this can be any number", domain_text(wanted, open)),
                )
                .here(format!("may not be {}", domain_text(wanted, open)));
            self.diags.push(match (link, wanted.upper == f64::INFINITY) {
                (Some(link), _) => d.help(format!("write it with a link: `{name}({link}: …)`")),
                (None, true) => d.help("write `exp(…)` around it to keep it positive"),
                (None, false) => d.help("write `inv_logit(…)` around it to keep it between 0 and 1"),
            });
        }
    }

    /// Cutpoints that are a latent of their own must be ordered.
    fn check_increasing(&mut self, what: &str, v: &Expr, name: &str) {
        let ExprKind::Read { var, .. } = &v.kind else { return };
        let x = self.hir.var(*var);
        let latent = matches!(x.kind, VarKind::Latent | VarKind::Param { .. });
        if !latent || matches!(x.constraint, Constraint::Ordered { .. }) {
            return;
        }
        let plate = x.axes.last().map_or("cut".into(), |&a| self.plate_name(a).to_string());
        let d = Code::DOMAIN
            .at(v.span, format!("`{what}` of `{name}` must increase, and `{}` need not", x.name))
            .here("need not increase")
            .label(x.span, "declared here")
            .help(format!("write `latent {} over {plate}: ordered ~ Normal(0, 3)`", x.name));
        self.diags.push(d);
    }

    /// Probabilities that are a latent of their own must be a simplex.
    fn check_simplex(&mut self, what: &str, v: &Expr, name: &str) {
        let ExprKind::Read { var, .. } = &v.kind else { return };
        let x = self.hir.var(*var);
        if !matches!(x.kind, VarKind::Latent | VarKind::Param { .. }) || matches!(x.constraint, Constraint::Simplex) {
            return;
        }
        let plate = x.axes.last().map_or("k".into(), |&a| self.plate_name(a).to_string());
        let d = Code::DOMAIN
            .at(v.span, format!("`{what}` of `{name}` must be probabilities that sum to 1, and `{}` need not", x.name))
            .here("need not sum to 1")
            .label(x.span, "declared here")
            .help(format!("write `latent {0} over {plate} ~ Dirichlet(1)`, or pass `{name}(logit: {0})`", x.name));
        self.diags.push(d);
    }

    /// The link by which a distribution takes a linear predictor, if it has one.
    fn link(&self, name: &str) -> Option<&'a str> {
        let forms = self.forms(name)?;
        let links = forms.iter().flat_map(|f| f.params).map(|p| p.name.name.as_str());
        links.into_iter().find(|n| matches!(*n, "logit" | "log"))
    }

    /// An observation must be something that the distribution can give.
    pub(super) fn check_observed(&mut self, name: &str, span: Span, support: &Support, drawn: &Drawn) -> Option<()> {
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

    /// Parts of a constraint that vary over more than the value itself does.
    pub(super) fn check_ends(&mut self, c: &Constraint, drawn: &Drawn) -> bool {
        let allowed = union(&drawn.axes, &drawn.over);
        let (lower, upper) = ends(c);
        lower.into_iter().chain(upper).all(|(e, _)| !is_bad(&e) && self.check_plates(&e, &allowed, drawn))
    }
}

fn ends(c: &Constraint) -> (End, End) {
    match c {
        Constraint::Lower { bound, open } => (Some((bound.clone(), *open)), None),
        Constraint::Upper { bound, open } => (None, Some((bound.clone(), *open))),
        Constraint::Interval { lower, upper, open } => (Some((lower.clone(), *open)), Some((upper.clone(), *open))),
        Constraint::None
        | Constraint::Simplex
        | Constraint::Matrix(_)
        | Constraint::UnitVector
        | Constraint::ZeroSum
        | Constraint::Ordered { .. } => (None, None),
    }
}

fn between(lower: End, upper: End) -> Constraint {
    match (lower, upper) {
        (None, None) => Constraint::None,
        (Some((bound, open)), None) => Constraint::Lower { bound, open },
        (None, Some((bound, open))) => Constraint::Upper { bound, open },
        (Some((lower, a)), Some((upper, b))) => Constraint::Interval { lower, upper, open: a && b },
    }
}

/// Whether a constraint reads anything, so that it cannot be printed as numbers.
pub(crate) fn reads(c: &Constraint, f: &mut dyn FnMut(VarId)) {
    let (lower, upper) = ends(c);
    for (e, _) in lower.into_iter().chain(upper) {
        walk(&e, &mut |e| {
            if let ExprKind::Read { var, .. } = &e.kind {
                f(*var);
            }
        });
    }
}

fn domain_text(r: Range, open: bool) -> String {
    match (r.lower, r.upper) {
        (l, u) if u == f64::INFINITY && l == 0.0 => if open { "positive" } else { "zero or more" }.into(),
        (l, u) if u == f64::INFINITY => {
            if open {
                format!("above {l}")
            } else {
                format!("{l} or more")
            }
        }
        (l, u) if l == f64::NEG_INFINITY => {
            if open {
                format!("below {u}")
            } else {
                format!("{u} or less")
            }
        }
        (l, u) => format!("between {l} and {u}"),
    }
}
