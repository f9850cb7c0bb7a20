//! `vic predict MODEL DIR [DATA…]`

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::args::PredictArgs;
use super::terminal::Terminal;
use super::{ERROR, files};
use crate::data::{DataFile, Inputs};
use crate::diag::{Code, Diagnostic};
use crate::driver::{self, Session};
use crate::report::{FitReport, TableStyle, listing, sha256};
use crate::simulate::{Csv, Prediction, Predictor};

pub fn run(args: &PredictArgs, terminal: &Terminal) -> u8 {
    let mut session = Session::default();
    let made = predict(args, &mut session);
    terminal.complain_all(&session.diags, &session.sources);
    let Some(made) = made else { return ERROR };
    if let Some(file) = &args.out
        && let Err(d) = files::write_all(&[(PathBuf::from(file), made.csv.text())], args.force)
    {
        terminal.complain(&d, &session.sources);
        return ERROR;
    }
    let rows = if args.data.is_empty() { "the fitted rows".to_string() } else { args.data.join(", ") };
    let heading = format!("{} · {rows} · {} draws of {}\n\n", args.model, made.draws, args.fit);
    let report = FitReport { vars: made.shown, draws: made.draws, ..FitReport::default() };
    let style = TableStyle { all: args.all, color: terminal.color_out };
    terminal.print(&(heading + &listing(&report, style, "`--all`, or the draws in `--out FILE`")))
}

fn predict(args: &PredictArgs, session: &mut Session) -> Option<Prediction> {
    let mut or_say = |d: Diagnostic| session.diags.push(d);
    let fit = Fit::read(&args.fit).map_err(&mut or_say).ok()?;
    let text = files::model(&args.model, &args.data).map_err(&mut or_say).ok()?;
    let checked = driver::check(session, &args.model, &text);
    if session.diags.has_errors() {
        return None;
    }
    let mut or_say = |d: Diagnostic| session.diags.push(d);
    if fit.hash(&fit.model) != Some(sha256(text.as_bytes()).as_str()) {
        or_say(other(&args.fit, &format!("`{}` is not the model that was fitted", args.model)));
        return None;
    }
    for file in &checked.imports {
        let source = session.sources.get(*file);
        let hash = sha256(source.text.as_bytes());
        if !fit.files.values().any(|h| *h == hash) {
            session.diags.push(other(&args.fit, &format!("`{}`, which the model imports, has changed", source.name)));
            return None;
        }
    }
    let fitted = fit.inputs(&args.fit).map_err(|d| session.diags.push(d)).ok()?;
    let mut new = vec![];
    for argument in &args.data {
        let (table, name) = files::table_and_file(argument);
        let bytes = files::bytes(name).map_err(|d| session.diags.push(d)).ok()?;
        new.push(DataFile { table: table.map(str::to_owned), name: name.to_owned(), bytes });
    }
    let predictor = Predictor {
        hir: &checked.hir,
        fitted: &fitted,
        new: &new,
        posterior: &fit.draws,
        draws: args.draws as usize,
        seed: args.seed,
    };
    predictor.predict(&mut session.diags)
}

/// What a directory of `vic fit --out` holds.
struct Fit {
    model: String,
    /// The hash of each file, by its name as typed.
    files: HashMap<String, String>,
    /// The data arguments, as typed.
    data: Vec<String>,
    sets: Vec<(String, String)>,
    draws: HashMap<String, Vec<f64>>,
}

impl Fit {
    fn read(dir: &str) -> Result<Fit, Diagnostic> {
        let none = |why: String| {
            Code::NOT_A_FIT
                .plain(format!("`{dir}` holds no fit: {why}"))
                .help(format!("make one: `vic fit … --out {dir}`"))
        };
        let read =
            |name: &str| std::fs::read(Path::new(dir).join(name)).map_err(|_| none(format!("`{name}` cannot be read")));
        let json: Value =
            serde_json::from_slice(&read("fit.json")?).map_err(|_| none("`fit.json` is no JSON".into()))?;
        let text = |v: &Value| v.as_str().map(str::to_owned);
        let pairs = |name: &str| -> Vec<(String, String)> {
            let object = json[name].as_object().into_iter().flatten();
            object.filter_map(|(k, v)| Some((k.clone(), text(v)?))).collect()
        };
        let model = text(&json["model"]).ok_or_else(|| none("`fit.json` names no model".into()))?;
        let data = json["data"].as_array().map(|a| a.iter().filter_map(text).collect());
        let data = data.ok_or_else(|| none("`fit.json` does not say which data were fitted".into()))?;
        let set = |(k, v): (String, String)| Some((k.strip_prefix("set ")?.to_owned(), v));
        let csv = Csv::read(&read("draws.csv")?).ok_or_else(|| none("`draws.csv` cannot be read".into()))?;
        let mut draws: HashMap<String, Vec<f64>> = HashMap::new();
        for (i, name) in csv.header.iter().enumerate() {
            let numbers = csv.rows.iter().map(|r| r[i].parse().unwrap_or(f64::NAN)).collect();
            draws.insert(name.clone(), numbers);
        }
        let sets = pairs("options").into_iter().filter_map(set).collect();
        Ok(Fit { model, files: pairs("files").into_iter().collect(), data, sets, draws })
    }

    fn hash(&self, name: &str) -> Option<&str> {
        self.files.get(name).map(String::as_str)
    }

    /// The data of the fit, as they were then.
    fn inputs(&self, dir: &str) -> Result<Inputs, Diagnostic> {
        let mut inputs = Inputs { files: vec![], sets: self.sets.clone() };
        for argument in &self.data {
            let (table, name) = files::table_and_file(argument);
            let bytes = files::bytes(name).map_err(|d| {
                d.note(format!("the fit in `{dir}` was made with it"))
                    .help("predict from the directory in which the fit was made")
            })?;
            if self.hash(name) != Some(sha256(&bytes).as_str()) {
                return Err(other(dir, &format!("`{name}` has changed since the fit")));
            }
            inputs.files.push(DataFile { table: table.map(str::to_owned), name: name.to_owned(), bytes });
        }
        Ok(inputs)
    }
}

fn other(dir: &str, what: &str) -> Diagnostic {
    Code::FIT_OF_OTHER
        .plain(format!("{what}: the draws in `{dir}` do not belong to it"))
        .help(format!("fit again, `vic fit … --out {dir} --force`, or go back to what was fitted"))
}
