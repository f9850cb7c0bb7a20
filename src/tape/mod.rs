//! The tape: parameters, nodes, values and the reverse sweep, on dfdx. Nothing outside this folder names dfdx.
//!
//! A program is built once and run many times. Values are dfdx tensors, adjoints live in dfdx's `Gradients`, and
//! operations are recorded on one dfdx tape, which the program owns. Two traps of dfdx are closed here:
//! an operand that does not carry the tape silently loses its gradient (so `Tape::dfdx` hands the tape to the closure
//! and takes it back from the result, and [`Tape::check`] compares every gradient with finite differences);
//! and one tensor given twice to an operation panics in the sweep (so operands must be distinct).

mod adam;
mod ops;
mod reel;

pub use adam::Adam;

use dfdx::prelude::{Cpu, CpuError, Gradients, HasShape, SplitTape, Tensor, ZerosTensor};
use reel::{Op, Reel};

type Vector = Tensor<(usize,), f64, Cpu>;
type Traced = Tensor<(usize,), f64, Cpu, Reel>;

/// Most operands a node may have: keeps them off the heap.
pub const MAX_OPERANDS: usize = 4;

/// A function of vectors with a derivative. Buffers that `forward` fills and `backward` reads belong to the node.
pub trait Node {
    /// Fill `out`. Called once before each `backward`.
    fn forward(&mut self, operands: &[&[f64]], out: &mut [f64]);
    /// For each operand, `adjoints[i] += upstreamᵀ · d out / d operand`. The slice of a constant operand is empty.
    fn backward(&mut self, operands: &[&[f64]], out: &[f64], upstream: &[f64], adjoints: &mut [&mut [f64]]);
}

/// A vector in a program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Var(usize);

enum Kind<'n> {
    Node(Box<dyn Node + 'n>),
    Dfdx(DfdxFn),
}

/// Operands and the tape in, one result that carries the tape out.
type DfdxFn = Box<dyn Fn(&[Vector], Reel) -> Traced>;

struct Step<'n> {
    kind: Kind<'n>,
    operands: [usize; MAX_OPERANDS],
    count: usize,
    out: usize,
}

/// A differentiable program from one flat parameter vector to a scalar, the last variable.
pub struct Tape<'n> {
    device: Cpu,
    values: Vec<Vector>,
    constant: Vec<bool>,
    steps: Vec<Step<'n>>,
    adjoints: Gradients<f64, Cpu>,
    reel: Reel,
    uses_dfdx: bool,
}

impl<'n> Tape<'n> {
    /// A program over this many parameters.
    pub fn new(parameters: usize) -> Tape<'n> {
        let mut tape = Tape {
            device: Cpu::default(),
            values: vec![],
            constant: vec![],
            steps: vec![],
            adjoints: Gradients::leaky(),
            reel: Reel::default(),
            uses_dfdx: false,
        };
        tape.variable(parameters, false);
        tape
    }

    /// The parameter vector.
    pub fn parameters(&self) -> Var {
        Var(0)
    }

    /// A vector that is set from outside and not differentiated.
    pub fn constant(&mut self, value: &[f64]) -> Var {
        let var = self.variable(value.len(), true);
        self.set(var, value);
        var
    }

    /// Replace the value of a constant.
    pub fn set(&mut self, var: Var, value: &[f64]) {
        self.values[var.0].copy_from(value);
    }

    /// Append a node with an output of this length.
    pub fn node(&mut self, operands: &[Var], len: usize, node: impl Node + 'n) -> Var {
        self.push(operands, len, Kind::Node(Box::new(node)))
    }

    /// Append operations of dfdx. The closure puts the tape on its first operand; the result carries it out.
    fn dfdx(&mut self, operands: &[Var], len: usize, f: impl Fn(&[Vector], Reel) -> Traced + 'static) -> Var {
        self.uses_dfdx = true;
        self.push(operands, len, Kind::Dfdx(Box::new(f)))
    }

    fn variable(&mut self, len: usize, constant: bool) -> Var {
        self.values.push(self.device.zeros_like(&(len,)));
        self.constant.push(constant);
        Var(self.values.len() - 1)
    }

    fn push(&mut self, operands: &[Var], len: usize, kind: Kind<'n>) -> Var {
        assert!(operands.len() <= MAX_OPERANDS, "a node has at most {MAX_OPERANDS} operands");
        for (i, a) in operands.iter().enumerate() {
            assert!(!operands[..i].contains(a), "operand {i} is given twice: dfdx keeps one gradient per tensor");
        }
        let out = self.variable(len, false);
        let mut step = Step { kind, operands: [0; MAX_OPERANDS], count: operands.len(), out: out.0 };
        for (slot, var) in step.operands.iter_mut().zip(operands) {
            assert!(var.0 < out.0, "operands come before their users");
            *slot = var.0;
        }
        self.steps.push(step);
        out
    }

    /// Run the program; gives its scalar result.
    pub fn forward(&mut self, parameters: &[f64]) -> f64 {
        self.reel.ops.clear();
        self.values[0].copy_from(parameters);
        for (index, step) in self.steps.iter_mut().enumerate() {
            let (before, rest) = self.values.split_at_mut(step.out);
            let out = &mut rest[0];
            match &mut step.kind {
                Kind::Node(node) => {
                    let mut operands: [&[f64]; MAX_OPERANDS] = [&[]; MAX_OPERANDS];
                    for (slot, &id) in operands.iter_mut().zip(&step.operands[..step.count]) {
                        *slot = slice(&before[id]);
                    }
                    node.forward(&operands[..step.count], slice_mut(out));
                    self.reel.ops.push(Op::Node(index));
                }
                Kind::Dfdx(f) => {
                    let operands: Vec<Vector> =
                        step.operands[..step.count].iter().map(|&id| before[id].clone()).collect();
                    let (result, mut reel) = f(&operands, std::mem::take(&mut self.reel)).split_tape();
                    out.copy_from(slice(&result));
                    // The result is a fresh tensor; hand it the adjoint that `out` has gathered.
                    let out = out.clone();
                    dfdx::prelude::Tape::add_backward_op(&mut reel, move |g: &mut Gradients<f64, Cpu>| {
                        let upstream = g.get_or_alloc_mut(&out)?.clone();
                        let adjoint = g.get_or_alloc_mut(&result)?;
                        adjoint.iter_mut().zip(upstream.iter()).for_each(|(a, u)| *a += u);
                        Ok(())
                    });
                    self.reel = reel;
                }
            }
        }
        *slice(&self.values[self.values.len() - 1]).first().expect("a program ends in a scalar")
    }

    /// The reverse sweep of the last [`Tape::forward`]; gives the gradient by the parameters.
    pub fn backward(&mut self) -> &[f64] {
        if self.uses_dfdx {
            // dfdx's operations leave adjoints of temporaries behind, whose ids do not come again.
            self.adjoints = Gradients::leaky();
        }
        for value in &self.values {
            adjoint(&mut self.adjoints, value).fill(0.0);
        }
        adjoint(&mut self.adjoints, &self.values[self.values.len() - 1]).fill(1.0);
        while let Some(op) = self.reel.ops.pop() {
            match op {
                Op::Dfdx(operation) => operation(&mut self.adjoints).expect("adjoints fit in memory"),
                Op::Node(index) => self.sweep(index),
            }
        }
        self.adjoint(Var(0))
    }

    fn sweep(&mut self, index: usize) {
        let step = &mut self.steps[index];
        let Kind::Node(node) = &mut step.kind else { unreachable!("only nodes are recorded by index") };
        let ids = &step.operands[..step.count];
        // Borrow several adjoints at once by taking them out; moving a vector does not allocate.
        let upstream = std::mem::take(adjoint(&mut self.adjoints, &self.values[step.out]));
        let mut taken: [Vec<f64>; MAX_OPERANDS] = [const { Vec::new() }; MAX_OPERANDS];
        let mut operands: [&[f64]; MAX_OPERANDS] = [&[]; MAX_OPERANDS];
        for (i, &id) in ids.iter().enumerate() {
            operands[i] = slice(&self.values[id]);
            if !self.constant[id] {
                taken[i] = std::mem::take(adjoint(&mut self.adjoints, &self.values[id]));
            }
        }
        let mut adjoints: [&mut [f64]; MAX_OPERANDS] = [&mut [], &mut [], &mut [], &mut []];
        for (slot, vec) in adjoints.iter_mut().zip(&mut taken) {
            *slot = vec;
        }
        node.backward(&operands[..ids.len()], slice(&self.values[step.out]), &upstream, &mut adjoints[..ids.len()]);
        for (i, vec) in taken.into_iter().take(ids.len()).enumerate() {
            if !self.constant[ids[i]] {
                *adjoint(&mut self.adjoints, &self.values[ids[i]]) = vec;
            }
        }
        *adjoint(&mut self.adjoints, &self.values[step.out]) = upstream;
    }

    /// Largest difference between the gradient at `parameters` and central differences of the result, relative to the
    /// gradient's size (at least 1).
    pub fn check(&mut self, parameters: &[f64]) -> f64 {
        self.forward(parameters);
        let gradient = self.backward().to_vec();
        let mut x = parameters.to_vec();
        let mut worst = 0.0f64;
        for (i, g) in gradient.iter().enumerate() {
            // The cube root of the rounding error balances it against the truncation of a central difference.
            let step = 6e-6 * x[i].abs().max(1.0);
            let keep = x[i];
            x[i] = keep + step;
            let above = self.forward(&x);
            x[i] = keep - step;
            let below = self.forward(&x);
            x[i] = keep;
            worst = worst.max(((above - below) / (2.0 * step) - g).abs() / g.abs().max(1.0));
        }
        worst
    }

    /// The value of a variable after [`Tape::forward`].
    pub fn value(&self, var: Var) -> &[f64] {
        slice(&self.values[var.0])
    }

    /// d result / d variable after [`Tape::backward`].
    pub fn adjoint(&mut self, var: Var) -> &[f64] {
        adjoint(&mut self.adjoints, &self.values[var.0])
    }
}

fn adjoint<'g>(adjoints: &'g mut Gradients<f64, Cpu>, value: &Vector) -> &'g mut Vec<f64> {
    let found: Result<_, CpuError> = adjoints.get_or_alloc_mut(value);
    &mut *found.expect("an adjoint fits where its value did")
}

fn slice(t: &Vector) -> &[f64] {
    match t.shape().0 {
        0 => &[],
        // SAFETY: the tensor is one-dimensional and contiguous (made by `zeros_like` or by an operation on vectors that
        // gives a fresh vector), so its elements follow the first one; the borrow of `t` keeps them alive and unchanged.
        n => unsafe { std::slice::from_raw_parts(&t[[0]], n) },
    }
}

fn slice_mut(t: &mut Vector) -> &mut [f64] {
    match t.shape().0 {
        0 => &mut [],
        // SAFETY: as in `slice`; `IndexMut` has made the storage unique, and `t` is borrowed mutably.
        n => unsafe { std::slice::from_raw_parts_mut(&mut t[[0]], n) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// a · b, elementwise.
    struct Times;
    impl Node for Times {
        fn forward(&mut self, x: &[&[f64]], out: &mut [f64]) {
            out.iter_mut().zip(x[0].iter().zip(x[1])).for_each(|(o, (a, b))| *o = a * b);
        }
        fn backward(&mut self, x: &[&[f64]], _: &[f64], upstream: &[f64], adjoints: &mut [&mut [f64]]) {
            for side in 0..2 {
                adjoints[side].iter_mut().zip(upstream.iter().zip(x[1 - side])).for_each(|(a, (u, o))| *a += u * o);
            }
        }
    }

    /// Sum of sines.
    struct SumSin;
    impl Node for SumSin {
        fn forward(&mut self, x: &[&[f64]], out: &mut [f64]) {
            out[0] = x[0].iter().map(|x| x.sin()).sum();
        }
        fn backward(&mut self, x: &[&[f64]], _: &[f64], upstream: &[f64], adjoints: &mut [&mut [f64]]) {
            adjoints[0].iter_mut().zip(x[0]).for_each(|(a, x)| *a += upstream[0] * x.cos());
        }
    }

    /// The first half of the operand.
    struct Head;
    impl Node for Head {
        fn forward(&mut self, x: &[&[f64]], out: &mut [f64]) {
            out.copy_from_slice(&x[0][..out.len()]);
        }
        fn backward(&mut self, _: &[&[f64]], _: &[f64], upstream: &[f64], adjoints: &mut [&mut [f64]]) {
            adjoints[0].iter_mut().zip(upstream).for_each(|(a, u)| *a += u);
        }
    }

    const X: [f64; 4] = [0.3, -1.2, 2.0, 0.7];

    /// Central differences are good to about 1e-10.
    #[test]
    fn a_value_used_twice_gets_both_gradients() {
        let mut tape = Tape::new(4);
        let x = tape.parameters();
        let c = tape.constant(&[1.0, 2.0, -3.0, 0.5]);
        let a = tape.node(&[x, c], 4, Times);
        let b = tape.node(&[a, x], 4, Times);
        tape.node(&[b], 1, SumSin);
        assert!(tape.check(&X) < 1e-8);
        tape.set(c, &[0.0; 4]);
        assert_eq!(tape.forward(&X), 0.0, "a constant can be replaced");
        // Runs do not add up.
        tape.set(c, &[1.0; 4]);
        tape.forward(&X);
        let once = tape.backward().to_vec();
        tape.forward(&X);
        assert_eq!(tape.backward(), once);
    }

    #[test]
    fn operations_of_dfdx_mix_with_nodes() {
        let mut tape = Tape::new(4);
        let x = tape.parameters();
        let left = tape.node(&[x], 2, Head);
        // [2 × 1] · [1 × 4]
        let product = tape.matmul(left, x, (2, 1, 4));
        let twice = tape.constant(&[2.0; 8]);
        let scaled = tape.node(&[product, twice], 8, Times);
        let both = tape.add(scaled, product);
        let sines = tape.node(&[both], 1, SumSin);
        let total = tape.sum(x);
        tape.add(sines, total);
        assert!(tape.check(&X) < 1e-8);
    }

    #[test]
    #[should_panic(expected = "given twice")]
    fn one_operand_twice_is_refused() {
        let mut tape = Tape::new(2);
        let x = tape.parameters();
        tape.add(x, x);
    }

    #[test]
    fn empty_vectors_pass_through() {
        let mut tape = Tape::new(0);
        let x = tape.parameters();
        tape.node(&[x], 1, SumSin);
        assert_eq!(tape.forward(&[]), 0.0);
        assert!(tape.backward().is_empty());
    }

    /// Kingma & Ba, algorithm 1, by hand.
    #[test]
    fn adam_takes_the_published_step() {
        let mut adam = Adam::new(2);
        let mut x = [1.0, -2.0];
        let (mut m, mut v) = ([0.0; 2], [0.0; 2]);
        let mut by_hand = x;
        for t in 1..=5 {
            let g = [x[0], 3.0 * x[1]];
            adam.step(&mut x, &g, 0.1);
            for i in 0..2 {
                m[i] = 0.9 * m[i] + 0.1 * g[i];
                v[i] = 0.999 * v[i] + 0.001 * g[i] * g[i];
                let (mh, vh) = (m[i] / (1.0 - 0.9f64.powi(t)), v[i] / (1.0 - 0.999f64.powi(t)));
                by_hand[i] -= 0.1 * mh / (vh.sqrt() + 1e-8);
                assert!((x[i] - by_hand[i]).abs() < 1e-13);
            }
        }
    }
}
