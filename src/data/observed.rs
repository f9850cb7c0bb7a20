//! Observed values, compared with what their distribution can give, so that a count of -1 or a share of 1.2 is named
//! by its row and not met in the fit as a log joint that is not finite, or worse, that is.

use super::cells::SHOWN;
use super::eval::{Eval, Stop};
use super::ranges::{Bounds, describe};
use super::resolve::Resolved;
use super::sheet::Sheet;
use crate::diag::{Code, Diags, and_more};
use crate::hir::{AxisId, Constraint, DistUse, Expr, ExprKind, Hir, Index, PlateKind, Step, VarKind};
use crate::source::Span;

/// Check every `observe`. Ends that depend on latents are left to the density, which is 0 outside them.
pub fn check(hir: &Hir, known: &Resolved, sheets: &[Option<Sheet>], diags: &mut Diags) {
    for step in &hir.steps {
        if let Step::Observe { name, target, filter, dist, .. } = step {
            // A column as it stands is finite; any other value may not be.
            let column = matches!(&target.kind, ExprKind::Read { var, index }
                if matches!(hir.var(*var).kind, VarKind::Column(_)) && index.iter().all(|i| matches!(i, Index::Axis(_))));
            if column
                && matches!(
                    dist.range,
                    Constraint::None
                        | Constraint::Simplex
                        | Constraint::UnitVector
                        | Constraint::ZeroSum
                        | Constraint::Ordered { .. }
                )
            {
                continue;
            }
            let mut optional = false;
            crate::check::walk(target, &mut |e| {
                if let ExprKind::Read { var, .. } = &e.kind {
                    optional |= matches!(&hir.var(*var).kind, VarKind::Column(c) if c.optional);
                }
            });
            let mut search = Search { hir, known, sheets, optional, places: vec![], count: 0 };
            // An index or size that cannot be computed is reported where it stands.
            if search.run(target, filter.as_ref(), &dist.range).is_ok() && search.count > 0 {
                report(&search, name, target.span, dist, diags);
            }
        }
    }
}

struct Search<'a> {
    hir: &'a Hir,
    known: &'a Resolved,
    sheets: &'a [Option<Sheet>],
    /// Whether the value may be missing.
    optional: bool,
    /// The first few values that do not fit, as messages show them.
    places: Vec<String>,
    count: usize,
}

impl Search<'_> {
    fn run(&mut self, target: &Expr, filter: Option<&Expr>, range: &Constraint) -> Result<(), Stop> {
        let bounds = Bounds::of(range);
        let mut eval = Eval::new(self.hir, self.known);
        eval.cells(&target.axes, &mut |eval| {
            if let Some(f) = filter
                && eval.eval(f)? == 0.0
            {
                return Ok(());
            }
            let x = eval.eval(target)?;
            if self.optional && x.is_nan() {
                return Ok(());
            }
            let misses = match &bounds {
                Some(b) => b.misses(eval, x)?,
                None => false,
            };
            if misses || !x.is_finite() {
                self.add(&eval.cell, x);
            }
            Ok(())
        })
    }

    fn add(&mut self, cell: &[(AxisId, usize)], x: f64) {
        self.count += 1;
        if self.places.len() == SHOWN {
            return;
        }
        let mut at = String::new();
        for (axis, i) in cell {
            let plate = self.hir.axis(*axis).plate;
            if let PlateKind::Rows(table) = self.hir.plate(plate).kind
                && let Some(sheet) = &self.sheets[table.0 as usize]
            {
                at = format!("{}: ", sheet.origin.row(&sheet.file, sheet.lines[*i]));
            }
        }
        self.places.push(format!("{at}{x}"));
    }
}

fn report(search: &Search, name: &str, span: Span, dist: &DistUse, diags: &mut Diags) {
    let n = search.count;
    let values = if n == 1 { format!("1 value of `{name}`") } else { format!("{n} values of `{name}`") };
    let gives = match dist.range {
        Constraint::None => "finite numbers".to_string(),
        _ => format!("values {}", describe(search.hir, search.known, &dist.range)),
    };
    let chosen = if dist.name == "if" { "the distribution".into() } else { format!("`{}`", dist.name) };
    let mut d = Code::SUPPORT_MISMATCH
        .at(span, format!("{values} cannot come from {chosen}, which gives {gives}"))
        .here("observed here")
        .label(dist.span, format!("gives {gives}"));
    for p in &search.places {
        d = d.place(p.clone());
    }
    let rest = n - search.places.len();
    if rest > 0 {
        d = d.note(and_more(rest, "value"));
    }
    diags
        .push(d.help("mend the cells, leave these rows out with `where`, or choose a distribution that can give them"));
}
