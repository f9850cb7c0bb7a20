//! Models built by hand, lowered, run by the interpreter and compared with a plain evaluation of the joint and with
//! finite differences.

mod build;
mod derivatives;
mod edges;
mod models;
mod random;
mod walks;
