//! Running a graph: the block interpreter, which is the oracle for compiled kernels and serves where there are none.

pub mod interp;
pub mod sample;
mod trace;

pub use trace::{NonFinite, trace_nonfinite};
