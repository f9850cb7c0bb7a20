//! `vic simulate MODEL [DATA…]`

use std::path::{Path, PathBuf};

use super::args::{Inputs as Given, SimulateArgs};
use super::terminal::Terminal;
use super::{ERROR, files};
use crate::diag::{Code, Diagnostic};
use crate::driver::{self, Session};
use crate::simulate::{Csv, Rows, Simulation, number, simulate};

pub fn run(args: &SimulateArgs, terminal: &Terminal) -> u8 {
    let mut session = Session::default();
    let made = make(args, &mut session);
    terminal.complain_all(&session.diags, &session.sources);
    let Some(made) = made else { return ERROR };
    let truth = truth(&made);
    let mut targets: Vec<(PathBuf, String)> = vec![];
    match (&args.out, &args.csv) {
        (Some(dir), _) => {
            targets
                .extend(made.tables.iter().map(|(name, csv)| (Path::new(dir).join(format!("{name}.csv")), csv.text())));
            targets.extend(made.json.iter().map(|text| (Path::new(dir).join("data.json"), text.clone())));
            targets.push((Path::new(dir).join("truth.csv"), truth.text()));
        }
        (None, Some(file)) => targets.extend(made.tables.iter().map(|(_, csv)| (PathBuf::from(file), csv.text()))),
        (None, None) => {}
    }
    if let Err(d) = files::write_all(&targets, args.force) {
        terminal.complain(&d, &session.sources);
        return ERROR;
    }
    if args.out.is_some() {
        let names: Vec<String> = targets.iter().map(|(p, _)| p.display().to_string()).collect();
        return terminal.print(&format!("wrote {}\n", names.join(", ")));
    }
    terminal.print(&truth.text())
}

fn make(args: &SimulateArgs, session: &mut Session) -> Option<Simulation> {
    let mut or_say = |d: Diagnostic| session.diags.push(d);
    let text = files::model(&args.model, &args.data).map_err(&mut or_say).ok()?;
    let given = Given { model: args.model.clone(), data: args.data.clone(), set: args.set.clone() };
    let inputs = files::inputs(&given);
    let checked = driver::check(session, &args.model, &text);
    let inputs = match inputs {
        Ok(inputs) => inputs,
        Err(errors) => {
            errors.into_iter().for_each(|d| session.diags.push(d));
            return None;
        }
    };
    if args.csv.is_some() && checked.hir.tables.len() != 1 && !session.diags.has_errors() {
        let n = checked.hir.tables.len();
        session.diags.push(
            Code::CANNOT_WRITE
                .plain(format!("`--csv`: the model has {n} tables, and one file holds one"))
                .help("write each to a file of its own: `--out DIR`"),
        );
    }
    if session.diags.has_errors() {
        return None;
    }
    let made = simulate(&checked.hir, &inputs, &Rows::asked(&args.rows), args.seed, &mut session.diags)?;
    if args.csv.is_some() && made.json.is_some() {
        session.diags.push(
            Code::CANNOT_WRITE
                .plain("`--csv`: the model observes values beside its table, and one file does not hold both")
                .help("write each to a file of its own: `--out DIR`"),
        );
        return None;
    }
    Some(made)
}

/// The latents that the data were made from.
fn truth(made: &Simulation) -> Csv {
    let row = |(name, x): &(String, f64)| vec![name.clone(), number(*x)];
    Csv { header: vec!["name".into(), "value".into()], rows: made.truth.iter().map(row).collect() }
}
