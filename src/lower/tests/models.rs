//! The shapes that real models have.

use super::build::{Model, noise};
use crate::derive::joint::*;
use crate::lower::graph::{Graph, Region, Stmt};

fn numbers(n: usize, seed: u32) -> Vec<f64> {
    (0..n as u32).map(|i| 2.0 * noise(i * 31 + seed)).collect()
}

fn bits(n: usize, seed: u32) -> Vec<f64> {
    (0..n as u32).map(|i| f64::from(u8::from(noise(i * 17 + seed) > 0.0))).collect()
}

fn codes(n: usize, k: usize, seed: u32) -> Vec<f64> {
    (0..n as u32).map(|i| ((noise(i * 13 + seed) + 1.0) / 2.0 * k as f64).floor()).collect()
}

/// Every statement, inner ones included.
fn statements(regions: &[Region]) -> Vec<&Stmt> {
    fn walk<'g>(body: &'g [Stmt], out: &mut Vec<&'g Stmt>) {
        for s in body {
            out.push(s);
            if let Stmt::Reduce { body, .. } = s {
                walk(body, out);
            }
        }
    }
    let mut out = vec![];
    regions.iter().for_each(|r| walk(&r.body, &mut out));
    out
}

fn contractions(graph: &Graph) -> (usize, usize) {
    let all = statements(&graph.gradient);
    (
        all.iter().filter(|s| matches!(s, Stmt::Contract { .. })).count(),
        all.iter().filter(|s| matches!(s, Stmt::ContractT { .. })).count(),
    )
}

#[test]
fn normal_regression() {
    let mut m = Model::default();
    let rows = m.plate("rows", 37);
    let x = m.data("x", &[rows], numbers(37, 1));
    let y = m.data("y", &[rows], numbers(37, 2));
    let a = m.latent("a", &[]);
    let b = m.latent("b", &[]);
    let u = m.latent("sigma unconstrained", &[]);
    let (ra, rb, ru) = (m.read(a, &[]), m.read(b, &[]), m.read(u, &[]));
    let e = m.exp(ru);
    let sigma = m.define("sigma", &[], e);
    let rs = m.read(sigma, &[]);
    let (zero, one) = (m.c(0.0), m.c(1.0));
    for r in [ra, rb, rs] {
        let lp = m.normal(r, zero, one);
        m.term("prior", &[], lp);
    }
    m.term("log |d sigma|", &[], ru);
    let (rx, ry) = (m.read(x, &[rows]), m.read(y, &[rows]));
    let bx = m.mul(rb, rx);
    let mu = m.add(ra, bx);
    let mu = m.define("mu", &[rows], mu);
    let mu = m.read(mu, &[rows]);
    let lp = m.normal(ry, mu, rs);
    m.term("observe y", &[rows], lp);
    let graph = m.check();
    // Scalars, rows with gradients, and the way back through what scalars were stored.
    assert_eq!(graph.value.len(), 3, "{graph}");
    assert!(graph.gradient.len() <= 3, "{graph}");
}

#[test]
fn bernoulli_with_a_matrix_product() {
    for (n, k) in [(50, 3), (700, 40)] {
        let mut m = Model::default();
        let rows = m.plate("rows", n);
        let feature = m.plate("feature", k);
        let x = m.data("x", &[rows, feature], numbers(n * k, 5));
        let y = m.data("y", &[rows], bits(n, 6));
        let alpha = m.latent("alpha", &[]);
        let beta = m.latent("beta", &[feature]);
        let (rx, rb, ra) = (m.read(x, &[rows, feature]), m.read(beta, &[feature]), m.read(alpha, &[]));
        let ry = m.read(y, &[rows]);
        let p = m.mul(rx, rb);
        let s = m.sum(feature, p);
        let eta = m.add(ra, s);
        let lp = m.bernoulli_logit(ry, eta);
        m.term("observe y", &[rows], lp);
        let (zero, one) = (m.c(0.0), m.c(1.0));
        let prior = m.normal(rb, zero, one);
        m.term("beta ~ Normal", &[feature], prior);
        let graph = if k > 10 { m.check_at(&numbers(k + 1, 9)) } else { m.check() };
        assert_eq!(contractions(&graph), (1, 1), "{graph}");
    }
}

#[test]
fn a_standardised_and_scaled_matrix_product() {
    // sum((x - mean(x over rows)) / sd * beta * tau[feature] over feature)
    let mut m = Model::default();
    let rows = m.plate("rows", 30);
    let feature = m.plate("feature", 4);
    let x = m.data("x", &[rows, feature], numbers(120, 5));
    let y = m.data("y", &[rows], numbers(30, 6));
    let beta = m.latent("beta", &[feature]);
    let tau = m.latent("tau", &[feature]);
    let (rx, rb, rt, ry) =
        (m.read(x, &[rows, feature]), m.read(beta, &[feature]), m.read(tau, &[feature]), m.read(y, &[rows]));
    let total = m.sum(rows, rx);
    let n = m.joint.intern(Node::Size(m.hir.axis(rows).plate));
    let mean = m.div(total, n);
    let off = m.sub(rx, mean);
    let a = m.mul(off, rb);
    let scale = m.exp(rt);
    let a = m.mul(a, scale);
    let eta = m.sum(feature, a);
    let one = m.c(1.0);
    let lp = m.normal(ry, eta, one);
    m.term("observe y", &[rows], lp);
    let graph = m.check();
    assert_eq!(contractions(&graph), (1, 1), "{graph}");
}

#[test]
fn varying_intercept_by_foreign_key() {
    let (n, groups) = (60, 7);
    let mut m = Model::default();
    let rows = m.plate("houses", n);
    let county = m.plate("counties", groups);
    let key = m.data("county", &[rows], codes(n, groups, 3));
    let x = m.data("floor", &[rows], bits(n, 4));
    let u = m.data("uranium", &[county], numbers(groups, 4));
    let y = m.data("log_radon", &[rows], numbers(n, 6));
    let g = m.latent("g", &[]);
    let b = m.latent("b", &[]);
    let tau = m.latent("tau unconstrained", &[]);
    let z = m.latent("alpha noise", &[county]);
    let s = m.latent("sigma unconstrained", &[county]);
    let (rg, rb, rt, rz) = (m.read(g, &[]), m.read(b, &[]), m.read(tau, &[]), m.read(z, &[county]));
    let (ru, rs) = (m.read(u, &[county]), m.read(s, &[county]));
    let et = m.exp(rt);
    let tau = m.define("tau", &[], et);
    let rtau = m.read(tau, &[]);
    let (gu, tz) = (m.mul(rg, ru), m.mul(rtau, rz));
    let alpha = m.add(gu, tz);
    let alpha = m.define("alpha", &[county], alpha);
    let es = m.exp(rs);
    let sigma = m.define("sigma", &[county], es);
    let at = m.read(key, &[rows]);
    let ra = m.get(alpha, vec![Ix::At(at)]);
    let rsig = m.get(sigma, vec![Ix::At(at)]);
    let (rx, ry) = (m.read(x, &[rows]), m.read(y, &[rows]));
    let bx = m.mul(rb, rx);
    let mu = m.add(ra, bx);
    let lp = m.normal(ry, mu, rsig);
    m.term("observe log_radon", &[rows], lp);
    let (zero, one) = (m.c(0.0), m.c(1.0));
    let prior = m.normal(rz, zero, one);
    m.term("alpha ~ Normal", &[county], prior);
    let graph = m.check();
    // log sigma and 1 / sigma are computed per county, not per house.
    for region in graph.gradient.iter().filter(|r| r.loops.iter().any(|l| l.plate == "houses")) {
        for s in statements(std::slice::from_ref(region)) {
            let dear = format!("{s:?}");
            assert!(!["Log", "Recip", "Div", "Exp"].iter().any(|op| dear.contains(op)), "{graph}");
        }
    }
}

#[test]
fn varying_intercept_by_a_category_of_the_same_table() {
    // Two gathers from one plate: skill[home] - skill[away].
    let (n, teams) = (40, 5);
    let mut m = Model::default();
    let rows = m.plate("games", n);
    let team = m.plate("team", teams);
    let home = m.data("home", &[rows], codes(n, teams, 3));
    let away = m.data("away", &[rows], codes(n, teams, 8));
    let y = m.data("won", &[rows], bits(n, 6));
    let skill = m.latent("skill", &[team]);
    let (h, a) = (m.read(home, &[rows]), m.read(away, &[rows]));
    let (sh, sa) = (m.get(skill, vec![Ix::At(h)]), m.get(skill, vec![Ix::At(a)]));
    let d = m.sub(sh, sa);
    let ry = m.read(y, &[rows]);
    let lp = m.bernoulli_logit(ry, d);
    m.term("observe won", &[rows], lp);
    m.check();
}

#[test]
fn outer_loops_of_two_plates() {
    let mut m = Model::default();
    let item = m.plate("item", 6);
    let person = m.plate("person", 33);
    let y = m.data("y", &[item, person], bits(198, 2));
    let b = m.latent("b", &[item]);
    let a = m.latent("a unconstrained", &[item]);
    let t = m.latent("theta", &[person]);
    let (rb, ra, rt) = (m.read(b, &[item]), m.read(a, &[item]), m.read(t, &[person]));
    let ry = m.read(y, &[item, person]);
    let ea = m.exp(ra);
    let d = m.sub(rt, rb);
    let eta = m.mul(ea, d);
    let lp = m.bernoulli_logit(ry, eta);
    m.term("observe y", &[item, person], lp);
    let graph = m.check();
    let main = graph.gradient.iter().find(|r| r.loops.len() == 2).expect("a nest of two loops");
    assert_eq!(main.loops[1].plate, "person", "{graph}");
}

#[test]
fn simplex_by_log_ratios_and_a_mixture_over_it() {
    let mut m = Model::default();
    let rows = m.plate("points", 25);
    let k = m.plate("cluster", 3);
    let free = m.plate("cluster - 1", 2);
    let x = m.data("x", &[rows], numbers(25, 2));
    let basis = m.table(Table::IlrBasis, &[k, free]);
    let u = m.latent("weight log-ratios", &[free]);
    let mu = m.latent("mu", &[k]);
    let (rv, ru) = (m.read(basis, &[k, free]), m.read(u, &[free]));
    let p = m.mul(rv, ru);
    let y = m.sum(free, p);
    let y = m.define("weight logits", &[k], y);
    let ry = m.read(y, &[k]);
    let lse = m.fold(Fold::LogSumExp, &[k], None, ry);
    let log_w = m.sub(ry, lse);
    let w = m.exp(log_w);
    let w = m.define("weight", &[k], w);
    let jacobian = m.sum(k, log_w);
    m.term("log |d weight|", &[], jacobian);
    let (rw, rmu, rx) = (m.read(w, &[k]), m.read(mu, &[k]), m.read(x, &[rows]));
    let lw = m.log(rw);
    let half = m.c(0.5);
    let lp = m.normal(rx, rmu, half);
    let parts = m.add(lw, lp);
    let mixture = m.fold(Fold::LogSumExp, &[k], None, parts);
    m.term("observe x", &[rows], mixture);
    m.check();
}

#[test]
fn nested_reductions() {
    // Σ_i log Σ_j exp(a[j] - Π_k (b[k] + x[i, j]))
    let mut m = Model::default();
    let i = m.plate("i", 9);
    let j = m.plate("j", 4);
    let k = m.plate("k", 3);
    let x = m.data("x", &[i, j], numbers(36, 1));
    let a = m.latent("a", &[j]);
    let b = m.latent("b", &[k]);
    let (rx, ra, rb) = (m.read(x, &[i, j]), m.read(a, &[j]), m.read(b, &[k]));
    let s = m.add(rb, rx);
    let prod = m.fold(Fold::Prod, &[k], None, s);
    let d = m.sub(ra, prod);
    let lse = m.fold(Fold::LogSumExp, &[j], None, d);
    m.term("t", &[i], lse);
    // and over two axes at once, with the extremes
    let both = m.fold(Fold::Max, &[j, k], None, s);
    let both = m.un(UnOp::Tanh, both);
    m.term("max", &[i], both);
    let abs = m.mul(ra, ra);
    let least = m.fold(Fold::Min, &[j], None, abs);
    m.term("min", &[], least);
    m.check();
}

#[test]
fn a_sum_over_a_long_plate_inside_a_scalar() {
    let mut m = Model::default();
    let rows = m.plate("rows", 600);
    let x = m.data("x", &[rows], numbers(600, 2));
    let b = m.latent("b", &[]);
    let u = m.latent("u", &[rows]);
    let (rx, rb, ru) = (m.read(x, &[rows]), m.read(b, &[]), m.read(u, &[rows]));
    let p = m.mul(rb, rx);
    let e = m.exp(p);
    let e = m.mul(e, ru);
    let total = m.sum(rows, e);
    let q = m.mul(total, total);
    let c = m.c(1e-4);
    let q = m.mul(q, c);
    // The mean of a latent over its own plate, used per cell of that plate.
    let n = m.c(600.0);
    let sum_u = m.sum(rows, ru);
    let mean = m.div(sum_u, n);
    let off = m.sub(ru, mean);
    let off = m.define("off", &[rows], off);
    let ro = m.read(off, &[rows]);
    let sq = m.mul(ro, ro);
    m.term("spread", &[rows], sq);
    m.term("total", &[], q);
    let theta: Vec<f64> = numbers(601, 3).iter().map(|v| v / 2.0).collect();
    let graph = m.check_at(&theta);
    for s in statements(&graph.gradient) {
        assert!(!matches!(s, Stmt::Reduce { .. }), "{graph}");
    }
}

#[test]
fn the_same_plate_twice() {
    // A kernel matrix of latents: Σ_ij exp(-(a[i] - a[j])²) where i < j
    let mut m = Model::default();
    let p = m.plate("points", 7);
    let (i, j) = (m.binder("i", p), m.binder("j", p));
    let a = m.latent("a", &[p]);
    let (ai, aj) = (m.read(a, &[i]), m.read(a, &[j]));
    let d = m.sub(ai, aj);
    let two = m.c(2.0);
    let s = m.bin(BinOp::Pow, d, two);
    let s = m.un(UnOp::Neg, s);
    let e = m.exp(s);
    let (pi, pj) = (m.position(i), m.position(j));
    let less = m.bin(BinOp::Less, pi, pj);
    m.term_where("pairs", &[i, j], Some(less), e);
    let kmat = m.define("K", &[i, j], e);
    let row = m.read(kmat, &[i, j]);
    let s = m.fold(Fold::Sum, &[j], Some(less), row);
    let s = m.un(UnOp::Atan, s);
    m.term("rows", &[i], s);
    let diagonal = m.get(kmat, vec![Ix::Axis(i), Ix::Label("3".into(), Default::default())]);
    m.term("column", &[i], diagonal);
    m.check();
}

#[test]
fn transforms_with_jacobians() {
    let mut m = Model::default();
    let g = m.plate("g", 5);
    let u = m.latent("u", &[g]);
    let v = m.latent("v", &[]);
    let (ru, rv) = (m.read(u, &[g]), m.read(v, &[]));
    // p = sigmoid(u) in (0, 1), with log |dp/du| = log p + log(1 - p)
    let p = m.un(UnOp::Sigmoid, ru);
    let ps = m.define("p", &[g], p);
    let rp = m.read(ps, &[g]);
    let one = m.c(1.0);
    let q = m.sub(one, rp);
    let (lp, lq) = (m.log(rp), m.log(q));
    let j = m.add(lp, lq);
    m.term("log |dp|", &[g], j);
    // Beta(2.5, t), with t = exp(v)
    let t = m.exp(rv);
    let t = m.define("t", &[], t);
    let rt = m.read(t, &[]);
    let a = m.c(2.5);
    let ab = m.add(a, rt);
    let (la, lb, lab) = (m.un(UnOp::Lgamma, a), m.un(UnOp::Lgamma, rt), m.un(UnOp::Lgamma, ab));
    let (a1, b1) = (m.c(1.5), m.sub(rt, one));
    let (x, y) = (m.mul(a1, lp), m.mul(b1, lq));
    let density = m.add(x, y);
    let density = m.sub(density, la);
    let density = m.sub(density, lb);
    let density = m.add(density, lab);
    m.term("p ~ Beta", &[g], density);
    m.term("log |dt|", &[], rv);
    let graph = m.check();
    // log sigmoid and log(1 - sigmoid) have become softplus.
    assert!(!format!("{:?}", graph.value).contains("Unary(Log,"), "{graph}");
}

#[test]
fn poisson_counts_keep_their_constants() {
    let mut m = Model::default();
    let rows = m.plate("rows", 20);
    let y = m.data("y", &[rows], codes(20, 9, 1));
    let a = m.latent("a", &[]);
    let (ry, ra) = (m.read(y, &[rows]), m.read(a, &[]));
    let e = m.exp(ra);
    let ya = m.mul(ry, ra);
    let one = m.c(1.0);
    let y1 = m.add(ry, one);
    let l = m.un(UnOp::Lgamma, y1);
    let lp = m.sub(ya, e);
    let lp = m.sub(lp, l);
    m.term("observe y", &[rows], lp);
    let graph = m.check();
    assert!(!format!("{:?}", graph.gradient).contains("Lgamma"), "{graph}");
}
