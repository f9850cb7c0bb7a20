//! The library that every model sees: distributions and functions, written in `.vi`.

use std::borrow::Cow;
use std::sync::OnceLock;

use crate::check::{BUILTINS, Builtin, CONSTANTS};
use crate::diag::Diags;
use crate::source::{FileId, Sources};
use crate::syntax::ast::{Ast, DeclKind, DistItem, Param};
use crate::syntax::parse;

/// Name and text of each file.
pub const LIBRARY: &[(&str, &str)] = &[
    ("stdlib/functions.vi", include_str!("../stdlib/functions.vi")),
    ("stdlib/continuous.vi", include_str!("../stdlib/continuous.vi")),
    ("stdlib/discrete.vi", include_str!("../stdlib/discrete.vi")),
    ("stdlib/nets.vi", include_str!("../stdlib/nets.vi")),
];

/// Add the files to the sources of a run, side by side; the id of the first.
pub fn add(sources: &mut Sources) -> FileId {
    let ids: Vec<FileId> = LIBRARY.iter().map(|(name, text)| sources.add(*name, *text)).collect();
    ids[0]
}

/// The trees of the files, whose ids begin with `first`.
pub fn parsed(first: FileId) -> Cow<'static, [Ast]> {
    // Beside a model that was added before them; read once, since an editor checks with every keystroke.
    const USUAL: FileId = FileId(1);
    static USUALLY: OnceLock<Vec<Ast>> = OnceLock::new();
    let parse_from = |first: FileId| -> Vec<Ast> {
        let numbered = (first.0..).zip(LIBRARY);
        numbered.map(|(id, (_, text))| parse(FileId(id), text, &mut Diags::default())).collect()
    };
    match first {
        USUAL => Cow::Borrowed(USUALLY.get_or_init(|| parse_from(USUAL))),
        other => Cow::Owned(parse_from(other)),
    }
}

/// One form of a distribution, a function or a constant, for those who look it up.
pub struct Entry {
    pub name: String,
    /// The call as declared: `Normal(mu: real, sigma: real > 0) on real`.
    pub signature: String,
    /// Names of the arguments, each with what is written for it.
    pub arguments: Vec<(String, String)>,
    pub doc: String,
    /// The log density of a distribution.
    pub density: Option<String>,
}

impl Entry {
    pub fn is_distribution(&self) -> bool {
        self.density.is_some()
    }
}

/// Everything that every model may call, read once.
pub fn entries() -> &'static [Entry] {
    static ENTRIES: OnceLock<Vec<Entry>> = OnceLock::new();
    ENTRIES.get_or_init(|| {
        let mut sources = Sources::default();
        let mut entries = vec![];
        for (name, text) in LIBRARY {
            let ast = parse(sources.add(*name, *text), text, &mut Diags::default());
            for decl in &ast.decls {
                let (name, params, items) = match &decl.kind {
                    DeclKind::Dist { name, params, items, .. } => (name, params, items.as_slice()),
                    DeclKind::Fn { name, params, .. } => (name, params, &[][..]),
                    _ => continue,
                };
                let whole = sources.slice(decl.span);
                let is_dist = matches!(decl.kind, DeclKind::Dist { .. });
                let signature = match is_dist {
                    true => whole.split(" {").next().unwrap_or(whole).trim_start_matches("dist "),
                    false => whole
                        .split(" = ")
                        .next()
                        .unwrap_or(whole)
                        .split(" {")
                        .next()
                        .unwrap_or(whole)
                        .trim_start_matches("fn "),
                };
                let argument = |p: &Param| (p.name.name.clone(), sources.slice(p.name.span.to(p.ty.span)).to_owned());
                let density = items.iter().find(|i| i.name.name == "logpdf");
                entries.push(Entry {
                    name: name.name.clone(),
                    signature: signature.to_owned(),
                    arguments: params.iter().map(argument).collect(),
                    doc: decl.doc.clone().unwrap_or_default(),
                    density: is_dist.then(|| {
                        density.map_or(String::new(), |i| sources.slice(i.name.span.to(i.value.span)).to_owned())
                    }),
                });
            }
        }
        let noise = |b: &Builtin| matches!(b, Builtin::Noise(_));
        for (name, _, call, gives) in BUILTINS.iter().filter(|b| !noise(&b.1)) {
            let inside = call.split_once('(').map_or("", |(_, rest)| rest.trim_end_matches(')'));
            let arguments = inside.split(", ").filter(|a| !a.is_empty()).map(|a| (a.to_owned(), a.to_owned()));
            entries.push(Entry {
                name: (*name).to_owned(),
                signature: (*call).to_owned(),
                arguments: arguments.collect(),
                doc: (*gives).to_owned(),
                density: None,
            });
        }
        entries.extend(CONSTANTS.iter().map(|c| Entry {
            name: c.0.to_owned(),
            signature: c.0.to_owned(),
            arguments: vec![],
            doc: "a constant".to_owned(),
            density: None,
        }));
        entries
    })
}

/// The reference of the library, in Markdown: every distribution and function with its signature and text.
/// `docs/library.md` is this.
pub fn reference() -> String {
    let mut sources = Sources::default();
    let mut page = String::from(INTRODUCTION);
    let mut functions = String::new();
    for (name, text) in LIBRARY {
        let ast = parse(sources.add(*name, *text), text, &mut Diags::default());
        let mut heading = None;
        if ast.decls.iter().any(|d| matches!(d.kind, DeclKind::Dist { .. })) {
            page += &title(&ast);
        }
        for decl in &ast.decls {
            let doc = decl.doc.as_deref().unwrap_or_default();
            match &decl.kind {
                DeclKind::Dist { name, items, .. } => {
                    if heading != Some(name.name.as_str()) {
                        page += &format!("### {}\n\n", name.name);
                        heading = Some(&name.name);
                    }
                    page += &format!("{doc}\n\n{}\n", distribution(sources.slice(decl.span), items, &sources));
                }
                DeclKind::Fn { .. } => functions += &format!("{doc}\n{}\n", code(sources.slice(decl.span))),
                _ => {}
            }
        }
    }
    page += "## Functions\n\nWritten in `.vi`, and expanded where they are called.\n\n";
    page += &functions;
    page += "## Primitives\n\nWhat the compiler itself knows.\n\n| call | gives |\n|---|---|\n";
    let noise = |b: &Builtin| matches!(b, Builtin::Noise(_));
    let row = |(_, _, call, gives): &(&str, Builtin, &str, &str)| format!("| `{call}` | {gives} |\n");
    page.extend(BUILTINS.iter().filter(|b| !noise(&b.1)).map(row));
    let constants: Vec<String> = CONSTANTS.iter().map(|c| format!("`{}`", c.0)).collect();
    page += &format!("\nConstants: {}.\n\n", constants.join(", "));
    page += "In the `sample()` of a distribution also:\n\n| call | gives |\n|---|---|\n";
    page.extend(BUILTINS.iter().filter(|b| noise(&b.1)).map(row));
    page
}

const INTRODUCTION: &str = "\
# The library

Distributions and functions that every model may use. All of it is `.vi` text (`stdlib/`): a model can declare its own
`dist` or `fn` in the same form, and one of the same name replaces the library's.

This page is generated from the library; after a change there, `UPDATE_GOLDEN=1 cargo test --release` rewrites it.

`logpdf` is the log density (or log probability) of a value; `logcdf` and `logccdf` are the logs of the probability
below and above it, which let a type cut the distribution: `latent s: real > 0 ~ Normal(1, 0.5)`. A mean or variance is
`inf` where its integral diverges and `nan` where it does not exist.

";

/// `## Continuous distributions`, from the comment at the head of a file.
fn title(ast: &Ast) -> String {
    let head = ast.comments.first().map_or("", |c| c.text.as_str());
    let (title, rest) = head.split_once(". ").unwrap_or((head, ""));
    format!("## {}\n\n{rest}\n\n", title.trim_end_matches('.'))
}

fn distribution(text: &str, items: &[DistItem], sources: &Sources) -> String {
    let signature = text.split(" {").next().unwrap_or(text).trim_start_matches("dist ");
    let shown = items.iter().filter(|i| i.name.name != "sample").map(|i| sources.slice(i.name.span.to(i.value.span)));
    let lines: Vec<String> = shown.map(|t| t.to_string()).collect();
    format!("`{signature}`\n\n{}", code(&lines.join("\n")))
}

fn code(text: &str) -> String {
    format!("```vi\n{text}\n```\n")
}
