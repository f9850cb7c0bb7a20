//! The formatter keeps the program and its comments, and done again it changes nothing.

use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, RngSeed};
use std::path::Path;
use std::sync::LazyLock;

use super::syntax::{expression, models, parsed, tree};
use vic::diag::ALL;
use vic::syntax::ast::{Ast, Decl, DeclKind};
use vic::syntax::{format, print};

/// Every text of the repository that parses: models, library, wrong programs, the examples of the error pages.
pub fn corpus() -> &'static [String] {
    static CORPUS: LazyLock<Vec<String>> = LazyLock::new(collect);
    &CORPUS
}

fn collect() -> Vec<String> {
    let mut texts: Vec<String> = models().into_iter().map(|(_, text)| text).collect();
    let bad = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad");
    let mut paths: Vec<_> = std::fs::read_dir(bad).expect("a folder").map(|e| e.expect("readable").path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "vi"));
    paths.sort();
    texts.extend(paths.iter().map(|p| std::fs::read_to_string(p).expect("UTF-8")));
    for code in ALL {
        texts.extend(code.page.split("```vi\n").skip(1).map(|b| b.split("```").next().unwrap_or("").to_string()));
    }
    texts.retain(|t| !parsed(t).1.has_errors());
    texts
}

/// What must stay: the tree with its docs, and the comments in their order.
fn meaning(ast: &Ast) -> (String, Vec<String>) {
    (tree(ast), ast.comments.iter().map(|c| c.text.clone()).collect())
}

/// Format a text that parses, and hold the result to all that is promised.
pub fn formatted(text: &str) -> String {
    let (before, _) = parsed(text);
    let out = format(text);
    let (after, said) = parsed(&out);
    assert!(!said.has_errors(), "{text}\n--- no longer parses ---\n{out}");
    assert_eq!(meaning(&before), meaning(&after), "{text}\n---\n{out}");
    let again = format(&out);
    assert_eq!(out, again, "not idempotent: of\n{text}\n---");
    for line in out.lines() {
        assert_eq!(line, line.trim_end(), "blanks at an end of line in\n{out}");
    }
    assert!(out.is_empty() || out.ends_with('\n') && !out.ends_with("\n\n") && !out.starts_with('\n'), "{out}");
    assert!(!out.contains("\n\n\n"), "{out}");
    out
}

#[test]
fn every_program_keeps_its_meaning() {
    let corpus = corpus();
    assert!(corpus.len() > 150, "only {} texts", corpus.len());
    for text in corpus {
        formatted(text);
        // Without any layout of its own, as the printer of trees writes it.
        formatted(&print(&parsed(text).0));
    }
}

#[test]
fn examples_are_laid_out() {
    let mut untidy = vec![];
    for (path, text) in models() {
        let wide = formatted(&text).lines().filter(|l| l.chars().count() > 100 && !l.contains('#')).count();
        assert_eq!(wide, 0, "{}: lines beyond the width", path.display());
        if path.components().any(|c| c.as_os_str() == "examples") && format(&text) != text {
            untidy.push(path.display().to_string());
        }
    }
    assert!(untidy.is_empty(), "run `vic fmt` on {}", untidy.join(" "));
}

#[test]
fn layouts() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/format/layouts.vi");
    let source = std::fs::read_to_string(golden.with_extension("in")).expect("UTF-8");
    let out = formatted(&source);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&golden, &out).expect("writable");
    }
    assert_eq!(std::fs::read_to_string(&golden).unwrap_or_default(), out);
}

fn cases(cases: u32) -> ProptestConfig {
    let rng = (RngAlgorithm::ChaCha, RngSeed::Fixed(7));
    ProptestConfig {
        cases,
        rng_algorithm: rng.0,
        rng_seed: rng.1,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// A program of random declarations, written by the printer of trees.
fn program() -> impl Strategy<Value = String> {
    let shape = prop_oneof![
        Just("let NAME = "),
        Just("latent NAME[a, t in days by dog along trial] over b: real in (0, 1) ~ "),
        Just("observe y over (a, b) ~ "),
        Just("factor "),
        Just("report NAME = "),
        Just("fn NAME[P](x: real[P], y: int >= 0) -> real[P] = "),
        Just("guide "),
        Just("const NAME = "),
    ];
    let decl = (shape, "[a-z]{1,30}", expression(), any::<bool>()).prop_map(|(shape, name, e, attr)| {
        let name = format!("v_{name}");
        let attr = if attr && !shape.starts_with("fn") { " @allow(V0123)" } else { "" };
        format!("{}({e}){attr}\n", shape.replace("NAME", &name))
    });
    prop::collection::vec(decl, 1..5).prop_map(|d| d.concat())
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn random_programs_keep_their_meaning(text in program()) {
        prop_assume!(!parsed(&text).1.has_errors());
        formatted(&text);
    }

    /// Comments, line breaks and blanks at random places that the program bears.
    #[test]
    fn random_layouts_keep_their_meaning(
        which in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..6usize), 1..8),
    ) {
        let corpus = corpus();
        let mut text = which.get(corpus).clone();
        for (place, kind) in edits {
            let places: Vec<usize> = (0..=text.len()).filter(|i| text.is_char_boundary(*i)).collect();
            let at = *place.get(&places);
            let what = ["# why\n", "\n", "  ", "\n\n\n", "\n# above\n", " #\n\n"][kind];
            let mut edited = text.clone();
            edited.insert_str(at, what);
            let (ast, said) = parsed(&edited);
            if !said.has_errors() && !ast.decls.iter().any(|d: &Decl| d.kind == DeclKind::Error) {
                text = edited;
            }
        }
        formatted(&text);
    }
}
