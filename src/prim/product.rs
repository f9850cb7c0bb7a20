//! Products of matrices that lie anywhere in memory, by faer's blocked kernels.
//!
//! In a [`Workshop`] a product is cut into pieces, which several threads take, and may be computed in single precision: its
//! factors are rounded to `f32`, multiplied and summed so, and the sums are stored, or added, in double precision.

use std::cell::{Cell, UnsafeCell};
use std::ptr;

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

use super::crew::Crew;
use super::vector::widely;
use crate::lower::graph::{Access, BufId, ProductCall};

/// Pieces of a product, whatever the number of threads: so the sums have the same bits.
const PIECES: usize = 4;
/// Multiplications that are worth cutting up.
const WORTH: usize = 1 << 18;
/// Columns of a piece are a multiple of this, the width of the kernels.
const WIDTH: usize = 16;

thread_local! {
    /// The workshop in which this thread's products are made, if any.
    static AT: Cell<*const Workshop> = const { Cell::new(ptr::null()) };
}

/// Threads for products, and how precise they are.
pub struct Workshop {
    crew: Crew,
    single: bool,
    /// Rounded factors and sums; only the thread that is in the workshop hands out parts of it.
    room: UnsafeCell<Vec<f32>>,
}

impl Workshop {
    pub fn new(threads: usize, single: bool) -> Workshop {
        Workshop { crew: Crew::new(threads), single, room: UnsafeCell::new(vec![]) }
    }

    pub fn crew(&self) -> &Crew {
        &self.crew
    }

    /// Make the products that `f` runs on this thread here.
    pub fn during<T>(&self, f: impl FnOnce() -> T) -> T {
        let before = AT.replace(self);
        let out = f();
        AT.set(before);
        out
    }
}

/// A matrix in memory: its first cell, and the steps from row to row and from column to column.
#[derive(Clone, Copy)]
struct Matrix<T> {
    at: *mut T,
    steps: [usize; 2],
}

// Who uses one from several threads reads it, or writes parts that do not overlap.
unsafe impl<T> Send for Matrix<T> {}
unsafe impl<T> Sync for Matrix<T> {}

impl<T> Matrix<T> {
    /// # Safety
    /// The cell is one of the matrix.
    unsafe fn cell(self, i: usize, j: usize) -> *mut T {
        unsafe { self.at.add(i * self.steps[0] + j * self.steps[1]) }
    }

    fn from(self, i: usize, j: usize) -> Matrix<T> {
        Matrix { at: self.at.wrapping_add(i * self.steps[0] + j * self.steps[1]), ..self }
    }

    /// Whether columns are what lies together.
    fn by_columns(self) -> bool {
        self.steps[0] <= self.steps[1]
    }
}

/// Run a call; `at` gives the address of a buffer. Results have the same bits whatever else runs, and on any number of
/// threads.
///
/// # Safety
/// The buffers hold every cell that the call's operands reach, and the one that it writes overlaps no other.
pub unsafe fn run(call: &ProductCall, at: impl Fn(BufId) -> *mut f64) {
    let add = call.operands[2].access == Access::Add;
    // It outlives the call: `during` has not returned.
    let workshop = unsafe { AT.get().as_ref() };
    for cell in 0..call.batch.iter().product::<usize>() {
        let matrix = |i: usize| {
            let operand = &call.operands[i];
            let (mut rest, mut offset) = (cell, operand.offset);
            for (size, stride) in call.batch.iter().zip(&operand.strides) {
                offset += stride * (rest % size);
                rest /= size;
            }
            // Within the buffer, by the caller's promise.
            let at = unsafe { at(operand.buf.expect("a product has all its operands")).add(offset) };
            Matrix { at, steps: call.steps[i] }
        };
        let all = [matrix(0), matrix(1), matrix(2)];
        unsafe {
            match workshop {
                Some(w) if call.sizes.iter().product::<usize>() >= WORTH => w.product(call.sizes, all, add),
                _ => product(call.sizes, all, add),
            }
        }
    }
}

/// c = a · b, or c += a · b.
///
/// # Safety
/// As for [`run`].
unsafe fn product<T: faer::traits::ComplexField + Copy>([m, k, n]: [usize; 3], [a, b, c]: [Matrix<T>; 3], add: bool) {
    let steps = |x: Matrix<T>| (x.steps[0] as isize, x.steps[1] as isize);
    let ((am, ak), (bk, bn), (cm, cn)) = (steps(a), steps(b), steps(c));
    let accum = if add { Accum::Add } else { Accum::Replace };
    unsafe {
        let a = MatRef::from_raw_parts(a.at.cast_const(), m, k, am, ak);
        let b = MatRef::from_raw_parts(b.at.cast_const(), k, n, bk, bn);
        let c = MatMut::from_raw_parts_mut(c.at, m, n, cm, cn);
        matmul(c, accum, a, b, T::one_impl(), Par::Seq);
    }
}

impl Workshop {
    /// # Safety
    /// As for [`run`].
    unsafe fn product(&self, sizes: [usize; 3], [a, b, c]: [Matrix<f64>; 3], add: bool) {
        let [m, k, n] = sizes;
        let columns = c.by_columns();
        let each = (if columns { n } else { m }).div_ceil(PIECES).next_multiple_of(WIDTH);
        // The part of a piece: its rows, its columns, and where they begin.
        let part = |p: usize| {
            let cut = |all: usize| (all.min(p * each), all.min((p + 1) * each) - all.min(p * each));
            let ((i, rows), (j, cols)) = if columns { ((0, m), cut(n)) } else { (cut(m), (0, n)) };
            (i, rows, j, cols)
        };
        if !self.single {
            self.crew.each(PIECES, &|p| {
                let (i, rows, j, cols) = part(p);
                unsafe { product([rows, k, cols], [a.from(i, 0), b.from(0, j), c.from(i, j)], add) }
            });
            return;
        }
        // Only this thread is in the workshop, and its helpers get parts that do not overlap.
        let room = unsafe { &mut *self.room.get() };
        room.resize(room.len().max(m * k + k * n + m * n), 0.0);
        let (first, rest) = room.split_at_mut(m * k);
        let (second, third) = rest.split_at_mut(k * n);
        let like = |x: Matrix<f64>, rows: usize, cols: usize, at: *mut f32| Matrix {
            at,
            steps: if x.by_columns() { [1, rows] } else { [cols, 1] },
        };
        let (a32, b32, c32) =
            (like(a, m, k, first.as_mut_ptr()), like(b, k, n, second.as_mut_ptr()), like(c, m, n, third.as_mut_ptr()));
        self.crew.each(2 * PIECES, &|p| {
            let of = if p < PIECES { (a, a32, m, k) } else { (b, b32, k, n) };
            unsafe { round(of, p % PIECES) }
        });
        self.crew.each(PIECES, &|p| {
            let (i, rows, j, cols) = part(p);
            unsafe {
                product([rows, k, cols], [a32.from(i, 0), b32.from(0, j), c32.from(i, j)], false);
                let (outer, inner) = if columns { (cols, rows) } else { (rows, cols) };
                for o in 0..outer {
                    let (y, x) = if columns { (0, o) } else { (o, 0) };
                    let (to, from) = (c.cell(i + y, j + x), c32.cell(i + y, j + x));
                    let (sums, step) = (std::slice::from_raw_parts(from, inner), c.steps[usize::from(!columns)]);
                    if step == 1 {
                        put(sums, std::slice::from_raw_parts_mut(to, inner), add);
                    } else {
                        for (l, sum) in sums.iter().enumerate() {
                            put(std::slice::from_ref(sum), std::slice::from_mut(&mut *to.add(l * step)), add);
                        }
                    }
                }
            }
        });
    }
}

/// Store sums in double precision, or add them.
fn put(sums: &[f32], to: &mut [f64], add: bool) {
    widely(
        #[inline(always)]
        || match add {
            true => to.iter_mut().zip(sums).for_each(|(t, s)| *t += f64::from(*s)),
            false => to.iter_mut().zip(sums).for_each(|(t, s)| *t = f64::from(*s)),
        },
    );
}

/// Round a piece of a matrix to single precision.
///
/// # Safety
/// Both are matrices of so many rows and columns, with the same order in memory.
unsafe fn round((from, to, rows, cols): (Matrix<f64>, Matrix<f32>, usize, usize), piece: usize) {
    let columns = from.by_columns();
    let (outer, inner) = if columns { (cols, rows) } else { (rows, cols) };
    let each = outer.div_ceil(PIECES);
    for o in (piece * each).min(outer)..((piece + 1) * each).min(outer) {
        unsafe {
            let (i, j) = if columns { (0, o) } else { (o, 0) };
            let (from_step, to_line) = (from.steps[usize::from(!columns)], to.cell(i, j));
            let from_line = from.cell(i, j);
            if from_step == 1 {
                let line = std::slice::from_raw_parts(from_line, inner);
                let rounded = std::slice::from_raw_parts_mut(to_line, inner);
                widely(
                    #[inline(always)]
                    || rounded.iter_mut().zip(line).for_each(|(t, f)| *t = *f as f32),
                );
            } else {
                (0..inner).for_each(|l| *to_line.add(l) = *from_line.add(l * from_step) as f32);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lower::graph::Operand;

    /// Against plain loops, for matrices that are transposed, batched and added to: 1e-13 of numbers of size 1.
    #[test]
    fn products_equal_sums() {
        let (m, k, n, times) = (7, 5, 6, 3);
        let numbers = |len: usize, by: f64| (0..len).map(|i| (by * i as f64).sin()).collect::<Vec<f64>>();
        let (mut a, mut b, mut c) = (numbers(m * k * times, 0.7), numbers(k * n, 1.3), numbers(m * n * times, 0.3));
        let mut expected = c.clone();
        for t in 0..times {
            for i in 0..m {
                for j in 0..n {
                    let sum: f64 = (0..k).map(|l| a[i * k + l + t * m * k] * b[l + k * j]).sum();
                    expected[i + m * j + t * m * n] += sum;
                }
            }
        }
        let operand =
            |buf, access, strides: usize| Operand { buf: Some(BufId(buf)), access, offset: 0, strides: vec![strides] };
        let call = ProductCall {
            sizes: [m, k, n],
            batch: vec![times],
            operands: vec![
                operand(0, Access::Read, m * k),
                operand(1, Access::Read, 0),
                operand(2, Access::Add, m * n),
            ],
            steps: [[k, 1], [1, k], [1, m]],
        };
        let table = [a.as_mut_ptr(), b.as_mut_ptr(), c.as_mut_ptr()];
        unsafe { run(&call, |b| table[b.0 as usize]) };
        for (x, y) in c.iter().zip(&expected) {
            assert!((x - y).abs() < 1e-13, "{x} and {y}");
        }
    }

    /// Matrices of any orientation, in pieces: the same bits on any number of threads, and in single precision within its
    /// rounding, 1e-7 of numbers of size 1 times the root of the length of the sums, 20, with room for the sum's own rounding.
    #[test]
    fn pieces_are_the_whole() {
        let (m, k, n) = (100, 390, 70);
        let numbers = |len: usize, by: f64| (0..len).map(|i| (by * i as f64).sin()).collect::<Vec<f64>>();
        for (access, steps) in [
            (Access::Store, [[1, m], [1, k], [1, m]]),
            (Access::Add, [[k, 1], [n, 1], [n, 1]]),
            (Access::Add, [[1, m], [n, 1], [1, m]]),
        ] {
            let operand = |buf, access| Operand { buf: Some(BufId(buf)), access, offset: 0, strides: vec![] };
            let operands = vec![operand(0, Access::Read), operand(1, Access::Read), operand(2, access)];
            let call = ProductCall { sizes: [m, k, n], batch: vec![], operands, steps };
            let (mut a, mut b, c) = (numbers(m * k, 0.7), numbers(k * n, 1.3), numbers(m * n, 0.3));
            let mut made = |workshop: Option<Workshop>| {
                let mut c = c.clone();
                let table = [a.as_mut_ptr(), b.as_mut_ptr(), c.as_mut_ptr()];
                let make = || unsafe { run(&call, |b| table[b.0 as usize]) };
                match workshop {
                    None => make(),
                    Some(w) => w.during(make),
                }
                c
            };
            let whole = made(None);
            let near = |c: &[f64], by: f64| c.iter().zip(&whole).all(|(x, y)| (x - y).abs() < by);
            let one = made(Some(Workshop::new(1, false)));
            assert!(near(&one, 1e-12) && one == made(Some(Workshop::new(3, false))));
            let single = made(Some(Workshop::new(1, true)));
            assert!(near(&single, 1e-4) && !near(&single, 1e-9) && single == made(Some(Workshop::new(3, true))));
        }
    }
}
