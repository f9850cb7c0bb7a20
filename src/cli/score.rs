//! `vic score MODEL DIR [FILE]`

use super::args::ScoreArgs;
use super::rows::{Made, hand_out, load, mean};
use super::terminal::Terminal;
use crate::diag::counted;
use crate::driver::Session;
use crate::driver::rows::{Holes, Question, score};
use crate::simulate::{Csv, number};

pub fn run(args: &ScoreArgs, terminal: &Terminal) -> u8 {
    let mut session = Session::default();
    let made = make(args, &mut session);
    hand_out(&args.rows, made, &session, terminal)
}

fn make(args: &ScoreArgs, session: &mut Session) -> Option<Made> {
    let asked = &args.rows;
    let loaded = load(session, &asked.model, &asked.fit, &asked.data)?;
    let question = Question { holes: Holes::Cells, ..loaded.question(asked, args.refine) };
    let scored = score(&question, args.samples.map(|n| n as usize), &mut session.diags)?;
    let n = scored.scores.len();
    let what = match args.samples {
        None => "lower bound".to_string(),
        Some(k) => format!("log likelihood by {}", counted(k as usize, "importance weight")),
    };
    // Of rows whose density is not finite there is no mean.
    let finite =
        |v: &[f64]| v.iter().zip(&scored.scores).filter(|(_, s)| s.is_finite()).map(|(x, _)| *x).collect::<Vec<f64>>();
    let known = finite(&scored.scores);
    let average = mean(&known);
    let spread = (known.iter().map(|s| (s - average).powi(2)).sum::<f64>() / known.len().max(1) as f64).sqrt();
    let rows = counted(n, "row");
    let mut said = match known.is_empty() {
        true => format!("{rows}, none with a finite {what}"),
        false => {
            let what = match known.len() {
                all if all == n => what,
                1 => format!("of which 1 has a finite {what}"),
                some => format!("of which {some} have a finite {what}"),
            };
            format!("{rows}, {what}: {average:.3} nats per row (sd {spread:.3} between rows)")
        }
    };
    if let Some(before) = scored.before.as_ref().filter(|_| !known.is_empty()) {
        said += &format!(", {:.3} before refinement", mean(&finite(before)));
    }
    said += ".\n";
    let mut header = vec!["row".into(), "score".into()];
    let row = |(l, s): (&String, &f64)| vec![l.clone(), number(*s)];
    let mut rows: Vec<Vec<String>> = scored.labels.iter().zip(&scored.scores).map(row).collect();
    if let Some(k_hats) = &scored.k_hats {
        header.push("k_hat".into());
        rows.iter_mut().zip(k_hats).for_each(|(row, k)| row.push(number(*k)));
        let above = k_hats.iter().filter(|k| **k >= 0.7).count();
        if above > 0 {
            said += &match above {
                1 => "k-hat is above 0.7 for 1 of them: its posterior is wider than the guide, and its score may be far too low.\n".into(),
                n => format!("k-hat is above 0.7 for {n} of them: their posteriors are wider than the guide, and their scores may be far too low.\n"),
            };
        }
    }
    Some(Made { csv: Csv { header, rows }, sheet: None, said })
}
