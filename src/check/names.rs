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
    /// The values that a net gave together: `q.mu`, `q.sigma`.
    pub parts: super::net::Parts,
    pub span: Span,
    /// `column`, `latent`, …
    pub what: &'static str,
}

/// A declaration that has not been reached.
#[derive(Clone, Copy, Debug)]
pub struct Later {
    pub name: Span,
    /// `latent`, `let`, …
    pub what: &'static str,
}

#[derive(Debug, Default)]
pub struct Names {
    entries: HashMap<String, Entry>,
    /// Names declared further down, so that use before declaration is told apart from a misspelling.
    pub later: HashMap<String, Later>,
}

impl Names {
    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// Add a name, or say with what it clashes.
    pub fn declare(
        &mut self,
        ident: &Ident,
        what: &'static str,
        fill: impl FnOnce(&mut Entry),
        diags: &mut Diags,
    ) -> bool {
        let Some(old) = self.entries.get(&ident.name) else {
            let mut entry = Entry { span: ident.span, what, ..Entry::default() };
            fill(&mut entry);
            self.entries.insert(ident.name.clone(), entry);
            return true;
        };
        // The one further down is the one to change, whatever the order in which they are looked at.
        let [first, second] = match ident.span.file == old.span.file && ident.span < old.span {
            true => [(ident.span, what), (old.span, old.what)],
            false => [(old.span, old.what), (ident.span, what)],
        };
        let name = &ident.name;
        let help = match (first.1, second.1) {
            ("column", "column") if self.entries.get(name).is_some_and(|e| e.plate.is_some()) => {
                format!("to share the levels, call this one otherwise: `my_{name}: {name} from \"{name}\"`")
            }
            (_, "column") => format!("rename the column in the model: `my_{name}: … from \"{name}\"`"),
            ("column", w) => {
                format!("give the {w} another name, or rename the column in the model: `my_{name}: … from \"{name}\"`")
            }
            (_, w) => format!("give this {w} another name, for instance `{name}_2`"),
        };
        diags.push(
            Code::DUPLICATE_NAME
                .at(second.0, format!("`{name}` is declared twice"))
                .here(format!("this {} has the same name", second.1))
                .label(first.0, format!("a {} of that name", first.1))
                .help(help),
        );
        false
    }

    /// Add a column. The same name in two tables is allowed; it must then be qualified.
    pub fn declare_column(&mut self, ident: &Ident, var: VarId, same_table: bool, diags: &mut Diags) {
        match self.entries.get_mut(&ident.name) {
            Some(e) if !same_table && (e.var.is_some() || !e.ambiguous.is_empty()) && e.plate.is_none() => {
                let first = e.var.take();
                e.ambiguous.extend(first);
                e.ambiguous.push(var);
            }
            Some(e) if same_table && e.what == "column" => diags.push(
                Code::DUPLICATE_NAME
                    .at(ident.span, format!("the table has two columns called `{}`", ident.name))
                    .here("the second one")
                    .label(e.span, "the first one")
                    .help("remove one of them"),
            ),
            _ => {
                self.declare(ident, "column", |e| e.var = Some(var), diags);
            }
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
