//! A second opinion on plates, for judging mutants: what a value varies over, told from the syntax alone by the rules of
//! the language, with none of the checker's code. It knows less than the checker: what it cannot tell it says nothing of.

use std::collections::{BTreeSet, HashMap};

use vic::library::LIBRARY;
use vic::source::FileId;
use vic::syntax::ast::*;
use vic::syntax::parse;

/// Plates that a value varies over, or `None`: cannot be told.
type Shape = Option<Vec<String>>;

#[derive(Default)]
struct Opinion {
    /// Of columns, latents, params and lets, in the order of their dimensions.
    shapes: HashMap<String, Shape>,
    /// The plate that a value of this name is a position on.
    positions: HashMap<String, String>,
    plates: BTreeSet<String>,
    /// Of each `dist` and `fn`: the names of the arguments that take a whole plate.
    whole: HashMap<String, BTreeSet<usize>>,
    /// Binders in scope: index name and plate.
    binders: Vec<(String, String)>,
    broken: bool,
}

const REDUCTIONS: &[&str] = &["sum", "mean", "sd", "min", "max", "prod", "logsumexp", "any", "all"];

/// Whether a program breaks a rule of plates for sure.
pub fn plates_clash(text: &str) -> bool {
    let ast = parse(FileId(0), text, &mut Default::default());
    let mut o = Opinion::default();
    for (_, text) in LIBRARY {
        o.callables(&parse(FileId(0), text, &mut Default::default()));
    }
    o.callables(&ast);
    ast.decls.iter().for_each(|d| o.declare(d));
    // A second time, since lets may be read before their line in a recurrence.
    ast.decls.iter().for_each(|d| o.judge(d));
    o.broken
}

impl Opinion {
    fn callables(&mut self, ast: &Ast) {
        for decl in &ast.decls {
            let (DeclKind::Dist { name, params, .. }
            | DeclKind::Fn { name, params, .. }
            | DeclKind::Net { name, params, .. }) = &decl.kind
            else {
                continue;
            };
            let with_plates = params
                .iter()
                .enumerate()
                .filter(|(_, p)| !p.ty.axes.is_empty() || !matches!(p.ty.base.name.as_str(), "real" | "int" | "bool"));
            self.whole.entry(name.name.clone()).or_default().extend(with_plates.map(|(i, _)| i));
            if let DeclKind::Fn { .. } | DeclKind::Net { .. } = decl.kind {
                // What it gives may have plates of its own.
                self.whole.entry(name.name.clone()).or_default().insert(usize::MAX);
            }
        }
    }

    fn declare(&mut self, decl: &Decl) {
        match &decl.kind {
            DeclKind::Table { name, fields } => {
                self.plates.insert(name.name.clone());
                for field in fields {
                    for column in &field.names {
                        let mut shape = vec![name.name.clone()];
                        shape.extend(field.ty.axes.iter().map(|a| a.plate.name.clone()));
                        self.plates.extend(field.ty.axes.iter().map(|a| a.plate.name.clone()));
                        self.shapes.insert(column.name.clone(), Some(shape));
                        match field.ty.base.name.as_str() {
                            "category" => {
                                self.plates.insert(column.name.clone());
                                self.positions.insert(column.name.clone(), column.name.clone());
                            }
                            "real" | "int" | "bool" | "key" | "date" => {}
                            plate => _ = self.positions.insert(column.name.clone(), plate.to_owned()),
                        }
                    }
                }
            }
            DeclKind::Plate { name, .. } => _ = self.plates.insert(name.name.clone()),
            DeclKind::DataValue { names, ty, .. } => {
                let axes: Vec<String> = ty.axes.iter().map(|a| a.plate.name.clone()).collect();
                names.iter().for_each(|n| _ = self.shapes.insert(n.name.clone(), Some(axes.clone())));
            }
            DeclKind::Const { name, .. } => _ = self.shapes.insert(name.name.clone(), Some(vec![])),
            DeclKind::Latent { heads, ty, .. } => {
                for head in heads {
                    self.shapes.insert(head.name.name.clone(), Some(axes_of(head)));
                    if let Some(ty) = ty
                        && !matches!(
                            ty.base.name.as_str(),
                            "real" | "int" | "bool" | "ordered" | "simplex" | "zero_sum"
                        )
                    {
                        self.positions.insert(head.name.name.clone(), ty.base.name.clone());
                    }
                }
            }
            DeclKind::Param { head, .. } => _ = self.shapes.insert(head.name.name.clone(), Some(axes_of(head))),
            DeclKind::Let { head, ty, value } => {
                if let Some(ty) = ty {
                    self.positions.insert(head.name.name.clone(), ty.base.name.clone());
                }
                let shape =
                    if head.axes.is_empty() && head.over.is_empty() { self.expr(value) } else { Some(axes_of(head)) };
                let shape = if matches!(value.kind, ExprKind::List(_)) && head.axes.is_empty() { None } else { shape };
                self.shapes.insert(head.name.name.clone(), shape);
            }
            _ => {}
        }
        // What was found wrong on the way is judged with everything declared.
        self.broken = false;
        self.binders.clear();
    }

    fn judge(&mut self, decl: &Decl) {
        self.binders.clear();
        match &decl.kind {
            DeclKind::Latent { heads, dist, .. } => {
                let Some(head) = heads.first() else { return };
                self.bind(head.axes.iter().chain(&head.over));
                let right = self.distribution(dist);
                self.within(right, &axes_of(head));
            }
            DeclKind::Param { head, init: value, .. } | DeclKind::Let { head, value, .. } => {
                self.bind(head.axes.iter().chain(&head.over));
                let right = self.expr(value);
                if !head.axes.is_empty() || matches!(decl.kind, DeclKind::Param { .. }) {
                    self.within(right, &axes_of(head));
                }
            }
            DeclKind::ReportLet { head, value } => {
                self.bind(head.axes.iter().chain(&head.over));
                let right = self.expr(value);
                if !head.axes.is_empty() {
                    self.within(right, &axes_of(head));
                }
            }
            DeclKind::Observe { target, dist, .. } => {
                if let ExprKind::Index { items, .. } = &target.kind {
                    let axes = items.iter().filter_map(|i| if let IndexItem::Axis(a) = i { Some(a) } else { None });
                    self.bind(axes);
                }
                let left = self.expr(target);
                let right = self.distribution(dist);
                if let Some(left) = left {
                    self.within(right, &left);
                }
            }
            DeclKind::Factor { value } => _ = self.expr(value),
            _ => {}
        }
    }

    fn bind<'a>(&mut self, axes: impl Iterator<Item = &'a Axis>) {
        for a in axes {
            if !self.plates.contains(&a.plate.name) {
                self.broken = true;
            }
            if let Some(index) = &a.index {
                self.binders.push((index.name.clone(), a.plate.name.clone()));
            }
        }
    }

    fn within(&mut self, shape: Shape, context: &[String]) {
        self.broken |= shape.is_some_and(|s| s.iter().any(|p| !context.contains(p)));
    }

    /// A distribution: what its arguments vary over, but for those that take a plate whole.
    fn distribution(&mut self, e: &Expr) -> Shape {
        match &e.kind {
            ExprKind::If { condition, then, otherwise } => {
                let parts = [self.expr(condition), self.distribution(then), self.distribution(otherwise)];
                union(parts)
            }
            ExprKind::Call { callee, args } => match &callee.kind {
                ExprKind::Name(n) if matches!(n.as_str(), "mixture" | "truncated" | "censored") => None,
                ExprKind::Name(n) if self.whole.get(n).is_some_and(BTreeSet::is_empty) => {
                    let shapes: Vec<Shape> = args.iter().map(|a| self.expr(&a.value)).collect();
                    union(shapes)
                }
                _ => None,
            },
            _ => None,
        }
    }

    fn expr(&mut self, e: &Expr) -> Shape {
        match &e.kind {
            ExprKind::Number { .. } | ExprKind::Text(_) => Some(vec![]),
            ExprKind::Name(n) => {
                if self.binders.iter().any(|b| b.0 == *n) {
                    return None;
                }
                let shape = self.shapes.get(n).cloned()?;
                // Beside two indices over its plate, which one a bare name means is not told here.
                let twice = |p: &String| self.binders.iter().filter(|b| b.1 == *p).count() > 1;
                shape.filter(|s| !s.iter().any(twice))
            }
            ExprKind::Unary { operand, .. } => self.expr(operand),
            ExprKind::Binary { left, right, .. } => union([self.expr(left), self.expr(right)]),
            ExprKind::If { condition, then, otherwise } => {
                union([self.expr(condition), self.expr(then), self.expr(otherwise)])
            }
            ExprKind::Index { base, items } => self.index(base, items),
            ExprKind::Call { callee, args } => {
                let ExprKind::Name(n) = &callee.kind else { return None };
                match args.as_slice() {
                    [arg] if REDUCTIONS.contains(&n.as_str()) => self.reduction(arg),
                    _ if matches!(n.as_str(), "first" | "row" | "size") => None,
                    _ if self.whole.get(n).is_some_and(|w| !w.is_empty()) => None,
                    _ if matches!(n.as_str(), "ode" | "draw" | "cholesky" | "solve" | "cumsum") => None,
                    _ => {
                        let shapes: Vec<Shape> = args.iter().map(|a| self.expr(&a.value)).collect();
                        union(shapes)
                    }
                }
            }
            ExprKind::Field { .. }
            | ExprKind::List(_)
            | ExprKind::Block { .. }
            | ExprKind::Pipe { .. }
            | ExprKind::Error => None,
        }
    }

    fn reduction(&mut self, arg: &Arg) -> Shape {
        let before = self.binders.len();
        self.bind(arg.over.iter());
        let inside = self.expr(&arg.value);
        self.binders.truncate(before);
        let inside = inside?;
        if arg.over.is_empty() {
            // Without `over` it must vary over exactly one plate.
            self.broken |= inside.len() != 1;
            return Some(vec![]);
        }
        let over: Vec<&String> = arg.over.iter().map(|a| &a.plate.name).collect();
        // A sum over an index of its own needs not vary by a bare name.
        if arg.over.iter().all(|a| a.index.is_none()) {
            self.broken |= over.iter().any(|p| !inside.contains(p));
        }
        Some(inside.into_iter().filter(|p| !over.contains(&p)).collect())
    }

    fn index(&mut self, base: &Expr, items: &[IndexItem]) -> Shape {
        let ExprKind::Name(name) = &base.kind else { return None };
        let mut left = self.shapes.get(name).cloned()??;
        let mut brought = vec![];
        for item in items {
            let e = match item {
                IndexItem::Axis(a) => {
                    brought.push(a.plate.name.clone());
                    take(&mut left, &a.plate.name).or_else(|| {
                        self.broken = true;
                        None
                    })?;
                    continue;
                }
                IndexItem::Expr(e) => e,
            };
            match &e.kind {
                ExprKind::Number { .. } | ExprKind::Text(_) => {
                    // Which plate a label is of is told by the label, unless there is but one.
                    if left.len() != 1 {
                        self.broken |= left.is_empty();
                        return None;
                    }
                    left.clear();
                }
                _ => {
                    let plate = self.plate_of(e)?;
                    if take(&mut left, &plate).is_none() {
                        self.broken = true;
                        return None;
                    }
                    match &e.kind {
                        ExprKind::Name(n) if self.binders.iter().any(|b| b.0 == *n) => brought.push(plate),
                        ExprKind::Name(n) if self.positions.contains_key(n) => {
                            brought.extend(self.shapes.get(n).cloned()??);
                        }
                        ExprKind::Name(_) => brought.push(plate),
                        _ => return None,
                    }
                }
            }
        }
        left.extend(brought);
        left.sort();
        left.dedup();
        Some(left)
    }

    /// The plate that an index is of.
    fn plate_of(&mut self, e: &Expr) -> Option<String> {
        match &e.kind {
            ExprKind::Name(n) => {
                let binder = self.binders.iter().rev().find(|b| b.0 == *n).map(|b| b.1.clone());
                let plate = binder.or_else(|| self.positions.get(n).cloned());
                plate.or_else(|| {
                    if self.plates.contains(n) {
                        return Some(n.clone());
                    }
                    // A value that is a number is no index.
                    self.broken |= self.shapes.contains_key(n);
                    None
                })
            }
            ExprKind::Binary { op: BinaryOp::Add | BinaryOp::Sub, left, .. } => match &left.kind {
                ExprKind::Name(n) => self.binders.iter().rev().find(|b| b.0 == *n).map(|b| b.1.clone()),
                _ => None,
            },
            _ => None,
        }
    }
}

fn axes_of(head: &Head) -> Vec<String> {
    head.axes.iter().chain(&head.over).map(|a| a.plate.name.clone()).collect()
}

fn take(from: &mut Vec<String>, plate: &str) -> Option<String> {
    let at = from.iter().position(|p| p == plate)?;
    Some(from.remove(at))
}

fn union(shapes: impl IntoIterator<Item = Shape>) -> Shape {
    // A part that cannot be told leaves the others: they are there in any case.
    let mut all: Vec<String> = shapes.into_iter().flatten().flatten().collect();
    all.sort();
    all.dedup();
    Some(all)
}
