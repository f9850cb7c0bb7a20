//! Discrete latents, which have probabilities and no draws: a table, an object per cell, a file.

use std::fmt::Write as _;
use std::io::{self, Write};

use serde::Serialize;

use super::out::{write_header, write_text_row};
use super::{Dim, FitReport};

/// The values of a discrete latent, with their probabilities given the data.
#[derive(Clone, Debug)]
pub struct ReportDiscrete {
    pub name: String,
    /// One per plate, in the order written.
    pub dims: Vec<Dim>,
    /// What each value is called.
    pub values: Vec<String>,
    /// Of value `v` of cell `c` at `c + cells * v`, averaged over draws of the other latents.
    pub probabilities: Vec<f64>,
    /// Per cell, the value in the most probable configuration of all discrete latents together, at the posterior mean
    /// of the others.
    pub most_probable: Vec<usize>,
}

impl ReportDiscrete {
    pub fn cells(&self) -> usize {
        self.dims.iter().map(|d| d.labels.len()).product()
    }

    /// `z[3]`
    pub fn cell_name(&self, cell: usize) -> String {
        super::fit::cell_name(&self.name, &self.dims, cell)
    }

    pub fn probability(&self, cell: usize, value: usize) -> f64 {
        self.probabilities[cell + self.cells() * value]
    }
}

#[derive(Serialize)]
pub(super) struct DiscreteJson<'a> {
    name: String,
    variable: &'a str,
    labels: Vec<&'a str>,
    values: &'a [String],
    probabilities: Vec<f64>,
    most_probable: &'a str,
}

/// One object per cell.
pub(super) fn json(fit: &FitReport) -> Vec<DiscreteJson<'_>> {
    let cells = fit.discrete.iter().flat_map(|z| (0..z.cells()).map(move |c| (z, c)));
    cells
        .map(|(z, c)| DiscreteJson {
            name: z.cell_name(c),
            variable: &z.name,
            labels: super::fit::labels(&z.dims, c),
            values: &z.values,
            probabilities: (0..z.values.len()).map(|v| z.probability(c, v)).collect(),
            most_probable: &z.values[z.most_probable[c]],
        })
        .collect()
}

/// One row per cell and value.
pub(super) fn write(fit: &FitReport, w: &mut impl Write) -> io::Result<()> {
    let titles = ["name", "cell", "value", "probability", "most_probable"];
    write_header(titles.map(String::from).into_iter(), w)?;
    for z in &fit.discrete {
        for c in 0..z.cells() {
            for (v, value) in z.values.iter().enumerate() {
                let cell = z.cell_name(c);
                let p = z.probability(c, v);
                let best = u8::from(z.most_probable[c] == v);
                let row = [format!("{cell}={value}"), cell, value.clone(), format!("{p:?}"), best.to_string()];
                write_text_row(&row, w)?;
            }
        }
    }
    Ok(())
}

/// More values than this are not shown side by side.
const COLUMNS: usize = 6;

/// A table per latent: the probabilities of its values, and the most probable one.
pub(super) fn table(fit: &FitReport, most: usize, out: &mut String) {
    for z in &fit.discrete {
        let shown = z.cells().min(most);
        let wide = z.values.len() <= COLUMNS;
        let mut rows = vec![];
        let mut titles = vec![String::new()];
        if wide {
            titles.extend(z.values.iter().map(|v| format!("P({v})")));
        } else {
            titles.push("mode".into());
            titles.push("P(mode)".into());
        }
        titles.push("most probable together".into());
        rows.push(titles);
        for c in 0..shown {
            let mut row = vec![z.cell_name(c)];
            let p = |v| format!("{:.3}", z.probability(c, v));
            if wide {
                row.extend((0..z.values.len()).map(p));
            } else {
                let best = (0..z.values.len()).max_by(|&a, &b| z.probability(c, a).total_cmp(&z.probability(c, b)));
                let best = best.unwrap_or(0);
                row.push(z.values[best].clone());
                row.push(p(best));
            }
            row.push(z.values[z.most_probable[c]].clone());
            rows.push(row);
        }
        let width = |k: usize| rows.iter().map(|r| r[k].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
        out.push('\n');
        for row in &rows {
            let _ = write!(out, "{:<1$}", row[0], widths[0]);
            for (cell, width) in row.iter().zip(&widths).skip(1) {
                let _ = write!(out, "  {cell:>width$}");
            }
            let kept = out.trim_end().len();
            out.truncate(kept);
            out.push('\n');
        }
        if shown < z.cells() {
            let _ = writeln!(
                out,
                "… {} more of {}: `--all`, `--json`, or discrete.csv in `--out DIR`",
                z.cells() - shown,
                z.name
            );
        }
    }
}
