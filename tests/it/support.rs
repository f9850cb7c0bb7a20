//! What several tests share: examples run through the pipeline, references read.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use vic::data::{DataFile, Inputs};
use vic::driver::{self, Compiled, FitRequest, Session};
use vic::report::FitReport;

pub fn root(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

pub fn read(path: &str) -> String {
    fs::read_to_string(root(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// An example's model and data files, `table=file` where it has several tables.
pub fn example(name: &str) -> (String, Inputs) {
    let model = read(&format!("examples/{name}/{name}.vi"));
    let file = |table: Option<&str>, file: &str| DataFile {
        table: table.map(String::from),
        name: file.to_string(),
        bytes: read(&format!("examples/{name}/{file}")).into_bytes(),
    };
    let files = match name {
        "radon" => vec![file(Some("houses"), "houses.csv"), file(Some("counties"), "counties.csv")],
        _ => vec![file(None, &format!("{name}.csv"))],
    };
    (model, Inputs { files, sets: vec![] })
}

/// A model text on CSV text.
pub fn compile(model: &str, inputs: &Inputs) -> Compiled {
    let mut session = Session::default();
    let checked = driver::check(&mut session, "model.vi", model);
    let messages = |s: &Session| {
        s.diags.list.iter().map(|d| format!("{} {}", d.code.id, d.message)).collect::<Vec<_>>().join("\n")
    };
    assert!(!session.diags.has_errors(), "{}", messages(&session));
    driver::compile(&mut session, checked, inputs).unwrap_or_else(|| panic!("{}", messages(&session)))
}

/// One unnamed CSV.
pub fn csv(text: &str) -> Inputs {
    Inputs {
        files: vec![DataFile { table: None, name: "data.csv".into(), bytes: text.as_bytes().to_vec() }],
        sets: vec![],
    }
}

pub fn fit(compiled: &Compiled, request: &FitRequest) -> FitReport {
    let mut session = Session::default();
    let options = driver::options(compiled, request);
    driver::fit(&mut session, compiled, &options, &mut |_| {}).expect("the log joint is finite")
}

/// Mean and sd of every scalar of a report, by name.
pub fn summaries(report: &FitReport) -> HashMap<String, (f64, f64)> {
    let mut out = HashMap::new();
    for v in &report.vars {
        for c in 0..v.cells() {
            let draws = v.cell(c, report.draws);
            let n = draws.len() as f64;
            let mean = draws.iter().sum::<f64>() / n;
            let sd = (draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
            out.insert(v.cell_name(c), (mean, sd));
        }
    }
    out
}

/// Mean and sd of every parameter of a reference posterior.
pub fn reference(name: &str) -> HashMap<String, (f64, f64)> {
    let json: serde_json::Value =
        serde_json::from_str(&read(&format!("tests/reference/{name}/reference.json"))).expect("JSON");
    let parameters = json["parameters"].as_object().expect("parameters");
    let number = |v: &serde_json::Value| v.as_f64().expect("a number");
    parameters.iter().map(|(k, v)| (k.clone(), (number(&v["mean"]), number(&v["sd"])))).collect()
}
