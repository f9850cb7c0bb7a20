//! Functions of the library or the model: checked once where they are declared, and expanded in place of each call.

use super::expr::{bad, bind, is_bad};
use super::*;
use crate::diag::{Code, nearest};
use crate::syntax::ast::{Arg, ExprKind as A, IndexItem};

/// Calls replaced within one declaration; doubling functions would otherwise grow without end.
const MOST_CALLS: usize = 10_000;
/// Functions inside one another.
const MOST_NESTED: usize = 100;

/// How far the functions of one declaration have been expanded.
#[derive(Default)]
pub(super) struct Budget {
    calls: usize,
    /// Reported: nothing more is expanded in this declaration.
    pub exhausted: bool,
    /// The user's own call, for the message.
    outer: Option<(Span, String)>,
}

impl<'a> Checker<'a, '_> {
    /// A plate named in the `[ ]` of a call.
    pub(super) fn plate_given(&mut self, item: &'a IndexItem, call: Span, env: &Env) -> Option<AxisId> {
        let IndexItem::Expr(ast::Expr { kind: A::Name(n), span }) = item else {
            self.diags
                .push(Code::NOT_A_PLATE.at(call, "a plate's name is needed here").here("not the name of a plate"));
            return None;
        };
        self.axis_named(&Ident { name: n.clone(), span: *span }, env)
    }

    /// Begin a declaration.
    pub(super) fn start(&mut self, span: Span) {
        self.current = span;
        self.budget = Budget::default();
        self.depth = 0;
    }

    /// Say once per declaration that its functions expand too far.
    pub(super) fn too_far(&mut self) {
        if std::mem::replace(&mut self.budget.exhausted, true) {
            return;
        }
        let (span, name) = self.budget.outer.clone().unwrap_or((self.current, "the functions".into()));
        self.diags.push(
            Code::EXPANDS_TOO_FAR
                .at(
                    span,
                    format!("putting the formula of `{name}` in place of its calls would never end, or nearly so"),
                )
                .here("functions that call functions, too many times over")
                .help("call each function once and name its value with `let`"),
        );
    }

    /// Expand a function in place: its arguments become locals of its body.
    #[inline(never)]
    pub(super) fn expand(
        &mut self,
        e: &'a ast::Expr,
        f: FnDecl<'a>,
        plates: &'a [IndexItem],
        args: &'a [Arg],
        env: &Env,
    ) -> Expr {
        let name = &f.name.name;
        if self.expanding.contains(&f.name.span) {
            self.diags.push(
                Code::RECURSIVE_FUNCTION
                    .at(e.span, format!("`{name}` calls itself"))
                    .here("a call inside its own body")
                    .label(f.name.span, "declared here")
                    .help("write the closed form, or a sum over a plate: a function stands for its formula"),
            );
            return bad(e.span);
        }
        let broken = self.broken_bodies.contains(&f.name.span);
        let Some(matched) =
            self.match_arguments(e.span, name, f.params, 0, &args.iter().collect::<Vec<_>>(), f.name.span)
        else {
            return bad(e.span);
        };
        let values: Vec<Expr> = f.params.iter().zip(&matched).map(|(p, a)| self.passed(p, &a.value, env)).collect();
        if broken || values.iter().any(is_bad) || self.budget.exhausted {
            return bad(e.span);
        }
        if self.expanding.is_empty() && e.span.file == self.current.file {
            self.budget.outer = Some((e.span, name.clone()));
        }
        self.budget.calls += 1;
        if self.budget.calls > MOST_CALLS || self.expanding.len() > MOST_NESTED {
            self.too_far();
            return bad(e.span);
        }
        let Some(generic) = self.bind_plates(e.span, f, plates, &values, env) else { return bad(e.span) };
        let mut inner = Env { plates: generic, scope: self.body_scope(f.name.span), ..Env::default() };
        if let [one] = f.result.axes.as_slice() {
            inner.list_axis = inner.plates.iter().find(|(n, _)| *n == one.plate.name).map(|x| x.1);
            if inner.list_axis.is_none() {
                inner.list_axis = self.names.get(&one.plate.name).and_then(|e| e.plate).map(|p| self.hir.plate(p).axis);
            }
        }
        let mut bound = vec![];
        for (param, v) in f.params.iter().zip(values) {
            let Some(v) = self.argument(param, v, name, &inner) else { return bad(e.span) };
            let local = self.bound_local(param, &v, env, &inner);
            bound.push((local.id, v));
            inner.locals.push((param.name.name.clone(), local));
        }
        let errors = self.diags.list.len();
        self.expanding.push(f.name.span);
        let body = self.expr(f.body, &inner);
        let body = if matches!(body.ty, Ty::Index(_)) { body } else { self.numeric(body, "return this") };
        self.expanding.pop();
        if self.expanding.is_empty() {
            self.blame_call(errors, e.span, name);
        }
        if is_bad(&body) {
            return bad(e.span);
        }
        let mut out = bound.into_iter().rev().fold(body, |body, (local, value)| bind(local, value, body));
        out.span = e.span;
        out
    }

    /// A body that is right in itself went wrong with these arguments: the mistake is in the call.
    fn blame_call(&mut self, errors: usize, call: Span, name: &str) {
        for d in &mut self.diags.list[errors..] {
            match d.span {
                Some(at) if at.file != call.file => {
                    d.labels.retain(|l| l.span.file == call.file);
                    d.labels.push(crate::diag::Label { span: at, text: format!("in the body of `{name}`") });
                    d.span = Some(call);
                    d.label = format!("in this call of `{name}`");
                }
                Some(at) if at != call => {
                    d.labels.push(crate::diag::Label { span: call, text: format!("in this call of `{name}`") });
                }
                _ => {}
            }
        }
    }

    /// An argument as its parameter's type asks.
    pub(super) fn argument(&mut self, param: &'a ast::Param, v: Expr, name: &str, inner: &Env) -> Option<Expr> {
        let what = &param.name.name;
        if let Some(plate) = self.plate_type(&param.ty, inner) {
            if v.ty == Ty::Index(plate) {
                return Some(v);
            }
            let plate = self.hir.plate(plate).name.clone();
            let is = self.ty_text(v.ty);
            self.diags.push(
                Code::INDEX_OF_OTHER_PLATE
                    .at(v.span, format!("`{what}` of `{name}` picks a cell of `{plate}`, and this is {is}"))
                    .here(format!("not a cell of `{plate}`"))
                    .help("pass a key, a category or an index of that plate"),
            );
            return None;
        }
        self.check_matrix_plate(param, &v, name, inner)?;
        let v = self.numeric(v, &format!("pass this as `{what}` of `{name}`"));
        if is_bad(&v) {
            return None;
        }
        let wanted = match (param.ty.base.name.as_str(), v.ty) {
            ("int", Ty::Real) => "a whole number",
            ("bool", Ty::Real | Ty::Int) => "true or false",
            _ => return Some(v),
        };
        let is = self.ty_text(v.ty);
        let d = Code::DOMAIN.at(v.span, format!("`{what}` of `{name}` is {wanted}, and this is {is}")).here(is);
        self.diags.push(match wanted {
            "true or false" => d.help("compare it, `… > 0`, or declare the column `bool`"),
            _ => d.help("declare the column `int`, or use `round(…)`"),
        });
        None
    }

    /// A parameter inside the body. One over a plate varies over it even when one number is passed.
    pub(super) fn bound_local(&mut self, param: &'a ast::Param, v: &Expr, env: &Env, inner: &Env) -> Local {
        let mut axes = v.axes.clone();
        // A matrix brings its own two axes.
        for a in param.ty.axes.iter().filter(|_| MatrixKind::of(&param.ty.base.name).is_none()) {
            if let Some(x) = self.axis_named(&a.plate, inner) {
                axes = union(&axes, &[x]);
            }
        }
        Local { id: self.fresh_local(), ty: v.ty, axes, range: self.range_in(v, env) }
    }

    /// Which axis each plate parameter of a function stands for: given in `[ ]`, or the one plate that an argument varies over.
    pub(super) fn bind_plates(
        &mut self,
        span: Span,
        f: FnDecl<'a>,
        given: &'a [IndexItem],
        values: &[Expr],
        env: &Env,
    ) -> Option<Vec<(String, AxisId)>> {
        let name = &f.name.name;
        if let Some(extra) = given.get(f.plates.len()) {
            let at = match extra {
                IndexItem::Expr(e) => e.span,
                IndexItem::Axis(a) => a.span,
            };
            let d = Code::TOO_MANY_INDICES
                .at(
                    at,
                    match f.plates.len() {
                        0 => format!("`{name}` takes no plate"),
                        1 => format!("`{name}` takes one plate"),
                        n => format!("`{name}` takes {n} plates"),
                    },
                )
                .here("one too many")
                .help("remove it");
            self.diags.push(if f.name.span.file == span.file { d.label(f.name.span, "declared here") } else { d });
            return None;
        }
        let mut out = vec![];
        for (i, p) in f.plates.iter().enumerate() {
            let along: Vec<&Expr> = f
                .params
                .iter()
                .zip(values)
                .filter(|(q, _)| q.ty.axes.iter().any(|a| a.plate.name == p.name))
                .map(|(_, v)| v)
                .collect();
            if let Some(item) = given.get(i) {
                let IndexItem::Expr(ast::Expr { kind: A::Name(n), span }) = item else {
                    let span = match item {
                        IndexItem::Expr(e) => e.span,
                        IndexItem::Axis(a) => a.span,
                    };
                    self.diags.push(
                        Code::NOT_A_PLATE
                            .at(span, "a plate's name is needed here")
                            .here("not the name of a plate")
                            .help(format!("write `{name}[plate](…)`")),
                    );
                    return None;
                };
                let axis = self.axis_named(&Ident { name: n.clone(), span: *span }, env)?;
                if let (Some(first), false) = (along.first(), along.iter().any(|v| v.axes.contains(&axis))) {
                    let text = self.axes_text(&first.axes);
                    self.diags.push(
                        Code::NOTHING_TO_REDUCE
                            .at(first.span, format!("this does not vary over `{n}`"))
                            .here(format!("varies over {text}"))
                            .label(*span, format!("`{name}` works along this plate"))
                            .help(format!("pass a value that varies over `{n}`")),
                    );
                    return None;
                }
                out.push((p.name.clone(), axis));
                continue;
            }
            let rows = |v: &Expr| minus(&v.axes, &self.second_axes(&v.axes));
            let mut candidates = along.iter().fold(vec![], |all, v| union(&all, &rows(v)));
            if candidates.len() > 1 {
                let extra = minus(&candidates, &env.context);
                if extra.len() == 1 {
                    candidates = extra;
                }
            }
            match candidates.as_slice() {
                [one] => out.push((p.name.clone(), *one)),
                [] if !along.is_empty() => {
                    self.diags.push(
                        Code::NOTHING_TO_REDUCE
                            .at(along[0].span, format!("`{name}` works along a plate, and this is a single number"))
                            .here("does not vary")
                            .help("pass a value that varies over a plate"),
                    );
                    return None;
                }
                several => {
                    let text = self.axes_text(several);
                    let guess = several.first().map_or("plate".into(), |&a| self.plate_name(a).to_string());
                    let message = if several.is_empty() {
                        format!("`{name}` works along a plate, and its arguments do not say which")
                    } else {
                        format!("`{name}` along which plate? Its argument varies over {text}")
                    };
                    self.diags.push(
                        Code::REDUCE_OVER_WHICH
                            .at(span, message)
                            .here("which plate?")
                            .help(format!("name the plate: `{name}[{guess}](…)`")),
                    );
                    return None;
                }
            }
        }
        Some(out)
    }
    /// Arguments in the order of the parameters after the first `given`, which come from elsewhere; by position, then by name.
    /// Arguments in the order of the parameters, by position and then by name.
    pub(super) fn match_arguments(
        &mut self,
        span: Span,
        name: &str,
        all: &'a [ast::Param],
        given: usize,
        args: &[&'a Arg],
        declared: Span,
    ) -> Option<Vec<&'a Arg>> {
        let params = &all[given..];
        let signature = || {
            let p: Vec<&str> = all.iter().map(|p| p.name.name.as_str()).collect();
            format!("{name}({})", p.join(", "))
        };
        if let Some(axis) = args.iter().find_map(|a| a.over.first()) {
            let d = Code::OVER_MISPLACED
                .at(axis.span, format!("an argument of `{name}` takes no `over`"))
                .here("over a plate")
                .help(format!("a function that takes a plate is called `{name}[{}](…)`", axis.plate.name));
            self.diags.push(d);
            return None;
        }
        let in_model = declared.file == span.file;
        let mut out: Vec<Option<&Arg>> = vec![None; params.len()];
        for (i, &arg) in args.iter().enumerate() {
            let slot = match &arg.name {
                None => Some(i).filter(|i| *i < params.len()),
                Some(n) => match params.iter().position(|p| p.name.name == n.name) {
                    Some(p) => Some(p),
                    None => {
                        let known: Vec<&str> = params.iter().map(|p| p.name.name.as_str()).collect();
                        let near = foreign::argument(&n.name, &known).or_else(|| nearest(&n.name, known));
                        let d = Code::UNKNOWN_ARGUMENT
                            .at(n.span, format!("`{name}` has no argument called `{}`", n.name))
                            .here("unknown argument");
                        self.diags.push(match near {
                            Some(x) => d.help(format!("did you mean `{x}:`?")).edit(n.span, x),
                            None => d.help(format!("write `{}`", signature())),
                        });
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
                            .here("given again")
                            .label(out[s].expect("it is taken").value.span, "given here first")
                            .help(format!("remove one of them: `{}`", signature())),
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
            if self.misread() {
                return None;
            }
            let at = match args.get(params.len()) {
                Some(extra) if missing.is_empty() => extra.value.span,
                _ => span,
            };
            let d = Code::WRONG_ARGUMENT_COUNT
                .at(at, count_text(name, all.len(), given + args.len()))
                .here(match missing.is_empty() {
                    true => "one too many".to_string(),
                    false => format!("missing {}", missing.join(" and ")),
                })
                .help(format!("write `{}`", signature()));
            let d = self.miscounted(d, name, args, params.len());
            self.diags.push(if in_model { d.label(declared, "declared here") } else { d });
            return None;
        }
        Some(out.into_iter().flatten().collect())
    }

    /// An argument too many that has a reason: `HalfNormal(0, 1)`, or `0,5` for 0.5.
    fn miscounted(&self, d: Diagnostic, name: &str, args: &[&'a Arg], takes: usize) -> Diagnostic {
        if args.len() != takes + 1 {
            return d;
        }
        let digits = |a: &Arg| match &a.value.kind {
            A::Number { text, .. } if a.name.is_none() => Some(text.clone()),
            _ => None,
        };
        let touching = |p: &[&Arg]| p[0].value.span.end + 1 == p[1].value.span.start;
        let spaced = args.windows(2).any(|p| !touching(p));
        if let Some(pair) = args.windows(2).find(|p| touching(p) && digits(p[0]).is_some() && digits(p[1]).is_some())
            && spaced
            && let (Some(whole), Some(part)) = (digits(pair[0]), digits(pair[1]))
            && !whole.contains('.')
        {
            let number = format!("{whole}.{part}");
            return d
                .help(format!("a decimal point separates the digits: `{number}`"))
                .edit(pair[0].value.span.to(pair[1].value.span), number);
        }
        let zero = digits(args[0]).is_some_and(|t| t.parse() == Ok(0.0));
        if name.starts_with("Half") && zero {
            let span = Span {
                end: args[1].name.as_ref().map_or(args[1].value.span.start, |n| n.span.start),
                ..args[0].value.span
            };
            return d.help("a half distribution starts at 0, and takes no location: remove the `0`").mend(span, "");
        }
        d
    }

    /// What the body of a function declared at this place sees.
    pub(super) fn body_scope(&self, declared: Span) -> Scope {
        if self.library_files.contains(&declared.file) { Scope::Library } else { Scope::Body }
    }

    pub(super) fn duplicate_callable(&mut self, name: &Ident, old: &Ident, what: &str) {
        self.diags.push(
            Code::DUPLICATE_NAME
                .at(name.span, format!("the {what} `{}` is declared twice", name.name))
                .here("declared again")
                .label(old.span, "first declared here")
                .help(format!("give one of them another name, for instance `{}_2`", name.name)),
        );
    }
}

/// "`f` takes 2 arguments, and 1 is given"
pub(super) fn count_text(name: &str, takes: usize, given: usize) -> String {
    let plural = if takes == 1 { "" } else { "s" };
    let takes = if takes == 0 { "no".to_string() } else { takes.to_string() };
    let given = if given == 1 { "1 is".to_string() } else { format!("{given} are") };
    format!("`{name}` takes {takes} argument{plural}, and {given} given")
}
