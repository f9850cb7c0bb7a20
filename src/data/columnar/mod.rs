//! Parquet and Arrow files: the door to their crates. Their cells mean what they would mean as the text of a CSV file.

mod cell;
pub mod pieces;
mod size;
mod thrift;

use std::cell::Cell;
use std::io::Cursor;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Once};

use arrow_array::RecordBatch;
use arrow_ipc::reader::{FileReader, StreamReader};
use arrow_schema::{ArrowError, Schema};
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};

pub use cell::Datum;

use super::DataFile;
use crate::diag::{Code, Diagnostic, Diags};

/// A form of file, told by how it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Parquet,
    /// Feather is another name of it.
    Arrow,
    /// Arrow without the table of contents at its end.
    Stream,
}

/// A file of columns with types of its own, opened.
pub struct Frame<'f> {
    file: &'f DataFile,
    format: Format,
    schema: Arc<Schema>,
}

/// Whether a file is Parquet or Arrow.
pub fn is_columnar(file: &DataFile) -> bool {
    format(&file.bytes).is_some()
}

/// Whether it is Parquet.
pub fn is_parquet(file: &DataFile) -> bool {
    format(&file.bytes) == Some(Format::Parquet)
}

/// The magic numbers of the formats; a stream has none and begins with the mark and the length of a message.
fn format(bytes: &[u8]) -> Option<Format> {
    let starts = |magic: &[u8]| bytes.starts_with(magic);
    match () {
        () if starts(b"PAR1") || starts(b"PARE") => Some(Format::Parquet),
        () if starts(b"ARROW1") || starts(b"FEA1") => Some(Format::Arrow),
        () if starts(&[0xff; 4]) => Some(Format::Stream),
        () => None,
    }
}

impl<'f> Frame<'f> {
    /// The names and types of the columns, or what is wrong with the file. Expects a file that `is_columnar`.
    pub fn open(file: &'f DataFile, diags: &mut Diags) -> Option<Frame<'f>> {
        let format = format(&file.bytes)?;
        let schema = match format {
            _ if file.bytes.starts_with(b"PARE") => Err(said(file, format).help("it is encrypted: decrypt it first")),
            _ if file.bytes.starts_with(b"FEA1") => {
                Err(said(file, format)
                    .help("it is a Feather file of version 1: write it again as version 2, or as CSV"))
            }
            Format::Parquet if !thrift::lists_fit(&file.bytes) => {
                Err(unreadable(file, format, "its footer is damaged"))
            }
            Format::Parquet => guarded(format, file, || {
                let metadata = ArrowReaderMetadata::load(&Bytes::copy_from_slice(&file.bytes), options())?;
                Ok(metadata.schema().clone())
            }),
            Format::Arrow => guarded(format, file, || {
                size::check(&file.bytes, false)?;
                Ok(arrow(file, None)?.schema())
            }),
            Format::Stream => guarded(format, file, || {
                size::check(&file.bytes, true)?;
                Ok(stream(file, None)?.schema())
            }),
        };
        match schema {
            Ok(schema) => Some(Frame { file, format, schema }),
            Err(d) => {
                diags.push(d);
                None
            }
        }
    }

    pub fn header(&self) -> Vec<String> {
        self.schema.fields().iter().map(|f| f.name().trim().to_owned()).collect()
    }

    /// What the cells of a column are, in words, if no text of a CSV file stands for them.
    pub fn strange(&self, field: usize) -> Option<String> {
        cell::strange(self.schema.field(field).data_type())
    }

    /// Visit the cells of some columns, each from its first row to its last, and give the number of rows. Expects
    /// ascending fields, none of them strange.
    pub fn cells(
        &self,
        fields: &[usize],
        visit: &mut dyn FnMut(usize, u64, &Datum),
        diags: &mut Diags,
    ) -> Option<usize> {
        let mut rows = 0;
        let mut batch = |batch: Result<RecordBatch, ArrowError>| {
            let batch = batch?;
            for (&field, column) in fields.iter().zip(batch.columns()) {
                let mut line = rows as u64;
                cell::each(column, &mut |datum| {
                    line += 1;
                    visit(field, line, &datum);
                });
            }
            rows += batch.num_rows();
            Ok::<(), ArrowError>(())
        };
        let read = guarded(self.format, self.file, || match self.format {
            Format::Parquet => {
                let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(
                    Bytes::copy_from_slice(&self.file.bytes),
                    options(),
                )?;
                let mask = ProjectionMask::roots(builder.parquet_schema(), fields.iter().copied());
                builder.with_projection(mask).build()?.try_for_each(&mut batch)
            }
            Format::Arrow => arrow(self.file, Some(fields.to_vec()))?.try_for_each(&mut batch),
            Format::Stream => stream(self.file, Some(fields.to_vec()))?.try_for_each(&mut batch),
        });
        match read {
            Ok(()) => Some(rows),
            Err(d) => {
                diags.push(d);
                None
            }
        }
    }

    /// Every column that has a text for its cells, row by row.
    pub fn text(&self, diags: &mut Diags) -> Option<(Vec<String>, Vec<Vec<String>>)> {
        let fields: Vec<usize> = (0..self.schema.fields().len()).filter(|&f| self.strange(f).is_none()).collect();
        let mut columns: Vec<Vec<String>> = vec![vec![]; self.schema.fields().len()];
        let rows = self.cells(&fields, &mut |field, _, datum| columns[field].push(datum.text().into_owned()), diags)?;
        let header = self.header();
        let header = fields.iter().map(|&f| header[f].clone()).collect();
        let rows = (0..rows).map(|r| fields.iter().map(|&f| std::mem::take(&mut columns[f][r])).collect()).collect();
        Some((header, rows))
    }
}

fn options() -> ArrowReaderOptions {
    ArrowReaderOptions::new()
}

fn arrow(file: &DataFile, fields: Option<Vec<usize>>) -> Result<FileReader<Cursor<&[u8]>>, ArrowError> {
    FileReader::try_new(Cursor::new(file.bytes.as_slice()), fields)
}

fn stream(file: &DataFile, fields: Option<Vec<usize>>) -> Result<StreamReader<Cursor<&[u8]>>, ArrowError> {
    StreamReader::try_new(Cursor::new(file.bytes.as_slice()), fields)
}

fn said(file: &DataFile, format: Format) -> Diagnostic {
    let what = match format {
        Format::Parquet => "a Parquet file",
        Format::Arrow | Format::Stream => "an Arrow file",
    };
    Code::DATA_NOT_COLUMNAR.plain(format!("`{}` cannot be read as {what}", file.name))
}

/// With what the reader says of it, which names its crate first.
fn unreadable(file: &DataFile, format: Format, why: &str) -> Diagnostic {
    let why = ["Parquet argument error: ", "Parquet error: ", "Ipc error: ", "Parser error: ", "EOF: "]
        .iter()
        .fold(why, |why, crate_| why.strip_prefix(crate_).unwrap_or(why));
    said(file, format).note(format!("its reader says: {}", why.trim())).help(match format {
        Format::Parquet => {
            "the file may be cut off: write it again, compressed by snappy, gzip, LZ4, zstd or not at all"
        }
        Format::Arrow | Format::Stream => {
            "the file may be cut off: write it again, compressed by LZ4, zstd or not at all"
        }
    })
}

thread_local! {
    static READING: Cell<bool> = const { Cell::new(false) };
}

/// Read what may be damaged. The readers check most of what a file says, and panic at some of the rest (a length beyond the
/// end of the file, for one); that is a file that cannot be read, and nothing is printed of it.
fn guarded<T>(format: Format, file: &DataFile, read: impl FnOnce() -> Result<T, ArrowError>) -> Result<T, Diagnostic> {
    match quietly(read) {
        Some(Ok(done)) => Ok(done),
        Some(Err(e)) => Err(unreadable(file, format, &e.to_string())),
        None => Err(unreadable(file, format, "its lengths contradict each other")),
    }
}

/// The result; `None`: there was a panic, of which nothing is printed.
fn quietly<T>(read: impl FnOnce() -> T) -> Option<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !READING.get() {
                before(info);
            }
        }));
    });
    READING.set(true);
    // What the closure changes is dropped with the error.
    let read = panic::catch_unwind(AssertUnwindSafe(read));
    READING.set(false);
    read.ok()
}
