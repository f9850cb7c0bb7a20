//! The lower bound of a guide whose draws are functions of noise and params, over given draws of the noise.
//!
//! f(ψ) = −(1/M) Σ_k F(θ_k) − Σ_j ℓ_j − n/2 (1 + log 2π), where F is the log joint over noise, params and the latents of
//! families. Of θ_k, a param is its value, noise is z_k itself, and a latent of a family is m + C z_k, with C diagonal
//! (e^ℓ) but for the strict lower triangles of those that are drawn together.

use std::cell::RefCell;
use std::f64::consts::TAU;
use std::ops::Range;

use crate::infer::frame::Basis;
use crate::infer::lbfgs::Function;
use crate::infer::pool::Pool;
use crate::infer::target::Role;

/// What the coordinates are, in the order in which the engine works: those with noise first.
#[derive(Clone, Debug)]
pub struct Coordinates {
    pub dim: usize,
    /// How many have noise.
    pub noisy: usize,
    /// Of the others, those that are fitted.
    points: Vec<usize>,
    /// Of those with noise, the latents of families.
    free: Vec<usize>,
    /// Pairs (i, j) of these, j before i, that are drawn together.
    pairs: Vec<(usize, usize)>,
    /// Inputs that stand for what discrete latents do, see [`Role`].
    switch: Option<usize>,
    /// Whether what is fitted is a relaxation of the bound.
    pub relaxed: bool,
    terms: Vec<usize>,
    scores: Vec<usize>,
}

impl Coordinates {
    pub fn new(roles: &[Role]) -> Coordinates {
        let noisy = roles.iter().filter(|r| matches!(r, Role::Noise | Role::Family(_))).count();
        let of = |role: Role| (0..roles.len()).filter(|&i| roles[i] == role).collect::<Vec<usize>>();
        let group = |i: &usize| if let Role::Family(g) = roles[*i] { Some(g) } else { None };
        let free: Vec<usize> = (0..noisy).filter(|i| group(i).is_some()).collect();
        let together = |i: usize, j: usize| group(&i).is_some_and(|g| g > 0 && Some(g) == group(&j));
        let before = |&i: &usize| free.iter().filter(move |j| **j < i).map(move |&j| (i, j));
        let pairs = free.iter().flat_map(before).filter(|&(i, j)| together(i, j)).collect();
        let (points, terms, scores) = (of(Role::Point), of(Role::Terms), of(Role::Score));
        let relaxed = of(Role::Relaxed).first().copied();
        let switch = of(Role::Switch).first().copied().or(relaxed);
        Coordinates { dim: roles.len(), noisy, points, free, pairs, switch, relaxed: relaxed.is_some(), terms, scores }
    }

    /// ψ: params, means, logs of sds, strict triangles.
    pub fn parameters(&self) -> usize {
        self.points() + 2 * self.free.len() + self.pairs.len()
    }

    fn points(&self) -> usize {
        self.points.len()
    }

    /// Whether the gradient of some latent is by the score function.
    pub fn scored(&self) -> bool {
        !self.terms.is_empty()
    }

    fn means(&self) -> Range<usize> {
        self.points()..self.points() + self.free.len()
    }

    fn logs(&self) -> Range<usize> {
        self.means().end..self.means().end + self.free.len()
    }

    /// The latent of a family with the largest sd, and that sd.
    pub fn widest(&self, psi: &[f64]) -> Option<(usize, f64)> {
        let sds = psi[self.logs()].iter().map(|l| l.exp());
        self.free.iter().copied().zip(sds).max_by(|a, b| a.1.total_cmp(&b.1))
    }

    pub fn diagonal(&self) -> bool {
        self.pairs.is_empty()
    }

    /// ψ where the coordinates are at `centre` and those of families have this sd.
    pub fn begin(&self, centre: &[f64], log_sd: f64) -> Vec<f64> {
        let mut psi = vec![0.0; self.parameters()];
        psi.iter_mut().zip(&self.points).for_each(|(p, &i)| *p = centre[i]);
        psi[self.means()].iter_mut().zip(&self.free).for_each(|(m, &i)| *m = centre[i]);
        psi[self.logs()].fill(log_sd);
        psi
    }

    /// The guide at ψ as a normal: its centre, and its scale over the coordinates with noise. `drawn`: enumerated latents
    /// are taken at the values drawn.
    pub fn normal(&self, psi: &[f64], drawn: bool) -> (Vec<f64>, Basis) {
        let mut centre = vec![0.0; self.dim];
        self.points.iter().zip(psi).for_each(|(&i, p)| centre[i] = *p);
        self.switch.iter().for_each(|&i| centre[i] = f64::from(u8::from(drawn)));
        let mut sds = vec![1.0; self.noisy];
        for ((&i, m), l) in self.free.iter().zip(&psi[self.means()]).zip(&psi[self.logs()]) {
            (centre[i], sds[i]) = (*m, l.exp());
        }
        let diagonal = Basis::Diagonal(sds);
        if self.diagonal() {
            return (centre, diagonal);
        }
        let mut lower = diagonal.to_lower(self.noisy);
        for (&(i, j), c) in self.pairs.iter().zip(&psi[self.logs().end..]) {
            lower[i * self.noisy + j] = *c;
        }
        (centre, Basis::Lower(lower))
    }

    /// θ from noise `z`.
    fn place(&self, psi: &[f64], z: &[f64], theta: &mut [f64]) {
        theta[..self.noisy].copy_from_slice(z);
        self.points.iter().zip(psi).for_each(|(&i, p)| theta[i] = *p);
        for ((&i, m), l) in self.free.iter().zip(&psi[self.means()]).zip(&psi[self.logs()]) {
            theta[i] = m + l.exp() * z[i];
        }
        for (&(i, j), c) in self.pairs.iter().zip(&psi[self.logs().end..]) {
            theta[i] += c * z[j];
        }
    }

    /// Add d F / d ψ, from d F / d θ.
    fn pull_back(&self, psi: &[f64], z: &[f64], by_theta: &[f64], by_psi: &mut [f64]) {
        let add = |out: &mut [f64], at: usize, x: f64| out[at] += x;
        self.points.iter().enumerate().for_each(|(p, &i)| add(by_psi, p, by_theta[i]));
        for (k, &i) in self.free.iter().enumerate() {
            add(by_psi, self.means().start + k, by_theta[i]);
            let at = self.logs().start + k;
            add(by_psi, at, by_theta[i] * psi[at].exp() * z[i]);
        }
        for (k, &(i, j)) in self.pairs.iter().enumerate() {
            add(by_psi, self.logs().end + k, by_theta[i] * z[j]);
        }
    }
}

/// The objective over a set of draws, which may be replaced.
pub struct Bound<'p, 't> {
    pub coordinates: &'p Coordinates,
    pool: &'p RefCell<Pool<'t>>,
    /// Row-major, a row of noise per draw.
    pub z: Vec<f64>,
    theta: Vec<f64>,
    values: Vec<f64>,
    by_theta: Vec<f64>,
}

impl<'p, 't> Bound<'p, 't> {
    /// `z`: half of the draws, or all of them; the other half is its negative if `paired`.
    pub fn new(
        coordinates: &'p Coordinates,
        pool: &'p RefCell<Pool<'t>>,
        z: &[f64],
        rows: usize,
        paired: bool,
    ) -> Bound<'p, 't> {
        let mut all = z.to_vec();
        if paired {
            all.extend(z.iter().map(|z| -z));
        }
        let rows = if paired { 2 * rows } else { rows };
        let dim = coordinates.dim;
        Bound {
            coordinates,
            pool,
            z: all,
            theta: vec![0.0; rows * dim],
            values: vec![0.0; rows],
            by_theta: vec![0.0; rows * dim],
        }
    }

    /// The draws at which the log joint was not finite in the last evaluation, as coordinates.
    pub fn first_non_finite(&self) -> Option<Vec<f64>> {
        let k = self.values.iter().position(|v| !v.is_finite())?;
        Some(self.theta[k * self.coordinates.dim..][..self.coordinates.dim].to_vec())
    }
}

impl Function for Bound<'_, '_> {
    fn value_grad(&mut self, psi: &[f64], gradient: &mut [f64]) -> f64 {
        let c = self.coordinates;
        let rows = self.values.len();
        for k in 0..rows {
            c.place(psi, &self.z[k * c.noisy..(k + 1) * c.noisy], &mut self.theta[k * c.dim..(k + 1) * c.dim]);
        }
        let mut pool = self.pool.borrow_mut();
        pool.value_grad(&self.theta, &mut self.values, &mut self.by_theta);
        let total: f64 = self.values.iter().sum();
        if !total.is_finite() {
            return f64::INFINITY;
        }
        if c.scored() {
            // The second pass adds A ∇ log q. The baseline of a draw is the mean of the others (Kool, van Hoof and Welling 2019).
            for (&t, &s) in c.terms.iter().zip(&c.scores) {
                let sum: f64 = (0..rows).map(|k| self.by_theta[k * c.dim + t]).sum();
                for k in 0..rows {
                    let own = self.by_theta[k * c.dim + t];
                    self.theta[k * c.dim + s] = own - (sum - own) / (rows - 1).max(1) as f64;
                }
            }
            let mut values = vec![0.0; rows];
            pool.value_grad(&self.theta, &mut values, &mut self.by_theta);
            if self.by_theta.iter().any(|g| !g.is_finite()) {
                return f64::INFINITY;
            }
            for (k, &s) in (0..rows).flat_map(|k| c.scores.iter().map(move |s| (k, s))) {
                self.theta[k * c.dim + s] = 0.0;
            }
        }
        gradient.fill(0.0);
        for k in 0..rows {
            let z = &self.z[k * c.noisy..(k + 1) * c.noisy];
            c.pull_back(psi, z, &self.by_theta[k * c.dim..(k + 1) * c.dim], gradient);
        }
        let share = -1.0 / rows as f64;
        gradient.iter_mut().for_each(|g| *g *= share);
        gradient[c.logs()].iter_mut().for_each(|g| *g -= 1.0);
        let entropy = psi[c.logs()].iter().sum::<f64>() + 0.5 * c.noisy as f64 * (1.0 + TAU.ln());
        share * total - entropy
    }

    fn longest_step(&self, direction: &[f64]) -> f64 {
        // As for families alone: a log sd moves by at most 3 at once.
        3.0 / direction[self.coordinates.logs()].iter().fold(0.0, |m: f64, d| m.max(d.abs()))
    }
}
