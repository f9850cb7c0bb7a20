//! Reverse-mode derivatives of kernels.
//!
//! The adjoint of an expression is an expression over the same loops: a use inside a further loop contributes the sum
//! over that loop, and reading a cell adds its adjoint to the cell's. A term's value and gradient stay in one kernel;
//! what it reads of stored values is passed on by backward kernels, last stored first.

use std::collections::HashMap;

use crate::lower::derivative::{self, Partial};
use crate::lower::expr::{Arena, E, Expr, without};
use crate::lower::graph::{Addr, BinOp, BufId, BufKind, Call, LoopId, ReduceOp, UnOp};
use crate::lower::kernel::{Effect, Kernel, Root};
use crate::lower::{matrix, ode};

/// Recomputing costs less than reading the stored value below this.
const WORTH_READING: f32 = 4.0;

/// The forward kernels, terms with their gradients, then the backward kernels. `forward` is in running order; `sums`
/// are the buffers whose adjoints are known beforehand, the log joint among them.
pub(crate) fn gradient(
    arena: &mut Arena,
    forward: &[Kernel],
    sums: &HashMap<BufId, E>,
    theta: BufId,
    grad: BufId,
) -> Vec<Kernel> {
    let mut adjoints = HashMap::from([(theta, grad)]);
    let mut out = vec![];
    for kernel in forward {
        let mut kernel = kernel.clone();
        let seed = |r: &Root| Some(Seed { of: r.value, adjoint: *sums.get(&r.buf)?, zero: false });
        let seeds = kernel.roots.iter().filter_map(seed).collect();
        let roots = backward(arena, &kernel.loops, seeds, &mut adjoints);
        kernel.roots.extend(roots);
        out.push(kernel);
    }
    for kernel in forward.iter().rev() {
        if let Some(call) = &kernel.call {
            out.extend(match call {
                Call::Matrix(call) => matrix::backward(arena, kernel, call, &mut adjoints),
                Call::Ode(call) => ode::backward(arena, kernel, call, &mut adjoints),
                Call::Product(_) => unreachable!("products are made after derivatives are taken"),
            });
            continue;
        }
        let mut seeds = vec![];
        // What one value of a walk owes to another is known only while going back.
        if kernel.walk.is_some() && kernel.roots.iter().any(|r| adjoints.contains_key(&r.buf)) {
            for root in &kernel.roots {
                adjoint_of(arena, root.buf, &mut adjoints);
            }
        }
        for root in &kernel.roots {
            if let Some(&adjoint) = adjoints.get(&root.buf) {
                let adjoint = arena.load(adjoint, root.addr.clone());
                // Cells that nothing used have adjoint 0, whatever their value.
                seeds.push(Seed { of: root.value, adjoint, zero: true });
            }
        }
        if seeds.is_empty() {
            continue;
        }
        let roots = backward(arena, &kernel.loops, seeds, &mut adjoints);
        let mut back = Kernel {
            name: format!("d {}", kernel.name),
            span: None,
            loops: kernel.loops.clone(),
            walk: None,
            roots,
            call: None,
        };
        // The derivative of a walk goes back from its last step.
        back.walk = kernel.walk.map(|(over, direction)| (over, direction.reversed()));
        let mut stored = HashMap::new();
        for root in kernel.roots.iter().filter(|r| r.effect == Effect::Store) {
            if arena.cost(root.value) >= WORTH_READING {
                let read = arena.load(root.buf, root.addr.clone());
                stored.insert(root.value, read);
            }
        }
        back.rewrite(arena, |_, e| stored.get(&e).copied());
        out.push(back);
    }
    out
}

/// Where the adjoints of a buffer are summed.
pub(super) fn adjoint_of(arena: &mut Arena, buf: BufId, adjoints: &mut HashMap<BufId, BufId>) -> BufId {
    *adjoints.entry(buf).or_insert_with(|| {
        let of = &arena.buffers[buf.0 as usize];
        let (name, len) = (format!("d {}", of.name), of.len);
        arena.buffer(name, len, BufKind::Scratch { zeroed: true }, true)
    })
}

/// An expression with what arrives at it from outside.
struct Seed {
    of: E,
    adjoint: E,
    /// The adjoint may be 0 where the value is not finite.
    zero: bool,
}

/// What is known of an adjoint.
#[derive(Clone, Copy, Default)]
struct Mask {
    /// It is exactly 0 on the untaken side of a condition, where anything may be NaN.
    select: bool,
    /// It may be exactly 0 where a value is infinite.
    zero: bool,
}

#[derive(Default)]
struct Adjoints {
    /// Contributions, by the loops to sum them over.
    parts: HashMap<E, Vec<(Vec<LoopId>, E)>>,
    masks: HashMap<E, Mask>,
}

impl Adjoints {
    fn add(&mut self, arena: &mut Arena, to: E, over: Vec<LoopId>, value: E, mask: Mask) {
        let parts = self.parts.entry(to).or_default();
        match parts.iter_mut().find(|p| p.0 == over) {
            Some(part) => part.1 = arena.add(part.1, value),
            None => parts.push((over, value)),
        }
        let known = self.masks.entry(to).or_default();
        known.select |= mask.select;
        known.zero |= mask.zero;
    }

    fn take(&mut self, arena: &mut Arena, of: E) -> Option<(E, Mask)> {
        let parts = self.parts.remove(&of)?;
        let mut total = arena.number(0.0);
        for (over, value) in parts {
            let sum = over.iter().rev().fold(value, |v, &l| arena.sum(l, v));
            total = arena.add(total, sum);
        }
        (!arena.is_number(total, 0.0)).then(|| (total, self.masks[&of]))
    }
}

/// The accumulations into adjoints that a kernel's expressions give rise to.
fn backward(arena: &mut Arena, loops: &[LoopId], seeds: Vec<Seed>, adjoints: &mut HashMap<BufId, BufId>) -> Vec<Root> {
    let mut nodes = arena.reachable(seeds.iter().map(|s| s.of));
    nodes.retain(|&e| arena.active(e));
    let mut adj = Adjoints::default();
    for seed in seeds {
        let mask = Mask { select: false, zero: seed.zero };
        adj.add(arena, seed.of, vec![], seed.adjoint, mask);
    }
    let mut roots = vec![];
    for e in nodes.into_iter().rev() {
        let Some((g, mask)) = adj.take(arena, e) else { continue };
        let mut step = Step { arena: &mut *arena, adj: &mut adj, loops, of: e, g, mask };
        match step.arena.get(e).clone() {
            Expr::Const(_) | Expr::Counter(_) | Expr::Detach(_) => {}
            Expr::Load(buf, _) if step.arena.is_fed(buf) => {}
            Expr::Load(buf, addr) => roots.push(step.accumulate(buf, addr, adjoints)),
            Expr::Unary(op, x) => step.unary(op, x),
            Expr::Binary(op, a, b) => step.binary(op, a, b),
            Expr::Select(c, a, b) => step.select(c, a, b),
            Expr::Reduce(op, over, body) => step.reduce(op, over, body),
        }
    }
    roots
}

/// Passing the adjoint `g` of one expression on to its operands.
struct Step<'s> {
    arena: &'s mut Arena,
    adj: &'s mut Adjoints,
    loops: &'s [LoopId],
    of: E,
    g: E,
    mask: Mask,
}

impl Step<'_> {
    /// The loops beyond the kernel's that an expression varies over.
    fn inner(&self, e: E) -> Vec<LoopId> {
        without(self.arena.free(e), self.loops)
    }

    fn give(&mut self, to: E, value: E, mask: Mask) {
        let over = without(&self.inner(self.of), &self.inner(to));
        self.adj.add(self.arena, to, over, value, mask);
    }

    fn chain(&mut self, to: E, partial: Partial) {
        if self.arena.is_number(partial.value, 0.0) {
            return;
        }
        let value = self.product(partial);
        self.give(to, value, self.mask);
    }

    /// `g · partial`, exactly 0 where `g` is 0 by a condition.
    fn product(&mut self, partial: Partial) -> E {
        let guard = self.mask.select || self.mask.zero && partial.pole;
        if !guard || self.arena.as_const(partial.value).is_some_and(f64::is_finite) {
            return self.arena.mul(self.g, partial.value);
        }
        let checked = self.mask.zero && partial.pole;
        guarded(self.arena, self.g, partial.value, true, checked)
    }

    fn accumulate(&mut self, buf: BufId, addr: Addr, adjoints: &mut HashMap<BufId, BufId>) -> Root {
        let arena = &mut *self.arena;
        let adjoint = adjoint_of(arena, buf, adjoints);
        let inner = self.inner(self.of);
        Root { inner, effect: Effect::Accum, buf: adjoint, addr, value: self.g }
    }

    fn unary(&mut self, op: UnOp, x: E) {
        let partial = derivative::unary(self.arena, op, x, self.of);
        // exp(body - shift) in a log-sum-exp: terms that vanish beside the largest have adjoint 0.
        if op == UnOp::Exp
            && let Expr::Binary(BinOp::Sub, _, shift) = *self.arena.get(x)
            && matches!(self.arena.get(shift), Expr::Detach(_))
        {
            self.mask.zero = true;
        }
        self.chain(x, partial);
    }

    fn binary(&mut self, op: BinOp, a: E, b: E) {
        let wanted = [self.arena.active(a), self.arena.active(b)];
        let partials = derivative::binary(self.arena, op, a, b, self.of, wanted);
        for (to, partial) in [a, b].into_iter().zip(partials) {
            if let Some(partial) = partial {
                self.chain(to, partial);
            }
        }
    }

    fn select(&mut self, c: E, a: E, b: E) {
        let zero = self.arena.number(0.0);
        let mask = Mask { select: true, ..self.mask };
        if self.arena.active(a) {
            let value = self.arena.select(c, self.g, zero);
            self.give(a, value, mask);
        }
        if self.arena.active(b) {
            let value = self.arena.select(c, zero, self.g);
            self.give(b, value, mask);
        }
    }

    fn reduce(&mut self, op: ReduceOp, over: LoopId, body: E) {
        let mut scope = self.inner(self.of);
        // Where the reduction binds a loop of the kernel again, the adjoint is of every cell of that loop outside.
        if self.loops.contains(&over) {
            self.g = self.arena.sum(over, self.g);
        } else {
            scope.push(over);
        }
        let value = match op {
            ReduceOp::Sum => self.g,
            // The cells that attain the extreme share the adjoint.
            ReduceOp::Min | ReduceOp::Max => {
                let (attains, count) = derivative::extreme(self.arena, over, body, self.of);
                let share = self.arena.div(self.g, count);
                let zero = self.arena.number(0.0);
                self.arena.select(attains, share, zero)
            }
            ReduceOp::Prod => {
                let partial = derivative::others(self.arena, over, body, self.of);
                self.arena.mul(self.g, partial)
            }
        };
        scope.sort_unstable();
        let over = without(&scope, &self.inner(body));
        self.adj.add(self.arena, body, over, value, self.mask);
    }
}

/// `g · p`, but 0 where a condition made `g` 0. The condition is the one in `g` where it can be seen (`top`: none yet),
/// else that `g` is not 0.
fn guarded(arena: &mut Arena, g: E, p: E, top: bool, checked: bool) -> E {
    let zero = arena.number(0.0);
    match *arena.get(g) {
        Expr::Select(c, x, z) if z == zero => {
            let product = guarded(arena, x, p, false, checked);
            arena.select(c, product, zero)
        }
        Expr::Select(c, z, x) if z == zero => {
            let product = guarded(arena, x, p, false, checked);
            arena.select(c, zero, product)
        }
        Expr::Unary(UnOp::Neg, x) => {
            let product = guarded(arena, x, p, top, checked);
            arena.neg(product)
        }
        Expr::Binary(BinOp::Mul, x, c) if arena.as_const(c).is_some() => {
            let product = guarded(arena, x, p, top, checked);
            arena.mul(product, c)
        }
        Expr::Const(_) => arena.mul(g, p),
        _ if top || checked => {
            let product = arena.mul(g, p);
            let counts = arena.binary(BinOp::NotEqual, g, zero);
            arena.select(counts, product, zero)
        }
        _ => arena.mul(g, p),
    }
}
