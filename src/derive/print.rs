//! The log joint as text, for `vic show --stage joint`.

use std::fmt::Write;

use super::joint::*;
use crate::hir::{AxisId, Hir, MatrixFn, PlateId};

/// Binding strength, weakest first: where parentheses are needed.
const SUM: u8 = 1;
const PRODUCT: u8 = 2;
const UNARY: u8 = 3;
const ATOM: u8 = 5;

/// Every definition and term, one per line, in order.
pub fn print(joint: &Joint, hir: &Hir) -> String {
    let mut out = String::new();
    let p = Printer { joint, hir };
    let plates = |axes: &[AxisId]| {
        if axes.is_empty() {
            String::new()
        } else {
            let names: Vec<String> = axes.iter().map(|a| p.axis(*a)).collect();
            format!("[{}]", names.join(", "))
        }
    };
    for u in &joint.unconstrained {
        let noise = joint.written.as_ref().is_some_and(|w| w.noise.contains(&u.slot));
        let kind = match (u.point, noise) {
            (true, _) => "param",
            (_, true) => "noise",
            _ => "latent",
        };
        let _ = writeln!(out, "{kind} u.{}{}", joint.slot(u.slot).name.replace(' ', "_"), plates(&u.axes));
    }
    for d in &joint.defs {
        let note = if d.report_only { "  # for reports" } else { "" };
        if let Some(scatter) = &d.scatter {
            let index: Vec<String> = scatter.index.iter().map(|ix| p.index(ix)).collect();
            let filter = scatter.filter.map_or(String::new(), |f| format!(" where {}", p.node(f, 0)));
            let name = joint.slot(d.slot).name.replace(' ', "_");
            let over: Vec<String> = d.axes.iter().map(|a| p.axis(*a)).collect();
            let (index, over) = (index.join(", "), over.join(", "));
            let _ = writeln!(out, "let {name}[{index}] += {} over {over}{filter}", p.node(d.value, 0));
            continue;
        }
        let _ = writeln!(
            out,
            "let {}{} = {}{note}",
            joint.slot(d.slot).name.replace(' ', "_"),
            plates(&d.axes),
            p.node(d.value, 0)
        );
    }
    for e in &joint.eliminated {
        let plate = |p: &PlateId| hir.plate(*p).name.clone();
        let tables: Vec<String> = e.tables.iter().map(plate).collect();
        let of = if e.given.is_empty() { String::new() } else { format!(", given {}", e.given.join(", ")) };
        let along = if e.chain { ", cell after cell" } else { "" };
        let (name, axes, tables) = (e.names.join(" and "), plates(&e.axes), tables.join(" × "));
        let _ = writeln!(out, "# {name}{axes} summed out{of}{along}: a table over {tables}");
    }
    for t in &joint.terms {
        let over = if t.axes.is_empty() {
            String::new()
        } else {
            let names: Vec<String> = t.axes.iter().map(|a| p.axis(*a)).collect();
            format!(" over {}", names.join(", "))
        };
        let filter = t.filter.map_or(String::new(), |f| format!(" where {}", p.node(f, 0)));
        let _ = writeln!(out, "log joint += {}{over}{filter}  # {}", p.node(t.value, 0), t.name);
    }
    out
}

struct Printer<'a> {
    joint: &'a Joint,
    hir: &'a Hir,
}

impl Printer<'_> {
    fn axis(&self, a: AxisId) -> String {
        self.hir.axis(a).name.clone()
    }

    fn index(&self, ix: &Ix) -> String {
        match ix {
            Ix::Axis(a) => self.axis(*a),
            Ix::At(n) => self.node(*n, 0),
            Ix::Label(l, _) => format!("\"{l}\""),
        }
    }

    fn node(&self, id: NodeId, outer: u8) -> String {
        let (text, strength) = self.parts(id);
        if strength < outer { format!("({text})") } else { text }
    }

    fn parts(&self, id: NodeId) -> (String, u8) {
        match self.joint.node(id) {
            Node::Const(bits) => {
                let v = f64::from_bits(*bits);
                (format!("{v}"), if v < 0.0 { UNARY } else { ATOM })
            }
            Node::Position(a) => (format!("position({})", self.axis(*a)), ATOM),
            Node::Size(p) => (format!("size({})", self.hir.plate(*p).name), ATOM),
            Node::Read { slot, index } => {
                let s = self.joint.slot(*slot);
                let mut name = s.name.replace(' ', "_");
                if matches!(s.kind, SlotKind::Unconstrained(_)) {
                    name = format!("u.{name}");
                }
                if index.is_empty() {
                    return (name, ATOM);
                }
                let items: Vec<String> = index.iter().map(|ix| self.index(ix)).collect();
                (format!("{name}[{}]", items.join(", ")), ATOM)
            }
            Node::Unary(UnOp::Neg, a) => (format!("-{}", self.node(*a, UNARY)), UNARY),
            Node::Unary(op, a) => (format!("{}({})", format!("{op:?}").to_lowercase(), self.node(*a, 0)), ATOM),
            Node::Binary(op, a, b) => {
                let (sign, strength) = match op {
                    BinOp::Add => ("+", SUM),
                    BinOp::Sub => ("-", SUM),
                    BinOp::Mul => ("*", PRODUCT),
                    BinOp::Div => ("/", PRODUCT),
                    BinOp::Pow => ("^", ATOM - 1),
                    other => {
                        return (
                            format!(
                                "{}({}, {})",
                                format!("{other:?}").to_lowercase(),
                                self.node(*a, 0),
                                self.node(*b, 0)
                            ),
                            ATOM,
                        );
                    }
                };
                let right = if matches!(op, BinOp::Sub | BinOp::Div) { strength + 1 } else { strength };
                let left = if *op == BinOp::Pow { ATOM } else { strength };
                (format!("{} {sign} {}", self.node(*a, left), self.node(*b, right)), strength)
            }
            Node::Select(c, t, o) => {
                (format!("if {} then {} else {}", self.node(*c, 0), self.node(*t, 0), self.node(*o, 0)), 0)
            }
            Node::Detached(a) => (format!("constant({})", self.node(*a, 0)), ATOM),
            Node::Matrix { function, operands } => {
                let name = match function {
                    MatrixFn::Cholesky => "cholesky",
                    MatrixFn::Solve { transposed: false } => "solve_lower",
                    MatrixFn::Solve { transposed: true } => "solve_lower_transposed",
                };
                let operands: Vec<String> = operands.iter().map(|n| self.node(*n, 0)).collect();
                (format!("{name}({})", operands.join(", ")), ATOM)
            }
            Node::Ode { system, operands } => {
                let operands: Vec<String> = operands.iter().map(|n| self.node(*n, 0)).collect();
                (format!("ode(system {}, {})", system + 1, operands.join(", ")), ATOM)
            }
            Node::Reduce { op, axes, filter, body } => {
                let names: Vec<String> = axes.iter().map(|a| self.axis(*a)).collect();
                let filter = filter.map_or(String::new(), |f| format!(" where {}", self.node(f, 0)));
                let op = format!("{op:?}").to_lowercase();
                (format!("{op}({} over {}{filter})", self.node(*body, 0), names.join(", ")), ATOM)
            }
        }
    }
}
