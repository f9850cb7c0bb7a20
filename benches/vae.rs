//! Milliseconds per training step of a variational autoencoder, 784–400–20 with batches of 128 random binary images, and
//! where they go. With a file that a peer's script wrote (lines of JSON), the ratio to it.
//!
//! `cargo bench --bench vae` · `cargo bench --bench vae -- --peer numpyro.jsonl`

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use vic::data::{DataFile, Inputs};
use vic::driver::{self, FitRequest, Session};
use vic::infer::Stream;
use vic::infer::batches::{Batch, Rows, shuffle};

const PIXELS: usize = 784;
const ROWS: usize = 1280;
const STEPS: usize = 100;

/// Each pixel is 1 with probability 0.3.
fn images() -> String {
    let mut stream = Stream::new(6, "bench", "images");
    let mut text = (0..PIXELS).map(|p| format!("px{p}")).collect::<Vec<_>>().join(",");
    for _ in 0..ROWS {
        text.push('\n');
        for p in 0..PIXELS {
            let comma = if p > 0 { "," } else { "" };
            write!(text, "{comma}{}", u8::from(stream.uniform() < 0.3)).expect("memory");
        }
    }
    text + "\n"
}

fn model(precision: &str) -> String {
    format!(
        "data images {{ x: bool[pixel] from \"px*\" }}
plate code = 20
net decode(z: real[code]) -> real[pixel] = dense(400, softplus) |> head
net encode(x: real[pixel]) -> (mu: real[code], sigma: real[code] > 0) = dense(400, softplus) |> head
latent z[images, code] ~ Normal(0, 1)
observe x ~ Bernoulli(logit: decode(z))
guide {{
  let q = encode(x)
  z ~ Normal(q.mu, q.sigma)
}}
fit {{ batch: images(128), optimizer: adam(0.001), epochs: 10, schedule: constant{precision} }}
"
    )
}

/// Milliseconds per step, the median of steps, and the parts of a step.
fn measure(precision: &str, threads: usize, data: &str) -> (f64, String) {
    let mut session = Session::default();
    let checked = driver::check(&mut session, "vae.vi", &model(precision));
    let file = DataFile { table: None, name: "images.csv".into(), bytes: data.as_bytes().to_vec() };
    let inputs = Inputs { files: vec![file], sets: vec![] };
    let compiled = driver::compile(&mut session, checked, &inputs).expect("the model is right");
    let cancel = Arc::new(AtomicBool::new(false));
    let request = FitRequest { threads: Some(threads), cancel: Some(cancel.clone()), ..FitRequest::default() };
    let options = driver::options(&compiled, &request);
    let (mut times, mut last) = (vec![], Instant::now());
    driver::fit(&mut session, &compiled, &options, &mut |_| {
        times.push(last.elapsed().as_secs_f64() * 1e3);
        last = Instant::now();
        // Neither the bound nor draws are wanted.
        cancel.store(times.len() == STEPS, Ordering::Relaxed);
    });
    let whole = median(&mut times[5..]);
    let batches = compiled.batches.as_ref().expect("asked for");
    let mut rows = batches.rows_on(threads, !precision.is_empty(), &compiled.model);
    let weights = vec![10.0; 128];
    let mut order: Vec<usize> = (0..ROWS).collect();
    shuffle(&mut order, 1, 1);
    let mut time = |f: &mut dyn FnMut(&mut dyn Rows, usize)| {
        let once = |i| {
            let start = Instant::now();
            f(&mut rows, i);
            start.elapsed().as_secs_f64() * 1e3
        };
        median(&mut (0..30).map(once).collect::<Vec<_>>()[5..])
    };
    let take = time(&mut |rows, i| rows.take(&Batch::of(order[i % 10 * 128..][..128].to_vec(), weights.clone())));
    let kernels = time(&mut |rows, _| {
        rows.gradient();
    });
    let rest = whole - take - kernels;
    (whole, format!("  rows {take:.2} ms, log joint with gradient {kernels:.2} ms, noise and optimiser {rest:.2} ms"))
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn main() {
    let data = images();
    let peer = std::env::args().skip_while(|a| a != "--peer").nth(1).map(|path| {
        let text = std::fs::read_to_string(&path).expect("the peer's file can be read");
        let line = text.lines().find(|l| l.contains("\"step\"")).expect("it has a line for the step");
        let value: serde_json::Value = serde_json::from_str(line).expect("JSON");
        value["value"].as_f64().expect("milliseconds")
    });
    for precision in ["", ", precision: f32"] {
        for threads in [1, 2] {
            let (ms, parts) = measure(precision, threads, &data);
            let name = if precision.is_empty() { "f64" } else { "f32" };
            let ratio = peer.map_or(String::new(), |p| format!(" · {:.2} of the peer's {p:.2} ms", ms / p));
            println!("{name}, {threads} threads: {ms:.2} ms per step{ratio}\n{parts}");
        }
    }
}
