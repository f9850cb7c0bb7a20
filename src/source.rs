//! Source files and the places in them that diagnostics point at.

/// Which source file a span lies in: the model itself, an embedded library file or a data file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, PartialOrd, Ord)]
pub struct FileId(pub u32);

/// A half-open byte range of one source file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, PartialOrd, Ord)]
pub struct Span {
    pub file: FileId,
    pub start: u32,
    pub end: u32,
}

impl Span {
    pub fn new(file: FileId, start: usize, end: usize) -> Span {
        Span { file, start: start as u32, end: end as u32 }
    }

    /// The smallest span that covers both; they lie in one file.
    pub fn to(self, other: Span) -> Span {
        Span { file: self.file, start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

/// One file's name (as the user typed it) and text.
#[derive(Clone, Debug)]
pub struct Source {
    pub name: String,
    pub text: String,
    /// Where each line starts.
    lines: Vec<u32>,
}

impl Source {
    /// Where the line of a byte offset starts, and how many lines are above it.
    pub fn line_of(&self, offset: usize) -> (usize, usize) {
        let above = self.lines.partition_point(|&start| start as usize <= offset).max(1) - 1;
        (self.lines[above] as usize, above)
    }
}

/// Every source of one run. `FileId(0)` is the first file added.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    files: Vec<Source>,
}

impl Sources {
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<String>) -> FileId {
        let text: String = text.into();
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(i, _)| i as u32 + 1)).collect();
        self.files.push(Source { name: name.into(), text, lines });
        FileId(self.files.len() as u32 - 1)
    }

    pub fn get(&self, id: FileId) -> &Source {
        &self.files[id.0 as usize]
    }

    /// The text that a span covers.
    pub fn slice(&self, span: Span) -> &str {
        self.get(span.file).text.get(span.start as usize..span.end as usize).unwrap_or("")
    }

    /// One-based line and column (in characters) of a byte offset.
    pub fn line_column(&self, file: FileId, offset: u32) -> (usize, usize) {
        let source = self.get(file);
        let offset = source.text.floor_char_boundary((offset as usize).min(source.text.len()));
        let (start, above) = source.line_of(offset);
        let (line, column) = (above + 1, source.text[start..offset].chars().count() + 1);
        (line, column)
    }
}
