//! The one integration-test binary.

mod cli;
mod fences;
mod golden;
mod logdensity;
mod posteriors;
mod support;
mod syntax;
