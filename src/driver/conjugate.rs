//! `--method cavi` and `--method em`: factors in closed form, from the log joint over expected statistics.

use std::collections::BTreeMap;
use std::time::Instant;

use super::fit::{own_name, told};
use super::{Compiled, Session};
use crate::derive::statistics::{self, Function, Obstacle, Statistic, StatisticKind, Statistics};
use crate::derive::{self, Purpose};
use crate::diag::{Code, Diagnostic, Diags};
use crate::hir::{Centering, Constraint, ExprKind, Hir, Step, VarId, VarKind};
use crate::infer::conjugate::{
    self, Ascent, BetaCell, Block, Form, Normal, NormalCell, Plan, PowerCell, Range, RawCell, Simplex, Trouble,
    TroubleKind, cell_names,
};
use crate::infer::{FitOptions, Method, Progress, Stream, Target};
use crate::lower::{self, Layout, Place};
use crate::report::FitReport;
use crate::run::Model;

/// Points at which the rewritten log joint is compared with the model's, and how far apart they may be, relative to it.
const GUARDED: usize = 5;
const AGREES: f64 = 1e-9;

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
        self.blocks.iter().all(|b| b.point) || !self.mixed && !self.coupled
    }
}

/// Fit by coordinate ascent.
pub fn fit(
    session: &mut Session,
    compiled: &Compiled,
    options: &FitOptions,
    progress: &mut dyn FnMut(&Progress),
) -> Option<FitReport> {
    if options.method == Method::Em && !compiled.layout.points().contains(&true) {
        session.diags.push(
            Code::NOTHING_TO_MAXIMISE
                .plain("`--method em` fits `param`s to a point, and the model has none")
                .help("write `--method cavi`: it gives each latent a factor in closed form"),
        );
        return None;
    }
    let conjugate = match Conjugate::of(compiled) {
        Ok(c) => c,
        Err(obstacle) => {
            session.diags.push(in_the_way(&compiled.hir, &obstacle, options.method));
            return None;
        }
    };
    match conjugate.report(options, progress) {
        Ok(report) => Some(report),
        Err(trouble) => {
            session.diags.push(in_trouble(&compiled.hir, &trouble));
            None
        }
    }
}

impl Conjugate {
    pub fn of(compiled: &Compiled) -> Result<Conjugate, Obstacle> {
        if !compiled.bound.edges.is_empty() {
            return Err(Obstacle { vars: vec![], why: "has an end that moves with an unknown".into() });
        }
        let centred = centred(compiled);
        let mut hir = compiled.hir.clone();
        hir.written = None;
        let found = statistics::statistics(&mut hir, &lower::known_size(&compiled.bound))?;
        let (expected, layout) = lowered(&hir, &found.joint, compiled);
        let own = own_scales(compiled);
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
        let Ascent { fit, sweeps, failed } = self.ascend(options, progress)?;
        let (elbo, starts) = (fit.elbo, fit.starts.len());
        let mut report = told(&self.compiled, &self.compiled.model, None, options, fit, began)
            .map_err(|_| Trouble { kind: TroubleKind::NotFinite, name: self.blocks[0].names[0].clone() })?;
        report.guide = self.factors();
        report.elbo = Some((elbo, 0.0));
        report.options.push(("sweeps".into(), sweeps.to_string()));
        report.stop_reason = format!(
            "{} sweep{} of closed-form updates. {}",
            sweeps,
            if sweeps == 1 { "" } else { "s" },
            report.stop_reason
        );
        if let Some(trouble) = failed.first() {
            let n = failed.len();
            report.doubts.push(format!("{n} of {} starts came to nothing: {}.", starts, in_words(trouble)));
        }
        Ok(report)
    }

    /// For the heading.
    fn factors(&self) -> String {
        let latent = self.blocks.iter().filter(|b| !b.point);
        let shown: Vec<String> = latent.map(|b| format!("{} {}", family(&b.form), b.names.join(" and "))).collect();
        match (shown.is_empty(), self.exact()) {
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
        Form::Raw(_) => "point",
    }
}

/// The model with no latent made from noise, and no written guide.
fn centred(compiled: &Compiled) -> Compiled {
    let mut hir = compiled.hir.clone();
    hir.written = None;
    for step in &mut hir.steps {
        if let Step::Latent { centering, .. } = step {
            *centering = Centering::Centered;
        }
    }
    let joint = derive::joint_for(&mut hir, Purpose::Fit, &lower::known_size(&compiled.bound));
    let mut bound = compiled.bound.clone();
    bound.add_derived(&hir);
    let lowered = lower::lower(&hir, &joint, &bound, &mut Diags::default());
    let (graph, layout) = lowered.expect("the same model has been lowered for the fit");
    let model = Model::new(graph, layout.theta_names(&bound), layout.points(), layout.start().to_vec());
    Compiled { hir, bound, layout, model, batches: None, exact: Default::default() }
}

fn lowered(hir: &Hir, joint: &derive::joint::Joint, compiled: &Compiled) -> (Model, Layout) {
    let mut bound = compiled.bound.clone();
    bound.add_derived(hir);
    let lowered = lower::lower(hir, joint, &bound, &mut Diags::default());
    let (graph, layout) = lowered.expect("the same model has been lowered for the fit");
    let model = Model::new(graph, layout.theta_names(&bound), layout.points(), layout.start().to_vec());
    (model, layout)
}

/// The log joint over the latents on their own scales, and where they are in its input.
fn own_scales(compiled: &Compiled) -> (Model, Vec<(VarId, usize)>) {
    let mut hir = compiled.hir.clone();
    hir.written = None;
    let joint = statistics::on_own_scales(&mut hir, &lower::known_size(&compiled.bound));
    let (model, layout) = lowered(&hir, &joint, compiled);
    let places = joint.unconstrained.iter().filter_map(|u| Some((u.var, layout.place(u.slot)?.offset))).collect();
    (model, places)
}

/// Every latent and param on its own scale, at a point of the unconstrained one.
fn values_at(centred: &Compiled, theta: &[f64]) -> BTreeMap<VarId, Vec<f64>> {
    let mut reporter = centred.model.reporter();
    reporter.run(theta);
    let all = (0..centred.hir.vars.len() as u32).map(VarId).filter(|v| centred.hir.is_unknown(*v));
    all.filter_map(|v| Some((v, reporter.buffer(centred.layout.buffer(v)?).to_vec()))).collect()
}

/// The guard: at a few points the rewritten log joint is the model's.
fn agrees(
    centred: &Compiled,
    (own, places): &(Model, Vec<(VarId, usize)>),
    expected: &Model,
    layout: &Layout,
    found: &Statistics,
) -> Result<(), Obstacle> {
    let names = centred.model.names();
    let (mut a, mut b) = (own.evaluator(), expected.evaluator());
    for n in 0..GUARDED {
        let theta: Vec<f64> = names.iter().map(|name| 0.5 * Stream::at(1, "guard", name, n).normal()).collect();
        let values = values_at(centred, &theta);
        let mut input = vec![0.0; own.dim()];
        for (v, at) in places {
            input[*at..at + values[v].len()].copy_from_slice(&values[v]);
        }
        let raw = a.value(&input);
        let rewritten = b.value(&at_point(centred, layout, found, &values, expected.dim()));
        let apart = (raw - rewritten).abs();
        if raw.is_finite() && (apart.is_nan() || apart > AGREES * raw.abs().max(1.0)) {
            let why = format!("cannot be taken apart: expanded it is {rewritten}, and should be {raw}");
            return Err(Obstacle { vars: vec![], why });
        }
    }
    Ok(())
}

/// The statistics of a point.
fn at_point(
    centred: &Compiled,
    layout: &Layout,
    found: &Statistics,
    values: &BTreeMap<VarId, Vec<f64>>,
    dim: usize,
) -> Vec<f64> {
    let mut out = vec![0.0; dim];
    for u in &found.joint.unconstrained {
        if let (Some(place), true) = (layout.place(u.slot), found.raw.contains(&u.var)) {
            out[place.offset..place.offset + place.len()].copy_from_slice(&values[&u.var]);
        }
    }
    for s in &found.statistics {
        let Some(place) = layout.place(s.slot) else { continue };
        match &s.kind {
            StatisticKind::Of(v, f) => {
                out[place.offset..].iter_mut().zip(&values[v]).for_each(|(o, x)| *o = f.at(*x));
            }
            StatisticKind::Product { first, second, .. } => {
                for (at, i, j) in pairs(centred, place, s) {
                    out[at] = values[first][i] * values[second][j];
                }
            }
        }
    }
    out
}

/// Each cell of a statistic of products, with the cells of the two latents.
fn pairs(centred: &Compiled, place: &Place, s: &Statistic) -> Vec<(usize, usize, usize)> {
    let StatisticKind::Product { first, second, shared } = &s.kind else { return vec![] };
    let sizes = |v: VarId| -> Vec<usize> {
        let hir = &centred.hir;
        hir.var(v).axes.iter().map(|a| lower::plate_size(hir, &centred.bound, hir.axis(*a).plate)).collect()
    };
    let (own, theirs) = (sizes(*first), sizes(*second));
    (0..place.len())
        .map(|cell| {
            let mut rest = cell;
            let index: Vec<usize> = place
                .dims
                .iter()
                .map(|n| {
                    let i = rest % n;
                    rest /= n;
                    i
                })
                .collect();
            let (mine, mut free) = (&index[..own.len()], index[own.len()..].iter());
            let other: Vec<usize> = shared
                .iter()
                .map(|d| d.map_or_else(|| *free.next().expect("a dimension per index that is not shared"), |d| mine[d]))
                .collect();
            let flat =
                |index: &[usize], sizes: &[usize]| index.iter().zip(sizes).rev().fold(0, |at, (i, n)| at * n + i);
            (place.offset + cell, flat(mine, &own), flat(&other, &theirs))
        })
        .collect()
}

/// A latent or param with what is known of it.
struct Unknown {
    var: VarId,
    point: bool,
    cells: usize,
    names: Vec<String>,
    /// Coordinates of the target.
    theta: usize,
    /// Of how many cells its last dimension has.
    last: usize,
    functions: BTreeMap<Function, usize>,
    raw: Option<usize>,
}

fn blocks(centred: &Compiled, layout: &Layout, found: &Statistics) -> Result<Vec<Block>, Obstacle> {
    let hir = &centred.hir;
    let mut hir_again = hir.clone();
    let joint = derive::joint_for(&mut hir_again, Purpose::Fit, &lower::known_size(&centred.bound));
    let mut unknowns: Vec<Unknown> = vec![];
    for u in &joint.unconstrained {
        let Some(theta) = centred.layout.place(u.slot) else { continue };
        let var = hir.var(u.var);
        let plates: Vec<_> = var.axes.iter().map(|a| hir.axis(*a).plate).collect();
        let dims: Vec<usize> = plates.iter().map(|p| lower::plate_size(hir, &centred.bound, *p)).collect();
        let place = Place { name: var.name.clone(), dims, plates, ..theta.clone() };
        let of = |s: &&Statistic| matches!(s.kind, StatisticKind::Of(v, _) if v == u.var);
        let functions = found.statistics.iter().filter(of).filter_map(|s| match s.kind {
            StatisticKind::Of(_, f) => Some((f, layout.place(s.slot)?.offset)),
            StatisticKind::Product { .. } => None,
        });
        let input = |r: &&derive::joint::Unconstrained| r.var == u.var && found.raw.contains(&u.var);
        let raw = found.joint.unconstrained.iter().find(input).and_then(|r| Some(layout.place(r.slot)?.offset));
        unknowns.push(Unknown {
            var: u.var,
            point: u.point,
            cells: place.len(),
            names: place.cell_names(&centred.bound),
            theta: theta.offset,
            last: place.dims.last().copied().unwrap_or(1),
            functions: functions.collect(),
            raw,
        });
    }
    let mut blocks: Vec<(VarId, Block)> = vec![];
    let (normal, others): (Vec<Unknown>, Vec<Unknown>) =
        unknowns.into_iter().partition(|u| u.raw.is_none() && matches!(hir.var(u.var).constraint, Constraint::None));
    for u in others {
        blocks.push((u.var, alone(hir, &u)?));
    }
    blocks.extend(normals(centred, layout, found, &normal));
    // Latents first: before the first step on the params their expectations must be known.
    blocks.sort_by_key(|b| (b.1.point, b.0));
    Ok(blocks.into_iter().map(|b| b.1).filter(|b| !cell_names(&b.form).is_empty()).collect())
}

/// A latent that is in no product with others.
fn alone(hir: &Hir, u: &Unknown) -> Result<Block, Obstacle> {
    let var = hir.var(u.var);
    let cells = || (0..u.cells).map(|i| (i, u.theta + i, u.names[i].clone()));
    let at = |f: Function, i: usize| u.functions.get(&f).map(|o| o + i);
    let no_form = |why: &str| Obstacle { vars: vec![u.var], why: why.into() };
    let form = match &var.constraint {
        _ if u.raw.is_some() => {
            let number = |e: &crate::hir::Expr, x: f64| matches!(e.kind, ExprKind::Number(n) if n == x);
            let range = match &var.constraint {
                Constraint::None => Range::Real,
                Constraint::Lower { bound, .. } if number(bound, 0.0) => Range::Positive,
                Constraint::Interval { lower, upper, .. } if number(lower, 0.0) && number(upper, 1.0) => Range::Unit,
                _ => return Err(no_form("has a range without a closed form")),
            };
            let input = u.raw.expect("just seen");
            Form::Raw(cells().map(|(i, theta, name)| RawCell { input: input + i, range, theta, name }).collect())
        }
        Constraint::Lower { .. } => {
            let power = u.functions.keys().find_map(|f| if let Function::Power(n) = f { Some(*n) } else { None });
            let power = power.ok_or_else(|| no_form("stands in the log joint by its logarithm only"))?;
            let cell = |(i, theta, name)| {
                let (log, value) = (at(Function::Log, i), at(Function::Power(power), i));
                PowerCell { log, value, theta, name }
            };
            Form::Power { power: f64::from(power) / 2.0, cells: cells().map(cell).collect() }
        }
        Constraint::Interval { .. } => {
            let cell = |(i, theta, name)| {
                let (log, log1m) = (at(Function::Log, i), at(Function::Log1m, i));
                BetaCell { log, log1m, theta, name }
            };
            Form::Beta(cells().map(cell).collect())
        }
        Constraint::Simplex => {
            let logs = *u.functions.get(&Function::Log).ok_or_else(|| no_form("does not stand in the log joint"))?;
            let groups = u.cells / u.last.max(1);
            // Cell (g, k) is at g + groups · k.
            let simplex = |g: usize| Simplex {
                logs: (0..u.last).map(|k| logs + g + groups * k).collect(),
                theta: (1..u.last).map(|k| u.theta + g + groups * (k - 1)).collect(),
                names: (0..u.last).map(|k| u.names[g + groups * k].clone()).collect(),
            };
            Form::Dirichlet((0..groups).map(simplex).collect())
        }
        _ => return Err(no_form("has a range without a closed form")),
    };
    Ok(Block { names: vec![var.name.clone()], point: u.point, form })
}

/// Normal latents: cells that stand in products with each other have one factor.
fn normals(centred: &Compiled, layout: &Layout, found: &Statistics, all: &[Unknown]) -> Vec<(VarId, Block)> {
    let mut first = BTreeMap::new();
    let mut total = 0;
    for u in all {
        first.insert(u.var, total);
        total += u.cells;
    }
    let mut products = vec![];
    let mut vars: BTreeMap<VarId, VarId> = all.iter().map(|u| (u.var, u.var)).collect();
    for s in &found.statistics {
        let StatisticKind::Product { first: a, second: b, .. } = s.kind else { continue };
        let (Some(place), Some(i0), Some(j0)) = (layout.place(s.slot), first.get(&a), first.get(&b)) else { continue };
        products.extend(pairs(centred, place, s).into_iter().map(|(at, i, j)| (at, i0 + i, j0 + j)));
        let (low, high) = (vars[&a].min(vars[&b]), vars[&a].max(vars[&b]));
        vars.values_mut().filter(|v| **v == high).for_each(|v| *v = low);
    }
    let mut root: Vec<usize> = (0..total).collect();
    fn top(root: &mut [usize], mut i: usize) -> usize {
        while root[i] != i {
            root[i] = root[root[i]];
            i = root[i];
        }
        i
    }
    for &(_, i, j) in &products {
        let (a, b) = (top(&mut root, i), top(&mut root, j));
        root[a.max(b)] = a.min(b);
    }
    let mut out = vec![];
    for u in all.iter().filter(|u| vars[&u.var] == u.var) {
        let members: Vec<&Unknown> = all.iter().filter(|m| vars[&m.var] == u.var).collect();
        // By the smallest cell: the place of the component, and the cells' places in it.
        let mut components: BTreeMap<usize, Normal> = BTreeMap::new();
        let mut within: BTreeMap<usize, usize> = BTreeMap::new();
        for m in &members {
            let at = |f: Function, i: usize| m.functions.get(&f).map(|o| o + i);
            for i in 0..m.cells {
                let n = components.entry(top(&mut root, first[&m.var] + i)).or_default();
                within.insert(first[&m.var] + i, n.cells.len());
                let (x, square) = (at(Function::SELF, i), at(Function::SQUARE, i));
                n.cells.push(NormalCell { x, square, theta: m.theta + i, name: m.names[i].clone() });
            }
        }
        for &(at, i, j) in &products {
            if let Some(n) = components.get_mut(&top(&mut root, i)) {
                n.products.push((at, within[&i], within[&j]));
            }
        }
        let names = members.iter().map(|m| centred.hir.var(m.var).name.clone()).collect();
        let form = Form::Normal(components.into_values().collect());
        out.push((u.var, Block { names, point: u.point, form }));
    }
    out
}

/// The values of a block's cells, in its order.
fn start_of(centred: &Compiled, block: &Block, values: &BTreeMap<VarId, Vec<f64>>) -> Vec<f64> {
    let mut named: BTreeMap<String, f64> = BTreeMap::new();
    for (v, numbers) in values {
        let var = centred.hir.var(*v);
        if !block.names.contains(&var.name) {
            continue;
        }
        let Some(buf) = centred.layout.buffer(*v) else { continue };
        let plates: Vec<_> = var.axes.iter().map(|a| centred.hir.axis(*a).plate).collect();
        let dims = plates.iter().map(|p| lower::plate_size(&centred.hir, &centred.bound, *p)).collect();
        let place = Place { name: var.name.clone(), buf, offset: 0, dims, plates };
        named.extend(place.cell_names(&centred.bound).into_iter().zip(numbers.iter().copied()));
    }
    cell_names(&block.form).into_iter().map(|n| named.get(n).copied().unwrap_or(0.0)).collect()
}

fn in_the_way(hir: &Hir, obstacle: &Obstacle, method: Method) -> Diagnostic {
    let method = method.name();
    let names: Vec<String> = obstacle.vars.iter().map(|v| format!("`{}`", hir.var(*v).name)).collect();
    let help = "leave `--method` out: a guide is fitted instead. Conjugate priors are: normal for means, `InvGamma` for a \
                variance v in `Normal(mu, sqrt(v))`, `Gamma` for a rate or a precision, `Beta` for a chance, `Dirichlet` \
                for probabilities";
    let subject = if names.is_empty() { "the log joint".into() } else { names.join(", ") };
    let text = format!("`--method {method}` needs factors in closed form, and {subject} {}", obstacle.why);
    let d = match obstacle.vars.first() {
        Some(v) => Code::NOT_CONJUGATE.at(hir.var(*v).span, text).here("no closed form"),
        None => Code::NOT_CONJUGATE.plain(text),
    };
    d.help(help)
}

/// To follow a start.
fn in_words(trouble: &Trouble) -> String {
    let name = own_name(&trouble.name);
    match trouble.kind {
        TroubleKind::NotFinite => format!("the bound is not finite when `{name}` is updated"),
        TroubleKind::Empty => format!("no row is left to `{name}`"),
        TroubleKind::Unbounded => format!("`{name}` goes to 0, and the likelihood to infinity"),
        TroubleKind::NoMaximum => format!("no value of `{name}` maximises the likelihood"),
        TroubleKind::Improper => format!("neither its prior nor the data determine `{name}`"),
        TroubleKind::Singular => format!("the precision matrix of `{name}` and what is drawn with it is singular"),
        TroubleKind::Fell => format!("the bound fell when `{name}` was updated, by rounding"),
    }
}

fn in_trouble(hir: &Hir, trouble: &Trouble) -> Diagnostic {
    let (code, here, help) = match trouble.kind {
        TroubleKind::NotFinite => (
            Code::ASCENT_NOT_FINITE,
            "not finite here",
            "give params a start at which every row is possible, `param m: real = mean(y)`; priors of latents must allow the data",
        ),
        TroubleKind::Empty => (
            Code::EMPTY_COMPONENT,
            "empty",
            "start from other values, `= draw(Normal(mean(y), sd(y)))`; take fewer components; or give it a prior, as `latent`",
        ),
        TroubleKind::Unbounded => (
            Code::UNBOUNDED_LIKELIHOOD,
            "goes to 0",
            "a component that takes a single row, or equal ones, has no likeliest scale: give it a prior, \
             `latent v ~ InvGamma(2, 1)`, let components share it, or start elsewhere",
        ),
        TroubleKind::NoMaximum => (
            Code::NO_MAXIMUM,
            "no value is best",
            "give it a prior, as `latent`, or remove what the data do not determine",
        ),
        TroubleKind::Improper => (Code::IMPROPER_FACTOR, "undetermined", "give it a proper prior in place of `flat()`"),
        TroubleKind::Singular => (
            Code::SINGULAR_FACTOR,
            "singular",
            "effects that only their sum is known of, or a column that others add up to, leave a direction undetermined: \
             give them priors, or remove one",
        ),
        TroubleKind::Fell => {
            (Code::ASCENT_NOT_FINITE, "lost to rounding", "standardise the columns, or leave `--method` out")
        }
    };
    let name = own_name(&trouble.name);
    let head = name.split('[').next().unwrap_or(&name);
    let text = in_words(trouble);
    let d = match hir.vars.iter().find(|v| v.name == head && matches!(v.kind, VarKind::Latent | VarKind::Param { .. }))
    {
        Some(v) => code.at(v.span, text).here(here),
        None => code.plain(text),
    };
    d.help(help)
}
