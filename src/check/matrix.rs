//! Matrices: values that vary over two axes of one plate, of which the lower stands for the rows. They are passed whole,
//! by name, where a matrix is expected.

use super::dist::Drawn;
use super::expr::{bad, is_bad};
use super::*;
use crate::diag::Code;
use crate::syntax::ast::{Arg, ExprKind as A, IndexItem};

impl<'a> Checker<'a, '_> {
    /// An argument for a parameter: a whole matrix where the parameter is one.
    pub(super) fn passed(&mut self, param: &'a ast::Param, e: &'a ast::Expr, env: &Env) -> Expr {
        match MatrixKind::of(&param.ty.base.name) {
            Some(_) => self.whole_matrix(e, env),
            None => self.expr(e, env),
        }
    }

    /// A matrix, by its name or as what a function gives.
    fn whole_matrix(&mut self, e: &'a ast::Expr, env: &Env) -> Expr {
        let v = match &e.kind {
            A::Name(n) if !env.locals.iter().any(|(l, _)| l == n) && env.scope != Scope::Library => {
                match self.names.get(n).and_then(|x| x.var).filter(|v| self.is_matrix(*v) && !env.closed()) {
                    Some(var) => self.read_matrix(var, e.span),
                    None => self.expr(e, env),
                }
            }
            // Some of its plates picked, as in `S[group]`.
            A::Index { items, .. } if items.iter().all(|i| matches!(i, IndexItem::Expr(_))) => {
                let v = self.expr(e, env);
                self.in_row_order(v)
            }
            _ => self.expr(e, env),
        };
        if is_bad(&v) || self.pair(&v.axes).is_some() {
            return v;
        }
        let text = self.axes_text(&v.axes);
        let d = Code::NOT_A_MATRIX
            .at(e.span, "a whole matrix is needed here, and this is none")
            .here(if v.axes.is_empty() { "a single number".to_string() } else { format!("varies over {text}") })
            .help("declare it with two indices, `let K[i in rows, j in rows] = …`, and pass its name, `K`");
        self.diags.push(d);
        bad(e.span)
    }

    fn is_matrix(&self, var: VarId) -> bool {
        self.pair(&self.hir.var(var).axes).is_some()
    }

    /// The rows and columns among some axes: the two of one plate.
    pub(super) fn pair(&self, axes: &[AxisId]) -> Option<[AxisId; 2]> {
        let second = self.second_axes(axes);
        let [columns] = second.as_slice() else { return None };
        let rows = axes.iter().find(|a| *a != columns && self.plate_of(**a) == self.plate_of(*columns))?;
        Some([*rows, *columns])
    }

    /// For every plate that stands twice among some axes, the higher one.
    pub(super) fn second_axes(&self, axes: &[AxisId]) -> Vec<AxisId> {
        let lower = |a: &AxisId| axes.iter().any(|b| b < a && self.plate_of(*b) == self.plate_of(*a));
        axes.iter().copied().filter(lower).collect()
    }

    fn read_matrix(&mut self, var: VarId, span: Span) -> Expr {
        self.used.insert(var);
        let v = self.hir.var(var);
        let index = v.axes.iter().map(|&a| Index::Axis(a)).collect();
        let (ty, axes) = (v.ty, sorted(&v.axes));
        self.in_row_order(Expr { kind: ExprKind::Read { var, index }, ty, axes, span })
    }

    /// A read whose dimensions of one plate are named so that the first is the lower: rows come first.
    fn in_row_order(&self, e: Expr) -> Expr {
        let (ExprKind::Read { index, .. }, Some([rows, columns])) = (&e.kind, self.pair(&e.axes)) else { return e };
        let place = |axis: AxisId| index.iter().position(|i| matches!(i, Index::Axis(a) if *a == axis));
        if place(rows) < place(columns) {
            return e;
        }
        let mut e = e;
        if let ExprKind::Read { index, .. } = &mut e.kind {
            for i in index {
                match i {
                    Index::Axis(a) if *a == rows => *a = columns,
                    Index::Axis(a) if *a == columns => *a = rows,
                    Index::Axis(_) | Index::At(_) | Index::Label(..) => {}
                }
            }
        }
        e
    }

    /// The rows and columns of an argument that is a matrix.
    pub(super) fn matrix_axes(&self, param: &ast::Param, v: &Expr) -> Option<[AxisId; 2]> {
        MatrixKind::of(&param.ty.base.name)?;
        self.pair(&v.axes)
    }

    /// A matrix over the plate that its parameter asks for.
    pub(super) fn check_matrix_plate(
        &mut self,
        param: &'a ast::Param,
        v: &Expr,
        name: &str,
        inner: &Env,
    ) -> Option<()> {
        let Some([rows, _]) = self.matrix_axes(param, v) else { return Some(()) };
        let wanted = self.axis_named(&param.ty.axes.first()?.plate, inner)?;
        if self.plate_of(rows) == self.plate_of(wanted) {
            return Some(());
        }
        let (is, needs) = (self.plate_name(rows).to_string(), self.plate_name(wanted).to_string());
        self.diags.push(
            Code::NOT_A_MATRIX
                .at(
                    v.span,
                    format!(
                        "`{}` of `{name}` is a matrix over `{needs}`, and this one is over `{is}`",
                        param.name.name
                    ),
                )
                .here(format!("rows and columns are cells of `{is}`"))
                .help(format!("declare it over the other plate: `let K[i in {needs}, j in {needs}] = …`")),
        );
        None
    }

    /// The second axis of a latent that is a matrix, by its type or its prior.
    pub(super) fn columns(
        &mut self,
        ty: Option<&'a ast::Type>,
        dist: &'a ast::Expr,
        over: &[AxisId],
    ) -> Option<AxisId> {
        let prior = match &dist.kind {
            A::Call { callee, .. } => match &callee.kind {
                A::Name(n) => self.forms(n).and_then(|f| MatrixKind::of(&f[0].support.base.name)),
                _ => None,
            },
            _ => None,
        };
        ty.and_then(|t| MatrixKind::of(&t.base.name)).or(prior)?;
        let [one] = over else { return None };
        let info = self.hir.axis(*one).clone();
        Some(self.add_axis(info.plate, &format!("{}'", info.name)))
    }

    /// A distribution of matrices gives latents only.
    pub(super) fn check_matrix_drawn(
        &mut self,
        name: &str,
        support: &ast::Type,
        drawn: &Drawn,
        span: Span,
    ) -> Option<()> {
        if MatrixKind::of(&support.base.name).is_none() || drawn.columns.is_some() {
            return Some(());
        }
        self.diags.push(
            Code::SUPPORT_MISMATCH
                .at(span, format!("`{name}` gives a matrix, and what is observed is none"))
                .here("gives a matrix")
                .label(drawn.span, "one number per cell")
                .help("draw a latent matrix from it, and use that as an argument of `MvNormal`"),
        );
        None
    }

    /// A latent matrix of another kind than the parameter.
    pub(super) fn check_matrix(&mut self, what: &str, kind: MatrixKind, v: &Expr, name: &str) {
        let ExprKind::Read { var, .. } = &v.kind else { return };
        let x = self.hir.var(*var);
        let Constraint::Matrix(is) = x.constraint else { return };
        let fits = match kind {
            MatrixKind::Cov => matches!(is, MatrixKind::Cov | MatrixKind::Corr),
            MatrixKind::CholeskyCov => matches!(is, MatrixKind::CholeskyCov | MatrixKind::CholeskyCorr),
            MatrixKind::Corr | MatrixKind::CholeskyCorr => is == kind,
        };
        if fits {
            return;
        }
        let d = Code::DOMAIN
            .at(
                v.span,
                format!(
                    "`{what}` of `{name}` is a matrix of type `{}`, and `{}` is one of type `{}`",
                    kind.name(),
                    x.name,
                    is.name()
                ),
            )
            .here(format!("of type `{}`", is.name()))
            .label(x.span, "declared here")
            .help(format!("write `{}`", self.forms_text(name)));
        self.diags.push(d);
    }

    /// Matrices are factored once, not once per value of a latent that is summed out.
    pub(super) fn same_for_all_classes(&mut self, v: &Expr) -> Option<()> {
        let Some((z, span)) = self.discrete_in(v) else { return Some(()) };
        let z = self.hir.var(z);
        let d = Code::CANNOT_SUM_OUT
            .at(span, format!("what is computed with whole matrices cannot depend on the discrete latent `{}`", z.name))
            .here("summed out")
            .label(z.span, "declared here")
            .help(format!("use a matrix, a mean and scales that are the same for every value of `{}`", z.name));
        self.diags.push(d);
        None
    }

    /// `cholesky(A)`, `solve_lower(L, b)`.
    pub(super) fn matrix_function(
        &mut self,
        e: &'a ast::Expr,
        name: &str,
        function: MatrixFn,
        args: &'a [Arg],
        env: &Env,
    ) -> Expr {
        let (count, form) = match function {
            MatrixFn::Cholesky => (1, "A"),
            MatrixFn::Solve { .. } => (2, "L, b"),
        };
        if args.len() != count {
            self.diags.push(
                Code::WRONG_ARGUMENT_COUNT
                    .at(e.span, super::function::count_text(name, count, args.len()))
                    .here(if args.len() < count { "too few" } else { "too many" })
                    .help(format!("write `{name}({form})`")),
            );
            return bad(e.span);
        }
        let matrix = self.whole_matrix(&args[0].value, env);
        let vector = args.get(1).map(|a| {
            let v = self.expr(&a.value, env);
            self.numeric(v, "solve for this")
        });
        let (false, Some(axes)) = (is_bad(&matrix), self.pair(&matrix.axes)) else { return bad(e.span) };
        let operands = std::iter::once(&matrix).chain(&vector);
        if !operands.cloned().collect::<Vec<_>>().iter().all(|v| self.same_for_all_classes(v).is_some()) {
            return bad(e.span);
        }
        let matrix = self.numeric(matrix, "use this as a matrix");
        let rest = minus(&matrix.axes, &axes);
        let (vector, free) = match vector {
            None => (None, union(&rest, &axes)),
            Some(v) if is_bad(&v) => return v,
            Some(v) => {
                let along = v.axes.iter().copied().find(|a| self.plate_of(*a) == self.plate_of(axes[0]));
                let Some(along) = along else {
                    let plate = self.plate_name(axes[0]).to_string();
                    let text = self.axes_text(&v.axes);
                    self.diags.push(
                        Code::NOT_A_MATRIX
                            .at(v.span, format!("the right side of `{name}` has one number per row of the matrix, a cell of `{plate}`"))
                            .here(format!("varies over {text}"))
                            .label(matrix.span, format!("a matrix over `{plate}`"))
                            .help(format!("pass a value that varies over `{plate}`")),
                    );
                    return bad(e.span);
                };
                let free = union(&rest, &v.axes);
                (Some((along, Box::new(v))), free)
            }
        };
        let kind = ExprKind::Matrix { function, matrix: matrix.into(), axes, vector };
        Expr { kind, ty: Ty::Real, axes: free, span: e.span }
    }

    /// `let L[i in rows, j in rows] = cholesky(K)`: the matrix under the index names of the left side.
    pub(super) fn renamed_matrix(&mut self, v: Expr, own: &[AxisId]) -> Expr {
        let (Some(from), Some(to)) = (self.pair(&v.axes), self.pair(own)) else { return v };
        let made = matches!(v.kind, ExprKind::Matrix { .. } | ExprKind::Bind { .. } | ExprKind::Noise(..));
        let named = !made || from == to;
        if named || self.plate_of(from[0]) != self.plate_of(to[0]) {
            return v;
        }
        let first = own.iter().position(|a| *a == to[0]) < own.iter().position(|a| *a == to[1]);
        let to = if first { to } else { [to[1], to[0]] };
        // Through fresh names, since the old and the new may cross.
        let plate = self.plate_of(from[0]);
        let fresh = [self.add_axis(plate, "row"), self.add_axis(plate, "column")];
        let steps = from.into_iter().zip(fresh).chain(fresh.into_iter().zip(to));
        steps.fold(v, |v, (axis, by)| {
            let (ty, span) = (v.ty, v.span);
            let axes = union(&minus(&v.axes, &[axis]), &[by]);
            let kind = ExprKind::At { body: v.into(), axis, index: Index::Axis(by).into() };
            Expr { kind, ty, axes, span }
        })
    }
}
