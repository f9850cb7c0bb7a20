//! The log joint of a minibatch: that of the whole data, on average over the batches of an epoch.
//!
//! Rows of one table are taken a few at a time. What is added per row is multiplied by a weight, the number of batches
//! of an epoch, or 0 for the rows that fill up the last one; what is added once stays as it is. Statistics of columns,
//! and the number of rows, are those of the whole table.

use std::collections::{HashMap, HashSet};

use super::joint::*;
use super::soften::{Soft, soften};
use crate::diag::{Code, Diagnostic};
use crate::hir::{AxisId, Constraint, Hir, PlateId, PlateKind, Ty, Var, VarId, VarKind};
use crate::source::Span;

/// A statistic of the whole table: a data value that holds it, and the expression over the axes that are left, in terms of
/// the joint of the whole table.
#[derive(Clone, Debug)]
pub struct Statistic {
    pub var: VarId,
    pub node: NodeId,
    pub axes: Vec<AxisId>,
}

/// What a joint in batches reads besides the columns: data whose values the caller must give.
#[derive(Clone, Debug)]
pub struct Batched {
    pub joint: Joint,
    pub statistics: Vec<Statistic>,
    /// Per row of the batch: the factor of what it adds, and its position in the whole table.
    pub weight: VarId,
    pub row: VarId,
    /// For `kl_warmup` and `free_bits`: what the divergence is multiplied by, and λ times the number of rows, in nats.
    pub softened: [Option<VarId>; 2],
}

/// The joint of a batch of rows of `plate`. `rows`: the size of the whole table. `at`: where the batch is asked for.
pub fn batched(
    hir: &mut Hir,
    whole: &Joint,
    plate: PlateId,
    rows: usize,
    soft: Soft,
    at: Span,
) -> Result<Batched, Diagnostic> {
    joint_cells(hir, whole, plate, at)?;
    let mut joint = whole.clone();
    let known = known(hir, whole);
    let own = vec![hir.plate(plate).axis];
    let (weight, weight_slot) = given(hir, &mut joint, "weight in the batch", own.clone());
    let (row, row_slot) = given(hir, &mut joint, "row of the table", own);
    let plates: Vec<PlateId> = hir.axes.iter().map(|a| a.plate).collect();
    let of_plate = |a: &AxisId| plates[a.0 as usize] == plate;
    let mut statistics: Vec<Statistic> = vec![];
    let mut new: Vec<NodeId> = Vec::with_capacity(whole.nodes.len());
    let mut faults: HashMap<NodeId, &'static str> = HashMap::new();
    for (i, node) in whole.nodes.iter().enumerate() {
        let id = NodeId(i as u32);
        let to = |n: &NodeId| new[n.0 as usize];
        let changed = match node {
            Node::Size(p) if *p == plate => Node::Const((rows as f64).to_bits()),
            Node::Position(a) if of_plate(a) => Node::Read { slot: row_slot, index: vec![Ix::Axis(*a)] },
            Node::Read { slot, index } => {
                let dims = &whole.slot(*slot).dims;
                let elsewhere = |(d, ix): (&PlateId, &Ix)| *d == plate && !matches!(ix, Ix::Axis(a) if of_plate(a));
                if dims.iter().zip(index).any(elsewhere) {
                    faults.insert(id, "reads other rows than its own");
                }
                node.clone().map_operands(&mut |n| to(&n))
            }
            Node::Reduce { axes, .. } if axes.iter().any(of_plate) && known.contains(&id) => {
                let left = whole.free_axes(id);
                if left.iter().any(of_plate) {
                    faults.insert(id, "compares every row with every other");
                    node.clone()
                } else {
                    let (var, slot) = given(hir, &mut joint, "of the whole table", left.clone());
                    let index = left.iter().map(|a| Ix::Axis(*a)).collect();
                    statistics.push(Statistic { var, node: id, axes: left });
                    Node::Read { slot, index }
                }
            }
            other => {
                if let Node::Reduce { axes, .. } = other
                    && axes.iter().any(of_plate)
                {
                    faults.insert(id, "takes all rows together");
                }
                other.clone().map_operands(&mut |n| to(&n))
            }
        };
        new.push(joint.intern(changed));
    }
    // Statistics are computed from the whole table: what they reduce is no fault.
    let computed: HashSet<NodeId> = statistics.iter().map(|s| s.node).collect();
    let fault = |node: NodeId| {
        let (mut seen, mut stack) = (HashSet::new(), vec![node]);
        while let Some(n) = stack.pop() {
            if !seen.insert(n) || computed.contains(&n) {
                continue;
            }
            if let Some(why) = faults.get(&n) {
                return Some(*why);
            }
            stack.extend(whole.operands(n));
        }
        None
    };
    let name = hir.plate(plate).name.clone();
    let refuse = |span: Span, why: &str| {
        Code::BATCH_TIED
            .at(span, format!("this {why}, and a batch holds only some rows of `{name}`"))
            .here("needs rows that are not in the batch")
            .label(at, "batches are asked for here")
            .help("remove `batch`: the whole table is then used in every step")
    };
    for def in &mut joint.defs {
        let over = def.axes.iter().filter(|a| of_plate(a)).count();
        if def.walk.as_ref().is_some_and(|w| of_plate(&w.axis)) {
            return Err(refuse(def.span, "goes from row to row"));
        }
        if over > 1 {
            return Err(refuse(def.span, "compares every row with every other"));
        }
        if let Some(scatter) = &def.scatter
            && (over > 0 || whole.slot(def.slot).dims.contains(&plate))
            && !scatter.index.is_empty()
        {
            return Err(refuse(def.span, "adds rows to others"));
        }
        if let Some(why) = fault(def.value) {
            return Err(refuse(def.span, why));
        }
        def.value = new[def.value.0 as usize];
    }
    for term in &mut joint.terms {
        let over: Vec<AxisId> = term.axes.iter().copied().filter(of_plate).collect();
        if over.len() > 1 {
            return Err(refuse(term.span, "compares every row with every other"));
        }
        if let Some(why) = fault(term.value).or_else(|| fault(term.filter?)) {
            return Err(refuse(term.span, why));
        }
        term.value = new[term.value.0 as usize];
        term.filter = term.filter.map(|f| new[f.0 as usize]);
    }
    for i in 0..joint.terms.len() {
        let Some(&over) = joint.terms[i].axes.iter().find(|a| of_plate(a)) else { continue };
        if let Some(filter) = joint.terms[i].filter.take() {
            // Which rows pass differs from batch to batch: those that do not add nothing.
            let (value, zero) = (joint.terms[i].value, joint.constant(0.0));
            joint.terms[i].value = joint.intern(Node::Select(filter, value, zero));
        }
        let read = joint.intern(Node::Read { slot: weight_slot, index: vec![Ix::Axis(over)] });
        joint.terms[i].value = joint.intern(Node::Binary(BinOp::Mul, read, joint.terms[i].value));
    }
    for u in &mut joint.unconstrained {
        u.start = u.start.map(|n| new[n.0 as usize]);
    }
    let softened = soften(hir, &mut joint, of_plate, soft);
    Ok(Batched { joint, statistics, weight, row, softened })
}

/// A data value that the model does not name, over these axes, and its slot.
pub(super) fn given(hir: &mut Hir, joint: &mut Joint, name: &str, axes: Vec<AxisId>) -> (VarId, SlotId) {
    let var = VarId(hir.vars.len() as u32);
    let dims = axes.iter().map(|a| hir.axis(*a).plate).collect();
    hir.vars.push(Var {
        name: name.into(),
        span: Span::default(),
        kind: VarKind::DataValue { key: name.into(), default: None },
        axes,
        joint: 0,
        ty: Ty::Real,
        constraint: Constraint::None,
    });
    joint.slots.push(Slot { name: name.into(), dims, kind: SlotKind::Data(var) });
    (var, SlotId(joint.slots.len() as u32 - 1))
}

/// Whether cells of the plate are tied together by a latent.
fn joint_cells(hir: &Hir, joint: &Joint, plate: PlateId, at: Span) -> Result<(), Diagnostic> {
    let name = &hir.plate(plate).name;
    for u in &joint.unconstrained {
        let v = hir.var(u.var);
        let tied = v.axes[v.axes.len() - v.joint..].iter().any(|a| hir.axis(*a).plate == plate);
        let derived = u.axes.iter().any(|a| match &hir.plate(hir.axis(*a).plate).kind {
            PlateKind::OneLess(of) | PlateKind::Triangle { of, .. } | PlateKind::Without { of, .. } => *of == plate,
            PlateKind::Power { values, cells } => *values == plate || cells.contains(&plate),
            PlateKind::Missing(column) => hir.var(*column).axes.iter().any(|a| hir.axis(*a).plate == plate),
            _ => false,
        });
        if tied || derived {
            let what = match v.kind {
                VarKind::Column(_) => format!("the empty cells of `{}` are latents", v.name),
                _ => format!("`{}` ties the rows of `{name}` together", v.name),
            };
            return Err(Code::BATCH_TIED
                .at(v.span, format!("{what}, and a batch holds only some of them"))
                .here("needs all rows")
                .label(at, "batches are asked for here")
                .help("remove `batch`: the whole table is then used in every step"));
        }
    }
    Ok(())
}

/// The expressions that depend on data only.
fn known(hir: &Hir, joint: &Joint) -> HashSet<NodeId> {
    let defs: HashMap<SlotId, NodeId> = joint.defs.iter().map(|d| (d.slot, d.value)).collect();
    let mut slots: HashMap<SlotId, bool> = HashMap::new();
    let mut out = HashSet::new();
    // Definitions stand after what they read, but nodes need not: go on until nothing is added.
    loop {
        let before = out.len() + slots.len();
        for (i, node) in joint.nodes.iter().enumerate() {
            let id = NodeId(i as u32);
            let own = match node {
                Node::Read { slot, .. } => match joint.slot(*slot).kind {
                    // A mask is another in each step.
                    SlotKind::Data(var) => !matches!(hir.var(var).kind, VarKind::Mask { .. }),
                    SlotKind::Table(_) => true,
                    SlotKind::Defined => slots.get(slot).copied().unwrap_or(false),
                    SlotKind::Unconstrained(_)
                    | SlotKind::Discrete(_)
                    | SlotKind::Missing(_)
                    | SlotKind::MissingAt(..) => false,
                },
                _ => true,
            };
            if own && joint.operands(id).iter().all(|o| out.contains(o)) {
                out.insert(id);
            }
        }
        for (slot, value) in &defs {
            if out.contains(value) {
                slots.insert(*slot, true);
            }
        }
        if out.len() + slots.len() == before {
            return out;
        }
    }
}
