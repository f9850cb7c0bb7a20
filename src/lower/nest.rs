//! Settle how inner loops nest: the cheapest order for effects inside several, and no loop inside itself.

use std::collections::{HashMap, HashSet};

use crate::lower::expr::{Arena, E, Expr, is_subset};
use crate::lower::graph::{Addr, AddrTerm, BinOp, LoopId};
use crate::lower::kernel::Kernel;

/// Afterwards every expression can be evaluated where `schedule` puts it: no reduction is over a loop that is open there.
pub(crate) fn nest(arena: &mut Arena, kernel: &mut Kernel) {
    for root in &mut kernel.roots {
        if root.inner.len() > 1 {
            let value = root.value;
            root.inner = orders(&root.inner)
                .into_iter()
                .min_by(|a, b| {
                    let cost = |inner: &[LoopId]| Visit::new(arena, &kernel.loops).root(value, inner).work;
                    cost(a).total_cmp(&cost(b))
                })
                .expect("there is at least one order");
        }
    }
    for root in &mut kernel.roots {
        if let Some(&over) = root.inner.last() {
            root.value = arena.separated(root.value, over);
        }
    }
    // Each round renames the loops of the outermost clashes; what is bound inside them may clash in the next.
    for round in 0.. {
        let mut clashes = HashSet::new();
        for root in &kernel.roots {
            clashes.extend(Visit::new(arena, &kernel.loops).root(root.value, &root.inner).clashes);
        }
        if clashes.is_empty() {
            return;
        }
        let mut fresh: HashMap<LoopId, LoopId> = HashMap::new();
        kernel.rewrite(arena, |arena, e| {
            let Expr::Reduce(op, over, body) = *arena.get(e) else { return None };
            if !clashes.contains(&e) {
                return None;
            }
            let other = *fresh.entry(over).or_insert_with(|| {
                let info = arena.loops[over.0 as usize].clone();
                arena.new_loop(info.size, format!("{}{}", info.name, "'".repeat(round + 1)))
            });
            let body = renamed(arena, body, over, other);
            Some(arena.reduce(op, other, body))
        });
    }
}

fn orders(loops: &[LoopId]) -> Vec<Vec<LoopId>> {
    // Beyond three, only which loop is outermost is tried.
    if loops.len() > 3 {
        return (0..loops.len()).map(|i| [&loops[i..], &loops[..i]].concat()).collect();
    }
    match loops {
        [] => vec![vec![]],
        _ => {
            let each = loops.iter().flat_map(|&first| {
                let rest: Vec<LoopId> = loops.iter().copied().filter(|&l| l != first).collect();
                orders(&rest).into_iter().map(move |rest| [vec![first], rest].concat())
            });
            each.collect()
        }
    }
}

/// A walk over expressions as they will be scheduled.
struct Visit<'a> {
    arena: &'a Arena,
    region: &'a [LoopId],
    seen: HashSet<(E, Vec<LoopId>)>,
    /// Evaluations times their cost, per lane and outer cell.
    work: f64,
    /// Reductions over a loop that is open around them.
    clashes: HashSet<E>,
}

impl<'a> Visit<'a> {
    fn new(arena: &'a Arena, region: &'a [LoopId]) -> Visit<'a> {
        Visit { arena, region, seen: HashSet::new(), work: 0.0, clashes: HashSet::new() }
    }

    fn root(mut self, value: E, inner: &[LoopId]) -> Visit<'a> {
        let open: Vec<LoopId> = self.region.iter().chain(inner).copied().collect();
        self.visit(value, &open);
        self
    }

    fn visit(&mut self, e: E, open: &[LoopId]) {
        // It stands in the outermost scope that has its loops.
        let mut open = open;
        while open.len() > self.region.len() && is_subset(self.arena.free(e), &open[..open.len() - 1]) {
            open = &open[..open.len() - 1];
        }
        if !self.seen.insert((e, open.to_vec())) {
            return;
        }
        let times: f64 = open[self.region.len()..].iter().map(|&l| self.arena.size(l) as f64).product();
        if let Expr::Reduce(_, over, body) = *self.arena.get(e) {
            if open.contains(&over) {
                self.clashes.insert(e);
                self.work += times * f64::from(self.arena.cost(e));
                return;
            }
            let inside: Vec<LoopId> = open.iter().copied().chain([over]).collect();
            self.visit(body, &inside);
            return;
        }
        self.work += times;
        let mut operands = vec![];
        self.arena.each_operand(e, |x| operands.push(x));
        for x in operands {
            self.visit(x, open);
        }
    }
}

/// The same expression over another loop of the same size.
fn renamed(arena: &mut Arena, e: E, from: LoopId, to: LoopId) -> E {
    let mut memo = HashMap::new();
    arena.rewrite(e, &mut memo, &mut |arena, x| {
        if !arena.varies(x, from) {
            return Some(x);
        }
        match arena.get(x).clone() {
            Expr::Load(buf, addr) => {
                let addr = renamed_address(&addr, from, to);
                Some(arena.load(buf, addr))
            }
            Expr::Counter(_) => Some(arena.counter(to)),
            _ => None,
        }
    })
}

fn renamed_address(addr: &Addr, from: LoopId, to: LoopId) -> Addr {
    let terms = addr.terms.iter().map(|(term, stride)| {
        let term = match term {
            AddrTerm::Loop(l) if *l == from => AddrTerm::Loop(to),
            AddrTerm::Loop(l) => AddrTerm::Loop(*l),
            AddrTerm::Gather(index, inner) => AddrTerm::Gather(*index, Box::new(renamed_address(inner, from, to))),
        };
        (term, *stride)
    });
    Addr { offset: addr.offset, terms: terms.collect() }
}

impl Arena {
    /// The same product with what does not vary in `over` as its one first factor.
    fn separated(&mut self, e: E, over: LoopId) -> E {
        let (mut factors, mut sign) = (vec![], 1.0);
        self.factors(e, &mut factors, &mut sign);
        let (mut outside, mut inside) = (self.number(sign), self.number(1.0));
        for f in factors {
            if self.varies(f, over) {
                inside = self.mul(inside, f);
            } else {
                outside = self.mul(outside, f);
            }
        }
        if self.is_number(outside, 1.0) || self.is_number(inside, 1.0) {
            return self.mul(outside, inside);
        }
        self.intern(Expr::Binary(BinOp::Mul, outside, inside))
    }
}
