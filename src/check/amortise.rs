//! `guide amortised`: the guide that one would write by hand, in the language itself.
//!
//! Each latent that has a cell per row gets a net that reads what its row has of the latent's Markov blanket: the columns, and
//! the latents that were drawn before, which stand in one term of the log joint with it. Latents nearest to the data come
//! first, so that those above are drawn given those below: the inverse of the model's own order (Stuhlmüller, Taylor and Goodman
//! 2013, Learning stochastic inverses). Latents that the rows share stay with independent normals.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::Write;

use super::expr::walk;
use crate::diag::{Code, Diagnostic};
use crate::hir::*;
use crate::source::Span;

/// Units of a hidden layer, unless the guide says how many.
pub(super) const HIDDEN: usize = 64;

/// The text of the guide, with its nets. `taken`: the names that the model declares.
pub fn guide(hir: &Hir, asked: &Amortised, taken: &HashSet<&str>) -> Result<String, Diagnostic> {
    let mut local: Vec<VarId> = hir.steps.iter().filter_map(latent).filter(|v| per_row(hir, *v)).collect();
    local.reverse();
    if local.is_empty() {
        return Err(refuse(
            asked.span,
            "no latent has a cell per row, so there is nothing that a net could read off a row",
        )
        .here("nothing to amortise")
        .help("write `guide meanfield` or `guide fullrank`"));
    }
    let blankets = Blankets::of(hir);
    let (mut nets, mut lines) = (String::new(), String::new());
    let mut drawn: Vec<VarId> = vec![];
    for &z in &local {
        let v = hir.var(z);
        let head = Head::of(hir, z).ok_or_else(|| {
            refuse(
                asked.span,
                format!(
                    "no net has a head for `{}`: it is neither a number, positive, between 0 and 1, nor a simplex",
                    v.name
                ),
            )
            .here("derives a guide for it")
            .label(v.span, "this latent")
            .help("write the guide out, `guide { … }`, with a line for it")
        })?;
        let inputs = blankets.inputs(hir, z, &drawn);
        if inputs.is_empty() {
            return Err(refuse(
                asked.span,
                format!("no column stands in one term with `{}`, so no net can find it from its row", v.name),
            )
            .here("derives a guide for it")
            .label(v.span, "this latent")
            .help("write the guide out, `guide { … }`, with a line for it"));
        }
        let (name, q) = (unused(taken, format!("encode_{}", v.name)), unused(taken, format!("q_{}", v.name)));
        let parameters: Vec<String> = inputs.iter().map(|i| format!("{}: {}", i.name, i.ty)).collect();
        let arguments: Vec<&str> = inputs.iter().map(|i| i.value.as_str()).collect();
        let hidden = asked.hidden;
        let _ = writeln!(
            nets,
            "net {name}({}) -> ({}) =\n  dense({hidden}, tanh) |> dense({hidden}, tanh) |> head",
            parameters.join(", "),
            head.results
        );
        let _ = writeln!(lines, "  let {q} = {name}({})\n  {} ~ {}", arguments.join(", "), v.name, head.draw(&q));
        drawn.push(z);
    }
    let others = |v: &VarId| hir.discrete(*v).is_none() && !drawn.contains(v);
    let rest = hir.steps.iter().filter_map(latent).any(|v| others(&v));
    let rest = if rest || !hir.missing.is_empty() { "  rest ~ meanfield()\n" } else { "" };
    Ok(format!("{nets}guide {{\n{lines}{rest}}}\n"))
}

fn refuse(span: Span, said: impl Into<String>) -> Diagnostic {
    Code::AMORTISED.at(span, said.into())
}

fn latent(step: &Step) -> Option<VarId> {
    if let Step::Latent { var, .. } = step { Some(*var) } else { None }
}

/// Whether a latent is continuous and has cells of its own for each row of a table.
fn per_row(hir: &Hir, var: VarId) -> bool {
    let v = hir.var(var);
    let own = &v.axes[..v.axes.len() - v.joint];
    let rows = |a: &AxisId| matches!(hir.plate(hir.axis(*a).plate).kind, PlateKind::Rows(_));
    let filled = hir.missing.iter().any(|m| m.cells == var);
    own.iter().any(rows) && hir.discrete(var).is_none() && !filled && !hir.weights.contains(&var)
}

/// The axis of the rows of a latent, and the names of its other plates.
fn plates(hir: &Hir, var: VarId) -> Option<(PlateId, Vec<&str>)> {
    let of = |a: &AxisId| hir.axis(*a).plate;
    let is_rows = |p: &PlateId| matches!(hir.plate(*p).kind, PlateKind::Rows(_));
    let all: Vec<PlateId> = hir.var(var).axes.iter().map(of).collect();
    let rows = all.iter().copied().find(is_rows)?;
    let rest: Vec<&str> = all.iter().filter(|p| **p != rows).map(|p| hir.plate(*p).name.as_str()).collect();
    Some((rows, rest))
}

/// A name that nothing in the model has.
fn unused(taken: &HashSet<&str>, mut name: String) -> String {
    while taken.contains(name.as_str()) {
        name.push('_');
    }
    name
}

/// What a net gives for a latent, and the distribution that takes it.
struct Head {
    results: String,
    distribution: &'static str,
    parts: &'static [&'static str],
    /// What follows the distribution.
    bend: &'static str,
}

impl Head {
    fn of(hir: &Hir, var: VarId) -> Option<Head> {
        let v = hir.var(var);
        let number = |e: &Expr| if let ExprKind::Number(x) = e.kind { Some(x) } else { None };
        let bounds = v.constraint.ends();
        let (distribution, parts, bend): (_, &[_], _) = match &v.constraint {
            Constraint::None => ("Normal", &["mu", "sigma"], ""),
            Constraint::Lower { .. } if bounds.0.and_then(number) == Some(0.0) => ("LogNormal", &["mu", "sigma"], ""),
            Constraint::Interval { .. } => match (bounds.0.and_then(number), bounds.1.and_then(number)) {
                (Some(0.0), Some(1.0)) => ("Normal", &["mu", "sigma"], " |> inv_logit"),
                _ => return None,
            },
            Constraint::Simplex => ("Dirichlet", &["alpha"], ""),
            _ => return None,
        };
        let (_, plates) = plates(hir, var)?;
        let plates = if plates.is_empty() { String::new() } else { format!("[{}]", plates.join(", ")) };
        let result = |p: &&str| format!("{p}: real{plates}{}", if *p == "mu" { "" } else { " > 0" });
        let results = parts.iter().map(result).collect::<Vec<_>>().join(", ");
        Some(Head { results, distribution, parts, bend })
    }

    fn draw(&self, q: &str) -> String {
        let arguments: Vec<String> = self.parts.iter().map(|p| format!("{q}.{p}")).collect();
        format!("{}({}){}", self.distribution, arguments.join(", "), self.bend)
    }
}

/// What a net reads.
struct Input {
    name: String,
    ty: String,
    value: String,
}

/// The variables of each term of the log joint, lets opened.
struct Blankets {
    terms: Vec<BTreeSet<VarId>>,
}

impl Blankets {
    fn of(hir: &Hir) -> Blankets {
        let mut lets: HashMap<VarId, BTreeSet<VarId>> = HashMap::new();
        let mut terms = vec![];
        for step in &hir.steps {
            let mut read = BTreeSet::new();
            let mut add = |e: &Expr| {
                walk(e, &mut |e| {
                    if let ExprKind::Read { var, .. } = &e.kind {
                        match lets.get(var) {
                            Some(inner) => read.extend(inner),
                            None => _ = read.insert(*var),
                        }
                    }
                });
            };
            match step {
                Step::Latent { var, dist, .. } => {
                    dist.args.iter().for_each(|a| add(&a.2));
                    add(&dist.logpdf);
                    read.insert(*var);
                    terms.push(read);
                }
                Step::Observe { target, filter, dist, .. } => {
                    dist.args.iter().map(|a| &a.2).chain([target, &dist.logpdf]).chain(filter).for_each(add);
                    terms.push(read);
                }
                Step::Factor { value, .. } => {
                    add(value);
                    terms.push(read);
                }
                Step::Let { var, value, .. } => {
                    add(value);
                    lets.insert(*var, read);
                }
                Step::Param { .. } => {}
            }
        }
        Blankets { terms }
    }

    /// Columns of the latent's row, and latents of that row which were drawn, that stand in a term with it. A number that is
    /// no condition comes with mean 0 and sd 1 over the rows.
    fn inputs(&self, hir: &Hir, z: VarId, drawn: &[VarId]) -> Vec<Input> {
        let Some((rows, _)) = plates(hir, z) else { return vec![] };
        let near: BTreeSet<VarId> = self.terms.iter().filter(|t| t.contains(&z)).flatten().copied().collect();
        let mut out: Vec<Input> = vec![];
        for var in near {
            let v = hir.var(var);
            let Some((own, rest)) = plates(hir, var).filter(|p| p.0 == rows) else { continue };
            let over = if rest.is_empty() { String::new() } else { format!("[{}]", rest.join(", ")) };
            let real = format!("real{over}");
            let standard = || {
                let (x, rows) = (&v.name, &hir.plate(own).name);
                format!("({x} - mean({x} over {rows})) / (sd({x} over {rows}) + 1e-9)")
            };
            let (ty, value) = match &v.kind {
                VarKind::Column(c) => match c.content {
                    // What is not known for every row cannot be read.
                    _ if c.optional || hir.missing.iter().any(|m| m.column == var) => continue,
                    Content::Real | Content::Int => (real, standard()),
                    Content::Bool => (real, v.name.clone()),
                    Content::Index(plate) => match hir.plate(plate).kind {
                        PlateKind::Rows(_) => continue,
                        _ if rest.is_empty() => (hir.plate(plate).name.clone(), v.name.clone()),
                        _ => continue,
                    },
                    Content::Key | Content::Date => continue,
                },
                VarKind::Latent if drawn.contains(&var) => (real, v.name.clone()),
                _ => continue,
            };
            let mut name = v.name.clone();
            while ["mu", "sigma", "alpha"].contains(&name.as_str()) || out.iter().any(|i| i.name == name) {
                name.push('_');
            }
            out.push(Input { name, ty, value });
        }
        out
    }
}
