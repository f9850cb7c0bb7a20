//! Products of whole matrices: sums `Σ_k a[i, k]·b[k, j]` that stand inside kernels over `i` and `j` become calls between the
//! kernels, as do the sums over rows that differentiate them.

use std::collections::HashMap;
use std::sync::Arc;

use crate::lower::expr::{Arena, E, Expr, without};
use crate::lower::graph::{
    Access, Addr, AddrTerm, BinOp, BufId, Call, Copies, LoopId, Operand, ProductCall, ReduceOp, UnOp,
};
use crate::lower::kernel::{Effect, Kernel, Root};

/// Fewer multiplications than this are left where they are.
const WORTH: usize = 1 << 15;
/// So is a matrix with a side shorter than this.
const SHORT: usize = 4;

/// A factor: cells of a buffer, one stride per loop.
#[derive(Clone)]
struct Factor {
    buf: BufId,
    addr: Addr,
}

/// Take the products out of the kernels of a program, in running order.
pub(crate) fn products(arena: &mut Arena, kernels: Vec<Kernel>) -> Vec<Kernel> {
    let mut out = vec![];
    let mut done: HashMap<E, E> = HashMap::new();
    for mut kernel in kernels {
        if kernel.walk.is_some() || kernel.call.is_some() {
            out.push(kernel);
            continue;
        }
        let name = kernel.name.clone();
        kernel.rewrite(arena, |arena, e| {
            if let Some(&read) = done.get(&e) {
                return Some(read);
            }
            let (call, read) = forward(arena, e)?;
            out.push(alone(&name, call));
            done.insert(e, read);
            Some(read)
        });
        let mut after = vec![];
        let mut stored: HashMap<E, Factor> = HashMap::new();
        let mut roots = vec![];
        for root in std::mem::take(&mut kernel.roots) {
            let (calls, left) = of_each_summand(arena, &kernel.loops, root, &mut stored, &mut roots);
            after.extend(calls.into_iter().map(|call| alone(&format!("d {name}"), call)));
            roots.extend(left);
        }
        kernel.roots = roots;
        if !kernel.roots.is_empty() {
            out.push(kernel);
        }
        out.extend(after);
    }
    out
}

fn alone(name: &str, call: ProductCall) -> Kernel {
    let call = Some(Call::Product(Arc::new(call)));
    Kernel { name: name.into(), span: None, loops: vec![], walk: None, roots: vec![], call }
}

/// A sum of products as a call, and the read of its result.
fn forward(arena: &mut Arena, e: E) -> Option<(ProductCall, E)> {
    let Expr::Reduce(ReduceOp::Sum, over, body) = *arena.get(e) else { return None };
    let Expr::Binary(BinOp::Mul, x, y) = *arena.get(body) else { return None };
    let (a, b) = (plain(arena, x)?, plain(arena, y)?);
    let free = arena.free(e).to_vec();
    let result = arena.address(&free);
    let shape = Shape::of(arena, &free, &[over], &a.addr, &b.addr, &result)?;
    let buf = arena.scratch("product", &free, false).0;
    let call = shape.call(arena, a, b, Factor { buf, addr: result.clone() }, Access::Store);
    Some((call, arena.load(buf, result)))
}

/// What is added up is added one summand after the other where some are products: those, and what is left.
fn of_each_summand(
    arena: &mut Arena,
    loops: &[LoopId],
    root: Root,
    stored: &mut HashMap<E, Factor>,
    roots: &mut Vec<Root>,
) -> (Vec<ProductCall>, Option<Root>) {
    let (mut calls, mut left) = (vec![], None);
    for (value, negative) in summands(arena, &root) {
        match backward(arena, loops, &Root { value, ..root.clone() }, negative, stored, roots) {
            Some(call) => calls.push(call),
            None => {
                let value = if negative { arena.neg(value) } else { value };
                left = Some(left.map_or(value, |sum| arena.binary(BinOp::Add, sum, value)));
            }
        }
    }
    // With none, the sum stays as it stood.
    let left = if calls.is_empty() { Some(root.value) } else { left };
    (calls, left.map(|value| Root { value, ..root }))
}

/// What a root adds up, and whether with a minus.
fn summands(arena: &Arena, root: &Root) -> Vec<(E, bool)> {
    let (mut todo, mut out) = (vec![(root.value, false)], vec![]);
    while let Some((e, negative)) = todo.pop() {
        match *arena.get(e) {
            Expr::Binary(BinOp::Add, x, y) => todo.extend([(y, negative), (x, negative)]),
            Expr::Binary(BinOp::Sub, x, y) => todo.extend([(y, !negative), (x, negative)]),
            Expr::Unary(UnOp::Neg, x) => todo.push((x, !negative)),
            _ => out.push((e, negative)),
        }
    }
    if root.effect == Effect::Accum { out } else { vec![(root.value, false)] }
}

/// `target += Σ value · a`, or `-=`, over the loops of a kernel that the target does not have. The value is stored by the kernel.
fn backward(
    arena: &mut Arena,
    loops: &[LoopId],
    root: &Root,
    negative: bool,
    stored: &mut HashMap<E, Factor>,
    roots: &mut Vec<Root>,
) -> Option<ProductCall> {
    if root.effect != Effect::Accum || !is_affine(&root.addr) {
        return None;
    }
    let Expr::Binary(BinOp::Mul, x, y) = *arena.get(root.value) else { return None };
    let all: Vec<LoopId> = loops.iter().chain(&root.inner).copied().collect();
    let free: Vec<LoopId> = all.iter().copied().filter(|l| root.addr.uses(*l)).collect();
    let over = without(&all, &free);
    for (value, a) in [(x, y), (y, x)] {
        let Some(a) = plain(arena, a) else { continue };
        let value = if negative { arena.neg(value) } else { value };
        let own = arena.free(value).to_vec();
        let known = plain(arena, value).or_else(|| stored.get(&value).cloned());
        let addr = known.as_ref().map_or_else(|| arena.address(&own), |f| f.addr.clone());
        let Some(shape) = Shape::of(arena, &free, &over, &addr, &a.addr, &root.addr) else { continue };
        let factor = match known {
            Some(factor) => factor,
            None => {
                let buf = arena.scratch("factor of a product", &own, false).0;
                let inner = without(&own, loops);
                // A value that does not vary over all loops of the kernel is stored once per cell all the same.
                if own.len() < inner.len() + loops.len() {
                    return None;
                }
                roots.push(Root { inner, effect: Effect::Store, buf, addr: addr.clone(), value });
                let factor = Factor { buf, addr };
                stored.insert(value, factor.clone());
                factor
            }
        };
        let target = Factor { buf: root.buf, addr: root.addr.clone() };
        return Some(shape.call(arena, factor, a, target, Access::Add));
    }
    None
}

/// Which loops are rows, columns and the sum, and which the whole is repeated over.
struct Shape {
    m: LoopId,
    k: LoopId,
    n: LoopId,
    batch: Vec<LoopId>,
}

impl Shape {
    /// `free`: the loops of the result; `over`: those that are summed.
    fn of(arena: &Arena, free: &[LoopId], over: &[LoopId], a: &Addr, b: &Addr, c: &Addr) -> Option<Shape> {
        let longest = |wanted: &dyn Fn(LoopId) -> bool, of: &[LoopId]| {
            of.iter().copied().filter(|l| wanted(*l)).max_by_key(|l| arena.size(*l))
        };
        let m = longest(&|l| a.uses(l) && !b.uses(l) && c.uses(l), free)?;
        let n = longest(&|l| b.uses(l) && !a.uses(l) && c.uses(l), free)?;
        let k = longest(&|l| a.uses(l) && b.uses(l), over)?;
        let all: Vec<LoopId> = free.iter().chain(over).copied().collect();
        let sizes = [m, k, n].map(|l| arena.size(l));
        let once = all.iter().all(|l| a.uses(*l) || b.uses(*l));
        let worth = sizes.iter().product::<usize>() >= WORTH && sizes.iter().all(|s| *s >= SHORT);
        (once && worth).then(|| Shape { m, k, n, batch: without(&all, &[m, k, n]) })
    }

    fn call(&self, arena: &Arena, a: Factor, b: Factor, c: Factor, access: Access) -> ProductCall {
        let stride = |f: &Factor, l: LoopId| -> usize {
            f.addr.terms.iter().filter(|t| t.0 == AddrTerm::Loop(l)).map(|t| t.1).sum()
        };
        let steps = [
            [stride(&a, self.m), stride(&a, self.k)],
            [stride(&b, self.k), stride(&b, self.n)],
            [stride(&c, self.m), stride(&c, self.n)],
        ];
        let mut sizes = [self.m, self.k, self.n].map(|l| arena.size(l));
        let mut batch = self.batch.clone();
        // Draws of rows that follow each other in memory are rows of one larger matrix.
        let sides = [(self.m, [&a, &c], &b), (self.k, [&a, &b], &c), (self.n, [&b, &c], &a)];
        for ((own, with, without), size) in sides.iter().zip(&mut sizes) {
            let follows = |l: LoopId, size: usize| {
                stride(without, l) == 0 && with.iter().all(|f| stride(f, l) == stride(f, *own) * size)
            };
            while let Some(at) = batch.iter().position(|l| follows(*l, *size)) {
                *size *= arena.size(batch.remove(at));
            }
        }
        let operand = |f: &Factor, access| Operand {
            buf: Some(f.buf),
            access,
            offset: f.addr.offset,
            strides: batch.iter().map(|&l| stride(f, l)).collect(),
        };
        ProductCall {
            sizes,
            batch: batch.iter().map(|&l| arena.size(l)).collect(),
            operands: vec![operand(&a, Access::Read), operand(&b, Access::Read), operand(&c, access)],
            steps,
            copies: Copies::default(),
        }
    }
}

fn plain(arena: &Arena, e: E) -> Option<Factor> {
    match arena.get(e) {
        Expr::Load(buf, addr) if is_affine(addr) => Some(Factor { buf: *buf, addr: addr.clone() }),
        _ => None,
    }
}

fn is_affine(addr: &Addr) -> bool {
    addr.terms.iter().all(|(t, _)| matches!(t, AddrTerm::Loop(_)))
}
