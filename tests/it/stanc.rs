//! Twenty mistakes as `vic` and `stanc` tell of them: `docs/stanc.md` is made from the programs of `docs/stanc`, from what
//! `stanc` says there (`docs/stanc/run.sh`), and from what `vic` says now. `UPDATE_GOLDEN=1` writes it.

use super::programs::program;
use super::support::{read, root};

const HEAD: &str = "\
# Twenty mistakes, as told by vic and by stanc

The same model with the same mistake in both languages, and what the compilers say of it, verbatim. Each is judged by three questions:
is the place right, is the cause named, is the edit offered? A dot is a yes, a circle half of one. `stanc` was asked with
`--warn-pedantic`, which has to be switched on. The programs are in `docs/stanc`; `docs/stanc/run.sh STANC` asks `stanc` again,
and a test holds this page to what `vic` says now.

";

fn mark(flag: char) -> &'static str {
    match flag {
        'y' => "●",
        'p' => "○",
        _ => "",
    }
}

/// Yes counts 1, half of one a half.
fn points(flags: &str) -> f64 {
    flags
        .chars()
        .map(|c| {
            if c == 'y' {
                1.0
            } else if c == 'p' {
                0.5
            } else {
                0.0
            }
        })
        .sum()
}

fn page() -> String {
    let judged = read("docs/stanc/judged.tsv");
    let rows: Vec<Vec<&str>> = judged.lines().map(|l| l.split('\t').collect()).collect();
    let mut page = format!("{HEAD}`stanc` is {}.\n\n", read("docs/stanc/version.txt").trim());
    page += "| | mistake | vic: place | cause | edit | stanc: place | cause | edit | |\n|---:|---|:-:|:-:|:-:|:-:|:-:|:-:|---|\n";
    for (i, row) in rows.iter().enumerate() {
        let marks: Vec<&str> = row[2].chars().chain(row[3].chars()).map(mark).collect();
        let remark = row.get(4).copied().unwrap_or("");
        page += &format!("| {} | {} | {} | {remark} |\n", i + 1, row[1], marks.join(" | "));
    }
    let sum = |of: usize| rows.iter().map(|r| points(r[of])).sum::<f64>();
    let all = 3 * rows.len();
    page += &format!("\nOf {all} points `vic` has {} and `stanc` {}.\n", sum(2), sum(3));
    for (i, row) in rows.iter().enumerate() {
        let file = |ending: &str| read(&format!("docs/stanc/{}.{ending}", row[0]));
        let ours = file("vi");
        let said = program(&format!("{}.vi", row[0]), &ours).rendered();
        assert!(!said.is_empty(), "{} is not reported", row[0]);
        let theirs = file("txt");
        let theirs = theirs.lines().filter(|l| !l.starts_with("exit ")).collect::<Vec<_>>().join("\n");
        let theirs = if theirs.trim().is_empty() { "(nothing: the program compiles)" } else { theirs.trim_end() };
        page += &format!("\n## {}. {}\n\n```vi\n{ours}```\n\n```text\n{said}```\n\n", i + 1, row[1]);
        page += &format!("```stan\n{}```\n\n```text\n{theirs}\n```\n", file("stan"));
    }
    page
}

#[test]
fn golden_page_is_current() {
    let now = page();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(root("docs/stanc.md"), &now).expect("writable");
    }
    assert!(read("docs/stanc.md") == now, "docs/stanc.md is not current: UPDATE_GOLDEN=1 makes it anew");
}
