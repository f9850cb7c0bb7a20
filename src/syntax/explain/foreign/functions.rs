//! Functions as Python, R and Julia define them.

use super::super::Place;
use crate::diag::{Code, Diagnostic};
use crate::syntax::token::Token;

impl Place<'_, '_> {
    pub(super) fn function_elsewhere(&self) -> Option<Diagnostic> {
        let (code, at, name, params, body) = self.python().or_else(|| self.lambda()).or_else(|| self.of_r())?;
        let params: Vec<String> = params.iter().map(|p| format!("{p}: real")).collect();
        let body = body.map_or("…".to_owned(), |(from, to)| self.plain(from, to));
        let line = format!("fn {name}({}) -> real = {body}", params.join(", "));
        let d = code.at(self.span_of(at), "a function is declared with `fn`").help(format!("write `{line}`"));
        Some(if body == "…" { d } else { d.edit(self.whole(), line) })
    }

    /// `def f(x): return x^2`
    #[allow(clippy::type_complexity)]
    fn python(&self) -> Option<(&'static Code, usize, &str, Vec<&str>, Option<(usize, usize)>)> {
        if !matches!(self.name_at(self.first)?, "def" | "function" | "func") {
            return None;
        }
        let name = self.name_at(self.first + 1)?;
        let open = self.first + 2;
        let params = self.names_in(open)?;
        let close = self.closing(open)?;
        let returned = (close..self.last).find(|&i| self.name_at(i) == Some("return"));
        let start = returned.map(|i| i + 1);
        // The first line after it: what follows is not part of the value.
        let body = start.filter(|s| *s < self.last).map(|s| {
            let end = (s..self.last)
                .find(|&i| matches!(self.tokens[i].1, Token::Newline | Token::RBrace))
                .unwrap_or(self.last);
            (s, end - 1)
        });
        Some((Code::NO_DECLARATION_WORD, self.first, name, params, body))
    }

    /// `let f = lambda x: x^2`
    #[allow(clippy::type_complexity)]
    fn lambda(&self) -> Option<(&'static Code, usize, &str, Vec<&str>, Option<(usize, usize)>)> {
        let at =
            (self.first..self.last).find(|&i| self.name_at(i) == Some("lambda") && self.name_at(i + 1).is_some())?;
        let name = (self.first..at).find_map(|i| self.name_at(i))?;
        let colon = (at..self.last).find(|&i| self.tokens[i].1 == Token::Colon)?;
        let params = (at + 1..colon).filter_map(|i| self.name_at(i)).collect();
        let body = (colon + 1 < self.last).then(|| (colon + 1, self.last - 1));
        let code = if at == self.first + 2 { Code::NO_DECLARATION_WORD } else { Code::UNEXPECTED_TOKEN };
        Some((code, at, name, params, body))
    }

    /// `f <- function(x) { x^2 }`, `f(x) = x^2`
    #[allow(clippy::type_complexity)]
    fn of_r(&self) -> Option<(&'static Code, usize, &str, Vec<&str>, Option<(usize, usize)>)> {
        let code = Code::NO_DECLARATION_WORD;
        let name = (self.first..self.last.min(self.first + 2)).find_map(|i| self.name_at(i))?;
        if let Some(at) = (self.first + 1..self.last).find(|&i| self.name_at(i) == Some("function")) {
            let params = self.names_in(at + 1)?;
            let close = self.closing(at + 1)?;
            let (mut from, mut to) = (close + 1, self.last.checked_sub(1)?);
            if self.token(from) == Some(Token::LBrace) {
                (from, to) = (from + 1, self.closing(from)?.checked_sub(1)?);
            }
            if self.name_at(from) == Some("return") && self.token(from + 1) == Some(Token::LParen) {
                (from, to) = (from + 2, self.closing(from + 1)?.checked_sub(1)?);
            }
            let one = from <= to && !(from..=to).any(|i| self.tokens[i].1 == Token::Newline);
            return Some((code, at, name, params, one.then_some((from, to))));
        }
        if self.name_at(self.first).is_some() && self.token(self.first + 1) == Some(Token::LParen) {
            let params = self.names_in(self.first + 1)?;
            let close = self.closing(self.first + 1)?;
            let value = (self.token(close + 1)? == Token::Equals && close + 2 < self.last).then_some(close + 2)?;
            return Some((code, self.first, name, params, Some((value, self.last - 1))));
        }
        None
    }

    /// `(a, b)`: parameters without types, perhaps with defaults.
    fn names_in(&self, open: usize) -> Option<Vec<&str>> {
        if self.token(open) != Some(Token::LParen) {
            return None;
        }
        self.arguments(open)?.iter().map(|a| self.name_at(a.0)).collect()
    }
}
