//! The numbers of a table row by row, in as few bytes as hold them exactly: a batch reads rows from all over the table, and
//! what lies together is read at once. Where the table is larger than memory, they lie in a file.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::sync::Mutex;

use crate::data::Values;

/// A variable over the rows of a table.
pub(super) struct Store {
    cells: Cells,
    /// Cells of a row: those of the dimensions before that of the rows, and of those after it.
    inner: usize,
    outer: usize,
}

/// All cells of the first row, then those of the next.
enum Cells {
    Bytes(Vec<u8>),
    Single(Vec<f32>),
    Double(Vec<f64>),
    File(OnFile),
}

/// The same in a file that is removed with the process: each number takes so many bytes, 1 or 8.
struct OnFile {
    file: File,
    bytes: usize,
    /// The rows that are being read.
    read: Mutex<Vec<u8>>,
}

/// A variable on its way to disk.
pub(super) struct Spill {
    file: BufWriter<File>,
    bytes: usize,
    inner: usize,
    outer: usize,
}

impl Spill {
    /// Of a variable like these values, whose dimension `dim` runs over the rows.
    pub fn new(bytes: usize, like: &Values, dim: usize) -> io::Result<Spill> {
        let (inner, outer) = (like.dims[..dim].iter().product(), like.dims[dim + 1..].iter().product());
        Ok(Spill { file: BufWriter::new(tempfile::tempfile()?), bytes, inner, outer })
    }

    /// Add rows.
    pub fn push(&mut self, values: &Values, dim: usize) -> io::Result<()> {
        let rows = values.dims[dim];
        for row in 0..rows {
            for o in 0..self.outer {
                for i in 0..self.inner {
                    let x = values.numbers[i + self.inner * (row + rows * o)];
                    match self.bytes {
                        1 => self.file.write_all(&[x as u8])?,
                        _ => self.file.write_all(&x.to_le_bytes())?,
                    }
                }
            }
        }
        Ok(())
    }

    pub fn finish(self) -> io::Result<Store> {
        let file = self.file.into_inner().map_err(|e| e.into_error())?;
        let cells = Cells::File(OnFile { file, bytes: self.bytes, read: Mutex::new(vec![]) });
        Ok(Store { cells, inner: self.inner, outer: self.outer })
    }
}

impl OnFile {
    /// These rows of so many numbers each, one after the other.
    fn read(&self, rows: &[usize], each: usize, out: &mut Vec<u8>) -> io::Result<()> {
        let each = each * self.bytes;
        out.resize(rows.len() * each, 0);
        let mut from = 0;
        for run in rows.chunk_by(|a, b| a + 1 == *b) {
            let to = from + run.len() * each;
            read_at(&self.file, &mut out[from..to], (run[0] * each) as u64)?;
            from = to;
        }
        Ok(())
    }
}

#[cfg(unix)]
fn read_at(file: &File, out: &mut [u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, out, at)
}

#[cfg(windows)]
fn read_at(file: &File, mut out: &mut [u8], mut at: u64) -> io::Result<()> {
    while !out.is_empty() {
        let n = std::os::windows::fs::FileExt::seek_read(file, out, at)?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        (out, at) = (&mut out[n..], at + n as u64);
    }
    Ok(())
}

/// Rows that are put in place together: as many as fill a cache line.
const TOGETHER: usize = 8;

impl Store {
    /// Of a variable whose dimension `dim` runs over the rows.
    pub fn new(values: &Values, dim: usize) -> Store {
        let rows = values.dims[dim];
        let inner: usize = values.dims[..dim].iter().product();
        let outer: usize = values.dims[dim + 1..].iter().product();
        let all = &values.numbers;
        let by_row = (0..rows)
            .flat_map(|row| (0..outer).flat_map(move |o| (0..inner).map(move |i| all[i + inner * (row + rows * o)])));
        let fits = |exact: &dyn Fn(f64) -> bool| all.iter().all(|x| exact(*x));
        let cells = if fits(&|x| f64::from(x as u8).to_bits() == x.to_bits()) {
            Cells::Bytes(by_row.map(|x| x as u8).collect())
        } else if fits(&|x| f64::from(x as f32) == x) {
            Cells::Single(by_row.map(|x| x as f32).collect())
        } else {
            Cells::Double(by_row.collect())
        };
        Store { cells, inner, outer }
    }

    /// Numbers of a row.
    pub fn width(&self) -> usize {
        self.inner * self.outer
    }

    /// Copy rows in single precision, if that holds them: whether it does.
    pub fn gather_single(&self, rows: &[usize], out: &mut [f32]) -> bool {
        match &self.cells {
            Cells::Bytes(cells) => self.put(cells, |x| f32::from(*x), rows, out),
            Cells::Single(cells) => self.put(cells, |x| *x, rows, out),
            Cells::Double(_) | Cells::File(_) => return false,
        }
        true
    }

    /// Copy rows, one after the other along their dimension.
    pub fn gather(&self, rows: &[usize], out: &mut [f64]) {
        match &self.cells {
            Cells::Bytes(cells) => self.put(cells, |x| f64::from(*x), rows, out),
            Cells::Single(cells) => self.put(cells, |x| f64::from(*x), rows, out),
            Cells::Double(cells) => self.put(cells, |x| *x, rows, out),
            Cells::File(cells) => {
                let mut read = cells.read.lock().expect("no thread panics while it reads");
                // Rows that can no longer be read make a batch that is left out, and in the end a fit that is given up.
                if cells.read(rows, self.inner * self.outer, &mut read).is_err() {
                    return out.fill(f64::NAN);
                }
                match cells.bytes {
                    1 => self.put_all(read.iter().map(|x| f64::from(*x)), rows.len(), out),
                    _ => self.put_all(read.as_chunks().0.iter().map(|x| f64::from_le_bytes(*x)), rows.len(), out),
                }
            }
        }
    }

    /// All cells of row after row.
    fn put_all(&self, mut cells: impl Iterator<Item = f64>, rows: usize, out: &mut [f64]) {
        for r in 0..rows {
            for o in 0..self.outer {
                let to = &mut out[self.inner * (r + rows * o)..][..self.inner];
                to.iter_mut().zip(&mut cells).for_each(|(t, x)| *t = x);
            }
        }
    }

    fn put<T, N>(&self, cells: &[T], number: impl Fn(&T) -> N, rows: &[usize], out: &mut [N]) {
        let (inner, each) = (self.inner, self.inner * self.outer);
        for (block, some) in rows.chunks(TOGETHER).enumerate() {
            let first = block * TOGETHER;
            if let (1, Ok(some)) = (inner, <[usize; TOGETHER]>::try_from(some)) {
                // One number of each row at a time: the loop over them has a known length, and is unrolled.
                let from = some.map(|row| &cells[row * each..][..each]);
                for o in 0..each {
                    let to = &mut out[first + rows.len() * o..][..TOGETHER];
                    to.iter_mut().zip(from).for_each(|(t, from)| *t = number(&from[o]));
                }
                continue;
            }
            for o in 0..self.outer {
                for (r, row) in some.iter().enumerate() {
                    let from = &cells[row * each + o * inner..][..inner];
                    let to = &mut out[inner * (first + r + rows.len() * o)..][..inner];
                    to.iter_mut().zip(from).for_each(|(t, x)| *t = number(x));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows first, so that one number of each lies together: more rows than are put in place together, and fewer.
    #[test]
    fn columns_are_those_of_the_table() {
        for (scale, is_single) in [(1.0, true), (0.5, true), (0.1, false)] {
            let numbers: Vec<f64> = (0..77).map(|i| scale * f64::from(i)).collect();
            let values = Values { dims: vec![11, 7], numbers: numbers.into() };
            let store = Store::new(&values, 0);
            for count in [1, TOGETHER - 1, TOGETHER, 2 * TOGETHER + 3] {
                let rows: Vec<usize> = (0..count).map(|i| (i * 7) % 11).collect();
                let (mut here, mut there) = (vec![0.0; 7 * count], vec![0.0; 7 * count]);
                let mut single = vec![0.0f32; 7 * count];
                store.gather(&rows, &mut here);
                values.gather(0, &rows, &mut there);
                assert_eq!(here, there);
                assert_eq!(store.gather_single(&rows, &mut single), is_single);
                assert!(!is_single || single.iter().zip(&here).all(|(s, x)| f64::from(*s) == *x));
            }
        }
    }

    /// As `Values::gather` copies, whatever bytes the numbers take.
    #[test]
    fn rows_are_those_of_the_table() {
        for (scale, double) in [(1.0, 0.0), (0.5, -3.0), (0.1, 1e-9)] {
            let dims = vec![3, 11, 2];
            let numbers: Vec<f64> = (0..66).map(|i| scale * f64::from(i) + double).collect();
            let values = Values { dims, numbers: numbers.into() };
            let rows: Vec<usize> = (0..19).map(|i| (i * 7) % 11).collect();
            let (mut here, mut there) = (vec![0.0; 6 * 19], vec![0.0; 6 * 19]);
            Store::new(&values, 1).gather(&rows, &mut here);
            values.gather(1, &rows, &mut there);
            assert_eq!(here, there);
            let mut spill = Spill::new(8, &values, 1).expect("a temporary file");
            let half = |from: usize, n: usize| {
                let mut numbers = vec![0.0; 6 * n];
                values.gather(1, &(from..from + n).collect::<Vec<_>>(), &mut numbers);
                Values { dims: vec![3, n, 2], numbers: numbers.into() }
            };
            spill.push(&half(0, 4), 1).and_then(|()| spill.push(&half(4, 7), 1)).expect("room");
            let mut on_disk = vec![0.0; 6 * 19];
            spill.finish().expect("room").gather(&rows, &mut on_disk);
            assert_eq!(on_disk, there);
        }
        let cells = |numbers: &[f64]| Store::new(&Values { dims: vec![2], numbers: numbers.into() }, 0).cells;
        assert!(matches!(cells(&[0.0, 255.0]), Cells::Bytes(_)));
        // Neither holds in a byte: the sign of a zero, and a number that is missing.
        assert!(matches!(cells(&[-0.0, 1.0]), Cells::Single(_)));
        assert!(matches!(cells(&[f64::NAN, 1.0]), Cells::Double(_)));
        assert!(matches!(cells(&[0.1, 1.0]), Cells::Double(_)));
    }
}
