//! Densities and their gradients through the whole pipeline: text, check, derivation, lowering, kernels.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use vic::data::{DataFile, Inputs};
use vic::driver::Compiled;
use vic::infer::Target;
use vic::run::interp::Interp;

use super::harness::*;
use crate::support::compile;

/// Sixth-order central difference: its own error is h⁶ f⁽⁷⁾ / 140 and a rounding of about 1e-16 |f| / h.
fn difference(f: &mut dyn FnMut(f64) -> f64, h: f64) -> f64 {
    let d = |f: &mut dyn FnMut(f64) -> f64, k: f64| f(k * h) - f(-k * h);
    (45.0 * d(f, 1.0) - 9.0 * d(f, 2.0) + d(f, 3.0)) / (60.0 * h)
}

/// Kernels and interpreter agree with each other to 1e-12 and with finite differences to 1e-6, relative to the size of
/// the log joint's terms: a gradient cannot be better than the differences of its terms.
fn check_gradient(compiled: &Compiled, theta: &[f64], what: &str) -> f64 {
    let mut kernels = compiled.model.evaluator();
    let mut interpreter = Interp::new(compiled.model.graph());
    let dim = theta.len();
    let (mut grad, mut oracle) = (vec![0.0; dim], vec![0.0; dim]);
    let value = kernels.value_grad(theta, &mut grad);
    let expected = interpreter.value_grad(theta, &mut oracle);
    assert!(value.is_finite(), "{what} at {theta:?}: {value}");
    assert!(near(value, expected, 1e-11), "{what} at {theta:?}: kernel {value}, interpreter {expected}");
    for i in 0..dim {
        let (g, o) = (grad[i], oracle[i]);
        assert!(near(g, o, 1e-10), "{what} at {theta:?}, d/d{i}: kernel {g}, interpreter {o}");
        let mut at = theta.to_vec();
        let mut f = |t: f64| {
            at[i] = theta[i] + t;
            interpreter.value(&at)
        };
        let fd = difference(&mut f, 2e-3);
        let size = 1.0 + value.abs() * 1e-6 + g.abs();
        assert!((g - fd).abs() <= 1e-6 * size, "{what} at {theta:?}, d/d{i}: gradient {g}, finite difference {fd}");
    }
    crate::hessians::check(compiled, theta, what);
    value
}

/// Their support moves with their arguments, so that a difference may step over its end; or they have no real ones.
const MOVING: &[&str] = &["Uniform", "Pareto", "ParetoII", "DiscreteUniform", "Hypergeometric"];

/// The value of a type's constraint at u, and the log-Jacobian.
fn constrained(ty: &str, u: f64) -> (f64, f64) {
    match ty {
        "real" => (u, 0.0),
        "real > 0" | "real >= 0" => (u.exp(), u),
        "real in (0, 1)" => {
            let p = 1.0 / (1.0 + (-u).exp());
            (p, (p * (1.0 - p)).ln())
        }
        other => panic!("no transform for {other}"),
    }
}

/// The types of a form's parameters, as latents of their own have them.
fn latent_types(form: &Form) -> Vec<String> {
    let text = form.text.lines().next().expect("a signature");
    let inner = &text[text.find('(').expect("arguments") + 1..text.rfind(") on").expect("a support")];
    let mut types = vec![];
    for (i, (name, ..)) in form.params.iter().enumerate() {
        let from = inner.find(&format!("{name}: ")).expect("its parameter") + name.len() + 2;
        let to = form.params.get(i + 1).map_or(inner.len(), |p| inner.find(&format!(", {}: ", p.0)).expect("the next"));
        let ty = inner[from..to].replace("[K]", "").replace("in [0, 1]", "in (0, 1)");
        types.push(ty);
    }
    types
}

fn table(name: &str, text: String) -> DataFile {
    DataFile { table: Some(name.into()), name: format!("{name}.csv"), bytes: text.into_bytes() }
}

/// `observe x ~ D(…)` with every real parameter a latent under `flat()`: the log joint is the sum of log densities and
/// the Jacobians of the parameters' transforms.
#[test]
fn observed_densities_and_their_gradients() {
    let mut rng = StdRng::seed_from_u64(42);
    let mut tested = 0;
    for case in cases().iter().filter(|c| !c.form.on_plate && !MOVING.contains(&c.form.name.as_str())) {
        let form = &case.form;
        let types = latent_types(form);
        let column = if case.continuous() { "real" } else { &form.support };
        let mut model = format!("data rows {{ x: {column} }}\n");
        let mut sets = vec![];
        let mut free = vec![];
        for (i, ty) in types.iter().enumerate() {
            if form.params[i].1 == "int" {
                model += &format!("data a{i}: int\n");
                sets.push((format!("a{i}"), format!("{}", case.args[i][0])));
            } else {
                model += &format!("latent a{i}: {ty} ~ flat()\n");
                free.push(i);
            }
        }
        let args: Vec<String> = form.params.iter().enumerate().map(|(i, p)| format!("{}: a{i}", p.0)).collect();
        model += &format!("observe x ~ {}({})\n", form.name, args.join(", "));
        // The bulk and moderate tails: in the far ones a finite difference has no digits left.
        let inside = |p: &&Point| p.logcdf > -12.0 && p.logccdf > -12.0 || !case.continuous();
        let mut xs: Vec<f64> = case.points.iter().filter(inside).map(|p| p.x[0]).collect();
        xs.truncate(6);
        let rows: String = xs.iter().map(|x| format!("{x}\n")).collect();
        let compiled = compile(&model, &Inputs { files: vec![table("rows", format!("x\n{rows}"))], sets });

        for trial in 0..6 {
            // First everything at 0, where exponents of 1 and shapes of 1 have their special cases.
            let theta: Vec<f64> =
                free.iter().map(|_| if trial == 0 { 0.0 } else { rng.random_range(-1.2..1.2) }).collect();
            // Near the arguments of the case, or the tails leave no digits to compare.
            let theta: Vec<f64> = match trial {
                0 => theta,
                _ => {
                    free.iter().zip(&theta).map(|(&i, t)| unconstrained(&types[i], case.args[i][0]) + 0.3 * t).collect()
                }
            };
            let value = check_gradient(&compiled, &theta, &case.text);
            let mut args = case.args.clone();
            let mut jacobian = 0.0;
            for (&i, &u) in free.iter().zip(&theta) {
                let (x, j) = constrained(&types[i], u);
                args[i] = vec![x];
                jacobian += j;
            }
            let program = Program::new(form, &args, None);
            let want = program.logpdf(&xs).iter().sum::<f64>() + jacobian;
            assert!(near(value, want, 1e-11), "{} at {theta:?}: {value}, want {want}", case.text);
        }
        tested += 1;
    }
    assert!(tested > 70, "{tested} cases");
}

fn unconstrained(ty: &str, x: f64) -> f64 {
    match ty {
        "real" => x,
        "real > 0" | "real >= 0" => x.ln(),
        _ => (x / (1.0 - x)).ln(),
    }
}

/// The support of `Uniform(a, b)` moves with its arguments.
#[test]
fn uniform_with_latent_ends() {
    let model =
        "data rows { x: real }\nlatent a: real < 2 ~ flat()\nlatent b: real > 3 ~ flat()\nobserve x ~ Uniform(a, b)";
    let inputs = Inputs { files: vec![table("rows", "x\n2.25\n2.5\n3\n".into())], sets: vec![] };
    let compiled = compile(model, &inputs);
    for theta in [[0.0, 0.0], [0.7, -1.3], [-3.0, 1.1]] {
        check_gradient(&compiled, &theta, model);
    }
    for model in [
        "data rows { x: real }\nlatent a: real in (0, 2) ~ flat()\nlatent b: real > 0 ~ flat()\nobserve x ~ Pareto(a, b)",
        "data rows { x: real }\nlatent a: real < 2 ~ flat()\nlatent b, c: real > 0 ~ flat()\nobserve x ~ ParetoII(a, b, c)",
    ] {
        let compiled = compile(model, &Inputs { files: vec![table("rows", "x\n2.25\n2.5\n3\n".into())], sets: vec![] });
        for theta in [[0.0, 0.0, 0.0], [0.7, -1.3, 0.4], [-3.0, 1.1, -0.2]] {
            check_gradient(&compiled, &theta[..compiled.model.dim()], model);
        }
    }
    // An observation beyond an end that is not known before the fit has density 0.
    let model = "data rows { x: real }\nlatent b: real > 0 ~ HalfNormal(1)\nobserve x ~ Uniform(0, b)";
    let compiled = compile(model, &Inputs { files: vec![table("rows", "x\n0.5\n2\n".into())], sets: vec![] });
    let mut evaluator = compiled.model.evaluator();
    assert_eq!(evaluator.value(&[0.0]), f64::NEG_INFINITY);
    let b = 3.0_f64;
    let want = -0.5 * b * b + 0.5 * (2.0 / std::f64::consts::PI).ln() + b.ln() - 2.0 * b.ln();
    assert!(near(evaluator.value(&[b.ln()]), want, 1e-14));
}

/// Latents drawn from each continuous distribution, and from its truncations, with latent parameters: gradients of the
/// density in its value and of the probability that is kept.
#[test]
fn drawn_and_cut_latents_and_their_gradients() {
    let mut rng = StdRng::seed_from_u64(43);
    let mut done = vec![];
    for case in cases().iter().filter(|c| c.continuous() && !MOVING.contains(&c.form.name.as_str())) {
        if done.contains(&case.form.signature) {
            continue;
        }
        done.push(case.form.signature.clone());
        let form = &case.form;
        let types = latent_types(form);
        let mut types_of_s = vec![String::new()];
        if form.has_cdf {
            types_of_s.extend([": real > 0.7".into(), ": real < 2.5".into(), ": real in (0.7, 2.5)".into()]);
        }
        for ty in types_of_s {
            let mut model = String::new();
            for (i, t) in types.iter().enumerate() {
                model += &format!("latent a{i}: {t} ~ flat()\n");
            }
            let args: Vec<String> = form.params.iter().enumerate().map(|(i, p)| format!("{}: a{i}", p.0)).collect();
            model += &format!("latent s{ty} ~ {}({})\n", form.name, args.join(", "));
            let compiled = compile(&model, &Inputs::default());
            let dim = compiled.model.dim();
            assert_eq!(dim, types.len() + 1, "{model}");
            for trial in 0..6 {
                let mut theta: Vec<f64> =
                    (0..dim).map(|_| if trial == 0 { 0.0 } else { rng.random_range(-1.0..1.0) }).collect();
                if matches!(form.name.as_str(), "Laplace" | "SkewDoubleExponential") {
                    // Away from the kink at mu, where no finite difference is a derivative.
                    theta[0] = if trial % 2 == 0 { 3.0 } else { -1.5 };
                }
                check_gradient(&compiled, &theta, &model);
            }
        }
    }
    assert!(done.len() >= 15, "{done:?}");
}

#[test]
fn dirichlet_and_categorical_gradients() {
    let mut rng = StdRng::seed_from_u64(44);
    let x = |labels: &str| labels.split(' ').map(|l| format!("{l}\n")).collect::<String>();
    let files = || vec![table("rows", format!("x\n{}", x("low high low mid high high")))];
    for model in [
        "plate k = 4\nlatent a[k]: real > 0 ~ flat()\nlatent w over k ~ Dirichlet(a)",
        "data rows { x: category [\"low\", \"mid\", \"high\"] }\nlatent p over x ~ Dirichlet(1)\nobserve x ~ Categorical(p)",
        "data rows { x: category [\"low\", \"mid\", \"high\"] }\nlatent b[x] ~ Normal(0, 1)\nobserve x ~ Categorical(logit: b)",
    ] {
        let files = if model.starts_with("data") { files() } else { vec![] };
        let compiled = compile(model, &Inputs { files, sets: vec![] });
        for trial in 0..6 {
            let theta: Vec<f64> =
                (0..compiled.model.dim()).map(|_| if trial == 0 { 0.0 } else { rng.random_range(-1.5..1.5) }).collect();
            check_gradient(&compiled, &theta, model);
        }
    }
}
