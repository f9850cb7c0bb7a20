//! The guide program: the family that is fitted, and how each latent is drawn from it.

use std::fmt;

use super::joint::{Joint, SlotKind, Written};
use crate::hir::{
    Constraint, Discrete, DistUse, ExprKind, Gradient, Guide as Family, GuideLine, Hir, MatrixKind, Noise, Step, Ty,
    VarId, VarKind,
};

/// The approximating family over the unconstrained latents, and each latent's way from it.
#[derive(Clone, Debug)]
pub struct Guide {
    pub family: Family,
    /// Whether the model writes its guide out.
    pub written: bool,
    pub entries: Vec<Entry>,
}

/// How one latent (or param) comes out of the guide.
#[derive(Clone, Debug)]
pub struct Entry {
    pub var: VarId,
    /// With its plates: `theta[schools]`.
    pub name: String,
    /// The value in terms of the unconstrained draw `u`, after `=`; or its distribution, after `~`.
    pub value: String,
    /// How the gradient of the bound passes through it.
    pub gradient: String,
    /// Why it is drawn so; empty where there is no choice.
    pub why: String,
}

/// The guide that the model asks for, over the latents of its log joint.
pub fn guide(hir: &Hir, joint: &Joint) -> Guide {
    let mut drawn = vec![];
    let mut entries: Vec<Entry> = vec![];
    for u in &joint.unconstrained {
        debug_assert!(matches!(joint.slot(u.slot).kind, SlotKind::Unconstrained(_)));
        let input = |w: &Written| w.switch == Some(u.slot) || w.scores.iter().any(|s| s.0 == u.slot || s.1 == u.slot);
        if joint.written.as_ref().is_some_and(input) {
            continue;
        }
        match joint.written.as_ref().is_some_and(|w| w.noise.contains(&u.slot)) {
            false => entries.push(of_coordinates(hir, u.var)),
            // A draw may be made from several noises.
            true if drawn.contains(&u.var) => {}
            true => {
                drawn.push(u.var);
                entries.extend(of_line(hir, joint, u.var));
            }
        }
    }
    let named = |d: &Discrete| joint.eliminated.iter().any(|e| e.names.contains(&hir.var(d.var).name));
    entries.extend(hir.discrete.iter().filter(|d| named(d)).map(|d| summed_out(hir, d)));
    Guide { family: hir.guide, written: hir.written.is_some(), entries }
}

fn plated(hir: &Hir, var: VarId) -> String {
    let v = hir.var(var);
    let plates: Vec<&str> = v.axes.iter().map(|a| hir.axis(*a).name.as_str()).collect();
    if plates.is_empty() { v.name.clone() } else { format!("{}[{}]", v.name, plates.join(", ")) }
}

fn summed_out(hir: &Hir, d: &Discrete) -> Entry {
    let gradient = "enumerated: summed out of the log joint exactly".into();
    let values = match d.cut {
        true => "a count, up to one that its prior hardly passes".to_string(),
        false if hir.var(d.var).ty == Ty::Index(d.plate) => format!("a cell of `{}`", hir.plate(d.plate).name),
        false => "one of finitely many numbers".to_string(),
    };
    Entry { var: d.var, name: plated(hir, d.var), value: format!("is {values}"), gradient, why: String::new() }
}

/// A latent with a line of its own in a written guide.
fn of_line(hir: &Hir, joint: &Joint, var: VarId) -> Option<Entry> {
    let lines = &hir.written.as_ref()?.lines;
    let (dist, over, flow, asked) = lines.iter().find_map(|l| match l {
        GuideLine::Draw { var: v, dist, over, flow, gradient, .. } if *v == var => Some((dist, over, flow, *gradient)),
        _ => None,
    })?;
    let scored = joint.written.as_ref().is_some_and(|w| w.scored.contains(&var));
    let by_score = "score function, leave-one-out baseline, terms that depend on the cell";
    let relaxed: String;
    let (gradient, why) = if hir.discrete(var).is_some() {
        match (scored, asked) {
            (_, Gradient::Gumbel { temperature }) => {
                relaxed = format!("Gumbel-softmax relaxation at temperature {temperature}: BIASED");
                (relaxed.as_str(), "asked for")
            }
            (true, Gradient::Score) => (by_score, "asked for"),
            (true, Gradient::Read) => (by_score, "a later line reads its value"),
            (true, _) => (by_score, "a term reads several of its cells, which one sum cannot enumerate"),
            (false, Gradient::Enumerate) => ("enumerated: the expectation over its values", "asked for"),
            (false, _) => ("enumerated: the expectation over its values", "every term reads one of its cells"),
        }
    } else if scored {
        (by_score, "asked for")
    } else if !flow.is_empty() {
        ("reparameterised", "layers with triangular Jacobians bend its draw")
    } else {
        match crate::check::location_scale(dist) {
            _ if by_gamma(dist) => (
                "reparameterised, implicit derivative along the shape",
                "its draw is made from gamma variates, moved along their quantiles",
            ),
            Some(_) => ("reparameterised, closed-form entropy", "a location plus a scale times noise"),
            None if !over.is_empty() => ("reparameterised", "its cells are drawn together, from noise per cell"),
            None => ("reparameterised", "its draw is a smooth function of noise"),
        }
    };
    let layers: String = flow.iter().map(|b| format!(" |> {}", b.name)).collect();
    let value = format!("~ {}{layers}", dist.name);
    Some(Entry { var, name: plated(hir, var), value, gradient: gradient.into(), why: why.into() })
}

/// Whether a draw is made from gamma variates.
fn by_gamma(dist: &DistUse) -> bool {
    let mut found = false;
    if let Some(sample) = &dist.sample {
        crate::check::walk(sample, &mut |e| found |= matches!(e.kind, ExprKind::Noise(Noise::Gamma, _)));
    }
    found
}

/// A latent of a family over the unconstrained scale, or a param.
fn of_coordinates(hir: &Hir, var: VarId) -> Entry {
    let v = hir.var(var);
    let settled = hir.written.as_ref().is_some_and(|w| w.settles(var));
    let step = hir.steps.iter().find_map(|s| match s {
        Step::Latent { var: v, dist, centering, .. } if *v == var && !settled => Some((dist, *centering)),
        _ => None,
    });
    let (noncentered, why) = step.map_or((false, ""), |(dist, asked)| super::centering(hir, var, dist, asked));
    let transform: String = match (&v.constraint, noncentered) {
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
        (Constraint::Matrix(MatrixKind::Cov | MatrixKind::CholeskyCov), _) => "a factor with diagonal exp(u)".into(),
        (Constraint::ZeroSum, _) => "V u, V a basis of what sums to 0".into(),
        (Constraint::UnitVector, _) => "u / |u|".into(),
        (Constraint::Simplex, _) => "softmax(V u), V the log-ratio basis".into(),
    };

    let gradient = match v.kind {
        VarKind::Param { .. } if hir.is_guides(var) => "point of the guide, fitted by maximising the bound",
        VarKind::Param { .. } => "point, fitted by maximising the bound",
        _ => "reparameterised, closed-form entropy",
    };
    let value = format!("= {transform}");
    Entry { var, name: plated(hir, var), value, gradient: gradient.into(), why: why.to_string() }
}

impl fmt::Display for Guide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = match self.family {
            _ if self.written => "written in the model".into(),
            Family::Default => "full-rank up to 500 latents, mean-field above".into(),
            Family::MeanField => "mean-field: u ~ Normal(m, diag(s)²)".into(),
            Family::FullRank => "full-rank: u ~ Normal(m, L Lᵀ)".into(),
            Family::Mixture(k) => format!("mixture: u ~ w_c Normal(m_c, L_c L_cᵀ), up to {k} modes c"),
            Family::Flow(k) => format!("flow: u = m + L f(z), z ~ Normal(0, I), f of {k} coupling layers"),
            Family::LowRank(k) => format!("low-rank: u ~ Normal(m, diag(s)² + U Uᵀ), U with {k} columns"),
        };
        writeln!(f, "guide {family}")?;
        let width = self.entries.iter().map(|e| e.name.chars().count()).max().unwrap_or(0);
        for e in &self.entries {
            let why = if e.why.is_empty() { String::new() } else { format!("; {}", e.why) };
            writeln!(f, "  {:width$} {}  # {}{why}", e.name, e.value, e.gradient)?;
        }
        Ok(())
    }
}
