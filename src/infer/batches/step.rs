//! Stochastic steps: Adam, AdamW and gradient descent with momentum, and how the rate goes.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

/// Share of a weight that AdamW takes away per step and unit of rate (Loshchilov and Hutter 2019).
const DECAY: f64 = 0.01;
const MOMENTUM: f64 = 0.9;
/// Of Adam (Kingma and Ba 2015, algorithm 1).
const BETA: [f64; 2] = [0.9, 0.999];
const EPSILON: f64 = 1e-8;

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
    /// Steps over which the rate rises from near 0 to what the schedule says.
    pub warm_up: usize,
    /// Gradients longer than this are shortened to it.
    pub clip: Option<f64>,
}

impl Optimizer {
    /// The rate of step `n` of so many.
    pub fn rate_at(&self, n: usize, steps: usize) -> f64 {
        let t = n as f64 / steps.max(1) as f64;
        let rising = if n < self.warm_up { (n + 1) as f64 / self.warm_up as f64 } else { 1.0 };
        let falling = match self.schedule {
            Schedule::Constant => 1.0,
            Schedule::Linear => (2.0 * (1.0 - t)).min(1.0),
            Schedule::Cosine => 0.5 * (1.0 + (PI * t).cos()),
        };
        self.rate * rising * falling
    }
}

/// Running means of the gradient and of its square; of descent with momentum the velocity alone.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Moments {
    first: Vec<f64>,
    second: Vec<f64>,
    steps: i32,
}

impl Moments {
    pub fn new(rule: Rule, parameters: usize) -> Moments {
        let second = if rule == Rule::Sgd { 0 } else { parameters };
        Moments { first: vec![0.0; parameters], second: vec![0.0; second], steps: 0 }
    }

    /// One step of descent at this rate, along `scale` times the gradient. `decays`: the params that AdamW shrinks.
    pub fn step(
        &mut self,
        optimizer: &Optimizer,
        rate: f64,
        psi: &mut [f64],
        gradient: &[f64],
        scale: f64,
        decays: &[bool],
    ) {
        let mut scale = scale;
        if let Some(most) = optimizer.clip {
            let length = scale.abs() * gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
            if length > most {
                scale *= most / length;
            }
        }
        self.steps = self.steps.saturating_add(1);
        match optimizer.rule {
            Rule::Adam => self.adam(rate, psi, gradient, scale),
            Rule::AdamW => {
                let kept = 1.0 - rate * DECAY;
                psi.iter_mut().zip(decays).filter(|p| *p.1).for_each(|(p, _)| *p *= kept);
                self.adam(rate, psi, gradient, scale);
            }
            Rule::Sgd => {
                for ((p, v), g) in psi.iter_mut().zip(&mut self.first).zip(gradient) {
                    *v = MOMENTUM * *v + scale * g;
                    *p -= rate * *v;
                }
            }
        }
    }

    /// In one pass over the numbers: there may be millions, and their memory is what takes time.
    fn adam(&mut self, rate: f64, psi: &mut [f64], gradient: &[f64], scale: f64) {
        let [c1, c2] = BETA.map(|b| 1.0 / (1.0 - b.powi(self.steps)));
        let moments = self.first.iter_mut().zip(&mut self.second);
        for ((p, g), (m, v)) in psi.iter_mut().zip(gradient).zip(moments) {
            let g = scale * g;
            *m = BETA[0] * *m + (1.0 - BETA[0]) * g;
            *v = BETA[1] * *v + (1.0 - BETA[1]) * g * g;
            *p -= rate * (*m * c1) / ((*v * c2).sqrt() + EPSILON);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tape;

    fn optimizer(rule: Rule) -> Optimizer {
        Optimizer { rule, rate: 0.1, schedule: Schedule::Constant, warm_up: 0, clip: None }
    }

    /// The same steps as dfdx takes, up to rounding.
    #[test]
    fn adam_is_that_of_the_tape() {
        let (mut here, mut there) = ([1.0, -2.0, 0.3], [1.0, -2.0, 0.3]);
        let (mut moments, mut adam) = (Moments::new(Rule::Adam, 3), tape::Adam::new(3));
        for i in 0..50 {
            let rate = 0.1 / (1.0 + f64::from(i));
            let g = |x: [f64; 3]| [x[0], 3.0 * x[1], x[2].powi(3)];
            let gradient = g(here);
            moments.step(&optimizer(Rule::Adam), rate, &mut here, &gradient, 1.0, &[false; 3]);
            let gradient = g(there);
            adam.step(&mut there, &gradient, rate);
            for (a, b) in here.iter().zip(there) {
                assert!((a - b).abs() < 1e-12, "{a} and {b}");
            }
        }
    }

    #[test]
    fn long_gradients_are_shortened_and_weights_shrink() {
        let clipped = Optimizer { clip: Some(1.0), ..optimizer(Rule::Sgd) };
        let mut psi = [0.0, 0.0];
        Moments::new(Rule::Sgd, 2).step(&clipped, 0.1, &mut psi, &[30.0, -40.0], 1.0, &[false; 2]);
        assert!((psi[0] + 0.06).abs() < 1e-15 && (psi[1] - 0.08).abs() < 1e-15, "{psi:?}");
        let mut psi = [2.0, 2.0];
        Moments::new(Rule::AdamW, 2).step(&optimizer(Rule::AdamW), 0.1, &mut psi, &[0.0; 2], 1.0, &[true, false]);
        assert_eq!(psi, [2.0 * (1.0 - 0.1 * DECAY), 2.0]);
    }

    #[test]
    fn rates_rise_and_fall() {
        let at = |schedule, n| Optimizer { schedule, warm_up: 10, ..optimizer(Rule::Adam) }.rate_at(n, 100);
        for (schedule, n, rate) in [
            (Schedule::Constant, 0, 0.01),
            (Schedule::Constant, 4, 0.05),
            (Schedule::Constant, 99, 0.1),
            (Schedule::Linear, 50, 0.1),
            (Schedule::Linear, 75, 0.05),
            (Schedule::Cosine, 50, 0.05),
        ] {
            assert!((at(schedule, n) - rate).abs() < 1e-15, "{schedule:?} {n}: {}", at(schedule, n));
        }
    }
}
