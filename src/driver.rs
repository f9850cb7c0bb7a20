//! The pipeline as functions, top to bottom: what every command calls.

mod discrete;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::check;
use crate::data::{self, Bound, Inputs};
use crate::derive::{self, guide::Guide, joint::Joint};
use crate::diag::{Code, Diags};
use crate::hir::{FitValue, Guide as Family, Hir, Step, VarId, VarKind};
use crate::imports;
use crate::infer::{self, FitError, FitOptions, GuideKind, Method, Progress};
use crate::library::LIBRARY;
use crate::lower::{
    self, Layout,
    graph::{Graph, Stmt},
};
use crate::prim::ode::{Failure, Reason};
use crate::report::{self, Dim, FileHash, FitReport, ReportKind, ReportVar, Trace};
use crate::run::{self, Cause, Model, NonFinite};
use crate::simulate::Computed;
use crate::source::{FileId, Sources};
use crate::syntax::{self, ast::Ast};
pub use discrete::discrete;

/// Draws that a report is made from.
pub const REPORT_DRAWS: usize = 4000;

/// Up to this many unconstrained latents the default guide is full-rank.
const FULLRANK_UP_TO: usize = 500;

/// One run: the sources and everything said about them so far.
#[derive(Default)]
pub struct Session {
    pub sources: Sources,
    pub diags: Diags,
}

/// A model that has been read and checked. Complete only if the session has no error.
pub struct Checked {
    pub file: FileId,
    pub ast: Ast,
    /// The files that it imports.
    pub imports: Vec<FileId>,
    pub hir: Hir,
}

/// A model compiled for its data.
pub struct Compiled {
    pub hir: Hir,
    pub bound: Bound,
    pub layout: Layout,
    pub model: Model,
}

/// What the user asks of a fit; what is not given comes from the model's `fit` block, then from the defaults.
#[derive(Clone, Debug, Default)]
pub struct FitRequest {
    pub guide: Option<GuideKind>,
    pub method: Option<Method>,
    pub seed: Option<u64>,
    pub draws: Option<usize>,
    pub starts: Option<usize>,
    pub threads: Option<usize>,
    /// Set from elsewhere (Ctrl-C) to end the fit early.
    pub cancel: Option<Arc<AtomicBool>>,
}

/// Text to checked program. Errors are in `session.diags`.
pub fn check(session: &mut Session, name: &str, text: &str) -> Checked {
    let file = session.sources.add(name, text);
    let library: Vec<Ast> = LIBRARY
        .iter()
        .map(|(name, text)| {
            let id = session.sources.add(*name, *text);
            syntax::parse(id, text, &mut session.diags)
        })
        .collect();
    let ast = syntax::parse(file, text, &mut session.diags);
    let library: Vec<&Ast> = library.iter().collect();
    let whole = imports::resolve(file, &ast, &mut session.sources, &mut session.diags);
    // A file with syntax errors is checked all the same: what was recovered can have errors of its own.
    let hir = check::check(&whole.ast, &library, &mut session.diags);
    Checked { file, ast, imports: whole.files, hir }
}

/// The log joint and the guide of a program without errors.
pub fn derive(checked: &mut Checked) -> (Joint, Guide) {
    let joint = derive::joint(&mut checked.hir);
    let guide = derive::guide::guide(&checked.hir, &joint);
    (joint, guide)
}

/// The loop nests for one data set; `None` if the data do not fit the model.
pub fn lower(session: &mut Session, checked: &mut Checked, inputs: &Inputs) -> Option<(Bound, Graph, Layout)> {
    let mut bound = data::bind(&checked.hir, inputs, &mut session.diags)?;
    let joint = derive::joint_for(&mut checked.hir, derive::Purpose::Fit, &lower::known_size(&bound));
    bound.add_derived(&checked.hir);
    let (graph, layout) = lower::lower(&checked.hir, &joint, &bound, &mut session.diags)?;
    computed(&checked.hir, &bound, &layout).map_err(|d| session.diags.push(d)).ok()?;
    Some((bound, graph, layout))
}

/// Kernels for one data set.
pub fn compile(session: &mut Session, mut checked: Checked, inputs: &Inputs) -> Option<Compiled> {
    let (bound, graph, layout) = lower(session, &mut checked, inputs)?;
    let model = Model::new(graph, layout.theta_names(&bound), layout.points(), layout.start().to_vec());
    Some(Compiled { hir: checked.hir, bound, layout, model })
}

/// Options of a fit: the request, else the model's `fit` block and `guide`, else defaults.
pub fn options(compiled: &Compiled, request: &FitRequest) -> FitOptions {
    let mut o = FitOptions::default();
    for option in &compiled.hir.fit {
        match (option.name.as_str(), &option.value) {
            ("draws", FitValue::Number(n)) => o.draws = Some(*n as usize),
            ("starts", FitValue::Number(n)) => o.starts = *n as usize,
            ("seed", FitValue::Number(n)) => o.seed = *n as u64,
            ("max_steps", FitValue::Number(n)) => (o.steps, o.max_iterations) = (*n as usize, *n as usize),
            ("learning_rate", FitValue::Number(x)) => o.learning_rate = *x,
            ("tolerance", FitValue::Number(x)) => o.tolerance = *x,
            ("method", FitValue::Word(w)) => o.method = if w == "adam" { Method::Adam } else { Method::Lbfgs },
            (name, value) => unreachable!("check admits no fit option `{name}` with {value:?}"),
        }
    }
    let dim = compiled.layout.dim();
    o.guide = request.guide.unwrap_or(match compiled.hir.guide {
        Family::MeanField => GuideKind::MeanField,
        Family::FullRank => GuideKind::FullRank,
        Family::Default if dim <= FULLRANK_UP_TO => GuideKind::FullRank,
        Family::Default => GuideKind::MeanField,
    });
    o.method = request.method.unwrap_or(o.method);
    o.seed = request.seed.unwrap_or(o.seed);
    o.draws = request.draws.or(o.draws);
    o.starts = request.starts.unwrap_or(o.starts);
    o.threads = request.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get().min(8)));
    o.cancel = request.cancel.clone();
    o
}

/// Fit, and describe the posterior. `None`: the log joint is not finite anywhere it was tried; the session says where.
pub fn fit(
    session: &mut Session,
    compiled: &Compiled,
    options: &FitOptions,
    progress: &mut dyn FnMut(&Progress),
) -> Option<FitReport> {
    let fit = match infer::fit(&compiled.model, options, progress) {
        Ok(fit) => fit,
        Err(FitError::NonFiniteStart { theta, .. }) => {
            explain_nonfinite(session, compiled, &theta);
            return None;
        }
    };
    // Whoever interrupts a fit does not want to wait for its draws to be weighed.
    let cancelled = options.cancel.as_ref().is_some_and(|c| c.load(Ordering::Relaxed));
    let proposals = if cancelled { 0 } else { proposals(compiled.model.graph()) };
    let draws = infer::draws(&compiled.model, &fit, REPORT_DRAWS, proposals, options.seed, options.threads);
    let mut report = FitReport {
        draws: REPORT_DRAWS,
        vars: report_vars(compiled, &draws.theta, options.seed),
        discrete: discrete(compiled, &draws.theta),
        k_hat: draws.k_hat,
        draws_from: describe(&draws),
        noncentred: noncentred(&compiled.hir),
        guide: match options.guide {
            GuideKind::MeanField => "meanfield".into(),
            GuideKind::FullRank => "fullrank".into(),
        },
        method: match options.method {
            Method::Lbfgs => "lbfgs".into(),
            Method::Adam => "adam".into(),
        },
        seed: options.seed,
        elbo: fit.elbo,
        elbo_se: fit.elbo_se,
        converged: fit.converged,
        stop_reason: fit.stop_reason.sentence(),
        gradients: fit.gradients as u64,
        seconds: fit.seconds,
        ..FitReport::default()
    };
    for t in &compiled.hir.tables {
        report.sizes.push((t.name.clone(), compiled.bound.size(t.plate)));
    }
    let shown = |o: &dyn std::fmt::Debug| format!("{o:?}").to_lowercase();
    report.options = vec![
        ("starts".into(), options.starts.to_string()),
        ("draws".into(), fit.draws.to_string()),
        ("tolerance".into(), options.tolerance.to_string()),
        ("max_iterations".into(), options.max_iterations.to_string()),
        ("learning_rate".into(), options.learning_rate.to_string()),
        ("steps".into(), options.steps.to_string()),
        ("method".into(), shown(&options.method)),
        ("guide".into(), shown(&options.guide)),
    ];
    if fit.non_finite > 0 {
        report.doubts.push(format!(
            "{} of {} evaluations of the log joint were not finite; the search stepped back from them.",
            fit.non_finite, fit.log_joints
        ));
    }
    let trace_columns = ["stage", "start", "iteration", "gradients", "objective", "gradient_norm", "seconds"];
    report.trace = Trace {
        columns: trace_columns.map(String::from).to_vec(),
        rows: fit
            .trace
            .iter()
            .map(|p| {
                let counts = [p.stage as usize, p.start, p.iteration, p.gradients].map(|n| n as f64);
                [&counts[..], &[p.objective, p.gradient_norm, p.seconds]].concat()
            })
            .collect(),
    };
    report.doubts.extend(discrete::cut_short(compiled, &report.discrete));
    if let Some(doubt) = check_draws(&report) {
        report.doubts.push(doubt);
    }
    Some(report)
}

/// How many draws of the guide are weighed: many where that costs little, none where it would cost more than the fit.
fn proposals(graph: &Graph) -> usize {
    let cells = |r: &lower::graph::Region| {
        let calls = r.body.iter().map(|s| if let Stmt::Call(call) = s { call.cost() } else { 0 });
        r.loops.iter().map(|l| l.size).product::<usize>() + 1 + calls.sum::<usize>()
    };
    let work: usize = graph.value.iter().map(cells).sum();
    match 400_000_000 / work.max(1) {
        0..400 => 0,
        n => n.clamp(REPORT_DRAWS, 20_000),
    }
}

/// Where the reported draws come from, for the heading.
fn describe(d: &infer::Draws) -> String {
    use infer::Origin;
    let k = d.k_hat;
    match d.origin {
        Origin::Unweighed => "from the guide, not weighed against the posterior".into(),
        Origin::Guide => format!(
            "from the guide as it is; too far from the posterior to be corrected (k-hat {k:.2}, above {} is unreliable)",
            infer::USABLE
        ),
        Origin::Moved => format!(
            "moved from the guide, too far from the posterior for weights (k-hat {k:.2}), by short Hamiltonian chains"
        ),
        Origin::Resampled => format!("importance-resampled from {} of the guide's (k-hat {k:.2})", d.proposals),
    }
}

/// Latents that are fitted as location + scale · noise, with their plates, and why.
fn noncentred(hir: &Hir) -> Vec<(String, String)> {
    let of = |s: &Step| match s {
        Step::Latent { var, dist, centering, .. } => {
            let (yes, why) = derive::centering(hir, *var, dist, *centering);
            let v = hir.var(*var);
            let plates: Vec<&str> = v.axes.iter().map(|a| hir.axis(*a).name.as_str()).collect();
            let name = if plates.is_empty() { v.name.clone() } else { format!("{}[{}]", v.name, plates.join(", ")) };
            yes.then(|| (name, why.to_string()))
        }
        Step::Param { .. } | Step::Let { .. } | Step::Observe { .. } | Step::Factor { .. } => None,
    };
    hir.steps.iter().filter_map(of).collect()
}

/// The name and SHA-256 of a file that went into a fit.
pub fn hash(name: &str, bytes: &[u8]) -> FileHash {
    FileHash { name: name.into(), sha256: report::sha256(bytes) }
}

/// Every latent, param and report, computed at each draw of theta.
fn report_vars(compiled: &Compiled, theta: &[f64], seed: u64) -> Vec<ReportVar> {
    let hir = &compiled.hir;
    let shown: Vec<VarId> = {
        let own = |v: &VarId| {
            matches!(hir.var(*v).kind, VarKind::Latent | VarKind::Param { .. }) && hir.discrete(*v).is_none()
        };
        let latents = (0..hir.vars.len() as u32).map(VarId).filter(own);
        let mut all: Vec<VarId> = latents.collect();
        all.extend(hir.reports.iter().filter(|v| !own(v)));
        // A column that may have missing cells and has none has nothing to report.
        let plates = |v: &VarId| hir.var(*v).axes.iter().map(|a| compiled.bound.size(hir.axis(*a).plate));
        all.retain(|v| plates(v).product::<usize>() > 0);
        all
    };
    let mut vars: Vec<ReportVar> = shown
        .iter()
        .map(|&v| {
            let var = hir.var(v);
            let dims = var
                .axes
                .iter()
                .map(|a| {
                    let plate = hir.axis(*a).plate;
                    Dim { plate: hir.plate(plate).name.clone(), labels: compiled.bound.plate(plate).labels.clone() }
                })
                .collect();
            let kind = match var.kind {
                VarKind::Param { .. } => ReportKind::Param,
                VarKind::Let => ReportKind::Let,
                VarKind::Report => ReportKind::Report,
                _ => ReportKind::Latent,
            };
            let mut var = ReportVar { name: var.name.clone(), kind, dims, draws: vec![] };
            var.draws = vec![0.0; var.cells() * REPORT_DRAWS];
            var
        })
        .collect();
    let dim = compiled.layout.dim();
    let mut reporter = compiled.model.reporter();
    for d in 0..REPORT_DRAWS {
        reporter.run(&theta[d * dim..(d + 1) * dim]);
        for (var, out) in shown.iter().zip(&mut vars) {
            let numbers = compiled.layout.buffer(*var).map_or(&[][..], |b| reporter.buffer(b));
            for (c, v) in numbers.iter().enumerate() {
                out.draws[c * REPORT_DRAWS + d] = *v;
            }
        }
    }
    // What depends on discrete latents, or is a position, has no kernel.
    let rest: Vec<usize> = (0..shown.len()).filter(|&i| compiled.layout.buffer(shown[i]).is_none()).collect();
    if rest.is_empty() {
        return vars;
    }
    let computed = computed(&compiled.hir, &compiled.bound, &compiled.layout).expect("looked at before the fit");
    let mut last = None;
    let mut given = |d: usize, v: VarId| {
        if last.replace(d) != Some(d) {
            reporter.run(&theta[d * dim..(d + 1) * dim]);
        }
        compiled.layout.buffer(v).map_or(vec![], |b| reporter.buffer(b).to_vec())
    };
    computed.run(seed, REPORT_DRAWS, &mut given, &mut |d, value| {
        for &i in &rest {
            for (c, v) in value(shown[i]).into_iter().enumerate() {
                vars[i].draws[c * REPORT_DRAWS + d] = v;
            }
        }
    });
    vars
}

/// The reports that no kernel computes.
fn computed<'a>(hir: &'a Hir, bound: &'a Bound, layout: &Layout) -> Result<Computed<'a>, crate::diag::Diagnostic> {
    let stored = |v: VarId| layout.buffer(v).is_some();
    let wanted: Vec<VarId> = hir.reports.iter().copied().filter(|v| !stored(*v)).collect();
    Computed::new(hir, bound, &wanted, &stored)
}

/// A reported quantity that is not a number somewhere must not pass without a word.
fn check_draws(report: &FitReport) -> Option<String> {
    report.vars.iter().find_map(|v| {
        let bad = v.draws.iter().position(|x| !x.is_finite())?;
        let n = v.draws.iter().filter(|x| !x.is_finite()).count();
        Some(format!(
            "`{}` is not finite in {n} of its draws; its summary leaves them out.",
            v.cell_name(bad / report.draws)
        ))
    })
}

/// Say which declaration and which row make the log joint non-finite.
fn explain_nonfinite(session: &mut Session, compiled: &Compiled, theta: &[f64]) {
    match run::trace_nonfinite(compiled.model.graph(), theta) {
        Some(found) => session.diags.push(match found.cause {
            Cause::Arithmetic => nonfinite(compiled, &found),
            Cause::Indefinite => indefinite(compiled, &found, theta),
            Cause::Ode(failure) => unsolved(compiled, &found, failure, theta),
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

fn nonfinite(compiled: &Compiled, found: &NonFinite) -> crate::diag::Diagnostic {
    let value = if found.value.is_nan() { "not a number".to_string() } else { format!("{}", found.value) };
    let mut places = vec![];
    let mut cells = vec![];
    for (plate, position) in &found.cell {
        let Some(i) = compiled.hir.plates.iter().position(|p| p.name == *plate) else { continue };
        let data = &compiled.bound.plates[i];
        if let Some(label) = data.labels.get(*position) {
            cells.push(format!("{plate} {label}"));
        }
        if let Some(line) = data.lines.get(*position) {
            places.push(format!("{}:{line}", data.file));
        }
    }
    let at = if cells.is_empty() { String::new() } else { format!(" at {}", cells.join(", ")) };
    let message = format!("the log joint is {value} at every starting point: first in `{}`{at}", found.region);
    let mut d = match found.span {
        Some(span) => Code::NONFINITE_START.at(span, message).here(format!("{value}{at}")),
        None => Code::NONFINITE_START.plain(message),
    };
    for p in places {
        d = d.place(p);
    }
    d.help("check this row of the data, and that every argument stays in its domain: a logarithm of 0, a division by 0, an observation that the distribution cannot give")
}

/// A matrix without a Cholesky factor, with the values of the single latents there.
fn indefinite(compiled: &Compiled, found: &NonFinite, theta: &[f64]) -> crate::diag::Diagnostic {
    let of = found.region.trim_start_matches("Cholesky factor of ");
    let what = match compiled.hir.vars.iter().any(|v| v.name == of) {
        true => format!("the matrix `{of}`"),
        false => "a matrix".to_string(),
    };
    let message = format!("{what} is not positive definite at any starting point: it has no Cholesky factor");
    let d = match found.span {
        Some(span) => Code::NOT_POSITIVE_DEFINITE.at(span, message).here("needs the factor"),
        None => Code::NOT_POSITIVE_DEFINITE.plain(message),
    };
    let d = at_values(compiled, theta, d);
    d.help("add a small number to the diagonal, `… + (if i == j then 1e-8 else 0)`, and check that the formula is the same for [i, j] and [j, i]")
}

/// A differential equation that could not be solved.
fn unsolved(compiled: &Compiled, found: &NonFinite, failure: Failure, theta: &[f64]) -> crate::diag::Diagnostic {
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
    let message = format!("an `ode` cannot be solved at any starting point of the fit: {what}");
    let d = match found.span {
        Some(span) => Code::ODE_FAILED.at(span, message).here(format!("fails at time {t:.6}")),
        None => Code::ODE_FAILED.plain(message),
    };
    at_values(compiled, theta, d).help(help)
}

/// With the values of the single latents.
fn at_values(compiled: &Compiled, theta: &[f64], d: crate::diag::Diagnostic) -> crate::diag::Diagnostic {
    let mut reporter = compiled.model.reporter();
    reporter.run(theta);
    let single = |v: &VarId| {
        let var = compiled.hir.var(*v);
        matches!(var.kind, VarKind::Latent | VarKind::Param { .. }) && var.axes.is_empty()
    };
    let values: Vec<String> = (0..compiled.hir.vars.len() as u32)
        .map(VarId)
        .filter(single)
        .filter_map(|v| {
            let value = reporter.buffer(compiled.layout.buffer(v)?).first()?;
            Some(format!("{} = {value:.4}", compiled.hir.var(v).name))
        })
        .take(8)
        .collect();
    if values.is_empty() { d } else { d.note(format!("at {}", values.join(", "))) }
}
