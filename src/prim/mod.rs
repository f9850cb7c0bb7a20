//! Primitive functions of reals: what the operations of the graph compute, one by one and over many lanes.

pub mod contract;
pub mod crew;
mod gamma_draw;
mod lanes;
pub mod matrix;
pub mod ode;
pub mod product;
pub mod scalar;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod tiles;
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
#[path = "no_tiles.rs"]
mod tiles;
pub mod vector;
mod vector_elementary;
mod vector_gamma;
mod vector_normal;
mod vector_single;
#[cfg(test)]
mod vector_tests;
