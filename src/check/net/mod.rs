//! Nets: functions whose weights are params. Each call is expanded in place; the weights are made once and shared.

mod activation;
mod chain;
mod flow;
mod formula;
mod image;
mod layers;
mod pipeline;
mod recurrent;
mod spline;
mod weights;

use std::collections::HashMap;

use super::expr::{bad, bind, is_bad};
use super::*;
use crate::diag::Code;
use crate::syntax::ast::{Arg, ExprKind as A, IndexItem, NetResult};
pub(super) use chain::is_chain;
pub(super) use flow::Flow;
use layers::{Layer, Signal};
pub(super) use pipeline::flat;

/// A net of the model.
#[derive(Clone, Copy)]
pub(super) struct NetDecl<'a> {
    pub name: &'a Ident,
    pub plates: &'a [Ident],
    pub params: &'a [ast::Param],
    pub result: &'a NetResult,
    pub body: &'a ast::Expr,
    /// Of each weight; without one they are fitted to points.
    pub prior: Option<&'a ast::Expr>,
}

/// The nets of a model, and what has been made for them.
#[derive(Default)]
pub(super) struct Nets<'a> {
    pub decls: HashMap<&'a str, NetDecl<'a>>,
    made: Made,
    /// Of the calls that are being expanded, outermost first: what stands for their parameters.
    open: Vec<Vec<(LocalId, Expr)>>,
    /// The priors of their weights.
    priors: Vec<Option<&'a ast::Expr>>,
    /// Of the chain that is being put in place of its call: what its parameters stand for.
    frame: Option<std::rc::Rc<chain::Frame<'a>>>,
    /// Where the outermost of them stands.
    called: Option<Span>,
    /// The types of results that can be any number, and the lets that hold such a result.
    free: Vec<Span>,
    free_lets: HashMap<VarId, Span>,
}

/// Weights and layers by name, shared by all calls of a net.
#[derive(Clone, Default)]
struct Made {
    weights: HashMap<String, VarId>,
    layers: HashMap<String, AxisId>,
    /// The input axis of a layer from a plate to itself.
    second: HashMap<(String, AxisId), AxisId>,
}

impl Nets<'_> {
    fn second(&self, weight: &str, axis: AxisId) -> Option<AxisId> {
        self.made.second.get(&(weight.to_string(), axis)).copied()
    }

    fn remember(&mut self, weight: &str, axis: AxisId, second: AxisId) {
        self.made.second.insert((weight.to_string(), axis), second);
    }
}

/// What is to be forgotten of a body that was only looked at.
pub(super) struct Mark {
    plates: usize,
    axes: usize,
    vars: usize,
    steps: usize,
    weights: usize,
    recurrences: usize,
    made: Made,
}

/// `q` of `let q = encode(x)`: the lets that hold its parts, with their names.
pub(super) type Parts = Vec<(String, VarId)>;

impl<'a> NetDecl<'a> {
    /// The results with their names; a single one has none.
    pub fn results(&self) -> Vec<(Option<&'a Ident>, &'a ast::Type)> {
        match self.result {
            NetResult::Single(ty) => vec![(None, ty)],
            NetResult::Heads(heads) => heads.iter().map(|h| (Some(&h.name), &h.ty)).collect(),
        }
    }

    /// `encode(x).mu or encode(x).sigma`, for help.
    fn parts_text(&self, of: &str) -> String {
        let names = self.results().into_iter().filter_map(|r| Some(format!("`{of}.{}`", r.0?.name)));
        names.collect::<Vec<_>>().join(" or ")
    }

    /// As a function, for what looks at its name, plates and parameters only.
    fn as_function(&self) -> Option<FnDecl<'a>> {
        let result = self.results().first()?.1;
        Some(FnDecl { name: self.name, plates: self.plates, params: self.params, result, body: self.body })
    }
}

impl<'a> Checker<'a, '_> {
    pub(super) fn mark(&self) -> Mark {
        Mark {
            plates: self.hir.plates.len(),
            axes: self.hir.axes.len(),
            vars: self.hir.vars.len(),
            steps: self.hir.steps.len(),
            weights: self.hir.weights.len(),
            recurrences: self.hir.recurrences.len(),
            made: self.nets.made.clone(),
        }
    }

    pub(super) fn forget(&mut self, mark: Mark) {
        self.hir.plates.truncate(mark.plates);
        self.hir.axes.truncate(mark.axes);
        self.hir.vars.truncate(mark.vars);
        self.hir.steps.truncate(mark.steps);
        self.hir.weights.truncate(mark.weights);
        self.hir.recurrences.truncate(mark.recurrences);
        self.nets.made = mark.made;
    }

    /// The net that a name means where it is used.
    pub(super) fn net(&self, name: &str, env: &Env) -> Option<NetDecl<'a>> {
        self.nets.decls.get(name).filter(|_| env.scope != Scope::Library).copied()
    }

    /// Look at a declaration, whether the net is called or not.
    pub(super) fn net_body(&mut self, net: NetDecl<'a>) {
        let Some(env) = self.signature(net.plates, net.params) else { return };
        if !self.head_types(net, &env) {
            return;
        }
        let inputs = net.params.iter().map(|p| self.own_input(p, &env)).collect();
        self.forward(net, net.name.name.clone(), inputs, &env);
    }

    /// A call that stands where one value does.
    pub(super) fn net_value(
        &mut self,
        e: &'a ast::Expr,
        net: NetDecl<'a>,
        plates: &'a [IndexItem],
        args: &'a [Arg],
        env: &Env,
    ) -> Expr {
        let Some(mut values) = self.net_call(e, net, plates, args, env) else { return bad(e.span) };
        match (net.result, values.len()) {
            (NetResult::Single(_), 1) => values.remove(0),
            _ => {
                let name = &net.name.name;
                let call = format!("{name}(…)");
                self.diags.push(
                    Code::NET_PARTS
                        .at(e.span, format!("the net `{name}` gives {} values", values.len()))
                        .here("several values where one is needed")
                        .label(net.name.span, "declared here")
                        .help(format!(
                            "write {}, or name them: `let q = {call}`, then `q.{}`",
                            net.parts_text(&call),
                            net.results().first().and_then(|r| r.0).map_or("mu", |n| &n.name)
                        )),
                );
                bad(e.span)
            }
        }
    }

    /// The net that an expression calls, if it gives named parts.
    pub(super) fn parts_call(&self, e: &'a ast::Expr, env: &Env) -> Option<NetDecl<'a>> {
        let A::Call { callee, .. } = &e.kind else { return None };
        let name = match &callee.kind {
            A::Name(n) => n,
            A::Index { base, .. } => match &base.kind {
                A::Name(n) => n,
                _ => return None,
            },
            _ => return None,
        };
        self.net(name, env).filter(|n| matches!(n.result, NetResult::Heads(_)))
    }

    /// The named parts of such a call, in the order declared.
    pub(super) fn parts_of(&mut self, e: &'a ast::Expr, net: NetDecl<'a>, env: &Env) -> Option<Vec<(String, Expr)>> {
        let A::Call { callee, args } = &e.kind else { return None };
        let plates: &'a [IndexItem] = if let A::Index { items, .. } = &callee.kind { items } else { &[] };
        let values = self.net_call(e, net, plates, args, env)?;
        let names = net.results().into_iter().filter_map(|r| Some(r.0?.name.clone()));
        Some(names.zip(values).collect())
    }

    /// `encode(x).mu`
    pub(super) fn part_of_call(
        &mut self,
        e: &'a ast::Expr,
        base: &'a ast::Expr,
        net: NetDecl<'a>,
        name: &Ident,
        env: &Env,
    ) -> Expr {
        let Some(parts) = self.parts_of(base, net, env) else { return bad(e.span) };
        match parts.iter().find(|p| p.0 == name.name) {
            Some((_, value)) => value.clone(),
            None => {
                let known: Vec<String> = parts.into_iter().map(|p| p.0).collect();
                self.no_such_part(&net.name.name, name, &known, net.name.span);
                bad(e.span)
            }
        }
    }

    pub(super) fn no_such_part(&mut self, of: &str, name: &Ident, known: &[String], declared: Span) {
        let d = Code::UNKNOWN_FIELD
            .at(name.span, format!("`{of}` has no part called `{}`", name.name))
            .here("not a part")
            .label(declared, "declared here");
        self.diags.push(match crate::diag::nearest(&name.name, known.iter().map(String::as_str)) {
            Some(n) => d.help(format!("did you mean `.{n}`?")),
            None => d.help(format!(
                "its parts are {}",
                known.iter().map(|k| format!("`{k}`")).collect::<Vec<_>>().join(", ")
            )),
        });
    }

    /// One value per declared result.
    fn net_call(
        &mut self,
        e: &'a ast::Expr,
        net: NetDecl<'a>,
        plates: &'a [IndexItem],
        args: &'a [Arg],
        env: &Env,
    ) -> Option<Vec<Expr>> {
        let name = &net.name.name;
        if self.expanding.contains(&net.name.span) {
            self.diags.push(
                Code::RECURSIVE_FUNCTION
                    .at(e.span, format!("the net `{name}` calls itself"))
                    .here("a call inside its own body")
                    .label(net.name.span, "declared here")
                    .help("write the layers one after the other: `dense(50, tanh) |> dense(50, tanh) |> head`"),
            );
            return None;
        }
        let args: Vec<&Arg> = args.iter().collect();
        let matched = self.match_arguments(e.span, name, net.params, 0, &args, net.name.span)?;
        let values: Vec<Expr> = net.params.iter().zip(&matched).map(|(p, a)| self.passed(p, &a.value, env)).collect();
        if self.broken_bodies.contains(&net.name.span) || values.iter().any(is_bad) || self.budget.exhausted {
            return None;
        }
        let generic = self.bind_plates(e.span, net.as_function()?, plates, &values, env)?;
        let inner = Env { plates: generic, scope: Scope::Body, ..Env::default() };
        let mut instance = name.clone();
        if !inner.plates.is_empty() {
            let bound: Vec<&str> = inner.plates.iter().map(|(_, a)| self.plate_name(*a)).collect();
            instance = format!("{name}[{}]", bound.join(", "));
        }
        let (mut bound, mut inputs) = (vec![], vec![]);
        let mut inner = inner;
        for (param, v) in net.params.iter().zip(values) {
            let v = self.argument(param, v, name, &inner)?;
            let input = self.input(net, param, &v, &mut inner)?;
            bound.push((input.local, v));
            inputs.push(input.signal);
        }
        self.expanding.push(net.name.span);
        if self.nets.open.is_empty() {
            self.nets.called = Some(e.span);
        }
        self.nets.open.push(bound.clone());
        self.nets.priors.push(net.prior);
        let results = self.forward(net, instance, inputs, &inner);
        self.nets.priors.pop();
        self.nets.open.pop();
        self.expanding.pop();
        let wrapped = results?.into_iter().map(|r| {
            let mut out = bound.iter().rev().fold(r, |body, (local, value)| bind(*local, value.clone(), body));
            out.span = e.span;
            out
        });
        Some(wrapped.collect())
    }

    /// An argument as the first layer sees it.
    fn input(&mut self, net: NetDecl<'a>, param: &'a ast::Param, v: &Expr, inner: &mut Env) -> Option<Input> {
        let mut features = vec![];
        for a in &param.ty.axes {
            let axis = self.axis_named(&a.plate, inner)?;
            if !v.axes.contains(&axis) {
                let (plate, has) = (self.plate_name(axis).to_string(), self.axes_text(&v.axes));
                self.diags.push(
                    Code::NET_PLATES
                        .at(v.span, format!("`{}` of `{}` runs over `{plate}`, and this does not", param.name.name, net.name.name))
                        .here(format!("varies over {has}"))
                        .label(a.plate.span, "the net reads one number per cell of this plate")
                        .help(format!("pass a value that varies over `{plate}`, or declare the parameter over the plate of the value")),
                );
                return None;
            }
            features.push(axis);
        }
        let local = Local { id: self.fresh_local(), ty: v.ty, axes: v.axes.clone(), range: bounds::Range::ALL };
        let value = Expr { kind: ExprKind::Local(local.id), ty: v.ty, axes: v.axes.clone(), span: v.span };
        let id = local.id;
        inner.locals.push((param.name.name.clone(), local));
        Some(Input { local: id, signal: Signal { name: param.name.name.clone(), value, features, image: false } })
    }

    /// A parameter of a net that is looked at without a call.
    fn own_input(&self, param: &'a ast::Param, env: &Env) -> Signal {
        let local = env.locals.iter().find(|l| l.0 == param.name.name).expect("the signature binds every parameter");
        let kind = ExprKind::Local(local.1.id);
        let value = Expr { kind, ty: local.1.ty, axes: local.1.axes.clone(), span: param.name.span };
        Signal { name: param.name.name.clone(), value, features: local.1.axes.clone(), image: false }
    }

    /// Whether every result has a type that a head can give.
    fn head_types(&mut self, net: NetDecl<'a>, env: &Env) -> bool {
        let mut fine = true;
        for (_, ty) in net.results() {
            let base = ty.base.name.as_str();
            if !(base == "real" || base == "simplex" && !ty.axes.is_empty()) || ty.optional {
                let d = Code::HEAD_SUPPORT
                    .at(ty.span, format!("a head of a net cannot give `{base}`"))
                    .here("a head gives real numbers");
                self.diags.push(match base {
                    "bool" => {
                        d.help("declare `real`, and use it as the logit of a probability: `Bernoulli(logit: f(x))`")
                    }
                    "int" => d.help("declare `real`, and use it as the log of a rate: `Poisson(log: f(x))`"),
                    "simplex" => d.help("name the plate whose cells sum to 1: `simplex[class]`"),
                    _ => d.help("declare `real`, `real > 0`, `real in (0, 1)` or `simplex[plate]`"),
                });
                fine = false;
            }
            for a in &ty.axes {
                fine &= self.axis_named(&a.plate, env).is_some();
            }
        }
        fine
    }

    /// The results of a net from its inputs.
    fn forward(&mut self, net: NetDecl<'a>, instance: String, inputs: Vec<Signal>, env: &Env) -> Option<Vec<Expr>> {
        let (source, layers) = self.pipeline(net, env)?;
        let inputs = match source {
            None => inputs,
            Some(e) => vec![self.source(net, e, &inputs, env)?],
        };
        let mut run = layers::Run { instance, next: 1, bound: vec![] };
        let Some((Layer::Head(by, _), body)) = layers.split_last() else {
            let last = layers.last().map_or(net.body.span, Layer::span);
            self.diags.push(
                Code::HEAD_MISPLACED
                    .at(last, format!("the net `{}` does not end in `head`", net.name.name))
                    .here("the last layer")
                    .help("end it with `|> head`: one affine layer per declared result, on its scale"),
            );
            return None;
        };
        let consumed: Vec<AxisId> = inputs.iter().flat_map(|s| s.features.clone()).collect();
        let signals = self.run(&mut run, inputs, body, None)?;
        // A recurrent cell leaves its plate to be mapped over.
        let along = |s: &Signal| minus(&s.value.axes, &s.features).into_iter().filter(|a| consumed.contains(a));
        let along: Vec<AxisId> = sorted(&signals.iter().flat_map(along).collect::<Vec<_>>());
        let mut results = vec![];
        for (name, ty) in net.results() {
            let constraint = self.constraint(ty, env);
            let axes: Option<Vec<AxisId>> = ty.axes.iter().map(|a| self.axis_named(&a.plate, env)).collect();
            let axes = axes?;
            if let Some(left) = along.iter().copied().find(|a| !axes.contains(a)) {
                let plate = self.plate_name(left).to_string();
                self.diags.push(
                    Code::NET_PLATES
                        .at(
                            ty.span,
                            format!("the layers give a value per cell of `{plate}`, and this result is one for all"),
                        )
                        .here(format!("not over `{plate}`"))
                        .help(format!(
                            "declare it over `{plate}`, or take the last state: `… |> last({plate}) |> head`"
                        )),
                );
                return None;
            }
            let axes = minus(&axes, &along);
            if matches!(constraint, Constraint::None) && !self.nets.free.contains(&ty.span) {
                self.nets.free.push(ty.span);
            }
            results.push(self.head(&mut run, (&signals, by.as_ref()), name, ty, constraint, &axes)?);
        }
        let wrap = |r: Expr| run.bound.iter().rev().fold(r, |body, (l, v)| bind(*l, v.clone(), body));
        let results: Vec<Expr> = results.into_iter().map(wrap).collect();
        (!results.iter().any(is_bad)).then_some(results)
    }

    /// The type of a net's result that an expression is, if that can be any number.
    pub(super) fn free_result(&self, mut e: &Expr) -> Option<Span> {
        if let ExprKind::Read { var, .. } = &e.kind {
            return self.nets.free_lets.get(var).copied();
        }
        if !matches!(e.kind, ExprKind::Bind { .. }) {
            return None;
        }
        while let ExprKind::Bind { body, .. } = &e.kind {
            e = body;
        }
        Some(e.span).filter(|s| self.nets.free.contains(s))
    }

    /// Remember what a let holds.
    pub(super) fn remember_result(&mut self, var: VarId, value: &Expr) {
        if let Some(ty) = self.free_result(value) {
            self.nets.free_lets.insert(var, ty);
        }
    }

    /// What stands before the first `|>` when it is a value: the layers then start from that instead of the parameters.
    fn source(&mut self, net: NetDecl<'a>, e: &'a ast::Expr, inputs: &[Signal], env: &Env) -> Option<Signal> {
        let value = self.expr(e, env);
        let value = self.numeric(value, "put this into a layer");
        if is_bad(&value) {
            return None;
        }
        // What the parameters vary over beyond their own plates is mapped over.
        let mapped = inputs.iter().fold(vec![], |all, s| union(&all, &minus(&s.value.axes, &s.features)));
        let features = minus(&value.axes, &mapped);
        let id = self.fresh_local();
        let kind = ExprKind::Local(id);
        let signal = Expr { kind, ty: value.ty, axes: value.axes.clone(), span: e.span };
        let bound = bind(id, value, signal);
        Some(Signal { name: net.name.name.clone(), value: bound, features, image: false })
    }
}

struct Input {
    local: LocalId,
    signal: Signal,
}
