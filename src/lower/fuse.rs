//! Fuse kernels over the same loops, and drop what nothing reads.

use std::collections::{HashMap, HashSet};

use crate::lower::expr::{Arena, E};
use crate::lower::graph::{Addr, BufId, BufKind, LoopId};
use crate::lower::kernel::{Effect, Kernel, loads_in};

/// Put kernels over the same loops together where no other kernel must run in between. A value stored by one and read
/// by another at the same cell is used directly. The result is in an order in which every buffer is complete before it is read.
/// `sums`: buffers whose writers will also read the given value, once they have their gradients.
pub(crate) fn fuse(arena: &mut Arena, kernels: Vec<Kernel>, sums: &HashMap<BufId, E>) -> Vec<Kernel> {
    let mut writers: HashMap<BufId, Vec<usize>> = HashMap::new();
    for (i, kernel) in kernels.iter().enumerate() {
        for buf in kernel.written() {
            writers.entry(buf).or_default().push(i);
        }
    }
    let mut loads: Vec<Vec<(BufId, Addr)>> = kernels.iter().map(|k| k.loads(arena)).collect();
    for (kernel, loads) in kernels.iter().zip(&mut loads) {
        for factor in kernel.roots.iter().filter_map(|r| sums.get(&r.buf)) {
            loads.extend(loads_in(arena, *factor));
        }
    }
    // What each kernel waits for, and whether it may do so inside one fused kernel.
    let waits: Vec<HashMap<usize, bool>> = (0..kernels.len())
        .map(|i| {
            let mut waits = HashMap::new();
            for (buf, addr) in &loads[i] {
                // What a walk reads of its own is there by the order of its steps.
                let own = |w: usize| w == i && kernels[i].walk.is_some();
                for &w in writers.get(buf).into_iter().flatten().filter(|w| !own(**w)) {
                    let forward = w != i
                        && [w, i].iter().all(|&k| kernels[k].walk.is_none())
                        && kernels[w].loops == kernels[i].loops
                        && kernels[w].roots.iter().any(|r| {
                            r.buf == *buf && r.effect == Effect::Store && r.inner.is_empty() && r.addr == *addr
                        });
                    *waits.entry(w).or_insert(true) &= forward;
                }
            }
            waits
        })
        .collect();
    let mut left: Vec<usize> = (0..kernels.len()).collect();
    let mut done = HashSet::new();
    let mut out = vec![];
    while !left.is_empty() {
        let group = next_group(arena, &kernels, &waits, &left, &done);
        left.retain(|i| !group.contains(i));
        done.extend(group.iter().copied());
        out.push(join(arena, group.iter().map(|&i| kernels[i].clone()).collect()));
    }
    out
}

/// Of all sets of loops, the one whose kernels can run now with the fewest left behind; of equals, the smallest.
fn next_group(
    arena: &Arena,
    kernels: &[Kernel],
    waits: &[HashMap<usize, bool>],
    left: &[usize],
    done: &HashSet<usize>,
) -> Vec<usize> {
    // A walk stays by itself: nothing else depends on the order of its steps. So does a matrix operation.
    let alone = |i: usize| kernels[i].walk.is_some() || kernels[i].call.is_some();
    let class = |i: usize| (&kernels[i].loops, alone(i).then_some(i));
    let mut classes: Vec<(&Vec<LoopId>, Option<usize>)> = vec![];
    for &i in left {
        if !classes.contains(&class(i)) {
            classes.push(class(i));
        }
    }
    let mut best: Option<(usize, usize, Vec<usize>)> = None;
    for (loops, walk) in classes {
        let members: Vec<usize> = left.iter().copied().filter(|&i| class(i) == (loops, walk)).collect();
        let mut group: Vec<usize> = vec![];
        loop {
            let ready = |i: &usize| {
                !group.contains(i) && waits[*i].iter().all(|(w, fwd)| done.contains(w) || *fwd && group.contains(w))
            };
            match members.iter().copied().find(|i| ready(i)) {
                Some(i) => group.push(i),
                None => break,
            }
        }
        let key = (members.len() - group.len(), arena.cells(loops));
        if !group.is_empty() && best.as_ref().is_none_or(|b| key < (b.0, b.1)) {
            best = Some((key.0, key.1, group));
        }
    }
    best.expect("kernels wait for earlier ones only").2
}

fn join(arena: &mut Arena, mut group: Vec<Kernel>) -> Kernel {
    if group.len() == 1 {
        return group.remove(0);
    }
    let mut names: Vec<String> = vec![];
    for kernel in &group {
        for name in kernel.name.split(", ") {
            if !names.iter().any(|n| n == name) {
                names.push(name.to_string());
            }
        }
    }
    let spans: Vec<_> = group.iter().map(|k| k.span).collect();
    let span = if spans.iter().all(|s| *s == spans[0]) { spans[0] } else { None };
    let mut fused =
        Kernel { name: names.join(", "), span, loops: group[0].loops.clone(), walk: None, roots: vec![], call: None };
    let mut stored: HashMap<E, E> = HashMap::new();
    for mut kernel in group {
        if !stored.is_empty() {
            kernel.rewrite(arena, |_, e| stored.get(&e).copied());
        }
        for root in &kernel.roots {
            if root.effect == Effect::Store && root.inner.is_empty() {
                let read = arena.load(root.buf, root.addr.clone());
                stored.insert(read, root.value);
            }
        }
        fused.roots.extend(kernel.roots);
    }
    fused
}

/// Drop effects on buffers that nothing reads and that are not `wanted`.
pub(crate) fn drop_dead(arena: &Arena, mut kernels: Vec<Kernel>, wanted: impl Fn(BufId) -> bool) -> Vec<Kernel> {
    loop {
        let loads: Vec<HashSet<BufId>> =
            kernels.iter().map(|k| k.loads(arena).into_iter().map(|l| l.0).collect()).collect();
        let mut readers: HashMap<BufId, usize> = HashMap::new();
        loads.iter().flatten().for_each(|b| *readers.entry(*b).or_insert(0) += 1);
        let effects = |kernels: &[Kernel]| -> usize {
            kernels.iter().map(|k| k.roots.len() + usize::from(k.call.is_some())).sum()
        };
        let before = effects(&kernels);
        for (kernel, own) in kernels.iter_mut().zip(&loads) {
            let read = |b: BufId| readers.get(&b).copied().unwrap_or(0);
            // A walk that only reads itself is for nothing.
            let others = |b: BufId| wanted(b) || read(b) > usize::from(own.contains(&b));
            if kernel.walk.is_some() && !kernel.roots.iter().any(|r| others(r.buf)) {
                kernel.roots.clear();
            }
            kernel.roots.retain(|r| wanted(r.buf) || read(r.buf) > 0);
            kernel.call.take_if(|c| !c.written().any(|b| wanted(b) || read(b) > 0));
        }
        kernels.retain(|k| (!k.roots.is_empty() || k.call.is_some()) && arena.cells(&k.loops) > 0);
        if effects(&kernels) == before {
            return kernels;
        }
    }
}

/// Adjoints that are added to once per cell are stored instead, so that a later kernel over the same loops can use the
/// value directly. `wanted` buffers stay sums.
pub(crate) fn store_single_sums(arena: &mut Arena, kernels: &mut [Kernel], wanted: impl Fn(BufId) -> bool) {
    let mut writers: HashMap<BufId, usize> = HashMap::new();
    for buf in kernels.iter().flat_map(|k| k.written()) {
        *writers.entry(buf).or_insert(0) += 1;
    }
    for kernel in kernels {
        let cells = arena.address(&kernel.loops);
        for root in &mut kernel.roots {
            let buffer = &mut arena.buffers[root.buf.0 as usize];
            if root.effect == Effect::Accum && root.addr == cells && writers[&root.buf] == 1 && !wanted(root.buf) {
                debug_assert!(root.inner.is_empty(), "an address over the kernel's loops uses no others");
                root.effect = Effect::Store;
                buffer.kind = BufKind::Scratch { zeroed: false };
            }
        }
    }
}
