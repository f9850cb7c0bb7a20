//! New rows below those of a fit.

use std::collections::HashMap;

use super::generate::looks_across;
use super::tables::{fill, unobserved};
use super::{Csv, observed};
use crate::data::{self, DataFile, Inputs, columnar, is_json};
use crate::diag::{Code, Diags};
use crate::hir::{Content, Hir, VarId, VarKind};

/// The fitted rows with the new ones below them.
pub struct Together {
    pub inputs: Inputs,
    /// Where the new rows begin, by table.
    pub first_new: HashMap<usize, usize>,
    /// Observed columns that a new file holds; in the others its rows hold anything.
    pub found: Vec<VarId>,
}

/// The data of a fit as far as new rows need them: where rows have nothing in common, the first row shows the columns, and the
/// others need not be read again.
pub fn needed(hir: &Hir, fitted: &Inputs) -> Inputs {
    let named = |id: &VarId| match &hir.var(*id).kind {
        VarKind::Column(c) => matches!(c.content, Content::Key | Content::Index(_)),
        _ => false,
    };
    let mut out = fitted.clone();
    let ([table], [file]) = (hir.tables.as_slice(), out.files.as_mut_slice()) else { return out };
    if table.columns.iter().any(named) || looks_across(hir, table.plate) {
        return out;
    }
    if let Some(end) = first_record(&file.bytes).filter(|_| !columnar::is_columnar(file) && !is_json(file)) {
        file.bytes.truncate(end);
    }
    out
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
    let mut alone = vec![];
    for file in new {
        let table = match &file.table {
            Some(name) => hir.tables.iter().position(|t| t.name == *name),
            None if hir.tables.len() == 1 => Some(0),
            None => None,
        };
        let Some(at) = table else {
            let names: Vec<String> = hir.tables.iter().map(|t| format!("`{}`", t.name)).collect();
            diags.push(
                Code::DATA_UNKNOWN_TABLE
                    .plain(format!("`{}`: of which table are these rows?", file.name))
                    .note(format!("the model's tables are: {}", names.join(", ")))
                    .help("write the table before the file: `TABLE=FILE`"),
            );
            return None;
        };
        let table = &hir.tables[at];
        let place = old.files.iter().position(|f| {
            f.table.as_ref().is_some_and(|t| *t == table.name)
                || f.table.is_none() && {
                    // The only file without a table belongs to the only table without a file.
                    !old.files.iter().any(|f| f.table.as_ref() == Some(&table.name))
                }
        })?;
        let (Some(mut fitted), Some(mut new)) =
            (Csv::of(&old.files[place]), Csv::of(file).filter(|c| !c.rows.is_empty()))
        else {
            let file = DataFile { table: Some(table.name.clone()), ..file.clone() };
            data::bind(&unobserved(hir), &replaced(&all, place, file), diags);
            return None;
        };
        for (id, _) in observed(hir).into_iter().filter(|o| table.columns.contains(&o.0)) {
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
        together.list.into_iter().for_each(|d| diags.push(d));
        return None;
    }
    Some(Together { inputs: all, first_new, found })
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
