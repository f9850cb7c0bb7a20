//! Latents that are normal given the rest, integrated out.
//!
//! Where the log joint is −½ zᵀΛz + bᵀz + c in z, with Λ, b and c free of z, log ∫ exp = c + ½ bᵀΛ⁻¹b − ½ log |Λ| +
//! ½ n log 2π, and z given the rest is N(Λ⁻¹b, Λ⁻¹). What stands in b is multiplied out again, so that latents further
//! up (the mean of the group effects) can go next.

use std::collections::BTreeSet;

use super::expand::{Factor, MOST_DENSE, Mono, Poly};
use super::work::{Collapsed, How, Work};
use crate::derive::joint::*;
use crate::hir::AxisId;

impl Work<'_> {
    /// What the conditional distribution of a latent depends on, in words.
    fn given(&mut self, on: &BTreeSet<SlotId>) -> Vec<String> {
        let joint = self.e.joint();
        let mut names: Vec<String> = joint
            .unconstrained
            .iter()
            .filter(|u| on.contains(&u.slot))
            .map(|u| self.e.hir().var(u.var).name.clone())
            .collect();
        names.dedup();
        names
    }

    pub(super) fn note(&mut self, latent: &Unconstrained, how: How, parts: &[NodeId]) {
        let mut on = BTreeSet::new();
        for p in parts {
            on.extend(self.e.on(*p).iter().copied());
        }
        on.remove(&latent.slot);
        let given = self.given(&on);
        let name = self.e.hir().var(latent.var).name.clone();
        self.collapsed.push(Collapsed { latent: latent.clone(), name, how, given });
        self.open.remove(&latent.slot);
    }

    /// Whether no product has two different cells of a latent.
    pub fn is_by_cells(&self, z: SlotId) -> bool {
        self.entries.iter().all(|e| self.cells(&e.m, z).len() < 2)
    }

    /// Integrate out a latent whose cells are independent given the rest.
    pub fn by_cells(&mut self, latent: &Unconstrained) {
        let plates = self.e.joint().slot(latent.slot).dims.clone();
        let target = self.fresh(&plates);
        let name = self.e.joint().slot(latent.slot).name.clone();
        let minus_two = self.constant(-2.0);
        let (mut linear, mut square): (Poly, Poly) = (vec![], vec![]);
        for (cells, m) in self.take(latent.slot) {
            let index = self.index_of(cells[0].base);
            if cells[0].power == 1.0 {
                linear.push(self.gather(&m, &index, &target, true));
            } else {
                let data = self.times(minus_two, m.data);
                square.push(self.gather(&Mono { data, ..m }, &index, &target, false));
            }
        }
        // Cells that a filter leaves out have nothing added.
        let square = self.without_filters(square, &target, &name);
        let linear = self.without_filters(linear, &target, &name);
        let linear = self.merged(linear, &target, &name);
        let (common, rest) = self.common(square);
        let precision = self.total(&rest);
        let slot = self.define(format!("precision of {name}"), &target, precision);
        let read = self.read(slot, &target);
        let one = self.constant(1.0);
        let mut inverse = Mono { axes: vec![], filter: None, data: one, factors: common.clone() };
        inverse.factors.iter_mut().for_each(|f| f.power = -f.power);
        let mut whole = Mono { axes: vec![], filter: None, data: one, factors: common.clone() };
        let log = self.unary(UnOp::Log, read);
        let mut logs: Poly = vec![];
        if self.e.is_data(read) {
            inverse.data = self.unary(UnOp::Recip, read);
            whole.data = read;
            logs.push(Mono { axes: vec![], filter: None, data: log, factors: vec![] });
        } else {
            inverse.factors.push(Factor { base: read, power: -1.0 });
            whole.factors.push(Factor { base: read, power: 1.0 });
            inverse.factors.sort_by_key(|f| f.base);
            whole.factors.sort_by_key(|f| f.base);
            logs.push(Mono { axes: vec![], filter: None, data: one, factors: vec![Factor { base: log, power: 1.0 }] });
        }
        logs.extend(self.log_of(&common));
        let from = self.source(latent);
        self.touched.insert(from);
        let half = self.constant(0.5);
        for i in 0..linear.len() {
            for j in i..linear.len() {
                let by = if i == j { half } else { one };
                let square = self.e.product_of(&linear[i], &linear[j]);
                let mut m = self.e.product_of(&square, &inverse);
                m.data = self.times(m.data, by);
                self.leave(m, &target, from);
            }
        }
        let minus_half = self.constant(-0.5);
        for m in self.e.scaled(&logs, minus_half) {
            self.leave(m, &target, from);
        }
        let constant = Mono { axes: vec![], filter: None, data: self.half_log, factors: vec![] };
        self.leave(constant, &target, from);
        // The draw: b / Λ + ε / √Λ
        let b = self.sum(&linear);
        let whole = self.e.value(&whole);
        self.note(latent, How::Cells, &[b, whole]);
        let b_def = self.definition(format!("location of {name}"), &target, b);
        let whole_def = self.definition(format!("whole precision of {name}"), &target, whole);
        let (b, whole) = (self.read(b_def.slot, &target), self.read(whole_def.slot, &target));
        let log = self.unary(UnOp::Log, whole);
        let log_scale = self.times(half, log);
        let noise = self.drawn(latent, &target, log_scale);
        let root = self.unary(UnOp::Sqrt, whole);
        let scaled = self.times(noise, root);
        let both = self.binary(BinOp::Add, b, scaled);
        let z = self.binary(BinOp::Div, both, whole);
        self.draws.push(vec![b_def, whole_def, Def::new(latent.slot, target, z, Default::default())]);
    }

    /// Positive factors that all products share, and the products without them: what is left may then be data.
    fn common(&mut self, pieces: Poly) -> (Vec<Factor>, Poly) {
        let common = match pieces.as_slice() {
            [first, rest @ ..] if rest.iter().all(|m| m.factors == first.factors) && self.e.positive(first) => {
                first.factors.clone()
            }
            _ => return (vec![], pieces),
        };
        (common, pieces.into_iter().map(|m| Mono { factors: vec![], ..m }).collect())
    }

    /// The log of a product of positive factors.
    fn log_of(&mut self, factors: &[Factor]) -> Poly {
        let mut out = vec![];
        for f in factors {
            let log = self.unary(UnOp::Log, f.base);
            let (log, power) = (self.e.expand(log), self.constant(f.power));
            out.extend(self.e.scaled(&log, power));
        }
        out
    }

    /// Products whose filters are 0 where they do not hold.
    fn without_filters(&mut self, pieces: Poly, target: &[AxisId], name: &str) -> Poly {
        let mut out = vec![];
        for m in pieces {
            let Some(filter) = m.filter else {
                out.push(m);
                continue;
            };
            let (zero, one) = (self.constant(0.0), self.constant(1.0));
            let free = self.e.joint().free_axes(filter);
            match free.iter().all(|a| target.contains(a) || m.axes.contains(a)) && m.factors.is_empty() {
                true => {
                    let data = self.e.joint_mut().intern(Node::Select(filter, m.data, zero));
                    out.push(Mono { filter: None, data, ..m });
                }
                false => {
                    // A factor may be anything where the filter does not hold.
                    let open = |f: &Factor| self.e.cell(f.base).is_some();
                    let (cells, rest): (Vec<Factor>, Vec<Factor>) = m.factors.iter().partition(|f| open(f));
                    let bare = Mono { axes: vec![], filter: None, data: m.data, factors: rest };
                    let value = self.e.value(&bare);
                    let value = self.e.joint_mut().intern(Node::Select(filter, value, zero));
                    let over = [target, &m.axes].concat();
                    let slot = self.define(format!("part {} of {name}", self.defs.len() + 1), &over, value);
                    let read = self.read(slot, &over);
                    let (mut data, mut factors) = (one, cells);
                    match self.e.is_data(read) {
                        true => data = read,
                        false => factors.push(Factor { base: read, power: 1.0 }),
                    }
                    factors.sort_by_key(|f| f.base);
                    out.push(Mono { axes: m.axes, filter: None, data, factors });
                }
            }
        }
        out
    }

    /// Whether a latent over one plate may be integrated out as a whole.
    pub fn is_dense(&self, latent: &Unconstrained) -> bool {
        let [plate] = self.e.joint().slot(latent.slot).dims[..] else { return false };
        self.e.plate_size(plate).is_some_and(|n| n <= MOST_DENSE)
    }

    /// Integrate out a latent over one plate, all of whose cells may depend on each other.
    pub fn as_a_whole(&mut self, latent: &Unconstrained) {
        let plate = self.e.joint().slot(latent.slot).dims[0];
        let axes = self.fresh(&[plate, plate]);
        let own = &axes[..1];
        let name = self.e.joint().slot(latent.slot).name.clone();
        let minus = self.constant(-1.0);
        let (mut linear, mut square): (Poly, Poly) = (vec![], vec![]);
        for (cells, m) in self.take(latent.slot) {
            let (first, last) = (self.index_of(cells[0].base), self.index_of(cells[cells.len() - 1].base));
            if cells.len() == 1 && cells[0].power == 1.0 {
                linear.push(self.gather(&m, &first, own, false));
                continue;
            }
            let data = self.times(minus, m.data);
            let m = Mono { data, ..m };
            for (a, b) in [(&first, &last), (&last, &first)] {
                square.push(self.gather(&m, &[&a[..], b].concat(), &axes, false));
            }
        }
        let (square, linear) = (self.added(square), self.added(linear));
        // Λ = F S and b = G s with S and s of data alone, if the model is such: then so is all that is solved.
        let ((f, square), (g, linear)) = (self.common(square), self.common(linear));
        let (precision, b) = (self.total(&square), self.total(&linear));
        let matrix = self.define(format!("precision of {name}"), &axes, precision);
        let matrix = self.read(matrix, &axes);
        let factor = self
            .e
            .joint_mut()
            .intern(Node::Matrix { function: crate::hir::MatrixFn::Cholesky, operands: vec![matrix] });
        let factor_slot = self.define(format!("factor of the precision of {name}"), &axes, factor);
        let factor = self.read(factor_slot, &axes);
        let b_slot = self.define(format!("location of {name}"), own, b);
        let b = self.read(b_slot, own);
        let solved = self.e.joint_mut().intern(Node::Matrix {
            function: crate::hir::MatrixFn::Solve { transposed: false },
            operands: vec![factor, b],
        });
        let solved_slot = self.define(format!("whitened location of {name}"), own, solved);
        let solved = self.read(solved_slot, own);
        let diagonal = self.read(factor_slot, &[axes[0], axes[0]]);
        let log = self.unary(UnOp::Log, diagonal);
        let from = self.source(latent);
        self.touched.insert(from);
        let product = |data, factors| Mono { axes: vec![], filter: None, data, factors };
        let (half, minus_half) = (self.constant(0.5), self.constant(-0.5));
        let (square, less) = (self.times(solved, solved), self.times(minus, log));
        let one = self.constant(1.0);
        let by_scale: Vec<Factor> = f.iter().map(|f| Factor { power: -f.power, ..*f }).collect();
        let twice: Vec<Factor> = g.iter().map(|g| Factor { power: 2.0 * g.power, ..*g }).collect();
        let outside = self.e.product_of(&product(one, twice), &product(one, by_scale));
        // Of data alone these are numbers.
        for (value, by) in [(square, half), (less, one)] {
            let m = match self.e.is_data(value) {
                true => product(self.times(by, value), vec![]),
                false => product(by, vec![Factor { base: value, power: 1.0 }]),
            };
            let m = if value == square { self.e.product_of(&m, &outside) } else { m };
            self.leave(m, own, from);
        }
        let scale = self.log_of(&f);
        for m in self.e.scaled(&scale, minus_half) {
            self.leave(m, own, from);
        }
        self.leave(product(self.half_log, vec![]), own, from);
        let halved: Vec<Factor> = f.iter().map(|f| Factor { power: -0.5 * f.power, ..*f }).collect();
        let shrink = self.e.product_of(&product(one, g), &product(one, halved.clone()));
        let (shrink, root) = (self.e.value(&shrink), self.e.value(&product(one, halved)));
        self.note(latent, How::Dense, &[b, matrix, shrink, root]);
        // L⁻ᵀ (L⁻¹ b + ε)
        let halves = self.e.scaled(&scale, half);
        let log_scale = self.total(&halves);
        let log_scale = super::expand::plus(self.e.joint_mut(), log, log_scale);
        let noise = self.drawn(latent, own, log_scale);
        let located = self.times(shrink, solved);
        let shifted = self.binary(BinOp::Add, located, noise);
        let shifted = self.times(root, shifted);
        let shifted = self.definition(format!("whitened {name}"), own, shifted);
        let operands = vec![factor, self.read(shifted.slot, own)];
        let function = crate::hir::MatrixFn::Solve { transposed: true };
        let z = self.e.joint_mut().intern(Node::Matrix { function, operands });
        self.draws.push(vec![shifted, Def::new(latent.slot, own.to_vec(), z, Default::default())]);
    }

    /// Products of the same factors as one.
    pub(super) fn added(&mut self, pieces: Poly) -> Poly {
        let mut out: Poly = vec![];
        for m in pieces {
            match out.iter_mut().find(|o| o.filter == m.filter && o.factors == m.factors) {
                Some(o) => o.data = super::expand::plus(self.e.joint_mut(), o.data, m.data),
                None => out.push(m),
            }
        }
        out
    }

    /// The dimension of a latent along which every cell stands in products with itself and the one before only.
    pub fn chain_of(&self, latent: &Unconstrained) -> Option<usize> {
        let dims = self.e.joint().slot(latent.slot).dims.len();
        let mut found = None;
        for e in &self.entries {
            let cells = self.cells(&e.m, latent.slot);
            let [a, b] = cells.as_slice() else { continue };
            let (a, b) = (self.index_of(a.base), self.index_of(b.base));
            let along = (0..dims).find(|&d| self.steps(&a[d], &b[d]) || self.steps(&b[d], &a[d]))?;
            let same = (0..dims).all(|d| d == along || a[d] == b[d] && matches!(a[d], Ix::Axis(_)));
            if !same || found.is_some_and(|f| f != along) {
                return None;
            }
            found = Some(along);
        }
        found
    }

    /// Whether an index is the current cell of an axis and the other the one before.
    fn steps(&self, now: &Ix, before: &Ix) -> bool {
        let (Ix::Axis(t), Ix::At(n)) = (now, before) else { return false };
        let joint = self.e.joint();
        match *joint.node(*n) {
            Node::Binary(BinOp::Sub, a, b) => *joint.node(a) == Node::Position(*t) && joint.is_constant(b, 1.0),
            Node::Binary(BinOp::Add, a, b) => *joint.node(a) == Node::Position(*t) && joint.is_constant(b, -1.0),
            _ => false,
        }
    }

    /// Integrate out a latent along whose dimension `along` each cell depends on the one before: from the first cell on,
    /// each leaves its precision and location to the next (Kalman filter in information form), and the draw comes back.
    pub fn as_a_chain(&mut self, latent: &Unconstrained, along: usize) {
        let plates = self.e.joint().slot(latent.slot).dims.clone();
        let target = self.fresh(&plates);
        let t = target[along];
        let name = self.e.joint().slot(latent.slot).name.clone();
        let (minus, minus_two) = (self.constant(-1.0), self.constant(-2.0));
        let taken = self.take(latent.slot);
        // The transition: one product of neighbours, with the squares of both under the same condition.
        let pairs: Vec<(Vec<Ix>, Vec<Ix>, Option<NodeId>)> = taken
            .iter()
            .filter(|(cells, _)| cells.len() == 2)
            .map(|(cells, m)| {
                let (a, b) = (self.index_of(cells[0].base), self.index_of(cells[1].base));
                let (now, before) = if self.steps(&a[along], &b[along]) { (a, b) } else { (b, a) };
                (now, before, m.filter)
            })
            .collect();
        let squares_at = |work: &Self, index: &[Ix], filter: Option<NodeId>| {
            let at = |(cells, m): &&(Vec<Factor>, Mono)| {
                cells.len() == 1 && cells[0].power == 2.0 && m.filter == filter && work.index_of(cells[0].base) == index
            };
            taken.iter().filter(at).count()
        };
        let single = match pairs.as_slice() {
            [(now, before, filter)] => squares_at(self, now, *filter) == 1 && squares_at(self, before, *filter) == 1,
            _ => false,
        };
        let [mut linear, mut own, mut after, mut earlier, mut cross]: [Poly; 5] = Default::default();
        for (cells, m) in taken {
            let index = self.index_of(cells[0].base);
            if cells.len() == 2 {
                let data = self.times(minus, m.data);
                let now = pairs.iter().find(|p| p.0 == index || p.1 == index).map_or(index, |p| p.0.clone());
                cross.push(self.gather(&Mono { data, ..m }, &now, &target, false));
                continue;
            }
            if cells[0].power == 1.0 {
                linear.push(self.gather(&m, &index, &target, false));
                continue;
            }
            let data = self.times(minus_two, m.data);
            let m = Mono { data, ..m };
            match pairs.first() {
                Some((now, _, filter)) if single && *filter == m.filter && *now == index => {
                    after.push(self.gather(&m, &index, &target, false));
                }
                Some((now, before, filter)) if single && *filter == m.filter && *before == index => {
                    let now = now.clone();
                    earlier.push(self.gather(&m, &now, &target, false));
                }
                _ => own.push(self.gather(&m, &index, &target, false)),
            }
        }
        // The determinant of the transition's own precision, which is 0 for any step of one number: as a difference it
        // would leave rounding errors as large as the step is small.
        let degenerate = match (after.as_slice(), earlier.as_slice(), cross.as_slice()) {
            ([r], [q], [j]) => {
                let (both, square) = (self.e.product_of(r, q), self.e.product_of(j, j));
                (both.factors == square.factors).then_some((both, square))
            }
            _ => None,
        };
        let determinant = degenerate.map(|(both, square)| {
            let off = self.binary(BinOp::Sub, both.data, square.data);
            let (size, tiny, zero) = (self.unary(UnOp::Abs, off), self.constant(1e-9), self.constant(0.0));
            let limit = self.times(tiny, both.data);
            let is_zero = self.binary(BinOp::LessEq, size, limit);
            let data = self.e.joint_mut().intern(Node::Select(is_zero, zero, off));
            vec![Mono { data, ..both }]
        });
        let stored = |work: &mut Self, what: &str, pieces: Poly| {
            let pieces = work.added(pieces);
            let value = work.total(&pieces);
            let slot = work.define(format!("{what} of {name}"), &target, value);
            (slot, work.read(slot, &target))
        };
        let (_, own) = stored(self, "own precision", own);
        let (_, r) = stored(self, "precision of the step", after);
        let (q_slot, q) = stored(self, "precision of the step before", earlier);
        let (cross_slot, cross) = stored(self, "cross precision", cross);
        let (_, b) = stored(self, "own location", linear);
        let determinant = match determinant {
            Some(d) => stored(self, "determinant of the step", d).1,
            None => {
                let (both, square) = (self.times(r, q), self.times(cross, cross));
                self.binary(BinOp::Sub, both, square)
            }
        };
        // Forwards.
        let position = self.e.joint_mut().intern(Node::Position(t));
        let (zero, one) = (self.constant(0.0), self.constant(1.0));
        let first = self.binary(BinOp::Equal, position, zero);
        let before = self.binary(BinOp::Sub, position, one);
        let at = |n: NodeId| -> Vec<Ix> {
            target.iter().enumerate().map(|(d, a)| if d == along { Ix::At(n) } else { Ix::Axis(*a) }).collect()
        };
        let [precision, location] = ["precision", "location"]
            .map(|what| self.slot(format!("{what} of {name} so far"), plates.clone(), SlotKind::Defined));
        let earlier = |work: &mut Self, slot| work.e.joint_mut().intern(Node::Read { slot, index: at(before) });
        let (p, h) = (earlier(self, precision), earlier(self, location));
        // What the cell before knows, and what it is eliminated with.
        let with_step = self.binary(BinOp::Add, p, q);
        let known = self.times(r, p);
        let known = self.binary(BinOp::Add, known, determinant);
        let known = self.binary(BinOp::Div, known, with_step);
        let known = self.e.joint_mut().intern(Node::Select(first, r, known));
        let p = self.binary(BinOp::Add, own, known);
        let ratio = self.binary(BinOp::Div, cross, with_step);
        let moved = self.times(ratio, h);
        let moved = self.e.joint_mut().intern(Node::Select(first, zero, moved));
        let h = self.binary(BinOp::Sub, b, moved);
        let mut on: BTreeSet<SlotId> = self.e.on(own).as_ref().clone();
        for n in [r, q, cross, determinant] {
            on.extend(self.e.on(n).iter());
        }
        self.e.depend(precision, on.clone());
        on.extend(self.e.on(b).iter());
        self.e.depend(location, on);
        let group = u32::MAX - 2 * self.draws.len() as u32;
        let walk = |backwards, group| Some(Walk { axis: t, order: None, backwards, group });
        for (slot, value) in [(precision, p), (location, h)] {
            self.defs
                .push(Def { walk: walk(false, group), ..Def::new(slot, target.clone(), value, Default::default()) });
        }
        let (known, h) = (self.read(precision, &target), self.read(location, &target));
        let size = self.e.joint_mut().intern(Node::Size(plates[along]));
        let end = self.binary(BinOp::Sub, size, one);
        let last = self.binary(BinOp::Equal, position, end);
        let next = self.binary(BinOp::Add, position, one);
        let step = self.e.joint_mut().intern(Node::Read { slot: q_slot, index: at(next) });
        let step = self.e.joint_mut().intern(Node::Select(last, zero, step));
        let p = self.binary(BinOp::Add, known, step);
        let p = self.define(format!("precision of {name}"), &target, p);
        let p = self.read(p, &target);
        let log = self.unary(UnOp::Log, p);
        let from = self.source(latent);
        self.touched.insert(from);
        let square = self.times(h, h);
        let square = self.binary(BinOp::Div, square, p);
        let (half, minus_half) = (self.constant(0.5), self.constant(-0.5));
        let product = |data, factors| Mono { axes: vec![], filter: None, data, factors };
        for (value, by) in [(square, half), (log, minus_half)] {
            let m = match self.e.is_data(value) {
                true => product(self.times(by, value), vec![]),
                false => product(by, vec![Factor { base: value, power: 1.0 }]),
            };
            self.leave(m, &target, from);
        }
        self.leave(product(self.half_log, vec![]), &target, from);
        self.note(latent, How::Chain, &[p, h]);
        // And back: z[t] given z[t + 1].
        let log_scale = self.times(half, log);
        let noise = self.drawn(latent, &target, log_scale);
        let cross = self.e.joint_mut().intern(Node::Read { slot: cross_slot, index: at(next) });
        let later = self.e.joint_mut().intern(Node::Read { slot: latent.slot, index: at(next) });
        let owed = self.times(cross, later);
        let owed = self.e.joint_mut().intern(Node::Select(last, zero, owed));
        let location = self.binary(BinOp::Sub, h, owed);
        let root = self.unary(UnOp::Sqrt, p);
        let scaled = self.times(noise, root);
        let both = self.binary(BinOp::Add, location, scaled);
        let z = self.binary(BinOp::Div, both, p);
        let walk = walk(true, group - 1);
        self.draws.push(vec![Def { walk, ..Def::new(latent.slot, target, z, Default::default()) }]);
    }
}
