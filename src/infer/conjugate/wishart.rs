//! Wishart factors of precision matrices, and inverse Wishart ones of covariances.
//!
//! The density is exp(a log |X| − tr(T Y)), over its integral |T|^(−ν/2) Γₚ(ν/2), with Y = X and ν = 2a + p + 1, or Y = X⁻¹ and
//! ν = −2a − p − 1. Either way Y is Wishart with ν degrees of freedom and the scale (2T)⁻¹ (Gupta and Nagar 2000, chapter 3).

use std::f64::consts::{LN_2, PI};

use super::Trouble;
use super::block::Matrix;
use super::factor::log_gamma;
use crate::infer::linalg::{cholesky, invert_lower, solve_lower, solve_lower_transposed};
use crate::infer::rng::Stream;
use crate::prim::scalar::{digamma, lgamma};

/// Draws that moments of coordinates are taken from: where starts lie, and scales of steps.
const DRAWS: usize = 256;

/// The parameters of one matrix's factor.
#[derive(Clone, Debug)]
pub struct Wishart {
    rows: usize,
    /// ν; infinite at a point, before the first update.
    dof: f64,
    /// The lower factor of T by rows; at a point that of X.
    factor: Vec<f64>,
}

impl Wishart {
    /// At a point, whose cells are given by rows.
    pub fn at(mut x: Vec<f64>) -> Wishart {
        let rows = x.len().isqrt();
        // A start that is not positive definite is an identity.
        if !cholesky(&mut x, rows) {
            x = (0..rows * rows).map(|i| if i % (rows + 1) == 0 { 1.0 } else { 0.0 }).collect();
        }
        Wishart { rows, dof: f64::INFINITY, factor: x }
    }

    /// The names of the cells of the lower half, one stream each.
    pub fn streams(m: &Matrix) -> impl Iterator<Item = &String> {
        (0..m.rows).flat_map(|i| m.names[i * m.rows..=i * (m.rows + 1)].iter())
    }

    pub fn update(&mut self, m: &Matrix, gradient: &[f64]) -> Result<(), Trouble> {
        let p = self.rows;
        let twice = m.logs.iter().map(|i| gradient[*i]).sum::<f64>() / p as f64;
        let more = p as f64 + 1.0;
        let dof = if m.inverse { -twice - more } else { twice + more };
        let cell = |i: usize, j: usize| -0.5 * (gradient[m.cells[i * p + j]] + gradient[m.cells[j * p + i]]);
        let mut t: Vec<f64> = (0..p * p).map(|at| cell(at / p, at % p)).collect();
        if !dof.is_finite() || t.iter().any(|x| !x.is_finite()) {
            return Err(Trouble::not_finite(&m.names[0]));
        }
        if dof <= p as f64 - 1.0 {
            return Err(Trouble::improper(&m.names[0]));
        }
        if !cholesky(&mut t, p) {
            return Err(Trouble::singular(&m.names[0]));
        }
        (self.dof, self.factor) = (dof, t);
        Ok(())
    }

    fn log_det(&self) -> f64 {
        2.0 * (0..self.rows).map(|i| self.factor[i * (self.rows + 1)].ln()).sum::<f64>()
    }

    /// E log |Y|
    fn log_det_expected(&self) -> f64 {
        (0..self.rows).map(|i| digamma(0.5 * (self.dof - i as f64))).sum::<f64>() - self.log_det()
    }

    /// The expected statistics, each with its place. Of the logs on the diagonal only the sum counts.
    pub fn expect(&self, m: &Matrix, mut put: impl FnMut(usize, f64)) {
        let p = self.rows;
        let inverse = invert_lower(&self.factor, p);
        let of_inverse = |i: usize, j: usize| (0..p).map(|r| inverse[r * p + i] * inverse[r * p + j]).sum::<f64>();
        let point = self.dof.is_infinite();
        let log = match (point, m.inverse) {
            (true, _) => self.log_det(),
            (false, false) => self.log_det_expected(),
            (false, true) => -self.log_det_expected(),
        };
        m.logs.iter().for_each(|at| put(*at, 0.5 * log / p as f64));
        for i in 0..p {
            for j in 0..p {
                let value = match (point, m.inverse) {
                    (true, false) => (0..p).map(|k| self.factor[i * p + k] * self.factor[j * p + k]).sum(),
                    (true, true) => of_inverse(i, j),
                    // E Y = ν (2T)⁻¹
                    (false, _) => 0.5 * self.dof * of_inverse(i, j),
                };
                put(m.cells[i * p + j], value);
            }
        }
    }

    /// log of the integral
    fn log_integral(&self) -> f64 {
        let p = self.rows as f64;
        let gammas: f64 = (0..self.rows).map(|i| lgamma(0.5 * (self.dof - i as f64))).sum();
        0.25 * p * (p - 1.0) * PI.ln() + gammas - 0.5 * self.dof * self.log_det()
    }

    /// a
    fn power(&self, inverse: bool) -> f64 {
        let more = self.rows as f64 + 1.0;
        if inverse { -0.5 * (self.dof + more) } else { 0.5 * (self.dof - more) }
    }

    /// With respect to the cells of X on and below the diagonal.
    pub fn entropy(&self, m: &Matrix) -> f64 {
        let log_x = if m.inverse { -self.log_det_expected() } else { self.log_det_expected() };
        // E tr(T Y) = ν p / 2
        self.log_integral() + 0.5 * self.dof * self.rows as f64 - self.power(m.inverse) * log_x
    }

    /// Coordinates from the lower factor.
    fn coordinates(&self, l: &[f64]) -> Vec<f64> {
        let p = self.rows;
        let cell = |i: usize, j: usize| if i == j { l[i * p + i].ln() } else { l[i * p + j] };
        (0..p).flat_map(|i| (0..=i).map(move |j| (i, j))).map(|(i, j)| cell(i, j)).collect()
    }

    /// The coordinates of the lower factor of M Mᵀ.
    fn squared(&self, m: &[f64]) -> Vec<f64> {
        let p = self.rows;
        let cell = |at: usize| (0..p).map(|k| m[at / p * p + k] * m[at % p * p + k]).sum();
        let mut x: Vec<f64> = (0..p * p).map(cell).collect();
        // M is regular, but rounding may have its way.
        if !cholesky(&mut x, p) {
            x.fill(f64::NAN);
        }
        self.coordinates(&x)
    }

    /// With the factor K of T, Y = ½ K⁻ᵀ A Aᵀ K⁻¹ for a lower triangle A; the coordinates of X.
    fn by_triangle(&self, inverse: bool, a: &[f64]) -> Vec<f64> {
        let p = self.rows;
        let mut m = vec![0.0; p * p];
        let mut column = vec![0.0; p];
        for j in 0..p {
            if inverse {
                // √2 (A⁻¹ Kᵀ)ᵀ
                (0..p).for_each(|i| column[i] = self.factor[j * p + i]);
                solve_lower(a, p, &mut column);
                (0..p).for_each(|i| m[j * p + i] = 2_f64.sqrt() * column[i]);
            } else {
                (0..p).for_each(|i| column[i] = a[i * p + j]);
                solve_lower_transposed(&self.factor, p, &mut column);
                (0..p).for_each(|i| m[i * p + j] = 0.5_f64.sqrt() * column[i]);
            }
        }
        self.squared(&m)
    }

    /// A draw, as coordinates (Bartlett 1933); a stream per cell of the lower half.
    pub fn draw<'s>(&self, inverse: bool, next: &mut dyn FnMut() -> &'s mut Stream) -> Vec<f64> {
        let p = self.rows;
        let mut a = vec![0.0; p * p];
        for i in 0..p {
            for j in 0..i {
                a[i * p + j] = next().normal();
            }
            a[i * (p + 1)] = (0.5 * (LN_2 + log_gamma(0.5 * (self.dof - i as f64), next()))).exp();
        }
        self.by_triangle(inverse, &a)
    }

    /// The coordinates of a point in the middle of the factor: X = (E Y) or its inverse; at a point the point itself.
    pub fn middle(&self, inverse: bool) -> Vec<f64> {
        if self.dof.is_infinite() {
            return self.coordinates(&self.factor);
        }
        let p = self.rows;
        let a: Vec<f64> = (0..p * p).map(|i| if i % (p + 1) == 0 { self.dof.sqrt() } else { 0.0 }).collect();
        self.by_triangle(inverse, &a)
    }

    /// Mean and variance of each coordinate, from draws that are always the same.
    pub fn moments(&self, m: &Matrix) -> Vec<(f64, f64)> {
        let mut streams: Vec<Stream> = Wishart::streams(m).map(|name| Stream::new(0, "moments", name)).collect();
        let mut sums = vec![(0.0, 0.0); m.theta.len()];
        for n in 1..=DRAWS {
            let mut streams = streams.iter_mut();
            let mut next = || streams.next().expect("a stream per name");
            for (u, s) in self.draw(m.inverse, &mut next).into_iter().zip(&mut sums) {
                let off = u - s.0;
                s.0 += off / n as f64;
                s.1 += off * (u - s.0);
            }
        }
        sums.iter().map(|s| (s.0, s.1 / (DRAWS - 1) as f64)).collect()
    }

    /// With respect to the coordinates.
    pub fn log_density(&self, inverse: bool, u: &[f64]) -> f64 {
        let p = self.rows;
        let mut l = vec![0.0; p * p];
        let mut jacobian = p as f64 * LN_2;
        let (mut log_det, mut at) = (0.0, 0);
        for i in 0..p {
            for j in 0..=i {
                l[i * p + j] = if i == j { u[at].exp() } else { u[at] };
                at += 1;
            }
            let log = u[at - 1];
            log_det += 2.0 * log;
            jacobian += (p - i + 1) as f64 * log;
        }
        // tr(T Y) = |L⁻¹ K|² or |Kᵀ L|²
        let mut trace = 0.0;
        let mut column = vec![0.0; p];
        for j in 0..p {
            if inverse {
                (0..p).for_each(|i| column[i] = self.factor[i * p + j]);
                solve_lower(&l, p, &mut column);
            } else {
                (0..p).for_each(|i| column[i] = (0..p).map(|k| self.factor[k * p + i] * l[k * p + j]).sum());
            }
            trace += column.iter().map(|x| x * x).sum::<f64>();
        }
        self.power(inverse) * log_det - trace - self.log_integral() + jacobian
    }
}
