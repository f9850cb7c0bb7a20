//! Programs that are wrong: each `tests/bad/NAME.vi` stands beside what is said of it, `NAME.err`.
//! `UPDATE_GOLDEN=1 cargo test --release --test it golden` rewrites those; the diff is the review.

use super::programs::program;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use vic::diag::{ALL, Code, Diags};
use vic::source::Sources;
use vic::syntax::parse;

/// All that is said of a program.
fn diagnose(path: &Path) -> String {
    let name = path.file_name().expect("a file").to_string_lossy().into_owned();
    program(&name, &std::fs::read_to_string(path).expect("readable, UTF-8")).rendered()
}

fn bad(extension: &str) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad");
    let entries = std::fs::read_dir(dir).expect("tests/bad is part of the repository");
    let mut files: Vec<PathBuf> = entries.map(|e| e.expect("readable").path()).collect();
    files.retain(|p| p.extension().is_some_and(|e| e == extension));
    files.sort();
    files
}

#[test]
fn bad_programs_are_answered() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut wrong = vec![];
    for path in bad("vi") {
        let said = diagnose(&path);
        let golden = path.with_extension("err");
        if said.is_empty() {
            wrong.push(format!("{}: nothing was said", path.display()));
        } else if update {
            std::fs::write(&golden, &said).expect("writable");
        } else if std::fs::read_to_string(&golden).unwrap_or_default() != said {
            wrong.push(format!("{} no longer matches; now:\n{said}", golden.display()));
        }
    }
    for path in bad("err") {
        if !path.with_extension("vi").exists() {
            wrong.push(format!("{} has no program", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// The blocks of one language in a section of a page.
fn blocks<'a>(page: &'a str, section: &str) -> Vec<&'a str> {
    let Some((_, rest)) = page.split_once(&format!("\n## {section}\n")) else { return vec![] };
    let body = rest.split("\n## ").next().unwrap_or("");
    body.split("```vi\n").skip(1).map(|b| b.split("```").next().unwrap_or("")).collect()
}

/// The pages of the syntax errors: the wrong program gets the page's code, the mended one nothing.
#[test]
fn pages_of_syntax_errors_tell_the_truth() {
    let codes = |text: &str| {
        let mut sources = Sources::default();
        let file = sources.add("page.vi", text);
        let mut diags = Diags::default();
        parse(file, &sources.get(file).text, &mut diags);
        diags.list.iter().map(|d| d.code.id).collect::<BTreeSet<_>>()
    };
    for code in ALL.iter().filter(|c| c.id.starts_with("V01")) {
        let (wrong, mended) = (blocks(code.page, "Wrong"), blocks(code.page, "Mended"));
        assert!(!wrong.is_empty() && !mended.is_empty(), "{} shows no program", code.id);
        // A program that nests too deep would fill the page.
        if code.id != Code::TOO_DEEP.id {
            assert!(wrong.iter().all(|w| codes(w) == BTreeSet::from([code.id])), "{}: {:?}", code.id, codes(wrong[0]));
        }
        assert!(mended.iter().all(|m| codes(m).is_empty()), "{}: {:?}", code.id, codes(mended[0]));
    }
}

/// Every error that a program can have is shown by some program of `tests/bad`.
#[test]
fn every_error_has_a_program() {
    let said: String = bad("vi").iter().map(|p| diagnose(p)).collect();
    let of_program = |id: &str| ["V01", "V02", "V03", "V04", "V05", "V06", "V10"].contains(&&id[..3]);
    let missing: Vec<&str> = ALL.iter().map(|c| c.id).filter(|id| of_program(id) && !said.contains(*id)).collect();
    // One would fill the page; the other needs lags, which no program can write yet.
    assert_eq!(missing, [Code::TOO_DEEP.id, Code::INDEX_OUTSIDE.id]);
}
