//! From the joint's symbolic cells to expressions over sized loops and buffers: one kernel per definition and term.
//!
//! Axes become loops; indices become addresses, through checked index buffers where they are computed from data;
//! filters become loops over the kept cells.

use std::collections::HashMap;
use std::sync::Arc;

use crate::data::Bound;
use crate::derive::joint::{Def, Fold, Ix, Joint, Node, NodeId, Scatter, SlotId, SlotKind};
use crate::diag::Diags;
use crate::hir::{AxisId, Hir, PlateId};
use crate::infer::Role;
use crate::lower::expr::{Arena, E, Expr, without};
use crate::lower::graph::{Addr, AddrTerm, BinOp, BufId, BufKind, Kept, LoopId, ReduceOp, UnOp};
use crate::lower::index::Indexed;
use crate::lower::kernel::{Kernel, Root};
use crate::lower::settle::positions_as_numbers;
use crate::lower::storage::{Place, Storage, plate_size, scalar, strides};
use crate::source::Span;

/// What an axis stands for in an expression.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub(super) enum Bind {
    Loop(LoopId),
    /// The plate position of the current cell of a loop over kept cells.
    Kept {
        over: LoopId,
        positions: BufId,
    },
}

/// Where an expression stands: what its axes are, and the data condition under which it is used at all.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Scope {
    binds: Vec<(AxisId, Bind)>,
    guard: Option<E>,
}

impl Scope {
    pub fn bind(&self, axis: AxisId) -> Bind {
        let found = self.binds.iter().find(|b| b.0 == axis);
        found.expect("a checked expression uses the axes of its statement and of the reductions around it").1
    }

    pub fn with(&self, new: &[(AxisId, Bind)]) -> Scope {
        let mut binds = self.binds.clone();
        binds.retain(|b| new.iter().all(|n| n.0 != b.0));
        binds.extend_from_slice(new);
        binds.sort_unstable();
        Scope { binds, guard: self.guard }
    }
}

/// The declarations as kernels, and what goes with them.
pub(crate) struct Resolved {
    /// In program order.
    pub kernels: Vec<Kernel>,
    pub kept: Vec<Kept>,
}

pub(super) struct Resolver<'a, 's> {
    pub hir: &'a Hir,
    pub joint: &'a Joint,
    pub bound: &'a Bound,
    pub arena: &'s mut Arena,
    pub storage: &'s mut Storage<'a>,
    pub diags: &'s mut Diags,
    memo: HashMap<(NodeId, Scope), E>,
    /// By `NodeId`.
    free_axes: Vec<Vec<AxisId>>,
    /// By `NodeId`: whether it holds a computed index, which a condition may guard.
    has_index: Vec<bool>,
    pub indexed: HashMap<(E, PlateId), Indexed>,
    /// By filter: the loop over the cells that pass, with the positions per loop that it replaces.
    filters: HashMap<E, Vec<(LoopId, Bind)>>,
    as_numbers: HashMap<BufId, BufId>,
    /// The walked axis for each order other than that of the rows.
    pub orders: HashMap<SlotId, Bind>,
    /// What the walk at hand is about to compute.
    pub own: Vec<BufId>,
    pub kept: Vec<Kept>,
    /// The loops over whole plates, for messages.
    pub plate_of: HashMap<LoopId, PlateId>,
    /// The declaration at hand, for messages.
    pub statement: String,
    pub span: Span,
}

/// Resolve everything. Diagnostics are pushed for labels and indices that the data do not have.
pub(crate) fn resolve<'a>(
    hir: &'a Hir,
    joint: &'a Joint,
    bound: &'a Bound,
    arena: &mut Arena,
    storage: &mut Storage<'a>,
    log_joint: BufId,
    diags: &mut Diags,
) -> Resolved {
    let mut r = Resolver::new(hir, joint, bound, arena, storage, diags);
    let mut kernels = r.definitions();
    for term in &joint.terms {
        r.statement.clone_from(&term.name);
        r.span = term.span;
        let kernel = r.term(term, log_joint);
        kernels.push(kernel);
    }
    r.starts();
    Resolved { kernels, kept: r.kept }
}

impl<'a, 's> Resolver<'a, 's> {
    fn new(
        hir: &'a Hir,
        joint: &'a Joint,
        bound: &'a Bound,
        arena: &'s mut Arena,
        storage: &'s mut Storage<'a>,
        diags: &'s mut Diags,
    ) -> Resolver<'a, 's> {
        let (free_axes, has_index) = survey(joint);
        Resolver {
            hir,
            joint,
            bound,
            arena,
            storage,
            diags,
            memo: HashMap::new(),
            free_axes,
            has_index,
            indexed: HashMap::new(),
            filters: HashMap::new(),
            as_numbers: HashMap::new(),
            orders: HashMap::new(),
            own: vec![],
            kept: vec![],
            plate_of: HashMap::new(),
            statement: String::new(),
            span: Span::default(),
        }
    }

    /// Every definition, in order.
    fn definitions(&mut self) -> Vec<Kernel> {
        let joint = self.joint;
        let mut kernels = vec![];
        let group = |d: &Def| d.walk.as_ref().map(|w| w.group);
        for defs in joint.defs.chunk_by(|a, b| group(a).is_some() && group(a) == group(b)) {
            let names: Vec<&str> = defs.iter().map(|d| joint.slot(d.slot).name.as_str()).collect();
            self.statement = names.join(", ");
            self.span = defs[0].span;
            kernels.extend(match &defs[0].walk {
                Some(walk) => self.walk(defs, walk),
                None => self.definition(&defs[0]),
            });
        }
        kernels
    }
}

/// Expressions that depend on data only, each over its axes.
pub(crate) fn evaluate<'a>(
    hir: &'a Hir,
    joint: &'a Joint,
    bound: &'a Bound,
    arena: &mut Arena,
    storage: &mut Storage<'a>,
    wanted: &[(NodeId, &[AxisId])],
) -> Vec<Vec<f64>> {
    // Whatever could be said was said when the whole was lowered.
    let mut diags = Diags::default();
    let mut r = Resolver::new(hir, joint, bound, arena, storage, &mut diags);
    r.definitions();
    let each = wanted.iter().map(|(node, axes)| {
        let scope = r.scope_over(axes);
        let value = r.node(*node, &scope);
        let loops: Vec<LoopId> = axes.iter().map(|&a| loop_of(scope.bind(a))).collect();
        r.arena.values(value, &loops)
    });
    each.collect()
}

/// Per node: the axes it varies over, and whether it holds a computed index.
fn survey(joint: &Joint) -> (Vec<Vec<AxisId>>, Vec<bool>) {
    let mut free: Vec<Vec<AxisId>> = vec![];
    let mut has_index: Vec<bool> = vec![];
    for node in &joint.nodes {
        let (mut axes, mut indexed) = (vec![], false);
        let mut operand = |n: NodeId| {
            axes.extend_from_slice(&free[n.0 as usize]);
            indexed |= has_index[n.0 as usize];
        };
        match node {
            Node::Const(_) | Node::Size(_) => {}
            Node::Position(a) => axes.push(*a),
            Node::Read { index, .. } => {
                for ix in index {
                    match ix {
                        Ix::Axis(a) => axes.push(*a),
                        Ix::At(n) => {
                            axes.extend_from_slice(&free[n.0 as usize]);
                            indexed = true;
                        }
                        Ix::Label(..) => {}
                    }
                }
            }
            Node::Matrix { operands, .. } | Node::Ode { operands, .. } => operands.iter().for_each(|n| operand(*n)),
            Node::Unary(_, a) | Node::Detached(a) => operand(*a),
            Node::Binary(_, a, b) => [a, b].into_iter().for_each(|n| operand(*n)),
            Node::Select(c, a, b) => [c, a, b].into_iter().for_each(|n| operand(*n)),
            Node::Reduce { axes: over, filter, body, .. } => {
                operand(*body);
                filter.iter().for_each(|f| operand(*f));
                axes.retain(|a| !over.contains(a));
            }
        }
        axes.sort_unstable();
        axes.dedup();
        free.push(axes);
        has_index.push(indexed);
    }
    (free, has_index)
}

impl Resolver<'_, '_> {
    /// Where each coordinate of theta starts, and whether it is a point.
    fn starts(&mut self) {
        let (mut start, mut points, mut roles) = (vec![], vec![], vec![]);
        for u in &self.joint.unconstrained {
            let cells = self.storage.layout.place(u.slot).map_or(0, |p| p.len());
            points.extend(std::iter::repeat_n(u.point, cells));
            if let Some(written) = &self.joint.written {
                let group = written.together.iter().find(|t| t.0 == u.var).map_or(0, |t| t.1);
                let role = match u.point {
                    true if written.switch == Some(u.slot) && written.relaxed => Role::Relaxed,
                    true if written.switch == Some(u.slot) => Role::Switch,
                    true if written.scores.iter().any(|s| s.0 == u.slot) => Role::Terms,
                    true if written.scores.iter().any(|s| s.1 == u.slot) => Role::Score,
                    true => Role::Point,
                    false if written.noise.contains(&u.slot) => Role::Noise,
                    false => Role::Family(group),
                };
                roles.extend(std::iter::repeat_n(role, cells));
            }
            match u.start {
                Some(node) => {
                    self.statement.clone_from(&self.joint.slot(u.slot).name);
                    let scope = self.scope_over(&u.axes);
                    let value = self.node(node, &scope);
                    let loops: Vec<LoopId> = u.axes.iter().map(|&a| loop_of(scope.bind(a))).collect();
                    start.extend(self.arena.values(value, &loops));
                }
                None => start.extend(std::iter::repeat_n(0.0, cells)),
            }
        }
        self.storage.layout.set_starts(start, points);
        if self.joint.written.is_some() {
            self.storage.layout.set_roles(roles);
        }
    }

    fn definition(&mut self, def: &Def) -> Option<Kernel> {
        if let Some(scatter) = &def.scatter {
            return self.scatter(def, scatter);
        }
        if let Node::Matrix { function, operands } = self.joint.node(def.value) {
            return self.matrix(def, *function, operands);
        }
        if let Node::Ode { system, operands } = self.joint.node(def.value) {
            return self.ode(def, &self.joint.systems[*system as usize], operands);
        }
        let scope = self.scope_over(&def.axes);
        let value = self.node(def.value, &scope);
        let loops: Vec<LoopId> = def.axes.iter().map(|&a| loop_of(scope.bind(a))).collect();
        if !self.arena.active(value) {
            let numbers: Arc<[f64]> = self.arena.values(value, &loops).into();
            self.storage.define(self.arena, def, Some(numbers));
            return None;
        }
        let buf = self.storage.define(self.arena, def, None).buf;
        let addr = self.arena.address(&loops);
        Some(self.kernel(loops, vec![Root::store(buf, addr, value)]))
    }

    fn scatter(&mut self, def: &Def, scatter: &Scatter) -> Option<Kernel> {
        let mut scope = self.scope_over(&def.axes);
        let mut loops: Vec<LoopId> = def.axes.iter().map(|&a| loop_of(scope.bind(a))).collect();
        if let Some(filter) = scatter.filter {
            let condition = self.node(filter, &scope);
            (scope, loops) = self.keep(condition, &scope, loops);
        }
        let value = self.node(def.value, &scope);
        let place = self.storage.define(self.arena, def, None).clone();
        self.arena.buffers[place.buf.0 as usize].kind = BufKind::Scratch { zeroed: true };
        let active = self.arena.active(value);
        self.arena.set_active(place.buf, active);
        let addr = self.place_address(&place, &scatter.index, &scope)?;
        let kernel = self.kernel(loops, vec![Root::accum(place.buf, addr, value)]);
        if !active {
            self.arena.run_now(kernel);
            return None;
        }
        Some(kernel)
    }

    fn term(&mut self, term: &crate::derive::joint::Term, log_joint: BufId) -> Kernel {
        let mut scope = self.scope_over(&term.axes);
        let mut loops: Vec<LoopId> = term.axes.iter().map(|&a| loop_of(scope.bind(a))).collect();
        if let Some(filter) = term.filter {
            let condition = self.node(filter, &scope);
            (scope, loops) = self.keep(condition, &scope, loops);
        }
        let value = self.node(term.value, &scope);
        self.kernel(loops, vec![Root::accum(log_joint, scalar(), value)])
    }

    pub(super) fn kernel(&self, mut loops: Vec<LoopId>, roots: Vec<Root>) -> Kernel {
        loops.sort_unstable();
        Kernel { name: self.statement.clone(), span: Some(self.span), loops, walk: None, roots, call: None }
    }

    /// Each axis stands for the first loop over its plate that no other of them uses.
    fn scope_over(&mut self, axes: &[AxisId]) -> Scope {
        let binds = self.free_binds(axes, &[]);
        Scope::default().with(&binds)
    }

    pub(super) fn free_binds(&mut self, axes: &[AxisId], taken: &[LoopId]) -> Vec<(AxisId, Bind)> {
        let mut taken = taken.to_vec();
        let mut binds = vec![];
        for &axis in axes {
            let plate = self.hir.axis(axis).plate;
            let mut free = (0..).map(|n| self.plate_loop(plate, n));
            let id = free.find(|l| !taken.contains(l)).expect("there is no end of loops");
            drop(free);
            taken.push(id);
            binds.push((axis, Bind::Loop(id)));
        }
        binds
    }

    pub(super) fn plate_loop(&mut self, plate: PlateId, n: usize) -> LoopId {
        let size = plate_size(self.hir, self.bound, plate);
        let id = self.arena.plate_loop(plate, n, size, &self.hir.plate(plate).name);
        self.plate_of.insert(id, plate);
        id
    }

    /// Replace the loops that a filter varies over by one loop over the cells that pass.
    fn keep(&mut self, condition: E, scope: &Scope, loops: Vec<LoopId>) -> (Scope, Vec<LoopId>) {
        let (replaced, over) = self.kept_loops(condition);
        let binds: Vec<_> = scope
            .binds
            .iter()
            .filter_map(|&(axis, bind)| {
                let new = replaced.iter().find(|r| Bind::Loop(r.0) == bind)?.1;
                Some((axis, new))
            })
            .collect();
        let mut left = without(&loops, &replaced.iter().map(|r| r.0).collect::<Vec<_>>());
        left.extend(over);
        (scope.with(&binds), left)
    }

    /// What each loop of a filter becomes, and the new loop. Nothing changes where every cell passes.
    fn kept_loops(&mut self, condition: E) -> (Vec<(LoopId, Bind)>, Option<LoopId>) {
        if self.arena.as_const(condition).is_some_and(|c| c != 0.0) {
            return (vec![], None);
        }
        let (fresh, replaced) = match self.filters.get(&condition) {
            Some(known) => (false, known.clone()),
            None => (true, self.make_kept(condition)),
        };
        if fresh {
            self.filters.insert(condition, replaced.clone());
        }
        let over = replaced.first().map(|r| loop_of(r.1));
        // A filter that is false everywhere and varies over nothing leaves no cell: a loop of size 0.
        let never = self.arena.as_const(condition).is_some();
        (replaced, if never { Some(self.arena.plate_loop(PlateId(u32::MAX), 0, 0, "nothing")) } else { over })
    }

    fn make_kept(&mut self, condition: E) -> Vec<(LoopId, Bind)> {
        let loops = self.arena.free(condition).to_vec();
        let passes = self.arena.values(condition, &loops);
        let cells: Vec<usize> = (0..passes.len()).filter(|&i| passes[i] != 0.0).collect();
        if cells.len() == passes.len() {
            return vec![];
        }
        let names: Vec<_> = loops.iter().map(|&l| self.arena.loops[l.0 as usize].name.clone()).collect();
        let over = self.arena.new_loop(cells.len(), format!("{} where …", names.join(" × ")));
        let mut stride = 1;
        let mut replaced = vec![];
        for (&l, name) in loops.iter().zip(names) {
            let size = self.arena.size(l);
            let positions = cells.iter().map(|c| (c / stride % size) as u32).collect();
            stride *= size;
            let plate = self.plate_of[&l];
            let positions = self.arena.index(format!("{name} kept"), positions, plate);
            self.kept.push(Kept { over, plate: name, positions });
            replaced.push((l, Bind::Kept { over, positions }));
        }
        replaced
    }

    /// The expression of a node where it stands.
    pub(super) fn node(&mut self, id: NodeId, scope: &Scope) -> E {
        let axes = &self.free_axes[id.0 as usize];
        let binds = scope.binds.iter().filter(|b| axes.contains(&b.0)).copied().collect();
        let guard = scope.guard.filter(|_| self.has_index[id.0 as usize]);
        let key = (id, Scope { binds, guard });
        if let Some(&done) = self.memo.get(&key) {
            return done;
        }
        let joint = self.joint;
        let e = match joint.node(id) {
            Node::Const(bits) => self.arena.number(f64::from_bits(*bits)),
            Node::Size(plate) => {
                let size = plate_size(self.hir, self.bound, *plate);
                self.arena.number(size as f64)
            }
            Node::Position(axis) => self.position(scope.bind(*axis)),
            Node::Read { slot, index } => self.read(*slot, index, scope),
            Node::Unary(op, a) => {
                let a = self.node(*a, scope);
                self.arena.unary(*op, a)
            }
            Node::Detached(a) => {
                let a = self.node(*a, scope);
                self.arena.detach(a)
            }
            Node::Binary(op, a, b) => {
                let first = self.node(*a, scope);
                // The second operand of `and` matters only where the first holds.
                let scope = match op {
                    BinOp::And => self.guarded(scope, first),
                    BinOp::Or => {
                        let not = self.arena.unary(UnOp::Not, first);
                        self.guarded(scope, not)
                    }
                    _ => scope.clone(),
                };
                let second = self.node(*b, &scope);
                self.arena.binary(*op, first, second)
            }
            Node::Select(c, a, b) => {
                let condition = self.node(*c, scope);
                let yes = self.guarded(scope, condition);
                let not = self.arena.unary(UnOp::Not, condition);
                let no = self.guarded(scope, not);
                let (a, b) = (self.node(*a, &yes), self.node(*b, &no));
                self.arena.select(condition, a, b)
            }
            Node::Matrix { .. } | Node::Ode { .. } => {
                unreachable!("a function of whole slots is the whole value of a definition")
            }
            Node::Reduce { op, axes, filter, body } => self.reduction(id, *op, axes, *filter, *body, scope),
        };
        self.memo.insert(key, e);
        e
    }

    /// The same place under one more condition, if that depends on data only.
    fn guarded(&mut self, scope: &Scope, condition: E) -> Scope {
        let mut scope = scope.clone();
        if !self.arena.active(condition) && !self.reads_own(condition) {
            scope.guard = Some(match scope.guard {
                Some(guard) => self.arena.binary(BinOp::And, guard, condition),
                None => condition,
            });
        }
        scope
    }

    fn position(&mut self, bind: Bind) -> E {
        match bind {
            Bind::Loop(id) => self.arena.counter(id),
            Bind::Kept { over, positions } => {
                let known = self.as_numbers.get(&positions).copied();
                let buf = known.unwrap_or_else(|| {
                    let numbers = positions_as_numbers(self.arena, positions);
                    let buf = self.arena.data("kept positions", numbers);
                    self.as_numbers.insert(positions, buf);
                    buf
                });
                let addr = self.arena.address(&[over]);
                self.arena.load(buf, addr)
            }
        }
    }

    fn reduction(
        &mut self,
        id: NodeId,
        op: Fold,
        axes: &[AxisId],
        filter: Option<NodeId>,
        body: NodeId,
        scope: &Scope,
    ) -> E {
        // Loops that the reduction's operand does not use may be bound again: it is then stored outside of them.
        let outer: Vec<LoopId> =
            self.free_axes[id.0 as usize].iter().map(|&a| loop_of(scope.bind(a))).collect::<Vec<_>>();
        let binds = self.free_binds(axes, &outer);
        let mut over: Vec<LoopId> = binds.iter().map(|b| loop_of(b.1)).collect();
        let mut inner = scope.with(&binds);
        let mut masked = None;
        if let Some(filter) = filter {
            let condition = self.node(filter, &inner);
            if self.arena.free(condition).iter().all(|l| over.contains(l)) {
                (inner, over) = self.keep(condition, &inner, over);
            } else {
                inner = self.guarded(&inner, condition);
                masked = Some(condition);
            }
        }
        let mut value = self.node(body, &inner);
        if let Some(condition) = masked {
            let nothing = self.arena.number(match op {
                Fold::Sum => 0.0,
                Fold::Prod => 1.0,
                Fold::Min => f64::INFINITY,
                Fold::Max | Fold::LogSumExp => f64::NEG_INFINITY,
            });
            value = self.arena.select(condition, value, nothing);
        }
        let op = match op {
            Fold::LogSumExp => return self.arena.log_sum_exp(&over, value),
            Fold::Sum => ReduceOp::Sum,
            Fold::Prod => ReduceOp::Prod,
            Fold::Min => ReduceOp::Min,
            Fold::Max => ReduceOp::Max,
        };
        over.iter().fold(value, |v, &l| self.arena.reduce(op, l, v))
    }

    fn read(&mut self, slot: SlotId, index: &[Ix], scope: &Scope) -> E {
        let place = self.storage.place(self.arena, slot).clone();
        let data = matches!(self.joint.slot(slot).kind, SlotKind::Data(var) if !self.storage.changes(var));
        let Some(addr) = self.place_address(&place, index, scope) else {
            // No cell is ever read; any number stands for it.
            return self.arena.number(0.0);
        };
        if data && place.dims.is_empty() && !self.arena.is_fed(place.buf) {
            let e = self.arena.load(place.buf, addr);
            let v = self.arena.values_of_scalar(e);
            return self.arena.number(v);
        }
        self.arena.load(place.buf, addr)
    }

    /// The address of a cell; `None` if a plate that it is looked up on is empty.
    fn place_address(&mut self, place: &Place, index: &[Ix], scope: &Scope) -> Option<Addr> {
        let mut addr = Addr::constant(place.offset);
        for (dim, (ix, stride)) in index.iter().zip(strides(&place.dims)).enumerate() {
            let (plate, size) = (place.plates[dim], place.dims[dim]);
            match ix {
                Ix::Axis(axis) => addr.terms.push((address_term(scope.bind(*axis)), stride)),
                Ix::Label(text, span) => addr.offset += stride * self.label(plate, text, *span),
                Ix::At(node) => {
                    let (offset, term) = self.at(*node, plate, size, scope, &place.name)?;
                    addr.offset += stride * offset;
                    addr.terms.extend(term.map(|t| (t, stride)));
                }
            }
        }
        Some(addr)
    }

    /// A computed index, as an offset or as a term of an address.
    fn at(
        &mut self,
        node: NodeId,
        plate: PlateId,
        size: usize,
        scope: &Scope,
        of: &str,
    ) -> Option<(usize, Option<AddrTerm>)> {
        if let Node::Position(axis) = self.joint.node(node)
            && self.hir.axis(*axis).plate == plate
        {
            return Some((0, Some(address_term(scope.bind(*axis)))));
        }
        let position = self.node(node, scope);
        let buf = self.index(position, plate, size, scope.guard, of)?;
        if self.arena.free(position).is_empty() {
            let entry = self.arena.entries(buf).first().copied().unwrap_or(0);
            return Some((entry as usize, None));
        }
        let loops = self.arena.free(position).to_vec();
        let inner = self.arena.address(&loops);
        Some((0, Some(AddrTerm::Gather(buf, Box::new(inner)))))
    }
}

/// The loop that an axis moves with.
pub(super) fn loop_of(bind: Bind) -> LoopId {
    match bind {
        Bind::Loop(id) | Bind::Kept { over: id, .. } => id,
    }
}

pub(super) fn address_term(bind: Bind) -> AddrTerm {
    match bind {
        Bind::Loop(id) => AddrTerm::Loop(id),
        Bind::Kept { over, positions } => {
            AddrTerm::Gather(positions, Box::new(Addr { offset: 0, terms: vec![(AddrTerm::Loop(over), 1)] }))
        }
    }
}

impl Arena {
    /// The entries of an index buffer.
    pub fn entries(&self, buf: BufId) -> &[u32] {
        match &self.buffers[buf.0 as usize].kind {
            crate::lower::graph::BufKind::Index(entries) => entries,
            _ => &[],
        }
    }

    fn values_of_scalar(&mut self, e: E) -> f64 {
        match self.get(e) {
            Expr::Load(..) => self.values(e, &[])[0],
            _ => unreachable!("a scalar is read by a load"),
        }
    }
}
