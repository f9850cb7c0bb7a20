//! The single mistakes: each takes a good program and gives every program that has it once, with the lines where it
//! must be reported, and whether the rules of the language make it wrong for sure.

use std::collections::{BTreeMap, BTreeSet};

use vic::editor::{DefId, Kind as NameKind, Names};
use vic::library::entries;
use vic::source::{FileId, Span};
use vic::syntax::ast::*;
use vic::syntax::parse;
use vic::syntax::token::{Token, lex};

use super::plates::plates_clash;

/// A good program with one mistake.
pub struct Mutant {
    pub text: String,
    /// Lines, from 1, on one of which an error must point.
    pub lines: BTreeSet<usize>,
    /// What was done: `\`sigma\` → \`simga\``.
    pub done: String,
    /// It breaks a rule of the language; others are another model that is allowed as well.
    pub wrong: bool,
}

pub type Maker = fn(&Program) -> Vec<Mutant>;

pub const KINDS: &[(&str, Maker)] = &[
    ("misspell a name", misspell_name),
    ("misspell a distribution or function", misspell_function),
    ("misspell a keyword, a type or an argument's name", misspell_word),
    ("swap two names", swap_names),
    ("drop an index", drop_index),
    ("name the wrong plate", wrong_plate),
    ("drop an argument", drop_argument),
    ("write a wrong number or label", wrong_literal),
    ("leave out a bracket or quote", missing_bracket),
    ("write a wrong operator or keyword", wrong_sign),
    ("give a column the wrong type", wrong_type),
    ("remove a declaration", remove_declaration),
];

/// A good program and what it says.
pub struct Program<'a> {
    pub text: &'a str,
    pub ast: Ast,
    pub names: Names,
}

impl<'a> Program<'a> {
    pub fn new(text: &'a str) -> Program<'a> {
        let ast = parse(FileId(0), text, &mut Default::default());
        let names = Names::of(&ast);
        Program { text, ast, names }
    }

    fn line(&self, offset: usize) -> usize {
        self.text[..offset].matches('\n').count() + 1
    }

    /// With a text in the place of another.
    fn with(&self, span: Span, new: &str) -> String {
        let (start, end) = (span.start as usize, span.end as usize);
        format!("{}{new}{}", &self.text[..start], &self.text[end..])
    }

    fn slice(&self, span: Span) -> &'a str {
        &self.text[span.start as usize..span.end as usize]
    }

    fn mutant(&self, span: Span, new: &str, wrong: bool) -> Mutant {
        let lines = BTreeSet::from([self.line(span.start as usize)]);
        let done = match (self.slice(span), new) {
            (old, "") => format!("without `{}`", one_line(old)),
            (old, new) => format!("`{}` → `{}`", one_line(old), one_line(new)),
        };
        Mutant { text: self.with(span, new), lines, done, wrong }
    }

    fn tokens(&self) -> Vec<(Span, Token<'a>)> {
        let kept = lex(self.text).into_iter().filter(|t| !matches!(t.1, Token::Comment | Token::Newline));
        kept.map(|(a, t, b)| (Span::new(FileId(0), a, b), t)).collect()
    }

    /// Every expression of the program.
    fn walk(&self, f: &mut impl FnMut(&Expr)) {
        self.ast.decls.iter().for_each(|d| walk_decl(d, f));
    }

    fn is_known(&self, name: &str) -> bool {
        self.names.defs.iter().any(|d| d.name == name) || entries().iter().any(|e| e.name == name)
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A slip of the fingers: two letters swapped, or one doubled.
fn misspelt(word: &str) -> String {
    let mut letters: Vec<char> = word.chars().collect();
    let at = (0..letters.len().saturating_sub(1)).rev().find(|&i| letters[i] != letters[i + 1]);
    match at {
        Some(i) if letters.len() > 2 && i > 0 => letters.swap(i, i + 1),
        _ => letters.push(*letters.last().unwrap_or(&'x')),
    }
    // A number at the end would name a neighbour.
    if letters.last().is_some_and(char::is_ascii_digit) {
        letters.push('q');
    }
    letters.into_iter().collect()
}

fn misspell_name(p: &Program) -> Vec<Mutant> {
    // A vector column declares its plate, whatever its name.
    let declares = |s: Span| {
        p.text[s.end as usize..].lines().next().is_some_and(|l| l.starts_with("] from") || l.starts_with("] > 0 from"))
    };
    let known = p.names.uses.iter().filter(|u| u.def.is_some() && !declares(u.span));
    let named = known.map(|u| (u.span, misspelt(&u.name))).filter(|(_, new)| !p.is_known(new));
    named.map(|(span, new)| p.mutant(span, &new, true)).collect()
}

fn misspell_function(p: &Program) -> Vec<Mutant> {
    let library = p.names.uses.iter().filter(|u| u.def.is_none() && entries().iter().any(|e| e.name == u.name));
    let named = library.map(|u| (u.span, misspelt(&u.name))).filter(|(_, new)| !p.is_known(new));
    named.map(|(span, new)| p.mutant(span, &new, true)).collect()
}

fn misspell_word(p: &Program) -> Vec<Mutant> {
    let mut spans = vec![];
    for decl in &p.ast.decls {
        let end = p.text[decl.span.start as usize..].find(|c: char| !c.is_alphabetic()).unwrap_or(0);
        spans.push(Span::new(FileId(0), decl.span.start as usize, decl.span.start as usize + end));
        if let DeclKind::Table { fields, .. } = &decl.kind {
            let own = |t: &&Type| !p.names.defs.iter().any(|d| d.name == t.base.name);
            spans.extend(fields.iter().map(|f| &f.ty).filter(own).map(|t| t.base.span));
        }
        if let DeclKind::Fit { items } = &decl.kind {
            spans.extend(items.iter().map(|i| i.name.span));
        }
        spans.extend(decl.attrs.iter().map(|a| a.name.span));
    }
    p.walk(&mut |e| {
        if let ExprKind::Call { args, .. } = &e.kind {
            spans.extend(args.iter().filter_map(|a| a.name.as_ref()).map(|n| n.span));
        }
    });
    let reserved = p.tokens().into_iter().filter(|(_, t)| t.is_reserved()).map(|(s, _)| s);
    spans.extend(reserved);
    spans.into_iter().map(|s| p.mutant(s, &misspelt(p.slice(s)), true)).collect()
}

/// What a name is, as far as a swap can be told wrong by it.
#[derive(PartialEq, Clone, Copy)]
enum Sort {
    Plate,
    Table,
    Index,
    Callable,
    Value(Option<DefId>),
}

fn sort_of(p: &Program, def: Option<DefId>) -> Option<Sort> {
    let Some(id) = def else { return Some(Sort::Callable) };
    Some(match p.names.def(id).kind {
        NameKind::Table => Sort::Table,
        NameKind::Plate => Sort::Plate,
        NameKind::Index => Sort::Index,
        NameKind::Net | NameKind::Function | NameKind::Distribution => Sort::Callable,
        NameKind::Latent
        | NameKind::Param
        | NameKind::Let
        | NameKind::Column
        | NameKind::Const
        | NameKind::DataValue => Sort::Value(Some(id)),
        NameKind::Report | NameKind::Head | NameKind::Local => return None,
    })
}

fn swap_names(p: &Program) -> Vec<Mutant> {
    let mut out = vec![];
    for decl in &p.ast.decls {
        if let DeclKind::Fn { .. } | DeclKind::Dist { .. } | DeclKind::Net { .. } | DeclKind::Table { .. } = decl.kind {
            continue;
        }
        let inside = |s: Span| s.start >= decl.span.start && s.end <= decl.span.end;
        let mut places: Vec<(Span, &str, Option<DefId>)> = vec![];
        let library = |name: &str| entries().iter().any(|e| e.name == name && e.signature.contains('('));
        places.extend(
            p.names
                .uses
                .iter()
                .filter(|u| inside(u.span) && (u.def.is_some() || library(&u.name)))
                .map(|u| (u.span, u.name.as_str(), u.def)),
        );
        let declared = p.names.defs.iter().enumerate().filter(|(_, d)| inside(d.span) && d.kind != NameKind::Index);
        places.extend(declared.map(|(i, d)| (d.span, d.name.as_str(), Some(DefId(i)))));
        places.sort_by_key(|x| x.0);
        for pair in places.windows(2) {
            let ((a, first, da), (b, second, db)) = (pair[0], pair[1]);
            let (Some(sa), Some(sb)) = (sort_of(p, da), sort_of(p, db)) else { continue };
            if first == second || da.is_some() && da == db {
                continue;
            }
            let text = {
                let with = p.with(b, first);
                format!("{}{second}{}", &with[..a.start as usize], &with[a.end as usize..])
            };
            let declares = |s: Span| p.names.defs.iter().any(|d| d.span == s);
            let wrong = match (sa, sb) {
                // One of them would then be declared twice, or used before it is.
                (Sort::Value(_), Sort::Value(_)) if declares(a) != declares(b) => true,
                (Sort::Value(x), Sort::Value(y)) => {
                    domain_clash(p, a, y) || domain_clash(p, b, x) || plates_clash(&text)
                }
                // A category is its plate as well.
                (Sort::Plate, Sort::Value(_)) | (Sort::Value(_), Sort::Plate) => plates_clash(&text),
                (Sort::Index, _) | (_, Sort::Index) => plates_clash(&text),
                (Sort::Table | Sort::Plate, Sort::Table | Sort::Plate) => plates_clash(&text),
                (x, y) => x != y,
            };
            let lines = BTreeSet::from([p.line(a.start as usize), p.line(b.start as usize)]);
            out.push(Mutant { text, lines, done: format!("`{first}` and `{second}` swapped"), wrong });
        }
    }
    out
}

/// Whether a value that may be any number would stand as an argument that must be positive.
fn domain_clash(p: &Program, place: Span, incoming: Option<DefId>) -> bool {
    let Some(def) = incoming.map(|id| p.names.def(id)) else { return false };
    let unbounded = p.ast.decls.iter().any(|d| match &d.kind {
        DeclKind::Latent { heads, ty: None, dist } if heads.iter().any(|h| h.name.span == def.span) => {
            matches!(&dist.kind, ExprKind::Call { callee, .. }
                if matches!(&callee.kind, ExprKind::Name(n) if ["Normal", "Cauchy", "StudentT", "flat"].contains(&n.as_str())))
        }
        _ => false,
    });
    let mut clash = false;
    p.walk(&mut |e| {
        for (i, arg) in arguments(e) {
            clash |= arg.span == place && unbounded && needs_positive(e, i);
        }
    });
    clash
}

fn arguments(e: &Expr) -> Vec<(usize, &Expr)> {
    match &e.kind {
        ExprKind::Call { args, .. } => args.iter().enumerate().map(|(i, a)| (i, &a.value)).collect(),
        _ => vec![],
    }
}

/// Whether every form of a distribution asks for a positive argument in this place.
fn needs_positive(call: &Expr, place: usize) -> bool {
    let ExprKind::Call { callee, args } = &call.kind else { return false };
    let ExprKind::Name(name) = &callee.kind else { return false };
    let mut forms = entries().iter().filter(|e| e.is_distribution() && e.name == *name).peekable();
    let named = args[place].name.as_ref().map(|n| n.name.as_str());
    forms.peek().is_some()
        && forms.all(|f| match named {
            Some(n) => f.arguments.iter().find(|a| a.0 == n).is_none_or(|a| a.1.ends_with("> 0")),
            None => f.arguments.get(place).is_none_or(|a| a.1.ends_with("> 0")),
        })
}

fn drop_index(p: &Program) -> Vec<Mutant> {
    let mut out = vec![];
    p.walk(&mut |e| {
        let ExprKind::Index { base, .. } = &e.kind else { return };
        let ExprKind::Name(_) = &base.kind else { return };
        let brackets = Span::new(FileId(0), base.span.end as usize, e.span.end as usize);
        let mut m = p.mutant(brackets, "", false);
        m.wrong = plates_clash(&m.text);
        out.push(m);
    });
    out
}

fn wrong_plate(p: &Program) -> Vec<Mutant> {
    let is_plate = |d: &vic::editor::Def| match d.kind {
        NameKind::Plate | NameKind::Table => true,
        NameKind::Column => p.text[d.span.end as usize..d.whole.end as usize].contains("category"),
        _ => false,
    };
    let plates: BTreeSet<&str> = p.names.defs.iter().filter(|d| is_plate(d)).map(|d| d.name.as_str()).collect();
    let mut out = vec![];
    for u in &p.names.uses {
        if !plates.contains(u.name.as_str()) {
            continue;
        }
        for other in plates.iter().filter(|o| **o != u.name) {
            let mut m = p.mutant(u.span, other, false);
            m.wrong = plates_clash(&m.text);
            out.push(m);
        }
    }
    out
}

fn drop_argument(p: &Program) -> Vec<Mutant> {
    let mut out = vec![];
    p.walk(&mut |e| {
        let ExprKind::Call { callee, args } = &e.kind else { return };
        let ExprKind::Name(name) = &callee.kind else { return };
        let own = p.ast.decls.iter().filter_map(|d| match &d.kind {
            DeclKind::Fn { name: n, params, .. } | DeclKind::Dist { name: n, params, .. } if n.name == *name => {
                Some(params.len())
            }
            _ => None,
        });
        let library = entries().iter().filter(|x| x.name == *name && x.signature.contains('('));
        let counts: BTreeSet<usize> = own.chain(library.map(|x| x.arguments.len())).collect();
        for (i, a) in args.iter().enumerate() {
            let start = a.name.as_ref().map_or(a.value.span.start, |n| n.span.start) as usize;
            let end = a.over.last().map_or(a.value.span.end, |x| x.span.end) as usize;
            let span = match args.get(i + 1) {
                Some(next) => {
                    let to = next.name.as_ref().map_or(next.value.span.start, |n| n.span.start) as usize;
                    Span::new(FileId(0), start, to)
                }
                None if i > 0 => {
                    let before = &args[i - 1];
                    let from = before.over.last().map_or(before.value.span.end, |x| x.span.end) as usize;
                    Span::new(FileId(0), from, end)
                }
                None => Span::new(FileId(0), start, end),
            };
            if p.slice(span).matches('(').count() != p.slice(span).matches(')').count() {
                continue;
            }
            let wrong = counts.len() == 1 && !counts.contains(&(args.len() - 1)) && counts.contains(&args.len())
                || counts.len() > 1 && counts.iter().all(|c| *c >= args.len());
            let mut m = p.mutant(span, "", wrong);
            m.lines.extend([p.line(e.span.start as usize), p.line(e.span.end as usize)]);
            out.push(m);
        }
    });
    out
}

fn wrong_literal(p: &Program) -> Vec<Mutant> {
    let mut out = vec![];
    let mut sizes: BTreeMap<&str, usize> = BTreeMap::new();
    let mut over: BTreeMap<&str, &str> = BTreeMap::new();
    for decl in &p.ast.decls {
        match &decl.kind {
            DeclKind::Plate { name, value } => match &value.kind {
                ExprKind::Number { value: size, .. } => {
                    sizes.insert(&name.name, *size as usize);
                    out.push(p.mutant(value.span, "2.5", true));
                    out.push(p.mutant(value.span, "-1", true));
                }
                ExprKind::List(items) => _ = sizes.insert(&name.name, items.len()),
                _ => {}
            },
            DeclKind::Latent { heads, .. } => {
                for h in heads {
                    if let ([one], []) | ([], [one]) = (h.axes.as_slice(), h.over.as_slice()) {
                        over.insert(&h.name.name, &one.plate.name);
                    }
                }
            }
            _ => {}
        }
    }
    p.walk(&mut |e| match &e.kind {
        ExprKind::Index { base, items } => {
            let ExprKind::Name(n) = &base.kind else { return };
            let Some(_) = over.get(n.as_str()).and_then(|plate| sizes.get(plate)) else { return };
            let [IndexItem::Expr(label)] = items.as_slice() else { return };
            match &label.kind {
                ExprKind::Number { .. } => out.push(p.mutant(label.span, "77", true)),
                ExprKind::Text(t) => out.push(p.mutant(label.span, &format!("\"{}\"", misspelt(t)), true)),
                _ => {}
            }
        }
        ExprKind::Call { callee, args } => {
            for (i, a) in args.iter().enumerate() {
                if let ExprKind::Number { text, .. } = &a.value.kind
                    && needs_positive(e, i)
                {
                    out.push(p.mutant(a.value.span, &format!("-{text}"), true));
                    out.push(p.mutant(a.value.span, "0", true));
                }
            }
            if let (ExprKind::Name(n), [a, b]) = (&callee.kind, args.as_slice())
                && n == "Uniform"
                && let ExprKind::Number { .. } = &b.value.kind
            {
                let (low, high) = (p.slice(a.value.span), p.slice(b.value.span));
                out.push(p.mutant(a.value.span.to(b.value.span), &format!("{high}, {low}"), true));
            }
        }
        _ => {}
    });
    out
}

fn missing_bracket(p: &Program) -> Vec<Mutant> {
    let (mut out, mut last) = (vec![], None);
    let (mut partner, mut open) = (BTreeMap::new(), vec![]);
    for (span, token) in p.tokens() {
        if token.closer().is_some() {
            open.push(span);
        } else if token.is_closer()
            && let Some(other) = open.pop()
        {
            partner.insert(span, other);
            partner.insert(other, span);
        }
    }
    for (span, token) in p.tokens() {
        if token.closer().is_some() || token.is_closer() {
            // An error may as well point at the other bracket of the pair, or at what the missing one should follow.
            let mut m = p.mutant(span, "", true);
            m.lines.extend(partner.get(&span).map(|s| p.line(s.start as usize)));
            m.lines.extend(last.map(|s: Span| p.line(s.start as usize)));
            out.push(m);
        }
        last = Some(span);
        if let Token::Text(_) = token {
            for at in [span.start as usize, span.end as usize - 1] {
                out.push(p.mutant(Span::new(FileId(0), at, at + 1), "", true));
            }
        }
    }
    out
}

fn wrong_sign(p: &Program) -> Vec<Mutant> {
    let mut out = vec![];
    let mut change = |span: Span, new: &str| out.push(p.mutant(span, new, true));
    for decl in &p.ast.decls {
        let start = decl.span.start as usize;
        let word = |n: usize| Span::new(FileId(0), start, start + n);
        match &decl.kind {
            DeclKind::Latent { .. } => {
                change(word(6), "let");
                change(word(6), "param");
                change(word(6), "observe");
            }
            DeclKind::Param { .. } => change(word(5), "latent"),
            DeclKind::Let { .. } => change(word(3), "latent"),
            DeclKind::Observe { .. } => {
                change(word(7), "latent");
                change(word(7), "factor");
            }
            DeclKind::Plate { .. } => change(word(5), "data"),
            _ => {}
        }
    }
    for (span, token) in p.tokens() {
        match token {
            Token::Tilde => {
                change(span, "=");
                change(span, "<-");
            }
            Token::Equals => {
                change(span, "~");
                change(span, ":=");
            }
            Token::Caret => change(span, "**"),
            Token::EqualEqual => change(span, "="),
            Token::Colon => change(span, "="),
            Token::Over => change(span, "in"),
            Token::In => change(span, "over"),
            Token::Arrow => change(span, "=>"),
            Token::Pipe => change(span, ">"),
            Token::And => change(span, "&&"),
            Token::Then => change(span, ":"),
            Token::Plus => change(span, "+ *"),
            Token::Comma => change(span, ";"),
            _ => {}
        }
    }
    out
}

fn wrong_type(p: &Program) -> Vec<Mutant> {
    let mut out = vec![];
    // Names that are indices somewhere.
    let (mut indices, mut numbers) = (BTreeSet::new(), BTreeSet::new());
    p.walk(&mut |e| match &e.kind {
        ExprKind::Index { items, .. } => items.iter().for_each(|i| {
            if let IndexItem::Expr(Expr { kind: ExprKind::Name(n), .. }) = i {
                indices.insert(n.clone());
            }
        }),
        ExprKind::Binary { op: BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul | BinaryOp::Div, left, right } => {
            for side in [left, right] {
                if let ExprKind::Name(n) = &side.kind {
                    numbers.insert(n.clone());
                }
            }
        }
        _ => {}
    });
    for decl in &p.ast.decls {
        let DeclKind::Table { fields, .. } = &decl.kind else { continue };
        for f in fields {
            let names: BTreeSet<String> = f.names.iter().map(|n| n.name.clone()).collect();
            let of = |set: &BTreeSet<String>| names.iter().any(|n| set.contains(n));
            let mut turn = |span: Span, into: &str| {
                let mut m = p.mutant(span, into, true);
                // The clash is between the column and each of its uses.
                m.lines.extend(
                    p.names.uses.iter().filter(|u| names.contains(&u.name)).map(|u| p.line(u.span.start as usize)),
                );
                out.push(m);
            };
            match f.ty.base.name.as_str() {
                "real" | "int" | "bool" if of(&numbers) => {
                    for new in ["category", "key"] {
                        turn(f.ty.span, new);
                    }
                }
                "category" if of(&indices) => {
                    for new in ["real", "int"] {
                        turn(f.ty.span, new);
                    }
                }
                _ => {}
            }
        }
    }
    out
}

fn remove_declaration(p: &Program) -> Vec<Mutant> {
    let mut wholes: BTreeSet<Span> = p.ast.decls.iter().map(|d| d.span).collect();
    for decl in &p.ast.decls {
        if let DeclKind::Table { fields, .. } = &decl.kind {
            wholes.extend(fields.iter().map(|f| f.span));
        }
    }
    let mut out = vec![];
    for whole in wholes {
        let inside = |s: Span| s.start >= whole.start && s.end <= whole.end;
        let uses =
            p.names.uses.iter().filter(|u| u.def.is_some_and(|d| inside(p.names.def(d).span)) && !inside(u.span));
        let lines: BTreeSet<usize> = uses.map(|u| p.line(u.span.start as usize)).collect();
        // What the library declares as well, or a vector column, is still there.
        let declared = p.names.defs.iter().filter(|d| inside(d.span)).map(|d| d.name.as_str());
        let vector =
            |name: &str| p.text.contains(&format!("[{name}] from")) || p.text.contains(&format!("[{name}] > 0 from"));
        let elsewhere = declared.into_iter().any(|n| vector(n) || entries().iter().any(|e| e.name == n));
        if lines.is_empty() || elsewhere {
            continue;
        }
        // Line breaks stay, so that the lines below keep their numbers.
        let mut end = whole.end as usize;
        if p.text[end..].trim_start_matches(' ').starts_with(',') {
            end += p.text[end..].find(',').map_or(0, |i| i + 1);
        }
        let span = Span::new(FileId(0), whole.start as usize, end);
        let blank: String = p.slice(span).chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        out.push(Mutant {
            text: p.with(span, &blank),
            lines,
            done: format!("without `{}`", first_line(p.slice(whole))),
            wrong: true,
        });
    }
    out
}

fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or("");
    if line.len() < text.len() { format!("{line} …") } else { line.to_owned() }
}

fn walk_decl(decl: &Decl, f: &mut impl FnMut(&Expr)) {
    match &decl.kind {
        DeclKind::Latent { dist: e, .. }
        | DeclKind::Let { value: e, .. }
        | DeclKind::Param { init: e, .. }
        | DeclKind::Factor { value: e }
        | DeclKind::ReportLet { value: e, .. }
        | DeclKind::Plate { value: e, .. }
        | DeclKind::Const { value: e, .. } => walk_expr(e, f),
        DeclKind::Observe { target, dist, .. } => {
            walk_expr(target, f);
            walk_expr(dist, f);
        }
        DeclKind::Guide { items } => items.iter().for_each(|i| match i {
            GuideItem::Let { value: e, .. } | GuideItem::Param { init: e, .. } | GuideItem::Sample { dist: e, .. } => {
                walk_expr(e, f);
            }
        }),
        _ => {}
    }
}

fn walk_expr(e: &Expr, f: &mut impl FnMut(&Expr)) {
    f(e);
    match &e.kind {
        ExprKind::Unary { operand, .. } => walk_expr(operand, f),
        ExprKind::Binary { left, right, .. } | ExprKind::Pipe { left, right } => {
            walk_expr(left, f);
            walk_expr(right, f);
        }
        ExprKind::If { condition, then, otherwise } => {
            [condition, then, otherwise].into_iter().for_each(|e| walk_expr(e, f));
        }
        ExprKind::Call { args, .. } => args.iter().for_each(|a| walk_expr(&a.value, f)),
        ExprKind::Index { items, base } => {
            walk_expr(base, f);
            items.iter().for_each(|i| {
                if let IndexItem::Expr(e) = i {
                    walk_expr(e, f);
                }
            });
        }
        ExprKind::Field { base, .. } => walk_expr(base, f),
        ExprKind::List(items) => items.iter().for_each(|i| walk_expr(&i.value, f)),
        _ => {}
    }
}
