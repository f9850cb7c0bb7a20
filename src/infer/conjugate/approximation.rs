//! The product of the factors, as a distribution on the unconstrained scale.

use super::block::Block;
use super::factor::Factor;
use crate::infer::approximation::Approximation;
use crate::infer::rng::Stream;

#[derive(Debug)]
pub struct Factors {
    blocks: Vec<Block>,
    factors: Vec<Factor>,
    /// Points at their places, 0 elsewhere.
    points: Vec<f64>,
    /// Of the streams that draws are made from.
    names: Vec<String>,
    mean: Vec<f64>,
    sds: Vec<f64>,
}

impl Factors {
    pub fn new(blocks: Vec<Block>, factors: Vec<Factor>, dim: usize) -> Factors {
        let mut points = vec![0.0; dim];
        let mut names = vec![];
        for (b, f) in blocks.iter().zip(&factors) {
            match b.point {
                true => f.coordinates(&b.form, &mut points),
                false => Factor::streams(&b.form, &mut names),
            }
        }
        let (mut mean, mut sds) = (points.clone(), vec![0.0; dim]);
        for (b, f) in blocks.iter().zip(&factors).filter(|(b, _)| !b.point) {
            f.moments(&b.form, &mut mean, &mut sds);
        }
        Factors { blocks, factors, points, names, mean, sds }
    }
}

impl Approximation for Factors {
    fn mean(&self) -> &[f64] {
        &self.mean
    }

    fn sds(&self) -> &[f64] {
        &self.sds
    }

    fn sample(&self, purpose: &str, n: usize, seed: u64) -> Vec<f64> {
        let mut theta = self.points.repeat(n);
        if self.names.is_empty() {
            return theta;
        }
        let mut streams: Vec<Stream> = self.names.iter().map(|name| Stream::new(seed, purpose, name)).collect();
        for row in theta.chunks_mut(self.points.len()) {
            let mut streams = streams.iter_mut();
            for (b, f) in self.blocks.iter().zip(&self.factors).filter(|(b, _)| !b.point) {
                f.draw(&b.form, &mut streams, row);
            }
        }
        theta
    }

    fn log_density(&self, theta: &[f64]) -> Vec<f64> {
        let of = |row: &[f64]| {
            let drawn = self.blocks.iter().zip(&self.factors).filter(|(b, _)| !b.point);
            drawn.map(|(b, f)| f.log_density(&b.form, row)).sum()
        };
        theta.chunks(self.points.len().max(1)).map(of).collect()
    }
}
