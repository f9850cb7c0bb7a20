//! Plates that a line does not spell out: `let mu` has a cell per house because its value has.

use super::Document;
use crate::check::plates;
use crate::hir::{Step, VarKind};
use crate::syntax::ast::DeclKind;

/// A text shown after a place in a line, which is not part of it.
#[derive(Debug, PartialEq)]
pub struct Hint {
    pub offset: usize,
    pub text: String,
}

pub fn hints(document: &Document) -> Vec<Hint> {
    let hir = &document.checked.hir;
    let mut hints = vec![];
    for decl in document.checked.ast.decls.iter() {
        let head = match &decl.kind {
            DeclKind::Let { head, .. } | DeclKind::ReportLet { head, .. } => head,
            DeclKind::Observe { target, .. } => {
                let step = hir.steps.iter().find_map(|s| match s {
                    Step::Observe { axes, span, .. } if *span == decl.span => Some(axes),
                    _ => None,
                });
                if let Some(axes) = step.filter(|a| !a.is_empty()) {
                    let names: Vec<&str> = axes.iter().map(|a| hir.axis(*a).name.as_str()).collect();
                    let written = document.session.sources.slice(target.span);
                    if !written.contains('[') {
                        hints.push(Hint { offset: target.span.end as usize, text: format!("[{}]", names.join(", ")) });
                    }
                }
                continue;
            }
            _ => continue,
        };
        if !head.axes.is_empty() || !head.over.is_empty() {
            continue;
        }
        let var =
            hir.vars.iter().find(|v| v.span == head.name.span && matches!(v.kind, VarKind::Let | VarKind::Report));
        if let Some(text) = var.map(|v| plates(hir, v)).filter(|t| !t.is_empty()) {
            hints.push(Hint { offset: head.name.span.end as usize, text });
        }
    }
    hints
}
