//! `vic diagnose DIR`

use super::ERROR;
use super::args::DiagnoseArgs;
use super::saved::SavedFit;
use super::terminal::Terminal;
use crate::report::diagnosis;
use crate::source::Sources;

pub fn run(args: &DiagnoseArgs, terminal: &Terminal) -> u8 {
    match SavedFit::read(&args.fit) {
        Ok(fit) => terminal.print(&diagnosis(&fit.json)),
        Err(d) => {
            terminal.complain(&d, &Sources::default());
            ERROR
        }
    }
}
