//! Columns with missing cells (`real?`): what stands for an empty cell. Where only the column's own `observe` reads it,
//! nothing does: the cell is left out. Where something else does, the cell is a latent, and the `observe` its prior; a
//! discrete one is summed out.

use super::expr::walk;
use super::*;
use crate::diag::Code;

/// What the steps do with one column.
#[derive(Default)]
struct Uses {
    /// Steps that observe it.
    models: Vec<usize>,
    /// Steps that read it otherwise, with the place of the first reading in each.
    readers: Vec<(usize, Span)>,
}

impl<'a> Checker<'a, '_> {
    fn optional(&self, var: VarId) -> bool {
        matches!(&self.hir.var(var).kind, VarKind::Column(c) if c.optional)
    }

    /// Known from the files alone, wherever it is read.
    fn is_plain_data(&self, var: VarId) -> bool {
        match &self.hir.var(var).kind {
            VarKind::Column(c) => !c.optional,
            VarKind::DataValue { .. } | VarKind::Const { .. } | VarKind::Order { .. } | VarKind::Start { .. } => true,
            VarKind::Mask { .. } => false,
            VarKind::Let | VarKind::Report | VarKind::Latent | VarKind::Param { .. } => false,
        }
    }

    /// Whether an expression reads a column with missing cells.
    pub(super) fn missing_in(&self, e: &Expr) -> bool {
        self.first_read(e, &|c, var| c.optional(var)).is_some()
    }

    /// Whether a `let` is computed from a column with missing cells.
    pub(super) fn reads_missing(&self, var: VarId) -> bool {
        self.hir
            .steps
            .iter()
            .any(|s| matches!(s, Step::Let { var: v, value, .. } if *v == var && self.missing_in(value)))
    }

    /// The first latent in an observed value, in which a column with missing cells is data.
    pub(super) fn latent_in_data(&self, e: &Expr) -> Option<(VarId, Span)> {
        self.first_read(e, &|c, var| !c.optional(var) && c.depends_on_latent(var))
    }

    fn first_read(&self, e: &Expr, wanted: &dyn Fn(&Self, VarId) -> bool) -> Option<(VarId, Span)> {
        let mut found = None;
        walk(e, &mut |e| {
            if let ExprKind::Read { var, .. } = &e.kind
                && found.is_none()
                && wanted(self, *var)
            {
                found = Some((*var, e.span));
            }
        });
        found
    }

    /// Decide for every column with missing cells what its empty cells are. Expects all steps.
    pub(super) fn missing_cells(&mut self) {
        // A step that is wrong is not there, and may have been the one that is looked for.
        if self.diags.has_errors() {
            return;
        }
        let steps = std::mem::take(&mut self.hir.steps);
        for i in 0..self.hir.vars.len() {
            let column = VarId(i as u32);
            if self.optional(column) {
                self.empty_cells(column, &steps);
            }
        }
        self.hir.steps = steps;
    }

    fn empty_cells(&mut self, column: VarId, steps: &[Step]) {
        let uses = self.uses(column, steps);
        let name = self.hir.var(column).name.clone();
        let at = self.hir.var(column).span;
        if let ([], Some((_, read))) = (uses.models.as_slice(), uses.readers.first()) {
            let model = match self.hir.var(column).ty {
                Ty::Real => "Normal(m, s)",
                Ty::Int => "Poisson(rate)",
                Ty::Bool => "Bernoulli(p)",
                Ty::Index(_) | Ty::Key | Ty::Date => "Categorical(p)",
            };
            let d = Code::MISSING_WITHOUT_MODEL
                .at(at, format!("`{name}` admits missing cells, and the model does not say what they may be"))
                .here("declared with `?`")
                .label(*read, "used here, also where the cell is empty")
                .help(format!(
                    "give it a model, `observe {name} ~ {model}`: its empty cells are then latents; or declare it \
                     without `?` and leave out the rows with empty cells"
                ));
            return self.diags.push(d);
        }
        let [model, more @ ..] = uses.models.as_slice() else { return };
        let Step::Observe { target, over, filter, dist, .. } = &steps[*model] else { return };
        let said = |message: String, here: &str| {
            Code::MISSING_MODEL.at(target.span, message).here(here).label(at, "declared with `?`")
        };
        let cellwise = |s: &usize| matches!(&steps[*s], Step::Observe { target, .. } if is_cellwise(target, column));
        if !over.is_empty() {
            let d = said(format!("`{name}` admits missing cells, and its cells are observed jointly"), "jointly");
            return self
                .diags
                .push(d.help("fill the empty cells, or leave their rows out, and declare it without `?`"));
        }
        if !uses.models.iter().all(cellwise) {
            let d = said(
                format!("this value of one row takes `{name}` from other rows, where it may be missing"),
                "not of one row",
            );
            return self.diags.push(d.help(format!("observe `{name}` as it stands, or a function of its own cell")));
        }
        let Some((_, read)) = uses.readers.first() else { return };
        // From here on the empty cells are latents.
        let used = |d: crate::diag::Diagnostic| d.label(*read, "the cell is needed here");
        if let Some(second) = more.first() {
            let Step::Observe { target: second, .. } = &steps[*second] else { return };
            let d = said(format!("`{name}` is observed twice, and its empty cells need one prior"), "observed here")
                .label(second.span, "and here")
                .help("keep one `observe` of this column; another term of the log joint is a `factor`");
            return self.diags.push(used(d));
        }
        if !matches!(&target.kind, ExprKind::Read { var, .. } if *var == column) {
            let d = said(format!("this is a model of a function of `{name}`, and not of its cells"), "not the column")
                .help(format!("write `observe {name} ~ …`: that is the prior of the empty cells"));
            return self.diags.push(used(d));
        }
        if let Some(f) = filter {
            let d =
                said(format!("an empty cell of `{name}` in a row that `where` leaves out has no prior"), "some rows")
                    .label(f.span, "leaves rows out")
                    .help("remove `where`");
            return self.diags.push(used(d));
        }
        if let Some((_, own)) = uses.readers.iter().find(|(s, _)| s == model) {
            let d = said(format!("the model of `{name}` reads `{name}` itself"), "the model")
                .label(*own, "read here")
                .help(format!("model the cells of `{name}` by other columns and latents"));
            return self.diags.push(d);
        }
        if dist.support.ty != Ty::Real {
            return self.discrete_cells(column, dist);
        }
        if self.hir.var(column).ty != Ty::Real {
            let d = said(
                format!("`{name}` holds whole numbers, and `{}` would fill its empty cells with any", dist.name),
                "the model",
            )
            .help(format!("declare it `{name}: real?`"));
            return self.diags.push(used(d));
        }
        let mut drawn = None;
        support::reads(&dist.range, &mut |v| drawn = drawn.or((!self.is_plain_data(v)).then_some(v)));
        let early = uses.readers.iter().find(|(s, _)| s < model);
        if let (Some(latent), Some((_, early))) = (drawn, early) {
            let latent = self.hir.var(latent);
            let d = Code::MISSING_MODEL
                .at(*early, format!("`{name}` is used here before its range is known"))
                .here("used before its model")
                .label(target.span, "its model")
                .label(latent.span, "its range depends on this")
                .help(format!("move `observe {name} ~ …` above this declaration"));
            return self.diags.push(d);
        }
        let plate = self.add_plate(&format!("missing {name}"), at, PlateKind::Missing(column));
        let cells = self.add_var(Var {
            name,
            span: at,
            kind: VarKind::Latent,
            axes: vec![self.hir.plate(plate).axis],
            joint: 0,
            ty: Ty::Real,
            constraint: dist.range.clone(),
        });
        self.hir.missing.push(Missing { column, cells, plate });
    }

    /// The empty cells of a discrete column are latents that are summed out; so are the others, held to what they are.
    fn discrete_cells(&mut self, column: VarId, dist: &DistUse) {
        let v = self.hir.var(column).clone();
        let name = Ident { name: v.name.clone(), span: v.span };
        // The column's own range says what its cells may be where the distribution has no end.
        let both = |c: &Constraint| matches!(c.ends(), (Some(_), Some(_)));
        let mut used = dist.clone();
        if !both(&used.range) && both(&v.constraint) {
            used.range = v.constraint.clone();
        }
        let Some((plate, first, cut)) = self.values(&name, &used) else { return };
        if let (true, PlateKind::Range(lower, last)) = (cut, self.hir.plate(plate).kind.clone()) {
            // A count that is there may lie where its prior has next to no mass.
            let index = v.axes.iter().map(|a| Index::Axis(*a)).collect();
            let axes = union(&[], &v.axes);
            let read =
                Expr { kind: ExprKind::Read { var: column, index }, ty: Ty::Int, axes: axes.clone(), span: v.span };
            let largest = Expr { ty: Ty::Int, ..super::mixture::reduce(Reduction::Max, axes, read) };
            let last = super::expr::binary(BinOp::Max, last, largest, Ty::Int, v.span);
            self.hir.plates[plate.0 as usize].kind = PlateKind::Range(lower, last);
        }
        let (ty, constraint) = (dist.support.ty, used.range);
        let cells = self.add_var(Var { kind: VarKind::Latent, joint: 0, ty, constraint, ..v });
        self.hir.discrete.push(Discrete { var: cells, plate, first, cut });
        let empty = self.add_plate(&format!("missing {}", name.name), name.span, PlateKind::Missing(column));
        self.hir.missing.push(Missing { column, cells, plate: empty });
    }

    fn uses(&self, column: VarId, steps: &[Step]) -> Uses {
        let mut uses = Uses::default();
        let read = |e: &Expr| self.first_read(e, &|_, var| var == column).map(|r| r.1);
        for (i, step) in steps.iter().enumerate() {
            let mut found = None;
            let mut see = |e: &Expr| found = found.or(read(e));
            match step {
                Step::Latent { var, dist, .. } => {
                    dist.args.iter().for_each(|a| see(&a.2));
                    see(&dist.logpdf);
                    let mut bound = false;
                    support::reads(&self.hir.var(*var).constraint, &mut |v| bound |= v == column);
                    found = found.or(bound.then_some(self.hir.var(*var).span));
                }
                Step::Param { .. } => {}
                Step::Let { value, .. } | Step::Factor { value, .. } => see(value),
                Step::Observe { target, filter, dist, .. } => {
                    dist.args.iter().for_each(|a| see(&a.2));
                    see(&dist.logpdf);
                    filter.iter().for_each(&mut see);
                    if read(target).is_some() {
                        uses.models.push(i);
                    }
                }
            }
            uses.readers.extend(found.map(|span| (i, span)));
        }
        uses
    }
}

/// Whether a value uses the column in its own row only.
fn is_cellwise(target: &Expr, column: VarId) -> bool {
    let mut cellwise = true;
    walk(target, &mut |e| match &e.kind {
        ExprKind::Read { var, index } if *var == column => {
            cellwise &= index.iter().all(|i| matches!(i, Index::Axis(a) if target.axes.contains(a)));
        }
        // A reduction binds its axes anew, also those of the target.
        ExprKind::Reduce { axes, body, .. } => walk(body, &mut |e| {
            if let ExprKind::Read { var, index } = &e.kind {
                cellwise &= *var != column || !index.iter().any(|i| matches!(i, Index::Axis(a) if axes.contains(a)));
            }
        }),
        _ => {}
    });
    cellwise
}
