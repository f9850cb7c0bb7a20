//! `vic score MODEL DIR [FILE]`

use super::args::ScoreArgs;
use super::rows::{Made, hand_out, load, mean};
use super::terminal::Terminal;
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
        Some(k) => format!("log likelihood by {k} importance weights"),
    };
    let spread = (scored.scores.iter().map(|s| (s - mean(&scored.scores)).powi(2)).sum::<f64>() / n as f64).sqrt();
    let mut said = format!("{n} rows, {what}: {:.3} nats per row (sd {spread:.3} between rows)", mean(&scored.scores));
    if let Some(before) = &scored.before {
        said += &format!(", {:.3} before refinement", mean(before));
    }
    said += ".\n";
    let bad = scored.scores.iter().filter(|s| !s.is_finite()).count();
    if bad > 0 {
        said += &format!("{bad} of them are impossible under the model, or their density is not finite.\n");
    }
    let mut header = vec!["row".into(), "score".into()];
    let row = |(l, s): (&String, &f64)| vec![l.clone(), number(*s)];
    let mut rows: Vec<Vec<String>> = scored.labels.iter().zip(&scored.scores).map(row).collect();
    if let Some(k_hats) = &scored.k_hats {
        header.push("k_hat".into());
        rows.iter_mut().zip(k_hats).for_each(|(row, k)| row.push(number(*k)));
        let above = k_hats.iter().filter(|k| **k >= 0.7).count();
        if above > 0 {
            said += &format!(
                "k-hat is above 0.7 for {above} of them: their posteriors are wider than the guide, and their scores may be far too low.\n"
            );
        }
    }
    Some(Made { csv: Csv { header, rows }, sheet: None, said })
}
