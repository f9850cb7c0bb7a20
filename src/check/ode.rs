//! `ode(f, z0, t0, times, …)`: the solution of an initial-value problem.

use super::bounds::Range;
use super::expr::{bad, is_bad};
use super::*;
use crate::diag::{Code, nearest};
use crate::prim::ode::Method;
use crate::syntax::ast::{Arg, ExprKind as A};

/// Arguments of `ode` before those of the function.
const FIXED: usize = 4;

/// Error that a step may make, relative to values above 1: well below what data can tell.
const TOLERANCE: f64 = 1e-8;

/// The options of `ode`, by name.
struct Options {
    method: Method,
    tolerance: f64,
}

impl<'a> Checker<'a, '_> {
    #[inline(never)]
    pub(super) fn ode(&mut self, e: &'a ast::Expr, args: &'a [Arg], env: &Env) -> Expr {
        let option = |a: &&Arg| a.name.as_ref().is_some_and(|n| matches!(n.name.as_str(), "method" | "tolerance"));
        let Some(options) = self.ode_options(args.iter().filter(option)) else { return bad(e.span) };
        let rest: Vec<&'a Arg> = args.iter().filter(|a| !option(a)).collect();
        let Some(f) = self.ode_function(e.span, &rest, env) else { return bad(e.span) };
        let name = &f.name.name;
        // `ode` itself gives the time and the state.
        let Some(order) = self.match_arguments(e.span, name, f.params, 2, &rest[FIXED..], f.name.span) else {
            return bad(e.span);
        };
        let [start, t0, times] = [1, 2, 3].map(|i| self.expr(&rest[i].value, env));
        let start = self.numeric(start, "start from this");
        let (t0, times) = (self.numeric(t0, "start at this time"), self.numeric(times, "solve up to these times"));
        let values: Vec<Expr> = order.iter().map(|a| self.expr(&a.value, env)).collect();
        let broken = self.broken_bodies.contains(&f.name.span);
        if broken || [&start, &t0, &times].into_iter().chain(&values).any(is_bad) {
            return bad(e.span);
        }
        if !self.ode_times(&t0, &times) {
            return bad(e.span);
        }
        let all: Vec<Expr> = [t0.clone(), start.clone()].into_iter().chain(values.iter().cloned()).collect();
        let Some(generic) = self.bind_plates(e.span, f, &[], &all, env) else { return bad(e.span) };
        let mut inner = Env { plates: generic, scope: self.body_scope(f.name.span), ..Env::default() };
        let Some(state) = self.ode_state(f, &inner) else { return bad(e.span) };
        inner.list_axis = state;
        let state_axes: Vec<AxisId> = state.into_iter().collect();
        let (t, z) = (self.fresh_local(), self.fresh_local());
        let local = |id, axes: &[AxisId]| Local { id, ty: Ty::Real, axes: axes.to_vec(), range: Range::ALL };
        inner.locals.push((f.params[0].name.name.clone(), local(t, &[])));
        inner.locals.push((f.params[1].name.name.clone(), local(z, &state_axes)));
        let mut batch = minus(&start.axes, &state_axes);
        batch = union(&batch, &t0.axes);
        let mut bound = vec![];
        for (param, v) in f.params[2..].iter().zip(values) {
            let Some(v) = self.argument(param, v, name, &inner) else { return bad(e.span) };
            let mut axes = vec![];
            for a in &param.ty.axes {
                let Some(axis) = self.axis_named(&a.plate, &inner) else { return bad(e.span) };
                axes.push(axis);
            }
            batch = union(&batch, &minus(&v.axes, &axes));
            let local =
                Local { id: self.fresh_local(), ty: Ty::Real, axes: axes.clone(), range: self.range_in(&v, env) };
            bound.push(OdeArg { local: local.id, name: param.name.name.clone(), axes, value: v });
            inner.locals.push((param.name.name.clone(), local));
        }
        self.expanding.push(f.name.span);
        let rate = self.expr(f.body, &inner);
        let rate = self.numeric(rate, "use this as a rate");
        self.expanding.pop();
        if is_bad(&rate) {
            return bad(e.span);
        }
        // A time per cell that also has arguments of its own is a problem per cell.
        let time = times.axes.first().copied().filter(|a| !batch.contains(a));
        let axes = union(&union(&batch, &times.axes), &state_axes);
        let Options { method, tolerance } = options;
        let ode = Ode { method, tolerance, state, time, batch, start, t0, times, args: bound, t, z, rate };
        Expr { kind: ExprKind::Ode(ode.into()), ty: Ty::Real, axes, span: e.span }
    }

    fn ode_options<'o>(&mut self, given: impl Iterator<Item = &'o Arg>) -> Option<Options> {
        let mut options = Options { method: Method::Explicit, tolerance: TOLERANCE };
        for arg in given {
            let name = arg.name.as_ref().map_or("", |n| n.name.as_str());
            match (name, &arg.value.kind) {
                ("method", A::Text(m)) if m == "rk45" => options.method = Method::Explicit,
                ("method", A::Text(m)) if m == "stiff" => options.method = Method::Stiff,
                ("tolerance", A::Number { value, .. }) if *value > 0.0 && *value < 1.0 => options.tolerance = *value,
                _ => {
                    let (message, help) = match name {
                        "method" => {
                            ("`method` of `ode` is \"rk45\" or \"stiff\"", "write `method: \"stiff\"`, or leave it out")
                        }
                        _ => (
                            "`tolerance` of `ode` is a number between 0 and 1",
                            "write `tolerance: 1e-6`, or leave it out",
                        ),
                    };
                    self.diags.push(Code::ODE_SYSTEM.at(arg.value.span, message).here("not one of these").help(help));
                    return None;
                }
            }
        }
        Some(options)
    }

    /// The function that gives the rates, if it and the number of arguments have the right form.
    fn ode_function(&mut self, span: Span, args: &[&'a Arg], env: &Env) -> Option<FnDecl<'a>> {
        const FORM: &str = "write `ode(f, z0, t0, times, …)`, with `f` declared as \
                            `fn f(t: real, z: real[part], …) -> real[part] = […]`";
        if let Some(named) = args.iter().take(FIXED).find_map(|a| a.name.as_ref()) {
            self.diags.push(
                Code::NAMED_ARGUMENT_MISPLACED
                    .at(named.span, "the function, start and times of `ode` come by position, without names")
                    .here("a name")
                    .help(FORM),
            );
            return None;
        }
        if args.len() < FIXED {
            if !self.misread() {
                self.diags.push(
                    Code::WRONG_ARGUMENT_COUNT
                        .at(span, "`ode` takes a function, a start, the time of the start, and the times to solve for")
                        .here(format!("{} given", args.len()))
                        .help(FORM),
                );
            }
            return None;
        }
        let at = args[0].value.span;
        let A::Name(name) = &args[0].value.kind else {
            let d = Code::ODE_SYSTEM.at(at, "the first argument of `ode` is the name of a function");
            self.diags.push(d.here("not a name").help(FORM));
            return None;
        };
        let Some(f) = self.function(name, env) else {
            if !self.poisoned.contains(name) {
                let d = Code::UNKNOWN_FUNCTION.at(at, format!("there is no function called `{name}`"));
                let d = d.here("unknown function");
                self.diags.push(match nearest(name, self.own.fns.keys().copied()) {
                    Some(n) => d.meant(n),
                    None => d.help(format!("declare it: `fn {name}(t: real, z: real[part], …) -> real[part] = […]`")),
                });
            }
            return None;
        };
        let two = f.params.len() >= 2 && f.params[0].ty.axes.is_empty() && f.params[1].ty.axes.len() <= 1;
        if !two {
            self.diags.push(
                Code::ODE_SYSTEM
                    .at(at, format!("`{name}` is not the rate of a state that changes with time"))
                    .here("its first parameters must be the time and the state")
                    .label(f.name.span, "declared here")
                    .help(format!("declare it `fn {name}(t: real, z: real[part], …) -> real[part] = […]`")),
            );
            return None;
        }
        Some(f)
    }

    /// The plate of the state: that of the function's second parameter and of its result.
    fn ode_state(&mut self, f: FnDecl<'a>, inner: &Env) -> Option<Option<AxisId>> {
        let plate = |axes: &[ast::Axis]| axes.iter().map(|a| a.plate.name.clone()).collect::<Vec<_>>();
        let (state, result) = (plate(&f.params[1].ty.axes), plate(&f.result.axes));
        if state != result {
            let per = |p: &[String]| match p {
                [] => "one number".to_string(),
                p => format!("one value per cell of `{}`", p.join("`, `")),
            };
            let name = &f.name.name;
            self.diags.push(
                Code::ODE_SYSTEM
                    .at(
                        f.result.span,
                        format!("the state of `{name}` is {}, and its rate {}", per(&state), per(&result)),
                    )
                    .here("the rate")
                    .label(f.params[1].ty.span, "the state")
                    .help("give the result the type of the second parameter: a rate for each part of the state"),
            );
            return None;
        }
        match f.params[1].ty.axes.first() {
            None => Some(None),
            Some(a) => self.axis_named(&a.plate, inner).map(Some),
        }
    }

    /// Times are data, along one plate at most.
    fn ode_times(&mut self, t0: &Expr, times: &Expr) -> bool {
        for (what, e) in [("the time of the start", t0), ("the times", times)] {
            if let Some((var, span)) = self.latent_in(e) {
                let (word, v) = (self.word(var), self.hir.var(var));
                self.diags.push(
                    Code::ODE_TIMES
                        .at(span, format!("{what} of an `ode` must be data, and `{}` is a {word}", v.name))
                        .here("not known before fitting")
                        .label(v.span, "declared here")
                        .help("shift the time inside the function instead: pass the delay as an argument"),
                );
                return false;
            }
        }
        if times.axes.len() > 1 {
            let text = self.axes_text(&times.axes);
            self.diags.push(
                Code::ODE_TIMES
                    .at(times.span, format!("the times of an `ode` run along one plate, and these vary over {text}"))
                    .here(format!("varies over {text}"))
                    .help("put the times in a column of one table"),
            );
            return false;
        }
        true
    }
}
