//! Store what varies over fewer cells than the kernel around it: `log(sigma)`, `exp(alpha[county])`, sums over a whole
//! plate. Each becomes a kernel of its own, over its own loops, and a read.

use std::collections::{HashMap, HashSet};

use crate::lower::expr::{Arena, E, Expr, is_subset};
use crate::lower::graph::{Addr, AddrTerm, BinOp, BufId, LoopId, ReduceOp, UnOp};
use crate::lower::kernel::{Kernel, Root, uses};

/// An expression that costs less is not worth a buffer as long as an evaluation per lane can replace it.
const WORTH_STORING: f32 = 8.0;
/// A function of gathered values is worth a table of its own from this cost on: one division.
const WORTH_GATHERING: f32 = 4.0;
/// A sum at least this long over a kernel with shorter loops is a kernel whose lane runs along the sum.
const LONG_SUM: usize = 32;

/// Which expressions are stored, by expression: shared by all kernels of one program.
#[derive(Default)]
pub(crate) struct Hoister {
    stored: HashMap<E, BufId>,
    kernels: Vec<Kernel>,
}

/// Where an expression stands.
struct Place {
    loops: Vec<LoopId>,
    name: String,
    /// How often each expression of the kernel is an operand.
    uses: HashMap<E, usize>,
    memo: HashMap<E, E>,
    /// Products that are already in groups.
    grouped: HashSet<E>,
    /// What the kernel itself writes step by step.
    walked: HashSet<BufId>,
    /// Whether expressions read that.
    walks: HashMap<E, bool>,
}

impl Place {
    /// Whether an expression must be evaluated in the walk: it reads what the walk writes.
    fn must_stay(&mut self, arena: &Arena, e: E) -> bool {
        if self.walked.is_empty() {
            return false;
        }
        if let Some(&known) = self.walks.get(&e) {
            return known;
        }
        let mut stays = matches!(arena.get(e), Expr::Load(buf, _) if self.walked.contains(buf));
        let mut operands = vec![];
        arena.each_operand(e, |x| operands.push(x));
        for x in operands {
            stays = self.must_stay(arena, x) || stays;
        }
        self.walks.insert(e, stays);
        stays
    }

    /// Whether and how to store an expression of this kernel.
    fn plan(&mut self, arena: &mut Arena, e: E) -> Option<Plan> {
        if self.must_stay(arena, e) {
            return None;
        }
        // What does not wait for earlier steps is computed beforehand, where lanes can share the work.
        if !self.walked.is_empty() && arena.active(e) && arena.cost(e) >= WORTH_STORING && arena.free(e) == self.loops {
            return Some(Plan { loops: self.loops.clone(), value: e, addr: arena.address(&self.loops) });
        }
        plan(arena, e, &self.loops)
    }
}

/// What to store, over which loops, and where a use reads it.
struct Plan {
    loops: Vec<LoopId>,
    value: E,
    addr: Addr,
}

/// Every kernel with its invariant parts before it, in kernels without span. Leaves no expression but reads and
/// constants that lacks a loop of its kernel.
pub(crate) fn hoist(arena: &mut Arena, kernels: Vec<Kernel>) -> Vec<Kernel> {
    let mut hoister = Hoister::default();
    for kernel in kernels {
        let kernel = hoister.kernel(arena, kernel);
        hoister.kernels.push(kernel);
    }
    hoister.kernels
}

impl Hoister {
    fn kernel(&mut self, arena: &mut Arena, mut kernel: Kernel) -> Kernel {
        let mut at = Place {
            loops: kernel.loops.clone(),
            name: kernel.name.clone(),
            uses: uses(arena, &kernel),
            memo: HashMap::new(),
            grouped: HashSet::new(),
            walked: kernel.walked(),
            walks: HashMap::new(),
        };
        for root in &mut kernel.roots {
            root.value = self.visit(arena, root.value, &mut at);
        }
        kernel
    }

    fn visit(&mut self, arena: &mut Arena, e: E, at: &mut Place) -> E {
        if arena.is_leaf(e) || !arena.active(e) {
            return e;
        }
        if let Some(&done) = at.memo.get(&e) {
            return done;
        }
        let new = self.change(arena, e, at);
        at.memo.insert(e, new);
        new
    }

    fn change(&mut self, arena: &mut Arena, e: E, at: &mut Place) -> E {
        // A quotient by something stored is a product by its stored reciprocal.
        if let Expr::Binary(BinOp::Div, a, b) = *arena.get(e)
            && arena.active(b)
        {
            let reciprocal = arena.unary(UnOp::Recip, b);
            if at.plan(arena, reciprocal).is_some() {
                let product = arena.mul(a, reciprocal);
                return self.visit(arena, product, at);
            }
        }
        // A constant to derivatives must stay one: only what it holds is stored.
        if !matches!(arena.get(e), Expr::Detach(_))
            && let Some(plan) = at.plan(arena, e)
        {
            return self.store(arena, plan, &at.name);
        }
        if !at.grouped.contains(&e)
            && let Some(product) = regrouped(arena, e, at)
        {
            at.grouped.insert(product);
            return self.visit(arena, product, at);
        }
        if let Expr::Reduce(ReduceOp::Sum, over, body) = *arena.get(e)
            && !at.must_stay(arena, e)
        {
            let longest = at.loops.iter().map(|&l| arena.size(l)).max().unwrap_or(0);
            let long = arena.size(over) >= LONG_SUM && arena.size(over) > longest;
            if long && !lies_along(arena, body, over, &at.loops) {
                return self.sum(arena, e, over, body, &at.name.clone());
            }
        }
        arena.map_operands(e, |arena, x| self.visit(arena, x, at))
    }

    fn store(&mut self, arena: &mut Arena, plan: Plan, name: &str) -> E {
        let buf = match self.stored.get(&plan.value) {
            Some(&buf) => buf,
            None => {
                let (buf, addr) = arena.scratch(format!("of {name}"), &plan.loops, false);
                self.push(arena, plan.loops, Root::store(buf, addr, plan.value), name);
                self.stored.insert(plan.value, buf);
                buf
            }
        };
        arena.load(buf, plan.addr)
    }

    fn sum(&mut self, arena: &mut Arena, e: E, over: LoopId, body: E, name: &str) -> E {
        let own = arena.free(e).to_vec();
        let addr = arena.address(&own);
        if let Some(&buf) = self.stored.get(&e) {
            return arena.load(buf, addr);
        }
        let (buf, addr) = arena.scratch(format!("sum of {name}"), &own, true);
        let mut loops = own;
        loops.push(over);
        loops.sort_unstable();
        self.push(arena, loops, Root::accum(buf, addr.clone(), body), name);
        self.stored.insert(e, buf);
        arena.load(buf, addr)
    }

    fn push(&mut self, arena: &mut Arena, loops: Vec<LoopId>, root: Root, name: &str) {
        let kernel = Kernel { name: name.to_string(), span: None, loops, walk: None, roots: vec![root], call: None };
        let kernel = self.kernel(arena, kernel);
        self.kernels.push(kernel);
    }
}

/// Whether and how to store an expression that stands in a kernel over `loops`.
fn plan(arena: &mut Arena, e: E, loops: &[LoopId]) -> Option<Plan> {
    if arena.is_leaf(e) || !arena.active(e) {
        return None;
    }
    let own = arena.free(e).to_vec();
    if !is_subset(loops, &own) {
        let lane = loops.iter().copied().max_by_key(|&l| arena.size(l))?;
        let worth = !own.contains(&lane) || arena.cost(e) >= WORTH_STORING;
        let addr = arena.address(&own);
        // A reduction may bind a loop of this kernel again: it must not stay inside.
        return (worth || holds_reduction(arena, e)).then_some(Plan { loops: own, value: e, addr });
    }
    if loops.is_empty() || arena.cost(e) < WORTH_GATHERING { None } else { gathered(arena, e, &own) }
}

/// A product with the factors that are the same in all lanes brought together, if there are several in parts of it that
/// have no other use.
fn regrouped(arena: &mut Arena, e: E, at: &Place) -> Option<E> {
    let lane = at.loops.iter().copied().max_by_key(|&l| arena.size(l))?;
    let (mut common, mut varying, mut sign) = (vec![], vec![], 1.0);
    let mut stack = vec![e];
    while let Some(x) = stack.pop() {
        let inner = x == e || at.uses.get(&x).is_none_or(|&n| n == 1);
        match *arena.get(x) {
            Expr::Binary(BinOp::Mul, a, b) if inner => stack.extend([b, a]),
            Expr::Unary(UnOp::Neg, a) if inner => {
                sign = -sign;
                stack.push(a);
            }
            _ if arena.varies(x, lane) => varying.push(x),
            _ => common.push(x),
        }
    }
    // A sign alone is not worth a copy of what is read as it stands.
    let several = common.len() >= 2 || sign < 0.0 && common.iter().any(|x| !arena.is_leaf(*x));
    if !several || varying.is_empty() || !common.iter().any(|&x| arena.active(x)) {
        return None;
    }
    let factor = arena.number(sign);
    let factor = common.into_iter().fold(factor, |p, x| arena.mul(p, x));
    let rest = varying.into_iter().reduce(|p, x| arena.mul(p, x)).expect("some factor varies");
    // Unsimplified, which would take the sign and the constant out again.
    let product = arena.intern(Expr::Binary(BinOp::Mul, rest, factor));
    (product != e).then_some(product)
}

/// Whether what a sum reads lies together along a loop around it that is long enough for lanes, and not along the sum itself: as the
/// places of an image under a kernel.
fn lies_along(arena: &Arena, body: E, over: LoopId, loops: &[LoopId]) -> bool {
    let long = |l: LoopId| l != over && loops.contains(&l) && arena.size(l) >= LONG_SUM;
    let steps = |e: &E| match arena.get(*e) {
        Expr::Load(_, addr) if addr.uses(over) && loops.iter().any(|l| long(*l) && addr.uses(*l)) => Some(&addr.terms),
        _ => None,
    };
    let together = |l: LoopId, terms: &[(AddrTerm, usize)]| terms.contains(&(AddrTerm::Loop(l), 1));
    let reached = arena.reachable([body]);
    let read: Vec<_> = reached.iter().filter_map(steps).collect();
    !read.is_empty() && read.iter().all(|t| !together(over, t) && loops.iter().any(|l| long(*l) && together(*l, t)))
}

fn holds_reduction(arena: &Arena, e: E) -> bool {
    arena.reachable([e]).iter().any(|&x| matches!(arena.get(x), Expr::Reduce(..)))
}

/// A function of values that are all gathered from smaller plates: evaluate it there, and gather the result.
fn gathered(arena: &mut Arena, e: E, own: &[LoopId]) -> Option<Plan> {
    let nodes = arena.reachable([e]);
    let (mut terms, mut used, mut bound) = (vec![], own.to_vec(), vec![]);
    for &x in &nodes {
        match arena.get(x) {
            Expr::Load(_, addr) => terms.extend(addr.terms.iter().map(|(t, _)| t.clone())),
            Expr::Counter(id) => terms.push(AddrTerm::Loop(*id)),
            // Its reads by this loop's name mean another cell than those outside of it.
            Expr::Reduce(_, over, _) if own.contains(over) => return None,
            Expr::Reduce(_, over, _) => {
                used.push(*over);
                bound.push(*over);
            }
            Expr::Const(_) | Expr::Unary(..) | Expr::Binary(..) | Expr::Select(..) | Expr::Detach(_) => {}
        }
    }
    // A loop that is bound inside is not one that the value depends on.
    let mut atoms: Vec<AddrTerm> = vec![];
    for term in terms {
        let depends = match &term {
            AddrTerm::Loop(l) => own.contains(l),
            AddrTerm::Gather(_, inner) => own.iter().any(|l| inner.uses(*l)),
        };
        // A position that differs from term to term of a sum inside is not that of a cell.
        if depends && matches!(&term, AddrTerm::Gather(_, inner) if bound.iter().any(|l| inner.uses(*l))) {
            return None;
        }
        if depends && !atoms.contains(&term) {
            atoms.push(term);
        }
    }
    if atoms.iter().all(|t| matches!(t, AddrTerm::Loop(_))) {
        return None;
    }
    let mut replace: HashMap<AddrTerm, LoopId> = HashMap::new();
    let mut addr = Addr::default();
    let (mut stride, mut loops) = (1, vec![]);
    for atom in atoms {
        let id = match &atom {
            AddrTerm::Loop(id) => *id,
            AddrTerm::Gather(index, _) => {
                let plate = arena.target(*index)?;
                let mut n = 0;
                loop {
                    let id = arena.known_plate_loop(plate, n)?;
                    if !used.contains(&id) {
                        break id;
                    }
                    n += 1;
                }
            }
        };
        used.push(id);
        loops.push(id);
        addr.terms.push((atom.clone(), stride));
        stride *= arena.size(id);
        replace.insert(atom, id);
    }
    if 2 * stride > arena.cells(own) {
        return None;
    }
    // The buffer is laid out by sorted loops.
    let sorted = {
        let mut s = loops.clone();
        s.sort_unstable();
        s
    };
    let layout = arena.address(&sorted);
    for (term, stride) in &mut addr.terms {
        let id = AddrTerm::Loop(replace[term]);
        *stride = layout.terms.iter().find(|t| t.0 == id).expect("every loop is in the layout").1;
    }
    let mut memo = HashMap::new();
    let value = arena.rewrite(e, &mut memo, &mut |arena, x| {
        let Expr::Load(buf, addr) = arena.get(x).clone() else { return None };
        let terms = addr.terms.iter().map(|(t, s)| match replace.get(t) {
            Some(id) => (AddrTerm::Loop(*id), *s),
            None => (t.clone(), *s),
        });
        let addr = Addr { offset: addr.offset, terms: terms.collect() };
        Some(arena.load(buf, addr))
    });
    Some(Plan { loops: sorted, value, addr })
}
