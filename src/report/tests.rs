//! Reports of a small fit made by hand.

use std::fs;
use std::path::Path;

use super::*;

fn fit() -> FitReport {
    let dim = |plate: &str, labels: &[&str]| Dim {
        plate: plate.into(),
        labels: labels.iter().map(|l| (*l).to_owned()).collect(),
    };
    let var = |name: &str, kind, dims: Vec<Dim>, draws: &[f64]| ReportVar {
        name: name.into(),
        kind,
        dims,
        draws: draws.to_vec(),
    };
    FitReport {
        model: "schools.vi".into(),
        data: vec![],
        files: vec![FileHash { name: "schools.csv".into(), sha256: sha256(b"abc") }],
        sizes: vec![("schools".into(), 2)],
        vars: vec![
            var("mu", ReportKind::Latent, vec![], &[1.0, 2.0, 6.0]),
            var(
                "theta",
                ReportKind::Latent,
                vec![dim("schools", &["Choate", "a, \"b\""])],
                &[0.1, 0.2, 0.3, -4.0, 1e-7, 1e300],
            ),
            var("u", ReportKind::Report, vec![dim("s", &["1", "2"]), dim("c", &["x", "y"])], &[0.0; 12]),
        ],
        weights: vec![],
        guide_params: vec![],
        units: vec![],
        discrete: vec![],
        draws: 3,
        guide: "fullrank".into(),
        method: "saa".into(),
        chosen: vec![],
        seed: 7,
        options: vec![("starts".into(), "4".into())],
        elbo: Some((-31.4159, 0.0234)),
        k_hat: 0.43,
        draws_from: "from the guide as it is".into(),
        sds: "guide".into(),
        converged: true,
        stop_reason: "The gradient is small.".into(),
        gradients: 1234,
        evaluations: 5678,
        chains: 0,
        modes: vec![],
        verdict: None,
        forced: false,
        seconds: 0.0561,
        noncentred: vec![],
        collapsed: vec![],
        doubts: vec![],
        warnings: vec![],
        trace: Trace { columns: vec!["step".into(), "elbo".into()], rows: vec![vec![0.0, -40.5], vec![1.0, -31.4]] },
    }
}

#[test]
fn hashes_as_sha256sum_does() {
    assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

#[test]
fn names_and_numbers_of_cells() {
    let fit = fit();
    let all = summaries(&fit);
    let names: Vec<&str> = all.iter().flatten().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["mu", "theta[Choate]", "theta[a, \"b\"]", "u[1, x]", "u[2, x]", "u[1, y]", "u[2, y]"]);
    let mu = &all[0][0];
    assert_eq!((mu.mean, mu.q50), (3.0, 2.0));
    // 2.6457513110645907 = sqrt(7)
    assert!((mu.sd - 7f64.sqrt()).abs() < 1e-15);
    assert!((mu.q5 - 1.1).abs() < 1e-15 && (mu.q95 - 5.6).abs() < 1e-14);
}

#[test]
fn draws_that_are_not_finite_are_left_out() {
    let mut fit = fit();
    fit.vars[0].draws = vec![1.0, f64::NAN, f64::INFINITY];
    fit.vars[1].draws[..3].fill(f64::NAN);
    let all = summaries(&fit);
    assert_eq!((all[0][0].mean, all[0][0].q95), (1.0, 1.0));
    assert!(all[1][0].mean.is_nan() && all[1][0].q5.is_nan());
}

#[test]
fn the_table_is_aligned() {
    let mut fit = fit();
    fit.vars[1].draws[5] = 3.0;
    let text = table(&fit, TableStyle::default());
    let expected = "\
schools.vi · 2 schools · guide fullrank · method saa · seed 7
ELBO -31.416 ± 0.023 · 1234 gradients · 56 ms
Converged. The gradient is small.
Draws: from the guide as it is

                 mean     sd      5%    50%    95%
mu               3.00   2.65    1.10   2.00   5.60
theta[Choate]   0.200  0.100   0.110  0.200  0.290
theta[a, \"b\"]  -0.333  3.512  -3.600  0.000  2.700
u[1, x]             0      0       0      0      0
u[2, x]             0      0       0      0      0
u[1, y]             0      0       0      0      0
u[2, y]             0      0       0      0      0
";
    assert_eq!(text, expected);
}

#[test]
fn doubt_stands_above_the_table() {
    let mut fit = fit();
    fit.converged = false;
    fit.stop_reason = "1000 steps were not enough.".into();
    fit.doubts = vec!["starts disagree".into()];
    let text = table(&fit, TableStyle::default());
    let (doubt, rows) = (text.find("NOT CONVERGED. 1000 steps were not enough."), text.find("mean"));
    assert!(doubt.is_some() && doubt < rows);
    assert!(text.find("Doubt: starts disagree") < rows);
    let colored = table(&fit, TableStyle { color: true, all: false });
    assert!(colored.contains("\x1b[1;31mNOT CONVERGED"));
}

#[test]
fn long_variables_are_cut() {
    let mut fit = fit();
    let labels: Vec<String> = (1..=85).map(|i| i.to_string()).collect();
    fit.vars[0].dims = vec![Dim { plate: "counties".into(), labels: labels.into() }];
    fit.vars[0].draws = vec![1.0; 85 * 3];
    let text = table(&fit, TableStyle::default());
    assert!(text.contains("\nmu[6] ") && !text.contains("\nmu[7]"));
    assert!(text.contains("\n… 79 more of mu"));
    assert!(text.ends_with("\nAll of mu: `--all`, `--json`, or summary.json in `--out DIR`.\n"), "{text}");
    let all = table(&fit, TableStyle { all: true, color: false });
    assert!(all.contains("\nmu[85] ") && !all.contains("more of"));
}

#[test]
fn json_has_stable_names() {
    let mut fit = fit();
    fit.elbo = Some((-31.4159, f64::NAN));
    let json: serde_json::Value = serde_json::from_str(&summary_json(&fit)).expect("it is JSON");
    let keys: Vec<&String> = json.as_object().expect("an object").keys().collect();
    let mut expected = [
        "vic",
        "model",
        "plates",
        "guide",
        "method",
        "seed",
        "draws",
        "chains",
        "verdict",
        "evaluations",
        "converged",
        "stop_reason",
        "doubts",
        "elbo",
        "elbo_se",
        "k_hat",
        "draws_from",
        "sds",
        "chosen",
        "noncentred",
        "gradients",
        "seconds",
        "summary",
    ];
    expected.sort_unstable();
    assert_eq!(keys, expected);
    assert_eq!(json["elbo"], -31.4159);
    assert!(json["elbo_se"].is_null());
    let theta = &json["summary"][1];
    assert_eq!(theta["name"], "theta[Choate]");
    assert_eq!(
        (&theta["variable"], &theta["labels"][0], &theta["kind"]),
        (&"theta".into(), &"Choate".into(), &"latent".into())
    );
    let json: serde_json::Value = serde_json::from_str(&fit_json(&fit)).expect("it is JSON");
    assert_eq!(json["files"]["schools.csv"], sha256(b"abc"));
    assert_eq!(json["options"]["starts"], "4");
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).expect("the file was written")
}

fn refused(dir: &Path, force: bool) -> String {
    let d = OutDir::prepare(dir.to_str().expect("test paths are UTF-8"), force).expect_err("accepted");
    format!("{} {}", d.code.id, d.message)
}

fn write(dir: &Path, force: bool, fit: &FitReport) {
    let out = OutDir::prepare(dir.to_str().expect("test paths are UTF-8"), force).expect("can be written");
    out.write(fit).expect("is written");
}

/// Names in a directory, hidden ones included.
fn entries(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .expect("exists")
        .map(|e| e.expect("readable").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn files_appear_together() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let dir = root.path().join("new/fit");
    write(&dir, false, &fit());
    assert_eq!(entries(&dir), ["draws.csv", "fit.json", "summary.json", "trace.csv"]);
    assert_eq!(entries(dir.parent().expect("has one")), ["fit"], "nothing is left beside it");
    let draws = text(&dir.join("draws.csv"));
    let mut lines = draws.lines();
    assert_eq!(lines.next(), Some(r#"mu,theta[Choate],"theta[a, ""b""]","u[1, x]","u[2, x]","u[1, y]","u[2, y]""#));
    assert_eq!(lines.next(), Some("1,0.1,-4,0,0,0,0"));
    assert_eq!(lines.next(), Some("2,0.2,1e-7,0,0,0,0"));
    assert_eq!(lines.next(), Some("6,0.3,1e300,0,0,0,0"));
    assert_eq!(text(&dir.join("trace.csv")), "step,elbo\n0,-40.5\n1,-31.4\n");
    assert_eq!(text(&dir.join("summary.json")), summary_json(&fit()));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |p: &Path| fs::metadata(p).expect("exists").permissions().mode();
        assert_eq!(mode(&dir) & 0o777, mode(dir.parent().expect("has one")) & 0o777);
    }
}

#[test]
fn a_fit_is_replaced_only_by_force() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let dir = root.path().join("fit");
    fs::create_dir(&dir).expect("can be made");
    write(&dir, false, &fit()); // an empty directory is as good as none
    let first = text(&dir.join("fit.json"));
    assert!(refused(&dir, false).starts_with("V0901"));
    assert_eq!(text(&dir.join("fit.json")), first);
    let second = FitReport { seed: 8, ..fit() };
    write(&dir, true, &second);
    assert_eq!(text(&dir.join("fit.json")), fit_json(&second));
    assert_eq!(entries(root.path()), ["fit"], "the old fit is gone, and nothing else is there");
}

#[test]
fn a_fit_made_meanwhile_is_not_lost() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let dir = root.path().join("fit");
    let out = OutDir::prepare(dir.to_str().expect("UTF-8"), false).expect("nothing is there");
    write(&dir, false, &fit());
    let d = out.write(&FitReport { seed: 8, ..fit() }).expect_err("accepted");
    assert_eq!(d.code.id, "V0901");
    assert_eq!(text(&dir.join("fit.json")), fit_json(&fit()));
    assert_eq!(entries(root.path()), ["fit"]);
}

#[test]
fn other_files_are_never_replaced() {
    let root = tempfile::tempdir().expect("a temporary directory");
    fs::write(root.path().join("thesis.tex"), "…").expect("can be written");
    let text = refused(root.path(), true);
    assert!(text.starts_with("V0902"), "{text}");
    assert_eq!(entries(root.path()), ["thesis.tex"]);
    let file = root.path().join("thesis.tex");
    assert!(refused(&file, true).starts_with("V0903"));
    assert!(refused(&file.join("below"), true).starts_with("V0903"));
    assert!(refused(Path::new("/"), true).starts_with("V090"));
}
