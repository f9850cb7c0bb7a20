//! Sums of products against the log joint that they come from.

use std::fs;

use super::expand::Expander;
use crate::data::{self, Bound, DataFile, Inputs};
use crate::derive::joint::{Joint, NodeId, Term, UnOp};
use crate::derive::{self, Purpose};
use crate::diag::Diags;
use crate::driver::{self, Session};
use crate::hir::Hir;
use crate::lower;
use crate::run::interp::Interp;

/// A model bound to CSV tables, by name where there are several.
pub fn bound(text: &str, tables: &[(&str, &str)]) -> (Hir, Bound) {
    let mut session = Session::default();
    let checked = driver::check(&mut session, "model.vi", text);
    let of = |s: &Session| s.diags.list.iter().map(|d| d.message.clone()).collect::<Vec<_>>();
    assert!(!session.diags.has_errors(), "{:?}", of(&session));
    let file = |(table, csv): &(&str, &str)| DataFile {
        table: (!table.is_empty()).then(|| table.to_string()),
        name: "d.csv".into(),
        bytes: csv.as_bytes().to_vec(),
    };
    let inputs = Inputs { files: tables.iter().map(file).collect(), sets: vec![] };
    let bound = data::bind(&checked.hir, &inputs, &mut session.diags);
    let bound = bound.unwrap_or_else(|| panic!("{:?}", of(&session)));
    (checked.hir, bound)
}

pub fn value(hir: &Hir, joint: &Joint, bound: &Bound, theta: &[f64]) -> f64 {
    let mut bound = bound.clone();
    bound.add_derived(hir);
    let (graph, _) = lower::lower(hir, joint, &bound, &mut Diags::default()).expect("it lowers");
    Interp::new(&graph).value(&theta[..graph.dim])
}

/// Every term replaced by its products.
fn multiplied_out(hir: &mut Hir, joint: Joint) -> Joint {
    let terms = joint.terms.clone();
    let mut e = Expander::new(hir, joint, &derive::known_size);
    let mut out = vec![];
    for term in terms {
        for m in e.expand(term.value).as_ref() {
            let filter = match (term.filter, m.filter) {
                (Some(f), Some(g)) => Some(super::expand::and(e.joint_mut(), Some(f), g)),
                (f, g) => f.or(g),
            };
            let value = e.value(m);
            out.push(Term { axes: [&term.axes[..], &m.axes].concat(), filter, value, ..term.clone() });
        }
    }
    let mut joint = e.finish();
    joint.terms = out;
    joint
}

fn numbers(n: usize) -> Vec<f64> {
    (0..n).map(|i| (12.9898 * (i + 1) as f64).sin()).collect()
}

/// The value is the same to rounding, and there are more terms than before.
fn check(text: &str, tables: &[(&str, &str)]) {
    let (mut hir, bound) = bound(text, tables);
    let joint = derive::joint_for(&mut hir, Purpose::Fit, &lower::known_size(&bound));
    let theta = numbers(200);
    let plain = value(&hir, &joint, &bound, &theta);
    let before = joint.terms.len();
    let apart = multiplied_out(&mut hir, joint);
    assert!(apart.terms.len() > before, "{text}");
    let multiplied = value(&hir, &apart, &bound, &theta);
    assert!((plain - multiplied).abs() < 1e-10 * plain.abs().max(1.0), "{text}: {plain} {multiplied}");
}

#[test]
fn products_add_up_to_the_log_joint() {
    let y = "x,y,g\n1,0.3,a\n2,-1.4,b\n0.5,2.2,a\n-1,0.1,c\n";
    check(
        "data rows { x, y: real }\nlatent a, b ~ Normal(0, 2)\nlatent s ~ HalfNormal(1)\nobserve y ~ Normal(a + b * x, s)\n",
        &[("", y)],
    );
    check(
        "data rows { x, y: real\n g: category }\nlatent m ~ Normal(0, 2)\nlatent t, s ~ HalfNormal(1)\n\
         latent a[g] ~ Normal(m, t)\nlatent b[g] ~ Normal(0, t)\nobserve y ~ Normal(a[g] + b[g] * x, s)\n",
        &[("", y)],
    );
    check(
        "data rows { x, y: real }\nplate k = 3\nlatent w[k] ~ Normal(0, 1)\nlatent s ~ InvGamma(3, 2)\n\
         observe y ~ Normal(sum(w * x over k), sqrt(s))\n",
        &[("", y)],
    );
    check("data rows { y: bool }\nlatent p ~ Beta(2, 3)\nobserve y ~ Bernoulli(p)\n", &[("", "y\n1\n0\n1\n1\n")]);
    check("data rows { y: int }\nlatent r ~ Gamma(2, 3)\nobserve y ~ Poisson(r)\n", &[("", "y\n1\n0\n4\n2\n")]);
    check(
        "data rows { y: real }\nlatent v ~ Gamma(2, 3)\nlatent m ~ Normal(0, 1)\n\
         observe y ~ Normal(m, precision: v)\n",
        &[("", "y\n1\n0\n4.5\n2\n")],
    );
}

#[test]
fn radon_is_as_before() {
    let read = |p: &str| fs::read_to_string(format!("{}/examples/radon/{p}", env!("CARGO_MANIFEST_DIR"))).expect(p);
    let (houses, counties) = (read("houses.csv"), read("counties.csv"));
    check(&read("radon.vi"), &[("houses", &houses), ("counties", &counties)]);
}

/// What a factor is, in the model's words.
fn factors(text: &str, table: &str) -> Vec<String> {
    let (mut hir, bound) = bound(text, &[("", table)]);
    let joint = derive::joint_for(&mut hir, Purpose::Fit, &lower::known_size(&bound));
    let terms: Vec<NodeId> = joint.terms.iter().map(|t| t.value).collect();
    let mut e = Expander::new(&mut hir, joint, &derive::known_size);
    let mut out = vec![];
    for term in terms {
        for m in e.expand(term).as_ref() {
            for f in &m.factors {
                let j = e.joint();
                let what = match j.node(f.base) {
                    crate::derive::joint::Node::Unary(UnOp::Exp, _) => "x",
                    crate::derive::joint::Node::Unary(UnOp::Softplus, _) => "-log(1-x)",
                    _ if e.cell(f.base).is_some() => "u",
                    _ => "other",
                };
                out.push(format!("{what}^{}", f.power));
            }
        }
    }
    out.sort();
    out.dedup();
    out
}

#[test]
fn statistics_are_seen_behind_transforms() {
    let counts = "y\n1\n0\n4\n";
    assert_eq!(
        factors("data rows { y: int }\nlatent r ~ Gamma(2, 3)\nobserve y ~ Poisson(r)\n", counts),
        ["u^1", "x^1"]
    );
    assert_eq!(
        factors("data rows { y: bool }\nlatent p ~ Beta(2, 3)\nobserve y ~ Bernoulli(p)\n", "y\n1\n0\n"),
        ["-log(1-x)^1", "u^1"]
    );
    assert_eq!(
        factors("data rows { y: real }\nlatent v ~ InvGamma(2, 3)\nobserve y ~ Normal(1, sqrt(v))\n", counts),
        ["u^1", "x^-1"]
    );
    assert_eq!(
        factors("data rows { y: real }\nlatent v ~ Gamma(2, 3)\nobserve y ~ Normal(0, precision: v)\n", counts),
        ["u^1", "x^1"]
    );
}

/// The latents that integrate out, after holding log p(rest) + log p(drawn | rest) to the log joint.
fn integrated(text: &str, tables: &[(&str, &str)]) -> Vec<String> {
    let (hir, bound) = bound(text, tables);
    let found = super::structure(&hir, &lower::known_size(&bound));
    let mut bound = bound.clone();
    bound.add_derived(&found.hir);
    let lowered = |j: &Joint| lower::lower(&found.hir, j, &bound, &mut Diags::default()).expect("it lowers");
    let (whole, layout) = lowered(&found.whole);
    let (rest, rest_layout) = lowered(&found.rest);
    let (draw, draw_layout) = lowered(&found.draw);
    for point in 0..3 {
        let theta: Vec<f64> = numbers(draw.dim + 10 * point).split_off(10 * point);
        let mut drawn = Interp::new(&draw);
        drawn.report(&theta);
        let mut all = vec![];
        for u in &found.whole.unconstrained {
            match found.collapsed.iter().any(|c| c.latent.slot == u.slot) {
                true => all.extend_from_slice(drawn.buffer(draw_layout.buffer(u.var).expect("drawn"))),
                false => {
                    let place = rest_layout.place(u.slot).expect("left");
                    all.extend_from_slice(&theta[place.offset..place.offset + place.len()]);
                }
            }
        }
        assert_eq!(all.len(), layout.dim());
        let joint = Interp::new(&whole).value(&all);
        let marginal = Interp::new(&rest).value(&theta[..rest.dim]);
        let conditional = Interp::new(&draw).value(&theta);
        let off = joint - marginal - conditional;
        assert!(off.abs() < 1e-9 * joint.abs().max(1.0), "{text}: {joint} {marginal} {conditional}");
    }
    found.collapsed.iter().map(|c| format!("{} {:?}", c.name, c.how)).collect()
}

#[test]
fn normal_latents_integrate_out() {
    let y = "x,y,g\n1,0.3,a\n2,-1.4,b\n0.5,2.2,a\n-1,0.1,c\n";
    let schools = "data schools { y, sigma: real }\nlatent mu ~ Normal(0, 5)\nlatent tau ~ HalfCauchy(5)\n\
                   latent theta[schools] ~ Normal(mu, tau)\nobserve y ~ Normal(theta, sigma)\n";
    assert_eq!(integrated(schools, &[("", "y,sigma\n28,15\n8,10\n-3,16\n7,11\n")]), ["theta Cells", "mu Cells"]);
    assert_eq!(
        integrated(
            "data rows { x, y: real\n g: category }\nlatent m ~ Normal(0, 2)\nlatent t, s ~ HalfNormal(1)\n\
             latent a[g] ~ Normal(m, t)\nlatent b[g] ~ Normal(0, t)\nobserve y ~ Normal(a[g] + b[g] * x, s)\n",
            &[("", y)]
        ),
        ["b Cells", "a Cells", "m Cells"]
    );
    assert_eq!(
        integrated(
            "data rows { x, y: real }\nlatent a, b ~ Normal(0, 2)\nlatent s ~ HalfNormal(1)\nobserve y ~ Normal(a + b * x, s)\n",
            &[("", y)]
        ),
        ["b Cells", "a Cells"]
    );
}

#[test]
fn vectors_integrate_out_as_a_whole() {
    let y = "x1,x2,y\n1,0.3,0.4\n2,-1.4,1\n0.5,2.2,-1\n-1,0.1,2\n";
    assert_eq!(
        integrated(
            "data rows { x: real[k] from [\"x1\", \"x2\"]\n y: real }\nlatent w[k] ~ Normal(0, 1)\nlatent s ~ HalfNormal(1)\n\
             observe y ~ Normal(sum(x * w over k), s)\n",
            &[("", y)]
        ),
        ["w Dense"]
    );
    assert_eq!(
        integrated(
            "data rows { x1, x2, y: real }\nplate k = [\"a\", \"b\"]\nlatent w[k] ~ Normal(0, 1)\nlatent c ~ Normal(0, 3)\n\
             latent s ~ HalfNormal(1)\nobserve y ~ Normal(c + w[\"a\"] * x1 + w[\"b\"] * x2, s)\n",
            &[("", y)]
        ),
        ["c Cells", "w Dense"]
    );
}

#[test]
fn chains_integrate_out() {
    let y = "y\n1\n0.3\n-0.2\n2.5\n1.1\n";
    assert_eq!(
        integrated(
            "data days { y: real }\nlatent s, r ~ HalfNormal(1)\n\
             latent z[t in days] ~ if first(t) then Normal(0, 10) else Normal(0.9 * z[t-1], s)\nobserve y ~ Normal(z, r)\n",
            &[("", y)]
        ),
        ["z Chain"]
    );
}

#[test]
fn radon_integrates_out() {
    let read = |p: &str| fs::read_to_string(format!("{}/examples/radon/{p}", env!("CARGO_MANIFEST_DIR"))).expect(p);
    let (houses, counties) = (read("houses.csv"), read("counties.csv"));
    let tables = [("houses", houses.as_str()), ("counties", counties.as_str())];
    assert_eq!(integrated(&read("radon.vi"), &tables), ["alpha Cells", "mu_alpha Cells", "beta Dense"]);
}

#[test]
fn what_is_not_square_stays() {
    let found = integrated(
        "data rows { y: bool }\nlatent a ~ Normal(0, 1)\nobserve y ~ Bernoulli(logit: a)\n",
        &[("", "y\n1\n0\n1\n")],
    );
    assert!(found.is_empty());
}

#[test]
fn conjugate_latents_integrate_out() {
    let counts = "y,t\n1,0.5\n0,2\n4,1\n2,1\n";
    let one = |text: &str, table: &str| integrated(text, &[("", table)]);
    assert_eq!(
        one("data rows { y: bool }\nlatent p ~ Beta(2, 3)\nobserve y ~ Bernoulli(p)\n", "y\n1\n0\n1\n"),
        ["p Family(\"beta\")"]
    );
    assert_eq!(
        one("data rows { y: int }\nlatent p ~ Beta(2, 3)\nobserve y ~ Geometric(p)\n", "y\n1\n0\n3\n"),
        ["p Family(\"beta\")"]
    );
    assert_eq!(
        one("data rows { y: int }\nlatent r ~ Gamma(2, 3)\nobserve y ~ Poisson(r)\n", "y\n1\n0\n3\n"),
        ["r Family(\"gamma\")"]
    );
    assert_eq!(
        one(
            "data pumps { y: int\n t: real > 0 }\nlatent a ~ Exponential(1)\nlatent b ~ Gamma(0.1, 1)\n\
             latent r[pumps] ~ Gamma(a, b)\nobserve y ~ Poisson(r * t)\n",
            counts
        ),
        ["r Family(\"gamma\")"]
    );
    assert_eq!(
        one("data rows { y: real }\nlatent v ~ InvGamma(2, 3)\nobserve y ~ Normal(1, sqrt(v))\n", "y\n1\n0\n4\n"),
        ["v Family(\"gamma\")"]
    );
    assert_eq!(
        one(
            "data rows { y: category }\nlatent w over y ~ Dirichlet(1.5)\nobserve y ~ Categorical(w)\n",
            "y\na\nb\na\nc\n"
        ),
        ["w Family(\"Dirichlet\")"]
    );
}

#[test]
fn a_regression_with_unknown_variance_integrates_out() {
    let y = "x1,x2,y\n1,0.3,0.4\n2,-1.4,1\n0.5,2.2,-1\n-1,0.1,2\n";
    assert_eq!(
        integrated(
            "data rows { x: real[k] from [\"x1\", \"x2\"]\n y: real }\nlatent v ~ InvGamma(2, 3)\nlatent c ~ Normal(1, 2 * sqrt(v))\n\
             latent w[k] ~ Normal(0, sqrt(v))\nobserve y ~ Normal(c + sum(x * w over k), sqrt(v))\n",
            &[("", y)]
        ),
        ["c Cells", "w Dense", "v Family(\"gamma\")"]
    );
}
