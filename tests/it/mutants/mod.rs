//! Good programs with a single mistake each: it must be reported where it is. `docs/mutants.md` is the table of what comes
//! of all of them; `VIC_MUTANTS=all UPDATE_GOLDEN=1 cargo test --release --test it mutants` makes it anew. The suite tries
//! a sample, and holds it to the table.

mod kinds;
mod plates;

use std::collections::BTreeSet;

use kinds::{KINDS, Mutant, Program};
use vic::diag::Severity;
use vic::source::{FileId, Span};

use super::programs::program;
use super::support::{read, root};
use super::syntax::models;

/// Of so many mutants the suite tries one.
const SAMPLE: usize = 25;

/// What share of the wrong ones must be reported on the line of the mistake.
const BAR: f64 = 0.95;

/// Programs that check without an error: the models of the tests, the examples, and those of the user's pages.
fn good() -> Vec<(String, String)> {
    let base = root("");
    let mut all = vec![];
    for (path, text) in models() {
        let name = path.strip_prefix(&base).expect("in the repository").to_string_lossy().into_owned();
        if !name.starts_with("stdlib") {
            all.push((name, text));
        }
    }
    for page in ["README.md", "docs/language.md"] {
        let text = read(page);
        for (i, block) in text.split("```vi\n").skip(1).enumerate() {
            all.push((format!("{page}, program {}", i + 1), block.split("```").next().unwrap_or("").to_owned()));
        }
    }
    // Fragments have no data, so that little in them can be wrong.
    all.retain(|(_, text)| text.contains("observe") && program("m.vi", text).errors().is_empty());
    all
}

struct Case {
    kind: usize,
    program: String,
    mutant: Mutant,
}

impl Case {
    /// One line of the list of those that are not reported.
    fn told(&self) -> String {
        let line = self.mutant.lines.first().copied().unwrap_or(0);
        format!("- {}, line {line}: {}", self.program, self.mutant.done)
    }

    /// Whether an error points at a line of the mistake.
    fn is_reported(&self) -> bool {
        let checked = program("m.vi", &self.mutant.text);
        let text = &self.mutant.text;
        let line = |offset: u32| text[..text.floor_char_boundary(offset as usize)].matches('\n').count() + 1;
        let there = |s: &Span| {
            s.file == FileId(0) && self.mutant.lines.iter().any(|l| (line(s.start)..=line(s.end)).contains(l))
        };
        let errors = checked.diags.list.iter().filter(|d| d.severity == Severity::Error);
        errors.flat_map(|d| d.span.iter().chain(d.labels.iter().map(|l| &l.span))).any(there)
    }
}

fn cases() -> Vec<Case> {
    let mut cases = vec![];
    for (name, text) in good() {
        let p = Program::new(&text);
        for (kind, (_, make)) in KINDS.iter().enumerate() {
            let made = make(&p).into_iter();
            cases.extend(made.map(|mutant| Case { kind, program: name.clone(), mutant }));
        }
    }
    cases
}

const HEAD: &str = "\
# Single mistakes, and where they are reported

Every good program of the repository (the models under `tests/models`, the examples, those of the README and of the
reference of the language) is given one mistake at a time, of twelve kinds, in every place where it can be made. Some of what comes of it is another model that the language
allows as well: two names of one kind swapped, an index dropped where the plate is there anyway. A mutant counts as wrong if it breaks
a rule of the language: by construction (an unknown name, a bracket too few), or by a second opinion on plates that shares
no code with the compiler. Of those, an error must point at the line of the mistake; where a declaration was removed or a
column was given another type, at a line that uses it.

`VIC_MUTANTS=all UPDATE_GOLDEN=1 cargo test --release --test it mutants` makes this page; the tests hold a sample of it to
what the compiler says.

";

fn page(cases: &[Case], missed: &BTreeSet<usize>) -> String {
    let mut page = String::from(HEAD);
    page += "| mistake | mutants | wrong | reported there | share |\n|---|---:|---:|---:|---:|\n";
    let mut sums = [0; 3];
    let mut row = |name: &str, n: [usize; 3]| {
        let share = 100.0 * n[2] as f64 / n[1].max(1) as f64;
        page += &format!("| {name} | {} | {} | {} | {share:.1} % |\n", n[0], n[1], n[2]);
    };
    for (k, (name, _)) in KINDS.iter().enumerate() {
        let of: Vec<usize> = (0..cases.len()).filter(|i| cases[*i].kind == k).collect();
        let wrong = of.iter().filter(|i| cases[**i].mutant.wrong).count();
        let told = wrong - of.iter().filter(|i| missed.contains(i)).count();
        let n = [of.len(), wrong, told];
        (0..3).for_each(|i| sums[i] += n[i]);
        row(name, n);
    }
    row("all", sums);
    page += "\n## Those that are not\n";
    for (k, (name, _)) in KINDS.iter().enumerate() {
        let of: Vec<usize> = missed.iter().copied().filter(|i| cases[*i].kind == k).collect();
        if !of.is_empty() {
            page += &format!("\n### {name}\n\n");
            of.iter().for_each(|i| page += &format!("{}\n", cases[*i].told()));
        }
    }
    page
}

#[test]
fn mistakes_are_reported_where_they_are() {
    let all = std::env::var_os("VIC_MUTANTS").is_some();
    let cases = cases();
    let step = if all { 1 } else { SAMPLE };
    let tried: Vec<usize> = (0..cases.len()).step_by(step).filter(|i| cases[*i].mutant.wrong).collect();
    let half = tried.len() / 2;
    let judge =
        |which: &[usize]| -> Vec<usize> { which.iter().copied().filter(|i| !cases[*i].is_reported()).collect() };
    // Two threads at most, so that the other tests get on.
    let missed: BTreeSet<usize> = std::thread::scope(|s| {
        let other = s.spawn(|| judge(&tried[half..]));
        let mine = judge(&tried[..half]);
        mine.into_iter().chain(other.join().expect("no panic")).collect()
    });
    let path = root("docs/mutants.md");
    if all {
        let now = page(&cases, &missed);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &now).expect("writable");
        }
        assert_eq!(read("docs/mutants.md"), now, "docs/mutants.md is not current");
        let mut kinds: Vec<_> = KINDS
            .iter()
            .enumerate()
            .map(|(k, (name, _))| {
                let of = tried.iter().filter(|i| cases[**i].kind == k).count();
                let lost = missed.iter().filter(|i| cases[**i].kind == k).count();
                (1.0 - lost as f64 / of.max(1) as f64, *name)
            })
            .collect();
        kinds.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert!(kinds.iter().all(|k| k.0 >= BAR), "{kinds:?}");
        return;
    }
    let known = read("docs/mutants.md");
    let new: Vec<String> = missed.iter().map(|i| cases[*i].told()).filter(|t| !known.contains(t.as_str())).collect();
    assert!(new.is_empty(), "no longer reported on their lines:\n{}", new.join("\n"));
    // The numbers of mutants need no checks, so that all of them are compared; a program more or less is no matter.
    let whole = page(&cases, &BTreeSet::new());
    let (then, now) = (total(&known), total(&whole));
    let far = then.zip(now).is_none_or(|(a, b)| a.abs_diff(b) * 10 > b);
    assert!(!far, "docs/mutants.md is of other programs ({then:?} mutants, now {now:?}): make it anew");
}

/// How many mutants a page speaks of.
fn total(page: &str) -> Option<usize> {
    page.lines().find_map(|l| l.strip_prefix("| all | "))?.split(' ').next()?.parse().ok()
}
