//! Functions of the library.

use std::collections::{HashMap, HashSet};

use crate::support;
use rand::SeedableRng;
use rand::rngs::StdRng;
use vic::check::check;
use vic::diag::Diags;
use vic::hir::Step;
use vic::run::sample::{Cells, Sampler};
use vic::source::Sources;
use vic::syntax::ast::{Ast, DeclKind};
use vic::syntax::parse;

use super::harness::{library, near, reference};

/// `let y[rows] = …` over columns `a` and `b`.
fn evaluate(body: &str, a: &[f64], b: &[f64]) -> Vec<f64> {
    let text = format!("data rows {{ a: real, b: real }}\nlet y[rows] = {body}\n");
    let mut diags = Diags::default();
    let ast = parse(Sources::default().add("m.vi", text.as_str()), &text, &mut diags);
    let asts: Vec<&Ast> = library().asts.iter().collect();
    let hir = check(&ast, &asts, &mut diags);
    assert!(!diags.has_errors(), "{text}: {:?}", diags.list);
    let Some(Step::Let { value, .. }) = hir.steps.first() else { panic!("the model has one `let`") };
    let read = |v| {
        let var = hir.var(v);
        Cells { axes: var.axes.clone(), numbers: if var.name == "a" { a.to_vec() } else { b.to_vec() } }
    };
    let size = |_| a.len();
    let mut sampler = Sampler {
        hir: &hir,
        size: &size,
        read: &read,
        locals: HashMap::new(),
        counted: &size,
        label: &support::numbered,
        rng: StdRng::seed_from_u64(0),
    };
    let out = sampler.eval(value);
    if out.axes.is_empty() { vec![out.numbers[0]; a.len()] } else { out.numbers }
}

/// Functions along a plate, whose values `along_a_plate` compares.
const ALONG: &[&str] =
    &["center", "standardize", "softmax", "log_std_normal", "log_det", "lkj_constant", "log_multigamma"];

/// Tested with their distributions, in `joint.rs`.
const JOINT: &[&str] = &["log_ordered_logistic", "log_ordered_probit", "log_mv_student_t"];

/// Scales of coefficients, tested by `scales_of_coefficients`.
const SHRINKAGE: &[&str] = &["horseshoe", "regularised_horseshoe", "horseshoe_scale", "r2d2"];

/// Tested in `matrices.rs`: of more than two arguments.
const KERNELS: &[&str] = &["exp_quad", "matern32", "matern52", "periodic"];

#[test]
fn every_function_equals_the_reference() {
    let mut tested = HashSet::new();
    for row in reference("functions.csv") {
        let (name, want) = (&row[0], row[2].parse::<f64>().expect("a number"));
        let args: Vec<f64> = row[1].split(' ').map(|v| v.parse().expect("a number")).collect();
        let (call, b) = match args.as_slice() {
            [_] => (format!("{name}(a)"), 0.0),
            [_, b] => (format!("{name}(a, b)"), *b),
            _ => panic!("one or two arguments"),
        };
        let got = evaluate(&call, &args[..1], &[b])[0];
        // Relative to the value itself, except where it is the difference of terms that cancel; those are listed.
        let absolute = match name.as_str() {
            // log p - log(1 - p) near p = 1/2, log Γ near a product that is 1.
            "logit" | "lbeta" | "lchoose" | "log_rising_factorial" | "lgamma_excess" => 1e-14,
            // Poles of tan magnify the rounding of sin and cos.
            _ => 0.0,
        };
        let same = near(got, want, 0.0) || (got - want).abs() <= 1e-13 * want.abs() + absolute;
        assert!(same, "{name}({}) = {got:e}, want {want:e}", row[1]);
        tested.insert(name.clone());
    }
    for decl in library().asts.iter().flat_map(|a| &a.decls) {
        if let DeclKind::Fn { name, result, .. } = &decl.kind
            // Chains of layers are no numbers; `layers.rs` looks at them.
            && result.base.name != "layers"
        {
            let elsewhere = [ALONG, KERNELS, JOINT, SHRINKAGE].concat();
            let known = tested.contains(&name.name) || elsewhere.contains(&name.name.as_str());
            assert!(known, "{} has no values in tests/reference/library/functions.csv", name.name);
        }
    }
}

#[test]
fn along_a_plate() {
    let x = [1.0, 2.0, 4.0, 9.0];
    let zero = [0.0; 4];
    assert_eq!(evaluate("center(a)", &x, &zero), [-3.0, -2.0, 0.0, 5.0]);
    // Σ (x - 4)² = 9 + 4 + 0 + 25 = 38, sd = √(38/3)
    let sd = (38.0_f64 / 3.0).sqrt();
    for (got, d) in evaluate("standardize(a)", &x, &zero).iter().zip([-3.0, -2.0, 0.0, 5.0]) {
        assert!((got - d / sd).abs() < 1e-15);
    }
    let total: f64 = x.iter().map(|v: &f64| v.exp()).sum();
    for shift in [0.0, 1000.0, -1000.0] {
        let shifted = x.map(|v| v + shift);
        for (got, v) in evaluate("softmax(a)", &shifted, &zero).iter().zip(x) {
            assert!((got - v.exp() / total).abs() < 1e-14);
        }
    }
    // Of one dimension it is log Γ: Γ(3) = 2; of two √π Γ(3) Γ(5/2), where Γ(5/2) = 3√π/4.
    assert!((evaluate("log_multigamma[rows](a)", &[3.0], &[0.0])[0] - 2.0_f64.ln()).abs() < 1e-15);
    let two = (1.5 * std::f64::consts::PI).ln();
    assert!((evaluate("log_multigamma[rows](a)", &[3.0; 2], &[0.0; 2])[0] - two).abs() < 1e-15);
    assert_eq!(evaluate("log_multigamma[rows](a)", &[0.5; 2], &[0.0; 2])[0], f64::INFINITY);
}

#[test]
fn scales_of_coefficients() {
    let close = |call: &str, want: f64| {
        let got = evaluate(call, &[1.5, 1.5, 1.5], &[0.2; 3])[0];
        assert!((got - want).abs() < 1e-15, "{call}: {got}, want {want}");
    };
    close("horseshoe(a, b)", 0.3);
    close("regularised_horseshoe(a, b, 2)", 0.3 / (1.0f64 + 0.0225).sqrt());
    // A coefficient that escapes has the slab's size.
    let far = evaluate("regularised_horseshoe(1e9, b, a)", &[1.5], &[0.2])[0];
    assert!((far - 1.5).abs() < 1e-12);
    // One relevant coefficient of the three rows: 1 / 2 · sigma / √n.
    close("horseshoe_scale[rows](1, a, 100)", 0.075);
    close("r2d2(b, 0.5, a)", 1.5 * 0.2f64.sqrt());
}
