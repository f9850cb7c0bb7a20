//! The checked program: every name is an id, every value has its plates and type, every latent its support.

mod written;

use std::collections::HashSet;

use crate::source::Span;

pub use written::{Bend, Gradient, GuideLine, Written};

pub use crate::lower::graph::{BinOp, UnOp};
use crate::prim::ode::Method;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct PlateId(pub u32);
/// A named index over a plate. Every plate has one axis of its own (the bare plate); binders (`t in days`) add more.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct AxisId(pub u32);
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct VarId(pub u32);
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct TableId(pub u32);
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct WalkId(pub u32);
/// A value bound inside an expression (`let` in a `fn`, an argument of a distribution).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct LocalId(pub u32);

#[derive(Clone, Debug, Default)]
pub struct Hir {
    pub plates: Vec<Plate>,
    pub axes: Vec<AxisInfo>,
    pub tables: Vec<Table>,
    pub vars: Vec<Var>,
    /// Latents, params, lets, observes and factors in the order written.
    pub steps: Vec<Step>,
    /// Orders of rows other than those of their plates.
    pub walks: Vec<Walk>,
    /// Definitions that need their own or each other's earlier rows. Their steps stand next to each other.
    pub recurrences: Vec<Recurrence>,
    /// The params that are weights of nets: made by `check`, never named by a user.
    pub weights: Vec<VarId>,
    /// Values bound inside expressions that are stored whole, since sums read each of their cells many times.
    pub stored: HashSet<LocalId>,
    /// Columns of conditions whose cells in the file are probabilities: drawn once, and anew in each step of a fit in batches.
    pub binarised: Vec<VarId>,
    /// What the user asked to see besides the latents, in order.
    pub reports: Vec<VarId>,
    /// Columns whose empty cells are latents, because something beside their own `observe` reads them.
    pub missing: Vec<Missing>,
    /// The latents that are summed out.
    pub discrete: Vec<Discrete>,
    /// Latents that leave out a level, whose value is 0.
    pub references: Vec<Reference>,
    /// Cutpoints that separate the cells of a plate.
    pub cuts: Vec<Cuts>,
    pub guide: Guide,
    /// Instead of a family: a guide with a net for each latent of rows, to be written out.
    pub amortised: Option<Amortised>,
    /// Instead of a family: the guide that the model writes out.
    pub written: Option<Written>,
    /// The params and lets of that guide, which stay no part of the model where another guide takes its place.
    pub of_guide: Vec<VarId>,
    pub fit: Vec<FitOption>,
    /// Where draws are weighed against each other in batches: the plates that these have rows of, found from the model of one draw.
    pub batched: Vec<PlateId>,
}

impl Hir {
    pub fn plate(&self, id: PlateId) -> &Plate {
        &self.plates[id.0 as usize]
    }

    pub fn axis(&self, id: AxisId) -> &AxisInfo {
        &self.axes[id.0 as usize]
    }

    pub fn var(&self, id: VarId) -> &Var {
        &self.vars[id.0 as usize]
    }

    /// The values of a latent, if they are finitely many.
    pub fn discrete(&self, id: VarId) -> Option<&Discrete> {
        self.discrete.iter().find(|d| d.var == id)
    }

    /// Whether a variable is a discrete latent, or a column whose empty cells are.
    pub fn is_summed(&self, id: VarId) -> bool {
        let cells = self.missing.iter().find(|m| m.column == id).map_or(id, |m| m.cells);
        self.discrete(cells).is_some()
    }

    /// Whether a variable is a `param` or a `let` of the written guide, and no part of the model.
    pub fn is_guides(&self, id: VarId) -> bool {
        self.of_guide.contains(&id)
    }

    /// Whether a variable is an unknown of the model: a latent or a param.
    pub fn is_unknown(&self, id: VarId) -> bool {
        matches!(self.var(id).kind, VarKind::Latent | VarKind::Param { .. }) && !self.is_guides(id)
    }

    pub fn table(&self, id: TableId) -> &Table {
        &self.tables[id.0 as usize]
    }
}

/// Increasing values that cut a line into the cells of a plate: there must be one fewer of them.
#[derive(Clone, Debug)]
pub struct Cuts {
    pub cells: PlateId,
    pub cutpoints: PlateId,
    /// The distribution, and its argument.
    pub name: String,
    pub span: Span,
}

/// `latent b[work without "none"]`: the latent is 0 at one cell of an axis of its own, and an unknown at the others.
#[derive(Clone, Debug)]
pub struct Reference {
    pub var: VarId,
    pub axis: AxisId,
    pub label: String,
    pub span: Span,
    /// The other cells.
    pub rest: PlateId,
}

/// A latent of finitely many values: one per cell of a plate.
#[derive(Clone, Debug)]
pub struct Discrete {
    pub var: VarId,
    /// For an index the plate itself; for others a hidden plate, labelled by the values.
    pub plate: PlateId,
    /// The number at the first cell: the value is this plus the position.
    pub first: Expr,
    /// Whether its prior has values beyond the last, which are left out.
    pub cut: bool,
}

#[derive(Clone, Debug)]
pub struct Plate {
    pub name: String,
    pub span: Span,
    pub kind: PlateKind,
    /// Its own axis.
    pub axis: AxisId,
}

#[derive(Clone, Debug)]
pub enum PlateKind {
    /// The rows of a table; labels from its `key` column if it has one, else 1..n.
    Rows(TableId),
    /// The levels found in (or fixed for) category columns.
    Levels { columns: Vec<VarId>, fixed: Option<Vec<String>> },
    /// The labels of a vector column, from the header.
    Header { column: VarId },
    /// `plate k = EXPR`: labels 1..n. The expression depends on constants, data scalars and plate sizes.
    Sized(Expr),
    /// `plate zero = range(0, 4)`: labels 0..4, both ends included.
    Range(Expr, Expr),
    /// `plate c = ["a", "b"]`
    Labels(Vec<String>),
    /// One cell fewer than another plate: the unconstrained scale of a simplex. Made by `derive`, never named by a user.
    OneLess(PlateId),
    /// The cells below the diagonal of a square of another plate, or on it too: the unconstrained scale of a matrix.
    Triangle { of: PlateId, diagonal: bool },
    /// All cells of another plate but the one with this label. Made by `check`, never named by a user.
    Without { of: PlateId, label: String, span: Span },
    /// The configurations of cells that each have one of some values. Made by `derive`.
    Power { values: PlateId, cells: Vec<PlateId> },
    /// The empty cells of a column with missing values, labelled `row 7` or by the table's key. Made by `check`.
    Missing(VarId),
}

/// A column with empty cells that are unknowns of the model: `observe column ~ …` is their prior.
#[derive(Clone, Debug)]
pub struct Missing {
    pub column: VarId,
    /// A latent named like the column: over the empty cells if it is continuous, over all of them if it is summed out.
    pub cells: VarId,
    /// The empty cells.
    pub plate: PlateId,
}

#[derive(Clone, Debug)]
pub struct AxisInfo {
    pub plate: PlateId,
    /// The index name for a binder; the plate's name for its own axis.
    pub name: String,
}

/// `t in shocks by dog along trial`: rows group by group, sorted within each.
#[derive(Clone, Debug)]
pub struct Walk {
    pub plate: PlateId,
    pub by: Option<VarId>,
    pub along: Option<VarId>,
    pub span: Span,
    /// The variables of its three parts.
    pub rows: VarId,
    pub ranks: VarId,
    pub steps: VarId,
}

/// What a walk says about the rows of its plate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderPart {
    /// By rank: the position of the row.
    Rows,
    /// By row: its 0-based place among all.
    Ranks,
    /// By row: how many come before it in its group.
    Steps,
}

/// Definitions that are computed together, row after row: each reads earlier rows of any, and the current row of those
/// before it in the list.
#[derive(Clone, Debug)]
pub struct Recurrence {
    pub vars: Vec<VarId>,
    /// The walked axis of each.
    pub axes: Vec<AxisId>,
    /// `None`: the order of the plate.
    pub walk: Option<WalkId>,
}

#[derive(Clone, Debug)]
pub struct Table {
    pub name: String,
    pub span: Span,
    pub plate: PlateId,
    /// In the order declared; all are `VarKind::Column`.
    pub columns: Vec<VarId>,
    /// The `key` column, if any.
    pub key: Option<VarId>,
}

#[derive(Clone, Debug)]
pub struct Var {
    pub name: String,
    pub span: Span,
    pub kind: VarKind,
    /// One per dimension, in the order written: for a column its table's axis and then its vector plates; for a
    /// latent the `[ ]` plates and then the `over` plates (`joint` of them).
    pub axes: Vec<AxisId>,
    /// How many of the last `axes` are joint (`over`).
    pub joint: usize,
    pub ty: Ty,
    /// The values it can take. For columns: what is checked. For latents: what the transform gives.
    pub constraint: Constraint,
}

#[derive(Clone, Debug)]
pub enum VarKind {
    Column(Column),
    /// `data D: real` beside the tables; the default if one is written.
    DataValue {
        /// Its key in a JSON file.
        key: String,
        default: Option<Expr>,
    },
    /// `const K = 3`; `--set` may override.
    Const {
        value: Expr,
    },
    Latent,
    Param {
        init: Expr,
    },
    Let,
    Report,
    /// `draw(D)`, the start of a param: drawn when data are bound, the same each time. Never named by a user.
    Start {
        draw: Expr,
    },
    /// Which units a `dropout` keeps, as the factors that they are multiplied by: 1 except in the steps of a fit in batches.
    /// Never named by a user.
    Mask {
        /// The share that is dropped.
        rate: f64,
    },
    /// Made for a walk, never named by a user.
    Order {
        walk: WalkId,
        part: OrderPart,
    },
}

/// How a column is found and read.
#[derive(Clone, Debug)]
pub struct Column {
    pub table: TableId,
    pub content: Content,
    pub from: From,
    pub optional: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    Real,
    Int,
    Bool,
    /// Row labels.
    Key,
    /// Positions on a plate: `category`, a foreign key, or levels shared by columns.
    Index(PlateId),
    Date,
}

#[derive(Clone, Debug, PartialEq)]
pub enum From {
    /// One column of this name in the file.
    Name(String),
    /// A vector column: every column that matches a pattern with one `*`, in file order.
    Pattern(String),
    /// A vector column: the columns from the first name to the last, in file order.
    Range(String, String),
    /// A vector column: these.
    List(Vec<String>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ty {
    Real,
    Int,
    Bool,
    /// A position on a plate.
    Index(PlateId),
    Key,
    Date,
}

/// A set of values, as an expression of other values where bounds depend on them.
#[derive(Clone, Debug)]
pub enum Constraint {
    /// Every value of the type.
    None,
    Lower {
        bound: Expr,
        open: bool,
    },
    Upper {
        bound: Expr,
        open: bool,
    },
    Interval {
        lower: Expr,
        upper: Expr,
        open: bool,
    },
    /// Non-negative, sums to 1 over the joint plate.
    Simplex,
    /// A matrix over two axes of the joint plate.
    Matrix(MatrixKind),
    /// Of length 1 over the joint plate.
    UnitVector,
    /// Sums to 0 over the joint plate.
    ZeroSum,
    /// Increasing over the joint plate; `positive`: and above 0.
    Ordered {
        positive: bool,
    },
}

impl Constraint {
    /// The lower and the upper end of an interval, or of what is open to one side.
    pub fn ends(&self) -> (Option<&Expr>, Option<&Expr>) {
        match self {
            Constraint::Lower { bound, .. } => (Some(bound), None),
            Constraint::Upper { bound, .. } => (None, Some(bound)),
            Constraint::Interval { lower, upper, .. } => (Some(lower), Some(upper)),
            Constraint::None
            | Constraint::Simplex
            | Constraint::Matrix(_)
            | Constraint::UnitVector
            | Constraint::ZeroSum
            | Constraint::Ordered { .. } => (None, None),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MatrixKind {
    /// Correlations.
    Corr,
    /// Covariances.
    Cov,
    /// Lower Cholesky factors of these.
    CholeskyCorr,
    CholeskyCov,
}

impl MatrixKind {
    pub const ALL: [(&'static str, MatrixKind); 4] = [
        ("corr", MatrixKind::Corr),
        ("cov", MatrixKind::Cov),
        ("cholesky_corr", MatrixKind::CholeskyCorr),
        ("cholesky_cov", MatrixKind::CholeskyCov),
    ];

    /// The kind that a type's name says.
    pub fn of(name: &str) -> Option<MatrixKind> {
        Self::ALL.iter().find(|k| k.0 == name).map(|k| k.1)
    }

    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|k| k.1 == self).map_or("cov", |k| k.0)
    }
}

#[derive(Clone, Debug)]
pub enum Step {
    Latent {
        var: VarId,
        dist: DistUse,
        centering: Centering,
        span: Span,
    },
    Param {
        var: VarId,
        span: Span,
    },
    Let {
        var: VarId,
        value: Expr,
        span: Span,
    },
    Observe {
        name: String,
        target: Expr,
        over: Vec<AxisId>,
        axes: Vec<AxisId>,
        filter: Option<Expr>,
        dist: DistUse,
        span: Span,
    },
    Factor {
        axes: Vec<AxisId>,
        value: Expr,
        span: Span,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Centering {
    /// The compiler chooses.
    Auto,
    Centered,
    Noncentered,
}

/// A distribution applied to arguments, its body from the library already in terms of them.
#[derive(Clone, Debug)]
pub struct DistUse {
    pub name: String,
    pub span: Span,
    /// Argument values, bound in order before the bodies.
    pub args: Vec<(LocalId, String, Expr)>,
    /// The value whose density it is, in `logpdf`.
    pub x: LocalId,
    pub logpdf: Expr,
    /// A draw from the distribution before truncation, in terms of base noise; `None` when the library gives none.
    pub sample: Option<Expr>,
    /// Per cell, in terms of the arguments; infinite where the integral diverges to infinity, not a number where it
    /// does not exist. `None` when the library gives none, or truncation makes it another.
    pub mean: Option<Expr>,
    pub variance: Option<Expr>,
    /// For counts without an end, in terms of the arguments: those above it have less than 1e-12 of the mass together.
    pub most: Option<Expr>,
    pub support: Support,
    /// The values of a latent drawn from it: the support, cut by the latent's type; in terms of other values, not of the arguments.
    pub range: Constraint,
    /// Truncation to the latent's narrower type: log of the probability of the kept range, in terms of the arguments.
    pub log_kept: Option<Expr>,
}

impl DistUse {
    /// Whether its arguments read a variable: the earlier rows of a chain, if it is the one drawn.
    pub fn reads(&self, var: VarId) -> bool {
        let mut found = false;
        for e in self.args.iter().map(|a| &a.2).chain([&self.logpdf]) {
            crate::check::walk(e, &mut |e| found |= matches!(&e.kind, ExprKind::Read { var: v, .. } if *v == var));
        }
        found
    }
}

/// What a distribution can give.
#[derive(Clone, Debug)]
pub struct Support {
    pub ty: Ty,
    pub constraint: Constraint,
}

/// An expression per cell of `axes`.
#[derive(Clone, Debug)]
pub struct Expr {
    pub kind: ExprKind,
    pub ty: Ty,
    /// What it varies over: sorted, no duplicates.
    pub axes: Vec<AxisId>,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub enum ExprKind {
    Number(f64),
    /// One cell of a variable: one index per dimension.
    Read {
        var: VarId,
        index: Vec<Index>,
    },
    Local(LocalId),
    Bind {
        local: LocalId,
        value: Box<Expr>,
        body: Box<Expr>,
    },
    /// 0-based position on an axis.
    Position(AxisId),
    Size(PlateId),
    Unary(UnOp, Box<Expr>),
    Binary(BinOp, Box<Expr>, Box<Expr>),
    If {
        condition: Box<Expr>,
        then: Box<Expr>,
        otherwise: Box<Expr>,
    },
    Reduce {
        op: Reduction,
        axes: Vec<AxisId>,
        filter: Option<Box<Expr>>,
        body: Box<Expr>,
    },
    /// `body` with the cell of `axis` replaced: indexing a value that is not stored (`p[x]` for an argument `p`).
    At {
        body: Box<Expr>,
        axis: AxisId,
        index: Box<Index>,
    },
    /// One item per cell of `axis`.
    List {
        axis: AxisId,
        items: Vec<Expr>,
    },
    /// A function of whole matrices. A matrix varies over two axes of one plate, of which the lower is its rows.
    Matrix {
        function: MatrixFn,
        matrix: Box<Expr>,
        /// The rows and columns of `matrix`, bound here; the factor varies over axes of the same names.
        axes: [AxisId; 2],
        /// The right side of a solve, with the axis along it, bound here; the solution varies over one of that name.
        vector: Option<(AxisId, Box<Expr>)>,
    },
    /// The solution of an initial-value problem, over its `batch`, `time` and `state`.
    Ode(Box<Ode>),
    /// A draw of base noise with these parameters, in `sample` bodies only. One draw per cell of the expression's axes.
    Noise(Noise, Vec<Expr>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatrixFn {
    /// The lower Cholesky factor of a symmetric matrix.
    Cholesky,
    /// `x` in `L x = b`, or in `Lᵀ x = b`, of a lower triangle.
    Solve { transposed: bool },
}

/// `ode(f, z0, t0, times, …)`: dz/dt = `rate` from `start` at `t0`, one problem per cell of `batch`.
#[derive(Clone, Debug)]
pub struct Ode {
    pub method: Method,
    /// What the error of a step may be, relative to values above 1.
    pub tolerance: f64,
    /// What the state varies over; `None`: it is one number.
    pub state: Option<AxisId>,
    /// What the times vary over; `None`: each cell of `batch` has a time of its own.
    pub time: Option<AxisId>,
    pub batch: Vec<AxisId>,
    pub start: Expr,
    /// Data only, like the times.
    pub t0: Expr,
    pub times: Expr,
    pub args: Vec<OdeArg>,
    /// The time and the state inside `rate`.
    pub t: LocalId,
    pub z: LocalId,
    /// In terms of these, the arguments, and known values.
    pub rate: Expr,
}

/// A further argument of the function that gives the rates.
#[derive(Clone, Debug)]
pub struct OdeArg {
    pub local: LocalId,
    pub name: String,
    /// What it varies over inside `rate`.
    pub axes: Vec<AxisId>,
    pub value: Expr,
}

impl Ode {
    /// Everything that it is given: start, times and arguments.
    pub fn inputs(&self) -> impl Iterator<Item = &Expr> {
        [&self.start, &self.t0, &self.times].into_iter().chain(self.args.iter().map(|a| &a.value))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noise {
    Normal,
    /// On (0, 1), both ends excluded.
    Uniform,
    /// Gamma(shape, 1).
    Gamma,
    /// Poisson(rate).
    Poisson,
    /// Binomial(n, p).
    Binomial,
    /// Successes among `n` that are drawn without replacement from `a` successes and `b` failures.
    Hypergeometric,
    /// An angle around 0 with this concentration.
    VonMises,
    /// How many of `n` fall on each cell of this axis, with the probabilities along it.
    Multinomial(AxisId),
    /// A position drawn with the probabilities that the parameter gives along this axis.
    Categorical(AxisId),
    /// A correlation matrix over these rows and columns, or its lower Cholesky factor; the parameter is its shape.
    Lkj {
        matrix: [AxisId; 2],
        factor: bool,
    },
    /// A Wishart matrix over these rows and columns, or the inverse of one; the parameters are the degrees of freedom and a
    /// scale matrix over rows and columns of its own.
    Wishart {
        matrix: [AxisId; 2],
        scale: [AxisId; 2],
        inverse: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reduction {
    Sum,
    Mean,
    /// Sample standard deviation, divisor n - 1.
    Sd,
    Min,
    Max,
    Prod,
    LogSumExp,
    Any,
    All,
}

#[derive(Clone, Debug)]
pub enum Index {
    /// The current cell of this axis.
    Axis(AxisId),
    /// A computed position of type `Ty::Index(plate)`.
    At(Box<Expr>),
    /// A label, found when data are bound.
    Label(String, Span),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Guide {
    #[default]
    Default,
    MeanField,
    FullRank,
    /// So many directions beside a diagonal.
    LowRank(usize),
    /// Normals at up to so many modes.
    Mixture(usize),
    /// A normal bent by so many coupling layers.
    Flow(usize),
}

/// `guide amortised(64)`
#[derive(Clone, Debug)]
pub struct Amortised {
    pub span: Span,
    /// Units of each hidden layer.
    pub hidden: usize,
    /// The guide as it is written out, once it is.
    pub text: String,
}

/// One `name: value` of the `fit` block, checked by name and type.
#[derive(Clone, Debug)]
pub struct FitOption {
    pub name: String,
    pub span: Span,
    pub value: FitValue,
}

#[derive(Clone, Debug, PartialEq)]
pub enum FitValue {
    Number(f64),
    Word(String),
    /// So many rows of a table.
    Batch(PlateId, usize),
    /// Its name and first rate.
    Optimizer(String, f64),
    Column(VarId),
}
