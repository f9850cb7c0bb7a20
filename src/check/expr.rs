//! Expressions: names resolved, plates and types found from the leaves up.

use super::names::Later;
use super::*;
use crate::diag::Code;
use crate::syntax::ast::{BinaryOp, ExprKind as A, UnaryOp};
use crate::syntax::explain::UNREAD_TABLE;

/// Trees stay shallower than this, with the functions that they call, so that no recursion exhausts the stack.
const MOST_DEEP: usize = 1500;

/// The bits of the number that stands for a mistake: a NaN that no arithmetic gives, unlike the constant `nan`.
const BAD: u64 = 0x7ff8_0bad_0bad_0bad;

/// What other languages write where there is no value.
const NOTHING: &[&str] = &["NA", "NULL", "None", "null", "missing", "NaN"];

impl<'a> Checker<'a, '_> {
    /// Check an expression in an environment. A mistake is reported once and gives a value that fits anywhere.
    pub(super) fn expr(&mut self, e: &'a ast::Expr, env: &Env) -> Expr {
        self.depth += 1;
        let out = if self.depth > MOST_DEEP {
            self.too_far();
            bad(e.span)
        } else {
            self.expr_within(e, env)
        };
        self.depth -= 1;
        out
    }

    // The parts are functions of their own, and not inlined: this frame is on the stack once per level of nesting.
    fn expr_within(&mut self, e: &'a ast::Expr, env: &Env) -> Expr {
        match &e.kind {
            A::Number { value, .. } => number(*value, if value.fract() == 0.0 { Ty::Int } else { Ty::Real }, e.span),
            A::Name(name) => self.name(name, e.span, env),
            A::Unary { op, operand } => {
                let x = self.expr(operand, env);
                self.unary(*op, x, e.span)
            }
            A::Binary { op, left, right } => {
                if let (A::Text(label), other) | (other, A::Text(label)) = (&left.kind, &right.kind) {
                    let text = if matches!(left.kind, A::Text(_)) { left.span } else { right.span };
                    return self.compared_with_text(label, text, other, e.span);
                }
                let l = self.expr(left, env);
                // The second condition matters only where the first leaves it open.
                let open = match op {
                    BinaryOp::And => Some(self.where_(&l, true, env)),
                    BinaryOp::Or => Some(self.where_(&l, false, env)),
                    _ => None,
                };
                let r = self.expr(right, open.as_ref().unwrap_or(env));
                self.binary(*op, l, r, e.span)
            }
            A::If { condition, then, otherwise } => {
                let c = self.expr(condition, env);
                let (yes, no) = (self.where_(&c, true, env), self.where_(&c, false, env));
                let t = self.expr(then, &yes);
                let o = self.expr(otherwise, &no);
                self.choice_of_values(c, t, o, e.span)
            }
            A::Call { callee, args } => self.call(e, callee, args, env),
            A::Index { base, items } => self.index(e, base, items, env),
            A::Field { base, name } => self.field(e, base, name, env),
            A::List(items) => self.list(items, e.span, env),
            A::Block { lets, value } => self.block(lets, value, env),
            A::Pipe { .. } => self.pipe(e.span),
            A::Text(text) => self.text(text, e.span),
            A::Error => bad(e.span),
        }
    }

    #[inline(never)]
    fn unary(&mut self, op: UnaryOp, x: Expr, span: Span) -> Expr {
        match op {
            UnaryOp::Neg => {
                let x = self.numeric(x, "negate this");
                let ty = if x.ty == Ty::Real { Ty::Real } else { Ty::Int };
                unary(UnOp::Neg, x, ty, span)
            }
            UnaryOp::Not => {
                let x = self.condition(x, "`not`");
                unary(UnOp::Not, x, Ty::Bool, span)
            }
        }
    }

    #[inline(never)]
    fn choice_of_values(&mut self, c: Expr, t: Expr, o: Expr, span: Span) -> Expr {
        let c = self.condition(c, "`if`");
        self.reject_latent_condition(&c);
        let (t, o) = (self.numeric(t, "choose this"), self.numeric(o, "choose this"));
        if is_bad(&c) || is_bad(&t) || is_bad(&o) {
            return bad(span);
        }
        let axes = union(&c.axes, &union(&t.axes, &o.axes));
        let ty = wider(t.ty, o.ty);
        let kind = ExprKind::If { condition: c.into(), then: t.into(), otherwise: o.into() };
        Expr { kind, ty, axes, span }
    }

    #[inline(never)]
    fn pipe(&mut self, span: Span) -> Expr {
        self.diags.push(
            Code::PIPE_OUTSIDE_NET
                .at(span, "`|>` composes the layers of a `net`; it has no meaning for numbers")
                .here("not in the body of a net")
                .help("call the function: `f(x)`"),
        );
        bad(span)
    }

    #[inline(never)]
    fn text(&mut self, text: &str, span: Span) -> Expr {
        let d = Code::TEXT_AS_NUMBER.at(span, "text cannot be used as a number").here("a label");
        let value = self.names.get(text).is_some_and(|e| e.var.is_some());
        self.diags.push(match text.parse::<f64>() {
            Ok(number) if number.is_finite() && !text.starts_with(['+', '.']) => {
                d.help(format!("write `{text}`")).mend(span, text)
            }
            _ if value => d.help(format!("names stand without quotes: `{text}`")).mend(span, text),
            _ => d.help("labels stand inside `[ ]`, to pick a cell of a plate: `beta[\"slope\"]`"),
        });
        bad(span)
    }

    #[inline(never)]
    fn name(&mut self, name: &str, span: Span, env: &Env) -> Expr {
        if let Some((_, local)) = env.locals.iter().rev().find(|(n, _)| n == name) {
            return Expr { kind: ExprKind::Local(local.id), ty: local.ty, axes: local.axes.clone(), span };
        }
        if let Some((_, axis)) = env.binders.iter().rev().find(|(n, _)| n == name) {
            return self.position(*axis, span);
        }
        if let Some((_, axis)) = env.plates.iter().find(|(n, _)| n == name) {
            let at = self.hir.plate(self.plate_of(*axis)).span;
            return self.plate_as_value(name, "plate", span, at);
        }
        if let Some(entry) = self.names.get(name).filter(|_| env.scope != Scope::Library).cloned() {
            if let Some(var) = entry.var {
                return self.read_bare(var, span, env);
            }
            if !entry.ambiguous.is_empty() {
                return self.ambiguous(name, span, &entry.ambiguous);
            }
            if let Some((part, _)) = entry.parts.first() {
                self.diags.push(
                    Code::NET_PARTS
                        .at(span, format!("`{name}` holds {} values of a net", entry.parts.len()))
                        .here("several values where one is needed")
                        .label(entry.span, "declared here")
                        .help(format!("write which one: `{name}.{part}`")),
                );
                return bad(span);
            }
            let kind = if entry.table.is_some() { "table" } else { "plate" };
            return self.plate_as_value(name, kind, span, entry.span);
        }
        if let Some(v) = builtins::constant(name) {
            let ty = if matches!(name, "true" | "false") { Ty::Bool } else { Ty::Real };
            return number(v, ty, span);
        }
        self.unknown_name(name, span, env);
        bad(span)
    }

    fn plate_as_value(&mut self, name: &str, kind: &str, span: Span, declared: Span) -> Expr {
        let d = Code::PLATE_AS_VALUE
            .at(span, format!("`{name}` is a {kind}, not a value"))
            .here("a value is needed here")
            .help(format!("its number of cells is `size({name})`"));
        self.diags.push(if declared.file == span.file { d.label(declared, "declared here") } else { d });
        bad(span)
    }

    /// `sex == "male"`: a label is not a value that can be compared.
    #[inline(never)]
    fn compared_with_text(&mut self, label: &str, text: Span, other: &A, span: Span) -> Expr {
        let d = Code::TEXT_AS_NUMBER.at(text, "text cannot be compared or computed with").here("a label");
        let name =
            if let A::Name(n) = other { self.names.get(n).filter(|e| e.plate.is_some()).map(|_| n) } else { None };
        if let Some(var) = name.and_then(|n| self.names.get(n)).and_then(|e| e.var) {
            self.used.insert(var);
        }
        self.diags.push(match name {
            Some(n) => d.help(format!(
                "give each level a value, `latent a[{n}] ~ …`, and pick it by `a[{n}]`; or declare a `bool` column that says whether it is \"{label}\""
            )),
            None => d.help("labels stand inside `[ ]`, to pick a cell of a plate: `beta[\"slope\"]`"),
        });
        bad(span)
    }

    fn ambiguous(&mut self, name: &str, span: Span, columns: &[VarId]) -> Expr {
        let table = |c: &Self, v: &VarId| match &c.hir.var(*v).kind {
            VarKind::Column(col) => c.hir.table(col.table).name.clone(),
            _ => String::new(),
        };
        let mut d = Code::AMBIGUOUS_COLUMN
            .at(span, format!("`{name}` is a column of more than one table"))
            .here("which one?")
            .help(format!("write `{}.{name}`", table(self, &columns[0])))
            .edit(span, format!("{}.{name}", table(self, &columns[0])));
        for v in columns {
            d = d.label(self.hir.var(*v).span, format!("a column of `{}`", table(self, v)));
        }
        self.diags.push(d);
        bad(span)
    }

    pub(super) fn unknown_name(&mut self, name: &str, span: Span, env: &Env) {
        if self.poisoned.contains(name) || self.hir.tables.is_empty() && self.poisoned.contains(UNREAD_TABLE) {
            return;
        }
        if self.hidden_index(name, span, env) {
            return;
        }
        if let Some(later) = self.names.later.get(name).filter(|_| env.scope != Scope::Library) {
            let d = self.before_its_time(name, *later, span, env);
            self.diags.push(d);
            return;
        }
        let of_step = matches!(name, "first" | "row");
        let callable = self.function(name, env).is_some() || self.net(name, env).is_some();
        let word = match (callable.then_some(()), builtins::builtin(name), self.forms(name)) {
            (None, None, None) if of_step => {
                Some(("a function of an index name", format!("write `{name}(t)`, where the left side says `t in …`")))
            }
            (Some(_), ..) | (_, Some(_), _) => Some(("a function", format!("call it: `{name}(…)`"))),
            (.., Some(_)) => Some((
                "a distribution",
                format!("it stands to the right of `~`: `latent x ~ {}`", self.forms_text(name)),
            )),
            _ => None,
        };
        if let Some((what, help)) = word {
            self.diags.push(
                Code::FUNCTION_AS_VALUE
                    .at(span, format!("`{name}` is {what}"))
                    .here("its arguments are missing")
                    .help(help),
            );
            return;
        }
        let constants = CONSTANTS.iter().map(|c| c.0);
        let scope: Vec<&str> = env
            .locals
            .iter()
            .map(|(n, _)| n.as_str())
            .chain(env.binders.iter().map(|(n, _)| n.as_str()))
            .chain(constants)
            .collect();
        let near = if env.closed() {
            crate::diag::nearest(name, scope).map(str::to_string)
        } else {
            // A name whose declaration failed may well be meant.
            let poisoned = self.poisoned.iter().map(String::as_str);
            self.names.suggest(name, scope.iter().copied().chain(poisoned)).map(str::to_string)
        };
        let mut d = Code::UNKNOWN_NAME.at(span, format!("there is no value called `{name}`")).here("not declared");
        d = match near.filter(|_| !NOTHING.contains(&name)) {
            Some(n) => d.meant(n),
            None if env.closed() => d.help(format!("add a parameter: `{name}: real`")),
            None if env.scope == Scope::Constant => d.help(format!("declare it above: `const {name} = 3`")),
            None if NOTHING.contains(&name) => d.help(
                "no value is missing here: a column with empty cells is declared `real?`, and modelled by an `observe`",
            ),
            None if name == "N" && self.hir.tables.len() == 1 => {
                let size = format!("size({})", self.hir.tables[0].name);
                d.help(format!("the number of rows is `{size}`")).edit(span, size)
            }
            None => {
                let d =
                    d.help(format!("declare it above: a column of a table, `latent {name} ~ …`, or `let {name} = …`"));
                // Above the line that asks for it; the prior is for the author to choose.
                let scale = ["sigma", "tau", "sd", "scale", "omega", "s_"].iter().any(|w| name.starts_with(w));
                let prior = if scale { "HalfNormal(1)" } else { "Normal(0, 1)" };
                let here = self.current.file == span.file && self.current.start <= span.start;
                match here && env.scope == Scope::Model {
                    true => {
                        let line = format!("latent {name} ~ {prior}\n");
                        d.edit(Span { end: self.current.start, ..self.current }, line)
                    }
                    false => d,
                }
            }
        };
        self.diags.push(d);
    }

    /// What to say about a name whose declaration has not been reached.
    fn before_its_time(&self, name: &str, later: Later, span: Span, env: &Env) -> crate::diag::Diagnostic {
        let inside = later.name.start >= self.current.start && later.name.end <= self.current.end;
        if env.closed() && !matches!(later.what, "constant" | "data value") {
            return Code::NOT_VISIBLE_IN_BODY
                .at(span, format!("`{name}` cannot be seen in the body of a function or distribution"))
                .here("not a parameter")
                .label(later.name, "declared here")
                .help(format!("add a parameter and pass `{name}` in the call"));
        }
        if env.scope == Scope::Constant && matches!(later.what, "latent" | "param" | "let" | "report") {
            return Code::CONST_NOT_CONSTANT
                .at(span, format!("`{name}` is a {}, and this must be known before fitting", later.what))
                .here("not a constant")
                .label(later.name, "declared here")
                .help("use numbers and constants only");
        }
        if inside {
            let index = self.heads.get(name).and_then(|h| h.1.axes.iter().find_map(|a| a.index.as_ref()));
            let help = match (later.what, index) {
                (_, Some(t)) => format!("an earlier row of it is `{name}[{}-1]`", t.name),
                ("latent" | "param", None) => "a distribution can depend on the values above it only".into(),
                _ => "a name has one value: give the new value a name of its own".into(),
            };
            return Code::USED_BEFORE_DECLARED
                .at(span, format!("`{name}` is used in its own definition"))
                .here("used here")
                .label(later.name, "defined here")
                .help(help);
        }
        Code::USED_BEFORE_DECLARED
            .at(span, format!("`{name}` is used before it is declared"))
            .here("used here")
            .label(later.name, "declared further down")
            .help("move its declaration above this line")
    }

    /// A variable under its bare name: every dimension at the current cell.
    pub(super) fn read_bare(&mut self, var: VarId, span: Span, env: &Env) -> Expr {
        let v = self.hir.var(var);
        if env.closed() && !matches!(v.kind, VarKind::DataValue { .. } | VarKind::Const { .. }) {
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
            let (name, at) = (v.name.clone(), v.span);
            self.diags.push(
                Code::KEY_AS_VALUE
                    .at(span, format!("`{name}` holds row labels, not numbers"))
                    .here("labels of rows")
                    .label(at, "declared `key` here")
                    .help("declare the column `int` or `real` if it is a quantity, `category` if it names groups"),
            );
            return bad(span);
        }
        let index = axes.iter().map(|&a| Index::Axis(a)).collect();
        self.used.insert(var);
        axes.sort_unstable();
        let doubled = axes.windows(2).any(|w| self.plate_of(w[0]) == self.plate_of(w[1]));
        if doubled {
            if !self.matrices.insert((var, self.current)) {
                return bad(span); // reported once in this declaration
            }
            let (name, at) = (self.hir.var(var).name.clone(), self.hir.var(var).span);
            self.diags.push(
                Code::BARE_MATRIX
                    .at(span, format!("`{name}` is a matrix: it varies twice over the same plate"))
                    .here("which of the two indices is meant?")
                    .label(at, "declared here")
                    .help(format!("name the indices on the left side and use them: `{name}[i, j]`")),
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

    #[inline(never)]
    fn binary(&mut self, op: BinaryOp, l: Expr, r: Expr, span: Span) -> Expr {
        use BinaryOp as B;
        if is_bad(&l) && is_bad(&r) {
            return bad(span);
        }
        let (bin, ty, swap) = match op {
            B::And | B::Or => {
                let word = format!("`{}`", op.symbol());
                let (l, r) = (self.condition(l, &word), self.condition(r, &word));
                let op = if op == B::And { BinOp::And } else { BinOp::Or };
                return binary(op, l, r, Ty::Bool, span);
            }
            B::Equal | B::NotEqual => {
                if is_same_index(&l, &r) {
                    let op = if op == B::Equal { BinOp::Equal } else { BinOp::NotEqual };
                    return binary(op, l, r, Ty::Bool, span);
                }
                (if op == B::Equal { BinOp::Equal } else { BinOp::NotEqual }, Some(Ty::Bool), false)
            }
            // Cells of one plate stand in its order.
            B::Less if is_same_index(&l, &r) => return binary(BinOp::Less, l, r, Ty::Bool, span),
            B::LessEq if is_same_index(&l, &r) => return binary(BinOp::LessEq, l, r, Ty::Bool, span),
            B::Greater if is_same_index(&l, &r) => return binary(BinOp::Less, r, l, Ty::Bool, span),
            B::GreaterEq if is_same_index(&l, &r) => return binary(BinOp::LessEq, r, l, Ty::Bool, span),
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
        let what = match op {
            B::Add => "add this",
            B::Sub => "subtract this",
            B::Mul => "multiply this",
            B::Div => "divide this",
            B::Pow => "raise this to a power",
            _ => "compare this",
        };
        let (l, r) = (self.numeric(l, what), self.numeric(r, what));
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
                    let plate = self.hir.plate(plate);
                    let text = match &e.kind {
                        ExprKind::Read { var, .. } => Some(self.hir.var(*var)),
                        _ => None,
                    };
                    let said = match text {
                        Some(v) if v.name == plate.name => format!("`{}` is a category", v.name),
                        Some(v) => format!("`{}` picks a cell of `{}`", v.name, plate.name),
                        None => format!("it picks a cell of `{}`", plate.name),
                    };
                    let d = Code::INDEX_AS_NUMBER
                        .at(e.span, format!("cannot {what}: {said}, not a number"))
                        .here("an index");
                    let d = match text {
                        Some(v) => d
                            .label(v.span, "declared here")
                            .help(format!("use it inside `[ ]`, as in `a[{}]`, or declare the column `int`", v.name)),
                        None if plate.span.file == e.span.file => {
                            d.label(plate.span, "the plate").help("use it inside `[ ]`, to pick a cell")
                        }
                        None => d.help("use it inside `[ ]`, to pick a cell"),
                    };
                    self.diags.push(d);
                    bad(e.span)
                }
            },
            Ty::Key | Ty::Date => {
                self.diags.push(
                    Code::INDEX_AS_NUMBER
                        .at(e.span, format!("cannot {what}: this is a label, not a number"))
                        .here("a label")
                        .help("declare the column `int` or `real`"),
                );
                bad(e.span)
            }
        }
    }

    /// A truth value; a number is not one.
    pub(super) fn condition(&mut self, e: Expr, place: &str) -> Expr {
        let literal = matches!(e.kind, ExprKind::Number(v) if v == 0.0 || v == 1.0);
        if e.ty == Ty::Bool || is_bad(&e) || literal {
            return e;
        }
        let is = self.ty_text(e.ty);
        let d = Code::NOT_A_CONDITION
            .at(e.span, format!("{place} needs a condition, and this is {is}"))
            .here("neither true nor false");
        let d = match &e.kind {
            ExprKind::Read { var, .. } if e.ty == Ty::Int || e.ty == Ty::Real => {
                let v = self.hir.var(*var);
                let d = d.label(v.span, "declared here");
                match v.kind {
                    VarKind::Column(_) => {
                        d.help(format!("compare it, `{0} > 0`, or declare the column `{0}: bool`", v.name))
                    }
                    _ => d.help(format!("compare it: `{} > 0`", v.name)),
                }
            }
            _ if matches!(e.ty, Ty::Index(_)) => d.help("compare two indices of one plate, or declare a `bool` column"),
            _ => d.help("compare it: `… > 0`, `… == 1`"),
        };
        self.diags.push(d);
        bad(e.span)
    }

    /// A condition on a continuous latent makes the density jump: no gradient can see that.
    fn reject_latent_condition(&mut self, c: &Expr) {
        if let Some((var, span)) = self.smooth_in(c) {
            let v = self.hir.var(var);
            let d = Code::LATENT_CONDITION
                .at(span, format!("the condition of `if` depends on the {} `{}`", self.word(var), v.name))
                .here("not known before fitting")
                .label(v.span, "declared here")
                .help(
                    "a condition may use data and discrete latents; for a smooth switch write `inv_logit((x - c) / w)`, or `max`/`min`",
                );
            self.diags.push(d);
        }
    }

    /// What kind of value a variable is, for messages.
    pub(super) fn word(&self, var: VarId) -> &'static str {
        match self.hir.var(var).kind {
            VarKind::Column(_) => "column",
            VarKind::DataValue { .. } => "data value",
            VarKind::Const { .. } => "constant",
            VarKind::Latent => "latent",
            VarKind::Param { .. } => "param",
            VarKind::Let => "let",
            VarKind::Report => "report",
            VarKind::Start { .. } => "start",
            VarKind::Mask { .. } => "mask of a dropout",
            VarKind::Order { .. } => "order of rows",
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
            VarKind::Let | VarKind::Report => self.random.contains(&var),
            // Its empty cells may be latents.
            VarKind::Column(Column { optional, .. }) => optional,
            VarKind::DataValue { .. }
            | VarKind::Const { .. }
            | VarKind::Order { .. }
            | VarKind::Start { .. }
            | VarKind::Mask { .. } => false,
        }
    }

    #[inline(never)]
    fn field(&mut self, e: &'a ast::Expr, base: &'a ast::Expr, name: &Ident, env: &Env) -> Expr {
        if let Some(net) = self.parts_call(base, env) {
            return self.part_of_call(e, base, net, name, env);
        }
        let A::Name(table_name) = &base.kind else {
            let b = self.expr(base, env);
            if !is_bad(&b) {
                self.diags.push(
                    Code::UNKNOWN_FIELD
                        .at(name.span, format!("nothing here has a part called `{}`", name.name))
                        .here("not the column of a table")
                        .help("write `table.column`"),
                );
            }
            return bad(e.span);
        };
        if let Some(entry) = self.names.get(table_name).filter(|e| !e.parts.is_empty()).cloned() {
            return match entry.parts.iter().find(|p| p.0 == name.name) {
                Some((_, var)) => self.read_bare(*var, e.span, env),
                None => {
                    let known: Vec<String> = entry.parts.iter().map(|p| p.0.clone()).collect();
                    self.no_such_part(table_name, name, &known, entry.span);
                    bad(e.span)
                }
            };
        }
        if self.poisoned.contains(table_name) || self.poisoned.contains(&name.name) {
            return bad(e.span);
        }
        let Some(table) = self.names.get(table_name).and_then(|n| n.table) else {
            let near = self.hir.tables.iter().map(|t| t.name.as_str());
            let near = crate::diag::nearest(table_name, near).map(str::to_string);
            let d = match self.names.get(table_name) {
                Some(old) => Code::UNKNOWN_FIELD
                    .at(base.span, format!("`{table_name}` is a {}, not a table", old.what))
                    .label(old.span, "declared here"),
                None => Code::UNKNOWN_FIELD.at(base.span, format!("there is no table called `{table_name}`")),
            };
            let d = d.here("not a table");
            self.diags.push(match near {
                Some(n) => d.help(format!("did you mean `{n}.{}`?", name.name)).edit(base.span, n),
                None => d.help("before `.` stands the name of a table"),
            });
            return bad(e.span);
        };
        let table = self.hir.table(table);
        if let Some(&v) = table.columns.iter().find(|v| self.hir.var(**v).name == name.name) {
            return self.read_bare(v, e.span, env);
        }
        let columns: Vec<&str> = table.columns.iter().map(|v| self.hir.var(*v).name.as_str()).collect();
        let mut d = Code::UNKNOWN_FIELD
            .at(name.span, format!("the table `{table_name}` has no column `{}`", name.name))
            .here("not a column")
            .label(table.span, "declared here");
        d = match crate::diag::nearest(&name.name, columns.iter().copied()) {
            Some(n) => d.help(format!("did you mean `{table_name}.{n}`?")).edit(name.span, n),
            None => {
                let first: Vec<String> = columns.iter().take(6).map(|c| format!("`{c}`")).collect();
                let more = if columns.len() > 6 { ", …" } else { "" };
                d.help(format!("its columns are {}{more}", first.join(", ")))
            }
        };
        self.diags.push(d);
        bad(e.span)
    }

    #[inline(never)]
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
        let plate = self.plate_of(axis);
        let Some(items) = self.in_plate_order(items, plate, span) else { return bad(span) };
        let items: Vec<Expr> = items
            .iter()
            .map(|i| {
                let e = self.expr(&i.value, &inner);
                self.numeric(e, "put this in a list")
            })
            .collect();
        if items.iter().any(is_bad) {
            return bad(span);
        }
        // Where the number of cells is not written in the model, it is compared when the data are bound.
        let cells = self.known_labels(plate).map(|l| l.len());
        let rows = matches!(self.hir.plate(plate).kind, PlateKind::Rows(_));
        if rows || cells.is_some_and(|n| n != items.len()) {
            let p = self.hir.plate(plate);
            let has = match cells {
                Some(1) => "has 1 cell".to_string(),
                Some(n) => format!("has {n} cells"),
                None => "has as many cells as the data have rows".into(),
            };
            let count = if items.len() == 1 { "1 item".to_string() } else { format!("{} items", items.len()) };
            let d = Code::LIST_LENGTH
                .at(span, format!("this list has {count}, and `{}` {has}", p.name))
                .here(count)
                .label(p.span, has)
                .help(match rows {
                    true => "values per row belong in a column of the data",
                    false => "write one item per cell",
                });
            self.diags.push(d);
            return bad(span);
        }
        let axes = items.iter().fold(vec![axis], |a, i| union(&a, &i.axes));
        let ty = items.iter().map(|i| i.ty).reduce(wider).unwrap_or(Ty::Real);
        Expr { kind: ExprKind::List { axis, items }, ty, axes, span }
    }

    /// Labelled items in the order of the plate's cells, `[slope: 1, intercept: 0]`; others as they stand.
    fn in_plate_order(
        &mut self,
        items: &'a [ast::ListItem],
        plate: PlateId,
        span: Span,
    ) -> Option<Vec<&'a ast::ListItem>> {
        let labels: Vec<&Ident> = items.iter().filter_map(|i| i.label.as_ref()).collect();
        if labels.is_empty() {
            return Some(items.iter().collect());
        }
        let name = self.hir.plate(plate).name.clone();
        for (i, l) in labels.iter().enumerate() {
            if let Some(old) = labels[..i].iter().find(|o| o.name == l.name) {
                self.diags.push(
                    Code::DUPLICATE_LABEL
                        .at(l.span, format!("the label `{}` stands twice in this list", l.name))
                        .here("the second time")
                        .label(old.span, "the first time")
                        .help("give every item a label of its own"),
                );
                return None;
            }
        }
        if let (true, Some(i)) = (labels.len() < items.len(), items.iter().find(|i| i.label.is_none())) {
            self.diags.push(
                Code::LIST_LENGTH
                    .at(i.value.span, "either every item of a list has a label, or none does")
                    .here("no label")
                    .help("write `name: value`"),
            );
            return None;
        }
        let Some(cells) = self.known_labels(plate) else {
            self.diags.push(
                Code::LIST_WITHOUT_PLATE
                    .at(span, format!("the cells of `{name}` are known with the data only"))
                    .here("labels that cannot be compared")
                    .help(format!("name the cells in the model: `plate {name} = [\"…\"]`")),
            );
            return None;
        };
        if let Some(l) = labels.iter().find(|l| !cells.contains(&l.name)) {
            let d = self.no_such_label(&l.name, l.span, plate);
            self.diags.push(d);
            return None;
        }
        let item = |c: &String| items.iter().find(|i| i.label.as_ref().is_some_and(|l| l.name == *c));
        let ordered: Vec<&ast::ListItem> = cells.iter().filter_map(item).collect();
        Some(ordered)
    }

    #[inline(never)]
    fn block(&mut self, lets: &'a [(ast::Head, ast::Expr)], value: &'a ast::Expr, env: &Env) -> Expr {
        let mut inner = env.clone();
        let mut bound = vec![];
        for (head, value) in lets {
            if let Some(a) = head.axes.iter().chain(&head.over).next() {
                self.diags.push(
                    Code::BINDER_MISPLACED
                        .at(a.span, "a `let` inside a function takes its plates from its value")
                        .here("not here")
                        .help(format!("write `let {} = …`", head.name.name)),
                );
            }
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
    if is_bad(&value) || is_bad(&body) {
        return bad(body.span);
    }
    let (ty, axes, span) = (body.ty, body.axes.clone(), body.span);
    Expr { kind: ExprKind::Bind { local, value: value.into(), body: body.into() }, ty, axes, span }
}

pub(super) fn number(v: f64, ty: Ty, span: Span) -> Expr {
    Expr { kind: ExprKind::Number(v), ty, axes: vec![], span }
}

/// Stands for an expression whose mistake has been reported; it fits anywhere.
pub(super) fn bad(span: Span) -> Expr {
    number(f64::from_bits(BAD), Ty::Real, span)
}

pub(super) fn is_bad(e: &Expr) -> bool {
    matches!(e.kind, ExprKind::Number(v) if v.to_bits() == BAD)
}

pub(super) fn unary(op: UnOp, x: Expr, ty: Ty, span: Span) -> Expr {
    if is_bad(&x) {
        return bad(span);
    }
    let axes = x.axes.clone();
    Expr { kind: ExprKind::Unary(op, x.into()), ty, axes, span }
}

pub(super) fn binary(op: BinOp, l: Expr, r: Expr, ty: Ty, span: Span) -> Expr {
    if is_bad(&l) || is_bad(&r) {
        return bad(span);
    }
    let axes = union(&l.axes, &r.axes);
    Expr { kind: ExprKind::Binary(op, l.into(), r.into()), ty, axes, span }
}

/// Two positions on one plate.
fn is_same_index(a: &Expr, b: &Expr) -> bool {
    matches!((a.ty, b.ty), (Ty::Index(p), Ty::Index(q)) if p == q)
}

pub(super) fn wider(a: Ty, b: Ty) -> Ty {
    match (a, b) {
        (Ty::Bool, Ty::Bool) => Ty::Bool,
        (Ty::Bool | Ty::Int, Ty::Bool | Ty::Int) => Ty::Int,
        _ => Ty::Real,
    }
}

/// Visit an expression and everything under it.
pub(crate) fn walk(e: &Expr, f: &mut dyn FnMut(&Expr)) {
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
        ExprKind::Matrix { matrix, vector, .. } => {
            walk(matrix, f);
            if let Some((_, v)) = vector {
                walk(v, f);
            }
        }
        ExprKind::Ode(ode) => {
            ode.inputs().for_each(|e| walk(e, f));
            walk(&ode.rate, f);
        }
        ExprKind::Number(_) | ExprKind::Local(_) | ExprKind::Position(_) | ExprKind::Size(_) => {}
    }
}
