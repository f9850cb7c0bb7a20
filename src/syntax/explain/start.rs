//! Lines that do not start with a declaration word: what they would be in this language.

use super::Place;
use super::foreign::Block;
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
            (Token::Name("for" | "while" | "repeat"), _) => self.looped(),
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
        let sign = self.span_of(self.first).to(self.span_of((self.first + 2).min(self.tokens.len() - 1)));
        if let Some((line, target)) = self.density_of(from) {
            let d = Code::TARGET_INCREMENT.at(sign, format!("the density of `{target}` is stated with `~`"));
            return d.help(format!("write `{line}`")).mend(self.whole(), line);
        }
        let term = if from <= to { self.words(from, to) } else { "…".to_string() };
        Code::TARGET_INCREMENT
            .at(sign, "a term is added to the log joint with `factor`")
            .help(format!("write `factor {term}`"))
            .mend(sign, "factor")
    }

    /// `normal_lpdf(y | mu, 1)` from a token to the end: the line that says it, and what is drawn.
    fn density_of(&self, from: usize) -> Option<(String, String)> {
        let Token::Name(function) = self.tokens.get(from).filter(|_| from < self.last)?.1 else { return None };
        let family = function.strip_suffix("_lpdf").or_else(|| function.strip_suffix("_lpmf"))?;
        let (values, end) = (self.arguments(from + 1)?, self.closing(from + 1)?);
        let (target, rest) = values.split_first().filter(|_| end + 1 == self.last)?;
        let target = self.words(target.0, target.1);
        let args: Vec<String> = rest.iter().map(|a| self.words(a.0, a.1)).collect();
        let unknown = self.declared_in(&target) == Some(Block::Parameters);
        let word = if unknown { "latent" } else { "observe" };
        Some((format!("{word} {target} ~ {}({})", camel(family), args.join(", ")), target))
    }

    /// `real<lower=0> sigma`, from token `at` on; whether it stands on a line of its own or in a table.
    pub(super) fn type_first(&self, at: usize, line: bool) -> Diagnostic {
        let word = self.word(at);
        let ours = our_type(word).unwrap_or("real");
        let stop = self.last.min(self.tokens.len());
        let (mut bound, mut from) = (String::new(), at + 1);
        if let Some((text, end)) = self.angle_bound(at + 1, ours) {
            (bound, from) = (text, end + 1);
        }
        let mut name = None;
        let mut depth = 0;
        for i in from..stop {
            let token = self.tokens[i].1;
            depth += i32::from(token.closer().is_some()) - i32::from(token.is_closer());
            match token {
                Token::Name(n) if depth == 0 && our_type(n).is_none() => {
                    name = Some((i, n));
                    break;
                }
                Token::End | Token::Newline | Token::Comma if depth == 0 => break,
                _ => {}
            }
        }
        let bound = if ours.contains('>') { "" } else { bound.as_str() };
        let d = Code::FOREIGN_DECLARATION.at(self.span_of(at), "the type stands after the name");
        let (index, name) = name.map_or((None, "x"), |(i, n)| (Some(i), n));
        if !line {
            let text = format!("{name}: {ours}{bound}");
            let d = d.help(format!("write `{text}`"));
            return match index {
                Some(i) => d.mend(self.span_of(at).to(self.span_of(i)), text),
                None => d,
            };
        }
        let value = index
            .filter(|i| matches!(self.tokens.get(i + 1), Some((_, Token::Equals, _))) && i + 2 < stop)
            .map_or("…".to_owned(), |i| self.words(i + 2, stop - 1));
        match self.block() {
            Some(Block::Data) if ours == "int" && name.len() == 1 => {
                d.help(format!("leave `{name}` out if it counts rows: they are counted when the file is read"))
            }
            Some(Block::Data) => d.help(format!("put it into a table: `data rows {{ {name}: {ours}{bound} }}`")),
            Some(Block::Parameters) => d.help(format!("write `latent {name}: {ours}{bound} ~ …`, with its prior")),
            Some(Block::Transformed | Block::Model) => d.help(format!("write `let {name} = {value}`")),
            Some(Block::Generated) => d.help(format!("write `report {name} = {value}`")),
            None => d.help(format!(
                "for an unknown quantity write `latent {name}: {ours}{bound} ~ …`; for data, put `{name}: \
                 {ours}{bound}` into a table: `data rows {{ {name}: {ours}{bound} }}`"
            )),
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
            // `print(mu)`
            if meant == Some("report")
                && let (Some(Token::LParen), Some(close)) = (next, self.closing(self.first + 1))
                && close + 1 == self.last
                && close > self.first + 2
            {
                let line = format!("report {}", self.words(self.first + 2, close - 1));
                return d.help(format!("write `{line}`")).edit(self.whole(), line);
            }
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
            Token::Tilde => {
                let start = Span { end: here.start, ..here };
                let data = self.declared_in(word).map(|b| matches!(b, Block::Data | Block::Transformed));
                let d = Code::LATENT_OR_OBSERVE
                    .at(here, format!("is `{head}` to be estimated, or is it data?"))
                    .label(self.span_of(sign), "says how it is distributed");
                match (self.column(word), data) {
                    (Some(table), _) => d
                        .help(format!("it is a column of `{table}`: write `observe {head} ~ …`"))
                        .mend(start, "observe "),
                    (None, Some(true)) => {
                        d.help(format!("it is data: write `observe {head} ~ …`")).edit(start, "observe ")
                    }
                    (None, Some(false)) => {
                        d.help(format!("it is unknown: write `latent {head} ~ …`")).edit(start, "latent ")
                    }
                    (None, None) => d
                        .help(format!("write `latent {head} ~ …` for an unknown, `observe {head} ~ …` for data"))
                        .edit(start, "latent "),
                }
            }
            sign_token if sign_token == Token::Less || head_end + 2 == sign => {
                let last = if sign_token == Token::Less { sign + 1 } else { sign };
                let written = self.span_of(head_end + 1).to(self.span_of(last));
                Code::FOREIGN_ASSIGNMENT
                    .at(written, "a value is given with `let` and `=`")
                    .help(format!("write `let {head} = …`"))
                    .mend(Span { end: here.start, ..here }, "let ")
                    .mend(written, "=")
            }
            _ if matches!(self.block(), Some(Block::Generated)) => Code::NO_DECLARATION_WORD
                .at(here, format!("`{head} = …` does not say what it declares"))
                .help(format!("write `report {head} = …`"))
                .mend(Span { end: here.start, ..here }, "report "),
            _ if self.block() == Some(Block::Data) => Code::NO_DECLARATION_WORD
                .at(here, format!("`{head} = …`: data are read from files, which the command line names"))
                .help(format!(
                    "declare the column in a table, `data rows {{ {head}: real }}`, and run `vic fit model.vi rows.csv`"
                )),
            _ if self.block().is_some() => Code::NO_DECLARATION_WORD
                .at(here, format!("`{head} = …` does not say what it declares"))
                .help(format!("write `let {head} = …`"))
                .mend(Span { end: here.start, ..here }, "let "),
            _ => Code::NO_DECLARATION_WORD
                .at(here, format!("`{head} = …` does not say what it declares"))
                .help(format!(
                    "write `let {head} = …` for a computed value, `const {head} = …` for a fixed number, `param {head} \
                     = …` for one that is fitted"
                ))
                .edit(Span { end: here.start, ..here }, "let "),
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

/// `student_t` as `StudentT`.
fn camel(name: &str) -> String {
    let mut out = String::new();
    for part in name.split('_') {
        let mut letters = part.chars();
        out.extend(letters.next().map(|c| c.to_ascii_uppercase()));
        out.extend(letters);
    }
    out
}
