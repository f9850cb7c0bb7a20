//! The rows that come with those of a batch: whose they are, and where they point to within it.

use std::collections::HashMap;
use std::sync::Arc;

use crate::data::{Bound, PlateData};
use crate::derive::batch::Level;
use crate::derive::joint::Joint;
use crate::diag::{Code, Diagnostic};
use crate::hir::{Hir, PlateId, VarId};
use crate::infer::batches::Kin;
use crate::lower;
use crate::source::Span;

/// The rows of other plates that belong to the members of the batched one.
#[derive(Clone, Default)]
pub struct Kinship {
    pub kin: Arc<Kin>,
    /// By the data that hold the position in the batch.
    pub(super) pointers: HashMap<VarId, Arc<Pointer>>,
}

/// Per row of a whole plate, the position on another that it points to: that of so many of the batch's plates.
pub(super) struct Pointer {
    pub to: usize,
    pub positions: Vec<u32>,
}

/// Find the owner of each row. `rows`: of the batch; `at`: where it is asked for.
pub fn kinship(
    hir: &Hir,
    whole: &Joint,
    bound: &Bound,
    levels: &[Level],
    rows: usize,
    at: Span,
) -> Result<Kinship, Diagnostic> {
    let links: Vec<_> =
        levels.iter().enumerate().flat_map(|(from, l)| l.links.iter().map(move |k| (from, k))).collect();
    if links.is_empty() {
        return Ok(Kinship::default());
    }
    let wanted: Vec<_> = links.iter().map(|(_, k)| (k.node, std::slice::from_ref(&k.axis))).collect();
    let positions = lower::evaluate(hir, whole, bound, &wanted);
    let members = bound.size(levels[0].plate);
    let mut owners: Vec<Option<Vec<usize>>> = vec![None; levels.len()];
    owners[0] = Some((0..members).collect());
    let scene = Scene { hir, bound, levels, at };
    // Each plate has been found by a link to one before it.
    while owners.iter().any(Option::is_none) {
        let open = |(from, k): &(usize, &_), owners: &[Option<Vec<usize>>]| {
            let k: &crate::derive::batch::Link = k;
            owners[*from].is_none() && owners[k.to].is_some()
        };
        let i = links.iter().position(|l| open(l, &owners)).expect("a plate of a batch points to another of it");
        let (from, link) = links[i];
        let to = owners[link.to].as_ref().expect("seen above");
        let owner = |(row, p): (usize, &f64)| match position(*p, to.len()) {
            Some(p) => Ok(to[p]),
            None => Err(scene.nobodys(from, row)),
        };
        owners[from] = Some(positions[i].iter().enumerate().map(owner).collect::<Result<_, _>>()?);
    }
    let owners: Vec<Vec<usize>> = owners.into_iter().flatten().collect();
    let mut pointers = HashMap::new();
    for ((from, link), positions) in links.iter().zip(&positions) {
        let of = |(row, p): (usize, &f64)| match position(*p, owners[link.to].len()) {
            Some(p) if owners[link.to][p] == owners[*from][row] => Ok(p as u32),
            Some(p) => Err(scene.tied(*from, row, [owners[*from][row], owners[link.to][p]])),
            None => Err(scene.nobodys(*from, row)),
        };
        let positions = positions.iter().enumerate().map(of).collect::<Result<_, _>>()?;
        pointers.insert(link.place, Arc::new(Pointer { to: link.to, positions }));
    }
    Ok(Kinship { kin: Arc::new(Kin::new(&owners[1..], (members, rows))), pointers })
}

/// What is no position of the plate is none.
fn position(p: f64, size: usize) -> Option<usize> {
    (p >= 0.0 && p < size as f64 && p == p.trunc()).then_some(p as usize)
}

struct Scene<'a> {
    hir: &'a Hir,
    bound: &'a Bound,
    levels: &'a [Level],
    at: Span,
}

impl Scene<'_> {
    fn plate(&self, level: usize) -> (PlateId, &PlateData) {
        let plate = self.levels[level].plate;
        (plate, self.bound.plate(plate))
    }

    /// A row that belongs to two members.
    fn tied(&self, from: usize, row: usize, members: [usize; 2]) -> Diagnostic {
        let (plate, data) = self.plate(from);
        let [first, second] = members.map(|m| self.plate(0).1.labels.get(m).cloned().unwrap_or_else(|| m.to_string()));
        let (rows, batched) = (&self.hir.plate(plate).name, &self.hir.plate(self.levels[0].plate).name);
        let text = format!(
            "row {} of `{rows}` is linked to \"{first}\" and to \"{second}\" of `{batched}`, and a batch that has one need not have the other",
            row + 1
        );
        let d = Code::BATCH_PAIRS
            .at(self.hir.plate(plate).span, text)
            .here(format!("its rows come with those of `{batched}`"))
            .label(self.at, "batches are asked for here");
        let d = data.lines.get(row).into_iter().fold(d, |d, line| d.place(format!("{}:{line}", data.file)));
        d.help(format!(
            "take batches of its rows, `batch: {rows}(…)`: each then has all of `{batched}`; or remove `batch`"
        ))
    }

    /// A row that belongs to none.
    fn nobodys(&self, from: usize, row: usize) -> Diagnostic {
        let (plate, data) = self.plate(from);
        let (rows, batched) = (&self.hir.plate(plate).name, &self.hir.plate(self.levels[0].plate).name);
        let d = Code::BATCH_PAIRS
            .at(self.hir.plate(plate).span, format!("row {} of `{rows}` is linked to none of `{batched}`", row + 1))
            .here(format!("its rows come with those of `{batched}`"))
            .label(self.at, "batches are asked for here");
        let d = data.lines.get(row).into_iter().fold(d, |d, line| d.place(format!("{}:{line}", data.file)));
        d.help("leave such rows out, or remove `batch`")
    }
}
