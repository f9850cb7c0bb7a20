//! From a graph to machine code for this processor, through Cranelift. Nothing outside this folder names Cranelift.

mod begin;
mod copies;
mod desugar;
mod emit;
mod jit;
mod ode;
mod ops;
mod plan;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cranelift_codegen::ir::InstBuilder;

use crate::lower::graph::{BufId, Call, Graph, Region, Stmt};
use crate::lower::{Product, mentions};
use crate::run::Workspace;
pub use jit::CompileError;
use ode::{OdeCode, Systems};

/// The compiled form of a graph: one function for each of its programs. Shared by threads; each brings a [`Workspace`].
pub struct Kernels {
    pub log_joint: LogJoint,
    report: Program,
    time: Duration,
}

/// The programs for the log joint alone, and with its gradient.
pub struct LogJoint {
    value: Program,
    gradient: Program,
}

struct Program {
    code: jit::Code,
    /// Numbers of lane scratch that it takes.
    scratch: usize,
    /// Cells to be 0 at the start.
    zeroed: Vec<(BufId, Range<usize>)>,
    /// What the code points to.
    _calls: Vec<Call>,
    _odes: Vec<Arc<OdeCode>>,
}

/// Compile the three programs of a graph.
pub fn compile(graph: &Graph) -> Result<Kernels, CompileError> {
    let start = Instant::now();
    let systems = &mut Systems::new();
    let value = program(graph, "value", &graph.value, false, systems, None)?;
    let gradient = program(graph, "gradient", &graph.gradient, false, systems, None)?;
    let report = program(graph, "report", &graph.report, false, systems, None)?;
    Ok(Kernels { log_joint: LogJoint { value, gradient }, report, time: start.elapsed() })
}

/// The log joint and its gradient with products of matrices in single precision, and what they hand on to each other. To be run in a
/// workshop of that precision.
pub struct SingleKernels {
    pub log_joint: LogJoint,
    living: Option<Living>,
    given: Vec<BufId>,
}

/// Params that only products of matrices read in a gradient run, and whose slopes only these write: they may live in the workshop's
/// copies.
#[derive(Clone, Debug)]
pub struct Living {
    pub theta: BufId,
    pub slopes: BufId,
    /// Stretches of theta, in order.
    pub cells: Vec<Range<usize>>,
}

/// Compile the log joint and its gradient so. `points`: which coordinates are params.
pub fn compile_single(graph: &Graph, points: &[bool]) -> Result<SingleKernels, CompileError> {
    let systems = &mut Systems::new();
    let mut single = Single { in_place: copies::in_place(graph), points: &[], living: vec![] };
    let value = program(graph, "value", &graph.value, false, systems, Some(&mut single))?;
    single.points = points;
    let gradient = program(graph, "gradient", &graph.gradient, false, systems, Some(&mut single))?;
    let cells = single.living;
    let living = graph.theta.zip(graph.grad).filter(|_| !cells.is_empty());
    let living = living.map(|(theta, slopes)| Living { theta, slopes, cells });
    Ok(SingleKernels { log_joint: LogJoint { value, gradient }, living, given: copies::given(graph) })
}

/// What is single in a program.
struct Single<'p> {
    /// Buffers that hold such numbers.
    in_place: HashSet<BufId>,
    /// Params that may live in single precision, and then those that do.
    points: &'p [bool],
    living: Vec<Range<usize>>,
}

impl SingleKernels {
    /// The params that may live in single precision, if there are some.
    pub fn living(&self) -> Option<&Living> {
        self.living.as_ref()
    }

    /// The inputs whose copies may be given.
    pub fn given(&self) -> &[BufId] {
        &self.given
    }
}

/// The compiled form of a program for products with the Hessian.
pub struct ProductKernel(Program);

/// Compile a program for products with the Hessian.
pub fn compile_product(product: &Product) -> Result<ProductKernel, CompileError> {
    let graph = &product.graph;
    program(graph, "product", &graph.gradient, false, &mut Systems::new(), None).map(ProductKernel)
}

impl ProductKernel {
    /// The Hessian at the workspace's theta times the workspace's direction, in place of the gradient.
    pub fn run(&self, ws: &mut Workspace) {
        self.0.run(ws);
    }
}

/// Cranelift's text and the machine code of every program, for people.
pub fn listing(graph: &Graph) -> Result<String, CompileError> {
    let mut text = String::new();
    for (name, regions) in [("value", &graph.value), ("gradient", &graph.gradient), ("report", &graph.report)] {
        let start = Instant::now();
        let program = program(graph, name, regions, true, &mut Systems::new(), None)?;
        text += &format!("; {name}: compiled in {:.1} ms\n", start.elapsed().as_secs_f64() * 1e3);
        text += program.code.listing.as_deref().unwrap_or_default();
    }
    Ok(text)
}

fn program(
    graph: &Graph,
    name: &str,
    regions: &[Region],
    listing: bool,
    systems: &mut Systems,
    single: Option<&mut Single>,
) -> Result<Program, CompileError> {
    let mut regions = regions.to_vec();
    let zeroed = begin::begin_sums(graph, &mut regions);
    let none = HashSet::new();
    let in_place = match single {
        Some(single) => {
            single.living = copies::living(graph, single.points, &regions);
            copies::mark(graph, &mut regions, &single.living, &single.in_place);
            &single.in_place
        }
        None => &none,
    };
    let regions: Vec<Region> = regions.iter().map(|r| desugar::desugar(r, plan::lane_loop(r))).collect();
    let plans: Vec<plan::Plan> = regions.iter().map(|r| plan::plan(r, in_place)).collect();
    let call = |s: &Stmt| match s {
        Stmt::Call(call) => Some(call.clone()),
        Stmt::Let(..)
        | Stmt::Reduce { .. }
        | Stmt::Contract { .. }
        | Stmt::ContractT { .. }
        | Stmt::Store { .. }
        | Stmt::Accum { .. } => None,
    };
    let calls: Vec<Call> = regions.iter().flat_map(|r| &r.body).filter_map(call).collect();
    let odes = ode::compile(&calls, systems)?;
    let mut scratch = 0;
    let code = jit::compile(name, listing, |b, imports, table| {
        let target = imports.target();
        let mut emitter = emit::Emitter::new(b, imports, graph, &odes, table, in_place);
        for plan in &plans {
            emitter.imports.single = is_touched(plan.region, in_place);
            emitter.region(plan);
        }
        scratch = emitter.scratch;
        emitter.b.ins().return_(&[]);
        emitter.b.seal_all_blocks();
        emitter.b.finalize(target);
    })?;
    Ok(Program { code, scratch, zeroed, _calls: calls, _odes: odes })
}

/// Whether a region reads or writes one of the buffers.
fn is_touched(region: &Region, bufs: &HashSet<BufId>) -> bool {
    let mut found = false;
    mentions(region, &mut |buf, _, _| found |= bufs.contains(&buf));
    found
}

impl Program {
    fn run(&self, ws: &mut Workspace) {
        ws.reserve_lanes(self.scratch);
        for (id, cells) in &self.zeroed {
            ws.buffer_mut(*id)[cells.clone()].fill(0.0);
        }
        // The workspace was laid out for the graph that the code was compiled for.
        unsafe { (self.code.entry)(ws.table()) };
    }
}

impl LogJoint {
    /// The log joint at the workspace's theta.
    pub fn value(&self, ws: &mut Workspace) -> f64 {
        self.value.run(ws);
        ws.log_joint()
    }

    /// The log joint, with its gradient in the workspace, or in the workshop where it lives there.
    pub fn gradient(&self, ws: &mut Workspace) -> f64 {
        self.gradient.run(ws);
        ws.log_joint()
    }
}

impl Kernels {
    /// What the report reads: constrained latents, lets, reports, each in its buffer.
    pub fn report(&self, ws: &mut Workspace) {
        self.report.run(ws);
    }

    /// How long compiling took.
    pub fn compile_time(&self) -> Duration {
        self.time
    }
}
