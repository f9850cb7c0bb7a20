//! Text to tree: lexing, parsing, formatting.

pub mod ast;
