//! How a region is run: which statements stand outside which loops, and for a lane loop, which run fused in registers
//! and which as calls to block routines, with block buffers between them.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::walk::{for_defs, for_loops, for_uses, has_effects, highest, is_sequential, stride};
use crate::lower::graph::{BinOp, BufId, Loop, LoopId, Op, ReduceOp, Region, Stmt, UnOp, ValId};
use crate::prim::vector;

/// Fewer lanes than this run one by one.
pub const FEW_LANES: usize = 8;
/// Most lanes of a block.
const BLOCK: usize = 512;
/// Fewest: below, the calls would cost more than what they do.
const SMALL_BLOCK: usize = 64;
/// What the block buffers of a region may take of the first-level cache, in numbers.
const BLOCK_NUMBERS: usize = 3 * 1024;
/// What the matrix columns of one block may take of the first-level cache, in numbers: both passes over them then come
/// from there; failing that, of the second-level cache.
const MATRIX_NUMBERS: usize = 2560;
const WIDE_MATRIX_NUMBERS: usize = 32 * 1024;

pub struct Plan<'r> {
    pub region: &'r Region,
    /// Statements by how many loops they stand in; the last holds those inside all, unless the lanes run in blocks.
    pub levels: Vec<Vec<&'r Stmt>>,
    pub lanes: Option<Lanes<'r>>,
    /// Statements read what others write: everything runs lane by lane, in order.
    pub sequential: bool,
}

/// The innermost loop, run in blocks of lanes.
pub struct Lanes<'r> {
    pub over: &'r Loop,
    pub block: usize,
    pub phases: Vec<Phase<'r>>,
    /// Accumulations that are the same in every lane: done once, times the number of lanes.
    pub even: Vec<&'r Stmt>,
    /// Block buffers, by the value they hold.
    pub slots: HashMap<ValId, usize>,
    pub slot_count: usize,
    /// Values that are read or counted again instead of kept.
    pub cheap: HashMap<ValId, &'r Op>,
}

pub enum Phase<'r> {
    /// One pass over the block, in registers.
    Fused(Vec<Item<'r>>),
    /// A block routine. Arguments are block buffers or contiguous numbers; outputs go to block buffers.
    Call { routine: Callee, args: Vec<ValId>, outs: Vec<ValId> },
    /// `Contract` or `ContractT`, whose value is in the lanes of `value`.
    Contract { stmt: &'r Stmt, value: Option<ValId> },
    /// A loop outside the lanes, around phases of its own. `scalars` are the same in every lane.
    Reduce { over: &'r Loop, scalars: Vec<&'r Stmt>, phases: Vec<Phase<'r>> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Callee {
    Unary(UnOp),
    Pair(UnOp, UnOp),
    Binary(BinOp),
}

pub enum Item<'r> {
    Do(&'r Stmt),
    /// Write a value to a block buffer: of its own name, or a copy of another name that a call reads.
    Keep {
        slot: ValId,
        value: ValId,
    },
    /// Start a reduction in its block buffer.
    Fill(ValId, f64),
    /// Combine a value into a reduction's block buffer.
    Combine(ValId, ReduceOp, ValId),
}

/// The loop that would run in blocks of lanes.
pub fn lane_loop(region: &Region) -> Option<LoopId> {
    let lanes = region.lane()?;
    (lanes.size >= FEW_LANES && !runs_lane_by_lane(region)).then_some(lanes.id)
}

/// Within a step of a walk nothing reads what the step itself writes, so that its other loops are free.
fn runs_lane_by_lane(region: &Region) -> bool {
    region.walk.is_none() && is_sequential(region)
}

/// Expects the region desugared for its `lane_loop`.
/// `single`: the buffers that hold numbers in single precision.
pub fn plan<'r>(region: &'r Region, single: &'r HashSet<BufId>) -> Plan<'r> {
    let sequential = runs_lane_by_lane(region);
    let depth = region.loops.len();
    let mut levels = vec![vec![]; depth + 1];
    if sequential {
        levels[depth] = region.body.iter().collect();
        return Plan { region, levels, lanes: None, sequential };
    }
    let mut known: HashMap<ValId, usize> = HashMap::new();
    for stmt in &region.body {
        let mut at = if has_effects(stmt) { depth } else { 0 };
        for_loops(stmt, &mut |id| {
            if let Some(i) = region.loops.iter().position(|l| l.id == id) {
                at = at.max(i + 1);
            }
        });
        for_uses(stmt, &mut |v| at = at.max(known.get(&v).copied().unwrap_or(0)));
        for_defs(stmt, &mut |v| {
            known.insert(v, at);
        });
        levels[at].push(stmt);
    }
    let lanes = lane_loop(region).map(|id| {
        let body = std::mem::take(&mut levels[depth]);
        let over = region.loops.last().expect("a lane loop is a loop");
        let varies = |v: ValId| known.get(&v) == Some(&depth);
        let (even, body): (Vec<_>, Vec<_>) = body.into_iter().partition(|stmt| match stmt {
            Stmt::Accum { addr, value, .. } => !addr.uses(id) && !varies(*value),
            _ => false,
        });
        schedule_lanes(region, over, body, even, single)
    });
    Plan { region, levels, lanes, sequential }
}

fn schedule_lanes<'r>(
    region: &Region,
    over: &'r Loop,
    body: Vec<&'r Stmt>,
    even: Vec<&'r Stmt>,
    single: &'r HashSet<BufId>,
) -> Lanes<'r> {
    let next = highest(&region.body);
    let (varying, held) = (HashSet::new(), HashSet::new());
    let mut scheduler = Scheduler { lanes: over.id, next, varying, held, cheap: HashMap::new(), single };
    let phases = scheduler.schedule(&body, &[]);
    let mut slots = Slots::default();
    slots.assign(&phases);
    let block = block_size(slots.count, most_columns(&phases));
    let cheap = scheduler.cheap;
    Lanes { over, block, phases, even, slots: slots.held, slot_count: slots.count, cheap }
}

fn block_size(slots: usize, columns: usize) -> usize {
    let room = if columns * SMALL_BLOCK <= MATRIX_NUMBERS { MATRIX_NUMBERS } else { WIDE_MATRIX_NUMBERS };
    let mut block = BLOCK;
    while block > SMALL_BLOCK && (block * slots > BLOCK_NUMBERS || block * columns > room) {
        block /= 2;
    }
    block
}

struct Scheduler<'r> {
    lanes: LoopId,
    /// The last value number taken.
    next: u32,
    /// Values that live in lanes.
    varying: HashSet<ValId>,
    /// Those of them that have a block buffer.
    held: HashSet<ValId>,
    /// Those that are read again instead.
    cheap: HashMap<ValId, &'r Op>,
    /// Buffers that hold numbers in single precision, which block routines do not read.
    single: &'r HashSet<BufId>,
}

/// Where a body's statements run. The step of a statement is `2l` in the fused pass of level `l`, and `2l + 1` among the
/// calls after it, whose results belong to level `l + 1`.
#[derive(Default)]
struct Steps<'r> {
    /// Statements with their positions in the body.
    at: BTreeMap<usize, Vec<(usize, &'r Stmt)>>,
    of: HashMap<ValId, usize>,
}

impl<'r> Scheduler<'r> {
    /// Cut statements that stand in the lane loop into phases; `outs` are the reductions that they feed.
    fn schedule(&mut self, body: &[&'r Stmt], outs: &'r [(ValId, ReduceOp, ValId)]) -> Vec<Phase<'r>> {
        for stmt in body {
            for_defs(stmt, &mut |v| {
                self.varying.insert(v);
            });
            if let Stmt::Let(v, op) = stmt
                && self.is_cheap(op)
            {
                self.cheap.insert(*v, op);
            }
        }
        let steps = self.steps(body, outs);
        // A result of a call at step 2l + 1 is at hand from level l + 1 on.
        let combined = |v: &ValId| steps.of.get(v).map_or(0, |s| s.div_ceil(2) * 2);
        let last = outs.iter().map(|(_, _, v)| combined(v)).chain(steps.at.keys().copied()).max();

        // What crosses from one step to another goes through a block buffer.
        let mut keep: BTreeMap<usize, Vec<(ValId, ValId)>> = BTreeMap::new();
        let mut args: HashMap<ValId, ValId> = HashMap::new();
        for (&at, stmts) in &steps.at {
            for (_, stmt) in stmts {
                let call = at % 2 == 1 && !matches!(stmt, Stmt::Reduce { .. });
                for_uses(stmt, &mut |v| {
                    if let Some(from) = self.crosses(&steps, v, at) {
                        keep.entry(from).or_default().push((v, v));
                    } else if call && !self.is_addressable(v) {
                        let copy = *args.entry(v).or_insert_with(|| {
                            self.next += 1;
                            keep.entry(at - 1).or_default().push((ValId(self.next), v));
                            ValId(self.next)
                        });
                        self.held.insert(copy);
                    }
                });
            }
        }
        for (_, _, v) in outs {
            if let Some(from) = self.crosses(&steps, *v, combined(v)) {
                keep.entry(from).or_default().push((*v, *v));
            }
        }

        let mut phases = vec![];
        for at in 0..last.map_or(0, |l| l + 1) {
            let stmts: Vec<&Stmt> = steps.at.get(&at).into_iter().flatten().map(|(_, s)| *s).collect();
            if at % 2 == 1 {
                self.calls(&stmts, &args, &mut phases);
                continue;
            }
            let mut items: Vec<Item> = stmts.into_iter().map(Item::Do).collect();
            items.extend(
                keep.get(&at).into_iter().flatten().map(|(slot, value)| Item::Keep { slot: *slot, value: *value }),
            );
            items.extend(outs.iter().filter(|o| combined(&o.2) == at).map(|(out, op, v)| Item::Combine(*out, *op, *v)));
            if items.iter().any(|i| !matches!(i, Item::Do(Stmt::Let(..) | Stmt::Reduce { .. }))) {
                phases.push(Phase::Fused(items));
            }
        }
        phases
    }

    fn steps(&self, body: &[&'r Stmt], outs: &[(ValId, ReduceOp, ValId)]) -> Steps<'r> {
        let mut level: HashMap<ValId, usize> = HashMap::new();
        let mut step = vec![0; body.len()];
        for (i, stmt) in body.iter().enumerate() {
            let mut l = 0;
            for_uses(stmt, &mut |v| l = l.max(level.get(&v).copied().unwrap_or(0)));
            let called = !self.fuses(stmt) as usize;
            step[i] = 2 * l + called;
            for_defs(stmt, &mut |v| {
                level.insert(v, l + called);
            });
        }
        // What needs nothing from an earlier pass waits for the pass that needs it, rather than crossing to it.
        let mut needed: HashMap<ValId, usize> = outs.iter().map(|(_, _, v)| (*v, 0)).collect();
        for (i, stmt) in body.iter().enumerate().rev() {
            if let Stmt::Let(v, _) = stmt
                && self.fuses(stmt)
                && let Some(first) = needed.get(v)
            {
                let mut free = true;
                for_uses(stmt, &mut |u| free &= self.cheap.contains_key(&u) || !self.varying.contains(&u));
                if free {
                    step[i] = step[i].max(*first);
                }
            }
            // A call is fed by the fused pass before it.
            let pass = step[i] / 2 * 2;
            for_uses(stmt, &mut |v| {
                needed.entry(v).and_modify(|n| *n = pass.min(*n)).or_insert(pass);
            });
        }
        let mut steps = Steps::default();
        for (i, stmt) in body.iter().enumerate() {
            for_defs(stmt, &mut |v| {
                steps.of.insert(v, step[i]);
            });
            steps.at.entry(step[i]).or_default().push((i, stmt));
        }
        steps
    }

    /// The step that must put a value into a block buffer for step `at`, unless one did.
    fn crosses(&mut self, steps: &Steps, v: ValId, at: usize) -> Option<usize> {
        let from = *steps.of.get(&v)?;
        if from % 2 == 1 {
            self.held.insert(v);
            return None;
        }
        (from != at && !self.cheap.contains_key(&v) && self.held.insert(v)).then_some(from)
    }

    /// Whether a block routine can be given the address of a value's lanes.
    fn is_addressable(&self, v: ValId) -> bool {
        self.held.contains(&v)
            || matches!(self.cheap.get(&v), Some(Op::Load(buf, addr))
                if stride(addr, self.lanes) == Some(1) && !self.single.contains(buf))
    }

    /// The calls of one step, with functions of one argument that have a common routine put together.
    fn calls(&mut self, stmts: &[&'r Stmt], args: &HashMap<ValId, ValId>, phases: &mut Vec<Phase<'r>>) {
        let arg = |v: &ValId| args.get(v).copied().unwrap_or(*v);
        let mut led = HashSet::new();
        for stmt in stmts {
            if let Stmt::Let(v, Op::Unary(op, x)) = stmt {
                let second = stmts.iter().find_map(|other| match other {
                    Stmt::Let(w, Op::Unary(o, y)) if x == y && paired(*op, *o) => Some((*w, *o)),
                    _ => None,
                });
                if let Some((w, o)) = second {
                    led.extend([*v, w]);
                    phases.push(Phase::Call { routine: Callee::Pair(*op, o), args: vec![arg(x)], outs: vec![*v, w] });
                }
            }
        }
        for stmt in stmts {
            match stmt {
                Stmt::Let(v, _) if led.contains(v) => {}
                Stmt::Let(v, Op::Unary(op, x)) => {
                    phases.push(Phase::Call { routine: Callee::Unary(*op), args: vec![arg(x)], outs: vec![*v] });
                }
                Stmt::Let(v, Op::Binary(op, a, b)) => {
                    phases.push(Phase::Call {
                        routine: Callee::Binary(*op),
                        args: vec![arg(a), arg(b)],
                        outs: vec![*v],
                    });
                }
                Stmt::Contract { .. } => phases.push(Phase::Contract { stmt, value: None }),
                Stmt::Call(_) => unreachable!("a matrix operation stands outside of all loops"),
                Stmt::ContractT { value, .. } => phases.push(Phase::Contract { stmt, value: Some(arg(value)) }),
                Stmt::Reduce { over, body, outs } => self.reduce(over, body, outs, phases),
                Stmt::Let(..) | Stmt::Store { .. } | Stmt::Accum { .. } => {
                    unreachable!("a step of calls holds calls, contractions and reductions")
                }
            }
        }
    }

    fn reduce(
        &mut self,
        over: &'r Loop,
        body: &'r [Stmt],
        outs: &'r [(ValId, ReduceOp, ValId)],
        phases: &mut Vec<Phase<'r>>,
    ) {
        if !outs.is_empty() {
            phases.push(Phase::Fused(outs.iter().map(|(v, op, _)| Item::Fill(*v, identity(*op))).collect()));
        }
        let (mut inner, mut scalars) = (vec![], vec![]);
        for stmt in body {
            let mut varies = has_effects(stmt) || matches!(stmt, Stmt::Contract { .. });
            for_loops(stmt, &mut |id| varies |= id == self.lanes);
            for_uses(stmt, &mut |v| varies |= self.varying.contains(&v));
            if varies {
                for_defs(stmt, &mut |v| {
                    self.varying.insert(v);
                });
                inner.push(stmt);
            } else {
                scalars.push(stmt);
            }
        }
        let inside = self.schedule(&inner, outs);
        phases.push(Phase::Reduce { over, scalars, phases: inside });
    }

    /// Whether a statement runs in registers rather than as a call.
    fn fuses(&self, stmt: &Stmt) -> bool {
        match stmt {
            Stmt::Let(_, Op::Unary(op, _)) => is_inline(*op),
            Stmt::Let(_, Op::Binary(op, ..)) => !vector::BINARY.contains(op),
            Stmt::Let(..) | Stmt::Store { .. } | Stmt::Accum { .. } => true,
            Stmt::Contract { .. } | Stmt::ContractT { .. } | Stmt::Call(_) => false,
            Stmt::Reduce { body, .. } => body.iter().all(|s| self.fuses(s) && !has_effects(s)),
        }
    }

    /// Whether an operation is done again wherever it is needed.
    fn is_cheap(&self, op: &Op) -> bool {
        match op {
            Op::Const(_) | Op::Counter(_) => true,
            Op::Load(_, addr) => stride(addr, self.lanes).is_some(),
            Op::Unary(..) | Op::Binary(..) | Op::Fma(..) | Op::Select(..) => false,
        }
    }
}

fn paired(first: UnOp, second: UnOp) -> bool {
    vector::PAIRS.contains(&(first, second))
}

/// Whether the kernel computes a function in place.
pub fn is_inline(op: UnOp) -> bool {
    use UnOp::*;
    matches!(op, Neg | Abs | Sqrt | Recip | Floor | Ceil | Round | Not | Sign)
}

pub fn identity(op: ReduceOp) -> f64 {
    match op {
        ReduceOp::Sum => 0.0,
        ReduceOp::Prod => 1.0,
        ReduceOp::Min => f64::INFINITY,
        ReduceOp::Max => f64::NEG_INFINITY,
    }
}

/// Block buffers: taken where a value is first kept, free again after the last top-level phase that reads it.
#[derive(Default)]
struct Slots {
    held: HashMap<ValId, usize>,
    free: Vec<usize>,
    count: usize,
}

impl Slots {
    fn assign(&mut self, phases: &[Phase]) {
        let mut last: BTreeMap<ValId, usize> = BTreeMap::new();
        for (i, phase) in phases.iter().enumerate() {
            slot_uses(phase, &mut |v| {
                last.insert(v, i);
            });
            slot_defs(phase, &mut |v| {
                last.insert(v, i);
            });
        }
        for (i, phase) in phases.iter().enumerate() {
            slot_defs(phase, &mut |v| {
                if !self.held.contains_key(&v) {
                    let slot = self.free.pop().unwrap_or_else(|| {
                        self.count += 1;
                        self.count - 1
                    });
                    self.held.insert(v, slot);
                }
            });
            let done = last.iter().filter(|(_, at)| **at == i);
            self.free.extend(done.filter_map(|(v, _)| self.held.get(v).copied()));
        }
    }
}

fn slot_defs(phase: &Phase, visit: &mut dyn FnMut(ValId)) {
    match phase {
        Phase::Fused(items) => items.iter().for_each(|item| match item {
            Item::Keep { slot: v, .. } | Item::Fill(v, _) => visit(*v),
            Item::Do(_) | Item::Combine(..) => {}
        }),
        Phase::Call { outs, .. } => outs.iter().for_each(|v| visit(*v)),
        Phase::Contract { stmt, .. } => for_defs(stmt, visit),
        Phase::Reduce { phases, .. } => phases.iter().for_each(|p| slot_defs(p, visit)),
    }
}

fn slot_uses(phase: &Phase, visit: &mut dyn FnMut(ValId)) {
    match phase {
        Phase::Fused(items) => items.iter().for_each(|item| match item {
            Item::Do(stmt) => for_uses(stmt, visit),
            Item::Keep { value: v, .. } | Item::Fill(v, _) => visit(*v),
            Item::Combine(out, _, v) => {
                visit(*out);
                visit(*v);
            }
        }),
        Phase::Call { args, .. } => args.iter().for_each(|v| visit(*v)),
        Phase::Contract { value, .. } => value.iter().for_each(|v| visit(*v)),
        Phase::Reduce { phases, .. } => phases.iter().for_each(|p| slot_uses(p, visit)),
    }
}

fn most_columns(phases: &[Phase]) -> usize {
    let columns = |phase: &Phase| match phase {
        Phase::Contract { stmt: Stmt::Contract { over, .. } | Stmt::ContractT { over, .. }, .. } => over.size,
        Phase::Reduce { phases, .. } => most_columns(phases),
        Phase::Fused(_) | Phase::Call { .. } | Phase::Contract { .. } => 0,
    };
    phases.iter().map(columns).max().unwrap_or(0)
}
