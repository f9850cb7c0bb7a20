//! Tokens: logos cuts any text at all into them; `layout` then settles newlines, brackets and contextual keywords.

use logos::Logos;

/// One token. The lexer is total: what it does not know is `Bad`.
///
/// The variants under "made by `layout`" never come out of the lexer; those under "foreign" never reach the parser.
#[derive(Logos, Clone, Copy, Debug, PartialEq)]
#[logos(skip r"[ \t\r\x0C\u{FEFF}]+")]
pub enum Token<'s> {
    #[regex(r"[A-Za-z_][A-Za-z0-9_]*", |l| l.slice())]
    Name(&'s str),
    #[regex(r"[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", |l| l.slice())]
    Number(&'s str),
    /// The text between the quotes.
    #[regex(r#""[^"\n]*""#, |l| inside_quotes(l.slice()))]
    Text(&'s str),

    // Words that are reserved everywhere.
    #[token("if")]
    If,
    #[token("then")]
    Then,
    #[token("else")]
    Else,
    #[token("and")]
    And,
    #[token("or")]
    Or,
    #[token("not")]
    Not,
    #[token("over")]
    Over,
    #[token("in")]
    In,
    #[token("by")]
    By,
    #[token("along")]
    Along,
    #[token("where")]
    Where,
    #[token("from")]
    From,

    #[token("~")]
    Tilde,
    #[token("=")]
    Equals,
    #[token(":")]
    Colon,
    #[token(",")]
    Comma,
    #[token(";")]
    Semicolon,
    #[token(".")]
    Dot,
    #[token("..")]
    DotDot,
    #[token("?")]
    Question,
    #[token("@")]
    At,
    #[token("->")]
    Arrow,
    #[token("|>")]
    Pipe,
    #[token("+")]
    Plus,
    #[token("-")]
    Minus,
    #[token("*")]
    Star,
    #[token("/")]
    Slash,
    #[token("^")]
    Caret,
    #[token("<")]
    Less,
    #[token("<=")]
    LessEq,
    #[token(">")]
    Greater,
    #[token(">=")]
    GreaterEq,
    #[token("==")]
    EqualEqual,
    #[token("!=")]
    NotEqual,
    #[token("(")]
    LParen,
    #[token(")")]
    RParen,
    #[token("[")]
    LBracket,
    #[token("]")]
    RBracket,
    #[token("{")]
    LBrace,
    #[token("}")]
    RBrace,

    /// A line break; after `layout`, one that counts, inside `{ }`.
    #[token("\n")]
    Newline,
    #[regex(r"#[^\n]*", allow_greedy = true)]
    Comment,

    // Foreign: read so that they can be answered in kind.
    #[regex(r"//[^\n]*", allow_greedy = true)]
    SlashComment,
    #[regex(r"/\*([^*]|\*+[^*/])*\*+/")]
    BlockComment,
    #[token("**")]
    StarStar,
    /// `%*%`, `%in%`, `%%`
    #[regex(r"%[a-z*/+<>|:-]*%", |l| l.slice())]
    PercentSign(&'s str),
    #[token("%")]
    Percent,
    #[token("&&")]
    #[token("&")]
    Ampersand,
    #[token("||")]
    #[token("|")]
    Bar,
    #[token("!")]
    Bang,
    #[regex(r"'[^'\n]*'", |l| inside_quotes(l.slice()))]
    #[regex(r"“[^”\n]*”", |l| inside_quotes(l.slice()))]
    ForeignText(&'s str),
    #[regex(r#""[^"\n]*"#, |l| &l.slice()[1..], allow_greedy = true)]
    UnclosedText(&'s str),
    /// `.5` or `1.`
    #[regex(r"\.[0-9]+([eE][+-]?[0-9]+)?", |l| l.slice())]
    #[regex(r"[0-9]+\.", |l| l.slice())]
    BareDecimal(&'s str),
    /// A name with letters outside ASCII.
    #[regex(r"[\p{XID_Start}_]\p{XID_Continue}*", |l| l.slice(), priority = 1)]
    ForeignName(&'s str),

    // Made by `layout`.
    /// The boundary between two declarations.
    End,
    Data,
    Plate,
    Const,
    Latent,
    Param,
    Let,
    Observe,
    Factor,
    Report,
    Net,
    Fn,
    Dist,
    Guide,
    Fit,
    Import,
    On,
    Without,

    /// A character that no token starts with.
    Bad,
}

/// A token with its byte range.
pub type Lexeme<'s> = (usize, Token<'s>, usize);

/// Every token of a text, comments and newlines included.
pub fn lex(text: &str) -> Vec<Lexeme<'_>> {
    Token::lexer(text).spanned().map(|(token, span)| (span.start, token.unwrap_or(Token::Bad), span.end)).collect()
}

fn inside_quotes(quoted: &str) -> &str {
    let mut chars = quoted.chars();
    chars.next();
    chars.next_back();
    chars.as_str()
}

/// The words that start a declaration.
pub const DECLARATION_WORDS: &[&str] = &[
    "data", "plate", "const", "latent", "param", "let", "observe", "factor", "report", "net", "fn", "dist", "guide",
    "fit", "import",
];

impl<'s> Token<'s> {
    /// The keyword that `word` is where a declaration starts.
    pub fn declaration(word: &str) -> Option<Token<'s>> {
        Some(match word {
            "data" => Token::Data,
            "plate" => Token::Plate,
            "const" => Token::Const,
            "latent" => Token::Latent,
            "param" => Token::Param,
            "let" => Token::Let,
            "observe" => Token::Observe,
            "factor" => Token::Factor,
            "report" => Token::Report,
            "net" => Token::Net,
            "fn" => Token::Fn,
            "dist" => Token::Dist,
            "guide" => Token::Guide,
            "fit" => Token::Fit,
            "import" => Token::Import,
            _ => return None,
        })
    }

    /// Whether this is a keyword that starts a declaration.
    pub fn starts_declaration(self) -> bool {
        use Token::*;
        matches!(
            self,
            Data | Plate
                | Const
                | Latent
                | Param
                | Let
                | Observe
                | Factor
                | Report
                | Net
                | Fn
                | Dist
                | Guide
                | Fit
                | Import
        )
    }

    /// Whether this word is reserved everywhere, so that no name can be spelt so.
    pub fn is_reserved(self) -> bool {
        use Token::*;
        matches!(self, If | Then | Else | And | Or | Not | Over | In | By | Along | Where | From)
    }

    /// Whether this stands between two operands.
    pub fn is_infix(self) -> bool {
        use Token::*;
        matches!(
            self,
            Plus | Minus
                | Star
                | Slash
                | Caret
                | Less
                | LessEq
                | Greater
                | GreaterEq
                | EqualEqual
                | NotEqual
                | And
                | Or
                | Pipe
        )
    }

    /// A token after which no expression, type or list can end: the line goes on.
    pub fn cannot_end(self) -> bool {
        use Token::*;
        self.is_infix()
            || self.is_reserved()
            || self.starts_declaration()
            || matches!(
                self,
                Equals
                    | Tilde
                    | Comma
                    | Colon
                    | Arrow
                    | Dot
                    | DotDot
                    | At
                    | On
                    | Without
                    | LParen
                    | LBracket
                    | LBrace
                    | Semicolon
            )
    }

    /// A token that can start neither a declaration nor a line inside `{ }`: the line before it goes on.
    pub fn continues(self) -> bool {
        use Token::*;
        self.is_infix()
            || matches!(
                self,
                Equals
                    | Tilde
                    | Comma
                    | Colon
                    | Arrow
                    | Dot
                    | DotDot
                    | At
                    | Question
                    | RParen
                    | RBracket
                    | Then
                    | Else
                    | Over
                    | In
                    | By
                    | Along
                    | Where
                    | From
                    | On
                    | Without
            )
    }

    /// The closing bracket of an opening one.
    pub fn closer(self) -> Option<Token<'s>> {
        Some(match self {
            Token::LParen => Token::RParen,
            Token::LBracket => Token::RBracket,
            Token::LBrace => Token::RBrace,
            _ => return None,
        })
    }

    pub fn is_closer(self) -> bool {
        matches!(self, Token::RParen | Token::RBracket | Token::RBrace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<Token<'_>> {
        lex(text).into_iter().map(|(_, t, _)| t).collect()
    }

    #[test]
    fn names_numbers_and_reserved_words() {
        use Token::*;
        assert_eq!(
            kinds("if iff 1.5e-3 2.5 x1 _y"),
            [If, Name("iff"), Number("1.5e-3"), Number("2.5"), Name("x1"), Name("_y")]
        );
        assert_eq!(kinds(r#""X.2".."X.25""#), [Text("X.2"), DotDot, Text("X.25")]);
        assert_eq!(kinds("a <-b"), [Name("a"), Less, Minus, Name("b")]);
    }

    #[test]
    fn foreign_signs_have_their_own_tokens() {
        use Token::*;
        assert_eq!(
            kinds("'a' \"b\n.5 1. β x**2 $ // c"),
            [
                ForeignText("a"),
                UnclosedText("b"),
                Newline,
                BareDecimal(".5"),
                BareDecimal("1."),
                ForeignName("β"),
                Name("x"),
                StarStar,
                Number("2"),
                Bad,
                SlashComment
            ]
        );
    }

    #[test]
    fn tokens_tile_the_text_in_order() {
        let text = "let a = 'x\u{a0}' ♥ “b” # c\n";
        let mut end = 0;
        for (start, _, stop) in lex(text) {
            assert!(start >= end && stop > start && text.is_char_boundary(start) && text.is_char_boundary(stop));
            end = stop;
        }
    }
}
