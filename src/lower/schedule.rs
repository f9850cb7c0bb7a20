//! Order a kernel's expressions into the statements of a region: each at the outermost loop that it needs, once.
//!
//! Reductions over one loop that do not wait for each other share it. Sums that are matrix products become
//! contractions, and a product that is only added becomes a fused multiply-add.

use std::collections::{HashMap, HashSet};

use crate::lower::contract::{self, Side};
use crate::lower::expr::{Arena, E, Expr, is_subset};
use crate::lower::graph::{AddrTerm, BinOp, Loop, LoopId, Op, ReduceOp, Region, Stmt, UnOp, ValId};
use crate::lower::kernel::{Effect, Kernel, Root, uses};

pub(crate) fn schedule(arena: &Arena, kernel: &Kernel) -> Region {
    if let Some(call) = &kernel.call {
        let body = vec![Stmt::Call(call.clone())];
        return Region { name: kernel.name.clone(), span: kernel.span, walk: None, loops: vec![], body };
    }
    let mut loops = kernel.loops.clone();
    // The longest loop is the lane; of equals, the one that most reads and writes step through one by one.
    let unit = |l: LoopId| {
        let loads = kernel.loads(arena);
        let addresses = loads.iter().map(|l| &l.1).chain(kernel.roots.iter().map(|r| &r.addr));
        addresses.filter(|a| a.terms.contains(&(AddrTerm::Loop(l), 1))).count()
    };
    loops.sort_by_cached_key(|&l| (arena.size(l), unit(l)));
    if is_apart(kernel) {
        in_memory_order(arena, kernel, &mut loops, unit);
    }
    if let Some((walked, _)) = kernel.walk {
        loops.retain(|&l| l != walked);
        loops.insert(0, walked);
    }
    let lane = loops.last().copied().filter(|&l| kernel.walk.is_none_or(|w| w.0 != l));
    let mut scheduler = Scheduler { arena, lane, uses: uses(arena, kernel), next: 0 };
    let roots = kernel.roots.iter().map(|r| Goal::Effect(r, &r.inner)).collect::<Vec<_>>();
    let (body, _) = scheduler.scope(&kernel.loops, &HashMap::new(), &roots);
    let loops = loops.into_iter().map(|l| named(arena, l)).collect();
    let walk = kernel.walk.map(|w| w.1);
    Region { name: kernel.name.clone(), span: kernel.span, walk, loops, body }
}

/// Whether each number that a kernel makes goes to a place of its own, or is added to one that data say.
fn is_apart(kernel: &Kernel) -> bool {
    let apart = |r: &Root| r.inner.is_empty() && kernel.loops.iter().all(|l| r.addr.uses(*l));
    kernel.walk.is_none() && kernel.roots.iter().all(apart)
}

/// The longest steps outermost. Without sums, as where images are laid out for a convolution, memory is all that it takes: then lanes
/// are what lies together, where that is long enough.
fn in_memory_order(arena: &Arena, kernel: &Kernel, loops: &mut [LoopId], unit: impl Fn(LoopId) -> usize) {
    const ENOUGH: usize = 32;
    let reached = arena.reachable(kernel.roots.iter().map(|r| r.value));
    if !reached.iter().any(|e| matches!(arena.get(*e), Expr::Reduce(..))) {
        loops.sort_by_cached_key(|&l| (arena.size(l).min(ENOUGH), unit(l), arena.size(l)));
    }
    let loads = kernel.loads(arena);
    let step = |l: LoopId| -> usize {
        let addresses = loads.iter().map(|l| &l.1).chain(kernel.roots.iter().map(|r| &r.addr));
        addresses.flat_map(|a| &a.terms).filter(|t| t.0 == AddrTerm::Loop(l)).map(|t| t.1).sum()
    };
    if let Some((_, outer)) = loops.split_last_mut() {
        outer.sort_by_cached_key(|&l| std::cmp::Reverse(step(l)));
    }
}

fn named(arena: &Arena, id: LoopId) -> Loop {
    let info = &arena.loops[id.0 as usize];
    Loop { id, size: info.size, plate: info.name.clone() }
}

/// What a scope must bring about.
enum Goal<'k> {
    /// The value is there at the end of the scope.
    Value(E),
    /// A store or accumulation, inside these further loops.
    Effect(&'k Root, &'k [LoopId]),
}

impl Goal<'_> {
    fn value(&self) -> E {
        match self {
            Goal::Value(e) => *e,
            Goal::Effect(root, _) => root.value,
        }
    }
}

struct Scheduler<'a> {
    arena: &'a Arena,
    lane: Option<LoopId>,
    uses: HashMap<E, usize>,
    next: u32,
}

/// One scope while it is filled.
struct Scope<'k, 's> {
    open: &'s [LoopId],
    values: HashMap<E, ValId>,
    body: Vec<Stmt>,
    /// How many loops of this scope must have run before an expression can be evaluated.
    depth: HashMap<E, usize>,
    /// Reductions and effects that share a loop: by loop and depth.
    groups: HashMap<(LoopId, usize), Group<'k>>,
    done: HashSet<(LoopId, usize)>,
}

#[derive(Default)]
struct Group<'k> {
    /// The reduction, and its operand.
    reductions: Vec<(E, ReduceOp, E)>,
    effects: Vec<(&'k Root, &'k [LoopId])>,
}

impl<'a> Scheduler<'a> {
    fn fresh(&mut self) -> ValId {
        self.next += 1;
        ValId(self.next - 1)
    }

    /// The statements of one scope, with the values that it holds at its end.
    fn scope<'k>(
        &mut self,
        open: &[LoopId],
        outer: &HashMap<E, ValId>,
        goals: &[Goal<'k>],
    ) -> (Vec<Stmt>, HashMap<E, ValId>) {
        let mut scope = Scope {
            open,
            values: outer.clone(),
            body: vec![],
            depth: HashMap::new(),
            groups: HashMap::new(),
            done: HashSet::new(),
        };
        self.group(&mut scope, goals);
        for goal in goals {
            match goal {
                Goal::Value(e) => {
                    self.emit(&mut scope, *e);
                }
                Goal::Effect(root, []) => {
                    let value = self.emit(&mut scope, root.value);
                    let (buf, addr) = (root.buf, root.addr.clone());
                    scope.body.push(match root.effect {
                        Effect::Store => Stmt::Store { buf, addr, value },
                        Effect::Accum => Stmt::Accum { buf, addr, value },
                    });
                }
                Goal::Effect(root, inner @ [over, ..]) => {
                    if let Some((value, side)) = self.transposed(&scope, root, inner) {
                        let value = self.emit(&mut scope, value);
                        scope.body.push(Stmt::ContractT {
                            value,
                            over: named(self.arena, *over),
                            a: (side.buf, side.addr),
                            target: (root.buf, root.addr.clone()),
                        });
                    } else {
                        let depth = self.inner_depth(&mut scope, root.value) + 1;
                        self.emit_group(&mut scope, (*over, depth));
                    }
                }
            }
        }
        assert!(scope.groups.is_empty(), "every group is some goal's, or under one");
        (scope.body, scope.values)
    }

    /// Find the reductions of this scope and put those that can share a loop together.
    fn group<'k>(&mut self, scope: &mut Scope<'k, '_>, goals: &[Goal<'k>]) {
        for e in self.missing(scope, goals) {
            if is_subset(self.arena.free(e), scope.open)
                && let Expr::Reduce(op, over, body) = *self.arena.get(e)
                && self.product(scope.open, over, body, op).is_none()
            {
                let depth = self.depth(scope, e);
                scope.groups.entry((over, depth)).or_default().reductions.push((e, op, body));
            }
        }
        for goal in goals {
            if let Goal::Effect(root, inner @ [over, rest @ ..]) = goal
                && self.transposed(scope, root, inner).is_none()
            {
                let depth = self.inner_depth(scope, root.value) + 1;
                scope.groups.entry((*over, depth)).or_default().effects.push((root, rest));
            }
        }
    }

    /// What is not there yet, operands first.
    fn missing(&self, scope: &Scope, goals: &[Goal]) -> Vec<E> {
        let mut seen = HashSet::new();
        let mut stack: Vec<E> = goals.iter().map(Goal::value).collect();
        while let Some(e) = stack.pop() {
            if !scope.values.contains_key(&e) && seen.insert(e) {
                self.arena.each_operand(e, |x| stack.push(x));
            }
        }
        let mut list: Vec<E> = seen.into_iter().collect();
        list.sort_unstable();
        list
    }

    fn depth(&self, scope: &mut Scope, e: E) -> usize {
        // What was once computed stays, also when the value has come to be there since.
        if let Some(&d) = scope.depth.get(&e) {
            return d;
        }
        if scope.values.contains_key(&e) {
            return 0;
        }
        let d = match *self.arena.get(e) {
            Expr::Reduce(op, over, body) => {
                let inner = self.inner_depth(scope, body);
                inner + usize::from(self.product(scope.open, over, body, op).is_none())
            }
            _ => {
                let mut d = 0;
                let mut operands = vec![];
                self.arena.each_operand(e, |x| operands.push(x));
                for x in operands {
                    d = d.max(self.depth(scope, x));
                }
                d
            }
        };
        scope.depth.insert(e, d);
        d
    }

    /// The depth of what an inner scope takes from this one.
    fn inner_depth(&self, scope: &mut Scope, e: E) -> usize {
        let mut d = 0;
        for x in self.boundary(scope.open, e) {
            d = d.max(self.depth(scope, x));
        }
        d
    }

    /// The outermost parts of an expression that do not need more loops than are open.
    fn boundary(&self, open: &[LoopId], e: E) -> Vec<E> {
        let (mut seen, mut stack, mut out) = (HashSet::new(), vec![e], vec![]);
        while let Some(e) = stack.pop() {
            if !seen.insert(e) {
                continue;
            }
            if is_subset(self.arena.free(e), open) {
                out.push(e);
            } else {
                self.arena.each_operand(e, |x| stack.push(x));
            }
        }
        out.sort_unstable();
        out
    }

    fn emit(&mut self, scope: &mut Scope, e: E) -> ValId {
        if let Some(&v) = scope.values.get(&e) {
            return v;
        }
        let op = match self.arena.get(e).clone() {
            Expr::Const(bits) => Op::Const(f64::from_bits(bits)),
            Expr::Load(buf, addr) => Op::Load(buf, addr),
            Expr::Counter(id) => Op::Counter(id),
            Expr::Unary(op, a) => Op::Unary(op, self.emit(scope, a)),
            Expr::Binary(op, a, b) => match self.fused(scope, op, a, b) {
                Some(fma) => fma,
                None => {
                    let (a, b) = (self.emit(scope, a), self.emit(scope, b));
                    Op::Binary(op, a, b)
                }
            },
            Expr::Select(c, a, b) => {
                let (c, a, b) = (self.emit(scope, c), self.emit(scope, a), self.emit(scope, b));
                Op::Select(c, a, b)
            }
            Expr::Detach(a) => {
                let v = self.emit(scope, a);
                scope.values.insert(e, v);
                return v;
            }
            Expr::Reduce(op, over, body) => {
                if let Some((a, b)) = self.product(scope.open, over, body, op) {
                    let out = self.fresh();
                    let over = named(self.arena, over);
                    scope.body.push(Stmt::Contract { out, over, a: (a.buf, a.addr), b: (b.buf, b.addr) });
                    scope.values.insert(e, out);
                    return out;
                }
                let depth = self.depth(scope, e);
                self.emit_group(scope, (over, depth));
                return scope.values[&e];
            }
        };
        let out = self.fresh();
        scope.body.push(Stmt::Let(out, op));
        scope.values.insert(e, out);
        out
    }

    /// `a·b + c`, where the product has no other use.
    fn fused(&mut self, scope: &mut Scope, op: BinOp, a: E, b: E) -> Option<Op> {
        let product = |e: E, scope: &Scope| match *self.arena.get(e) {
            Expr::Binary(BinOp::Mul, x, y) if self.uses.get(&e) == Some(&1) && !scope.values.contains_key(&e) => {
                Some((x, y))
            }
            _ => None,
        };
        let (pa, pb) = (product(a, scope), product(b, scope));
        match (op, pa, pb) {
            (BinOp::Add, Some((x, y)), _) => Some(self.fma(scope, x, y, b)),
            (BinOp::Add, None, Some((x, y))) => Some(self.fma(scope, x, y, a)),
            (BinOp::Sub, _, Some((x, y))) => {
                // a - x·y = (-x)·y + a; a constant takes the sign at no cost.
                let (x, y) = if self.arena.as_const(x).is_some() { (x, y) } else { (y, x) };
                let negative = match self.arena.as_const(x) {
                    Some(c) => self.constant(scope, -c),
                    None => {
                        let x = self.emit(scope, x);
                        self.negated(scope, x)
                    }
                };
                let (y, a) = (self.emit(scope, y), self.emit(scope, a));
                Some(Op::Fma(negative, y, a))
            }
            (BinOp::Sub, Some((x, y)), None) => {
                let (x, y, b) = (self.emit(scope, x), self.emit(scope, y), self.emit(scope, b));
                let negative = self.negated(scope, b);
                Some(Op::Fma(x, y, negative))
            }
            _ => None,
        }
    }

    fn fma(&mut self, scope: &mut Scope, x: E, y: E, c: E) -> Op {
        let (x, y, c) = (self.emit(scope, x), self.emit(scope, y), self.emit(scope, c));
        Op::Fma(x, y, c)
    }

    fn constant(&mut self, scope: &mut Scope, v: f64) -> ValId {
        let out = self.fresh();
        scope.body.push(Stmt::Let(out, Op::Const(v)));
        out
    }

    fn negated(&mut self, scope: &mut Scope, v: ValId) -> ValId {
        let out = self.fresh();
        scope.body.push(Stmt::Let(out, Op::Unary(UnOp::Neg, v)));
        out
    }

    /// One inner loop with all reductions and effects of its group.
    fn emit_group(&mut self, scope: &mut Scope, key: (LoopId, usize)) {
        if !scope.done.insert(key) {
            return;
        }
        let group = scope.groups.remove(&key).expect("every reduction and inner effect was grouped");
        let (over, _) = key;
        let mut goals: Vec<Goal> = group.reductions.iter().map(|r| Goal::Value(r.2)).collect();
        goals.extend(group.effects.iter().map(|&(root, rest)| Goal::Effect(root, rest)));
        for goal in &goals {
            for e in self.boundary(scope.open, goal.value()) {
                self.emit(scope, e);
            }
        }
        let mut open = scope.open.to_vec();
        open.push(over);
        let (body, inside) = self.scope(&open, &scope.values, &goals);
        let mut outs = vec![];
        for (e, op, body) in group.reductions {
            let out = self.fresh();
            outs.push((out, op, inside[&body]));
            scope.values.insert(e, out);
        }
        scope.body.push(Stmt::Reduce { over: named(self.arena, over), body, outs });
    }

    fn product(&self, open: &[LoopId], over: LoopId, body: E, op: ReduceOp) -> Option<(Side, Side)> {
        let lane = self.lane?;
        if op != ReduceOp::Sum {
            return None;
        }
        contract::product(self.arena, open, lane, over, body)
    }

    fn transposed(&self, scope: &Scope, root: &Root, inner: &[LoopId]) -> Option<(E, Side)> {
        contract::transposed(self.arena, scope.open, self.lane?, root, inner)
    }
}
