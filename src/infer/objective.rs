//! The deterministic objective: the negative evidence lower bound over fixed draws, as a program on the tape.
//!
//! f(φ) = −(1/M) Σ_k log p(θ_k) − Σ_j ℓ_j − log|B| − n/2 (1 + log 2π), with θ_k from [`GuideNode`].

use std::cell::RefCell;
use std::f64::consts::TAU;

use super::frame::{Frame, GuideNode};
use super::pool::Pool;
use crate::tape::{Node, Tape, Var};

pub struct Objective<'p> {
    tape: Tape<'p>,
    draws: Var,
    theta: Var,
    log_joints: Var,
    parameters: usize,
    dim: usize,
}

impl<'p> Objective<'p> {
    /// Over `z`: half of the draws, row-major; the other half is its negative.
    pub fn new<'t>(frame: &Frame, z: &[f64], half: usize, pool: &'p RefCell<Pool<'t>>) -> Objective<'p>
    where
        't: 'p,
    {
        let (dim, n) = (frame.dim(), frame.noisy());
        let constant = -frame.noise.log_det(n) - 0.5 * n as f64 * (1.0 + TAU.ln());
        let bound = BoundNode { first: dim, count: n, constant };
        Objective::of(frame.parameters(), z, 2 * half, dim, GuideNode::new(frame.clone(), true), bound, pool)
    }

    /// From a guide's own nodes: `rows` makes `m` rows of theta from (parameters, draws), `bound` the objective from
    /// (log joints, parameters, theta).
    pub fn of<'t>(
        parameters: usize,
        z: &[f64],
        m: usize,
        dim: usize,
        rows: impl Node + 'p,
        bound: impl Node + 'p,
        pool: &'p RefCell<Pool<'t>>,
    ) -> Objective<'p>
    where
        't: 'p,
    {
        let mut tape = Tape::new(parameters);
        let phi = tape.parameters();
        let draws = tape.constant(z);
        let theta = tape.node(&[phi, draws], m * dim, rows);
        let log_joints = tape.node(&[theta], m, LogJointNode { pool, gradients: vec![0.0; m * dim], dim });
        tape.node(&[log_joints, phi, theta], 1, bound);
        Objective { tape, draws, theta, log_joints, parameters, dim }
    }

    pub fn parameters(&self) -> usize {
        self.parameters
    }

    /// Replace the draws.
    pub fn redraw(&mut self, z: &[f64]) {
        self.tape.set(self.draws, z);
    }

    /// Value, and gradient unless the value is not finite. Infinite where any draw's log joint is not finite.
    pub fn value_grad(&mut self, phi: &[f64], gradient: &mut [f64]) -> f64 {
        let f = self.tape.forward(phi);
        if f.is_finite() {
            gradient.copy_from_slice(self.tape.backward());
            f
        } else {
            f64::INFINITY
        }
    }

    /// The draws of theta, row by row, at the last evaluation.
    pub fn thetas(&self) -> &[f64] {
        self.tape.value(self.theta)
    }

    /// −(1/M) d log p / dθ of each draw, at the last finite [`Objective::value_grad`].
    pub fn theta_adjoint(&mut self) -> &[f64] {
        self.tape.adjoint(self.theta)
    }

    /// The first draw whose log joint was not finite in the last evaluation.
    pub fn first_non_finite(&self) -> Option<Vec<f64>> {
        let k = self.tape.value(self.log_joints).iter().position(|v| !v.is_finite())?;
        Some(self.tape.value(self.theta)[k * self.dim..(k + 1) * self.dim].to_vec())
    }
}

/// θ (rows) ↦ log p(θ_k). Value and gradient come from one pass, so the gradient is kept for the sweep.
struct LogJointNode<'p, 't> {
    pool: &'p RefCell<Pool<'t>>,
    gradients: Vec<f64>,
    dim: usize,
}

impl Node for LogJointNode<'_, '_> {
    fn forward(&mut self, operands: &[&[f64]], out: &mut [f64]) {
        self.pool.borrow_mut().value_grad(operands[0], out, &mut self.gradients);
    }

    fn backward(&mut self, _: &[&[f64]], _: &[f64], upstream: &[f64], adjoints: &mut [&mut [f64]]) {
        if self.dim == 0 {
            return;
        }
        for ((a, g), u) in adjoints[0].chunks_mut(self.dim).zip(self.gradients.chunks(self.dim)).zip(upstream) {
            a.iter_mut().zip(g).for_each(|(a, g)| *a += u * g);
        }
    }
}

/// (log joints, φ) ↦ the objective.
struct BoundNode {
    first: usize,
    count: usize,
    constant: f64,
}

impl Node for BoundNode {
    fn forward(&mut self, operands: &[&[f64]], out: &mut [f64]) {
        let lp = operands[0];
        let logs = &operands[1][self.first..self.first + self.count];
        let mean = lp.iter().sum::<f64>() / lp.len() as f64;
        out[0] = self.constant - mean - logs.iter().sum::<f64>();
    }

    fn backward(&mut self, operands: &[&[f64]], _: &[f64], upstream: &[f64], adjoints: &mut [&mut [f64]]) {
        let share = upstream[0] / operands[0].len() as f64;
        adjoints[0].iter_mut().for_each(|a| *a -= share);
        adjoints[1][self.first..self.first + self.count].iter_mut().for_each(|a| *a -= upstream[0]);
    }
}
