//! The log joint on the unconstrained scale, as a graph of scalar expressions per cell of named plates.
//! It is symbolic: plates have names, not sizes, so `vic show --stage joint` needs no data.

use std::collections::HashMap;

use crate::diag::Diagnostic;
use crate::hir::{AxisId, MatrixFn, PlateId, VarId};
use crate::source::Span;

use super::ode::Problem;
pub use crate::lower::graph::{BinOp, UnOp};

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct NodeId(pub u32);
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct SlotId(pub u32);

/// A hash-consed expression: equal expressions have equal ids, operands come before their users.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Node {
    /// Bits of an `f64`, so that nodes can be hashed.
    Const(u64),
    /// One cell of a slot; `index` has one entry per dimension of the slot.
    Read {
        slot: SlotId,
        index: Vec<Ix>,
    },
    /// 0-based position on an axis, as a number.
    Position(AxisId),
    /// Number of cells of a plate.
    Size(PlateId),
    Unary(UnOp, NodeId),
    Binary(BinOp, NodeId, NodeId),
    /// Condition, value if not 0, value if 0. The other side may be anything, NaN too, in value and derivative.
    Select(NodeId, NodeId, NodeId),
    /// The same number, but a constant to derivatives.
    Detached(NodeId),
    /// A function of whole matrices, which are stored: reads of all cells of a slot, those of the matrix first. Stands
    /// only as the value of a definition, over the cells of the result and then those that it is repeated over.
    Matrix {
        function: MatrixFn,
        operands: Vec<NodeId>,
    },
    /// The solution of an initial-value problem, by its number: like `Matrix`, over the cells of the state, then those of
    /// the times, then those that it is repeated over. Operands: start, time of the start, times, arguments.
    Ode {
        system: u32,
        operands: Vec<NodeId>,
    },
    /// Combine `body` over all cells of `axes` for which `filter` (0/1) holds. `filter` depends on data and positions only.
    /// An axis that is already in use is bound again: inside, it means the cell of the reduction.
    Reduce {
        op: Fold,
        axes: Vec<AxisId>,
        filter: Option<NodeId>,
        body: NodeId,
    },
}

impl Node {
    /// The same with `to` of each operand in its place, those inside indices included.
    pub fn map_operands(self, to: &mut dyn FnMut(NodeId) -> NodeId) -> Node {
        match self {
            Node::Const(_) | Node::Position(_) | Node::Size(_) => self,
            Node::Read { slot, index } => {
                let index = index.into_iter().map(|ix| if let Ix::At(n) = ix { Ix::At(to(n)) } else { ix });
                Node::Read { slot, index: index.collect() }
            }
            Node::Unary(op, a) => Node::Unary(op, to(a)),
            Node::Binary(op, a, b) => Node::Binary(op, to(a), to(b)),
            Node::Select(c, t, o) => Node::Select(to(c), to(t), to(o)),
            Node::Detached(a) => Node::Detached(to(a)),
            Node::Matrix { function, operands } => {
                Node::Matrix { function, operands: operands.into_iter().map(to).collect() }
            }
            Node::Ode { system, operands } => Node::Ode { system, operands: operands.into_iter().map(to).collect() },
            Node::Reduce { op, axes, filter, body } => {
                let body = to(body);
                Node::Reduce { op, axes, filter: filter.map(to), body }
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Fold {
    Sum,
    Prod,
    Min,
    Max,
    LogSumExp,
}

/// How one dimension of a slot is addressed.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Ix {
    /// The current cell of this axis.
    Axis(AxisId),
    /// A position computed from data (0-based): reading a key column, a lag, an `if` over data. Never depends on a latent.
    /// It must lie on its plate wherever the read is used: in cells that pass the filters around it, on the sides of
    /// conditions on data that are taken, and after an `and` whose first operand holds.
    At(NodeId),
    /// The cell with this label, found when data are bound. The span is the label's in the model.
    Label(String, Span),
}

/// Named storage, one number per cell of `dims`.
#[derive(Clone, Debug)]
pub struct Slot {
    pub name: String,
    pub dims: Vec<PlateId>,
    pub kind: SlotKind,
}

#[derive(Clone, Debug, PartialEq)]
pub enum SlotKind {
    /// A data column, data scalar or constant, bound with the data. Key and category columns hold 0-based positions.
    Data(VarId),
    /// A slice of the unconstrained vector theta.
    Unconstrained(VarId),
    /// A discrete latent, until it is summed out: nothing of a finished joint reads it.
    Discrete(VarId),
    /// Filled by the `Def` of this slot.
    Defined,
    /// A constant table that depends on plate sizes only.
    Table(Table),
    /// Per cell of a column: its number among the empty ones, or -1 if it is not empty.
    Missing(VarId),
    /// Per empty cell of a column: its position along a dimension of the column.
    MissingAt(VarId, usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// Dims `[k, k-1]`: the isometric log-ratio basis, column j = (1,…,1,-j,0,…)/√(j(j+1)) (Egozcue et al. 2003).
    IlrBasis,
    /// Dims `[k, k]`: 1 where column ≤ row.
    LowerTriangle,
    /// Dims `[k]`: 0, 1, 2, …
    Positions,
}

/// `slot[axes] = value`, for every cell. Axes are one per dimension of the slot, in its order. Definitions are in dependency order.
#[derive(Clone, Debug)]
pub struct Def {
    pub slot: SlotId,
    pub axes: Vec<AxisId>,
    pub value: NodeId,
    pub span: Span,
    /// The user-visible variable that this is, if any (constrained latents, lets, reports).
    pub var: Option<VarId>,
    /// Needed by no term: only for reports.
    pub report_only: bool,
    /// Its value reads earlier cells of itself.
    pub walk: Option<Walk>,
    /// Instead: every cell of `axes` is added to the cell of the slot that it points to.
    pub scatter: Option<Scatter>,
}

impl Def {
    /// A definition that the user gave no name to, whose cells may be computed in any order.
    pub fn new(slot: SlotId, axes: Vec<AxisId>, value: NodeId, span: Span) -> Def {
        Def { slot, axes, value, span, var: None, report_only: false, walk: None, scatter: None }
    }
}

/// How a definition that reads its own slot is computed: cell after cell along one of its axes.
///
/// Definitions of one group stand next to each other, and walk the same plate in the same order. Each may read the slots
/// of the whole group, at cells that the walk has passed; where nothing has been passed the read stands on the side of
/// a condition on data that is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walk {
    /// One of the definition's axes.
    pub axis: AxisId,
    /// Data over the plate: the position that each step visits. `None`: the plate's own order.
    pub order: Option<SlotId>,
    /// From the last step to the first.
    pub backwards: bool,
    /// The number of its group.
    pub group: u32,
}

/// `slot[index] += value` over the axes of a definition, where `filter` holds.
#[derive(Clone, Debug)]
pub struct Scatter {
    /// One per dimension of the slot.
    pub index: Vec<Ix>,
    pub filter: Option<NodeId>,
}

/// A discrete latent as it was summed out, with what that costs per cell of `axes`: a table over `tables`.
#[derive(Clone, Debug)]
pub struct Eliminated {
    /// The latent, or chains that walk together.
    pub names: Vec<String>,
    /// Those that the result depends on.
    pub given: Vec<String>,
    pub axes: Vec<AxisId>,
    pub tables: Vec<PlateId>,
    /// Along one of the axes, cell after cell.
    pub chain: bool,
    pub span: Span,
}

/// `log joint += Σ over axes where filter of value`.
#[derive(Clone, Debug)]
pub struct Term {
    /// For people: `theta ~ Normal`, `observe y`, `log |d tau|`.
    pub name: String,
    pub kind: TermKind,
    pub axes: Vec<AxisId>,
    pub filter: Option<NodeId>,
    pub value: NodeId,
    pub span: Span,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TermKind {
    Prior,
    Likelihood,
    Factor,
    /// Log determinant of the transform from the unconstrained scale.
    Jacobian,
    /// Of a written guide: minus its log density at the draw.
    Guide,
    /// The log density of the noise that its draws are made from.
    Noise,
}

/// One latent or param on the unconstrained scale.
#[derive(Clone, Debug)]
pub struct Unconstrained {
    pub var: VarId,
    pub slot: SlotId,
    /// `param`: fitted to a point, without prior or entropy.
    pub point: bool,
    /// Where a `param` starts, on the unconstrained scale, per cell of `axes`; it depends on data only.
    pub start: Option<NodeId>,
    /// One per dimension of the slot.
    pub axes: Vec<AxisId>,
}

/// The coordinates of a written guide.
#[derive(Clone, Debug, Default)]
pub struct Written {
    /// Standard normal noise, from which its draws are made.
    pub noise: Vec<SlotId>,
    /// Discrete latents that it draws, with the tables of their chances: over the cells, then the values.
    pub chances: Vec<(VarId, SlotId)>,
    /// Latents that a family draws together: which.
    pub together: Vec<(VarId, u32)>,
    /// Latents whose gradient is by the score function.
    pub scored: Vec<VarId>,
    /// Of each of these: the inputs along which its terms are the derivatives, and those that multiply log q.
    pub scores: Vec<(SlotId, SlotId)>,
    /// The input that is 1 where enumerated latents are taken at the values drawn, 0 while params are fitted.
    pub switch: Option<SlotId>,
    /// Whether at 0 some latents are relaxed, so that what is fitted is not the lower bound itself.
    pub relaxed: bool,
    /// By plate of a batch, data per row and draw by which the slopes of weighed draws, or of the arguments of their densities, are
    /// multiplied.
    pub paths: Vec<(VarId, SlotId)>,
}

#[derive(Clone, Debug, Default)]
pub struct Joint {
    pub nodes: Vec<Node>,
    interned: HashMap<Node, NodeId>,
    pub slots: Vec<Slot>,
    /// In the order of their slices in theta (declaration order).
    pub unconstrained: Vec<Unconstrained>,
    pub defs: Vec<Def>,
    pub terms: Vec<Term>,
    pub systems: Vec<Problem>,
    /// In the order in which they were summed out.
    pub eliminated: Vec<Eliminated>,
    /// What a written guide makes of `unconstrained`.
    pub written: Option<Written>,
    /// The axis of each discrete latent's values.
    pub value_axes: HashMap<SlotId, AxisId>,
    /// Why discrete latents cannot be summed out; then the joint is not complete.
    pub problems: Vec<Diagnostic>,
}

impl Joint {
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    pub fn slot(&self, id: SlotId) -> &Slot {
        &self.slots[id.0 as usize]
    }

    /// The slot that stands for a discrete latent.
    pub(super) fn discrete_slot(&self, var: VarId) -> SlotId {
        let at = self.slots.iter().position(|s| s.kind == SlotKind::Discrete(var));
        SlotId(at.expect("every discrete latent has a slot from the start") as u32)
    }

    /// The id of this expression, added if new.
    pub fn intern(&mut self, node: Node) -> NodeId {
        if let Some(&id) = self.interned.get(&node) {
            return id;
        }
        let id = NodeId(self.nodes.len() as u32);
        self.nodes.push(node.clone());
        self.interned.insert(node, id);
        id
    }

    pub fn constant(&mut self, v: f64) -> NodeId {
        self.intern(Node::Const(v.to_bits()))
    }
}
