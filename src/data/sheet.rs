//! One data file, read once: the declared columns as numbers or as words, and every cell that is not what was declared.

use std::collections::HashMap;

use super::DataFile;
use super::cells::{self, Cell, Origin, Problems, quoted};
use super::columnar::{Datum, Frame};
use super::header::{self, Found};
use super::json;
use crate::diag::{Code, Diags, and_more, counted};
use crate::hir::{Content, Hir, Table, Var, VarId, VarKind};

/// The rows of one table.
#[derive(Debug)]
pub struct Sheet {
    /// The file as the user typed it.
    pub file: String,
    pub origin: Origin,
    /// The line of the file that each row starts on; rows from 1 where the file has no lines.
    pub lines: Vec<u64>,
    /// The columns that were found.
    pub columns: HashMap<VarId, SheetColumn>,
}

#[derive(Debug)]
pub struct SheetColumn {
    pub found: Found,
    /// One per field of `found`, each as long as the table.
    pub parts: Vec<Part>,
}

/// The cells of one field.
#[derive(Debug)]
pub enum Part {
    /// `real`, `int`, `bool`, `date`; NaN where missing.
    Numbers(Vec<f64>),
    /// `key`, `category` and foreign keys: positions are known once every file has been read.
    Words(Words),
}

/// Words numbered in the order of their first use.
#[derive(Debug, Default)]
pub struct Words {
    /// Per row; `MISSING` where the cell is empty.
    pub ids: Vec<u32>,
    pub words: Vec<String>,
    known: HashMap<String, u32>,
}

pub const MISSING: u32 = u32::MAX;

impl Words {
    fn push(&mut self, word: &str) {
        let id = match self.known.get(word) {
            Some(&id) => id,
            None => {
                let id = self.words.len() as u32;
                self.words.push(word.to_owned());
                self.known.insert(word.to_owned(), id);
                id
            }
        };
        self.ids.push(id);
    }
}

/// What was wrong with the cells of one variable, over all its fields.
#[derive(Default)]
struct Trouble {
    missing: Problems,
    unreadable: Problems,
    not_whole: Problems,
}

/// One field being read.
struct Reader {
    field: usize,
    /// Which of the table's columns it belongs to.
    column: usize,
    content: Content,
    optional: bool,
    /// Probabilities of what the column holds.
    shades: bool,
    part: Part,
}

/// Read one table's file, of which `skipped` lines after the header are left out. `None` when there are no rows to speak of; otherwise what was found, with diagnostics for the rest.
pub fn read(hir: &Hir, table: &Table, file: &DataFile, skipped: u64, diags: &mut Diags) -> Option<Sheet> {
    let text = text_of(file, diags)?;
    let mut csv = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
    let mut record = csv::ByteRecord::new();
    // Reading from memory cannot fail; a flexible reader takes records of any length.
    if !csv.read_byte_record(&mut record).unwrap_or(false) || record.iter().all(|f| f.trim_ascii().is_empty()) {
        diags.push(
            Code::DATA_EMPTY
                .at(table.span, format!("`{}` is empty", file.name))
                .here("the rows of this table")
                .help("the first line names the columns, each further line is a row"),
        );
        return None;
    }
    let header: Vec<String> = record.iter().map(|f| utf8(f).trim().to_owned()).collect();

    if let Some(d) = header::not_a_header(hir, table, &header, &file.name) {
        diags.push(d);
        return None;
    }

    let (columns, mut readers) = readers(hir, table, &header, &file.name, diags);
    let mut trouble: Vec<Trouble> = columns.iter().map(|_| Trouble::default()).collect();

    let mut lines = Lines::new(text.as_bytes(), skipped);
    let mut starts: Vec<u64> = vec![];
    let (mut ragged, mut blank) = (Ragged::default(), vec![]);
    loop {
        let at = csv.position().byte() as usize;
        if !csv.read_byte_record(&mut record).unwrap_or(false) {
            break;
        }
        let line = lines.start_of_record(at, &mut blank);
        starts.push(line);
        if record.len() != header.len() {
            // Its cells may stand under the wrong names: the row is reported as a whole.
            ragged.add(line, &record);
            readers.iter_mut().for_each(|r| r.part.push_missing());
            continue;
        }
        for reader in &mut readers {
            let cell = record.get(reader.field).expect("as long as the header");
            reader.read(utf8(cell), line, &mut trouble[reader.column]);
        }
    }
    if starts.is_empty() {
        diags.push(
            Code::DATA_EMPTY
                .at(table.span, format!("`{}` has a header but no rows", file.name))
                .here("the rows of this table")
                .help("give a file with at least one row"),
        );
        return None;
    }
    report_blank(&file.name, &blank, table, diags);
    ragged.report(&file.name, header.len(), table, diags);
    Some(finish(hir, &file.name, Origin::Text, starts, columns, readers, &trouble, diags))
}

/// The columns of a table among the keys of a JSON file.
pub fn from_keys(hir: &Hir, table: &Table, keys: &json::Keys, diags: &mut Diags) -> Option<Sheet> {
    let data = json::Columns::of(keys);
    let (columns, mut readers) = readers(hir, table, &data.header, &keys.file, diags);
    let rows = readers.first().map(|r| data.rows(r.field))?;
    let mut trouble: Vec<Trouble> = columns.iter().map(|_| Trouble::default()).collect();
    let mut fits = true;
    for reader in &readers {
        let n = data.rows(reader.field);
        if n != rows {
            fits = false;
            let first = &data.header[readers[0].field];
            let name = &data.header[reader.field];
            let d = Code::DATA_SHAPE
                .at(hir.var(columns[reader.column].0).span, format!("`{name}` and `{first}` are not of the same length"))
                .here("a column of the same table")
                .place(format!("{}: {first}: {}", keys.file, counted(rows, "value")))
                .place(format!("{}: {name}: {}", keys.file, counted(n, "value")))
                .help("every column of a table has a value for each row; values of another length belong to another table");
            diags.push(d);
        }
    }
    if !fits {
        return None;
    }
    if rows == 0 {
        let d = Code::DATA_EMPTY
            .at(table.span, format!("the lists of `{}` are empty", keys.file))
            .here("the rows of this table")
            .help("give lists with at least one value");
        diags.push(d);
        return None;
    }
    for reader in &mut readers {
        for row in 0..rows {
            match data.cell(reader.field, row) {
                Ok(text) => reader.read(text, row as u64 + 1, &mut trouble[reader.column]),
                Err(found) => {
                    reader.part.push_missing();
                    trouble[reader.column].unreadable.add(row as u64 + 1, reader.field + 1, || found);
                }
            }
        }
    }
    let header = data.header.iter().enumerate().map(|(i, h)| (h.clone(), data.is_matrix(i))).collect();
    let lines = (1..=rows as u64).collect();
    Some(finish(hir, &keys.file, Origin::Keys(header), lines, columns, readers, &trouble, diags))
}

/// The columns of a table in a Parquet or Arrow file.
pub fn from_frame(hir: &Hir, table: &Table, file: &DataFile, skipped: u64, diags: &mut Diags) -> Option<Sheet> {
    let frame = Frame::open(file, diags)?;
    let header = frame.header();
    let (columns, mut readers) = readers(hir, table, &header, &file.name, diags);
    let mut readable = true;
    for reader in &readers {
        if let Some(what) = frame.strange(reader.field) {
            readable = false;
            let d = Code::DATA_COLUMN_TYPE
                .at(hir.var(columns[reader.column].0).span, format!("`{}` holds {what}", header[reader.field]))
                .here(format!("declared `{}` here", word(reader.content)))
                .place(format!("{}: {}", file.name, header[reader.field]))
                .help("write a column of numbers, truth values, texts, dates or times to the file");
            diags.push(d);
        }
    }
    if !readable {
        return None;
    }
    let mut trouble: Vec<Trouble> = columns.iter().map(|_| Trouble::default()).collect();
    let mut fields: Vec<usize> = readers.iter().map(|r| r.field).collect();
    fields.sort_unstable();
    fields.dedup();
    let mut of_field: Vec<Vec<usize>> = vec![vec![]; header.len()];
    readers.iter().enumerate().for_each(|(i, r)| of_field[r.field].push(i));
    let mut visit = |field: usize, row: u64, datum: &Datum| {
        for &i in &of_field[field] {
            let reader = &mut readers[i];
            reader.datum(datum, skipped + row, &mut trouble[reader.column]);
        }
    };
    let rows = frame.cells(&fields, &mut visit, diags)?;
    if rows == 0 {
        let d = Code::DATA_EMPTY
            .at(table.span, format!("`{}` has no rows", file.name))
            .here("the rows of this table")
            .help("give a file with at least one row");
        diags.push(d);
        return None;
    }
    let origin = Origin::Keys(header.into_iter().map(|h| (h, false)).collect());
    Some(finish(
        hir,
        &file.name,
        origin,
        (1..=rows as u64).map(|r| skipped + r).collect(),
        columns,
        readers,
        &trouble,
        diags,
    ))
}

/// Where the columns of a table stand in a header, and a reader for each field.
fn readers(
    hir: &Hir,
    table: &Table,
    header: &[String],
    file: &str,
    diags: &mut Diags,
) -> (Vec<(VarId, Option<Found>)>, Vec<Reader>) {
    let mut columns: Vec<(VarId, Option<Found>)> = vec![];
    let mut readers: Vec<Reader> = vec![];
    for &id in &table.columns {
        let var = hir.var(id);
        let VarKind::Column(column) = &var.kind else { continue };
        let found = header::find(var, column, header, file, diags);
        for &field in found.iter().flat_map(|f| &f.fields) {
            let part = match column.content {
                Content::Real | Content::Int | Content::Bool | Content::Date => Part::Numbers(vec![]),
                Content::Key | Content::Index(_) => Part::Words(Words::default()),
            };
            let (content, optional) = (column.content, column.optional);
            let shades = hir.binarised.contains(&id);
            readers.push(Reader { field, column: columns.len(), content, optional, shades, part });
        }
        columns.push((id, found));
    }
    (columns, readers)
}

/// What was read, with diagnostics for what is wrong with it.
#[allow(clippy::too_many_arguments)]
fn finish(
    hir: &Hir,
    file: &str,
    origin: Origin,
    lines: Vec<u64>,
    columns: Vec<(VarId, Option<Found>)>,
    readers: Vec<Reader>,
    trouble: &[Trouble],
    diags: &mut Diags,
) -> Sheet {
    let mut sheet = Sheet { file: file.to_owned(), origin, lines, columns: HashMap::new() };
    let mut readers = readers.into_iter().peekable();
    for (i, (id, found)) in columns.into_iter().enumerate() {
        let mut parts = vec![];
        while let Some(reader) = readers.next_if(|r| r.column == i) {
            parts.push(reader.part);
        }
        report(hir.var(id), hir.binarised.contains(&id), &trouble[i], file, &sheet.origin, diags);
        if let Some(found) = found {
            sheet.columns.insert(id, SheetColumn { found, parts });
        }
    }
    sheet
}

/// The file's text without a byte-order mark, or why it is not text.
fn text_of<'a>(file: &'a DataFile, diags: &mut Diags) -> Option<&'a str> {
    let bytes = &file.bytes;
    let magic: [(&[u8], &str); 4] = [
        (b"PK\x03\x04", "a spreadsheet or a zip archive: save the sheet as CSV"),
        (b"\x1f\x8b", "compressed: unpack it first"),
        (b"\xff\xfe", "UTF-16 text: save it as CSV in UTF-8"),
        (b"\xfe\xff", "UTF-16 text: save it as CSV in UTF-8"),
    ];
    let bad = |why: String| Code::DATA_NOT_TEXT.plain(format!("`{}` is not a CSV file in UTF-8", file.name)).help(why);
    if let Some((_, what)) = magic.iter().find(|(start, _)| bytes.starts_with(start)) {
        diags.push(bad(format!("it looks like {what}")));
        return None;
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match std::str::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(e) => {
            let before = &bytes[..e.valid_up_to()];
            let line = before.iter().filter(|&&b| b == b'\n').count() + 1;
            diags.push(
                bad("save it as UTF-8; in Latin-1, for instance, `é` is one byte and in UTF-8 two".into())
                    .place(format!("{}:{line}: byte 0x{:02x}", file.name, bytes[e.valid_up_to()])),
            );
            None
        }
    }
}

/// A field of a text that is UTF-8: a field is cut at ASCII signs only.
fn utf8(field: &[u8]) -> &str {
    std::str::from_utf8(field).expect("the whole file is UTF-8, and fields are cut at ASCII signs")
}

/// Counts lines while records are read: the csv crate's own count lags behind CRLF and empty lines.
struct Lines<'a> {
    bytes: &'a [u8],
    newline: u8,
    at: usize,
    line: u64,
    skipped: u64,
}

impl<'a> Lines<'a> {
    fn new(bytes: &'a [u8], skipped: u64) -> Self {
        let newline = if bytes.contains(&b'\n') { b'\n' } else { b'\r' };
        Lines { bytes, newline, at: 0, line: 1, skipped }
    }

    /// The line on which the record that follows byte `end` starts; empty lines before it are added to `blank`.
    fn start_of_record(&mut self, end: usize, blank: &mut Vec<u64>) -> u64 {
        let read = &self.bytes[self.at..end];
        self.line += read.iter().filter(|&&b| b == self.newline).count() as u64;
        self.at = end;
        if self.newline == b'\n' && end > 0 && self.bytes[end - 1] == b'\r' && self.bytes.get(end) == Some(&b'\n') {
            self.line += 1;
            self.at += 1;
        }
        while let Some(b @ (b'\r' | b'\n')) = self.bytes.get(self.at) {
            if *b == self.newline {
                blank.push(self.line + self.skipped);
                self.line += 1;
            }
            self.at += 1;
        }
        self.line + self.skipped
    }
}

impl Part {
    fn push_missing(&mut self) {
        match self {
            Part::Numbers(v) => v.push(f64::NAN),
            Part::Words(w) => w.ids.push(MISSING),
        }
    }
}

impl Reader {
    #[inline]
    fn read(&mut self, raw: &str, line: u64, trouble: &mut Trouble) {
        let cell = match &mut self.part {
            Part::Words(words) => {
                if !cells::is_missing(raw.trim_ascii()) {
                    words.push(raw);
                    return;
                }
                Cell::Missing
            }
            Part::Numbers(_) => match self.content {
                Content::Bool if self.shades => cells::share(raw.trim_ascii()),
                Content::Bool => cells::bool(raw.trim_ascii()),
                Content::Date => cells::date(raw.trim_ascii()),
                Content::Real | Content::Int | Content::Key | Content::Index(_) => cells::real(raw.trim_ascii()),
            },
        };
        self.push(cell, line, trouble, || raw.to_owned());
    }

    /// A cell that has a type: as its text would be read.
    fn datum(&mut self, datum: &Datum, row: u64, trouble: &mut Trouble) {
        match (self.content, datum.number()) {
            (Content::Real | Content::Int, Some(x)) => {
                self.push(Cell::Number(x), row, trouble, || datum.text().into_owned());
            }
            _ => self.read(&datum.text(), row, trouble),
        }
    }

    #[inline]
    fn push(&mut self, cell: Cell, line: u64, trouble: &mut Trouble, text: impl FnOnce() -> String) {
        match cell {
            Cell::Number(x) => {
                if self.content == Content::Int && !cells::is_whole(x) {
                    trouble.not_whole.add(line, self.field + 1, text);
                }
                if let Part::Numbers(v) = &mut self.part {
                    v.push(x);
                }
                return;
            }
            Cell::Missing if self.optional => {}
            Cell::Missing => trouble.missing.add(line, self.field + 1, text),
            Cell::Bad => trouble.unreadable.add(line, self.field + 1, text),
        }
        self.part.push_missing();
    }
}

fn report(var: &Var, shades: bool, trouble: &Trouble, file: &str, origin: &Origin, diags: &mut Diags) {
    let VarKind::Column(column) = &var.kind else { return };
    let name = &var.name;
    if !trouble.missing.is_empty() {
        let p = &trouble.missing;
        let verb = if p.count == 1 { "is" } else { "are" };
        let d = Code::DATA_MISSING
            .at(var.span, format!("{} of `{name}` {verb} missing", p.cells()))
            .here("every row needs a value")
            .help(match column.content {
                Content::Real | Content::Int | Content::Bool | Content::Index(_) => format!(
                    "fill the cells, leave the rows out of the file, or declare `{name}: {}?` with a model of its own, \
                     `observe {name} ~ …`",
                    word(column.content)
                ),
                Content::Key | Content::Date => "fill the cells, or leave the rows out of the file".into(),
            });
        diags.push(p.show(file, origin, d));
    }
    if !trouble.unreadable.is_empty() {
        let p = &trouble.unreadable;
        let (what, help) = unreadable(column.content, shades, &p.first[0].text);
        let verb = if p.count == 1 { "is not" } else { "are not" };
        let what = if p.count == 1 { what.0 } else { what.1 };
        let d = Code::DATA_NOT_NUMBER
            .at(var.span, format!("{} of `{name}` {verb} {what}", p.cells()))
            .here(format!("declared `{}` here", word(column.content)))
            .help(help);
        diags.push(p.show(file, origin, d));
    }
    if !trouble.not_whole.is_empty() {
        let p = &trouble.not_whole;
        let what = if p.count == 1 { "is not a whole number" } else { "are not whole numbers" };
        let d = Code::DATA_NOT_WHOLE
            .at(var.span, format!("{} of `{name}` {what}", p.cells()))
            .here("declared `int` here")
            .help(format!("declare `{name}: real`, or mend the cells"));
        diags.push(p.show(file, origin, d));
    }
}

fn word(content: Content) -> &'static str {
    match content {
        Content::Real => "real",
        Content::Int => "int",
        Content::Bool => "bool",
        Content::Date => "date",
        Content::Key => "key",
        Content::Index(_) => "category",
    }
}

/// What the cells are not (one, several), and what may help, judging by the first of them.
fn unreadable(content: Content, shades: bool, text: &str) -> ((&'static str, &'static str), String) {
    let text = text.trim();
    let missing = ["nan", "null", "none", "n/a", "na", "#n/a", "missing", ".", "?", "-"];
    let what = match content {
        Content::Bool if shades => ("a probability", "probabilities"),
        Content::Bool => ("true or false", "true or false"),
        Content::Date => ("a date", "dates"),
        Content::Real | Content::Int => ("a number", "numbers"),
        Content::Key | Content::Index(_) => ("a label", "labels"),
    };
    let help = if missing.contains(&text.to_ascii_lowercase().as_str()) {
        format!("if {} stands for a missing value, fill the cells, or leave the rows out of the file", quoted(text))
    } else {
        match content {
            Content::Bool if shades => "a column that is binarised holds numbers from 0 to 1".into(),
            Content::Bool => "a `bool` cell is 0 or 1, true or false, yes or no".into(),
            Content::Date => "a date is written as year-month-day: 2024-02-29".into(),
            _ if text.contains(',') && text.replace(',', ".").parse::<f64>().is_ok() => {
                "write a point for the decimal comma".into()
            }
            _ if text.contains(',') && text.replace(',', "").parse::<f64>().is_ok() => {
                "leave out the commas between thousands".into()
            }
            _ if text.parse::<f64>().is_ok() => "cells hold finite numbers".into(),
            _ if text.strip_suffix('%').is_some_and(|t| t.trim().parse::<f64>().is_ok()) => {
                "leave out the percent sign".into()
            }
            _ if text.trim_matches(['$', '€', '£', '¥', ' ']).parse::<f64>().is_ok() => {
                "leave out the currency sign".into()
            }
            _ => "mend the cells; words that name groups are a `category`".into(),
        }
    };
    (what, help)
}

/// Rows with more or fewer cells than the header.
#[derive(Default)]
struct Ragged {
    first: Vec<(u64, usize)>,
    count: usize,
    /// A cell that runs over lines suggests a quote that was never closed.
    runs_over: bool,
}

impl Ragged {
    fn add(&mut self, line: u64, record: &csv::ByteRecord) {
        if self.first.len() < cells::SHOWN {
            self.first.push((line, record.len()));
        }
        self.count += 1;
        self.runs_over |= record.iter().any(|f| f.contains(&b'\n'));
    }

    fn report(&self, file: &str, width: usize, table: &Table, diags: &mut Diags) {
        if self.count == 0 {
            return;
        }
        let mut d = Code::DATA_RAGGED
            .at(
                table.span,
                format!(
                    "{} of `{file}` {} not have {}, as the header has",
                    counted(self.count, "row"),
                    if self.count == 1 { "does" } else { "do" },
                    counted(width, "cell")
                ),
            )
            .here("the rows of this table");
        for (line, cells) in &self.first {
            d = d.place(format!("{file}:{line}: {}", counted(*cells, "cell")));
        }
        let rest = self.count - self.first.len();
        if rest > 0 {
            d = d.note(and_more(rest, "row"));
        }
        diags.push(d.help(if self.runs_over {
            "a quote that opens a cell there may never be closed"
        } else {
            "add or take away commas; a cell that holds a comma stands in quotes"
        }));
    }
}

fn report_blank(file: &str, blank: &[u64], table: &Table, diags: &mut Diags) {
    if blank.is_empty() {
        return;
    }
    let mut d = Code::DATA_BLANK_LINE
        .at(table.span, format!("`{file}` has {} between its rows", counted(blank.len(), "empty line")))
        .here("the rows of this table")
        .help("delete the empty lines; for a missing value write NA");
    for line in blank.iter().take(cells::SHOWN) {
        d = d.place(format!("{file}:{line}"));
    }
    if blank.len() > cells::SHOWN {
        d = d.note(and_more(blank.len() - cells::SHOWN, "line"));
    }
    diags.push(d);
}
