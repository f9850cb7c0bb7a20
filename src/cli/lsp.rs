//! `vic lsp`: the language server, until the editor says goodbye.

use super::terminal::Terminal;
use super::{ERROR, OK};
use crate::diag::Code;
use crate::lsp;
use crate::source::Sources;

pub fn run(terminal: &Terminal) -> u8 {
    match lsp::serve_stdio() {
        Ok(()) => OK,
        Err(lsp::Failure(why)) => {
            let d = Code::NO_EDITOR.plain(format!("the conversation with the editor broke off: {why}"));
            terminal.complain(&d.help("`vic lsp` is started by an editor; see docs/editors.md"), &Sources::default());
            ERROR
        }
    }
}
