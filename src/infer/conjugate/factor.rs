//! Factors: from natural parameters to expected statistics, entropies, draws and densities.
//!
//! The natural parameters of a factor are the derivatives of the expected log joint along its statistics; the base measure
//! is that of the latent's own scale.

use std::f64::consts::TAU;
use std::slice::IterMut;

use super::Trouble;
use super::block::{BetaCell, Form, Matrix, Normal, PowerCell, RawCell, Simplex, from_log_ratios, log_ratios};
use super::wishart::Wishart;
use crate::infer::linalg::{cholesky, dot, invert_lower, solve_lower, solve_lower_transposed};
use crate::infer::rng::Stream;
use crate::prim::scalar::{digamma, lgamma, softplus, trigamma};

/// Logs of probabilities that come out as 0: a product of it with a count of 0 must be 0.
const LOG_ZERO: f64 = -690.0;
/// A component whose share of the largest precision is below this has no rows of its own.
const EMPTY: f64 = 1e-12;

/// Where the log sds of normals without a closed form start.
const FIRST_LOG_SD: f64 = -1.0;

/// The parameters of a block's factor.
#[derive(Clone, Debug)]
pub enum Factor {
    Normal(Vec<Spread>),
    /// Shape and rate of x^power; for points x^power and 0.
    Power(Vec<(f64, f64)>),
    /// For points the probability, and 0.
    Beta(Vec<(f64, f64)>),
    /// Concentrations; for points, and before the first update, probabilities.
    Dirichlet {
        own: Vec<Vec<f64>>,
        updated: bool,
    },
    Wishart(Vec<Wishart>),
    Raw(Vec<f64>),
    /// Mean and log sd on the unconstrained scale.
    Drawn(Vec<(f64, f64)>),
}

/// A normal.
#[derive(Clone, Debug)]
pub struct Spread {
    pub mean: Vec<f64>,
    /// Row-major; 0 for points.
    pub covariance: Vec<f64>,
    /// Lower factor of the precision, row-major (for points of the curvature); empty before the first update.
    pub precision: Vec<f64>,
}

impl Factor {
    /// All at one point, in which `values` are the latents' cells as the form lists them.
    pub fn at(form: &Form, values: &mut dyn Iterator<Item = f64>) -> Factor {
        let mut next = || values.next().expect("a value per cell");
        match form {
            Form::Normal(all) => Factor::Normal(
                all.iter()
                    .map(|n| {
                        let k = n.cells.len();
                        let mean = (0..k).map(|_| next()).collect();
                        Spread { mean, covariance: vec![0.0; k * k], precision: vec![] }
                    })
                    .collect(),
            ),
            Form::Power { power, cells } => {
                Factor::Power(cells.iter().map(|_| (next().powf(*power), f64::INFINITY)).collect())
            }
            Form::Beta(cells) => Factor::Beta(cells.iter().map(|_| (next(), f64::INFINITY)).collect()),
            Form::Dirichlet(all) => {
                let own = all.iter().map(|s| s.logs.iter().map(|_| next()).collect()).collect();
                Factor::Dirichlet { own, updated: false }
            }
            Form::Wishart(all) => Factor::Wishart(
                all.iter().map(|m| Wishart::at((0..m.rows * m.rows).map(|_| next()).collect())).collect(),
            ),
            Form::Raw(cells) => Factor::Raw(cells.iter().map(|_| next()).collect()),
            Form::Drawn(cells) => Factor::Drawn(cells.iter().map(|c| (c.range.free(next()), FIRST_LOG_SD)).collect()),
        }
    }

    /// The best factor, by the gradient of the expected log joint along all statistics.
    pub fn update(&mut self, form: &Form, point: bool, gradient: &[f64]) -> Result<(), Trouble> {
        let eta = |at: Option<usize>| at.map_or(0.0, |i| gradient[i]);
        match (form, self) {
            (Form::Normal(all), Factor::Normal(spreads)) => {
                let most = all.iter().flat_map(|n| &n.cells).map(|c| -2.0 * eta(c.square)).fold(0.0, f64::max);
                for (n, s) in all.iter().zip(spreads) {
                    s.update(n, point, gradient, most)?;
                }
            }
            (Form::Power { power, cells }, Factor::Power(all)) => {
                for (c, own) in cells.iter().zip(all) {
                    let (log, value) = (eta(c.log), eta(c.value));
                    *own = if point {
                        // The highest point of x^log exp(value x^power).
                        let at = -log / (power * value);
                        if !(at > 0.0 && at.is_finite()) {
                            // x^log grows without bound towards 0, unless the other part keeps it from there.
                            let unbounded = log < 0.0;
                            return Err(if unbounded {
                                Trouble::unbounded(&c.name)
                            } else {
                                Trouble::no_maximum(&c.name)
                            });
                        }
                        (at, f64::INFINITY)
                    } else {
                        let (shape, rate) = ((log + 1.0) / power, -value);
                        if !(shape > 0.0 && rate > 0.0 && shape.is_finite() && rate.is_finite()) {
                            return Err(Trouble::improper(&c.name));
                        }
                        (shape, rate)
                    };
                }
            }
            (Form::Beta(cells), Factor::Beta(all)) => {
                for (c, own) in cells.iter().zip(all) {
                    let (a, b) = (eta(c.log), eta(c.log1m));
                    *own = if point {
                        let p = a / (a + b);
                        if !(0.0..=1.0).contains(&p) {
                            return Err(Trouble::no_maximum(&c.name));
                        }
                        (p, f64::INFINITY)
                    } else {
                        if !(a > -1.0 && b > -1.0 && a.is_finite() && b.is_finite()) {
                            return Err(Trouble::improper(&c.name));
                        }
                        (a + 1.0, b + 1.0)
                    };
                }
            }
            (Form::Dirichlet(all), Factor::Dirichlet { own, updated }) => {
                *updated = true;
                for (s, own) in all.iter().zip(own) {
                    let counts = s.logs.iter().map(|i| gradient[*i]);
                    let total: f64 = counts.clone().sum();
                    if point && !(total > 0.0 && total.is_finite()) {
                        return Err(Trouble::no_maximum(&s.names[0]));
                    }
                    for (a, count) in own.iter_mut().zip(counts) {
                        *a = if point { count.max(0.0) / total } else { count + 1.0 };
                        if !(point || *a > 0.0 && a.is_finite()) {
                            return Err(Trouble::improper(&s.names[0]));
                        }
                    }
                }
            }
            (Form::Wishart(all), Factor::Wishart(own)) => {
                for (m, own) in all.iter().zip(own) {
                    own.update(m, gradient)?;
                }
            }
            (Form::Raw(_), Factor::Raw(_)) | (Form::Drawn(_), Factor::Drawn(_)) => {}
            _ => unreachable!("a factor is made for its form"),
        }
        Ok(())
    }

    /// Write the expected statistics.
    pub fn expect(&self, form: &Form, point: bool, out: &mut [f64]) {
        let mut put = |at: Option<usize>, v: f64| {
            if let Some(at) = at {
                out[at] = v;
            }
        };
        match (form, self) {
            (Form::Normal(all), Factor::Normal(spreads)) => {
                for (n, s) in all.iter().zip(spreads) {
                    let k = n.cells.len();
                    for (i, c) in n.cells.iter().enumerate() {
                        put(c.x, s.mean[i]);
                        put(c.square, s.mean[i] * s.mean[i] + s.covariance[i * k + i]);
                    }
                    for &(at, i, j) in &n.products {
                        put(Some(at), s.mean[i] * s.mean[j] + s.covariance[i * k + j]);
                    }
                }
            }
            (Form::Power { power, cells }, Factor::Power(all)) => {
                for (c, &(a, b)) in cells.iter().zip(all) {
                    // At a point the first is x^power itself.
                    let (log, value) = if b.is_infinite() { (a.ln(), a) } else { (digamma(a) - b.ln(), a / b) };
                    put(c.log, log / power);
                    put(c.value, value);
                }
            }
            (Form::Beta(cells), Factor::Beta(all)) => {
                for (c, &(a, b)) in cells.iter().zip(all) {
                    let (log, log1m) = match b.is_infinite() {
                        true => (a.ln().max(LOG_ZERO), (-a).ln_1p().max(LOG_ZERO)),
                        false => (digamma(a) - digamma(a + b), digamma(b) - digamma(a + b)),
                    };
                    put(c.log, log);
                    put(c.log1m, log1m);
                }
            }
            (Form::Dirichlet(all), Factor::Dirichlet { own, updated }) => {
                let probabilities = point || !updated;
                for (s, own) in all.iter().zip(own) {
                    let total: f64 = own.iter().sum();
                    for (at, a) in s.logs.iter().zip(own) {
                        let log = if probabilities { a.ln().max(LOG_ZERO) } else { digamma(*a) - digamma(total) };
                        put(Some(*at), log);
                    }
                }
            }
            (Form::Wishart(all), Factor::Wishart(own)) => {
                all.iter().zip(own).for_each(|(m, w)| w.expect(m, |at, v| put(Some(at), v)));
            }
            (Form::Raw(cells), Factor::Raw(own)) => cells.iter().zip(own).for_each(|(c, x)| put(Some(c.input), *x)),
            // Its own draws stand in for it where that counts.
            (Form::Drawn(cells), Factor::Drawn(own)) => {
                cells.iter().zip(own).for_each(|(c, s)| put(Some(c.input), c.range.value(s.0)));
            }
            _ => unreachable!("a factor is made for its form"),
        }
    }

    /// In nats, on the latents' own scales; of a factor that has been updated.
    pub fn entropy(&self, form: &Form) -> f64 {
        match (form, self) {
            (Form::Normal(_), Factor::Normal(all)) => all
                .iter()
                .map(|s| {
                    let k = s.mean.len();
                    let log_det: f64 = (0..k).map(|i| s.precision[i * k + i].ln()).sum();
                    0.5 * k as f64 * (TAU.ln() + 1.0) - log_det
                })
                .sum(),
            // Of y = x^p ~ Gamma(a, b), and x = y^(1/p): log |dx/dy| = (1/p - 1) log y - log |p|.
            (Form::Power { power, .. }, Factor::Power(all)) => all
                .iter()
                .map(|&(a, b)| {
                    let own = a - b.ln() + lgamma(a) + (1.0 - a) * digamma(a);
                    own + (1.0 / power - 1.0) * (digamma(a) - b.ln()) - power.abs().ln()
                })
                .sum(),
            (Form::Beta(_), Factor::Beta(all)) => all
                .iter()
                .map(|&(a, b)| {
                    lgamma(a) + lgamma(b) - lgamma(a + b) - (a - 1.0) * digamma(a) - (b - 1.0) * digamma(b)
                        + (a + b - 2.0) * digamma(a + b)
                })
                .sum(),
            (Form::Dirichlet(_), Factor::Dirichlet { own: all, .. }) => all
                .iter()
                .map(|own| {
                    let total: f64 = own.iter().sum();
                    let each: f64 = own.iter().map(|a| lgamma(*a) - (a - 1.0) * (digamma(*a) - digamma(total))).sum();
                    each - lgamma(total)
                })
                .sum(),
            (Form::Wishart(all), Factor::Wishart(own)) => all.iter().zip(own).map(|(m, w)| w.entropy(m)).sum(),
            (Form::Raw(_), Factor::Raw(_)) => 0.0,
            // On the unconstrained scale: log-Jacobians are part of what it is added to.
            (Form::Drawn(_), Factor::Drawn(own)) => own.iter().map(|s| s.1 + 0.5 * (TAU.ln() + 1.0)).sum(),
            _ => unreachable!("a factor is made for its form"),
        }
    }

    /// The names of the streams that a draw takes its numbers from.
    pub fn streams(form: &Form, names: &mut Vec<String>) {
        match form {
            Form::Normal(all) => names.extend(all.iter().flat_map(|n| &n.cells).map(|c| c.name.clone())),
            Form::Power { cells, .. } => names.extend(cells.iter().map(|c| c.name.clone())),
            Form::Beta(cells) => names.extend(cells.iter().flat_map(|c| [c.name.clone(), format!("{} ends", c.name)])),
            Form::Dirichlet(all) => names.extend(all.iter().flat_map(|s| &s.names).cloned()),
            Form::Wishart(all) => names.extend(all.iter().flat_map(Wishart::streams).cloned()),
            Form::Drawn(cells) => names.extend(cells.iter().map(|c| c.name.clone())),
            Form::Raw(_) => {}
        }
    }

    /// A draw on the unconstrained scale, each number from the stream of its name.
    pub fn draw(&self, form: &Form, streams: &mut IterMut<Stream>, theta: &mut [f64]) {
        match (form, self) {
            (Form::Normal(all), Factor::Normal(spreads)) => {
                for (n, s) in all.iter().zip(spreads) {
                    let k = n.cells.len();
                    let mut x: Vec<f64> = (0..k).map(|_| next(streams).normal()).collect();
                    solve_lower_transposed(&s.precision, k, &mut x);
                    n.cells.iter().zip(&x).zip(&s.mean).for_each(|((c, x), m)| theta[c.theta] = m + x);
                }
            }
            (Form::Power { power, cells }, Factor::Power(all)) => {
                for (c, &(a, b)) in cells.iter().zip(all) {
                    theta[c.theta] = (log_gamma(a, next(streams)) - b.ln()) / power;
                }
            }
            (Form::Beta(cells), Factor::Beta(all)) => {
                for (c, &(a, b)) in cells.iter().zip(all) {
                    theta[c.theta] = log_gamma(a, next(streams)) - log_gamma(b, next(streams));
                }
            }
            (Form::Dirichlet(all), Factor::Dirichlet { own, .. }) => {
                for (s, own) in all.iter().zip(own) {
                    let logs: Vec<f64> = own.iter().map(|a| log_gamma(*a, next(streams))).collect();
                    s.theta.iter().zip(log_ratios(&logs)).for_each(|(at, u)| theta[*at] = u);
                }
            }
            (Form::Wishart(all), Factor::Wishart(own)) => {
                for (m, w) in all.iter().zip(own) {
                    let u = w.draw(m.inverse, &mut || next(streams));
                    m.theta.iter().zip(u).for_each(|(at, u)| theta[*at] = u);
                }
            }
            (Form::Drawn(cells), Factor::Drawn(own)) => {
                cells.iter().zip(own).for_each(|(c, s)| theta[c.theta] = s.0 + s.1.exp() * next(streams).normal());
            }
            (Form::Raw(_), Factor::Raw(_)) => {}
            _ => unreachable!("a factor is made for its form"),
        }
    }

    /// Mean and standard deviation of each coordinate of the unconstrained scale: those of logs of gamma variates.
    pub fn moments(&self, form: &Form, mean: &mut [f64], sds: &mut [f64]) {
        let mut put = |at: usize, m: f64, variance: f64| (mean[at], sds[at]) = (m, variance.sqrt());
        match (form, self) {
            (Form::Normal(all), Factor::Normal(spreads)) => {
                for (n, s) in all.iter().zip(spreads) {
                    let k = n.cells.len();
                    let cells = n.cells.iter().enumerate();
                    cells.for_each(|(i, c)| put(c.theta, s.mean[i], s.covariance[i * k + i]));
                }
            }
            (Form::Power { power, cells }, Factor::Power(all)) => {
                for (c, &(a, b)) in cells.iter().zip(all) {
                    put(c.theta, (digamma(a) - b.ln()) / power, trigamma(a) / (power * power));
                }
            }
            (Form::Beta(cells), Factor::Beta(all)) => {
                for (c, &(a, b)) in cells.iter().zip(all) {
                    put(c.theta, digamma(a) - digamma(b), trigamma(a) + trigamma(b));
                }
            }
            (Form::Dirichlet(all), Factor::Dirichlet { own, .. }) => {
                for (s, own) in all.iter().zip(own) {
                    let means = log_ratios(&own.iter().map(|a| digamma(*a)).collect::<Vec<f64>>());
                    let variances: Vec<f64> = own.iter().map(|a| trigamma(*a)).collect();
                    for (j, (at, m)) in (1..).zip(s.theta.iter().zip(means)) {
                        // Squares of the basis: 1 / (j (j + 1)) for those before, j / (j + 1) for this one.
                        let before: f64 = variances[..j].iter().sum();
                        let j1 = j as f64;
                        put(*at, m, (before + j1 * j1 * variances[j]) / (j1 * (j1 + 1.0)));
                    }
                }
            }
            (Form::Wishart(all), Factor::Wishart(own)) => {
                for (m, w) in all.iter().zip(own) {
                    let moments = w.moments(m);
                    m.theta.iter().zip(moments).for_each(|(at, (mean, variance))| put(*at, mean, variance));
                }
            }
            (Form::Drawn(cells), Factor::Drawn(own)) => {
                cells.iter().zip(own).for_each(|(c, s)| put(c.theta, s.0, (2.0 * s.1).exp()));
            }
            (Form::Raw(_), Factor::Raw(_)) => {}
            _ => unreachable!("a factor is made for its form"),
        }
    }

    /// Log density with respect to the unconstrained coordinates.
    pub fn log_density(&self, form: &Form, theta: &[f64]) -> f64 {
        match (form, self) {
            (Form::Normal(all), Factor::Normal(spreads)) => {
                all.iter().zip(spreads).map(|(n, s)| s.log_density(n, theta)).sum()
            }
            (Form::Power { power, cells }, Factor::Power(all)) => cells
                .iter()
                .zip(all)
                .map(|(c, &(a, b))| {
                    // y = exp(power u)
                    let log_y = power * theta[c.theta];
                    a * b.ln() - lgamma(a) + a * log_y - b * log_y.exp() + power.abs().ln()
                })
                .sum(),
            (Form::Beta(cells), Factor::Beta(all)) => cells
                .iter()
                .zip(all)
                .map(|(c, &(a, b))| {
                    let u = theta[c.theta];
                    lgamma(a + b) - lgamma(a) - lgamma(b) - a * softplus(-u) - b * softplus(u)
                })
                .sum(),
            (Form::Dirichlet(all), Factor::Dirichlet { own, .. }) => all
                .iter()
                .zip(own)
                .map(|(s, own)| {
                    let u: Vec<f64> = s.theta.iter().map(|i| theta[*i]).collect();
                    let logs = from_log_ratios(&u);
                    let total: f64 = own.iter().sum();
                    let each: f64 = own.iter().zip(&logs).map(|(a, l)| a * l - lgamma(*a)).sum();
                    // log |d x / d u| = ½ log K + Σ log x
                    lgamma(total) + each + 0.5 * (own.len() as f64).ln()
                })
                .sum(),
            (Form::Wishart(all), Factor::Wishart(own)) => {
                let at = |m: &Matrix| m.theta.iter().map(|i| theta[*i]).collect::<Vec<f64>>();
                all.iter().zip(own).map(|(m, w)| w.log_density(m.inverse, &at(m))).sum()
            }
            (Form::Drawn(cells), Factor::Drawn(own)) => cells
                .iter()
                .zip(own)
                .map(|(c, s)| -0.5 * ((theta[c.theta] - s.0) / s.1.exp()).powi(2) - s.1 - 0.5 * TAU.ln())
                .sum(),
            (Form::Raw(_), Factor::Raw(_)) => 0.0,
            _ => unreachable!("a factor is made for its form"),
        }
    }

    /// A point's coordinates on the unconstrained scale.
    pub fn coordinates(&self, form: &Form, theta: &mut [f64]) {
        match (form, self) {
            (Form::Normal(all), Factor::Normal(spreads)) => {
                let cells = all.iter().flat_map(|n| &n.cells).zip(spreads.iter().flat_map(|s| &s.mean));
                cells.for_each(|(c, m)| theta[c.theta] = *m);
            }
            (Form::Power { power, cells }, Factor::Power(all)) => {
                cells.iter().zip(all).for_each(|(c, own)| theta[c.theta] = own.0.ln() / power);
            }
            (Form::Beta(cells), Factor::Beta(all)) => {
                cells.iter().zip(all).for_each(|(c, own)| theta[c.theta] = (own.0 / (1.0 - own.0)).ln());
            }
            (Form::Dirichlet(all), Factor::Dirichlet { own, .. }) => {
                for (s, own) in all.iter().zip(own) {
                    let logs: Vec<f64> = own.iter().map(|p| p.ln().max(LOG_ZERO)).collect();
                    s.theta.iter().zip(log_ratios(&logs)).for_each(|(at, u)| theta[*at] = u);
                }
            }
            (Form::Wishart(all), Factor::Wishart(own)) => {
                for (m, w) in all.iter().zip(own) {
                    m.theta.iter().zip(w.middle(m.inverse)).for_each(|(at, u)| theta[*at] = u);
                }
            }
            (Form::Raw(cells), Factor::Raw(own)) => {
                cells.iter().zip(own).for_each(|(c, x)| theta[c.theta] = c.range.free(*x));
            }
            (Form::Drawn(cells), Factor::Drawn(own)) => {
                cells.iter().zip(own).for_each(|(c, s)| theta[c.theta] = s.0);
            }
            _ => unreachable!("a factor is made for its form"),
        }
    }

    /// Break ties between like components: a draw from the factor at a higher temperature, whose spread is kept.
    pub fn disturb(&mut self, form: &Form, temperature: f64, streams: &mut IterMut<Stream>) {
        match (form, self) {
            (Form::Normal(_), Factor::Normal(all)) => {
                for s in all {
                    let k = s.mean.len();
                    let mut x: Vec<f64> = (0..k).map(|_| next(streams).normal()).collect();
                    if !s.precision.is_empty() {
                        solve_lower_transposed(&s.precision, k, &mut x);
                        s.mean.iter_mut().zip(&x).for_each(|(m, x)| *m += temperature.sqrt() * x);
                    }
                }
            }
            (Form::Dirichlet(_), Factor::Dirichlet { own: all, .. }) => {
                for own in all {
                    let total: f64 = own.iter().sum();
                    let drawn: Vec<f64> =
                        own.iter().map(|a| log_gamma((a / temperature).max(0.1), next(streams)).exp()).collect();
                    let sum: f64 = drawn.iter().sum();
                    own.iter_mut().zip(drawn).for_each(|(a, x)| *a = 0.1 * *a + 0.9 * total * x / sum);
                }
            }
            (Form::Power { .. }, Factor::Power(all)) => {
                all.iter().for_each(|_| {
                    next(streams);
                });
            }
            (Form::Beta(_), Factor::Beta(all)) => {
                all.iter().for_each(|_| {
                    next(streams);
                    next(streams);
                });
            }
            (Form::Drawn(_), Factor::Drawn(all)) => {
                all.iter().for_each(|_| {
                    next(streams);
                });
            }
            // Like matrices part when the means of their components do.
            (Form::Wishart(all), Factor::Wishart(_)) => {
                all.iter().flat_map(Wishart::streams).for_each(|_| {
                    next(streams);
                });
            }
            (Form::Raw(_), Factor::Raw(_)) => {}
            _ => unreachable!("a factor is made for its form"),
        }
    }
}

fn next<'s>(streams: &mut IterMut<'s, Stream>) -> &'s mut Stream {
    streams.next().expect("a stream per name")
}

/// The log of a Gamma(a, 1) variate (Marsaglia and Tsang 2000); small shapes by gamma(a) = gamma(a + 1) u^(1/a).
pub(super) fn log_gamma(a: f64, stream: &mut Stream) -> f64 {
    if a < 1.0 {
        return log_gamma(a + 1.0, stream) + stream.uniform().ln() / a;
    }
    let d = a - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = stream.normal();
        let v = 1.0 + c * x;
        if v <= 0.0 {
            continue;
        }
        let log_v = 3.0 * v.ln();
        if stream.uniform().ln() < 0.5 * x * x + d - d * v * v * v + d * log_v {
            return d.ln() + log_v;
        }
    }
}

impl Spread {
    fn update(&mut self, n: &Normal, point: bool, gradient: &[f64], most: f64) -> Result<(), Trouble> {
        let k = n.cells.len();
        let eta = |at: Option<usize>| at.map_or(0.0, |i| gradient[i]);
        let mut precision = vec![0.0; k * k];
        for (i, c) in n.cells.iter().enumerate() {
            precision[i * k + i] = -2.0 * eta(c.square);
        }
        for &(at, i, j) in &n.products {
            precision[i * k + j] -= gradient[at];
            precision[j * k + i] -= gradient[at];
        }
        if let Some(i) = (0..k).find(|i| !precision[i * k + i].is_finite()) {
            return Err(Trouble::not_finite(&n.cells[i].name));
        }
        let weak = |i: &usize| precision[i * k + i] <= EMPTY * most;
        if let Some(i) = (0..k).find(weak) {
            let name = &n.cells[i].name;
            return Err(if point { Trouble::empty(name) } else { Trouble::improper(name) });
        }
        let mut mean: Vec<f64> = n.cells.iter().map(|c| eta(c.x)).collect();
        if !cholesky(&mut precision, k) {
            return Err(Trouble::singular(&n.cells[0].name));
        }
        solve_lower(&precision, k, &mut mean);
        solve_lower_transposed(&precision, k, &mut mean);
        if mean.iter().any(|m| !m.is_finite()) {
            return Err(Trouble::not_finite(&n.cells[0].name));
        }
        self.mean = mean;
        if !point {
            let inverse = invert_lower(&precision, k);
            for i in 0..k {
                for j in 0..=i {
                    let sum: f64 = (i..k).map(|r| inverse[r * k + i] * inverse[r * k + j]).sum();
                    (self.covariance[i * k + j], self.covariance[j * k + i]) = (sum, sum);
                }
            }
        }
        self.precision = precision;
        Ok(())
    }

    fn log_density(&self, n: &Normal, theta: &[f64]) -> f64 {
        let k = n.cells.len();
        let off: Vec<f64> = n.cells.iter().zip(&self.mean).map(|(c, m)| theta[c.theta] - m).collect();
        // Lᵀ (θ - m)
        let scaled = |j: usize| (j..k).map(|i| self.precision[i * k + j] * off[i]).sum::<f64>();
        let z: Vec<f64> = (0..k).map(scaled).collect();
        let log_det: f64 = (0..k).map(|i| self.precision[i * k + i].ln()).sum();
        log_det - 0.5 * k as f64 * TAU.ln() - 0.5 * dot(&z, &z)
    }
}

/// The value of a point on its own scale, for what collapses.
pub fn scales(form: &Form, factor: &Factor, out: &mut Vec<(String, f64)>) {
    if let (Form::Power { power, cells }, Factor::Power(all)) = (form, factor) {
        out.extend(cells.iter().zip(all).map(|(c, own)| (c.name.clone(), own.0.powf(1.0 / power))));
    }
}

/// The cells of a form, in the order in which `Factor::at` takes their values.
pub fn cell_names(form: &Form) -> Vec<&str> {
    match form {
        Form::Normal(all) => all.iter().flat_map(|n| &n.cells).map(|c| c.name.as_str()).collect(),
        Form::Power { cells, .. } => cells.iter().map(|c: &PowerCell| c.name.as_str()).collect(),
        Form::Beta(cells) => cells.iter().map(|c: &BetaCell| c.name.as_str()).collect(),
        Form::Dirichlet(all) => all.iter().flat_map(|s: &Simplex| &s.names).map(String::as_str).collect(),
        Form::Wishart(all) => all.iter().flat_map(|m: &Matrix| &m.names).map(String::as_str).collect(),
        Form::Raw(cells) | Form::Drawn(cells) => cells.iter().map(|c: &RawCell| c.name.as_str()).collect(),
    }
}
