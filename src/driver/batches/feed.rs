//! The rows of the table that a batch holds, given to the kernels.

use std::ops::Range;
use std::sync::Arc;

use super::kin::Pointer;
use super::store::Store;
use super::{Batches, Weighed};
use crate::data::binarised::binary;
use crate::hir::VarId;
use crate::infer::batches::{Batch, Coordinates, Each, Params, Part, Rows, Single};
use crate::infer::{Stream, Target};
use crate::lower::Feed;
use crate::lower::graph::BufId;
use crate::prim::product::Workshop;
use crate::run::{Fed, Model};

/// The whole of what a feed holds a part of.
pub(super) struct Whole {
    pub feed: Feed,
    pub index: bool,
    /// Which of the batch's plates its rows are of.
    pub level: usize,
    pub numbers: Numbers,
    /// Of a binarised column: the probabilities of its cells.
    pub shades: Option<Arc<Store>>,
}

/// What a batch is given.
pub(super) enum Numbers {
    /// Some of those of all rows.
    Rows(Arc<Store>),
    /// The weights of rows in the batch.
    Weights,
    /// Where rows of the batch point to in it.
    Places(Arc<Pointer>),
}

/// A feed of factors by which a `dropout` multiplies.
pub(super) struct Mask {
    pub feed: Feed,
    pub rate: f64,
    /// Its stream of random numbers.
    pub purpose: String,
}

/// A batch of rows at a time.
pub struct Feeding<'m> {
    pub fed: Fed<'m>,
    batches: &'m Batches,
    /// By plate of the batch: the rows taken, and per row of the whole where it stands among these.
    rows: Vec<Vec<usize>>,
    places: Vec<Vec<u32>>,
    numbers: Vec<f64>,
    workshop: Workshop,
    /// What the report has to compute anew for another draw of the same rows, and whether it has been computed for them.
    again: Option<&'m Model>,
    reported: bool,
    /// Whether params have changed in the workshop alone, and slopes stand there alone.
    params_ahead: bool,
    slopes_ahead: bool,
}

impl<'m> Feeding<'m> {
    pub fn new(fed: Fed<'m>, batches: &'m Batches) -> Feeding<'m> {
        Feeding::within(Workshop::new(1, false), fed, batches)
    }

    /// On so many threads, products of matrices in single precision or not.
    pub fn on(threads: usize, single: bool, model: &'m Model, batches: &'m Batches) -> Feeding<'m> {
        let fed = if single { model.fed_in_single() } else { model.fed() };
        Feeding::within(Workshop::new(threads, single), fed, batches)
    }

    fn within(workshop: Workshop, fed: Fed<'m>, batches: &'m Batches) -> Feeding<'m> {
        let places = batches.plates().map(|(_, total)| if batches.kin.is_empty() { vec![] } else { vec![0; total] });
        let (rows, places) = (vec![vec![]; 1 + batches.along.len()], places.collect());
        let mut feeding = Feeding {
            fed,
            batches,
            rows,
            places,
            numbers: vec![],
            workshop,
            again: None,
            reported: false,
            params_ahead: false,
            slopes_ahead: false,
        };
        feeding.drop_out(None);
        feeding
    }

    /// Between draws of the same rows, at which only those coordinates differ that `again` was made for, report what it reports.
    pub fn redrawing(mut self, again: &'m Model) -> Feeding<'m> {
        self.again = Some(again);
        self
    }

    /// Something else than theta has changed.
    pub fn renew(&mut self) {
        self.reported = false;
    }

    /// What suffices for the next report.
    fn again(&mut self) -> Option<&'m Model> {
        let again = self.again.filter(|_| self.reported);
        self.reported = true;
        again
    }

    /// Take over what stands in the workshop alone.
    fn catch_up(&mut self) {
        let Some(living) = self.fed.living().filter(|_| self.params_ahead || self.slopes_ahead) else { return };
        let (theta, slopes) = self.fed.params();
        let (Some(copies), _) = self.workshop.copies([living.theta, living.slopes]) else { return };
        for ((to, from), ahead) in [theta, slopes].into_iter().zip(copies).zip([self.params_ahead, self.slopes_ahead]) {
            for cells in living.cells.iter().filter(|_| ahead) {
                to[cells.clone()].iter_mut().zip(&from[cells.clone()]).for_each(|(t, f)| *t = f64::from(*f));
            }
        }
        (self.params_ahead, self.slopes_ahead) = (false, false);
    }

    /// What each row of the batch taken adds to the log joint, with what belongs to it, at theta as it is set.
    pub fn scores(&mut self, batch: &Batch, out: &mut [f64]) {
        self.catch_up();
        let again = self.again();
        self.add_up(&self.batches.scores, again, batch, out);
    }

    /// The sums of these reports by draw of a member.
    fn add_up(&mut self, scores: &[(usize, BufId)], again: Option<&Model>, batch: &Batch, out: &mut [f64]) {
        out.fill(0.0);
        let mut levels = scores.iter().map(|s| s.0);
        let add = |numbers: &[f64]| {
            let level = levels.next().expect("one for each report");
            for (draw, x) in numbers.iter().enumerate() {
                batch.owner(level, draw).into_iter().for_each(|d| out[d] += x);
            }
        };
        self.workshop.during(|| self.fed.numbers_of(scores.iter().map(|s| s.1), again, add));
    }

    /// Give each draw of the rows of a plate the number of its member's draw, and 0 to rows that fill the batch up.
    fn hand_down(&mut self, feeds: &[Option<Feed>], batch: &Batch, numbers: &[f64]) {
        for (level, feed) in feeds.iter().enumerate() {
            let Some(feed) = feed else { continue };
            let of = |draw: usize| batch.owner(level, draw).map_or(0.0, |d| numbers[d]);
            self.fed.numbers(feed.buf, |out| out.iter_mut().enumerate().for_each(|(draw, x)| *x = of(draw)));
        }
    }

    /// Hand out the buffers of the report that are asked for, at theta as it is set.
    pub fn report(&mut self, take: impl FnMut(&dyn Fn(BufId) -> Vec<f64>)) {
        self.catch_up();
        let again = self.again();
        self.workshop.during(|| self.fed.report(again, take));
    }

    /// Give a column of the batch other numbers.
    pub fn put(&mut self, column: VarId, numbers: &[f64]) {
        self.renew();
        self.workshop.take_back();
        for whole in self.batches.whole.iter().filter(|w| w.feed.var == column) {
            match whole.index {
                true => self.fed.positions(whole.feed.buf, |out| {
                    out.iter_mut().zip(numbers).for_each(|(o, x)| *o = *x as u32);
                }),
                false => self.fed.numbers(whole.feed.buf, |out| out.copy_from_slice(numbers)),
            }
        }
    }
}

impl Rows for Feeding<'_> {
    fn take(&mut self, batch: &Batch) {
        self.renew();
        for (level, (rows, places)) in self.rows.iter_mut().zip(&mut self.places).enumerate() {
            rows.clear();
            rows.extend_from_slice(batch.rows_of(level));
            // Rows that fill a batch up stand in it before.
            if !places.is_empty() {
                rows.iter().enumerate().rev().for_each(|(at, row)| places[*row] = at as u32);
            }
        }
        let given = self.fed.given();
        for whole in &self.batches.whole {
            let rows = &self.rows[whole.level];
            let store = match &whole.numbers {
                Numbers::Rows(store) => store,
                Numbers::Weights => {
                    // What does not differ from draw to draw counts for all of them.
                    let draws = batch.weights.len() / batch.rows.len();
                    let total = |r: usize| (0..draws).map(|d| batch.weight(whole.level, r + d * rows.len())).sum();
                    self.fed.numbers(whole.feed.buf, |out| out.iter_mut().enumerate().for_each(|(r, w)| *w = total(r)));
                    continue;
                }
                Numbers::Places(pointer) => {
                    let places = &self.places[pointer.to];
                    self.fed.positions(whole.feed.buf, |out| {
                        out.iter_mut().zip(rows).for_each(|(o, r)| *o = places[pointer.positions[*r] as usize]);
                    });
                    continue;
                }
            };
            if whole.index {
                let numbers = &mut self.numbers;
                self.fed.positions(whole.feed.buf, |out| {
                    numbers.resize(out.len(), 0.0);
                    store.gather(rows, numbers);
                    out.iter_mut().zip(numbers).for_each(|(o, x)| *o = *x as u32);
                });
            } else {
                let mut cells = 0;
                self.fed.numbers(whole.feed.buf, |out| {
                    cells = out.len();
                    store.gather(rows, out);
                });
                // Binarised columns are drawn after this.
                if given.contains(&whole.feed.buf) && whole.shades.is_none() {
                    self.workshop.give(whole.feed.buf, cells, |out| store.gather_single(rows, out));
                }
            }
        }
        if let Some(draws) = &self.batches.draws {
            self.hand_down(&draws.weights, batch, &batch.weights);
        }
    }

    fn weigh(&mut self, batch: &Batch, weights: &[f64], slopes: &[f64]) {
        self.renew();
        let Some(draws) = &self.batches.draws else { return };
        self.hand_down(&draws.weights, batch, weights);
        self.hand_down(&draws.slopes, batch, slopes);
    }

    fn log_joints(&mut self, batch: &Batch, out: &mut [f64]) {
        self.catch_up();
        if let Some(draws) = &self.batches.draws {
            self.add_up(&draws.scores, None, batch, out);
        }
    }

    fn drop_out(&mut self, step: Option<(u64, usize)>) {
        self.renew();
        for mask in &self.batches.masks {
            self.fed.numbers(mask.feed.buf, |out| match step {
                None => out.fill(1.0),
                Some((seed, step)) => {
                    let mut stream = Stream::numbered(seed, &mask.purpose, step);
                    let kept = 1.0 / (1.0 - mask.rate);
                    out.fill_with(|| if stream.uniform() < mask.rate { 0.0 } else { kept });
                }
            });
        }
    }

    fn binarise(&mut self, seed: u64, step: usize) {
        self.renew();
        for whole in &self.batches.whole {
            let Some(shades) = &whole.shades else { continue };
            let (numbers, rows) = (&mut self.numbers, &self.rows[whole.level]);
            let mut stream = Stream::numbered(seed, "binarise", step);
            let mut draw = |p: f64| if p <= 0.0 || p >= 1.0 { p } else { binary(p, stream.uniform()) };
            if whole.index {
                self.fed.positions(whole.feed.buf, |out| {
                    numbers.resize(out.len(), 0.0);
                    shades.gather(rows, numbers);
                    out.iter_mut().zip(numbers).for_each(|(o, p)| *o = draw(*p) as u32);
                });
            } else {
                self.fed.numbers(whole.feed.buf, |out| {
                    shades.gather(rows, out);
                    out.iter_mut().for_each(|x| *x = draw(*x));
                });
            }
        }
    }

    fn soften(&mut self, share: f64, free: f64) {
        self.renew();
        // Minus infinity times no rows would be no number.
        for (feed, number) in self.batches.softened.iter().zip([share, free.max(f64::MIN)]) {
            if let Some(feed) = feed {
                self.fed.numbers(feed.buf, |out| out.fill(number));
            }
        }
    }

    fn theta(&mut self) -> &mut [f64] {
        self.catch_up();
        self.workshop.keep(false);
        self.fed.theta()
    }

    fn drawn(&mut self) -> &mut [f64] {
        self.fed.theta()
    }

    fn gradient(&mut self) -> f64 {
        self.renew();
        let value = self.workshop.during(|| self.fed.gradient());
        self.slopes_ahead = self.workshop.is_single();
        value
    }

    fn by_theta(&mut self) -> &[f64] {
        self.catch_up();
        self.fed.by_theta()
    }

    fn params(&mut self, range: Range<usize>, f: &mut dyn FnMut(Params, Each)) {
        self.renew();
        let living = self.fed.living();
        let (theta, slopes) = self.fed.params();
        let (copies, crew) = match living {
            Some(living) => self.workshop.copies([living.theta, living.slopes]),
            None => (None, self.workshop.crew()),
        };
        let from = range.start;
        let single = copies.zip(living).map(|([numbers, slopes], living)| Single {
            cells: &living.cells,
            from,
            numbers,
            slopes,
        });
        let ahead = single.is_some();
        let params = Params { numbers: &mut theta[range.clone()], slopes: &slopes[range], single };
        f(params, &|pieces, job| crew.each(pieces, &job));
        if ahead {
            self.workshop.keep(true);
            self.params_ahead = true;
        }
    }

    fn evaluate(&mut self) -> f64 {
        self.catch_up();
        self.renew();
        self.workshop.during(|| self.fed.value())
    }

    fn each(&self, pieces: usize, job: &(dyn Fn(usize) + Sync)) {
        self.workshop.crew().each(pieces, &job);
    }
}

impl Batches {
    pub fn rows<'m>(&'m self, model: &'m Model) -> impl Rows + 'm {
        self.rows_on(1, false, model)
    }

    /// On so many threads, products of matrices in single precision or not.
    pub fn rows_on<'m>(&'m self, threads: usize, single: bool, model: &'m Model) -> impl Rows + 'm {
        Feeding::on(threads, single, model, self)
    }

    /// The model with several draws per row, if the fit steps by that: its rows, the coordinates, and their names.
    pub fn several(&self) -> Option<(impl Rows + '_, Coordinates, Vec<String>)> {
        let Weighed { model, batches } = &**self.weighed.as_ref()?;
        Some((batches.rows(model), batches.coordinates(), model.names()))
    }

    pub(in crate::driver) fn parts(&self) -> &[Part] {
        &self.parts
    }

    pub fn coordinates(&self) -> Coordinates {
        Coordinates::new(&self.parts, &self.plates().map(|p| p.1).collect::<Vec<_>>())
    }
}
