//! Printing: results to standard output, what is wrong to standard error.

use std::io::{self, IsTerminal, Write};

use super::{ERROR, OK};
use crate::diag::{Code, Diagnostic, Diags, RenderStyle, Severity, counted, render};
use crate::source::Sources;

/// Where text goes, and how it may look there.
#[derive(Debug)]
pub struct Terminal {
    pub color_out: bool,
    pub color_err: bool,
    width: usize,
}

/// So many diagnostics are shown: nobody reads more.
const SHOWN: usize = 200;

/// Diagnostics are no wider than this, however wide the window is.
const WIDEST: usize = 100;

impl Terminal {
    /// Colour only where a person looks: on a terminal, unless `NO_COLOR` is set (<https://no-color.org>).
    pub fn of_process() -> Terminal {
        let set = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
        let plain = set("NO_COLOR") || std::env::var_os("TERM").is_some_and(|t| t == "dumb");
        let columns = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok());
        Terminal {
            color_out: !plain && io::stdout().is_terminal(),
            color_err: !plain && io::stderr().is_terminal(),
            width: columns.unwrap_or(WIDEST).clamp(40, WIDEST),
        }
    }

    /// Print a result. A reader that has gone (`vic … | head`) is no error.
    pub fn print(&self, text: &str) -> u8 {
        let mut out = io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => OK,
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => OK,
            Err(e) => {
                let d = Code::CANNOT_WRITE.plain(format!("cannot write to standard output: {e}"));
                self.complain(&d.help("see where the output is redirected to"), &Sources::default());
                ERROR
            }
        }
    }

    /// Print one diagnostic.
    pub fn complain(&self, diagnostic: &Diagnostic, sources: &Sources) {
        let style = RenderStyle { width: self.width, color: self.color_err, unicode: true };
        self.note(&render(diagnostic, sources, style));
    }

    /// Print all diagnostics in the order of their places, and how many there are.
    pub fn complain_all(&self, diags: &Diags, sources: &Sources) {
        let mut found = diags.sorted();
        // Of more than that, warnings wait until the errors are mended.
        if found.len() > SHOWN {
            found.sort_by_key(|d| std::cmp::Reverse(d.severity));
        }
        for d in found.iter().take(SHOWN) {
            self.complain(d, sources);
            self.note("\n");
        }
        if let more @ 1.. = found.len().saturating_sub(SHOWN) {
            self.note(&format!("{more} more are not shown; `vic check --format json` lists all\n"));
        }
        if diags.has_errors() {
            let example = diags.list.iter().find(|d| d.severity == Severity::Error).map_or("", |d| d.code.id);
            self.note(&format!("{}; `vic explain {example}` says more\n", counts(diags)));
        }
    }

    /// Text for standard error. If that is closed, nobody wants to know.
    pub fn note(&self, text: &str) {
        _ = io::stderr().lock().write_all(text.as_bytes());
    }
}

/// `2 errors, 1 warning`
pub fn counts(diags: &Diags) -> String {
    let count = |s: Severity, word: &str| {
        let n = diags.list.iter().filter(|d| d.severity == s).count();
        (n > 0).then(|| counted(n, word))
    };
    let parts = [count(Severity::Error, "error"), count(Severity::Warning, "warning")];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "no errors".into() } else { parts.join(", ") }
}
