//! The graph as loop nests, for `vic show --stage graph`.

use std::fmt::{self, Display, Formatter};

use crate::lower::graph::{
    Access, Addr, AddrTerm, BinOp, BufId, BufKind, Call, Direction, Graph, Loop, LoopId, Op, Operand, ReduceOp, Region,
    Stmt, UnOp, ValId,
};

impl Display for Graph {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        writeln!(f, "buffers")?;
        for (i, b) in self.buffers.iter().enumerate() {
            let kind = match &b.kind {
                BufKind::Data(_) => "data",
                BufKind::Index(_) => "index",
                BufKind::Input => "input",
                BufKind::Scratch { zeroed: true } => "sum",
                BufKind::Scratch { zeroed: false } => "scratch",
            };
            writeln!(f, "  {}: {kind}[{}]", name(self, BufId(i as u32)), b.len)?;
        }
        for (title, regions) in [("value", &self.value), ("gradient", &self.gradient), ("report", &self.report)] {
            writeln!(f, "\n{title}")?;
            for region in regions {
                write_region(self, region, f)?;
            }
        }
        Ok(())
    }
}

/// Buffers of one name are told apart by their number.
fn name(graph: &Graph, id: BufId) -> String {
    let own = graph.buffers.get(id.0 as usize).map_or("?", |b| &b.name);
    let own = own.replace(' ', "_");
    match graph.buffers.iter().filter(|b| b.name.replace(' ', "_") == own).count() {
        0 | 1 => own,
        _ => format!("{own}#{}", id.0),
    }
}

fn write_region(graph: &Graph, region: &Region, f: &mut Formatter) -> fmt::Result {
    writeln!(f, "  # {}", region.name)?;
    for (depth, l) in region.loops.iter().enumerate() {
        let order = match region.walk.filter(|_| depth == 0) {
            Some(Direction::Forwards) => " in order",
            Some(Direction::Backwards) => " in reverse order",
            None => "",
        };
        writeln!(f, "{}for {}{order}", indent(depth + 1), header(l))?;
    }
    write_body(graph, &region.body, region.loops.len() + 1, f)
}

fn write_body(graph: &Graph, body: &[Stmt], depth: usize, f: &mut Formatter) -> fmt::Result {
    let pad = indent(depth);
    for stmt in body {
        match stmt {
            Stmt::Let(v, op) => writeln!(f, "{pad}{} = {}", value(*v), operation(graph, op))?,
            Stmt::Reduce { over, body, outs } => {
                for (out, op, _) in outs {
                    let start = match op {
                        ReduceOp::Sum => "0",
                        ReduceOp::Prod => "1",
                        ReduceOp::Min => "inf",
                        ReduceOp::Max => "-inf",
                    };
                    writeln!(f, "{pad}{} = {start}", value(*out))?;
                }
                writeln!(f, "{pad}for {}", header(over))?;
                write_body(graph, body, depth + 1, f)?;
                for (out, op, v) in outs {
                    let (out, v) = (value(*out), value(*v));
                    let step = match op {
                        ReduceOp::Sum => format!("{out} += {v}"),
                        ReduceOp::Prod => format!("{out} *= {v}"),
                        ReduceOp::Min => format!("{out} = min({out}, {v})"),
                        ReduceOp::Max => format!("{out} = max({out}, {v})"),
                    };
                    writeln!(f, "{}{step}", indent(depth + 1))?;
                }
            }
            Stmt::Contract { out, over, a, b } => {
                let (a, b) = (cell(graph, a.0, &a.1), cell(graph, b.0, &b.1));
                writeln!(f, "{pad}{} = sum {a} * {b} for {}", value(*out), header(over))?;
            }
            Stmt::ContractT { value: v, over, a, target } => {
                let (a, target) = (cell(graph, a.0, &a.1), cell(graph, target.0, &target.1));
                writeln!(f, "{pad}{target} += {} * {a} for {}", value(*v), header(over))?;
            }
            Stmt::Call(call) => {
                let name = |o: &Operand| o.buf.map_or("-", |b| graph.buffers[b.0 as usize].name.as_str());
                let of = |reads: bool| {
                    let parts = call.operands().iter().filter(|o| (o.access == Access::Read) == reads).map(name);
                    parts.collect::<Vec<_>>().join(", ")
                };
                let (what, size, batch) = match call {
                    Call::Matrix(c) => (format!("{:?}", c.op), format!("{} rows", c.n), &c.batch),
                    Call::Product(c) => {
                        let [m, k, n] = c.sizes;
                        ("product".to_string(), format!("{m} × {k} × {n}"), &c.batch)
                    }
                    Call::Ode(c) => {
                        let what = if c.backward { "adjoint of the solution" } else { "solution of an ode" };
                        (what.to_string(), format!("{} equations", c.system.n), &c.batch)
                    }
                };
                let batch: usize = batch.iter().product();
                let times = if batch == 1 { String::new() } else { format!(", {batch} times") };
                writeln!(f, "{pad}{} = {what} of {}: {size}{times}", of(false), of(true))?;
            }
            Stmt::Store { buf, addr, value: v } => {
                writeln!(f, "{pad}{} = {}", cell(graph, *buf, addr), value(*v))?;
            }
            Stmt::Accum { buf, addr, value: v } => {
                writeln!(f, "{pad}{} += {}", cell(graph, *buf, addr), value(*v))?;
            }
        }
    }
    Ok(())
}

fn indent(depth: usize) -> String {
    "  ".repeat(depth)
}

fn header(l: &Loop) -> String {
    format!("{} in {}({})", counter(l.id), l.plate, l.size)
}

fn counter(id: LoopId) -> String {
    format!("i{}", id.0)
}

fn value(v: ValId) -> String {
    format!("v{}", v.0)
}

fn cell(graph: &Graph, buf: BufId, addr: &Addr) -> String {
    match address(graph, addr).as_str() {
        "0" => name(graph, buf),
        inside => format!("{}[{inside}]", name(graph, buf)),
    }
}

fn address(graph: &Graph, addr: &Addr) -> String {
    let mut parts = vec![];
    for (term, stride) in &addr.terms {
        let term = match term {
            AddrTerm::Loop(id) => counter(*id),
            AddrTerm::Gather(index, inner) => cell(graph, *index, inner),
        };
        parts.push(if *stride == 1 { term } else { format!("{stride}*{term}") });
    }
    if addr.offset > 0 || parts.is_empty() {
        parts.push(addr.offset.to_string());
    }
    parts.join(" + ")
}

fn operation(graph: &Graph, op: &Op) -> String {
    match op {
        Op::Const(c) => format!("{c}"),
        Op::Load(buf, addr) => format!("load {}", cell(graph, *buf, addr)),
        Op::Counter(id) => format!("position {}", counter(*id)),
        Op::Unary(op, a) => match op {
            UnOp::Neg => format!("-{}", value(*a)),
            _ => format!("{}({})", format!("{op:?}").to_lowercase(), value(*a)),
        },
        Op::Binary(op, a, b) => {
            let (a, b) = (value(*a), value(*b));
            let sign = match op {
                BinOp::Add => "+",
                BinOp::Sub => "-",
                BinOp::Mul => "*",
                BinOp::Div => "/",
                BinOp::Pow => "^",
                BinOp::Less => "<",
                BinOp::LessEq => "<=",
                BinOp::Equal => "==",
                BinOp::NotEqual => "!=",
                BinOp::And => "and",
                BinOp::Or => "or",
                BinOp::Min | BinOp::Max | BinOp::XLogY | BinOp::LogGammaDraw | BinOp::LogGammaDrawSlope => {
                    return format!("{}({a}, {b})", format!("{op:?}").to_lowercase());
                }
            };
            format!("{a} {sign} {b}")
        }
        Op::Fma(a, b, c) => format!("{} * {} + {}", value(*a), value(*b), value(*c)),
        Op::Select(c, a, b) => format!("if {} then {} else {}", value(*c), value(*a), value(*b)),
    }
}
