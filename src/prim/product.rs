//! Products of matrices that lie anywhere in memory, by faer's blocked kernels.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

use crate::lower::graph::{Access, BufId, ProductCall};

/// Run a call; `at` gives the address of a buffer. Results have the same bits whatever else runs.
///
/// # Safety
/// The buffers hold every cell that the call's operands reach, and the one that it writes overlaps no other.
pub unsafe fn run(call: &ProductCall, at: impl Fn(BufId) -> *mut f64) {
    let [m, k, n] = call.sizes;
    for cell in 0..call.batch.iter().product::<usize>() {
        let place = |i: usize| {
            let operand = &call.operands[i];
            let (mut rest, mut offset) = (cell, operand.offset);
            for (size, stride) in call.batch.iter().zip(&operand.strides) {
                offset += stride * (rest % size);
                rest /= size;
            }
            // Within the buffer, by the caller's promise.
            unsafe { at(operand.buf.expect("a product has all its operands")).add(offset) }
        };
        let steps = |i: usize| call.steps[i].map(|s| s as isize);
        let ([am, ak], [bk, bn], [cm, cn]) = (steps(0), steps(1), steps(2));
        let accum = if call.operands[2].access == Access::Add { Accum::Add } else { Accum::Replace };
        unsafe {
            let a = MatRef::from_raw_parts(place(0).cast_const(), m, k, am, ak);
            let b = MatRef::from_raw_parts(place(1).cast_const(), k, n, bk, bn);
            let c = MatMut::from_raw_parts_mut(place(2), m, n, cm, cn);
            matmul(c, accum, a, b, 1.0, Par::Seq);
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
}
