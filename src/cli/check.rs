//! `vic check MODEL…`: errors and warnings, without data.

use serde::Serialize;

use super::args::CheckArgs;
use super::terminal::{Terminal, counts};
use super::{ERROR, OK, files};
use crate::diag::{Diagnostic, Severity};
use crate::driver::{self, Session};
use crate::source::{Sources, Span};

pub fn run(args: &CheckArgs, terminal: &Terminal) -> u8 {
    let mut code = OK;
    let mut all = vec![];
    for model in &args.models {
        let mut session = Session::default();
        match files::model(model, &[]) {
            Ok(text) => _ = driver::check(&mut session, model, &text),
            Err(d) => session.diags.push(d),
        }
        if session.diags.has_errors() {
            code = ERROR;
        }
        if args.json {
            all.extend(session.diags.sorted().into_iter().map(|d| Finding::new(d, &session.sources, model)));
            continue;
        }
        terminal.complain_all(&session.diags, &session.sources);
        if !session.diags.has_errors() && terminal.print(&format!("{model}: {}\n", counts(&session.diags))) != OK {
            return ERROR;
        }
    }
    if args.json {
        let text = serde_json::to_string_pretty(&Findings { vic: env!("CARGO_PKG_VERSION"), diagnostics: all })
            .expect("text and numbers always have a JSON form");
        code = code.max(terminal.print(&format!("{text}\n")));
    }
    code
}

/// What `--json` prints. Field names are stable; `docs/output.md` describes them.
#[derive(Serialize)]
struct Findings {
    vic: &'static str,
    diagnostics: Vec<Finding>,
}

#[derive(Serialize)]
struct Finding {
    model: String,
    code: &'static str,
    severity: &'static str,
    title: &'static str,
    message: String,
    place: Option<Place>,
    labels: Vec<Place>,
    notes: Vec<String>,
    help: Option<String>,
}

/// Lines and columns count from 1, columns in characters; the end is the place after the last character.
#[derive(Serialize)]
struct Place {
    file: String,
    line: usize,
    column: usize,
    end_line: usize,
    end_column: usize,
    text: String,
}

impl Finding {
    fn new(d: &Diagnostic, sources: &Sources, model: &str) -> Finding {
        let place = |span: Span, text: &str| {
            let (line, column) = sources.line_column(span.file, span.start);
            let (end_line, end_column) = sources.line_column(span.file, span.end);
            let file = sources.get(span.file).name.clone();
            Place { file, line, column, end_line, end_column, text: text.to_owned() }
        };
        Finding {
            model: model.to_owned(),
            code: d.code.id,
            severity: match d.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            },
            title: d.code.title,
            message: d.message.clone(),
            place: d.span.map(|s| place(s, &d.label)),
            labels: d.labels.iter().map(|l| place(l.span, &l.text)).collect(),
            notes: d.places.iter().chain(&d.notes).cloned().collect(),
            help: d.help.clone(),
        }
    }
}
