//! Warnings that need the whole program: what never reaches the data, what is declared and not used.

use super::expr::walk;
use super::support::reads;
use super::*;
use crate::diag::{Code, Severity};

/// Drop the warnings that the declarations they stand in allow.
pub fn allow(model: &Ast, diags: &mut Diags) {
    for decl in &model.decls {
        let codes: Vec<&str> = decl
            .attrs
            .iter()
            .filter(|a| a.name.name == "allow")
            .flat_map(|a| &a.args)
            .filter_map(|a| if let ast::ExprKind::Name(n) = &a.value.kind { Some(n.as_str()) } else { None })
            .collect();
        if codes.is_empty() {
            continue;
        }
        diags.list.retain(|d| {
            let inside = d
                .span
                .is_some_and(|s| s.file == decl.span.file && s.start >= decl.span.start && s.end <= decl.span.end);
            !(inside && d.severity == Severity::Warning && codes.contains(&d.code.id))
        });
    }
}

impl<'a> Checker<'a, '_> {
    pub(super) fn lint(&mut self, model: &'a Ast) {
        self.unreached_latents();
        self.unused_columns();
        self.shared_by_all_rows();
        self.no_data(model);
        self.structure(model);
        self.idioms(model);
        self.suspects();
    }

    /// A latent that no observation or factor depends on is fitted to its prior.
    fn unreached_latents(&mut self) {
        let steps = std::mem::take(&mut self.hir.steps);
        if !steps.iter().any(|s| matches!(s, Step::Observe { .. } | Step::Factor { .. })) {
            self.hir.steps = steps;
            return;
        }
        // What each latent or let reads.
        let mut parents: HashMap<VarId, Vec<VarId>> = HashMap::new();
        let mut roots = vec![];
        let read = |e: &Expr, into: &mut Vec<VarId>| {
            walk(e, &mut |e| {
                if let ExprKind::Read { var, .. } = &e.kind {
                    into.push(*var);
                }
            });
        };
        for s in &steps {
            match s {
                Step::Observe { dist, .. } => {
                    dist.args.iter().for_each(|a| read(&a.2, &mut roots));
                    // The condition of a choice is in the density.
                    read(&dist.logpdf, &mut roots);
                }
                Step::Factor { value, .. } => read(value, &mut roots),
                Step::Latent { var, dist, .. } => {
                    let own = parents.entry(*var).or_default();
                    dist.args.iter().for_each(|a| read(&a.2, own));
                    read(&dist.logpdf, own);
                    reads(&self.hir.var(*var).constraint, &mut |v| own.push(v));
                }
                Step::Let { var, value, .. } => read(value, parents.entry(*var).or_default()),
                Step::Param { .. } => {}
            }
        }
        // Backwards from the data: what a reached latent's prior or a reached let depends on.
        let mut reached: HashSet<VarId> = HashSet::new();
        while let Some(v) = roots.pop() {
            if reached.insert(v) {
                roots.extend(parents.get(&v).into_iter().flatten());
            }
        }
        // A latent drawn from what the data inform is a prediction, not a stray.
        let mut informed = reached.clone();
        for s in &steps {
            let var = match s {
                Step::Latent { var, .. } | Step::Let { var, .. } => *var,
                _ => continue,
            };
            let random = |v: &VarId| informed.contains(v) && self.depends_on_latent(*v);
            if parents.get(&var).is_some_and(|p| p.iter().any(random)) {
                informed.insert(var);
                continue;
            }
            if let (Step::Latent { .. }, false) = (s, informed.contains(&var)) {
                let v = self.hir.var(var);
                let at = Code::LATENT_UNREACHED
                    .at(v.span, format!("the latent `{}` never reaches the data", v.name))
                    .here("no observation depends on it")
                    .help("its posterior is its prior; use it in the model, or remove it");
                self.diags.push(at);
            }
        }
        self.hir.steps = steps;
    }

    fn unused_columns(&mut self) {
        let filled: HashSet<PlateId> = self
            .hir
            .vars
            .iter()
            .filter(|v| !matches!(v.kind, VarKind::Column(_)))
            .flat_map(|v| v.axes.iter().map(|a| self.plate_of(*a)))
            .collect();
        let used = |v: &Var, id: VarId| {
            let levels = matches!(v.ty, Ty::Index(p) if filled.contains(&p));
            v.ty == Ty::Key || levels || self.used.contains(&id)
        };
        let mut found = vec![];
        for (i, v) in self.hir.vars.iter().enumerate() {
            let id = VarId(i as u32);
            let d = match &v.kind {
                VarKind::Column(c) if !used(v, id) => Code::UNUSED_COLUMN
                    .at(
                        v.span,
                        format!(
                            "the column `{}` of `{}` is declared and not used",
                            v.name,
                            self.hir.table(c.table).name
                        ),
                    )
                    .here("not used")
                    .help("remove it: columns that the model does not declare are ignored"),
                VarKind::DataValue { .. } if !used(v, id) => Code::UNUSED_COLUMN
                    .at(v.span, format!("the data value `{}` is declared and not used", v.name))
                    .here("not used")
                    .help("remove it"),
                VarKind::Let if !self.used.contains(&id) => Code::UNUSED_LET
                    .at(v.span, format!("`{}` is computed and not used", v.name))
                    .here("not used")
                    .help(format!("remove it, or print it with `report {}`", v.name)),
                _ => continue,
            };
            found.push(d);
        }
        found.into_iter().for_each(|d| self.diags.push(d));
    }

    fn no_data(&mut self, model: &'a Ast) {
        let anything = self.hir.steps.iter().any(|s| matches!(s, Step::Observe { .. } | Step::Factor { .. }));
        let latents = self.hir.steps.iter().any(|s| matches!(s, Step::Latent { .. }));
        if let (false, true, Some(last)) = (anything, latents, model.decls.last()) {
            self.diags.push(
                Code::NOTHING_OBSERVED
                    .at(last.span, "the model observes nothing: its posterior is its prior")
                    .here("the last line, and no `observe` up to here")
                    .help("add an `observe … ~ …`"),
            );
        }
    }
}
