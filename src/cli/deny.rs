//! `--deny`: warnings that are to be errors.

use clap::Args;

use crate::diag::{ALL, Code, Diagnostic, Severity, nearest};
use crate::driver::Session;

#[derive(Args, Debug)]
pub struct Deny {
    /// Take a warning as an error: its code, or `warnings` for all
    #[arg(long, value_name = "CODE", value_delimiter = ',')]
    deny: Vec<String>,
}

impl Deny {
    /// What is wrong with a code that is not a warning's.
    pub fn misused(&self) -> Option<Diagnostic> {
        let known = |code: &str| code == "warnings" || ALL.iter().any(|c| c.id == code && c.warning);
        let unknown = self.deny.iter().find(|c| !known(c))?;
        let d = match ALL.iter().find(|c| c.id == unknown) {
            Some(_) => Code::UNKNOWN_CODE.plain(format!("{unknown} is an error already")),
            None => Code::UNKNOWN_CODE.plain(format!("there is no warning `{unknown}`")),
        };
        let warnings = ALL.iter().filter(|c| c.warning).map(|c| c.id);
        Some(match nearest(unknown, warnings) {
            Some(near) => d.help(format!("did you mean {near}?")),
            None => d.help("name the code of a warning, such as V1002, or `warnings` for all"),
        })
    }

    /// Make errors of them.
    pub fn apply(&self, session: &mut Session) {
        let denied = |d: &Diagnostic| self.deny.iter().any(|c| c == "warnings" || c == d.code.id);
        for d in session.diags.list.iter_mut().filter(|d| d.severity == Severity::Warning) {
            if denied(d) {
                d.severity = Severity::Error;
            }
        }
    }
}
