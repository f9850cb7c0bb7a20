//! `vic encode`, `score`, `generate`, `impute`: what the four have in common.

use std::path::PathBuf;

use super::args::{RowArgs, SheetArgs};
use super::saved::{SavedFit, other};
use super::terminal::Terminal;
use super::{ERROR, files};
use crate::data::{Bound, DataFile, Inputs, Values};
use crate::diag::{Code, Diagnostic};
use crate::driver::rows::{Holes, Question};
use crate::driver::{self, Checked, Session};
use crate::hir::{AxisId, From, Hir, VarId, VarKind};
use crate::report::{contact_sheet, sha256};
use crate::simulate::{Csv, number};

/// Images of a contact sheet, at most.
const IMAGES: usize = 400;

/// A fit with its model and data, and new rows.
pub struct Loaded {
    pub checked: Checked,
    pub fit: SavedFit,
    pub fitted: Inputs,
    pub new: Vec<DataFile>,
}

impl Loaded {
    /// What is asked about the rows, none of whose observed cells may be empty; each row's guide is refined by some steps.
    pub fn question(&self, args: &RowArgs, refine: u32) -> Question<'_> {
        Question {
            hir: &self.checked.hir,
            fitted: &self.fitted,
            new: &self.new,
            posterior: &self.fit.draws,
            refine: refine as usize,
            holes: Holes::None,
            seed: args.seed,
            threads: threads(args),
        }
    }
}

/// Read a fit and what it was made from, and check that they belong to each other. `None`: the session says why not.
pub fn load(session: &mut Session, model: &str, dir: &str, data: &[String]) -> Option<Loaded> {
    let mut or_say = |d: Diagnostic| session.diags.push(d);
    let fit = SavedFit::read(dir).map_err(&mut or_say).ok()?;
    let text = files::model(model, data).map_err(&mut or_say).ok()?;
    let mut checked = driver::check(session, model, &text);
    if session.diags.has_errors() {
        return None;
    }
    if fit.hash(&fit.model) != Some(sha256(text.as_bytes()).as_str()) {
        session.diags.push(other(dir, &format!("`{model}` is not the model that was fitted")));
        return None;
    }
    for file in &checked.imports {
        let source = session.sources.get(*file);
        let hash = sha256(source.text.as_bytes());
        if !fit.files.values().any(|h| *h == hash) {
            session.diags.push(other(dir, &format!("`{}`, which the model imports, has changed", source.name)));
            return None;
        }
    }
    if fit.json["guide"] != "written in the model" {
        // Another guide, or none, took its place.
        checked.hir.written = None;
    }
    let fitted = fit.inputs(dir).map_err(|d| session.diags.push(d)).ok()?;
    let mut new = vec![];
    for argument in data {
        let (table, name) = files::table_and_file(argument);
        let bytes = files::bytes(name).map_err(|d| session.diags.push(d)).ok()?;
        new.push(DataFile { table: table.map(str::to_owned), name: name.to_owned(), bytes });
    }
    Some(Loaded { checked, fit, fitted, new })
}

/// What a command has made.
pub struct Made {
    pub csv: Csv,
    /// A picture, and where it goes.
    pub sheet: Option<(PathBuf, Vec<u8>)>,
    /// Sentences about it.
    pub said: String,
}

/// Write a table to its file, or print it.
pub fn hand_out(args: &RowArgs, made: Option<Made>, session: &Session, terminal: &Terminal) -> u8 {
    terminal.complain_all(&session.diags, &session.sources);
    let Some(made) = made else { return ERROR };
    let mut targets: Vec<(PathBuf, Vec<u8>)> = made.sheet.into_iter().collect();
    let text = made.csv.text();
    targets.extend(args.out.iter().map(|file| (PathBuf::from(file), text.clone().into_bytes())));
    if let Err(d) = files::write_all(&targets, args.force) {
        terminal.complain(&d, &session.sources);
        return ERROR;
    }
    if args.out.is_some() {
        let names: Vec<String> = targets.iter().map(|(p, _)| p.display().to_string()).collect();
        return terminal.print(&format!("{}wrote {}\n", made.said, names.join(", ")));
    }
    terminal.note(&made.said);
    terminal.print(&text)
}

/// Columns of numbers as rows of images, as far as a picture was asked for: each group is shown as one row of the sheet above the
/// next. The column is the first with one plate besides its rows.
pub fn sheet(
    args: &SheetArgs,
    hir: &Hir,
    groups: &[&[(VarId, Values)]],
) -> Result<Option<(PathBuf, Vec<u8>)>, Diagnostic> {
    let Some(file) = &args.png else { return Ok(None) };
    let vector = |c: &&(VarId, Values)| c.1.dims.len() == 2;
    let Some((column, values)) = groups.first().and_then(|g| g.iter().find(vector)) else {
        return Err(Code::SHEET_OF_NUMBERS
            .plain(format!("`--png {file}`: the rows have no vector column, whose cells would be pixels"))
            .help("declare the pixels as one column: `x: bool[pixel] from \"p*\"`"));
    };
    let (n, pixels) = (values.dims[0], values.dims[1]);
    let square = (pixels as f64).sqrt().round() as usize;
    let width = args.width.map_or(square, |w| w as usize);
    if width == 0 || !pixels.is_multiple_of(width) {
        let plate = plate_name(hir, *column);
        let text = match args.width {
            Some(w) => format!("`--width {w}` does not divide the {pixels} cells of `{plate}`"),
            None => format!("the {pixels} cells of `{plate}` are no square: how wide are the images?"),
        };
        let near = (1..=pixels).filter(|w| pixels.is_multiple_of(*w)).min_by_key(|w| w.abs_diff(width)).unwrap_or(1);
        return Err(Code::SHEET_WIDTH.plain(text).help(format!("name a width that does, such as `--width {near}`")));
    }
    // Numbers that are no shades are stretched to the range of shades.
    let all =
        || groups.iter().flat_map(|g| g.iter().filter(|c| c.0 == *column)).flat_map(|c| c.1.numbers.iter().copied());
    let (low, high) = all().filter(|x| x.is_finite()).fold((0.0f64, 1.0f64), |(l, h), x| (l.min(x), h.max(x)));
    let image = |v: &Values, r: usize| (0..pixels).map(|p| (v.numbers[r + n * p] - low) / (high - low)).collect();
    let shown = n.min(IMAGES);
    let across = (shown as f64).sqrt().ceil().max(1.0) as usize;
    let mut images: Vec<Vec<f64>> = vec![];
    let of = |g: &&[(VarId, Values)]| g.iter().find(|c| c.0 == *column).map(|c| c.1.clone());
    let groups: Vec<Values> = groups.iter().filter_map(of).collect();
    for start in (0..shown).step_by(across) {
        for group in &groups {
            let end = (start + across).min(shown);
            images.extend((start..end).map(|r| image(group, r)));
            // Groups begin at the left.
            images.extend((end..start + across).map(|_| vec![f64::NAN; pixels]));
        }
    }
    let bytes = contact_sheet(&images, width, across)
        .map_err(|e| Code::CANNOT_WRITE.plain(format!("`--png {file}`: {e}")).help("name another file"))?;
    Ok(Some((PathBuf::from(file), bytes)))
}

fn plate_name(hir: &Hir, column: VarId) -> String {
    let axis: Option<&AxisId> = hir.var(column).axes.get(1);
    axis.map_or(String::new(), |a| hir.plate(hir.axis(*a).plate).name.clone())
}

/// How many threads a command uses.
pub fn threads(args: &RowArgs) -> usize {
    let all = || std::thread::available_parallelism().map_or(1, |n| n.get().min(8));
    args.threads.map_or_else(all, |n| n as usize)
}

/// A mean over rows, for people.
pub fn mean(v: &[f64]) -> f64 {
    v.iter().sum::<f64>() / v.len().max(1) as f64
}

/// Put the numbers of a column under the names of its fields.
pub fn put_column(hir: &Hir, bound: &Bound, column: VarId, values: &Values, csv: &mut Csv) {
    let VarKind::Column(of) = &hir.var(column).kind else { return };
    let n = values.dims[0];
    let labels: Vec<String> = match hir.var(column).axes.get(1) {
        Some(a) => bound.plate(hir.axis(*a).plate).labels.to_vec(),
        None => vec![String::new()],
    };
    for (k, label) in labels.iter().enumerate() {
        let name = match &of.from {
            From::Name(name) => name.clone(),
            From::Pattern(pattern) => pattern.replacen('*', label, 1),
            From::List(names) => names.get(k).cloned().unwrap_or_else(|| label.clone()),
            From::Range(..) => label.clone(),
        };
        csv.put(&name, (0..n).map(|r| number(values.numbers[r + n * k])));
    }
}
