//! Refining each row's guide from where its encoder puts it (semi-amortised inference: Kim et al. 2018).
//!
//! A row's draws are functions of standard normal noise; refined, the noise has a mean and an sd per cell, which for a normal
//! line of the guide are a mean and an sd of the latent itself. What the lower bound gains is the amortisation gap (Cremer, Li
//! and Duvenaud 2018).

use super::RowModel;
use super::evaluate::Evaluator;
use crate::infer::batches::{Descent, Moments, Optimizer, Params, Rows, Rule, Schedule};

/// Draws by which the better of start and end is chosen.
const CHOOSING: usize = 50;
/// First rate of Adam, in units of the encoder's sds.
const RATE: f64 = 0.03;

impl RowModel {
    /// Optimise ψ of the batch that the evaluator stands at. A row whose bound did not rise keeps its encoder's guide.
    pub(super) fn refine(&self, e: &mut Evaluator<'_>) {
        let start = e.psi.clone();
        let places = e.places();
        let adam = Optimizer { rule: Rule::Adam, rate: RATE, schedule: Schedule::Linear, warm_up: 0, clip: None };
        let mut moments = Moments::new(adam.rule, e.psi.len(), false);
        let mut streams = self.streams("refine", &e.batch.rows);
        let mut by_theta = vec![0.0; e.theta.len()];
        let (mut by_psi, mut sum) = (vec![0.0; e.psi.len()], vec![0.0; e.psi.len()]);
        let decays = e.coordinates.decays.clone();
        for step in 0..self.refine {
            e.share(step);
            e.coordinates.row_noise(&mut streams, &mut e.z);
            sum.fill(0.0);
            // A draw and its mirror image: means of normals have no noise.
            for _ in 0..2 {
                e.z.iter_mut().for_each(|z| *z = -*z);
                e.coordinates.place(&e.psi, &places, &e.z, &mut e.theta);
                e.feeding.value_grad(&e.theta, &mut by_theta);
                e.coordinates.pull_back(&e.psi, &places, &e.z, &by_theta, 1.0, &mut by_psi);
                // Rows are apart: one whose log joint is not finite stays where it is, and the others move.
                sum.iter_mut().zip(&by_psi).filter(|(_, g)| g.is_finite()).for_each(|(s, g)| *s += g);
            }
            let rate = adam.rate_at(step, self.refine, self.refine);
            let step = Descent { optimizer: &adam, rate, scale: -0.5, length: 0.0, turn: None };
            let params = Params::double(&mut e.psi, &sum);
            moments.begin();
            moments.step(&step, 0, params, &decays, &|pieces, job| (0..pieces).for_each(job));
        }
        let end = e.psi.clone();
        let after = self.bounds(e, "choose", CHOOSING);
        e.psi.clone_from(&start);
        let before = self.bounds(e, "choose", CHOOSING);
        let better: Vec<bool> = after.iter().zip(&before).map(|(a, b)| a > b || !b.is_finite()).collect();
        e.coordinates.take_rows(&mut e.psi, &end, &places.rows, &better);
    }

    /// Each row's lower bound, over so many draws.
    pub(super) fn bounds(&self, e: &mut Evaluator<'_>, purpose: &str, draws: usize) -> Vec<f64> {
        let mut streams = self.streams(purpose, &e.batch.rows);
        let (mut sums, mut none) = (vec![0.0; e.batch.rows.len()], vec![]);
        for d in 0..draws.div_ceil(2) {
            e.share(d * self.shared.draws / draws.div_ceil(2));
            e.coordinates.row_noise(&mut streams, &mut e.z);
            for _ in 0..2 {
                e.z.iter_mut().for_each(|z| *z = -*z);
                e.weigh(&[], &mut none);
                sums.iter_mut().zip(&e.log_weights).for_each(|(s, w)| *s += w);
            }
        }
        sums.iter().map(|s| s / (2 * draws.div_ceil(2)) as f64).collect()
    }
}
