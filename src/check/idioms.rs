//! Expressions that lose digits or overflow, and the functions that do not: `log(1 + exp(x))` is `log1p_exp(x)`.

use super::*;
use crate::diag::Code;
use crate::syntax::ast::{Arg, BinaryOp, Expr as E, ExprKind as A, UnaryOp};

impl<'a> Checker<'a, '_> {
    /// Warn of every such expression of the model, with what to write.
    pub(super) fn idioms(&mut self, model: &'a Ast) {
        let mut found = vec![];
        for decl in &model.decls {
            let exprs: Vec<&E> = match &decl.kind {
                DeclKind::Plate { value, .. }
                | DeclKind::Const { value, .. }
                | DeclKind::Let { value, .. }
                | DeclKind::ReportLet { value, .. }
                | DeclKind::Factor { value } => vec![value],
                DeclKind::Latent { dist, .. } => vec![dist],
                DeclKind::Param { init, .. } => vec![init],
                DeclKind::Observe { target, dist, .. } => vec![target, dist],
                DeclKind::Net { body, .. } | DeclKind::Fn { body, .. } => vec![body],
                DeclKind::Dist { items, .. } => items.iter().map(|i| &i.value).collect(),
                DeclKind::Guide { items } => items
                    .iter()
                    .map(|i| match i {
                        ast::GuideItem::Let { value, .. } => value,
                        ast::GuideItem::Param { init, .. } => init,
                        ast::GuideItem::Sample { dist, .. } => dist,
                    })
                    .collect(),
                DeclKind::Table { .. }
                | DeclKind::DataValue { .. }
                | DeclKind::Report { .. }
                | DeclKind::GuideFamily { .. }
                | DeclKind::Fit { .. }
                | DeclKind::Import { .. }
                | DeclKind::Error => vec![],
            };
            exprs.into_iter().for_each(|e| self.unstable(e, &mut found));
        }
        for (span, text, why) in found {
            self.diags.push(
                Code::UNSTABLE_IDIOM
                    .at(span, format!("this loses digits {why}"))
                    .here("unstable")
                    .help(format!("write `{text}`, which is the same number and keeps them"))
                    .mend(span, text),
            );
        }
    }

    fn unstable(&self, e: &E, found: &mut Vec<(Span, String, &'static str)>) {
        if let Some((text, why)) = self.better(e) {
            found.push((e.span, text, why));
            return;
        }
        each_part(e, &mut |part| self.unstable(part, found));
    }

    /// What to write instead, and where the digits go.
    fn better(&self, e: &E) -> Option<(String, &'static str)> {
        if let Some(inside) = self.of_call(e, "log") {
            if let Some(x) = self.of_call(inside, "inv_logit").or_else(|| self.of_call(inside, "sigmoid")) {
                return Some((format!("log_inv_logit({})", text(x)?), "where the probability is near 0"));
            }
            if let Some(x) = self.of_call(inside, "Phi") {
                return Some((format!("log_Phi({})", text(x)?), "where the probability is near 0"));
            }
            if let Some(sum) = self.arg_of_call(inside, "sum")
                && let Some(x) = self.of_call(&sum.value, "exp")
            {
                let over: Vec<&str> = sum.over.iter().map(|a| a.plate.name.as_str()).collect();
                let plain = sum.over.iter().all(|a| a.index.is_none() && a.filter.is_none());
                let over = match (plain, over.as_slice()) {
                    (true, [one]) => (*one).to_owned(),
                    (true, many) => format!("({})", many.join(", ")),
                    (false, _) => return None,
                };
                return Some((
                    format!("logsumexp({} over {over})", text(x)?),
                    "or overflows where an exponent is large",
                ));
            }
            let (op, a, b) = sum_of(inside)?;
            let (rest, minus) = match (op, is_one(a), is_one(b)) {
                (BinaryOp::Add, true, _) => (b, false),
                (BinaryOp::Add, _, true) => (a, false),
                (BinaryOp::Sub, true, _) => (b, true),
                _ => return None,
            };
            if minus && let Some(x) = self.of_call(rest, "inv_logit").or_else(|| self.of_call(rest, "sigmoid")) {
                return Some((format!("log1m_inv_logit({})", text(x)?), "where the probability is near 1"));
            }
            if let Some(x) = self.of_call(rest, "exp") {
                let function = if minus { "log1m_exp" } else { "log1p_exp" };
                return Some((format!("{function}({})", text(x)?), "or overflows where the exponent is large"));
            }
            return Some(match minus {
                true => (format!("log1m({})", text(rest)?), "where what is taken from 1 is near 0"),
                false => (format!("log1p({})", text(rest)?), "where what is added to 1 is near 0"),
            });
        }
        if let A::Binary { op: BinaryOp::Sub, left, right } = &e.kind
            && is_one(right)
            && let Some(x) = self.of_call(left, "exp")
        {
            return Some((format!("expm1({})", text(x)?), "where the exponent is near 0"));
        }
        if let A::Binary { op: BinaryOp::Div, left, right } = &e.kind
            && is_one(left)
            && let Some((BinaryOp::Add, a, b)) = sum_of(right)
            && let Some(exp) = if is_one(a) { Some(b) } else { is_one(b).then_some(a) }
            && let Some(inside) = self.of_call(exp, "exp")
            && let A::Unary { op: UnaryOp::Neg, operand } = &inside.kind
        {
            return Some((format!("inv_logit({})", text(operand)?), "or overflows where the exponent is large"));
        }
        None
    }

    /// The argument of a call of a library function with one.
    fn of_call<'e>(&self, e: &'e E, name: &str) -> Option<&'e E> {
        let arg = self.arg_of_call(e, name)?;
        arg.over.is_empty().then_some(&arg.value)
    }

    fn arg_of_call<'e>(&self, e: &'e E, name: &str) -> Option<&'e Arg> {
        let A::Call { callee, args } = &e.kind else { return None };
        let A::Name(called) = &callee.kind else { return None };
        let [arg] = args.as_slice() else { return None };
        (called == name && !self.own.fns.contains_key(name) && arg.name.is_none()).then_some(arg)
    }
}

fn is_one(e: &E) -> bool {
    matches!(e.kind, A::Number { value, .. } if value == 1.0)
}

fn sum_of(e: &E) -> Option<(BinaryOp, &E, &E)> {
    match &e.kind {
        A::Binary { op: op @ (BinaryOp::Add | BinaryOp::Sub), left, right } => Some((*op, left, right)),
        _ => None,
    }
}

/// An expression as text.
fn text(e: &E) -> Option<String> {
    (!matches!(e.kind, A::Error)).then(|| e.to_string())
}

pub(super) fn each_part(e: &E, visit: &mut dyn FnMut(&E)) {
    match &e.kind {
        A::Unary { operand, .. } => visit(operand),
        A::Binary { left, right, .. } | A::Pipe { left, right } => {
            visit(left);
            visit(right);
        }
        A::If { condition, then, otherwise } => [condition, then, otherwise].into_iter().for_each(|e| visit(e)),
        A::Call { callee, args } => {
            visit(callee);
            args.iter().for_each(|a| visit(&a.value));
        }
        A::Index { base, items } => {
            visit(base);
            for item in items {
                if let ast::IndexItem::Expr(e) = item {
                    visit(e);
                }
            }
        }
        A::Field { base, .. } => visit(base),
        A::List(items) => items.iter().for_each(|i| visit(&i.value)),
        A::Block { lets, value } => {
            lets.iter().for_each(|(_, e)| visit(e));
            visit(value);
        }
        A::Number { .. } | A::Text(_) | A::Name(_) | A::Error => {}
    }
}
