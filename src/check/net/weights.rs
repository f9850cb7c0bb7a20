//! The weights of a net: params over plates that nobody names, started from draws whose size fits the layer.
//!
//! Glorot and Bengio (2010), "Understanding the difficulty of training deep feedforward neural networks"; He et al. (2015),
//! "Delving deep into rectifiers".

use super::super::expr::{binary, bind, number, unary};
use super::super::*;
use super::formula::Formula;
use crate::diag::Code;
use crate::hir::Noise;

/// How a weight starts.
pub(super) enum Start<'s> {
    Number(f64),
    /// Normal with variance `2 / (inputs + outputs)`, or `2 / inputs` before a rectifier.
    Draw {
        /// The plates of each input.
        inputs: &'s [Vec<AxisId>],
        outputs: &'s [AxisId],
        rectified: bool,
        /// How many places of the result each input goes to, per output.
        spread: f64,
    },
}

impl<'a> Checker<'a, '_> {
    /// The plate of a layer's units.
    pub(super) fn units(&mut self, name: &str, span: Span, cells: Expr) -> AxisId {
        if let Some(&axis) = self.nets.made.layers.get(name) {
            return axis;
        }
        let plate = self.add_plate(name, span, PlateKind::Sized(cells));
        let axis = self.hir.plate(plate).axis;
        self.nets.made.layers.insert(name.to_string(), axis);
        axis
    }

    /// A weight by its name: made at the first call, the same at all others.
    pub(super) fn weight(&mut self, name: &str, span: Span, axes: &[AxisId], start: Start) -> VarId {
        if let Some(&var) = self.nets.made.weights.get(name) {
            return var;
        }
        if let Some(Some(prior)) = self.nets.priors.last().copied() {
            return self.latent_weight(name, span, axes, prior, &start);
        }
        let init = match start {
            Start::Number(v) => number(v, Ty::Real, span),
            Start::Draw { inputs, outputs, rectified, spread } => {
                self.drawn_weight(name, span, axes, (inputs, outputs), rectified, spread)
            }
        };
        let var = self.add_var(Var {
            name: name.to_string(),
            span,
            kind: VarKind::Param { init },
            axes: axes.to_vec(),
            joint: 0,
            ty: Ty::Real,
            constraint: Constraint::None,
        });
        self.hir.weights.push(var);
        self.hir.steps.push(Step::Param { var, span });
        self.nets.made.weights.insert(name.to_string(), var);
        var
    }

    /// A weight with a prior, which may read `inputs`: how many numbers the layer takes in, 1 for a bias.
    fn latent_weight(&mut self, name: &str, span: Span, axes: &[AxisId], prior: &'a ast::Expr, start: &Start) -> VarId {
        let at = Formula(span);
        let inputs = match start {
            Start::Number(_) => at.number(1.0),
            Start::Draw { inputs, .. } => {
                let cells =
                    |axes: &Vec<AxisId>| axes.iter().fold(at.number(1.0), |n, a| at.mul(n, at.size(self.plate_of(*a))));
                inputs.iter().map(cells).reduce(|a, b| at.add(a, b)).unwrap_or_else(|| at.number(1.0))
            }
        };
        let id = self.fresh_local();
        let local = Local { id, ty: Ty::Real, axes: vec![], range: bounds::Range::ALL };
        let env = Env { locals: vec![("inputs".into(), local)], context: sorted(axes), ..Env::default() };
        let drawn = self.computed(name.to_string(), span, axes, &[]);
        // A mistake is said once, for the first of the weights.
        let within = |s: Span| s.file == prior.span.file && prior.span.start <= s.start && s.end <= prior.span.end;
        let wrong = self.diags.list.iter().any(|d| d.span.is_some_and(within));
        let used = if wrong { None } else { self.dist(prior, &drawn, &env) };
        let constraint = used.as_ref().map_or(Constraint::None, |u| u.range.clone());
        let (name, kind, axes) = (name.to_string(), VarKind::Latent, axes.to_vec());
        let var = self.add_var(Var { name: name.clone(), span, kind, axes, joint: 0, ty: Ty::Real, constraint });
        self.nets.made.weights.insert(name, var);
        let Some(mut dist) = used else { return var };
        if dist.support.ty != Ty::Real {
            self.diags.push(
                Code::NET_PRIOR
                    .at(dist.span, "the weights of a net are real numbers")
                    .here("draws no real numbers")
                    .help("write `~ Normal(0, 1)`"),
            );
            return var;
        }
        dist.args.iter_mut().for_each(|a| a.2 = bind(id, inputs.clone(), a.2.clone()));
        self.hir.steps.push(Step::Latent { var, dist, centering: Centering::Auto, span });
        var
    }

    fn drawn_weight(
        &mut self,
        name: &str,
        span: Span,
        axes: &[AxisId],
        (inputs, outputs): (&[Vec<AxisId>], &[AxisId]),
        rectified: bool,
        spread: f64,
    ) -> Expr {
        let of = |v| number(v, Ty::Real, span);
        let size = |a: &AxisId| Expr { kind: ExprKind::Size(self.hir.axis(*a).plate), ty: Ty::Int, axes: vec![], span };
        let cells = |axes: &[AxisId]| axes.iter().fold(of(1.0), |n, a| binary(BinOp::Mul, n, size(a), Ty::Real, span));
        let into = inputs.iter().map(|i| cells(i)).reduce(|a, b| binary(BinOp::Add, a, b, Ty::Real, span));
        let mut fan = into.unwrap_or(of(1.0));
        if !rectified {
            let out = binary(BinOp::Mul, of(spread), cells(outputs), Ty::Real, span);
            fan = binary(BinOp::Add, fan, out, Ty::Real, span);
        }
        let variance = binary(BinOp::Div, of(2.0), fan, Ty::Real, span);
        let sd = unary(UnOp::Sqrt, variance, Ty::Real, span);
        let noise = Expr { kind: ExprKind::Noise(Noise::Normal, vec![]), ty: Ty::Real, axes: sorted(axes), span };
        let draw = binary(BinOp::Mul, sd, noise, Ty::Real, span);
        let var = self.add_var(Var {
            name: format!("start of {name}"),
            span,
            kind: VarKind::Start { draw },
            axes: axes.to_vec(),
            joint: 0,
            ty: Ty::Real,
            constraint: Constraint::None,
        });
        let index = axes.iter().map(|&a| Index::Axis(a)).collect();
        Expr { kind: ExprKind::Read { var, index }, ty: Ty::Real, axes: sorted(axes), span }
    }
}
