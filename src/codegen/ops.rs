//! Arithmetic, on one number or on a pair of lanes.

use std::collections::HashMap;

use cranelift_codegen::ir::condcodes::FloatCC;
use cranelift_codegen::ir::types::{F64, F64X2, I64X2};
use cranelift_codegen::ir::{Endianness, InstBuilder, MemFlagsData, Type, Value};

use super::emit::Emitter;
use crate::lower::graph::{BinOp, Op, ReduceOp, Stmt, UnOp, ValId};

/// The values at hand for one number, or for one pair of lanes.
pub struct Scope {
    pub wide: bool,
    /// How many lanes after the loop's counter.
    pub delta: i64,
    pub values: HashMap<ValId, Value>,
    /// Truth values, for choices that follow.
    masks: HashMap<ValId, Value>,
    /// Sums so far, by the accumulation that they stand for.
    pub sums: HashMap<*const Stmt, Value>,
}

impl Scope {
    pub fn scalar() -> Scope {
        Scope { wide: false, delta: 0, values: HashMap::new(), masks: HashMap::new(), sums: HashMap::new() }
    }

    pub fn wide(delta: i64) -> Scope {
        Scope { wide: true, delta, ..Scope::scalar() }
    }

    pub fn ty(&self) -> Type {
        if self.wide { F64X2 } else { F64 }
    }
}

impl Emitter<'_, '_> {
    /// Emit an operation and make it known as `v`.
    pub fn define(&mut self, v: ValId, op: &Op, scope: &mut Scope) {
        let x = match op {
            Op::Const(x) => self.constant(*x, scope),
            Op::Load(buf, addr) => self.load(*buf, addr, scope),
            Op::Counter(id) => self.counter(*id, scope),
            Op::Unary(UnOp::Not, a) => {
                let a = self.value(*a, scope);
                let zero = self.constant(0.0, scope);
                self.truth_of(v, FloatCC::Equal, a, zero, scope)
            }
            Op::Unary(op, a) => {
                let a = self.value(*a, scope);
                self.unary(*op, a, scope)
            }
            Op::Binary(op, a, b) => self.binary(v, *op, *a, *b, scope),
            Op::Fma(a, b, c) => {
                let [a, b, c] = [a, b, c].map(|v| self.value(*v, scope));
                self.multiply_add(a, b, c)
            }
            Op::Select(c, a, b) => {
                let c = self.truth(*c, scope);
                let [a, b] = [a, b].map(|v| self.value(*v, scope));
                self.choose(c, a, b, scope)
            }
        };
        scope.values.insert(v, x);
    }

    pub fn constant(&mut self, x: f64, scope: &Scope) -> Value {
        let x = self.b.ins().f64const(x);
        if scope.wide { self.b.ins().splat(F64X2, x) } else { x }
    }

    /// `a·b + c`, rounded once where the processor can.
    pub fn multiply_add(&mut self, a: Value, b: Value, c: Value) -> Value {
        if self.imports.fused {
            return self.b.ins().fma(a, b, c);
        }
        let product = self.b.ins().fmul(a, b);
        self.b.ins().fadd(product, c)
    }

    pub fn combine(&mut self, op: ReduceOp, a: Value, b: Value) -> Value {
        match op {
            ReduceOp::Sum => self.b.ins().fadd(a, b),
            ReduceOp::Prod => self.b.ins().fmul(a, b),
            ReduceOp::Min => self.b.ins().fmin(a, b),
            ReduceOp::Max => self.b.ins().fmax(a, b),
        }
    }

    fn unary(&mut self, op: UnOp, a: Value, scope: &Scope) -> Value {
        match op {
            UnOp::Neg => self.b.ins().fneg(a),
            UnOp::Abs => self.b.ins().fabs(a),
            UnOp::Sqrt => self.b.ins().sqrt(a),
            UnOp::Recip => {
                let one = self.constant(1.0, scope);
                self.b.ins().fdiv(one, a)
            }
            UnOp::Floor => self.b.ins().floor(a),
            UnOp::Ceil => self.b.ins().ceil(a),
            UnOp::Round => {
                // Halves go away from zero. The largest number below 1/2, so that 0.49999999999999994 stays 0.
                let half = self.constant(0.499_999_999_999_999_94, scope);
                let minus = self.constant(-0.499_999_999_999_999_94, scope);
                let zero = self.constant(0.0, scope);
                let below = self.b.ins().fcmp(FloatCC::LessThan, a, zero);
                let half = self.choose(below, minus, half, scope);
                let sum = self.b.ins().fadd(a, half);
                self.b.ins().trunc(sum)
            }
            UnOp::Sign => {
                let zero = self.constant(0.0, scope);
                let one = self.constant(1.0, scope);
                let minus = self.constant(-1.0, scope);
                let below = self.b.ins().fcmp(FloatCC::LessThan, a, zero);
                let above = self.b.ins().fcmp(FloatCC::GreaterThan, a, zero);
                // 0 and NaN stay what they are.
                let sign = self.choose(below, minus, a, scope);
                self.choose(above, one, sign, scope)
            }
            _ => {
                assert!(!scope.wide, "functions of lanes are calls of their own");
                self.imports.call(&mut self.b, op, a)
            }
        }
    }

    fn binary(&mut self, v: ValId, op: BinOp, a: ValId, b: ValId, scope: &mut Scope) -> Value {
        if let BinOp::And | BinOp::Or = op {
            let (a, b) = (self.truth(a, scope), self.truth(b, scope));
            let mask = if op == BinOp::And { self.b.ins().band(a, b) } else { self.b.ins().bor(a, b) };
            return self.number(v, mask, scope);
        }
        let (a, b) = (self.value(a, scope), self.value(b, scope));
        let compare = match op {
            BinOp::Add => return self.b.ins().fadd(a, b),
            BinOp::Sub => return self.b.ins().fsub(a, b),
            BinOp::Mul => return self.b.ins().fmul(a, b),
            BinOp::Div => return self.b.ins().fdiv(a, b),
            BinOp::Min => return self.b.ins().fmin(a, b),
            BinOp::Max => return self.b.ins().fmax(a, b),
            BinOp::Pow | BinOp::LogGammaDraw | BinOp::LogGammaDrawSlope => {
                assert!(!scope.wide, "functions of lanes are calls of their own");
                return self.imports.call_binary(&mut self.b, op, a, b);
            }
            BinOp::Less => FloatCC::LessThan,
            BinOp::LessEq => FloatCC::LessThanOrEqual,
            BinOp::Equal => FloatCC::Equal,
            BinOp::NotEqual => FloatCC::NotEqual,
            BinOp::And | BinOp::Or => unreachable!("done above"),
            BinOp::XLogY => unreachable!("written with a logarithm before planning"),
        };
        self.truth_of(v, compare, a, b, scope)
    }

    /// A comparison as a number, remembered as a truth value.
    fn truth_of(&mut self, v: ValId, compare: FloatCC, a: Value, b: Value, scope: &mut Scope) -> Value {
        let mask = self.b.ins().fcmp(compare, a, b);
        self.number(v, mask, scope)
    }

    fn number(&mut self, v: ValId, mask: Value, scope: &mut Scope) -> Value {
        scope.masks.insert(v, mask);
        let one = self.constant(1.0, scope);
        let zero = self.constant(0.0, scope);
        self.choose(mask, one, zero, scope)
    }

    /// A value as a condition.
    fn truth(&mut self, v: ValId, scope: &mut Scope) -> Value {
        if let Some(mask) = scope.masks.get(&v) {
            return *mask;
        }
        let x = self.value(v, scope);
        // Defining it may have made a mask.
        if let Some(mask) = scope.masks.get(&v) {
            return *mask;
        }
        let zero = self.constant(0.0, scope);
        self.b.ins().fcmp(FloatCC::NotEqual, x, zero)
    }

    fn choose(&mut self, mask: Value, a: Value, b: Value, scope: &Scope) -> Value {
        if !scope.wide {
            return self.b.ins().select(mask, a, b);
        }
        debug_assert_eq!(self.b.func.dfg.value_type(mask), I64X2);
        let bits = MemFlagsData::new().with_endianness(Endianness::Little);
        let mask = self.b.ins().bitcast(F64X2, bits, mask);
        self.b.ins().bitselect(mask, a, b)
    }
}
