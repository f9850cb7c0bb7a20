//! A builder of small joints with data, a plain evaluator for them, and the checks that every test model must pass.

use std::collections::HashMap;

use crate::codegen;
use crate::data::{Bound, PlateData, Values};
use crate::derive::joint::*;
use crate::diag::Diags;
use crate::hir::{AxisId, AxisInfo, Hir, Plate, PlateId, PlateKind, VarId};
use crate::lower::graph::Graph;
use crate::lower::{Layout, lower, verify};
use crate::run::{Workspace, interp::Interp};
use crate::source::{FileId, Span};

#[derive(Default)]
pub struct Model {
    pub hir: Hir,
    pub joint: Joint,
    pub bound: Bound,
}

/// A place in the model's text, to be recognised in messages.
pub fn at(start: usize) -> Span {
    Span::new(FileId(0), start, start + 1)
}

impl Model {
    /// A plate with labels 1..n; its own axis.
    pub fn plate(&mut self, name: &str, size: usize) -> AxisId {
        let plate = PlateId(self.hir.plates.len() as u32);
        let axis = self.axis(name, plate);
        self.hir.plates.push(Plate { name: name.into(), span: at(0), kind: PlateKind::Labels(vec![]), axis });
        self.bound.plates.push(PlateData {
            size,
            labels: (1..=size).map(|i| i.to_string()).collect(),
            file: format!("{name}.csv"),
            lines: (2..size as u64 + 2).collect(),
        });
        axis
    }

    /// One more axis over the plate of `like`.
    pub fn binder(&mut self, name: &str, like: AxisId) -> AxisId {
        self.axis(name, self.hir.axis(like).plate)
    }

    fn axis(&mut self, name: &str, plate: PlateId) -> AxisId {
        self.hir.axes.push(AxisInfo { plate, name: name.into() });
        AxisId(self.hir.axes.len() as u32 - 1)
    }

    fn slot(&mut self, name: &str, axes: &[AxisId], kind: SlotKind) -> SlotId {
        let dims = axes.iter().map(|&a| self.hir.axis(a).plate).collect();
        self.joint.slots.push(Slot { name: name.into(), dims, kind });
        SlotId(self.joint.slots.len() as u32 - 1)
    }

    pub fn data(&mut self, name: &str, axes: &[AxisId], numbers: impl IntoIterator<Item = f64>) -> SlotId {
        let var = VarId(self.joint.slots.len() as u32);
        let slot = self.slot(name, axes, SlotKind::Data(var));
        let dims: Vec<usize> = self.dims(slot);
        let numbers: Vec<f64> = numbers.into_iter().collect();
        assert_eq!(numbers.len(), dims.iter().product::<usize>(), "{name}");
        self.bound.values.insert(var, Values { dims, numbers: numbers.into() });
        slot
    }

    pub fn table(&mut self, table: Table, axes: &[AxisId]) -> SlotId {
        self.slot("table", axes, SlotKind::Table(table))
    }

    pub fn latent(&mut self, name: &str, axes: &[AxisId]) -> SlotId {
        let var = VarId(1000 + self.joint.slots.len() as u32);
        let slot = self.slot(name, axes, SlotKind::Unconstrained(var));
        self.joint.unconstrained.push(Unconstrained { var, slot, point: false, start: None, axes: axes.to_vec() });
        slot
    }

    pub fn define(&mut self, name: &str, axes: &[AxisId], value: NodeId) -> SlotId {
        let slot = self.slot(name, axes, SlotKind::Defined);
        let span = at(100 + self.joint.defs.len());
        let def = Def { var: Some(VarId(0)), ..Def::new(slot, axes.to_vec(), value, span) };
        self.joint.defs.push(def);
        slot
    }

    /// A slot that a later [`Model::walk`] computes.
    pub fn walked(&mut self, name: &str, axes: &[AxisId]) -> SlotId {
        self.slot(name, axes, SlotKind::Defined)
    }

    /// Compute slots together, each as `(slot, axes, walked axis, value)`.
    pub fn walk(&mut self, defs: &[(SlotId, &[AxisId], AxisId, NodeId)], order: Option<SlotId>, backwards: bool) {
        let group = self.joint.defs.len() as u32;
        for &(slot, axes, axis, value) in defs {
            let span = at(100 + self.joint.defs.len());
            let walk = Some(Walk { axis, order, backwards, group });
            let (axes, var) = (axes.to_vec(), Some(VarId(slot.0)));
            self.joint.defs.push(Def { var, walk, ..Def::new(slot, axes, value, span) });
        }
    }

    /// The cell `by` before (or, negative, after) the current one.
    pub fn earlier(&mut self, axis: AxisId, by: f64) -> Ix {
        let (at, by) = (self.position(axis), self.c(by));
        Ix::At(self.sub(at, by))
    }

    pub fn term(&mut self, name: &str, axes: &[AxisId], value: NodeId) {
        self.term_where(name, axes, None, value);
    }

    pub fn term_where(&mut self, name: &str, axes: &[AxisId], filter: Option<NodeId>, value: NodeId) {
        let span = at(200 + self.joint.terms.len());
        let (name, axes) = (name.to_string(), axes.to_vec());
        self.joint.terms.push(Term { name, kind: TermKind::Likelihood, axes, filter, value, span });
    }

    pub fn c(&mut self, v: f64) -> NodeId {
        self.joint.constant(v)
    }

    pub fn read(&mut self, slot: SlotId, axes: &[AxisId]) -> NodeId {
        self.get(slot, axes.iter().map(|&a| Ix::Axis(a)).collect())
    }

    pub fn get(&mut self, slot: SlotId, index: Vec<Ix>) -> NodeId {
        self.joint.intern(Node::Read { slot, index })
    }

    pub fn position(&mut self, axis: AxisId) -> NodeId {
        self.joint.intern(Node::Position(axis))
    }

    pub fn un(&mut self, op: UnOp, a: NodeId) -> NodeId {
        self.joint.intern(Node::Unary(op, a))
    }

    pub fn bin(&mut self, op: BinOp, a: NodeId, b: NodeId) -> NodeId {
        self.joint.intern(Node::Binary(op, a, b))
    }

    pub fn add(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.bin(BinOp::Add, a, b)
    }

    pub fn sub(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.bin(BinOp::Sub, a, b)
    }

    pub fn mul(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.bin(BinOp::Mul, a, b)
    }

    pub fn div(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.bin(BinOp::Div, a, b)
    }

    pub fn exp(&mut self, a: NodeId) -> NodeId {
        self.un(UnOp::Exp, a)
    }

    pub fn log(&mut self, a: NodeId) -> NodeId {
        self.un(UnOp::Log, a)
    }

    pub fn iff(&mut self, c: NodeId, a: NodeId, b: NodeId) -> NodeId {
        self.joint.intern(Node::Select(c, a, b))
    }

    pub fn fold(&mut self, op: Fold, axes: &[AxisId], filter: Option<NodeId>, body: NodeId) -> NodeId {
        self.joint.intern(Node::Reduce { op, axes: axes.to_vec(), filter, body })
    }

    pub fn sum(&mut self, axis: AxisId, body: NodeId) -> NodeId {
        self.fold(Fold::Sum, &[axis], None, body)
    }

    /// log Normal(x | mu, sigma)
    pub fn normal(&mut self, x: NodeId, mu: NodeId, sigma: NodeId) -> NodeId {
        let d = self.sub(x, mu);
        let z = self.div(d, sigma);
        let two = self.c(2.0);
        let square = self.bin(BinOp::Pow, z, two);
        let half = self.c(-0.5);
        let square = self.mul(half, square);
        let l = self.log(sigma);
        let lp = self.sub(square, l);
        let c = self.c(-crate::prim::scalar::LN_SQRT_2PI);
        self.add(lp, c)
    }

    /// log Bernoulli(y | logit p = eta)
    pub fn bernoulli_logit(&mut self, y: NodeId, eta: NodeId) -> NodeId {
        let a = self.mul(y, eta);
        let b = self.un(UnOp::Softplus, eta);
        self.sub(a, b)
    }

    pub fn dims(&self, slot: SlotId) -> Vec<usize> {
        self.joint.slot(slot).dims.iter().map(|&p| self.size(p)).collect()
    }

    fn size(&self, plate: PlateId) -> usize {
        crate::lower::storage::plate_size(&self.hir, &self.bound, plate)
    }

    pub fn lower(&self) -> Result<(Graph, Layout), Diags> {
        let mut diags = Diags::default();
        lower(&self.hir, &self.joint, &self.bound, &mut diags).ok_or(diags)
    }

    /// Lower, and check everything that must hold of any model at these coordinates.
    pub fn check_at(&self, theta: &[f64]) -> Graph {
        let graph = self.check_gradient_at(theta);
        check_products(&graph, theta);
        graph
    }

    /// As [`Model::check_at`], without second derivatives.
    pub fn check_gradient_at(&self, theta: &[f64]) -> Graph {
        let (graph, layout) = self.lower().unwrap_or_else(|d| panic!("{:?}", d.list));
        assert_eq!(verify(&graph), Ok(()), "\n{graph}");
        assert_eq!(graph.dim, theta.len());
        let mut interp = Interp::new(&graph);
        let mut grad = vec![0.0; graph.dim];
        let value = interp.value(theta);
        let with_gradient = interp.value_grad(theta, &mut grad);
        let plain = Plain::new(self, theta);
        let want = plain.log_joint();
        // Sums are ordered differently and constants folded: agreement to rounding.
        close(value, want, 1e-11, || format!("log joint\n{graph}"));
        close(with_gradient, want, 1e-11, || format!("log joint of the gradient program\n{graph}"));
        self.check_report(&graph, &layout, &mut interp, theta, &plain);
        check_kernels(&graph, &layout, &mut interp, theta);
        for (i, &g) in grad.iter().enumerate() {
            let want = difference(
                |x| {
                    let mut at = theta.to_vec();
                    at[i] = x;
                    interp.value(&at)
                },
                theta[i],
            );
            // The formula of fourth order is good to about 1e-9 of a tame function; 1e-6 is the promise. Where two
            // steps of it differ, the function is too wild to tell better than that.
            let (want, doubt) = want;
            close(g, want, 1e-6 + 10.0 * doubt, || format!("d/d theta[{i}]\n{graph}"));
        }
        graph
    }

    fn check_report(&self, graph: &Graph, layout: &Layout, interp: &mut Interp, theta: &[f64], plain: &Plain) {
        interp.report(theta);
        for def in &self.joint.defs {
            let place = layout.place(def.slot).expect("every definition has a place");
            let got = &interp.buffer(place.buf)[place.offset..place.offset + place.len()];
            for (got, want) in got.iter().zip(&plain.tables[&def.slot]) {
                close(*got, *want, 1e-11, || format!("{}\n{graph}", place.name));
            }
        }
    }

    /// Check at one point.
    pub fn check_random(&self) {
        let dim = self.joint.unconstrained.iter().map(|u| self.dims(u.slot).iter().product::<usize>()).sum();
        let theta: Vec<f64> = (0..dim).map(|i| noise(i as u32 * 11 + 5)).collect();
        self.check_at(&theta);
    }

    /// Check at a few points, the same every time.
    pub fn check(&self) -> Graph {
        let dim = self.joint.unconstrained.iter().map(|u| self.dims(u.slot).iter().product::<usize>()).sum();
        let mut graph = None;
        for round in 0..3u32 {
            let theta: Vec<f64> = (0..dim).map(|i| noise(i as u32 * 7 + round * 1009)).collect();
            graph = Some(self.check_at(&theta));
        }
        graph.expect("three rounds")
    }
}

/// The kernels compute what the interpreter does, in all three programs. Sums over lanes are taken in another order.
fn check_kernels(graph: &Graph, layout: &Layout, interp: &mut Interp, theta: &[f64]) {
    let Ok(kernels) = codegen::compile(graph) else { return };
    let mut ws = Workspace::new(graph);
    ws.theta_mut().copy_from_slice(theta);
    let mut grad = vec![0.0; graph.dim];
    close(kernels.log_joint.value(&mut ws), interp.value(theta), 1e-12, || format!("log joint of the kernel\n{graph}"));
    let want = interp.value_grad(theta, &mut grad);
    close(kernels.log_joint.gradient(&mut ws), want, 1e-12, || format!("log joint of the gradient kernel\n{graph}"));
    for (i, (got, want)) in ws.grad().iter().zip(&grad).enumerate() {
        close(*got, *want, 1e-12, || format!("d/d theta[{i}] by the kernel\n{graph}"));
    }
    interp.report(theta);
    kernels.report(&mut ws);
    for place in layout.places.iter().flatten() {
        for (got, want) in ws.buffer(place.buf).iter().zip(interp.buffer(place.buf)) {
            close(*got, *want, 1e-12, || format!("{} by the kernel\n{graph}", place.name));
        }
    }
}

/// Products with the Hessian: as central differences of the gradient, symmetric, and the same from kernel and interpreter.
pub fn check_products(graph: &Graph, theta: &[f64]) {
    let Some(recipe) = &graph.second else { return };
    let product = recipe.product();
    assert_eq!(verify(&product.graph), Ok(()), "\n{}", product.graph);
    let dim = graph.dim;
    let direction = |seed: u32| -> Vec<f64> { (0..dim as u32).map(|i| noise(i * 17 + seed)).collect() };
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let (u, v) = (direction(3), direction(8));
    let mut interp = Interp::new(&product.graph);
    let (mut hu, mut hv) = (vec![0.0; dim], vec![0.0; dim]);
    interp.product(&product, theta, &u, &mut hu);
    interp.product(&product, theta, &v, &mut hv);
    let mut first = Interp::new(graph);
    let mut gradient = |step: f64| {
        let at: Vec<f64> = theta.iter().zip(&v).map(|(t, v)| t + step * v).collect();
        let mut g = vec![0.0; dim];
        first.value_grad(&at, &mut g);
        g
    };
    let fourth = |g: &mut dyn FnMut(f64) -> Vec<f64>, h: f64| -> Vec<f64> {
        let g = [h, -h, 2.0 * h, -2.0 * h].map(&mut *g);
        (0..dim).map(|i| (8.0 * (g[0][i] - g[1][i]) - (g[2][i] - g[3][i])) / (12.0 * h)).collect()
    };
    let (fine, coarse) = (fourth(&mut gradient, 1e-3), fourth(&mut gradient, 2e-3));
    // Rounding of the largest entries reaches the small ones.
    let size = hv.iter().fold(0.0, |m: f64, h| m.max(h.abs()));
    for i in 0..dim {
        // As for gradients: 1e-6 is the promise, and two steps tell how wild the function is.
        let doubt = (fine[i] - coarse[i]).abs() / (1.0 + size);
        let error = (hv[i] - fine[i]).abs() / (1.0 + size);
        let said = || format!("{} is not {}: row {i} of the product\n{}", hv[i], fine[i], product.graph);
        assert!(error <= 1e-6 + 10.0 * doubt || !fine[i].is_finite(), "{}", said());
    }
    let scale: f64 = u.iter().zip(&hv).map(|(u, h)| (u * h).abs()).sum();
    let (uhv, vhu) = (dot(&u, &hv), dot(&v, &hu));
    assert!((uhv - vhu).abs() <= 1e-10 * (1.0 + scale) || !uhv.is_finite(), "{uhv} is not {vhu}\n{}", product.graph);
    let Ok(kernel) = codegen::compile_product(&product) else { return };
    let mut ws = Workspace::new(&product.graph);
    ws.theta_mut().copy_from_slice(theta);
    ws.buffer_mut(product.direction).copy_from_slice(&v);
    kernel.run(&mut ws);
    for (got, want) in ws.grad().iter().zip(&hv) {
        let same = got == want || (got.is_nan() && want.is_nan()) || (got - want).abs() <= 1e-11 * (1.0 + size);
        assert!(same, "{got} is not {want} by the kernel\n{}", product.graph);
    }
}

/// Numbers in (-1, 1) that look random.
pub fn noise(i: u32) -> f64 {
    let x = f64::from(i.wrapping_mul(2_654_435_761).rotate_left(13) % 100_003);
    2.0 * (x + 0.5) / 100_003.0 - 1.0
}

pub fn close(got: f64, want: f64, tolerance: f64, what: impl Fn() -> String) {
    let same = got == want || (got.is_nan() && want.is_nan());
    assert!(same || (got - want).abs() <= tolerance * (1.0 + want.abs()), "{got} is not {want}: {}", what());
}

/// Central difference of fourth order, and how much it differs from one with twice the step, relatively.
pub fn difference(mut f: impl FnMut(f64) -> f64, x: f64) -> (f64, f64) {
    let h = 1e-3 * (1.0 + x.abs());
    let mut d = |h: f64| {
        let (a, b) = (f(x + h) - f(x - h), f(x + 2.0 * h) - f(x - 2.0 * h));
        (8.0 * a - b) / (12.0 * h)
    };
    let (fine, coarse) = (d(h), d(2.0 * h));
    (fine, (fine - coarse).abs() / (1.0 + fine.abs()))
}

/// The joint evaluated node by node, cell by cell: slow and obvious.
pub struct Plain<'m> {
    m: &'m Model,
    tables: HashMap<SlotId, Vec<f64>>,
}

type Cell = HashMap<AxisId, usize>;

impl<'m> Plain<'m> {
    pub fn new(m: &'m Model, theta: &[f64]) -> Plain<'m> {
        let mut plain = Plain { m, tables: HashMap::new() };
        let mut offset = 0;
        for u in &m.joint.unconstrained {
            let n = m.dims(u.slot).iter().product::<usize>();
            plain.tables.insert(u.slot, theta[offset..offset + n].to_vec());
            offset += n;
        }
        for (i, slot) in m.joint.slots.iter().enumerate() {
            let id = SlotId(i as u32);
            match &slot.kind {
                SlotKind::Data(var) => {
                    plain.tables.insert(id, m.bound.values[var].numbers.to_vec());
                }
                SlotKind::Table(table) => {
                    let dims = m.dims(id);
                    let cells = (0..dims.iter().product()).map(|c: usize| {
                        let (i, j) = (c % dims[0], c / dims[0]);
                        match table {
                            Table::IlrBasis if i <= j => 1.0 / (((j + 1) * (j + 2)) as f64).sqrt(),
                            Table::IlrBasis if i == j + 1 => -(i as f64) / (((j + 1) * (j + 2)) as f64).sqrt(),
                            Table::IlrBasis => 0.0,
                            Table::LowerTriangle => f64::from(u8::from(j <= i)),
                            Table::Positions => c as f64,
                        }
                    });
                    plain.tables.insert(id, cells.collect());
                }
                SlotKind::Missing(_)
                | SlotKind::MissingAt(..)
                | SlotKind::Unconstrained(_)
                | SlotKind::Discrete(_)
                | SlotKind::Defined => {}
            }
        }
        let group = |d: &Def| d.walk.as_ref().map(|w| w.group);
        for defs in m.joint.defs.chunk_by(|a, b| group(a).is_some() && group(a) == group(b)) {
            if let Some(walk) = &defs[0].walk {
                plain.walk(defs, walk);
                continue;
            }
            let mut cells = vec![];
            plain.each(&defs[0].axes, &Cell::new(), &mut |p, cell| cells.push(p.node(defs[0].value, cell)));
            plain.tables.insert(defs[0].slot, cells);
        }
        plain
    }

    /// Step by step, every definition of the group at each.
    fn walk(&mut self, defs: &[Def], walk: &Walk) {
        for def in defs {
            let cells = self.m.dims(def.slot).iter().product();
            self.tables.insert(def.slot, vec![f64::NAN; cells]);
        }
        let n = self.m.size(self.m.hir.axis(walk.axis).plate);
        for step in 0..n {
            let step = if walk.backwards { n - 1 - step } else { step };
            let at = walk.order.map_or(step, |order| self.tables[&order][step] as usize);
            for def in defs {
                let axis = def.walk.as_ref().expect("one of a group").axis;
                let mut cells = vec![];
                let mut i = 0;
                self.each(&def.axes, &Cell::new(), &mut |p, cell| {
                    if cell[&axis] == at {
                        cells.push((i, p.node(def.value, cell)));
                    }
                    i += 1;
                });
                let table = self.tables.get_mut(&def.slot).expect("just made");
                cells.into_iter().for_each(|(i, v)| table[i] = v);
            }
        }
    }

    pub fn log_joint(&self) -> f64 {
        let mut total = 0.0;
        for term in &self.m.joint.terms {
            self.each(&term.axes, &Cell::new(), &mut |p, cell| {
                if term.filter.is_none_or(|f| p.node(f, cell) != 0.0) {
                    total += p.node(term.value, cell);
                }
            });
        }
        total
    }

    /// Every cell of the axes, the first running fastest.
    fn each(&self, axes: &[AxisId], cell: &Cell, f: &mut dyn FnMut(&Plain, &Cell)) {
        match axes.split_last() {
            None => f(self, cell),
            Some((&last, rest)) => {
                for i in 0..self.m.size(self.m.hir.axis(last).plate) {
                    let mut cell = cell.clone();
                    cell.insert(last, i);
                    self.each(rest, &cell, f);
                }
            }
        }
    }

    fn node(&self, id: NodeId, cell: &Cell) -> f64 {
        match self.m.joint.node(id) {
            Node::Const(bits) => f64::from_bits(*bits),
            Node::Read { slot, index } => {
                let (mut at, mut stride) = (0, 1);
                for (ix, n) in index.iter().zip(self.m.dims(*slot)) {
                    let i = match ix {
                        Ix::Axis(a) => cell[a],
                        Ix::At(node) => self.node(*node, cell) as usize,
                        Ix::Label(text, _) => text.parse::<usize>().expect("test labels are numbers") - 1,
                    };
                    at += stride * i;
                    stride *= n;
                }
                self.tables[slot][at]
            }
            Node::Position(a) => cell[a] as f64,
            Node::Size(p) => self.m.size(*p) as f64,
            Node::Detached(a) => self.node(*a, cell),
            Node::Unary(op, a) => crate::prim::scalar::unary(*op, self.node(*a, cell)),
            Node::Binary(op, a, b) => crate::prim::scalar::binary(*op, self.node(*a, cell), self.node(*b, cell)),
            Node::Select(c, a, b) => {
                if self.node(*c, cell) != 0.0 {
                    self.node(*a, cell)
                } else {
                    self.node(*b, cell)
                }
            }
            Node::Matrix { .. } | Node::Ode { .. } => unreachable!("these joints have neither"),
            Node::Reduce { op, axes, filter, body } => {
                let mut all = vec![];
                self.each(axes, cell, &mut |p, cell| {
                    if filter.is_none_or(|f| p.node(f, cell) != 0.0) {
                        all.push(p.node(*body, cell));
                    }
                });
                let max = all.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                match op {
                    Fold::Sum => all.iter().sum(),
                    Fold::Prod => all.iter().product(),
                    Fold::Min => all.iter().copied().fold(f64::INFINITY, f64::min),
                    Fold::Max => max,
                    Fold::LogSumExp if max.is_infinite() => max,
                    Fold::LogSumExp => max + all.iter().map(|v| (v - max).exp()).sum::<f64>().ln(),
                }
            }
        }
    }
}
