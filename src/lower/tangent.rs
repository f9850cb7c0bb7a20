//! Products of the Hessian with a direction: the tangent of the gradient program (forward over reverse).
//!
//! Every buffer that depends on theta gets a second one, its derivative along the direction; the direction is that of
//! theta. A kernel then writes both, so that they share what they read and compute. The gradient's tangent is the
//! Hessian times the direction (Pearlmutter 1994, "Fast exact multiplication by the Hessian").

use std::collections::{HashMap, HashSet};
use std::fmt;

use crate::lower::derivative;
use crate::lower::expr::{Arena, E, Expr};
use crate::lower::graph::{BinOp, BufId, BufKind, Call, Graph, ReduceOp, UnOp};
use crate::lower::kernel::{Effect, Kernel, Root};
use crate::lower::storage::Layout;
use crate::lower::{matrix, program, prune, regions, verify};

/// What it takes to build the product program: most fits never ask for it, so it is not lowered with the others.
pub struct Recipe {
    arena: Arena,
    /// The gradient program as differentiated, before hoisting.
    kernels: Vec<Kernel>,
    /// Partial sums of the log joint: constants to the gradient, which is added as they are summed, but not here.
    sums: HashSet<BufId>,
    theta: BufId,
    grad: BufId,
    dim: usize,
}

/// A program for products with the Hessian.
#[derive(Debug)]
pub struct Product {
    /// Its gradient program ends in the product, which is its `grad`.
    pub graph: Graph,
    /// Written by the caller before a run, length `dim`.
    pub direction: BufId,
}

impl fmt::Debug for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Recipe({} kernels)", self.kernels.len())
    }
}

impl Recipe {
    /// `None` if an operation of the program has no tangent: the solution of a differential equation.
    pub(super) fn new(
        arena: Arena,
        kernels: Vec<Kernel>,
        sums: HashSet<BufId>,
        theta: BufId,
        grad: BufId,
        dim: usize,
    ) -> Option<Recipe> {
        let solved = kernels.iter().any(|k| matches!(k.call, Some(Call::Ode(_))));
        (!solved).then_some(Recipe { arena, kernels, sums, theta, grad, dim })
    }

    /// The program.
    pub fn product(&self) -> Product {
        let mut arena = self.arena.clone();
        let direction = arena.buffer("direction", self.dim, BufKind::Input, true);
        let mut tangents = Tangents {
            arena: &mut arena,
            sums: &self.sums,
            buffers: HashMap::from([(self.theta, direction)]),
            memo: HashMap::new(),
        };
        let product = tangents.of(self.grad);
        let kernels = self.kernels.iter().flat_map(|k| tangents.kernel(k)).collect();
        let kernels = program(&mut arena, kernels, &HashMap::new(), |buf| buf == product);
        let mut graph = Graph {
            gradient: regions(&mut arena, kernels),
            theta: Some(self.theta),
            direction: Some(direction),
            grad: Some(product),
            dim: self.dim,
            buffers: arena.buffers,
            ..Graph::default()
        };
        prune::prune(&mut graph, &mut Layout::default());
        debug_assert_eq!(verify(&graph), Ok(()), "\n{graph}");
        let direction = graph.direction.take().expect("set above");
        Product { graph, direction }
    }
}

struct Tangents<'r> {
    arena: &'r mut Arena,
    sums: &'r HashSet<BufId>,
    buffers: HashMap<BufId, BufId>,
    memo: HashMap<E, E>,
}

impl Tangents<'_> {
    /// The buffer of a buffer's tangent.
    fn of(&mut self, buf: BufId) -> BufId {
        if let Some(&known) = self.buffers.get(&buf) {
            return known;
        }
        let of = &self.arena.buffers[buf.0 as usize];
        let (name, len, kind) = (format!("tangent of {}", of.name), of.len, of.kind.clone());
        let tangent = self.arena.buffer(name, len, kind, true);
        self.buffers.insert(buf, tangent);
        tangent
    }

    /// The kernel with its tangent.
    fn kernel(&mut self, kernel: &Kernel) -> Vec<Kernel> {
        if let Some(Call::Matrix(call)) = &kernel.call {
            let active = |arena: &Arena, buf| arena.is_active(buf);
            let inputs: Vec<BufId> =
                call.operands.iter().filter_map(|o| o.buf).filter(|&b| active(self.arena, b)).collect();
            let tangents = inputs.into_iter().map(|b| (b, self.of(b))).collect();
            let tangent = matrix::tangent(self.arena, kernel, call, &tangents);
            return vec![kernel.clone(), tangent];
        }
        let mut both = kernel.clone();
        for root in &kernel.roots {
            if !self.arena.is_active(root.buf) {
                continue;
            }
            let value = self.tangent(root.value);
            if root.effect == Effect::Store || !self.arena.is_number(value, 0.0) {
                let buf = self.of(root.buf);
                both.roots.push(Root { buf, value, ..root.clone() });
            }
        }
        vec![both]
    }

    /// An expression's derivative along the direction.
    fn tangent(&mut self, e: E) -> E {
        if !self.arena.active(e) {
            return self.arena.number(0.0);
        }
        if let Some(&done) = self.memo.get(&e) {
            return done;
        }
        let value = match self.arena.get(e).clone() {
            Expr::Const(_) | Expr::Counter(_) => self.arena.number(0.0),
            Expr::Load(buf, addr) => {
                let tangent = self.of(buf);
                self.arena.load(tangent, addr)
            }
            // Other constants of derivatives are the shifts of log-sum-exps, of which nothing depends in truth.
            Expr::Detach(x) => match self.arena.get(x) {
                Expr::Load(buf, _) if self.sums.contains(buf) => self.tangent(x),
                _ => self.arena.number(0.0),
            },
            Expr::Unary(op, x) => self.unary(op, x, e),
            Expr::Binary(op, a, b) => self.binary(op, a, b, e),
            Expr::Select(c, a, b) => self.select(c, a, b),
            Expr::Reduce(op, over, body) => {
                let moved = self.tangent(body);
                let arena = &mut *self.arena;
                let moved = match op {
                    ReduceOp::Sum => moved,
                    ReduceOp::Min | ReduceOp::Max => {
                        let (attains, count) = derivative::extreme(arena, over, body, e);
                        let (share, zero) = (arena.div(moved, count), arena.number(0.0));
                        arena.select(attains, share, zero)
                    }
                    ReduceOp::Prod => {
                        let others = derivative::others(arena, over, body, e);
                        arena.mul(moved, others)
                    }
                };
                arena.sum(over, moved)
            }
        };
        self.memo.insert(e, value);
        value
    }

    fn unary(&mut self, op: UnOp, x: E, of: E) -> E {
        let moved = self.tangent(x);
        let arena = &mut *self.arena;
        if arena.is_number(moved, 0.0) {
            return moved;
        }
        let partial = derivative::unary(arena, op, x, of).value;
        let value = arena.mul(moved, partial);
        // Terms of a log-sum-exp that vanish beside the largest may come from a value that is infinite.
        if op == UnOp::Exp
            && let Expr::Binary(BinOp::Sub, _, shift) = *arena.get(x)
            && matches!(arena.get(shift), Expr::Detach(_))
        {
            let zero = arena.number(0.0);
            let counts = arena.binary(BinOp::NotEqual, of, zero);
            return arena.select(counts, value, zero);
        }
        // A sum over nothing, whose logarithm is minus infinity, does not move.
        if matches!(op, UnOp::Log | UnOp::Recip) && is_sum_of_exps(arena, x) {
            let zero = arena.number(0.0);
            let moves = arena.binary(BinOp::NotEqual, moved, zero);
            return arena.select(moves, value, zero);
        }
        value
    }

    fn binary(&mut self, op: BinOp, a: E, b: E, of: E) -> E {
        let moved = [self.tangent(a), self.tangent(b)];
        let wanted = moved.map(|m| !self.arena.is_number(m, 0.0));
        let arena = &mut *self.arena;
        let partials = derivative::binary(arena, op, a, b, of, wanted);
        let mut total = arena.number(0.0);
        for (moved, partial) in moved.into_iter().zip(partials) {
            if let Some(partial) = partial
                && !arena.is_number(partial.value, 0.0)
            {
                let share = arena.mul(moved, partial.value);
                total = arena.add(total, share);
            }
        }
        total
    }

    fn select(&mut self, c: E, a: E, b: E) -> E {
        let (a, b) = (self.tangent(a), self.tangent(b));
        // A guard of a product by what is not 0 must stay open where that is 0 but about to change.
        let mut condition = c;
        if let Expr::Binary(BinOp::NotEqual, x, zero) = *self.arena.get(c)
            && self.arena.is_number(zero, 0.0)
        {
            let moved = self.tangent(x);
            if !self.arena.is_number(moved, 0.0) {
                let changes = self.arena.binary(BinOp::NotEqual, moved, zero);
                condition = self.arena.binary(BinOp::Or, c, changes);
            }
        }
        self.arena.select(condition, a, b)
    }
}

/// Whether this is the sum within a log-sum-exp.
fn is_sum_of_exps(arena: &Arena, e: E) -> bool {
    let Expr::Reduce(ReduceOp::Sum, _, body) = *arena.get(e) else { return false };
    let Expr::Unary(UnOp::Exp, x) = *arena.get(body) else { return false };
    matches!(*arena.get(x), Expr::Binary(BinOp::Sub, _, shift) if matches!(arena.get(shift), Expr::Detach(_)))
}
