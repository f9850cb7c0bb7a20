//! The checked program as text, for `vic show --stage types`.

use std::fmt::Write;

use crate::hir::*;

/// Plates, then every value with its type, plates and support.
pub fn print(hir: &Hir) -> String {
    let mut out = String::new();
    for p in &hir.plates {
        let kind = match &p.kind {
            PlateKind::Rows(t) => format!("rows of the table `{}`", hir.table(*t).name),
            PlateKind::Levels { fixed: Some(l), .. } => format!("levels {}", l.join(", ")),
            PlateKind::Levels { .. } => "levels found in the data".into(),
            PlateKind::Header { column } => format!("columns of `{}`", hir.var(*column).name),
            PlateKind::Sized(_) => "numbered from 1".into(),
            PlateKind::Range(..) => "a range of numbers".into(),
            PlateKind::Labels(l) => format!("cells {}", l.join(", ")),
            PlateKind::Without { of, label, .. } => format!("the cells of `{}` without {label}", hir.plate(*of).name),
            PlateKind::Missing(column) => format!("the empty cells of `{}`", hir.var(*column).name),
            PlateKind::Triangle { of, .. } => format!("a triangle of `{}`", hir.plate(*of).name),
            PlateKind::Power { .. } => "configurations".into(),
            PlateKind::OneLess(k) => format!("one cell fewer than `{}`", hir.plate(*k).name),
        };
        let _ = writeln!(out, "plate {}: {kind}", p.name);
    }
    for v in &hir.vars {
        if let Some(line) = describe(hir, v) {
            let _ = writeln!(out, "{line}");
        }
    }
    for s in &hir.steps {
        if let Step::Observe { name, axes, dist, .. } = s {
            let over = if axes.is_empty() {
                String::new()
            } else {
                format!(
                    " per cell of {}",
                    axes.iter().map(|a| hir.axis(*a).name.clone()).collect::<Vec<_>>().join(", ")
                )
            };
            let _ = writeln!(out, "observe {name} ~ {}{over}", dist.name);
        }
    }
    out
}

/// `latent theta[schools]: real`: what a value is, with its plates, type and support. None for what no user names.
pub fn describe(hir: &Hir, v: &Var) -> Option<String> {
    let kind = match &v.kind {
        VarKind::Column(c) => format!("data {}.", hir.table(c.table).name),
        VarKind::DataValue { .. } => "data ".into(),
        VarKind::Const { .. } => "const ".into(),
        VarKind::Latent => "latent ".into(),
        VarKind::Param { .. } => "param ".into(),
        VarKind::Let => "let ".into(),
        VarKind::Report => "report ".into(),
        VarKind::Order { .. } | VarKind::Start { .. } | VarKind::Mask { .. } => return None,
    };
    Some(format!("{kind}{}{}: {}{}", v.name, plates(hir, v), ty(hir, v.ty), constraint(&v.constraint)))
}

/// `[days, t] over k`: the plates of a value, and those that it is joint over.
pub fn plates(hir: &Hir, v: &Var) -> String {
    let (independent, joint) = v.axes.split_at(v.axes.len() - v.joint);
    let names = |axes: &[AxisId]| axes.iter().map(|a| hir.axis(*a).name.clone()).collect::<Vec<_>>().join(", ");
    let mut plates = String::new();
    if !independent.is_empty() {
        plates = format!("[{}]", names(independent));
    }
    if !joint.is_empty() {
        plates += &format!(" over {}", names(joint));
    }
    plates
}

fn ty(hir: &Hir, ty: Ty) -> String {
    match ty {
        Ty::Real => "real".into(),
        Ty::Int => "int".into(),
        Ty::Bool => "bool".into(),
        Ty::Index(p) => format!("index of {}", hir.plate(p).name),
        Ty::Key => "key".into(),
        Ty::Date => "date".into(),
    }
}

fn constraint(c: &Constraint) -> String {
    let end = |e: &Expr| match e.kind {
        ExprKind::Number(v) => format!("{v}"),
        _ => "…".into(),
    };
    match c {
        Constraint::None => String::new(),
        Constraint::Lower { bound, open } => format!(" {} {}", if *open { ">" } else { ">=" }, end(bound)),
        Constraint::Upper { bound, open } => format!(" {} {}", if *open { "<" } else { "<=" }, end(bound)),
        Constraint::Interval { lower, upper, open: true } => format!(" in ({}, {})", end(lower), end(upper)),
        Constraint::Interval { lower, upper, open: false } => format!(" in [{}, {}]", end(lower), end(upper)),
        Constraint::Simplex => ", simplex".into(),
        Constraint::Ordered { .. } => ", ordered".into(),
        Constraint::Matrix(kind) => format!(", {}", kind.name()),
        Constraint::UnitVector => ", unit_vector".into(),
        Constraint::ZeroSum => ", zero_sum".into(),
    }
}
