//! The arena of lowering: hash-consed scalar expressions over loops and buffers, whose sizes are known.
//!
//! An expression is a number per setting of its free loops. Passes rewrite expressions; only `schedule` orders them
//! into statements, so that common subexpressions, dead code and the place of each loop need no pass of their own.

use std::collections::HashMap;
use std::sync::Arc;

use crate::hir::PlateId;
use crate::lower::graph::{Addr, AddrTerm, BinOp, BufId, BufKind, Buffer, LoopId, ReduceOp, UnOp};

/// An expression; operands have smaller ids than their users.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub(crate) struct E(pub u32);

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Expr {
    /// Bits of an `f64`.
    Const(u64),
    Load(BufId, Addr),
    Counter(LoopId),
    Unary(UnOp, E),
    Binary(BinOp, E, E),
    Select(E, E, E),
    /// Over every index of the loop, which is bound here.
    Reduce(ReduceOp, LoopId, E),
    /// The operand's value, as a constant for derivatives.
    Detach(E),
}

#[derive(Clone)]
struct Info {
    free: Box<[LoopId]>,
    active: bool,
    cost: f32,
}

/// A loop that regions may use. `LoopId` is its index.
#[derive(Clone, Debug)]
pub(crate) struct LoopInfo {
    pub size: usize,
    /// For people: `houses`, or `houses where …`.
    pub name: String,
}

#[derive(Clone, Default)]
pub(crate) struct Arena {
    nodes: Vec<Expr>,
    info: Vec<Info>,
    interned: HashMap<Expr, E>,
    pub buffers: Vec<Buffer>,
    /// By `BufId`: whether its numbers depend on theta, or change from run to run.
    active: Vec<bool>,
    /// Data that change from run to run: rows of a batch.
    fed: std::collections::HashSet<BufId>,
    pub loops: Vec<LoopInfo>,
    /// The loops over whole plates: the n-th is used where n of the same plate are open at once.
    plates: HashMap<(PlateId, usize), LoopId>,
    /// What plate the entries of an index buffer are positions of.
    targets: HashMap<BufId, PlateId>,
    /// Data-only expressions already evaluated.
    pub(super) settled: HashMap<E, E>,
}

impl Arena {
    pub fn get(&self, e: E) -> &Expr {
        &self.nodes[e.0 as usize]
    }

    /// The loops it varies over, sorted.
    pub fn free(&self, e: E) -> &[LoopId] {
        &self.info[e.0 as usize].free
    }

    /// Whether it depends on theta.
    pub fn active(&self, e: E) -> bool {
        self.info[e.0 as usize].active
    }

    /// Rough time of one evaluation, in additions.
    pub fn cost(&self, e: E) -> f32 {
        self.info[e.0 as usize].cost
    }

    pub fn size(&self, id: LoopId) -> usize {
        self.loops[id.0 as usize].size
    }

    /// Number of cells of a set of loops.
    pub fn cells(&self, loops: &[LoopId]) -> usize {
        loops.iter().map(|&l| self.size(l)).product()
    }

    pub fn varies(&self, e: E, id: LoopId) -> bool {
        self.free(e).binary_search(&id).is_ok()
    }

    pub fn buffer(&mut self, name: impl Into<String>, len: usize, kind: BufKind, active: bool) -> BufId {
        self.buffers.push(Buffer { name: name.into(), len, kind });
        self.active.push(active);
        BufId(self.buffers.len() as u32 - 1)
    }

    /// Take back the newest buffer, which no expression reads.
    pub fn forget_last(&mut self, buf: BufId) {
        debug_assert_eq!(buf.0 as usize + 1, self.buffers.len());
        self.buffers.pop();
        self.active.pop();
    }

    pub fn data(&mut self, name: impl Into<String>, numbers: Arc<[f64]>) -> BufId {
        self.buffer(name, numbers.len(), BufKind::Data(numbers), false)
    }

    /// Data that the caller gives before each run.
    pub fn feed(&mut self, name: impl Into<String>, len: usize) -> BufId {
        let buf = self.buffer(name, len, BufKind::Input, true);
        self.fed.insert(buf);
        buf
    }

    pub fn is_fed(&self, buf: BufId) -> bool {
        self.fed.contains(&buf)
    }

    /// A buffer that regions fill, one number per cell of `loops`, with its address in them.
    pub fn scratch(&mut self, name: impl Into<String>, loops: &[LoopId], zeroed: bool) -> (BufId, Addr) {
        let buf = self.buffer(name, self.cells(loops), BufKind::Scratch { zeroed }, true);
        (buf, self.address(loops))
    }

    /// An index buffer whose entries are positions on a plate.
    pub fn index(&mut self, name: impl Into<String>, entries: Vec<u32>, plate: PlateId) -> BufId {
        let buf = self.buffer(name, entries.len(), BufKind::Index(entries.into()), false);
        self.targets.insert(buf, plate);
        buf
    }

    pub fn target(&self, index: BufId) -> Option<PlateId> {
        self.targets.get(&index).copied()
    }

    /// Say whether a buffer that nothing reads yet depends on theta.
    pub fn set_active(&mut self, buf: BufId, active: bool) {
        self.active[buf.0 as usize] = active;
    }

    pub fn is_active(&self, buf: BufId) -> bool {
        self.active[buf.0 as usize]
    }

    pub fn new_loop(&mut self, size: usize, name: impl Into<String>) -> LoopId {
        self.loops.push(LoopInfo { size, name: name.into() });
        LoopId(self.loops.len() as u32 - 1)
    }

    /// The n-th loop over a whole plate.
    pub fn plate_loop(&mut self, plate: PlateId, n: usize, size: usize, name: &str) -> LoopId {
        if let Some(&id) = self.plates.get(&(plate, n)) {
            return id;
        }
        let id = self.new_loop(size, name);
        self.plates.insert((plate, n), id);
        id
    }

    /// The n-th loop over a plate like this one.
    pub fn known_plate_loop(&mut self, plate: PlateId, n: usize) -> Option<LoopId> {
        let first = self.loops[self.plates.get(&(plate, 0))?.0 as usize].clone();
        Some(self.plate_loop(plate, n, first.size, &first.name))
    }

    /// The address of a cell in a buffer with one number per cell of `loops`, the first contiguous.
    pub fn address(&self, loops: &[LoopId]) -> Addr {
        let mut stride = 1;
        let mut terms = vec![];
        for &l in loops {
            terms.push((AddrTerm::Loop(l), stride));
            stride *= self.size(l);
        }
        Addr { offset: 0, terms }
    }

    /// The expression as given, without simplification.
    pub(super) fn intern(&mut self, expr: Expr) -> E {
        if let Some(&e) = self.interned.get(&expr) {
            return e;
        }
        let info = self.describe(&expr);
        let e = E(self.nodes.len() as u32);
        self.nodes.push(expr.clone());
        self.info.push(info);
        self.interned.insert(expr, e);
        e
    }

    fn describe(&self, expr: &Expr) -> Info {
        let mut free = vec![];
        let (mut active, mut cost) = (false, own_cost(expr));
        operands(expr, |e| {
            let info = &self.info[e.0 as usize];
            free.extend_from_slice(&info.free);
            active |= info.active;
            cost += info.cost;
        });
        match expr {
            Expr::Load(buf, addr) => {
                address_loops(addr, &mut free);
                active = self.is_active(*buf);
            }
            Expr::Counter(id) => free.push(*id),
            Expr::Reduce(_, over, _) => {
                free.retain(|l| l != over);
                cost *= self.size(*over) as f32;
            }
            Expr::Const(_) | Expr::Unary(..) | Expr::Binary(..) | Expr::Select(..) | Expr::Detach(_) => {}
        }
        free.sort_unstable();
        free.dedup();
        Info { free: free.into(), active, cost }
    }

    pub fn number(&mut self, v: f64) -> E {
        // One zero: the sign of a zero constant never matters here, and two would defeat the rules on zero.
        self.intern(Expr::Const(if v == 0.0 { 0 } else { v.to_bits() }))
    }

    pub fn as_const(&self, e: E) -> Option<f64> {
        match self.get(e) {
            Expr::Const(bits) => Some(f64::from_bits(*bits)),
            _ => None,
        }
    }

    pub fn is_number(&self, e: E, v: f64) -> bool {
        self.as_const(e) == Some(v)
    }

    pub fn load(&mut self, buf: BufId, addr: Addr) -> E {
        self.intern(Expr::Load(buf, addr))
    }

    pub fn counter(&mut self, id: LoopId) -> E {
        self.intern(Expr::Counter(id))
    }

    pub fn detach(&mut self, e: E) -> E {
        if self.active(e) { self.intern(Expr::Detach(e)) } else { e }
    }

    pub fn add(&mut self, a: E, b: E) -> E {
        self.binary(BinOp::Add, a, b)
    }

    pub fn sub(&mut self, a: E, b: E) -> E {
        self.binary(BinOp::Sub, a, b)
    }

    pub fn mul(&mut self, a: E, b: E) -> E {
        self.binary(BinOp::Mul, a, b)
    }

    pub fn div(&mut self, a: E, b: E) -> E {
        self.binary(BinOp::Div, a, b)
    }

    pub fn neg(&mut self, a: E) -> E {
        self.unary(UnOp::Neg, a)
    }

    pub fn scale(&mut self, a: E, by: f64) -> E {
        let by = self.number(by);
        self.mul(a, by)
    }

    pub fn sum(&mut self, over: LoopId, body: E) -> E {
        self.reduce(ReduceOp::Sum, over, body)
    }

    /// Call `f` on every operand.
    pub fn each_operand(&self, e: E, f: impl FnMut(E)) {
        operands(self.get(e), f);
    }

    /// The same operation on other operands, simplified.
    pub fn map_operands(&mut self, e: E, mut f: impl FnMut(&mut Arena, E) -> E) -> E {
        match self.get(e).clone() {
            Expr::Const(_) | Expr::Load(..) | Expr::Counter(_) => e,
            Expr::Unary(op, a) => {
                let a = f(self, a);
                self.unary(op, a)
            }
            Expr::Binary(op, a, b) => {
                let (a, b) = (f(self, a), f(self, b));
                self.binary(op, a, b)
            }
            Expr::Select(c, a, b) => {
                let (c, a, b) = (f(self, c), f(self, a), f(self, b));
                self.select(c, a, b)
            }
            Expr::Reduce(op, over, body) => {
                let body = f(self, body);
                self.reduce(op, over, body)
            }
            Expr::Detach(a) => {
                let a = f(self, a);
                self.detach(a)
            }
        }
    }

    /// Replace expressions: where `change` gives one it stands as it is; elsewhere operands are rewritten.
    pub fn rewrite(
        &mut self,
        e: E,
        memo: &mut HashMap<E, E>,
        change: &mut impl FnMut(&mut Arena, E) -> Option<E>,
    ) -> E {
        if let Some(&done) = memo.get(&e) {
            return done;
        }
        let new = match change(self, e) {
            Some(new) => new,
            None => self.map_operands(e, |arena, x| arena.rewrite(x, memo, change)),
        };
        memo.insert(e, new);
        new
    }

    /// Every expression under `roots`, operands first.
    pub fn reachable(&self, roots: impl IntoIterator<Item = E>) -> Vec<E> {
        let mut seen = std::collections::HashSet::new();
        let mut stack: Vec<E> = roots.into_iter().collect();
        while let Some(e) = stack.pop() {
            if seen.insert(e) {
                self.each_operand(e, |x| stack.push(x));
            }
        }
        let mut list: Vec<E> = seen.into_iter().collect();
        list.sort_unstable();
        list
    }

    /// Whether evaluating it takes anything at all beside reading.
    pub fn is_leaf(&self, e: E) -> bool {
        matches!(self.get(e), Expr::Const(_) | Expr::Load(..) | Expr::Counter(_))
    }
}

fn operands(expr: &Expr, mut f: impl FnMut(E)) {
    match *expr {
        Expr::Const(_) | Expr::Load(..) | Expr::Counter(_) => {}
        Expr::Unary(_, a) | Expr::Reduce(_, _, a) | Expr::Detach(a) => f(a),
        Expr::Binary(_, a, b) => {
            f(a);
            f(b);
        }
        Expr::Select(c, a, b) => {
            f(c);
            f(a);
            f(b);
        }
    }
}

/// The loops that an address uses, appended.
pub(crate) fn address_loops(addr: &Addr, out: &mut Vec<LoopId>) {
    for (term, _) in &addr.terms {
        match term {
            AddrTerm::Loop(id) => out.push(*id),
            AddrTerm::Gather(_, inner) => address_loops(inner, out),
        }
    }
}

/// The first is the second without these, both sorted.
pub(crate) fn without(set: &[LoopId], other: &[LoopId]) -> Vec<LoopId> {
    set.iter().copied().filter(|l| !other.contains(l)).collect()
}

pub(crate) fn is_subset(set: &[LoopId], of: &[LoopId]) -> bool {
    set.iter().all(|l| of.contains(l))
}

fn own_cost(expr: &Expr) -> f32 {
    match expr {
        Expr::Const(_) | Expr::Counter(_) | Expr::Load(..) | Expr::Detach(_) => 0.0,
        Expr::Unary(op, _) => match op {
            UnOp::Neg | UnOp::Abs | UnOp::Floor | UnOp::Ceil | UnOp::Round | UnOp::Not | UnOp::Sign => 1.0,
            UnOp::Sqrt | UnOp::Recip => 4.0,
            UnOp::Exp | UnOp::Log | UnOp::Log1p | UnOp::Expm1 => 16.0,
            UnOp::Tanh | UnOp::Sin | UnOp::Cos | UnOp::Atan | UnOp::Sigmoid | UnOp::Softplus | UnOp::Erf => 20.0,
            UnOp::Phi | UnOp::LogPhi | UnOp::InvMills => 30.0,
            UnOp::Lgamma | UnOp::Digamma | UnOp::Trigamma => 40.0,
            UnOp::LogBesselI0 | UnOp::BesselRatio => 60.0,
        },
        Expr::Binary(op, _, _) => match op {
            BinOp::Add
            | BinOp::Sub
            | BinOp::Mul
            | BinOp::Min
            | BinOp::Max
            | BinOp::Less
            | BinOp::LessEq
            | BinOp::Equal
            | BinOp::NotEqual
            | BinOp::And
            | BinOp::Or => 1.0,
            BinOp::Div => 4.0,
            BinOp::Pow => 40.0,
            BinOp::XLogY => 18.0,
            BinOp::LogGammaDraw | BinOp::LogGammaDrawSlope => 2000.0,
        },
        Expr::Select(..) | Expr::Reduce(..) => 1.0,
    }
}
