//! The pipeline as functions, top to bottom: what every command calls.

mod activity;
mod batches;
mod calibrate;
pub mod conjugate;
mod culprit;
mod discrete;
mod exact;
mod fit;
mod mode;
pub(crate) mod parts;
mod plan;
mod posterior;
pub mod rows;
mod trouble;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use crate::check;
use crate::data::pieces::Pieces;
use crate::data::{self, Bound, Inputs};
use crate::derive::{self, guide::Guide, joint::Joint, statistics::Obstacle, structure::Structure};
use crate::diag::{Code, Diags};
use crate::hir::{Amortised, FitOption, FitValue, Guide as Family, Hir, PlateKind, VarId, VarKind, Written};
use crate::imports;
use crate::infer::{Checkpoint, FitOptions, GuideKind, Method, PathGradient, Target};
use crate::library;
use crate::lower::{self, Layout, graph::Graph};
use crate::report::{self, FileHash};
use crate::run::Model;
use crate::source::{FileId, Sources, Span};
use crate::syntax::{self, ast::Ast, ast::DeclKind};
pub use batches::Batches;
pub use calibrate::{Calibration, calibrate};
use conjugate::Conjugate;
pub use discrete::discrete;
pub use exact::Exact;
pub use fit::fit;

/// Draws that a report is made from.
pub const REPORT_DRAWS: usize = 4000;

/// Starts for each mode that a mixture may have.
const STARTS_PER_MODE: usize = 4;

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
    /// With the declarations of the files that it imports.
    pub whole: Ast,
    /// Those files.
    pub imports: Vec<FileId>,
    pub hir: Hir,
}

/// A model compiled for its data.
pub struct Compiled {
    pub hir: Hir,
    pub bound: Bound,
    pub layout: Layout,
    pub model: Model,
    /// If the model is fitted in minibatches: then it is compiled for one.
    pub batches: Option<Batches>,
    /// Found when it is first asked for.
    exact: OnceLock<Result<Option<Box<Exact>>, String>>,
    /// The same.
    conjugate: OnceLock<Result<Box<Conjugate>, Obstacle>>,
}

impl Compiled {
    /// The model with the latents integrated out that can be, if any; Err: a sentence that says why it cannot be had.
    pub fn exact(&self) -> Result<Option<&Exact>, &str> {
        let found = self.exact.get_or_init(|| Exact::new(self).map(|e| e.map(Box::new)));
        match found {
            Ok(exact) => Ok(exact.as_deref()),
            Err(why) => Err(why),
        }
    }

    /// The model over expected statistics, if it is conjugate; Err: what stands in the way.
    pub fn conjugate(&self) -> Result<&Conjugate, &Obstacle> {
        let found = self.conjugate.get_or_init(|| Conjugate::of(self).map(Box::new));
        found.as_deref()
    }
}

/// What the user asks of a fit; what is not given comes from the model's `fit` block, then from the defaults.
#[derive(Clone, Debug, Default)]
pub struct FitRequest {
    pub guide: Option<GuideKind>,
    pub method: Option<Method>,
    pub seed: Option<u64>,
    pub draws: Option<usize>,
    pub importance_samples: Option<usize>,
    pub path_gradient: Option<PathGradient>,
    pub starts: Option<usize>,
    pub threads: Option<usize>,
    /// Set from elsewhere (Ctrl-C) to end the fit early.
    pub cancel: Option<Arc<AtomicBool>>,
    /// Where the fit keeps what it needs to go on after that.
    pub checkpoint: Option<Checkpoint>,
}

/// Text to checked program. Errors are in `session.diags`.
pub fn check(session: &mut Session, name: &str, text: &str) -> Checked {
    let file = session.sources.add(name, text);
    let first = library::add(&mut session.sources);
    let library = library::parsed(first);
    let ast = syntax::parse(file, text, &mut session.diags);
    let library: Vec<&Ast> = library.iter().collect();
    let whole = imports::resolve(file, &ast, &mut session.sources, &mut session.diags);
    // A file with syntax errors is checked all the same: what was recovered can have errors of its own.
    let said = session.diags.list.len();
    let mut hir = check::check(&whole.ast, &library, &mut session.diags);
    if let Some(asked) = hir.amortised.clone().filter(|_| !session.diags.has_errors()) {
        let taken = whole.ast.decls.iter().flat_map(imports::declared).map(|i| i.name.as_str()).collect();
        match check::amortised_guide(&hir, &asked, &taken) {
            Ok(guide) => {
                session.diags.list.truncate(said);
                hir = with_guide(session, &whole.ast, &library, &guide);
                hir.amortised = Some(Amortised { text: guide, ..asked });
            }
            Err(d) => session.diags.push(d),
        }
    }
    Checked { file, ast, whole: whole.ast, imports: whole.files, hir }
}

/// Check a model with a guide that is written out in the place of its own.
fn with_guide(session: &mut Session, model: &Ast, library: &[&Ast], guide: &str) -> Hir {
    let file = session.sources.add("the amortised guide", guide);
    let written = syntax::parse(file, guide, &mut session.diags);
    let mut model = model.clone();
    model.decls.retain(|d| !matches!(d.kind, DeclKind::GuideFamily { .. }));
    model.decls.extend(written.decls);
    check::check(&model, library, &mut session.diags)
}

/// The log joint and the guide of a program without errors.
pub fn derive(checked: &mut Checked) -> (Joint, Guide) {
    let joint = derive::joint(&mut checked.hir);
    let guide = derive::guide::guide(&checked.hir, &joint);
    (joint, guide)
}

/// What is to be known of the guide of a program without errors; one that was derived is written out above.
pub fn guide_text(checked: &mut Checked) -> String {
    let guide = derive(checked).1;
    let amortised = checked.hir.amortised.as_ref().map(|a| format!("{}\n", a.text));
    format!("{}{guide}", amortised.unwrap_or_default())
}

/// What integrates out of a program without errors, as far as it says so without data.
pub fn structure(hir: &Hir) -> Structure {
    derive::structure::structure(hir, &derive::known_size)
}

/// The same on data; `None` if these do not fit the model.
pub fn structure_on(session: &mut Session, hir: &Hir, inputs: &Inputs) -> Option<Structure> {
    let bound = data::bind(hir, inputs, &mut session.diags)?;
    Some(derive::structure::structure(hir, &lower::known_size(&bound)))
}

/// The loop nests for one data set; `None` if the data do not fit the model.
pub fn lower(session: &mut Session, checked: &mut Checked, inputs: &Inputs) -> Option<(Bound, Graph, Layout)> {
    let bound = data::bind(&checked.hir, inputs, &mut session.diags)?;
    lower_hir(session, &mut checked.hir, bound)
}

fn lower_hir(session: &mut Session, hir: &mut Hir, mut bound: Bound) -> Option<(Bound, Graph, Layout)> {
    let joint = derive::joint_for(hir, derive::Purpose::Fit, &lower::known_size(&bound));
    bound.add_derived(hir);
    let (graph, layout) = lower::lower(hir, &joint, &bound, &mut session.diags)?;
    posterior::computed(hir, &bound, &layout).map_err(|d| session.diags.push(d)).ok()?;
    Some((bound, graph, layout))
}

/// What coordinate ascent would make of a program without errors, in a line for `vic show`; `None` where it has no closed forms.
pub fn closed_forms(hir: &Hir) -> Option<String> {
    conjugate::mention(hir, &derive::known_size)
}

/// Kernels for one data set.
pub fn compile(session: &mut Session, checked: Checked, inputs: &Inputs) -> Option<Compiled> {
    compile_hir(session, checked.hir, inputs)
}

/// The same, with warnings of what the data say of the model.
pub fn compile_warned(session: &mut Session, checked: Checked, inputs: &Inputs) -> Option<Compiled> {
    let bound = data::bind(&checked.hir, inputs, &mut session.diags)?;
    warn(session, &checked, &bound);
    compile_bound(session, checked.hir, bound)
}

/// Warn where data and model do not go together well, though nothing is wrong with either.
pub fn warn(session: &mut Session, checked: &Checked, bound: &Bound) {
    data::contract(&checked.hir, bound, &mut session.diags);
    data::scales(&checked.hir, bound, &mut session.diags);
    check::allow(&checked.whole, &mut session.diags);
}

fn compile_hir(session: &mut Session, hir: Hir, inputs: &Inputs) -> Option<Compiled> {
    let bound = data::bind(&hir, inputs, &mut session.diags)?;
    compile_bound(session, hir, bound)
}

fn compile_bound(session: &mut Session, mut hir: Hir, mut bound: Bound) -> Option<Compiled> {
    if batches::asked(&hir).is_some() {
        if batches::in_closed_form(&hir) {
            conjugate::as_written(&mut hir);
        }
        let joint = derive::joint_for(&mut hir, derive::Purpose::Fit, &lower::known_size(&bound));
        bound.add_derived(&hir);
        return batches::compile(session, hir, bound, &joint, None);
    }
    let (bound, graph, layout) = lower_hir(session, &mut hir, bound)?;
    let mut model = Model::new(graph, layout.theta_names(&bound), layout.points(), layout.start().to_vec());
    if let Some(roles) = layout.roles() {
        let latent = |v: &VarId| matches!(hir.var(*v).kind, VarKind::Latent);
        let latents = (0..hir.vars.len() as u32).map(VarId).filter(latent).filter_map(|v| layout.buffer(v));
        model = model.with_guide(roles, latents.collect());
    }
    Some(Compiled { hir, bound, layout, model, batches: None, exact: OnceLock::new(), conjugate: OnceLock::new() })
}

/// The same where the table of the batches is larger than memory: it is read piece by piece, and kept on disk. `inputs` has the other
/// files.
pub fn compile_pieces(session: &mut Session, checked: Checked, inputs: &Inputs, pieces: &Pieces) -> Option<Compiled> {
    let mut hir = checked.hir;
    if let (true, Some((.., at))) = (batches::in_closed_form(&hir), batches::asked(&hir)) {
        let what = "closed forms take a table that is in memory";
        let d = Code::BATCH_WITH.at(at, what).here("batches are asked for here").help("give it more `--memory`");
        session.diags.push(d);
        return None;
    }
    let (mut bound, disk) = batches::keep(session, &mut hir, inputs, pieces)?;
    let joint = derive::joint_for(&mut hir, derive::Purpose::Fit, &lower::known_size(&bound));
    bound.add_derived(&hir);
    batches::compile(session, hir, bound, &joint, Some(disk))
}

/// The table whose rows come in batches, or whose column says what comes in batches.
pub fn batched_table(hir: &Hir) -> Option<&str> {
    let table = match &hir.plate(batches::asked(hir)?.0).kind {
        PlateKind::Rows(table) => *table,
        PlateKind::Levels { columns, .. } => match &hir.var(*columns.first()?).kind {
            VarKind::Column(column) => column.table,
            _ => return None,
        },
        _ => return None,
    };
    Some(hir.table(table).name.as_str())
}

/// Without the guide that the model writes out, where the request asks for another or for none.
pub fn heed(hir: &mut Hir, request: &FitRequest) {
    let word =
        |o: &FitOption| matches!(&o.value, FitValue::Word(w) if matches!(w.as_str(), "nuts" | "map" | "cavi" | "em"));
    let guideless = |o: &FitOption| o.name == "method" && word(o);
    let needless = |m: Method| matches!(m, Method::Nuts | Method::Map | Method::Cavi | Method::Em);
    if request.guide.is_some() || request.method.map_or_else(|| hir.fit.iter().any(guideless), needless) {
        hir.written = None;
    }
    // In batches, the model is compiled for its method.
    if batches::asked(hir).is_some() {
        let method = request.method.and_then(Method::in_model).map(|w| FitValue::Word(w.into()));
        let samples = request.importance_samples.map(|n| FitValue::Number(n as f64));
        for (name, value) in [("method", method), ("importance_samples", samples)] {
            let Some(value) = value else { continue };
            hir.fit.retain(|o| o.name != name);
            hir.fit.push(FitOption { name: name.into(), span: Span::default(), value });
        }
    }
}

/// Options of a fit: the request, else the model's `fit` block and `guide`, else defaults.
pub fn options(compiled: &Compiled, request: &FitRequest) -> FitOptions {
    let mut o = FitOptions::default();
    let mut in_model = None;
    for option in &compiled.hir.fit {
        match (option.name.as_str(), &option.value) {
            ("draws", FitValue::Number(n)) => o.draws = Some(*n as usize),
            ("starts", FitValue::Number(n)) => o.starts = *n as usize,
            ("seed", FitValue::Number(n)) => o.seed = *n as u64,
            ("max_steps", FitValue::Number(n)) => (o.steps, o.max_iterations) = (*n as usize, *n as usize),
            ("learning_rate", FitValue::Number(x)) => o.learning_rate = *x,
            ("tolerance", FitValue::Number(x)) => o.tolerance = *x,
            ("method", FitValue::Word(w)) => {
                in_model = Some(match w.as_str() {
                    "adam" => Method::Adam,
                    "bam" => Method::Bam,
                    "cavi" => Method::Cavi,
                    "em" => Method::Em,
                    "forward_kl" => Method::ForwardKl,
                    "iwae" => Method::Iwae,
                    "laplace" => Method::Laplace,
                    "lbfgs" => Method::Lbfgs,
                    "map" => Method::Map,
                    "nuts" => Method::Nuts,
                    "pathfinder" => Method::Pathfinder,
                    "score" => Method::Score,
                    _ => Method::Auto,
                });
            }
            ("importance_samples", FitValue::Number(n)) => o.importance_samples = Some(*n as usize),
            ("estimator", FitValue::Word(w)) => {
                o.path_gradient = match w.as_str() {
                    "stl" => PathGradient::StickingTheLanding,
                    _ => PathGradient::ClosedEntropy,
                };
            }
            // Of batches, which take them by themselves.
            ("batch" | "epochs" | "optimizer" | "schedule" | "warmup" | "clip" | "alternate", _)
            | ("holdout" | "patience" | "kl_warmup" | "free_bits" | "precision" | "binarise", _) => {}
            // Asked where the structure is looked for.
            ("collapse", _) => {}
            (name, value) => unreachable!("check admits no fit option `{name}` with {value:?}"),
        }
    }
    o.fresh_draws = compiled.hir.written.as_ref().is_some_and(Written::has_flows);
    o.seed = request.seed.unwrap_or(o.seed);
    // Who asks for a method or a guide asks for it on the whole model.
    let free = |m: Option<Method>| m.is_none_or(|m| m == Method::Auto);
    let family = request.guide.is_none() && compiled.hir.guide == Family::Default;
    let free = family && free(request.method) && free(in_model);
    let exact = match free {
        // Of what needs no fit there is nothing to keep.
        true => compiled.exact().map(|e| e.filter(|e| request.checkpoint.is_none() || e.rest.dim() > 0)),
        false => Ok(None),
    };
    let target = exact.ok().flatten().map_or(&compiled.model, |e| &e.rest);
    let plan = plan::plan(compiled, target, request, in_model, o.seed);
    (o.method, o.guide, o.chosen, o.doubt) = (plan.method, plan.guide, plan.chosen, plan.doubt);
    // A checkpoint is of a fit by gradients, and the log joint as it is what `collapse: off` asks for.
    let by_gradients = request.checkpoint.is_some() || exact::refused(&compiled.hir) || o.method != Method::Lbfgs;
    if let (true, false, Ok(exact)) = (free, by_gradients, exact) {
        conjugate::offer(compiled, exact).taken(exact.is_some(), &mut o);
    }
    match exact {
        Ok(exact) => o.collapse = exact.is_some(),
        Err(why) => o.doubt = o.doubt.or(Some(why.to_string())),
    }
    o.importance_samples = request.importance_samples.or(o.importance_samples);
    o.path_gradient = request.path_gradient.unwrap_or(o.path_gradient);
    o.draws = request.draws.or(o.draws);
    let starts = compiled.hir.fit.iter().any(|option| option.name == "starts");
    if let (GuideKind::Mixture(k), false) = (o.guide, starts) {
        // A mode that no start comes down in is missed.
        o.starts = STARTS_PER_MODE * k;
    }
    o.starts = request.starts.unwrap_or(o.starts);
    o.threads = request.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get().min(8)));
    o.cancel = request.cancel.clone();
    o.checkpoint = request.checkpoint.clone();
    o
}

/// The same of a file that is larger than memory.
pub fn hash_of(pieces: &Pieces) -> std::io::Result<FileHash> {
    Ok(FileHash { name: pieces.name.clone(), sha256: report::sha256_of(&pieces.path)? })
}

/// The name and SHA-256 of a file that went into a fit.
pub fn hash(name: &str, bytes: &[u8]) -> FileHash {
    FileHash { name: name.into(), sha256: report::sha256(bytes) }
}
