//! Declared ranges, checked on every cell: `sigma: real > 0`.

use super::cells::Problems;
use super::eval::{Eval, Stop};
use super::resolve::Resolved;
use super::sheet::Sheet;
use crate::diag::{Code, Diagnostic, Diags};
use crate::hir::{Constraint, Expr, Hir, Var, VarId, VarKind};

/// How far a row declared as a simplex may be from summing to 1: room for values printed with six digits.
const SIMPLEX_TOLERANCE: f64 = 1e-5;

/// Check the values of columns, data scalars and constants against their declarations.
pub fn check(hir: &Hir, known: &Resolved, sheets: &[Option<Sheet>], diags: &mut Diags) {
    for (i, var) in hir.vars.iter().enumerate() {
        let id = VarId(i as u32);
        let Some(values) = known.values.get(&id) else { continue };
        let outside = match Bounds::of(&var.constraint) {
            None => joint(var, values.dims.last().copied().unwrap_or(1), &values.numbers),
            Some(bounds) => match bounds.outside(hir, known, var, &values.numbers) {
                Ok(cells) => cells,
                Err(Stop::NotYet) => continue, // what it depends on has been reported
                Err(Stop::Never(span, why)) => {
                    diags.push(
                        Code::NOT_FROM_DATA
                            .at(var.span, format!("the range of `{}` cannot be computed from the data", var.name))
                            .label(span, why)
                            .help("a column's range uses numbers, `const`, `data` values and sizes of plates"),
                    );
                    continue;
                }
            },
        };
        if !outside.is_empty() {
            diags.push(report(hir, known, id, var, sheets, &outside, &values.numbers));
        }
    }
}

/// The ends of a range.
pub(super) struct Bounds<'a> {
    lower: Option<&'a Expr>,
    upper: Option<&'a Expr>,
    open: bool,
}

impl<'a> Bounds<'a> {
    pub(super) fn of(c: &'a Constraint) -> Option<Bounds<'a>> {
        match c {
            Constraint::Lower { bound, open } => Some(Bounds { lower: Some(bound), upper: None, open: *open }),
            Constraint::Upper { bound, open } => Some(Bounds { lower: None, upper: Some(bound), open: *open }),
            Constraint::Interval { lower, upper, open } => {
                Some(Bounds { lower: Some(lower), upper: Some(upper), open: *open })
            }
            Constraint::None
            | Constraint::Simplex
            | Constraint::Matrix(_)
            | Constraint::UnitVector
            | Constraint::ZeroSum
            | Constraint::Ordered { .. } => None,
        }
    }

    /// Whether a value lies outside, at the cell of the evaluation. An end that depends on latents is no end.
    pub(super) fn misses(&self, eval: &mut Eval, x: f64) -> Result<bool, Stop> {
        let mut end = |e: Option<&Expr>, none: f64| match e.map_or(Ok(none), |e| eval.eval(e)) {
            Err(Stop::Never(..)) => Ok(none),
            other => other,
        };
        let (lower, upper) = (end(self.lower, f64::NEG_INFINITY)?, end(self.upper, f64::INFINITY)?);
        Ok(if self.open { x <= lower || x >= upper } else { x < lower || x > upper })
    }

    /// The cells that lie outside. A missing cell lies nowhere.
    fn outside(&self, hir: &Hir, known: &Resolved, var: &Var, numbers: &[f64]) -> Result<Vec<usize>, Stop> {
        let misses = |x: f64, lower: f64, upper: f64| {
            if self.open { x <= lower || x >= upper } else { x < lower || x > upper }
        };
        let ends = |eval: &mut Eval| -> Result<(f64, f64), Stop> {
            let end = |eval: &mut Eval, e: Option<&Expr>, none: f64| e.map_or(Ok(none), |e| eval.eval(e));
            Ok((end(eval, self.lower, f64::NEG_INFINITY)?, end(eval, self.upper, f64::INFINITY)?))
        };
        let mut eval = Eval::new(hir, known);
        if [self.lower, self.upper].into_iter().flatten().all(|e| e.axes.is_empty()) {
            let (lower, upper) = ends(&mut eval)?;
            return Ok((0..numbers.len()).filter(|&i| misses(numbers[i], lower, upper)).collect());
        }
        // Ends that differ by row: `successes: int in [0, trials]`.
        let (mut out, mut cell) = (vec![], 0);
        eval.cells(&var.axes, &mut |eval| {
            let (lower, upper) = ends(eval)?;
            if misses(numbers[cell], lower, upper) {
                out.push(cell);
            }
            cell += 1;
            Ok(())
        })?;
        Ok(out)
    }
}

/// Cells that break a constraint over a whole vector; a row is named by its first cell.
fn joint(var: &Var, size: usize, numbers: &[f64]) -> Vec<usize> {
    let rows = numbers.len() / size.max(1);
    let row = |i: usize| (0..size).map(move |k| numbers[i + rows * k]);
    let broken = |i: usize| match var.constraint {
        Constraint::Simplex => row(i).any(|x| x < 0.0) || (row(i).sum::<f64>() - 1.0).abs() > SIMPLEX_TOLERANCE,
        Constraint::Ordered { positive } => {
            row(i).zip(row(i).skip(1)).any(|(a, b)| a >= b) || (positive && row(i).any(|x| x <= 0.0))
        }
        _ => false,
    };
    (0..rows).filter(|&i| broken(i)).collect()
}

fn report(
    hir: &Hir,
    known: &Resolved,
    id: VarId,
    var: &Var,
    sheets: &[Option<Sheet>],
    outside: &[usize],
    numbers: &[f64],
) -> Diagnostic {
    let range = describe(hir, known, &var.constraint);
    let VarKind::Column(column) = &var.kind else {
        return Code::DATA_OUT_OF_RANGE
            .at(var.span, format!("`{}` is {}, which is not {range}", var.name, numbers[outside[0]]))
            .here(format!("declared {range}"))
            .help(format!("give another value by `--set {}=…`, or widen the range", var.name));
    };
    let mut problems = Problems::default();
    let sheet = sheets[column.table.0 as usize].as_ref().expect("a column has values only when its table was read");
    let fields = &sheet.columns[&id].found.fields;
    let rows = sheet.lines.len();
    for &cell in outside {
        problems.add(sheet.lines[cell % rows], fields[cell / rows] + 1, || numbers[cell].to_string());
    }
    let verb = if problems.count == 1 { "is" } else { "are" };
    let d = Code::DATA_OUT_OF_RANGE
        .at(var.span, format!("{} of `{}` {verb} not {range}", problems.cells(), var.name))
        .here(format!("declared {range}"))
        .help("mend the cells, or widen the range");
    problems.show(&sheet.file, &sheet.origin, d)
}

/// `> 0`, `in (0, 1)`, with the values of the ends.
pub(super) fn describe(hir: &Hir, known: &Resolved, c: &Constraint) -> String {
    let end = |e: &Expr| match Eval::new(hir, known).eval(e) {
        Ok(x) => x.to_string(),
        Err(_) => "the bound of its row".into(),
    };
    match c {
        Constraint::None => "a value".into(),
        Constraint::Lower { bound, open } => format!("{} {}", if *open { ">" } else { ">=" }, end(bound)),
        Constraint::Upper { bound, open } => format!("{} {}", if *open { "<" } else { "<=" }, end(bound)),
        Constraint::Interval { lower, upper, open: true } => format!("in ({}, {})", end(lower), end(upper)),
        Constraint::Interval { lower, upper, open: false } => format!("in [{}, {}]", end(lower), end(upper)),
        Constraint::Simplex => "a simplex (not negative, summing to 1)".into(),
        Constraint::Matrix(kind) => format!("a matrix of type `{}`", kind.name()),
        Constraint::UnitVector => "a vector of length 1".into(),
        Constraint::ZeroSum => "summing to 0".into(),
        Constraint::Ordered { positive: false } => "increasing".into(),
        Constraint::Ordered { positive: true } => "positive and increasing".into(),
    }
}
