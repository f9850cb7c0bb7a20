//! Text with places where its lines may break: groups stay on one line where they fit (after Wadler's "A prettier
//! printer").

/// Lines are no wider than this where there is a place to break them.
const WIDTH: usize = 100;

/// One level of indentation.
const INDENT: usize = 2;

/// What to print.
#[derive(Clone, Debug)]
pub enum Doc {
    Text(String),
    /// Printed only where the group around it is on one line: the comma between fields.
    Flat(&'static str),
    /// Printed only where the group around it is broken: spaces that align fields.
    Broken(String),
    /// A space; a line break where the group around it is broken.
    Line,
    /// Nothing; a line break where the group around it is broken.
    Soft,
    /// A line break; two leave a line empty.
    Hard,
    Concat(Vec<Doc>),
    Indent(Box<Doc>),
    /// On one line if it fits and need not break.
    Group {
        doc: Box<Doc>,
        breaks: bool,
    },
    /// A comment that has its line to itself.
    Own(String),
    /// A comment after what stands on its line.
    Trailing(String),
}

pub fn text(text: impl Into<String>) -> Doc {
    Doc::Text(text.into())
}

pub fn concat(parts: Vec<Doc>) -> Doc {
    Doc::Concat(parts)
}

pub fn indent(doc: Doc) -> Doc {
    Doc::Indent(Box::new(doc))
}

pub fn group(doc: Doc) -> Doc {
    let breaks = doc.must_break();
    Doc::Group { doc: Box::new(doc), breaks }
}

impl Doc {
    /// Whether this cannot stand on one line.
    fn must_break(&self) -> bool {
        match self {
            Doc::Hard | Doc::Own(_) | Doc::Trailing(_) => true,
            Doc::Group { breaks, .. } => *breaks,
            Doc::Concat(parts) => parts.iter().any(Doc::must_break),
            Doc::Indent(doc) => doc.must_break(),
            Doc::Text(_) | Doc::Flat(_) | Doc::Broken(_) | Doc::Line | Doc::Soft => false,
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Flat,
    Broken,
}

/// A printed line, its comment apart so that comments of neighbouring lines can be aligned.
#[derive(Default)]
struct Line {
    text: String,
    comment: Option<String>,
}

/// The text of a document, with a newline at its end if it has any text.
pub fn print(doc: &Doc) -> String {
    let mut printer = Printer { lines: vec![Line::default()], indent: 0 };
    printer.run(doc);
    let mut lines = printer.lines;
    while lines.last().is_some_and(|l| l.text.trim().is_empty() && l.comment.is_none()) {
        lines.pop();
    }
    align_comments(&lines).into_iter().map(|l| l + "\n").collect()
}

struct Printer {
    lines: Vec<Line>,
    /// The indentation of the line that the next text starts.
    indent: usize,
}

impl Printer {
    fn run(&mut self, doc: &Doc) {
        let mut stack = vec![(0, Mode::Broken, doc)];
        while let Some((indent, mode, doc)) = stack.pop() {
            match doc {
                Doc::Text(text) => self.text(text, indent),
                Doc::Flat(text) if mode == Mode::Flat => self.text(text, indent),
                Doc::Broken(text) if mode == Mode::Broken => self.text(text, indent),
                Doc::Flat(_) | Doc::Broken(_) => {}
                Doc::Line if mode == Mode::Flat => self.text(" ", indent),
                Doc::Soft if mode == Mode::Flat => {}
                Doc::Line | Doc::Soft | Doc::Hard => self.line_break(indent),
                Doc::Concat(parts) => stack.extend(parts.iter().rev().map(|d| (indent, mode, d))),
                Doc::Indent(doc) => stack.push((indent + INDENT, mode, doc)),
                Doc::Group { doc, breaks } => {
                    let mode = match !breaks && self.fits(doc, &stack) {
                        true => Mode::Flat,
                        false => Mode::Broken,
                    };
                    stack.push((indent, mode, doc));
                }
                // A line takes one comment; a second goes below it.
                Doc::Trailing(comment) if self.line().comment.is_none() => self.line().comment = Some(comment.clone()),
                Doc::Own(comment) | Doc::Trailing(comment) => {
                    if !self.line().text.trim().is_empty() || self.line().comment.is_some() {
                        self.line_break(indent);
                    }
                    self.text(comment, indent);
                    self.line().comment = Some(String::new());
                }
            }
        }
    }

    fn line(&mut self) -> &mut Line {
        self.lines.last_mut().expect("there is always a line")
    }

    fn line_break(&mut self, indent: usize) {
        let line = self.line();
        line.text.truncate(line.text.trim_end().len());
        self.lines.push(Line::default());
        self.indent = indent;
    }

    fn text(&mut self, text: &str, indent: usize) {
        // Nothing goes on a line that a comment has ended.
        if self.line().comment.is_some() && !text.trim().is_empty() {
            self.line_break(indent);
        }
        let at = self.indent;
        let line = self.line();
        if line.text.is_empty() {
            let text = text.trim_start();
            if !text.is_empty() {
                line.text = " ".repeat(at) + text;
            }
        } else if line.comment.is_none() {
            line.text += text;
        }
    }

    /// Whether a document fits on the line, with what follows it up to where the line may break next.
    fn fits(&mut self, doc: &Doc, rest: &[(usize, Mode, &Doc)]) -> bool {
        let line = self.lines.last().expect("there is always a line");
        if line.comment.is_some() {
            return false;
        }
        let start = if line.text.is_empty() { self.indent } else { line.text.chars().count() };
        let Some(mut room) = WIDTH.checked_sub(start) else { return false };
        let mut rest = rest.iter().rev();
        let mut stack = vec![(Mode::Flat, doc)];
        loop {
            let Some((mode, doc)) = stack.pop() else {
                match rest.next() {
                    Some((_, mode, doc)) => stack.push((*mode, doc)),
                    None => return true,
                }
                continue;
            };
            let width = match doc {
                Doc::Text(text) => text.chars().count(),
                Doc::Flat(text) if mode == Mode::Flat => text.chars().count(),
                Doc::Line if mode == Mode::Flat => 1,
                Doc::Line | Doc::Soft if mode == Mode::Broken => return true,
                Doc::Flat(_) | Doc::Broken(_) | Doc::Soft | Doc::Line => 0,
                // A comment may stand beyond the width.
                Doc::Hard | Doc::Own(_) | Doc::Trailing(_) => return true,
                Doc::Concat(parts) => {
                    stack.extend(parts.iter().rev().map(|d| (mode, d)));
                    0
                }
                Doc::Indent(doc) => {
                    stack.push((mode, doc));
                    0
                }
                Doc::Group { doc, breaks } => {
                    stack.push((if *breaks { Mode::Broken } else { mode }, doc));
                    0
                }
            };
            match room.checked_sub(width) {
                Some(left) => room = left,
                None => return false,
            }
        }
    }
}

/// The lines with their comments, which stand in one column where neighbouring lines have them.
fn align_comments(lines: &[Line]) -> Vec<String> {
    let mut out: Vec<String> = vec![];
    let has = |l: &Line| l.comment.as_ref().is_some_and(|c| !c.is_empty());
    let mut at = 0;
    while at < lines.len() {
        let run = lines[at..].iter().take_while(|l| has(l)).count();
        if run == 0 {
            out.push(lines[at].text.trim_end().to_string());
            at += 1;
            continue;
        }
        let run = &lines[at..at + run];
        let width = |l: &Line| l.text.trim_end().chars().count();
        let column = run.iter().map(width).max().unwrap_or(0);
        // A comment that alignment would push beyond the width stays beside its line.
        let aligned = run.iter().all(|l| {
            let comment = l.comment.as_ref().map_or(0, |c| c.chars().count());
            column + 2 + comment <= WIDTH || width(l) == column
        });
        for l in run {
            let pad = if aligned { column - width(l) } else { 0 } + 2;
            out.push(format!("{}{}{}", l.text.trim_end(), " ".repeat(pad), l.comment.as_deref().unwrap_or("")));
        }
        at += run.len();
    }
    out
}
