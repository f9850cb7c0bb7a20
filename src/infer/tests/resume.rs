//! Fits that are interrupted and gone on with end in the same bits as those left alone.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;

const DIM: usize = 4;

/// A logistic regression on made-up rows with `shift` as the location of the prior, which interrupts after so many gradients.
fn interrupting<'a>(
    shift: f64,
    after: usize,
    count: &'a AtomicUsize,
    cancel: &'a AtomicBool,
) -> Closed<impl Fn(&[f64], &mut [f64]) -> f64 + Sync + 'a> {
    let mut s = Stream::new(11, "test", "rows");
    let rows: Vec<([f64; DIM], f64)> =
        (0..30).map(|i| (std::array::from_fn(|_| s.normal()), f64::from(u8::from(i % 3 == 0)))).collect();
    Closed::new(DIM, move |x, g| {
        if count.fetch_add(1, Ordering::Relaxed) == after {
            cancel.store(true, Ordering::Relaxed);
        }
        let mut value = 0.0;
        for i in 0..DIM {
            g[i] = shift - x[i];
            value -= 0.5 * (x[i] - shift) * (x[i] - shift);
        }
        for (row, y) in &rows {
            let eta = linalg::dot(row, x);
            value += y * eta - eta.exp().ln_1p();
            let residual = y - 1.0 / (1.0 + (-eta).exp());
            row.iter().zip(g.iter_mut()).for_each(|(r, g)| *g += residual * r);
        }
        value
    })
}

fn attempt(options: &FitOptions, shift: f64, after: usize, checkpoint: Option<(&Path, bool)>) -> Result<Fit, FitError> {
    let (count, cancel) = (AtomicUsize::new(0), Arc::new(AtomicBool::new(false)));
    let target = interrupting(shift, after, &count, &cancel);
    let checkpoint = checkpoint.map(|(path, resume)| Checkpoint { path: path.into(), resume });
    fit(&target, &FitOptions { cancel: Some(cancel.clone()), checkpoint, ..options.clone() }, &mut |_| ())
}

fn essence(fit: &Fit) -> impl PartialEq + std::fmt::Debug {
    let bits: Vec<u64> = fit.mean.iter().chain([&fit.elbo, &fit.mean_error]).map(|v| v.to_bits()).collect();
    let trace: Vec<(usize, usize, u64)> =
        fit.trace.iter().map(|p| (p.iteration, p.gradients, p.objective.to_bits())).collect();
    (bits, fit.scale.clone(), fit.stop_reason.clone(), fit.gradients, fit.log_joints, trace)
}

#[test]
fn a_fit_interrupted_again_and_again_ends_in_the_same_bits() {
    for (method, guide, each) in [
        (Method::Lbfgs, GuideKind::FullRank, 600),
        (Method::Lbfgs, GuideKind::MeanField, 500),
        (Method::Adam, GuideKind::MeanField, 20_000),
    ] {
        let options = FitOptions { method, ..options(guide) };
        let whole = attempt(&options, 0.5, usize::MAX, None).expect("finite");
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("fit.checkpoint");
        let mut pieces = 0;
        let fit = loop {
            let fit = attempt(&options, 0.5, each, Some((&path, pieces > 0))).expect("finite");
            pieces += 1;
            assert!(pieces < 100, "{method:?} does not come forward");
            if fit.stop_reason != StopReason::Cancelled {
                break fit;
            }
        };
        assert!(pieces > 2, "{method:?} ended after {pieces} pieces, {} gradients", fit.gradients);
        assert_eq!(essence(&fit), essence(&whole), "{method:?} with {guide:?}");
    }
}

#[test]
fn a_checkpoint_serves_its_own_fit_only() {
    let options = options(GuideKind::MeanField);
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = folder.path().join("fit.checkpoint");
    let error = |shift, options: &FitOptions, resume| match attempt(options, shift, usize::MAX, Some((&path, resume))) {
        Err(FitError::Checkpoint(error)) => error,
        other => panic!("{other:?}"),
    };
    assert!(matches!(error(0.5, &options, true), CheckpointError::Unreadable(_)));
    attempt(&options, 0.5, 900, Some((&path, false))).expect("finite");
    assert_eq!(error(0.5, &options, false), CheckpointError::Exists);
    // Another model, another seed.
    assert_eq!(error(0.25, &options, true), CheckpointError::Foreign);
    assert_eq!(error(0.5, &FitOptions { seed: 2, ..options.clone() }, true), CheckpointError::Foreign);
    // Threads are another matter.
    attempt(&FitOptions { threads: 2, ..options.clone() }, 0.5, usize::MAX, Some((&path, true))).expect("the same fit");

    let whole = std::fs::read(&path).expect("it is kept until somebody removes it");
    for damaged in [&whole[..whole.len() / 2], &whole[1..], b"", &[&whole[..], b"more"].concat()] {
        std::fs::write(&path, damaged).expect("writable");
        assert_eq!(error(0.5, &options, true), CheckpointError::Damaged);
    }
    let nowhere = folder.path().join("none").join("fit.checkpoint");
    let unwritable = attempt(&options, 0.5, usize::MAX, Some((&nowhere, false)));
    assert!(matches!(unwritable, Err(FitError::Checkpoint(CheckpointError::Unwritable(_)))));
}
