//! Kernels against the interpreter: every operation, address and accumulation, at sizes around those of pairs and blocks.

use std::sync::Arc;

use super::compile;
use crate::lower::graph::*;
use crate::run::{Workspace, interp::Interp};

/// Builds graphs with one region.
struct Maker {
    graph: Graph,
    body: Vec<Stmt>,
    loops: Vec<Loop>,
    next: u32,
}

impl Maker {
    fn new() -> Maker {
        Maker { graph: Graph::default(), body: vec![], loops: vec![], next: 0 }
    }

    fn buffer(&mut self, len: usize, kind: BufKind) -> BufId {
        self.graph.buffers.push(Buffer { name: String::new(), len, kind });
        BufId(self.graph.buffers.len() as u32 - 1)
    }

    fn data(&mut self, numbers: impl IntoIterator<Item = f64>) -> BufId {
        let numbers: Arc<[f64]> = numbers.into_iter().collect();
        self.buffer(numbers.len(), BufKind::Data(numbers))
    }

    fn index(&mut self, positions: impl IntoIterator<Item = u32>) -> BufId {
        let positions: Arc<[u32]> = positions.into_iter().collect();
        self.buffer(positions.len(), BufKind::Index(positions))
    }

    fn out(&mut self, len: usize) -> BufId {
        self.buffer(len, BufKind::Scratch { zeroed: true })
    }

    fn fresh_loop(&mut self, size: usize) -> Loop {
        self.next += 1;
        Loop { id: LoopId(self.next), size, plate: String::new() }
    }

    fn over(&mut self, size: usize) -> LoopId {
        let over = self.fresh_loop(size);
        self.loops.push(over.clone());
        over.id
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

    fn un(&mut self, op: UnOp, a: ValId) -> ValId {
        self.op(Op::Unary(op, a))
    }

    fn bin(&mut self, op: BinOp, a: ValId, b: ValId) -> ValId {
        self.op(Op::Binary(op, a, b))
    }

    fn store(&mut self, buf: BufId, addr: Addr, value: ValId) {
        self.body.push(Stmt::Store { buf, addr, value });
    }

    fn accum(&mut self, buf: BufId, addr: Addr, value: ValId) {
        self.body.push(Stmt::Accum { buf, addr, value });
    }

    /// Statements of a reduction, taken out of the body.
    fn inside(&mut self, make: impl FnOnce(&mut Maker)) -> Vec<Stmt> {
        let before = std::mem::take(&mut self.body);
        make(self);
        std::mem::replace(&mut self.body, before)
    }

    fn region(&mut self) {
        let region = Region {
            name: String::new(),
            span: None,
            walk: None,
            loops: std::mem::take(&mut self.loops),
            body: std::mem::take(&mut self.body),
        };
        self.graph.value.push(region);
    }

    /// Kernel and interpreter agree on every buffer, to `tolerance` relative to the larger of 1 and the value.
    fn check(mut self, tolerance: f64) {
        if !self.body.is_empty() {
            self.region();
        }
        let mut oracle = Interp::new(&self.graph);
        oracle.value(&[]);
        let kernels = compile(&self.graph).expect("this machine compiles kernels");
        let mut ws = Workspace::new(&self.graph);
        // Twice: the second run must not see the first.
        kernels.log_joint.value(&mut ws);
        kernels.log_joint.value(&mut ws);
        for i in 0..self.graph.buffers.len() {
            let id = BufId(i as u32);
            let (expected, found) = (oracle.buffer(id), ws.buffer(id));
            assert_eq!(expected.len(), found.len());
            for (at, (e, f)) in expected.iter().zip(found).enumerate() {
                let close = e == f || (e.is_nan() && f.is_nan()) || (e - f).abs() <= tolerance * e.abs().max(1.0);
                assert!(close, "buffer {i} at {at}: interpreter {e}, kernel {f}");
            }
        }
    }
}

fn at(id: LoopId) -> Addr {
    strided(id, 1)
}

fn strided(id: LoopId, stride: usize) -> Addr {
    Addr { offset: 0, terms: vec![(AddrTerm::Loop(id), stride)] }
}

fn gathered(index: BufId, id: LoopId) -> Addr {
    Addr { offset: 0, terms: vec![(AddrTerm::Gather(index, Box::new(at(id))), 1)] }
}

/// Numbers without pattern in (-1, 1).
fn noise(n: usize, seed: u64) -> impl Iterator<Item = f64> {
    let mut s = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..n).map(move |_| {
        s = s.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (s >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    })
}

const SIZES: [usize; 10] = [0, 1, 2, 3, 7, 8, 511, 512, 513, 1000];

/// Every function of one number, on lanes and outside them, at every size.
#[test]
fn functions() {
    use UnOp::*;
    let all = [
        Neg,
        Abs,
        Sqrt,
        Recip,
        Floor,
        Ceil,
        Round,
        Not,
        Sign,
        Exp,
        Log,
        Log1p,
        Expm1,
        Tanh,
        Sin,
        Cos,
        Atan,
        Sigmoid,
        Softplus,
        Lgamma,
        Digamma,
        Trigamma,
        Erf,
        Phi,
        LogPhi,
        InvMills,
        LogBesselI0,
        BesselRatio,
    ];
    for op in all {
        let positive = matches!(op, Sqrt | Log | Log1p | Lgamma | Digamma | Trigamma);
        for n in SIZES {
            let mut m = Maker::new();
            let x =
                m.data(noise(n, 1).map(|x| if positive { x.abs() * 10.0 + 0.01 } else { 4.0 * x }).collect::<Vec<_>>());
            let (y, sum) = (m.out(n), m.out(1));
            let i = m.over(n);
            let v = m.op(Op::Load(x, at(i)));
            let v = m.un(op, v);
            m.store(y, at(i), v);
            m.accum(sum, Addr::constant(0), v);
            m.region();
            let c = m.op(Op::Const(0.7));
            let v = m.un(op, c);
            m.accum(sum, Addr::constant(0), v);
            m.check(1e-12);
        }
    }
}

#[test]
fn binary_operations() {
    use BinOp::*;
    for op in [
        Add,
        Sub,
        Mul,
        Div,
        Pow,
        Min,
        Max,
        Less,
        LessEq,
        Equal,
        NotEqual,
        And,
        Or,
        XLogY,
        LogGammaDraw,
        LogGammaDrawSlope,
    ] {
        for n in SIZES {
            let mut m = Maker::new();
            let a = m.data(noise(n, 1).map(|x| (x * 3.0).round().abs()).collect::<Vec<_>>());
            let b =
                m.data(noise(n, 2).map(|x| (x * 3.0).round().abs() + (op == XLogY) as u8 as f64).collect::<Vec<_>>());
            let (y, z) = (m.out(n), m.out(n));
            let i = m.over(n);
            let (u, v) = (m.op(Op::Load(a, at(i))), m.op(Op::Load(b, at(i))));
            let w = m.bin(op, u, v);
            m.store(y, at(i), w);
            // One side the same in every lane.
            let c = m.op(Op::Const(1.5));
            let w = m.bin(op, u, c);
            m.store(z, at(i), w);
            m.check(1e-12);
        }
    }
}

#[test]
fn truth_values() {
    for n in SIZES {
        let mut m = Maker::new();
        let a = m.data(noise(n, 5));
        let y = m.out(n);
        let i = m.over(n);
        let (u, zero, half) = (m.op(Op::Load(a, at(i))), m.op(Op::Const(0.0)), m.op(Op::Const(0.5)));
        let low = m.bin(BinOp::Less, u, zero);
        let high = m.bin(BinOp::Less, half, u);
        let either = m.bin(BinOp::Or, low, high);
        let neither = m.un(UnOp::Not, either);
        let e = m.un(UnOp::Exp, u);
        let v = m.op(Op::Select(neither, e, low));
        let c = m.op(Op::Counter(i));
        let v = m.op(Op::Fma(v, half, c));
        m.store(y, at(i), v);
        m.check(1e-12);
    }
}

/// Sums over lanes, rows, strided and shifted rows, scatters; loads through strides and gathers.
#[test]
fn addresses_and_accumulations() {
    for n in SIZES {
        let mut m = Maker::new();
        let groups = 5;
        let x = m.data(noise(3 * n + 7, 3));
        let g = m.index((0..n as u32).map(|i| i * i % groups));
        let gg = m.index((0..groups).rev());
        let table = m.data(noise(groups as usize, 4));
        let (sum, rows, wide, scattered, twice) =
            (m.out(1), m.out(n + 2), m.out(3 * n + 1), m.out(groups as usize), m.out(2 * groups as usize));
        let i = m.over(n);
        let a = m.op(Op::Load(x, Addr { offset: 7, terms: vec![(AddrTerm::Loop(i), 3)] }));
        let b = m.op(Op::Load(x, Addr { offset: 1, terms: vec![(AddrTerm::Loop(i), 1)] }));
        let c = m.op(Op::Load(table, gathered(g, i)));
        let nested = Addr { offset: 0, terms: vec![(AddrTerm::Gather(gg, Box::new(gathered(g, i))), 1)] };
        let d = m.op(Op::Load(table, nested.clone()));
        let e = m.un(UnOp::Exp, a);
        let ab = m.bin(BinOp::Mul, a, b);
        let cd = m.op(Op::Fma(c, d, e));
        m.accum(sum, Addr::constant(0), ab);
        m.accum(sum, Addr::constant(0), cd);
        m.accum(rows, at(i), ab);
        m.accum(rows, Addr { offset: 2, ..at(i) }, cd);
        m.accum(wide, Addr { offset: 1, ..strided(i, 3) }, cd);
        m.accum(scattered, gathered(g, i), e);
        m.accum(scattered, nested, b);
        let mut two = gathered(g, i);
        two.terms[0].1 = 2;
        two.offset = 1;
        m.accum(twice, two, cd);
        let one = m.op(Op::Const(0.25));
        m.accum(sum, Addr::constant(0), one);
        m.accum(rows, at(i), one);
        m.check(1e-12);
    }
}

/// Outer loops, with values that stand in none, one or both.
#[test]
fn nests() {
    for n in SIZES {
        for outer in [1, 3] {
            let mut m = Maker::new();
            let x = m.data(noise(outer * n, 3));
            let w = m.data(noise(outer, 4));
            let (y, rows, columns) = (m.out(outer * n), m.out(outer), m.out(n));
            let (j, i) = (m.over(outer), m.over(n));
            let c = m.op(Op::Const(0.3));
            let c = m.un(UnOp::Exp, c);
            let a = m.op(Op::Load(w, at(j)));
            let a = m.un(UnOp::Sin, a);
            let ij = Addr { offset: 0, terms: vec![(AddrTerm::Loop(i), 1), (AddrTerm::Loop(j), n)] };
            let v = m.op(Op::Load(x, ij.clone()));
            let v = m.op(Op::Fma(v, a, c));
            let v = m.un(UnOp::Tanh, v);
            m.store(y, ij, v);
            m.accum(rows, at(j), v);
            m.accum(columns, at(i), v);
            m.accum(rows, at(j), a);
            m.check(1e-12);
        }
    }
}

/// Reductions in registers, around calls, and with effects; a log-sum-exp.
#[test]
fn reductions() {
    for n in SIZES {
        for size in [0, 1, 2, 5] {
            let mut m = Maker::new();
            let x = m.data(noise(size * n, 3));
            let w = m.data(noise(size.max(1), 4));
            let (y, z, per) = (m.out(n), m.out(n), m.out(size.max(1)));
            let i = m.over(n);
            let over = m.fresh_loop(size);
            let k = over.id;
            let ik = Addr { offset: 0, terms: vec![(AddrTerm::Loop(i), 1), (AddrTerm::Loop(k), n)] };
            let (top, least, product) = (m.id(), m.id(), m.id());
            let mut last = ValId(0);
            let body = m.inside(|m| {
                last = m.op(Op::Load(x, ik.clone()));
                let b = m.op(Op::Load(w, at(k)));
                last = m.bin(BinOp::Mul, last, b);
            });
            let outs = vec![(top, ReduceOp::Max, last), (least, ReduceOp::Min, last), (product, ReduceOp::Prod, last)];
            m.body.push(Stmt::Reduce { over: over.clone(), body, outs });
            let sum = m.id();
            let body = m.inside(|m| {
                let a = m.op(Op::Load(x, ik.clone()));
                let b = m.op(Op::Load(w, at(k)));
                let e = m.un(UnOp::Exp, b);
                let a = m.op(Op::Fma(a, e, b));
                let a = m.bin(BinOp::Sub, a, top);
                last = m.un(UnOp::Exp, a);
                m.accum(per, at(k), last);
                m.accum(z, at(i), last);
                let c = m.op(Op::Counter(k));
                m.accum(per, at(k), c);
            });
            m.body.push(Stmt::Reduce { over, body, outs: vec![(sum, ReduceOp::Sum, last)] });
            let log = m.un(UnOp::Log, sum);
            let log = m.bin(BinOp::Add, log, top);
            let finite = m.bin(BinOp::Add, least, product);
            m.accum(y, at(i), log);
            m.accum(z, at(i), finite);
            m.check(1e-12);
        }
    }
}

/// A reduction within a reduction, and one outside lanes.
#[test]
fn nested_reductions() {
    for n in [3, 8, 513] {
        let mut m = Maker::new();
        let x = m.data(noise(4 * n, 3));
        let w = m.data(noise(20, 4));
        let y = m.out(n);
        let i = m.over(n);
        let (k, l) = (m.fresh_loop(4), m.fresh_loop(5));
        let (outer, inner, flat) = (m.id(), m.id(), m.id());
        let kl = Addr { offset: 0, terms: vec![(AddrTerm::Loop(k.id), 1), (AddrTerm::Loop(l.id), 4)] };
        let ik = Addr { offset: 0, terms: vec![(AddrTerm::Loop(i), 1), (AddrTerm::Loop(k.id), n)] };
        let mut last = ValId(0);
        let body = m.inside(|m| {
            let a = m.op(Op::Load(x, ik));
            let body = m.inside(|m| {
                let b = m.op(Op::Load(w, kl.clone()));
                let ab = m.bin(BinOp::Mul, a, b);
                last = m.un(UnOp::Softplus, ab);
                let s = m.un(UnOp::Sigmoid, ab);
                last = m.bin(BinOp::Sub, last, s);
            });
            m.body.push(Stmt::Reduce { over: l.clone(), body, outs: vec![(inner, ReduceOp::Sum, last)] });
            last = m.bin(BinOp::Mul, inner, a);
        });
        m.body.push(Stmt::Reduce { over: k.clone(), body, outs: vec![(outer, ReduceOp::Sum, last)] });
        let body = m.inside(|m| {
            let b = m.op(Op::Load(w, at(l.id)));
            last = m.un(UnOp::Exp, b);
        });
        m.body.push(Stmt::Reduce { over: l, body, outs: vec![(flat, ReduceOp::Sum, last)] });
        let v = m.bin(BinOp::Mul, outer, flat);
        m.store(y, at(i), v);
        m.check(1e-12);
    }
}

/// Matrix-vector products and their transposes, contiguous and not, with the value from a call, from memory, or even.
#[test]
fn contractions() {
    for n in SIZES {
        for size in [0, 1, 3, 4, 8, 21] {
            for contiguous in [true, false] {
                let mut m = Maker::new();
                let x = m.data(noise(size * n, 3));
                let beta = m.data(noise(2 * size + 1, 4));
                let (lp, y, grad, grad2, grad3) =
                    (m.out(1), m.out(n), m.out(2 * size + 1), m.out(size + 1), m.out(size + 1));
                let i = m.over(n);
                let k = m.fresh_loop(size);
                let (di, dk) = if contiguous { (1, n) } else { (size, 1) };
                let a = Addr { offset: 0, terms: vec![(AddrTerm::Loop(i), di), (AddrTerm::Loop(k.id), dk)] };
                let two = Addr { offset: 1, ..strided(k.id, 2) };
                let eta = m.id();
                m.body.push(Stmt::Contract { out: eta, over: k.clone(), a: (x, a.clone()), b: (beta, two.clone()) });
                let (sp, sg) = (m.un(UnOp::Softplus, eta), m.un(UnOp::Sigmoid, eta));
                m.accum(lp, Addr::constant(0), sp);
                m.store(y, at(i), eta);
                let c = m.op(Op::Counter(i));
                let half = m.op(Op::Const(0.5));
                for (value, target) in [(sg, (grad, two)), (c, (grad2, at(k.id))), (half, (grad3, at(k.id)))] {
                    m.body.push(Stmt::ContractT { value, over: k.clone(), a: (x, a.clone()), target });
                }
                m.check(1e-12);
            }
        }
    }
}

/// A recurrence reads what it wrote a step before: lanes run in order.
#[test]
fn recurrences() {
    for n in SIZES {
        let mut m = Maker::new();
        let x = m.data(noise(n, 3));
        let (y, sum) = (m.out(n + 1), m.out(1));
        let i = m.over(n);
        let before = m.op(Op::Load(y, at(i)));
        let e = m.op(Op::Load(x, at(i)));
        let c = m.op(Op::Const(0.9));
        let v = m.op(Op::Fma(before, c, e));
        m.store(y, Addr { offset: 1, ..at(i) }, v);
        m.accum(sum, Addr::constant(0), v);
        m.region();
        let mut ws = Workspace::new(&m.graph);
        compile(&m.graph).expect("this machine compiles kernels").log_joint.value(&mut ws);
        let (mut state, mut total) = (0.0f64, 0.0);
        for (i, e) in noise(n, 3).enumerate() {
            state = state.mul_add(0.9, e);
            total += state;
            assert!((ws.buffer(y)[i + 1] - state).abs() < 1e-14);
        }
        assert!((ws.buffer(sum)[0] - total).abs() < 1e-12 * (1.0 + total.abs()));
    }
}

/// Functions computed together, and one argument used by several calls at several depths.
#[test]
fn calls_share_arguments() {
    for n in SIZES {
        let mut m = Maker::new();
        let x = m.data(noise(n, 3).map(|x| x + 1.5).collect::<Vec<_>>());
        let out = m.out(n);
        let i = m.over(n);
        let v = m.op(Op::Load(x, at(i)));
        let c = m.op(Op::Counter(i));
        let one = m.op(Op::Const(1.0));
        let v1 = m.bin(BinOp::Add, v, one);
        let fs = [UnOp::Lgamma, UnOp::Digamma, UnOp::Softplus, UnOp::Sigmoid, UnOp::LogPhi, UnOp::InvMills, UnOp::Log];
        let mut total = m.bin(BinOp::Mul, v, c);
        for f in fs {
            for a in [v, v1] {
                let y = m.un(f, a);
                total = m.bin(BinOp::Add, total, y);
            }
        }
        let p = m.bin(BinOp::Pow, v1, c);
        let p = m.un(UnOp::Log1p, p);
        let q = m.bin(BinOp::Pow, one, total);
        let t = m.un(UnOp::Tanh, total);
        let all = [p, q, t, v1, c].into_iter().fold(total, |a, b| m.bin(BinOp::Add, a, b));
        m.store(out, at(i), all);
        m.check(1e-12);
    }
}
