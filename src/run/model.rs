//! A compiled model as inference sees it.

use super::Workspace;
use super::interp::Interp;
use crate::codegen::{self, CompileError, Kernels};
use crate::infer::{Evaluator, Target};
use crate::lower::graph::{BufId, Graph};

/// A graph with its kernels, and what its coordinates are called. Where there is no compiler for the processor, the
/// interpreter runs the graph.
pub struct Model {
    graph: Graph,
    kernels: Result<Kernels, CompileError>,
    names: Vec<String>,
    points: Vec<bool>,
    start: Vec<f64>,
}

impl Model {
    /// `names`, `points` and `start` have an entry per coordinate of theta.
    pub fn new(graph: Graph, names: Vec<String>, points: Vec<bool>, start: Vec<f64>) -> Model {
        let kernels = codegen::compile(&graph);
        Model { graph, kernels, names, points, start }
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

    fn engine(&self) -> Engine<'_> {
        match &self.kernels {
            Ok(kernels) => Engine::Compiled(kernels, Workspace::new(&self.graph)),
            Err(_) => Engine::Interpreted(Interp::new(&self.graph)),
        }
    }
}

/// What runs a graph in one thread, with the buffers it writes.
enum Engine<'m> {
    Compiled(&'m Kernels, Workspace),
    Interpreted(Interp<'m>),
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

    fn evaluator(&self) -> Box<dyn Evaluator + '_> {
        Box::new(self.engine())
    }
}

impl Evaluator for Engine<'_> {
    fn value_grad(&mut self, theta: &[f64], grad: &mut [f64]) -> f64 {
        match self {
            Engine::Compiled(kernels, workspace) => {
                workspace.theta_mut().copy_from_slice(theta);
                let value = kernels.gradient(workspace);
                grad.copy_from_slice(workspace.grad());
                value
            }
            Engine::Interpreted(interp) => interp.value_grad(theta, grad),
        }
    }

    fn value(&mut self, theta: &[f64]) -> f64 {
        match self {
            Engine::Compiled(kernels, workspace) => {
                workspace.theta_mut().copy_from_slice(theta);
                kernels.value(workspace)
            }
            Engine::Interpreted(interp) => interp.value(theta),
        }
    }
}

/// Computes what the user named, draw by draw.
pub struct Reporter<'m>(Engine<'m>);

impl Reporter<'_> {
    /// Fill every buffer of the report at `theta`.
    pub fn run(&mut self, theta: &[f64]) {
        match &mut self.0 {
            Engine::Compiled(kernels, workspace) => {
                workspace.theta_mut().copy_from_slice(theta);
                kernels.report(workspace);
            }
            Engine::Interpreted(interp) => interp.report(theta),
        }
    }

    /// The numbers of a buffer after the last run.
    pub fn buffer(&self, id: BufId) -> &[f64] {
        match &self.0 {
            Engine::Compiled(_, workspace) => workspace.buffer(id),
            Engine::Interpreted(interp) => interp.buffer(id),
        }
    }
}
