//! The graph: loop nests over buffers. What the log joint and its gradient are once sizes are known.
//!
//! A [`Region`] is a nest of loops around a straight-line body in SSA form. Bodies read buffers through affine or
//! gathered addresses, may hold inner reductions, and end in stores and accumulations. Everything later (kernels,
//! the interpreter) runs regions in order; derivatives, hoisting and contraction are rewrites from regions to regions.

use std::ops::Range;
use std::sync::Arc;

use crate::lower::tangent::Recipe;
use crate::prim::ode::Method;
use crate::source::Span;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct BufId(pub u32);
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct ValId(pub u32);
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct LoopId(pub u32);

/// The compiled form of one model on one data set.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    pub buffers: Vec<Buffer>,
    /// Value of the log joint: run in order; ends in `log_joint`.
    pub value: Vec<Region>,
    /// Value and gradient: run in order; ends in `log_joint` and `gradient`.
    pub gradient: Vec<Region>,
    /// Every constrained latent, `let` and `report` as the user named it: run in order.
    pub report: Vec<Region>,
    /// One region per definition and term, in program order, not fused: for finding where a value is not finite.
    /// Regions without a span are helpers of the next one that has one.
    pub trace: Vec<Region>,
    /// Length 1.
    pub log_joint: Option<BufId>,
    /// The unconstrained latents, length `dim`.
    pub theta: Option<BufId>,
    /// d log joint / d theta, length `dim`.
    pub grad: Option<BufId>,
    /// In a program for products with the Hessian: the direction, written by the caller, length `dim`.
    pub direction: Option<BufId>,
    pub dim: usize,
    /// How to build the program for products with the Hessian; `None` if an operation has no second derivative.
    pub second: Option<Arc<Recipe>>,
    /// The cells that loops over filtered plates stand for.
    pub kept: Vec<Kept>,
}

/// A loop over the cells that pass a filter: cell `r` of the loop is position `positions[r]` of the plate.
/// A filter over two plates has two of these.
#[derive(Clone, Debug)]
pub struct Kept {
    pub over: LoopId,
    pub plate: String,
    /// An `Index` buffer.
    pub positions: BufId,
}

#[derive(Clone, Debug)]
pub struct Buffer {
    pub name: String,
    pub len: usize,
    pub kind: BufKind,
}

#[derive(Clone, Debug)]
pub enum BufKind {
    /// Fixed numbers: columns, tables of constants.
    Data(Arc<[f64]>),
    /// Fixed positions, each already checked against the length of what it indexes. Only `AddrTerm::Gather` reads it.
    Index(Arc<[u32]>),
    /// Written by the caller before a run: theta.
    Input,
    /// Written by regions. `zeroed`: set to 0 at the start of every run (targets of `Accum`).
    Scratch { zeroed: bool },
}

/// A loop nest. `loops` run outermost first; the last is the *lane* loop, which kernels run in blocks,
/// unless it is walked. No loops: the body runs once.
#[derive(Clone, Debug)]
pub struct Region {
    /// For people: the declaration it comes from (`observe y`, `let K`, `d observe y`).
    pub name: String,
    /// The declaration's place in the model, for tracing a non-finite value.
    pub span: Option<Span>,
    /// The first loop is walked in this order: its later steps read what earlier ones wrote. Without a walk, and in the
    /// other loops, steps are independent of each other.
    pub walk: Option<Direction>,
    pub loops: Vec<Loop>,
    pub body: Vec<Stmt>,
}

impl Region {
    /// The loop whose steps kernels run in blocks.
    pub fn lane(&self) -> Option<&Loop> {
        self.loops[usize::from(self.walk.is_some())..].last()
    }
}

/// The order of a walk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    Forwards,
    Backwards,
}

impl Direction {
    pub fn reversed(self) -> Direction {
        match self {
            Direction::Forwards => Direction::Backwards,
            Direction::Backwards => Direction::Forwards,
        }
    }

    /// The position on a loop of `size` cells after `step` steps.
    pub fn position(self, step: usize, size: usize) -> usize {
        match self {
            Direction::Forwards => step,
            Direction::Backwards => size - 1 - step,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Loop {
    pub id: LoopId,
    pub size: usize,
    /// The plate's name, for people.
    pub plate: String,
}

#[derive(Clone, Debug)]
pub enum Stmt {
    Let(ValId, Op),
    /// Run `body` for every index of `over` and combine: each `(out, op, value)` gives one reduced value.
    /// Values defined in `body` are not visible outside except through `outs`. Stores and accumulations may stand in it.
    Reduce {
        over: Loop,
        body: Vec<Stmt>,
        outs: Vec<(ValId, ReduceOp, ValId)>,
    },
    /// `out = Σ_k a[k] · b[k]`, `a` data-like and varying with the lane loop, `b` not: a row of a matrix-vector product.
    /// `k` steps through `over`; both addresses may use it.
    Contract {
        out: ValId,
        over: Loop,
        a: (BufId, Addr),
        b: (BufId, Addr),
    },
    /// For every `k` in `over`: `target[k] += Σ_lanes value · a[k]`: the transposed product that gives the gradient of `b`.
    /// `target` does not vary with the lane loop.
    ContractT {
        value: ValId,
        over: Loop,
        a: (BufId, Addr),
        target: (BufId, Addr),
    },
    Store {
        buf: BufId,
        addr: Addr,
        value: ValId,
    },
    /// An operation on whole buffers: the only statement of a region without loops.
    Call(Call),
    /// `buf[addr] += value`. An address that does not vary with the lane loop is a sum over lanes; a gathered one a scatter-add.
    Accum {
        buf: BufId,
        addr: Addr,
        value: ValId,
    },
}

/// What is done with whole matrices of `n` rows and columns. Operands are named in their order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MatrixOp {
    /// matrix, its lower Cholesky factor. Not a number throughout if the matrix is not positive definite.
    Cholesky,
    /// factor, adjoint of the factor, adjoint of the matrix
    CholeskyBack,
    /// factor `L`, right side `b`, solution of `L x = b` (`transposed`: of `Lᵀ x = b`)
    Solve { transposed: bool },
    /// factor, solution, adjoint of the solution, adjoint of the factor, adjoint of the right side; either of the last
    /// two may be missing.
    SolveBack { transposed: bool },
    /// factor, tangent of the matrix, tangent of the factor
    CholeskyTangent,
    /// factor, its tangent, adjoint of the factor, its tangent, tangent of the adjoint of the matrix
    CholeskyBackTangent,
    /// factor, its tangent, solution, tangent of the right side, tangent of the solution; the tangents that are read may
    /// be missing.
    SolveTangent { transposed: bool },
    /// factor, its tangent, solution, its tangent, adjoint of the solution, its tangent, tangents of the adjoints of the
    /// factor and of the right side; all tangents may be missing.
    SolveBackTangent { transposed: bool },
}

/// One operation on a batch of matrices.
#[derive(Clone, PartialEq, Debug)]
pub struct MatrixCall {
    pub op: MatrixOp,
    pub n: usize,
    /// Right sides of a solve that stand side by side.
    pub columns: usize,
    /// Sizes of the plates that the operation is repeated over.
    pub batch: Vec<usize>,
    pub operands: Vec<Operand>,
    /// Scratch, of this length.
    pub work: Option<BufId>,
    pub work_len: usize,
}

/// A matrix, or columns of numbers, of a call: its first cell at `offset`, moving by a stride per plate of the batch.
#[derive(Clone, PartialEq, Debug)]
pub struct Operand {
    pub buf: Option<BufId>,
    pub access: Access,
    pub offset: usize,
    pub strides: Vec<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    Read,
    Store,
    Add,
}

/// An operation on whole buffers, outside of all loops.
#[derive(Clone, PartialEq, Debug)]
pub enum Call {
    Matrix(Arc<MatrixCall>),
    Product(Arc<ProductCall>),
    Ode(Arc<OdeCall>),
}

impl Call {
    pub fn operands(&self) -> &[Operand] {
        match self {
            Call::Matrix(call) => &call.operands,
            Call::Product(call) => &call.operands,
            Call::Ode(call) => &call.operands,
        }
    }

    /// The buffers that are accessed in this way.
    pub fn buffers(&self, access: Access) -> impl Iterator<Item = BufId> + '_ {
        self.operands().iter().filter(move |o| o.access == access).filter_map(|o| o.buf)
    }

    /// The buffers that the call writes, scratch aside.
    pub fn written(&self) -> impl Iterator<Item = BufId> + '_ {
        self.operands().iter().filter(|o| o.access != Access::Read).filter_map(|o| o.buf)
    }

    /// Every buffer that it names.
    pub fn each_buffer(&mut self, f: &mut impl FnMut(&mut BufId)) {
        match self {
            Call::Matrix(call) => {
                let call = Arc::make_mut(call);
                call.operands.iter_mut().filter_map(|o| o.buf.as_mut()).chain(&mut call.work).for_each(f);
            }
            Call::Product(call) => {
                Arc::make_mut(call).operands.iter_mut().filter_map(|o| o.buf.as_mut()).for_each(f);
            }
            Call::Ode(call) => {
                Arc::make_mut(call).operands.iter_mut().filter_map(|o| o.buf.as_mut()).for_each(f);
            }
        }
    }

    /// Multiplications, roughly.
    pub fn cost(&self) -> usize {
        match self {
            Call::Matrix(call) => call.cost(),
            Call::Product(call) => call.sizes.iter().chain(&call.batch).product(),
            Call::Ode(call) => call.cost(),
        }
    }
}

impl MatrixCall {
    fn cost(&self) -> usize {
        let each = match self.op {
            MatrixOp::Cholesky => self.n.pow(3) / 6,
            MatrixOp::CholeskyBack => self.n.pow(3) / 3,
            MatrixOp::Solve { .. } => self.n.pow(2) * self.columns / 2,
            MatrixOp::SolveBack { .. } | MatrixOp::SolveTangent { .. } => self.n.pow(2) * self.columns,
            MatrixOp::CholeskyTangent => self.n.pow(3) / 3,
            MatrixOp::CholeskyBackTangent => self.n.pow(3),
            MatrixOp::SolveBackTangent { .. } => 3 * self.n.pow(2) * self.columns,
        };
        each * self.batch.iter().product::<usize>()
    }
}

/// `c[i, j] = Σ_k a[i, k]·b[k, j]`, or `+=`, for a batch of matrices.
#[derive(Clone, PartialEq, Debug)]
pub struct ProductCall {
    /// Rows of `a`, columns of `a`, columns of `b`.
    pub sizes: [usize; 3],
    /// Sizes of what the product is repeated over; of a sum too, where the result does not move.
    pub batch: Vec<usize>,
    /// `a`, `b`, `c`.
    pub operands: Vec<Operand>,
    /// How far each of them moves by row and by column.
    pub steps: [[usize; 2]; 3],
    /// What is known of copies in single precision, where the product is made in that.
    pub copies: Copies,
}

/// Copies in single precision of what a product reads and writes.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Copies {
    /// Of `a` and `b`.
    pub factors: [Copied; 2],
    pub result: Stored,
}

/// Whether a factor has been rounded before it is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Copied {
    #[default]
    No,
    /// By an earlier product of the same run.
    Before,
    /// Params that only products read: whoever runs the program may keep the copy instead.
    Outside,
    /// An input: whoever runs the program may give the copy of all of it.
    Given,
    /// Its buffer holds numbers in single precision itself.
    InPlace,
}

/// Where the result of a product in single precision goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Stored {
    /// To the buffer, in double precision.
    #[default]
    Widened,
    /// To the copy of the buffer: whoever runs the program reads it there.
    Copy,
    /// To the buffer, which holds numbers in single precision.
    InPlace,
}

impl ProductCall {
    /// The cells of an operand's buffer from the first to the last that the product reaches.
    pub fn reach(&self, i: usize) -> Range<usize> {
        let ([m, k, n], operand) = (self.sizes, &self.operands[i]);
        let sides = [[m, k], [k, n], [m, n]][i];
        let last = |size: &usize, stride: usize| stride * size.saturating_sub(1);
        let own: usize = sides.iter().zip(self.steps[i]).map(|(size, step)| last(size, step)).sum();
        let rest: usize = self.batch.iter().zip(&operand.strides).map(|(size, stride)| last(size, *stride)).sum();
        operand.offset..operand.offset + own + rest + 1
    }
}

/// A batch of initial-value problems. Operands: start, arguments, solution; backwards the adjoint of the solution stands
/// in its place, and adjoints of start and arguments follow, which may be missing.
#[derive(Clone, PartialEq, Debug)]
pub struct OdeCall {
    pub system: Arc<OdeSystem>,
    pub backward: bool,
    /// Sizes of the plates that the problem is repeated over.
    pub batch: Vec<usize>,
    pub operands: Vec<Operand>,
}

/// A system of equations with its times.
#[derive(Debug)]
pub struct OdeSystem {
    /// No other system has it.
    pub id: u64,
    pub method: Method,
    pub tolerance: f64,
    /// Numbers in the state.
    pub n: usize,
    /// Numbers in each argument.
    pub args: Vec<usize>,
    /// `Σ weight · rate` over the time, the state, the arguments and the weights, whose first cells are at these places
    /// of its theta. Its report fills the rates.
    pub graph: Graph,
    pub t: usize,
    pub z: usize,
    pub arg_offsets: Vec<usize>,
    pub weight: usize,
    pub rate: (BufId, usize),
    pub grids: Vec<Grid>,
    /// By cell of the batch.
    pub grid_of: Vec<u32>,
}

impl PartialEq for OdeSystem {
    fn eq(&self, other: &OdeSystem) -> bool {
        self.id == other.id
    }
}

/// The times of a problem.
#[derive(Clone, PartialEq, Debug)]
pub struct Grid {
    pub t0: f64,
    /// Ascending.
    pub times: Vec<f64>,
    /// The position on its plate of each of them.
    pub order: Vec<u32>,
}

impl OdeCall {
    pub fn start(&self) -> &Operand {
        &self.operands[0]
    }

    pub fn args(&self) -> &[Operand] {
        &self.operands[1..=self.system.args.len()]
    }

    /// The solution, or backwards its adjoint.
    pub fn result(&self) -> &Operand {
        &self.operands[self.system.args.len() + 1]
    }

    pub fn start_adjoint(&self) -> &Operand {
        &self.operands[self.system.args.len() + 2]
    }

    pub fn arg_adjoints(&self) -> &[Operand] {
        &self.operands[self.system.args.len() + 3..]
    }

    /// As if each time took this many steps of seven rates, each of a few operations.
    fn cost(&self) -> usize {
        const STEPS: usize = 20;
        let times: usize = self.system.grid_of.iter().map(|&g| self.system.grids[g as usize].times.len()).sum();
        times * STEPS * 7 * 5 * self.system.n
    }
}

/// Index into a buffer: `offset + Σ stride · term`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Addr {
    pub offset: usize,
    pub terms: Vec<(AddrTerm, usize)>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum AddrTerm {
    /// The loop's counter.
    Loop(LoopId),
    /// The entry of an `Index` buffer.
    Gather(BufId, Box<Addr>),
}

#[derive(Clone, PartialEq, Debug)]
pub enum Op {
    Const(f64),
    Load(BufId, Addr),
    /// The counter of a loop, as a number (0-based).
    Counter(LoopId),
    Unary(UnOp, ValId),
    Binary(BinOp, ValId, ValId),
    /// `a·b + c`, rounded once.
    Fma(ValId, ValId, ValId),
    /// Condition (0 or 1), value if 1, value if 0. A plain choice: both sides are evaluated.
    Select(ValId, ValId, ValId),
}

/// Functions of one real. Derivatives are in `lower/grad.rs`; scalar and vector code in `prim/`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum UnOp {
    Neg,
    Abs,
    Sqrt,
    Recip,
    Floor,
    Ceil,
    Round,
    /// 1 if zero, else 0.
    Not,
    /// -1, 0 or 1.
    Sign,
    Exp,
    Log,
    Log1p,
    Expm1,
    Tanh,
    Sin,
    Cos,
    Atan,
    /// 1 / (1 + e^-x)
    Sigmoid,
    /// log(1 + e^x)
    Softplus,
    /// log |Γ(x)| for x > 0
    Lgamma,
    /// d/dx log Γ(x)
    Digamma,
    /// d²/dx² log Γ(x)
    Trigamma,
    Erf,
    /// Standard normal distribution function.
    Phi,
    /// Its logarithm, accurate in the lower tail.
    LogPhi,
    /// φ(x) / Φ(x), accurate in the lower tail: the derivative of `LogPhi`.
    InvMills,
    /// Log of the modified Bessel function I₀.
    LogBesselI0,
    /// I₁(x) / I₀(x): the derivative of `LogBesselI0`.
    BesselRatio,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum BinOp {
    Add,
    Sub,
    Mul,
    Div,
    /// `a^b`; `a^0 = 1` and `0^0 = 1`. Integer constant exponents are lowered to products before.
    Pow,
    Min,
    Max,
    /// Comparisons give 1 or 0.
    Less,
    LessEq,
    Equal,
    NotEqual,
    And,
    Or,
    /// `x · log y`, exactly 0 where `x = 0`.
    XLogY,
    /// Of a shape and a standard normal number: the log of the Gamma(shape, 1) quantile at its probability.
    LogGammaDraw,
    /// The derivative of `LogGammaDraw` along the shape.
    LogGammaDrawSlope,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ReduceOp {
    Sum,
    Prod,
    Min,
    Max,
}

impl Addr {
    pub fn constant(offset: usize) -> Addr {
        Addr { offset, terms: vec![] }
    }

    /// Whether the address depends on this loop, directly or through a gather.
    pub fn uses(&self, id: LoopId) -> bool {
        self.terms.iter().any(|(t, _)| match t {
            AddrTerm::Loop(l) => *l == id,
            AddrTerm::Gather(_, a) => a.uses(id),
        })
    }
}
