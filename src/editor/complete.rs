//! What can stand at a place: told from the words before it, since a line that is being written does not parse.

use std::collections::HashSet;

use super::Document;
use super::beside::columns;
use super::calls::{call_at, forms};
use super::names::{Kind, Names};
use super::words::{ATTRIBUTES, GUIDE_ATTRIBUTES, GUIDES, KEYWORDS, TYPES};
use crate::check::{describe, fit_options};
use crate::library::entries;
use crate::syntax::token::{DECLARATION_WORDS, Token, lex};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompletionKind {
    Keyword,
    Type,
    Plate,
    Data,
    Latent,
    Value,
    Distribution,
    Function,
    Argument,
    Column,
    Option,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    pub label: String,
    pub kind: CompletionKind,
    /// What it is, in a few words.
    pub detail: String,
    /// Markdown.
    pub doc: String,
    /// What is written; `$0` is where the cursor goes.
    pub insert: String,
}

fn item(label: &str, kind: CompletionKind, detail: &str) -> Completion {
    Completion { label: label.into(), kind, detail: detail.into(), doc: String::new(), insert: label.into() }
}

/// What the words before a place ask for.
#[derive(Debug, PartialEq)]
enum Wanted {
    Declaration,
    Distribution,
    Guide,
    Type,
    Attribute,
    /// Behind a line of a guide.
    GuideAttribute,
    FitOption,
    /// A column's name, within the braces of a table.
    Column,
    /// A name after a dot: the table's or value's.
    Part(String),
    /// Inside `[ ]`.
    Index,
    /// Plates: after `over` or `in`.
    Plate,
    Value,
    /// A new name, a number, or inside quotes: nothing can be guessed.
    Nothing,
}

pub fn complete(document: &Document, offset: usize) -> Vec<Completion> {
    let wanted = wanted(document.text(), offset);
    let mut out = vec![];
    match &wanted {
        Wanted::Declaration => {
            let meaning = |w: &str| KEYWORDS.iter().find(|k| k.0 == w).map_or("", |k| k.1);
            out.extend(DECLARATION_WORDS.iter().map(|w| {
                let mut c = item(w, CompletionKind::Keyword, meaning(w));
                c.insert = snippet(w).to_owned();
                c
            }));
        }
        Wanted::Distribution => distributions(document, &mut out),
        Wanted::Guide => {
            out.extend(GUIDES.iter().map(|(w, meaning)| item(w, CompletionKind::Option, meaning)));
        }
        Wanted::Type => {
            out.extend(TYPES.iter().map(|(w, meaning)| item(w, CompletionKind::Type, meaning)));
            named(document, offset, &[Kind::Plate, Kind::Table], &mut out);
        }
        Wanted::Attribute => {
            out.extend(ATTRIBUTES.iter().map(|(w, meaning)| item(w, CompletionKind::Option, meaning)));
        }
        Wanted::GuideAttribute => {
            out.extend(GUIDE_ATTRIBUTES.iter().map(|(w, meaning)| item(w, CompletionKind::Option, meaning)));
        }
        Wanted::FitOption => out.extend(fit_options().map(|w| {
            let mut c = item(w, CompletionKind::Option, "option of the fit");
            c.insert = format!("{w}: $0");
            c
        })),
        Wanted::Column => {
            let known: HashSet<&str> = document.names.defs.iter().map(|d| d.name.as_str()).collect();
            for column in columns(document.path()) {
                if known.contains(column.name.as_str()) {
                    continue;
                }
                let detail = format!("column of {}", column.file);
                let mut c = item(&column.name, CompletionKind::Column, &detail);
                c.insert = declared_as(&column.name, column.ty);
                out.push(c);
            }
        }
        Wanted::Part(owner) => parts(document, owner, &mut out),
        Wanted::Plate => named(document, offset, &[Kind::Plate, Kind::Table, Kind::Column, Kind::Local], &mut out),
        Wanted::Index | Wanted::Value => {
            if wanted == Wanted::Value
                && let Some(call) = call_at(document, offset)
                && call.current.is_none()
            {
                arguments(document, &call.name, &call.named, &mut out);
            }
            let any = [
                Kind::Index,
                Kind::Local,
                Kind::Latent,
                Kind::Param,
                Kind::Let,
                Kind::Column,
                Kind::DataValue,
                Kind::Const,
                Kind::Plate,
                Kind::Table,
                Kind::Report,
                Kind::Net,
                Kind::Function,
            ];
            named(document, offset, &any, &mut out);
            functions(&mut out);
            out.extend(["if", "over"].map(|w| item(w, CompletionKind::Keyword, "")));
        }
        Wanted::Nothing => {}
    }
    let mut seen = HashSet::new();
    out.retain(|c| seen.insert(c.label.clone()));
    out
}

/// The words before a place, without the one being written.
fn wanted(text: &str, offset: usize) -> Wanted {
    let offset = text.floor_char_boundary(offset.min(text.len()));
    let mut tokens = lex(&text[..offset]);
    if let Some((_, token, end)) = tokens.last().copied()
        && end == offset
    {
        match token {
            Token::Comment | Token::SlashComment | Token::BlockComment | Token::Number(_) | Token::UnclosedText(_) => {
                return Wanted::Nothing;
            }
            Token::Name(_) | Token::ForeignName(_) => _ = tokens.pop(),
            token if token.is_reserved() => _ = tokens.pop(),
            _ => {}
        }
    }
    let kinds: Vec<Token> = tokens.iter().map(|t| t.1).filter(|t| *t != Token::Comment).collect();
    let Some(&last) = kinds.last() else { return Wanted::Declaration };
    let (bracket, since) = innermost(&kinds);
    let first = line_word(&kinds, since);
    match (last, bracket) {
        (Token::At, Some(Block::Guide)) => Wanted::GuideAttribute,
        (Token::At, _) => Wanted::Attribute,
        (Token::Dot, _) => match kinds.iter().rev().nth(1) {
            Some(Token::Name(owner)) => Wanted::Part((*owner).to_owned()),
            _ => Wanted::Nothing,
        },
        (Token::Newline | Token::LBrace | Token::Comma, Some(Block::Table)) => Wanted::Column,
        (Token::Newline | Token::LBrace | Token::Comma, Some(Block::Fit)) => Wanted::FitOption,
        (Token::Newline | Token::LBrace, Some(Block::Guide)) => Wanted::Value,
        (Token::Newline, None) => Wanted::Declaration,
        (Token::Over | Token::In, _) => Wanted::Plate,
        (Token::Tilde, _) => Wanted::Distribution,
        (Token::LBracket, _) | (Token::Comma, Some(Block::Index)) => Wanted::Index,
        (Token::Colon, Some(Block::Table) | None) => Wanted::Type,
        (Token::Name("guide"), None) => Wanted::Guide,
        (Token::Name("observe" | "report" | "factor"), None) => Wanted::Value,
        (Token::Name(word), None) if Some(word) == first && DECLARATION_WORDS.contains(&word) => Wanted::Nothing,
        (Token::Name(_) | Token::Number(_) | Token::Text(_) | Token::RParen | Token::RBracket | Token::RBrace, _) => {
            Wanted::Nothing
        }
        _ => Wanted::Value,
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Block {
    Table,
    Fit,
    Guide,
    Body,
    Call,
    Index,
}

/// The innermost bracket that is open, and the first token of its line or inside.
fn innermost(kinds: &[Token]) -> (Option<Block>, usize) {
    let mut open: Vec<(Block, usize)> = vec![];
    let mut line = 0;
    for (i, token) in kinds.iter().enumerate() {
        match token {
            Token::LBrace => {
                let block = match kinds.get(line) {
                    Some(Token::Name("data")) => Block::Table,
                    Some(Token::Name("fit")) => Block::Fit,
                    Some(Token::Name("guide")) => Block::Guide,
                    _ => Block::Body,
                };
                open.push((block, i + 1));
            }
            Token::LParen => open.push((Block::Call, i + 1)),
            Token::LBracket => open.push((Block::Index, i + 1)),
            Token::RBrace | Token::RParen | Token::RBracket => _ = open.pop(),
            Token::Newline => {
                // A declaration word at the start of a line: brackets above were left open.
                if let Some(Token::Name(word)) = kinds.get(i + 1)
                    && DECLARATION_WORDS.contains(word)
                    && !open.iter().any(|(b, _)| matches!(b, Block::Guide | Block::Body | Block::Table))
                {
                    open.clear();
                }
                if open.is_empty() {
                    line = i + 1;
                }
            }
            _ => {}
        }
    }
    open.last().map_or((None, line), |(b, at)| (Some(*b), *at))
}

fn line_word<'s>(kinds: &[Token<'s>], since: usize) -> Option<&'s str> {
    match kinds.get(since) {
        Some(Token::Name(word)) => Some(word),
        _ => None,
    }
}

fn snippet(word: &str) -> &'static str {
    match word {
        "data" => "data ${1:rows} {\n  $0\n}",
        "plate" => "plate ${1:k} = $0",
        "const" => "const ${1:K} = $0",
        "latent" => "latent ${1:name} ~ $0",
        "param" => "param ${1:name} = $0",
        "let" => "let ${1:name} = $0",
        "observe" => "observe ${1:y} ~ $0",
        "factor" => "factor $0",
        "report" => "report $0",
        "net" => "net ${1:f}(${2:x: real}) -> ${3:real} = $0",
        "fn" => "fn ${1:f}(${2:x: real}) -> ${3:real} = $0",
        "dist" => "dist ${1:D}(${2:x: real}) on real {\n  logpdf(x) = $0\n}",
        "guide" => "guide $0",
        "fit" => "fit { $0 }",
        _ => "import \"$0\"",
    }
}

/// `y: real`, or with `from` where the header is no name.
fn declared_as(header: &str, ty: &str) -> String {
    let is_name = matches!(lex(header).as_slice(), [(0, Token::Name(_), _)]);
    if is_name {
        return format!("{header}: {ty}");
    }
    let plain: String = header.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let plain = plain.trim_matches('_').to_lowercase();
    let name = match plain.starts_with(|c: char| c.is_ascii_alphabetic()) {
        true => plain,
        false => format!("x_{plain}"),
    };
    format!("{name}: {ty} from \"{header}\"")
}

fn distributions(document: &Document, out: &mut Vec<Completion>) {
    let own = document.names.defs.iter().filter(|d| d.kind == Kind::Distribution);
    out.extend(own.map(|d| {
        let mut c = item(&d.name, CompletionKind::Distribution, "distribution of this model");
        c.insert = format!("{}($0)", d.name);
        c
    }));
    out.extend(entries().iter().filter(|e| e.is_distribution()).map(|e| Completion {
        label: e.name.clone(),
        kind: CompletionKind::Distribution,
        detail: e.signature.clone(),
        doc: e.doc.clone(),
        insert: format!("{}($0)", e.name),
    }));
}

fn functions(out: &mut Vec<Completion>) {
    out.extend(entries().iter().filter(|e| !e.is_distribution()).map(|e| Completion {
        label: e.name.clone(),
        kind: CompletionKind::Function,
        detail: e.signature.clone(),
        doc: e.doc.clone(),
        insert: if e.signature.contains('(') { format!("{}($0)", e.name) } else { e.name.clone() },
    }));
}

/// Names that are in scope at a place.
fn named(document: &Document, offset: usize, kinds: &[Kind], out: &mut Vec<Completion>) {
    let Names { defs, .. } = &document.names;
    let seen = |scope: Option<crate::source::Span>| {
        scope.is_none_or(|s| s.file == document.file() && s.start as usize <= offset && offset <= s.end as usize + 1)
    };
    for def in defs.iter().filter(|d| kinds.contains(&d.kind) && seen(d.scope)) {
        let var = document.checked.hir.vars.iter().find(|v| v.span == def.span);
        let detail = var.and_then(|v| describe(&document.checked.hir, v)).unwrap_or_else(|| def.kind.word().into());
        let kind = match def.kind {
            Kind::Table | Kind::Plate | Kind::Index => CompletionKind::Plate,
            Kind::Column | Kind::DataValue | Kind::Const => CompletionKind::Data,
            Kind::Latent | Kind::Param => CompletionKind::Latent,
            Kind::Net | Kind::Function => CompletionKind::Function,
            Kind::Distribution => CompletionKind::Distribution,
            Kind::Let | Kind::Report | Kind::Head | Kind::Local => CompletionKind::Value,
        };
        let doc = def.doc.clone().unwrap_or_default();
        out.push(Completion { doc, ..item(&def.name, kind, &detail) });
    }
}

fn parts(document: &Document, owner: &str, out: &mut Vec<Completion>) {
    let names = &document.names;
    let owners: Vec<usize> = (0..names.defs.len()).filter(|i| names.defs[*i].name == owner).collect();
    for def in &names.defs {
        if def.of.is_some_and(|o| owners.contains(&o.0)) {
            out.push(item(&def.name, CompletionKind::Data, def.kind.word()));
        }
    }
    if out.is_empty() {
        // The result of a net: any head.
        let heads = names.defs.iter().filter(|d| d.kind == Kind::Head);
        out.extend(heads.map(|d| item(&d.name, CompletionKind::Value, d.kind.word())));
    }
}

/// The arguments of a call that have not been given.
fn arguments(document: &Document, name: &str, given: &[String], out: &mut Vec<Completion>) {
    for form in forms(document, name) {
        for (argument, written) in form.arguments.iter().filter(|a| !given.contains(&a.0)) {
            let mut c = item(&format!("{argument}:"), CompletionKind::Argument, written);
            c.insert = format!("{argument}: ");
            out.push(c);
        }
    }
}
