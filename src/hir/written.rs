//! A guide written out line by line.

use super::{AxisId, DistUse, Expr, Guide, Step, VarId};
use crate::source::Span;

/// `guide { … }`: how the latents are drawn, in sampling order.
#[derive(Clone, Debug)]
pub struct Written {
    pub span: Span,
    pub lines: Vec<GuideLine>,
}

#[derive(Clone, Debug)]
pub enum GuideLine {
    /// A `param` or a `let` of the guide's own.
    Own(Step),
    /// `z ~ Normal(m, s)`
    Draw {
        var: VarId,
        /// The axis along which its cells are drawn together, whatever the model says.
        over: Vec<AxisId>,
        dist: DistUse,
        /// What is made of the draw, layer after layer.
        flow: Vec<Bend>,
        gradient: Gradient,
        span: Span,
    },
    /// `mu, tau ~ fullrank()`, `rest ~ meanfield()`: a family on the unconstrained scale.
    Family {
        vars: Vec<VarId>,
        family: Guide,
        /// Those of them that lines below read.
        read: Vec<VarId>,
        span: Span,
    },
}

/// A layer of a flow: an invertible map of the cells of a latent.
#[derive(Clone, Debug)]
pub struct Bend {
    pub name: String,
    /// Holds what the map is applied to.
    pub input: VarId,
    pub value: Expr,
    /// log |∂ value / ∂ input| per cell. The Jacobian is triangular in some order of the cells, so that these sum to the log of
    /// its determinant.
    pub log_slope: Expr,
}

/// How the gradient passes through a draw.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Gradient {
    /// By the best way there is: along the draw if it is continuous.
    Auto,
    /// By the expectation over its values.
    Enumerate,
    /// By the score function.
    Score,
    /// The same, since a later line reads the value drawn.
    Read,
    /// Along a relaxed draw, which is biased.
    Gumbel { temperature: f64 },
}

impl Written {
    /// Whether some latents are drawn together by a family.
    pub fn has_groups(&self) -> bool {
        self.lines.iter().any(|l| matches!(l, GuideLine::Family { family: Guide::FullRank, .. }))
    }

    /// Whether a line bends its draw.
    pub fn has_flows(&self) -> bool {
        self.lines.iter().any(|l| matches!(l, GuideLine::Draw { flow, .. } if !flow.is_empty()))
    }

    /// Whether a line gives a distribution of this latent.
    pub fn draws(&self, var: VarId) -> bool {
        self.lines.iter().any(|l| matches!(l, GuideLine::Draw { var: v, .. } if *v == var))
    }

    /// Whether the guide gives a latent its value before the model's own lines are reached.
    pub fn settles(&self, var: VarId) -> bool {
        self.lines.iter().any(|l| match l {
            GuideLine::Draw { var: v, .. } => *v == var,
            GuideLine::Family { read, .. } => read.contains(&var),
            GuideLine::Own(_) => false,
        })
    }
}
