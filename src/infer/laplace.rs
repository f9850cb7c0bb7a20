//! `--method laplace`: the highest mode on the unconstrained scale, and the inverse of the curvature there as covariance.

use super::curvature::hessians;
use super::frame::{Basis, Frame, Shape};
use super::lbfgs::End;
use super::linalg::{axpy, cholesky, dot, inverse_factor, solve_lower, solve_lower_transposed, symmetric_eigen};
use super::mode::{Mode, reason};
use super::options::GuideKind;
use super::pool::Pool;
use super::result::StopReason;
use super::stages::{Beyond, Failure, IMPROPER_SD, Outcome, Place, Session};

/// Newton steps that finish what L-BFGS left, each if it climbs.
const NEWTON: usize = 4;
/// Largest decrement, in nats, at a mode.
const DECREMENT: f64 = 1e-6;

/// The highest mode with the normal there, and where the other starts went.
pub struct Laplace {
    pub start: usize,
    pub mode: Mode,
    /// T, lower triangular, with T Tᵀ the inverse of `curvature`.
    pub scale: Basis,
    /// −∇² log p at the mode; where that is not a maximum's, the nearest positive definite matrix.
    pub curvature: Vec<f64>,
    /// Why no normal lies there, if none does.
    pub fault: Option<StopReason>,
    pub others: Vec<(usize, Mode)>,
    pub failed: Vec<usize>,
}

impl Session<'_, '_> {
    pub fn run_laplace(&mut self) -> Result<Outcome, Failure> {
        let found = self.laplace()?;
        let n = self.noisy.len();
        let scale = match self.options.guide {
            // Of all normals with independent coordinates the nearest by KL(q ‖ p) has the conditional variances.
            GuideKind::MeanField => Basis::Diagonal((0..n).map(|i| found.curvature[i * n + i].powf(-0.5)).collect()),
            _ => found.scale,
        };
        let place = normal_at(&found.mode, scale);
        let around = |m: &Mode| normal_at(m, place.frame.noise.clone());
        let others: Vec<(usize, Place)> = found.others.iter().map(|(start, m)| (*start, around(m))).collect();
        let reason = self.halt.clone().or(found.fault).unwrap_or_else(|| reason(found.mode.end));
        let starts = self.summarise(found.start, &place, &others, found.failed);
        Ok(Outcome {
            place,
            reason,
            starts,
            beyond: Beyond::default(),
            others,
            draws: 0,
            mean_error: 0.0,
            response: None,
        })
    }

    pub fn laplace(&mut self) -> Result<Laplace, Failure> {
        let (mut modes, failed) = self.modes()?;
        let (start, mode) = modes.remove(0);
        let (mode, curvature, bent) = self.unit(|session| {
            let mut mode = mode;
            let (curvature, bent) = session.curvature(&mut mode);
            (mode, curvature, bent)
        });
        let n = mode.theta.len();
        let scale = Basis::Lower(root_of_inverse(&curvature, n));
        let endless = scale.row_norms(n).iter().position(|sd| *sd > IMPROPER_SD);
        let fault = match endless {
            Some(i) => Some(StopReason::Improper(self.noisy[i].clone())),
            None => (!bent).then_some(StopReason::Indefinite),
        };
        Ok(Laplace { start, mode, scale, curvature, fault, others: modes, failed })
    }

    /// −∇² log p at the mode, which is polished on the way; and whether it is that of a maximum.
    fn curvature(&mut self, mode: &mut Mode) -> (Vec<f64>, bool) {
        let n = mode.theta.len();
        let mut pool = self.pool.borrow_mut();
        let mut gradient = vec![0.0; n];
        let mut round = 0;
        loop {
            let mut a = negative_hessian(&mut pool, &mode.theta);
            let mut factor = a.clone();
            if !cholesky(&mut factor, n) {
                raise(&mut a, n);
                return (a, false);
            }
            let mut value = [0.0];
            pool.value_grad(&mode.theta, &mut value, &mut gradient);
            let mut step = gradient.clone();
            solve_lower(&factor, n, &mut step);
            solve_lower_transposed(&factor, n, &mut step);
            if mode.end != End::Converged || round == NEWTON || 0.5 * dot(&step, &gradient) < DECREMENT {
                return (a, true);
            }
            let mut moved = mode.theta.clone();
            axpy(1.0, &step, &mut moved);
            let mut there = [0.0];
            pool.value(&moved, &mut there);
            if there[0].is_nan() || there[0] <= value[0] {
                mode.end = End::Stuck;
                return (a, true);
            }
            (mode.theta, mode.log_joint) = (moved, there[0]);
            round += 1;
        }
    }
}

/// The normal at a mode with this scale, over coordinates that all have noise.
pub fn normal_at(mode: &Mode, scale: Basis) -> Place {
    let frame = Frame { centre: mode.theta.clone(), mean: scale.clone().into(), noise: scale, shape: Shape::Diagonal };
    Place {
        phi: vec![0.0; frame.parameters()],
        frame,
        objective: -mode.log_joint,
        end: mode.end,
        iterations: mode.iterations,
    }
}

/// Lower L with L Lᵀ = a⁻¹, for a positive definite matrix; from its diagonal where rounding broke that.
fn root_of_inverse(a: &[f64], n: usize) -> Vec<f64> {
    inverse_factor(a, n)
        .unwrap_or_else(|| Basis::Diagonal((0..n).map(|i| a[i * n + i].abs().powf(-0.5)).collect()).to_lower(n))
}

/// Raise eigenvalues that are not positive.
fn raise(a: &mut [f64], n: usize) {
    let finite = a.iter().all(|x| x.is_finite());
    let (values, vectors) = if finite { symmetric_eigen(a, n) } else { (vec![], vec![]) };
    a.fill(0.0);
    if !finite {
        return (0..n).for_each(|i| a[i * n + i] = 1.0);
    }
    let floor = (1e-10 * values.last().copied().unwrap_or(1.0)).max(1e-8);
    for (value, v) in values.iter().zip(vectors.chunks(n.max(1))) {
        for i in 0..n {
            axpy(value.max(floor) * v[i], v, &mut a[i * n..(i + 1) * n]);
        }
    }
}

/// Sees a coordinate, and the gradients a step above and below.
type Visit<'v> = &'v mut dyn FnMut(usize, &[f64], &[f64]);

/// −∇² log p at a point: by the compiler's products with the Hessian, as few as its pattern allows, or by differences of the
/// gradient where a model has no products.
fn negative_hessian(pool: &mut Pool, theta: &[f64]) -> Vec<f64> {
    let n = theta.len();
    let Some(pattern) = pool.pattern().filter(|_| pool.has_products()) else {
        return by_differences(pool, theta);
    };
    let mut a = vec![0.0; n * n];
    let finite = hessians(pool, &pattern, theta, &vec![1.0; n], |_, values| {
        for (value, e) in values.iter().zip(pattern.entries()) {
            let (i, j) = (e.row as usize, e.column as usize);
            (a[i * n + j], a[j * n + i]) = (-value, -value);
        }
    });
    if !finite {
        a.fill(f64::NAN);
    }
    a
}

/// −∇² log p at a point, by central differences of the gradient: steps of a hundredth of a coordinate's own conditional
/// standard deviation, found from a first, tiny step, keep four digits and more.
fn by_differences(pool: &mut Pool, theta: &[f64]) -> Vec<f64> {
    const FIRST: f64 = 1e-5;
    const SHARE: f64 = 0.01;
    const COLUMNS: usize = 64;
    let n = theta.len();
    let mut a = vec![0.0; n * n];
    let (mut thetas, mut values, mut gradients) = (vec![], vec![], vec![]);
    // Slopes of the gradient along some coordinates, each over its own step.
    let mut slopes = |columns: &[usize], steps: &[f64], visit: Visit| {
        thetas.clear();
        for (&j, h) in columns.iter().zip(steps) {
            for sign in [1.0, -1.0] {
                thetas.extend_from_slice(theta);
                let at = thetas.len() - n + j;
                thetas[at] += sign * h;
            }
        }
        values.resize(2 * columns.len(), 0.0);
        gradients.resize(2 * columns.len() * n, 0.0);
        pool.value_grad(&thetas, &mut values, &mut gradients);
        for (&j, pair) in columns.iter().zip(gradients.chunks(2 * n)) {
            visit(j, &pair[..n], &pair[n..]);
        }
    };
    let all: Vec<usize> = (0..n).collect();
    let mut steps: Vec<f64> = theta.iter().map(|t| FIRST * t.abs().max(1.0)).collect();
    for columns in all.chunks(COLUMNS) {
        let first = steps[columns[0]..=columns[columns.len() - 1]].to_vec();
        slopes(columns, &first, &mut |j, up, down| {
            let curvature = (down[j] - up[j]) / (2.0 * first[j - columns[0]]);
            let sd = if curvature > 0.0 { curvature.powf(-0.5) } else { 1.0 };
            steps[j] = SHARE * sd.clamp(1e-8, 1e4);
        });
    }
    for columns in all.chunks(COLUMNS) {
        let own = &steps[columns[0]..=columns[columns.len() - 1]];
        slopes(columns, own, &mut |j, up, down| {
            for i in 0..n {
                a[j * n + i] = (down[i] - up[i]) / (2.0 * steps[j]);
            }
        });
    }
    for i in 0..n {
        for j in 0..i {
            let mean = 0.5 * (a[i * n + j] + a[j * n + i]);
            (a[i * n + j], a[j * n + i]) = (mean, mean);
        }
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Inputs;
    use crate::driver::{self, Session as Run};
    use crate::infer::Target;

    #[test]
    fn the_compilers_hessian_is_that_of_differences_for_fewer_gradients() {
        let text = "plate g = 12\nlatent mu ~ Normal(0, 2)\nlatent tau ~ HalfNormal(1)\nlatent b[g] ~ Normal(mu, tau) @centered\n\
                    latent c[g] ~ StudentT(4, b, 1)\nfactor sum(-log1p_exp(-b * c - 0.3) over g)\n";
        let mut run = Run::default();
        let checked = driver::check(&mut run, "m.vi", text);
        let model = driver::compile(&mut run, checked, &Inputs::default()).expect("it compiles").model;
        let n = model.dim();
        let at: Vec<f64> = (0..n).map(|i| 0.7 * (1.3 * i as f64).sin()).collect();
        std::thread::scope(|scope| {
            let mut pool = Pool::new(&model, (0..n).collect(), 1, scope);
            let exact = negative_hessian(&mut pool, &at);
            let spent = pool.gradients;
            let near = by_differences(&mut pool, &at);
            // Two gradients per product; one product for each of the two globals, two for what each group has.
            assert!(spent <= 2 * 5 && pool.gradients - spent == 4 * n, "{spent} {}", pool.gradients);
            for (e, d) in exact.iter().zip(&near) {
                // Differences over steps of a hundredth of a sd keep four digits of what is of the order of 1 here.
                assert!((e - d).abs() < 1e-3 * (1.0 + e.abs()), "{e} {d}");
            }
        });
    }
}
