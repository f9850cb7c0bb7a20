//! Monotone rational-quadratic splines (Durkan, Bekasov, Murray and Papamakarios 2019, "Neural spline flows", section 3.1;
//! Gregory and Delbourgo 1982).
//!
//! On [-B, B] the map goes through K + 1 knots with given slopes; beyond, it is the identity. No bin is looked up: with
//! ξ_k = the place of x in bin k, cut to [0, 1], the value is the sum over bins of what x has climbed in each, and the slope
//! that at the first knot plus its changes in each, so that every term is smooth but for the ends of its bin.

use super::super::*;
use super::flow::Vector;
use super::layers::Run;
use crate::hir::{BinOp, UnOp};

pub(super) const BINS: f64 = 8.0;
pub(super) const BOUND: f64 = 5.0;
/// The least share of a bin, and the least slope at a knot.
const LEAST: f64 = 1e-3;

#[derive(Clone, Copy)]
pub(super) struct Bins {
    pub count: f64,
    /// B.
    pub bound: f64,
}

impl Checker<'_, '_> {
    /// The value and the log of the slope at `x`, with knots by the outputs of a net. All outputs 0: the identity.
    pub(super) fn spline(
        &mut self,
        run: &mut Run,
        v: &Vector,
        x: Expr,
        hidden: (AxisId, &Expr),
        bins: Bins,
    ) -> (Expr, Expr) {
        let at = v.at;
        let plate = format!("{}.bins", run.instance);
        let bin = self.units(&plate, at.0, at.number(bins.count));
        let other = self.input_axis(&plate, bin);
        let widths = self.shares(run, v, "widths", hidden, bin, bins);
        let heights = self.shares(run, v, "heights", hidden, bin, bins);
        let slopes = {
            let raw = self.flow_output(run, v, ("slopes", 0.0), Some(bin), hidden, None);
            // softplus(c) = 1 - LEAST
            let c = (1.0 - LEAST).exp_m1().ln();
            let slope = at.add(at.number(LEAST), at.apply(UnOp::Softplus, at.add(raw, at.number(c))));
            self.store(run, slope)
        };
        let (k, l) = (at.position(bin), at.position(other));
        let one = || at.number(1.0);
        let is = |a: Expr, b: f64| at.of(BinOp::Equal, a, at.number(b));
        // Where bin k begins, as a share of the whole.
        let before = |shares: &Expr| {
            let earlier = at.of(BinOp::Less, l.clone(), k.clone());
            at.reduce(Reduction::Sum, other, Some(earlier), at.along(shares.clone(), bin, other))
        };
        let whole = || at.number(2.0 * bins.bound);
        let left = at.sub(at.mul(whole(), before(&widths)), at.number(bins.bound));
        let (w, h) = (at.mul(whole(), widths), at.mul(whole(), heights));
        // Slopes at the left and the right knot of bin k; 1 at both ends.
        let first = is(k.clone(), 0.0);
        let low = at.add(slopes.clone(), at.mul(first, at.sub(one(), slopes.clone())));
        let next = at.of(BinOp::Equal, l.clone(), at.add(k.clone(), one()));
        let next = at.reduce(Reduction::Sum, other, Some(next), at.along(slopes, bin, other));
        let high = at.add(next, is(k, bins.count - 1.0));
        let mut named = |e: Expr| self.keep(run, e, vec![]).value;
        let (w, h, low, high) = (named(w), named(h), named(low), named(high));
        let steep = named(at.div(h.clone(), w.clone()));
        let place = at.div(at.sub(x.clone(), left), w);
        let xi = named(at.min(at.max(place, at.number(0.0)), one()));
        let (rest, square) = (at.sub(one(), xi.clone()), at.mul(xi.clone(), xi.clone()));
        let middle = named(at.mul(xi.clone(), rest.clone()));
        let bent = at.sub(at.add(high.clone(), low.clone()), at.mul(at.number(2.0), steep.clone()));
        let below = named(at.add(steep.clone(), at.mul(bent, middle.clone())));
        // Eq. 4 and 5 of the paper.
        let risen = at.add(at.mul(steep.clone(), square.clone()), at.mul(low.clone(), middle.clone()));
        let climbed = at.sum(bin, at.div(at.mul(h, risen), below.clone()));
        let mixed = at.add(
            at.add(at.mul(high, square), at.mul(at.number(2.0), at.mul(steep.clone(), middle))),
            at.mul(low.clone(), at.mul(rest.clone(), rest)),
        );
        let slope = at.div(at.mul(at.mul(steep.clone(), steep), mixed), at.mul(below.clone(), below));
        let slope = at.add(one(), at.sum(bin, at.sub(slope, low)));
        let beyond = at.add(
            at.min(at.add(x.clone(), at.number(bins.bound)), at.number(0.0)),
            at.max(at.sub(x, at.number(bins.bound)), at.number(0.0)),
        );
        let value = at.add(at.sub(climbed, at.number(bins.bound)), beyond);
        (value, at.apply(UnOp::Log, slope))
    }

    /// Shares of bins, which sum to 1 over them.
    fn shares(
        &mut self,
        run: &mut Run,
        v: &Vector,
        name: &str,
        hidden: (AxisId, &Expr),
        bin: AxisId,
        bins: Bins,
    ) -> Expr {
        let at = v.at;
        let raw = self.flow_output(run, v, (name, 0.0), Some(bin), hidden, None);
        let total = at.reduce(Reduction::LogSumExp, bin, None, raw.clone());
        let share = at.apply(UnOp::Exp, at.sub(raw, total));
        let free = at.number(1.0 - LEAST * bins.count);
        let share = at.add(at.number(LEAST), at.mul(free, share));
        self.store(run, share)
    }
}
