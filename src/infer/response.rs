//! Linear response: how far the fitted means move when the log joint is tilted, which is the posterior's covariance.
//!
//! A mean-field guide has variances that are too small where coordinates are correlated; the covariance
//! Σ = (F⁻¹)_mm, with F the curvature of the lower bound in the means m and the log sds ℓ, is exact for a normal posterior
//! (Giordano, Broderick and Jordan 2018; over fixed draws: Giordano, Ingram and Broderick 2024). With d = T z, the mean
//! over draws E, and at the optimum −E[g∘d] = 1,
//! F = [[A, B], [Bᵀ, C]],  A = −E[H],  B = −E[H diag(d)],  C = 1 − E[diag(d) H diag(d)].

use std::f64::consts::TAU;

use super::approximation::Approximation;
use super::curvature::hessians;
use super::draws;
use super::frame::{Basis, Frame, Shape};
use super::linalg::lower_transposed_times;
use super::objective::Objective;
use super::pattern::Pattern;
use super::sparse::{SparseFactor, Symbolic};
use super::stages::{Place, Session};

/// Draws over which curvature is averaged, most first: as many as may be afforded.
const DRAWS: [usize; 3] = [32, 16, 8];
/// Gradients that are always affordable.
const CHEAP: usize = 4096;
/// Numbers in the factor of F.
const MOST_NUMBERS: usize = 4_000_000;
/// Most coordinates of a guide that rotates, whose F is dense.
const DENSE: usize = 150;

/// The curvature of the lower bound at the fitted guide.
#[derive(Clone, Debug)]
pub struct Response {
    /// Whether the lower bound has a maximum here: F is positive definite.
    pub definite: bool,
    /// ½ ∇ᵀ F⁻¹ ∇: what another Newton step would gain, in nats.
    pub decrement: Option<f64>,
    /// The covariance of the means' response, of a mean-field guide.
    pub spread: Option<Spread>,
}

/// A normal whose precision is the Schur complement of C in F.
#[derive(Clone, Debug)]
pub struct Spread {
    whole: SparseFactor,
    widths: SparseFactor,
    /// A by entry of the lower triangle, and B: (row, column, A, B of row and column, B of column and row).
    entries: Vec<(usize, usize, f64, f64, f64)>,
}

/// F by entries, over `dim` means, of which the first `n` have widths.
struct Curvature {
    n: usize,
    entries: Vec<(usize, usize, f64, f64, f64, f64)>,
}

/// The response at `place`, whose objective is over the draws `z`; `None` where it would cost too much, or is not finite.
pub fn respond(session: &mut Session, place: &Place, z: &[f64], half: usize) -> Option<Response> {
    let (dim, n) = (place.frame.dim(), place.frame.noisy());
    // The widths of a low-rank guide are not its sds.
    if n == 0 || matches!(place.frame.shape, Shape::LowRank(_)) {
        return None;
    }
    let scale = place.frame.scale_at(&place.phi);
    if matches!(scale, Basis::Lower(_)) && n > DENSE {
        return None;
    }
    let pattern = session.pool.borrow().pattern()?;
    let products = pattern.products();
    let budget = session.pool.borrow().gradients.max(CHEAP);
    let rows = DRAWS.into_iter().find(|m| 2 * m * products <= budget)?;
    let (tangents, thetas) = self_draws(session, place, &scale, rows / 2);
    let mut curvature = match &scale {
        Basis::Diagonal(_) => sparse(session, &pattern, &scale, &thetas, &tangents, dim, n)?,
        Basis::Lower(t) => rotated(session, &pattern, t, &thetas, &tangents, dim, n)?,
    };
    curvature.entries.retain(|e| [e.2, e.3, e.4, e.5].iter().any(|v| *v != 0.0));
    let whole = curvature.factor(dim)?;
    let Some(factor) = whole else { return Some(Response { definite: false, decrement: None, spread: None }) };
    let gradient = gradient(session, place, &scale, z, half)?;
    let mut white = vec![0.0; factor.dim()];
    factor.gather(&gradient, &mut white);
    let decrement = 0.5 * white.iter().map(|w| w * w).sum::<f64>();
    let spread = match &scale {
        Basis::Diagonal(_) => curvature.spread(if dim == n { Some(factor) } else { None }),
        Basis::Lower(_) => None,
    };
    Some(Response { definite: true, decrement: Some(decrement), spread })
}

/// Draws of the guide in pairs: their offsets (d for a diagonal T, z for another), and theta.
fn self_draws(session: &Session, place: &Place, scale: &Basis, half: usize) -> (Vec<f64>, Vec<f64>) {
    let (dim, n) = (place.frame.dim(), place.frame.noisy());
    let z = draws::matched(session.options.seed, "response", session.noisy, half);
    let mut mean = vec![0.0; dim];
    place.frame.mean_at(&place.phi, &mut mean);
    let (mut tangents, mut thetas) = (vec![], vec![]);
    let mut offset = vec![0.0; n];
    for sign in [1.0, -1.0] {
        for z in z.chunks(n) {
            scale.times(z, &mut offset);
            match scale {
                Basis::Diagonal(_) => tangents.extend(offset.iter().map(|o| sign * o)),
                Basis::Lower(_) => tangents.extend(z.iter().map(|z| sign * z)),
            }
            thetas.extend((0..dim).map(|i| mean[i] + offset.get(i).map_or(0.0, |o| sign * o)));
        }
    }
    (tangents, thetas)
}

/// F in the coordinates (m, ℓ).
fn sparse(
    session: &Session,
    pattern: &Pattern,
    scale: &Basis,
    thetas: &[f64],
    tangents: &[f64],
    dim: usize,
    n: usize,
) -> Option<Curvature> {
    let sds = scale.row_norms(n);
    let units: Vec<f64> = (0..dim).map(|i| sds.get(i).copied().unwrap_or(1e-3)).collect();
    let share = n as f64 / tangents.len() as f64;
    let mut entries: Vec<_> =
        pattern.entries().iter().map(|e| (e.row as usize, e.column as usize, 0.0, 0.0, 0.0, 0.0)).collect();
    let finite = hessians(&mut session.pool.borrow_mut(), pattern, thetas, &units, |k, values| {
        let d = &tangents[k * n..(k + 1) * n];
        let at = |i: usize| d.get(i).copied().unwrap_or(0.0);
        for (e, h) in entries.iter_mut().zip(values) {
            let (h, di, dj) = (-share * h, at(e.0), at(e.1));
            e.2 += h;
            e.3 += h * dj;
            e.4 += h * di;
            e.5 += h * di * dj;
        }
    });
    entries.iter_mut().filter(|e| e.0 == e.1 && e.0 < n).for_each(|e| e.5 += 1.0);
    finite.then_some(Curvature { n, entries })
}

/// F in the coordinates of a guide that rotates: Tᵀ H T in place of H, z in place of d.
fn rotated(
    session: &Session,
    pattern: &Pattern,
    t: &[f64],
    thetas: &[f64],
    tangents: &[f64],
    dim: usize,
    n: usize,
) -> Option<Curvature> {
    let frame = Basis::block_diagonal(&Basis::Lower(t.to_vec()), &vec![1e-3; dim - n], n).to_lower(dim);
    let units: Vec<f64> = Basis::Lower(frame.clone()).row_norms(dim);
    let share = n as f64 / tangents.len() as f64;
    let mut entries: Vec<_> = (0..dim).flat_map(|j| (j..dim).map(move |i| (i, j, 0.0, 0.0, 0.0, 0.0))).collect();
    let (mut h, mut ht) = (vec![0.0; dim * dim], vec![0.0; dim * dim]);
    let (mut column, mut out) = (vec![0.0; dim], vec![0.0; dim]);
    let finite = hessians(&mut session.pool.borrow_mut(), pattern, thetas, &units, |k, values| {
        h.fill(0.0);
        for (e, v) in pattern.entries().iter().zip(values) {
            let (i, j) = (e.row as usize, e.column as usize);
            h[i * dim + j] = *v;
            h[j * dim + i] = *v;
        }
        // Rows of H T, then columns of Tᵀ H T.
        for i in 0..dim {
            let row = &mut ht[i * dim..(i + 1) * dim];
            row.fill(0.0);
            lower_transposed_times(&frame, dim, &h[i * dim..(i + 1) * dim], row);
        }
        let z = &tangents[k * n..(k + 1) * n];
        let at = |i: usize| z.get(i).copied().unwrap_or(0.0);
        let mut next = entries.iter_mut();
        for j in 0..dim {
            (0..dim).for_each(|i| column[i] = ht[i * dim + j]);
            out.fill(0.0);
            lower_transposed_times(&frame, dim, &column, &mut out);
            for (h, e) in out[j..].iter().zip(&mut next) {
                let (h, zi, zj) = (-share * h, at(e.0), at(e.1));
                e.2 += h;
                e.3 += h * zj;
                e.4 += h * zi;
                e.5 += h * zi * zj;
            }
        }
    });
    entries.iter_mut().filter(|e| e.0 == e.1 && e.0 < n).for_each(|e| e.5 += 1.0);
    finite.then_some(Curvature { n, entries })
}

/// The gradient of the objective in the coordinates of F.
fn gradient(session: &Session, place: &Place, scale: &Basis, z: &[f64], half: usize) -> Option<Vec<f64>> {
    let (dim, n) = (place.frame.dim(), place.frame.noisy());
    let units = match scale {
        Basis::Diagonal(_) => vec![1.0; dim - n],
        Basis::Lower(_) => vec![1e-3; dim - n],
    };
    // In this frame the parameters at the origin are the coordinates of F, but for the units of a diagonal T's means.
    let here: Frame =
        place.frame.recentred(&place.phi, Basis::block_diagonal(scale, &units, n), scale.clone(), Shape::Diagonal);
    let mut objective = Objective::new(&here, z, half, session.pool);
    let mut gradient = vec![0.0; here.parameters()];
    if !objective.value_grad(&vec![0.0; here.parameters()], &mut gradient).is_finite() {
        return None;
    }
    if let Basis::Diagonal(sds) = scale {
        gradient[..n].iter_mut().zip(sds).for_each(|(g, sd)| *g /= sd);
    }
    Some(gradient)
}

impl Curvature {
    /// The factor of F over the first `dim` means and the widths: outer `None` if it would be too large, inner if F is not
    /// positive definite.
    fn factor(&self, dim: usize) -> Option<Option<SparseFactor>> {
        let n = self.n;
        let within = || self.entries.iter().filter(|e| e.0 < dim);
        let values = || {
            within().flat_map(|&(i, j, a, b_ij, b_ji, c)| {
                let wide = |k: usize| k < n;
                // The lower triangle: widths come after means.
                [
                    Some((i, j, a)),
                    wide(j).then_some((dim + j, i, b_ij)),
                    (wide(i) && i != j).then_some((dim + i, j, b_ji)),
                    (wide(i) && wide(j)).then_some((dim + i, dim + j, c)),
                ]
                .into_iter()
                .flatten()
            })
        };
        let symbolic = Symbolic::new(dim + n, values().map(|(i, j, _)| (i, j)), MOST_NUMBERS)?;
        Some(symbolic.factor(values()))
    }

    /// The normal of the means with widths, given the others; `whole` is the factor of F if there are no others.
    fn spread(self, whole: Option<SparseFactor>) -> Option<Spread> {
        let n = self.n;
        let whole = match whole {
            Some(factor) => factor,
            None => self.factor(n)??,
        };
        let widths = || self.entries.iter().filter(|e| e.0 < n).map(|e| (e.0, e.1, e.5));
        let symbolic = Symbolic::new(n, widths().map(|(i, j, _)| (i, j)), MOST_NUMBERS)?;
        let widths = symbolic.factor(widths())?;
        let entries = self.entries.iter().filter(|e| e.0 < n).map(|e| (e.0, e.1, e.2, e.3, e.4)).collect();
        Some(Spread { whole, widths, entries })
    }
}

impl Spread {
    fn n(&self) -> usize {
        self.widths.dim()
    }

    pub fn sds(&self) -> Vec<f64> {
        let mut variances = self.whole.inverse_diagonal();
        variances.truncate(self.n());
        variances.into_iter().map(f64::sqrt).collect()
    }

    /// x ᵀ Σ⁻¹ x with Σ⁻¹ = A − B C⁻¹ Bᵀ.
    fn squares(&self, x: &[f64], bx: &mut [f64], white: &mut [f64]) -> f64 {
        bx.fill(0.0);
        let mut total = 0.0;
        for &(i, j, a, b_ij, b_ji) in &self.entries {
            total += if i == j { a * x[i] * x[i] } else { 2.0 * a * x[i] * x[j] };
            bx[j] += b_ij * x[i];
            if i != j {
                bx[i] += b_ji * x[j];
            }
        }
        self.widths.gather(bx, white);
        total - white.iter().map(|w| w * w).sum::<f64>()
    }

    /// ½ log det of the precision, less n/2 log 2π.
    fn log_height(&self) -> f64 {
        0.5 * (self.whole.log_det() - self.widths.log_det() - self.n() as f64 * TAU.ln())
    }
}

/// The normal with the guide's means and the response's covariance, as a distribution to draw from.
#[derive(Clone, Debug)]
pub struct LinearResponse {
    order: Vec<usize>,
    names: Vec<String>,
    centre: Vec<f64>,
    spread: Spread,
    mean: Vec<f64>,
    sds: Vec<f64>,
}

impl LinearResponse {
    /// As for [`super::gaussian::Gaussian::new`].
    pub fn new(order: Vec<usize>, names: Vec<String>, centre: Vec<f64>, spread: Spread) -> LinearResponse {
        let (mut mean, mut sds) = (vec![0.0; order.len()], vec![0.0; order.len()]);
        order.iter().zip(&centre).for_each(|(&i, m)| mean[i] = *m);
        order.iter().zip(spread.sds()).for_each(|(&i, sd)| sds[i] = sd);
        LinearResponse { order, names, centre, spread, mean, sds }
    }
}

impl Approximation for LinearResponse {
    fn mean(&self) -> &[f64] {
        &self.mean
    }

    fn sds(&self) -> &[f64] {
        &self.sds
    }

    fn sample(&self, purpose: &str, n: usize, seed: u64) -> Vec<f64> {
        let (dim, noisy) = (self.centre.len(), self.names.len());
        let mut out = vec![0.0; n * dim];
        // The response of means and widths together; of these only the means are kept.
        let means = draws::plain(seed, purpose, &self.names, 0, n);
        let widths = draws::plain(seed, &format!("{purpose}, widths"), &self.names, 0, n);
        let (mut z, mut offset) = (vec![0.0; 2 * noisy], vec![0.0; 2 * noisy]);
        for k in 0..n {
            z[..noisy].copy_from_slice(&means[k * noisy..(k + 1) * noisy]);
            z[noisy..].copy_from_slice(&widths[k * noisy..(k + 1) * noisy]);
            self.spread.whole.spread(&z, &mut offset);
            for (i, &at) in self.order.iter().enumerate() {
                out[k * dim + at] = self.centre[i] + if i < noisy { offset[i] } else { 0.0 };
            }
        }
        out
    }

    fn log_density(&self, theta: &[f64]) -> Vec<f64> {
        let noisy = self.names.len();
        let height = self.spread.log_height();
        let (mut x, mut bx, mut white) = (vec![0.0; noisy], vec![0.0; noisy], vec![0.0; noisy]);
        let of = |row: &[f64]| {
            for ((x, &at), m) in x.iter_mut().zip(&self.order).zip(&self.centre) {
                *x = row[at] - m;
            }
            height - 0.5 * self.spread.squares(&x, &mut bx, &mut white)
        };
        theta.chunks(self.order.len().max(1)).map(of).collect()
    }
}
