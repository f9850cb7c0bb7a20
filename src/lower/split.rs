//! Split terms into their addends: what does not vary over all of a term's loops is added once, times how often it
//! occurs, and what depends on data only is a number.

use crate::lower::expr::{Arena, E, Expr, is_subset};
use crate::lower::graph::{BinOp, BufId, LoopId, UnOp};
use crate::lower::kernel::{Kernel, Root};
use crate::lower::storage::scalar;

/// Expects terms to have one root. The sum of all constants comes as one kernel without loops.
pub(crate) fn split(arena: &mut Arena, kernels: Vec<Kernel>, log_joint: BufId) -> Vec<Kernel> {
    let mut constant = 0.0;
    let mut out = vec![];
    for kernel in kernels {
        if kernel.roots[0].buf != log_joint {
            out.push(kernel);
            continue;
        }
        let mut addends = vec![];
        flatten(arena, kernel.roots[0].value, 1.0, &mut addends);
        let mut parts: Vec<(Vec<LoopId>, E)> = vec![];
        for (e, by) in addends {
            if !arena.active(e) {
                constant += by * arena.total(e, &kernel.loops);
                continue;
            }
            let own = arena.free(e).to_vec();
            let repeats = kernel.loops.iter().filter(|l| !own.contains(l)).map(|&l| arena.size(l)).product::<usize>();
            let e = arena.scale(e, by * repeats as f64);
            match parts.iter_mut().find(|p| p.0 == own) {
                Some(part) => part.1 = arena.add(part.1, e),
                None => parts.push((own, e)),
            }
        }
        for (loops, value) in parts {
            debug_assert!(is_subset(&loops, &kernel.loops));
            out.push(Kernel { loops, roots: vec![Root::accum(log_joint, scalar(), value)], ..kernel.clone() });
        }
    }
    if constant != 0.0 {
        let value = arena.number(constant);
        let roots = vec![Root::accum(log_joint, scalar(), value)];
        out.push(Kernel { name: "constants".into(), span: None, loops: vec![], roots });
    }
    out
}

fn flatten(arena: &Arena, e: E, by: f64, out: &mut Vec<(E, f64)>) {
    match *arena.get(e) {
        Expr::Binary(BinOp::Add, a, b) => {
            flatten(arena, a, by, out);
            flatten(arena, b, by, out);
        }
        Expr::Binary(BinOp::Sub, a, b) => {
            flatten(arena, a, by, out);
            flatten(arena, b, -by, out);
        }
        Expr::Binary(BinOp::Mul, a, c) if arena.as_const(c).is_some() => {
            flatten(arena, a, by * arena.as_const(c).unwrap_or(1.0), out);
        }
        Expr::Unary(UnOp::Neg, a) => flatten(arena, a, -by, out),
        _ => out.push((e, by)),
    }
}
