//! Warnings about what statements say together: sums of which only the whole is told, classes that can change places,
//! families of guides that leave out what the priors tie.

use super::expr::walk;
use super::support::reads;
use super::*;
use crate::diag::Code;

impl<'a> Checker<'a, '_> {
    pub(super) fn structure(&mut self, model: &'a Ast) {
        let mut found = self.unused_params();
        found.extend(self.aliases());
        found.extend(self.symmetries());
        found.extend(self.weak_guide(model));
        found.into_iter().for_each(|d| self.diags.push(d));
    }

    fn unused_params(&self) -> Vec<Diagnostic> {
        let numbered = self.hir.vars.iter().enumerate().map(|(i, v)| (VarId(i as u32), v));
        let unused = numbered.filter(|(id, v)| {
            let own = !self.hir.weights.contains(id) && !self.hir.is_guides(*id);
            matches!(v.kind, VarKind::Param { .. }) && own && !self.used.contains(id)
        });
        let told = unused.map(|(_, v)| {
            Code::UNUSED_PARAM
                .at(v.span, format!("the param `{}` is declared and not used", v.name))
                .here("not used")
                .help("it would keep its start; use it in the model, or remove it")
        });
        told.collect()
    }

    /// How often each latent is read, but for reports, which tell nothing.
    fn reads_of(&self) -> HashMap<VarId, usize> {
        let mut count: HashMap<VarId, usize> = HashMap::new();
        for e in self.hir.steps.iter().flat_map(|s| self.parts(s)) {
            walk(e, &mut |e| {
                if let ExprKind::Read { var, .. } = &e.kind {
                    *count.entry(*var).or_default() += 1;
                }
            });
        }
        for v in &self.hir.vars {
            reads(&v.constraint, &mut |v| *count.entry(v).or_default() += 1);
        }
        count
    }

    /// The expressions of a statement that inform.
    fn parts<'s>(&self, step: &'s Step) -> Vec<&'s Expr> {
        match step {
            Step::Observe { dist, target, .. } => {
                dist.args.iter().map(|a| &a.2).chain([&dist.logpdf, target]).collect()
            }
            Step::Latent { dist, .. } => dist.args.iter().map(|a| &a.2).chain([&dist.logpdf]).collect(),
            Step::Let { var, .. } if matches!(self.hir.var(*var).kind, VarKind::Report) => vec![],
            Step::Let { value, .. } | Step::Factor { value, .. } => vec![value],
            Step::Param { .. } => vec![],
        }
    }

    /// `a + b` where neither is used anywhere else: every split of the sum fits alike.
    fn aliases(&self) -> Vec<Diagnostic> {
        let count = self.reads_of();
        let once = |v: &VarId| matches!(self.hir.var(*v).kind, VarKind::Latent) && count.get(v) == Some(&1);
        let mut told: Vec<Diagnostic> = vec![];
        let mut seen = HashSet::new();
        for e in self.hir.steps.iter().flat_map(|s| self.parts(s)) {
            walk(e, &mut |e| {
                let ExprKind::Binary(BinOp::Add, ..) = &e.kind else { return };
                let mut terms = vec![];
                summands(e, &mut terms);
                let read = |t: &&Expr| match &t.kind {
                    ExprKind::Read { var, .. } => Some((*var, t.span, t.axes.is_empty())),
                    _ => None,
                };
                let latents: Vec<(VarId, Span, bool)> = terms.iter().filter_map(read).filter(|l| once(&l.0)).collect();
                // A level for all, beside another one or beside the mean of a group's levels.
                let levels: Vec<_> = latents.iter().filter(|l| self.hir.var(l.0).axes.is_empty()).collect();
                let [first, rest @ ..] = levels.as_slice() else { return };
                if let [second, ..] = rest
                    && seen.insert((first.0, second.0))
                {
                    let (a, b) = (self.hir.var(first.0), self.hir.var(second.0));
                    let d = Code::ALIASED
                        .at(e.span, format!("the data tell only the sum of `{}` and `{}`", a.name, b.name))
                        .here("any split of the sum fits alike")
                        .label(a.span, "one part")
                        .label(b.span, "the other");
                    told.push(d.help(format!("leave one of them out: `{}`", a.name)));
                    return;
                }
                for group in latents.iter().filter(|l| !self.hir.var(l.0).axes.is_empty()) {
                    let Some(mean) = self.mean_of_group(group.0).filter(|m| once(m) && *m != first.0) else { continue };
                    if !seen.insert((first.0, mean)) {
                        continue;
                    }
                    let (a, u, m) = (self.hir.var(first.0), self.hir.var(group.0), self.hir.var(mean));
                    told.push(
                        Code::ALIASED
                            .at(first.1, format!("the data tell only the sum of `{}` and `{}`", a.name, m.name))
                            .here(format!("added to every `{}`", u.name))
                            .label(m.span, format!("the mean of every `{}`, so added to it as well", u.name))
                            .help(format!("give `{}` the mean 0, or leave `{}` out of the sum", u.name, a.name)),
                    );
                }
            });
        }
        told
    }

    /// The latent that is the mean of a latent's prior.
    fn mean_of_group(&self, var: VarId) -> Option<VarId> {
        let prior = self.hir.steps.iter().find_map(|s| match s {
            Step::Latent { var: v, dist, .. } if *v == var => Some(dist),
            _ => None,
        })?;
        let mu = prior.args.iter().find(|a| a.1 == "mu")?;
        match &mu.2.kind {
            ExprKind::Read { var, index } if index.is_empty() => Some(*var),
            _ => None,
        }
    }

    /// Classes that nothing tells apart: with each answer every renumbering of it is one.
    fn symmetries(&self) -> Vec<Diagnostic> {
        let mut told = vec![];
        for d in &self.hir.discrete {
            let plate = d.plate;
            let numbered = matches!(self.hir.plate(plate).kind, PlateKind::Sized(_));
            if !numbered || !matches!(self.hir.var(d.var).ty, Ty::Index(_)) || self.tells_apart(plate) {
                continue;
            }
            let over = |v: &Var| matches!(v.axes.as_slice(), [a] if self.plate_of(*a) == plate) && v.joint == 0;
            let level = self.hir.vars.iter().find(|v| {
                matches!(v.kind, VarKind::Latent)
                    && over(v)
                    && v.ty == Ty::Real
                    && matches!(v.constraint, Constraint::None)
            });
            let Some(v) = level else { continue };
            let name = &self.hir.plate(plate).name;
            let said = Code::LABEL_SYMMETRY
                .at(v.span, format!("the cells of `{name}` can change places: every numbering of them fits alike"))
                .here("the same prior for each")
                .help(format!("put them in order: `latent {} over {name}: ordered ~ …`", v.name));
            told.push(match self.heads.get(v.name.as_str()) {
                Some((_, head, None)) => said.edit(head.span, format!("{} over {name}: ordered", v.name)),
                _ => said,
            });
        }
        told
    }

    /// Whether some statement treats the cells of a plate differently.
    fn tells_apart(&self, plate: PlateId) -> bool {
        let of = |a: &AxisId| self.plate_of(*a) == plate;
        if self.hir.vars.iter().any(|v| matches!(v.constraint, Constraint::Ordered { .. }) && v.axes.iter().any(of)) {
            return true;
        }
        let mut apart = false;
        for step in &self.hir.steps {
            // Priors that vary over the plate by themselves, not by other latents of it.
            if let Step::Latent { var, dist, .. } = step
                && self.hir.var(*var).axes.iter().any(of)
            {
                let by_itself = |e: &Expr| {
                    let mut found = false;
                    walk(e, &mut |e| found |= matches!(&e.kind, ExprKind::List { axis, .. } if of(axis)));
                    found
                };
                apart |= dist.args.iter().any(|a| by_itself(&a.2));
            }
            for e in self.parts(step) {
                walk(e, &mut |e| {
                    apart |= match &e.kind {
                        ExprKind::Position(a) => of(a),
                        ExprKind::Read { var, index } => {
                            let v = self.hir.var(*var);
                            let known = matches!(
                                v.kind,
                                VarKind::Column(_) | VarKind::DataValue { .. } | VarKind::Param { .. }
                            );
                            let labelled =
                                index.iter().zip(&v.axes).any(|(i, a)| matches!(i, Index::Label(..)) && of(a));
                            labelled
                                || known && v.axes.iter().any(of)
                                || matches!(v.ty, Ty::Index(p) if p == plate) && known
                        }
                        ExprKind::At { index, axis, .. } => matches!(&**index, Index::Label(..)) && of(axis),
                        _ => false,
                    };
                });
            }
        }
        apart
    }

    /// `guide meanfield` where priors tie the cells of a latent together.
    fn weak_guide(&self, model: &'a Ast) -> Option<Diagnostic> {
        if self.hir.guide != Guide::MeanField {
            return None;
        }
        let family = model.decls.iter().find_map(|d| match &d.kind {
            DeclKind::GuideFamily { family } => Some(family.span),
            _ => None,
        })?;
        let chain = self.hir.steps.iter().find_map(|s| match s {
            Step::Latent { var, dist, .. } if dist.reads(*var) && !self.hir.is_summed(*var) => {
                Some((*var, "its neighbours"))
            }
            _ => None,
        });
        let joint = self.hir.steps.iter().find_map(|s| match s {
            Step::Latent { var, dist, .. } => {
                let v = self.hir.var(*var);
                let over = &v.axes[v.axes.len() - v.joint..];
                is_joint_gaussian(dist, over).then_some((*var, "the others"))
            }
            _ => None,
        });
        let (var, whom) = chain.or(joint)?;
        let v = self.hir.var(var);
        let d = Code::WEAK_GUIDE
            .at(
                family,
                format!(
                    "`meanfield` takes the cells of `{}` as independent, and its prior ties each to {whom}",
                    v.name
                ),
            )
            .here("independent normals")
            .label(v.span, "tied together");
        Some(
            d.help("leave the guide to the compiler, or write `guide fullrank` or `guide lowrank(10)`")
                .edit(family, "fullrank"),
        )
    }
}

/// The terms of a sum.
fn summands<'e>(e: &'e Expr, terms: &mut Vec<&'e Expr>) {
    match &e.kind {
        ExprKind::Binary(BinOp::Add, a, b) => {
            summands(a, terms);
            summands(b, terms);
        }
        _ => terms.push(e),
    }
}
