//! Reading the files that the command line names.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::args;
use crate::data::columnar::{is_columnar, is_parquet};
use crate::data::pieces::Pieces;
use crate::data::{DataFile, Inputs, is_json};
use crate::diag::{Code, Diagnostic};
use crate::imports::neighbour;

/// Whether a name ends as models do.
pub fn is_model(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|e| e == "vi")
}

/// The text of a model.
pub fn model(name: &str, data: &[String]) -> Result<String, Diagnostic> {
    if !is_model(name)
        && let Some(model) = data.iter().find(|d| is_model(d))
    {
        return Err(Code::MODEL_NOT_FIRST
            .plain(format!("`{name}` stands where the model belongs"))
            .help(format!("the model comes first, then its data: `{model} {name}`")));
    }
    String::from_utf8(bytes(name)?).map_err(|e| {
        let line = e.as_bytes()[..e.utf8_error().valid_up_to()].iter().filter(|&&b| b == b'\n').count() + 1;
        Code::CANNOT_READ
            .plain(format!("`{name}` is not text in UTF-8"))
            .place(format!("{name}:{line}"))
            .help("a model is a text file; save it as UTF-8")
    })
}

/// The data files and `--set` values; every file that cannot be read is reported.
pub fn inputs(args: &args::Inputs) -> Result<Inputs, Vec<Diagnostic>> {
    let (mut files, mut errors) = (vec![], vec![]);
    for argument in &args.data {
        let (table, name) = table_and_file(argument);
        match bytes(name) {
            Ok(bytes) => files.push(DataFile { table: table.map(str::to_owned), name: name.to_owned(), bytes }),
            Err(d) => errors.push(d),
        }
    }
    if errors.is_empty() { Ok(Inputs { files, sets: args.set.clone() }) } else { Err(errors) }
}

/// The file of the table that batches are taken from, if it is to be read in pieces since it has more than so many MB, and what is
/// given besides.
pub fn pieces(args: &args::Inputs, table: Option<&str>, only: bool, most: u32) -> (args::Inputs, Option<Pieces>) {
    let mut others = args.clone();
    let own = |argument: &String| {
        let (named, name) = table_and_file(argument);
        let meant = table.is_some() && (named == table || only && named.is_none());
        let most = u64::from(most) << 20;
        meant && std::fs::metadata(name).is_ok_and(|m| m.is_file() && m.len() > most) && has_rows(name)
    };
    let Some(at) = args.data.iter().position(own) else { return (others, None) };
    let argument = others.data.remove(at);
    let (table, name) = table_and_file(&argument);
    // Cells are larger as numbers than as text, and are copied while they are read.
    let size = (((most as usize) << 20) / 64).clamp(1 << 20, 1 << 23);
    (others, Some(Pieces { table: table.map(str::to_owned), name: name.to_owned(), path: name.into(), size }))
}

/// Whether a file may be CSV or is Parquet: other forms are read whole.
fn has_rows(name: &str) -> bool {
    let mut start = [0; 16];
    let read = std::fs::File::open(name).and_then(|mut f| std::io::Read::read(&mut f, &mut start));
    let file = DataFile { table: None, name: name.into(), bytes: start[..read.unwrap_or(0)].to_vec() };
    !is_json(&file) && (!is_columnar(&file) || is_parquet(&file))
}

/// `houses=houses.csv` names a table; `a/b=c.csv` is a file with an odd name.
pub fn table_and_file(argument: &str) -> (Option<&str>, &str) {
    match argument.split_once('=') {
        Some((table, file)) if !table.is_empty() && table.chars().all(|c| c.is_alphanumeric() || c == '_') => {
            (Some(table), file)
        }
        _ => (None, argument),
    }
}

pub fn bytes(name: &str) -> Result<Vec<u8>, Diagnostic> {
    std::fs::read(name).map_err(|e| {
        let why = match e.kind() {
            ErrorKind::NotFound => "there is no such file".to_owned(),
            ErrorKind::PermissionDenied => "reading it is not allowed".to_owned(),
            ErrorKind::IsADirectory => "it is a directory".to_owned(),
            _ => e.to_string(),
        };
        let d = Code::CANNOT_READ.plain(format!("cannot read `{name}`: {why}"));
        match neighbour(name) {
            Some(near) if e.kind() == ErrorKind::NotFound => d.help(format!("did you mean `{near}`?")),
            _ if e.kind() == ErrorKind::NotFound => d.help("check the path; it is taken from the current directory"),
            _ => d.help("name a file that can be read"),
        }
    })
}

/// Write several files, or none if one of them exists and may not be replaced.
pub fn write_all<T: AsRef<[u8]>>(files: &[(PathBuf, T)], force: bool) -> Result<(), Diagnostic> {
    if let Some((path, _)) = files.iter().find(|(p, _)| !force && p.exists()) {
        return Err(Code::FILE_EXISTS
            .plain(format!("`{}` exists already", path.display()))
            .help("name another file, or add `--force` to replace it"));
    }
    for (path, text) in files {
        let made = path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::write(path, text));
        made.map_err(|e| {
            let d = Code::CANNOT_WRITE.plain(format!("cannot write `{}`: {e}", path.display()));
            d.help("name a place where you may write")
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_stand_before_the_equals_sign() {
        assert_eq!(table_and_file("houses=a/h.csv"), (Some("houses"), "a/h.csv"));
        assert_eq!(table_and_file("houses.csv"), (None, "houses.csv"));
        assert_eq!(table_and_file("./a=b.csv"), (None, "./a=b.csv"));
        assert_eq!(table_and_file("a=b=c.csv"), (Some("a"), "b=c.csv"));
        assert_eq!(table_and_file("=b.csv"), (None, "=b.csv"));
    }
}
