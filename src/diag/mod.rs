//! Diagnostics: what the compiler says to the user. Stages push values here; rendering happens once, at the edge.

mod codes;
mod render;

pub use codes::{ALL, Code};
pub use render::{RenderStyle, render};

use crate::source::Span;

#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub enum Severity {
    Warning,
    Error,
}

/// A second place that matters, with what it says.
#[derive(Clone, Debug, PartialEq)]
pub struct Label {
    pub span: Span,
    pub text: String,
}

/// One finding: a stable code, the sentence, where, what else is involved, and the edit that would mend it.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnostic {
    pub code: &'static Code,
    pub severity: Severity,
    pub message: String,
    /// The place in the model (or library) source; `None` for trouble with flags or files.
    pub span: Option<Span>,
    /// Text of the primary label, under `span`. Empty: just underline.
    pub label: String,
    pub labels: Vec<Label>,
    /// Places outside sources, already written as the user reads them: `houses.csv:12:3`.
    pub places: Vec<String>,
    pub notes: Vec<String>,
    pub help: Option<String>,
    /// What `help` says, as replacements of places in the model.
    pub edits: Vec<Edit>,
    /// Whether the edits surely mean what the user meant: then `vic check --fix` makes them.
    pub sure: bool,
}

/// A text that takes the place of another.
#[derive(Clone, Debug, PartialEq)]
pub struct Edit {
    pub span: Span,
    pub text: String,
}

impl Code {
    /// A diagnostic of this code at a place in the model.
    pub fn at(&'static self, span: Span, message: impl Into<String>) -> Diagnostic {
        let mut d = self.plain(message);
        d.span = Some(span);
        d
    }

    /// A diagnostic of this code with no place in a source: flags, files.
    pub fn plain(&'static self, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            code: self,
            severity: if self.warning { Severity::Warning } else { Severity::Error },
            message: message.into(),
            span: None,
            label: String::new(),
            labels: vec![],
            places: vec![],
            notes: vec![],
            help: None,
            edits: vec![],
            sure: false,
        }
    }
}

impl Diagnostic {
    /// Text shown under the primary span.
    pub fn here(mut self, text: impl Into<String>) -> Self {
        self.label = text.into();
        self
    }

    /// A second place, with its text.
    pub fn label(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(Label { span, text: text.into() });
        self
    }

    /// A place in a data file, as `file:row:column`.
    pub fn place(mut self, text: impl Into<String>) -> Self {
        self.places.push(text.into());
        self
    }

    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(text.into());
        self
    }

    /// The edit that would mend it.
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }

    /// The edit that `help` speaks of, for an editor to offer.
    pub fn edit(mut self, span: Span, text: impl Into<String>) -> Self {
        self.edits.push(Edit { span, text: text.into() });
        self
    }

    /// The name that was probably meant instead of the one at the diagnostic's own place.
    pub fn meant(self, name: impl AsRef<str>) -> Self {
        let (span, name) = (self.span, name.as_ref());
        let d = self.help(format!("did you mean `{name}`?"));
        match span {
            Some(span) => d.edit(span, name),
            None => d,
        }
    }

    /// An edit that can only be what the user meant.
    pub fn mend(mut self, span: Span, text: impl Into<String>) -> Self {
        self.sure = true;
        self.edit(span, text)
    }
}

/// The list that every stage pushes to.
#[derive(Clone, Debug, Default)]
pub struct Diags {
    pub list: Vec<Diagnostic>,
}

impl Diags {
    /// Add a finding, unless it is there already.
    pub fn push(&mut self, d: Diagnostic) {
        // Of more than this no one reads all, and comparing each with each would take minutes.
        const COMPARED: usize = 1000;
        if self.list.len() >= COMPARED || !self.list.contains(&d) {
            self.list.push(d);
        }
    }

    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|d| d.severity == Severity::Error)
    }

    /// Order by place (no place last), stable otherwise.
    pub fn sorted(&self) -> Vec<&Diagnostic> {
        let mut v: Vec<_> = self.list.iter().collect();
        v.sort_by_key(|d| d.span.map_or((1, Span::default()), |s| (0, s)));
        v
    }
}

/// The candidate nearest to `name` by edit distance, if it is near enough to be meant.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    candidates
        .into_iter()
        .filter(|c| *c != name)
        .map(|c| (strsim::damerau_levenshtein(&lower, &c.to_lowercase()), c))
        .filter(|(d, c)| {
            let length = name.chars().count().max(c.chars().count());
            let least = name.chars().count().min(c.chars().count());
            // Something must be left of the name: `x` is not near `z`, nor `p` near `pi`.
            *d == 0 || *d * 3 <= length.max(3) && least > 1 && *d < length
        })
        .min_by_key(|(d, c)| (*d, c.len()))
        .map(|(_, c)| c)
}

/// `1 cell` or `12 cells`
pub fn counted(n: usize, what: &str) -> String {
    match n {
        1 => format!("1 {what}"),
        _ => format!("{n} {}", several(what)),
    }
}

/// `and 4 more cells`
pub fn and_more(n: usize, what: &str) -> String {
    format!("and {n} more {}", if n == 1 { what.into() } else { several(what) })
}

fn several(what: &str) -> String {
    format!("{what}{}", if what.ends_with("tch") { "es" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_told_from_several() {
        let said: Vec<String> = [0, 1, 2].map(|n| counted(n, "row")).into();
        assert_eq!(said, ["0 rows", "1 row", "2 rows"]);
        assert_eq!(
            (counted(1, "batch"), counted(3, "batch"), counted(3, "epoch")),
            ("1 batch".into(), "3 batches".into(), "3 epochs".into())
        );
        assert_eq!((and_more(1, "cell"), and_more(4, "cell")), ("and 1 more cell".into(), "and 4 more cells".into()));
    }
}
