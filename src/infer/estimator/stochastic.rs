//! A Gaussian guide's objective over random draws, as a program on the tape.

use std::cell::RefCell;
use std::f64::consts::TAU;

use super::{Batch, Estimator, Pull, Scratch};
use crate::infer::frame::{Frame, GuideNode, Scale};
use crate::infer::linalg::solve_lower_transposed;
use crate::infer::pool::Pool;
use crate::tape::{Node, Tape, Var};

pub struct Stochastic<'p> {
    tape: Tape<'p>,
    draws: Var,
}

impl<'p> Stochastic<'p> {
    /// Over `z`, `rows × noisy`: all of the draws, or the half that is mirrored.
    pub fn new<'t>(
        frame: &Frame,
        z: &[f64],
        rows: usize,
        estimator: Box<dyn Estimator + 'p>,
        pool: &'p RefCell<Pool<'t>>,
    ) -> Stochastic<'p>
    where
        't: 'p,
    {
        let (dim, noisy) = (frame.dim(), frame.noisy());
        let mirrored = estimator.mirrored();
        let all = if mirrored { 2 * rows } else { rows };
        let mut tape = Tape::new(frame.parameters());
        let phi = tape.parameters();
        let draws = tape.constant(z);
        let theta = tape.node(&[phi, draws], all * dim, GuideNode::new(frame.clone(), mirrored));
        let apart = estimator.uses_parts() && frame.is_diagonal() && pool.borrow().has_parts();
        let node = DivergenceNode {
            pool,
            estimator,
            scale: Scale::new(frame),
            log_det: frame.noise.log_det(noisy),
            frame: frame.clone(),
            log_p: vec![0.0; all],
            log_q: vec![0.0; all],
            gradients: vec![0.0; all * dim],
            scores: vec![0.0; all * noisy],
            parts: vec![0.0; if apart { all * noisy } else { 0 }],
            terms: vec![0.0; if apart { all * dim } else { 0 }],
            pull: vec![0.0; all * dim],
            logs: vec![0.0; noisy],
            scratch: Scratch::default(),
        };
        tape.node(&[theta, phi, draws], 1, node);
        Stochastic { tape, draws }
    }

    /// Replace the draws.
    pub fn redraw(&mut self, z: &[f64]) {
        self.tape.set(self.draws, z);
    }

    /// Value and gradient estimate; the gradient is untouched where the value is not finite.
    pub fn value_grad(&mut self, phi: &[f64], gradient: &mut [f64]) -> f64 {
        let f = self.tape.forward(phi);
        if !f.is_finite() {
            return f64::INFINITY;
        }
        gradient.copy_from_slice(self.tape.backward());
        f
    }
}

/// (θ rows, φ, Z) ↦ the estimator's objective.
struct DivergenceNode<'p, 't> {
    pool: &'p RefCell<Pool<'t>>,
    estimator: Box<dyn Estimator + 'p>,
    frame: Frame,
    scale: Scale,
    /// log |B|.
    log_det: f64,
    log_p: Vec<f64>,
    log_q: Vec<f64>,
    gradients: Vec<f64>,
    scores: Vec<f64>,
    /// Of each coordinate, empty where they are not told apart: its terms less its log density, and its terms.
    parts: Vec<f64>,
    terms: Vec<f64>,
    pull: Vec<f64>,
    logs: Vec<f64>,
    scratch: Scratch,
}

impl DivergenceNode<'_, '_> {
    /// log q and s of every draw.
    fn densities(&mut self, phi: &[f64], z: &[f64]) {
        let (dim, n) = (self.frame.dim(), self.frame.noisy());
        self.scale.fill(&self.frame, phi);
        let log_det = self.log_det + phi[dim..dim + n].iter().sum::<f64>();
        let constant = -log_det - 0.5 * n as f64 * TAU.ln();
        if n == 0 {
            return self.log_q.fill(constant);
        }
        let half = z.len() / n;
        for k in 0..self.log_q.len() {
            let zk = &z[k % half * n..][..n];
            let sign = if k < half { 1.0 } else { -1.0 };
            let s = &mut self.scores[k * n..(k + 1) * n];
            s.iter_mut().zip(zk).for_each(|(s, z)| *s = sign * z);
            self.log_q[k] = constant - 0.5 * zk.iter().map(|z| z * z).sum::<f64>();
            if self.frame.is_diagonal() {
                s.iter_mut().zip(&self.scale.t).for_each(|(s, t)| *s /= t);
                for (i, part) in self.parts.iter_mut().skip(k * n).take(n).enumerate() {
                    let log_q = -0.5 * (zk[i] * zk[i] + TAU.ln()) - self.scale.t[i].ln();
                    *part = self.terms[k * self.frame.dim() + i] - log_q;
                }
            } else {
                solve_lower_transposed(&self.scale.t, n, s);
            }
        }
    }
}

impl Node for DivergenceNode<'_, '_> {
    fn forward(&mut self, operands: &[&[f64]], out: &mut [f64]) {
        let (theta, phi, z) = (operands[0], operands[1], operands[2]);
        let (dim, noisy) = (self.frame.dim(), self.frame.noisy());
        if self.estimator.uses_gradients() || dim > noisy {
            self.pool.borrow_mut().value_grad(theta, &mut self.log_p, &mut self.gradients);
        } else if self.parts.is_empty() {
            self.pool.borrow_mut().value(theta, &mut self.log_p);
        }
        if !self.parts.is_empty() {
            self.pool.borrow_mut().parts(theta, &mut self.log_p, &mut self.terms);
        }
        self.densities(phi, z);
        self.pull.fill(0.0);
        self.logs.fill(0.0);
        let batch = Batch {
            dim,
            noisy,
            log_p: &self.log_p,
            log_q: &self.log_q,
            gradients: &self.gradients,
            scores: &self.scores,
            parts: &self.parts,
        };
        let mut pull = Pull { theta: &mut self.pull, logs: &mut self.logs };
        out[0] = self.estimator.weigh(&batch, &mut self.scratch, &mut pull);
    }

    fn backward(&mut self, _: &[&[f64]], _: &[f64], upstream: &[f64], adjoints: &mut [&mut [f64]]) {
        let (dim, noisy) = (self.frame.dim(), self.frame.noisy());
        adjoints[0].iter_mut().zip(&self.pull).for_each(|(a, p)| *a += upstream[0] * p);
        adjoints[1][dim..dim + noisy].iter_mut().zip(&self.logs).for_each(|(a, l)| *a += upstream[0] * l);
    }
}
