//! Smart constructors of the arena: every expression is simplified as it is built.
//!
//! The rules keep values to rounding, make them more accurate where cancellation or overflow would bite
//! (`log(1 + e^x)`, `1 - sigmoid(x)`), and never turn a finite value into a non-finite one.

use crate::lower::expr::{Arena, E, Expr};
use crate::lower::graph::{BinOp, LoopId, ReduceOp, UnOp};
use crate::prim::scalar;

/// Powers up to this are products: at most five multiplications, each rounded once.
const LARGEST_PRODUCT_POWER: f64 = 16.0;

impl Arena {
    pub fn unary(&mut self, op: UnOp, a: E) -> E {
        if let Some(v) = self.as_const(a) {
            return self.number(scalar::unary(op, v));
        }
        match op {
            UnOp::Neg => self.neg_of(a),
            UnOp::Log => self.log_of(a),
            UnOp::Exp => self.exp_of(a),
            UnOp::Recip => self.recip_of(a),
            UnOp::Log1p => match *self.get(a) {
                Expr::Unary(UnOp::Exp, x) => self.unary(UnOp::Softplus, x),
                Expr::Unary(UnOp::Expm1, x) => x,
                Expr::Unary(UnOp::Neg, p) => match *self.get(p) {
                    // log(1 - sigmoid(x)) = -softplus(x)
                    Expr::Unary(UnOp::Sigmoid, x) => {
                        let s = self.unary(UnOp::Softplus, x);
                        self.neg(s)
                    }
                    // log(1 - Φ(x)) = log Φ(-x)
                    Expr::Unary(UnOp::Phi, x) => {
                        let n = self.neg(x);
                        self.unary(UnOp::LogPhi, n)
                    }
                    _ => self.intern(Expr::Unary(op, a)),
                },
                _ => self.intern(Expr::Unary(op, a)),
            },
            UnOp::Expm1 => match *self.get(a) {
                Expr::Unary(UnOp::Log1p, x) => x,
                _ => self.intern(Expr::Unary(op, a)),
            },
            UnOp::Sqrt => match *self.get(a) {
                Expr::Binary(BinOp::Mul, x, y) if x == y => self.unary(UnOp::Abs, x),
                Expr::Unary(UnOp::Exp, x) => {
                    let half = self.scale(x, 0.5);
                    self.unary(UnOp::Exp, half)
                }
                _ => self.intern(Expr::Unary(op, a)),
            },
            UnOp::Abs => match *self.get(a) {
                Expr::Unary(UnOp::Neg, x) => self.unary(UnOp::Abs, x),
                Expr::Unary(UnOp::Abs | UnOp::Exp | UnOp::Sqrt | UnOp::Sigmoid | UnOp::Softplus, _) => a,
                _ => self.intern(Expr::Unary(op, a)),
            },
            UnOp::Not => match *self.get(a) {
                Expr::Binary(BinOp::Equal, x, y) => self.binary(BinOp::NotEqual, x, y),
                Expr::Binary(BinOp::NotEqual, x, y) => self.binary(BinOp::Equal, x, y),
                Expr::Unary(UnOp::Not, x) if self.is_truth(x) => x,
                _ => self.intern(Expr::Unary(op, a)),
            },
            UnOp::Floor
            | UnOp::Ceil
            | UnOp::Round
            | UnOp::Sign
            | UnOp::Tanh
            | UnOp::Sin
            | UnOp::Cos
            | UnOp::Atan
            | UnOp::Sigmoid
            | UnOp::Softplus
            | UnOp::Lgamma
            | UnOp::Digamma
            | UnOp::Trigamma
            | UnOp::Erf
            | UnOp::Phi
            | UnOp::LogPhi
            | UnOp::InvMills
            | UnOp::LogBesselI0
            | UnOp::BesselRatio => self.intern(Expr::Unary(op, a)),
        }
    }

    fn neg_of(&mut self, a: E) -> E {
        match *self.get(a) {
            Expr::Unary(UnOp::Neg, x) => x,
            Expr::Binary(BinOp::Sub, x, y) => self.sub(y, x),
            Expr::Binary(BinOp::Mul, x, c) if self.as_const(c).is_some() => {
                let c = self.neg(c);
                self.mul(x, c)
            }
            Expr::Binary(BinOp::Add, x, c) if self.as_const(c).is_some() => {
                let c = self.neg(c);
                self.sub(c, x)
            }
            _ => self.intern(Expr::Unary(UnOp::Neg, a)),
        }
    }

    fn log_of(&mut self, a: E) -> E {
        match *self.get(a) {
            Expr::Unary(UnOp::Exp, x) => x,
            // log sigmoid(x) = -softplus(-x)
            Expr::Unary(UnOp::Sigmoid, x) => {
                let n = self.neg(x);
                let s = self.unary(UnOp::Softplus, n);
                self.neg(s)
            }
            Expr::Unary(UnOp::Phi, x) => self.unary(UnOp::LogPhi, x),
            Expr::Unary(UnOp::Recip, x) => {
                let l = self.unary(UnOp::Log, x);
                self.neg(l)
            }
            Expr::Unary(UnOp::Sqrt, x) => {
                let l = self.unary(UnOp::Log, x);
                self.scale(l, 0.5)
            }
            Expr::Binary(BinOp::Add, x, one) if self.is_number(one, 1.0) => self.unary(UnOp::Log1p, x),
            Expr::Binary(BinOp::Sub, one, x) if self.is_number(one, 1.0) => {
                let n = self.neg(x);
                self.unary(UnOp::Log1p, n)
            }
            Expr::Binary(op @ (BinOp::Mul | BinOp::Div), x, y) => {
                let (ex, ey) = (self.exponent(x), self.exponent(y));
                if ex.is_none() && ey.is_none() {
                    return self.intern(Expr::Unary(UnOp::Log, a));
                }
                let (lx, ly) = (self.unary(UnOp::Log, x), self.unary(UnOp::Log, y));
                self.binary(if op == BinOp::Mul { BinOp::Add } else { BinOp::Sub }, lx, ly)
            }
            _ => self.intern(Expr::Unary(UnOp::Log, a)),
        }
    }

    /// `u` if this is `e^u`.
    fn exponent(&self, e: E) -> Option<E> {
        match *self.get(e) {
            Expr::Unary(UnOp::Exp, u) => Some(u),
            _ => None,
        }
    }

    fn exp_of(&mut self, a: E) -> E {
        match *self.get(a) {
            Expr::Unary(UnOp::Log, x) => x,
            // e^-softplus(x) = sigmoid(-x)
            Expr::Unary(UnOp::Neg, s) => match *self.get(s) {
                Expr::Unary(UnOp::Softplus, x) => {
                    let n = self.neg(x);
                    self.unary(UnOp::Sigmoid, n)
                }
                _ => self.intern(Expr::Unary(UnOp::Exp, a)),
            },
            _ => self.intern(Expr::Unary(UnOp::Exp, a)),
        }
    }

    fn recip_of(&mut self, a: E) -> E {
        match *self.get(a) {
            Expr::Unary(UnOp::Recip, x) => x,
            Expr::Unary(UnOp::Neg, x) => {
                let r = self.unary(UnOp::Recip, x);
                self.neg(r)
            }
            Expr::Unary(UnOp::Exp, x) => {
                let n = self.neg(x);
                self.unary(UnOp::Exp, n)
            }
            // 1 / (1 + e^x) = sigmoid(-x)
            Expr::Binary(BinOp::Add, x, one) if self.is_number(one, 1.0) && self.exponent(x).is_some() => {
                let u = self.exponent(x).expect("just seen");
                let n = self.neg(u);
                self.unary(UnOp::Sigmoid, n)
            }
            Expr::Binary(BinOp::Div, x, y) => self.div(y, x),
            _ => self.intern(Expr::Unary(UnOp::Recip, a)),
        }
    }

    pub fn binary(&mut self, op: BinOp, a: E, b: E) -> E {
        if let (Some(x), Some(y)) = (self.as_const(a), self.as_const(b)) {
            return self.number(scalar::binary(op, x, y));
        }
        match op {
            BinOp::Add => self.add_of(a, b),
            BinOp::Sub => self.sub_of(a, b),
            BinOp::Mul => self.mul_of(a, b),
            BinOp::Div => self.div_of(a, b),
            BinOp::Pow => self.pow_of(a, b),
            BinOp::XLogY => self.xlogy_of(a, b),
            BinOp::Min | BinOp::Max => {
                let (a, b) = self.ordered(a, b);
                if a == b { a } else { self.intern(Expr::Binary(op, a, b)) }
            }
            BinOp::And | BinOp::Or => {
                let (a, b) = self.ordered(a, b);
                match self.as_const(b) {
                    Some(v) if (v != 0.0) == (op == BinOp::Or) => self.number(scalar::truth(v != 0.0)),
                    Some(_) if self.is_truth(a) => a,
                    _ if a == b && self.is_truth(a) => a,
                    _ => self.intern(Expr::Binary(op, a, b)),
                }
            }
            BinOp::Equal | BinOp::NotEqual => {
                let (a, b) = self.ordered(a, b);
                self.intern(Expr::Binary(op, a, b))
            }
            BinOp::Less | BinOp::LessEq | BinOp::LogGammaDraw | BinOp::LogGammaDrawSlope => {
                self.intern(Expr::Binary(op, a, b))
            }
        }
    }

    /// Operands of a commutative operation in their one order: a constant second, else the older first.
    fn ordered(&self, a: E, b: E) -> (E, E) {
        let key = |e| (self.as_const(e).is_some(), e);
        if key(a) <= key(b) { (a, b) } else { (b, a) }
    }

    fn add_of(&mut self, a: E, b: E) -> E {
        let (a, b) = self.ordered(a, b);
        if self.is_number(b, 0.0) {
            return a;
        }
        if a == b {
            return self.scale(a, 2.0);
        }
        if let Some(c) = self.as_const(b) {
            match *self.get(a) {
                Expr::Binary(BinOp::Add, x, d) if self.as_const(d).is_some() => {
                    let c = self.add(d, b);
                    return self.add(x, c);
                }
                Expr::Binary(BinOp::Sub, d, x) if self.as_const(d).is_some() => {
                    let c = self.add(d, b);
                    return self.sub(c, x);
                }
                Expr::Unary(UnOp::Neg, x) => return self.sub(b, x),
                Expr::Unary(UnOp::Exp, x) if c == -1.0 => return self.unary(UnOp::Expm1, x),
                Expr::Unary(UnOp::Expm1, x) if c == 1.0 => return self.unary(UnOp::Exp, x),
                _ => {}
            }
        }
        match (self.get(a).clone(), self.get(b).clone()) {
            (_, Expr::Unary(UnOp::Neg, y)) => return self.sub(a, y),
            (Expr::Unary(UnOp::Neg, x), _) => return self.sub(b, x),
            // softplus(x) + softplus(-x) = 2 softplus(x) - x
            (Expr::Unary(UnOp::Softplus, x), Expr::Unary(UnOp::Softplus, y)) if self.neg(x) == y => {
                let twice = self.scale(a, 2.0);
                return self.sub(twice, x);
            }
            (Expr::Select(c, x, y), Expr::Select(d, u, v)) if c == d => {
                let (t, f) = (self.add(x, u), self.add(y, v));
                return self.select(c, t, f);
            }
            _ => {}
        }
        self.intern(Expr::Binary(BinOp::Add, a, b))
    }

    fn sub_of(&mut self, a: E, b: E) -> E {
        if let Some(c) = self.as_const(b) {
            let c = self.number(-c);
            return self.add(a, c);
        }
        if self.is_number(a, 0.0) {
            return self.neg(b);
        }
        if let Some(c) = self.as_const(a) {
            match *self.get(b) {
                Expr::Binary(BinOp::Add, x, d) if self.as_const(d).is_some() => {
                    let c = self.sub(a, d);
                    return self.sub(c, x);
                }
                Expr::Binary(BinOp::Sub, d, x) if self.as_const(d).is_some() => {
                    let c = self.sub(a, d);
                    return self.add(x, c);
                }
                Expr::Unary(op @ (UnOp::Sigmoid | UnOp::Phi), x) if c == 1.0 => {
                    let n = self.neg(x);
                    return self.unary(op, n);
                }
                _ => {}
            }
        }
        match (self.get(a).clone(), self.get(b).clone()) {
            (_, Expr::Unary(UnOp::Neg, y)) => return self.add(a, y),
            (Expr::Unary(UnOp::Neg, x), _) => {
                let s = self.add(x, b);
                return self.neg(s);
            }
            _ => {}
        }
        self.intern(Expr::Binary(BinOp::Sub, a, b))
    }

    fn mul_of(&mut self, a: E, b: E) -> E {
        let (a, b) = self.ordered(a, b);
        if let Some(c) = self.as_const(b) {
            if c == 0.0 || c == 1.0 {
                return if c == 1.0 { a } else { b };
            }
            if c == -1.0 {
                return self.neg(a);
            }
            match *self.get(a) {
                Expr::Binary(BinOp::Mul, x, d) if self.as_const(d).is_some() => {
                    let c = self.mul(d, b);
                    return self.mul(x, c);
                }
                Expr::Unary(UnOp::Neg, x) => {
                    let c = self.neg(b);
                    return self.mul(x, c);
                }
                _ => {}
            }
            return self.intern(Expr::Binary(BinOp::Mul, a, b));
        }
        // Constants and signs to the outside, where sums and products absorb them.
        match (self.get(a).clone(), self.get(b).clone()) {
            (Expr::Binary(BinOp::Mul, x, c), _) if self.as_const(c).is_some() => {
                let m = self.mul(x, b);
                return self.mul(m, c);
            }
            (_, Expr::Binary(BinOp::Mul, y, c)) if self.as_const(c).is_some() => {
                let m = self.mul(a, y);
                return self.mul(m, c);
            }
            (Expr::Unary(UnOp::Neg, x), _) => {
                let m = self.mul(x, b);
                return self.neg(m);
            }
            (_, Expr::Unary(UnOp::Neg, y)) => {
                let m = self.mul(a, y);
                return self.neg(m);
            }
            _ => {}
        }
        self.intern(Expr::Binary(BinOp::Mul, a, b))
    }

    fn div_of(&mut self, a: E, b: E) -> E {
        if let Some(c) = self.as_const(b)
            && c != 0.0
            && (1.0 / c).is_normal()
        {
            return self.scale(a, 1.0 / c);
        }
        if self.as_const(a).is_some() {
            let r = self.unary(UnOp::Recip, b);
            return self.mul(r, a);
        }
        match (self.get(a).clone(), self.get(b).clone()) {
            (_, Expr::Unary(UnOp::Exp | UnOp::Recip, _)) => {
                let r = self.unary(UnOp::Recip, b);
                return self.mul(a, r);
            }
            (Expr::Unary(UnOp::Neg, x), _) => {
                let q = self.div(x, b);
                return self.neg(q);
            }
            (_, Expr::Unary(UnOp::Neg, y)) => {
                let q = self.div(a, y);
                return self.neg(q);
            }
            (Expr::Binary(BinOp::Mul, x, c), _) if self.as_const(c).is_some() => {
                let q = self.div(x, b);
                return self.mul(q, c);
            }
            (_, Expr::Binary(BinOp::Mul, y, c)) if self.as_const(c).is_some_and(|c| (1.0 / c).is_normal()) => {
                let q = self.div(a, y);
                return self.div(q, c);
            }
            _ => {}
        }
        self.intern(Expr::Binary(BinOp::Div, a, b))
    }

    fn pow_of(&mut self, a: E, b: E) -> E {
        if self.is_number(a, 1.0) {
            return a;
        }
        if let Some(u) = self.exponent(a) {
            let m = self.mul(u, b);
            return self.unary(UnOp::Exp, m);
        }
        if let Some(base) = self.as_const(a)
            && base > 0.0
        {
            let m = self.scale(b, base.ln());
            return self.unary(UnOp::Exp, m);
        }
        let Some(n) = self.as_const(b) else { return self.intern(Expr::Binary(BinOp::Pow, a, b)) };
        if n == 0.5 {
            return self.unary(UnOp::Sqrt, a);
        }
        if n == -0.5 {
            let s = self.unary(UnOp::Sqrt, a);
            return self.unary(UnOp::Recip, s);
        }
        if n == n.trunc() && n.abs() <= LARGEST_PRODUCT_POWER {
            let p = self.product_power(a, n.abs() as u32);
            return if n < 0.0 { self.unary(UnOp::Recip, p) } else { p };
        }
        self.intern(Expr::Binary(BinOp::Pow, a, b))
    }

    fn product_power(&mut self, a: E, n: u32) -> E {
        match n {
            0 => self.number(1.0),
            1 => a,
            n => {
                let half = self.product_power(a, n / 2);
                let square = self.mul(half, half);
                if n % 2 == 0 { square } else { self.mul(square, a) }
            }
        }
    }

    fn xlogy_of(&mut self, x: E, y: E) -> E {
        if let Some(c) = self.as_const(x) {
            if c == 0.0 {
                return x;
            }
            let l = self.unary(UnOp::Log, y);
            return self.scale(l, c);
        }
        if let Some(c) = self.as_const(y)
            && c > 0.0
        {
            return self.scale(x, c.ln());
        }
        match *self.get(y) {
            Expr::Unary(UnOp::Exp, u) => self.mul(x, u),
            Expr::Unary(UnOp::Sigmoid, _) => {
                let l = self.unary(UnOp::Log, y);
                self.mul(x, l)
            }
            Expr::Unary(UnOp::Recip, z) => {
                let l = self.binary(BinOp::XLogY, x, z);
                self.neg(l)
            }
            Expr::Binary(op @ (BinOp::Mul | BinOp::Div), p, q)
                if self.exponent(p).is_some() || self.exponent(q).is_some() =>
            {
                let (lp, lq) = (self.binary(BinOp::XLogY, x, p), self.binary(BinOp::XLogY, x, q));
                self.binary(if op == BinOp::Mul { BinOp::Add } else { BinOp::Sub }, lp, lq)
            }
            _ => self.intern(Expr::Binary(BinOp::XLogY, x, y)),
        }
    }

    pub fn select(&mut self, c: E, a: E, b: E) -> E {
        if let Some(v) = self.as_const(c) {
            return if v != 0.0 { a } else { b };
        }
        if a == b {
            return a;
        }
        if self.is_number(a, 1.0) && self.is_number(b, 0.0) && self.is_truth(c) {
            return c;
        }
        match *self.get(c) {
            Expr::Unary(UnOp::Not, d) => self.select(d, b, a),
            _ => {
                // The same condition inside: only one side can be met.
                let a = match *self.get(a) {
                    Expr::Select(d, x, _) if d == c => x,
                    _ => a,
                };
                let b = match *self.get(b) {
                    Expr::Select(d, _, y) if d == c => y,
                    _ => b,
                };
                self.intern(Expr::Select(c, a, b))
            }
        }
    }

    /// Whether it is 0 or 1 by construction.
    fn is_truth(&self, e: E) -> bool {
        match *self.get(e) {
            Expr::Const(_) => self.is_number(e, 0.0) || self.is_number(e, 1.0),
            Expr::Unary(op, _) => op == UnOp::Not,
            Expr::Binary(op, _, _) => {
                matches!(op, BinOp::Less | BinOp::LessEq | BinOp::Equal | BinOp::NotEqual | BinOp::And | BinOp::Or)
            }
            Expr::Select(_, a, b) => self.is_truth(a) && self.is_truth(b),
            Expr::Load(..) | Expr::Counter(_) | Expr::Reduce(..) | Expr::Detach(_) => false,
        }
    }

    pub fn reduce(&mut self, op: ReduceOp, over: LoopId, body: E) -> E {
        let size = self.size(over);
        if size == 0 {
            return self.number(match op {
                ReduceOp::Sum => 0.0,
                ReduceOp::Prod => 1.0,
                ReduceOp::Min => f64::INFINITY,
                ReduceOp::Max => f64::NEG_INFINITY,
            });
        }
        if !self.varies(body, over) {
            return match op {
                ReduceOp::Sum => self.scale(body, size as f64),
                ReduceOp::Prod => {
                    let n = self.number(size as f64);
                    self.binary(BinOp::Pow, body, n)
                }
                ReduceOp::Min | ReduceOp::Max => body,
            };
        }
        if op == ReduceOp::Sum { self.sum_of(over, body) } else { self.intern(Expr::Reduce(op, over, body)) }
    }

    /// Take out of the sum what does not vary in it, and bring together the factors that vary over the same loops,
    /// those of data first: what later passes store once, or read as one side of a matrix product.
    fn sum_of(&mut self, over: LoopId, body: E) -> E {
        if let Expr::Binary(op @ (BinOp::Add | BinOp::Sub), a, b) = *self.get(body)
            && !(self.varies(a, over) && self.varies(b, over))
        {
            let (a, b) = (self.sum(over, a), self.sum(over, b));
            return self.binary(op, a, b);
        }
        let (mut factors, mut sign) = (vec![], 1.0);
        self.factors(body, &mut factors, &mut sign);
        let one = self.number(1.0);
        let mut outside = self.number(sign);
        let mut groups: Vec<(bool, Vec<LoopId>, E)> = vec![];
        for f in factors {
            if !self.varies(f, over) {
                outside = self.mul(outside, f);
                continue;
            }
            // All data go together; the others by what they vary over.
            let key = (self.active(f), if self.active(f) { self.free(f).to_vec() } else { vec![] });
            match groups.iter_mut().find(|g| (g.0, &g.1) == (key.0, &key.1)) {
                Some(group) => {
                    let product = group.2;
                    group.2 = self.mul(product, f);
                }
                None => groups.push((key.0, key.1, f)),
            }
        }
        groups.sort_by_key(|g| (g.0, g.1.len()));
        let inside = groups.into_iter().fold(one, |p, g| self.mul(p, g.2));
        let sum = self.intern(Expr::Reduce(ReduceOp::Sum, over, inside));
        self.mul(sum, outside)
    }

    /// The factors of a product, quotients as reciprocals, signs apart.
    pub(super) fn factors(&mut self, e: E, out: &mut Vec<E>, sign: &mut f64) {
        match *self.get(e) {
            Expr::Unary(UnOp::Neg, x) => {
                *sign = -*sign;
                self.factors(x, out, sign);
            }
            Expr::Binary(BinOp::Mul, x, y) => {
                self.factors(x, out, sign);
                self.factors(y, out, sign);
            }
            Expr::Binary(BinOp::Div, x, y) => {
                self.factors(x, out, sign);
                let r = self.unary(UnOp::Recip, y);
                out.push(r);
            }
            _ => out.push(e),
        }
    }

    /// log Σ exp(body), safe where all are -∞ or one is +∞. The shift is constant for derivatives: the true derivative
    /// does not depend on it.
    pub fn log_sum_exp(&mut self, over: &[LoopId], body: E) -> E {
        let max = over.iter().fold(body, |m, &l| self.reduce(ReduceOp::Max, l, m));
        let size = self.unary(UnOp::Abs, max);
        let infinity = self.number(f64::INFINITY);
        let zero = self.number(0.0);
        let finite = self.binary(BinOp::Less, size, infinity);
        let shift = self.select(finite, max, zero);
        let shift = self.detach(shift);
        let difference = self.sub(body, shift);
        let term = self.unary(UnOp::Exp, difference);
        let sum = over.iter().fold(term, |s, &l| self.sum(l, s));
        let log = self.unary(UnOp::Log, sum);
        self.add(log, shift)
    }
}
