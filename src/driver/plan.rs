//! What `--method auto` makes of a model: how its posterior is approximated, and why.

use super::{Compiled, FitRequest};
use crate::hir::{Gradient, Guide as Family, GuideLine, Hir};
use crate::infer::{self, Choice, Fit, FitOptions, GuideKind, Jump, Method, Target};
use crate::lower;
use crate::run::Model;

/// Up to this many unconstrained latents the default guide is full-rank.
const FULLRANK_UP_TO: usize = 500;
/// The same where gradients come from the score function, whose noise grows with the number of parameters.
const FULLRANK_BY_SCORE: usize = 8;
/// Lines on which a log joint that may jump is looked at, and how many cells of work that may be.
const LINES: usize = 40;
const WORK: usize = 200_000_000;

/// A method with its guide, and why each that the user did not choose.
pub struct Plan {
    pub method: Method,
    pub guide: GuideKind,
    pub chosen: Vec<Choice>,
    /// What the user's own choice does not see.
    pub doubt: Option<String>,
}

/// Choose what is not asked for, to fit `target`. `in_model`: the method of the model's `fit` block.
pub fn plan(compiled: &Compiled, target: &Model, request: &FitRequest, in_model: Option<Method>, seed: u64) -> Plan {
    let latents = target.points().iter().filter(|p| !**p).count();
    let asked = request.method.or(in_model).filter(|m| *m != Method::Auto);
    // What follows no slopes, or has a form of its own, is not looked at.
    let own = compiled.batches.is_some() || compiled.hir.written.is_some();
    let blind = own || latents == 0 || matches!(asked, Some(Method::Score | Method::ForwardKl));
    let jump = if blind { None } else { jump(target, seed) };
    let mut chosen = vec![];
    let method = asked.unwrap_or_else(|| {
        let choice = method(latents, jump.as_deref());
        chosen.push(choice.1);
        choice.0
    });
    let doubt = jump
        .filter(|_| asked.is_some_and(|m| !matches!(m, Method::Nuts | Method::Cavi | Method::Em)))
        .map(|jump| unseen(&jump, false));
    let doubt = doubt.or_else(|| relaxed(&compiled.hir));
    let in_model = match compiled.hir.guide {
        Family::MeanField => Some(GuideKind::MeanField),
        Family::FullRank => Some(GuideKind::FullRank),
        Family::LowRank(k) => Some(GuideKind::LowRank(k)),
        Family::Mixture(k) => Some(GuideKind::Mixture(k)),
        Family::Flow(k) => Some(GuideKind::Flow(k)),
        Family::Default => None,
    };
    let guide = request.guide.or(in_model).unwrap_or_else(|| {
        let choice = guide(latents, method);
        if latents > 0 && !own && !matches!(method, Method::Nuts | Method::Map | Method::Cavi | Method::Em) {
            chosen.push(choice.1);
        }
        choice.0
    });
    Plan { method, guide, chosen, doubt }
}

/// What a written guide's relaxations do to the fit.
fn relaxed(hir: &Hir) -> Option<String> {
    let names: Vec<String> = hir
        .written
        .iter()
        .flat_map(|w| &w.lines)
        .filter_map(|l| match l {
            GuideLine::Draw { var, gradient: Gradient::Gumbel { .. }, .. } => Some(format!("`{}`", hir.var(*var).name)),
            _ => None,
        })
        .collect();
    (!names.is_empty()).then(|| {
        format!(
            "The gradient through {} is that of a relaxation (Gumbel-softmax), which is biased: the guide need not be the best \
             of its family. The bound and the draws are those of the values themselves. `@score` is unbiased.",
            names.join(", ")
        )
    })
}

fn method(latents: usize, jump: Option<&str>) -> (Method, Choice) {
    let (method, why, more) = match jump {
        Some(jump) => (
            Method::Score,
            "the log joint jumps",
            format!("{jump}. Slopes do not show a jump, and the score function needs no slopes."),
        ),
        None if latents == 0 => (
            Method::Lbfgs,
            "nothing is drawn",
            "there are no latents to draw; params are fitted to the point where the likelihood is highest.".into(),
        ),
        None => (
            Method::Lbfgs,
            "the log joint is smooth",
            "the log joint has slopes and no jump was met, so the lower bound over fixed draws can be followed \
             downhill, without the noise of fresh draws, until its gradient vanishes."
                .into(),
        ),
    };
    (method, Choice { what: "method", value: method.name().into(), why: why.into(), more })
}

fn guide(latents: usize, method: Method) -> (GuideKind, Choice) {
    let limit = if method == Method::Score { FULLRANK_BY_SCORE } else { FULLRANK_UP_TO };
    let coordinates = if latents == 1 { "1 coordinate".into() } else { format!("{latents} coordinates") };
    let (guide, why, more) = if latents <= limit {
        let more = "one normal over all unconstrained coordinates, with every correlation, is affordable up to";
        (GuideKind::FullRank, coordinates, format!("{more} {limit} of them."))
    } else {
        let more = "independent normals, since one normal with every correlation is affordable only up to";
        (GuideKind::MeanField, format!("{coordinates}, more than {limit}"), format!("{more} {limit} coordinates."))
    };
    (guide, Choice { what: "guide", value: guide.to_string(), why, more })
}

/// A jump of the log joint, in words. Looked for only where the program has steps, since that costs evaluations.
fn jump(target: &Model, seed: u64) -> Option<String> {
    let found = infer::jump(target, lines(target)?, seed)?;
    Some(in_words(target, &found))
}

/// The options under which a fit is to be done instead, or is to be reported, where the log joint jumps between its draws.
pub fn after(compiled: &Compiled, target: &Model, options: &FitOptions, fit: &Fit) -> After {
    let blind = matches!(options.method, Method::Score | Method::ForwardKl | Method::Map | Method::Nuts);
    if blind || options.doubt.is_some() || options.interrupted() || !target.smooth() {
        return After::Report(options.clone());
    }
    let found = lines(target).and_then(|n| {
        let mut evaluator = target.evaluator();
        let mut log_joint = |theta: &[f64], gradient: &mut [f64]| evaluator.value_grad(theta, gradient);
        infer::jump_between(&mut log_joint, target.dim(), &fit.sample(2 * n, options.seed))
    });
    let Some(found) = found else { return After::Report(options.clone()) };
    let jump = in_words(target, &found);
    // A checkpoint is of one fit.
    let free = options.chosen.iter().any(|c| c.what == "method") && options.checkpoint.is_none();
    if !free || compiled.hir.written.is_some() {
        let doubt = Some(unseen(&jump, compiled.hir.written.is_some()));
        return After::Report(FitOptions { doubt, ..options.clone() });
    }
    let (method, choice) = method(1, Some(&jump));
    let mut instead = FitOptions { method, chosen: vec![choice], ..options.clone() };
    if options.chosen.iter().any(|c| c.what == "guide") {
        let latents = target.points().iter().filter(|p| !**p).count();
        let (guide, choice) = guide(latents, method);
        instead.guide = guide;
        instead.chosen.push(choice);
    }
    After::Again(instead)
}

/// What comes after a fit.
pub enum After {
    Report(FitOptions),
    /// Another fit.
    Again(FitOptions),
}

/// How many lines a log joint with steps is looked at on; `None`: it has none.
fn lines(target: &Model) -> Option<usize> {
    let graph = target.graph();
    lower::may_jump(graph).then(|| (WORK / (super::fit::work(graph) * 1000)).clamp(4, LINES))
}

/// The same where the model was fitted in batches: a jump of a batch's log joint between draws of its coordinates, in words.
pub fn doubt_of_batch(
    compiled: &Compiled,
    log_joint: &mut dyn FnMut(&[f64], &mut [f64]) -> f64,
    draw: &mut dyn FnMut(usize) -> Vec<f64>,
) -> Option<String> {
    let ends: Vec<f64> = (0..2 * lines(&compiled.model)?).flat_map(&mut *draw).collect();
    let found = infer::jump_between(log_joint, compiled.model.dim(), &ends)?;
    let way = "Fits in batches follow slopes, which do not show it: leave out `batch` where the data allow it";
    Some(format!("In a batch {}. {way}.", in_words(&compiled.model, &found)))
}

fn in_words(target: &Model, found: &Jump) -> String {
    let name = super::fit::own_name(&target.names()[found.coordinate]);
    format!("the log joint jumps by {:.2} nats where `{name}` crosses a value", found.size)
}

fn unseen(jump: &str, written: bool) -> String {
    let way = if written { "`@score` on its line in the guide needs none" } else { "`--method score` needs none" };
    format!("{jump}: this method follows slopes, which do not show it. {way}.")
}
