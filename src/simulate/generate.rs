//! New rows from a fit: what rows share as fitted, each row's latents from their prior, then its columns.

use std::collections::HashMap;

use super::tables::{cell_names, fields, write};
use super::{Csv, Given, Together, draw, needed, observed, together};
use crate::check::walk;
use crate::data::{self, DataFile, Inputs, Values};
use crate::diag::{Code, Diags, counted};
use crate::hir::{AxisId, Column, Expr, ExprKind, From, GuideLine, Hir, PlateId, Step, VarId, VarKind};

/// Rows that are generated unless so many are asked for.
const ROWS: usize = 100;

/// Everything that rows are generated from.
pub struct Generator<'a> {
    pub hir: &'a Hir,
    /// The data of the fit.
    pub fitted: &'a Inputs,
    /// A file with the covariates of the rows.
    pub new: &'a [DataFile],
    /// The draws of the fit, by the name of a cell.
    pub posterior: &'a HashMap<String, Vec<f64>>,
    /// If they are asked for; a file has its own.
    pub rows: Option<usize>,
    /// By column: what is written in its place, such as its expected value.
    pub instead: &'a [(VarId, VarId)],
    pub seed: u64,
}

/// Rows as text, and the observed columns as numbers.
pub struct Generated {
    pub csv: Csv,
    pub columns: Vec<(VarId, Values)>,
}

impl Generator<'_> {
    /// Generate, or say in `diags` why not.
    pub fn generate(&self, diags: &mut Diags) -> Option<Generated> {
        let fitted = needed(self.hir, self.fitted);
        Generator { fitted: &fitted, ..*self }.made(diags)
    }

    fn made(&self, diags: &mut Diags) -> Option<Generated> {
        let hir = self.hir;
        super::undrawable(hir).into_iter().for_each(|d| diags.push(d));
        if diags.has_errors() {
            return None;
        }
        let shared: Vec<VarId> = self.unknowns().filter(|v| hir.discrete(*v).is_none()).collect();
        // What is fitted to a point is the same in all draws; of what is drawn, each draw makes rows of its own.
        let drawn = |n: &Vec<f64>| n.iter().any(|x| *x != n[0]);
        let (table, file) = self.placeholders(1, diags)?;
        let plate = hir.tables[table].plate;
        let own = |v: &VarId| hir.var(*v).axes.iter().any(|a| hir.axis(*a).plate == plate);
        let prefix = |name: &str, v: &VarId| name.split('[').next() == Some(hir.var(*v).name.as_str());
        let common: Vec<VarId> = shared.iter().copied().filter(|v| !own(v)).collect();
        let varying = self.posterior.iter().filter(|(name, _)| common.iter().any(|v| prefix(name, v)));
        let draws = varying.filter(|(_, n)| drawn(n)).map(|(_, n)| n.len()).max().unwrap_or(1);
        let given = !self.new.is_empty();
        let asked = self.rows.unwrap_or(ROWS);
        let rounds = if given { 1 } else { draws.min(asked) };
        let each = asked.div_ceil(rounds.max(1));
        let file = if given { file } else { self.placeholders(each, diags)?.1 };
        let Together { inputs, first_new, .. } = together(hir, self.fitted, std::slice::from_ref(&file), diags)?;
        if let ([file], Some(n)) = (self.new, self.rows) {
            let help = format!(
                "leave out `-n {n}`: each row of the file gives one; or give a file with {}",
                counted(n, "row")
            );
            diags.push(super::tables::rows_of_file(&hir.tables[table], file, &help));
            return None;
        }
        let first = first_new[&table];
        let mut bound = data::bind(&super::tables::unobserved(hir), &inputs, diags)?;
        let names: HashMap<VarId, Vec<String>> = shared.iter().map(|v| (*v, cell_names(hir, &bound, *v))).collect();
        let total = bound.size(plate);
        let counted = HashMap::from([(plate, first)]);
        let apart = !looks_across(hir, plate);
        if apart {
            bound.keep_rows(hir, plate, &(first..total).collect::<Vec<_>>());
        }
        let mut csv = Csv::of(&file)?;
        let columns: Vec<VarId> = observed(hir).into_iter().map(|o| o.0).filter(own).collect();
        let mut numbers: Vec<Vec<Vec<f64>>> = vec![vec![]; columns.len()];
        for round in 0..rounds {
            let values =
                self.values(&names, plate, &columns, &bound, (!apart).then_some(first), round * draws / rounds);
            if let Some(missing) = values.iter().find(|(v, n)| common.contains(v) && n.iter().any(|x| x.is_nan())) {
                let at = missing.1.iter().position(|x| x.is_nan()).unwrap_or(0);
                let name = cell_names(hir, &bound, *missing.0).swap_remove(at);
                diags.push(
                    Code::CANNOT_PREDICT
                        .at(
                            hir.var(*missing.0).span,
                            format!("the rows need `{name}`, and the fit has no numbers for it"),
                        )
                        .here("fitted without it")
                        .help("leave these rows out, or fit the model with rows of theirs among its data"),
                );
                return None;
            }
            let kept = HashMap::new();
            let empty = HashMap::new();
            let counted = if apart { &empty } else { &counted };
            let round = round as u64;
            let given = Given { hir, bound: &bound, values: &values, kept: &kept, counted, seed: self.seed, round };
            let drawn = draw(&given).map_err(|d| diags.push(d)).ok()?;
            for (id, into) in columns.iter().zip(&mut numbers) {
                let from = self.instead.iter().find(|i| i.0 == *id).map_or(*id, |i| i.1);
                into.push(drawn.values.get(&from).map_or(vec![], |c| c.numbers.clone()));
            }
        }
        if !apart {
            bound.keep_rows(hir, plate, &(first..total).collect::<Vec<_>>());
        }
        let n = if given { total - first } else { asked };
        let rows = total - first;
        let skipped = if apart { 0 } else { first };
        let columns: Vec<(VarId, Values)> = columns
            .iter()
            .zip(&numbers)
            .map(|(id, rounds)| (*id, stacked(hir, &bound, *id, rounds, rows, skipped, n)))
            .collect();
        csv.rows = (0..n).map(|r| csv.rows[r % rows].clone()).collect();
        bound.keep_rows(hir, plate, &(0..n).map(|r| r % rows).collect::<Vec<_>>());
        let key = key_name(hir, &hir.tables[table]).filter(|_| !given);
        if let Some(key) = key {
            csv.put(&key, (1..=n).map(|i| i.to_string()));
        }
        for (id, values) in &columns {
            write(hir, &bound, *id, &values.numbers, &mut csv);
        }
        let csv = if given { csv } else { declared(hir, table, &csv) };
        Some(Generated { csv, columns })
    }

    fn unknowns(&self) -> impl Iterator<Item = VarId> {
        (0..self.hir.vars.len() as u32).map(VarId).filter(|v| self.hir.is_unknown(*v))
    }

    /// Rows to be drawn into: those of the file with covariates, or so many copies of a fitted row.
    fn placeholders(&self, rows: usize, diags: &mut Diags) -> Option<(usize, DataFile)> {
        let hir = self.hir;
        if let [file] = self.new {
            let table = match &file.table {
                Some(name) => hir.tables.iter().position(|t| t.name == *name),
                None => (hir.tables.len() == 1).then_some(0),
            };
            return Some((table.unwrap_or(0), file.clone()));
        }
        let seen: Vec<VarId> = observed(hir).into_iter().map(|o| o.0).collect();
        let with_observed = |t: &&crate::hir::Table| t.columns.iter().any(|c| seen.contains(c));
        let tables: Vec<&crate::hir::Table> = hir.tables.iter().filter(with_observed).collect();
        let [table] = tables.as_slice() else {
            diags.push(
                Code::SIMULATE_NEEDS_DATA
                    .plain(format!("{} tables are observed: rows of which are to be generated?", tables.len()))
                    .help("give a file with what is not observed of one of them: `TABLE=FILE`"),
            );
            return None;
        };
        super::tables::without_covariates(hir, table, &seen, diags)?;
        let at = hir.tables.iter().position(|t| t.name == table.name)?;
        let old = self.fitted.files.iter().find(|f| f.table.as_ref().is_none_or(|t| *t == table.name))?;
        let fitted = Csv::of(old)?;
        let row = fitted.rows.first()?.clone();
        let mut csv = Csv { header: fitted.header.clone(), rows: vec![row; rows] };
        if let Some(key) = key_name(hir, table) {
            csv.put(&key, (1..=rows).map(|i| format!("new row {i}")));
        }
        Some((
            at,
            DataFile { table: Some(table.name.clone()), name: "new rows".into(), bytes: csv.text().into_bytes() },
        ))
    }

    /// What is known before a round: what rows share, and the fitted rows, so many, if they matter.
    fn values(
        &self,
        names: &HashMap<VarId, Vec<String>>,
        plate: PlateId,
        columns: &[VarId],
        bound: &data::Bound,
        fitted: Option<usize>,
        draw: usize,
    ) -> HashMap<VarId, Vec<f64>> {
        let hir = self.hir;
        let first = fitted.unwrap_or(0);
        let mut values = HashMap::new();
        for (id, names) in names {
            let own = hir.var(*id).axes.iter().any(|a| hir.axis(*a).plate == plate);
            if own && fitted.is_none() {
                continue;
            }
            let number = |n: &String| self.posterior.get(n).map_or(f64::NAN, |d| d[draw.min(d.len() - 1)]);
            values.insert(*id, names.iter().map(number).collect());
        }
        for id in columns {
            let Some(known) = bound.values.get(id) else { continue };
            let rows = bound.size(plate).max(1);
            let number = |(i, x): (usize, &f64)| if i % rows < first { *x } else { f64::NAN };
            values.insert(*id, known.numbers.iter().enumerate().map(number).collect());
        }
        values
    }
}

/// The new rows of all rounds, one below the other, as many as asked for. Rows are the first dimension of a column.
fn stacked(
    hir: &Hir,
    bound: &data::Bound,
    id: VarId,
    rounds: &[Vec<f64>],
    rows: usize,
    skipped: usize,
    n: usize,
) -> Values {
    let others: Vec<usize> = hir.var(id).axes[1..].iter().map(|a| bound.size(hir.axis(*a).plate)).collect();
    let cells: usize = others.iter().product();
    let mut numbers = vec![0.0; n * cells];
    for r in 0..n {
        for c in 0..cells {
            numbers[r + n * c] = rounds[r / rows][skipped + r % rows + (skipped + rows) * c];
        }
    }
    Values { dims: [vec![n], others].concat(), numbers: numbers.into() }
}

/// What the key of a table is called in its file.
fn key_name(hir: &Hir, table: &crate::hir::Table) -> Option<String> {
    match &hir.var(table.key?).kind {
        VarKind::Column(Column { from: From::Name(name), .. }) => Some(name.clone()),
        _ => None,
    }
}

/// The columns that the model declares.
fn declared(hir: &Hir, table: usize, csv: &Csv) -> Csv {
    let names = hir.tables[table].columns.iter().filter_map(|c| match &hir.var(*c).kind {
        VarKind::Column(column) => fields(column, &csv.header),
        _ => None,
    });
    let places: Vec<usize> = names.flatten().filter_map(|n| csv.place(&n)).collect();
    let pick = |row: &Vec<String>| places.iter().map(|p| row[*p].clone()).collect::<Vec<_>>();
    Csv { header: pick(&csv.header), rows: csv.rows.iter().map(pick).collect() }
}

/// Whether the model looks at several rows at once, or at their number.
pub(super) fn looks_across(hir: &Hir, plate: PlateId) -> bool {
    let rows = |a: &AxisId| hir.axis(*a).plate == plate;
    let joint = |s: &Step| match s {
        Step::Latent { var, .. } => hir.var(*var).axes.iter().rev().take(hir.var(*var).joint).any(rows),
        Step::Observe { over, .. } => over.iter().any(rows),
        Step::Param { .. } | Step::Let { .. } | Step::Factor { .. } => false,
    };
    let mut found = !hir.recurrences.is_empty() || !hir.walks.is_empty() || hir.steps.iter().any(joint);
    let mut look = |e: &Expr| {
        walk(e, &mut |e| match &e.kind {
            ExprKind::Reduce { axes, .. } => found |= axes.iter().any(|a| hir.axis(*a).plate == plate),
            ExprKind::Matrix { axes, .. } => found |= axes.iter().any(|a| hir.axis(*a).plate == plate),
            ExprKind::Size(p) => found |= *p == plate,
            ExprKind::Position(a) => found |= hir.axis(*a).plate == plate,
            _ => {}
        });
    };
    for step in &hir.steps {
        match step {
            Step::Latent { dist, .. } => super::draw::dist_expressions(dist, &mut look),
            Step::Let { value, .. } => look(value),
            Step::Observe { target, filter, dist, .. } => {
                look(target);
                filter.iter().for_each(&mut look);
                super::draw::dist_expressions(dist, &mut look);
            }
            Step::Factor { value, .. } => look(value),
            Step::Param { .. } => {}
        }
    }
    for line in hir.written.iter().flat_map(|w| &w.lines) {
        match line {
            GuideLine::Own(Step::Let { value, .. }) => look(value),
            GuideLine::Draw { dist, .. } => super::draw::dist_expressions(dist, &mut look),
            GuideLine::Own(_) | GuideLine::Family { .. } => {}
        }
    }
    found
}
