//! `vic`: a compiler for probabilistic models.
//!
//! ```text
//! .vi text ─ syntax ─► Ast ─ check ─► Hir ─ derive ─► Joint, Guide ─ lower ─► Graph ─ codegen ─► Kernels
//!                                                              data.csv ─ data ─► Bound ─┘          │
//!                                         report ◄─ Fit ◄─ infer ◄─ tape (dfdx, over nodes and kernels)
//! ```

#[cfg(test)]
mod alloc_counter;
pub mod check;
pub mod cli;
pub mod codegen;
pub mod data;
pub mod derive;
pub mod diag;
pub mod driver;
pub mod editor;
pub mod hir;
pub mod imports;
pub mod infer;
pub mod library;
pub mod lower;
pub mod lsp;
pub mod prim;
pub mod report;
pub mod run;
pub mod simulate;
pub mod source;
pub mod syntax;
pub mod tape;
