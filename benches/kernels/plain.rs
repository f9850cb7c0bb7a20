//! The same models in dfdx's own operations.

use dfdx::prelude::*;

use crate::hand::normal_value;
use crate::models::Data;

type Vector = Tensor<(usize,), f64, Cpu>;

pub struct Plain {
    device: Cpu,
    x: Tensor<(usize, usize), f64, Cpu>,
    y: Vector,
    group: Tensor<(usize,), usize, Cpu>,
    columns: usize,
}

impl Plain {
    pub fn new(d: &Data) -> Plain {
        let device = Cpu::default();
        let (n, k) = (d.y.len(), d.x.len() / d.y.len());
        let rows: Vec<f64> = (0..n * k).map(|at| d.x[at % k * n + at / k]).collect();
        let group = d.group.iter().map(|g| *g as usize).collect::<Vec<_>>();
        Plain {
            x: device.tensor_from_vec(rows, (n, k)),
            y: device.tensor_from_vec(d.y.to_vec(), (n,)),
            group: device.tensor_from_vec(group, (d.group.len(),)),
            columns: k,
            device,
        }
    }

    fn vector(&self, numbers: &[f64]) -> Vector {
        self.device.tensor_from_vec(numbers.to_vec(), (numbers.len(),))
    }

    fn scalar(&self, number: f64) -> Tensor<Rank0, f64, Cpu> {
        self.device.tensor(number)
    }

    pub fn normal(&self, theta: &[f64], grad: &mut [f64]) -> f64 {
        let (k, n) = (self.columns, self.y.shape().0);
        let (alpha, beta, log_sigma) = (self.scalar(theta[0]), self.vector(&theta[1..=k]), self.scalar(theta[k + 1]));
        let eta = self.x.leaky_trace().matmul(beta.clone());
        let mu = eta + alpha.leaky_trace().broadcast_like(&(n,));
        let (ls, tape) = log_sigma.leaky_trace().broadcast_like(&(n,)).split_tape();
        let z = (self.y.clone().put_tape(tape) - mu) / ls.retaped::<OwnedTape<f64, Cpu>>().exp();
        let value = (z.square() * -0.5 - ls).sum::<Rank0, _>();
        let out = value.array() + normal_value(n as f64, 0.0, 0.0);
        let g = value.backward();
        grad[0] = g.get(&alpha).array();
        grad[1..=k].copy_from_slice(&g.get(&beta).as_vec());
        grad[k + 1] = g.get(&log_sigma).array() + 1.0;
        out + theta[k + 1]
    }

    pub fn logit(&self, theta: &[f64], grad: &mut [f64]) -> f64 {
        let (k, n) = (self.columns, self.y.shape().0);
        let (alpha, beta) = (self.scalar(theta[0]), self.vector(&theta[1..=k]));
        let eta = self.x.leaky_trace().matmul(beta.clone());
        let eta = eta + alpha.leaky_trace().broadcast_like(&(n,));
        let (e, tape) = eta.split_tape();
        let softplus = (e.clone().put_tape(tape).exp() + 1.0).ln();
        let value = (e.retaped::<OwnedTape<f64, Cpu>>() * self.y.clone() - softplus).sum::<Rank0, _>();
        let out = value.array();
        let g = value.backward();
        grad[0] = g.get(&alpha).array();
        grad[1..=k].copy_from_slice(&g.get(&beta).as_vec());
        out
    }

    pub fn groups(&self, theta: &[f64], grad: &mut [f64]) -> f64 {
        let (m, n) = (theta.len() - 2, self.y.shape().0);
        let (alpha, beta, log_sigma) = (self.vector(&theta[..m]), self.scalar(theta[m]), self.scalar(theta[m + 1]));
        let x: Vector = self.x.clone().reshape_like(&(n,));
        let mu = alpha.leaky_trace().gather(self.group.clone()) + beta.leaky_trace().broadcast_like(&(n,)) * x;
        let (ls, tape) = log_sigma.leaky_trace().broadcast_like(&(n,)).split_tape();
        let z = (self.y.clone().put_tape(tape) - mu) / ls.retaped::<OwnedTape<f64, Cpu>>().exp();
        let value = (z.square() * -0.5 - ls).sum::<Rank0, _>();
        let out = value.array() + normal_value(n as f64, 0.0, 0.0);
        let g = value.backward();
        grad[..m].copy_from_slice(&g.get(&alpha).as_vec());
        grad[m] = g.get(&beta).array();
        grad[m + 1] = g.get(&log_sigma).array() + 1.0;
        out + theta[m + 1]
    }
}
