//! The lower bound of the whole data at fixed params.

use super::weigh::Draws;
use super::{Batch, Coordinates, Plan, Rows};

/// Passes over the data for the reported bound, with one draw per row; and the fewest with several.
const SWEEPS: usize = 16;
const FEWEST: usize = 4;

/// The lower bound of these rows, all that are fitted, at ψ, over passes with fresh draws, and its standard error; nothing if the fit is
/// interrupted meanwhile. Where draws are weighed against each other, their bound too.
pub fn bound(
    target: &mut dyn Rows,
    coordinates: &Coordinates,
    plan: &Plan,
    order: &[usize],
    psi: &[f64],
    values: &mut usize,
) -> Option<(f64, f64, f64)> {
    let mut z = vec![0.0; coordinates.dim()];
    let mut batch = Batch::default();
    target.drop_out(None);
    target.soften(1.0, f64::NEG_INFINITY);
    let (mut passes, mut draws, mut weighed) = (vec![], Draws::new(plan.batch, plan.draws()), 0.0);
    let sweeps = (SWEEPS / plan.draws()).clamp(FEWEST, SWEEPS);
    for sweep in 0..sweeps {
        let mut sum = 0.0;
        for k in 0..plan.batches() {
            batch.set(plan, order, k);
            target.take(&batch);
            coordinates.noise(plan.seed, "bound", sweep * plan.batches() + k, &mut z);
            // What all rows share has one draw per pass.
            coordinates.shared_noise(plan.seed, "bound", sweep, &mut z);
            coordinates.place(psi, &batch, &z, target.theta());
            let value = target.evaluate();
            sum += value + coordinates.surprise(psi, &batch, &z, 1.0);
            *values += 1;
            if let Some((how, _)) = plan.weighing {
                let rows = draws.weigh(how, target, coordinates, (psi, &batch, &z));
                let once = value - draws.evenly(&batch) + coordinates.shared_surprise(psi, &z, 1.0);
                weighed += (rows + once) / (sweeps * plan.batches()) as f64;
                *values += 1;
            }
            if plan.cancelled() {
                return None;
            }
        }
        passes.push(sum / plan.batches() as f64);
    }
    let n = passes.len() as f64;
    let mean = passes.iter().sum::<f64>() / n;
    let variance = passes.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
    Some((mean, (variance / n).sqrt(), weighed))
}
