//! A model compiled for a batch of rows.

use super::feed::{Mask, Whole};
use super::options::{held, weighing};
use super::store::Store;
use super::{Batches, Draws, Weighed, asked};
use crate::data::{Bound, Values};
use crate::derive::batch::{Batched, batched};
use crate::derive::joint::{Joint, Unconstrained};
use crate::derive::several::{Several, several};
use crate::derive::soften::Soft;
use crate::derive::{self, Purpose};
use crate::diag::{Code, Diags};
use crate::driver::{Compiled, Session};
use crate::hir::{Hir, PlateId, VarId, VarKind, Written};
use crate::infer::batches::{FIRST_LOG_SD, Kind, Part, Weighing};
use crate::lower::{self, Feed, Layout};
use crate::run::Model;
use crate::source::Span;

/// Compile for a batch. `None`: the session says why not.
pub fn compile(session: &mut Session, mut hir: Hir, bound: Bound, whole: &Joint) -> Option<Compiled> {
    let (table, rows, at) = asked(&hir)?;
    let plate = hir.table(table).plate;
    let total = bound.size(plate);
    let held = held(&hir, total);
    if rows + held > total {
        let name = hir.plate(plate).name.clone();
        let left = if held > 0 { format!(", of which {held} are held out") } else { String::new() };
        session.diags.push(
            Code::BATCH_SIZE
                .at(at, format!("a batch of {rows} rows, and `{name}` has {total}{left}"))
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
    let weighing = weighing(&hir);
    let before = hir.clone();
    let starts = starts(&hir, whole, &bound);
    let asked = |name: &str| hir.fit.iter().any(|o| o.name == name);
    let soft = Soft { share: asked("kl_warmup"), free: asked("free_bits") };
    let prepared = prepare(session, &mut hir, &bound, whole, (plate, total, at), soft)?;
    let Prepared { joint, all, weight, softened } = &prepared;
    let given: Vec<VarId> = softened.iter().flatten().copied().collect();
    let small = Small { hir: &hir, joint, all, plate, rows, weight: *weight, given: &given };
    let (model, layout, mut batches) = small.lower(starts.clone(), &mut session.diags)?;
    batches.softened = softened.map(|v| feed(&layout, v));
    if let Some((how, draws)) = weighing {
        let own = batches.parts.iter().zip(&joint.unconstrained);
        if let Some((_, u)) = own.clone().find(|(p, _)| p.rows.is_some() && p.kind == Kind::Drawn) {
            let of = hir.var(u.var);
            session.diags.push(
                Code::BATCH_WITH
                    .at(
                        of.span,
                        format!(
                            "draws are weighed where a guide draws `{}` given the row, and it is fitted row by row",
                            of.name
                        ),
                    )
                    .here("has a normal of its own for each row")
                    .label(at, "batches are asked for here")
                    .help("write a guide that draws it given the row, or remove `method`"),
            );
            return None;
        }
        if let Some(w) = hir.written.as_ref().filter(|w| how == Weighing::Inclusive && w.has_flows()) {
            session.diags.push(
                Code::BATCH_WITH
                    .at(
                        w.span,
                        "the inclusive divergence takes the density of a given draw, and this guide bends its draws",
                    )
                    .here("has a flow")
                    .label(at, "batches are asked for here")
                    .help("take the method `iwae`, or leave the flow out"),
            );
            return None;
        }
        let weighed = weighed(session, before, &bound, (plate, rows, total, at), starts, how, draws)?;
        batches.weighed = Some(Box::new(weighed));
    }
    let own = batches.parts.iter().zip(&joint.unconstrained).find(|(p, _)| p.rows.is_some() && p.kind != Kind::Noise);
    if let (true, Some((_, u))) = (held > 0, own) {
        let of = hir.var(u.var);
        session.diags.push(
            Code::BATCH_WITH
                .at(of.span, format!("rows that are held out would need `{}`, which is fitted row by row", of.name))
                .here("has a value for each row")
                .label(at, "batches are asked for here")
                .help("write a guide that draws it given the row, or remove `holdout`"),
        );
        return None;
    }
    Some(Compiled { hir, bound, layout, model, batches: Some(batches) })
}

/// A joint in batches, with the numbers that it reads.
struct Prepared {
    joint: Joint,
    all: Bound,
    weight: VarId,
    softened: [Option<VarId>; 2],
}

fn prepare(
    session: &mut Session,
    hir: &mut Hir,
    bound: &Bound,
    whole: &Joint,
    (plate, total, at): (PlateId, usize, Span),
    soft: Soft,
) -> Option<Prepared> {
    let batch = batched(hir, whole, plate, total, soft, at).map_err(|d| session.diags.push(d)).ok()?;
    let Batched { mut joint, statistics, weight, row, softened } = batch;
    let wanted: Vec<_> = statistics.iter().map(|s| (s.node, s.axes.as_slice())).collect();
    let computed = lower::evaluate(hir, whole, bound, &wanted);
    joint.unconstrained.iter_mut().for_each(|u| u.start = None);
    // The whole numbers, by which the rows of a batch are filled in.
    let mut all = bound.clone();
    let dims = |v: VarId| hir.var(v).axes.iter().map(|a| bound.size(hir.axis(*a).plate)).collect();
    for (s, numbers) in statistics.iter().zip(computed) {
        all.values.insert(s.var, Values { dims: dims(s.var), numbers: numbers.into() });
    }
    all.values.insert(weight, Values { dims: vec![total], numbers: vec![1.0; total].into() });
    all.values.insert(row, Values { dims: vec![total], numbers: (0..total).map(|i| i as f64).collect() });
    Some(Prepared { joint, all, weight, softened })
}

/// The same model with several draws per row.
fn weighed(
    session: &mut Session,
    mut hir: Hir,
    bound: &Bound,
    (plate, rows, total, at): (PlateId, usize, usize, Span),
    starts: Vec<Vec<f64>>,
    how: Weighing,
    draws: usize,
) -> Option<Weighed> {
    let whole = derive::joint_for(&mut hir, Purpose::Weighed(how), &lower::known_size(bound));
    let mut bound = bound.clone();
    bound.add_derived(&hir);
    let slopes = whole.written.as_ref().and_then(|w| w.path).map(|p| p.0);
    let ones = Values { dims: vec![total], numbers: vec![1.0; total].into() };
    bound.values.extend(slopes.map(|v| (v, ones)));
    let prepared = prepare(session, &mut hir, &bound, &whole, (plate, total, at), Soft::default())?;
    let Prepared { mut joint, mut all, weight, .. } = prepared;
    let several = several(&mut hir, &mut joint, plate, draws, weight, at);
    let Several { draws: of, weights, scores } = several.map_err(|d| session.diags.push(d)).ok()?;
    all.add_derived(&hir);
    all.plates[of.0 as usize].size = draws;
    let given: Vec<VarId> = slopes.into_iter().chain([weights]).collect();
    let small = Small { hir: &hir, joint: &joint, all: &all, plate, rows, weight, given: &given };
    let (model, layout, mut batches) = small.lower(starts, &mut session.diags)?;
    for (part, u) in batches.parts.iter_mut().zip(&joint.unconstrained) {
        part.draws = layout.place(u.slot).and_then(|p| p.plates.iter().position(|p| *p == of));
    }
    batches.draws = Some(Draws {
        weights: feed(&layout, Some(weights)).expect("all rows have a weight"),
        slopes: feed(&layout, slopes),
        scores: scores.iter().filter_map(|v| layout.buffer(*v)).collect(),
    });
    Some(Weighed { model, batches })
}

fn feed(layout: &Layout, var: Option<VarId>) -> Option<Feed> {
    layout.feeds().iter().find(|f| Some(f.var) == var).copied()
}

/// A joint in batches, to be lowered for so many rows.
pub struct Small<'a> {
    pub hir: &'a Hir,
    pub joint: &'a Joint,
    /// The numbers of all rows.
    pub all: &'a Bound,
    pub plate: PlateId,
    pub rows: usize,
    pub weight: VarId,
    /// Data of no row that change from run to run besides.
    pub given: &'a [VarId],
}

impl Small<'_> {
    /// `starts`: where each slot of theta starts over the whole table; empty for 0.
    pub fn lower(&self, starts: Vec<Vec<f64>>, diags: &mut Diags) -> Option<(Model, Layout, Batches)> {
        let Small { hir, joint, all, plate, rows, .. } = *self;
        let over = |v: &VarId| hir.var(*v).axes.iter().position(|a| hir.axis(*a).plate == plate);
        let mut fed: Vec<VarId> = all.values.keys().copied().filter(|v| over(v).is_some()).collect();
        fed.sort_unstable();
        // Buffers are sized by the first rows.
        let mut small = all.clone();
        small.keep_rows(hir, plate, &(0..rows).collect::<Vec<_>>());
        fed.extend(self.given);
        let rate = |v: VarId| if let VarKind::Mask { rate } = hir.var(v).kind { Some(rate) } else { None };
        fed.extend((0..hir.vars.len()).map(|v| VarId(v as u32)).filter(|v| rate(*v).is_some()));
        let (graph, layout) = lower::lower_fed(hir, joint, &small, &fed, diags)?;
        let mask = |feed: &Feed| {
            let purpose = format!("mask of {}", hir.var(feed.var).name);
            Some(Mask { feed: *feed, rate: rate(feed.var)?, purpose })
        };
        let masks: Vec<Mask> = layout.feeds().iter().filter_map(mask).collect();
        let whole = |&feed: &Feed| {
            let dim = over(&feed.var).filter(|_| rate(feed.var).is_none() && !self.given.contains(&feed.var))?;
            let values = all.values.get(&feed.var).filter(|_| feed.var != self.weight);
            Some(Whole {
                feed,
                index: matches!(graph.buffers[feed.buf.0 as usize].kind, lower::graph::BufKind::Index(_)),
                rows: values.map(|v| Store::new(v, dim)),
                shades: all.shades.get(&feed.var).map(|v| Store::new(v, dim)),
            })
        };
        let whole = layout.feeds().iter().filter_map(whole).collect();
        let parts = parts(hir, joint, &layout, plate, starts);
        let model = Model::new(graph, layout.theta_names(&small), layout.points(), vec![0.0; layout.dim()]);
        let (total, softened) = (all.size(plate), [None; 2]);
        let batches = Batches { plate, rows, total, whole, masks, softened, parts, weighed: None, draws: None };
        Some((model, layout, batches))
    }
}

/// Where each slot of theta starts over the whole table; empty for 0.
fn starts(hir: &Hir, whole: &Joint, bound: &Bound) -> Vec<Vec<f64>> {
    let some: Vec<_> = whole.unconstrained.iter().filter_map(|u| Some((u.start?, u.axes.as_slice()))).collect();
    let mut found = lower::evaluate(hir, whole, bound, &some).into_iter();
    let of = |u: &Unconstrained| u.start.and_then(|_| found.next()).unwrap_or_default();
    whole.unconstrained.iter().map(of).collect()
}

fn parts(hir: &Hir, joint: &Joint, layout: &Layout, plate: PlateId, starts: Vec<Vec<f64>>) -> Vec<Part> {
    let of = |(u, start): (&Unconstrained, Vec<f64>)| {
        let place = layout.place(u.slot).expect("theta is laid out");
        Part {
            dims: place.dims.clone(),
            rows: place.plates.iter().position(|p| *p == plate),
            draws: None,
            kind: match &joint.written {
                _ if u.point => Kind::Point,
                Some(written) if written.noise.contains(&u.slot) => Kind::Noise,
                _ => Kind::Drawn,
            },
            start,
            log_sd: FIRST_LOG_SD,
            decays: hir.weights.contains(&u.var) && place.dims.len() > 1,
        }
    };
    joint.unconstrained.iter().zip(starts).map(of).collect()
}
