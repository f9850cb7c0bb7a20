//! Latents that take one of finitely many values: what these are, and what may depend on them.

use super::cut::{self, ends};
use super::expr::{binary, is_bad, number, walk};
use super::mixture::reduce;
use super::*;
use crate::diag::Code;

impl<'a> Checker<'a, '_> {
    /// Whether a latent's written type fits what its distribution gives.
    pub(super) fn fits_type(&mut self, ty: Option<&'a ast::Type>, used: &DistUse) -> bool {
        let Some(t) = ty else { return true };
        let plate = self.names.get(&t.base.name).and_then(|e| e.plate);
        let fits = match (plate, t.base.name.as_str(), used.support.ty) {
            (Some(p), _, Ty::Index(q)) => p == q,
            (None, "bool", Ty::Bool) | (None, "int", Ty::Int | Ty::Bool) => true,
            (None, "bool" | "int", _) | (Some(_), ..) => false,
            (None, _, ty) => ty == Ty::Real,
        };
        if !fits {
            let gives = self.ty_text(used.support.ty);
            let right = match used.support.ty {
                Ty::Index(p) => self.hir.plate(p).name.clone(),
                Ty::Int => "int".into(),
                Ty::Bool => "bool".into(),
                Ty::Real | Ty::Key | Ty::Date => "real".into(),
            };
            let at = Code::SUPPORT_MISMATCH
                .at(t.span, format!("`{}` gives {gives}, and the latent is declared `{}`", used.name, t.base.name))
                .here("another kind of value")
                .label(used.span, format!("gives {gives}"))
                .help(format!("write `{right}`, or leave the type out"));
            self.diags.push(at);
        }
        fits
    }

    /// The plate of a discrete latent's values, the first of them, and whether the prior has more; `None` after a
    /// diagnostic.
    pub(super) fn values(&mut self, name: &Ident, used: &DistUse) -> Option<(PlateId, Expr, bool)> {
        let zero = || number(0.0, Ty::Int, name.span);
        let labelled = format!("values of {}", name.name);
        match used.support.ty {
            Ty::Index(plate) => return Some((plate, zero(), false)),
            Ty::Bool => {
                let cells = PlateKind::Labels(vec!["false".into(), "true".into()]);
                return Some((self.add_plate(&labelled, name.span, cells), zero(), false));
            }
            Ty::Int | Ty::Real | Ty::Key | Ty::Date => {}
        }
        let (lower, upper) = ends(&used.range).unwrap_or((None, None));
        let lower = lower.map(|l| l.0).filter(|l| self.latent_in(l).is_none() && !is_bad(l));
        let stated = upper.as_ref().and_then(|u| self.last(&u.0));
        let cut = stated.is_none() && upper.is_none();
        let last = stated.or_else(|| self.last(&cut::closed(used.most.clone().filter(|_| cut)?, &used.args)));
        let column = self.hir.vars.iter().any(|v| v.span == name.span && matches!(v.kind, VarKind::Column(_)));
        let (Some(lower), Some(last)) = (lower, last) else {
            let d = Code::DISCRETE_WITHOUT_END
                .at(name.span, format!("`{}` is summed out over its values, and these have no known end", name.name))
                .here(match (&upper, &used.most) {
                    (Some(_), _) => "its largest value depends on a latent",
                    (None, Some(_)) => "any whole number: how many matter depends on a latent",
                    (None, None) => "any whole number",
                })
                .label(used.span, "the prior")
                .help(format!(
                    "give it a type with ends that leave next to nothing of the prior outside: `{}: int{} in [0, 50]`{}",
                    name.name,
                    if column { "?" } else { "" },
                    match used.most {
                        Some(_) => "; or arguments that are data, or latents with an upper end",
                        None => "",
                    }
                ));
            self.diags.push(d);
            return None;
        };
        let extreme = |op: Reduction, e: Expr| {
            let axes = e.axes.clone();
            if axes.is_empty() { e } else { Expr { ty: Ty::Int, ..reduce(op, axes, e) } }
        };
        let (lower, last) = (extreme(Reduction::Min, lower), extreme(Reduction::Max, last));
        // A range that starts above the last count that matters has one value all the same.
        let last = if cut { binary(BinOp::Max, last, lower.clone(), Ty::Int, name.span) } else { last };
        let plate = self.add_plate(&labelled, name.span, PlateKind::Range(lower.clone(), last));
        Some((plate, lower, cut))
    }

    /// The largest value of an end, as far as it is known before the fit: it is data, or latents have ends themselves.
    fn last(&self, end: &Expr) -> Option<Expr> {
        if is_bad(end) {
            return None;
        }
        if self.latent_in(end).is_none() {
            return Some(end.clone());
        }
        // Another count that is summed out has a last value, which may follow from data.
        if let ExprKind::Read { var, .. } = end.kind
            && let Some(d) = self.hir.discrete(var)
            && let PlateKind::Range(_, last) = &self.hir.plate(d.plate).kind
        {
            return Some(last.clone());
        }
        let upper = self.range_in(end, &Env::default()).upper;
        upper.is_finite().then(|| number(upper.ceil(), Ty::Int, end.span))
    }

    /// A continuous latent's range cannot differ by the value of a discrete one: there is one transform.
    pub(super) fn smooth_range(&mut self, name: &Ident, used: &DistUse) -> bool {
        let (lower, upper) = ends(&used.range).unwrap_or((None, None));
        let by_class = lower.iter().chain(&upper).find_map(|e| self.discrete_in(&e.0));
        let Some((z, span)) = by_class.filter(|_| used.support.ty == Ty::Real) else { return true };
        let z = self.hir.var(z);
        let d = Code::CANNOT_SUM_OUT
            .at(span, format!("the range of `{}` depends on the discrete `{}`, which is summed out", name.name, z.name))
            .here("would need a transform per value")
            .label(z.span, "declared here")
            .help("give it one range, and let its density depend on the discrete latent");
        self.diags.push(d);
        false
    }

    /// The first continuous latent (or a value that depends on one) that an expression reads.
    pub(super) fn smooth_in(&self, e: &Expr) -> Option<(VarId, Span)> {
        self.find_read(e, &|v| match self.hir.var(v).kind {
            VarKind::Latent => self.hir.var(v).ty == Ty::Real,
            VarKind::Param { .. } => true,
            VarKind::Let | VarKind::Report => self.smooth.contains(&v),
            // Its empty cells may be latents.
            VarKind::Column(Column { optional, .. }) => optional && self.hir.var(v).ty == Ty::Real,
            VarKind::DataValue { .. }
            | VarKind::Const { .. }
            | VarKind::Order { .. }
            | VarKind::Start { .. }
            | VarKind::Mask { .. } => false,
        })
    }

    /// The first discrete latent (or a value that depends on one) that an expression reads.
    pub(super) fn discrete_in(&self, e: &Expr) -> Option<(VarId, Span)> {
        let latent = |v: &Var| match &v.kind {
            VarKind::Latent => v.ty != Ty::Real,
            VarKind::Column(c) => c.optional && v.ty != Ty::Real,
            VarKind::DataValue { .. }
            | VarKind::Const { .. }
            | VarKind::Order { .. }
            | VarKind::Start { .. }
            | VarKind::Mask { .. } => false,
            VarKind::Param { .. } | VarKind::Let | VarKind::Report => false,
        };
        self.find_read(e, &|v| latent(self.hir.var(v)) || self.summed.contains(&v))
    }

    fn find_read(&self, e: &Expr, wanted: &dyn Fn(VarId) -> bool) -> Option<(VarId, Span)> {
        let mut found = None;
        walk(e, &mut |e| {
            if let ExprKind::Read { var, .. } = &e.kind
                && found.is_none()
                && wanted(*var)
            {
                found = Some((*var, e.span));
            }
        });
        found
    }

    /// A choice between distributions: by data, or by a discrete latent, which is summed out.
    pub(super) fn branch_condition(&mut self, c: Expr) -> Expr {
        let c = self.condition(c, "the condition");
        if self.smooth_in(&c).is_some() { self.data_condition(c, "the condition") } else { c }
    }

    /// Remember what a computed value depends on.
    pub(super) fn depends(&mut self, var: VarId, value: &Expr) {
        if self.latent_in(value).is_some() {
            self.random.insert(var);
        }
        if self.smooth_in(value).is_some() {
            self.smooth.insert(var);
        }
        if self.discrete_in(value).is_some() {
            self.summed.insert(var);
        }
    }

    /// Discrete latents that cannot be summed out are found as the log joint is built.
    pub(super) fn summed_out(&mut self) {
        if self.hir.discrete.is_empty() || self.diags.has_errors() {
            return;
        }
        let mut hir = self.hir.clone();
        let joint = crate::derive::joint(&mut hir);
        joint.problems.into_iter().for_each(|d| self.diags.push(d));
        // Where the data decide how many values there are, so they do whether these are too many.
        for e in &joint.eliminated {
            let entries = e.tables.iter().map(|p| self.known_cells(&hir, *p)).product::<Option<f64>>();
            if let Some(entries) = entries.filter(|n| *n > crate::derive::MOST_ENTRIES) {
                return self.diags.push(crate::derive::too_many_values(e, entries, 1.0));
            }
        }
    }

    /// How many cells a plate has, which may be one that summing out has made.
    fn known_cells(&self, hir: &Hir, plate: PlateId) -> Option<f64> {
        match &hir.plate(plate).kind {
            PlateKind::Range(a, b) => {
                let (a, b) = (self.range_in(a, &Env::default()), self.range_in(b, &Env::default()));
                (a.lower == a.upper && b.lower == b.upper).then_some(b.upper - a.lower + 1.0)
            }
            PlateKind::Power { values, cells } => {
                let cells = cells.iter().map(|p| self.known_cells(hir, *p)).product::<Option<f64>>()?;
                Some(self.known_cells(hir, *values)?.powf(cells))
            }
            _ => Some(self.known_labels(plate)?.len() as f64),
        }
    }

    /// `latent z: cluster` beside data over rows, where one per row was surely meant.
    pub(super) fn shared_by_all_rows(&mut self) {
        let mut found = vec![];
        for d in &self.hir.discrete {
            let z = self.hir.var(d.var);
            if !z.axes.is_empty() || !matches!(z.ty, Ty::Index(_)) {
                continue;
            }
            let rows = self.hir.steps.iter().find_map(|s| match s {
                Step::Observe { axes, over, dist, .. } => {
                    let picks = |e: &Expr| {
                        let mut picks = false;
                        walk(e, &mut |e| {
                            let at = |i: &Index| matches!(i, Index::At(x) if matches!(x.kind, ExprKind::Read { var, .. } if var == d.var));
                            picks |= match &e.kind {
                                ExprKind::Read { index, .. } => index.iter().any(at),
                                ExprKind::At { index, .. } => at(index),
                                _ => false,
                            };
                        });
                        picks
                    };
                    let uses = dist.args.iter().any(|a| picks(&a.2));
                    let rows = |a: &&AxisId| matches!(self.hir.plate(self.plate_of(**a)).kind, PlateKind::Rows(_));
                    axes.iter().chain(over).find(rows).filter(|_| uses).copied()
                }
                Step::Latent { .. } | Step::Param { .. } | Step::Let { .. } | Step::Factor { .. } => None,
            });
            let Some(row) = rows else { continue };
            let (row, values) = (self.plate_name(row).to_string(), self.hir.plate(d.plate).name.clone());
            found.push(
                Code::ONE_FOR_ALL_ROWS
                    .at(z.span, format!("`{}` picks one cell of `{values}` for all rows of `{row}` together", z.name))
                    .here("one value for the whole table")
                    .help(format!(
                        "for one value per row write `latent {}[{row}]: {values} ~ …`; if one for all is meant, `@allow({})`",
                        z.name,
                        Code::ONE_FOR_ALL_ROWS.id
                    )),
            );
        }
        found.into_iter().for_each(|d| self.diags.push(d));
    }
}
