//! How well a fit explains each row: its lower bound, or its likelihood by importance weights.

use super::{Question, RowModel};
use crate::diag::Diags;
use crate::infer::smooth;

/// Draws of each row's lower bound.
const BOUND: usize = 100;

/// Scores of rows.
pub struct Score {
    pub labels: Vec<String>,
    pub scores: Vec<f64>,
    /// Without refinement, where there is one.
    pub before: Option<Vec<f64>>,
    /// Of importance weights that are enough to tell, the shape of their tail: see [`smooth`].
    pub k_hats: Option<Vec<f64>>,
}

/// Fewest weights that have a tail to speak of.
const TAILED: usize = 100;

/// Score rows: by their lower bounds, or by the log of the average of so many importance weights (Burda et al. 2016), which
/// from below tends to the log likelihood.
pub fn score(question: &Question<'_>, samples: Option<usize>, diags: &mut Diags) -> Option<Score> {
    let model = question.compile(false, diags)?;
    if let Some(d) = model.not_amortised() {
        diags.push(d);
        return None;
    }
    let of = |model: &RowModel, e: &mut super::evaluate::Evaluator<'_>| match samples {
        None => (model.bounds(e, "bound", BOUND)[..e.own].to_vec(), vec![]),
        Some(k) => likelihoods(model, e, k),
    };
    let batches = model.each_batch(|e| {
        let before = (model.refine > 0 && model.amortised()).then(|| of(&model, e).0);
        if model.refine > 0 {
            model.refine(e);
        }
        let (scores, k_hats) = of(&model, e);
        (scores, before, k_hats)
    });
    let refined = batches.iter().all(|b| b.1.is_some());
    let before = refined.then(|| batches.iter().flat_map(|b| b.1.clone().unwrap_or_default()).collect());
    let drawn = samples.is_some_and(|k| k >= TAILED) && !model.latents.is_empty();
    let k_hats = drawn.then(|| batches.iter().flat_map(|b| b.2.clone()).collect());
    let scores: Vec<f64> = batches.into_iter().flat_map(|b| b.0).collect();
    diags.list.extend(model.not_finite("score", |r| scores[r].is_finite()));
    Some(Score { labels: model.labels(), scores, before, k_hats })
}

/// log (1/k) Σ exp(log w) per row, and k-hat of these weights.
fn likelihoods(model: &RowModel, e: &mut super::evaluate::Evaluator<'_>, k: usize) -> (Vec<f64>, Vec<f64>) {
    let mut streams = model.streams("likelihood", &e.batch.rows);
    let n = e.batch.rows.len();
    let (mut most, mut sums, mut none) = (vec![f64::NEG_INFINITY; n], vec![0.0; n], vec![]);
    let (mut last, mut weights) = (None, vec![Vec::with_capacity(k); e.own]);
    for d in 0..k {
        let draw = d * model.shared.draws / k;
        if last.replace(draw) != Some(draw) {
            e.share(draw);
        }
        e.coordinates.row_noise(&mut streams, &mut e.z);
        e.weigh(&[], &mut none);
        for ((m, s), &w) in most.iter_mut().zip(&mut sums).zip(&e.log_weights) {
            add_exp(m, s, w);
        }
        weights.iter_mut().zip(&e.log_weights).for_each(|(all, w)| all.push(*w));
    }
    let scores = most.iter().zip(&sums).take(e.own).map(|(m, s)| m + (s / k as f64).ln());
    (scores.collect(), weights.iter().map(|w| smooth(w).k_hat).collect())
}

/// Add exp(w) to s·exp(m), without overflow.
fn add_exp(m: &mut f64, s: &mut f64, w: f64) {
    if w.is_nan() || w == f64::NEG_INFINITY {
        return;
    }
    if w <= *m {
        *s += (w - *m).exp();
    } else {
        *s = *s * (*m - w).exp() + 1.0;
        *m = w;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_exponentials_do_not_overflow() {
        let (mut m, mut s) = (f64::NEG_INFINITY, 0.0);
        for w in [-1000.0, f64::NEG_INFINITY, 900.0, 901.0, 899.0] {
            add_exp(&mut m, &mut s, w);
        }
        let exact = 901.0 + (1.0 + (-1.0f64).exp() + (-2.0f64).exp()).ln();
        assert!((m + s.ln() - exact).abs() < 1e-12);
    }
}
