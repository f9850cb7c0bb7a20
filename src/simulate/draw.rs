//! One pass down a program, drawing what is not given: latents from their priors, observed columns from their
//! distributions.

use std::collections::HashMap;

use super::column;
use crate::check::walk;
use crate::data::Bound;
use crate::diag::{Code, Diagnostic};
use crate::hir::{AxisId, Constraint, DistUse, Expr, ExprKind, Hir, Index, PlateId, Step, VarId, VarKind};
use crate::infer::Stream;
use crate::run::sample::{Cells, Sampler};
use crate::source::Span;

/// How often a cell of a cut or ordered prior is drawn again.
const TRIES: usize = 10_000;

/// What a draw starts from. Numbers are as in [`crate::data::Values`]; those to be drawn are not a number.
pub struct Given<'a> {
    pub hir: &'a Hir,
    pub bound: &'a Bound,
    /// Latents, params and observed columns of which some cells are known.
    pub values: &'a HashMap<VarId, Vec<f64>>,
    /// What the rows of a column hold that its `observe … where` leaves out; not a number where nothing is known.
    pub kept: &'a HashMap<VarId, Vec<f64>>,
    /// How many rows of a plate count in means and sizes, where not all do.
    pub counted: &'a HashMap<PlateId, usize>,
    pub seed: u64,
    /// Which of several draws this is.
    pub round: u64,
}

/// What came of it.
#[derive(Default)]
pub struct Drawn {
    /// Everything that has a value, over its own axes.
    pub values: HashMap<VarId, Cells>,
    /// What was drawn for each observed column, also where its cells are known; not a number where nothing was.
    pub observed: HashMap<VarId, Cells>,
}

/// Draw once. The error says which statement cannot be drawn.
pub fn draw(given: &Given<'_>) -> Result<Drawn, Diagnostic> {
    let mut pass = Pass { given, drawn: Drawn::default() };
    let observed: Vec<VarId> = super::observed(given.hir).into_iter().map(|o| o.0).collect();
    for (id, v) in &given.bound.values {
        if !observed.contains(id) {
            let cells = Cells { axes: given.hir.var(*id).axes.clone(), numbers: v.numbers.to_vec() };
            pass.drawn.values.insert(*id, cells);
        }
    }
    for id in observed {
        // A column whose cells are all known can be read before its `observe`.
        if let Some(known) = given.values.get(&id).filter(|v| v.iter().all(|x| !x.is_nan())) {
            let cells = Cells { axes: given.hir.var(id).axes.clone(), numbers: known.clone() };
            pass.drawn.values.insert(id, cells);
        }
    }
    for step in &given.hir.steps {
        pass.step(step)?;
    }
    Ok(pass.drawn)
}

struct Pass<'a> {
    given: &'a Given<'a>,
    drawn: Drawn,
}

impl Pass<'_> {
    fn step(&mut self, step: &Step) -> Result<(), Diagnostic> {
        match step {
            Step::Latent { var, dist, span, .. } => {
                let axes = self.given.hir.var(*var).axes.clone();
                let known = self.given.values.get(var).cloned();
                if known.as_ref().is_some_and(|v| v.iter().all(|x| !x.is_nan())) {
                    self.keep(*var, known.unwrap_or_default());
                    return Ok(());
                }
                let ordered = matches!(self.given.hir.var(*var).constraint, Constraint::Ordered { .. });
                let use_ = Use { dist, axes: &axes, var: *var, span: *span, observed: false, ordered };
                let numbers = overlaid(known.as_deref(), self.draw_from(&use_, None, known.as_deref())?);
                self.finite(*var, &numbers, *span)?;
                self.keep(*var, numbers);
            }
            Step::Param { var, span } => {
                let v = self.given.hir.var(*var);
                let VarKind::Param { init } = &v.kind else { unreachable!("a param step declares a param") };
                self.readable(&[init], None, *span)?;
                let start = self.value(init, &v.axes, *var, 0);
                let known = self.given.values.get(var).cloned();
                self.keep(*var, overlaid(known.as_deref(), start));
            }
            Step::Let { var, value, span } => {
                self.readable(&[value], Some(*var), *span)?;
                let axes = self.given.hir.var(*var).axes.clone();
                let numbers =
                    self.settle(*var, reads(value, *var), axes.clone(), None, |p| p.value(value, &axes, *var, 0));
                self.keep(*var, numbers);
            }
            Step::Observe { target, filter, dist, span, .. } => {
                // Of an expression: no column takes what would be drawn.
                let Some(var) = column(self.given.hir, target) else { return Ok(()) };
                let ExprKind::Read { index, .. } = &target.kind else { unreachable!("a column is read") };
                let axes: Vec<AxisId> = index
                    .iter()
                    .filter_map(|i| match i {
                        Index::Axis(a) => Some(*a),
                        Index::At(_) | Index::Label(..) => None,
                    })
                    .collect();
                if self.drawn.observed.contains_key(&var) {
                    let name = &self.given.hir.var(var).name;
                    return Err(Code::CANNOT_SIMULATE
                        .at(*span, format!("`{name}` is observed a second time, and can be drawn only once"))
                        .here("from which of the two?")
                        .help("join the two with `where` or `if`"));
                }
                let known = self.given.values.get(&var).cloned();
                let use_ = Use { dist, axes: &axes, var, span: *span, observed: true, ordered: false };
                let mut numbers = self.draw_from(&use_, filter.as_ref(), known.as_deref())?;
                if filter.is_none() {
                    self.finite(var, &numbers, *span)?;
                }
                let own = self.given.hir.var(var).axes.clone();
                self.drawn.observed.insert(var, Cells { axes: own, numbers: numbers.clone() });
                if let Some(known) = &known {
                    numbers = overlaid(Some(known), numbers);
                }
                numbers = self.filled(var, numbers);
                if let Some(row) = numbers.iter().position(|x| x.is_nan()) {
                    let name = &self.given.hir.var(var).name;
                    return Err(Code::SIMULATE_NEEDS_DATA
                        .at(*span, format!("row {} of `{name}` is not drawn: the condition leaves it out", row + 1))
                        .here("draws only the rows that meet its condition")
                        .help(format!(
                            "give a data file with a column `{name}`; the rows that are left out keep their values"
                        )));
                }
                self.keep(var, numbers);
            }
            // It weighs what has been drawn; a fit has done so.
            Step::Factor { .. } => {}
        }
        Ok(())
    }

    fn keep(&mut self, var: VarId, numbers: Vec<f64>) {
        let axes = self.given.hir.var(var).axes.clone();
        self.drawn.values.insert(var, Cells { axes, numbers });
    }

    /// Whether everything that is read has a value by now.
    fn readable(&self, exprs: &[&Expr], own: Option<VarId>, span: Span) -> Result<(), Diagnostic> {
        let mut missing = None;
        for e in exprs {
            walk(e, &mut |e| {
                if let ExprKind::Read { var, .. } = &e.kind
                    && Some(*var) != own
                    && !self.drawn.values.contains_key(var)
                {
                    missing.get_or_insert((*var, e.span));
                }
            });
        }
        match missing {
            None => Ok(()),
            Some((var, at)) => {
                let v = self.given.hir.var(var);
                let at = if at.file == span.file { at } else { span };
                Err(Code::CANNOT_SIMULATE
                    .at(at, format!("`{}` is used before it is drawn", v.name))
                    .here("its values are not known here")
                    .label(v.span, "observed further down")
                    .help("move its `observe` above this line"))
            }
        }
    }

    fn finite(&self, var: VarId, numbers: &[f64], span: Span) -> Result<(), Diagnostic> {
        let Some(cell) = numbers.iter().position(|x| !x.is_finite()) else { return Ok(()) };
        let name = self.name(var, cell);
        Err(Code::CANNOT_SIMULATE
            .at(span, format!("the draw of `{name}` is {}", numbers[cell]))
            .here("an argument has left its domain, or a number overflowed")
            .help("give the latents values by `--set`, or choose narrower priors"))
    }

    /// `theta[Choate]`
    fn name(&self, var: VarId, cell: usize) -> String {
        let v = self.given.hir.var(var);
        let mut rest = cell;
        let labels: Vec<String> = v
            .axes
            .iter()
            .map(|a| {
                let plate = self.given.bound.plate(self.given.hir.axis(*a).plate);
                let i = rest % plate.size.max(1);
                rest /= plate.size.max(1);
                plate.labels[i].clone()
            })
            .collect();
        if labels.is_empty() { v.name.clone() } else { format!("{}[{}]", v.name, labels.join(", ")) }
    }

    /// The value of an expression over these axes.
    fn value(&self, e: &Expr, axes: &[AxisId], var: VarId, attempt: usize) -> Vec<f64> {
        self.with(var, attempt, |s| {
            let v = s.eval(e);
            s.spread(&v, axes).numbers
        })
    }

    /// Evaluate with the noise of one variable: the same for every attempt of that number.
    fn with<T>(&self, var: VarId, attempt: usize, f: impl FnOnce(&mut Sampler<'_, Stream>) -> T) -> T {
        let given = self.given;
        let size = |p: PlateId| given.bound.size(p);
        let counted = |p: PlateId| given.counted.get(&p).copied().unwrap_or_else(|| given.bound.size(p));
        let read = |v: VarId| self.drawn.values.get(&v).expect("checked to be readable").clone();
        let name = format!("{} {} {attempt}", given.hir.var(var).name, given.round);
        let rng = Stream::new(given.seed, "simulate", &name);
        let mut sampler =
            Sampler { hir: given.hir, size: &size, read: &read, locals: HashMap::new(), counted: &counted, rng };
        f(&mut sampler)
    }

    /// The numbers of a variable, again and again if it reads its own earlier cells: each pass settles the next cells, and
    /// the noise stays.
    fn settle(
        &mut self,
        var: VarId,
        itself: bool,
        axes: Vec<AxisId>,
        known: Option<&[f64]>,
        pass: impl Fn(&Self) -> Vec<f64>,
    ) -> Vec<f64> {
        if !itself {
            return pass(self);
        }
        let cells: usize = axes.iter().map(|a| self.given.bound.size(self.given.hir.axis(*a).plate)).product();
        let mut last = self.filled(var, overlaid(known, vec![f64::NAN; cells]));
        for _ in 0..=cells {
            self.keep(var, last.clone());
            let drawn = pass(self);
            let next = self.filled(var, overlaid(known, drawn.clone()));
            let settled = next.iter().zip(&last).all(|(a, b)| a.to_bits() == b.to_bits());
            last = next;
            if settled {
                return drawn;
            }
        }
        pass(self)
    }

    /// Rows that a condition leaves out keep what they hold.
    fn filled(&self, var: VarId, mut numbers: Vec<f64>) -> Vec<f64> {
        for (x, kept) in numbers.iter_mut().zip(self.given.kept.get(&var).map_or(&[][..], Vec::as_slice)) {
            if x.is_nan() {
                *x = *kept;
            }
        }
        numbers
    }

    /// Draw every cell of a latent or observed column. Cells that an `observe … where` leaves out are not a number.
    fn draw_from(&mut self, u: &Use<'_>, filter: Option<&Expr>, known: Option<&[f64]>) -> Result<Vec<f64>, Diagnostic> {
        let Some(sample) = &u.dist.sample else {
            let name = &u.dist.name;
            let d = Code::CANNOT_SIMULATE
                .at(u.dist.span, format!("`{name}` cannot be drawn from"))
                .here(if name == "flat" { "improper: it gives no draws" } else { "has no `sample()`" });
            let var = &self.given.hir.var(u.var).name;
            return Err(match (u.observed, name.as_str()) {
                (false, "flat") => d.help(format!("give `{var}` a value by `--set {var}=…`, or a proper prior")),
                (false, _) => d.help(format!("add `sample() = …` to `{name}`, or give `--set {var}=…`")),
                (true, _) => d.help(format!("add `sample() = …` to `{name}`")),
            });
        };
        let mut exprs: Vec<&Expr> = u.dist.args.iter().map(|a| &a.2).collect();
        exprs.extend([sample].into_iter().chain(filter));
        self.readable(&exprs, Some(u.var), u.span)?;
        let itself = exprs.iter().any(|e| reads(e, u.var));
        let ends = if u.observed || u.dist.log_kept.is_none() { (None, None) } else { ends(&u.dist.range) };
        let axes = u.axes.to_vec();
        let once = |p: &Self, attempt: usize| {
            p.with(u.var, attempt, |s| {
                for (local, _, value) in &u.dist.args {
                    let v = s.eval(value);
                    s.locals.insert(*local, v);
                }
                let v = s.eval(sample);
                let mut v = s.spread(&v, &axes).numbers;
                if let Some(filter) = filter {
                    let kept = s.eval(filter);
                    let kept = s.spread(&kept, &axes).numbers;
                    v.iter_mut().zip(kept).filter(|(_, k)| *k == 0.0).for_each(|(x, _)| *x = f64::NAN);
                }
                let mut bound = |e: Option<&Expr>, none: f64| match e {
                    Some(e) => {
                        let b = s.eval(e);
                        s.spread(&b, &axes).numbers
                    }
                    None => vec![none; v.len()],
                };
                let (low, high) = (bound(ends.0, f64::NEG_INFINITY), bound(ends.1, f64::INFINITY));
                let inside: Vec<bool> = v.iter().zip(low).zip(high).map(|((x, l), h)| l <= *x && *x <= h).collect();
                (v, inside)
            })
        };
        if ends.0.is_none() && ends.1.is_none() {
            let numbers = self.settle(u.var, itself, axes.clone(), known, |p| once(p, 0).0);
            return if u.ordered { self.ordered(u, numbers, |p, k| once(p, k).0) } else { Ok(numbers) };
        }
        if itself {
            return Err(Code::CANNOT_SIMULATE
                .at(
                    u.dist.span,
                    "a prior that reads earlier cells of its latent and is cut by its type cannot be drawn",
                )
                .here("cut, and in order of its cells")
                .help("leave the type as wide as the prior, or give the latent by `--set`"));
        }
        let (mut numbers, mut inside) = once(self, 0);
        for attempt in 1..TRIES {
            if inside.iter().all(|i| *i) {
                break;
            }
            let (again, kept) = once(self, attempt);
            for (i, x) in again.into_iter().enumerate().filter(|(i, _)| kept[*i]) {
                if !inside[i] {
                    (numbers[i], inside[i]) = (x, true);
                }
            }
        }
        if inside.iter().any(|i| !*i) {
            return Err(self.too_rare(u));
        }
        if u.ordered { self.ordered(u, numbers, |p, k| once(p, k).0) } else { Ok(numbers) }
    }

    /// Elements of one prior are put in order; if their priors differ, they are drawn until they are.
    fn ordered(
        &self,
        u: &Use<'_>,
        mut numbers: Vec<f64>,
        again: impl Fn(&Self, usize) -> Vec<f64>,
    ) -> Result<Vec<f64>, Diagnostic> {
        let joint = u.axes.last().copied();
        let n = joint.map_or(1, |a| self.given.bound.size(self.given.hir.axis(a).plate));
        let rows = numbers.len() / n.max(1);
        let row = |v: &[f64], r: usize| (0..n).map(|k| v[r + rows * k]).collect::<Vec<f64>>();
        let one_prior = u.dist.args.iter().all(|a| joint.is_none_or(|j| !a.2.axes.contains(&j)));
        for attempt in 1..TRIES {
            if !one_prior && (0..rows).any(|r| !row(&numbers, r).is_sorted()) {
                let other = again(self, attempt);
                for r in (0..rows).filter(|r| row(&other, *r).is_sorted()) {
                    if !row(&numbers, r).is_sorted() {
                        (0..n).for_each(|k| numbers[r + rows * k] = other[r + rows * k]);
                    }
                }
                continue;
            }
            for r in 0..rows {
                let mut sorted = row(&numbers, r);
                sorted.sort_by(f64::total_cmp);
                sorted.into_iter().enumerate().for_each(|(k, x)| numbers[r + rows * k] = x);
            }
            return Ok(numbers);
        }
        Err(self.too_rare(u))
    }

    fn too_rare(&self, u: &Use<'_>) -> Diagnostic {
        let name = &self.given.hir.var(u.var).name;
        Code::CANNOT_SIMULATE
            .at(u.dist.span, format!("`{}` hardly ever gives what the type of `{name}` admits", u.dist.name))
            .here(format!("not once in {TRIES} draws"))
            .help(format!("choose a prior nearer to the range of `{name}`, or give `--set {name}=…`"))
    }
}

/// A distribution, and what is drawn from it.
struct Use<'a> {
    dist: &'a DistUse,
    /// The axes of a cell, in the order of the variable's dimensions.
    axes: &'a [AxisId],
    var: VarId,
    span: Span,
    observed: bool,
    ordered: bool,
}

/// The ends of the kept range.
fn ends(c: &Constraint) -> (Option<&Expr>, Option<&Expr>) {
    match c {
        Constraint::Lower { bound, .. } => (Some(bound), None),
        Constraint::Upper { bound, .. } => (None, Some(bound)),
        Constraint::Interval { lower, upper, .. } => (Some(lower), Some(upper)),
        Constraint::None | Constraint::Simplex | Constraint::Ordered { .. } => (None, None),
    }
}

fn reads(e: &Expr, var: VarId) -> bool {
    let mut found = false;
    walk(e, &mut |e| found |= matches!(&e.kind, ExprKind::Read { var: v, .. } if *v == var));
    found
}

/// What is known, and elsewhere what was drawn.
fn overlaid(known: Option<&[f64]>, mut drawn: Vec<f64>) -> Vec<f64> {
    for (x, k) in drawn.iter_mut().zip(known.unwrap_or_default()) {
        if !k.is_nan() {
            *x = *k;
        }
    }
    drawn
}
