//! Whitening: new coordinates in which the posterior's expected curvature is the identity.
//!
//! A = −E_q[∇² log p] comes from gradients alone by Stein's identity, E_q[∇² log p] = E[T⁻ᵀ z gᵀ]: in units of T,
//! A = −mean_k sym(z_k ĝ_kᵀ) with ĝ = Tᵀ g. With second moments matched this is exact for a quadratic log joint.

use std::cell::RefCell;

use super::frame::{Basis, Frame, Shape};
use super::linalg::{axpy, dot, inverse_factor, symmetric_eigen};
use super::objective::Objective;
use super::pool::Pool;

/// More coordinates than this are scaled one by one: the eigenvectors would cost more than they save.
pub const DENSE: usize = 700;

/// More points than this are left to the optimiser: each costs two gradients of the whole batch.
const MEASURED_POINTS: usize = 64;

/// The smallest eigenvalue believed: a direction grows at most by a factor 10⁴ per round.
const FLOOR: f64 = 1e-8;

/// The guide at `phi` as the origin of a whitened frame: `mean` whitens the mean's problem, and if `whole` so does `noise`
/// (for a guide that may rotate; else T stays as it is). None where the log joint is not finite.
pub fn whiten(frame: &Frame, phi: &[f64], z: &[f64], half: usize, pool: &RefCell<Pool>, whole: bool) -> Option<Frame> {
    let (dim, n) = (frame.dim(), frame.noisy());
    let scale = frame.scale_at(phi);
    let point_sds = frame.mean.row_norms(dim)[n..].to_vec();
    let units = block_diagonal(&scale, &point_sds, n);
    // Only T matters here, so the frame's own shape is the diagonal one.
    let here = frame.recentred(phi, units.clone(), scale.clone(), Shape::Diagonal);
    let mut objective = Objective::new(&here, z, half, pool);
    let origin = vec![0.0; here.parameters()];
    let mut gradient = origin.clone();
    if !objective.value_grad(&origin, &mut gradient).is_finite() {
        return None;
    }
    if dim > DENSE {
        // ∂f/∂ℓ_j = A_jj − 1 in units of T.
        let grow: Vec<f64> = (0..n).map(|j| (gradient[dim + j] + 1.0).clamp(1e-4, 1e8).powf(-0.5)).collect();
        let mut mean = units;
        if let Basis::Diagonal(d) = &mut mean {
            d.iter_mut().zip(&grow).for_each(|(d, g)| *d *= g);
        }
        return Some(frame.recentred(phi, mean, scale, Shape::Diagonal));
    }
    let (mut a, noise) = stein(objective.theta_adjoint(), z, &scale, half, dim, n);
    let corner = inverse_root(&a, n, noise);
    let noise_basis = if whole { Basis::Lower(scale.times_lower(&corner, n)) } else { scale };
    let mean = if dim == n {
        units.times_lower(&corner, n)
    } else {
        a = extend(&a, n, dim);
        measure_points(&mut objective, &mut a, n, dim);
        units.times_lower(&inverse_root(&a, dim, noise), dim)
    };
    Some(frame.recentred(phi, Basis::Lower(mean), noise_basis, Shape::Diagonal))
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

/// R, lower triangular, with R Rᵀ the inverse of `a` after raising small eigenvalues to what can be believed.
fn inverse_root(a: &[f64], n: usize, noise: f64) -> Vec<f64> {
    let (values, vectors) = symmetric_eigen(a, n);
    let largest = values.last().copied().unwrap_or(1.0);
    let floor = noise.max(1e-12 * largest).max(FLOOR);
    let mut raised = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..=i {
            let s = (0..n).map(|k| vectors[i * n + k] * values[k].max(floor) * vectors[j * n + k]).sum();
            raised[i * n + j] = s;
            raised[j * n + i] = s;
        }
    }
    inverse_factor(&raised, n).unwrap_or_else(|| {
        // Rounding can break positive definiteness at condition numbers near 1e12; scales alone still help.
        let diagonal = (0..n).map(|i| raised[i * n + i].max(floor).powf(-0.5)).collect();
        Basis::Diagonal(diagonal).to_lower(n)
    })
}

fn block_diagonal(scale: &Basis, points: &[f64], n: usize) -> Basis {
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

/// Points carry no noise for Stein's identity: their rows come from differences of the gradient.
fn measure_points(objective: &mut Objective, a: &mut [f64], n: usize, dim: usize) {
    if dim - n > MEASURED_POINTS {
        return;
    }
    const STEP: f64 = 1e-3;
    let mut phi = vec![0.0; objective.parameters()];
    let (mut up, mut down) = (phi.clone(), phi.clone());
    for p in n..dim {
        phi[p] = STEP;
        let above = objective.value_grad(&phi, &mut up);
        phi[p] = -STEP;
        let below = objective.value_grad(&phi, &mut down);
        phi[p] = 0.0;
        if !above.is_finite() || !below.is_finite() {
            continue;
        }
        for i in 0..dim {
            let slope = (up[i] - down[i]) / (2.0 * STEP);
            // Pairs of points are met twice; the mean of both is symmetric.
            let share = if i >= n && i != p { 0.5 * (slope + a[p * dim + i]) } else { slope };
            let value = if i > p { slope } else { share };
            a[p * dim + i] = value;
            a[i * dim + p] = value;
        }
    }
}
