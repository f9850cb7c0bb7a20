//! Reports that depend on discrete latents: these are drawn, and what is computed from them follows.

use vic::driver::FitRequest;

use crate::support;

/// Four standard errors of the difference of two means of something between 0 and 1: of 4000 draws, 0.032, and of the 1000
/// that probabilities are averaged over, of which part is common.
const ERROR: f64 = 0.08;

/// A chain with known parameters: the number of changes, which ties neighbours, has the mean that enumeration gives.
#[test]
fn a_report_follows_the_drawn_states() {
    let y = [-0.4, 1.3, 0.2, 0.9, -1.1, 0.6];
    let model = "data days { y: real }
plate state = 2
latent shift ~ Normal(0, 0.001)
let m[state] = [-1, 1]
let up[state] = [0, 1]
let stay[state] = [1, 0]
let leave[state] = [0, 0.5]
latent z[t in days]: state ~ if first(t) then Categorical(logit: 0) else Categorical(logit: if up[z[t-1]] == 0 then stay else leave)
observe y ~ Normal(m[z] + shift, 1)
let high = up[z]
let twice = 2 * m[z]
report high, twice
report changes = sum(if first(t) then 0 else (if high[t] == high[t-1] then 0 else 1) over t in days)
report last = z[\"6\"]
";
    let csv = y.iter().map(f64::to_string).collect::<Vec<_>>().join("\n");
    let compiled = support::compile(model, &support::csv(&format!("y\n{csv}\n")));
    let report = support::fit(&compiled, &FitRequest::default());
    let got = support::summaries(&report);
    let (mut total, mut changes, mut high, mut last) = (0.0, 0.0, [0.0; 6], 0.0);
    for path in 0..64usize {
        let z = |t: usize| path >> t & 1;
        let emission: f64 = (0..6).map(|t| -0.5 * (y[t] - [-1.0, 1.0][z(t)]).powi(2)).sum();
        let (e, h) = (1f64.exp(), 0.5f64.exp());
        let p = [[e / (1.0 + e), 1.0 / (1.0 + e)], [1.0 / (1.0 + h), h / (1.0 + h)]];
        let weight = emission.exp() * (1..6).map(|t| p[z(t - 1)][z(t)]).product::<f64>();
        total += weight;
        changes += weight * (1..6).filter(|&t| z(t) != z(t - 1)).count() as f64;
        (0..6).for_each(|t| high[t] += weight * z(t) as f64);
        last += weight * (z(5) + 1) as f64;
    }
    // The standard deviation of the number of changes is below 1.5.
    let near = |name: &str, want: f64, error: f64| {
        let (mean, _) = got[name];
        assert!((mean - want).abs() < error, "{name} is {mean}, not {want}");
    };
    near("changes", changes / total, 3.0 * ERROR);
    near("last", last / total, ERROR);
    for (t, high) in high.iter().enumerate().take(6) {
        near(&format!("high[{}]", t + 1), high / total, ERROR);
        near(&format!("twice[{}]", t + 1), 4.0 * high / total - 2.0, 4.0 * ERROR);
    }
    // Draw by draw, values belong together.
    let var = |name: &str| report.vars.iter().find(|v| v.name == name).expect("it is reported");
    let (high, twice, last) = (var("high"), var("twice"), var("last"));
    for d in 0..report.draws {
        assert_eq!(twice.cell(3, report.draws)[d], 4.0 * high.cell(3, report.draws)[d] - 2.0);
        assert_eq!(last.cell(0, report.draws)[d], 1.0 + high.cell(5, report.draws)[d]);
    }
}

/// Positions of a column have no kernel either; a category is shown by its place among the levels.
#[test]
fn positions_are_reported_by_number() {
    let model = "data rows { y: real, g: category }\nlatent m ~ Normal(0, 1)\nobserve y ~ Normal(m, 1)\nreport k = g\n";
    let compiled = support::compile(model, &support::csv("y,g\n1,b\n2,a\n0,b\n"));
    let got = support::summaries(&support::fit(&compiled, &FitRequest::default()));
    assert_eq!([1, 2, 3].map(|i| got[&format!("k[{i}]")].0), [2.0, 1.0, 2.0]);
}

/// The number of occupied sites, which a sum over the plate of a discrete latent gives.
#[test]
fn a_sum_over_discrete_latents_is_a_report() {
    let model = "data sites { seen: int in [0, 4] }
latent psi, p ~ Uniform(0, 1)
latent there[sites] ~ Bernoulli(psi)
observe seen ~ Binomial(4, if there then p else 0)
report occupied = sum(there over sites)
";
    let compiled = support::compile(model, &support::csv("seen\n0\n2\n1\n0\n3\n0\n"));
    let report = support::fit(&compiled, &FitRequest::default());
    let got = support::summaries(&report);
    let expected: f64 = (0..6).map(|i| report.discrete[0].probability(i, 1)).sum();
    let (mean, _) = got["occupied"];
    assert!((mean - expected).abs() < 3.0 * ERROR, "{mean} is not {expected}");
    let occupied = &report.vars.iter().find(|v| v.name == "occupied").expect("it is reported").draws;
    assert!(occupied.iter().all(|n| *n >= 3.0 && *n <= 6.0 && n.fract() == 0.0));
}
