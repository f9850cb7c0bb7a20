//! What a report has to compute anew for other draws: an encoder, say, gives the same to every draw of its rows.

use std::collections::{HashMap, HashSet};

use super::graph::{BufId, BufKind, Graph, Region};
use super::mentions::{Mention, mentions};

/// The graph with those regions of its report that come out otherwise when the coordinates change that are `drawn`. They may be
/// run in the memory in which the whole report has been.
pub fn redrawing(graph: &Graph, drawn: &[bool]) -> Graph {
    // How many coordinates are drawn before each.
    let mut before = vec![0];
    before.extend(drawn.iter().scan(0, |n, d| {
        *n += usize::from(*d);
        Some(*n)
    }));
    let all: Vec<Touched> = graph.report.iter().map(|r| Touched::of(r, graph.theta, &before)).collect();
    let mut writers: HashMap<BufId, usize> = HashMap::new();
    all.iter().flat_map(|t| &t.written).for_each(|b| *writers.entry(*b).or_default() += 1);
    let mut changed: HashSet<BufId> = HashSet::new();
    let mut again: Vec<bool> = all.iter().map(|t| t.drawn).collect();
    loop {
        for (touched, _) in all.iter().zip(&again).filter(|(_, again)| **again) {
            changed.extend(&touched.written);
            // What several regions write stands as the last has left it.
            changed.extend(touched.read.iter().filter(|b| writers.get(b).is_some_and(|n| *n > 1)));
        }
        let concerned = |t: &Touched| t.read.iter().chain(&t.written).any(|b| changed.contains(b));
        let next: Vec<bool> = all.iter().zip(&again).map(|(t, again)| *again || concerned(t)).collect();
        if next == again {
            break;
        }
        again = next;
    }
    let mut buffers = graph.buffers.clone();
    for (i, buffer) in buffers.iter_mut().enumerate() {
        // Sums that stay as they are do not start from 0.
        if matches!(buffer.kind, BufKind::Scratch { zeroed: true }) && !changed.contains(&BufId(i as u32)) {
            buffer.kind = BufKind::Scratch { zeroed: false };
        }
    }
    let report = graph.report.iter().zip(again).filter(|(_, again)| *again).map(|(r, _)| r.clone()).collect();
    Graph { value: vec![], gradient: vec![], trace: vec![], second: None, report, buffers, ..graph.clone() }
}

/// What a region reads and writes, and whether it reads coordinates that are drawn.
#[derive(Default)]
struct Touched {
    read: HashSet<BufId>,
    written: HashSet<BufId>,
    drawn: bool,
}

impl Touched {
    /// `before`: how many coordinates are drawn before each.
    fn of(region: &Region, theta: Option<BufId>, before: &[usize]) -> Touched {
        let mut touched = Touched::default();
        mentions(region, &mut |buf, how, cells| {
            match how {
                Mention::Read => touched.read.insert(buf),
                Mention::Written => touched.written.insert(buf),
            };
            if Some(buf) == theta {
                // A plate without cells may begin where theta ends.
                let all = before.len() - 1;
                let (first, end) = cells.map_or((0, all), |c| (c.start.min(all), c.end.min(all)));
                touched.drawn |= before[end] > before[first];
            }
        });
        touched
    }
}
