//! The block interpreter: runs regions 512 lanes at a time with the scalar functions of `prim`.

use crate::lower::Product;
use crate::lower::graph::{
    Access, Addr, AddrTerm, BufId, BufKind, Buffer, Call, Graph, Loop, LoopId, MatrixCall, MatrixOp, OdeCall, Op,
    ReduceOp, Region, Stmt, ValId,
};
use crate::prim::ode::Failure;
use crate::prim::{matrix, product, scalar};
use crate::run::ode::{self, Engine, Rates, Space};

/// Lanes per block. A register of one block is 4 KiB, so that a body's values stay in the first two cache levels.
const BLOCK: usize = 512;

/// A graph with the memory that its regions write.
pub struct Interp<'g> {
    graph: &'g Graph,
    machine: Machine<'g>,
}

impl<'g> Interp<'g> {
    pub fn new(graph: &'g Graph) -> Interp<'g> {
        let mut machine = Machine::new(&graph.buffers);
        let longest = [&graph.value, &graph.gradient, &graph.report].into_iter().flatten();
        machine.reserve(longest);
        Interp { graph, machine }
    }

    /// Log joint at `theta`.
    pub fn value(&mut self, theta: &[f64]) -> f64 {
        self.run(&self.graph.value, theta);
        self.log_joint()
    }

    /// Log joint at `theta`, and its gradient.
    pub fn value_grad(&mut self, theta: &[f64], grad: &mut [f64]) -> f64 {
        self.run(&self.graph.gradient, theta);
        if let Some(buf) = self.graph.grad {
            grad.copy_from_slice(&self.machine.buffer(buf)[..grad.len()]);
        }
        self.log_joint()
    }

    /// The Hessian at `theta` times `direction`, on the graph of a [`Product`].
    pub fn product(&mut self, at: &Product, theta: &[f64], direction: &[f64], out: &mut [f64]) {
        self.machine.written[at.direction.0 as usize][..direction.len()].copy_from_slice(direction);
        self.value_grad(theta, out);
    }

    /// Fill every defined slot at `theta`; then [`Interp::buffer`] holds them where the layout says.
    pub fn report(&mut self, theta: &[f64]) {
        self.run(&self.graph.report, theta);
    }

    /// The numbers of a buffer after the last run.
    pub fn buffer(&self, id: BufId) -> &[f64] {
        self.machine.buffer(id)
    }

    fn run(&mut self, program: &'g [Region], theta: &[f64]) {
        if let Some(buf) = self.graph.theta {
            self.machine.written[buf.0 as usize][..theta.len()].copy_from_slice(theta);
        }
        self.machine.zero();
        for region in program {
            self.machine.run(region);
        }
    }

    fn log_joint(&self) -> f64 {
        self.graph.log_joint.map_or(0.0, |b| self.machine.buffer(b)[0])
    }
}

/// Runs single regions over a list of buffers.
pub(crate) struct Machine<'g> {
    buffers: &'g [Buffer],
    /// By `BufId`; empty for data and index buffers, which are read where they are.
    pub(crate) written: Vec<Vec<f64>>,
    /// One block per value of the region at hand.
    registers: Vec<f64>,
    /// By `LoopId`: where each open loop stands; the lane loop stands at its block's start.
    counters: Vec<usize>,
    lane: Option<LoopId>,
    lanes: usize,
    /// When tracing: the largest number that passes, and where the first was stored or added that does not.
    pub(crate) watch: Option<f64>,
    pub(crate) hit: Option<Hit>,
}

/// Where a non-finite number comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cause {
    Arithmetic,
    /// A matrix had no Cholesky factor.
    Indefinite,
    /// A differential equation could not be solved.
    Ode(Failure),
}

/// What runs the program of a system of equations.
struct System<'g> {
    graph: &'g Graph,
    theta: Vec<f64>,
    grad: Vec<f64>,
    interp: Interp<'g>,
}

impl<'g> System<'g> {
    fn new(graph: &'g Graph) -> System<'g> {
        System { graph, theta: vec![0.0; graph.dim], grad: vec![0.0; graph.dim], interp: Interp::new(graph) }
    }
}

impl Engine for System<'_> {
    fn theta(&mut self) -> &mut [f64] {
        &mut self.theta
    }

    fn report(&mut self) {
        self.interp.run(&self.graph.report, &self.theta);
    }

    fn gradient(&mut self) {
        self.interp.value_grad(&self.theta, &mut self.grad);
    }

    fn buffer(&self, id: BufId) -> &[f64] {
        self.interp.buffer(id)
    }

    fn grad(&self) -> &[f64] {
        &self.grad
    }
}

/// A number met while watching that does not pass, with the counters of all open loops.
#[derive(Clone, Debug)]
pub(crate) struct Hit {
    pub value: f64,
    pub counters: Vec<(LoopId, usize)>,
    pub cause: Cause,
}

impl<'g> Machine<'g> {
    pub(crate) fn new(buffers: &'g [Buffer]) -> Machine<'g> {
        let written = buffers
            .iter()
            .map(|b| match b.kind {
                BufKind::Data(_) | BufKind::Index(_) => vec![],
                BufKind::Input | BufKind::Scratch { .. } => vec![0.0; b.len],
            })
            .collect();
        Machine { buffers, written, registers: vec![], counters: vec![], lane: None, lanes: 1, watch: None, hit: None }
    }

    /// Without memory for what regions write: the caller gives it to the buffers that are used.
    pub(crate) fn bare(buffers: &'g [Buffer]) -> Machine<'g> {
        let written = vec![vec![]; buffers.len()];
        Machine { written, ..Machine::new(&[]) }.over(buffers)
    }

    fn over(self, buffers: &'g [Buffer]) -> Machine<'g> {
        Machine { buffers, ..self }
    }

    /// Make room for these regions, so that running them allocates nothing.
    pub(crate) fn reserve<'r>(&mut self, regions: impl IntoIterator<Item = &'r Region>) {
        let (mut values, mut loops) = (0, 0);
        for region in regions {
            loops = region.loops.iter().fold(loops, |n, l| n.max(l.id.0 as usize + 1));
            extent(&region.body, &mut values, &mut loops);
        }
        if self.registers.len() < values * BLOCK {
            self.registers.resize(values * BLOCK, 0.0);
        }
        if self.counters.len() < loops {
            self.counters.resize(loops, 0);
        }
    }

    pub(crate) fn buffer(&self, id: BufId) -> &[f64] {
        match &self.buffers[id.0 as usize].kind {
            BufKind::Data(numbers) => numbers,
            BufKind::Index(_) => &[],
            BufKind::Input | BufKind::Scratch { .. } => &self.written[id.0 as usize],
        }
    }

    /// Set the targets of accumulation to 0, as at the start of every run.
    pub(crate) fn zero(&mut self) {
        for (numbers, buffer) in self.written.iter_mut().zip(self.buffers) {
            if matches!(buffer.kind, BufKind::Scratch { zeroed: true }) {
                numbers.fill(0.0);
            }
        }
    }

    pub(crate) fn run(&mut self, region: &Region) {
        self.reserve([region]);
        match (region.walk, region.loops.as_slice()) {
            (Some(direction), [walked, inner @ ..]) => {
                for step in 0..walked.size {
                    self.counters[walked.id.0 as usize] = direction.position(step, walked.size);
                    self.nest(inner, &region.body);
                }
            }
            (_, loops) => self.nest(loops, &region.body),
        }
    }

    fn nest(&mut self, loops: &[Loop], body: &[Stmt]) {
        match loops {
            [] => {
                (self.lane, self.lanes) = (None, 1);
                self.body(body);
            }
            [lane] => {
                let mut start = 0;
                while start < lane.size {
                    (self.lane, self.lanes) = (Some(lane.id), BLOCK.min(lane.size - start));
                    self.counters[lane.id.0 as usize] = start;
                    self.body(body);
                    start += BLOCK;
                }
            }
            [outer, inner @ ..] => {
                for i in 0..outer.size {
                    self.counters[outer.id.0 as usize] = i;
                    self.nest(inner, body);
                }
            }
        }
    }

    fn body(&mut self, body: &[Stmt]) {
        for stmt in body {
            self.stmt(stmt);
        }
    }

    fn stmt(&mut self, stmt: &Stmt) {
        match stmt {
            Stmt::Let(out, op) => self.op(*out, op),
            Stmt::Reduce { over, body, outs } => {
                for (out, op, _) in outs {
                    let start = identity(*op);
                    self.fill(*out, |_, _| start);
                }
                for k in 0..over.size {
                    self.counters[over.id.0 as usize] = k;
                    self.body(body);
                    for (out, op, value) in outs {
                        let (out, value) = (at(*out), at(*value));
                        for l in 0..self.lanes {
                            self.registers[out + l] = combine(*op, self.registers[out + l], self.registers[value + l]);
                        }
                    }
                }
            }
            Stmt::Contract { out, over, a, b } => {
                self.fill(*out, |_, _| 0.0);
                for k in 0..over.size {
                    self.counters[over.id.0 as usize] = k;
                    let (ia, ib) = (self.positions(&a.1), self.position(&b.1, 0));
                    let b = self.buffer(b.0)[ib];
                    for (l, &i) in ia[..self.lanes].iter().enumerate() {
                        let a = self.buffer(a.0)[i];
                        let sum = &mut self.registers[at(*out) + l];
                        *sum = a.mul_add(b, *sum);
                    }
                }
            }
            Stmt::ContractT { value, over, a, target } => {
                for k in 0..over.size {
                    self.counters[over.id.0 as usize] = k;
                    let (ia, it) = (self.positions(&a.1), self.position(&target.1, 0));
                    let numbers = self.buffer(a.0);
                    let values = &self.registers[at(*value)..];
                    let pairs = ia[..self.lanes].iter().zip(values);
                    let sum = pairs.fold(0.0, |sum, (&i, value)| value.mul_add(numbers[i], sum));
                    self.written[target.0.0 as usize][it] += sum;
                }
            }
            Stmt::Call(Call::Matrix(call)) => self.matrix(call),
            Stmt::Call(Call::Product(call)) => {
                let table = self.table();
                // The graph is verified: operands lie within their buffers, and what is written is not fixed.
                unsafe { product::run(call, |b| table[b.0 as usize]) };
            }
            Stmt::Call(Call::Ode(call)) => self.ode(call),
            Stmt::Store { buf, addr, value } => {
                self.look(*value);
                let index = self.positions(addr);
                for (&i, v) in index[..self.lanes].iter().zip(&self.registers[at(*value)..]) {
                    self.written[buf.0 as usize][i] = *v;
                }
            }
            Stmt::Accum { buf, addr, value } => {
                self.look(*value);
                let index = self.positions(addr);
                if self.lane.is_none_or(|lane| !addr.uses(lane)) {
                    let from = at(*value);
                    let sum: f64 = self.registers[from..from + self.lanes].iter().sum();
                    self.written[buf.0 as usize][index[0]] += sum;
                } else {
                    for (&i, v) in index[..self.lanes].iter().zip(&self.registers[at(*value)..]) {
                        self.written[buf.0 as usize][i] += *v;
                    }
                }
            }
        }
    }

    /// The address of every buffer.
    fn table(&mut self) -> Vec<*mut f64> {
        (self.buffers.iter().zip(&mut self.written))
            .map(|(b, written)| match &b.kind {
                BufKind::Data(numbers) => numbers.as_ptr().cast_mut(),
                BufKind::Index(_) => std::ptr::null_mut(),
                BufKind::Input | BufKind::Scratch { .. } => written.as_mut_ptr(),
            })
            .collect()
    }

    fn ode(&mut self, call: &OdeCall) {
        let table = self.table();
        let mut rates = Rates { system: &call.system, engine: System::new(&call.system.graph) };
        let mut space = Space::new(call);
        // The graph is verified: operands lie within their buffers, and what is written is not fixed.
        let failed = unsafe { ode::run(call, |b| table[b.0 as usize], &mut space, &mut rates) };
        if let (Some(_), None, Some(failure)) = (self.watch, &self.hit, failed) {
            self.hit = Some(Hit { value: f64::NAN, counters: vec![], cause: Cause::Ode(failure) });
        }
    }

    fn matrix(&mut self, call: &MatrixCall) {
        let table = self.table();
        // The graph is verified: operands lie within their buffers, and what is written is not fixed.
        unsafe { matrix::run(call, |b| table[b.0 as usize]) };
        let failed = call.op == MatrixOp::Cholesky && {
            let out = call.operands.iter().find(|o| o.access == Access::Store).and_then(|o| o.buf);
            self.written[out.expect("a factor is stored").0 as usize].iter().any(|x| x.is_nan())
        };
        if self.watch.is_some() && self.hit.is_none() && failed {
            self.hit = Some(Hit { value: f64::NAN, counters: vec![], cause: Cause::Indefinite });
        }
    }

    fn op(&mut self, out: ValId, op: &Op) {
        match op {
            Op::Const(c) => self.fill(out, |_, _| *c),
            Op::Load(buf, addr) => {
                let index = self.positions(addr);
                for (l, &i) in index[..self.lanes].iter().enumerate() {
                    self.registers[at(out) + l] = self.buffer(*buf)[i];
                }
            }
            Op::Counter(id) => {
                let (start, step) = (self.counters[id.0 as usize], usize::from(self.lane == Some(*id)));
                self.fill(out, |_, l| (start + step * l) as f64);
            }
            Op::Unary(op, a) => self.fill(out, |r, l| scalar::unary(*op, r[at(*a) + l])),
            Op::Binary(op, a, b) => self.fill(out, |r, l| scalar::binary(*op, r[at(*a) + l], r[at(*b) + l])),
            Op::Fma(a, b, c) => self.fill(out, |r, l| r[at(*a) + l].mul_add(r[at(*b) + l], r[at(*c) + l])),
            Op::Select(c, a, b) => {
                self.fill(out, |r, l| if r[at(*c) + l] != 0.0 { r[at(*a) + l] } else { r[at(*b) + l] });
            }
        }
    }

    fn fill(&mut self, out: ValId, f: impl Fn(&[f64], usize) -> f64) {
        for l in 0..self.lanes {
            self.registers[at(out) + l] = f(&self.registers, l);
        }
    }

    /// The address in each lane.
    fn positions(&self, addr: &Addr) -> [usize; BLOCK] {
        let mut index = [addr.offset; BLOCK];
        let index_of = |id: LoopId| self.counters[id.0 as usize];
        for (term, stride) in &addr.terms {
            match term {
                AddrTerm::Loop(id) if self.lane == Some(*id) => {
                    let start = index_of(*id);
                    for (l, i) in index[..self.lanes].iter_mut().enumerate() {
                        *i += stride * (start + l);
                    }
                }
                AddrTerm::Loop(id) => {
                    let step = stride * index_of(*id);
                    index[..self.lanes].iter_mut().for_each(|i| *i += step);
                }
                AddrTerm::Gather(buf, inner) => {
                    let inner = self.positions(inner);
                    let entries = entries(self.buffers, *buf);
                    for (i, at) in index[..self.lanes].iter_mut().zip(inner) {
                        *i += stride * entries[at] as usize;
                    }
                }
            }
        }
        index
    }

    /// The address in one lane.
    fn position(&self, addr: &Addr, l: usize) -> usize {
        addr.terms.iter().fold(addr.offset, |i, (term, stride)| {
            i + stride
                * match term {
                    AddrTerm::Loop(id) => self.counters[id.0 as usize] + if self.lane == Some(*id) { l } else { 0 },
                    AddrTerm::Gather(buf, inner) => entries(self.buffers, *buf)[self.position(inner, l)] as usize,
                }
        })
    }

    /// When watching, remember the first lane that does not pass.
    fn look(&mut self, value: ValId) {
        let (Some(most), None) = (self.watch, &self.hit) else { return };
        let from = at(value);
        if let Some(l) = self.registers[from..from + self.lanes].iter().position(|v| v.is_nan() || v.abs() > most) {
            let counters = self.counters.iter().enumerate().map(|(id, &i)| {
                let id = LoopId(id as u32);
                (id, if self.lane == Some(id) { i + l } else { i })
            });
            self.hit =
                Some(Hit { value: self.registers[from + l], counters: counters.collect(), cause: Cause::Arithmetic });
        }
    }
}

/// First lane of a value's register.
fn at(value: ValId) -> usize {
    value.0 as usize * BLOCK
}

fn entries(buffers: &[Buffer], id: BufId) -> &[u32] {
    match &buffers[id.0 as usize].kind {
        BufKind::Index(entries) => entries,
        BufKind::Data(_) | BufKind::Input | BufKind::Scratch { .. } => {
            unreachable!("verified graphs gather through index buffers only")
        }
    }
}

fn identity(op: ReduceOp) -> f64 {
    match op {
        ReduceOp::Sum => 0.0,
        ReduceOp::Prod => 1.0,
        ReduceOp::Min => f64::INFINITY,
        ReduceOp::Max => f64::NEG_INFINITY,
    }
}

fn combine(op: ReduceOp, a: f64, b: f64) -> f64 {
    match op {
        ReduceOp::Sum => a + b,
        ReduceOp::Prod => a * b,
        ReduceOp::Min => scalar::min(a, b),
        ReduceOp::Max => scalar::max(a, b),
    }
}

/// One more than the largest value and loop ids of a body.
fn extent(body: &[Stmt], values: &mut usize, loops: &mut usize) {
    for stmt in body {
        match stmt {
            Stmt::Let(out, _) => raise(values, out.0),
            Stmt::Reduce { over, body, outs } => {
                outs.iter().for_each(|(out, _, _)| raise(values, out.0));
                raise(loops, over.id.0);
                extent(body, values, loops);
            }
            Stmt::Contract { out, over, .. } => {
                raise(values, out.0);
                raise(loops, over.id.0);
            }
            Stmt::ContractT { over, .. } => raise(loops, over.id.0),
            Stmt::Store { .. } | Stmt::Accum { .. } | Stmt::Call(_) => {}
        }
    }
}

fn raise(count: &mut usize, id: u32) {
    *count = (*count).max(id as usize + 1);
}
