//! Text to tree: lexing, layout, parsing, printing.

pub mod ast;
mod build;
mod depth;
pub(crate) mod explain;
mod format;
mod habits;
mod layout;
mod parse;
mod print;
mod problem;
pub mod token;

pub use format::format;
pub use parse::parse;
pub use print::print;

lalrpop_util::lalrpop_mod!(
    #[allow(clippy::all, dead_code, unused_imports, unused_parens)]
    grammar,
    "/grammar/vi.rs"
);
