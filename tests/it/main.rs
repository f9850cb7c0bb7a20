//! The one integration-test binary.

mod alloc;
mod attacks;
mod censored;
mod chains;
mod cli;
mod closed_forms;
mod fences;
mod format;
mod fuzz;
mod golden;
mod kernels;
mod library;
mod logdensity;
mod matrices;
mod missing;
mod models;
mod mutations;
mod nonfinite;
mod pages;
mod posteriors;
mod programs;
mod reproducible;
mod simulate;
mod support;
mod syntax;
mod transforms;
