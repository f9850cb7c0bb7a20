//! Every operation's derivative against differences, at points where it is smooth.

use super::build::Model;
use crate::derive::joint::*;

/// Every function with points of its domain, both tails included.
const UNARY: [(UnOp, &[f64]); 28] = [
    (UnOp::Neg, &[0.3]),
    (UnOp::Abs, &[-0.7, 2.0]),
    (UnOp::Sqrt, &[0.2, 3.0]),
    (UnOp::Recip, &[-0.4, 3.0]),
    (UnOp::Floor, &[0.3]),
    (UnOp::Ceil, &[0.3]),
    (UnOp::Round, &[0.3]),
    (UnOp::Not, &[0.3]),
    (UnOp::Sign, &[0.3, -2.0]),
    (UnOp::Exp, &[-3.0, 1.0]),
    (UnOp::Log, &[0.2, 5.0]),
    (UnOp::Log1p, &[-0.5, 1e-3, 4.0]),
    (UnOp::Expm1, &[-2.0, 1e-3, 1.0]),
    (UnOp::Tanh, &[-2.0, 0.1, 1.0]),
    (UnOp::Sin, &[0.4, 3.0]),
    (UnOp::Cos, &[0.4, 3.0]),
    (UnOp::Atan, &[-2.0, 0.1]),
    (UnOp::Sigmoid, &[-12.0, 0.4, 8.0]),
    (UnOp::Softplus, &[-12.0, 0.4, 8.0]),
    (UnOp::Lgamma, &[0.3, 1.0, 4.5, 30.0]),
    (UnOp::Digamma, &[0.3, 1.46, 4.5, 30.0]),
    (UnOp::Trigamma, &[0.3, 1.0, 4.5, 30.0]),
    (UnOp::Erf, &[-1.5, 0.2]),
    (UnOp::Phi, &[-4.0, -1.0, 2.0]),
    (UnOp::LogPhi, &[-20.0, -4.0, -2.9, 1.0]),
    (UnOp::InvMills, &[-20.0, -4.0, -2.9, 1.0]),
    (UnOp::LogBesselI0, &[0.0, 0.3, -2.0, 31.0]),
    (UnOp::BesselRatio, &[0.3, -2.0, 31.0]),
];

#[test]
fn of_one_operand() {
    for (op, points) in UNARY {
        let mut m = Model::default();
        let x = m.latent("x", &[]);
        let x = m.read(x, &[]);
        let y = m.un(op, x);
        m.term("t", &[], y);
        points.iter().for_each(|&p| drop(m.check_at(&[p])));
    }
}

#[test]
fn of_two_operands() {
    let cases: [(BinOp, &[[f64; 2]]); 15] = [
        (BinOp::Add, &[[0.3, -1.0]]),
        (BinOp::Sub, &[[0.3, -1.0]]),
        (BinOp::Mul, &[[0.3, -1.0]]),
        (BinOp::Div, &[[0.3, -1.2], [-2.0, 0.4]]),
        (BinOp::Pow, &[[0.3, -1.2], [2.0, 0.4], [1.5, 3.0]]),
        (BinOp::Min, &[[0.3, -1.2], [-2.0, 0.4]]),
        (BinOp::Max, &[[0.3, -1.2], [-2.0, 0.4]]),
        (BinOp::Less, &[[0.3, -1.2]]),
        (BinOp::LessEq, &[[0.3, -1.2]]),
        (BinOp::Equal, &[[0.3, -1.2]]),
        (BinOp::NotEqual, &[[0.3, -1.2]]),
        (BinOp::And, &[[0.3, -1.2]]),
        (BinOp::Or, &[[0.3, -1.2]]),
        (BinOp::XLogY, &[[0.3, 1.2], [-2.0, 0.4]]),
        (BinOp::LogGammaDraw, &[[0.3, 1.2], [0.3, -2.0], [2.7, -1.1], [2.7, 0.4], [41.0, 1.5]]),
    ];
    for (op, points) in cases {
        let mut m = Model::default();
        let (a, b) = (m.latent("a", &[]), m.latent("b", &[]));
        let (a, b) = (m.read(a, &[]), m.read(b, &[]));
        let y = m.bin(op, a, b);
        m.term("t", &[], y);
        points.iter().for_each(|p| drop(m.check_at(p)));
    }
}

#[test]
fn of_powers_with_a_constant_exponent() {
    for n in [-3.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0, 7.0, 16.0, 17.0, 2.5] {
        let mut m = Model::default();
        let a = m.latent("a", &[]);
        let (a, n) = (m.read(a, &[]), m.c(n));
        let y = m.bin(BinOp::Pow, a, n);
        m.term("t", &[], y);
        m.check_at(&[1.3]);
        m.check_at(&[0.7]);
    }
}
