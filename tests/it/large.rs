//! Hierarchies of many latents: right, and linear in their number.

use vic::infer::{self, FitOptions, GuideKind, SdsFrom, Stream, Target};

use crate::alloc::most_held;
use crate::support;

/// Two effects per item that its one outcome cannot tell apart, and their common mean.
const MODEL: &str = "data items { y: real }\nlatent mu ~ Normal(0, 10)\nlatent a[items] ~ Normal(mu, 1) @centered\n\
                     latent b[items] ~ Normal(0, 1)\nobserve y ~ Normal(a + b, 0.5)\n";

/// Fits `items` and compares with the closed form: y ~ N(mu, 2.25), a | y, mu ~ N(mu + (y - mu) / 2.25, 1 - 1 / 2.25).
fn check(items: usize) -> (usize, usize) {
    let mut stream = Stream::new(11, "items", "");
    let y: Vec<f64> = (0..items).map(|_| 3.0 + 1.5 * stream.normal()).collect();
    let csv = y.iter().fold("y\n".to_string(), |text, y| text + &format!("{y}\n"));
    let compiled = support::compile(MODEL, &support::csv(&csv));
    let model = &compiled.model;
    let options = FitOptions { guide: GuideKind::MeanField, starts: 2, ..FitOptions::default() };
    let (fit, bytes) = most_held(|| infer::fit(model, &options, &mut |_| ()).expect("finite at the start"));
    assert!(fit.converged, "{}", fit.stop_reason);
    assert_eq!(fit.sds_from, SdsFrom::LinearResponse);

    let precision = items as f64 / 2.25 + 0.01;
    let y: Vec<f64> = y.iter().map(|y| format!("{y}").parse().expect("as it was written")).collect();
    let mu = y.iter().sum::<f64>() / 2.25 / precision;
    let share = 1.0 / 2.25;
    let (names, sds) = (model.names(), fit.sds());
    let mut seen = 0;
    for (i, name) in names.iter().enumerate() {
        let label = |n: &str| -> Option<usize> { n.split_once('[')?.1.strip_suffix(']')?.parse().ok() };
        let (mean, variance) = match (name.as_str(), label(name)) {
            ("mu", None) => (mu, 1.0 / precision),
            (n, Some(k)) if n.starts_with('a') => {
                (mu + share * (y[k - 1] - mu), 1.0 - share + (1.0 - share).powi(2) / precision)
            }
            (n, Some(k)) => {
                assert!(n.starts_with('b'), "{n}");
                (share * (y[k - 1] - mu), 1.0 - share + share * share / precision)
            }
            (n, None) => panic!("what is {n}?"),
        };
        seen += 1;
        // The objective is exact for a quadratic log joint. The tolerance is on the gradient in whitened coordinates, in
        // which it is the distance in sds.
        assert!((fit.mean[i] - mean).abs() < 0.02 * variance.sqrt(), "{name}: {} is not {mean}", fit.mean[i]);
        assert!((sds[i] / variance.sqrt() - 1.0).abs() < 1e-6, "{name}: {} is not {}", sds[i], variance.sqrt());
    }
    assert_eq!(seen, 2 * items + 1);
    (fit.gradients, bytes)
}

/// Twenty thousand latents; some thousands where the test itself is not optimised.
#[test]
fn twenty_thousand_latents() {
    let items = if cfg!(debug_assertions) { 1_500 } else { 10_000 };
    let (few, small) = check(items / 4);
    let (many, large) = check(items);
    // Four times the latents: no more gradients (more draws per coordinate are affordable with few), each of four times the
    // work, in four times the memory.
    assert!(many < 2 * few, "{many} gradients beside {few}");
    assert!(large < 6 * small, "{large} bytes beside {small}");
}
