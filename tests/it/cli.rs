//! Runs of `vic` itself. Each `tests/cli/NAME.txt` holds a command, the files it finds, and what it says:
//!
//! ```text
//! === command
//! fit schools.vi schools.csv
//! === schools.vi
//! …
//! === exit
//! 1
//! === stderr
//! …
//! ```
//!
//! `UPDATE_GOLDEN=1 cargo test --release --test it cli` rewrites the last parts; the diff is the review.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// What a run says, rather than what it is given.
const OUTCOME: [&str; 3] = ["exit", "stdout", "stderr"];

fn vic(args: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vic"))
        .args(args)
        .current_dir(folder)
        .env("NO_COLOR", "1")
        .env("COLUMNS", "100")
        .output()
        .expect("vic starts")
}

/// The parts of a case, in order.
fn parts(text: &str) -> Vec<(String, String)> {
    let mut parts: Vec<(String, String)> = vec![];
    for line in text.lines() {
        match line.strip_prefix("=== ") {
            Some(name) => parts.push((name.to_owned(), String::new())),
            None => {
                let (_, text) = parts.last_mut().expect("a case begins with a part's name");
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    parts
}

/// The case with the outcome that it has now.
fn replay(case: &Path) -> String {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let mut told = String::new();
    let mut args = String::new();
    for (name, text) in parts(&fs::read_to_string(case).expect("readable, UTF-8")) {
        if OUTCOME.contains(&name.as_str()) {
            continue;
        }
        told += &format!("=== {name}\n{text}");
        if name == "command" {
            args = text;
        } else {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("in a folder")).expect("writable");
            fs::write(path, text).expect("writable");
        }
    }
    let out = vic(&args.split_whitespace().collect::<Vec<_>>(), folder.path());
    told += &format!("=== exit\n{}\n", out.status.code().expect("ends by itself"));
    for (name, bytes) in [("stdout", out.stdout), ("stderr", out.stderr)] {
        let text = String::from_utf8(bytes).expect("vic writes UTF-8");
        if !text.is_empty() {
            told += &format!("=== {name}\n{text}");
        }
    }
    told
}

#[test]
fn recorded_runs_say_the_same() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli");
    let mut cases: Vec<PathBuf> =
        fs::read_dir(dir).expect("part of the repository").map(|e| e.expect("readable").path()).collect();
    cases.sort();
    assert!(cases.len() > 30, "the cases are found");
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut wrong = vec![];
    for case in cases {
        let now = replay(&case);
        if update {
            fs::write(&case, now).expect("writable");
        } else if fs::read_to_string(&case).expect("readable") != now {
            wrong.push(format!("{} no longer matches; now:\n{now}", case.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// The folder of an example.
fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)
}

#[test]
fn results_go_to_a_reader_that_may_leave() {
    // Nobody reads: the pipe is closed before the table is written.
    let mut child = Command::new(env!("CARGO_BIN_EXE_vic"))
        .args(["fit", "eight_schools.vi", "eight_schools.csv"])
        .current_dir(example("eight_schools"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("vic starts");
    drop(child.stdout.take());
    let out = child.wait_with_output().expect("vic ends");
    assert_eq!((out.status.code(), String::from_utf8_lossy(&out.stderr).as_ref()), (Some(0), ""));
}

#[test]
fn json_is_the_same_as_summary_json() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let fit = folder.path().join("fit");
    let fit = fit.to_str().expect("UTF-8");
    let out = vic(&["fit", "eight_schools.vi", "eight_schools.csv", "--json", "--out", fit], &example("eight_schools"));
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    let printed: serde_json::Value = serde_json::from_slice(&out.stdout).expect("it is JSON");
    let written = fs::read_to_string(folder.path().join("fit/summary.json")).expect("it was written");
    assert_eq!(printed, serde_json::from_str::<serde_json::Value>(&written).expect("it is JSON"));
    assert_eq!(printed["summary"][2]["name"], "theta[Choate]");
    let draws = fs::read_to_string(folder.path().join("fit/draws.csv")).expect("it was written");
    assert_eq!(draws.lines().count(), 4001);
    assert_eq!(draws.lines().next().map(|l| l.split(',').count()), Some(10));
}

#[test]
fn a_seed_gives_the_same_bytes_on_one_and_two_threads() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let draws = |name: &str, threads: &str| {
        let fit = folder.path().join(name);
        let fit_name = fit.to_str().expect("UTF-8");
        let args = ["fit", "wells.vi", "wells.csv", "--seed", "7", "--quiet", "--threads", threads, "--out", fit_name];
        let out = vic(&args, &example("wells"));
        assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
        assert!(out.stdout.is_empty(), "--quiet prints nothing");
        fs::read(fit.join("draws.csv")).expect("it was written")
    };
    let one = draws("one", "1");
    assert!(one == draws("again", "1"), "the same run again");
    assert!(one == draws("two", "2"), "on two threads");
}

/// A guide beside the sampler, and the figures of both explained.
#[test]
fn fits_are_compared_and_explained() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let at = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let run = |args: &[&str]| vic(args, &example("eight_schools"));
    let data = ["fit", "eight_schools.vi", "eight_schools.csv", "--quiet", "--require", "trust", "--out"];
    let (guide, nuts) = (at("guide"), at("nuts"));
    let fit = |more: &[&str]| {
        let out = run(&[&data[..], more].concat());
        assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    };
    fit(&[&guide]);
    fit(&[&nuts, "--method", "nuts"]);
    let out = run(&["compare", &guide, &nuts, "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&out.stdout).expect("it is JSON");
    let differences = json["differences"].as_array().expect("a list");
    assert_eq!(differences.len(), 10);
    for d in differences {
        // Both are right to 0.1 sds, and their draws add errors of some 0.03.
        assert!(d["shift"].as_f64().expect("a number").abs() < 0.2, "{d}");
        assert!(d["sd_ratio"].as_f64().expect("a number").ln().abs() < 0.2, "{d}");
    }
    let text = |args: &[&str]| String::from_utf8_lossy(&run(args).stdout).into_owned();
    assert!(text(&["compare", &guide, &nuts]).contains("Means differ by at most "));
    let of_guide = text(&["diagnose", &guide]);
    for part in ["TRUST\n", "Convergence", "Starts", "Importance weights", "Drift", "Cost"] {
        assert!(of_guide.contains(part), "no {part} in {of_guide}");
    }
    assert!(text(&["diagnose", &nuts]).contains("R-hat at most "));
    let none = run(&["diagnose", &at("nothing")]);
    assert_eq!(none.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&none.stderr).contains("V0913"));
}

/// Rows of a table of results: name, mean, sd.
fn rows(text: &str) -> Vec<(String, f64, f64)> {
    let row = |line: &str| {
        let words: Vec<&str> = line.split("  ").map(str::trim).filter(|w| !w.is_empty()).collect();
        let [name, mean, sd, _, _, _] = words[..] else { return None };
        Some((name.to_owned(), mean.parse().ok()?, sd.parse().ok()?))
    };
    text.lines().filter_map(row).collect()
}

/// The README shows a run; it must be what a reader sees. A tenth of a standard deviation is several times the noise of
/// 4000 draws (0.016), and leaves room for another processor.
#[test]
fn the_readme_shows_a_true_run() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).expect("readable");
    let (command, shown) =
        readme.split_once("\n$ vic ").expect("shows a run").1.split_once('\n').expect("and its output");
    let shown = rows(shown.split("```").next().unwrap_or(""));
    let out = vic(&command.split(' ').collect::<Vec<_>>(), root);
    let now = rows(&String::from_utf8_lossy(&out.stdout));
    assert_eq!(shown.len(), 10);
    assert_eq!(shown.len(), now.len());
    for ((name, mean, sd), (name_now, mean_now, sd_now)) in shown.iter().zip(&now) {
        assert_eq!(name, name_now);
        assert!((mean - mean_now).abs() < 0.1 * sd, "{name}: {mean} in the README, {mean_now} now");
        assert!((sd / sd_now - 1.0).abs() < 0.1, "{name}: sd {sd} in the README, {sd_now} now");
    }
    let model = fs::read_to_string(root.join("examples/eight_schools/eight_schools.vi")).expect("readable");
    assert!(readme.contains(&format!("```vi\n{model}```")), "the model of the README is the example");
}

/// Start a command and interrupt it as soon as it handles interrupts. Linux tells which signals a process handles, so that
/// nobody need guess when the fit begins.
#[cfg(target_os = "linux")]
fn interrupted(command: &mut Command) -> std::process::Output {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("vic starts");
    let handles_interrupts = || {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).expect("it still runs");
        let caught = status.lines().find_map(|l| l.strip_prefix("SigCgt:")).expect("Linux says");
        u64::from_str_radix(caught.trim(), 16).expect("hexadecimal") & 0b10 != 0
    };
    while !handles_interrupts() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill is there");
    assert!(sent.success());
    child.wait_with_output().expect("vic ends")
}

/// A folder with `m.vi` and `y.csv`, whose fit takes long enough to be interrupted.
#[cfg(target_os = "linux")]
fn slow_model() -> tempfile::TempDir {
    use std::fmt::Write;

    let folder = tempfile::tempdir().expect("a temporary directory");
    let mut csv = String::from("y\n");
    (0..20_000).for_each(|i| writeln!(csv, "{}", f64::from(i % 97) * 0.1).expect("memory"));
    fs::write(folder.path().join("y.csv"), csv).expect("writable");
    let model =
        "data rows { y: real }\nlatent m ~ Normal(0, 1)\nlatent s ~ HalfNormal(1)\nobserve y ~ StudentT(4, m, s)\n";
    fs::write(folder.path().join("m.vi"), model).expect("writable");
    folder
}

#[cfg(target_os = "linux")]
#[test]
fn an_interrupted_fit_shows_how_far_it_came() {
    let folder = slow_model();
    // A thousand draws in each of hundreds of steps: minutes, unless it is interrupted.
    let mut command = Command::new(env!("CARGO_BIN_EXE_vic"));
    command.args(["fit", "m.vi", "y.csv", "--method", "adam", "--draws", "1000", "--out", "fit"]);
    let out = interrupted(command.current_dir(folder.path()).env("NO_COLOR", "1"));
    let (said, shown) = (String::from_utf8_lossy(&out.stderr), String::from_utf8_lossy(&out.stdout));
    assert_eq!(out.status.code(), Some(130), "{said}");
    assert!(said.contains("Interrupted.") && said.contains("no file was written"), "{said}");
    assert!(shown.contains("NOT CONVERGED") && shown.contains("The fit was interrupted."), "{shown}");
    assert!(!folder.path().join("fit").exists());
}

#[cfg(target_os = "linux")]
#[test]
fn an_interrupted_fit_in_batches_goes_on_too() {
    let folder = slow_model();
    let model = fs::read_to_string(folder.path().join("m.vi")).expect("written above");
    let of_batches = |epochs: usize| {
        fs::write(folder.path().join("m.vi"), format!("{model}fit {{ batch: rows(32), epochs: {epochs} }}\n"))
            .expect("writable");
    };
    let vic = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vic"));
        command.args(["fit", "m.vi", "y.csv"]).args(args).current_dir(folder.path()).env("NO_COLOR", "1");
        command
    };
    // Hours, unless it is interrupted.
    of_batches(100_000);
    let out = interrupted(&mut vic(&["--checkpoint", "c"]));
    let (said, shown) = (String::from_utf8_lossy(&out.stderr), String::from_utf8_lossy(&out.stdout));
    assert_eq!(out.status.code(), Some(130), "{said}");
    assert!(said.contains("To go on, give the same command with `--resume`."), "{said}");
    assert!(shown.contains("The fit was interrupted."), "{shown}");
    // It is known to be of another fit, so it was written.
    of_batches(1);
    let out = vic(&["--checkpoint", "c", "--resume"]).output().expect("vic runs");
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.code() == Some(1) && said.contains("V0917"), "{said}");
    fs::remove_file(folder.path().join("c")).expect("it is there");
    let done = vic(&["--checkpoint", "c"]).output().expect("vic runs");
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(!folder.path().join("c").exists(), "a checkpoint goes when the fit is done");
}

#[cfg(target_os = "linux")]
#[test]
fn an_interrupted_fit_goes_on_from_its_checkpoint() {
    let folder = slow_model();
    let vic = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vic"));
        command.args(["fit", "m.vi", "y.csv"]).args(args).current_dir(folder.path()).env("NO_COLOR", "1");
        command
    };
    let kept = ["--checkpoint", "c", "--out", "pieces"];
    let out = interrupted(&mut vic(&kept));
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(130), "{said}");
    assert!(said.contains("To go on, give the same command with `--resume`."), "{said}");
    assert!(folder.path().join("c").exists() && !folder.path().join("pieces").exists());

    let refused = |args: &[&str], code: &str| {
        let out = vic(&[&kept, args].concat()).output().expect("vic runs");
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.code() == Some(1) && said.contains(code), "{said}");
    };
    refused(&[], "V0916");
    refused(&["--resume", "--seed", "2"], "V0917");
    refused(&["--resume", "--method", "nuts"], "V0917");

    let done = vic(&[&kept[..], &["--resume"]].concat()).output().expect("vic runs");
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(!folder.path().join("c").exists(), "a checkpoint goes when the fit is done");
    let whole = vic(&["--out", "whole"]).output().expect("vic runs");
    assert_eq!(whole.status.code(), Some(0));
    let draws = |fit: &str| fs::read(folder.path().join(fit).join("draws.csv")).expect("written");
    assert!(draws("pieces") == draws("whole"), "the draws differ");
}

#[test]
fn sure_edits_are_made_and_the_rest_is_reported() {
    let dir = tempfile::tempdir().expect("a folder");
    let model = dir.path().join("m.vi");
    let wrong = "data rows { y: real, x: real }; // the data\nlatent a, b ~ Normal(0, 5.);\nlet r = 1 / (1 + exp(-a))\n\
                 let m = if x > 0 && x < 2 then a + b * x ** 2 else r\ntarget += -a\nobserve y <- Normal(m, 1)\n";
    fs::write(&model, wrong).expect("writable");
    let run = |args: &[&str]| vic(args, dir.path());
    let out = run(&["check", "--fix", "m.vi"]);
    let mended = fs::read_to_string(&model).expect("still there");
    let right = "data rows { y: real, x: real } # the data\nlatent a, b ~ Normal(0, 5.0)\nlet r = inv_logit(a)\n\
                 let m = if x > 0 and x < 2 then a + b * x ^ 2 else r\nfactor -a\nobserve y ~ Normal(m, 1)\n";
    assert_eq!(mended, right, "{}", String::from_utf8_lossy(&out.stderr));
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(said.contains("m.vi: 9 places mended"), "{said}");
    // A second run finds nothing to do.
    let before = fs::metadata(&model).and_then(|m| m.modified()).expect("a time");
    run(&["check", "--fix", "m.vi"]);
    assert_eq!(fs::metadata(&model).and_then(|m| m.modified()).expect("a time"), before, "not written again");
}

#[test]
fn a_watched_model_is_checked_again_when_it_changes() {
    use std::io::{BufRead, BufReader};
    let dir = tempfile::tempdir().expect("a folder");
    let model = dir.path().join("m.vi");
    fs::write(&model, "latent a ~ Norml(0, 1)\n").expect("writable");
    let mut watching = Command::new(env!("CARGO_BIN_EXE_vic"))
        .args(["check", "--watch", "m.vi"])
        .current_dir(dir.path())
        .stderr(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("the program starts");
    let mut lines = BufReader::new(watching.stderr.take().expect("piped")).lines().map(|l| l.expect("text"));
    let mut until_it_waits = || lines.by_ref().take_while(|l| !l.contains("Waiting")).collect::<Vec<_>>().join("\n");
    assert!(until_it_waits().contains("there is no distribution called `Norml`"));
    fs::write(&model, "data rows { y: real }\nlatent a ~ Normal(0, 1)\nobserve y ~ Normal(b, 1)\n").expect("writable");
    assert!(until_it_waits().contains("there is no value called `b`"));
    watching.kill().expect("it runs");
    watching.wait().expect("it ends");
}

/// After a fit whose draws are all of very many rows, and are not kept, rows are scored by the weights alone.
#[test]
fn rows_are_scored_without_draws() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let model = "data rows { x: real }
net encode(x: real) -> (mu: real, sigma: real > 0) = dense(3, tanh) |> head
param m: real = 0
latent z[rows] ~ Normal(0, 1)
observe x ~ Normal(m + z, 0.5)
guide {
  let q = encode(x)
  z ~ Normal(q.mu, q.sigma)
}
fit { batch: rows(2), epochs: 2 }
";
    fs::write(folder.path().join("m.vi"), model).expect("writable");
    fs::write(folder.path().join("d.csv"), "x\n1\n-0.5\n0.3\n0.8\n").expect("writable");
    let fitted = vic(&["fit", "m.vi", "d.csv", "--out", "fit"], folder.path());
    assert!(fitted.status.success(), "{}", String::from_utf8_lossy(&fitted.stderr));
    let draws = folder.path().join("fit/draws.csv");
    let kept = fs::read_to_string(&draws).expect("draws");
    // As they are written where no column is left but those of params; and, below, where none is.
    let params = kept.lines().map(|l| l.split(',').next().unwrap_or("").to_string() + "\n").collect::<String>();
    assert!(params.starts_with("m\n"), "{params}");
    fs::write(&draws, params).expect("writable");
    let scored = vic(&["score", "m.vi", "fit"], folder.path());
    assert!(scored.status.success(), "{}", String::from_utf8_lossy(&scored.stderr));
    fs::write(folder.path().join("n.vi"), model.replace("param m: real = 0\n", "").replace("m + z", "z"))
        .expect("writable");
    let fitted = vic(&["fit", "n.vi", "d.csv", "--out", "other"], folder.path());
    assert!(fitted.status.success(), "{}", String::from_utf8_lossy(&fitted.stderr));
    fs::write(folder.path().join("other/draws.csv"), "\n".repeat(3)).expect("writable");
    let scored = vic(&["score", "n.vi", "other"], folder.path());
    assert!(scored.status.success(), "{}", String::from_utf8_lossy(&scored.stderr));
}
