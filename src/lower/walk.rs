//! Definitions that read what they have already computed: one kernel per group, walked step by step.
//!
//! The walked plate is the kernel's one loop in order, forwards or, for derivatives, backwards; a definition's other
//! plates are inner loops unless all of the group have them. Where the steps visit the plate in another order than its
//! own, the walked axis is the position that an index buffer gives for each step.

use std::collections::HashMap;

use crate::derive::joint::{Def, Node, NodeId, SlotId, SlotKind, Walk};
use crate::lower::expr::{Arena, E};
use crate::lower::graph::{BufId, BufKind, Direction, Kept, LoopId};
use crate::lower::kernel::{Kernel, Root, loads_in};
use crate::lower::nest::nest;
use crate::lower::resolve::{Bind, Resolver, Scope, address_term, loop_of};
use crate::lower::schedule::schedule;
use crate::lower::storage::strides;
use crate::run::interp::Machine;

impl Resolver<'_, '_> {
    /// The kernel of a group of definitions that walk together; `None` if they depend on data only: they are then
    /// computed here, once.
    pub(super) fn walk(&mut self, group: &[Def], walk: &Walk) -> Option<Kernel> {
        let active = group.iter().any(|d| self.depends_on_theta(d.value));
        let mut own = vec![];
        for def in group {
            let buf = self.storage.define(self.arena, def, None).buf;
            self.arena.set_active(buf, active);
            own.push(buf);
        }
        self.own = own;
        let plate = self.hir.axis(walk.axis).plate;
        let bind = match walk.order {
            None => Bind::Loop(self.plate_loop(plate, 0)),
            Some(slot) => self.stepped(slot),
        };
        let over = loop_of(bind);
        let mut stored: HashMap<E, E> = HashMap::new();
        let mut roots = vec![];
        for (def, &buf) in group.iter().zip(&self.own.clone()) {
            let axis = def.walk.as_ref().map_or(walk.axis, |w| w.axis);
            let others: Vec<_> = def.axes.iter().copied().filter(|&a| a != axis).collect();
            let mut binds = self.free_binds(&others, &[over]);
            binds.push((axis, bind));
            let scope = Scope::default().with(&binds);
            let value = self.node(def.value, &scope);
            // The cell that a definition before this one in the group has just computed.
            let value = self.arena.rewrite(value, &mut HashMap::new(), &mut |_, e| stored.get(&e).copied());
            let place = self.storage.place(self.arena, def.slot).clone();
            let mut root = Root::store(buf, Default::default(), value);
            for (&axis, stride) in def.axes.iter().zip(strides(&place.dims)) {
                let bind = scope.bind(axis);
                root.addr.terms.push((address_term(bind), stride));
                root.inner.push(loop_of(bind));
            }
            let read = self.arena.load(buf, root.addr.clone());
            stored.insert(read, value);
            roots.push(root);
        }
        self.own.clear();
        let common: Vec<LoopId> =
            roots[0].inner.iter().copied().filter(|l| roots.iter().all(|r| r.inner.contains(l))).collect();
        roots.iter_mut().for_each(|r| r.inner.retain(|l| !common.contains(l)));
        let direction = if walk.backwards { Direction::Backwards } else { Direction::Forwards };
        let mut kernel = self.kernel(common, roots);
        kernel.walk = Some((over, direction));
        if !active {
            self.arena.run_now(kernel);
            return None;
        }
        Some(kernel)
    }

    /// The walked axis where steps visit the plate in an order of their own.
    fn stepped(&mut self, order: SlotId) -> Bind {
        if let Some(&bind) = self.orders.get(&order) {
            return bind;
        }
        let place = self.storage.place(self.arena, order).clone();
        let plate = place.plates[0];
        let name = self.hir.plate(plate).name.clone();
        let entries = match &self.arena.buffers[place.buf.0 as usize].kind {
            BufKind::Data(numbers) => numbers.iter().map(|&n| n as u32).collect(),
            BufKind::Index(_) | BufKind::Input | BufKind::Scratch { .. } => {
                unreachable!("the order of a walk is data")
            }
        };
        let positions = self.arena.index(format!("{name} in order"), entries, plate);
        // The steps have a loop of their own: its cells are not those of the plate.
        let over = self.arena.new_loop(place.len(), format!("{name} in order"));
        self.kept.push(Kept { over, plate: name, positions });
        let bind = Bind::Kept { over, positions };
        self.orders.insert(order, bind);
        bind
    }

    /// Whether a value depends on theta, by what it reads; slots of definitions that are not made yet do not count.
    fn depends_on_theta(&self, value: NodeId) -> bool {
        let mut seen = std::collections::HashSet::new();
        let mut stack = vec![value];
        while let Some(n) = stack.pop() {
            if !seen.insert(n) {
                continue;
            }
            if let Node::Read { slot, .. } = self.joint.node(n) {
                let active = match self.joint.slot(*slot).kind {
                    SlotKind::Unconstrained(_) => true,
                    SlotKind::Defined => self.storage.layout.place(*slot).is_some_and(|p| self.arena.is_active(p.buf)),
                    SlotKind::Data(_)
                    | SlotKind::Discrete(_)
                    | SlotKind::Table(_)
                    | SlotKind::Missing(_)
                    | SlotKind::MissingAt(..) => false,
                };
                if active {
                    return true;
                }
            }
            stack.extend(self.joint.operands(n));
        }
        false
    }

    /// Whether an expression reads what the walk at hand is about to compute.
    pub(super) fn reads_own(&self, e: E) -> bool {
        !self.own.is_empty() && loads_in(self.arena, e).iter().any(|l| self.own.contains(&l.0))
    }
}

impl Arena {
    /// Run a kernel over data now: its buffers become data.
    pub(super) fn run_now(&mut self, mut kernel: Kernel) {
        nest(self, &mut kernel);
        let region = schedule(self, &kernel);
        let bufs: Vec<BufId> = kernel.roots.iter().map(|r| r.buf).collect();
        let mut machine = Machine::bare(&self.buffers);
        for buf in &bufs {
            machine.written[buf.0 as usize] = vec![0.0; self.buffers[buf.0 as usize].len];
        }
        machine.run(&region);
        let numbers: Vec<Vec<f64>> = bufs.iter().map(|b| std::mem::take(&mut machine.written[b.0 as usize])).collect();
        for (buf, numbers) in bufs.into_iter().zip(numbers) {
            self.buffers[buf.0 as usize].kind = BufKind::Data(numbers.into());
        }
    }
}
