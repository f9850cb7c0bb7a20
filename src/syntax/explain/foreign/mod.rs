//! Lines of other languages as a whole: `mu = pm.Normal("mu", 0, 1)`, `lm(y ~ x)`, `def f(x): …`. Each is answered with the
//! line that says the same here.

mod bounds;
mod formula;
mod functions;
mod loops;
mod samples;
mod stan;

pub use formula::{formula, told};
pub use stan::Block;

use super::Place;
use crate::diag::{Code, Diagnostic};
use crate::source::Span;
use crate::syntax::token::Token;

/// Modules that other languages put before a distribution or a function.
pub const MODULES: &[&str] = &[
    "np",
    "jnp",
    "numpy",
    "jax",
    "math",
    "Math",
    "torch",
    "pm",
    "pymc",
    "pymc3",
    "pyro",
    "numpyro",
    "dist",
    "distributions",
    "npd",
    "tfd",
    "tfp",
    "tf",
    "stats",
    "scipy",
    "special",
    "random",
    "nn",
    "lax",
    "pt",
    "at",
    "distrax",
    "stan",
];

/// Functions that load a library elsewhere.
const LOADERS: &[&str] = &["library", "require", "using", "suppressPackageStartupMessages"];

/// A function on the left of `=`, and what undoes it.
const LINKS: &[(&str, &str, &str)] = &[
    ("log", "exp(", ")"),
    ("logit", "inv_logit(", ")"),
    ("probit", "Phi(", ")"),
    ("cloglog", "1 - exp(-exp(", "))"),
    ("sqrt", "(", ")^2"),
    ("exp", "log(", ")"),
    ("inv_logit", "logit(", ")"),
];

impl<'s> Place<'_, 's> {
    /// The declaration as a line of another language.
    pub(super) fn foreign(&self) -> Option<Diagnostic> {
        self.with_block()
            .or_else(|| self.turing())
            .or_else(|| self.loading())
            .or_else(|| self.sampled())
            .or_else(|| self.written_formula())
            .or_else(|| self.link_on_the_left())
            .or_else(|| self.function_elsewhere())
            .or_else(|| self.bounded_elsewhere())
            .or_else(|| self.cut_elsewhere())
            .or_else(|| self.conditional_elsewhere())
            .or_else(|| self.compound_assignment())
            .or_else(|| self.matrix_product())
    }

    /// Token `index`, if it belongs to the declaration.
    fn token(&self, index: usize) -> Option<Token<'s>> {
        (index < self.last).then(|| self.tokens.get(index).map(|l| l.1)).flatten()
    }

    fn name_at(&self, index: usize) -> Option<&'s str> {
        match self.token(index)? {
            Token::Name(n) => Some(n),
            _ => None,
        }
    }

    /// The whole declaration.
    pub(super) fn whole(&self) -> Span {
        self.span_of(self.first).to(self.span_of(self.last.saturating_sub(1).max(self.first)))
    }

    /// The closing bracket of the one at `open`.
    pub(super) fn closing(&self, open: usize) -> Option<usize> {
        let mut depth = 0;
        (open..self.last).find(|&i| {
            let token = self.tokens[i].1;
            depth += i32::from(token.closer().is_some()) - i32::from(token.is_closer());
            depth == 0
        })
    }

    /// The arguments between a bracket and its closing one: first and last token of each; an empty one is left out.
    pub(super) fn arguments(&self, open: usize) -> Option<Vec<(usize, usize)>> {
        let close = self.closing(open)?;
        let (mut out, mut start, mut depth) = (vec![], open + 1, 0);
        for i in open + 1..=close {
            let token = self.tokens[i].1;
            if depth == 0 && (token == Token::Comma || i == close) {
                if start < i {
                    out.push((start, i - 1));
                }
                start = i + 1;
            }
            depth += i32::from(token.closer().is_some()) - i32::from(token.is_closer());
        }
        Some(out)
    }

    /// Tokens as text, without the modules before names, and with arguments named by `:`.
    fn plain(&self, from: usize, to: usize) -> String {
        let mut text = String::new();
        let mut i = from;
        let mut end = None;
        while i <= to && i < self.tokens.len() {
            let (start, token, stop) = self.tokens[i];
            if let (Token::Name(n), Some(Token::Dot)) = (token, self.token(i + 1))
                && MODULES.contains(&n)
                && i < to
            {
                end = None;
                i += 2;
                continue;
            }
            let gap = end.is_some_and(|e: usize| e < start && !self.text[e..start].trim().is_empty());
            let spaced = end.is_some_and(|e: usize| e < start) && !gap;
            match token {
                Token::Equals => {
                    text.truncate(text.trim_end().len());
                    text.push_str(": ");
                    end = None;
                }
                Token::Newline => {
                    text.push(' ');
                    end = None;
                }
                // Foreign signs have been read as ours.
                Token::Caret => {
                    text.push('^');
                    end = Some(stop);
                }
                Token::And | Token::Or | Token::Not => {
                    let word = match token {
                        Token::And => "and ",
                        Token::Or => "or ",
                        _ => "not ",
                    };
                    if !text.is_empty() && !text.ends_with([' ', '(', '[']) {
                        text.push(' ');
                    }
                    text.push_str(word);
                    end = None;
                }
                _ => {
                    if spaced && !text.ends_with(' ') {
                        text.push(' ');
                    }
                    text.push_str(&self.text[start..stop]);
                    end = Some(stop);
                }
            }
            i += 1;
        }
        text.trim().to_owned()
    }

    /// `@model function demo(x)` and `end`, as Turing has them.
    fn turing(&self) -> Option<Diagnostic> {
        let header = self.token(self.first)? == Token::At && self.name_at(self.first + 1) == Some("model");
        let end = self.first + 1 == self.last && self.name_at(self.first) == Some("end");
        (header || end).then(|| {
            Code::FOREIGN_BLOCK
                .at(self.whole(), "a model has no header and no end")
                .note("the file is the model: a list of declarations, one per line")
                .help("remove this line")
                .mend(self.whole(), "")
        })
    }

    /// `with pm.Model() as model:`
    fn with_block(&self) -> Option<Diagnostic> {
        if self.name_at(self.first)? != "with" || self.name_at(self.first + 1).is_none() {
            return None;
        }
        let plate = (self.first..self.last).any(|i| matches!(self.name_at(i), Some("plate")));
        let d = Code::FOREIGN_BLOCK.at(self.span_of(self.first), "there are no blocks such as `with …:`");
        Some(if plate {
            d.note("rows of a table are a plate already; another is declared, as in `plate k = 3`")
                .help("name the plate where it is needed: `latent theta[k] ~ …`")
        } else {
            d.note("the file is the model: a list of declarations, one per line").help("remove this line")
        })
    }

    /// `import numpy as np`, `library(brms)`
    fn loading(&self) -> Option<Diagnostic> {
        let loads = match self.token(self.first)? {
            Token::Import => {
                let as_word =
                    self.name_at(self.first + 2) == Some("as") || self.token(self.first + 2) == Some(Token::Dot);
                self.name_at(self.first + 1).is_some_and(|n| MODULES.contains(&n)) || as_word
            }
            Token::From => (self.first..self.last).any(|i| self.name_at(i) == Some("import")),
            Token::Name(n) => LOADERS.contains(&n) && !self.has(Token::Tilde),
            _ => false,
        };
        loads.then(|| {
            Code::NO_DECLARATION_WORD
                .at(self.span_of(self.first), "there is no library to load")
                .note("all distributions and functions are there from the start; docs/library.md lists them")
                .help("remove this line")
                .mend(self.whole(), "")
        })
    }

    /// Whether a token stands anywhere in the declaration.
    fn has(&self, token: Token<'_>) -> bool {
        (self.first..self.last).any(|i| self.tokens[i].1 == token)
    }

    /// `log(lambda) = b * x`
    fn link_on_the_left(&self) -> Option<Diagnostic> {
        let start = match self.token(self.first)? {
            Token::Let => self.first + 1,
            _ => self.first,
        };
        let link = self.name_at(start)?;
        let (_, before, after) = LINKS.iter().find(|l| l.0 == link)?;
        let name = self.name_at(start + 2).filter(|_| self.token(start + 1) == Some(Token::LParen))?;
        let close = self.closing(start + 1)?;
        let value = match self.token(close + 1)? {
            Token::Equals => close + 2,
            Token::Less if self.arrow_at(close + 1) => close + 3,
            _ => return None,
        };
        if value >= self.last {
            return None;
        }
        let rest = self.plain(value, self.last - 1);
        let line = format!("let {name} = {before}{rest}{after}");
        let here = self.span_of(start).to(self.span_of(close));
        let code = if start == self.first { Code::NO_DECLARATION_WORD } else { Code::UNEXPECTED_TOKEN };
        let d = code
            .at(here, "a link function does not stand on the left side")
            .here(format!("`{name}` is not named by itself"));
        let d = match link {
            "log" | "logit" => {
                d.note(format!("a distribution takes the linear predictor too: `Poisson(log: …)`, `Bernoulli(logit: …)`; `{link}:` here"))
            }
            _ => d,
        };
        Some(d.help(format!("write `{line}`")).mend(self.whole(), line))
    }

    /// `a += x`
    fn compound_assignment(&self) -> Option<Diagnostic> {
        use Token::{Minus, Plus, Slash, Star};
        let name = self.name_at(self.first).filter(|n| *n != "target")?;
        let sign = (self.first + 1..self.last.saturating_sub(1)).find(|&i| {
            matches!(self.tokens[i].1, Plus | Minus | Star | Slash)
                && self.tokens[i + 1].1 == Token::Equals
                && self.tokens[i].2 == self.tokens[i + 1].0
        })?;
        // Only names and indices may stand before it.
        let target =
            (self.first + 1..sign).all(|i| !matches!(self.tokens[i].1, Token::Tilde | Token::Equals | Token::LParen));
        if !target {
            return None;
        }
        let op = self.word(sign);
        let rest = self.words(sign + 2, self.last - 1);
        Some(
            Code::FOREIGN_ASSIGNMENT
                .at(self.span_of(sign).to(self.span_of(sign + 1)), "a name has one value, which does not change")
                .help(format!("give the new value a name of its own: `let {name}_2 = {name} {op} {rest}`")),
        )
    }

    /// `x @ beta`
    fn matrix_product(&self) -> Option<Diagnostic> {
        if self.found() != Token::At || !self.after_value() || self.opener().is_none() {
            return None;
        }
        let (left, right) = (self.word(self.at - 1), self.word(self.at + 1));
        Some(
            Code::FOREIGN_OPERATOR
                .at(self.here(), "a product of matrices is a sum over the plate that they share")
                .help(format!("name that plate: `sum({left} * {right} over k)`")),
        )
    }
}
