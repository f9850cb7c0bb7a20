//! `vic show MODEL --stage STAGE`: a program as each stage leaves it.

use super::args::{ShowArgs, Stage};
use super::terminal::Terminal;
use super::{ERROR, files};
use crate::data::Inputs;
use crate::diag::Diagnostic;
use crate::driver::{self, Checked, Session};
use crate::lower::graph::Graph;
use crate::{check, codegen, derive, syntax};

pub fn run(args: &ShowArgs, terminal: &Terminal) -> u8 {
    let mut session = Session::default();
    let text = show(args, &mut session);
    terminal.complain_all(&session.diags, &session.sources);
    match text {
        Some(text) => terminal.print(&text),
        None => ERROR,
    }
}

/// The text of a stage; `None` if the session says why not.
fn show(args: &ShowArgs, session: &mut Session) -> Option<String> {
    let text = match files::model(&args.inputs.model, &args.inputs.data) {
        Ok(text) => text,
        Err(d) => {
            session.diags.push(d);
            return None;
        }
    };
    let mut checked = driver::check(session, &args.inputs.model, &text);
    if args.stage == Stage::Ast {
        // A file with errors has a tree too.
        return Some(syntax::print(&checked.ast));
    }
    if session.diags.has_errors() {
        return None;
    }
    match args.stage {
        Stage::Ast => unreachable!("returned above"),
        Stage::Types => Some(check::print(&checked.hir)),
        Stage::Joint => {
            let (joint, _) = driver::derive(&mut checked);
            Some(derive::print(&joint, &checked.hir))
        }
        Stage::Structure => {
            let sized = (!args.inputs.data.is_empty()).then(|| files::inputs(&args.inputs));
            structure(sized, session, &checked)
        }
        Stage::Guide => Some(driver::guide_text(&mut checked)),
        Stage::Graph => Some(graph(args, session, &mut checked)?.to_string()),
        Stage::Kernels => {
            let graph = graph(args, session, &mut checked)?;
            Some(codegen::listing(&graph).unwrap_or_else(|why| format!("{why}; the interpreter runs this model\n")))
        }
    }
}

/// What integrates out, on these data if there are any.
fn structure(
    inputs: Option<Result<Inputs, Vec<Diagnostic>>>,
    session: &mut Session,
    checked: &Checked,
) -> Option<String> {
    let found = match inputs {
        None => driver::structure(&checked.hir),
        Some(Ok(inputs)) => driver::structure_on(session, &checked.hir, &inputs)?,
        Some(Err(errors)) => {
            errors.into_iter().for_each(|d| session.diags.push(d));
            return None;
        }
    };
    let mut out = derive::structure::print(&found);
    if let (false, Some(line)) =
        (found.left.is_empty() && found.whole.eliminated.is_empty(), driver::closed_forms(&checked.hir))
    {
        out += &format!("{line}\n");
    }
    Some(out)
}

/// The loop nests of the model on its data.
fn graph(args: &ShowArgs, session: &mut Session, checked: &mut Checked) -> Option<Graph> {
    match files::inputs(&args.inputs) {
        Ok(inputs) => Some(driver::lower(session, checked, &inputs)?.1),
        Err(errors) => {
            errors.into_iter().for_each(|d| session.diags.push(d));
            None
        }
    }
}
