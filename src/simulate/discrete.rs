//! Discrete latents drawn given all others, exactly: from the tables that a fit sums out, backwards.

use std::collections::HashMap;

use crate::data::Bound;
use crate::derive::{self, Purpose};
use crate::diag::Diags;
use crate::hir::{Hir, Ty, VarId};
use crate::infer::{Stream, Target};
use crate::lower;
use crate::run::Model;

/// Draw the discrete latents of a model `draws` times, each time from their distribution given the data and the other
/// latents and params, whose cells `given` says by draw and variable. `each` takes the draw's number and the drawn
/// numbers: positions for an index, 0 and 1 for a bool, the count itself for an int; not a number where the given values
/// are impossible. Expects a program and data that can be fitted.
///
/// The log joint has a probe per value, along which its derivative is 1 for the value that was drawn (see [`Purpose`]).
pub fn draw_discrete(
    hir: &Hir,
    bound: &Bound,
    seed: u64,
    draws: usize,
    given: &mut dyn FnMut(usize, VarId) -> Vec<f64>,
    each: &mut dyn FnMut(usize, HashMap<VarId, Vec<f64>>),
) {
    if hir.discrete.is_empty() {
        return (0..draws).for_each(|d| each(d, HashMap::new()));
    }
    let mut whole = hir.clone();
    let joint = derive::joint_for(&mut whole, Purpose::Drawn, &lower::known_size(bound));
    let lowered = lower::lower(&whole, &joint, bound, &mut Diags::default());
    let (graph, layout) = lowered.expect("a model that can be fitted can be lowered");
    let inputs: Vec<(VarId, usize)> =
        joint.unconstrained.iter().map(|u| (u.var, layout.place(u.slot).map_or(0, |p| p.len()))).collect();
    let latents: Vec<(VarId, Vec<f64>)> = hir.discrete.iter().map(|d| (d.var, numbers(hir, bound, d.var))).collect();
    // The others come first, then the probes, then noise.
    let known = inputs.iter().take_while(|i| hir.discrete(i.0).is_none()).count();
    let probes: usize = inputs[known..known + latents.len()].iter().map(|i| i.1).sum();
    let first: usize = inputs[..known].iter().map(|i| i.1).sum();
    let model = Model::new(graph, layout.theta_names(bound), layout.points(), layout.start().to_vec());
    let mut evaluator = model.evaluator();
    let mut theta = vec![0.0; model.dim()];
    let mut gradient = theta.clone();
    for d in 0..draws {
        let mut at = 0;
        for (var, cells) in &inputs[..known] {
            theta[at..at + cells].copy_from_slice(&given(d, *var));
            at += cells;
        }
        let mut stream = Stream::new(seed, "discrete latents", &d.to_string());
        theta[first + probes..].iter_mut().for_each(|x| *x = -(-stream.uniform().ln()).ln());
        let value = evaluator.value_grad(&theta, &mut gradient);
        let mut drawn = HashMap::new();
        let mut at = first;
        for ((var, numbers), (_, cells)) in latents.iter().zip(&inputs[known..]) {
            let marks = &gradient[at..at + cells];
            at += cells;
            let rows = cells / numbers.len().max(1);
            let one = |c: usize| {
                let chosen = (0..numbers.len()).find(|v| marks[c + rows * v] > 0.5);
                chosen.filter(|_| value.is_finite()).map_or(f64::NAN, |v| numbers[v])
            };
            drawn.insert(*var, (0..rows).map(one).collect());
        }
        each(d, drawn);
    }
}

/// The number that each value of a discrete latent is.
fn numbers(hir: &Hir, bound: &Bound, var: VarId) -> Vec<f64> {
    let plate = hir.discrete(var).expect("asked of discrete latents only").plate;
    let labels = &bound.plate(plate).labels;
    match hir.var(var).ty {
        // Its plate is a range, labelled by its numbers.
        Ty::Int => labels.iter().map(|l| l.parse().unwrap_or(f64::NAN)).collect(),
        Ty::Real | Ty::Bool | Ty::Index(_) | Ty::Key | Ty::Date => (0..labels.len()).map(|i| i as f64).collect(),
    }
}
