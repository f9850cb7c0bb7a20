//! `vic show MODEL --stage STAGE`: a program as each stage leaves it.

use super::args::{ShowArgs, Stage};
use super::terminal::Terminal;
use super::{ERROR, files};
use crate::driver::{self, Session};
use crate::{check, codegen, derive};

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
        return Some(format!("{:#?}\n", checked.ast));
    }
    if session.diags.has_errors() {
        return None;
    }
    match args.stage {
        Stage::Ast => unreachable!("returned above"),
        Stage::Types => return Some(check::print(&checked.hir)),
        Stage::Joint => {
            let (joint, _) = driver::derive(&mut checked);
            return Some(derive::print(&joint, &checked.hir));
        }
        Stage::Guide => return Some(format!("{}\n", driver::derive(&mut checked).1)),
        Stage::Graph | Stage::Kernels => {}
    }
    let inputs = match files::inputs(&args.inputs) {
        Ok(inputs) => inputs,
        Err(errors) => {
            errors.into_iter().for_each(|d| session.diags.push(d));
            return None;
        }
    };
    if args.stage == Stage::Graph {
        let (_, graph, _) = driver::lower(session, &mut checked, &inputs)?;
        return Some(format!("{graph:#?}\n"));
    }
    let (_, graph, _) = driver::lower(session, &mut checked, &inputs)?;
    Some(codegen::listing(&graph).unwrap_or_else(|why| format!("{why}; the interpreter runs this model\n")))
}
