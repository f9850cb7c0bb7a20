//! Adam on one flat parameter vector: dfdx's update.

use dfdx::prelude::{AdamConfig, Cpu, Storage, Tensor, ZerosTensor};

/// Moments and step count of Adam (Kingma & Ba).
pub struct Adam {
    parameters: Tensor<(usize,), f64, Cpu>,
    moment1: <Cpu as Storage<f64>>::Vec,
    moment2: <Cpu as Storage<f64>>::Vec,
    gradient: <Cpu as Storage<f64>>::Vec,
    step: i32,
}

impl Adam {
    pub fn new(parameters: usize) -> Adam {
        let device = Cpu::default();
        let buffer =
            || device.try_alloc_len(parameters).expect("three vectors of the parameters' length fit in memory");
        let (moment1, moment2, gradient) = (buffer(), buffer(), buffer());
        Adam { parameters: device.zeros_like(&(parameters,)), moment1, moment2, gradient, step: 0 }
    }

    /// One descent step.
    pub fn step(&mut self, parameters: &mut [f64], gradient: &[f64], rate: f64) {
        self.step += 1;
        self.parameters.copy_from(parameters);
        self.gradient.copy_from_slice(gradient);
        let config = AdamConfig { lr: rate, ..AdamConfig::default() };
        config
            .try_update(self.step, &mut self.parameters, &mut self.moment1, &mut self.moment2, &self.gradient)
            .expect("the update works in place");
        self.parameters.copy_into(parameters);
    }
}
