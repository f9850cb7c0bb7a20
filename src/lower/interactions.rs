//! Which coordinates of theta interact: the pattern of the Hessian of the log joint.
//!
//! The value program is run on sets: of which coordinates a cell depends. Sums pass sets on; a function that is not linear
//! makes the coordinates of its operand interact, and a product those of one factor with those of the other. What plates
//! keep apart stays apart, since every cell is followed by itself. The pattern may be too large, never too small.

use std::collections::{HashMap, HashSet};

use crate::lower::graph::{
    Access, Addr, AddrTerm, BinOp, BufId, BufKind, Call, Graph, Loop, Op, ReduceOp, Region, Stmt, UnOp, ValId,
};

/// Steps after which the pattern would cost more than it saves.
const MOST_STEPS: usize = 10_000_000;
/// Pairs, counted as often as they are met.
const MOST_PAIRS: usize = 4_000_000;

/// For each coordinate those that it interacts with, itself included, ascending. `None` where finding out takes too long:
/// then all may interact with all.
pub fn interactions(graph: &Graph) -> Option<Vec<Vec<u32>>> {
    let mut run = Run {
        graph,
        sets: Sets::default(),
        cells: graph.buffers.iter().map(|b| if own(&b.kind) { vec![EMPTY; b.len] } else { vec![] }).collect(),
        pending: HashMap::new(),
        values: vec![],
        counters: vec![],
        cliques: HashSet::new(),
        products: HashSet::new(),
        steps: 0,
    };
    if let Some(theta) = graph.theta {
        for i in 0..graph.dim {
            run.cells[theta.0 as usize][i] = run.sets.intern(vec![i as u32]);
        }
    }
    graph.value.iter().try_for_each(|region| run.region(region))?;
    run.neighbours()
}

fn own(kind: &BufKind) -> bool {
    matches!(kind, BufKind::Input | BufKind::Scratch { .. })
}

/// A set of coordinates, by number.
type Set = u32;
const EMPTY: Set = 0;

/// Every set that was met, once.
struct Sets {
    list: Vec<Vec<u32>>,
    known: HashMap<Vec<u32>, Set>,
    unions: HashMap<(Set, Set), Set>,
}

impl Default for Sets {
    fn default() -> Sets {
        Sets { list: vec![vec![]], known: HashMap::from([(vec![], EMPTY)]), unions: HashMap::new() }
    }
}

impl Sets {
    /// `members` ascending.
    fn intern(&mut self, members: Vec<u32>) -> Set {
        let next = self.list.len() as Set;
        *self.known.entry(members).or_insert_with_key(|members| {
            self.list.push(members.clone());
            next
        })
    }

    fn union(&mut self, a: Set, b: Set) -> Set {
        if a == b || b == EMPTY {
            return a;
        }
        if a == EMPTY {
            return b;
        }
        let key = (a.min(b), a.max(b));
        if let Some(&known) = self.unions.get(&key) {
            return known;
        }
        let set = self.union_of(vec![a, b]);
        self.unions.insert(key, set);
        set
    }

    fn union_of(&mut self, mut sets: Vec<Set>) -> Set {
        sets.sort_unstable();
        sets.dedup();
        if let [one] = sets[..] {
            return one;
        }
        let mut members: Vec<u32> = sets.iter().flat_map(|&s| self.list[s as usize].iter().copied()).collect();
        members.sort_unstable();
        members.dedup();
        self.intern(members)
    }
}

struct Run<'g> {
    graph: &'g Graph,
    sets: Sets,
    /// By buffer and cell.
    cells: Vec<Vec<Set>>,
    /// What is added to cells, until somebody may read them: a union per addend would take its square in memory.
    pending: HashMap<(BufId, usize), Vec<Set>>,
    values: Vec<Set>,
    counters: Vec<usize>,
    cliques: HashSet<Set>,
    products: HashSet<(Set, Set)>,
    steps: usize,
}

impl Run<'_> {
    fn region(&mut self, region: &Region) -> Option<()> {
        match (region.walk, region.loops.as_slice()) {
            (Some(direction), [walked, inner @ ..]) => {
                for step in 0..walked.size {
                    self.set_counter(walked, direction.position(step, walked.size));
                    self.nest(inner, &region.body)?;
                    self.settle();
                }
            }
            (_, loops) => self.nest(loops, &region.body)?,
        }
        self.settle();
        Some(())
    }

    fn nest(&mut self, loops: &[Loop], body: &[Stmt]) -> Option<()> {
        let Some((outer, inner)) = loops.split_first() else { return self.body(body) };
        for i in 0..outer.size {
            self.set_counter(outer, i);
            self.nest(inner, body)?;
        }
        Some(())
    }

    fn set_counter(&mut self, of: &Loop, at: usize) {
        let id = of.id.0 as usize;
        if self.counters.len() <= id {
            self.counters.resize(id + 1, 0);
        }
        self.counters[id] = at;
    }

    fn settle(&mut self) {
        for ((buf, cell), mut sets) in std::mem::take(&mut self.pending) {
            sets.push(self.cells[buf.0 as usize][cell]);
            self.cells[buf.0 as usize][cell] = self.sets.union_of(sets);
        }
    }

    fn body(&mut self, body: &[Stmt]) -> Option<()> {
        self.steps += body.len();
        if self.steps > MOST_STEPS {
            return None;
        }
        body.iter().try_for_each(|stmt| self.stmt(stmt))
    }

    fn stmt(&mut self, stmt: &Stmt) -> Option<()> {
        match stmt {
            Stmt::Let(out, op) => {
                let set = self.op(op);
                self.set(*out, set);
            }
            Stmt::Reduce { over, body, outs } => {
                let mut sets = vec![vec![]; outs.len()];
                for k in 0..over.size {
                    self.set_counter(over, k);
                    self.body(body)?;
                    outs.iter().zip(&mut sets).for_each(|(o, sets)| sets.push(self.get(o.2)));
                }
                for ((out, op, _), mut sets) in outs.iter().zip(sets) {
                    sets.push(EMPTY);
                    let set = self.sets.union_of(sets);
                    match op {
                        ReduceOp::Sum | ReduceOp::Min | ReduceOp::Max => {}
                        ReduceOp::Prod => self.bend(set),
                    }
                    self.set(*out, set);
                }
            }
            Stmt::Contract { out, over, a, b } => {
                let mut sets = vec![EMPTY];
                for k in 0..over.size {
                    self.set_counter(over, k);
                    let (a, b) = (self.load(a.0, &a.1), self.load(b.0, &b.1));
                    self.multiply(a, b);
                    sets.extend([a, b]);
                }
                self.steps += over.size;
                let set = self.sets.union_of(sets);
                self.set(*out, set);
            }
            Stmt::ContractT { value, over, a, target } => {
                let value = self.get(*value);
                for k in 0..over.size {
                    self.set_counter(over, k);
                    let a = self.load(a.0, &a.1);
                    self.multiply(a, value);
                    let sum = self.sets.union(a, value);
                    self.add(target.0, &target.1, sum);
                }
                self.steps += over.size;
            }
            Stmt::Store { buf, addr, value } => {
                let cell = self.position(addr);
                self.cells[buf.0 as usize][cell] = self.get(*value);
            }
            Stmt::Accum { buf, addr, value } => {
                let set = self.get(*value);
                self.add(*buf, addr, set);
            }
            Stmt::Call(call) => self.call(call),
        }
        Some(())
    }

    /// Everything that it writes depends on everything that it reads.
    fn call(&mut self, call: &Call) {
        let mut sets = vec![EMPTY];
        for buf in call.buffers(Access::Read) {
            sets.extend_from_slice(&self.cells[buf.0 as usize]);
        }
        let set = self.sets.union_of(sets);
        self.bend(set);
        for buf in call.written() {
            self.cells[buf.0 as usize].fill(set);
        }
    }

    fn op(&mut self, op: &Op) -> Set {
        match op {
            Op::Const(_) | Op::Counter(_) => EMPTY,
            Op::Load(buf, addr) => self.load(*buf, addr),
            Op::Unary(op, a) => {
                let a = self.get(*a);
                match op {
                    UnOp::Neg | UnOp::Abs => a,
                    UnOp::Floor | UnOp::Ceil | UnOp::Round | UnOp::Not | UnOp::Sign => EMPTY,
                    UnOp::Sqrt
                    | UnOp::Recip
                    | UnOp::Exp
                    | UnOp::Log
                    | UnOp::Log1p
                    | UnOp::Expm1
                    | UnOp::Tanh
                    | UnOp::Sin
                    | UnOp::Cos
                    | UnOp::Atan
                    | UnOp::Sigmoid
                    | UnOp::Softplus
                    | UnOp::Lgamma
                    | UnOp::Digamma
                    | UnOp::Trigamma
                    | UnOp::Erf
                    | UnOp::Phi
                    | UnOp::LogPhi
                    | UnOp::InvMills
                    | UnOp::LogBesselI0
                    | UnOp::BesselRatio => {
                        self.bend(a);
                        a
                    }
                }
            }
            Op::Binary(op, a, b) => {
                let (a, b) = (self.get(*a), self.get(*b));
                let both = self.sets.union(a, b);
                match op {
                    BinOp::Add | BinOp::Sub | BinOp::Min | BinOp::Max => both,
                    BinOp::Mul => {
                        self.multiply(a, b);
                        both
                    }
                    BinOp::Div => {
                        self.multiply(a, b);
                        self.bend(b);
                        both
                    }
                    BinOp::Pow | BinOp::XLogY | BinOp::LogGammaDraw | BinOp::LogGammaDrawSlope => {
                        self.bend(both);
                        both
                    }
                    BinOp::Less | BinOp::LessEq | BinOp::Equal | BinOp::NotEqual | BinOp::And | BinOp::Or => EMPTY,
                }
            }
            Op::Fma(a, b, c) => {
                let (a, b, c) = (self.get(*a), self.get(*b), self.get(*c));
                self.multiply(a, b);
                let product = self.sets.union(a, b);
                self.sets.union(product, c)
            }
            Op::Select(_, a, b) => {
                let (a, b) = (self.get(*a), self.get(*b));
                self.sets.union(a, b)
            }
        }
    }

    fn bend(&mut self, set: Set) {
        if set != EMPTY {
            self.cliques.insert(set);
        }
    }

    fn multiply(&mut self, a: Set, b: Set) {
        if a != EMPTY && b != EMPTY {
            self.products.insert((a.min(b), a.max(b)));
        }
    }

    fn load(&self, buf: BufId, addr: &Addr) -> Set {
        let cells = &self.cells[buf.0 as usize];
        if cells.is_empty() { EMPTY } else { cells[self.position(addr)] }
    }

    fn add(&mut self, buf: BufId, addr: &Addr, set: Set) {
        // Nothing reads the log joint itself.
        if set == EMPTY || Some(buf) == self.graph.log_joint {
            return;
        }
        let cell = self.position(addr);
        let pending = self.pending.entry((buf, cell)).or_default();
        if pending.last() != Some(&set) {
            pending.push(set);
        }
    }

    fn get(&self, v: ValId) -> Set {
        self.values[v.0 as usize]
    }

    fn set(&mut self, v: ValId, set: Set) {
        let at = v.0 as usize;
        if self.values.len() <= at {
            self.values.resize(at + 1, EMPTY);
        }
        self.values[at] = set;
    }

    fn position(&self, addr: &Addr) -> usize {
        let step = |(term, stride): &(AddrTerm, usize)| {
            stride
                * match term {
                    AddrTerm::Loop(id) => self.counters[id.0 as usize],
                    AddrTerm::Gather(buf, inner) => match &self.graph.buffers[buf.0 as usize].kind {
                        BufKind::Index(entries) => entries[self.position(inner)] as usize,
                        BufKind::Data(_) | BufKind::Input | BufKind::Scratch { .. } => {
                            unreachable!("the graph is verified: gathers read index buffers")
                        }
                    },
                }
        };
        addr.offset + addr.terms.iter().map(step).sum::<usize>()
    }

    fn neighbours(&self) -> Option<Vec<Vec<u32>>> {
        let members = |set: Set| &self.sets.list[set as usize];
        let pairs: Vec<(Set, Set)> =
            self.cliques.iter().map(|&c| (c, c)).chain(self.products.iter().copied()).collect();
        if pairs.iter().map(|p| members(p.0).len() * members(p.1).len()).sum::<usize>() > MOST_PAIRS {
            return None;
        }
        let mut out: Vec<Vec<u32>> = (0..self.graph.dim as u32).map(|i| vec![i]).collect();
        for (a, b) in pairs {
            for &i in members(a) {
                out[i as usize].extend_from_slice(members(b));
            }
            if a != b {
                members(b).iter().for_each(|&j| out[j as usize].extend_from_slice(members(a)));
            }
        }
        for list in &mut out {
            list.sort_unstable();
            list.dedup();
        }
        Some(out)
    }
}
