//! The one integration-test binary.

mod alloc;
mod cli;
mod closed_forms;
mod fences;
mod golden;
mod kernels;
mod library;
mod logdensity;
mod nonfinite;
mod posteriors;
mod reproducible;
mod support;
mod syntax;
