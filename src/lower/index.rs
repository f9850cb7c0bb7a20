//! Positions on plates: labels written in the model, and indices computed from data, checked once here.

use crate::diag::Code;
use crate::hir::PlateId;
use crate::lower::expr::{E, Expr};
use crate::lower::graph::{BinOp, BufId, LoopId};
use crate::lower::resolve::Resolver;
use crate::lower::storage::Feed;
use crate::source::Span;

/// An index buffer with the cells whose value was no position of the plate (their entry is 0).
pub(super) struct Indexed {
    buf: BufId,
    /// 1 per such cell; `None` if there are none.
    outside: Option<E>,
}

impl Resolver<'_, '_> {
    /// The position of a label on a plate; 0 with a diagnostic if there is none.
    pub(super) fn label(&mut self, plate: PlateId, text: &str, span: Span) -> usize {
        match self.bound.label(plate, &self.hir.plate(plate).name, text, span) {
            Ok(i) => i,
            Err(d) => {
                self.diags.push(d);
                0
            }
        }
    }

    /// The index buffer of a position computed from data. `guard`: the condition under which the read happens; a
    /// position outside the plate is an error only there. `None` if the plate is empty.
    pub(super) fn index(
        &mut self,
        position: E,
        plate: PlateId,
        size: usize,
        guard: Option<E>,
        of: &str,
    ) -> Option<BufId> {
        if self.arena.active(position) {
            return self.fed_index(position, plate, size, of);
        }
        if !self.indexed.contains_key(&(position, plate)) {
            let indexed = self.tabulate(position, plate, size);
            self.indexed.insert((position, plate), indexed);
        }
        let known = &self.indexed[&(position, plate)];
        let (buf, outside) = (known.buf, known.outside);
        if let Some(outside) = outside {
            self.check(position, outside, plate, size, guard, of);
        }
        (size > 0).then_some(buf)
    }

    /// The index buffer of a column of a batch, which holds other rows from run to run. Entries of the column were
    /// checked when the data were bound.
    fn fed_index(&mut self, position: E, plate: PlateId, size: usize, of: &str) -> Option<BufId> {
        if let Some(known) = self.indexed.get(&(position, plate)) {
            return (size > 0).then_some(known.buf);
        }
        let loops = self.arena.free(position).to_vec();
        let column = match self.arena.get(position) {
            Expr::Load(buf, addr) if *addr == self.arena.address(&loops) => self.storage.fed_var(*buf),
            _ => None,
        };
        let Some(var) = column else {
            self.diags.push(
                Code::BATCH_TIED
                    .at(
                        self.span,
                        format!(
                            "in `{}`, an index of `{of}` is computed from columns of the batched table",
                            self.statement
                        ),
                    )
                    .here("not a column by itself")
                    .help("put the index in a column of its own, or remove `batch`"),
            );
            return None;
        };
        let entries = self.storage.values(var).numbers.iter().map(|&v| v as u32).collect();
        let buf = self.arena.index(format!("position on {}", self.hir.plate(plate).name), entries, plate);
        self.storage.add_feed(Feed { var, buf });
        self.indexed.insert((position, plate), Indexed { buf, outside: None });
        (size > 0).then_some(buf)
    }

    fn tabulate(&mut self, position: E, plate: PlateId, size: usize) -> Indexed {
        let loops = self.arena.free(position).to_vec();
        let values = self.arena.values(position, &loops);
        let inside = |v: f64| v >= 0.0 && v < size as f64 && v == v.trunc();
        let entries = values.iter().map(|&v| if inside(v) { v as u32 } else { 0 }).collect();
        let buf = self.arena.index(format!("position on {}", self.hir.plate(plate).name), entries, plate);
        let outside = values.iter().any(|&v| !inside(v)).then(|| {
            let flags: Vec<f64> = values.iter().map(|&v| f64::from(u8::from(!inside(v)))).collect();
            let flags = self.arena.data("positions outside the plate", flags.into());
            let addr = self.arena.address(&loops);
            self.arena.load(flags, addr)
        });
        Indexed { buf, outside }
    }

    /// Report the first cell where the read happens and its position is outside.
    fn check(&mut self, position: E, outside: E, plate: PlateId, size: usize, guard: Option<E>, of: &str) {
        let wrong = match guard {
            Some(guard) => self.arena.binary(BinOp::And, guard, outside),
            None => outside,
        };
        let loops = self.arena.free(wrong).to_vec();
        let flags = self.arena.values(wrong, &loops);
        let Some(first) = flags.iter().position(|&f| f != 0.0) else { return };
        let value = self.arena.values(position, &loops)[first];
        let name = self.hir.plate(plate).name.clone();
        let what = if value != value.trunc() {
            format!("is {value}, not a position")
        } else if value < 0.0 {
            "falls before the first cell".to_string()
        } else {
            format!("falls after the last of {size} cells")
        };
        let (cell, place) = self.cell(&loops, first);
        let count = flags.iter().filter(|&&f| f != 0.0).count();
        let mut d = Code::INDEX_OUTSIDE
            .at(self.span, format!("in `{}`, the index of `{of}` on plate `{name}` {what}{cell}", self.statement));
        if let Some(place) = place {
            d = d.place(place);
        }
        if count > 1 {
            d = d.note(format!("{count} cells do so; this is the first"));
        }
        self.diags
            .push(d.help(format!("read `{of}` only where the index is on `{name}`: under an `if`, or with `where`")));
    }

    /// A cell in words, with its row in the data file if it has one.
    fn cell(&self, loops: &[LoopId], cell: usize) -> (String, Option<String>) {
        let (mut rest, mut words, mut place) = (cell, vec![], None);
        for &l in loops {
            let size = self.arena.size(l);
            let at = rest % size;
            rest /= size;
            let positions: Vec<(PlateId, usize)> = match self.plate_of.get(&l) {
                Some(&plate) => vec![(plate, at)],
                None => {
                    let kept = self.kept.iter().filter(|k| k.over == l);
                    kept.filter_map(|k| {
                        Some((self.arena.target(k.positions)?, self.arena.entries(k.positions)[at] as usize))
                    })
                    .collect()
                }
            };
            for (plate, i) in positions {
                let data = self.bound.plates.get(plate.0 as usize);
                let label = data.and_then(|d| d.labels.get(i)).cloned().unwrap_or_else(|| (i + 1).to_string());
                words.push(format!("`{}` {label}", self.hir.plate(plate).name));
                if let Some(line) = data.and_then(|d| d.lines.get(i)) {
                    place.get_or_insert(format!("{}:{line}", data.map_or("", |d| &d.file)));
                }
            }
        }
        let text = if words.is_empty() { String::new() } else { format!(", at {}", words.join(", ")) };
        (text, place)
    }
}
