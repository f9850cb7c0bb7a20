//! Products of matrices that lie anywhere in memory, by faer's blocked kernels; large ones in single precision in tile registers,
//! where the processor has them.
//!
//! In a [`Workshop`] a product is cut into pieces, which several threads take, and may be made in single precision: from copies
//! of its factors, rounded to `f32`, whose products are summed so, and stored or added in double precision. A copy has the same
//! cells as its buffer; it is made once for all that read it.

use std::cell::{Cell, UnsafeCell};
use std::ptr;

use faer::linalg::matmul::matmul;
use faer::traits::ComplexField;
use faer::{Accum, MatMut, MatRef, Par};

use super::crew::Crew;
use super::tiles::Tiles;
use super::vector::{leave_wide_registers, widely};
use crate::lower::graph::{Access, BufId, Copied, ProductCall, Stored};

/// Pieces of a product, whatever the number of threads: so the sums have the same bits.
const PIECES: usize = 8;
/// Multiplications that are worth cutting up.
const WORTH: usize = 1 << 18;
/// Rows or columns of a piece are a multiple of this, which the kernels take well.
const WIDTH: usize = 48;
/// Numbers of a piece that is copied.
const PIECE: usize = 1 << 14;

thread_local! {
    /// The workshop in which this thread's products are made, if any.
    static AT: Cell<*const Workshop> = const { Cell::new(ptr::null()) };
}

/// Threads for products, and how precise they are.
pub struct Workshop {
    crew: Crew,
    copies: Option<Copies>,
}

/// Copies of buffers in single precision, as far as products have asked for their cells.
struct Copies {
    /// By buffer. Only the thread that is in the workshop hands out parts of it.
    numbers: UnsafeCell<Vec<Vec<f32>>>,
    /// Whether those of params that only products read are made outside, and are as they should be.
    kept: Cell<bool>,
    /// By buffer: whether the copy of all of it was made outside. Buffers further on were not given.
    given: Vec<bool>,
    tiles: Option<Tiles>,
}

impl Workshop {
    pub fn new(threads: usize, single: bool) -> Workshop {
        let copies = single.then(|| Copies {
            numbers: UnsafeCell::new(vec![]),
            kept: Cell::new(false),
            given: vec![],
            tiles: Tiles::there(),
        });
        Workshop { crew: Crew::new(threads), copies }
    }

    pub fn crew(&self) -> &Crew {
        &self.crew
    }

    pub fn is_single(&self) -> bool {
        self.copies.is_some()
    }

    /// Whether the copies of params that only products read ([`Copied::Outside`]) are as they should be, and need not be made.
    pub fn keep(&self, kept: bool) {
        if let Some(copies) = &self.copies {
            copies.kept.set(kept);
        }
    }

    /// Give the copy of an input ([`Copied::Given`]) of so many cells, if it can be filled, for as long as it is not taken back.
    pub fn give(&mut self, id: BufId, cells: usize, fill: impl FnOnce(&mut [f32]) -> bool) {
        let Some(copies) = &mut self.copies else { return };
        let (id, all) = (id.0 as usize, copies.numbers.get_mut());
        all.resize_with(all.len().max(id + 1), Vec::new);
        copies.given.resize(copies.given.len().max(id + 1), false);
        all[id].resize(cells, 0.0);
        copies.given[id] = fill(&mut all[id]);
    }

    /// Inputs have changed: their copies are made anew.
    pub fn take_back(&mut self) {
        if let Some(copies) = &mut self.copies {
            copies.given.fill(false);
        }
    }

    /// The copies of these buffers, in single precision; and the crew. They may be shorter than the buffers.
    pub fn copies(&mut self, ids: [BufId; 2]) -> (Option<[&mut [f32]; 2]>, &Crew) {
        let all = self.copies.as_mut().map(|c| c.numbers.get_mut());
        let own = all.and_then(|all| all.get_disjoint_mut(ids.map(|id| id.0 as usize)).ok());
        (own.map(|own| own.map(|v| v.as_mut_slice())), &self.crew)
    }

    /// Make the products that `f` runs on this thread here.
    pub fn during<T>(&self, f: impl FnOnce() -> T) -> T {
        let before = AT.replace(self);
        let out = f();
        AT.set(before);
        out
    }
}

/// Outside of all workshops: what is run for another graph, whose buffers have the same numbers as other ones here.
pub fn outside<T>(f: impl FnOnce() -> T) -> T {
    let before = AT.replace(ptr::null());
    let out = f();
    AT.set(before);
    out
}

/// Whether a product is one that a workshop makes, in its precision.
pub fn is_large(call: &ProductCall) -> bool {
    call.sizes.iter().product::<usize>() >= WORTH
}

/// A matrix in memory: its first cell, and the steps from row to row and from column to column.
#[derive(Clone, Copy)]
pub(super) struct Matrix<T> {
    pub at: *mut T,
    pub steps: [usize; 2],
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

    /// The part whose first cell that is.
    pub fn from(self, i: usize, j: usize) -> Matrix<T> {
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
    let workshop = unsafe { AT.get().as_ref() }.filter(|_| is_large(call));
    let copies = workshop.and_then(|w| Some((w, w.copies.as_ref()?)));
    unsafe {
        match (workshop, copies) {
            (_, Some((workshop, copies))) => {
                copies.prepare(call, workshop, &at);
                let first = (*copies.numbers.get()).as_mut_ptr();
                let in_place = in_place(call);
                let single = |i: usize, id: BufId| match in_place[i] {
                    true => at(id).cast::<f32>(),
                    false => (*first.add(id.0 as usize)).as_mut_ptr(),
                };
                for cell in 0..times(call) {
                    let all = std::array::from_fn(|i| matrix(call, cell, i, single(i, buffer(call, i))));
                    let to =
                        (call.copies.result == Stored::Widened).then(|| matrix(call, cell, 2, at(buffer(call, 2))));
                    workshop.single(call.sizes, all, to, add);
                }
            }
            (Some(workshop), None) => {
                (0..times(call)).for_each(|cell| workshop.double(call.sizes, matrices(call, cell, &at), add));
            }
            (None, _) => (0..times(call)).for_each(|cell| product(call.sizes, matrices(call, cell, &at), add)),
        }
    }
}

/// How often the product is repeated.
fn times(call: &ProductCall) -> usize {
    call.batch.iter().product()
}

/// Which operands are single precision where they stand. Programs with such run in a workshop of that precision.
fn in_place(call: &ProductCall) -> [bool; 3] {
    let [a, b] = call.copies.factors.map(|f| f == Copied::InPlace);
    [a, b, call.copies.result == Stored::InPlace]
}

fn buffer(call: &ProductCall, operand: usize) -> BufId {
    call.operands[operand].buf.expect("a product has all its operands")
}

/// An operand of one of the products, whose buffer begins there.
///
/// # Safety
/// As for [`run`].
unsafe fn matrix<T>(call: &ProductCall, cell: usize, i: usize, first: *mut T) -> Matrix<T> {
    let operand = &call.operands[i];
    let (mut rest, mut offset) = (cell, operand.offset);
    for (size, stride) in call.batch.iter().zip(&operand.strides) {
        offset += stride * (rest % size);
        rest /= size;
    }
    // Within the buffer, by the caller's promise.
    Matrix { at: unsafe { first.add(offset) }, steps: call.steps[i] }
}

/// The operands of one of the products in double precision.
///
/// # Safety
/// As for [`run`].
unsafe fn matrices(call: &ProductCall, cell: usize, at: &impl Fn(BufId) -> *mut f64) -> [Matrix<f64>; 3] {
    debug_assert_eq!(in_place(call), [false; 3]);
    std::array::from_fn(|i| unsafe { matrix(call, cell, i, at(buffer(call, i))) })
}

/// c = a · b, or c += a · b.
///
/// # Safety
/// As for [`run`].
unsafe fn product<T: ComplexField + Copy>([m, k, n]: [usize; 3], [a, b, c]: [Matrix<T>; 3], add: bool) {
    let steps = |x: Matrix<T>| (x.steps[0] as isize, x.steps[1] as isize);
    let ((am, ak), (bk, bn), (cm, cn)) = (steps(a), steps(b), steps(c));
    let accum = if add { Accum::Add } else { Accum::Replace };
    unsafe {
        let a = MatRef::from_raw_parts(a.at.cast_const(), m, k, am, ak);
        let b = MatRef::from_raw_parts(b.at.cast_const(), k, n, bk, bn);
        let c = MatMut::from_raw_parts_mut(c.at, m, n, cm, cn);
        matmul(c, accum, a, b, T::one_impl(), Par::Seq);
        leave_wide_registers();
    }
}

impl Copies {
    /// Round the factors of a call, if that has not been done, and make room for its result.
    ///
    /// # Safety
    /// As for [`run`].
    unsafe fn prepare(&self, call: &ProductCall, workshop: &Workshop, at: &impl Fn(BufId) -> *mut f64) {
        // Only this thread is in the workshop.
        let all = unsafe { &mut *self.numbers.get() };
        for (i, _) in in_place(call).into_iter().enumerate().filter(|own| !own.1) {
            let (buf, cells) = (buffer(call, i), call.reach(i));
            let id = buf.0 as usize;
            if all.len() <= id {
                all.resize_with(id + 1, Vec::new);
            }
            if all[id].len() < cells.end {
                all[id].resize(cells.end, 0.0);
            }
            let made = match call.copies.factors.get(i) {
                None | Some(Copied::Before) => true,
                Some(Copied::Outside) => self.kept.get(),
                Some(Copied::Given) => self.given.get(id).is_some_and(|given| *given),
                Some(Copied::No | Copied::InPlace) => false,
            };
            if made {
                continue;
            }
            let to = Shared(all[id][cells.clone()].as_mut_ptr());
            let from = unsafe { std::slice::from_raw_parts(at(buf).add(cells.start).cast_const(), cells.len()) };
            workshop.crew.each(cells.len().div_ceil(PIECE), &|p| {
                let from = &from[p * PIECE..from.len().min((p + 1) * PIECE)];
                // Pieces do not overlap.
                let to = unsafe { std::slice::from_raw_parts_mut(to.get().add(p * PIECE), from.len()) };
                widely(
                    #[inline(always)]
                    || to.iter_mut().zip(from).for_each(|(t, f)| *t = *f as f32),
                );
            });
        }
    }
}

/// Numbers of which several threads write different ones.
struct Shared(*mut f32);

unsafe impl Sync for Shared {}

impl Shared {
    fn get(&self) -> *mut f32 {
        self.0
    }
}

impl Workshop {
    /// The parts that threads take of a product: rows and columns, and where they begin. Cut is the longer side of the result, so
    /// that fewer cells are read again.
    fn parts([m, n]: [usize; 2]) -> impl Fn(usize) -> [usize; 4] {
        let each = m.max(n).div_ceil(PIECES).next_multiple_of(WIDTH);
        let cut = move |all: usize, p: usize| (all.min(p * each), all.min((p + 1) * each) - all.min(p * each));
        move |p| {
            let ((i, rows), (j, cols)) = if n > m { ((0, m), cut(n, p)) } else { (cut(m, p), (0, n)) };
            [i, rows, j, cols]
        }
    }

    /// # Safety
    /// As for [`run`].
    unsafe fn double(&self, [m, k, n]: [usize; 3], [a, b, c]: [Matrix<f64>; 3], add: bool) {
        let part = Workshop::parts([m, n]);
        self.crew.each(PIECES, &|p| {
            let [i, rows, j, cols] = part(p);
            unsafe { product([rows, k, cols], [a.from(i, 0), b.from(0, j), c.from(i, j)], add) }
        });
    }

    /// A product in single precision, which is stored in `to`, or added, or stays where it is.
    ///
    /// # Safety
    /// As for [`run`].
    unsafe fn single(&self, sizes: [usize; 3], all: [Matrix<f32>; 3], to: Option<Matrix<f64>>, add: bool) {
        let ([m, k, n], [a, b, c]) = (sizes, all);
        let tiles = self.copies.as_ref().and_then(|copies| copies.tiles.as_ref());
        let made = tiles.is_some_and(|tiles| unsafe { tiles.product(&self.crew, sizes, all) });
        if made && to.is_none() {
            return;
        }
        let part = Workshop::parts([m, n]);
        self.crew.each(PIECES, &|p| {
            let [i, rows, j, cols] = part(p);
            unsafe {
                if !made {
                    product([rows, k, cols], [a.from(i, 0), b.from(0, j), c.from(i, j)], false);
                }
                if let Some(to) = to {
                    widen(c.from(i, j), to.from(i, j), [rows, cols], add);
                }
            }
        });
    }
}

/// Store sums in double precision, or add them.
///
/// # Safety
/// Both are matrices of so many rows and columns, with the same order in memory.
unsafe fn widen(from: Matrix<f32>, to: Matrix<f64>, [rows, cols]: [usize; 2], add: bool) {
    let columns = from.by_columns();
    let (outer, inner) = if columns { (cols, rows) } else { (rows, cols) };
    let step = from.steps[usize::from(!columns)];
    for o in 0..outer {
        let (i, j) = if columns { (0, o) } else { (o, 0) };
        unsafe {
            let (from, to) = (from.cell(i, j), to.cell(i, j));
            if step == 1 {
                put(std::slice::from_raw_parts(from, inner), std::slice::from_raw_parts_mut(to, inner), add);
            } else {
                for l in 0..inner {
                    put(&[*from.add(l * step)], std::slice::from_mut(&mut *to.add(l * step)), add);
                }
            }
        }
    }
}

fn put(sums: &[f32], to: &mut [f64], add: bool) {
    widely(
        #[inline(always)]
        || match add {
            true => to.iter_mut().zip(sums).for_each(|(t, s)| *t += f64::from(*s)),
            false => to.iter_mut().zip(sums).for_each(|(t, s)| *t = f64::from(*s)),
        },
    );
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
            copies: Default::default(),
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
            let copies = Default::default();
            let call = ProductCall { sizes: [m, k, n], batch: vec![], operands, steps, copies };
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
