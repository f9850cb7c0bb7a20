//! Tables that are larger than memory: read in pieces, kept on disk, and fitted to the same bits.

use std::fs;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use vic::data::Inputs;
use vic::data::pieces::Pieces;
use vic::driver::{self, FitRequest, Session};

use super::support::{compile, csv, fit};

const MODEL: &str = "data rows { y: bool, g: category, x: real[feature] from \"x*\" }
plate code = 2
net encode(x: real[feature]) -> (mu: real[code], sigma: real[code] > 0) = dense(3, tanh) |> head
param b[feature]: real = 0.1
latent u[g] ~ Normal(0, 1)
latent z[rows, code] ~ Normal(0, 1)
observe y ~ Bernoulli(logit: sum(x * b over feature) + u[g] + 0.5 * sum(z over code) + size(rows) / 1000)
guide {
  let q = encode(x)
  z ~ Normal(q.mu, q.sigma)
  u ~ meanfield()
}
";

fn text(rows: usize, columns: usize) -> String {
    let mut rng = StdRng::seed_from_u64(1);
    let header: Vec<String> = (0..columns).map(|i| format!("x{i}")).collect();
    let mut text = format!("y,g,{}\n", header.join(","));
    for i in 0..rows {
        let g = ["b", "c", "a"][(i / 30) % 3];
        text += &format!("{},{g}", i * 7 % 2);
        for _ in 0..columns {
            text += &format!(",{:.2}", rng.random::<f64>());
        }
        text.push('\n');
    }
    text
}

fn model(fit: &str) -> String {
    format!("{MODEL}fit {{ batch: rows(16), epochs: 4, {fit} }}\n")
}

/// Compiled from a file in pieces of so many bytes, or what is said instead.
fn on_disk(model: &str, text: impl AsRef<[u8]>, size: usize) -> Result<driver::Compiled, Vec<(String, Vec<String>)>> {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = folder.path().join("data.csv");
    fs::write(&path, text).expect("it can be written");
    let pieces = Pieces { table: None, name: "data.csv".into(), path, size };
    let mut session = Session::default();
    let checked = driver::check(&mut session, "model.vi", model);
    assert!(!session.diags.has_errors(), "{model}");
    let compiled = driver::compile_pieces(&mut session, checked, &Inputs::default(), &pieces);
    compiled.ok_or_else(|| session.diags.list.iter().map(|d| (d.code.id.to_string(), d.places.clone())).collect())
}

/// Levels of a category that come late in the file, several draws per row, rows that are held out: the bits are those of a table in
/// memory.
#[test]
fn rows_on_disk_are_those_in_memory() {
    let data = text(200, 4);
    for options in ["holdout: 0.1", "method: iwae, importance_samples: 3", "precision: f32"] {
        let model = model(options);
        let essence = |compiled: &driver::Compiled| {
            let report = fit(compiled, &FitRequest::default());
            let bits = |vars: &[vic::report::ReportVar]| {
                vars.iter().flat_map(|v| &v.draws).map(|d| d.to_bits()).collect::<Vec<u64>>()
            };
            (bits(&report.vars), bits(&report.weights), report.elbo.map(|e| e.0.to_bits()))
        };
        let whole = essence(&compile(&model, &csv(&data)));
        let pieces = essence(&on_disk(&model, &data, 1000).unwrap_or_else(|e| panic!("{e:?}")));
        assert_eq!(whole, pieces, "{options}");
    }
}

/// Statistics of columns and of what is computed from them, statistics of statistics, empty cells, a key, and columns that are drawn
/// anew: what rows have between them does not depend on where they are.
#[test]
fn what_rows_share_is_found_on_disk() {
    let mut rng = StdRng::seed_from_u64(3);
    let mut data = "name,p1,p2,x1,x2,w\n".to_string();
    for i in 0..150 {
        let mut u = || -> f64 { rng.random() };
        let w = if i % 4 == 1 { String::new() } else { format!("{:.3}", u()) };
        data += &format!("r{i},{:.2},{:.2},{:.4},{:.4},{w}\n", u(), u(), 1e3 + u(), -7.0 * u());
    }
    let model = "data rows { name: key, p: bool[pixel] from \"p*\", x: real[feature] from \"x*\", w: real? }
let z = (x - mean(x over rows)) / sd(x over rows)
let far = max(abs(z) over rows)
latent b[feature] ~ Normal(0, 1)
latent q[pixel] ~ Normal(0, 1)
observe p ~ Bernoulli(logit: q + sum(z * b / far over feature))
observe w ~ Normal(sum(b over feature), 1)
guide meanfield
fit { batch: rows(16), epochs: 3, binarise: p, holdout: 0.1 }
";
    let essence = |compiled: &driver::Compiled| {
        let report = fit(compiled, &FitRequest::default());
        let bits: Vec<u64> = report.vars.iter().flat_map(|v| &v.draws).map(|d| d.to_bits()).collect();
        (bits, report.elbo.map(|e| e.0.to_bits()))
    };
    let whole = essence(&compile(model, &csv(&data)));
    assert_eq!(whole, essence(&on_disk(model, &data, 700).unwrap_or_else(|e| panic!("{e:?}"))));
    // A key that comes again in a later piece is told.
    let twice = on_disk(model, data.replace("r140,", "r3,"), 700).err().expect("refused");
    assert_eq!(twice[0].0, "V0716");
}

#[test]
fn what_needs_all_rows_is_refused_and_wrong_cells_have_their_lines() {
    let data = text(200, 4);
    let said = |model: &str, data: &str| on_disk(model, data, 1000).err().expect("refused");
    let head = "data rows { y: bool, g: category, x: real[feature] from \"x*\" }\n";
    let tail = "fit { batch: rows(16) }\n";
    for body in [
        "latent a ~ Normal(0, 1)\nobserve y ~ Bernoulli(logit: a * sum(x[i, \"1\"] over i in rows where x[i, \"2\"] > 0.5))\nguide meanfield\n",
        "latent a[rows] ~ Normal(0, 1)\nobserve y ~ Bernoulli(logit: a)\n",
    ] {
        let codes: Vec<String> = said(&format!("{head}{body}{tail}"), &data).into_iter().map(|d| d.0).collect();
        assert!(codes.contains(&"V0853".into()), "{body}: {codes:?}");
    }
    let line = data.lines().nth(149).expect("it is long");
    let wrong =
        said(&model("clip: 1"), &data.replacen(line, &line.replacen('1', "one", 1).replacen("0,", "none,", 1), 1));
    assert!(wrong[0].1.iter().any(|p| p.starts_with("data.csv:150:")), "{wrong:?}");
}

/// The most memory that a fit takes, in MB: as the system says, asked every few milliseconds until it ends.
#[cfg(target_os = "linux")]
fn most(model: &str, data: &str) -> f64 {
    let folder = tempfile::tempdir().expect("a temporary directory");
    fs::write(folder.path().join("m.vi"), model).expect("it can be written");
    fs::write(folder.path().join("d.csv"), data).expect("it can be written");
    let mut child = Command::new(env!("CARGO_BIN_EXE_vic"))
        .args(["fit", "m.vi", "d.csv", "--memory", "1", "--quiet", "--threads", "1"])
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("vic starts");
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0.0f64;
    while child.try_wait().expect("it is ours").is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:"));
        let kb = line.and_then(|l| l.trim().trim_end_matches(" kB").trim().parse::<f64>().ok());
        most = most.max(kb.unwrap_or(0.0) / 1024.0);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(child.wait().expect("it has ended").success());
    most
}

/// A file of 12 MB takes little more memory than one of 10 KB: what is read at once, and a few bytes per row for their order. In
/// memory, its two million numbers would take 16 MB as they are, and as much again as they are read, beside the file itself.
#[cfg(target_os = "linux")]
#[test]
fn memory_does_not_grow_with_the_file() {
    let model = "data rows { y: bool, g: category, x: real[feature] from \"x*\" }
param b[feature]: real = 0.1
observe y ~ Bernoulli(logit: sum(x * b over feature))
fit { batch: rows(500), epochs: 1 }
";
    let small = most(model, &text(600, 30));
    let data = text(75_000, 30);
    assert!(data.len() > 11 << 20);
    let large = most(model, &data);
    assert!(large < small + 20.0, "{large} MB, and {small} MB for a small file");
}

/// A Parquet file in groups of rows: the same bits as the CSV file with its numbers.
#[test]
fn parquet_is_read_in_pieces_too() {
    use arrow_array::{ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray};
    use parquet::arrow::ArrowWriter;
    let data = text(200, 2);
    let lines: Vec<Vec<&str>> = data.lines().skip(1).map(|l| l.split(',').collect()).collect();
    let numbers = |c: usize| -> ArrayRef {
        Arc::new(Float64Array::from_iter_values(lines.iter().map(|l| l[c].parse::<f64>().expect("a number"))))
    };
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("y", Arc::new(lines.iter().map(|l| Some(l[0] == "1")).collect::<BooleanArray>())),
        ("g", Arc::new(lines.iter().map(|l| Some(l[1])).collect::<StringArray>())),
        ("x0", numbers(2)),
        ("x1", numbers(3)),
    ];
    let batch = RecordBatch::try_from_iter(columns).expect("equal lengths");
    let mut writer = ArrowWriter::try_new(vec![], batch.schema(), None).expect("a writer");
    for start in (0..200).step_by(50) {
        writer.write(&batch.slice(start, 50)).and_then(|()| writer.flush()).expect("written");
    }
    let parquet = writer.into_inner().expect("closed");
    let model = model("holdout: 0.1");
    let bits = |compiled: &driver::Compiled| {
        let report = fit(compiled, &FitRequest::default());
        report.vars.iter().flat_map(|v| &v.draws).map(|d| d.to_bits()).collect::<Vec<u64>>()
    };
    let compiled = on_disk(&model, &parquet, 1000).unwrap_or_else(|e| panic!("{e:?}"));
    assert_eq!(bits(&compiled), bits(&compile(&model, &csv(&data))));
    // One that is cut off, and one whose footer lies, end in words.
    for damaged in
        [&parquet[..parquet.len() - 30], &[&parquet[..parquet.len() - 8], &[255, 255, 255, 127], b"PAR1"].concat()]
    {
        assert_eq!(on_disk(&model, damaged, 1000).err().map(|e| e[0].0.clone()).as_deref(), Some("V0905"));
    }
}

/// Probabilities take another pass over all rows, in memory: of rows on disk the report says where they are to be had.
#[test]
fn probabilities_of_rows_on_disk_are_left_to_encode() {
    let model = "data rows { y: bool, x: real[feature] from \"x*\" }
plate kind = 2
param m[kind] = [-1, 1]
latent k[rows]: kind ~ Categorical(logit: 0)
observe y ~ Bernoulli(logit: m[k])
fit { batch: rows(16), epochs: 1 }
";
    let compiled = on_disk(model, text(200, 1), 1000).unwrap_or_else(|e| panic!("{e:?}"));
    let report = fit(&compiled, &FitRequest::default());
    assert!(report.discrete.is_empty());
    assert!(report.doubts.iter().any(|d| d.contains("`k`") && d.contains("vic encode")), "{:?}", report.doubts);
}
