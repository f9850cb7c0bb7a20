//! Stochastic steps: Adam, AdamW and gradient descent with momentum, and how the rate goes.

use std::f64::consts::PI;

use crate::tape::Adam;

/// Share of a weight that AdamW takes away per step and unit of rate (Loshchilov and Hutter 2019).
const DECAY: f64 = 0.01;
const MOMENTUM: f64 = 0.9;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    Adam,
    AdamW,
    Sgd,
}

/// How the rate changes over the fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Schedule {
    Constant,
    /// Constant over the first half, then falling to 0.
    Linear,
    Cosine,
}

#[derive(Clone, Debug)]
pub struct Optimizer {
    pub rule: Rule,
    pub rate: f64,
    pub schedule: Schedule,
    /// Gradients longer than this are shortened to it.
    pub clip: Option<f64>,
}

pub struct Stepper<'o> {
    options: &'o Optimizer,
    adam: Adam,
    velocity: Vec<f64>,
    clipped: Vec<f64>,
    step: usize,
    steps: usize,
}

impl<'o> Stepper<'o> {
    pub fn new(options: &'o Optimizer, parameters: usize, steps: usize) -> Stepper<'o> {
        let sgd = options.rule == Rule::Sgd;
        Stepper {
            options,
            adam: Adam::new(if sgd { 0 } else { parameters }),
            velocity: vec![0.0; if sgd { parameters } else { 0 }],
            clipped: vec![0.0; if options.clip.is_some() { parameters } else { 0 }],
            step: 0,
            steps: steps.max(1),
        }
    }

    pub fn rate(&self) -> f64 {
        let t = self.step as f64 / self.steps as f64;
        self.options.rate
            * match self.options.schedule {
                Schedule::Constant => 1.0,
                Schedule::Linear => (2.0 * (1.0 - t)).min(1.0),
                Schedule::Cosine => 0.5 * (1.0 + (PI * t).cos()),
            }
    }

    /// One descent step. `decays`: the params that AdamW shrinks.
    pub fn step(&mut self, psi: &mut [f64], gradient: &[f64], decays: &[bool]) {
        let rate = self.rate();
        let mut gradient = gradient;
        if let Some(most) = self.options.clip {
            let length = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
            let share = if length > most { most / length } else { 1.0 };
            self.clipped.iter_mut().zip(gradient).for_each(|(c, g)| *c = share * g);
            gradient = &self.clipped;
        }
        match self.options.rule {
            Rule::Adam => self.adam.step(psi, gradient, rate),
            Rule::AdamW => {
                let kept = 1.0 - rate * DECAY;
                psi.iter_mut().zip(decays).filter(|p| *p.1).for_each(|(p, _)| *p *= kept);
                self.adam.step(psi, gradient, rate);
            }
            Rule::Sgd => {
                for ((p, v), g) in psi.iter_mut().zip(&mut self.velocity).zip(gradient) {
                    *v = MOMENTUM * *v + g;
                    *p -= rate * *v;
                }
            }
        }
        self.step += 1;
    }
}
