//! Lines that do not start with a declaration word: what they would be in this language.

use super::Place;
use crate::diag::{Code, Diagnostic, nearest};
use crate::source::Span;
use crate::syntax::token::{DECLARATION_WORDS, Token};

/// Type words of Stan, BUGS and C, and what they are here.
const TYPE_WORDS: &[(&str, &str)] = &[
    ("real", "real"),
    ("int", "int"),
    ("bool", "bool"),
    ("float", "real"),
    ("double", "real"),
    ("integer", "int"),
    ("vector", "real"),
    ("row_vector", "real"),
    ("matrix", "real"),
    ("array", "real"),
    ("simplex", "simplex"),
    ("ordered", "ordered"),
    ("positive_ordered", "ordered > 0"),
    ("unit_vector", "real"),
    ("cov_matrix", "cov"),
    ("corr_matrix", "corr"),
    ("cholesky_factor_corr", "corr"),
    ("cholesky_factor_cov", "cov"),
];

/// Words that start a line elsewhere, and the word that starts it here.
const SYNONYMS: &[(&str, &str)] = &[
    ("def", "fn"),
    ("function", "fn"),
    ("func", "fn"),
    ("var", "let"),
    ("val", "let"),
    ("set", "let"),
    ("define", "let"),
    ("prior", "latent"),
    ("parameter", "latent"),
    ("random", "latent"),
    ("sample", "latent"),
    ("likelihood", "observe"),
    ("return", "report"),
    ("print", "report"),
    ("output", "report"),
    ("table", "data"),
    ("include", "import"),
    ("library", "import"),
    ("using", "import"),
    ("use", "import"),
    ("distribution", "dist"),
    ("network", "net"),
    ("inference", "fit"),
];

pub fn our_type(word: &str) -> Option<&'static str> {
    TYPE_WORDS.iter().find(|(w, _)| *w == word).map(|(_, ours)| *ours)
}

impl Place<'_, '_> {
    /// The declaration starts with something else than a declaration word.
    pub(super) fn no_declaration_word(&self) -> Diagnostic {
        let here = self.span_of(self.first);
        let word = self.word(self.first);
        match (self.found(), self.next()) {
            (Token::If, _) => Code::NO_DECLARATION_WORD
                .at(here, "a line cannot start with `if`")
                .note("there are no branches between declarations, only between values")
                .help("choose inside a declaration: `let x = if … then … else …`"),
            (Token::Name("target"), Some(Token::Plus)) => self.target_increment(),
            (Token::Name("for" | "while" | "repeat"), _) => Code::LOOP
                .at(here, "there are no loops")
                .note("every declaration holds for each cell of its plates, so nothing is repeated by hand")
                .help(
                    "write what is in the loop once, without the index: `observe y ~ Normal(mu, sigma)` \
                     holds for every row of `y`'s table",
                ),
            (Token::Name(_), Some(next)) if our_type(word).is_some() && !matches!(next, Token::Tilde) => {
                self.type_first(self.first, true)
            }
            (Token::Name(_), _) => self.bare_line(),
            (Token::Bad, _) => Code::UNEXPECTED_TOKEN.at(here, "this declaration could not be read"),
            _ => Code::NO_DECLARATION_WORD.at(here, format!("a line cannot start with `{word}`")).help(format!(
                "every line starts with one of {}; a line that goes on leaves an operator, a comma or a bracket \
                     open at its end",
                word_list()
            )),
        }
    }

    fn target_increment(&self) -> Diagnostic {
        // `target`, `+`, `=`, and then the term.
        let (from, to) = (self.first + 3, self.last.saturating_sub(1));
        let term = if from <= to { self.words(from, to) } else { "…".to_string() };
        Code::TARGET_INCREMENT
            .at(self.span_of(self.first).to(self.span_of((self.first + 2).min(self.tokens.len() - 1))), {
                "a term is added to the log joint with `factor`"
            })
            .help(format!("write `factor {term}`"))
            .mend(self.span_of(self.first).to(self.span_of((self.first + 2).min(self.tokens.len() - 1))), "factor")
    }

    /// `real<lower=0> sigma`, from token `at` on; whether it stands on a line of its own or in a table.
    pub(super) fn type_first(&self, at: usize, line: bool) -> Diagnostic {
        let word = self.word(at);
        let ours = our_type(word).unwrap_or("real");
        let mut bound = "";
        let mut name = None;
        let mut depth = 0;
        let stop = self.last.min(self.tokens.len());
        for i in at + 1..stop {
            match self.tokens[i].1 {
                Token::LBracket | Token::LParen => depth += 1,
                Token::RBracket | Token::RParen => depth -= 1,
                Token::Name("lower") if self.word(i + 1) == "=" && self.word(i + 2) == "0" => bound = " > 0",
                Token::Name(n) if depth == 0 && our_type(n).is_none() && !matches!(n, "lower" | "upper" | "offset") => {
                    name = Some(n);
                    break;
                }
                Token::End | Token::Newline | Token::Comma if depth == 0 && bound.is_empty() => break,
                _ => {}
            }
        }
        let name = name.unwrap_or("x");
        let bound = if ours.contains('>') { "" } else { bound };
        let d = Code::FOREIGN_DECLARATION.at(self.span_of(at), "the type stands after the name");
        if line {
            d.help(format!(
                "for an unknown quantity write `latent {name}: {ours}{bound} ~ …`; for data, put `{name}: \
                 {ours}{bound}` into a table: `data rows {{ {name}: {ours}{bound} }}`"
            ))
        } else {
            d.help(format!("write `{name}: {ours}{bound}`"))
        }
    }

    /// A line that starts with a name.
    fn bare_line(&self) -> Diagnostic {
        let here = self.span_of(self.first);
        let word = self.word(self.first);
        let next = self.next();
        // What is declared, up to the first sign outside brackets.
        let mut depth = 0;
        let sign = (self.first..self.last).find(|&i| {
            let token = self.tokens[i].1;
            depth += i32::from(token.closer().is_some()) - i32::from(token.is_closer());
            depth == 0 && matches!(token, Token::Tilde | Token::Equals)
                || depth == 0 && token == Token::Less && self.arrow_at(i)
        });
        let synonym = SYNONYMS.iter().find(|(w, _)| *w == word).map(|(_, ours)| *ours);
        let two_words = matches!(next, Some(Token::Name(_) | Token::Text(_) | Token::LBrace));
        if two_words || synonym.is_some() && !matches!(next, Some(Token::Tilde | Token::Equals)) {
            let meant = synonym.or_else(|| nearest(word, DECLARATION_WORDS.iter().copied()));
            let d = Code::NO_DECLARATION_WORD.at(here, format!("`{word}` does not start a declaration"));
            return match meant {
                Some(meant) => d.meant(meant),
                None => d.help(format!("every line starts with one of {}", word_list())),
            };
        }
        let Some(sign) = sign else {
            let d = Code::NO_DECLARATION_WORD.at(here, "this line does not say what it declares");
            let d = d.note(format!("every line starts with one of {}", word_list()));
            return if self.first + 1 == self.last {
                d.help(format!("to print it, write `report {word}`"))
            } else {
                d.help("to print a value, write `report name = …`; to continue the line above, leave an operator, a comma or a bracket open at its end")
            };
        };
        let mut head_end = sign - 1;
        if self.tokens[head_end].1 == Token::Colon && self.tokens[head_end].2 == self.tokens[sign].0 {
            head_end = head_end.saturating_sub(1).max(self.first);
        }
        let head = self.words(self.first, head_end);
        match self.tokens[sign].1 {
            Token::Tilde => Code::LATENT_OR_OBSERVE
                .at(here, format!("is `{head}` to be estimated, or is it data?"))
                .label(self.span_of(sign), "says how it is distributed")
                .help(format!("write `latent {head} ~ …` for an unknown, `observe {head} ~ …` for data"))
                .edit(Span { end: here.start, ..here }, "latent "),
            sign_token if sign_token == Token::Less || head_end + 2 == sign => Code::FOREIGN_ASSIGNMENT
                .at(self.span_of(sign), "a value is given with `let` and `=`")
                .help(format!("write `let {head} = …`"))
                .edit(Span { end: here.start, ..here }, "let ")
                .edit(
                    self.span_of(head_end + 1).to(self.span_of(if sign_token == Token::Less {
                        sign + 1
                    } else {
                        sign
                    })),
                    "=",
                ),
            _ => {
                Code::NO_DECLARATION_WORD.at(here, format!("`{head} = …` does not say what it declares")).help(format!(
                    "write `let {head} = …` for a computed value, `const {head} = …` for a fixed number, `param {head} \
                     = …` for one that is fitted"
                ))
            }
        }
    }

    /// Whether tokens `at` and the next write `<-`.
    pub(super) fn arrow_at(&self, at: usize) -> bool {
        let (Some(a), Some(b)) = (self.tokens.get(at), self.tokens.get(at + 1)) else { return false };
        a.1 == Token::Less && b.1 == Token::Minus && a.2 == b.0
    }
}

fn word_list() -> String {
    let (last, init) = DECLARATION_WORDS.split_last().expect("there are some");
    let init: Vec<String> = init.iter().map(|w| format!("`{w}`")).collect();
    format!("{} or `{last}`", init.join(", "))
}
