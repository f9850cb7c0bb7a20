//! Which declaration every name in a text refers to: what "go to definition", "find references" and "rename" stand on.
//! Works on the syntax tree, so that it answers while the program is still wrong.

use std::collections::HashMap;

use crate::source::{FileId, Span};
use crate::syntax::ast::*;

/// What a declared name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Table,
    Column,
    DataValue,
    Plate,
    Const,
    Latent,
    Param,
    Let,
    Report,
    Net,
    Function,
    Distribution,
    /// A net's named result: `mu` in `q.mu`.
    Head,
    /// `t` in `t in days`.
    Index,
    /// An argument of a function, distribution or net, or a value inside its body.
    Local,
}

impl Kind {
    pub fn word(self) -> &'static str {
        match self {
            Kind::Table => "table",
            Kind::Column => "column",
            Kind::DataValue => "data value",
            Kind::Plate => "plate",
            Kind::Const => "const",
            Kind::Latent => "latent",
            Kind::Param => "param",
            Kind::Let => "let",
            Kind::Report => "report",
            Kind::Net => "net",
            Kind::Function => "function",
            Kind::Distribution => "distribution",
            Kind::Head => "part of a net's result",
            Kind::Index => "index",
            Kind::Local => "argument",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DefId(pub usize);

/// A name where it is declared.
#[derive(Clone, Debug)]
pub struct Def {
    pub name: String,
    pub span: Span,
    pub kind: Kind,
    /// The whole declaration, column or binder.
    pub whole: Span,
    pub doc: Option<String>,
    /// Where it can be used: a declaration for its locals, `None` for what all of the model sees.
    pub scope: Option<Span>,
    /// The table of a column, the net of a head.
    pub of: Option<DefId>,
}

/// A name where it is used.
#[derive(Clone, Debug)]
pub struct Use {
    pub name: String,
    pub span: Span,
    /// `None`: something of the library, or nothing that is known.
    pub def: Option<DefId>,
}

#[derive(Clone, Debug, Default)]
pub struct Names {
    pub defs: Vec<Def>,
    pub uses: Vec<Use>,
}

impl Names {
    /// All names of a model, with those of the files that it imports.
    pub fn of(ast: &Ast) -> Names {
        let mut r = Resolver::default();
        for decl in &ast.decls {
            r.declare(decl);
        }
        for decl in &ast.decls {
            r.decl(decl);
        }
        r.names
    }

    pub fn def(&self, id: DefId) -> &Def {
        &self.defs[id.0]
    }

    /// The declaration of the name at a place, and the name's own span.
    pub fn at(&self, file: FileId, offset: u32) -> Option<(DefId, Span)> {
        let here = |s: &Span| s.file == file && s.start <= offset && offset <= s.end;
        let def = self.defs.iter().position(|d| here(&d.span)).map(|i| (DefId(i), self.defs[i].span));
        def.or_else(|| self.uses.iter().find(|u| here(&u.span)).and_then(|u| Some((u.def?, u.span))))
    }

    /// Where a name is declared and used, in order.
    pub fn all_of(&self, id: DefId) -> Vec<Span> {
        let uses = self.uses.iter().filter(|u| u.def == Some(id)).map(|u| u.span);
        let mut all: Vec<Span> = std::iter::once(self.def(id).span).chain(uses).collect();
        all.sort();
        all.dedup();
        all
    }
}

#[derive(Default)]
struct Resolver {
    names: Names,
    globals: HashMap<String, DefId>,
    /// The columns of tables and the heads of nets, by owner.
    parts: HashMap<(DefId, String), DefId>,
    /// Lets whose value is a call of a net.
    of_net: HashMap<DefId, DefId>,
    locals: Vec<(String, DefId)>,
    whole: Span,
}

impl Resolver {
    fn def(&mut self, name: &Ident, kind: Kind, whole: Span, doc: Option<String>, of: Option<DefId>) -> DefId {
        let scope = matches!(kind, Kind::Index | Kind::Local).then_some(self.whole);
        self.names.defs.push(Def { name: name.name.clone(), span: name.span, kind, whole, doc, scope, of });
        DefId(self.names.defs.len() - 1)
    }

    fn global(&mut self, name: &Ident, kind: Kind, decl: &Decl) -> DefId {
        let id = self.def(name, kind, decl.span, decl.doc.clone(), None);
        self.globals.entry(name.name.clone()).or_insert(id);
        id
    }

    fn local(&mut self, name: &Ident, kind: Kind, whole: Span) {
        let id = self.def(name, kind, whole, None, None);
        self.locals.push((name.name.clone(), id));
    }

    /// The names that a declaration gives to the whole model.
    fn declare(&mut self, decl: &Decl) {
        match &decl.kind {
            DeclKind::Table { name, fields } => {
                let table = self.global(name, Kind::Table, decl);
                for field in fields {
                    for column in &field.names {
                        let id = self.def(column, Kind::Column, field.span, None, Some(table));
                        self.globals.entry(column.name.clone()).or_insert(id);
                        self.parts.insert((table, column.name.clone()), id);
                    }
                }
            }
            DeclKind::DataValue { names, .. } => names.iter().for_each(|n| _ = self.global(n, Kind::DataValue, decl)),
            DeclKind::Plate { name, .. } => _ = self.global(name, Kind::Plate, decl),
            DeclKind::Const { name, .. } => _ = self.global(name, Kind::Const, decl),
            DeclKind::Latent { heads, .. } => {
                heads.iter().for_each(|h| _ = self.global(&h.name, Kind::Latent, decl));
            }
            DeclKind::Param { head, .. } => _ = self.global(&head.name, Kind::Param, decl),
            DeclKind::Let { head, .. } => _ = self.global(&head.name, Kind::Let, decl),
            DeclKind::ReportLet { head, .. } => _ = self.global(&head.name, Kind::Report, decl),
            DeclKind::Net { name, result, .. } => {
                let net = self.global(name, Kind::Net, decl);
                if let NetResult::Heads(heads) = result {
                    for head in heads {
                        let id = self.def(&head.name, Kind::Head, head.name.span.to(head.ty.span), None, Some(net));
                        self.parts.insert((net, head.name.name.clone()), id);
                    }
                }
            }
            DeclKind::Fn { name, .. } => _ = self.global(name, Kind::Function, decl),
            DeclKind::Dist { name, .. } => _ = self.global(name, Kind::Distribution, decl),
            DeclKind::Guide { items } => {
                for item in items {
                    match item {
                        GuideItem::Let { head, .. } => _ = self.global(&head.name, Kind::Let, decl),
                        GuideItem::Param { head, .. } => _ = self.global(&head.name, Kind::Param, decl),
                        GuideItem::Sample { .. } => {}
                    }
                }
            }
            DeclKind::Observe { .. }
            | DeclKind::Factor { .. }
            | DeclKind::Report { .. }
            | DeclKind::GuideFamily { .. }
            | DeclKind::Fit { .. }
            | DeclKind::Import { .. }
            | DeclKind::Error => {}
        }
    }

    fn look_up(&self, name: &str) -> Option<DefId> {
        let local = self.locals.iter().rev().find(|(n, _)| n == name).map(|(_, id)| *id);
        local.or_else(|| self.globals.get(name).copied())
    }

    fn name(&mut self, name: &str, span: Span) {
        let def = self.look_up(name);
        self.names.uses.push(Use { name: name.to_owned(), span, def });
    }

    fn ident(&mut self, ident: &Ident) {
        self.name(&ident.name, ident.span);
    }

    fn decl(&mut self, decl: &Decl) {
        self.locals.clear();
        self.whole = decl.span;
        match &decl.kind {
            DeclKind::Table { fields, .. } => fields.iter().for_each(|f| self.ty(&f.ty)),
            DeclKind::DataValue { ty, default, .. } => {
                self.ty(ty);
                self.exprs(default);
            }
            DeclKind::Plate { value, .. } | DeclKind::Const { value, .. } | DeclKind::Factor { value } => {
                self.expr(value);
            }
            DeclKind::Latent { heads, ty, dist } => {
                heads.iter().for_each(|h| self.head(h));
                ty.iter().for_each(|t| self.ty(t));
                self.expr(dist);
            }
            DeclKind::Param { head, ty, init } => {
                self.head(head);
                ty.iter().for_each(|t| self.ty(t));
                self.expr(init);
            }
            DeclKind::Let { head, ty, value } => {
                self.head(head);
                ty.iter().for_each(|t| self.ty(t));
                self.expr(value);
                self.result_of_net(&head.name, value);
            }
            DeclKind::ReportLet { head, value } => {
                self.head(head);
                self.expr(value);
            }
            DeclKind::Observe { target, over, dist } => {
                over.iter().for_each(|a| self.axis(a));
                // The binders of the target are seen by its distribution.
                self.open(target);
                self.expr(dist);
            }
            DeclKind::Report { names } => names.iter().for_each(|n| self.ident(n)),
            DeclKind::Net { plates, params, result, body, .. } => {
                self.signature(plates, params);
                match result {
                    NetResult::Single(ty) => self.ty(ty),
                    NetResult::Heads(heads) => heads.iter().for_each(|h| self.ty(&h.ty)),
                }
                self.expr(body);
            }
            DeclKind::Fn { plates, params, result, body, .. } => {
                self.signature(plates, params);
                self.ty(result);
                self.expr(body);
            }
            DeclKind::Dist { plates, params, support, items, .. } => {
                self.signature(plates, params);
                self.ty(support);
                for item in items {
                    let before = self.locals.len();
                    item.arg.iter().for_each(|a| self.local(a, Kind::Local, a.span));
                    self.expr(&item.value);
                    self.locals.truncate(before);
                }
            }
            DeclKind::Guide { items } => items.iter().for_each(|i| self.guide_item(i)),
            DeclKind::GuideFamily { family } => self.expr(family),
            DeclKind::Fit { items } => items.iter().for_each(|i| self.expr(&i.value)),
            DeclKind::Import { .. } | DeclKind::Error => {}
        }
        self.attrs(&decl.attrs);
    }

    fn attrs(&mut self, attrs: &[Attr]) {
        attrs.iter().flat_map(|a| &a.args).for_each(|a| self.expr(&a.value));
    }

    fn guide_item(&mut self, item: &GuideItem) {
        let before = self.locals.len();
        match item {
            GuideItem::Let { head, value } => {
                self.head(head);
                self.expr(value);
                self.result_of_net(&head.name, value);
            }
            GuideItem::Param { head, ty, init } => {
                self.head(head);
                ty.iter().for_each(|t| self.ty(t));
                self.expr(init);
            }
            GuideItem::Sample { names, dist, attrs } => {
                names.iter().for_each(|n| self.ident(n));
                self.expr(dist);
                self.attrs(attrs);
            }
        }
        self.locals.truncate(before);
    }

    /// `let q = encoder(x)`: the parts of `q` are the heads of the net.
    fn result_of_net(&mut self, name: &Ident, value: &Expr) {
        let net = |r: &Resolver, e: &Expr| match &e.kind {
            ExprKind::Name(n) => r.look_up(n).filter(|id| r.names.def(*id).kind == Kind::Net),
            _ => None,
        };
        let called = match &value.kind {
            ExprKind::Call { callee, .. } => net(self, callee),
            ExprKind::Pipe { right, .. } => match &right.kind {
                ExprKind::Call { callee, .. } => net(self, callee),
                _ => net(self, right),
            },
            _ => None,
        };
        if let (Some(net), Some(id)) = (called, self.globals.get(&name.name)) {
            self.of_net.insert(*id, net);
        }
    }

    fn signature(&mut self, plates: &[Ident], params: &[Param]) {
        plates.iter().for_each(|p| self.local(p, Kind::Local, p.span));
        for p in params {
            self.ty(&p.ty);
            self.local(&p.name, Kind::Local, p.name.span.to(p.ty.span));
        }
    }

    fn head(&mut self, head: &Head) {
        head.axes.iter().chain(&head.over).for_each(|a| self.axis(a));
    }

    fn axis(&mut self, axis: &Axis) {
        self.ident(&axis.plate);
        axis.by.iter().chain(&axis.along).for_each(|n| self.ident(n));
        if let Some(index) = &axis.index {
            self.local(index, Kind::Index, axis.span);
        }
        if let Some(filter) = &axis.filter {
            self.expr(filter);
        }
    }

    fn ty(&mut self, ty: &Type) {
        // `real`, `int` and their like are no names of the model.
        if self.look_up(&ty.base.name).is_some() {
            self.ident(&ty.base);
        }
        ty.axes.iter().for_each(|a| self.axis(a));
        match &ty.bound {
            Some(Bound::Compare { value, .. }) => self.expr(value),
            Some(Bound::Interval { lower, upper, .. }) => {
                self.expr(lower);
                self.expr(upper);
            }
            None => {}
        }
    }

    fn exprs<'a>(&mut self, exprs: impl IntoIterator<Item = &'a Expr>) {
        exprs.into_iter().for_each(|e| self.expr(e));
    }

    /// An expression whose binders end with it.
    fn expr(&mut self, e: &Expr) {
        let before = self.locals.len();
        self.open(e);
        self.locals.truncate(before);
    }

    /// An expression whose binders stay in scope.
    fn open(&mut self, e: &Expr) {
        match &e.kind {
            ExprKind::Name(name) => self.name(name, e.span),
            ExprKind::Unary { operand, .. } => self.expr(operand),
            ExprKind::Binary { left, right, .. } | ExprKind::Pipe { left, right } => self.exprs([&**left, right]),
            ExprKind::If { condition, then, otherwise } => self.exprs([&**condition, then, otherwise]),
            ExprKind::Call { callee, args } => {
                self.expr(callee);
                for arg in args {
                    let before = self.locals.len();
                    arg.over.iter().for_each(|a| self.axis(a));
                    self.expr(&arg.value);
                    self.locals.truncate(before);
                }
            }
            ExprKind::Index { base, items } => {
                self.open(base);
                for item in items {
                    match item {
                        IndexItem::Expr(e) => self.expr(e),
                        IndexItem::Axis(a) => self.axis(a),
                    }
                }
            }
            ExprKind::Field { base, name } => {
                self.expr(base);
                let owner = match &base.kind {
                    ExprKind::Name(n) => self.look_up(n),
                    _ => None,
                };
                let owner = owner.map(|id| self.of_net.get(&id).copied().unwrap_or(id));
                let part = owner.and_then(|id| self.parts.get(&(id, name.name.clone())).copied());
                self.names.uses.push(Use { name: name.name.clone(), span: name.span, def: part });
            }
            ExprKind::List(items) => self.exprs(items.iter().map(|i| &i.value)),
            ExprKind::Block { lets, value } => {
                for (head, value) in lets {
                    let before = self.locals.len();
                    self.head(head);
                    self.expr(value);
                    self.locals.truncate(before);
                    self.local(&head.name, Kind::Local, head.span.to(value.span));
                }
                self.open(value);
            }
            ExprKind::Number { .. } | ExprKind::Text(_) | ExprKind::Error => {}
        }
    }
}
