//! Probabilities of the discrete latents of rows, given draws of the others.
//!
//! A latent that is summed out has a probe per value, along which the derivative of the log joint is the value's probability given
//! the rest. One that the guide draws has its chances there.

use std::ops::Range;

use super::evaluate::Evaluator;
use super::{RowModel, dim_of, hidden};
use crate::data::Bound;
use crate::derive::joint::Joint;
use crate::driver::discrete::{Average, first_value, is_drawn};
use crate::hir::{Hir, PlateId, VarId, VarKind};

/// A discrete latent of rows.
pub(super) struct Discrete {
    var: VarId,
    /// What each value is called.
    values: Vec<String>,
    of: Of,
}

enum Of {
    /// Summed out: where its probes stand in theta.
    Summed(Range<usize>),
    /// Drawn by the guide: the variable that has its chances, and the number at its first value.
    Drawn(VarId, f64),
}

/// The discrete latents of rows; of columns with empty cells, those where rows from `first` on have some.
pub(super) fn of_rows(hir: &Hir, bound: &Bound, plate: PlateId, first: usize) -> Vec<VarId> {
    let open = |column: VarId| {
        let (Some(values), Some(dim)) = (bound.values.get(&column), dim_of(hir, column, plate)) else { return false };
        values.missing_at(dim).iter().any(|row| *row as usize >= first)
    };
    let unknown = |v: &VarId| hir.missing.iter().find(|m| m.cells == *v).is_none_or(|m| open(m.column));
    let latents = hir.discrete.iter().map(|d| d.var).filter(|v| dim_of(hir, *v, plate).is_some());
    latents.filter(unknown).collect()
}

/// Report the chances of each of these that the guide draws, as a variable over its cells and then its values.
pub(super) fn chances(hir: &mut Hir, joint: &mut Joint, latents: &[VarId]) -> Vec<(VarId, VarId)> {
    let tables = joint.written.as_ref().map_or(vec![], |w| w.chances.clone());
    let mut out = vec![];
    for (latent, table) in tables.into_iter().filter(|t| latents.contains(&t.0)) {
        let def = joint.defs.iter_mut().find(|d| d.slot == table).expect("a table of chances is defined");
        let name = format!("chances of {}", hir.var(latent).name);
        let var = hidden(hir, &name, def.axes.clone(), VarKind::Report);
        def.var = Some(var);
        out.push((latent, var));
    }
    out
}

/// Where the probabilities of latents are found.
pub(super) fn found(
    hir: &Hir,
    bound: &Bound,
    latents: &[VarId],
    chances: &[(VarId, VarId)],
    probes: &[(VarId, Range<usize>)],
) -> Vec<Discrete> {
    let one = |&var: &VarId| {
        let d = hir.discrete(var)?;
        let of = match is_drawn(hir, var) {
            true => Of::Drawn(chances.iter().find(|c| c.0 == var)?.1, first_value(hir, bound, d)),
            false => Of::Summed(probes.iter().find(|p| p.0 == var)?.1.clone()),
        };
        Some(Discrete { var, values: bound.plate(d.plate).labels.to_vec(), of })
    };
    latents.iter().filter_map(one).collect()
}

impl Discrete {
    /// 1 for the value that each cell has, 0 for all others.
    fn marks(&self, numbers: &[f64], first: f64) -> Vec<f64> {
        let value = |v: usize| numbers.iter().map(move |x| f64::from(u8::from(*x == first + v as f64)));
        (0..self.values.len()).flat_map(value).collect()
    }
}

impl RowModel {
    /// The names of what one row has of values: `k=a`, or `k[2]=a`.
    pub(super) fn names_of_values(&self) -> Vec<String> {
        let of = |d: &Discrete| {
            let cells = self.names_in_row(d.var).into_iter();
            cells.flat_map(|c| d.values.iter().map(move |v| format!("{c}={v}"))).collect::<Vec<_>>()
        };
        self.discrete.iter().flat_map(of).collect()
    }

    /// The probabilities of each row's values, averaged over the draws that `each` goes through; not a number where no draw has any.
    pub(super) fn probabilities(
        &self,
        e: &mut Evaluator<'_>,
        each: impl FnOnce(&mut Evaluator<'_>, &mut dyn FnMut(&mut Evaluator<'_>)),
    ) -> Vec<Vec<f64>> {
        let mut averages: Vec<Average> = self.discrete.iter().map(|d| Average::of(d.values.len())).collect();
        each(e, &mut |e| {
            let at_draw = self.at_draw(e, false);
            averages.iter_mut().zip(&at_draw).for_each(|(a, p)| a.add(p));
        });
        let means: Vec<Vec<f64>> = averages.iter().map(Average::mean).collect();
        (0..e.own).map(|row| self.row_of_values(e, &means, row)).collect()
    }

    /// The probabilities of each row's values at the draw that the evaluator stands at; of latents that the guide draws, 1 for the value drawn.
    pub(super) fn drawn_values(&self, e: &mut Evaluator<'_>) -> Vec<Vec<f64>> {
        let at_draw = self.at_draw(e, true);
        (0..e.own).map(|row| self.row_of_values(e, &at_draw, row)).collect()
    }

    /// By latent: of value `v` of cell `c` of the batch at `c + cells * v`.
    fn at_draw(&self, e: &mut Evaluator<'_>, drawn: bool) -> Vec<Vec<f64>> {
        let wanted = |d: &Discrete| match d.of {
            Of::Drawn(chances, _) => Some(if drawn { d.var } else { chances }),
            Of::Summed(_) => None,
        };
        let wanted: Vec<VarId> = self.discrete.iter().filter_map(wanted).collect();
        let (mut numbers, mut slopes) = (vec![], vec![]);
        if !wanted.is_empty() {
            e.weigh(&wanted, &mut numbers);
        }
        if wanted.len() < self.discrete.len() {
            e.slopes(&mut slopes);
        }
        let mut numbers = numbers.into_iter();
        let mut of = |d: &Discrete| match &d.of {
            Of::Summed(at) => slopes[at.clone()].to_vec(),
            Of::Drawn(_, first) => {
                let own = numbers.next().expect("it was asked for");
                if drawn { d.marks(&own, *first) } else { own }
            }
        };
        self.discrete.iter().map(&mut of).collect()
    }

    /// What a row has of these, cell by cell.
    fn row_of_values(&self, e: &Evaluator<'_>, all: &[Vec<f64>], row: usize) -> Vec<f64> {
        let of = |(d, numbers): (&Discrete, &Vec<f64>)| {
            let own = e.row_of(d.var, numbers, row);
            let (cells, values) = (own.len() / d.values.len().max(1), d.values.len());
            (0..cells).flat_map(|c| (0..values).map(move |v| c + cells * v)).map(|i| own[i]).collect::<Vec<f64>>()
        };
        self.discrete.iter().zip(all).flat_map(of).collect()
    }
}
