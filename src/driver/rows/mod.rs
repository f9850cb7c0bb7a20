//! After a fit: what it says of rows, those that were fitted or new ones, each by itself.
//!
//! What all rows share (params, weights, latents of no row) is given by the fit; what is left is the log joint of the latents of
//! each row, whose guide is known. A row's log weight, log p(x, z) − log q(z | x) at a draw z of the guide, is what everything
//! here is made of: its average is the lower bound, the log of its exponential's average the likelihood (Burda, Grosse and
//! Salakhutdinov 2016), and it weighs the draws themselves.

mod discrete;
mod encode;
mod evaluate;
mod generate;
mod given;
mod impute;
mod not_finite;
mod refine;
mod score;

use std::collections::{HashMap, HashSet};

use super::batches::{Batches, Kinship, Small, add_scores, probes};
use super::discrete::is_drawn;
use crate::data::{self, Bound, DataFile, Inputs, Values};
use crate::derive::batch::{Batched, batched};
use crate::derive::joint::{Def, Joint, Node, NodeId};
use crate::derive::soften::Soft;
use crate::derive::{self, Purpose};
use crate::diag::{Code, Diagnostic, Diags};
use crate::hir::{AxisId, Constraint, Hir, PlateId, Ty, Var, VarId, VarKind};
use crate::infer::Target;
use crate::infer::batches::{Coordinates, Kind, Part};
use crate::lower::{self, Layout};
use crate::run::Model;
use crate::simulate::{Together, in_own_lines, lacking, needed, together};
use crate::source::Span;
use discrete::Discrete;
pub use encode::{Encoded, encode};
pub use generate::{Source, generate};
use given::Given;
pub use impute::{Imputed, ImputedColumn, impute};
pub use score::{Score, score};

/// Rows that are evaluated together.
const ROWS: usize = 64;

/// What is asked about which rows.
pub struct Question<'a> {
    pub hir: &'a Hir,
    /// The data of the fit.
    pub fitted: &'a Inputs,
    /// A file with new rows; without any, the fitted rows are meant.
    pub new: &'a [DataFile],
    /// The draws of the fit: by the name of a cell, one number per draw, or one for all.
    pub posterior: &'a HashMap<String, Vec<f64>>,
    /// Steps by which each row's guide is refined from where the encoder puts it.
    pub refine: usize,
    pub holes: Holes,
    pub seed: u64,
    pub threads: usize,
}

/// What rows may leave out of the observed columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holes {
    /// What the model lets be empty.
    None,
    Cells,
    /// Cells, and columns as a whole.
    Columns,
}

/// The log joint of some rows given a fit, compiled.
pub struct RowModel {
    pub hir: Hir,
    /// The rows in question; other plates as in the fit.
    pub bound: Bound,
    pub plate: PlateId,
    /// The latents of rows, but for discrete ones.
    pub latents: Vec<VarId>,
    /// Discrete ones, if their probabilities are asked for.
    discrete: Vec<Discrete>,
    /// Observed columns with the variable that is their expected value given the latents, if there is one.
    pub columns: Vec<(VarId, Option<VarId>)>,
    /// Of the observed columns, 1 for a cell that is known and 0 for one that is not.
    masks: Vec<(VarId, VarId)>,
    /// Of each row: terms of its log joint.
    scores: Vec<VarId>,
    shared: Given,
    layout: Layout,
    model: Model,
    /// What its report computes anew for another draw.
    again: Model,
    batches: Batches,
    /// What theta begins with: all but the probes of discrete latents, which are 0.
    parts: Vec<Part>,
    refine: usize,
    seed: u64,
    threads: usize,
}

impl Question<'_> {
    /// Compile, with the probabilities of discrete latents or without, or say in `diags` why the rows cannot be looked at one by one.
    pub fn compile(&self, probabilities: bool, diags: &mut Diags) -> Option<RowModel> {
        let mut hir = self.hir.clone();
        // Empty cells that are latents of the model stay so where rows are scored as they are.
        let latents = |id: &VarId| self.holes == Holes::Cells && hir.missing.iter().any(|m| m.column == *id);
        let seen: Vec<VarId> = crate::simulate::observed(&hir).into_iter().map(|o| o.0).collect();
        let observed: Vec<VarId> = seen.iter().copied().filter(|id| !latents(id)).collect();
        let holes = self.holes != Holes::None;
        if holes {
            for id in &observed {
                if let VarKind::Column(column) = &mut hir.vars[id.0 as usize].kind {
                    column.optional = true;
                }
            }
        }
        let cut = if self.new.is_empty() { self.fitted.clone() } else { needed(&hir, self.fitted) };
        if let Some((id, field)) = lacking(self.hir, &cut, self.new).filter(|_| self.holes != Holes::Columns) {
            diags.push(self.without_column(id, &field));
            return None;
        }
        let before = diags.list.len();
        let Some(Together { inputs, first_new, found, lines }) = together(&hir, &cut, self.new, diags) else {
            offer_for_holes(&hir, &mut diags.list[before..]);
            return None;
        };
        let plate = self.plate(&first_new, diags)?;
        if self.holes != Holes::Columns && !first_new.is_empty() {
            let absent = seen.iter().find(|id| !found.contains(id) && has_axis(&hir, **id, plate));
            if let Some(id) = absent {
                diags.push(self.without_column(*id, &hir.var(*id).name));
                return None;
            }
        }
        let before = diags.list.len();
        let Some(mut bound) = data::bind(&hir, &inputs, diags) else {
            in_own_lines(&lines, &mut diags.list[before..]);
            return None;
        };
        let total = bound.size(plate);
        let first = first_new.values().next().copied().unwrap_or(0);
        let fitted: Vec<usize> = if first_new.is_empty() { (0..total).collect() } else { (0..first).collect() };
        if holes {
            for id in &observed {
                if let VarKind::Column(column) = &mut hir.vars[id.0 as usize].kind {
                    column.optional = false;
                }
            }
            forget(&hir, &mut bound, plate, first, &observed, &found, !first_new.is_empty());
        }
        let shared = given::give(&mut hir, &mut bound, plate, self.posterior).map_err(|d| diags.push(d)).ok()?;
        let all = self.holes == Holes::Columns;
        let masks = if holes { impute::mask(&mut hir, &mut bound, plate, (&observed, all), diags)? } else { vec![] };
        let columns = encode::expectations(&mut hir, plate);
        let at = self.hir.plate(plate).span;
        let discrete = if probabilities { discrete::of_rows(&hir, &bound, plate, first) } else { vec![] };
        let summed = discrete.iter().any(|v| !is_drawn(&hir, *v));
        let purpose = if summed { Purpose::Probabilities } else { Purpose::Fit };
        let mut whole = derive::joint_for(&mut hir, purpose, &lower::known_size(&bound));
        bound.add_derived(&hir);
        let chances = discrete::chances(&mut hir, &mut whole, &discrete);
        let latents: Vec<VarId> = (0..hir.vars.len() as u32)
            .map(VarId)
            .filter(|v| matches!(hir.var(*v).kind, VarKind::Latent) && has_axis(&hir, *v, plate))
            .filter(|v| hir.discrete(*v).is_none() && !hir.missing.iter().any(|m| m.cells == *v))
            .collect();
        let wanted = |d: &Def| !d.report_only || d.var.is_some_and(|v| latents.contains(&v) || is_mean(&columns, v));
        whole.defs.retain(wanted);
        if let Some(written) = &whole.written
            && !written.together.is_empty()
        {
            let span = hir.written.as_ref().map_or(at, |w| w.span);
            diags.push(
                Code::ROWS_TIED
                    .at(span, "this guide draws latents of rows together")
                    .here("rows cannot be looked at one by one")
                    .help("draw each row's latents by lines of their own"),
            );
            return None;
        }
        if let Some(written) = &whole.written
            && (written.switch.is_some() || !written.scored.is_empty())
            && self.refine > 0
        {
            let span = hir.written.as_ref().map_or(at, |w| w.span);
            diags.push(
                Code::ROWS_TIED
                    .at(span, "this guide draws latents without a slope, along which a row's guide could be refined")
                    .here("enumerates, relaxes or scores a latent")
                    .help("remove `--refine`; or leave discrete latents out of the guide: they are summed out"),
            );
            return None;
        }
        let size = |p: PlateId| if p == plate { fitted.len() } else { bound.size(p) };
        let batch =
            batched(&mut hir, &whole, plate, &size, Soft::default(), at).map_err(|d| diags.push(tied(d))).ok()?;
        let Batched { mut joint, statistics, levels, .. } = batch;
        if let Some(others) = levels.get(1) {
            let (others, own) = (hir.plate(others.plate), &hir.plate(plate).name);
            diags.push(
                Code::ROWS_TIED
                    .at(others.span, format!("rows of `{}` belong to those of `{own}`", others.name))
                    .here(format!("the latents of a row of `{own}` depend on these"))
                    .help("`vic predict` reports what is drawn for the fitted rows"),
            );
            return None;
        }
        let (weight, row) = (levels[0].weight, levels[0].row);
        // Statistics of columns are those of the fitted rows.
        let mut of_fit = bound.clone();
        of_fit.keep_rows(&hir, plate, &fitted);
        let wanted: Vec<_> = statistics.iter().map(|s| (s.node, s.axes.as_slice())).collect();
        keep_needed(&mut whole, statistics.iter().map(|s| s.node).collect());
        let computed = lower::evaluate(&hir, &whole, &of_fit, &wanted);
        joint.unconstrained.iter_mut().for_each(|u| u.start = None);
        bound.keep_rows(&hir, plate, &(first..total).collect::<Vec<_>>());
        self.by_themselves(&lines, &mut bound, plate);
        let n = total - first;
        for (s, numbers) in statistics.iter().zip(computed) {
            let dims = s.axes.iter().map(|a| bound.size(hir.axis(*a).plate)).collect();
            bound.values.insert(s.var, Values { dims, numbers: numbers.into() });
        }
        bound.values.insert(weight, Values { dims: vec![n], numbers: vec![1.0; n].into() });
        bound.values.insert(row, Values { dims: vec![n], numbers: (0..n).map(|i| i as f64).collect() });
        let scores = add_scores(&mut hir, &mut joint, &[plate]).into_iter().map(|s| s.1).collect();
        let fed: Vec<VarId> = shared.changing().collect();
        let rows = ROWS.min(n).max(1);
        let (joint, kinship) = (&joint, &Kinship::default());
        let small = Small { hir: &hir, joint, all: &bound, levels: &levels, kinship, rows, given: &fed, on_disk: None };
        let (model, layout, batches) = small.lower(vec![vec![]; joint.unconstrained.len()], diags)?;
        let probes = probes(&hir, joint, &layout);
        let discrete = discrete::found(&hir, &bound, &discrete, &chances, &probes);
        // Probes come last.
        let parts = batches.parts()[..batches.parts().len() - probes.len()].to_vec();
        let mut redrawn = Coordinates::new(&parts, &[rows]).redrawn();
        redrawn.resize(model.dim(), false);
        let again = model.redrawing(&redrawn);
        let (refine, seed, threads) = (self.refine, self.seed, self.threads);
        let latents = latents.into_iter().filter(|v| layout.buffer(*v).is_some()).collect();
        Some(RowModel {
            hir,
            bound,
            plate,
            latents,
            discrete,
            columns,
            masks,
            scores,
            shared,
            layout,
            model,
            again,
            batches,
            parts,
            refine,
            seed,
            threads,
        })
    }

    /// Tell new rows by their own file and its lines, and without a key by numbers from 1.
    fn by_themselves(&self, lines: &[(String, String, usize)], bound: &mut Bound, plate: PlateId) {
        let (Some((_, name, before)), Some(file)) = (lines.first(), self.new.first()) else { return };
        let data = &mut bound.plates[plate.0 as usize];
        data.file.clone_from(name);
        data.lines = match data::columnar::is_columnar(file) {
            true => (1..=data.size as u64).collect(),
            false => data.lines.iter().map(|line| line - *before as u64 + 1).collect(),
        };
        let keyed = self.hir.tables.iter().any(|t| t.plate == plate && t.key.is_some());
        if !keyed {
            data.labels = (1..=data.size).map(|i| i.to_string()).collect();
        }
    }

    /// New rows that have no field of this name.
    fn without_column(&self, id: VarId, field: &str) -> Diagnostic {
        let text = format!("the rows have no column `{field}`, which the model observes");
        Code::ROWS_WITHOUT_COLUMN
            .at(self.hir.var(id).span, text)
            .here("observed")
            .place(self.new.first().map_or(String::new(), |f| f.name.clone()))
            .help("add the column; `vic impute` fills in what is not known")
    }

    /// The table whose rows are meant.
    fn plate(&self, first_new: &HashMap<usize, usize>, diags: &mut Diags) -> Option<PlateId> {
        let new: Vec<usize> = first_new.keys().copied().collect();
        let with_latents = |t: &crate::hir::Table| {
            self.hir
                .vars
                .iter()
                .any(|v| matches!(v.kind, VarKind::Latent) && v.axes.iter().any(|a| self.hir.axis(*a).plate == t.plate))
        };
        let tables = &self.hir.tables;
        let candidates: Vec<&crate::hir::Table> = match (new.as_slice(), tables.as_slice()) {
            ([one], _) => return Some(tables[*one].plate),
            ([], [one]) => return Some(one.plate),
            ([], _) => tables.iter().filter(|t| with_latents(t)).collect(),
            _ => vec![],
        };
        if let [one] = candidates.as_slice() {
            return Some(one.plate);
        }
        let names: Vec<String> = tables.iter().map(|t| format!("`{}`", t.name)).collect();
        diags.push(
            Code::DATA_UNKNOWN_TABLE
                .plain("the rows of which table are meant?")
                .note(format!("the model's tables are: {}", names.join(", ")))
                .help("give one file with rows, and write its table before it: `TABLE=FILE`"),
        );
        None
    }
}

impl RowModel {
    /// How many rows are asked about.
    pub fn rows(&self) -> usize {
        self.bound.size(self.plate)
    }

    /// The rows as they are called: by the key of their table, or by number.
    pub fn labels(&self) -> Vec<String> {
        self.bound.plate(self.plate).labels.to_vec()
    }

    /// Whether the guide says how the latents of rows that it has not seen are drawn.
    pub fn amortised(&self) -> bool {
        self.parts.iter().all(|p| !matches!(p.kind, Kind::Point | Kind::Drawn))
    }

    /// What is missing for rows that were not fitted, if they are not refined.
    pub fn not_amortised(&self) -> Option<Diagnostic> {
        if self.amortised() || self.refine > 0 {
            return None;
        }
        let latent = self.latents.first().map(|v| self.hir.var(*v));
        let name = latent.map_or("", |v| v.name.as_str());
        let text = format!("the guide has params of its own for each fitted row of `{name}`, and none for other rows");
        let d = match (latent, &self.hir.written) {
            (_, Some(w)) => Code::NOT_AMORTISED.at(w.span, text).here("not computed from the rows' data"),
            (Some(v), None) => Code::NOT_AMORTISED.at(v.span, text).here("not computed from the rows' data"),
            (None, None) => Code::NOT_AMORTISED.plain(text),
        };
        Some(d.help("fit each row's guide, `--refine 200`; or write a guide that reads the row's data"))
    }

    /// The dimension of a variable that runs over the rows.
    fn dim(&self, var: VarId) -> Option<usize> {
        dim_of(&self.hir, var, self.plate)
    }

    /// The coordinates of a batch by itself. With `free`, the guide of each row can be moved away from where its encoder puts
    /// it: its noise gets a mean and an sd.
    fn coordinates(&self, free: bool) -> Coordinates {
        let mut parts = self.parts.clone();
        for p in parts.iter_mut().filter(|p| free && p.kind == Kind::Noise) {
            (p.kind, p.log_sd) = (Kind::Drawn, 0.0);
        }
        Coordinates::new(&parts, &[self.batches.rows])
    }
}

/// Where empty cells are in the way, say which commands take them.
fn offer_for_holes(hir: &Hir, said: &mut [Diagnostic]) {
    let seen = crate::simulate::observed(hir);
    let observed = |d: &Diagnostic| seen.iter().any(|o| Some(hir.var(o.0).span) == d.span);
    for d in said.iter_mut().filter(|d| d.code.id == Code::DATA_MISSING.id && observed(d)) {
        d.notes.push("`vic impute` fills in empty cells of observed columns, and `vic score` leaves them out".into());
    }
}

/// Leave the definitions that these values are computed from: with weights given, what an encoder makes of every fitted row depends
/// on data only, and would be computed too.
fn keep_needed(joint: &mut Joint, nodes: Vec<NodeId>) {
    let (mut seen, mut stack, mut slots) = (HashSet::new(), nodes, HashSet::new());
    while let Some(node) = stack.pop() {
        if !seen.insert(node) {
            continue;
        }
        if let Node::Read { slot, .. } = joint.node(node)
            && slots.insert(*slot)
        {
            let own = joint.defs.iter().filter(|d| d.slot == *slot);
            stack.extend(own.map(|d| d.value));
        }
        stack.extend(joint.operands(node));
    }
    joint.defs.retain(|d| slots.contains(&d.slot));
}

/// The dimension of a variable that runs over a plate.
fn dim_of(hir: &Hir, var: VarId, plate: PlateId) -> Option<usize> {
    hir.var(var).axes.iter().position(|a| hir.axis(*a).plate == plate)
}

fn has_axis(hir: &Hir, var: VarId, plate: PlateId) -> bool {
    dim_of(hir, var, plate).is_some()
}

fn is_mean(columns: &[(VarId, Option<VarId>)], var: VarId) -> bool {
    columns.iter().any(|c| c.1 == Some(var))
}

/// Cells of new rows that stand in no file are not known.
fn forget(hir: &Hir, bound: &mut Bound, plate: PlateId, first: usize, all: &[VarId], found: &[VarId], new: bool) {
    for id in all.iter().filter(|id| new && !found.contains(id)) {
        let Some(dim) = dim_of(hir, *id, plate) else { continue };
        let Some(values) = bound.values.get_mut(id) else { continue };
        let inner: usize = values.dims[..dim].iter().product();
        let rows = values.dims[dim];
        let number = |(i, x): (usize, &f64)| if i / inner % rows >= first { f64::NAN } else { *x };
        values.numbers = values.numbers.iter().enumerate().map(number).collect();
    }
}

/// Rows that depend on each other, said of rows and not of batches.
fn tied(d: Diagnostic) -> Diagnostic {
    let text = "this ties the rows together, so that none can be looked at by itself";
    let d = match d.span {
        Some(span) => Code::ROWS_TIED.at(span, text).here("takes several rows"),
        None => Code::ROWS_TIED.plain(text),
    };
    d.help("what the fit says of its own rows is in `draws.csv`; new rows are predicted by `vic predict`")
}

/// A variable that the model does not name.
fn hidden(hir: &mut Hir, name: &str, axes: Vec<AxisId>, kind: VarKind) -> VarId {
    hir.vars.push(Var {
        name: name.into(),
        span: Span::default(),
        kind,
        axes,
        joint: 0,
        ty: Ty::Real,
        constraint: Constraint::None,
    });
    VarId(hir.vars.len() as u32 - 1)
}

/// The axes of either, sorted.
fn union(a: &[AxisId], b: &[AxisId]) -> Vec<AxisId> {
    let mut all: Vec<AxisId> = a.iter().chain(b).copied().collect();
    all.sort_unstable();
    all.dedup();
    all
}
