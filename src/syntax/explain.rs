//! What the parser stumbled over, in the user's words.

use super::ast::{BinaryOp, Ident};
use super::problem::{Problem, Unexpected};
use super::token::{DECLARATION_WORDS, Lexeme, Token};
use crate::diag::{Code, Diagnostic, nearest};
use crate::source::{FileId, Span};
use std::ops::Range;

/// The diagnostic for a problem.
pub fn explain(file: FileId, text: &str, tokens: &[Lexeme<'_>], problem: &Problem<'_>) -> Diagnostic {
    match problem {
        Problem::Unexpected(unexpected) => Place::of(file, text, tokens, unexpected).explain(),
        Problem::Chained { span, second, parts, ops, more } => chained(text, *span, *second, parts, *ops, *more),
        Problem::Repeated { word, span } => {
            Code::AXIS_FORM.at(*span, format!("a second `{word}` for one index")).help(match *word {
                "where" => "join the conditions with `and`".to_string(),
                _ => format!("keep one `{word}`"),
            })
        }
    }
}

fn chained(text: &str, span: Span, second: Span, parts: &[Span; 3], ops: [BinaryOp; 2], more: bool) -> Diagnostic {
    let [a, b, c] = parts.map(|s| text.get(s.start as usize..s.end as usize).unwrap_or("…"));
    let [p, q] = ops.map(BinaryOp::symbol);
    let d = Code::CHAINED_COMPARISON
        .at(second, "comparisons do not chain")
        .here("a second comparison")
        .label(span, "in this condition");
    if more || a.len() + 2 * b.len() + c.len() > 60 {
        d.help("join them with `and`: `a < b and b < c`")
    } else {
        d.help(format!("write `{a} {p} {b} and {b} {q} {c}`"))
    }
}

/// Where the parser met a token that fits nowhere.
pub struct Place<'a, 's> {
    file: FileId,
    text: &'a str,
    tokens: &'a [Lexeme<'s>],
    /// The unexpected token; the number of tokens at the end of the file.
    at: usize,
    /// The tokens of its declaration.
    first: usize,
    last: usize,
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

    /// The bytes of the declaration.
    pub fn range(&self) -> Range<usize> {
        let start = self.tokens.get(self.first).map_or(self.text.len(), |l| l.0);
        let end = self.tokens[self.first..self.last].last().map_or(start, |l| l.2);
        start..end + 1
    }

    /// Whether this is an indented line without a keyword, right below a declaration that failed.
    pub fn is_continuation(&self, failed: &[usize]) -> bool {
        let start = self.range().start;
        if self.at != self.first || self.first == 0 || !self.text[..start].ends_with([' ', '\t']) {
            return false;
        }
        let above = self.tokens[..self.first - 1].iter().rposition(|l| l.1 == Token::End).map_or(0, |i| i + 1);
        failed.contains(&self.tokens[above].0)
    }

    /// The names that the skipped text would have declared, as far as one can tell.
    pub fn declared(&self, unexpected: &Unexpected<'_>) -> Vec<Ident> {
        let skipped = |l: &&Lexeme<'_>| unexpected.start <= l.0 && l.2 <= unexpected.end;
        let tokens = &self.tokens[self.first..self.last];
        let mut names = vec![];
        let ident = |l: &Lexeme<'_>, name: &str| Ident { name: name.into(), span: self.span(l.0, l.2) };
        if unexpected.whole {
            let table = tokens.first().is_some_and(|l| l.1 == Token::Data);
            let mut depth = 0;
            for pair in tokens.windows(2) {
                let (_, token, _) = pair[0];
                match token {
                    _ if token.closer().is_some() => depth += 1,
                    _ if token.is_closer() => depth -= 1,
                    // A table's columns, and all names before what they are given.
                    Token::Name(n) if table && matches!(pair[1].1, Token::Colon | Token::Comma) => {
                        names.push(ident(&pair[0], n));
                    }
                    Token::Tilde | Token::Equals if depth == 0 => break,
                    Token::Name(n) if depth == 0 => names.push(ident(&pair[0], n)),
                    _ => {}
                }
            }
            return names;
        }
        for lexeme in tokens.iter().filter(skipped) {
            match lexeme.1 {
                Token::Name(n) => names.push(ident(lexeme, n)),
                Token::Colon | Token::Tilde | Token::Equals => break,
                _ => {}
            }
        }
        names
    }

    fn explain(&self) -> Diagnostic {
        self.generic()
    }

    fn span(&self, start: usize, end: usize) -> Span {
        Span::new(self.file, start, end)
    }

    fn generic(&self) -> Diagnostic {
        let l = self.tokens.get(self.at).copied().unwrap_or((self.text.len(), Token::End, self.text.len()));
        let _ = (self.expected, DECLARATION_WORDS, nearest("a", []));
        Code::UNEXPECTED_TOKEN.at(self.span(l.0, l.2), format!("`{}` does not fit here", &self.text[l.0..l.2]))
    }
}
