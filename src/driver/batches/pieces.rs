//! A table that is larger than memory: read once, piece by piece, and kept on disk as the numbers that batches read.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::sync::Arc;

use super::asked;
use super::store::{Spill, Store};
use crate::data::binarised::Streams;
use crate::data::pieces::{Piece, Pieces};
use crate::data::{self, Bound, Inputs, PlateData, Values};
use crate::diag::{Code, Diagnostic};
use crate::driver::Session;
use crate::hir::{Content, Hir, PlateId, PlateKind, Var, VarId, VarKind};
use crate::source::Span;

/// Rows that have labels: as many as a report looks at where there are very many.
const LABELLED: usize = super::draws::SAMPLED_ROWS;

/// The numbers of a table, on disk.
pub struct OnDisk {
    pub(super) stores: HashMap<VarId, Arc<Store>>,
    /// Of binarised columns, the probabilities of their cells.
    pub(super) shades: HashMap<VarId, Arc<Store>>,
    /// How many rows there are.
    pub total: usize,
}

/// Read all pieces. The data that are bound have the first rows of the table alone, as many as a batch; they stand for a table of that
/// size until [`grown`].
pub fn keep(session: &mut Session, hir: &mut Hir, inputs: &Inputs, pieces: &Pieces) -> Option<(Bound, OnDisk)> {
    let (plate, rows, at) = asked(hir)?;
    let PlateKind::Rows(table) = hir.plate(plate).kind else {
        let name = &hir.plate(plate).name;
        session.diags.push(too_large(at, format!("a batch of `{name}` has rows from all over a table"), at));
        return None;
    };
    if let Some(d) = refused(hir, plate, at) {
        session.diags.push(d);
        return None;
    }
    let columns = hir.table(table).columns.clone();
    let open = |v: &VarId| match &hir.var(*v).kind {
        VarKind::Column(c) => match c.content {
            Content::Index(p) => matches!(hir.plate(p).kind, PlateKind::Levels { fixed: None, .. }).then_some(p),
            _ => None,
        },
        _ => None,
    };
    let open: Vec<PlateId> = columns.iter().filter_map(open).collect();
    if !open.is_empty() {
        fix_levels(session, hir, inputs, pieces, &open)?;
    }
    let (mut spills, mut shades) = (HashMap::new(), HashMap::new());
    let (mut first, mut total) = (None, 0);
    let (mut drawn, mut keys) = (Streams::default(), Keys::default());
    for piece in pieces.open(rows).map_err(|e| unreadable(session, pieces, &e)).ok()? {
        let mut bound = bind(session, hir, inputs, pieces, piece, &mut drawn)?;
        let own = bound.size(plate);
        if hir.table(table).key.is_some() {
            keys.add(&bound.plate(plate).labels);
        }
        total += own;
        let written = spill(hir, plate, &bound.values, &mut spills, bytes)
            .and_then(|()| spill(hir, plate, &bound.shades, &mut shades, |_, _| 8));
        if let Err(e) = written {
            session.diags.push(
                Code::CANNOT_WRITE
                    .plain(format!("the rows of `{}` cannot be kept on disk: {e}", pieces.name))
                    .help("make room in the directory for temporary files, or name another by `TMPDIR`"),
            );
            return None;
        }
        if first.is_none() {
            bound.keep_rows(hir, plate, &(0..own.min(rows)).collect::<Vec<_>>());
            first = Some(bound);
        }
    }
    let bound = first?;
    if bound.size(plate) < rows.min(total) {
        let why = format!(
            "a batch has {rows} rows, and a piece of `{}` as it is read has {}",
            pieces.name,
            bound.size(plate)
        );
        session.diags.push(too_large(at, why, at));
        return None;
    }
    if let (Some(key), Some([before, row])) = (hir.table(table).key, keys.twice()) {
        session.diags.push(
            Code::DATA_KEY_TWICE
                .at(
                    hir.var(key).span,
                    format!("`{}` does not tell the rows of `{}` apart", hir.var(key).name, pieces.name),
                )
                .here("a key names each row once")
                .note(format!("rows {} and {} have the same", before + 1, row + 1))
                .help("remove the repeated rows; if it groups rows, declare it `category`"),
        );
        return None;
    }
    let finished = |spills: Spills| -> io::Result<HashMap<VarId, Arc<Store>>> {
        spills.into_iter().map(|(v, (spill, _))| Ok((v, Arc::new(spill.finish()?)))).collect()
    };
    let stores = finished(spills).and_then(|stores| Ok((stores, finished(shades)?)));
    let (stores, shades) = stores.map_err(|e| unreadable(session, pieces, &e)).ok()?;
    Some((bound, OnDisk { stores, shades, total }))
}

/// The same data for a table of all its rows: what is asked of each row is asked of its store.
pub fn grown(mut bound: Bound, plate: PlateId, total: usize) -> Bound {
    let own = &mut bound.plates[plate.0 as usize];
    let labels: Vec<String> = (1..=total.min(LABELLED)).map(|i| i.to_string()).collect();
    *own = PlateData { size: total, labels: labels.into(), file: std::mem::take(&mut own.file), lines: [].into() };
    bound
}

/// Variables on their way to disk, with the dimension of their rows.
type Spills = HashMap<VarId, (Spill, usize)>;

/// Write what runs over the rows of a piece behind what stands there.
fn spill(
    hir: &Hir,
    plate: PlateId,
    values: &HashMap<VarId, Values>,
    spills: &mut Spills,
    bytes: impl Fn(&Hir, VarId) -> usize,
) -> io::Result<()> {
    for (var, values) in values {
        let Some(dim) = hir.var(*var).axes.iter().position(|a| hir.axis(*a).plate == plate) else { continue };
        let (spill, dim) = match spills.entry(*var) {
            Entry::Occupied(e) => e.into_mut(),
            Entry::Vacant(e) => e.insert((Spill::new(bytes(hir, *var), values, dim)?, dim)),
        };
        spill.push(values, *dim)?;
    }
    Ok(())
}

/// The keys of all rows, in 16 bytes each: that two which differ are taken for the same is less likely than a fault of the machine.
#[derive(Default)]
struct Keys(Vec<(u128, u64)>);

impl Keys {
    fn add(&mut self, labels: &[String]) {
        for label in labels {
            // FNV-1a in 128 bits.
            let hash = label.bytes().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128, |sum, b| {
                (sum ^ u128::from(b)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
            });
            self.0.push((hash, self.0.len() as u64));
        }
    }

    /// Two rows with the same key, the first such.
    fn twice(mut self) -> Option<[u64; 2]> {
        self.0.sort_unstable();
        let same = self.0.windows(2).filter(|w| w[0].0 == w[1].0);
        same.map(|w| [w[0].1, w[1].1]).min_by_key(|rows| rows[1])
    }
}

fn bind(
    session: &mut Session,
    hir: &Hir,
    inputs: &Inputs,
    pieces: &Pieces,
    piece: io::Result<Piece>,
    drawn: &mut Streams,
) -> Option<Bound> {
    let Piece { file, skipped } = piece.map_err(|e| unreadable(session, pieces, &e)).ok()?;
    let mut all = inputs.clone();
    all.files.push(file);
    data::bind_piece(hir, &all, (&pieces.name, skipped), drawn, &mut session.diags)
}

fn unreadable(session: &mut Session, pieces: &Pieces, e: &io::Error) {
    session.diags.push(
        Code::CANNOT_READ.plain(format!("cannot read `{}`: {e}", pieces.name)).help("name a file that can be read"),
    );
}

/// Find the levels of category columns in the whole file, and declare them.
fn fix_levels(session: &mut Session, hir: &mut Hir, inputs: &Inputs, pieces: &Pieces, open: &[PlateId]) -> Option<()> {
    let mut found: Vec<Vec<String>> = vec![vec![]; open.len()];
    for piece in pieces.open(1).map_err(|e| unreadable(session, pieces, &e)).ok()? {
        let bound = bind(session, hir, inputs, pieces, piece, &mut Streams::default())?;
        for (levels, plate) in found.iter_mut().zip(open) {
            levels.extend(bound.plate(*plate).labels.iter().cloned());
            data::sort_levels(levels);
        }
    }
    for (levels, plate) in found.into_iter().zip(open) {
        if let PlateKind::Levels { fixed, .. } = &mut hir.plates[plate.0 as usize].kind {
            *fixed = Some(levels);
        }
    }
    Some(())
}

/// Bytes that hold every number of a column.
fn bytes(hir: &Hir, var: VarId) -> usize {
    match &hir.var(var).kind {
        VarKind::Column(c) if c.content == Content::Bool && !c.optional => 1,
        _ => 8,
    }
}

/// What a table on disk cannot have.
fn refused(hir: &Hir, plate: PlateId, at: Span) -> Option<Diagnostic> {
    let own = |v: &&Var| v.axes.iter().any(|a| hir.axis(*a).plate == plate);
    let latent = |v: &Var| hir.missing.iter().any(|m| hir.var(m.column).span == v.span);
    let (span, what) = hir.vars.iter().filter(own).find_map(|v| match &v.kind {
        VarKind::Column(c) if c.optional && latent(v) => Some((v.span, "cells that may be empty, which are latents")),
        VarKind::Start { .. } => Some((v.span, "a param of each row")),
        VarKind::Order { .. } => Some((v.span, "an order of its own")),
        _ => None,
    })?;
    Some(too_large(span, format!("the table has {what}"), at))
}

/// What needs all rows in memory.
pub fn too_large(span: Span, why: String, at: Span) -> Diagnostic {
    Code::ON_DISK
        .at(span, format!("{why}, and its rows are kept on disk"))
        .here("needs all rows in memory")
        .label(at, "batches are asked for here")
        .help("allow more memory, `--memory 16000` (MB); or leave this out")
}
