//! The coordinates of a batch, and the params ψ of the guide for the whole data.
//!
//! Theta of a batch has the cells of its rows; ψ has a mean, and for what is drawn a log sd, for every row of the table.
//! Noise that a written guide draws from has no params of its own.

use std::f64::consts::TAU;
use std::ops::Range;

use super::Batch;
use crate::infer::rng::Stream;

/// Log sds at the start of a fit.
pub const FIRST_LOG_SD: f64 = -2.0;

/// A slice of theta: the cells of one latent, param or noise.
#[derive(Clone, Debug)]
pub struct Part {
    /// Sizes of its plates in the batch.
    pub dims: Vec<usize>,
    /// Which of them are rows of the batch, if any, and of which of its plates, 0 for that which is batched itself; and which are
    /// their draws, if there are several: the one after.
    pub rows: Option<usize>,
    pub level: usize,
    pub draws: Option<usize>,
    pub kind: Kind,
    /// Cells of the whole table, where it is fitted.
    pub start: Vec<f64>,
    /// Where the log sds of what is drawn start.
    pub log_sd: f64,
    /// Whether it is subject to weight decay.
    pub decays: bool,
    /// Whether it is of the guide; else it is a param of the model.
    pub of_guide: bool,
}

/// What is done with a part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Fitted to a point.
    Point,
    /// Drawn from a normal of its own.
    Drawn,
    /// Standard normal.
    Noise,
    /// Whether discrete latents of the guide stand at the values drawn, 1, or for all of them, 0, as while params are fitted.
    Switch,
    /// What says by its slope how much the terms of a scored latent's cell are, and what its score is multiplied by: one of each
    /// per cell, in pairs, both 0 but within a step.
    Terms,
    Score,
}

impl Kind {
    fn is_fitted(self) -> bool {
        matches!(self, Kind::Point | Kind::Drawn)
    }

    fn is_drawn(self) -> bool {
        matches!(self, Kind::Drawn | Kind::Noise)
    }
}

/// One number of theta that belongs to a row of the batch.
#[derive(Clone, Copy, Debug)]
struct Own {
    row: usize,
    /// Which of all draws of all rows, rows first.
    draw: usize,
    /// Where its mean stands in ψ for row 0, and how far that moves per row.
    mean: usize,
    stride: usize,
}

/// What follows each other in theta.
#[derive(Clone, Debug)]
enum Place {
    /// So many numbers that all rows share; their means follow each other in ψ from here on.
    Shared(usize, usize),
    /// Of the rows of this plate of the batch.
    Rows(usize, Vec<Own>),
}

#[derive(Clone, Debug)]
pub struct Coordinates {
    places: Vec<(Kind, Place)>,
    dim: usize,
    /// Means of the whole table, then log sds of those that are drawn, in the same places: a log sd is `logs` further on.
    start: Vec<f64>,
    logs: usize,
    /// Per param of ψ.
    pub decays: Vec<bool>,
    /// Per param of ψ, whether it is of the guide.
    pub of_guide: Vec<bool>,
}

impl Coordinates {
    /// `totals`: rows of the whole tables, that of the batch first.
    pub fn new(parts: &[Part], totals: &[usize]) -> Coordinates {
        let (mut places, mut start, mut decays, mut drawn, mut log_sds) = (vec![], vec![], vec![], vec![], vec![]);
        let mut of_guide = vec![];
        for part in parts {
            let cells: usize = part.dims.iter().product();
            let size = |d: usize| match d {
                _ if part.rows == Some(d) => totals[part.level],
                _ if part.draws == Some(d) => 1,
                _ => part.dims[d],
            };
            let whole: usize = (0..part.dims.len()).map(size).product();
            let strides: Vec<usize> = (0..part.dims.len()).map(|d| (0..d).map(size).product()).collect();
            let first = start.len();
            let own = |cell: usize| {
                let (mut rest, mut own) = (cell, Own { row: 0, draw: 0, mean: first, stride: 0 });
                for (d, n) in part.dims.iter().enumerate() {
                    let i = rest % n;
                    rest /= n;
                    if part.rows == Some(d) {
                        (own.row, own.stride) = (i, strides[d]);
                        own.draw += i;
                    } else if part.draws == Some(d) {
                        own.draw += i * part.rows.map_or(0, |r| part.dims[r]);
                    } else {
                        own.mean += i * strides[d];
                    }
                }
                own
            };
            places.push((
                part.kind,
                match part.rows {
                    None => Place::Shared(cells, first),
                    Some(_) => Place::Rows(part.level, (0..cells).map(own).collect()),
                },
            ));
            if part.kind.is_fitted() {
                start.extend((0..whole).map(|i| part.start.get(i).copied().unwrap_or(0.0)));
                decays.extend(std::iter::repeat_n(part.decays, whole));
                of_guide.extend(std::iter::repeat_n(part.of_guide, whole));
                drawn.extend(std::iter::repeat_n(part.kind == Kind::Drawn, whole));
                log_sds.extend(std::iter::repeat_n(part.log_sd, whole));
            }
        }
        let dim = parts.iter().map(|p| p.dims.iter().product::<usize>()).sum();
        let logs = start.len();
        // Log sds stand behind the means; those of points are never read.
        if drawn.contains(&true) {
            start.extend(log_sds);
            decays.extend(std::iter::repeat_n(false, logs));
            of_guide.extend(std::iter::repeat_n(true, logs));
        }
        Coordinates { places, dim, start, logs, decays, of_guide }
    }

    /// Numbers in theta.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Whether anything is drawn.
    pub fn has_latents(&self) -> bool {
        self.places.iter().any(|(kind, place)| kind.is_drawn() && place.len() > 0)
    }

    /// Whether rows have something of their own that is drawn.
    pub fn has_row_latents(&self) -> bool {
        self.places
            .iter()
            .any(|(kind, place)| kind.is_drawn() && matches!(place, Place::Rows(_, own) if !own.is_empty()))
    }

    /// Whether all rows share something that is drawn.
    pub fn has_shared_latents(&self) -> bool {
        self.places.iter().any(|(kind, place)| kind.is_drawn() && matches!(place, Place::Shared(n, _) if *n > 0))
    }

    /// Where theta holds ψ, stretch by stretch in its order, if it does: only params that all rows share, and noise around them.
    pub fn only_params(&self) -> Option<Vec<Range<usize>>> {
        if self.is_scored() {
            return None;
        }
        let (mut at, mut next) = (0, 0);
        let mut found: Vec<Range<usize>> = vec![];
        for (kind, place) in &self.places {
            match (kind, place) {
                (Kind::Noise | Kind::Switch | Kind::Terms | Kind::Score, _) => {}
                (Kind::Point, Place::Shared(n, first)) if *first == next => {
                    match found.last_mut().filter(|last| last.end == at) {
                        Some(last) => last.end += n,
                        None => found.push(at..at + n),
                    }
                    next += n;
                }
                (Kind::Point | Kind::Drawn, _) => return None,
            }
            at += place.len();
        }
        (!found.is_empty()).then_some(found)
    }

    pub fn begin(&self) -> Vec<f64> {
        self.start.clone()
    }

    /// Each place with its part of a slice of theta's length.
    fn split<'a>(&'a self, theta: &'a [f64]) -> impl Iterator<Item = (Kind, &'a Place, &'a [f64])> {
        let mut rest = theta;
        self.places.iter().map(move |(kind, place)| {
            let (own, more) = rest.split_at(place.len());
            rest = more;
            (*kind, place, own)
        })
    }

    /// The same, to write to.
    fn split_mut<'a>(&'a self, theta: &'a mut [f64]) -> impl Iterator<Item = (Kind, &'a Place, &'a mut [f64])> {
        let mut rest = theta;
        self.places.iter().map(move |(kind, place)| {
            let (own, more) = std::mem::take(&mut rest).split_at_mut(place.len());
            rest = more;
            (*kind, place, own)
        })
    }

    /// Standard normal numbers for what is drawn, those of the `n`-th use for this purpose; the others stay 0.
    pub fn noise(&self, seed: u64, purpose: &str, n: usize, z: &mut [f64]) {
        let mut stream = Stream::numbered(seed, purpose, n);
        for (_, _, z) in self.split_mut(z).filter(|p| p.0.is_drawn()) {
            z.iter_mut().for_each(|z| *z = stream.normal());
        }
    }

    /// The same for what all rows share only.
    pub fn shared_noise(&self, seed: u64, purpose: &str, n: usize, z: &mut [f64]) {
        let mut stream = Stream::numbered(seed ^ 0x5eed, purpose, n);
        for (kind, place, z) in self.split_mut(z) {
            if let (Kind::Drawn | Kind::Noise, Place::Shared(..)) = (kind, place) {
                z.iter_mut().for_each(|z| *z = stream.normal());
            }
        }
    }

    /// Standard normal numbers from a stream per row of the batch: the same for a row whatever stands beside it. What no row
    /// has to itself stays as it is.
    pub fn row_noise(&self, streams: &mut [Stream], z: &mut [f64]) {
        for (kind, place, z) in self.split_mut(z) {
            if let (Kind::Drawn | Kind::Noise, Place::Rows(_, own)) = (kind, place) {
                z.iter_mut().zip(own).for_each(|(z, o)| *z = streams[o.row].normal());
            }
        }
    }

    /// Add minus the log density of each draw of each member from `z`, members first: of what it has to itself, and of its rows.
    pub fn row_surprise(&self, psi: &[f64], batch: &Batch, z: &[f64], out: &mut [f64]) {
        for (kind, place, z) in self.split(z) {
            let Place::Rows(level, own) = place else { continue };
            let rows = batch.rows_of(*level);
            let log_sd = |o: &Own| if kind == Kind::Drawn { psi[self.logs + o.at(rows)] } else { 0.0 };
            for (z, o) in z.iter().zip(own).filter(|_| kind.is_drawn()) {
                let draw = batch.owner(*level, o.draw);
                draw.into_iter().for_each(|d| out[d] += 0.5 * (z * z + TAU.ln()) + log_sd(o));
            }
        }
    }

    /// Take over each row's params from `from` where `take` says so.
    pub fn take_rows(&self, psi: &mut [f64], from: &[f64], rows: &[usize], take: &[bool]) {
        for (kind, place) in self.places.iter().filter(|p| p.0.is_fitted()) {
            let Place::Rows(_, own) = place else { continue };
            for at in own.iter().filter(|o| take[o.row]).map(|o| o.at(rows)) {
                psi[at] = from[at];
                if *kind == Kind::Drawn {
                    psi[self.logs + at] = from[self.logs + at];
                }
            }
        }
    }

    /// Whether the gradient of some latent is by the score function.
    pub fn is_scored(&self) -> bool {
        self.places.iter().any(|p| p.0 == Kind::Terms)
    }

    /// Whether the guide draws discrete latents.
    pub fn has_jumps(&self) -> bool {
        self.places.iter().any(|p| matches!(p.0, Kind::Switch | Kind::Terms))
    }

    /// Let discrete latents whose expectation is taken, or that are relaxed, stand for all of their values.
    pub fn soften(&self, theta: &mut [f64]) {
        self.split_mut(theta).filter(|p| p.0 == Kind::Switch).for_each(|(.., theta)| theta.fill(0.0));
    }

    /// What the terms of each scored cell come to, one after the other, read off the slopes.
    pub fn signals(&self, by_theta: &[f64], out: &mut Vec<f64>) {
        out.clear();
        self.split(by_theta).filter(|p| p.0 == Kind::Terms).for_each(|(.., g)| out.extend_from_slice(g));
    }

    /// Multiply the score of each cell by how much more its terms come to than in another draw: the baseline is that other draw
    /// (Kool, van Hoof and Welling 2019, with two draws). What rows add has their factor already, which scores get too.
    pub fn credit(&self, signals: &[f64], others: &[f64], batch: &Batch, theta: &mut [f64]) {
        let mut advantage = signals.iter().zip(others).map(|(own, other)| own - other);
        for (_, place, theta) in self.split_mut(theta).filter(|p| p.0 == Kind::Score) {
            for (i, (t, a)) in theta.iter_mut().zip(advantage.by_ref()).enumerate() {
                let factor = if let Place::Rows(level, own) = place { batch.weight(*level, own[i].draw) } else { 1.0 };
                *t = if factor > 0.0 { a / factor } else { 0.0 };
            }
        }
    }

    /// θ of a batch from ψ and noise, discrete latents of the guide at the values drawn.
    pub fn place(&self, psi: &[f64], batch: &Batch, z: &[f64], theta: &mut [f64]) {
        self.put(psi, batch, z, theta, false);
    }

    /// The same for another draw of the same batch at the same ψ: what is fitted to a point stays where it stands.
    pub fn redraw(&self, psi: &[f64], batch: &Batch, z: &[f64], theta: &mut [f64]) {
        self.put(psi, batch, z, theta, true);
    }

    /// Which numbers of theta [`Coordinates::redraw`] sets.
    pub fn redrawn(&self) -> Vec<bool> {
        self.places.iter().flat_map(|(kind, place)| std::iter::repeat_n(*kind != Kind::Point, place.len())).collect()
    }

    fn put(&self, psi: &[f64], batch: &Batch, z: &[f64], theta: &mut [f64], again: bool) {
        let drawn = |at: usize, z: f64| psi[at] + psi[self.logs + at].exp() * z;
        for ((kind, place, theta), (_, _, z)) in self.split_mut(theta).zip(self.split(z)) {
            match (kind, place) {
                (Kind::Point, _) if again => {}
                (Kind::Noise, _) => theta.copy_from_slice(z),
                (Kind::Switch, _) => theta.fill(1.0),
                (Kind::Terms | Kind::Score, _) => theta.fill(0.0),
                (Kind::Point, Place::Shared(n, first)) => theta.copy_from_slice(&psi[*first..first + n]),
                (Kind::Point, Place::Rows(level, own)) => {
                    let rows = batch.rows_of(*level);
                    theta.iter_mut().zip(own).for_each(|(t, o)| *t = psi[o.at(rows)]);
                }
                (Kind::Drawn, Place::Shared(_, first)) => {
                    theta.iter_mut().zip(z).enumerate().for_each(|(i, (t, z))| *t = drawn(first + i, *z));
                }
                (Kind::Drawn, Place::Rows(level, own)) => {
                    let rows = batch.rows_of(*level);
                    theta.iter_mut().zip(z).zip(own).for_each(|((t, z), o)| *t = drawn(o.at(rows), *z));
                }
            }
        }
    }

    /// The gradient of the bound by ψ, from that of the log joint by θ; entropies count by this share.
    pub fn pull_back(&self, psi: &[f64], batch: &Batch, z: &[f64], by_theta: &[f64], share: f64, by_psi: &mut [f64]) {
        // Shared means are written whole; all else is added to, several times where a row stands in the batch again.
        let shared = |(kind, place): &(Kind, Place)| !kind.is_fitted() || matches!(place, Place::Shared(..));
        if self.places.iter().all(shared) {
            by_psi[self.logs..].fill(0.0);
        } else {
            by_psi.fill(0.0);
        }
        let log = |at: usize, g: f64, z: f64, weight: f64| g * psi[self.logs + at].exp() * z + weight;
        for ((kind, place, g), (_, _, z)) in self.split(by_theta).zip(self.split(z)) {
            match (kind, place) {
                (Kind::Noise | Kind::Switch | Kind::Terms | Kind::Score, _) => {}
                (_, Place::Shared(n, first)) => {
                    by_psi[*first..first + n].copy_from_slice(g);
                    if kind == Kind::Drawn {
                        for (i, (g, z)) in g.iter().zip(z).enumerate() {
                            by_psi[self.logs + first + i] = log(first + i, *g, *z, share);
                        }
                    }
                }
                (_, Place::Rows(level, own)) => {
                    let rows = batch.rows_of(*level);
                    for ((g, z), o) in g.iter().zip(z).zip(own) {
                        let at = o.at(rows);
                        by_psi[at] += g;
                        if kind == Kind::Drawn {
                            by_psi[self.logs + at] += log(at, *g, *z, share * batch.weight(*level, o.draw));
                        }
                    }
                }
            }
        }
    }

    /// Minus the log density of the guide at its draw from `z`, rows weighted: its entropy on average, and without error
    /// together with the log joint where the guide is the posterior. Of what is drawn from normals of its own, this share.
    pub fn surprise(&self, psi: &[f64], batch: &Batch, z: &[f64], share: f64) -> f64 {
        let mut sum = 0.0;
        for (kind, place, z) in self.split(z) {
            let log_sd = |at: usize| if kind == Kind::Drawn { psi[self.logs + at] } else { 0.0 };
            let share = if kind == Kind::Drawn { share } else { 1.0 };
            let of = |z: f64, weight: f64, at: usize| share * weight * (0.5 * (z * z + TAU.ln()) + log_sd(at));
            match (kind, place) {
                (_, Place::Rows(level, own)) if kind.is_drawn() => {
                    let rows = batch.rows_of(*level);
                    let each = z.iter().zip(own).map(|(z, o)| of(*z, batch.weight(*level, o.draw), o.at(rows)));
                    sum += each.sum::<f64>();
                }
                _ => {}
            }
        }
        sum + self.shared_surprise(psi, z, share)
    }

    /// The same of what all rows share alone.
    pub fn shared_surprise(&self, psi: &[f64], z: &[f64], share: f64) -> f64 {
        let mut sum = 0.0;
        for (kind, place, z) in self.split(z) {
            let Place::Shared(_, first) = place else { continue };
            let log_sd = |at: usize| if kind == Kind::Drawn { psi[self.logs + at] } else { 0.0 };
            let share = if kind == Kind::Drawn { share } else { 1.0 };
            if kind.is_drawn() {
                let each = z.iter().enumerate().map(|(i, z)| share * (0.5 * (z * z + TAU.ln()) + log_sd(first + i)));
                sum += each.sum::<f64>();
            }
        }
        sum
    }
}

impl Own {
    fn at(&self, rows: &[usize]) -> usize {
        self.mean + rows[self.row] * self.stride
    }
}

impl Place {
    fn len(&self) -> usize {
        match self {
            Place::Shared(n, _) => *n,
            Place::Rows(_, own) => own.len(),
        }
    }
}
