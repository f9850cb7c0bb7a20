//! From plans to Cranelift instructions: loops, phases, and where memory is touched.
//!
//! Instructions are emitted where they are needed; Cranelift moves what does not change out of loops and merges what is
//! computed twice. It may not move loads of buffers that a run writes, nor calls: [`super::plan`] places those.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{F32, F32X4, F64, F64X2, I32, I64};
use cranelift_codegen::ir::{BlockArg, Endianness, InstBuilder, MemFlagsData, Type, Value};
use cranelift_frontend::FunctionBuilder;

use super::jit::{self, Imports};
use super::ode::OdeCode;
use super::ops::Scope;
use super::plan::{Callee, Item, Lanes, Phase, Plan, identity};
use super::walk::{for_uses, stride};
use crate::lower::graph::{
    Addr, AddrTerm, BinOp, BufId, BufKind, Call, Direction, Graph, LoopId, Op, ReduceOp, Region, Stmt, ValId,
};

/// Numbers between one block buffer and the next beyond the block: buffers a multiple of 4096 bytes apart would seem to
/// the processor to overlap.
const APART: usize = 8;

/// How far a loop runs.
#[derive(Clone, Copy)]
pub enum Count {
    Fixed(usize),
    Computed(Value),
}

pub struct Emitter<'a, 'f> {
    pub b: FunctionBuilder<'f>,
    pub imports: &'a mut Imports,
    graph: &'a Graph,
    odes: &'a [Arc<OdeCode>],
    /// The address of the table of buffers.
    table: Value,
    counters: HashMap<LoopId, Value>,
    /// Values outside lanes.
    scalars: HashMap<ValId, Value>,
    /// The lane loop at hand.
    lanes: Option<Block<'a>>,
    /// Products that are read once, so that adding them to a sum may round once.
    products: HashMap<ValId, (ValId, ValId)>,
    /// Buffers that hold numbers in single precision.
    single: &'a HashSet<BufId>,
    /// Most numbers of lane scratch that a region takes.
    pub scratch: usize,
}

/// The block of lanes at hand.
#[derive(Clone, Copy)]
struct Block<'a> {
    plan: &'a Lanes<'a>,
    start: Value,
    count: Count,
}

impl<'a, 'f> Emitter<'a, 'f> {
    pub fn new(
        b: FunctionBuilder<'f>,
        imports: &'a mut Imports,
        graph: &'a Graph,
        odes: &'a [Arc<OdeCode>],
        table: Value,
        single: &'a HashSet<BufId>,
    ) -> Self {
        Emitter {
            b,
            imports,
            graph,
            odes,
            table,
            counters: HashMap::new(),
            scalars: HashMap::new(),
            lanes: None,
            products: HashMap::new(),
            single,
            scratch: 0,
        }
    }

    pub fn region(&mut self, plan: &'a Plan<'a>) {
        let loops = &plan.region.loops;
        if loops.iter().any(|l| l.size == 0) {
            return;
        }
        self.scalars.clear();
        self.products = products(plan.region);
        self.nest(plan, 0);
    }

    /// The statements at this depth of loops, and those further in.
    fn nest(&mut self, plan: &'a Plan<'a>, depth: usize) {
        let loops = &plan.region.loops;
        let Some(over) = loops.get(depth) else {
            return self.scalar(&plan.levels[depth], &mut Scope::scalar());
        };
        self.scalar(&plan.levels[depth], &mut Scope::scalar());
        let innermost = depth + 1 == loops.len();
        if let (true, Some(lanes)) = (innermost, &plan.lanes) {
            return self.lanes(lanes);
        }
        let zero = self.b.ins().iconst(I64, 0);
        if innermost && !plan.sequential {
            let sums = sums(plan.levels[depth + 1].iter().copied(), over.id);
            let init = vec![self.b.ins().f64const(0.0); sums.len()];
            let totals = self.counted(zero, Count::Fixed(over.size), 1, init, |e, i, sums_so_far| {
                let i = e.walked(plan, depth, i);
                e.counters.insert(over.id, i);
                let mut scope = Scope::scalar();
                scope.sums = sums.iter().map(|s| *s as *const Stmt).zip(sums_so_far).collect();
                e.scalar(&plan.levels[depth + 1], &mut scope);
                sums.iter().map(|s| scope.sums[&(*s as *const Stmt)]).collect()
            });
            for (stmt, total) in sums.into_iter().zip(totals) {
                self.add_total(stmt, total);
            }
            return;
        }
        self.counted(zero, Count::Fixed(over.size), 1, vec![], |e, i, _| {
            let i = e.walked(plan, depth, i);
            e.counters.insert(over.id, i);
            e.nest(plan, depth + 1);
            vec![]
        });
    }

    /// The position of a loop at a step: another one where it is walked from its end.
    fn walked(&mut self, plan: &Plan, depth: usize, step: Value) -> Value {
        match plan.region.walk {
            Some(Direction::Backwards) if depth == 0 => {
                let last = self.b.ins().iconst(I64, plan.region.loops[0].size as i64 - 1);
                self.b.ins().isub(last, step)
            }
            Some(Direction::Forwards | Direction::Backwards) | None => step,
        }
    }

    /// Statements outside lanes. Their values stay visible to what follows.
    fn scalar(&mut self, stmts: &[&Stmt], scope: &mut Scope) {
        for stmt in stmts {
            self.stmt(stmt, std::slice::from_mut(scope));
        }
        self.scalars.extend(scope.values.iter().map(|(v, x)| (*v, *x)));
    }

    /// `memory += total` for an accumulation whose address does not vary in the loop just left.
    fn add_total(&mut self, stmt: &Stmt, total: Value) {
        let Stmt::Accum { buf, addr, .. } = stmt else { unreachable!("only accumulations are summed") };
        let (at, offset) = self.place(*buf, addr, 0);
        self.add_to(at, offset, total);
    }

    fn add_to(&mut self, at: Value, offset: i32, value: Value) {
        let ty = self.b.func.dfg.value_type(value);
        let before = self.b.ins().load(ty, memory(), at, offset);
        let after = self.b.ins().fadd(before, value);
        self.b.ins().store(memory(), after, at, offset);
    }

    fn lanes(&mut self, plan: &'a Lanes<'a>) {
        self.scratch = self.scratch.max(plan.slot_count * (plan.block + APART));
        let size = plan.over.size;
        for stmt in &plan.even {
            let Stmt::Accum { value, .. } = stmt else { unreachable!("only accumulations are even") };
            let n = self.b.ins().f64const(size as f64);
            let total = self.b.ins().fmul(self.scalars[value], n);
            self.add_total(stmt, total);
        }
        let zero = self.b.ins().iconst(I64, 0);
        let in_one = matches!(plan.phases.as_slice(), [] | [Phase::Fused(_)]) || size <= plan.block;
        if in_one {
            self.lanes = Some(Block { plan, start: zero, count: Count::Fixed(size) });
            self.phases(&plan.phases);
        } else {
            self.counted(zero, Count::Fixed(size), plan.block as i64, vec![], |e, start, _| {
                let count = if size.is_multiple_of(plan.block) {
                    Count::Fixed(plan.block)
                } else {
                    let block = e.b.ins().iconst(I64, plan.block as i64);
                    let end = e.b.ins().iconst(I64, size as i64);
                    let rest = e.b.ins().isub(end, start);
                    Count::Computed(e.b.ins().smin(rest, block))
                };
                e.lanes = Some(Block { plan, start, count });
                e.phases(&plan.phases);
                vec![]
            });
        }
        self.lanes = None;
    }

    fn phases(&mut self, phases: &'a [Phase<'a>]) {
        for phase in phases {
            match phase {
                Phase::Fused(items) => self.fused(items),
                Phase::Call { routine, args, outs } => self.block_call(*routine, args, outs),
                Phase::Contract { stmt, value } => self.contract(stmt, *value),
                Phase::Reduce { over, scalars, phases } => {
                    let zero = self.b.ins().iconst(I64, 0);
                    self.counted(zero, Count::Fixed(over.size), 1, vec![], |e, k, _| {
                        e.counters.insert(over.id, k);
                        e.scalar(scalars, &mut Scope::scalar());
                        e.phases(phases);
                        vec![]
                    });
                }
            }
        }
    }

    /// One pass over the block: pairs of lanes, several pairs at a time, then what is left one by one.
    fn fused(&mut self, items: &'a [Item<'a>]) {
        let block = self.lanes.expect("phases stand in a block");
        let id = block.plan.over.id;
        let sums = sums(items.iter().filter_map(|i| if let Item::Do(s) = i { Some(*s) } else { None }), id);
        let copies = copies(items.len(), sums.len(), block.count);
        let group = 2 * copies as i64;
        let (whole, rest) = match block.count {
            Count::Fixed(n) => (Count::Fixed(n / group as usize * group as usize), Count::Fixed(n % group as usize)),
            Count::Computed(n) => {
                let whole = self.b.ins().band_imm_s(n, -group);
                (Count::Computed(whole), Count::Computed(self.b.ins().isub(n, whole)))
            }
        };
        let zero = self.b.ins().f64const(0.0);
        let init = vec![self.b.ins().splat(F64X2, zero); sums.len() * copies];
        let wide = self.counted(block.start, whole, group, init, |e, i, so_far| {
            e.counters.insert(id, i);
            let mut scopes: Vec<Scope> = (0..copies).map(|c| Scope::wide(2 * c as i64)).collect();
            for (c, scope) in scopes.iter_mut().enumerate() {
                scope.sums =
                    (sums.iter().enumerate()).map(|(k, s)| (*s as *const Stmt, so_far[k * copies + c])).collect();
            }
            e.items(items, &mut scopes);
            sums.iter().flat_map(|s| scopes.iter().map(|scope| scope.sums[&(*s as *const Stmt)])).collect()
        });
        let mut totals = vec![];
        for chunk in wide.chunks_exact(copies) {
            let mut sum = chunk[0];
            for other in &chunk[1..] {
                sum = self.b.ins().fadd(sum, *other);
            }
            let (low, high) = (self.b.ins().extractlane(sum, 0), self.b.ins().extractlane(sum, 1));
            totals.push(self.b.ins().fadd(low, high));
        }
        let start = match whole {
            Count::Fixed(n) => self.b.ins().iadd_imm_s(block.start, n as i64),
            Count::Computed(n) => self.b.ins().iadd(block.start, n),
        };
        let totals = self.counted(start, rest, 1, totals, |e, i, so_far| {
            e.counters.insert(id, i);
            let mut scope = Scope::scalar();
            scope.sums = sums.iter().map(|s| *s as *const Stmt).zip(so_far).collect();
            e.items(items, std::slice::from_mut(&mut scope));
            sums.iter().map(|s| scope.sums[&(*s as *const Stmt)]).collect()
        });
        for (stmt, total) in sums.into_iter().zip(totals) {
            self.add_total(stmt, total);
        }
    }

    /// Copy by copy, so that few values live at once; reductions with all copies in one loop.
    fn items(&mut self, items: &'a [Item<'a>], scopes: &mut [Scope]) {
        let is_loop = |i: &Item| matches!(i, Item::Do(Stmt::Reduce { .. }));
        for run in items.chunk_by(|a, b| !is_loop(a) && !is_loop(b)) {
            if let [Item::Do(stmt @ Stmt::Reduce { .. })] = run {
                self.stmt(stmt, scopes);
                continue;
            }
            for scope in scopes.iter_mut() {
                for item in run {
                    self.item(item, scope);
                }
            }
        }
    }

    fn item(&mut self, item: &Item, scope: &mut Scope) {
        match item {
            Item::Do(stmt) => self.stmt(stmt, std::slice::from_mut(scope)),
            Item::Keep { slot, value } => {
                let x = self.value(*value, scope);
                self.store_slot(*slot, x, scope);
            }
            Item::Fill(slot, number) => {
                let x = self.constant(*number, scope);
                self.store_slot(*slot, x, scope);
            }
            Item::Combine(out, op, value) => {
                let x = self.value(*value, scope);
                let so_far = self.load_slot(*out, scope);
                let x = self.combine(*op, so_far, x);
                self.store_slot(*out, x, scope);
            }
        }
    }

    fn stmt(&mut self, stmt: &Stmt, scopes: &mut [Scope]) {
        match stmt {
            Stmt::Let(v, op) => {
                for scope in scopes {
                    self.define(*v, op, scope);
                }
            }
            Stmt::Reduce { over, body, outs } => {
                let mut init = vec![];
                for scope in scopes.iter() {
                    for (_, op, _) in outs {
                        init.push(self.constant(identity(*op), scope));
                    }
                }
                let zero = self.b.ins().iconst(I64, 0);
                let results = self.counted(zero, Count::Fixed(over.size), 1, init, |e, k, so_far| {
                    e.counters.insert(over.id, k);
                    for stmt in body {
                        e.stmt(stmt, scopes);
                    }
                    let mut next = vec![];
                    for (scope, so_far) in scopes.iter_mut().zip(so_far.chunks(outs.len().max(1))) {
                        for ((_, op, v), x) in outs.iter().zip(so_far) {
                            let y = e.value(*v, scope);
                            next.push(match (op, e.product(*v)) {
                                (ReduceOp::Sum, Some((a, b))) => {
                                    let (a, b) = (e.value(a, scope), e.value(b, scope));
                                    e.multiply_add(a, b, *x)
                                }
                                _ => e.combine(*op, *x, y),
                            });
                        }
                    }
                    next
                });
                for (scope, results) in scopes.iter_mut().zip(results.chunks(outs.len().max(1))) {
                    scope.values.extend(outs.iter().map(|(v, _, _)| *v).zip(results.iter().copied()));
                }
            }
            Stmt::Store { buf, addr, value } => {
                for scope in scopes {
                    let x = self.value(*value, scope);
                    if !scope.wide || self.lane_stride(addr) == Some(1) {
                        let (at, offset) = self.place(*buf, addr, scope.delta);
                        self.write(*buf, x, at, offset);
                        continue;
                    }
                    for lane in 0..2 {
                        let (at, offset) = self.place(*buf, addr, scope.delta + lane);
                        let x = self.b.ins().extractlane(x, lane as u8);
                        self.write(*buf, x, at, offset);
                    }
                }
            }
            Stmt::Accum { buf, addr, value } => {
                for scope in scopes {
                    self.accumulate(stmt, *buf, addr, *value, scope);
                }
            }
            Stmt::Call(call) => {
                // The program keeps what its code points to.
                let (routine, address) = match call {
                    Call::Matrix(call) => (jit::matrix_routine(), Arc::as_ptr(call) as i64),
                    Call::Product(call) => (jit::product_routine(), Arc::as_ptr(call) as i64),
                    Call::Ode(call) => {
                        let code = self.odes.iter().find(|c| Arc::ptr_eq(&c.call, call));
                        (jit::ode_routine(), Arc::as_ptr(code.expect("odes are compiled first")) as i64)
                    }
                };
                let call = self.b.ins().iconst(I64, address);
                self.imports.on_buffers(&mut self.b, routine, &[call, self.table]);
            }
            Stmt::Contract { .. } | Stmt::ContractT { .. } => {
                unreachable!("contractions outside blocks are written as reductions")
            }
        }
    }

    fn accumulate(&mut self, stmt: &Stmt, buf: BufId, addr: &Addr, value: ValId, scope: &mut Scope) {
        let x = self.value(value, scope);
        if let Some(sum) = scope.sums.get(&(stmt as *const Stmt)).copied() {
            let sum = match self.product(value) {
                Some((a, b)) => {
                    let (a, b) = (self.value(a, scope), self.value(b, scope));
                    self.multiply_add(a, b, sum)
                }
                None => self.b.ins().fadd(sum, x),
            };
            scope.sums.insert(stmt, sum);
            return;
        }
        if !scope.wide || self.lane_stride(addr) == Some(1) {
            let (at, offset) = self.place(buf, addr, scope.delta);
            return self.add_to(at, offset, x);
        }
        // In order of the lanes: two of them may go to the same place.
        for lane in 0..2 {
            let (at, offset) = self.place(buf, addr, scope.delta + lane);
            let x = self.b.ins().extractlane(x, lane as u8);
            self.add_to(at, offset, x);
        }
    }

    /// The factors of a value that is a product read once.
    fn product(&self, v: ValId) -> Option<(ValId, ValId)> {
        self.products.get(&v).copied()
    }

    /// A value in this scope.
    pub fn value(&mut self, v: ValId, scope: &mut Scope) -> Value {
        if let Some(x) = scope.values.get(&v) {
            return *x;
        }
        if let Some(x) = self.scalars.get(&v).copied() {
            return if scope.wide { self.b.ins().splat(F64X2, x) } else { x };
        }
        let plan = self.lanes.expect("values outside lanes are defined before they are used").plan;
        match plan.cheap.get(&v) {
            Some(op) => self.define(v, op, scope),
            None => {
                let x = self.load_slot(v, scope);
                scope.values.insert(v, x);
            }
        }
        scope.values[&v]
    }

    pub fn load(&mut self, buf: BufId, addr: &Addr, scope: &Scope) -> Value {
        if !scope.wide {
            let (at, offset) = self.place(buf, addr, scope.delta);
            return self.read(buf, F64, at, offset);
        }
        match self.lane_stride(addr) {
            Some(1) => {
                let (at, offset) = self.place(buf, addr, scope.delta);
                self.read(buf, F64X2, at, offset)
            }
            Some(0) => {
                let (at, offset) = self.place(buf, addr, scope.delta);
                let x = self.read(buf, F64, at, offset);
                self.b.ins().splat(F64X2, x)
            }
            _ => {
                let [low, high] = [0, 1].map(|lane| {
                    let (at, offset) = self.place(buf, addr, scope.delta + lane);
                    self.read(buf, F64, at, offset)
                });
                let pair = self.b.ins().scalar_to_vector(F64X2, low);
                self.b.ins().insertlane(pair, high, 1)
            }
        }
    }

    /// A number of a buffer, or two that follow each other.
    fn read(&mut self, buf: BufId, ty: Type, at: Value, offset: i32) -> Value {
        let flags = self.flags(buf);
        if !self.single.contains(&buf) {
            return self.b.ins().load(ty, flags, at, offset);
        }
        if ty == F64 {
            let x = self.b.ins().load(F32, flags, at, offset);
            return self.b.ins().fpromote(F64, x);
        }
        // Two numbers of 4 bytes, as one of 8.
        let both = self.b.ins().load(F64, flags, at, offset);
        let both = self.b.ins().scalar_to_vector(F64X2, both);
        let lanes = self.b.ins().bitcast(F32X4, in_memory_order(), both);
        self.b.ins().fvpromote_low(lanes)
    }

    /// Store what [`Emitter::read`] reads.
    fn write(&mut self, buf: BufId, x: Value, at: Value, offset: i32) {
        let x = match (self.single.contains(&buf), self.b.func.dfg.value_type(x) == F64) {
            (false, _) => x,
            (true, true) => self.b.ins().fdemote(F32, x),
            (true, false) => {
                let lanes = self.b.ins().fvdemote(x);
                let both = self.b.ins().bitcast(F64X2, in_memory_order(), lanes);
                self.b.ins().extractlane(both, 0)
            }
        };
        self.b.ins().store(memory(), x, at, offset);
    }

    /// A loop's counter as a number.
    pub fn counter(&mut self, id: LoopId, scope: &Scope) -> Value {
        let i = self.counters[&id];
        let in_lanes = self.lanes.is_some_and(|l| l.plan.over.id == id);
        let i = if in_lanes { self.b.ins().iadd_imm_s(i, scope.delta) } else { i };
        let x = self.b.ins().fcvt_from_sint(F64, i);
        if !scope.wide {
            return x;
        }
        let pair = self.b.ins().splat(F64X2, x);
        if !in_lanes {
            return pair;
        }
        let one = self.b.ins().f64const(1.0);
        let next = self.b.ins().fadd(x, one);
        self.b.ins().insertlane(pair, next, 1)
    }

    fn block_call(&mut self, routine: Callee, args: &[ValId], outs: &[ValId]) {
        let count = self.block_count();
        let mut values = vec![count];
        for v in args {
            let at = self.lanes_of(*v);
            values.push(at);
        }
        for v in outs {
            values.push(self.slot(*v));
        }
        self.imports.call_block(&mut self.b, routine, &values);
    }

    fn contract(&mut self, stmt: &Stmt, value: Option<ValId>) {
        let (over, a, b) = match stmt {
            Stmt::Contract { over, a, b, .. } => (over, a, b),
            Stmt::ContractT { over, a, target, .. } => (over, a, target),
            _ => unreachable!("a contraction"),
        };
        let lanes = self.lanes.expect("phases stand in a block");
        let count = self.block_count();
        let ks = self.b.ins().iconst(I64, over.size as i64);
        // Addresses of the block's first lane and the first k.
        let zero = self.b.ins().iconst(I64, 0);
        self.counters.insert(over.id, zero);
        self.counters.insert(lanes.plan.over.id, lanes.start);
        let walked = |addr: &Addr| stride(addr, over.id).expect("contractions are affine in their loop") as i64;
        let operand = |e: &mut Self, (buf, addr): &(BufId, Addr)| {
            let (at, offset) = e.place(*buf, addr, 0);
            (e.b.ins().iadd_imm_s(at, offset as i64), e.b.ins().iconst(I64, walked(addr)))
        };
        let (a, sa) = operand(self, a);
        let (b, sb) = operand(self, b);
        match (stmt, value) {
            (Stmt::Contract { out, .. }, _) => {
                let out = self.slot(*out);
                self.imports.contract(&mut self.b, &[count, ks, a, sa, b, sb, out]);
            }
            (_, Some(value)) => {
                let value = self.lanes_of(value);
                self.imports.contract_t(&mut self.b, &[count, ks, value, a, sa, b, sb]);
            }
            _ => unreachable!("a transposed contraction has a value"),
        }
    }

    fn block_count(&mut self) -> Value {
        match self.lanes.expect("phases stand in a block").count {
            Count::Fixed(n) => self.b.ins().iconst(I64, n as i64),
            Count::Computed(n) => n,
        }
    }

    /// Where the block's lanes of a value start: its block buffer, or the data that it is.
    fn lanes_of(&mut self, v: ValId) -> Value {
        let block = self.lanes.expect("phases stand in a block");
        match block.plan.cheap.get(&v) {
            Some(Op::Load(buf, addr)) => {
                self.counters.insert(block.plan.over.id, block.start);
                let (at, offset) = self.place(*buf, addr, 0);
                self.b.ins().iadd_imm_s(at, offset as i64)
            }
            _ => self.slot(v),
        }
    }

    /// The address of a block buffer.
    fn slot(&mut self, v: ValId) -> Value {
        let plan = self.lanes.expect("phases stand in a block").plan;
        let base = self.entry(self.graph.buffers.len());
        let at = plan.slots[&v] * (plan.block + APART) * 8;
        self.b.ins().iadd_imm_s(base, at as i64)
    }

    /// The address in a block buffer of a scope's first lane.
    fn slot_place(&mut self, v: ValId, scope: &Scope) -> (Value, i32) {
        let block = self.lanes.expect("phases stand in a block");
        let base = self.slot(v);
        // The counter runs on from block to block.
        let skipped = self.b.ins().ishl_imm_u(block.start, 3);
        let base = self.b.ins().isub(base, skipped);
        let i = self.b.ins().ishl_imm_u(self.counters[&block.plan.over.id], 3);
        (self.b.ins().iadd(base, i), 8 * scope.delta as i32)
    }

    fn load_slot(&mut self, v: ValId, scope: &Scope) -> Value {
        let (at, offset) = self.slot_place(v, scope);
        self.b.ins().load(scope.ty(), memory(), at, offset)
    }

    fn store_slot(&mut self, v: ValId, x: Value, scope: &Scope) {
        let (at, offset) = self.slot_place(v, scope);
        self.b.ins().store(memory(), x, at, offset);
    }

    /// How far an address moves from lane to lane.
    fn lane_stride(&self, addr: &Addr) -> Option<usize> {
        stride(addr, self.lanes.expect("pairs of lanes stand in a block").plan.over.id)
    }

    /// The address of an entry `delta` lanes on, and a constant to add to it.
    fn place(&mut self, buf: BufId, addr: &Addr, delta: i64) -> (Value, i32) {
        self.entry_of(buf, addr, delta, if self.single.contains(&buf) { 2 } else { 3 })
    }

    fn entry_of(&mut self, buf: BufId, addr: &Addr, delta: i64, shift: i64) -> (Value, i32) {
        let lane = self.lanes.map(|l| l.plan.over.id);
        let mut constant = addr.offset as i64;
        let mut at = self.entry(buf.0 as usize);
        let mut moving = vec![];
        for (term, step) in &addr.terms {
            let (index, moves) = match term {
                AddrTerm::Loop(id) => {
                    let moves = Some(*id) == lane;
                    if moves {
                        constant += delta * *step as i64;
                    }
                    (self.counters[id], moves)
                }
                AddrTerm::Gather(index, inner) => {
                    let (at, offset) = self.entry_of(*index, inner, delta, 2);
                    let position = self.b.ins().load(I32, fixed(), at, offset);
                    (self.b.ins().uextend(I64, position), lane.is_some_and(|l| inner.uses(l)))
                }
            };
            let index = if *step == 1 { index } else { self.b.ins().imul_imm_s(index, *step as i64) };
            let index = self.b.ins().ishl_imm_u(index, shift);
            // What stays the same goes first, so that it can be moved out of the lane loop.
            if moves {
                moving.push(index);
            } else {
                at = self.b.ins().iadd(at, index);
            }
        }
        for index in moving {
            at = self.b.ins().iadd(at, index);
        }
        match i32::try_from(constant << shift) {
            Ok(offset) => (at, offset),
            Err(_) => (self.b.ins().iadd_imm_s(at, constant << shift), 0),
        }
    }

    /// An entry of the table: the address of a buffer.
    fn entry(&mut self, i: usize) -> Value {
        self.b.ins().load(I64, fixed(), self.table, 8 * i as i32)
    }

    /// Loads of what no region writes may be moved.
    fn flags(&self, buf: BufId) -> MemFlagsData {
        match self.graph.buffers[buf.0 as usize].kind {
            BufKind::Data(_) | BufKind::Index(_) | BufKind::Input => fixed(),
            BufKind::Scratch { .. } => memory(),
        }
    }

    /// A counted loop from `start`, carrying values; `count` is a multiple of `step` or the last round starts before it.
    pub fn counted(
        &mut self,
        start: Value,
        count: Count,
        step: i64,
        init: Vec<Value>,
        body: impl FnOnce(&mut Self, Value, Vec<Value>) -> Vec<Value>,
    ) -> Vec<Value> {
        let end = match count {
            Count::Fixed(0) => return init,
            Count::Fixed(n) if n as i64 <= step => return body(self, start, init),
            Count::Fixed(n) => self.b.ins().iadd_imm_s(start, n as i64),
            Count::Computed(n) => self.b.ins().iadd(start, n),
        };
        let (head, exit) = (self.b.create_block(), self.b.create_block());
        let i = self.b.append_block_param(head, I64);
        let mut params = |block| -> Vec<Value> {
            init.iter().map(|v| self.b.append_block_param(block, self.b.func.dfg.value_type(*v))).collect()
        };
        let (carried, results) = (params(head), params(exit));
        let args = |first: Option<Value>, rest: &[Value]| -> Vec<BlockArg> {
            first.into_iter().chain(rest.iter().copied()).map(BlockArg::from).collect()
        };
        match count {
            Count::Fixed(_) => {
                self.b.ins().jump(head, &args(Some(start), &init));
            }
            Count::Computed(n) => {
                self.b.ins().brif(n, head, &args(Some(start), &init), exit, &args(None, &init));
            }
        }
        self.b.switch_to_block(head);
        let next = body(self, i, carried);
        let i = self.b.ins().iadd_imm_s(i, step);
        let more = self.b.ins().icmp(IntCC::SignedLessThan, i, end);
        self.b.ins().brif(more, head, &args(Some(i), &next), exit, &args(None, &next));
        self.b.switch_to_block(exit);
        results
    }
}

/// Memory that the kernel reads and writes.
fn memory() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}

/// How the lanes of a register are taken for those of others.
fn in_memory_order() -> MemFlagsData {
    MemFlagsData::new().with_endianness(Endianness::Little)
}

/// Memory that no kernel writes.
fn fixed() -> MemFlagsData {
    MemFlagsData::new().with_notrap().with_readonly().with_can_move()
}

/// Accumulations that become sums over a loop.
fn sums<'r>(stmts: impl Iterator<Item = &'r Stmt>, over: LoopId) -> Vec<&'r Stmt> {
    stmts.filter(|s| matches!(s, Stmt::Accum { addr, .. } if !addr.uses(over))).collect()
}

/// How many pairs of lanes go together: enough to keep the arithmetic units busy, few enough that sums stay in
/// registers (16 of them).
fn copies(items: usize, sums: usize, count: Count) -> usize {
    let most = match count {
        Count::Fixed(n) => (n / 2).max(1),
        Count::Computed(_) => 4,
    };
    let wanted = match (items, sums) {
        (..=60, ..=2) => 4,
        (..=120, ..=5) => 2,
        _ => 1,
    };
    if wanted <= most { wanted } else { 1 << most.ilog2() }
}

/// Products in a region that are read once.
fn products(region: &Region) -> HashMap<ValId, (ValId, ValId)> {
    let mut found = HashMap::new();
    let mut reads: HashMap<ValId, usize> = HashMap::new();
    let mut body: Vec<&Stmt> = region.body.iter().collect();
    while let Some(stmt) = body.pop() {
        match stmt {
            Stmt::Reduce { body: inner, outs, .. } => {
                body.extend(inner);
                outs.iter().for_each(|(_, _, v)| *reads.entry(*v).or_default() += 1);
            }
            _ => for_uses(stmt, &mut |v| *reads.entry(v).or_default() += 1),
        }
        if let Stmt::Let(v, Op::Binary(BinOp::Mul, a, b)) = stmt {
            found.insert(*v, (*a, *b));
        }
    }
    found.retain(|v, _| reads.get(v) == Some(&1));
    found
}
