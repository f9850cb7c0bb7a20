//! Primitive functions of reals: what the operations of the graph compute, one by one and over many lanes.

pub mod contract;
pub mod scalar;
pub mod vector;
mod vector_elementary;
mod vector_gamma;
mod vector_normal;
