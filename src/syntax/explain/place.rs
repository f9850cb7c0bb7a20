//! Where the parser met a token that fits nowhere, and what stands around it.

use super::start::our_type;
use crate::source::{FileId, Span};
use crate::syntax::ast::Ident;
use crate::syntax::problem::Unexpected;
use crate::syntax::token::{Lexeme, Token};
use std::collections::BTreeMap;
use std::ops::Range;

/// Stands among the names of what could not be read for a table whose columns are not known.
pub const UNREAD_TABLE: &str = "data";

pub struct Place<'a, 's> {
    pub file: FileId,
    pub text: &'a str,
    pub tokens: &'a [Lexeme<'s>],
    /// The unexpected token; the number of tokens at the end of the file.
    pub at: usize,
    /// The tokens of its declaration.
    pub first: usize,
    pub last: usize,
    expected: &'a [String],
}

impl<'a, 's> Place<'a, 's> {
    pub fn of(file: FileId, text: &'a str, tokens: &'a [Lexeme<'s>], unexpected: &'a Unexpected<'s>) -> Self {
        let at = match unexpected.found {
            None => tokens.len(),
            Some(found) => {
                let near = tokens.partition_point(|l| l.0 < found.0);
                tokens[near..].iter().position(|l| *l == found).map_or(near, |i| near + i)
            }
        };
        let first = tokens[..at].iter().rposition(|l| l.1 == Token::End).map_or(0, |i| i + 1);
        let last = tokens[at..].iter().position(|l| l.1 == Token::End).map_or(tokens.len(), |i| at + i);
        Place { file, text, tokens, at, first, last, expected: &unexpected.expected }
    }

    /// The unexpected token; `End` at the end of the file.
    pub fn found(&self) -> Token<'s> {
        self.tokens.get(self.at).map_or(Token::End, |l| l.1)
    }

    /// The token `back` places before, within the declaration.
    pub fn before(&self, back: usize) -> Option<Token<'s>> {
        let index = self.at.checked_sub(back)?;
        (index >= self.first).then(|| self.tokens[index].1)
    }

    pub fn prev(&self) -> Option<Token<'s>> {
        self.before(1)
    }

    pub fn next(&self) -> Option<Token<'s>> {
        self.tokens.get(self.at + 1).map(|l| l.1)
    }

    /// The word that the declaration starts with.
    pub fn keyword(&self) -> Token<'s> {
        self.tokens.get(self.first).map_or(Token::End, |l| l.1)
    }

    /// Whether the grammar would have taken this terminal here.
    pub fn wants(&self, terminal: &str) -> bool {
        self.expected.iter().any(|e| e.trim_matches('"') == terminal)
    }

    /// Whether an operand is due.
    pub fn wants_value(&self) -> bool {
        self.wants("name") && self.wants("number")
    }

    /// Whether a name is due, and nothing else would do.
    pub fn wants_name(&self) -> bool {
        self.wants("name") && !self.wants("number")
    }

    /// Whether the line stops here.
    pub fn line_ends(&self) -> bool {
        matches!(self.found(), Token::End | Token::Newline)
    }

    /// Whether the unexpected token touches the one before it.
    pub fn touches_prev(&self) -> bool {
        self.at > self.first && self.at < self.tokens.len() && self.tokens[self.at - 1].2 == self.tokens[self.at].0
    }

    /// The bracket that the unexpected token stands in.
    pub fn opener(&self) -> Option<usize> {
        let mut closed = 0;
        (self.first..self.at.min(self.tokens.len())).rev().find(|&i| {
            let token = self.tokens[i].1;
            if token.is_closer() {
                closed += 1;
            } else if token.closer().is_some() {
                if closed == 0 {
                    return true;
                }
                closed -= 1;
            }
            false
        })
    }

    pub fn opening(&self) -> Option<Token<'s>> {
        self.opener().map(|i| self.tokens[i].1)
    }

    /// Whether two neighbouring tokens of the declaration form a sign that is foreign here, such as `<` and `-`.
    pub fn has_pair(&self, pair: [Token<'_>; 2]) -> Option<usize> {
        (self.first..self.last.min(self.tokens.len()).saturating_sub(1)).find(|&i| {
            let (a, b) = (self.tokens[i], self.tokens[i + 1]);
            [a.1, b.1] == pair && a.2 == b.0
        })
    }

    /// The text of token `index`.
    pub fn word(&self, index: usize) -> &'a str {
        self.tokens.get(index).map_or("", |l| &self.text[l.0..l.2])
    }

    /// The text between two tokens, both included, on one line and cut if long.
    pub fn words(&self, from: usize, to: usize) -> String {
        if from > to || to >= self.tokens.len() {
            return String::new();
        }
        let text = &self.text[self.tokens[from].0..self.tokens[to].2];
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if text.chars().count() > 60 { text.chars().take(59).collect::<String>() + "…" } else { text }
    }

    pub fn span_of(&self, index: usize) -> Span {
        let (start, _, end) = self.tokens.get(index).copied().unwrap_or((self.text.len(), Token::End, self.text.len()));
        Span::new(self.file, start, end)
    }

    /// The empty place right after a token.
    pub fn after(&self, index: usize) -> Span {
        let span = self.span_of(index);
        Span { start: span.end, ..span }
    }

    /// Where to point: the unexpected token, or the last one before the line's end.
    pub fn here(&self) -> Span {
        if self.line_ends() && self.at > self.first { self.span_of(self.at - 1) } else { self.span_of(self.at) }
    }

    /// The bytes of the declaration, and its end.
    pub fn range(&self) -> Range<usize> {
        let start = self.tokens.get(self.first).map_or(self.text.len(), |l| l.0);
        let end = self.tokens[self.first..self.last].last().map_or(start, |l| l.2);
        start..end + 1
    }

    /// If this line has no keyword and is indented deeper than a failed declaration right above, the latter's indent.
    pub fn continued_indent(&self, failed: &BTreeMap<usize, usize>) -> Option<usize> {
        if self.at != self.first || self.first == 0 {
            return None;
        }
        let above = self.tokens[..self.first - 1].iter().rposition(|l| l.1 == Token::End).map_or(0, |i| i + 1);
        let indent = *failed.get(&self.tokens[above].0)?;
        (self.indent() > indent).then_some(indent)
    }

    /// How far the declaration's first line is indented.
    pub fn indent(&self) -> usize {
        let start = self.range().start;
        let line = self.text[..start].rfind('\n').map_or(0, |i| i + 1);
        self.text[line..start].chars().take_while(|c| c.is_whitespace()).count()
    }

    /// Whether token `index` is the first on its line.
    pub fn starts_line(&self, index: usize) -> bool {
        index > self.first && self.text[self.tokens[index - 1].2..self.tokens[index].0].contains('\n')
    }

    /// Whether the token before ends a value, so that an operand cannot follow.
    pub fn after_value(&self) -> bool {
        use Token::{Name, Number, RBracket, RParen, Text};
        // In `x: real` it ends a type.
        matches!(self.prev(), Some(Name(_) | Number(_) | Text(_) | RParen | RBracket))
            && !(self.before(2) == Some(Token::Colon) && (self.in_head() || self.in_typed_list()))
    }

    /// Whether this is the left side of a declaration, outside brackets: names, plates, a type.
    pub fn in_head(&self) -> bool {
        let keyword = matches!(
            self.keyword(),
            Token::Latent | Token::Param | Token::Let | Token::Const | Token::Plate | Token::Report | Token::Data
        );
        let signs = &self.tokens[self.first..self.at.min(self.tokens.len())];
        keyword && self.opener().is_none() && !signs.iter().any(|l| matches!(l.1, Token::Equals | Token::Tilde))
    }

    /// Whether names with types are declared here: columns, or the parameters of a `fn`, `net` or `dist`.
    pub fn in_typed_list(&self) -> bool {
        let opener = self.opener();
        match self.keyword() {
            Token::Data => opener.is_none_or(|i| self.tokens[i].1 == Token::LBrace),
            Token::Fn | Token::Net | Token::Dist => opener.is_some_and(|i| {
                let header = &self.tokens[self.first..i];
                self.tokens[i].1 == Token::LParen
                    && !header.iter().any(|l| matches!(l.1, Token::Equals | Token::LBrace))
            }),
            _ => false,
        }
    }

    /// The names that the skipped text would have declared, as far as one can tell.
    pub fn declared(&self, unexpected: &Unexpected<'_>) -> Vec<Ident> {
        let mut names = vec![];
        let tokens = &self.tokens[self.first..self.last];
        let next = |i: usize| tokens.get(i + 1).map(|l| l.1);
        if unexpected.whole {
            let table = self.keyword() == Token::Data;
            if table && !tokens.iter().any(|l| l.1 == Token::LBrace) {
                // Its columns are not known.
                names.push(Ident { name: UNREAD_TABLE.into(), span: self.span_of(self.first) });
            }
            let mut add = |l: &Lexeme<'_>, name: &str| {
                names.push(Ident { name: name.into(), span: Span::new(self.file, l.0, l.2) });
            };
            let mut depth = 0;
            // A declaration in the middle of this one has names too.
            let more = |i: usize| {
                tokens[i..].windows(2).any(|w| matches!(w[0].1, Token::Name(n) if Token::declaration(n).is_some() && matches!(w[1].1, Token::Name(_))))
            };
            // `lower=0` of `real<lower=0> sigma` is no name, nor is `log` of `log(lambda) = …`.
            let mut angle = false;
            for (i, lexeme) in tokens.iter().enumerate() {
                match lexeme.1 {
                    Token::Less
                        if matches!(next(i), Some(Token::Name("lower" | "upper" | "offset" | "multiplier"))) =>
                    {
                        angle = true;
                    }
                    Token::Greater if angle => angle = false,
                    _ if angle => {}
                    Token::Name(n) if depth == 1 && (2..=3).contains(&i) && tokens[i - 1].1 == Token::LParen => {
                        add(lexeme, n)
                    }
                    token if token.closer().is_some() => depth += 1,
                    token if token.is_closer() => depth -= 1,
                    Token::Tilde | Token::Equals | Token::Colon if depth == 0 && !more(i) => break,
                    // All names before what they are given, and a table's columns.
                    Token::Name(n) if depth == 0 || table && matches!(next(i), Some(Token::Colon | Token::Comma)) => {
                        add(lexeme, n);
                    }
                    _ => {}
                }
            }
        } else {
            let mut add = |l: &Lexeme<'_>, name: &str| {
                names.push(Ident { name: name.into(), span: Span::new(self.file, l.0, l.2) });
            };
            for (i, lexeme) in tokens.iter().enumerate() {
                let (Token::Name(n) | Token::Text(n)) = lexeme.1 else { continue };
                if unexpected.start <= lexeme.0 && lexeme.2 <= unexpected.end {
                    // `real y` is a slip for `y: real`.
                    let type_first = our_type(n).is_some() && matches!(next(i), Some(Token::Name(_)));
                    if !type_first {
                        add(lexeme, n);
                    }
                    if !type_first && next(i) != Some(Token::Comma) {
                        break;
                    }
                }
            }
        }
        names
    }
}
