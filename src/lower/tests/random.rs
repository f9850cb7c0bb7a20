//! Random expressions: value against a plain evaluation, gradient against finite differences, kernels against the
//! interpreter.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::build::{Model, noise};
use crate::derive::joint::*;
use crate::hir::AxisId;

/// The shape of an expression; numbers choose among what is possible where they stand.
#[derive(Clone, Debug)]
enum Tree {
    Leaf(u8),
    Const(i8),
    Un(u8, Box<Tree>),
    Bin(u8, Box<Tree>, Box<Tree>),
    If(u8, Box<Tree>, Box<Tree>),
    Fold { op: u8, axis: u8, filter: u8, body: Box<Tree> },
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![4 => any::<u8>().prop_map(Tree::Leaf), 1 => (-3i8..4).prop_map(Tree::Const)];
    leaf.prop_recursive(5, 24, 3, |inner| {
        let b = |s: BoxedStrategy<Tree>| s.prop_map(Box::new);
        let i = inner.boxed();
        prop_oneof![
            3 => (any::<u8>(), b(i.clone())).prop_map(|(op, a)| Tree::Un(op, a)),
            5 => (any::<u8>(), b(i.clone()), b(i.clone())).prop_map(|(op, x, y)| Tree::Bin(op, x, y)),
            1 => (any::<u8>(), b(i.clone()), b(i.clone())).prop_map(|(c, x, y)| Tree::If(c, x, y)),
            2 => (any::<u8>(), any::<u8>(), any::<u8>(), b(i))
                .prop_map(|(op, axis, filter, body)| Tree::Fold { op, axis, filter, body }),
        ]
    })
}

/// The world that expressions read: three plates, columns and keys, latents over each and over two.
struct World {
    m: Model,
    i: AxisId,
    j: AxisId,
    k: AxisId,
    slots: Vec<(SlotId, Vec<AxisId>)>,
    keys: Vec<SlotId>,
    /// Walked over `i`: may be read one or two steps back.
    walked: Option<SlotId>,
}

impl World {
    fn new() -> World {
        let mut m = Model::default();
        let (i, j, k) = (m.plate("i", 7), m.plate("j", 3), m.plate("k", 4));
        let numbers = |n: u32, seed: u32| (0..n).map(move |c| 1.5 * noise(c * 29 + seed));
        let x = m.data("x", &[i], numbers(7, 1));
        let z = m.data("z", &[i, j], numbers(21, 2));
        let w = m.data("w", &[k], [0.0, 1.0, 2.0, 1.0]);
        let keys = vec![
            m.data("key j", &[i], [0.0, 2.0, 1.0, 0.0, 0.0, 2.0, 2.0]),
            m.data("key k", &[i], [3.0, 2.0, 1.0, 0.0, 0.0, 0.0, 3.0]),
        ];
        let slots = vec![
            (x, vec![i]),
            (z, vec![i, j]),
            (w, vec![k]),
            (m.latent("s", &[]), vec![]),
            (m.latent("a", &[i]), vec![i]),
            (m.latent("b", &[j]), vec![j]),
            (m.latent("c", &[k]), vec![k]),
            (m.latent("d", &[j, k]), vec![j, k]),
        ];
        World { m, i, j, k, slots, keys, walked: None }
    }

    /// A read of some slot at the current cell, by key where its plate has no axis here, else reduced over.
    fn leaf(&mut self, n: u8, axes: &[AxisId]) -> NodeId {
        if let (Some(walked), true) = (self.walked, n % 5 < 2) {
            let lag = self.m.earlier(self.i, f64::from(1 + n % 2));
            return self.m.get(walked, vec![lag]);
        }
        let (slot, dims) = self.slots[n as usize % self.slots.len()].clone();
        let by_key = n >= 128 && axes.contains(&self.i);
        let (mut index, mut bound) = (vec![], vec![]);
        for a in dims {
            let key = if a == self.j {
                Some(0)
            } else if a == self.k {
                Some(1)
            } else {
                None
            };
            index.push(match key {
                Some(key) if by_key || !axes.contains(&a) && axes.contains(&self.i) => {
                    let (slot, i) = (self.keys[key], self.i);
                    Ix::At(self.m.read(slot, &[i]))
                }
                _ => {
                    if !axes.contains(&a) {
                        bound.push(a);
                    }
                    Ix::Axis(a)
                }
            });
        }
        let read = self.m.get(slot, index);
        if bound.is_empty() { read } else { self.m.fold(Fold::Sum, &bound, None, read) }
    }

    /// 0 or 1, from data and positions.
    fn condition(&mut self, n: u8, axes: &[AxisId]) -> NodeId {
        match axes.first() {
            None => self.m.c(f64::from(n % 2)),
            Some(_) => {
                let axis = axes[n as usize % axes.len()];
                let at = self.m.position(axis);
                let bound = self.m.c(f64::from(n / 8 % 5));
                match axes.get(1) {
                    Some(&other) if n.is_multiple_of(4) => {
                        let other = self.m.position(other);
                        self.m.bin(BinOp::LessEq, other, at)
                    }
                    _ => self.m.bin(BinOp::Less, at, bound),
                }
            }
        }
    }

    /// Functions are applied where they are smooth and moderate, so that differences can judge the gradient.
    fn build(&mut self, tree: &Tree, axes: &[AxisId]) -> NodeId {
        match tree {
            Tree::Leaf(n) => self.leaf(*n, axes),
            Tree::Const(v) => self.m.c(f64::from(*v)),
            Tree::Un(op, a) => {
                let a = self.build(a, axes);
                self.unary(*op, a)
            }
            Tree::Bin(op, a, b) => {
                let (a, b) = (self.build(a, axes), self.build(b, axes));
                self.binary(*op, a, b)
            }
            Tree::If(c, a, b) => {
                let c = self.condition(*c, axes);
                let (a, b) = (self.build(a, axes), self.build(b, axes));
                self.m.iff(c, a, b)
            }
            Tree::Fold { op, axis, filter, body } => {
                let plates = [self.i, self.j, self.k];
                let like = plates[*axis as usize % 3];
                // An axis of its own, or the plate's, which then hides the one outside.
                let axis = if *axis >= 128 { self.m.binder("binder", like) } else { like };
                let mut inner = axes.to_vec();
                inner.retain(|a| *a != axis);
                inner.insert(0, axis);
                // Inside, `i` may be another cell than the one that is walked.
                let walked = self.walked;
                self.walked = walked.filter(|_| like != self.i);
                let value = self.build(body, &inner);
                self.walked = walked;
                let filter = (*filter < 80).then(|| self.condition(*filter, &inner));
                let (op, value) = match op % 4 {
                    0 | 1 => (Fold::Sum, value),
                    2 => (Fold::LogSumExp, self.m.un(UnOp::Tanh, value)),
                    _ => {
                        let t = self.m.un(UnOp::Sin, value);
                        (Fold::Prod, t)
                    }
                };
                let folded = self.m.fold(op, &[axis], filter, value);
                // A sum of nothing in log space is -∞.
                if op == Fold::LogSumExp { self.m.un(UnOp::Sigmoid, folded) } else { folded }
            }
        }
    }

    fn above(&mut self, a: NodeId, least: f64) -> NodeId {
        let s = self.m.mul(a, a);
        let c = self.m.c(least);
        self.m.add(s, c)
    }

    fn unary(&mut self, op: u8, a: NodeId) -> NodeId {
        let calm = self.m.un(UnOp::Tanh, a);
        match op % 18 {
            0 => self.m.un(UnOp::Neg, a),
            1 => calm,
            2 => self.m.un(UnOp::Exp, calm),
            3 => {
                let p = self.above(a, 0.3);
                self.m.un(UnOp::Log, p)
            }
            4 => {
                let p = self.above(a, 0.3);
                self.m.un(UnOp::Sqrt, p)
            }
            5 => {
                let p = self.above(calm, 0.5);
                self.m.un(UnOp::Recip, p)
            }
            6 => {
                let p = self.above(calm, 0.0);
                self.m.un(UnOp::Log1p, p)
            }
            7 => self.m.un(UnOp::Expm1, calm),
            8 => self.m.un(UnOp::Sin, a),
            9 => self.m.un(UnOp::Cos, a),
            10 => self.m.un(UnOp::Atan, a),
            11 => self.m.un(UnOp::Sigmoid, a),
            12 => self.m.un(UnOp::Softplus, a),
            13 => {
                let p = self.above(calm, 0.7);
                self.m.un(UnOp::Lgamma, p)
            }
            14 => {
                let p = self.above(calm, 0.7);
                self.m.un(UnOp::Digamma, p)
            }
            15 => self.m.un(UnOp::Erf, calm),
            16 => self.m.un(UnOp::LogPhi, calm),
            _ => self.m.un(UnOp::Phi, calm),
        }
    }

    fn binary(&mut self, op: u8, a: NodeId, b: NodeId) -> NodeId {
        match op % 8 {
            0 | 1 => self.m.add(a, b),
            2 => self.m.sub(a, b),
            3 | 4 => self.m.mul(a, b),
            5 => {
                let q = self.above(b, 0.6);
                self.m.div(a, q)
            }
            6 => {
                let (p, q) = (self.m.un(UnOp::Tanh, a), self.m.un(UnOp::Tanh, b));
                let p = self.above(p, 0.4);
                self.m.bin(BinOp::Pow, p, q)
            }
            _ => {
                let q = self.m.un(UnOp::Tanh, b);
                let q = self.above(q, 0.3);
                self.m.bin(BinOp::XLogY, a, q)
            }
        }
    }
}

/// One definition over `i`, read in place and by another table's key, and one term over some plates.
fn model(definition: &Tree, term: &Tree, over: u8, filter: u8) -> Model {
    let mut w = World::new();
    let i = w.i;
    let value = w.build(definition, &[i]);
    let value = w.m.un(UnOp::Atan, value);
    let slot = w.m.define("u", &[i], value);
    w.slots.push((slot, vec![i]));
    let all = [w.i, w.j, w.k];
    let axes: Vec<AxisId> = (0..3).filter(|p| over >> p & 1 == 1).map(|p| all[p as usize]).collect();
    let value = w.build(term, &axes);
    let filter = (filter < 100).then(|| w.condition(filter, &axes));
    w.m.term_where("t", &axes, filter, value);
    let stored = w.m.read(slot, &[i]);
    let stored = w.m.mul(stored, stored);
    w.m.term("u", &[i], stored);
    w.m
}

/// One definition over `i` that reads itself one and two steps back, and a term over `i` and others.
fn recurrence(first: &Tree, next: &Tree, term: &Tree) -> Model {
    let mut w = World::new();
    let i = w.i;
    let first = w.build(first, &[i]);
    let slot = w.m.walked("walk", &[i]);
    w.walked = Some(slot);
    let next = w.build(next, &[i]);
    w.walked = None;
    let (at, start) = (w.m.position(i), w.m.c(2.0));
    let early = w.m.bin(BinOp::Less, at, start);
    let value = w.m.iff(early, first, next);
    let value = w.m.un(UnOp::Atan, value);
    w.m.walk(&[(slot, &[i], i, value)], None, false);
    w.slots.push((slot, vec![i]));
    let value = w.build(term, &[i, w.j]);
    w.m.term("t", &[i, w.j], value);
    let stored = w.m.read(slot, &[i]);
    let stored = w.m.mul(stored, stored);
    w.m.term("u", &[i], stored);
    w.m
}

proptest! {
    // The same cases every time; tens of thousands of others were run when this was written.
    #![proptest_config(ProptestConfig {
        cases: 300, rng_seed: RngSeed::Fixed(7), failure_persistence: None, ..ProptestConfig::default()
    })]
    #[test]
    fn expressions(definition in tree(), term in tree(), over in any::<u8>(), filter in any::<u8>()) {
        model(&definition, &term, over, filter).check_random();
    }

    #[test]
    fn recurrences(first in tree(), next in tree(), term in tree()) {
        recurrence(&first, &next, &term).check_random();
    }
}
