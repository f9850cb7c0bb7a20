//! Files that no one would write: very long, random, full of brackets. Each is answered in bounded time and memory, and in few
//! words; and results that cannot be written are told of.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use vic::editor::{Document, complete};

use super::support::root;
use super::syntax::models;

/// Without optimisation everything takes a hundred times as long: then a hundredth of it has to do.
const SCALE: usize = if cfg!(debug_assertions) { 100 } else { 1 };
/// What a check of the longest files may take on a machine that does other things as well; it takes a few seconds.
const PATIENCE: Duration = Duration::from_secs(120);
/// Kilobytes of address space, of which a check of the longest takes 1.5 million.
const MEMORY: usize = 6_000_000;

fn vic(args: &str, folder: &Path) -> Output {
    let command = format!("ulimit -v {MEMORY}; exec {} {args}", env!("CARGO_BIN_EXE_vic"));
    Command::new("sh").args(["-c", &command]).current_dir(folder).env("NO_COLOR", "1").output().expect("sh starts")
}

/// Check a text: the exit code, and what is said.
fn checked(text: &[u8]) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().expect("a temporary directory");
    fs::write(folder.path().join("m.vi"), text).expect("writable");
    let start = Instant::now();
    let out = vic("check m.vi", folder.path());
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    // A person reads this: however much is wrong, it ends.
    assert!(out.stderr.len() < 1_000_000, "{} bytes of diagnostics", out.stderr.len());
    (out.status.code(), String::from_utf8(out.stderr).expect("UTF-8"))
}

#[test]
fn a_model_of_a_hundred_thousand_lines() {
    let mut text = String::from("data rows { y: real, x: real, g: category }\nlatent m0 ~ Normal(0, 1)\n");
    for i in 1..100_000 / SCALE {
        text += &match i % 3 {
            0 => format!("latent m{i}[g] ~ Normal(m0, 1)\n"),
            1 => format!("latent m{i} ~ Normal(0, 1)\n"),
            _ => format!("let m{i} = m{} * x\n", i - 1),
        };
    }
    let (code, said) = checked(format!("{text}observe y ~ Normal(m0, 1)\n").as_bytes());
    // Nothing but warnings of all that is not used.
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = checked(format!("{text}observe y ~ Normal(mistake, 1)\n").as_bytes());
    assert_eq!(code, Some(1));
    assert!(
        said.starts_with("V0202"),
        "the error comes first\n{}",
        said.lines().take(9).collect::<Vec<_>>().join("\n")
    );
}

#[test]
fn random_files() {
    let mut rng = StdRng::seed_from_u64(1);
    let size = 10_000_000 / SCALE;
    let bytes: Vec<u8> = (0..size).map(|_| rng.random_range(0..=255)).collect();
    assert_eq!(checked(&bytes).0, Some(1));
    let signs: Vec<u8> = b"()[]{}~=:,;.?@->|+*/^<!#\"' \n0123abxyz".to_vec();
    let text: Vec<u8> = (0..size).map(|_| signs[rng.random_range(0..signs.len())]).collect();
    assert_eq!(checked(&text).0, Some(1));
    let words = "data latent let observe plate ( ) [ ] { } ~ = : , . + * Normal x y 1 0.5 \n if then over in";
    let words: Vec<&str> = words.split(' ').collect();
    let text: Vec<&str> = (0..size / 5).map(|_| words[rng.random_range(0..words.len())]).collect();
    assert_eq!(checked(text.join(" ").as_bytes()).0, Some(1));
}

#[test]
fn brackets_and_long_lines() {
    for text in ["(".repeat(20_000), "let a = [".repeat(5_000), format!("let a = $1{}", " + 1".repeat(200_000))] {
        let (code, said) = checked(text.as_bytes());
        assert_eq!(code, Some(1));
        assert!(said.len() < 100_000, "{} bytes of diagnostics", said.len());
    }
}

#[test]
fn results_that_cannot_be_written() {
    let full = Path::new("/dev/full");
    if !full.exists() {
        return;
    }
    let example = root("examples/eight_schools");
    for args in ["show eight_schools.vi --stage joint", "explain V0301", "check eight_schools.vi"] {
        let out = Command::new(env!("CARGO_BIN_EXE_vic"))
            .args(args.split(' '))
            .current_dir(&example)
            .stdout(Stdio::from(fs::OpenOptions::new().write(true).open(full).expect("it exists")))
            .stderr(Stdio::piped())
            .output()
            .expect("vic starts");
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(1), "{args}: {said}");
        assert!(said.contains("V0904"), "{args}: {said}");
    }
}

/// Every example and model as it is typed, letter by letter: a check and a list of completions, and no panic. A tenth of
/// them runs with the tests, `VIC_KEYSTROKES=all` tries every one.
#[test]
fn every_keystroke_is_answered() {
    let all = std::env::var_os("VIC_KEYSTROKES").is_some();
    let step = if all { 1 } else { 10 * SCALE.min(20) };
    let mut count = 0;
    for (path, text) in models().into_iter().filter(|(p, _)| !p.starts_with(root("stdlib"))) {
        for (end, _) in text.char_indices() {
            count += 1;
            if count % step == 0 {
                let document = Document::new(&path.to_string_lossy(), &text[..end]);
                std::hint::black_box(complete(&document, end));
            }
        }
    }
    assert!(count > 10_000, "the models are found");
}
