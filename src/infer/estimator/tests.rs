//! Estimators against gradients by quadrature: means of a million replicates within four standard errors, which a right
//! estimator misses once in 16 000 components.

use std::cell::RefCell;

use super::*;
use crate::infer::frame::{Basis, Frame, Shape};
use crate::infer::pool::Pool;
use crate::infer::rng::Stream;
use crate::infer::target::{Evaluator, Target};
use crate::infer::{FitOptions, GuideKind, Method, PathGradient, draws, fit};

/// A log density with its gradient.
struct Closed {
    dim: usize,
    points: Vec<bool>,
    f: fn(&[f64], &mut [f64]) -> f64,
}

impl Closed {
    fn new(dim: usize, f: fn(&[f64], &mut [f64]) -> f64) -> Closed {
        Closed { dim, points: vec![false; dim], f }
    }
}

struct Call(fn(&[f64], &mut [f64]) -> f64, Vec<f64>);

impl Evaluator for Call {
    fn value_grad(&mut self, theta: &[f64], grad: &mut [f64]) -> f64 {
        (self.0)(theta, grad)
    }

    fn value(&mut self, theta: &[f64]) -> f64 {
        (self.0)(theta, &mut self.1)
    }
}

impl Target for Closed {
    fn dim(&self) -> usize {
        self.dim
    }

    fn points(&self) -> Vec<bool> {
        self.points.clone()
    }

    fn names(&self) -> Vec<String> {
        (0..self.dim).map(|i| format!("x[{i}]")).collect()
    }

    fn evaluator(&self) -> Box<dyn Evaluator + '_> {
        Box::new(Call(self.f, vec![0.0; self.dim]))
    }
}

/// A Student-like bowl, bent: not Gaussian, not symmetric, its two coordinates tied.
fn bent(x: &[f64], g: &mut [f64]) -> f64 {
    let (a, b) = (x[0], x[1] - 0.3 * x[0] * x[0]);
    let (da, db) = (1.0 + a * a / 4.0, 1.0 + b * b / 3.0);
    g[1] = -4.0 / 3.0 * b / db;
    g[0] = -1.25 * a / da - 0.6 * a * g[1];
    -2.5 * da.ln() - 2.0 * db.ln()
}

/// One dimension, skewed, its tails lighter than a Gaussian's: the weights of a guide's draws are bounded.
fn skewed(x: &[f64], g: &mut [f64]) -> f64 {
    let d = x[0] - 1.0;
    g[0] = -0.4 * x[0] - 0.4 * d * d * d;
    -0.2 * x[0] * x[0] - 0.1 * d * d * d * d
}

fn pair() -> (Frame, Vec<f64>) {
    let noise = Basis::Lower(vec![0.9, 0.0, -0.2, 0.8]);
    let mean = Basis::Lower(vec![1.1, 0.0, 0.3, 0.7]).into();
    (Frame { centre: vec![0.4, -0.2], mean, noise, shape: Shape::Lower }, vec![0.2, -0.3, 0.1, -0.2, 0.4])
}

fn single() -> (Frame, Vec<f64>) {
    let one = || Basis::Diagonal(vec![0.7]);
    (Frame { centre: vec![0.1], mean: one().into(), noise: one(), shape: Shape::Diagonal }, vec![0.3, 0.2])
}

/// Mean gradient of `batches × per` replicates and the standard error of each component.
fn replicates(
    target: &dyn Target,
    (frame, phi): &(Frame, Vec<f64>),
    estimator: Box<dyn Estimator>,
    batches: usize,
    per: usize,
) -> (Vec<f64>, Vec<f64>) {
    let names: Vec<String> = target.names()[..frame.noisy()].to_vec();
    let n = names.len();
    let rows = if estimator.mirrored() { per * estimator.draws() / 2 } else { per * estimator.draws() };
    let mut z = vec![0.0; rows * n];
    let mut sums = vec![(0.0, 0.0); phi.len()];
    std::thread::scope(|scope| {
        let pool = RefCell::new(Pool::new(target, (0..target.dim()).collect(), 1, scope));
        let mut objective = Stochastic::new(frame, &z, rows, estimator, &pool);
        let mut gradient = vec![0.0; phi.len()];
        for batch in 0..batches {
            draws::plain_into(7, "estimator test", &names, batch * rows, &mut z);
            objective.redraw(&z);
            assert!(objective.value_grad(phi, &mut gradient).is_finite());
            for (s, g) in sums.iter_mut().zip(&gradient) {
                s.0 += g;
                s.1 += g * g;
            }
        }
    });
    let count = batches as f64;
    let mean: Vec<f64> = sums.iter().map(|s| s.0 / count).collect();
    let se = sums.iter().zip(&mean).map(|(s, m)| ((s.1 / count - m * m).max(0.0) / count).sqrt()).collect();
    (mean, se)
}

const STEP: f64 = 0.25;
const POINTS: usize = 61;

/// Expectation over `dims` standard normals of `f(z)`, by the trapezium rule on ±7.5, which is exact to rounding for
/// smooth functions.
fn expectation(dims: usize, f: &mut dyn FnMut(&[f64]) -> f64) -> f64 {
    let mut z = vec![0.0; dims];
    let mut total = 0.0;
    for cell in 0..POINTS.pow(dims as u32) {
        let mut rest = cell;
        let mut weight = 1.0;
        for z in &mut z {
            *z = STEP * ((rest % POINTS) as f64 - 30.0);
            weight *= STEP * (-0.5 * *z * *z).exp() / std::f64::consts::TAU.sqrt();
            rest /= POINTS;
        }
        total += weight * f(&z);
    }
    total
}

/// θ and log p − log q at `phi`, of one draw.
fn ratio(target: &Closed, frame: &Frame, phi: &[f64], z: &[f64]) -> f64 {
    let n = z.len();
    let (mut theta, mut offset) = (vec![0.0; n], vec![0.0; n]);
    frame.mean_at(phi, &mut theta);
    let scale = frame.scale_at(phi);
    scale.times(z, &mut offset);
    theta.iter_mut().zip(&offset).for_each(|(t, o)| *t += o);
    let log_q =
        -0.5 * z.iter().map(|z| z * z).sum::<f64>() - scale.log_det(n) - 0.5 * n as f64 * std::f64::consts::TAU.ln();
    (target.f)(&theta, &mut vec![0.0; n]) - log_q
}

/// Central differences of a smooth function of φ: an error of about 1e-9.
fn slopes(phi: &[f64], f: &mut dyn FnMut(&[f64]) -> f64) -> Vec<f64> {
    let mut at = phi.to_vec();
    (0..phi.len())
        .map(|i| {
            let mut moved = |by: f64| {
                at[i] = phi[i] + by;
                let value = f(&at);
                at[i] = phi[i];
                value
            };
            (moved(1e-5) - moved(-1e-5)) / 2e-5
        })
        .collect()
}

fn assert_unbiased(name: &str, (mean, se): &(Vec<f64>, Vec<f64>), exact: &[f64]) {
    for i in 0..exact.len() {
        let off = (mean[i] - exact[i]).abs();
        assert!(off < 4.0 * se[i] + 1e-7, "{name} {i}: {} is not {}: {:.1} se", mean[i], exact[i], off / se[i]);
    }
}

fn variance(of: &(Vec<f64>, Vec<f64>)) -> f64 {
    of.1.iter().map(|se| se * se).sum()
}

#[test]
fn gradients_of_the_lower_bound_are_unbiased_and_baselines_help() {
    let target = Closed::new(2, bent);
    let guide = pair();
    let exact = slopes(&guide.1, &mut |phi| -expectation(2, &mut |z| ratio(&target, &guide.0, phi, z)));
    let entropy = replicates(&target, &guide, Box::new(ClosedEntropy { draws: 2 }), 1000, 1000);
    assert_unbiased("closed-form entropy", &entropy, &exact);
    let sticking = replicates(&target, &guide, Box::new(StickingTheLanding { draws: 1 }), 1000, 1000);
    assert_unbiased("sticking the landing", &sticking, &exact);
    let score =
        |baseline| replicates(&target, &guide, Box::new(Score { draws: 4, baseline, apart: false }), 1000, 1000);
    let (plain, rloo) = (score(Baseline::None), score(Baseline::LeaveOneOut));
    assert_unbiased("REINFORCE", &plain, &exact);
    assert_unbiased("leave one out", &rloo, &exact);
    assert!(variance(&rloo) < variance(&plain), "{} {}", variance(&rloo), variance(&plain));
}

/// A group effect per group, each with data of its own, and a mean: of the terms, each effect needs its own and no other's.
#[test]
fn coordinates_are_weighed_by_their_own_terms() {
    let text = "data rows { y: real, g: category }\nlatent mu ~ Normal(0, 2)\nlatent b[g] ~ Normal(mu, 1) @centered\n\
                observe y ~ Normal(b[g], 0.5)\nobserve y ~ StudentT(4, mu, 1)\n";
    let mut session = crate::driver::Session::default();
    let checked = crate::driver::check(&mut session, "m.vi", text);
    let rows: String =
        (0..12).map(|i| format!("{},{}\n", 0.7 * (i % 5) as f64 - 1.0, "abcdef".as_bytes()[i / 2] as char)).collect();
    let file = crate::data::DataFile { table: None, name: "d.csv".into(), bytes: format!("y,g\n{rows}").into_bytes() };
    let inputs = crate::data::Inputs { files: vec![file], sets: vec![] };
    let compiled = crate::driver::compile(&mut session, checked, &inputs).expect("the data fit");
    crate::driver::parts::prepare(&compiled);
    let model = &compiled.model;
    assert_eq!((model.dim(), model.has_parts()), (7, true));
    // The terms of mu: its prior, all effects', the second likelihood. Of an effect: its prior and its two rows.
    let at: Vec<f64> = (0..7).map(|i| 0.3 * i as f64 - 0.8).collect();
    let mut parts = vec![0.0; 7];
    let whole = model.evaluator().value_parts(&at, &mut parts);
    assert!((whole - model.evaluator().value(&at)).abs() < 1e-12);
    let log_normal = |x: f64, m: f64, s: f64| -0.5 * ((x - m) / s).powi(2) - s.ln() - 0.918_938_533_204_672_8;
    let mu = model.names().iter().position(|n| n == "mu").expect("a latent");
    let effects: Vec<usize> = (0..7).filter(|i| *i != mu).collect();
    let y = |i: usize| 0.7 * (i % 5) as f64 - 1.0;
    let mut rest = 0.0;
    for (k, &i) in effects.iter().enumerate() {
        let own = log_normal(y(2 * k), at[i], 0.5) + log_normal(y(2 * k + 1), at[i], 0.5);
        assert!((parts[i] - own - log_normal(at[i], at[mu], 1.0)).abs() < 1e-12, "{i}: {}", parts[i]);
        rest += own;
    }
    assert!((parts[mu] - (whole - rest)).abs() < 1e-12);
    let diagonal = || Basis::Diagonal(vec![0.6; 7]);
    let frame = Frame { centre: vec![0.1; 7], mean: diagonal().into(), noise: diagonal(), shape: Shape::Diagonal };
    let guide = (frame, (0..14).map(|i| 0.1 * (i % 4) as f64 - 0.1).collect::<Vec<f64>>());
    let score = |apart| Box::new(Score { draws: 4, baseline: Baseline::LeaveOneOut, apart });
    let entropy = replicates(model, &guide, Box::new(ClosedEntropy { draws: 2 }), 200, 100);
    let (together, apart) =
        (replicates(model, &guide, score(false), 200, 100), replicates(model, &guide, score(true), 200, 100));
    // Both are unbiased: they agree with the gradient along the paths within four standard errors of the differences.
    for estimate in [&together, &apart] {
        for i in 0..14 {
            let se = (entropy.1[i].powi(2) + estimate.1[i].powi(2)).sqrt();
            assert!((entropy.0[i] - estimate.0[i]).abs() < 4.0 * se, "{i}: {} {} {se}", entropy.0[i], estimate.0[i]);
        }
    }
    // Six groups: an effect's weight has a sixth of the terms.
    assert!(variance(&apart) < 0.5 * variance(&together), "{} {}", variance(&apart), variance(&together));
}

/// E log (w₁ + w₂ + w₃)/3 over three draws of one dimension.
#[test]
fn gradients_of_the_importance_weighted_bound_are_unbiased() {
    let target = Closed::new(1, skewed);
    let guide = single();
    let exact = slopes(&guide.1, &mut |phi| {
        let mut weights = vec![];
        expectation(1, &mut |z| {
            weights.push(ratio(&target, &guide.0, phi, z).exp());
            0.0
        });
        -expectation(3, &mut |z| {
            let w: f64 = z.iter().map(|z| weights[(z / STEP + 30.0) as usize]).sum();
            (w / 3.0).ln()
        })
    });
    for gradient in [IwaeGradient::Plain, IwaeGradient::Doubly] {
        let got = replicates(&target, &guide, Box::new(Iwae { draws: 3, gradient }), 1000, 1000);
        assert_unbiased(&format!("{gradient:?}"), &got, &exact);
    }
}

/// Signal over noise of one replicate, the components together, for more and more draws per replicate.
#[test]
fn more_importance_samples_do_not_drown_the_doubly_reparameterised_gradient() {
    let target = Closed::new(1, skewed);
    let guide = single();
    let ratios = |gradient| -> Vec<f64> {
        [1usize, 10, 100, 1000]
            .iter()
            .map(|&draws| {
                let count = 400_000 / draws;
                let got = replicates(&target, &guide, Box::new(Iwae { draws, gradient }), count, 1);
                let signal: f64 = got.0.iter().map(|m| m * m).sum();
                (signal / (variance(&got) * count as f64)).sqrt()
            })
            .collect()
    };
    // Ratios from 400 replicates at least are known to 5 %; the changes are by factors of 3.
    let doubly = ratios(IwaeGradient::Doubly);
    assert!(doubly.windows(2).all(|r| r[1] > 0.9 * r[0]), "{doubly:?}");
    let plain = ratios(IwaeGradient::Plain);
    assert!(plain[2] < 0.5 * plain[1] && plain[2] < 0.5 * doubly[2], "{plain:?}");
}

/// KL(p ‖ q) by quadrature over a wide normal. Normalised weights are biased by about var(w)/K of the gradient's size: a
/// thousandth here.
#[test]
fn gradients_of_the_inclusive_divergence() {
    let target = Closed::new(1, skewed);
    let guide = single();
    let wide = (
        Frame {
            centre: vec![0.0],
            mean: Basis::Diagonal(vec![1.0]).into(),
            noise: Basis::Diagonal(vec![2.0]),
            shape: Shape::Diagonal,
        },
        [0.0, 0.0],
    );
    let at = |z: f64| 2.0 * z;
    let weight = |z: &[f64]| ratio(&target, &wide.0, &wide.1, z).exp();
    let total = expectation(1, &mut |z| weight(z));
    let exact = slopes(&guide.1, &mut |phi| {
        let (mut m, scale) = ([0.0], guide.0.scale_at(phi).to_lower(1)[0]);
        guide.0.mean_at(phi, &mut m);
        expectation(1, &mut |z| weight(z) / total * (0.5 * ((at(z[0]) - m[0]) / scale).powi(2) + scale.ln()))
    });
    let got = replicates(&target, &guide, Box::new(ForwardKl { draws: 2000 }), 1000, 1);
    for i in 0..2 {
        assert!((got.0[i] - exact[i]).abs() < 4.0 * got.1[i] + 2e-3, "{i}: {got:?} {exact:?}");
    }
}

/// The guide is the posterior: what follows the paths alone, or compares weights, has nothing left to vary.
#[test]
fn variances_vanish_at_the_posterior() {
    fn gaussian(x: &[f64], g: &mut [f64]) -> f64 {
        let (a, b) = ((x[0] - 1.0) / 2.0, x[1] + 0.5);
        g[0] = -a / 2.0 - 0.6 * (b - 0.6 * a) / -0.64 / 2.0;
        g[1] = -(b - 0.6 * a) / 0.64;
        // x₀ ~ N(1, 2²), x₁ given it ~ N(−0.5 + 0.6 a, 0.8²).
        -0.5 * a * a - 0.5 * (b - 0.6 * a).powi(2) / 0.64
    }
    let target = Closed::new(2, gaussian);
    let exact = Basis::Lower(vec![2.0, 0.0, 0.6, 0.8]);
    let frame = Frame { centre: vec![1.0, -0.5], mean: exact.clone().into(), noise: exact, shape: Shape::Lower };
    let guide = (frame, vec![0.0; 5]);
    let estimators: [Box<dyn Estimator>; 4] = [
        Box::new(StickingTheLanding { draws: 1 }),
        Box::new(Iwae { draws: 5, gradient: IwaeGradient::Doubly }),
        Box::new(Score { draws: 4, baseline: Baseline::LeaveOneOut, apart: false }),
        Box::new(ForwardKl { draws: 16 }),
    ];
    for estimator in estimators {
        let (mean, se) = replicates(&target, &guide, estimator, 100, 1);
        assert!(mean.iter().chain(&se).all(|x| x.abs() < 1e-12), "{mean:?} {se:?}");
    }
    let (_, se) = replicates(&target, &guide, Box::new(ClosedEntropy { draws: 2 }), 100, 1);
    assert!(se.iter().any(|s| *s > 1e-3), "the closed form does vary there");
}

/// f over the three values of a categorical by its logits.
const F: [f64; 3] = [3.0, 1.3, 4.2];
const LOGITS: [f64; 3] = [0.3, 0.9, -0.4];
const REPLICATES: usize = 1_000_000;

fn exact_categorical() -> Vec<f64> {
    let mut q = Categorical::default();
    q.set(&LOGITS);
    let by_differences = slopes(&LOGITS, &mut |logits| {
        q.set(logits);
        q.probabilities().iter().zip(F).map(|(p, f)| p * f).sum()
    });
    q.set(&LOGITS);
    let mut exact = vec![0.0; 3];
    q.add_enumerated(&F, &mut exact);
    assert!(exact.iter().zip(&by_differences).all(|(a, b)| (a - b).abs() < 1e-8));
    exact
}

fn averaged(mut one: impl FnMut(&mut Stream, &mut [f64])) -> (Vec<f64>, Vec<f64>) {
    let mut stream = Stream::new(11, "categorical test", "");
    let (mut sum, mut squares, mut g) = ([0.0; 3], [0.0; 3], [0.0; 3]);
    for _ in 0..REPLICATES {
        g.fill(0.0);
        one(&mut stream, &mut g);
        for i in 0..3 {
            sum[i] += g[i];
            squares[i] += g[i] * g[i];
        }
    }
    let n = REPLICATES as f64;
    let mean: Vec<f64> = sum.iter().map(|s| s / n).collect();
    let se = (0..3).map(|i| ((squares[i] / n - mean[i] * mean[i]) / n).sqrt()).collect();
    (mean, se)
}

#[test]
fn the_score_of_discrete_draws_is_unbiased_and_its_baseline_helps() {
    let exact = exact_categorical();
    let mut q = Categorical::default();
    q.set(&LOGITS);
    let by = |baseline| {
        let score = Score { draws: 3, baseline, apart: false };
        let mut weights = vec![];
        averaged(|stream, g| {
            let drawn: [usize; 3] = std::array::from_fn(|_| q.draw(stream.uniform()));
            assert!(score.weights(&drawn.map(|v| F[v]), &mut weights));
            drawn.iter().zip(&weights).for_each(|(v, w)| q.add_score(*v, w / 3.0, g));
        })
    };
    let (plain, rloo) = (by(Baseline::None), by(Baseline::LeaveOneOut));
    assert_unbiased("REINFORCE", &plain, &exact);
    assert_unbiased("leave one out", &rloo, &exact);
    assert!(variance(&rloo) < variance(&plain));
}

/// The same test, which a biased estimator must fail: with f(x) = (Σ x f)², whose relaxation is not linear.
#[test]
fn gumbel_softmax_is_biased_and_its_path_is_right() {
    let square = |x: &[f64]| x.iter().zip(F).map(|(x, f)| x * f).sum::<f64>().powi(2);
    let mut q = Categorical::default();
    q.set(&LOGITS);
    let mut exact = vec![0.0; 3];
    q.add_enumerated(&F.map(|f| f * f), &mut exact);
    let mut relaxed = GumbelSoftmax::new(0.7);
    let pull = |x: &[f64]| {
        let s: f64 = x.iter().zip(F).map(|(x, f)| x * f).sum();
        F.map(|f| 2.0 * s * f)
    };
    let got = averaged(|stream, g| {
        let u: [f64; 3] = std::array::from_fn(|_| stream.uniform());
        let upstream = pull(relaxed.draw(&LOGITS, &u));
        relaxed.pull_back(&upstream, g);
    });
    let worst = (0..3).map(|i| (got.0[i] - exact[i]).abs() / got.1[i]).fold(0.0, f64::max);
    assert!(worst > 20.0, "off by {worst} standard errors only: {got:?} {exact:?}");
    // What it does estimate, the gradient of the relaxed expectation, it gets right for every draw.
    let u = [0.2, 0.7, 0.4];
    let upstream = pull(relaxed.draw(&LOGITS, &u));
    let mut path = [0.0; 3];
    relaxed.pull_back(&upstream, &mut path);
    let differences = slopes(&LOGITS, &mut |logits| square(relaxed.draw(logits, &u)));
    assert!(path.iter().zip(&differences).all(|(a, b)| (a - b).abs() < 1e-7), "{path:?} {differences:?}");
}

#[test]
fn entropies_of_categoricals() {
    let mut q = Categorical::default();
    q.set(&LOGITS);
    let mut gradient = vec![0.0; 3];
    let entropy = q.add_entropy(2.0, &mut gradient);
    let p = q.probabilities().to_vec();
    assert!((entropy + p.iter().map(|p| p * p.ln()).sum::<f64>()).abs() < 1e-14);
    let differences = slopes(&LOGITS, &mut |logits| {
        let mut q = Categorical::default();
        q.set(logits);
        2.0 * q.add_entropy(0.0, &mut [0.0; 3])
    });
    assert!(gradient.iter().zip(&differences).all(|(a, b)| (a - b).abs() < 1e-8));
    q.set(&[0.0, f64::NEG_INFINITY]);
    assert_eq!((q.add_entropy(1.0, &mut [0.0; 2]), q.draw(0.999_999)), (0.0, 0));
}

/// 0.3 N(−3, 1) + 0.7 N(3, 1): mean 1.2, variance 1 + 36 · 0.21.
fn two_modes(x: &[f64], g: &mut [f64]) -> f64 {
    let (a, b) = (0.3f64.ln() - 0.5 * (x[0] + 3.0).powi(2), 0.7f64.ln() - 0.5 * (x[0] - 3.0).powi(2));
    let top = a.max(b);
    let (p, q) = ((a - top).exp(), (b - top).exp());
    g[0] = (-p * (x[0] + 3.0) - q * (x[0] - 3.0)) / (p + q);
    top + (p + q).ln()
}

#[test]
fn the_inclusive_divergence_covers_both_modes_and_the_exclusive_one_takes_one() {
    let target = Closed::new(1, two_modes);
    let run = |method| {
        let options = FitOptions { method, guide: GuideKind::MeanField, starts: 1, ..FitOptions::default() };
        fit(&target, &options, &mut |_| ()).expect("finite")
    };
    let forward = run(Method::ForwardKl);
    assert!(forward.converged, "{}", forward.stop_reason);
    let (mean, sd) = (forward.mean[0], forward.sds()[0]);
    // The fit ends when its average moves by less than 5 steps of 0.01 sds; three of those.
    assert!((mean - 1.2).abs() < 0.1 * sd && (sd / 8.56f64.sqrt()).ln().abs() < 0.05, "{mean} {sd}");
    for method in [Method::Lbfgs, Method::Adam, Method::Score] {
        let reverse = run(method);
        let (mean, sd) = (reverse.mean[0], reverse.sds()[0]);
        assert!((mean.abs() - 3.0).abs() < 0.3 && (sd - 1.0).abs() < 0.3, "{method:?}: {mean} {sd}");
    }
}

/// Every stochastic method finds the mean-field optimum, which is known here, and the same bits on any number of threads.
#[test]
fn every_estimator_ends_at_the_posterior_of_a_gaussian_and_its_param() {
    // x₀ ~ N(0.5, 0.8²); x₁ ~ N(2 x₀, 1.5²) tied; the param x₂ has its optimum at 1 whatever the others are.
    fn tied(x: &[f64], g: &mut [f64]) -> f64 {
        let (a, b, c) = ((x[0] - 0.5) / 0.8, (x[1] - 2.0 * x[0]) / 1.5, x[2] - 1.0);
        g[0] = -a / 0.8 + 2.0 * b / 1.5;
        g[1] = -b / 1.5;
        g[2] = -c;
        -0.5 * (a * a + b * b + c * c)
    }
    let target = Closed { points: vec![false, false, true], ..Closed::new(3, tied) };
    for (method, path_gradient) in [
        (Method::Adam, PathGradient::ClosedEntropy),
        (Method::Adam, PathGradient::StickingTheLanding),
        (Method::Score, PathGradient::ClosedEntropy),
        (Method::Iwae, PathGradient::ClosedEntropy),
        (Method::ForwardKl, PathGradient::ClosedEntropy),
    ] {
        let options =
            FitOptions { method, path_gradient, guide: GuideKind::FullRank, starts: 2, ..FitOptions::default() };
        let got = fit(&target, &options, &mut |_| ()).expect("finite");
        assert!(got.converged, "{method:?}: {}", got.stop_reason);
        let sds = [0.8, (4.0 * 0.64f64 + 2.25).sqrt()];
        for i in 0..2 {
            let truth = [0.5, 1.0][i];
            // Where the weights are even the gradients carry no noise; else averages over windows at a rate of 0.01 sds.
            assert!((got.mean[i] - truth).abs() < 0.06 * sds[i], "{method:?} {i}: {}", got.mean[i]);
            assert!((got.sds()[i] / sds[i]).ln().abs() < 0.06, "{method:?} {i}: {}", got.sds()[i]);
        }
        assert!((got.mean[2] - 1.0).abs() < 0.06, "{method:?}: {}", got.mean[2]);
        let short = FitOptions { steps: 600, starts: 1, ..options };
        let one = fit(&target, &short, &mut |_| ()).expect("finite");
        let two = fit(&target, &FitOptions { threads: 2, ..short }, &mut |_| ()).expect("finite");
        assert_eq!((one.mean, one.scale), (two.mean, two.scale));
    }
}
