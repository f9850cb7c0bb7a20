//! The functions, distributions and nets that a model declares, checked where they stand, whether used or not.

use super::bounds::Range;
use super::expr::is_bad;
use super::*;
use crate::diag::{Code, nearest};

const ITEMS: [&str; 8] = ["logpdf", "cdf", "logcdf", "logccdf", "sample", "mean", "variance", "most"];

impl<'a> Checker<'a, '_> {
    pub(super) fn callables(&mut self, model: &'a Ast) {
        for decl in &model.decls {
            self.start(decl.span);
            let errors = self.diags.list.len();
            // Plate parameters stand for plates while the body is checked, and are gone afterwards.
            let mark = self.mark();
            let name = match &decl.kind {
                // A chain of layers is looked at where a net has it.
                DeclKind::Fn { result, .. } if result.base.name == "layers" => continue,
                DeclKind::Fn { name, plates, params, result, body } => {
                    self.expanding.push(name.span);
                    self.function_body(FnDecl { name, plates, params, result, body });
                    self.expanding.pop();
                    name
                }
                DeclKind::Dist { name, plates, params, support, items } => {
                    self.dist_body(DistDecl { name, plates, params, support, items });
                    name
                }
                DeclKind::Net { name, plates, params, result, body, prior } => {
                    self.expanding.push(name.span);
                    self.net_body(net::NetDecl { name, plates, params, result, body, prior: prior.as_ref() });
                    self.expanding.pop();
                    name
                }
                _ => continue,
            };
            self.forget(mark);
            if self.diags.list.len() > errors {
                self.broken_bodies.insert(name.span);
            }
        }
    }

    fn function_body(&mut self, f: FnDecl<'a>) {
        let env = self.signature(f.plates, f.params);
        let own = f.plates.iter().any(|p| p.name == f.result.base.name);
        let index = if own { None } else { self.plate_type(f.result, &Env::default()) };
        if !own && index.is_none() && !self.known_type(f.result, "a result") {
            return;
        }
        let Some(mut env) = env else { return };
        let index = self.plate_type(f.result, &env);
        let mut result = vec![];
        for a in &f.result.axes {
            let Some(axis) = self.axis_named(&a.plate, &env) else { return };
            result.push(axis);
        }
        if let [one] = result.as_slice() {
            env.list_axis = Some(*one);
        }
        let body = self.expr(f.body, &env);
        let body = if index.is_some() { body } else { self.numeric(body, "return this") };
        if is_bad(&body) {
            return;
        }
        if let Some(&axis) = minus(&body.axes, &result).first() {
            let (name, plate) = (&f.name.name, self.plate_name(axis).to_string());
            let written = &f.result.base.name;
            self.diags.push(
                Code::PLATE_MISMATCH
                    .at(body.span, format!("`{name}` gives one value per cell of `{plate}`"))
                    .here(format!("varies over {}", self.axes_text(&body.axes)))
                    .label(f.result.span, format!("declared as {}", self.per_cell(&result)))
                    .help(format!("declare the result `{written}[{plate}]`, or sum over `{plate}`")),
            );
        }
    }

    fn dist_body(&mut self, d: DistDecl<'a>) {
        let name = &d.name.name;
        let Some(env) = self.signature(d.plates, d.params) else { return };
        for (i, item) in d.items.iter().enumerate() {
            let n = item.name.name.as_str();
            if !ITEMS.contains(&n) {
                let e = Code::UNKNOWN_DIST_ITEM
                    .at(item.name.span, format!("a distribution has no `{n}`"))
                    .here("it would be ignored");
                self.diags.push(match nearest(n, ITEMS) {
                    Some(x) => e.meant(x),
                    None => e.help("the items are `logpdf(x)`, `cdf(x)`, `logcdf(x)`, `logccdf(x)`, `sample()`, `mean`, `variance` and `most`"),
                });
            }
            if let Some(old) = d.items[..i].iter().find(|o| o.name.name == n) {
                self.diags.push(
                    Code::DUPLICATE_NAME
                        .at(item.name.span, format!("`{name}` has two items called `{n}`"))
                        .here("the second one")
                        .label(old.name.span, "the first one")
                        .help("remove one of them"),
                );
            }
            if matches!(n, "logpdf" | "cdf" | "logcdf" | "logccdf") && item.arg.is_none() {
                self.diags.push(
                    Code::DIST_WITHOUT_DENSITY
                        .at(item.name.span, format!("`{n}` of `{name}` needs a name for its value"))
                        .here("of which value?")
                        .help(format!("write `{n}(x) = …`")),
                );
            }
        }
        if !d.items.iter().any(|i| i.name.name == "logpdf") && !self.misread() {
            self.diags.push(
                Code::DIST_WITHOUT_DENSITY
                    .at(d.name.span, format!("the distribution `{name}` has no `logpdf`"))
                    .here("its log density is missing")
                    .help("add `logpdf(x) = …`"),
            );
        }
        let index = self.plate_type(d.support, &env);
        if index.is_none() && !self.known_type(d.support, "a support") {
            return;
        }
        let mut axes = vec![];
        for a in &d.support.axes {
            let Some(axis) = self.axis_named(&a.plate, &env) else { return };
            axes.push(axis);
        }
        if let (Some(_), [rows]) = (MatrixKind::of(&d.support.base.name), axes.as_slice()) {
            let plate = self.plate_of(*rows);
            let columns = self.add_axis(plate, "column");
            axes.push(columns);
        }
        let support = self.support(d, &env);
        for item in d.items {
            let mut inner = Env { noise: item.name.name == "sample", ..env.clone() };
            if let Some(x) = &item.arg {
                let range = self.range_of(&support.constraint, support.ty, &env);
                let local = Local { id: self.fresh_local(), ty: support.ty, axes: sorted(&axes), range };
                inner.locals.push((x.name.clone(), local));
            }
            inner.list_axis = if let [one] = axes.as_slice() { Some(*one) } else { None };
            let v = self.expr(&item.value, &inner);
            // The draw of a matrix names its rows and columns by itself.
            let v = self.renamed_matrix(v, &axes);
            let v = if matches!(v.ty, Ty::Index(_)) { v } else { self.numeric(v, "use this here") };
            let extra = match item.name.name.as_str() {
                "logpdf" | "cdf" => v.axes.clone(),
                _ => minus(&v.axes, &axes),
            };
            if let (Some(&axis), false) = (extra.first(), is_bad(&v)) {
                let plate = self.plate_name(axis).to_string();
                let at = Code::DIST_WITHOUT_DENSITY
                    .at(v.span, format!("`{}` of `{name}` varies over `{plate}`", item.name.name))
                    .here("not one number")
                    .help(format!("sum over the plate: `sum(… over {plate})`"));
                self.diags.push(at);
            }
        }
    }

    /// The parameters of a `fn` or `dist`, in scope of its body.
    pub(super) fn signature(&mut self, plates: &'a [Ident], params: &'a [ast::Param]) -> Option<Env> {
        let mut env = Env { scope: Scope::Body, ..Env::default() };
        let mut seen: Vec<&Ident> = vec![];
        for name in plates.iter().chain(params.iter().map(|p| &p.name)) {
            if let Some(old) = seen.iter().find(|o| o.name == name.name) {
                self.diags.push(
                    Code::DUPLICATE_NAME
                        .at(name.span, format!("two parameters are called `{}`", name.name))
                        .here("the second one")
                        .label(old.span, "the first one")
                        .help("give one of them another name"),
                );
                return None;
            }
            seen.push(name);
        }
        for p in plates {
            let id = self.add_plate(&p.name, p.span, PlateKind::Levels { columns: vec![], fixed: None });
            env.plates.push((p.name.clone(), self.hir.plate(id).axis));
        }
        let mut known = true;
        for p in params {
            let mut axes = vec![];
            for a in &p.ty.axes {
                match self.axis_named(&a.plate, &env) {
                    Some(x) => axes = union(&axes, &[x]),
                    None => known = false,
                }
            }
            let ty = match self.plate_type(&p.ty, &env) {
                Some(plate) => Ty::Index(plate),
                None => match p.ty.base.name.as_str() {
                    "int" => Ty::Int,
                    "bool" => Ty::Bool,
                    _ => Ty::Real,
                },
            };
            if !matches!(ty, Ty::Index(_)) && !self.known_type(&p.ty, "a parameter") {
                known = false;
                continue;
            }
            if let (Some(_), [rows]) = (MatrixKind::of(&p.ty.base.name), axes.as_slice()) {
                let plate = self.plate_of(*rows);
                let columns = self.add_axis(plate, "column");
                axes.push(columns);
            }
            let constraint = self.constraint(&p.ty, &env);
            let range = self.range_of(&constraint, ty, &env);
            let id = self.fresh_local();
            env.locals.push((p.name.name.clone(), Local { id, ty, axes, range }));
        }
        known.then_some(env)
    }

    /// Whether the base of a type in a signature exists.
    fn known_type(&mut self, ty: &ast::Type, what: &str) -> bool {
        let known = match what {
            "a support" => &["real", "int", "bool", "simplex"][..],
            _ => &["real", "int", "bool"][..],
        };
        match ty.base.name.as_str() {
            "real" | "int" | "bool" => true,
            "simplex" | "ordered" | "unit_vector" | "zero_sum" if !ty.axes.is_empty() => true,
            n if MatrixKind::of(n).is_some() && ty.axes.len() == 1 => true,
            n => {
                self.unknown_type(&ty.base, n, known, what);
                false
            }
        }
    }

    /// The plate whose cells a type names: a plate parameter, a plate or a table.
    pub(super) fn plate_type(&self, ty: &ast::Type, env: &Env) -> Option<PlateId> {
        let name = &ty.base.name;
        match env.plates.iter().rev().find(|(n, _)| n == name) {
            Some((_, axis)) => Some(self.plate_of(*axis)),
            None if env.scope == Scope::Library => None,
            None => self.names.get(name).and_then(|e| e.plate),
        }
    }

    /// The numbers that a constraint admits.
    pub(super) fn range_of(&self, c: &Constraint, ty: Ty, env: &Env) -> Range {
        match c {
            _ if ty == Ty::Bool => Range { lower: 0.0, upper: 1.0 },
            Constraint::Lower { bound, .. } => Range { lower: self.range_in(bound, env).lower, upper: f64::INFINITY },
            Constraint::Upper { bound, .. } => {
                Range { lower: f64::NEG_INFINITY, upper: self.range_in(bound, env).upper }
            }
            Constraint::Interval { lower, upper, .. } => {
                Range { lower: self.range_in(lower, env).lower, upper: self.range_in(upper, env).upper }
            }
            Constraint::Simplex => Range { lower: 0.0, upper: 1.0 },
            Constraint::UnitVector => Range { lower: -1.0, upper: 1.0 },
            Constraint::Matrix(_) | Constraint::ZeroSum => Range::ALL,
            Constraint::Ordered { positive: true } => Range { lower: 0.0, upper: f64::INFINITY },
            Constraint::None | Constraint::Ordered { positive: false } => Range::ALL,
        }
    }
}
