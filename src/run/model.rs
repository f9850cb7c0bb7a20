//! A compiled model as inference sees it.

use std::sync::Arc;

use std::sync::OnceLock;

use super::Workspace;
use super::interp::Interp;
use crate::codegen::{self, CompileError, Kernels, Living, LogJoint, ProductKernel, SingleKernels};
use crate::infer::{Evaluator, Role, Target};
use crate::lower::graph::{BufId, BufKind, Graph};
use crate::lower::{self, Product};

/// A graph with its kernels, and what its coordinates are called. Where there is no compiler for the processor, the
/// interpreter runs the graph.
pub struct Model {
    graph: Graph,
    kernels: Result<Kernels, CompileError>,
    /// Made when products in single precision are first asked for.
    single: OnceLock<Option<SingleKernels>>,
    /// Made when a product with the Hessian is first asked for.
    second: OnceLock<Option<Second>>,
    /// Found when they are first asked for.
    interactions: OnceLock<Option<Vec<Vec<u32>>>>,
    /// The log joint with an input per coordinate that is not a point, after all others: see `derive::parts`.
    parts: OnceLock<Box<Model>>,
    names: Vec<String>,
    points: Vec<bool>,
    start: Vec<f64>,
    /// Of a written guide: what it makes of the coordinates, and the buffers of the latents that it draws.
    written: Option<(Vec<Role>, Vec<BufId>)>,
}

/// What multiplies by the Hessian.
struct Second {
    product: Product,
    kernel: Result<ProductKernel, CompileError>,
}

impl Model {
    /// `names`, `points` and `start` have an entry per coordinate of theta.
    pub fn new(graph: Graph, names: Vec<String>, points: Vec<bool>, start: Vec<f64>) -> Model {
        let kernels = codegen::compile(&graph);
        Model {
            graph,
            kernels,
            single: OnceLock::new(),
            second: OnceLock::new(),
            interactions: OnceLock::new(),
            parts: OnceLock::new(),
            names,
            points,
            start,
            written: None,
        }
    }

    /// With a written guide: the role of each coordinate, and the buffers of the latents.
    pub fn with_guide(mut self, roles: Vec<Role>, latents: Vec<BufId>) -> Model {
        self.written = Some((roles, latents));
        self
    }

    /// Take the log joint apart by `parts` from now on; the first that are given stay.
    pub fn give_parts(&self, parts: Model) {
        self.parts.get_or_init(|| Box::new(parts));
    }

    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The kernels, or why there are none.
    pub fn kernels(&self) -> Result<&Kernels, &CompileError> {
        self.kernels.as_ref()
    }

    /// Runs the report program.
    pub fn reporter(&self) -> Reporter<'_> {
        Reporter(self.engine())
    }

    /// An evaluator whose data are given from outside.
    pub fn fed(&self) -> Fed<'_> {
        Fed(match &self.kernels {
            Ok(kernels) => Kept::Compiled(kernels, None, Workspace::new(&self.graph)),
            Err(_) => self.interpreted(),
        })
    }

    /// The same with products of matrices in single precision, to be run in a workshop of that.
    pub fn fed_in_single(&self) -> Fed<'_> {
        let mut fed = self.fed();
        if let Kept::Compiled(_, single, _) = &mut fed.0 {
            *single = self.single.get_or_init(|| codegen::compile_single(&self.graph, &self.points).ok()).as_ref();
        }
        fed
    }

    /// The same model for draws of these buffers alone: what is reported besides is not computed.
    pub fn reporting(&self, wanted: &[BufId]) -> Model {
        let graph = lower::reporting(&self.graph, wanted);
        Model::new(graph, self.names.clone(), self.points.clone(), self.start.clone())
    }

    /// Of the report, what changes with the coordinates that are `drawn`: for evaluators of this model that have made all of it before.
    pub fn redrawing(&self, drawn: &[bool]) -> Model {
        let graph = lower::redrawing(&self.graph, drawn);
        Model::new(graph, self.names.clone(), self.points.clone(), self.start.clone())
    }

    /// Such an evaluator, interpreted.
    pub fn fed_plainly(&self) -> Fed<'_> {
        Fed(self.interpreted())
    }

    fn interpreted(&self) -> Kept<'_> {
        let zeros = vec![0.0; self.graph.dim];
        Kept::Interpreted(Box::new(self.graph.clone()), zeros.clone(), zeros)
    }

    fn engine(&self) -> Engine<'_> {
        let first = match &self.kernels {
            Ok(kernels) => First::Compiled(kernels, Workspace::new(&self.graph)),
            Err(_) => First::Interpreted(Interp::new(&self.graph)),
        };
        Engine { model: self, first, products: None, parts: None }
    }

    fn second(&self) -> Option<&Second> {
        let make = || {
            let product = self.graph.second.as_ref()?.product();
            let kernel = codegen::compile_product(&product);
            Some(Second { product, kernel })
        };
        self.second.get_or_init(make).as_ref()
    }
}

/// What runs a graph in one thread, with the buffers it writes.
struct Engine<'m> {
    model: &'m Model,
    first: First<'m>,
    /// None until asked for.
    products: Option<Products<'m>>,
    /// None until asked for: what runs the parts, its theta and its gradient.
    parts: Option<(Box<Engine<'m>>, Vec<f64>, Vec<f64>)>,
}

/// Runs the programs of the graph itself.
enum First<'m> {
    Compiled(&'m Kernels, Workspace),
    Interpreted(Interp<'m>),
}

impl First<'_> {
    fn report(&mut self, theta: &[f64]) {
        match self {
            First::Compiled(kernels, workspace) => {
                workspace.theta_mut().copy_from_slice(theta);
                kernels.report(workspace);
            }
            First::Interpreted(interp) => interp.report(theta),
        }
    }

    fn buffer(&self, id: BufId) -> &[f64] {
        match self {
            First::Compiled(_, workspace) => workspace.buffer(id),
            First::Interpreted(interp) => interp.buffer(id),
        }
    }
}

/// Runs the program for products with the Hessian.
enum Products<'m> {
    Compiled(&'m Product, &'m ProductKernel, Workspace),
    Interpreted(&'m Product, Interp<'m>),
}

impl<'m> Products<'m> {
    fn new(second: &'m Second) -> Products<'m> {
        let Second { product, kernel } = second;
        match kernel {
            Ok(kernel) => Products::Compiled(product, kernel, Workspace::new(&product.graph)),
            Err(_) => Products::Interpreted(product, Interp::new(&product.graph)),
        }
    }

    fn run(&mut self, theta: &[f64], direction: &[f64], out: &mut [f64]) {
        match self {
            Products::Compiled(product, kernel, workspace) => {
                workspace.theta_mut().copy_from_slice(theta);
                workspace.buffer_mut(product.direction).copy_from_slice(direction);
                kernel.run(workspace);
                out.copy_from_slice(workspace.grad());
            }
            Products::Interpreted(product, interp) => interp.product(product, theta, direction, out),
        }
    }
}

impl Target for Model {
    fn dim(&self) -> usize {
        self.graph.dim
    }

    fn points(&self) -> Vec<bool> {
        self.points.clone()
    }

    fn start(&self) -> Vec<f64> {
        self.start.clone()
    }

    fn names(&self) -> Vec<String> {
        self.names.clone()
    }

    fn has_products(&self) -> bool {
        self.graph.second.is_some()
    }

    fn has_parts(&self) -> bool {
        self.parts.get().is_some()
    }

    fn roles(&self) -> Option<Vec<Role>> {
        self.written.as_ref().map(|w| w.0.clone())
    }

    fn interactions(&self) -> Option<&[Vec<u32>]> {
        self.interactions.get_or_init(|| lower::interactions(&self.graph)).as_deref()
    }

    fn evaluator(&self) -> Box<dyn Evaluator + '_> {
        Box::new(self.engine())
    }
}

impl Evaluator for Engine<'_> {
    fn value_grad(&mut self, theta: &[f64], grad: &mut [f64]) -> f64 {
        match &mut self.first {
            First::Compiled(kernels, workspace) => {
                workspace.theta_mut().copy_from_slice(theta);
                let value = kernels.log_joint.gradient(workspace);
                grad.copy_from_slice(workspace.grad());
                value
            }
            First::Interpreted(interp) => interp.value_grad(theta, grad),
        }
    }

    fn value(&mut self, theta: &[f64]) -> f64 {
        match &mut self.first {
            First::Compiled(kernels, workspace) => {
                workspace.theta_mut().copy_from_slice(theta);
                kernels.log_joint.value(workspace)
            }
            First::Interpreted(interp) => interp.value(theta),
        }
    }

    fn value_parts(&mut self, theta: &[f64], parts: &mut [f64]) -> f64 {
        if self.parts.is_none() {
            let whole = self.model.parts.get();
            self.parts = whole.map(|m| (Box::new(m.engine()), vec![0.0; m.dim()], vec![0.0; m.dim()]));
        }
        let Some((engine, inputs, gradient)) = &mut self.parts else {
            let value = self.value(theta);
            parts.fill(value);
            return value;
        };
        inputs[..theta.len()].copy_from_slice(theta);
        let value = engine.value_grad(inputs, gradient);
        let mut probes = gradient[theta.len()..].iter();
        for (part, point) in parts.iter_mut().zip(&self.model.points) {
            *part = if *point { value } else { *probes.next().expect("an input per coordinate that is not a point") };
        }
        value
    }

    fn hessian_times(&mut self, theta: &[f64], direction: &[f64], out: &mut [f64]) -> bool {
        if self.products.is_none() {
            self.products = self.model.second().map(Products::new);
        }
        let Some(products) = &mut self.products else { return false };
        products.run(theta, direction, out);
        true
    }

    fn latents(&mut self, theta: &[f64]) -> Vec<f64> {
        let Some((_, latents)) = &self.model.written else { return theta.to_vec() };
        self.first.report(theta);
        latents.iter().flat_map(|b| self.first.buffer(*b)).copied().collect()
    }
}

/// Evaluates the log joint on data that change from call to call.
pub struct Fed<'m>(Kept<'m>);

/// The compiled program, and that in single precision if it is asked for; or the graph with data of its own for the interpreter, theta
/// and the gradient.
enum Kept<'m> {
    Compiled(&'m Kernels, Option<&'m SingleKernels>, Workspace),
    Interpreted(Box<Graph>, Vec<f64>, Vec<f64>),
}

/// In single precision if that is asked for.
fn log_joint<'m>(kernels: &'m Kernels, single: Option<&'m SingleKernels>) -> &'m LogJoint {
    single.map_or(&kernels.log_joint, |s| &s.log_joint)
}

impl<'m> Fed<'m> {
    /// The params that may live in a workshop's copies, if there are some.
    pub fn living(&self) -> Option<&'m Living> {
        match &self.0 {
            Kept::Compiled(_, single, _) => single.and_then(|s| s.living()),
            Kept::Interpreted(..) => None,
        }
    }

    /// The inputs of which products read copies in single precision.
    pub fn given(&self) -> &'m [BufId] {
        match &self.0 {
            Kept::Compiled(_, single, _) => single.map_or(&[], |s| s.given()),
            Kept::Interpreted(..) => &[],
        }
    }

    /// The graph with its present data, if it is interpreted.
    pub fn graph(&self) -> Option<&Graph> {
        match &self.0 {
            Kept::Compiled(..) => None,
            Kept::Interpreted(graph, ..) => Some(graph),
        }
    }

    /// Change the numbers of an input buffer.
    pub fn numbers(&mut self, id: BufId, fill: impl FnOnce(&mut [f64])) {
        match &mut self.0 {
            Kept::Compiled(.., workspace) => fill(workspace.buffer_mut(id)),
            Kept::Interpreted(graph, ..) => {
                let buffer = &mut graph.buffers[id.0 as usize];
                let mut numbers = match &buffer.kind {
                    BufKind::Data(numbers) => numbers.to_vec(),
                    BufKind::Input | BufKind::Index(_) | BufKind::Scratch { .. } => vec![0.0; buffer.len],
                };
                fill(&mut numbers);
                buffer.kind = BufKind::Data(numbers.into());
            }
        }
    }

    /// Change the entries of an index buffer; each must be a position of its plate.
    pub fn positions(&mut self, id: BufId, fill: impl FnOnce(&mut [u32])) {
        match &mut self.0 {
            Kept::Compiled(.., workspace) => fill(workspace.positions_mut(id)),
            Kept::Interpreted(graph, ..) => {
                if let BufKind::Index(entries) = &mut graph.buffers[id.0 as usize].kind {
                    fill(Arc::make_mut(entries));
                }
            }
        }
    }

    /// The unconstrained latents, to be set before a run.
    pub fn theta(&mut self) -> &mut [f64] {
        match &mut self.0 {
            Kept::Compiled(.., workspace) => workspace.theta_mut(),
            Kept::Interpreted(_, theta, _) => theta,
        }
    }

    /// Theta and its slopes, those of the last gradient run.
    pub fn params(&mut self) -> (&mut [f64], &mut [f64]) {
        match &mut self.0 {
            Kept::Compiled(.., workspace) => workspace.params(),
            Kept::Interpreted(_, theta, gradient) => (theta, gradient),
        }
    }

    /// The log joint at theta, with its gradient in `by_theta`.
    pub fn gradient(&mut self) -> f64 {
        match &mut self.0 {
            Kept::Compiled(kernels, single, workspace) => log_joint(kernels, *single).gradient(workspace),
            Kept::Interpreted(graph, theta, gradient) => Interp::new(graph).value_grad(theta, gradient),
        }
    }

    pub fn by_theta(&self) -> &[f64] {
        match &self.0 {
            Kept::Compiled(.., workspace) => workspace.grad(),
            Kept::Interpreted(_, _, gradient) => gradient,
        }
    }

    /// The log joint at theta.
    pub fn value(&mut self) -> f64 {
        match &mut self.0 {
            Kept::Compiled(kernels, single, workspace) => log_joint(kernels, *single).value(workspace),
            Kept::Interpreted(graph, theta, _) => Interp::new(graph).value(theta),
        }
    }

    /// Fill every buffer of the report at theta as it is set, and hand out these one after the other.
    pub fn numbers_of(
        &mut self,
        ids: impl Iterator<Item = BufId>,
        again: Option<&Model>,
        mut take: impl FnMut(&[f64]),
    ) {
        match &mut self.0 {
            Kept::Compiled(kernels, _, workspace) => {
                again.and_then(|m| m.kernels.as_ref().ok()).unwrap_or(kernels).report(workspace);
                ids.for_each(|id| take(workspace.buffer(id)));
            }
            Kept::Interpreted(graph, theta, _) => {
                let mut interp = Interp::new(graph);
                interp.report(theta);
                ids.for_each(|id| take(interp.buffer(id)));
            }
        }
    }

    /// Fill every buffer of the report at theta as it is set, and hand out those that are asked for. `again`: the part of the report
    /// ([`Model::redrawing`]) that suffices since the last time.
    pub fn report(&mut self, again: Option<&Model>, mut take: impl FnMut(&dyn Fn(BufId) -> Vec<f64>)) {
        match &mut self.0 {
            Kept::Compiled(kernels, _, workspace) => {
                again.and_then(|m| m.kernels.as_ref().ok()).unwrap_or(kernels).report(workspace);
                take(&|id| workspace.buffer(id).to_vec());
            }
            Kept::Interpreted(graph, theta, _) => {
                let mut interp = Interp::new(graph);
                interp.report(theta);
                take(&|id| interp.buffer(id).to_vec());
            }
        }
    }
}

/// Computes what the user named, draw by draw.
pub struct Reporter<'m>(Engine<'m>);

impl Reporter<'_> {
    /// Fill every buffer of the report at `theta`.
    pub fn run(&mut self, theta: &[f64]) {
        self.0.first.report(theta);
    }

    /// The numbers of a buffer after the last run.
    pub fn buffer(&self, id: BufId) -> &[f64] {
        self.0.first.buffer(id)
    }
}
