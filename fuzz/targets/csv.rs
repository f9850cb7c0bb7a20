//! Binding: any bytes as the CSV file of a model with every kind of column are data, or an error that says why not.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vic::data::{self, DataFile, Inputs};
use vic::diag::{RenderStyle, render};
use vic::driver::{self, Session};

const MODEL: &str = r#"
data rows {
  id: key
  y: real
  n: int >= 0
  hit: bool
  g: category
  day: date
  part: real?
  x: real[feature] from "x*"
}
latent a[g] ~ Normal(0, 1)
latent b[feature] ~ Normal(0, 1)
latent m ~ Normal(0, 1)
observe part ~ Normal(m, 1)
observe y ~ Normal(a[g] + sum(b * x over feature) + n + hit + part + month(day), 1)
"#;

fuzz_target!(|bytes: &[u8]| {
    let mut session = Session::default();
    let checked = driver::check(&mut session, "model.vi", MODEL);
    let file = DataFile { table: None, name: "rows.csv".into(), bytes: bytes.to_vec() };
    data::bind(&checked.hir, &Inputs { files: vec![file], sets: vec![] }, &mut session.diags);
    for d in session.diags.sorted() {
        render(d, &session.sources, RenderStyle { width: 100, color: false, unicode: true });
    }
});
