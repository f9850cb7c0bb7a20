//! Which file holds which table.

use super::DataFile;
use super::header;
use super::json::{Columns, Keys};
use crate::diag::{Code, Diags, nearest};
use crate::hir::{Column, Hir, Table, VarKind};

/// The file of each table, by `TableId`. `table=file` names its table; one file without a name goes to the only table left.
/// `keys`: JSON files are given as well, in which a table without a file may have its columns.
pub fn files<'a>(hir: &Hir, files: &[&'a DataFile], keys: bool, diags: &mut Diags) -> Vec<Option<&'a DataFile>> {
    let mut of_table: Vec<Option<&DataFile>> = vec![None; hir.tables.len()];
    let names = || hir.tables.iter().map(|t| t.name.as_str());
    let mut rejected = false;
    for &file in files {
        let Some(table) = &file.table else { continue };
        let given = format!("{table}={}", file.name);
        let Some(i) = hir.tables.iter().position(|t| t.name == *table) else {
            rejected = true;
            let d = Code::DATA_UNKNOWN_TABLE.plain(format!("`{given}`: the model has no table `{table}`"));
            diags.push(match nearest(table, names()) {
                Some(near) => d.help(format!("did you mean `{near}={}`?", file.name)),
                None if hir.tables.is_empty() => d.help("the model declares no `data` table: leave the file out"),
                None => d.help(format!("the model's tables are: {}", listed(names()))),
            });
            continue;
        };
        if let Some(first) = of_table[i] {
            rejected = true;
            diags.push(
                Code::DATA_TABLE_TWICE
                    .at(hir.tables[i].span, format!("two files are given for the table `{table}`"))
                    .here("one file holds all its rows")
                    .note(format!("`{table}={}` and `{given}`", first.name))
                    .help("give one of them"),
            );
            continue;
        }
        of_table[i] = Some(file);
    }

    let unnamed: Vec<&DataFile> = files.iter().copied().filter(|f| f.table.is_none()).collect();
    let open: Vec<usize> = (0..hir.tables.len()).filter(|&i| of_table[i].is_none()).collect();
    match (unnamed.as_slice(), open.as_slice()) {
        ([file], [table]) => of_table[*table] = Some(file),
        ([], _) if keys => {}
        ([], open) => {
            // After a misspelt table name, the missing file is the same mistake.
            for &i in open.iter().filter(|_| !rejected) {
                let table = &hir.tables[i];
                let argument = if hir.tables.len() == 1 {
                    format!("{}.csv", table.name)
                } else {
                    format!("{0}={0}.csv", table.name)
                };
                diags.push(
                    Code::DATA_NO_FILE
                        .at(table.span, format!("the table `{}` has no data file", table.name))
                        .here("its rows come from a CSV file")
                        .help(format!("name the file after the model: `{argument}`")),
                );
            }
        }
        (unnamed, []) => {
            for file in unnamed {
                let d = Code::DATA_EXTRA_FILE.plain(format!("no table of the model takes `{}`", file.name));
                diags.push(if hir.tables.is_empty() {
                    d.help("the model declares no `data` table: leave the file out")
                } else {
                    d.note(format!("every table has its file: {}", listed(names()))).help("leave the file out")
                });
            }
        }
        (unnamed, [only]) => {
            let table = &hir.tables[*only];
            diags.push(
                Code::DATA_EXTRA_FILE
                    .at(table.span, format!("{} files are given for the table `{}`", unnamed.len(), table.name))
                    .here("one file holds all its rows")
                    .note(listed(unnamed.iter().map(|f| f.name.as_str())))
                    .help(if hir.tables.len() == 1 {
                        "give one of them"
                    } else {
                        "write the table before each file: `table=file`"
                    }),
            );
        }
        (unnamed, open) => {
            let open: Vec<&str> = open.iter().map(|&i| hir.tables[i].name.as_str()).collect();
            let example: Vec<String> = open.iter().zip(unnamed).map(|(t, f)| format!("{t}={}", f.name)).collect();
            let files: Vec<&str> = unnamed.iter().map(|f| f.name.as_str()).collect();
            diags.push(
                Code::DATA_EXTRA_FILE
                    .plain(format!(
                        "it is not clear which table {} belongs to",
                        if files.len() == 1 { format!("`{}`", files[0]) } else { format!("each of {}", listed(files)) }
                    ))
                    .note(format!("tables without a file: {}", listed(open)))
                    .help(format!("write the table before each file, as in `{}`", example.join(" "))),
            );
        }
    }
    of_table
}

/// The JSON file with the columns of a table that has no file of its own: one that has some of them.
pub fn keys<'k>(hir: &Hir, table: &Table, keys: &'k [Keys], diags: &mut Diags) -> Option<&'k Keys> {
    let named = |k: &Keys| {
        let columns = Columns::of(k);
        table.columns.iter().any(|&c| match &hir.var(c).kind {
            VarKind::Column(Column { from, .. }) => header::matches(from, &columns.header),
            _ => false,
        })
    };
    if let Some(found) = keys.iter().find(|k| named(k)) {
        return Some(found);
    }
    let first = keys.first()?; // without any, the missing file has been reported
    let listed = listed(first.entries.iter().map(|(k, _)| k.as_str()));
    diags.push(
        Code::DATA_NO_FILE
            .at(table.span, format!("`{}` has none of the columns of the table `{}`", first.file, table.name))
            .here("its rows come from a file")
            .note(format!("its keys are: {listed}"))
            .help(format!("give the table a file of its own: `{0}={0}.csv`", table.name)),
    );
    None
}

/// `a`, `b` and 3 more.
pub fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 12;
    let names: Vec<&str> = names.into_iter().collect();
    let mut out = names.iter().take(SHOWN).map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        out.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    out
}
