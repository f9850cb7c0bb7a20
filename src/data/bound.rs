//! Data bound to a checked model: plate sizes, labels and numbers.

use std::collections::HashMap;
use std::sync::Arc;

use crate::diag::{Code, Diagnostic, nearest};
use crate::hir::{Hir, PlateId, PlateKind, VarId};
use crate::source::Span;

/// What the data files say about a model's plates and values.
#[derive(Clone, Debug, Default)]
pub struct Bound {
    /// By `PlateId`, for every plate of the model.
    pub plates: Vec<PlateData>,
    /// Columns, data scalars and constants.
    pub values: HashMap<VarId, Values>,
    /// Of binarised columns: the probabilities of their cells.
    pub shades: HashMap<VarId, Values>,
    /// Why no guide can be fitted: ends of what the data can be that may pass a datum.
    pub edges: Vec<Diagnostic>,
}

#[derive(Clone, Debug, Default)]
pub struct PlateData {
    pub size: usize,
    /// As many as `size`; shared, since a plate of rows can be long.
    pub labels: Arc<[String]>,
    /// Where row `i` stands in its file, for messages: `houses.csv:12`. Empty for plates that are not rows.
    pub file: String,
    pub lines: Arc<[u64]>,
}

/// One variable's numbers, first dimension contiguous: cell (i, j) of dims [n, m] is at `i + n·j`.
/// Booleans are 0/1; key and category columns hold 0-based positions on their plate.
#[derive(Clone, Debug)]
pub struct Values {
    pub dims: Vec<usize>,
    pub numbers: Arc<[f64]>,
}

impl Values {
    /// The cells that are missing, in storage order.
    pub fn missing(&self) -> Vec<usize> {
        (0..self.numbers.len()).filter(|&i| self.numbers[i].is_nan()).collect()
    }

    /// Per cell its number among the missing ones, or -1.
    pub fn missing_order(&self) -> Vec<f64> {
        let mut order = vec![-1.0; self.numbers.len()];
        for (n, cell) in self.missing().into_iter().enumerate() {
            order[cell] = n as f64;
        }
        order
    }

    /// Per missing cell its position along a dimension.
    pub fn missing_at(&self, dim: usize) -> Vec<f64> {
        let stride: usize = self.dims[..dim].iter().product();
        self.missing().into_iter().map(|cell| (cell / stride % self.dims[dim]) as f64).collect()
    }
}

impl Values {
    /// Copy rows, one after the other along dimension `dim`.
    pub fn gather(&self, dim: usize, rows: &[usize], out: &mut [f64]) {
        let inner: usize = self.dims[..dim].iter().product();
        let (of, to) = (self.dims[dim], rows.len());
        for (o, block) in out.chunks_mut((inner * to).max(1)).enumerate() {
            for (r, &row) in rows.iter().enumerate() {
                let from = o * inner * of + row * inner;
                block[r * inner..(r + 1) * inner].copy_from_slice(&self.numbers[from..from + inner]);
            }
        }
    }
}

/// A plate with these cells, which stand in no file.
pub(super) fn labelled(labels: Vec<String>) -> PlateData {
    PlateData { size: labels.len(), labels: Arc::from(labels), ..PlateData::default() }
}

/// The cells of a plate that `derive` makes from others; `None` while those are not known.
pub(super) fn derived<'a>(kind: &PlateKind, plate: impl Fn(PlateId) -> Option<&'a PlateData>) -> Option<PlateData> {
    match kind {
        PlateKind::Triangle { of, diagonal } => {
            let p = plate(*of)?;
            let cells = |i: usize| 0..if *diagonal { i + 1 } else { i };
            let name = |i: usize, j: usize| format!("{}:{}", p.labels[i], p.labels[j]);
            Some(labelled((0..p.size).flat_map(|i| cells(i).map(move |j| name(i, j))).collect()))
        }
        PlateKind::OneLess(whole) => {
            let p = plate(*whole)?;
            Some(labelled(p.labels[..p.size.saturating_sub(1)].to_vec()))
        }
        // Too many to be named.
        _ => Some(PlateData::default()),
    }
}

impl Bound {
    /// Give cells to the plates that `derive` has added since the data were bound.
    pub fn add_derived(&mut self, hir: &Hir) {
        for plate in &hir.plates[self.plates.len()..] {
            let data = derived(&plate.kind, |p| self.plates.get(p.0 as usize)).unwrap_or_default();
            self.plates.push(data);
        }
    }

    /// Leave only these rows of a plate, in this order.
    pub fn keep_rows(&mut self, hir: &Hir, plate: PlateId, rows: &[usize]) {
        let own = &mut self.plates[plate.0 as usize];
        own.size = rows.len();
        own.labels = rows.iter().filter_map(|r| own.labels.get(*r).cloned()).collect();
        own.lines = rows.iter().filter_map(|r| own.lines.get(*r).copied()).collect();
        for (var, values) in self.values.iter_mut().chain(&mut self.shades) {
            let over = hir.var(*var).axes.iter().position(|a| hir.axis(*a).plate == plate);
            let Some(dim) = over else { continue };
            let mut dims = values.dims.clone();
            dims[dim] = rows.len();
            let mut numbers = vec![0.0; dims.iter().product()];
            values.gather(dim, rows, &mut numbers);
            *values = Values { dims, numbers: numbers.into() };
        }
    }

    pub fn plate(&self, id: PlateId) -> &PlateData {
        &self.plates[id.0 as usize]
    }

    pub fn size(&self, id: PlateId) -> usize {
        self.plate(id).size
    }

    /// The position of a label that the model writes, on the plate of this name.
    pub fn label(&self, plate: PlateId, name: &str, text: &str, span: Span) -> Result<usize, Diagnostic> {
        let none = PlateData::default();
        self.plates.get(plate.0 as usize).unwrap_or(&none).position(name, text, span)
    }
}

impl PlateData {
    /// The position of a label that the model writes, on this plate of that name.
    pub fn position(&self, name: &str, text: &str, span: Span) -> Result<usize, Diagnostic> {
        let labels: &[String] = &self.labels;
        if let Some(i) = labels.iter().position(|l| l == text) {
            return Ok(i);
        }
        let mut d = Code::UNKNOWN_LABEL
            .at(span, format!("`{name}` has no cell labelled \"{text}\""))
            .here(format!("not a label of `{name}`"));
        let shown: Vec<_> = labels.iter().take(6).map(|l| format!("\"{l}\"")).collect();
        if !shown.is_empty() {
            let more = if labels.len() > shown.len() { ", …" } else { "" };
            d = d.note(format!("the {} labels of `{name}` are {}{more}", labels.len(), shown.join(", ")));
        }
        if let Some(near) = nearest(text, labels.iter().map(String::as_str)) {
            d = d.help(format!("write \"{near}\""));
        }
        Err(d)
    }
}
