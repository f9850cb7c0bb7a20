//! The log joint of a minibatch: that of the whole data, on average over the batches of an epoch.
//!
//! Rows of one table, or cells of any plate, are taken a few at a time, with the rows of others that point to them. What is added
//! per row is multiplied by a weight, the number of batches of an epoch, or 0 for the rows that fill one up; what is added once
//! stays as it is. Statistics of columns, and the number of rows, are those of the whole table.

use std::collections::{HashMap, HashSet};

use super::joint::*;
use super::kin;
pub use super::kin::{Level, Link};
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
    /// What is reduced, in terms of the joint in batches.
    pub body: NodeId,
}

/// What a joint in batches reads besides the columns: data whose values the caller must give.
#[derive(Clone, Debug)]
pub struct Batched {
    pub joint: Joint,
    pub statistics: Vec<Statistic>,
    /// The plate of the batch, then those whose rows come with its members.
    pub levels: Vec<Level>,
    /// For `kl_warmup` and `free_bits`: what the divergence is multiplied by, and λ, in nats.
    pub softened: [Option<VarId>; 2],
}

/// The joint of a batch of rows of `plate`. `size`: of whole plates. `at`: where the batch is asked for.
pub fn batched(
    hir: &mut Hir,
    whole: &Joint,
    plate: PlateId,
    size: &dyn Fn(PlateId) -> usize,
    soft: Soft,
    at: Span,
) -> Result<Batched, Diagnostic> {
    let known = known(hir, whole);
    let used = kin::used(whole, &known);
    let plates = kin::plates(hir, whole, &used, plate);
    for p in &plates {
        joint_cells(hir, whole, *p, at)?;
    }
    let mut work = Work::new(hir, whole, plates, used);
    for (i, node) in whole.nodes.iter().enumerate() {
        let id = NodeId(i as u32);
        let changed = work.changed(id, node, &known, size);
        let changed = work.joint.intern(changed);
        work.new.push(changed);
    }
    // Statistics are computed from the whole table: what they reduce is no fault.
    let computed: HashSet<NodeId> = work.statistics.iter().map(|s| s.node).collect();
    let faults = work.faults.clone();
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
    let name = work.hir.plate(plate).name.clone();
    let refuse = |span: Span, why: &str| {
        Code::BATCH_TIED
            .at(span, format!("this {why}, and a batch holds only some rows of `{name}`"))
            .here("needs rows that are not in the batch")
            .label(at, "batches are asked for here")
            .help("remove `batch`: the whole table is then used in every step")
    };
    for i in 0..whole.defs.len() {
        let def = &whole.defs[i];
        let over = def.axes.iter().filter(|a| work.level(a).is_some()).count();
        if def.walk.as_ref().is_some_and(|w| work.level(&w.axis).is_some()) {
            return Err(refuse(def.span, "goes from row to row"));
        }
        if over > 1 {
            return Err(refuse(def.span, COMPARES));
        }
        if let Some(why) = fault(def.value) {
            return Err(refuse(def.span, why));
        }
        work.joint.defs[i].value = work.new[def.value.0 as usize];
        work.scatter(i).map_err(|why| refuse(def.span, why))?;
    }
    for i in 0..whole.terms.len() {
        let term = &whole.terms[i];
        let over: Vec<(AxisId, usize)> = term.axes.iter().filter_map(|a| Some((*a, work.level(a)?))).collect();
        if over.len() > 1 {
            return Err(refuse(term.span, COMPARES));
        }
        if let Some(why) = fault(term.value).or_else(|| fault(term.filter?)) {
            return Err(refuse(term.span, why));
        }
        work.weigh(i, over.first().copied());
    }
    let Work { hir, mut joint, new, statistics, levels, .. } = work;
    for u in &mut joint.unconstrained {
        u.start = u.start.map(|n| new[n.0 as usize]);
    }
    let of: Vec<PlateId> = hir.axes.iter().map(|a| a.plate).collect();
    let weights = |a: &AxisId| levels.iter().find(|l| l.0.plate == of[a.0 as usize]).map(|l| l.1);
    let softened = soften(hir, &mut joint, weights, soft);
    Ok(Batched { joint, statistics, levels: levels.into_iter().map(|l| l.0).collect(), softened })
}

const COMPARES: &str = "compares every row with every other";
const OTHERS: &str = "reads other rows than its own";

/// A joint on its way into batches.
struct Work<'a> {
    hir: &'a mut Hir,
    whole: &'a Joint,
    joint: Joint,
    plates: Vec<PlateId>,
    /// With the slots of weights and positions.
    levels: Vec<(Level, SlotId, SlotId)>,
    /// Where a position computed from data is, by the node of the whole and the plate that it is on.
    places: HashMap<(NodeId, PlateId), (SlotId, AxisId)>,
    used: HashSet<NodeId>,
    statistics: Vec<Statistic>,
    new: Vec<NodeId>,
    faults: HashMap<NodeId, &'static str>,
}

impl<'a> Work<'a> {
    fn new(hir: &'a mut Hir, whole: &'a Joint, plates: Vec<PlateId>, used: HashSet<NodeId>) -> Work<'a> {
        let mut joint = whole.clone();
        let level = |p: &PlateId| {
            let own = vec![hir.plate(*p).axis];
            let (weight, weight_slot) = given(hir, &mut joint, "weight in the batch", own.clone());
            let (row, row_slot) = given(hir, &mut joint, "row of the table", own);
            (Level { plate: *p, weight, row, links: vec![] }, weight_slot, row_slot)
        };
        let levels = plates.iter().map(level).collect();
        let new = Vec::with_capacity(whole.nodes.len());
        let (places, statistics, faults) = (HashMap::new(), vec![], HashMap::new());
        Work { hir, whole, joint, plates, levels, places, used, statistics, new, faults }
    }

    /// Which of the plates an axis runs over, if any.
    fn level(&self, axis: &AxisId) -> Option<usize> {
        let plate = self.hir.axis(*axis).plate;
        self.plates.iter().position(|p| *p == plate)
    }

    fn fault(&mut self, node: NodeId, why: &'static str) {
        self.faults.insert(node, why);
    }

    /// A node of the whole as it is in a batch, its operands changed before.
    fn changed(&mut self, id: NodeId, node: &Node, known: &HashSet<NodeId>, size: &dyn Fn(PlateId) -> usize) -> Node {
        match node {
            Node::Size(p) if self.plates.contains(p) => Node::Const((size(*p) as f64).to_bits()),
            Node::Position(a) if self.level(a).is_some() => {
                let slot = self.levels[self.level(a).expect("seen above")].2;
                Node::Read { slot, index: vec![Ix::Axis(*a)] }
            }
            Node::Read { slot, index } => {
                let dims = self.whole.slot(*slot).dims.clone();
                if let (SlotKind::Missing(column), true) =
                    (&self.whole.slot(*slot).kind, dims.iter().any(|d| self.plates.contains(d)))
                {
                    return self.emptiness(id, *column, index);
                }
                if dims.iter().filter(|d| self.plates.contains(d)).count() > 1 {
                    self.fault(id, COMPARES);
                }
                match self.index(&dims, index, self.used.contains(&id)) {
                    Ok(index) => Node::Read { slot: *slot, index },
                    Err(why) => {
                        self.fault(id, why);
                        self.copied(node)
                    }
                }
            }
            Node::Reduce { axes, body, .. } if known.contains(&id) && self.is_statistic(id, axes) => {
                let left = self.whole.free_axes(id);
                let plates: Vec<PlateId> = axes.iter().map(|a| self.hir.axis(*a).plate).collect();
                let of_rows: Vec<&AxisId> = left.iter().filter(|a| self.level(a).is_some()).collect();
                if of_rows.len() > 1 || of_rows.iter().any(|a| plates.contains(&self.hir.axis(**a).plate)) {
                    self.fault(id, COMPARES);
                    return node.clone();
                }
                let (var, slot) = given(self.hir, &mut self.joint, "of the whole table", left.clone());
                let index = left.iter().map(|a| Ix::Axis(*a)).collect();
                let body = self.new[body.0 as usize];
                self.statistics.push(Statistic { var, node: id, axes: left, body });
                Node::Read { slot, index }
            }
            other => {
                if let Node::Reduce { axes, .. } = other
                    && axes.iter().any(|a| self.level(a).is_some())
                {
                    self.fault(id, "takes all rows together");
                }
                self.copied(other)
            }
        }
    }

    /// Of a cell of a batch, -1 where it is a number, and 0 where it is empty: which are so differs from batch to batch.
    fn emptiness(&mut self, id: NodeId, column: VarId, index: &[Ix]) -> Node {
        let slot = self.whole.slots.iter().position(|s| s.kind == SlotKind::Data(column)).expect("columns have slots");
        let slot = SlotId(slot as u32);
        let dims = self.whole.slot(slot).dims.clone();
        let index = self.index(&dims, index, self.used.contains(&id)).unwrap_or_else(|why| {
            self.fault(id, why);
            index
                .iter()
                .map(|ix| if let Ix::At(n) = ix { Ix::At(self.new[n.0 as usize]) } else { ix.clone() })
                .collect()
        });
        let datum = self.joint.intern(Node::Read { slot, index });
        let (most, full, empty) = (self.joint.constant(f64::MAX), self.joint.constant(-1.0), self.joint.constant(0.0));
        // No comparison holds of what is not a number.
        let is_number = self.joint.intern(Node::Binary(BinOp::LessEq, datum, most));
        Node::Select(is_number, full, empty)
    }

    fn copied(&self, node: &Node) -> Node {
        node.clone().map_operands(&mut |n| self.new[n.0 as usize])
    }

    /// Whether a reduction of data needs rows that a batch need not have.
    fn is_statistic(&self, id: NodeId, axes: &[AxisId]) -> bool {
        let by_key = |n: NodeId| match self.whole.node(n) {
            Node::Read { slot, index } => {
                let dims = &self.whole.slot(*slot).dims;
                dims.iter().zip(index).any(|(d, ix)| self.plates.contains(d) && matches!(ix, Ix::At(_)))
            }
            _ => false,
        };
        axes.iter().any(|a| self.level(a).is_some()) || self.used.contains(&id) && kin::within(self.whole, id, by_key)
    }

    /// The index of a slot of these dimensions in a batch.
    fn index(&mut self, dims: &[PlateId], index: &[Ix], used: bool) -> Result<Vec<Ix>, &'static str> {
        let mut out = vec![];
        for (d, ix) in dims.iter().zip(index) {
            let own = |a: &AxisId| self.hir.axis(*a).plate == *d;
            out.push(match ix {
                Ix::At(n) if !self.plates.contains(d) => Ix::At(self.new[n.0 as usize]),
                Ix::At(n) if used => Ix::At(self.place(*n, *d)?),
                Ix::Axis(a) if !self.plates.contains(d) || own(a) => ix.clone(),
                Ix::Label(..) if !self.plates.contains(d) => ix.clone(),
                Ix::At(_) | Ix::Axis(_) | Ix::Label(..) => return Err(OTHERS),
            });
        }
        Ok(out)
    }

    /// In the batch, the position that `node` is in the whole on a plate of the batch.
    fn place(&mut self, node: NodeId, plate: PlateId) -> Result<NodeId, &'static str> {
        let to = self.plates.iter().position(|p| *p == plate).ok_or(OTHERS)?;
        if !self.places.contains_key(&(node, plate)) {
            let [axis] = self.whole.free_axes(node)[..] else { return Err(OTHERS) };
            let from = self.level(&axis).filter(|from| *from != to).ok_or(OTHERS)?;
            let (place, slot) = given(self.hir, &mut self.joint, "place in the batch", vec![axis]);
            self.levels[from].0.links.push(Link { node, axis, to, place });
            self.places.insert((node, plate), (slot, axis));
        }
        let (slot, axis) = self.places[&(node, plate)];
        Ok(self.joint.intern(Node::Read { slot, index: vec![Ix::Axis(axis)] }))
    }

    /// Where rows of a batch are added to cells: to those of their members, and nothing by rows that fill it up.
    fn scatter(&mut self, i: usize) -> Result<(), &'static str> {
        let def = &self.whole.defs[i];
        let Some(scatter) = &def.scatter else { return Ok(()) };
        let dims = self.whole.slot(def.slot).dims.clone();
        let over = def.axes.iter().find_map(|a| Some((*a, self.level(a)?)));
        let within = dims.iter().any(|d| self.plates.contains(d));
        if (over.is_some() || within) && !scatter.index.is_empty() && (over.is_none() || !within) {
            return Err("adds rows to others");
        }
        let filter = scatter.filter.map(|f| self.new[f.0 as usize]);
        let index = self.index(&dims, &scatter.index, true)?;
        self.joint.defs[i].scatter = Some(Scatter { index, filter });
        if let Some((axis, level)) = over {
            let (weight, zero) = (self.weight(axis, level), self.joint.constant(0.0));
            let value = self.joint.defs[i].value;
            self.joint.defs[i].value = self.joint.intern(Node::Select(weight, value, zero));
        }
        Ok(())
    }

    fn weight(&mut self, axis: AxisId, level: usize) -> NodeId {
        let slot = self.levels[level].1;
        self.joint.intern(Node::Read { slot, index: vec![Ix::Axis(axis)] })
    }

    /// Multiply a term by the weight of its rows.
    fn weigh(&mut self, i: usize, over: Option<(AxisId, usize)>) {
        let new = |n: NodeId| self.new[n.0 as usize];
        let (mut value, mut filter) = (new(self.whole.terms[i].value), self.whole.terms[i].filter.map(new));
        if let Some((axis, level)) = over {
            if let Some(filter) = filter.take() {
                // Which rows pass differs from batch to batch: those that do not add nothing.
                let zero = self.joint.constant(0.0);
                value = self.joint.intern(Node::Select(filter, value, zero));
            }
            let weight = self.weight(axis, level);
            value = self.joint.intern(Node::Binary(BinOp::Mul, weight, value));
        }
        (self.joint.terms[i].value, self.joint.terms[i].filter) = (value, filter);
    }
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
