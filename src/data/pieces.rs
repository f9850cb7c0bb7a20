//! A file that is larger than memory: its rows a piece at a time.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;

use super::{DataFile, columnar};

/// Where such a file lies, and how much of it is read at once.
#[derive(Clone, Debug)]
pub struct Pieces {
    /// The table before `=`, and the path as typed.
    pub table: Option<String>,
    pub name: String,
    pub path: PathBuf,
    /// Bytes, about.
    pub size: usize,
}

/// Some rows under the header of the file.
#[derive(Debug)]
pub struct Piece {
    pub file: DataFile,
    /// Rows of the file before the first of these; in CSV, lines between its header and that.
    pub skipped: u64,
}

impl Pieces {
    /// All pieces, from the first row to the last; each but the last has so many rows or more.
    pub fn open(&self, rows: usize) -> io::Result<Reading<'_>> {
        let form = match columnar::pieces::open(&self.path, self.size, rows)? {
            Some(reading) => Form::Columnar(reading),
            None => {
                let mut from = BufReader::with_capacity(1 << 16, File::open(&self.path)?);
                let mut header = vec![];
                read_rows(&mut from, 1, 1, &mut header)?;
                Form::Text(Text { from, header, least: (self.size, rows as u64), first: true })
            }
        };
        Ok(Reading { of: self, form, skipped: 0 })
    }
}

/// A file that is being read.
pub struct Reading<'p> {
    of: &'p Pieces,
    form: Form,
    skipped: u64,
}

enum Form {
    Text(Text),
    Columnar(columnar::pieces::Reading),
}

/// A CSV file that is being read.
struct Text {
    from: BufReader<File>,
    header: Vec<u8>,
    /// Bytes and rows that a piece has at least.
    least: (usize, u64),
    first: bool,
}

impl Iterator for Reading<'_> {
    type Item = io::Result<Piece>;

    fn next(&mut self) -> Option<io::Result<Piece>> {
        let next = match &mut self.form {
            Form::Text(text) => text.next(),
            Form::Columnar(reading) => reading.piece(),
        };
        let (bytes, rows) = match next? {
            Ok(read) => read,
            Err(e) => return Some(Err(e)),
        };
        let skipped = self.skipped;
        self.skipped += rows;
        let file = DataFile { table: self.of.table.clone(), name: self.of.name.clone(), bytes };
        Some(Ok(Piece { file, skipped }))
    }
}

impl Text {
    /// The next rows under the header, and how many lines they are.
    fn next(&mut self) -> Option<io::Result<(Vec<u8>, u64)>> {
        let (size, rows) = self.least;
        let mut bytes = Vec::with_capacity(self.header.len() + size + size / 16);
        bytes.extend_from_slice(&self.header);
        let lines = match read_rows(&mut self.from, size, rows, &mut bytes) {
            Ok(lines) => lines,
            Err(e) => return Some(Err(e)),
        };
        // A file without rows is one piece, so that it can be said that it has none.
        if lines == 0 && !std::mem::take(&mut self.first) {
            return None;
        }
        self.first = false;
        Some(Ok((bytes, lines)))
    }
}

/// Whole rows of at least so many bytes and lines, as far as there are some; how many lines. A line that ends in the middle of a quoted cell
/// ends no row.
fn read_rows(from: &mut impl BufRead, bytes: usize, rows: u64, out: &mut Vec<u8>) -> io::Result<u64> {
    let (start, mut lines, mut quoted) = (out.len(), 0, false);
    loop {
        let at = out.len();
        if from.read_until(b'\n', out)? == 0 {
            return Ok(lines);
        }
        lines += 1;
        quoted ^= out[at..].iter().filter(|b| **b == b'"').count() % 2 == 1;
        if !quoted && out.len() - start >= bytes && lines >= rows {
            return Ok(lines);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_cut_between_rows() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("d.csv");
        std::fs::write(&path, "a,b\n1,\"x\ny\"\n2,z\n3,w").expect("it can be written");
        let pieces = Pieces { table: None, name: "d.csv".into(), path, size: 4 };
        let read: Vec<(String, u64)> = pieces
            .open(1)
            .expect("it is there")
            .map(|p| p.expect("it can be read"))
            .map(|p| (String::from_utf8(p.file.bytes).expect("text"), p.skipped))
            .collect();
        let row = |text: &str, skipped| (format!("a,b\n{text}"), skipped);
        assert_eq!(read, [row("1,\"x\ny\"\n", 0), row("2,z\n", 2), row("3,w", 3)]);
    }
}
