//! Every model of the repository parses; no text makes the parser panic or point outside it.

use std::path::{Path, PathBuf};
use vic::diag::{Diags, RenderStyle, render};
use vic::source::Sources;
use vic::syntax::parse;

/// Every `.vi` file of the library, the examples and `tests/models`, in order.
fn models() -> Vec<PathBuf> {
    fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).expect("the directory is part of the repository") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                collect(&path, files);
            } else if path.extension().is_some_and(|e| e == "vi") {
                files.push(path);
            }
        }
    }
    let mut files = vec![];
    for dir in ["stdlib", "tests/models", "examples"] {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join(dir);
        if dir.exists() {
            collect(&dir, &mut files);
        }
    }
    files.sort();
    files
}

#[test]
fn every_model_parses() {
    let files = models();
    assert!(files.len() >= 44, "only {} models found", files.len());
    for path in files {
        let mut sources = Sources::default();
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        let file = sources.add(name, std::fs::read_to_string(&path).expect("UTF-8"));
        let mut diags = Diags::default();
        let ast = parse(file, &sources.get(file).text, &mut diags);
        let style = RenderStyle { width: 100, color: false, unicode: true };
        let said: Vec<String> = diags.list.iter().map(|d| render(d, &sources, style)).collect();
        assert!(said.is_empty(), "{}:\n{}", path.display(), said.join("\n"));
        assert!(!ast.decls.is_empty() && ast.broken.is_empty());
    }
}
