//! What the form of the log joint shows: sums of products, and what follows from them.

mod collapse;
mod conjugate;
pub mod expand;
mod gaussian;
#[cfg(test)]
mod tests;
mod wishart;
mod work;

pub use collapse::{Left, Structure, Why, print, structure};
pub use work::{Collapsed, How};
