//! What the grammar's actions note down; `explain` turns it into diagnostics.

use super::ast::BinaryOp;
use super::token::{Lexeme, Token};
use crate::source::Span;
use lalrpop_util::{ErrorRecovery, ParseError};
use std::convert::Infallible;

pub enum Problem<'s> {
    Unexpected(Unexpected<'s>),
    /// `a < b < c`
    Chained {
        span: Span,
        /// The second comparison sign.
        second: Span,
        parts: [Span; 3],
        ops: [BinaryOp; 2],
        more: bool,
    },
    /// `Normal(mu = 0, sigma = 1)`
    NamedByEquals {
        name: String,
        sign: Span,
    },
    /// Two `by`, `along` or `where` on one axis.
    Repeated {
        word: &'static str,
        span: Span,
    },
}

/// The parser met a token that fits nowhere.
pub struct Unexpected<'s> {
    /// `None`: the end of the file.
    pub found: Option<Lexeme<'s>>,
    /// The terminals of the grammar that would have fitted.
    pub expected: Vec<String>,
    /// What was skipped: the declaration or the line.
    pub start: usize,
    pub end: usize,
    /// A whole declaration was skipped, not a line of its block.
    pub whole: bool,
}

impl<'s> Problem<'s> {
    pub fn decl(error: ErrorRecovery<usize, Token<'s>, Infallible>, start: usize, end: usize) -> Self {
        Problem::unexpected(error.error, start, end, true)
    }

    pub fn line(error: ErrorRecovery<usize, Token<'s>, Infallible>, start: usize, end: usize) -> Self {
        Problem::unexpected(error.error, start, end, false)
    }

    pub fn unexpected(
        error: ParseError<usize, Token<'s>, Infallible>,
        start: usize,
        end: usize,
        whole: bool,
    ) -> Problem<'s> {
        let (found, expected) = match error {
            ParseError::UnrecognizedToken { token, expected } => (Some(token), expected),
            ParseError::UnrecognizedEof { expected, .. } => (None, expected),
            ParseError::ExtraToken { token } => (Some(token), vec![]),
            ParseError::InvalidToken { .. } => (None, vec![]),
            ParseError::User { error } => match error {},
        };
        Problem::Unexpected(Unexpected { found, expected, start, end, whole })
    }
}
