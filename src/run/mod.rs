//! Running a graph: the buffers of one thread, the model that inference sees, and the block interpreter, which is the
//! oracle for compiled kernels and serves where there are none.

pub mod interp;
mod model;
pub mod ode;
pub mod sample;
mod trace;
mod workspace;

pub use interp::Cause;
pub use model::{Fed, Model, Reporter};
pub use trace::{NonFinite, is_written, trace_beyond, trace_nonfinite};
pub use workspace::Workspace;
