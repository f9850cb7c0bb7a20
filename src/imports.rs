//! The files that a model imports: functions, distributions, nets and constants, taken in where the `import` stands.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::diag::{Code, Diagnostic, Diags, counted, nearest};
use crate::source::{FileId, Sources, Span};
use crate::syntax::ast::{Ast, Decl, DeclKind, Ident, Text};
use crate::syntax::parse;

/// What a model is checked as: its own declarations below those of the files that it imports.
pub struct Whole {
    pub ast: Ast,
    /// The imported files, in the order in which they were read.
    pub files: Vec<FileId>,
}

/// Read every file that a model imports, itself or through others; each is read once. Paths are relative to the file
/// that names them.
pub fn resolve(main: FileId, ast: &Ast, sources: &mut Sources, diags: &mut Diags) -> Whole {
    let mut reader = Reader { sources, diags, open: vec![], done: HashSet::new(), files: vec![] };
    let mut whole = Ast { broken: ast.broken.clone(), ..Ast::default() };
    // A text that is no file (a test, an editor's buffer) can import, and cannot be imported.
    let path = reader.sources.get(main).name.clone();
    reader.open.push(Path::new(&path).canonicalize().unwrap_or_default());
    reader.imports_of(main, ast, &mut whole);
    let files = reader.files;
    whole.decls.extend(ast.decls.iter().filter(|d| !matches!(d.kind, DeclKind::Import { .. })).cloned());
    Whole { ast: whole, files }
}

struct Reader<'a> {
    sources: &'a mut Sources,
    diags: &'a mut Diags,
    /// The file being read and those that import it, outermost first.
    open: Vec<PathBuf>,
    done: HashSet<PathBuf>,
    files: Vec<FileId>,
}

impl Reader<'_> {
    fn imports_of(&mut self, file: FileId, ast: &Ast, whole: &mut Ast) {
        for decl in &ast.decls {
            if let DeclKind::Import { path } = &decl.kind {
                self.import(file, path, whole);
            }
        }
    }

    fn import(&mut self, from: FileId, written: &Text, whole: &mut Ast) {
        let here = Path::new(&self.sources.get(from).name).parent().unwrap_or(Path::new("")).to_path_buf();
        let path = here.join(&written.value);
        let name = path.display().to_string();
        let read = path.canonicalize().and_then(|real| Ok((std::fs::read(&path)?, real)));
        let (bytes, real) = match read {
            Ok(read) => read,
            Err(e) => return self.diags.push(unreadable(&name, written, &here, &e)),
        };
        if let Some(at) = self.open.iter().position(|p| *p == real) {
            let between = self.open.len() - at - 1;
            let d = match between {
                0 => Code::IMPORT_CYCLE
                    .at(written.span, format!("`{name}` imports itself"))
                    .here("this very file")
                    .help("remove this line: functions of one file see each other"),
                n => Code::IMPORT_CYCLE
                    .at(written.span, format!("`{name}` imports this file, and this file imports it"))
                    .here(format!("leads back here through {}", counted(n, "file")))
                    .help("move what both need to a third file, and import that from both"),
            };
            return self.diags.push(d);
        }
        if !self.done.insert(real.clone()) {
            return;
        }
        let Ok(text) = String::from_utf8(bytes) else {
            return self.diags.push(
                Code::CANNOT_IMPORT
                    .at(written.span, format!("cannot import `{name}`: it is not text in UTF-8"))
                    .here("imported here")
                    .help("save it as UTF-8"),
            );
        };
        let file = self.sources.add(name, text.clone());
        self.files.push(file);
        let ast = parse(file, &text, self.diags);
        self.open.push(real);
        self.imports_of(file, &ast, whole);
        self.open.pop();
        whole.broken.extend(ast.broken);
        for decl in ast.decls {
            match word(&decl) {
                Some(word) => {
                    let name = &self.sources.get(file).name;
                    self.diags.push(not_importable(&decl, word, name, written.span));
                    // Uses of what is left out are no errors of their own.
                    whole.broken.extend(declared(&decl).cloned());
                }
                None if matches!(decl.kind, DeclKind::Import { .. }) => {}
                None => whole.decls.push(decl),
            }
        }
    }
}

/// The keyword of a declaration that belongs to a model rather than to what models share.
fn word(decl: &Decl) -> Option<&'static str> {
    match &decl.kind {
        DeclKind::Fn { .. }
        | DeclKind::Dist { .. }
        | DeclKind::Net { .. }
        | DeclKind::Const { .. }
        | DeclKind::Import { .. }
        | DeclKind::Error => None,
        DeclKind::Table { .. } | DeclKind::DataValue { .. } => Some("data"),
        DeclKind::Plate { .. } => Some("plate"),
        DeclKind::Latent { .. } => Some("latent"),
        DeclKind::Param { .. } => Some("param"),
        DeclKind::Let { .. } => Some("let"),
        DeclKind::Observe { .. } => Some("observe"),
        DeclKind::Factor { .. } => Some("factor"),
        DeclKind::Report { .. } | DeclKind::ReportLet { .. } => Some("report"),
        DeclKind::Guide { .. } | DeclKind::GuideFamily { .. } => Some("guide"),
        DeclKind::Fit { .. } => Some("fit"),
    }
}

/// The names that a declaration declares.
pub(crate) fn declared(decl: &Decl) -> Box<dyn Iterator<Item = &Ident> + '_> {
    match &decl.kind {
        DeclKind::Table { name, fields } => Box::new(std::iter::once(name).chain(fields.iter().flat_map(|f| &f.names))),
        DeclKind::DataValue { names, .. } => Box::new(names.iter()),
        DeclKind::Latent { heads, .. } => Box::new(heads.iter().map(|h| &h.name)),
        DeclKind::Param { head, .. } | DeclKind::Let { head, .. } | DeclKind::ReportLet { head, .. } => {
            Box::new(std::iter::once(&head.name))
        }
        DeclKind::Plate { name, .. }
        | DeclKind::Const { name, .. }
        | DeclKind::Fn { name, .. }
        | DeclKind::Dist { name, .. }
        | DeclKind::Net { name, .. } => Box::new(std::iter::once(name)),
        DeclKind::Observe { .. }
        | DeclKind::Factor { .. }
        | DeclKind::Report { .. }
        | DeclKind::Guide { .. }
        | DeclKind::GuideFamily { .. }
        | DeclKind::Fit { .. }
        | DeclKind::Import { .. }
        | DeclKind::Error => Box::new(std::iter::empty()),
    }
}

fn not_importable(decl: &Decl, word: &str, name: &str, import: Span) -> Diagnostic {
    let article = if word == "observe" { "an" } else { "a" };
    Code::NOT_IMPORTABLE
        .at(decl.span, format!("`{name}` is imported, and {article} `{word}` cannot be"))
        .here("belongs to one model")
        .label(import, "imported here")
        .note("a model says in one file what it fits; what is imported are functions, distributions and constants")
        .help("move this to the model")
}

fn unreadable(name: &str, written: &Text, here: &Path, e: &std::io::Error) -> Diagnostic {
    let missing = e.kind() == std::io::ErrorKind::NotFound;
    let why = match e.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "reading it is not allowed".to_owned(),
        std::io::ErrorKind::IsADirectory => "it is a directory".to_owned(),
        _ => e.to_string(),
    };
    let d = Code::CANNOT_IMPORT.at(written.span, format!("cannot import `{name}`: {why}")).here("imported here");
    match neighbour(name) {
        Some(near) if missing => {
            let near = Path::new(&near).strip_prefix(here).unwrap_or(Path::new(&near)).display().to_string();
            d.help(format!("did you mean `import \"{near}\"`?"))
        }
        _ if missing => d.help("the path is relative to the file in which it stands"),
        _ => d.help("name a file that can be read"),
    }
}

/// A file beside a missing one whose name is nearly the same.
pub fn neighbour(name: &str) -> Option<String> {
    let path = Path::new(name);
    let file = path.file_name()?.to_str()?;
    let folder = path.parent()?;
    let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let names: Vec<String> =
        std::fs::read_dir(here).ok()?.filter_map(|e| e.ok()?.file_name().into_string().ok()).collect();
    let near = nearest(file, names.iter().map(String::as_str))?;
    Some(folder.join(near).display().to_string())
}
