//! The library is right: every form of every distribution, and every function, against quadrature, against values of
//! mpmath and scipy (`tests/reference/library`), against its own draws, and against a user's copy of it.

mod densities;
mod draws;
mod edges;
mod functions;
mod gradients;
mod harness;
mod joint;
mod quadrature;
mod reference_page;
mod truncation;
