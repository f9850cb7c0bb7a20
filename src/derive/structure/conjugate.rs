//! Latents whose conditional density is of a family with a known integral, integrated out.
//!
//! On the unconstrained scale u, with the log-Jacobian among the terms:
//!
//! - x = exp(u): a u − b exp(p u), and ∫ = Γ(a/p) b^(−a/p) / |p|. Gamma for p = 1, inverse gamma for p = −1.
//! - x = σ(u): a u − n softplus(u), and ∫ = B(a, n − a). Beta.
//! - a covariance or precision matrix: in `wishart`
//! - a simplex x of K cells: Σ α[k] log x[k], and ∫ = Π Γ(α[k]) / Γ(Σ α) / √K over isometric log-ratios. Dirichlet.
//!
//! Draws are made from logs of gamma draws, each of which is a quantile of one standard normal number.

use super::expand::{Factor, Mono, Poly};
use super::work::{How, Work};
use crate::derive::joint::*;

/// How a cell of a latent stands in a product.
#[derive(Clone, PartialEq, Debug)]
enum Statistic {
    /// u
    Log,
    /// exp(p u)
    Power(f64),
    /// softplus(u)
    Rest,
    /// log x[k] of a simplex
    Share,
}

/// The family, by its statistics.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Form {
    Gamma(f64),
    Beta,
    Dirichlet,
}

impl Work<'_> {
    /// The definition of the simplex that a slot of log-ratios makes.
    fn simplex_of(&self, z: SlotId) -> Option<SlotId> {
        let joint = self.e.joint();
        let var = joint.unconstrained.iter().find(|u| u.slot == z)?.var;
        let def = joint.defs.iter().find(|d| d.var == Some(var))?;
        let apart = joint.slot(def.slot).dims.last() != joint.slot(z).dims.last();
        (apart && matches!(joint.node(def.value), Node::Unary(UnOp::Exp, _))).then_some(def.slot)
    }

    fn statistic(&self, f: &Factor, z: SlotId) -> Option<(Statistic, Vec<Ix>)> {
        let own = |n: NodeId| self.e.cell(n).filter(|c| c.0 == z).map(|c| c.1.to_vec());
        if let Some(index) = own(f.base) {
            return (f.power == 1.0).then_some((Statistic::Log, index));
        }
        match *self.e.joint().node(f.base) {
            Node::Unary(UnOp::Exp, u) => Some((Statistic::Power(f.power), own(u)?)),
            Node::Unary(UnOp::Softplus, u) if f.power == 1.0 => Some((Statistic::Rest, own(u)?)),
            Node::Unary(UnOp::Log, x) if f.power == 1.0 => match self.e.joint().node(x) {
                Node::Read { slot, index } if Some(*slot) == self.simplex_of(z) => {
                    Some((Statistic::Share, index.clone()))
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// The family of a latent given the rest, if it has one; else the source of a product that stands in the way.
    fn form(&mut self, z: SlotId) -> Result<Form, usize> {
        let mut found: Vec<Statistic> = vec![];
        let mut last = 0;
        for i in 0..self.entries.len() {
            let factors = self.entries[i].m.factors.clone();
            let mine: Vec<Factor> = factors.into_iter().filter(|f| self.e.on(f.base).contains(&z)).collect();
            let from = self.entries[i].from;
            match mine.as_slice() {
                [] => {}
                [f] => match self.statistic(f, z) {
                    Some((s, _)) if found.contains(&s) => {}
                    Some((s, _)) => {
                        last = from;
                        found.push(s);
                    }
                    None => return Err(from),
                },
                _ => return Err(from),
            }
        }
        let has = |s: &Statistic| found.contains(s);
        match found.as_slice() {
            [Statistic::Share] => Ok(Form::Dirichlet),
            _ if has(&Statistic::Log) && has(&Statistic::Rest) && found.len() == 2 => Ok(Form::Beta),
            [Statistic::Log, Statistic::Power(p)] | [Statistic::Power(p), Statistic::Log] => Ok(Form::Gamma(*p)),
            _ => Err(last),
        }
    }

    pub fn is_conjugate(&mut self, latent: &Unconstrained) -> bool {
        self.in_the_way(latent.slot).is_none()
    }

    /// The source of a product that keeps a latent from being conjugate.
    pub fn in_the_way(&mut self, z: SlotId) -> Option<usize> {
        match self.e.root_of(z) {
            Some(_) => self.covariance(z).err(),
            None => self.form(z).err(),
        }
    }

    /// Integrate out a latent whose conditional is of a known family.
    pub fn by_family(&mut self, latent: &Unconstrained) {
        let z = latent.slot;
        if self.e.root_of(z).is_some() {
            return self.by_wishart(latent);
        }
        let form = self.form(z).expect("asked before");
        let simplex = self.simplex_of(z).filter(|_| form == Form::Dirichlet);
        let plates = self.e.joint().slot(simplex.unwrap_or(z)).dims.clone();
        let target = self.fresh(&plates);
        let name = self.e.joint().slot(z).name.clone();
        // Coefficients of the first statistic (u, or log x) and of the other.
        let mut parts: [Poly; 2] = [vec![], vec![]];
        for entry in std::mem::take(&mut self.entries) {
            let on: Vec<bool> = entry.m.factors.iter().map(|f| self.e.on(f.base).contains(&z)).collect();
            let Some(at) = on.iter().position(|o| *o) else {
                self.entries.push(entry);
                continue;
            };
            self.touched.insert(entry.from);
            let (statistic, index) = self.statistic(&entry.m.factors[at], z).expect("its family was found");
            let mut m = entry.m;
            m.factors.remove(at);
            let piece = self.gather(&m, &index, &target, false);
            parts[usize::from(!matches!(statistic, Statistic::Log | Statistic::Share))].push(piece);
        }
        let [first, other] = parts.map(|p| {
            let p = self.added(p);
            self.total(&p)
        });
        let minus = self.constant(-1.0);
        let from = self.source(latent);
        self.touched.insert(from);
        match form {
            Form::Gamma(p) => {
                let by = self.constant(1.0 / p);
                let shape = self.times(by, first);
                let rate = self.times(minus, other);
                let shape = self.stored(format!("shape of {name}"), &target, shape);
                let rate = self.stored(format!("rate of {name}"), &target, rate);
                // log Γ(A) − A log b − log |p|
                let log_rate = self.unary(UnOp::Log, rate);
                let gamma = self.unary(UnOp::Lgamma, shape);
                let less = self.times(shape, log_rate);
                let scale = self.constant(p.abs().ln());
                let less = super::expand::plus(self.e.joint_mut(), less, scale);
                let total = self.binary(BinOp::Sub, gamma, less);
                self.remain(total, &target, from);
                self.note(latent, How::Family("gamma"), &[shape, rate]);
                let noise = self.noise(latent, "", &target);
                let log = self.binary(BinOp::LogGammaDraw, shape, noise);
                let log = self.binary(BinOp::Sub, log, log_rate);
                let u = self.times(by, log);
                let drawn = self.read(z, &target);
                let exponent = self.constant(p);
                let inside = self.times(exponent, drawn);
                let power = self.unary(UnOp::Exp, inside);
                // a u − b exp(p u) − the log of the integral
                let a = self.times(exponent, shape);
                let (left, right) = (self.times(a, drawn), self.times(rate, power));
                let density = self.binary(BinOp::Sub, left, right);
                let density = self.binary(BinOp::Sub, density, total);
                self.density(latent, &target, density);
                self.draws.push(vec![Def::new(z, target, u, Default::default())]);
            }
            Form::Beta => {
                let count = self.times(minus, other);
                let rest = self.binary(BinOp::Sub, count, first);
                let a = self.stored(format!("first shape of {name}"), &target, first);
                let b = self.stored(format!("second shape of {name}"), &target, rest);
                let both = self.binary(BinOp::Add, a, b);
                let [ga, gb, gab] = [a, b, both].map(|n| self.unary(UnOp::Lgamma, n));
                let sum = self.binary(BinOp::Add, ga, gb);
                let total = self.binary(BinOp::Sub, sum, gab);
                self.remain(total, &target, from);
                self.note(latent, How::Family("beta"), &[a, b]);
                let (x, y) = (self.noise(latent, "", &target), self.noise(latent, " too", &target));
                let (x, y) = (self.binary(BinOp::LogGammaDraw, a, x), self.binary(BinOp::LogGammaDraw, b, y));
                let u = self.binary(BinOp::Sub, x, y);
                let drawn = self.read(z, &target);
                let soft = self.unary(UnOp::Softplus, drawn);
                let (left, right) = (self.times(a, drawn), self.times(both, soft));
                let density = self.binary(BinOp::Sub, left, right);
                let density = self.binary(BinOp::Sub, density, total);
                self.density(latent, &target, density);
                self.draws.push(vec![Def::new(z, target, u, Default::default())]);
            }
            Form::Dirichlet => {
                let alpha = self.stored(format!("shapes of {name}"), &target, first);
                let (k, outer) = target.split_last().expect("a simplex runs over a plate");
                let over = |work: &mut Self, body| {
                    work.e.joint_mut().intern(Node::Reduce { op: Fold::Sum, axes: vec![*k], filter: None, body })
                };
                let each = self.unary(UnOp::Lgamma, alpha);
                let (each, all) = (over(self, each), over(self, alpha));
                let all = self.unary(UnOp::Lgamma, all);
                let size = self.e.joint_mut().intern(Node::Size(plates[plates.len() - 1]));
                let log_size = self.unary(UnOp::Log, size);
                let half = self.constant(0.5);
                let root = self.times(half, log_size);
                let total = self.binary(BinOp::Sub, each, all);
                let total = self.binary(BinOp::Sub, total, root);
                let total = self.stored(format!("integral of {name}"), outer, total);
                self.remain(total, outer, from);
                self.note(latent, How::Family("Dirichlet"), &[alpha]);
                // y = the logs of gamma draws; u = Vᵀ y, log x = y − log Σ exp(y)
                let noise = self.noise(latent, "", &target);
                let log = self.binary(BinOp::LogGammaDraw, alpha, noise);
                let y = self.definition(format!("logs of draws for {name}"), &target, log);
                let y_read = self.read(y.slot, &target);
                let free = *self.e.joint().slot(z).dims.last().expect("as many as the simplex, less one");
                let dims = vec![plates[plates.len() - 1], free];
                let basis = Slot {
                    name: format!("log-ratio basis of {name}"),
                    dims: dims.clone(),
                    kind: SlotKind::Table(Table::IlrBasis),
                };
                let basis = self.slot(basis.name, dims, basis.kind);
                let f = self.fresh(&[free])[0];
                let v = self.read(basis, &[*k, f]);
                let body = self.times(v, y_read);
                let u = over(self, body);
                let lse = Node::Reduce { op: Fold::LogSumExp, axes: vec![*k], filter: None, body: y_read };
                let lse = self.e.joint_mut().intern(lse);
                let log_x = self.binary(BinOp::Sub, y_read, lse);
                let body = self.times(alpha, log_x);
                let kernel = over(self, body);
                let density = self.binary(BinOp::Sub, kernel, total);
                let outer = outer.to_vec();
                self.density(latent, &outer, density);
                let mut axes = outer;
                axes.push(f);
                self.draws.push(vec![y, Def::new(z, axes, u, Default::default())]);
            }
        }
    }

    /// A read of a definition of this value.
    pub(super) fn stored(&mut self, name: String, axes: &[crate::hir::AxisId], value: NodeId) -> NodeId {
        let slot = self.define(name, axes, value);
        self.read(slot, axes)
    }

    /// Leave a number per cell.
    pub(super) fn remain(&mut self, value: NodeId, axes: &[crate::hir::AxisId], from: usize) {
        let one = self.constant(1.0);
        let m = match self.e.is_data(value) {
            true => Mono { axes: vec![], filter: None, data: value, factors: vec![] },
            false => Mono { axes: vec![], filter: None, data: one, factors: vec![Factor { base: value, power: 1.0 }] },
        };
        self.leave(m, axes, from);
    }
}
