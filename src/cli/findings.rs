//! Diagnostics for programs: JSON, SARIF, and the annotations of GitHub Actions.

use serde::Serialize;
use serde_json::json;

use crate::diag::{ALL, Diagnostic, Severity};
use crate::source::{Sources, Span};

/// What `--format json` prints. Field names are stable; `docs/output.md` describes them.
#[derive(Serialize)]
pub struct Findings {
    vic: &'static str,
    diagnostics: Vec<Finding>,
}

#[derive(Serialize)]
pub struct Finding {
    model: String,
    code: &'static str,
    severity: &'static str,
    title: &'static str,
    message: String,
    place: Option<Place>,
    labels: Vec<Place>,
    notes: Vec<String>,
    help: Option<String>,
    /// What `help` says, as replacements; `sure` if `--fix` would make them.
    edits: Vec<Edit>,
    sure: bool,
}

#[derive(Serialize)]
struct Edit {
    place: Place,
    text: String,
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
    pub fn new(d: &Diagnostic, sources: &Sources, model: &str) -> Finding {
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
            edits: d.edits.iter().map(|e| Edit { place: place(e.span, ""), text: e.text.clone() }).collect(),
            sure: d.sure,
        }
    }
}

pub fn to_json(findings: Vec<Finding>) -> String {
    let all = Findings { vic: env!("CARGO_PKG_VERSION"), diagnostics: findings };
    serde_json::to_string_pretty(&all).expect("text and numbers always have a JSON form") + "\n"
}

/// SARIF 2.1.0 (OASIS standard), with one rule per code that occurs.
pub fn to_sarif(findings: &[Finding]) -> String {
    let region = |p: &Place| json!({ "startLine": p.line, "startColumn": p.column, "endLine": p.end_line, "endColumn": p.end_column });
    let location = |p: &Place| {
        let place = json!({ "artifactLocation": { "uri": p.file }, "region": region(p) });
        match p.text.as_str() {
            "" => json!({ "physicalLocation": place }),
            text => json!({ "physicalLocation": place, "message": { "text": text } }),
        }
    };
    let rules = ALL.iter().filter(|c| findings.iter().any(|f| f.code == c.id));
    let rule = |c: &&&crate::diag::Code| json!({ "id": c.id, "shortDescription": { "text": c.title }, "help": { "text": c.page, "markdown": c.page } });
    let result = |f: &Finding| {
        let mut message = f.message.clone();
        f.notes.iter().chain(&f.help).for_each(|t| message += &format!("\n{t}"));
        let mut result = json!({ "ruleId": f.code, "level": f.severity, "message": { "text": message } });
        result["locations"] = match &f.place {
            Some(p) => json!([location(p)]),
            None => json!([{ "physicalLocation": { "artifactLocation": { "uri": f.model } } }]),
        };
        if !f.labels.is_empty() {
            result["relatedLocations"] = f.labels.iter().map(location).collect();
        }
        if !f.edits.is_empty() {
            let replacement =
                |e: &Edit| json!({ "deletedRegion": region(&e.place), "insertedContent": { "text": e.text } });
            result["fixes"] = json!([{
                "description": { "text": f.help },
                "artifactChanges": [{
                    "artifactLocation": { "uri": f.edits[0].place.file },
                    "replacements": f.edits.iter().map(replacement).collect::<Vec<_>>(),
                }],
            }]);
        }
        result
    };
    let run = json!({
        "tool": { "driver": { "name": "vic", "version": env!("CARGO_PKG_VERSION"),
                              "rules": rules.collect::<Vec<_>>().iter().map(rule).collect::<Vec<_>>() } },
        "columnKind": "unicodeCodePoints",
        "results": findings.iter().map(result).collect::<Vec<_>>(),
    });
    let log = json!({ "$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run] });
    serde_json::to_string_pretty(&log).expect("text and numbers always have a JSON form") + "\n"
}

/// Workflow commands (`::error file=…,line=…::message`), one line each.
pub fn to_github(findings: &[Finding]) -> String {
    let text = |s: &str| s.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let value = |s: &str| text(s).replace(':', "%3A").replace(',', "%2C");
    let line = |f: &Finding| {
        let at = match &f.place {
            Some(p) => format!(
                "file={},line={},endLine={},col={},endColumn={}",
                value(&p.file),
                p.line,
                p.end_line,
                p.column,
                p.end_column
            ),
            None => format!("file={}", value(&f.model)),
        };
        let mut message = f.message.clone();
        f.notes.iter().chain(&f.help).for_each(|t| message += &format!("\n{t}"));
        format!("::{} {at},title={}::{}\n", f.severity, value(&format!("{} {}", f.code, f.title)), text(&message))
    };
    findings.iter().map(line).collect()
}
