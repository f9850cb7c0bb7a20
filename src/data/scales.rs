//! Priors beside the data that they meet: levels far from what is observed, slopes and scales of another unit, groups with
//! few rows, predictors far from 0.

use crate::check::walk;
use crate::data::Bound;
use crate::diag::{Code, Diags};
use crate::hir::{BinOp, Centering, DistUse, Expr, ExprKind, Guide, Hir, Index, PlateKind, Step, VarId, VarKind};

/// Families with a location and a scale that are arguments on the scale of the data.
const LOCATION: &[&str] = &["Normal", "StudentT", "Cauchy", "Laplace", "Logistic"];
/// So many prior standard deviations between a level and the data are no accident.
const FAR: f64 = 8.0;
/// A prior smaller than the data need by this factor is of another unit.
const UNIT: f64 = 100.0;
/// With fewer rows for a group, its prior has as much to say as its data.
const FEW_ROWS: f64 = 5.0;

/// Warn where priors and data are not of one scale, and where parameters will be tied together that the fit takes apart.
pub fn scales(hir: &Hir, bound: &Bound, diags: &mut Diags) {
    for step in &hir.steps {
        match step {
            Step::Observe { target, dist, .. } => {
                let ExprKind::Read { var, .. } = &target.kind else { continue };
                if let (Some(y), true) = (Moments::of(bound, *var), LOCATION.contains(&dist.name.as_str())) {
                    observed(hir, bound, *var, &y, dist, diags);
                }
            }
            // A chain is always drawn itself.
            Step::Latent { var, centering: Centering::Centered, dist, .. } if !dist.reads(*var) => {
                few_rows(hir, bound, *var, dist, diags);
            }
            _ => {}
        }
    }
}

#[derive(Clone, Copy)]
struct Moments {
    mean: f64,
    sd: f64,
    most: f64,
}

impl Moments {
    fn of(bound: &Bound, var: VarId) -> Option<Moments> {
        let known: Vec<f64> = bound.values.get(&var)?.numbers.iter().copied().filter(|v| v.is_finite()).collect();
        if known.len() < 2 {
            return None;
        }
        let n = known.len() as f64;
        let mean = known.iter().sum::<f64>() / n;
        let sd = (known.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
        let most = known.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
        (sd > 0.0 && sd.is_finite()).then_some(Moments { mean, sd, most })
    }
}

/// Mean and standard deviation of a latent's prior, if it is a normal or half-normal written in numbers.
fn prior(hir: &Hir, var: VarId) -> Option<(f64, f64)> {
    let dist = hir.steps.iter().find_map(|s| match s {
        Step::Latent { var: v, dist, .. } if *v == var => Some(dist),
        _ => None,
    })?;
    let number = |name: &str| match dist.args.iter().find(|a| a.1 == name)?.2.kind {
        ExprKind::Number(v) => Some(v),
        _ => None,
    };
    match dist.name.as_str() {
        "Normal" => Some((number("mu")?, number("sigma")?)),
        "HalfNormal" => Some((0.0, number("sigma")?)),
        _ => None,
    }
}

/// The terms of a linear predictor, if it has no others.
#[derive(Default)]
struct Terms {
    /// Latents by themselves.
    levels: Vec<VarId>,
    /// A latent times a column.
    slopes: Vec<(VarId, VarId)>,
    other: bool,
}

fn terms(hir: &Hir, e: &Expr, out: &mut Terms) {
    let latent = |e: &Expr| match &e.kind {
        ExprKind::Read { var, .. } if matches!(hir.var(*var).kind, VarKind::Latent) => Some(*var),
        _ => None,
    };
    let column = |e: &Expr| match &e.kind {
        ExprKind::Read { var, .. } if matches!(hir.var(*var).kind, VarKind::Column(_)) => Some(*var),
        _ => None,
    };
    match &e.kind {
        ExprKind::Binary(BinOp::Add | BinOp::Sub, a, b) => {
            terms(hir, a, out);
            terms(hir, b, out);
        }
        ExprKind::Binary(BinOp::Mul, a, b) => match (latent(a).zip(column(b)), latent(b).zip(column(a))) {
            (Some(pair), _) | (_, Some(pair)) => out.slopes.push(pair),
            _ => out.other = true,
        },
        _ => match latent(e) {
            Some(var) => out.levels.push(var),
            None => out.other = true,
        },
    }
}

fn observed(hir: &Hir, bound: &Bound, target: VarId, y: &Moments, dist: &DistUse, diags: &mut Diags) {
    let name = &hir.var(target).name;
    let Some(mu) = dist.args.iter().find(|a| a.1 == "mu") else { return };
    let mut t = Terms::default();
    terms(hir, &mu.2, &mut t);
    let mut reach = 0.0;
    for (slope, column) in &t.slopes {
        let (Some(x), Some((m, s))) = (Moments::of(bound, *column), prior(hir, *slope)) else {
            reach = f64::INFINITY;
            continue;
        };
        reach += (m.abs() + 3.0 * s) * x.most;
        let (b, c) = (hir.var(*slope), &hir.var(*column).name);
        // What the other predictors leave may be small, but not by so much.
        if (m.abs() + s) * x.sd * UNIT < y.sd {
            diags.push(
                Code::PRIOR_AND_DATA
                    .at(
                        b.span,
                        format!(
                            "the prior of `{}` lets `{c}` move `{name}` by about {}",
                            b.name,
                            short((m.abs() + s) * x.sd)
                        ),
                    )
                    .here("of another unit?")
                    .note(format!("`{name}` varies by {} (sd), `{c}` by {}", short(y.sd), short(x.sd)))
                    .help(format!("a prior of the data's scale has an sd of about {}", short(y.sd / x.sd))),
            );
        }
    }
    if let ([level], false) = (t.levels.as_slice(), t.other)
        && let Some((m, s)) = prior(hir, *level)
        && (y.mean - m).abs() > FAR * s + reach
    {
        let a = hir.var(*level);
        diags.push(
            Code::PRIOR_AND_DATA
                .at(
                    a.span,
                    format!(
                        "the prior of `{}` is {} ± {}, and `{name}` is around {}",
                        a.name,
                        short(m),
                        short(s),
                        short(y.mean)
                    ),
                )
                .here("far from the data")
                .help(format!(
                    "a prior that reaches the data is `Normal({}, {})`, say",
                    short(y.mean),
                    short(2.0 * y.sd)
                )),
        );
    }
    let scale = dist.args.iter().find(|a| a.1 == "sigma").and_then(|a| match &a.2.kind {
        ExprKind::Read { var, .. } => prior(hir, *var).map(|p| (*var, p.1)),
        _ => None,
    });
    if let Some((sigma, s)) = scale
        && matches!(hir.var(sigma).kind, VarKind::Latent)
        && s * UNIT < y.sd
    {
        let v = hir.var(sigma);
        diags.push(
            Code::PRIOR_AND_DATA
                .at(
                    v.span,
                    format!(
                        "the prior of `{}` is of the size of {}, and `{name}` varies by {}",
                        v.name,
                        short(s),
                        short(y.sd)
                    ),
                )
                .here("of another unit?")
                .help(format!("`HalfNormal({})` would allow all of it", short(y.sd))),
        );
    }
    if hir.guide == Guide::MeanField && !t.levels.is_empty() {
        for (slope, column) in &t.slopes {
            let Some(x) = Moments::of(bound, *column).filter(|x| x.mean.abs() > 2.0 * x.sd) else { continue };
            let (a, b, c) = (hir.var(t.levels[0]), hir.var(*slope), hir.var(*column));
            diags.push(
                Code::UNCENTERED_PREDICTOR
                    .at(
                        c.span,
                        format!(
                            "`{}` is {} ± {}: `{}` and `{}` are strongly correlated",
                            c.name,
                            short(x.mean),
                            short(x.sd),
                            a.name,
                            b.name
                        ),
                    )
                    .here("far from 0 in every row")
                    .note("`guide meanfield` has no correlations, and reports both too narrow")
                    .help(format!("write `{} * ({} - mean({}))`, or another guide", b.name, c.name, c.name)),
            );
        }
    }
}

fn few_rows(hir: &Hir, bound: &Bound, var: VarId, dist: &DistUse, diags: &mut Diags) {
    let v = hir.var(var);
    let [axis] = v.axes.as_slice() else { return };
    let plate = hir.axis(*axis).plate;
    // Without an unknown scale there is no funnel.
    let unknown = dist.args.iter().filter(|a| a.1 == "sigma").any(|a| {
        let mut unknown = false;
        walk(&a.2, &mut |e| {
            unknown |= matches!(&e.kind, ExprKind::Read { var, .. } if matches!(hir.var(*var).kind, VarKind::Latent));
        });
        unknown
    });
    let cells = bound.plate(plate).size;
    // The rows of the tables whose observations read it, by the column that picks its cell.
    let mut rows = 0;
    for step in &hir.steps {
        let Step::Observe { dist, axes, .. } = step else { continue };
        let mut read = false;
        dist.args.iter().for_each(|a| {
            walk(&a.2, &mut |e| read |= matches!(&e.kind, ExprKind::Read { var: r, index } if *r == var && index.iter().all(|i| !matches!(i, Index::Label(..)))));
        });
        let of_rows = |a: &&crate::hir::AxisId| matches!(hir.plate(hir.axis(**a).plate).kind, PlateKind::Rows(_));
        if let (true, Some(a)) = (read, axes.iter().find(of_rows)) {
            rows += bound.plate(hir.axis(*a).plate).size;
        }
    }
    let each = rows as f64 / cells.max(1) as f64;
    if unknown && rows > 0 && each < FEW_ROWS {
        diags.push(
            Code::CENTERED_FEW_ROWS
                .at(
                    v.span,
                    format!("`{}` has {cells} cells with {} rows each on average, and is centred", v.name, short(each)),
                )
                .here("a funnel with its scale")
                .help("leave `@centered` out: the compiler then chooses; or write `@noncentered`"),
        );
    }
}

/// Three digits, which is all that a rule of thumb has.
fn short(x: f64) -> String {
    let digits = if x == 0.0 { 0 } else { (2 - x.abs().log10().floor() as i32).clamp(0, 6) };
    let text = format!("{x:.*}", digits as usize);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}
