//! Definitions by the solution of an initial-value problem, and their derivatives: kernels of one call each.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::derive::joint::{Def, Ix, Node, NodeId};
use crate::derive::ode::Problem;
use crate::diag::Code;
use crate::hir::AxisId;
use crate::lower::expr::Arena;
use crate::lower::grad::adjoint_of;
use crate::lower::graph::{Access, BufId, BufKind, Call, Grid, OdeCall, OdeSystem, Operand};
use crate::lower::kernel::Kernel;
use crate::lower::resolve::Resolver;
use crate::lower::storage::{Place, plate_size, strides};

/// Systems have numbers, by which a thread finds its working space for each.
static SYSTEMS: AtomicU64 = AtomicU64::new(0);

/// How an operand is read: where it is stored, with the axes after its own.
struct Input {
    place: Place,
    skip: usize,
    axes: Vec<AxisId>,
}

impl Resolver<'_, '_> {
    /// The kernel of a solution; `None` after a diagnostic, or if there is nothing to solve.
    pub(super) fn ode(&mut self, def: &Def, problem: &Problem, operands: &[NodeId]) -> Option<Kernel> {
        let size = |r: &Self, a: &AxisId| plate_size(r.hir, r.bound, r.hir.axis(*a).plate);
        let times = if problem.timed { size(self, &def.axes[problem.own - 1]) } else { 1 };
        let state: Vec<AxisId> = def.axes[..problem.own - usize::from(problem.timed)].to_vec();
        let n = state.iter().map(|a| size(self, a)).product();
        let repeated: Vec<AxisId> = def.axes[problem.own..].to_vec();
        let batch: Vec<usize> = repeated.iter().map(|a| size(self, a)).collect();
        let dims = |j: &crate::derive::joint::Joint, s| j.slot(s).dims.len();
        let skips: Vec<usize> = [state.len(), 0, usize::from(problem.timed)]
            .into_iter()
            .chain(problem.args.iter().map(|&a| dims(&problem.system, a)))
            .collect();
        let mut inputs = vec![];
        for (node, &skip) in operands.iter().zip(&skips) {
            let Node::Read { slot, index } = self.joint.node(*node) else {
                unreachable!("what an ode is given is stored")
            };
            let axis = |ix: &Ix| match ix {
                Ix::Axis(a) => *a,
                Ix::At(_) | Ix::Label(..) => unreachable!("what an ode is given is read as it is stored"),
            };
            let axes = index[skip..].iter().map(axis).collect();
            inputs.push(Input { place: self.storage.place(self.arena, *slot).clone(), skip, axes });
        }
        let place = self.storage.define(self.arena, def, None).clone();
        self.arena.set_active(place.buf, true);
        if place.is_empty() {
            return None;
        }
        let operand = |place: &Place, axes: &[AxisId], skip: usize, access| {
            let all = strides(&place.dims);
            let stride = |a: &AxisId| axes.iter().position(|x| x == a).map_or(0, |i| all[skip + i]);
            Operand {
                buf: Some(place.buf),
                access,
                offset: place.offset,
                strides: repeated.iter().map(stride).collect(),
            }
        };
        let (grids, grid_of) = self.grids(&inputs[1], &inputs[2], times, &repeated, &batch)?;
        let read = |i: &Input| operand(&i.place, &i.axes, i.skip, Access::Read);
        let mut list = vec![read(&inputs[0])];
        list.extend(inputs[3..].iter().map(read));
        list.push(operand(&place, &repeated, problem.own, Access::Store));
        let (graph, layout) = super::lower(self.hir, &problem.system, self.bound, self.diags)?;
        let at = |slot| layout.place(slot).map_or((BufId(0), 0, 0), |p| (p.buf, p.offset, p.len()));
        let system = OdeSystem {
            id: SYSTEMS.fetch_add(1, Ordering::Relaxed),
            method: problem.method,
            tolerance: problem.tolerance,
            n,
            args: problem.args.iter().map(|&a| at(a).2).collect(),
            graph,
            t: at(problem.t).1,
            z: at(problem.z).1,
            arg_offsets: problem.args.iter().map(|&a| at(a).1).collect(),
            weight: at(problem.weight).1,
            rate: (at(problem.rate).0, at(problem.rate).1),
            grids,
            grid_of,
        };
        let call = OdeCall { system: Arc::new(system), backward: false, batch, operands: list };
        let mut kernel = self.kernel(vec![], vec![]);
        kernel.call = Some(Call::Ode(Arc::new(call)));
        Some(kernel)
    }

    /// The times of each cell of the batch, in order; equal ones are shared.
    fn grids(
        &mut self,
        t0: &Input,
        times: &Input,
        m: usize,
        repeated: &[AxisId],
        batch: &[usize],
    ) -> Option<(Vec<Grid>, Vec<u32>)> {
        let numbers = |r: &Self, i: &Input| match &r.arena.buffers[i.place.buf.0 as usize].kind {
            BufKind::Data(numbers) => numbers.clone(),
            BufKind::Index(_) | BufKind::Input | BufKind::Scratch { .. } => {
                unreachable!("check admits times from data only")
            }
        };
        let (starts, ends) = (numbers(self, t0), numbers(self, times));
        let offset = |i: &Input, cell: usize| {
            let all = strides(&i.place.dims);
            let mut rest = cell;
            repeated.iter().zip(batch).fold(i.place.offset, |offset, (a, &size)| {
                let at = rest % size;
                rest /= size;
                offset + i.axes.iter().position(|x| x == a).map_or(0, |d| all[i.skip + d] * at)
            })
        };
        let mut grids: Vec<Grid> = vec![];
        let mut known: HashMap<(usize, usize), u32> = HashMap::new();
        let mut grid_of = vec![];
        for cell in 0..batch.iter().product() {
            let key = (offset(t0, cell), offset(times, cell));
            if let Some(&grid) = known.get(&key) {
                grid_of.push(grid);
                continue;
            }
            let t0 = starts[key.0];
            let own = &ends[key.1..key.1 + m];
            if let Some(early) = own.iter().find(|t| **t < t0 || t.is_nan()) {
                self.diags.push(
                    Code::ODE_TIMES
                        .at(self.span, format!("an `ode` that starts at {t0} is asked for its value at {early}"))
                        .here("a time before the start")
                        .help("solve from the earliest time on: give it as the third argument"),
                );
                return None;
            }
            let mut order: Vec<u32> = (0..m as u32).collect();
            order.sort_by(|a, b| own[*a as usize].total_cmp(&own[*b as usize]));
            let times = order.iter().map(|&i| own[i as usize]).collect();
            known.insert(key, grids.len() as u32);
            grid_of.push(grids.len() as u32);
            grids.push(Grid { t0, times, order });
        }
        Some((grids, grid_of))
    }
}

/// The kernel that passes the adjoint of a solution on to start and arguments; `None` if nothing used the solution.
pub(super) fn backward(
    arena: &mut Arena,
    kernel: &Kernel,
    forward: &OdeCall,
    adjoints: &mut HashMap<BufId, BufId>,
) -> Option<Kernel> {
    let (result, inputs) = forward.operands.split_last().expect("a call stores a result");
    let arrived = Operand { buf: Some(*adjoints.get(&result.buf?)?), access: Access::Read, ..result.clone() };
    let mut operands = inputs.to_vec();
    operands.push(arrived);
    for o in inputs {
        let buf = o.buf.filter(|b| arena.is_active(*b)).map(|b| adjoint_of(arena, b, adjoints));
        operands.push(Operand { buf, access: Access::Add, ..o.clone() });
    }
    let call = OdeCall { backward: true, operands, ..forward.clone() };
    let name = format!("d {}", kernel.name);
    let call = Some(Call::Ode(Arc::new(call)));
    Some(Kernel { name, span: None, loops: vec![], walk: None, roots: vec![], call })
}
