//! `mixture(p, D1, D2)` and `mixture(w, D)`: the component is summed out, in log space.

use super::cut::{choose, ends};
use super::dist::Drawn;
use super::expr::{binary, bind, is_bad, number, unary};
use super::*;
use crate::diag::Code;
use crate::syntax::ast::{Arg, ExprKind as A};

/// With what probability each component is drawn.
struct Weights {
    /// Bound before the components.
    arg: (LocalId, String, Expr),
    /// The axis of the components: a hidden one for two, or that of the weights.
    over: AxisId,
    /// Log probabilities: of the first and of the second, or one that varies over `over`.
    logs: Vec<Expr>,
}

impl<'a> Checker<'a, '_> {
    pub(super) fn mixture(&mut self, span: Span, args: &'a [Arg], drawn: &Drawn, env: &Env) -> Option<DistUse> {
        let (weight, parts) = match args {
            [w, d @ ..] if matches!(d.len(), 1 | 2) && d.iter().all(|a| a.name.is_none()) => (w, d),
            _ => {
                self.diags.push(
                    Code::WRONG_ARGUMENT_COUNT
                        .at(span, "`mixture` takes a probability and two distributions, or probabilities over a plate and one")
                        .here("not of this form")
                        .help("write `mixture(p, D1, D2)`, where p is the probability of D1, or `mixture(w, D)`"),
                );
                return None;
            }
        };
        let all = union(&drawn.axes, &drawn.over);
        let weights = self.weights(weight, parts.len() == 2, &all, drawn, env)?;
        if self.mixtures == 0 {
            self.mixture_per_cell(span, &weights, drawn);
        }
        let inner = if parts.len() == 2 { drawn.axes.clone() } else { union(&drawn.axes, &[weights.over]) };
        self.mixtures += 1;
        let uses: Vec<Option<DistUse>> = parts.iter().map(|p| self.component(&p.value, &inner, drawn, env)).collect();
        self.mixtures -= 1;
        let uses: Vec<DistUse> = uses.into_iter().collect::<Option<_>>()?;
        self.mixed(span, weights, uses, drawn)
    }

    /// `p` or `logit: x` of two components; `w` or `logit: x` over the plate of one.
    fn weights(&mut self, arg: &'a Arg, two: bool, all: &[AxisId], drawn: &Drawn, env: &Env) -> Option<Weights> {
        let link = match &arg.name {
            None => false,
            Some(n) if n.name == "logit" => true,
            Some(n) => {
                self.diags.push(
                    Code::UNKNOWN_ARGUMENT
                        .at(n.span, format!("`mixture` has no argument called `{}`", n.name))
                        .here("unknown argument")
                        .help("write `mixture(p, D1, D2)` or `mixture(logit: x, D1, D2)`"),
                );
                return None;
            }
        };
        let values = Env { list_axis: None, context: all.to_vec(), ..env.clone() };
        let v = self.expr(&arg.value, &values);
        if is_bad(&v) {
            return None;
        }
        let span = v.span;
        let over = if two { None } else { Some(self.components(&v, all, drawn)?) };
        let allowed = over.map_or(all.to_vec(), |k| union(all, &[k]));
        // A probability is one of `Bernoulli`, and several are one argument of `Categorical`.
        let like = if two { "Bernoulli" } else { "Categorical" };
        let param = self.library.dists[like].iter().map(|f| &f.params[0]).find(|p| (p.name.name == "logit") == link)?;
        let plates = over.map(|k| ("K".to_string(), k)).into_iter().collect();
        let inner = Env { plates, scope: Scope::Library, context: all.to_vec(), ..Env::default() };
        let v = self.argument(param, v, "mixture", &inner)?;
        if !self.check_plates(&v, &allowed, drawn) {
            return None;
        }
        self.check_domain(param, &v, "mixture", env, &inner);
        let local = self.bound_local(param, &v, env, &inner);
        let read = Expr { kind: ExprKind::Local(local.id), ty: Ty::Real, axes: local.axes, span };
        let f = |op: UnOp, e: Expr| unary(op, e, Ty::Real, span);
        let logs = match (over, link) {
            (None, false) => vec![f(UnOp::Log, read.clone()), f(UnOp::Log1p, f(UnOp::Neg, read))],
            (None, true) => {
                let minus = f(UnOp::Neg, read.clone());
                vec![f(UnOp::Neg, f(UnOp::Softplus, minus)), f(UnOp::Neg, f(UnOp::Softplus, read))]
            }
            (Some(_), false) => vec![f(UnOp::Log, read)],
            (Some(k), true) => {
                let total = reduce(Reduction::LogSumExp, vec![k], read.clone());
                vec![binary(BinOp::Sub, read, total, Ty::Real, span)]
            }
        };
        let over = match over {
            Some(k) => k,
            None => {
                let plate = self.pair_plate(span);
                self.add_axis(plate, "component")
            }
        };
        Some(Weights { arg: (local.id, param.name.name.clone(), v), over, logs })
    }

    /// The one plate that weights vary over beside those of the left side.
    fn components(&mut self, v: &Expr, all: &[AxisId], drawn: &Drawn) -> Option<AxisId> {
        match minus(&v.axes, all).as_slice() {
            [one] => Some(*one),
            [] => {
                let text = self.axes_text(&v.axes);
                self.diags.push(
                    Code::JOINT_WITHOUT_PLATE
                        .at(v.span, "`mixture` of one distribution needs a probability per component, over a plate of their own")
                        .here(if v.axes.is_empty() { "a single number".into() } else { format!("varies over {text} only") })
                        .label(drawn.span, self.per_cell(all))
                        .help("write `latent w over k ~ Dirichlet(1)` and `mixture(w, D)`, or give both components: `mixture(p, D1, D2)`"),
                );
                None
            }
            several => {
                let text = self.axes_text(several);
                self.diags.push(
                    Code::PLATE_MISMATCH
                        .at(v.span, format!("the probabilities of `mixture` vary over {text}: one plate too many"))
                        .here("one plate should remain")
                        .label(drawn.span, self.per_cell(all))
                        .help(format!(
                            "an argument that varies over too much needs an index: {}",
                            self.index_advice(&several[..1])
                        )),
                );
                None
            }
        }
    }

    /// The hidden plate of two components.
    fn pair_plate(&mut self, span: Span) -> PlateId {
        let cells = || PlateKind::Labels(vec!["1".into(), "2".into()]);
        let known = self.hir.plates.iter().position(|p| p.name == "two components");
        known.map_or_else(|| self.add_plate("two components", span, cells()), |i| PlateId(i as u32))
    }

    /// One component. A scalar distribution under `over` is taken per element, within one component.
    fn component(&mut self, e: &'a ast::Expr, axes: &[AxisId], drawn: &Drawn, env: &Env) -> Option<DistUse> {
        let name = match &e.kind {
            A::Call { callee, .. } => match &callee.kind {
                A::Name(n) => Some(n.as_str()),
                _ => None,
            },
            _ => None,
        };
        let scalar =
            name.and_then(|n| self.forms(n)).is_some_and(|forms| forms.iter().all(|f| f.support.axes.is_empty()));
        if !scalar || drawn.over.is_empty() {
            return self.dist(e, &Drawn { axes: axes.to_vec(), ..drawn.clone() }, env);
        }
        let inner = Drawn { axes: union(axes, &drawn.over), over: vec![], ..drawn.clone() };
        let mut d = self.dist(e, &inner, env)?;
        d.logpdf = reduce(Reduction::Sum, drawn.over.clone(), d.logpdf);
        d.log_kept = d.log_kept.map(|k| reduce(Reduction::Sum, drawn.over.clone(), k));
        Some(d)
    }

    fn mixed(&mut self, span: Span, weights: Weights, uses: Vec<DistUse>, drawn: &Drawn) -> Option<DistUse> {
        let first = &uses[0];
        let ty = first.support.ty;
        let hull = uses.iter().skip(1).fold(numbers(&first.range), |h, d| wider(&h, &numbers(&d.range)));
        // A latent's transform needs one range; of data and of discrete values each component has its own.
        let exact = (drawn.observed.is_none() || drawn.missing) && ty == Ty::Real;
        let odd = uses.iter().find(|d| d.support.ty != ty || exact && !same(&d.range, &hull));
        if let Some(d) = odd {
            let same_kind = d.support.ty == ty;
            let kind = |c: &Self, d: &DistUse| match same_kind {
                true => "has a range of its own".to_string(),
                false => format!("gives {}", c.ty_text(d.support.ty)),
            };
            let at = Code::SUPPORT_MISMATCH
                .at(d.span, "the components of a mixture do not give the same kind of value")
                .here(kind(self, d));
            let at = if uses.len() > 1 { at.label(first.span, kind(self, first)) } else { at };
            self.diags.push(at.help(match same_kind {
                true => "a latent has one range: give the components the same one",
                false => "all components need the same support; for amounts that may be 0 observe whether they are, by a `Bernoulli`, and the others with `where`",
            }));
            return None;
        }
        let x = self.fresh_local();
        let value = Expr { kind: ExprKind::Local(x), ty, axes: union(&drawn.axes, &drawn.over), span };
        let k = weights.over;
        let combine = |parts: Vec<Expr>| {
            let terms: Vec<Expr> =
                weights.logs.iter().zip(parts).map(|(w, p)| binary(BinOp::Add, w.clone(), p, Ty::Real, span)).collect();
            reduce(Reduction::LogSumExp, vec![k], listed(terms, k, span))
        };
        let densities = uses.iter().map(|d| {
            let lp = bind(d.x, value.clone(), d.logpdf.clone());
            match guard(&value, &d.range, &hull) {
                Some(inside) if !exact => choose(inside, lp, number(f64::NEG_INFINITY, Ty::Real, span)),
                _ => lp,
            }
        });
        let logpdf = combine(densities.collect());
        let cut = uses.iter().any(|d| d.log_kept.is_some());
        let zero = || number(0.0, Ty::Real, span);
        let log_kept = cut.then(|| combine(uses.iter().map(|d| d.log_kept.clone().unwrap_or_else(zero)).collect()));
        let (sample, mean, variance) = match cut {
            true => (None, None, None),
            false => {
                (draw(&weights, &uses, drawn, span), average(&weights, &uses, span), spread(&weights, &uses, span))
            }
        };
        let support = Support { ty, constraint: hull.clone() };
        let mut args = vec![weights.arg];
        args.extend(uses.into_iter().flat_map(|d| d.args));
        let name = "mixture".to_string();
        Some(DistUse {
            name,
            span,
            args,
            x,
            logpdf,
            sample,
            mean,
            variance,
            most: None,
            support,
            range: hull,
            log_kept,
        })
    }

    /// A mixture over the cells of a row where the row as a whole was surely meant.
    fn mixture_per_cell(&mut self, span: Span, weights: &Weights, drawn: &Drawn) {
        let rows = |a: &&AxisId| matches!(self.hir.plate(self.plate_of(**a)).kind, PlateKind::Rows(_));
        let inner: Vec<AxisId> = drawn.axes.iter().filter(|a| !rows(a)).copied().collect();
        let own = |a: &AxisId| weights.arg.2.axes.contains(a);
        if drawn.observed.is_none() || drawn.axes.len() < 2 || inner.is_empty() || inner.iter().any(own) {
            return;
        }
        let Some(row) = drawn.axes.iter().find(rows).copied() else { return };
        let (cells, row, plate) = (self.axes_text(&drawn.axes), self.plate_name(row), self.plate_name(inner[0]));
        let d = Code::MIXTURE_PER_CELL
            .at(span, format!("each cell of {cells} gets a component of its own"))
            .here(format!("not one component per row of `{row}`"))
            .label(drawn.span, format!("varies over {cells}"))
            .help(format!(
                "for one component per row write `{} over {plate} ~ mixture(…)`; if every cell has its own, `@allow({})`",
                drawn.what,
                Code::MIXTURE_PER_CELL.id
            ));
        self.diags.push(d);
    }
}

/// One item per component along the axis; a single item already varies over it.
fn listed(mut items: Vec<Expr>, axis: AxisId, span: Span) -> Expr {
    if items.len() == 1 {
        return items.remove(0);
    }
    let axes = items.iter().fold(vec![axis], |a, i| union(&a, &i.axes));
    Expr { kind: ExprKind::List { axis, items }, ty: Ty::Real, axes, span }
}

pub(super) fn reduce(op: Reduction, over: Vec<AxisId>, body: Expr) -> Expr {
    let (axes, span) = (minus(&body.axes, &over), body.span);
    Expr { kind: ExprKind::Reduce { op, axes: over, filter: None, body: body.into() }, ty: Ty::Real, axes, span }
}

/// The ends of a range that are numbers.
fn numbers(c: &Constraint) -> Constraint {
    let Some((lower, upper)) = ends(c) else { return c.clone() };
    let known = |e: Option<(Expr, bool)>| e.filter(|(b, _)| matches!(b.kind, ExprKind::Number(_)));
    between(known(lower), known(upper))
}

fn between(lower: Option<(Expr, bool)>, upper: Option<(Expr, bool)>) -> Constraint {
    match (lower, upper) {
        (None, None) => Constraint::None,
        (Some((bound, open)), None) => Constraint::Lower { bound, open },
        (None, Some((bound, open))) => Constraint::Upper { bound, open },
        (Some((lower, a)), Some((upper, b))) => Constraint::Interval { lower, upper, open: a && b },
    }
}

fn value(e: &Option<(Expr, bool)>) -> Option<f64> {
    match e {
        Some((Expr { kind: ExprKind::Number(v), .. }, _)) => Some(*v),
        _ => None,
    }
}

/// The smallest range that holds both.
fn wider(a: &Constraint, b: &Constraint) -> Constraint {
    let (Some((al, au)), Some((bl, bu))) = (ends(a), ends(b)) else { return a.clone() };
    let pick = |x: Option<(Expr, bool)>, y: Option<(Expr, bool)>, first: fn(f64, f64) -> bool| {
        let (vx, vy) = (value(&x)?, value(&y)?);
        let ((ex, ox), (ey, oy)) = (x?, y?);
        Some(if vx == vy {
            (ex, ox && oy)
        } else if first(vx, vy) {
            (ex, ox)
        } else {
            (ey, oy)
        })
    };
    between(pick(al, bl, |x, y| x < y), pick(au, bu, |x, y| x > y))
}

/// The same range, with ends that are numbers.
fn same(a: &Constraint, b: &Constraint) -> bool {
    match (ends(a), ends(b)) {
        (Some((al, au)), Some((bl, bu))) => {
            al.is_some() == bl.is_some()
                && value(&al) == value(&bl)
                && au.is_some() == bu.is_some()
                && value(&au) == value(&bu)
        }
        (a, b) => a.is_none() == b.is_none(),
    }
}

/// Whether a value lies in a component's range, where that is narrower than the whole.
fn guard(x: &Expr, range: &Constraint, hull: &Constraint) -> Option<Expr> {
    let ((lower, upper), (hl, hu)) = (ends(range)?, ends(hull)?);
    let below = lower.filter(|l| value(&Some(l.clone())).is_none() || value(&Some(l.clone())) != value(&hl));
    let above = upper.filter(|u| value(&Some(u.clone())).is_none() || value(&Some(u.clone())) != value(&hu));
    let test =
        |a: Expr, b: Expr, open: bool| binary(if open { BinOp::Less } else { BinOp::LessEq }, a, b, Ty::Bool, x.span);
    let below = below.map(|(bound, open)| test(bound, x.clone(), open));
    let above = above.map(|(bound, open)| test(x.clone(), bound, open));
    below.into_iter().chain(above).reduce(|a, b| binary(BinOp::And, a, b, Ty::Bool, x.span))
}

/// A component drawn with its probability, then a value from it.
fn draw(weights: &Weights, uses: &[DistUse], drawn: &Drawn, span: Span) -> Option<Expr> {
    let mut samples: Vec<Expr> =
        uses.iter().map(|d| d.sample.clone().filter(|_| d.log_kept.is_none())).collect::<Option<_>>()?;
    let p = |e: &Expr| unary(UnOp::Exp, e.clone(), Ty::Real, span);
    let first = p(&weights.logs[0]);
    if samples.len() == 1 {
        let axis = weights.over;
        let axes = minus(&union(&drawn.axes, &first.axes), &[axis]);
        let ty = Ty::Real;
        let pick = Expr { kind: ExprKind::Noise(Noise::Categorical(axis), vec![first]), ty, axes, span };
        let body = samples.remove(0);
        let axes = union(&minus(&body.axes, &[axis]), &pick.axes);
        let ty = body.ty;
        let index = Index::At(pick.into()).into();
        return Some(Expr { kind: ExprKind::At { body: body.into(), axis, index }, ty, axes, span });
    }
    let axes = union(&drawn.axes, &first.axes);
    let uniform = Expr { kind: ExprKind::Noise(Noise::Uniform, vec![]), ty: Ty::Real, axes, span };
    let (b, a) = (samples.remove(1), samples.remove(0));
    let ty = a.ty;
    Some(Expr { ty, ..choose(binary(BinOp::Less, uniform, first, Ty::Bool, span), a, b) })
}

/// Σ w f, over the components.
fn weighted(weights: &Weights, parts: Vec<Expr>, span: Span) -> Expr {
    let term =
        |(w, f): (&Expr, Expr)| binary(BinOp::Mul, unary(UnOp::Exp, w.clone(), Ty::Real, span), f, Ty::Real, span);
    let terms = weights.logs.iter().zip(parts).map(term).collect();
    reduce(Reduction::Sum, vec![weights.over], listed(terms, weights.over, span))
}

fn average(weights: &Weights, uses: &[DistUse], span: Span) -> Option<Expr> {
    let means = uses.iter().map(|d| d.mean.clone()).collect::<Option<_>>()?;
    Some(weighted(weights, means, span))
}

/// E (variance + mean²) - (E mean)²
fn spread(weights: &Weights, uses: &[DistUse], span: Span) -> Option<Expr> {
    let square = |e: Expr| binary(BinOp::Mul, e.clone(), e, Ty::Real, span);
    let seconds =
        uses.iter().map(|d| Some(binary(BinOp::Add, d.variance.clone()?, square(d.mean.clone()?), Ty::Real, span)));
    let second = weighted(weights, seconds.collect::<Option<_>>()?, span);
    Some(binary(BinOp::Sub, second, square(average(weights, uses, span)?), Ty::Real, span))
}
