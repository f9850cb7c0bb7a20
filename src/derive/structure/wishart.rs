//! Latent covariance and precision matrices whose conditional is Wishart or inverse Wishart, integrated out.
//!
//! With X = L Lᵀ and p rows, a product of the log joint has of X a cell of log |X| = 2 Σ log L[i,i], of X (two cells of L, summed
//! over their column) or of X⁻¹ (two cells of L⁻¹, summed over their row). Together these are a log |X| − tr(T X), and
//! ∫ exp dX = |T|^(−ν/2) Γₚ(ν/2) with ν = 2a + p + 1; or a log |X| − tr(T X⁻¹), where ν = −2a − p − 1 (Gupta and Nagar 2000,
//! sections 3.2 and 3.4). The coordinates are those of L: |dX / dL| = 2ᵖ Π L[i,i]^(p − i + 1).
//!
//! Draws are by Bartlett's decomposition: with T = K Kᵀ and A lower triangular, A[i,i]² ~ χ²(ν − i), A[i,j] ~ N(0, 1) below,
//! ½ K⁻ᵀ A Aᵀ K⁻¹ is the first, 2 K A⁻ᵀ A⁻¹ Kᵀ the second.

use super::expand::{Factor, Mono, Poly};
use super::work::{How, Work};
use crate::derive::joint::*;
use crate::hir::{AxisId, MatrixFn};

/// What a product has of a latent matrix.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Of {
    /// A cell of the diagonal of its factor, in a logarithm.
    Log,
    /// A cell of it.
    Itself,
    /// A cell of its inverse.
    Inverse,
    /// The log-Jacobian.
    Jacobian,
}

impl Work<'_> {
    /// What a product has of a latent matrix, the cell, and the rest of the product; `None`: nothing that is known.
    fn of_covariance(&mut self, m: &Mono, from: usize, z: SlotId) -> Option<(Of, Vec<Ix>, Mono)> {
        let (root, inverse) = self.e.root_of(z).map(|(s, r)| (s, r.inverse))?;
        let on: Vec<bool> = m.factors.iter().map(|f| self.e.on(f.base).contains(&z)).collect();
        let mine: Vec<Factor> = m.factors.iter().zip(&on).filter(|(_, on)| **on).map(|(f, _)| *f).collect();
        let rest = m.factors.iter().zip(&on).filter(|(_, on)| !**on).map(|(f, _)| *f).collect();
        let rest = Mono { factors: rest, ..m.clone() };
        let joint = self.e.joint();
        let read = |n: NodeId| match joint.node(n) {
            Node::Read { slot, index } => Some((*slot, index.clone())),
            _ => None,
        };
        let (a, b) = match mine.as_slice() {
            [f] if f.power == 2.0 => (f.base, f.base),
            [f, g] if f.power == 1.0 && g.power == 1.0 => (f.base, g.base),
            [f] if f.power == 1.0 => {
                if let Node::Unary(UnOp::Log, inside) = *joint.node(f.base) {
                    let (slot, mut index) = read(inside)?;
                    let (i, j) = (index.pop()?, index.pop()?);
                    index.push(i.clone());
                    return (slot == root && i == j).then_some((Of::Log, index, rest));
                }
                let jacobian = self.e.cell(f.base).is_some() && self.sources[from].1 == TermKind::Jacobian;
                return jacobian.then_some((Of::Jacobian, vec![], rest));
            }
            _ => return None,
        };
        let ((slot, first), (other, second)) = (read(a)?, read(b)?);
        let n = first.len() - 2;
        // Rows, columns and what else it varies over; the axis that the two share is summed.
        let (of, [i, j], shared, outer) = match slot {
            _ if slot != other => return None,
            s if s == root => {
                let same = first[..n] == second[..n] && first[n + 1] == second[n + 1];
                let cells = [first[n].clone(), second[n].clone()];
                (Of::Itself, cells, same.then(|| first[n + 1].clone()), first[..n].to_vec())
            }
            s if Some(s) == inverse => {
                let same = first[2..] == second[2..] && first[0] == second[0];
                let cells = [first[1].clone(), second[1].clone()];
                (Of::Inverse, cells, same.then(|| first[0].clone()), first[2..].to_vec())
            }
            _ => return None,
        };
        let Ix::Axis(summed) = shared? else { return None };
        let index = [outer, vec![i, j]].concat();
        let elsewhere = |n: &NodeId| self.e.joint().varies_over(*n, summed);
        let free = |ix: &Ix| match ix {
            Ix::Axis(a) => *a != summed,
            Ix::At(n) => !elsewhere(n),
            Ix::Label(..) => true,
        };
        let alone = !rest.factors.iter().any(|f| elsewhere(&f.base))
            && !elsewhere(&rest.data)
            && !rest.filter.as_ref().is_some_and(elsewhere)
            && index.iter().all(free)
            && rest.axes.contains(&summed);
        let axes = rest.axes.iter().copied().filter(|a| *a != summed).collect();
        alone.then_some((of, index, Mono { axes, ..rest }))
    }

    /// Whether it is X or its inverse that a latent matrix has in the log joint; else the source of a product that stands in
    /// the way.
    pub(super) fn covariance(&mut self, z: SlotId) -> Result<Of, usize> {
        let (mut found, mut last) = (None, 0);
        for i in 0..self.entries.len() {
            let super::work::Entry { m, from } = self.entries[i].clone();
            if !m.factors.iter().any(|f| self.e.on(f.base).contains(&z)) {
                continue;
            }
            match self.of_covariance(&m, from, z) {
                Some((Of::Log | Of::Jacobian, ..)) => last = from,
                Some((of, ..)) if found.is_none_or(|f| f == of) => found = Some(of),
                _ => return Err(from),
            }
        }
        found.ok_or(last)
    }

    /// Integrate out a latent matrix.
    pub(super) fn by_wishart(&mut self, latent: &Unconstrained) {
        let z = latent.slot;
        let form = self.covariance(z).expect("asked before");
        let (root, _) = self.e.root_of(z).expect("asked before");
        let plates = self.e.joint().slot(root).dims.clone();
        let plate = plates[plates.len() - 1];
        let name = self.e.hir().var(latent.var).name.clone();
        let target = self.fresh(&plates);
        let [outer @ .., i, j] = target.as_slice() else { unreachable!("a matrix has rows and columns") };
        let (i, j) = (*i, *j);
        let diagonal = [outer, &[i]].concat();
        let whole = [&[i, j][..], outer].concat();
        let (mut logs, mut squares): (Poly, Poly) = (vec![], vec![]);
        let minus_half = self.constant(-0.5);
        for entry in std::mem::take(&mut self.entries) {
            if !entry.m.factors.iter().any(|f| self.e.on(f.base).contains(&z)) {
                self.entries.push(entry);
                continue;
            }
            self.touched.insert(entry.from);
            let (of, index, m) = self.of_covariance(&entry.m, entry.from, z).expect("its family was found");
            match of {
                Of::Jacobian => {}
                Of::Log => logs.push(self.gather(&m, &index, &diagonal, false)),
                Of::Itself | Of::Inverse => {
                    let data = self.times(minus_half, m.data);
                    let m = Mono { data, ..m };
                    let (last, n) = (index.len() - 1, index.len() - 2);
                    let swapped = [&index[..n], &[index[last].clone(), index[n].clone()]].concat();
                    squares.push(self.gather(&m, &index, &target, false));
                    squares.push(self.gather(&m, &swapped, &target, false));
                }
            }
        }
        let (logs, squares) = (self.added(logs), self.added(squares));
        let (logs, t) = (self.total(&logs), self.total(&squares));
        let size = self.e.joint_mut().intern(Node::Size(plate));
        let (one, half) = (self.constant(1.0), self.constant(0.5));
        // 2a, on average over the rows, for which it is one number.
        let twice = self.over(i, logs);
        let twice = self.binary(BinOp::Div, twice, size);
        let twice = self.stored(format!("power of {name}"), outer, twice);
        let more = self.binary(BinOp::Add, size, one);
        let dof = match form {
            Of::Inverse => {
                let minus = self.unary(UnOp::Neg, twice);
                self.binary(BinOp::Sub, minus, more)
            }
            _ => self.binary(BinOp::Add, twice, more),
        };
        let dof = self.stored(format!("degrees of freedom of {name}"), outer, dof);
        let t = self.stored(format!("scale of {name}"), &whole, t);
        let k = Node::Matrix { function: MatrixFn::Cholesky, operands: vec![t] };
        let k = self.e.joint_mut().intern(k);
        let k_slot = self.define(format!("factor of the scale of {name}"), &whole, k);
        let k = self.read(k_slot, &whole);
        // log Γₚ(ν/2) − ν Σ log K[i,i] − p log 2, of which the last is that of the Jacobian.
        let on_diagonal = [&[Ix::Axis(i), Ix::Axis(i)][..], &outer.iter().map(|a| Ix::Axis(*a)).collect::<Vec<_>>()];
        let on_diagonal = on_diagonal.concat();
        let root_cell = self.e.joint_mut().intern(Node::Read { slot: k_slot, index: on_diagonal.clone() });
        let position = self.e.joint_mut().intern(Node::Position(i));
        let shape = self.binary(BinOp::Sub, dof, position);
        let shape = self.times(half, shape);
        let gamma = self.unary(UnOp::Lgamma, shape);
        let log = self.unary(UnOp::Log, root_cell);
        let log = self.times(dof, log);
        let each = self.binary(BinOp::Sub, gamma, log);
        let less = self.binary(BinOp::Sub, size, one);
        let quarter = self.constant(0.25 * std::f64::consts::PI.ln());
        let shared = self.times(quarter, less);
        let log_two = self.constant(std::f64::consts::LN_2);
        let shared = self.binary(BinOp::Sub, shared, log_two);
        let each = self.binary(BinOp::Add, each, shared);
        let total = self.over(i, each);
        let total = self.stored(format!("integral of {name}"), outer, total);
        let from = self.source(latent);
        self.touched.insert(from);
        self.remain(total, outer, from);
        let family = if form == Of::Inverse { "inverse Wishart" } else { "Wishart" };
        self.note(latent, How::Family(family), &[dof, t]);

        // The draw.
        let shape = self.stored(format!("shapes of {name}"), &diagonal, shape);
        let chi = self.noise(latent, " on the diagonal", &diagonal);
        let below = self.noise(latent, "", &target);
        let log_gamma = self.binary(BinOp::LogGammaDraw, shape, chi);
        let (log_gamma, log_two) = (self.times(half, log_gamma), self.constant(0.5 * std::f64::consts::LN_2));
        let log_root = self.binary(BinOp::Add, log_gamma, log_two);
        let chi = self.unary(UnOp::Exp, log_root);
        let (row, column) = (position, self.e.joint_mut().intern(Node::Position(j)));
        let is_diagonal = self.binary(BinOp::Equal, row, column);
        let is_below = self.binary(BinOp::Less, column, row);
        let zero = self.constant(0.0);
        let triangle = |work: &mut Self, diagonal, below| {
            let rest = work.e.joint_mut().intern(Node::Select(is_below, below, zero));
            work.e.joint_mut().intern(Node::Select(is_diagonal, diagonal, rest))
        };
        let a = triangle(self, chi, below);
        let a = self.definition(format!("Bartlett factor of {name}"), &whole, a);
        let a_read = self.read(a.slot, &whole);
        let mut made = vec![];
        // M with X = c Σ over m of M[i,m] M[j,m], or with the two indices the other way round.
        let (operands, transposed, by) = match form {
            Of::Inverse => {
                let turned = [&[j, i][..], outer].concat();
                let turned = self.read(k_slot, &turned);
                let turned = self.definition(format!("turned factor of the scale of {name}"), &whole, turned);
                let turned_read = self.read(turned.slot, &whole);
                made.push(turned);
                (vec![a_read, turned_read], false, 2.0)
            }
            _ => (vec![k, a_read], true, 0.5),
        };
        let solved = Node::Matrix { function: MatrixFn::Solve { transposed }, operands };
        let solved = self.e.joint_mut().intern(solved);
        let solved = self.definition(format!("root of {name}"), &whole, solved);
        let m = self.fresh(&[plate])[0];
        let cell = |work: &mut Self, of: AxisId| {
            let own = if form == Of::Inverse { [m, of] } else { [of, m] };
            work.read(solved.slot, &[&own[..], outer].concat())
        };
        let (left, right) = (cell(self, i), cell(self, j));
        let product = self.times(left, right);
        let product = self.over(m, product);
        let by = self.constant(by);
        let x = self.times(by, product);
        let x = self.definition(format!("{name} drawn"), &whole, x);
        let x_read = self.read(x.slot, &whole);
        let l = Node::Matrix { function: MatrixFn::Cholesky, operands: vec![x_read] };
        let l = self.e.joint_mut().intern(l);
        let l = self.definition(format!("factor of {name} drawn"), &whole, l);
        let l_cell = self.read(l.slot, &whole);
        let log = self.unary(UnOp::Log, l_cell);
        let u = triangle(self, log, l_cell);
        let next = self.binary(BinOp::Add, row, one);
        let before = self.times(row, next);
        let before = self.times(half, before);
        let at = self.binary(BinOp::Add, before, column);
        let index = outer.iter().map(|a| Ix::Axis(*a)).chain([Ix::At(at)]).collect();
        let filter = Some(self.binary(BinOp::LessEq, column, row));
        let u = Def { scatter: Some(Scatter { index, filter }), ..Def::new(z, target.clone(), u, Default::default()) };
        // a log |X| + log |dL / du| + what |dX / dL| has beside 2ᵖ, − ½ Σ A², − the log of the integral.
        let l_diagonal = self.e.joint_mut().intern(Node::Read { slot: l.slot, index: on_diagonal });
        let log = self.unary(UnOp::Log, l_diagonal);
        let power = self.binary(BinOp::Sub, more, row);
        let power = self.binary(BinOp::Add, twice, power);
        let kernel = self.times(power, log);
        let kernel = self.over(i, kernel);
        let square = self.times(a_read, a_read);
        let trace = self.over(j, square);
        let trace = self.over(i, trace);
        let trace = self.times(half, trace);
        let density = self.binary(BinOp::Sub, kernel, trace);
        let density = self.binary(BinOp::Sub, density, total);
        self.density(latent, outer, density);
        made.insert(0, a);
        made.extend([solved, x, l, u]);
        self.draws.push(made);
    }

    /// The sum along an axis.
    fn over(&mut self, axis: AxisId, body: NodeId) -> NodeId {
        self.e.joint_mut().intern(Node::Reduce { op: Fold::Sum, axes: vec![axis], filter: None, body })
    }
}
