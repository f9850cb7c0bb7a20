//! A latent's type cuts its prior: what is left integrates to 1.

use super::harness::*;
use super::quadrature::Rule;
use vic::check::check;
use vic::diag::Diags;
use vic::hir::{Constraint, ExprKind, Hir, Step};
use vic::source::Sources;
use vic::syntax::ast::Ast;
use vic::syntax::parse;

#[test]
fn log_distribution_functions_equal_the_reference() {
    let mut forms = 0;
    for case in cases().iter().filter(|c| c.form.has_cdf) {
        forms += 1;
        let (below, above) = (
            Program::new(&case.form, &case.args, Some("real < high")),
            Program::new(&case.form, &case.args, Some("real > low")),
        );
        for p in &case.points {
            let rows = Rows { low: p.x[0], high: p.x[0], ..Rows::of(1) };
            for (what, got, want) in [("below", &below, p.logcdf), ("above", &above, p.logccdf)] {
                let got = got.log_kept(&rows).expect("it is truncated")[0];
                // 1e-11: x - mu and a power have lost some digits before the tail function magnifies the loss.
                assert!(near(got, want, 1e-11), "{} log P {what} {}: {got}, want {want}", case.text, p.x[0]);
            }
        }
    }
    assert!(forms >= 30);
}

/// Cuts at every pair of reference points, out to tails of 1e-9 and beyond (30 standard deviations for the normal).
#[test]
fn truncated_densities_integrate_to_one() {
    for case in cases().iter().filter(|c| c.form.has_cdf) {
        let whole = case.program();
        let (lower, upper) = whole.ends();
        let (middle, scale) = (case.middle(), case.quantile(0.75) - case.quantile(0.25));
        let total = |program: &Program, low: f64, high: f64, scale: f64| {
            let rule = Rule::new(low, high, middle, scale, 1.0 / 64.0);
            let log_f = whole.logpdf(&rule.x);
            let kept = program.log_kept(&Rows { low, high, ..Rows::of(1) }).expect("it is truncated")[0];
            let log_f: Vec<f64> = log_f.iter().map(|f| f - kept).collect();
            rule.integral(&log_f, |_| 1.0)
        };
        let [above, below, between] = ["real > low", "real < high", "real in (low, high)"]
            .map(|ty| Program::new(&case.form, &case.args, Some(ty)));
        for (i, cut) in case.points.iter().enumerate() {
            let low = cut.x[0];
            // What is left of a tail is about as wide as its probability over the density at the cut.
            let width = |log_p: f64| if log_p < 0.5_f64.ln() { (log_p - cut.logpdf).exp() } else { scale };
            let t = total(&above, low, upper, width(cut.logccdf));
            assert!((t - 1.0).abs() < 1e-8, "{} above {low}: {t}", case.text);
            let t = total(&below, lower, low, width(cut.logcdf));
            assert!((t - 1.0).abs() < 1e-8, "{} below {low}: {t}", case.text);
            for high in case.points[i + 1..].iter().map(|p| p.x[0]) {
                let t = total(&between, low, high, scale);
                // The two tails of an interval are each good to 1e-11 relative to the larger; its own share may be small.
                assert!((t - 1.0).abs() < 1e-8, "{} between {low} and {high}: {t}", case.text);
            }
        }
    }
}

/// The checked model and whether it has errors.
fn model(text: &str) -> (Hir, Vec<&'static str>) {
    let mut diags = Diags::default();
    let ast = parse(Sources::default().add("m.vi", text), text, &mut diags);
    let library: Vec<&Ast> = library().asts.iter().collect();
    let hir = check(&ast, &library, &mut diags);
    (hir, diags.list.iter().filter(|d| d.severity == vic::diag::Severity::Error).map(|d| d.code.id).collect())
}

fn range_and_kept(text: &str) -> (Constraint, bool) {
    let (hir, errors) = model(text);
    assert!(errors.is_empty(), "{text}: {errors:?}");
    let latent = hir.steps.iter().find_map(|s| match s {
        Step::Latent { var, dist, .. } if hir.var(*var).name == "s" => Some((*var, dist.log_kept.is_some())),
        _ => None,
    });
    let (var, kept) = latent.expect("the model has a latent `s`");
    (hir.var(var).constraint.clone(), kept)
}

fn numbers(c: &Constraint) -> (Option<f64>, Option<f64>) {
    let n = |e: &vic::hir::Expr| match &e.kind {
        ExprKind::Number(v) => Some(*v),
        ExprKind::Unary(vic::hir::UnOp::Neg, e) if matches!(e.kind, ExprKind::Number(1.0)) => Some(-1.0),
        _ => None,
    };
    match c {
        Constraint::Lower { bound, .. } => (n(bound), None),
        Constraint::Upper { bound, .. } => (None, n(bound)),
        Constraint::Interval { lower, upper, .. } => (n(lower), n(upper)),
        _ => (None, None),
    }
}

/// A latent's values are those of the prior that its type admits; only a type that is narrower truncates.
#[test]
fn a_type_meets_the_support_of_its_prior() {
    for (text, range, kept) in [
        ("latent s: real > 0 ~ Normal(1, 0.5)", (Some(0.0), None), true),
        ("latent s: real > 0 ~ HalfNormal(1)", (Some(0.0), None), false),
        ("latent s: real > -1 ~ HalfNormal(1)", (Some(0.0), None), false),
        ("latent s: real > 1 ~ HalfNormal(1)", (Some(1.0), None), true),
        ("latent s: real < 3 ~ HalfNormal(1)", (Some(0.0), Some(3.0)), true),
        ("latent s: real in (0, 3) ~ Exponential(1)", (Some(0.0), Some(3.0)), true),
        ("latent s: real > 0 ~ Uniform(0, 10)", (Some(0.0), Some(10.0)), false),
        ("latent s: real > 0 ~ Uniform(-5, 10)", (Some(0.0), Some(10.0)), true),
        ("latent s: real in (0, 1) ~ Beta(2, 2)", (Some(0.0), Some(1.0)), false),
        ("latent s: real in (0, 1) ~ Normal(0, 1)", (Some(0.0), Some(1.0)), true),
        ("latent s ~ Uniform(-1, 1)", (Some(-1.0), Some(1.0)), false),
        ("latent s: real > 0 ~ if 1 < 2 then Normal(0, 1) else Normal(1, 1)", (Some(0.0), None), false),
    ] {
        let (got, cut) = range_and_kept(text);
        assert_eq!((numbers(&got), cut), (range, kept), "{text}");
    }
    // Ends that depend on latents meet as an expression.
    let (got, kept) = range_and_kept("latent a ~ Normal(0, 1)\nlatent s: real > 0 ~ Uniform(a, 10)");
    assert!(matches!(got, Constraint::Interval { .. }) && numbers(&got) == (None, Some(10.0)) && kept);
    let (got, kept) = range_and_kept("latent a: real > 0 ~ Normal(0, 1)\nlatent s: real > 0 ~ Uniform(a, 10)");
    assert!(matches!(got, Constraint::Interval { .. }) && numbers(&got) == (None, Some(10.0)) && !kept);
}

#[test]
fn a_prior_that_cannot_reach_its_type_or_be_cut_is_an_error() {
    assert_eq!(model("latent s: real < -1 ~ HalfNormal(1)").1, ["V0407"]);
    assert_eq!(model("latent s: real > 1 ~ Gamma(2, 1)").1, ["V0408"]);
    assert_eq!(model("latent s: real in (0, 0.5) ~ Beta(2, 2)").1, ["V0408"]);
}

/// A choice of distributions keeps what each side's truncation takes, and the range of each side.
#[test]
fn a_choice_of_distributions_keeps_both_truncations_and_ranges() {
    let (hir, errors) = model(
        "data d { x: real }\nlatent a[d]: real > 0 ~ if x > 0 then Normal(0, 1) else Normal(1, 1)\n\
         latent b[d] ~ if x > 0 then Uniform(0, 1) else Uniform(0, 2)",
    );
    assert!(errors.is_empty(), "{errors:?}");
    let Step::Latent { dist, .. } = &hir.steps[0] else { panic!("a latent comes first") };
    let ExprKind::If { then, .. } = &dist.logpdf.kind else { panic!("a choice of densities") };
    assert!(matches!(then.kind, ExprKind::Binary(vic::hir::BinOp::Sub, ..)), "{then:?}");
    let Constraint::Interval { lower, upper, .. } = &hir.vars.iter().find(|v| v.name == "b").expect("b").constraint
    else {
        panic!("an interval")
    };
    assert!(matches!(lower.kind, ExprKind::Number(0.0)) && matches!(upper.kind, ExprKind::If { .. }));
}
