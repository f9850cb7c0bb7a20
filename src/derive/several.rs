//! Several draws of each row of a minibatch: a plate of draws, over which all that depends on the noise of rows varies. Rows that
//! belong to a member have as many, each of which is of one draw of the member.
//!
//! What depends on data and params alone, such as the layers of an encoder, is computed once per row.

use std::collections::HashSet;

use super::batch::{Level, given};
use super::joint::*;
use crate::diag::{Code, Diagnostic};
use crate::hir::{
    AxisId, AxisInfo, Constraint, Expr, ExprKind, Hir, Plate, PlateId, PlateKind, Ty, Var, VarId, VarKind,
};
use crate::source::Span;

/// What a joint with several draws reads and says besides.
#[derive(Clone, Debug)]
pub struct Several {
    pub draws: PlateId,
    /// By plate of the batch, per row and draw: the factor of what it adds.
    pub weights: Vec<VarId>,
    /// Reports that sum to the log joint of each row and draw, without factors; by the number of the plate that these are rows of.
    pub scores: Vec<(usize, VarId)>,
}

/// Give each row of a joint in batches so many draws.
pub fn several(
    hir: &mut Hir,
    joint: &mut Joint,
    levels: &[Level],
    draws: usize,
    at: Span,
) -> Result<Several, Diagnostic> {
    joint.defs.retain(|d| !d.report_only);
    let (draws, draw) = plate_of(hir, draws, at);
    let level = |p: PlateId| levels.iter().position(|l| l.plate == p);
    let varying = varying(joint, |p| level(p).is_some());
    for slot in &varying {
        let dims = &mut joint.slots[slot.0 as usize].dims;
        let Some(p) = dims.iter().position(|d| level(*d).is_some()) else { return Err(tied(joint, *slot, at)) };
        dims.insert(p + 1, draws);
    }
    let place = |joint: &Joint, slot: SlotId| -> Option<usize> {
        let p = || joint.slot(slot).dims.iter().position(|d| level(*d).is_some());
        varying.contains(&slot).then(p).flatten().map(|p| p + 1)
    };
    let of_draws = |l: &Level| {
        let own = hir.plate(l.plate).axis;
        given(hir, joint, "weights of the draws", vec![own, draw])
    };
    let weights: Vec<(VarId, SlotId)> = levels.iter().map(of_draws).collect();
    let is_weight = |slot: SlotId| levels.iter().any(|l| joint_var(joint, slot) == Some(l.weight));
    let of_weights = |n: &Node| matches!(n, Node::Read { slot, .. } if is_weight(*slot));
    let weight_reads: HashSet<NodeId> =
        (0..joint.nodes.len()).map(|i| NodeId(i as u32)).filter(|n| of_weights(joint.node(*n))).collect();

    let mut new: Vec<NodeId> = Vec::with_capacity(joint.nodes.len());
    for i in 0..joint.nodes.len() {
        let to = |n: &NodeId| new[n.0 as usize];
        let at_new = |ix: &Ix| if let Ix::At(n) = ix { Ix::At(to(n)) } else { ix.clone() };
        let node = match &joint.nodes[i] {
            Node::Read { slot, index } => {
                let mut index: Vec<Ix> = index.iter().map(at_new).collect();
                place(joint, *slot).into_iter().for_each(|p| index.insert(p, Ix::Axis(draw)));
                Node::Read { slot: *slot, index }
            }
            n => n.clone().map_operands(&mut |n| to(&n)),
        };
        new.push(joint.intern(node));
    }
    let to = |n: NodeId| new[n.0 as usize];
    for u in &mut joint.unconstrained {
        if varying.contains(&u.slot) {
            let own = |a: &AxisId| level(hir.axis(*a).plate).is_some();
            let p = u.axes.iter().position(own).expect("it has a dimension of rows");
            u.axes.insert(p + 1, draw);
        }
    }
    let mut defs = std::mem::take(&mut joint.defs);
    for def in &mut defs {
        let whole = matches!(joint.node(def.value), Node::Matrix { .. } | Node::Ode { .. });
        def.value = to(def.value);
        if let Some(scatter) = &mut def.scatter {
            scatter.filter = scatter.filter.map(to);
            for ix in &mut scatter.index {
                if let Ix::At(n) = ix {
                    *n = to(*n);
                }
            }
        }
        let Some(p) = place(joint, def.slot) else { continue };
        if whole {
            return Err(tied(joint, def.slot, at));
        }
        match &mut def.scatter {
            Some(scatter) => {
                scatter.index.insert(p, Ix::Axis(draw));
                def.axes.push(draw);
            }
            None => def.axes.insert(p, draw),
        }
    }
    joint.defs = defs;

    // The sums of what is added per row, by the axis that it runs over the rows by.
    let mut sums: Vec<(AxisId, usize, NodeId)> = vec![];
    for i in 0..joint.terms.len() {
        let mut term = joint.terms[i].clone();
        let mut read = HashSet::new();
        joint.reads(term.value, &mut read);
        let varies = read.iter().any(|s| varying.contains(s));
        let row = term.axes.iter().find_map(|a| Some((*a, level(hir.axis(*a).plate)?)));
        let weighed = match joint.node(term.value) {
            Node::Binary(BinOp::Mul, a, b) if weight_reads.contains(a) => Some((*a, *b)),
            _ => None,
        };
        term.value = to(term.value);
        term.filter = term.filter.map(to);
        if let (Some((row, level)), Some((weight, value))) = (row, weighed) {
            let (weight, value) = (to(weight), to(value));
            let others: Vec<AxisId> = term.axes.iter().copied().filter(|a| *a != row).collect();
            let sum = match others.is_empty() {
                true => value,
                false => joint.intern(Node::Reduce { op: Fold::Sum, axes: others, filter: None, body: value }),
            };
            match sums.iter_mut().find(|s| s.0 == row) {
                Some(s) => s.2 = joint.intern(Node::Binary(BinOp::Add, s.2, sum)),
                None => sums.push((row, level, sum)),
            }
            let factor = match varies {
                true => joint.intern(Node::Read { slot: weights[level].1, index: vec![Ix::Axis(row), Ix::Axis(draw)] }),
                false => weight,
            };
            term.value = joint.intern(Node::Binary(BinOp::Mul, factor, value));
        }
        if varies {
            term.axes.push(draw);
        }
        joint.terms[i] = term;
    }
    let of = |(row, level, sum): (AxisId, usize, NodeId)| {
        (level, score(hir, joint, [row, draw], [levels[level].plate, draws], sum))
    };
    let scores = sums.into_iter().map(of).collect();
    Ok(Several { draws, weights: weights.into_iter().map(|w| w.0).collect(), scores })
}

fn joint_var(joint: &Joint, slot: SlotId) -> Option<VarId> {
    if let SlotKind::Data(var) = joint.slot(slot).kind { Some(var) } else { None }
}

/// A plate of so many cells, and its axis.
fn plate_of(hir: &mut Hir, cells: usize, span: Span) -> (PlateId, AxisId) {
    let (plate, axis) = (PlateId(hir.plates.len() as u32), AxisId(hir.axes.len() as u32));
    let size = Expr { kind: ExprKind::Number(cells as f64), span, ty: Ty::Int, axes: vec![] };
    hir.plates.push(Plate { name: "draw".into(), span, kind: PlateKind::Sized(size), axis });
    hir.axes.push(AxisInfo { plate, name: "draw".into() });
    (plate, axis)
}

/// The slots that differ from draw to draw: noise of rows, what depends on it, and the factors of draws.
fn varying(joint: &Joint, rows: impl Fn(PlateId) -> bool) -> HashSet<SlotId> {
    let of_rows = |s: &SlotId| joint.slot(*s).dims.iter().any(|d| rows(*d));
    let noise = joint.unconstrained.iter().filter(|u| !u.point).map(|u| u.slot).filter(of_rows);
    let paths = joint.written.iter().flat_map(|w| &w.paths).map(|p| p.1);
    let mut out: HashSet<SlotId> = noise.chain(paths).collect();
    loop {
        let before = out.len();
        for def in &joint.defs {
            let mut read = HashSet::new();
            joint.reads(def.value, &mut read);
            if read.iter().any(|s| out.contains(s)) {
                out.insert(def.slot);
            }
        }
        if out.len() == before {
            return out;
        }
    }
}

fn tied(joint: &Joint, slot: SlotId, at: Span) -> Diagnostic {
    let span = joint.defs.iter().find(|d| d.slot == slot).map_or(at, |d| d.span);
    Code::BATCH_WITH
        .at(span, "this takes the draws of a row together, and they are weighed one by one")
        .here("cannot be computed draw by draw")
        .label(at, "batches are asked for here")
        .help("remove `method`: there is then one draw per row")
}

/// A report over these axes.
fn score(hir: &mut Hir, joint: &mut Joint, axes: [AxisId; 2], dims: [PlateId; 2], value: NodeId) -> VarId {
    let name = "log joint of a draw";
    let var = VarId(hir.vars.len() as u32);
    hir.vars.push(Var {
        name: name.into(),
        span: Span::default(),
        kind: VarKind::Report,
        axes: axes.to_vec(),
        joint: 0,
        ty: Ty::Real,
        constraint: Constraint::None,
    });
    let slot = SlotId(joint.slots.len() as u32);
    joint.slots.push(Slot { name: name.into(), dims: dims.to_vec(), kind: SlotKind::Defined });
    joint.defs.push(Def { var: Some(var), report_only: true, ..Def::new(slot, axes.to_vec(), value, Span::default()) });
    var
}
