//! `real<lower=0> sigma`, `Cauchy(0, 5) T[0,]`, `a if c else b`: bounds, truncation and choices in other languages' signs.

use super::super::Place;
use super::super::start::our_type;
use crate::diag::{Code, Diagnostic};
use crate::syntax::token::Token;

impl Place<'_, '_> {
    /// The bound of `real<lower=0, upper=1>` from the `<` on, as ours, and its last token.
    pub(in super::super) fn angle_bound(&self, less: usize, ours: &str) -> Option<(String, usize)> {
        if self.token(less)? != Token::Less
            || !matches!(self.name_at(less + 1)?, "lower" | "upper" | "offset" | "multiplier")
        {
            return None;
        }
        let mut depth = 0;
        let end = (less + 1..self.last).find(|&i| {
            let token = self.tokens[i].1;
            depth += i32::from(token.closer().is_some()) - i32::from(token.is_closer());
            depth == 0 && matches!(token, Token::Greater | Token::GreaterEq)
        })?;
        let (mut lower, mut upper) = (None, None);
        let mut start = less + 1;
        for i in less + 1..=end {
            if i != end && self.tokens[i].1 != Token::Comma {
                continue;
            }
            if start + 2 < i && self.token(start + 1) == Some(Token::Equals) {
                let value = self.plain(start + 2, i - 1);
                match self.name_at(start) {
                    Some("lower") => lower = Some(value),
                    Some("upper") => upper = Some(value),
                    _ => {}
                }
            }
            start = i + 1;
        }
        // Whole numbers take their ends.
        let whole = ours == "int";
        let text = match (lower, upper, whole) {
            (Some(l), Some(u), false) => format!(" in ({l}, {u})"),
            (Some(l), Some(u), true) => format!(" in [{l}, {u}]"),
            (Some(l), None, false) => format!(" > {l}"),
            (Some(l), None, true) => format!(" >= {l}"),
            (None, Some(u), false) => format!(" < {u}"),
            (None, Some(u), true) => format!(" <= {u}"),
            (None, None, _) => String::new(),
        };
        Some((text, end))
    }

    /// `latent sigma: real<lower=0> ~ …`, `latent real<lower=0> sigma ~ …`
    pub(super) fn bounded_elsewhere(&self) -> Option<Diagnostic> {
        if !matches!(self.token(self.first)?, Token::Latent | Token::Param | Token::Let | Token::Data) {
            return None;
        }
        let less = (self.first + 1..self.last)
            .find(|&i| self.tokens[i].1 == Token::Less && self.name_at(i - 1).is_some_and(|n| our_type(n).is_some()))?;
        let ours = our_type(self.name_at(less - 1)?)?;
        let (bound, end) = self.angle_bound(less, ours)?;
        let ours = format!("{ours}{bound}");
        let whole = self.span_of(less - 1).to(self.span_of(end));
        let d = |text: String, span| {
            Code::FOREIGN_DECLARATION
                .at(whole, "a bound is written as a comparison")
                .help(format!("write `{text}`"))
                .mend(span, text)
        };
        if self.token(less - 2) == Some(Token::Colon) {
            return Some(d(ours, whole));
        }
        let name = self.name_at(end + 1).filter(|_| less == self.first + 2)?;
        Some(d(format!("{name}: {ours}"), whole.to(self.span_of(end + 1))))
    }

    /// `Cauchy(0, 5) T[0,]`
    pub(super) fn cut_elsewhere(&self) -> Option<Diagnostic> {
        let tilde = (self.first..self.last).find(|&i| self.tokens[i].1 == Token::Tilde)?;
        let at = (tilde + 2..self.last).find(|&i| {
            matches!(self.name_at(i), Some("T" | "I"))
                && self.token(i - 1) == Some(Token::RParen)
                && matches!(self.token(i + 1), Some(Token::LBracket | Token::LParen))
        })?;
        let close = self.closing(at + 1)?;
        let comma = (at + 2..close).find(|&i| self.tokens[i].1 == Token::Comma)?;
        let mut text = format!("truncated({}", self.plain(tilde + 1, at - 1));
        if at + 2 < comma {
            text += &format!(", lower: {}", self.plain(at + 2, comma - 1));
        }
        if comma + 1 < close {
            text += &format!(", upper: {}", self.plain(comma + 1, close - 1));
        }
        text.push(')');
        Some(
            Code::UNEXPECTED_TOKEN
                .at(self.span_of(at).to(self.span_of(close)), "a distribution is cut with `truncated`")
                .help(format!("write `{text}`"))
                .mend(self.span_of(tilde + 1).to(self.span_of(close)), text),
        )
    }

    /// `a if c else b` of Python, `c ? a : b` of C.
    pub(super) fn conditional_elsewhere(&self) -> Option<Diagnostic> {
        let python = self.found() == Token::If && self.after_value();
        let c = self.found() == Token::Question && self.after_value();
        if !python && !c {
            return None;
        }
        let start = self.operand_start();
        let end = self.operand_end();
        let middle =
            (self.at + 1..=end).find(|&i| self.tokens[i].1 == if python { Token::Else } else { Token::Colon })?;
        if middle == self.at + 1 || middle == end {
            return None;
        }
        let (first, second, third) =
            (self.plain(start, self.at - 1), self.plain(self.at + 1, middle - 1), self.plain(middle + 1, end));
        let text = match python {
            true => format!("if {second} then {first} else {third}"),
            false => format!("if {first} then {second} else {third}"),
        };
        Some(
            Code::IF_FORM
                .at(self.here(), "a choice is written with `if`, `then` and `else`, in this order")
                .help(format!("write `{text}`"))
                .mend(self.span_of(start).to(self.span_of(end)), text),
        )
    }

    /// The first token of the operand that ends before the one at hand: what follows a sign or an open bracket.
    fn operand_start(&self) -> usize {
        let mut closed = 0;
        let before = (self.first..self.at).rev().find(|&i| {
            let token = self.tokens[i].1;
            closed += i32::from(token.is_closer());
            if token.closer().is_some() {
                closed -= 1;
            }
            closed < 0
                || closed == 0
                    && matches!(token, Token::Equals | Token::Tilde | Token::Comma | Token::Colon | Token::Factor)
        });
        before.map_or(self.first, |i| i + 1)
    }

    /// The last token before a comma, a closing bracket or the end.
    fn operand_end(&self) -> usize {
        let mut open = 0;
        let after = (self.at..self.last).find(|&i| {
            let token = self.tokens[i].1;
            open += i32::from(token.closer().is_some());
            open -= i32::from(token.is_closer());
            open < 0 || open == 0 && matches!(token, Token::Comma | Token::Newline)
        });
        after.unwrap_or(self.last) - 1
    }
}
