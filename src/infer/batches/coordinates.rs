//! The coordinates of a batch, and the params ψ of the guide for the whole data.
//!
//! Theta of a batch has the cells of its rows; ψ has a mean, and for what is drawn a log sd, for every row of the table.
//! Noise that a written guide draws from has no params of its own.

use std::f64::consts::TAU;

use super::Batch;
use crate::infer::rng::Stream;

/// Log sds at the start.
const FIRST_LOG_SD: f64 = -2.0;

/// A slice of theta: the cells of one latent, param or noise.
#[derive(Clone, Debug)]
pub struct Part {
    /// Sizes of its plates in the batch.
    pub dims: Vec<usize>,
    /// Which of them are rows of the batch, if any.
    pub rows: Option<usize>,
    pub kind: Kind,
    /// Cells of the whole table, where it is fitted.
    pub start: Vec<f64>,
    /// Whether it is subject to weight decay.
    pub decays: bool,
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
}

/// One number of theta.
#[derive(Clone, Copy, Debug)]
struct Coordinate {
    kind: Kind,
    /// Where its mean stands in ψ for row 0, and how far that moves per row.
    mean: usize,
    stride: usize,
    /// The row of the batch that it belongs to.
    row: Option<usize>,
}

#[derive(Clone, Debug)]
pub struct Coordinates {
    all: Vec<Coordinate>,
    /// Means of the whole table, then log sds of those that are drawn, in the same places: a log sd is `logs` further on.
    start: Vec<f64>,
    logs: usize,
    /// Per param of ψ.
    pub decays: Vec<bool>,
}

impl Coordinates {
    /// `total`: rows of the whole table.
    pub fn new(parts: &[Part], total: usize) -> Coordinates {
        let (mut all, mut start, mut decays, mut drawn) = (vec![], vec![], vec![], vec![]);
        for part in parts {
            let cells: usize = part.dims.iter().product();
            let size = |d: usize| if part.rows == Some(d) { total } else { part.dims[d] };
            let whole: usize = (0..part.dims.len()).map(size).product();
            let strides: Vec<usize> = (0..part.dims.len()).map(|d| (0..d).map(size).product()).collect();
            let first = start.len();
            for cell in 0..cells {
                let (mut rest, mut at, mut row) = (cell, first, None);
                for (d, n) in part.dims.iter().enumerate() {
                    let i = rest % n;
                    rest /= n;
                    if part.rows == Some(d) { row = Some(i) } else { at += i * strides[d] }
                }
                let stride = part.rows.map_or(0, |d| strides[d]);
                all.push(Coordinate { kind: part.kind, mean: at, stride, row });
            }
            if part.kind != Kind::Noise {
                start.extend((0..whole).map(|i| part.start.get(i).copied().unwrap_or(0.0)));
                decays.extend(std::iter::repeat_n(part.decays, whole));
                drawn.extend(std::iter::repeat_n(part.kind == Kind::Drawn, whole));
            }
        }
        let logs = start.len();
        // Log sds stand behind the means; those of points are never read.
        if drawn.contains(&true) {
            start.extend(std::iter::repeat_n(FIRST_LOG_SD, logs));
            decays.extend(std::iter::repeat_n(false, logs));
        }
        Coordinates { all, start, logs, decays }
    }

    /// Numbers in theta.
    pub fn dim(&self) -> usize {
        self.all.len()
    }

    pub fn begin(&self) -> Vec<f64> {
        self.start.clone()
    }

    /// Standard normal numbers for what is drawn, those of the `n`-th use for this purpose.
    pub fn noise(&self, seed: u64, purpose: &str, n: usize, z: &mut [f64]) {
        let mut stream = Stream::numbered(seed, purpose, n);
        for (z, c) in z.iter_mut().zip(&self.all) {
            *z = if c.kind == Kind::Point { 0.0 } else { stream.normal() };
        }
    }

    /// The same for what all rows share only.
    pub fn shared_noise(&self, seed: u64, purpose: &str, n: usize, z: &mut [f64]) {
        let mut stream = Stream::numbered(seed ^ 0x5eed, purpose, n);
        for (z, c) in z.iter_mut().zip(&self.all) {
            if c.row.is_none() && c.kind != Kind::Point {
                *z = stream.normal();
            }
        }
    }

    fn at(&self, c: &Coordinate, rows: &[usize]) -> usize {
        c.mean + c.row.map_or(0, |r| rows[r] * c.stride)
    }

    /// θ of a batch from ψ and noise.
    pub fn place(&self, psi: &[f64], rows: &[usize], z: &[f64], theta: &mut [f64]) {
        for ((t, c), z) in theta.iter_mut().zip(&self.all).zip(z) {
            *t = match c.kind {
                Kind::Noise => *z,
                Kind::Point => psi[self.at(c, rows)],
                Kind::Drawn => {
                    let at = self.at(c, rows);
                    psi[at] + psi[self.logs + at].exp() * z
                }
            };
        }
    }

    /// Add the gradient of the bound by ψ, from that of the log joint by θ.
    pub fn pull_back(&self, psi: &[f64], batch: &Batch, z: &[f64], by_theta: &[f64], by_psi: &mut [f64]) {
        for ((g, c), z) in by_theta.iter().zip(&self.all).zip(z) {
            if c.kind == Kind::Noise {
                continue;
            }
            let at = self.at(c, &batch.rows);
            by_psi[at] += g;
            if c.kind == Kind::Drawn {
                let weight = c.row.map_or(1.0, |r| batch.weights[r]);
                by_psi[self.logs + at] += g * psi[self.logs + at].exp() * z + weight;
            }
        }
    }

    /// Minus the log density of the guide at its draw from `z`, rows weighted: its entropy on average, and without error
    /// together with the log joint where the guide is the posterior.
    pub fn surprise(&self, psi: &[f64], batch: &Batch, z: &[f64]) -> f64 {
        let of = |(c, z): (&Coordinate, &f64)| {
            let weight = c.row.map_or(1.0, |r| batch.weights[r]);
            let standard = 0.5 * (z * z + TAU.ln());
            match c.kind {
                Kind::Point => 0.0,
                Kind::Noise => weight * standard,
                Kind::Drawn => weight * (standard + psi[self.logs + self.at(c, &batch.rows)]),
            }
        };
        self.all.iter().zip(z).map(of).sum()
    }
}
