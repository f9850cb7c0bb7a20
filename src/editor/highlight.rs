//! What each word of a text is, for an editor that colours by meaning.

use super::Document;
use super::names::{Kind, Use};
use super::words::TYPES;
use crate::library::entries;
use crate::source::Span;
use crate::syntax::token::{DECLARATION_WORDS, Token, lex};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    Keyword,
    Type,
    /// A plate, a table, an index over a plate.
    Plate,
    /// Data: columns and values.
    Data,
    /// An unknown.
    Latent,
    /// A value computed from others.
    Value,
    Distribution,
    Function,
    Argument,
    Number,
    Text,
    Comment,
    Attribute,
}

/// Coloured words in the order of the text.
pub fn highlight(document: &Document) -> Vec<(usize, usize, Colour)> {
    let mut named: std::collections::HashMap<Span, Colour> = Default::default();
    let names = &document.names;
    for def in names.defs.iter().filter(|d| d.span.file == document.file()) {
        named.insert(def.span, colour_of(def.kind));
    }
    for Use { name, span, def } in names.uses.iter().filter(|u| u.span.file == document.file()) {
        let colour = match def {
            Some(id) => Some(colour_of(names.def(*id).kind)),
            None => library(name),
        };
        if let Some(colour) = colour {
            named.insert(*span, colour);
        }
    }
    let mut out = vec![];
    let mut first = true;
    let mut before = None;
    for (start, token, end) in lex(document.text()) {
        let colour = match token {
            Token::Number(_) | Token::BareDecimal(_) => Some(Colour::Number),
            Token::Text(_) | Token::ForeignText(_) | Token::UnclosedText(_) => Some(Colour::Text),
            Token::Comment | Token::SlashComment | Token::BlockComment => Some(Colour::Comment),
            Token::Name(_) if before == Some(Token::At) => Some(Colour::Attribute),
            Token::Name(word) => named.get(&document.span(start, end)).copied().or_else(|| match word {
                _ if first && DECLARATION_WORDS.contains(&word) => Some(Colour::Keyword),
                "on" | "without" => Some(Colour::Keyword),
                _ if TYPES.iter().any(|t| t.0 == word) => Some(Colour::Type),
                _ => library(word),
            }),
            token if token.is_reserved() => Some(Colour::Keyword),
            _ => None,
        };
        out.extend(colour.map(|c| (start, end, c)));
        first = matches!(token, Token::Newline | Token::LBrace);
        before = Some(token);
    }
    out
}

fn colour_of(kind: Kind) -> Colour {
    match kind {
        Kind::Table | Kind::Plate | Kind::Index => Colour::Plate,
        Kind::Column | Kind::DataValue | Kind::Const => Colour::Data,
        Kind::Latent | Kind::Param => Colour::Latent,
        Kind::Let | Kind::Report | Kind::Head => Colour::Value,
        Kind::Net | Kind::Function => Colour::Function,
        Kind::Distribution => Colour::Distribution,
        Kind::Local => Colour::Argument,
    }
}

fn library(name: &str) -> Option<Colour> {
    entries().iter().find(|e| e.name == name).map(|e| match e.is_distribution() {
        true => Colour::Distribution,
        false => Colour::Function,
    })
}
