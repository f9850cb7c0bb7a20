//! `vic fmt FILE…`: models laid out, in place.

use std::io::{Read, Write};
use std::path::Path;

use super::args::FmtArgs;
use super::terminal::Terminal;
use super::{ERROR, OK, files};
use crate::diag::{Code, Diagnostic};
use crate::driver::Session;
use crate::syntax;

pub fn run(args: &FmtArgs, terminal: &Terminal) -> u8 {
    if args.stdin {
        return from_stdin(args.check, terminal);
    }
    let mut code = OK;
    for name in &args.files {
        let mut session = Session::default();
        let changed = file(name, args.check, &mut session);
        terminal.complain_all(&session.diags, &session.sources);
        match changed {
            None => code = ERROR,
            Some(false) => {}
            Some(true) if args.check => {
                code = ERROR;
                terminal.print(&format!("{name} would change\n"));
            }
            Some(true) => terminal.note(&format!("{name} changed\n")),
        }
    }
    code
}

fn from_stdin(check: bool, terminal: &Terminal) -> u8 {
    let mut session = Session::default();
    let mut text = String::new();
    let laid = match std::io::stdin().lock().read_to_string(&mut text) {
        Ok(_) => layout("<stdin>", &text, &mut session),
        Err(e) => {
            let d = Code::CANNOT_READ.plain(format!("cannot read standard input: {e}"));
            session.diags.push(d.help("a model is a text file in UTF-8"));
            None
        }
    };
    terminal.complain_all(&session.diags, &session.sources);
    match laid {
        None => ERROR,
        Some(laid) if check => {
            if laid == text {
                OK
            } else {
                ERROR
            }
        }
        Some(laid) => terminal.print(&laid),
    }
}

/// Whether the layout of a file changes; `None` if the session says why it cannot be told.
fn file(name: &str, check: bool, session: &mut Session) -> Option<bool> {
    let mut or_say = |d: Diagnostic| session.diags.push(d);
    let text = files::model(name, &[]).map_err(&mut or_say).ok()?;
    let laid = layout(name, &text, session)?;
    if laid == text {
        return Some(false);
    }
    if !check && let Err(e) = replace(Path::new(name), &laid) {
        let d = Code::CANNOT_WRITE.plain(format!("cannot write `{name}`: {e}"));
        session.diags.push(d.help("see whether the file and its directory may be written"));
        return None;
    }
    Some(true)
}

/// The text laid out; `None` if it has errors of syntax, which the session holds.
fn layout(name: &str, text: &str, session: &mut Session) -> Option<String> {
    let file = session.sources.add(name, text);
    syntax::parse(file, text, &mut session.diags);
    (!session.diags.has_errors()).then(|| syntax::format(text))
}

/// Put a text in the place of a file at once: whoever reads the file sees the old text or the new one.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    // A link stays one; what it points at changes.
    let path = path.canonicalize()?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let permissions = path.metadata()?.permissions();
    // Who may not write the file itself does not get around that by writing in its directory.
    std::fs::OpenOptions::new().write(true).open(&path)?;
    let mut new = tempfile::NamedTempFile::new_in(folder)?;
    new.write_all(text.as_bytes())?;
    new.as_file().set_permissions(permissions)?;
    new.persist(&path)?;
    Ok(())
}
