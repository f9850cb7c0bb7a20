//! The three models on made-up data, as the graphs that lowering gives.

use std::sync::Arc;

use vic::lower::graph::*;

pub const GROUPS: usize = 500;

/// Columns one after the other in `x`.
pub struct Data {
    pub x: Arc<[f64]>,
    pub y: Arc<[f64]>,
    pub group: Arc<[u32]>,
}

/// Numbers without pattern in (0, 1).
pub fn noise(seed: u64) -> impl FnMut() -> f64 {
    let mut s = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        s = s.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (s >> 11) as f64 / (1u64 << 53) as f64
    }
}

impl Data {
    pub fn new(rows: usize, columns: usize, binary: bool) -> Data {
        let mut u = noise(columns as u64);
        let x: Arc<[f64]> = (0..rows * columns).map(|_| 2.0 * u() - 1.0).collect();
        let y = (0..rows).map(|i| if binary { (u() < 0.4) as u8 as f64 } else { x[i] + u() }).collect();
        let group = (0..rows).map(|_| (u() * GROUPS as f64) as u32).collect();
        Data { x, y, group }
    }
}

#[derive(Default)]
struct Maker {
    graph: Graph,
    body: Vec<Stmt>,
    next: u32,
}

impl Maker {
    fn buffer(&mut self, name: &str, len: usize, kind: BufKind) -> BufId {
        self.graph.buffers.push(Buffer { name: name.into(), len, kind });
        BufId(self.graph.buffers.len() as u32 - 1)
    }

    fn data(&mut self, name: &str, numbers: &Arc<[f64]>) -> BufId {
        self.buffer(name, numbers.len(), BufKind::Data(numbers.clone()))
    }

    fn theta(&mut self, dim: usize) -> (BufId, BufId, BufId) {
        let theta = self.buffer("theta", dim, BufKind::Input);
        let grad = self.buffer("gradient", dim, BufKind::Scratch { zeroed: true });
        let lp = self.buffer("log joint", 1, BufKind::Scratch { zeroed: true });
        (self.graph.theta, self.graph.grad, self.graph.log_joint) = (Some(theta), Some(grad), Some(lp));
        self.graph.dim = dim;
        (theta, grad, lp)
    }

    fn id(&mut self) -> ValId {
        self.next += 1;
        ValId(self.next)
    }

    fn op(&mut self, op: Op) -> ValId {
        let v = self.id();
        self.body.push(Stmt::Let(v, op));
        v
    }

    fn number(&mut self, x: f64) -> ValId {
        self.op(Op::Const(x))
    }

    fn load(&mut self, buf: BufId, addr: Addr) -> ValId {
        self.op(Op::Load(buf, addr))
    }

    fn mul(&mut self, a: ValId, b: ValId) -> ValId {
        self.op(Op::Binary(BinOp::Mul, a, b))
    }

    fn add(&mut self, a: ValId, b: ValId) -> ValId {
        self.op(Op::Binary(BinOp::Add, a, b))
    }

    fn sub(&mut self, a: ValId, b: ValId) -> ValId {
        self.op(Op::Binary(BinOp::Sub, a, b))
    }

    fn accum(&mut self, buf: BufId, addr: Addr, value: ValId) {
        self.body.push(Stmt::Accum { buf, addr, value });
    }

    fn region(&mut self, name: &str, loops: &[Loop]) {
        let body = std::mem::take(&mut self.body);
        self.graph.gradient.push(Region { name: name.into(), span: None, loops: loops.to_vec(), body });
    }
}

fn cell(id: LoopId, offset: usize, stride: usize) -> Addr {
    Addr { offset, terms: vec![(AddrTerm::Loop(id), stride)] }
}

fn rows(d: &Data) -> Loop {
    Loop { id: LoopId(0), size: d.y.len(), plate: "row".into() }
}

fn features(size: usize) -> Loop {
    Loop { id: LoopId(1), size, plate: "feature".into() }
}

/// `x[i, k]`
fn matrix(d: &Data) -> Addr {
    Addr { offset: 0, terms: vec![(AddrTerm::Loop(LoopId(0)), 1), (AddrTerm::Loop(LoopId(1)), d.y.len())] }
}

/// `1/σ` and what it leaves at the end: `lp = -½ss - n log σ`, `d log σ = ss - n`.
fn scale(m: &mut Maker, theta: BufId, at: usize) -> (BufId, BufId) {
    let inv = m.buffer("1/sigma", 1, BufKind::Scratch { zeroed: false });
    let ss = m.buffer("ss", 1, BufKind::Scratch { zeroed: true });
    let log_sigma = m.load(theta, Addr::constant(at));
    let minus = m.op(Op::Unary(UnOp::Neg, log_sigma));
    let e = m.op(Op::Unary(UnOp::Exp, minus));
    m.body.push(Stmt::Store { buf: inv, addr: Addr::constant(0), value: e });
    m.region("sigma", &[]);
    (inv, ss)
}

fn finish(m: &mut Maker, d: &Data, theta: BufId, at: usize, ss: BufId) {
    let (lp, grad) = (m.graph.log_joint.expect("set before"), m.graph.grad.expect("set before"));
    let log_sigma = m.load(theta, Addr::constant(at));
    let ss = m.load(ss, Addr::constant(0));
    let n = m.number(d.y.len() as f64);
    let slope = m.sub(ss, n);
    let minus_half = m.number(-0.5);
    let quadratic = m.mul(minus_half, ss);
    let log = m.mul(n, log_sigma);
    let value = m.sub(quadratic, log);
    m.accum(grad, Addr::constant(at), slope);
    m.accum(lp, Addr::constant(0), value);
    m.region("d sigma", &[]);
}

/// `observe y ~ Normal(alpha + sum(x * beta over feature), sigma)`; theta is alpha, beta, log sigma.
pub fn normal(d: &Data, k: usize) -> Graph {
    let mut m = Maker::default();
    let (x, y) = (m.data("x", &d.x), m.data("y", &d.y));
    let (theta, grad, _) = m.theta(k + 2);
    let (inv, ss) = scale(&mut m, theta, k + 1);
    let i = LoopId(0);
    let (inv, alpha) = (m.load(inv, Addr::constant(0)), m.load(theta, Addr::constant(0)));
    let eta = m.id();
    m.body.push(Stmt::Contract { out: eta, over: features(k), a: (x, matrix(d)), b: (theta, cell(LoopId(1), 1, 1)) });
    let y = m.load(y, cell(i, 0, 1));
    let mu = m.add(alpha, eta);
    let r = m.sub(y, mu);
    let z = m.mul(r, inv);
    let zz = m.mul(z, z);
    let slope = m.mul(z, inv);
    m.accum(ss, Addr::constant(0), zz);
    m.accum(grad, Addr::constant(0), slope);
    m.body.push(Stmt::ContractT {
        value: slope,
        over: features(k),
        a: (x, matrix(d)),
        target: (grad, cell(LoopId(1), 1, 1)),
    });
    m.region("observe y", &[rows(d)]);
    finish(&mut m, d, theta, k + 1, ss);
    m.graph
}

/// `observe y ~ Bernoulli(logit: alpha + sum(x * beta over feature))`; theta is alpha, beta.
pub fn logit(d: &Data, k: usize) -> Graph {
    let mut m = Maker::default();
    let (x, y) = (m.data("x", &d.x), m.data("y", &d.y));
    let (theta, grad, lp) = m.theta(k + 1);
    let i = LoopId(0);
    let alpha = m.load(theta, Addr::constant(0));
    let eta = m.id();
    m.body.push(Stmt::Contract { out: eta, over: features(k), a: (x, matrix(d)), b: (theta, cell(LoopId(1), 1, 1)) });
    let y = m.load(y, cell(i, 0, 1));
    let eta = m.add(alpha, eta);
    let (sp, p) = (m.op(Op::Unary(UnOp::Softplus, eta)), m.op(Op::Unary(UnOp::Sigmoid, eta)));
    let minus = m.op(Op::Unary(UnOp::Neg, sp));
    let value = m.op(Op::Fma(y, eta, minus));
    let slope = m.sub(y, p);
    m.accum(lp, Addr::constant(0), value);
    m.accum(grad, Addr::constant(0), slope);
    m.body.push(Stmt::ContractT {
        value: slope,
        over: features(k),
        a: (x, matrix(d)),
        target: (grad, cell(LoopId(1), 1, 1)),
    });
    m.region("observe y", &[rows(d)]);
    m.graph
}

/// `observe y ~ Normal(alpha[group] + beta * x, sigma)`; theta is alpha, beta, log sigma.
pub fn groups(d: &Data) -> Graph {
    let mut m = Maker::default();
    let (x, y) = (m.data("x", &d.x), m.data("y", &d.y));
    let group = m.buffer("group", d.group.len(), BufKind::Index(d.group.clone()));
    let (theta, grad, _) = m.theta(GROUPS + 2);
    let (inv, ss) = scale(&mut m, theta, GROUPS + 1);
    let i = LoopId(0);
    let (inv, beta) = (m.load(inv, Addr::constant(0)), m.load(theta, Addr::constant(GROUPS)));
    let of_group = Addr { offset: 0, terms: vec![(AddrTerm::Gather(group, Box::new(cell(i, 0, 1))), 1)] };
    let alpha = m.load(theta, of_group.clone());
    let (x, y) = (m.load(x, cell(i, 0, 1)), m.load(y, cell(i, 0, 1)));
    let mu = m.op(Op::Fma(beta, x, alpha));
    let r = m.sub(y, mu);
    let z = m.mul(r, inv);
    let zz = m.mul(z, z);
    let slope = m.mul(z, inv);
    let by_x = m.mul(slope, x);
    m.accum(ss, Addr::constant(0), zz);
    m.accum(grad, of_group, slope);
    m.accum(grad, Addr::constant(GROUPS), by_x);
    m.region("observe y", &[rows(d)]);
    finish(&mut m, d, theta, GROUPS + 1, ss);
    m.graph
}
