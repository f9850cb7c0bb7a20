//! Initial-value problems: what they are given is stored, and so is their solution. Their rates are a small program of
//! their own, a sum over the state of rate times weight: its gradient with respect to state and arguments is what the
//! adjoint of a step needs.

use super::joint::{Def, Joint, Node, NodeId, SlotId, SlotKind, Term, TermKind, Unconstrained};
use super::translate::Translator;
use crate::hir::{AxisId, Ode, VarId};
use crate::prim::ode::Method;
use crate::source::Span;

/// A system of equations, apart from what it is applied to.
#[derive(Clone, Debug)]
pub struct Problem {
    pub method: Method,
    pub tolerance: f64,
    /// `Σ weight · rate`, over `t`, the state, the arguments and the weights as its unconstrained slots.
    pub system: Joint,
    pub t: SlotId,
    pub z: SlotId,
    pub args: Vec<SlotId>,
    pub weight: SlotId,
    pub rate: SlotId,
    /// How many of the first dimensions of the solution are the state's and the times'.
    pub own: usize,
    pub timed: bool,
}

impl Translator<'_> {
    /// The solution at the cell of its axes.
    pub fn ode(&mut self, ode: &Ode, span: Span) -> NodeId {
        let state: Vec<AxisId> = ode.state.into_iter().collect();
        let time: Vec<AxisId> = ode.time.into_iter().collect();
        let mut operands = vec![];
        for (value, first) in [(&ode.start, &state), (&ode.t0, &vec![]), (&ode.times, &time)] {
            let node = self.expr(value);
            operands.push(self.whole(node, first));
        }
        for arg in &ode.args {
            let node = self.expr(&arg.value);
            operands.push(self.whole(node, &arg.axes));
        }
        let problem = self.problem(ode, &state, span);
        let mut own = state;
        own.extend(time);
        let all: Vec<AxisId> = own.iter().chain(&ode.batch).copied().collect();
        self.joint.systems.push(Problem { own: own.len(), ..problem });
        let system = self.joint.systems.len() as u32 - 1;
        let value = self.joint.intern(Node::Ode { system, operands });
        let slot = self.define_whole(format!("solution of an ode {}", system + 1), &all, value);
        self.read_all(slot, &all)
    }

    fn problem(&mut self, ode: &Ode, state: &[AxisId], span: Span) -> Problem {
        let outer = std::mem::take(&mut self.joint);
        let sources = std::mem::take(&mut self.sources);
        let locals = std::mem::take(&mut self.locals);
        let (stored, results) = (std::mem::take(&mut self.stored), std::mem::take(&mut self.results));
        // Bodies of functions see single data values and constants.
        self.data_slots();
        let t = self.input("t", &[]);
        let z = self.input("state", state);
        let args: Vec<SlotId> = ode.args.iter().map(|a| self.input(&a.name, &a.axes)).collect();
        let weight = self.input("weight", state);
        let mut bind = |local, slot, axes: &[AxisId]| {
            let node = self.read_all(slot, axes);
            self.locals.insert(local, node);
        };
        bind(ode.t, t, &[]);
        bind(ode.z, z, state);
        for (arg, &slot) in ode.args.iter().zip(&args) {
            bind(arg.local, slot, &arg.axes);
        }
        let value = self.expr(&ode.rate);
        let rate = self.slot("rate".into(), self.plates(state), SlotKind::Defined);
        let axes = state.to_vec();
        self.joint.defs.push(Def::new(rate, axes, value, span));
        let (r, w) = (self.read_all(rate, state), self.read_all(weight, state));
        let value = self.joint.binary(super::joint::BinOp::Mul, r, w);
        self.joint.terms.push(Term {
            name: "rates".into(),
            kind: TermKind::Factor,
            axes: state.to_vec(),
            filter: None,
            value,
            span,
        });
        let system = std::mem::replace(&mut self.joint, outer);
        (self.sources, self.locals, self.stored, self.results) = (sources, locals, stored, results);
        let (method, tolerance, timed) = (ode.method, ode.tolerance, ode.time.is_some());
        Problem { method, tolerance, system, t, z, args, weight, rate, own: 0, timed }
    }

    /// Something that the rates depend on.
    fn input(&mut self, name: &str, axes: &[AxisId]) -> SlotId {
        // No variable of the model.
        let var = VarId(u32::MAX);
        let slot = self.slot(name.to_string(), self.plates(axes), SlotKind::Unconstrained(var));
        let entry = Unconstrained { var, slot, point: false, start: None, axes: axes.to_vec() };
        self.joint.unconstrained.push(entry);
        slot
    }
}
