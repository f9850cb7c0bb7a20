//! Tables, plates, constants and data values: what is known before fitting, declared before any step is checked.

use super::columns::source_span;
use super::expr::is_bad;
use super::names::Later;
use super::*;
use crate::diag::Code;
use crate::syntax::ast::{ColumnSource, ExprKind as A};

/// More cells than this is a slip of the keyboard, and would only exhaust the memory.
const MOST_CELLS: f64 = 1e9;

impl<'a> Checker<'a, '_> {
    pub(super) fn declare_data(&mut self, model: &'a Ast) {
        self.note_later(model);
        // Names of tables and plates first: a column may point into one that stands further down.
        for decl in &model.decls {
            match &decl.kind {
                DeclKind::Table { name, .. } => self.declare_table(name),
                DeclKind::Plate { name, value } => self.declare_plate(name, value),
                _ => {}
            }
        }
        let mut columns = vec![];
        for decl in &model.decls {
            if let DeclKind::Table { name, fields } = &decl.kind
                && let Some(table) = self.names.get(&name.name).filter(|e| e.span == name.span).and_then(|e| e.table)
            {
                for field in fields {
                    columns.extend(
                        field.names.iter().filter_map(|n| Some((self.declare_column(table, n, field)?, field))),
                    );
                }
            }
        }
        for decl in &model.decls {
            self.start(decl.span);
            match &decl.kind {
                DeclKind::Const { name, value } => self.declare_const(name, value),
                DeclKind::DataValue { names, ty, from, default } => {
                    self.declare_values(names, ty, from.as_ref(), default.as_ref());
                }
                DeclKind::Plate { name, value } => self.plate_size(name, value),
                _ => {}
            }
        }
        for decl in &model.decls {
            if let DeclKind::Plate { name, value } = &decl.kind {
                self.start(decl.span);
                self.shared_levels(name, value);
            }
        }
        // Ranges of columns may use constants and other columns.
        for (var, field) in columns {
            let env = Env { scope: Scope::Constant, ..Env::default() };
            let constraint = self.constraint(&field.ty, &env);
            let v = self.hir.var(var);
            // Ends may differ by row: `successes: int in [0, trials]`.
            let drawn = self.computed(format!("column {}", v.name), v.span, &v.axes.clone(), &[]);
            self.check_ends(&constraint, &drawn);
            self.hir.vars[var.0 as usize].constraint = constraint;
        }
        self.cyclic_sizes();
    }

    /// Remember the names of all values, to tell "used before" from "unknown".
    fn note_later(&mut self, model: &'a Ast) {
        for decl in &model.decls {
            let (what, names): (&'static str, Vec<&Ident>) = match &decl.kind {
                DeclKind::Latent { heads, .. } => ("latent", heads.iter().map(|h| &h.name).collect()),
                DeclKind::Param { head, .. } => ("param", vec![&head.name]),
                DeclKind::Let { head, .. } => ("let", vec![&head.name]),
                DeclKind::ReportLet { head, .. } => ("report", vec![&head.name]),
                DeclKind::Const { name, .. } => ("constant", vec![name]),
                DeclKind::DataValue { names, .. } => ("data value", names.iter().collect()),
                _ => continue,
            };
            for n in names {
                self.names.later.entry(n.name.clone()).or_insert(Later { name: n.span, what });
            }
        }
    }

    fn declare_table(&mut self, name: &Ident) {
        let table = TableId(self.hir.tables.len() as u32);
        if !self.names.declare(name, "table", |e| e.table = Some(table), self.diags) {
            return;
        }
        let plate = self.add_plate(&name.name, name.span, PlateKind::Rows(table));
        if let Some(e) = self.names.entry_mut(&name.name) {
            e.plate = Some(plate);
        }
        self.hir.tables.push(Table { name: name.name.clone(), span: name.span, plate, columns: vec![], key: None });
    }

    fn declare_const(&mut self, name: &'a Ident, value: &'a ast::Expr) {
        let v = self.expr(value, &Env { scope: Scope::Constant, ..Env::default() });
        let v = self.numeric(v, "use this as a constant");
        if is_bad(&v) {
            return self.poison(name);
        }
        if let Some(&axis) = v.axes.first() {
            let plate = self.plate_name(axis).to_string();
            let d = Code::CONST_NOT_CONSTANT
                .at(v.span, format!("`{}` is one number, and this varies over `{plate}`", name.name))
                .here("several values")
                .help(format!("pick one, sum them up, or write `let {} = …`", name.name));
            self.diags.push(d);
            return self.poison(name);
        }
        if let Some((var, span)) = self.first_column(&v) {
            let column = self.hir.var(var);
            let d = Code::CONST_NOT_CONSTANT
                .at(span, format!("`{}` is a constant, and this is data", name.name))
                .here("known with the data only")
                .label(column.span, "a column")
                .help(format!("write `let {} = …`", name.name));
            self.diags.push(d);
            return self.poison(name);
        }
        let var = self.add_var(Var {
            name: name.name.clone(),
            span: name.span,
            ty: v.ty,
            kind: VarKind::Const { value: v },
            axes: vec![],
            joint: 0,
            constraint: Constraint::None,
        });
        self.declare_step(name, "constant", var);
    }

    fn first_column(&self, e: &Expr) -> Option<(VarId, Span)> {
        let mut found = None;
        expr::walk(e, &mut |e| {
            if let ExprKind::Read { var, .. } = &e.kind
                && matches!(self.hir.var(*var).kind, VarKind::Column(_))
            {
                found = found.or(Some((*var, e.span)));
            }
        });
        found
    }

    /// The ends of a range that must be known before fitting.
    fn known_ends(&mut self, c: &Constraint, what: &str) {
        let ends: Vec<&Expr> = match c {
            Constraint::Lower { bound, .. } | Constraint::Upper { bound, .. } => vec![bound],
            Constraint::Interval { lower, upper, .. } => vec![lower, upper],
            Constraint::None
            | Constraint::Simplex
            | Constraint::Matrix(_)
            | Constraint::UnitVector
            | Constraint::ZeroSum
            | Constraint::Ordered { .. } => vec![],
        };
        for e in ends {
            if let Some((var, span)) = self.first_column(e) {
                self.diags.push(
                    Code::CONST_NOT_CONSTANT
                        .at(span, format!("{what} cannot depend on a column"))
                        .here("known with the data only")
                        .label(self.hir.var(var).span, "a column")
                        .help("use a number, a constant or a single `data` value"),
                );
            }
        }
    }

    fn declare_values(
        &mut self,
        names: &'a [Ident],
        ty: &'a ast::Type,
        from: Option<&ColumnSource>,
        default: Option<&'a ast::Expr>,
    ) {
        if ty.optional {
            self.diags.push(
                Code::UNKNOWN_TYPE
                    .at(ty.span, "a data value has no missing cells")
                    .here("`?` is for columns")
                    .help(format!("write `{}`, or make the values a table: `data rows {{ x: real? }}`", ty.base.name)),
            );
            return names.iter().for_each(|n| self.poison(n));
        }
        let key = match from {
            None => None,
            Some(ColumnSource::Name(t)) if !t.value.contains('*') && names.len() == 1 => Some(t.value.clone()),
            Some(source) => {
                let d = Code::VECTOR_SOURCE
                    .at(source_span(source), "a data value is read from a single key")
                    .here(if names.len() > 1 { "one key for several names" } else { "several keys" });
                self.diags.push(if names.len() > 1 {
                    d.help("declare each name by itself, with its own `from`")
                } else {
                    d.help("name one key; several columns make a vector column of a table: `data rows { x: real[k] from \"x*\" }`")
                });
                return names.iter().for_each(|n| self.poison(n));
            }
        };
        let mut axes: Vec<AxisId> = vec![];
        for a in &ty.axes {
            let Some(axis) = self.axis_named(&a.plate, &Env::default()) else {
                return names.iter().for_each(|n| self.poison(n));
            };
            if a.by.is_some() || a.along.is_some() || a.filter.is_some() || a.without.is_some() {
                let d =
                    Code::BINDER_MISPLACED.at(a.span, "a type names its plate and nothing more").here("not in a type");
                self.diags.push(d.help(format!("write `[{}]`", a.plate.name)).mend(a.span, &a.plate.name));
                return names.iter().for_each(|n| self.poison(n));
            }
            let taken = axes.iter().any(|x| self.plate_of(*x) == self.plate_of(axis));
            axes.push(match (&a.index, taken) {
                (Some(index), true) => {
                    let plate = self.plate_of(axis);
                    self.add_axis(plate, &index.name)
                }
                (None, true) => {
                    let d = Code::SAME_PLATE_TWICE
                        .at(a.span, format!("`{}` stands twice in this type", a.plate.name))
                        .here("the second time")
                        .help(format!("name the two indices: `[i in {0}, j in {0}]`", a.plate.name));
                    self.diags.push(d);
                    return names.iter().for_each(|n| self.poison(n));
                }
                (_, false) => axis,
            });
        }
        let kind = match ty.base.name.as_str() {
            "real" => Ty::Real,
            "int" => Ty::Int,
            "bool" => Ty::Bool,
            other => {
                self.unknown_type(&ty.base, other, &["real", "int", "bool"], "a single data value");
                return names.iter().for_each(|n| self.poison(n));
            }
        };
        let env = Env { scope: Scope::Constant, ..Env::default() };
        let constraint = self.constraint(ty, &env);
        self.known_ends(&constraint, "the range of a data value");
        let list_axis = if let [one] = axes.as_slice() { Some(*one) } else { None };
        let inner = Env { list_axis, context: sorted(&axes), ..env.clone() };
        let default = default.map(|d| {
            let v = self.expr(d, &inner);
            let v = self.numeric(v, "use this as a default");
            if let Some((var, span)) = self.first_column(&v) {
                self.diags.push(
                    Code::CONST_NOT_CONSTANT
                        .at(span, "a default cannot depend on a column")
                        .here("known with the data only")
                        .label(self.hir.var(var).span, "a column")
                        .help("use a number or a constant"),
                );
            }
            v
        });
        for name in names {
            let var = self.add_var(Var {
                name: name.name.clone(),
                span: name.span,
                ty: kind,
                kind: VarKind::DataValue {
                    key: key.clone().unwrap_or_else(|| name.name.clone()),
                    default: default.clone(),
                },
                axes: axes.clone(),
                joint: 0,
                constraint: constraint.clone(),
            });
            self.declare_step(name, "data value", var);
        }
    }

    /// A plate's name and, if they are written, its cells. Sizes are computed once all columns are known.
    fn declare_plate(&mut self, name: &'a Ident, value: &'a ast::Expr) {
        let kind = match &value.kind {
            A::List(items) => PlateKind::Labels(self.plate_labels(name, items)),
            // Its columns are found once they are declared.
            A::Call { .. } if is_levels(value) => PlateKind::Levels { columns: vec![], fixed: None },
            _ => PlateKind::Sized(expr::number(1.0, Ty::Int, value.span)),
        };
        let plate = PlateId(self.hir.plates.len() as u32);
        if self.names.declare(name, "plate", |e| e.plate = Some(plate), self.diags) {
            self.add_plate(&name.name, name.span, kind);
        }
    }

    fn plate_labels(&mut self, plate: &Ident, items: &[ast::ListItem]) -> Vec<String> {
        let mut labels: Vec<String> = vec![];
        for i in items {
            match (&i.value.kind, &i.label) {
                (A::Text(t), None) if labels.contains(t) => self.diags.push(
                    Code::DUPLICATE_LABEL
                        .at(i.value.span, format!("the label \"{t}\" stands twice in the plate `{}`", plate.name))
                        .here("the second time")
                        .help("give every cell a name of its own"),
                ),
                (A::Text(t), None) => labels.push(t.clone()),
                (A::Error, _) => {}
                (A::Name(n), None) => self.diags.push(
                    Code::PLATE_LABEL
                        .at(i.value.span, "the cells of a plate are named by text")
                        .here("a name without quotes")
                        .help(format!("write `\"{n}\"`"))
                        .mend(i.value.span, format!("\"{n}\"")),
                ),
                _ => self.diags.push(
                    Code::PLATE_LABEL.at(i.value.span, "the cells of a plate are named by text").here("not text").help(
                        format!("write `plate {0} = [\"a\", \"b\"]`, or `plate {0} = 3` for cells 1, 2, 3", plate.name),
                    ),
                ),
            }
        }
        labels
    }

    /// `plate team = levels(home, away)`: the columns whose levels make up the plate.
    fn shared_levels(&mut self, name: &'a Ident, value: &'a ast::Expr) {
        let A::Call { args, .. } = &value.kind else { return };
        let plate = self.names.get(&name.name).filter(|e| e.span == name.span).and_then(|e| e.plate);
        let (true, Some(plate)) = (is_levels(value), plate) else { return };
        if args.is_empty() {
            let d = Code::WRONG_ARGUMENT_COUNT
                .at(value.span, "`levels` of which columns?")
                .here("no column is named")
                .help(format!("name the columns, and declare each as `{0}`: `levels(home, away)`", name.name));
            return self.diags.push(d);
        }
        let mut columns = vec![];
        for arg in args {
            let e = self.expr(&arg.value, &Env::default());
            let column = match &e.kind {
                _ if is_bad(&e) => continue,
                ExprKind::Read { var, .. } => Some(*var),
                _ => None,
            };
            let column = column.filter(|v| matches!(self.hir.var(*v).kind, VarKind::Column(_)));
            let said = match column.map(|v| self.hir.var(v)) {
                Some(v) if v.ty == Ty::Index(plate) => {
                    columns.extend(column);
                    continue;
                }
                Some(v) => Code::INDEX_OF_OTHER_PLATE
                    .at(arg.value.span, format!("`{}` is not declared as a `{}`", v.name, name.name))
                    .here("gives the plate its levels")
                    .label(v.span, "declared here")
                    .help(format!("declare it `{}: {}`", v.name, name.name)),
                None => Code::NOT_A_PLATE
                    .at(arg.value.span, "the levels of a plate come from columns of a table")
                    .here("not a column")
                    .help(format!("name columns that are declared as `{}`", name.name)),
            };
            self.diags.push(said);
        }
        self.hir.plates[plate.0 as usize].kind = PlateKind::Levels { columns, fixed: None };
    }

    /// The size of a plate that is not a list of labels.
    fn plate_size(&mut self, name: &'a Ident, value: &'a ast::Expr) {
        let Some(id) = self.names.get(&name.name).filter(|e| e.span == name.span).and_then(|e| e.plate) else { return };
        let range = matches!(&value.kind, A::Call { callee, .. } if matches!(&callee.kind, A::Name(n) if n == "range"));
        let kind = match &value.kind {
            A::List(_) => return,
            A::Call { .. } if is_levels(value) => return,
            A::Call { args, .. } if range => {
                let [a, b] = args.as_slice() else {
                    return self.diags.push(
                        Code::WRONG_ARGUMENT_COUNT
                            .at(value.span, "`range` takes the first and the last number")
                            .here("2 numbers are needed")
                            .help("write `range(0, 4)`"),
                    );
                };
                let (Some(a), Some(b)) = (self.whole(name, &a.value), self.whole(name, &b.value)) else { return };
                if let (ExprKind::Number(x), ExprKind::Number(y)) = (&a.kind, &b.kind)
                    && x > y
                {
                    return self.diags.push(
                        Code::EMPTY_RANGE
                            .at(value.span, format!("no number lies between {x} and {y}"))
                            .here("an empty range")
                            .help(format!("the first number comes first: `range({y}, {x})`")),
                    );
                }
                let cells = self.range_in(&b, &Env::default()).lower - self.range_in(&a, &Env::default()).upper;
                if cells >= MOST_CELLS {
                    return self.diags.push(
                        Code::PLATE_SIZE
                            .at(value.span, format!("the plate `{}` would have {cells} cells", name.name))
                            .here("should be less than a billion")
                            .help(format!("write `plate {} = range(0, 4)` for cells 0 to 4", name.name)),
                    );
                }
                PlateKind::Range(a, b)
            }
            _ => {
                let Some(v) = self.whole(name, value) else { return };
                let r = self.range_in(&v, &Env::default());
                if r.upper < 1.0 || r.lower > MOST_CELLS {
                    let n = if r.upper < 1.0 { r.upper } else { r.lower };
                    return self.diags.push(
                        Code::PLATE_SIZE
                            .at(value.span, format!("the plate `{}` would have {n} cells", name.name))
                            .here("1 or more, and less than a billion")
                            .help(format!("write `plate {} = 3` for cells 1, 2, 3", name.name)),
                    );
                }
                PlateKind::Sized(v)
            }
        };
        self.hir.plates[id.0 as usize].kind = kind;
    }

    /// A whole number that is known before fitting.
    fn whole(&mut self, plate: &Ident, value: &'a ast::Expr) -> Option<Expr> {
        let v = self.expr(value, &Env { scope: Scope::Constant, ..Env::default() });
        if is_bad(&v) {
            return None;
        }
        let v = self.fold(v);
        let whole = match v.kind {
            ExprKind::Number(n) => n.fract() == 0.0,
            _ => v.ty == Ty::Int,
        };
        if let Some((var, span)) = self.first_column(&v) {
            self.diags.push(
                Code::PLATE_SIZE
                    .at(span, format!("the size of the plate `{}` cannot depend on a column", plate.name))
                    .here("known with the data only")
                    .label(self.hir.var(var).span, "a column")
                    .help("use a constant, a single `data` value or `size(plate)`"),
            );
            return None;
        }
        if let Some(&axis) = v.axes.first() {
            let over = self.plate_name(axis).to_string();
            let d = Code::PLATE_SIZE
                .at(
                    value.span,
                    format!("the size of the plate `{}` is one number, and this varies over `{over}`", plate.name),
                )
                .here("several values")
                .help("use a constant, a single `data` value or `size(plate)`");
            self.diags.push(d);
            return None;
        }
        if !whole {
            self.diags.push(
                Code::PLATE_SIZE
                    .at(value.span, format!("the size of the plate `{}` must be a whole number", plate.name))
                    .here(match v.kind {
                        ExprKind::Number(n) => format!("this is {n}"),
                        _ => "this is real".into(),
                    })
                    .help("write `plate k = 3`, or use an `int` constant, `data` value or `size(plate)`"),
            );
            return None;
        }
        Some(v)
    }

    /// Arithmetic with numbers alone, computed.
    fn fold(&self, e: Expr) -> Expr {
        let mut open = false;
        expr::walk(&e, &mut |e| open = open || matches!(e.kind, ExprKind::Read { .. } | ExprKind::Size(_)));
        let r = self.range_in(&e, &Env::default());
        if !open && r.lower == r.upper { expr::number(r.lower, e.ty, e.span) } else { e }
    }

    /// The expressions that a plate's size depends on.
    fn plate_ends(&self, plate: PlateId) -> Vec<Expr> {
        match &self.hir.plate(plate).kind {
            PlateKind::Sized(e) => vec![e.clone()],
            PlateKind::Range(a, b) => vec![a.clone(), b.clone()],
            _ => vec![],
        }
    }

    /// A plate whose size is computed from itself has none.
    fn cyclic_sizes(&mut self) {
        for i in 0..self.hir.plates.len() {
            let mut seen = HashSet::new();
            let mut read = HashSet::new();
            let mut todo: Vec<Expr> = self.plate_ends(PlateId(i as u32));
            while let Some(e) = todo.pop() {
                let (mut plates, mut vars) = (vec![], vec![]);
                expr::walk(&e, &mut |e| match &e.kind {
                    ExprKind::Size(q) => plates.push(*q),
                    ExprKind::Read { var, .. } => vars.push(*var),
                    _ => {}
                });
                for q in plates.into_iter().filter(|q| seen.insert(*q)) {
                    todo.extend(self.plate_ends(q));
                }
                for v in vars.into_iter().filter(|v| read.insert(*v)) {
                    if let VarKind::Const { value } | VarKind::DataValue { default: Some(value), .. } =
                        &self.hir.var(v).kind
                    {
                        todo.push(value.clone());
                    }
                }
            }
            if seen.contains(&PlateId(i as u32)) {
                let p = &self.hir.plates[i];
                let d = Code::PLATE_SIZE
                    .at(p.span, format!("the size of the plate `{}` is computed from itself", p.name))
                    .here("a circle")
                    .help("write the size as a number, or as that of a table or another plate");
                self.diags.push(d);
            }
        }
    }
}

/// `levels(home, away)`
fn is_levels(value: &ast::Expr) -> bool {
    matches!(&value.kind, A::Call { callee, .. } if matches!(&callee.kind, A::Name(n) if n == "levels"))
}
