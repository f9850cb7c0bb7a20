//! Tables as text: reading what a simulation adds to, writing what it made.

use crate::data::{DataFile, columnar};
use crate::diag::Diags;

/// A header and rows, every cell as text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Csv {
    pub header: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

impl Csv {
    /// `None` for what is not a table with rows as long as its header: reading it as data says what is wrong.
    pub fn of(file: &DataFile) -> Option<Csv> {
        if !columnar::is_columnar(file) {
            return Csv::read(&file.bytes);
        }
        let mut unsaid = Diags::default();
        let (header, rows) = columnar::Frame::open(file, &mut unsaid)?.text(&mut unsaid)?;
        Some(Csv { header, rows })
    }

    pub fn read(bytes: &[u8]) -> Option<Csv> {
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(bytes);
        let mut records = reader.records();
        let text = |r: csv::StringRecord| r.iter().map(|f| f.trim().to_string()).collect::<Vec<_>>();
        let mut header = text(records.next()?.ok()?);
        if let Some(first) = header.first_mut() {
            *first = first.trim_start_matches('\u{feff}').to_string();
        }
        Some(Csv { header, rows: records.map(|r| Some(text(r.ok()?))).collect::<Option<_>>()? })
    }

    pub fn text(&self) -> String {
        let line = |cells: &[String]| {
            // A line with nothing on it is no row.
            if let [only] = cells
                && only.is_empty()
            {
                return "\"\"\n".to_string();
            }
            let cells: Vec<String> = cells.iter().map(|c| quoted(c)).collect();
            cells.join(",") + "\n"
        };
        let rows: String = self.rows.iter().map(|r| line(r)).collect();
        line(&self.header) + &rows
    }

    pub fn place(&self, name: &str) -> Option<usize> {
        self.header.iter().position(|h| h == name)
    }

    /// Put a column in the place of one of its name, or at the end.
    pub fn put(&mut self, name: &str, cells: impl Iterator<Item = String>) {
        match self.place(name) {
            Some(at) => self.rows.iter_mut().zip(cells).for_each(|(row, cell)| row[at] = cell),
            None => {
                self.header.push(name.to_string());
                self.rows.iter_mut().zip(cells).for_each(|(row, cell)| row.push(cell));
            }
        }
    }
}

/// RFC 4180: a cell with a comma, a quote or a line break stands in quotes, and quotes are doubled.
fn quoted(cell: &str) -> String {
    if cell.contains([',', '"', '\n', '\r']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.to_string() }
}

/// A number in the shortest form that reads back to the same bits.
pub fn number(x: f64) -> String {
    if x.fract() == 0.0 && x.abs() < 1e15 { format!("{x}") } else { format!("{x:?}") }
}
