//! Operations on whole matrices, a batch of them at a time, with their derivatives. Nothing outside this folder names
//! faer. Matrices are stored by columns and lower triangles in full squares; of symmetric ones only the lower half is read.
//!
//! Reverse mode of the Cholesky factor: Murray (2016), "Differentiation of the Cholesky decomposition", arXiv 1602.07527.

mod tangent;

use std::mem::MaybeUninit;

use faer::dyn_stack::MemStack;
use faer::linalg::cholesky::llt::factor;
use faer::linalg::matmul::matmul;
use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::linalg::triangular_solve::{solve_lower_triangular_in_place, solve_upper_triangular_in_place};
use faer::{Accum, MatMut, MatRef, Par, Spec};

use super::vector::leave_wide_registers;
use crate::lower::graph::{BufId, MatrixCall, MatrixOp};

/// Up to this size plain loops are faster than blocked ones.
const SMALL: usize = 16;
/// Columns of a block in the derivative of the Cholesky factor.
const BLOCK: usize = 32;

/// How many numbers of scratch a call takes.
pub fn work(op: MatrixOp, n: usize, columns: usize) -> usize {
    match op {
        MatrixOp::Cholesky => {
            let request = factor::cholesky_in_place_scratch::<f64>(n, Par::Seq, Spec::default());
            // Room for the alignment too.
            request.unaligned_bytes_required().div_ceil(8) + 8
        }
        MatrixOp::CholeskyBack => n * n,
        MatrixOp::Solve { .. } => 0,
        MatrixOp::SolveBack { .. } => n * columns,
        MatrixOp::CholeskyTangent | MatrixOp::SolveTangent { .. } => 0,
        MatrixOp::CholeskyBackTangent => 2 * n * n,
        MatrixOp::SolveBackTangent { .. } => 2 * n * columns,
    }
}

/// Run a call; `at` gives the address of a buffer.
///
/// # Safety
/// The buffers hold every cell that the call's operands reach, and no two of those it writes overlap.
pub unsafe fn run(call: &MatrixCall, at: impl Fn(BufId) -> *mut f64) {
    let mut places = [std::ptr::null_mut(); MOST_OPERANDS];
    let work = call.work.map_or(std::ptr::null_mut(), &at);
    for cell in 0..call.batch.iter().product() {
        for (place, operand) in places.iter_mut().zip(&call.operands) {
            let (mut rest, mut offset) = (cell, operand.offset);
            for (size, stride) in call.batch.iter().zip(&operand.strides) {
                offset += stride * (rest % size);
                rest /= size;
            }
            // Within the buffer, by the caller's promise.
            *place = operand.buf.map_or(std::ptr::null_mut(), |b| unsafe { at(b).add(offset) });
        }
        unsafe { one(call.op, call.n, call.columns, &places, work, call.work_len) };
    }
}

/// Operands of a call, at most.
const MOST_OPERANDS: usize = 8;

unsafe fn one(op: MatrixOp, n: usize, columns: usize, p: &[*mut f64], work: *mut f64, work_len: usize) {
    unsafe {
        match op {
            MatrixOp::Cholesky => {
                let (a, l) = (square(p[0], n), square_mut(p[1], n));
                l.copy_from_slice(a);
                let scratch = std::slice::from_raw_parts_mut(work.cast::<MaybeUninit<u8>>(), work_len * 8);
                if !factor_in_place(l, n, scratch) {
                    l.fill(f64::NAN);
                }
                for j in 1..n {
                    l[j * n..j * n + j].fill(0.0);
                }
            }
            MatrixOp::CholeskyBack => {
                let (l, dl, da) = (square(p[0], n), square(p[1], n), square_mut(p[2], n));
                let w = square_mut(work, n);
                w.copy_from_slice(dl);
                cholesky_back(l, w, n);
                for j in 0..n {
                    for i in j..n {
                        da[i + j * n] += w[i + j * n];
                    }
                }
            }
            MatrixOp::Solve { transposed } => {
                let (l, b, x) = (square(p[0], n), block(p[1], n, columns), block_mut(p[2], n, columns));
                x.copy_from_slice(b);
                solve(l, x, n, columns, transposed);
            }
            MatrixOp::SolveBack { transposed } => {
                let (l, x, dx) = (square(p[0], n), block(p[1], n, columns), block(p[2], n, columns));
                // What arrives at the right side is what leaves it, through the transpose.
                let db = block_mut(work, n, columns);
                db.copy_from_slice(dx);
                solve(l, db, n, columns, !transposed);
                if !p[3].is_null() {
                    let dl = square_mut(p[3], n);
                    if transposed {
                        outer(dl, x, db, n, columns)
                    } else {
                        outer(dl, db, x, n, columns)
                    };
                }
                if !p[4].is_null() {
                    block_mut(p[4], n, columns).iter_mut().zip(&*db).for_each(|(d, v)| *d += v);
                }
            }
            MatrixOp::CholeskyTangent => {
                tangent::cholesky(square(p[0], n), square(p[1], n), square_mut(p[2], n), n);
            }
            MatrixOp::CholeskyBackTangent => {
                let (w, dw) = square_mut_pair(work, n);
                w.copy_from_slice(square(p[2], n));
                dw.copy_from_slice(square(p[3], n));
                tangent::cholesky_back(square(p[0], n), square(p[1], n), w, dw, n);
                let out = square_mut(p[4], n);
                for j in 0..n {
                    for i in j..n {
                        out[i + j * n] += dw[i + j * n];
                    }
                }
            }
            MatrixOp::SolveTangent { transposed } => {
                let (l, x, out) = (square(p[0], n), block(p[2], n, columns), block_mut(p[4], n, columns));
                match p[3].is_null() {
                    true => out.fill(0.0),
                    false => out.copy_from_slice(block(p[3], n, columns)),
                }
                if !p[1].is_null() {
                    tangent::subtract_product(square(p[1], n), x, out, n, transposed);
                }
                solve(l, out, n, columns, transposed);
            }
            MatrixOp::SolveBackTangent { transposed } => {
                let (l, x) = (square(p[0], n), block(p[2], n, columns));
                let (db, ddb) = (block_mut(work, n, columns), block_mut(work.add(n * columns), n, columns));
                db.copy_from_slice(block(p[4], n, columns));
                solve(l, db, n, columns, !transposed);
                match p[5].is_null() {
                    true => ddb.fill(0.0),
                    false => ddb.copy_from_slice(block(p[5], n, columns)),
                }
                if !p[1].is_null() {
                    tangent::subtract_product(square(p[1], n), db, ddb, n, !transposed);
                }
                solve(l, ddb, n, columns, !transposed);
                if !p[6].is_null() {
                    let out = square_mut(p[6], n);
                    let mut add = |b: &[f64], x: &[f64]| match transposed {
                        true => outer(out, x, b, n, columns),
                        false => outer(out, b, x, n, columns),
                    };
                    add(ddb, x);
                    if !p[3].is_null() {
                        add(db, block(p[3], n, columns));
                    }
                }
                if !p[7].is_null() {
                    block_mut(p[7], n, columns).iter_mut().zip(&*ddb).for_each(|(d, v)| *d += v);
                }
            }
        }
    }
}

unsafe fn square<'a>(p: *mut f64, n: usize) -> &'a [f64] {
    unsafe { std::slice::from_raw_parts(p, n * n) }
}

unsafe fn square_mut<'a>(p: *mut f64, n: usize) -> &'a mut [f64] {
    unsafe { std::slice::from_raw_parts_mut(p, n * n) }
}

unsafe fn square_mut_pair<'a>(p: *mut f64, n: usize) -> (&'a mut [f64], &'a mut [f64]) {
    unsafe { (square_mut(p, n), square_mut(p.add(n * n), n)) }
}

unsafe fn block<'a>(p: *mut f64, n: usize, columns: usize) -> &'a [f64] {
    unsafe { std::slice::from_raw_parts(p, n * columns) }
}

unsafe fn block_mut<'a>(p: *mut f64, n: usize, columns: usize) -> &'a mut [f64] {
    unsafe { std::slice::from_raw_parts_mut(p, n * columns) }
}

/// The Cholesky factor of a symmetric matrix; `false` if it is not positive definite. The upper half stays as it was.
pub fn cholesky(a: &mut [f64], n: usize) -> bool {
    let mut scratch = vec![0.0; work(MatrixOp::Cholesky, n, 1)];
    // Plain bytes.
    let bytes =
        unsafe { std::slice::from_raw_parts_mut(scratch.as_mut_ptr().cast::<MaybeUninit<u8>>(), scratch.len() * 8) };
    factor_in_place(a, n, bytes)
}

fn factor_in_place(a: &mut [f64], n: usize, scratch: &mut [MaybeUninit<u8>]) -> bool {
    if n <= SMALL {
        return small_cholesky(a, n);
    }
    let matrix = MatMut::from_column_major_slice_mut(a, n, n);
    let stack = MemStack::new(scratch);
    let done = factor::cholesky_in_place(matrix, Default::default(), Par::Seq, stack, Spec::default());
    leave_wide_registers();
    // A NaN anywhere reaches the last pivot.
    done.is_ok() && (0..n).all(|i| a[i + i * n].is_finite())
}

fn small_cholesky(a: &mut [f64], n: usize) -> bool {
    for j in 0..n {
        for k in 0..j {
            let w = a[j + k * n];
            for i in j..n {
                a[i + j * n] -= w * a[i + k * n];
            }
        }
        let d = a[j + j * n];
        if d.is_nan() || d <= 0.0 || !d.is_finite() {
            return false;
        }
        let d = d.sqrt();
        a[j + j * n] = d;
        for i in j + 1..n {
            a[i + j * n] /= d;
        }
    }
    true
}

/// `x ← L⁻¹ x`, or `L⁻ᵀ x`, for every column of x.
pub fn solve(l: &[f64], x: &mut [f64], n: usize, columns: usize, transposed: bool) {
    if n <= SMALL || columns == 1 {
        for x in x.chunks_exact_mut(n) {
            if transposed { small_solve_transposed(l, x, n) } else { small_solve(l, x, n) }
        }
        return;
    }
    let l = MatRef::from_column_major_slice(l, n, n);
    let x = MatMut::from_column_major_slice_mut(x, n, columns);
    match transposed {
        true => solve_upper_triangular_in_place(l.transpose(), x, Par::Seq),
        false => solve_lower_triangular_in_place(l, x, Par::Seq),
    }
    leave_wide_registers();
}

fn small_solve(l: &[f64], x: &mut [f64], n: usize) {
    for j in 0..n {
        let v = x[j] / l[j + j * n];
        x[j] = v;
        for (x, l) in x[j + 1..].iter_mut().zip(&l[j * n + j + 1..(j + 1) * n]) {
            *x -= v * l;
        }
    }
}

fn small_solve_transposed(l: &[f64], x: &mut [f64], n: usize) {
    for j in (0..n).rev() {
        let known: f64 = x[j + 1..].iter().zip(&l[j * n + j + 1..(j + 1) * n]).map(|(x, l)| x * l).sum();
        x[j] = (x[j] - known) / l[j + j * n];
    }
}

/// `target -= a bᵀ`, the lower half.
fn outer(target: &mut [f64], a: &[f64], b: &[f64], n: usize, columns: usize) {
    if n > SMALL && columns > 1 {
        triangular::matmul(
            MatMut::from_column_major_slice_mut(target, n, n),
            BlockStructure::TriangularLower,
            Accum::Add,
            MatRef::from_column_major_slice(a, n, columns),
            BlockStructure::Rectangular,
            MatRef::from_column_major_slice(b, n, columns).transpose(),
            BlockStructure::Rectangular,
            -1.0,
            Par::Seq,
        );
        leave_wide_registers();
        return;
    }
    for (a, b) in a.chunks_exact(n).zip(b.chunks_exact(n)) {
        for j in 0..n {
            for (t, a) in target[j * n + j..(j + 1) * n].iter_mut().zip(&a[j..]) {
                *t -= a * b[j];
            }
        }
    }
}

/// From the derivative by the factor, in the lower half of `d`, to that by the lower half of the matrix, in place.
pub fn cholesky_back(l: &[f64], d: &mut [f64], n: usize) {
    if n <= SMALL {
        return small_cholesky_back(l, d, n, 0, n);
    }
    let mut end = n;
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        let (width, below) = (end - start, n - end);
        // Blocks of the factor: R D are the rows of this block, left of the diagonal and on it; B C those below.
        let part = |row: usize, column: usize, rows: usize, columns: usize| unsafe {
            MatRef::from_raw_parts(l.as_ptr().add(row + column * n), rows, columns, 1, n as isize)
        };
        let (r, b, c) = (part(start, 0, width, start), part(end, 0, below, start), part(end, start, below, width));
        let base = d.as_mut_ptr();
        // The blocks do not overlap.
        let part_mut = |row: usize, column: usize, rows: usize, columns: usize| unsafe {
            MatMut::from_raw_parts_mut(base.add(row + column * n), rows, columns, 1, n as isize)
        };
        if below > 0 {
            let diagonal = part(start, start, width, width);
            solve_upper_triangular_in_place(
                diagonal.transpose(),
                part_mut(end, start, below, width).transpose_mut(),
                Par::Seq,
            );
            let dc = unsafe { MatRef::from_raw_parts(base.add(end + start * n), below, width, 1, n as isize) };
            triangular::matmul(
                part_mut(start, start, width, width),
                BlockStructure::TriangularLower,
                Accum::Add,
                dc.transpose(),
                BlockStructure::Rectangular,
                c,
                BlockStructure::Rectangular,
                -1.0,
                Par::Seq,
            );
            if start > 0 {
                matmul(part_mut(end, 0, below, start), Accum::Add, dc, r, -1.0, Par::Seq);
                matmul(part_mut(start, 0, width, start), Accum::Add, dc.transpose(), b, -1.0, Par::Seq);
            }
        }
        leave_wide_registers();
        small_cholesky_back(l, d, n, start, end);
        if start > 0 {
            let mut both = [0.0; BLOCK * BLOCK];
            for j in 0..width {
                for i in j..width {
                    let v = d[start + i + (start + j) * n];
                    both[i + j * width] += v;
                    both[j + i * width] += v;
                }
            }
            let both = MatRef::from_column_major_slice(&both[..width * width], width, width);
            let base = d.as_mut_ptr();
            let dr = unsafe { MatMut::from_raw_parts_mut(base.add(start), width, start, 1, n as isize) };
            matmul(dr, Accum::Add, both, r, -1.0, Par::Seq);
            leave_wide_registers();
        }
        end = start;
    }
}

/// The same for the diagonal block of rows `start..end`, whose columns begin at `start`.
fn small_cholesky_back(l: &[f64], d: &mut [f64], n: usize, start: usize, end: usize) {
    for j in (start..end).rev() {
        let pivot = l[j + j * n];
        let mut dd = d[j + j * n];
        for i in j + 1..end {
            let v = d[i + j * n] / pivot;
            d[i + j * n] = v;
            dd -= v * l[i + j * n];
        }
        d[j + j * n] = dd / (2.0 * pivot);
        for k in start..j {
            let r = l[j + k * n];
            let mut sum = dd / pivot * r;
            for i in j + 1..end {
                let v = d[i + j * n];
                sum += v * l[i + k * n];
                d[i + k * n] -= v * r;
            }
            d[j + k * n] -= sum;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(seed: u64, len: usize) -> Vec<f64> {
        (0..len).map(|i| ((i as f64 * 0.7391 + seed as f64) * 12.9898).sin()).collect()
    }

    fn positive(n: usize) -> Vec<f64> {
        let g = numbers(1, n * n);
        let mut a = vec![0.0; n * n];
        for i in 0..n {
            for j in 0..n {
                a[i + j * n] = (0..n).map(|k| g[i + k * n] * g[j + k * n]).sum::<f64>() / n as f64;
            }
            a[i + i * n] += 0.5;
        }
        a
    }

    fn factor(a: &[f64], n: usize) -> Vec<f64> {
        let mut l = a.to_vec();
        assert!(cholesky(&mut l, n));
        (1..n).for_each(|j| l[j * n..j * n + j].fill(0.0));
        l
    }

    /// Sums of n products of size 1: 1e-12 leaves a digit at the largest n.
    #[test]
    fn the_factor_gives_back_the_matrix() {
        for n in [1, 2, 5, 16, 17, 40, 129] {
            let a = positive(n);
            let l = factor(&a, n);
            for i in 0..n {
                for j in 0..=i {
                    let back: f64 = (0..n).map(|k| l[i + k * n] * l[j + k * n]).sum();
                    assert!((back - a[i + j * n]).abs() < 1e-12, "{n} {i} {j}");
                }
            }
        }
    }

    #[test]
    fn an_indefinite_matrix_has_no_factor() {
        for n in [3, 40] {
            let mut a = positive(n);
            a[1 + n] = -1.0;
            assert!(!cholesky(&mut a, n));
            let mut a = positive(n);
            a[2 + n] = f64::NAN;
            assert!(!cholesky(&mut a, n));
        }
    }

    /// The blocked way, the unblocked one and differences agree: for f = Σ w·L, df along a direction.
    #[test]
    fn the_derivative_of_the_factor() {
        for n in [1, 3, 16, 31, 33, 70] {
            let (a, w, direction) = (positive(n), numbers(2, n * n), numbers(3, n * n));
            let f = |h: f64| {
                let moved: Vec<f64> = a.iter().zip(&direction).map(|(a, d)| a + h * d).collect();
                let l = factor(&moved, n);
                (0..n).flat_map(|j| (j..n).map(move |i| i + j * n)).map(|c| w[c] * l[c]).sum::<f64>()
            };
            let h = 1e-4;
            let by_difference = (8.0 * (f(h) - f(-h)) - (f(2.0 * h) - f(-2.0 * h))) / (12.0 * h);
            let l = factor(&a, n);
            let (mut d, mut plain) = (w.clone(), w.clone());
            cholesky_back(&l, &mut d, n);
            small_cholesky_back(&l, &mut plain, n, 0, n);
            let mut sum = 0.0;
            for j in 0..n {
                for i in j..n {
                    assert!((d[i + j * n] - plain[i + j * n]).abs() < 1e-10 * (1.0 + plain[i + j * n].abs()), "{n}");
                    sum += d[i + j * n] * direction[i + j * n];
                }
            }
            assert!((sum - by_difference).abs() < 1e-7 * (1.0 + sum.abs()), "{n}: {sum} is not {by_difference}");
        }
    }

    #[test]
    fn triangular_solves() {
        for n in [1, 4, 16, 40] {
            let l = factor(&positive(n), n);
            for (columns, transposed) in [(1, false), (1, true), (3, false), (3, true)] {
                let b = numbers(4, n * columns);
                let mut x = b.clone();
                solve(&l, &mut x, n, columns, transposed);
                for c in 0..columns {
                    for i in 0..n {
                        let entry = |k: usize| if transposed { l[k + i * n] } else { l[i + k * n] };
                        let back: f64 = (0..n).map(|k| entry(k) * x[k + c * n]).sum();
                        assert!((back - b[i + c * n]).abs() < 1e-11);
                    }
                }
            }
        }
    }
}
