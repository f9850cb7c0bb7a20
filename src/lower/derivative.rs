//! The derivative of every operation, beside its value: `y = f(x)` and `dy/dx`, or `y = f(a, b)` and both partials.

use std::f64::consts::PI;

use crate::lower::expr::{Arena, E};
use crate::lower::graph::{BinOp, LoopId, ReduceOp, UnOp};
use crate::prim::scalar::{FRAC_1_SQRT_2PI, LN_SQRT_2PI};

/// Of differences that stand in for a derivative.
const STEP: f64 = 1e-3;

/// A partial derivative. `pole`: it may be infinite at a finite operand, so that 0 times it must be guarded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Partial {
    pub value: E,
    pub pole: bool,
}

/// dy/dx of `y = op(x)`; a constant 0 where the function is flat.
pub(crate) fn unary(a: &mut Arena, op: UnOp, x: E, y: E) -> Partial {
    let pole = match op {
        UnOp::Sqrt | UnOp::Recip | UnOp::Log | UnOp::Log1p | UnOp::Exp | UnOp::Expm1 => true,
        UnOp::Lgamma | UnOp::Digamma | UnOp::Trigamma => true,
        UnOp::Neg | UnOp::Abs | UnOp::Floor | UnOp::Ceil | UnOp::Round | UnOp::Not | UnOp::Sign => false,
        UnOp::Tanh | UnOp::Sin | UnOp::Cos | UnOp::Atan | UnOp::Sigmoid | UnOp::Softplus => false,
        UnOp::Erf | UnOp::Phi | UnOp::LogPhi | UnOp::InvMills | UnOp::LogBesselI0 | UnOp::BesselRatio => false,
    };
    let one = a.number(1.0);
    let value = match op {
        UnOp::Neg => a.number(-1.0),
        // |x|' = sign x, 0 at 0
        UnOp::Abs => a.unary(UnOp::Sign, x),
        // √x' = ½ / √x
        UnOp::Sqrt => {
            let r = a.unary(UnOp::Recip, y);
            a.scale(r, 0.5)
        }
        // (1/x)' = -(1/x)²
        UnOp::Recip => {
            let s = a.mul(y, y);
            a.neg(s)
        }
        UnOp::Floor | UnOp::Ceil | UnOp::Round | UnOp::Not | UnOp::Sign => a.number(0.0),
        UnOp::Exp => y,
        UnOp::Log => a.unary(UnOp::Recip, x),
        // log(1 + x)' = 1 / (1 + x)
        UnOp::Log1p => {
            let s = a.add(x, one);
            a.unary(UnOp::Recip, s)
        }
        // (eˣ - 1)' = eˣ = y + 1
        UnOp::Expm1 => a.add(y, one),
        // tanh' = 1 - tanh²
        UnOp::Tanh => {
            let s = a.mul(y, y);
            a.sub(one, s)
        }
        UnOp::Sin => a.unary(UnOp::Cos, x),
        UnOp::Cos => {
            let s = a.unary(UnOp::Sin, x);
            a.neg(s)
        }
        // atan' = 1 / (1 + x²)
        UnOp::Atan => {
            let s = a.mul(x, x);
            let s = a.add(s, one);
            a.unary(UnOp::Recip, s)
        }
        // σ' = σ (1 - σ)
        UnOp::Sigmoid => {
            let s = a.mul(y, y);
            a.sub(y, s)
        }
        UnOp::Softplus => a.unary(UnOp::Sigmoid, x),
        UnOp::Lgamma => a.unary(UnOp::Digamma, x),
        UnOp::Digamma => a.unary(UnOp::Trigamma, x),
        UnOp::Trigamma => tetragamma(a, x),
        // erf' = 2/√π · exp(-x²)
        UnOp::Erf => {
            let s = a.mul(x, x);
            let s = a.neg(s);
            let e = a.unary(UnOp::Exp, s);
            a.scale(e, 2.0 / PI.sqrt())
        }
        // Φ' = φ
        UnOp::Phi => {
            let s = a.mul(x, x);
            let s = a.scale(s, -0.5);
            let e = a.unary(UnOp::Exp, s);
            a.scale(e, FRAC_1_SQRT_2PI)
        }
        // (log Φ)' = φ / Φ
        UnOp::LogPhi => a.unary(UnOp::InvMills, x),
        UnOp::LogBesselI0 => a.unary(UnOp::BesselRatio, x),
        // (I₁/I₀)' = 1 - (I₁/I₀) / x - (I₁/I₀)²; ½ at 0
        UnOp::BesselRatio => {
            // (I₁/I₀) / x is 0 / 0 at 0, and goes to ½.
            let zero = a.number(0.0);
            let at_zero = a.binary(BinOp::Equal, x, zero);
            let half = a.scale(at_zero, 0.5);
            let (over, under) = (a.add(y, half), a.add(x, at_zero));
            let r = a.unary(UnOp::Recip, under);
            let r = a.mul(over, r);
            let s = a.mul(y, y);
            let d = a.sub(one, r);
            a.sub(d, s)
        }
        // (φ/Φ)' = -(φ/Φ) (x + φ/Φ)
        UnOp::InvMills => {
            let s = a.add(x, y);
            let p = a.mul(y, s);
            a.neg(p)
        }
    };
    Partial { value, pole }
}

/// ∂y/∂a and ∂y/∂b of `y = op(a, b)`; only those of operands that are `wanted` are built.
pub(crate) fn binary(r: &mut Arena, op: BinOp, a: E, b: E, y: E, wanted: [bool; 2]) -> [Option<Partial>; 2] {
    let (zero, one) = (r.number(0.0), r.number(1.0));
    let mut partials = [None, None];
    for (side, slot) in partials.iter_mut().enumerate() {
        if !wanted[side] {
            continue;
        }
        let first = side == 0;
        let pole = matches!(op, BinOp::Div | BinOp::Pow | BinOp::XLogY);
        let value = match op {
            BinOp::Add => one,
            BinOp::Sub => r.number(if first { 1.0 } else { -1.0 }),
            BinOp::Mul => [b, a][side],
            // (a/b)' = 1/b, -(a/b)/b
            BinOp::Div => {
                let inv = r.unary(UnOp::Recip, b);
                if first {
                    inv
                } else {
                    let q = r.mul(y, inv);
                    r.neg(q)
                }
            }
            // ∂/∂a = b a^(b-1), exactly 0 at b = 0
            BinOp::Pow if first => {
                let less = r.sub(b, one);
                let p = r.binary(BinOp::Pow, a, less);
                let d = r.mul(b, p);
                let flat = r.binary(BinOp::Equal, b, zero);
                r.select(flat, zero, d)
            }
            // ∂/∂b = a^b log a, 0 at a = 0, where a^b stays 0 (or 1 at b = 0)
            BinOp::Pow => {
                let l = r.unary(UnOp::Log, a);
                let d = r.mul(y, l);
                let flat = r.binary(BinOp::Equal, a, zero);
                r.select(flat, zero, d)
            }
            // The side that is taken; the first of equals.
            BinOp::Min | BinOp::Max => {
                let takes_first = match op {
                    BinOp::Min => r.binary(BinOp::LessEq, a, b),
                    _ => r.binary(BinOp::LessEq, b, a),
                };
                let (x, z) = if first { (one, zero) } else { (zero, one) };
                r.select(takes_first, x, z)
            }
            BinOp::Less | BinOp::LessEq | BinOp::Equal | BinOp::NotEqual | BinOp::And | BinOp::Or => zero,
            BinOp::XLogY if first => r.unary(UnOp::Log, b),
            // ∂/∂y (x log y) = x / y, exactly 0 at x = 0
            BinOp::XLogY => {
                let q = r.div(a, b);
                let flat = r.binary(BinOp::Equal, a, zero);
                r.select(flat, zero, q)
            }
            BinOp::LogGammaDraw if first => r.binary(BinOp::LogGammaDrawSlope, a, b),
            // dl/dz = φ(z) / (x g(x)) with x = eˡ and g the density of Gamma(a, 1)
            BinOp::LogGammaDraw => {
                let square = r.mul(b, b);
                let half = r.scale(square, -0.5);
                let (powers, x, lgamma) = (r.mul(a, y), r.unary(UnOp::Exp, y), r.unary(UnOp::Lgamma, a));
                let log = r.sub(half, powers);
                let log = r.add(log, x);
                let log = r.add(log, lgamma);
                let constant = r.number(LN_SQRT_2PI);
                let log = r.sub(log, constant);
                r.unary(UnOp::Exp, log)
            }
            // d²l/da dz = dl/dz · (ψ(a) − l + (x − a) dl/da)
            BinOp::LogGammaDrawSlope if !first => {
                let l = r.binary(BinOp::LogGammaDraw, a, b);
                let [_, along] = binary(r, BinOp::LogGammaDraw, a, b, l, [false, true]);
                let (x, psi) = (r.unary(UnOp::Exp, l), r.unary(UnOp::Digamma, a));
                let (excess, rest) = (r.sub(x, a), r.sub(psi, l));
                let moved = r.mul(excess, y);
                let inner = r.add(rest, moved);
                r.mul(along.expect("the second is wanted").value, inner)
            }
            // No formula: central differences of fourth order, relative in the shape. For second derivatives only.
            BinOp::LogGammaDrawSlope => {
                let mut at = |share: f64| {
                    let a = r.scale(a, 1.0 + share);
                    r.binary(op, a, b)
                };
                let (far, near) = ([at(2.0 * STEP), at(-2.0 * STEP)], [at(STEP), at(-STEP)]);
                let (far, near) = (r.sub(far[0], far[1]), r.sub(near[0], near[1]));
                let (far, near) = (r.scale(far, -1.0 / (12.0 * STEP)), r.scale(near, 8.0 / (12.0 * STEP)));
                let change = r.add(far, near);
                r.div(change, a)
            }
        };
        *slot = Some(Partial { value, pole });
    }
    partials
}

/// Where a cell of `body` attains the extreme `of`, and how many do: they share its derivative.
pub(crate) fn extreme(r: &mut Arena, over: LoopId, body: E, of: E) -> (E, E) {
    let attains = r.binary(BinOp::Equal, body, of);
    (attains, r.sum(over, attains))
}

/// The partial of a product `of` the cells of `body` by one of them: the product of the others, exact at zeros, of which
/// it matters whether there is one or more.
pub(crate) fn others(r: &mut Arena, over: LoopId, body: E, of: E) -> E {
    let (zero, one) = (r.number(0.0), r.number(1.0));
    let is_zero = r.binary(BinOp::Equal, body, zero);
    let zeros = r.sum(over, is_zero);
    let factor = r.select(is_zero, one, body);
    let rest = r.reduce(ReduceOp::Prod, over, factor);
    let single = r.binary(BinOp::Equal, zeros, one);
    let here = r.select(single, rest, zero);
    let others = r.div(of, factor);
    r.select(is_zero, here, others)
}

/// d/dx ψ'(x): ten steps of the recurrence ψ''(x) = ψ''(x+1) - 2/x³, then the asymptotic series
/// -1/x² - 1/x³ - 1/(2x⁴) + 1/(6x⁶) - 1/(6x⁸) + 3/(10x¹⁰) - 5/(6x¹²) (Abramowitz & Stegun 6.4.13).
fn tetragamma(a: &mut Arena, x: E) -> E {
    let mut sum = a.number(0.0);
    let mut at = x;
    for j in 0..10 {
        let step = a.number(f64::from(j));
        at = a.add(x, step);
        let r = a.unary(UnOp::Recip, at);
        let r2 = a.mul(r, r);
        let r3 = a.mul(r2, r);
        let d = a.scale(r3, -2.0);
        sum = a.add(sum, d);
    }
    let one = a.number(1.0);
    let at = a.add(at, one);
    let r = a.unary(UnOp::Recip, at);
    let u = a.mul(r, r);
    let coefficients = [-5.0 / 6.0, 3.0 / 10.0, -1.0 / 6.0, 1.0 / 6.0, -0.5];
    let mut tail = a.number(0.0);
    for c in coefficients {
        let c = a.number(c);
        let t = a.mul(tail, u);
        tail = a.add(t, c);
    }
    // -u - u·r + u²·tail
    let t = a.mul(tail, u);
    let t = a.sub(t, r);
    let t = a.sub(t, one);
    let t = a.mul(t, u);
    a.add(sum, t)
}
