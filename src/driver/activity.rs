//! Which units of the latents of rows say anything about their rows.
//!
//! A unit is active if the mean that the guide gives it varies over the rows: Var_x(E[z | x]) > 0.01 (Burda, Grosse and
//! Salakhutdinov 2016, section 4.2). Units that are not have collapsed to their prior, and the model does without them.

use super::Compiled;
use crate::diag::counted;
use crate::hir::{GuideLine, PlateKind};
use crate::report::{ReportVar, Units};

const ACTIVE: f64 = 0.01;

/// The units of each latent of rows that a line of the guide draws, as far as its draws are among these.
pub fn units(compiled: &Compiled, vars: &[ReportVar]) -> Vec<Units> {
    let hir = &compiled.hir;
    let Some(written) = &hir.written else { return vec![] };
    let drawn = written.lines.iter().filter_map(|line| match line {
        GuideLine::Draw { var, .. } if hir.discrete(*var).is_none() => Some(*var),
        GuideLine::Draw { .. } | GuideLine::Own(_) | GuideLine::Family { .. } => None,
    });
    let of = |var| {
        let v = hir.var(var);
        let rows = |a: &crate::hir::AxisId| matches!(hir.plate(hir.axis(*a).plate).kind, PlateKind::Rows(_));
        let dim = v.axes.iter().position(rows)?;
        let numbers = vars.iter().find(|r| r.name == v.name)?;
        let variances = variances(numbers, dim)?;
        let active = variances.iter().filter(|v| **v > ACTIVE).count();
        Some(Units { latent: v.name.clone(), active, of: variances.len(), variances })
    };
    drawn.filter_map(of).collect()
}

/// Per unit the variance over the rows of its mean, without what the noise of finitely many draws adds to it.
fn variances(var: &ReportVar, dim: usize) -> Option<Vec<f64>> {
    let sizes: Vec<usize> = var.dims.iter().map(|d| d.labels.len()).collect();
    let (rows, cells) = (sizes[dim], sizes.iter().product::<usize>());
    let draws = var.draws.len() / cells.max(1);
    if rows < 2 || draws < 2 {
        return None;
    }
    let inner: usize = sizes[..dim].iter().product();
    let moments = |x: &mut dyn Iterator<Item = f64>| {
        let (mut n, mut mean, mut squares) = (0.0, 0.0, 0.0);
        for x in x {
            n += 1.0;
            let before = x - mean;
            mean += before / n;
            squares += before * (x - mean);
        }
        (mean, squares / (n - 1.0))
    };
    let unit = |u: usize| {
        let cell = |r: usize| u % inner + inner * (r + rows * (u / inner));
        let each: Vec<(f64, f64)> = (0..rows).map(|r| moments(&mut var.cell(cell(r), draws).iter().copied())).collect();
        let (_, between) = moments(&mut each.iter().map(|e| e.0));
        between - each.iter().map(|e| e.1).sum::<f64>() / rows as f64 / draws as f64
    };
    Some((0..cells / rows).map(unit).collect())
}

/// Why half of the units or more may be missed.
pub fn collapse(units: &Units) -> Option<String> {
    let Units { latent, active, of, .. } = units;
    (2 * active < *of || *active == 0).then(|| {
        let vary = if *active == 1 { "varies" } else { "vary" };
        let others = if of - active == 1 { "the other is as in its prior" } else { "the others are as in their prior" };
        let them = if of - active == 1 { "it" } else { "them" };
        format!(
            "Posterior collapse: {active} of {} of `{latent}` {vary} with the rows; {others}, \
             and the model does without {them}. Fewer units, a smaller decoder, or KL warm-up may help.",
            counted(*of, "unit")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::Stream;
    use crate::report::{Dim, ReportKind};

    /// Of two units the first follows the rows and the second is noise; the variance of 200 means is known to a tenth.
    #[test]
    fn noise_is_no_activity() {
        let (rows, draws) = (200, 10);
        let mut stream = Stream::new(1, "test", "units");
        let dim = |plate: &str, n: usize| Dim { plate: plate.into(), labels: (0..n).map(|i| i.to_string()).collect() };
        let mut numbers = vec![];
        for unit in 0..2 {
            for _ in 0..rows {
                let mean = if unit == 0 { 2.0 * stream.normal() } else { 0.0 };
                numbers.extend((0..draws).map(|_| mean + stream.normal()));
            }
        }
        let dims = vec![dim("rows", rows), dim("code", 2)];
        let var = ReportVar { name: "z".into(), kind: ReportKind::Latent, dims, draws: numbers };
        let found = variances(&var, 0).expect("several rows");
        assert!((found[0] / 4.0 - 1.0).abs() < 0.3, "{found:?}");
        // Uncorrected it would be 0.1; 0.01 is a standard error of its estimate.
        assert!(found[1].abs() < 0.04, "{found:?}");
    }
}
