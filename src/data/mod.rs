//! Data in: CSV files, checked against what the model declares, bound to its plates.

pub mod bound;
pub use bound::{Bound, PlateData, Values};
