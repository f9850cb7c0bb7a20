//! From syntax to the checked program: names, plates, types, supports. Never fails; says what is wrong in `diags`.

mod amortise;
mod attrs;
mod bodies;
mod bounds;
mod builtins;
mod call;
mod censored;
mod centering;
mod columns;
mod cut;
mod declare;
mod discrete;
mod dist;
mod expr;
mod fit;
mod foreign;
mod function;
mod guide;
mod head;
mod idioms;
mod index;
mod jumps;
mod latent;
mod lets;
mod lints;
mod matrix;
mod missing;
mod mixture;
mod names;
mod net;
mod observe;
mod ode;
mod param;
mod plates;
mod print;
mod recurrence;
mod steps;
mod structure;
mod support;
mod suspects;
mod walk;
pub mod words;

use std::collections::{HashMap, HashSet};

use crate::diag::{Diagnostic, Diags};
use crate::hir::*;
use crate::source::{FileId, Span};
use crate::syntax::ast::{self, Ast, DeclKind, Ident};
use names::Names;

pub use amortise::guide as amortised_guide;
pub use builtins::{BUILTINS, Builtin, CONSTANTS};
pub use centering::{LocationScale, is_joint_gaussian, location_scale};
pub use fit::fit_options;
pub use lints::allow;
pub use print::{describe, plates, print};
pub(crate) use {expr::walk, support::reads};

/// A function of the library or the model.
#[derive(Clone, Copy)]
struct FnDecl<'a> {
    name: &'a Ident,
    plates: &'a [Ident],
    params: &'a [ast::Param],
    result: &'a ast::Type,
    body: &'a ast::Expr,
}

/// One form of a distribution; forms of one name differ in their parameters' names.
#[derive(Clone, Copy)]
struct DistDecl<'a> {
    name: &'a Ident,
    plates: &'a [Ident],
    params: &'a [ast::Param],
    support: &'a ast::Type,
    items: &'a [ast::DistItem],
}

/// Check a model against itself and the library. The program is complete only if `diags` holds no error.
pub fn check(model: &Ast, library: &[&Ast], diags: &mut Diags) -> Hir {
    let mut c = Checker::new(diags);
    for ast in library {
        c.collect_library(ast);
    }
    c.poisoned.extend(model.broken.iter().map(|b| b.name.clone()));
    c.collect_callables(model);
    c.declare_data(model);
    c.callables(model);
    c.steps(model);
    c.missing_cells();
    c.recurrences();
    c.guide_and_fit(model);
    c.jumps();
    c.summed_out();
    if !c.diags.has_errors() {
        c.lint(model);
    }
    lints::allow(model, c.diags);
    c.hir
}

struct Checker<'a, 'd> {
    diags: &'d mut Diags,
    hir: Hir,
    names: Names,
    /// Functions and distributions of the model.
    own: Callables<'a>,
    /// Those of the library: what its own bodies see, whatever the model declares.
    library: Callables<'a>,
    library_files: HashSet<FileId>,
    nets: net::Nets<'a>,
    next_local: u32,
    /// Functions being expanded, innermost last: a repeat is a recursion.
    expanding: Vec<Span>,
    /// Functions and distributions whose own body is wrong: reported there, not in their calls.
    broken_bodies: HashSet<Span>,
    budget: function::Budget,
    /// How deep the expression being checked nests, with the functions that it calls.
    depth: usize,
    /// Mixtures around the distribution being checked.
    mixtures: usize,
    /// Variables that some expression reads.
    used: HashSet<VarId>,
    /// Lets and reports whose value depends on a latent.
    random: HashSet<VarId>,
    /// Which step computes each `let`, once all are there.
    lets: HashMap<VarId, usize>,
    /// Those of them that depend on a continuous latent, and on a discrete one.
    smooth: HashSet<VarId>,
    summed: HashSet<VarId>,
    /// Matrices reported in a declaration for want of an index.
    matrices: HashSet<(VarId, Span)>,
    /// Names whose declaration failed: their uses are not reported again.
    poisoned: HashSet<String>,
    /// The left sides of lets, reports and latents.
    heads: HashMap<&'a str, (VarKind, &'a ast::Head, Option<&'a ast::Type>)>,
    /// Variables whose earlier rows were read before their declaration was reached.
    ahead: HashMap<String, Option<(VarId, head::Left<'a>)>>,
    /// The declaration being checked.
    current: Span,
}

#[derive(Default)]
struct Callables<'a> {
    fns: HashMap<&'a str, FnDecl<'a>>,
    dists: HashMap<&'a str, Vec<DistDecl<'a>>>,
}

/// What an expression may see besides the model's names.
#[derive(Clone, Default)]
struct Env {
    locals: Vec<(String, Local)>,
    /// Binder names (`t in days`).
    binders: Vec<(String, AxisId)>,
    /// Binder names that a reduction over their plate hides, with that plate.
    hidden: Vec<(String, PlateId)>,
    /// The walks of binders that have an order of their own.
    walks: Vec<(AxisId, WalkId)>,
    /// What conditions around say about the steps of walks.
    past: Vec<walk::Past>,
    /// Plate parameters of the `fn` or `dist` whose body this is.
    plates: Vec<(String, AxisId)>,
    scope: Scope,
    /// In the body of `sample()`: base noise may be drawn.
    noise: bool,
    /// The plate that a list in this place runs over.
    list_axis: Option<AxisId>,
    /// The axes that the left side fixes, and those of the reductions around.
    context: Vec<AxisId>,
}

/// Whose names an expression sees.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Scope {
    /// Everything that is declared above.
    #[default]
    Model,
    /// A value that is known before fitting: numbers, constants, plate sizes.
    Constant,
    /// The body of a `fn` or `dist` of the model: constants and single data values.
    Body,
    /// A body of the library: nothing of the model.
    Library,
}

impl Env {
    /// In the body of a `fn` or `dist`: columns and latents are not visible.
    fn closed(&self) -> bool {
        matches!(self.scope, Scope::Body | Scope::Library)
    }
}

/// A value bound by a `fn`, `dist` or block `let`.
#[derive(Clone, Debug)]
struct Local {
    id: LocalId,
    ty: Ty,
    axes: Vec<AxisId>,
    /// What values it can take, for domain checks.
    range: bounds::Range,
}

impl<'a, 'd> Checker<'a, 'd> {
    fn new(diags: &'d mut Diags) -> Self {
        Checker {
            diags,
            hir: Hir::default(),
            names: Names::default(),
            own: Callables::default(),
            library: Callables::default(),
            library_files: HashSet::new(),
            nets: net::Nets::default(),
            next_local: 0,
            expanding: vec![],
            broken_bodies: HashSet::new(),
            budget: function::Budget::default(),
            depth: 0,
            mixtures: 0,
            used: HashSet::new(),
            random: HashSet::new(),
            lets: HashMap::new(),
            smooth: HashSet::new(),
            summed: HashSet::new(),
            matrices: HashSet::new(),
            poisoned: HashSet::new(),
            heads: HashMap::new(),
            ahead: HashMap::new(),
            current: Span::default(),
        }
    }

    fn fresh_local(&mut self) -> LocalId {
        self.next_local += 1;
        LocalId(self.next_local - 1)
    }

    fn collect_library(&mut self, ast: &'a Ast) {
        for decl in &ast.decls {
            self.library_files.insert(decl.span.file);
            match &decl.kind {
                DeclKind::Fn { name, plates, params, result, body } => {
                    self.library.fns.insert(&name.name, FnDecl { name, plates, params, result, body });
                }
                DeclKind::Dist { name, plates, params, support, items } => {
                    let form = DistDecl { name, plates, params, support, items };
                    self.library.dists.entry(&name.name).or_default().push(form);
                }
                _ => {}
            }
        }
    }

    /// Functions, distributions and nets are visible everywhere, whatever their order. Those of the model come before
    /// the library's of the same name.
    fn collect_callables(&mut self, ast: &'a Ast) {
        for decl in &ast.decls {
            match &decl.kind {
                DeclKind::Fn { name, plates, params, result, body } => {
                    if let Some(old) = self.own.fns.get(name.name.as_str()) {
                        let old = old.name;
                        self.duplicate_callable(name, old, "function");
                        continue;
                    }
                    self.own.fns.insert(&name.name, FnDecl { name, plates, params, result, body });
                }
                DeclKind::Dist { name, plates, params, support, items } => {
                    let new = DistDecl { name, plates, params, support, items };
                    let names = |d: &DistDecl| d.params.iter().map(|p| p.name.name.clone()).collect::<Vec<_>>();
                    let forms = self.own.dists.entry(&name.name).or_default();
                    if let Some(old) = forms.iter().find(|f| names(f) == names(&new)) {
                        let old = old.name;
                        self.duplicate_callable(name, old, "distribution");
                        continue;
                    }
                    forms.push(new);
                }
                DeclKind::Net { name, plates, params, result, body, prior } => {
                    if let Some(old) = self.nets.decls.get(name.name.as_str()) {
                        let old = old.name;
                        self.duplicate_callable(name, old, "net");
                        continue;
                    }
                    let net = net::NetDecl { name, plates, params, result, body, prior: prior.as_ref() };
                    self.nets.decls.insert(&name.name, net);
                }
                _ => {}
            }
        }
    }

    /// The function that a name means where it is used.
    fn function(&self, name: &str, env: &Env) -> Option<FnDecl<'a>> {
        let own = self.own.fns.get(name).filter(|_| env.scope != Scope::Library);
        own.or_else(|| self.library.fns.get(name)).copied()
    }

    /// The forms of a distribution: the model's own, or else the library's.
    fn forms(&self, name: &str) -> Option<&[DistDecl<'a>]> {
        self.own.dists.get(name).or_else(|| self.library.dists.get(name)).map(Vec::as_slice)
    }

    /// Names of all distributions, for suggestions.
    fn dist_names(&self) -> Vec<&'a str> {
        let mut names: Vec<&str> = self.own.dists.keys().chain(self.library.dists.keys()).copied().collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Names of all functions, for suggestions.
    fn function_names(&self) -> Vec<&'a str> {
        let fns = self.own.fns.keys().chain(self.library.fns.keys()).copied();
        let mut names: Vec<&str> = BUILTINS.iter().map(|b| b.0).chain(fns).collect();
        names.extend(self.nets.decls.keys());
        names.sort_unstable();
        names.dedup();
        names
    }

    fn add_plate(&mut self, name: &str, span: Span, kind: PlateKind) -> PlateId {
        let id = PlateId(self.hir.plates.len() as u32);
        let axis = self.add_axis(id, name);
        self.hir.plates.push(Plate { name: name.to_string(), span, kind, axis });
        id
    }

    fn add_axis(&mut self, plate: PlateId, name: &str) -> AxisId {
        self.hir.axes.push(AxisInfo { plate, name: name.to_string() });
        AxisId(self.hir.axes.len() as u32 - 1)
    }

    fn add_var(&mut self, var: Var) -> VarId {
        self.hir.vars.push(var);
        VarId(self.hir.vars.len() as u32 - 1)
    }

    /// A construct of a later version: said once per declaration, since the others go with it.
    fn later_part(&mut self, d: Diagnostic) {
        let here = |s: Span| s.file == self.current.file && s.start >= self.current.start && s.end <= self.current.end;
        if !self.diags.list.iter().any(|o| o.code.id.starts_with("V06") && o.span.is_some_and(here)) {
            self.diags.push(d);
        }
    }

    /// Whether part of the declaration could not be read, so that what is missing may be a consequence.
    fn misread(&self) -> bool {
        let here = |s: Span| s.file == self.current.file && s.start >= self.current.start && s.end <= self.current.end;
        self.diags.list.iter().any(|o| o.code.id.starts_with("V01") && o.span.is_some_and(here))
    }

    /// Take uses of a name as right: its declaration has been reported.
    fn poison(&mut self, name: &Ident) {
        self.poisoned.insert(name.name.clone());
    }

    fn plate_of(&self, axis: AxisId) -> PlateId {
        self.hir.axis(axis).plate
    }

    fn plate_name(&self, axis: AxisId) -> &str {
        &self.hir.plate(self.plate_of(axis)).name
    }

    /// `houses` and `feature`, for messages.
    fn axes_text(&self, axes: &[AxisId]) -> String {
        match axes {
            [] => "no plate".into(),
            _ => {
                let names: Vec<String> = axes.iter().map(|&a| format!("`{}`", self.plate_name(a))).collect();
                names.join(" and ")
            }
        }
    }
}

/// Sorted union without duplicates.
fn union(a: &[AxisId], b: &[AxisId]) -> Vec<AxisId> {
    let mut v: Vec<AxisId> = a.iter().chain(b).copied().collect();
    v.sort_unstable();
    v.dedup();
    v
}

fn sorted(v: &[AxisId]) -> Vec<AxisId> {
    union(v, &[])
}

fn minus(a: &[AxisId], b: &[AxisId]) -> Vec<AxisId> {
    a.iter().copied().filter(|x| !b.contains(x)).collect()
}
