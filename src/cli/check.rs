//! `vic check MODEL… [DATA…]`: errors and warnings of models, and of the data given with one.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use super::args::{self, CheckArgs, Format};
use super::findings::{Finding, to_github, to_json, to_sarif};
use super::terminal::{Terminal, counts};
use super::{ERROR, INTERRUPTED, OK, files, interrupt};
use crate::data;
use crate::diag::{Code, Diagnostic, counted};
use crate::driver::{self, Session};
use crate::source::{FileId, Sources};

/// How often files are looked at.
const PAUSE: Duration = Duration::from_millis(200);
/// Edits can make room for others; that many rounds, then what is left is left.
const ROUNDS: usize = 10;

pub fn run(args: &CheckArgs, terminal: &Terminal) -> u8 {
    let (models, data): (Vec<&String>, Vec<&String>) = args.files.iter().partition(|f| files::is_model(f));
    if let Some(d) = misused(args, &models, &data) {
        terminal.complain(&d, &Sources::default());
        return ERROR;
    }
    // Without a name that ends in `.vi`, the first is the model.
    let (models, data) = if models.is_empty() { (data[..1].to_vec(), data[1..].to_vec()) } else { (models, data) };
    if !args.watch {
        return once(args, &models, &data, terminal);
    }
    let stopped = interrupt::watch();
    let mut seen = None;
    while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
        let now = stamps(&args.files);
        if seen.as_ref() != Some(&now) {
            seen = Some(now);
            if terminal.color_err {
                // Clear the screen, as a person expects of a view that is kept up to date.
                terminal.note("\x1b[2J\x1b[H");
            }
            once(args, &models, &data, terminal);
            terminal.note("Waiting for a change; Ctrl-C ends.\n");
        }
        std::thread::sleep(PAUSE);
    }
    INTERRUPTED
}

fn misused(args: &CheckArgs, models: &[&String], data: &[&String]) -> Option<Diagnostic> {
    if models.len() > 1 && !data.is_empty() {
        let d = Code::DATA_EXTRA_FILE.plain(format!(
            "{} models are to be checked, and `{}` belongs to one",
            models.len(),
            data[0]
        ));
        return Some(d.help(format!("check one model with its data: `vic check {} {}`", models[0], data[0])));
    }
    args.deny.misused()
}

/// When each file was last written.
fn stamps(files: &[String]) -> HashMap<String, Option<SystemTime>> {
    let of = |name: &str| std::fs::metadata(name).and_then(|m| m.modified()).ok();
    files.iter().map(|f| (f.clone(), of(files::table_and_file(f).1))).collect()
}

/// One look at every file.
fn once(args: &CheckArgs, models: &[&String], data: &[&String], terminal: &Terminal) -> u8 {
    let mut code = OK;
    let mut all = vec![];
    for model in models {
        let mended = if args.fix { fix(model, terminal) } else { 0 };
        let mut session = check(args, model, data);
        args.deny.apply(&mut session);
        if session.diags.has_errors() {
            code = ERROR;
        }
        if args.format != Format::Human {
            all.extend(session.diags.sorted().into_iter().map(|d| Finding::new(d, &session.sources, model)));
            continue;
        }
        terminal.complain_all(&session.diags, &session.sources);
        if mended > 0 {
            terminal.note(&format!("{model}: {} mended\n", counted(mended, "place")));
        }
        if !session.diags.has_errors() && terminal.print(&format!("{model}: {}\n", counts(&session.diags))) != OK {
            return ERROR;
        }
    }
    let text = match args.format {
        Format::Human => return code,
        Format::Json => to_json(all),
        Format::Sarif => to_sarif(&all),
        Format::Github => to_github(&all),
    };
    code.max(terminal.print(&text))
}

fn check(args: &CheckArgs, model: &str, data: &[&String]) -> Session {
    let mut session = Session::default();
    let text = match files::model(model, &[]) {
        Ok(text) => text,
        Err(d) => {
            session.diags.push(d);
            return session;
        }
    };
    let checked = driver::check(&mut session, model, &text);
    if data.is_empty() || session.diags.has_errors() {
        return session;
    }
    let inputs = args::Inputs {
        model: model.to_owned(),
        data: data.iter().map(|d| (*d).clone()).collect(),
        set: args.set.clone(),
    };
    match files::inputs(&inputs) {
        Ok(inputs) => {
            if let Some(bound) = data::bind(&checked.hir, &inputs, &mut session.diags) {
                driver::warn(&mut session, &checked, &bound);
            }
        }
        Err(errors) => errors.into_iter().for_each(|d| session.diags.push(d)),
    }
    session
}

/// Make the sure edits in a file until there are none; how many there were.
fn fix(model: &str, terminal: &Terminal) -> usize {
    let Ok(before) = files::model(model, &[]) else { return 0 };
    let (mut text, mut made) = (before.clone(), 0);
    for _ in 0..ROUNDS {
        let mut session = Session::default();
        let file = driver::check(&mut session, model, &text).file;
        let edits = sure_edits(&session, file);
        if edits.is_empty() {
            break;
        }
        made += edits.len();
        for (start, end, new) in edits.into_iter().rev() {
            text.replace_range(start..end, &new);
        }
    }
    if text != before
        && let Err(e) = std::fs::write(model, &text)
    {
        let d = Code::CANNOT_WRITE.plain(format!("cannot write `{model}`: {e}"));
        terminal.complain(&d.help("make the file writable, or make the edits by hand"), &Sources::default());
        return 0;
    }
    made
}

/// In the order of their places; of two that overlap the first.
fn sure_edits(session: &Session, file: FileId) -> Vec<(usize, usize, String)> {
    let sure = session.diags.list.iter().filter(|d| d.sure && d.edits.iter().all(|e| e.span.file == file));
    let mut edits: Vec<_> =
        sure.flat_map(|d| &d.edits).map(|e| (e.span.start as usize, e.span.end as usize, e.text.clone())).collect();
    edits.sort();
    edits.dedup();
    let mut end = 0;
    edits.retain(|e| {
        let apart = e.0 >= end;
        end = end.max(e.1);
        apart
    });
    edits
}
