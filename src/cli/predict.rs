//! `vic predict MODEL DIR [DATA…]`

use std::path::PathBuf;

use super::args::PredictArgs;
use super::saved::{SavedFit, other};
use super::terminal::Terminal;
use super::{ERROR, files};
use crate::data::DataFile;
use crate::diag::Diagnostic;
use crate::driver::{self, Session};
use crate::report::{FitReport, TableStyle, listing, sha256};
use crate::simulate::{Prediction, Predictor};

pub fn run(args: &PredictArgs, terminal: &Terminal) -> u8 {
    let mut session = Session::default();
    let made = predict(args, &mut session);
    terminal.complain_all(&session.diags, &session.sources);
    let Some(made) = made else { return ERROR };
    if let Some(file) = &args.out
        && let Err(d) = files::write_all(&[(PathBuf::from(file), made.csv.text())], args.force)
    {
        terminal.complain(&d, &session.sources);
        return ERROR;
    }
    let rows = if args.data.is_empty() { "the fitted rows".to_string() } else { args.data.join(", ") };
    let heading = format!("{} · {rows} · {} draws of {}\n\n", args.model, made.draws, args.fit);
    let report = FitReport { vars: made.shown, draws: made.draws, ..FitReport::default() };
    let style = TableStyle { all: args.all, color: terminal.color_out };
    terminal.print(&(heading + &listing(&report, style, "`--all`, or the draws in `--out FILE`")))
}

fn predict(args: &PredictArgs, session: &mut Session) -> Option<Prediction> {
    let mut or_say = |d: Diagnostic| session.diags.push(d);
    let fit = SavedFit::read(&args.fit).map_err(&mut or_say).ok()?;
    let text = files::model(&args.model, &args.data).map_err(&mut or_say).ok()?;
    let checked = driver::check(session, &args.model, &text);
    if session.diags.has_errors() {
        return None;
    }
    let mut or_say = |d: Diagnostic| session.diags.push(d);
    if fit.hash(&fit.model) != Some(sha256(text.as_bytes()).as_str()) {
        or_say(other(&args.fit, &format!("`{}` is not the model that was fitted", args.model)));
        return None;
    }
    for file in &checked.imports {
        let source = session.sources.get(*file);
        let hash = sha256(source.text.as_bytes());
        if !fit.files.values().any(|h| *h == hash) {
            session.diags.push(other(&args.fit, &format!("`{}`, which the model imports, has changed", source.name)));
            return None;
        }
    }
    let fitted = fit.inputs(&args.fit).map_err(|d| session.diags.push(d)).ok()?;
    let mut new = vec![];
    for argument in &args.data {
        let (table, name) = files::table_and_file(argument);
        let bytes = files::bytes(name).map_err(|d| session.diags.push(d)).ok()?;
        new.push(DataFile { table: table.map(str::to_owned), name: name.to_owned(), bytes });
    }
    let predictor = Predictor {
        hir: &checked.hir,
        fitted: &fitted,
        new: &new,
        posterior: &fit.draws,
        draws: args.draws as usize,
        seed: args.seed,
    };
    predictor.predict(&mut session.diags)
}
