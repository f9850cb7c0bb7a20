//! Signs that other languages write and this one does not: each is reported and read as what was meant.

use super::ast::Comment;
use super::token::{Lexeme, Token, lex};
use crate::diag::{Code, Diags};
use crate::source::{FileId, Span};
use std::collections::BTreeMap;

/// The tokens of a text without its comments and foreign signs.
pub struct Clean<'s> {
    pub tokens: Vec<Lexeme<'s>>,
    pub comments: Vec<Comment>,
    /// Where something could not be read as what was meant, so that errors nearby are its consequences.
    pub damaged: Vec<usize>,
}

pub fn clean<'s>(file: FileId, text: &'s str, diags: &mut Diags) -> Clean<'s> {
    let mut out = Clean { tokens: vec![], comments: vec![], damaged: vec![] };
    let mut seen = Repeats::new(file, text);
    let mut own_line = true;
    for (start, token, end) in lex(text) {
        let span = Span::new(file, start, end);
        let here = &text[start..end];
        let kept = match token {
            Token::Comment => {
                out.comments.push(comment(&here[1..], span, own_line));
                continue;
            }
            Token::SlashComment => {
                seen.add(Habit::SlashComment, span);
                out.comments.push(comment(&here[2..], span, own_line));
                continue;
            }
            Token::BlockComment => {
                let lines = here[2..here.len() - 2].lines().map(|l| l.trim()).filter(|l| !l.is_empty());
                let said: Vec<String> = lines.map(|l| format!("# {}", l.trim_start_matches(['*', ' ']))).collect();
                let whole_line = text[end..].split('\n').next().is_some_and(|rest| rest.trim().is_empty());
                let d = Code::COMMENT_SIGN.at(span, "a comment starts with `#` and ends with its line");
                let d = d.help("write `#` before each of its lines");
                diags.push(if whole_line { d.mend(span, said.join("\n")) } else { d });
                continue;
            }
            Token::PercentSign(sign) => {
                let help = match sign {
                    "%*%" | "%o%" => "name the plate that is summed over: `sum(x * beta over k)`",
                    "%in%" => {
                        "give each level a value, `latent a[g] ~ …`, or declare a `bool` column that says which rows are meant"
                    }
                    "%%" => "write `x - n * floor(x / n)` for the rest of a division",
                    "%/%" => "write `floor(x / n)` for a whole quotient",
                    _ => "write what it stands for with `+ - * / ^` and functions",
                };
                diags.push(Code::FOREIGN_OPERATOR.at(span, format!("`{sign}` is an operator of R")).help(help));
                out.damaged.push(start);
                Token::Bad
            }
            // `normal_lpdf(y | mu, 1)`: told of as a whole.
            Token::Bar if here == "|" && in_density(text, start) => Token::Comma,
            // `(1 | g)` of a formula, which is told of as a whole too.
            Token::Bar if in_formula(text, start) => Token::Or,
            Token::Percent if text[..start].ends_with(|c: char| c.is_ascii_digit()) => {
                let digits = text[..start].rsplit(|c: char| !(c.is_ascii_digit() || c == '.')).next().unwrap_or("");
                let d = Code::NUMBER_FORM.at(span, "a share is written as a number from 0 to 1");
                let share = digits.parse::<f64>().ok().map(|v| format!("{}", (v * 1e10).round() / 1e12));
                diags.push(match share {
                    Some(share) => {
                        d.help(format!("write `{share}`")).mend(Span::new(file, start - digits.len(), end), share)
                    }
                    None => d.help("write `0.1` for 10 %"),
                });
                continue;
            }
            Token::Bad if here == "$" && between_names(text, start, end) => {
                seen.add(Habit::Dollar, span);
                Token::Dot
            }
            Token::StarStar => {
                seen.add(Habit::StarStar, span);
                Token::Caret
            }
            Token::Ampersand => {
                seen.add(Habit::Ampersand, span);
                Token::And
            }
            Token::Bar => {
                seen.add(Habit::Bar, span);
                Token::Or
            }
            Token::Bang => {
                seen.add(Habit::Bang, span);
                Token::Not
            }
            Token::ForeignText(value) => {
                seen.add(Habit::Quotes, span);
                Token::Text(value)
            }
            Token::UnclosedText(value) => {
                diags.push(
                    Code::UNCLOSED_TEXT
                        .at(span, "this quoted text has no closing quote on its line")
                        .here("opened here")
                        .help(format!("close it where it ends: `\"{}\"`", first_word(value))),
                );
                out.damaged.push(start);
                Token::Text(value)
            }
            Token::BareDecimal(digits) => {
                let help = match digits.strip_suffix('.') {
                    Some(whole) => format!("write `{whole}.0`, or `{whole}`"),
                    None => format!("write `0{digits}`"),
                };
                let whole = digits.strip_suffix('.').map_or_else(|| format!("0{digits}"), |whole| format!("{whole}.0"));
                diags.push(
                    Code::NUMBER_FORM
                        .at(span, format!("the number `{digits}` needs digits on both sides of its point"))
                        .help(help)
                        .mend(span, whole),
                );
                Token::Number(digits)
            }
            Token::ForeignName(name) => {
                let plain = transliterate(name);
                let d = Code::NAME_FORM
                    .at(span, format!("the name `{name}` has a letter outside a-z"))
                    .note("names are made of a-z, A-Z, 0-9 and `_`");
                diags.push(match plain {
                    Some(plain) => d.help(format!("write `{plain}`")).edit(span, plain),
                    None => d.help("spell it with plain letters; a label in quotes may hold any character"),
                });
                Token::Name(name)
            }
            Token::Number(digits) if digits.parse().is_ok_and(f64::is_infinite) => {
                diags.push(
                    Code::NUMBER_FORM
                        .at(span, format!("the number `{digits}` is too large"))
                        .note("the largest number is about 1.8e308")
                        .help("rescale the quantity that it belongs to"),
                );
                token
            }
            Token::Bad | Token::Percent => {
                seen.add(Habit::Unknown(here.chars().next().unwrap_or(' ')), span);
                let (meant, _) = meant_by(here);
                match meant {
                    Meant::Token(token) => token,
                    Meant::Space => continue,
                    Meant::Unknown => {
                        out.damaged.push(start);
                        continue;
                    }
                }
            }
            token => token,
        };
        own_line = kept == Token::Newline;
        out.tokens.push((start, kept, end));
    }
    seen.report(diags);
    out
}

/// Whether a `|` stands between the value and the arguments of a density, as Stan writes it.
fn in_density(text: &str, at: usize) -> bool {
    let line = &text[text[..at].rfind('\n').map_or(0, |i| i + 1)..at];
    let Some(open) = line.rfind('(') else { return false };
    let word = line[..open].rsplit(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or("");
    ["_lpdf", "_lpmf", "_lcdf", "_lccdf", "_lupdf", "_lupmf"].iter().any(|suffix| word.ends_with(suffix))
}

/// Whether a `|` stands in a group of a formula: `y ~ x + (1 | g)`.
fn in_formula(text: &str, at: usize) -> bool {
    let line = &text[text[..at].rfind('\n').map_or(0, |i| i + 1)..at];
    let Some((_, right)) = line.rsplit_once('~') else { return false };
    let depth = right.matches('(').count() as i32 - right.matches(')').count() as i32;
    let group = right.rsplit('(').next().unwrap_or("");
    let before = right.len().checked_sub(group.len() + 1).map_or("", |end| right[..end].trim_end());
    depth == 1
        && group.chars().all(|c| c.is_alphanumeric() || "_+| ".contains(c))
        && (before.is_empty() || before.ends_with('+'))
}

fn between_names(text: &str, start: usize, end: usize) -> bool {
    let name = |c: char| c.is_alphanumeric() || c == '_';
    text[..start].ends_with(name) && text[end..].starts_with(name)
}

fn comment(text: &str, span: Span, own_line: bool) -> Comment {
    let text = text.strip_prefix(' ').unwrap_or(text).trim_end();
    Comment { text: text.to_string(), span, own_line }
}

fn first_word(text: &str) -> &str {
    text.split([' ', ',', ')', ']', '}']).next().unwrap_or("")
}

/// A foreign sign that is read as ours.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Habit {
    Semicolon,
    SlashComment,
    StarStar,
    Ampersand,
    Bar,
    Bang,
    Quotes,
    /// `rows$y`
    Dollar,
    /// A character that means nothing, or stands for a sign.
    Unknown(char),
}

/// One report per habit, however often it occurs.
pub struct Repeats<'s> {
    file: FileId,
    text: &'s str,
    seen: BTreeMap<Habit, Vec<Span>>,
}

impl<'s> Repeats<'s> {
    pub fn new(file: FileId, text: &'s str) -> Repeats<'s> {
        Repeats { file, text, seen: BTreeMap::new() }
    }

    pub fn add(&mut self, habit: Habit, span: Span) {
        debug_assert_eq!(span.file, self.file);
        self.seen.entry(habit).or_default().push(span);
    }

    pub fn report(self, diags: &mut Diags) {
        for (habit, spans) in &self.seen {
            let sign = &self.text[spans[0].start as usize..spans[0].end as usize];
            let d = match habit {
                Habit::Semicolon => Code::SEMICOLON
                    .at(spans[0], "a declaration ends with its line, without `;`")
                    .help("remove the `;`, and give each declaration a line of its own"),
                Habit::SlashComment => {
                    Code::COMMENT_SIGN.at(spans[0], "a comment starts with `#`").help("write `# …` for `// …`")
                }
                Habit::StarStar => {
                    Code::FOREIGN_OPERATOR.at(spans[0], "a power is written `^`").help("write `x^2` for `x**2`")
                }
                Habit::Ampersand => operator(spans[0], sign, "and", "a > 0 and b > 0"),
                Habit::Bar => operator(spans[0], sign, "or", "a > 0 or b > 0"),
                Habit::Bang => operator(spans[0], sign, "not", "not first(t)"),
                Habit::Dollar => Code::FOREIGN_OPERATOR
                    .at(spans[0], "a column is used by its bare name, or as `table.column`")
                    .help("write `.` for `$`"),
                Habit::Unknown(_) => Code::BAD_CHARACTER
                    .at(spans[0], format!("{} means nothing here", shown(sign)))
                    .help(meant_by(sign).1.unwrap_or_else(|| "remove it".to_string())),
                Habit::Quotes => Code::QUOTES
                    .at(spans[0], "quoted text stands between straight double quotes")
                    .help(format!("write `\"{}\"`", sign.trim_matches(['\'', '“', '”']))),
            };
            let d = spans.iter().fold(d, |d, &span| match self.instead(*habit, span) {
                Some(text) => d.mend(span, text),
                None => d,
            });
            let lines = further_lines(self.text, spans);
            diags.push(match lines.len() {
                0 => d,
                1 => d.note(format!("also on line {}", lines[0])),
                2..=8 => {
                    let (last, init) = lines.split_last().expect("two or more");
                    let init: Vec<String> = init.iter().map(usize::to_string).collect();
                    d.note(format!("also on lines {} and {last}", init.join(", ")))
                }
                n => d.note(format!("also on {n} further lines")),
            });
        }
    }
}

impl Repeats<'_> {
    /// Our sign for a foreign one, where that is all there is to change.
    fn instead(&self, habit: Habit, span: Span) -> Option<String> {
        let (start, end) = (span.start as usize, span.end as usize);
        let sign = &self.text[start..end];
        // A word needs a space on either side.
        let word = |word: &str| {
            let before = self.text[..start].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            let after = self.text[end..].starts_with(|c: char| c.is_alphanumeric() || c == '_');
            format!("{}{word}{}", if before { " " } else { "" }, if after { " " } else { "" })
        };
        Some(match habit {
            Habit::Semicolon => {
                let rest = self.text[end..].split('\n').next().unwrap_or("").trim_start();
                let ends_line = rest.is_empty() || rest.starts_with(['#', '}']) || rest.starts_with("//");
                if ends_line { String::new() } else { "\n".to_owned() }
            }
            Habit::SlashComment => format!("#{}", &sign[2..]),
            Habit::StarStar => "^".to_owned(),
            Habit::Ampersand => word("and"),
            Habit::Bar => word("or"),
            Habit::Bang => word("not"),
            Habit::Quotes => format!("\"{}\"", sign.trim_matches(['\'', '“', '”'])),
            Habit::Dollar => ".".to_owned(),
            Habit::Unknown('²') => "^2".to_owned(),
            Habit::Unknown('³') => "^3".to_owned(),
            Habit::Unknown(c) => match meant_by(sign).0 {
                Meant::Space if c == '\\' => String::new(),
                Meant::Space => " ".to_owned(),
                Meant::Token(_) => meant_by(sign).1?.strip_prefix("write `")?.strip_suffix('`')?.to_owned(),
                Meant::Unknown => return None,
            },
        })
    }
}

/// The lines of the spans that lie below the first; spans are in order.
fn further_lines(text: &str, spans: &[Span]) -> Vec<usize> {
    let (mut line, mut offset) = (1, 0);
    let mut lines = vec![];
    for span in spans {
        line += text[offset..span.start as usize].matches('\n').count();
        offset = span.start as usize;
        lines.push(line);
    }
    lines.dedup();
    lines.split_off(1)
}

fn operator(span: Span, sign: &str, word: &str, example: &str) -> crate::diag::Diagnostic {
    Code::FOREIGN_OPERATOR
        .at(span, format!("`{sign}` is written as the word `{word}`"))
        .help(format!("write `{word}`, as in `{example}`"))
}

enum Meant {
    Token(Token<'static>),
    Space,
    Unknown,
}

/// What an unknown character was probably meant to be, and what to say.
fn meant_by(text: &str) -> (Meant, Option<String>) {
    let write = |sign: &str| Some(format!("write `{sign}`"));
    match text.chars().next().unwrap_or(' ') {
        '−' | '–' | '—' => (Meant::Token(Token::Minus), write("-")),
        '×' | '·' | '∗' => (Meant::Token(Token::Star), write("*")),
        '÷' => (Meant::Token(Token::Slash), write("/")),
        '≤' => (Meant::Token(Token::LessEq), write("<=")),
        '≥' => (Meant::Token(Token::GreaterEq), write(">=")),
        '≠' => (Meant::Token(Token::NotEqual), write("!=")),
        '→' => (Meant::Token(Token::Arrow), write("->")),
        '∼' | '˜' => (Meant::Token(Token::Tilde), write("~")),
        '∧' => (Meant::Token(Token::And), write("and")),
        '∨' => (Meant::Token(Token::Or), write("or")),
        '¬' => (Meant::Token(Token::Not), write("not")),
        '“' | '”' | '„' | '‘' | '’' | '\'' | '`' => {
            (Meant::Unknown, Some("quoted text stands between straight double quotes, `\"like this\"`".into()))
        }
        '²' => (Meant::Unknown, write("^2")),
        '³' => (Meant::Unknown, write("^3")),
        '$' => (Meant::Unknown, Some("columns are used by their bare name".into())),
        '%' => (Meant::Unknown, Some("for the rest of a division write `x - n * floor(x / n)`".into())),
        '\\' => (Meant::Space, Some("remove it: a line goes on by itself after an operator or inside brackets".into())),
        c if c.is_whitespace() || is_invisible(c) => (Meant::Space, Some("replace it with an ordinary space".into())),
        _ => (Meant::Unknown, None),
    }
}

fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{AD}')
}

/// A character as a message can show it.
fn shown(text: &str) -> String {
    let c = text.chars().next().unwrap_or(' ');
    if c.is_control() || c.is_whitespace() || is_invisible(c) {
        format!("an invisible character (U+{:04X})", c as u32)
    } else {
        format!("the character `{c}`")
    }
}

/// A name in plain letters, if every letter has an obvious spelling.
fn transliterate(name: &str) -> Option<String> {
    let mut plain = String::new();
    for c in name.chars() {
        match greek(c) {
            Some(word) => plain.push_str(word),
            None if c.is_ascii() => plain.push(c),
            None => return None,
        }
    }
    Some(plain)
}

fn greek(c: char) -> Option<&'static str> {
    Some(match c {
        'α' => "alpha",
        'β' => "beta",
        'γ' => "gamma",
        'Γ' => "Gamma",
        'δ' => "delta",
        'Δ' => "Delta",
        'ε' | 'ϵ' => "epsilon",
        'ζ' => "zeta",
        'η' => "eta",
        'θ' | 'ϑ' => "theta",
        'Θ' => "Theta",
        'ι' => "iota",
        'κ' => "kappa",
        'λ' => "lambda",
        'Λ' => "Lambda",
        'μ' | 'µ' => "mu",
        'ν' => "nu",
        'ξ' => "xi",
        'π' => "pi",
        'ρ' => "rho",
        'σ' | 'ς' => "sigma",
        'Σ' => "Sigma",
        'τ' => "tau",
        'υ' => "upsilon",
        'φ' | 'ϕ' => "phi",
        'Φ' => "Phi",
        'χ' => "chi",
        'ψ' => "psi",
        'Ψ' => "Psi",
        'ω' => "omega",
        'Ω' => "Omega",
        _ => return None,
    })
}
