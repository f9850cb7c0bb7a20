//! What an editor asks about a model's text: names, hover texts, completions, signatures, colours, hints, outlines, edits.
//! Everything here is a function of the text (and of the data files beside it), whatever its state; the protocol is in
//! [`crate::lsp`].

mod beside;
mod calls;
mod complete;
mod highlight;
mod hints;
mod hover;
mod names;
mod outline;
mod rename;
#[cfg(test)]
mod tests;
mod words;

use crate::driver::{self, Checked, Session};
use crate::source::{FileId, Span};
use crate::syntax::token::{Lexeme, Token, lex};

pub use calls::{Form, Signature, signature};
pub use complete::{Completion, CompletionKind, complete};
pub use highlight::{Colour, highlight};
pub use hints::{Hint, hints};
pub use hover::hover;
pub use names::{Def, DefId, Kind, Names};
pub use outline::{Item, outline};
pub use rename::{Renaming, rename};

/// A text and everything the compiler knows of it.
pub struct Document {
    pub session: Session,
    pub checked: Checked,
    pub names: Names,
}

impl Document {
    /// Read and check a text. `name` is its path, from which imports and data files are looked for.
    pub fn new(name: &str, text: &str) -> Document {
        let mut session = Session::default();
        let checked = driver::check(&mut session, name, text);
        let names = Names::of(&checked.whole);
        Document { session, checked, names }
    }

    pub fn file(&self) -> FileId {
        self.checked.file
    }

    pub fn text(&self) -> &str {
        &self.session.sources.get(self.file()).text
    }

    pub fn path(&self) -> &str {
        &self.session.sources.get(self.file()).name
    }

    /// The tokens of the text, without comments and line breaks.
    fn tokens(&self) -> Vec<Lexeme<'_>> {
        lex(self.text()).into_iter().filter(|t| !matches!(t.1, Token::Comment | Token::Newline)).collect()
    }

    /// The span of something in this text.
    fn span(&self, start: usize, end: usize) -> Span {
        Span::new(self.file(), start, end)
    }
}
