//! Simulation-based calibration of a whole fit: latents drawn from the prior, data from them, and where the true values
//! lie in the posteriors that are then fitted. Talts, Betancourt, Simpson, Vehtari and Gelman, "Validating Bayesian
//! inference algorithms with simulation-based calibration" (2018); for the asymmetry of variational posteriors Yao,
//! Vehtari, Simpson and Gelman (2018).

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Checked, Compiled, Session};
use crate::data::{DataFile, Inputs};
use crate::diag::Diags;
use crate::hir::Hir;
use crate::infer::{Stream, Trust};
use crate::report::{FitReport, Position};
use crate::simulate::{Rows, simulate};

/// Draws that a true value is ranked among: few, so that those of one fit are nearly independent.
const AMONG: usize = 99;

/// Where the truth lay in every fit.
pub struct Calibration {
    /// By the name of each scalar, in the order of the model.
    pub positions: Vec<Position>,
    pub fits: usize,
    /// Simulations that could not be fitted at all.
    pub failed: usize,
    /// Fits whose verdict was `DO NOT TRUST`.
    pub distrusted: usize,
}

/// Fit `sims` simulated data sets, several at once. The result does not depend on the number of threads.
/// `fit` fits one data set with one thread; `told` hears how many are done. `None`: `session` says why nothing can be
/// simulated.
#[allow(clippy::too_many_arguments)]
pub fn calibrate(
    session: &mut Session,
    checked: &Checked,
    inputs: &Inputs,
    rows: &Rows,
    sims: usize,
    seed: u64,
    threads: usize,
    fit: &(dyn Fn(&Compiled, u64) -> Option<FitReport> + Sync),
    told: &(dyn Fn(usize) + Sync),
) -> Option<Calibration> {
    // The first is drawn here, for its errors.
    simulate(&checked.hir, inputs, rows, seed, &mut session.diags)?;
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let found: Mutex<Vec<Option<One>>> = Mutex::new((0..sims).map(|_| None).collect());
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, sims.max(1)) {
            scope.spawn(|| {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    if i >= sims {
                        return;
                    }
                    let one = one(&checked.hir, inputs, rows, seed.wrapping_add(i as u64), fit);
                    found.lock().expect("no thread panics while it holds the lock")[i] = one;
                    told(done.fetch_add(1, Ordering::Relaxed) + 1);
                }
            });
        }
    });
    let found = found.into_inner().expect("no thread panics while it holds the lock");
    let fitted: Vec<One> = found.into_iter().flatten().collect();
    let mut positions: Vec<Position> = vec![];
    for one in &fitted {
        for (name, u) in &one.positions {
            match positions.iter_mut().find(|p| p.name == *name) {
                Some(p) => p.at.push(*u),
                None => positions.push(Position { name: name.clone(), at: vec![*u] }),
            }
        }
    }
    Some(Calibration {
        positions,
        fits: fitted.len(),
        failed: sims - fitted.len(),
        distrusted: fitted.iter().filter(|o| o.distrusted).count(),
    })
}

struct One {
    /// In (0, 1), uniform over data sets if the fits are right.
    positions: Vec<(String, f64)>,
    distrusted: bool,
}

fn one(
    hir: &Hir,
    inputs: &Inputs,
    rows: &Rows,
    seed: u64,
    fit: &(dyn Fn(&Compiled, u64) -> Option<FitReport> + Sync),
) -> Option<One> {
    let made = simulate(hir, inputs, rows, seed, &mut Diags::default())?;
    let files = made.tables.iter().map(|(name, csv)| DataFile {
        table: Some(name.clone()),
        name: format!("{name}.csv"),
        bytes: csv.text().into_bytes(),
    });
    let is_latent = |name: &str| made.truth.iter().any(|t| t.0 == name);
    let sets = inputs.sets.iter().filter(|s| !is_latent(&s.0)).cloned().collect();
    let simulated = Inputs { files: files.collect(), sets };
    let compiled = super::compile_hir(&mut Session::default(), hir.clone(), &simulated)?;
    let report = fit(&compiled, seed)?;
    let mut positions = vec![];
    for v in &report.vars {
        for c in 0..v.cells() {
            let name = v.cell_name(c);
            let Some((_, truth)) = made.truth.iter().find(|t| t.0 == name) else { continue };
            let draws = v.cell(c, report.draws);
            let among = draws.iter().step_by((draws.len() / AMONG).max(1)).take(AMONG);
            let (mut below, mut count) = (0.0, 0.0);
            for x in among {
                below += if x < truth {
                    1.0
                } else if x == truth {
                    0.5
                } else {
                    0.0
                };
                count += 1.0;
            }
            // Spread evenly over the gap between two draws, so that the position is uniform exactly.
            let within = Stream::new(seed, "calibration", &name).uniform();
            positions.push((name, (below + within) / (count + 1.0)));
        }
    }
    let distrusted = report.verdict.is_some_and(|v| v.trust == Trust::DoNotTrust);
    Some(One { positions, distrusted })
}
