//! Activations: what is done to each unit.

use super::super::expr::{binary, number, unary};
use crate::hir::{BinOp, Expr, Ty, UnOp};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Activation {
    Identity,
    Tanh,
    Relu,
    LeakyRelu,
    Elu,
    Gelu,
    Swish,
    Sigmoid,
    Softplus,
}

/// Their names in a model.
pub(super) const ACTIVATIONS: &[(&str, Activation)] = &[
    ("tanh", Activation::Tanh),
    ("relu", Activation::Relu),
    ("leaky_relu", Activation::LeakyRelu),
    ("elu", Activation::Elu),
    ("gelu", Activation::Gelu),
    ("swish", Activation::Swish),
    ("silu", Activation::Swish),
    ("sigmoid", Activation::Sigmoid),
    ("softplus", Activation::Softplus),
    ("identity", Activation::Identity),
];

impl Activation {
    pub fn named(name: &str) -> Option<Activation> {
        ACTIVATIONS.iter().find(|a| a.0 == name).map(|a| a.1)
    }

    /// Whether about half of its inputs are lost, so that weights before it start larger.
    pub fn is_rectifier(self) -> bool {
        match self {
            Activation::Relu | Activation::LeakyRelu | Activation::Elu | Activation::Gelu | Activation::Swish => true,
            Activation::Identity | Activation::Tanh | Activation::Sigmoid | Activation::Softplus => false,
        }
    }

    /// `x` must be cheap to repeat: a name.
    pub fn of(self, x: Expr) -> Expr {
        let span = x.span;
        let one = |op, x: Expr| unary(op, x, Ty::Real, span);
        let two = |op, a: Expr, b: Expr| binary(op, a, b, Ty::Real, span);
        let n = |v| number(v, Ty::Real, span);
        match self {
            Activation::Identity => x,
            Activation::Tanh => one(UnOp::Tanh, x),
            Activation::Sigmoid => one(UnOp::Sigmoid, x),
            Activation::Softplus => one(UnOp::Softplus, x),
            Activation::Relu => two(BinOp::Max, x, n(0.0)),
            Activation::LeakyRelu => two(BinOp::Max, x.clone(), two(BinOp::Mul, n(0.01), x)),
            // The parts on either side of 0, each 0 on the other.
            Activation::Elu => {
                let (up, down) = (two(BinOp::Max, x.clone(), n(0.0)), two(BinOp::Min, x, n(0.0)));
                two(BinOp::Add, up, one(UnOp::Expm1, down))
            }
            // x Φ(x), exactly (Hendrycks and Gimpel 2016).
            Activation::Gelu => two(BinOp::Mul, x.clone(), one(UnOp::Phi, x)),
            Activation::Swish => two(BinOp::Mul, x.clone(), one(UnOp::Sigmoid, x)),
        }
    }
}
