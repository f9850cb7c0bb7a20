//! Values that are computed from others cell by cell, where there is no kernel for them: those that depend on drawn
//! discrete latents, and positions.

use std::collections::{HashMap, HashSet};

use super::discrete::draw_discrete;
use super::draw::labels_exist;
use crate::check::walk;
use crate::data::Bound;
use crate::diag::Diagnostic;
use crate::hir::{Expr, ExprKind, Hir, Step, Ty, VarId, VarKind};
use crate::infer::Stream;
use crate::run::sample::{Cells, Sampler};

/// What a variable is in one draw.
pub type Numbers<'v> = &'v dyn Fn(VarId) -> Vec<f64>;

/// Lets and reports that have no kernel, with all that they are computed from.
pub struct Computed<'a> {
    hir: &'a Hir,
    bound: &'a Bound,
    /// In the order of the program.
    steps: Vec<(VarId, &'a Expr)>,
    /// What else they read.
    read: HashSet<VarId>,
}

impl<'a> Computed<'a> {
    /// What gives the values of `wanted`: `stored` says whose values are known at a draw of the continuous latents. The
    /// error names a label that the data lack.
    pub fn new(
        hir: &'a Hir,
        bound: &'a Bound,
        wanted: &[VarId],
        stored: &dyn Fn(VarId) -> bool,
    ) -> Result<Computed<'a>, Diagnostic> {
        let mut needed: HashSet<VarId> = wanted.iter().copied().collect();
        let mut steps = vec![];
        for step in hir.steps.iter().rev() {
            let Step::Let { var, value, .. } = step else { continue };
            if needed.contains(var) && !stored(*var) {
                steps.push((*var, value));
                walk(value, &mut |e| {
                    if let ExprKind::Read { var, .. } = &e.kind {
                        needed.insert(*var);
                    }
                });
            }
        }
        steps.reverse();
        if !steps.is_empty() {
            labels_exist(hir, bound)?;
        }
        for m in &hir.missing {
            if needed.contains(&m.column) {
                needed.insert(m.cells);
            }
        }
        let given = |v: &VarId| !matches!(hir.var(*v).kind, VarKind::Mask { .. }) && steps.iter().all(|s| s.0 != *v);
        let read = needed.into_iter().filter(given).collect();
        Ok(Computed { hir, bound, steps, read })
    }

    /// Call `each` with the number of a draw and the values of everything wanted, for `draws` draws of the latents and
    /// params that `given` says by draw and variable, and of the discrete latents given these.
    pub fn run(
        &self,
        seed: u64,
        draws: usize,
        given: &mut dyn FnMut(usize, VarId) -> Vec<f64>,
        each: &mut dyn FnMut(usize, Numbers<'_>),
    ) {
        let discrete = self.read.iter().any(|v| self.hir.discrete(*v).is_some());
        // Both parts of a draw read what is given.
        let given = std::cell::RefCell::new(given);
        let mut one = |d: usize, drawn: HashMap<VarId, Vec<f64>>| {
            let values = self.values(drawn, &mut |v| (given.borrow_mut())(d, v));
            each(d, &|v| self.numbers(v, &values));
        };
        if discrete {
            let mut ask = |d: usize, v: VarId| (given.borrow_mut())(d, v);
            draw_discrete(self.hir, self.bound, seed, draws, &mut ask, &mut one);
        } else {
            (0..draws).for_each(|d| one(d, HashMap::new()));
        }
    }

    fn values(
        &self,
        mut drawn: HashMap<VarId, Vec<f64>>,
        given: &mut dyn FnMut(VarId) -> Vec<f64>,
    ) -> HashMap<VarId, Cells> {
        let cells = |v: VarId, numbers| (v, Cells { axes: self.hir.var(v).axes.clone(), numbers });
        let mut values: HashMap<VarId, Cells> = HashMap::new();
        for var in &self.read {
            let numbers = match (drawn.remove(var), self.bound.values.get(var)) {
                (Some(numbers), _) => numbers,
                (None, Some(data)) => data.numbers.to_vec(),
                (None, None) => given(*var),
            };
            values.extend([cells(*var, numbers)]);
        }
        for m in &self.hir.missing {
            let empty = self.bound.values.get(&m.column).map(|v| v.missing()).unwrap_or_default();
            let Some(filled) = values.get(&m.cells).map(|c| c.numbers.clone()) else { continue };
            if let Some(column) = values.get_mut(&m.column) {
                if self.hir.discrete(m.cells).is_some() {
                    column.numbers = filled;
                    continue;
                }
                empty.into_iter().zip(filled).for_each(|(cell, x)| column.numbers[cell] = x);
            }
        }
        for (var, value) in &self.steps {
            let size = |p| self.bound.size(p);
            let read = |v: VarId| values.get(&v).expect("what is needed is read or computed before").clone();
            let label = |p, text: &str| self.bound.plate(p).labels.iter().position(|l| l == text).unwrap_or(0);
            let mut sampler = Sampler {
                hir: self.hir,
                size: &size,
                read: &read,
                locals: HashMap::new(),
                counted: &size,
                label: &label,
                // A computed value has no noise of its own.
                rng: Stream::new(0, "computed", ""),
            };
            let v = sampler.eval(value);
            let numbers = sampler.spread(&v, &self.hir.var(*var).axes).numbers;
            values.extend([cells(*var, numbers)]);
        }
        values
    }

    /// As they are shown: a position by its number on a numbered plate, elsewhere by its place among the labels from 1 on.
    fn numbers(&self, var: VarId, values: &HashMap<VarId, Cells>) -> Vec<f64> {
        let numbers = values[&var].numbers.iter().copied();
        match self.hir.var(var).ty {
            Ty::Index(plate) => {
                let labels = &self.bound.plate(plate).labels;
                let number = |x: f64| {
                    let label = labels.get(x as usize).and_then(|l| l.parse().ok());
                    if x.is_nan() { x } else { label.unwrap_or(x + 1.0) }
                };
                numbers.map(number).collect()
            }
            Ty::Real | Ty::Int | Ty::Bool | Ty::Key | Ty::Date => numbers.collect(),
        }
    }
}
