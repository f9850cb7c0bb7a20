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

/// What `docs/stan.md` names as ours exists.
#[test]
fn the_distributions_that_stan_users_are_told_of_exist() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/stan.md");
    let page = std::fs::read_to_string(path).expect("part of the repository");
    let known: Vec<&str> = library()
        .asts
        .iter()
        .flat_map(|a| &a.decls)
        .filter_map(|d| if let DeclKind::Dist { name, .. } = &d.kind { Some(name.name.as_str()) } else { None })
        .collect();
    let rows = page.lines().filter_map(|l| l.strip_prefix("| ")?.split(" | ").nth(1));
    let named: Vec<&str> = rows
        .flat_map(|r| r.split('`').skip(1).step_by(2))
        .filter(|code| code.starts_with(char::is_uppercase) && code.contains('('))
        .filter_map(|code| code.split('(').next())
        .collect();
    assert!(named.len() > 50, "{named:?}");
    let unknown: Vec<&&str> = named.iter().filter(|n| !known.contains(n)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}
