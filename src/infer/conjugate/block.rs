//! Blocks of latents with a factor each, and where their statistics and coordinates are.

use crate::prim::scalar::softplus;

/// A latent, or normal latents that share a factor.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// As the model names them.
    pub names: Vec<String>,
    /// `param`s: the factor is a point.
    pub point: bool,
    pub form: Form,
}

/// The family of the factor. Statistics are places in the vector of all statistics; `theta` are coordinates of the target.
#[derive(Clone, Debug, PartialEq)]
pub enum Form {
    /// Multivariate normals, each over cells that stand in products with each other.
    Normal(Vec<Normal>),
    /// x^power ~ Gamma, on x > 0: a gamma for 1, an inverse gamma for -1, a standard deviation whose square is inverse
    /// gamma for -2.
    Power {
        power: f64,
        cells: Vec<PowerCell>,
    },
    Beta(Vec<BetaCell>),
    Dirichlet(Vec<Simplex>),
    /// Covariance or precision matrices: Wishart, or inverse Wishart.
    Wishart(Vec<Matrix>),
    /// Points without a closed form, which are inputs themselves.
    Raw(Vec<RawCell>),
    /// Latents without one, likewise: normals on the unconstrained scale.
    Drawn(Vec<RawCell>),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Normal {
    pub cells: Vec<NormalCell>,
    /// The statistic of x_i · x_j.
    pub products: Vec<(usize, usize, usize)>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct NormalCell {
    pub x: Option<usize>,
    pub square: Option<usize>,
    pub theta: usize,
    pub name: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct PowerCell {
    pub log: Option<usize>,
    pub value: Option<usize>,
    pub theta: usize,
    pub name: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct BetaCell {
    pub log: Option<usize>,
    pub log1m: Option<usize>,
    pub theta: usize,
    pub name: String,
}

/// Probabilities with their isometric log-ratios as coordinates.
#[derive(Clone, Debug, PartialEq)]
pub struct Simplex {
    pub logs: Vec<usize>,
    pub theta: Vec<usize>,
    pub names: Vec<String>,
}

/// A matrix X of p rows; its coordinates are those of its lower factor L, row after row, with logs on the diagonal.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    pub rows: usize,
    /// Statistics of log L_ii.
    pub logs: Vec<usize>,
    /// Of the cells of X, or of X⁻¹ where `inverse`; by rows.
    pub cells: Vec<usize>,
    pub inverse: bool,
    pub theta: Vec<usize>,
    /// Of all cells, by rows.
    pub names: Vec<String>,
}

/// The range of a point, as it is transformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    Real,
    Positive,
    Unit,
}

#[derive(Clone, Debug, PartialEq)]
pub struct RawCell {
    /// The input that is the cell itself.
    pub input: usize,
    pub range: Range,
    pub theta: usize,
    pub name: String,
}

impl Range {
    pub fn value(self, u: f64) -> f64 {
        match self {
            Range::Real => u,
            Range::Positive => u.exp(),
            Range::Unit => 1.0 / (1.0 + (-u).exp()),
        }
    }

    pub fn free(self, x: f64) -> f64 {
        match self {
            Range::Real => x,
            Range::Positive => x.ln(),
            Range::Unit => (x / (1.0 - x)).ln(),
        }
    }

    /// log |d value / d u|
    pub fn log_slope(self, u: f64) -> f64 {
        match self {
            Range::Real => 0.0,
            Range::Positive => u,
            Range::Unit => -softplus(u) - softplus(-u),
        }
    }

    /// Its derivative.
    pub fn log_slope_slope(self, u: f64) -> f64 {
        match self {
            Range::Real => 0.0,
            Range::Positive => 1.0,
            Range::Unit => 1.0 - 2.0 * self.value(u),
        }
    }

    /// d value / d u, at the value.
    pub fn slope(self, x: f64) -> f64 {
        match self {
            Range::Real => 1.0,
            Range::Positive => x,
            Range::Unit => x * (1.0 - x),
        }
    }
}

/// Coordinates of probabilities, from their logs: u_j = Σ_k V_kj log x_k (Egozcue et al. 2003).
pub fn log_ratios(logs: &[f64]) -> Vec<f64> {
    (1..logs.len())
        .map(|j| {
            let scale = 1.0 / ((j * (j + 1)) as f64).sqrt();
            (logs[..j].iter().sum::<f64>() - j as f64 * logs[j]) * scale
        })
        .collect()
}

/// Logs of the probabilities at such coordinates.
pub fn from_log_ratios(u: &[f64]) -> Vec<f64> {
    let mut y = vec![0.0; u.len() + 1];
    for (j, u) in (1..).zip(u) {
        let scale = 1.0 / ((j * (j + 1)) as f64).sqrt();
        y[..j].iter_mut().for_each(|y| *y += u * scale);
        y[j] -= j as f64 * u * scale;
    }
    let most = y.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let total = most + y.iter().map(|y| (y - most).exp()).sum::<f64>().ln();
    y.iter().map(|y| y - total).collect()
}
