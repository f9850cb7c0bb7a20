//! Draws of base noise.

use std::f64::consts::PI;

use rand::Rng;
use rand_distr::{Binomial, Distribution, Gamma, Hypergeometric, Open01, Poisson, StandardNormal};

use super::{Cells, Sampler};
use crate::hir::{AxisId, Noise};

impl<R: Rng> Sampler<'_, R> {
    /// One draw per cell of `axes`.
    pub(super) fn noise(&mut self, noise: Noise, params: &[Cells], axes: &[AxisId]) -> Cells {
        if let Noise::Multinomial(k) = noise {
            return self.multinomial(k, params, axes);
        }
        if let Noise::Lkj { matrix, factor } = noise {
            return self.lkj(matrix, factor, &params[0], axes);
        }
        if let Noise::Wishart { matrix, scale, inverse } = noise {
            return self.wishart(matrix, scale, inverse, params, axes);
        }
        let axes = axes.to_vec();
        let mut cells = vec![];
        self.cells(&axes, |at| cells.push(at.to_vec()));
        let mut numbers = Vec::with_capacity(cells.len());
        for at in cells {
            let p: Vec<f64> = match noise {
                Noise::Categorical(_) => vec![],
                _ => params.iter().map(|p| p.numbers[self.offset(p, &axes, &at)]).collect(),
            };
            numbers.push(match noise {
                Noise::Normal => StandardNormal.sample(&mut self.rng),
                Noise::Uniform => Open01.sample(&mut self.rng),
                Noise::Gamma => Gamma::new(p[0], 1.0).map_or(f64::NAN, |d| d.sample(&mut self.rng)),
                Noise::Poisson if p[0] == 0.0 => 0.0,
                Noise::Poisson => Poisson::new(p[0]).map_or(f64::NAN, |d| d.sample(&mut self.rng)),
                Noise::Binomial => {
                    Binomial::new(p[0] as u64, p[1]).map_or(f64::NAN, |d| d.sample(&mut self.rng) as f64)
                }
                Noise::Hypergeometric => Hypergeometric::new((p[1] + p[2]) as u64, p[1] as u64, p[0] as u64)
                    .map_or(f64::NAN, |d| d.sample(&mut self.rng) as f64),
                Noise::VonMises => von_mises(p[0], &mut self.rng),
                Noise::Categorical(k) => {
                    let u: f64 = Open01.sample(&mut self.rng);
                    let mut inner = axes.clone();
                    inner.push(k);
                    let size = self.axis_size(k);
                    let mut below = 0.0;
                    let chosen = (0..size).find(|&i| {
                        let mut cell = at.clone();
                        cell.push(i);
                        below += params[0].numbers[self.offset(&params[0], &inner, &cell)];
                        u < below
                    });
                    chosen.unwrap_or(size - 1) as f64
                }
                Noise::Multinomial(_) => unreachable!("drawn above, all cells of its axis together"),
                Noise::Lkj { .. } | Noise::Wishart { .. } => {
                    unreachable!("drawn above, all cells of a matrix together")
                }
            });
        }
        Cells { axes, numbers }
    }

    /// Cell after cell of `k`: the count on each is binomial among those that are left.
    fn multinomial(&mut self, k: AxisId, params: &[Cells], axes: &[AxisId]) -> Cells {
        let outer: Vec<AxisId> = axes.iter().copied().filter(|a| *a != k).collect();
        let all: Vec<AxisId> = outer.iter().copied().chain([k]).collect();
        let (size, mut cells) = (self.axis_size(k), vec![]);
        self.cells(&outer, |at| cells.push(at.to_vec()));
        let mut drawn = Cells { axes: all.clone(), numbers: vec![0.0; cells.len() * size] };
        for (row, at) in cells.iter().enumerate() {
            let cell = |i: usize| [&at[..], &[i]].concat();
            let p: Vec<f64> = (0..size).map(|i| params[1].numbers[self.offset(&params[1], &all, &cell(i))]).collect();
            let mut left = params[0].numbers[self.offset(&params[0], &all, &cell(0))] as u64;
            for i in 0..size {
                let rest: f64 = p[i..].iter().sum();
                let share = if rest > 0.0 { (p[i] / rest).min(1.0) } else { 0.0 };
                let count = match i + 1 == size {
                    true => left,
                    false => Binomial::new(left, share).map_or(0, |d| d.sample(&mut self.rng)),
                };
                left -= count;
                drawn.numbers[row + i * cells.len()] = count as f64;
            }
        }
        self.spread(&drawn, axes)
    }
}

/// Best and Fisher (1979), "Efficient simulation of the von Mises distribution": rejection from a wrapped Cauchy.
fn von_mises(kappa: f64, rng: &mut impl Rng) -> f64 {
    let mut uniform = || -> f64 { Open01.sample(rng) };
    if kappa < 1e-8 {
        return PI * (2.0 * uniform() - 1.0);
    }
    let r = if kappa < 1e-5 {
        // What follows, without its cancellation.
        1.0 / kappa + kappa
    } else {
        let tau = 1.0 + (1.0 + 4.0 * kappa * kappa).sqrt();
        let rho = (tau - (2.0 * tau).sqrt()) / (2.0 * kappa);
        (1.0 + rho * rho) / (2.0 * rho)
    };
    loop {
        let z = (PI * uniform()).cos();
        let f = (1.0 + r * z) / (r + z);
        let (c, u) = (kappa * (r - f), uniform());
        if c * (2.0 - c) > u || (c / u).ln() + 1.0 >= c {
            let angle = f.clamp(-1.0, 1.0).acos();
            return if uniform() < 0.5 { -angle } else { angle };
        }
        if kappa.is_nan() {
            return f64::NAN;
        }
    }
}
