//! Heavy crates stay behind their doors.

use std::fs;
use std::path::{Path, PathBuf};

/// Crate names and the one folder that may use them.
const DOORS: &[(&str, &str)] = &[
    ("logos", "src/syntax"),
    ("lalrpop_util", "src/syntax"),
    ("miette", "src/diag"),
    ("cranelift_", "src/codegen"),
    ("dfdx", "src/tape"),
    ("faer", "src/prim"),
    ("arrow_", "src/data/columnar"),
    ("parquet", "src/data/columnar"),
    ("nuts_rs", "src/infer"),
    ("indicatif", "src/cli"),
    ("clap", "src/cli"),
    ("safetensors", "src/report"),
    ("png", "src/report"),
    ("lsp_server", "src/lsp"),
    ("lsp_types", "src/lsp"),
];

fn sources(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("src is there") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

/// Code without comments: a crate may be spoken of anywhere.
fn code(text: &str) -> String {
    text.lines().map(|l| l.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n")
}

#[test]
fn heavy_crates_stay_behind_their_doors() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![];
    sources(&root.join("src"), &mut files);
    assert!(files.len() > 50, "the whole tree is read");
    let mut used = vec![false; DOORS.len()];
    for path in &files {
        let text = code(&fs::read_to_string(path).expect("a readable source"));
        let relative = path.strip_prefix(root).expect("under the root").to_string_lossy().replace('\\', "/");
        for (i, (name, door)) in DOORS.iter().enumerate() {
            let names = text.contains(&format!("{name}::")) || text.contains(&format!("use {name}"));
            let names = names || (name.ends_with('_') && text.contains(&format!("use {name}")));
            if names {
                used[i] = true;
                assert!(relative.starts_with(door), "{relative} names {name}, which belongs to {door}");
            }
        }
    }
    for ((name, door), used) in DOORS.iter().zip(used) {
        assert!(used, "nothing under {door} uses {name}: the door is stale");
    }
}
