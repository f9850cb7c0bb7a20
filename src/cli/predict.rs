//! `vic predict MODEL DIR [DATA…]`

use std::path::PathBuf;

use super::args::PredictArgs;
use super::rows::{Loaded, load};
use super::terminal::Terminal;
use super::{ERROR, files};
use crate::diag::counted;
use crate::driver::Session;
use crate::report::{FitReport, TableStyle, listing};
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
    let heading = format!("{} · {rows} · {} of {}\n\n", args.model, counted(made.draws, "draw"), args.fit);
    let report = FitReport { vars: made.shown, draws: made.draws, ..FitReport::default() };
    let style = TableStyle { all: args.all, color: terminal.color_out };
    terminal.print(&(heading + &listing(&report, style, "`--all`, or the draws in `--out FILE`")))
}

fn predict(args: &PredictArgs, session: &mut Session) -> Option<Prediction> {
    let Loaded { checked, fit, fitted, new } = load(session, &args.model, &args.fit, &args.data)?;
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
