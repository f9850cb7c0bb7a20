//! Latents, params, lets, observations, factors and reports, in the order written.

use super::dist::Drawn;
use super::expr::is_bad;
use super::*;
use crate::diag::Code;
use crate::syntax::ast::Head;

impl<'a> Checker<'a, '_> {
    pub(super) fn steps(&mut self, model: &'a Ast) {
        for decl in &model.decls {
            match &decl.kind {
                DeclKind::Latent { heads, ty, .. } => {
                    let entry = |h: &'a Head| (h.name.name.as_str(), (VarKind::Latent, h, ty.as_ref()));
                    self.heads.extend(heads.iter().map(entry));
                }
                DeclKind::Let { head, ty, .. } => {
                    self.heads.insert(&head.name.name, (VarKind::Let, head, ty.as_ref()));
                }
                DeclKind::ReportLet { head, .. } => {
                    self.heads.insert(&head.name.name, (VarKind::Report, head, None));
                }
                _ => {}
            }
        }
        for decl in &model.decls {
            self.start(decl.span);
            match &decl.kind {
                DeclKind::Latent { heads, ty, dist } => self.latent(decl, heads, ty.as_ref(), dist),
                DeclKind::Param { head, ty, init } => self.param(head, ty.as_ref(), init),
                DeclKind::Let { head, ty, value } => match ty {
                    Some(t) if !self.typed_let(t) => self.poison(&head.name),
                    _ => {
                        let plate = ty.as_ref().and_then(|t| self.names.get(&t.base.name).and_then(|e| e.plate));
                        self.let_(head, value, VarKind::Let, plate);
                    }
                },
                DeclKind::ReportLet { head, value } => {
                    if let Some(v) = self.let_(head, value, VarKind::Report, None) {
                        self.used.insert(v);
                        self.hir.reports.push(v);
                    }
                }
                DeclKind::Report { names } => self.report(names),
                DeclKind::Observe { target, over, dist } => self.observe(decl, target, over, dist),
                DeclKind::Factor { value } => self.factor(value),
                DeclKind::Table { .. }
                | DeclKind::DataValue { .. }
                | DeclKind::Plate { .. }
                | DeclKind::Const { .. }
                | DeclKind::Fn { .. }
                | DeclKind::Dist { .. }
                | DeclKind::Net { .. }
                | DeclKind::Guide { .. }
                | DeclKind::GuideFamily { .. }
                | DeclKind::Fit { .. }
                // Taken in before.
                | DeclKind::Import { .. }
                | DeclKind::Error => {}
            }
            self.attrs(decl);
        }
    }

    pub(super) fn declare_step(&mut self, name: &Ident, what: &'static str, var: VarId) {
        self.names.declare(name, what, |e| e.var = Some(var), self.diags);
        self.names.later.remove(&name.name);
    }

    /// A left side without a type of its own.
    pub(super) fn computed(&self, what: String, span: Span, axes: &[AxisId], over: &[AxisId]) -> Drawn {
        Drawn {
            what,
            span,
            axes: sorted(axes),
            over: over.to_vec(),
            declared: None,
            observed: None,
            missing: false,
            cells_of: None,
            censoring: None,
            columns: None,
        }
    }

    fn report(&mut self, names: &'a [Ident]) {
        for n in names {
            let Some(var) = self.names.get(&n.name).and_then(|e| e.var) else {
                match self.names.get(&n.name).map(|e| (e.what, e.span)) {
                    Some((what, at)) => self.diags.push(
                        Code::PLATE_AS_VALUE
                            .at(n.span, format!("`{}` is a {what}, not a value", n.name))
                            .here("a value is needed here")
                            .label(at, "declared here")
                            .help("report a latent, or a value that is computed"),
                    ),
                    None => self.unknown_name(&n.name, n.span, &Env::default()),
                }
                continue;
            };
            if matches!(self.hir.var(var).kind, VarKind::Column(_) | VarKind::DataValue { .. } | VarKind::Const { .. })
            {
                let word = self.word(var);
                self.diags.push(
                    Code::REPORT_OF_DATA
                        .at(n.span, format!("`{}` is a {word}: it is known, there is nothing to report", n.name))
                        .here("not estimated")
                        .label(self.hir.var(var).span, "declared here")
                        .help(format!("remove it, or report something computed: `report m = mean({})`", n.name))
                        .edit(n.span, format!("m = mean({})", n.name)),
                );
                continue;
            }
            self.used.insert(var);
            if self.hir.discrete(var).is_some() {
                continue; // what is said of it is said anyway
            }
            if !self.hir.reports.contains(&var) {
                self.hir.reports.push(var);
            }
        }
    }

    fn factor(&mut self, value: &'a ast::Expr) {
        let v = self.expr(value, &Env::default());
        let v = self.numeric(v, "add this to the log joint");
        if is_bad(&v) {
            return;
        }
        self.hir.steps.push(Step::Factor { axes: v.axes.clone(), span: value.span, value: v });
    }
}
