//! Log densities at reference draws equal those of the public set: differences between draws, to 1e-8 relative.

use std::collections::HashMap;

use vic::infer::Target;

use crate::support;

/// A model with draws to compare at.
struct Case {
    name: &'static str,
    /// Latents with two finite bounds; every other bounded one is positive.
    bounded: &'static [(&'static str, f64, f64)],
    /// Latents between 0 and what another leaves of 1.
    rest_of: &'static [(&'static str, &'static str)],
    /// Noncentred latents, each with its location and scale.
    noise: &'static [(&'static str, &'static str, &'static str)],
    /// Whether the reference is a density of the noise rather than of the latents.
    of_noise: bool,
    /// Text of the model, and what stands there instead for this comparison.
    edit: Option<(&'static str, &'static str)>,
}

const fn case(name: &'static str) -> Case {
    Case { name, bounded: &[], rest_of: &[], noise: &[], of_noise: false, edit: None }
}

const CASES: &[Case] = &[
    Case { noise: &[("theta", "mu", "tau")], of_noise: true, ..case("eight_schools") },
    case("kidscore"),
    case("wells"),
    case("nes_logit"),
    Case {
        bounded: &[("alpha", -20.0, 20.0), ("beta1", -10.0, 10.0), ("beta2", -10.0, 10.0), ("beta3", -10.0, 10.0)],
        ..case("poisson_glm")
    },
    case("blr"),
    Case { noise: &[("alpha", "mu_alpha", "sigma_alpha")], of_noise: true, ..case("radon") },
    Case { bounded: &[("sd_alpha", 0.0, 5.0)], noise: &[("alpha", "mu_alpha", "sd_alpha")], ..case("glmm") },
    case("earnings-logearn_interaction"),
    case("eight_schools-eight_schools_centered"),
    case("kilpisjarvi_mod-kilpisjarvi"),
    case("mesquite-logmesquite"),
    case("nes1996-nes"),
    case("radon_all-radon_hierarchical_intercept_centered"),
    Case {
        noise: &[("alpha", "mu_alpha", "sigma_alpha"), ("beta", "mu_beta", "sigma_beta")],
        ..case("rats_data-rats_model")
    },
    case("arK-arK"),
    Case { bounded: &[("alpha1", 0.0, 1.0)], rest_of: &[("beta1", "alpha1")], ..case("garch-garch11") },
    case("dogs-dogs"),
    // The reference was solved to about 1e-13.
    Case {
        edit: Some(("theta3, theta4)", "theta3, theta4, tolerance: 1e-12)")),
        ..case("hudson_lynx_hare-lotka_volterra")
    },
];

impl Case {
    /// How one unconstrained coordinate follows from the reported draw, and log |d value / d u| there.
    fn unconstrain(&self, coordinate: &str, row: &HashMap<String, f64>) -> (f64, f64) {
        let (slot, label) = match coordinate.split_once('[') {
            Some((s, l)) => (s, format!("[{l}")),
            None => (coordinate, String::new()),
        };
        if let Some(base) = slot.strip_suffix(" noise") {
            let (_, mu, sigma) = self
                .noise
                .iter()
                .find(|(latent, _, _)| *latent == base)
                .unwrap_or_else(|| panic!("{}: `{base}` is noncentred", self.name));
            let sigma = row[*sigma];
            let noise = (row[&format!("{base}{label}")] - row[*mu]) / sigma;
            return (noise, if self.of_noise { 0.0 } else { sigma.ln() });
        }
        let Some(base) = slot.strip_suffix(" unconstrained") else {
            return (row[coordinate], 0.0);
        };
        let x = row[&format!("{base}{label}")];
        let rest = self.rest_of.iter().find(|(name, _)| *name == base).map(|(_, of)| (0.0, 1.0 - row[*of]));
        let fixed = self.bounded.iter().find(|(name, _, _)| *name == base).map(|(_, low, high)| (*low, *high));
        match rest.or(fixed) {
            Some((low, high)) => {
                let (below, above) = (x - low, high - x);
                ((below / above).ln(), (below * above / (high - low)).ln())
            }
            None => (x.ln(), x.ln()),
        }
    }
}

#[test]
fn log_density_differences_equal_the_reference() {
    for case in CASES {
        let name = case.name;
        let (mut model, inputs) = support::example(name);
        if let Some((from, to)) = case.edit {
            assert!(model.contains(from), "{name}");
            model = model.replace(from, to);
        }
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
                    let (u, j) = case.unconstrain(c, &row);
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
