//! The namespace of a model, and what a name refers to.

use std::collections::HashMap;

use crate::diag::{Code, Diags, nearest};
use crate::hir::{PlateId, TableId, VarId};
use crate::source::Span;
use crate::syntax::ast::Ident;

/// What one name stands for. A table and its rows share a name, as do a category column and its levels.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    pub var: Option<VarId>,
    pub plate: Option<PlateId>,
    pub table: Option<TableId>,
    /// Columns of one name in several tables: each must be written `table.column`.
    pub ambiguous: Vec<VarId>,
    pub span: Span,
}

#[derive(Debug, Default)]
pub struct Names {
    entries: HashMap<String, Entry>,
    /// Names declared further down, with their place, so that use before declaration is told apart from a misspelling.
    pub later: HashMap<String, Span>,
}

impl Names {
    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// Add a name, or say with what it clashes.
    pub fn declare(&mut self, ident: &Ident, what: &str, fill: impl FnOnce(&mut Entry), diags: &mut Diags) {
        if let Some(old) = self.entries.get(&ident.name) {
            diags.push(
                Code::DUPLICATE_NAME
                    .at(ident.span, format!("`{}` is declared twice", ident.name))
                    .here(format!("this {what} has the same name"))
                    .label(old.span, "first declared here")
                    .help(if what == "column" {
                        format!("rename the column in the model: `my_{0}: … from \"{0}\"`", ident.name)
                    } else {
                        format!("give this {what} another name, for instance `{}_2`", ident.name)
                    }),
            );
            return;
        }
        let mut entry = Entry { span: ident.span, ..Entry::default() };
        fill(&mut entry);
        self.entries.insert(ident.name.clone(), entry);
    }

    /// Add a column. The same name in two tables is allowed; it must then be qualified.
    pub fn declare_column(&mut self, ident: &Ident, var: VarId, same_table: bool, diags: &mut Diags) {
        match self.entries.get_mut(&ident.name) {
            Some(e) if !same_table && (e.var.is_some() || !e.ambiguous.is_empty()) && e.plate.is_none() => {
                let first = e.var.take();
                e.ambiguous.extend(first);
                e.ambiguous.push(var);
            }
            Some(_) => self.declare(ident, "column", |_| {}, diags),
            None => self.declare(ident, "column", |e| e.var = Some(var), diags),
        }
    }

    pub fn entry_mut(&mut self, name: &str) -> Option<&mut Entry> {
        self.entries.get_mut(name)
    }

    /// The nearest name that a user may have meant, among these and the names in scope.
    pub fn suggest<'a>(&'a self, name: &str, more: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
        let mut all: Vec<&str> = self.entries.keys().map(String::as_str).chain(more).collect();
        all.sort_unstable();
        nearest(name, all)
    }
}
