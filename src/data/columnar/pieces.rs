//! A Parquet file that is larger than memory: its rows a piece at a time, each piece an Arrow stream of its own.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use arrow_array::{RecordBatch, RecordBatchReader};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, SchemaRef};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::{Format, format, quietly, thrift};

/// Rows that are decoded at once: some columns may be wide.
const DECODED: usize = 1024;

type Batches = Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>>>;

/// Such a file, being read.
pub struct Reading {
    schema: SchemaRef,
    batches: Batches,
    /// Bytes and rows that a piece has at least.
    least: (usize, usize),
    first: bool,
}

/// Open a file in pieces of about so many bytes and at least so many rows; `None`: it is not Parquet.
pub fn open(path: &Path, size: usize, rows: usize) -> io::Result<Option<Reading>> {
    let (mut file, mut start) = (File::open(path)?, vec![]);
    (&mut file).take(4).read_to_end(&mut start)?;
    if format(&start) != Some(Format::Parquet) {
        return Ok(None);
    }
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "its footer is damaged");
    if !thrift::lists_fit(&footer(&mut file).map_err(|_| damaged())?) {
        return Err(damaged());
    }
    let opened = quietly(|| -> Result<(SchemaRef, Batches), ArrowError> {
        let reader = ParquetRecordBatchReaderBuilder::try_new(file)?.with_batch_size(DECODED).build()?;
        Ok((reader.schema(), Box::new(reader)))
    });
    let (schema, batches) = said(opened)?;
    Ok(Some(Reading { schema, batches, least: (size, rows), first: true }))
}

/// The end of a Parquet file, from its footer on.
fn footer(file: &mut File) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    file.seek(SeekFrom::End(-8))?;
    file.read_exact(&mut length)?;
    let mut bytes = vec![];
    file.seek(SeekFrom::End(-8 - i64::from(u32::from_le_bytes(length))))?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Reading {
    /// The next rows as a file in memory, and how many they are.
    pub fn piece(&mut self) -> Option<io::Result<(Vec<u8>, u64)>> {
        let first = std::mem::take(&mut self.first);
        let piece = said(quietly(|| self.decoded()));
        // A file without rows is one piece, so that it can be said that it has none.
        match piece {
            Ok((_, 0)) if !first => None,
            other => Some(other),
        }
    }

    fn decoded(&mut self) -> Result<(Vec<u8>, u64), ArrowError> {
        let mut writer = StreamWriter::try_new(vec![], &self.schema)?;
        let (mut bytes, mut rows) = (0, 0);
        while bytes < self.least.0 || rows < self.least.1 {
            let Some(batch) = self.batches.next() else { break };
            let batch = batch?;
            bytes += batch.get_array_memory_size();
            rows += batch.num_rows();
            writer.write(&batch)?;
        }
        Ok((writer.into_inner()?, rows as u64))
    }
}

/// Readers panic at some of what a damaged file says.
fn said<T>(read: Option<Result<T, ArrowError>>) -> io::Result<T> {
    match read {
        Some(read) => read.map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.to_string())),
        None => Err(io::Error::new(io::ErrorKind::InvalidData, "its lengths contradict each other")),
    }
}
