//! Data values beside the tables, from the keys of JSON files: `data D: real`, `data start: real[species]`.

use std::sync::Arc;

use super::bound::{PlateData, Values};
use super::cells::{self, Cell, quoted};
use super::json::{Keys, Value};
use crate::diag::{Code, Diagnostic, Diags, and_more, counted};
use crate::hir::{Ty, Var};

/// The value of a key, and the file that it comes from. Of several files the first counts: a key in two is reported.
pub fn find<'k>(keys: &'k [Keys], key: &str) -> Option<(&'k str, &'k Value)> {
    keys.iter().find_map(|k| k.entries.iter().find(|(n, _)| n == key).map(|(_, v)| (k.file.as_str(), v)))
}

/// A key that several files have.
pub fn repeated(keys: &[Keys], diags: &mut Diags) {
    for (i, file) in keys.iter().enumerate() {
        for (key, _) in &file.entries {
            if let Some(first) = keys[..i].iter().find(|k| k.entries.iter().any(|(n, _)| n == key)) {
                diags.push(
                    Code::DATA_NOT_JSON
                        .plain(format!("`{}` and `{}` both have the key {}", first.file, file.file, quoted(key)))
                        .help("leave one of the files out, or remove the key from it"),
                );
            }
        }
    }
}

/// The numbers of a data value over its plates. Lists nest in the order of the plates, as rows of a matrix do; a list
/// over one plate may be an object whose keys are the plate's labels.
pub fn numbers(
    var: &Var,
    key: &str,
    file: &str,
    value: &Value,
    plates: &[&PlateData],
    diags: &mut Diags,
) -> Option<Values> {
    let dims: Vec<usize> = plates.iter().map(|p| p.size).collect();
    let mut reader = Reader { var, file, plates, out: vec![f64::NAN; dims.iter().product()], wrong: None, bad: vec![] };
    reader.fill(value, 0, 0, 1, key.to_owned());
    if let Some(d) = reader.wrong {
        diags.push(d);
        return None;
    }
    if !reader.bad.is_empty() {
        let what = match var.ty {
            Ty::Int => "a whole number",
            Ty::Bool => "true or false",
            Ty::Real | Ty::Index(_) | Ty::Key | Ty::Date => "a number",
        };
        let code = if var.ty == Ty::Int { Code::DATA_NOT_WHOLE } else { Code::DATA_NOT_NUMBER };
        let mut d = code
            .at(var.span, format!("`{}` in `{file}` is not {what} everywhere", var.name))
            .here(format!("declared {what}"));
        for at in reader.bad.iter().take(cells::SHOWN) {
            d = d.place(at.clone());
        }
        if reader.bad.len() > cells::SHOWN {
            d = d.note(and_more(reader.bad.len() - cells::SHOWN, "value"));
        }
        diags.push(d.help("mend the values in the file, or the type of the declaration"));
        return None;
    }
    Some(Values { dims, numbers: Arc::from(reader.out) })
}

struct Reader<'a> {
    var: &'a Var,
    file: &'a str,
    plates: &'a [&'a PlateData],
    out: Vec<f64>,
    wrong: Option<Diagnostic>,
    /// Places of values that are not of the type.
    bad: Vec<String>,
}

impl Reader<'_> {
    fn fill(&mut self, value: &Value, depth: usize, offset: usize, stride: usize, at: String) {
        let Some(plate) = self.plates.get(depth) else {
            return self.single(value, offset, at);
        };
        let items: Vec<(usize, &Value)> = match value {
            Value::List(items) if items.len() == plate.size => items.iter().enumerate().collect(),
            Value::Object(entries) if entries.len() == plate.size => {
                let cell = |label: &str| plate.labels.iter().position(|l| l == label);
                match entries.iter().map(|(k, v)| Some((cell(k)?, v))).collect() {
                    Some(items) => items,
                    None => {
                        let keys = super::assign::listed(entries.iter().map(|(k, _)| k.as_str()));
                        return self.shape(plate, &at, format!("the keys {keys}"));
                    }
                }
            }
            other => return self.shape(plate, &at, other.kind()),
        };
        for (i, item) in items {
            let inner = match at.strip_suffix(']') {
                Some(open) => format!("{open}, {}]", i + 1),
                None => format!("{at}[{}]", i + 1),
            };
            self.fill(item, depth + 1, offset + stride * i, stride * plate.size, inner);
        }
    }

    fn single(&mut self, value: &Value, offset: usize, at: String) {
        let text = match value {
            Value::Cell(text) => text.trim(),
            other => {
                let d = Code::DATA_SHAPE
                    .at(
                        self.var.span,
                        format!("`{}` needs a single number there, and finds {}", self.var.name, other.kind()),
                    )
                    .here(if self.plates.is_empty() {
                        "declared as a single value"
                    } else {
                        "declared over these plates"
                    })
                    .place(format!("{}: {at}", self.file));
                let d = match (other, self.plates.is_empty()) {
                    (Value::List(_), true) => {
                        d.help(format!("declare the plate that it varies over: `data {}: real[k]`", self.var.name))
                    }
                    _ => d.help("write a number there"),
                };
                self.wrong.get_or_insert(d);
                return;
            }
        };
        let cell = match self.var.ty {
            Ty::Bool => cells::bool(text),
            Ty::Date => cells::date(text),
            Ty::Real | Ty::Int | Ty::Index(_) | Ty::Key => cells::real(text),
        };
        match cell {
            Cell::Number(x) if self.var.ty != Ty::Int || cells::is_whole(x) => self.out[offset] = x,
            Cell::Number(_) | Cell::Missing | Cell::Bad => {
                self.bad.push(format!("{}: {at}: {}", self.file, quoted(text)));
            }
        }
    }

    fn shape(&mut self, plate: &PlateData, at: &str, found: String) {
        let labels = super::assign::listed(plate.labels.iter().map(String::as_str));
        let d = Code::DATA_SHAPE
            .at(
                self.var.span,
                format!("`{}` needs {} there, and finds {found}", self.var.name, counted(plate.size, "value")),
            )
            .here("declared over a plate of that size")
            .place(format!("{}: {at}", self.file))
            .note(format!("the cells of the plate are: {labels}"))
            .help("write a list with one value per cell, in this order, or an object with the cells as its keys");
        self.wrong.get_or_insert(d);
    }
}
