//! What is shown where the pointer rests: a value with its type, plates and support; a distribution with its density.

use super::Document;
use super::names::Kind;
use super::words::keyword;
use crate::check::describe;
use crate::library::{Entry, entries};
use crate::source::Span;
use crate::syntax::token::Token;

/// Markdown about the name at a place, and the name's span.
pub fn hover(document: &Document, offset: usize) -> Option<(Span, String)> {
    if let Some((id, span)) = document.names.at(document.file(), offset as u32) {
        let def = document.names.def(id);
        let var = document.checked.hir.vars.iter().find(|v| v.span == def.span);
        let source = document.session.sources.slice(def.whole);
        let mut text = match (def.kind, var.and_then(|v| describe(&document.checked.hir, v))) {
            (_, Some(line)) => fenced(&line),
            (Kind::Index, None) => format!("{}\nan index over the plate", fenced(source)),
            (Kind::Local, None) => format!("{}\nan argument", fenced(source)),
            (Kind::Function | Kind::Distribution | Kind::Net, None) => fenced(source),
            (kind, None) => format!("{}\n{}", fenced(first_line(source)), kind.word()),
        };
        if let Some(distribution) = written_with(document, def.whole, def.kind) {
            text += &fenced(&distribution);
        }
        if let Some(doc) = &def.doc {
            text += &format!("\n{doc}\n");
        }
        return Some((span, text));
    }
    let (start, token, end) = document.tokens().into_iter().find(|t| t.0 <= offset && offset <= t.2 && is_word(t.1))?;
    let span = document.span(start, end);
    let word = &document.text()[start..end];
    let known = document.names.uses.iter().any(|u| u.span == span);
    if !known && let Some(meaning) = keyword(word) {
        return Some((span, format!("`{word}`: {meaning}")));
    }
    let Token::Name(_) = token else { return None };
    let forms: Vec<&Entry> = entries().iter().filter(|e| e.name == word).collect();
    if forms.is_empty() {
        return None;
    }
    let form = |e: &&Entry| {
        format!("{}\n{}\n{}", fenced(&e.signature), e.doc, e.density.as_deref().map_or(String::new(), fenced))
    };
    Some((span, forms.iter().map(form).collect::<Vec<_>>().join("\n---\n")))
}

fn is_word(token: Token) -> bool {
    token.is_reserved() || matches!(token, Token::Name(_))
}

/// The declaration itself, if it says more than the description: a prior, a definition.
fn written_with(document: &Document, whole: Span, kind: Kind) -> Option<String> {
    let told = matches!(kind, Kind::Latent | Kind::Param | Kind::Let | Kind::Report | Kind::Plate | Kind::Const);
    told.then(|| first_line(document.session.sources.slice(whole)).to_owned())
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or("").trim_end()
}

fn fenced(code: &str) -> String {
    format!("```vi\n{code}\n```\n")
}
