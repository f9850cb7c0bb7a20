//! Storage: every slot of the joint gets a buffer, or a slice of theta, the first dimension contiguous.

use std::collections::HashMap;
use std::sync::Arc;

use crate::data::{Bound, Values};
use crate::derive::joint::{Def, Joint, Slot, SlotId, SlotKind, Table};
use crate::hir::{Hir, PlateId, PlateKind, Var, VarId, VarKind};
use crate::infer::Role;
use crate::lower::expr::Arena;
use crate::lower::graph::{Addr, BufId, BufKind};

/// Cells of a plate. Derived plates are not in the data: they follow the plate that they come from.
pub fn plate_size(hir: &Hir, bound: &Bound, plate: PlateId) -> usize {
    plate_cells(hir, bound, plate) as usize
}

/// The same where it may be more than there is room for.
pub fn plate_cells(hir: &Hir, bound: &Bound, plate: PlateId) -> f64 {
    let size = |p: &PlateId| plate_cells(hir, bound, *p);
    match (&hir.plate(plate).kind, bound.plates.get(plate.0 as usize)) {
        (PlateKind::OneLess(of), _) => (size(of) - 1.0).max(0.0),
        (PlateKind::Triangle { of, diagonal }, _) => {
            let n = size(of);
            n * (if *diagonal { n + 1.0 } else { (n - 1.0).max(0.0) }) / 2.0
        }
        (PlateKind::Power { values, cells }, _) => size(values).powf(cells.iter().map(size).product()),
        (_, Some(data)) => data.size as f64,
        (_, None) => 0.0,
    }
}

/// Where everything is stored that has a name in the model.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// By `SlotId`: for unconstrained and defined slots.
    pub places: Vec<Option<Place>>,
    /// The slots that make up theta, in order.
    theta: Vec<SlotId>,
    /// The buffers of the user's variables.
    vars: HashMap<VarId, BufId>,
    /// Per coordinate of theta.
    points: Vec<bool>,
    start: Vec<f64>,
    roles: Option<Vec<Role>>,
    /// What is to be given before each run.
    feeds: Vec<Feed>,
}

/// A buffer that holds the rows of a batch: of a column, as numbers or as positions on a plate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feed {
    pub var: VarId,
    pub buf: BufId,
}

/// One slot's cells: cell (i, j) of dims [n, m] is at `offset + i + n·j` of the buffer.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    pub name: String,
    pub buf: BufId,
    pub offset: usize,
    pub dims: Vec<usize>,
    pub plates: Vec<PlateId>,
}

impl Layout {
    pub fn place(&self, slot: SlotId) -> Option<&Place> {
        self.places.get(slot.0 as usize)?.as_ref()
    }

    /// Where a report finds a latent, param, `let` or `report`: a buffer of its cells alone.
    pub fn buffer(&self, var: VarId) -> Option<BufId> {
        self.vars.get(&var).copied()
    }

    /// Length of theta.
    pub fn dim(&self) -> usize {
        self.points.len()
    }

    /// Whether each coordinate of theta belongs to a `param`.
    pub fn points(&self) -> Vec<bool> {
        self.points.clone()
    }

    /// Where each coordinate of theta that belongs to a `param` starts; 0 for latents.
    pub fn start(&self) -> &[f64] {
        &self.start
    }

    /// A name per coordinate of theta; unique.
    pub fn theta_names(&self, bound: &Bound) -> Vec<String> {
        self.theta.iter().filter_map(|&s| self.place(s)).flat_map(|p| p.cell_names(bound)).collect()
    }

    /// The buffers of a batch, which the caller fills before each run.
    pub fn feeds(&self) -> &[Feed] {
        &self.feeds
    }

    /// The slots that make up theta, in its order, each with its place.
    pub fn theta(&self) -> impl Iterator<Item = &Place> {
        self.theta.iter().filter_map(|&s| self.place(s))
    }

    /// Call `f` on every buffer of a slot.
    pub(super) fn each_buffer(&mut self, f: &mut impl FnMut(&mut BufId)) {
        self.feeds.iter_mut().for_each(|feed| f(&mut feed.buf));
        self.places.iter_mut().flatten().for_each(|p| f(&mut p.buf));
        self.vars.values_mut().for_each(f);
    }

    pub(super) fn set_starts(&mut self, start: Vec<f64>, points: Vec<bool>) {
        (self.start, self.points) = (start, points);
    }

    pub(super) fn set_roles(&mut self, roles: Vec<Role>) {
        self.roles = Some(roles);
    }

    /// What a written guide makes of each coordinate of theta.
    pub fn roles(&self) -> Option<Vec<Role>> {
        self.roles.clone()
    }
}

impl Place {
    pub fn len(&self) -> usize {
        self.dims.iter().product()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A name per cell, in storage order: `theta[Choate]`, `u[12, slope]`, `mu` for a scalar.
    pub fn cell_names(&self, bound: &Bound) -> Vec<String> {
        if self.dims.is_empty() {
            return vec![self.name.clone()];
        }
        let label = |plate: PlateId, i: usize| match bound.plates.get(plate.0 as usize).and_then(|p| p.labels.get(i)) {
            Some(text) => text.clone(),
            None => (i + 1).to_string(),
        };
        let name = |cell: usize| {
            let mut rest = cell;
            let labels = self.dims.iter().zip(&self.plates).map(|(&n, &plate)| {
                let i = rest % n;
                rest /= n;
                label(plate, i)
            });
            format!("{}[{}]", self.name, labels.collect::<Vec<_>>().join(", "))
        };
        (0..self.len()).map(name).collect()
    }
}

/// The slots' places as they are assigned: theta at once, the rest when first used.
pub(crate) struct Storage<'a> {
    hir: &'a Hir,
    joint: &'a Joint,
    bound: &'a Bound,
    pub layout: Layout,
    pub theta: BufId,
    pub dim: usize,
    /// Data that change from run to run.
    fed: &'a [VarId],
}

impl<'a> Storage<'a> {
    /// Lay out theta: one slice per unconstrained slot, in order.
    pub fn new(hir: &'a Hir, joint: &'a Joint, bound: &'a Bound, fed: &'a [VarId], arena: &mut Arena) -> Storage<'a> {
        let theta = arena.buffer("theta", 0, BufKind::Input, true);
        let theta_slots = joint.unconstrained.iter().map(|u| u.slot).collect();
        let places = vec![None; joint.slots.len()];
        let layout = Layout { places, theta: theta_slots, ..Layout::default() };
        let mut storage = Storage { hir, joint, bound, layout, theta, dim: 0, fed };
        for u in &joint.unconstrained {
            let mut place = storage.shape(joint.slot(u.slot));
            place.offset = storage.dim;
            storage.dim += place.len();
            storage.layout.places[u.slot.0 as usize] = Some(place);
        }
        arena.buffers[theta.0 as usize].len = storage.dim;
        storage
    }

    /// A place in theta, before it is known where.
    fn shape(&self, slot: &Slot) -> Place {
        let dims = slot.dims.iter().map(|&p| plate_size(self.hir, self.bound, p)).collect();
        Place { name: slot.name.clone(), buf: self.theta, offset: 0, dims, plates: slot.dims.clone() }
    }

    /// Where a slot is, made now if it is data or a table. Definitions are placed by [`Storage::define`].
    pub fn place(&mut self, arena: &mut Arena, id: SlotId) -> &Place {
        let at = id.0 as usize;
        if self.layout.places[at].is_none() {
            let slot = self.joint.slot(id);
            let mut place = self.shape(slot);
            if let SlotKind::Data(var) = slot.kind
                && self.fed.contains(&var)
            {
                place.buf = arena.feed(&slot.name, place.len());
                self.layout.feeds.push(Feed { var, buf: place.buf });
                return self.layout.places[at].insert(place);
            }
            let numbers: Arc<[f64]> = match &slot.kind {
                // Only a batch has numbers for it.
                SlotKind::Data(var) if self.hir.vars.get(var.0 as usize).is_some_and(Self::is_mask) => {
                    vec![1.0; place.len()].into()
                }
                SlotKind::Data(var) => self.values(*var).numbers.clone(),
                SlotKind::Table(table) => fill(*table, &place.dims).into(),
                SlotKind::Missing(var) => self.values(*var).missing_order().into(),
                SlotKind::MissingAt(var, dim) => self.values(*var).missing_at(*dim).into(),
                SlotKind::Unconstrained(_) | SlotKind::Discrete(_) | SlotKind::Defined => {
                    unreachable!("theta is laid out first, and definitions come before their uses")
                }
            };
            place.buf = arena.data(&slot.name, numbers);
            self.layout.places[at] = Some(place);
        }
        self.layout.places[at].as_ref().expect("just placed")
    }

    fn is_mask(var: &Var) -> bool {
        matches!(var.kind, VarKind::Mask { .. })
    }

    /// Whether data change from run to run.
    pub fn changes(&self, var: VarId) -> bool {
        self.fed.contains(&var)
    }

    /// The column that a buffer of a batch holds.
    pub fn fed_var(&self, buf: BufId) -> Option<VarId> {
        self.layout.feeds.iter().find(|f| f.buf == buf).map(|f| f.var)
    }

    /// Remember an index buffer of a batch.
    pub fn add_feed(&mut self, feed: Feed) {
        self.layout.feeds.push(feed);
    }

    pub fn values(&self, var: VarId) -> &'a Values {
        self.bound.values.get(&var).expect("binding gives numbers to every data variable")
    }

    /// The layout without data, which is kept for what computes with it and not for having a name.
    pub fn finish(self) -> Layout {
        let mut layout = self.layout;
        for (place, slot) in layout.places.iter_mut().zip(&self.joint.slots) {
            match slot.kind {
                SlotKind::Data(_) | SlotKind::Table(_) | SlotKind::Missing(_) | SlotKind::MissingAt(..) => {
                    *place = None;
                }
                SlotKind::Unconstrained(_) | SlotKind::Discrete(_) | SlotKind::Defined => {}
            }
        }
        layout
    }

    /// Give a definition a buffer of its own, or that of its numbers if they depend on data only.
    pub fn define(&mut self, arena: &mut Arena, def: &Def, numbers: Option<Arc<[f64]>>) -> &Place {
        let slot = self.joint.slot(def.slot);
        let mut place = self.shape(slot);
        place.buf = match numbers {
            Some(numbers) => arena.data(&slot.name, numbers),
            None => arena.buffer(&slot.name, place.len(), BufKind::Scratch { zeroed: false }, true),
        };
        if let Some(var) = def.var {
            self.layout.vars.insert(var, place.buf);
        }
        self.layout.places[def.slot.0 as usize].insert(place)
    }
}

/// The strides of a place's dimensions.
pub(crate) fn strides(dims: &[usize]) -> Vec<usize> {
    (0..dims.len()).map(|d| dims[..d].iter().product()).collect()
}

/// The address of the one cell of a scalar.
pub(crate) fn scalar() -> Addr {
    Addr::constant(0)
}

fn fill(table: Table, dims: &[usize]) -> Vec<f64> {
    if table == Table::Positions {
        return (0..dims.iter().product()).map(|i: usize| i as f64).collect();
    }
    let [rows, columns] = dims else { unreachable!("matrix tables have two dimensions") };
    let cell = |i: usize, j: usize| match table {
        Table::IlrBasis => {
            let j = j + 1;
            let scale = ((j * (j + 1)) as f64).sqrt();
            match i.cmp(&j) {
                std::cmp::Ordering::Less => 1.0 / scale,
                std::cmp::Ordering::Equal => -(j as f64) / scale,
                std::cmp::Ordering::Greater => 0.0,
            }
        }
        Table::LowerTriangle => f64::from(u8::from(j <= i)),
        Table::Positions => i as f64,
    };
    (0..*columns).flat_map(|j| (0..*rows).map(move |i| cell(i, j))).collect()
}
