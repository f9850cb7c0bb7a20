//! The numbers of a table row by row, in as few bytes as hold them exactly: a batch reads rows from all over the table, and
//! what lies together is read at once.

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

    /// Copy rows, one after the other along their dimension.
    pub fn gather(&self, rows: &[usize], out: &mut [f64]) {
        match &self.cells {
            Cells::Bytes(cells) => self.put(cells, |x| f64::from(*x), rows, out),
            Cells::Single(cells) => self.put(cells, |x| f64::from(*x), rows, out),
            Cells::Double(cells) => self.put(cells, |x| *x, rows, out),
        }
    }

    fn put<T>(&self, cells: &[T], number: impl Fn(&T) -> f64, rows: &[usize], out: &mut [f64]) {
        let (inner, each) = (self.inner, self.inner * self.outer);
        for (block, some) in rows.chunks(TOGETHER).enumerate() {
            let first = block * TOGETHER;
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
        }
        let cells = |numbers: &[f64]| Store::new(&Values { dims: vec![2], numbers: numbers.into() }, 0).cells;
        assert!(matches!(cells(&[0.0, 255.0]), Cells::Bytes(_)));
        // Neither holds in a byte: the sign of a zero, and a number that is missing.
        assert!(matches!(cells(&[-0.0, 1.0]), Cells::Single(_)));
        assert!(matches!(cells(&[f64::NAN, 1.0]), Cells::Double(_)));
        assert!(matches!(cells(&[0.1, 1.0]), Cells::Double(_)));
    }
}
