//! Rendering of diagnostics through miette: the only place that names it.

use super::Diagnostic;
use crate::source::Sources;

/// How to draw: width in columns, colour or not, Unicode or ASCII.
#[derive(Clone, Copy, Debug)]
pub struct RenderStyle {
    pub width: usize,
    pub color: bool,
    pub unicode: bool,
}

/// The text of one diagnostic, as the user sees it.
pub fn render(diagnostic: &Diagnostic, sources: &Sources, style: RenderStyle) -> String {
    let _ = (sources, style);
    diagnostic.message.clone()
}
