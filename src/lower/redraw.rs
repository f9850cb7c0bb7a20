//! What a report has to compute anew for other draws: an encoder, say, gives the same to every draw of its rows.

use std::collections::{HashMap, HashSet};

use super::graph::{Access, Addr, AddrTerm, BufId, BufKind, Call, Graph, LoopId, Op, Operand, Region, Stmt};

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

/// Where theta is, and how many coordinates are drawn before each.
type Theta<'a> = (Option<BufId>, &'a [usize]);

impl Touched {
    fn of(region: &Region, theta: Option<BufId>, before: &[usize]) -> Touched {
        let mut touched = Touched::default();
        let sizes = region.loops.iter().map(|l| (l.id, l.size)).collect();
        touched.visit(&region.body, &sizes, (theta, before));
        touched
    }

    fn visit(&mut self, body: &[Stmt], sizes: &HashMap<LoopId, usize>, theta: Theta) {
        for stmt in body {
            match stmt {
                Stmt::Let(_, Op::Load(buf, addr)) => self.read(*buf, reach(addr, sizes), theta),
                Stmt::Let(..) => {}
                Stmt::Reduce { over, body, .. } => {
                    let mut sizes = sizes.clone();
                    sizes.insert(over.id, over.size);
                    self.visit(body, &sizes, theta);
                }
                Stmt::Contract { over, a, b, .. } | Stmt::ContractT { over, a, target: b, .. } => {
                    let mut sizes = sizes.clone();
                    sizes.insert(over.id, over.size);
                    self.read(a.0, reach(&a.1, &sizes), theta);
                    match stmt {
                        Stmt::Contract { .. } => self.read(b.0, reach(&b.1, &sizes), theta),
                        _ => _ = self.written.insert(b.0),
                    }
                }
                Stmt::Store { buf, .. } | Stmt::Accum { buf, .. } => _ = self.written.insert(*buf),
                Stmt::Call(call) => {
                    for (i, operand) in call.operands().iter().enumerate() {
                        match operand.buf {
                            Some(buf) if operand.access == Access::Read => {
                                self.read(buf, reach_of(call, i, operand), theta);
                            }
                            Some(buf) => _ = self.written.insert(buf),
                            None => {}
                        }
                    }
                }
            }
        }
    }

    /// `cells`: the first and the last, if they are known.
    fn read(&mut self, buf: BufId, cells: Option<(usize, usize)>, (theta, before): Theta) {
        self.read.insert(buf);
        if Some(buf) == theta {
            let (first, last) = cells.unwrap_or((0, before.len() - 2));
            self.drawn |= before[last + 1] > before[first];
        }
    }
}

/// The first and the last cell that an address comes to; `None` if positions lead there.
fn reach(addr: &Addr, sizes: &HashMap<LoopId, usize>) -> Option<(usize, usize)> {
    let mut last = addr.offset;
    for (term, stride) in &addr.terms {
        let AddrTerm::Loop(id) = term else { return None };
        last += stride * (sizes.get(id)? - 1);
    }
    Some((addr.offset, last))
}

/// The same of an operand of a product.
fn reach_of(call: &Call, i: usize, operand: &Operand) -> Option<(usize, usize)> {
    let Call::Product(call) = call else { return None };
    let [m, k, n] = call.sizes;
    let sides = [[m, k], [k, n], [m, n]][i];
    let own: usize = sides.iter().zip(call.steps[i]).map(|(size, step)| step * (size - 1)).sum();
    let rest: usize = call.batch.iter().zip(&operand.strides).map(|(size, stride)| stride * (size - 1)).sum();
    Some((operand.offset, operand.offset + own + rest))
}
