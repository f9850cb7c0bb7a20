//! How far a fit in batches can be trusted: whether its bound has come to rest, and what nothing has tested.

use std::fmt;

use serde::Serialize;

use super::{Coordinates, Fitted};
use crate::diag::counted;
use crate::infer::importance::USABLE;
use crate::infer::verdict::{Fault, Figures, Remedy, Trust, Verdict, verdict};

/// How much the mean bound of the last tenth of the epochs exceeds that of the tenth before, in nats of all rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rise {
    pub nats: f64,
    /// From how the bounds of epochs scatter.
    pub error: f64,
}

/// Epochs in each of the two parts, at least: fewer do not tell a rise from chance.
const LEAST: usize = 3;
/// What may be left to gain: in all where latents are shared by all rows, else per row.
const SHARED: f64 = 0.5;
const PER_ROW: f64 = 0.01;
/// Standard errors beyond which a rise is none of chance.
const CERTAIN: f64 = 3.0;
/// Share of batches without a finite log joint from which on the rest are no fair sample.
const NON_FINITE: f64 = 0.01;

/// What batches are of, independent of each other given what all share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    Row,
    /// With all rows of other plates that belong to it.
    Member,
}

impl Unit {
    fn is_row(&self) -> bool {
        *self == Unit::Row
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_row() { "row" } else { "member" })
    }
}

/// k-hat of the importance weights of rows, or of members with their rows, each by itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RowWeights {
    #[serde(skip_serializing_if = "Unit::is_row")]
    pub unit: Unit,
    /// Rows that were looked at, and draws of each.
    pub rows: usize,
    pub draws: usize,
    /// The k-hat that half of them, and that a tenth of them, are above; nothing where all weights of a row are alike.
    pub half: Option<f64>,
    pub tenth: Option<f64>,
    /// Rows whose weights cannot be used.
    pub above: usize,
}

impl RowWeights {
    pub fn new(k_hats: &[f64], draws: usize, unit: Unit) -> RowWeights {
        let mut sorted = k_hats.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| sorted.get((share * sorted.len() as f64) as usize).copied().filter(|k| k.is_finite());
        let above = sorted.iter().filter(|k| **k >= USABLE).count();
        RowWeights { unit, rows: sorted.len(), draws, half: at(0.5), tenth: at(0.9), above }
    }
}

/// Share of rows whose weights cannot be used from which on the guide is called too narrow.
const NARROW: f64 = 0.1;

impl Rise {
    /// `None` for fewer epochs than tell.
    pub fn of(epochs: &[f64]) -> Option<Rise> {
        let part = (epochs.len() / 10).max(LEAST);
        let from = epochs.len().checked_sub(2 * part)?;
        let (before, last) = epochs[from..].split_at(part);
        let n = part as f64;
        let mean = |e: &[f64]| e.iter().sum::<f64>() / n;
        let variance = |e: &[f64]| e.iter().map(|x| (x - mean(e)).powi(2)).sum::<f64>() / (n - 1.0);
        let error = ((variance(before) + variance(last)) / n).sqrt();
        Some(Rise { nats: mean(last) - mean(before), error })
    }
}

/// Judge a fit over so many rows by how it went.
pub fn judge(
    fitted: &Fitted,
    coordinates: &Coordinates,
    (rows, unit): (usize, Unit),
    weights: Option<RowWeights>,
) -> Verdict {
    let mut faults = vec![];
    let mut fault = |leaves, text: String, remedy| faults.push(Fault { leaves, text, names: vec![], remedy });
    let more = Remedy::Epochs(2 * fitted.epochs.max(LEAST));
    let shared = coordinates.has_shared_latents();
    let left = if shared { SHARED } else { PER_ROW * rows as f64 };
    match fitted.rise {
        _ if fitted.cancelled => fault(Trust::DoNotTrust, "the fit was interrupted".into(), more),
        // The rows that were held out have said when to stop.
        _ if fitted.best.is_some_and(|b| b.0 < fitted.epochs) => {}
        None => {
            let verb = if fitted.epochs == 1 { "is" } else { "are" };
            let epochs = counted(fitted.epochs, "epoch");
            let text = format!("{epochs} {verb} too few to see whether the bound still rises");
            fault(Trust::MeansOnly, text, more);
        }
        Some(r) if r.nats.abs() > left && r.nats.abs() > CERTAIN * r.error => {
            let way = if r.nats > 0.0 { "still rose" } else { "fell" };
            let text = format!(
                "the bound {way} by {:.3} nats per {unit} from one tenth of the epochs to the last",
                r.nats.abs() / rows as f64
            );
            fault(Trust::DoNotTrust, text, more);
        }
        Some(_) => {}
    }
    let non_finite = fitted.non_finite as f64 / (fitted.gradients + fitted.values).max(1) as f64;
    if non_finite > NON_FINITE {
        let text =
            format!("the log joint was not finite in {:.1} % of the batches, which were left out", 100.0 * non_finite);
        fault(Trust::MeansOnly, text, more);
    }
    if !fitted.cancelled && !fitted.elbo.is_finite() {
        let text = "the guide draws values where the log joint is not finite: there is no lower bound";
        fault(Trust::DoNotTrust, text.into(), Remedy::Whole);
    }
    if let Some(w) = weights.as_ref().filter(|w| w.above as f64 > NARROW * w.rows as f64) {
        let whose = if w.above == 1 { "its posterior is" } else { "their posteriors are" };
        let rows = counted(w.rows, &unit.to_string());
        let text = format!("k-hat is above {USABLE} for {} of {rows}: {whose} wider than the guide", w.above);
        fault(Trust::MeansOnly, text, Remedy::Wider(unit));
    }
    if coordinates.has_latents() {
        let text = "the draws are the guide's own: in batches nothing weighs them against the posterior of all rows";
        fault(Trust::MeansOnly, text.into(), Remedy::Whole);
    }
    let rise = fitted.rise.map(|r| (r.nats / rows as f64, r.error / rows as f64));
    verdict(faults, Figures { rise, non_finite, k_hat_rows: weights, ..Figures::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rise_is_told_from_chance() {
        assert_eq!(Rise::of(&[1.0; 5]), None);
        let climbing: Vec<f64> = (0..60).map(f64::from).collect();
        let r = Rise::of(&climbing).expect("enough epochs");
        assert!(r.nats == 6.0 && r.error > 0.0 && r.nats > CERTAIN * r.error, "{r:?}");
        let level: Vec<f64> = (0..60).map(|i| f64::from((i * 7) % 5)).collect();
        let r = Rise::of(&level).expect("enough epochs");
        assert!(r.nats.abs() < CERTAIN * r.error, "{r:?}");
    }
}
