//! A model compiled for a batch of rows.

use std::ops::Range;
use std::sync::Arc;

use super::feed::{Mask, Numbers, Whole};
use super::kin::{Kinship, kinship};
use super::options::{held, weighing};
use super::pieces::{OnDisk, grown, too_large};
use super::statistics::{plain, streamed};
use super::store::Store;
use super::{Batches, Draws, Weighed, add_scores, asked};
use crate::data::{Bound, Values};
use crate::derive::batch::{Batched, Level, batched};
use crate::derive::joint::{Joint, Unconstrained};
use crate::derive::several::{Several, several};
use crate::derive::soften::Soft;
use crate::derive::{self, Purpose};
use crate::diag::{Code, Diagnostic, Diags, counted};
use crate::driver::discrete::is_drawn;
use crate::driver::{Compiled, Session};
use crate::hir::{FitValue, Hir, PlateId, VarId, VarKind, Written};
use crate::infer::batches::{FIRST_LOG_SD, Kind, Part, Weighing};
use crate::lower::graph::BufId;
use crate::lower::{self, Feed, Layout};
use crate::run::Model;
use crate::source::Span;

/// Compile for a batch. `None`: the session says why not.
///
/// With `disk`, that holds the table's rows, and the data that are bound have the first of them alone.
pub fn compile(
    session: &mut Session,
    mut hir: Hir,
    bound: Bound,
    whole: &Joint,
    mut disk: Option<OnDisk>,
) -> Option<Compiled> {
    let (plate, rows, at) = asked(&hir)?;
    let total = disk.as_ref().map_or_else(|| bound.size(plate), |d| d.total);
    let held = held(&hir, total);
    if rows + held > total {
        let name = hir.plate(plate).name.clone();
        let left = match held {
            0 => String::new(),
            1 => ", of which 1 is held out".into(),
            n => format!(", of which {n} are held out"),
        };
        session.diags.push(
            Code::BATCH_SIZE
                .at(at, format!("a batch of {}, and `{name}` has {total}{left}", counted(rows, "row")))
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
    if let (Some(Written { span, .. }), Some(own), Some(_)) = (&hir.written, &whole.written, weighing(&hir))
        && (own.switch.is_some() || !own.scored.is_empty())
    {
        session.diags.push(
            Code::BATCH_WITH
                .at(*span, "draws are weighed that slopes go through, and this guide draws latents that have none")
                .here("enumerates, relaxes or scores a latent")
                .label(at, "batches are asked for here")
                .help("leave discrete latents out of the guide: they are then summed out; or remove `method`"),
        );
        return None;
    }
    if let Some(d) = disk.as_ref().and_then(|_| rows_of_start(&hir, whole, plate, at)) {
        session.diags.push(d);
        return None;
    }
    let weighing = weighing(&hir);
    let before = hir.clone();
    let starts = starts(&hir, whole, &bound);
    let asked = |name: &str| hir.fit.iter().any(|o| o.name == name);
    let soft = Soft { share: asked("kl_warmup"), free: asked("free_bits") };
    let mut prepared = prepare(session, &mut hir, &bound, whole, (plate, rows, total, at), soft, disk.as_mut())?;
    let along = !prepared.kinship.kin.is_empty();
    if let Some(d) = along.then(|| refused_along(&hir, at)).flatten() {
        session.diags.push(d);
        return None;
    }
    // A divergence that is softened is no sum over rows.
    let summed = hir.written.is_some() && !soft.share && !soft.free;
    let plates: Vec<PlateId> = prepared.levels.iter().map(|l| l.plate).collect();
    let scores = if summed { add_scores(&mut hir, &mut prepared.joint, &plates) } else { vec![] };
    let Prepared { joint, all, levels, kinship, softened } = &prepared;
    let given: Vec<VarId> = softened.iter().flatten().copied().collect();
    let on_disk = disk.as_ref();
    let small = Small { hir: &hir, joint, all, levels, kinship, rows, given: &given, on_disk };
    let (model, layout, mut batches) = small.lower(starts.clone(), &mut session.diags)?;
    batches.scores = buffers(&layout, &scores);
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
        let before = Hir { batched: plates, ..before };
        let weighed = weighed(session, before, &bound, (plate, rows, total, at), starts, (how, draws), disk.as_mut())?;
        batches.weighed = Some(Box::new(weighed));
    }
    let own = batches
        .parts
        .iter()
        .zip(&joint.unconstrained)
        .find(|(p, _)| p.rows.is_some() && matches!(p.kind, Kind::Point | Kind::Drawn));
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
    let bound = if disk.is_some() { grown(bound, plate, total) } else { bound };
    Some(Compiled {
        hir,
        bound,
        layout,
        model,
        batches: Some(batches),
        exact: Default::default(),
        conjugate: Default::default(),
    })
}

/// The log joint over expected statistics, compiled for a batch.
pub fn expected(
    session: &mut Session,
    mut hir: Hir,
    bound: &Bound,
    whole: &Joint,
    (plate, rows, at): (PlateId, usize, Span),
) -> Option<(Model, Batches)> {
    let mut bound = bound.clone();
    bound.add_derived(&hir);
    let total = bound.size(plate);
    let prepared = prepare(session, &mut hir, &bound, whole, (plate, rows, total, at), Soft::default(), None)?;
    let Prepared { joint, all, levels, kinship, .. } = &prepared;
    let small = Small { hir: &hir, joint, all, levels, kinship, rows, given: &[], on_disk: None };
    let (model, _, batches) = small.lower(vec![], &mut session.diags)?;
    Some((model, batches))
}

/// The log joint with probes of discrete latents, for batches as those of the fit; where the probes of each stand in theta.
pub(super) fn probing(
    compiled: &Compiled,
    batches: &Batches,
    purpose: Purpose,
) -> (Model, Batches, Vec<(VarId, Range<usize>)>) {
    const SAME: &str = "the same model has been compiled for the fit";
    let (mut session, mut hir) = (Session::default(), compiled.hir.clone());
    let whole = derive::joint_for(&mut hir, purpose, &lower::known_size(&compiled.bound));
    let mut bound = compiled.bound.clone();
    bound.add_derived(&hir);
    let at = asked(&hir).expect(SAME).2;
    let (plate, rows, soft) = (batches.plate, batches.rows, Soft::default());
    let prepared = prepare(&mut session, &mut hir, &bound, &whole, (plate, rows, batches.total, at), soft, None);
    let Prepared { joint, all, levels, kinship, .. } = &prepared.expect(SAME);
    let small = Small { hir: &hir, joint, all, levels, kinship, rows, given: &[], on_disk: None };
    let (model, layout, batches) =
        small.lower(vec![vec![]; joint.unconstrained.len()], &mut session.diags).expect(SAME);
    let probes = probes(&hir, joint, &layout);
    (model, batches, probes)
}

/// Where the probes of discrete latents stand in theta.
pub fn probes(hir: &Hir, joint: &Joint, layout: &Layout) -> Vec<(VarId, Range<usize>)> {
    let (mut probes, mut at) = (vec![], 0);
    for u in &joint.unconstrained {
        let size: usize = layout.place(u.slot).expect("theta is laid out").dims.iter().product();
        // What the guide draws has inputs of its own there, and no probes.
        let probe = hir.discrete(u.var).is_some() && !is_drawn(hir, u.var);
        probes.extend(probe.then(|| (u.var, at..at + size)));
        at += size;
    }
    probes
}

/// What batches of members with rows of other tables cannot do.
fn refused_along(hir: &Hir, at: Span) -> Option<Diagnostic> {
    let closed = |v: &FitValue| matches!(v, FitValue::Word(w) if matches!(w.as_str(), "cavi" | "em"));
    let o = hir.fit.iter().find(|o| o.name == "method" && closed(&o.value))?;
    let what = "this method takes rows one by one, and the members of a batch have rows of their own";
    if o.span == Span::default() {
        // An option of the command stands nowhere in the model.
        let d = Code::BATCH_WITH.at(at, what).here("batches are asked for here");
        return Some(d.help("remove the option of the command, or take batches of the rows"));
    }
    let d = Code::BATCH_WITH.at(o.span, what).here("not with such batches");
    Some(d.label(at, "batches are asked for here").help("remove it, or take batches of the rows"))
}

/// A param that starts from the rows of a table, or is fitted row by row: not where they are on disk.
fn rows_of_start(hir: &Hir, whole: &Joint, plate: PlateId, at: Span) -> Option<Diagnostic> {
    let noise = |u: &Unconstrained| whole.written.as_ref().is_some_and(|w| w.noise.contains(&u.slot));
    whole.unconstrained.iter().find_map(|u| {
        let v = hir.var(u.var);
        let own = whole.slot(u.slot).dims.contains(&plate) && !noise(u);
        let starts = u.start.is_some_and(|n| whole.depends_on_rows(n, plate));
        let why = match (own, starts) {
            (true, _) => format!("`{}` is fitted row by row", v.name),
            (_, true) => format!("`{}` starts from a table's rows", v.name),
            _ => return None,
        };
        Some(too_large(v.span, why, at))
    })
}

/// A joint in batches, with the numbers that it reads.
struct Prepared {
    joint: Joint,
    all: Bound,
    levels: Vec<Level>,
    kinship: Kinship,
    softened: [Option<VarId>; 2],
}

fn prepare(
    session: &mut Session,
    hir: &mut Hir,
    bound: &Bound,
    whole: &Joint,
    (plate, rows, total, at): (PlateId, usize, usize, Span),
    soft: Soft,
    disk: Option<&mut OnDisk>,
) -> Option<Prepared> {
    let size = |p: PlateId| if p == plate { total } else { bound.size(p) };
    let batch = batched(hir, whole, plate, &size, soft, at).map_err(|d| session.diags.push(d)).ok()?;
    let Batched { mut joint, statistics, levels, softened } = batch;
    if disk.is_some() && levels.len() > 1 {
        session.diags.push(too_large(at, "rows of several tables come in batches".into(), at));
        return None;
    }
    let kinship = kinship(hir, whole, bound, &levels, rows, at).map_err(|d| session.diags.push(d)).ok()?;
    joint.unconstrained.iter_mut().for_each(|u| u.start = None);
    // The whole numbers, by which the rows of a batch are filled in.
    let mut all = bound.clone();
    match &disk {
        None => {
            let wanted: Vec<_> = statistics.iter().map(|s| (s.node, s.axes.as_slice())).collect();
            let dims = |v: VarId| hir.var(v).axes.iter().map(|a| bound.size(hir.axis(*a).plate)).collect();
            for (s, numbers) in statistics.iter().zip(lower::evaluate(hir, whole, bound, &wanted)) {
                all.values.insert(s.var, Values { dims: dims(s.var), numbers: numbers.into() });
            }
        }
        // The first statistics are read by others; what is none yet is defined, but not read.
        Some(disk) => {
            let dims =
                |v: VarId| -> Vec<usize> { hir.var(v).axes.iter().map(|a| bound.size(hir.axis(*a).plate)).collect() };
            for v in statistics.iter().map(|s| s.var).chain(softened.iter().flatten().copied()) {
                let numbers = vec![0.0; dims(v).iter().product()].into();
                all.values.insert(v, Values { dims: dims(v), numbers });
            }
            for s in &statistics {
                let Some((op, axis)) = plain(hir, whole, s, &levels[0]) else {
                    let by = whole.defs.iter().find(|d| d.value == s.node).map_or(at, |d| d.span);
                    session.diags.push(too_large(
                        by,
                        "this statistic takes rows of a choice, or several plates".into(),
                        at,
                    ));
                    return None;
                };
                let values = streamed(hir, &joint, &all, disk, &levels[0], (op, s.body, axis), &s.axes);
                all.values.insert(s.var, values);
            }
            softened.iter().flatten().for_each(|v| _ = all.values.remove(v));
        }
    }
    let counted = |n: usize| Values { dims: vec![n], numbers: (0..n).map(|i| i as f64).collect() };
    for Level { plate, weight, row, links } in &levels {
        let n = bound.size(*plate);
        all.values.insert(*weight, Values { dims: vec![n], numbers: vec![1.0; n].into() });
        all.values.insert(*row, counted(n));
        for link in links {
            all.values.insert(link.place, Values { dims: vec![n], numbers: vec![0.0; n].into() });
        }
    }
    if let Some(disk) = disk {
        disk.stores.insert(levels[0].row, Arc::new(Store::new(&counted(total), 0)));
    }
    Some(Prepared { joint, all, levels, kinship, softened })
}

/// The same model with several draws per row.
fn weighed(
    session: &mut Session,
    mut hir: Hir,
    bound: &Bound,
    (plate, rows, total, at): (PlateId, usize, usize, Span),
    starts: Vec<Vec<f64>>,
    (how, draws): (Weighing, usize),
    mut disk: Option<&mut OnDisk>,
) -> Option<Weighed> {
    let whole = derive::joint_for(&mut hir, Purpose::Weighed(how), &lower::known_size(bound));
    let mut bound = bound.clone();
    bound.add_derived(&hir);
    let paths: Vec<VarId> = whole.written.iter().flat_map(|w| &w.paths).map(|p| p.0).collect();
    let over = |v: VarId| hir.axis(hir.var(v).axes[0]).plate;
    let paths: Vec<(PlateId, VarId)> = paths.into_iter().map(|v| (over(v), v)).collect();
    for (p, v) in &paths {
        let n = bound.size(*p);
        bound.values.insert(*v, Values { dims: vec![n], numbers: vec![1.0; n].into() });
    }
    let prepared =
        prepare(session, &mut hir, &bound, &whole, (plate, rows, total, at), Soft::default(), disk.as_deref_mut())?;
    let Prepared { mut joint, mut all, levels, kinship, .. } = prepared;
    let several = several(&mut hir, &mut joint, &levels, draws, at);
    let Several { draws: of, weights, scores } = several.map_err(|d| session.diags.push(d)).ok()?;
    all.add_derived(&hir);
    all.plates[of.0 as usize].size = draws;
    let given: Vec<VarId> = paths.iter().map(|p| p.1).chain(weights.iter().copied()).collect();
    let on_disk = disk.as_deref();
    let (levels, kinship) = (&levels[..], &kinship);
    let small = Small { hir: &hir, joint: &joint, all: &all, levels, kinship, rows, given: &given, on_disk };
    let (model, layout, mut batches) = small.lower(starts, &mut session.diags)?;
    for (part, u) in batches.parts.iter_mut().zip(&joint.unconstrained) {
        part.draws = layout.place(u.slot).and_then(|p| p.plates.iter().position(|p| *p == of));
    }
    let path = |l: &Level| paths.iter().find(|p| p.0 == l.plate).map(|p| p.1);
    batches.draws = Some(Draws {
        weights: weights.iter().map(|v| feed(&layout, Some(*v))).collect(),
        slopes: levels.iter().map(|l| feed(&layout, path(l))).collect(),
        scores: buffers(&layout, &scores),
    });
    Some(Weighed { model, batches })
}

/// Where these reports are, each with the number of its plate.
fn buffers(layout: &Layout, scores: &[(usize, VarId)]) -> Vec<(usize, BufId)> {
    scores.iter().filter_map(|(level, v)| Some((*level, layout.buffer(*v)?))).collect()
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
    /// The plate of the batch, and those whose rows come along.
    pub levels: &'a [Level],
    pub kinship: &'a Kinship,
    pub rows: usize,
    /// Data of no row that change from run to run besides.
    pub given: &'a [VarId],
    /// Where the rows are, if they are not in memory; the numbers above are then of the first rows.
    pub on_disk: Option<&'a OnDisk>,
}

impl Small<'_> {
    /// `starts`: where each slot of theta starts over the whole table; empty for 0.
    pub fn lower(&self, starts: Vec<Vec<f64>>, diags: &mut Diags) -> Option<(Model, Layout, Batches)> {
        let Small { hir, joint, all, levels, rows, .. } = *self;
        let plate = levels[0].plate;
        let level = |p: PlateId| levels.iter().position(|l| l.plate == p);
        let over = |v: &VarId| {
            let axes = hir.var(*v).axes.iter().enumerate();
            axes.filter_map(|(d, a)| Some((d, level(hir.axis(*a).plate)?))).next()
        };
        let mut fed: Vec<VarId> = all.values.keys().copied().filter(|v| over(v).is_some()).collect();
        fed.sort_unstable();
        // Buffers are sized by the first rows.
        let mut small = all.clone();
        for (level, n) in levels.iter().zip(std::iter::once(rows).chain(self.kinship.kin.sizes())) {
            small.keep_rows(hir, level.plate, &(0..n).collect::<Vec<_>>());
        }
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
            let (dim, level) =
                over(&feed.var).filter(|_| rate(feed.var).is_none() && !self.given.contains(&feed.var))?;
            let store = |v: &Values| match self.on_disk {
                Some(disk) => disk.stores.get(&feed.var).cloned(),
                None => Some(Arc::new(Store::new(v, dim))),
            };
            let numbers = match self.kinship.pointers.get(&feed.var) {
                Some(pointer) => Numbers::Places(pointer.clone()),
                None if levels.iter().any(|l| l.weight == feed.var) => Numbers::Weights,
                None => all.values.get(&feed.var).and_then(store).map_or(Numbers::Weights, Numbers::Rows),
            };
            Some(Whole {
                feed,
                level,
                numbers,
                index: matches!(graph.buffers[feed.buf.0 as usize].kind, lower::graph::BufKind::Index(_)),
                shades: match self.on_disk {
                    Some(disk) => disk.shades.get(&feed.var).cloned(),
                    None => all.shades.get(&feed.var).map(|v| Arc::new(Store::new(v, dim))),
                },
            })
        };
        let whole = layout.feeds().iter().filter_map(whole).collect();
        let parts = parts(hir, joint, &layout, levels, starts);
        let model = Model::new(graph, layout.theta_names(&small), layout.points(), vec![0.0; layout.dim()]);
        let (total, softened) = (self.on_disk.map_or(all.size(plate), |d| d.total), [None; 2]);
        let along = levels[1..].iter().map(|l| (l.plate, all.size(l.plate))).collect();
        let batches = Batches {
            plate,
            rows,
            total,
            along,
            kin: self.kinship.kin.clone(),
            in_memory: self.on_disk.is_none(),
            whole,
            masks,
            softened,
            parts,
            scores: vec![],
            weighed: None,
            draws: None,
        };
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

fn parts(hir: &Hir, joint: &Joint, layout: &Layout, levels: &[Level], starts: Vec<Vec<f64>>) -> Vec<Part> {
    let of = |(u, start): (&Unconstrained, Vec<f64>)| {
        let place = layout.place(u.slot).expect("theta is laid out");
        let level = |p: &PlateId| levels.iter().position(|l| l.plate == *p);
        let rows = place.plates.iter().enumerate().find_map(|(d, p)| Some((d, level(p)?)));
        Part {
            dims: place.dims.clone(),
            rows: rows.map(|r| r.0),
            level: rows.map_or(0, |r| r.1),
            draws: None,
            kind: match &joint.written {
                Some(written) if written.switch == Some(u.slot) => Kind::Switch,
                Some(written) if written.scores.iter().any(|s| s.0 == u.slot) => Kind::Terms,
                Some(written) if written.scores.iter().any(|s| s.1 == u.slot) => Kind::Score,
                _ if u.point => Kind::Point,
                Some(written) if written.noise.contains(&u.slot) => Kind::Noise,
                _ => Kind::Drawn,
            },
            start,
            log_sd: FIRST_LOG_SD,
            decays: hir.weights.contains(&u.var) && place.dims.len() > 1,
            of_guide: !u.point || hir.of_guide.contains(&u.var),
        }
    };
    joint.unconstrained.iter().zip(starts).map(of).collect()
}
