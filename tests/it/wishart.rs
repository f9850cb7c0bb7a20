//! Wishart and inverse Wishart matrices: densities by quadrature, draws by moments, posteriors and evidence by closed forms.

use std::collections::HashMap;
use std::f64::consts::{LN_2, PI};

use vic::data::Inputs;
use vic::driver::FitRequest;
use vic::infer::{Target, Trust};
use vic::report::FitReport;
use vic::simulate::{Rows, simulate};

use vic::infer::Method;
use vic::prim::scalar::digamma;

use crate::conjugate::ln_gamma;
use crate::support::{self, checked_value, compile, csv, fit, summaries};

/// The scale of two rows, as programs write it and as numbers.
const SCALE: &str = "let V[i in k, j in k] = if i == j then (if row(i) == 1 then 2 else 1) else 0.5\n";
const V: [f64; 3] = [2.0, 0.5, 1.0];

fn log_multigamma(a: f64, p: usize) -> f64 {
    0.25 * (p * (p - 1)) as f64 * PI.ln() + (0..p).map(|i| ln_gamma(a - 0.5 * i as f64)).sum::<f64>()
}

/// A matrix of two rows as its cells (1, 1), (2, 1), (2, 2).
fn det([a, b, c]: [f64; 3]) -> f64 {
    a * c - b * b
}

fn inverse(m: [f64; 3]) -> [f64; 3] {
    [m[2], -m[1], m[0]].map(|x| x / det(m))
}

fn plus(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    std::array::from_fn(|i| a[i] + b[i])
}

const NOISE: &str = "observe y ~ Normal(0, 1)\n";

/// The log density of a latent alone, at its unconstrained coordinates.
fn alone(dist: &str, k: usize) -> (vic::driver::Compiled, f64) {
    let text = format!("data rows {{ y: real }}\nplate k = {k}\n{SCALE}latent x over k ~ {dist}\n{NOISE}");
    (compile(&text, &csv("y\n0\n")), -0.5 * (2.0 * PI).ln())
}

/// Of one row they are gamma and inverse gamma: with x = exp(2u), |dx / du| = 2x.
#[test]
fn one_row_is_a_gamma() {
    let (dof, v) = (3.7_f64, 2.0_f64);
    let (a, b) = (0.5 * dof, 0.5 / v);
    for u in [-0.8, 0.3, 1.1_f64] {
        let (model, noise) = alone("Wishart(3.7, V)", 1);
        let x = (2.0 * u).exp();
        let jacobian = LN_2 + 2.0 * u;
        let want = a * b.ln() - ln_gamma(a) + (a - 1.0) * x.ln() - b * x + jacobian + noise;
        let got = checked_value(&model, &[u]);
        assert!((got - want).abs() < 1e-11, "{u}: {got}, not {want}");
        let (model, noise) = alone("InverseWishart(3.7, scale: V)", 1);
        let b = 0.5 * v;
        let want = a * b.ln() - ln_gamma(a) - (a + 1.0) * x.ln() - b / x + jacobian + noise;
        let got = checked_value(&model, &[u]);
        assert!((got - want).abs() < 1e-11, "{u}: {got}, not {want}");
    }
}

/// Of two rows: they integrate to 1, with the mean that they say, over the log of the factor's diagonal and the cell below
/// it. The trapezoid rule is exact to many digits for smooth integrands that vanish at both ends; gradients are held to
/// differences on the way.
#[test]
fn two_rows_by_quadrature() {
    for (dist, want) in [("Wishart(4.5, V)", V.map(|v| 4.5 * v)), ("InverseWishart(12.5, V)", V.map(|v| v / 9.5))] {
        let (model, noise) = alone(dist, 2);
        checked_value(&model, &[0.3, -0.4, 0.2]);
        let mut evaluator = model.model.evaluator();
        let (mut total, mut mean) = (0.0, [0.0; 3]);
        let steps =
            |from: f64, to: f64, by: f64| (0..).map(move |i| from + by * i as f64).take_while(move |x| *x <= to);
        let (log, cell) = (0.1, if dist.starts_with('I') { 0.04 } else { 0.25 });
        for a in steps(-5.0, 3.0, log) {
            for c in steps(-5.0, 3.0, log) {
                for b in steps(-70.0 * cell, 70.0 * cell, cell) {
                    let p = (evaluator.value(&[a, b, c]) - noise).exp() * log * log * cell;
                    let (l, m) = (a.exp(), c.exp());
                    total += p;
                    mean = plus(mean, [l * l, l * b, b * b + m * m].map(|x| p * x));
                }
            }
        }
        assert!((total - 1.0).abs() < 1e-5, "{dist}: {total}");
        for (got, want) in mean.iter().zip(want) {
            assert!((got - want).abs() < 1e-3 * want, "{dist}: {mean:?}");
        }
    }
}

/// Means and variances of 4000 draws, within five standard errors; of a variance, with the kurtosis that draws themselves
/// have. Var X[i,j] = dof (V[i,j]² + V[i,i] V[j,j]) of a Wishart matrix, and of the inverse one 2 S[i,i]² / ((c − 1)² (c − 3))
/// on the diagonal, with c = dof − p (Gelman et al. 2013, appendix A).
#[test]
fn draws() {
    const N: usize = 4000;
    for (dist, dof, inverse) in [("Wishart", 4.5, false), ("InverseWishart", 13.0, true)] {
        let model = format!(
            "data d {{ y: real }}\nplate g = {N}\nplate k = 2\n{SCALE}latent X[g] over k ~ {dist}({dof}, V)\n{NOISE}"
        );
        let mut diags = vic::diag::Diags::default();
        let rows = Rows { every: Some(1), of: vec![] };
        let made = simulate(&support::checked(&model), &Inputs::default(), &rows, 3, &mut diags).expect("it simulates");
        let truth: HashMap<String, f64> = made.truth.into_iter().collect();
        for (cell, (i, j)) in [(1, 1), (2, 1), (2, 2)].into_iter().enumerate() {
            let x: Vec<f64> = (1..=N).map(|g| truth[&format!("X[{g}, {i}, {j}]")]).collect();
            let mean = x.iter().sum::<f64>() / N as f64;
            let squares: Vec<f64> = x.iter().map(|x| (x - mean).powi(2)).collect();
            let variance = squares.iter().sum::<f64>() / N as f64;
            let fourth = squares.iter().map(|s| (s - variance).powi(2)).sum::<f64>() / N as f64;
            let (own, other) = (V[2 * (i - 1)], V[2 * (j - 1)]);
            let want = if inverse { V[cell] / (dof - 3.0) } else { dof * V[cell] };
            assert!((mean - want).abs() < 5.0 * (variance / N as f64).sqrt(), "{dist} {i}{j}: mean {mean}, not {want}");
            let want = match inverse {
                false => dof * (V[cell] * V[cell] + own * other),
                true if i == j => 2.0 * own * own / ((dof - 3.0).powi(2) * (dof - 5.0)),
                true => continue,
            };
            let se = (fourth / N as f64).sqrt();
            assert!((variance - want).abs() < 5.0 * se, "{dist} {i}{j}: variance {variance}, not {want}");
        }
    }
}

const ROWS: &str = "g,y.1,y.2\na,1.2,1.5\nb,0.3,2.5\na,1.9,2.1\na,-0.5,3.3\nb,2.2,0.7\nc,1.4,1.4\na,0.6,2.9\n";
const CELLS: [(usize, f64, f64); 7] =
    [(0, 1.2, 1.5), (1, 0.3, 2.5), (0, 1.9, 2.1), (0, -0.5, 3.3), (1, 2.2, 0.7), (2, 1.4, 1.4), (0, 0.6, 2.9)];
const MODEL: &str = "data rows { g: category, y: real[k] from [\"y.1\", \"y.2\"] }\n";

/// Rows of one group and their squares around (1, 2).
fn squares(of: impl Fn(usize) -> bool) -> (f64, [f64; 3]) {
    let rows = CELLS.iter().filter(|c| of(c.0));
    rows.fold((0.0, [0.0; 3]), |(n, s), (_, a, b)| {
        let (a, b) = (a - 1.0, b - 2.0);
        (n + 1.0, plus(s, [a * a, a * b, b * b]))
    })
}

/// log p(y) of n rows with the squares s around their means; `scale`: of the inverse Wishart prior.
fn evidence(dof: f64, scale: [f64; 3], n: f64, s: [f64; 3]) -> f64 {
    log_multigamma(0.5 * (dof + n), 2) - log_multigamma(0.5 * dof, 2) - n * PI.ln() + 0.5 * dof * det(scale).ln()
        - 0.5 * (dof + n) * det(plus(scale, s)).ln()
}

fn exactly(report: &FitReport, evidence: f64) {
    let (elbo, error) = report.elbo.expect("an evidence");
    assert!((elbo - evidence).abs() < 1e-8 * evidence.abs(), "{elbo}, not {evidence}");
    assert_eq!((report.gradients, report.evaluations, error), (0, 0, 0.0));
    assert_eq!(report.verdict.as_ref().expect("judged").trust, Trust::Trust);
}

/// 4000 independent draws: four standard errors of the mean.
fn mean_is(report: &FitReport, name: &str, want: f64) {
    let (mean, sd) = summaries(report)[name];
    assert!((mean - want).abs() < 0.064 * sd, "{name}: {mean}, not {want}");
}

#[test]
fn a_covariance_of_rows_with_known_means() {
    let text = format!(
        "{MODEL}{SCALE}latent S over k ~ InverseWishart(5, scale: V)\nobserve y over k ~ MvNormal([1, 2], cov: S)\n"
    );
    let report = fit(&compile(&text, &csv(ROWS)), &FitRequest::default());
    let (n, s) = squares(|_| true);
    exactly(&report, evidence(5.0, V, n, s));
    let want = plus(V, s).map(|x| x / (5.0 + n - 3.0));
    for (cell, name) in ["S[y.1, y.1]", "S[y.2, y.1]", "S[y.2, y.2]"].into_iter().enumerate() {
        mean_is(&report, name, want[cell]);
    }
    mean_is(&report, "S[y.1, y.2]", want[1]);
}

#[test]
fn a_precision_of_rows_with_known_means() {
    let text =
        format!("{MODEL}{SCALE}latent Q over k ~ Wishart(4, V)\nobserve y over k ~ MvNormal([1, 2], precision: Q)\n");
    let report = fit(&compile(&text, &csv(ROWS)), &FitRequest::default());
    let (n, s) = squares(|_| true);
    exactly(&report, evidence(4.0, inverse(V), n, s));
    let want = inverse(plus(inverse(V), s)).map(|x| x * (4.0 + n));
    for (cell, name) in ["Q[y.1, y.1]", "Q[y.2, y.1]", "Q[y.2, y.2]"].into_iter().enumerate() {
        mean_is(&report, name, want[cell]);
    }
}

/// One matrix per group, one of which has a single row, and sums of evidence.
#[test]
fn a_covariance_per_group() {
    let text = format!(
        "{MODEL}{SCALE}latent S[g] over k ~ InverseWishart(5, scale: V)\nobserve y over k ~ MvNormal([1, 2], cov: S[g])\n"
    );
    let report = fit(&compile(&text, &csv(ROWS)), &FitRequest::default());
    let groups = [0, 1, 2].map(|g| squares(|of| of == g));
    exactly(&report, groups.iter().map(|(n, s)| evidence(5.0, V, *n, *s)).sum());
    for ((n, s), name) in groups.into_iter().zip(["a", "b", "c"]) {
        let want = plus(V, s).map(|x| x / (5.0 + n - 3.0));
        mean_is(&report, &format!("S[{name}, y.1, y.1]"), want[0]);
        mean_is(&report, &format!("S[{name}, y.2, y.1]"), want[1]);
        mean_is(&report, &format!("S[{name}, y.2, y.2]"), want[2]);
    }
}

/// With unknown degrees of freedom these alone are left, and lie on a grid; their mean by the trapezoid rule. Rows that are
/// draws of their own add to the matrix too.
#[test]
fn unknown_degrees_of_freedom_are_what_is_left() {
    let text = format!(
        "{MODEL}{SCALE}latent more ~ Gamma(2, 0.5)\nlatent S over k ~ InverseWishart(more + 2, scale: V)\n\
         observe y over k ~ MvNormal([1, 2], cov: S)\n"
    );
    let compiled = compile(&text, &csv(ROWS));
    let report = fit(&compiled, &FitRequest::default());
    assert_eq!(report.guide, "grid");
    let names: Vec<&str> = report.collapsed.iter().map(|c| c.0.as_str()).collect();
    assert_eq!(names, ["S[k, k']"]);
    let (n, s) = squares(|_| true);
    // In logs of `more`: density and Jacobian.
    let density = |u: f64| (2.0 * u - 0.5 * u.exp() + evidence(u.exp() + 2.0, V, n, s)).exp();
    let points: Vec<f64> = (-800..=600).map(|i| 0.01 * f64::from(i)).collect();
    let total: f64 = points.iter().map(|u| density(*u)).sum();
    mean_is(&report, "more", points.iter().map(|u| u.exp() * density(*u)).sum::<f64>() / total);
    let cell = points.iter().map(|u| density(*u) / (u.exp() + 2.0 + n - 3.0)).sum::<f64>() / total;
    mean_is(&report, "S[y.2, y.2]", cell * (V[2] + s[2]));
}

/// A mean that is unknown is what is left of it and its covariance: two coordinates, on a grid. By the trapezoid rule its
/// density is N(m; 0, 9) · |V + S(m)|^(−(5 + n)/2) but for a constant.
#[test]
fn an_unknown_mean_is_what_is_left() {
    let text = format!(
        "{MODEL}{SCALE}latent m[k] ~ Normal(0, 3)\nlatent S over k ~ InverseWishart(5, scale: V)\n\
         observe y over k ~ MvNormal(m, cov: S)\n"
    );
    let report = fit(&compile(&text, &csv(ROWS)), &FitRequest::default());
    let names: Vec<&str> = report.collapsed.iter().map(|c| c.0.as_str()).collect();
    assert_eq!((names.as_slice(), report.guide.as_str()), (&["S[k, k']"][..], "grid"));
    assert_eq!(report.verdict.as_ref().expect("judged").trust, Trust::Trust);
    let n = CELLS.len() as f64;
    let (mut total, mut mean, mut cell) = (0.0, [0.0; 2], 0.0);
    for i in -60..=60 {
        for j in -60..=60 {
            let m = [1.0 + 0.1 * f64::from(i), 2.0 + 0.1 * f64::from(j)];
            let s = CELLS.iter().fold(V, |s, (_, a, b)| {
                let (a, b) = (a - m[0], b - m[1]);
                plus(s, [a * a, a * b, b * b])
            });
            let p = (-(m[0] * m[0] + m[1] * m[1]) / 18.0 - 0.5 * (5.0 + n) * det(s).ln()).exp();
            total += p;
            mean = [mean[0] + p * m[0], mean[1] + p * m[1]];
            cell += p * s[0] / (5.0 + n - 3.0);
        }
    }
    mean_is(&report, "m[y.1]", mean[0] / total);
    mean_is(&report, "m[y.2]", mean[1] / total);
    mean_is(&report, "S[y.1, y.1]", cell / total);
}

fn ascended(text: &str) -> FitReport {
    fit(&compile(text, &csv(ROWS)), &FitRequest { method: Some(Method::Cavi), ..FitRequest::default() })
}

/// Bounds of the sweeps from a start, which never fall but for rounding.
fn rises(report: &FitReport) {
    let column = |name: &str| report.trace.columns.iter().position(|c| c == name).expect("a column");
    let (start, objective) = (column("start"), column("objective"));
    for rows in report.trace.rows.chunk_by(|a, b| a[start] == b[start]) {
        let fell = |r: &[Vec<f64>]| r[1][objective] > r[0][objective] + 1e-9 * r[0][objective].abs();
        assert!(rows.len() > 1 && !rows.windows(2).any(fell), "{rows:?}");
    }
}

/// Coordinate ascent with known means is the posterior, and its bound the evidence.
#[test]
fn ascent_with_known_means_is_exact() {
    let groups = [0, 1, 2].map(|g| squares(|of| of == g));
    let (n, s) = squares(|_| true);
    for (prior, rows, want) in [
        ("latent X over k ~ InverseWishart(5, V)", "cov: X", evidence(5.0, V, n, s)),
        ("latent X over k ~ Wishart(4, V)", "precision: X", evidence(4.0, inverse(V), n, s)),
        (
            "latent X[g] over k ~ InverseWishart(5, V)",
            "cov: X[g]",
            groups.iter().map(|(n, s)| evidence(5.0, V, *n, *s)).sum(),
        ),
    ] {
        let report = ascended(&format!("{MODEL}{SCALE}{prior}\nobserve y over k ~ MvNormal([1, 2], {rows})\n"));
        let elbo = report.elbo.expect("a bound").0;
        assert!((elbo - want).abs() < 1e-8 * want.abs(), "{prior}: {elbo}, not {want}");
        assert_eq!(report.gradients, 0);
        assert!(report.guide.starts_with("the posterior itself"), "{}", report.guide);
        rises(&report);
        // That of the draws, weighed: a density with respect to the same coordinates has no spread.
        assert!(report.k_hat < 0.1, "{prior}: {}", report.k_hat);
    }
}

fn trace(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + 2.0 * a[1] * b[1] + a[2] * b[2]
}

/// Independent factors of a normal mean and a Wishart precision, or an inverse Wishart covariance, by updates that are written
/// out here (Bishop 2006, section 10.2): q(m) = N(μ, C), E Q = (5 + n) T⁻¹ with T = V⁻¹ + Σ (y − μ)(y − μ)ᵀ + n C; of the
/// covariance the same with V in the place of V⁻¹, since its inverse is that Wishart matrix.
#[test]
fn ascent_with_an_unknown_mean() {
    let n = CELLS.len() as f64;
    for (prior, rows, first) in [("Wishart(5, V)", "precision: X", inverse(V)), ("InverseWishart(5, V)", "cov: X", V)] {
        let mut q = inverse(first);
        let (mut mu, mut c, mut t) = ([0.0; 2], [0.0; 3], first);
        for _ in 0..500 {
            let total = CELLS.iter().fold([0.0; 2], |s, (_, a, b)| [s[0] + a, s[1] + b]);
            c = inverse(plus(inverse(V), q.map(|x| n * x)));
            let b = [q[0] * total[0] + q[1] * total[1], q[1] * total[0] + q[2] * total[1]];
            mu = [c[0] * b[0] + c[1] * b[1], c[1] * b[0] + c[2] * b[1]];
            t = CELLS.iter().fold(plus(first, c.map(|x| n * x)), |s, (_, a, b)| {
                let (a, b) = (a - mu[0], b - mu[1]);
                plus(s, [a * a, a * b, b * b])
            });
            q = inverse(t).map(|x| (5.0 + n) * x);
        }
        let dof = 5.0 + n;
        let log_q = digamma(0.5 * dof) + digamma(0.5 * (dof - 1.0)) + 2.0 * LN_2 - det(t).ln();
        let log_2pi = (2.0 * PI).ln();
        let rest = plus(t, first.map(|x| -x));
        let likelihood = 0.5 * n * log_q - n * log_2pi - 0.5 * trace(q, rest);
        let square = plus([mu[0] * mu[0], mu[0] * mu[1], mu[1] * mu[1]], c);
        let mean = -log_2pi - 0.5 * det(V).ln() - 0.5 * trace(inverse(V), square) + log_2pi + 1.0 + 0.5 * det(c).ln();
        // Of the precision: log p − log q, both Wishart, the Jacobian of an inverse being in both.
        let log_z = |dof: f64, t: [f64; 3]| dof * LN_2 - 0.5 * dof * det(t).ln() + log_multigamma(0.5 * dof, 2);
        let matrix =
            0.5 * (5.0 - dof) * log_q - 0.5 * trace(q, first) + 0.5 * trace(q, t) - log_z(5.0, first) + log_z(dof, t);
        let report = ascended(&format!(
            "{MODEL}{SCALE}latent m over k ~ MvNormal(0, cov: V)\nlatent X over k ~ {prior}\nobserve y over k ~ MvNormal(m, {rows})\n"
        ));
        let (elbo, want) = (report.elbo.expect("a bound").0, likelihood + mean + matrix);
        assert!((elbo - want).abs() < 1e-8 * want.abs(), "{prior}: {elbo}, not {want}");
        assert_eq!(report.gradients, 0);
        rises(&report);
    }
}

/// What else is asked of the matrix keeps it from its closed form, and is named.
#[test]
fn what_is_in_the_way_is_named() {
    let text = format!(
        "{MODEL}{SCALE}latent S over k ~ InverseWishart(5, scale: V)\nobserve y over k ~ MvNormal([1, 2], cov: S)\n\
         factor -(log(S[\"y.1\", \"y.1\"]))^2\n"
    );
    let hir = support::checked(&text);
    let shown = vic::derive::structure::print(&vic::driver::structure(&hir));
    assert_eq!(shown, "S: gradient (its form in `factor` has no known integral)\n");
    let without = text.replace("factor -(log(S[\"y.1\", \"y.1\"]))^2\n", "");
    let shown = vic::derive::structure::print(&vic::driver::structure(&support::checked(&without)));
    assert_eq!(shown, "S[k, k']: conjugate (inverse Wishart)\n");
}
