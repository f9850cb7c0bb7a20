//! Tables, plates, constants and data values: what is visible everywhere, declared before any step is checked.

use super::expr::is_bad;
use super::*;
use crate::diag::Code;
use crate::syntax::ast::{ColumnSource, ExprKind as A, Field};

const TYPES: &[&str] = &["real", "int", "bool", "key", "category", "date", "ordered", "simplex", "corr", "cov"];

impl<'a> Checker<'a, '_> {
    pub(super) fn declare_data(&mut self, model: &'a Ast) {
        self.note_later(model);
        // Table names first: a foreign key may name a table further down.
        for decl in &model.decls {
            if let DeclKind::Table { name, .. } = &decl.kind {
                self.declare_table(name);
            }
        }
        for decl in &model.decls {
            match &decl.kind {
                DeclKind::Const { name, value } => self.declare_const(name, value),
                DeclKind::DataValue { names, ty, from, default } => {
                    self.declare_values(names, ty, from.as_ref(), default.as_ref());
                }
                DeclKind::Plate { name, value } if !measures_a_plate(value) => self.declare_plate(name, value),
                _ => {}
            }
        }
        for decl in &model.decls {
            if let DeclKind::Table { name, fields } = &decl.kind
                && let Some(table) = self.names.get(&name.name).filter(|e| e.span == name.span).and_then(|e| e.table)
            {
                for field in fields {
                    self.declare_field(table, field);
                }
            }
        }
        // Sizes that come from other plates, those of columns included.
        for decl in &model.decls {
            if let DeclKind::Plate { name, value } = &decl.kind
                && measures_a_plate(value)
            {
                self.declare_plate(name, value);
            }
        }
    }

    /// Remember the names of all steps, to tell "used before" from "unknown".
    fn note_later(&mut self, model: &Ast) {
        for decl in &model.decls {
            let heads: Vec<&Ident> = match &decl.kind {
                DeclKind::Latent { heads, .. } => heads.iter().map(|h| &h.name).collect(),
                DeclKind::Param { head, .. } | DeclKind::Let { head, .. } | DeclKind::ReportLet { head, .. } => {
                    vec![&head.name]
                }
                _ => vec![],
            };
            for h in heads {
                self.names.later.entry(h.name.clone()).or_insert(h.span);
            }
        }
    }

    fn declare_table(&mut self, name: &Ident) {
        let table = TableId(self.hir.tables.len() as u32);
        let errors = self.diags.list.len();
        self.names.declare(name, "table", |e| e.table = Some(table), self.diags);
        if self.diags.list.len() > errors {
            return;
        }
        let plate = self.add_plate(&name.name, name.span, PlateKind::Rows(table));
        if let Some(e) = self.names.entry_mut(&name.name) {
            e.plate = Some(plate);
        }
        self.hir.tables.push(Table { name: name.name.clone(), span: name.span, plate, columns: vec![], key: None });
    }

    fn declare_const(&mut self, name: &'a Ident, value: &'a ast::Expr) {
        let v = self.expr(value, &Env::default());
        let v = self.numeric(v, "use this as a constant");
        if let Some((_, span)) = self.first_column(&v) {
            self.diags.push(
                Code::CONST_NOT_CONSTANT
                    .at(span, format!("`{}` is a constant, and this is data", name.name))
                    .help(format!("write `let {} = …`", name.name)),
            );
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
        self.names.declare(name, "constant", |e| e.var = Some(var), self.diags);
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

    fn declare_values(
        &mut self,
        names: &'a [Ident],
        ty: &'a ast::Type,
        from: Option<&ColumnSource>,
        default: Option<&'a ast::Expr>,
    ) {
        if let Some(axis) = ty.axes.first() {
            self.diags.push(
                Code::NOT_YET_ARRAY
                    .at(axis.span, "arrays beside a table are not part of this version of the language")
                    .help("put the values in a table of their own: `data rows { x: real }`"),
            );
            self.poisoned.extend(names.iter().map(|n| n.name.clone()));
            return;
        }
        let _ = from;
        let kind = match ty.base.name.as_str() {
            "real" => Ty::Real,
            "int" => Ty::Int,
            "bool" => Ty::Bool,
            other => {
                self.unknown_type(&ty.base, other, &["real", "int", "bool"]);
                self.poisoned.extend(names.iter().map(|n| n.name.clone()));
                return;
            }
        };
        let constraint = self.constraint(ty, &Env::default());
        for name in names {
            let default = default.map(|d| self.expr(d, &Env::default()));
            let var = self.add_var(Var {
                name: name.name.clone(),
                span: name.span,
                ty: kind,
                kind: VarKind::DataValue { default },
                axes: vec![],
                joint: 0,
                constraint: constraint.clone(),
            });
            self.names.declare(name, "data value", |e| e.var = Some(var), self.diags);
        }
    }

    fn declare_plate(&mut self, name: &'a Ident, value: &'a ast::Expr) {
        let kind = match &value.kind {
            A::List(items) => {
                let mut labels: Vec<String> = vec![];
                for i in items {
                    match &i.value.kind {
                        A::Text(t) if labels.contains(t) => {
                            self.diags.push(Code::DUPLICATE_LABEL.at(
                                i.value.span,
                                format!("the label \"{t}\" stands twice in the plate `{}`", name.name),
                            ));
                        }
                        A::Text(t) => labels.push(t.clone()),
                        _ => {
                            self.diags.push(
                                Code::PLATE_LABEL
                                    .at(i.value.span, "the cells of a plate are named by text")
                                    .help("write `plate k = [\"a\", \"b\"]`, or `plate k = 3` for cells 1, 2, 3"),
                            );
                        }
                    }
                }
                PlateKind::Labels(labels)
            }
            A::Call { callee, args } if matches!(&callee.kind, A::Name(n) if n == "range") => {
                if args.len() != 2 {
                    self.diags.push(
                        Code::WRONG_ARGUMENT_COUNT
                            .at(value.span, "`range` takes the first and the last number")
                            .help("write `range(0, 4)`"),
                    );
                    self.poisoned.insert(name.name.clone());
                    return;
                }
                let (a, b) = (self.expr(&args[0].value, &Env::default()), self.expr(&args[1].value, &Env::default()));
                PlateKind::Range(a, b)
            }
            A::Call { callee, .. } if matches!(&callee.kind, A::Name(n) if n == "levels") => {
                self.diags.push(
                    Code::NOT_YET_FUNCTION
                        .at(value.span, "columns that share levels belong to a part of the language that this version does not have yet")
                        .help("make the levels a table of their own and declare the columns as keys into it"),
                );
                self.poisoned.insert(name.name.clone());
                return;
            }
            _ => {
                let v = self.expr(value, &Env::default());
                if is_bad(&v) {
                    self.poisoned.insert(name.name.clone());
                    return;
                }
                let whole = matches!(v.kind, ExprKind::Number(n) if n >= 0.0 && n.fract() == 0.0);
                if matches!(v.kind, ExprKind::Number(_)) && !whole
                    || !matches!(v.kind, ExprKind::Number(_)) && v.ty != Ty::Int
                {
                    self.diags.push(
                        Code::PLATE_SIZE
                            .at(value.span, format!("the size of the plate `{}` must be a whole number", name.name))
                            .help("write `plate k = 3`, or use an `int` constant, `data` value or `size(plate)`"),
                    );
                    self.poisoned.insert(name.name.clone());
                    return;
                }
                if let Some((_, span)) = self.first_column(&v) {
                    self.diags.push(
                        Code::PLATE_SIZE
                            .at(span, format!("the size of the plate `{}` cannot depend on a column", name.name))
                            .help("use a constant, a `data` value or `size(plate)`"),
                    );
                    self.poisoned.insert(name.name.clone());
                    return;
                }
                PlateKind::Sized(v)
            }
        };
        let plate = self.add_plate(&name.name, name.span, kind);
        self.names.declare(name, "plate", |e| e.plate = Some(plate), self.diags);
    }

    fn declare_field(&mut self, table: TableId, field: &'a Field) {
        for name in &field.names {
            self.declare_column(table, name, field);
        }
    }

    fn declare_column(&mut self, table: TableId, name: &'a Ident, field: &'a Field) {
        let rows = self.hir.plate(self.hir.table(table).plate).axis;
        let mut axes = vec![rows];
        let mut from = match &field.from {
            None => From::Name(name.name.clone()),
            Some(ColumnSource::Name(t)) if t.value.contains('*') => From::Pattern(t.value.clone()),
            Some(ColumnSource::Name(t)) => From::Name(t.value.clone()),
            Some(ColumnSource::Range(a, b)) => From::Range(a.value.clone(), b.value.clone()),
            Some(ColumnSource::List(l, _)) => From::List(l.iter().map(|t| t.value.clone()).collect()),
        };
        if field.ty.axes.is_empty() && !matches!(from, From::Name(_)) {
            self.diags.push(
                Code::VECTOR_WITHOUT_PLATE
                    .at(
                        field.ty.span,
                        format!("`{}` reads several columns, and its type has no plate for them", name.name),
                    )
                    .help(format!("name the plate: `{}: {}[feature] from …`", name.name, field.ty.base.name)),
            );
            self.poisoned.insert(name.name.clone());
            return;
        }
        if let (From::Name(n), Some(axis)) = (&from, field.ty.axes.first()) {
            if field.from.is_some() {
                self.diags.push(
                    Code::VECTOR_SOURCE
                        .at(field.span, format!("`{}` varies over `{}`, and \"{n}\" names a single column", name.name, axis.plate.name))
                        .help(format!("use a pattern, `from \"{n}*\"`, a list, `from [\"{n}1\", \"{n}2\"]`, or a range, `from \"{n}1\"..\"{n}9\"`")),
                );
                self.poisoned.insert(name.name.clone());
                return;
            }
            from = From::Pattern(format!("{n}.*"));
        }
        let var = VarId(self.hir.vars.len() as u32);
        for axis in &field.ty.axes {
            let known = self.names.get(&axis.plate.name).and_then(|e| e.plate);
            let plate = match known {
                Some(p) => p,
                None => {
                    let p = self.add_plate(&axis.plate.name, axis.plate.span, PlateKind::Header { column: var });
                    self.names.declare(&axis.plate, "plate", |e| e.plate = Some(p), self.diags);
                    p
                }
            };
            axes.push(self.hir.plate(plate).axis);
        }
        let base = field.ty.base.name.as_str();
        let (content, ty) = match base {
            "real" => (Content::Real, Ty::Real),
            "int" => (Content::Int, Ty::Int),
            "bool" => (Content::Bool, Ty::Bool),
            "key" => (Content::Key, Ty::Key),
            "date" => (Content::Date, Ty::Date),
            "category" => {
                let fixed = field.ty.levels.as_ref().map(|l| l.iter().map(|t| t.value.clone()).collect());
                let p = self.add_plate(&name.name, name.span, PlateKind::Levels { columns: vec![var], fixed });
                (Content::Index(p), Ty::Index(p))
            }
            other => match self.names.get(other).and_then(|e| e.plate) {
                Some(p) => (Content::Index(p), Ty::Index(p)),
                None => {
                    let mut known: Vec<&str> = vec!["real", "int", "bool", "key", "category"];
                    let plates: Vec<String> = self.hir.plates.iter().map(|p| p.name.clone()).collect();
                    known.extend(plates.iter().map(String::as_str));
                    self.unknown_type(&field.ty.base, other, &known);
                    self.poisoned.insert(name.name.clone());
                    return;
                }
            },
        };
        if content == Content::Date {
            self.diags.push(
                Code::NOT_YET_TYPE
                    .at(field.ty.span, "dates are not part of this version of the language")
                    .help("use a number: the year, or days since a start"),
            );
        }
        if field.ty.optional {
            self.diags.push(
                Code::NOT_YET_MISSING
                    .at(
                        field.ty.span,
                        format!("missing cells (`{base}?`) are not part of this version of the language"),
                    )
                    .help("fill or drop the empty cells in the data file, and declare the column without `?`"),
            );
        }
        if content == Content::Key {
            if let Some(old) = self.hir.table(table).key {
                self.diags.push(
                    Code::TWO_KEYS
                        .at(name.span, format!("the table `{}` has two keys", self.hir.table(table).name))
                        .label(self.hir.var(old).span, "the first key")
                        .help("one column labels the rows; declare the other `category`"),
                );
            }
            self.hir.tables[table.0 as usize].key = Some(var);
        }
        let constraint = self.constraint(&field.ty, &Env::default());
        let column = Column { table, content, from, optional: field.ty.optional };
        let added = self.add_var(Var {
            name: name.name.clone(),
            span: name.span,
            kind: VarKind::Column(column),
            axes,
            joint: 0,
            ty,
            constraint,
        });
        debug_assert_eq!(added, var, "no variable is added between");
        self.hir.tables[table.0 as usize].columns.push(var);
        let same_table = self.names.get(&name.name).is_some_and(|e| {
            e.var.is_none() && e.ambiguous.is_empty()
                || e.var.iter().chain(&e.ambiguous).any(|v| match &self.hir.var(*v).kind {
                    VarKind::Column(c) => c.table == table,
                    _ => true,
                })
        });
        self.names.declare_column(name, var, same_table, self.diags);
        if let (Content::Index(p), "category") = (content, base)
            && let Some(e) = self.names.entry_mut(&name.name).filter(|e| e.span == name.span)
        {
            e.plate = Some(p);
        }
    }

    pub(super) fn unknown_type(&mut self, at: &Ident, name: &str, known: &[&str]) {
        let mut d = Code::UNKNOWN_TYPE.at(at.span, format!("there is no type called `{name}`"));
        let foreign = match name {
            "float" | "double" | "number" | "numeric" | "vector" | "f64" => Some("real"),
            "integer" | "count" => Some("int"),
            "boolean" | "logical" => Some("bool"),
            "factor" | "string" | "text" | "str" | "character" => Some("category"),
            "id" => Some("key"),
            _ => None,
        };
        let near = foreign.or_else(|| crate::diag::nearest(name, known.iter().copied().chain(TYPES.iter().copied())));
        d = match near {
            Some(n) => d.help(format!("did you mean `{n}`?")),
            None => d.help(format!(
                "the types are {}; a table's or plate's name makes the column a key into it",
                known[..known.len().min(5)].join(", ")
            )),
        };
        self.diags.push(d);
    }
}

/// Whether a plate's size is computed from other plates.
fn measures_a_plate(e: &ast::Expr) -> bool {
    match &e.kind {
        A::Call { callee, .. } => matches!(&callee.kind, A::Name(n) if n == "size"),
        A::Unary { operand, .. } => measures_a_plate(operand),
        A::Binary { left, right, .. } => measures_a_plate(left) || measures_a_plate(right),
        _ => false,
    }
}
