//! `vic fit MODEL [DATA…]`

use super::args::{Estimator, FitArgs, Method, Require};
use super::progress::Progress;
use super::terminal::Terminal;
use super::{ERROR, INTERRUPTED, NOT_CONVERGED, OK, files, interrupt};
use crate::diag::Diagnostic;
use crate::driver::{self, FitRequest, Session};
use crate::infer::{self, Checkpoint, Trust};
use crate::report::{FitReport, OutDir, TableStyle, summary_json, table, verdict_lines};

pub fn run(args: &FitArgs, terminal: &Terminal) -> u8 {
    let mut session = Session::default();
    let report = fit(args, &mut session, terminal);
    terminal.complain_all(&session.diags, &session.sources);
    let Some((report, out)) = report else { return ERROR };
    let interrupted = interrupt::happened();
    let mut code = match (interrupted, report.converged && suffices(args, &report)) {
        (true, _) => INTERRUPTED,
        (false, true) => OK,
        (false, false) => NOT_CONVERGED,
    };
    if interrupted {
        let out = if out.is_some() { "; no file was written" } else { "" };
        let on = if args.checkpoint.is_some() { "\nTo go on, give the same command with `--resume`." } else { "" };
        terminal.note(&format!("Interrupted. What follows is as far as the fit came{out}.{on}\n"));
    } else if let Some(out) = out
        && let Err(d) = out.write(&report)
    {
        terminal.complain(&d, &session.sources);
        code = ERROR;
    }
    if let (false, OK | NOT_CONVERGED, Some(checkpoint)) = (interrupted, code, &args.checkpoint)
        && let Err(e) = std::fs::remove_file(checkpoint)
    {
        terminal.note(&format!("The fit is done, but its checkpoint `{checkpoint}` cannot be removed: {e}\n"));
    }
    // Without its files, the fit is at least printed.
    let text = if args.json {
        summary_json(&report)
    } else if !args.quiet {
        table(&report, TableStyle { all: args.all, color: terminal.color_out })
    } else {
        if !report.converged {
            terminal.note(&format!("Not converged. {}\n", report.stop_reason));
        } else if !suffices(args, &report) {
            terminal.note(&verdict_lines(&report).into_iter().map(|l| l + "\n").collect::<String>());
        }
        String::new()
    };
    match terminal.print(&text) {
        OK => code,
        failed => failed,
    }
}

/// Whether the verdict is what `--require` asks for.
fn suffices(args: &FitArgs, report: &FitReport) -> bool {
    let least = match args.require {
        None => return true,
        Some(Require::Trust) => Trust::Trust,
        Some(Require::Means) => Trust::MeansOnly,
    };
    report.verdict.as_ref().is_some_and(|v| v.trust >= least)
}

/// The fit, and where it goes; `None` if the session says why not.
fn fit(args: &FitArgs, session: &mut Session, terminal: &Terminal) -> Option<(FitReport, Option<OutDir>)> {
    let mut or_say = |d: Diagnostic| session.diags.push(d);
    if let Some(d) = args.deny.misused() {
        or_say(d);
        return None;
    }
    let text = files::model(&args.inputs.model, &args.inputs.data).map_err(&mut or_say).ok()?;
    let out = match &args.out {
        None => None,
        Some(dir) => Some(OutDir::prepare(dir, args.force).map_err(&mut or_say).ok()?),
    };
    let mut checked = driver::check(session, &args.inputs.model, &text);
    let request = FitRequest { cancel: Some(interrupt::watch()), ..request(args) };
    driver::heed(&mut checked.hir, &request);
    let batched = driver::batched_table(&checked.hir);
    let only = checked.hir.tables.len() == 1;
    let (others, pieces) = files::pieces(&args.inputs, batched, only, args.memory);
    let inputs = match files::inputs(&others) {
        Ok(inputs) => inputs,
        Err(errors) => {
            errors.into_iter().for_each(|d| session.diags.push(d));
            return None;
        }
    };
    if session.diags.has_errors() {
        return None;
    }
    let imports = checked.imports.clone();
    let compiled = match &pieces {
        None => driver::compile_warned(session, checked, &inputs)?,
        Some(pieces) => driver::compile_pieces(session, checked, &inputs, pieces)?,
    };
    let options = driver::options(&compiled, &request);
    args.deny.apply(session);
    if session.diags.has_errors() {
        return None;
    }
    // What there is to think about is read while the fit runs.
    terminal.complain_all(&session.diags, &session.sources);
    session.diags.list.clear();
    let mut progress = Progress::new(!args.quiet);
    let report = driver::fit(session, &compiled, &options, &mut |p| progress.update(p));
    progress.finish();
    let mut report = report?;
    args.deny.apply(session);
    if session.diags.has_errors() {
        return None;
    }
    report.forced = args.force;
    report.model = args.inputs.model.clone();
    report.data = args.inputs.data.clone();
    report.files = vec![driver::hash(&args.inputs.model, text.as_bytes())];
    let imported = imports.iter().map(|f| session.sources.get(*f));
    report.files.extend(imported.map(|f| driver::hash(&f.name, f.text.as_bytes())));
    report.files.extend(inputs.files.iter().map(|f| driver::hash(&f.name, &f.bytes)));
    report.files.extend(pieces.iter().filter_map(|p| driver::hash_of(p).ok()));
    let set = inputs.sets.iter().map(|(name, value)| (format!("set {name}"), value.clone()));
    report.options.extend(set);
    Some((report, out))
}

fn request(args: &FitArgs) -> FitRequest {
    FitRequest {
        guide: args.guide,
        method: args.method.map(method),
        seed: args.seed,
        draws: args.draws.map(|n| n as usize),
        importance_samples: args.importance_samples.map(|n| n as usize),
        path_gradient: args.estimator.map(|e| match e {
            Estimator::Entropy => infer::PathGradient::ClosedEntropy,
            Estimator::Stl => infer::PathGradient::StickingTheLanding,
        }),
        starts: args.starts.map(|n| n as usize),
        threads: args.threads.map(|n| n as usize),
        cancel: None,
        checkpoint: args.checkpoint.as_ref().map(|c| Checkpoint { path: c.into(), resume: args.resume }),
    }
}

pub fn method(m: Method) -> infer::Method {
    match m {
        Method::Auto => infer::Method::Auto,
        Method::Lbfgs => infer::Method::Lbfgs,
        Method::Adam => infer::Method::Adam,
        Method::Bam => infer::Method::Bam,
        Method::Cavi => infer::Method::Cavi,
        Method::Em => infer::Method::Em,
        Method::Laplace => infer::Method::Laplace,
        Method::Pathfinder => infer::Method::Pathfinder,
        Method::Map => infer::Method::Map,
        Method::Score => infer::Method::Score,
        Method::Iwae => infer::Method::Iwae,
        Method::ForwardKl => infer::Method::ForwardKl,
        Method::Nuts => infer::Method::Nuts,
    }
}
