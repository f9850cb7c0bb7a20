//! `vic explain CODE`: the page of a diagnostic; without a code, the list of all.

use super::ERROR;
use super::args::ExplainArgs;
use super::terminal::Terminal;
use crate::diag::{ALL, Code, nearest};
use crate::source::Sources;

pub fn run(args: &ExplainArgs, terminal: &Terminal) -> u8 {
    let Some(asked) = &args.code else {
        return terminal.print(&ALL.iter().map(|c| format!("{}  {}\n", c.id, c.title)).collect::<String>());
    };
    // `v301`, `301` and `0301` mean V0301.
    let digits = asked.trim_start_matches(['v', 'V']);
    let id = format!("V{digits:0>4}");
    match ALL.iter().find(|c| c.id == id) {
        Some(code) => terminal.print(&format!("{}\n", code.page.trim_end())),
        None => {
            let d = Code::UNKNOWN_CODE.plain(format!("there is no code `{asked}`"));
            let d = match nearest(&id, ALL.iter().map(|c| c.id)) {
                Some(near) => {
                    d.help(format!("did you mean {near}? Codes run from {} to {}", ALL[0].id, ALL[ALL.len() - 1].id))
                }
                None => d.help("a code is a V and four digits, as it stands in a message: `vic explain V0301`"),
            };
            terminal.complain(&d, &Sources::default());
            ERROR
        }
    }
}
