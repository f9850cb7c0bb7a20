//! Log densities at reference draws equal those of the public set: differences between draws, to 1e-8 relative.

use std::collections::HashMap;

use vic::infer::Target;

use crate::support;

/// How one unconstrained coordinate follows from the reported draw, and log |d value / d u| there.
fn unconstrain(name: &str, coordinate: &str, row: &HashMap<String, f64>) -> (f64, f64) {
    let (slot, label) = match coordinate.split_once('[') {
        Some((s, l)) => (s, format!("[{l}")),
        None => (coordinate, String::new()),
    };
    if let Some(base) = slot.strip_suffix(" noise") {
        let (mu, sigma) = match name {
            "eight_schools" => ("mu", "tau"),
            "radon" => ("mu_alpha", "sigma_alpha"),
            other => panic!("{other} has no noncentred latent"),
        };
        return ((row[&format!("{base}{label}")] - row[mu]) / row[sigma], 0.0);
    }
    let Some(base) = slot.strip_suffix(" unconstrained") else {
        return (row[coordinate], 0.0);
    };
    let x = row[&format!("{base}{label}")];
    if name == "poisson_glm" {
        let half = if base == "alpha" { 20.0 } else { 10.0 };
        let (below, above) = (x + half, half - x);
        return ((below / above).ln(), (below * above / (2.0 * half)).ln());
    }
    (x.ln(), x.ln())
}

#[test]
fn log_density_differences_equal_the_reference() {
    for name in ["eight_schools", "kidscore", "wells", "nes_logit", "poisson_glm", "blr", "radon"] {
        let (model, inputs) = support::example(name);
        let compiled = support::compile(&model, &inputs);
        let text = support::read(&format!("tests/reference/{name}/draws6.csv"));
        let mut rows = csv::Reader::from_reader(text.as_bytes());
        let header = rows.headers().expect("a header").clone();
        let json: serde_json::Value =
            serde_json::from_str(&support::read(&format!("tests/reference/{name}/logdensity.json"))).expect("JSON");
        let expected: Vec<f64> = json["difference_from_first"]
            .as_array()
            .expect("an array")
            .iter()
            .map(|v| v.as_f64().expect("a number"))
            .collect();
        let mut evaluator = compiled.model.evaluator();
        let mut got = vec![];
        for record in rows.records() {
            let record = record.expect("a row");
            let row: HashMap<String, f64> =
                header.iter().zip(&record).map(|(h, v)| (h.to_string(), v.parse().expect("a number"))).collect();
            let mut jacobian = 0.0;
            let theta: Vec<f64> = compiled
                .model
                .names()
                .iter()
                .map(|c| {
                    let (u, j) = unconstrain(name, c, &row);
                    jacobian += j;
                    u
                })
                .collect();
            let value = evaluator.value(&theta);
            let mut grad = vec![0.0; theta.len()];
            let with_gradient = evaluator.value_grad(&theta, &mut grad);
            assert!((value - with_gradient).abs() <= 1e-12 * value.abs(), "{name}: {value} and {with_gradient}");
            got.push(value - jacobian);
        }
        assert_eq!(got.len(), expected.len());
        // The differences are printed with 10 digits, and come from sums of this size: 1e-8 of the larger of the two.
        for (g, e) in got.iter().zip(&expected) {
            let difference = g - got[0];
            let scale = e.abs().max(1e-3 * got[0].abs()).max(1.0);
            assert!((difference - e).abs() <= 1e-8 * scale, "{name}: {difference} is not {e}");
        }
    }
}
