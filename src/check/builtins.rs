//! The primitives: functions and constants that the compiler itself knows. Everything else is library code in `.vi`.

use crate::hir::{BinOp, MatrixFn, Noise, Reduction, UnOp};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Builtin {
    Unary(UnOp),
    Binary(BinOp),
    /// `min`/`max`: a reduction with `over`, else a function of two arguments.
    Extremum(Reduction, BinOp),
    Reduce(Reduction),
    /// `size(plate)`
    Size,
    /// `ode(f, z0, t0, times, …)`
    Ode,
    Noise(NoiseKind),
    Matrix(MatrixFn),
}

/// Base noise by name; `Categorical` and `Multinomial` take their axis from `over`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NoiseKind {
    Fixed(Noise, usize),
    Categorical,
    Multinomial,
    /// A correlation matrix over the plate in `[ ]`, or its factor.
    Lkj {
        factor: bool,
    },
    /// A covariance matrix over the plate in `[ ]`.
    Wishart {
        inverse: bool,
    },
}

/// Name, meaning, and for the reference, which lists them in this order: the call and what it gives.
pub const BUILTINS: &[(&str, Builtin, &str, &str)] = &[
    ("abs", Builtin::Unary(UnOp::Abs), "abs(x)", "absolute value"),
    ("sqrt", Builtin::Unary(UnOp::Sqrt), "sqrt(x)", "square root"),
    ("exp", Builtin::Unary(UnOp::Exp), "exp(x)", "e^x"),
    ("log", Builtin::Unary(UnOp::Log), "log(x)", "natural logarithm"),
    ("log1p", Builtin::Unary(UnOp::Log1p), "log1p(x)", "log(1 + x), accurate for small x"),
    ("expm1", Builtin::Unary(UnOp::Expm1), "expm1(x)", "exp(x) - 1, accurate for small x"),
    ("log1p_exp", Builtin::Unary(UnOp::Softplus), "log1p_exp(x)", "log(1 + exp(x)), without overflow"),
    ("softplus", Builtin::Unary(UnOp::Softplus), "softplus(x)", "another name of `log1p_exp`"),
    ("inv_logit", Builtin::Unary(UnOp::Sigmoid), "inv_logit(x)", "1 / (1 + exp(-x))"),
    ("sigmoid", Builtin::Unary(UnOp::Sigmoid), "sigmoid(x)", "another name of `inv_logit`"),
    ("tanh", Builtin::Unary(UnOp::Tanh), "tanh(x)", "hyperbolic tangent"),
    ("sin", Builtin::Unary(UnOp::Sin), "sin(x)", "sine"),
    ("cos", Builtin::Unary(UnOp::Cos), "cos(x)", "cosine"),
    ("atan", Builtin::Unary(UnOp::Atan), "atan(x)", "inverse tangent"),
    ("lgamma", Builtin::Unary(UnOp::Lgamma), "lgamma(x)", "log of the absolute value of the gamma function"),
    ("digamma", Builtin::Unary(UnOp::Digamma), "digamma(x)", "derivative of `lgamma`"),
    (
        "log_bessel_i0",
        Builtin::Unary(UnOp::LogBesselI0),
        "log_bessel_i0(x)",
        "log of the modified Bessel function of the first kind of order 0",
    ),
    ("erf", Builtin::Unary(UnOp::Erf), "erf(x)", "error function"),
    ("Phi", Builtin::Unary(UnOp::Phi), "Phi(x)", "standard normal distribution function"),
    ("log_Phi", Builtin::Unary(UnOp::LogPhi), "log_Phi(x)", "log of `Phi`, accurate in the lower tail"),
    ("sign", Builtin::Unary(UnOp::Sign), "sign(x)", "-1, 0 or 1"),
    ("floor", Builtin::Unary(UnOp::Floor), "floor(x)", "largest whole number that is not above x"),
    ("ceil", Builtin::Unary(UnOp::Ceil), "ceil(x)", "smallest whole number that is not below x"),
    ("round", Builtin::Unary(UnOp::Round), "round(x)", "nearest whole number; halves go to the even one"),
    ("pow", Builtin::Binary(BinOp::Pow), "pow(x, y)", "x^y"),
    ("xlogy", Builtin::Binary(BinOp::XLogY), "xlogy(x, y)", "x log(y), exactly 0 where x is 0"),
    (
        "min",
        Builtin::Extremum(Reduction::Min, BinOp::Min),
        "min(x, y), min(x over plate)",
        "smaller of two values; smallest along a plate",
    ),
    (
        "max",
        Builtin::Extremum(Reduction::Max, BinOp::Max),
        "max(x, y), max(x over plate)",
        "larger of two values; largest along a plate",
    ),
    ("sum", Builtin::Reduce(Reduction::Sum), "sum(x over plate)", "sum"),
    ("mean", Builtin::Reduce(Reduction::Mean), "mean(x over plate)", "mean"),
    ("sd", Builtin::Reduce(Reduction::Sd), "sd(x over plate)", "sample standard deviation (divisor n - 1)"),
    ("prod", Builtin::Reduce(Reduction::Prod), "prod(x over plate)", "product"),
    (
        "logsumexp",
        Builtin::Reduce(Reduction::LogSumExp),
        "logsumexp(x over plate)",
        "log of the sum of exp(x), without overflow",
    ),
    ("any", Builtin::Reduce(Reduction::Any), "any(c over plate)", "whether a condition holds somewhere"),
    ("all", Builtin::Reduce(Reduction::All), "all(c over plate)", "whether a condition holds everywhere"),
    ("size", Builtin::Size, "size(plate)", "number of cells"),
    (
        "cholesky",
        Builtin::Matrix(MatrixFn::Cholesky),
        "cholesky(A)",
        "lower factor L of a symmetric positive definite matrix: A = L L\u{1d40}",
    ),
    (
        "solve_lower",
        Builtin::Matrix(MatrixFn::Solve { transposed: false }),
        "solve_lower(L, b)",
        "x in L x = b, for a lower triangle L",
    ),
    (
        "solve_lower_transposed",
        Builtin::Matrix(MatrixFn::Solve { transposed: true }),
        "solve_lower_transposed(L, b)",
        "x in L\u{1d40} x = b, for a lower triangle L",
    ),
    (
        "ode",
        Builtin::Ode,
        "ode(f, z0, t0, times, …)",
        "solution of dz/dt = f(t, z, …) from z0 at t0, at each of the times",
    ),
    ("std_normal", Builtin::Noise(NoiseKind::Fixed(Noise::Normal, 0)), "std_normal()", "a standard normal draw"),
    ("std_uniform", Builtin::Noise(NoiseKind::Fixed(Noise::Uniform, 0)), "std_uniform()", "a uniform draw on (0, 1)"),
    ("std_gamma", Builtin::Noise(NoiseKind::Fixed(Noise::Gamma, 1)), "std_gamma(shape)", "a gamma draw with rate 1"),
    ("std_poisson", Builtin::Noise(NoiseKind::Fixed(Noise::Poisson, 1)), "std_poisson(rate)", "a Poisson draw"),
    ("std_binomial", Builtin::Noise(NoiseKind::Fixed(Noise::Binomial, 2)), "std_binomial(n, p)", "a binomial draw"),
    (
        "std_hypergeometric",
        Builtin::Noise(NoiseKind::Fixed(Noise::Hypergeometric, 3)),
        "std_hypergeometric(n, a, b)",
        "successes among n drawn from a successes and b failures",
    ),
    (
        "std_von_mises",
        Builtin::Noise(NoiseKind::Fixed(Noise::VonMises, 1)),
        "std_von_mises(kappa)",
        "an angle around 0 with concentration kappa",
    ),
    (
        "std_multinomial",
        Builtin::Noise(NoiseKind::Multinomial),
        "std_multinomial(n, p over plate)",
        "how many of n fall on each cell, with these probabilities",
    ),
    (
        "std_categorical",
        Builtin::Noise(NoiseKind::Categorical),
        "std_categorical(p over plate)",
        "a cell drawn with these probabilities",
    ),
    (
        "std_lkj",
        Builtin::Noise(NoiseKind::Lkj { factor: false }),
        "std_lkj[plate](eta)",
        "a correlation matrix over a plate, as `LKJ(eta)` gives it",
    ),
    (
        "std_lkj_cholesky",
        Builtin::Noise(NoiseKind::Lkj { factor: true }),
        "std_lkj_cholesky[plate](eta)",
        "its lower Cholesky factor",
    ),
    (
        "std_wishart",
        Builtin::Noise(NoiseKind::Wishart { inverse: false }),
        "std_wishart[plate](dof, scale)",
        "a matrix over a plate, as `Wishart(dof, scale)` gives it",
    ),
    (
        "std_inverse_wishart",
        Builtin::Noise(NoiseKind::Wishart { inverse: true }),
        "std_inverse_wishart[plate](dof, scale)",
        "the same of `InverseWishart(dof, scale)`",
    ),
];

/// Names that stand for a number.
pub const CONSTANTS: &[(&str, f64)] =
    &[("pi", std::f64::consts::PI), ("inf", f64::INFINITY), ("nan", f64::NAN), ("true", 1.0), ("false", 0.0)];

pub fn builtin(name: &str) -> Option<Builtin> {
    BUILTINS.iter().find(|b| b.0 == name).map(|b| b.1)
}

pub fn constant(name: &str) -> Option<f64> {
    CONSTANTS.iter().find(|(n, _)| *n == name).map(|(_, v)| *v)
}

/// Functions whose meaning comes with later parts of the language, with what to write until then.
pub const LATER: &[(&str, &str)] = &[
    ("dense", "write the layers as sums, with the weights as latents"),
    ("head", "write the layers as sums, with the weights as latents"),
    ("conv", "write the layers as sums, with the weights as latents"),
    ("embed", "a latent per level: `latent e[level, dim] ~ Normal(0, 1)`"),
    ("split", "write the parts as values of their own"),
    ("range", "a plate of numbers is `plate k = range(0, 4)`"),
];

/// What other languages call a function of ours.
pub const FOREIGN: &[(&str, &str)] = &[
    ("draw", "`latent x ~ …` to draw a value; `draw(…)` is the whole start of a `param`"),
    ("ln", "`log(x)`, the natural logarithm"),
    ("expit", "`inv_logit(x)`"),
    ("ilogit", "`inv_logit(x)`"),
    ("invlogit", "`inv_logit(x)`"),
    ("logexpit", "`log_inv_logit(x)`"),
    ("log_sigmoid", "`log_inv_logit(x)`"),
    ("probit", "`Phi(x)` for its inverse; a probit has no closed form here"),
    ("std_normal_cdf", "`Phi(x)`"),
    ("phi_approx", "`Phi(x)`"),
    ("norm_cdf", "`Phi(x)`"),
    ("absolute", "`abs(x)`"),
    ("arctan", "`atan(x)`"),
    ("loggamma", "`lgamma(x)`"),
    ("rowsums", "`sum(x over plate)`"),
    ("colmeans", "`mean(x over plate)`"),
    ("inprod", "`sum(a * b over plate)`"),
    ("inner", "`sum(a * b over plate)`"),
    ("step", "`if x >= 0 then 1 else 0`, for data"),
    ("equals", "`a == b`"),
    ("reciprocal", "`1 / x`"),
    ("logistic", "`inv_logit(x)`"),
    ("plogis", "`inv_logit(x)`"),
    ("qlogis", "`logit(p)`"),
    ("pnorm", "`Phi(x)`"),
    ("fabs", "`abs(x)`"),
    ("lgam", "`lgamma(x)`"),
    ("gammaln", "`lgamma(x)`"),
    ("log_sum_exp", "`logsumexp(x over plate)`"),
    ("std", "`sd(x over plate)`"),
    ("stdev", "`sd(x over plate)`"),
    ("var", "`sd(x over plate)^2`"),
    ("variance", "`sd(x over plate)^2`"),
    ("average", "`mean(x over plate)`"),
    ("length", "`size(plate)`"),
    ("len", "`size(plate)`"),
    ("nrow", "`size(table)`"),
    ("count", "`size(plate)`, or `sum(1 over k in plate where …)`"),
    ("dot", "`sum(a * b over plate)`"),
    ("dot_product", "`sum(a * b over plate)`"),
    ("matmul", "`sum(a * b over plate)`"),
    ("ifelse", "`if c then a else b`"),
    ("if_else", "`if c then a else b`"),
    ("int_step", "`if x > 0 then 1 else 0`, for data"),
    ("rep_vector", "the value by itself: it holds for every cell"),
    ("rep", "the value by itself: it holds for every cell"),
    ("zeros", "`0` by itself: it holds for every cell"),
    ("ones", "`1` by itself: it holds for every cell"),
    ("to_vector", "the name by itself: a value has all of its plates"),
    ("c", "a list in brackets: `[1, 2, 3]`"),
    ("array", "a list in brackets: `[1, 2, 3]`"),
    ("where", "`if c then a else b`"),
    ("power", "`x^y`"),
    ("cumsum", "a recurrence: `let s[t in rows] = if first(t) then x else s[t-1] + x`"),
    ("cumulative_sum", "a recurrence: `let s[t in rows] = if first(t) then x else s[t-1] + x`"),
    ("lag", "the row before: `y[t-1]`, where the left side names `t in rows`"),
    ("shift", "the row before: `y[t-1]`, where the left side names `t in rows`"),
];
