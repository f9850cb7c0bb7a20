//! Predictions: what each draw of a fit says of rows, those that were fitted or new ones.

use std::collections::HashMap;
use std::sync::Arc;

use super::tables::{cell, cell_names, unobserved};
use super::together::{Together, together};
use super::{Csv, Given, draw, draw_discrete, observed};
use crate::data::{self, Bound, DataFile, Inputs};
use crate::diag::{Code, Diags};
use crate::hir::{Content, Hir, PlateId, VarId, VarKind};
use crate::report::{Dim, ReportKind, ReportVar};

/// Everything that predictions are made from.
pub struct Predictor<'a> {
    pub hir: &'a Hir,
    /// The data of the fit.
    pub fitted: &'a Inputs,
    /// Files with new rows.
    pub new: &'a [DataFile],
    /// The draws of the fit: by the name of a cell, one number per draw.
    pub posterior: &'a HashMap<String, Vec<f64>>,
    pub draws: usize,
    pub seed: u64,
}

/// What was predicted.
pub struct Prediction {
    /// One per observed column; positions where the column is a category.
    pub vars: Vec<ReportVar>,
    /// For summaries: a category as one column per level, 1 where it is drawn.
    pub shown: Vec<ReportVar>,
    pub draws: usize,
    /// As text, a row per draw.
    pub csv: Csv,
}

impl Predictor<'_> {
    /// Predict, or say in `diags` why not.
    pub fn predict(&self, diags: &mut Diags) -> Option<Prediction> {
        let Together { inputs, first_new, found, .. } = together(self.hir, self.fitted, self.new, diags)?;
        let plain = unobserved(self.hir);
        let bound = data::bind(&plain, &inputs, diags)?;
        let columns = self.columns(&bound, diags)?;
        let counted: HashMap<PlateId, usize> =
            first_new.iter().map(|(table, n)| (self.hir.tables[*table].plate, *n)).collect();
        let known = self.known(&bound, &first_new, &found);
        // A single number is the same in every draw.
        let total = self.posterior.values().map(Vec::len).filter(|n| *n > 1).min().unwrap_or(1);
        let rounds = self.draws.min(total).max(1);
        let wanted: Vec<VarId> = observed(self.hir)
            .into_iter()
            .map(|o| o.0)
            .filter(|id| matches!(self.hir.var(*id).kind, VarKind::Column(_)))
            .filter(|id| {
                let table = self.table_of(*id);
                first_new.is_empty() || table.is_some_and(|t| first_new.contains_key(&t))
            })
            .collect();
        if wanted.is_empty() {
            diags.push(match super::undrawable(self.hir).into_iter().next() {
                Some(d) => d,
                None => Code::CANNOT_PREDICT
                    .plain("the model observes no column of these rows")
                    .help("give new rows of a table whose columns are observed"),
            });
            return None;
        }
        let at = |round: usize| round * total / rounds;
        let fitted = FittedCells::new(self, &bound, diags)?;
        let mut drawn: Vec<Vec<Vec<f64>>> = vec![vec![]; wanted.len()];
        let mut undrawn = None;
        let mut predict = |round: usize, discrete: HashMap<VarId, Vec<f64>>| {
            if undrawn.is_some() {
                return;
            }
            let mut values = known.clone();
            for (id, cells) in &columns {
                values.insert(
                    *id,
                    cells.iter().map(|c| c.map_or(f64::NAN, |c| c[if c.len() == 1 { 0 } else { at(round) }])).collect(),
                );
            }
            for (id, numbers) in discrete {
                let into = values.entry(id).or_default();
                fitted.places[&id].iter().zip(numbers).for_each(|(place, x)| place.iter().for_each(|p| into[*p] = x));
            }
            for missing in &self.hir.missing {
                let empty = bound.values.get(&missing.column).map(|v| v.missing()).unwrap_or_default();
                let (Some(filled), Some(column)) =
                    (values.get(&missing.cells).cloned(), values.get_mut(&missing.column))
                else {
                    continue;
                };
                match self.hir.discrete(missing.cells) {
                    Some(_) => empty.into_iter().for_each(|cell| column[cell] = filled[cell]),
                    None => empty.into_iter().zip(filled).for_each(|(cell, x)| column[cell] = x),
                }
            }
            let given = Given {
                hir: self.hir,
                bound: &bound,
                values: &values,
                kept: &HashMap::new(),
                counted: &counted,
                seed: self.seed,
                round: round as u64,
            };
            match draw(&given) {
                Ok(mut out) => {
                    for (id, into) in wanted.iter().zip(&mut drawn) {
                        into.push(out.observed.remove(id).map_or(vec![], |c| c.numbers));
                    }
                }
                Err(d) => undrawn = Some(d),
            }
        };
        // Those of the fitted rows follow from the fitted data; those of new rows are drawn with their rows.
        let mut given = |round: usize, id: VarId| fitted.numbers(id, self.posterior, at(round));
        draw_discrete(self.hir, &fitted.bound, self.seed, rounds, &mut given, &mut predict);
        if let Some(d) = undrawn {
            diags.push(d);
            return None;
        }
        let vars: Vec<ReportVar> =
            wanted.iter().zip(&drawn).map(|(id, draws)| self.var(*id, &bound, &first_new, draws)).collect();
        let shown = wanted.iter().zip(&vars).flat_map(|(id, v)| self.shown(*id, &bound, v)).collect();
        let csv = self.csv(&wanted, &vars, &bound, rounds);
        Some(Prediction { vars, shown, draws: rounds, csv })
    }

    fn table_of(&self, id: VarId) -> Option<usize> {
        self.hir.tables.iter().position(|t| t.columns.contains(&id))
    }

    /// Where the draws of each latent and param are found; new cells have none.
    fn columns(&self, bound: &Bound, diags: &mut Diags) -> Option<HashMap<VarId, Vec<Option<&Vec<f64>>>>> {
        let mut out = HashMap::new();
        for (i, v) in self.hir.vars.iter().enumerate() {
            let id = VarId(i as u32);
            if !self.hir.is_unknown(id) {
                continue;
            }
            let cells: Vec<Option<&Vec<f64>>> =
                cell_names(self.hir, bound, id).iter().map(|n| self.posterior.get(n)).collect();
            let missing = cells.iter().any(Option::is_none);
            if self.new.is_empty()
                && !cells.is_empty()
                && cells.iter().all(Option::is_none)
                && self.hir.discrete(id).is_none()
            {
                diags.push(
                    Code::CANNOT_PREDICT
                        .at(v.span, format!("the fit has kept no draws of `{}`", v.name))
                        .here("too many cells")
                        .help("`vic encode --reconstruct` gives what is expected of the fitted rows"),
                );
            }
            // Cells of one joint draw are all fitted or all new.
            let apart = v.axes.len() - v.joint;
            let size = |a: &crate::hir::AxisId| bound.size(self.hir.axis(*a).plate);
            let rows: usize = v.axes[..apart].iter().map(size).product();
            let split = v.joint > 0
                && (0..rows).any(|r| {
                    let fitted = cells.iter().skip(r).step_by(rows.max(1)).filter(|c| c.is_some()).count();
                    fitted > 0 && fitted < cells.len() / rows.max(1)
                });
            let param = missing && matches!(v.kind, VarKind::Param { .. });
            if split || param {
                let why = if param { "has no prior to draw from" } else { "is one joint draw" };
                diags.push(
                    Code::CANNOT_PREDICT
                        .at(
                            v.span,
                            format!("`{}` {why}, and the new rows need cells of it that were not fitted", v.name),
                        )
                        .here("fitted without them")
                        .help("fit the model with these rows among its data"),
                );
            }
            out.insert(id, cells);
        }
        (!diags.has_errors()).then_some(out)
    }

    /// The observed columns as far as they are data: of fitted rows, and of new rows whose file has them.
    fn known(&self, bound: &Bound, first_new: &HashMap<usize, usize>, found: &[VarId]) -> HashMap<VarId, Vec<f64>> {
        let mut out = HashMap::new();
        for (id, _) in observed(self.hir) {
            let Some(values) = bound.values.get(&id) else { continue };
            let mut numbers = values.numbers.to_vec();
            let Some(table) = self.table_of(id) else {
                out.insert(id, numbers);
                continue;
            };
            if let Some(first) = first_new.get(&table).filter(|_| !found.contains(&id)) {
                let rows = bound.size(self.hir.tables[table].plate);
                let new = numbers.iter_mut().enumerate().filter(|(i, _)| i % rows >= *first);
                new.for_each(|(_, x)| *x = f64::NAN);
            }
            out.insert(id, numbers);
        }
        out
    }

    /// The draws of one column, of the new rows if there are any.
    fn var(&self, id: VarId, bound: &Bound, first_new: &HashMap<usize, usize>, draws: &[Vec<f64>]) -> ReportVar {
        let v = self.hir.var(id);
        let table = self.table_of(id).unwrap_or(0);
        let rows = bound.size(self.hir.tables[table].plate);
        let first = first_new.get(&table).copied().unwrap_or(0);
        let mut dims: Vec<Dim> = v
            .axes
            .iter()
            .map(|a| {
                let plate = self.hir.axis(*a).plate;
                Dim { plate: self.hir.plate(plate).name.clone(), labels: bound.plate(plate).labels.clone() }
            })
            .collect();
        dims[0].labels = match self.hir.tables[table].key {
            Some(_) => dims[0].labels[first..].into(),
            None => (1..=rows - first).map(|i| i.to_string()).collect::<Arc<[String]>>(),
        };
        let cells: Vec<usize> = (0..rows * dims[1..].iter().map(|d| d.labels.len()).product::<usize>())
            .filter(|c| c % rows >= first)
            .collect();
        let draws = cells.iter().flat_map(|c| draws.iter().map(|d| d.get(*c).copied().unwrap_or(f64::NAN))).collect();
        ReportVar { name: v.name.clone(), kind: ReportKind::Report, dims, draws }
    }

    fn shown(&self, id: VarId, bound: &Bound, v: &ReportVar) -> Vec<ReportVar> {
        let VarKind::Column(column) = &self.hir.var(id).kind else { return vec![] };
        let Content::Index(plate) = column.content else { return vec![v.clone()] };
        let level = |(k, label): (usize, &String)| ReportVar {
            name: format!("{} is {label}", v.name),
            draws: v.draws.iter().map(|x| f64::from(*x == k as f64)).collect(),
            ..v.clone()
        };
        bound.plate(plate).labels.iter().enumerate().map(level).collect()
    }

    fn csv(&self, ids: &[VarId], vars: &[ReportVar], bound: &Bound, draws: usize) -> Csv {
        let header = vars.iter().flat_map(|v| (0..v.cells()).map(|c| v.cell_name(c))).collect();
        let row = |d: usize| {
            let mut cells = vec![];
            for (id, v) in ids.iter().zip(vars) {
                let VarKind::Column(column) = &self.hir.var(*id).kind else { continue };
                cells.extend((0..v.cells()).map(|c| cell(bound, column, v.draws[c * draws + d])));
            }
            cells
        };
        Csv { header, rows: (0..draws).map(row).collect() }
    }
}

/// The data of the fit alone, and where its cells stand among all rows.
struct FittedCells {
    bound: Bound,
    names: HashMap<VarId, Vec<String>>,
    /// Of each discrete latent, cell by cell; a cell of the fit may be none of the rows together.
    places: HashMap<VarId, Vec<Option<usize>>>,
}

impl FittedCells {
    /// Binds nothing where no discrete latent is to be drawn from what was fitted.
    fn new(predictor: &Predictor<'_>, all: &Bound, diags: &mut Diags) -> Option<FittedCells> {
        let hir = predictor.hir;
        if hir.discrete.is_empty() {
            return Some(FittedCells { bound: Bound::default(), names: HashMap::new(), places: HashMap::new() });
        }
        let bound = data::bind(hir, predictor.fitted, diags)?;
        let own = |id: &VarId| hir.is_unknown(*id);
        let names: HashMap<VarId, Vec<String>> =
            (0..hir.vars.len() as u32).map(VarId).filter(own).map(|id| (id, cell_names(hir, &bound, id))).collect();
        let places = hir.discrete.iter().map(|d| {
            let together = cell_names(hir, all, d.var);
            let at: HashMap<&str, usize> = together.iter().enumerate().map(|(i, n)| (n.as_str(), i)).collect();
            (d.var, names[&d.var].iter().map(|n| at.get(n.as_str()).copied()).collect())
        });
        Some(FittedCells { places: places.collect(), bound, names })
    }

    /// What a draw of the fit says of a latent or param.
    fn numbers(&self, id: VarId, posterior: &HashMap<String, Vec<f64>>, draw: usize) -> Vec<f64> {
        let of = |d: &Vec<f64>| if d.len() == 1 { d.first().copied() } else { d.get(draw).copied() };
        let one = |name: &String| posterior.get(name).and_then(of).unwrap_or(f64::NAN);
        self.names.get(&id).map_or(vec![], |names| names.iter().map(one).collect())
    }
}
