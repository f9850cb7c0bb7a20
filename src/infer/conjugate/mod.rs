//! Coordinate ascent with factors in closed form, and EM: no gradient is followed, none is wasted.
//!
//! The target here is the expected log joint over expected statistics (`derive::statistics`). Its derivative along the
//! statistics of a block is the natural parameter of the best factor given the others; a `param`'s factor is the point that
//! maximises the same form. Block after block the lower bound can only rise; where rounding makes it fall, the ascent ends with
//! what it had, as one that did not converge. With all latents discrete,
//! or in one block, the bound after each sweep is the log evidence itself, and the ascent is EM (Dempster, Laird and
//! Rubin 1977; in its multicycle form, Meng and Rubin 1993).

mod approximation;
mod ascent;
mod block;
mod drawn;
mod factor;
mod stochastic;
#[cfg(test)]
mod tests;
mod wishart;

pub use approximation::Factors;
pub use ascent::{Ascent, Plan, ascend};
pub use block::{BetaCell, Block, Form, Matrix, Normal, NormalCell, PowerCell, Range, RawCell, Simplex};
pub use factor::{Factor, cell_names};
pub use stochastic::{Stochastic, Stopped};

/// Why an ascent ended without a result.
#[derive(Clone, Debug, PartialEq)]
pub struct Trouble {
    pub kind: TroubleKind,
    /// The cell concerned, as the target names it.
    pub name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TroubleKind {
    /// The expected log joint is not finite where the ascent begins, or became so.
    NotFinite,
    /// No row is left to the cell: a component of a mixture that has become empty.
    Empty,
    /// A point at which the likelihood grows without bound: a scale that goes to 0.
    Unbounded,
    /// The best point would lie outside of its range, or anywhere.
    NoMaximum,
    /// The best factor is not a distribution: the model and the data leave it undetermined.
    Improper,
    /// A precision matrix that is not positive definite.
    Singular,
}

impl Trouble {
    fn of(kind: TroubleKind, name: &str) -> Trouble {
        Trouble { kind, name: name.into() }
    }

    fn not_finite(name: &str) -> Trouble {
        Trouble::of(TroubleKind::NotFinite, name)
    }

    fn empty(name: &str) -> Trouble {
        Trouble::of(TroubleKind::Empty, name)
    }

    fn unbounded(name: &str) -> Trouble {
        Trouble::of(TroubleKind::Unbounded, name)
    }

    fn no_maximum(name: &str) -> Trouble {
        Trouble::of(TroubleKind::NoMaximum, name)
    }

    fn improper(name: &str) -> Trouble {
        Trouble::of(TroubleKind::Improper, name)
    }

    fn singular(name: &str) -> Trouble {
        Trouble::of(TroubleKind::Singular, name)
    }
}
