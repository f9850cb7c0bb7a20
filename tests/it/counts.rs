//! Counts without an end as latents: cut where the prior has less than 1e-12 of its mass beyond.
//!
//! A Poisson count of which each is seen with probability p is Poisson with p times the rate, and a negative binomial one
//! stays one with p times the mean: the sums over the true counts have closed forms.

use vic::driver::FitRequest;
use vic::infer::Target;

use crate::support;

const DATA: &str = "expected,seen\n3.5,2\n0.2,0\n40,12\n800,150\n12,0\n";

/// The log joints of two models at a few places.
fn same(hidden: &str, plain: &str) {
    let data = support::csv(DATA);
    let head = "data sites { expected: real > 0, seen: int >= 0 }\nlatent p ~ Uniform(0, 1)\n";
    let [a, b] = [hidden, plain].map(|m| support::compile(&format!("{head}{m}"), &data));
    let (mut a, mut b) = (a.model.evaluator(), b.model.evaluator());
    for u in [-1.5, 0.1, 2.0] {
        let (x, y) = (a.value(&[u]), b.value(&[u]));
        // What is cut away is below 1e-12 of each factor where the data are not far from the prior.
        assert!((x - y).abs() < 1e-9 * y.abs().max(1.0), "{hidden}{x} is not {y} at {u}");
        let (mut g, mut h) = ([0.0], [0.0]);
        a.value_grad(&[u], &mut g);
        b.value_grad(&[u], &mut h);
        assert!((g[0] - h[0]).abs() < 1e-8 * h[0].abs().max(1.0), "{hidden}{} is not {}", g[0], h[0]);
    }
}

#[test]
fn sums_over_counts_have_their_closed_forms() {
    let observe = "observe seen ~ Binomial(there, p)\n";
    for (prior, plain) in [
        ("Poisson(expected)", "Poisson(expected * p)"),
        ("Poisson(log: log(expected))", "Poisson(expected * p)"),
        ("NegBinomial(expected, 5)", "NegBinomial(expected * p, 5)"),
        ("NegBinomial(log: log(expected), 100)", "NegBinomial(expected * p, 100)"),
        ("Geometric(1 / (1 + expected))", "NegBinomial(expected * p, 1)"),
    ] {
        same(&format!("latent there[sites] ~ {prior}\n{observe}"), &format!("observe seen ~ {plain}\n"));
    }
    // Of a count that is summed out itself: its last value follows.
    same(
        "latent born[sites] ~ Poisson(expected)\nlatent there[sites] ~ Binomial(born, 0.9)\nobserve seen ~ Binomial(there, p)\n",
        "observe seen ~ Poisson(expected * 0.9 * p)\n",
    );
}

/// A rate that is a latent with an upper end, and one that is not reached by the data.
#[test]
fn a_latent_rate_with_an_end_cuts_its_counts() {
    let model = "data sites { expected: real > 0, seen: int >= 0 }\nlatent rate ~ Uniform(0, 30)\n";
    let hidden = format!("{model}latent there[sites] ~ Poisson(rate)\nobserve seen ~ Binomial(there, 0.4)\n");
    let plain = format!("{model}observe seen ~ Poisson(0.4 * rate)\n");
    let data = support::csv("expected,seen\n1,3\n1,9\n1,0\n1,6\n");
    let [a, b] = [hidden.as_str(), plain.as_str()].map(|m| support::compile(m, &data));
    for u in [-2.0, 0.0, 3.0] {
        let (x, y) = (a.model.evaluator().value(&[u]), b.model.evaluator().value(&[u]));
        assert!((x - y).abs() < 1e-9 * y.abs(), "{x} is not {y}");
    }
    let report = support::fit(&a, &FitRequest::default());
    assert!(report.doubts.is_empty(), "{:?}", report.doubts);
    // Bernstein's bound of 30: 30 + 9.3 + √(85 + 55.3 · 30) = 81.1.
    assert_eq!(report.discrete[0].values.last().map(String::as_str), Some("82"));
}

/// Data that the prior nearly rules out press against the cut, and the report says so.
#[test]
fn data_beyond_the_cut_are_doubted() {
    let model = "data sites { seen: real }\nlatent shift ~ Normal(0, 0.1)\nlatent there[sites] ~ Poisson(2)\nobserve seen ~ Normal(there + shift, 1)\n";
    let report = support::fit(&support::compile(model, &support::csv("seen\n60\n61\n62\n")), &FitRequest::default());
    assert!(report.doubts.iter().any(|d| d.contains("there[")), "{:?}", report.doubts);
}
