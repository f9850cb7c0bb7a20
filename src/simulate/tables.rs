//! Data sets from the prior predictive: tables of so many rows or with given covariates, their observed columns drawn.

use std::collections::{HashMap, HashSet};

use super::{Csv, Given, draw, number, observed};
use crate::data::{self, Bound, DataFile, Inputs};
use crate::diag::{Code, Diagnostic, Diags, nearest};
use crate::hir::{Column, Constraint, Content, ExprKind, From, Hir, PlateKind, Step, Table, VarId, VarKind};

/// How many rows tables without a file get.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// `--rows 100`
    pub every: Option<usize>,
    /// `--rows houses=100`
    pub of: Vec<(String, usize)>,
}

impl Rows {
    /// As the flags of a command say: a number for one table, or for all.
    pub fn asked(flags: &[(Option<String>, usize)]) -> Rows {
        let mut rows = Rows::default();
        for (table, n) in flags {
            match table {
                Some(table) => rows.of.push((table.clone(), *n)),
                None => rows.every = Some(*n),
            }
        }
        rows
    }
}

/// A simulated data set, and what it was made from.
#[derive(Clone, Debug)]
pub struct Simulation {
    /// By the name of the table.
    pub tables: Vec<(String, Csv)>,
    /// Observed data values beside the tables, by their keys.
    pub json: Option<String>,
    /// Latents, params and reports, by the name of each cell.
    pub truth: Vec<(String, f64)>,
}

/// Draw one data set. `None`: `diags` says why not.
pub fn simulate(hir: &Hir, inputs: &Inputs, rows: &Rows, seed: u64, diags: &mut Diags) -> Option<Simulation> {
    super::undrawable(hir).into_iter().for_each(|d| diags.push(d));
    if diags.has_errors() {
        return None;
    }
    let mut sheets = sheets(hir, inputs, rows, diags)?;
    let of_latent = |set: &&(String, String)| latent(hir, &set.0).is_some();
    let (fixed, sets): (Vec<_>, Vec<_>) = inputs.sets.iter().partition(of_latent);
    let files = sheets.iter().zip(&hir.tables).map(|(sheet, table)| DataFile {
        table: Some(table.name.clone()),
        name: sheet.file.clone(),
        bytes: sheet.csv.text().into_bytes(),
    });
    let plain = Inputs { files: files.collect(), sets: sets.into_iter().cloned().collect() };
    let mut open = unobserved(hir);
    let of_no_table = |id: &VarId| matches!(hir.var(*id).kind, VarKind::DataValue { .. });
    let beside: Vec<VarId> = observed(hir).into_iter().map(|o| o.0).filter(of_no_table).collect();
    // No file has them yet.
    beside.iter().for_each(|id| open.vars[id.0 as usize].kind = VarKind::Latent);
    let bound = data::bind(&open, &plain, diags)?;
    let mut values = HashMap::new();
    for (name, text) in fixed {
        match fix(hir, &bound, name, text, &mut values) {
            Ok(()) => {}
            Err(d) => diags.push(d),
        }
    }
    values.iter().filter_map(|(id, numbers)| whole(hir, &bound, *id, numbers)).for_each(|d| diags.push(d));
    if diags.has_errors() {
        return None;
    }
    let found: HashSet<VarId> = sheets.iter().flat_map(|s| s.found.iter().copied()).collect();
    let kept = bound.values.iter().filter(|(id, _)| found.contains(id));
    let kept = kept.map(|(id, v)| (*id, v.numbers.to_vec())).collect();
    let given = Given { hir, bound: &bound, values: &values, kept: &kept, counted: &HashMap::new(), seed, round: 0 };
    let drawn = draw(&given).map_err(|d| diags.push(d)).ok()?;
    for (sheet, table) in sheets.iter_mut().zip(&hir.tables) {
        for (id, _) in observed(hir) {
            if table.columns.contains(&id)
                && let Some(cells) = drawn.values.get(&id)
            {
                write(hir, &bound, id, &cells.numbers, &mut sheet.csv);
            }
        }
    }
    let shown = |id: &VarId| hir.is_unknown(*id) || hir.reports.contains(id);
    let mut truth = vec![];
    for id in (0..hir.vars.len() as u32).map(VarId).filter(shown) {
        let names = cell_names(hir, &bound, id);
        let numbers = drawn.values.get(&id).map_or(&[][..], |c| &c.numbers);
        truth.extend(names.into_iter().zip(numbers.iter().copied()));
    }
    let of_key = |id: &VarId| {
        let VarKind::DataValue { key, .. } = &hir.var(*id).kind else { return None };
        let cells = drawn.values.get(id)?;
        let dims: Vec<usize> = cells.axes.iter().map(|a| bound.size(hir.axis(*a).plate)).collect();
        Some(format!("  \"{}\": {}", key.replace('"', "\\\""), nested(&cells.numbers, &dims, 0, 1)))
    };
    let keys: Vec<String> = beside.iter().filter_map(of_key).collect();
    let json = (!keys.is_empty()).then(|| format!("{{\n{}\n}}\n", keys.join(",\n")));
    let tables = hir.tables.iter().zip(sheets).map(|(t, s)| (t.name.clone(), s.csv)).collect();
    Some(Simulation { tables, json, truth })
}

/// Lists nest in the order of the plates, of which the first is contiguous in memory.
fn nested(numbers: &[f64], dims: &[usize], at: usize, stride: usize) -> String {
    match dims {
        [] => number(numbers[at]),
        [n, rest @ ..] => {
            let items: Vec<String> = (0..*n).map(|i| nested(numbers, rest, at + stride * i, stride * n)).collect();
            format!("[{}]", items.join(", "))
        }
    }
}

/// A table before its observed columns are drawn.
struct Sheet {
    /// What messages call it.
    file: String,
    csv: Csv,
    /// The observed columns that a file holds already.
    found: Vec<VarId>,
}

/// The program without its observations, whose columns may hold anything: what data are bound to before a draw.
pub(super) fn unobserved(hir: &Hir) -> Hir {
    let mut plain = hir.clone();
    for (id, _) in observed(hir) {
        plain.vars[id.0 as usize].constraint = Constraint::None;
    }
    plain.steps.retain(|s| !matches!(s, Step::Observe { .. }));
    plain
}

/// Every table with its given rows, or with as many new ones as asked for; observed columns that are not there hold
/// anything.
fn sheets(hir: &Hir, inputs: &Inputs, rows: &Rows, diags: &mut Diags) -> Option<Vec<Sheet>> {
    let open: Vec<&Table> =
        hir.tables.iter().filter(|t| !inputs.files.iter().any(|f| f.table.as_deref() == Some(&t.name))).collect();
    let unnamed = inputs.files.iter().filter(|f| f.table.is_none()).count();
    let known = |f: &DataFile| f.table.as_ref().is_none_or(|t| hir.tables.iter().any(|x| x.name == *t));
    if unnamed > 1 || unnamed > open.len() || unnamed == 1 && open.len() > 1 || !inputs.files.iter().all(known) {
        // Which file belongs to which table is said as it is for a fit.
        data::bind(hir, inputs, diags);
        return None;
    }
    for (table, _) in &rows.of {
        if !hir.tables.iter().any(|t| t.name == *table) {
            let d = Code::DATA_UNKNOWN_TABLE.plain(format!("`--rows {table}=…`: the model has no table `{table}`"));
            diags.push(match nearest(table, hir.tables.iter().map(|t| t.name.as_str())) {
                Some(near) => d.help(format!("did you mean `{near}`?")),
                None => d.help("name a table that the model declares"),
            });
        }
    }
    let mut out = vec![];
    let mut used = false;
    for table in &hir.tables {
        let file = inputs.files.iter().find(|f| {
            f.table.as_ref().is_none_or(|t| *t == table.name) && {
                f.table.is_some() || open.iter().any(|o| o.name == table.name)
            }
        });
        let count = rows.of.iter().find(|r| r.0 == table.name).map(|r| r.1);
        let sheet = match (file, count.or(rows.every)) {
            (Some(file), _) if count.is_some() => {
                diags.push(rows_of_file(table, file, "leave out `--rows`, or the file"));
                continue;
            }
            (Some(file), _) => given(hir, table, file, diags),
            (None, Some(n)) => {
                used = true;
                new(hir, table, n, diags)
            }
            (None, None) => {
                diags.push(
                    Code::SIMULATE_NEEDS_DATA
                        .at(table.span, format!("how many rows has `{}`?", table.name))
                        .here("has no data file")
                        .help("add `--rows N`, or a file with the columns that are not observed"),
                );
                continue;
            }
        };
        out.extend(sheet);
    }
    if rows.every.is_some() && !used && !diags.has_errors() {
        diags.push(
            Code::SIMULATE_NEEDS_DATA
                .plain("`--rows`: every table has its rows from a file")
                .help("leave out `--rows`, or a file"),
        );
    }
    (!diags.has_errors() && out.len() == hir.tables.len()).then_some(out)
}

/// So many rows are asked for of a table whose file has its own.
pub(super) fn rows_of_file(table: &Table, file: &DataFile, help: &str) -> Diagnostic {
    let text = format!("`{}` has its rows from `{}`, and cannot be given others", table.name, file.name);
    Code::SIMULATE_NEEDS_DATA.at(table.span, text).here("its rows are those of the file").help(help)
}

/// The rows of a file.
fn given(hir: &Hir, table: &Table, file: &DataFile, diags: &mut Diags) -> Option<Sheet> {
    let Some(mut csv) = Csv::of(file).filter(|c| !c.rows.is_empty()) else {
        // What is wrong with it is said as it is for a fit.
        let only = Inputs { files: vec![DataFile { table: Some(table.name.clone()), ..file.clone() }], sets: vec![] };
        data::bind(hir, &only, diags);
        return None;
    };
    let mut found = vec![];
    for (id, _) in observed(hir).into_iter().filter(|o| table.columns.contains(&o.0)) {
        match fill(hir, id, &mut csv) {
            Some(true) => found.push(id),
            Some(false) => {}
            None => diags.push(needs_column(hir, id, &file.name)),
        }
    }
    Some(Sheet { file: file.name.clone(), csv, found })
}

/// Add the fields of an observed column that are not there, with anything in them. `None`: which they are, or what they
/// may hold, only data can say. Whether all of them were there.
pub(super) fn fill(hir: &Hir, id: VarId, csv: &mut Csv) -> Option<bool> {
    let VarKind::Column(column) = &hir.var(id).kind else { return None };
    let names = fields(column, &csv.header)?;
    let missing: Vec<&String> = names.iter().filter(|n| csv.place(n).is_none()).collect();
    if missing.is_empty() {
        return Some(true);
    }
    let anything = anything(hir, column)?;
    for name in missing {
        let cells = vec![anything.clone(); csv.rows.len()];
        csv.put(name, cells.into_iter());
    }
    Some(false)
}

/// As many new rows as asked for.
fn new(hir: &Hir, table: &Table, rows: usize, diags: &mut Diags) -> Option<Sheet> {
    let seen: Vec<VarId> = observed(hir).into_iter().map(|o| o.0).collect();
    without_covariates(hir, table, &seen, diags)?;
    let mut csv = Csv { header: vec![], rows: vec![vec![]; rows] };
    if let Some(key) = table.key
        && let VarKind::Column(Column { from: From::Name(name), .. }) = &hir.var(key).kind
    {
        csv.put(name, (1..=rows).map(|i| i.to_string()));
    }
    for id in table.columns.iter().filter(|c| seen.contains(c)) {
        if fill(hir, *id, &mut csv).is_none() {
            diags.push(needs_column(hir, *id, ""));
        }
    }
    Some(Sheet { file: format!("{}.csv", table.name), csv, found: vec![] })
}

/// Rows can be made up only of a table all of whose columns are observed.
pub(super) fn without_covariates(hir: &Hir, table: &Table, seen: &[VarId], diags: &mut Diags) -> Option<()> {
    let needed: Vec<VarId> =
        table.columns.iter().copied().filter(|c| !seen.contains(c) && Some(*c) != table.key).collect();
    if let Some(first) = needed.first() {
        let names: Vec<String> = needed.iter().map(|c| format!("`{}`", hir.var(*c).name)).collect();
        let (are, them) = if names.len() == 1 { ("is", "it") } else { ("are", "them") };
        diags.push(
            Code::SIMULATE_NEEDS_DATA
                .at(
                    hir.var(*first).span,
                    format!(
                        "{} of `{}` {are} not observed, so that a simulation cannot draw {them}",
                        names.join(", "),
                        table.name
                    ),
                )
                .here("a covariate")
                .help(format!(
                    "give a file with {them}: `{0}={0}.csv`; its rows are those of the simulation",
                    table.name
                )),
        );
        return None;
    }
    Some(())
}

fn needs_column(hir: &Hir, id: VarId, file: &str) -> Diagnostic {
    let v = hir.var(id);
    let index = matches!(&v.kind, VarKind::Column(c) if matches!(c.content, Content::Index(_)));
    let why = if index { "its levels are found in data" } else { "which columns it has is found in a header" };
    let place = if file.is_empty() { "a data file".to_string() } else { format!("`{file}`") };
    Code::SIMULATE_NEEDS_DATA
        .at(v.span, format!("`{}` needs columns to be drawn into, and {place} has none", v.name))
        .here(why)
        .help(match index {
            true => {
                format!("add the column to the file, or fix the levels: `{}: category [\"low\", \"high\"]`", v.name)
            }
            false => "add the columns to the file, or name them: `from [\"a\", \"b\"]`".to_string(),
        })
}

/// The names in the header of a column's fields; `None` if only the header can tell, and does not.
pub(super) fn fields(column: &Column, header: &[String]) -> Option<Vec<String>> {
    match &column.from {
        From::Name(name) => Some(vec![name.clone()]),
        From::List(names) => Some(names.clone()),
        From::Pattern(pattern) => {
            let (before, after) = pattern.split_once('*')?;
            let label =
                |h: &&String| h.strip_prefix(before).and_then(|r| r.strip_suffix(after)).is_some_and(|l| !l.is_empty());
            let names: Vec<String> = header.iter().filter(label).cloned().collect();
            (!names.is_empty()).then_some(names)
        }
        From::Range(first, last) => {
            let place = |n: &String| header.iter().position(|h| h == n);
            header.get(place(first)?..=place(last)?).map(<[String]>::to_vec)
        }
    }
}

/// A cell that reads as the type of a column.
fn anything(hir: &Hir, column: &Column) -> Option<String> {
    Some(match column.content {
        Content::Real | Content::Int | Content::Bool => "0".into(),
        Content::Date => "2000-01-01".into(),
        Content::Key => return None,
        Content::Index(plate) => match &hir.plate(plate).kind {
            PlateKind::Levels { fixed: Some(levels), .. } => levels.first()?.clone(),
            PlateKind::Levels { fixed: None, .. }
            | PlateKind::Rows(_)
            | PlateKind::Header { .. }
            | PlateKind::Sized(_)
            | PlateKind::Range(..)
            | PlateKind::Labels(_)
            | PlateKind::Missing(_)
            | PlateKind::Without { .. }
            | PlateKind::Triangle { .. }
            | PlateKind::Power { .. }
            | PlateKind::OneLess(_) => return None,
        },
    })
}

/// Put the numbers of a column into its fields.
pub fn write(hir: &Hir, bound: &Bound, id: VarId, numbers: &[f64], csv: &mut Csv) {
    let var = hir.var(id);
    let VarKind::Column(column) = &var.kind else { return };
    let Some(names) = fields(column, &csv.header) else { return };
    let rows = csv.rows.len();
    let labels: Option<Vec<String>> = var.axes.get(1).map(|a| bound.plate(hir.axis(*a).plate).labels.to_vec());
    for (k, name) in names.iter().enumerate() {
        let label = match &column.from {
            From::Pattern(pattern) => {
                let (before, after) = pattern.split_once('*').unwrap_or((pattern, ""));
                name.strip_prefix(before).and_then(|r| r.strip_suffix(after)).unwrap_or(name)
            }
            From::Name(_) | From::List(_) | From::Range(..) => name,
        };
        // A plate declared elsewhere has an order of its own, or numbers that are filled in order.
        let k = labels.as_ref().and_then(|l| l.iter().position(|x| x == label)).unwrap_or(k);
        csv.put(name, (0..rows).map(|r| cell(bound, column, numbers[r + rows * k])));
    }
}

/// A number as it stands in a file.
pub(super) fn cell(bound: &Bound, column: &Column, x: f64) -> String {
    match column.content {
        Content::Index(plate) => bound.plate(plate).labels.get(x as usize).cloned().unwrap_or_default(),
        Content::Real | Content::Int | Content::Bool | Content::Key | Content::Date => number(x),
    }
}

/// The names of a variable's cells: `tau`, `theta[Choate]`, `u[3, slope]`.
pub fn cell_names(hir: &Hir, bound: &Bound, id: VarId) -> Vec<String> {
    let var = hir.var(id);
    let mut names = vec![String::new()];
    for axis in &var.axes {
        let labels = &bound.plate(hir.axis(*axis).plate).labels;
        let longer = |label: &String| {
            let comma = |n: &String| if n.is_empty() { label.clone() } else { format!("{n}, {label}") };
            names.iter().map(comma).collect::<Vec<_>>()
        };
        names = labels.iter().flat_map(longer).collect();
    }
    if var.axes.is_empty() {
        return vec![var.name.clone()];
    }
    names.into_iter().map(|n| format!("{}[{n}]", var.name)).collect()
}

/// The latent or param that `--set NAME=…` or `--set NAME[label]=…` names.
fn latent(hir: &Hir, name: &str) -> Option<VarId> {
    let name = name.split('[').next().unwrap_or(name).trim();
    let own = |id: &VarId| hir.var(*id).name == name && hir.is_unknown(*id);
    (0..hir.vars.len() as u32).map(VarId).find(own)
}

/// Cells that are bound to each other are given together: one among drawn ones would not fit.
fn whole(hir: &Hir, bound: &Bound, id: VarId, numbers: &[f64]) -> Option<Diagnostic> {
    let var = hir.var(id);
    let what = match var.constraint {
        Constraint::Simplex => "its cells sum to 1",
        Constraint::Matrix(_) => "its cells are one matrix",
        Constraint::UnitVector => "its cells are one direction",
        Constraint::ZeroSum => "its cells sum to 0",
        Constraint::None
        | Constraint::Lower { .. }
        | Constraint::Upper { .. }
        | Constraint::Interval { .. }
        | Constraint::Ordered { .. } => return None,
    };
    let cell = numbers.iter().position(|x| x.is_nan())?;
    let name = &cell_names(hir, bound, id)[cell];
    let d = Code::DATA_SET_VALUE
        .at(var.span, format!("`--set` gives some cells of `{}` a value, and not `{name}`", var.name))
        .here(what)
        .help(format!("give all cells of `{}`, or none", var.name));
    Some(d)
}

/// Give a latent, or one cell of it, its value.
fn fix(
    hir: &Hir,
    bound: &Bound,
    name: &str,
    text: &str,
    values: &mut HashMap<VarId, Vec<f64>>,
) -> Result<(), Diagnostic> {
    let Some(id) = latent(hir, name) else { return Ok(()) };
    let var = hir.var(id);
    let given = format!("--set {name}={text}");
    let bad = |message: String| Code::DATA_SET_VALUE.at(var.span, message);
    let names = cell_names(hir, bound, id);
    let Some(x) = text.parse().ok().filter(|x: &f64| x.is_finite()) else {
        return Err(bad(format!("`{given}`: `{text}` is not a number"))
            .help(format!("write `--set {name}=VALUE` with a number")));
    };
    let outside = |e: &crate::hir::Expr, below: bool| match e.kind {
        ExprKind::Number(end) => {
            if below {
                x < end
            } else {
                x > end
            }
        }
        _ => false,
    };
    let out = match &var.constraint {
        Constraint::Lower { bound, .. } => outside(bound, true),
        Constraint::Upper { bound, .. } => outside(bound, false),
        Constraint::Interval { lower, upper, .. } => outside(lower, true) || outside(upper, false),
        Constraint::None
        | Constraint::Simplex
        | Constraint::Matrix(_)
        | Constraint::UnitVector
        | Constraint::ZeroSum
        | Constraint::Ordered { .. } => false,
    };
    if out {
        return Err(bad(format!("`{given}`: outside the values that `{}` can take", var.name))
            .here("its prior and type say which")
            .help("give a value inside"));
    }
    let cells = values.entry(id).or_insert_with(|| vec![f64::NAN; names.len()]);
    if !name.contains('[') {
        cells.fill(x);
        return Ok(());
    }
    let squeezed = |n: &str| n.replace(' ', "");
    match names.iter().position(|n| squeezed(n) == squeezed(name)) {
        Some(i) => {
            cells[i] = x;
            Ok(())
        }
        None => {
            let d = bad(format!("`{given}`: `{}` has no such cell", var.name));
            Err(match nearest(name, names.iter().map(String::as_str)) {
                Some(near) => d.help(format!("did you mean `{near}`?")),
                None => d.help(format!("its first cell is `{}`", names.first().map_or("", String::as_str))),
            })
        }
    }
}
