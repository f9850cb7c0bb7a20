//! Each family against quadrature of exp(η · t(x)).

use super::block::{BetaCell, Form, Normal, NormalCell, PowerCell, Simplex, from_log_ratios, log_ratios};
use super::factor::Factor;

/// ∫ f over the unconstrained line, by the trapezoidal rule: exact to rounding for densities that vanish at both ends.
fn integral(f: impl Fn(f64) -> f64) -> f64 {
    let h = 1e-3;
    (-60_000..=60_000).map(|i| f(f64::from(i) * h)).sum::<f64>() * h
}

/// The factor of one cell with these natural parameters, against quadrature: its density, its expected statistics, its entropy.
/// `log_slope`: log |dx/du|; `statistics` of x(u).
fn check(form: &Form, eta: &[f64], statistics: impl Fn(f64) -> Vec<f64>, log_slope: impl Fn(f64) -> f64) {
    let cells = super::cell_names(form).len();
    let mut factor = Factor::at(form, &mut vec![0.5; cells].into_iter());
    factor.update(form, false, eta).expect("proper");
    let log_p = |u: f64| eta.iter().zip(statistics(u)).map(|(e, t)| e * t).sum::<f64>() + log_slope(u);
    let norm = integral(|u| log_p(u).exp());
    let mut expected = vec![0.0; eta.len()];
    factor.expect(form, false, &mut expected);
    for (i, e) in expected.iter().enumerate() {
        let by_quadrature = integral(|u| statistics(u)[i] * log_p(u).exp()) / norm;
        assert!((e - by_quadrature).abs() < 1e-9 * e.abs().max(1.0), "{form:?}: {e} for {by_quadrature}");
    }
    for u in [-1.3, 0.2, 0.9] {
        let (q, p) = (factor.log_density(form, &[u]), log_p(u) - norm.ln());
        assert!((q - p).abs() < 1e-9, "{form:?} at {u}: {q} for {p}");
    }
    let density = |u: f64| log_p(u).exp() / norm;
    let entropy =
        -integral(|u| if density(u) > 0.0 { density(u) * (log_p(u) - norm.ln() - log_slope(u)) } else { 0.0 });
    assert!((factor.entropy(form) - entropy).abs() < 1e-9, "{form:?}: {} for {entropy}", factor.entropy(form));
}

fn name() -> String {
    "x".into()
}

#[test]
fn normals() {
    let cell = NormalCell { x: Some(0), square: Some(1), theta: 0, name: name() };
    let form = Form::Normal(vec![Normal { cells: vec![cell], products: vec![] }]);
    check(&form, &[0.7, -0.9], |u| vec![u, u * u], |_| 0.0);
}

/// Gammas, inverse gammas, and standard deviations whose squares or inverse squares are gammas.
#[test]
fn powers_of_gammas() {
    for (power, log) in [(1.0, 1.5), (-1.0, -4.0), (-2.0, -5.0), (2.0, 2.5)] {
        let cell = PowerCell { log: Some(0), value: Some(1), theta: 0, name: name() };
        let form = Form::Power { power, cells: vec![cell] };
        check(&form, &[log, -1.7], |u| vec![u, (power * u).exp()], |u| u);
    }
}

#[test]
fn betas() {
    let form = Form::Beta(vec![BetaCell { log: Some(0), log1m: Some(1), theta: 0, name: name() }]);
    let log = |u: f64| -(-u).exp().ln_1p();
    check(&form, &[1.2, 0.4], |u| vec![log(u), log(-u)], |u| log(u) + log(-u));
}

#[test]
fn dirichlets() {
    let form = Form::Dirichlet(vec![Simplex { logs: vec![0, 1], theta: vec![0], names: vec![name(), "y".into()] }]);
    // With respect to the first of two probabilities: log |dx/du| = ½ log 2 + Σ log x.
    let slope = |u: f64| 0.5 * 2f64.ln() + from_log_ratios(&[u]).iter().sum::<f64>();
    check(&form, &[0.8, 1.9], |u| from_log_ratios(&[u]), slope);
}

#[test]
fn log_ratios_are_inverted() {
    let u = [0.3, -1.2, 0.8];
    let logs = from_log_ratios(&u);
    assert!((logs.iter().map(|l| l.exp()).sum::<f64>() - 1.0).abs() < 1e-14);
    assert!(log_ratios(&logs).iter().zip(u).all(|(a, b)| (a - b).abs() < 1e-14));
}

/// A point takes the highest place of the form, which is another than the mean.
#[test]
fn points_are_modes() {
    let cell = PowerCell { log: Some(0), value: Some(1), theta: 0, name: name() };
    let form = Form::Power { power: -2.0, cells: vec![cell] };
    let mut factor = Factor::at(&form, &mut [1.0].into_iter());
    // n log σ and squares / 2 σ²: σ² = squares / n.
    factor.update(&form, true, &[-10.0, -0.5 * 14.4]).expect("a maximum");
    let mut theta = [0.0];
    factor.coordinates(&form, &mut theta);
    assert!((theta[0].exp() - 1.44f64.sqrt()).abs() < 1e-14);
}

/// Two cells with a product are one normal: precision [[2, 0.6], [0.6, 1]].
#[test]
fn products_correlate() {
    let cell = |i: usize| NormalCell { x: Some(2 * i), square: Some(2 * i + 1), theta: i, name: format!("x{i}") };
    let form = Form::Normal(vec![Normal { cells: vec![cell(0), cell(1)], products: vec![(4, 0, 1)] }]);
    let mut factor = Factor::at(&form, &mut [0.0, 0.0].into_iter());
    factor.update(&form, false, &[1.0, -1.0, 0.0, -0.5, -0.6]).expect("definite");
    let mut t = [0.0; 5];
    factor.expect(&form, false, &mut t);
    let det = 2.0 - 0.36;
    let (a, b) = (1.0 / det, -0.6 / det);
    assert!((t[0] - a).abs() < 1e-14 && (t[2] - b).abs() < 1e-14);
    assert!((t[1] - (a * a + 1.0 / det)).abs() < 1e-14 && (t[4] - (a * b - 0.6 / det)).abs() < 1e-14);
}

/// Draws have the moments that the factor states, within four standard errors of 20 000.
#[test]
fn draws_have_the_moments_of_their_factor() {
    use super::Factors;
    use super::block::Block;
    use crate::infer::approximation::Approximation;
    let power = PowerCell { log: Some(0), value: Some(1), theta: 0, name: name() };
    let simplex = Simplex { logs: vec![2, 3, 4], theta: vec![1, 2], names: vec!["a".into(), "b".into(), "c".into()] };
    let forms = [Form::Power { power: -1.0, cells: vec![power] }, Form::Dirichlet(vec![simplex])];
    let eta = [-2.4, -0.8, -0.5, 1.0, 3.0];
    let updated = |form: &Form| {
        let mut f = Factor::at(form, &mut [0.3, 0.3, 0.4].into_iter());
        f.update(form, false, &eta).expect("proper");
        f
    };
    let factors = forms.iter().map(updated).collect();
    let blocks = forms.iter().map(|f| Block { names: vec![], point: false, form: f.clone() }).collect();
    let all = Factors::new(blocks, factors, 3);
    let n = 20_000;
    let theta = all.sample("test", n, 1);
    for i in 0..3 {
        let column: Vec<f64> = theta.iter().skip(i).step_by(3).copied().collect();
        let mean = column.iter().sum::<f64>() / n as f64;
        let sd = (column.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n as f64).sqrt();
        assert!((mean - all.mean()[i]).abs() < 4.0 * all.sds()[i] / (n as f64).sqrt(), "{i}: {mean}");
        // The variance of a squared log gamma variate is at most some nine times that of a squared normal one.
        assert!((sd / all.sds()[i] - 1.0).abs() < 12.0 / (2.0 * n as f64).sqrt(), "{i}: {sd} for {}", all.sds()[i]);
    }
}

/// An expected log joint of one normal cell that loses a little more with every look.
struct Sinking(std::sync::atomic::AtomicUsize);

struct Look<'a>(&'a Sinking);

impl crate::infer::Target for Sinking {
    fn dim(&self) -> usize {
        2
    }

    fn names(&self) -> Vec<String> {
        vec!["x".into(), "x^2".into()]
    }

    fn evaluator(&self) -> Box<dyn crate::infer::Evaluator + '_> {
        Box::new(Look(self))
    }
}

impl crate::infer::Evaluator for Look<'_> {
    fn value_grad(&mut self, t: &[f64], grad: &mut [f64]) -> f64 {
        // The mean wanders, so that no sweep finds it at rest.
        let n = self.0.0.load(std::sync::atomic::Ordering::Relaxed) as f64;
        grad.copy_from_slice(&[1.0 + n, -0.5]);
        self.value(t)
    }

    fn value(&mut self, _: &[f64]) -> f64 {
        -(self.0.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed) as f64)
    }
}

/// A bound that falls ends the ascent with the factors from before, and as one that did not converge.
#[test]
fn a_falling_bound_is_no_result() {
    use super::{Block, Plan, ascend};
    use crate::infer::{FitOptions, StopReason};
    let cell = NormalCell { x: Some(0), square: Some(1), theta: 0, name: name() };
    let form = Form::Normal(vec![Normal { cells: vec![cell], products: vec![] }]);
    let block = Block { names: vec![name()], point: false, form };
    let sinking = Sinking(Default::default());
    let plan = Plan {
        expected: &sinking,
        target: &Sinking(Default::default()),
        blocks: vec![block],
        start: vec![vec![0.0]],
        several: false,
        rows: 1,
    };
    let fit = ascend(&plan, &FitOptions::default(), &mut |_| {}).expect("finite").fit;
    assert_eq!((fit.stop_reason.clone(), fit.converged), (StopReason::Fell, false));
    // The first sweep looked at counts 0 and 1: its factor has mean 1, and its bound is kept.
    assert!((fit.mean[0] - 1.0).abs() < 1e-12 && fit.elbo > -2.0, "{} {}", fit.mean[0], fit.elbo);
}
