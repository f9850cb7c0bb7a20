//! `vic generate MODEL DIR [FILE]`

use super::args::GenerateArgs;
use super::rows::{Made, hand_out, load, sheet};
use super::terminal::Terminal;
use crate::diag::counted;
use crate::driver::Session;
use crate::driver::rows::{Source, generate};

pub fn run(args: &GenerateArgs, terminal: &Terminal) -> u8 {
    let mut session = Session::default();
    let made = make(args, &mut session);
    hand_out(&args.rows, made, &session, terminal)
}

fn make(args: &GenerateArgs, session: &mut Session) -> Option<Made> {
    let asked = &args.rows;
    let loaded = load(session, &asked.model, &asked.fit, &asked.data)?;
    let hir = &loaded.checked.hir;
    let source =
        Source { hir, fitted: &loaded.fitted, new: &loaded.new, posterior: &loaded.fit.draws, seed: asked.seed };
    let made = generate(&source, args.number.map(|n| n as usize), args.expected, &mut session.diags)?;
    let picture = sheet(&args.sheet, hir, &[&made.columns]);
    let picture = picture.map_err(|d| session.diags.push(d)).ok()?;
    let said = format!("{} generated.\n", counted(made.csv.rows.len(), "row"));
    Some(Made { csv: made.csv, sheet: picture, said })
}
