//! Data files mutated by bytes, cells and lines: whatever comes of it is data, or an error that says why not. The target `csv` of
//! `fuzz/` does the same with cargo-fuzz.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use vic::data::{self, DataFile, Inputs};
use vic::diag::{RenderStyle, render};
use vic::driver::{self, Session};

/// Every kind of column.
const MODEL: &str = r#"
data rows {
  id: key
  y: real
  n: int >= 0
  hit: bool
  g: category
  size: category ["low", "high"]
  day: date
  part: real?
  p: real in (0, 1)
  x: real[feature] from "x*"
}
latent a[g] ~ Normal(0, 1)
latent b[feature] ~ Normal(0, 1)
latent c[size] ~ Normal(0, 1)
latent m ~ Normal(0, 1)
observe part ~ Normal(m, 1)
observe y ~ Normal(a[g] + c[size] + sum(b * x over feature) + n + hit + part + p + month(day), 1)
"#;

const FILE: &str = "id,y,n,hit,g,size,day,part,p,x1,x2\n\
    a,1.5,2,yes,red,low,2024-01-31,0.5,0.2,1,2\n\
    b,-2e3,0,no,blue,high,2024-02-29,,0.5,3,4\n\
    \"c, d\",0,7,1,\"gre\"\"en\",low,1999-12-01,NA,0.9,-1,0.25\n";

/// Cells that mean something to somebody.
const CELLS: &[&str] = &[
    "",
    "NA",
    "NaN",
    "inf",
    "-inf",
    "1e999",
    "-0",
    "0x10",
    "1_000",
    "1,5",
    "\"1,5\"",
    "30%",
    "$5",
    "TRUE",
    "maybe",
    "2024-02-30",
    "0000-00-00",
    "9999999999999999999",
    "-1",
    "2.5",
    " red ",
    "\"",
    "\"\"\"",
    "é",
    "\u{feff}",
    "\u{0}",
    "x1",
    "low\n",
    "٣",
];

fn cell(rng: &mut StdRng) -> &'static str {
    CELLS[rng.random_range(0..CELLS.len())]
}

fn mutated(rng: &mut StdRng) -> Vec<u8> {
    let mut lines: Vec<String> = FILE.lines().map(str::to_owned).collect();
    for _ in 0..rng.random_range(1..5) {
        let at = rng.random_range(0..lines.len());
        match rng.random_range(0..7) {
            0 => lines.insert(at, lines[at].clone()),
            1 if lines.len() > 1 => _ = lines.remove(at),
            2 => lines.insert(at, String::new()),
            3 => {
                let to = rng.random_range(0..lines.len());
                lines.swap(at, to);
            }
            _ => {
                let mut cells: Vec<&str> = lines[at].split(',').collect();
                let i = rng.random_range(0..cells.len());
                match rng.random_range(0..4) {
                    0 => _ = cells.remove(i),
                    1 => cells.insert(i, cell(rng)),
                    _ => cells[i] = cell(rng),
                }
                lines[at] = cells.join(",");
            }
        }
    }
    let end = ["\n", "\r\n", "\r"][rng.random_range(0..12_usize).saturating_sub(9)];
    let mut bytes = lines.join(end).into_bytes();
    for _ in 0..rng.random_range(0_usize..4).saturating_sub(1) {
        let at = rng.random_range(0..=bytes.len());
        match rng.random_range(0..3) {
            0 => bytes.insert(at, rng.random_range(0..=255)),
            1 => bytes.truncate(at),
            _ if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
            _ => {}
        }
    }
    bytes
}

/// Bind, look at what is bound as `vic check` does, and show what is said.
fn answered(bytes: Vec<u8>) {
    let mut session = Session::default();
    let checked = driver::check(&mut session, "model.vi", MODEL);
    assert!(session.diags.list.is_empty(), "the model is right");
    let file = DataFile { table: None, name: "rows.csv".into(), bytes };
    let inputs = Inputs { files: vec![file], sets: vec![] };
    if let Some(bound) = data::bind(&checked.hir, &inputs, &mut session.diags) {
        driver::warn(&mut session, &checked, &bound);
    } else {
        assert!(session.diags.has_errors(), "what is refused is told why");
    }
    for d in session.diags.sorted() {
        render(d, &session.sources, RenderStyle { width: 100, color: false, unicode: true });
    }
}

fn survives(bytes: &[u8]) -> bool {
    catch_unwind(AssertUnwindSafe(|| answered(bytes.to_vec()))).is_ok()
}

#[test]
fn mutated_files_are_answered() {
    let mut rng = StdRng::seed_from_u64(1);
    answered(FILE.as_bytes().to_vec());
    for _ in 0..300 {
        let bytes = mutated(&mut rng);
        assert!(survives(&bytes), "{}", String::from_utf8_lossy(&bytes));
    }
    let Some(seconds) = std::env::var("VIC_FUZZ_SECONDS").ok().and_then(|s| s.parse().ok()) else { return };
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64);
    let mut rng = StdRng::seed_from_u64(seed);
    let end = Instant::now() + Duration::from_secs(seconds);
    let (mut tried, mut broke) = (0, 0);
    while Instant::now() < end && broke < 20 {
        let bytes = mutated(&mut rng);
        tried += 1;
        if !survives(&bytes) {
            broke += 1;
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
            std::fs::write(folder.join(format!("{seed}_{broke}.csv")), &bytes).expect("writable");
        }
    }
    println!("{tried} files, {broke} of them kept in tests/fuzz");
    assert_eq!(broke, 0, "see tests/fuzz");
}

#[test]
fn files_that_once_broke_are_answered() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    for entry in std::fs::read_dir(folder).expect("part of the repository") {
        let path = entry.expect("readable").path();
        if path.extension().is_some_and(|e| e == "csv") {
            answered(std::fs::read(&path).expect("readable"));
        }
    }
}
