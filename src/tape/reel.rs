//! The list of backward operations: dfdx's own `OwnedTape`, but kept between steps so that recording does not allocate.

use dfdx::prelude::{Cpu, CpuError, Gradients, Merge, NoneTape, Tape};

type DfdxOp = Box<dyn FnOnce(&mut Gradients<f64, Cpu>) -> Result<(), CpuError>>;

/// One recorded step of the reverse sweep.
pub(super) enum Op {
    /// One of our nodes, by its place in the program.
    Node(usize),
    /// What one of dfdx's operations recorded.
    Dfdx(DfdxOp),
}

/// Operations in the order in which they ran. There is one per [`super::Tape`].
#[derive(Default)]
pub(super) struct Reel {
    pub ops: Vec<Op>,
}

impl Tape<f64, Cpu> for Reel {
    const OWNS_TAPE: bool = true;

    fn add_backward_op<F>(&mut self, operation: F)
    where
        F: 'static + FnOnce(&mut Gradients<f64, Cpu>) -> Result<(), CpuError>,
    {
        self.ops.push(Op::Dfdx(Box::new(operation)));
    }
}

impl Merge<NoneTape> for Reel {
    fn merge(self, _: NoneTape) -> Self {
        self
    }
}

impl Merge<Reel> for Reel {
    fn merge(mut self, mut other: Reel) -> Self {
        // dfdx orders merged tapes by time stamps that are private to it. One tape needs no ordering.
        debug_assert!(self.ops.is_empty() || other.ops.is_empty(), "a program has one tape: two cannot be merged");
        self.ops.append(&mut other.ops);
        self
    }
}
