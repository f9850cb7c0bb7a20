//! The low-rank guide: one normal whose covariance is a diagonal plus `k` directions, θ = m + B (e^ℓ ∘ z + V e) with z and e
//! standard normal. Memory and work are linear in the number of coordinates (Ong, Nott, Smith. "Gaussian variational
//! approximation with a factor covariance structure", 2018).
//!
//! With the diagonal E = e^ℓ and G = I + Vᵀ E⁻² V (k × k), the matrix determinant lemma gives the entropy
//! log |B| + Σℓ + ½ log |G| + n/2 (1 + log 2π), and Woodbury's identity the density.

use std::f64::consts::TAU;

use super::approximation::Approximation;
use super::draws::{self, matched};
use super::frame::{Basis, Frame, Shape};
use super::lbfgs::{End, Limits};
use super::linalg::{axpy, cholesky, dot, solve_lower, solve_lower_transposed};
use super::objective::Objective;
use super::options::Stage;
use super::result::StopReason;
use super::rng::Stream;
use super::stages::{MEAN_ERROR, Place, Session, reason_of};
use crate::tape::Node;

/// The fitted guide: Normal(m, D² + U Uᵀ).
#[derive(Clone, Debug)]
pub struct LowRank {
    /// `order[i]` is the target's index of coordinate `i`.
    order: Vec<usize>,
    /// Names of the coordinates with noise, which come first.
    names: Vec<String>,
    centre: Vec<f64>,
    factor: Factor,
    /// In the target's order.
    mean: Vec<f64>,
    sds: Vec<f64>,
}

/// D and U of a covariance D² + U Uᵀ.
#[derive(Clone, Debug)]
struct Factor {
    d: Vec<f64>,
    /// n × k, row-major.
    u: Vec<f64>,
    k: usize,
    /// D⁻¹ U.
    v: Vec<f64>,
    /// Cholesky factor of I + Vᵀ V.
    g: Vec<f64>,
}

impl Factor {
    fn at(frame: &Frame, phi: &[f64], k: usize) -> Factor {
        let n = frame.noisy();
        let widths = frame.noise.row_norms(n);
        let (logs, v) = phi[frame.dim()..].split_at(n);
        let d: Vec<f64> = widths.iter().zip(logs).map(|(b, l)| b * l.exp()).collect();
        let u: Vec<f64> = v.iter().enumerate().map(|(at, v)| widths[at / k] * v).collect();
        let v: Vec<f64> = u.iter().enumerate().map(|(at, u)| u / d[at / k]).collect();
        let g = capacitance(&v, k);
        Factor { d, u, k, v, g }
    }

    fn row(&self, i: usize) -> &[f64] {
        &self.u[i * self.k..(i + 1) * self.k]
    }

    fn sds(&self) -> Vec<f64> {
        self.d.iter().enumerate().map(|(i, d)| (d * d + dot(self.row(i), self.row(i))).sqrt()).collect()
    }

    /// Covariance times a vector over the coordinates with noise.
    fn covariance_times(&self, x: &[f64], out: &mut [f64]) {
        let mut ux = vec![0.0; self.k];
        x.iter().enumerate().for_each(|(i, x)| axpy(*x, self.row(i), &mut ux));
        for (i, (d, x)) in self.d.iter().zip(x).enumerate() {
            out[i] = d * d * x + dot(self.row(i), &ux);
        }
    }
}

/// The lower Cholesky factor of I + Vᵀ V for V of n × k.
fn capacitance(v: &[f64], k: usize) -> Vec<f64> {
    let mut g = vec![0.0; k * k];
    fill_capacitance(v, k, &mut g);
    g
}

fn fill_capacitance(v: &[f64], k: usize, g: &mut [f64]) {
    g.fill(0.0);
    (0..k).for_each(|j| g[j * k + j] = 1.0);
    for row in v.chunks(k) {
        for j in 0..k {
            axpy(row[j], &row[..j + 1], &mut g[j * k..j * k + j + 1]);
        }
    }
    if !cholesky(g, k) {
        // I + VᵀV is positive definite; only numbers that are not finite break it, and then nothing is believed.
        g.fill(f64::NAN);
    }
}

fn half_log_det(g: &[f64], k: usize) -> f64 {
    (0..k).map(|j| g[j * k + j].ln()).sum()
}

impl LowRank {
    /// The guide at `place`, whose frame has the shape [`Shape::LowRank`].
    pub fn new(order: Vec<usize>, names: Vec<String>, place: &Place, k: usize) -> LowRank {
        let mut centre = vec![0.0; place.frame.dim()];
        place.frame.mean_at(&place.phi, &mut centre);
        let factor = Factor::at(&place.frame, &place.phi, k);
        let (mut mean, mut sds) = (vec![0.0; order.len()], vec![0.0; order.len()]);
        order.iter().zip(&centre).for_each(|(&i, m)| mean[i] = *m);
        order.iter().zip(factor.sds()).for_each(|(&i, sd)| sds[i] = sd);
        LowRank { order, names, centre, factor, mean, sds }
    }
}

/// Names of the streams of the k directions.
fn factor_names(k: usize) -> Vec<String> {
    (1..=k).map(|j| format!("low-rank direction {j}")).collect()
}

impl Approximation for LowRank {
    fn mean(&self) -> &[f64] {
        &self.mean
    }

    fn sds(&self) -> &[f64] {
        &self.sds
    }

    fn sample(&self, purpose: &str, n: usize, seed: u64) -> Vec<f64> {
        let (dim, noisy, k) = (self.centre.len(), self.names.len(), self.factor.k);
        let z = draws::plain(seed, purpose, &self.names, 0, n);
        let e = draws::plain(seed, purpose, &factor_names(k), 0, n);
        let mut out = vec![0.0; n * dim];
        for (s, row) in out.chunks_mut(dim.max(1)).enumerate() {
            let (z, e) = (&z[s * noisy..(s + 1) * noisy], &e[s * k..(s + 1) * k]);
            for (i, &at) in self.order.iter().enumerate() {
                let offset = if i < noisy { self.factor.d[i] * z[i] + dot(self.factor.row(i), e) } else { 0.0 };
                row[at] = self.centre[i] + offset;
            }
        }
        out
    }

    fn log_density(&self, theta: &[f64]) -> Vec<f64> {
        let Factor { d, v, g, k, .. } = &self.factor;
        let n = self.names.len();
        let volume = d.iter().map(|d| d.ln()).sum::<f64>() + half_log_det(g, *k) + 0.5 * n as f64 * TAU.ln();
        let mut within = vec![0.0; *k];
        let of = |row: &[f64]| {
            within.fill(0.0);
            let mut squares = 0.0;
            for i in 0..n {
                let x = (row[self.order[i]] - self.centre[i]) / d[i];
                squares += x * x;
                axpy(x, &v[i * k..(i + 1) * k], &mut within);
            }
            solve_lower(g, *k, &mut within);
            -0.5 * (squares - dot(&within, &within)) - volume
        };
        theta.chunks(self.order.len().max(1)).map(of).collect()
    }
}

/// (φ, [Z | E]) ↦ the rows m + B (e^ℓ ∘ z + V e), then those with the minus sign.
struct LowRankNode {
    frame: Frame,
    widths: Vec<f64>,
    k: usize,
    mean: Vec<f64>,
    exps: Vec<f64>,
    scratch: Vec<f64>,
}

impl Node for LowRankNode {
    fn forward(&mut self, operands: &[&[f64]], out: &mut [f64]) {
        let (phi, draws) = (operands[0], operands[1]);
        let (dim, n, k) = (self.frame.dim(), self.widths.len(), self.k);
        let (logs, v) = phi[dim..].split_at(n);
        self.frame.mean_at(phi, &mut self.mean);
        self.exps.iter_mut().zip(logs).for_each(|(e, l)| *e = l.exp());
        let half = out.len() / dim / 2;
        let (plus, minus) = out.split_at_mut(half * dim);
        for (s, draw) in draws.chunks(n + k).enumerate() {
            let (z, e) = draw.split_at(n);
            for (i, m) in self.mean.iter().enumerate() {
                let offset =
                    if i < n { self.widths[i] * (self.exps[i] * z[i] + dot(&v[i * k..(i + 1) * k], e)) } else { 0.0 };
                plus[s * dim + i] = m + offset;
                minus[s * dim + i] = m - offset;
            }
        }
    }

    fn backward(&mut self, operands: &[&[f64]], out: &[f64], upstream: &[f64], adjoints: &mut [&mut [f64]]) {
        let (dim, n, k) = (self.frame.dim(), self.widths.len(), self.k);
        let half = out.len() / dim / 2;
        let (plus, minus) = upstream.split_at(half * dim);
        self.mean.fill(0.0);
        let (du, rest) = adjoints[0].split_at_mut(dim);
        let (dlogs, dv) = rest.split_at_mut(n);
        for (s, draw) in operands[1].chunks(n + k).enumerate() {
            let (p, m) = (&plus[s * dim..(s + 1) * dim], &minus[s * dim..(s + 1) * dim]);
            let (z, e) = draw.split_at(n);
            for i in 0..dim {
                self.mean[i] += p[i] + m[i];
            }
            for i in 0..n {
                let odd = self.widths[i] * (p[i] - m[i]);
                dlogs[i] += odd * self.exps[i] * z[i];
                axpy(odd, e, &mut dv[i * k..(i + 1) * k]);
            }
        }
        self.frame.mean.transposed_times(&self.mean, du, &mut self.scratch);
    }
}

/// (log joints, φ) ↦ the negative lower bound.
struct LowRankBound {
    first: usize,
    n: usize,
    k: usize,
    constant: f64,
    /// E⁻¹ V, and the factor of G.
    v: Vec<f64>,
    g: Vec<f64>,
    solved: Vec<f64>,
}

impl Node for LowRankBound {
    fn forward(&mut self, operands: &[&[f64]], out: &mut [f64]) {
        let lp = operands[0];
        let (logs, v) = operands[1][self.first..].split_at(self.n);
        for (at, (own, v)) in self.v.iter_mut().zip(v).enumerate() {
            *own = v * (-logs[at / self.k]).exp();
        }
        fill_capacitance(&self.v, self.k, &mut self.g);
        let mean = lp.iter().sum::<f64>() / lp.len() as f64;
        out[0] = self.constant - mean - logs.iter().sum::<f64>() - half_log_det(&self.g, self.k);
    }

    fn backward(&mut self, operands: &[&[f64]], _: &[f64], upstream: &[f64], adjoints: &mut [&mut [f64]]) {
        let share = upstream[0] / operands[0].len() as f64;
        adjoints[0].iter_mut().for_each(|a| *a -= share);
        let logs = &operands[1][self.first..self.first + self.n];
        let (dlogs, dv) = adjoints[1][self.first..].split_at_mut(self.n);
        let k = self.k;
        for i in 0..self.n {
            // Of ½ log |G|: E⁻² V G⁻¹ for V, and −(its inner product with V) for ℓ.
            let row = &self.v[i * k..(i + 1) * k];
            self.solved.copy_from_slice(row);
            solve_lower(&self.g, k, &mut self.solved);
            solve_lower_transposed(&self.g, k, &mut self.solved);
            dlogs[i] -= upstream[0] * (1.0 - dot(row, &self.solved));
            axpy(-upstream[0] * (-logs[i]).exp(), &self.solved, &mut dv[i * k..(i + 1) * k]);
        }
    }
}

/// Fixed draws of the coordinates and the directions: in every direction of either kind the mean square is 1, and those of
/// the directions are orthogonal to all others, so that a quadratic log joint is integrated exactly along them. Fewer draws
/// than coordinates suffice: the bound has a maximum as soon as there are more than directions.
fn draws_with_factors(seed: u64, names: &[String], k: usize, half: usize) -> Vec<f64> {
    let n = names.len();
    let all: Vec<String> = names.iter().cloned().chain(factor_names(k)).collect();
    let mut z = matched(seed, "low-rank", &all, half);
    if half >= n + k {
        return z;
    }
    let width = n + k;
    let column = |z: &[f64], j: usize| -> Vec<f64> { z.iter().skip(j).step_by(width).copied().collect() };
    let mut directions: Vec<Vec<f64>> = vec![];
    // The directions first, each orthogonal to those before; then the coordinates, each to all directions.
    for j in (n..width).chain(0..n) {
        let mut c = column(&z, j);
        for d in &directions {
            axpy(-dot(d, &c) / half as f64, d, &mut c);
        }
        let scale = (half as f64 / dot(&c, &c)).sqrt();
        c.iter_mut().for_each(|x| *x *= scale);
        z.iter_mut().skip(j).step_by(width).zip(&c).for_each(|(z, c)| *z = *c);
        if j >= n {
            directions.push(c);
        }
    }
    z
}

impl Session<'_, '_> {
    /// The low-rank guide from a mean-field one: k directions are added and everything is fitted together, with more draws
    /// until the means' Monte Carlo error is small.
    pub fn refine_low_rank(&mut self, place: &mut Place, start: usize, k: usize) -> (usize, f64, StopReason) {
        let n = self.noisy.len();
        // More directions than coordinates have no use.
        let k = k.min(n);
        if k == 0 {
            return self.refine(place, start);
        }
        // A coordinate's draws lie in the directions' by the share k / half, by which its variance would be overrated.
        let least = 16 * k;
        let mut half = match self.options.draws {
            Some(m) => m.div_ceil(2).max(2 * k),
            None => (2 * n).clamp(64, 512).max(least),
        };
        let cap = half.max(1024);
        let widths = place.frame.scale_at(&place.phi).row_norms(n);
        let mean = place.frame.mean.clone();
        let frame = place.frame.recentred(&place.phi, mean, Basis::Diagonal(widths.clone()), Shape::LowRank(k));
        let mut phi = vec![0.0; frame.parameters()];
        for (name, row) in self.noisy.iter().zip(phi[frame.dim() + n..].chunks_mut(k)) {
            // At 0 the bound is stationary in V, so it begins beside.
            let mut stream = Stream::new(self.options.seed, "low-rank start", name);
            row.iter_mut().for_each(|v| *v = 0.1 * stream.normal());
        }
        let limits = Limits { tolerance: self.options.tolerance, iterations: self.options.max_iterations };
        loop {
            if let Some(reason) = self.halt.clone() {
                return (2 * half, f64::INFINITY, reason);
            }
            let z = draws_with_factors(self.options.seed, self.noisy, k, half);
            let (next, error) = self.unit(|session| {
                let dim = frame.dim();
                let (widths, mean, exps) = (widths.clone(), vec![0.0; dim], vec![0.0; n]);
                let rows = LowRankNode { frame: frame.clone(), widths, k, mean, exps, scratch: vec![0.0; dim] };
                let constant = -frame.noise.log_det(n) - 0.5 * n as f64 * (1.0 + TAU.ln());
                let (v, g, solved) = (vec![0.0; n * k], vec![0.0; k * k], vec![0.0; k]);
                let bound = LowRankBound { first: dim, n, k, constant, v, g, solved };
                let mut objective = Objective::of(frame.parameters(), &z, 2 * half, dim, rows, bound, session.pool);
                let from = Some(phi.clone());
                let next = session.descend_on(&mut objective, frame.clone(), from, limits, Stage::Refine, start);
                let finite = next.end != End::NonFinite;
                let error = if finite { mean_error(&next, &mut objective, half, k) } else { f64::INFINITY };
                (next, error)
            });
            if next.end == End::NonFinite {
                return (2 * half, f64::INFINITY, StopReason::NonFinite);
            }
            phi.clone_from(&next.phi);
            *place = next;
            if let Some(reason) = self.halt.clone() {
                return (2 * half, error, reason);
            }
            let enough = self.options.draws.is_some() || error < MEAN_ERROR || 2 * half > cap;
            if enough || place.end != End::Converged {
                return (2 * half, error, reason_of(place.end));
            }
            let wanted = 1.2 * half as f64 * (error / MEAN_ERROR).powi(2);
            half = (wanted as usize).clamp(2 * half, cap);
        }
    }
}

/// As for the other guides, with the guide's own covariance in place of the inverse curvature.
fn mean_error(place: &Place, objective: &mut Objective, half: usize, k: usize) -> f64 {
    let (dim, n) = (place.frame.dim(), place.frame.noisy());
    let factor = Factor::at(&place.frame, &place.phi, k);
    let (plus, minus) = objective.theta_adjoint().split_at(half * dim);
    let (mut step, mut sum, mut squares) = (vec![0.0; n], vec![0.0; n], vec![0.0; n]);
    for (p, m) in plus.chunks(dim).zip(minus.chunks(dim)) {
        let pair: Vec<f64> = p[..n].iter().zip(m).map(|(p, m)| half as f64 * (p + m)).collect();
        factor.covariance_times(&pair, &mut step);
        for i in 0..n {
            sum[i] += step[i];
            squares[i] += step[i] * step[i];
        }
    }
    let h = half as f64;
    let error = |(i, sd): (usize, &f64)| {
        let variance = (squares[i] - sum[i] * sum[i] / h) / (h - 1.0);
        (variance.max(0.0) / h).sqrt() / sd
    };
    factor.sds().iter().enumerate().map(error).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tape::Tape;

    fn normals(name: &str, n: usize) -> Vec<f64> {
        let mut s = Stream::new(1, "low-rank test", name);
        (0..n).map(|_| s.normal()).collect()
    }

    fn names(n: usize) -> Vec<String> {
        (0..n).map(|i| format!("x[{i}]")).collect()
    }

    fn frame(dim: usize, n: usize, k: usize) -> Frame {
        let positive = |name: &str, n| normals(name, n).iter().map(|v| 0.5 + v.abs()).collect::<Vec<_>>();
        Frame {
            centre: normals("centre", dim),
            mean: Basis::Diagonal(positive("w", dim)).into(),
            noise: Basis::Diagonal(positive("b", n)),
            shape: Shape::LowRank(k),
        }
    }

    /// −½ |θ|², row by row.
    struct Squares(usize);
    impl Node for Squares {
        fn forward(&mut self, x: &[&[f64]], out: &mut [f64]) {
            out.iter_mut().zip(x[0].chunks(self.0)).for_each(|(o, x)| *o = -0.5 * dot(x, x));
        }
        fn backward(&mut self, x: &[&[f64]], _: &[f64], upstream: &[f64], adjoints: &mut [&mut [f64]]) {
            for ((a, x), u) in adjoints[0].chunks_mut(self.0).zip(x[0].chunks(self.0)).zip(upstream) {
                axpy(-u, x, a);
            }
        }
    }

    /// Central differences are good to about 1e-9 of the largest intermediate value.
    #[test]
    fn the_nodes_agree_with_differences() {
        for (dim, n, k) in [(4, 4, 2), (5, 3, 1), (3, 3, 3)] {
            let frame = frame(dim, n, k);
            let half = 3;
            let mut tape = Tape::new(frame.parameters());
            let phi = tape.parameters();
            let z = tape.constant(&normals("z", half * (n + k)));
            let widths = frame.noise.row_norms(n);
            let rows = LowRankNode {
                frame: frame.clone(),
                widths,
                k,
                mean: vec![0.0; dim],
                exps: vec![0.0; n],
                scratch: vec![0.0; dim],
            };
            let theta = tape.node(&[phi, z], 2 * half * dim, rows);
            let lp = tape.node(&[theta], 2 * half, Squares(dim));
            let (v, g, solved) = (vec![0.0; n * k], vec![0.0; k * k], vec![0.0; k]);
            tape.node(&[lp, phi], 1, LowRankBound { first: dim, n, k, constant: 0.5, v, g, solved });
            let at: Vec<f64> = normals("phi", frame.parameters()).iter().map(|v| 0.3 * v).collect();
            let worst = tape.check(&at);
            assert!(worst < 1e-7, "{dim} {n} {k}: {worst}");
        }
    }

    #[test]
    fn densities_and_moments_are_those_of_the_dense_normal() {
        let (dim, n, k) = (5, 4, 2);
        let frame = frame(dim, n, k);
        let phi: Vec<f64> = normals("phi", frame.parameters()).iter().map(|v| 0.5 * v).collect();
        let place = Place { frame, phi, objective: 0.0, end: End::Converged, iterations: 0 };
        let q = LowRank::new((0..dim).collect(), names(n), &place, k);
        let mut cov = vec![0.0; n * n];
        for i in 0..n {
            for j in 0..n {
                cov[i * n + j] = dot(q.factor.row(i), q.factor.row(j));
            }
            cov[i * n + i] += q.factor.d[i] * q.factor.d[i];
            assert!((cov[i * n + i].sqrt() - q.sds()[i]).abs() < 1e-14);
        }
        assert!(cholesky(&mut cov, n));
        let dense =
            super::super::gaussian::Gaussian::new((0..dim).collect(), names(n), q.centre.clone(), Basis::Lower(cov));
        let theta = q.sample("test", 40_000, 1);
        for (a, b) in q.log_density(&theta[..50]).iter().zip(dense.log_density(&theta[..50])) {
            assert!((a - b).abs() < 1e-12, "{a} {b}");
        }
        for i in 0..n {
            let square: f64 = theta.iter().skip(i).step_by(dim).map(|x| (x - q.mean()[i]).powi(2)).sum();
            // The relative error of a variance from 40 000 draws is 0.007.
            assert!((square / 40_000.0 / q.sds()[i].powi(2) - 1.0).abs() < 0.03);
        }
    }

    #[test]
    fn directions_are_orthogonal_to_everything() {
        for (n, k, half) in [(40, 3, 20), (5, 2, 30)] {
            let z = draws_with_factors(1, &names(n), k, half);
            let width = n + k;
            for j in n..width {
                for i in 0..width {
                    let m: f64 = z.chunks(width).map(|r| r[i] * r[j]).sum::<f64>() / half as f64;
                    assert!((m - f64::from(u8::from(i == j))).abs() < 1e-12, "{i} {j} {m}");
                }
            }
        }
    }
}
