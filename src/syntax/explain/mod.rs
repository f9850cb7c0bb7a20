//! What the parser stumbled over, in the user's words.

mod foreign;
mod place;
mod sign;
mod slips;
mod start;

pub use foreign::{MODULES, formula, told};
pub use place::{Place, UNREAD_TABLE};

use super::ast::BinaryOp;
use super::problem::Problem;
use super::token::{Lexeme, Token};
use crate::diag::{Code, Diagnostic, nearest};
use crate::source::{FileId, Span};

/// The diagnostic for a problem.
pub fn explain(file: FileId, text: &str, tokens: &[Lexeme<'_>], problem: &Problem<'_>) -> Diagnostic {
    match problem {
        Problem::Unexpected(unexpected) => Place::of(file, text, tokens, unexpected).explain(),
        Problem::Chained { span, second, parts, ops, more } => chained(text, *span, *second, parts, *ops, *more),
        Problem::NamedByEquals { name, sign } => {
            // A space belongs after the colon only.
            let before = text[..sign.start as usize].trim_end().len() as u32;
            let after = text[sign.end as usize..].starts_with(' ');
            Code::EQUALS_SIGN
                .at(*sign, "an argument is named with `:`")
                .help(format!("write `{name}: …`"))
                .mend(Span { start: before, ..*sign }, if after { ":" } else { ": " })
        }
        Problem::Repeated { word, span } => {
            let d = Code::AXIS_FORM.at(*span, format!("a second `{word}` for one index"));
            match *word {
                "where" => d.help("join the conditions with `and`"),
                _ => d.help(format!("keep one `{word}`")),
            }
        }
    }
}

fn chained(text: &str, span: Span, second: Span, parts: &[Span; 3], ops: [BinaryOp; 2], more: bool) -> Diagnostic {
    let [a, b, c] = parts.map(|s| text.get(s.start as usize..s.end as usize).unwrap_or("…"));
    let [p, q] = ops.map(BinaryOp::symbol);
    let d = Code::CHAINED_COMPARISON
        .at(second, "comparisons do not chain")
        .here("a second comparison")
        .label(span, "in one condition");
    if more || a.len() + 2 * b.len() + c.len() > 60 || text[span.start as usize..span.end as usize].contains('\n') {
        d.help("join them with `and`, as in `a < b and b < c`")
    } else {
        let text = format!("{a} {p} {b} and {b} {q} {c}");
        d.help(format!("write `{text}`")).mend(span, text)
    }
}

impl Place<'_, '_> {
    fn explain(&self) -> Diagnostic {
        if let Some(d) = self.foreign() {
            return d;
        }
        if self.at == self.first {
            return self.no_declaration_word();
        }
        self.misplaced()
            .or_else(|| self.dangling())
            .or_else(|| self.slip())
            .or_else(|| self.sign())
            .or_else(|| self.condition())
            .or_else(|| self.name())
            .or_else(|| self.plate())
            .or_else(|| self.missing_type())
            .or_else(|| self.missing_value())
            .or_else(|| self.neighbours())
            .unwrap_or_else(|| self.anything_else())
    }

    /// A declaration in the middle of another.
    fn misplaced(&self) -> Option<Diagnostic> {
        let at = match (self.prev()?, self.found(), self.next()) {
            (Token::Name(n), Token::Name(_), _) if Token::declaration(n).is_some() => self.at - 1,
            (_, Token::Name(n), Some(Token::Name(_))) if Token::declaration(n).is_some() => self.at,
            _ => return None,
        };
        let word = self.word(at);
        let d = Code::UNEXPECTED_TOKEN
            .at(self.span_of(at), format!("`{word}` starts a declaration, and cannot stand here"));
        Some(match self.opening() {
            Some(Token::LBrace) => d.help("move it out of the braces"),
            None if at > self.first => {
                let gap = Span { start: self.span_of(at - 1).end, ..self.span_of(at) };
                d.help("give it a line of its own").mend(Span { end: self.span_of(at).start, ..gap }, "\n")
            }
            _ => d.help("give it a line of its own"),
        })
    }

    /// The line above was left open, and so this one was read as its rest.
    fn dangling(&self) -> Option<Diagnostic> {
        let start = self.at.checked_sub(1)?;
        let restarts = matches!(self.found(), Token::Equals | Token::Tilde | Token::Colon)
            && matches!(self.prev(), Some(Token::Name(_)))
            && self.starts_line(start);
        let open = self.before(2)?;
        if !restarts || matches!(open, Token::Comma) || !open.cannot_end() || open.closer().is_some() {
            return None;
        }
        let last = self.word(start - 1);
        if open == Token::Colon && self.keyword() == Token::Data {
            let name = self.word(start - 2);
            return Some(
                Code::MISSING_TYPE
                    .at(self.span_of(start - 2), format!("`{name}` has no type"))
                    .help(format!("write `{name}: real`, or `int`, `bool`, `category`, …")),
            );
        }
        let due = if open == Token::Tilde { "a distribution" } else { "a value" };
        Some(
            Code::UNEXPECTED_END
                .at(self.span_of(start - 1), format!("the line ends after `{last}`"))
                .here(format!("{due} must follow")),
        )
    }

    /// `if … then … else …` and its relatives.
    fn condition(&self) -> Option<Diagnostic> {
        let here = self.here();
        match self.found() {
            Token::If if self.wants("name") => Some(
                Code::IF_NEEDS_PARENTHESES
                    .at(here, "beside an operator an `if` needs parentheses")
                    .help("write `(if … then … else …)`"),
            ),
            Token::Question if self.after_value() => Some(
                Code::IF_FORM
                    .at(here, "a choice is written with words")
                    .help("write `if condition then a else b` for `condition ? a : b`"),
            ),
            _ if self.wants("then") => {
                Some(Code::IF_FORM.at(here, "this `if` has no `then`").help("write `if condition then a else b`"))
            }
            Token::End | Token::Newline | Token::RParen | Token::RBracket | Token::RBrace | Token::Comma
                if self.wants("else") =>
            {
                Some(
                    Code::IF_FORM
                        .at(here, "this `if` has no `else`")
                        .note("an `if` is a value, so it has one in either case")
                        .help("write `if condition then a else b`"),
                )
            }
            _ => None,
        }
    }

    /// A name is due, and something else stands there.
    fn name(&self) -> Option<Diagnostic> {
        if self.found() == Token::Comma && self.prev() == Some(Token::Comma) {
            return Some(
                Code::UNEXPECTED_TOKEN.at(self.here(), "a second comma").help("remove it").mend(self.here(), ""),
            );
        }
        if !self.wants_name() {
            return None;
        }
        let (here, word) = (self.here(), self.word(self.at));
        match self.found() {
            found if found.is_reserved() && self.wants_only_name() => Some(
                Code::NAME_FORM
                    .at(here, format!("`{word}` is a reserved word and cannot be a name"))
                    .help(format!("choose another name, such as `{word}_`"))
                    .edit(here, format!("{word}_")),
            ),
            Token::Number(_) if matches!(self.next(), Some(Token::Name(_))) && !self.wants("text") => Some(
                Code::NAME_FORM
                    .at(here, "a name starts with a letter")
                    .help(format!("write, say, `x{word}{}`", self.word(self.at + 1))),
            ),
            Token::Number(_) if self.opening() == Some(Token::LBracket) => Some(
                Code::AXIS_FORM
                    .at(here, format!("`{word}` is a size; in its place stands the name of a plate"))
                    .help(format!("declare one, `plate k = {word}`, and write `[k]`")),
            ),
            Token::Text(name) if !self.wants("text") => {
                let d = Code::NAME_FORM.at(here, "names stand without quotes");
                let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
                    && name.starts_with(|c: char| c.is_ascii_alphabetic());
                Some(match plain {
                    true => d.help(format!("write `{name}`")).mend(here, name),
                    false => d.help("choose a name of letters, digits and `_`"),
                })
            }
            _ => None,
        }
    }

    /// Walks and levels: `by`, `along`, `where`, `without`.
    fn plate(&self) -> Option<Diagnostic> {
        let here = self.here();
        let word = self.word(self.at);
        match (self.prev(), self.found()) {
            (Some(Token::Name(plate)), Token::By | Token::Along | Token::Where) => Some(
                Code::AXIS_FORM
                    .at(here, format!("`{word}` needs a name for the rows that it speaks of"))
                    .help(format!("write `t in {plate} {word} …`"))
                    .edit(self.span_of(self.at - 1), format!("t in {plate}")),
            ),
            (Some(Token::Without), Token::Name(level)) => Some(
                Code::AXIS_FORM
                    .at(here, "the level that is left out is quoted text")
                    .help(format!("write `without \"{level}\"`"))
                    .mend(here, format!("\"{level}\"")),
            ),
            _ => None,
        }
    }

    /// A type is due, or the `:` before it.
    fn missing_type(&self) -> Option<Diagnostic> {
        let here = self.here();
        let keyword = self.keyword();
        let name = self.words(self.at - 1, self.at - 1);
        if keyword == Token::Data && self.found() == Token::LBrace && self.prev() == Some(Token::Data) {
            return Some(
                Code::TABLE_NAME
                    .at(self.span_of(self.first), "this table has no name")
                    .note("a table's name is the plate of its rows")
                    .help("name it: `data rows { … }`")
                    .edit(self.span_of(self.first), "data rows"),
            );
        }
        // `data rows` above lines of columns.
        if keyword == Token::Data
            && self.line_ends()
            && self.at == self.first + 2
            && matches!(self.tokens.get(self.at + 1), Some((_, Token::Name(_), _)))
            && matches!(self.tokens.get(self.at + 2), Some((_, Token::Colon, _)))
        {
            return Some(
                Code::BRACKETS
                    .at(self.span_of(self.at - 1), format!("the columns of `{name}` stand in braces"))
                    .help(format!("write `data {name} {{` here, and `}}` after the last column")),
            );
        }
        if self.wants("->") || self.wants("on") {
            let d = Code::MISSING_TYPE;
            return Some(match keyword {
                Token::Dist => d
                    .at(here, "this `dist` does not say which values it has")
                    .help("write `on` and their type after the parameters: `dist D(mu: real) on real { … }`"),
                _ => d
                    .at(here, format!("this `{}` does not say what it returns", self.word(self.first)))
                    .help("write `->` and a type after the parameters: `fn f(x: real) -> real = …`"),
            });
        }
        let Some(Token::Name(_)) = self.prev() else { return None };
        if keyword == Token::Fit && self.opening() == Some(Token::LBrace) && self.wants(":") {
            return Some(
                Code::UNEXPECTED_TOKEN
                    .at(here, format!("the option `{name}` has no value"))
                    .help(format!("write `{name}: …`")),
            );
        }
        if !self.wants(":") || !self.in_typed_list() {
            return None;
        }
        if start::our_type(&name).is_some() && matches!(self.found(), Token::Name(_) | Token::Less | Token::LBracket) {
            return Some(self.type_first(self.at - 1, false));
        }
        match self.found() {
            Token::Name(ty) => Some(
                Code::MISSING_TYPE
                    .at(here, format!("a `:` is missing between `{name}` and `{ty}`"))
                    .help(format!("write `{name}: {ty}`"))
                    .mend(self.after(self.at - 1), ":"),
            ),
            Token::End | Token::Newline | Token::RBrace | Token::RParen | Token::Comma | Token::Arrow => Some(
                Code::MISSING_TYPE
                    .at(self.span_of(self.at - 1), format!("`{name}` has no type"))
                    .help(format!("write `{name}: real`, or `int`, `bool`, `category`, …"))
                    .edit(self.after(self.at - 1), ": real"),
            ),
            Token::LBracket => Some(
                Code::MISSING_TYPE
                    .at(here, format!("the plates of `{name}` stand in its type"))
                    .help(format!("write `{name}: real[…]`")),
            ),
            _ => None,
        }
    }

    /// Something must follow, and the line, the bracket or the item ends.
    fn missing_value(&self) -> Option<Diagnostic> {
        let found = self.found();
        let due = self.due();
        let last = self.word(self.at - 1);
        if self.line_ends() && (self.wants("name") || self.wants("text")) {
            return Some(
                Code::UNEXPECTED_END
                    .at(self.here(), format!("the line ends after `{last}`"))
                    .here(format!("{due} must follow")),
            );
        }
        if found == Token::Where && matches!(self.next(), Some(Token::LParen)) && self.wants_value() {
            return Some(
                Code::IF_FORM
                    .at(self.here(), "a choice is written with words")
                    .help("write `if c then a else b` for `where(c, a, b)`"),
            );
        }
        if found == Token::RBrace && self.wants("newline") && self.keyword() == Token::Fn {
            return Some(
                Code::UNEXPECTED_END
                    .at(self.here(), "the braces end without a value")
                    .help("let the last line in them be the value of the function"),
            );
        }
        if !self.wants_value() {
            return None;
        }
        let word = self.word(self.at);
        if found == Token::Plus {
            return Some(
                Code::UNEXPECTED_TOKEN
                    .at(self.here(), "a value needs no `+` before it")
                    .help("remove the `+`")
                    .mend(self.here(), ""),
            );
        }
        let ends = found.is_closer() || found.is_infix() || found.is_reserved() || found == Token::Comma;
        ends.then(|| {
            Code::UNEXPECTED_TOKEN
                .at(self.here(), format!("between `{last}` and `{word}` something is missing"))
                .here(format!("{due} must come before this"))
        })
    }

    /// Two things side by side.
    fn neighbours(&self) -> Option<Diagnostic> {
        let (here, word, last) = (self.here(), self.word(self.at), self.word(self.at - 1));
        match (self.prev()?, self.found()) {
            (Token::Number(_), Token::Name(n)) if self.touches_prev() => {
                let whole = self.span_of(self.at - 1).to(here);
                let d = Code::NUMBER_FORM.at(whole, format!("`{last}{n}` is neither a number nor a name"));
                let digits = n.strip_prefix('_').filter(|d| d.chars().all(|c| c.is_ascii_digit() || c == '_'));
                Some(match digits {
                    Some(digits) => {
                        let number = format!("{last}{}", digits.replace('_', ""));
                        d.help(format!("write the number without separators: `{number}`")).mend(whole, number)
                    }
                    None if matches!(n, "L" | "l" | "f" | "F") => d.help(format!("write `{last}`")).mend(whole, last),
                    None => d.help(format!("write `{last} * {n}` for a product")).edit(whole, format!("{last} * {n}")),
                })
            }
            (_, Token::Name(n)) => {
                // Long words first: `ovr` is nearer to `over` than to `or`.
                let words: [&[&str]; 2] =
                    [&["over", "then", "else", "where", "along", "from"], &["and", "or", "by", "in", "on"]];
                let meant = words.iter().find_map(|w| nearest(n, w.iter().copied().filter(|w| self.wants(w))));
                if let Some(meant) = meant {
                    return Some(Code::UNEXPECTED_TOKEN.at(here, format!("`{n}` does not fit here")).meant(meant));
                }
                self.after_value().then(|| self.side_by_side(last, word))
            }
            (_, Token::Number(_) | Token::Text(_)) if self.after_value() => Some(self.side_by_side(last, word)),
            (_, Token::Colon) if self.after_value() => Some(
                Code::UNEXPECTED_TOKEN
                    .at(here, "`:` does not make a range")
                    .note("a plate stands for all of its cells, so there is nothing to slice or to count through")
                    .help("name the plate: `sum(x over k)`, or `x[i in k where i > 1]` for some of its cells"),
            ),
            _ => None,
        }
    }

    fn side_by_side(&self, left: &str, right: &str) -> Diagnostic {
        let d = |what: &str| {
            Code::UNEXPECTED_TOKEN
                .at(self.here(), format!("between `{left}` and `{right}` {what} is missing"))
                .here(format!("`{right}` does not fit here"))
        };
        match self.found() {
            Token::Name(_) if self.in_head() => {
                d("a comma").help(format!("write `{left}, {right}`")).edit(self.after(self.at - 1), ",")
            }
            Token::Number(_) if matches!(self.prev(), Some(Token::Number(_))) => {
                d("an operator or a comma").help(format!("write `{left}, {right}`")).edit(self.after(self.at - 1), ",")
            }
            Token::Name(_) | Token::Number(_) if self.factor_before() && !self.in_typed_list() => {
                d("an operator or a comma")
                    .help(format!("for a product write `{left} * {right}`"))
                    .edit(self.after(self.at - 1), " *")
            }
            _ => d("an operator or a comma"),
        }
    }

    /// Whether what stands before could be a factor of a product.
    fn factor_before(&self) -> bool {
        matches!(self.prev(), Some(Token::Name(_) | Token::Number(_) | Token::RParen | Token::RBracket))
            && !self.in_head()
    }

    fn anything_else(&self) -> Diagnostic {
        let due = self.due();
        if self.line_ends() {
            let last = self.word(self.at.saturating_sub(1));
            return Code::UNEXPECTED_END
                .at(self.here(), format!("the line ends after `{last}`"))
                .here(format!("{due} must follow"));
        }
        Code::UNEXPECTED_TOKEN
            .at(self.here(), format!("`{}` does not fit here", self.word(self.at)))
            .here(format!("{due} was expected"))
    }

    /// Whether the reserved words themselves have no use here.
    fn wants_only_name(&self) -> bool {
        !["if", "not", "in", "over", "by", "along", "where", "from"].into_iter().any(|w| self.wants(w))
    }

    /// What was due here, in words.
    fn due(&self) -> String {
        match self.prev() {
            Some(Token::Tilde) => return "a distribution".into(),
            Some(Token::Guide) => return "a family or `{`".into(),
            _ => {}
        }
        if self.wants_value() {
            return "a value".into();
        }
        if self.wants("name") {
            return match self.prev() {
                Some(Token::Colon | Token::Arrow | Token::On) => "a type",
                Some(Token::Over) => "a plate",
                _ if self.wants("}") => "a name or `}`",
                _ => "a name",
            }
            .into();
        }
        if self.wants("text") {
            return "quoted text".into();
        }
        // Few signs decide how things go on; operators could stand almost anywhere.
        let signs = ["~", "=", "->", "on", "then", "else", ":", "(", "{", ",", ")", "]", "}"];
        let mut due: Vec<String> = signs.into_iter().filter(|s| self.wants(s)).map(|s| format!("`{s}`")).collect();
        if self.wants("newline") || self.wants("end") {
            due.push("the end of the line".into());
        }
        due.truncate(4);
        match due.split_last() {
            None => "the end of the file".into(),
            Some((only, [])) => only.clone(),
            Some((last, init)) => format!("{} or {last}", init.join(", ")),
        }
    }
}
