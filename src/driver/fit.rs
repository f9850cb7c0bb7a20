//! A fit from start to end: the guide or the referee's chains, the draws, the verdict, the report.

use std::time::Instant;

use super::activity;
use super::batches;
use super::plan::{self, After};
use super::posterior::{check_draws, noncentred, points, report_vars};
use super::trouble::{
    Scene, explain_nonfinite, gave_up, met, of_checkpoint, refusal, sampler_keeps_nothing, undetermined, unsaved,
};
use super::{Compiled, Exact, REPORT_DRAWS, Session, conjugate, discrete, mode, parts};
use crate::diag::{Code, Diagnostic};
use crate::infer::{
    self, Approximation, Bent, Draws, Fit, FitError, FitOptions, GuideKind, Method, Mixing, NutsPlan, Origin, Progress,
    SdsFrom, Target, Verdict,
};
use crate::lower::graph::{Graph, Region, Stmt};
use crate::report::{FitReport, ModeAt, ReportKind, ReportMode, ReportVar, Trace, mean_sd};
use crate::run::Model;

/// From this k-hat on, that of each block says where the weights of a large model come from.
const DOUBTED: f64 = 0.5;

/// Fewest evaluations of the gradient that the drift of the draws may cost: what it needs to say anything.
const DRIFT: usize = 64 * 128;

/// Fit, and describe the posterior. `None`: the log joint is not finite anywhere it was tried; the session says where.
pub fn fit(
    session: &mut Session,
    compiled: &Compiled,
    options: &FitOptions,
    progress: &mut dyn FnMut(&Progress),
) -> Option<FitReport> {
    if let Some(why) = unfitted(compiled, options) {
        session.diags.push(why);
        return None;
    }
    if options.method != Method::Nuts && !compiled.bound.edges.is_empty() {
        compiled.bound.edges.iter().for_each(|d| session.diags.push(d.clone()));
        return None;
    }
    if let Some(batches) = &compiled.batches {
        if let Some(d) = batches::refused(compiled, options) {
            session.diags.push(d);
            return None;
        }
        return match options.method {
            Method::Cavi | Method::Em => conjugate::in_batches(session, compiled, batches, options, progress),
            _ => batches::fit(session, compiled, batches, options, progress),
        };
    }
    if let Some(refusal) = refusal(compiled, options) {
        session.diags.push(refusal);
        return None;
    }
    if let Method::Cavi | Method::Em = options.method {
        return match conjugate::fit(session, compiled, options, progress) {
            conjugate::Outcome::Report(report) => Some(*report),
            conjugate::Outcome::Nothing => None,
            conjugate::Outcome::Instead(instead) => fit(session, compiled, &instead, progress),
        };
    }
    let report = match options.method {
        Method::Nuts if options.checkpoint.is_some() => {
            session.diags.push(sampler_keeps_nothing());
            return None;
        }
        Method::Nuts => by_sampler(compiled, options, progress),
        Method::Map => by_guide(compiled, &mode::on_own_scales(compiled), None, options, progress),
        _ => match compiled.exact().ok().flatten().filter(|_| options.collapse) {
            Some(exact) if exact.rest.dim() == 0 => Ok(exactly(exact, options)),
            Some(exact) => match by_guide(&exact.compiled, &exact.rest, Some(exact), options, progress) {
                // What has no value or no end is explained by the model as it is written.
                Err(FitError::NonFiniteStart { .. } | FitError::Flat { .. }) => {
                    by_guide(compiled, &compiled.model, None, options, progress)
                }
                report => report,
            },
            None => by_guide(compiled, &compiled.model, None, options, progress),
        },
    };
    or_explain(session, compiled, options, report)
}

fn or_explain(
    session: &mut Session,
    compiled: &Compiled,
    options: &FitOptions,
    report: Result<FitReport, FitError>,
) -> Option<FitReport> {
    match report {
        Ok(mut report) => {
            session.diags.list.append(&mut report.warnings);
            Some(report)
        }
        Err(error) => {
            match error {
                FitError::NonFiniteStart { theta, .. } => {
                    explain_nonfinite(session, &Scene::whole(compiled), &theta);
                }
                FitError::Flat { name } => session.diags.push(undetermined(compiled, latent_of(&name))),
                FitError::Sampler { reason } => session.diags.push(gave_up(&reason)),
                FitError::Checkpoint(error) => {
                    let checkpoint =
                        options.checkpoint.as_ref().expect("a fit without a checkpoint has no trouble with it");
                    session.diags.push(of_checkpoint(checkpoint, &error));
                }
            }
            None
        }
    }
}

/// A family that a method does not fit.
fn unfitted(compiled: &Compiled, options: &FitOptions) -> Option<Diagnostic> {
    let (guide, method) = (options.guide, options.method.name());
    let smooth = matches!(options.method, Method::Auto | Method::Lbfgs | Method::Adam | Method::Nuts);
    if let Some(written) = compiled.hir.written.as_ref().filter(|_| compiled.batches.is_none()) {
        return (!smooth).then(|| {
            Code::GUIDE_AND_METHOD
                .at(written.span, format!("a guide that the model writes out is not fitted by the method `{method}`"))
                .here("the guide")
                .help("take the method `lbfgs` or `adam`, or remove the guide")
        });
    }
    let methods = match (guide, options.method) {
        // A mode and the sampler need no guide.
        (_, Method::Map | Method::Cavi | Method::Em | Method::Nuts)
        | (GuideKind::MeanField | GuideKind::FullRank, _) => return None,
        (GuideKind::Mixture(_) | GuideKind::Flow(_), _) if compiled.model.points().contains(&true) => {
            return Some(
                Code::GUIDE_AND_METHOD
                    .plain(format!("the guide `{guide}` is not fitted to a model with `param`s"))
                    .help("give them priors, as `latent`, or take the guide `fullrank`"),
            );
        }
        (GuideKind::Mixture(_) | GuideKind::Flow(_), Method::Auto | Method::Lbfgs) => return None,
        (GuideKind::LowRank(_), _) if smooth => return None,
        (GuideKind::Mixture(_) | GuideKind::Flow(_), _) => "`lbfgs`",
        (GuideKind::LowRank(_), _) => "`lbfgs` or `adam`",
    };
    Some(
        Code::GUIDE_AND_METHOD
            .plain(format!("the guide `{guide}` is not fitted by the method `{method}`"))
            .help(format!("take the method {methods}, or the guide `meanfield` or `fullrank`")),
    )
}

/// The report where all latents integrate out: draws of the posterior itself, and the evidence.
fn exactly(exact: &Exact, options: &FitOptions) -> FitReport {
    let started = Instant::now();
    let evidence = exact.rest.evaluator().value(&[]);
    let theta = exact.draws(&[], REPORT_DRAWS, options.seed);
    let mut report = described(&exact.compiled, options, &theta, REPORT_DRAWS);
    report.collapsed = exact.told();
    report.noncentred.clear();
    report.guide = "none".into();
    report.method = "exact".into();
    report.chosen = vec![];
    report.draws_from = "from the posterior itself".into();
    report.elbo = Some((evidence, 0.0));
    report.k_hat = f64::NAN;
    report.converged = true;
    report.stop_reason = "Every latent integrates out: the ELBO is the log evidence.".into();
    report.seconds = started.elapsed().as_secs_f64();
    report.doubts.extend(check_draws(&report));
    report.verdict = Some(infer::judge_exact(evidence));
    report
}

/// Fit to `target`, the model's log joint or a variant of it: over the same coordinates, or, with some integrated out,
/// over the others.
fn by_guide(
    compiled: &Compiled,
    target: &Model,
    exact: Option<&Exact>,
    options: &FitOptions,
    progress: &mut dyn FnMut(&Progress),
) -> Result<FitReport, FitError> {
    let started = Instant::now();
    if options.method == Method::Score {
        parts::prepare(compiled);
    }
    let fit = infer::fit(target, options, progress)?;
    match plan::after(compiled, target, options, &fit) {
        After::Report(options) => told(compiled, target, exact, &options, fit, started),
        After::Again(options) => by_guide(compiled, &compiled.model, None, &options, progress),
    }
}

/// The draws of what was fitted, the verdict, the report.
pub(super) fn told(
    compiled: &Compiled,
    target: &Model,
    exact: Option<&Exact>,
    options: &FitOptions,
    fit: Fit,
    started: Instant,
) -> Result<FitReport, FitError> {
    // What is left after integrating out is often a few scales, which a table takes as they are.
    let (fit, on_grid) = match exact {
        Some(_) if approximate_normal(&fit) && fit.converged && !options.interrupted() => {
            infer::on_grid(target, fit, work(target.graph()), options.seed)
        }
        _ => (fit, false),
    };
    let at_mode = options.method == Method::Map;
    // Whoever interrupts a fit does not want to wait for its draws to be weighed.
    // Where everything is fitted to a point there is nothing to weigh.
    let untested = options.interrupted() || at_mode || target.points().iter().all(|p| *p);
    let proposals = if untested { 0 } else { proposals(target.graph()) };
    let draws = infer::draws(target, &fit, REPORT_DRAWS, proposals, options.seed, options.threads);
    // A test of the draws may cost as much as the fit did.
    let budget = if untested { 0 } else { fit.gradients.max(DRIFT) };
    let drift = infer::drift(target, &draws.theta, budget, options.seed, options.threads);
    let mut verdict = infer::judge(&fit, &draws, drift.as_ref());
    if draws.k_hat > DOUBTED && approximate_normal(&fit) && target.roles().is_none() && exact.is_none() {
        parts::prepare(compiled);
        verdict.figures.k_hat_blocks = infer::blocks(target, &fit, options.seed, options.threads);
    }
    rename(&mut verdict);
    let seconds = started.elapsed().as_secs_f64();
    // What goes by values alone counts those.
    let by_values = matches!(options.method, Method::Score | Method::ForwardKl);
    let fitted = if by_values { fit.log_joints } else { fit.gradients };
    let evaluations = fitted + drift.as_ref().map_or(0, |d| d.gradients) + draws.evaluations;
    let lifted = exact.map(|e| e.draws(&draws.theta, REPORT_DRAWS, options.seed));
    let mut report = described(compiled, options, lifted.as_ref().unwrap_or(&draws.theta), REPORT_DRAWS);
    report.collapsed = exact.map_or(vec![], Exact::told);
    report.noncentred.retain(|n| report.collapsed.iter().all(|c| c.0 != n.0));
    report.guide = match compiled.hir.written {
        _ if at_mode => "point".into(),
        Some(_) => "written in the model".into(),
        None if on_grid => "grid".into(),
        None => options.guide.to_string(),
    };
    for choice in report.chosen.iter_mut().filter(|c| on_grid && c.what == "guide") {
        choice.more = format!(
            "the log joint of what is left is tabulated around the normal that was fitted first (`{}`): {} left.",
            choice.value,
            if fit.names.len() == 1 {
                "1 coordinate is".into()
            } else {
                format!("{} coordinates are", fit.names.len())
            }
        );
        choice.value = "grid".into();
    }
    if let Some((method, why)) = fit.ran {
        report.method = method.name().into();
        for choice in report.chosen.iter_mut().filter(|c| c.what == "method") {
            (choice.value, choice.why) = (method.name().into(), why.into());
            choice.more = format!("{why}; it follows the lower bound by stochastic steps, whose average is kept.");
        }
    }
    if !draws.met {
        report.modes = modes(compiled, exact, &fit, options.seed);
    }
    if let (GuideKind::Mixture(_), true) = (options.guide, fit.modes.is_empty()) {
        report.doubts.push("The starts found one mode, so the mixture is one normal.".into());
    }
    if let GuideKind::Flow(_) = options.guide {
        report.doubts.extend(unbent(fit.bent));
    }
    report.k_hat = draws.k_hat;
    let points = target.points().iter().all(|p| *p);
    report.draws_from = match exact {
        _ if at_mode => "none: the mode is a point".into(),
        Some(_) if points => "of what is integrated out from its posterior given the params, which are points".into(),
        None if points => "none: params are points".into(),
        _ => describe(&draws, fit.sds_from),
    };
    report.sds = match fit.sds_from {
        _ if at_mode => "none".into(),
        SdsFrom::Guide => "guide".into(),
        SdsFrom::LinearResponse => "linear response".into(),
    };
    report.elbo = (!at_mode).then_some((fit.elbo, fit.elbo_se));
    report.doubts.extend(options.doubt.clone());
    report.converged = fit.converged;
    report.stop_reason = fit.stop_reason.sentence();
    report.gradients = fit.gradients as u64;
    report.evaluations = evaluations as u64;
    report.seconds = seconds;
    report.options.push(("draws".into(), fit.draws.to_string()));
    if fit.non_finite > 0 {
        report.doubts.push(format!(
            "{} of {} evaluations of the log joint were not finite; the search stepped back from them.",
            fit.non_finite, fit.log_joints
        ));
    }
    if let Some(theta) = &fit.first_lost {
        let lifted = exact.map(|e| e.draws(theta, 1, options.seed));
        report.warnings.extend(met(&Scene::whole(compiled), lifted.as_ref().unwrap_or(theta)));
    }
    if let (Some(error), Some(checkpoint)) = (&fit.unsaved, &options.checkpoint) {
        report.doubts.push(unsaved(checkpoint, error));
    }
    report.trace = trace(&fit.trace);
    report.doubts.extend(super::discrete::doubts(compiled, &report.discrete));
    report.doubts.extend(check_draws(&report));
    report.verdict = Some(verdict);
    Ok(report)
}

fn by_sampler(
    compiled: &Compiled,
    options: &FitOptions,
    progress: &mut dyn FnMut(&Progress),
) -> Result<FitReport, FitError> {
    let model = &compiled.model;
    let points = model.points();
    // Params are not drawn: they are fitted, and the sampler takes them as given.
    let centre = match points.contains(&true) {
        true => infer::fit(model, options, progress)?.mean,
        false => model.start(),
    };
    let standard = NutsPlan::default();
    let kept = options.draws.unwrap_or(standard.kept);
    let plan = NutsPlan { kept, warm_up: standard.warm_up.max(kept / 2), ..standard };
    let nuts = infer::nuts(model, &centre, plan, options, progress)?;
    let draws = nuts.chains * nuts.kept;
    let mut report = described(compiled, options, &nuts.theta, draws);
    report.guide = "none".into();
    report.k_hat = f64::NAN;
    report.chains = nuts.chains;
    report.draws_from = format!(
        "{} chains of {} after {} to adapt, {} divergent",
        nuts.chains, nuts.kept, plan.warm_up, nuts.divergences
    );
    let mixed: Vec<(String, Mixing)> = report
        .vars
        .iter()
        .flat_map(|v| (0..v.cells()).map(|c| (v.cell_name(c), infer::mixing(v.cell(c, draws), nuts.chains))))
        .collect();
    let verdict = infer::judge_chains(&mixed, nuts.divergences, draws, nuts.cancelled);
    report.converged = !nuts.cancelled;
    report.stop_reason = match nuts.cancelled {
        false => "Every chain has its draws.".into(),
        true => "The sampler was interrupted.".into(),
    };
    (report.gradients, report.evaluations) = (nuts.gradients as u64, nuts.gradients as u64);
    report.seconds = nuts.seconds;
    report.trace = trace(&nuts.trace);
    report.doubts.extend(super::discrete::doubts(compiled, &report.discrete));
    report.doubts.extend(check_draws(&report));
    report.verdict = Some(verdict);
    Ok(report)
}

/// Why a flow is not what is reported.
fn unbent(bent: Option<Bent>) -> Option<String> {
    match bent {
        Some(Bent { kept: true, .. }) => None,
        Some(Bent { gain, .. }) => Some(format!(
            "The flow's bound differs from the normal's by {gain:.2} nats, not by more than 0.5: the normal is reported."
        )),
        None => Some(
            "No flow was fitted: it takes two unconstrained latents or more, and a fit that ran to its end.".into(),
        ),
    }
}

/// Each mode with the latents by which the modes differ most.
fn modes(compiled: &Compiled, exact: Option<&Exact>, fit: &Fit, seed: u64) -> Vec<ReportMode> {
    const DRAWS: usize = 400;
    const SHOWN: usize = 3;
    let places: Vec<Vec<ModeAt>> = fit
        .modes
        .iter()
        .map(|mode| {
            let theta = mode.guide.sample("modes", DRAWS, seed);
            let theta = exact.map_or(theta.clone(), |e| e.draws(&theta, DRAWS, seed));
            let vars = report_vars(compiled, &theta, DRAWS, seed);
            let latents = vars.iter().filter(|v| v.kind == ReportKind::Latent);
            let cell = |v: &ReportVar, c: usize| {
                let (mean, sd) = mean_sd(v.cell(c, DRAWS));
                ModeAt { name: v.cell_name(c), mean, sd }
            };
            latents.flat_map(|v| (0..v.cells()).map(move |c| cell(v, c))).collect()
        })
        .collect();
    let cells = places.first().map_or(0, Vec::len);
    // How far the modes are from each other, in the sds of the narrower.
    let apart = |i: usize| {
        let pair = |a: &Vec<ModeAt>, b: &Vec<ModeAt>| (a[i].mean - b[i].mean).abs() / a[i].sd.min(b[i].sd);
        places.iter().flat_map(|a| places.iter().map(move |b| pair(a, b))).filter(|x| x.is_finite()).fold(0.0, f64::max)
    };
    let mut order: Vec<(f64, usize)> = (0..cells).map(|i| (apart(i), i)).collect();
    order.sort_by(|a, b| b.0.total_cmp(&a.0));
    let shown = |place: &Vec<ModeAt>| order.iter().take(SHOWN).map(|&(_, i)| place[i].clone()).collect();
    fit.modes
        .iter()
        .zip(&places)
        .map(|(m, place)| ReportMode { weight: m.weight, error: m.error, k_hat: m.k_hat, at: shown(place) })
        .collect()
}

/// Whether the guide is one normal.
fn approximate_normal(fit: &Fit) -> bool {
    fit.modes.is_empty() && fit.bent.is_none_or(|b| !b.kept)
}

/// Coordinates as their latents are called: `tau unconstrained` is `tau`, `theta noise[Choate]` is `theta[Choate]`.
fn rename(verdict: &mut Verdict) {
    for fault in &mut verdict.faults {
        let mut names: Vec<String> = vec![];
        for name in fault.names.iter().map(|n| own_name(n)) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        fault.names = names;
    }
    verdict.figures.k_hat_cells.iter_mut().for_each(|c| c.0 = own_name(&c.0));
    if let Some(blocks) = &mut verdict.figures.k_hat_blocks {
        let names = blocks.worst.iter_mut().flat_map(|w| &mut w.0).chain(&mut blocks.given);
        names.for_each(|n| *n = own_name(n));
    }
    if let Some(drift) = &mut verdict.figures.drift {
        drift.worst.iter_mut().for_each(|w| w.0 = own_name(&w.0));
    }
}

/// The cell of a latent that a coordinate belongs to.
pub(super) fn own_name(name: &str) -> String {
    format!("{}{}", latent_of(name), &name[name.find('[').unwrap_or(name.len())..])
}

/// The latent that a coordinate belongs to.
fn latent_of(name: &str) -> &str {
    let head = name.split('[').next().unwrap_or(name);
    // A draw of a guide may be made from several noises, which are numbered.
    let head = head.trim_end_matches(|c: char| c.is_ascii_digit()).strip_suffix(' ').unwrap_or(head);
    let own = ["partial correlations", "factor unconstrained", "noise", "unconstrained"];
    own.iter().find_map(|o| head.strip_suffix(o)?.strip_suffix(' ')).unwrap_or(head)
}

/// A report with the draws and what the options say.
fn described(compiled: &Compiled, options: &FitOptions, theta: &[f64], draws: usize) -> FitReport {
    let (weights, guide_params) = points(compiled, &theta[..compiled.layout.dim()]);
    let vars = report_vars(compiled, theta, draws, options.seed);
    let units = activity::units(compiled, &vars);
    let mut heading = heading(compiled, options);
    heading.doubts.extend(units.iter().filter_map(activity::collapse));
    FitReport { draws, vars, units, weights, guide_params, discrete: discrete(compiled, theta), ..heading }
}

/// What the options and the data say, without draws.
pub(super) fn heading(compiled: &Compiled, options: &FitOptions) -> FitReport {
    let sizes = |t: &crate::hir::Table| (t.name.clone(), compiled.bound.size(t.plate));
    FitReport {
        noncentred: noncentred(&compiled.hir),
        method: options.method.name().into(),
        chosen: options.chosen.clone(),
        seed: options.seed,
        sizes: compiled.hir.tables.iter().map(sizes).collect(),
        options: vec![
            ("starts".into(), options.starts.to_string()),
            ("tolerance".into(), options.tolerance.to_string()),
            ("max_iterations".into(), options.max_iterations.to_string()),
            ("learning_rate".into(), options.learning_rate.to_string()),
            ("steps".into(), options.steps.to_string()),
            ("method".into(), options.method.name().into()),
            ("guide".into(), options.guide.to_string()),
        ],
        ..FitReport::default()
    }
}

pub(super) fn trace(steps: &[Progress]) -> Trace {
    let columns = ["stage", "start", "iteration", "gradients", "objective", "gradient_norm", "seconds"];
    let row = |p: &Progress| {
        let counts = [p.stage as usize, p.start, p.iteration, p.gradients].map(|n| n as f64);
        [&counts[..], &[p.objective, p.gradient_norm, p.seconds]].concat()
    };
    Trace { columns: columns.map(String::from).to_vec(), rows: steps.iter().map(row).collect() }
}

/// How many draws of the guide are weighed: many where that costs little, few where it would cost more than the fit.
fn proposals(graph: &Graph) -> usize {
    (400_000_000 / work(graph)).clamp(1000, 20_000)
}

/// Cells that one evaluation of the log joint visits.
pub(super) fn work(graph: &Graph) -> usize {
    let cells = |r: &Region| {
        let calls = r.body.iter().map(|s| if let Stmt::Call(call) = s { call.cost() } else { 0 });
        r.loops.iter().map(|l| l.size).product::<usize>() + 1 + calls.sum::<usize>()
    };
    graph.value.iter().map(cells).sum::<usize>().max(1)
}

/// Where the reported draws come from, for the heading.
fn describe(d: &Draws, sds: SdsFrom) -> String {
    let k = d.k_hat;
    let from = match d.origin {
        Origin::Unweighed => "from the guide, not weighed against the posterior".into(),
        Origin::Guide => format!(
            "from the guide as it is; too far from the posterior to be corrected (k-hat {k:.2}, above {} is unreliable)",
            infer::USABLE
        ),
        Origin::Moved => format!(
            "moved from the guide, too far from the posterior for weights (k-hat {k:.2}), by short Hamiltonian chains"
        ),
        Origin::Resampled => format!("importance-resampled from {} of the guide's (k-hat {k:.2})", d.proposals),
    };
    match sds {
        SdsFrom::Guide => from,
        SdsFrom::LinearResponse => format!("{from}; sds by linear response"),
    }
}
