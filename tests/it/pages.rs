//! Every code has a page; the page's wrong program is told so by this code first, and the mended one is accepted.

use super::programs::{Checked, program};
use vic::diag::{ALL, Code};

/// The first ```vi block under a heading.
fn block<'p>(page: &'p str, heading: &str) -> Option<&'p str> {
    let section = page.split(&format!("\n## {heading}\n")).nth(1)?.split("\n## ").next()?;
    section.split("```vi\n").nth(1)?.split("```").next()
}

fn checked(code: &Code, text: &str) -> Checked {
    program(&format!("{}.vi", code.id), text)
}

#[test]
fn titles() {
    let wrong: Vec<String> = ALL
        .iter()
        .filter_map(|c| {
            let first = c.page.lines().next().unwrap_or("");
            let right = format!("# {}: {}", c.id, c.title);
            (first != right).then(|| format!("docs/errors/{}.md begins `{first}`, not `{right}`", c.id))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn ids_are_distinct() {
    let mut ids: Vec<&str> = ALL.iter().map(|c| c.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), ALL.len());
}

/// Codes of what no program can do yet.
const LATER: [&str; 1] = ["V0321"];

/// Whether what is wrong is the program itself, not its data or the command line.
fn is_of_program(code: &Code) -> bool {
    code.id == Code::GUIDE_SIZE.id || ["V01", "V02", "V03", "V04", "V05", "V06", "V10"].contains(&&code.id[..3])
}

#[test]
fn wrong_programs_are_told_so_and_mended_ones_accepted() {
    let mut failures = vec![];
    for code in ALL.iter().filter(|c| is_of_program(c) && !LATER.contains(&c.id)) {
        // A program that nests too deep would fill the page.
        let (Some(wrong), Some(mended)) = (block(code.page, "Wrong"), block(code.page, "Mended")) else {
            failures.push(format!("{}: no program", code.id));
            continue;
        };
        let found = checked(code, wrong);
        let codes = found.codes();
        let right = if code.warning { codes.contains(&code.id) } else { codes.first() == Some(&code.id) };
        if !right && **code != *Code::TOO_DEEP {
            failures.push(format!("{}: the wrong program gives {codes:?}\n{}", code.id, found.rendered()));
        }
        // Syntax pages show single lines, so what they declare need not be used.
        let found = checked(code, mended);
        let bad = if code.id.starts_with("V01") { found.errors() } else { found.codes() };
        if !bad.is_empty() {
            failures.push(format!("{}: the mended program gives {bad:?}\n{}", code.id, found.rendered()));
        }
    }
    assert!(failures.is_empty(), "{} failures\n\n{}", failures.len(), failures.join("\n\n"));
}

#[test]
fn programs_with_wrong_data_are_right_in_themselves() {
    for code in ALL.iter().filter(|c| !is_of_program(c)) {
        for text in ["Wrong", "Mended"].into_iter().filter_map(|h| block(code.page, h)) {
            let found = checked(code, text);
            assert!(found.errors().is_empty(), "{}\n{}", code.id, found.rendered());
        }
    }
}

/// Every program of the user's pages checks without an error, by itself or, if it only shows declarations that a model
/// would go on from, without an error of syntax.
#[test]
fn programs_of_the_documentation_are_right() {
    let mut failures = vec![];
    for page in ["docs/language.md", "docs/data.md", "README.md"] {
        let text = std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).expect("UTF-8");
        for (i, block) in text.split("```vi\n").skip(1).enumerate() {
            let found = program(page, block.split("```").next().unwrap_or(""));
            if !found.errors().is_empty() {
                failures.push(format!("{page}, block {}\n{}", i + 1, found.rendered()));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}
