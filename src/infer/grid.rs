//! A posterior of few coordinates as a table: the log joint at the points of a grid, each standing for the cell around it.
//!
//! Where nearly everything integrates out, one to three scales are left, whose posterior is skewed as logs of scales are;
//! a normal fits it badly, and a grid of cheap evaluations does not care (Rue, Martino and Chopin 2009, section 3.1).
//! The grid follows the axes of the fitted guide, and grows until the density on its sides is negligible.

use super::approximation::Approximation;
use super::linalg::{cholesky, solve_lower};
use super::result::{Fit, Scale, SdsFrom};
use super::rng::Stream;
use super::target::Target;

/// Most coordinates that a grid is laid over.
pub const MOST_COORDINATES: usize = 3;
/// Distance of points, in sds of the guide, by the number of coordinates.
const SPACING: [f64; MOST_COORDINATES] = [0.1, 0.25, 0.4];
/// Most cells.
const MOST_CELLS: usize = 60_000;
/// What is this many nats below the highest point is left out.
const NEGLIGIBLE: f64 = 18.0;
/// Points beyond the middle on each side, at first.
const FIRST_REACH: f64 = 4.0;

/// Draws of the guide that its axes are taken from.
const DRAWS: usize = 4000;

#[derive(Clone, Debug)]
struct Grid {
    names: Vec<String>,
    centre: Vec<f64>,
    /// Lower Cholesky factor of the guide's covariance, row-major.
    factor: Vec<f64>,
    spacing: f64,
    /// The first point along each axis, in steps from the centre, and how many there are.
    from: Vec<i64>,
    count: Vec<usize>,
    /// Log of the density in each cell, the first axis fastest.
    log_density: Vec<f64>,
    /// Sums of the cells' masses up to and with each.
    mass: Vec<f64>,
    mean: Vec<f64>,
    sds: Vec<f64>,
}

/// The fit with a grid for its guide; as it was, if a grid would have too many cells. `work`: the cost of an evaluation,
/// in cells of the model's plates.
pub fn on_grid(target: &dyn Target, mut fit: Fit, work: usize, seed: u64) -> (Fit, bool) {
    let dim = target.dim();
    if dim == 0 || dim > MOST_COORDINATES || fit.points.contains(&true) {
        return (fit, false);
    }
    let most = MOST_CELLS.min(2_000_000_000 / work.max(1));
    let mut evaluations = 0;
    let Some(grid) = Grid::over(target, &fit, most, seed, &mut evaluations) else {
        fit.log_joints += evaluations;
        return (fit, false);
    };
    let mut evaluator = target.evaluator();
    let mut values = |rows: usize, theta: &[f64]| -> Vec<f64> {
        evaluations += rows;
        theta.chunks(dim).map(|t| evaluator.value(t)).collect()
    };
    let (elbo, elbo_se) = grid.bound(&mut values, 1024, seed);
    fit.log_joints += evaluations;
    // A guide that is better stays: then the grid is too coarse for a density that is narrower than it.
    if elbo + 0.05 < fit.elbo {
        return (fit, false);
    }
    (fit.elbo, fit.elbo_se, fit.scale, fit.sds_from) = (elbo, elbo_se, Scale::Implicit, SdsFrom::Guide);
    fit.mean = grid.mean.clone();
    fit.mean_error = 0.0;
    (fit.definite, fit.decrement) = (None, None);
    fit.approximation = std::sync::Arc::new(grid);
    (fit, true)
}

impl Grid {
    fn over(target: &dyn Target, fit: &Fit, most: usize, seed: u64, evaluations: &mut usize) -> Option<Grid> {
        let dim = target.dim();
        let draws = fit.approximation.sample("grid", DRAWS, seed);
        let mut centre = vec![0.0; dim];
        for row in draws.chunks(dim) {
            centre.iter_mut().zip(row).for_each(|(c, x)| *c += x / DRAWS as f64);
        }
        let mut factor = vec![0.0; dim * dim];
        for row in draws.chunks(dim) {
            for i in 0..dim {
                for j in 0..=i {
                    factor[i * dim + j] += (row[i] - centre[i]) * (row[j] - centre[j]) / DRAWS as f64;
                }
            }
        }
        if !cholesky(&mut factor, dim) {
            return None;
        }
        let spacing = SPACING[dim - 1];
        let reach = (FIRST_REACH / spacing) as i64;
        let mut grid = Grid {
            names: target.names(),
            centre,
            factor,
            spacing,
            from: vec![-reach; dim],
            count: vec![2 * reach as usize + 1; dim],
            log_density: vec![],
            mass: vec![],
            mean: vec![],
            sds: vec![],
        };
        let mut evaluator = target.evaluator();
        let mut known: std::collections::HashMap<Vec<i64>, f64> = std::collections::HashMap::new();
        loop {
            let cells: usize = grid.count.iter().product();
            if cells > most {
                return None;
            }
            grid.log_density = (0..cells)
                .map(|cell| {
                    let at = grid.steps(cell);
                    *known.entry(at).or_insert_with_key(|at| {
                        *evaluations += 1;
                        let x: Vec<f64> = at.iter().map(|&i| i as f64 * spacing).collect();
                        let value = evaluator.value(&grid.placed(&x));
                        if value.is_nan() { f64::NEG_INFINITY } else { value }
                    })
                })
                .collect();
            let highest = grid.log_density.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            if !highest.is_finite() {
                return None;
            }
            let mut grown = false;
            for axis in 0..dim {
                for last in [false, true] {
                    let side = if last { grid.from[axis] + grid.count[axis] as i64 - 1 } else { grid.from[axis] };
                    let on = |cell: &usize| grid.steps(*cell)[axis] == side;
                    let top = (0..cells).filter(on).map(|c| grid.log_density[c]).fold(f64::NEG_INFINITY, f64::max);
                    if top > highest - NEGLIGIBLE {
                        grown = true;
                        let more = (grid.count[axis] / 4).max(2);
                        grid.count[axis] += more;
                        if !last {
                            grid.from[axis] -= more as i64;
                        }
                        // The cells have moved: the other sides are looked at again.
                        break;
                    }
                }
                if grown {
                    break;
                }
            }
            if !grown {
                grid.settle(highest);
                return Some(grid);
            }
        }
    }

    /// Masses and moments from the densities.
    fn settle(&mut self, highest: f64) {
        let dim = self.names.len();
        let log_cell = dim as f64 * self.spacing.ln() + (0..dim).map(|i| self.factor[i * dim + i].ln()).sum::<f64>();
        let weights: Vec<f64> = self.log_density.iter().map(|l| (l - highest).exp()).collect();
        let total: f64 = weights.iter().sum();
        let log_total = highest + total.ln() + log_cell;
        self.log_density.iter_mut().for_each(|l| *l -= log_total);
        let mut sum = 0.0;
        self.mass = weights
            .iter()
            .map(|w| {
                sum += w / total;
                sum
            })
            .collect();
        (self.mean, self.sds) = (vec![0.0; dim], vec![0.0; dim]);
        for (cell, w) in weights.iter().enumerate() {
            let theta = self.placed(&self.steps(cell).iter().map(|&i| i as f64 * self.spacing).collect::<Vec<_>>());
            self.mean.iter_mut().zip(&theta).for_each(|(m, t)| *m += w / total * t);
            self.sds.iter_mut().zip(&theta).for_each(|(s, t)| *s += w / total * t * t);
        }
        self.sds.iter_mut().zip(&self.mean).for_each(|(s, m)| *s = (*s - m * m).max(0.0).sqrt());
    }

    /// The steps from the centre to a cell.
    fn steps(&self, mut cell: usize) -> Vec<i64> {
        let along = self.from.iter().zip(&self.count).map(|(from, &n)| {
            let i = cell % n;
            cell /= n;
            from + i as i64
        });
        along.collect()
    }

    fn placed(&self, x: &[f64]) -> Vec<f64> {
        let dim = x.len();
        (0..dim).map(|i| self.centre[i] + (0..=i).map(|j| self.factor[i * dim + j] * x[j]).sum::<f64>()).collect()
    }
}

impl Approximation for Grid {
    fn mean(&self) -> &[f64] {
        &self.mean
    }

    fn sds(&self) -> &[f64] {
        &self.sds
    }

    fn sample(&self, purpose: &str, n: usize, seed: u64) -> Vec<f64> {
        let mut cells = Stream::new(seed, purpose, "cell of the grid");
        let mut within: Vec<Stream> = self.names.iter().map(|name| Stream::new(seed, purpose, name)).collect();
        let mut out = Vec::with_capacity(n * self.names.len());
        for _ in 0..n {
            let u = cells.uniform();
            let cell = self.mass.partition_point(|m| *m < u).min(self.mass.len() - 1);
            let at = self.steps(cell).into_iter().zip(&mut within);
            let x: Vec<f64> = at.map(|(i, s)| (i as f64 + s.uniform() - 0.5) * self.spacing).collect();
            out.extend(self.placed(&x));
        }
        out
    }

    fn log_density(&self, theta: &[f64]) -> Vec<f64> {
        let dim = self.names.len();
        theta
            .chunks(dim)
            .map(|t| {
                let mut x: Vec<f64> = t.iter().zip(&self.centre).map(|(t, c)| t - c).collect();
                solve_lower(&self.factor, dim, &mut x);
                let (mut cell, mut stride) = (0, 1);
                for ((x, from), &n) in x.iter().zip(&self.from).zip(&self.count) {
                    let i = (x / self.spacing).round() as i64 - from;
                    if i < 0 || i >= n as i64 {
                        return f64::NEG_INFINITY;
                    }
                    cell += stride * i as usize;
                    stride *= n;
                }
                self.log_density[cell]
            })
            .collect()
    }
}
