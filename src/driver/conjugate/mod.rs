//! `--method cavi` and `--method em`: factors in closed form, from the log joint over expected statistics.

mod batches;
mod blocks;
mod guard;
mod offer;
mod words;

use std::time::Instant;

use super::fit::told;
use super::{Compiled, Session};
use crate::data::Bound;
use crate::derive::statistics::{self, Obstacle};
use crate::derive::{self, Purpose};
use crate::diag::{Code, Diagnostic, Diags, counted};
use crate::hir::{Centering, Hir, PlateId, Step, VarId};
use crate::infer::conjugate::{self, Ascent, Block, Form, Plan, Trouble, TroubleKind};
use crate::infer::{FitOptions, Method, Progress};
use crate::lower::{self, Layout};
use crate::report::FitReport;
use crate::run::Model;
pub use batches::in_batches;
use blocks::{blocks, start_of};
use guard::{agrees, values_at};
pub(super) use offer::{mention, offer};
use words::{in_the_way, in_trouble, in_words};

/// A model whose factors have closed forms.
pub struct Conjugate {
    /// The model with every latent as its prior is written: the coordinates of the factors.
    pub compiled: Compiled,
    expected: Model,
    blocks: Vec<Block>,
    start: Vec<Vec<f64>>,
    /// Sums over discrete latents are left.
    mixed: bool,
    /// Blocks of latents stand in products with each other.
    coupled: bool,
}

impl Conjugate {
    /// Whether the factors are the posterior itself, and the bound the log evidence: all latents are discrete, or all are
    /// in blocks that have nothing to do with each other.
    pub fn exact(&self) -> bool {
        let drawn = self.blocks.iter().any(|b| matches!(b.form, Form::Drawn(_)));
        self.blocks.iter().all(|b| b.point) || !self.mixed && !self.coupled && !drawn
    }

    /// What has no closed form, and follows gradients.
    fn climbing(&self) -> impl Iterator<Item = &String> {
        self.blocks.iter().filter(|b| matches!(b.form, Form::Raw(_) | Form::Drawn(_))).flat_map(|b| &b.names)
    }
}

/// What a fit by coordinate ascent comes to.
pub enum Outcome {
    Report(Box<FitReport>),
    /// The session says why there is none.
    Nothing,
    /// Another fit is to be done instead: closed forms were not asked for, and did not get there.
    Instead(Box<FitOptions>),
}

/// EM without params.
fn nothing_to_maximise(compiled: &Compiled, options: &FitOptions) -> Option<Diagnostic> {
    (options.method == Method::Em && !compiled.layout.points().contains(&true)).then(|| {
        Code::NOTHING_TO_MAXIMISE
            .plain("`--method em` fits `param`s to a point, and the model has none")
            .help("write `--method cavi`: it gives each latent a factor in closed form")
    })
}

/// Fit by coordinate ascent.
pub fn fit(
    session: &mut Session,
    compiled: &Compiled,
    options: &FitOptions,
    progress: &mut dyn FnMut(&Progress),
) -> Outcome {
    if let Some(d) = nothing_to_maximise(compiled, options) {
        session.diags.push(d);
        return Outcome::Nothing;
    }
    let conjugate = match compiled.conjugate() {
        Ok(c) => c,
        Err(obstacle) => {
            session.diags.push(in_the_way(&compiled.hir, obstacle, options.method));
            return Outcome::Nothing;
        }
    };
    let chosen = options.chosen.iter().any(|c| c.what == "method");
    match conjugate.report(options, progress) {
        Ok(report) if chosen && !report.converged && !options.interrupted() => {
            let why = "closed forms came to no rest, and the fit went on by gradients.";
            Outcome::Instead(Box::new(offer::instead(options, why)))
        }
        Ok(report) => Outcome::Report(Box::new(report)),
        Err(trouble) if chosen => {
            let why = format!("{}: the fit went on by gradients.", in_words(&trouble));
            Outcome::Instead(Box::new(offer::instead(options, &why)))
        }
        Err(trouble) => {
            session.diags.push(in_trouble(&compiled.hir, &trouble));
            Outcome::Nothing
        }
    }
}

impl Conjugate {
    pub fn of(compiled: &Compiled) -> Result<Conjugate, Obstacle> {
        Conjugate::apart(compiled, None)
    }

    /// The same; what the cells of the plate `rows` have to themselves shares no factor with anything else.
    fn apart(compiled: &Compiled, rows: Option<PlateId>) -> Result<Conjugate, Obstacle> {
        if !compiled.bound.edges.is_empty() {
            return Err(Obstacle { vars: vec![], why: "has an end that moves with an unknown".into() });
        }
        let centred = centred(&compiled.hir, compiled.bound.clone());
        let mut hir = compiled.hir.clone();
        hir.written = None;
        let found = statistics::statistics(&mut hir, &lower::known_size(&compiled.bound), rows)?;
        let uncomputed = || Obstacle { vars: vec![], why: "cannot be computed when it is expanded".into() };
        let (expected, layout) = lowered(&hir, &found.joint, compiled).ok_or_else(uncomputed)?;
        let own = own_scales(compiled).ok_or_else(uncomputed)?;
        agrees(&centred, &own, &expected, &layout, &found)?;
        let blocks = blocks(&centred, &layout, &found)?;
        let values = values_at(&centred, centred.layout.start());
        let start = blocks.iter().map(|b| start_of(&centred, b, &values)).collect();
        let block_of = |v: VarId| {
            let name = &compiled.hir.var(v).name;
            blocks.iter().position(|b| !b.point && b.names.contains(name))
        };
        let apart = |(a, b): &(VarId, VarId)| match (block_of(*a), block_of(*b)) {
            (Some(a), Some(b)) => a != b,
            _ => false,
        };
        let coupled = found.coupled.iter().any(apart);
        Ok(Conjugate { compiled: centred, expected, blocks, start, mixed: found.mixed, coupled })
    }

    /// The factors with the highest bound.
    pub fn ascend(&self, options: &FitOptions, progress: &mut dyn FnMut(&Progress)) -> Result<Ascent, Trouble> {
        let tables = self.compiled.hir.tables.iter().map(|t| self.compiled.bound.size(t.plate));
        let plan = Plan {
            expected: &self.expected,
            target: &self.compiled.model,
            blocks: self.blocks.clone(),
            start: self.start.clone(),
            several: self.mixed || self.coupled,
            rows: tables.max().unwrap_or(1),
        };
        conjugate::ascend(&plan, options, progress)
    }

    fn report(&self, options: &FitOptions, progress: &mut dyn FnMut(&Progress)) -> Result<FitReport, Trouble> {
        let began = Instant::now();
        let Ascent { fit, sweeps, failed, .. } = self.ascend(options, progress)?;
        let ((elbo, se), starts) = ((fit.elbo, fit.elbo_se), fit.starts.len());
        let mut report = told(&self.compiled, &self.compiled.model, None, options, fit, began)
            .map_err(|_| Trouble { kind: TroubleKind::NotFinite, name: self.blocks[0].names[0].clone() })?;
        report.guide = self.factors(self.exact());
        report.elbo = Some((elbo, se));
        report.options.push(("sweeps".into(), sweeps.to_string()));
        report.stop_reason = format!("{} of closed-form updates. {}", counted(sweeps, "sweep"), report.stop_reason);
        if let Some(trouble) = failed.first() {
            let n = failed.len();
            report.doubts.push(format!("{n} of {} came to nothing: {}.", counted(starts, "start"), in_words(trouble)));
        }
        Ok(report)
    }

    /// For the heading. `exact`: they are the posterior.
    fn factors(&self, exact: bool) -> String {
        let latent = self.blocks.iter().filter(|b| !b.point);
        let shown: Vec<String> = latent.map(|b| format!("{} {}", family(&b.form), b.names.join(" and "))).collect();
        match (shown.is_empty(), exact) {
            (true, _) => "none: all latents are summed out".into(),
            (_, true) => format!("the posterior itself: {}", shown.join(", ")),
            (_, false) => format!("independent factors: {}", shown.join(", ")),
        }
    }
}

fn family(form: &Form) -> &'static str {
    match form {
        Form::Normal(_) => "normal",
        Form::Power { power: 1.0, .. } => "gamma",
        Form::Power { power: -1.0, .. } => "inverse gamma",
        Form::Power { .. } => "power of a gamma",
        Form::Beta(_) => "beta",
        Form::Dirichlet(_) => "Dirichlet",
        Form::Wishart(all) if all.iter().any(|m| m.inverse) => "inverse Wishart",
        Form::Wishart(_) => "Wishart",
        Form::Raw(_) => "point",
        Form::Drawn(_) => "normal by gradients",
    }
}

/// The model with no latent made from noise, and no written guide, on these data.
fn centred(hir: &Hir, mut bound: Bound) -> Compiled {
    let mut hir = hir.clone();
    as_written(&mut hir);
    let joint = derive::joint_for(&mut hir, Purpose::Fit, &lower::known_size(&bound));
    bound.add_derived(&hir);
    let lowered = lower::lower(&hir, &joint, &bound, &mut Diags::default());
    let (graph, layout) = lowered.expect("the same model has been lowered for the fit");
    let model = Model::new(graph, layout.theta_names(&bound), layout.points(), layout.start().to_vec());
    Compiled { hir, bound, layout, model, batches: None, exact: Default::default(), conjugate: Default::default() }
}

/// Take every latent as its prior is written: the factors are on these scales.
pub fn as_written(hir: &mut Hir) {
    hir.written = None;
    for step in &mut hir.steps {
        if let Step::Latent { centering, .. } = step {
            *centering = Centering::Centered;
        }
    }
}

fn lowered(hir: &Hir, joint: &derive::joint::Joint, compiled: &Compiled) -> Option<(Model, Layout)> {
    let mut bound = compiled.bound.clone();
    bound.add_derived(hir);
    let (graph, layout) = lower::lower(hir, joint, &bound, &mut Diags::default())?;
    let model = Model::new(graph, layout.theta_names(&bound), layout.points(), layout.start().to_vec());
    Some((model, layout))
}

/// The log joint over the latents on their own scales, and where they are in its input.
fn own_scales(compiled: &Compiled) -> Option<(Model, Vec<(VarId, usize)>)> {
    let mut hir = compiled.hir.clone();
    hir.written = None;
    let joint = statistics::on_own_scales(&mut hir, &lower::known_size(&compiled.bound));
    let (model, layout) = lowered(&hir, &joint, compiled)?;
    let places = joint.unconstrained.iter().filter_map(|u| Some((u.var, layout.place(u.slot)?.offset))).collect();
    Some((model, places))
}
