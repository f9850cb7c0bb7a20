//! From syntax to the checked program: names, plates, types, supports. Never fails; says what is wrong in `diags`.

mod bounds;
mod builtins;
mod call;
mod cut;
mod declare;
mod dist;
mod expr;
mod fit;
mod index;
mod lints;
mod names;
mod print;
mod steps;

use std::collections::{HashMap, HashSet};

use crate::diag::Diags;
use crate::hir::*;
use crate::source::Span;
use crate::syntax::ast::{self, Ast, DeclKind, Ident};
use names::Names;

pub use builtins::{BUILTINS, Builtin, CONSTANTS};
pub use print::print;
pub use steps::is_location_scale;

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
        c.collect_callables(ast, false);
    }
    c.collect_callables(model, true);
    c.declare_data(model);
    c.steps(model);
    c.guide_and_fit(model);
    if !c.diags.has_errors() {
        c.lint(model);
    }
    c.hir
}

struct Checker<'a, 'd> {
    diags: &'d mut Diags,
    hir: Hir,
    names: Names,
    fns: HashMap<&'a str, FnDecl<'a>>,
    dists: HashMap<&'a str, Vec<DistDecl<'a>>>,
    nets: HashMap<&'a str, Span>,
    next_local: u32,
    /// Functions being expanded, innermost last: a repeat is a recursion.
    expanding: Vec<&'a str>,
    /// Variables that some expression reads.
    used: HashSet<VarId>,
    /// Names whose declaration failed: their uses are not reported again.
    poisoned: HashSet<String>,
}

/// What an expression may see besides the model's names.
#[derive(Clone, Default)]
struct Env {
    locals: Vec<(String, Local)>,
    /// Binder names (`t in days`).
    binders: Vec<(String, AxisId)>,
    /// Plate parameters of the `fn` or `dist` whose body this is.
    plates: Vec<(String, AxisId)>,
    /// In the body of a `fn` or `dist`: columns and latents are not visible.
    closed: bool,
    /// In the body of `sample()`: base noise may be drawn.
    noise: bool,
    /// The plate that a list in this place runs over.
    list_axis: Option<AxisId>,
    /// The axes that the left side fixes, and those of the reductions around.
    context: Vec<AxisId>,
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
            fns: HashMap::new(),
            dists: HashMap::new(),
            nets: HashMap::new(),
            next_local: 0,
            expanding: vec![],
            used: HashSet::new(),
            poisoned: HashSet::new(),
        }
    }

    fn fresh_local(&mut self) -> LocalId {
        self.next_local += 1;
        LocalId(self.next_local - 1)
    }

    /// Functions, distributions and nets are visible everywhere, whatever their order.
    fn collect_callables(&mut self, ast: &'a Ast, from_model: bool) {
        for decl in &ast.decls {
            match &decl.kind {
                DeclKind::Fn { name, plates, params, result, body } => {
                    let new = FnDecl { name, plates, params, result, body };
                    let old = self.fns.insert(&name.name, new);
                    if let (true, Some(old)) = (from_model, old.filter(|o| o.name.span.file == name.span.file)) {
                        self.duplicate_callable(name, old.name, "function");
                    }
                }
                DeclKind::Dist { name, plates, params, support, items } => {
                    let new = DistDecl { name, plates, params, support, items };
                    let forms = self.dists.entry(&name.name).or_default();
                    if from_model {
                        // A model's own distribution replaces the library's of that name.
                        forms.retain(|f| f.name.span.file == name.span.file);
                        let names = |d: &DistDecl| d.params.iter().map(|p| p.name.name.clone()).collect::<Vec<_>>();
                        let same = forms.iter().find(|f| names(f) == names(&new)).copied();
                        if let Some(old) = same {
                            self.duplicate_callable(name, old.name, "distribution");
                            continue;
                        }
                    }
                    self.dists.entry(&name.name).or_default().push(new);
                }
                DeclKind::Net { name, .. } => {
                    self.nets.insert(&name.name, name.span);
                }
                _ => {}
            }
        }
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

fn minus(a: &[AxisId], b: &[AxisId]) -> Vec<AxisId> {
    a.iter().copied().filter(|x| !b.contains(x)).collect()
}
