//! A fit read back from the directory of `vic fit --out`.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;

use super::files;
use crate::data::{DataFile, Inputs};
use crate::diag::{Code, Diagnostic};
use crate::report::{sha256, tensors};
use crate::simulate::Csv;

/// What a directory of `vic fit --out` holds.
pub struct SavedFit {
    /// `fit.json`.
    pub json: Value,
    pub model: String,
    /// The hash of each file, by its name as typed.
    pub files: HashMap<String, String>,
    /// The data arguments, as typed.
    data: Vec<String>,
    sets: Vec<(String, String)>,
    /// The names of what was drawn, in the order of the table.
    pub columns: Vec<String>,
    pub draws: HashMap<String, Vec<f64>>,
}

impl SavedFit {
    pub fn read(dir: &str) -> Result<SavedFit, Diagnostic> {
        let none = |why: String| {
            Code::NOT_A_FIT
                .plain(format!("`{dir}` holds no fit: {why}"))
                .help(format!("make one: `vic fit … --out {dir}`"))
        };
        if Path::new(dir).is_file() {
            return Err(Code::NOT_A_FIT
                .plain(format!("`{dir}` is a file, and stands where the directory of a fit belongs"))
                .help("the model comes first, then the directory of `vic fit --out`, then rows"));
        }
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
        let bytes = read("draws.csv")?;
        // Where all latents are of very many rows, whose draws are not kept, its lines are empty.
        let csv = match bytes.trim_ascii() {
            [] => Csv::default(),
            _ => Csv::read(&bytes).ok_or_else(|| none("`draws.csv` cannot be read".into()))?,
        };
        let mut draws: HashMap<String, Vec<f64>> = HashMap::new();
        for (i, name) in csv.header.iter().enumerate() {
            let numbers: Result<Vec<f64>, _> = csv.rows.iter().map(|r| r[i].parse()).collect();
            let numbers =
                numbers.map_err(|_| none(format!("`draws.csv` has cells of `{name}` that are no numbers")))?;
            draws.insert(name.clone(), numbers);
        }
        // Weights of nets and params of the guide are the same in every draw, and stand once.
        if let Ok(bytes) = read(tensors::FILE) {
            let file = tensors::FILE;
            let points = tensors::decode(&bytes).ok_or_else(|| none(format!("`{file}` cannot be read")))?;
            for v in &points {
                draws.extend((0..v.cells()).map(|c| (v.cell_name(c), vec![v.draws[c]])));
            }
        }
        let sets = pairs("options").into_iter().filter_map(set).collect();
        let files = pairs("files").into_iter().collect();
        Ok(SavedFit { columns: csv.header, json, model, files, data, sets, draws })
    }

    pub fn hash(&self, name: &str) -> Option<&str> {
        self.files.get(name).map(String::as_str)
    }

    /// The data of the fit, as they were then.
    pub fn inputs(&self, dir: &str) -> Result<Inputs, Diagnostic> {
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

/// A fit that does not belong to what it is asked about.
pub fn other(dir: &str, what: &str) -> Diagnostic {
    Code::FIT_OF_OTHER
        .plain(format!("{what}: the draws in `{dir}` do not belong to it"))
        .help(format!("fit again, `vic fit … --out {dir} --force`, or go back to what was fitted"))
}
