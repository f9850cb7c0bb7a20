//! Where a value is not finite: the first definition or term, in program order, and its cell.

use crate::lower::graph::{BufKind, Graph, LoopId, Region};
use crate::run::interp::{Cause, Machine};
use crate::source::Span;

/// The first cell of the program, as written, whose value is not finite, or too large.
#[derive(Clone, Debug, PartialEq)]
pub struct NonFinite {
    /// The definition or term, as its region is named.
    pub region: String,
    pub span: Option<Span>,
    /// Plate name and 0-based position for every plate that the declaration stands over.
    pub cell: Vec<(String, usize)>,
    pub value: f64,
    pub cause: Cause,
}

/// Runs the program declaration by declaration at `theta`; `None` if every cell is finite.
pub fn trace_nonfinite(graph: &Graph, theta: &[f64]) -> Option<NonFinite> {
    trace_beyond(graph, theta, f64::MAX, is_written).or_else(|| trace_beyond(graph, theta, f64::MAX, |_| true))
}

/// Whether a region stands in the model. What sums up several statements, such as the log joint of a row, says nothing of which.
pub fn is_written(region: &Region) -> bool {
    region.span.is_some_and(|s| s != Span::default())
}

/// The same for numbers that are larger than this, whatever their sign, in these regions.
pub fn trace_beyond(graph: &Graph, theta: &[f64], most: f64, wanted: impl Fn(&Region) -> bool) -> Option<NonFinite> {
    let mut machine = Machine::new(&graph.buffers);
    if let Some(buf) = graph.theta {
        machine.written[buf.0 as usize][..theta.len()].copy_from_slice(theta);
    }
    for region in &graph.trace {
        machine.watch = (region.span.is_some() && wanted(region)).then_some(most);
        machine.run(region);
        if let Some(hit) = machine.hit.take() {
            let mut cell = vec![];
            for l in &region.loops {
                let at = hit.counters[l.id.0 as usize].1;
                cell.extend(place(graph, region, l.id, at));
            }
            return Some(NonFinite {
                region: region.name.clone(),
                span: region.span,
                cell,
                value: hit.value,
                cause: hit.cause,
            });
        }
    }
    None
}

/// The positions that one counter stands for: several if the loop runs over the kept cells of a filter.
fn place(graph: &Graph, region: &Region, id: LoopId, at: usize) -> Vec<(String, usize)> {
    let kept: Vec<_> = graph.kept.iter().filter(|k| k.over == id).collect();
    if kept.is_empty() {
        let plate = region.loops.iter().find(|l| l.id == id).map_or("", |l| &l.plate);
        return vec![(plate.to_string(), at)];
    }
    kept.iter()
        .filter_map(|k| match &graph.buffers[k.positions.0 as usize].kind {
            BufKind::Index(entries) => Some((k.plate.clone(), entries[at] as usize)),
            BufKind::Data(_) | BufKind::Input | BufKind::Scratch { .. } => None,
        })
        .collect()
}
