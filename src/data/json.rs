//! JSON as Stan users have it: an object whose keys are numbers, arrays (the columns of a table) and matrices (lists of
//! rows), read with the order and the repetition of its keys.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::DataFile;
use super::cells::{quoted, written};
use crate::diag::{Code, Diags};

/// A value of a JSON file, with its keys in the order of the file.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    /// A number or a truth value as text, or a text.
    Cell(String),
    List(Vec<Value>),
    Object(Vec<(String, Value)>),
}

/// The keys of one file.
#[derive(Debug)]
pub struct Keys {
    /// The file as the user typed it.
    pub file: String,
    pub entries: Vec<(String, Value)>,
}

/// Whether a file is JSON, by its name or by how it begins.
pub fn is_json(file: &DataFile) -> bool {
    let bytes = file.bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&file.bytes);
    file.name.to_ascii_lowercase().ends_with(".json") || bytes.trim_ascii_start().starts_with(b"{")
}

/// The keys of a file, or a diagnostic.
pub fn read(file: &DataFile, diags: &mut Diags) -> Option<Keys> {
    let bytes = file.bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&file.bytes);
    let said = |why: String| Code::DATA_NOT_JSON.plain(format!("`{}` cannot be read as JSON: {why}", file.name));
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(entries)) => {
            let twice = entries.iter().enumerate().find(|(i, (k, _))| entries[..*i].iter().any(|(o, _)| o == k));
            if let Some((_, (key, _))) = twice {
                diags.push(said(format!("the key {} stands twice", quoted(key))).help("remove one of them"));
                return None;
            }
            Some(Keys { file: file.name.clone(), entries })
        }
        Ok(_) => {
            let d = said("it does not hold an object with keys".into());
            diags.push(d.help("write an object, one key per column: `{\"y\": [28, 8], \"sigma\": [15, 10]}`"));
            None
        }
        Err(e) => {
            let text = e.to_string();
            let why = text.split(" at line ").next().unwrap_or(&text).to_owned();
            let place = format!("{}:{}:{}", file.name, e.line(), e.column());
            let help = match std::str::from_utf8(bytes) {
                Ok(t) if t.contains("NaN") || t.contains("Inf") => {
                    "JSON has no `NaN` and no infinity: a missing value is `null`"
                }
                _ => "mend the file there; JSON has no comments and no comma after the last item",
            };
            diags.push(said(why).place(place).help(help));
            None
        }
    }
}

impl Value {
    /// What it is, for messages.
    pub fn kind(&self) -> String {
        match self {
            Value::Null => "null".into(),
            Value::Cell(_) => "a single value".into(),
            Value::Object(_) => "an object with keys".into(),
            Value::List(items) => match items.first() {
                Some(Value::List(row)) => format!("a list of {} lists, the first of {}", items.len(), row.len()),
                _ => format!("a list of {}", items.len()),
            },
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Value;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_unit<E: Error>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }
            fn visit_bool<E: Error>(self, v: bool) -> Result<Value, E> {
                Ok(Value::Cell(v.to_string()))
            }
            fn visit_i64<E: Error>(self, v: i64) -> Result<Value, E> {
                Ok(Value::Cell(v.to_string()))
            }
            fn visit_u64<E: Error>(self, v: u64) -> Result<Value, E> {
                Ok(Value::Cell(v.to_string()))
            }
            fn visit_f64<E: Error>(self, v: f64) -> Result<Value, E> {
                Ok(Value::Cell(written(v)))
            }
            fn visit_str<E: Error>(self, v: &str) -> Result<Value, E> {
                Ok(Value::Cell(v.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
                let mut items = vec![];
                while let Some(v) = seq.next_element()? {
                    items.push(v);
                }
                Ok(Value::List(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
                let mut entries = vec![];
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Value::Object(entries))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// A list as the columns of a table: a key of numbers is one column, a matrix `X` is `X.1`, `X.2`, ….
pub struct Columns<'k> {
    pub header: Vec<String>,
    /// The list, and which item of each row, per column.
    columns: Vec<(&'k [Value], Option<usize>)>,
}

impl<'k> Columns<'k> {
    pub fn of(keys: &'k Keys) -> Columns<'k> {
        let mut out = Columns { header: vec![], columns: vec![] };
        for (key, value) in &keys.entries {
            let Value::List(items) = value else { continue };
            match items.first() {
                Some(Value::List(row)) => {
                    for j in 0..row.len() {
                        out.header.push(format!("{key}.{}", j + 1));
                        out.columns.push((items, Some(j)));
                    }
                }
                _ => {
                    out.header.push(key.clone());
                    out.columns.push((items, None));
                }
            }
        }
        out
    }

    pub fn rows(&self, field: usize) -> usize {
        self.columns[field].0.len()
    }

    /// A cell's text, empty where it is null; `Err` says what stands there instead of a cell.
    pub fn cell(&self, field: usize, row: usize) -> Result<&'k str, String> {
        let (items, within) = self.columns[field];
        let item = match (&items[row], within) {
            (Value::List(values), Some(j)) => match values.get(j) {
                Some(v) => v,
                None => return Err(format!("a row of only {}", values.len())),
            },
            (other, Some(_)) => return Err(format!("{} in place of a row", other.kind())),
            (item, None) => item,
        };
        match item {
            Value::Null => Ok(""),
            Value::Cell(text) => Ok(text),
            other => Err(other.kind()),
        }
    }
}

/// Where a cell stands: `y[3]`, or `X[3, 2]` for the third row of the column `X.2`.
pub fn place(header: &str, row: u64, matrix: bool) -> String {
    match header.rsplit_once('.') {
        Some((key, column)) if matrix => format!("{key}[{row}, {column}]"),
        _ => format!("{header}[{row}]"),
    }
}

impl Columns<'_> {
    pub fn is_matrix(&self, field: usize) -> bool {
        self.columns[field].1.is_some()
    }
}
