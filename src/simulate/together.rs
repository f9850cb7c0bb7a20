//! New rows below those of a fit.

use std::collections::HashMap;

use super::generate::looks_across;
use super::tables::{fields, fill, unobserved};
use super::{Csv, observed};
use crate::data::{self, DataFile, Inputs, columnar, is_json};
use crate::diag::{Code, Diagnostic, Diags, nearest};
use crate::hir::{Content, Hir, Table, VarId, VarKind};

/// The fitted rows with the new ones below them.
pub struct Together {
    pub inputs: Inputs,
    /// Where the new rows begin, by table.
    pub first_new: HashMap<usize, usize>,
    /// Observed columns that a new file holds; in the others its rows hold anything.
    pub found: Vec<VarId>,
    /// Which files stand one below the other, and how many lines the first has.
    pub lines: Vec<(String, String, usize)>,
}

/// The data of a fit as far as new rows need them: where rows have nothing in common, the first row shows the columns, and the
/// others need not be read again.
pub fn needed(hir: &Hir, fitted: &Inputs) -> Inputs {
    let named = |id: &VarId| match &hir.var(*id).kind {
        VarKind::Column(c) => matches!(c.content, Content::Key | Content::Index(_)),
        _ => false,
    };
    let ([table], [file]) = (hir.tables.as_slice(), fitted.files.as_slice()) else { return fitted.clone() };
    if table.columns.iter().any(named) || looks_across(hir, table.plate) {
        return fitted.clone();
    }
    match first_record(&file.bytes).filter(|_| !columnar::is_columnar(file) && !is_json(file)) {
        Some(end) => {
            let (table, name, bytes) = (file.table.clone(), file.name.clone(), file.bytes[..end].to_vec());
            Inputs { files: vec![DataFile { table, name, bytes }], sets: fitted.sets.clone() }
        }
        None => fitted.clone(),
    }
}

/// Where the first record below the header ends.
fn first_record(bytes: &[u8]) -> Option<usize> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bytes);
    let mut record = csv::ByteRecord::new();
    for _ in 0..2 {
        reader.read_byte_record(&mut record).ok().filter(|more| *more)?;
    }
    Some(reader.position().byte() as usize)
}

/// Put them together; `diags` says why they do not belong to each other.
pub fn together(hir: &Hir, old: &Inputs, new: &[DataFile], diags: &mut Diags) -> Option<Together> {
    let mut all = old.clone();
    let mut found = vec![];
    let mut first_new = HashMap::new();
    let (mut alone, mut lines) = (vec![], vec![]);
    for file in new {
        let Some(at) = table_of(hir, file) else {
            diags.push(of_no_table(hir, file));
            return None;
        };
        let table = &hir.tables[at];
        let place = place_of(old, table)?;
        let (Some(mut fitted), Some(mut new)) =
            (Csv::of(&old.files[place]), Csv::of(file).filter(|c| !c.rows.is_empty()))
        else {
            let file = DataFile { table: Some(table.name.clone()), ..file.clone() };
            data::bind(&unobserved(hir), &replaced(&all, place, file), diags);
            return None;
        };
        for (id, _) in observed(hir).into_iter().filter(|o| table.columns.contains(&o.0)) {
            if has_part(hir, id, &fitted, &mut new) {
                found.push(id);
                continue;
            }
            // What only the fitted file tells, such as the columns of a pattern, is filled in from there.
            let before = new.header.clone();
            if fill(hir, id, &mut new).is_none() {
                borrow(&fitted, &mut new);
            }
            if new.header == before {
                found.push(id);
            }
        }
        let bytes = new.text().into_bytes();
        alone.push((place, DataFile { table: Some(table.name.clone()), name: file.name.clone(), bytes }));
        first_new.insert(at, fitted.rows.len());
        let breaks = fitted.header.iter().chain(fitted.rows.iter().flatten()).map(|c| c.matches('\n').count());
        let n = 1 + fitted.rows.len() + breaks.sum::<usize>();
        lines.push((old.files[place].name.clone(), file.name.clone(), n));
        let places: Vec<Option<usize>> = fitted.header.iter().map(|h| new.place(h)).collect();
        let cells = |row: &Vec<String>| {
            let cell = |at: &Option<usize>| at.map_or(String::new(), |at| row[at].clone());
            places.iter().map(cell).collect::<Vec<_>>()
        };
        let rows: Vec<Vec<String>> = new.rows.iter().map(cells).collect();
        fitted.rows.extend(rows);
        all.files[place] = DataFile {
            table: Some(table.name.clone()),
            name: format!("{} and {}", old.files[place].name, file.name),
            bytes: fitted.text().into_bytes(),
        };
    }
    // What is wrong with a new file is said with its own name and lines, if it is wrong by itself.
    let mut together = Diags::default();
    if data::bind(&unobserved(hir), &all, &mut together).is_none() {
        for (place, file) in alone {
            data::bind(&unobserved(hir), &replaced(&all, place, file), diags)?;
        }
        in_own_lines(&lines, &mut together.list);
        for mut d in together.list {
            if d.code.id == Code::DATA_KEY_TWICE.id {
                d = d.help("give new rows keys of their own; the fitted rows are meant where no file is given");
            }
            diags.push(d);
        }
        return None;
    }
    Some(Together { inputs: all, first_new, found, lines })
}

/// A file of a table that is not named, or not there.
fn of_no_table(hir: &Hir, file: &DataFile) -> Diagnostic {
    let names: Vec<String> = hir.tables.iter().map(|t| format!("`{}`", t.name)).collect();
    let text = match &file.table {
        Some(name) => format!("the model has no table `{name}`"),
        None => format!("`{}`: of which table are these rows?", file.name),
    };
    let tables = hir.tables.iter().map(|t| t.name.as_str());
    let help = match file.table.as_ref().and_then(|name| nearest(name, tables)) {
        Some(near) => format!("did you mean `{near}={}`?", file.name),
        None => "write the table before the file: `TABLE=FILE`".into(),
    };
    Code::DATA_UNKNOWN_TABLE.plain(text).note(format!("the model's tables are: {}", names.join(", "))).help(help)
}

/// A field of an observed column that the fitted file has and a new one has not, though it has others of the column.
pub fn lacking(hir: &Hir, old: &Inputs, new: &[DataFile]) -> Option<(VarId, String)> {
    let of_file = |file: &DataFile| {
        let table = &hir.tables[table_of(hir, file)?];
        let (fitted, own) = (header(&old.files[place_of(old, table)?])?, header(file)?);
        let of_column = |id: VarId| {
            let VarKind::Column(column) = &hir.var(id).kind else { return None };
            let names = fields(column, &fitted).filter(|_| !column.optional)?;
            let some = names.iter().any(|n| own.contains(n));
            Some((id, names.into_iter().find(|n| some && !own.contains(n))?))
        };
        observed(hir).into_iter().map(|o| o.0).filter(|id| table.columns.contains(id)).find_map(of_column)
    };
    new.iter().find_map(of_file)
}

fn header(file: &DataFile) -> Option<Vec<String>> {
    match first_record(&file.bytes).filter(|_| !columnar::is_columnar(file)) {
        Some(end) => Some(Csv::read(&file.bytes[..end])?.header),
        None => Some(Csv::of(file)?.header),
    }
}

fn table_of(hir: &Hir, file: &DataFile) -> Option<usize> {
    match &file.table {
        Some(name) => hir.tables.iter().position(|t| t.name == *name),
        None if hir.tables.len() == 1 => Some(0),
        None => None,
    }
}

/// Which of the fitted files has the rows of a table.
fn place_of(old: &Inputs, table: &Table) -> Option<usize> {
    old.files.iter().position(|f| {
        f.table.as_ref().is_some_and(|t| *t == table.name)
            || f.table.is_none() && {
                // The only file without a table belongs to the only table without a file.
                !old.files.iter().any(|f| f.table.as_ref() == Some(&table.name))
            }
    })
}

/// Say of what is found in files that stand one below the other where it is in its own file.
pub fn in_own_lines(lines: &[(String, String, usize)], said: &mut [Diagnostic]) {
    for d in said {
        for (old, new, n) in lines {
            let own = |text: &String| in_own_line(text, old, new, *n);
            d.places = d.places.iter().map(own).collect();
            d.notes = d.notes.iter().map(own).collect();
        }
    }
}

/// `old and new:12:3`, where the first has `n` lines, as a place in its own file.
fn in_own_line(text: &str, old: &str, new: &str, n: usize) -> String {
    let both = format!("{old} and {new}:");
    let mut parts = text.split(&both);
    let mut out = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let digits = part.len() - part.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        match part[..digits].parse::<usize>() {
            // Its header is line 1.
            Ok(line) if line > n => out += &format!("{new}:{}", line - n + 1),
            Ok(line) => out += &format!("{old}:{line}"),
            Err(_) => out += &format!("{both}{}", &part[..digits]),
        }
        out += &part[digits..];
    }
    out
}

/// Whether a new file has some fields of a column whose cells may be empty: those that it has not are then empty.
fn has_part(hir: &Hir, id: VarId, fitted: &Csv, new: &mut Csv) -> bool {
    let VarKind::Column(column) = &hir.var(id).kind else { return false };
    let Some(names) = fields(column, &fitted.header).filter(|_| column.optional) else { return false };
    let (there, absent): (Vec<&String>, Vec<&String>) = names.iter().partition(|n| new.place(n).is_some());
    if there.is_empty() {
        return false;
    }
    for name in absent {
        let empty = vec![String::new(); new.rows.len()];
        new.put(name, empty.into_iter());
    }
    true
}

fn replaced(inputs: &Inputs, at: usize, file: DataFile) -> Inputs {
    let mut out = inputs.clone();
    out.files[at] = file;
    out
}

/// Columns of the fitted file that a new one lacks, with what stands in its first row.
fn borrow(fitted: &Csv, new: &mut Csv) {
    for (i, name) in fitted.header.iter().enumerate() {
        if new.place(name).is_none()
            && let Some(first) = fitted.rows.first()
        {
            let cells = vec![first[i].clone(); new.rows.len()];
            new.put(name, cells.into_iter());
        }
    }
}
