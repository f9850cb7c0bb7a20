//! Whitening: new coordinates in which the posterior's expected curvature is the identity.
//!
//! A = −E_q[∇² log p] comes from gradients alone by Stein's identity, E_q[∇² log p] = E[T⁻ᵀ z gᵀ]: in units of T,
//! A = −mean_k sym(z_k ĝ_kᵀ) with ĝ = Tᵀ g. With second moments matched this is exact for a quadratic log joint.

use std::cell::RefCell;

use super::frame::{Basis, Frame, Shape};
use super::large;
use super::linalg::{axpy, dot, inverse_factor, symmetric_eigen};
use super::objective::Objective;
use super::pool::Pool;
use super::whitening::Whitening;

/// More coordinates than this are not whitened by a dense matrix.
pub const DENSE: usize = 700;

/// Pairs of draws over which the curvature of many coordinates is averaged.
const LARGE_PAIRS: usize = 8;

/// More points than this are left to the optimiser: each costs two gradients of the whole batch.
const MEASURED_POINTS: usize = 64;

/// At most so many flat directions are measured by differences: each costs two gradients of the whole batch.
const MEASURED_DIRECTIONS: usize = 16;

/// Directions with less curvature than this, in the guide's units, are worth measuring.
const FLAT: f64 = 0.1;

/// The smallest eigenvalue believed: a direction grows at most by a factor 10⁴ per round.
const FLOOR: f64 = 1e-8;

/// How far, in the guide's standard deviations, a direction without curvature is followed before it is believed.
const FAR: f64 = 1e5;

/// What whitening found.
pub enum Whitened {
    Frame(Frame),
    /// The log joint is not finite here.
    NonFinite,
    /// The log joint does not fall however far one goes; this coordinate goes furthest.
    Flat(usize),
}

/// The guide at `phi` as the origin of a whitened frame: `mean` whitens the mean's problem, and if `whole` so does `noise`
/// (for a guide that may rotate; else T stays as it is).
pub fn whiten(
    frame: &Frame,
    phi: &[f64],
    z: &[f64],
    half: usize,
    pool: &RefCell<Pool>,
    whole: bool,
    seed: u64,
) -> Whitened {
    let (dim, n) = (frame.dim(), frame.noisy());
    let scale = frame.scale_at(phi);
    let units = Basis::block_diagonal(&scale, &frame.mean.row_norms(dim)[n..], n);
    // Only T matters here, so the frame's own shape is the diagonal one.
    let here = frame.recentred(phi, units.clone(), scale.clone(), Shape::Diagonal);
    let mut objective = Objective::new(&here, z, half, pool);
    let mut gradient = vec![0.0; here.parameters()];
    let value = objective.value_grad(&vec![0.0; here.parameters()], &mut gradient);
    if !value.is_finite() {
        return Whitened::NonFinite;
    }
    if dim > DENSE {
        // ∂f/∂ℓ_j = A_jj − 1 in units of T.
        let grow: Vec<f64> = (0..n).map(|j| (gradient[dim + j] + 1.0).clamp(1e-4, 1e8).powf(-0.5)).collect();
        let mut units = units.row_norms(dim);
        units.iter_mut().zip(&grow).for_each(|(u, g)| *u *= g);
        // Pairs of the first draws.
        let few = half.min(LARGE_PAIRS);
        let thetas = objective.thetas();
        let rows = [&thetas[..few * dim], &thetas[half * dim..(half + few) * dim]].concat();
        let mean = large::whitening(&mut pool.borrow_mut(), &rows, &units, seed);
        let mean = mean.unwrap_or(Whitening::Plain(Basis::Diagonal(units)));
        return Whitened::Frame(frame.recentred(phi, mean, scale, Shape::Diagonal));
    }
    let (mut a, noise) = stein(objective.theta_adjoint(), z, &scale, half, dim, n);
    let thetas = objective.thetas().to_vec();
    let mut along = Along { objective: &mut objective, dim, thetas, units: &units, pool };
    measure_flat(&mut along, &mut a, n, noise);
    let corner = inverse_root(&a, n);
    let whole_root = (dim > n).then(|| {
        let mut a = extend(&a, n, dim);
        measure_points(&mut along, &mut a, n, dim);
        inverse_root(&a, dim)
    });
    let root = whole_root.as_ref().unwrap_or(&corner);
    if root.smallest < FLOOR && goes_on(&mut objective, &root.direction, value) {
        let mut reach = vec![0.0; dim];
        units.times(&root.direction, &mut reach);
        let furthest = (0..dim).max_by(|&i, &j| reach[i].abs().total_cmp(&reach[j].abs()));
        return Whitened::Flat(furthest.expect("a direction has coordinates"));
    }
    let mean = Basis::Lower(units.times_lower(&root.factor, dim));
    let noise_basis = if whole { Basis::Lower(scale.times_lower(&corner.factor, n)) } else { scale };
    Whitened::Frame(frame.recentred(phi, mean, noise_basis, Shape::Diagonal))
}

/// Whether the log joint falls by less than a nat as the guide is moved very far along `direction`, either way.
fn goes_on(objective: &mut Objective, direction: &[f64], value: f64) -> bool {
    let mut phi = vec![0.0; objective.parameters()];
    let mut unused = phi.clone();
    [FAR, -FAR].into_iter().any(|step| {
        phi.iter_mut().zip(direction).for_each(|(p, d)| *p = step * d);
        objective.value_grad(&phi, &mut unused) < value + 1.0
    })
}

/// A in units of T, and how large an eigenvalue of its sampling noise may be.
fn stein(adjoint: &[f64], z: &[f64], scale: &Basis, half: usize, dim: usize, n: usize) -> (Vec<f64>, f64) {
    let (plus, minus) = adjoint.split_at(half * dim);
    let mut odd = vec![0.0; half * n];
    let mut difference = vec![0.0; n];
    let mut a = vec![0.0; n * n];
    for k in 0..half {
        for j in 0..n {
            difference[j] = plus[k * dim + j] - minus[k * dim + j];
        }
        let row = &mut odd[k * n..(k + 1) * n];
        scale.transposed_times(&difference, row);
        let zk = &z[k * n..(k + 1) * n];
        for i in 0..n {
            axpy(row[i], zk, &mut a[i * n..(i + 1) * n]);
        }
    }
    for i in 0..n {
        for j in 0..i {
            let mean = 0.5 * (a[i * n + j] + a[j * n + i]);
            a[i * n + j] = mean;
            a[j * n + i] = mean;
        }
    }
    // What the linear part of the gradient does not explain is noise of the estimate.
    let mut residual = 0.0;
    for (row, zk) in odd.chunks(n.max(1)).zip(z.chunks(n.max(1))) {
        for i in 0..n {
            let r = half as f64 * row[i] - dot(&a[i * n..(i + 1) * n], zk);
            residual += r * r;
        }
    }
    (a, residual.sqrt() / half.max(1) as f64)
}

/// The curvature of the objective at the guide along directions of the mean, in its units.
struct Along<'w, 'p, 't> {
    objective: &'w mut Objective<'p>,
    dim: usize,
    /// The draws of the guide.
    thetas: Vec<f64>,
    units: &'w Basis,
    pool: &'p RefCell<Pool<'t>>,
}

impl Along<'_, '_, '_> {
    /// The curvature times `v`: by products with the Hessian, or where there are none by a difference over `step`. `None` if
    /// it is not finite.
    fn times(&mut self, v: &[f64], step: f64) -> Option<Vec<f64>> {
        let dim = self.dim;
        if self.pool.borrow().has_products() {
            let mut direction = vec![0.0; dim];
            self.units.times(v, &mut direction);
            let rows = self.thetas.len() / dim;
            let mut products = vec![0.0; self.thetas.len()];
            let finite = self.pool.borrow_mut().products(&self.thetas, &direction.repeat(rows), &mut products);
            let mut mean = vec![0.0; dim];
            products.chunks(dim).for_each(|p| axpy(-1.0 / rows as f64, p, &mut mean));
            let mut out = vec![0.0; dim];
            self.units.transposed_times(&mean, &mut out);
            return finite.then_some(out);
        }
        let mut phi = vec![0.0; self.objective.parameters()];
        let (mut up, mut down) = (phi.clone(), phi.clone());
        let mut at = |step: f64, gradient: &mut [f64]| {
            phi[..dim].iter_mut().zip(v).for_each(|(p, v)| *p = step * v);
            self.objective.value_grad(&phi, gradient).is_finite()
        };
        let finite = at(step, &mut up) && at(-step, &mut down);
        finite.then(|| up[..dim].iter().zip(&down).map(|(u, d)| (u - d) / (2.0 * step)).collect())
    }
}

/// Directions whose curvature drowns in the noise of Stein's estimate: raise them to it, then measure the flattest by
/// themselves, which has no such noise. With strongly correlated coordinates these matter most.
fn measure_flat(along: &mut Along, a: &mut [f64], n: usize, noise: f64) {
    let (values, vectors) = symmetric_eigen(a, n);
    let flat = values.iter().filter(|v| **v < (4.0 * noise).min(FLAT)).count();
    if flat == 0 {
        return;
    }
    for (value, v) in values.iter().zip(vectors.chunks(n)).filter(|(value, _)| **value < noise) {
        for i in 0..n {
            axpy((noise - value) * v[i], v, &mut a[i * n..(i + 1) * n]);
        }
    }
    let mut whole = vec![0.0; along.dim];
    for k in 0..flat.min(MEASURED_DIRECTIONS) {
        let v = &vectors[k * n..(k + 1) * n];
        whole[..n].copy_from_slice(v);
        // A difference over one standard deviation of the guide: short beside a flat direction's own length.
        let Some(hv) = along.times(&whole, 1.0) else { continue };
        // Replace what A does to v: A ← A + r vᵀ + v rᵀ − (vᵀr) v vᵀ with r = H v − A v.
        let r: Vec<f64> = (0..n).map(|i| hv[i] - dot(&a[i * n..(i + 1) * n], v)).collect();
        let vr = dot(v, &r);
        if vr + noise.max(values[k]) < -noise {
            // Curved upwards: the guide is not near a mode along v, and the measurement says nothing about the scale.
            continue;
        }
        for i in 0..n {
            let row = &mut a[i * n..(i + 1) * n];
            axpy(r[i] - vr * v[i], v, row);
            axpy(v[i], &r, row);
        }
    }
}

/// A root of the inverse of a matrix, and the matrix's flattest direction.
struct Root {
    /// R, lower triangular, with R Rᵀ the inverse, after raising eigenvalues that are not positive.
    factor: Vec<f64>,
    smallest: f64,
    direction: Vec<f64>,
}

fn inverse_root(a: &[f64], n: usize) -> Root {
    if n == 0 {
        return Root { factor: vec![], smallest: 1.0, direction: vec![] };
    }
    let (values, vectors) = symmetric_eigen(a, n);
    let floor = (1e-12 * values[n - 1]).max(FLOOR);
    let mut raised = vec![0.0; n * n];
    for (value, v) in values.iter().zip(vectors.chunks(n)) {
        for i in 0..n {
            axpy(value.max(floor) * v[i], v, &mut raised[i * n..(i + 1) * n]);
        }
    }
    let factor = inverse_factor(&raised, n).unwrap_or_else(|| {
        // Rounding can break positive definiteness at condition numbers near 1e12; scales alone still help.
        let diagonal = (0..n).map(|i| raised[i * n + i].max(floor).powf(-0.5)).collect();
        Basis::Diagonal(diagonal).to_lower(n)
    });
    Root { factor, smallest: values[0], direction: vectors[..n].to_vec() }
}

/// `a` with ones on the diagonal for the points.
fn extend(a: &[f64], n: usize, dim: usize) -> Vec<f64> {
    let mut out = vec![0.0; dim * dim];
    for i in 0..dim {
        out[i * dim + i] = 1.0;
    }
    for i in 0..n {
        out[i * dim..i * dim + n].copy_from_slice(&a[i * n..(i + 1) * n]);
    }
    out
}

/// Points carry no noise for Stein's identity: their rows are measured.
fn measure_points(along: &mut Along, a: &mut [f64], n: usize, dim: usize) {
    if dim - n > MEASURED_POINTS {
        return;
    }
    let mut unit = vec![0.0; dim];
    for p in n..dim {
        unit.fill(0.0);
        unit[p] = 1.0;
        let Some(slopes) = along.times(&unit, 1e-3) else { continue };
        for (i, &slope) in slopes.iter().enumerate() {
            // Pairs of points are met twice; the mean of both is symmetric.
            let share = if i >= n && i != p { 0.5 * (slope + a[p * dim + i]) } else { slope };
            let value = if i > p { slope } else { share };
            a[p * dim + i] = value;
            a[i * dim + p] = value;
        }
    }
}
