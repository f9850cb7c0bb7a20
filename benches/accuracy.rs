//! `cargo bench --bench accuracy [-- [--method nuts] NAME…]`: every posterior of the public set under the default
//! settings, beside its reference: errors of means (in reference sds) and of log sds, evaluations, seconds, verdict.
//!
//! A `TRUST` on a posterior with a mean more than 0.15 sds off, or an sd more than 25 % off, is marked WRONG. Reference
//! draws have Monte Carlo errors of their own, up to 0.03 sds.

#[allow(dead_code)]
#[path = "../tests/it/support.rs"]
mod support;

use std::time::Instant;

use vic::driver::FitRequest;
use vic::infer::{Method, Trust};

const NAMES: [&str; 22] = [
    "glmm",
    "poisson_glm",
    "arK-arK",
    "dogs-dogs",
    "earnings-logearn_interaction",
    "eight_schools-eight_schools_centered",
    "eight_schools",
    "garch-garch11",
    "gp_pois_regr-gp_pois_regr",
    "hmm_example-hmm_example",
    "hudson_lynx_hare-lotka_volterra",
    "kidscore",
    "kilpisjarvi_mod-kilpisjarvi",
    "low_dim_gauss_mix-low_dim_gauss_mix",
    "mesquite-logmesquite",
    "nes1996-nes",
    "nes_logit",
    "radon_all-radon_hierarchical_intercept_centered",
    "radon",
    "rats_data-rats_model",
    "blr",
    "wells",
];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let nuts = args.iter().any(|a| a == "nuts");
    let wanted: Vec<&String> = args.iter().filter(|a| *a != "--method" && *a != "nuts").collect();
    let method = nuts.then_some(Method::Nuts);
    println!(
        "{:<48} {:>8} {:>8} {:>8} {:>8} {:>9} {:>9} {:>8}  verdict",
        "", "mean max", "mean avg", "lsd max", "lsd avg", "gradients", "all evals", "seconds"
    );
    let mut trusted = 0;
    for name in NAMES.iter().filter(|n| wanted.is_empty() || wanted.iter().any(|w| n.contains(w.as_str()))) {
        let (model, inputs) = support::example(name);
        let compiled = support::compile(&model, &inputs);
        let started = Instant::now();
        let report = support::fit(&compiled, &FitRequest { method, ..FitRequest::default() });
        let seconds = started.elapsed().as_secs_f64();
        let got = support::summaries(&report);
        let (mut means, mut sds) = (vec![], vec![]);
        for (parameter, (mean, sd)) in support::reference(name) {
            let (m, s) = got[&parameter];
            means.push((m - mean).abs() / sd);
            sds.push((s / sd).ln().abs());
        }
        let max = |x: &[f64]| x.iter().copied().fold(0.0, f64::max);
        let average = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
        let verdict = report.verdict.as_ref().expect("every fit is judged");
        let wrong = verdict.trust == Trust::Trust && (max(&means) > 0.15 || max(&sds) > 0.25);
        trusted += usize::from(verdict.trust == Trust::Trust);
        let reason = verdict.faults.first().map(|f| format!(" ({})", f.text)).unwrap_or_default();
        println!(
            "{name:<48} {:>8.3} {:>8.3} {:>8.3} {:>8.3} {:>9} {:>9} {seconds:>8.2}  {}{}{reason}",
            max(&means),
            average(&means),
            max(&sds),
            average(&sds),
            report.gradients,
            report.evaluations,
            verdict.trust.headline(),
            if wrong { " WRONG" } else { "" },
        );
    }
    println!("\n{trusted} trusted");
}
