//! `vic impute MODEL DIR FILE`

use super::args::ImputeArgs;
use super::rows::{Made, hand_out, load, put_column, sheet};
use super::terminal::Terminal;
use crate::data::Values;
use crate::diag::counted;
use crate::driver::Session;
use crate::driver::rows::{Holes, Imputed, ImputedColumn, Question, impute};
use crate::hir::{Content, VarKind};
use crate::simulate::{Csv, number, write};

/// Draws behind standard deviations and probabilities.
const DRAWS: usize = 100;

pub fn run(args: &ImputeArgs, terminal: &Terminal) -> u8 {
    let mut session = Session::default();
    let made = make(args, &mut session);
    hand_out(&args.rows, made, &session, terminal)
}

fn make(args: &ImputeArgs, session: &mut Session) -> Option<Made> {
    let asked = &args.rows;
    let loaded = load(session, &asked.model, &asked.fit, &asked.data)?;
    let question = Question { holes: Holes::Columns, ..loaded.question(asked, args.refine) };
    let imputed = impute(&question, args.draws.map_or(DRAWS, |n| n as usize), &mut session.diags)?;
    let holes: usize = imputed.columns.iter().map(|c| c.mask.numbers.iter().filter(|m| **m == 0.0).count()).sum();
    let given: Vec<_> = imputed.columns.iter().map(|c| (c.column, hidden(c))).collect();
    let means: Vec<_> = imputed.columns.iter().map(|c| (c.column, c.means.clone())).collect();
    let picture = sheet(&args.sheet, &imputed.model.hir, &[&given, &means]);
    let picture = picture.map_err(|d| session.diags.push(d)).ok()?;
    let csv = if args.draws.is_some() { copies(&imputed) } else { cells(&imputed) };
    let rows = counted(imputed.labels.len(), "row");
    let said = match holes {
        0 => format!("No cell of {rows} is empty: there is nothing to fill in.\n"),
        _ => format!("{} of {rows} filled in.\n", counted(holes, "cell")),
    };
    Some(Made { csv, sheet: picture, said })
}

/// The column as it was given, with its holes.
fn hidden(c: &ImputedColumn) -> Values {
    let cell = |(x, m): (&f64, &f64)| if *m == 1.0 { *x } else { f64::NAN };
    Values {
        dims: c.means.dims.clone(),
        numbers: c.means.numbers.iter().zip(c.mask.numbers.iter()).map(cell).collect(),
    }
}

/// One row per hole: mean and sd; of a category, one per level with its probability.
fn cells(imputed: &Imputed) -> Csv {
    let header = ["row", "column", "mean", "sd"].map(String::from).to_vec();
    let mut rows = vec![];
    let hir = &imputed.model.hir;
    for c in &imputed.columns {
        let VarKind::Column(column) = &hir.var(c.column).kind else { continue };
        let names = imputed.model.names_in_row(c.column);
        let n = imputed.labels.len();
        for (i, _) in c.mask.numbers.iter().enumerate().filter(|(_, m)| **m == 0.0) {
            let (label, name) = (&imputed.labels[i % n], &names[i / n]);
            let draws: Vec<f64> = c.draws.iter().map(|d| d.numbers[i]).collect();
            let mut row = |name: String, mean: f64, sd: f64| {
                rows.push(vec![label.clone(), name, number(mean), number(sd)]);
            };
            match column.content {
                Content::Index(plate) => {
                    for (k, level) in imputed.model.bound.plate(plate).labels.iter().enumerate() {
                        let p = draws.iter().filter(|x| **x == k as f64).count() as f64 / draws.len() as f64;
                        row(format!("{name} is {level}"), p, (p * (1.0 - p)).sqrt());
                    }
                }
                Content::Bool => {
                    let p = c.means.numbers[i];
                    row(name.clone(), p, (p * (1.0 - p)).max(0.0).sqrt());
                }
                Content::Real | Content::Int | Content::Key | Content::Date => {
                    let mean = c.means.numbers[i];
                    let square = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / draws.len() as f64;
                    row(name.clone(), mean, square.sqrt());
                }
            }
        }
    }
    Csv { header, rows }
}

/// Completed rows, one copy after the other.
fn copies(imputed: &Imputed) -> Csv {
    let mut out = Csv::default();
    for d in 0..imputed.draws {
        let row = |l: &String| vec![(d + 1).to_string(), l.clone()];
        let mut csv = Csv { header: vec!["draw".into(), "row".into()], rows: imputed.labels.iter().map(row).collect() };
        for c in &imputed.columns {
            // Fields of a vector column are named by its labels; `write` turns categories into their names.
            put_column(&imputed.model.hir, &imputed.model.bound, c.column, &c.draws[d], &mut csv);
            write(&imputed.model.hir, &imputed.model.bound, c.column, &c.draws[d].numbers, &mut csv);
        }
        out.header = csv.header;
        out.rows.extend(csv.rows);
    }
    out
}
