//! The declarations of a text, for an outline.

use super::Document;
use super::names::Kind;
use crate::source::Span;

/// One line of the outline; the columns of a table lie below it.
pub struct Item {
    pub name: String,
    pub kind: Kind,
    pub whole: Span,
    pub name_span: Span,
    pub inside: Vec<Item>,
}

pub fn outline(document: &Document) -> Vec<Item> {
    let own = |span: Span| span.file == document.file();
    let item = |i: usize| {
        let def = &document.names.defs[i];
        Item { name: def.name.clone(), kind: def.kind, whole: def.whole, name_span: def.span, inside: vec![] }
    };
    let mut items: Vec<(usize, Item)> = vec![];
    for (i, def) in document.names.defs.iter().enumerate() {
        match (def.kind, def.of) {
            (Kind::Index | Kind::Local, _) => {}
            _ if !own(def.span) => {}
            (_, Some(owner)) => {
                if let Some((_, parent)) = items.iter_mut().find(|(at, _)| *at == owner.0) {
                    parent.inside.push(item(i));
                }
            }
            (_, None) => items.push((i, item(i))),
        }
    }
    items.into_iter().map(|(_, item)| item).collect()
}
