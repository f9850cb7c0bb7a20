//! From the log joint to loop nests over buffers, and the rewrites on them.
//!
//! ```text
//! Joint, Bound ─ resolve ─► kernels ─ split, settle, hoist, fuse ─► forward ─ gradient ─► + backward ─ schedule ─► Graph
//! ```

mod contract;
mod derivative;
pub(crate) mod expr;
mod fuse;
mod grad;
pub mod graph;
mod hoist;
mod index;
mod interactions;
mod kernel;
mod matrix;
mod mentions;
mod nest;
mod ode;
mod print;
mod product;
mod prune;
mod redraw;
mod resolve;
pub(crate) mod schedule;
mod settle;
mod simplify;
mod split;
mod steps;
mod storage;
mod tangent;
#[cfg(test)]
mod tests;
mod verify;
mod walk;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::data::Bound;
use crate::derive::joint::{Eliminated, Joint, NodeId};
use crate::derive::{MOST_ENTRIES, MOST_STORED};
use crate::diag::Diags;
use crate::hir::{AxisId, Hir, PlateId, VarId};
use expr::{Arena, E, Expr};
use graph::{BufId, BufKind, Graph, Region};
use kernel::Kernel;
use storage::Storage;

pub use interactions::interactions;
pub use mentions::{Mention, mentions};
pub use prune::reporting;
pub use redraw::redrawing;
pub(crate) use settle::Folding;
pub use steps::may_jump;
use storage::plate_cells;
pub use storage::plate_size;
pub use storage::{Feed, Layout, Place};
pub use tangent::{Product, Recipe};
pub use verify::{verify, verify_region};

/// The graph of a model on its data, and where it keeps what has a name; `None` after diagnostics, for labels and indices that the data do not have.
pub fn lower(hir: &Hir, joint: &Joint, bound: &Bound, diags: &mut Diags) -> Option<(Graph, Layout)> {
    lower_fed(hir, joint, bound, &[], diags)
}

/// The same where some data change from run to run: those that the layout's feeds name. `bound` holds values that fit.
pub fn lower_fed(hir: &Hir, joint: &Joint, bound: &Bound, fed: &[VarId], diags: &mut Diags) -> Option<(Graph, Layout)> {
    let mut found = Diags::default();
    too_many_values(hir, joint, bound, diags)?;
    let mut owned = Arena::default();
    let arena = &mut owned;
    let mut storage = Storage::new(hir, joint, bound, fed, arena);
    let (theta, dim) = (storage.theta, storage.dim);
    let log_joint = arena.buffer("log joint", 1, BufKind::Scratch { zeroed: true }, true);
    let grad = arena.buffer("gradient", dim, BufKind::Scratch { zeroed: true }, true);
    let resolved = resolve::resolve(hir, joint, bound, arena, &mut storage, log_joint, &mut found);
    let failed = found.has_errors();
    found.list.into_iter().for_each(|d| diags.push(d));
    if failed {
        return None;
    }
    let (terms, definitions): (Vec<_>, Vec<_>) =
        resolved.kernels.iter().cloned().partition(|k| k.written().any(|b| b == log_joint));
    let defined: HashSet<BufId> = definitions.iter().flat_map(|k| k.written()).collect();
    let trace = unfused(arena, resolved.kernels);
    let report = program(arena, definitions.clone(), &HashMap::new(), |buf| defined.contains(&buf));
    let mut split = split::split(arena, [definitions, terms].concat(), log_joint);
    split.sums.insert(log_joint, arena.number(1.0));
    let factors = split.factors(arena);
    let forward = program(arena, split.kernels, &split.sums, |buf| buf == log_joint || factors.contains(&buf));
    let mut gradient = grad::gradient(arena, &forward, &split.sums, theta, grad);
    fuse::store_single_sums(arena, &mut gradient, |buf| {
        buf == grad || forward.iter().any(|k| k.roots.iter().any(|r| r.buf == buf))
    });
    let value = fuse::drop_dead(arena, forward, |buf| buf == log_joint);
    let differentiated = gradient.clone();
    let gradient = program(arena, gradient, &HashMap::new(), |buf| buf == log_joint || buf == grad);
    let [value, gradient, report] = [value, gradient, report].map(|p| {
        let kernels = product::products(arena, p);
        regions(arena, kernels)
    });
    let mut graph = Graph {
        value,
        gradient,
        report,
        trace: regions(arena, trace),
        log_joint: Some(log_joint),
        theta: Some(theta),
        grad: Some(grad),
        dim,
        kept: resolved.kept,
        buffers: arena.buffers.clone(),
        ..Graph::default()
    };
    let mut layout = storage.finish();
    let sums = split.sums.into_keys().collect();
    graph.second = Recipe::new(owned, differentiated, sums, theta, grad, dim).map(Arc::new);
    prune::prune(&mut graph, &mut layout);
    debug_assert_eq!(verify(&graph), Ok(()));
    Some((graph, layout))
}

/// Expressions that depend on data only, each over its axes, the first contiguous.
pub fn evaluate(hir: &Hir, joint: &Joint, bound: &Bound, wanted: &[(NodeId, &[AxisId])]) -> Vec<Vec<f64>> {
    let arena = &mut Arena::default();
    let mut storage = Storage::new(hir, joint, bound, &[], arena);
    resolve::evaluate(hir, joint, bound, arena, &mut storage, wanted)
}

/// How many cells plates have in these data.
pub fn known_size(bound: &Bound) -> impl Fn(&Hir, PlateId) -> Option<f64> {
    |hir, plate| Some(plate_cells(hir, bound, plate))
}

/// Discrete latents are summed out by tables over their values, one per cell of their plates.
fn too_many_values(hir: &Hir, joint: &Joint, bound: &Bound, diags: &mut Diags) -> Option<()> {
    let entries = |e: &Eliminated| e.tables.iter().map(|p| storage::plate_cells(hir, bound, *p)).product::<f64>();
    let cells =
        |e: &Eliminated| -> f64 { e.axes.iter().map(|a| plate_cells(hir, bound, hir.axis(*a).plate)).product() };
    // What others depend on is stored, and so are the states of chains.
    let stored = |e: &Eliminated| if e.given.is_empty() && !e.chain { 0.0 } else { entries(e) * cells(e) };
    let too_large = |e: &&Eliminated| entries(e) > MOST_ENTRIES || stored(e) > MOST_STORED;
    match joint.eliminated.iter().filter(too_large).max_by(|a, b| entries(a).total_cmp(&entries(b))) {
        None => Some(()),
        Some(e) => {
            diags.push(crate::derive::too_many_values(e, entries(e), cells(e)));
            None
        }
    }
}

/// Kernels that fill the `wanted` buffers: data parts evaluated, invariants stored, loops shared, in running order.
fn program(
    arena: &mut Arena,
    kernels: Vec<Kernel>,
    sums: &HashMap<BufId, E>,
    wanted: impl Fn(BufId) -> bool,
) -> Vec<Kernel> {
    let mut kernels = fuse::drop_dead(arena, kernels, &wanted);
    for kernel in &mut kernels {
        for root in &mut kernel.roots {
            root.value = arena.settle(root.value);
        }
    }
    let kernels = hoist::hoist(arena, kernels);
    let kernels = fuse::fuse(arena, kernels, sums);
    fuse::drop_dead(arena, kernels, &wanted)
}

/// Kernels as declared, in their order: only sums over data are evaluated, and only what is repeated is stored.
fn unfused(arena: &mut Arena, mut kernels: Vec<Kernel>) -> Vec<Kernel> {
    kernels.retain(|k| arena.cells(&k.loops) > 0);
    for kernel in &mut kernels {
        kernel.rewrite(arena, |arena, e| {
            let known = matches!(arena.get(e), Expr::Reduce(..)) && !arena.active(e);
            known.then(|| arena.settle(e))
        });
    }
    hoist::hoist(arena, kernels)
}

fn regions(arena: &mut Arena, mut kernels: Vec<Kernel>) -> Vec<Region> {
    let mut region = |kernel: &mut Kernel| {
        nest::nest(arena, kernel);
        schedule::schedule(arena, kernel)
    };
    kernels.iter_mut().map(&mut region).collect()
}
