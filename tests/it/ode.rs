//! Differential equations in models: solutions against closed forms, gradients against differences, kernels against the
//! interpreter, a fit against its reference.

use crate::matrices::{some_theta, value};
use crate::support;

/// Values of two models at the same places of theta, less their values at the first.
fn same_up_to_a_constant(a: &str, b: &str, csv: &str, tolerance: f64) {
    let [a, b] = [a, b].map(|text| support::compile(text, &support::csv(csv)));
    let dim = vic::infer::Target::dim(&a.model);
    let at = |k: usize| some_theta(dim).iter().map(|t| t * (1.0 - 0.4 * k as f64)).collect::<Vec<_>>();
    for k in 0..4 {
        let (va, vb) = (value(&a, &at(k)), value(&b, &at(k)));
        assert!((va - vb).abs() < tolerance * (1.0 + va.abs()), "{va} is not {vb}");
    }
}

const DECAY: &str = "data samples { time: real > 0, amount: real > 0 }
fn decay(t: real, z: real, k: real) -> real = -k * z
latent k, start ~ LogNormal(0, 1)
latent sigma ~ HalfNormal(1)
let z = SOLUTION
observe amount ~ LogNormal(log(z), sigma)
";

/// Times out of order, and one twice.
const SAMPLES: &str = "time,amount\n5,1.2\n1,6.9\n2,4.1\n2,4.4\n0.5,8.3\n";

#[test]
fn a_solution_equals_its_closed_form() {
    let exact = DECAY.replace("SOLUTION", "start * exp(-k * time)");
    for option in ["tolerance: 1e-12", "method: \"stiff\", tolerance: 1e-11"] {
        let solved = DECAY.replace("SOLUTION", &format!("ode(decay, start, 0, time, k, {option})"));
        same_up_to_a_constant(&solved, &exact, SAMPLES, 1e-8);
    }
}

/// Two compartments with rates per subject: a problem for each row, which has a time of its own.
#[test]
fn every_row_may_have_a_problem_of_its_own() {
    let csv = "subject,time,amount\nann,1,3.1\nbob,2,2.2\nann,4,0.9\nbob,0.5,4.0\n";
    let model = "data doses { subject: category, time: real > 0, amount: real > 0 }
plate part = [\"gut\", \"blood\"]
fn flow(t: real, z: real[part], ka: real, ke: real) -> real[part] = [-ka * z[\"gut\"], ka * z[\"gut\"] - ke * z[\"blood\"]]
latent ka[subject] ~ LogNormal(0, 0.5)
latent ke ~ LogNormal(-1, 0.5)
latent sigma ~ HalfNormal(1)
let initial[part] = [10, 0]
let z = SOLUTION
observe amount ~ LogNormal(log(RESULT), sigma)
";
    let solved = model
        .replace("SOLUTION", "ode(flow, initial, 0, time, ka[subject], ke, tolerance: 1e-12)")
        .replace("RESULT", "z[doses, \"blood\"]");
    let exact = model
        .replace("SOLUTION", "10 * ka[subject] / (ka[subject] - ke) * (exp(-ke * time) - exp(-ka[subject] * time))")
        .replace("RESULT", "z");
    same_up_to_a_constant(&solved, &exact, csv, 1e-8);
}

/// The time of the right side matters, and so does where it starts.
#[test]
fn rates_may_depend_on_time() {
    let model = "data samples { time: real, y: real }
fn drive(t: real, z: real, w: real) -> real = cos(w * t)
latent w ~ LogNormal(0, 0.3)
let z = SOLUTION
observe y ~ Normal(z, 0.5)
";
    let csv = "time,y\n0.3,0.1\n1,0.5\n2.5,0.2\n";
    let solved = model.replace("SOLUTION", "ode(drive, 0.25, 0.1, time, w, tolerance: 1e-12)");
    let exact = model.replace("SOLUTION", "0.25 + (sin(w * time) - sin(0.1 * w)) / w");
    same_up_to_a_constant(&solved, &exact, csv, 1e-8);
}
