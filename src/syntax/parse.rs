//! The door of the front end: text in, tree and diagnostics out. It never fails.

use super::ast::*;
use super::explain::{Place, explain};
use super::grammar::ProgramParser;
use super::layout::{Layout, layout};
use super::problem::Problem;
use crate::diag::Diags;
use crate::source::FileId;
use std::collections::BTreeMap;
use std::convert::Infallible;

/// So many errors are enough for one reading.
const SHOWN: usize = 100;

/// The tree of a file. What does not parse is reported and left out; all else is there.
pub fn parse(file: FileId, text: &str, diags: &mut Diags) -> Ast {
    let Layout { tokens, comments, mut damaged } = layout(file, text, diags);
    damaged.sort_unstable();
    let mut problems = vec![];
    let lexemes = tokens.iter().copied().map(Ok::<_, Infallible>);
    let mut decls = ProgramParser::new().parse(file, &mut problems, lexemes).unwrap_or_else(|error| {
        problems.push(Problem::unexpected(error, 0, text.len(), true));
        vec![]
    });
    let (mut said, mut more) = (vec![], 0);
    let mut broken = vec![];
    // Where failed declarations start, and how far they are indented.
    let mut failed = BTreeMap::new();
    for problem in &problems {
        if let Problem::Unexpected(unexpected) = problem {
            let place = Place::of(file, text, &tokens, unexpected);
            broken.extend(place.declared(unexpected));
            let range = place.range();
            let consequence =
                damaged.get(damaged.partition_point(|d| *d < range.start)).is_some_and(|d| range.contains(d));
            // A line below one that failed, deeper and without a keyword, is the rest of it.
            let rest = place.continued_indent(&failed);
            // What stands in a `with` block is told of line by line.
            if !text[range.start..].starts_with("with ") {
                failed.insert(range.start, rest.unwrap_or_else(|| place.indent()));
            }
            if consequence || rest.is_some() {
                continue;
            }
        }
        match said.len() < SHOWN {
            true => said.push(explain(file, text, &tokens, problem)),
            false => more += 1,
        }
    }
    if let (Some(last), 1..) = (said.last_mut(), more) {
        last.notes.push(format!("{more} further errors of syntax are not shown"));
    }
    said.into_iter().for_each(|d| diags.push(d));
    attach_docs(&mut decls, &comments, text);
    Ast { decls, broken, comments }
}

/// Give each declaration the comment lines directly above it.
fn attach_docs(decls: &mut [Decl], comments: &[Comment], text: &str) {
    for decl in decls {
        let mut top = line_start(text, decl.span.start as usize);
        let above = comments.partition_point(|c| (c.span.end as usize) < top);
        let mut lines = vec![];
        for comment in comments[..above].iter().rev() {
            let start = line_start(text, comment.span.start as usize);
            let next = text[comment.span.end as usize..].find('\n').map(|i| comment.span.end as usize + i + 1);
            if !comment.own_line || next != Some(top) {
                break;
            }
            lines.push(comment.text.as_str());
            top = start;
        }
        lines.reverse();
        decl.doc = (!lines.is_empty()).then(|| lines.join("\n"));
    }
}

fn line_start(text: &str, offset: usize) -> usize {
    text[..offset].rfind('\n').map_or(0, |i| i + 1)
}
