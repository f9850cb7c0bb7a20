//! Sizes, labels and numbers: everything that follows from the files and `--set`, found in the order of dependency.

use std::collections::{HashMap, HashSet};

use super::assign::listed;
use super::bound::{self, Bound, PlateData, Values, labelled};
use super::cells::{Origin, Problems, quoted};
use super::eval::{Eval, Stop};
use super::json::{Keys, Value};
use super::order;
use super::sets::Set;
use super::sheet::{MISSING, Part, Sheet, SheetColumn, Words};
use super::start;
use super::values;
use crate::diag::{Code, Diags, counted, nearest};
use crate::hir::{Column, Content, Expr, Hir, Plate, PlateId, PlateKind, TableId, Ty, Var, VarId, VarKind};
use crate::source::Span;

/// What is known so far; all of it at the end, unless there were errors.
#[derive(Debug, Default)]
pub struct Resolved {
    plates: Vec<Option<PlateData>>,
    pub values: HashMap<VarId, Values>,
}

impl Resolved {
    pub fn plate(&self, id: PlateId) -> Option<&PlateData> {
        self.plates[id.0 as usize].as_ref()
    }

    /// Complete. Expects that nothing has been reported; what is still open then waits for itself.
    pub fn finish(self, hir: &Hir, diags: &mut Diags) -> Option<Bound> {
        let plates = hir.plates.iter().zip(&self.plates).filter(|(_, data)| data.is_none());
        let plates = plates.map(|(p, _)| (p.span, format!("the size of the plate `{}`", p.name)));
        let values = hir.vars.iter().enumerate().filter(|(i, v)| {
            let given = matches!(
                v.kind,
                VarKind::Column(_)
                    | VarKind::Const { .. }
                    | VarKind::DataValue { .. }
                    | VarKind::Order { .. }
                    | VarKind::Start { .. }
            );
            given && !self.values.contains_key(&VarId(*i as u32))
        });
        let values = values.map(|(_, v)| (v.span, format!("the value of `{}`", v.name)));
        let open: Vec<_> = plates.chain(values).collect();
        for (span, what) in &open {
            diags.push(
                Code::PLATE_SIZE
                    .at(*span, format!("{what} depends on itself"))
                    .help("give one of the sizes involved as a number"),
            );
        }
        if !open.is_empty() {
            return None;
        }
        Some(Bound { plates: self.plates.into_iter().collect::<Option<_>>()?, values: self.values, ..Bound::default() })
    }
}

/// Not a limit of principle: a plate sized by a typing error would fill the memory with labels.
const LARGEST: f64 = 1e8;

/// What came of one attempt.
enum Try<T> {
    Done(T),
    NotYet,
    /// Reported.
    Failed,
}

/// Size every plate and place every value that can be, reporting what cannot.
pub fn resolve(
    hir: &Hir,
    sheets: &[Option<Sheet>],
    sets: &HashMap<VarId, Option<Set>>,
    keys: &[Keys],
    diags: &mut Diags,
) -> Resolved {
    let mut known = Resolved { plates: vec![None; hir.plates.len()], values: HashMap::new() };
    let mut failed_plates: HashSet<PlateId> = HashSet::new();
    let mut failed_vars: HashSet<VarId> = HashSet::new();
    let set = |id| sets.get(&id).and_then(Option::as_ref);
    // Each round resolves at least one more thing, so rounds are few and the order of declarations does not matter.
    loop {
        let mut progress = false;
        for (i, plate) in hir.plates.iter().enumerate() {
            let id = PlateId(i as u32);
            if known.plates[i].is_some() || failed_plates.contains(&id) {
                continue;
            }
            match (Resolver { hir, sheets, keys, known: &known, diags }).plate(plate) {
                Try::Done(data) => known.plates[i] = Some(data),
                Try::NotYet => continue,
                Try::Failed => _ = failed_plates.insert(id),
            }
            progress = true;
        }
        for (i, var) in hir.vars.iter().enumerate() {
            let id = VarId(i as u32);
            if known.values.contains_key(&id) || failed_vars.contains(&id) {
                continue;
            }
            let mut resolver = Resolver { hir, sheets, keys, known: &known, diags };
            let value = match &var.kind {
                VarKind::Column(column) => resolver.column(id, var, column),
                VarKind::Const { .. } | VarKind::DataValue { .. } if matches!(sets.get(&id), Some(None)) => Try::Failed,
                VarKind::Const { value } => resolver.scalar(var, Some(value), set(id)),
                VarKind::DataValue { key, default } => match (set(id), values::find(keys, key)) {
                    (None, Some((file, value))) => resolver.given(var, key, file, value),
                    (set, _) => resolver.scalar(var, default.as_ref(), set),
                },
                VarKind::Start { draw } => start::start(hir, var, draw, &known).map_or(Try::NotYet, Try::Done),
                VarKind::Order { walk, part } => match order::order(hir, *walk, *part, &known, resolver.diags) {
                    Some(values) => values.map_or(Try::Failed, Try::Done),
                    None => Try::NotYet,
                },
                VarKind::Latent | VarKind::Param { .. } | VarKind::Let | VarKind::Report | VarKind::Mask { .. } => {
                    continue;
                }
            };
            match value {
                Try::Done(values) => _ = known.values.insert(id, values),
                Try::NotYet => continue,
                Try::Failed => _ = failed_vars.insert(id),
            }
            progress = true;
        }
        if !progress {
            break;
        }
    }
    known
}

struct Resolver<'a> {
    hir: &'a Hir,
    sheets: &'a [Option<Sheet>],
    keys: &'a [Keys],
    known: &'a Resolved,
    diags: &'a mut Diags,
}

impl Resolver<'_> {
    fn sheet(&self, table: TableId) -> Option<&Sheet> {
        self.sheets[table.0 as usize].as_ref()
    }

    /// The sheet of a column's table with the column as found there.
    fn found(&self, id: VarId) -> Option<(&Sheet, &SheetColumn)> {
        let VarKind::Column(column) = &self.hir.var(id).kind else { return None };
        let sheet = self.sheet(column.table)?;
        Some((sheet, sheet.columns.get(&id)?))
    }

    fn plate(&mut self, plate: &Plate) -> Try<PlateData> {
        match &plate.kind {
            PlateKind::Rows(table) => self.rows(*table),
            PlateKind::Levels { fixed: Some(levels), .. } => Try::Done(labelled(levels.clone())),
            PlateKind::Levels { columns, fixed: None } => self.levels(plate, columns),
            PlateKind::Header { column } => match self.found(*column) {
                Some((_, c)) => Try::Done(labelled(c.found.labels.clone())),
                None => Try::NotYet,
            },
            PlateKind::Sized(size) => match self.whole(plate, size) {
                Try::Done(n) if n < 1.0 => {
                    self.bad_size(plate, size, &format!("has {n} cells"), "a plate needs at least one")
                }
                Try::Done(n) if n > LARGEST => self.too_large(plate, size, n),
                Try::Done(n) => Try::Done(labelled((1..=n as u64).map(|i| i.to_string()).collect())),
                Try::NotYet => Try::NotYet,
                Try::Failed => Try::Failed,
            },
            PlateKind::Range(first, last) => match (self.whole(plate, first), self.whole(plate, last)) {
                (Try::Done(a), Try::Done(b)) if b < a => {
                    self.bad_size(plate, last, &format!("runs from {a} to {b}"), "the last number is below the first")
                }
                (Try::Done(a), Try::Done(b)) if b - a >= LARGEST => self.too_large(plate, last, b - a + 1.0),
                (Try::Done(a), Try::Done(b)) => {
                    Try::Done(labelled((a as i64..=b as i64).map(|i| i.to_string()).collect()))
                }
                (Try::Failed, _) | (_, Try::Failed) => Try::Failed,
                (Try::NotYet, _) | (_, Try::NotYet) => Try::NotYet,
            },
            PlateKind::Labels(labels) => Try::Done(labelled(labels.clone())),
            PlateKind::Without { of, label, span } => self.without(*of, label, *span),
            PlateKind::Missing(column) => self.missing(*column),
            kind @ (PlateKind::Triangle { .. } | PlateKind::OneLess(_) | PlateKind::Power { .. }) => {
                bound::derived(kind, |p| self.known.plate(p)).map_or(Try::NotYet, Try::Done)
            }
        }
    }

    /// The cells of a plate that are not the reference.
    fn without(&mut self, of: PlateId, label: &str, span: Span) -> Try<PlateData> {
        let Some(whole) = self.known.plate(of) else { return Try::NotYet };
        let name = &self.hir.plate(of).name;
        let d = match whole.position(name, label, span) {
            Ok(at) if whole.size > 1 => {
                let rest = whole.labels.iter().enumerate().filter(|(i, _)| *i != at);
                return Try::Done(labelled(rest.map(|(_, l)| l.clone()).collect()));
            }
            Ok(_) => Code::REFERENCE_LEVEL
                .at(span, format!("without \"{label}\", `{name}` has no levels left"))
                .here("its only level")
                .help("leave the effect out of the model, or mend the column"),
            Err(d) => d,
        };
        self.diags.push(d);
        Try::Failed
    }

    /// The empty cells of a column: `row 7` or the row's key, and the label of a vector's cell.
    fn missing(&mut self, column: VarId) -> Try<PlateData> {
        let (var, Some(values)) = (self.hir.var(column), self.known.values.get(&column)) else { return Try::NotYet };
        let mut names: Vec<(bool, &PlateData)> = vec![];
        for &axis in &var.axes {
            let plate = self.hir.axis(axis).plate;
            let Some(data) = self.known.plate(plate) else { return Try::NotYet };
            let keyed = match self.hir.plate(plate).kind {
                PlateKind::Rows(table) => self.hir.table(table).key.is_some(),
                _ => true,
            };
            names.push((keyed, data));
        }
        let label = |mut cell: usize| {
            let parts = names.iter().map(|(keyed, data)| {
                let i = cell % data.size;
                cell /= data.size;
                if *keyed { data.labels[i].clone() } else { format!("row {}", i + 1) }
            });
            parts.collect::<Vec<_>>().join(", ")
        };
        Try::Done(labelled(values.missing().into_iter().map(label).collect()))
    }

    fn too_large<T>(&mut self, plate: &Plate, at: &Expr, n: f64) -> Try<T> {
        self.bad_size(plate, at, &format!("would have {n} cells"), "more than a fit can hold")
    }

    fn bad_size<T>(&mut self, plate: &Plate, at: &Expr, what: &str, here: &str) -> Try<T> {
        self.diags.push(
            Code::PLATE_SIZE
                .at(at.span, format!("the plate `{}` {what}", plate.name))
                .here(here)
                .help("a size is a whole number, at least 1; constants can be given by `--set`"),
        );
        Try::Failed
    }

    /// A size or an end of a range.
    fn whole(&mut self, plate: &Plate, e: &Expr) -> Try<f64> {
        match self.eval(e) {
            Try::Done(n) if n.fract() == 0.0 && n.is_finite() => Try::Done(n),
            Try::Done(n) => self.bad_size(plate, e, &format!("would have the size {n}"), "not a whole number"),
            other => other,
        }
    }

    fn eval(&mut self, e: &Expr) -> Try<f64> {
        let result = Eval::new(self.hir, self.known).eval(e);
        self.outcome(e, result)
    }

    fn outcome<T>(&mut self, e: &Expr, result: Result<T, Stop>) -> Try<T> {
        match result {
            Ok(x) => Try::Done(x),
            Err(Stop::NotYet) => Try::NotYet,
            Err(Stop::Never(span, why)) => {
                self.diags.push(
                    Code::NOT_FROM_DATA
                        .at(e.span, "this value cannot be computed from the data")
                        .label(span, why)
                        .help("sizes, bounds and constants use numbers, `const`, `data` values and sizes of plates"),
                );
                Try::Failed
            }
        }
    }

    /// The rows of a table: labels from its key, each of which must be unique.
    fn rows(&mut self, id: TableId) -> Try<PlateData> {
        let table = self.hir.table(id);
        let Some(sheet) = self.sheet(id) else { return Try::NotYet };
        let size = sheet.lines.len();
        let key = table.key.and_then(|k| Some((k, sheet.columns.get(&k)?)));
        if table.key.is_some() && key.is_none() {
            return Try::NotYet; // the missing key column has been reported
        }
        let labels: Vec<String> = match key {
            None => (1..=size).map(|i| i.to_string()).collect(),
            Some((_, column)) => match &column.parts[0] {
                Part::Words(w) => {
                    w.ids.iter().map(|&id| w.words.get(id as usize).cloned().unwrap_or_default()).collect()
                }
                Part::Numbers(_) => unreachable!("a key is read as words"),
            },
        };
        let lines: &[u64] = match sheet.origin {
            Origin::Text => &sheet.lines,
            Origin::Keys(_) => &[], // a row of JSON is named by its label
        };
        let data = PlateData { size, labels: labels.into(), file: sheet.file.clone(), lines: lines.into() };
        if let Some((var, column)) = key
            && let Part::Words(words) = &column.parts[0]
            && words.words.len() < words.ids.iter().filter(|&&id| id != MISSING).count()
        {
            let d = self.duplicates(var, sheet, column.found.fields[0], words);
            self.diags.push(d);
        }
        Try::Done(data)
    }

    fn duplicates(&self, key: VarId, sheet: &Sheet, field: usize, words: &Words) -> crate::diag::Diagnostic {
        let mut first: Vec<Option<usize>> = vec![None; words.words.len()];
        let mut problems = Problems::default();
        let mut example = String::new();
        for (row, &id) in words.ids.iter().enumerate().filter(|(_, id)| **id != MISSING) {
            match first[id as usize] {
                None => first[id as usize] = Some(row),
                Some(earlier) => {
                    let word = &words.words[id as usize];
                    if problems.is_empty() {
                        let place = sheet.origin.row(&sheet.file, sheet.lines[earlier]);
                        example = format!("{} stands at {place} already", quoted(word));
                    }
                    problems.add(sheet.lines[row], field + 1, || word.clone());
                }
            }
        }
        let var = self.hir.var(key);
        let d = Code::DATA_KEY_TWICE
            .at(var.span, format!("`{}` does not tell the rows of `{}` apart", var.name, sheet.file))
            .here("a key names each row once")
            .note(example)
            .help(format!("remove the repeated rows; if `{}` groups rows, declare it `category`", var.name));
        problems.show(&sheet.file, &sheet.origin, d)
    }

    /// The levels of category columns, sorted: as numbers if all are.
    fn levels(&mut self, plate: &Plate, columns: &[VarId]) -> Try<PlateData> {
        let mut levels: Vec<String> = vec![];
        for &id in columns {
            let Some((_, column)) = self.found(id) else { return Try::NotYet };
            for part in &column.parts {
                if let Part::Words(w) = part {
                    levels.extend_from_slice(&w.words);
                }
            }
        }
        sort_levels(&mut levels);
        if levels.is_empty() {
            self.diags.push(
                Code::DATA_EMPTY
                    .at(plate.span, format!("`{}` has no levels", plate.name))
                    .here("every cell is missing")
                    .help("fill the column, or leave it out of the model"),
            );
            return Try::Failed;
        }
        Try::Done(labelled(levels))
    }

    /// A data value that a JSON file gives.
    fn given(&mut self, var: &Var, key: &str, file: &str, value: &Value) -> Try<Values> {
        let plates: Option<Vec<&PlateData>> =
            var.axes.iter().map(|&a| self.known.plate(self.hir.axis(a).plate)).collect();
        let Some(plates) = plates else { return Try::NotYet };
        match values::numbers(var, key, file, value, &plates, self.diags) {
            Some(values) => Try::Done(values),
            None => Try::Failed,
        }
    }

    /// A `const` or a data scalar (in general one value per cell of its plates).
    fn scalar(&mut self, var: &Var, value: Option<&Expr>, set: Option<&Set>) -> Try<Values> {
        if let Some(set) = set {
            let number = match (set.value, var.ty) {
                (Some(x), _) => x,
                (None, Ty::Index(plate)) => match self.known.plate(plate) {
                    None => return Try::NotYet,
                    Some(p) => match p.labels.iter().position(|l| *l == set.text) {
                        Some(i) => i as f64,
                        None => return self.no_such_label(var, set, plate),
                    },
                },
                (None, _) => unreachable!("numbers have been read from their text"),
            };
            return Try::Done(Values { dims: vec![], numbers: [number].into() });
        }
        let Some(value) = value else {
            self.diags.push(
                Code::DATA_VALUE_MISSING
                    .at(var.span, format!("`{}` has no value", var.name))
                    .here("declared without one")
                    .help(match (&var.kind, var.axes.is_empty(), self.keys.first()) {
                        (VarKind::DataValue { key, .. }, _, Some(keys)) => {
                            format!("`{}` has no key `{key}`: add it, or give a default in the model", keys.file)
                        }
                        (VarKind::DataValue { key, .. }, false, None) => {
                            format!("give it in a JSON file, as a list: `{{\"{key}\": […]}}`")
                        }
                        _ => format!("give it: `--set {}=…`", var.name),
                    }),
            );
            return Try::Failed;
        };
        let (hir, known) = (self.hir, self.known);
        let mut numbers = vec![];
        let result = Eval::new(hir, known).cells(&var.axes, &mut |eval| {
            numbers.push(eval.eval(value)?);
            Ok(())
        });
        match self.outcome(value, result) {
            Try::Done(()) => {
                let size = |a| known.plate(hir.axis(a).plate).map_or(0, |p| p.size);
                Try::Done(Values { dims: var.axes.iter().map(|&a| size(a)).collect(), numbers: numbers.into() })
            }
            Try::NotYet => Try::NotYet,
            Try::Failed => Try::Failed,
        }
    }

    fn no_such_label<T>(&mut self, var: &Var, set: &Set, plate: PlateId) -> Try<T> {
        let labels = self.known.plate(plate).map(|p| p.labels.clone()).unwrap_or_default();
        let d = Code::DATA_SET_VALUE.at(
            var.span,
            format!("`--set {}={}`: `{}` has no cell of that name", var.name, set.text, self.hir.plate(plate).name),
        );
        self.diags.push(match nearest(&set.text, labels.iter().map(String::as_str)) {
            Some(near) => d.help(format!("did you mean `{near}`?")),
            None => d.help(format!("its cells are: {}", listed(labels.iter().map(String::as_str)))),
        });
        Try::Failed
    }

    fn column(&mut self, id: VarId, var: &Var, column: &Column) -> Try<Values> {
        let Some((sheet, found)) = self.found(id) else { return Try::NotYet };
        let rows = sheet.lines.len();
        let mut order: Vec<usize> = (0..found.parts.len()).collect();
        let mut dims = vec![rows];
        if let Some(&axis) = var.axes.get(1) {
            let plate = self.hir.axis(axis).plate;
            let Some(data) = self.known.plate(plate) else { return Try::NotYet };
            dims.push(data.size);
            match fill_order(&found.found.labels, &data.labels) {
                Some(o) => order = o,
                None => {
                    let d = self.labels_clash(var, plate, &found.found.labels, &sheet.file);
                    self.diags.push(d);
                    return Try::Failed;
                }
            }
        }
        let target = match column.content {
            Content::Index(plate) => match self.known.plate(plate) {
                Some(data) => Some((plate, data)),
                None => return Try::NotYet,
            },
            Content::Real | Content::Int | Content::Bool | Content::Key | Content::Date => None,
        };
        let positions: HashMap<&str, usize> = match target {
            Some((_, data)) => data.labels.iter().enumerate().map(|(i, l)| (l.as_str(), i)).collect(),
            None => HashMap::new(),
        };
        let mut numbers: Vec<f64> = Vec::with_capacity(rows * order.len());
        let mut strangers = Problems::default();
        for part in order {
            match (&found.parts[part], target) {
                (Part::Numbers(v), _) => numbers.extend_from_slice(v),
                (Part::Words(w), None) => numbers.extend((0..w.ids.len()).map(|i| i as f64)),
                (Part::Words(w), Some(_)) => {
                    let at: Vec<Option<usize>> = w.words.iter().map(|l| positions.get(l.as_str()).copied()).collect();
                    for (row, &id) in w.ids.iter().enumerate() {
                        // Missing cells have been reported, or are allowed.
                        let Some(place) = at.get(id as usize) else {
                            numbers.push(f64::NAN);
                            continue;
                        };
                        if place.is_none() {
                            let field = found.found.fields[part] + 1;
                            strangers.add(sheet.lines[row], field, || w.words[id as usize].clone());
                        }
                        numbers.push(place.map_or(f64::NAN, |p| p as f64));
                    }
                }
            }
        }
        if let Some((plate, data)) = target
            && !strangers.is_empty()
        {
            let d = self.stranger(var, plate, data, &strangers);
            let d = strangers.show(&sheet.file, &sheet.origin, d);
            self.diags.push(d);
            return Try::Failed;
        }
        Try::Done(Values { dims, numbers: numbers.into() })
    }

    /// Cells that name no cell of the plate they index.
    fn stranger(&self, var: &Var, plate: PlateId, data: &PlateData, problems: &Problems) -> crate::diag::Diagnostic {
        let declared = self.hir.plate(plate);
        let text = &problems.first[0].text;
        let verb = if problems.count == 1 { "names" } else { "name" };
        let d = match &declared.kind {
            PlateKind::Rows(table) => {
                let key = self.hir.table(*table).key.map(|k| self.hir.var(k));
                let what = match key {
                    Some(key) => format!("no row of `{}` by its key `{}`", data.file, key.name),
                    None => format!("no row of `{}`, which has {}", data.file, counted(data.size, "row")),
                };
                let d = Code::DATA_NO_ROW
                    .at(var.span, format!("{} of `{}` {verb} {what}", problems.cells(), var.name))
                    .here(format!("each value is a row of `{}`", declared.name));
                match key {
                    Some(key) => d.label(key.span, "the key"),
                    None => d,
                }
            }
            _ => Code::DATA_NO_LEVEL
                .at(var.span, format!("{} of `{}` {verb} no level of `{}`", problems.cells(), var.name, declared.name))
                .here("declared here")
                .note(format!("its levels are: {}", listed(data.labels.iter().map(String::as_str)))),
        };
        match nearest(text.trim(), data.labels.iter().map(String::as_str)) {
            Some(near) => d.help(format!("for {}, did you mean {}?", quoted(text), quoted(near))),
            None if data.labels.iter().any(|l| l == text.trim()) => {
                d.help(format!("{} has blanks around it: remove them in the file", quoted(text)))
            }
            None if matches!(declared.kind, PlateKind::Rows(_)) => {
                d.help(format!("add the row to `{}`, or mend the cells", data.file))
            }
            None => d.help("mend the cells, or add the level to the declaration"),
        }
    }

    fn labels_clash(&self, var: &Var, plate: PlateId, labels: &[String], file: &str) -> crate::diag::Diagnostic {
        let declared = self.hir.plate(plate);
        let data = self.known.plate(plate).map(|p| p.labels.clone()).unwrap_or_default();
        let d = Code::DATA_LABELS
            .at(var.span, format!("the columns of `{}` in `{file}` do not fit the plate `{}`", var.name, declared.name))
            .here(format!("{}: {}", counted(labels.len(), "column"), listed(labels.iter().map(String::as_str))))
            .label(
                declared.span,
                format!("{}: {}", counted(data.len(), "cell"), listed(data.iter().map(String::as_str))),
            );
        if labels.len() == data.len() {
            d.help("give both the same labels, or number the plate 1, 2, …: columns then fill it in file order")
        } else {
            d.help("both need the same number of cells")
        }
    }
}

/// Levels in their order, as numbers if all are, each once.
pub fn sort_levels(levels: &mut Vec<String>) {
    let number = |s: &String| s.parse::<f64>().ok().filter(|x| x.is_finite());
    if levels.iter().all(|l| number(l).is_some()) {
        levels.sort_by(|a, b| number(a).partial_cmp(&number(b)).expect("finite numbers compare").then(a.cmp(b)));
    } else {
        levels.sort();
    }
    levels.dedup();
}

/// Which column fills which cell of a plate: by label, or in order where either side is merely numbered 1..n.
fn fill_order(columns: &[String], plate: &[String]) -> Option<Vec<usize>> {
    if columns.len() != plate.len() {
        return None;
    }
    let by_label: Option<Vec<usize>> = plate.iter().map(|l| columns.iter().position(|c| c == l)).collect();
    let numbered = |labels: &[String]| labels.iter().enumerate().all(|(i, l)| *l == (i + 1).to_string());
    by_label.or_else(|| (numbered(columns) || numbered(plate)).then(|| (0..columns.len()).collect()))
}
