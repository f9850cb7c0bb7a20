//! The guide program: the family that is fitted, and how each latent is drawn from it.

use std::fmt;

use super::joint::{Joint, SlotKind};
use crate::hir::{Constraint, Guide as Family, Hir, MatrixKind, Step, VarId, VarKind};

/// The approximating family over the unconstrained latents, and each latent's way from it.
#[derive(Clone, Debug)]
pub struct Guide {
    pub family: Family,
    pub entries: Vec<Entry>,
}

/// How one latent (or param) comes out of the guide.
#[derive(Clone, Debug)]
pub struct Entry {
    pub var: VarId,
    /// With its plates: `theta[schools]`.
    pub name: String,
    /// The value in terms of the unconstrained draw `u`.
    pub transform: String,
    /// Why it is drawn so; empty where there is no choice.
    pub why: String,
    pub point: bool,
}

/// The guide that the model asks for, over the latents of its log joint.
pub fn guide(hir: &Hir, joint: &Joint) -> Guide {
    let entries = joint
        .unconstrained
        .iter()
        .map(|u| {
            let v = hir.var(u.var);
            let plates: Vec<&str> = v.axes.iter().map(|a| hir.axis(*a).name.as_str()).collect();
            let name = if plates.is_empty() { v.name.clone() } else { format!("{}[{}]", v.name, plates.join(", ")) };
            debug_assert!(matches!(joint.slot(u.slot).kind, SlotKind::Unconstrained(_)));
            let step = hir.steps.iter().find_map(|s| match s {
                Step::Latent { var, dist, centering, .. } if *var == u.var => Some((dist, *centering)),
                _ => None,
            });
            let (noncentered, why) =
                step.map_or((false, ""), |(dist, asked)| super::centering(hir, u.var, dist, asked));
            let transform = match (&v.constraint, noncentered) {
                (Constraint::ZeroSum, true) => "sigma * V u, V a basis of what sums to 0 (noncentred)".into(),
                (_, true) if v.joint > 0 => "mu + L u, L the Cholesky factor (noncentred)".into(),
                (_, true) => "mu + sigma * u (noncentred)".into(),
                (Constraint::None, _) => "u".into(),
                (Constraint::Ordered { positive: false }, _) => "u[1], then + exp(u) for each further cell".into(),
                (Constraint::Ordered { positive: true }, _) => "sums of exp(u)".into(),
                (Constraint::Lower { .. }, _) => "lower + exp(u)".into(),
                (Constraint::Upper { .. }, _) => "upper - exp(u)".into(),
                (Constraint::Interval { .. }, _) => "lower + (upper - lower) * inv_logit(u)".into(),
                (Constraint::Matrix(MatrixKind::Corr | MatrixKind::CholeskyCorr), _) => {
                    "tanh(u), the partial correlations".into()
                }
                (Constraint::Matrix(MatrixKind::Cov | MatrixKind::CholeskyCov), _) => {
                    "a factor with diagonal exp(u)".into()
                }
                (Constraint::ZeroSum, _) => "V u, V a basis of what sums to 0".into(),
                (Constraint::UnitVector, _) => "u / |u|".into(),
                (Constraint::Simplex, _) => "softmax(V u), V the log-ratio basis".into(),
            };
            let point = matches!(v.kind, VarKind::Param { .. });
            Entry { var: u.var, name, transform, why: why.to_string(), point }
        })
        .collect();
    Guide { family: hir.guide, entries }
}

impl fmt::Display for Guide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = match self.family {
            Family::Default => "full-rank up to 200 latents, mean-field above",
            Family::MeanField => "mean-field: u ~ Normal(m, diag(s)²)",
            Family::FullRank => "full-rank: u ~ Normal(m, L Lᵀ)",
        };
        writeln!(f, "guide {family}")?;
        let width = self.entries.iter().map(|e| e.name.chars().count()).max().unwrap_or(0);
        for e in &self.entries {
            let how =
                if e.point { "point, fitted by maximising the bound" } else { "reparameterised, closed-form entropy" };
            let why = if e.why.is_empty() { String::new() } else { format!("; {}", e.why) };
            writeln!(f, "  {:width$} = {}  # {how}{why}", e.name, e.transform)?;
        }
        Ok(())
    }
}
