//! Fitting: estimator × family × optimiser, over a [`Target`].

mod target;
pub use target::{Evaluator, Target};
