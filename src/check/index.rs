//! Indexing goes by plate: an index replaces the axis of its own plate.

use super::expr::{bad, is_bad};
use super::walk::is_lag;
use super::*;
use crate::diag::Code;
use crate::syntax::ast::{ExprKind as A, IndexItem};

/// One index as written, before it is known which dimension it fills.
enum Item {
    Axis(AxisId),
    At(Expr),
    Label(String, Span),
    Bad,
}

impl<'a> Checker<'a, '_> {
    #[inline(never)]
    pub(super) fn index(&mut self, e: &'a ast::Expr, base: &'a ast::Expr, items: &'a [IndexItem], env: &Env) -> Expr {
        if let A::Name(n) = &base.kind
            && self.names.get(n).is_none_or(|x| x.var.is_none())
            && !self.names.later.contains_key(n)
            && !env.locals.iter().any(|(l, _)| l == n)
            && self.function(n, env).is_some()
        {
            self.diags.push(
                Code::FUNCTION_AS_VALUE
                    .at(e.span, format!("`{n}` is a function"))
                    .here("its arguments are missing")
                    .help(format!("its plates go in `[ ]`, its arguments after: `{n}[plate](…)`")),
            );
            return bad(e.span);
        }
        // `rows["x"]`: a column, as a data frame has it.
        if let (A::Name(n), [IndexItem::Expr(ast::Expr { kind: A::Text(column), .. })]) = (&base.kind, items)
            && let Some(entry) = self.names.get(n).filter(|x| x.table.is_some() && x.var.is_none())
        {
            let declared = entry.span;
            let table = entry.table.map(|t| self.hir.table(t).columns.clone()).unwrap_or_default();
            let has = table.iter().any(|v| self.hir.var(*v).name == *column);
            let d = Code::PLATE_AS_VALUE
                .at(e.span, "a column is used by its bare name")
                .here("not a cell of a plate")
                .label(declared, "the table");
            self.diags.push(match has {
                true => d.help(format!("write `{column}`")).mend(e.span, column.clone()),
                false => d.help(format!("declare it in the table, `{column}: real`, and write `{column}`")),
            });
            return bad(e.span);
        }
        let lagged = items.iter().any(is_lag);
        let items: Vec<(Item, Span)> = items.iter().map(|i| self.index_item(i, env)).collect();
        if items.iter().any(|(i, _)| matches!(i, Item::Bad)) {
            return bad(e.span);
        }
        // A stored value: each index fills one of its dimensions.
        let stored = match (self.stored(base, env), &base.kind) {
            (None, A::Name(n)) if lagged && !env.closed() && self.names.get(n).is_none() => self.ahead(n),
            (found, _) => found,
        };
        if let Some(var) = stored {
            let dims = self.hir.var(var).axes.clone();
            // A definition does not make use of itself.
            if !self.is_current(self.hir.var(var).span) {
                self.used.insert(var);
            }
            let Some(filled) = self.fill(&dims, items, base.span, e.span, Some(var)) else { return bad(e.span) };
            let index: Vec<Index> = filled.into_iter().zip(&dims).map(|(f, &a)| f.unwrap_or(Index::Axis(a))).collect();
            let mut axes = vec![];
            for i in &index {
                match i {
                    Index::Axis(a) => axes = union(&axes, &[*a]),
                    Index::At(x) => axes = union(&axes, &x.axes),
                    Index::Label(..) => {}
                }
            }
            return Expr { kind: ExprKind::Read { var, index }, ty: self.hir.var(var).ty, axes, span: e.span };
        }
        // Anything else: replace axes of the value.
        let body = self.expr(base, env);
        if is_bad(&body) {
            return body;
        }
        let dims = body.axes.clone();
        let Some(filled) = self.fill(&dims, items, base.span, e.span, None) else { return bad(e.span) };
        // All cells are replaced at once: where one index varies over a plate that another one replaces, as in
        // `(…)[j, i]`, the old cells are renamed first.
        let replaced: Vec<AxisId> =
            filled.iter().zip(&dims).filter(|(f, _)| f.is_some()).map(|(_, &axis)| axis).collect();
        let crossed = |f: &Option<Index>, own: AxisId| match f {
            Some(Index::Axis(a)) => *a != own && replaced.contains(a),
            Some(Index::At(x)) => x.axes.iter().any(|a| replaced.contains(a)),
            Some(Index::Label(..)) | None => false,
        };
        let cross = filled.iter().zip(&dims).any(|(f, &own)| crossed(f, own));
        let mut out = body;
        let mut places = vec![];
        for (f, axis) in filled.into_iter().zip(dims) {
            let Some(index) = f else { continue };
            if !cross {
                places.push((axis, index));
                continue;
            }
            let plate = self.plate_of(axis);
            let name = self.hir.axis(axis).name.clone();
            let fresh = self.add_axis(plate, &name);
            let axes = union(&minus(&out.axes, &[axis]), &[fresh]);
            let ty = out.ty;
            let kind = ExprKind::At { body: out.into(), axis, index: Index::Axis(fresh).into() };
            out = Expr { kind, ty, axes, span: e.span };
            places.push((fresh, index));
        }
        for (axis, index) in places {
            let rest = minus(&out.axes, &[axis]);
            let axes = match &index {
                Index::Axis(a) => union(&rest, &[*a]),
                Index::At(x) => union(&rest, &x.axes),
                Index::Label(..) => rest,
            };
            let ty = out.ty;
            out = Expr { kind: ExprKind::At { body: out.into(), axis, index: index.into() }, ty, axes, span: e.span };
        }
        out
    }

    /// The variable that a base names, if it is one and may be read here.
    fn stored(&mut self, base: &ast::Expr, env: &Env) -> Option<VarId> {
        match &base.kind {
            A::Name(n) => {
                if env.closed() || env.locals.iter().any(|(l, _)| l == n) {
                    return None;
                }
                self.names.get(n).and_then(|x| x.var).filter(|&v| self.hir.var(v).ty != Ty::Key)
            }
            A::Field { .. } if env.closed() => None,
            A::Field { base, name } => {
                let A::Name(t) = &base.kind else { return None };
                let table = self.names.get(t)?.table?;
                self.hir.table(table).columns.iter().copied().find(|v| self.hir.var(*v).name == name.name)
            }
            _ => None,
        }
    }

    fn index_item(&mut self, item: &'a IndexItem, env: &Env) -> (Item, Span) {
        let e = match item {
            IndexItem::Expr(e) => e,
            IndexItem::Axis(a) => {
                self.diags.push(
                    Code::BINDER_MISPLACED
                        .at(a.span, "an index name is introduced on the left side of a declaration only")
                        .here("a new index name")
                        .help("write the index that is meant, or move `… in …` to the left side"),
                );
                return (Item::Bad, a.span);
            }
        };
        let out = match &e.kind {
            A::Number { text, .. } => Item::Label(text.clone(), e.span),
            A::Text(t) => Item::Label(t.clone(), e.span),
            A::Name(n) if env.binders.iter().any(|(b, _)| b == n) => {
                let axis = env.binders.iter().rev().find(|(b, _)| b == n).map(|x| x.1);
                Item::Axis(axis.expect("the guard has seen it"))
            }
            A::Name(n) if env.plates.iter().any(|(b, _)| b == n) => {
                let axis = env.plates.iter().rev().find(|(b, _)| b == n).map(|x| x.1);
                Item::Axis(axis.expect("the guard has seen it"))
            }
            // A plate's own name, where no column of that name stands in the way: its current cell.
            A::Name(n)
                if !env.closed()
                    && !env.locals.iter().any(|(l, _)| l == n)
                    && self.names.get(n).is_some_and(|x| x.plate.is_some() && x.var.is_none()) =>
            {
                let plate = self.names.get(n).and_then(|x| x.plate).expect("the guard has seen it");
                Item::Axis(self.hir.plate(plate).axis)
            }
            _ => {
                let x = match self.lag(e, env) {
                    Some(earlier) => earlier,
                    None => self.expr(e, env),
                };
                match x.ty {
                    _ if is_bad(&x) => Item::Bad,
                    Ty::Index(_) => Item::At(x),
                    _ => {
                        self.not_an_index(&x);
                        Item::Bad
                    }
                }
            }
        };
        (out, e.span)
    }

    fn not_an_index(&mut self, x: &Expr) {
        let mut d = Code::NOT_AN_INDEX
            .at(x.span, "this is a number; an index picks a cell by its key or label")
            .here("not an index");
        d = match &x.kind {
            ExprKind::Read { var, .. } => {
                let v = self.hir.var(*var);
                let d = d.label(v.span, "declared here");
                match v.kind {
                    VarKind::Column(_) => {
                        d.help(format!("declare the column `{}: category`; its name is then also its plate", v.name))
                    }
                    _ => d.help("index by a `category` column, a key of another table, or a label such as `[1]`"),
                }
            }
            _ => d.help("index with a `category` column, a key of another table, or a label such as `[1]`"),
        };
        self.diags.push(d);
    }

    /// Which index fills which dimension of a value, of this variable if it is stored. Dimensions left `None` stay as
    /// they are.
    fn fill(
        &mut self,
        dims: &[AxisId],
        items: Vec<(Item, Span)>,
        base: Span,
        whole: Span,
        stored: Option<VarId>,
    ) -> Option<Vec<Option<Index>>> {
        let mut filled: Vec<Option<Index>> = vec![None; dims.len()];
        if items.len() > dims.len() {
            self.diags.push(
                Code::TOO_MANY_INDICES
                    .at(
                        whole,
                        match (items.len(), dims) {
                            (_, []) => "an index on a single number".to_string(),
                            (n, _) => format!("{n} indices for a value that varies over {}", self.axes_text(dims)),
                        },
                    )
                    .here(if dims.is_empty() { "does not vary" } else { "more indices than plates" })
                    .help(if dims.is_empty() {
                        "remove the index, or declare the value over the plate".to_string()
                    } else {
                        "remove the extra index".into()
                    }),
            );
            return None;
        }
        let all_given = items.len() == dims.len();
        for (position, (item, span)) in items.into_iter().enumerate() {
            let free = |c: &Self, p: PlateId, filled: &[Option<Index>]| {
                (0..dims.len()).find(|&d| filled[d].is_none() && c.plate_of(dims[d]) == p)
            };
            let (slot, index) = match item {
                Item::Axis(a) => (free(self, self.plate_of(a), &filled), Index::Axis(a)),
                Item::At(x) => {
                    let Ty::Index(p) = x.ty else { return None };
                    (free(self, p, &filled), Index::At(x.into()))
                }
                Item::Label(text, at) => {
                    let slot = self.label_slot(&text, at, dims, &filled, all_given.then_some(position))?;
                    (Some(slot), Index::Label(text, at))
                }
                Item::Bad => return None,
            };
            let Some(slot) = slot else {
                let plate = match &index {
                    Index::Axis(a) => self.plate_of(*a),
                    Index::At(x) => match x.ty {
                        Ty::Index(p) => p,
                        _ => return None,
                    },
                    Index::Label(..) => return None,
                };
                let d = self.index_of_other_plate(plate, span, dims, base, stored);
                let read = match &index {
                    Index::At(x) => x,
                    Index::Axis(_) | Index::Label(..) => {
                        self.diags.push(d);
                        return None;
                    }
                };
                self.diags.push(match &read.kind {
                    ExprKind::Read { var, .. } => d.label(self.hir.var(*var).span, "the index is declared here"),
                    _ => d,
                });
                return None;
            };
            filled[slot] = Some(index);
        }
        Some(filled)
    }

    fn index_of_other_plate(
        &self,
        plate: PlateId,
        span: Span,
        dims: &[AxisId],
        base: Span,
        stored: Option<VarId>,
    ) -> Diagnostic {
        let (name, over) = (&self.hir.plate(plate).name, self.axes_text(dims));
        let d = Code::INDEX_OF_OTHER_PLATE
            .at(span, format!("this index picks a cell of `{name}`, and the value varies over {over}"))
            .here(format!("an index of `{name}`"))
            .label(base, format!("varies over {over}"));
        let advice = self.index_advice(dims);
        // Which of the two places is wrong, only the author knows.
        match stored.map(|v| self.hir.var(v)).filter(|v| !matches!(v.kind, VarKind::Column(_))) {
            Some(v) if dims.len() == 1 => d
                .label(v.span, format!("declared over {over} here"))
                .help(format!("{advice}, or declare it as `{}[{name}]`", v.name)),
            Some(v) => d.label(v.span, format!("declared over {over} here")).help(advice),
            None => d.help(advice),
        }
    }

    /// A label must fit one axis.
    fn label_slot(
        &mut self,
        text: &str,
        at: Span,
        dims: &[AxisId],
        filled: &[Option<Index>],
        position: Option<usize>,
    ) -> Option<usize> {
        let free: Vec<usize> = (0..dims.len()).filter(|&d| filled[d].is_none()).collect();
        let fits: Vec<usize> =
            free.iter().copied().filter(|&d| self.may_have_label(self.plate_of(dims[d]), text)).collect();
        match (fits.as_slice(), position) {
            ([one], _) => Some(*one),
            (several, Some(p)) if several.contains(&p) => Some(p),
            ([], _) => {
                let d = self.no_such_label(text, at, self.plate_of(dims[free[0]]));
                self.diags.push(d);
                None
            }
            _ => {
                self.diags.push(
                    Code::LABEL_FITS_SEVERAL
                        .at(
                            at,
                            match fits.iter().all(|&d| self.plate_of(dims[d]) == self.plate_of(dims[fits[0]])) {
                                true => format!(
                                    "the label {text} could stand for any index of `{}`",
                                    self.plate_name(dims[fits[0]])
                                ),
                                false => format!(
                                    "the label {text} could belong to {}",
                                    self.axes_text(&fits.iter().map(|&d| dims[d]).collect::<Vec<_>>())
                                ),
                            },
                        )
                        .here("which plate?")
                        .help("give an index for every plate, in the order of the declaration"),
                );
                None
            }
        }
    }

    pub(super) fn no_such_label(&self, text: &str, at: Span, plate: PlateId) -> crate::diag::Diagnostic {
        let p = self.hir.plate(plate);
        let labels = self.known_labels(plate).unwrap_or_default();
        let numbers = labels.iter().all(|l| l.parse::<f64>().is_ok());
        let said = if text.parse::<f64>().is_ok() { text.to_string() } else { format!("\"{text}\"") };
        let d = Code::UNKNOWN_LABEL
            .at(at, format!("`{}` has no cell labelled {said}", p.name))
            .here("not a label")
            .label(p.span, "the plate");
        // Among numbers every label is near every other.
        let near = crate::diag::nearest(text, labels.iter().map(String::as_str)).filter(|_| !numbers);
        match (near, labels.as_slice()) {
            (Some(n), _) => d.help(format!("did you mean \"{n}\"?")).edit(at, format!("\"{n}\"")),
            (None, [first, .., last]) if numbers && labels.len() > 2 => {
                d.help(format!("its labels run from {first} to {last}"))
            }
            (None, []) => d,
            (None, _) => d.help(format!("its labels are {}", summarize(&labels))),
        }
    }

    /// Labels that are known without data.
    pub(super) fn known_labels(&self, plate: PlateId) -> Option<Vec<String>> {
        let literal = |e: &Expr| match e.kind {
            ExprKind::Number(v) => Some(v as i64),
            ExprKind::Read { var, .. } => match &self.hir.var(var).kind {
                VarKind::Const { .. } => None, // `--set` may change it
                _ => None,
            },
            _ => None,
        };
        match &self.hir.plate(plate).kind {
            PlateKind::Labels(l) => Some(l.clone()),
            PlateKind::Levels { fixed: Some(l), .. } => Some(l.clone()),
            PlateKind::Sized(e) => numbered(1, literal(e)?),
            PlateKind::Range(a, b) => numbered(literal(a)?, literal(b)?),
            PlateKind::Header { column } => match &self.hir.var(*column).kind {
                VarKind::Column(Column { from: From::List(l), .. }) => Some(l.clone()),
                _ => None,
            },
            _ => None,
        }
    }

    fn may_have_label(&self, plate: PlateId, text: &str) -> bool {
        self.known_labels(plate).is_none_or(|l| l.iter().any(|x| x == text))
    }

    /// How to index a value that varies over these plates: by the key columns that lead to them.
    pub(super) fn index_advice(&self, dims: &[AxisId]) -> String {
        let keys: Vec<String> = dims
            .iter()
            .map(|&a| {
                let plate = self.plate_of(a);
                let column = self.hir.vars.iter().find(|v| v.ty == Ty::Index(plate));
                column.map_or_else(|| self.plate_name(a).to_string(), |v| v.name.clone())
            })
            .collect();
        format!("index it by `[{}]`", keys.join(", "))
    }
}

/// The first few labels, quoted.
fn summarize(labels: &[String]) -> String {
    let quoted = |l: &String| if l.parse::<f64>().is_ok() { l.clone() } else { format!("\"{l}\"") };
    let first: Vec<String> = labels.iter().take(6).map(quoted).collect();
    let more = labels.len().saturating_sub(6);
    if more > 0 { format!("{} and {more} more", first.join(", ")) } else { first.join(", ") }
}

/// The labels of a numbered plate, unless there are too many to list.
fn numbered(from: i64, to: i64) -> Option<Vec<String>> {
    (to - from < 100_000).then(|| (from..=to).map(|i| i.to_string()).collect())
}
