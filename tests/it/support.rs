//! What several tests share: examples run through the pipeline, references read.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use vic::data::{DataFile, Inputs};
use vic::driver::{self, Compiled, FitRequest, Session};
use vic::infer::Target;
use vic::report::FitReport;
use vic::run::interp::Interp;

pub fn root(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

pub fn read(path: &str) -> String {
    fs::read_to_string(root(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Values that models of the public set take beside their table.
const SETS: &[(&str, &[(&str, &str)])] = &[
    (
        "kilpisjarvi_mod-kilpisjarvi",
        &[("pmualpha", "9.31290322580645"), ("psalpha", "100"), ("pmubeta", "0"), ("psbeta", "0.0333333333333333")],
    ),
    ("rats_data-rats_model", &[("xbar", "22")]),
    ("garch-garch11", &[("sigma1", "0.5")]),
];

/// A model and its data: an example's, or by its name there one of the public set, with the data beside its reference.
pub fn example(name: &str) -> (String, Inputs) {
    let file = |table: Option<&str>, path: &str| DataFile {
        table: table.map(String::from),
        name: path.rsplit('/').next().unwrap_or(path).to_string(),
        bytes: read(path).into_bytes(),
    };
    let public = format!("tests/models/posteriordb/{name}.vi");
    if root(&public).exists() {
        let own = SETS.iter().filter(|(of, _)| *of == name).flat_map(|(_, sets)| sets.iter());
        let sets = own.map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let of = |file: &str| format!("tests/reference/{name}/{file}");
        let data = if root(&of("data.json")).exists() { "data.json" } else { "data.csv" };
        return (read(&public), Inputs { files: vec![file(None, &of(data))], sets });
    }
    let of = |file: &str| format!("examples/{name}/{file}");
    let files = match name {
        "radon" => vec![file(Some("houses"), &of("houses.csv")), file(Some("counties"), &of("counties.csv"))],
        _ => vec![file(None, &of(&format!("{name}.csv")))],
    };
    (read(&of(&format!("{name}.vi"))), Inputs { files, sets: vec![] })
}

/// A model text on CSV text.
pub fn checked(model: &str) -> vic::hir::Hir {
    let mut session = Session::default();
    let hir = driver::check(&mut session, "model.vi", model).hir;
    assert!(!session.diags.has_errors(), "{model}");
    hir
}

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

/// Numbers without pattern in (-1, 1).
pub fn theta(dim: usize) -> Vec<f64> {
    (0..dim).map(|i| (12.9898 * (i + 1) as f64).sin()).collect()
}

/// The log joint at `theta`, whose gradient is held to differences and whose kernel to the interpreter.
pub fn checked_value(compiled: &Compiled, theta: &[f64]) -> f64 {
    let model = &compiled.model;
    let (mut kernels, mut interp) = (model.evaluator(), Interp::new(model.graph()));
    let (mut grad, mut other) = (vec![0.0; theta.len()], vec![0.0; theta.len()]);
    let v = kernels.value_grad(theta, &mut grad);
    let w = interp.value_grad(theta, &mut other);
    assert!((v - w).abs() <= 1e-12 * v.abs() && (v - kernels.value(theta)).abs() <= 1e-12 * v.abs());
    for i in 0..theta.len() {
        let mut at = |h: f64| {
            let mut moved = theta.to_vec();
            moved[i] += h;
            kernels.value(&moved)
        };
        // Central differences of fourth order: error about h⁴, and 1e-13 of the value over h.
        let h = 1e-3;
        let slope = (8.0 * (at(h) - at(-h)) - (at(2.0 * h) - at(-2.0 * h))) / (12.0 * h);
        assert!((grad[i] - slope).abs() < 1e-6 * (1.0 + slope.abs()), "{}: {} {slope}", model.names()[i], grad[i]);
        assert!((grad[i] - other[i]).abs() < 1e-12 * (1.0 + grad[i].abs()));
    }
    v
}

/// One column of CSV.
pub fn column(name: &str, numbers: &[f64]) -> String {
    numbers.iter().fold(format!("{name}\n"), |text, x| text + &format!("{x}\n"))
}

/// The position of a label on a plate of numbers from 1.
pub fn numbered(_: vic::hir::PlateId, label: &str) -> usize {
    label.parse::<usize>().expect("a number") - 1
}
