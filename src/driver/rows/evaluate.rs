//! Log weights of rows at draws of their guides.

use super::RowModel;
use crate::driver::batches::Feeding;
use crate::hir::VarId;
use crate::infer::batches::{Batch, Coordinates, Rows};
use crate::infer::{Stream, Target};

/// One thread's evaluator, with the batch of rows that it stands at.
pub struct Evaluator<'m> {
    model: &'m RowModel,
    pub coordinates: Coordinates,
    pub feeding: Feeding<'m>,
    /// Which draw of what all rows share it stands at.
    shared: Option<usize>,
    pub batch: Batch,
    /// How many of the batch's rows are its own; the others fill it up.
    pub own: usize,
    /// Params of the guide, and the noise and the point of one draw.
    pub psi: Vec<f64>,
    pub z: Vec<f64>,
    pub theta: Vec<f64>,
    /// log p(x, z) − log q(z | x) of each row.
    pub log_weights: Vec<f64>,
}

impl RowModel {
    /// Call `f` on batch after batch, on several threads; its results come in the order of the rows.
    pub(super) fn each_batch<T: Send>(&self, f: impl Fn(&mut Evaluator<'_>) -> T + Sync) -> Vec<T> {
        let (n, size) = (self.rows(), self.batches.rows);
        let count = n.div_ceil(size);
        let threads = self.threads.clamp(1, count.max(1));
        let run = |thread: usize| {
            let mut evaluator = self.evaluator();
            (thread..count)
                .step_by(threads)
                .map(|k| {
                    evaluator.take(k * size..((k + 1) * size).min(n));
                    (k, f(&mut evaluator))
                })
                .collect::<Vec<_>>()
        };
        let mut all: Vec<(usize, T)> = std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|t| scope.spawn(move || run(t))).collect();
            let mut all = run(0);
            for other in others {
                all.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            all
        });
        all.sort_by_key(|(k, _)| *k);
        all.into_iter().map(|(_, t)| t).collect()
    }

    pub(super) fn evaluator(&self) -> Evaluator<'_> {
        let coordinates = self.coordinates(self.refine > 0);
        let dim = coordinates.dim();
        Evaluator {
            model: self,
            feeding: Feeding::new(self.model.fed(), &self.batches).redrawing(&self.again),
            shared: None,
            batch: Batch::default(),
            own: 0,
            psi: coordinates.begin(),
            z: vec![0.0; dim],
            theta: vec![0.0; self.model.dim()],
            log_weights: vec![0.0; self.batches.rows],
            coordinates,
        }
    }

    /// A stream of random numbers for each row of a batch, keyed by the row.
    pub(super) fn streams(&self, purpose: &str, rows: &[usize]) -> Vec<Stream> {
        rows.iter().map(|r| Stream::numbered(self.seed, purpose, *r)).collect()
    }
}

impl Evaluator<'_> {
    /// Stand at these rows, at most as many as a batch has.
    pub(super) fn take(&mut self, rows: std::ops::Range<usize>) {
        let size = self.model.batches.rows;
        self.own = rows.len();
        self.batch.rows = rows.clone().cycle().take(size).collect();
        self.batch.weights = (0..size).map(|r| if r < self.own { 1.0 } else { 0.0 }).collect();
        self.feeding.take(&self.batch);
        self.psi = self.coordinates.begin();
    }

    /// The batch with the positions of its rows in ψ, which has room for this batch only.
    pub fn places(&self) -> Batch {
        Batch::of((0..self.batch.rows.len()).collect(), self.batch.weights.clone())
    }

    /// Put other numbers into a column of the batch.
    pub fn put_column(&mut self, column: VarId, numbers: &[f64]) {
        self.feeding.put(column, numbers);
    }

    /// Take one draw of what all rows share.
    pub fn share(&mut self, draw: usize) {
        let draw = draw % self.model.shared.draws;
        if self.shared.replace(draw) != Some(draw) {
            self.model.shared.put(draw, &self.model.layout, &mut self.feeding.fed);
            self.feeding.renew();
        }
    }

    /// Weigh the draws that `self.z` makes, and copy these variables' numbers to `out`.
    pub fn weigh(&mut self, wanted: &[VarId], out: &mut Vec<Vec<f64>>) {
        let places = self.places();
        self.coordinates.place(&self.psi, &places, &self.z, &mut self.theta);
        let layout = &self.model.layout;
        let log_weights = &mut self.log_weights;
        log_weights.fill(0.0);
        out.clear();
        self.feeding.theta().copy_from_slice(&self.theta);
        self.feeding.report(|buffer| {
            for v in &self.model.scores {
                if let Some(b) = layout.buffer(*v) {
                    log_weights.iter_mut().zip(buffer(b)).for_each(|(w, x)| *w += x);
                }
            }
            out.extend(wanted.iter().map(|v| layout.buffer(*v).map_or(vec![], buffer)));
        });
        self.coordinates.row_surprise(&self.psi, &places, &self.z, &mut self.log_weights);
    }

    /// The slopes of the log joint by theta, at the draw that `self.z` makes.
    pub fn slopes(&mut self, out: &mut Vec<f64>) {
        let places = self.places();
        self.coordinates.place(&self.psi, &places, &self.z, &mut self.theta);
        out.resize(self.theta.len(), 0.0);
        self.feeding.value_grad(&self.theta, out);
    }

    /// The numbers of one row of a variable of the batch.
    pub fn row_of(&self, var: VarId, numbers: &[f64], row: usize) -> Vec<f64> {
        let dim = self.model.dim(var).unwrap_or(0);
        let (n, inner) = (self.batch.rows.len(), self.inner(var, dim));
        let own = |(i, _): &(usize, &f64)| i / inner % n == row;
        numbers.iter().enumerate().filter(own).map(|(_, x)| *x).collect()
    }

    fn inner(&self, var: VarId, dim: usize) -> usize {
        let hir = &self.model.hir;
        hir.var(var).axes[..dim].iter().map(|a| self.model.bound.size(hir.axis(*a).plate)).product()
    }
}
