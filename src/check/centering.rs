//! Which distributions can be noncentred: those whose draw is a known function of standard noise.

use super::*;

/// How a draw follows from standard noise.
pub enum LocationScale<'d> {
    /// `mu + sigma * noise`, by the names of these arguments.
    Of { mu: LocalId, sigma: LocalId },
    /// One where a condition holds, another where it does not.
    Either(&'d Expr, Box<LocationScale<'d>>, Box<LocationScale<'d>>),
}

/// A location plus a scale times standard noise: what can be noncentred. Its `sample()` shows it: `mu + sigma * (…)`,
/// with noise and other arguments only in the brackets. Names alone do not: another family may have a `mu` and a `sigma`.
pub fn location_scale(d: &DistUse) -> Option<LocationScale<'_>> {
    let whole = matches!(d.range, Constraint::None) && d.log_kept.is_none() && d.support.ty == Ty::Real;
    shape_of(d, d.sample.as_ref().filter(|_| whole)?)
}

fn shape_of<'d>(d: &'d DistUse, mut sample: &'d Expr) -> Option<LocationScale<'d>> {
    if let ExprKind::If { condition, then, otherwise } = &sample.kind {
        let (a, b) = (shape_of(d, then)?, shape_of(d, otherwise)?);
        return Some(LocationScale::Either(condition, a.into(), b.into()));
    }
    let named = |n: &str, l: LocalId| d.args.iter().any(|(id, a, _)| *id == l && a == n);
    let free = |e: &Expr| {
        let mut free = true;
        expr::walk(e, &mut |e| {
            free = free && !matches!(e.kind, ExprKind::Local(l) if named("mu", l) || named("sigma", l));
        });
        free
    };
    while let ExprKind::Bind { value, body, .. } = &sample.kind {
        if !free(value) {
            return None;
        }
        sample = body;
    }
    let ExprKind::Binary(BinOp::Add, location, noise) = &sample.kind else { return None };
    let ExprKind::Binary(BinOp::Mul, scale, noise) = &noise.kind else { return None };
    match (&location.kind, &scale.kind) {
        (&ExprKind::Local(mu), &ExprKind::Local(sigma)) if named("mu", mu) && named("sigma", sigma) && free(noise) => {
            Some(LocationScale::Of { mu, sigma })
        }
        _ => None,
    }
}

/// All cells of a plate drawn together from standard normal noise, one number per cell: what can be noncentred as a whole.
pub fn is_joint_gaussian(d: &DistUse, over: &[AxisId]) -> bool {
    let (Some(sample), false) = (&d.sample, over.is_empty()) else { return false };
    let (mut one_each, mut draws) = (true, 0);
    expr::walk(sample, &mut |e| {
        if let ExprKind::Noise(noise, params) = &e.kind {
            draws += 1;
            one_each &= *noise == Noise::Normal && params.is_empty() && over.iter().all(|a| e.axes.contains(a));
        }
    });
    let whole = matches!(d.range, Constraint::None | Constraint::ZeroSum) && d.log_kept.is_none();
    draws == 1 && one_each && whole && d.support.ty == Ty::Real
}
