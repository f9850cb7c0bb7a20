//! Rows whose result is not finite: where they stand, and why the first of them is so.

use super::RowModel;
use crate::diag::{Code, Diagnostic, and_more, counted};
use crate::driver::batches::Feeding;
use crate::driver::culprit::Program;
use crate::driver::trouble::{Scene, of_rows};
use crate::infer::batches::Rows;

/// Draws of the first row's guide that are looked at, each with its mirror image.
const PAIRS: usize = 50;
/// Rows that are named.
const SHOWN: usize = 5;

impl RowModel {
    /// A warning of the rows whose `what` is not finite, if there are any.
    pub(super) fn not_finite(&self, what: &str, finite: impl Fn(usize) -> bool) -> Option<Diagnostic> {
        let rows: Vec<usize> = (0..self.rows()).filter(|r| !finite(*r)).collect();
        let all = counted(self.rows(), "row");
        let told = match rows.len() {
            1 => format!("the {what} of 1 of {all} is not finite"),
            n => format!("the {what}s of {n} of {all} are not finite"),
        };
        let none = || Code::ROWS_NOT_FINITE.at(self.hir.plate(self.plate).span, &told).here("its rows");
        let mut d = self.why(*rows.first()?, &told).unwrap_or_else(none);
        let data = self.bound.plate(self.plate);
        let place = |r: &usize| Some(format!("{}:{}", data.file, data.lines.get(*r)?));
        d.places = rows.iter().take(SHOWN).filter_map(place).collect();
        if rows.len() > SHOWN {
            d = d.note(and_more(rows.len() - SHOWN, "row"));
        }
        Some(d.help(
            "see whether the cells of these rows are right, and of the scale of those that were fitted; if they are, write a model \
             that gives them a chance, such as a distribution with heavier tails",
        ))
    }

    /// The first statement that is not finite at a draw of a row's guide.
    fn why(&self, row: usize, told: &str) -> Option<Diagnostic> {
        let mut e = self.evaluator();
        e.take(row..row + 1);
        if self.refine > 0 {
            self.refine(&mut e);
        }
        // On a graph of its own, which holds this row alone.
        let mut plain = Feeding::new(self.model.fed_plainly(), &self.batches);
        plain.take(&e.batch);
        let (mut bound, mut none) = (self.bound.clone(), vec![]);
        let mut streams = self.streams("bound", &e.batch.rows);
        for d in 0..PAIRS {
            let draw = d * self.shared.draws / PAIRS;
            e.share(draw);
            e.coordinates.row_noise(&mut streams, &mut e.z);
            for _ in 0..2 {
                e.z.iter_mut().for_each(|z| *z = -*z);
                e.weigh(&[], &mut none);
                if e.log_weights[0].is_finite() {
                    continue;
                }
                self.shared.put(draw, &self.layout, &mut plain.fed);
                self.shared.put_values(draw, &mut bound);
                let program = Program { hir: &self.hir, bound: &bound, layout: &self.layout };
                let graph = plain.fed.graph().expect("it is interpreted");
                let scene = Scene { program, graph, rows: vec![(self.plate, e.batch.rows.clone())] };
                return of_rows(&scene, &e.theta, told);
            }
        }
        None
    }
}
