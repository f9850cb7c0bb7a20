//! Whether a log joint may jump: comparisons, rounding and signs of what depends on the latents.

use std::collections::HashSet;

use super::graph::{Access, BinOp, BufId, Graph, Op, Stmt, UnOp, ValId};

/// Whether any number that the log joint is made of is a step function of something that depends on theta. Most such
/// steps are harmless, as in `if x > 0 then x else 0`: it takes values of the log joint to tell.
pub fn may_jump(graph: &Graph) -> bool {
    let mut moving: HashSet<BufId> = graph.theta.into_iter().collect();
    loop {
        let before = moving.len();
        let mut jumps = false;
        for region in &graph.value {
            let mut values = HashSet::new();
            jumps |= block(&region.body, &mut moving, &mut values);
        }
        // A walk reads what later statements of its region write: again, until nothing new moves.
        if jumps || moving.len() == before {
            return jumps;
        }
    }
}

/// Follow what depends on theta through these statements; true at the first step.
fn block(body: &[Stmt], moving: &mut HashSet<BufId>, values: &mut HashSet<ValId>) -> bool {
    for stmt in body {
        match stmt {
            Stmt::Let(out, op) => {
                let (moves, steps) = operation(op, moving, values);
                if steps {
                    return true;
                }
                if moves {
                    values.insert(*out);
                }
            }
            Stmt::Reduce { body, outs, .. } => {
                if block(body, moving, values) {
                    return true;
                }
                for (out, _, value) in outs {
                    if values.contains(value) {
                        values.insert(*out);
                    }
                }
            }
            Stmt::Contract { out, a, b, .. } => {
                if moving.contains(&a.0) || moving.contains(&b.0) {
                    values.insert(*out);
                }
            }
            Stmt::ContractT { value, a, target, .. } => {
                if values.contains(value) || moving.contains(&a.0) {
                    moving.insert(target.0);
                }
            }
            Stmt::Store { buf, value, .. } | Stmt::Accum { buf, value, .. } => {
                if values.contains(value) {
                    moving.insert(*buf);
                }
            }
            Stmt::Call(call) => {
                if call.buffers(Access::Read).any(|b| moving.contains(&b)) {
                    moving.extend(call.written());
                }
            }
        }
    }
    false
}

/// Whether an operation's result depends on theta, and whether it is a step function of something that does.
fn operation(op: &Op, moving: &HashSet<BufId>, values: &HashSet<ValId>) -> (bool, bool) {
    let of = |v: &ValId| values.contains(v);
    match op {
        Op::Const(_) | Op::Counter(_) => (false, false),
        Op::Load(buf, _) => (moving.contains(buf), false),
        Op::Unary(f, a) => {
            let steps = matches!(f, UnOp::Floor | UnOp::Ceil | UnOp::Round | UnOp::Not | UnOp::Sign);
            (of(a), steps && of(a))
        }
        Op::Binary(f, a, b) => {
            let moves = of(a) || of(b);
            let steps = matches!(f, BinOp::Less | BinOp::LessEq | BinOp::Equal | BinOp::NotEqual);
            (moves, steps && moves)
        }
        Op::Fma(a, b, c) => (of(a) || of(b) || of(c), false),
        Op::Select(c, a, b) => (of(c) || of(a) || of(b), false),
    }
}
