//! Columns of tables: their types, their plates, and where in the file they are found.

use super::*;
use crate::diag::Code;
use crate::syntax::ast::{ColumnSource, Field};

impl<'a> Checker<'a, '_> {
    /// A column with its plates and type; its range is checked later.
    pub(super) fn declare_column(&mut self, table: TableId, name: &'a Ident, field: &'a Field) -> Option<VarId> {
        let rows = self.hir.plate(self.hir.table(table).plate).axis;
        let from = self.column_source(name, field)?;
        let base = field.ty.base.name.as_str();
        let is_category = base == "category";
        let mut axes = vec![rows];
        let var = VarId(self.hir.vars.len() as u32);
        for axis in &field.ty.axes {
            if axis.index.is_some() || axis.without.is_some() || axis.filter.is_some() {
                self.diags.push(
                    Code::BINDER_MISPLACED
                        .at(axis.span, "a type names its plate and nothing more")
                        .here("not in a type")
                        .help(format!("write `{base}[{}]`", axis.plate.name))
                        .mend(axis.span, &axis.plate.name),
                );
                return self.lose(name);
            }
            let plate = match self.names.get(&axis.plate.name).map(|e| (e.plate, e.span)) {
                Some((Some(p), _)) => p,
                Some((None, _)) => {
                    self.axis_named(&axis.plate, &Env::default());
                    return self.lose(name);
                }
                None if self.poisoned.contains(&axis.plate.name) => return self.lose(name),
                None => {
                    let p = self.add_plate(&axis.plate.name, axis.plate.span, PlateKind::Header { column: var });
                    self.names.declare(&axis.plate, "plate", |e| e.plate = Some(p), self.diags);
                    p
                }
            };
            // A square matrix: a column per row.
            let own = self.hir.plate(plate).axis;
            let second = axes.contains(&own);
            axes.push(if second { self.add_axis(plate, &axis.plate.name) } else { own });
        }
        let (content, ty) = match base {
            "real" => (Content::Real, Ty::Real),
            "int" => (Content::Int, Ty::Int),
            "bool" => (Content::Bool, Ty::Bool),
            "key" => (Content::Key, Ty::Key),
            // In expressions a date is its number of days since 1970-01-01.
            "date" => (Content::Date, Ty::Int),
            "category" => {
                let fixed = field.ty.levels.as_ref().map(|levels| self.levels(name, levels));
                let p = self.add_plate(&name.name, name.span, PlateKind::Levels { columns: vec![var], fixed });
                (Content::Index(p), Ty::Index(p))
            }
            other => match self.names.get(other).and_then(|e| e.plate) {
                Some(p) => (Content::Index(p), Ty::Index(p)),
                None => {
                    let mut known: Vec<&str> = vec!["real", "int", "bool", "key", "category"];
                    let plates: Vec<String> = self.hir.plates.iter().map(|p| p.name.clone()).collect();
                    known.extend(plates.iter().map(String::as_str));
                    self.unknown_type(&field.ty.base, other, &known, "a column");
                    return self.lose(name);
                }
            },
        };
        if let (Some(levels), false) = (&field.ty.levels, is_category) {
            let span = levels[0].span.to(levels[levels.len() - 1].span);
            self.diags.push(
                Code::UNKNOWN_TYPE
                    .at(span, format!("`{base}` has no levels"))
                    .here("levels of a `category`")
                    .help(format!("write `{}: category [\"{}\", …]`", name.name, levels[0].value)),
            );
        }
        if field.ty.optional && content == Content::Key {
            self.diags.push(
                Code::MISSING_KEY
                    .at(field.ty.span, "a key names each row, so none of its cells can be missing")
                    .here("admits empty cells")
                    .help("write `key`, or leave the column out: rows are then numbered 1, 2, …"),
            );
        }
        if content == Content::Key {
            if let Some(old) = self.hir.table(table).key {
                self.diags.push(
                    Code::TWO_KEYS
                        .at(name.span, format!("the table `{}` has two keys", self.hir.table(table).name))
                        .here("the second key")
                        .label(self.hir.var(old).span, "the first key")
                        .help("one column labels the rows; declare the other `category`"),
                );
            }
            self.hir.tables[table.0 as usize].key = Some(var);
        }
        let column = Column { table, content, from, optional: field.ty.optional };
        let added = self.add_var(Var {
            name: name.name.clone(),
            span: name.span,
            kind: VarKind::Column(column),
            axes,
            joint: 0,
            ty,
            constraint: Constraint::None,
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
        if let (Content::Index(p), true) = (content, is_category)
            && let Some(e) = self.names.entry_mut(&name.name).filter(|e| e.span == name.span)
        {
            e.plate = Some(p);
        }
        Some(var)
    }

    fn lose(&mut self, name: &Ident) -> Option<VarId> {
        self.poison(name);
        None
    }

    /// Where a column is found in the file: one column, or several for a vector.
    fn column_source(&mut self, name: &'a Ident, field: &'a Field) -> Option<From> {
        let from = match &field.from {
            None => From::Name(name.name.clone()),
            Some(ColumnSource::Name(t)) if t.value.contains('*') => From::Pattern(t.value.clone()),
            Some(ColumnSource::Name(t)) => From::Name(t.value.clone()),
            Some(ColumnSource::Range(a, b)) => From::Range(a.value.clone(), b.value.clone()),
            Some(ColumnSource::List(l, _)) => {
                for (i, t) in l.iter().enumerate() {
                    if let Some(old) = l[..i].iter().find(|o| o.value == t.value) {
                        self.diags.push(
                            Code::DUPLICATE_LABEL
                                .at(t.span, format!("`{}` reads the column \"{}\" twice", name.name, t.value))
                                .here("the second time")
                                .label(old.span, "read here first")
                                .help("remove one of them"),
                        );
                    }
                }
                From::List(l.iter().map(|t| t.value.clone()).collect())
            }
        };
        let base = &field.ty.base.name;
        match (&from, field.ty.axes.as_slice()) {
            (From::Name(_), []) => Some(from),
            (_, []) => {
                let source = field.from.as_ref().map_or(field.span, source_span);
                self.diags.push(
                    Code::VECTOR_WITHOUT_PLATE
                        .at(
                            field.ty.span,
                            format!("`{}` reads several columns, and its type has no plate for them", name.name),
                        )
                        .here("the type of a single column")
                        .label(source, "several columns of the file")
                        .help(format!("name the plate: `{}: {base}[feature] from …`", name.name)),
                );
                self.poison(name);
                None
            }
            (_, [_, second, ..]) => {
                self.diags.push(
                    Code::VECTOR_SOURCE
                        .at(second.span, format!("`{}` has a second plate beside its rows", name.name))
                        .here("one plate too many")
                        .help("the columns of a file make one plate; declare a vector column per group of columns"),
                );
                self.poison(name);
                None
            }
            (From::Name(n), [axis]) => {
                let Some(source) = &field.from else { return Some(From::Pattern(format!("{n}.*"))) };
                self.diags.push(
                    Code::VECTOR_SOURCE
                        .at(
                            source_span(source),
                            format!("`{}` varies over `{}`, and \"{n}\" names a single column", name.name, axis.plate.name),
                        )
                        .here("one column of the file")
                        .label(axis.span, "needs one column per cell")
                        .help(format!("use a pattern, `from \"{n}*\"`, a list, `from [\"{n}1\", \"{n}2\"]`, or a range, `from \"{n}1\"..\"{n}9\"`")),
                );
                self.poison(name);
                None
            }
            (_, [_]) => Some(from),
        }
    }

    /// The levels of a category that fixes them.
    fn levels(&mut self, column: &Ident, levels: &[ast::Text]) -> Vec<String> {
        let mut out: Vec<String> = vec![];
        for t in levels {
            if out.contains(&t.value) {
                self.diags.push(
                    Code::DUPLICATE_LABEL
                        .at(t.span, format!("the level \"{}\" of `{}` stands twice", t.value, column.name))
                        .here("the second time")
                        .help("remove one of them"),
                );
            } else {
                out.push(t.value.clone());
            }
        }
        out
    }

    pub(super) fn unknown_type(&mut self, at: &Ident, name: &str, known: &[&str], what: &str) {
        if self.poisoned.contains(name) {
            return;
        }
        let later = words::names(words::TYPES).any(|t| t == name);
        let message =
            if later { format!("{what} cannot be `{name}`") } else { format!("there is no type called `{name}`") };
        let mut d = Code::UNKNOWN_TYPE.at(at.span, message).here(if later { "not here" } else { "not a type" });
        let foreign = match name {
            "float" | "double" | "number" | "numeric" | "vector" | "f64" => Some("real"),
            "integer" | "count" => Some("int"),
            "boolean" | "logical" => Some("bool"),
            "factor" | "string" | "text" | "str" | "character" => Some("category"),
            "id" => Some("key"),
            _ => None,
        };
        let foreign = foreign.filter(|f| known.contains(f));
        let near = foreign.or_else(|| crate::diag::nearest(name, known.iter().copied())).filter(|_| !later);
        let types = known[..known.len().min(5)].join("`, `");
        d = match near {
            Some(n) => d.meant(n),
            None if what == "a column" => d.help(format!(
                "the types of columns are `{types}`; the name of a table or plate makes the column a key into it"
            )),
            None => d.help(format!("it can be `{types}`")),
        };
        self.diags.push(d);
    }
}

/// The whole of what `from` names.
pub(super) fn source_span(source: &ColumnSource) -> Span {
    match source {
        ColumnSource::Name(t) => t.span,
        ColumnSource::Range(a, b) => a.span.to(b.span),
        ColumnSource::List(_, span) => *span,
    }
}
