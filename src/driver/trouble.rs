//! Numerical trouble of a fit, traced to the declaration and the row.

use super::culprit::{Culprit, Place, Program, culprit};
use super::{Compiled, Session};
use crate::diag::{Code, Diagnostic};
use crate::hir::{PlateId, VarId, VarKind};
use crate::infer::{Checkpoint, CheckpointError, FitOptions, Method};
use crate::lower::graph::{Graph, Region};
use crate::prim::ode::{Failure, Reason};
use crate::run::interp::Interp;
use crate::run::{self, Cause, NonFinite};

/// Most coordinates of methods that factor full matrices again and again.
const LARGEST: usize = 1500;

/// Where the log joint is not finite: the program, and the data that it was evaluated on.
pub struct Scene<'a> {
    pub program: Program<'a>,
    pub graph: &'a Graph,
    /// If these are some rows of tables: their plates, and which.
    pub rows: Vec<(PlateId, Vec<usize>)>,
}

impl Scene<'_> {
    /// All data, where the model is fitted to them at once.
    pub fn whole(compiled: &Compiled) -> Scene<'_> {
        Scene { program: Program::of(compiled), graph: compiled.model.graph(), rows: vec![] }
    }

    /// The position on a whole plate of one in the batch.
    fn row(&self, plate: usize, at: usize) -> Option<usize> {
        match self.rows.iter().find(|r| r.0.0 as usize == plate) {
            Some((_, rows)) => rows.get(at).copied(),
            None => Some(at),
        }
    }

    /// The rows that a cell belongs to: ` at houses 3, pixel 5`, and their places in files.
    fn rows_of(&self, found: &NonFinite) -> (String, Vec<String>) {
        let (mut cells, mut places) = (vec![], vec![]);
        for (plate, position) in &found.cell {
            let Some(i) = self.program.hir.plates.iter().position(|p| p.name == *plate) else { continue };
            let Some(position) = self.row(i, *position) else { continue };
            let data = &self.program.bound.plates[i];
            if let Some(label) = data.labels.get(position) {
                cells.push(format!("{plate} {label}"));
            }
            if let Some(line) = data.lines.get(position) {
                places.push(format!("{}:{line}", data.file));
            }
        }
        let at = if cells.is_empty() { String::new() } else { format!(" at {}", cells.join(", ")) };
        (at, places)
    }

    /// The part of a statement that is not finite.
    fn part(&self, found: &NonFinite, theta: &[f64]) -> Option<Culprit> {
        let mut report = Interp::new(self.graph);
        report.report(theta);
        let place = Place { program: self.program, report: &report, cell: &found.cell, rows: &self.rows };
        culprit(&place, found.span?)
    }

    /// The cells of the sums around a part: `, feature income`.
    fn cells_within(&self, part: &Culprit) -> String {
        let label = |(plate, at): &(String, usize)| {
            let i = self.program.hir.plates.iter().position(|p| p.name == *plate)?;
            let at = self.row(i, *at)?;
            Some(format!(", {plate} {}", self.program.bound.plates[i].labels.get(at)?))
        };
        part.within.iter().filter_map(label).collect()
    }
}

/// Say which declaration and which row make the log joint non-finite where a fit starts.
pub fn explain_nonfinite(session: &mut Session, scene: &Scene, theta: &[f64]) {
    match run::trace_nonfinite(scene.graph, theta) {
        Some(found) => session.diags.push(match found.cause {
            Cause::Arithmetic => nonfinite(scene, &found, theta),
            Cause::Indefinite => indefinite(scene, &found, theta),
            Cause::Ode(failure) => unsolved(scene, &found, failure, theta),
        }),
        None => session.diags.push(
            Code::NONFINITE_GRADIENT
                .plain(
                    "the gradient of the log joint is not finite at any starting point, though the log joint itself is",
                )
                .help("look for a kink or a boundary at 0: `sqrt(x)` or `x^0.5` at 0, `abs`, a division"),
        ),
    }
}

fn said(value: f64) -> String {
    match value {
        _ if value.is_nan() => "not a number".to_string(),
        _ if value.is_finite() && value.abs() > 1e5 => format!("{value:.2e}"),
        _ => format!("{value}"),
    }
}

/// A value as a reader of a message needs it.
fn short(value: f64) -> String {
    if value == value.trunc() && value.abs() < 1e6 { format!("{value}") } else { format!("{value:.4}") }
}

fn nonfinite(scene: &Scene, found: &NonFinite, theta: &[f64]) -> Diagnostic {
    let message = format!("the log joint is {} at every starting point: first", said(found.value));
    let d = placed(scene, found, theta, Code::NONFINITE_START, &message);
    if let Some((name, value)) = better_start(scene, theta) {
        return d.help(format!("start `{name}` elsewhere: with `param {name} = {value}` the log joint is finite"));
    }
    d.help("check this row of the data, and that every argument stays in its domain: a logarithm of 0, a division by 0, an observation that the distribution cannot give")
}

/// A warning of the first point that a fit met where the log joint is not finite, though it went on from elsewhere.
pub fn met(scene: &Scene, theta: &[f64]) -> Option<Diagnostic> {
    let found = run::trace_nonfinite(scene.graph, theta)?;
    let what = format!("at a point that the fit tried, {}", was(&found));
    let d = placed(scene, &found, theta, Code::NONFINITE_MET, &what);
    Some(d.help("keep the arguments in their domain by the types and priors of latents, if such values are of no interest: `latent s: real > 0`"))
}

/// A warning of rows whose results are not finite, `told` in words, with what the log joint was at a draw of the guide of the first.
pub fn of_rows(scene: &Scene, theta: &[f64], told: &str) -> Option<Diagnostic> {
    let found = run::trace_nonfinite(scene.graph, theta)?;
    let what = format!("{told}: at a draw of the guide, {}", was(&found));
    Some(placed(scene, &found, theta, Code::ROWS_NOT_FINITE, &what))
}

/// What was met at a point.
fn was(found: &NonFinite) -> String {
    match found.cause {
        Cause::Arithmetic => format!("the log joint was {}, first", said(found.value)),
        Cause::Indefinite => "a matrix had no Cholesky factor".to_string(),
        Cause::Ode(failure) => format!("an `ode` was not solved beyond time {:.6}", failure.time),
    }
}

/// Where a value is not finite: the part of the statement with what it reads, the rows, the latents. `what` goes on with the place.
fn placed(scene: &Scene, found: &NonFinite, theta: &[f64], code: &'static Code, what: &str) -> Diagnostic {
    let value = said(found.value);
    let (at, places) = scene.rows_of(found);
    let message = format!("{what} in `{}`{at}", found.region);
    let part = scene.part(found, theta);
    let d = match (part, found.span) {
        (Some(part), _) => {
            let within = scene.cells_within(&part);
            // ` at rows 3, feature income`
            let at = if at.is_empty() { within.replacen(", ", " at ", 1) } else { format!("{at}{within}") };
            let reads: Vec<String> = part.reads.iter().map(|(name, v)| format!("{name} = {}", short(*v))).collect();
            let with = if reads.is_empty() { String::new() } else { format!(", with {}", reads.join(", ")) };
            code.at(part.span, message).here(format!("{}{at}{with}", said(part.value)))
        }
        (None, Some(span)) => code.at(span, message).here(format!("{value}{at}")),
        (None, None) => code.plain(message),
    };
    let d = places.into_iter().fold(d, |d, p| d.place(p));
    at_values(scene, theta, d)
}

/// Steps that led to where the bound of a batch is not finite, or far too low.
pub fn exploded(scene: &Scene, theta: &[f64], bound: f64, epoch: usize, step: usize, help: String) -> Diagnostic {
    let (epoch, step) = (epoch + 1, step + 1);
    // What stands out is more than a thousandth of a row's share.
    let rows = scene.rows.first().map_or(1, |r| r.1.len());
    let most = if bound.is_finite() { 1e-3 * bound.abs() / rows as f64 } else { f64::MAX };
    let when = format!("the steps of the fit lead away: in epoch {epoch}, step {step}, the bound is {}", said(bound));
    // Params that have grown are seen in what they do to rows.
    let plates: Vec<&str> = scene.rows.iter().map(|r| scene.program.hir.plate(r.0).name.as_str()).collect();
    let of_rows = |region: &Region| run::is_written(region) && region.loops.iter().any(|l| plates.contains(&&*l.plate));
    let found = run::trace_beyond(scene.graph, theta, most, of_rows);
    let d = match found.or_else(|| run::trace_beyond(scene.graph, theta, most, |_| true)) {
        Some(found) => {
            let value = said(found.value);
            let (at, places) = scene.rows_of(&found);
            let message = format!("{when}; it shows first in `{}`{at}", found.region);
            let d = match found.span {
                Some(span) => Code::LOSS_EXPLODED.at(span, message).here(format!("{value}{at}")),
                None => Code::LOSS_EXPLODED.plain(message),
            };
            places.into_iter().fold(d, |d, p| d.place(p))
        }
        None => Code::LOSS_EXPLODED.plain(format!("{when}, or its gradient is not")),
    };
    d.help(help)
}

/// A matrix without a Cholesky factor, with the values of the single latents there.
fn indefinite(scene: &Scene, found: &NonFinite, theta: &[f64]) -> Diagnostic {
    let program = scene.program;
    let (at, places) = scene.rows_of(found);
    let of = found.region.trim_start_matches("Cholesky factor of ");
    let what = match program.hir.vars.iter().any(|v| v.name == of) {
        true => format!("the matrix `{of}`"),
        false => "a matrix".to_string(),
    };
    let message = format!("{what} is not positive definite at any starting point{at}: it has no Cholesky factor");
    let d = match found.span {
        Some(span) => Code::NOT_POSITIVE_DEFINITE.at(span, message).here("needs the factor"),
        None => Code::NOT_POSITIVE_DEFINITE.plain(message),
    };
    let d = places.into_iter().fold(d, |d, p| d.place(p));
    let d = at_values(scene, theta, d);
    d.help("add a small number to the diagonal, `… + (if i == j then 1e-8 else 0)`, and check that the formula is the same for [i, j] and [j, i]")
}

/// A differential equation that could not be solved.
fn unsolved(scene: &Scene, found: &NonFinite, failure: Failure, theta: &[f64]) -> Diagnostic {
    let (at, places) = scene.rows_of(found);
    let t = failure.time;
    let (what, help) = match failure.reason {
        Reason::TooManySteps => (
            format!("it takes too many steps: it came to time {t:.6} only"),
            "a stiff system needs `method: \"stiff\"`; a coarser `tolerance:` takes fewer steps",
        ),
        Reason::StepTooSmall => (
            format!("the solution grows without bound, or changes too fast to follow, at time {t:.6}"),
            "check the signs of the rates, and give the arguments priors under which the state stays bounded; a stiff system needs `method: \"stiff\"`",
        ),
        Reason::NotFinite => (
            "the start or its rate is not a number".to_string(),
            "check the start, and that the rates are defined there: a division by 0, a logarithm of 0",
        ),
    };
    let message = format!("an `ode` cannot be solved at any starting point of the fit{at}: {what}");
    let d = match found.span {
        Some(span) => Code::ODE_FAILED.at(span, message).here(format!("fails at time {t:.6}")),
        None => Code::ODE_FAILED.plain(message),
    };
    let d = places.into_iter().fold(d, |d, p| d.place(p));
    at_values(scene, theta, d).help(help)
}

/// A start of one param with which the log joint is finite, if a few others are tried.
fn better_start(scene: &Scene, theta: &[f64]) -> Option<(String, String)> {
    let Scene { program, graph, rows } = scene;
    if !rows.is_empty() {
        return None;
    }
    let names = program.layout.theta_names(program.bound);
    let mut tried = Interp::new(graph);
    let params = (0..program.hir.vars.len() as u32).map(VarId).filter(|v| {
        let var = program.hir.var(*v);
        matches!(var.kind, VarKind::Param { .. }) && var.axes.is_empty()
    });
    for var in params {
        let name = &program.hir.var(var).name;
        let Some(at) = names.iter().position(|n| n == name) else { continue };
        // On the unconstrained scale: beside the start, and then farther and farther away.
        for step in [1.0, -1.0, 2.0, -2.0, 5.0, -5.0, 10.0, -10.0, 100.0, -100.0, 1e4, -1e4] {
            let mut other = theta.to_vec();
            other[at] += step;
            if tried.value(&other).is_finite() {
                tried.report(&other);
                let value = *tried.buffer(program.layout.buffer(var)?).first()?;
                return Some((name.clone(), short(value)));
            }
        }
    }
    None
}

/// With the values of the single latents.
fn at_values(scene: &Scene, theta: &[f64], d: Diagnostic) -> Diagnostic {
    let program = scene.program;
    let mut report = Interp::new(scene.graph);
    report.report(theta);
    let single = |v: &VarId| {
        let var = program.hir.var(*v);
        matches!(var.kind, VarKind::Latent | VarKind::Param { .. }) && var.axes.is_empty()
    };
    let values: Vec<String> = (0..program.hir.vars.len() as u32)
        .map(VarId)
        .filter(single)
        .filter_map(|v| {
            let value = report.buffer(program.layout.buffer(v)?).first()?;
            Some(format!("{} = {value:.4}", program.hir.var(v).name))
        })
        .take(8)
        .collect();
    if values.is_empty() { d } else { d.note(format!("at {}", values.join(", "))) }
}

/// A latent with which the log joint does not change.
pub fn undetermined(compiled: &Compiled, name: &str) -> Diagnostic {
    let message = format!("the log joint does not change with `{name}`: neither its prior nor the data determine it");
    let d = match compiled.hir.vars.iter().find(|v| v.name == name) {
        Some(v) => Code::FLAT_LATENT.at(v.span, message).here("any value is as good as any other"),
        None => Code::FLAT_LATENT.plain(message),
    };
    d.help(format!("give it a proper prior, for instance `latent {name} ~ Normal(0, 1)`, or remove it"))
}

/// Why a method cannot fit this model at all.
pub fn refusal(compiled: &Compiled, options: &FitOptions) -> Option<Diagnostic> {
    let method = options.method;
    if !matches!(method, Method::Laplace | Method::Bam | Method::Pathfinder) {
        return None;
    }
    let name = method.name();
    if let Some(param) = compiled.hir.vars.iter().find(|v| matches!(v.kind, VarKind::Param { .. })) {
        return Some(
            Code::METHOD_WITHOUT_PARAMS
                .at(param.span, format!("`--method {name}` does not fit params, and `{}` is one", param.name))
                .here("a param")
                .help("leave `--method` out: params are then fitted by the lower bound. Or make it a latent with a prior."),
        );
    }
    let dim = compiled.layout.dim();
    (dim > LARGEST).then(|| {
        Code::METHOD_TOO_LARGE
            .plain(format!(
                "`--method {name}` works with a full matrix over all {dim} coordinates; {LARGEST} are the most"
            ))
            .help("leave `--method` out, or write `--method lbfgs --guide meanfield`")
    })
}

/// The sampler ended with an error of its own.
pub fn gave_up(reason: &str) -> Diagnostic {
    Code::SAMPLER_FAILED
        .plain(format!("the sampler gave up: {reason}"))
        .help("fit a guide, without `--method nuts`; its verdict says which latents are in trouble")
}

/// A checkpoint that cannot be written, or that is of no use to this fit.
pub fn of_checkpoint(checkpoint: &Checkpoint, error: &CheckpointError) -> Diagnostic {
    let name = checkpoint.path.display();
    match error {
        CheckpointError::Exists => Code::FILE_EXISTS
            .plain(format!("the checkpoint `{name}` exists already"))
            .help("add `--resume` to go on from it, or remove it"),
        CheckpointError::Unreadable(why) => Code::CANNOT_READ
            .plain(format!("cannot read the checkpoint `{name}`: {why}"))
            .help("without `--resume` the fit begins anew, and keeps its checkpoint there"),
        CheckpointError::Unwritable(why) => Code::CANNOT_WRITE
            .plain(format!("cannot write the checkpoint `{name}`: {why}"))
            .help("name a place where you may write"),
        CheckpointError::Damaged => Code::BAD_CHECKPOINT
            .plain(format!("`{name}` is not a whole checkpoint of this version of vic"))
            .help("remove the file, and fit without `--resume`"),
        CheckpointError::Foreign => Code::BAD_CHECKPOINT
            .plain(format!("the checkpoint `{name}` is of another fit"))
            .note("the model, the data, `--seed`, `--method`, `--guide` and all other options must be those of the interrupted fit")
            .help("fit what was interrupted, or without `--resume` and with another `--checkpoint`"),
    }
}

/// A checkpoint that could not be written at the end.
pub fn unsaved(checkpoint: &Checkpoint, error: &CheckpointError) -> String {
    format!("The checkpoint `{}` is not up to date: {error}.", checkpoint.path.display())
}

/// `--checkpoint` where nothing can be kept.
pub fn sampler_keeps_nothing() -> Diagnostic {
    Code::BAD_CHECKPOINT
        .plain("the sampler of `--method nuts` keeps no checkpoint: an interrupted run prints the draws that it has")
        .help("remove `--checkpoint`, or fit a guide")
}
