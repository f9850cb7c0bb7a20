//! The flow guide: the normal's own coordinates, bent by coupling layers. θ = m + T f(z) with z standard normal, f from
//! [`super::coupling`], m and T those of a fitted normal.
//!
//! The nets are fitted by Adam on fresh draws, with the gradient that leaves out the guide's score ("sticking the landing";
//! Roeder, Wu, Duvenaud 2017): its variance vanishes as the guide approaches the posterior. A deterministic objective would be
//! fitted to its draws, whatever their number.

use std::cell::RefCell;
use std::f64::consts::{PI, TAU};
use std::rc::Rc;

use super::approximation::Approximation;
use super::coupling::{Couplings, Path};
use super::draws::{plain, plain_into};
use super::frame::Basis;
use super::gaussian::Gaussian;
use super::objective::Objective;
use super::options::{Progress, Stage};
use super::stages::{Place, Session, mean_of};
use crate::tape::{Adam, Node};

/// Steps of Adam, draws in each, and the first rate, which falls to 0 along a cosine.
const STEPS: usize = 2000;
const DRAWS: usize = 100;
const RATE: f64 = 5e-3;
/// Longest gradient that is believed.
const LONGEST: f64 = 10.0;
/// Rows of the trace: one in so many steps.
const EVERY: usize = 25;
/// A flow is kept if its bound, over draws that did not fit it, is so many nats better than the normal's.
const BETTER: f64 = 0.5;
/// Draws for the means and standard deviations of a flow.
const MOMENTS: usize = 4000;

/// A normal bent by coupling layers.
#[derive(Clone, Debug)]
pub struct Flow {
    base: Gaussian,
    layers: Couplings,
    parameters: Vec<f64>,
    mean: Vec<f64>,
    sds: Vec<f64>,
}

/// How a flow compares with the normal that it bends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bent {
    /// By how many nats its lower bound is better.
    pub gain: f64,
    /// Whether it is reported, not the normal.
    pub kept: bool,
}

impl Bent {
    pub fn of(flow: f64, normal: f64) -> Bent {
        let gain = flow - normal;
        Bent { gain, kept: gain > BETTER }
    }
}

impl Flow {
    pub fn new(base: Gaussian, layers: Couplings, parameters: Vec<f64>, seed: u64) -> Flow {
        let dim = base.mean().len();
        let mut flow = Flow { base, layers, parameters, mean: vec![0.0; dim], sds: vec![0.0; dim] };
        let theta = flow.sample("moments of the flow", MOMENTS, seed);
        for i in 0..dim {
            let column = || theta.iter().skip(i).step_by(dim);
            let mean = column().sum::<f64>() / MOMENTS as f64;
            flow.mean[i] = mean;
            flow.sds[i] = (column().map(|x| (x - mean).powi(2)).sum::<f64>() / (MOMENTS - 1) as f64).sqrt();
        }
        flow
    }
}

impl Approximation for Flow {
    fn mean(&self) -> &[f64] {
        &self.mean
    }

    fn sds(&self) -> &[f64] {
        &self.sds
    }

    fn sample(&self, purpose: &str, n: usize, seed: u64) -> Vec<f64> {
        let mut path = self.layers.path();
        let mut x = plain(seed, purpose, self.base.names(), 0, n);
        for row in x.chunks_mut(self.layers.dim()) {
            self.layers.forward(&self.parameters, row, &mut path);
        }
        self.base.placed(&x)
    }

    fn log_density(&self, theta: &[f64]) -> Vec<f64> {
        let mut path = self.layers.path();
        let mut x = self.base.standardised(theta);
        let of = |row: &mut [f64]| {
            let log_det = self.layers.inverse(&self.parameters, row, &mut path);
            -0.5 * row.iter().map(|x| x * x).sum::<f64>() - log_det - self.base.log_volume()
        };
        x.chunks_mut(self.layers.dim()).map(of).collect()
    }
}

/// What the rows' node knows and the bound's needs: of each row, log q up to a constant and its gradient by θ.
struct Shared {
    log_q: Vec<f64>,
    slopes: Vec<f64>,
}

/// (φ, Z) ↦ the rows m + T f(z).
struct Rows {
    layers: Couplings,
    centre: Vec<f64>,
    scale: Basis,
    paths: Vec<Path>,
    x: Vec<f64>,
    shared: Rc<RefCell<Shared>>,
}

/// `out ← T⁻ᵀ x`.
fn solve_transposed(scale: &Basis, x: &mut [f64]) {
    match scale {
        Basis::Diagonal(d) => x.iter_mut().zip(d).for_each(|(x, d)| *x /= d),
        Basis::Lower(l) => super::linalg::solve_lower_transposed(l, x.len(), x),
    }
}

impl Node for Rows {
    fn forward(&mut self, operands: &[&[f64]], out: &mut [f64]) {
        let (phi, z) = (operands[0], operands[1]);
        let n = self.centre.len();
        let Shared { log_q, slopes } = &mut *self.shared.borrow_mut();
        for (k, (z, theta)) in z.chunks(n).zip(out.chunks_mut(n)).enumerate() {
            self.x.copy_from_slice(z);
            let log_det = self.layers.forward(phi, &mut self.x, &mut self.paths[k]);
            log_q[k] = -0.5 * z.iter().map(|z| z * z).sum::<f64>() - log_det;
            self.scale.times(&self.x, theta);
            theta.iter_mut().zip(&self.centre).for_each(|(t, m)| *t += m);
            let slope = &mut slopes[k * n..(k + 1) * n];
            slope.iter_mut().zip(z).for_each(|(s, z)| *s = -z);
            self.layers.score(phi, &mut self.paths[k], slope);
            solve_transposed(&self.scale, slope);
        }
    }

    fn backward(&mut self, operands: &[&[f64]], _: &[f64], upstream: &[f64], adjoints: &mut [&mut [f64]]) {
        let n = self.centre.len();
        for (k, up) in upstream.chunks(n).enumerate() {
            self.x.fill(0.0);
            self.scale.transposed_times(up, &mut self.x);
            self.layers.backward(operands[0], &mut self.paths[k], &mut self.x, adjoints[0]);
        }
    }
}

/// (log joints, φ, θ) ↦ −mean (log p − log q), whose gradient holds the parameters of q fixed.
struct StickingBound {
    shared: Rc<RefCell<Shared>>,
    constant: f64,
}

impl Node for StickingBound {
    fn forward(&mut self, operands: &[&[f64]], out: &mut [f64]) {
        let lp = operands[0];
        let q = &self.shared.borrow().log_q;
        out[0] = self.constant - lp.iter().zip(q).map(|(p, q)| p - q).sum::<f64>() / lp.len() as f64;
    }

    fn backward(&mut self, operands: &[&[f64]], _: &[f64], upstream: &[f64], adjoints: &mut [&mut [f64]]) {
        let share = upstream[0] / operands[0].len() as f64;
        adjoints[0].iter_mut().for_each(|a| *a -= share);
        adjoints[2].iter_mut().zip(&self.shared.borrow().slopes).for_each(|(a, s)| *a += share * s);
    }
}

impl Session<'_, '_> {
    /// Parameters of layers that bend the normal at `place` towards the posterior; `None` where there is nothing to bend.
    pub fn bend(&mut self, place: &Place, layers: &Couplings, start: usize) -> Option<Vec<f64>> {
        if self.halt.is_some() {
            return None;
        }
        self.unit(|session| session.bend_by_adam(place, layers, start))
    }

    fn bend_by_adam(&mut self, place: &Place, layers: &Couplings, start: usize) -> Option<Vec<f64>> {
        let n = self.noisy.len();
        let scale = place.frame.scale_at(&place.phi);
        let constant = -scale.log_det(n) - 0.5 * n as f64 * TAU.ln();
        let shared = Rc::new(RefCell::new(Shared { log_q: vec![0.0; DRAWS], slopes: vec![0.0; DRAWS * n] }));
        let rows = Rows {
            layers: layers.clone(),
            centre: mean_of(place),
            scale,
            paths: vec![layers.path(); DRAWS],
            x: vec![0.0; n],
            shared: shared.clone(),
        };
        let mut z = vec![0.0; DRAWS * n];
        let bound = StickingBound { shared, constant };
        let mut objective = Objective::of(layers.parameters(), &z, DRAWS, n, rows, bound, self.pool);
        let mut phi = layers.first(self.options.seed);
        let mut gradient = vec![0.0; phi.len()];
        let mut adam = Adam::new(phi.len());
        for step in 0..STEPS {
            plain_into(self.options.seed, "flow", self.noisy, step * DRAWS, &mut z);
            objective.redraw(&z);
            let f = objective.value_grad(&phi, &mut gradient);
            let norm = super::linalg::dot(&gradient, &gradient).sqrt();
            // A draw outside the support says nothing about the direction.
            if f.is_finite() && norm.is_finite() {
                let clip = (LONGEST / norm).min(1.0);
                gradient.iter_mut().for_each(|g| *g *= clip);
                let rate = RATE * 0.5 * (1.0 + (PI * step as f64 / STEPS as f64).cos());
                adam.step(&mut phi, &gradient, rate);
            }
            let row = Progress {
                stage: Stage::Flow,
                start,
                iteration: step,
                gradients: self.pool.borrow().gradients,
                objective: f,
                gradient_norm: norm,
                seconds: self.journal.seconds(),
            };
            if step.is_multiple_of(EVERY) {
                self.trace.push(row);
                (self.progress)(&row);
            }
            self.halt = self.options.halt(row.gradients);
            if self.halt.is_some() {
                return None;
            }
        }
        phi.iter().all(|p| p.is_finite()).then_some(phi)
    }
}
