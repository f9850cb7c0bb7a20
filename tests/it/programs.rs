//! Parsing and checking one program with the library, for every test that judges diagnostics.

use vic::diag::{Diagnostic, Diags, RenderStyle, Severity, render};
use vic::driver;
use vic::source::Sources;

/// What the compiler makes of one program before any data are read.
pub struct Checked {
    pub sources: Sources,
    pub diags: Diags,
}

impl Checked {
    /// Diagnostics in the order in which the user reads them.
    pub fn sorted(&self) -> Vec<&Diagnostic> {
        self.diags.sorted()
    }

    /// Their codes, in that order.
    pub fn codes(&self) -> Vec<&'static str> {
        self.sorted().iter().map(|d| d.code.id).collect()
    }

    pub fn errors(&self) -> Vec<&'static str> {
        self.sorted().iter().filter(|d| d.severity == Severity::Error).map(|d| d.code.id).collect()
    }

    /// As a terminal of 100 columns shows them.
    pub fn rendered(&self) -> String {
        let style = RenderStyle { width: 100, color: false, unicode: true };
        self.sorted().iter().map(|d| render(d, &self.sources, style)).collect::<Vec<_>>().join("\n")
    }
}

pub fn program(name: &str, text: &str) -> Checked {
    let mut session = driver::Session::default();
    driver::check(&mut session, name, text);
    Checked { sources: session.sources, diags: session.diags }
}

/// Check a program, and derive its log joint and guide if nothing is wrong: whether it came so far.
pub fn examined(text: &str) -> bool {
    let mut session = driver::Session::default();
    let mut checked = driver::check(&mut session, "m.vi", text);
    if session.diags.has_errors() {
        return false;
    }
    let (joint, guide) = driver::derive(&mut checked);
    !vic::derive::print(&joint, &checked.hir).is_empty() && !guide.to_string().is_empty()
}
