//! JSON in the form Stan users have, against the same data as CSV and against values computed by hand.

use vic::data::{DataFile, Inputs};
use vic::infer::Target;

use crate::support::{self, checked_value as value, theta};

fn file(table: Option<&str>, name: &str, text: &str) -> DataFile {
    DataFile { table: table.map(String::from), name: name.into(), bytes: text.as_bytes().to_vec() }
}

fn inputs(files: Vec<DataFile>, sets: &[(&str, &str)]) -> Inputs {
    Inputs { files, sets: sets.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect() }
}

/// The columns of the example as a list and a matrix give the same density as the file itself.
#[test]
fn lists_and_matrices_are_the_columns_of_a_table() {
    let (model, csv) = support::example("blr");
    let text = String::from_utf8(csv.files[0].bytes.clone()).expect("text");
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().expect("a header").split(',').collect();
    let rows: Vec<Vec<&str>> = lines.map(|l| l.split(',').collect()).collect();
    let y = header.iter().position(|h| *h == "y").expect("a column y");
    let ys: Vec<&str> = rows.iter().map(|r| r[y]).collect();
    let matrix: Vec<String> = rows
        .iter()
        .map(|r| {
            let x = header.iter().zip(r).filter(|(h, _)| h.starts_with("X.")).map(|(_, v)| *v);
            format!("[{}]", x.collect::<Vec<_>>().join(", "))
        })
        .collect();
    let json = format!("{{\"N\": {}, \"y\": [{}], \"X\": [{}]}}", ys.len(), ys.join(", "), matrix.join(", "));
    let one = support::compile(&model, &csv);
    let two = support::compile(&model, &inputs(vec![file(None, "data.json", &json)], &[]));
    assert_eq!(one.model.names(), two.model.names());
    let at = theta(one.model.dim());
    assert_eq!(one.model.evaluator().value(&at), two.model.evaluator().value(&at));
}

/// Scalars, vectors and matrices beside a table, by list and by label, renamed, with a default and with `--set`.
#[test]
fn data_values_have_plates() {
    let model = "plate species = [\"hare\", \"lynx\"]\nplate k = 2\ndata rows { y: real? }\ndata start: real[species] > 0\n\
                 data cov: real[i in k, j in k]\ndata V: real from \"V.obs\"\ndata flag: bool\ndata n: int = 4\n\
                 data w: real[species] = [0.25, 4]\n\
                 latent a ~ Normal(0, 1)\n\
                 observe y ~ Normal(a * start[\"lynx\"] + cov[1, 2] + n, V)\n\
                 observe start ~ LogNormal(a * w, if flag then 2 else 1)\n";
    let csv = file(None, "rows.csv", "y\n1.5\nNA\n");
    let json = "{\"start\": {\"lynx\": 3, \"hare\": 30}, \"cov\": [[1, 0.5], [7, 2]], \"V.obs\": 9, \"flag\": true}";
    let compiled = support::compile(model, &inputs(vec![csv, file(None, "data.json", json)], &[("V", "2")]));
    let a = theta(1)[0];
    let normal = |x: f64, s: f64| -0.5 * (x / s).powi(2) - s.ln() - 0.918_938_533_204_672_8;
    let log_normal = |x: f64, m: f64| normal(x.ln() - m, 2.0) - x.ln();
    let want = normal(a, 1.0)
        + normal(1.5 - (a * 3.0 + 0.5 + 4.0), 2.0)
        + log_normal(30.0, 0.25 * a)
        + log_normal(3.0, 4.0 * a);
    let got = value(&compiled, &[a]);
    assert!((got - want).abs() < 1e-12 * want.abs(), "{got} {want}");
}

/// Two tables and a foreign key from one file: arrays of different lengths, levels that are numbers, missing cells.
#[test]
fn one_file_holds_several_tables() {
    let model = "data houses { log_radon: real?, county: counties }\ndata counties { uranium: real }\n\
                 latent b ~ Normal(0, 1)\nobserve log_radon ~ Normal(b * uranium[county], 1)\n";
    let json =
        "{\"uranium\": [0.5, -1], \"county\": [1, 2.0, 2], \"log_radon\": [1, null, 3], \"other\": {\"a\": [[1]]}}";
    let compiled = support::compile(model, &inputs(vec![file(None, "radon.json", json)], &[]));
    let b = theta(1)[0];
    let normal = |x: f64| -0.5 * x * x - 0.918_938_533_204_672_8;
    let want = normal(b) + normal(1.0 - 0.5 * b) + normal(3.0 + b);
    let got = value(&compiled, &[b]);
    assert!((got - want).abs() < 1e-12 * want.abs(), "{got} {want}");
    // The same in a file per table, one of them CSV.
    let files = vec![
        file(Some("houses"), "houses.json", "{\"county\": [1, 2, 2], \"log_radon\": [1, null, 3]}"),
        file(Some("counties"), "counties.csv", "uranium\n0.5\n-1\n"),
    ];
    assert_eq!(value(&support::compile(model, &inputs(files, &[])), &[b]), got);
}
