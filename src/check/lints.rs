//! Warnings that need the whole program: what never reaches the data, what is declared and not used.

use super::expr::walk;
use super::*;
use crate::diag::Code;

impl<'a> Checker<'a, '_> {
    pub(super) fn lint(&mut self, model: &'a Ast) {
        self.unreached_latents();
        self.unused_columns();
        self.no_data(model);
    }

    /// A latent that no observation, factor or report depends on is fitted to its prior.
    fn unreached_latents(&mut self) {
        let mut reached: HashSet<VarId> = HashSet::new();
        let mut frontier: Vec<VarId> = vec![];
        let mut visit = |e: &Expr, frontier: &mut Vec<VarId>| {
            walk(e, &mut |e| {
                if let ExprKind::Read { var, .. } = &e.kind
                    && reached.insert(*var)
                {
                    frontier.push(*var);
                }
            });
        };
        for s in &self.hir.steps {
            match s {
                Step::Observe { dist, .. } => dist.args.iter().for_each(|a| visit(&a.2, &mut frontier)),
                Step::Factor { value, .. } => visit(value, &mut frontier),
                _ => {}
            }
        }
        // Backwards: what a reached latent's prior or a reached let depends on.
        while let Some(v) = frontier.pop() {
            for s in &self.hir.steps {
                match s {
                    Step::Latent { var, dist, .. } if *var == v => {
                        dist.args.iter().for_each(|a| visit(&a.2, &mut frontier))
                    }
                    Step::Let { var, value, .. } if *var == v => visit(value, &mut frontier),
                    _ => {}
                }
            }
        }
        let anything = self.hir.steps.iter().any(|s| matches!(s, Step::Observe { .. } | Step::Factor { .. }));
        if !anything {
            return;
        }
        let alone: Vec<(String, Span)> = self
            .hir
            .steps
            .iter()
            .filter_map(|s| match s {
                Step::Latent { var, .. } if !reached.contains(var) => {
                    let v = self.hir.var(*var);
                    Some((v.name.clone(), v.span))
                }
                _ => None,
            })
            .collect();
        for (name, span) in alone {
            self.diags.push(
                Code::LATENT_UNREACHED
                    .at(span, format!("the latent `{name}` never reaches the data"))
                    .here("no observation depends on it")
                    .help("its posterior is its prior; use it in the model, or remove it"),
            );
        }
    }

    fn unused_columns(&mut self) {
        let mut unused = vec![];
        for t in &self.hir.tables {
            for &c in &t.columns {
                let v = self.hir.var(c);
                let key = v.ty == Ty::Key;
                let levels = matches!(v.ty, Ty::Index(p) if self.hir.vars.iter().any(|x| matches!(x.kind, VarKind::Latent | VarKind::Param { .. }) && x.axes.iter().any(|a| self.plate_of(*a) == p)));
                if !key && !self.used.contains(&c) && !levels {
                    unused.push((v.name.clone(), v.span, t.name.clone()));
                }
            }
        }
        for (name, span, table) in unused {
            self.diags.push(
                Code::UNUSED_COLUMN
                    .at(span, format!("the column `{name}` of `{table}` is declared and not used"))
                    .help("remove it: columns that the model does not declare are ignored"),
            );
        }
        let lets: Vec<(String, Span)> = self
            .hir
            .vars
            .iter()
            .enumerate()
            .filter(|(i, v)| matches!(v.kind, VarKind::Let) && !self.used.contains(&VarId(*i as u32)))
            .map(|(_, v)| (v.name.clone(), v.span))
            .collect();
        for (name, span) in lets {
            self.diags.push(
                Code::UNUSED_LET
                    .at(span, format!("`{name}` is computed and not used"))
                    .help(format!("remove it, or print it with `report {name}`")),
            );
        }
    }

    fn no_data(&mut self, model: &'a Ast) {
        let anything = self.hir.steps.iter().any(|s| matches!(s, Step::Observe { .. } | Step::Factor { .. }));
        let latents = self.hir.steps.iter().any(|s| matches!(s, Step::Latent { .. }));
        if let (false, true, Some(last)) = (anything, latents, model.decls.last()) {
            self.diags.push(
                Code::NOTHING_OBSERVED
                    .at(last.span, "the model observes nothing: its posterior is its prior")
                    .help("add an `observe … ~ …`"),
            );
        }
    }
}
