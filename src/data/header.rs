//! Finding the columns that a model declares in the header of a file.

use super::assign::listed;
use super::cells::quoted;
use crate::diag::{Code, Diagnostic, Diags, nearest};
use crate::hir::{Column, From, Hir, Table, Var, VarId, VarKind};

/// Where a declared column stands in the file: one field, or one per label for a vector column.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Positions in a row, from 0.
    pub fields: Vec<usize>,
    /// As many as `fields`; what a plate declared by this column is labelled with.
    pub labels: Vec<String>,
}

/// What is wrong with a first line that names none of a table's columns, if it does not look like a header at all.
pub fn not_a_header(hir: &Hir, table: &Table, header: &[String], file: &str) -> Option<Diagnostic> {
    let named = |id: &VarId| match &hir.var(*id).kind {
        VarKind::Column(Column { from: From::Name(name), .. }) => header.contains(name),
        _ => false,
    };
    if table.columns.iter().any(named) {
        return None;
    }
    let said = |message: String| Code::DATA_NO_COLUMN.at(table.span, message).here("its columns are found by name");
    if let [only] = header
        && let Some((_, signs)) =
            [(';', "semicolons"), ('\t', "tabs"), ('|', "bars")].iter().find(|(c, _)| only.contains(*c))
    {
        let d = said(format!("the first line of `{file}` reads as a single name"));
        return Some(
            d.place(format!("{file}:1:1: {}", quoted(only)))
                .help(format!("separate the cells by commas instead of {signs}")),
        );
    }
    if let Some(number) = header.iter().position(|name| name.parse::<f64>().is_ok()) {
        let d = said(format!("the first line of `{file}` holds a number where a name belongs"));
        return Some(
            d.place(format!("{file}:1:{}: {}", number + 1, quoted(&header[number])))
                .help("put a line with the names of the columns above the rows"),
        );
    }
    // Not one column by its name, a pattern, or nearly so: another file.
    let known = |id: &VarId| match &hir.var(*id).kind {
        VarKind::Column(Column { from, .. }) => {
            let near = |name: &String| nearest(name, header.iter().map(String::as_str)).is_some();
            matches(from, header) || matches!(from, From::Name(name) if near(name))
        }
        _ => true,
    };
    (table.columns.len() > 1 && !table.columns.iter().any(known)).then(|| {
        said(format!("`{file}` has none of the columns of `{}`", table.name))
            .note(format!("its columns are: {}", listed(header.iter().map(String::as_str))))
            .help("see whether it is the right file; a column of another name is read by `x: real from \"that name\"`")
    })
}

/// Find `var` in `header`, or say what is wrong and which columns there are.
pub fn find(var: &Var, column: &Column, header: &[String], file: &str, diags: &mut Diags) -> Option<Found> {
    let mut search = Search { var, header, file, diags };
    match &column.from {
        From::Name(name) => search.list(std::slice::from_ref(name)),
        From::List(names) => search.list(names),
        From::Pattern(pattern) => search.pattern(pattern),
        From::Range(first, last) => search.range(first, last),
    }
}

/// Whether a header has any of the columns that a declaration reads.
pub fn matches(from: &From, header: &[String]) -> bool {
    header.iter().any(|h| match from {
        From::Name(name) => h == name,
        From::List(names) => names.contains(h),
        From::Range(first, last) => h == first || h == last,
        From::Pattern(pattern) => {
            let (before, after) = pattern.split_once('*').unwrap_or((pattern, ""));
            h.len() > before.len() + after.len() && h.starts_with(before) && h.ends_with(after)
        }
    })
}

struct Search<'a> {
    var: &'a Var,
    header: &'a [String],
    file: &'a str,
    diags: &'a mut Diags,
}

impl Search<'_> {
    fn list(&mut self, names: &[String]) -> Option<Found> {
        // Every name that is missing is reported, not only the first.
        let fields: Vec<Option<usize>> = names.iter().map(|name| self.one(name)).collect();
        Some(Found { fields: fields.into_iter().collect::<Option<_>>()?, labels: names.to_vec() })
    }

    /// What `*` matched labels the cells. Each header name that matches is taken, in file order.
    fn pattern(&mut self, pattern: &str) -> Option<Found> {
        let (before, after) = pattern.split_once('*').unwrap_or((pattern, ""));
        let mut found = Found { fields: vec![], labels: vec![] };
        for (field, name) in self.header.iter().enumerate() {
            let Some(label) = name.strip_prefix(before).and_then(|rest| rest.strip_suffix(after)) else { continue };
            if label.is_empty() {
                continue;
            }
            if let Some(first) = found.labels.iter().position(|l| l == label) {
                self.twice(name, found.fields[first], field);
                return None;
            }
            found.fields.push(field);
            found.labels.push(label.to_owned());
        }
        if found.fields.is_empty() {
            let d = Code::DATA_NO_MATCH
                .at(self.var.span, format!("no column of `{}` matches `{pattern}`", self.file))
                .here("needs at least one column");
            self.missing(d, before);
            return None;
        }
        Some(found)
    }

    fn range(&mut self, first: &str, last: &str) -> Option<Found> {
        let (start, end) = (self.one(first), self.one(last));
        let (start, end) = (start?, end?);
        if start > end {
            self.diags.push(
                Code::DATA_NO_MATCH
                    .at(self.var.span, format!("in `{}`, `{first}` stands after `{last}`", self.file))
                    .here("a header range goes from left to right")
                    .help(format!("write `from \"{last}\"..\"{first}\"`")),
            );
            return None;
        }
        let fields: Vec<usize> = (start..=end).collect();
        let labels: Vec<String> = self.header[start..=end].to_vec();
        for (i, name) in labels.iter().enumerate() {
            if let Some(j) = labels[..i].iter().position(|l| l == name) {
                self.twice(name, start + j, start + i);
                return None;
            }
        }
        Some(Found { fields, labels })
    }

    fn one(&mut self, name: &str) -> Option<usize> {
        let mut places = self.header.iter().enumerate().filter(|(_, n)| *n == name).map(|(i, _)| i);
        match (places.next(), places.next()) {
            (Some(field), None) => Some(field),
            (Some(first), Some(second)) => {
                self.twice(name, first, second);
                None
            }
            (None, _) => {
                let d = Code::DATA_NO_COLUMN
                    .at(self.var.span, format!("`{}` has no column `{name}`", self.file))
                    .here(format!("`{}` is read from it", self.var.name));
                self.missing(d, name);
                None
            }
        }
    }

    fn twice(&mut self, name: &str, first: usize, second: usize) {
        self.diags.push(
            Code::DATA_COLUMN_TWICE
                .at(self.var.span, format!("`{}` has two columns named `{name}`", self.file))
                .here("which one is meant?")
                .place(format!("{}:1:{}: {}", self.file, first + 1, quoted(name)))
                .place(format!("{}:1:{}: {}", self.file, second + 1, quoted(name)))
                .help("rename one of them in the header"),
        );
    }

    /// Push `d`, which says that a column is missing, with what may have been meant.
    fn missing(&mut self, d: Diagnostic, name: &str) {
        let d = d.note(format!("its columns are: {}", listed(self.header.iter().map(String::as_str))));
        let near = nearest(name, self.header.iter().map(String::as_str).filter(|n| !n.is_empty()));
        let d = match near {
            Some(near) if name == self.var.name => d.help(format!(
                "did you mean `{near}`? Write `{}: … from \"{near}\"`, or rename the column",
                self.var.name
            )),
            Some(near) => d.help(format!("did you mean `{near}`?")),
            None if name == self.var.name => {
                d.help(format!("to read it from a column of another name: `{}: … from \"that name\"`", self.var.name))
            }
            None => d.help("names stand after `from` as in the header; a pattern has one `*`"),
        };
        self.diags.push(d);
    }
}
