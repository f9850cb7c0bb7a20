//! A guide written out by hand: which latents it draws, from what, and whether that fits the model.

use super::dist::Drawn;
use super::expr::{is_bad, walk};
use super::*;
use crate::diag::{Code, nearest};
use crate::syntax::ast::{ExprKind as A, GuideItem};

/// What the lines so far have done.
#[derive(Default)]
struct Above {
    lines: Vec<GuideLine>,
    /// The latents of each line, and where they are named.
    covered: Vec<(VarId, Span)>,
    /// The guide's own params and lets.
    own: Vec<VarId>,
    /// Discrete latents that a line reads, and where.
    read: Vec<(VarId, Span)>,
    /// `rest ~ …`: where, and which line.
    rest: Option<(Span, usize)>,
    /// Whether a line was wrong: what is missing may be a consequence.
    wrong: bool,
}

impl Above {
    fn at(&self, var: VarId) -> Option<Span> {
        self.covered.iter().find(|c| c.0 == var).map(|c| c.1)
    }
}

impl<'a> Checker<'a, '_> {
    pub(super) fn written_guide(&mut self, span: Span, items: &'a [GuideItem]) {
        let mut above = Above::default();
        let steps = self.hir.steps.len();
        for item in items {
            let errors = self.diags.list.len();
            match item {
                GuideItem::Let { head, value } => {
                    self.let_(head, value, VarKind::Let, None);
                }
                GuideItem::Param { head, ty, init } => self.param(head, ty.as_ref(), init),
                GuideItem::Sample { names, dist, attrs } => {
                    let asked = self.guide_attrs(attrs);
                    let parts = net::flat(dist);
                    let (first, layers) = parts.split_first().expect("a chain has a first part");
                    match (family_call(first), layers.first()) {
                        (Some((name, args)), None) => {
                            self.smooth_only(names, asked, "drawn by a family");
                            self.family_line(names, name, args, dist.span, &mut above);
                        }
                        (Some((name, _)), Some(layer)) => self.diags.push(
                            Code::GUIDE_FLOW
                                .at(layer.span, "a flow bends the draws of one latent, and a family is over several")
                                .here("bends a family")
                                .help(format!(
                                    "draw the latent by itself, `z ~ Normal(m, s) |> …`; or write `{name}()` alone"
                                )),
                        ),
                        (None, _) => names.iter().for_each(|n| self.draw_line(n, first, layers, asked, &mut above)),
                    }
                }
            }
            self.own_steps(steps, &mut above);
            above.wrong |= self.diags.list.len() > errors;
        }
        self.gradients(&mut above);
        if !above.wrong && !self.diags.has_errors() {
            self.left_out(span, &mut above);
        }
        self.hir.of_guide = above.own;
        self.hir.written = Some(Written { span, lines: above.lines });
    }

    /// Take what a line has declared (lets, params, the weights of nets) out of the model's steps, as lines of the guide.
    fn own_steps(&mut self, steps: usize, above: &mut Above) {
        let made = self.hir.steps.split_off(steps);
        let latent = |s: &Step| if let Step::Latent { span, .. } = s { Some(*span) } else { None };
        if let Some(span) = made.iter().find_map(latent) {
            self.diags.push(
                Code::NET_PRIOR
                    .at(span, "the weights of this net are latents, and a guide adds none to the model")
                    .here("called in the guide only")
                    .help("leave the prior of its weights out: those of a guide's nets are fitted to points"),
            );
            let own = |s: &Step| if let Step::Let { var, .. } = s { Some(*var) } else { None };
            return above.own.extend(made.iter().filter_map(own));
        }
        for step in made {
            if let Step::Let { var, .. } | Step::Param { var, .. } = &step {
                above.own.push(*var);
            }
            if let Step::Let { value, .. } = &step
                && !self.may_read(value, above)
            {
                continue;
            }
            above.lines.push(GuideLine::Own(step));
        }
    }

    /// How the gradient is to pass through the draws of a line, and where that is said.
    fn guide_attrs(&mut self, attrs: &[ast::Attr]) -> Option<(Gradient, Span)> {
        let mut asked: Option<(Gradient, Span)> = None;
        for a in attrs {
            let name = a.name.name.as_str();
            let gradient = match (name, a.args.as_slice()) {
                ("enumerate", []) => Gradient::Enumerate,
                ("score", []) => Gradient::Score,
                ("gumbel", args) => match temperature(args) {
                    Some(temperature) => Gradient::Gumbel { temperature },
                    None => {
                        let at = args.first().map_or(a.span, |arg| arg.value.span);
                        let d = Code::GUMBEL_TEMPERATURE
                            .at(at, "`@gumbel` takes a temperature, a positive number")
                            .here("not one positive number");
                        self.diags.push(d.help("write `@gumbel(temperature: 0.5)`"));
                        continue;
                    }
                },
                _ => {
                    let said = match name {
                        "enumerate" | "score" => format!("`@{name}` takes no arguments"),
                        _ => format!("`@{name}` has no meaning on a line of a guide"),
                    };
                    let d = Code::UNKNOWN_ATTRIBUTE.at(a.span, said).here("not here");
                    self.diags.push(match crate::diag::nearest(name, words::names(words::GUIDE_ATTRIBUTES)) {
                        Some(n) => d.help(format!("did you mean `@{n}`?")).edit(a.name.span, n),
                        None => d.help(
                            "a line takes `@score`, and that of a discrete latent also `@enumerate` or `@gumbel(temperature: 0.5)`",
                        ),
                    });
                    continue;
                }
            };
            match asked {
                Some((other, at)) if other != gradient => self.diags.push(
                    Code::UNKNOWN_ATTRIBUTE
                        .at(a.span, "the gradient is taken in one way")
                        .here("this one or the other")
                        .label(at, "the other one")
                        .help("remove one of them"),
                ),
                _ => asked = Some((gradient, a.span)),
            }
        }
        asked
    }

    /// The latent that a line names; `None`: reported.
    fn guided(&mut self, name: &Ident, above: &Above) -> Option<VarId> {
        if self.poisoned.contains(&name.name) {
            return None;
        }
        let unknown = |said: String| Code::GUIDE_OF_OTHER.at(name.span, said).here("no latent");
        let Some(entry) = self.names.get(&name.name) else {
            let latents: Vec<&str> =
                self.hir.vars.iter().filter(|v| matches!(v.kind, VarKind::Latent)).map(|v| v.name.as_str()).collect();
            let d = unknown(format!("the model has no latent called `{}`", name.name));
            let d = match nearest(&name.name, latents.iter().copied()) {
                Some(n) => d.meant(n),
                None => d.help(match latents.as_slice() {
                    [] => "declare it: `latent x ~ …`".into(),
                    some => format!("the latents are {}", some.join(", ")),
                }),
            };
            self.diags.push(d);
            return None;
        };
        let (what, at) = (entry.what, entry.span);
        let Some(var) = entry.var.filter(|v| matches!(self.hir.var(*v).kind, VarKind::Latent)) else {
            let d =
                unknown(format!("a guide draws latents, and `{}` is a {what}", name.name)).label(at, "declared here");
            self.diags.push(match what {
                "column" => d.help("remove the line: data are known, nothing is to be drawn"),
                "param" => d.help("remove the line: a `param` is fitted to a point"),
                _ => d.help("remove the line: it follows from the latents"),
            });
            return None;
        };
        if let Some(first) = above.at(var) {
            self.diags.push(
                Code::GUIDE_TWICE
                    .at(name.span, format!("the guide draws `{}` twice", name.name))
                    .here("the second time")
                    .label(first, "the first time")
                    .help("remove one of the two lines"),
            );
            return None;
        }
        Some(var)
    }

    /// `mu, tau ~ fullrank()`, `rest ~ meanfield()`
    fn family_line(&mut self, names: &'a [Ident], family: &str, args: &[ast::Arg], span: Span, above: &mut Above) {
        let refuse = |said: String| Code::GUIDE_FAMILY.at(span, said);
        let family = match family {
            "meanfield" if args.is_empty() => Guide::MeanField,
            "fullrank" if args.is_empty() => Guide::FullRank,
            "meanfield" | "fullrank" => {
                let d = refuse(format!("the family `{family}` takes no arguments")).here("one too many");
                return self.diags.push(d.help(format!("write `{family}()`")));
            }
            _ => {
                let d = refuse(format!("`{family}` is a guide for all latents, and not for some of them"));
                return self.diags.push(d.here("not for a group").help("write `fullrank()` or `meanfield()`"));
            }
        };
        let mut vars = vec![];
        for name in names {
            let free = self.names.get(&name.name).is_none();
            if name.name == "rest" && free {
                if let Some((first, _)) = above.rest.replace((name.span, above.lines.len())) {
                    self.diags.push(
                        Code::GUIDE_TWICE
                            .at(name.span, "the guide has two lines for the rest")
                            .here("the second one")
                            .label(first, "the first one")
                            .help("remove one of them"),
                    );
                    return;
                }
                continue;
            }
            let Some(var) = self.guided(name, above) else { continue };
            if self.hir.discrete(var).is_some() {
                let d = Code::GUIDE_FAMILY
                    .at(name.span, format!("`{}` is discrete, and a family draws real numbers", name.name))
                    .here("discrete")
                    .label(self.hir.var(var).span, "declared here")
                    .help("leave it out: discrete latents that the guide does not name are summed out");
                self.diags.push(d);
                continue;
            }
            above.covered.push((var, name.span));
            vars.push(var);
        }
        above.lines.push(GuideLine::Family { vars, family, read: vec![], span });
    }

    /// `z ~ Normal(m, s)`: drawn per cell of the latent's plates, or jointly over one of them.
    fn draw_line(
        &mut self,
        name: &'a Ident,
        dist: &'a ast::Expr,
        layers: &[&'a ast::Expr],
        asked: Option<(Gradient, Span)>,
        above: &mut Above,
    ) {
        if name.name == "rest" && self.names.get("rest").is_none() {
            let d = Code::GUIDE_FAMILY
                .at(dist.span, "`rest` stands for all other latents, which have no distribution in common")
                .here("not a family")
                .help("write `rest ~ meanfield()` or `rest ~ fullrank()`");
            return self.diags.push(d);
        }
        let Some(var) = self.guided(name, above) else {
            above.wrong = true;
            return self.names_within(dist, &Env::default());
        };
        above.covered.push((var, name.span));
        let v = self.hir.var(var).clone();
        let all = sorted(&v.axes);
        let over = match self.is_joint(dist) {
            false => vec![],
            true if v.joint > 0 => v.axes[v.axes.len() - v.joint..].to_vec(),
            true => v.axes.last().copied().into_iter().collect(),
        };
        let axes: Vec<AxisId> = v.axes.iter().filter(|a| !over.contains(a)).copied().collect();
        let list_axis = if let [one] = v.axes.as_slice() { Some(*one) } else { None };
        let env = Env { context: all, list_axis, ..Env::default() };
        let drawn: Drawn = self.computed(v.name.clone(), name.span, &axes, &over);
        let (before, steps) = (self.diags.list.len(), self.hir.steps.len());
        let used = self.dist(dist, &drawn, &env);
        let flow = match &used {
            Some(used) if !layers.is_empty() => {
                let Some(flow) = self.flow(&v, used, layers, &env) else {
                    self.own_steps(steps, above);
                    return;
                };
                flow
            }
            _ => net::Flow::default(),
        };
        above.own.extend(flow.bends.iter().map(|b| b.input));
        // The weights of nets that are called here first come before the line.
        self.own_steps(steps, above);
        for d in &mut self.diags.list[before..] {
            if std::ptr::eq(d.code, Code::PLATE_MISMATCH) && d.labels.iter().all(|l| l.span != v.span) {
                d.labels.push(crate::diag::Label { span: v.span, text: "the latent".into() });
            }
        }
        let Some(used) = used else { return };
        let range = flow.range.clone().unwrap_or_else(|| used.range.clone());
        if !self.same_values(&DistUse { range, ..used.clone() }, name, &v) {
            return;
        }
        let flow = flow.bends;
        let args = used.args.iter().all(|a| self.may_read(&a.2, above));
        if !flow.iter().all(|b| self.may_read(&b.value, above)) {
            return;
        }
        // The condition of a choice is in the density.
        if !args || !self.may_read(&used.logpdf, above) {
            return;
        }
        let gradient = asked.map_or(Gradient::Auto, |a| a.0);
        let (over, dist, span) = (over, used, name.span);
        if self.hir.discrete(var).is_some() {
            return above.lines.push(GuideLine::Draw { var, over, dist, flow, gradient, span });
        }
        if !flow.is_empty() {
            self.smooth_only(std::slice::from_ref(name), asked, "bent by a flow");
        } else if gradient != Gradient::Score {
            self.smooth_only(std::slice::from_ref(name), asked, "continuous");
        }
        if self.smooth_draw(&dist, name, &v) {
            above.lines.push(GuideLine::Draw { var, over, dist, flow, gradient, span });
        }
    }

    /// Refuse a choice of gradient where there is none to make.
    fn smooth_only(&mut self, names: &[Ident], asked: Option<(Gradient, Span)>, what: &str) {
        let (Some((gradient, at)), Some(name)) = (asked, names.first()) else { return };
        let d = Code::GUIDE_GRADIENT
            .at(at, format!("`{}` is {what}: the gradient passes through its draws", name.name))
            .here(if gradient == Gradient::Score { "for lines with a distribution" } else { "for discrete latents" })
            .label(name.span, what.to_string());
        self.diags.push(match what {
            "continuous" => d.help("remove it, or write `@score`: the score function needs no slope along the draw"),
            _ => d.help("remove it"),
        });
    }

    /// A discrete latent that a later line reads has a value there: it cannot stand for all of its values.
    fn gradients(&mut self, above: &mut Above) {
        for line in &mut above.lines {
            let GuideLine::Draw { var, gradient, span, .. } = line else { continue };
            let Some((_, read)) = above.read.iter().find(|r| r.0 == *var) else { continue };
            if *gradient == Gradient::Enumerate {
                let name = &self.hir.var(*var).name;
                self.diags.push(
                    Code::GUIDE_GRADIENT
                        .at(*read, format!("this line needs the value of `{name}`, which is enumerated"))
                        .here("read here")
                        .label(*span, "all of its values")
                        .help("write `@score` in the place of `@enumerate`"),
                );
            }
            if matches!(gradient, Gradient::Auto | Gradient::Enumerate) {
                *gradient = Gradient::Read;
            }
        }
    }

    /// Whether a distribution draws several cells together.
    fn is_joint(&self, dist: &ast::Expr) -> bool {
        match &dist.kind {
            A::Call { callee, .. } => match &callee.kind {
                A::Name(n) => self.forms(n).is_some_and(|f| f.iter().any(|f| !f.support.axes.is_empty())),
                _ => false,
            },
            A::If { then, .. } => self.is_joint(then),
            _ => false,
        }
    }

    /// Whether the guide draws what the latent can be.
    fn same_values(&mut self, used: &DistUse, name: &Ident, v: &Var) -> bool {
        let (guide, model) = (&used.range, &v.constraint);
        let kind = |c: &Constraint| match c {
            Constraint::None | Constraint::Lower { .. } | Constraint::Upper { .. } | Constraint::Interval { .. } => {
                None
            }
            other => Some(std::mem::discriminant(other)),
        };
        let same = match (kind(guide), kind(model)) {
            (None, None) => {
                let ((gl, gu), (ml, mu)) = (guide.ends(), model.ends());
                used.support.ty == v.ty && same_end(gl, ml) && same_end(gu, mu)
            }
            (a, b) => a == b,
        };
        // Positions on a plate and the two values of a condition have no ends.
        let same = same || v.ty != Ty::Real && used.support.ty == v.ty && kind(guide) == kind(model);
        if same {
            return true;
        }
        let values = |ty: Ty, c: &Constraint| match (ty, c) {
            (Ty::Real, c) => range_text(c),
            (ty, _) => self.ty_text(ty),
        };
        let (theirs, ours) = (values(used.support.ty, guide), values(v.ty, model));
        let d = Code::GUIDE_SUPPORT
            .at(used.span, format!("the guide draws {theirs} for `{}`, which can be {ours}", v.name))
            .here(format!("gives {theirs}"))
            .label(v.span, format!("declared here: {ours}"));
        let _ = name;
        self.diags.push(match (v.ty, model) {
            (Ty::Real, Constraint::None) => d.help("choose a distribution on all numbers: `Normal(m, s)`"),
            (Ty::Real, Constraint::Lower { bound: Expr { kind: ExprKind::Number(0.0), .. }, .. }) => {
                d.help("choose a distribution on the positive numbers: `LogNormal(m, s)`")
            }
            (Ty::Real, _) => {
                d.help(format!("leave it to a family on the unconstrained scale: `{} ~ meanfield()`", v.name))
            }
            _ => d.help(format!(
                "draw it from the distribution that the model gives it, or leave `{}` out: it is then summed out",
                v.name
            )),
        });
        false
    }

    /// Whether a line reads only what a guide may: data, constants, its own params and lets, latents drawn above.
    fn may_read(&mut self, e: &Expr, above: &mut Above) -> bool {
        let mut reads: Vec<(VarId, Span)> = vec![];
        walk(e, &mut |e| {
            if let ExprKind::Read { var, .. } = &e.kind {
                reads.push((*var, e.span));
            }
        });
        for (var, span) in reads {
            let v = self.hir.var(var).clone();
            let name = &v.name;
            let said = |text: String| Code::GUIDE_READS.at(span, text).label(v.span, "declared here");
            let d = match &v.kind {
                VarKind::Latent => match above.at(var) {
                    Some(_) => {
                        if v.ty != Ty::Real {
                            above.read.push((var, span));
                        }
                        self.read_of_family(var, span, above);
                        continue;
                    }
                    None => said(format!("the guide reads `{name}` before it draws it"))
                        .here("not drawn above")
                        .help(format!("move the line `{name} ~ …` above this one, or do without `{name}` here")),
                },
                VarKind::Let | VarKind::Report | VarKind::Param { .. } if above.own.contains(&var) => continue,
                // A net may be shared with the model.
                VarKind::Param { .. } if self.hir.weights.contains(&var) => continue,
                VarKind::Let | VarKind::Report => {
                    said(format!("a guide sees data, its own lines and the latents that it has drawn: not `{name}`"))
                        .here(format!("a {} of the model", self.word(var)))
                        .help(format!("compute it inside the guide, under another name: `let {name}_2 = …`"))
                }
                VarKind::Param { .. } => said(format!("the guide reads the model's `param` `{name}`"))
                    .here("a param of the model")
                    .help("give the guide a `param` of its own"),
                VarKind::Column(c) if c.optional && self.hir.missing.iter().any(|m| m.column == var) => {
                    said(format!("the guide reads `{name}`, whose empty cells are latents"))
                        .here("has missing cells")
                        .help("give the guide a column without empty cells")
                }
                VarKind::Column(_)
                | VarKind::DataValue { .. }
                | VarKind::Const { .. }
                | VarKind::Start { .. }
                | VarKind::Mask { .. }
                | VarKind::Order { .. } => continue,
            };
            self.diags.push(d);
            return false;
        }
        true
    }

    /// A latent of a family that another line depends on is transformed where its own line stands.
    fn read_of_family(&mut self, var: VarId, span: Span, above: &mut Above) {
        let constant = |c: &Constraint| {
            let (lower, upper) = c.ends();
            lower.into_iter().chain(upper).all(|e| matches!(e.kind, ExprKind::Number(_)))
        };
        let v = self.hir.var(var).clone();
        for line in &mut above.lines {
            let GuideLine::Family { vars, read, span: at, .. } = line else { continue };
            if !vars.contains(&var) || read.contains(&var) {
                continue;
            }
            if !constant(&v.constraint) {
                self.diags.push(
                    Code::GUIDE_READS
                        .at(
                            span,
                            format!(
                                "the range of `{}` depends on other values, and a family does not know it yet",
                                v.name
                            ),
                        )
                        .here("read here")
                        .label(*at, "its family")
                        .label(v.span, "declared here")
                        .help(format!("give `{}` a distribution of its own in the guide", v.name)),
                );
                return;
            }
            read.push(var);
        }
    }

    /// Whether a draw is a smooth function of noise whose distribution does not depend on the guide's params.
    fn smooth_draw(&mut self, used: &DistUse, name: &Ident, v: &Var) -> bool {
        let mut other = None;
        if let Some(sample) = &used.sample {
            walk(sample, &mut |e| {
                if let ExprKind::Noise(noise, _) = &e.kind
                    && !matches!(noise, Noise::Normal | Noise::Uniform | Noise::Gamma)
                {
                    other = Some(*noise);
                }
            });
        }
        let why = match (&used.sample, &used.log_kept, other) {
            (_, Some(_), _) => "it is cut to a range",
            (None, ..) => "it has no `sample()`",
            (_, _, Some(_)) => "its draws jump when the arguments change",
            _ => return true,
        };
        let help = match &v.constraint {
            Constraint::None => "draw it from a `Normal`, or leave it to a family: `… ~ meanfield()`".to_string(),
            Constraint::Lower { .. } => {
                "draw it from a `LogNormal` or a `Weibull`, or leave it to a family: `… ~ meanfield()`".into()
            }
            _ => format!("leave it to a family: `{} ~ meanfield()`", v.name),
        };
        self.diags.push(
            Code::GUIDE_GRADIENT
                .at(used.span, format!("a draw from `{}` is not a smooth function of noise: {why}", used.name))
                .here("no gradient along its draws")
                .label(name.span, "the latent")
                .help(help),
        );
        false
    }

    /// Continuous latents that no line draws: what `rest` means, or an error.
    fn left_out(&mut self, span: Span, above: &mut Above) {
        let latent = |s: &Step| if let Step::Latent { var, .. } = s { Some(*var) } else { None };
        let mut left: Vec<VarId> = self.hir.steps.iter().filter_map(latent).collect();
        left.extend(self.hir.missing.iter().map(|m| m.cells));
        left.retain(|v| above.at(*v).is_none() && self.hir.discrete(*v).is_none());
        if let Some((_, line)) = above.rest {
            if let GuideLine::Family { vars, .. } = &mut above.lines[line] {
                vars.extend(left);
            }
            return;
        }
        let Some(first) = left.first().map(|v| self.hir.var(*v)) else { return };
        let names: Vec<String> = left.iter().map(|v| format!("`{}`", self.hir.var(*v).name)).collect();
        let mut d = Code::GUIDE_INCOMPLETE
            .at(
                first.span,
                format!(
                    "the guide does not say how {} {} drawn",
                    names.join(", "),
                    if names.len() > 1 { "are" } else { "is" }
                ),
            )
            .here("no line for it")
            .label(span, "the guide");
        for v in &left[1..] {
            d = d.label(self.hir.var(*v).span, "nor for it");
        }
        self.diags.push(
            d.help(format!("add a line, `{} ~ …`, or a family for all others, `rest ~ meanfield()`", first.name)),
        );
    }
}

/// `(temperature: 0.5)`
fn temperature(args: &[ast::Arg]) -> Option<f64> {
    let [one] = args else { return None };
    match (&one.name, &one.value.kind) {
        (Some(name), _) if name.name != "temperature" => None,
        (_, A::Number { value, .. }) => Some(*value).filter(|t| *t > 0.0 && t.is_finite()),
        _ => None,
    }
}

/// `meanfield()`: the name of a family, and its arguments.
fn family_call(dist: &ast::Expr) -> Option<(&str, &[ast::Arg])> {
    let A::Call { callee, args } = &dist.kind else { return None };
    match &callee.kind {
        A::Name(n) if matches!(n.as_str(), "meanfield" | "fullrank" | "lowrank" | "flow" | "amortised") => {
            Some((n, args))
        }
        _ => None,
    }
}

/// Whether two ends of ranges are the same: none, equal numbers, or the same expression.
fn same_end(a: Option<&Expr>, b: Option<&Expr>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => !is_bad(a) && !is_bad(b) && same_expr(a, b),
        _ => false,
    }
}

fn same_expr(a: &Expr, b: &Expr) -> bool {
    match (&a.kind, &b.kind) {
        (ExprKind::Number(x), ExprKind::Number(y)) => x == y,
        (ExprKind::Read { var: v, index: i }, ExprKind::Read { var: w, index: j }) => {
            let same = |a: &Index, b: &Index| match (a, b) {
                (Index::Axis(a), Index::Axis(b)) => a == b,
                (Index::At(a), Index::At(b)) => same_expr(a, b),
                (Index::Label(a, _), Index::Label(b, _)) => a == b,
                _ => false,
            };
            v == w && i.len() == j.len() && i.iter().zip(j).all(|(a, b)| same(a, b))
        }
        (ExprKind::Unary(f, a), ExprKind::Unary(g, b)) => f == g && same_expr(a, b),
        (ExprKind::Binary(f, a, b), ExprKind::Binary(g, c, d)) => f == g && same_expr(a, c) && same_expr(b, d),
        (ExprKind::Size(p), ExprKind::Size(q)) => p == q,
        (ExprKind::Position(p), ExprKind::Position(q)) => p == q,
        _ => false,
    }
}

/// A set of real values in words.
fn range_text(c: &Constraint) -> String {
    let end = |e: &Expr| if let ExprKind::Number(v) = e.kind { format!("{v}") } else { "another value".into() };
    match c {
        Constraint::None => "any number".into(),
        Constraint::Lower { bound: Expr { kind: ExprKind::Number(0.0), .. }, .. } => "positive numbers".into(),
        Constraint::Lower { bound, .. } => format!("numbers above {}", end(bound)),
        Constraint::Upper { bound, .. } => format!("numbers below {}", end(bound)),
        Constraint::Interval { lower, upper, .. } => format!("numbers between {} and {}", end(lower), end(upper)),
        Constraint::Simplex => "a simplex".into(),
        Constraint::Matrix(kind) => format!("a matrix of the type `{}`", kind.name()),
        Constraint::UnitVector => "a unit vector".into(),
        Constraint::ZeroSum => "values that sum to 0".into(),
        Constraint::Ordered { .. } => "increasing values".into(),
    }
}
