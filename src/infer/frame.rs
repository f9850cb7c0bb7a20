//! The coordinates in which the optimiser works, and the guide as a tape node in them.
//!
//! A guide is θ = m + T z with z standard normal. The optimiser sees m = centre + W u, where W whitens the mean's
//! problem, and T = B C, where B is a fixed basis and C is diagonal or lower triangular with a positive diagonal e^ℓ.
//! Parameters: `u`, then `ℓ`, then the strict lower triangle of C row by row. Coordinates with noise come first; the rest
//! (`param`) belong to the mean alone.

use serde::{Deserialize, Serialize};

use super::linalg::{axpy, cholesky, dot, lower_times, lower_times_lower, lower_transposed_times, solve_lower};
use super::whitening::Whitening;
use crate::tape::Node;

/// A fixed linear map: diagonal, or lower triangular (a full square, row-major).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Basis {
    Diagonal(Vec<f64>),
    Lower(Vec<f64>),
}

/// Which C the guide may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Shape {
    Diagonal,
    Lower,
    /// Diagonal, beside so many further directions ([`super::lowrank`], which has nodes of its own).
    LowRank(usize),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Frame {
    pub centre: Vec<f64>,
    /// W, over all coordinates.
    pub mean: Whitening,
    /// B, over the coordinates with noise.
    pub noise: Basis,
    pub shape: Shape,
}

impl Basis {
    /// `scale` over the first `n` coordinates, then these sds for the points.
    pub fn block_diagonal(scale: &Basis, points: &[f64], n: usize) -> Basis {
        let dim = n + points.len();
        match scale {
            Basis::Diagonal(d) => Basis::Diagonal(d.iter().chain(points).copied().collect()),
            Basis::Lower(l) => {
                let mut out = vec![0.0; dim * dim];
                for i in 0..n {
                    out[i * dim..i * dim + n].copy_from_slice(&l[i * n..(i + 1) * n]);
                }
                for (i, p) in points.iter().enumerate() {
                    out[(n + i) * dim + n + i] = *p;
                }
                Basis::Lower(out)
            }
        }
    }

    /// `out = basis · x`.
    pub fn times(&self, x: &[f64], out: &mut [f64]) {
        match self {
            Basis::Diagonal(d) => out.iter_mut().zip(d.iter().zip(x)).for_each(|(o, (d, x))| *o = d * x),
            Basis::Lower(l) => lower_times(l, x.len(), x, out),
        }
    }

    /// `out += basisᵀ · x`.
    pub fn transposed_times(&self, x: &[f64], out: &mut [f64]) {
        match self {
            Basis::Diagonal(d) => out.iter_mut().zip(d.iter().zip(x)).for_each(|(o, (d, x))| *o += d * x),
            Basis::Lower(l) => lower_transposed_times(l, x.len(), x, out),
        }
    }

    /// Multiply by a number.
    pub fn scale(&mut self, by: f64) {
        let (Basis::Diagonal(cells) | Basis::Lower(cells)) = self;
        cells.iter_mut().for_each(|c| *c *= by);
    }

    /// `x ← basis⁻¹ · x`.
    pub fn solve(&self, x: &mut [f64]) {
        match self {
            Basis::Diagonal(d) => x.iter_mut().zip(d).for_each(|(x, d)| *x /= d),
            Basis::Lower(l) => solve_lower(l, x.len(), x),
        }
    }

    /// log |det|.
    pub fn log_det(&self, n: usize) -> f64 {
        (0..n).map(|i| self.diagonal(n, i).ln()).sum()
    }

    fn diagonal(&self, n: usize, i: usize) -> f64 {
        match self {
            Basis::Diagonal(d) => d[i],
            Basis::Lower(l) => l[i * n + i],
        }
    }

    /// Standard deviation of each coordinate of basis · z.
    pub fn row_norms(&self, n: usize) -> Vec<f64> {
        match self {
            Basis::Diagonal(d) => d.clone(),
            Basis::Lower(l) => (0..n).map(|i| dot(&l[i * n..i * n + i + 1], &l[i * n..i * n + i + 1]).sqrt()).collect(),
        }
    }

    /// As a full lower square.
    pub fn to_lower(&self, n: usize) -> Vec<f64> {
        match self {
            Basis::Lower(l) => l.clone(),
            Basis::Diagonal(d) => {
                let mut l = vec![0.0; n * n];
                (0..n).for_each(|i| l[i * n + i] = d[i]);
                l
            }
        }
    }

    /// `self · right` for a lower triangle `right`.
    pub fn times_lower(&self, right: &[f64], n: usize) -> Vec<f64> {
        let mut out = vec![0.0; n * n];
        match self {
            Basis::Lower(l) => lower_times_lower(l, right, n, &mut out),
            Basis::Diagonal(d) => {
                for i in 0..n {
                    out[i * n..i * n + i + 1].iter_mut().zip(&right[i * n..]).for_each(|(o, r)| *o = d[i] * r);
                }
            }
        }
        out
    }
}

impl Frame {
    /// Number of coordinates.
    pub fn dim(&self) -> usize {
        self.centre.len()
    }

    /// Number of coordinates with noise.
    pub fn noisy(&self) -> usize {
        match &self.noise {
            Basis::Diagonal(d) => d.len(),
            // A full square.
            Basis::Lower(l) => l.len().isqrt(),
        }
    }

    /// Length of the parameter vector.
    pub fn parameters(&self) -> usize {
        let n = self.noisy();
        let beside = match self.shape {
            Shape::Diagonal => 0,
            Shape::Lower => n * n.saturating_sub(1) / 2,
            Shape::LowRank(k) => n * k,
        };
        self.dim() + n + beside
    }

    /// Whether T is diagonal.
    pub fn is_diagonal(&self) -> bool {
        self.shape == Shape::Diagonal && matches!(self.noise, Basis::Diagonal(_))
    }

    /// The guide's mean at `phi`.
    pub fn mean_at(&self, phi: &[f64], out: &mut [f64]) {
        self.mean.times(&phi[..self.dim()], out);
        axpy(1.0, &self.centre, out);
    }

    /// T at `phi`. A diagonal in a diagonal frame, else a lower square.
    pub fn scale_at(&self, phi: &[f64]) -> Basis {
        let mut work = Scale::new(self);
        work.fill(self, phi);
        if self.is_diagonal() { Basis::Diagonal(work.t) } else { Basis::Lower(work.t) }
    }

    /// The same guide as at `phi`, as the origin of a frame with these bases.
    pub fn recentred(&self, phi: &[f64], mean: impl Into<Whitening>, noise: Basis, shape: Shape) -> Frame {
        let mut centre = vec![0.0; self.dim()];
        self.mean_at(phi, &mut centre);
        Frame { centre, mean: mean.into(), noise, shape }
    }
}

/// T and what it is made of, in reused buffers.
pub struct Scale {
    n: usize,
    /// e^ℓ.
    exps: Vec<f64>,
    /// T: `n` numbers when diagonal, else `n × n`.
    pub t: Vec<f64>,
    /// C, when triangular.
    c: Vec<f64>,
    /// d objective / d T.
    pub dt: Vec<f64>,
}

impl Scale {
    pub fn new(frame: &Frame) -> Scale {
        let n = frame.noisy();
        let square = if frame.is_diagonal() { n } else { n * n };
        let c = if frame.shape == Shape::Lower { n * n } else { 0 };
        Scale { n, exps: vec![0.0; n], t: vec![0.0; square], c: vec![0.0; c], dt: vec![0.0; square] }
    }

    pub fn fill(&mut self, frame: &Frame, phi: &[f64]) {
        let n = self.n;
        let (logs, strict) = phi[frame.dim()..].split_at(n);
        if n == 0 {
            return;
        }
        self.exps.iter_mut().zip(logs).for_each(|(e, l)| *e = l.exp());
        if frame.shape == Shape::Lower {
            let mut k = 0;
            for i in 0..n {
                self.c[i * n..i * n + i].copy_from_slice(&strict[k..k + i]);
                self.c[i * n + i] = self.exps[i];
                k += i;
            }
        }
        match (&frame.noise, frame.shape) {
            (Basis::Diagonal(b), Shape::Diagonal) => (0..n).for_each(|j| self.t[j] = b[j] * self.exps[j]),
            (Basis::Lower(b), Shape::Diagonal) => {
                for (t, b) in self.t.chunks_mut(n).zip(b.chunks(n)) {
                    t.iter_mut().zip(b.iter().zip(&self.exps)).for_each(|(t, (b, e))| *t = b * e);
                }
            }
            (Basis::Diagonal(b), Shape::Lower) => {
                for ((t, c), b) in self.t.chunks_mut(n).zip(self.c.chunks(n)).zip(b) {
                    t.iter_mut().zip(c).for_each(|(t, c)| *t = b * c);
                }
            }
            (Basis::Lower(b), Shape::Lower) => lower_times_lower(b, &self.c, n, &mut self.t),
            (_, Shape::LowRank(_)) => unreachable!("low-rank guides have no square T"),
        }
    }

    /// From d/dT to d/d(ℓ, strict lower triangle), added to `out`.
    pub fn pull_back(&mut self, frame: &Frame, out: &mut [f64]) {
        let n = self.n;
        if n == 0 {
            return;
        }
        let (dlogs, dstrict) = out[frame.dim()..].split_at_mut(n);
        match (&frame.noise, frame.shape) {
            (Basis::Diagonal(_), Shape::Diagonal) => (0..n).for_each(|j| dlogs[j] += self.dt[j] * self.t[j]),
            (Basis::Lower(_), Shape::Diagonal) => {
                for (dt, t) in self.dt.chunks(n).zip(self.t.chunks(n)) {
                    dlogs.iter_mut().zip(dt.iter().zip(t)).for_each(|(d, (dt, t))| *d += dt * t);
                }
            }
            (_, Shape::LowRank(_)) => unreachable!("low-rank guides have no square T"),
            (basis, Shape::Lower) => {
                // dC = Bᵀ dT on the lower triangle, over C, which is not needed any more.
                self.c.fill(0.0);
                for i in 0..n {
                    let from = match basis {
                        Basis::Diagonal(_) => i,
                        Basis::Lower(_) => 0,
                    };
                    for j in from..=i {
                        let b = match basis {
                            Basis::Diagonal(b) => b[i],
                            Basis::Lower(b) => b[i * n + j],
                        };
                        axpy(b, &self.dt[i * n..i * n + j + 1], &mut self.c[j * n..j * n + j + 1]);
                    }
                }
                let mut k = 0;
                for i in 0..n {
                    axpy(1.0, &self.c[i * n..i * n + i], &mut dstrict[k..k + i]);
                    dlogs[i] += self.c[i * n + i] * self.exps[i];
                    k += i;
                }
            }
        }
    }
}

/// (φ, Z) ↦ the rows θ_k = m + T z_k, then, if mirrored, the rows m − T z_k.
pub struct GuideNode {
    frame: Frame,
    mirrored: bool,
    scale: Scale,
    mean: Vec<f64>,
    offset: Vec<f64>,
}

impl GuideNode {
    pub fn new(frame: Frame, mirrored: bool) -> GuideNode {
        let (dim, scale) = (frame.dim(), Scale::new(&frame));
        GuideNode { frame, mirrored, scale, mean: vec![0.0; dim], offset: vec![0.0; dim] }
    }

    /// How many rows of `z` make an output of this length.
    fn draws(&self, out: usize) -> usize {
        let rows = out / self.frame.dim().max(1);
        if self.mirrored { rows / 2 } else { rows }
    }
}

impl Node for GuideNode {
    fn forward(&mut self, operands: &[&[f64]], out: &mut [f64]) {
        let (phi, z) = (operands[0], operands[1]);
        let (dim, n) = (self.frame.dim(), self.scale.n);
        self.frame.mean_at(phi, &mut self.mean);
        self.scale.fill(&self.frame, phi);
        let draws = self.draws(out.len());
        let (plus, minus) = out.split_at_mut(draws * dim);
        for k in 0..draws {
            let zk = &z[k * n..(k + 1) * n];
            let offset = &mut self.offset[..n];
            if self.frame.is_diagonal() {
                offset.iter_mut().zip(self.scale.t.iter().zip(zk)).for_each(|(o, (t, z))| *o = t * z);
            } else {
                lower_times(&self.scale.t, n, zk, offset);
            }
            for (i, m) in self.mean.iter().enumerate() {
                // Points have offset 0.
                plus[k * dim + i] = m + self.offset[i];
                if self.mirrored {
                    minus[k * dim + i] = m - self.offset[i];
                }
            }
        }
    }

    fn backward(&mut self, operands: &[&[f64]], out: &[f64], upstream: &[f64], adjoints: &mut [&mut [f64]]) {
        let z = operands[1];
        let (dim, n) = (self.frame.dim(), self.scale.n);
        let draws = self.draws(out.len());
        let (plus, minus) = upstream.split_at(draws * dim);
        self.mean.fill(0.0);
        self.scale.dt.fill(0.0);
        let diagonal = self.frame.is_diagonal();
        for k in 0..draws {
            let p = &plus[k * dim..(k + 1) * dim];
            let m = if self.mirrored { &minus[k * dim..(k + 1) * dim] } else { &[][..] };
            let (together, apart) =
                (|i: usize| p[i] + m.get(i).unwrap_or(&0.0), |i: usize| p[i] - m.get(i).unwrap_or(&0.0));
            let zk = &z[k * n..(k + 1) * n];
            for i in 0..dim {
                self.mean[i] += together(i);
            }
            if diagonal {
                for (j, z) in zk.iter().enumerate() {
                    self.scale.dt[j] += apart(j) * z;
                }
            } else {
                for i in 0..n {
                    axpy(apart(i), &zk[..i + 1], &mut self.scale.dt[i * n..i * n + i + 1]);
                }
            }
        }
        self.frame.mean.transposed_times(&self.mean, &mut adjoints[0][..dim], &mut self.offset);
        self.offset.fill(0.0);
        self.scale.pull_back(&self.frame, adjoints[0]);
    }
}

/// Lower Cholesky factor of `t tᵀ` after a change of order: row `i` of the result's covariance is row `order[i]` of `t`'s.
/// Exact up to rounding; `t` has full rank.
pub fn reordered_factor(t: &[f64], n: usize, order: &[usize]) -> Vec<f64> {
    let mut cov = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..n {
            let (a, b) = (order[i], order[j]);
            let k = a.min(b) + 1;
            cov[i * n + j] = dot(&t[a * n..a * n + k], &t[b * n..b * n + k]);
        }
    }
    if cholesky(&mut cov, n) {
        return cov;
    }
    // Rounding has eaten the smallest directions of a nearly singular guide: the sds at least are right.
    let mut l = vec![0.0; n * n];
    for i in 0..n {
        let row = &t[order[i] * n..order[i] * n + n];
        l[i * n + i] = dot(row, row).sqrt();
    }
    l
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::rng::Stream;
    use crate::tape::Tape;

    fn normals(name: &str, n: usize) -> Vec<f64> {
        let mut s = Stream::new(1, "frame test", name);
        (0..n).map(|_| s.normal()).collect()
    }

    fn lower(name: &str, n: usize) -> Vec<f64> {
        let mut l = normals(name, n * n);
        for i in 0..n {
            l[i * n + i] = 1.0 + l[i * n + i].abs();
            l[i * n + i + 1..(i + 1) * n].fill(0.0);
        }
        l
    }

    fn frames(dim: usize, n: usize) -> Vec<Frame> {
        let positive = |name: &str, k| normals(name, k).iter().map(|v| 0.5 + v.abs()).collect::<Vec<_>>();
        let mut out = vec![];
        for mean in [Basis::Diagonal(positive("w", dim)), Basis::Lower(lower("w", dim))] {
            for noise in [Basis::Diagonal(positive("b", n)), Basis::Lower(lower("b", n))] {
                for shape in [Shape::Diagonal, Shape::Lower] {
                    let centre = normals("centre", dim);
                    out.push(Frame { centre, mean: mean.clone().into(), noise: noise.clone(), shape });
                }
            }
        }
        out
    }

    /// Sum of sin(θ) over all rows: every entry of θ has a different weight.
    struct SumSin;
    impl Node for SumSin {
        fn forward(&mut self, x: &[&[f64]], out: &mut [f64]) {
            out[0] = x[0].iter().enumerate().map(|(i, x)| (1.0 + i as f64) * x.sin()).sum();
        }
        fn backward(&mut self, x: &[&[f64]], _: &[f64], upstream: &[f64], adjoints: &mut [&mut [f64]]) {
            for (i, (a, x)) in adjoints[0].iter_mut().zip(x[0]).enumerate() {
                *a += upstream[0] * (1.0 + i as f64) * x.cos();
            }
        }
    }

    /// Central differences are good to about 1e-9 of the largest intermediate value.
    #[test]
    fn the_guide_node_agrees_with_differences_in_every_frame() {
        for (dim, n) in [(4, 4), (5, 3), (1, 1), (2, 0)] {
            for (frame, mirrored) in frames(dim, n).into_iter().flat_map(|f| [(f.clone(), true), (f, false)]) {
                let draws = 3;
                let mut tape = Tape::new(frame.parameters());
                let phi = tape.parameters();
                let z = tape.constant(&normals("z", draws * n));
                let rows = if mirrored { 2 * draws } else { draws };
                let theta = tape.node(&[phi, z], rows * dim, GuideNode::new(frame.clone(), mirrored));
                tape.node(&[theta], 1, SumSin);
                let at: Vec<f64> = normals("phi", frame.parameters()).iter().map(|v| 0.3 * v).collect();
                let worst = tape.check(&at);
                assert!(worst < 1e-7, "{frame:?}: {worst}");
            }
        }
    }

    #[test]
    fn rows_are_the_mean_plus_and_minus_the_scaled_draws() {
        for frame in frames(4, 3) {
            let z = normals("z", 6);
            let phi: Vec<f64> = normals("phi", frame.parameters()).iter().map(|v| 0.3 * v).collect();
            let mut tape = Tape::new(phi.len());
            let (p, zs) = (tape.parameters(), tape.constant(&z));
            let theta = tape.node(&[p, zs], 16, GuideNode::new(frame.clone(), true));
            tape.forward(&phi);
            let mut mean = vec![0.0; 4];
            frame.mean_at(&phi, &mut mean);
            let scale = frame.scale_at(&phi).to_lower(3);
            for k in 0..2 {
                let mut offset = vec![0.0; 4];
                lower_times(&scale, 3, &z[3 * k..3 * k + 3], &mut offset);
                for i in 0..4 {
                    assert!((tape.value(theta)[k * 4 + i] - mean[i] - offset[i]).abs() < 1e-13);
                    assert!((tape.value(theta)[(2 + k) * 4 + i] - mean[i] + offset[i]).abs() < 1e-13);
                }
            }
        }
    }

    #[test]
    fn a_recentred_frame_is_the_same_guide() {
        for frame in frames(4, 4) {
            let phi: Vec<f64> = normals("phi", frame.parameters()).iter().map(|v| 0.3 * v).collect();
            let scale = frame.scale_at(&phi);
            let again = frame.recentred(&phi, scale.clone(), scale.clone(), frame.shape);
            let origin = vec![0.0; again.parameters()];
            let (mut a, mut b) = (vec![0.0; 4], vec![0.0; 4]);
            frame.mean_at(&phi, &mut a);
            again.mean_at(&origin, &mut b);
            assert_eq!(a, b);
            assert_eq!(again.scale_at(&origin).to_lower(4), scale.to_lower(4));
        }
    }

    #[test]
    fn a_reordered_factor_has_the_reordered_covariance() {
        let (n, order) = (4, [2, 0, 3, 1]);
        let t = lower("t", n);
        let l = reordered_factor(&t, n, &order);
        for i in 0..n {
            for j in 0..n {
                let before = dot(&t[order[i] * n..order[i] * n + n], &t[order[j] * n..order[j] * n + n]);
                assert!((dot(&l[i * n..i * n + n], &l[j * n..j * n + n]) - before).abs() < 1e-12);
            }
        }
    }
}
