//! Products with the Hessian from compiled programs: as differences of the gradient, symmetric, and the interpreter's.

use vic::driver::Compiled;
use vic::infer::{Pattern, Target};
use vic::run::interp::Interp;

use crate::support;

/// Products at `theta` against central differences of the gradient to 1e-6 of their largest entry (more where two steps of
/// the difference differ), symmetry to 1e-10, kernel and interpreter to 1e-10.
pub fn check(compiled: &Compiled, theta: &[f64], what: &str) {
    let model = &compiled.model;
    let dim = theta.len();
    let mut evaluator = model.evaluator();
    let direction = |s: f64| -> Vec<f64> { (0..dim).map(|i| (7.31 * (i + 1) as f64 + s).sin()).collect() };
    let (u, v) = (direction(0.4), direction(2.9));
    let (mut hu, mut hv, mut other) = (vec![0.0; dim], vec![0.0; dim], vec![0.0; dim]);
    if !evaluator.hessian_times(theta, &u, &mut hu) {
        assert!(!model.has_products(), "{what}");
        return;
    }
    evaluator.hessian_times(theta, &v, &mut hv);
    assert!(hv.iter().all(|h| h.is_finite()), "{what} at {theta:?}: {hv:?}");
    let size = hv.iter().fold(1.0, |m: f64, h| m.max(h.abs()));

    let product = model.graph().second.as_ref().expect("there are products").product();
    Interp::new(&product.graph).product(&product, theta, &v, &mut other);
    for (i, (got, want)) in hv.iter().zip(&other).enumerate() {
        let name = &model.names()[i];
        assert!((got - want).abs() <= 1e-10 * size, "{what}, {name}: {got} by the kernel, {want} by the interpreter");
    }

    let mut by_differences = |h: f64| -> Vec<f64> {
        let mut at = |step: f64| {
            let moved: Vec<f64> = theta.iter().zip(&v).map(|(t, v)| t + step * v).collect();
            let mut g = vec![0.0; dim];
            evaluator.value_grad(&moved, &mut g);
            g
        };
        let g = [at(h), at(-h), at(2.0 * h), at(-2.0 * h)];
        (0..dim).map(|i| (8.0 * (g[0][i] - g[1][i]) - (g[2][i] - g[3][i])) / (12.0 * h)).collect()
    };
    let (fine, coarse) = (by_differences(2e-4), by_differences(4e-4));
    for i in 0..dim {
        let (error, doubt) = ((hv[i] - fine[i]).abs(), (fine[i] - coarse[i]).abs());
        let name = &model.names()[i];
        assert!(error <= 1e-6 * size + 10.0 * doubt, "{what}, {name}: {} is not {} by differences", hv[i], fine[i]);
    }
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let scale: f64 = 1.0 + u.iter().zip(&hv).map(|(u, h)| (u * h).abs()).sum::<f64>();
    let (uhv, vhu) = (dot(&u, &hv), dot(&v, &hu));
    assert!((uhv - vhu).abs() <= 1e-10 * scale, "{what}: {uhv} is not {vhu}");
}

/// Every example and every public model with data in the repository. An ode has no products: differences stand in.
#[test]
fn of_the_public_models() {
    let names = [
        "blr",
        "eight_schools",
        "glmm",
        "kidscore",
        "nes_logit",
        "poisson_glm",
        "radon",
        "wells",
        "arK-arK",
        "dogs-dogs",
        "earnings-logearn_interaction",
        "eight_schools-eight_schools_centered",
        "garch-garch11",
        "gp_pois_regr-gp_pois_regr",
        "hmm_example-hmm_example",
        "kilpisjarvi_mod-kilpisjarvi",
        "low_dim_gauss_mix-low_dim_gauss_mix",
        "mesquite-logmesquite",
        "nes1996-nes",
        "radon_all-radon_hierarchical_intercept_centered",
        "rats_data-rats_model",
    ];
    for name in names {
        let (model, inputs) = support::example(name);
        let compiled = support::compile(&model, &inputs);
        assert!(compiled.model.has_products(), "{name}");
        let start = compiled.model.start();
        let theta: Vec<f64> =
            start.iter().zip(support::theta(compiled.model.dim())).map(|(s, t)| s + 0.3 * t).collect();
        check(&compiled, &theta, name);
    }
    let (model, inputs) = support::example("hudson_lynx_hare-lotka_volterra");
    assert!(!support::compile(&model, &inputs).model.has_products());
}

/// How many products give the whole Hessian of a model: for hierarchies the globals and the latents of one cell.
#[test]
fn plates_are_coloured_apart() {
    // Twenty counts' effects beside seven globals; 85 counties beside five (and by twos with the sd that they share).
    for (name, most) in [("eight_schools", 3), ("glmm", 5), ("radon", 6), ("rats_data-rats_model", 8)] {
        let (model, inputs) = support::example(name);
        let compiled = support::compile(&model, &inputs);
        let dim = compiled.model.dim();
        let pattern = Pattern::new(compiled.model.interactions().expect("small"));
        assert!(pattern.products() <= most, "{name}: {} products for {dim} latents", pattern.products());

        let mut evaluator = compiled.model.evaluator();
        let theta: Vec<f64> = support::theta(dim).iter().map(|t| 0.3 * t).collect();
        let mut product = |direction: &[f64]| {
            let mut out = vec![0.0; dim];
            assert!(evaluator.hessian_times(&theta, direction, &mut out));
            out
        };
        let mut direction = vec![0.0; dim];
        let columns: Vec<Vec<f64>> = (0..dim)
            .map(|i| {
                direction.fill(0.0);
                direction[i] = 1.0;
                product(&direction)
            })
            .collect();
        let products: Vec<Vec<f64>> = (0..pattern.products())
            .map(|c| {
                pattern.direction(c, &vec![1.0; dim], &mut direction);
                product(&direction)
            })
            .collect();
        let mut dense = vec![0.0; dim * dim];
        for e in pattern.entries() {
            let (i, j) = (e.row as usize, e.column as usize);
            dense[i * dim + j] = products[e.product as usize][e.at as usize];
            dense[j * dim + i] = dense[i * dim + j];
        }
        let size = columns.iter().flatten().fold(1.0, |m: f64, h| m.max(h.abs()));
        for (i, column) in columns.iter().enumerate() {
            for (j, want) in column.iter().enumerate() {
                let got = dense[i * dim + j];
                assert!((got - want).abs() < 1e-12 * size, "{name}, {i}, {j}: {got} is not {want}");
            }
        }
    }
}
