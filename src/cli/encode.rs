//! `vic encode MODEL DIR [FILE]`

use super::args::EncodeArgs;
use super::rows::{Made, hand_out, load, mean, sheet};
use super::terminal::Terminal;
use crate::diag::counted;
use crate::driver::Session;
use crate::driver::rows::{Encoded, encode};
use crate::simulate::{Csv, number};

pub fn run(args: &EncodeArgs, terminal: &Terminal) -> u8 {
    let mut session = Session::default();
    let made = make(args, &mut session);
    hand_out(&args.rows, made, &session, terminal)
}

fn make(args: &EncodeArgs, session: &mut Session) -> Option<Made> {
    let asked = &args.rows;
    let loaded = load(session, &asked.model, &asked.fit, &asked.data)?;
    let question = loaded.question(asked, args.refine);
    let encoded = encode(&question, args.draws as usize, args.reconstruct, &mut session.diags)?;
    let given: Vec<_> =
        encoded.expected.iter().filter_map(|(c, _)| Some((*c, encoded.model.bound.values.get(c)?.clone()))).collect();
    let picture = sheet(&args.sheet, &encoded.model.hir, &[&given, &encoded.expected]);
    let picture = picture.map_err(|d| session.diags.push(d)).ok()?;
    let said = said(&encoded, args.refine);
    let csv = match (args.reconstruct, args.draws) {
        (true, _) => reconstructed(&encoded),
        (false, 0) => moments(&encoded),
        (false, _) => draws(&encoded),
    };
    Some(Made { csv, sheet: picture, said })
}

fn said(e: &Encoded, steps: u32) -> String {
    let rows = counted(e.labels.len(), "row");
    match &e.bounds {
        None => format!("{rows} encoded.\n"),
        Some((before, after)) => {
            let steps = counted(steps as usize, "step");
            let finite = before.iter().zip(after).filter(|(b, a)| b.is_finite() && a.is_finite());
            let (some, refined): (Vec<f64>, Vec<f64>) = finite.unzip();
            if some.is_empty() {
                return format!("{rows} encoded and refined by {steps}, none with a finite lower bound.\n");
            }
            let those = if some.len() < before.len() { " of those where it is finite" } else { "" };
            let (before, after) = (mean(&some), mean(&refined));
            format!(
                "{rows} encoded and refined by {steps}: the lower bound{those} rose from {before:.3} to {after:.3} nats per \
                 row, an amortisation gap of {:.3}.\n",
                after - before
            )
        }
    }
}

fn moments(e: &Encoded) -> Csv {
    let mut header = vec!["row".to_string()];
    header.extend(e.names.iter().flat_map(|n| [format!("{n}.mean"), format!("{n}.sd")]));
    header.extend(e.values.iter().cloned());
    if e.bounds.is_some() {
        header.extend(["bound".to_string(), "refined bound".to_string()]);
    }
    let row = |(i, label): (usize, &String)| {
        let mut row = vec![label.clone()];
        row.extend(e.means[i].iter().zip(&e.sds[i]).flat_map(|(m, s)| [number(*m), number(*s)]));
        row.extend(e.probabilities[i].iter().map(|p| number(*p)));
        row.extend(e.bounds.iter().flat_map(|(b, a)| [number(b[i]), number(a[i])]));
        row
    };
    Csv { header, rows: e.labels.iter().enumerate().map(row).collect() }
}

fn draws(e: &Encoded) -> Csv {
    let mut header = vec!["row".to_string(), "draw".to_string()];
    header.extend(e.names.iter().chain(&e.values).cloned());
    let mut rows = vec![];
    for (label, draws) in e.labels.iter().zip(&e.draws) {
        for (d, cells) in draws.iter().enumerate() {
            let mut row = vec![label.clone(), (d + 1).to_string()];
            row.extend(cells.iter().map(|x| number(*x)));
            rows.push(row);
        }
    }
    Csv { header, rows }
}

/// The expected columns, one per cell, under their labels in the file.
fn reconstructed(e: &Encoded) -> Csv {
    let rows = e.labels.iter().map(|l| vec![l.clone()]).collect();
    let mut csv = Csv { header: vec!["row".into()], rows };
    for (column, values) in &e.expected {
        super::rows::put_column(&e.model.hir, &e.model.bound, *column, values, &mut csv);
    }
    csv
}
