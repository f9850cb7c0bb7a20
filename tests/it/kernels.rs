//! The compiled kernels of every example against the interpreter, and what they allocate.

use vic::driver::Compiled;
use vic::infer::Target;
use vic::run::interp::Interp;

use crate::support;

const EXAMPLES: [&str; 11] = [
    "eight_schools",
    "kidscore",
    "wells",
    "nes_logit",
    "radon",
    "poisson_glm",
    "blr",
    "glmm",
    "volatility",
    "garch-garch11",
    "dogs-dogs",
];

/// Numbers without pattern in (-1, 1).
fn theta(dim: usize, round: u64) -> Vec<f64> {
    let mut s = round.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        s = s.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (s >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    (0..dim).map(next).collect()
}

/// Tolerance: sums over lanes are taken in another order, and the vector functions differ in the last places.
#[test]
fn kernels_agree_with_the_interpreter() {
    for name in EXAMPLES {
        let (text, inputs) = support::example(name);
        let Compiled { model, layout, .. } = support::compile(&text, &inputs);
        assert!(model.kernels().is_ok(), "{name} has kernels");
        let graph = model.graph();
        let (mut kernels, mut interp) = (model.evaluator(), Interp::new(graph));
        let mut reporter = model.reporter();
        let (mut got, mut want) = (vec![0.0; model.dim()], vec![0.0; model.dim()]);
        for round in 1..4 {
            let theta = theta(model.dim(), round);
            let close = |got: f64, want: f64, what: &str| {
                let off = (got - want).abs() / (1.0 + want.abs());
                assert!(off < 1e-12, "{name}: {what} is {got} by the kernel, {want} by the interpreter");
            };
            close(kernels.value(&theta), interp.value(&theta), "the log joint");
            let (a, b) = (kernels.value_grad(&theta, &mut got), interp.value_grad(&theta, &mut want));
            close(a, b, "the log joint with its gradient");
            let size = want.iter().fold(0.0f64, |m, g| m.max(g.abs()));
            for (i, (got, want)) in got.iter().zip(&want).enumerate() {
                close(got / size, want / size, &format!("the gradient by {}", model.names()[i]));
            }
            reporter.run(&theta);
            interp.report(&theta);
            for place in layout.places.iter().flatten() {
                for (got, want) in reporter.buffer(place.buf).iter().zip(interp.buffer(place.buf)) {
                    close(*got, *want, &place.name);
                }
            }
        }
    }
}
