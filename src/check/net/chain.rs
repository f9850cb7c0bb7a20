//! Chains of layers with a name, `fn mlp(width: int, activation: layers) -> layers = …`: put in place of each call, as a
//! function is of an expression.

use std::rc::Rc;

use super::super::*;
use super::formula::Formula;
use super::layers::{Layer, Width};
use super::pipeline::flat;
use crate::diag::Code;
use crate::prim::scalar;
use crate::syntax::ast::{Arg, ExprKind as A};

/// What the parameters of a chain stand for, and where these arguments are written.
pub(super) struct Frame<'a> {
    words: Vec<Word<'a>>,
    outer: Option<Rc<Frame<'a>>>,
    depth: usize,
}

struct Word<'a> {
    name: &'a str,
    value: &'a ast::Expr,
    /// A number, and not layers.
    number: bool,
}

/// Chains that call each other deeper than this call themselves.
const DEEPEST: usize = 32;

impl<'a> Checker<'a, '_> {
    /// The chain that a name means.
    pub(super) fn chain(&self, name: &str, env: &Env) -> Option<FnDecl<'a>> {
        self.function(name, env).filter(is_chain)
    }

    /// What an expression is once the parameters that it names are replaced, looked at where that is written.
    pub(super) fn in_place<T>(&mut self, e: &'a ast::Expr, look: &mut dyn FnMut(&mut Self, &'a ast::Expr) -> T) -> T {
        let word = match (&e.kind, &self.nets.frame) {
            (A::Name(n), Some(frame)) => {
                frame.words.iter().find(|w| w.name == n).map(|w| (w.value, frame.outer.clone()))
            }
            _ => None,
        };
        let Some((value, outer)) = word else { return look(self, e) };
        let own = std::mem::replace(&mut self.nets.frame, outer);
        let found = self.in_place(value, look);
        self.nets.frame = own;
        found
    }

    /// The layers of a call.
    pub(super) fn of_chain(
        &mut self,
        f: FnDecl<'a>,
        args: &'a [Arg],
        e: &'a ast::Expr,
        env: &Env,
    ) -> Option<Vec<Layer>> {
        let name = &f.name.name;
        let depth = self.nets.frame.as_ref().map_or(0, |f| f.depth) + 1;
        if depth > DEEPEST {
            self.diags.push(
                Code::RECURSIVE_FUNCTION
                    .at(e.span, format!("the chain `{name}` calls itself"))
                    .here("a call inside its own body")
                    .label(f.name.span, "declared here")
                    .help("write the layers one after the other: `dense(50, tanh) |> dense(50, tanh)`"),
            );
            return None;
        }
        let args: Vec<&Arg> = args.iter().collect();
        let matched = self.match_arguments(e.span, name, f.params, 0, &args, f.name.span)?;
        let words = f.params.iter().zip(&matched).map(|(p, a)| Word {
            name: &p.name.name,
            value: &a.value,
            number: p.ty.base.name != "layers",
        });
        let words = words.collect();
        let outer = self.nets.frame.take();
        self.nets.frame = Some(Rc::new(Frame { words, outer: outer.clone(), depth }));
        let layers = self.layers(&flat(f.body), env);
        self.nets.frame = outer;
        layers
    }

    /// The numbers that a formula of a width may name, each with its value.
    pub(super) fn numbers_in_place(&mut self, env: &Env) -> Option<Vec<(String, Local, Expr)>> {
        let Some(frame) = self.nets.frame.clone() else { return Some(vec![]) };
        let each = frame.words.iter().filter(|w| w.number).map(|w| {
            let own = std::mem::replace(&mut self.nets.frame, frame.outer.clone());
            let width = self.width(w.value, env);
            self.nets.frame = own;
            let value = match width? {
                Width::Cells(e) => e,
                Width::Plate(axis) => Formula(w.value.span).size(self.plate_of(axis)),
            };
            let local = Local { id: self.fresh_local(), ty: Ty::Int, axes: vec![], range: bounds::Range::ALL };
            Some((w.name.to_string(), local, value))
        });
        each.collect()
    }
}

/// Whether a function gives layers, and no value.
pub(in crate::check) fn is_chain(f: &FnDecl) -> bool {
    f.result.base.name == "layers"
}

/// A formula with the values of what it names, computed as far as these are numbers.
pub(super) fn filled(e: Expr, values: &[(String, Local, Expr)]) -> Expr {
    let kind = match e.kind {
        ExprKind::Local(l) => match values.iter().find(|v| v.1.id == l) {
            Some(v) => return v.2.clone(),
            None => ExprKind::Local(l),
        },
        ExprKind::Unary(op, a) => ExprKind::Unary(op, filled(*a, values).into()),
        ExprKind::Binary(op, a, b) => {
            let (a, b) = (filled(*a, values), filled(*b, values));
            match (&a.kind, &b.kind) {
                (ExprKind::Number(x), ExprKind::Number(y)) => ExprKind::Number(scalar::binary(op, *x, *y)),
                _ => ExprKind::Binary(op, a.into(), b.into()),
            }
        }
        other => other,
    };
    Expr { kind, ..e }
}
