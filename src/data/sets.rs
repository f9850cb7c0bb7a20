//! `--set K=3`: values of constants and data scalars from the command line.

use std::collections::HashMap;

use super::assign::listed;
use super::cells;
use crate::diag::{Code, Diags, nearest};
use crate::hir::{Hir, Ty, Var, VarId, VarKind};

/// One `--set` value.
#[derive(Clone, Debug, PartialEq)]
pub struct Set {
    /// As typed.
    pub text: String,
    /// The number; for a label of a plate, which is found later, there is none.
    pub value: Option<f64>,
}

/// Check names and types of the `--set` values. `None` stands for one that was refused.
pub fn read(hir: &Hir, sets: &[(String, String)], diags: &mut Diags) -> HashMap<VarId, Option<Set>> {
    let mut out: HashMap<VarId, Option<Set>> = HashMap::new();
    for (name, text) in sets {
        let given = format!("--set {name}={text}");
        let Some(i) = hir.vars.iter().position(|v| v.name == *name && settable(v)) else {
            unknown(hir, name, &given, diags);
            continue;
        };
        let (id, var) = (VarId(i as u32), &hir.vars[i]);
        if !var.axes.is_empty() {
            diags.push(
                Code::DATA_SET_VALUE
                    .at(var.span, format!("`{given}`: `{name}` has more than one cell"))
                    .here("a value for each cell is needed")
                    .help("only a single number can be set; write the values in the model"),
            );
            out.insert(id, None);
            continue;
        }
        let value = match var.ty {
            Ty::Index(_) => None,
            Ty::Real | Ty::Key => number(cells::real(text)),
            Ty::Int => number(cells::real(text)).filter(|x| cells::is_whole(*x)),
            Ty::Bool => number(cells::bool(text)),
            Ty::Date => number(cells::date(text)),
        };
        if value.is_none() && !matches!(var.ty, Ty::Index(_)) {
            let what = match var.ty {
                Ty::Int => "a whole number",
                Ty::Bool => "true or false",
                Ty::Date => "a date such as 2024-02-29",
                Ty::Real | Ty::Key | Ty::Index(_) => "a number",
            };
            diags.push(
                Code::DATA_SET_VALUE
                    .at(var.span, format!("`{given}`: `{text}` is not {what}"))
                    .here(format!("`{name}` is {what}"))
                    .help(format!("write `--set {name}=VALUE` with {what}")),
            );
            out.insert(id, None);
            continue;
        }
        if let Some(Some(first)) = out.insert(id, Some(Set { text: text.clone(), value })) {
            diags.push(
                Code::DATA_SET_VALUE
                    .at(var.span, format!("`{name}` is set twice: to {} and to {text}", first.text))
                    .help("set it once"),
            );
        }
    }
    out
}

fn settable(v: &Var) -> bool {
    matches!(v.kind, VarKind::Const { .. } | VarKind::DataValue { .. })
}

fn number(cell: cells::Cell) -> Option<f64> {
    match cell {
        cells::Cell::Number(x) => Some(x),
        cells::Cell::Missing | cells::Cell::Bad => None,
    }
}

fn unknown(hir: &Hir, name: &str, given: &str, diags: &mut Diags) {
    let names = || hir.vars.iter().filter(|v| settable(v)).map(|v| v.name.as_str());
    let d = match hir.vars.iter().find(|v| v.name == name) {
        Some(var) => {
            let what = match var.kind {
                VarKind::Column(_) => "a column: its values come from the data file",
                VarKind::Latent | VarKind::Param { .. } => "fitted, not given",
                VarKind::Let
                | VarKind::Report
                | VarKind::Order { .. }
                | VarKind::Start { .. }
                | VarKind::Mask { .. } => "computed from other values",
                VarKind::Const { .. } | VarKind::DataValue { .. } => "another value",
            };
            Code::DATA_SET_UNKNOWN.at(var.span, format!("`{given}`: `{name}` is {what}")).here("declared here")
        }
        None => Code::DATA_SET_UNKNOWN.plain(format!("`{given}`: the model has no constant or data value `{name}`")),
    };
    diags.push(match nearest(name, names()) {
        Some(near) => d.help(format!("did you mean `--set {near}=…`?")),
        None if names().next().is_none() => d.help("declare it in the model: `const K = 3`, or `data K: real`"),
        None => d.help(format!("these can be set: {}", listed(names()))),
    });
}
