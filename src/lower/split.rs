//! Split terms into their addends: what does not vary over all of a term's loops is added once, times how often it
//! occurs; what depends on data only is a number; and a factor common to all lanes is multiplied once, after the sum.

use std::collections::{HashMap, HashSet};

use crate::lower::expr::{Arena, E, Expr};
use crate::lower::graph::{BinOp, BufId, LoopId, UnOp};
use crate::lower::kernel::{Kernel, Root};
use crate::lower::storage::scalar;

/// Below this many cells a common factor is not worth a buffer.
const WORTH_FACTORING: usize = 32;

/// The terms in parts.
pub(crate) struct Split {
    pub kernels: Vec<Kernel>,
    /// Partial sums of the log joint, with the factor that each enters it by: what differentiates them, known before
    /// they are summed.
    pub sums: HashMap<BufId, E>,
}

/// Expects terms to have one root. The sum of all constants comes as one kernel without loops.
pub(crate) fn split(arena: &mut Arena, kernels: Vec<Kernel>, log_joint: BufId) -> Split {
    let mut split = Split { kernels: vec![], sums: HashMap::new() };
    let mut constant = 0.0;
    for kernel in kernels {
        if kernel.written().all(|b| b != log_joint) {
            split.kernels.push(kernel);
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
            split.part(arena, &kernel, loops, value, log_joint);
        }
    }
    if constant != 0.0 {
        let value = arena.number(constant);
        let roots = vec![Root::accum(log_joint, scalar(), value)];
        split.kernels.push(Kernel {
            name: "constants".into(),
            span: None,
            loops: vec![],
            walk: None,
            roots,
            call: None,
        });
    }
    split
}

impl Split {
    /// The buffers that hold the factors of the sums.
    pub fn factors(&self, arena: &Arena) -> HashSet<BufId> {
        let buffer = |&e: &E| match arena.get(e) {
            Expr::Load(buf, _) => Some(*buf),
            _ => None,
        };
        self.sums.values().filter_map(buffer).collect()
    }

    /// `log joint += Σ value`, as `factor · Σ rest` where a factor does not vary with the longest loop.
    fn part(&mut self, arena: &mut Arena, term: &Kernel, loops: Vec<LoopId>, value: E, log_joint: BufId) {
        let lane = loops.iter().copied().max_by_key(|&l| arena.size(l));
        let (mut factors, mut sign) = (vec![], 1.0);
        if arena.cells(&loops) >= WORTH_FACTORING {
            arena.factors(value, &mut factors, &mut sign);
        }
        let common = |arena: &Arena, f: E| lane.is_some_and(|l| !arena.varies(f, l));
        if !factors.iter().any(|&f| common(arena, f) && arena.active(f)) {
            self.kernels.push(Kernel { loops, roots: vec![Root::accum(log_joint, scalar(), value)], ..term.clone() });
            return;
        }
        let (mut factor, mut rest) = (arena.number(sign), arena.number(1.0));
        for f in factors {
            match common(arena, f) {
                true => factor = arena.mul(factor, f),
                false => rest = arena.mul(rest, f),
            }
        }
        let outer = arena.free(factor).to_vec();
        let (stored, addr) = arena.scratch(format!("factor of {}", term.name), &outer, false);
        let (sum, _) = arena.scratch(format!("sum of {}", term.name), &outer, true);
        let factor_read = arena.load(stored, addr.clone());
        let sum_read = arena.load(sum, addr.clone());
        // What the sum owes to theta is added as it is summed.
        let sum_read = arena.detach(sum_read);
        let total = arena.mul(factor_read, sum_read);
        let mut push = |loops: &[LoopId], root: Root| {
            self.kernels.push(Kernel { loops: loops.to_vec(), roots: vec![root], ..term.clone() });
        };
        push(&outer, Root::store(stored, addr.clone(), factor));
        push(&loops, Root::accum(sum, addr, rest));
        push(&outer, Root::accum(log_joint, scalar(), total));
        self.sums.insert(sum, factor_read);
    }
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
