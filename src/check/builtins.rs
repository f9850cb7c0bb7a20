//! The primitives: functions and constants that the compiler itself knows. Everything else is library code in `.vi`.

use crate::hir::{BinOp, Noise, Reduction, UnOp};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Builtin {
    Unary(UnOp),
    Binary(BinOp),
    /// `min`/`max`: a reduction with `over`, else a function of two arguments.
    Extremum(Reduction, BinOp),
    Reduce(Reduction),
    /// `size(plate)`
    Size,
    Noise(NoiseKind),
}

/// Base noise by name; `Categorical` takes its axis from `over`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NoiseKind {
    Fixed(Noise, usize),
    Categorical,
}

/// Names and meaning, in the order in which the reference lists them.
pub const BUILTINS: &[(&str, Builtin)] = &[
    ("abs", Builtin::Unary(UnOp::Abs)),
    ("sqrt", Builtin::Unary(UnOp::Sqrt)),
    ("exp", Builtin::Unary(UnOp::Exp)),
    ("log", Builtin::Unary(UnOp::Log)),
    ("log1p", Builtin::Unary(UnOp::Log1p)),
    ("expm1", Builtin::Unary(UnOp::Expm1)),
    ("log1p_exp", Builtin::Unary(UnOp::Softplus)),
    ("softplus", Builtin::Unary(UnOp::Softplus)),
    ("inv_logit", Builtin::Unary(UnOp::Sigmoid)),
    ("sigmoid", Builtin::Unary(UnOp::Sigmoid)),
    ("tanh", Builtin::Unary(UnOp::Tanh)),
    ("sin", Builtin::Unary(UnOp::Sin)),
    ("cos", Builtin::Unary(UnOp::Cos)),
    ("atan", Builtin::Unary(UnOp::Atan)),
    ("lgamma", Builtin::Unary(UnOp::Lgamma)),
    ("digamma", Builtin::Unary(UnOp::Digamma)),
    ("erf", Builtin::Unary(UnOp::Erf)),
    ("Phi", Builtin::Unary(UnOp::Phi)),
    ("log_Phi", Builtin::Unary(UnOp::LogPhi)),
    ("sign", Builtin::Unary(UnOp::Sign)),
    ("floor", Builtin::Unary(UnOp::Floor)),
    ("ceil", Builtin::Unary(UnOp::Ceil)),
    ("round", Builtin::Unary(UnOp::Round)),
    ("pow", Builtin::Binary(BinOp::Pow)),
    ("xlogy", Builtin::Binary(BinOp::XLogY)),
    ("min", Builtin::Extremum(Reduction::Min, BinOp::Min)),
    ("max", Builtin::Extremum(Reduction::Max, BinOp::Max)),
    ("sum", Builtin::Reduce(Reduction::Sum)),
    ("mean", Builtin::Reduce(Reduction::Mean)),
    ("sd", Builtin::Reduce(Reduction::Sd)),
    ("prod", Builtin::Reduce(Reduction::Prod)),
    ("logsumexp", Builtin::Reduce(Reduction::LogSumExp)),
    ("any", Builtin::Reduce(Reduction::Any)),
    ("all", Builtin::Reduce(Reduction::All)),
    ("size", Builtin::Size),
    ("std_normal", Builtin::Noise(NoiseKind::Fixed(Noise::Normal, 0))),
    ("std_uniform", Builtin::Noise(NoiseKind::Fixed(Noise::Uniform, 0))),
    ("std_gamma", Builtin::Noise(NoiseKind::Fixed(Noise::Gamma, 1))),
    ("std_poisson", Builtin::Noise(NoiseKind::Fixed(Noise::Poisson, 1))),
    ("std_binomial", Builtin::Noise(NoiseKind::Fixed(Noise::Binomial, 2))),
    ("std_categorical", Builtin::Noise(NoiseKind::Categorical)),
];

/// Names that stand for a number.
pub const CONSTANTS: &[(&str, f64)] =
    &[("pi", std::f64::consts::PI), ("inf", f64::INFINITY), ("nan", f64::NAN), ("true", 1.0), ("false", 0.0)];

pub fn builtin(name: &str) -> Option<Builtin> {
    BUILTINS.iter().find(|(n, _)| *n == name).map(|(_, b)| *b)
}

pub fn constant(name: &str) -> Option<f64> {
    CONSTANTS.iter().find(|(n, _)| *n == name).map(|(_, v)| *v)
}

/// Functions whose meaning comes with later parts of the language, so that their use is answered as such.
pub const LATER: &[&str] = &[
    "truncated",
    "censored",
    "mixture",
    "Delta",
    "ode",
    "dense",
    "head",
    "first",
    "row",
    "range",
    "levels",
    "month",
    "draw",
    "conv",
    "embed",
    "split",
];
