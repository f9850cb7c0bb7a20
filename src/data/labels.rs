//! Labels written in the model (`beta["arsenic"]`, `u[subject, "slope"]`), looked up now that the plates have theirs.

use super::Bound;
use super::assign::listed;
use crate::diag::{Code, Diags, nearest};
use crate::hir::{AxisId, Constraint, DistUse, Expr, ExprKind, Hir, Index, Step, VarKind};
use crate::source::Span;

/// Report every label that its plate does not have.
pub fn check(hir: &Hir, bound: &Bound, diags: &mut Diags) {
    let mut walk = Walk { hir, bound, diags };
    for var in &hir.vars {
        walk.constraint(&var.constraint);
        match &var.kind {
            VarKind::DataValue { default: Some(e) } | VarKind::Const { value: e } | VarKind::Param { init: e } => {
                walk.expr(e)
            }
            VarKind::DataValue { default: None }
            | VarKind::Column(_)
            | VarKind::Latent
            | VarKind::Let
            | VarKind::Report => {}
        }
    }
    for step in &hir.steps {
        match step {
            Step::Latent { dist, .. } => walk.dist(dist),
            Step::Param { .. } => {}
            Step::Let { value, .. } | Step::Factor { value, .. } => walk.expr(value),
            Step::Observe { target, filter, dist, .. } => {
                walk.expr(target);
                filter.iter().for_each(|f| walk.expr(f));
                walk.dist(dist);
            }
        }
    }
}

struct Walk<'a> {
    hir: &'a Hir,
    bound: &'a Bound,
    diags: &'a mut Diags,
}

impl Walk<'_> {
    fn dist(&mut self, d: &DistUse) {
        d.args.iter().for_each(|(_, _, e)| self.expr(e));
        self.expr(&d.logpdf);
        d.sample.iter().chain(&d.log_kept).for_each(|e| self.expr(e));
        self.constraint(&d.support.constraint);
    }

    fn constraint(&mut self, c: &Constraint) {
        match c {
            Constraint::Lower { bound, .. } | Constraint::Upper { bound, .. } => self.expr(bound),
            Constraint::Interval { lower, upper, .. } => {
                self.expr(lower);
                self.expr(upper);
            }
            Constraint::None | Constraint::Simplex | Constraint::Ordered { .. } => {}
        }
    }

    fn expr(&mut self, e: &Expr) {
        match &e.kind {
            ExprKind::Number(_) | ExprKind::Local(_) | ExprKind::Position(_) | ExprKind::Size(_) => {}
            ExprKind::At { body, axis, index } => {
                self.expr(body);
                self.index(index, *axis);
            }
            ExprKind::List { items: args, .. } | ExprKind::Noise(_, args) => args.iter().for_each(|a| self.expr(a)),
            ExprKind::Read { var, index } => {
                for (dim, ix) in index.iter().enumerate() {
                    self.index(ix, self.hir.var(*var).axes[dim]);
                }
            }
            ExprKind::Bind { value, body, .. } => {
                self.expr(value);
                self.expr(body);
            }
            ExprKind::Unary(_, a) => self.expr(a),
            ExprKind::Binary(_, a, b) => {
                self.expr(a);
                self.expr(b);
            }
            ExprKind::If { condition, then, otherwise } => {
                self.expr(condition);
                self.expr(then);
                self.expr(otherwise);
            }
            ExprKind::Reduce { filter, body, .. } => {
                filter.iter().for_each(|f| self.expr(f));
                self.expr(body);
            }
        }
    }

    fn index(&mut self, ix: &Index, own: AxisId) {
        match ix {
            Index::Axis(_) => {}
            Index::At(e) => self.expr(e),
            Index::Label(label, span) => self.label(label, *span, own),
        }
    }

    fn label(&mut self, label: &str, span: Span, axis: AxisId) {
        let plate = self.hir.axis(axis).plate;
        let labels = &self.bound.plate(plate).labels;
        if labels.iter().any(|l| l == label) {
            return;
        }
        let names = || labels.iter().map(String::as_str);
        let plate = &self.hir.plate(plate);
        let d = Code::UNKNOWN_LABEL
            .at(span, format!("`{}` has no cell labelled `{label}`", plate.name))
            .here("a literal index is a label, never a position")
            .note(format!("its labels are: {}", listed(names())));
        self.diags.push(match nearest(label, names()) {
            Some(near) => d.help(format!("did you mean `{near}`?")),
            None => d.help("write one of the labels"),
        });
    }
}
