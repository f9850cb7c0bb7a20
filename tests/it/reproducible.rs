//! The same seed gives the same bytes, whatever the number of threads.

use std::fs;
use std::process::Command;

use crate::support::root;

fn draws(dir: &std::path::Path, threads: &str) -> Vec<u8> {
    let out = dir.join(format!("fit{threads}"));
    let run = Command::new(env!("CARGO_BIN_EXE_vic"))
        .current_dir(root("examples/radon"))
        .args(["fit", "radon.vi", "houses=houses.csv", "counties=counties.csv", "--guide", "meanfield", "--seed", "7"])
        .args(["--threads", threads, "--quiet", "--out"])
        .arg(&out)
        .output()
        .expect("vic runs");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    fs::read(out.join("draws.csv")).expect("draws are written")
}

#[test]
fn one_and_two_threads_write_the_same_bytes() {
    let dir = tempfile::tempdir().expect("a directory");
    let one = draws(dir.path(), "1");
    assert!(one.len() > 100_000, "4000 draws of 90 scalars are more than this");
    assert!(one == draws(dir.path(), "2"), "the number of threads changes the draws");
}
