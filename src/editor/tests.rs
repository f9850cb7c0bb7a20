//! Texts at every moment of their being written.

use super::*;

/// Every program of the examples and of the wrong ones, cut off at many places, is answered, whatever is asked.
#[test]
fn texts_cut_off_anywhere_are_answered() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![];
    for folder in ["examples", "tests/bad"] {
        let mut open = vec![root.join(folder)];
        while let Some(dir) = open.pop() {
            for entry in std::fs::read_dir(dir).expect("part of the repository").flatten() {
                match entry.path() {
                    path if path.is_dir() => open.push(path),
                    path if path.extension().is_some_and(|e| e == "vi") => files.push(path),
                    _ => {}
                }
            }
        }
    }
    files.sort();
    assert!(files.len() > 100, "the programs are found");
    for (k, path) in files.iter().enumerate() {
        let text = std::fs::read_to_string(path).expect("UTF-8");
        // Every keystroke of every program is for `benches/editor.rs`; here each program is cut at other places.
        for end in (k % 97..=text.len()).step_by(97).chain([text.len()]) {
            let document = Document::new("model.vi", &text[..text.floor_char_boundary(end)]);
            ask_everything(&document, document.text().len());
        }
    }
}

fn ask_everything(document: &Document, offset: usize) {
    complete(document, offset);
    hover(document, offset);
    signature(document, offset);
    rename(document, offset, "other");
    highlight(document);
    outline(document);
    hints(document);
}

fn at(text: &str, mark: &str) -> usize {
    text.find(mark).expect("the text has the mark")
}

#[test]
fn a_name_is_found_in_its_scope() {
    let text = "data rows { y: real, g: category }\nfn f(a: real) -> real = a + 1\nlatent a[g] ~ Normal(0, 1)\n\
                observe y ~ Normal(f(a[g]), 1)\n";
    let document = Document::new("m.vi", text);
    let def = |offset: usize| document.names.at(document.file(), offset as u32).map(|(id, _)| document.names.def(id));
    assert_eq!(def(at(text, "a + 1")).map(|d| d.kind), Some(Kind::Local));
    assert_eq!(def(at(text, "a[g]),")).map(|d| d.kind), Some(Kind::Latent));
    assert_eq!(def(at(text, "g]),")).map(|d| d.kind), Some(Kind::Column));
    assert_eq!(def(at(text, "Normal(f")).map(|d| d.kind), None, "the library's");
}

#[test]
fn binders_are_seen_where_they_bind() {
    let text = "data days { y: real }\nlatent h[t in days] ~ if first(t) then Normal(0, 1) else Normal(h[t-1], 1)\n\
                let s = sum(h[t] over t in days)\nobserve y ~ Normal(h, 1)\n";
    let document = Document::new("m.vi", text);
    assert!(!document.session.diags.has_errors());
    let names = &document.names;
    let bound: Vec<_> = names.defs.iter().filter(|d| d.kind == Kind::Index).map(|d| d.span).collect();
    assert_eq!(bound.len(), 2);
    let (first, _) = names.at(document.file(), at(text, "t-1") as u32).expect("a name");
    let (second, _) = names.at(document.file(), at(text, "t] over") as u32).expect("a name");
    assert_eq!((names.def(first).span, names.def(second).span), (bound[0], bound[1]));
}

#[test]
fn a_renamed_column_keeps_the_name_of_its_file() {
    let text = "data rows { y: real, x, z: real }\nobserve y ~ Normal(x + z, 1)\n";
    let document = Document::new("m.vi", text);
    let edits = rename(&document, at(text, "y:"), "effect").expect("a name").expect("it can be");
    let mut new = text.to_owned();
    let mut edits = edits;
    edits.sort_by_key(|e| e.0);
    for (span, text) in edits.iter().rev() {
        new.replace_range(span.start as usize..span.end as usize, text);
    }
    assert_eq!(new, "data rows { effect: real from \"y\", x, z: real }\nobserve effect ~ Normal(x + z, 1)\n");
    assert!(rename(&document, at(text, "x,"), "w").expect("a name").is_err(), "declared together");
    assert!(rename(&document, at(text, "y:"), "2y").expect("a name").is_err());
    assert!(rename(&document, at(text, "Normal"), "N").is_none(), "the library's");
}

#[test]
fn columns_of_files_beside_the_model_are_offered() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("d.csv"), "dose,Blood group,when\n1.5,A,2024-01-02\n2,B,2024-01-03\n")
        .expect("writable");
    let model = dir.path().join("m.vi");
    let text = "data rows {\n  dose: real\n  ";
    let document = Document::new(&model.to_string_lossy(), text);
    let offered: Vec<String> = complete(&document, text.len()).into_iter().map(|c| c.insert).collect();
    assert_eq!(offered, ["blood_group: category from \"Blood group\"", "when: date"]);
}
