//! Digits of 8 x 8 pixels: what test images are worth under a plain and a hierarchical variational autoencoder, and one whose
//! guide is bent by a flow, three seeds each.
//!
//! `cargo bench --bench digits`

use std::collections::HashMap;
use std::path::Path;
use std::time::Instant;

use vic::data::{DataFile, Inputs};
use vic::diag::Diags;
use vic::driver::rows::{Holes, Question, score};
use vic::driver::{self, FitRequest, Session};

fn main() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/digits");
    let read = |name: &str| std::fs::read(folder.join(name)).expect("part of the repository");
    let file = |name: &str| DataFile { table: None, name: name.into(), bytes: read(name) };
    let (fitted, test) = (Inputs { files: vec![file("train.csv")], sets: vec![] }, [file("test.csv")]);
    println!("{:<16} {:>5} {:>10} {:>10} {:>12} {:>8}", "model", "seed", "train", "test", "refined", "seconds");
    for name in ["vae.vi", "hierarchical.vi", "flow.vi"] {
        let model = String::from_utf8(read(name)).expect("UTF-8");
        for seed in 1..=3 {
            let started = Instant::now();
            let mut session = Session::default();
            let checked = driver::check(&mut session, name, &model);
            let hir = checked.hir.clone();
            let compiled = driver::compile(&mut session, checked, &fitted).expect("it compiles");
            let options = driver::options(&compiled, &FitRequest { seed: Some(seed), ..FitRequest::default() });
            let report = driver::fit(&mut session, &compiled, &options, &mut |_| {}).expect("it fits");
            let seconds = started.elapsed().as_secs_f64();
            let points = report.weights.iter().chain(&report.guide_params);
            let posterior: HashMap<String, Vec<f64>> =
                points.flat_map(|v| (0..v.cells()).map(|c| (v.cell_name(c), vec![v.draws[c]]))).collect();
            let bound = |refine| {
                let question = Question {
                    hir: &hir,
                    fitted: &fitted,
                    new: &test,
                    posterior: &posterior,
                    refine,
                    holes: Holes::None,
                    seed: 1,
                    threads: 2,
                };
                let scores = score(&question, None, &mut Diags::default()).expect("it scores").scores;
                scores.iter().sum::<f64>() / scores.len() as f64
            };
            let train = report.elbo.map_or(f64::NAN, |e| e.0) / report.sizes[0].1 as f64;
            let (test, refined) = (bound(0), bound(100));
            println!("{name:<16} {seed:>5} {train:>10.2} {test:>10.2} {refined:>12.2} {seconds:>8.1}");
        }
    }
}
