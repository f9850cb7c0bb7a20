//! Newlines, brackets and contextual keywords (LANGUAGE rules 15 and 28): the tokens as the grammar sees them.
//!
//! A newline is dropped inside `( )` and `[ ]`, after a token that cannot end an expression, and before one that cannot
//! start a declaration. What is left is `End` between declarations and `Newline` inside `{ }`. A declaration word is a
//! keyword only where a declaration starts. Brackets that do not match are reported here and mended, so that the
//! grammar never sees one; a line that surely starts a declaration (`latent b …`: two words side by side are never an
//! expression) closes what was left open above it.

use super::ast::Comment;
use super::depth;
use super::habits::{Clean, Habit, Repeats, clean};
use super::token::{Lexeme, Token};
use crate::diag::{Code, Diags};
use crate::source::{FileId, Span};

/// Brackets left open that are shown beside the innermost.
const SHOWN: usize = 8;

/// What the parser reads.
pub struct Layout<'s> {
    pub tokens: Vec<Lexeme<'s>>,
    pub comments: Vec<Comment>,
    /// Offsets of what was reported and could not be mended: further errors in that declaration are consequences.
    pub damaged: Vec<usize>,
}

pub fn layout<'s>(file: FileId, text: &'s str, diags: &mut Diags) -> Layout<'s> {
    let Clean { tokens: raw, comments, damaged } = clean(file, text, diags);
    let last_brace = raw.iter().rposition(|l| l.1 == Token::RBrace);
    let mut maker = Maker {
        file,
        text,
        raw,
        last_brace,
        at: 0,
        out: vec![],
        stack: vec![],
        declaration: None,
        pending: Break::None,
        damaged,
        seen: Repeats::new(file, text),
        diags,
    };
    maker.run();
    let Maker { mut out, mut damaged, seen, .. } = maker;
    seen.report(diags);
    depth::limit(file, &mut out, &mut damaged, diags);
    Layout { tokens: out, comments, damaged }
}

/// A bracket that is open.
struct Open<'s> {
    token: Token<'s>,
    start: usize,
    kind: Kind<'s>,
}

enum Kind<'s> {
    /// `(` or `[`; whether it bounds an interval, as in `real in (0, 1)`.
    Group { interval: bool },
    /// The `{` of a declaration that has one.
    Block(Token<'s>),
    /// A `{` of something foreign.
    Foreign,
    /// The `{` of a block around whole declarations, as Stan has them: looked through.
    Around,
}

#[derive(Clone, Copy, PartialEq)]
enum Break {
    None,
    Newline,
    /// A semicolon: no line goes on over it.
    Forced,
}

struct Maker<'s, 'd> {
    file: FileId,
    text: &'s str,
    raw: Vec<Lexeme<'s>>,
    at: usize,
    /// Where the last `}` stands.
    last_brace: Option<usize>,
    out: Vec<Lexeme<'s>>,
    stack: Vec<Open<'s>>,
    /// The keyword of the current declaration.
    declaration: Option<Token<'s>>,
    pending: Break,
    damaged: Vec<usize>,
    seen: Repeats<'s>,
    diags: &'d mut Diags,
}

impl<'s> Maker<'s, '_> {
    fn run(&mut self) {
        while let Some(&(start, token, end)) = self.raw.get(self.at) {
            match token {
                Token::Newline => {
                    if self.pending == Break::None {
                        self.pending = Break::Newline;
                    }
                    self.at += 1;
                }
                Token::Semicolon => self.semicolon(start, end),
                _ => {
                    self.line_break();
                    self.place(start, token, end);
                }
            }
        }
        self.close_down_to(0);
        while self.prev() == Some(Token::End) {
            self.out.pop();
        }
    }

    fn span(&self, start: usize, end: usize) -> Span {
        Span::new(self.file, start, end)
    }

    fn prev(&self) -> Option<Token<'s>> {
        self.out.last().map(|l| l.1)
    }

    fn prev_end(&self) -> usize {
        self.out.last().map_or(0, |l| l.2)
    }

    fn emit(&mut self, start: usize, token: Token<'s>, end: usize) {
        self.out.push((start, token, end));
        self.at += 1;
    }

    /// Whether no bracket is open, but for those that are looked through.
    fn outside(&self) -> bool {
        self.stack.iter().all(|o| matches!(o.kind, Kind::Around))
    }

    fn at_declaration_start(&self) -> bool {
        self.outside() && matches!(self.prev(), None | Some(Token::End))
    }

    fn end_declaration(&mut self) {
        if !matches!(self.prev(), None | Some(Token::End)) {
            let end = self.prev_end();
            self.out.push((end, Token::End, end));
        }
    }

    /// Decide whether the newline before the token at hand counts.
    fn line_break(&mut self) {
        let pending = std::mem::replace(&mut self.pending, Break::None);
        if pending == Break::None {
            return;
        }
        if let Some(level) = self.sure_start() {
            self.close_down_to(level);
            if self.outside() {
                self.end_declaration();
                return;
            }
        }
        let next = self.raw[self.at].1;
        let Some(prev) = self.prev() else { return };
        // `with plate:` of Python ends a line.
        let with = prev == Token::Colon && self.declaration_starts_with("with");
        let joined = !with && pending == Break::Newline && (prev.cannot_end() || next.continues());
        match self.stack.last().map(|o| &o.kind) {
            Some(Kind::Group { .. }) => {}
            Some(Kind::Block(_) | Kind::Foreign) => {
                let empty = matches!(prev, Token::LBrace | Token::Newline | Token::Comma | Token::Semicolon);
                if !(joined || empty || next == Token::RBrace) {
                    let end = self.prev_end();
                    self.out.push((end, Token::Newline, end));
                }
            }
            Some(Kind::Around) | None => {
                let bracket = matches!(next, Token::LParen | Token::LBracket | Token::LBrace);
                if !(joined || bracket && pending == Break::Newline) {
                    self.end_declaration();
                }
            }
        }
    }

    /// If the line at hand surely starts a declaration (or a `let` or `param` of a block), how many brackets stay open.
    fn sure_start(&self) -> Option<usize> {
        let Token::Name(word) = self.raw[self.at].1 else { return None };
        let keyword = Token::declaration(word)?;
        let sure = match self.raw.get(self.at + 1).map(|l| l.1)? {
            Token::Name(next) => next != "without",
            Token::Number(_) => keyword == Token::Factor,
            Token::LBrace => matches!(keyword, Token::Guide | Token::Fit | Token::Data),
            Token::Text(_) => keyword == Token::Import,
            _ => false,
        };
        if !sure {
            return None;
        }
        let brace = self.stack.iter().rposition(|o| o.token == Token::LBrace);
        let around = self.stack.iter().take_while(|o| matches!(o.kind, Kind::Around)).count();
        let Some(brace) = brace else { return Some(0) };
        let local = matches!(keyword, Token::Let | Token::Param);
        match self.stack[brace].kind {
            Kind::Around => Some(brace + 1),
            Kind::Block(Token::Guide | Token::Fn) if local => Some(brace + 1),
            // Indented in a block that is closed further down: misplaced in it, not left open above.
            Kind::Foreign | Kind::Block(_)
                if self.indent(self.raw[self.at].0) > self.indent(self.stack[brace].start)
                    && self.last_brace.is_some_and(|last| self.at < last) =>
            {
                Some(brace + 1)
            }
            _ => Some(around),
        }
    }

    fn declaration_starts_with(&self, word: &str) -> bool {
        let first = self.out.iter().rposition(|l| l.1 == Token::End).map_or(0, |i| i + 1);
        matches!(self.out.get(first), Some((_, Token::Name(n), _)) if *n == word)
    }

    fn indent(&self, offset: usize) -> usize {
        let line = self.text[..offset].rfind('\n').map_or(0, |i| i + 1);
        self.text[line..].chars().take_while(|c| c.is_whitespace() && *c != '\n').count()
    }

    /// Put down the token at hand, as what it is in this place.
    fn place(&mut self, start: usize, token: Token<'s>, end: usize) {
        let starts = self.at_declaration_start();
        if starts {
            self.declaration = None;
        }
        match token {
            Token::Name(word) => {
                if starts && self.foreign_block(word) {
                    return;
                }
                let keyword = if starts { Token::declaration(word) } else { None };
                self.declaration = self.declaration.or(keyword);
                self.emit(start, keyword.or_else(|| self.local_keyword(word)).unwrap_or(token), end);
            }
            Token::LParen | Token::LBracket => {
                let interval = self.prev() == Some(Token::In);
                self.stack.push(Open { token, start, kind: Kind::Group { interval } });
                self.emit(start, token, end);
            }
            Token::LBrace => {
                use Token::{Data, Dist, Fit, Fn, Guide};
                let body = self.prev() == Some(Token::Equals);
                let kind = match self.declaration {
                    Some(keyword @ (Data | Dist | Fit | Fn | Guide)) if self.outside() => Kind::Block(keyword),
                    // The body of a part of a `dist` is one like that of a `fn`.
                    Some(Dist) if body && self.stack.last().is_some_and(|o| o.token == Token::LBrace) => {
                        Kind::Block(Fn)
                    }
                    _ => Kind::Foreign,
                };
                self.stack.push(Open { token, start, kind });
                self.emit(start, token, end);
            }
            _ if token.is_closer() => self.close(start, token, end),
            _ => self.emit(start, token, end),
        }
    }

    /// Keywords that live inside declarations.
    fn local_keyword(&self, word: &str) -> Option<Token<'s>> {
        let prev = self.prev()?;
        let next = self.raw.get(self.at + 1).map(|l| l.1);
        match word {
            "let" | "param" => {
                let block = match self.stack.last()?.kind {
                    Kind::Block(Token::Guide) => true,
                    Kind::Block(Token::Fn) => word == "let",
                    _ => false,
                };
                let starts = matches!(prev, Token::LBrace | Token::Newline);
                (block && starts && matches!(next, Some(Token::Name(_)))).then(|| Token::declaration(word))?
            }
            "on" => {
                (self.declaration == Some(Token::Dist) && self.outside() && prev != Token::Dist).then_some(Token::On)
            }
            "without" => {
                let follows = matches!(next, Some(Token::Text(_) | Token::Name(_)));
                (matches!(prev, Token::Name(_)) && follows).then_some(Token::Without)
            }
            _ => None,
        }
    }

    fn semicolon(&mut self, start: usize, end: usize) {
        match self.stack.last().map(|o| &o.kind) {
            Some(Kind::Group { .. }) => {
                self.line_break();
                self.emit(start, Token::Semicolon, end);
            }
            Some(Kind::Block(Token::Dist)) => {
                self.pending = Break::None;
                if !matches!(self.prev(), Some(Token::Semicolon | Token::Newline | Token::LBrace)) {
                    self.out.push((start, Token::Semicolon, end));
                }
                self.at += 1;
            }
            _ => {
                self.seen.add(Habit::Semicolon, self.span(start, end));
                self.pending = Break::Forced;
                self.at += 1;
            }
        }
    }

    fn close(&mut self, start: usize, token: Token<'s>, end: usize) {
        let shown = &self.text[start..end];
        let matching = self.stack.iter().rposition(|o| o.token.closer() == Some(token));
        let top = self.stack.last().filter(|o| token == Token::RBrace || !matches!(o.kind, Kind::Around));
        let Some(top) = top else {
            self.diags.push(
                Code::BRACKETS
                    .at(self.span(start, end), format!("this `{shown}` closes nothing"))
                    .here("no bracket is open here")
                    .help("remove it, or add the opening bracket that it belongs to")
                    .edit(self.span(start, end), ""),
            );
            self.damaged.push(start);
            self.at += 1;
            return;
        };
        let own = top.token.closer().expect("only opening brackets are on the stack");
        let opened = top.start;
        let opener = self.span(opened, opened + 1);
        if own == token {
            if let Kind::Around = top.kind {
                self.pending = Break::Forced;
                self.at += 1;
            } else {
                self.emit(start, token, end);
            }
            self.stack.pop();
        } else if let Kind::Group { interval: true } = top.kind
            && token != Token::RBrace
        {
            self.diags.push(
                Code::HALF_OPEN_INTERVAL
                    .at(self.span(start, end), "an interval is open at both ends or closed at both")
                    .label(opener, "opened here")
                    .note("for a continuous quantity the ends have probability zero, so either form means the same")
                    .help("write `in (a, b)` or `in [a, b]`")
                    .mend(self.span(start, end), bracket(own)),
            );
            self.emit(start, own, end);
            self.stack.pop();
        } else if let Some(level) = matching {
            self.close_down_to(level + 1);
            self.close(start, token, end);
        } else {
            self.diags.push(
                Code::BRACKETS
                    .at(self.span(start, end), format!("`{}` is closed by `{shown}`", &self.text[opened..opened + 1]))
                    .label(opener, "opened here")
                    .help(format!("write `{}`", bracket(own)))
                    .edit(self.span(start, end), bracket(own)),
            );
            self.damaged.push(start);
            self.emit(start, own, end);
            self.stack.pop();
        }
    }

    /// Close the brackets above a level, reporting them once.
    fn close_down_to(&mut self, level: usize) {
        let at = self.prev_end();
        let up_to = self.out.last().map_or(0, |l| l.0);
        let mut open = vec![];
        while self.stack.len() > level {
            let Some(top) = self.stack.pop() else { break };
            if !matches!(top.kind, Kind::Around) {
                let closer = top.token.closer().expect("only opening brackets are on the stack");
                self.out.push((at, closer, at));
                open.push((self.span(top.start, top.start + 1), closer));
            }
        }
        let Some(&(inner, closer)) = open.first() else { return };
        let declaration = self.out.iter().rfind(|l| l.1 == Token::End).map_or(0, |l| l.2);
        // A text without its closing quote has swallowed the bracket.
        let swallowed = self.damaged.last().is_some_and(|d| *d >= declaration);
        self.damaged.push(inner.start as usize);
        if swallowed {
            return;
        }
        let shown = &self.text[inner.start as usize..inner.end as usize];
        let mut d = Code::BRACKETS
            .at(inner, format!("this `{shown}` is never closed"))
            .help(format!("add `{}`", bracket(closer)))
            .edit(self.span(at, at), bracket(closer));
        if self.text[inner.start as usize..at].contains('\n') {
            d = d.label(self.span(up_to, at), "nothing closes it up to here");
        }
        for (outer, _) in open[1..].iter().take(SHOWN) {
            d = d.label(*outer, "not closed either");
        }
        if let 1.. = open.len().saturating_sub(SHOWN + 1) {
            d = d.note(format!("{} brackets are open in all", open.len()));
        }
        self.diags.push(d);
    }

    /// `model {`, `parameters {`, … around declarations: report it, and look through it.
    fn foreign_block(&mut self, word: &str) -> bool {
        let ahead: Vec<Lexeme<'s>> =
            self.raw[self.at..].iter().filter(|l| l.1 != Token::Newline).take(5).copied().collect();
        let name = |i: usize| match ahead.get(i) {
            Some((_, Token::Name(n), _)) => *n,
            _ => "",
        };
        let brace = |i: usize| ahead.get(i).is_some_and(|l| l.1 == Token::LBrace);
        let (words, help) = match word {
            "model" if brace(1) => (1, "write each prior with its `latent`, and `observe y ~ …` for the data"),
            "parameters" if brace(1) => (1, "declare each with its prior: `latent sigma ~ HalfNormal(1)`"),
            "functions" if brace(1) => (1, "write `fn f(x: real) -> real = …`"),
            "transformed" if matches!(name(1), "data" | "parameters") && brace(2) => (2, "write `let name = …`"),
            "generated" if name(1) == "quantities" && brace(2) => (2, "write `report name = …`"),
            // Inside, `int N` or `real<lower=0> x` rather than `x: real`.
            "data"
                if brace(1)
                    && !name(2).is_empty()
                    && !matches!(
                        ahead.get(3).map(|l| l.1),
                        None | Some(Token::Colon | Token::Comma | Token::RBrace)
                    ) =>
            {
                (1, "name the table and type its columns: `data people { y: real, sex: category }`")
            }
            _ => return false,
        };
        let (start, last) = (ahead[0].0, ahead[words - 1].2);
        let said = self.text[start..last].split_whitespace().collect::<Vec<_>>().join(" ");
        self.diags.push(
            Code::FOREIGN_BLOCK
                .at(self.span(start, last), format!("there are no blocks such as `{said} {{ … }}`"))
                .note("a model is a list of declarations, one per line, read from top to bottom")
                .help(help),
        );
        let (start, token, end) = ahead[words];
        self.stack.push(Open { token, start, kind: Kind::Around });
        while self.raw.get(self.at).is_some_and(|l| l.0 < end) {
            self.at += 1;
        }
        true
    }
}

fn bracket(token: Token<'_>) -> &'static str {
    match token {
        Token::RParen => ")",
        Token::RBracket => "]",
        _ => "}",
    }
}
