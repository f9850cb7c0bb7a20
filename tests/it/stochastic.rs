//! Closed forms in batches: the bound comes close to that of all rows at once.

use vic::driver::{self, FitRequest, Session};
use vic::infer::{Stream, Trust};
use vic::report::FitReport;

use crate::support::{compile, csv, fit, summaries};

/// Fitted in batches, and all rows at once.
fn both(model: &str, options: &str, method: &str, data: &str) -> (FitReport, FitReport) {
    let request = FitRequest { threads: Some(1), ..FitRequest::default() };
    let fitted = |fit_block: &str| fit(&compile(&format!("{model}fit {{ {fit_block} }}\n"), &csv(data)), &request);
    (fitted(&format!("method: {method}, {options}")), fitted(&format!("method: {method}")))
}

fn bound(report: &FitReport) -> f64 {
    report.elbo.expect("a bound").0
}

/// Two normal components of 400 rows.
fn two_clusters() -> String {
    let mut s = Stream::new(1, "clusters", "");
    let row = |i: usize, s: &mut Stream| if i.is_multiple_of(3) { -2.0 + 0.6 * s.normal() } else { 1.5 + s.normal() };
    (0..400).fold("y\n".into(), |all, i| format!("{all}{}\n", row(i, &mut s)))
}

/// The last steps move the shared factors by a fiftieth of what a batch says: the bound, flat at its maximum, is within
/// 0.002 nats per row of the full ascent's, and never above it.
#[test]
fn a_mixture_in_batches_comes_to_the_full_bound() {
    let model = "data rows { y: real }\nplate k = 2\nlatent w over k ~ Dirichlet(1)\nlatent m[k] ~ Normal(0, 5)\n\
                 latent v[k] ~ InvGamma(2, 1)\nlatent z[rows]: k ~ Categorical(w)\nobserve y ~ Normal(m[z], sqrt(v[z]))\n";
    let data = two_clusters();
    let (some, all) = both(model, "batch: rows(50), epochs: 25", "cavi", &data);
    let apart = bound(&all) - bound(&some);
    assert!((-1e-6..0.002 * 400.0).contains(&apart), "{} in batches, {} in full", bound(&some), bound(&all));
    assert_eq!(some.gradients, 0);
    assert_eq!(some.verdict.as_ref().expect("judged").trust, Trust::MeansOnly, "nothing weighs the draws");
    // Means of components agree within a fifth of their sds, whichever is called first.
    let (a, b) = (summaries(&some), summaries(&all));
    let sorted = |s: &std::collections::HashMap<String, (f64, f64)>| {
        let mut m = [s["m[1]"], s["m[2]"]];
        m.sort_by(|a, b| a.0.total_cmp(&b.0));
        m
    };
    for (a, b) in sorted(&a).iter().zip(sorted(&b)) {
        assert!((a.0 - b.0).abs() < 0.2 * b.1 + 0.02, "{a:?} {b:?}");
    }
}

/// Documents as rows, each with a share of topics of its own: local factors at their best for each batch. A batch of 61 documents
/// is filled up at the end of each epoch.
#[test]
fn topics_of_rows_come_to_the_full_bound() {
    const DOCS: usize = 61;
    let words = [[8, 8, 8, 1, 1, 1, 0, 0, 0], [0, 0, 1, 8, 8, 8, 1, 0, 0], [1, 0, 0, 0, 0, 1, 8, 8, 8]];
    let mut s = Stream::new(1, "topics", "");
    let mut data: String = (1..=9).map(|w| format!("w{w}{}", if w < 9 { "," } else { "\n" })).collect();
    for d in 0..DOCS {
        let mut counts = [0usize; 9];
        for _ in 0..40 {
            let topic = if s.uniform() < 0.8 { d % 3 } else { (d + 1) % 3 };
            let (mut u, total) = (s.uniform(), words[topic].iter().sum::<usize>() as f64);
            let drawn = words[topic].iter().position(|n| {
                u -= *n as f64 / total;
                u <= 0.0
            });
            counts[drawn.unwrap_or(8)] += 1;
        }
        data += &format!("{}\n", counts.map(|c| c.to_string()).join(","));
    }
    let model = "data docs { n: int[word] from \"w*\" }\nplate topic = 3\nlatent share[docs] over topic ~ Dirichlet(0.3)\n\
                 latent words[topic] over word ~ Dirichlet(0.2)\n\
                 factor n * logsumexp(log(share[topic]) + log(words[topic, word]) over topic)\n";
    let (some, all) = both(model, "batch: docs(10), epochs: 12", "cavi", &data);
    let tokens = 40.0 * DOCS as f64;
    let apart = (bound(&all) - bound(&some)) / tokens;
    // Per word; topics that stand for something else would cost 0.3.
    assert!((-0.002..0.01).contains(&apart), "{} in batches, {} in full", bound(&some), bound(&all));
}

/// Stepwise EM: params come to the full likelihood's maximum within half a nat of 400 rows.
#[test]
fn params_in_batches_come_to_the_likeliest() {
    let model = "data rows { y: real }\nplate k = 2\nparam w over k: simplex = 0.5\nparam m[k] = [-1, 1]\nparam s[k]: real > 0 = 1\n\
                 latent z[rows]: k ~ Categorical(w)\nobserve y ~ Normal(m[z], s[z])\n";
    let (some, all) = both(model, "batch: rows(50), epochs: 25", "em", &two_clusters());
    let apart = bound(&all) - bound(&some);
    assert!((-1e-6..0.5).contains(&apart), "{} in batches, {} in full", bound(&some), bound(&all));
    assert_eq!(some.draws_from, "none: params are points");
}

/// The same bits from one run to the next, and on two threads.
#[test]
fn bits_are_the_same() {
    let model = "data rows { y: real }\nlatent m ~ Normal(0, 5)\nlatent v ~ InvGamma(2, 1)\nobserve y ~ Normal(m, sqrt(v))\n\
                 fit { method: cavi, batch: rows(50), epochs: 3 }\n";
    let compiled = compile(model, &csv(&two_clusters()));
    let run = |threads: usize| {
        let report = fit(&compiled, &FitRequest { threads: Some(threads), ..FitRequest::default() });
        report.vars.iter().flat_map(|v| v.draws.iter().map(|x| x.to_bits())).collect::<Vec<u64>>()
    };
    assert_eq!(run(1), run(2));
}

/// What has no closed form is said, and so are options that it has no use for.
#[test]
fn what_does_not_go_in_batches_is_said() {
    let data = two_clusters();
    let said = |model: &str| {
        let mut session = Session::default();
        let checked = driver::check(&mut session, "m.vi", model);
        if !session.diags.has_errors()
            && let Some(compiled) = driver::compile(&mut session, checked, &csv(&data))
        {
            let options = driver::options(&compiled, &FitRequest::default());
            assert!(driver::fit(&mut session, &compiled, &options, &mut |_| {}).is_none());
        }
        session.diags.list.iter().map(|d| d.code.id).collect::<Vec<_>>()
    };
    let head = "data rows { y: real }\n";
    let fit = |more: &str| format!("fit {{ method: cavi, batch: rows(50){more} }}\n");
    assert_eq!(said(&format!("{head}latent s ~ HalfNormal(1)\nobserve y ~ Normal(0, s)\n{}", fit(""))), ["V0880"]);
    let steps = format!("{head}latent m ~ Normal(0, 1)\nobserve y ~ Normal(m, 1)\n{}", fit(", optimizer: adam(0.1)"));
    assert_eq!(said(&steps), ["V0641"]);
}

/// Interrupted after each of its epochs, and gone on with: the same bits. The checkpoint serves no other fit.
#[test]
fn closed_forms_are_gone_on_with() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use vic::infer::Checkpoint;

    let model = "data rows { y: real }\nplate k = 2\nlatent w over k ~ Dirichlet(1)\nlatent m[k] ~ Normal(0, 5)\n\
                 latent v[k] ~ InvGamma(2, 1)\nlatent z[rows]: k ~ Categorical(w)\nobserve y ~ Normal(m[z], sqrt(v[z]))\n\
                 fit { method: cavi, batch: rows(64), epochs: 4 }\n";
    let (compiled, folder) =
        (compile(model, &csv(&two_clusters())), tempfile::tempdir().expect("a temporary directory"));
    let path = folder.path().join("fit.checkpoint");
    let piece = |compiled: &driver::Compiled, epochs: usize, at: Option<bool>| {
        let cancel = Arc::new(AtomicBool::new(false));
        let checkpoint = at.map(|resume| Checkpoint { path: path.clone(), resume });
        let request =
            FitRequest { threads: Some(1), cancel: Some(cancel.clone()), checkpoint, ..FitRequest::default() };
        let (mut session, mut done) = (Session::default(), 0);
        let options = driver::options(compiled, &request);
        let report = driver::fit(&mut session, compiled, &options, &mut |p| {
            done += usize::from(p.iteration > 0);
            cancel.store(done == epochs, Ordering::Relaxed);
        });
        report.ok_or_else(|| session.diags.list[0].code.id)
    };
    let essence = |r: &FitReport| {
        let bits: Vec<u64> = r.vars.iter().flat_map(|v| &v.draws).map(|d| d.to_bits()).collect();
        let p: Vec<u64> = r.discrete.iter().flat_map(|z| &z.probabilities).map(|p| p.to_bits()).collect();
        (bits, p, r.elbo.map(|e| e.0.to_bits()), r.trace.rows.len())
    };
    let whole = piece(&compiled, usize::MAX, None).expect("it is fitted");
    let (mut pieces, mut last) = (0, None);
    while last.as_ref().is_none_or(|r: &FitReport| !r.converged) {
        last = Some(piece(&compiled, 1, Some(pieces > 0)).expect("it is fitted"));
        pieces += 1;
        assert!(pieces < 8);
    }
    assert!(pieces > 3, "{pieces}");
    assert_eq!(essence(&last.expect("there are pieces")), essence(&whole));
    let other = compile(model, &csv(&two_clusters().replace("-2", "-1")));
    assert_eq!(piece(&other, 1, Some(true)).err(), Some("V0917"));
    assert_eq!(piece(&compiled, 1, Some(false)).err(), Some("V0916"));
}
