//! `docs/library.md` is what the library says of itself.

use std::path::Path;

use vic::library::reference;
use vic::syntax::ast::DeclKind;

use super::harness::library;

#[test]
fn every_declaration_has_a_doc_comment() {
    for decl in library().asts.iter().flat_map(|a| &a.decls) {
        let (DeclKind::Dist { name, .. } | DeclKind::Fn { name, .. }) = &decl.kind else {
            panic!("the library holds distributions and functions only")
        };
        let doc = decl.doc.as_deref().unwrap_or_else(|| panic!("{} has no comment above it", name.name));
        assert!(doc.ends_with('.'), "the comment of {} ends in the middle of a sentence: {doc}", name.name);
    }
}

#[test]
fn the_reference_page_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/library.md");
    let page = reference();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &page).expect("docs can be written");
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(stored == page, "docs/library.md is stale: UPDATE_GOLDEN=1 cargo test --release rewrites it");
}
