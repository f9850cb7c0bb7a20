//! Terms of linear predictors: reference levels, interactions, polynomials, lists of columns and matrices, each against
//! the same model with its columns made by hand. Both say the same sums in another order: 1e-12 of their size.

use vic::data::Inputs;
use vic::infer::Target;
use vic::simulate::{Rows, simulate};

use crate::support::{self, checked_value as value, theta};

fn same(one: (&str, &Inputs), two: (&str, &Inputs), names: &[&str]) {
    let (a, b) = (support::compile(one.0, one.1), support::compile(two.0, two.1));
    assert_eq!(a.model.names(), names, "{}", one.0);
    assert_eq!(b.model.dim(), names.len(), "{}", two.0);
    let at = theta(names.len());
    let (x, y) = (value(&a, &at), value(&b, &at));
    assert!((x - y).abs() <= 1e-12 * x.abs(), "{}\n{x} {y}", one.0);
}

const PEOPLE: &str = "work,site,y,none,part,full,s\nnone,u,1.5,1,0,0,1\nfull,v,-0.5,0,0,1,0\npart,u,2,0,1,0,1\n\
                      full,u,0.25,0,0,1,1\nnone,v,1,1,0,0,0\n";

/// Whichever level is left out, the first, one in the middle or the last.
#[test]
fn reference_levels_are_zero() {
    for (out, other) in [("none", ["part", "full"]), ("part", ["none", "full"]), ("full", ["none", "part"])] {
        let effect = |prior: &str| {
            format!(
                "data people {{ work: category [\"none\", \"part\", \"full\"], y: real }}\nlatent tau ~ HalfNormal(1)\n\
                 latent b[work without \"{out}\"] ~ {prior}\nobserve y ~ Normal(b[work], 1)\n"
            )
        };
        let dummies = |prior: &str| {
            let [p, q] = other;
            format!(
                "data people {{ {p}, {q}, y: real }}\nlatent tau ~ HalfNormal(1)\nlatent bp, bq ~ {prior}\n\
                 observe y ~ Normal(bp * {p} + bq * {q}, 1)\n"
            )
        };
        let csv = support::csv(PEOPLE);
        for prior in
            ["Normal(0.5, 2) @centered", "Normal(0, tau) @centered", "Normal(0, tau) @noncentered", "Gamma(2, tau)"]
        {
            let names = support::compile(&effect(prior), &csv).model.names().to_vec();
            assert!(names[1].contains(other[0]) && names[2].contains(other[1]), "{names:?}");
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            same((&effect(prior), &csv), (&dummies(prior), &csv), &names);
        }
    }
}

/// Beside other plates, twice, with a prior per level and with found levels; the level is 0 where it is read, summed and
/// reported.
#[test]
fn reference_levels_beside_other_plates() {
    let csv = support::csv(PEOPLE);
    let one = "data people { work: category, site: category, y: real }\nlatent m[work without \"none\"] ~ Normal(0, 1)\n\
               latent b[site without \"v\", work without \"none\"] ~ Normal(m, 1) @centered\n\
               latent c[site, w in work without \"none\"] ~ Normal(0, 1)\n\
               observe y ~ Normal(b[site, work] + m[work] + c[site, work] + sum(m over work), 1)\n";
    let two = "data people { full, part, s, y: real }\nlatent mf, mp ~ Normal(0, 1)\nlatent bf ~ Normal(mf, 1) @centered\n\
               latent bp ~ Normal(mp, 1) @centered\nlatent cuf, cvf, cup, cvp ~ Normal(0, 1)\n\
               observe y ~ Normal(s * (bf * full + bp * part) + mf * full + mp * part + s * (cuf * full + cup * part) \
               + (1 - s) * (cvf * full + cvp * part) + mf + mp, 1)\n";
    let names =
        ["m[full]", "m[part]", "b[u, full]", "b[u, part]", "c[u, full]", "c[v, full]", "c[u, part]", "c[v, part]"];
    same((one, &csv), (two, &csv), &names);

    let compiled = support::compile(one, &csv);
    let fitted = support::summaries(&support::fit(&compiled, &Default::default()));
    assert_eq!((fitted["m[none]"], fitted["b[v, part]"]), ((0.0, 0.0), (0.0, 0.0)));
    assert!(fitted["m[full]"].1 > 0.1);
    let mut diags = vic::diag::Diags::default();
    let drawn = simulate(&compiled.hir, &csv, &Rows::default(), 3, &mut diags).expect("drawn");
    let truth = |name: &str| drawn.truth.iter().find(|t| t.0 == name).expect("a latent").1;
    assert_eq!((truth("m[none]"), truth("b[u, none]"), truth("b[v, full]")), (0.0, 0.0, 0.0));
    assert!(truth("m[full]") != 0.0 && truth("b[u, full]") != 0.0);
}

#[test]
fn reference_levels_that_the_data_lack() {
    let said = |model: &str, csv: &str| {
        let mut session = vic::driver::Session::default();
        let checked = vic::driver::check(&mut session, "m.vi", model);
        assert!(vic::driver::compile(&mut session, checked, &support::csv(csv)).is_none());
        session.diags.list.iter().map(|d| format!("{} {}", d.code.id, d.message)).collect::<Vec<_>>()
    };
    let model = "data people { work: category, y: real }\nlatent b[work without \"none\"] ~ Normal(0, 1)\n\
                 observe y ~ Normal(b[work], 1)\n";
    assert_eq!(said(model, "work,y\npart,1\nfull,2\n"), ["V0308 `work` has no cell labelled \"none\""]);
    assert_eq!(said(model, "work,y\nnone,1\nnone,2\n"), ["V0344 without \"none\", `work` has no levels left"]);
}

/// Interactions: an effect per pair of levels, products of columns, and slopes by level.
#[test]
fn interactions() {
    let csv = support::csv("g,h,x,z,y\na,p,1,2,0.5\nb,q,3,-1,1\na,q,0.5,4,2\nb,p,-2,1,1\n");
    let one = "data d { g: category, h: category, x: real, z: real, y: real }\nlatent b[g, h] ~ Normal(0, 1)\n\
               latent s[g] ~ Normal(0, 1)\nlatent c ~ Normal(0, 1)\n\
               observe y ~ Normal(b[g, h] + s[g] * x + c * x * z, 1)\n";
    let by_hand = support::csv(
        "ap,bp,aq,bq,ax,bx,xz,y\n1,0,0,0,1,0,2,0.5\n0,0,0,1,0,3,-3,1\n0,0,1,0,0.5,0,2,2\n0,1,0,0,0,-2,-2,1\n",
    );
    let two = "data d { ap, bp, aq, bq, ax, bx, xz, y: real }\nlatent b1, b2, b3, b4, s1, s2, c ~ Normal(0, 1)\n\
               observe y ~ Normal(b1 * ap + b2 * bp + b3 * aq + b4 * bq + s1 * ax + s2 * bx + c * xz, 1)\n";
    same((one, &csv), (two, &by_hand), &["b[a, p]", "b[b, p]", "b[a, q]", "b[b, q]", "s[a]", "s[b]", "c"]);
}

/// Polynomials of a standardised column, by a numbered plate and by a labelled list.
#[test]
fn polynomials_and_lists() {
    let csv = support::csv("x,g,y\n1,0,0.5\n2,1,1\n4,1,2\n9,0,1\n");
    let z = "data d { x: real, g: bool, y: real }\nlet z = (x - mean(x)) / sd(x)\n";
    let powers = format!(
        "{z}plate power = 3\nlatent b[power] ~ Normal(0, 1)\nobserve y ~ Normal(sum(b * z^k over k in power), 1)\n"
    )
    .replace("sum(b * z^k", "sum(b[k] * z^k");
    let list = format!(
        "{z}let X[term] = [linear: z, square: z^2, cube: z^3]\nlatent b[term] ~ Normal(0, 1)\n\
         observe y ~ Normal(sum(X * b over term), 1)\n"
    );
    let plain = format!("{z}latent b1, b2, b3 ~ Normal(0, 1)\nobserve y ~ Normal(b1 * z + b2 * z^2 + b3 * z^3, 1)\n");
    same((&powers, &csv), (&plain, &csv), &["b[1]", "b[2]", "b[3]"]);
    same((&list, &csv), (&plain, &csv), &["b[linear]", "b[square]", "b[cube]"]);
    // Columns of several types in one list, and a product among them.
    let mixed = format!(
        "{z}let X[term] = [z: z, g: g, both: z * g]\nlatent b[term] ~ Normal(0, 1)\nobserve y ~ Normal(sum(X * b over term), 1)\n"
    );
    let plain = format!("{z}latent b1, b2, b3 ~ Normal(0, 1)\nobserve y ~ Normal(b1 * z + b2 * g + b3 * z * g, 1)\n");
    same((&mixed, &csv), (&plain, &csv), &["b[z]", "b[g]", "b[both]"]);
}

/// Wide columns by pattern and by range, and two vectors that share a plate, matched by label and not by place.
#[test]
fn wide_columns() {
    let csv = support::csv("id,px1,y,px2,err.2,err.1,px3,err.3\n1,1,9,2,20,10,3,30\n2,4,8,5,50,40,6,60\n");
    let one = "data d { y: real, x: real[pixel] from \"px*\", e: real[pixel] from \"err.*\" }\nlatent b[pixel] ~ Normal(0, 1)\n\
               observe y ~ Normal(sum(x * b over pixel), 1)\nobserve x ~ Normal(b, e)\n";
    let two = "data d { y, px1, px2, px3, e1, e2, e3: real }\nlatent b1, b2, b3 ~ Normal(0, 1)\n\
               observe y ~ Normal(px1 * b1 + px2 * b2 + px3 * b3, 1)\nobserve px1 ~ Normal(b1, e1)\n\
               observe px2 ~ Normal(b2, e2)\nobserve px3 ~ Normal(b3, e3)\n";
    let by_hand = support::csv("px1,y,px2,e2,e1,px3,e3\n1,9,2,20,10,3,30\n4,8,5,50,40,6,60\n");
    same((one, &csv), (two, &by_hand), &["b[1]", "b[2]", "b[3]"]);
}

/// A square matrix in a CSV file: a row and a column for each site, in any order.
#[test]
fn matrices_from_csv() {
    let model = "data sites { name: key, y: real, far: real[sites] from \"to_*\" }\nlatent s ~ HalfNormal(1)\n\
                 let K[i in sites, j in sites] = s * exp(-far[i, j]) + (if i == j then 0.1 else 0)\n\
                 observe y over sites ~ MvNormal(0, cov: K)\n";
    let csv = support::csv("name,y,to_B,to_A,to_C\nA,1,0.5,0,2\nB,-1,0,0.5,1.5\nC,0.5,1.5,2,0\n");
    let compiled = support::compile(model, &csv);
    let u = -0.3_f64;
    let s = u.exp();
    // By hand: the density of a normal in three dimensions.
    let d = [[0.0, 0.5, 2.0], [0.5, 0.0, 1.5], [2.0, 1.5, 0.0]];
    let k = |i: usize, j: usize| s * f64::exp(-d[i][j]) + if i == j { 0.1 } else { 0.0 };
    let det = k(0, 0) * (k(1, 1) * k(2, 2) - k(1, 2) * k(2, 1)) - k(0, 1) * (k(1, 0) * k(2, 2) - k(1, 2) * k(2, 0))
        + k(0, 2) * (k(1, 0) * k(2, 1) - k(1, 1) * k(2, 0));
    let y = [1.0, -1.0, 0.5];
    let minor = |i: usize, j: usize| {
        let (a, b) = ((i + 1) % 3, (i + 2) % 3);
        let (c, e) = ((j + 1) % 3, (j + 2) % 3);
        k(a, c) * k(b, e) - k(a, e) * k(b, c)
    };
    let quadratic: f64 =
        (0..3).flat_map(|i| (0..3).map(move |j| (i, j))).map(|(i, j)| y[i] * minor(i, j) * y[j]).sum::<f64>() / det;
    let log_2pi = (2.0 * std::f64::consts::PI).ln();
    let want = -0.5 * (quadratic + det.ln() + 3.0 * log_2pi) + (2.0 / (2.0 * std::f64::consts::PI).sqrt()).ln()
        - 0.5 * s * s
        + u;
    let got = value(&compiled, &[u]);
    assert!((got - want).abs() < 1e-10 * want.abs(), "{got} {want}");
}
