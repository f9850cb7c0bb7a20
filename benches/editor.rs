//! `cargo bench --bench editor`: milliseconds from a keystroke to its diagnostics. Every example is typed letter by letter;
//! then a model of 300 lines, at its end.

use std::time::Instant;

use vic::editor::{Document, complete};

/// Lines of the long model.
const LINES: usize = 300;

fn main() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut times = vec![];
    let mut folders: Vec<_> = std::fs::read_dir(root).expect("examples").flatten().map(|e| e.path()).collect();
    folders.sort();
    for folder in folders.iter().filter(|f| f.is_dir()) {
        for file in std::fs::read_dir(folder).expect("a folder").flatten().map(|e| e.path()) {
            if file.extension().is_none_or(|e| e != "vi") {
                continue;
            }
            let text = std::fs::read_to_string(&file).expect("UTF-8");
            for (end, _) in text.char_indices().chain([(text.len(), ' ')]) {
                times.push(keystroke(&text[..end]));
            }
        }
    }
    report("examples, letter by letter", times);
    let mut text = String::from("data rows { y: real, x: real, g: category }\nlatent m0 ~ Normal(0, 1)\n");
    for i in 1..LINES - 3 {
        text += &match i % 3 {
            0 => format!("latent m{i}[g] ~ Normal(m0, 1)\n"),
            1 => format!("latent m{i} ~ Normal(0, 1)\n"),
            _ => format!("let m{i} = m{} + m{} * x\n", i - 1, i - 2),
        };
    }
    text += "observe y ~ Normal(";
    report("300 lines", (0..50).map(|_| keystroke(&text)).collect());
}

/// A check and a list of completions, in milliseconds.
fn keystroke(text: &str) -> f64 {
    let start = Instant::now();
    let document = Document::new("model.vi", text);
    std::hint::black_box(complete(&document, text.len()));
    std::hint::black_box(&document.session.diags);
    start.elapsed().as_secs_f64() * 1e3
}

fn report(what: &str, mut times: Vec<f64>) {
    times.sort_by(f64::total_cmp);
    let at = |q: f64| times[((times.len() - 1) as f64 * q) as usize];
    println!(
        "{what:<28} {:>6} keystrokes  median {:>6.2} ms  p99 {:>6.2} ms  worst {:>6.2} ms",
        times.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
}
