//! Where a value or a derivative could go wrong: conditions, filters, exact edges, indices outside their plates.

use super::build::{Model, at, close};
use crate::derive::joint::*;
use crate::diag::Code;
use crate::run::interp::Interp;
use crate::run::trace_nonfinite;

#[test]
fn the_untaken_side_is_not_touched() {
    // if x > 0 then log(x·a) + sqrt(x·a) else (−x)·a: NaN in value and derivative on the untaken side
    let mut m = Model::default();
    let rows = m.plate("rows", 6);
    let x = m.data("x", &[rows], [1.0, -2.0, 0.0, 3.0, -0.5, 0.0]);
    let a = m.latent("a", &[]);
    let (rx, ra) = (m.read(x, &[rows]), m.read(a, &[]));
    let zero = m.c(0.0);
    let positive = m.bin(BinOp::Less, zero, rx);
    let e = m.exp(ra);
    let xa = m.mul(rx, e);
    let (l, s) = (m.log(xa), m.un(UnOp::Sqrt, xa));
    let yes = m.add(l, s);
    let no = m.mul(xa, ra);
    let v = m.iff(positive, yes, no);
    m.term("t", &[rows], v);
    // The same through a stored definition: log(w) is -inf where it is not used.
    let w = m.latent("w", &[rows]);
    let rw = m.read(w, &[rows]);
    let square = m.mul(rw, rw);
    let lw = m.log(square);
    let lw = m.define("lw", &[rows], lw);
    let key = m.data("key", &[rows], [0.0, 0.0, 3.0, 3.0, 0.0, 3.0]);
    let rk = m.read(key, &[rows]);
    let glw = m.get(lw, vec![Ix::At(rk)]);
    let v = m.iff(positive, glw, zero);
    m.term("u", &[rows], v);
    let root = m.un(UnOp::Sqrt, square);
    let v = m.iff(positive, root, zero);
    m.term("v", &[rows], v);
    // w is 0 exactly in cells that only untaken sides read.
    m.check_at(&[0.3, 0.7, 0.0, 0.0, -1.3, 0.0, 0.0]);
}

#[test]
fn filtered_rows_add_nothing() {
    let mut m = Model::default();
    let rows = m.plate("rows", 8);
    let y = m.data("y", &[rows], [1.0, f64::NAN, 2.0, 0.5, f64::NAN, 1.0, 0.1, 4.0]);
    let ok = m.data("ok", &[rows], [1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0]);
    let mu = m.latent("mu", &[rows]);
    let s = m.latent("s", &[]);
    let (ry, rok, rmu, rs) = (m.read(y, &[rows]), m.read(ok, &[rows]), m.read(mu, &[rows]), m.read(s, &[]));
    let sigma = m.exp(rs);
    let lp = m.normal(ry, rmu, sigma);
    m.term_where("observe y", &[rows], Some(rok), lp);
    // A lag under a filter, and one under a condition.
    let t = m.position(rows);
    let one = m.c(1.0);
    let before = m.sub(t, one);
    let lag = m.get(mu, vec![Ix::At(before)]);
    let zero = m.c(0.0);
    let later = m.bin(BinOp::Less, zero, t);
    let d = m.sub(rmu, lag);
    let lp = m.normal(d, zero, sigma);
    m.term_where("walk", &[rows], Some(later), lp);
    let first = m.un(UnOp::Not, later);
    let step = m.iff(first, rmu, d);
    let sq = m.mul(step, step);
    m.term("steps", &[rows], sq);
    // A reduction under a filter on its own axis, and on both.
    let total = m.fold(Fold::Sum, &[rows], Some(rok), ry);
    let scaled = m.mul(total, rs);
    m.term("total", &[], scaled);
    let other = m.binder("s", rows);
    let (mo, po) = (m.read(mu, &[other]), m.position(other));
    let earlier = m.bin(BinOp::Less, po, t);
    let past = m.fold(Fold::Sum, &[other], Some(earlier), mo);
    let past = m.un(UnOp::Sin, past);
    m.term("past", &[rows], past);
    m.check();
}

#[test]
fn a_filter_that_keeps_nothing_or_all() {
    let mut m = Model::default();
    let rows = m.plate("rows", 3);
    let none = m.data("none", &[rows], [0.0; 3]);
    let all = m.data("all", &[rows], [1.0; 3]);
    let a = m.latent("a", &[rows]);
    let (rn, rl, ra) = (m.read(none, &[rows]), m.read(all, &[rows]), m.read(a, &[rows]));
    let l = m.log(ra);
    m.term_where("never", &[rows], Some(rn), l);
    let sq = m.mul(ra, ra);
    m.term_where("always", &[rows], Some(rl), sq);
    m.check();
}

/// The log-sum-exp of no rows is minus infinity, whatever the latents: what is made of it moves neither once nor twice.
#[test]
fn a_log_sum_exp_over_nothing_does_not_move() {
    let mut m = Model::default();
    let (groups, rows) = (m.plate("groups", 2), m.plate("rows", 3));
    let some = m.data("some", &[groups], [0.0, 1.0]);
    let a = m.latent("a", &[rows]);
    let (rs, ra) = (m.read(some, &[groups]), m.read(a, &[rows]));
    let all = m.fold(Fold::LogSumExp, &[rows], Some(rs), ra);
    let share = m.un(UnOp::Sigmoid, all);
    let share = m.define("share", &[groups], share);
    let other = m.plate("others", 2);
    let (rs, t) = (m.read(share, &[groups]), m.c(0.3));
    let sum = m.fold(Fold::Sum, &[groups], None, rs);
    let both = m.mul(sum, t);
    let bent = m.un(UnOp::Atan, both);
    let square = m.mul(bent, bent);
    m.term("t", &[other], square);
    let graph = m.check();
    assert!(graph.second.is_some());
}

#[test]
fn exact_edges() {
    // a^0, 0^b, 0·log 0, and log-sum-exp with -∞ among its terms.
    let mut m = Model::default();
    let rows = m.plate("rows", 3);
    let n = m.data("n", &[rows], [0.0, 1.0, 2.0]);
    let mask = m.data("mask", &[rows], [0.0, f64::NEG_INFINITY, 0.0]);
    let a = m.latent("a", &[]);
    let b = m.latent("b", &[]);
    let (rn, rm, ra, rb) = (m.read(n, &[rows]), m.read(mask, &[rows]), m.read(a, &[]), m.read(b, &[]));
    let p = m.bin(BinOp::Pow, ra, rn);
    m.term("pow", &[rows], p);
    let x = m.bin(BinOp::XLogY, rn, rb);
    let zero = m.c(0.0);
    let is_zero = m.bin(BinOp::Equal, rn, zero);
    m.term_where("xlogy", &[rows], Some(is_zero), x);
    let terms = m.add(rm, rb);
    let terms = m.add(terms, rn);
    let lse = m.fold(Fold::LogSumExp, &[rows], None, terms);
    m.term("lse", &[], lse);
    let (graph, _) = m.lower().expect("no diagnostics");
    let mut grad = [0.0; 2];
    let value = Interp::new(&graph).value_grad(&[0.0, 0.0], &mut grad);
    // 0^0 + 0^1 + 0^2 = 1; log(1 + e²)
    close(value, 1.0 + (1.0 + 2f64.exp()).ln(), 1e-14, || "value".into());
    // d/da Σ a^n at 0 = 1 (from n = 1); d/db lse = 1, d/db 0·log b = 0
    assert_eq!(grad[0], 1.0, "{graph}");
    close(grad[1], 1.0, 1e-14, || "d lse".into());
}

#[test]
fn products_with_zeros() {
    let mut m = Model::default();
    let k = m.plate("k", 4);
    let a = m.latent("a", &[k]);
    let ra = m.read(a, &[k]);
    let p = m.fold(Fold::Prod, &[k], None, ra);
    m.term("p", &[], p);
    m.check_at(&[2.0, 0.0, 3.0, 4.0]);
    // The pair of zeros has a second derivative that the program does not see.
    m.check_gradient_at(&[2.0, 0.0, 3.0, 0.0]);
    m.check_at(&[2.0, -1.0, 3.0, 4.0]);
}

#[test]
fn an_index_outside_its_plate_is_reported_with_its_row() {
    let mut m = Model::default();
    let rows = m.plate("rows", 3);
    let k = m.plate("k", 2);
    let code = m.data("code", &[rows], [1.0, 2.0, 0.0]);
    let a = m.latent("a", &[k]);
    let rc = m.read(code, &[rows]);
    let ra = m.get(a, vec![Ix::At(rc)]);
    m.term("observe y", &[rows], ra);
    let diags = m.lower().expect_err("code 2 is outside");
    let d = &diags.list[0];
    assert_eq!((d.code, d.span), (Code::INDEX_OUTSIDE, Some(at(200))));
    assert_eq!(d.message, "in `observe y`, the index of `a` on plate `k` falls after the last of 2 cells, at `rows` 2");
    assert_eq!(d.places, ["rows.csv:3"]);
}

#[test]
fn a_label_that_does_not_exist_is_reported_where_it_is_written() {
    let mut m = Model::default();
    let k = m.plate("coef", 2);
    m.bound.plates[0].labels = ["intercept".to_string(), "slope".to_string()].into();
    let a = m.latent("a", &[k]);
    let ra = m.get(a, vec![Ix::Label("slop".into(), at(42))]);
    m.term("t", &[], ra);
    let diags = m.lower().expect_err("no such label");
    let d = &diags.list[0];
    assert_eq!((d.code, d.span), (Code::UNKNOWN_LABEL, Some(at(42))));
    assert_eq!(d.help.as_deref(), Some("write \"slope\""));
}

#[test]
fn a_non_finite_value_is_traced_to_declaration_and_cell() {
    let mut m = Model::default();
    let rows = m.plate("rows", 4);
    let x = m.data("x", &[rows], [3.0, 2.0, 0.0, 1.0]);
    let ok = m.data("ok", &[rows], [0.0, 1.0, 1.0, 1.0]);
    let a = m.latent("a", &[]);
    let (rx, rok, ra) = (m.read(x, &[rows]), m.read(ok, &[rows]), m.read(a, &[]));
    let p = m.mul(rx, ra);
    m.term("fine", &[rows], p);
    let l = m.log(p);
    m.term_where("observe y", &[rows], Some(rok), l);
    let (graph, _) = m.lower().expect("no diagnostics");
    assert_eq!(trace_nonfinite(&graph, &[1.0]).expect("log 0").cell, [("rows".to_string(), 2)]);
    let found = trace_nonfinite(&graph, &[-1.0]).expect("log of a negative number");
    assert_eq!((found.region.as_str(), found.span), ("observe y", Some(at(201))));
    assert_eq!(found.cell, [("rows".to_string(), 1)]);
    assert!(found.value.is_nan());
}

#[test]
fn params_start_where_they_say() {
    let mut m = Model::default();
    let k = m.plate("k", 3);
    let x = m.data("x", &[k], [1.0, 2.0, 3.0]);
    m.latent("a", &[]);
    let w = m.latent("w", &[k]);
    let rx = m.read(x, &[k]);
    let start = m.log(rx);
    let u = m.joint.unconstrained.last_mut().expect("w");
    (u.start, u.point) = (Some(start), true);
    let rw = m.read(w, &[k]);
    m.term("t", &[k], rw);
    let (_, layout) = m.lower().expect("no diagnostics");
    assert_eq!(layout.start(), [0.0, 0.0, 2f64.ln(), 3f64.ln()]);
    assert_eq!(layout.points(), [false, true, true, true]);
    let place = layout.place(w).expect("w is in theta");
    assert_eq!(place.cell_names(&m.bound), ["w[1]", "w[2]", "w[3]"]);
    assert_eq!(place.offset, 1);
}
