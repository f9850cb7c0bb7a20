//! Programs mutated by characters, tokens and lines: whatever comes of it is answered, and what parses can be laid out.
//!
//! A few thousand mutations of a fixed seed run with the tests, or as many seconds of others as `VIC_FUZZ_SECONDS` says: these
//! keep what breaks under `tests/fuzz/` (what overflows the stack, as `last.vi` in Cargo's folder for tests). `fuzz/` has targets for cargo-fuzz, which goes where code has not been yet.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::format::{corpus, formatted};
use super::programs::program;
use super::syntax::parsed;
use vic::syntax::token::lex;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz")
}

fn pick<T: Clone>(rng: &mut StdRng, items: &[T]) -> Option<T> {
    (!items.is_empty()).then(|| items[rng.random_range(0..items.len())].clone())
}

/// Signs that mean something somewhere, and some that never do.
const SIGNS: &[char] = &[
    '(', ')', '[', ']', '{', '}', '~', '=', ':', ',', ';', '.', '?', '@', '-', '>', '<', '|', '+', '*', '/', '^', '!',
    '#', '"', '\'', '\n', '\r', '\t', ' ', '0', '9', 'e', 'x', '_', '%', '$', '\\', 'é', '\u{0}', '\u{feff}', '∞',
];

fn characters(rng: &mut StdRng, text: &str) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    let at = rng.random_range(0..=chars.len());
    match rng.random_range(0..4) {
        0 => chars.insert(at, pick(rng, SIGNS).unwrap_or('#')),
        1 if at < chars.len() => _ = chars.remove(at),
        2 if at < chars.len() => chars[at] = pick(rng, SIGNS).unwrap_or('#'),
        _ => chars.truncate(at),
    }
    chars.into_iter().collect()
}

fn tokens(rng: &mut StdRng, text: &str, other: &str) -> String {
    let own = lex(text);
    let Some((start, _, end)) = pick(rng, &own) else { return other.to_string() };
    let word =
        |rng: &mut StdRng, text: &str| pick(rng, &lex(text)).map_or(String::new(), |t| text[t.0..t.2].to_string());
    let new = match rng.random_range(0..4) {
        0 => String::new(),
        1 => text[start..end].repeat(2),
        2 => word(rng, text),
        _ => word(rng, other),
    };
    format!("{}{new}{}", &text[..start], &text[end..])
}

fn lines(rng: &mut StdRng, text: &str, other: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    if lines.is_empty() {
        return other.to_string();
    }
    let at = rng.random_range(0..lines.len());
    match rng.random_range(0..4) {
        0 => _ = lines.remove(at),
        1 => lines.insert(at, lines[at]),
        2 => {
            let to = rng.random_range(0..lines.len());
            lines.swap(at, to);
        }
        _ => lines.insert(at, pick(rng, &other.lines().collect::<Vec<_>>()).unwrap_or("")),
    }
    lines.join("\n") + "\n"
}

fn mutated(rng: &mut StdRng, corpus: &[String]) -> String {
    let mut text = pick(rng, corpus).unwrap_or_default();
    for _ in 0..rng.random_range(1..6) {
        let other = pick(rng, corpus).unwrap_or_default();
        text = match rng.random_range(0..3) {
            0 => characters(rng, &text),
            1 => tokens(rng, &text, &other),
            _ => lines(rng, &text, &other),
        };
    }
    text
}

/// Everything that happens to a text before data are read.
fn answered(text: &str, check: bool) {
    let (_, said) = parsed(text);
    if !said.has_errors() {
        formatted(text);
    }
    if check {
        program("fuzz.vi", text).rendered();
    }
}

/// Why a text is not answered, if it is not.
fn trouble(text: &str, check: bool) -> Option<String> {
    let failure = catch_unwind(AssertUnwindSafe(|| answered(text, check))).err()?;
    let said = failure.downcast_ref::<String>().cloned();
    Some(said.or_else(|| failure.downcast_ref::<&str>().map(|s| s.to_string())).unwrap_or_default())
}

#[test]
fn what_once_broke_is_answered() {
    for entry in std::fs::read_dir(folder()).expect("part of the repository") {
        let path = entry.expect("readable").path();
        if path.extension().is_some_and(|e| e == "vi") {
            let text = std::fs::read(&path).expect("readable");
            answered(&String::from_utf8_lossy(&text), true);
        }
    }
}

#[test]
fn mutations_are_answered() {
    let mut rng = StdRng::seed_from_u64(1);
    for i in 0..2000 {
        let text = mutated(&mut rng, corpus());
        if let Some(why) = trouble(&text, i % 20 == 0) {
            panic!("{why}\n--- of ---\n{text}");
        }
    }
    let Some(seconds) = std::env::var("VIC_FUZZ_SECONDS").ok().and_then(|s| s.parse().ok()) else { return };
    mutate_for(Duration::from_secs(seconds));
}

fn mutate_for(time: Duration) {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64);
    let mut rng = StdRng::seed_from_u64(seed);
    let end = Instant::now() + time;
    let (mut tried, mut broke) = (0, 0);
    // An overflow of the stack ends the process: the text that did it must be on the disk by then.
    let last = Path::new(env!("CARGO_TARGET_TMPDIR")).join("last.vi");
    while Instant::now() < end && broke < 20 {
        let text = mutated(&mut rng, corpus());
        tried += 1;
        std::fs::write(&last, &text).expect("writable");
        if trouble(&text, tried % 10 == 0).is_some() {
            broke += 1;
            std::fs::write(folder().join(format!("{seed}_{broke}.vi")), &text).expect("writable");
        }
    }
    println!("{tried} texts, {broke} of them kept in tests/fuzz");
    assert_eq!(broke, 0, "see tests/fuzz");
}
