//! Single slips with a single cure.

use super::Place;
use super::start::our_type;
use crate::diag::{Code, Diagnostic};
use crate::syntax::token::Token;

impl Place<'_, '_> {
    /// A slip that is known by its very form.
    pub(super) fn slip(&self) -> Option<Diagnostic> {
        let here = self.here();
        let (word, last) = (self.word(self.at), self.word(self.at - 1));
        let opening = self.opening();
        let unexpected = |message: &str| Some(Code::UNEXPECTED_TOKEN.at(here, message));
        let named = matches!(self.prev(), Some(Token::Name(_)));
        match self.found() {
            // `r: positive real`
            Token::Name(ty)
                if our_type(ty) == Some(ty)
                    && matches!(self.before(2), Some(Token::Colon))
                    && matches!(last, "positive" | "nonnegative" | "negative" | "unit" | "bounded") =>
            {
                let bound = match last {
                    "positive" => " > 0",
                    "nonnegative" => " >= 0",
                    "negative" => " < 0",
                    _ => " in (0, 1)",
                };
                let text = format!("{ty}{bound}");
                Some(
                    Code::MISSING_TYPE
                        .at(self.span_of(self.at - 1), "a bound is written as a comparison")
                        .help(format!("write `{text}`"))
                        .mend(self.span_of(self.at - 1).to(here), text),
                )
            }
            // `param q real = 3`
            Token::Name(ty) if named && self.in_head() && our_type(ty) == Some(ty) => Some(
                Code::MISSING_TYPE
                    .at(here, format!("a `:` is missing between `{last}` and `{ty}`"))
                    .help(format!("write `{last}: {ty}`"))
                    .mend(self.after(self.at - 1), ":"),
            ),
            // `latent x in real`
            Token::In if named && self.in_head() => unexpected("`in` does not give a type")
                .map(|d| d.help(format!("write `{last}: real in (0, 1)`")).mend(self.after(self.at - 1), ": real")),
            // `latent s > 0`
            Token::Less | Token::LessEq | Token::Greater | Token::GreaterEq
                if named
                    && self.in_head()
                    && self.wants(":")
                    && self.keyword() != Token::Data
                    && !self.arrow_at(self.at) =>
            {
                let bound = self.words(self.at, self.at + 1);
                Some(
                    Code::MISSING_TYPE
                        .at(here, "a bound belongs to a type")
                        .help(format!("write `{last}: real {bound}`"))
                        .mend(self.after(self.at - 1), ": real"),
                )
            }
            // `q: 0 < real < 1`
            Token::Number(_) if self.prev() == Some(Token::Colon) && !self.wants_value() => {
                let parts: Vec<&str> = (self.at..self.at + 5).map(|i| self.word(i)).collect();
                let [low, "<" | "<=", ty, "<" | "<=", high] = parts.as_slice() else { return None };
                let text = format!("{} in ({low}, {high})", our_type(ty)?);
                Some(
                    Code::MISSING_TYPE
                        .at(
                            self.span_of(self.at).to(self.span_of(self.at + 4)),
                            "the type comes first, and then its range",
                        )
                        .help(format!("write `{text}`"))
                        .mend(self.span_of(self.at).to(self.span_of(self.at + 4)), text),
                )
            }
            // `v: real(0, 1)`
            Token::LParen
                if named && self.before(2) == Some(Token::Colon) && our_type(last).is_some() && !self.wants("(") =>
            {
                unexpected("a range stands after `in`")
                    .map(|d| d.help(format!("write `{last} in (…)`")).mend(self.after(self.at - 1), " in "))
            }
            // `report mean(mu)`
            Token::LParen if named && self.keyword() == Token::Report && self.at == self.first + 2 => {
                let value = self.words(self.at - 1, self.last.saturating_sub(1));
                let name = match self.tokens.get(self.at + 1) {
                    Some((_, Token::Name(x), _)) => format!("{last}_{x}"),
                    _ => last.to_owned(),
                };
                unexpected("what is reported has a name").map(|d| {
                    d.help(format!("write `report {name} = {value}`"))
                        .mend(self.after(self.first), format!(" {name} ="))
                })
            }
            // `data y = [1, 2, 3]`
            Token::Equals if self.keyword() == Token::Data && self.opener().is_none() => {
                unexpected("data are read from files, which the command line names").map(|d| {
                    d.note("`vic fit model.vi rows.csv`: a table declares the columns, `data rows { y: real }`")
                        .help("for numbers that belong to the model write `const k = 3`, or `let x[k] = [1, 2, 3]`")
                })
            }
            Token::Name("for" | "while") => Some(
                Code::LOOP
                    .at(here, "there are no loops")
                    .note("every declaration holds for each cell of its plates")
                    .help(format!("leave out the part from `{word}` on")),
            ),
            // `x: real y: int` in a table
            Token::Name(_)
                if self.keyword() == Token::Data && opening == Some(Token::LBrace) && !self.wants("name") =>
            {
                // Before the colon, the type is what is missing.
                if self.wants(":") {
                    return None;
                }
                unexpected("between two columns a comma or a new line is missing").map(|d| {
                    d.here(format!("`{word}` starts a new one"))
                        .help(format!("write `{last}, {word}`"))
                        .mend(self.after(self.at - 1), ",")
                })
            }
            Token::Name(_) if self.keyword() == Token::Fit && opening == Some(Token::LBrace) && self.after_value() => {
                if self.wants(":") {
                    return None;
                }
                unexpected("between two options a comma or a new line is missing").map(|d| {
                    d.here(format!("`{word}` starts a new one"))
                        .help(format!("write `{last}, {word}`"))
                        .mend(self.after(self.at - 1), ",")
                })
            }
            // `real > 0 < 1`
            Token::Less | Token::LessEq | Token::Greater | Token::GreaterEq if self.in_head() && self.bounded() => {
                unexpected("a type has one bound, or an interval").map(|d| d.help("write `real in (0, 1)`"))
            }
            // `(1, 2)`
            Token::Comma if opening == Some(Token::LParen) && self.after_value() && !self.called() => {
                unexpected("parentheses hold one value").map(|d| d.help("a list stands in brackets: `[1, 2]`"))
            }
            // `{1, 2}`
            Token::LBrace if self.wants_value() => {
                unexpected("braces hold no value here").map(|d| d.help("a list stands in brackets: `[1, 2]`"))
            }
            // `sum(x over a, over b)`
            Token::Over if self.prev() == Some(Token::Comma) => {
                unexpected("a second `over`").map(|d| d.help("for several plates write `over (a, b)`, once"))
            }
            Token::RBracket | Token::Comma
                if matches!(self.prev(), Some(Token::Comma | Token::LBracket)) && self.wants_value() =>
            {
                if opening != Some(Token::LBracket) {
                    return None;
                }
                unexpected("an index is empty here").map(|d| {
                    d.note("what is not indexed stays as it is: `beta` varies over all of its plates")
                        .help("remove the comma, or write the index")
                })
            }
            // `logpdf(x): …`
            Token::Colon if self.keyword() == Token::Dist && opening == Some(Token::LBrace) => {
                unexpected("a part of a `dist` is defined with `=`")
                    .map(|d| d.help("write `logpdf(x) = …`").mend(here, " ="))
            }
            Token::Name(_) if self.prev() == Some(Token::Import) => unexpected("a file's name stands in quotes")
                .map(|d| d.help(format!("write `import \"{word}.vi\"`")).edit(here, format!("\"{word}.vi\""))),
            _ => None,
        }
    }

    /// Whether the type at hand has a bound already.
    fn bounded(&self) -> bool {
        use Token::{Greater, GreaterEq, Less, LessEq};
        self.tokens[self.first..self.at].iter().any(|l| matches!(l.1, Greater | GreaterEq | Less | LessEq))
    }

    /// Whether the parenthesis that is open belongs to a call or a definition.
    fn called(&self) -> bool {
        self.opener().is_some_and(|i| {
            i > self.first
                && matches!(
                    self.tokens[i - 1].1,
                    Token::Name(_)
                        | Token::RBracket
                        | Token::RParen
                        | Token::Number(_)
                        | Token::In
                        | Token::Over
                        | Token::Arrow
                )
        })
    }
}
