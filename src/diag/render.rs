//! Rendering of diagnostics through miette: the only place that names it.

use super::{Diagnostic, Severity};
use crate::source::{FileId, Source, Sources, Span};
use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents, SourceCode, SourceSpan,
    SpanContents, ThemeCharacters, ThemeStyles,
};
use std::fmt;

/// How to draw: width in columns, colour or not, Unicode or ASCII.
#[derive(Clone, Copy, Debug)]
pub struct RenderStyle {
    pub width: usize,
    pub color: bool,
    pub unicode: bool,
}

/// The text of one diagnostic, as the user sees it; it ends with a newline.
pub fn render(diagnostic: &Diagnostic, sources: &Sources, style: RenderStyle) -> String {
    let theme = GraphicalTheme {
        characters: if style.unicode { ThemeCharacters::unicode() } else { ThemeCharacters::ascii() },
        styles: if style.color { ThemeStyles::ansi() } else { ThemeStyles::none() },
    };
    // Narrower than this, words are torn apart and nothing is gained.
    let width = style.width.max(40);
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_width(width)
        .with_break_words(false)
        .without_syntax_highlighting()
        .with_context_lines(WHOLE_LINES);
    let view = View::new(diagnostic, sources);
    let mut out = String::new();
    handler.render_report(&mut out, &view).expect("writing to a string succeeds");
    // miette knows one footer, the help; notes and places come before it.
    for note in &view.elsewhere {
        out.push_str(&footer("note", note, width, style.color));
    }
    for place in &diagnostic.places {
        out.push_str(&footer("at", place, width, style.color));
    }
    // After the places: `and 12 more cells`.
    for note in &diagnostic.notes {
        out.push_str(&footer("note", note, width, style.color));
    }
    if let Some(help) = &diagnostic.help {
        out.push_str(&footer("help", help, width, style.color));
    }
    out.lines().map(|line| line.trim_end().to_string() + "\n").collect()
}

/// A diagnostic as miette wants to see it.
#[derive(Debug)]
struct View<'a> {
    diagnostic: &'a Diagnostic,
    source: Option<Page>,
    labels: Vec<LabeledSpan>,
    /// Labels that lie in another file than the diagnostic itself.
    elsewhere: Vec<String>,
}

impl<'a> View<'a> {
    fn new(diagnostic: &'a Diagnostic, sources: &Sources) -> View<'a> {
        // Without a primary place, the first label's file is the one to show.
        let home = diagnostic.span.or_else(|| diagnostic.labels.first().map(|l| l.span)).map(|s| s.file);
        let mut labels = vec![];
        if let Some(span) = diagnostic.span {
            let text = (!diagnostic.label.is_empty()).then(|| diagnostic.label.clone());
            labels.push(LabeledSpan::new_primary_with_span(text, inside(span, sources)));
        }
        let mut elsewhere = vec![];
        for label in &diagnostic.labels {
            if Some(label.span.file) == home {
                let place = inside(label.span, sources);
                // What is far away on one line would have to be shown with all that is between.
                let far = |l: &LabeledSpan| {
                    let between = (l.offset().min(place.offset()), l.offset().max(place.offset()));
                    let on_one_line = sources.get(label.span.file).text.get(between.0..between.1);
                    between.1 - between.0 > WIDEST && on_one_line.is_some_and(|t| !t.contains('\n'))
                };
                if labels.first().is_none_or(|l| !far(l)) {
                    labels.push(LabeledSpan::new_with_span(Some(label.text.clone()), place));
                }
            } else {
                elsewhere.push(format!("{}: {}", position(label.span.file, label.span.start, sources), label.text));
            }
        }
        let source = home.map(|f| Page::new(sources.get(f), &labels));
        View { diagnostic, source, labels, elsewhere }
    }
}

/// How miette asks a `Page` for lines to show; with 0 it asks for a position.
const WHOLE_LINES: usize = 1;

/// Bytes of a line that are shown on either side of a place.
const WIDEST: usize = 400;

/// A source that shows the lines of its spans whole, unless they are very long, and none beside them.
#[derive(Debug)]
struct Page {
    name: String,
    /// The lines from the first label to the last.
    text: String,
    /// Where they start, and how many lines are above.
    from: usize,
    above: usize,
}

impl Page {
    fn new(source: &Source, labels: &[LabeledSpan]) -> Page {
        let first = labels.iter().map(LabeledSpan::offset).min().unwrap_or(0);
        let last = labels.iter().map(|l| l.offset() + l.len()).max().unwrap_or(0);
        let (from, above) = source.line_of(first);
        let end = last + source.text[last..].find('\n').unwrap_or(source.text.len() - last);
        // A control character could garble the terminal; offsets stay.
        let mut text = String::with_capacity(end - from);
        for c in source.text[from..end].chars() {
            if c.is_control() && c != '\n' && c != '\t' {
                text.extend(std::iter::repeat_n(' ', c.len_utf8()));
            } else {
                text.push(c);
            }
        }
        Page { name: source.name.clone(), text, from, above }
    }
}

impl SourceCode for Page {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        lines: usize,
        _: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let Some(from) = span.offset().checked_sub(self.from) else { return Err(MietteError::OutOfBounds) };
        let to = from + span.len();
        let (Some(before), Some(after)) = (self.text.get(..from), self.text.get(to..)) else {
            return Err(MietteError::OutOfBounds);
        };
        let mut start = before.rfind('\n').map_or(0, |i| i + 1);
        let mut column = 0;
        if lines < WHOLE_LINES {
            column = self.text[start..from].chars().count();
            start = from;
        }
        let end = to + after.find('\n').unwrap_or(after.len());
        let line = self.above + before.matches('\n').count();
        if lines >= WHOLE_LINES {
            start = start.max(self.text.floor_char_boundary(from.saturating_sub(WIDEST)));
        }
        let end = end.min(self.text.ceil_char_boundary((to + WIDEST).min(self.text.len())));
        // Two lines more than there are: snippets join over a gap of so many.
        let count = self.text[start..end].matches('\n').count() + 3;
        let data = &self.text.as_bytes()[start..end];
        let span = (self.from + start, end - start).into();
        Ok(Box::new(MietteSpanContents::new_named(self.name.clone(), data, span, line, column, count)))
    }
}

/// A span clipped to its file, on character boundaries.
fn inside(span: Span, sources: &Sources) -> SourceSpan {
    let text = &sources.get(span.file).text;
    let start = text.floor_char_boundary((span.start as usize).min(text.len()));
    let end = text.ceil_char_boundary((span.end as usize).clamp(start, text.len()));
    let end = if text[start..end].contains('\n') { end } else { end.min(text.ceil_char_boundary(start + WIDEST)) };
    (start, end - start).into()
}

/// `model.vi:3:7`
fn position(file: FileId, offset: u32, sources: &Sources) -> String {
    let (line, column) = sources.line_column(file, offset);
    format!("{}:{line}:{column}", sources.get(file).name)
}

/// `  word: text`, wrapped, further lines indented under the text.
fn footer(word: &str, text: &str, width: usize, color: bool) -> String {
    let indent = word.len() + 4;
    let room = width.saturating_sub(indent + 2).max(20);
    let mut lines = vec![];
    for paragraph in text.lines() {
        // Text that is indented (an example of several lines) keeps its form.
        let lead = paragraph.len() - paragraph.trim_start().len();
        let mut line = " ".repeat(lead);
        for piece in paragraph.split_whitespace() {
            if line.chars().count() > lead && line.chars().count() + 1 + piece.chars().count() > room {
                lines.push(std::mem::replace(&mut line, " ".repeat(lead)));
            }
            if line.chars().count() > lead {
                line.push(' ');
            }
            line.push_str(piece);
        }
        lines.push(line);
    }
    let head = if color { format!("  \u{1b}[36m{word}: \u{1b}[0m") } else { format!("  {word}: ") };
    let mut out = head;
    for (i, line) in lines.iter().enumerate() {
        if i > 0 {
            out.push_str(&" ".repeat(indent));
        }
        out.push_str(line);
        out.push('\n');
    }
    if lines.is_empty() {
        out.push('\n');
    }
    out
}

impl fmt::Display for View<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.diagnostic.message)
    }
}

impl std::error::Error for View<'_> {}

impl miette::Diagnostic for View<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.diagnostic.code.id))
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.diagnostic.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|s| s as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        (!self.labels.is_empty())
            .then(|| Box::new(self.labels.iter().cloned()) as Box<dyn Iterator<Item = LabeledSpan>>)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::Code;

    const STYLE: RenderStyle = RenderStyle { width: 60, color: false, unicode: true };

    fn sources() -> (Sources, FileId, FileId) {
        let mut sources = Sources::default();
        let model = sources.add("m.vi", "let ä = 1\nlet b = ä\n\n\nlet c = b\n");
        let library = sources.add("lib.vi", "# one\ndist D() on real { }\n");
        (sources, model, library)
    }

    #[test]
    fn labels_notes_places_and_help() {
        let (sources, model, library) = sources();
        let d = Code::UNEXPECTED_TOKEN
            .at(Span::new(model, 19, 21), "the name does not fit in this long sentence that needs a second line")
            .here("used here")
            .label(Span::new(model, 4, 6), "declared here")
            .label(Span::new(library, 11, 12), "the distribution")
            .note("first note")
            .place("data.csv:3:2")
            .help("write this, and then a good deal more, until the line is full");
        let text = render(&d, &sources, STYLE);
        assert_eq!(
            text,
            "\
V0101

  × the name does not fit in this long sentence that needs
  │ a second line
   ╭─[m.vi:2:9]
 1 │ let ä = 1
   ·     ┬
   ·     ╰── declared here
 2 │ let b = ä
   ·         ┬
   ·         ╰── used here
   ╰────
  note: lib.vi:2:6: the distribution
  at: data.csv:3:2
  note: first note
  help: write this, and then a good deal more, until the
        line is full
"
        );
    }

    #[test]
    fn no_place_no_snippet() {
        let (sources, ..) = sources();
        let text = render(&Code::UNEXPECTED_TOKEN.plain("no file"), &sources, STYLE);
        assert_eq!(text, "V0101\n\n  × no file\n");
    }

    #[test]
    fn a_span_outside_its_file_or_inside_a_character_is_clipped() {
        let (mut sources, model, _) = sources();
        let empty = sources.add("empty.vi", "");
        for span in [Span::new(model, 5, 9999), Span::new(model, 5, 5), Span::new(empty, 0, 0), Span::new(empty, 7, 9)]
        {
            let text = render(&Code::UNEXPECTED_TOKEN.at(span, "somewhere"), &sources, STYLE);
            assert!(!text.contains("Failed"), "{text}");
        }
    }

    #[test]
    fn colour_and_ascii() {
        let (sources, model, _) = sources();
        let d = Code::UNEXPECTED_TOKEN.at(Span::new(model, 0, 3), "a word").here("here").help("edit");
        let colored = render(&d, &sources, RenderStyle { color: true, ..STYLE });
        assert!(colored.contains("\u{1b}["));
        let plain = render(&d, &sources, RenderStyle { unicode: false, ..STYLE });
        assert!(plain.contains("m.vi:1:1") && !plain.contains('╭'), "{plain}");
    }
}
