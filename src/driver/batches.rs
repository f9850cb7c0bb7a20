//! Fits in minibatches: the model compiled for a batch of rows, its data given anew at each step.

use std::time::Instant;

use super::posterior::{check_draws, described, shown, weights};
use super::{Compiled, Session};
use crate::data::{Bound, Values};
use crate::derive::batch::{Batched, batched};
use crate::derive::joint::Joint;
use crate::diag::{Code, Diagnostic};
use crate::hir::{FitValue, Hir, PlateId, TableId, VarId, VarKind, Written};
use crate::infer::batches::{self, Coordinates, Kind, Optimizer, Part, Plan, Rows, Rule, Schedule};
use crate::infer::{FitError, FitOptions, GuideKind, Method, Progress, Stream};
use crate::lower::{self, Feed, Layout};
use crate::report::FitReport;
use crate::run::{Fed, Model};
use crate::source::Span;

/// Numbers that a report keeps per draw before it keeps fewer draws.
const MOST_NUMBERS: usize = 1_000_000;
const FEWEST_DRAWS: usize = 100;
const EPOCHS: usize = 50;
const RATE: f64 = 1e-3;

/// What a compiled model has besides, if it is fitted in batches.
pub struct Batches {
    pub plate: PlateId,
    /// Rows of a batch, and of the table.
    pub rows: usize,
    pub total: usize,
    /// Numbers of the whole table, by feed of the layout.
    whole: Vec<Whole>,
    masks: Vec<Mask>,
    parts: Vec<Part>,
}

/// The whole of what a feed holds a part of.
struct Whole {
    feed: Feed,
    index: bool,
    values: Option<Values>,
    /// The dimension that runs over the rows.
    dim: usize,
}

/// A feed of factors by which a `dropout` multiplies.
struct Mask {
    feed: Feed,
    rate: f64,
    /// Its stream of random numbers.
    purpose: String,
}

/// The `batch` of a model: the table, how many rows, and where it is asked for.
pub fn asked(hir: &Hir) -> Option<(TableId, usize, Span)> {
    hir.fit.iter().find_map(|o| match o.value {
        FitValue::Batch(table, rows) => Some((table, rows, o.span)),
        _ => None,
    })
}

/// Compile for a batch. `None`: the session says why not.
pub fn compile(session: &mut Session, mut hir: Hir, bound: Bound, whole: &Joint) -> Option<Compiled> {
    let (table, rows, at) = asked(&hir)?;
    let plate = hir.table(table).plate;
    let total = bound.size(plate);
    if rows > total {
        let name = hir.plate(plate).name.clone();
        session.diags.push(
            Code::BATCH_SIZE
                .at(at, format!("a batch of {rows} rows, and `{name}` has {total}"))
                .here("larger than the table")
                .help("remove `batch`: the whole table is then used in every step; or take smaller batches"),
        );
        return None;
    }
    if let Some(Written { span, .. }) = hir.written.as_ref().filter(|w| w.has_groups()) {
        session.diags.push(
            Code::BATCH_WITH
                .at(*span, "batches go with draws and families of independent normals, and not with `fullrank()`")
                .here("has a group with `fullrank()`")
                .label(at, "batches are asked for here")
                .help("write `meanfield()`"),
        );
        return None;
    }
    if let (Some(Written { span, .. }), Some(own)) = (&hir.written, &whole.written)
        && (own.switch.is_some() || !own.scored.is_empty())
    {
        session.diags.push(
            Code::BATCH_WITH
                .at(*span, "batches go with guides that draw continuous latents, and this one draws discrete ones too")
                .here("draws a discrete latent")
                .label(at, "batches are asked for here")
                .help("leave the discrete latents out of the guide: they are then summed out"),
        );
        return None;
    }
    let starts = starts(&hir, whole, &bound);
    let Batched { mut joint, statistics, weight, row } = match batched(&mut hir, whole, plate, total, at) {
        Ok(b) => b,
        Err(d) => {
            session.diags.push(d);
            return None;
        }
    };
    let wanted: Vec<_> = statistics.iter().map(|s| (s.node, s.axes.as_slice())).collect();
    let computed = lower::evaluate(&hir, whole, &bound, &wanted);
    joint.unconstrained.iter_mut().for_each(|u| u.start = None);

    // The whole numbers, and those of the first rows, by which buffers are sized.
    let mut all = bound.clone();
    let dims = |v: VarId| hir.var(v).axes.iter().map(|a| bound.size(hir.axis(*a).plate)).collect::<Vec<_>>();
    for (s, numbers) in statistics.iter().zip(computed) {
        all.values.insert(s.var, Values { dims: dims(s.var), numbers: numbers.into() });
    }
    all.values.insert(weight, Values { dims: vec![total], numbers: vec![1.0; total].into() });
    all.values.insert(row, Values { dims: vec![total], numbers: (0..total).map(|i| i as f64).collect() });
    let over = |v: &VarId| hir.var(*v).axes.iter().position(|a| hir.axis(*a).plate == plate);
    let mut fed: Vec<VarId> = all.values.keys().copied().filter(|v| over(v).is_some()).collect();
    fed.sort_unstable();
    let mut small = all.clone();
    let own = &mut small.plates[plate.0 as usize];
    own.size = rows;
    own.labels = own.labels[..rows.min(own.labels.len())].into();
    own.lines = own.lines[..rows.min(own.lines.len())].into();
    for v in &fed {
        let (values, dim) = (&all.values[v], over(v).expect("it was chosen by that"));
        let mut dims = values.dims.clone();
        dims[dim] = rows;
        let mut numbers = vec![0.0; dims.iter().product()];
        gather(values, dim, &(0..rows).collect::<Vec<_>>(), &mut numbers);
        small.values.insert(*v, Values { dims, numbers: numbers.into() });
    }
    let rate = |v: VarId| if let VarKind::Mask { rate } = hir.var(v).kind { Some(rate) } else { None };
    fed.extend((0..hir.vars.len()).map(|v| VarId(v as u32)).filter(|v| rate(*v).is_some()));
    let (graph, layout) = lower::lower_fed(&hir, &joint, &small, &fed, &mut session.diags)?;
    let mask = |feed: &Feed| {
        let purpose = format!("mask of {}", hir.var(feed.var).name);
        Some(Mask { feed: *feed, rate: rate(feed.var)?, purpose })
    };
    let masks: Vec<Mask> = layout.feeds().iter().filter_map(mask).collect();
    let whole = layout.feeds().iter().filter(|f| rate(f.var).is_none()).map(|&feed| Whole {
        feed,
        index: matches!(graph.buffers[feed.buf.0 as usize].kind, lower::graph::BufKind::Index(_)),
        values: Some(all.values[&feed.var].clone()).filter(|_| feed.var != weight),
        dim: over(&feed.var).expect("it was chosen by that"),
    });
    let whole = whole.collect();
    let parts = parts(&hir, &joint, &layout, plate, starts);
    let model = Model::new(graph, layout.theta_names(&small), layout.points(), vec![0.0; layout.dim()]);
    let batches = Batches { plate, rows, total, whole, masks, parts };
    Some(Compiled { hir, bound, layout, model, batches: Some(batches) })
}

/// Where each slot of theta starts over the whole table; empty for 0.
fn starts(hir: &Hir, whole: &Joint, bound: &Bound) -> Vec<Vec<f64>> {
    let some: Vec<_> = whole.unconstrained.iter().filter_map(|u| Some((u.start?, u.axes.as_slice()))).collect();
    let mut found = lower::evaluate(hir, whole, bound, &some).into_iter();
    let of = |u: &crate::derive::joint::Unconstrained| u.start.and_then(|_| found.next()).unwrap_or_default();
    whole.unconstrained.iter().map(of).collect()
}

fn parts(hir: &Hir, joint: &Joint, layout: &Layout, plate: PlateId, starts: Vec<Vec<f64>>) -> Vec<Part> {
    let of = |(u, start): (&crate::derive::joint::Unconstrained, Vec<f64>)| {
        let place = layout.place(u.slot).expect("theta is laid out");
        Part {
            dims: place.dims.clone(),
            rows: place.plates.iter().position(|p| *p == plate),
            kind: match &joint.written {
                _ if u.point => Kind::Point,
                Some(written) if written.noise.contains(&u.slot) => Kind::Noise,
                _ => Kind::Drawn,
            },
            start,
            decays: hir.weights.contains(&u.var) && place.dims.len() > 1,
        }
    };
    joint.unconstrained.iter().zip(starts).map(of).collect()
}

/// Copy rows of a variable, one after the other along dimension `dim`.
fn gather(values: &Values, dim: usize, rows: &[usize], out: &mut [f64]) {
    let inner: usize = values.dims[..dim].iter().product();
    let (of, to) = (values.dims[dim], rows.len());
    for (o, block) in out.chunks_mut(inner * to).enumerate() {
        for (r, &row) in rows.iter().enumerate() {
            let from = o * inner * of + row * inner;
            block[r * inner..(r + 1) * inner].copy_from_slice(&values.numbers[from..from + inner]);
        }
    }
}

/// A batch of rows at a time.
struct Feeding<'m> {
    fed: Fed<'m>,
    batches: &'m Batches,
    numbers: Vec<f64>,
}

impl Rows for Feeding<'_> {
    fn take(&mut self, rows: &[usize], weights: &[f64]) {
        for whole in &self.batches.whole {
            let Some(values) = &whole.values else {
                self.fed.numbers(whole.feed.buf, |out| out.copy_from_slice(weights));
                continue;
            };
            if whole.index {
                let numbers = &mut self.numbers;
                self.fed.positions(whole.feed.buf, |out| {
                    numbers.resize(out.len(), 0.0);
                    gather(values, whole.dim, rows, numbers);
                    out.iter_mut().zip(numbers).for_each(|(o, x)| *o = *x as u32);
                });
            } else {
                self.fed.numbers(whole.feed.buf, |out| gather(values, whole.dim, rows, out));
            }
        }
    }

    fn drop_out(&mut self, step: Option<(u64, usize)>) {
        for mask in &self.batches.masks {
            self.fed.numbers(mask.feed.buf, |out| match step {
                None => out.fill(1.0),
                Some((seed, step)) => {
                    let mut stream = Stream::numbered(seed, &mask.purpose, step);
                    let kept = 1.0 / (1.0 - mask.rate);
                    out.fill_with(|| if stream.uniform() < mask.rate { 0.0 } else { kept });
                }
            });
        }
    }

    fn value_grad(&mut self, theta: &[f64], grad: &mut [f64]) -> f64 {
        self.fed.value_grad(theta, grad)
    }

    fn value(&mut self, theta: &[f64]) -> f64 {
        self.fed.value(theta)
    }
}

impl Batches {
    pub fn rows<'m>(&'m self, model: &'m Model) -> impl Rows + 'm {
        let mut rows = Feeding { fed: model.fed(), batches: self, numbers: vec![] };
        rows.drop_out(None);
        rows
    }

    pub fn coordinates(&self) -> Coordinates {
        Coordinates::new(&self.parts, self.total)
    }
}

/// What is asked of the fit that batches cannot do.
pub fn refused(compiled: &Compiled, options: &FitOptions) -> Option<Diagnostic> {
    let (_, _, at) = asked(&compiled.hir)?;
    let what = match options.method {
        _ if !matches!(options.guide, GuideKind::MeanField | GuideKind::FullRank) => {
            "this guide is fitted to all rows at once".into()
        }
        Method::Nuts => "the sampler needs all rows at each step".into(),
        _ if options.checkpoint.is_some() => "a fit in batches keeps no checkpoints".into(),
        Method::Auto | Method::Lbfgs | Method::Adam => return None,
        other => format!("the method `{}` needs all rows at each step", other.name()),
    };
    Some(
        Code::BATCH_WITH
            .at(at, what)
            .here("batches are asked for here")
            .help("remove `batch`, or the option of the command"),
    )
}

/// Fit, and describe the posterior.
pub fn fit(
    compiled: &Compiled,
    batches: &Batches,
    options: &FitOptions,
    progress: &mut dyn FnMut(&Progress),
) -> Result<FitReport, FitError> {
    let started = Instant::now();
    let plan = plan(compiled, batches, options);
    let coordinates = batches.coordinates();
    let mut rows = batches.rows(&compiled.model);
    let fitted = batches::fit(&mut rows, &coordinates, &plan, progress)
        .map_err(|theta| FitError::NonFiniteStart { theta, start: 0 })?;
    let mut report = super::fit::heading(compiled, options);
    report.chosen.clear();
    report.options.retain(|o| o.0 == "guide");
    report.options.extend([
        ("batch".into(), plan.batch.to_string()),
        ("epochs".into(), plan.epochs.to_string()),
        ("optimizer".into(), format!("{:?}({})", plan.optimizer.rule, plan.optimizer.rate).to_lowercase()),
        ("schedule".into(), format!("{:?}", plan.optimizer.schedule).to_lowercase()),
    ]);
    report.options.extend(plan.optimizer.clip.map(|c| ("clip".into(), c.to_string())));
    describe_draws(compiled, batches, &coordinates, &plan, &fitted.psi, &mut report);
    report.guide = if compiled.hir.written.is_some() { "written in the model" } else { "meanfield" }.into();
    report.method = format!("{:?}", plan.optimizer.rule).to_lowercase();
    report.k_hat = f64::NAN;
    report.draws_from = "from the guide, not weighed against the posterior".into();
    report.elbo = (!fitted.cancelled).then_some((fitted.elbo, fitted.elbo_se));
    report.converged = !fitted.cancelled;
    report.stop_reason = match fitted.cancelled {
        true => "The fit was interrupted.".into(),
        false => format!(
            "{} epochs of {} batches are done; in the last tenth of them the bound rose by {:.2} nats per row.",
            plan.epochs,
            plan.batches(),
            fitted.rise
        ),
    };
    (report.gradients, report.evaluations) = (fitted.gradients as u64, (fitted.gradients + fitted.values) as u64);
    if fitted.non_finite > 0 {
        report.doubts.push(format!(
            "The log joint was not finite in {} of {} batches, which were left out.",
            fitted.non_finite, fitted.gradients
        ));
    }
    if let Some(d) = compiled.hir.discrete.first() {
        let name = &compiled.hir.var(d.var).name;
        report.doubts.push(format!("Probabilities of `{name}` are not computed for a fit in batches."));
    }
    report.trace = super::fit::trace(&fitted.trace);
    report.doubts.extend(check_draws(&report));
    report.seconds = started.elapsed().as_secs_f64();
    Ok(report)
}

fn plan(compiled: &Compiled, batches: &Batches, options: &FitOptions) -> Plan {
    let mut plan = Plan {
        total: batches.total,
        batch: batches.rows,
        epochs: EPOCHS,
        optimizer: Optimizer { rule: Rule::Adam, rate: RATE, schedule: Schedule::Linear, clip: None },
        seed: options.seed,
        cancel: options.cancel.clone(),
    };
    for option in &compiled.hir.fit {
        match (option.name.as_str(), &option.value) {
            ("epochs", FitValue::Number(n)) => plan.epochs = *n as usize,
            ("clip", FitValue::Number(c)) => plan.optimizer.clip = Some(*c),
            ("schedule", FitValue::Word(w)) => {
                plan.optimizer.schedule = match w.as_str() {
                    "constant" => Schedule::Constant,
                    "cosine" => Schedule::Cosine,
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

/// Draws of everything that is reported, batch after batch in the order of the rows.
fn describe_draws(
    compiled: &Compiled,
    batches: &Batches,
    coordinates: &Coordinates,
    plan: &Plan,
    psi: &[f64],
    report: &mut FitReport,
) {
    let hir = &compiled.hir;
    let vars: Vec<VarId> = shown(compiled).into_iter().filter(|v| compiled.layout.buffer(*v).is_some()).collect();
    let mut out: Vec<_> = vars.iter().map(|v| described(compiled, *v)).collect();
    let cells: usize = out.iter().map(|v| v.cells()).sum();
    let draws = (MOST_NUMBERS / cells.max(1)).clamp(FEWEST_DRAWS, super::REPORT_DRAWS);
    out.iter_mut().for_each(|v| v.draws = vec![0.0; v.cells() * draws]);
    let order: Vec<usize> = (0..batches.total).collect();
    let (mut theta, mut z) = (vec![0.0; coordinates.dim()], vec![0.0; coordinates.dim()]);
    let mut feeding = Feeding { fed: compiled.model.fed(), batches, numbers: vec![] };
    feeding.drop_out(None);
    let mut batch = batches::Batch::default();
    for k in 0..plan.batches() {
        batch.set(plan, &order, k);
        feeding.take(&batch.rows, &batch.weights);
        for d in 0..draws {
            coordinates.noise(plan.seed, "draws", d * plan.batches() + k, &mut z);
            coordinates.shared_noise(plan.seed, "draws", d, &mut z);
            coordinates.place(psi, &batch.rows, &z, &mut theta);
            feeding.fed.report(&theta, |buffer| {
                for (v, var) in vars.iter().zip(&mut out) {
                    let Some(buf) = compiled.layout.buffer(*v) else { continue };
                    let dim = hir.var(*v).axes.iter().position(|a| hir.axis(*a).plate == batches.plate);
                    put(
                        &buffer(buf),
                        &var.dims.iter().map(|d| d.labels.len()).collect::<Vec<_>>(),
                        dim,
                        &batch,
                        d,
                        draws,
                        &mut var.draws,
                    );
                }
            });
        }
    }
    report.vars = out;
    report.draws = draws;
    report.weights = weights(compiled, &theta);
}

/// Put a batch's numbers where the whole table has them. `dims`: of the whole; `dim`: that of the rows.
fn put(
    numbers: &[f64],
    dims: &[usize],
    dim: Option<usize>,
    batch: &batches::Batch,
    draw: usize,
    draws: usize,
    out: &mut [f64],
) {
    let Some(dim) = dim else {
        numbers.iter().enumerate().for_each(|(c, x)| out[c * draws + draw] = *x);
        return;
    };
    let inner: usize = dims[..dim].iter().product();
    let of = batch.rows.len();
    for (i, x) in numbers.iter().enumerate() {
        let (low, r, high) = (i % inner, i / inner % of, i / inner / of);
        if batch.weights[r] > 0.0 {
            let cell = low + inner * (batch.rows[r] + dims[dim] * high);
            out[cell * draws + draw] = *x;
        }
    }
}
