//! `for (i in 1:N) { y[i] ~ … }`: what stands in the loop, said once.

use super::super::Place;
use crate::diag::{Code, Diagnostic};
use crate::syntax::token::Token;

impl Place<'_, '_> {
    pub(in super::super) fn looped(&self) -> Diagnostic {
        let d = Code::LOOP
            .at(self.span_of(self.first), "there are no loops")
            .note("every declaration holds for each cell of its plates, so nothing is repeated by hand");
        match self.said_once() {
            Some((line, what)) => d.help(format!("write `{line}`, once: it holds for every {what}")),
            None => d.help(
                "write what is in the loop once, without the index: `observe y ~ Normal(mu, sigma)` holds for every row of `y`'s table",
            ),
        }
    }

    /// The first statement of the loop without its index, and what it then holds for.
    fn said_once(&self) -> Option<(String, String)> {
        let at = (self.first..self.last).find(|&i| self.tokens[i].1 == Token::In)?;
        let index = self.name_at(at.checked_sub(1)?)?;
        let body = (at..self.last).find(|&i| {
            matches!(self.tokens[i].1, Token::LBrace | Token::Colon) && self.name_at(i + 1).is_some() && {
                let next = self.token(i + 2);
                matches!(next, Some(Token::LBracket | Token::Tilde))
            }
        })? + 1;
        let target = self.name_at(body)?;
        let end = (body..self.last)
            .find(|&i| matches!(self.tokens[i].1, Token::Newline | Token::RBrace | Token::Semicolon))
            .unwrap_or(self.last);
        let tilde = (body..end).find(|&i| self.tokens[i].1 == Token::Tilde)?;
        let mut line = String::new();
        let mut i = body;
        while i < end {
            if self.token(i) == Some(Token::LBracket)
                && self.name_at(i + 1) == Some(index)
                && self.token(i + 2) == Some(Token::RBracket)
            {
                i += 3;
                continue;
            }
            if !line.is_empty() && self.tokens[i].0 > self.tokens[i - 1].2 {
                line.push(' ');
            }
            line.push_str(self.word(i));
            i += 1;
        }
        if line.contains(&format!("[{index}")) || tilde + 1 >= end || line.chars().count() > 70 {
            return None;
        }
        Some(match self.column(target) {
            Some(_) => (format!("observe {line}"), format!("row of `{target}`'s table")),
            None => (format!("observe {line}"), format!("row, if `{target}` is a column")),
        })
    }
}
