//! Primitive functions of reals: what the operations of the graph compute.

pub mod scalar;
