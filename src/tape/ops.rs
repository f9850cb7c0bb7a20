//! dfdx's own operations, for coarse work and for glue: each costs about a microsecond and a few small allocations, so
//! none stands in the inner step of a fit.

use dfdx::prelude::{PutTape, Rank0, ReshapeTo, SumTo, TryAdd, TryMatMul};

use super::{Tape, Var};

impl Tape<'_> {
    /// Elementwise sum of two vectors.
    pub fn add(&mut self, a: Var, b: Var) -> Var {
        let len = self.value(a).len();
        assert_eq!(len, self.value(b).len(), "both vectors have the same length");
        self.dfdx(&[a, b], len, |x, reel| x[0].clone().put_tape(reel).try_add(x[1].clone()).expect("memory"))
    }

    /// Sum of a vector's elements.
    pub fn sum(&mut self, a: Var) -> Var {
        self.dfdx(&[a], 1, |x, reel| x[0].clone().put_tape(reel).sum::<Rank0, _>().reshape_like(&(1,)))
    }

    /// Matrix product of row-major `a` (m × k) and `b` (k × n).
    pub fn matmul(&mut self, a: Var, b: Var, (m, k, n): (usize, usize, usize)) -> Var {
        assert!(self.value(a).len() == m * k && self.value(b).len() == k * n, "sizes agree");
        self.dfdx(&[a, b], m * n, move |x, reel| {
            let a = x[0].clone().put_tape(reel).reshape_like(&(m, k));
            let b = x[1].clone().retaped::<super::Reel>().reshape_like(&(k, n));
            a.try_matmul(b).expect("memory").reshape_like(&(m * n,))
        })
    }
}
