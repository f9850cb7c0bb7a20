//! Expressions: names resolved, plates and types found from the leaves up.

use super::*;
use crate::diag::Code;
use crate::syntax::ast::{BinaryOp, ExprKind as A, UnaryOp};

impl<'a> Checker<'a, '_> {
    /// Check an expression in an environment. A mistake is reported once and gives a value that fits anywhere.
    pub(super) fn expr(&mut self, e: &'a ast::Expr, env: &Env) -> Expr {
        match &e.kind {
            A::Number { value, .. } => number(*value, if value.fract() == 0.0 { Ty::Int } else { Ty::Real }, e.span),
            A::Name(name) => self.name(name, e.span, env),
            A::Unary { op, operand } => {
                let x = self.expr(operand, env);
                match op {
                    UnaryOp::Neg => {
                        let x = self.numeric(x, "negate");
                        let ty = if x.ty == Ty::Real { Ty::Real } else { Ty::Int };
                        unary(UnOp::Neg, x, ty, e.span)
                    }
                    UnaryOp::Not => {
                        let x = self.condition(x, "`not`");
                        unary(UnOp::Not, x, Ty::Bool, e.span)
                    }
                }
            }
            A::Binary { op, left, right } => {
                let (l, r) = (self.expr(left, env), self.expr(right, env));
                self.binary(*op, l, r, e.span)
            }
            A::If { condition, then, otherwise } => {
                let c = self.expr(condition, env);
                let c = self.condition(c, "`if`");
                self.reject_latent_condition(&c);
                let (t, o) = (self.expr(then, env), self.expr(otherwise, env));
                let (t, o) = (self.numeric(t, "choose"), self.numeric(o, "choose"));
                let axes = union(&c.axes, &union(&t.axes, &o.axes));
                let ty = wider(t.ty, o.ty);
                let kind = ExprKind::If { condition: c.into(), then: t.into(), otherwise: o.into() };
                Expr { kind, ty, axes, span: e.span }
            }
            A::Call { callee, args } => self.call(e, callee, args, env),
            A::Index { base, items } => self.index(e, base, items, env),
            A::Field { base, name } => self.field(e, base, name),
            A::List(items) => self.list(items, e.span, env),
            A::Block { lets, value } => self.block(lets, value, env),
            A::Pipe { .. } => {
                self.diags.push(
                    Code::NOT_YET_NET
                        .at(e.span, "`|>` composes the layers of a `net`; it has no meaning for numbers")
                        .help("call the function: `f(x)`"),
                );
                bad(e.span)
            }
            A::Text(_) => {
                self.diags.push(
                    Code::TEXT_AS_NUMBER
                        .at(e.span, "text cannot be used as a number")
                        .here("a label")
                        .help("labels stand inside `[ ]`, to pick a cell of a plate: `beta[\"slope\"]`"),
                );
                bad(e.span)
            }
            A::Error => bad(e.span),
        }
    }

    fn name(&mut self, name: &str, span: Span, env: &Env) -> Expr {
        if let Some((_, local)) = env.locals.iter().rev().find(|(n, _)| n == name) {
            return Expr { kind: ExprKind::Local(local.id), ty: local.ty, axes: local.axes.clone(), span };
        }
        if let Some((_, axis)) = env.binders.iter().rev().find(|(n, _)| n == name) {
            return self.position(*axis, span);
        }
        if let Some(entry) = self.names.get(name).cloned() {
            if let Some(var) = entry.var {
                return self.read_bare(var, span, env);
            }
            if !entry.ambiguous.is_empty() {
                return self.ambiguous(name, span, &entry.ambiguous);
            }
            self.diags.push(
                Code::PLATE_AS_VALUE
                    .at(
                        span,
                        format!("`{name}` is a {}, not a value", if entry.table.is_some() { "table" } else { "plate" }),
                    )
                    .here("a value is needed here")
                    .label(entry.span, "declared here")
                    .help(format!("its number of cells is `size({name})`")),
            );
            return bad(span);
        }
        if let Some(v) = builtins::constant(name) {
            let ty = if matches!(name, "true" | "false") { Ty::Bool } else { Ty::Real };
            return number(v, ty, span);
        }
        self.unknown_name(name, span, env);
        bad(span)
    }

    fn ambiguous(&mut self, name: &str, span: Span, columns: &[VarId]) -> Expr {
        let table = |c: &Self, v: &VarId| match &c.hir.var(*v).kind {
            VarKind::Column(col) => c.hir.table(col.table).name.clone(),
            _ => String::new(),
        };
        let mut d = Code::AMBIGUOUS_COLUMN
            .at(span, format!("`{name}` is a column of more than one table"))
            .help(format!("write `{}.{name}`", table(self, &columns[0])));
        for v in columns {
            d = d.label(self.hir.var(*v).span, format!("a column of `{}`", table(self, v)));
        }
        self.diags.push(d);
        bad(span)
    }

    pub(super) fn unknown_name(&mut self, name: &str, span: Span, env: &Env) {
        if self.poisoned.contains(name) {
            return;
        }
        if let Some(later) = self.names.later.get(name) {
            self.diags.push(
                Code::USED_BEFORE_DECLARED
                    .at(span, format!("`{name}` is used before it is declared"))
                    .here("used here")
                    .label(*later, "declared further down")
                    .help("move its declaration above this line"),
            );
            return;
        }
        if let Some(f) = self.fns.get(name) {
            let _ = f;
            self.diags.push(
                Code::FUNCTION_AS_VALUE
                    .at(span, format!("`{name}` is a function"))
                    .here("its arguments are missing")
                    .help(format!("call it: `{name}(…)`")),
            );
            return;
        }
        let scope: Vec<&str> = env.locals.iter().map(|(n, _)| n.as_str()).collect();
        let near = if env.closed {
            let mut names = scope.clone();
            names.extend(CONSTANTS.iter().map(|c| c.0));
            crate::diag::nearest(name, names).map(str::to_string)
        } else {
            self.names.suggest(name, scope.iter().copied()).map(str::to_string)
        };
        let mut d = Code::UNKNOWN_NAME.at(span, format!("there is no value called `{name}`")).here("not declared");
        d = match near {
            Some(n) => d.help(format!("did you mean `{n}`?")),
            None => d.help(format!("declare it above: a column of a table, `latent {name} ~ …`, or `let {name} = …`")),
        };
        self.diags.push(d);
    }

    /// A variable under its bare name: every dimension at the current cell.
    pub(super) fn read_bare(&mut self, var: VarId, span: Span, env: &Env) -> Expr {
        let v = self.hir.var(var);
        if env.closed && !matches!(v.kind, VarKind::DataValue { .. } | VarKind::Const { .. }) {
            let (name, at) = (v.name.clone(), v.span);
            self.diags.push(
                Code::NOT_VISIBLE_IN_BODY
                    .at(span, format!("`{name}` cannot be seen in the body of a function or distribution"))
                    .here("not a parameter")
                    .label(at, "declared here")
                    .help(format!("add a parameter and pass `{name}` in the call")),
            );
            return bad(span);
        }
        let v = self.hir.var(var);
        let mut axes = v.axes.clone();
        let ty = v.ty;
        if ty == Ty::Key {
            let name = v.name.clone();
            self.diags.push(
                Code::KEY_AS_VALUE
                    .at(span, format!("`{name}` holds row labels, not numbers"))
                    .help("a key names the rows of its table; remove it from the arithmetic"),
            );
            return bad(span);
        }
        let index = axes.iter().map(|&a| Index::Axis(a)).collect();
        self.used.insert(var);
        axes.sort_unstable();
        let doubled = axes.windows(2).any(|w| self.plate_of(w[0]) == self.plate_of(w[1]));
        if doubled {
            let (name, at) = (self.hir.var(var).name.clone(), self.hir.var(var).span);
            self.diags.push(
                Code::BARE_MATRIX
                    .at(span, format!("`{name}` is a matrix: it varies twice over the same plate"))
                    .here("which of the two indices is meant?")
                    .label(at, "declared here")
                    .help(format!("index it, `{name}[i, j]`, or pass it where a matrix is expected")),
            );
            return bad(span);
        }
        Expr { kind: ExprKind::Read { var, index }, ty, axes, span }
    }

    /// A binder used as a value: on a numbered plate it is its number.
    fn position(&mut self, axis: AxisId, span: Span) -> Expr {
        let plate = self.plate_of(axis);
        let ty = Ty::Index(plate);
        Expr { kind: ExprKind::Position(axis), ty, axes: vec![axis], span }
    }

    fn binary(&mut self, op: BinaryOp, l: Expr, r: Expr, span: Span) -> Expr {
        use BinaryOp as B;
        let (bin, ty, swap) = match op {
            B::And | B::Or => {
                let (l, r) = (self.condition(l, "`and`/`or`"), self.condition(r, "`and`/`or`"));
                let op = if op == B::And { BinOp::And } else { BinOp::Or };
                return binary(op, l, r, Ty::Bool, span);
            }
            B::Equal | B::NotEqual => {
                if let (Ty::Index(a), Ty::Index(b)) = (l.ty, r.ty)
                    && a == b
                {
                    let op = if op == B::Equal { BinOp::Equal } else { BinOp::NotEqual };
                    return binary(op, l, r, Ty::Bool, span);
                }
                (if op == B::Equal { BinOp::Equal } else { BinOp::NotEqual }, Some(Ty::Bool), false)
            }
            B::Less => (BinOp::Less, Some(Ty::Bool), false),
            B::LessEq => (BinOp::LessEq, Some(Ty::Bool), false),
            B::Greater => (BinOp::Less, Some(Ty::Bool), true),
            B::GreaterEq => (BinOp::LessEq, Some(Ty::Bool), true),
            B::Add => (BinOp::Add, None, false),
            B::Sub => (BinOp::Sub, None, false),
            B::Mul => (BinOp::Mul, None, false),
            B::Div => (BinOp::Div, Some(Ty::Real), false),
            B::Pow => (BinOp::Pow, None, false),
        };
        let what = format!("use with `{}`", op.symbol());
        let (l, r) = (self.numeric(l, &what), self.numeric(r, &what));
        let ty = ty.unwrap_or_else(|| if wider(l.ty, r.ty) == Ty::Real { Ty::Real } else { Ty::Int });
        if swap { binary(bin, r, l, ty, span) } else { binary(bin, l, r, ty, span) }
    }

    /// A number: real, int or bool; or the number of a numbered plate's cell. Anything else is reported.
    pub(super) fn numeric(&mut self, e: Expr, what: &str) -> Expr {
        match e.ty {
            Ty::Real | Ty::Int | Ty::Bool => e,
            Ty::Index(plate) => match &self.hir.plate(plate).kind {
                PlateKind::Sized(_) => {
                    let one = number(1.0, Ty::Int, e.span);
                    let span = e.span;
                    binary(BinOp::Add, e, one, Ty::Int, span)
                }
                PlateKind::Range(from, _) => {
                    let from = from.clone();
                    let span = e.span;
                    binary(BinOp::Add, e, from, Ty::Int, span)
                }
                _ => {
                    let (name, text) = (self.hir.plate(plate).name.clone(), self.text_of(&e));
                    self.diags.push(
                        Code::INDEX_AS_NUMBER
                            .at(e.span, format!("cannot {what}: {text} picks a cell of `{name}`, it is not a number"))
                            .label(self.hir.plate(plate).span, "the plate")
                            .help(format!(
                                "use it inside `[ ]`, as in `a[{}]`, or declare the column `int`",
                                text.trim_matches('`')
                            )),
                    );
                    bad(e.span)
                }
            },
            Ty::Key | Ty::Date => {
                self.diags
                    .push(Code::INDEX_AS_NUMBER.at(e.span, format!("cannot {what}: this is a label, not a number")));
                bad(e.span)
            }
        }
    }

    fn text_of(&self, e: &Expr) -> String {
        match &e.kind {
            ExprKind::Read { var, .. } => format!("`{}`", self.hir.var(*var).name),
            _ => "this".into(),
        }
    }

    /// A truth value; a number is not one.
    pub(super) fn condition(&mut self, e: Expr, place: &str) -> Expr {
        let literal = matches!(e.kind, ExprKind::Number(v) if v == 0.0 || v == 1.0);
        if e.ty == Ty::Bool || is_bad(&e) || literal {
            return e;
        }
        self.diags.push(
            Code::NOT_A_CONDITION
                .at(e.span, format!("{place} needs a condition, and this is a number"))
                .here("not true or false")
                .help("compare it: `… > 0`, `… == 1`; or declare the column `bool`"),
        );
        bad(e.span)
    }

    /// A condition on a continuous latent makes the density jump: no gradient can see that.
    fn reject_latent_condition(&mut self, c: &Expr) {
        if let Some((var, span)) = self.latent_in(c) {
            let v = self.hir.var(var);
            let d = Code::LATENT_CONDITION
                .at(span, format!("the condition of `if` depends on the latent `{}`", v.name))
                .here("not known before fitting")
                .label(v.span, "declared here")
                .help(
                    "a condition may use data only; for a smooth switch write `inv_logit((x - c) / w)`, or `max`/`min`",
                );
            self.diags.push(d);
        }
    }

    /// The first latent (or a `let` that depends on one) that an expression reads.
    pub(super) fn latent_in(&self, e: &Expr) -> Option<(VarId, Span)> {
        let mut found = None;
        walk(e, &mut |e| {
            if let ExprKind::Read { var, .. } = &e.kind
                && found.is_none()
                && self.depends_on_latent(*var)
            {
                found = Some((*var, e.span));
            }
        });
        found
    }

    pub(super) fn depends_on_latent(&self, var: VarId) -> bool {
        match self.hir.var(var).kind {
            VarKind::Latent | VarKind::Param { .. } => true,
            VarKind::Let | VarKind::Report => self.hir.steps.iter().any(|s| match s {
                Step::Let { var: v, value, .. } if *v == var => {
                    let mut yes = false;
                    walk(value, &mut |e| {
                        if let ExprKind::Read { var, .. } = &e.kind {
                            yes = yes || self.depends_on_latent(*var);
                        }
                    });
                    yes
                }
                _ => false,
            }),
            _ => false,
        }
    }

    fn field(&mut self, e: &ast::Expr, base: &ast::Expr, name: &Ident) -> Expr {
        let A::Name(table_name) = &base.kind else {
            self.diags.push(Code::UNKNOWN_FIELD.at(e.span, "only a table has columns to name with `.`"));
            return bad(e.span);
        };
        let Some(table) = self.names.get(table_name).and_then(|n| n.table) else {
            let near = self.hir.tables.iter().map(|t| t.name.as_str());
            let near = crate::diag::nearest(table_name, near).map(str::to_string);
            let mut d = Code::UNKNOWN_FIELD.at(base.span, format!("there is no table called `{table_name}`"));
            if let Some(n) = near {
                d = d.help(format!("did you mean `{n}.{}`?", name.name));
            }
            self.diags.push(d);
            return bad(e.span);
        };
        let table = self.hir.table(table);
        if let Some(&v) = table.columns.iter().find(|v| self.hir.var(**v).name == name.name) {
            return self.read_bare(v, e.span, &Env::default());
        }
        let columns: Vec<&str> = table.columns.iter().map(|v| self.hir.var(*v).name.as_str()).collect();
        let mut d = Code::UNKNOWN_FIELD
            .at(name.span, format!("the table `{table_name}` has no column `{}`", name.name))
            .label(table.span, format!("it has {}", columns.join(", ")));
        if let Some(n) = crate::diag::nearest(&name.name, columns) {
            d = d.help(format!("did you mean `{table_name}.{n}`?"));
        }
        self.diags.push(d);
        bad(e.span)
    }

    fn list(&mut self, items: &'a [ast::ListItem], span: Span, env: &Env) -> Expr {
        let Some(axis) = env.list_axis else {
            self.diags.push(
                Code::LIST_WITHOUT_PLATE.at(span, "this list has no plate to run over").here("over which plate?").help(
                    "give the declaration one plate, `let w[k] = [1, 2, 3]` with `plate k = 3`, and use `w` here",
                ),
            );
            return bad(span);
        };
        let inner = Env { list_axis: None, ..env.clone() };
        let items: Vec<Expr> = items
            .iter()
            .map(|i| {
                let e = self.expr(&i.value, &inner);
                self.numeric(e, "list")
            })
            .collect();
        if let PlateKind::Labels(labels) = &self.hir.plate(self.plate_of(axis)).kind
            && labels.len() != items.len()
        {
            let (n, name) = (labels.len(), self.plate_name(axis).to_string());
            self.diags.push(
                Code::LIST_LENGTH
                    .at(span, format!("this list has {} items, and `{name}` has {n} cells", items.len()))
                    .label(self.hir.plate(self.plate_of(axis)).span, "the plate"),
            );
            return bad(span);
        }
        let axes = items.iter().fold(vec![axis], |a, i| union(&a, &i.axes));
        let ty = items.iter().map(|i| i.ty).reduce(wider).unwrap_or(Ty::Real);
        Expr { kind: ExprKind::List { axis, items }, ty, axes, span }
    }

    fn block(&mut self, lets: &'a [(ast::Head, ast::Expr)], value: &'a ast::Expr, env: &Env) -> Expr {
        let mut inner = env.clone();
        let mut bound = vec![];
        for (head, value) in lets {
            let v = self.expr(value, &inner);
            let id = self.fresh_local();
            let range = self.range_in(&v, &inner);
            inner.locals.push((head.name.name.clone(), Local { id, ty: v.ty, axes: v.axes.clone(), range }));
            bound.push((id, v));
        }
        let body = self.expr(value, &inner);
        bound.into_iter().rev().fold(body, |body, (local, value)| bind(local, value, body))
    }

    pub(super) fn range_in(&self, e: &Expr, env: &Env) -> bounds::Range {
        bounds::range(&self.hir, e, &|l| {
            env.locals.iter().find(|(_, x)| x.id == l).map_or(bounds::Range::ALL, |(_, x)| x.range)
        })
    }
}

pub(super) fn bind(local: LocalId, value: Expr, body: Expr) -> Expr {
    let (ty, axes, span) = (body.ty, body.axes.clone(), body.span);
    Expr { kind: ExprKind::Bind { local, value: value.into(), body: body.into() }, ty, axes, span }
}

pub(super) fn number(v: f64, ty: Ty, span: Span) -> Expr {
    Expr { kind: ExprKind::Number(v), ty, axes: vec![], span }
}

/// Stands for an expression whose mistake has been reported; it fits anywhere.
pub(super) fn bad(span: Span) -> Expr {
    number(f64::NAN, Ty::Real, span)
}

pub(super) fn is_bad(e: &Expr) -> bool {
    matches!(e.kind, ExprKind::Number(v) if v.is_nan())
}

pub(super) fn unary(op: UnOp, x: Expr, ty: Ty, span: Span) -> Expr {
    let axes = x.axes.clone();
    Expr { kind: ExprKind::Unary(op, x.into()), ty, axes, span }
}

pub(super) fn binary(op: BinOp, l: Expr, r: Expr, ty: Ty, span: Span) -> Expr {
    let axes = union(&l.axes, &r.axes);
    Expr { kind: ExprKind::Binary(op, l.into(), r.into()), ty, axes, span }
}

pub(super) fn wider(a: Ty, b: Ty) -> Ty {
    match (a, b) {
        (Ty::Bool, Ty::Bool) => Ty::Bool,
        (Ty::Bool | Ty::Int, Ty::Bool | Ty::Int) => Ty::Int,
        _ => Ty::Real,
    }
}

/// Visit an expression and everything under it.
pub(super) fn walk(e: &Expr, f: &mut dyn FnMut(&Expr)) {
    f(e);
    let mut at = |i: &Index| {
        if let Index::At(e) = i {
            walk(e, f);
        }
    };
    match &e.kind {
        ExprKind::Read { index, .. } => index.iter().for_each(&mut at),
        ExprKind::At { body, index, .. } => {
            at(index);
            walk(body, f);
        }
        ExprKind::Bind { value, body, .. } => {
            walk(value, f);
            walk(body, f);
        }
        ExprKind::Unary(_, a) => walk(a, f),
        ExprKind::Binary(_, a, b) => {
            walk(a, f);
            walk(b, f);
        }
        ExprKind::If { condition, then, otherwise } => {
            walk(condition, f);
            walk(then, f);
            walk(otherwise, f);
        }
        ExprKind::Reduce { filter, body, .. } => {
            if let Some(x) = filter {
                walk(x, f);
            }
            walk(body, f);
        }
        ExprKind::List { items, .. } | ExprKind::Noise(_, items) => items.iter().for_each(|i| walk(i, f)),
        ExprKind::Number(_) | ExprKind::Local(_) | ExprKind::Position(_) | ExprKind::Size(_) => {}
    }
}
