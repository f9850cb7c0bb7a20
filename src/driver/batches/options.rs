//! What is asked of a fit in batches.

use super::{Batches, asked};
use crate::diag::{Code, Diagnostic};
use crate::driver::Compiled;
use crate::hir::{FitValue, Hir};
use crate::infer::batches::{Optimizer, Plan, Rule, Schedule, Weighing};
use crate::infer::{FitOptions, GuideKind, Method};

const EPOCHS: usize = 50;
const RATE: f64 = 1e-3;
const PATIENCE: usize = 10;
/// Draws of each row that are weighed against each other.
const DRAWS: usize = 10;

/// What is asked of the fit that batches cannot do.
pub fn refused(compiled: &Compiled, options: &FitOptions) -> Option<Diagnostic> {
    let (_, _, at) = asked(&compiled.hir)?;
    let turns = compiled.hir.fit.iter().find(|o| o.name == "alternate");
    let whose = compiled.batches.as_ref().map(|b| b.coordinates().of_guide);
    if let (Some(o), Some(whose)) = (turns, whose)
        && (!whose.contains(&true) || !whose.contains(&false))
    {
        let none = if whose.contains(&true) { "the model has no params" } else { "there is no guide" };
        return Some(
            Code::BATCH_WITH
                .at(
                    o.span,
                    format!("`alternate` takes turns between the guide and the params of the model, and {none}"),
                )
                .here("nothing to alternate")
                .help("remove it"),
        );
    }
    let what = match options.method {
        _ if !matches!(options.guide, GuideKind::MeanField | GuideKind::FullRank) => {
            "this guide is fitted to all rows at once".into()
        }
        Method::Nuts => "the sampler needs all rows at each step".into(),
        Method::Auto | Method::Lbfgs | Method::Adam => return None,
        Method::Cavi | Method::Em if in_closed_form(&compiled.hir) => return None,
        Method::Iwae | Method::ForwardKl if compiled.hir.written.is_some() => return None,
        Method::Iwae | Method::ForwardKl => {
            "in batches, draws are weighed where a guide draws the latents of each row given its data".into()
        }
        other => format!("the method `{}` needs all rows at each step", other.name()),
    };
    Some(
        Code::BATCH_WITH
            .at(at, what)
            .here("batches are asked for here")
            .help("remove `batch`, or the option of the command"),
    )
}

/// Whether the model asks for closed forms: it is then compiled for these.
pub fn in_closed_form(hir: &Hir) -> bool {
    let word = |v: &FitValue| matches!(v, FitValue::Word(w) if matches!(w.as_str(), "cavi" | "em"));
    hir.fit.iter().any(|o| o.name == "method" && word(&o.value))
}

/// How draws of a row are weighed against each other, and how many of them; `None`: there is one.
pub(super) fn weighing(hir: &Hir) -> Option<(Weighing, usize)> {
    hir.written.as_ref()?;
    let how = hir.fit.iter().find_map(|o| match &o.value {
        FitValue::Word(w) if o.name == "method" && w == "iwae" => Some(Weighing::Doubly),
        FitValue::Word(w) if o.name == "method" && w == "forward_kl" => Some(Weighing::Inclusive),
        _ => None,
    })?;
    let draws = hir.fit.iter().find_map(|o| match o.value {
        FitValue::Number(n) if o.name == "importance_samples" => Some(n as usize),
        _ => None,
    });
    Some((how, draws.unwrap_or(DRAWS)))
}

/// Rows of a table that are held out.
pub(super) fn held(hir: &Hir, total: usize) -> usize {
    let share = hir.fit.iter().find_map(|o| match (o.name.as_str(), &o.value) {
        ("holdout", FitValue::Number(share)) => Some(*share),
        _ => None,
    });
    share.map_or(0, |s| ((s * total as f64).round() as usize).clamp(1, total.max(2) - 1))
}

/// From the model's `fit` block, then defaults.
pub(in crate::driver) fn plan(compiled: &Compiled, batches: &Batches, options: &FitOptions) -> Plan {
    let mut plan = Plan {
        total: batches.total,
        batch: batches.rows,
        kin: batches.kin.clone(),
        held: held(&compiled.hir, batches.total),
        patience: PATIENCE,
        weighing: weighing(&compiled.hir),
        kl_warm_up: 0,
        free_bits: 0.0,
        epochs: EPOCHS,
        alternate: None,
        single: false,
        optimizer: Optimizer { rule: Rule::Adam, rate: RATE, schedule: Schedule::Linear, warm_up: 0, clip: None },
        seed: options.seed,
        cancel: options.cancel.clone(),
        checkpoint: options.checkpoint.clone(),
    };
    for option in &compiled.hir.fit {
        match (option.name.as_str(), &option.value) {
            ("epochs", FitValue::Number(n)) => plan.epochs = *n as usize,
            ("alternate", FitValue::Number(n)) => plan.alternate = Some(*n as usize),
            ("precision", FitValue::Word(w)) => plan.single = w == "f32",
            ("patience", FitValue::Number(n)) => plan.patience = *n as usize,
            ("kl_warmup", FitValue::Number(n)) => plan.kl_warm_up = *n as usize,
            ("free_bits", FitValue::Number(x)) => plan.free_bits = *x,
            ("warmup", FitValue::Number(n)) => plan.optimizer.warm_up = *n as usize,
            ("clip", FitValue::Number(c)) => plan.optimizer.clip = Some(*c),
            ("schedule", FitValue::Word(w)) => {
                plan.optimizer.schedule = match w.as_str() {
                    "constant" => Schedule::Constant,
                    "cosine" => Schedule::Cosine,
                    "tripling" => Schedule::Tripling,
                    _ => Schedule::Linear,
                }
            }
            ("optimizer", FitValue::Optimizer(name, rate)) => {
                plan.optimizer.rate = *rate;
                plan.optimizer.rule = match name.as_str() {
                    "adamw" => Rule::AdamW,
                    "sgd" => Rule::Sgd,
                    _ => Rule::Adam,
                }
            }
            _ => {}
        }
    }
    plan
}
