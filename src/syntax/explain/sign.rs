//! `~`, `=` and `:` where another of them is due, or none.

use super::Place;
use crate::diag::{Code, Diagnostic};
use crate::source::Span;
use crate::syntax::token::Token;

impl Place<'_, '_> {
    /// `~` and `=`: confused, foreign, or missing.
    pub(super) fn sign(&self) -> Option<Diagnostic> {
        let (found, keyword) = (self.found(), self.keyword());
        let head = self.words(self.first, self.at.saturating_sub(1));
        let assignment = |at: Span| {
            let (sign, help) = match keyword {
                Token::Latent | Token::Observe => ("~", "write `~` before the distribution"),
                _ => ("=", "write `=`"),
            };
            let d = Code::FOREIGN_ASSIGNMENT.at(at, "a value is given with `=`, a distribution with `~`");
            Some(d.help(help).mend(at, sign))
        };
        if found == Token::Equals && self.prev() == Some(Token::Colon) && self.touches_prev() {
            return assignment(self.span_of(self.at - 1).to(self.span_of(self.at)));
        }
        if self.arrow_at(self.at) && (self.wants("=") || self.wants("~")) {
            return assignment(self.span_of(self.at).to(self.span_of(self.at + 1)));
        }
        if keyword == Token::Observe
            && self.wants("~")
            && let Some(arrow) = self.has_pair([Token::Less, Token::Minus])
        {
            return assignment(self.span_of(arrow).to(self.span_of(arrow + 1)));
        }
        let in_block = self.opening() == Some(Token::LBrace);
        if self.wants("~") {
            return self.missing_tilde(&head, in_block);
        }
        let definition = matches!(
            keyword,
            Token::Let | Token::Param | Token::Const | Token::Plate | Token::Net | Token::Fn | Token::Report
        );
        if self.wants("=") && (definition || in_block) && keyword != Token::Data {
            return match found {
                Token::Tilde => Some(self.tilde_for_equals(keyword)),
                Token::EqualEqual => Some(
                    Code::TILDE_OR_EQUALS
                        .at(self.here(), "`==` asks whether two values are equal")
                        .help("write `=` to give a value")
                        .mend(self.here(), "="),
                ),
                _ if self.line_ends() && in_block => {
                    Some(Code::TILDE_OR_EQUALS.at(self.here(), "this line gives no value").help("add `= …`"))
                }
                _ if self.line_ends() => {
                    let d = Code::TILDE_OR_EQUALS.at(self.here(), format!("`{head}` is given no value"));
                    Some(d.help(format!("add one: `{head} = …`")))
                }
                _ => None,
            };
        }
        if found != Token::Equals {
            return None;
        }
        if keyword == Token::Fit && in_block {
            let option = self.words(self.at - 1, self.at - 1);
            return Some(
                Code::EQUALS_SIGN
                    .at(self.here(), "an option and its value are separated by `:`")
                    .help(format!("write `{option}: …`"))
                    .mend(self.here(), ":"),
            );
        }
        self.after_value().then(|| {
            Code::EQUALS_SIGN
                .at(self.here(), "this `=` stands inside an expression")
                .help("write `==` to ask whether two values are equal")
                .edit(self.here(), "==")
        })
    }

    /// A distribution is due: in `latent`, `observe`, or a line of a guide.
    fn missing_tilde(&self, head: &str, in_guide: bool) -> Option<Diagnostic> {
        if in_guide {
            let name = self.word(self.at - 1);
            return match self.found() {
                Token::Equals => Some(
                    Code::TILDE_OR_EQUALS
                        .at(self.here(), "a latent of the guide takes a distribution, after `~`")
                        .help(format!("write `{name} ~ …`, or `let {name} = …` for a computed value"))
                        .edit(self.here(), "~"),
                ),
                Token::LBracket => Some(
                    Code::AXIS_FORM
                        .at(self.here(), format!("the plates of `{name}` are known from its `latent`"))
                        .help(format!("write `{name} ~ …`")),
                ),
                Token::Newline | Token::RBrace => {
                    let d = Code::TILDE_OR_EQUALS
                        .at(self.span_of(self.at - 1), "this line of the guide gives no distribution");
                    Some(d.help(format!("write `{name} ~ …`")))
                }
                _ => None,
            };
        }
        let observe = self.keyword() == Token::Observe;
        match self.found() {
            Token::Equals | Token::EqualEqual if observe => Some(
                Code::TILDE_OR_EQUALS
                    .at(self.here(), "`observe` takes a distribution, after `~`")
                    .help(format!("write `{head} ~ …`, with the distribution of the data"))
                    .mend(self.here(), "~"),
            ),
            Token::Equals | Token::EqualEqual => {
                let name = self.words(self.first + 1, self.at - 1);
                let d = Code::TILDE_OR_EQUALS
                    .at(self.here(), "a `latent` takes its prior distribution, after `~`")
                    .help(format!("write `{head} ~ …` for an unknown, `let {name} = …` for a computed value"));
                // `Normal(…)` can only be a prior.
                let family =
                    matches!(self.next(), Some(Token::Name(n)) if n.starts_with(|c: char| c.is_ascii_uppercase()));
                Some(if family { d.mend(self.here(), "~") } else { d.edit(self.here(), "~") })
            }
            _ if self.line_ends() => Some(if observe {
                Code::TILDE_OR_EQUALS
                    .at(self.here(), format!("`{head}` does not say how the data are distributed"))
                    .help(format!("add a distribution: `{head} ~ Normal(mu, sigma)`"))
            } else {
                Code::TILDE_OR_EQUALS
                    .at(self.here(), format!("`{head}` has no prior"))
                    .help(format!("add a distribution: `{head} ~ Normal(0, 1)`"))
            }),
            _ => None,
        }
    }

    fn tilde_for_equals(&self, keyword: Token<'_>) -> Diagnostic {
        let name = self.words(self.first + 1, self.at - 1);
        let d = Code::TILDE_OR_EQUALS.at(self.here(), "`~` is followed by a distribution, `=` by a value");
        match keyword {
            Token::Let => {
                let d =
                    d.help(format!("write `latent {name} ~ …` for an unknown, `let {name} = …` for a computed value"));
                d.edit(self.span_of(self.first), "latent")
            }
            Token::Param => d
                .help(format!(
                    "a `param` has no prior: write `latent {name} ~ …`, or `param {name} = …` with its initial value"
                ))
                .edit(self.span_of(self.first), "latent"),
            _ => d.help("write `=`").mend(self.here(), "="),
        }
    }
}
