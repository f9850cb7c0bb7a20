//! Definitions by an operation on whole matrices, and their derivatives: kernels of one call each.

use std::collections::HashMap;
use std::sync::Arc;

use crate::derive::joint::{Def, Ix, Node, NodeId};
use crate::diag::Code;
use crate::hir::{AxisId, MatrixFn};
use crate::lower::expr::Arena;
use crate::lower::grad::adjoint_of;
use crate::lower::graph::{Access, BufId, BufKind, Call, MatrixCall, MatrixOp, Operand};
use crate::lower::kernel::Kernel;
use crate::lower::resolve::Resolver;
use crate::lower::storage::{Place, plate_size, strides};
use crate::prim::matrix;

impl Resolver<'_, '_> {
    /// The kernel of `slot = function(operands)`; `None` if these depend on data only: it is then computed here, once.
    pub(super) fn matrix(&mut self, def: &Def, function: MatrixFn, operands: &[NodeId]) -> Option<Kernel> {
        let own = match function {
            MatrixFn::Cholesky => 2,
            MatrixFn::Solve { .. } => 1,
        };
        let size = |r: &Self, a: &AxisId| plate_size(r.hir, r.bound, r.hir.axis(*a).plate);
        let n = size(self, &def.axes[0]);
        let repeated = &def.axes[own..];
        let mut batch: Vec<usize> = repeated.iter().map(|a| size(self, a)).collect();
        // Cells of a matrix stand first in its slot, then those that it is repeated over.
        let operand = |place: &Place, axes: &[AxisId], skip: usize, access| {
            let all = strides(&place.dims);
            let stride = |a: &AxisId| axes.iter().position(|x| x == a).map_or(0, |i| all[skip + i]);
            let strides = repeated.iter().map(stride).collect();
            Operand { buf: Some(place.buf), access, offset: place.offset, strides }
        };
        let mut list = vec![];
        for (i, node) in operands.iter().enumerate() {
            let Node::Read { slot, index } = self.joint.node(*node) else {
                unreachable!("operands of a matrix operation are stored")
            };
            let axis = |ix: &Ix| match ix {
                Ix::Axis(a) => *a,
                Ix::At(_) | Ix::Label(..) => unreachable!("operands of a matrix operation are read as they are stored"),
            };
            let skip = if i == 0 { 2 } else { 1 };
            let axes: Vec<AxisId> = index[skip..].iter().map(axis).collect();
            let place = self.storage.place(self.arena, *slot).clone();
            list.push(operand(&place, &axes, skip, Access::Read));
        }
        let active = list.iter().any(|o| o.buf.is_some_and(|b| self.arena.is_active(b)));
        let place = self.storage.define(self.arena, def, None).clone();
        self.arena.set_active(place.buf, active);
        list.push(operand(&place, repeated, own, Access::Store));
        if place.is_empty() {
            return None;
        }
        let mut columns = 1;
        // One factor for all right sides, which stand side by side: one solve.
        let contiguous = |o: &Operand| {
            let expected = (0..batch.len()).map(|i| n * batch[..i].iter().product::<usize>());
            expected.eq(o.strides.iter().copied())
        };
        if matches!(function, MatrixFn::Solve { .. })
            && list[0].strides.iter().all(|s| *s == 0)
            && list[1..].iter().all(contiguous)
        {
            columns = batch.iter().product();
            batch.clear();
            list.iter_mut().for_each(|o| o.strides.clear());
        }
        let op = match function {
            MatrixFn::Cholesky => MatrixOp::Cholesky,
            MatrixFn::Solve { transposed } => MatrixOp::Solve { transposed },
        };
        let call = call(self.arena, op, n, columns, batch, list);
        if !active {
            self.compute(&call, &place);
            return None;
        }
        let mut kernel = self.kernel(vec![], vec![]);
        kernel.call = Some(Call::Matrix(Arc::new(call)));
        Some(kernel)
    }

    /// Run a call on data, and make its result data.
    fn compute(&mut self, call: &MatrixCall, place: &Place) {
        let mut out = vec![0.0; place.len()];
        let mut work = vec![0.0; call.work_len];
        let at = |b: BufId| match &self.arena.buffers[b.0 as usize].kind {
            BufKind::Data(numbers) => numbers.as_ptr().cast_mut(),
            _ if b == place.buf => out.as_mut_ptr(),
            BufKind::Input | BufKind::Index(_) | BufKind::Scratch { .. } => work.as_mut_ptr(),
        };
        let table: Vec<(BufId, *mut f64)> = {
            let mut at = at;
            let ids = call.operands.iter().filter_map(|o| o.buf).chain(call.work);
            ids.map(|b| (b, at(b))).collect()
        };
        let find = |b: BufId| table.iter().find(|t| t.0 == b).expect("every buffer of the call is in the table").1;
        // Operands were laid out for these sizes.
        unsafe { matrix::run(call, find) };
        if call.op == MatrixOp::Cholesky && out.iter().any(|x| x.is_nan()) {
            self.diags.push(
                Code::NOT_POSITIVE_DEFINITE
                    .at(self.span, "a matrix here has no Cholesky factor: it is not positive definite")
                    .here("computed from data alone")
                    .help("a covariance is symmetric with positive variances and correlations that fit together; add a small number to its diagonal if rows repeat each other"),
            );
        }
        self.arena.buffers[place.buf.0 as usize].kind = BufKind::Data(out.into());
    }
}

fn call(
    arena: &mut Arena,
    op: MatrixOp,
    n: usize,
    columns: usize,
    batch: Vec<usize>,
    operands: Vec<Operand>,
) -> MatrixCall {
    let work_len = matrix::work(op, n, columns);
    let work = (work_len > 0)
        .then(|| arena.buffer("scratch of a matrix operation", work_len, BufKind::Scratch { zeroed: false }, true));
    MatrixCall { op, n, columns, batch, operands, work, work_len }
}

/// The kernel that passes the adjoint of a call's result on to its operands; `None` if nothing used the result.
pub(super) fn backward(
    arena: &mut Arena,
    kernel: &Kernel,
    forward: &MatrixCall,
    adjoints: &mut HashMap<BufId, BufId>,
) -> Option<Kernel> {
    let (result, inputs) = forward.operands.split_last().expect("a call stores a result");
    let arrived = *adjoints.get(&result.buf?)?;
    let read = |o: &Operand| Operand { access: Access::Read, ..o.clone() };
    let arrived = Operand { buf: Some(arrived), ..read(result) };
    let mut adjoint = |o: &Operand| {
        let buf = o.buf.filter(|b| arena.is_active(*b)).map(|b| adjoint_of(arena, b, adjoints));
        Operand { buf, access: Access::Add, ..o.clone() }
    };
    let (op, operands) = match forward.op {
        MatrixOp::Cholesky => {
            let da = adjoint(&inputs[0]);
            (MatrixOp::CholeskyBack, vec![read(result), arrived, da])
        }
        MatrixOp::Solve { transposed } => {
            let (dl, db) = (adjoint(&inputs[0]), adjoint(&inputs[1]));
            (MatrixOp::SolveBack { transposed }, vec![inputs[0].clone(), read(result), arrived, dl, db])
        }
        MatrixOp::CholeskyBack
        | MatrixOp::SolveBack { .. }
        | MatrixOp::CholeskyTangent
        | MatrixOp::CholeskyBackTangent
        | MatrixOp::SolveTangent { .. }
        | MatrixOp::SolveBackTangent { .. } => unreachable!("adjoints are taken of the forward program"),
    };
    let call = call(arena, op, forward.n, forward.columns, forward.batch.clone(), operands);
    let name = format!("d {}", kernel.name);
    Some(Kernel {
        name,
        span: None,
        loops: vec![],
        walk: None,
        roots: vec![],
        call: Some(Call::Matrix(Arc::new(call))),
    })
}

/// The kernel for the tangents of what a call writes, from `tangents` of the buffers that depend on theta.
pub(super) fn tangent(
    arena: &mut Arena,
    kernel: &Kernel,
    call_of: &MatrixCall,
    tangents: &HashMap<BufId, BufId>,
) -> Kernel {
    let of = &call_of.operands;
    let moved = |i: usize| {
        let buf = of[i].buf.and_then(|b| tangents.get(&b).copied());
        Operand { buf, ..of[i].clone() }
    };
    let same = |i: usize| of[i].clone();
    let (op, operands) = match call_of.op {
        MatrixOp::Cholesky => {
            let factor = Operand { access: Access::Read, ..same(1) };
            (MatrixOp::CholeskyTangent, vec![factor, moved(0), moved(1)])
        }
        MatrixOp::CholeskyBack => (MatrixOp::CholeskyBackTangent, vec![same(0), moved(0), same(1), moved(1), moved(2)]),
        MatrixOp::Solve { transposed } => {
            let solution = Operand { access: Access::Read, ..same(2) };
            (MatrixOp::SolveTangent { transposed }, vec![same(0), moved(0), solution, moved(1), moved(2)])
        }
        MatrixOp::SolveBack { transposed } => {
            let operands = vec![same(0), moved(0), same(1), moved(1), same(2), moved(2), moved(3), moved(4)];
            (MatrixOp::SolveBackTangent { transposed }, operands)
        }
        MatrixOp::CholeskyTangent
        | MatrixOp::CholeskyBackTangent
        | MatrixOp::SolveTangent { .. }
        | MatrixOp::SolveBackTangent { .. } => unreachable!("tangents are taken once"),
    };
    let call = call(arena, op, call_of.n, call_of.columns, call_of.batch.clone(), operands);
    Kernel {
        name: format!("tangent of {}", kernel.name),
        span: None,
        loops: vec![],
        walk: None,
        roots: vec![],
        call: Some(Call::Matrix(Arc::new(call))),
    }
}
