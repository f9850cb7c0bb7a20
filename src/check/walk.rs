//! Order: walks of a plate, the rows before the current one, and which of them exist.

use super::expr::{bad, binary, is_bad, number, walk};
use super::*;
use crate::diag::Code;
use crate::syntax::ast::{Arg, BinaryOp, ExprKind as A};

/// What a condition around an expression says about the step of a walk.
#[derive(Clone, Debug)]
pub(super) struct Past {
    axis: AxisId,
    /// How many steps lie before the current one, at least; `None`: a condition on the step that only the data decide.
    least: Option<Steps>,
}

/// A number of steps.
#[derive(Clone, Debug, PartialEq)]
enum Steps {
    Number(f64),
    /// As many as a plate has cells.
    Size(PlateId),
}

/// `t - by`: the position some steps before the current one.
pub(super) struct Lag<'e> {
    pub axis: AxisId,
    pub walk: Option<WalkId>,
    pub by: &'e Expr,
}

impl Env {
    /// Nothing is known of this axis: it is another cell from here on.
    pub(super) fn forget(&mut self, axis: AxisId) {
        self.past.retain(|p| p.axis != axis);
        self.walks.retain(|w| w.0 != axis);
    }
}

impl<'a> Checker<'a, '_> {
    /// The walk that `by` and `along` ask for, of the plate of `axis`; the plate's own order needs none.
    pub(super) fn walk_given(&mut self, a: &'a ast::Axis, axis: AxisId, env: &mut Env) -> Option<()> {
        if a.by.is_none() && a.along.is_none() {
            return Some(());
        }
        a.index.as_ref()?; // its lack is an error of syntax
        let plate = self.plate_of(axis);
        let by = match &a.by {
            Some(name) => Some(self.walk_column(name, plate, "by")?),
            None => None,
        };
        let along = match &a.along {
            Some(name) => Some(self.walk_column(name, plate, "along")?),
            None => None,
        };
        let known = self.hir.walks.iter().position(|w| w.plate == plate && w.by == by && w.along == along);
        let id = known.map_or_else(|| self.add_walk(plate, by, along, a), |i| WalkId(i as u32));
        env.walks.push((axis, id));
        Some(())
    }

    fn add_walk(&mut self, plate: PlateId, by: Option<VarId>, along: Option<VarId>, a: &ast::Axis) -> WalkId {
        let id = WalkId(self.hir.walks.len() as u32);
        let name = self.hir.plate(plate).name.clone();
        let axes = vec![self.hir.plate(plate).axis];
        let mut part = |what: &str, part: OrderPart| {
            self.add_var(Var {
                name: format!("{what} of {name}"),
                span: a.span,
                kind: VarKind::Order { walk: id, part },
                axes: axes.clone(),
                joint: 0,
                ty: Ty::Int,
                constraint: Constraint::None,
            })
        };
        let (rows, ranks) = (part("rows in order", OrderPart::Rows), part("ranks", OrderPart::Ranks));
        let steps = part("steps", OrderPart::Steps);
        self.hir.walks.push(Walk { plate, by, along, span: a.span, rows, ranks, steps });
        id
    }

    /// A column that groups (`by`) or orders (`along`) the rows of a plate.
    fn walk_column(&mut self, name: &Ident, plate: PlateId, word: &str) -> Option<VarId> {
        let Some(var) = self.names.get(&name.name).and_then(|e| e.var) else {
            match self.names.get(&name.name).map(|e| (e.what, e.span)) {
                Some((what, at)) => self.diags.push(
                    Code::WALK_COLUMN
                        .at(name.span, format!("`{}` is a {what}, not a column of the rows that are walked", name.name))
                        .here("not a column")
                        .label(at, "declared here")
                        .help(format!("`{word}` takes a column of the same table")),
                ),
                None => self.unknown_name(&name.name, name.span, &Env::default()),
            }
            return None;
        };
        self.used.insert(var);
        let v = self.hir.var(var);
        let (own, ty, at) = (self.hir.plate(plate).axis, v.ty, v.span);
        let group = matches!(ty, Ty::Index(_));
        let fits = matches!(v.kind, VarKind::Column(_)) && v.axes == [own];
        let empty = matches!(&v.kind, VarKind::Column(c) if c.optional);
        let right = !empty
            && match word {
                "by" => group || ty == Ty::Int || ty == Ty::Bool,
                _ => group || matches!(ty, Ty::Real | Ty::Int | Ty::Date),
            };
        if fits && right {
            return Some(var);
        }
        let rows = &self.hir.plate(plate).name;
        let d = match fits {
            false => Code::WALK_COLUMN
                .at(name.span, format!("`{}` is not a column of `{rows}`", name.name))
                .here("not one value per row"),
            true if empty => Code::WALK_COLUMN
                .at(name.span, format!("`{}` may have empty cells, and a row without it has no place", name.name))
                .here("declared with `?`"),
            true => Code::WALK_COLUMN.at(
                name.span,
                match word {
                    "by" => format!("`{}` does not name groups", name.name),
                    _ => format!("`{}` has no order", name.name),
                },
            ),
        };
        let d = d.label(at, "declared here").help(match word {
            "by" => format!("group by a column of `{rows}` that is a `category`, a key of another table, or `int`"),
            _ => format!("order by a column of `{rows}` that is a number, a date or a `category`"),
        });
        self.diags.push(d);
        None
    }

    fn walk_of(env: &Env, axis: AxisId) -> Option<WalkId> {
        env.walks.iter().rev().find(|w| w.0 == axis).map(|w| w.1)
    }

    /// How many steps lie before the current one, in its group if it has one.
    fn step(&self, axis: AxisId, walk: Option<WalkId>, span: Span) -> Expr {
        let kind = match walk {
            None => ExprKind::Position(axis),
            Some(w) => ExprKind::Read { var: self.hir.walks[w.0 as usize].steps, index: vec![Index::Axis(axis)] },
        };
        Expr { kind, ty: Ty::Int, axes: vec![axis], span }
    }

    /// `first(t)`, `first(t, k)` and `row(t)`.
    pub(super) fn of_step(&mut self, e: &'a ast::Expr, name: &str, args: &'a [Arg], env: &Env) -> Expr {
        let most = if name == "first" { 2 } else { 1 };
        if args.is_empty() || args.len() > most {
            if !self.misread() {
                let form = if name == "first" { "first(t)` or `first(t, k)" } else { "row(t)" };
                self.diags.push(
                    Code::WRONG_ARGUMENT_COUNT
                        .at(e.span, format!("`{name}` takes {} here", count(args.len())))
                        .here("not of this form")
                        .help(format!("write `{form}`")),
                );
            }
            return bad(e.span);
        }
        let binder = match &args[0].value.kind {
            A::Name(n) => env.binders.iter().rev().find(|(b, _)| b == n).map(|b| b.1),
            _ => None,
        };
        if let (None, "row") = (binder, name)
            && let Some(cell) = self.cell(&args[0].value, env)
        {
            let span = e.span;
            return if is_bad(&cell) {
                cell
            } else {
                binary(BinOp::Add, cell, number(1.0, Ty::Int, span), Ty::Int, span)
            };
        }
        let Some(axis) = binder else {
            if let A::Name(n) = &args[0].value.kind
                && self.hidden_index(n, args[0].value.span, env)
            {
                return bad(e.span);
            }
            let said = match &args[0].value.kind {
                A::Name(n) => format!("`{n}` is no index name here"),
                _ => "this is no index name".into(),
            };
            let head = match name {
                "first" => "asks whether the current row is the first of its walk",
                _ => "is the number of the current row",
            };
            self.diags.push(
                Code::NOT_AN_INDEX_NAME
                    .at(args[0].value.span, format!("`{name}` {head}, and {said}"))
                    .here("not an index name")
                    .help(format!("name the index where the rows are named, `t in days`, and write `{name}(t)`")),
            );
            return bad(e.span);
        };
        let step = self.step(axis, Self::walk_of(env, axis), e.span);
        if name == "row" {
            return binary(BinOp::Add, step, number(1.0, Ty::Int, e.span), Ty::Int, e.span);
        }
        let k = match args.get(1) {
            None => number(1.0, Ty::Int, e.span),
            Some(a) => {
                let k = self.expr(&a.value, env);
                let k = self.numeric(k, "count rows by this");
                if !self.steps_known(&k, 0.0, "first", env) {
                    return bad(e.span);
                }
                k
            }
        };
        binary(BinOp::Less, step, k, Ty::Bool, e.span)
    }

    /// A value that picks a cell of a plate, or the current cell of a body's own plate.
    fn cell(&mut self, e: &'a ast::Expr, env: &Env) -> Option<Expr> {
        let A::Name(n) = &e.kind else {
            let value = matches!(e.kind, A::Index { .. }).then(|| self.expr(e, env))?;
            return (is_bad(&value) || matches!(value.ty, Ty::Index(_))).then_some(value);
        };
        if let Some((_, axis)) = env.plates.iter().rev().find(|(p, _)| p == n) {
            let (kind, ty) = (ExprKind::Position(*axis), Ty::Index(self.plate_of(*axis)));
            return Some(Expr { kind, ty, axes: vec![*axis], span: e.span });
        }
        let local = env.locals.iter().rev().find(|(l, _)| l == n).map(|l| l.1.ty);
        let var = self.names.get(n).and_then(|x| x.var).filter(|_| !env.closed()).map(|v| self.hir.var(v).ty);
        matches!(local.or(var), Some(Ty::Index(_))).then(|| self.expr(e, env))
    }

    /// Say that a reduction over its plate hides an index name.
    pub(super) fn hidden_index(&mut self, name: &str, span: Span, env: &Env) -> bool {
        let Some((_, plate)) = env.hidden.iter().rev().find(|h| h.0 == name) else { return false };
        let plate = self.hir.plate(*plate).name.clone();
        self.diags.push(
            Code::NOT_AN_INDEX_NAME
                .at(
                    span,
                    format!("`over {plate}` goes through all cells of `{plate}`, and `{name}` is a single one of them"),
                )
                .here("which cell?")
                .help(format!("name the cells that the sum goes through: `over k in {plate}`")),
        );
        true
    }

    /// Whether a number of steps is whole, known before fitting, and at least `least`.
    fn steps_known(&mut self, by: &Expr, least: f64, of: &str, env: &Env) -> bool {
        if is_bad(by) {
            return false;
        }
        let whole = matches!(by.ty, Ty::Int | Ty::Bool);
        let latent = self.latent_in(by);
        if whole && latent.is_none() && self.range_in(by, env).lower >= least {
            return true;
        }
        let what = match of {
            "first" => "the number of first rows",
            _ => "a step back",
        };
        let d = match latent {
            Some((var, span)) => Code::LAG_SIZE
                .at(span, format!("{what} cannot depend on the {} `{}`", self.word(var), self.hir.var(var).name))
                .here("not known before fitting")
                .help("use a number, a constant, or the index of a numbered plate"),
            None if !whole => Code::LAG_SIZE
                .at(by.span, format!("{what} is a whole number of rows"))
                .here("may have a fraction")
                .help("use a whole number, an `int`, or the index of a numbered plate: `plate lag = 3`"),
            None => {
                let d = Code::LAG_SIZE.at(by.span, format!("{what} may be less than {least} here"));
                d.here("how many rows?").help(match &by.kind {
                    ExprKind::Read { var, .. } if matches!(self.hir.var(*var).kind, VarKind::Column(_)) => {
                        format!("declare the column `{}: int >= {least}`", self.hir.var(*var).name)
                    }
                    _ => "use a number, or the index of a numbered plate, `plate lag = 3`".into(),
                })
            }
        };
        self.diags.push(d);
        false
    }

    /// `t - 1`, `t - k`, where `t` is an index name: the position of an earlier row. `None`: not of this form.
    pub(super) fn lag(&mut self, e: &'a ast::Expr, env: &Env) -> Option<Expr> {
        let (base, parts) = lag_parts(e)?;
        let A::Name(name) = &base.kind else { return None };
        let Some(axis) = env.binders.iter().rev().find(|(b, _)| b == name).map(|b| b.1) else {
            if self.hidden_index(name, base.span, env) {
                return Some(bad(e.span));
            }
            let local = env.locals.iter().any(|(l, _)| l == name) || env.plates.iter().any(|(p, _)| p == name);
            let value = self.names.get(name).is_some_and(|n| n.var.is_some() || !n.ambiguous.is_empty());
            if local || value || env.closed() || self.poisoned.contains(name) || self.names.later.contains_key(name) {
                return None;
            }
            self.diags.push(
                Code::NOT_AN_INDEX_NAME
                    .at(base.span, format!("`{name}` is no index name here, so that it has no row before it"))
                    .here("not an index name")
                    .help("name the index on the left side: `let change[t in days] = …`, `observe y[t in days where …] ~ …`"),
            );
            return Some(bad(e.span));
        };
        if let Some((_, ahead)) = parts.iter().find(|p| p.0) {
            self.diags.push(
                Code::READ_AHEAD
                    .at(e.span, format!("this reads a row after the current one of `{}`", self.plate_name(axis)))
                    .here("ahead")
                    .label(ahead.span, "added to the index")
                    .help(format!("a walk goes from row to row and knows the rows before: `{name} - 1`")),
            );
            return Some(bad(e.span));
        }
        let mut by: Option<Expr> = None;
        for (_, part) in parts {
            let x = self.expr(part, env);
            let x = self.numeric(x, "step back by this");
            if !self.steps_known(&x, 0.0, "lag", env) {
                return Some(bad(e.span));
            }
            by = Some(match by {
                None => x,
                Some(sum) => binary(BinOp::Add, sum, x, Ty::Int, e.span),
            });
        }
        let by = by?;
        let walk = Self::walk_of(env, axis);
        if !self.within_the_past(axis, walk, &by, name, e.span, env) {
            return Some(bad(e.span));
        }
        Some(self.earlier(axis, walk, by, e.span))
    }

    /// The position `by` steps before the current one; before the first, -1.
    fn earlier(&self, axis: AxisId, walk: Option<WalkId>, by: Expr, span: Span) -> Expr {
        let plate = Ty::Index(self.plate_of(axis));
        let Some(w) = walk.map(|w| &self.hir.walks[w.0 as usize]) else {
            let here = Expr { kind: ExprKind::Position(axis), ty: Ty::Int, axes: vec![axis], span };
            return binary(BinOp::Sub, here, by, plate, span);
        };
        let read = |var: VarId, at: Index, axes: Vec<AxisId>, ty: Ty| {
            let kind = ExprKind::Read { var, index: vec![at] };
            Expr { kind, ty, axes, span }
        };
        let rank = read(w.ranks, Index::Axis(axis), vec![axis], Ty::Int);
        let before = binary(BinOp::Sub, rank, by.clone(), Ty::Int, span);
        let axes = before.axes.clone();
        let row = read(w.rows, Index::At(before.into()), axes.clone(), plate);
        let within = binary(BinOp::LessEq, by, self.step(axis, walk, span), Ty::Bool, span);
        let none = number(-1.0, Ty::Int, span);
        let kind = ExprKind::If { condition: within.into(), then: row.into(), otherwise: none.into() };
        Expr { kind, ty: plate, axes, span }
    }

    /// A lag must stand where a condition leaves out the rows that have no such row before them.
    fn within_the_past(
        &mut self,
        axis: AxisId,
        walk: Option<WalkId>,
        by: &Expr,
        name: &str,
        span: Span,
        env: &Env,
    ) -> bool {
        let needed = self.most_steps(by, env);
        if needed == Some(Steps::Number(0.0)) {
            return true;
        }
        let known: Vec<&Past> = env.past.iter().filter(|p| p.axis == axis).collect();
        let enough = |p: &Past| match (&p.least, &needed) {
            (Some(Steps::Number(have)), Some(Steps::Number(need))) => have >= need,
            (Some(Steps::Size(p)), Some(need)) => {
                *need == Steps::Size(*p)
                    || matches!((self.cells(*p), need), (Some(n), Steps::Number(need)) if n >= *need)
            }
            // Checked for every row once the data are there.
            (None, _) | (_, None) | (Some(Steps::Number(_)), Some(Steps::Size(_))) => true,
        };
        if known.iter().any(|p| enough(p)) {
            return true;
        }
        let what = match (&needed, walk.and_then(|w| self.hir.walks[w.0 as usize].by)) {
            (Some(Steps::Number(n)), _) if *n > 1.0 => format!("the first {n} rows have no row {n} before them"),
            (_, Some(by)) => format!("the first row of each `{}` has no row before it", self.hir.var(by).name),
            _ => "the first row has no row before it".into(),
        };
        let first = match &needed {
            Some(Steps::Number(n)) if *n > 1.0 => format!("first({name}, {n})"),
            Some(Steps::Size(p)) => format!("first({name}, size({}))", self.hir.plate(*p).name),
            Some(Steps::Number(_)) | None => format!("first({name})"),
        };
        let d = Code::LAG_BEFORE_START.at(span, what).here(match known.is_empty() {
            true => "read in every row",
            false => "the condition around it leaves out too few rows",
        });
        self.diags.push(d.help(format!(
            "write `if {first} then … else …` around it, or observe only the other rows: `[{name} in {} where not {first}]`",
            self.plate_name(axis)
        )));
        false
    }

    /// The most that a number of steps can be.
    fn most_steps(&self, by: &Expr, env: &Env) -> Option<Steps> {
        if let ExprKind::Size(p) = by.kind {
            return Some(self.cells(p).map_or(Steps::Size(p), Steps::Number));
        }
        // The index of a numbered plate, counted from 1.
        if let ExprKind::Binary(BinOp::Add, at, one) = &by.kind
            && let (ExprKind::Position(a), ExprKind::Number(1.0)) = (&at.kind, &one.kind)
            && matches!(at.ty, Ty::Index(_))
        {
            let plate = self.plate_of(*a);
            return Some(self.cells(plate).map_or(Steps::Size(plate), Steps::Number));
        }
        // A constant or data value may be given another value with the data.
        let mut given = false;
        walk(by, &mut |e| {
            if let ExprKind::Read { var, .. } = &e.kind {
                given |= matches!(self.hir.var(*var).kind, VarKind::Const { .. } | VarKind::DataValue { .. });
            }
        });
        let upper = self.range_in(by, env).upper;
        (upper.is_finite() && !given).then_some(Steps::Number(upper))
    }

    /// How many cells a plate has, if the model says so.
    fn cells(&self, plate: PlateId) -> Option<f64> {
        self.known_labels(plate).map(|l| l.len() as f64)
    }

    /// The environment where a condition holds, or does not.
    pub(super) fn where_(&self, c: &Expr, holds: bool, env: &Env) -> Env {
        let mut env = env.clone();
        self.past(c, holds, &mut env.past);
        env
    }

    fn past(&self, c: &Expr, holds: bool, out: &mut Vec<Past>) {
        match (&c.kind, holds) {
            (ExprKind::Unary(UnOp::Not, x), _) => self.past(x, !holds, out),
            (ExprKind::Binary(BinOp::And, a, b), true) | (ExprKind::Binary(BinOp::Or, a, b), false) => {
                self.past(a, holds, out);
                self.past(b, holds, out);
            }
            _ => {
                let mut seen = vec![];
                walk(c, &mut |e| {
                    let axis = self.step_axis(e).or(match e.kind {
                        ExprKind::Position(a) => Some(a),
                        _ => None,
                    });
                    seen.extend(axis.filter(|a| !seen.contains(a)));
                });
                let least = self.least_steps(c, holds);
                for axis in seen {
                    match &least {
                        Some((own, n)) if *own == axis => {
                            if let Some(n) = n {
                                out.push(Past { axis, least: Some(n.clone()) });
                            }
                        }
                        _ => out.push(Past { axis, least: None }),
                    }
                }
            }
        }
    }

    /// The axis of which this is the number of steps before the current one.
    fn step_axis(&self, e: &Expr) -> Option<AxisId> {
        match &e.kind {
            ExprKind::Position(a) if e.ty == Ty::Int => Some(*a),
            ExprKind::Read { var, index } => match (&self.hir.var(*var).kind, index.as_slice()) {
                (VarKind::Order { part: OrderPart::Steps, .. }, [Index::Axis(a)]) => Some(*a),
                _ => None,
            },
            _ => None,
        }
    }

    /// What a comparison of a step with a number says: of which axis, and how many steps there are then at least; none
    /// if the comparison says nothing of the sort.
    fn least_steps(&self, c: &Expr, holds: bool) -> Option<(AxisId, Option<Steps>)> {
        let ExprKind::Binary(op, l, r) = &c.kind else { return None };
        // The step, and what `row(t)` adds to it.
        let side = |e: &Expr| match &e.kind {
            ExprKind::Binary(BinOp::Add, x, one) => match one.kind {
                ExprKind::Number(n) => self.step_axis(x).map(|a| (a, n)),
                _ => None,
            },
            _ => self.step_axis(e).map(|a| (a, 0.0)),
        };
        let steps = |e: &Expr, add: f64| match &e.kind {
            ExprKind::Number(n) => Some(Steps::Number(n + add)),
            ExprKind::Size(p) if add == 0.0 => Some(self.cells(*p).map_or(Steps::Size(*p), Steps::Number)),
            ExprKind::Size(p) => self.cells(*p).map(|n| Steps::Number(n + add)),
            _ => None,
        };
        match (op, side(l), side(r)) {
            // step + c < n
            (BinOp::Less, Some((a, c)), None) if holds => steps(r, -c).map(|_| (a, None)),
            (BinOp::Less, Some((a, c)), None) => steps(r, -c).map(|n| (a, Some(n))),
            (BinOp::LessEq, Some((a, c)), None) if holds => steps(r, -c).map(|_| (a, None)),
            (BinOp::LessEq, Some((a, c)), None) => steps(r, 1.0 - c).map(|n| (a, Some(n))),
            // n < step + c
            (BinOp::Less, None, Some((a, c))) if holds => steps(l, 1.0 - c).map(|n| (a, Some(n))),
            (BinOp::LessEq, None, Some((a, c))) if holds => steps(l, -c).map(|n| (a, Some(n))),
            (BinOp::Less | BinOp::LessEq, None, Some((a, c))) => steps(l, -c).map(|_| (a, None)),
            // Not the first row, or that alone.
            (BinOp::Equal, Some((a, c)), None) => match steps(r, -c)? {
                Steps::Number(0.0) if !holds => Some((a, Some(Steps::Number(1.0)))),
                Steps::Number(n) if holds => Some((a, Some(Steps::Number(n)))),
                Steps::Number(_) | Steps::Size(_) => None,
            },
            (BinOp::NotEqual, Some((a, c)), None) => match steps(r, -c)? {
                Steps::Number(0.0) if holds => Some((a, Some(Steps::Number(1.0)))),
                Steps::Number(n) if !holds => Some((a, Some(Steps::Number(n)))),
                Steps::Number(_) | Steps::Size(_) => None,
            },
            _ => None,
        }
    }

    /// The lag that an index is.
    pub(super) fn as_lag<'e>(&self, e: &'e Expr) -> Option<Lag<'e>> {
        match &e.kind {
            ExprKind::Binary(BinOp::Sub, at, by) if matches!(e.ty, Ty::Index(_)) => match at.kind {
                ExprKind::Position(axis) => Some(Lag { axis, walk: None, by }),
                _ => None,
            },
            ExprKind::If { then, .. } => {
                let ExprKind::Read { var, index } = &then.kind else { return None };
                let VarKind::Order { walk, part: OrderPart::Rows } = self.hir.var(*var).kind else { return None };
                let [Index::At(before)] = index.as_slice() else { return None };
                let ExprKind::Binary(BinOp::Sub, rank, by) = &before.kind else { return None };
                match &rank.kind {
                    ExprKind::Read { index, .. } => match index.as_slice() {
                        [Index::Axis(axis)] => Some(Lag { axis: *axis, walk: Some(walk), by }),
                        _ => None,
                    },
                    _ => None,
                }
            }
            _ => None,
        }
    }
}

fn count(n: usize) -> String {
    match n {
        0 => "no argument".into(),
        1 => "one argument".into(),
        n => format!("{n} arguments"),
    }
}

/// `t - a - b + c` as `t` and what is taken from it, or (`true`) added.
fn lag_parts(e: &ast::Expr) -> Option<(&ast::Expr, Vec<(bool, &ast::Expr)>)> {
    let A::Binary { op, left, right } = &e.kind else { return None };
    let added = match op {
        BinaryOp::Add => true,
        BinaryOp::Sub => false,
        _ => return None,
    };
    let (base, mut parts) = match &left.kind {
        A::Name(_) => (&**left, vec![]),
        _ => lag_parts(left)?,
    };
    parts.push((added, right));
    Some((base, parts))
}

/// Whether an index is written as one of another row: `t - 1`.
pub(super) fn is_lag(item: &ast::IndexItem) -> bool {
    match item {
        ast::IndexItem::Expr(e) => lag_parts(e).is_some(),
        ast::IndexItem::Axis(_) => false,
    }
}
