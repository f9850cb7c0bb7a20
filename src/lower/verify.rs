//! The rules of a well-formed graph, checked after lowering in debug builds and in tests.
//!
//! The two traps of the tape (an operand without the tape, and two operands with one id) concern its own nodes; a
//! region has operands by buffer and cannot express them.

use std::collections::{HashMap, HashSet};

use crate::lower::graph::{
    Access, Addr, AddrTerm, BufId, BufKind, Call, Graph, Loop, LoopId, MatrixCall, MatrixOp, OdeCall, Op, Operand,
    ProductCall, Region, Stmt, ValId,
};

/// `Err` says which region breaks which rule.
pub fn verify(graph: &Graph) -> Result<(), String> {
    for (program, regions) in
        [("value", &graph.value), ("gradient", &graph.gradient), ("report", &graph.report), ("trace", &graph.trace)]
    {
        let mut stored = HashMap::new();
        for (i, region) in regions.iter().enumerate() {
            verify_region(graph, region)
                .and_then(|()| stores_once(graph, region, i, &mut stored))
                .map_err(|e| format!("{program} region {i} ({}): {e}", region.name))?;
        }
    }
    Ok(())
}

/// One region by itself.
pub fn verify_region(graph: &Graph, region: &Region) -> Result<(), String> {
    let mut check = Check {
        graph,
        lane: region.lane().map(|l| l.id),
        walked: region.loops.first().filter(|_| region.walk.is_some()).map(|l| l.id),
        open: vec![],
        values: HashSet::new(),
        defined: HashSet::new(),
        written: vec![],
        read: vec![],
    };
    for l in &region.loops {
        check.open(l)?;
    }
    check.body(&region.body)?;
    if region.walk.is_some() && region.loops.is_empty() {
        return Err("walks no loop".into());
    }
    // A buffer that the region writes may be read in it only where the same cell was just stored; passes forward the
    // value instead, so no read is left. A walk reads what other steps of it have written.
    let other_steps = |walked: bool| walked && region.walk.is_some();
    match check.read.iter().find(|(b, walked)| check.written.contains(b) && !other_steps(*walked)) {
        Some((b, _)) => Err(format!("reads `{}`, which it also writes", graph.buffers[b.0 as usize].name)),
        None => Ok(()),
    }
}

/// No buffer is stored by two regions, nor stored and accumulated, nor read before it is written.
fn stores_once(
    graph: &Graph,
    region: &Region,
    at: usize,
    stored: &mut HashMap<BufId, (usize, bool)>,
) -> Result<(), String> {
    let (mut written, mut read) = (vec![], vec![]);
    effects(&region.body, &mut written, &mut read);
    let name = |b: BufId| &graph.buffers[b.0 as usize].name;
    for b in read {
        let fixed = !matches!(graph.buffers[b.0 as usize].kind, BufKind::Scratch { zeroed: false });
        let own = region.walk.is_some() && written.iter().any(|w| w.0 == b);
        if !fixed && !own && !stored.contains_key(&b) {
            return Err(format!("reads `{}` before it is stored", name(b)));
        }
    }
    for (b, is_store) in written {
        match stored.insert(b, (at, is_store)) {
            Some((_, before)) if is_store || before => return Err(format!("`{}` is stored twice", name(b))),
            _ => {}
        }
    }
    Ok(())
}

fn effects(body: &[Stmt], written: &mut Vec<(BufId, bool)>, read: &mut Vec<BufId>) {
    for stmt in body {
        match stmt {
            Stmt::Let(_, Op::Load(b, _)) => read.push(*b),
            Stmt::Let(..) => {}
            Stmt::Reduce { body, .. } => effects(body, written, read),
            Stmt::Contract { a, b, .. } => read.extend([a.0, b.0]),
            Stmt::ContractT { a, target, .. } => {
                read.push(a.0);
                written.push((target.0, false));
            }
            Stmt::Store { buf, .. } => written.push((*buf, true)),
            Stmt::Accum { buf, .. } => written.push((*buf, false)),
            Stmt::Call(call) => {
                read.extend(call.buffers(Access::Read));
                written.extend(call.buffers(Access::Store).map(|b| (b, true)));
                written.extend(call.buffers(Access::Add).map(|b| (b, false)));
            }
        }
    }
}

struct Check<'g> {
    graph: &'g Graph,
    lane: Option<LoopId>,
    /// The loop whose steps run in order.
    walked: Option<LoopId>,
    open: Vec<Loop>,
    /// In scope.
    values: HashSet<ValId>,
    /// Ever defined in the region: ids are not used twice.
    defined: HashSet<ValId>,
    written: Vec<BufId>,
    /// With whether the cell depends on the step of the walk.
    read: Vec<(BufId, bool)>,
}

impl Check<'_> {
    fn open(&mut self, l: &Loop) -> Result<(), String> {
        if self.open.iter().any(|o| o.id == l.id) {
            return Err(format!("loop {:?} over {} is open twice", l.id, l.plate));
        }
        self.open.push(l.clone());
        Ok(())
    }

    fn define(&mut self, v: ValId) -> Result<(), String> {
        self.values.insert(v);
        if self.defined.insert(v) { Ok(()) } else { Err(format!("{v:?} is defined twice")) }
    }

    fn used(&self, v: ValId) -> Result<(), String> {
        if self.values.contains(&v) { Ok(()) } else { Err(format!("{v:?} is used where it is not defined")) }
    }

    fn body(&mut self, body: &[Stmt]) -> Result<(), String> {
        body.iter().try_for_each(|s| self.stmt(s))
    }

    fn stmt(&mut self, stmt: &Stmt) -> Result<(), String> {
        match stmt {
            Stmt::Let(v, op) => {
                match op {
                    Op::Const(_) => {}
                    Op::Load(b, addr) => self.read(*b, addr)?,
                    Op::Counter(id) => self.in_scope(*id)?,
                    Op::Unary(_, a) => self.used(*a)?,
                    Op::Binary(_, a, b) => [a, b].into_iter().try_for_each(|v| self.used(*v))?,
                    Op::Fma(a, b, c) | Op::Select(a, b, c) => [a, b, c].into_iter().try_for_each(|v| self.used(*v))?,
                }
                self.define(*v)
            }
            Stmt::Reduce { over, body, outs } => {
                let outside = self.values.clone();
                self.open(over)?;
                self.body(body)?;
                self.open.pop();
                outs.iter().try_for_each(|o| self.used(o.2))?;
                self.values = outside;
                outs.iter().try_for_each(|o| self.define(o.0))
            }
            Stmt::Contract { out, over, a, b } => {
                let lane = self.lane.ok_or("a contraction needs a lane loop")?;
                self.open(over)?;
                self.read(a.0, &a.1)?;
                self.read(b.0, &b.1)?;
                self.open.pop();
                if b.1.uses(lane) {
                    return Err("the second factor of a contraction varies with the lane".into());
                }
                self.define(*out)
            }
            Stmt::ContractT { value, over, a, target } => {
                let lane = self.lane.ok_or("a contraction needs a lane loop")?;
                self.used(*value)?;
                self.open(over)?;
                self.read(a.0, &a.1)?;
                self.write(target.0, &target.1, true)?;
                self.open.pop();
                if target.1.uses(lane) {
                    return Err("the target of a transposed contraction varies with the lane".into());
                }
                Ok(())
            }
            Stmt::Store { buf, addr, value } => {
                self.used(*value)?;
                if self.open.iter().any(|l| l.size > 1 && !addr.uses(l.id)) {
                    return Err(format!(
                        "stores one cell of `{}` more than once",
                        self.graph.buffers[buf.0 as usize].name
                    ));
                }
                self.write(*buf, addr, false)
            }
            Stmt::Accum { buf, addr, value } => {
                self.used(*value)?;
                self.write(*buf, addr, true)
            }
            Stmt::Call(_) if !self.open.is_empty() => Err("an operation on whole buffers stands inside a loop".into()),
            Stmt::Call(Call::Matrix(call)) => self.matrix(call),
            Stmt::Call(Call::Product(call)) => self.product(call),
            Stmt::Call(Call::Ode(call)) => self.ode(call),
        }
    }

    fn matrix(&mut self, call: &MatrixCall) -> Result<(), String> {
        for (i, o) in call.operands.iter().enumerate() {
            let square = match call.op {
                MatrixOp::Cholesky | MatrixOp::CholeskyBack => true,
                MatrixOp::CholeskyTangent | MatrixOp::CholeskyBackTangent => true,
                MatrixOp::Solve { .. } => i == 0,
                MatrixOp::SolveBack { .. } => i == 0 || i == 3,
                MatrixOp::SolveTangent { .. } => i < 2,
                MatrixOp::SolveBackTangent { .. } => i < 2 || i == 6,
            };
            let cells = call.n * if square { call.n } else { call.columns };
            self.operand(o, &call.batch, cells)?;
        }
        let room = call.work.map_or(0, |b| self.graph.buffers[b.0 as usize].len);
        if room < call.work_len { Err("a matrix operation lacks scratch".into()) } else { Ok(()) }
    }

    fn product(&mut self, call: &ProductCall) -> Result<(), String> {
        let [m, k, n] = call.sizes;
        let sides = [[m, k], [k, n], [m, n]];
        for ((o, steps), [rows, columns]) in call.operands.iter().zip(&call.steps).zip(sides) {
            if rows == 0 || columns == 0 {
                return Err("a product of empty matrices".into());
            }
            self.operand(o, &call.batch, (rows - 1) * steps[0] + (columns - 1) * steps[1] + 1)?;
        }
        Ok(())
    }

    fn ode(&mut self, call: &OdeCall) -> Result<(), String> {
        let s = &call.system;
        let inputs: Vec<usize> = std::iter::once(s.n).chain(s.args.iter().copied()).collect();
        let longest = s.grids.iter().map(|g| g.times.len()).max().unwrap_or(0);
        let solution = s.n * longest;
        let sizes = inputs.iter().chain([&solution]).chain(&inputs);
        if call.operands.len() != inputs.len() + 1 + if call.backward { inputs.len() } else { 0 } {
            return Err("an ode has other operands than its system".into());
        }
        if s.grid_of.len() != call.batch.iter().product::<usize>() {
            return Err("an ode has times for other problems".into());
        }
        call.operands.iter().zip(sizes).try_for_each(|(o, &cells)| self.operand(o, &call.batch, cells))
    }

    /// An operand of this many numbers per cell of a batch.
    fn operand(&mut self, o: &Operand, batch: &[usize], cells: usize) -> Result<(), String> {
        let Some(buf) = o.buf else { return Ok(()) };
        let last: usize = batch.iter().zip(&o.strides).map(|(n, s)| (n - 1) * s).sum();
        let buffer = &self.graph.buffers[buf.0 as usize];
        if o.offset + last + cells > buffer.len || o.strides.len() != batch.len() {
            return Err(format!("an operation reaches beyond `{}`", buffer.name));
        }
        match o.access {
            Access::Read => self.read.push((buf, false)),
            Access::Store | Access::Add => self.written.push(buf),
        }
        Ok(())
    }

    fn read(&mut self, buf: BufId, addr: &Addr) -> Result<(), String> {
        if matches!(self.graph.buffers[buf.0 as usize].kind, BufKind::Index(_)) {
            return Err("an index buffer is read as numbers".into());
        }
        self.read.push((buf, self.walked.is_some_and(|w| addr.uses(w))));
        self.address(buf, addr)
    }

    fn write(&mut self, buf: BufId, addr: &Addr, sum: bool) -> Result<(), String> {
        let buffer = &self.graph.buffers[buf.0 as usize];
        match buffer.kind {
            BufKind::Scratch { zeroed } if zeroed == sum => {}
            BufKind::Scratch { .. } => {
                return Err(format!("`{}` is zeroed if and only if it is summed into", buffer.name));
            }
            BufKind::Data(_) | BufKind::Index(_) | BufKind::Input => {
                return Err(format!("writes `{}`, which is given", buffer.name));
            }
        }
        self.written.push(buf);
        self.address(buf, addr)
    }

    fn in_scope(&self, id: LoopId) -> Result<(), String> {
        match self.open.iter().any(|l| l.id == id) {
            true => Ok(()),
            false => Err(format!("loop {id:?} is used outside of it")),
        }
    }

    /// The largest address lies in the buffer. Loops without cells read nothing.
    fn address(&self, buf: BufId, addr: &Addr) -> Result<(), String> {
        let last = self.last(addr)?;
        let buffer = &self.graph.buffers[buf.0 as usize];
        if last >= buffer.len && self.open.iter().all(|l| l.size > 0) {
            return Err(format!("reads or writes `{}` at {last} of {}", buffer.name, buffer.len));
        }
        Ok(())
    }

    fn last(&self, addr: &Addr) -> Result<usize, String> {
        let mut last = addr.offset;
        for (term, stride) in &addr.terms {
            last += stride
                * match term {
                    AddrTerm::Loop(id) => {
                        let found = self.open.iter().find(|l| l.id == *id);
                        let l = found.ok_or_else(|| format!("loop {id:?} is used outside of it"))?;
                        l.size.saturating_sub(1)
                    }
                    AddrTerm::Gather(index, inner) => {
                        let BufKind::Index(entries) = &self.graph.buffers[index.0 as usize].kind else {
                            return Err("gathers through a buffer that is no index".into());
                        };
                        self.address(*index, inner)?;
                        entries.iter().copied().max().unwrap_or(0) as usize
                    }
                };
        }
        Ok(last)
    }
}
