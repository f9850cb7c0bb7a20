//! Leave out of the graph the buffers that no program uses: their memory would be kept by every thread.

use std::collections::HashSet;

use crate::lower::graph::{Addr, AddrTerm, BufId, Buffer, Graph, Op, Region, Stmt};
use crate::lower::storage::Layout;

pub(crate) fn prune(graph: &mut Graph, layout: &mut Layout) {
    let mut used = vec![false; graph.buffers.len()];
    every_buffer(graph, layout, &mut |b| used[b.0 as usize] = true);
    let mut next = 0;
    let new: Vec<BufId> = used
        .iter()
        .map(|&used| {
            let id = BufId(next);
            next += u32::from(used);
            id
        })
        .collect();
    every_buffer(graph, layout, &mut |b| *b = new[b.0 as usize]);
    let buffers = std::mem::take(&mut graph.buffers);
    graph.buffers = buffers.into_iter().zip(used).filter_map(|(b, used)| used.then_some(b)).collect::<Vec<Buffer>>();
}

/// Call `f` on every mention of a buffer. Columns count as used where a program reads them.
fn every_buffer(graph: &mut Graph, layout: &mut Layout, f: &mut impl FnMut(&mut BufId)) {
    for region in [&mut graph.value, &mut graph.gradient, &mut graph.report, &mut graph.trace].into_iter().flatten() {
        body(&mut region.body, f);
    }
    for b in [&mut graph.log_joint, &mut graph.theta, &mut graph.grad, &mut graph.direction].into_iter().flatten() {
        f(b);
    }
    graph.kept.iter_mut().for_each(|k| f(&mut k.positions));
    layout.each_buffer(f);
}

fn body(stmts: &mut [Stmt], f: &mut impl FnMut(&mut BufId)) {
    for stmt in stmts {
        match stmt {
            Stmt::Let(_, Op::Load(b, addr)) => {
                f(b);
                address(addr, f);
            }
            Stmt::Let(..) => {}
            Stmt::Reduce { body: inner, .. } => body(inner, f),
            Stmt::Contract { a: (a, at), b: (b, bt), .. } | Stmt::ContractT { a: (a, at), target: (b, bt), .. } => {
                f(a);
                f(b);
                address(at, f);
                address(bt, f);
            }
            Stmt::Store { buf, addr, .. } | Stmt::Accum { buf, addr, .. } => {
                f(buf);
                address(addr, f);
            }
            Stmt::Call(call) => call.each_buffer(f),
        }
    }
}

fn address(addr: &mut Addr, f: &mut impl FnMut(&mut BufId)) {
    for (term, _) in &mut addr.terms {
        if let AddrTerm::Gather(index, inner) = term {
            f(index);
            address(inner, f);
        }
    }
}

/// The graph with the regions of its report that these buffers come from, and no other program.
pub fn reporting(graph: &Graph, wanted: &[BufId]) -> Graph {
    let mut needed: HashSet<BufId> = wanted.iter().copied().collect();
    let mut report: Vec<Region> = vec![];
    for region in graph.report.iter().rev() {
        let mut region = region.clone();
        if region.body.iter().any(|s| writes(s, &needed)) {
            body(&mut region.body, &mut |b| _ = needed.insert(*b));
            report.push(region);
        }
    }
    report.reverse();
    Graph { value: vec![], gradient: vec![], trace: vec![], second: None, report, ..graph.clone() }
}

fn writes(stmt: &Stmt, to: &HashSet<BufId>) -> bool {
    match stmt {
        Stmt::Let(..) => false,
        Stmt::Reduce { body, .. } => body.iter().any(|s| writes(s, to)),
        Stmt::Contract { .. } => false,
        Stmt::ContractT { target: (b, _), .. } => to.contains(b),
        Stmt::Store { buf, .. } | Stmt::Accum { buf, .. } => to.contains(buf),
        Stmt::Call(call) => call.written().any(|b| to.contains(&b)),
    }
}
