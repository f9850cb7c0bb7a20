//! The buffers of one thread. Allocated once, so that a run allocates nothing.

use std::sync::Arc;

use crate::lower::graph::{BufId, BufKind, Graph};

/// A cache line, and the widest vector.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Line([f64; LINE]);

const LINE: usize = 8;

/// Every buffer of a graph: its own copies of what a run writes, and the shared fixed numbers.
pub struct Workspace {
    /// What a run writes, buffers one after the other, each from the start of a line.
    own: Vec<Line>,
    /// Blocks of lanes for the kernels, grown on the first run.
    lanes: Vec<Line>,
    /// Keeps the fixed numbers alive that `table` points to.
    fixed: Vec<Fixed>,
    /// The address of each buffer by `BufId`, then that of `lanes`.
    table: Vec<*mut u8>,
    lengths: Vec<usize>,
    theta: Option<BufId>,
    grad: Option<BufId>,
    log_joint: Option<BufId>,
}

#[derive(Clone)]
enum Fixed {
    Numbers(Arc<[f64]>),
    Positions(Arc<[u32]>),
    Own(usize),
}

// The pointers of `table` lead into `own` and `lanes`, which move with the workspace without moving on the heap, and into
// `fixed`, which nobody writes.
unsafe impl Send for Workspace {}

impl Workspace {
    pub fn new(graph: &Graph) -> Workspace {
        let mut lines = 0;
        let mut fixed = Vec::with_capacity(graph.buffers.len());
        for buffer in &graph.buffers {
            fixed.push(match &buffer.kind {
                BufKind::Data(numbers) => Fixed::Numbers(numbers.clone()),
                BufKind::Index(positions) => Fixed::Positions(positions.clone()),
                BufKind::Input | BufKind::Scratch { .. } => {
                    let first = lines;
                    lines += buffer.len.div_ceil(LINE).max(1);
                    Fixed::Own(first)
                }
            });
        }
        let mut own = vec![Line([0.0; LINE]); lines];
        let table = (fixed.iter())
            .map(|f| match f {
                Fixed::Numbers(numbers) => numbers.as_ptr() as *mut u8,
                Fixed::Positions(positions) => positions.as_ptr() as *mut u8,
                // Derived from `own` as a whole, so that every line may be reached through it.
                Fixed::Own(first) => own.as_mut_ptr().wrapping_add(*first).cast(),
            })
            .chain([std::ptr::null_mut()])
            .collect();
        let lengths = graph.buffers.iter().map(|b| b.len).collect();
        let (theta, grad, log_joint) = (graph.theta, graph.grad, graph.log_joint);
        Workspace { own, lanes: vec![], fixed, table, lengths, theta, grad, log_joint }
    }

    /// Make room for `numbers` of lane scratch; does nothing when there is.
    pub(crate) fn reserve_lanes(&mut self, numbers: usize) {
        if self.lanes.len() * LINE < numbers {
            self.lanes = vec![Line([0.0; LINE]); numbers.div_ceil(LINE)];
            *self.table.last_mut().expect("the table ends with the lanes") = self.lanes.as_mut_ptr().cast();
        }
    }

    /// The addresses that kernels take.
    pub(crate) fn table(&mut self) -> *const *mut u8 {
        self.table.as_ptr()
    }

    /// The unconstrained latents, to be set before a run.
    pub fn theta_mut(&mut self) -> &mut [f64] {
        match self.theta {
            Some(id) => self.buffer_mut(id),
            None => &mut [],
        }
    }

    /// d log joint / d theta, after a gradient run.
    pub fn grad(&self) -> &[f64] {
        self.grad.map_or(&[], |id| self.buffer(id))
    }

    /// Theta, and its slopes after a gradient run.
    pub fn params(&mut self) -> (&mut [f64], &mut [f64]) {
        let [theta, slopes] = [self.theta, self.grad].map(|id| match id {
            Some(id) => std::ptr::from_mut(self.buffer_mut(id)),
            None => std::ptr::from_mut(&mut []),
        });
        // Two buffers, which do not overlap.
        unsafe { (&mut *theta, &mut *slopes) }
    }

    /// The log joint, after a value or gradient run.
    pub fn log_joint(&self) -> f64 {
        self.log_joint.map_or(0.0, |id| self.buffer(id)[0])
    }

    /// The numbers of a buffer; none for an index buffer.
    pub fn buffer(&self, id: BufId) -> &[f64] {
        let i = id.0 as usize;
        match &self.fixed[i] {
            Fixed::Numbers(numbers) => numbers,
            Fixed::Positions(_) => &[],
            // Within `own`: the lines were counted from these lengths.
            Fixed::Own(_) => unsafe { std::slice::from_raw_parts(self.table[i].cast(), self.lengths[i]) },
        }
    }

    /// The numbers of a buffer that runs write; none for a fixed one.
    pub fn buffer_mut(&mut self, id: BufId) -> &mut [f64] {
        let i = id.0 as usize;
        match &self.fixed[i] {
            Fixed::Own(_) => unsafe { std::slice::from_raw_parts_mut(self.table[i].cast(), self.lengths[i]) },
            Fixed::Numbers(_) | Fixed::Positions(_) => &mut [],
        }
    }

    /// The entries of an index buffer, to be changed: from the first time on the workspace has its own copy.
    pub fn positions_mut(&mut self, id: BufId) -> &mut [u32] {
        let i = id.0 as usize;
        match &mut self.fixed[i] {
            Fixed::Positions(positions) => {
                let own = Arc::make_mut(positions);
                self.table[i] = own.as_mut_ptr().cast();
                own
            }
            Fixed::Numbers(_) | Fixed::Own(_) => &mut [],
        }
    }

    /// The entries of an index buffer; none for others.
    pub fn positions(&self, id: BufId) -> &[u32] {
        match &self.fixed[id.0 as usize] {
            Fixed::Positions(positions) => positions,
            Fixed::Numbers(_) | Fixed::Own(_) => &[],
        }
    }
}

impl Clone for Workspace {
    fn clone(&self) -> Workspace {
        let mut own = self.own.clone();
        let mut table = self.table.clone();
        for (entry, f) in table.iter_mut().zip(&self.fixed) {
            if let Fixed::Own(first) = f {
                *entry = own.as_mut_ptr().wrapping_add(*first).cast();
            }
        }
        *table.last_mut().expect("the table ends with the lanes") = std::ptr::null_mut();
        Workspace { own, lanes: vec![], fixed: self.fixed.clone(), table, lengths: self.lengths.clone(), ..*self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lower::graph::Buffer;

    #[test]
    fn buffers_are_apart_and_aligned() {
        let buffer = |len, kind| Buffer { name: String::new(), len, kind };
        let graph = Graph {
            buffers: vec![
                buffer(3, BufKind::Data([1.0, 2.0, 3.0].into())),
                buffer(9, BufKind::Input),
                buffer(1, BufKind::Scratch { zeroed: true }),
                buffer(2, BufKind::Index([0, 1].into())),
            ],
            theta: Some(BufId(1)),
            grad: Some(BufId(2)),
            ..Graph::default()
        };
        let mut ws = Workspace::new(&graph);
        ws.theta_mut().fill(7.0);
        assert_eq!(ws.grad(), [0.0]);
        assert_eq!(ws.buffer(BufId(0)), [1.0, 2.0, 3.0]);
        assert_eq!(ws.positions(BufId(3)), [0, 1]);
        assert!(ws.buffer(BufId(1)).as_ptr().addr().is_multiple_of(64));
        let copy = ws.clone();
        ws.theta_mut().fill(8.0);
        assert_eq!(copy.buffer(BufId(1)), [7.0; 9]);
    }
}
