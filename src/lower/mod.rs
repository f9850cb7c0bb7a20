//! From the log joint to loop nests over buffers, and the rewrites on them.

pub mod graph;
