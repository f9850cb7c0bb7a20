//! Data in: CSV files, checked against what the model declares, bound to its plates.

pub mod bound;
mod inputs;

pub use bound::{Bound, PlateData, Values};
pub use inputs::{DataFile, Inputs};
