//! The mixture guide: normals at distinct modes of the posterior, with their weights, fitted together by the stratified
//! lower bound Σ_c w_c E_{q_c}[log p − log Σ_j w_j q_j] (Morningstar et al., "Automatic differentiation variational
//! inference with mixtures", 2021).

use std::f64::consts::TAU;

use super::approximation::Approximation;
use super::draws::matched;
use super::frame::{Basis, Frame, GuideNode, Scale, Shape};
use super::gaussian::Gaussian;
use super::lbfgs::{Function, Limits, Pause, State, minimise};
use super::linalg::{axpy, solve_lower, solve_lower_transposed};
use super::modes::Peak;
use super::objective::Objective;
use super::options::Stage;
use super::result::StopReason;
use super::rng::Stream;
use super::stages::{Place, Session, reason_of};
use crate::tape::Node;

/// A component without which the bound is less by no more nats is covered by the others.
const COVERED: f64 = 0.02;

/// Normals with weights that sum to 1.
#[derive(Clone, Debug)]
pub struct Mixture {
    weights: Vec<f64>,
    parts: Vec<Gaussian>,
    mean: Vec<f64>,
    sds: Vec<f64>,
}

impl Mixture {
    pub fn new(weights: Vec<f64>, parts: Vec<Gaussian>) -> Mixture {
        let dim = parts[0].mean().len();
        let (mut mean, mut squares) = (vec![0.0; dim], vec![0.0; dim]);
        for (w, part) in weights.iter().zip(&parts) {
            axpy(*w, part.mean(), &mut mean);
        }
        for (w, part) in weights.iter().zip(&parts) {
            for i in 0..dim {
                squares[i] += w * (part.sds()[i].powi(2) + (part.mean()[i] - mean[i]).powi(2));
            }
        }
        Mixture { weights, parts, mean, sds: squares.into_iter().map(f64::sqrt).collect() }
    }
}

impl Approximation for Mixture {
    fn mean(&self) -> &[f64] {
        &self.mean
    }

    fn sds(&self) -> &[f64] {
        &self.sds
    }

    fn sample(&self, purpose: &str, n: usize, seed: u64) -> Vec<f64> {
        let dim = self.mean.len();
        let each: Vec<Vec<f64>> = self.parts.iter().map(|part| part.sample(purpose, n, seed)).collect();
        let mut stream = Stream::new(seed, purpose, "component of the mixture");
        let mut out = vec![0.0; n * dim];
        for (k, row) in out.chunks_mut(dim.max(1)).enumerate() {
            let u = stream.uniform();
            let mut below = 0.0;
            let within = |w: &f64| {
                below += w;
                u < below
            };
            let part = self.weights.iter().position(within).unwrap_or(self.parts.len() - 1);
            row.copy_from_slice(&each[part][k * dim..(k + 1) * dim]);
        }
        out
    }

    fn log_density(&self, theta: &[f64]) -> Vec<f64> {
        let each: Vec<Vec<f64>> = self.parts.iter().map(|part| part.log_density(theta)).collect();
        let logs: Vec<f64> = self.weights.iter().map(|w| w.ln()).collect();
        let mut terms = vec![0.0; logs.len()];
        let of = |k: usize| {
            terms.iter_mut().zip(&logs).zip(&each).for_each(|((t, w), q)| *t = w + q[k]);
            log_sum(&terms)
        };
        (0..each[0].len()).map(of).collect()
    }
}

/// log Σ exp.
pub fn log_sum(terms: &[f64]) -> f64 {
    let top = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if top.is_finite() { top + terms.iter().map(|t| (t - top).exp()).sum::<f64>().ln() } else { top }
}

/// A component: its frame, where its parameters are, and T, m at them.
struct Part {
    frame: Frame,
    from: usize,
    scale: Scale,
    mean: Vec<f64>,
}

impl Part {
    fn range(&self) -> std::ops::Range<usize> {
        self.from..self.from + self.frame.parameters()
    }

    fn diagonal(&self, n: usize, i: usize) -> f64 {
        if self.frame.is_diagonal() { self.scale.t[i] } else { self.scale.t[i * n + i] }
    }

    /// z = T⁻¹ (θ − m).
    fn standard(&self, theta: &[f64], z: &mut [f64]) {
        z.iter_mut().zip(theta.iter().zip(&self.mean)).for_each(|(z, (t, m))| *z = t - m);
        if self.frame.is_diagonal() {
            z.iter_mut().zip(&self.scale.t).for_each(|(z, t)| *z /= t);
        } else {
            solve_lower(&self.scale.t, theta.len(), z);
        }
    }
}

/// (φ, Z) ↦ the rows of every component, one after the other.
struct Rows {
    parts: Vec<(std::ops::Range<usize>, GuideNode)>,
}

impl Node for Rows {
    fn forward(&mut self, operands: &[&[f64]], out: &mut [f64]) {
        let each = out.len() / self.parts.len();
        for ((range, part), out) in self.parts.iter_mut().zip(out.chunks_mut(each)) {
            part.forward(&[&operands[0][range.clone()], operands[1]], out);
        }
    }

    fn backward(&mut self, operands: &[&[f64]], out: &[f64], upstream: &[f64], adjoints: &mut [&mut [f64]]) {
        let each = out.len() / self.parts.len();
        let parts = self.parts.iter_mut().zip(out.chunks(each)).zip(upstream.chunks(each));
        for (((range, part), out), upstream) in parts {
            let own = &mut adjoints[0][range.clone()];
            part.backward(&[&operands[0][range.clone()], operands[1]], out, upstream, &mut [own, &mut []]);
        }
    }
}

/// (log joints, φ, θ) ↦ the negative stratified bound. The last parameters are the weights' logits.
struct Stratified {
    parts: Vec<Part>,
    n: usize,
    logits: usize,
    /// log w_j q_j(θ_r) − log Σ, per row and component; log Σ per row; weights.
    shares: Vec<f64>,
    densities: Vec<f64>,
    weights: Vec<f64>,
    z: Vec<f64>,
    v: Vec<f64>,
    slope: Vec<f64>,
    by_weight: Vec<f64>,
}

impl Node for Stratified {
    fn forward(&mut self, operands: &[&[f64]], out: &mut [f64]) {
        let (lp, phi, theta) = (operands[0], operands[1], operands[2]);
        let (n, count) = (self.n, self.parts.len());
        let logits = &phi[self.logits..];
        let whole = log_sum(logits);
        self.weights.iter_mut().zip(logits).for_each(|(w, l)| *w = (l - whole).exp());
        for (j, part) in self.parts.iter_mut().enumerate() {
            let phi = &phi[part.range()];
            part.frame.mean_at(phi, &mut part.mean);
            part.scale.fill(&part.frame, phi);
            let volume = (0..n).map(|i| part.diagonal(n, i).ln()).sum::<f64>() + 0.5 * n as f64 * TAU.ln();
            for (row, shares) in theta.chunks(n).zip(self.shares.chunks_mut(count)) {
                part.standard(row, &mut self.z);
                let squares: f64 = self.z.iter().map(|z| z * z).sum();
                shares[j] = logits[j] - whole - volume - 0.5 * squares;
            }
        }
        let each = lp.len() / count;
        let mut total = 0.0;
        for (r, shares) in self.shares.chunks_mut(count).enumerate() {
            self.densities[r] = log_sum(shares);
            shares.iter_mut().for_each(|s| *s -= self.densities[r]);
            total += self.weights[r / each] * (lp[r] - self.densities[r]);
        }
        out[0] = -total / each as f64;
    }

    fn backward(&mut self, operands: &[&[f64]], _: &[f64], upstream: &[f64], adjoints: &mut [&mut [f64]]) {
        let (lp, theta) = (operands[0], operands[2]);
        let (n, count) = (self.n, self.parts.len());
        let each = lp.len() / count;
        let [by_lp, by_phi, by_theta, ..] = adjoints else { unreachable!("three operands") };
        let share = upstream[0] / each as f64;
        self.by_weight.fill(0.0);
        let by_weight = &mut self.by_weight;
        for r in 0..lp.len() {
            let w = self.weights[r / each];
            by_lp[r] -= share * w;
            by_weight[r / each] -= share * (lp[r] - self.densities[r]);
            for (j, b) in by_weight.iter_mut().enumerate() {
                *b += share * w * self.shares[r * count + j].exp() / self.weights[j];
            }
        }
        for (j, part) in self.parts.iter_mut().enumerate() {
            let diagonal = part.frame.is_diagonal();
            part.scale.dt.fill(0.0);
            self.slope.fill(0.0);
            let mut sum = 0.0;
            for (r, row) in theta.chunks(n).enumerate() {
                let pull = share * self.weights[r / each] * self.shares[r * count + j].exp();
                // Far components have no part in a row.
                if pull == 0.0 {
                    continue;
                }
                sum += pull;
                part.standard(row, &mut self.z);
                // v = T⁻ᵀ z = −∂ log q / ∂θ = ∂ log q / ∂m, and ∂ log q / ∂T = v zᵀ less the inverse of T's diagonal.
                let (v, z) = (&mut self.v, &self.z);
                v.copy_from_slice(z);
                if diagonal {
                    v.iter_mut().zip(&part.scale.t).for_each(|(v, t)| *v /= t);
                    (0..n).for_each(|i| part.scale.dt[i] += pull * v[i] * z[i]);
                } else {
                    solve_lower_transposed(&part.scale.t, n, v);
                    for i in 0..n {
                        axpy(pull * v[i], &z[..i + 1], &mut part.scale.dt[i * n..i * n + i + 1]);
                    }
                }
                axpy(-pull, v, &mut by_theta[r * n..(r + 1) * n]);
                axpy(pull, v, &mut self.slope);
            }
            for i in 0..n {
                let at = if diagonal { i } else { i * n + i };
                part.scale.dt[at] -= sum / part.scale.t[at];
            }
            let own = &mut by_phi[part.range()];
            part.frame.mean.transposed_times(&self.slope, &mut own[..n], &mut self.v);
            part.scale.pull_back(&part.frame, own);
        }
        let middle: f64 = by_weight.iter().zip(&self.weights).map(|(b, w)| b * w).sum();
        for (j, b) in by_weight.iter().enumerate() {
            by_phi[self.logits + j] += self.weights[j] * (b - middle);
        }
    }
}

struct Bound<'o, 'p> {
    objective: &'o mut Objective<'p>,
}

impl Function for Bound<'_, '_> {
    fn value_grad(&mut self, x: &[f64], gradient: &mut [f64]) -> f64 {
        self.objective.value_grad(x, gradient)
    }

    fn longest_step(&self, direction: &[f64]) -> f64 {
        // All parameters are in units of their component's own scale, logits and log sds among them.
        3.0 / direction.iter().fold(0.0, |m: f64, d| m.max(d.abs()))
    }
}

/// Components with their weights.
pub type Components = Vec<(f64, Place)>;

impl Session<'_, '_> {
    /// At most `most` components from all the peaks, fitted together; those come first among the peaks. A peak that the
    /// others cover, as a wide guide over several modes is by theirs, is removed.
    pub fn components(&mut self, peaks: &mut Vec<Peak>, most: usize, start: usize) -> (Components, StopReason) {
        let (mut fitted, mut reason) = self.stratified(peaks, start);
        while self.halt.is_none() && fitted.len() > 1 {
            let by_weight = |a: &usize, b: &usize| fitted[*b].0.total_cmp(&fitted[*a].0);
            let mut order: Vec<usize> = (0..fitted.len()).collect();
            order.sort_by(by_weight);
            let least = order.pop().expect("there are two or more");
            let fewer: Vec<Peak> = order.iter().map(|&i| Peak { place: fitted[i].1.clone() }).collect();
            let (next, why) = self.stratified(&fewer, start);
            let covered = next[0].1.objective < fitted[0].1.objective + COVERED;
            if !covered && fitted.len() <= most {
                break;
            }
            let beyond = peaks.split_off(fitted.len());
            let lost = Peak { place: fitted[least].1.clone() };
            *peaks = fewer;
            peaks.extend((!covered).then_some(lost));
            peaks.extend(beyond);
            (fitted, reason) = (next, why);
        }
        (fitted, reason)
    }

    /// The stratified bound of all peaks together, maximised from their own fits. Not with `param`s, which all components
    /// would have to share.
    pub fn stratified(&mut self, peaks: &[Peak], start: usize) -> (Components, StopReason) {
        self.unit(|session| session.together(peaks, start))
    }

    fn together(&mut self, peaks: &[Peak], start: usize) -> (Components, StopReason) {
        let n = self.noisy.len();
        // In a component's own units, so that nothing is small or large.
        let units = |place: &Place| -> Frame {
            let scale = place.frame.scale_at(&place.phi);
            let shape = if matches!(scale, Basis::Lower(_)) { Shape::Lower } else { Shape::Diagonal };
            place.frame.recentred(&place.phi, scale.clone(), scale, shape)
        };
        let frames: Vec<Frame> = peaks.iter().map(|p| units(&p.place)).collect();
        let (z, half) = {
            let half = self.refine_half();
            (matched(self.options.seed, "mixture", self.noisy, half), half)
        };
        let mut from = 0;
        let parts: Vec<Part> = frames
            .iter()
            .map(|frame| {
                let part = Part { frame: frame.clone(), from, scale: Scale::new(frame), mean: vec![0.0; n] };
                from += frame.parameters();
                part
            })
            .collect();
        let count = parts.len();
        let mut phi = vec![0.0; from + count];
        // w ∝ exp ELBO, as if the components did not overlap.
        phi[from..].iter_mut().zip(peaks).for_each(|(l, p)| *l = -(p.place.objective - peaks[0].place.objective));
        let rows = Rows { parts: parts.iter().map(|p| (p.range(), GuideNode::new(p.frame.clone(), true))).collect() };
        let m = 2 * half * count;
        let bound = Stratified {
            parts,
            n,
            logits: from,
            shares: vec![0.0; m * count],
            densities: vec![0.0; m],
            weights: vec![0.0; count],
            z: vec![0.0; n],
            v: vec![0.0; n],
            slope: vec![0.0; n],
            by_weight: vec![0.0; count],
        };
        let mut objective = Objective::of(phi.len(), &z, m, n, rows, bound, self.pool);
        let limits = Limits { tolerance: self.options.tolerance, iterations: self.options.max_iterations };
        let mut bound = Bound { objective: &mut objective };
        let mut search = Pause::at(&mut bound, &phi);
        let mut watch = |state: &State, _: &[f64]| self.told(Stage::Refine, start, state);
        let (end, state) = minimise(&mut bound, &mut search, limits, &mut watch);
        let phi = search.into_x();
        let whole = log_sum(&phi[from..]);
        let weights: Vec<f64> = phi[from..].iter().map(|l| (l - whole).exp()).collect();
        let mut at = 0;
        let components = frames
            .into_iter()
            .zip(weights)
            .map(|(frame, weight)| {
                let own = phi[at..at + frame.parameters()].to_vec();
                at += frame.parameters();
                (weight, Place { frame, phi: own, objective: state.value, end, iterations: state.iteration })
            })
            .collect();
        (components, self.halt.clone().unwrap_or(reason_of(end)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tape::Tape;

    fn normals(name: &str, n: usize) -> Vec<f64> {
        let mut s = Stream::new(1, "mixture test", name);
        (0..n).map(|_| s.normal()).collect()
    }

    /// A smooth function of each row.
    struct Waves(usize);
    impl Node for Waves {
        fn forward(&mut self, x: &[&[f64]], out: &mut [f64]) {
            let of = |x: &[f64]| x.iter().enumerate().map(|(i, x)| (1.0 + i as f64) * x.sin()).sum::<f64>();
            out.iter_mut().zip(x[0].chunks(self.0)).for_each(|(o, x)| *o = of(x));
        }
        fn backward(&mut self, x: &[&[f64]], _: &[f64], upstream: &[f64], adjoints: &mut [&mut [f64]]) {
            for ((a, x), u) in adjoints[0].chunks_mut(self.0).zip(x[0].chunks(self.0)).zip(upstream) {
                a.iter_mut().zip(x).enumerate().for_each(|(i, (a, x))| *a += u * (1.0 + i as f64) * x.cos());
            }
        }
    }

    /// Central differences are good to about 1e-9 of the largest intermediate value.
    #[test]
    fn the_stratified_bound_agrees_with_differences() {
        let (n, half, count) = (3, 4, 2);
        for lower in [true, false] {
            let mut from = 0;
            let frames: Vec<Frame> = (0..count)
                .map(|c| {
                    let positive =
                        |name: &str| normals(&format!("{name}{c}"), n).iter().map(|x| 0.5 + x.abs()).collect();
                    let mut l = Basis::Diagonal(positive("d")).to_lower(n);
                    (l[n], l[2 * n]) = (0.3, -0.2);
                    let basis = if lower { Basis::Lower(l) } else { Basis::Diagonal(positive("d")) };
                    let shape = if lower { Shape::Lower } else { Shape::Diagonal };
                    Frame { centre: normals(&format!("c{c}"), n), mean: basis.clone().into(), noise: basis, shape }
                })
                .collect();
            let parts: Vec<Part> = frames
                .iter()
                .map(|f| {
                    let part = Part { frame: f.clone(), from, scale: Scale::new(f), mean: vec![0.0; n] };
                    from += f.parameters();
                    part
                })
                .collect();
            let mut tape = Tape::new(from + count);
            let phi = tape.parameters();
            let z = tape.constant(&normals("z", half * n));
            let m = 2 * half * count;
            let rows =
                Rows { parts: parts.iter().map(|p| (p.range(), GuideNode::new(p.frame.clone(), true))).collect() };
            let theta = tape.node(&[phi, z], m * n, rows);
            let lp = tape.node(&[theta], m, Waves(n));
            let (shares, densities, weights) = (vec![0.0; m * count], vec![0.0; m], vec![0.0; count]);
            let (z, v, slope) = (vec![0.0; n], vec![0.0; n], vec![0.0; n]);
            let bound = Stratified {
                parts,
                n,
                logits: from,
                shares,
                densities,
                weights,
                z,
                v,
                slope,
                by_weight: vec![0.0; count],
            };
            tape.node(&[lp, phi, theta], 1, bound);
            let at: Vec<f64> = normals("phi", from + count).iter().map(|v| 0.3 * v).collect();
            let worst = tape.check(&at);
            assert!(worst < 1e-7, "{lower}: {worst}");
        }
    }

    #[test]
    fn moments_and_densities_are_those_of_the_parts() {
        let part = |m: f64, s: f64| Gaussian::new(vec![0], vec!["x".into()], vec![m], Basis::Diagonal(vec![s]));
        let q = Mixture::new(vec![0.3, 0.7], vec![part(-3.0, 1.0), part(3.0, 0.5)]);
        // 0.3 · (1 + 9) + 0.7 · (0.25 + 9) − 1.2²
        assert!((q.mean()[0] - 1.2).abs() < 1e-15 && (q.sds()[0].powi(2) - 8.035).abs() < 1e-12);
        let normal = |x: f64, m: f64, s: f64| (-0.5 * ((x - m) / s).powi(2)).exp() / (s * TAU.sqrt());
        let log_q = q.log_density(&[0.4])[0];
        assert!((log_q - (0.3 * normal(0.4, -3.0, 1.0) + 0.7 * normal(0.4, 3.0, 0.5)).ln()).abs() < 1e-13);
        let draws = q.sample("test", 20_000, 1);
        let mean = draws.iter().sum::<f64>() / 20_000.0;
        // Four standard errors.
        assert!((mean - 1.2).abs() < 4.0 * 8.035f64.sqrt() / 20_000f64.sqrt());
    }
}
