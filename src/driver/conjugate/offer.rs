//! What closed forms have to offer to `--method auto`: chosen where nothing is lost by them, mentioned where something is.

use crate::derive::statistics::{self, Statistics};
use crate::driver::{Compiled, Exact};
use crate::hir::{Constraint, Hir, PlateId, VarId, VarKind};
use crate::infer::{Choice, FitOptions, Method, Target};
use crate::lower;

/// What may be made of closed forms.
pub enum Offer {
    Nothing,
    /// Every latent has a factor in closed form, but as independent ones these would lose something.
    Mentioned(Method),
    /// They are the posterior itself given the params, if there are any.
    Fit(Method, Choice),
}

/// What closed forms offer beyond what integrates out.
pub fn offer(compiled: &Compiled, exact: Option<&Exact>) -> Offer {
    // Params that are left when all latents have been integrated out climb their likelihood fast enough.
    let left = exact.is_some_and(|e| e.rest.points().contains(&false));
    let plain = compiled.batches.is_none() && compiled.hir.written.is_none();
    if !plain || exact.is_some() && !left {
        return Offer::Nothing;
    }
    let Some(found) = closed(&compiled.hir, &lower::known_size(&compiled.bound)) else { return Offer::Nothing };
    let latents = compiled.layout.points().contains(&false);
    let params = compiled.layout.points().contains(&true);
    let method = if params { Method::Em } else { Method::Cavi };
    let one = |v: &VarId| matches!(compiled.hir.var(*v).constraint, Constraint::None);
    let candidate = match (found.mixed, latents) {
        (true, latents) => params && !latents,
        (false, true) => found.coupled.iter().all(|(a, b)| one(a) && one(b)),
        (false, false) => false,
    };
    // The derivation says so without its data; on them it is held to the model's log joint.
    match candidate.then(|| compiled.conjugate()) {
        Some(Ok(c)) if c.exact() && c.climbing().next().is_none() => Offer::Fit(method, choice(method, found.mixed)),
        Some(Err(_)) => Offer::Nothing,
        _ if latents => Offer::Mentioned(method),
        _ => Offer::Nothing,
    }
}

/// The log joint over expected statistics, if every latent and param has a closed form.
fn closed(hir: &Hir, known_size: &dyn Fn(&Hir, PlateId) -> Option<f64>) -> Option<Statistics> {
    let mut own = hir.clone();
    own.written = None;
    statistics::statistics(&mut own, known_size, None).ok().filter(|s| s.raw.is_empty())
}

fn choice(method: Method, mixed: bool) -> Choice {
    let (why, more) = match (method, mixed) {
        (Method::Em, true) => (
            "what is not a param is summed out, and params have closed forms",
            "given the params, the sums over discrete latents are exact, and given those each param has its best value in \
             closed form: the likelihood rises in every sweep, and no gradient is followed.",
        ),
        (Method::Em, false) => (
            "given the params the posterior has a closed form",
            "given the params, the posterior of the latents is known, and given that each param has its best value in \
             closed form: the likelihood rises in every sweep, and no gradient is followed.",
        ),
        _ => (
            "the posterior has a closed form",
            "the factors of the latents stand in no product with each other: their closed forms are the posterior itself.",
        ),
    };
    Choice { what: "method", value: method.name().into(), why: why.into(), more: more.into() }
}

impl Offer {
    /// Follow it, or say that it is there. `collapsed`: some latents have been integrated out.
    pub fn taken(self, collapsed: bool, options: &mut FitOptions) {
        match self {
            Offer::Nothing => {}
            Offer::Mentioned(method) => {
                let name = method.name();
                for choice in options.chosen.iter_mut().filter(|c| c.what == "method") {
                    choice.more += &format!(
                        " Each latent has a closed form given the others: `--method {name}` takes those, as independent \
                         factors, whose spreads are too narrow."
                    );
                    if !collapsed {
                        choice.why += &format!("; `--method {name}` has closed forms");
                    }
                }
            }
            Offer::Fit(method, choice) => (options.method, options.chosen) = (method, vec![choice]),
        }
    }
}

/// The fit by gradients, after one in closed form came to nothing.
pub(super) fn instead(options: &FitOptions, why: &str) -> FitOptions {
    let choice = Choice {
        what: "method",
        value: Method::Lbfgs.name().into(),
        why: "the log joint is smooth".into(),
        more: format!("closed forms were tried first: {why}"),
    };
    let mut chosen = vec![choice];
    chosen.extend(options.chosen.iter().filter(|c| c.what != "method").cloned());
    let doubt = format!("`--method {}` was tried first: {why}", options.method.name());
    FitOptions { method: Method::Lbfgs, chosen, doubt: options.doubt.clone().or(Some(doubt)), ..options.clone() }
}

/// A line for those that look at the structure: what `--method cavi` or `em` would do.
pub fn mention(hir: &Hir, known_size: &dyn Fn(&Hir, PlateId) -> Option<f64>) -> Option<String> {
    let found = closed(hir, known_size)?;
    let param = hir.vars.iter().any(|v| matches!(v.kind, VarKind::Param { .. }));
    let method = if param { "em" } else { "cavi" };
    let apart = found.mixed || !found.coupled.is_empty();
    let how = if apart { "factors in closed form, each apart from the others" } else { "factors in closed form" };
    Some(format!("`--method {method}` fits {how}"))
}
