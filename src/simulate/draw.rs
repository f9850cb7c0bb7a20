//! One pass down a program, drawing what is not given: latents from their priors, observed columns from their
//! distributions.

use std::collections::HashMap;

use super::column;
use super::invert::{Solved, Undo, solve};
use crate::check::walk;
use crate::data::Bound;
use crate::diag::{Code, Diagnostic};
use crate::hir::{AxisId, Constraint, DistUse, Expr, ExprKind, Hir, Index, PlateId, Step, VarId, VarKind};
use crate::infer::Stream;
use crate::run::sample::{Cells, Sampler};

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
    labels_exist(given.hir, given.bound)?;
    let mut pass = Pass { given, drawn: Drawn::default() };
    for (id, v) in &given.bound.values {
        pass.keep(*id, v.numbers.to_vec());
    }
    let mut made: Vec<VarId> = vec![];
    for step in &given.hir.steps {
        if let Some(id) = pass.makes(step) {
            let cells = given.hir.var(id).axes.iter().map(|a| given.bound.size(given.hir.axis(*a).plate)).product();
            let known = given.values.get(&id).map(Vec::as_slice);
            pass.keep(id, pass.filled(id, overlaid(known, vec![f64::NAN; cells])));
            made.push(id);
        }
    }
    pass.circular()?;
    pass.settle(&made)?;
    pass.complete()?;
    Ok(pass.drawn)
}

struct Pass<'a> {
    given: &'a Given<'a>,
    drawn: Drawn,
}

impl Pass<'_> {
    /// What a statement gives values to.
    fn makes(&self, step: &Step) -> Option<VarId> {
        match step {
            Step::Latent { var, .. } | Step::Param { var, .. } | Step::Let { var, .. } => Some(*var),
            // Of an expression: no column takes what would be drawn.
            Step::Observe { target, .. } => column(self.given.hir, target),
            // It weighs what has been drawn; a fit has done so.
            Step::Factor { .. } => None,
        }
    }

    /// Down the program, again and again while that gives values that were missing: statements that read their own
    /// earlier rows, or each other's, settle row by row. The noise of a statement is the same in every pass.
    fn settle(&mut self, made: &[VarId]) -> Result<(), Diagnostic> {
        let steps = &self.given.hir.steps;
        let reads: Vec<Vec<VarId>> = steps.iter().map(|s| reads(self.given.hir, s, made)).collect();
        let mut version: HashMap<VarId, usize> = HashMap::new();
        let mut seen: Vec<Option<usize>> = vec![None; steps.len()];
        // Each pass settles at least one more cell of those that wait for others.
        let most = 2 + made.iter().map(|v| self.drawn.values[v].numbers.len()).sum::<usize>();
        for _ in 0..most {
            let mut changed = false;
            for (i, step) in steps.iter().enumerate() {
                let Some(var) = self.makes(step) else { continue };
                let now = reads[i].iter().map(|v| version.get(v).copied().unwrap_or(0)).sum();
                if seen[i].replace(now) == Some(now) {
                    continue;
                }
                let before = self.drawn.values[&var].numbers.clone();
                self.step(step)?;
                let after = &self.drawn.values[&var].numbers;
                if before.iter().zip(after).any(|(a, b)| a.to_bits() != b.to_bits() && !(a.is_nan() && b.is_nan())) {
                    *version.entry(var).or_default() += 1;
                    changed = true;
                }
            }
            if !changed {
                break;
            }
        }
        Ok(())
    }

    /// A value that is needed to draw itself, other than of an earlier row, has no draw.
    fn circular(&self) -> Result<(), Diagnostic> {
        for step in &self.given.hir.steps {
            let Some(var) = self.makes(step) else { continue };
            let known = self.given.values.get(&var).is_some_and(|v| v.iter().all(|x| !x.is_nan()));
            let mut own = None;
            visit(self.given.hir, step, &mut |e| {
                walk(e, &mut |e| match &e.kind {
                    ExprKind::Read { var: v, index } if *v == var => {
                        let lagged = index.iter().any(|i| matches!(i, Index::At(_)));
                        own = own.or((!lagged).then_some(e.span));
                    }
                    _ => {}
                });
            });
            if let (Some(span), false) = (own, known) {
                let name = &self.given.hir.var(var).name;
                return Err(Code::CANNOT_SIMULATE
                    .at(span, format!("`{name}` is needed to draw `{name}`"))
                    .here("not known before it is drawn")
                    .help("read earlier rows, `y[t-1]`, or another column"));
            }
        }
        Ok(())
    }

    /// Whether everything has a value.
    fn complete(&self) -> Result<(), Diagnostic> {
        for step in &self.given.hir.steps {
            let (var, filter, span) = match step {
                Step::Latent { var, span, .. } => (*var, false, *span),
                Step::Observe { filter, span, .. } => match self.makes(step) {
                    Some(var) => (var, filter.is_some(), *span),
                    None => continue,
                },
                // A report may be infinite, or not a number.
                Step::Param { .. } | Step::Let { .. } | Step::Factor { .. } => continue,
            };
            let numbers = &self.drawn.values[&var].numbers;
            let Some(cell) = numbers.iter().position(|x| !x.is_finite()) else { continue };
            let name = &self.given.hir.var(var).name;
            if filter && numbers[cell].is_nan() {
                return Err(Code::SIMULATE_NEEDS_DATA
                    .at(span, format!("row {} of `{name}` is not drawn: the condition leaves it out", cell + 1))
                    .here("draws only the rows that meet its condition")
                    .help(format!(
                        "give a data file with a column `{name}`; the rows that are left out keep their values"
                    )));
            }
            return Err(Code::CANNOT_SIMULATE
                .at(span, format!("the draw of `{}` is {}", self.name(var, cell), numbers[cell]))
                .here("an argument has left its domain, a number overflowed, or the statement depends on itself")
                .help("give the latents values by `--set`, or choose narrower priors"));
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<(), Diagnostic> {
        match step {
            Step::Latent { var, dist, .. } => {
                let axes = self.given.hir.var(*var).axes.clone();
                let known = self.given.values.get(var).cloned();
                if known.as_ref().is_some_and(|v| v.iter().all(|x| !x.is_nan())) {
                    return Ok(());
                }
                let ordered = matches!(self.given.hir.var(*var).constraint, Constraint::Ordered { .. });
                let use_ = Use { dist, axes: &axes, var: *var, observed: false, ordered };
                let mut numbers = self.draw_from(&use_, None)?;
                self.clear_references(*var, &mut numbers);
                self.keep(*var, overlaid(known.as_deref(), numbers));
            }
            Step::Param { var, .. } => {
                let v = self.given.hir.var(*var);
                let VarKind::Param { init } = &v.kind else { unreachable!("a param step declares a param") };
                let start = self.value(init, &v.axes, *var);
                let known = self.given.values.get(var).cloned();
                self.keep(*var, overlaid(known.as_deref(), start));
            }
            Step::Let { var, value, .. } => {
                let numbers = self.value(value, &self.given.hir.var(*var).axes, *var);
                self.keep(*var, numbers);
            }
            Step::Observe { target, filter, dist, .. } => {
                let Some(Solved { column: var, index, steps }) = solve(self.given.hir, target) else { return Ok(()) };
                let axis = |i: &Index| match i {
                    Index::Axis(a) => Some(*a),
                    Index::At(_) | Index::Label(..) => None,
                };
                let axes: Vec<AxisId> = index.iter().filter_map(axis).collect();
                let use_ = Use { dist, axes: &axes, var, observed: true, ordered: false };
                let mut numbers = self.draw_from(&use_, filter.as_ref())?;
                for undo in steps {
                    match undo {
                        Undo::Apply(f) => numbers.iter_mut().for_each(|x| *x = f(*x)),
                        Undo::With(f, other) => {
                            let other = self.value(other, &axes, var);
                            numbers.iter_mut().zip(other).for_each(|(x, c)| *x = f(*x, c));
                        }
                    }
                }
                let own = self.given.hir.var(var).axes.clone();
                self.drawn.observed.insert(var, Cells { axes: own, numbers: numbers.clone() });
                let known = self.given.values.get(&var).map(Vec::as_slice);
                self.keep(var, self.filled(var, overlaid(known, numbers)));
            }
            Step::Factor { .. } => {}
        }
        Ok(())
    }

    /// A latent is 0 at its reference levels.
    fn clear_references(&self, var: VarId, numbers: &mut [f64]) {
        let given = self.given;
        let axes = &given.hir.var(var).axes;
        for r in given.hir.references.iter().filter(|r| r.var == var) {
            let size = |a: &AxisId| given.bound.size(given.hir.axis(*a).plate);
            let stride: usize = axes.iter().take_while(|a| **a != r.axis).map(size).product();
            let labels = &given.bound.plate(given.hir.axis(r.axis).plate).labels;
            let is_reference = |cell: usize| labels[cell / stride % labels.len()] == r.label;
            numbers.iter_mut().enumerate().filter(|(cell, _)| is_reference(*cell)).for_each(|(_, x)| *x = 0.0);
        }
    }

    fn keep(&mut self, var: VarId, numbers: Vec<f64>) {
        let axes = self.given.hir.var(var).axes.clone();
        self.drawn.values.insert(var, Cells { axes, numbers });
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
    fn value(&self, e: &Expr, axes: &[AxisId], var: VarId) -> Vec<f64> {
        self.with(var, 0, |s| {
            let v = s.eval(e);
            s.spread(&v, axes).numbers
        })
    }

    /// Evaluate with the noise of one variable: the same for every attempt of that number.
    fn with<T>(&self, var: VarId, attempt: usize, f: impl FnOnce(&mut Sampler<'_, Stream>) -> T) -> T {
        let given = self.given;
        let size = |p: PlateId| given.bound.size(p);
        let counted = |p: PlateId| given.counted.get(&p).copied().unwrap_or_else(|| given.bound.size(p));
        let read = |v: VarId| self.drawn.values.get(&v).expect("everything has values, if unknown ones").clone();
        let name = format!("{} {} {attempt}", given.hir.var(var).name, given.round);
        let rng = Stream::new(given.seed, "simulate", &name);
        // Every label has been looked up before anything is drawn.
        let label = |p: PlateId, text: &str| given.bound.plate(p).labels.iter().position(|l| l == text).unwrap_or(0);
        let mut sampler = Sampler {
            hir: given.hir,
            size: &size,
            read: &read,
            locals: HashMap::new(),
            counted: &counted,
            label: &label,
            rng,
        };
        f(&mut sampler)
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
    fn draw_from(&self, u: &Use<'_>, filter: Option<&Expr>) -> Result<Vec<f64>, Diagnostic> {
        let Some(sample) = &u.dist.sample else {
            let name = &u.dist.name;
            let d = Code::CANNOT_SIMULATE
                .at(u.dist.span, format!("`{name}` cannot be drawn from"))
                .here(if name == "flat" { "improper: it gives no draws" } else { "has no `sample()`" });
            let var = &self.given.hir.var(u.var).name;
            if matches!(name.as_str(), "if" | "mixture") {
                let d = Code::CANNOT_SIMULATE.at(u.dist.span, "a part of this cannot be drawn from, or is cut");
                return Err(d.here("no draws").help(
                    "choose between distributions that are drawn from whole, without `truncated` or a narrower type",
                ));
            }
            return Err(match (u.observed, name.as_str()) {
                (false, "flat") => d.help(format!("give `{var}` a value by `--set {var}=…`, or a proper prior")),
                (false, _) => d.help(format!("add `sample() = …` to `{name}`, or give `--set {var}=…`")),
                (true, _) => d.help(format!("add `sample() = …` to `{name}`")),
            });
        };
        let ends = if u.dist.log_kept.is_none() { (None, None) } else { u.dist.range.ends() };
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
                let mut inside = vec![true; v.len()];
                for (i, x) in v.iter_mut().enumerate() {
                    // An end that is an earlier row's draw is not known in the first passes.
                    if low[i].is_nan() || high[i].is_nan() {
                        *x = f64::NAN;
                    }
                    inside[i] = x.is_nan() || low[i] <= *x && *x <= high[i];
                }
                (v, inside)
            })
        };
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
        let d = Code::CANNOT_SIMULATE
            .at(u.dist.span, format!("`{}` hardly ever gives a value in the range of `{name}`", u.dist.name))
            .here(format!("not once in {TRIES} draws"));
        match u.observed {
            true => d.help("give the latents values nearer to the data by `--set`, or choose narrower priors"),
            false => d.help(format!("choose a prior nearer to the range of `{name}`, or give `--set {name}=…`")),
        }
    }
}

/// A distribution, and what is drawn from it.
struct Use<'a> {
    dist: &'a DistUse,
    /// The axes of a cell, in the order of the variable's dimensions.
    axes: &'a [AxisId],
    var: VarId,
    observed: bool,
    ordered: bool,
}

/// The labels that the model writes are those of the data.
pub(super) fn labels_exist(hir: &Hir, bound: &Bound) -> Result<(), Diagnostic> {
    let mut wrong = None;
    let mut look = |axis: AxisId, index: &Index| {
        if let (Index::Label(text, span), None) = (index, &wrong) {
            let plate = hir.axis(axis).plate;
            wrong = bound.label(plate, &hir.plate(plate).name, text, *span).err();
        }
    };
    for step in &hir.steps {
        visit(hir, step, &mut |e| {
            walk(e, &mut |e| match &e.kind {
                ExprKind::Read { var, index } => {
                    hir.var(*var).axes.iter().zip(index).for_each(|(axis, ix)| look(*axis, ix));
                }
                ExprKind::At { axis, index, .. } => look(*axis, index),
                _ => {}
            });
        });
    }
    wrong.map_or(Ok(()), Err)
}

/// The expressions that a distribution is drawn by.
pub(super) fn dist_expressions(d: &DistUse, f: &mut dyn FnMut(&Expr)) {
    d.args.iter().for_each(|a| f(&a.2));
    d.sample.iter().for_each(&mut *f);
    let (lower, upper) = d.range.ends();
    lower.into_iter().chain(upper).for_each(f);
}

/// The expressions that a statement draws by.
fn visit(hir: &Hir, step: &Step, f: &mut dyn FnMut(&Expr)) {
    match step {
        Step::Latent { dist: d, .. } => dist_expressions(d, f),
        Step::Let { value, .. } => f(value),
        Step::Observe { target, dist: d, filter, .. } => {
            dist_expressions(d, f);
            for undo in solve(hir, target).map_or(vec![], |s| s.steps) {
                if let Undo::With(_, other) = undo {
                    f(other);
                }
            }
            filter.iter().for_each(f);
        }
        Step::Param { .. } | Step::Factor { .. } => {}
    }
}

/// Which of these a statement reads.
fn reads(hir: &Hir, step: &Step, made: &[VarId]) -> Vec<VarId> {
    let mut found = vec![];
    visit(hir, step, &mut |e| {
        walk(e, &mut |e| match &e.kind {
            ExprKind::Read { var, .. } if made.contains(var) && !found.contains(var) => found.push(*var),
            _ => {}
        });
    });
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
