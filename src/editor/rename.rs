//! Another name for a value, everywhere that it stands.

use super::Document;
use super::names::Kind;
use crate::source::Span;
use crate::syntax::ast::DeclKind;
use crate::syntax::token::{Token, lex};

/// The texts that replace those at these places; or why it cannot be done.
pub type Renaming = Result<Vec<(Span, String)>, String>;

/// `None` where no name of the model stands.
pub fn rename(document: &Document, offset: usize, name: &str) -> Option<Renaming> {
    let (id, _) = document.names.at(document.file(), offset as u32)?;
    let def = document.names.def(id);
    let is_name = matches!(lex(name).as_slice(), [(0, Token::Name(_), _)]);
    if !is_name {
        return Some(Err(format!("`{name}` is not a name: letters a-z, digits and `_`, and no digit first")));
    }
    if def.span.file != document.file() {
        let file = &document.session.sources.get(def.span.file).name;
        return Some(Err(format!("`{}` is declared in `{file}`: rename it there", def.name)));
    }
    let taken = document.names.defs.iter().find(|d| {
        let overlap = match (d.scope, def.scope) {
            (Some(a), Some(b)) => a == b,
            _ => true,
        };
        d.name == name && d.span != def.span && d.of == def.of && overlap
    });
    if let Some(taken) = taken {
        return Some(Err(format!("there is a {} called `{name}` already", taken.kind.word())));
    }
    let mut edits: Vec<(Span, String)> = vec![];
    // Forms of one distribution are declared each by itself, and called by one name.
    let forms = document.names.defs.iter().filter(|d| d.kind == Kind::Distribution && d.name == def.name);
    let forms = forms.filter(|_| def.kind == Kind::Distribution).map(|d| d.span);
    let mut places: Vec<Span> = document.names.all_of(id).into_iter().chain(forms).collect();
    places.sort();
    places.dedup();
    edits.extend(places.into_iter().map(|s| (s, name.to_owned())));
    if def.kind == Kind::Column {
        match source_of(document, def.span) {
            Source::Written => {}
            // The file keeps its header.
            Source::Own { after } => edits.push((after, format!(" from \"{}\"", def.name))),
            Source::Shared => {
                return Some(Err(format!(
                    "`{}` is declared together with other columns: give it a line of its own first",
                    def.name
                )));
            }
        }
    }
    Some(Ok(edits))
}

/// Where a column says what the file calls it.
enum Source {
    Written,
    /// Nowhere: it could after this place, which is empty.
    Own {
        after: Span,
    },
    Shared,
}

fn source_of(document: &Document, name: Span) -> Source {
    for decl in &document.checked.whole.decls {
        let DeclKind::Table { fields, .. } = &decl.kind else { continue };
        let Some(field) = fields.iter().find(|f| f.names.iter().any(|n| n.span == name)) else { continue };
        return match (&field.from, field.names.len()) {
            (Some(_), 1) => Source::Written,
            (None, 1) => Source::Own { after: Span { start: field.ty.span.end, ..field.ty.span } },
            _ => Source::Shared,
        };
    }
    Source::Written
}
