//! Data files that lie beside a model: their columns are offered while a table is being declared.

use std::fs::File;
use std::path::Path;

/// A column of a file, and the type that its first cells suggest.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    pub name: String,
    pub ty: &'static str,
    pub file: String,
}

/// Rows that are looked at.
const ROWS: usize = 50;
/// Files that are looked at.
const FILES: usize = 20;

/// The columns of the CSV files in the model's folder.
pub fn columns(model: &str) -> Vec<Column> {
    let folder = match Path::new(model).parent() {
        Some(p) if p.as_os_str().is_empty() => Path::new("."),
        Some(p) => p,
        None => return vec![],
    };
    let Ok(entries) = std::fs::read_dir(folder) else { return vec![] };
    let is_csv = |p: &Path| p.extension().is_some_and(|e| e.eq_ignore_ascii_case("csv"));
    let mut files: Vec<_> = entries.flatten().map(|e| e.path()).filter(|p| is_csv(p)).collect();
    files.sort();
    files.iter().take(FILES).flat_map(|path| columns_of(path).unwrap_or_default()).collect()
}

fn columns_of(path: &Path) -> Option<Vec<Column>> {
    let file = path.file_name()?.to_string_lossy().into_owned();
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(File::open(path).ok()?);
    let names: Vec<String> = reader.headers().ok()?.iter().map(|h| h.trim().to_owned()).collect();
    let rows: Vec<csv::StringRecord> = reader.records().take(ROWS).filter_map(Result::ok).collect();
    let column = |(i, name): (usize, &String)| {
        let cells: Vec<&str> = rows.iter().filter_map(|r| r.get(i)).map(str::trim).filter(|c| !c.is_empty()).collect();
        Column { name: name.clone(), ty: suggested(&cells), file: file.clone() }
    };
    Some(names.iter().enumerate().filter(|(_, n)| !n.is_empty()).map(column).collect())
}

fn suggested(cells: &[&str]) -> &'static str {
    let all = |is: &dyn Fn(&str) -> bool| !cells.is_empty() && cells.iter().all(|c| is(c));
    if all(&|c| matches!(c, "true" | "false" | "TRUE" | "FALSE")) {
        "bool"
    } else if all(&|c| c.parse::<i64>().is_ok()) {
        "int"
    } else if all(&|c| c.parse::<f64>().is_ok()) {
        "real"
    } else if all(&|c| c.len() == 10 && c.split('-').count() == 3 && c.chars().all(|c| c.is_ascii_digit() || c == '-'))
    {
        "date"
    } else if cells.is_empty() {
        "real"
    } else {
        "category"
    }
}
